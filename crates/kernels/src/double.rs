//! Products and convolutions of f64: exact enough and simple, cut over rows for threads and caches.

use crate::conv2d::{Conv2dParams, valid_elements};
use crate::error::{KernelError, check_at_least, check_exact};
use crate::gemm::product;
use crate::threads::{SharedPtr, ThreadPool};

/// Multiply-adds that are worth a task of their own.
const TASK_WORK: usize = 1 << 16;

/// Calls `row(number, the row)` for each row of `out`, on all threads.
fn for_each_row(
    pool: &ThreadPool,
    out: &mut [f64],
    row_len: usize,
    work: usize,
    row: &(dyn Fn(usize, &mut [f64]) + Sync),
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

/// to += factor · from
fn add_scaled(to: &mut [f64], factor: f64, from: &[f64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += factor * from;
    }
}

/// The product of `a`, `[m, k]` (stored `[k, m]` with `transpose_a`), and `b`, `[k, n]` (stored `[n, k]` with
/// `transpose_b`), into `[m, n]`.
///
/// # Errors
/// [`KernelError`] when a length is wrong or the sizes overflow.
pub fn matmul_f64(
    pool: &ThreadPool,
    [m, k, n]: [usize; 3],
    [transpose_a, transpose_b]: [bool; 2],
    a: &[f64],
    b: &[f64],
    out: &mut [f64],
) -> Result<(), KernelError> {
    check_exact("the left-hand side", product(&[m, k])?, a.len())?;
    check_exact("the right-hand side", product(&[k, n])?, b.len())?;
    check_exact("the output", product(&[m, n])?, out.len())?;
    let work = out.len().saturating_mul(k);
    for_each_row(pool, out, n, work, &|i, row| {
        let left = |l: usize| if transpose_a { a[l * m + i] } else { a[i * k + l] };
        if transpose_b {
            for (j, sum) in row.iter_mut().enumerate() {
                *sum = b[j * k..(j + 1) * k].iter().enumerate().map(|(l, b)| left(l) * b).sum();
            }
        } else {
            row.fill(0.0);
            (0..k).for_each(|l| add_scaled(row, left(l), &b[l * n..(l + 1) * n]));
        }
    });
    Ok(())
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
    let [height, width] = p.check()?;
    let [rows, columns] = p.window.size;
    let (ci, co) = (p.in_channels / p.groups, p.out_channels / p.groups);
    check_exact("the input", product(&[p.batch, p.height, p.width, p.in_channels])?, input.len())?;
    check_exact("the filter", product(&[rows, columns, ci, p.out_channels])?, filter.len())?;
    check_exact("the output", product(&[p.batch, height, width, p.out_channels])?, out.len())?;
    let work = out.len().saturating_mul(rows * columns * ci);
    for_each_row(pool, out, p.out_channels, work, &|pixel, sums| {
        let (x, y, image) = (pixel % width, pixel / width % height, pixel / width / height);
        sums.fill(0.0);
        for (ky, iy) in valid_elements(&p.window, 0, y, p.height) {
            for (kx, ix) in valid_elements(&p.window, 1, x, p.width) {
                let from =
                    &input[((image * p.height + iy) * p.width + ix) * p.in_channels..][..p.in_channels];
                for (c, value) in from.iter().enumerate() {
                    let tap = ((ky * columns + kx) * ci + c % ci) * p.out_channels + c / ci * co;
                    add_scaled(&mut sums[c / ci * co..][..co], *value, &filter[tap..tap + co]);
                }
            }
        }
    });
    Ok(())
}

/// The products of a batch: `matmul_f64` for matrices that start at `offsets(i)` = (a, b) in their operands.
///
/// # Errors
/// [`KernelError`] when a length is wrong or the sizes overflow.
pub fn batch_matmul_f64(
    pool: &ThreadPool,
    [batch, m, k, n]: [usize; 4],
    transposed: [bool; 2],
    (a, b, out): (&[f64], &[f64], &mut [f64]),
    offsets: &dyn Fn(usize) -> (usize, usize),
) -> Result<(), KernelError> {
    check_exact("the output", product(&[batch, m, n])?, out.len())?;
    let (a_len, b_len) = (product(&[m, k])?, product(&[k, n])?);
    for i in 0..batch {
        let (at, bt) = offsets(i);
        check_at_least("the left-hand side", at.saturating_add(a_len), a.len())?;
        check_at_least("the right-hand side", bt.saturating_add(b_len), b.len())?;
        let out = &mut out[i * m * n..(i + 1) * m * n];
        matmul_f64(pool, [m, k, n], transposed, &a[at..at + a_len], &b[bt..bt + b_len], out)?;
    }
    Ok(())
}
