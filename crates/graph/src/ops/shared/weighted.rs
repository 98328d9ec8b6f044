//! What products with a weight share, whatever the product: how the weight is held, and how it reaches the kernel.

use tightfit_kernels::{Block, WeightForm, WeightedProduct, Weights};

use crate::operator::product::{Fused, OWN_INPUTS};
use crate::operator::{Call, Held, Memory, OpError, Run, Weight, WeightLayout, WeightUse};

/// The input that is the weight.
pub const WEIGHT: usize = 1;

/// The memory of a product with this epilogue.
pub fn memory(kernel: &impl WeightedProduct, fused: &Fused, call: &Call<'_>) -> Memory {
    let place = call.inputs[WEIGHT].held;
    let form = match place {
        Held::Packed => WeightForm::Packed,
        Held::Streamed => WeightForm::Blocks { rows: block_rows(kernel, call) },
        Held::Value | Held::Resident => WeightForm::Unpacked,
    };
    let most_scratch_bytes = kernel.most_scratch_bytes(call.threads, form);
    Memory { most_scratch_bytes, ..fused.memory(kernel.scratch_bytes(call.threads, form), place) }
}

/// How a constant weight is wanted: packed for `groups` products side by side, from the form that the file has it in.
pub fn weight_use(
    kernel: &impl WeightedProduct,
    call: &Call<'_>,
    is_transposed: bool,
    groups: usize,
) -> WeightUse {
    let ((rows, row_floats), groups) = (kernel.weight_size(), groups.max(1));
    let (k, n) = if is_transposed { (row_floats, rows / groups) } else { (rows, row_floats / groups) };
    WeightUse {
        input: WEIGHT,
        layout: WeightLayout::Panels { k, n, is_transposed, groups },
        block_bytes: block_rows(kernel, call) * row_floats * 4,
    }
}

/// Rows of the weight in a block of a streamed pass; at least one, however small the window.
fn block_rows(kernel: &impl WeightedProduct, call: &Call<'_>) -> usize {
    kernel.block_rows(call.window_bytes).unwrap_or(1)
}

/// Computes the product of an input, the weight being in whatever form it was planned.
///
/// # Errors
/// What the kernel refuses, and the error of a file that a weight is read from.
pub fn run(
    kernel: &impl WeightedProduct,
    fused: &Fused,
    input: usize,
    run: &mut Run<'_>,
) -> Result<(), OpError> {
    let (input, weight) = (run.slice::<f32>(input)?, run.weight(WEIGHT)?);
    let epilogue = fused.epilogue(run, OWN_INPUTS)?;
    let (output, scratch, pool) = (run.out::<f32>(0)?, run.scratch()?, run.pool);
    match weight {
        Weight::Packed(bytes) => {
            kernel.run(pool, input, Weights::Packed(bytes), output, epilogue, scratch)?
        }
        Weight::Dense(view) => {
            kernel.run(pool, input, Weights::Unpacked(view.bytes()), output, epilogue, scratch)?;
        }
        Weight::Streamed(stream) => {
            let row_bytes = kernel.weight_size().1 * 4;
            stream.blocks(&mut |offset, bytes| {
                let first = offset as usize / row_bytes;
                let block = Block { first, count: bytes.len() / row_bytes, bytes };
                Ok(kernel.accumulate(pool, input, block, output, epilogue, scratch)?)
            })?;
        }
    }
    Ok(())
}
