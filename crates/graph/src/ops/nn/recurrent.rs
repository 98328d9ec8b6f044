//! Cells of recurrent networks: LSTMBlockCell, BlockLSTM, BlockLSTMV2 and GRUBlockCell.
//!
//! LSTM: inputs x `[batch, input]` (of BlockLSTM `[steps, batch, input]`, with the number of steps that count before it),
//! the state and the output before, `[batch, hidden]` both, the weight `[input + hidden, 4 * hidden]`, three vectors of
//! peepholes (looked at with `use_peephole` alone) and a bias `[4 * hidden]`; seven outputs, `[batch, hidden]` or
//! `[steps, batch, hidden]`: i, cs, f, o, ci, co, h. After the steps that count all are 0 (TensorFlow leaves five of them
//! open). The gates stand in the order i, c, f, o; those of BlockLSTMV2 i, f, c, o. GRUBlockCell: x, the state, the weights
//! and biases of the gates (reset, update) and of the candidate; outputs r, u, c, h. float32; float16 is converted around
//! it.

use tightfit_core::DType;
use tightfit_kernels::{GateOrder, GruCell, GruOutputs, Isa, Lstm, LstmOutputs, Peepholes};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, TensorInfo};
use crate::operator::{reshape, reshape::shape};
use crate::ops::shared;
use crate::ops::shared::extent::int_input;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "LSTMBlockCell", import: |a| lstm(a, "LSTMBlockCell", false, 1.0, 3.0) },
    Registration { name: "BlockLSTM", import: |a| lstm(a, "BlockLSTM", true, 1.0, 3.0) },
    Registration { name: "BlockLSTMV2", import: |a| lstm(a, "BlockLSTMV2", true, 0.0, 0.0) },
    Registration { name: "GRUBlockCell", import: |_| Ok(Box::new(GruBlockCell)) },
];

fn lstm(
    attributes: &Attributes<'_>,
    name: &'static str,
    has_steps: bool,
    forget_bias: f32,
    cell_clip: f32,
) -> Result<Box<dyn Operator>, OpError> {
    let order = if name == "BlockLSTMV2" { GateOrder::Ifco } else { GateOrder::Icfo };
    Ok(Box::new(BlockLstm {
        name,
        has_steps,
        order,
        // The second version has no such attribute.
        forget_bias: if order == GateOrder::Icfo {
            attributes.float_or("forget_bias", forget_bias)?
        } else {
            0.0
        },
        cell_clip: attributes.float_or("cell_clip", cell_clip)?,
        use_peephole: attributes.bool_or("use_peephole", false)?,
    }))
}

/// Checks that inputs are float32 tensors of these ranks.
fn check(inputs: &[&Fact], first: usize, ranks: &[usize]) -> Result<(), OpError> {
    for (index, rank) in (first..).zip(ranks) {
        let input = shared::input(inputs, index)?;
        shared::need_type(index, input, &[DType::F32])?;
        shared::dims_of_rank(index, input, *rank)?;
    }
    Ok(())
}

/// Checks that an input has these dimensions, as far as both are known; 0 of `wanted` is open.
fn fits(inputs: &[&Fact], index: usize, wanted: &[Option<usize>]) -> Result<(), OpError> {
    let input = shared::input(inputs, index)?;
    let Some(dims) = input.dims.get().filter(|_| !input.is_bound) else { return Ok(()) };
    let is_other =
        |(dim, wanted): (&Dim, &Option<usize>)| dim.size().zip(*wanted).is_some_and(|(a, b)| a != b);
    if dims.len() != wanted.len() || dims.iter().zip(wanted).any(is_other) {
        let wanted: Vec<String> = wanted.iter().map(|n| n.map_or("?".into(), |n| n.to_string())).collect();
        let why = format!("is of shape {}; [{}] is needed", input.dims, wanted.join(", "));
        return Err(OpError::input(index, why));
    }
    Ok(())
}

