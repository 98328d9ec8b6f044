//! Lists of tensors in memory.
//!
//! A list whose elements have one shape that is known before the model runs is *dense*: a tensor `[length, ..element]`. Any
//! other is *open*, and grows: until an element is set it has no bytes, and then it is a table of what each element is,
//! followed by the elements in the order in which they were set, with room for those to come. A shape of [`MAX_RANK`]
//! dimensions tells the two apart: no dense list has one, since its elements have [`ELEMENT_RANK`] dimensions at most.

use tightfit_core::{DType, MAX_RANK, Shape, StringRef};

use super::error::OpError;
use super::run::Run;

/// The most dimensions of an element.
pub(crate) const ELEMENT_RANK: usize = 8;

/// Words of the table for each element: 1 more than its rank, where it begins after the table, and its dimensions. An
/// element that is not set has 0 for all of them.
const ENTRY_WORDS: usize = 2 + ELEMENT_RANK;

/// The shape of an open list none of whose elements is set.
pub(crate) fn open_shape(length: usize) -> Shape {
    of_open(length, 0).unwrap_or(Shape::SCALAR)
}

/// True for the shape of an open list.
pub(crate) fn is_open(list: &Shape) -> bool {
    is_open_rank(list.rank())
}

/// True for how many dimensions an open list has.
pub(crate) fn is_open_rank(rank: usize) -> bool {
    rank == MAX_RANK
}

/// The shape of an open list that takes `units` elements of its type for each of its own.
fn of_open(length: usize, units: usize) -> Option<Shape> {
    let mut dims = [if units == 0 { 0 } else { 1 }; MAX_RANK];
    dims[0] = length;
    dims[MAX_RANK - 1] = units;
    Shape::new(&dims).ok()
}

/// Bytes of a word of the table. One of a list of strings is a reference to no text, as what walks over strings takes it for
/// one.
fn word_bytes(dtype: DType) -> usize {
    if dtype == DType::String { size_of::<StringRef>() } else { size_of::<u64>() }
}

/// Bytes of the table.
fn table_bytes(dtype: DType, length: usize) -> Option<usize> {
    let bytes = length.checked_mul(ENTRY_WORDS * word_bytes(dtype))?;
    // No type is wider.
    bytes.checked_next_multiple_of(size_of::<StringRef>())
}

fn word(dtype: DType, bytes: &[u8], number: usize) -> Option<usize> {
    let at = number.checked_mul(word_bytes(dtype))?;
    let word = bytes.get(at..at.checked_add(size_of::<u64>())?)?;
    usize::try_from(u64::from_le_bytes(word.try_into().ok()?)).ok()
}

const BROKEN: OpError = OpError::Internal("the table of a list is not as it was written");

/// An element: its shape and bytes.
pub(crate) type Element<'r> = (Shape, &'r [u8]);

/// The elements of a list, to read.
#[derive(Clone, Copy)]
pub(crate) struct Elements<'r> {
    pub length: usize,
    dtype: DType,
    /// The shape of all of them, where the list is dense.
    dense: Option<Shape>,
    bytes: &'r [u8],
}

impl<'r> Elements<'r> {
    /// Those of an open list none of which is set.
    pub fn unset(dtype: DType, length: usize) -> Elements<'r> {
        Elements { length, dtype, dense: None, bytes: &[] }
    }

    /// Those of the list that is this input.
    ///
    /// # Errors
    /// As [`Run::input`].
    pub fn of(run: &Run<'r>, input: usize) -> Result<Elements<'r>, OpError> {
        let list = run.input(input)?;
        let shape = *list.shape();
        let length = *shape.first().ok_or(OpError::Internal("a list is a scalar"))?;
        let dense = if is_open(&shape) { None } else { Some(Shape::new(&shape[1..])?) };
        Ok(Elements { length, dtype: list.dtype(), dense, bytes: list.bytes() })
    }

    /// The element at a place; `None` for one that is not set.
    ///
    /// # Errors
    /// [`OpError::Internal`] for a table that is broken.
    pub fn get(&self, place: usize) -> Result<Option<Element<'r>>, OpError> {
        if place >= self.length {
            return Err(OpError::Internal("an element past the end of a list is read"));
        }
        if let Some(shape) = self.dense {
            let bytes = shape.elements() * self.dtype.bytes();
            let element = self.bytes.get(place * bytes..(place + 1) * bytes);
            return Ok(Some((shape, element.ok_or(BROKEN)?)));
        }
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let word = |number: usize| word(self.dtype, self.bytes, place * ENTRY_WORDS + number).ok_or(BROKEN);
        let Some(rank) = word(0)?.checked_sub(1) else { return Ok(None) };
        let mut dims = [0; ELEMENT_RANK];
        for (axis, dim) in dims.get_mut(..rank).ok_or(BROKEN)?.iter_mut().enumerate() {
            *dim = word(2 + axis)?;
        }
        let shape = Shape::new(&dims[..rank])?;
        let begin = table_bytes(self.dtype, self.length).and_then(|table| table.checked_add(word(1).ok()?));
        let begin = begin.ok_or(BROKEN)?;
        let end = begin.checked_add(shape.elements() * self.dtype.bytes()).ok_or(BROKEN)?;
        Ok(Some((shape, self.bytes.get(begin..end).ok_or(BROKEN)?)))
    }

    /// Every element, in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Option<Element<'r>>, OpError>> + '_ {
        (0..self.length).map(|place| self.get(place))
    }

    /// Where the elements end, after the table.
    fn end(&self) -> Result<usize, OpError> {
        let mut end = 0;
        for place in 0..self.length {
            if let Some((_, element)) = self.get(place)? {
                let begin = word(self.dtype, self.bytes, place * ENTRY_WORDS + 1).ok_or(BROKEN)?;
                end = end.max(begin.saturating_add(element.len()));
            }
        }
        Ok(end)
    }

    /// The shape of an open list of `length` elements which begins as this one, once `count` elements of these bytes in all
    /// are put there. One that has room for them stays as large as it is; another gets room for as many of the last
    /// one's size as are not set.
    ///
    /// # Errors
    /// [`OpError::Invalid`] for one that is larger than the address space.
    pub fn shape_with(
        &self,
        length: usize,
        count: usize,
        added_bytes: usize,
        last_bytes: usize,
    ) -> Result<Shape, OpError> {
        let too_large = || OpError::Invalid("is a list that is larger than the address space".into());
        let table = table_bytes(self.dtype, length).ok_or_else(too_large)?;
        let is_kept = self.dense.is_none() && !self.bytes.is_empty() && length == self.length;
        if is_kept && self.end()?.saturating_add(table).saturating_add(added_bytes) <= self.bytes.len() {
            let units = self.bytes.len() / self.dtype.bytes() / length.max(1);
            return of_open(length, units).ok_or_else(too_large);
        }
        let (mut own_bytes, mut set) = (0usize, count);
        for element in self.iter().take(length) {
            if let Some((_, bytes)) = element? {
                own_bytes = own_bytes.saturating_add(bytes.len());
                set += 1;
            }
        }
        if set == 0 || length == 0 {
            return Ok(open_shape(length));
        }
        let to_come = last_bytes.saturating_mul(length.saturating_sub(set));
        let bytes = [table, own_bytes, added_bytes, to_come].into_iter().fold(0, usize::saturating_add);
        let units = bytes.div_ceil(self.dtype.bytes()).div_ceil(length);
        // What is of its shape may be written in its place, which has no room at its end.
        let is_same = self.dense.is_none() && self.bytes.len() == units * length * self.dtype.bytes();
        of_open(length, units + usize::from(is_same)).ok_or_else(too_large)
    }
}

