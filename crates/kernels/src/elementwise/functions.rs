//! The functions of one element: one table, from which come the kernels for every float type, the vector code, what a
//! product can apply to its sums, the operators and docs/functions.md.
//!
//! A row is: what it computes in words; the variant; the operators of TensorFlow that compute it; the expression for
//! floats, which is also the reference of the vector code, and whether plain loops over it become vector instructions
//! (`wide`) or call the math library (`plain`). Rows under `simd` have vector code for float32 besides: it is used for
//! whole tensors where the list in brackets says `f32`, and after products where it says `epilogue`. In an expression, `c(1.5)` is
//! the constant in the type of `x`, and `s` the instruction set.

use crate::base::cpu::Isa;
use crate::base::math;
use crate::base::simd::{Kernel, Simd};
use crate::base::width::{Loop, vectorised};
use crate::elementwise::float::{Float, digamma, lgamma};
use crate::elementwise::special::{bessel, gamma, integrals};

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

/// A function over floats in memory.
pub(super) struct Apply {
    pub activation: Activation,
    pub from: *const f32,
    pub to: *mut f32,
    pub count: usize,
}

/// What is said of a function in words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FunctionRow<Op: 'static = UnaryOp> {
    /// The function.
    pub op: Op,
    /// Its name here.
    pub name: &'static str,
    /// The operators of TensorFlow that compute it; none where only a chain of operators does.
    pub nodes: &'static [&'static str],
    /// What it computes.
    pub meaning: &'static str,
}

impl<Op> FunctionRow<Op> {
    /// How many operators of TensorFlow the rows name.
    pub const fn count(rows: &[FunctionRow<Op>]) -> usize {
        let (mut row, mut count) = (0, 0);
        while row < rows.len() {
            count += rows[row].nodes.len();
            row += 1;
        }
        count
    }

    /// The name of one of those operators; empty after the last.
    pub const fn node(rows: &[FunctionRow<Op>], index: usize) -> &'static str {
        let (mut row, mut before) = (0, 0);
        while row < rows.len() {
            let nodes = rows[row].nodes;
            if index - before < nodes.len() {
                return nodes[index - before];
            }
            before += nodes.len();
            row += 1;
        }
        ""
    }

    /// The row of an operator of TensorFlow.
    pub fn of_node(rows: &'static [FunctionRow<Op>], node: &str) -> Option<&'static FunctionRow<Op>> {
        rows.iter().find(|row| row.nodes.contains(&node))
    }
}

/// Goes over all values with one expression of `$x`. A closure in its place would be compiled without the vector
/// instructions, and called for each vector.
macro_rules! map {
    ($apply:ident, $s:ident, $x:ident => $result:expr) => {{
        let mut i = 0;
        while i < $apply.count {
            let left = ($apply.count - i).min(S::LANES);
            let (from, to) = ($apply.from.wrapping_add(i), $apply.to.wrapping_add(i));
            // SAFETY: `apply_raw`'s caller vouches for `count` floats on both sides, of which `left` are left.
            unsafe {
                let $x = if left == S::LANES { $s.load(from) } else { $s.load_partial(from, left) };
                let result = $result;
                if left == S::LANES {
                    $s.store(to, result);
                } else {
                    $s.store_partial(to, result, left);
                }
            }
            i += left;
        }
    }};
}