/// The sizes of an input's dimensions, where known.
fn sizes<const RANK: usize>(inputs: &[&Fact], index: usize) -> Result<[Option<usize>; RANK], OpError> {
    let fact = shared::input(inputs, index)?;
    let dims = fact.dims.get().filter(|dims| dims.len() == RANK && !fact.is_bound);
    Ok(std::array::from_fn(|axis| dims.and_then(|dims| dims[axis].size())))
}

/// LSTMBlockCell and BlockLSTM.
#[derive(Debug, Clone)]
struct BlockLstm {
    name: &'static str,
    /// x has an axis of steps, and the first input says how many of them count.
    has_steps: bool,
    order: GateOrder,
    forget_bias: f32,
    cell_clip: f32,
    use_peephole: bool,
}

impl BlockLstm {
    /// The place of x among the inputs; the others follow it.
    fn x(&self) -> usize {
        self.has_steps as usize
    }

    fn kernel(&self, x: &[usize], state: &[usize]) -> Result<Lstm, OpError> {
        let ([.., batch, input], [_, hidden]) = (x, state) else {
            return Err(OpError::Internal("a cell of a shape that was refused"));
        };
        Ok(Lstm {
            batch: *batch,
            input: *input,
            hidden: *hidden,
            order: self.order,
            forget_bias: self.forget_bias,
            cell_clip: self.cell_clip,
        })
    }

    fn scratch_bytes(&self, inputs: &[TensorInfo], isa: Isa, threads: usize) -> Option<usize> {
        let (x, state) = (inputs.get(self.x())?.shape, inputs.get(self.x() + 1)?.shape);
        let steps = if self.has_steps { x[0] } else { 1 };
        self.kernel(&x, &state).ok()?.scratch_bytes(isa, steps, threads).ok()
    }

    /// Steps that count.
    fn steps(&self, run: &Run<'_>, of: usize) -> Result<usize, OpError> {
        if !self.has_steps {
            return Ok(1);
        }
        let steps = int_input(run, 0)?;
        usize::try_from(steps).ok().filter(|steps| *steps <= of).ok_or_else(|| {
            OpError::input(0, format!("is {steps}, no number of steps of a sequence that has {of}"))
        })
    }
}

