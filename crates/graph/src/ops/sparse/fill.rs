//! Rows without elements: SparseFillEmptyRows, RaggedFillEmptyRows.
//!
//! A sparse tensor, and the value that an element in the first column of each empty row gets; outputs are coordinates and
//! values with those, which rows were empty, and where each element went. The ragged one takes the row of each value and
//! the number of rows in place of coordinates and a shape. There are at most as many elements more as there are rows.

use tightfit_core::{DType, MAX_RANK, Shape};
use tightfit_kernels::{Coordinates, fill_empty_rows};

use super::common::{Parts, at_most_rows, room, room_bytes};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "SparseFillEmptyRows",
        import: |_| Ok(Box::new(FillEmptyRows { is_ragged: false })),
    },
    Registration { name: "RaggedFillEmptyRows", import: |_| Ok(Box::new(FillEmptyRows { is_ragged: true })) },
];

/// The operator.
#[derive(Debug)]
struct FillEmptyRows {
    /// Rows come by themselves, without other coordinates.
    is_ragged: bool,
}

impl FillEmptyRows {
    /// How many rows there are; TensorFlow does not look at the other dimensions.
    fn rows(&self, run: &Run<'_>) -> Result<usize, OpError> {
        let rows = *run.ints::<MAX_RANK>(2)?.first().ok_or_else(|| OpError::input(2, "has no dimensions"))?;
        usize::try_from(rows).map_err(|_| OpError::input(2, format!("has {rows} rows")))
    }
}

impl Operator for FillEmptyRows {
    fn name(&self) -> &'static str {
        if self.is_ragged { "RaggedFillEmptyRows" } else { "SparseFillEmptyRows" }
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 2
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (values, default) = (shared::input(inputs, 1)?, shared::input(inputs, 3)?);
        shared::need_type(3, default, &[values.dtype])?;
        shared::dims_of_rank(3, default, 0)?;
        let (count, rest) = if self.is_ragged {
            for index in 0..2 {
                shared::dims_of_rank(index, shared::input(inputs, index)?, 1)?;
            }
            shared::need_type(0, shared::input(inputs, 0)?, &[DType::I64])?;
            shared::need_type(2, shared::input(inputs, 2)?, &[DType::I64])?;
            shared::dims_of_rank(2, inputs[2], 0)?;
            let count = values.dims.get().or(inputs[0].dims.get()).map_or(Dim::Unknown, |dims| dims[0]);
            (count, vec![])
        } else {
            let (count, rank) = Parts::from(0).infer(inputs)?;
            if rank == Dim::Known(0) {
                return Err(OpError::input(2, "has no dimensions"));
            }
            (count, vec![rank])
        };
        let rows = match shared::input(inputs, 2)?.dims_value().and_then(|dims| dims.first().copied()) {
            Some(rows) => shared::extent::not_negative(2, rows)?,
            None => Dim::Unknown,
        };
        let most = count.plus(rows);
        Ok(vec![
            at_most_rows(DType::I64, most, &rest),
            at_most_rows(values.dtype, most, &[]),
            Fact::new(DType::Bool, Dims::new([rows])),
            Fact::new(DType::I64, Dims::new([count])),
        ])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        shared::extent::check_open_shape(2, shared::input(inputs, 2)?)
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let rows = call.outputs.get(2).map_or(0, |rows| rows.shape.elements());
        Memory::scratch(room_bytes::<u64>(rows))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        // How many elements there are the run finds.
        let rows = self.rows(run).ok()?;
        reshape::set(run, 2, [rows])?;
        reshape::set(run, 3, [run.shape(1).elements()])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let rows = self.rows(run)?;
        let coordinates = if self.is_ragged {
            Coordinates::new(run.slice(0)?, run.shape(1).elements(), 1)?
        } else {
            Parts::from(0).coordinates(run)?
        };
        if rows == 0 && !coordinates.is_empty() {
            return Err(OpError::input(2, format!("has no rows for {} elements", coordinates.len())));
        }
        let (values, default) = (run.input(1)?.bytes(), run.input(3)?.bytes());
        let (empty, reverse) = (run.out_bytes(2)?, run.out::<i64>(3)?);
        let (next, _) = room::<u64>(run.scratch()?, rows)?;
        let elements = (values, default);
        let count = fill_empty_rows(&coordinates, elements, next, empty, reverse, None)?;
        let shape =
            if self.is_ragged { Shape::new(&[count])? } else { Shape::new(&[count, coordinates.rank()])? };
        run.set_output_shape(0, shape)?;
        run.set_output_shape(1, Shape::new(&[count])?)?;
        let outputs = (run.out(0)?, run.out_bytes(1)?);
        fill_empty_rows(&coordinates, elements, next, empty, reverse, Some(outputs))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{bools, check, refuses, scalar, tensor};

    #[test]
    fn empty_rows_get_an_element() {
        let inputs = [
            tensor(&[3, 2], &[2i64, 1, 0, 3, 2, 0]),
            tensor(&[3], &[7i32, 8, 9]),
            tensor(&[2], &[4i64, 5]),
            scalar(-1i32),
        ];
        let filled = [
            tensor(&[5, 2], &[0i64, 3, 1, 0, 2, 1, 2, 0, 3, 0]),
            tensor(&[5], &[8i32, -1, 7, 9, -1]),
            bools(&[4], &[false, true, false, true]),
            tensor(&[3], &[2i64, 0, 3]),
        ];
        check("SparseFillEmptyRows", &[], &inputs, &filled);
        let mut outside = inputs.to_vec();
        outside[2] = tensor(&[2], &[2i64, 5]);
        refuses("SparseFillEmptyRows", &[], &outside, "not in [0, 2)");
        let ragged = [tensor(&[2], &[1i64, 1]), tensor(&[2], &[3f32, 4.0]), scalar(2i64), scalar(0f32)];
        let filled = [
            tensor(&[3], &[0i64, 1, 1]),
            tensor(&[3], &[0f32, 3.0, 4.0]),
            bools(&[2], &[true, false]),
            tensor(&[2], &[1i64, 2]),
        ];
        check("RaggedFillEmptyRows", &[], &ragged, &filled);
    }
}
