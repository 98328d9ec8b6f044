//! Functions of two elements, with broadcasting: tables of what they compute for floats and for integers.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use tightfit_core::{DType, TensorViewMut};

use crate::base::access::{Src, for_dtype, split, values_mut};
use crate::base::broadcast::{BLOCK, Broadcast, Operand};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;
use crate::base::width::{Loop, vectorised};
use crate::elementwise::float::Float;

/// A function of two elements to one of the same type, named as TensorFlow's op. Those without a word on types take
/// every number; float16 and bfloat16 are computed in float32, integers wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    /// a + b.
    Add,
    /// a - b.
    Sub,
    /// a b.
    Mul,
    /// a / b; of integers, rounded towards zero: RealDiv and Div.
    Div,
    /// a / b rounded towards zero.
    TruncateDiv,
    /// a / b rounded down.
    FloorDiv,
    /// 0 if b is 0, else a / b; of floats.
    DivNoNan,
    /// 0 if b is 0, else a b; of floats.
    MulNoNan,
    /// a if that is 0, else a / b; of floats.
    Xdivy,
    /// a if that is 0, else a ln b; of floats.
    Xlogy,
    /// a if that is 0, else a ln(1 + b); of floats.
    Xlog1py,
    /// The remainder with the sign of b.
    FloorMod,
    /// The remainder with the sign of a: TruncateMod and Mod.
    TruncateMod,
    /// a to the power of b.
    Pow,
    /// The larger one; NaN if either is.
    Maximum,
    /// The smaller one; NaN if either is.
    Minimum,
    /// (a - b)^2.
    SquaredDifference,
    /// The angle of (b, a) from (1, 0); of floats.
    Atan2,
    /// Of bools (LogicalAnd) and of integers, bit by bit (BitwiseAnd).
    And,
    /// Of bools (LogicalOr) and of integers, bit by bit (BitwiseOr).
    Or,
    /// Of bools and of integers, bit by bit (BitwiseXor).
    Xor,
    /// a 2^b, b held within 0 and the number of bits less one; of integers.
    LeftShift,
    /// a / 2^b rounded down, b held within 0 and the number of bits less one; of integers.
    RightShift,
}

/// A comparison of two elements, named as TensorFlow's op; of every number. Bools can be equal or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompareOp {
    /// a == b.
    Equal,
    /// a != b.
    NotEqual,
    /// a < b.
    Less,
    /// a <= b.
    LessEqual,
    /// a > b.
    Greater,
    /// a >= b.
    GreaterEqual,
}

struct ZipLoop<'a, T, O, F> {
    dst: &'a mut [O],
    a: &'a [T],
    b: &'a [T],
    function: F,
}

/// A function of two elements.
trait Zip<T, O>: Copy {
    fn apply(self, a: T, b: T) -> O;
}

impl<T: Copy, O, F: Zip<T, O>> Loop for ZipLoop<'_, T, O, F> {
    #[inline(always)]
    fn run(self) {
        for ((dst, a), b) in self.dst.iter_mut().zip(self.a).zip(self.b) {
            *dst = self.function.apply(*a, *b);
        }
    }
}

/// Loops over a table: `wide` functions become vector code, `plain` ones do not.
macro_rules! table {
    ($Op:ident, $T:ty, $O:ty, $op:expr, $dst:expr, $a:expr, $b:expr, ($x:ident, $y:ident),
     $($how:ident $name:ident $value:expr;)*) => {
        match $op {
            $($Op::$name => {
                #[derive(Clone, Copy)]
                struct Function;
                impl Zip<$T, $O> for Function {
                    #[inline(always)]
                    fn apply(self, $x: $T, $y: $T) -> $O {
                        $value
                    }
                }
                table!(@$how ZipLoop { dst: $dst, a: $a, b: $b, function: Function });
            })*
            #[allow(unreachable_patterns)]
            _ => {}
        }
    };
    (@wide $loop:expr) => { vectorised($loop) };
    (@plain $loop:expr) => { $loop.run() };
}

/// An element with the tables of its functions.
trait Number: Copy + Send + Sync {
    const ZERO: Self;
    /// Computes `op`, which [`supports`] the type, of blocks of one length.
    fn zip(op: BinaryOp, dst: &mut [Self], a: &[Self], b: &[Self]);
    fn compare(op: CompareOp, dst: &mut [u8], a: &[Self], b: &[Self]);
    /// Below 0.
    fn negative(self) -> bool;
}

macro_rules! comparisons {
    ($T:ty) => {
        fn compare(op: CompareOp, dst: &mut [u8], a: &[Self], b: &[Self]) {
            table! { CompareOp, $T, u8, op, dst, a, b, (x, y),
                wide Equal (x == y) as u8;
                wide NotEqual (x != y) as u8;
                wide Less (x < y) as u8;
                wide LessEqual (x <= y) as u8;
                wide Greater (x > y) as u8;
                wide GreaterEqual (x >= y) as u8;
            }
        }
    };
}

