//! A layer of SVDF filters in integers: int8 in and out, and a memory of int16 for what each filter has seen of the last steps.
//!
//! Source: Nakkiran et al., "Compressing Deep Neural Networks using a Rank-Constrained Topology" (2015).

use tightfit_core::Shared;

use super::dot::{Dot, ROWS};
use super::filter::FLIP;
use super::multiplier::Multiplier;
use crate::base::access::split_range;
use crate::base::error::{KernelError, Result, check_exact, product};
use crate::base::threads::ThreadPool;

/// One step of a layer.
#[derive(Debug, Clone, Copy)]
pub struct AffineSvdf<'a> {
    /// How many rows there are, inputs of each, units, filters of a unit, and steps that a filter remembers.
    pub size: [usize; 5],
    /// int8, `[units * rank, inputs]`.
    pub feature: &'a [u8],
    /// `[units * rank, steps]`.
    pub time: &'a [i16],
    /// What is added to the sum of each unit.
    pub bias: Option<&'a [i32]>,
    /// What stands for 0 in the input.
    pub input_zero: i32,
    /// What brings a product with the features to the memory's scale.
    pub to_memory: Multiplier,
    /// What brings a unit's sum to the output's scale, and what stands for 0 there.
    pub to_output: (Multiplier, i32),
}

impl AffineSvdf<'_> {
    /// Bytes of scratch that [`AffineSvdf::run`] needs.
    pub fn scratch_bytes(inputs: usize) -> usize {
        inputs
    }

    /// Forgets the oldest step of `memory`, `[rows, units * rank, steps]`, remembers `input`, `[rows, inputs]`, and computes
    /// the output, int8 `[rows, units]`.
    ///
    /// # Errors
    /// [`KernelError`] when a length is wrong or the scratch too small.
    pub fn run(
        &self,
        pool: &ThreadPool,
        input: &[u8],
        memory: &mut [i16],
        output: &mut [u8],
        scratch: &mut [u8],
    ) -> Result<()> {
        let [rows, inputs, units, rank, steps] = self.size;
        check_exact("the input", product(&[rows, inputs])?, input.len())?;
        check_exact("the output", product(&[rows, units])?, output.len())?;
        check_exact("the memory", product(&[rows, units, rank, steps])?, memory.len())?;
        check_exact("the weights of features", product(&[units, rank, inputs])?, self.feature.len())?;
        check_exact("the weights of time", product(&[units, rank, steps])?, self.time.len())?;
        check_exact("the bias", units, self.bias.map_or(units, <[i32]>::len))?;
        let needed_bytes = Self::scratch_bytes(inputs);
        let given_bytes = scratch.len();
        let Some(x) = scratch.get_mut(..inputs) else {
            return Err(KernelError::Scratch { needed_bytes, given_bytes });
        };
        if output.is_empty() {
            return Ok(());
        }
        let dot = Dot::of(pool.isa());
        let remembered = rank * steps;
        for row in 0..rows {
            let from = &input[row * inputs..(row + 1) * inputs];
            x.iter_mut().zip(from).for_each(|(to, byte)| *to = byte ^ FLIP);
            let own = row * units * remembered..(row + 1) * units * remembered;
            let (filters, results) =
                (Shared::new(&mut memory[own]), &mut output[row * units..(row + 1) * units]);
            let results = Shared::new(results);
            split_range(pool, units, rank * (inputs + steps) / 4, &|first, count| {
                for unit in first..first + count {
                    // SAFETY: filters and results of units are apart.
                    let (mut filters, mut result) =
                        unsafe { (filters.part(unit * remembered, remembered), results.part(unit, 1)) };
                    result[0] = self.unit(dot, unit, x, &mut filters);
                }
            });
        }
        Ok(())
    }

    /// Moves the filters of a unit one step on. Returns its output.
    fn unit(&self, dot: Dot, unit: usize, x: &[u8], filters: &mut [i16]) -> u8 {
        let [_, inputs, _, rank, steps] = self.size;
        let mut sum = self.bias.map_or(0, |bias| bias[unit]);
        for (filter, seen) in (unit * rank..(unit + 1) * rank).zip(filters.chunks_exact_mut(steps.max(1))) {
            let features = &self.feature[filter * inputs..(filter + 1) * inputs];
            let mut sums = [0; ROWS];
            let total = dot.rows(x, inputs, 1, features, &mut sums);
            let product = sums[0].wrapping_sub(total.wrapping_mul(self.input_zero + FLIP as i32));
            seen.copy_within(1.., 0);
            let newest = self.to_memory.apply(product).clamp(i16::MIN as i32, i16::MAX as i32);
            seen[steps - 1] = newest as i16;
            let weights = &self.time[filter * steps..(filter + 1) * steps];
            let products = weights.iter().zip(&*seen).map(|(a, b)| *a as i32 * *b as i32);
            sum = sum.wrapping_add(products.fold(0, i32::wrapping_add));
        }
        let (multiplier, zero) = self.to_output;
        multiplier.apply(sum).wrapping_add(zero).clamp(-128, 127) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_weighs_what_it_has_seen() {
        // One unit of two filters over two inputs, of which the input's 0 is -1: the first sums them up, the second takes
        // their difference; twice the last step and once the one before of the first, minus the last of the second.
        let (feature, time) = ([1i8, 1, 1, -1], [1i16, 2, 0, -1]);
        let mut memory = [5i16, 7, 1, 3];
        let svdf = AffineSvdf {
            size: [1, 2, 1, 2, 2],
            feature: bytemuck::cast_slice(&feature),
            time: &time,
            bias: Some(&[10]),
            input_zero: -1,
            to_memory: Multiplier::of(2.0),
            to_output: (Multiplier::of(0.5), 3),
        };
        let pool = ThreadPool::new(1).unwrap();
        let (mut output, mut scratch) = ([0u8], [0u8; 2]);
        let mut step = |x: [i8; 2], memory: &mut [i16]| {
            svdf.run(&pool, bytemuck::cast_slice(&x), memory, &mut output, &mut scratch).unwrap();
            output[0] as i8
        };
        // Sums of 2 * (4 + 2) = 12 and 2 * (4 - 2) = 4: (10 + 7 + 24 - 4) / 2 = 18.5, rounded up, and 3.
        assert_eq!(step([3, 1], &mut memory), 22);
        assert_eq!(memory, [7, 12, 3, 4]);
        // Sums of 2 and -2: (10 + 12 + 4 + 2) / 2 = 14, and 3.
        assert_eq!(step([-1, 0], &mut memory), 17);
        assert_eq!(memory, [12, 2, 4, -2]);
        assert!(svdf.run(&pool, &[0; 2], &mut memory, &mut [0], &mut []).is_err());
        assert!(svdf.run(&pool, &[0; 3], &mut memory, &mut [0], &mut [0; 3]).is_err());
    }
}
