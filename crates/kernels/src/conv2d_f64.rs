//! Convolutions of f64 and i32: simple, cut over output pixels for threads.

use crate::conv2d::{Conv2dParams, valid_elements};
use crate::error::{KernelError, check_exact};
use crate::gemm::product;
use crate::threads::{SharedPtr, ThreadPool};

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
    let shared = SharedPtr::new(out.as_mut_ptr());
    pool.run(rows.div_ceil(per_task), &|task, _| {
        for number in task * per_task..((task + 1) * per_task).min(rows) {
            // SAFETY: each row is visited once, and lies within `out`.
            let out = unsafe { std::slice::from_raw_parts_mut(shared.get().add(number * row_len), row_len) };
            row(number, out);
        }
    });
}

/// A convolution of `[batch, height, width, in_channels]` by `[window height, window width, in_channels / groups,
/// out_channels]`. A depthwise one has as many groups as input channels.
///
/// # Errors
/// [`KernelError`] when the parameters make no sense or a length is wrong.
pub fn conv2d_f64(
    pool: &ThreadPool,
    p: &Conv2dParams,
    input: &[f64],
    filter: &[f64],
    out: &mut [f64],
) -> Result<(), KernelError> {
    conv2d(pool, p, input, filter, out, |sum, x, w| sum + x * w)
}

/// [`conv2d_f64`] of integers, whose sums wrap.
///
/// # Errors
/// As there.
pub fn conv2d_i32(
    pool: &ThreadPool,
    p: &Conv2dParams,
    input: &[i32],
    filter: &[i32],
    out: &mut [i32],
) -> Result<(), KernelError> {
    conv2d(pool, p, input, filter, out, |sum, x, w| sum.wrapping_add(x.wrapping_mul(w)))
}

fn conv2d<T: Copy + Default + Send + Sync>(
    pool: &ThreadPool,
    p: &Conv2dParams,
    input: &[T],
    filter: &[T],
    out: &mut [T],
    add: impl Fn(T, T, T) -> T + Sync,
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
        for (ky, iy) in valid_elements(&p.window, 0, y, p.height) {
            for (kx, ix) in valid_elements(&p.window, 1, x, p.width) {
                let from =
                    &input[((image * p.height + iy) * p.width + ix) * p.in_channels..][..p.in_channels];
                for (c, value) in from.iter().enumerate() {
                    let tap = ((ky * columns + kx) * ci + c % ci) * p.out_channels + c / ci * co;
                    for (sum, weight) in sums[c / ci * co..][..co].iter_mut().zip(&filter[tap..tap + co]) {
                        *sum = add(*sum, *value, *weight);
                    }
                }
            }
        }
    });
    Ok(())
}
