//! Functions of one element over whole tensors: what they compute for floats is in [`functions`](super::functions), for
//! integers here.

use half::slice::HalfFloatSliceExt;
use tightfit_core::{DType, TensorViewMut};

use crate::base::access::{for_dtype, split, values, values_mut};
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;
use crate::elementwise::functions::{UnaryOp, map_floats, softplus};

/// Elements computed at a time: what is read stays in the first-level cache until it is overwritten.
const BLOCK: usize = 1024;

fn map_f32(isa: Isa, op: UnaryOp, x: &mut [f32]) {
    match op.of_f32() {
        Some(activation) => activation.apply_in_place(isa, x),
        None => map_floats(isa, op, x),
    }
}

impl UnaryOp {
    /// True when the function is for elements of this type.
    pub fn supports(self, dtype: DType) -> bool {
        use UnaryOp::*;
        if dtype.is_complex() {
            return super::complex::supports(self);
        }
        match self {
            LogicalNot => dtype == DType::Bool,
            Invert => dtype.is_integer(),
            Abs | Neg | Sign | Square | Relu | Relu6 => dtype.is_float() || dtype.is_integer(),
            Round => dtype.is_float() || matches!(dtype, DType::I32 | DType::I64),
            _ => dtype.is_float(),
        }
    }
}

/// Computes `op` of each element of `src` into `dst`, bytes of the type `dtype` and as many: shapes mean nothing to it. The
/// input is `None` where it is in place.
///
/// # Errors
/// [`KernelError::DType`] for a type the function is not for, [`KernelError::Invalid`] for sizes that differ.
pub fn unary(pool: &ThreadPool, op: UnaryOp, dtype: DType, src: Option<&[u8]>, dst: &mut [u8]) -> Result<()> {
    if !op.supports(dtype) {
        return Err(KernelError::DType { kernel: op.name(), dtype });
    }
    match op {
        UnaryOp::LogicalNot => {
            return typed::<u8>(pool, op, src, dst, |_, _, x| {
                x.iter_mut().for_each(|x| *x = (*x == 0) as u8);
            });
        }
        UnaryOp::Invert => {
            // The bits of neighbours do not touch, so bytes serve for every width.
            return blocks(pool, src, dst, &|x| x.iter_mut().for_each(|x| *x = !*x));
        }
        _ => {}
    }
    // A slope is one of the elements' type: a large one is infinite there.
    let op = match (op, dtype) {
        (UnaryOp::LeakyRelu(slope), DType::F16) => UnaryOp::LeakyRelu(half::f16::from_f32(slope).to_f32()),
        (UnaryOp::LeakyRelu(slope), DType::BF16) => UnaryOp::LeakyRelu(half::bf16::from_f32(slope).to_f32()),
        _ => op,
    };
    match dtype {
        DType::F32 => typed::<f32>(pool, op, src, dst, map_f32),
        DType::F64 => typed::<f64>(pool, op, src, dst, map_floats),
        DType::F16 => typed::<half::f16>(pool, op, src, dst, map_halves),
        DType::BF16 => typed::<half::bf16>(pool, op, src, dst, map_halves),
        DType::C64 => typed(pool, op, src, dst, |_, op, x| super::complex::map::<f32>(op, x)),
        DType::C128 => typed(pool, op, src, dst, |_, op, x| super::complex::map::<f64>(op, x)),
        dtype => for_dtype!(dtype, op.name(), integers, T => typed::<T>(pool, op, src, dst, T::map)),
    }
}

fn typed<T: bytemuck::Pod + Send + Sync>(
    pool: &ThreadPool,
    op: UnaryOp,
    src: Option<&[u8]>,
    dst: &mut [u8],
    map: fn(Isa, UnaryOp, &mut [T]),
) -> Result<()> {
    let dst = values_mut::<T>(dst, op.name())?;
    let src = src.map(|src| values::<T>(src, op.name())).transpose()?;
    let isa = pool.isa();
    blocks(pool, src, dst, &|x| map(isa, op, x))
}

