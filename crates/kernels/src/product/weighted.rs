//! What products with a weight have in common, a convolution with its filter and a matrix product with its right-hand side:
//! the weight is packed, or as it stands in the file, or comes block by block.

use crate::base::error::{KernelError, check_exact};
use crate::base::threads::ThreadPool;
use crate::product::gemm::{Block, Epilogue, Form, PackedLayout, Residual, RightHand, WeightForm, Weights};

/// A product of a float32 input with a float32 weight.
pub trait WeightedProduct {
    /// How the weight is packed. It does not depend on how large the input is.
    fn layout(&self) -> PackedLayout;

    /// Rows of the weight as it is stored, and the floats of each.
    fn weight_size(&self) -> (usize, usize);

    /// Rows of the weight in each block, when a block may have `max_block_bytes`; `None` when not even one row fits.
    fn block_rows(&self, max_block_bytes: usize) -> Option<usize>;

    /// Bytes of scratch that a call needs, with the weight in this form.
    fn scratch_bytes(&self, threads: usize, form: WeightForm) -> usize;

    /// Bytes of scratch with which a call may be faster, or as many as it needs where more are of no use. Any number
    /// between the two is of some use, or none.
    fn most_scratch_bytes(&self, threads: usize, form: WeightForm) -> usize;

    /// Computes the product. `scratch` needs no alignment. How much there is beyond what is needed may change the rounding.
    ///
    /// # Errors
    /// [`KernelError`] when a length is wrong or the scratch too small.
    fn run(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        weight: Weights<'_>,
        out: &mut [f32],
        epilogue: Epilogue<'_>,
        scratch: &mut [u8],
    ) -> Result<(), KernelError>;

    /// Adds the part of the product that belongs to one block of the weight's rows, of a size that
    /// [`WeightedProduct::block_rows`] allows (the last may be smaller by whole such parts). Blocks come in order, from
    /// row 0 to the last. The sums are kept in `out`; the epilogue follows the last block, and until then `out` must not
    /// be touched. Rows of a transposed weight are columns of the product: each block gives finished ones.
    ///
    /// # Errors
    /// [`KernelError`] when a length is wrong or the scratch too small, and for [`Residual::Output`] where the sums of a
    /// block are not whole.
    fn accumulate(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        block: Block<'_>,
        out: &mut [f32],
        epilogue: Epilogue<'_>,
        scratch: &mut [u8],
    ) -> Result<(), KernelError>;
}

/// What each such product has of its own.
pub(super) trait Parts {
    fn packed(&self) -> PackedLayout;

    /// Rows of the weight as it is stored, and the floats of each.
    fn stored(&self) -> (usize, usize);

    /// The most rows that a block of at most `fitting` rows can have, which is fewer than all; `None` where none can.
    fn fitting_rows(&self, fitting: usize) -> Option<usize>;

    /// Floats from one row of the product's right-hand side to the next, and from one column to the next, unpacked.
    fn strides(&self) -> (usize, usize);

    /// Bytes of scratch for so many rows of the weight.
    fn part_scratch_bytes(&self, threads: usize, rows: usize, form: Form) -> usize;

    /// Bytes of scratch that are of use with a weight that is packed; 0 where no more are than it needs.
    fn most_scratch_bytes(&self, _threads: usize) -> usize {
        0
    }

    /// The product with part of the weight's rows, given as (first, count).
    #[allow(clippy::too_many_arguments)]
    fn part(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        right: RightHand,
        rows: (usize, usize),
        out: &mut [f32],
        epilogue: Epilogue<'_>,
        scratch: &mut [u8],
    ) -> Result<(), KernelError>;

    fn strided(&self, bytes: &[u8]) -> RightHand {
        let (row_stride, column_stride) = self.strides();
        RightHand::Strided { start: bytes.as_ptr().cast(), row_stride, column_stride }
    }
}

impl<P: Parts> WeightedProduct for P {
    fn layout(&self) -> PackedLayout {
        self.packed()
    }

    fn weight_size(&self) -> (usize, usize) {
        self.stored()
    }

    fn block_rows(&self, max_block_bytes: usize) -> Option<usize> {
        let (rows, row_floats) = self.stored();
        let fitting = (max_block_bytes / 4).checked_div(row_floats).unwrap_or(rows);
        if fitting >= rows { Some(rows.max(1)) } else { self.fitting_rows(fitting) }
    }

    fn scratch_bytes(&self, threads: usize, form: WeightForm) -> usize {
        let (all, _) = self.stored();
        let unpacked = Form::of_column_stride(self.strides().1);
        match form {
            WeightForm::Packed => self.part_scratch_bytes(threads, all, Form::Packed),
            WeightForm::Unpacked => self.part_scratch_bytes(threads, all, unpacked),
            WeightForm::Blocks { rows } => {
                // The last block is smaller, and may for that be packed in wider pieces.
                let rows = rows.clamp(1, all.max(1));
                let bytes = |rows| self.part_scratch_bytes(threads, rows, unpacked);
                bytes(rows).max(if all.is_multiple_of(rows) { 0 } else { bytes(all % rows) })
            }
        }
    }

    fn most_scratch_bytes(&self, threads: usize, form: WeightForm) -> usize {
        let needed_bytes = self.scratch_bytes(threads, form);
        if form == WeightForm::Packed {
            Parts::most_scratch_bytes(self, threads).max(needed_bytes)
        } else {
            needed_bytes
        }
    }

    fn run(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        weight: Weights<'_>,
        out: &mut [f32],
        epilogue: Epilogue<'_>,
        scratch: &mut [u8],
    ) -> Result<(), KernelError> {
        let (rows, row_floats) = self.stored();
        let right = match weight {
            Weights::Packed(bytes) => {
                check_exact("the packed weight", self.packed().packed_bytes(), bytes.len())?;
                RightHand::Packed(bytes.as_ptr().cast())
            }
            Weights::Unpacked(bytes) => {
                check_exact("the weight", 4 * rows * row_floats, bytes.len())?;
                self.strided(bytes)
            }
        };
        self.part(pool, input, right, (0, rows), out, epilogue, scratch)
    }

    fn accumulate(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        block: Block<'_>,
        out: &mut [f32],
        epilogue: Epilogue<'_>,
        scratch: &mut [u8],
    ) -> Result<(), KernelError> {
        let (rows, row_floats) = self.stored();
        block.check(rows, row_floats)?;
        let right = self.strided(block.bytes);
        self.part(pool, input, right, (block.first, block.count), out, epilogue, scratch)
    }
}

/// An error for a residual that waits in the output where sums are kept before they are whole.
pub(super) fn check_residual(epilogue: &Epilogue<'_>, is_whole: bool) -> Result<(), KernelError> {
    if matches!(epilogue.residual, Residual::Output) && !is_whole {
        return Err(KernelError::Attribute("a residual in the output memory needs the whole sum at once"));
    }
    Ok(())
}
