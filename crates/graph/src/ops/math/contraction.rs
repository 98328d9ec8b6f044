//! How a product of two labelled tensors becomes a batch of matrix products over strides.
//!
//! Every label is an axis with a stride in each operand and in the output. By where it occurs it belongs to the batch
//! (everywhere), to m (the left operand and the output), to n (the right one and the output), to k (both operands), or
//! is summed before the product. Axes of one group that lie one after another in memory become one; an axis of m or n
//! that does not is a batch dimension along which the other operand stands still. Only where the axes of k do not meet,
//! or one is summed alone, an operand is first copied into scratch; only where the output's last axis is one of the
//! batch, the output is.

use tightfit_core::{ALIGNMENT, DType, MAX_RANK};
use tightfit_kernels::{BatchMatMul, Isa, MatrixStrides, StridedDim, ThreadPool, strided_sum};

use super::batch_matmul::{multiply, scratch_bytes};
use crate::operator::OpError;

/// A label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    /// How many values it takes.
    pub size: usize,
    /// Elements from one value to the next in each operand; 0 where it does not occur.
    pub strides: [usize; 2],
    /// Which operands it occurs in.
    pub is_in: [bool; 2],
    /// Whether it occurs in the output.
    pub in_output: bool,
    /// Elements from one value to the next in the output.
    out: usize,
    /// The same where the product is stored in another order than the output's.
    stored: usize,
}

impl Default for Axis {
    fn default() -> Axis {
        Axis::new(false)
    }
}

impl Axis {
    /// A label that no operand has.
    pub fn new(in_output: bool) -> Axis {
        Axis { size: 1, strides: [0; 2], is_in: [false; 2], in_output, out: 0, stored: 0 }
    }
}

/// The labels of two operands of the highest rank, at most.
const MAX_AXES: usize = 2 * MAX_RANK;

/// A list without heap memory.
#[derive(Debug, Clone, Copy)]
pub struct List<T> {
    items: [T; MAX_AXES],
    len: usize,
}

impl<T: Copy + Default> Default for List<T> {
    fn default() -> List<T> {
        List { items: [T::default(); MAX_AXES], len: 0 }
    }
}

impl<T> std::ops::Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items[..self.len]
    }
}

impl<T> std::ops::DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items[..self.len]
    }
}

impl<T: Copy + Default> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> List<T> {
        let mut list = List::default();
        items.into_iter().for_each(|item| list.push(item));
        list
    }
}

impl<T> List<T> {
    /// Adds an item; there are never more than the operands have axes.
    pub fn push(&mut self, item: T) {
        self.items[self.len] = item;
        self.len += 1;
    }
}

type Axes = List<Axis>;
type StridedDims = List<StridedDim>;

/// A tensor that is copied, in another order and summed.
#[derive(Debug, Clone, Copy)]
struct Copied {
    kept: StridedDims,
    summed: StridedDims,
}

impl Copied {
    fn elements(&self) -> usize {
        self.kept.iter().map(|dim| dim.size).product()
    }

    fn run(&self, pool: &ThreadPool, dtype: DType, src: &[u8], dst: &mut [u8]) -> Result<(), OpError> {
        Ok(strided_sum(pool, dtype, &self.kept, &self.summed, src, dst)?)
    }
}

/// How two operands are multiplied.
#[derive(Debug, Clone, Copy)]
pub struct Contraction {
    /// The right operand of the equation is the left one of the product.
    is_swapped: bool,
    /// False where there is nothing to add up, and the output is 0.
    has_terms: bool,
    operands: [Option<Copied>; 2],
    /// From the product to the output.
    output: Option<Copied>,
    batch: [List<usize>; 4],
    m: Axis,
    k: Axis,
    n: Axis,
}

/// The left and the right operand of the product.
const LEFT: usize = 0;
const RIGHT: usize = 1;