macro_rules! table {
    (
        $x:ident $c:ident $s:ident;
        simd { $(
            $(#[doc = $doc:literal])+
            $name:ident [$($node:literal),*] $how:ident $value:expr, [$($place:ident)*] $simd:expr;
        )* }
        scalar { $(
            $(#[doc = $scalar_doc:literal])+
            $scalar_name:ident [$($scalar_node:literal),*] $scalar_how:ident $scalar_value:expr;
        )* }
    ) => {
        /// A function of one element, named as TensorFlow's op where there is one. All take every float type
        /// (float16 and bfloat16 are computed in float32) but where something else is said.
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub enum UnaryOp {
            $($(#[doc = $doc])+ $name,)*
            $($(#[doc = $scalar_doc])+ $scalar_name,)*
            /// x if x > 0, else the given slope times x.
            LeakyRelu(f32),
            /// Not, of bool alone.
            LogicalNot,
            /// Every bit inverted, of integers alone.
            Invert,
        }

        /// A function of one float32 that has vector code. NaN goes in, NaN comes out.
        #[derive(Debug, Clone, Copy, PartialEq, Default)]
        pub enum Activation {
            /// x.
            #[default]
            None,
            /// min(max(x, min), max).
            Clamp {
                /// The least result.
                min: f32,
                /// The greatest result.
                max: f32,
            },
            /// x, or alpha x below 0.
            LeakyRelu {
                /// The slope below 0.
                alpha: f32,
            },
            $($(#[doc = $doc])+ $name,)*
        }

        impl Activation {
            /// Every function without a parameter.
            pub const ALL: &'static [Activation] = &[$(Activation::$name),*];
        }

        impl UnaryOp {
            /// Every function without a parameter, in words.
            pub const TABLE: &'static [FunctionRow] = &[
                $(FunctionRow {
                    op: UnaryOp::$name,
                    name: stringify!($name),
                    nodes: &[$($node),*],
                    meaning: concat!($($doc),+),
                },)*
                $(FunctionRow {
                    op: UnaryOp::$scalar_name,
                    name: stringify!($scalar_name),
                    nodes: &[$($scalar_node),*],
                    meaning: concat!($($scalar_doc),+),
                },)*
                FunctionRow {
                    op: UnaryOp::LogicalNot,
                    name: "LogicalNot",
                    nodes: &["LogicalNot"],
                    meaning: " Not, of bool alone.",
                },
                FunctionRow {
                    op: UnaryOp::Invert,
                    name: "Invert",
                    nodes: &["Invert"],
                    meaning: " Every bit inverted, of integers alone.",
                },
            ];

            /// The variant's name.
            pub fn name(self) -> &'static str {
                match self {
                    $(UnaryOp::$name => stringify!($name),)*
                    $(UnaryOp::$scalar_name => stringify!($scalar_name),)*
                    UnaryOp::LeakyRelu(_) => "LeakyRelu",
                    UnaryOp::LogicalNot => "LogicalNot",
                    UnaryOp::Invert => "Invert",
                }
            }

            /// The vector code with which it is computed for whole tensors of float32.
            pub(crate) fn of_f32(self) -> Option<Activation> {
                match self {
                    $(UnaryOp::$name if has(&[$(stringify!($place)),*], "f32") => Some(Activation::$name),)*
                    _ => None,
                }
            }

            /// True where it has vector code of its own.
            pub fn has_vector_code(self) -> bool {
                self.of_f32().is_some() || self.epilogue().is_some()
            }

            /// The same as what a product can apply to its sums.
            pub fn epilogue(self) -> Option<Activation> {
                match self {
                    UnaryOp::LeakyRelu(alpha) => Some(Activation::LeakyRelu { alpha }),
                    $(UnaryOp::$name if has(&[$(stringify!($place)),*], "epilogue") => Some(Activation::$name),)*
                    _ => None,
                }
            }

            /// The function that is the same as what a product applies to its sums.
            pub fn of_epilogue(activation: Activation) -> Option<UnaryOp> {
                if let Activation::LeakyRelu { alpha } = activation {
                    return Some(UnaryOp::LeakyRelu(alpha));
                }
                UnaryOp::TABLE.iter().map(|row| row.op).find(|op| op.epilogue() == Some(activation))
            }
        }

        mod function {
            use super::*;
            $(table!(@function $name $x $c $value);)*
            $(table!(@function $scalar_name $x $c $scalar_value);)*
        }

        /// Replaces each of `x` by the function of it.
        pub(super) fn map_floats<F: Float>(isa: Isa, op: UnaryOp, x: &mut [F]) {
            match op {
                $(UnaryOp::$name => table!(@$how isa, x, function::$name),)*
                $(UnaryOp::$scalar_name => table!(@$scalar_how isa, x, function::$scalar_name),)*
                UnaryOp::LeakyRelu(slope) => vectorised(isa, MapLoop(x, LeakyRelu(slope))),
                UnaryOp::LogicalNot | UnaryOp::Invert => {}
            }
        }

        impl Kernel for Apply {
            type Output = ();

            #[inline(always)]
            fn run<S: Simd>(self, $s: S) {
                match self.activation {
                    Activation::None => map!(self, $s, x => x),
                    Activation::Clamp { min, max } => {
                        let (min, max) = ($s.splat(min), $s.splat(max));
                        map!(self, $s, x => $s.min(max, $s.max(min, x)))
                    }
                    Activation::LeakyRelu { alpha } => {
                        let (zero, alpha) = ($s.splat(0.0), $s.splat(alpha));
                        map!(self, $s, x => $s.select_lt(x, zero, $s.mul(x, alpha), x))
                    }
                    $(Activation::$name => map!(self, $s, $x => $simd),)*
                }
            }
        }
    };
    (@function $name:ident $x:ident $c:ident $value:expr) => {
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
    };
    (@wide $isa:ident, $x:ident, $map:expr) => { vectorised($isa, MapLoop($x, $map)) };
    (@plain $isa:ident, $x:ident, $map:expr) => { MapLoop($x, $map).run() };
}

table! { x c s;
    simd {
        /// e^x.
        Exp ["Exp"] plain x.exp(),
            [f32] math::exp(s, x);
        /// The hyperbolic tangent.
        Tanh ["Tanh"] plain x.tanh(),
            [f32 epilogue] math::tanh(s, x);
        /// The error function.
        Erf ["Erf"] plain x.erf(),
            [f32] math::erf(s, x);
        /// 1 - erf(x), exact also where that is small.
        Erfc ["Erfc"] plain x.erfc(),
            [f32] math::erfc(s, x);
        /// 1 / (1 + e^-x).
        Sigmoid ["Sigmoid"] plain x.sigmoid(),
            [f32 epilogue] math::sigmoid(s, x);
        /// ln(1 + e^x).
        Softplus ["Softplus"] plain softplus(x, F::EPSILON),
            [f32 epilogue] math::softplus(s, x);
        /// x / (1 + |x|).
        Softsign ["Softsign"] wide x / (c(1.0) + x.abs()),
            [epilogue] s.div(x, s.add(s.splat(1.0), s.abs(x)));
        /// max(x, 0); also of integers.
        Relu ["Relu"] wide if x <= c(0.0) { c(0.0) } else { x },
            [epilogue] s.max(s.splat(0.0), x);
        /// min(max(x, 0), 6); also of integers.
        Relu6 ["Relu6"] wide clamp(x, c(0.0), c(6.0)),
            [epilogue] s.min(s.splat(6.0), s.max(s.splat(0.0), x));
        /// x if x >= 0, else e^x - 1.
        Elu ["Elu"] plain if x < c(0.0) { x.exp_m1() } else { x },
            [f32 epilogue] elu(s, x, 1.0);
        /// 1.0507 (x if x >= 0, else 1.6733 (e^x - 1)), the constants in full.
        Selu ["Selu"] plain if x < c(0.0) { c(SELU_SCALE * SELU_ALPHA) * x.exp_m1() } else { c(SELU_SCALE) * x },
            [f32 epilogue] s.mul(s.splat(SELU_SCALE as f32), elu(s, x, SELU_ALPHA as f32));
        /// x sigmoid(x), also called SiLU.
        Swish [] plain x * x.sigmoid(),
            [f32 epilogue] math::swish(s, x);
        /// x relu6(x + 3) / 6.
        HardSwish [] wide x * clamp(x + c(3.0), c(0.0), c(6.0)) * c(1.0 / 6.0),
            [epilogue] s.mul(x, hard_sigmoid(s, x));
        /// relu6(x + 3) / 6.
        HardSigmoid [] wide clamp(x + c(3.0), c(0.0), c(6.0)) * c(1.0 / 6.0),
            [epilogue] hard_sigmoid(s, x);
        /// x (1 + erf(x / sqrt 2)) / 2, that is x erfc(-x / sqrt 2) / 2.
        Gelu [] plain c(0.5) * x * (x * c(-std::f64::consts::FRAC_1_SQRT_2)).erfc(),
            [f32 epilogue] gelu(s, x);
        /// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
        GeluTanh [] plain c(0.5) * x * (c(1.0) + (c(SQRT_2_OVER_PI) * (x + c(0.044715) * x * x * x)).tanh()),
            [f32 epilogue] gelu_tanh(s, x);
    }
    scalar {
        /// |x|; also of signed integers.
        Abs ["Abs"] wide x.abs();
        /// -x; also of integers, wrapping.
        Neg ["Neg"] wide -x;
        /// -1, 0 or 1, NaN of NaN; also of integers.
        Sign ["Sign"] wide if x > c(0.0) { c(1.0) } else if x < c(0.0) { c(-1.0) } else { x * c(0.0) + c(0.0) };
        /// x^2; also of integers, wrapping.
        Square ["Square"] wide x * x;
        /// The square root.
        Sqrt ["Sqrt"] wide x.sqrt();
        /// 1 / sqrt(x).
        Rsqrt ["Rsqrt"] wide c(1.0) / x.sqrt();
        /// 1 / x.
        Reciprocal ["Reciprocal", "Inv"] wide c(1.0) / x;
        /// e^x - 1.
        Expm1 ["Expm1"] plain x.exp_m1();
        /// The natural logarithm.
        Log ["Log"] plain x.flushed().log();
        /// ln(1 + x).
        Log1p ["Log1p"] plain x.ln_1p();
        /// The sine.
        Sin ["Sin"] plain x.sin();
        /// The cosine.
        Cos ["Cos"] plain x.cos();
        /// The tangent.
        Tan ["Tan"] plain x.tan();
        /// The inverse sine.
        Asin ["Asin"] plain x.asin();
        /// The inverse cosine.
        Acos ["Acos"] plain x.acos();
        /// The inverse tangent.
        Atan ["Atan"] plain x.atan();
        /// The hyperbolic sine.
        Sinh ["Sinh"] plain x.sinh();
        /// The hyperbolic cosine.
        Cosh ["Cosh"] plain x.cosh();
        /// The inverse hyperbolic sine.
        Asinh ["Asinh"] plain x.asinh();
        /// The inverse hyperbolic cosine.
        Acosh ["Acosh"] plain x.acosh();
        /// The inverse hyperbolic tangent.
        Atanh ["Atanh"] plain x.atanh();
        /// ln |gamma(x)|.
        Lgamma ["Lgamma"] plain if x == c(0.0) { -x.abs().log() } else { c(lgamma(x.to_f64())) };
        /// The derivative of ln gamma.
        Digamma ["Digamma"] plain c(digamma(x.to_f64()));
        /// The inverse of the standard normal distribution.
        Ndtri ["Ndtri"] plain c(gamma::ndtri(x.to_f64()));
        /// The inverse of the error function.
        Erfinv ["Erfinv"] plain gamma::erfinv(x);
        /// The modified Bessel function of the first kind and order 0.
        BesselI0 ["BesselI0"] plain c(bessel::i0(x.to_f64()));
        /// The same times e^-|x|.
        BesselI0e ["BesselI0e"] plain c(bessel::i0e(x.to_f64()));
        /// The modified Bessel function of the first kind and order 1.
        BesselI1 ["BesselI1"] plain c(bessel::i1(x.to_f64()));
        /// The same times e^-|x|.
        BesselI1e ["BesselI1e"] plain c(bessel::i1e(x.to_f64()));
        /// The modified Bessel function of the second kind and order 0.
        BesselK0 ["BesselK0"] plain bessel::k0(x);
        /// The same times e^x.
        BesselK0e ["BesselK0e"] plain bessel::k0e(x);
        /// The modified Bessel function of the second kind and order 1.
        BesselK1 ["BesselK1"] plain bessel::k1(x);
        /// The same times e^x.
        BesselK1e ["BesselK1e"] plain bessel::k1e(x);
        /// The Bessel function of the first kind and order 0.
        BesselJ0 ["BesselJ0"] plain c(bessel::j0(x.to_f64()));
        /// The Bessel function of the first kind and order 1.
        BesselJ1 ["BesselJ1"] plain c(bessel::j1(x.to_f64()));
        /// The Bessel function of the second kind and order 0.
        BesselY0 ["BesselY0"] plain c(bessel::y0(x.to_f64()));
        /// The Bessel function of the second kind and order 1.
        BesselY1 ["BesselY1"] plain bessel::y1(x);
        /// e^-x^2 times the integral of e^t^2 from 0 to x.
        Dawsn ["Dawsn"] plain c(integrals::dawsn(x.to_f64()));
        /// The integral of e^t / t up to x.
        Expint ["Expint"] plain integrals::expint(x);
        /// The integral of cos(pi t^2 / 2) from 0 to x.
        FresnelCos ["FresnelCos"] plain c(integrals::fresnel_cos(x.to_f64()));
        /// The integral of sin(pi t^2 / 2) from 0 to x.
        FresnelSin ["FresnelSin"] plain c(integrals::fresnel_sin(x.to_f64()));
        /// The integral of ln t / (1 - t) from 1 to x.
        Spence ["Spence"] plain integrals::spence(x);
        /// The largest integer not above x.
        Floor ["Floor"] wide x.floor();
        /// The smallest integer not below x.
        Ceil ["Ceil"] wide x.ceil();
        /// The nearest integer, of two the even one: TensorFlow's Round and Rint. Of int32 and int64 it is 0 there.
        Round ["Round", "Rint"] wide x.round_ties_even();
    }
}

/// True when `one` is among `list`.
fn has(list: &[&str], one: &str) -> bool {
    list.contains(&one)
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
pub(super) fn softplus<F: Float>(x: F, epsilon: F) -> F {
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

#[inline(always)]
fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    let erfc = math::erfc(s, s.mul(x, s.splat(-std::f32::consts::FRAC_1_SQRT_2)));
    s.mul(s.mul(s.splat(0.5), x), erfc)
}

#[inline(always)]
fn gelu_tanh<S: Simd>(s: S, x: S::V) -> S::V {
    let cube = s.mul(s.mul(x, x), s.mul(x, s.splat(0.044_715)));
    let tanh = math::tanh(s, s.mul(s.splat(0.797_884_6), s.add(x, cube)));
    s.mul(s.mul(s.splat(0.5), x), s.add(s.splat(1.0), tanh))
}

#[inline(always)]
fn hard_sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let shifted = s.add(x, s.splat(3.0));
    s.mul(s.min(s.splat(6.0), s.max(s.splat(0.0), shifted)), s.splat(1.0 / 6.0))
}

#[inline(always)]
fn elu<S: Simd>(s: S, x: S::V, alpha: f32) -> S::V {
    let zero = s.splat(0.0);
    // The argument is held at or below 0, where the polynomial is good; positive lanes take x itself.
    let below = math::exp_minus_1_of_negative(s, s.min(zero, x));
    s.select_lt(x, zero, s.mul(below, s.splat(alpha)), x)
}