impl Operator for BlockLstm {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let first = self.x();
        if self.has_steps {
            let steps = shared::input(inputs, 0)?;
            shared::need_type(0, steps, &[DType::I64])?;
            shared::dims_of_rank(0, steps, 0)?;
        }
        check(inputs, first, &[2 + self.has_steps as usize, 2, 2, 2, 1, 1, 1, 1])?;
        let (x, state) = (shared::input(inputs, first)?, shared::input(inputs, first + 1)?);
        let [_, hidden] = sizes::<2>(inputs, first + 1)?;
        let [batch, input] = match sizes::<3>(inputs, first)? {
            [_, batch, input] if self.has_steps => [batch, input],
            _ => sizes::<2>(inputs, first)?,
        };
        fits(inputs, first + 1, &[batch, hidden])?;
        fits(inputs, first + 2, &[batch, hidden])?;
        let times = |n: Option<usize>| n.and_then(|n| n.checked_mul(4));
        let rows = input.zip(hidden).and_then(|(a, b)| a.checked_add(b));
        fits(inputs, first + 3, &[rows, times(hidden)])?;
        // Those of a sequence TensorFlow looks at whether it uses them or not.
        for peephole in (first + 4..first + 7).filter(|_| self.use_peephole || self.has_steps) {
            fits(inputs, peephole, &[hidden])?;
        }
        fits(inputs, first + 7, &[times(hidden)])?;
        let dims = match (x.dims.get(), state.dims.get()) {
            (Some([outer @ .., _]), Some([_, hidden])) => Dims::new([outer, &[*hidden]].concat()),
            _ => Dims::of_rank(2 + self.has_steps as usize),
        };
        Ok(vec![Fact::new(DType::F32, dims); 7])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        // What cannot be planned is refused as it runs.
        Memory::scratch(self.scratch_bytes(call.inputs, call.isa, call.threads).unwrap_or(0))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (x, state) = (run.shape(self.x()), run.shape(self.x() + 1));
        let ([outer @ .., _], [_, hidden]) = (&x[..], &state[..]) else { return None };
        let shape = shape(outer.iter().copied().chain([*hidden]))?;
        (0..run.outputs()).try_for_each(|output| run.set_output_shape(output, shape).ok())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let first = self.x();
        let (x_shape, state) = (run.shape(first), run.shape(first + 1));
        let kernel = self.kernel(&x_shape, &state)?;
        let [rows, columns] = run.shape(first + 3)[..] else {
            return Err(OpError::Internal("a weight that is no matrix"));
        };
        if rows != kernel.input + kernel.hidden || columns != 4 * kernel.hidden {
            let why =
                format!("is of shape [{rows}, {columns}] for {} and {} columns", kernel.input, kernel.hidden);
            return Err(OpError::input(first + 3, why));
        }
        let steps = self.steps(run, if self.has_steps { x_shape[0] } else { 1 })?;
        let float = |index: usize| run.slice::<f32>(first + index);
        let x = &float(0)?[..steps * kernel.batch * kernel.input];
        let (cs_prev, h_prev, weight, bias) = (float(1)?, float(2)?, float(3)?, float(7)?);
        let peepholes = match self.use_peephole {
            true => Some(Peepholes { input: float(4)?, forget: float(5)?, output: float(6)? }),
            false => None,
        };
        let all = steps * kernel.batch * kernel.hidden;
        let mut output = |number: usize| {
            let (counted, rest) = run.out::<f32>(number)?.split_at_mut(all);
            rest.fill(0.0);
            Ok::<_, OpError>(counted)
        };
        let outputs = LstmOutputs {
            i: output(0)?,
            cs: output(1)?,
            f: output(2)?,
            o: output(3)?,
            ci: output(4)?,
            co: output(5)?,
            h: output(6)?,
        };
        let (scratch, pool) = (run.scratch()?, run.pool);
        Ok(kernel.run(pool, x, (cs_prev, h_prev), weight, peepholes, bias, outputs, scratch)?)
    }
}

/// GRUBlockCell.
#[derive(Debug)]
struct GruBlockCell;

fn gru(x: &[usize], state: &[usize]) -> Option<GruCell> {
    match (x, state) {
        ([batch, input], [_, hidden]) => Some(GruCell { batch: *batch, input: *input, hidden: *hidden }),
        _ => None,
    }
}

