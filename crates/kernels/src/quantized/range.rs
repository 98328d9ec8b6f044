//! The range of numbers that quantised integers stand for.

use tightfit_core::DType;

/// Integers of a type that stand for the numbers from `min` to `max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantizedRange {
    lowest: i64,
    highest: i64,
    /// What the lowest integer stands for.
    pub min: f32,
    /// What the highest integer stands for.
    pub max: f32,
}

impl QuantizedRange {
    /// Integers of `dtype`, which is int8, uint8, int16, uint16 or int32.
    pub fn new(dtype: DType, min: f32, max: f32) -> Option<QuantizedRange> {
        let (lowest, highest) = match dtype {
            DType::I8 => (i8::MIN as i64, i8::MAX as i64),
            DType::U8 => (0, u8::MAX as i64),
            DType::I16 => (i16::MIN as i64, i16::MAX as i64),
            DType::U16 => (0, u16::MAX as i64),
            DType::I32 => (i32::MIN as i64, i32::MAX as i64),
            _ => return None,
        };
        Some(QuantizedRange { lowest, highest, min, max })
    }

    /// The lowest integer.
    pub fn lowest(&self) -> i64 {
        self.lowest
    }

    /// The highest integer.
    pub fn highest(&self) -> i64 {
        self.highest
    }

    /// How many integers there are.
    fn steps(&self) -> f64 {
        (self.highest - self.lowest + 1) as f64
    }

    /// The integer that is nearest to a number, which may be outside of the type.
    pub fn unclamped(&self, x: f32) -> i64 {
        if self.min == self.max {
            return self.lowest;
        }
        let range = (self.max - self.min) as f64 * (self.steps() / (self.steps() - 1.0));
        let scale = self.steps() / range;
        let quantized = ((x as f64 * scale).round() - (self.min as f64 * scale).round()) as i64;
        quantized.saturating_add(self.lowest)
    }

    /// The integer that is nearest to a number.
    pub fn quantized(&self, x: f32) -> i64 {
        self.unclamped(x).clamp(self.lowest, self.highest)
    }

    /// The number that an integer stands for.
    pub fn float(&self, integer: i64) -> f32 {
        if self.min == self.max {
            return self.min;
        }
        let range = (self.max - self.min) as f64 * (self.steps() / (self.steps() - 1.0));
        let scale = range / self.steps();
        // TensorFlow's own integers become float32 on the way to double.
        let rounded = (self.min / scale as f32).round() * scale as f32;
        (rounded as f64 + (integer as f32 as f64 - self.lowest as f64) * scale) as f32
    }

    /// What a step stands for.
    pub fn step(&self) -> f32 {
        (self.max - self.min) / (self.highest - self.lowest) as f32
    }

    /// The range of the int32 products of integers of two ranges.
    pub fn of_products(a: &QuantizedRange, b: &QuantizedRange) -> (f32, f32) {
        let step = a.step() * b.step();
        (step * i32::MIN as i64 as f32, step * i32::MAX as i64 as f32)
    }

    /// Numbers of integers, as what is added to `integer * scale`.
    pub(super) fn to_floats(self) -> (f32, f32) {
        let scale = ((self.max - self.min) as f64 / (self.steps() - 1.0)) as f32;
        let rounded = if self.max == self.min { self.min } else { (self.min / scale).round() * scale };
        (scale, rounded - self.lowest as f32 * scale)
    }

    /// Integers of numbers: the factor, and what is subtracted from the rounded product.
    pub(super) fn to_integers(self) -> (f32, f32) {
        let scale = if self.max == self.min {
            0.0
        } else {
            ((self.steps() - 1.0) / (self.max - self.min) as f64) as f32
        };
        (scale, (self.min * scale).round() - self.lowest as f32)
    }

    /// The ends of the type as numbers that are in it when they are converted back.
    pub(super) fn ends(&self) -> (f32, f32) {
        ((self.lowest as f32).max(-2_147_483_648.0), (self.highest as f32).min(2_147_483_520.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_the_ends() {
        let range = QuantizedRange::new(DType::U8, -1.0, 1.55).unwrap();
        assert_eq!((range.quantized(-1.0), range.quantized(1.55), range.quantized(9.0)), (0, 255, 255));
        assert_eq!(range.quantized(0.0), 100);
        assert!((range.float(100)).abs() < 1e-7 && (range.float(255) - 1.55).abs() < 1e-6);
        let none = QuantizedRange::new(DType::I8, 2.0, 2.0).unwrap();
        assert_eq!((none.quantized(5.0), none.float(17)), (-128, 2.0));
        assert!(QuantizedRange::new(DType::F32, 0.0, 1.0).is_none());
    }
}