impl Contraction {
    /// For these axes, those of the output first and in its order.
    pub fn new(axes: &[Axis]) -> Contraction {
        let has_terms = axes.iter().all(|axis| axis.size > 0);
        let (axes, is_swapped) = prepare(axes);
        let group = |in_output: bool, is_in: [bool; 2]| -> Axes {
            axes.iter().copied().filter(|axis| axis.in_output == in_output && axis.is_in == is_in).collect()
        };
        let mut batch = group(true, [true, true]);
        let (mut m, mut n) = (group(true, [true, false]), group(true, [false, true]));
        let mut k = group(false, [true, true]);
        let alone = [group(false, [true, false]), group(false, [false, true])];

        // The order of k is that of an operand which then need not be copied for it.
        let leader = if !alone[LEFT].is_empty() && alone[RIGHT].is_empty() { RIGHT } else { LEFT };
        k.sort_unstable_by_key(|axis| std::cmp::Reverse(axis.strides[leader]));
        let mut operands = [None; 2];
        for side in [LEFT, RIGHT] {
            let is_chain =
                k.windows(2).all(|pair| pair[0].strides[side] == pair[1].strides[side] * pair[1].size);
            if is_chain && alone[side].is_empty() {
                continue;
            }
            let groups =
                if side == LEFT { [&mut batch, &mut m, &mut k] } else { [&mut batch, &mut k, &mut n] };
            operands[side] = Some(copied(side, groups, &alone[side]));
        }
        let needs_order = n.last().is_some_and(|axis| axis.out != 1);
        let output = needs_order.then(|| reordered([&mut batch, &mut m, &mut n]));
        let m = merged(&m, &mut batch, |axis| [axis.strides[LEFT], axis.out]);
        let n = merged(&n, &mut batch, |axis| [axis.strides[RIGHT], axis.out]);
        let k = merged(&k, &mut Axes::default(), |axis| axis.strides);
        let of_batch = |value: fn(&Axis) -> usize| batch.iter().map(value).collect();
        let batch = [
            of_batch(|a| a.size),
            of_batch(|a| a.strides[LEFT]),
            of_batch(|a| a.strides[RIGHT]),
            of_batch(|a| a.out),
        ];
        Contraction { is_swapped, has_terms, operands, output, batch, m, k, n }
    }

    fn kernel(&self, isa: Isa) -> BatchMatMul<'_> {
        let [dims, a, b, out] = &self.batch;
        BatchMatMul {
            isa,
            batch: dims,
            m: self.m.size,
            k: self.k.size,
            n: self.n.size,
            a: MatrixStrides { row: self.m.strides[LEFT], column: self.k.strides[LEFT], batch: a },
            b: MatrixStrides { row: self.k.strides[RIGHT], column: self.n.strides[RIGHT], batch: b },
            out: MatrixStrides { row: self.m.out, column: 1, batch: out },
        }
    }

    /// Bytes of the copies, each to be aligned: of both operands and of the product.
    fn copy_bytes(&self, dtype: DType) -> [usize; 3] {
        [self.operands[LEFT], self.operands[RIGHT], self.output]
            .map(|copied| copied.map_or(0, |c| c.elements() * dtype.bytes()))
    }

    /// Scratch bytes of [`Contraction::run`].
    pub fn scratch_bytes(&self, dtype: DType, isa: Isa, threads: usize) -> usize {
        let copies = self.copy_bytes(dtype).map(|bytes| bytes.next_multiple_of(ALIGNMENT));
        copies.iter().sum::<usize>().saturating_add(scratch_bytes(dtype, &self.kernel(isa), threads))
    }

    /// Computes the output from both operands, in the order of the equation.
    ///
    /// # Errors
    /// [`OpError`] when the kernel refuses, which inference excludes.
    pub fn run(
        &self,
        pool: &ThreadPool,
        dtype: DType,
        operands: [&[u8]; 2],
        out: &mut [u8],
        scratch: &mut [u8],
    ) -> Result<(), OpError> {
        if !self.has_terms || out.is_empty() {
            out.fill(0);
            return Ok(());
        }
        let [left_bytes, right_bytes, product_bytes] = self.copy_bytes(dtype);
        let (left, rest) = cut(scratch, left_bytes)?;
        let (right, rest) = cut(rest, right_bytes)?;
        let (product, scratch) = cut(rest, product_bytes)?;
        let [a, b] = if self.is_swapped { [operands[1], operands[0]] } else { operands };
        let a = place(pool, dtype, &self.operands[LEFT], a, left)?;
        let b = place(pool, dtype, &self.operands[RIGHT], b, right)?;
        let Some(output) = &self.output else {
            return multiply(pool, dtype, &self.kernel(pool.isa()), (a, b, out), scratch);
        };
        multiply(pool, dtype, &self.kernel(pool.isa()), (a, b, product), scratch)?;
        output.run(pool, dtype, product, out)
    }
}

/// The axes of more than one value with their strides in the output, the operands swapped where that puts the output's
/// last axis into n.
fn prepare(axes: &[Axis]) -> (Axes, bool) {
    let mut axes: Axes = axes.iter().copied().filter(|axis| axis.size > 1).collect();
    let mut stride = 1;
    for axis in axes.iter_mut().rev().filter(|axis| axis.in_output) {
        axis.out = stride;
        stride *= axis.size;
    }
    let last = axes.iter().rev().find(|axis| axis.in_output);
    let is_swapped = last.is_some_and(|axis| axis.is_in == [true, false]);
    if is_swapped {
        for axis in axes.iter_mut() {
            axis.strides.swap(0, 1);
            axis.is_in.swap(0, 1);
        }
    }
    (axes, is_swapped)
}

