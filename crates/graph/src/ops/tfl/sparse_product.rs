//! A product with a sparse constant, of which no more is read than is there: what passes make of a matrix product, or of a convolution
//! of single pixels, with a weight that tfl.densify would make whole.
//!
//! Inputs: the rows `[.., k]`; the weight's elements that are there, `[count]`; those of [`Fused`]; and last a bit for each element of
//! the weight `[n, k]`, uint8, the lowest of a byte first. The output is `[.., n]`.

use std::sync::Arc;

use tightfit_core::{DType, block_bytes};
use tightfit_kernels::{Isa, SparseProduct as Kernel};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::ir::Constant;
use crate::operator::product::{Fused, OWN_INPUTS};
use crate::operator::{Call, Held, Memory, OpError, Operator, Run, reshape};
use crate::ops::nn::conv2d::Conv2d;
use crate::ops::shared;

/// The operator.
#[derive(Debug, Clone)]
pub struct SparseProduct {
    /// Rows of the weight, each an output channel.
    pub channels: usize,
    /// What is done to the sums.
    pub fused: Fused,
    /// What computes the same with a dense weight: a matrix product, or a convolution of single pixels.
    pub dense: Arc<dyn Operator>,
    /// The weight, made whole as it is read. It is the same for all that the graph is bound to, so that it is in memory once.
    pub weight: Arc<Constant>,
}

impl SparseProduct {
    /// The product of rows of these dimensions.
    ///
    /// # Errors
    /// As [`Kernel::new`].
    pub fn kernel(&self, isa: Isa, dims: &[usize]) -> Result<Kernel, OpError> {
        let (k, rows) = dims.split_last().ok_or(OpError::Internal("a product of a scalar"))?;
        Ok(Kernel::new(isa, rows.iter().product(), *k, self.channels)?)
    }
}

impl Operator for SparseProduct {
    fn name(&self) -> &'static str {
        "SparseProduct"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (rows, marks) = (shared::input(inputs, 0)?, self.fused.inputs());
        shared::need_type(0, rows, &[DType::F32])?;
        shared::need_type(1, shared::input(inputs, 1)?, &[DType::F32])?;
        shared::need_type(marks, shared::input(inputs, marks)?, &[DType::U8])?;
        self.fused.check(inputs, Some(self.channels))?;
        let Some(dims) = rows.dims.get() else { return Ok(vec![Fact::new(DType::F32, Dims::UNKNOWN)]) };
        let mut dims = dims.to_vec();
        *dims.last_mut().ok_or_else(|| OpError::input(0, "is a scalar"))? = Dim::Known(self.channels as i64);
        Ok(vec![Fact::new(DType::F32, Dims::new(dims))])
    }

    fn heap_bytes(&self) -> u64 {
        let weight = block_bytes(2 * size_of::<usize>() as u64) + self.weight.heap_bytes();
        weight + block_bytes(size_of::<Conv2d>() as u64) + self.dense.heap_bytes()
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let count = call.inputs[1].shape.elements();
        let bytes = self.kernel(call.isa, &call.inputs[0].shape);
        let bytes = bytes.map_or(0, |kernel| kernel.scratch_bytes(call.threads, count));
        self.fused.memory(bytes, Held::Resident)
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let dims = run.shape(0);
        let (_, rows) = dims.split_last()?;
        reshape::set(run, 0, rows.iter().copied().chain([self.channels]))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let kernel = self.kernel(run.pool.isa(), &run.shape(0))?;
        let (rows, values, marks) =
            (run.slice::<f32>(0)?, run.input(1)?, run.slice::<u8>(self.fused.inputs())?);
        let epilogue = self.fused.epilogue(run, OWN_INPUTS)?;
        let (output, scratch, pool) = (run.out::<f32>(0)?, run.scratch()?, run.pool);
        Ok(kernel.run(pool, rows, (marks, values.bytes()), output, epilogue, scratch)?)
    }
}
