//! The functions of two elements: one table, from which come the kernels for every type, the vector code, the operators
//! and docs/functions.md.
//!
//! A row is: what it computes in words; the variant; the operators of TensorFlow that compute it; and for each kind of
//! element that it is for the expression of `x` and `y`, which is also the reference, and whether plain loops over it
//! become vector instructions (`wide`) or not (`plain`). `float` is for float32 and float64, and for float16 and
//! bfloat16 in float32 unless the row says `half` besides: in that expression `rounded` makes a float32 one of the
//! narrow type. `integer` is for every integer, and `bits` for those and bool; comparisons are of a `number`, or of
//! `any` element, bools among them. In an expression `c(1.5)` is the constant
//! in the type of `x`, and `T` that type.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use tightfit_core::DType;

use crate::base::broadcast::BLOCK;
use crate::base::cpu::Isa;
use crate::base::width::{Loop, vectorised};
use crate::elementwise::float::Float;
use crate::elementwise::functions::FunctionRow;
use crate::elementwise::special::{gamma, gamma_slope};

/// Gives the rows of functions to one type to a macro.
macro_rules! functions {
    ($to:ident! $args:tt) => { $to! { $args x y c;
        /// a + b.
        Add ["Add", "AddV2"]
            float wide (x + y), integer wide (x.wrapping_add(y));
        /// a - b.
        Sub ["Sub"]
            float wide (x - y), integer wide (x.wrapping_sub(y));
        /// a b.
        Mul ["Mul"]
            float wide (x * y), integer wide (x.wrapping_mul(y));
        /// a / b; of integers, rounded towards zero.
        Div ["Div", "RealDiv"]
            float wide (x / y), integer plain (if y == 0 { 0 } else { x.wrapping_div(y) });
        /// a / b rounded towards zero.
        TruncateDiv ["TruncateDiv"]
            float wide ((x / y).trunc()), half plain (rounded(x / y).trunc()),
            integer plain (if y == 0 { 0 } else { x.wrapping_div(y) });
        /// a / b rounded down.
        FloorDiv ["FloorDiv"]
            float wide ((x / y).floor()), half plain (rounded(x / y).floor()),
            integer plain (if y == 0 { 0 } else {
                let quotient = x.wrapping_div(y);
                let inexact = x.wrapping_rem(y) != 0;
                if inexact && x.negative() != y.negative() { quotient - 1 } else { quotient }
            });
        /// 0 if b is 0, else a / b.
        DivNoNan ["DivNoNan"]
            float wide (if y == c(0.0) { c(0.0) } else { x / y });
        /// 0 if b is 0, else a b.
        MulNoNan ["MulNoNan"]
            float wide (if y == c(0.0) { c(0.0) } else { x * y });
        /// a if that is 0, else a / b.
        Xdivy ["Xdivy"]
            float wide (if x == c(0.0) { c(0.0).copysign(x) } else { x / y });
        /// a if that is 0, else a ln b.
        Xlogy ["Xlogy"]
            float plain (if x == c(0.0) { c(0.0).copysign(x) } else { x * y.flushed().ln() });
        /// a if that is 0, else a ln(1 + b).
        Xlog1py ["Xlog1py"]
            float plain (if x == c(0.0) { c(0.0).copysign(x) } else { x * y.ln_1p() });
        /// The remainder with the sign of b.
        FloorMod ["FloorMod"]
            float plain ({
                let rest = x.flushed() % y.flushed();
                if rest != c(0.0) && (rest < c(0.0)) != (y < c(0.0)) { rest + y } else { rest }
            }),
            integer plain (if y == 0 { 0 } else {
                let rest = x.wrapping_rem(y);
                if rest != 0 && rest.negative() != y.negative() { rest + y } else { rest }
            });
        /// The remainder with the sign of a.
        TruncateMod ["Mod", "TruncateMod"]
            float plain (x.flushed() % y.flushed()), integer plain (if y == 0 { 0 } else { x.wrapping_rem(y) });
        /// a to the power of b.
        Pow ["Pow"]
            // To the power of 1 a denormal is itself, and only there.
            float plain (if y == c(1.0) { x } else { x.flushed().powf(y.flushed()) }), half plain (x.powf(y)),
            integer plain ({
                let (mut power, mut base, mut exponent) = (1 as T, x, y);
                while exponent > 0 {
                    if exponent & 1 == 1 {
                        power = power.wrapping_mul(base);
                    }
                    base = base.wrapping_mul(base);
                    exponent >>= 1;
                }
                power
            });
        /// The larger one; NaN if either is.
        Maximum ["Maximum"]
            // Of zeros of both signs TensorFlow takes the first of halves.
            float wide (x.max_nan(y)), half wide (y.max_nan(x)), integer wide (x.max(y));
        /// The smaller one; NaN if either is.
        Minimum ["Minimum"]
            float wide (x.min_nan(y)), half wide (y.min_nan(x)), integer wide (x.min(y));
        /// (a - b)^2.
        SquaredDifference ["SquaredDifference"]
            float wide ((x - y) * (x - y)), integer wide ({ let d = x.wrapping_sub(y); d.wrapping_mul(d) });
        /// The angle of (b, a) from (1, 0).
        Atan2 ["Atan2"]
            float plain (angle(x, y)), half plain (x.atan2(y));
        /// The lower incomplete gamma function of a at b, from 0 to 1.
        Igamma ["Igamma"]
            float plain (c(gamma::igamma(x as f64, y as f64)));
        /// The upper incomplete gamma function of a at b, from 1 to 0.
        Igammac ["Igammac"]
            float plain (c(gamma::igammac(x as f64, y as f64)));
        /// The derivative by a of the lower incomplete gamma function of a at b.
        IgammaSlope ["IgammaGradA"]
            float plain (c(gamma_slope::igamma_slope(x as f64, y as f64, size_of_val(&x) == 4)));
        /// The derivative by a of a sample b of the gamma distribution of shape a.
        GammaSampleSlope ["RandomGammaGrad"]
            float plain (c(gamma_slope::sample_slope(x as f64, y as f64, size_of_val(&x) == 4)));
        /// The sum of 1 / (b + n)^a over n from 0 on.
        Zeta ["Zeta"]
            float plain (c(gamma::zeta(x as f64, y as f64)));
        /// The derivative of digamma of order a at b.
        Polygamma ["Polygamma"]
            float plain (c(gamma::polygamma(x as f64, y as f64)));
        /// The number next to a on the way to b.
        NextAfter ["NextAfter"]
            float plain (x.next_after(y));
        /// Both: of bools, or of integers bit by bit.
        And ["LogicalAnd", "BitwiseAnd"]
            bits wide (x & y);
        /// Either: of bools, or of integers bit by bit.
        Or ["LogicalOr", "BitwiseOr"]
            bits wide (x | y);
        /// One but not the other: of bools, or of integers bit by bit.
        Xor ["BitwiseXor"]
            bits wide (x ^ y);
        /// a 2^b, b held within 0 and the number of bits less one.
        LeftShift ["LeftShift"]
            integer plain (x.wrapping_shl(shift_of(y, T::BITS)));
        /// a / 2^b rounded down, b held within 0 and the number of bits less one.
        RightShift ["RightShift"]
            integer plain (x.wrapping_shr(shift_of(y, T::BITS)));
        /// The gradient b through 1 / (1 + e^-x) = a: b (1 - a) a.
        SigmoidGrad ["SigmoidGrad"]
            float wide (y * ((c(1.0) - x) * x)), half plain (y * rounded(rounded(1.0 - x) * x));
        /// The gradient b through tanh x = a: b (1 - a^2).
        TanhGrad ["TanhGrad"]
            float wide (y * (c(1.0) - x * x)), half plain (y * rounded(1.0 - rounded(x * x)));
        /// The gradient b through the root a: b / 2a; 0 where b is.
        SqrtGrad ["SqrtGrad"]
            float wide (if y == c(0.0) { c(0.0) } else { c(0.5) * y / x }),
            half plain (if y == 0.0 { 0.0 } else { rounded(0.5 * y) / x });
        /// The gradient b through the reciprocal root a: -b a^3 / 2; 0 where b is.
        RsqrtGrad ["RsqrtGrad"]
            float wide (if y == c(0.0) { c(0.0) } else { c(-0.5) * (y * x) * (x * x) }),
            half plain (if y == 0.0 { 0.0 } else { rounded(-0.5 * rounded(y * x)) * rounded(x * x) });
        /// The gradient b through the reciprocal a: -a^2 b; 0 where b is.
        ReciprocalGrad ["ReciprocalGrad", "InvGrad"]
            float wide (if y == c(0.0) { c(0.0) } else { -x * x * y }),
            half plain (if y == 0.0 { 0.0 } else { rounded(-x * x) * y });
        /// The gradient a through ln(1 + e^b): a / (1 + e^-b).
        SoftplusGrad ["SoftplusGrad"]
            float plain (x / ((-y).exp() + c(1.0))),
            half plain (x / rounded(rounded((-y).exp()) + 1.0));
        /// The gradient a through b / (1 + |b|): a / (1 + |b|)^2.
        SoftsignGrad ["SoftsignGrad"]
            float wide ({ let size = c(1.0) + y.abs(); x / (size * size) }),
            half plain ({ let size = rounded(1.0 + y.abs()); x / rounded(size * size) });
        /// The gradient a through relu b: a where b is above 0.
        ReluGrad ["ReluGrad"]
            float wide (if y > c(0.0) { x } else { x * c(0.0) }),
            integer wide (if y > 0 { x } else { 0 });
        /// The gradient a through relu6 b: a where b is between 0 and 6.
        Relu6Grad ["Relu6Grad"]
            float wide (if y > c(0.0) && y < c(6.0) { x } else { x * c(0.0) }),
            integer wide (if y > 0 && y < 6 { x } else { 0 });
        /// The gradient a through elu x = b: a (b + 1) where b is below 0, else a.
        EluGrad ["EluGrad"]
            float wide (if y < c(0.0) { (y + c(1.0)) * x } else { x }),
            half plain (if y < 0.0 { rounded(y + 1.0) * x } else { x });
        /// The gradient a through selu x = b: a (b + 1.7580994) where b is below 0, else 1.050701 a.
        SeluGrad ["SeluGrad"]
            float wide (if y < c(0.0) { x * (y + c(1.7580993408473768)) } else {
                x * c(1.0507009873554805)
            }),
            half plain (if y < 0.0 { x * rounded(y + rounded(1.7580993)) } else { x * rounded(1.050701) });
    } };
}

