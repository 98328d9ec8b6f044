//! Numpy's broadcasting, reduced to the least number of dimensions, and operands served as contiguous blocks.

use tightfit_core::MAX_RANK;

use crate::base::error::{KernelError, Result};

/// Elements that broadcasting kernels compute at a time; operands that are not contiguous are laid out in blocks of
/// this many on the stack.
pub(crate) const BLOCK: usize = 256;

/// How `N` operands are read to fill an output, as few dimensions as possible: dimensions of 1 are gone, and
/// neighbours that every operand steps through as through one are merged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Broadcast<const N: usize> {
    pub rank: usize,
    pub dims: [usize; MAX_RANK],
    /// For each operand, elements between neighbours along each dimension; 0 where it is repeated.
    pub strides: [[usize; MAX_RANK]; N],
}

impl<const N: usize> Broadcast<N> {
    /// # Errors
    /// [`KernelError::Invalid`] if one of `shapes` does not broadcast to `output`.
    pub fn new(kernel: &'static str, output: &[usize], shapes: [&[usize]; N]) -> Result<Self> {
        let error = KernelError::Invalid { kernel, rule: "the inputs broadcast to the output's shape" };
        let mut result = Broadcast { rank: 0, dims: [1; MAX_RANK], strides: [[0; MAX_RANK]; N] };
        let mut full = [[0; MAX_RANK]; N];
        for (strides, shape) in full.iter_mut().zip(shapes) {
            let Some(missing) = output.len().checked_sub(shape.len()) else { return Err(error) };
            let mut step = 1;
            for (axis, dim) in shape.iter().enumerate().rev() {
                match *dim {
                    1 => {}
                    dim if dim == output[missing + axis] => strides[missing + axis] = step,
                    _ => return Err(error),
                }
                step *= dim;
            }
        }
        for (axis, dim) in output.iter().copied().enumerate().filter(|(_, d)| *d != 1) {
            let last = result.rank.wrapping_sub(1);
            let merges = result.rank > 0 && (0..N).all(|k| result.strides[k][last] == full[k][axis] * dim);
            let place = if merges { last } else { result.rank };
            result.dims[place] *= dim;
            for (strides, full) in result.strides.iter_mut().zip(&full) {
                strides[place] = full[axis];
            }
            result.rank = place + 1;
        }
        Ok(result)
    }

    /// True if every operand is read element for element, or is one element for all.
    pub fn is_flat(&self) -> bool {
        (0..N).all(|k| matches!(self.layout(k), Layout::Flat | Layout::Scalar))
    }

    /// Elements of the innermost dimension.
    fn row(&self) -> usize {
        if self.rank == 0 { 1 } else { self.dims[self.rank - 1] }
    }

    /// How long a block at output position `at` may be, of `left` elements: whole blocks, but where rows are long
    /// enough, to the end of the row, so that operands need no copying.
    pub fn block(&self, at: usize, left: usize) -> usize {
        let row = self.row();
        let longest = if row < 64 { BLOCK } else { BLOCK.min(row - at % row) };
        longest.min(left)
    }

    /// Where in operand `k` the element for output position `at` is.
    fn offset(&self, k: usize, at: usize) -> usize {
        let mut at = at;
        let mut offset = 0;
        for axis in (0..self.rank).rev() {
            offset += at % self.dims[axis] * self.strides[k][axis];
            at /= self.dims[axis];
        }
        offset
    }

    /// How operand `k` is laid out.
    pub fn layout(&self, k: usize) -> Layout {
        let strides = &self.strides[k][..self.rank];
        let mut step = 1;
        let flat = strides.iter().zip(&self.dims).rev().all(|(stride, dim)| {
            let natural = *stride == step;
            step *= dim;
            natural
        });
        if flat {
            Layout::Flat
        } else if strides.iter().all(|s| *s == 0) {
            Layout::Scalar
        } else if self.rank == 2 && *strides == [0, 1] && self.dims[1] <= BLOCK {
            Layout::Tile(self.dims[1])
        } else {
            Layout::Rows
        }
    }
}

/// How an operand lies to the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Element for element.
    Flat,
    /// One element for all.
    Scalar,
    /// So many elements, over and over.
    Tile(usize),
    /// Anything else.
    Rows,
}

/// An operand that is served in contiguous blocks.
pub(crate) struct Operand<'a, T, const N: usize> {
    values: Option<&'a [T]>,
    broadcast: &'a Broadcast<N>,
    index: usize,
    layout: Layout,
    /// Scratch; whole periods of a tile.
    block: [T; 2 * BLOCK],
}

impl<'a, T: Copy, const N: usize> Operand<'a, T, N> {
    /// Operand `index` of `broadcast`: `values` (whose size `Broadcast` has checked by its shape), or the output
    /// itself. `filler` is any value.
    pub fn new(broadcast: &'a Broadcast<N>, index: usize, values: Option<&'a [T]>, filler: T) -> Self {
        let layout = broadcast.layout(index);
        let mut block = [filler; 2 * BLOCK];
        match (layout, values) {
            (Layout::Scalar, Some(values)) => block = [values[0]; 2 * BLOCK],
            (Layout::Tile(period), Some(values)) => {
                block.chunks_mut(period).for_each(|b| b.copy_from_slice(&values[..b.len()]));
            }
            _ => {}
        }
        Operand { values, broadcast, index, layout, block }
    }

    /// The values for the output positions from `at` on, as many as `dst`, which is the output's block there.
    pub fn block(&mut self, at: usize, dst: &[T]) -> &[T] {
        let len = dst.len();
        let Some(values) = self.values else {
            self.block[..len].copy_from_slice(dst);
            return &self.block[..len];
        };
        self.block_of(values, at, len)
    }

    /// [`Operand::block`] of an operand that is not the output.
    pub fn block_apart(&mut self, at: usize, len: usize) -> &[T] {
        match self.values {
            Some(values) => self.block_of(values, at, len),
            None => &self.block[..len],
        }
    }

    fn block_of(&mut self, values: &'a [T], at: usize, len: usize) -> &[T] {
        match self.layout {
            Layout::Flat => return &values[at..at + len],
            Layout::Scalar => return &self.block[..len],
            Layout::Tile(period) => {
                let phase = at % period;
                return &self.block[phase..phase + len];
            }
            Layout::Rows => {}
        }
        let row = self.broadcast.row();
        let step = self.broadcast.strides[self.index][self.broadcast.rank - 1];
        let mut done = 0;
        while done < len {
            let column = (at + done) % row;
            let piece = (row - column).min(len - done);
            let offset = self.broadcast.offset(self.index, at + done);
            if step == 1 {
                if piece == len {
                    return &values[offset..offset + len];
                }
                self.block[done..done + piece].copy_from_slice(&values[offset..offset + piece]);
            } else {
                self.block[done..done + piece].fill(values[offset]);
            }
            done += piece;
        }
        &self.block[..len]
    }
}
