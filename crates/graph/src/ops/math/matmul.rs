//! MatMul: `[m, k]` times `[k, n]`, either transposed.
//!
//! float32 (float16 and bfloat16 are converted around it; other types are [`super::batch_matmul::BatchMatMul`]'s). The left-hand side of what passes make has more axes:
//! `[.., k]` gives `[.., n]`, a dense layer over a sequence.
//!
//! A constant right-hand side is a weight: read into the kernel's panels when it is resident, multiplied block by block
//! of its rows when it is streamed. See [`crate::operator::product`] for the inputs after it.

use std::sync::Arc;

use tightfit_core::{DType, Shape};
use tightfit_kernels::{Isa, MatMul as Kernel};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::product::{Fused, Product};
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Run, WeightUse};
use crate::ops::math::batch_matmul::{Batch, BatchMatMul};
use crate::ops::shared;
use crate::ops::shared::weighted;

pub(crate) const OPS: &[Registration] = &[Registration { name: "MatMul", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let transpose_a = attributes.bool_or("transpose_a", false)?;
    let transpose_b = attributes.bool_or("transpose_b", false)?;
    match attributes.dtype_or("T", DType::F32)? {
        DType::F32 | DType::F16 | DType::BF16 => {
            Ok(Box::new(MatMul { transpose_a, transpose_b, has_rows: false, fused: Fused::default() }))
        }
        _ => Ok(Box::new(BatchMatMul {
            adj_x: transpose_a,
            adj_y: transpose_b,
            batch: Batch::None,
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
    /// The left-hand side may have more axes, as a dense layer's has that passes make.
    pub has_rows: bool,
    /// What is done to the sums.
    pub fused: Fused,
}

const RIGHT: usize = weighted::WEIGHT;

impl MatMul {
    fn kernel(&self, isa: Isa, left: &Shape, right: &Shape) -> Result<Kernel, OpError> {
        let (k, n) = if self.transpose_b { (right[1], right[0]) } else { (right[0], right[1]) };
        let m = match (self.transpose_a, left.split_last()) {
            (true, _) => left[1],
            (false, Some((_, rows))) => rows.iter().product(),
            (false, None) => return Err(OpError::Internal("a product of a scalar")),
        };
        Ok(Kernel::new(isa, m, k, n, self.transpose_a, self.transpose_b)?)
    }

    fn planned(&self, call: &Call<'_>) -> Option<Kernel> {
        self.kernel(call.isa, &call.inputs[0].shape, &call.inputs[RIGHT].shape).ok()
    }
}

impl Operator for MatMul {
    fn name(&self) -> &'static str {
        "MatMul"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (left, right) = (shared::input(inputs, 0)?, shared::input(inputs, RIGHT)?);
        shared::need_type(0, left, &[DType::F32])?;
        shared::need_type(RIGHT, right, &[DType::F32])?;
        let right_dims = shared::dims_of_rank(RIGHT, right, 2)?.unwrap_or(vec![Dim::Unknown; 2]);
        let (k, n) =
            if self.transpose_b { (right_dims[1], right_dims[0]) } else { (right_dims[0], right_dims[1]) };
        let mut dims = match left.dims.get() {
            None => return Ok(vec![Fact::new(DType::F32, Dims::UNKNOWN)]),
            Some([a, b]) if self.transpose_a => vec![*b, *a],
            Some(dims) if dims.len() == 2 || (dims.len() > 2 && self.has_rows) => dims.to_vec(),
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
        self.planned(call).map_or(Memory::default(), |kernel| weighted::memory(&kernel, &self.fused, call))
    }

    fn operations(&self, call: &Call<'_>) -> Option<f64> {
        shared::operations(call, call.inputs.get(RIGHT)?.shape.elements())
    }

    fn weight(&self, call: &Call<'_>) -> Option<WeightUse> {
        Some(weighted::weight_use(&self.planned(call)?, call, self.transpose_b, 1))
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
        let kernel = self.kernel(run.pool.isa(), &run.shape(0), &run.shape(RIGHT))?;
        weighted::run(&kernel, &self.fused, 0, run)
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

#[cfg(test)]
mod tests {
    use crate::testing::{dtype, refuses, tensor};
    use tightfit_core::DType;

    #[test]
    fn takes_matrices_alone() {
        let (row, cube) = (tensor(&[1, 3], &[1.0f32; 3]), tensor(&[1, 3, 1], &[1.0f32; 3]));
        refuses(
            "MatMul",
            &[],
            &[tensor(&[1, 1, 3], &[1.0f32; 3]), tensor(&[3, 1], &[1.0f32; 3])],
            "no matrix",
        );
        refuses("MatMul", &[], &[row, cube], "rank 2");
        let doubles = [tensor(&[1, 1, 3], &[1.0f64; 3]), tensor(&[3, 1], &[1.0f64; 3])];
        refuses("MatMul", &[("T", dtype(DType::F64))], &doubles, "before the last two");
    }
}
