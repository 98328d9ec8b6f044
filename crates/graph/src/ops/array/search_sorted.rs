//! Where values would stand in sorted rows: LowerBound and UpperBound.
//!
//! Inputs: sorted rows `[rows, n]` and values `[rows, m]` of one number type. Output: int32 or int64 `[rows, m]`, how many
//! elements of the row are less than the value, or for UpperBound not more.

use tightfit_core::DType;
use tightfit_kernels::search_sorted;

use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;
use crate::ops::shared::extent::agree;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "LowerBound", import: |attributes| import(attributes, false) },
    Registration { name: "UpperBound", import: |attributes| import(attributes, true) },
];

fn import(attributes: &Attributes<'_>, upper: bool) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Bound { upper, dtype: attributes.dtype_or("out_type", DType::I32)? }))
}

/// The operator.
#[derive(Debug)]
struct Bound {
    upper: bool,
    dtype: DType,
}

impl Operator for Bound {
    fn name(&self) -> &'static str {
        if self.upper { "UpperBound" } else { "LowerBound" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (sorted, wanted) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        if !(sorted.dtype.is_float() || sorted.dtype.is_integer()) {
            return Err(OpError::input(0, format!("is of type {}; numbers are needed", sorted.dtype)));
        }
        shared::need_type(1, wanted, &[sorted.dtype])?;
        let rows = shared::dims_of_rank(0, sorted, 2)?.map(|dims| dims[0]);
        let Some(dims) = shared::dims_of_rank(1, wanted, 2)? else {
            return Ok(vec![Fact::new(self.dtype, Dims::of_rank(2))]);
        };
        let is_bound = sorted.is_bound || wanted.is_bound;
        let rows = match rows {
            None => dims[0],
            Some(rows) => agree(rows, dims[0], is_bound).ok_or_else(|| {
                OpError::input(1, format!("is of shape {} for rows of shape {}", wanted.dims, sorted.dims))
            })?,
        };
        Ok(vec![Fact::new(self.dtype, Dims::new([rows, dims[1]]))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (sorted, wanted) = (run.input(0)?, run.input(1)?);
        Ok(search_sorted(run.pool, self.upper, sorted, wanted, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, dtype, refuses, tensor};
    use tightfit_core::DType;

    #[test]
    fn finds_places() {
        let sorted = tensor(&[2, 4], &[1.0f32, 2.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0]);
        let wanted = tensor(&[2, 3], &[2.0f32, f32::NAN, 9.0, -1.0, 3.0, 0.5]);
        let inputs = [sorted.clone(), wanted];
        check("LowerBound", &[], &inputs, &[tensor(&[2, 3], &[1i32, 0, 4, 0, 3, 1])]);
        let wide = [("out_type", dtype(DType::I64))];
        check("UpperBound", &wide, &inputs, &[tensor(&[2, 3], &[3i64, 4, 4, 0, 4, 1])]);
        refuses("LowerBound", &[], &[sorted, tensor(&[1, 1], &[1.0f32])], "for rows of");
    }
}
