//! Elements as bytes, for caches, saved states and stages that hold many of them. An element is one after the other:
//!
//! - a byte: 1 when the shapes of all fields are written out, 0 when only the dimensions that the schema leaves open;
//! - where it came from: file, record, offset;
//! - for each field its dimensions (if written out, after its rank), then its values as they lie in memory; of strings
//!   each after its length.
//!
//! Whole numbers but values are varints as in Protocol Buffers, so that a small element takes little more than its
//! values. Values are little-endian. With the schema at hand the end of an element is known, so several can lie one
//! after the other.

use tightfit_core::{BudgetError, DType, MAX_RANK, Shape};

use super::element::{Element, ElementView, Field, Schema};
use super::growing::Growing;
use super::origin::Origin;
use crate::error::{Needed, RowFault};

/// The most bytes of a varint.
const VARINT_BYTES: usize = 10;

/// Adds `view` to `out`; when that fails, `out` is as it was.
pub(crate) fn encode(view: &ElementView<'_>, out: &mut Growing) -> Result<(), RowFault> {
    let before = out.used();
    let encoded = encode_fields(view, out);
    if encoded.is_err() {
        out.set_used(before);
    }
    encoded
}

fn encode_fields(view: &ElementView<'_>, out: &mut Growing) -> Result<(), RowFault> {
    let schema = view.schema();
    let fields = || schema.fields().iter().zip(view.places()).enumerate();
    let is_typical = fields().all(|(index, (field, place))| match schema.shape(index) {
        Some(shape) => *shape == place.shape,
        None => field.allows(&place.shape),
    });
    let Origin { file, record, offset } = view.origin();
    let mut head = Head::default();
    head.put(u64::from(!is_typical));
    head.put(u64::from(file));
    head.put(record);
    head.put(offset);
    for (index, (field, place)) in fields() {
        if !is_typical {
            head.put(place.shape.rank() as u64);
        }
        let is_known = is_typical && schema.shape(index).is_some();
        for (axis, size) in place.shape.iter().enumerate().filter(|_| !is_known) {
            if !is_typical || field.dims.get(axis).is_none_or(Option::is_none) {
                head.put(*size as u64);
            }
        }
        head.flush(out)?;
        if field.dtype == DType::String {
            for string in view.strings(index) {
                let string = string?;
                head.put(string.len() as u64);
                head.flush(out)?;
                out.extend(string)?;
            }
        } else {
            let end = place.offset.saturating_add(place.shape.elements() * field.dtype.bytes());
            let values = view.values().get(place.offset..end);
            out.extend(values.needed("a field lies outside its element")?)?;
        }
    }
    Ok(head.flush(out)?)
}

/// Varints on their way: the head of an element, or the rank and the dimensions of a field.
struct Head {
    bytes: [u8; VARINT_BYTES * (MAX_RANK + 5)],
    used: usize,
}

impl Default for Head {
    fn default() -> Self {
        Head { bytes: [0; VARINT_BYTES * (MAX_RANK + 5)], used: 0 }
    }
}

impl Head {
    fn put(&mut self, mut number: u64) {
        for to in self.bytes.iter_mut().skip(self.used) {
            self.used += 1;
            *to = number as u8 & 0x7f;
            number >>= 7;
            if number == 0 {
                return;
            }
            *to |= 0x80;
        }
    }

    fn flush(&mut self, out: &mut Growing) -> Result<(), BudgetError> {
        let used = std::mem::take(&mut self.used);
        // `put` goes no further than there are bytes.
        out.extend(&self.bytes[..used])
    }
}

/// Bytes that are not what [`encode`] makes of an element of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

/// Why bytes become no element.
#[derive(Debug)]
pub(crate) enum DecodeError {
    /// They are none.
    Broken,
    /// There is no memory for it, or no room where there has to be.
    Fault(RowFault),
}

impl<E: Into<RowFault>> From<E> for DecodeError {
    fn from(error: E) -> Self {
        DecodeError::Fault(error.into())
    }
}

impl From<Broken> for DecodeError {
    fn from(_: Broken) -> Self {
        DecodeError::Broken
    }
}

/// Walks over the fields of an element as bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    is_typical: bool,
    origin: Origin,
}

