//! A layer of LSTM cells in integers: int8 in and out, a cell state of int16, gates of int16 with 12 bits after the point.

use tightfit_core::Shared;

use super::dot::{Dot, ROWS};
use super::filter::FLIP;
use super::fixed::{logistic, tanh};
use super::multiplier::{Multiplier, divided_by_power};
use crate::base::access::split_range;
use crate::base::error::{KernelError, Result, check_exact, product};
use crate::base::threads::ThreadPool;

/// One of the gates.
#[derive(Debug, Clone, Copy)]
pub struct LstmGate<'a> {
    /// int8, `[units, inputs]`.
    pub weights: &'a [u8],
    /// int8, `[units, units]`.
    pub recurrent: &'a [u8],
    /// What is added to the sums of each unit.
    pub bias: Option<&'a [i32]>,
    /// What brings sums over inputs, and over the state, to the gate's scale.
    pub multipliers: [Multiplier; 2],
}

/// A layer over steps.
#[derive(Debug, Clone, Copy)]
pub struct AffineLstm<'a> {
    /// How many sequences there are, steps in each, inputs of a step, and units.
    pub size: [usize; 4],
    /// Steps come first, `[steps, batch, inputs]`; else sequences.
    pub is_time_major: bool,
    /// Input, forget, cell and output gate. Where there is no input gate, it lets in what the forget gate forgets.
    pub gates: (Option<LstmGate<'a>>, [LstmGate<'a>; 3]),
    /// What stands for 0 in the input.
    pub input_zero: i32,
    /// What stands for 0 in the output and its state.
    pub state_zero: i32,
    /// What brings the product of gate and cell to the output's scale, and what stands for 0 there.
    pub hidden: (Multiplier, i32),
    /// The cell state's scale is two to this power, -15 to -9: so that 0 to 6 of its bits are before the point.
    pub cell_exponent: i32,
    /// The largest cell state; 0 for any.
    pub cell_clip: i16,
}

/// The state that a layer goes on from, and leaves.
#[derive(Debug)]
pub struct LstmState<'a> {
    /// int8, `[batch, units]`.
    pub output: &'a mut [u8],
    /// `[batch, units]`.
    pub cell: &'a mut [i16],
}

fn bounded(x: i32) -> i16 {
    x.clamp(i16::MIN as i32, i16::MAX as i32) as i16
}

/// Bits before the point of gates.
const GATE_BITS: u32 = 3;

