//! LSTM over a sequence of steps, as TensorFlow's BlockLSTM computes it.

use tightfit_core::Shared;

use super::{add_product, floats_bytes, parts, product, take_floats};
use crate::base::access::split_range;
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_exact};
use crate::base::math;
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::ThreadPool;
use crate::product::gemm::{Epilogue, Residual, WeightForm, Weights};
use crate::product::matmul::MatMul;
use crate::product::weighted::WeightedProduct;

/// Floats of gates that are computed ahead of the steps that need them: they stay in a second-level cache.
const GATES_FLOATS: usize = 128 << 10;

/// Bytes up to which the weights of the state are packed once for all steps: each then reads them in the order in which they
/// lie.
const PACKED_BYTES: usize = 4 << 20;

/// The order in which the weight and the bias hold the gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateOrder {
    /// Input, cell, forget, output.
    Icfo,
    /// Input, forget, cell, output.
    Ifco,
}

/// Weights from the cell's state to its gates, each `[hidden]`.
#[derive(Debug, Clone, Copy)]
pub struct Peepholes<'a> {
    /// To the input gate.
    pub input: &'a [f32],
    /// To the forget gate.
    pub forget: &'a [f32],
    /// To the output gate, from the new state.
    pub output: &'a [f32],
}

/// An LSTM layer.
#[derive(Debug, Clone, Copy)]
pub struct Lstm {
    /// Sequences that are computed side by side.
    pub batch: usize,
    /// Numbers of each step's input.
    pub input: usize,
    /// Numbers of the state.
    pub hidden: usize,
    /// Where each gate is.
    pub order: GateOrder,
    /// What is added to the forget gate.
    pub forget_bias: f32,
    /// The state is kept within this on both sides; not at all for 0 and less.
    pub cell_clip: f32,
}

/// What each step leaves, `[steps, batch, hidden]` each.
#[derive(Debug)]
pub struct LstmOutputs<'a> {
    /// The input gate.
    pub i: &'a mut [f32],
    /// The state before the tanh.
    pub cs: &'a mut [f32],
    /// The forget gate.
    pub f: &'a mut [f32],
    /// The output gate.
    pub o: &'a mut [f32],
    /// The cell's input.
    pub ci: &'a mut [f32],
    /// The state after the tanh.
    pub co: &'a mut [f32],
    /// The output.
    pub h: &'a mut [f32],
}

impl Lstm {
    /// Steps whose gates are computed at once.
    fn steps_at_once(&self, steps: usize) -> usize {
        (GATES_FLOATS / (4 * self.batch * self.hidden).max(1)).clamp(1, steps.max(1))
    }

    /// How the weights of the state are packed, where that pays.
    fn packing(&self, isa: Isa, steps: usize) -> Result<Option<MatMul>, KernelError> {
        let product = MatMul::new(isa, self.batch, self.hidden, 4 * self.hidden, false, false)?;
        let pays = steps > 2 && product.layout().packed_bytes() <= PACKED_BYTES;
        Ok(pays.then_some(product))
    }

    /// Bytes of scratch that [`Self::run`] needs.
    ///
    /// # Errors
    /// [`KernelError`] when the processor lacks the isa or the sizes overflow.
    pub fn scratch_bytes(&self, isa: Isa, steps: usize, threads: usize) -> Result<usize, KernelError> {
        let (rows, columns) = (self.steps_at_once(steps) * self.batch, 4 * self.hidden);
        let mut most = 0;
        // The last steps are fewer, and may for that be cut into other pieces.
        let last = (steps % self.steps_at_once(steps)) * self.batch;
        for (m, k) in [(rows, self.input), (last, self.input), (self.batch, self.hidden)] {
            most = most.max(product(isa, m, k, columns).scratch_bytes(threads)?);
        }
        if let Some(product) = self.packing(isa, steps)? {
            let packed = floats_bytes(product.layout().packed_bytes() / 4);
            return Ok(floats_bytes(rows * columns)
                + packed
                + most.max(product.scratch_bytes(threads, WeightForm::Packed)));
        }
        Ok(floats_bytes(rows * columns) + most)
    }

