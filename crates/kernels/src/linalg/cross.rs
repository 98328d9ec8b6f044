//! The vector product.

use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::{for_dtype, values, values_mut};
use crate::base::error::{Result, ensure};

trait Ring: Copy {
    /// a b - c d.
    fn minor(a: Self, b: Self, c: Self, d: Self) -> Self;
}

macro_rules! ring {
    ($($T:ty)*) => { $(
        impl Ring for $T {
            fn minor(a: Self, b: Self, c: Self, d: Self) -> Self {
                a.wrapping_mul(b).wrapping_sub(c.wrapping_mul(d))
            }
        }
    )* };
    (@ $($T:ty)*) => { $(
        impl Ring for $T {
            fn minor(a: Self, b: Self, c: Self, d: Self) -> Self {
                a * b - c * d
            }
        }
    )* };
}

ring!(i8 i16 i32 i64 u8 u16 u32 u64);
ring!(@ f32 f64 half::f16 half::bf16);

/// The vector product of each three elements of `a` and `b`; numbers of any type, of one shape.
///
/// # Errors
/// [`KernelError::Invalid`](crate::KernelError::Invalid) for other shapes, and
/// [`KernelError::DType`](crate::KernelError::DType) for other types.
pub fn cross(a: TensorView<'_>, b: TensorView<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    const KERNEL: &str = "Cross";
    let is_typed = a.dtype() == dst.dtype() && b.dtype() == dst.dtype();
    ensure(is_typed, KERNEL, "all have one element type")?;
    for_dtype!(dst.dtype(), KERNEL, numbers, T => {
        let (a, b) = (values::<T>(a.bytes(), KERNEL)?, values::<T>(b.bytes(), KERNEL)?);
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        let is_shaped = a.len() == dst.len() && b.len() == dst.len() && dst.len().is_multiple_of(3);
        ensure(is_shaped, KERNEL, "all are of one shape, of vectors of three elements")?;
        for ((a, b), to) in a.chunks_exact(3).zip(b.chunks_exact(3)).zip(dst.chunks_exact_mut(3)) {
            for (i, to) in to.iter_mut().enumerate() {
                let (j, k) = ((i + 1) % 3, (i + 2) % 3);
                *to = Ring::minor(a[j], b[k], a[k], b[j]);
            }
        }
        Ok(())
    })
}
