//! Constants that are computed from another while they are read: float32 from a narrower type, with numbers added to it
//! and multiplied with it. Compressed weights are stored so, and are read through the window like plain ones.

use std::sync::Arc;

use bytemuck::cast_slice;
use tightfit_core::{DType, block_bytes, list_bytes};
use tightfit_kernels::{BinaryOp, widen};

use super::Constant;
use crate::operator::OpError;

/// Bytes of an element of the result.
const ELEMENT_BYTES: usize = size_of::<f32>();
/// Elements computed at a time.
const BLOCK: usize = 256;

/// A float32 tensor as what it is computed from.
#[derive(Debug, Clone)]
pub struct Computed {
    base: Arc<Constant>,
    steps: Vec<Arithmetic>,
}

/// One operation on each element, rounded to float32 by itself as the graph's own operator is.
#[derive(Debug, Clone)]
struct Arithmetic {
    op: BinaryOp,
    /// One number, or one for each place along the last axis.
    operand: Arc<[f32]>,
    /// True where the operand stands on the left.
    is_reversed: bool,
}

impl Computed {
    /// `base` converted to float32; `None` for a type that is not narrower or the same.
    pub fn widened(base: &Arc<Constant>) -> Option<Computed> {
        let is_narrow = matches!(
            base.dtype,
            DType::F32
                | DType::F16
                | DType::BF16
                | DType::I8
                | DType::U8
                | DType::I16
                | DType::U16
                | DType::I32
        );
        is_narrow.then(|| Computed { base: base.clone(), steps: vec![] })
    }

    /// The same with one operation more; `None` for one that is not computed here.
    pub fn then(mut self, op: BinaryOp, operand: Arc<[f32]>, is_reversed: bool) -> Option<Computed> {
        let is_known = matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div);
        if !is_known || operand.is_empty() {
            return None;
        }
        self.steps.push(Arithmetic { op, operand, is_reversed });
        Some(self)
    }

    /// What it is computed from.
    pub fn base(&self) -> &Arc<Constant> {
        &self.base
    }

    /// Bytes of the heap that the operations and their numbers take.
    pub fn heap_bytes(&self) -> u64 {
        let operand = |step: &Arithmetic| block_bytes(16 + size_of_val(&*step.operand) as u64);
        list_bytes(&self.steps) + self.steps.iter().map(operand).sum::<u64>()
    }

    /// Fills `out` with the bytes of the result from `offset` on.
    ///
    /// # Errors
    /// As [`Constant::read_at`].
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), OpError> {
        let element = (offset / ELEMENT_BYTES as u64) as usize;
        let phase = (offset % ELEMENT_BYTES as u64) as usize;
        if phase == 0 && out.len().is_multiple_of(ELEMENT_BYTES) {
            return self.read_elements(element, out);
        }
        // Parts of an element at the ends.
        let head_bytes = out.len().min((ELEMENT_BYTES - phase) % ELEMENT_BYTES);
        let (head, rest) = out.split_at_mut(head_bytes);
        let whole = rest.len() - rest.len() % ELEMENT_BYTES;
        let (body, tail) = rest.split_at_mut(whole);
        let first = element + usize::from(phase > 0);
        let mut one = [0; ELEMENT_BYTES];
        if !head.is_empty() {
            self.read_elements(element, &mut one)?;
            head.copy_from_slice(&one[phase..][..head.len()]);
        }
        self.read_elements(first, body)?;
        if !tail.is_empty() {
            self.read_elements(first + whole / ELEMENT_BYTES, &mut one)?;
            tail.copy_from_slice(&one[..tail.len()]);
        }
        Ok(())
    }

    /// Fills `out` with whole elements. What they are computed from is read into its end: no element is wider there than
    /// in the result, so none is overwritten before it is used.
    fn read_elements(&self, first: usize, out: &mut [u8]) -> Result<(), OpError> {
        let base_bytes = self.base.dtype.bytes();
        let count = out.len() / ELEMENT_BYTES;
        let from = out.len() - count * base_bytes;
        self.base.read_at((first * base_bytes) as u64, &mut out[from..])?;
        for start in (0..count).step_by(BLOCK) {
            let len = BLOCK.min(count - start);
            let mut values = [0f32; BLOCK];
            let values = &mut values[..len];
            widen(self.base.dtype, &out[from + start * base_bytes..][..len * base_bytes], values)?;
            self.steps.iter().for_each(|step| step.apply(first + start, values));
            out[start * ELEMENT_BYTES..][..len * ELEMENT_BYTES].copy_from_slice(cast_slice(values));
        }
        Ok(())
    }
}

