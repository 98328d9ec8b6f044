//! Constants: tensors whose value is part of the model, in memory, in a file, or computed from another while they are read.
//!
//! Compressed weights are stored narrow, with numbers added and multiplied in the graph: such a chain is a constant of
//! float32 that is computed as it is read, and passes through the window like a plain one.

use std::sync::Arc;

use bytemuck::cast_slice;
use tightfit_core::{DType, Reservation, Shape, block_bytes, list_bytes};
use tightfit_format::{SourceFile, TensorDef};
use tightfit_kernels::{BinaryOp, binary_floats, widen};

use super::Sparse;
use crate::fact::{Fact, KNOWN_VALUE_MAX_BYTES};
use crate::operator::OpError;

/// A tensor whose value is part of the model.
#[derive(Debug)]
pub struct Constant {
    /// The element type.
    pub dtype: DType,
    /// The shape.
    pub shape: Shape,
    /// The elements.
    pub data: ConstantData,
    /// The memory of the elements and of itself, once it is part of a graph.
    pub held: Option<Arc<Reservation>>,
}

/// Where the elements of a constant are.
#[derive(Debug)]
pub enum ConstantData {
    /// Dense and little-endian in a file.
    File {
        /// The file.
        source: Arc<SourceFile>,
        /// Where they start.
        offset: u64,
    },
    /// Dense in memory. Only small tensors are.
    Memory(Arc<[u8]>),
    /// In a form that has to be expanded as it is read: one element that stands for all, or a text.
    Tensor {
        /// The file.
        source: Arc<SourceFile>,
        /// The tensor as the file describes it.
        tensor: Box<TensorDef>,
    },
    /// Computed from another constant as it is read.
    Computed(Computed),
    /// Sparse, and made whole as it is read.
    Sparse(Sparse),
    /// Strings; where there are fewer than elements, the last one repeats.
    Strings(Arc<[Box<[u8]>]>),
}

impl ConstantData {
    /// True where the elements are read from a file each time they are wanted.
    pub fn is_in_file(&self) -> bool {
        match self {
            ConstantData::File { .. } | ConstantData::Tensor { .. } => true,
            ConstantData::Computed(computed) => computed.base().data.is_in_file(),
            ConstantData::Sparse(sparse) => sparse.parts().iter().any(|part| part.data.is_in_file()),
            ConstantData::Memory(_) | ConstantData::Strings(_) => false,
        }
    }
}

impl Constant {
    /// A constant of these bytes.
    pub fn in_memory(dtype: DType, shape: Shape, bytes: impl Into<Arc<[u8]>>) -> Constant {
        Constant { dtype, shape, data: ConstantData::Memory(bytes.into()), held: None }
    }

    /// Bytes of all elements.
    pub fn bytes(&self) -> usize {
        self.shape.elements() * self.dtype.bytes()
    }

    /// Bytes of its dense form after which the last element only repeats; at most one element more than is written
    /// out.
    pub fn distinct_bytes(&self) -> usize {
        let written = match &self.data {
            ConstantData::Tensor { tensor, .. } => tensor.present_bytes() as usize + self.dtype.bytes(),
            _ => self.bytes(),
        };
        written.min(self.bytes())
    }

    /// Fills `out` with the bytes of its dense form from `offset` on. Of strings there are none: their references are
    /// made as it is loaded.
    ///
    /// # Errors
    /// [`OpError::File`] when the file fails, [`OpError::Internal`] for a range outside of it.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), OpError> {
        let outside = OpError::Internal("bytes outside of a constant were read");
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > self.bytes() as u64) {
            return Err(outside);
        }
        match &self.data {
            ConstantData::File { source, offset: start } => source.read_exact_at(start + offset, out)?,
            ConstantData::Memory(bytes) => {
                let from = bytes.get(offset as usize..).and_then(|from| from.get(..out.len()));
                out.copy_from_slice(from.ok_or(outside)?);
            }
            ConstantData::Tensor { source, tensor } => tensor.read_at(source, offset, out)?,
            ConstantData::Computed(computed) => computed.read_at(offset, out)?,
            ConstantData::Sparse(sparse) => sparse.read_at(offset, out)?,
            ConstantData::Strings(_) => {}
        }
        Ok(())
    }

    /// What is known of it.
    pub fn fact(&self) -> Fact {
        match &self.data {
            ConstantData::Memory(bytes) if bytes.len() <= KNOWN_VALUE_MAX_BYTES => {
                Fact::known(self.dtype, self.shape, bytes.clone())
            }
            _ => Fact::new(self.dtype, self.shape),
        }
    }
}

