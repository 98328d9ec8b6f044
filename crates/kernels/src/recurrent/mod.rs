//! Cells of recurrent networks: LSTM over a sequence, and one step of a GRU; and the labels that such networks say (`ctc`).
//!
//! The input's part of the gates is one product for many steps at once; a step is then one product with the state, which
//! is added to it, and one pass over the gates.

mod ctc;
mod ctc_loss;
mod gru;
mod lstm;

pub use ctc::{CtcBeam, CtcLogits, CtcSequence, FoundPath, PathLabels};
pub use ctc_loss::CtcLoss;
pub use gru::{GruCell, GruOutputs};
pub use lstm::{GateOrder, Lstm, LstmOutputs, Peepholes};

use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_at_least};
use crate::base::threads::ThreadPool;
use crate::product::gemm::Epilogue;
use crate::product::matmul::{BatchMatMul, MatrixStrides};

/// The product of dense rows `[m, k]` with `[k, n]`, which lies in rows of `columns` floats, to dense rows `[m, n]`.
fn product(isa: Isa, m: usize, k: usize, n: usize) -> BatchMatMul<'static> {
    let dense = |row| MatrixStrides { row, column: 1, batch: &[] };
    BatchMatMul { isa, batch: &[], m, k, n, a: dense(k), b: dense(n), out: dense(n) }
}

/// Floats at the front of `scratch`, aligned, and what is left behind them.
fn take_floats(scratch: &mut [u8], floats: usize) -> Result<(&mut [f32], &mut [u8]), KernelError> {
    const ALIGN: usize = 64;
    let given_bytes = scratch.len();
    let skip = scratch.as_ptr().align_offset(ALIGN).min(ALIGN);
    let needed_bytes = skip + 4 * floats;
    let (front, rest) = scratch
        .split_at_mut_checked(needed_bytes)
        .ok_or(KernelError::Scratch { needed_bytes, given_bytes })?;
    let front = bytemuck::try_cast_slice_mut(&mut front[skip..])
        .map_err(|_| KernelError::Attribute("the scratch memory cannot be aligned"))?;
    Ok((front, rest))
}

/// What [`take_floats`] takes at most.
fn floats_bytes(floats: usize) -> usize {
    4 * floats + 64
}

/// The two parts of a cell's weight: the rows for its input, and those for its state.
fn parts(
    weight: &[f32],
    input: usize,
    hidden: usize,
    columns: usize,
) -> Result<(&[f32], &[f32]), KernelError> {
    check_at_least("the weight", (input + hidden) * columns, weight.len())?;
    Ok(weight.split_at(input * columns))
}

/// Adds `[m, k]` times `[k, n]` to what `out` holds.
#[allow(clippy::too_many_arguments)]
fn add_product(
    pool: &ThreadPool,
    (m, k, n): (usize, usize, usize),
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
    scratch: &mut [u8],
) -> Result<(), KernelError> {
    let epilogue = Epilogue { residual: crate::product::gemm::Residual::Output, ..Epilogue::default() };
    product(pool.isa(), m, k, n).run(pool, a, b, out, epilogue, scratch)
}