    /// Computes `x`'s steps, `[steps, batch, input]`, from the state `cs_prev` and the output `h_prev`, `[batch, hidden]`
    /// both. `weight` is `[input + hidden, 4 * hidden]`, `bias` `[4 * hidden]`.
    ///
    /// # Errors
    /// [`KernelError`] when a length is wrong or the scratch too small.
    #[allow(clippy::too_many_arguments)]
    pub fn run(
        &self,
        pool: &ThreadPool,
        x: &[f32],
        (cs_prev, h_prev): (&[f32], &[f32]),
        weight: &[f32],
        peepholes: Option<Peepholes<'_>>,
        bias: &[f32],
        outputs: LstmOutputs<'_>,
        scratch: &mut [u8],
    ) -> Result<(), KernelError> {
        let state = self.batch * self.hidden;
        let steps = outputs.h.len().checked_div(state).unwrap_or(0);
        check_exact("the input", steps * self.batch * self.input, x.len())?;
        check_exact("the state", state, cs_prev.len())?;
        check_exact("the output before", state, h_prev.len())?;
        check_exact("the bias", 4 * self.hidden, bias.len())?;
        for weights in peepholes.iter().flat_map(|p| [p.input, p.forget, p.output]) {
            check_exact("a peephole's weights", self.hidden, weights.len())?;
        }
        let all = steps * state;
        let LstmOutputs { i, cs, f, o, ci, co, h } = outputs;
        for output in [&i, &cs, &f, &o, &ci, &co, &h] {
            check_exact("an output", all, output.len())?;
        }
        let (of_input, of_state) = parts(weight, self.input, self.hidden, 4 * self.hidden)?;
        let of_state = &of_state[..4 * self.hidden * self.hidden];
        let at_once = self.steps_at_once(steps);
        let (gates, mut scratch) = take_floats(scratch, at_once * 4 * state)?;
        let mut packed = None;
        if let Some(product) = self.packing(pool.isa(), steps)? {
            let (room, rest) = take_floats(scratch, product.layout().packed_bytes() / 4)?;
            scratch = rest;
            product.layout().pack_rows(bytemuck::cast_slice_mut(room), 0, bytemuck::cast_slice(of_state))?;
            packed = Some((product, &*room));
        }
        for first in (0..steps).step_by(at_once) {
            let count = at_once.min(steps - first);
            let rows = count * self.batch;
            let x = &x[first * self.batch * self.input..][..rows * self.input];
            let gates = &mut gates[..rows * 4 * self.hidden];
            product(pool.isa(), rows, self.input, 4 * self.hidden).run(
                pool,
                x,
                of_input,
                gates,
                Epilogue::bias(bias),
                scratch,
            )?;
            for (step, gates) in gates.chunks_exact_mut(4 * state).enumerate() {
                let at = (first + step) * state;
                let (before, h) = h.split_at_mut(at);
                let h_prev = if at == 0 { h_prev } else { &before[at - state..] };
                match &packed {
                    Some((product, packed)) => {
                        let epilogue = Epilogue { residual: Residual::Output, ..Epilogue::default() };
                        let weights = Weights::Packed(bytemuck::cast_slice(packed));
                        product.run(pool, h_prev, weights, gates, epilogue, scratch)?;
                    }
                    None => {
                        let sizes = (self.batch, self.hidden, 4 * self.hidden);
                        add_product(pool, sizes, h_prev, of_state, gates, scratch)?;
                    }
                }
                let (before, cs) = cs.split_at_mut(at);
                let cs_prev = if at == 0 { cs_prev } else { &before[at - state..] };
                let now = at..at + state;
                let outputs = [
                    &mut i[now.clone()],
                    &mut cs[..state],
                    &mut f[now.clone()],
                    &mut o[now.clone()],
                    &mut ci[now.clone()],
                    &mut co[now],
                    &mut h[..state],
                ];
                self.gates(pool, gates, cs_prev, peepholes, outputs);
            }
        }
        Ok(())
    }

