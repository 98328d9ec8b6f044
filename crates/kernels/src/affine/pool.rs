//! Averages and largest integers under a window over `[batch, height, width, channels]`.

use tightfit_core::{Shared, TensorView, TensorViewMut};

use super::pairs::Integer;
use crate::base::access::{for_dtype, split_range, values, values_mut};
use crate::base::error::{KernelError, Result, check_exact, product};
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::ThreadPool;
use crate::base::window::{Window, Window3};
use crate::window::PoolKind;

/// Channels that are computed at once.
const CHANNELS: usize = 32;

/// A pool of int8, uint8 or int16, which stay of the scale that they are.
#[derive(Debug, Clone, Copy)]
pub struct AffinePool {
    /// What is made of a window's integers; an average is rounded to the nearest, halves away from 0.
    pub kind: PoolKind,
    /// Where it is.
    pub window: Window,
    /// The smallest and the largest integer.
    pub bounds: (i32, i32),
}

impl AffinePool {
    /// Computes the output, `[batch, height, width, channels]`.
    ///
    /// # Errors
    /// [`KernelError`] for other types and shapes that do not go together.
    pub fn run(&self, pool: &ThreadPool, src: TensorView<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
        const KERNEL: &str = "tfl.average_pool_2d";
        let dtype = dst.dtype();
        if src.dtype() != dtype {
            return Err(KernelError::DType { kernel: KERNEL, dtype: src.dtype() });
        }
        let shape = <[usize; 4]>::try_from(&src.shape()[..])
            .map_err(|_| KernelError::Attribute("an image of other than four axes"))?;
        for_dtype!(dtype, KERNEL, [I8, U8, I16], T => {
            self.lines(pool, shape, values::<T>(src.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?)
        })
    }

    fn lines<T: Integer>(
        &self,
        pool: &ThreadPool,
        input: [usize; 4],
        src: &[T],
        dst: &mut [T],
    ) -> Result<()> {
        let [batch, height, width, channels] = input;
        let [rows, columns] = self.window.output(height, width)?;
        check_exact("the output", product(&[batch, rows, columns, channels])?, dst.len())?;
        let row = columns * channels;
        let taps = self.window.size[0].saturating_mul(self.window.size[1]);
        let dst = Shared::new(dst);
        split_range(pool, batch * rows, row.saturating_mul(taps), &|first, count| {
            for line in first..first + count {
                // SAFETY: lines are apart.
                let mut to = unsafe { dst.part(line * row, row) };
                let line =
                    Line { pool: self, input, columns, src, line: (line / rows, line % rows), to: &mut to };
                dispatch(pool.isa(), line);
            }
        });
        Ok(())
    }
}

struct Line<'a, T> {
    pool: &'a AffinePool,
    input: [usize; 4],
    columns: usize,
    src: &'a [T],
    line: (usize, usize),
    to: &'a mut [T],
}

impl<T: Integer> Kernel for Line<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let [_, height, width, channels] = self.input;
        let window = Window3::from(self.pool.window);
        let rows = window.valid(1, self.line.1, height);
        let top = self.line.1 * window.strides[1];
        let is_largest = self.pool.kind == PoolKind::Max;
        for x in 0..self.columns {
            let columns = window.valid(2, x, width);
            let count = ((rows.1 - rows.0) * (columns.1 - columns.0)) as i32;
            for first in (0..channels).step_by(CHANNELS) {
                let block = CHANNELS.min(channels - first);
                let mut sums = [if is_largest { i32::MIN } else { 0 }; CHANNELS];
                for ty in rows.0..rows.1 {
                    let y = top + ty - window.pads[2];
                    for tx in columns.0..columns.1 {
                        let at_x = x * window.strides[2] + tx - window.pads[4];
                        let from = ((self.line.0 * height + y) * width + at_x) * channels + first;
                        let values = &self.src[from..from + block];
                        for (sum, value) in sums.iter_mut().zip(values) {
                            let value = value.wide();
                            *sum = if is_largest { value.max(*sum) } else { sum.wrapping_add(value) };
                        }
                    }
                }
                let to = &mut self.to[x * channels + first..][..block];
                for (to, sum) in to.iter_mut().zip(sums) {
                    let integer = match (is_largest, count) {
                        (true, _) => sum,
                        // A window that lies outside.
                        (false, 0) => 0,
                        (false, _) if sum > 0 => (sum + count / 2) / count,
                        (false, _) => (sum - count / 2) / count,
                    };
                    *to = T::narrow(integer.max(self.pool.bounds.0).min(self.pool.bounds.1));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tightfit_core::{DType, Shape};

    #[test]
    fn halves_are_rounded_away_from_zero() {
        let pool = ThreadPool::new(1).unwrap();
        let window = Window { strides: [2, 2], ..Window::new(2, 2) }.same(3, 2);
        let shape = |dims: &[usize]| Shape::new(dims).unwrap();
        let src: Vec<i8> = vec![1, 2, -3, -3, 4, 5];
        let view = TensorView::new(DType::I8, shape(&[1, 3, 2, 1]), bytemuck::cast_slice(&src)).unwrap();
        for (kind, expected) in [(PoolKind::Average, [-1i8, 5]), (PoolKind::Max, [2, 5])] {
            let mut out = [0u8; 2];
            let mut dst = TensorViewMut::new(DType::I8, shape(&[1, 2, 1, 1]), &mut out).unwrap();
            AffinePool { kind, window, bounds: (-128, 127) }.run(&pool, view, &mut dst).unwrap();
            assert_eq!(out.map(|b| b as i8), expected, "{kind:?}");
        }
    }
}
