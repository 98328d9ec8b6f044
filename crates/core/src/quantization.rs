//! What the integers of a quantised tensor stand for.

use crate::account::list_bytes;

/// How a tensor's integers stand for real numbers: `real = scale * (integer - zero_point)`, one scale for all of it or one for
/// each index of an axis. As the TensorFlow Lite 8-bit quantization specification has it
/// (<https://ai.google.dev/edge/litert/models/quantization_spec>).
#[derive(Debug, Clone, PartialEq)]
pub struct Quantization {
    /// One scale, or one for each index of the axis.
    pub scales: Vec<f32>,
    /// As many zero points.
    pub zero_points: Vec<i64>,
    /// The axis that each scale is for an index of; `None` with one scale for all.
    pub axis: Option<usize>,
}

impl Quantization {
    /// One scale and zero point for the whole tensor.
    pub fn per_tensor(scale: f32, zero_point: i64) -> Quantization {
        Quantization { scales: vec![scale], zero_points: vec![zero_point], axis: None }
    }

    /// Bytes of the heap that it takes.
    pub fn heap_bytes(&self) -> u64 {
        list_bytes(&self.scales) + list_bytes(&self.zero_points)
    }
}
