//! tfl.unidirectional_sequence_lstm: a layer of LSTM cells in integers.
//!
//! int8 in and out, `[batch, steps, inputs]` to `[batch, steps, units]` (steps first with `time_major`), weights of int8, biases of
//! int32, a cell state of int16 whose scale is a power of two. The attribute `slots` lists which of TFLite's inputs each input is, and
//! `input_scale` and `input_zero_point` have a number for each of them. `intermediate_scale` and `intermediate_zero_point` list five
//! numbers, of which the last is the hidden state's; `cell_clip` bounds the cell state. Besides the output there are the states of
//! output and cell after the last step, `[batch, units]` both. Peepholes, projections and normalised gates are refused.

use tightfit_core::DType;
use tightfit_kernels::{Affine, AffineLstm, LstmGate, LstmState, Multiplier};

use super::affine;
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[Registration { name: "tfl.unidirectional_sequence_lstm", import }];

/// TFLite's inputs: the first of four weights of the input, of four of the state, and of four biases, in the order of the gates:
/// input, forget, cell, output.
const WEIGHTS: i64 = 1;
const RECURRENT: i64 = 5;
const BIASES: i64 = 12;
const OUTPUT_STATE: i64 = 18;
const CELL_STATE: i64 = 19;

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let slots: Box<[i64]> = attributes.ints("slots")?.into();
    let is_known = |slot: &i64| matches!(*slot, 0..=8 | 12..=15 | OUTPUT_STATE | CELL_STATE);
    if let Some(other) = slots.iter().find(|slot| !is_known(slot)) {
        let why = format!("has {other}: peepholes, projections and normalised gates are not supported");
        return Err(OpError::attribute("slots", why));
    }
    let needed =
        (0..=8).chain([OUTPUT_STATE, CELL_STATE]).filter(|slot| ![WEIGHTS, RECURRENT].contains(slot));
    if let Some(missing) = needed.into_iter().find(|slot| !slots.contains(slot)) {
        return Err(OpError::attribute("slots", format!("has no {missing}, which an LSTM needs")));
    }
    let scales = (0..slots.len()).map(|index| affine::input(attributes, index)).collect::<Result<_, _>>()?;
    let (hidden_scales, hidden_zeros) = affine::scales(attributes, "intermediate")?;
    let (Some(scale), Some(zero)) = (hidden_scales.last(), hidden_zeros.last()) else {
        return Err(OpError::attribute("intermediate_scale", "is empty"));
    };
    let lstm = Lstm {
        slots,
        scales,
        hidden: Affine { scale: *scale, zero: *zero },
        cell_clip: attributes.float_or("cell_clip", 0.0)?,
        is_time_major: attributes.bool_or("time_major", false)?,
    };
    lstm.cell_exponent()?;
    Ok(Box::new(lstm))
}

/// The operator.
#[derive(Debug)]
struct Lstm {
    slots: Box<[i64]>,
    /// Of each input.
    scales: Box<[Affine]>,
    hidden: Affine,
    cell_clip: f32,
    is_time_major: bool,
}

impl Lstm {
    /// Which input is one of TFLite's.
    fn at(&self, slot: i64) -> Option<usize> {
        self.slots.iter().position(|own| *own == slot)
    }

    fn need(&self, slot: i64) -> Result<usize, OpError> {
        self.at(slot).ok_or(OpError::Internal("an LSTM has no such input"))
    }

    fn scale(&self, slot: i64) -> Result<Affine, OpError> {
        Ok(self.scales[self.need(slot)?])
    }

    /// The power of two that the cell state's scale is.
    fn cell_exponent(&self) -> Result<i32, OpError> {
        let scale = self.scale(CELL_STATE)?.scale;
        let log = scale.log2();
        if (log - log.round()).abs() >= 1e-3 || !(-15.5..-8.5).contains(&log) {
            let why = format!(
                "has {scale} for the cell state, which is none of the powers of two from 2^-15 to 2^-9"
            );
            return Err(OpError::attribute("input_scale", why));
        }
        Ok(log.round() as i32)
    }

    /// A gate, 0 to 3; `None` where a layer has none.
    fn gate<'a>(&self, run: &Run<'a>, gate: i64) -> Result<Option<LstmGate<'a>>, OpError> {
        let (Some(weights), Some(recurrent)) = (self.at(WEIGHTS + gate), self.at(RECURRENT + gate)) else {
            return Ok(None);
        };
        // Gates have 12 bits after the point. Floats are multiplied as TFLite multiplies them.
        let of = |weights: usize, numbers: Affine| {
            Multiplier::of((self.scales[weights].scale * numbers.scale / (1.0 / 4096.0)) as f64)
        };
        let bias = self.at(BIASES + gate).map(|input| run.slice::<i32>(input)).transpose()?;
        Ok(Some(LstmGate {
            weights: run.input(weights)?.bytes(),
            recurrent: run.input(recurrent)?.bytes(),
            bias,
            multipliers: [of(weights, self.scale(0)?), of(recurrent, self.scale(OUTPUT_STATE)?)],
        }))
    }
}

