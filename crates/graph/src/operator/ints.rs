//! Small integers among the inputs: axes, shapes, counts.

use tightfit_core::DType;

/// A few integers read from a tensor, without heap memory.
#[derive(Debug, Clone, Copy)]
pub struct Ints<const MAX: usize> {
    values: [i64; MAX],
    count: usize,
}

impl<const MAX: usize> Ints<MAX> {
    /// The elements of an integer tensor of this type.
    ///
    /// # Errors
    /// What is wrong with it, for [`OpError::Input`](super::OpError::Input).
    pub fn read(dtype: DType, bytes: &[u8]) -> Result<Self, String> {
        let count = bytes.len() / dtype.bytes();
        if count > MAX {
            return Err(format!("has {count} elements; at most {MAX} are supported"));
        }
        let mut values = [0; MAX];
        match dtype {
            DType::I8 => each(&mut values, bytes, |[byte]| i8::from_le_bytes([byte]).into()),
            DType::U8 => each(&mut values, bytes, |[byte]| byte.into()),
            DType::I16 => each(&mut values, bytes, |bytes| i16::from_le_bytes(bytes).into()),
            DType::I32 => each(&mut values, bytes, |bytes| i32::from_le_bytes(bytes).into()),
            DType::I64 => each(&mut values, bytes, i64::from_le_bytes),
            other => return Err(format!("is of type {other}; int32 or int64 is needed")),
        }
        Ok(Ints { values, count })
    }
}

fn each<const BYTES: usize>(values: &mut [i64], bytes: &[u8], read: impl Fn([u8; BYTES]) -> i64) {
    for (to, bytes) in values.iter_mut().zip(bytes.as_chunks::<BYTES>().0) {
        *to = read(*bytes);
    }
}

impl<const MAX: usize> std::ops::Deref for Ints<MAX> {
    type Target = [i64];

    fn deref(&self) -> &[i64] {
        &self.values[..self.count]
    }
}
