//! The one driver behind matrix products and convolutions: out = activation(scale · A·B + shift + residual).
//!
//! Rows of A are reached through pointers that are worked out per tile, so a convolution needs no im2col: a row of A
//! is a few runs of contiguous floats ("taps"), one per filter position. B is packed in panels of [`tile::Tile`]'s
//! width. Each element of the output is summed over k in ascending order by one chain of fused multiply-adds,
//! whatever the blocking, the threads, and the way B comes; so all of these give the same bits.

mod band;
mod dense;
mod direct;
mod driver;
mod epilogue;
mod panels;
mod plan;
mod segment;
mod tile;

pub(crate) use band::Band;
pub(crate) use dense::Dense;
pub(crate) use driver::{Gemm, LeftHand, Offsets, RightHand, Scratch};
pub(crate) use epilogue::RawEpilogue;
pub use epilogue::{Epilogue, Residual};
pub use panels::PackedLayout;
pub(crate) use plan::{ALIGN, Form, PANELS_BYTES, Problem};
pub(crate) use segment::Segment;
pub(crate) use tile::{MAX_ROWS, max_rows, max_rows_of, width as tile_width};

use crate::base::error::{KernelError, check_exact};

/// B, the right-hand side of a product: a convolution's filter or a matrix.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'a> {
    /// As [`PackedLayout`] laid it out.
    Packed(&'a [u8]),
    /// As it stands in the file: row-major little-endian floats at any alignment.
    Unpacked(&'a [u8]),
}

/// Consecutive rows of B as they stand in the file, for products that are summed up block by block.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// The first row's number. A block with 0 starts the sum, the one that reaches the last row ends it.
    pub first: usize,
    /// How many rows.
    pub count: usize,
    /// The rows: little-endian floats at any alignment.
    pub bytes: &'a [u8],
}

impl Block<'_> {
    /// An error unless the block lies within `rows` rows of `row_floats` floats, and is not empty.
    pub(crate) fn check(&self, rows: usize, row_floats: usize) -> Result<(), KernelError> {
        if self.first >= rows || self.count == 0 || self.count > rows - self.first {
            return Err(KernelError::Attribute("a block of rows outside the matrix"));
        }
        check_exact("the block", 4 * row_floats * self.count, self.bytes.len())
    }
}

/// In which form B will come, for sizing scratch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightForm {
    /// [`Weights::Packed`].
    Packed,
    /// [`Weights::Unpacked`].
    Unpacked,
    /// [`Block`]s of at most this many rows.
    Blocks {
        /// Rows of the stored matrix.
        rows: usize,
    },
}
