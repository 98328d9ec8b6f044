//! Functions of one and of two complex numbers, and the parts that complex numbers are of.

use tightfit_core::{DType, TensorView, TensorViewMut};

use crate::base::access::{Src, split, values, values_mut};
use crate::base::complex::{Complex, Float, Wide, complex};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;
use crate::elementwise::binary_functions::{BinaryOp, CompareOp, Number};
use crate::elementwise::functions::UnaryOp;

/// The function of a complex number, where there is one.
fn function(op: UnaryOp) -> Option<fn(Wide) -> Wide> {
    use UnaryOp::*;
    Some(match op {
        Exp => Wide::exp,
        Expm1 => Wide::exp_m1,
        Log => Wide::ln,
        Log1p => Wide::ln_1p,
        Sqrt => Wide::sqrt,
        Rsqrt => |x| x.sqrt().reciprocal(),
        Reciprocal => Wide::reciprocal,
        Neg => |x| -x,
        Square => |x| x * x,
        Sign => Wide::sign,
        Sigmoid => Wide::sigmoid,
        Sin => Wide::sin,
        Cos => Wide::cos,
        Tan => Wide::tan,
        Sinh => Wide::sinh,
        Cosh => Wide::cosh,
        Tanh => Wide::tanh,
        Asin => Wide::asin,
        Acos => Wide::acos,
        Atan => Wide::atan,
        Asinh => Wide::asinh,
        Acosh => Wide::acosh,
        Atanh => Wide::atanh,
        _ => return None,
    })
}

/// True where `op` is of complex numbers.
pub(super) fn supports(op: UnaryOp) -> bool {
    function(op).is_some()
}

/// Replaces complex numbers by a function of them.
pub(super) fn map<F: Float>(op: UnaryOp, x: &mut [Complex<F>]) {
    match (op, function(op)) {
        (UnaryOp::Neg, _) => x.iter_mut().for_each(|x| *x = -*x),
        (UnaryOp::Square, _) => x.iter_mut().for_each(|x| *x = *x * *x),
        (_, Some(function)) => x.iter_mut().for_each(|x| *x = Complex::of(function(x.wide()))),
        _ => {}
    }
}

impl<F: Float> Number for Complex<F> {
    const ZERO: Self = Complex::<F>::ZERO;

    fn zip(_: crate::Isa, op: BinaryOp, dst: &mut [Self], a: &[Self], b: &[Self]) {
        fn each<F: Float>(
            dst: &mut [Complex<F>],
            a: &[Complex<F>],
            b: &[Complex<F>],
            f: impl Fn(Complex<F>, Complex<F>) -> Complex<F>,
        ) {
            for ((dst, a), b) in dst.iter_mut().zip(a).zip(b) {
                *dst = f(*a, *b);
            }
        }
        let zero = Self::ZERO;
        let wide = |a: Self, b: Self, f: fn(Wide, Wide) -> Wide| Self::of(f(a.wide(), b.wide()));
        let or_zero = |x: Self, value: Self| if x == zero { zero } else { value };
        match op {
            BinaryOp::Add => each(dst, a, b, |a, b| a + b),
            BinaryOp::Sub => each(dst, a, b, |a, b| a - b),
            BinaryOp::Mul => each(dst, a, b, |a, b| a * b),
            BinaryOp::Div => each(dst, a, b, |a, b| wide(a, b, Wide::over)),
            BinaryOp::DivNoNan => each(dst, a, b, |a, b| or_zero(b, wide(a, b, Wide::over))),
            BinaryOp::MulNoNan => each(dst, a, b, |a, b| or_zero(b, a * b)),
            BinaryOp::Xdivy => each(dst, a, b, |a, b| or_zero(a, wide(a, b, Wide::over))),
            BinaryOp::Xlogy => each(dst, a, b, |a, b| or_zero(a, wide(a, b, |a, b| a * b.ln()))),
            BinaryOp::Xlog1py => each(dst, a, b, |a, b| or_zero(a, wide(a, b, |a, b| a * b.ln_1p()))),
            BinaryOp::Pow => each(dst, a, b, |a, b| wide(a, b, Wide::pow)),
            BinaryOp::SquaredDifference => each(dst, a, b, |a, b| (a - b).conj() * (a - b)),
            BinaryOp::SigmoidGrad => each(dst, a, b, |y, dy| wide(y, dy, |y, dy| dy * (Wide::ONE - y) * y)),
            BinaryOp::TanhGrad => each(dst, a, b, |y, dy| wide(y, dy, |y, dy| dy * (Wide::ONE - y * y))),
            BinaryOp::SqrtGrad => {
                each(dst, a, b, |y, dy| {
                    or_zero(dy, wide(y, dy, |y, dy| (dy * complex(0.5, 0.0)).over(y.conj())))
                });
            }
            BinaryOp::RsqrtGrad => each(dst, a, b, |y, dy| {
                or_zero(dy, wide(y, dy, |y, dy| complex(-0.5, 0.0) * (dy * y.conj()) * (y.conj() * y.conj())))
            }),
            BinaryOp::ReciprocalGrad => each(dst, a, b, |y, dy| or_zero(dy, -(y.conj() * y.conj() * dy))),
            _ => {}
        }
    }