    /// What becomes of one step's gates, on the pool's threads where there are many.
    fn gates(
        &self,
        pool: &ThreadPool,
        gates: &[f32],
        cs_prev: &[f32],
        peepholes: Option<Peepholes<'_>>,
        outputs: [&mut [f32]; 7],
    ) {
        let (isa, hidden) = (pool.isa(), self.hidden);
        let outputs = outputs.map(Shared::new);
        split_range(pool, self.batch, 16 * hidden, &|first, count| {
            for row in first..first + count {
                // SAFETY: the rows of `split_range` are disjoint, and the outputs outlive the call.
                let mut to = std::array::from_fn(|n| unsafe { outputs[n].part(row * hidden, hidden) });
                let to = to.each_mut().map(|part| &mut **part);
                let gates = &gates[row * 4 * hidden..][..4 * hidden];
                let cs_prev = &cs_prev[row * hidden..][..hidden];
                dispatch(isa, Gates { lstm: self, gates, cs_prev, peepholes, to });
            }
        });
    }
}

/// One row of a batch.
struct Gates<'a> {
    lstm: &'a Lstm,
    gates: &'a [f32],
    cs_prev: &'a [f32],
    peepholes: Option<Peepholes<'a>>,
    /// i, cs, f, o, ci, co, h.
    to: [&'a mut [f32]; 7],
}

