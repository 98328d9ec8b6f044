//! Convolutions of f64 and i32 over images and volumes, and their transposes: simple, cut over output pixels for threads.

use tightfit_core::Shared;

use crate::base::error::{KernelError, check_exact, product};
use crate::base::threads::ThreadPool;
use crate::product::conv2d::{Conv2dParams, Conv3dParams};

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

impl Term for f32 {
    #[inline]
    fn plus(self, x: f32, w: f32) -> f32 {
        self + x * w
    }
}

impl Term for i32 {
    #[inline]
    fn plus(self, x: i32, w: i32) -> i32 {
        self.wrapping_add(x.wrapping_mul(w))
    }
}

/// The transpose of [`conv3d_plain`], of one group: `input`, `[batch, depth', height', width', out_channels]`, is what the
/// convolution would make, and `out` `[batch, depth, height, width, in_channels]` what it would be made from.
///
/// # Errors
/// As there.
pub fn conv3d_transpose_plain<T: Term>(
    pool: &ThreadPool,
    p: &Conv3dParams,
    input: &[T],
    filter: &[T],
    out: &mut [T],
) -> Result<(), KernelError> {
    let from_size = p.check()?;
    let ([planes, rows, columns], [deep, high, wide]) = (p.window.size, p.size);
    crate::base::error::ensure(p.groups == 1, "Conv2DBackpropInput", "there is one group")?;
    let (channels, from_channels) = (p.in_channels, p.out_channels);
    let [depth, height, width] = from_size;
    check_exact("the input", product(&[p.batch, depth, height, width, from_channels])?, input.len())?;
    check_exact("the filter", product(&[planes, rows, columns, channels, from_channels])?, filter.len())?;
    check_exact("the output", product(&[p.batch, deep, high, wide, channels])?, out.len())?;
    let work = out.len().saturating_mul(planes * rows * columns * from_channels);
    // The place in the input from which an element of the window reaches a place of the output.
    let reaching = |axis: usize, at: usize, element: usize| {
        let ahead = (at + p.window.pads[2 * axis]).checked_sub(element * p.window.dilations[axis])?;
        let place = ahead / p.window.strides[axis];
        (ahead.is_multiple_of(p.window.strides[axis]) && place < from_size[axis]).then_some(place)
    };
    for_each_row(pool, out, channels, work, &|pixel, sums| {
        let (x, y, rest) = (pixel % wide, pixel / wide % high, pixel / wide / high);
        let (z, volume) = (rest % deep, rest / deep);
        sums.fill(T::default());
        for tap in 0..planes * rows * columns {
            let (kx, ky, kz) = (tap % columns, tap / columns % rows, tap / columns / rows);
            let place = reaching(0, z, kz).zip(reaching(1, y, ky)).zip(reaching(2, x, kx));
            let Some(((iz, iy), ix)) = place else { continue };
            let from = (((volume * depth + iz) * height + iy) * width + ix) * from_channels;
            let from = &input[from..][..from_channels];
            let taps = &filter[tap * channels * from_channels..];
            for (sum, weights) in sums.iter_mut().zip(taps.chunks_exact(from_channels.max(1))) {
                *sum = from.iter().zip(weights).fold(*sum, |sum, (x, w)| sum.plus(*x, *w));
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
    conv3d_plain(pool, &(*p).into(), input, filter, out)
}

/// A convolution of volumes, as [`conv2d_plain`] with depth before height.
///
/// # Errors
/// As there.
pub fn conv3d_plain<T: Term>(
    pool: &ThreadPool,
    p: &Conv3dParams,
    input: &[T],
    filter: &[T],
    out: &mut [T],
) -> Result<(), KernelError> {
    let [depth, height, width] = p.check()?;
    let ([planes, rows, columns], [deep, high, wide]) = (p.window.size, p.size);
    let (ci, co) = (p.in_channels / p.groups, p.out_channels / p.groups);
    check_exact("the input", product(&[p.batch, deep, high, wide, p.in_channels])?, input.len())?;
    check_exact("the filter", product(&[planes, rows, columns, ci, p.out_channels])?, filter.len())?;
    check_exact("the output", product(&[p.batch, depth, height, width, p.out_channels])?, out.len())?;
    let work = out.len().saturating_mul(planes * rows * columns * ci);
    let at = |axis: usize, position: usize, element: usize| {
        p.window.element_at(axis, position, element, p.size[axis])
    };
    for_each_row(pool, out, p.out_channels, work, &|pixel, sums| {
        let (x, y, rest) = (pixel % width, pixel / width % height, pixel / width / height);
        let (z, volume) = (rest % depth, rest / depth);
        sums.fill(T::default());
        for tap in 0..planes * rows * columns {
            let (kx, ky, kz) = (tap % columns, tap / columns % rows, tap / columns / rows);
            let place = at(0, z, kz).zip(at(1, y, ky)).zip(at(2, x, kx));
            let from = place.map(|((iz, iy), ix)| {
                &input[(((volume * deep + iz) * high + iy) * wide + ix) * p.in_channels..][..p.in_channels]
            });
            for c in 0..p.in_channels {
                // Around the volume are zeros, which times an infinite weight are NaN.
                let value = from.map_or(T::default(), |from| from[c]);
                let weights = (tap * ci + c % ci) * p.out_channels + c / ci * co;
                for (sum, weight) in sums[c / ci * co..][..co].iter_mut().zip(&filter[weights..weights + co])
                {
                    *sum = sum.plus(value, *weight);
                }
            }
        }
    });
    Ok(())
}
