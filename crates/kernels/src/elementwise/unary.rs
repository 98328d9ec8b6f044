//! Functions of one element: one table of what they compute for floats, a short one for integers.

use half::slice::HalfFloatSliceExt;
use tightfit_core::{DType, TensorViewMut};

use crate::base::access::{Src, for_dtype, split, values_mut};
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;
use crate::base::width::{Loop, vectorised};
use crate::elementwise::activation::Activation;
use crate::elementwise::functions::{Float, digamma, lgamma};

/// Elements computed at a time: what is read stays in the first-level cache until it is overwritten.
const BLOCK: usize = 1024;

/// A function of one element.
trait Map<F>: Copy {
    fn apply(self, x: F) -> F;
}

struct MapLoop<'a, F, M>(&'a mut [F], M);

impl<F: Copy, M: Map<F>> Loop for MapLoop<'_, F, M> {
    #[inline(always)]
    fn run(self) {
        for x in self.0.iter_mut() {
            *x = self.1.apply(*x);
        }
    }
}

/// The table: `wide` functions become vector code, `plain` ones call the math library. In a value, `c(1.5)` is the
/// constant in the type of `x`.
macro_rules! float_functions {
    ($c:ident; $($(#[$doc:meta])* $how:ident $name:ident($x:ident) $value:expr;)*) => {
        /// A function of one element, named as TensorFlow's op where there is one. All take every float type
        /// (float16 and bfloat16 are computed in float32) but where something else is said.
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub enum UnaryOp {
            $($(#[$doc])* $name,)*
            /// x if x > 0, else the given slope times x.
            LeakyRelu(f32),
            /// Not, of bool alone.
            LogicalNot,
            /// Every bit inverted, of integers alone.
            Invert,
        }

        impl UnaryOp {
            /// The variant's name.
            pub fn name(self) -> &'static str {
                match self {
                    $(UnaryOp::$name => stringify!($name),)*
                    UnaryOp::LeakyRelu(_) => "LeakyRelu",
                    UnaryOp::LogicalNot => "LogicalNot",
                    UnaryOp::Invert => "Invert",
                }
            }
        }

        mod function {
            use super::*;
            $(
                #[derive(Clone, Copy)]
                pub(super) struct $name;
                impl<F: Float> Map<F> for $name {
                    #[inline(always)]
                    fn apply(self, $x: F) -> F {
                        #[allow(unused_variables)]
                        let $c = F::of;
                        $value
                    }
                }
            )*
        }

        fn map_floats<F: Float>(op: UnaryOp, x: &mut [F]) {
            match op {
                $(UnaryOp::$name => float_functions!(@$how x, function::$name),)*
                UnaryOp::LeakyRelu(slope) => vectorised(MapLoop(x, LeakyRelu(slope))),
                UnaryOp::LogicalNot | UnaryOp::Invert => {}
            }
        }
    };
    (@wide $x:ident, $map:expr) => { vectorised(MapLoop($x, $map)) };
    (@plain $x:ident, $map:expr) => { MapLoop($x, $map).run() };
}

float_functions! { c;
    /// |x|; also of signed integers.
    wide Abs(x) x.abs();
    /// -x; also of integers, wrapping.
    wide Neg(x) -x;
    /// -1, 0 or 1, NaN of NaN; also of integers.
    wide Sign(x) if x > c(0.0) { c(1.0) } else if x < c(0.0) { c(-1.0) } else { x * c(0.0) + c(0.0) };
    /// x^2; also of integers, wrapping.
    wide Square(x) x * x;
    /// The square root.
    wide Sqrt(x) x.sqrt();
    /// 1 / sqrt(x).
    wide Rsqrt(x) c(1.0) / x.sqrt();
    /// 1 / x.
    wide Reciprocal(x) c(1.0) / x;
    /// e^x.
    plain Exp(x) x.exp();
    /// e^x - 1.
    plain Expm1(x) x.exp_m1();
    /// The natural logarithm.
    plain Log(x) x.flushed().log();
    /// ln(1 + x).
    plain Log1p(x) x.ln_1p();
    /// The sine.
    plain Sin(x) x.sin();
    /// The cosine.
    plain Cos(x) x.cos();
    /// The tangent.
    plain Tan(x) x.tan();
    /// The inverse sine.
    plain Asin(x) x.asin();
    /// The inverse cosine.
    plain Acos(x) x.acos();
    /// The inverse tangent.
    plain Atan(x) x.atan();
    /// The hyperbolic sine.
    plain Sinh(x) x.sinh();
    /// The hyperbolic cosine.
    plain Cosh(x) x.cosh();
    /// The hyperbolic tangent.
    plain Tanh(x) x.tanh();
    /// The inverse hyperbolic sine.
    plain Asinh(x) x.asinh();
    /// The inverse hyperbolic cosine.
    plain Acosh(x) x.acosh();
    /// The inverse hyperbolic tangent.
    plain Atanh(x) x.atanh();
    /// The error function.
    plain Erf(x) x.erf();
    /// 1 - erf(x), exact also where that is small.
    plain Erfc(x) x.erfc();
    /// ln |gamma(x)|.
    plain Lgamma(x) if x == c(0.0) { -x.abs().log() } else { c(lgamma(x.to_f64())) };
    /// The derivative of ln gamma.
    plain Digamma(x) c(digamma(x.to_f64()));
    /// 1 / (1 + e^-x).
    plain Sigmoid(x) x.sigmoid();
    /// ln(1 + e^x).
    plain Softplus(x) softplus(x, F::EPSILON);
    /// x / (1 + |x|).
    wide Softsign(x) x / (c(1.0) + x.abs());
    /// max(x, 0); also of integers.
    wide Relu(x) if x <= c(0.0) { c(0.0) } else { x };
    /// min(max(x, 0), 6); also of integers.
    wide Relu6(x) clamp(x, c(0.0), c(6.0));
    /// x if x >= 0, else e^x - 1.
    plain Elu(x) if x < c(0.0) { x.exp_m1() } else { x };
    /// 1.0507 (x if x >= 0, else 1.6733 (e^x - 1)), the constants in full.
    plain Selu(x) if x < c(0.0) { c(SELU_SCALE * SELU_ALPHA) * x.exp_m1() } else { c(SELU_SCALE) * x };
    /// x sigmoid(x), also called SiLU.
    plain Swish(x) x * x.sigmoid();
    /// x relu6(x + 3) / 6.
    wide HardSwish(x) x * clamp(x + c(3.0), c(0.0), c(6.0)) * c(1.0 / 6.0);
    /// relu6(x + 3) / 6.
    wide HardSigmoid(x) clamp(x + c(3.0), c(0.0), c(6.0)) * c(1.0 / 6.0);
    /// x (1 + erf(x / sqrt 2)) / 2.
    plain Gelu(x) c(0.5) * x * (c(1.0) + (x * c(std::f64::consts::FRAC_1_SQRT_2)).erf());
    /// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
    plain GeluTanh(x) c(0.5) * x * (c(1.0) + (c(SQRT_2_OVER_PI) * (x + c(0.044715) * x * x * x)).tanh());
    /// The largest integer not above x.
    wide Floor(x) x.floor();
    /// The smallest integer not below x.
    wide Ceil(x) x.ceil();
    /// The nearest integer, of two the even one: TensorFlow's Round and Rint. Of int32 and int64 it is 0 there.
    wide Round(x) x.round_ties_even();
}

/// Those that have code of their own in float32.
fn map_f32(op: UnaryOp, x: &mut [f32]) {
    let activation = match op {
        UnaryOp::Exp => Activation::Exp,
        UnaryOp::Tanh => Activation::Tanh,
        UnaryOp::Erf => Activation::Erf,
        UnaryOp::Sigmoid => Activation::Sigmoid,
        UnaryOp::Softplus => Activation::Softplus,
        UnaryOp::Swish => Activation::Swish,
        UnaryOp::Gelu => Activation::Gelu,
        UnaryOp::GeluTanh => Activation::GeluTanh,
        UnaryOp::Elu => Activation::Elu { alpha: 1.0 },
        UnaryOp::Selu => Activation::Selu,
        _ => return map_floats(op, x),
    };
    activation.apply_in_place(Isa::detect(), x);
}

const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;

#[inline(always)]
fn clamp<F: Float>(x: F, low: F, high: F) -> F {
    let x = if x <= low { low } else { x };
    if x > high { high } else { x }
}

/// As TensorFlow computes it: where 1 + e^x rounds to e^x or to 1, x or e^x.
fn softplus<F: Float>(x: F, epsilon: F) -> F {
    let threshold = epsilon.log() + F::of(2.0);
    if x > -threshold {
        x
    } else if x < threshold {
        x.exp()
    } else {
        x.exp().ln_1p()
    }
}

#[derive(Clone, Copy)]
struct LeakyRelu(f32);

impl<F: Float> Map<F> for LeakyRelu {
    #[inline(always)]
    fn apply(self, x: F) -> F {
        if x > F::of(0.0) { x } else { x * F::of(self.0 as f64) }
    }
}

impl UnaryOp {
    /// True when the function is for elements of this type.
    pub fn supports(self, dtype: DType) -> bool {
        use UnaryOp::*;
        match self {
            LogicalNot => dtype == DType::Bool,
            Invert => dtype.is_integer(),
            Abs | Neg | Sign | Square | Relu | Relu6 => dtype.is_float() || dtype.is_integer(),
            Round => dtype.is_float() || matches!(dtype, DType::I32 | DType::I64),
            _ => dtype.is_float(),
        }
    }
}

/// Computes `op` of each element of `src` into `dst`, of the same type and size.
///
/// # Errors
/// [`KernelError::DType`] for a type the function is not for, [`KernelError::Invalid`] for sizes that differ.
pub fn unary(pool: &ThreadPool, op: UnaryOp, src: Src<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    let dtype = dst.dtype();
    ensure(src.dtype() == dtype, op.name(), "the input and the output have one element type")?;
    if !op.supports(dtype) {
        return Err(KernelError::DType { kernel: op.name(), dtype });
    }
    match op {
        UnaryOp::LogicalNot => {
            return typed::<u8>(pool, op, src, dst, |_, x| {
                x.iter_mut().for_each(|x| *x = (*x == 0) as u8);
            });
        }
        UnaryOp::Invert => {
            // The bits of neighbours do not touch, so bytes serve for every width.
            let bytes = src.values_of_bytes();
            return blocks(pool, bytes, dst.bytes(), &|x| x.iter_mut().for_each(|x| *x = !*x));
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
        dtype => for_dtype!(dtype, op.name(), integers, T => typed::<T>(pool, op, src, dst, T::map)),
    }
}

impl<'a> Src<'a> {
    fn values_of_bytes(&self) -> Option<&'a [u8]> {
        match self {
            Src::View(view) => Some(view.bytes()),
            Src::InPlace(_) => None,
        }
    }
}

fn typed<T: bytemuck::Pod + Send + Sync>(
    pool: &ThreadPool,
    op: UnaryOp,
    src: Src<'_>,
    dst: &mut TensorViewMut<'_>,
    map: fn(UnaryOp, &mut [T]),
) -> Result<()> {
    let dst = values_mut::<T>(dst.bytes(), op.name())?;
    let src = src.same_size::<T>(dst.len(), op.name())?;
    blocks(pool, src, dst, &|x| map(op, x))
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

fn map_halves<H: Half>(op: UnaryOp, x: &mut [H])
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
            _ => map_f32(op, block),
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
    fn map(op: UnaryOp, x: &mut [Self]);
}

macro_rules! integer {
    ($($T:ident $abs:expr;)*) => { $(
        impl Integer for $T {
            fn map(op: UnaryOp, x: &mut [Self]) {
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
