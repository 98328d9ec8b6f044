//! Tensor values in a description (tensor.proto). They stay in the file where they stand there as they are.
//!
//! The element type may come after the values it is needed for, and the number of values is known only at the end,
//! so a tensor is gone over up to three times: what it is, how many values, the values. Only the last allocates.

mod narrow;
mod scaled;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use tightfit_core::{Buffer, DType};

use super::decode::Decoder;
use super::schema::TENSOR;
use super::segments::{self, Builder, Finder, Segments};
use crate::data_type::DataType;
use crate::error::{FormatError, Place, Problem};
use crate::limits;
use crate::proto::{Input, Run};
use crate::source::SourceFile;
use crate::stored::Stored;

pub use narrow::{Narrow, Rounding};
pub use scaled::Scaled;

type Result<T> = std::result::Result<T, FormatError>;

/// Inline values from this size on get a buffer of their own.
const BUFFER_FROM_BYTES: usize = 4 << 10;

/// Values are left in the file where the index of them takes at most this share of their bytes.
const INDEX_SHARE: u64 = 16;

/// A tensor (tensor.proto).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TensorDef {
    /// A number of [`DataType`].
    pub dtype: i32,
    /// The dimensions, none below 0; their product times the element's bytes is known to fit `i64`.
    pub shape: Vec<i64>,
    /// The values.
    pub content: TensorContent,
}

/// Where a tensor's values are. Little-endian elements without gaps, complex ones as real, imaginary; a bool is one
/// byte, of which TensorFlow writes only 0 and 1. There may be fewer than the shape has: then the last one repeats,
/// and none at all means zeros (empty strings). There are never more.
#[derive(Clone, PartialEq, Default)]
pub enum TensorContent {
    /// In the file, at any alignment.
    File {
        /// From the file's start.
        offset: u64,
        /// A multiple of the element's bytes.
        bytes: u64,
    },
    /// In the file, in several runs or as numbers of variable length.
    Segments(Arc<Segments>),
    /// In memory, decoded from numbers of variable length or from text.
    Inline(InlineBytes),
    /// In the shards of a checkpoint.
    Stored(Arc<Stored>),
    /// Those of another tensor, each times a factor; no file has them.
    Scaled(Arc<Scaled>),
    /// Those of another tensor in fewer bits; no file has them.
    Narrow(Arc<Narrow>),
    /// The elements of a string tensor.
    Strings(Vec<Box<[u8]>>),
    /// Values of a type that has no plain elements here: resource, variant, float8, int4.
    #[default]
    Opaque,
}

/// Bytes held in memory: small ones within the description's reservation, others in a [`Buffer`].
#[derive(Clone)]
pub enum InlineBytes {
    /// Few bytes, at any alignment.
    Small(Box<[u8]>),
    /// Many bytes, shared when cloned.
    Large(Arc<Buffer>),
}

impl Deref for InlineBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            InlineBytes::Small(bytes) => bytes,
            InlineBytes::Large(buffer) => buffer,
        }
    }
}

impl PartialEq for InlineBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for InlineBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl fmt::Debug for TensorContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TensorContent::File { offset, bytes } => write!(f, "File({bytes} bytes at {offset})"),
            TensorContent::Segments(segments) => write!(f, "Segments({} bytes)", segments.bytes()),
            TensorContent::Stored(stored) => write!(f, "{stored:?}"),
            TensorContent::Scaled(scaled) => write!(f, "Scaled({:?})", scaled.base),
            TensorContent::Narrow(narrow) => write!(f, "{narrow:?}"),
            TensorContent::Inline(bytes) => write!(f, "Inline({bytes:?})"),
            TensorContent::Strings(strings) => write!(f, "Strings({})", strings.len()),
            TensorContent::Opaque => write!(f, "Opaque"),
        }
    }
}