impl Arithmetic {
    /// Computes the elements from number `first` on.
    fn apply(&self, first: usize, values: &mut [f32]) {
        let function: fn(f32, f32) -> f32 = match self.op {
            BinaryOp::Add => |a, b| a + b,
            BinaryOp::Sub => |a, b| a - b,
            BinaryOp::Mul => |a, b| a * b,
            _ => |a, b| a / b,
        };
        let mut column = first % self.operand.len();
        for value in values {
            let operand = self.operand[column];
            *value = if self.is_reversed { function(operand, *value) } else { function(*value, operand) };
            column += 1;
            if column == self.operand.len() {
                column = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tightfit_core::Shape;

    fn constant(dtype: DType, bytes: &[u8]) -> Arc<Constant> {
        let shape = Shape::new(&[bytes.len() / dtype.bytes()]).unwrap();
        Arc::new(Constant::in_memory(dtype, shape, bytes))
    }

    fn all(computed: &Computed, count: usize) -> Vec<f32> {
        let mut bytes = vec![0; count * ELEMENT_BYTES];
        computed.read_at(0, &mut bytes).unwrap();
        bytes.chunks_exact(ELEMENT_BYTES).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    #[test]
    fn widens_every_narrow_type() {
        let check = |dtype, bytes: &[u8], expected: &[f32]| {
            let computed = Computed::widened(&constant(dtype, bytes)).unwrap();
            assert_eq!(all(&computed, expected.len()), expected, "{dtype}");
        };
        check(DType::U8, &[0, 200], &[0.0, 200.0]);
        check(DType::I8, &[0xff, 127], &[-1.0, 127.0]);
        check(DType::U16, &[0, 0x80], &[32768.0]);
        check(DType::I16, &[0, 0x80], &[-32768.0]);
        check(DType::I32, &[1, 0, 0, 1], &[16_777_216.0]);
        check(DType::F16, &[0, 0x3c, 1, 0], &[1.0, 5.960_464_5e-8]);
        check(DType::BF16, &[0xc0, 0x3f], &[1.5]);
        check(DType::F32, &1.25f32.to_le_bytes(), &[1.25]);
        assert!(Computed::widened(&constant(DType::F64, &[0; 8])).is_none());
    }

    #[test]
    fn computes_in_order_and_by_column() {
        let base = constant(DType::U8, &[0, 1, 2, 3, 4, 5]);
        let computed = Computed::widened(&base).unwrap();
        let computed = computed.then(BinaryOp::Sub, [1.0].into(), false).unwrap();
        let computed = computed.then(BinaryOp::Mul, [1.0, 10.0, 100.0].into(), false).unwrap();
        let computed = computed.then(BinaryOp::Sub, [0.5].into(), true).unwrap();
        assert_eq!(all(&computed, 6), [1.5, 0.5, -99.5, -1.5, -29.5, -399.5]);
        assert!(computed.then(BinaryOp::Pow, [1.0].into(), false).is_none());
    }

    #[test]
    fn any_part_reads_as_the_part_of_the_whole() {
        let bytes: Vec<u8> = (0..=255).cycle().take(3 * BLOCK + 7).collect();
        let computed = Computed::widened(&constant(DType::U8, &bytes)).unwrap();
        let computed = computed.then(BinaryOp::Div, [3.0, 7.0].into(), false).unwrap();
        let mut whole = vec![0; bytes.len() * ELEMENT_BYTES];
        computed.read_at(0, &mut whole).unwrap();
        for (from, to) in [(0, 1), (1, 3), (2, 9), (4, 8), (5, whole.len()), (4 * BLOCK + 4, 8 * BLOCK + 2)] {
            let mut part = vec![0; to - from];
            computed.read_at(from as u64, &mut part).unwrap();
            assert_eq!(part, whole[from..to], "{from}..{to}");
        }
    }
}
