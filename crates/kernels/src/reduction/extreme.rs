//! The index of the largest or smallest element along an axis.

use half::{bf16, f16};
use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::{for_dtype, split_with_cost, values, values_mut};
use crate::base::error::{Result, ensure};
use crate::base::threads::ThreadPool;

/// Which element's index [`arg_reduce`] gives: of equal ones the first. NaNs are passed over, and so is what is not beyond
/// the type's last number on the other side, so that of infinities alone it is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgOp {
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// The index along `axis` of the largest or smallest element of `src`, of numbers or bools. `dst` is int32, int64 or
/// (u)int16 and has the other dimensions' elements.
///
/// # Errors
/// [`crate::KernelError::DType`] for other types, [`crate::KernelError::Invalid`] for an axis that is none of the input's or has no
/// elements, and for an output of another size.
pub fn arg_reduce(
    pool: &ThreadPool,
    op: ArgOp,
    axis: usize,
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    let kernel = if op == ArgOp::Max { "ArgMax" } else { "ArgMin" };
    let shape = *src.shape();
    ensure(axis < shape.rank(), kernel, "the axis is one of the input's")?;
    let (len, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let outer: usize = shape[..axis].iter().product();
    ensure(outer * inner == dst.shape().elements(), kernel, "the output has the kept dimensions")?;
    if outer * inner == 0 {
        return Ok(());
    }
    ensure(len > 0, kernel, "there is an element to find")?;
    for_dtype!(src.dtype(), kernel, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool], T => {
        let src = values::<T>(src.bytes(), kernel)?;
        for_dtype!(dst.dtype(), kernel, [I32, I64, I16, U16], I => {
            let dst = values_mut::<I>(dst.bytes(), kernel)?;
            split_with_cost(pool, dst, 1, len, &|first, dst| {
                for (n, dst) in dst.iter_mut().enumerate() {
                    let at = first + n;
                    let base = at / inner * len * inner + at % inner;
                    let line = src[base..].iter().step_by(inner).take(len);
                    *dst = first_extreme(op, line) as I;
                }
            });
            Ok(())
        })
    })
}

fn first_extreme<'a, T: Extremes + 'a>(op: ArgOp, line: impl Iterator<Item = &'a T>) -> usize {
    let start = match op {
        ArgOp::Max => T::LOWEST,
        ArgOp::Min => T::HIGHEST,
    };
    let mut best = (0, start);
    for (n, x) in line.enumerate() {
        let is_better = match op {
            ArgOp::Max => x.is_above(best.1),
            ArgOp::Min => best.1.is_above(*x),
        };
        if is_better {
            best = (n, *x);
        }
    }
    best.0
}

/// The finite numbers that a type ends with.
trait Extremes: Copy {
    const LOWEST: Self;
    const HIGHEST: Self;
    /// Greater; of halves as float32, in which the thread's mode may take denormals for 0.
    fn is_above(self, other: Self) -> bool;
}

macro_rules! extremes {
    ($($T:ty)*; $wide:expr) => { $(
        impl Extremes for $T {
            const LOWEST: Self = <$T>::MIN;
            const HIGHEST: Self = <$T>::MAX;
            #[inline(always)]
            fn is_above(self, other: Self) -> bool {
                $wide(self) > $wide(other)
            }
        }
    )* };
}

extremes!(f32 f64 i8 i16 i32 i64 u8 u16 u32 u64; std::convert::identity);
extremes!(f16; f16::to_f32);
extremes!(bf16; bf16::to_f32);
