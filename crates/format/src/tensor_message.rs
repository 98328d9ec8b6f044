//! Tensors in their serialized form (tensorflow.TensorProto) in memory, as operators read and write them. Nothing here
//! allocates.
//!
//! A message holds the elements as bytes (`tensor_content`) or in the list of their type, where the last one stands for
//! all that are missing. Strings in `tensor_content` are their lengths as varints, and then all texts.

use tightfit_core::{DType, MAX_RANK, Shape};

use crate::DataType;
use crate::example::{ExampleError, Message, Wire, varint_bytes};

/// A tensor's message over its bytes.
#[derive(Debug, Clone, Copy)]
pub struct TensorMessage<'a> {
    /// The type that it says.
    pub data_type: DataType,
    /// The shape.
    pub shape: Shape,
    content: &'a [u8],
    message: Message<'a>,
}

/// Why bytes are no tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorMessageError {
    /// The bytes are no message.
    Message(ExampleError),
    /// The shape is open, has a negative size, or is too large.
    Shape,
    /// The elements are not as many as the shape says.
    Elements,
}

impl std::fmt::Display for TensorMessageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TensorMessageError::Message(error) => write!(f, "is no serialized tensor: {error}"),
            TensorMessageError::Shape => {
                f.write_str("is a serialized tensor of a shape that is not possible")
            }
            TensorMessageError::Elements => {
                f.write_str("is a serialized tensor with other elements than its shape says")
            }
        }
    }
}

impl std::error::Error for TensorMessageError {}

impl From<ExampleError> for TensorMessageError {
    fn from(error: ExampleError) -> Self {
        TensorMessageError::Message(error)
    }
}

type Result<T> = std::result::Result<T, TensorMessageError>;

