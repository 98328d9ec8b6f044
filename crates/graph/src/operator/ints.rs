//! Small integers among the inputs: axes, shapes, counts.

use tightfit_core::{DType, TensorView};

/// A few integers read from a tensor, without heap memory.
#[derive(Debug, Clone, Copy)]
pub struct Ints<const MAX: usize> {
    values: [i64; MAX],
    count: usize,
}

impl<const MAX: usize> Ints<MAX> {
    /// The elements of an integer tensor.
    ///
    /// # Errors
    /// What is wrong with it, for [`OpError::Input`](super::OpError::Input).
    pub fn read(tensor: TensorView<'_>) -> Result<Self, String> {
        let count = tensor.shape().elements();
        if count > MAX {
            return Err(format!("has {count} elements; at most {MAX} are supported"));
        }
        let mut values = [0; MAX];
        match tensor.dtype() {
            DType::I16 => {
                for (v, b) in values.iter_mut().zip(tensor.bytes().chunks_exact(2)) {
                    *v = i16::from_le_bytes([b[0], b[1]]) as i64;
                }
            }
            DType::I32 => {
                for (v, b) in values.iter_mut().zip(tensor.bytes().chunks_exact(4)) {
                    *v = i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as i64;
                }
            }
            DType::I64 => {
                for (v, b) in values.iter_mut().zip(tensor.bytes().chunks_exact(8)) {
                    *v = i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
                }
            }
            other => return Err(format!("is of type {other}; int32 or int64 is needed")),
        }
        Ok(Ints { values, count })
    }
}

impl<const MAX: usize> std::ops::Deref for Ints<MAX> {
    type Target = [i64];

    fn deref(&self) -> &[i64] {
        &self.values[..self.count]
    }
}
