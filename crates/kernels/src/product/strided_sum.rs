//! A tensor seen through strides, summed over some of its dimensions and stored dense: transposes, diagonals and the
//! sums around a product, as Einsum asks for them.

use bytemuck::Pod;
use tightfit_core::{DType, Shared};

use crate::base::complex::{Complex, Float, Wide};
use crate::base::error::{KernelError, check_at_least, check_exact, product};
use crate::base::threads::ThreadPool;

/// A dimension of a tensor in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StridedDim {
    /// How many elements.
    pub size: usize,
    /// Elements from one to the next in memory; 0 repeats one.
    pub stride: usize,
}

/// Elements read that are worth a task of their own.
const TASK_WORK: usize = 1 << 16;

/// A number to add up. Integers wrap; float32 is summed in float64.
trait Number: Pod + Send + Sync {
    type Sum: Copy;
    const ZERO: Self::Sum;
    fn add(sum: Self::Sum, x: Self) -> Self::Sum;
    fn narrow(sum: Self::Sum) -> Self;
}

macro_rules! number {
    ($($t:ty, $sum:ty, $zero:expr, $s:ident $x:ident => $add:expr;)*) => { $(
        impl Number for $t {
            type Sum = $sum;
            const ZERO: $sum = $zero;
            #[inline(always)]
            fn add($s: $sum, $x: $t) -> $sum {
                $add
            }
            #[inline(always)]
            fn narrow(sum: $sum) -> $t {
                sum as $t
            }
        }
    )* };
}

number! {
    f32, f64, 0.0, sum x => sum + x as f64;
    f64, f64, 0.0, sum x => sum + x;
    i32, i32, 0, sum x => sum.wrapping_add(x);
    i64, i64, 0, sum x => sum.wrapping_add(x);
}

impl<F: Float> Number for Complex<F> {
    type Sum = Wide;
    const ZERO: Wide = Wide::ZERO;

    #[inline(always)]
    fn add(sum: Wide, x: Self) -> Wide {
        sum + x.wide()
    }

    #[inline(always)]
    fn narrow(sum: Wide) -> Self {
        Complex::of(sum)
    }
}

/// Writes to each element of `dst`, dense over `kept`, the sum of `src` over `summed`; a copy where that is empty.
/// float32, float64, int32, int64 and complex numbers; the bytes are aligned for their type.
///
/// # Errors
/// [`KernelError`] for another type, a wrong alignment, a `dst` of another size and a `src` that strides leave.
pub fn strided_sum(
    pool: &ThreadPool,
    dtype: DType,
    kept: &[StridedDim],
    summed: &[StridedDim],
    src: &[u8],
    dst: &mut [u8],
) -> Result<(), KernelError> {
    match dtype {
        DType::F32 => run::<f32>(pool, kept, summed, src, dst),
        DType::F64 => run::<f64>(pool, kept, summed, src, dst),
        DType::I32 => run::<i32>(pool, kept, summed, src, dst),
        DType::I64 => run::<i64>(pool, kept, summed, src, dst),
        DType::C64 => run::<Complex<f32>>(pool, kept, summed, src, dst),
        DType::C128 => run::<Complex<f64>>(pool, kept, summed, src, dst),
        _ => Err(KernelError::Attribute(
            "strided sums are of float32, float64, int32, int64 or complex numbers",
        )),
    }
}

