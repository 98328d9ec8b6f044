//! Functions of two elements over whole tensors, with broadcasting: what they compute is in
//! [`binary_functions`](super::binary_functions).

use tightfit_core::{DType, TensorViewMut};

use crate::base::access::{Src, for_dtype, split, values, values_mut};
use crate::base::broadcast::{BLOCK, Broadcast, Operand};
use crate::base::cpu::Isa;
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
    if broadcast.is_flat() {
        return binary_flat(pool, op, dtype, [a.bytes(), b.bytes()], dst.bytes());
    }
    for_dtype!(dtype, kernel, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool, C64, C128], T => {
        let dst = values_mut::<T>(dst.bytes(), kernel)?;
        let (a, b) = (a.values::<T>(kernel)?, b.values::<T>(kernel)?);
        if dtype.is_integer() && !dst.is_empty() {
            check_integers(op, b.unwrap_or(dst))?;
        }
        split(pool, dst, 1, &|first, dst| {
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

/// Memory for a block of an operand that is not served from its own.
macro_rules! block {
    ($operand:expr, $memory:ident) => {
        match $operand {
            Flat::Each(_) => &mut [],
            Flat::One([one]) => {
                $memory = [*one; BLOCK];
                &mut $memory[..]
            }
            Flat::InPlace => {
                $memory = [T::ZERO; BLOCK];
                &mut $memory[..]
            }
        }
    };
}

/// The same for operands that go with `dst` element for element or are one element for all of it: bytes of the type
/// `dtype`, `None` for an operand in place. There is nothing to broadcast, so it takes less than a copy of the shapes.
///
/// # Errors
/// As [`binary`], and [`KernelError::Invalid`] for operands of another size.
pub fn binary_flat(
    pool: &ThreadPool,
    op: BinaryOp,
    dtype: DType,
    [a, b]: [Option<&[u8]>; 2],
    dst: &mut [u8],
) -> Result<()> {
    let kernel = op.name();
    if !op.supports(dtype) {
        return Err(KernelError::DType { kernel, dtype });
    }
    let isa = pool.isa();
    for_dtype!(dtype, kernel, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool, C64, C128], T => {
        let dst = values_mut::<T>(dst, kernel)?;
        let a = Flat::<T>::new(a, dst.len(), kernel)?;
        let b = Flat::<T>::new(b, dst.len(), kernel)?;
        if dtype.is_integer() && !dst.is_empty() {
            check_integers(op, b.values().unwrap_or(dst))?;
        }
        split(pool, dst, 1, &|first, dst| {
            if let (Flat::Each(a), Flat::Each(b)) = (a, b) {
                return T::zip(isa, op, dst, &a[first..first + dst.len()], &b[first..first + dst.len()]);
            }
            let (mut of_a, mut of_b);
            let (of_a, of_b) = (block!(a, of_a), block!(b, of_b));
            for (number, dst) in dst.chunks_mut(BLOCK).enumerate() {
                let at = first + number * BLOCK;
                let (a, b) = (a.block(at, dst, of_a), b.block(at, dst, of_b));
                T::zip(isa, op, dst, a, b);
            }
        });
        Ok(())
    })
}

/// Computes `op` of the float32 in `a` and those in `b`, as many as in `dst`, in the calling thread.
///
/// # Errors
/// [`KernelError::Invalid`] for sizes that differ.
pub fn binary_floats(op: BinaryOp, [a, b]: [&[f32]; 2], dst: &mut [f32]) -> Result<()> {
    ensure(a.len() == dst.len() && b.len() == dst.len(), op.name(), "the inputs have the output's size")?;
    f32::zip(Isa::detect(), op, dst, a, b);
    Ok(())
}

/// An operand that needs no broadcasting.
#[derive(Clone, Copy)]
enum Flat<'a, T> {
    /// One element for each of the output's.
    Each(&'a [T]),
    /// One element for all.
    One(&'a [T; 1]),
    /// The output itself.
    InPlace,
}

impl<'a, T: Number + bytemuck::Pod> Flat<'a, T> {
    /// The operand in `bytes` of an output of so many elements.
    fn new(bytes: Option<&'a [u8]>, elements: usize, kernel: &'static str) -> Result<Self> {
        let Some(bytes) = bytes else { return Ok(Flat::InPlace) };
        let values = values::<T>(bytes, kernel)?;
        if values.len() == elements {
            return Ok(Flat::Each(values));
        }
        let rule = "the inputs have the output's size, or one element";
        values.try_into().map(Flat::One).map_err(|_| KernelError::Invalid { kernel, rule })
    }

    /// The elements, where they are not the output's.
    fn values(&self) -> Option<&'a [T]> {
        match self {
            Flat::Each(values) => Some(values),
            Flat::One(one) => Some(*one),
            Flat::InPlace => None,
        }
    }

    /// Its elements for the output's from `at` on, which are `dst`; `block` is what [`block`] gave for it.
    fn block<'b>(&self, at: usize, dst: &[T], block: &'b mut [T]) -> &'b [T]
    where
        'a: 'b,
    {
        if let Flat::InPlace = self {
            block[..dst.len()].copy_from_slice(dst);
        }
        self.block_apart(at, dst.len(), block)
    }

    /// [`Flat::block`] of an operand that is not the output.
    fn block_apart<'b>(&self, at: usize, len: usize, block: &'b [T]) -> &'b [T]
    where
        'a: 'b,
    {
        match self {
            Flat::Each(values) => &values[at..at + len],
            Flat::One(_) | Flat::InPlace => &block[..len],
        }
    }
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
    if broadcast.is_flat() {
        return compare_flat(pool, op, dtype, [a.bytes(), b.bytes()], dst.bytes());
    }
    for_dtype!(dtype, kernel, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool, C64, C128], T => {
        let (a, b) = (values::<T>(a.bytes(), kernel)?, values::<T>(b.bytes(), kernel)?);
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

/// [`compare`] for operands of one type that go with `dst` element for element or are one element for all of it.
///
/// # Errors
/// As [`compare`], and [`KernelError::Invalid`] for operands of another size.
pub fn compare_flat(
    pool: &ThreadPool,
    op: CompareOp,
    dtype: DType,
    [a, b]: [&[u8]; 2],
    dst: &mut [u8],
) -> Result<()> {
    let kernel = op.name();
    if !op.supports(dtype) {
        return Err(KernelError::DType { kernel, dtype });
    }
    let isa = pool.isa();
    for_dtype!(dtype, kernel, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool, C64, C128], T => {
        let a = Flat::<T>::new(Some(a), dst.len(), kernel)?;
        let b = Flat::<T>::new(Some(b), dst.len(), kernel)?;
        split(pool, dst, 1, &|first, dst| {
            let (mut of_a, mut of_b);
            let (of_a, of_b) = (block!(a, of_a), block!(b, of_b));
            for (number, dst) in dst.chunks_mut(BLOCK).enumerate() {
                let at = first + number * BLOCK;
                T::compare(isa, op, dst, a.block_apart(at, dst.len(), of_a), b.block_apart(at, dst.len(), of_b));
            }
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests;