macro_rules! float_number {
    ($($F:ident)*) => { $(
        impl Number for $F {
            const ZERO: Self = 0.0;

            fn zip(op: BinaryOp, dst: &mut [Self], a: &[Self], b: &[Self]) {
                table! { BinaryOp, $F, $F, op, dst, a, b, (x, y),
                    wide Add x + y;
                    wide Sub x - y;
                    wide Mul x * y;
                    wide Div x / y;
                    wide TruncateDiv (x / y).trunc();
                    wide FloorDiv (x / y).floor();
                    wide DivNoNan if y == 0.0 { 0.0 } else { x / y };
                    wide MulNoNan if y == 0.0 { 0.0 } else { x * y };
                    wide Xdivy if x == 0.0 { $F::copysign(0.0, x) } else { x / y };
                    plain Xlogy if x == 0.0 { $F::copysign(0.0, x) } else { x * y.flushed().ln() };
                    plain Xlog1py if x == 0.0 { $F::copysign(0.0, x) } else { x * y.ln_1p() };
                    plain FloorMod {
                        let rest = x.flushed() % y.flushed();
                        if rest != 0.0 && (rest < 0.0) != (y < 0.0) { rest + y } else { rest }
                    };
                    plain TruncateMod x.flushed() % y.flushed();
                    plain Pow x.flushed().powf(y.flushed());
                    wide Maximum x.max_nan(y);
                    wide Minimum x.min_nan(y);
                    wide SquaredDifference (x - y) * (x - y);
                    plain Atan2 $F::atan2(x, y);
                }
            }

            comparisons!($F);

            fn negative(self) -> bool {
                self < 0.0
            }
        }
    )* };
}

float_number!(f32 f64);

macro_rules! integer_number {
    ($($T:ident)*) => { $(
        impl Number for $T {
            const ZERO: Self = 0;

            fn zip(op: BinaryOp, dst: &mut [Self], a: &[Self], b: &[Self]) {
                // A zero divisor is refused before; checked_* keeps the loops free of panics all the same.
                table! { BinaryOp, $T, $T, op, dst, a, b, (x, y),
                    wide Add x.wrapping_add(y);
                    wide Sub x.wrapping_sub(y);
                    wide Mul x.wrapping_mul(y);
                    plain Div if y == 0 { 0 } else { x.wrapping_div(y) };
                    plain TruncateDiv if y == 0 { 0 } else { x.wrapping_div(y) };
                    plain FloorDiv if y == 0 { 0 } else {
                        let quotient = x.wrapping_div(y);
                        let inexact = x.wrapping_rem(y) != 0;
                        if inexact && x.negative() != y.negative() { quotient - 1 } else { quotient }
                    };
                    plain FloorMod if y == 0 { 0 } else {
                        let rest = x.wrapping_rem(y);
                        if rest != 0 && rest.negative() != y.negative() { rest + y } else { rest }
                    };
                    plain TruncateMod if y == 0 { 0 } else { x.wrapping_rem(y) };
                    plain Pow {
                        let (mut power, mut base, mut exponent) = (1 as $T, x, y);
                        while exponent > 0 {
                            if exponent & 1 == 1 {
                                power = power.wrapping_mul(base);
                            }
                            base = base.wrapping_mul(base);
                            exponent >>= 1;
                        }
                        power
                    };
                    wide Maximum x.max(y);
                    wide Minimum x.min(y);
                    wide SquaredDifference { let d = x.wrapping_sub(y); d.wrapping_mul(d) };
                    wide And x & y;
                    wide Or x | y;
                    wide Xor x ^ y;
                    plain LeftShift x.wrapping_shl(shift_of(y, $T::BITS));
                    plain RightShift x.wrapping_shr(shift_of(y, $T::BITS));
                }
            }

            comparisons!($T);

            #[allow(unused_comparisons)]
            #[inline(always)]
            fn negative(self) -> bool {
                self < 0
            }
        }
    )* };
}

integer_number!(i8 i16 i32 i64 u8 u16 u32 u64);

fn shift_of<T: Number + TryInto<i64>>(by: T, bits: u32) -> u32 {
    // Only a u64 may not fit, and is then larger than any number of bits.
    by.try_into().unwrap_or(i64::MAX).clamp(0, bits as i64 - 1) as u32
}

macro_rules! half_number {
    ($($H:ident)*) => { $(
        impl Number for $H {
            const ZERO: Self = $H::ZERO;

            fn zip(op: BinaryOp, dst: &mut [Self], a: &[Self], b: &[Self]) {
                widened(a, b, dst, |a, b, dst| {
                    let mut result = [0.0f32; BLOCK];
                    let result = &mut result[..dst.len()];
                    let round: fn(f32) -> f32 = match op {
                        BinaryOp::FloorDiv => f32::floor,
                        BinaryOp::TruncateDiv => f32::trunc,
                        // Of zeros of both signs TensorFlow takes the first in these types.
                        BinaryOp::Maximum | BinaryOp::Minimum => {
                            f32::zip(op, result, b, a);
                            return dst.convert_from_f32_slice(result);
                        }
                        _ => {
                            f32::zip(op, result, a, b);
                            return dst.convert_from_f32_slice(result);
                        }
                    };
                    // The quotient is one of this type before it is made whole.
                    f32::zip(BinaryOp::Div, result, a, b);
                    dst.convert_from_f32_slice(result);
                    dst.convert_to_f32_slice(result);
                    result.iter_mut().for_each(|x| *x = round(*x));
                    dst.convert_from_f32_slice(result);
                });
            }

            fn compare(op: CompareOp, dst: &mut [u8], a: &[Self], b: &[Self]) {
                widened(a, b, dst, |a, b, dst| f32::compare(op, dst, a, b));
            }

            fn negative(self) -> bool {
                self < Self::ZERO
            }
        }
    )* };
}