/// An open list that is written.
pub(crate) struct OpenList<'r> {
    dtype: DType,
    length: usize,
    bytes: &'r mut [u8],
    end: usize,
}

impl<'r> OpenList<'r> {
    /// The first output, beginning as the list that is this input, or as that where it is in its place.
    ///
    /// # Errors
    /// As [`Run::output`].
    pub fn of(run: &mut Run<'r>, list: usize) -> Result<OpenList<'r>, OpError> {
        let before = if run.is_in_place(list) { None } else { Some(Elements::of(run, list)?) };
        let (dtype, shape) = (run.output_dtype(0), run.output_shape(0));
        let is_same = run.shape(list) == shape;
        let mut open = OpenList { dtype, length: shape[0], bytes: run.out_bytes(0)?, end: 0 };
        match before {
            None => open.end = open.read().end()?,
            Some(before) if is_same => {
                open.bytes.copy_from_slice(before.bytes);
                open.end = before.end()?;
            }
            Some(before) => {
                open.bytes.fill(0);
                for (place, element) in before.iter().take(open.length).enumerate() {
                    if let Some((shape, bytes)) = element? {
                        open.set(place, &shape, bytes)?;
                    }
                }
            }
        }
        Ok(open)
    }

    /// The first output, none of whose elements is set.
    ///
    /// # Errors
    /// As [`Run::output`].
    pub fn empty(run: &mut Run<'r>) -> Result<OpenList<'r>, OpError> {
        let (dtype, shape) = (run.output_dtype(0), run.output_shape(0));
        let bytes = run.out_bytes(0)?;
        bytes.fill(0);
        Ok(OpenList { dtype, length: shape[0], bytes, end: 0 })
    }

    fn read(&self) -> Elements<'_> {
        Elements { length: self.length, dtype: self.dtype, dense: None, bytes: self.bytes }
    }

    /// Puts an element to a place: over one of the same size, or after all others.
    ///
    /// # Errors
    /// [`OpError::Unsupported`] for one of more than [`ELEMENT_RANK`] dimensions, [`OpError::Internal`] where there is no
    /// room for it.
    pub fn set(&mut self, place: usize, shape: &Shape, element: &[u8]) -> Result<(), OpError> {
        check_rank(shape.rank())?;
        let over = self.read().get(place)?.is_some_and(|(_, before)| before.len() == element.len());
        let first = place * ENTRY_WORDS;
        let begin = if over { word(self.dtype, self.bytes, first + 1).ok_or(BROKEN)? } else { self.end };
        let end = begin.saturating_add(element.len());
        let table = table_bytes(self.dtype, self.length).ok_or(BROKEN)?;
        let room = self.bytes.get_mut(table.saturating_add(begin)..table.saturating_add(end));
        room.ok_or(OpError::Internal("a list has no room for an element"))?.copy_from_slice(element);
        self.end = self.end.max(end);
        let words = [shape.rank() + 1, begin].into_iter().chain(shape.iter().copied());
        for (number, value) in words.enumerate() {
            let at = (first + number) * word_bytes(self.dtype);
            let word = self.bytes.get_mut(at..at + size_of::<u64>()).ok_or(BROKEN)?;
            word.copy_from_slice(&(value as u64).to_le_bytes());
        }
        Ok(())
    }
}

/// Fails for an element of so many dimensions.
///
/// # Errors
/// [`OpError::Unsupported`] for more than [`ELEMENT_RANK`].
pub(crate) fn check_rank(rank: usize) -> Result<(), OpError> {
    if rank <= ELEMENT_RANK {
        return Ok(());
    }
    Err(OpError::Unsupported(format!(
        "makes a list of elements of {rank} dimensions; at most {ELEMENT_RANK} are supported"
    )))
}