impl<'a> TensorMessage<'a> {
    /// Reads type and shape.
    ///
    /// # Errors
    /// [`TensorMessageError`] for bytes that are no such message.
    pub fn read(bytes: &'a [u8]) -> Result<TensorMessage<'a>> {
        let mut message = Message(bytes);
        let (mut data_type, mut content, mut dims) = (DataType(0), &[][..], Dims::default());
        while let Some((number, field)) = message.field()? {
            match (number, field) {
                (1, Wire::Varint(number)) => data_type = DataType(number as i32),
                (2, Wire::Bytes(shape)) => dims.add(Message(shape))?,
                (4, Wire::Bytes(bytes)) => content = bytes,
                _ => {}
            }
        }
        let shape = Shape::new(&dims.sizes[..dims.rank]).map_err(|_| TensorMessageError::Shape)?;
        Ok(TensorMessage { data_type, shape, content, message: Message(bytes) })
    }

    /// Writes the elements, numbers of `dtype` as they lie in memory, to `out`, which has room for just them.
    ///
    /// # Errors
    /// [`TensorMessageError`] for another number of elements.
    pub fn numbers(&self, dtype: DType, out: &mut [u8]) -> Result<()> {
        let size = dtype.bytes();
        if out.len() != self.shape.elements() * size {
            return Err(TensorMessageError::Elements);
        }
        if !self.content.is_empty() {
            if self.content.len() != out.len() {
                return Err(TensorMessageError::Elements);
            }
            out.copy_from_slice(self.content);
            if dtype == DType::Bool {
                out.iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
            }
            return Ok(());
        }
        // A complex number is two of a list.
        let part = if dtype.is_complex() { size / 2 } else { size };
        let mut written = 0;
        self.each_number(list_of(dtype), |bits| {
            if let Some(to) = out.get_mut(written..written + part) {
                let bits = if dtype == DType::Bool { u64::from(bits != 0) } else { bits };
                to.copy_from_slice(&bits.to_le_bytes()[..part]);
                written += part;
            }
        })?;
        let written = written - written % size;
        match written.checked_sub(size) {
            None => out.fill(0),
            Some(last) => {
                for at in (written..out.len()).step_by(size) {
                    out.copy_within(last..last + size, at);
                }
            }
        }
        Ok(())
    }

    /// Calls `each` with the bits of every number of a list.
    fn each_number(&self, list: u64, mut each: impl FnMut(u64)) -> Result<()> {
        let mut message = self.message;
        while let Some((number, field)) = message.field()? {
            if number != list {
                continue;
            }
            match field {
                Wire::Varint(value) => each(value),
                Wire::Fixed32(bytes) | Wire::Fixed64(bytes) => each(bits(bytes)),
                Wire::Bytes(packed) => match list {
                    FLOATS | COMPLEX_FLOATS => packed.chunks_exact(4).for_each(|bytes| each(bits(bytes))),
                    DOUBLES | COMPLEX_DOUBLES => packed.chunks_exact(8).for_each(|bytes| each(bits(bytes))),
                    _ => {
                        let mut packed = Message(packed);
                        while !packed.0.is_empty() {
                            each(packed.varint()?);
                        }
                    }
                },
            }
        }
        Ok(())
    }

    /// Calls `each` with the texts of a tensor of strings, one for each element, all of them parts of the message.
    ///
    /// # Errors
    /// [`TensorMessageError`] for another number of elements.
    pub fn strings(&self, mut each: impl FnMut(&'a [u8])) -> Result<()> {
        let count = self.shape.elements();
        if !self.content.is_empty() {
            let (mut lengths, mut texts) = (Message(self.content), Message(self.content));
            for _ in 0..count {
                texts.varint()?;
            }
            for _ in 0..count {
                each(texts.take(lengths.varint()?)?);
            }
            return if texts.0.is_empty() { Ok(()) } else { Err(TensorMessageError::Elements) };
        }
        let (mut message, mut written, mut last) = (self.message, 0, &[][..]);
        while let Some((number, field)) = message.field()? {
            if let (8, Wire::Bytes(text), true) = (number, field, written < count) {
                each(text);
                (written, last) = (written + 1, text);
            }
        }
        (written..count).for_each(|_| each(last));
        Ok(())
    }
}

const FLOATS: u64 = 5;
const DOUBLES: u64 = 6;
const COMPLEX_FLOATS: u64 = 9;
const COMPLEX_DOUBLES: u64 = 12;

/// The field that lists numbers of a type.
fn list_of(dtype: DType) -> u64 {
    match dtype {
        DType::F32 => FLOATS,
        DType::F64 => DOUBLES,
        DType::C64 => COMPLEX_FLOATS,
        DType::C128 => COMPLEX_DOUBLES,
        DType::F16 | DType::BF16 => 13,
        DType::I64 => 10,
        DType::Bool => 11,
        DType::U32 => 16,
        DType::U64 => 17,
        _ => 7,
    }
}

fn bits(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

/// The dimensions of a shape's message.
#[derive(Default)]
struct Dims {
    sizes: [usize; MAX_RANK],
    rank: usize,
}

impl Dims {
    fn add(&mut self, mut shape: Message<'_>) -> Result<()> {
        while let Some((number, field)) = shape.field()? {
            match (number, field) {
                (2, Wire::Bytes(dim)) => {
                    let (mut dim, mut size) = (Message(dim), 0);
                    while let Some((number, field)) = dim.field()? {
                        if let (1, Wire::Varint(n)) = (number, field) {
                            size = n as i64;
                        }
                    }
                    let to = self.sizes.get_mut(self.rank).ok_or(TensorMessageError::Shape)?;
                    *to = usize::try_from(size).map_err(|_| TensorMessageError::Shape)?;
                    self.rank += 1;
                }
                (3, Wire::Varint(is_open)) if is_open != 0 => return Err(TensorMessageError::Shape),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The front of a message, in place.
#[derive(Debug, Clone)]
pub struct TensorHead {
    bytes: [u8; TensorHead::MAX],
    len: usize,
}

impl TensorHead {
    /// A type, a shape, and the tag and length of the content.
    const MAX: usize = 6 + 6 + MAX_RANK * 13 + 11;

    /// What stands before the elements: all that `content_bytes` bytes of `tensor_content` follow, or a list of strings.
    pub fn new(data_type: DataType, shape: &Shape, content_bytes: usize) -> TensorHead {
        let mut head = TensorHead { bytes: [0; TensorHead::MAX], len: 0 };
        head.push(1 << 3);
        head.varint(data_type.0 as u32 as u64);
        let dim_bytes = |dim: &usize| if *dim == 0 { 0 } else { 1 + varint_bytes(*dim as u64) };
        head.push(2 << 3 | 2);
        head.varint(shape.iter().map(|dim| 2 + dim_bytes(dim)).sum::<usize>() as u64);
        for dim in shape.iter() {
            head.push(2 << 3 | 2);
            head.push(dim_bytes(dim) as u8);
            if *dim > 0 {
                head.push(1 << 3);
                head.varint(*dim as u64);
            }
        }
        if content_bytes > 0 {
            head.push(4 << 3 | 2);
            head.varint(content_bytes as u64);
        }
        head
    }

    /// What stands before a text of that many bytes in a list of strings.
    pub fn of_string(bytes: usize) -> TensorHead {
        let mut head = TensorHead { bytes: [0; TensorHead::MAX], len: 0 };
        head.push(8 << 3 | 2);
        head.varint(bytes as u64);
        head
    }

    /// The length of a text among those of a content.
    pub fn of_length(bytes: usize) -> TensorHead {
        let mut head = TensorHead { bytes: [0; TensorHead::MAX], len: 0 };
        head.varint(bytes as u64);
        head
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, byte: u8) {
        if let Some(to) = self.bytes.get_mut(self.len) {
            *to = byte;
            self.len += 1;
        }
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let shape = Shape::new(&[2, 300]).unwrap();
        let content: Vec<u8> = (0..1200).map(|n| n as u8).collect();
        let mut message = TensorHead::new(DataType(5), &shape, content.len()).bytes().to_vec();
        assert_eq!(message, *b"\x08\x05\x12\x09\x12\x02\x08\x02\x12\x03\x08\xac\x02\x22\xb0\x09");
        message.extend_from_slice(&content);
        let read = TensorMessage::read(&message).unwrap();
        assert_eq!((read.data_type, read.shape), (DataType(5), shape));
        let mut numbers = vec![0; 1200];
        read.numbers(DType::I16, &mut numbers).unwrap();
        assert_eq!(numbers, content);
        assert_eq!(read.numbers(DType::I32, &mut numbers), Err(TensorMessageError::Elements));
        message.pop();
        assert!(matches!(TensorMessage::read(&message), Err(TensorMessageError::Message(_))));
    }

    #[test]
    fn lists_are_filled_up_with_their_last() {
        // float [3]: 1.0, then 2.0 for the rest; one packed, one not.
        let message = b"\x08\x01\x12\x04\x12\x02\x08\x03\x2a\x04\x00\x00\x80\x3f\x2d\x00\x00\x00\x40";
        let mut floats = [0; 12];
        TensorMessage::read(message).unwrap().numbers(DType::F32, &mut floats).unwrap();
        assert_eq!(
            floats.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<_>>(),
            [1.0, 2.0, 2.0]
        );
        // string [3]: a, bc.
        let message = b"\x08\x07\x12\x04\x12\x02\x08\x03\x42\x01a\x42\x02bc";
        let mut texts = Vec::new();
        TensorMessage::read(message).unwrap().strings(|text| texts.push(text)).unwrap();
        assert_eq!(texts, [&b"a"[..], b"bc", b"bc"]);
        let content = b"\x08\x07\x12\x04\x12\x02\x08\x02\x22\x05\x01\x02abc";
        texts.clear();
        TensorMessage::read(content).unwrap().strings(|text| texts.push(text)).unwrap();
        assert_eq!(texts, [&b"a"[..], b"bc"]);
        let open = b"\x08\x01\x12\x0d\x12\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(TensorMessage::read(open).unwrap_err(), TensorMessageError::Shape);
    }
}
