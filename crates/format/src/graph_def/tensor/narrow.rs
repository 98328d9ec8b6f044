//! Floats of another tensor in fewer bits: rounded as they are read, in pieces of any size, so that weights that are quantised
//! are never in memory as a whole.

use half::{bf16, f16};

use super::TensorDef;
use crate::data_type::DataType;
use crate::error::FormatError;
use crate::source::SourceFile;

/// The numbers of DT_FLOAT, DT_INT8, DT_BFLOAT16 and DT_HALF.
const FLOAT: i32 = 1;
const INT8: i32 = 6;
const BFLOAT16: i32 = 14;
const HALF: i32 = 19;

/// Floats that are read at once.
const PIECE: usize = 1024;

/// What floats become.
#[derive(Debug, Clone, PartialEq)]
pub enum Rounding {
    /// float16.
    Half,
    /// bfloat16.
    Brain,
    /// int8 from -127 to 127, element `e` as a multiple of scale `e / inner % scales`.
    Integers {
        /// The scales, none of them 0.
        scales: Box<[f32]>,
        /// Elements next to each other that have the same.
        inner: u64,
    },
}

impl Rounding {
    /// The type of the elements.
    pub fn data_type(&self) -> DataType {
        DataType(match self {
            Rounding::Half => HALF,
            Rounding::Brain => BFLOAT16,
            Rounding::Integers { .. } => INT8,
        })
    }

    fn width(&self) -> usize {
        if matches!(self, Rounding::Integers { .. }) { 1 } else { 2 }
    }

    fn scale(scales: &[f32], inner: u64, element: u64) -> f32 {
        let at = element / inner.max(1) % scales.len().max(1) as u64;
        scales.get(at as usize).copied().unwrap_or(1.0)
    }

    fn bytes(&self, element: u64, value: f32) -> [u8; 2] {
        match self {
            Rounding::Half => f16::from_f32(value).to_le_bytes(),
            Rounding::Brain => bf16::from_f32(value).to_le_bytes(),
            Rounding::Integers { scales, inner } => {
                let multiple = (value / Rounding::scale(scales, *inner, element)).round_ties_even();
                [(multiple.clamp(-127.0, 127.0) as i8) as u8, 0]
            }
        }
    }

    /// The number that stands for `value`, element `element` of its tensor.
    pub fn round(&self, element: u64, value: f32) -> f32 {
        let bytes = self.bytes(element, value);
        match self {
            Rounding::Half => f16::from_le_bytes(bytes).to_f32(),
            Rounding::Brain => bf16::from_le_bytes(bytes).to_f32(),
            Rounding::Integers { scales, inner } => {
                f32::from(bytes[0] as i8) * Rounding::scale(scales, *inner, element)
            }
        }
    }
}

/// A tensor of 32-bit floats in fewer bits.
#[derive(Debug, Clone, PartialEq)]
pub struct Narrow {
    base: TensorDef,
    rounding: Rounding,
}

impl Narrow {
    /// `None` where the tensor is none of 32-bit floats.
    pub fn new(base: TensorDef, rounding: Rounding) -> Option<Narrow> {
        (base.dtype == FLOAT).then_some(Narrow { base, rounding })
    }

    /// Bytes of memory that the scales take.
    pub fn heap_bytes(&self) -> u64 {
        match &self.rounding {
            Rounding::Integers { scales, .. } => tightfit_core::block_bytes(4 * scales.len() as u64),
            Rounding::Half | Rounding::Brain => 0,
        }
    }

    /// Bytes of its elements.
    pub(super) fn bytes(&self) -> u64 {
        self.base.elements().saturating_mul(self.rounding.width() as u64)
    }

    /// Fills `out` with the bytes from `at` on.
    pub(super) fn read_at(&self, source: &SourceFile, at: u64, out: &mut [u8]) -> Result<(), FormatError> {
        let width = self.rounding.width();
        // A first element of which only the end is wanted.
        let mut skip = (at % width as u64) as usize;
        let mut element = at / width as u64;
        let mut rest = out;
        let mut floats = [0; 4 * PIECE];
        while !rest.is_empty() {
            let count = (rest.len() + skip).div_ceil(width).min(PIECE);
            let floats = floats.get_mut(..4 * count).unwrap_or_default();
            self.base.read_at(source, element * 4, floats)?;
            for value in floats.as_chunks::<4>().0 {
                let bytes = self.rounding.bytes(element, f32::from_le_bytes(*value));
                let part = bytes.get(skip..width).unwrap_or_default();
                let (to, behind) = rest.split_at_mut(part.len().min(rest.len()));
                to.copy_from_slice(part.get(..to.len()).unwrap_or_default());
                (rest, skip, element) = (behind, 0, element + 1);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::graph_def::{InlineBytes, TensorContent};

    #[test]
    fn values_are_rounded_in_pieces_of_any_size() {
        let values: Vec<f32> = (0..3000).map(|n| (n as f32 - 1500.0) * 0.173).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let content = TensorContent::Inline(InlineBytes::Small(bytes.into()));
        let base = TensorDef { dtype: FLOAT, shape: vec![1000, 3], content };
        let path = std::env::temp_dir().join(format!("tightfit-narrow-{}", std::process::id()));
        std::fs::write(&path, b"any").unwrap();
        let source = SourceFile::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let integers = Rounding::Integers { scales: [2.0, 2.5, 3.0].into(), inner: 1 };
        for rounding in [Rounding::Half, Rounding::Brain, integers] {
            let expected: Vec<u8> = values
                .iter()
                .enumerate()
                .flat_map(|(element, value)| match &rounding {
                    Rounding::Half => f16::from_f32(*value).to_le_bytes().to_vec(),
                    Rounding::Brain => bf16::from_f32(*value).to_le_bytes().to_vec(),
                    Rounding::Integers { .. } => {
                        let multiple = (value / [2.0, 2.5, 3.0][element % 3]).round_ties_even();
                        vec![multiple.clamp(-127.0, 127.0) as i8 as u8]
                    }
                })
                .collect();
            let narrow = Narrow::new(base.clone(), rounding.clone()).unwrap();
            let content = TensorContent::Narrow(Arc::new(narrow));
            let tensor = TensorDef { dtype: rounding.data_type().0, shape: base.shape.clone(), content };
            assert_eq!(tensor.bytes(), Some(expected.len() as u64));
            for piece in [1, 3, 7, 1024, 5000, 6000] {
                let mut found = vec![0; expected.len()];
                let mut at = 0;
                for part in found.chunks_mut(piece) {
                    tensor.read_at(&source, at, part).unwrap();
                    at += part.len() as u64;
                }
                assert!(found == expected, "{rounding:?}: {piece}");
            }
            assert!((rounding.round(4, values[4]) - values[4].clamp(-317.5, 317.5)).abs() < 2.0);
        }
        assert!(Narrow::new(TensorDef { dtype: 2, ..base }, Rounding::Half).is_none());
    }
}
