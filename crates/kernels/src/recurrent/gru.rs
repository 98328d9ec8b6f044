//! One step of a GRU, as TensorFlow's GRUBlockCell computes it.

use super::{add_product, floats_bytes, parts, product, take_floats};
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_exact};
use crate::base::math;
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::ThreadPool;
use crate::product::gemm::Epilogue;

/// A GRU cell.
#[derive(Debug, Clone, Copy)]
pub struct GruCell {
    /// Rows that are computed side by side.
    pub batch: usize,
    /// Numbers of the input.
    pub input: usize,
    /// Numbers of the state.
    pub hidden: usize,
}

/// What a step leaves, `[batch, hidden]` each.
#[derive(Debug)]
pub struct GruOutputs<'a> {
    /// The reset gate.
    pub r: &'a mut [f32],
    /// The update gate.
    pub u: &'a mut [f32],
    /// The cell's candidate.
    pub c: &'a mut [f32],
    /// The new state.
    pub h: &'a mut [f32],
}

impl GruCell {
    /// Bytes of scratch that [`Self::run`] needs.
    ///
    /// # Errors
    /// [`KernelError`] when the processor lacks the isa or the sizes overflow.
    pub fn scratch_bytes(&self, isa: Isa, threads: usize) -> Result<usize, KernelError> {
        let mut most = 0;
        for (k, n) in [(self.input, 2), (self.hidden, 2), (self.input, 1), (self.hidden, 1)] {
            most = most.max(product(isa, self.batch, k, n * self.hidden).scratch_bytes(threads)?);
        }
        Ok(floats_bytes(3 * self.batch * self.hidden) + most)
    }

    /// Computes a step of `x`, `[batch, input]`, from the state `h_prev`, `[batch, hidden]`. `weights` are those of the
    /// gates, `[input + hidden, 2 * hidden]` with reset before update, and those of the candidate, `[input + hidden,
    /// hidden]`; `biases` likewise.
    ///
    /// # Errors
    /// [`KernelError`] when a length is wrong or the scratch too small.
    #[allow(clippy::too_many_arguments)]
    pub fn run(
        &self,
        pool: &ThreadPool,
        x: &[f32],
        h_prev: &[f32],
        weights: [&[f32]; 2],
        biases: [&[f32]; 2],
        outputs: GruOutputs<'_>,
        scratch: &mut [u8],
    ) -> Result<(), KernelError> {
        let GruCell { batch, input, hidden } = *self;
        let state = batch * hidden;
        check_exact("the input", batch * input, x.len())?;
        check_exact("the state", state, h_prev.len())?;
        let GruOutputs { r, u, c, h } = outputs;
        for output in [&r, &u, &c, &h] {
            check_exact("an output", state, output.len())?;
        }
        let (floats, scratch) = take_floats(scratch, 3 * state)?;
        let (gates, reset) = floats.split_at_mut(2 * state);
        let isa = pool.isa();
        let (of_input, of_state) = parts(weights[0], input, hidden, 2 * hidden)?;
        product(isa, batch, input, 2 * hidden).run(
            pool,
            x,
            of_input,
            gates,
            Epilogue::bias(biases[0]),
            scratch,
        )?;
        add_product(pool, (batch, hidden, 2 * hidden), h_prev, of_state, gates, scratch)?;
        for row in 0..batch {
            let at = row * hidden..(row + 1) * hidden;
            dispatch(
                isa,
                Gates {
                    gates: &gates[2 * row * hidden..][..2 * hidden],
                    h_prev: &h_prev[at.clone()],
                    r: &mut r[at.clone()],
                    u: &mut u[at.clone()],
                    reset: &mut reset[at],
                },
            );
        }
        let (of_input, of_state) = parts(weights[1], input, hidden, hidden)?;
        product(isa, batch, input, hidden).run(pool, x, of_input, c, Epilogue::bias(biases[1]), scratch)?;
        add_product(pool, (batch, hidden, hidden), reset, of_state, c, scratch)?;
        dispatch(isa, Candidate { u, h_prev, c, h });
        Ok(())
    }
}

/// The gates of one row.
struct Gates<'a> {
    gates: &'a [f32],
    h_prev: &'a [f32],
    r: &'a mut [f32],
    u: &'a mut [f32],
    /// The state times the reset gate.
    reset: &'a mut [f32],
}