impl TensorDef {
    /// How many elements the shape has.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|d| *d as u64).product()
    }

    /// Bytes of one element, or `None` for strings and types without plain elements.
    pub fn element_bytes(&self) -> Option<usize> {
        element_bytes(self.dtype)
    }

    /// Bytes of the whole tensor when laid out densely, or `None` as in [`TensorDef::element_bytes`].
    pub fn bytes(&self) -> Option<u64> {
        Some(self.elements() * self.element_bytes()? as u64)
    }

    /// Bytes of the elements that are written out; the last one stands for the rest. 0 for strings.
    pub fn present_bytes(&self) -> u64 {
        match &self.content {
            TensorContent::File { bytes, .. } => *bytes,
            TensorContent::Segments(segments) => segments.bytes(),
            TensorContent::Stored(stored) => stored.bytes(),
            TensorContent::Scaled(scaled) => scaled.base.bytes().unwrap_or(0),
            TensorContent::Narrow(narrow) => narrow.bytes(),
            TensorContent::Inline(bytes) => bytes.len() as u64,
            TensorContent::Strings(_) | TensorContent::Opaque => 0,
        }
    }

    /// Fills `out`, of [`TensorDef::bytes`] bytes, with all elements: those that are there, then the last one
    /// repeated, or zeros.
    ///
    /// # Errors
    /// [`FormatError`] when `source` cannot be read, when `out` has another length, and for a tensor without
    /// plain elements.
    pub fn read_into(&self, source: &SourceFile, out: &mut [u8]) -> Result<()> {
        if self.bytes().is_some_and(|bytes| bytes != out.len() as u64) {
            return Err(self.cannot_read(source, 0, out.len()));
        }
        self.read_at(source, 0, out)
    }

    /// Fills `out` with the bytes from `offset` on of what [`TensorDef::read_into`] gives.
    ///
    /// # Errors
    /// [`FormatError`] when `source` cannot be read, when the range leaves the tensor, and for a tensor without plain
    /// elements.
    pub fn read_at(&self, source: &SourceFile, offset: u64, out: &mut [u8]) -> Result<()> {
        let cannot_read = || self.cannot_read(source, offset, out.len());
        let end = offset.checked_add(out.len() as u64);
        let (Some(element_bytes), Some(bytes), Some(end)) = (self.element_bytes(), self.bytes(), end) else {
            return Err(cannot_read());
        };
        let present_bytes = self.present_bytes();
        let is_plain = !matches!(self.content, TensorContent::Strings(_) | TensorContent::Opaque);
        if !is_plain || end > bytes || present_bytes > bytes {
            return Err(cannot_read());
        }
        // At most the length of `out`, which is a usize.
        let (present, rest) = out.split_at_mut((present_bytes.clamp(offset, end) - offset) as usize);
        self.read_present(source, offset, present)?;
        if rest.is_empty() {
            return Ok(());
        }
        let mut last = [0; MAX_ELEMENT_BYTES];
        let last = &mut last[..element_bytes];
        if let Some(start) = present_bytes.checked_sub(element_bytes as u64) {
            self.read_present(source, start, last)?;
        }
        // `rest` may begin or end inside an element.
        let phase = ((offset + present.len() as u64) % element_bytes as u64) as usize;
        let (head, whole) = rest.split_at_mut(rest.len().min((element_bytes - phase) % element_bytes));
        head.copy_from_slice(&last[phase..][..head.len()]);
        whole.chunks_mut(element_bytes).for_each(|e| e.copy_from_slice(&last[..e.len()]));
        Ok(())
    }

    /// Reads bytes that are written out in full.
    fn read_present(&self, source: &SourceFile, at: u64, out: &mut [u8]) -> Result<()> {
        match &self.content {
            TensorContent::File { offset, .. } if !out.is_empty() => source.read_exact_at(offset + at, out),
            TensorContent::Segments(segments) if !out.is_empty() => segments.read_at(source, at, out),
            TensorContent::Stored(stored) if !out.is_empty() => stored.read_at(at, out),
            TensorContent::Scaled(scaled) if !out.is_empty() => scaled.read_at(source, at, out),
            TensorContent::Narrow(narrow) if !out.is_empty() => narrow.read_at(source, at, out),
            TensorContent::Inline(bytes) if !out.is_empty() => {
                out.copy_from_slice(&bytes[at as usize..][..out.len()]);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn cannot_read(&self, source: &SourceFile, offset: u64, bytes: usize) -> FormatError {
        let expected = format!("a part of the {:?} bytes of {} elements", self.bytes(), self.elements());
        let found = format!("{bytes} bytes at {offset} of {self:?}");
        FormatError::new(source.path(), Place::Whole, Problem::invalid(expected, found))
    }
}

/// The number of uint4, whose values stand where those of integers do.
const UINT4: i32 = 30;

/// Bytes of the widest element, a complex128.
const MAX_ELEMENT_BYTES: usize = 16;

fn element_bytes(dtype: i32) -> Option<usize> {
    DataType(dtype).storage().filter(|d| *d != DType::String).map(DType::bytes)
}

/// The field that holds the values of a type when they are not in `tensor_content`, and the bytes of one value
/// there; a complex element is two values.
pub(super) fn value_field(dtype: DType) -> (u32, usize) {
    match dtype {
        DType::F32 => (5, 4),
        DType::F64 => (6, 8),
        DType::I8 | DType::I16 | DType::I32 | DType::U8 | DType::U16 => (7, dtype.bytes()),
        DType::String => (8, 0),
        DType::C64 => (9, 4),
        DType::I64 => (10, 8),
        DType::Bool => (11, 1),
        DType::C128 => (12, 8),
        DType::F16 | DType::BF16 => (13, 2),
        DType::U32 => (16, 4),
        DType::U64 => (17, 8),
    }
}

/// What the first walk over a tensor's message finds.
#[derive(Default)]
struct Outline {
    dtype: i32,
    shape: Vec<i64>,
    /// Bytes of the last `tensor_content`, and where they stand.
    content: Option<(u64, Option<u64>)>,
}

impl<I: Input> Decoder<I> {
    pub(super) fn tensor(&mut self) -> Result<TensorDef> {
        let scope = self.input.enter()?;
        let start = self.input.mark();
        let Outline { dtype, shape, content } = self.outline()?;
        let elements = shape.iter().try_fold(1u64, |n, d| n.checked_mul(u64::try_from(*d).ok()?));
        let element_bytes = element_bytes(dtype).unwrap_or(DType::String.bytes()) as u64;
        let full_bytes =
            elements.and_then(|n| n.checked_mul(element_bytes)).filter(|b| *b <= i64::MAX as u64);
        let (Some(elements), Some(full_bytes)) = (elements, full_bytes) else {
            let found = format!("shape {shape:?}");
            return Err(self.input.error(Problem::invalid("a tensor of less than 2^63 bytes", found)));
        };
        let content = match (DataType(dtype).storage(), content.filter(|(bytes, _)| *bytes > 0)) {
            (None, _) => TensorContent::Opaque,
            // Values that stand for more than one element are not told apart there.
            (Some(DType::U8), found)
                if DataType(dtype).is_small()
                    && dtype != UINT4
                    && found.map_or(full_bytes > 0, |(bytes, _)| bytes != full_bytes) =>
            {
                TensorContent::Opaque
            }
            (Some(DType::String), None) => self.strings(start, elements)?,
            (Some(DType::String), Some((bytes, _))) => self.packed_strings(start, elements, bytes)?,
            (Some(_), Some((bytes, _))) if bytes != full_bytes => {
                let expected = format!("{full_bytes} bytes of values of {} {shape:?}", DataType(dtype));
                return Err(self.input.error(Problem::invalid(expected, format!("{bytes}"))));
            }
            (Some(_), Some((bytes, Some(offset)))) => TensorContent::File { offset, bytes },
            (Some(_), Some((bytes, None))) => TensorContent::Inline(self.content_bytes(start, bytes)?),
            (Some(dtype), None) => self.values(start, dtype, full_bytes)?,
        };
        self.input.leave(scope);
        Ok(TensorDef { dtype, shape, content })
    }

    fn outline(&mut self) -> Result<Outline> {
        let mut outline = Outline::default();
        let mut shaped = false;
        while let Some(field) = self.input.next(TENSOR)? {
            match field {
                1 => outline.dtype = self.input.scalar()? as i32,
                2 => {
                    self.only_one(std::mem::replace(&mut shaped, true), "shape of a tensor")?;
                    let dims = self.shape()?.dims.filter(|dims| dims.iter().all(|d| *d >= 0));
                    outline.shape = dims.ok_or_else(|| {
                        let found = "one with unknown dimensions";
                        self.input.error(Problem::invalid("a fixed shape of a tensor with values", found))
                    })?;
                }
                // Floats of eight bits have a field of their own, of the same form.
                4 | 18 => {
                    let bytes = self.input.bytes_len()?;
                    outline.content = Some((bytes, self.input.bytes_skip(bytes)?));
                }
                _ => self.input.skip()?,
            }
        }
        Ok(outline)
    }

    /// Calls `place` with offset, bytes and count of each run of values, and with those of each value that stands alone.
    /// False where the file is a text.
    fn places(
        &mut self,
        start: I::Mark,
        field: u32,
        value_bytes: u64,
        mut place: impl FnMut(u64, u64, u64),
    ) -> Result<bool> {
        let mut is_binary = true;
        self.each(start, field, |this| {
            match this.input.run()? {
                Some(Run { offset, bytes }) => place(offset, bytes, bytes / value_bytes),
                None if this.input.places(&mut |offset, bytes| place(offset, bytes, 1))? => {}
                None => {
                    is_binary = false;
                    this.input.skip()?;
                }
            }
            Ok(())
        })?;
        Ok(is_binary)
    }

    /// The values of a field where they stand in the file, if an index of them is much smaller than they are.
    fn segments(&mut self, start: I::Mark, dtype: DType, bytes: u64) -> Result<Option<Segments>> {
        let (field, value_bytes) = value_field(dtype);
        // What is written as a number is a bool by being other than 0, and TensorFlow's floats are never written so.
        let is_varint = !matches!(dtype, DType::F32 | DType::F64 | DType::C64 | DType::C128);
        if dtype == DType::Bool || bytes < BUFFER_FROM_BYTES as u64 {
            return Ok(None);
        }
        let mut count = 0u64;
        let mut finder = Finder::new(value_bytes, is_varint);
        let is_binary = self.places(start, field, value_bytes as u64, |offset, bytes, values| {
            count += u64::from(finder.run(offset, bytes, values));
        })?;
        let index_bytes = segments::index_bytes(count);
        if !is_binary || index_bytes > bytes / INDEX_SHARE {
            return Ok(None);
        }
        self.charge(index_bytes)?;
        let mut builder = Builder::new(Finder::new(value_bytes, is_varint), count as usize);
        self.places(start, field, value_bytes as u64, |offset, bytes, values| {
            builder.run(offset, bytes, values)
        })?;
        Ok(Some(builder.finish(bytes / value_bytes as u64)))
    }

    /// The values of a type with elements of fixed width, out of its repeated field.
    fn values(&mut self, start: I::Mark, dtype: DType, full_bytes: u64) -> Result<TensorContent> {
        let element_bytes = dtype.bytes() as u64;
        let (field, value_bytes) = value_field(dtype);
        let mut run = None;
        let mut count = 0u64;
        let mut parts = 0u64;
        self.each(start, field, |this| {
            parts += 1;
            run = this.input.run()?;
            match run {
                Some(Run { bytes, .. }) if !bytes.is_multiple_of(value_bytes as u64) => {
                    let expected = format!("a multiple of {value_bytes} bytes");
                    return Err(this.input.error(Problem::invalid(expected, format!("{bytes}"))));
                }
                Some(Run { bytes, .. }) => count += bytes / value_bytes as u64,
                None => this.input.scalars(&mut |_| {
                    count += 1;
                    Ok(())
                })?,
            }
            Ok(())
        })?;
        let present_bytes = count.saturating_mul(value_bytes as u64);
        if !present_bytes.is_multiple_of(element_bytes) {
            let found = format!("{count} numbers");
            return Err(self.input.error(Problem::invalid("two numbers for each complex value", found)));
        }
        // TensorFlow ignores values past the shape's.
        let bytes = present_bytes.min(full_bytes);
        if let (1, Some(Run { offset, .. })) = (parts, run) {
            return Ok(TensorContent::File { offset, bytes });
        }
        // What a few values stand for is short, and is written as it is found.
        let is_complete = bytes == full_bytes;
        if let Some(segments) = is_complete.then(|| self.segments(start, dtype, bytes)).transpose()?.flatten()
        {
            return Ok(TensorContent::Segments(segments.into()));
        }
        let mut inline = self.inline(bytes)?;
        let mut slots = inline.as_mut().chunks_exact_mut(value_bytes);
        self.each(start, field, |this| {
            this.input.scalars(&mut |bits| {
                if let Some(slot) = slots.next() {
                    slot.copy_from_slice(&bits.to_le_bytes()[..value_bytes]);
                }
                Ok(())
            })
        })?;
        Ok(TensorContent::Inline(inline.into()))
    }

    /// The bytes of `tensor_content` where they do not stand in the file as they are.
    fn content_bytes(&mut self, start: I::Mark, bytes: u64) -> Result<InlineBytes> {
        let mut inline = self.inline(bytes)?;
        self.each(start, 4, |this| {
            let found = this.input.bytes_len()?;
            // Of several the last one holds, and its length is the one that was asked for.
            if found == bytes {
                this.input.bytes_into(inline.as_mut())
            } else {
                this.input.bytes_skip(found).map(drop)
            }
        })?;
        Ok(inline.into())
    }

    fn strings(&mut self, start: I::Mark, elements: u64) -> Result<TensorContent> {
        let mut strings = Vec::new();
        self.each(start, 8, |this| {
            if strings.len() as u64 >= elements {
                return this.input.skip();
            }
            let string = this.bytes(limits::STRING_BYTES)?;
            this.keep(&mut strings, string, limits::STRINGS)
        })?;
        self.ledger.fit(&mut strings);
        Ok(TensorContent::Strings(strings))
    }

    /// Strings in `tensor_content`: the length of each in a varint, and then all their bytes.
    fn packed_strings(&mut self, start: I::Mark, elements: u64, bytes: u64) -> Result<TensorContent> {
        let packed = self.content_bytes(start, bytes)?;
        let damaged = |this: &Self| {
            let expected = format!("the lengths and bytes of {elements} strings");
            this.input.error(Problem::invalid(expected, format!("{bytes} other bytes")))
        };
        // Each length takes a byte at least, which bounds the first walk.
        let mut rest = &packed[..];
        for _ in 0..elements {
            take_varint(&mut rest).ok_or_else(|| damaged(self))?;
        }
        let mut lengths = &packed[..];
        let mut strings = Vec::new();
        for _ in 0..elements {
            let length = take_varint(&mut lengths).and_then(|n| usize::try_from(n).ok());
            let string = length.and_then(|n| rest.split_off(..n)).ok_or_else(|| damaged(self))?;
            self.charge(string.len() as u64)?;
            self.keep(&mut strings, string.into(), limits::STRINGS)?;
        }
        if !rest.is_empty() {
            return Err(damaged(self));
        }
        self.ledger.fit(&mut strings);
        Ok(TensorContent::Strings(strings))
    }

    /// Walks over the tensor's message again and hands over each value of one field.
    fn each(
        &mut self,
        start: I::Mark,
        field: u32,
        mut value: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.input.rewind(start);
        while let Some(number) = self.input.next(TENSOR)? {
            if number == field { value(self)? } else { self.input.skip()? }
        }
        Ok(())
    }

    fn inline(&mut self, bytes: u64) -> Result<Inline> {
        let too_large = |this: &Self| {
            this.input.error(Problem::invalid("values that can be addressed", format!("{bytes} bytes")))
        };
        let length = usize::try_from(bytes).map_err(|_| too_large(self))?;
        if length < BUFFER_FROM_BYTES {
            self.charge(bytes)?;
            return Ok(Inline::Small(vec![0; length].into_boxed_slice()));
        }
        self.charge(size_of::<Buffer>() as u64)?;
        Buffer::new(self.ledger.budget(), "values in the model's graph", length)
            .map(Inline::Large)
            .map_err(|e| self.input.error(Problem::Budget(e)))
    }
}

/// [`InlineBytes`] while they are written.
enum Inline {
    Small(Box<[u8]>),
    Large(Buffer),
}

impl Inline {
    fn as_mut(&mut self) -> &mut [u8] {
        match self {
            Inline::Small(bytes) => bytes,
            Inline::Large(buffer) => buffer,
        }
    }
}

impl From<Inline> for InlineBytes {
    fn from(inline: Inline) -> Self {
        match inline {
            Inline::Small(bytes) => InlineBytes::Small(bytes),
            Inline::Large(buffer) => InlineBytes::Large(buffer.into()),
        }
    }
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