/// Gives the rows of comparisons to a macro.
macro_rules! comparisons {
    ($to:ident! $args:tt) => {
        $to! { $args x y c;
            /// a == b.
            Equal ["Equal"] any wide (x == y);
            /// a != b.
            NotEqual ["NotEqual"] any wide (x != y);
            /// a < b.
            Less ["Less"] number wide (x < y);
            /// a <= b.
            LessEqual ["LessEqual"] number wide (x <= y);
            /// a > b.
            Greater ["Greater"] number wide (x > y);
            /// a >= b.
            GreaterEqual ["GreaterEqual"] number wide (x >= y);
        }
    };
}

/// The enum of a table, its names and its rows in words.
macro_rules! enumerate {
    (
        ([$($about:literal)+] $Op:ident) $x:ident $y:ident $c:ident;
        $(
            $(#[doc = $doc:literal])+
            $name:ident [$($node:literal),*] $($kind:ident $how:ident ($value:expr)),+;
        )*
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $Op {
            $($(#[doc = $doc])+ $name,)*
        }

        impl $Op {
            /// Every function, in words.
            pub const TABLE: &'static [FunctionRow<$Op>] = &[$(FunctionRow {
                op: $Op::$name,
                name: stringify!($name),
                nodes: &[$($node),*],
                meaning: concat!($($doc),+),
            }),*];

            /// The variant's name.
            pub fn name(self) -> &'static str {
                match self { $($Op::$name => stringify!($name),)* }
            }

            /// The kinds of elements that the row has expressions for.
            fn kinds(self) -> &'static [&'static str] {
                match self { $($Op::$name => &[$(stringify!($kind)),+],)* }
            }
        }
    };
}