impl Operator for Lstm {
    fn name(&self) -> &'static str {
        "tfl.unidirectional_sequence_lstm"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        if inputs.len() != self.slots.len() {
            let why = format!("has {} numbers for {} inputs", self.slots.len(), inputs.len());
            return Err(OpError::attribute("slots", why));
        }
        for (index, (slot, input)) in self.slots.iter().zip(inputs).enumerate() {
            let dtype = match *slot {
                CELL_STATE => DType::I16,
                slot if (BIASES..BIASES + 4).contains(&slot) => DType::I32,
                _ => DType::I8,
            };
            shared::need_type(index, input, &[dtype])?;
        }
        let input = inputs[self.need(0)?];
        let dims = shared::dims_of_rank(self.need(0)?, input, 3)?.unwrap_or(vec![Dim::Unknown; 3]);
        let recurrent = self.need(RECURRENT + 1)?;
        let units =
            shared::dims_of_rank(recurrent, inputs[recurrent], 2)?.map_or(Dim::Unknown, |dims| dims[0]);
        let batch = if self.is_time_major { dims[1] } else { dims[0] };
        let state = Dims::new([batch, units]);
        Ok(vec![
            Fact::new(DType::I8, Dims::new([dims[0], dims[1], units])),
            Fact::new(DType::I8, state.clone()),
            Fact::new(DType::I16, state),
        ])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let inputs = call.inputs[0].shape.last().copied().unwrap_or(0);
        let units = call.outputs[0].shape.last().copied().unwrap_or(0);
        Memory::scratch(AffineLstm::scratch_bytes(inputs, units))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(self.need(0)?)?;
        let shape = <[usize; 3]>::try_from(&input.shape()[..])
            .map_err(|_| OpError::Internal("an LSTM's input of other than three axes"))?;
        let units = run.output_shape(0).last().copied().unwrap_or(0);
        let [steps, batch] = if self.is_time_major { [shape[0], shape[1]] } else { [shape[1], shape[0]] };
        let gates = [self.gate(run, 1)?, self.gate(run, 2)?, self.gate(run, 3)?];
        let [Some(forget), Some(update), Some(out)] = gates else {
            return Err(OpError::Internal("an LSTM without a gate"));
        };
        let state = self.scale(OUTPUT_STATE)?;
        let exponent = self.cell_exponent()?;
        let hidden = 2f32.powi(-15) / self.hidden.scale * 2f32.powi(-15);
        let clip = self.cell_clip / self.scale(CELL_STATE)?.scale;
        let lstm = AffineLstm {
            size: [batch, steps, shape[2], units],
            is_time_major: self.is_time_major,
            gates: (self.gate(run, 0)?, [forget, update, out]),
            input_zero: self.scale(0)?.zero,
            state_zero: state.zero,
            hidden: (Multiplier::of(hidden as f64), self.hidden.zero),
            cell_exponent: exponent,
            cell_clip: if self.cell_clip > 0.0 { clip.clamp(0.0, 32_767.0) as i16 } else { 0 },
        };
        let (before, cell_before) =
            (run.input(self.need(OUTPUT_STATE)?)?, run.slice::<i16>(self.need(CELL_STATE)?)?);
        let (output, scratch) = (run.out_bytes(0)?, run.scratch()?);
        let (after, cell) = (run.out_bytes(1)?, run.out::<i16>(2)?);
        if before.bytes().len() != after.len() || cell_before.len() != cell.len() {
            return Err(OpError::Invalid(
                "the states of an LSTM are of another shape than [batch, units]".into(),
            ));
        }
        after.copy_from_slice(before.bytes());
        cell.copy_from_slice(cell_before);
        Ok(lstm.run(run.pool, input.bytes(), LstmState { output: after, cell }, output, scratch)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{floats, ints, refuses, run, tensor};

    #[test]
    fn a_cell_adds_what_its_gates_let_in() {
        // One unit, weights of 0 but that of the cell gate: half of tanh(x) is kept each step.
        let slots = [0, 1, 2, 3, 4, 5, 6, 7, 8, 18, 19];
        let scales: Vec<f32> =
            slots.iter().map(|slot| if *slot == 19 { 1.0 / 2048.0 } else { 1.0 / 64.0 }).collect();
        let attributes = [
            ("slots", ints(&slots)),
            ("input_scale", floats(&scales)),
            ("intermediate_scale", floats(&[1.0 / 128.0])),
        ];
        let one = |byte: i8| tensor(&[1, 1], &[byte]);
        let mut inputs = vec![tensor(&[1, 2, 1], &[64i8, -64])];
        inputs.extend([0, 0, 64, 0, 0, 0, 0, 0].map(one));
        inputs.extend([one(0), tensor(&[1, 1], &[0i16])]);
        let outputs = run("tfl.unidirectional_sequence_lstm", &attributes, &inputs).unwrap();
        // tanh(1) / 2 and, of half of that less as much, tanh(-0.1904) / 2.
        let cell = 0.761_594_f32 / 2.0;
        let expected =
            [cell.tanh() / 2.0, (cell / 2.0 - cell).tanh() / 2.0].map(|h| (h * 128.0).round() as i8);
        assert_eq!(outputs[0].values::<i8>(), expected);
        assert_eq!(outputs[1].values::<i8>(), expected[1..]);
        assert_eq!(outputs[2].values::<i16>(), [(-cell / 2.0 * 2048.0).round() as i16]);
        let mut odd = attributes.clone();
        odd[0].1 = ints(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 18, 16]);
        refuses("tfl.unidirectional_sequence_lstm", &odd, &inputs, "projections");
    }
}