impl Kernel for Gates<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let hidden = self.h_prev.len();
        let mut j = 0;
        while j < hidden {
            let count = S::LANES.min(hidden - j);
            // SAFETY: `count` elements from `j` on are within the `hidden` of each slice.
            unsafe {
                let load = |from: &[f32]| s.load_partial(from[j..].as_ptr(), count);
                let r = math::sigmoid(s, load(&self.gates[..hidden]));
                let u = math::sigmoid(s, load(&self.gates[hidden..]));
                s.store_partial(self.r[j..].as_mut_ptr(), r, count);
                s.store_partial(self.u[j..].as_mut_ptr(), u, count);
                s.store_partial(self.reset[j..].as_mut_ptr(), s.mul(r, load(self.h_prev)), count);
            }
            j += count;
        }
    }
}

/// The candidate and the new state of all rows.
struct Candidate<'a> {
    u: &'a [f32],
    h_prev: &'a [f32],
    c: &'a mut [f32],
    h: &'a mut [f32],
}

impl Kernel for Candidate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let all = self.u.len().min(self.h_prev.len()).min(self.c.len()).min(self.h.len());
        let mut j = 0;
        while j < all {
            let count = S::LANES.min(all - j);
            // SAFETY: `count` elements from `j` on are within each slice.
            unsafe {
                let load = |from: &[f32]| s.load_partial(from[j..].as_ptr(), count);
                let c = math::tanh(s, load(self.c));
                let h = s.mul_add(load(self.u), s.sub(load(self.h_prev), c), c);
                s.store_partial(self.c[j..].as_mut_ptr(), c, count);
                s.store_partial(self.h[j..].as_mut_ptr(), h, count);
            }
            j += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_the_definition_says() {
        let values = |count: usize, step: f32| -> Vec<f32> {
            (0..count).map(|n| ((n as f32 * step).sin() * 1e3).fract() * 0.8).collect()
        };
        for (batch, input, hidden) in [(1, 5, 3), (3, 2, 19), (7, 40, 33)] {
            let cell = GruCell { batch, input, hidden };
            let (x, before) = (values(batch * input, 0.7), values(batch * hidden, 0.9));
            let weights = [2, 1].map(|n| values((input + hidden) * n * hidden, 1.3 + n as f32));
            let biases = [2, 1].map(|n| values(n * hidden, 0.3 + n as f32));
            let sum = |row: usize, which: usize, column: usize, state: &dyn Fn(usize) -> f64| {
                let columns = [2, 1][which] * hidden;
                let inputs = (0..input).map(|k| x[row * input + k] as f64).chain((0..hidden).map(state));
                let products =
                    inputs.enumerate().map(|(k, v)| v * weights[which][k * columns + column] as f64);
                products.sum::<f64>() + biases[which][column] as f64
            };
            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
            let pool = ThreadPool::new(2).unwrap();
            let mut out = vec![vec![f32::NAN; batch * hidden]; 4];
            let [r, u, c, h] = &mut out[..] else { unreachable!() };
            let mut scratch = vec![0; cell.scratch_bytes(pool.isa(), 2).unwrap()];
            let (w, b) = ([&weights[0][..], &weights[1]], [&biases[0][..], &biases[1]]);
            cell.run(&pool, &x, &before, w, b, GruOutputs { r, u, c, h }, &mut scratch).unwrap();
            for (row, unit) in (0..batch * hidden).map(|n| (n / hidden, n % hidden)) {
                let state = |k: usize| before[row * hidden + k] as f64;
                let reset = |k: usize| sigmoid(sum(row, 0, k, &state));
                let u = sigmoid(sum(row, 0, hidden + unit, &state));
                let c = sum(row, 1, unit, &|k| state(k) * reset(k)).tanh();
                let expected = [reset(unit), u, c, (1.0 - u) * c + u * state(unit)];
                for (k, expected) in expected.iter().enumerate() {
                    let got = out[k][row * hidden + unit];
                    assert!(
                        (got as f64 - expected).abs() < 1e-5,
                        "{cell:?}: output {k} is {got}, not {expected}"
                    );
                }
            }
        }
    }
}