fn run<T: Number>(
    pool: &ThreadPool,
    kept: &[StridedDim],
    summed: &[StridedDim],
    src: &[u8],
    dst: &mut [u8],
) -> Result<(), KernelError> {
    let misaligned = |_| KernelError::Attribute("a tensor is not aligned for its type");
    let src: &[T] = bytemuck::try_cast_slice(src).map_err(misaligned)?;
    let dst: &mut [T] = bytemuck::try_cast_slice_mut(dst).map_err(misaligned)?;
    let (elements, terms) = (elements(kept)?, elements(summed)?);
    check_exact("the output", elements, dst.len())?;
    if elements == 0 {
        return Ok(());
    }
    if terms == 0 {
        dst.fill(T::zeroed());
        return Ok(());
    }
    check_at_least("the input", extent(kept.iter().chain(summed))?, src.len())?;
    let (inner, outer) =
        kept.split_last().map_or((StridedDim { size: 1, stride: 0 }, kept), |(i, o)| (*i, o));
    let rows = elements / inner.size;
    let tasks = (elements.saturating_mul(terms) / TASK_WORK).clamp(1, pool.threads() * 4).min(rows);
    let shared = Shared::new(dst);
    pool.run(tasks, &|task, _| {
        for row in rows * task / tasks..rows * (task + 1) / tasks {
            let start = offset(outer, row);
            // SAFETY: rows are disjoint parts of `dst`, which has `rows * inner.size` elements.
            let mut row = unsafe { shared.part(row * inner.size, inner.size) };
            for (i, out) in row.iter_mut().enumerate() {
                let start = start + i * inner.stride;
                *out = match summed {
                    [] => src[start],
                    _ => T::narrow(
                        (0..terms).fold(T::ZERO, |sum, t| T::add(sum, src[start + offset(summed, t)])),
                    ),
                };
            }
        }
    });
    Ok(())
}

fn elements(dims: &[StridedDim]) -> Result<usize, KernelError> {
    dims.iter().try_fold(1, |n, dim| product(&[n, dim.size]))
}

/// One past the largest index; every size is above 0.
fn extent<'a>(mut dims: impl Iterator<Item = &'a StridedDim>) -> Result<usize, KernelError> {
    dims.try_fold(1usize, |sum, dim| sum.checked_add((dim.size - 1).checked_mul(dim.stride)?))
        .ok_or(KernelError::Attribute("strides that reach past the end of memory"))
}

/// Where element `index` of `dims`, counted in row-major order, lies in memory.
#[inline(always)]
fn offset(dims: &[StridedDim], index: usize) -> usize {
    let mut rest = index;
    let mut offset = 0;
    for dim in dims.iter().rev() {
        offset += rest % dim.size * dim.stride;
        rest /= dim.size;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(kept: &[(usize, usize)], summed: &[(usize, usize)], src: &[i32]) -> Vec<i32> {
        let dims = |list: &[(usize, usize)]| {
            list.iter().map(|(size, stride)| StridedDim { size: *size, stride: *stride }).collect::<Vec<_>>()
        };
        let mut dst = vec![0; kept.iter().map(|k| k.0).product()];
        let pool = ThreadPool::new(1).unwrap();
        let (kept, summed) = (dims(kept), dims(summed));
        let out = bytemuck::cast_slice_mut(&mut dst);
        strided_sum(&pool, DType::I32, &kept, &summed, bytemuck::cast_slice(src), out).unwrap();
        dst
    }

    #[test]
    fn transposes_diagonals_and_sums() {
        let src = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(sum(&[(3, 1), (3, 3)], &[], &src), [1, 4, 7, 2, 5, 8, 3, 6, 9]);
        assert_eq!(sum(&[(3, 4)], &[], &src), [1, 5, 9]);
        assert_eq!(sum(&[], &[(3, 4)], &src), [15]);
        assert_eq!(sum(&[(3, 1)], &[(3, 3)], &src), [12, 15, 18]);
        assert_eq!(sum(&[(2, 0), (3, 1)], &[], &src[..3]), [1, 2, 3, 1, 2, 3]);
        assert_eq!(sum(&[(2, 1)], &[(0, 1)], &src), [0, 0]);
    }

    #[test]
    fn refuses_strides_that_leave_the_input() {
        let pool = ThreadPool::new(1).unwrap();
        let kept = [StridedDim { size: 3, stride: 4 }];
        assert!(strided_sum(&pool, DType::I32, &kept, &[], &[0; 32], &mut [0; 12]).is_err());
    }
}