impl AffineLstm<'_> {
    /// Bytes of scratch that [`AffineLstm::run`] needs.
    pub fn scratch_bytes(inputs: usize, units: usize) -> usize {
        inputs + units + 4 * units * 2 + 2
    }

    fn check(&self, input: usize, output: usize, state: &LstmState<'_>) -> Result<()> {
        let [batch, steps, inputs, units] = self.size;
        check_exact("the input", product(&[batch, steps, inputs])?, input)?;
        check_exact("the output", product(&[batch, steps, units])?, output)?;
        check_exact("the output's state", batch * units, state.output.len())?;
        check_exact("the cells' state", batch * units, state.cell.len())?;
        for gate in self.gates.0.iter().chain(&self.gates.1) {
            check_exact("a gate's weights", product(&[units, inputs])?, gate.weights.len())?;
            check_exact("a gate's recurrent weights", product(&[units, units])?, gate.recurrent.len())?;
            check_exact("a gate's bias", units, gate.bias.map_or(units, <[i32]>::len))?;
        }
        Ok(())
    }

    /// Computes the output of each step, int8, and the state after the last one.
    ///
    /// # Errors
    /// [`KernelError`] when a length is wrong or the scratch too small.
    pub fn run(
        &self,
        pool: &ThreadPool,
        input: &[u8],
        state: LstmState<'_>,
        output: &mut [u8],
        scratch: &mut [u8],
    ) -> Result<()> {
        self.check(input.len(), output.len(), &state)?;
        let [batch, steps, inputs, units] = self.size;
        let needed_bytes = Self::scratch_bytes(inputs, units);
        if scratch.len() < needed_bytes {
            return Err(KernelError::Scratch { needed_bytes, given_bytes: scratch.len() });
        }
        let (x, rest) = scratch.split_at_mut(inputs);
        let (before, rest) = rest.split_at_mut(units);
        let odd = rest.as_ptr().align_offset(2);
        let gates: &mut [i16] = bytemuck::try_cast_slice_mut(&mut rest[odd..odd + 8 * units])
            .map_err(|_| KernelError::Misaligned { kernel: "tfl.unidirectional_sequence_lstm" })?;
        for sequence in 0..batch {
            let own = sequence * units..(sequence + 1) * units;
            let (hidden, cell) = (&mut state.output[own.clone()], &mut state.cell[own]);
            for step in 0..steps {
                let at = if self.is_time_major { step * batch + sequence } else { sequence * steps + step };
                let from = &input[at * inputs..(at + 1) * inputs];
                x.iter_mut().zip(from).for_each(|(to, byte)| *to = byte ^ FLIP);
                before.iter_mut().zip(&*hidden).for_each(|(to, byte)| *to = byte ^ FLIP);
                self.step(pool, x, before, cell, hidden, gates);
                output[at * units..(at + 1) * units].copy_from_slice(hidden);
            }
        }
        Ok(())
    }

    fn step(
        &self,
        pool: &ThreadPool,
        x: &[u8],
        before: &[u8],
        cell: &mut [i16],
        hidden: &mut [u8],
        gates: &mut [i16],
    ) {
        let units = cell.len();
        let (input, [forget, update, out]) = self.gates;
        let each = [input, Some(forget), Some(update), Some(out)];
        let sums = Shared::new(gates);
        split_range(pool, 4 * units, (x.len() + units) / 4, &|first, count| {
            for at in first..first + count {
                let Some(gate) = each[at / units] else { continue };
                // SAFETY: units of gates are apart.
                unsafe { sums.part(at, 1)[0] = self.sum(pool, &gate, at % units, x, before) };
            }
        });
        drop(sums);
        let (input_gate, rest) = gates.split_at(units);
        let (forget_gate, rest) = rest.split_at(units);
        let (cell_gate, output_gate) = rest.split_at(units);
        let (multiplier, zero) = self.hidden;
        let cell_bits = (15 + self.cell_exponent).clamp(0, 6) as u32;
        for unit in 0..units {
            let forget = logistic(forget_gate[unit], GATE_BITS);
            let lets_in = match input {
                Some(_) => logistic(input_gate[unit], GATE_BITS),
                None => i16::MAX.wrapping_sub(forget),
            };
            let update = tanh(cell_gate[unit], GATE_BITS);
            let kept = divided_by_power(forget as i32 * cell[unit] as i32, 15) as i16;
            let shift = (30 + self.cell_exponent).clamp(0, 31) as u32;
            let added = divided_by_power(lets_in as i32 * update as i32, shift) as i16;
            let mut sum = bounded(kept as i32 + added as i32);
            if self.cell_clip > 0 {
                sum = sum.clamp(-self.cell_clip, self.cell_clip);
            }
            cell[unit] = sum;
            let out = logistic(output_gate[unit], GATE_BITS);
            let squashed = tanh(sum, cell_bits);
            let integer = multiplier.apply(out as i32 * squashed as i32).wrapping_add(zero);
            hidden[unit] = integer.clamp(-128, 127) as u8;
        }
    }

    /// What a gate sums up for a unit.
    fn sum(&self, pool: &ThreadPool, gate: &LstmGate<'_>, unit: usize, x: &[u8], before: &[u8]) -> i16 {
        let dot = Dot::of(pool.isa());
        let of = |weights: &[u8], numbers: &[u8], zero: i32| {
            let row = &weights[unit * numbers.len()..(unit + 1) * numbers.len()];
            let mut sums = [0; ROWS];
            let total = dot.rows(numbers, numbers.len(), 1, row, &mut sums);
            sums[0].wrapping_sub(total.wrapping_mul(zero + FLIP as i32))
        };
        let bias = gate.bias.map_or(0, |bias| bias[unit]);
        let own = of(gate.weights, x, self.input_zero).wrapping_add(bias);
        let own = bounded(gate.multipliers[0].apply(own));
        let recurrent = of(gate.recurrent, before, self.state_zero);
        bounded(gate.multipliers[1].apply(recurrent).wrapping_add(own as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_follow_the_layer_in_floats() {
        let (batch, steps, inputs, units) = (2, 5, 3, 4);
        let byte = |n: usize, step: usize| ((n * step % 201) as i32 - 100) as i8;
        let input: Vec<i8> = (0..batch * steps * inputs).map(|n| byte(n, 37)).collect();
        let weights: Vec<Vec<i8>> =
            (0..4).map(|g| (0..units * inputs).map(|n| byte(n, 53 + g)).collect()).collect();
        let recurrent: Vec<Vec<i8>> =
            (0..4).map(|g| (0..units * units).map(|n| byte(n, 71 + g)).collect()).collect();
        let (input_scale, weight_scale, output_scale) = (0.02f64, 0.01f64, 1.0 / 128.0);
        let gate = |g: usize| LstmGate {
            weights: bytemuck::cast_slice(&weights[g]),
            recurrent: bytemuck::cast_slice(&recurrent[g]),
            bias: None,
            multipliers: [input_scale, output_scale].map(|s| Multiplier::of(s * weight_scale * 4096.0)),
        };
        let lstm = AffineLstm {
            size: [batch, steps, inputs, units],
            is_time_major: false,
            gates: (Some(gate(0)), [gate(1), gate(2), gate(3)]),
            input_zero: 4,
            state_zero: 0,
            hidden: (Multiplier::of(2f64.powi(-30) / output_scale), 0),
            cell_exponent: -11,
            cell_clip: 0,
        };
        let pool = ThreadPool::new(2).unwrap();
        let (mut hidden, mut cell) = (vec![0u8; batch * units], vec![0i16; batch * units]);
        let mut output = vec![0u8; batch * steps * units];
        let mut scratch = vec![0; AffineLstm::scratch_bytes(inputs, units)];
        let state = LstmState { output: &mut hidden, cell: &mut cell };
        lstm.run(&pool, bytemuck::cast_slice(&input), state, &mut output, &mut scratch).unwrap();
        for sequence in 0..batch {
            let (mut h, mut c) = (vec![0f64; units], vec![0f64; units]);
            for step in 0..steps {
                let x = &input[(sequence * steps + step) * inputs..][..inputs];
                let before = h.clone();
                let sum = |g: usize, unit: usize| {
                    let own = (0..inputs).map(|i| {
                        weights[g][unit * inputs + i] as f64
                            * weight_scale
                            * (x[i] as f64 - 4.0)
                            * input_scale
                    });
                    let state =
                        (0..units).map(|i| recurrent[g][unit * units + i] as f64 * weight_scale * before[i]);
                    own.sum::<f64>() + state.sum::<f64>()
                };
                let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
                for unit in 0..units {
                    c[unit] = sigmoid(sum(1, unit)) * c[unit] + sigmoid(sum(0, unit)) * sum(2, unit).tanh();
                    h[unit] = sigmoid(sum(3, unit)) * c[unit].tanh();
                    let byte = output[(sequence * steps + step) * units + unit] as i8;
                    assert!((byte as f64 * output_scale - h[unit]).abs() < 0.02, "{sequence} {step} {unit}");
                }
            }
        }
        assert_eq!(&output[(steps - 1) * units..steps * units], &hidden[..units]);
    }
}
