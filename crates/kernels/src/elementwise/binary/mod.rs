//! Functions of two elements over whole tensors, with broadcasting: what they compute is in
//! [`binary_functions`](super::binary_functions).

use tightfit_core::{DType, TensorViewMut};

use crate::base::access::{Src, for_dtype, split, values_mut};
use crate::base::broadcast::{Broadcast, Operand};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;
use crate::elementwise::binary_functions::{BinaryOp, CompareOp, Number};

/// Computes `op` of `a` and `b`, broadcast to the shape of `dst`, all of one element type. Either or both may be in
/// place if they have the output's shape.
///
/// # Errors
/// [`KernelError::DType`] for a type the function is not for, [`KernelError::Invalid`] for shapes that do not
/// broadcast to the output's, [`KernelError::DivisionByZero`] and [`KernelError::NegativeExponent`] of integers.
pub fn binary(
    pool: &ThreadPool,
    op: BinaryOp,
    a: Src<'_>,
    b: Src<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    let (kernel, dtype) = (op.name(), dst.dtype());
    ensure(
        a.dtype() == dtype && b.dtype() == dtype,
        kernel,
        "the inputs and the output have one element type",
    )?;
    if !op.supports(dtype) {
        return Err(KernelError::DType { kernel, dtype });
    }
    let isa = pool.isa();
    let broadcast = Broadcast::new(kernel, dst.shape(), [a.shape(dst), b.shape(dst)])?;
    for_dtype!(dtype, kernel, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool, C64, C128], T => {
        let dst = values_mut::<T>(dst.bytes(), kernel)?;
        let (a, b) = (a.values::<T>(kernel)?, b.values::<T>(kernel)?);
        if dtype.is_integer() && !dst.is_empty() {
            check_integers(op, b.unwrap_or(dst))?;
        }
        split(pool, dst, 1, &|first, dst| {
            if let (Some(a), Some(b), 1, true) = (a, b, broadcast.rank, broadcast.is_flat()) {
                return T::zip(isa, op, dst, &a[first..first + dst.len()], &b[first..first + dst.len()]);
            }
            let mut a = Operand::new(&broadcast, 0, a, T::ZERO);
            let mut b = Operand::new(&broadcast, 1, b, T::ZERO);
            let mut done = 0;
            while done < dst.len() {
                let at = first + done;
                let len = broadcast.block(at, dst.len() - done);
                let dst = &mut dst[done..done + len];
                let (a, b) = (a.block(at, dst), b.block(at, dst));
                T::zip(isa, op, dst, a, b);
                done += len;
            }
        });
        Ok(())
    })
}

/// What integers refuse, by the right operand.
fn check_integers<T: Number + PartialEq>(op: BinaryOp, b: &[T]) -> Result<()> {
    use BinaryOp::*;
    match op {
        Div | TruncateDiv | FloorDiv | FloorMod | TruncateMod if b.contains(&T::ZERO) => {
            Err(KernelError::DivisionByZero)
        }
        Pow if b.iter().any(|b| b.negative()) => Err(KernelError::NegativeExponent),
        _ => Ok(()),
    }
}

/// Compares `a` and `b`, of one element type and broadcast to the shape of `dst`, into the bools of `dst`.
///
/// # Errors
/// [`KernelError::DType`] for a type that is not compared so, [`KernelError::Invalid`] for shapes that do not
/// broadcast to the output's, and for inputs in place.
pub fn compare(
    pool: &ThreadPool,
    op: CompareOp,
    a: Src<'_>,
    b: Src<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    let (kernel, dtype) = (op.name(), a.dtype());
    ensure(dtype == b.dtype(), kernel, "the inputs have one element type")?;
    ensure(dst.dtype() == DType::Bool, kernel, "the output is bool")?;
    if !op.supports(dtype) {
        return Err(KernelError::DType { kernel, dtype });
    }
    let (Src::View(a), Src::View(b)) = (a, b) else {
        return Err(KernelError::Invalid { kernel, rule: "the inputs are not in place" });
    };
    let isa = pool.isa();
    let broadcast = Broadcast::new(kernel, dst.shape(), [a.shape(), b.shape()])?;
    for_dtype!(dtype, kernel, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool, C64, C128], T => {
        let (a, b) = (crate::base::access::values::<T>(a.bytes(), kernel)?, crate::base::access::values::<T>(b.bytes(), kernel)?);
        split(pool, dst.bytes(), 1, &|first, dst| {
            let mut a = Operand::new(&broadcast, 0, Some(a), T::ZERO);
            let mut b = Operand::new(&broadcast, 1, Some(b), T::ZERO);
            let mut done = 0;
            while done < dst.len() {
                let at = first + done;
                let len = broadcast.block(at, dst.len() - done);
                T::compare(isa, op, &mut dst[done..done + len], a.block_apart(at, len), b.block_apart(at, len));
                done += len;
            }
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests;