    fn compare(_: crate::Isa, op: CompareOp, dst: &mut [u8], a: &[Self], b: &[Self]) {
        for ((dst, a), b) in dst.iter_mut().zip(a).zip(b) {
            *dst = ((a == b) == (op == CompareOp::Equal)) as u8;
        }
    }

    fn negative(self) -> bool {
        false
    }
}

/// What is taken of a complex number as a real one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComplexPart {
    /// The real part.
    Real,
    /// The imaginary part.
    Imag,
    /// How far it is from 0.
    Abs,
    /// The angle from 1, from -pi to pi.
    Angle,
}

const PARTS: &str = "Real";

/// Takes a part of each number of `src`, complex64 to float32 or complex128 to float64.
///
/// # Errors
/// [`KernelError::DType`] for other types, [`KernelError::Invalid`] for sizes that differ.
pub fn complex_part(
    pool: &ThreadPool,
    part: ComplexPart,
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    fn run<F: Float>(pool: &ThreadPool, part: ComplexPart, src: &[u8], dst: &mut [u8]) -> Result<()> {
        let (src, dst) = (values::<Complex<F>>(src, PARTS)?, values_mut::<F>(dst, PARTS)?);
        ensure(src.len() == dst.len(), PARTS, "the input and the output have as many elements")?;
        split(pool, dst, 1, &|first, dst| {
            for (dst, x) in dst.iter_mut().zip(&src[first..]) {
                *dst = match part {
                    ComplexPart::Real => x.re,
                    ComplexPart::Imag => x.im,
                    ComplexPart::Abs => F::of(x.wide().abs()),
                    ComplexPart::Angle => F::of(x.wide().angle()),
                };
            }
        });
        Ok(())
    }
    match (src.dtype(), dst.dtype()) {
        (DType::C64, DType::F32) => run::<f32>(pool, part, src.bytes(), dst.bytes()),
        (DType::C128, DType::F64) => run::<f64>(pool, part, src.bytes(), dst.bytes()),
        (dtype, _) => Err(KernelError::DType { kernel: PARTS, dtype }),
    }
}

/// Makes complex numbers of real parts and imaginary ones that are broadcast together: float32 to complex64, float64 to
/// complex128.
///
/// # Errors
/// [`KernelError::DType`] for other types, [`KernelError::Invalid`] for shapes that do not go together.
pub fn complex_of(
    pool: &ThreadPool,
    re: TensorView<'_>,
    im: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "Complex";
    fn run<F: Float>(
        pool: &ThreadPool,
        re: TensorView<'_>,
        im: TensorView<'_>,
        dst: &mut TensorViewMut<'_>,
    ) -> Result<()> {
        use crate::base::broadcast::{Broadcast, Operand};
        let broadcast = Broadcast::new(KERNEL, dst.shape(), [re.shape(), im.shape()])?;
        let (re, im) = (values::<F>(re.bytes(), KERNEL)?, values::<F>(im.bytes(), KERNEL)?);
        split(pool, values_mut::<Complex<F>>(dst.bytes(), KERNEL)?, 1, &|first, dst| {
            let mut re = Operand::new(&broadcast, 0, Some(re), F::ZERO);
            let mut im = Operand::new(&broadcast, 1, Some(im), F::ZERO);
            let mut done = 0;
            while done < dst.len() {
                let at = first + done;
                let len = broadcast.block(at, dst.len() - done);
                let parts = re.block_apart(at, len).iter().zip(im.block_apart(at, len));
                for (dst, (re, im)) in dst[done..done + len].iter_mut().zip(parts) {
                    *dst = complex(*re, *im);
                }
                done += len;
            }
        });
        Ok(())
    }
    match (re.dtype(), im.dtype(), dst.dtype()) {
        (DType::F32, DType::F32, DType::C64) => run::<f32>(pool, re, im, dst),
        (DType::F64, DType::F64, DType::C128) => run::<f64>(pool, re, im, dst),
        (dtype, ..) => Err(KernelError::DType { kernel: KERNEL, dtype }),
    }
}