impl<'a> Cursor<'a> {
    /// The element that `bytes` begin with.
    pub fn new(bytes: &'a [u8]) -> Result<Cursor<'a>, Broken> {
        let mut rest = bytes;
        let is_typical = match varint(&mut rest)? {
            0 => true,
            1 => false,
            _ => return Err(Broken),
        };
        let file = u32::try_from(varint(&mut rest)?).map_err(|_| Broken)?;
        let origin = Origin { file, record: varint(&mut rest)?, offset: varint(&mut rest)? };
        Ok(Cursor { rest, is_typical, origin })
    }

    /// Where the element comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// What lies after the last field: after all of them, the next element.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next field, which is `index` of `schema`: its shape and its values; of strings, what [`strings`] reads.
    pub fn field(&mut self, schema: &Schema, index: usize) -> Result<(Shape, &'a [u8]), Broken> {
        let field = schema.fields().get(index).ok_or(Broken)?;
        let shape = match schema.shape(index).filter(|_| self.is_typical) {
            Some(shape) => *shape,
            None => self.shape(field)?,
        };
        let elements = shape.elements();
        // Every element takes at least a byte, so no more memory is asked for than there are bytes.
        if elements > self.rest.len() {
            return Err(Broken);
        }
        let mut end = elements * field.dtype.bytes();
        if field.dtype == DType::String {
            let mut behind = self.rest;
            for _ in 0..elements {
                take_string(&mut behind)?;
            }
            end = self.rest.len() - behind.len();
        }
        let (values, rest) = self.rest.split_at_checked(end).ok_or(Broken)?;
        self.rest = rest;
        Ok((shape, values))
    }

    /// The shape of the next field, as far as the schema does not say it.
    fn shape(&mut self, field: &Field) -> Result<Shape, Broken> {
        let rank = if self.is_typical { field.dims.len() } else { size(&mut self.rest)? };
        let mut dims = [0; MAX_RANK];
        let dims = dims.get_mut(..rank).ok_or(Broken)?;
        for (axis, dim) in dims.iter_mut().enumerate() {
            let known = field.dims.get(axis).copied().flatten().filter(|_| self.is_typical);
            *dim = known.map_or_else(|| size(&mut self.rest), Ok)?;
        }
        Shape::new(dims).map_err(|_| Broken)
    }
}

/// The strings of a field as [`Cursor::field`] gives it.
pub(crate) fn strings(mut values: &[u8]) -> impl Iterator<Item = Result<&[u8], Broken>> {
    std::iter::from_fn(move || if values.is_empty() { None } else { Some(take_string(&mut values)) })
}

fn take_string<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Broken> {
    let size = size(bytes)?;
    bytes.split_off(..size).ok_or(Broken)
}

/// Makes `element` what was encoded as `bytes`.
pub(crate) fn decode(bytes: &[u8], element: &mut Element) -> Result<(), DecodeError> {
    let mut cursor = Cursor::new(bytes)?;
    element.begin(cursor.origin());
    let schema = element.schema().clone();
    for (index, field) in schema.fields().iter().enumerate() {
        let (shape, values) = cursor.field(&schema, index)?;
        let room = element.add(shape)?;
        if field.dtype != DType::String {
            room.copy_from_slice(values);
            continue;
        }
        for (i, text) in strings(values).enumerate() {
            let string = element.add_text(text?)?;
            element.put_string(index, i, string)?;
        }
    }
    if cursor.rest().is_empty() { Ok(()) } else { Err(DecodeError::Broken) }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Broken> {
    let mut number = 0u64;
    for (index, byte) in bytes.iter().take(VARINT_BYTES).enumerate() {
        let part = u64::from(byte & 0x7f);
        if index == VARINT_BYTES - 1 && part > 1 {
            return Err(Broken);
        }
        number |= part << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = bytes.get(index + 1..).ok_or(Broken)?;
            return Ok(number);
        }
    }
    Err(Broken)
}

fn size(bytes: &mut &[u8]) -> Result<usize, Broken> {
    usize::try_from(varint(bytes)?).map_err(|_| Broken)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tightfit_core::MemoryBudget;

    use super::*;

    #[test]
    fn elements_of_any_shape_come_back() {
        let budget = MemoryBudget::new(u64::MAX);
        let fields = vec![
            Field::fixed("id", DType::I32, &[]),
            Field::new("x", DType::F32, &[None, Some(2)]),
            Field::new("s", DType::String, &[None]),
        ];
        let schema = Arc::new(Schema::new(fields).unwrap());
        let mut element = Element::new(schema.clone(), "test", &budget);
        let mut out = Growing::new("test", &budget);
        // The last is not what the schema says, and comes back all the same.
        for dims in [&[3, 2][..], &[0, 2], &[200, 2], &[2, 3]] {
            let shape = Shape::new(dims).unwrap();
            element.begin(Origin { file: 3, record: 70_000, offset: u64::MAX });
            element.add(Shape::SCALAR).unwrap().fill(7);
            element.add(shape).unwrap().fill(1);
            element.add(Shape::new(&[2]).unwrap()).unwrap();
            let refs = [b"".as_slice(), b"text"].map(|text| element.add_text(text).unwrap());
            element.field_mut(2).unwrap().copy_from_slice(bytemuck::cast_slice(&refs));
            out.set_used(0);
            encode(&element.view(), &mut out).unwrap();
            assert!(out.used() < 40 + 8 * dims.iter().product::<usize>());
            let mut back = Element::new(schema.clone(), "test", &budget);
            decode(out.bytes(), &mut back).unwrap();
            let (a, b) = (element.view(), back.view());
            assert_eq!(
                (a.origin(), a.places(), a.values().len()),
                (b.origin(), b.places(), b.values().len())
            );
            assert_eq!(a.tensor(1).unwrap().bytes(), b.tensor(1).unwrap().bytes());
            assert_eq!(b.strings(2).collect::<Vec<_>>(), [Ok(&b""[..]), Ok(b"text")]);
            for end in 0..out.used() {
                assert!(decode(&out.bytes()[..end], &mut back).is_err(), "{end}");
            }
        }
    }
}
