//! Convolutions of f64 and i32, and their transposes: simple, cut over output pixels for threads.

use tightfit_core::Shared;

use crate::base::error::{KernelError, check_exact, product};
use crate::base::threads::ThreadPool;
use crate::base::window::element_at;
use crate::product::conv2d::Conv2dParams;

/// Multiply-adds that are worth a task of their own.
const TASK_WORK: usize = 1 << 16;

/// Calls `row(number, the row)` for each row of `out`, on all threads.
fn for_each_row<T: Send>(
    pool: &ThreadPool,
    out: &mut [T],
    row_len: usize,
    work: usize,
    row: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    if out.is_empty() {
        return;
    }
    let rows = out.len() / row_len;
    let tasks = (work / TASK_WORK).clamp(1, 4 * pool.threads()).min(rows);
    let per_task = rows.div_ceil(tasks);
    let shared = Shared::new(out);
    pool.run(rows.div_ceil(per_task), &|task, _| {
        for number in task * per_task..((task + 1) * per_task).min(rows) {
            // SAFETY: each row is visited once, and lies within `out`.
            let mut out = unsafe { shared.part(number * row_len, row_len) };
            row(number, &mut out);
        }
    });
}

/// An element that sums of products are made of; sums of integers wrap.
pub trait Term: Copy + Default + Send + Sync {
    /// The sum and `x` times `w`.
    fn plus(self, x: Self, w: Self) -> Self;
}

impl Term for f64 {
    #[inline]
    fn plus(self, x: f64, w: f64) -> f64 {
        self + x * w
    }
}

impl Term for i32 {
    #[inline]
    fn plus(self, x: i32, w: i32) -> i32 {
        self.wrapping_add(x.wrapping_mul(w))
    }
}

/// The transpose of [`conv2d_plain`], of one group: `input`, `[batch, height', width', out_channels]`, is what the
/// convolution would make, and `out` `[batch, height, width, in_channels]` what it would be made from.
///
/// # Errors
/// As there.
pub fn conv2d_transpose_plain<T: Term>(
    pool: &ThreadPool,
    p: &Conv2dParams,
    input: &[T],
    filter: &[T],
    out: &mut [T],
) -> Result<(), KernelError> {
    let [height, width] = p.check()?;
    let [rows, columns] = p.window.size;
    crate::base::error::ensure(p.groups == 1, "Conv2DBackpropInput", "there is one group")?;
    let (channels, from_channels) = (p.in_channels, p.out_channels);
    check_exact("the input", product(&[p.batch, height, width, from_channels])?, input.len())?;
    check_exact("the filter", product(&[rows, columns, channels, from_channels])?, filter.len())?;
    check_exact("the output", product(&[p.batch, p.height, p.width, channels])?, out.len())?;
    let work = out.len().saturating_mul(rows * columns * from_channels);
    // The place in the input from which an element of the window reaches a place of the output.
    let reaching = |axis: usize, at: usize, element: usize, size: usize| {
        let ahead = (at + p.window.pads[2 * axis]).checked_sub(element * p.window.dilations[axis])?;
        let place = ahead / p.window.strides[axis];
        (ahead.is_multiple_of(p.window.strides[axis]) && place < size).then_some(place)
    };
    for_each_row(pool, out, channels, work, &|pixel, sums| {
        let (x, y, image) = (pixel % p.width, pixel / p.width % p.height, pixel / p.width / p.height);
        sums.fill(T::default());
        for ky in 0..rows {
            let Some(iy) = reaching(0, y, ky, height) else { continue };
            for kx in 0..columns {
                let Some(ix) = reaching(1, x, kx, width) else { continue };
                let from = &input[((image * height + iy) * width + ix) * from_channels..][..from_channels];
                let taps = &filter[(ky * columns + kx) * channels * from_channels..];
                for (sum, weights) in sums.iter_mut().zip(taps.chunks_exact(from_channels.max(1))) {
                    *sum = from.iter().zip(weights).fold(*sum, |sum, (x, w)| sum.plus(*x, *w));
                }
            }
        }
    });
    Ok(())
}

/// A convolution of `[batch, height, width, in_channels]` by `[window height, window width, in_channels / groups,
/// out_channels]`. A depthwise one has as many groups as input channels.
///
/// # Errors
/// [`KernelError`] when the parameters make no sense or a length is wrong.
pub fn conv2d_plain<T: Term>(
    pool: &ThreadPool,
    p: &Conv2dParams,
    input: &[T],
    filter: &[T],
    out: &mut [T],
) -> Result<(), KernelError> {
    let [height, width] = p.check()?;
    let [rows, columns] = p.window.size;
    let (ci, co) = (p.in_channels / p.groups, p.out_channels / p.groups);
    check_exact("the input", product(&[p.batch, p.height, p.width, p.in_channels])?, input.len())?;
    check_exact("the filter", product(&[rows, columns, ci, p.out_channels])?, filter.len())?;
    check_exact("the output", product(&[p.batch, height, width, p.out_channels])?, out.len())?;
    let work = out.len().saturating_mul(rows * columns * ci);
    for_each_row(pool, out, p.out_channels, work, &|pixel, sums| {
        let (x, y, image) = (pixel % width, pixel / width % height, pixel / width / height);
        sums.fill(T::default());
        for tap in 0..rows * columns {
            let (ky, kx) = (tap / columns, tap % columns);
            let place =
                element_at(&p.window, 0, y, ky, p.height).zip(element_at(&p.window, 1, x, kx, p.width));
            let from = place.map(|(iy, ix)| {
                &input[((image * p.height + iy) * p.width + ix) * p.in_channels..][..p.in_channels]
            });
            for c in 0..p.in_channels {
                // Around the image are zeros, which times an infinite weight are NaN.
                let value = from.map_or(T::default(), |from| from[c]);
                let tap = ((ky * columns + kx) * ci + c % ci) * p.out_channels + c / ci * co;
                for (sum, weight) in sums[c / ci * co..][..co].iter_mut().zip(&filter[tap..tap + co]) {
                    *sum = sum.plus(value, *weight);
                }
            }
        }
    });
    Ok(())
}