functions! { enumerate! (["A function of two elements to one of the same type, named as TensorFlow's op; float16 and bfloat16 are"
"computed in float32, integers wrap."] BinaryOp) }
comparisons! { enumerate! (["A comparison of two elements, named as TensorFlow's op; of every number. Bools can be equal or not."] CompareOp) }

impl BinaryOp {
    /// True when the function is for elements of this type.
    pub fn supports(self, dtype: DType) -> bool {
        if dtype.is_complex() {
            return self.is_of_complex();
        }
        let has = |kind: &str| self.kinds().contains(&kind);
        (dtype.is_float() && has("float"))
            || (dtype.is_integer() && (has("integer") || has("bits")))
            || (dtype == DType::Bool && has("bits"))
    }

    /// True for the gradient of a function of one element by its result, the first operand: the second one has as many
    /// elements, in whatever shape.
    pub fn is_gradient_by_result(self) -> bool {
        use BinaryOp::*;
        matches!(self, SigmoidGrad | TanhGrad | SqrtGrad | RsqrtGrad | ReciprocalGrad)
    }

    /// True for the gradient of an activation: both operands are of one shape.
    pub fn is_gradient(self) -> bool {
        use BinaryOp::*;
        matches!(self, SoftplusGrad | SoftsignGrad | ReluGrad | Relu6Grad | EluGrad | SeluGrad)
    }