/// Copies `src` to `dst` block by block, and has `map` overwrite each.
fn blocks<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    src: Option<&[T]>,
    dst: &mut [T],
    map: &(dyn Fn(&mut [T]) + Sync),
) -> Result<()> {
    ensure(
        src.is_none_or(|s| s.len() == dst.len()),
        "unary",
        "the input and the output have as many elements",
    )?;
    split(pool, dst, 1, &|first, dst| match src {
        None => map(dst),
        Some(src) => {
            let src = &src[first..first + dst.len()];
            for (dst, src) in dst.chunks_mut(BLOCK).zip(src.chunks(BLOCK)) {
                dst.copy_from_slice(src);
                map(dst);
            }
        }
    });
    Ok(())
}

fn map_halves<H: Half>(isa: Isa, op: UnaryOp, x: &mut [H])
where
    [H]: HalfFloatSliceExt,
{
    let epsilon = H::EPSILON;
    let mut block = [0.0f32; BLOCK];
    for x in x.chunks_mut(BLOCK) {
        let block = &mut block[..x.len()];
        x.convert_to_f32_slice(block);
        match op {
            UnaryOp::Softplus => block.iter_mut().for_each(|x| *x = softplus(*x, epsilon)),
            _ => map_f32(isa, op, block),
        }
        x.convert_from_f32_slice(block);
    }
}

/// A float of 16 bits.
trait Half: Copy {
    /// The step from 1 to the next number.
    const EPSILON: f32;
}

impl Half for half::f16 {
    const EPSILON: f32 = half::f16::EPSILON.to_f32_const();
}

impl Half for half::bf16 {
    const EPSILON: f32 = half::bf16::EPSILON.to_f32_const();
}

trait Integer: Copy {
    fn map(isa: Isa, op: UnaryOp, x: &mut [Self]);
}

macro_rules! integer {
    ($($T:ident $abs:expr;)*) => { $(
        impl Integer for $T {
            fn map(_: Isa, op: UnaryOp, x: &mut [Self]) {
                fn each(x: &mut [$T], f: impl Fn($T) -> $T) {
                    x.iter_mut().for_each(|x| *x = f(*x));
                }
                match op {
                    UnaryOp::Abs => each(x, $abs),
                    UnaryOp::Neg => each(x, |x| x.wrapping_neg()),
                    #[allow(unused_comparisons)]
                    UnaryOp::Sign => each(x, |x| ((x > 0) as $T).wrapping_sub((x < 0) as $T)),
                    UnaryOp::Square => each(x, |x| x.wrapping_mul(x)),
                    UnaryOp::Relu => each(x, |x| x.max(0)),
                    UnaryOp::Relu6 => each(x, |x| x.clamp(0, 6)),
                    // What TensorFlow's kernel makes of every integer.
                    UnaryOp::Round => each(x, |_| 0),
                    _ => {}
                }
            }
        }
    )* };
}

integer! {
    i8 |x| x.wrapping_abs();
    i16 |x| x.wrapping_abs();
    i32 |x| x.wrapping_abs();
    i64 |x| x.wrapping_abs();
    u8 |x| x;
    u16 |x| x;
    u32 |x| x;
    u64 |x| x;
}

/// What [`test_floats`] asks of each element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatTest {
    /// Not a number.
    IsNan,
    /// Infinity of either sign.
    IsInf,
    /// Neither.
    IsFinite,
}

/// Whether each element of `src`, of floats, is what `test` asks, into the bools of `dst`.
///
/// # Errors
/// [`KernelError::DType`] for types that are no floats, [`KernelError::Invalid`] for sizes that differ.
pub fn test_floats(
    pool: &ThreadPool,
    test: FloatTest,
    src: tightfit_core::TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    let kernel = match test {
        FloatTest::IsNan => "IsNan",
        FloatTest::IsInf => "IsInf",
        FloatTest::IsFinite => "IsFinite",
    };
    ensure(dst.dtype() == DType::Bool, kernel, "the output is bool")?;
    let dst = dst.bytes();
    for_dtype!(src.dtype(), kernel, floats, T => {
        let src = crate::base::access::values::<T>(src.bytes(), kernel)?;
        ensure(src.len() == dst.len(), kernel, "the input and the output have as many elements")?;
        split(pool, dst, 1, &|first, dst| {
            for (dst, src) in dst.iter_mut().zip(&src[first..]) {
                *dst = match test {
                    FloatTest::IsNan => src.is_nan(),
                    FloatTest::IsInf => src.is_infinite(),
                    FloatTest::IsFinite => src.is_finite(),
                } as u8;
            }
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests;
