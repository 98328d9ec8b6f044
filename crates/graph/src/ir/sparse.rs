//! A sparse constant, made whole as it is read.

use std::sync::Arc;

use super::constant::{Constant, ELEMENT_BYTES, by_elements};
use crate::operator::OpError;

/// Marks that are looked at at a time.
const BLOCK_BYTES: usize = 512;

/// A float32 tensor most of whose elements are 0, as the others, in their order, and a bit for each element that says whether it is
/// there, the lowest of a byte first.
#[derive(Debug, Clone)]
pub struct Sparse {
    values: Arc<Constant>,
    marks: Arc<Constant>,
}

impl Sparse {
    /// The tensor of these elements, float32, and marks, uint8.
    pub fn new(values: Arc<Constant>, marks: Arc<Constant>) -> Sparse {
        Sparse { values, marks }
    }

    /// The elements that are there, and the marks.
    pub fn parts(&self) -> [&Arc<Constant>; 2] {
        [&self.values, &self.marks]
    }

    /// Fills `out` with the bytes of the dense form from `offset` on.
    ///
    /// # Errors
    /// As [`Constant::read_at`].
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), OpError> {
        by_elements(offset, out, |first, out| self.read_elements(first, out))
    }

    /// Fills `out` with whole elements. Those that are there are read into its end, and put to their places from the front on:
    /// none is written over before it is moved.
    fn read_elements(&self, first: usize, out: &mut [u8]) -> Result<(), OpError> {
        let count = out.len() / ELEMENT_BYTES;
        let (mut before, mut own) = (0, 0);
        self.each_block(0..first, &mut |_, marks| before += ones(marks))?;
        self.each_block(first..first + count, &mut |_, marks| own += ones(marks))?;
        let mut from = (count - own) * ELEMENT_BYTES;
        self.values.read_at((before * ELEMENT_BYTES) as u64, &mut out[from..])?;
        self.each_block(first..first + count, &mut |at, marks| {
            for (number, element) in (at - first..count).zip(0..8 * marks.len()) {
                let to = number * ELEMENT_BYTES;
                if marks[element / 8] >> (element % 8) & 1 == 1 {
                    out.copy_within(from..from + ELEMENT_BYTES, to);
                    from += ELEMENT_BYTES;
                } else {
                    out[to..to + ELEMENT_BYTES].fill(0);
                }
            }
        })
    }

    /// Calls `each` with blocks of the marks of some elements: where a block begins, and its marks from there on, none after the
    /// last element.
    fn each_block(
        &self,
        elements: std::ops::Range<usize>,
        each: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<(), OpError> {
        let mut bytes = [0; BLOCK_BYTES + 1];
        for at in elements.clone().step_by(8 * BLOCK_BYTES) {
            let end = elements.end.min(at + 8 * BLOCK_BYTES);
            let (start, shift, bits) = (at / 8, at % 8, end - at);
            let read = &mut bytes[..end.div_ceil(8) - start];
            self.marks.read_at(start as u64, read)?;
            if shift > 0 {
                for byte in 0..read.len() {
                    let next = read.get(byte + 1).copied().unwrap_or(0);
                    read[byte] = read[byte] >> shift | next << (8 - shift);
                }
            }
            let own = &mut bytes[..bits.div_ceil(8)];
            if let (Some(last), true) = (own.last_mut(), bits % 8 > 0) {
                *last &= (1 << (bits % 8)) - 1;
            }
            each(at, own);
        }
        Ok(())
    }
}

/// How many marks are set.
fn ones(marks: &[u8]) -> usize {
    let (words, rest) = marks.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word).count_ones()).sum::<u32>();
    (words + rest.iter().map(|byte| byte.count_ones()).sum::<u32>()) as usize
}

#[cfg(test)]
mod tests {
    use tightfit_core::{DType, Shape};

    use super::*;

    #[test]
    fn any_part_reads_as_the_part_of_the_whole() {
        let count = 3 * 8 * BLOCK_BYTES + 77;
        let is_there = |element: usize| element.is_multiple_of(3) || element % 7 == 2;
        let whole: Vec<f32> = (0..count).map(|e| if is_there(e) { e as f32 + 1.0 } else { 0.0 }).collect();
        let mut marks = vec![0u8; count.div_ceil(8)];
        (0..count).filter(|e| is_there(*e)).for_each(|e| marks[e / 8] |= 1 << (e % 8));
        let values: Vec<u8> = whole.iter().filter(|x| **x > 0.0).flat_map(|x| x.to_le_bytes()).collect();
        let constant = |dtype: DType, bytes: Vec<u8>| {
            let shape = Shape::new(&[bytes.len() / dtype.bytes()]).unwrap();
            Arc::new(Constant::in_memory(dtype, shape, bytes))
        };
        let sparse = Sparse::new(constant(DType::F32, values), constant(DType::U8, marks));
        let whole: Vec<u8> = whole.iter().flat_map(|x| x.to_le_bytes()).collect();
        let blocks = 4 * 8 * BLOCK_BYTES;
        for (from, to) in [
            (0, whole.len()),
            (4, 8),
            (20, 600),
            (5, 22),
            (blocks - 8, blocks + 44),
            (blocks, 2 * blocks),
            (12, 12),
        ] {
            let mut part = vec![7; to - from];
            sparse.read_at(from as u64, &mut part).unwrap();
            assert_eq!(part, whole[from..to], "{from}..{to}");
        }
    }
}