    /// True where it is of complex numbers too.
    fn is_of_complex(self) -> bool {
        use BinaryOp::*;
        matches!(
            self,
            Add | Sub
                | Mul
                | Div
                | DivNoNan
                | MulNoNan
                | Xdivy
                | Xlogy
                | Xlog1py
                | Pow
                | SquaredDifference
                | SigmoidGrad
                | TanhGrad
                | SqrtGrad
                | RsqrtGrad
                | ReciprocalGrad
        )
    }
}

impl CompareOp {
    /// True when elements of this type are compared so.
    pub fn supports(self, dtype: DType) -> bool {
        let is_bool = dtype == DType::Bool && self.kinds().contains(&"any");
        let is_complex = dtype.is_complex() && matches!(self, CompareOp::Equal | CompareOp::NotEqual);
        dtype.is_integer() || dtype.is_float() || is_bool || is_complex
    }
}

/// An element with the functions of the tables.
pub(super) trait Number: Copy + Send + Sync {
    const ZERO: Self;
    /// Computes `op`, which [`supports`](BinaryOp::supports) the type, of blocks of one length.
    fn zip(isa: Isa, op: BinaryOp, dst: &mut [Self], a: &[Self], b: &[Self]);
    fn compare(isa: Isa, op: CompareOp, dst: &mut [u8], a: &[Self], b: &[Self]);
    /// Below 0.
    fn negative(self) -> bool;
}

/// A function of two elements.
trait Zip<T, O>: Copy {
    fn apply(self, a: T, b: T) -> O;
}

struct ZipLoop<'a, T, O, F> {
    dst: &'a mut [O],
    a: &'a [T],
    b: &'a [T],
    function: F,
}

impl<T: Copy, O, F: Zip<T, O>> Loop for ZipLoop<'_, T, O, F> {
    #[inline(always)]
    fn run(self) {
        for ((dst, a), b) in self.dst.iter_mut().zip(self.a).zip(self.b) {
            *dst = self.function.apply(*a, *b);
        }
    }
}