/// The copy of an operand that is dense over these groups, and the operand's new strides.
fn copied(side: usize, mut groups: [&mut Axes; 3], alone: &[Axis]) -> Copied {
    let strided = |axis: &Axis| StridedDim { size: axis.size, stride: axis.strides[side] };
    let kept = groups.iter().flat_map(|group| group.iter()).map(strided).collect();
    let mut stride = 1;
    for axis in groups.iter_mut().rev().flat_map(|group| group.iter_mut().rev()) {
        axis.strides[side] = stride;
        stride *= axis.size;
    }
    Copied { kept, summed: alone.iter().map(strided).collect() }
}

/// The copy of a product that is dense over these groups into the order of the output.
fn reordered(mut groups: [&mut Axes; 3]) -> Copied {
    let mut stride = 1;
    for axis in groups.iter_mut().rev().flat_map(|group| group.iter_mut().rev()) {
        axis.stored = stride;
        stride *= axis.size;
    }
    let mut axes: Axes = groups.iter().flat_map(|group| group.iter().copied()).collect();
    axes.sort_unstable_by_key(|axis| std::cmp::Reverse(axis.out));
    for axis in groups.iter_mut().flat_map(|group| group.iter_mut()) {
        axis.out = axis.stored;
    }
    let kept = axes.iter().map(|axis| StridedDim { size: axis.size, stride: axis.stored }).collect();
    Copied { kept, summed: StridedDims::default() }
}

/// The last axes of a group as one, where memory allows; those before become dimensions of the batch.
fn merged(group: &[Axis], batch: &mut Axes, strides: impl Fn(&Axis) -> [usize; 2]) -> Axis {
    let Some((last, others)) = group.split_last() else {
        return Axis { strides: [1; 2], out: 1, ..Axis::default() };
    };
    let mut merged = *last;
    let mut is_chain = true;
    for axis in others.iter().rev() {
        is_chain &= strides(axis) == strides(&merged).map(|stride| stride * merged.size);
        if is_chain {
            merged.size *= axis.size;
        } else {
            batch.push(*axis);
        }
    }
    merged
}

/// The first `bytes` of a memory, and the rest from the next aligned byte on.
fn cut(memory: &mut [u8], bytes: usize) -> Result<(&mut [u8], &mut [u8]), OpError> {
    let missing = OpError::Internal("less scratch than was planned");
    let (first, rest) = memory.split_at_mut_checked(bytes.next_multiple_of(ALIGNMENT)).ok_or(missing)?;
    Ok((&mut first[..bytes], rest))
}

fn place<'a>(
    pool: &ThreadPool,
    dtype: DType,
    copied: &Option<Copied>,
    operand: &'a [u8],
    memory: &'a mut [u8],
) -> Result<&'a [u8], OpError> {
    let Some(copied) = copied else { return Ok(operand) };
    copied.run(pool, dtype, operand, memory)?;
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Axes of `sizes` in this order in the output, with strides in both operands.
    fn axes(list: &[(usize, [usize; 2], bool)]) -> Vec<Axis> {
        let axis = |(size, strides, in_output): &(usize, [usize; 2], bool)| Axis {
            size: *size,
            strides: *strides,
            is_in: strides.map(|s| s > 0),
            in_output: *in_output,
            ..Axis::default()
        };
        list.iter().map(axis).collect()
    }

    #[test]
    fn attention_needs_no_copies() {
        // aecd,abcd->acbe with a 2, b 6, c 4, d 5, e 3: the scores of attention.
        let scores = axes(&[
            (2, [60, 120], true),
            (4, [5, 5], true),
            (6, [0, 20], true),
            (3, [20, 0], true),
            (5, [1, 1], false),
        ]);
        let contraction = Contraction::new(&scores);
        assert!(contraction.is_swapped && contraction.operands.iter().all(Option::is_none));
        assert!(contraction.output.is_none());
        assert_eq!([contraction.m.size, contraction.k.size, contraction.n.size], [6, 5, 3]);
        assert_eq!(*contraction.batch[0], [2, 4]);
        assert!(contraction.scratch_bytes(DType::I32, Isa::Portable, 1) == 0);
    }

    #[test]
    fn a_dense_layer_is_one_product() {
        // abcd,cde->abe with a 2, b 3, c 4, d 5, e 6.
        let dense = axes(&[
            (2, [60, 0], true),
            (3, [20, 0], true),
            (6, [0, 1], true),
            (4, [5, 30], false),
            (5, [1, 6], false),
        ]);
        let contraction = Contraction::new(&dense);
        assert_eq!([contraction.m.size, contraction.k.size, contraction.n.size], [6, 20, 6]);
        assert!(contraction.batch[0].is_empty() && contraction.operands.iter().all(Option::is_none));
    }
}
