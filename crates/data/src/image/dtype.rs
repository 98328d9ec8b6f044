//! Pixels in another element type: `tf.image.convert_image_dtype` and `tf.cast`.
//!
//! Of integers up to 32 bits and float16, float32 and float64. A float that the integer type cannot hold becomes the
//! nearest value that it can, and NaN 0, also without `saturate`, where TensorFlow leaves it to the processor. From
//! float16 to 16 and 32 bits is computed in float64, as TensorFlow's float16 product is infinite.

use bytemuck::Pod;
use half::f16;
use tightfit_core::DType;

use super::lanes::vectorised;
use super::pixel::{ImageError, elements, elements_mut};

/// What is done to the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conversion {
    /// `tf.cast`.
    Cast,
    /// `tf.image.convert_image_dtype`: the range of an integer type is that from 0 to 1 of a float type.
    Image {
        /// Whether integers that the new type cannot hold become the nearest that it can; otherwise they wrap.
        saturate: bool,
    },
}

pub(crate) trait Number: Copy + Pod {
    /// The largest of an integer type; 0 for floats.
    const MAX: i64;
    fn to_int(self) -> i64;
    /// The nearest for what it cannot hold.
    fn of_int(value: i64) -> Self;
    /// The lower bits of what it cannot hold.
    fn wrapped(value: i64) -> Self;
    fn to_float(self) -> f64;
    fn of_float(value: f64) -> Self;
    /// The product, rounded to the type.
    fn times(self, factor: f64) -> Self;
}

macro_rules! integers {
    ($($rust:ident),*) => { $(impl Number for $rust {
        const MAX: i64 = $rust::MAX as i64;
        #[inline(always)]
        fn to_int(self) -> i64 {
            i64::from(self)
        }
        #[inline(always)]
        fn of_int(value: i64) -> Self {
            value.clamp($rust::MIN as i64, $rust::MAX as i64) as $rust
        }
        #[inline(always)]
        fn wrapped(value: i64) -> Self {
            value as $rust
        }
        #[inline(always)]
        fn to_float(self) -> f64 {
            f64::from(self)
        }
        #[inline(always)]
        fn of_float(value: f64) -> Self {
            value as $rust
        }
        fn times(self, _: f64) -> Self {
            self
        }
    })* };
}
integers!(u8, i8, u16, i16, u32, i32);

macro_rules! floats {
    ($($rust:ident: $of_int:expr, $to:expr, $of:expr, $times:expr);*) => { $(impl Number for $rust {
        const MAX: i64 = 0;
        fn to_int(self) -> i64 {
            self.to_float() as i64
        }
        #[inline(always)]
        fn of_int(value: i64) -> Self {
            $of_int(value)
        }
        fn wrapped(value: i64) -> Self {
            $of_int(value)
        }
        #[inline(always)]
        fn to_float(self) -> f64 {
            $to(self)
        }
        #[inline(always)]
        fn of_float(value: f64) -> Self {
            $of(value)
        }
        #[inline(always)]
        fn times(self, factor: f64) -> Self {
            $times(self, factor)
        }
    })* };
}
floats! {
    f32: |v| v as f32, f64::from, |v| v as f32, |v: f32, factor| v * factor as f32;
    f64: |v| v as f64, |v| v, |v| v, |v: f64, factor| v * factor;
    f16: |v| f16::from_f32(v as f32), f16::to_f64, f16::from_f64,
        |v: f16, factor| f16::from_f32(v.to_f32() * f16::from_f64(factor).to_f32())
}

vectorised! {
    fn convert<A: Number, B: Number>(conversion: Conversion, from: &[A], to: &mut [B]) {
        let pairs = to.iter_mut().zip(from);
        match (conversion, A::MAX > 0, B::MAX > 0) {
            (Conversion::Cast, true, true) => pairs.for_each(|(to, from)| *to = B::wrapped(from.to_int())),
            (Conversion::Image { .. }, true, true) if A::MAX == B::MAX => {
                pairs.for_each(|(to, from)| *to = B::wrapped(from.to_int()));
            }
            (Conversion::Image { saturate }, true, true) if A::MAX > B::MAX => {
                // Rounded down, below zero too: the ratio of the ranges is a power of two.
                let shift = ((A::MAX + 1) / (B::MAX + 1)).trailing_zeros();
                let narrow = if saturate { B::of_int } else { B::wrapped };
                pairs.for_each(|(to, from)| *to = narrow(from.to_int() >> shift));
            }
            (Conversion::Image { saturate }, true, true) => {
                let scale = (B::MAX + 1) / (A::MAX + 1);
                let widen = if saturate { B::of_int } else { B::wrapped };
                pairs.for_each(|(to, from)| *to = B::wrapped(widen(from.to_int()).to_int() * scale));
            }
            (Conversion::Cast, true, false) => pairs.for_each(|(to, from)| *to = B::of_int(from.to_int())),
            (Conversion::Image { .. }, true, false) => {
                let scale = 1.0 / A::MAX as f64;
                pairs.for_each(|(to, from)| *to = B::of_int(from.to_int()).times(scale));
            }
            (Conversion::Image { .. }, false, true) => {
                let scale = B::MAX as f64 + 0.5;
                if A::of_float(scale).to_float().is_infinite() {
                    // float16 does not hold the scale: with TensorFlow's product all would be white.
                    pairs.for_each(|(to, from)| *to = B::of_float(from.to_float() * scale));
                    return;
                }
                pairs.for_each(|(to, from)| *to = B::of_float(from.times(scale).to_float()));
            }
            (_, false, _) => pairs.for_each(|(to, from)| *to = B::of_float(from.to_float())),
        }
    }
}

/// Calls `$body` with `$element` being the type of elements of `$dtype`, if it is one that is converted.
macro_rules! with_number {
    ($op:expr, $dtype:expr, $element:ident => $body:expr) => {
        with_number!(@ $op, $dtype, $element => $body;
            U8 u8, I8 i8, U16 u16, I16 i16, U32 u32, I32 i32, F16 f16, F32 f32, F64 f64)
    };
    (@ $op:expr, $dtype:expr, $element:ident => $body:expr; $($name:ident $rust:ty),*) => {
        match $dtype {
            $(DType::$name => {
                type $element = $rust;
                $body
            })*
            dtype => Err(ImageError::DType { op: $op, dtype }),
        }
    };
}

/// True for the types that are converted.
pub(crate) fn is_number(dtype: DType) -> bool {
    (dtype.is_integer() && dtype.bytes() < 8) || matches!(dtype, DType::F16 | DType::F32 | DType::F64)
}

/// Writes the elements of `pixels` as elements of `to`.
pub(crate) fn run(
    op: &'static str,
    conversion: Conversion,
    from: DType,
    pixels: &[u8],
    to: DType,
    out: &mut [u8],
) -> Result<(), ImageError> {
    if from == to {
        out.copy_from_slice(pixels);
        return Ok(());
    }
    with_number!(op, from, A => with_number!(op, to, B => {
        let (pixels, out): (&[A], &mut [B]) = (elements("input", pixels)?, elements_mut("output", out)?);
        convert(conversion, pixels, out);
        Ok(())
    }))
}