/// Runs the loop of a row over its expression for the wanted kind; where the row has none, `$or`.
macro_rules! zip {
    (
        ($wanted:ident $Op:ident $T:ty => $O:ty; $isa:expr, $op:expr, $dst:expr, $a:expr, $b:expr; $or:expr)
        $x:ident $y:ident $c:ident;
        $($(#[doc = $doc:literal])+ $name:ident [$($node:literal),*] $($kind:ident $how:ident ($value:expr)),+;)*
    ) => {
        'found: {
            match $op {
                $($Op::$name => {
                    $(zip! { @if $wanted $kind
                        #[allow(dead_code)]
                        type T = $T;
                        #[inline(always)]
                        #[allow(dead_code)]
                        fn $c(x: f64) -> $T {
                            x as $T
                        }
                        #[derive(Clone, Copy)]
                        struct Function;
                        impl Zip<$T, $O> for Function {
                            #[inline(always)]
                            #[allow(clippy::unnecessary_cast)]
                            fn apply(self, $x: $T, $y: $T) -> $O {
                                let value = $value;
                                value as $O
                            }
                        }
                        zip!(@$how $isa, ZipLoop { dst: $dst, a: $a, b: $b, function: Function });
                        break 'found;
                    })+
                })*
            }
            #[allow(unreachable_code)]
            {
                $or
            }
        }
    };
    (@if float float $($code:tt)*) => { $($code)* };
    (@if half half $($code:tt)*) => { $($code)* };
    (@if integer integer $($code:tt)*) => { $($code)* };
    (@if integer bits $($code:tt)*) => { $($code)* };
    (@if number number $($code:tt)*) => { $($code)* };
    (@if number any $($code:tt)*) => { $($code)* };
    (@if $wanted:ident $kind:ident $($code:tt)*) => {};
    (@wide $isa:expr, $loop:expr) => { vectorised($isa, $loop) };
    (@plain $isa:expr, $loop:expr) => { $loop.run() };
}

macro_rules! number {
    ($kind:ident: $($T:ident)*) => { $(
        impl Number for $T {
            const ZERO: Self = 0 as $T;

            fn zip(isa: Isa, op: BinaryOp, dst: &mut [Self], a: &[Self], b: &[Self]) {
                functions! { zip! ($kind BinaryOp $T => $T; isa, op, dst, a, b; {}) }
            }

            fn compare(isa: Isa, op: CompareOp, dst: &mut [u8], a: &[Self], b: &[Self]) {
                comparisons! { zip! (number CompareOp $T => u8; isa, op, dst, a, b; {}) }
            }

            #[allow(unused_comparisons)]
            #[inline(always)]
            fn negative(self) -> bool {
                self < 0 as $T
            }
        }
    )* };
}

number!(float: f32 f64);
// A zero divisor is refused before; the expressions keep the loops free of panics all the same.
number!(integer: i8 i16 i32 i64 u8 u16 u32 u64);

fn shift_of<T: Number + TryInto<i64>>(by: T, bits: u32) -> u32 {
    // Only a u64 may not fit, and is then larger than any number of bits.
    by.try_into().unwrap_or(i64::MAX).clamp(0, bits as i64 - 1) as u32
}

/// As TensorFlow's vector code has it: denormals are zeros, but two of which one is a denormal are as far either way.
fn angle<F: Float>(y: F, x: F) -> F {
    let (zero, far_y, far_x) = (F::of(0.0), y.flushed(), x.flushed());
    if far_x != zero || far_y != zero || !(y.is_subnormal() || x.is_subnormal()) {
        return far_y.atan2(far_x);
    }
    let eighths = if F::of(1.0).copysign(x) < zero { 3.0 } else { 1.0 };
    F::of(eighths * std::f64::consts::FRAC_PI_4).copysign(y)
}

macro_rules! half_number {
    ($($H:ident)*) => { $(
        impl Number for $H {
            const ZERO: Self = $H::ZERO;

            fn zip(isa: Isa, op: BinaryOp, dst: &mut [Self], a: &[Self], b: &[Self]) {
                #[inline(always)]
                fn rounded(x: f32) -> f32 {
                    $H::from_f32(x).to_f32()
                }
                widened(a, b, dst, |a, b, dst| {
                    let mut result = [0.0f32; BLOCK];
                    let result = &mut result[..dst.len()];
                    functions! { zip! (half BinaryOp f32 => f32; isa, op, result, a, b; f32::zip(isa, op, result, a, b)) }
                    dst.convert_from_f32_slice(result);
                });
            }

            fn compare(isa: Isa, op: CompareOp, dst: &mut [u8], a: &[Self], b: &[Self]) {
                widened(a, b, dst, |a, b, dst| f32::compare(isa, op, dst, a, b));
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
