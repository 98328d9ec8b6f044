//! Whole rows: where values would stand in a sorted one, the nearest one that does not rise, and the running logarithm of
//! a sum of exponentials.

use std::cmp::Ordering;

use half::{bf16, f16};
use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::{for_dtype, split_with_cost, values, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;

/// For each value of `wanted` the place in its row of `sorted` (last axes; rows rise) before which all are less or, with
/// `upper`, not more. Numbers; places are int32 or int64.
///
/// # Errors
/// [`KernelError::Invalid`] for shapes that do not go together, [`KernelError::DType`] for other types.
pub fn search_sorted(
    pool: &ThreadPool,
    upper: bool,
    sorted: TensorView<'_>,
    wanted: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    let kernel = if upper { "UpperBound" } else { "LowerBound" };
    ensure(sorted.dtype() == wanted.dtype(), kernel, "both inputs have one element type")?;
    let rows: usize = wanted.shape().iter().rev().skip(1).product();
    let [len, count] = [sorted, wanted].map(|of| of.shape().last().copied().unwrap_or(1));
    for_dtype!(sorted.dtype(), kernel, numbers, T => {
        let (sorted, wanted) = (values::<T>(sorted.bytes(), kernel)?, values::<T>(wanted.bytes(), kernel)?);
        for_dtype!(dst.dtype(), kernel, [I32, I64], I => {
            let dst = values_mut::<I>(dst.bytes(), kernel)?;
            let is_shaped = sorted.len() == rows * len && dst.len() == wanted.len();
            ensure(is_shaped, kernel, "the inputs have as many rows, and the output is like the second")?;
            let cost = 2 * len.max(1).ilog2() as usize + 2;
            split_with_cost(pool, dst, 1, cost, &|first, dst| {
                for (n, to) in dst.iter_mut().enumerate() {
                    let at = first + n;
                    let (row, x) = (&sorted[at / count * len..][..len], wanted[at]);
                    let place = if upper {
                        // Of NaN nothing is more.
                        row.partition_point(|y| x.partial_cmp(y) != Some(Ordering::Less))
                    } else {
                        row.partition_point(|y| *y < x)
                    };
                    *to = place as I;
                }
            });
            Ok(())
        })
    })
}

/// Replaces each row (last axis) of `src` by the nearest one, by squares, that does not rise: runs of elements become
/// their mean. `segments` numbers the runs. Outputs are floats; `scratch` holds two float64 for each element of a row.
///
/// # Errors
/// [`KernelError::Invalid`] for outputs of another size, [`KernelError::Scratch`] for too little scratch,
/// [`KernelError::DType`] for other types.
#[allow(clippy::unnecessary_cast)] // one of the types is float64 already
pub fn isotonic_regression(
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
    segments: &mut TensorViewMut<'_>,
    scratch: &mut [u8],
) -> Result<()> {
    const KERNEL: &str = "IsotonicRegression";
    let len = src.shape().last().copied().unwrap_or(1);
    let (needed_bytes, given_bytes) = (len * 16, scratch.len());
    let scratch =
        scratch.get_mut(..needed_bytes).ok_or(KernelError::Scratch { needed_bytes, given_bytes })?;
    // Each run by its sum and how many it has.
    let (sums, counts) = values_mut::<f64>(scratch, KERNEL)?.split_at_mut(len);
    let segments = values_mut::<i32>(segments.bytes(), KERNEL)?;
    for_dtype!(src.dtype(), KERNEL, numbers, T => {
        let src = values::<T>(src.bytes(), KERNEL)?;
        for_dtype!(dst.dtype(), KERNEL, floats, O => {
            let dst = values_mut::<O>(dst.bytes(), KERNEL)?;
            ensure(dst.len() == src.len() && segments.len() == src.len(), KERNEL, "all are of one size")?;
            if len == 0 {
                return Ok(());
            }
            let rows = src.chunks_exact(len).zip(dst.chunks_exact_mut(len)).zip(segments.chunks_exact_mut(len));
            for ((src, dst), segments) in rows {
                let mut runs = 0;
                for x in src {
                    (sums[runs], counts[runs]) = (Narrow::wide(*x), 1.0);
                    runs += 1;
                    while runs > 1 && sums[runs - 1] / counts[runs - 1] > sums[runs - 2] / counts[runs - 2] {
                        runs -= 1;
                        sums[runs - 1] += sums[runs];
                        counts[runs - 1] += counts[runs];
                    }
                }
                let mut at = 0;
                for run in 0..runs {
                    for _ in 0..counts[run] as usize {
                        dst[at] = Narrow::narrow(sums[run] / counts[run]);
                        segments[at] = run as i32;
                        at += 1;
                    }
                }
            }
            Ok(())
        })
    })
}

/// A number by way of float64.
trait Narrow: Copy {
    fn wide(self) -> f64;
    fn narrow(x: f64) -> Self;
}

macro_rules! narrow {
    ($($T:ty)*) => { $(
        impl Narrow for $T {
            fn wide(self) -> f64 {
                self as f64
            }
            fn narrow(x: f64) -> Self {
                x as $T
            }
        }
    )* };
}

narrow!(f32 f64 i8 i16 i32 i64 u8 u16 u32 u64);

impl Narrow for f16 {
    fn wide(self) -> f64 {
        self.to_f64()
    }
    fn narrow(x: f64) -> Self {
        f16::from_f64(x)
    }
}

impl Narrow for bf16 {
    fn wide(self) -> f64 {
        self.to_f64()
    }
    fn narrow(x: f64) -> Self {
        bf16::from_f64(x)
    }
}

/// The logarithm of the sum of the exponentials of `src` (floats) along `axis` up to each element: with `exclusive`, of the
/// elements before each, which of none is minus infinity; with `reverse`, from the end.
///
/// # Errors
/// [`KernelError::DType`] for other types, [`KernelError::Invalid`] for an axis that is none of the input's and for an
/// output of another size or type.
pub fn cumulative_logsumexp(
    pool: &ThreadPool,
    axis: usize,
    (exclusive, reverse): (bool, bool),
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "CumulativeLogsumexp";
    let shape = *src.shape();
    ensure(axis < shape.rank(), KERNEL, "the axis is one of the input's")?;
    ensure(src.dtype() == dst.dtype(), KERNEL, "the input and the output have one element type")?;
    let (len, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    for_dtype!(src.dtype(), KERNEL, floats, T => {
        let (src, dst) = (values::<T>(src.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?);
        ensure(src.len() == dst.len(), KERNEL, "the output has the input's size")?;
        split_with_cost(pool, dst, len * inner, len * inner * 20, &|first, dst| {
            let src = &src[first * len * inner..][..dst.len()];
            for (src, dst) in src.chunks_exact(len * inner).zip(dst.chunks_exact_mut(len * inner)) {
                for column in 0..inner {
                    let mut sum = f64::NEG_INFINITY;
                    for i in 0..len {
                        let at = if reverse { len - 1 - i } else { i } * inner + column;
                        let before = sum;
                        sum = log_add(sum, src[at].wide());
                        dst[at] = Narrow::narrow(if exclusive { before } else { sum });
                    }
                }
            }
        });
        Ok(())
    })
}

/// ln(e^a + e^b). Of two infinities it is NaN, as TensorFlow has it.
pub(crate) fn log_add(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    let (most, least) = (a.max(b), a.min(b));
    if least == f64::NEG_INFINITY { most } else { most + (least - most).exp().ln_1p() }
}
