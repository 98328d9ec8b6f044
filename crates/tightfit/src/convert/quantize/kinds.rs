//! Types of tensors, as TensorFlow Lite numbers them (`TensorType` of schema.fbs), and the integers that activations are.

use tightfit_format::tflite::TensorKind;

pub(super) const FLOAT: TensorKind = TensorKind(0);
pub(super) const HALF: TensorKind = TensorKind(1);
pub(super) const INT32: TensorKind = TensorKind(2);
pub(super) const INT4: TensorKind = TensorKind(17);
pub(super) const BRAIN: TensorKind = TensorKind(18);
pub(super) const INT64: TensorKind = TensorKind(4);
pub(super) const INT16: TensorKind = TensorKind(7);
pub(super) const INT8: TensorKind = TensorKind(9);

/// The integers that activations are.
#[derive(Debug)]
pub(super) struct Width {
    pub kind: TensorKind,
    pub name: &'static str,
    pub bounds: [i16; 2],
    /// True where 0 stands for 0.
    pub is_symmetric: bool,
    /// Which of a row's versions is meant.
    pub number: usize,
}

pub(super) static INT8_WIDTH: Width =
    Width { kind: INT8, name: "int8", bounds: [-128, 127], is_symmetric: false, number: 0 };
pub(super) static INT16_WIDTH: Width =
    Width { kind: INT16, name: "int16", bounds: [-32767, 32767], is_symmetric: true, number: 1 };

impl Width {
    /// The versions of QUANTIZE and DEQUANTIZE that take them.
    pub fn conversions(&self) -> [i32; 2] {
        if self.number == 0 { [1, 2] } else { [2, 3] }
    }

    /// Steps between the smallest integer and the largest.
    pub fn steps(&self) -> u32 {
        (i32::from(self.bounds[1]) - i32::from(self.bounds[0])).unsigned_abs()
    }

    /// The smallest number that integers stand for, and the largest.
    pub fn ends(&self, scale: f32, zero: i64) -> (f32, f32) {
        let [least, most] = self.bounds.map(|bound| (i64::from(bound) - zero) as f32 * scale);
        (least, most)
    }

    /// Scale and zero point of a range, which 0 is made a part of.
    pub fn params(&self, (least, most): (f32, f32)) -> (f32, i64) {
        let (least, most) = (f64::from(least.min(0.0)), f64::from(most.max(0.0)));
        let (low, high) = (f64::from(self.bounds[0]), f64::from(self.bounds[1]));
        let scale = match self.is_symmetric {
            true => (most.max(-least) / high) as f32,
            false => ((most - least) / (high - low)) as f32,
        };
        if scale <= f32::MIN_POSITIVE {
            return (1.0, 0);
        }
        if self.is_symmetric {
            return (scale, 0);
        }
        let zero_point = (low - least / f64::from(scale)).round().clamp(low, high);
        (scale, zero_point as i64)
    }
}
