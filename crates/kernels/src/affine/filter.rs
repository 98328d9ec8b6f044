//! Filters of small integers, as a file has them: a row for each output channel.

use crate::base::error::{KernelError, check_exact, product};

/// How a filter's integers stand in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FilterType {
    /// int8.
    Int8,
    /// uint8.
    UInt8,
    /// Integers of four bits, two to a byte, the first in the lower half.
    Int4,
}

impl FilterType {
    /// Bytes of so many integers.
    pub fn bytes(self, elements: usize) -> usize {
        if self == FilterType::Int4 { elements.div_ceil(2) } else { elements }
    }
}

/// Rows of a filter, `[columns, depth]`: each is a column of the product.
#[derive(Debug, Clone, Copy)]
pub struct AffineFilter<'a> {
    pub(crate) bytes: &'a [u8],
    /// The bytes are laid out in panels.
    is_packed: bool,
    pub(crate) columns: usize,
    pub(crate) depth: usize,
    pub(crate) kind: FilterType,
    /// Integers before the first row.
    start: usize,
    zero: i32,
}

/// What turns a byte into the one that is 128 more or less: uint8 into int8 and back.
pub(crate) const FLIP: u8 = 0x80;

impl<'a> AffineFilter<'a> {
    /// `columns` rows of `depth` integers, of which `zero` stands for 0.
    ///
    /// # Errors
    /// [`KernelError`] when the bytes are not as many.
    pub fn new(
        bytes: &'a [u8],
        (columns, depth): (usize, usize),
        kind: FilterType,
        zero: i32,
    ) -> Result<AffineFilter<'a>, KernelError> {
        check_exact("the filter", kind.bytes(product(&[columns, depth])?), bytes.len())?;
        Ok(AffineFilter { bytes, is_packed: false, columns, depth, kind, start: 0, zero })
    }

    /// The same of rows that are laid out in panels, which must be as many bytes as those take.
    pub(crate) fn of_panels(
        bytes: &'a [u8],
        (columns, depth): (usize, usize),
        kind: FilterType,
        zero: i32,
    ) -> AffineFilter<'a> {
        AffineFilter { bytes, is_packed: true, columns, depth, kind, start: 0, zero }
    }

    /// The panels, where the rows are laid out in some.
    pub(crate) fn panels(&self) -> Option<&'a [u8]> {
        self.is_packed.then_some(self.bytes)
    }

    /// What stands for 0 among the integers that [`AffineFilter::read`] gives.
    pub(crate) fn zero(&self) -> i32 {
        if self.kind == FilterType::UInt8 { self.zero - 128 } else { self.zero }
    }

    /// The integers of a row from `from` on, as many as `to`, as int8; those of uint8 are 128 less.
    pub(crate) fn read(&self, column: usize, from: usize, to: &mut [u8]) {
        let start = self.start + column * self.depth + from;
        match self.kind {
            FilterType::Int8 => to.copy_from_slice(&self.bytes[start..start + to.len()]),
            FilterType::UInt8 => {
                let bytes = &self.bytes[start..start + to.len()];
                to.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte ^ FLIP);
            }
            FilterType::Int4 => {
                for (at, to) in to.iter_mut().enumerate() {
                    let byte = self.bytes[(start + at) / 2];
                    let upper = if (start + at).is_multiple_of(2) { byte << 4 } else { byte };
                    *to = (upper as i8 >> 4) as u8;
                }
            }
        }
    }

    /// A row's bytes, where they are int8 already.
    pub(crate) fn row(&self, column: usize) -> Option<&'a [u8]> {
        let start = self.start + column * self.depth;
        (self.kind == FilterType::Int8 && !self.is_packed).then(|| &self.bytes[start..start + self.depth])
    }

    /// The filter of some of the rows.
    ///
    /// # Errors
    /// [`KernelError::Attribute`] for rows that are not there.
    pub fn part(&self, first: usize, count: usize) -> Result<AffineFilter<'a>, KernelError> {
        if first.checked_add(count).is_none_or(|end| end > self.columns) {
            return Err(KernelError::Attribute("a part of a filter lies outside of it"));
        }
        if self.is_packed && count < self.columns {
            return Err(KernelError::Attribute("panels are multiplied as a whole"));
        }
        Ok(AffineFilter { start: self.start + first * self.depth, columns: count, ..*self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_width_are_read_as_bytes() {
        let read = |bytes: &[u8], kind, column| {
            let filter = AffineFilter::new(bytes, (2, 3), kind, 128).unwrap();
            let mut row = [0; 3];
            filter.read(column, 0, &mut row);
            row.map(|byte| byte as i8)
        };
        assert_eq!(read(&[1, 255, 3, 4, 5, 128], FilterType::Int8, 1), [4, 5, -128]);
        assert_eq!(read(&[0, 255, 128, 4, 5, 129], FilterType::UInt8, 0), [-128, 127, 0]);
        assert_eq!(read(&[0x21, 0x83, 0xf7], FilterType::Int4, 0), [1, 2, 3]);
        assert_eq!(read(&[0x21, 0x83, 0xf7], FilterType::Int4, 1), [-8, 7, -1]);
        let filter = AffineFilter::new(&[0x21, 0x83, 0xf7], (2, 3), FilterType::Int4, 0).unwrap();
        let mut row = [0; 3];
        filter.part(1, 1).unwrap().read(0, 0, &mut row);
        assert_eq!(row.map(|byte| byte as i8), [-8, 7, -1]);
        assert!(filter.part(1, 2).is_err());
    }
}
