//! MatMul: `[m, k]` times `[k, n]`, either transposed.
//!
//! float32 (float16 and bfloat16 are converted around it; other types are [`super::BatchMatMul`]'s). The left-hand side may have more dimensions when it is not
//! transposed: `[.., k]` gives `[.., n]`, which is what a dense layer over a sequence becomes.
//!
//! A constant right-hand side is a weight: read into the kernel's panels when it is resident, multiplied block by block
//! of its rows when it is streamed. See [`super::fused`] for the inputs behind it.

use std::sync::Arc;

use tightfit_core::{DType, Shape};
use tightfit_kernels::{Block, Isa, MatMul as Kernel, WeightForm, Weights};

use super::fused::{Fused, Product};
use super::{BatchMatMul, Registration};
use crate::attributes::Attributes;
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::{Call, Memory, OpError, Operator, Place, Run, Weight, WeightLayout, WeightUse};
use crate::reshape;

pub(super) const OPS: &[Registration] = &[Registration { name: "MatMul", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let transpose_a = attributes.bool_or("transpose_a", false)?;
    let transpose_b = attributes.bool_or("transpose_b", false)?;
    match attributes.dtype_or("T", DType::F32)? {
        DType::F32 | DType::F16 | DType::BF16 => {
            Ok(Box::new(MatMul { transpose_a, transpose_b, fused: Fused::default() }))
        }
        _ => Ok(Box::new(BatchMatMul {
            adj_x: transpose_a,
            adj_y: transpose_b,
            broadcasts: true,
            output: None,
        })),
    }
}

/// The operator.
#[derive(Debug, Clone)]
pub struct MatMul {
    /// The left-hand side is stored `[k, m]`.
    pub transpose_a: bool,
    /// The right-hand side is stored `[n, k]`.
    pub transpose_b: bool,
    /// What is done to the sums.
    pub fused: Fused,
}

const RIGHT: usize = 1;

impl MatMul {
    fn kernel(&self, left: &Shape, right: &Shape) -> Result<Kernel, OpError> {
        let (k, n) = if self.transpose_b { (right[1], right[0]) } else { (right[0], right[1]) };
        let m = match (self.transpose_a, left.split_last()) {
            (true, _) => left[1],
            (false, Some((_, rows))) => rows.iter().product(),
            (false, None) => return Err(OpError::Internal("a product of a scalar")),
        };
        Ok(Kernel::new(Isa::detect(), m, k, n, self.transpose_a, self.transpose_b)?)
    }

    /// Rows of the stored right-hand side in a block of a streamed pass; at least one, however small the window.
    fn block_rows(kernel: &Kernel, call: &Call<'_>) -> usize {
        kernel.block_rows(call.window_bytes).unwrap_or(1)
    }
}

impl Operator for MatMul {
    fn name(&self) -> &'static str {
        "MatMul"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (left, right) = (super::input(inputs, 0)?, super::input(inputs, RIGHT)?);
        super::need_type(0, left, &[DType::F32])?;
        super::need_type(RIGHT, right, &[DType::F32])?;
        let right_dims = super::dims_of_rank(RIGHT, right, 2)?.unwrap_or(vec![Dim::Unknown; 2]);
        let (k, n) =
            if self.transpose_b { (right_dims[1], right_dims[0]) } else { (right_dims[0], right_dims[1]) };
        let mut dims = match left.dims.get() {
            None => return Ok(vec![Fact::new(DType::F32, Dims::UNKNOWN)]),
            Some([a, b]) if self.transpose_a => vec![*b, *a],
            Some(dims) if dims.len() >= 2 && !self.transpose_a => dims.to_vec(),
            Some(_) => return Err(OpError::input(0, format!("is of shape {}, no matrix", left.dims))),
        };
        if let Some(depth) = dims.last_mut() {
            if let (Dim::Known(a), Dim::Known(b)) = (*depth, k)
                && a != b
            {
                return Err(OpError::input(RIGHT, format!("has {b} rows where input 0 has {a} columns")));
            }
            *depth = n;
        }
        self.fused.check(inputs, n.size())?;
        Ok(vec![Fact::new(DType::F32, Dims::new(dims))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let Ok(kernel) = self.kernel(&call.inputs[0].shape, &call.inputs[RIGHT].shape) else {
            return Memory::default();
        };
        let form = match call.inputs[RIGHT].place {
            Place::Packed => WeightForm::Packed,
            Place::Streamed => WeightForm::Blocks { rows: Self::block_rows(&kernel, call) },
            Place::Value | Place::Resident => WeightForm::Unpacked,
        };
        self.fused.memory(kernel.scratch_bytes(call.threads, form), call.inputs[RIGHT].place)
    }

    fn weight(&self, call: &Call<'_>) -> Option<WeightUse> {
        let right = call.inputs[RIGHT].shape;
        let kernel = self.kernel(&call.inputs[0].shape, &right).ok()?;
        let (k, n) = if self.transpose_b { (right[1], right[0]) } else { (right[0], right[1]) };
        let layout = WeightLayout::Panels { k, n, is_transposed: self.transpose_b, groups: 1 };
        Some(WeightUse { input: RIGHT, layout, block_bytes: Self::block_rows(&kernel, call) * right[1] * 4 })
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (left, right) = (run.shape(0), run.shape(RIGHT));
        let [rows, columns] = right[..] else { return None };
        let (k, n) = if self.transpose_b { (columns, rows) } else { (rows, columns) };
        if self.transpose_a {
            let [depth, m] = left[..] else { return None };
            return if depth == k { reshape::set(run, 0, [m, n]) } else { None };
        }
        let (depth, rows) = left.split_last().filter(|(_, rows)| !rows.is_empty())?;
        (*depth == k).then_some(())?;
        reshape::set(run, 0, rows.iter().copied().chain([n]))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let right_shape = run.shape(RIGHT);
        let kernel = self.kernel(&run.shape(0), &right_shape)?;
        let (left, right) = (run.slice::<f32>(0)?, run.weight(RIGHT)?);
        let epilogue = self.fused.epilogue(run)?;
        let (output, scratch) = (run.out::<f32>(0)?, run.scratch()?);
        let pool = run.pool;
        match right {
            Weight::Packed(bytes) => {
                kernel.run(pool, left, Weights::Packed(bytes), output, epilogue, scratch)?
            }
            Weight::Dense(view) => {
                kernel.run(pool, left, Weights::Unpacked(view.bytes()), output, epilogue, scratch)?;
            }
            Weight::Streamed(stream) => {
                let row_bytes = right_shape[1] * 4;
                stream.blocks(&mut |offset, bytes| {
                    let block =
                        Block { first: offset as usize / row_bytes, count: bytes.len() / row_bytes, bytes };
                    Ok(kernel.accumulate(pool, left, block, output, epilogue, scratch)?)
                })?;
            }
        }
        Ok(())
    }

    fn as_product(&self) -> Option<&dyn Product> {
        Some(self)
    }
}

impl Product for MatMul {
    fn fused(&self) -> Fused {
        self.fused
    }

    fn with_fused(&self, fused: Fused) -> Arc<dyn Operator> {
        Arc::new(MatMul { fused, ..self.clone() })
    }
}
