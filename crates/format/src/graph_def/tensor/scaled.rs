//! Float values that are another tensor's, each times the factor of its channel: computed as they are read, in pieces of
//! any size, so that weights that change are never in memory as a whole.

use super::TensorDef;
use crate::error::{FormatError, Problem};
use crate::source::SourceFile;

const ELEMENT_BYTES: u64 = size_of::<f32>() as u64;

/// The number of DT_FLOAT.
const FLOAT: i32 = 1;

/// A tensor of 32-bit floats whose element `e` is multiplied by factor `e / inner % factors`.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaled {
    pub(super) base: TensorDef,
    factors: Box<[f32]>,
    inner: u64,
}

impl Scaled {
    /// `None` where the factors do not go evenly into the tensor, or it is none of 32-bit floats.
    pub fn new(base: TensorDef, factors: Box<[f32]>, inner: u64) -> Option<Scaled> {
        let period = inner.checked_mul(factors.len() as u64).filter(|period| *period > 0)?;
        let fits = base.dtype == FLOAT && base.elements().is_multiple_of(period);
        fits.then_some(Scaled { base, factors, inner })
    }

    /// Bytes of memory that the factors take.
    pub fn heap_bytes(&self) -> u64 {
        tightfit_core::block_bytes(self.factors.len() as u64 * ELEMENT_BYTES)
    }

    /// Fills `out` with the bytes from `at` on.
    pub(super) fn read_at(&self, source: &SourceFile, at: u64, out: &mut [u8]) -> Result<(), FormatError> {
        // An element of which only a part is wanted is read whole.
        let skip = (at % ELEMENT_BYTES) as usize;
        let (head, rest) = out.split_at_mut(if skip == 0 { 0 } else { out.len().min(4 - skip) });
        if !head.is_empty() {
            let element = self.element(source, at / ELEMENT_BYTES)?;
            head.copy_from_slice(&element[skip..skip + head.len()]);
        }
        let first = at + head.len() as u64;
        let (whole, tail) = rest.split_at_mut(rest.len() / 4 * 4);
        self.base.read_at(source, first, whole)?;
        for (index, bytes) in (first / ELEMENT_BYTES..).zip(whole.chunks_exact_mut(4)) {
            let value = bytes.first_chunk().map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
            bytes.copy_from_slice(&(value * self.factor(index)).to_le_bytes());
        }
        if !tail.is_empty() {
            let element = self.element(source, (first + whole.len() as u64) / ELEMENT_BYTES)?;
            tail.copy_from_slice(&element[..tail.len()]);
        }
        Ok(())
    }

    fn element(&self, source: &SourceFile, index: u64) -> Result<[u8; 4], FormatError> {
        let mut bytes = [0; 4];
        let at = index.checked_mul(ELEMENT_BYTES);
        let at = at.ok_or_else(|| source.error_at(0, Problem::invalid("an element of a tensor", "none")))?;
        self.base.read_at(source, at, &mut bytes)?;
        Ok((f32::from_le_bytes(bytes) * self.factor(index)).to_le_bytes())
    }

    fn factor(&self, index: u64) -> f32 {
        let at = (index / self.inner) % self.factors.len() as u64;
        self.factors.get(at as usize).copied().unwrap_or(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph_def::{InlineBytes, TensorContent};

    #[test]
    fn values_are_scaled_in_pieces_of_any_size() {
        let bytes: Vec<u8> = (0..12).flat_map(|n| (n as f32).to_le_bytes()).collect();
        let content = TensorContent::Inline(InlineBytes::Small(bytes.into()));
        let base = TensorDef { dtype: 1, shape: vec![2, 3, 2], content };
        let path = std::env::temp_dir().join(format!("tightfit-scaled-{}", std::process::id()));
        std::fs::write(&path, b"any").unwrap();
        let source = SourceFile::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for (inner, factors, expected) in [
            (1, vec![1.0, 10.0], [0.0, 10.0, 2.0, 30.0, 4.0, 50.0, 6.0, 70.0, 8.0, 90.0, 10.0, 110.0]),
            (2, vec![1.0, 2.0, 3.0], [0.0, 1.0, 4.0, 6.0, 12.0, 15.0, 6.0, 7.0, 16.0, 18.0, 30.0, 33.0]),
        ] {
            let scaled = Scaled::new(base.clone(), factors.into(), inner).unwrap();
            let tensor = TensorDef { content: TensorContent::Scaled(scaled.into()), ..base.clone() };
            let expected: Vec<u8> = expected.iter().flat_map(|value: &f32| value.to_le_bytes()).collect();
            for piece in [1, 2, 3, 4, 5, 7, 48] {
                let mut found = vec![0; 48];
                let mut at = 0;
                for part in found.chunks_mut(piece) {
                    tensor.read_at(&source, at, part).unwrap();
                    at += part.len() as u64;
                }
                assert_eq!(found, expected, "{piece}");
            }
        }
        assert!(Scaled::new(base.clone(), vec![1.0; 5].into(), 1).is_none());
        assert!(Scaled::new(TensorDef { dtype: 2, ..base }, vec![1.0].into(), 1).is_none());
    }
}
