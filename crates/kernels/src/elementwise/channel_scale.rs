//! A factor for each channel, and what a product does to its sums after it, in one pass over a tensor.

use crate::base::access::split_range;
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_exact};
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::ThreadPool;
use crate::product::gemm::{Epilogue, RawEpilogue};

/// Writes `x` `[.., channels]` times `factor` `[channels]` to `out`, with an epilogue. `x` is `None` where it is in `out`.
///
/// # Errors
/// [`KernelError::Length`] for lengths that do not go together.
pub fn scale_channels(
    pool: &ThreadPool,
    x: Option<&[f32]>,
    factor: &[f32],
    out: &mut [f32],
    epilogue: Epilogue<'_>,
) -> Result<(), KernelError> {
    let channels = factor.len();
    let rows = out.len().checked_div(channels).unwrap_or(0);
    check_exact("the output", rows * channels, out.len())?;
    if let Some(x) = x {
        check_exact("the input", out.len(), x.len())?;
    }
    let (to, len) = (out.as_mut_ptr(), out.len());
    let epilogue = epilogue.to_raw(channels, to, len)?;
    let x = x.map_or(to.cast_const(), <[f32]>::as_ptr);
    let all = Rows { x, factor, out: to, epilogue, first: 0, count: rows };
    split_range(pool, rows, channels, &|first, count| all.compute(pool.isa(), first, count));
    Ok(())
}

/// Some rows of the tensors, whose lengths have been checked.
struct Rows<'a> {
    x: *const f32,
    factor: &'a [f32],
    out: *mut f32,
    epilogue: RawEpilogue,
    first: usize,
    count: usize,
}

// SAFETY: tasks have rows of their own, and what is read outlives the run.
unsafe impl Sync for Rows<'_> {}

impl Rows<'_> {
    /// Computes these rows, which are no other task's.
    fn compute(&self, isa: Isa, first: usize, count: usize) {
        dispatch(isa, Rows { first, count, ..*self });
        let channels = self.factor.len();
        // SAFETY: the rows have just been written.
        unsafe { self.epilogue.finish(isa, self.out.wrapping_add(first * channels), count * channels) };
    }
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let channels = self.factor.len();
        for row in self.first..self.first + self.count {
            for channel in (0..channels).step_by(S::LANES) {
                let count = S::LANES.min(channels - channel);
                let element = row * channels + channel;
                // SAFETY: so many channels are left of the row, whose elements are read before they are written.
                unsafe {
                    let factor = s.load_partial(self.factor.as_ptr().add(channel), count);
                    let product = s.mul(s.load_partial(self.x.add(element), count), factor);
                    self.epilogue.store(s, product, [channel, element], count, self.out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, Residual};

    #[test]
    fn scales_and_shifts_each_channel() {
        for (rows, channels) in [(0, 3), (1, 1), (7, 5), (300, 16), (129, 37)] {
            let value = |i: usize| ((i * 7919) % 101) as f32 * 0.1 - 5.0;
            let x: Vec<f32> = (0..rows * channels).map(value).collect();
            let [factor, shift]: [Vec<f32>; 2] =
                [3, 11].map(|first| (0..channels).map(|i| value(i + first)).collect());
            let residual: Vec<f32> = x.iter().rev().copied().collect();
            for activation in [Activation::None, Activation::Relu, Activation::Sigmoid] {
                let pool = ThreadPool::new(2).unwrap();
                let epilogue = |residual| Epilogue { scale: None, shift: Some(&shift), residual, activation };
                let mut out = vec![0.0; x.len()];
                let tensor = Residual::Tensor(&residual);
                scale_channels(&pool, Some(&x), &factor, &mut out, epilogue(tensor)).unwrap();
                let mut in_place = x.clone();
                scale_channels(&pool, None, &factor, &mut in_place, epilogue(tensor)).unwrap();
                let mut waiting = residual.clone();
                scale_channels(&pool, Some(&x), &factor, &mut waiting, epilogue(Residual::Output)).unwrap();
                assert_eq!([&in_place, &waiting], [&out, &out]);
                for (i, y) in out.iter().enumerate() {
                    let sum = x[i] * factor[i % channels] + shift[i % channels] + residual[i];
                    let expected = match activation {
                        Activation::Relu => sum.max(0.0),
                        Activation::Sigmoid => 1.0 / (1.0 + (-sum).exp()),
                        _ => sum,
                    };
                    assert!((y - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{y} {expected}");
                }
            }
        }
        let pool = ThreadPool::new(1).unwrap();
        assert!(scale_channels(&pool, None, &[1.0; 3], &mut [0.0; 4], Epilogue::default()).is_err());
    }
}
