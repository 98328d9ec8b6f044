//! Rows of a tensor changed: InplaceUpdate, InplaceAdd and InplaceSub.
//!
//! Inputs: a tensor of at least one axis, a vector of rows (int32), and an update for each, of the tensor's other axes. A row that is
//! not there is counted around from the end or the start. The output is the whole tensor, whose memory it may take. InplaceUpdate is of
//! any type, the others of numbers.

use tightfit_core::{DType, Shape, TensorView};
use tightfit_kernels::{BadIndex, Combine, copy, scatter_nd};

use crate::fact::Fact;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::Indices;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "InplaceUpdate",
        import: |_| Ok(Box::new(Inplace { name: "InplaceUpdate", how: Combine::Update })),
    },
    Registration {
        name: "InplaceAdd",
        import: |_| Ok(Box::new(Inplace { name: "InplaceAdd", how: Combine::Add })),
    },
    Registration {
        name: "InplaceSub",
        import: |_| Ok(Box::new(Inplace { name: "InplaceSub", how: Combine::Sub })),
    },
];

/// Rows changed.
#[derive(Debug)]
struct Inplace {
    name: &'static str,
    how: Combine,
}

const ROWS: usize = 1;
const UPDATES: usize = 2;

impl Operator for Inplace {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (tensor, rows, updates) =
            (shared::input(inputs, 0)?, shared::input(inputs, ROWS)?, shared::input(inputs, UPDATES)?);
        let is_number = tensor.dtype.is_float() || tensor.dtype.is_integer() || tensor.dtype.is_complex();
        if self.how != Combine::Update && !is_number {
            return Err(OpError::input(0, format!("is of type {}; numbers are needed", tensor.dtype)));
        }
        shared::need_type(ROWS, rows, &[DType::I32])?;
        shared::need_type(UPDATES, updates, &[tensor.dtype])?;
        shared::dims_of_rank(ROWS, rows, 1)?;
        if tensor.dims.rank() == Some(0) {
            return Err(OpError::input(0, "is a scalar; a first axis is needed"));
        }
        if let (Some(a), Some(b)) = (tensor.dims.rank(), updates.dims.rank())
            && a != b
        {
            return Err(OpError::input(UPDATES, format!("is of shape {} for {}", updates.dims, tensor.dims)));
        }
        Ok(vec![Fact::new(tensor.dtype, tensor.dims.clone())])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let rows = call.inputs.get(ROWS).map_or(0, |rows| rows.shape.elements());
        Memory { scratch_bytes: rows.saturating_mul(size_of::<i64>()), ..Memory::overwrites(&[0]) }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (rows, updates) = (Indices::new(run, ROWS)?, run.input(UPDATES)?);
        let shape = run.output_shape(0);
        if updates.shape().first() != Some(&rows.len()) || updates.shape().get(1..) != shape.get(1..) {
            let why = format!("is of shape {} for {} rows of {shape}", updates.shape(), rows.len());
            return Err(OpError::input(UPDATES, why));
        }
        let count = shape.first().copied().unwrap_or(0) as i64;
        if count == 0 && rows.len() > 0 {
            return Err(OpError::input(ROWS, "names rows of a tensor that has none"));
        }
        let wrapped = &mut run.scratch_of::<i64>()?[..rows.len()];
        wrapped.iter_mut().enumerate().for_each(|(n, to)| *to = rows.get(n).rem_euclid(count.max(1)));
        let places =
            TensorView::new(DType::I64, Shape::new(&[rows.len(), 1])?, bytemuck::cast_slice(&*wrapped))
                .ok_or(OpError::Internal("rows are not as many as their bytes"))?;
        let before = if run.is_in_place(0) { None } else { Some(run.input(0)?) };
        let mut output = run.output(0)?;
        if let Some(before) = before {
            copy(run.pool, before, &mut output)?;
        }
        Ok(scatter_nd(self.how, BadIndex::Refused, places, updates, &mut output)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn rows_are_counted_around() {
        let x = tensor(&[3, 1], &[1i32, 2, 3]);
        let (rows, by) = (tensor(&[3], &[-1i32, 4, 4]), tensor(&[3, 1], &[10i32, 20, 30]));
        let inputs = [x, rows, by];
        check("InplaceUpdate", &[], &inputs, &[tensor(&[3, 1], &[1i32, 30, 10])]);
        check("InplaceAdd", &[], &inputs, &[tensor(&[3, 1], &[1i32, 52, 13])]);
        check("InplaceSub", &[], &inputs, &[tensor(&[3, 1], &[1i32, -48, -7])]);
        let mut short = inputs;
        short[2] = tensor(&[2, 1], &[1i32, 2]);
        refuses("InplaceAdd", &[], &short, "for 3 rows");
    }
}