impl Operator for GruBlockCell {
    fn name(&self) -> &'static str {
        "GRUBlockCell"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        check(inputs, 0, &[2, 2, 2, 2, 1, 1])?;
        let ([batch, input], [_, hidden]) = (sizes::<2>(inputs, 0)?, sizes::<2>(inputs, 1)?);
        fits(inputs, 1, &[batch, hidden])?;
        let rows = input.zip(hidden).and_then(|(a, b)| a.checked_add(b));
        let twice = hidden.and_then(|n| n.checked_mul(2));
        fits(inputs, 2, &[rows, twice])?;
        fits(inputs, 3, &[rows, hidden])?;
        fits(inputs, 4, &[twice])?;
        fits(inputs, 5, &[hidden])?;
        Ok(vec![Fact::new(DType::F32, shared::input(inputs, 1)?.dims.clone()); 4])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let cell = match call.inputs {
            [x, state, ..] => gru(&x.shape, &state.shape),
            _ => None,
        };
        let bytes = cell.and_then(|cell| cell.scratch_bytes(call.isa, call.threads).ok());
        Memory::scratch(bytes.unwrap_or(0))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 1)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let cell = gru(&run.shape(0), &run.shape(1))
            .ok_or(OpError::Internal("a cell of a shape that was refused"))?;
        for (input, columns) in [(2, 2 * cell.hidden), (3, cell.hidden)] {
            if run.shape(input)[..] != [cell.input + cell.hidden, columns] {
                return Err(OpError::input(input, format!("is of shape {}", run.shape(input))));
            }
        }
        let float = |index: usize| run.slice::<f32>(index);
        let (x, h_prev) = (float(0)?, float(1)?);
        let (weights, biases) = ([float(2)?, float(3)?], [float(4)?, float(5)?]);
        let outputs = GruOutputs { r: run.out(0)?, u: run.out(1)?, c: run.out(2)?, h: run.out(3)? };
        let (scratch, pool) = (run.scratch()?, run.pool);
        Ok(cell.run(pool, x, h_prev, weights, biases, outputs, scratch)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_close, flag, float, refuses, run, scalar, tensor};

    #[test]
    fn a_step_of_zeros_halves_the_state() {
        let zeros = |dims: &[usize]| tensor(dims, &vec![0f32; dims.iter().product()]);
        let (x, h, w) = (zeros(&[1, 2]), zeros(&[1, 1]), zeros(&[3, 4]));
        let (peep, bias) = (zeros(&[1]), zeros(&[4]));
        let state = tensor(&[1, 1], &[2f32]);
        let inputs = [x, state, h, w, peep.clone(), peep.clone(), peep, bias];
        let attributes = [("forget_bias", float(0.0)), ("cell_clip", float(0.75))];
        let outputs = run("LSTMBlockCell", &attributes, &inputs).unwrap();
        let values: Vec<f32> = outputs.iter().map(|output| output.values::<f32>()[0]).collect();
        // The forget gate is a half, and the state of 1 is clipped.
        let co = 0.75f32.tanh();
        for (value, expected) in values.iter().zip([0.5, 0.75, 0.5, 0.5, 0.0, co, co / 2.0]) {
            assert!((value - expected).abs() < 1e-6, "{values:?}");
        }
        let mut wrong = inputs.to_vec();
        wrong[3] = zeros(&[4, 4]);
        refuses("LSTMBlockCell", &attributes, &wrong, "[3, 4] is needed");
        wrong[3] = zeros(&[3, 4]);
        wrong[4] = zeros(&[2]);
        refuses("LSTMBlockCell", &[("use_peephole", flag(true))], &wrong, "[1] is needed");
    }

    #[test]
    fn steps_that_do_not_count_are_zero() {
        let ones = |dims: &[usize]| tensor(dims, &vec![1f32; dims.iter().product()]);
        let inputs = |steps: i64| {
            let (x, state, w) = (ones(&[3, 1, 1]), ones(&[1, 2]), ones(&[3, 8]));
            let (peep, bias) = (ones(&[2]), ones(&[8]));
            [scalar(steps), x, state.clone(), state, w, peep.clone(), peep.clone(), peep, bias]
        };
        for op in ["BlockLSTM", "BlockLSTMV2"] {
            let (all, one) = (run(op, &[], &inputs(3)).unwrap(), run(op, &[], &inputs(1)).unwrap());
            for (all, one) in all.iter().zip(&one) {
                assert_eq!(all.values::<f32>()[..2], one.values::<f32>()[..2]);
                assert_eq!(one.values::<f32>()[2..], [0.0; 4]);
                assert!(all.values::<f32>()[2..].iter().all(|value| *value > 0.0));
            }
            refuses(op, &[], &inputs(4), "no number of steps");
        }
    }

    #[test]
    fn an_update_gate_of_a_half_is_between_state_and_candidate() {
        let zeros = |dims: &[usize]| tensor(dims, &vec![0f32; dims.iter().product()]);
        let (x, state) = (zeros(&[2, 3]), tensor(&[2, 1], &[4f32, -2.0]));
        let inputs = [x, state, zeros(&[4, 2]), zeros(&[4, 1]), zeros(&[2]), zeros(&[1])];
        let half = tensor(&[2, 1], &[0.5f32, 0.5]);
        check_close("GRUBlockCell", &[], &inputs, &half, 1e-6);
        let outputs = run("GRUBlockCell", &[], &inputs).unwrap();
        assert_eq!(outputs[3].values::<f32>(), [2.0, -1.0]);
    }
}