impl Kernel for Gates<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (hidden, to) = (self.lstm.hidden, self.to);
        let (at_cell, at_forget) = match self.lstm.order {
            GateOrder::Icfo => (1, 2),
            GateOrder::Ifco => (2, 1),
        };
        let clip = self.lstm.cell_clip;
        let mut j = 0;
        while j < hidden {
            let count = S::LANES.min(hidden - j);
            // SAFETY: `count` elements from `j` on are within the `hidden` of each slice.
            let load = |from: &[f32]| unsafe { s.load_partial(from[j..].as_ptr(), count) };
            let gate = |number: usize| load(&self.gates[number * hidden..][..hidden]);
            let before = load(self.cs_prev);
            let (mut i, ci) = (gate(0), math::tanh(s, gate(at_cell)));
            let mut f = s.add(gate(at_forget), s.splat(self.lstm.forget_bias));
            let mut o = gate(3);
            if let Some(peepholes) = &self.peepholes {
                i = s.mul_add(before, load(peepholes.input), i);
                f = s.mul_add(before, load(peepholes.forget), f);
            }
            let (i, f) = (math::sigmoid(s, i), math::sigmoid(s, f));
            let mut cs = s.add(s.mul(i, ci), s.mul(f, before));
            if clip > 0.0 {
                // NaN stays what it is.
                let below = s.select_lt(s.splat(clip), cs, s.splat(clip), cs);
                cs = s.select_lt(below, s.splat(-clip), s.splat(-clip), below);
            }
            let co = math::tanh(s, cs);
            if let Some(peepholes) = &self.peepholes {
                o = s.mul_add(cs, load(peepholes.output), o);
            }
            let o = math::sigmoid(s, o);
            let values = [i, cs, f, o, ci, co, s.mul(o, co)];
            let mut n = 0;
            while n < values.len() {
                // SAFETY: as above.
                unsafe { s.store_partial(to[n][j..].as_mut_ptr(), values[n], count) };
                n += 1;
            }
            j += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, step: f32) -> Vec<f32> {
        (0..count).map(|n| ((n as f32 * step).sin() * 1e3).fract() * 0.8).collect()
    }

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    /// The definition, in double precision: i, cs, f, o, ci, co, h of each step.
    fn reference(
        lstm: &Lstm,
        x: &[f32],
        weight: &[f32],
        peepholes: Option<Peepholes<'_>>,
        bias: &[f32],
    ) -> Vec<[f64; 7]> {
        let (hidden, steps) = (lstm.hidden, x.len() / (lstm.batch * lstm.input));
        let state = lstm.batch * hidden;
        let (mut cs, mut h) = (vec![0.1f64; state], vec![-0.2f64; state]);
        let mut all = Vec::new();
        for step in 0..steps {
            let last = h.clone();
            for (row, unit) in (0..state).map(|n| (n / hidden, n % hidden)) {
                let gate = |number: usize| {
                    let column = number * hidden + unit;
                    let x = &x[(step * lstm.batch + row) * lstm.input..][..lstm.input];
                    let inputs =
                        x.iter().map(|v| *v as f64).chain(last[row * hidden..][..hidden].iter().copied());
                    let at = |k: usize| weight[k * 4 * hidden + column] as f64;
                    inputs.enumerate().map(|(k, v)| v * at(k)).sum::<f64>() + bias[column] as f64
                };
                let (cell, forget) = if lstm.order == GateOrder::Icfo { (1, 2) } else { (2, 1) };
                let before = cs[row * hidden + unit];
                let weights = |pick: usize| {
                    peepholes.as_ref().map_or(0.0, |p| [p.input, p.forget, p.output][pick][unit] as f64)
                };
                let i = sigmoid(gate(0) + weights(0) * before);
                let ci = gate(cell).tanh();
                let f = sigmoid(gate(forget) + lstm.forget_bias as f64 + weights(1) * before);
                let mut new = i * ci + f * before;
                if lstm.cell_clip > 0.0 {
                    new = new.clamp(-lstm.cell_clip as f64, lstm.cell_clip as f64);
                }
                let o = sigmoid(gate(3) + weights(2) * new);
                cs[row * hidden + unit] = new;
                h[row * hidden + unit] = o * new.tanh();
                all.push([i, new, f, o, ci, new.tanh(), o * new.tanh()]);
            }
        }
        all
    }

    #[test]
    fn is_what_the_definition_says() {
        for (batch, input, hidden, steps) in [(1, 5, 3, 4), (3, 2, 19, 2), (6, 33, 64, 5), (2, 3, 1, 0)] {
            for (order, clip, has_peepholes) in
                [(GateOrder::Icfo, 0.0, false), (GateOrder::Ifco, 0.3, true), (GateOrder::Icfo, 0.3, true)]
            {
                let lstm = Lstm { batch, input, hidden, order, forget_bias: 0.7, cell_clip: clip };
                let (x, weight) =
                    (values(steps * batch * input, 0.7), values((input + hidden) * 4 * hidden, 1.3));
                let (bias, peep) = (values(4 * hidden, 2.1), values(3 * hidden, 0.3));
                let peepholes = has_peepholes.then(|| Peepholes {
                    input: &peep[..hidden],
                    forget: &peep[hidden..2 * hidden],
                    output: &peep[2 * hidden..],
                });
                let expected = reference(&lstm, &x, &weight, peepholes, &bias);
                for threads in [1, 3] {
                    let pool = ThreadPool::new(threads).unwrap();
                    let mut out = vec![vec![f32::NAN; steps * batch * hidden]; 7];
                    let [i, cs, f, o, ci, co, h] = &mut out[..] else { unreachable!() };
                    let outputs = LstmOutputs { i, cs, f, o, ci, co, h };
                    let mut scratch = vec![0; lstm.scratch_bytes(pool.isa(), steps, threads).unwrap()];
                    let state = batch * hidden;
                    let (cs_prev, h_prev) = (vec![0.1; state], vec![-0.2; state]);
                    let before = (&cs_prev[..], &h_prev[..]);
                    lstm.run(&pool, &x, before, &weight, peepholes, &bias, outputs, &mut scratch).unwrap();
                    for (n, expected) in expected.iter().enumerate() {
                        for (k, expected) in expected.iter().enumerate() {
                            let error = (out[k][n] as f64 - expected).abs();
                            assert!(
                                error < 1e-5,
                                "{lstm:?}: output {k} at {n} is {}, not {expected}",
                                out[k][n]
                            );
                        }
                    }
                }
            }
        }
    }
}