half_number!(f16 bf16);

/// Calls `f` with blocks of the operands as float32 and of `dst`.
fn widened<H, O>(a: &[H], b: &[H], dst: &mut [O], f: impl Fn(&[f32], &[f32], &mut [O]))
where
    [H]: HalfFloatSliceExt,
{
    let mut wide = [[0.0f32; BLOCK]; 2];
    for ((a, b), dst) in a.chunks(BLOCK).zip(b.chunks(BLOCK)).zip(dst.chunks_mut(BLOCK)) {
        let [wide_a, wide_b] = &mut wide;
        let (wide_a, wide_b) = (&mut wide_a[..a.len()], &mut wide_b[..b.len()]);
        a.convert_to_f32_slice(wide_a);
        b.convert_to_f32_slice(wide_b);
        f(wide_a, wide_b, dst);
    }
}

impl BinaryOp {
    /// True when the function is for elements of this type.
    pub fn supports(self, dtype: DType) -> bool {
        use BinaryOp::*;
        match self {
            DivNoNan | MulNoNan | Xdivy | Xlogy | Xlog1py | Atan2 => dtype.is_float(),
            LeftShift | RightShift => dtype.is_integer(),
            And | Or | Xor => dtype.is_integer() || dtype == DType::Bool,
            _ => dtype.is_integer() || dtype.is_float(),
        }
    }
}

impl CompareOp {
    /// True when elements of this type are compared so.
    pub fn supports(self, dtype: DType) -> bool {
        let is_equality = matches!(self, CompareOp::Equal | CompareOp::NotEqual);
        dtype.is_integer() || dtype.is_float() || (dtype == DType::Bool && is_equality)
    }
}

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
    let broadcast = Broadcast::new(kernel, dst.shape(), [a.shape(dst), b.shape(dst)])?;
    for_dtype!(dtype, kernel, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool], T => {
        let dst = values_mut::<T>(dst.bytes(), kernel)?;
        let (a, b) = (a.values::<T>(kernel)?, b.values::<T>(kernel)?);
        if dtype.is_integer() && !dst.is_empty() {
            check_integers(op, b.unwrap_or(dst))?;
        }
        split(pool, dst, 1, &|first, dst| {
            if let (Some(a), Some(b), 1, true) = (a, b, broadcast.rank, broadcast.is_flat()) {
                return T::zip(op, dst, &a[first..first + dst.len()], &b[first..first + dst.len()]);
            }
            let mut a = Operand::new(&broadcast, 0, a, T::ZERO);
            let mut b = Operand::new(&broadcast, 1, b, T::ZERO);
            let mut done = 0;
            while done < dst.len() {
                let at = first + done;
                let len = broadcast.block(at, dst.len() - done);
                let dst = &mut dst[done..done + len];
                let (a, b) = (a.block(at, dst), b.block(at, dst));
                T::zip(op, dst, a, b);
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
    let broadcast = Broadcast::new(kernel, dst.shape(), [a.shape(), b.shape()])?;
    for_dtype!(dtype, kernel, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool], T => {
        let (a, b) = (crate::base::access::values::<T>(a.bytes(), kernel)?, crate::base::access::values::<T>(b.bytes(), kernel)?);
        split(pool, dst.bytes(), 1, &|first, dst| {
            let mut a = Operand::new(&broadcast, 0, Some(a), T::ZERO);
            let mut b = Operand::new(&broadcast, 1, Some(b), T::ZERO);
            let mut done = 0;
            while done < dst.len() {
                let at = first + done;
                let len = broadcast.block(at, dst.len() - done);
                T::compare(op, &mut dst[done..done + len], a.block_apart(at, len), b.block_apart(at, len));
                done += len;
            }
        });
        Ok(())
    })
}

macro_rules! names {
    ($Op:ident: $($name:ident)*) => {
        impl $Op {
            /// The variant's name.
            pub fn name(self) -> &'static str {
                match self { $($Op::$name => stringify!($name),)* }
            }
        }
    };
}

names!(BinaryOp: Add Sub Mul Div TruncateDiv FloorDiv DivNoNan MulNoNan Xdivy Xlogy Xlog1py FloorMod TruncateMod Pow Maximum
    Minimum SquaredDifference Atan2 And Or Xor LeftShift RightShift);
names!(CompareOp: Equal NotEqual Less LessEqual Greater GreaterEqual);

#[cfg(test)]
mod tests;