/// Turns the sign of each imaginary part of `src`, complex64 or complex128, or of what is in place.
///
/// # Errors
/// [`KernelError::DType`] for other types, [`KernelError::Invalid`] for sizes that differ.
pub fn conjugate(pool: &ThreadPool, src: Src<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    const KERNEL: &str = "Conj";
    fn run<F: Float>(pool: &ThreadPool, src: Src<'_>, dst: &mut [u8]) -> Result<()> {
        let dst = values_mut::<Complex<F>>(dst, KERNEL)?;
        let src = src.same_size::<Complex<F>>(dst.len(), KERNEL)?;
        split(pool, dst, 1, &|first, dst| match src {
            Some(src) => dst.iter_mut().zip(&src[first..]).for_each(|(dst, x)| *dst = x.conj()),
            None => dst.iter_mut().for_each(|x| *x = x.conj()),
        });
        Ok(())
    }
    ensure(src.dtype() == dst.dtype(), KERNEL, "the input and the output have one element type")?;
    match dst.dtype() {
        DType::C64 => run::<f32>(pool, src, dst.bytes()),
        DType::C128 => run::<f64>(pool, src, dst.bytes()),
        dtype => Err(KernelError::DType { kernel: KERNEL, dtype }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::{binary, compare, unary};
    use tightfit_core::Shape;

    fn view<'a>(dtype: DType, dims: &[usize], numbers: &'a [f32]) -> TensorView<'a> {
        TensorView::new(dtype, Shape::new(dims).unwrap(), bytemuck::cast_slice(numbers)).unwrap()
    }

    fn run(dtype: DType, dims: &[usize], kernel: impl Fn(&mut TensorViewMut<'_>) -> Result<()>) -> Vec<f32> {
        let shape = Shape::new(dims).unwrap();
        let mut out = vec![f32::NAN; shape.elements() * dtype.bytes() / 4];
        kernel(&mut TensorViewMut::new(dtype, shape, bytemuck::cast_slice_mut(&mut out)).unwrap()).unwrap();
        out
    }

    #[test]
    fn parts_and_functions() {
        let pool = &ThreadPool::new(1).unwrap();
        let x = view(DType::C64, &[2], &[3.0, 4.0, 0.0, -2.0]);
        let part = |part| run(DType::F32, &[2], |dst| complex_part(pool, part, x, dst));
        assert_eq!(part(ComplexPart::Real), [3.0, 0.0]);
        assert_eq!(part(ComplexPart::Imag), [4.0, -2.0]);
        assert_eq!(part(ComplexPart::Abs), [5.0, 2.0]);
        assert_eq!(part(ComplexPart::Angle)[1], -std::f32::consts::FRAC_PI_2);
        assert_eq!(run(DType::C64, &[2], |dst| conjugate(pool, x.into(), dst)), [3.0, -4.0, 0.0, 2.0]);
        let (re, im) = (view(DType::F32, &[2], &[1.0, 2.0]), view(DType::F32, &[1], &[7.0]));
        assert_eq!(run(DType::C64, &[2], |dst| complex_of(pool, re, im, dst)), [1.0, 7.0, 2.0, 7.0]);
        let square = run(DType::C64, &[2], |dst| {
            unary(pool, UnaryOp::Square, DType::C64, Some(x.bytes()), dst.bytes())
        });
        assert_eq!(square, [-7.0, 24.0, -4.0, 0.0]);
        let of_two = |op| run(DType::C64, &[2], |dst| binary(pool, op, x.into(), x.into(), dst));
        assert_eq!(of_two(BinaryOp::Div), [1.0, 0.0, 1.0, 0.0]);
        assert_eq!(of_two(BinaryOp::SquaredDifference), [0.0; 4]);
        let mut same = [9u8; 2];
        let shape = Shape::new(&[2]).unwrap();
        let mut out = TensorViewMut::new(DType::Bool, shape, &mut same).unwrap();
        compare(pool, CompareOp::NotEqual, x.into(), x.into(), &mut out).unwrap();
        assert_eq!(same, [0, 0]);
    }
}