/// Bytes of an element of the result.
pub(super) const ELEMENT_BYTES: usize = size_of::<f32>();
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
    /// One number, or one for each place along an axis, or along some axes that follow each other.
    operand: Arc<[f32]>,
    /// How many elements that follow each other have the same number: those of the axes after. All have the only one.
    repeats: usize,
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

    /// The same with one operation more, whose numbers are for places along the last axis; `None` for one that is not
    /// computed here.
    pub fn then(self, op: BinaryOp, operand: Arc<[f32]>, is_reversed: bool) -> Option<Computed> {
        self.then_by_axis(op, (operand, 1), is_reversed)
    }

    /// The same where each number is for `repeats` elements that follow each other.
    pub fn then_by_axis(
        mut self,
        op: BinaryOp,
        (operand, repeats): (Arc<[f32]>, usize),
        is_reversed: bool,
    ) -> Option<Computed> {
        let is_known = matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div);
        if !is_known || operand.is_empty() || repeats == 0 {
            return None;
        }
        let repeats = if operand.len() == 1 { usize::MAX } else { repeats };
        self.steps.push(Arithmetic { op, operand, repeats, is_reversed });
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
        by_elements(offset, out, |first, out| self.read_elements(first, out))
    }

    /// Fills `out` with whole elements. What they are computed from is read into its end: no element is wider there than
    /// in the result, so none is overwritten before it is used.
    fn read_elements(&self, first: usize, out: &mut [u8]) -> Result<(), OpError> {
        let base_bytes = self.base.dtype.bytes();
        let count = out.len() / ELEMENT_BYTES;
        let from = out.len() - count * base_bytes;
        self.base.read_at((first * base_bytes) as u64, &mut out[from..])?;
        let mut blocks = [[0f32; BLOCK]; 3];
        for start in (0..count).step_by(BLOCK) {
            let len = BLOCK.min(count - start);
            let [mut values, mut results, operands] = blocks.each_mut().map(|block| &mut block[..len]);
            widen(self.base.dtype, &out[from + start * base_bytes..][..len * base_bytes], values)?;
            for step in &self.steps {
                step.operands(first + start, operands);
                let sides = if step.is_reversed { [&*operands, &*values] } else { [&*values, &*operands] };
                binary_floats(step.op, sides, results)?;
                std::mem::swap(&mut values, &mut results);
            }
            out[start * ELEMENT_BYTES..][..len * ELEMENT_BYTES].copy_from_slice(cast_slice(values));
        }
        Ok(())
    }
}

/// Fills `out` with the bytes from `offset` on of elements that `read` fills whole ones of with: it is told the first.
///
/// # Errors
/// Those of `read`.
pub(super) fn by_elements(
    offset: u64,
    out: &mut [u8],
    read: impl Fn(usize, &mut [u8]) -> Result<(), OpError>,
) -> Result<(), OpError> {
    let element = (offset / ELEMENT_BYTES as u64) as usize;
    let phase = (offset % ELEMENT_BYTES as u64) as usize;
    if phase == 0 && out.len().is_multiple_of(ELEMENT_BYTES) {
        return read(element, out);
    }
    // Parts of an element at the ends.
    let head_bytes = out.len().min((ELEMENT_BYTES - phase) % ELEMENT_BYTES);
    let (head, rest) = out.split_at_mut(head_bytes);
    let whole = rest.len() - rest.len() % ELEMENT_BYTES;
    let (body, tail) = rest.split_at_mut(whole);
    let first = element + usize::from(phase > 0);
    let mut one = [0; ELEMENT_BYTES];
    if !head.is_empty() {
        read(element, &mut one)?;
        head.copy_from_slice(&one[phase..][..head.len()]);
    }
    read(first, body)?;
    if !tail.is_empty() {
        read(first + whole / ELEMENT_BYTES, &mut one)?;
        tail.copy_from_slice(&one[..tail.len()]);
    }
    Ok(())
}

impl Arithmetic {
    /// Fills `out` with the numbers for the elements from number `first` on.
    fn operands(&self, first: usize, mut out: &mut [f32]) {
        let mut column = first / self.repeats % self.operand.len();
        let mut repeats = self.repeats - first % self.repeats;
        while !out.is_empty() {
            // Numbers of their own are copied as far as there are any, one that repeats is set.
            let from = &self.operand[column..];
            let run = if self.repeats == 1 { from.len() } else { repeats }.min(out.len());
            let (now, later) = out.split_at_mut(run);
            match self.repeats {
                1 => now.copy_from_slice(&from[..run]),
                _ => now.fill(from[0]),
            }
            column = (column + if self.repeats == 1 { run } else { 1 }) % self.operand.len();
            repeats = self.repeats;
            out = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        // Two rows of a matrix of three columns, each with its number, twice.
        let base = constant(DType::U8, &[1; 12]);
        let by_row = Computed::widened(&base).unwrap();
        let by_row = by_row.then_by_axis(BinaryOp::Mul, ([2.0, 3.0].into(), 3), false).unwrap();
        assert_eq!(all(&by_row, 12), [2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0]);
        let mut part = [0; 4 * ELEMENT_BYTES];
        by_row.read_at(4 * ELEMENT_BYTES as u64, &mut part).unwrap();
        assert_eq!(part[..], [3.0f32, 3.0, 2.0, 2.0].map(f32::to_le_bytes).concat());
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
