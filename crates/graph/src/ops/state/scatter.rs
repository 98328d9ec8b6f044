//! Slices of variables that indices name: ScatterUpdate, -Add, -Sub, -Mul, -Div, -Min and -Max name them along the first axis,
//! ScatterNdUpdate, -Add, -Sub, -Min and -Max along several; and the same with `Resource` before them.
//!
//! The variable is the first input, then come the indices (int32 or int64) and the updates, of the shape of the indices and the
//! other axes of the variable, or one for all of them. The output is what the variable is from then on. An index out of range
//! is an error. Those with `Nd` are the operators of [`scatter`](crate::ops::array::scatter).

use tightfit_core::{DType, Shape, TensorView};
use tightfit_kernels::{BadIndex, Combine, copy, scatter_nd, scatter_one};

use crate::fact::Fact;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::array::scatter::scatter;
use crate::ops::shared;
use crate::ops::shared::extent::need_index_type;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "ScatterUpdate", import: |_| of_rows("ScatterUpdate", Combine::Update) },
    Registration { name: "ScatterAdd", import: |_| of_rows("ScatterAdd", Combine::Add) },
    Registration { name: "ScatterSub", import: |_| of_rows("ScatterSub", Combine::Sub) },
    Registration { name: "ScatterMul", import: |_| of_rows("ScatterMul", Combine::Mul) },
    Registration { name: "ScatterDiv", import: |_| of_rows("ScatterDiv", Combine::Div) },
    Registration { name: "ScatterMin", import: |_| of_rows("ScatterMin", Combine::Min) },
    Registration { name: "ScatterMax", import: |_| of_rows("ScatterMax", Combine::Max) },
    Registration { name: "ResourceScatterUpdate", import: |_| of_rows("ScatterUpdate", Combine::Update) },
    Registration { name: "ResourceScatterAdd", import: |_| of_rows("ScatterAdd", Combine::Add) },
    Registration { name: "ResourceScatterSub", import: |_| of_rows("ScatterSub", Combine::Sub) },
    Registration { name: "ResourceScatterMul", import: |_| of_rows("ScatterMul", Combine::Mul) },
    Registration { name: "ResourceScatterDiv", import: |_| of_rows("ScatterDiv", Combine::Div) },
    Registration { name: "ResourceScatterMin", import: |_| of_rows("ScatterMin", Combine::Min) },
    Registration { name: "ResourceScatterMax", import: |_| of_rows("ScatterMax", Combine::Max) },
    Registration { name: "ScatterNdUpdate", import: |a| scatter(a, Combine::Update) },
    Registration { name: "ScatterNdAdd", import: |a| scatter(a, Combine::Add) },
    Registration { name: "ScatterNdSub", import: |a| scatter(a, Combine::Sub) },
    Registration { name: "ScatterNdMin", import: |a| scatter(a, Combine::Min) },
    Registration { name: "ScatterNdMax", import: |a| scatter(a, Combine::Max) },
    Registration { name: "ResourceScatterNdUpdate", import: |a| scatter(a, Combine::Update) },
    Registration { name: "ResourceScatterNdAdd", import: |a| scatter(a, Combine::Add) },
    Registration { name: "ResourceScatterNdSub", import: |a| scatter(a, Combine::Sub) },
    Registration { name: "ResourceScatterNdMin", import: |a| scatter(a, Combine::Min) },
    Registration { name: "ResourceScatterNdMax", import: |a| scatter(a, Combine::Max) },
];

fn of_rows(name: &'static str, how: Combine) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(ScatterRows { name, how }))
}

/// Updates of slices along the first axis.
#[derive(Debug)]
struct ScatterRows {
    name: &'static str,
    how: Combine,
}

/// Checks that there is an update for each index, or one for all.
fn check_updates(variable: &[usize], indices: &[usize], updates: &[usize]) -> Result<(), OpError> {
    let rows = variable.get(1..).unwrap_or_default();
    if updates.is_empty() || updates.iter().eq(indices.iter().chain(rows)) {
        return Ok(());
    }
    let why = format!("is of shape {updates:?}; indices {indices:?} and slices {rows:?} are needed");
    Err(OpError::input(2, why))
}

impl Operator for ScatterRows {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (variable, indices, updates) =
            (shared::input(inputs, 0)?, shared::input(inputs, 1)?, shared::input(inputs, 2)?);
        need_index_type(1, indices)?;
        shared::need_type(2, updates, &[variable.dtype])?;
        if variable.dims.rank() == Some(0) {
            return Err(OpError::input(0, "is a scalar; a first axis is needed"));
        }
        let is_number = match self.how {
            Combine::Update => true,
            Combine::Min | Combine::Max => variable.dtype.is_float() || variable.dtype.is_integer(),
            _ => variable.dtype != DType::Bool && variable.dtype != DType::String,
        };
        if !is_number {
            return Err(OpError::input(0, format!("is of type {}; numbers are needed", variable.dtype)));
        }
        if let (Some(of), Some(at), Some(by)) =
            (variable.dims.concrete(), indices.dims.concrete(), updates.dims.concrete())
            && !indices.is_bound
            && !updates.is_bound
        {
            check_updates(&of, &at, &by)?;
        }
        Ok(vec![Fact::new(variable.dtype, variable.dims.clone())])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::overwrites(&[0])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (indices, updates) = (run.input(1)?, run.input(2)?);
        check_updates(&run.output_shape(0), indices.shape(), updates.shape())?;
        let tensor = if run.is_in_place(0) { None } else { Some(run.input(0)?) };
        let mut output = run.output(0)?;
        if let Some(tensor) = tensor {
            copy(run.pool, tensor, &mut output)?;
        }
        // An index is a place in one axis.
        let places = Shape::new(&[indices.shape().elements(), 1])?;
        let indices = TensorView::new(indices.dtype(), places, indices.bytes())
            .ok_or(OpError::Internal("indices under another shape are not as many"))?;
        let combine = if updates.shape().rank() == 0 { scatter_one } else { scatter_nd };
        Ok(combine(self.how, BadIndex::Refused, indices, updates, &mut output)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn rows_are_combined_in_the_order_of_their_indices() {
        let x = tensor(&[3, 2], &[8f32, 6.0, 4.0, 2.0, 1.0, 0.5]);
        let at = tensor(&[1, 2], &[2i64, 2]);
        let by = tensor(&[1, 2, 2], &[2f32, 3.0, 4.0, -1.0]);
        let run = |op, last: [f32; 2]| {
            let inputs = [x.clone(), at.clone(), by.clone()];
            check(op, &[], &inputs, &[tensor(&[3, 2], &[8.0, 6.0, 4.0, 2.0, last[0], last[1]])]);
        };
        run("ScatterUpdate", [4.0, -1.0]);
        run("ResourceScatterAdd", [7.0, 2.5]);
        run("ScatterSub", [-5.0, -1.5]);
        run("ScatterMul", [8.0, -1.5]);
        run("ResourceScatterDiv", [0.125, 0.5 / 3.0 / -1.0]);
        run("ScatterMin", [1.0, -1.0]);
        run("ScatterMax", [4.0, 3.0]);
        let all = [tensor(&[2, 2], &[7i32, 8, 9, 10]), scalar(1i32), scalar(-3i32)];
        check("ScatterDiv", &[], &all, &[tensor(&[2, 2], &[7i32, 8, -3, -3])]);
        check("ScatterUpdate", &[], &all, &[tensor(&[2, 2], &[7i32, 8, -3, -3])]);
        let zero = [all[0].clone(), all[1].clone(), scalar(0i32)];
        refuses("ScatterDiv", &[], &zero, "zero");
        refuses("ScatterAdd", &[], &[x.clone(), tensor(&[1], &[3i32]), tensor(&[1, 2], &[0f32; 2])], "3");
        refuses("ScatterAdd", &[], &[x.clone(), tensor(&[1], &[0i32]), tensor(&[1], &[0f32])], "needed");
        refuses("ScatterAdd", &[], &[scalar(1f32), scalar(0i32), scalar(1f32)], "scalar");
    }

    #[test]
    fn places_of_several_axes_are_combined() {
        let inputs =
            [tensor(&[2, 2], &[1f32, 2.0, 3.0, 4.0]), tensor(&[1, 2], &[1i32, 0]), tensor(&[1], &[9f32])];
        check("ScatterNdUpdate", &[], &inputs, &[tensor(&[2, 2], &[1f32, 2.0, 9.0, 4.0])]);
        check("ResourceScatterNdSub", &[], &inputs, &[tensor(&[2, 2], &[1f32, 2.0, -6.0, 4.0])]);
        let at = tensor(&[3, 1], &[0i32, 0, 1]);
        let truths = [bools(&[2], &[false, true]), at, bools(&[3], &[true, true, false])];
        check("ScatterNdAdd", &[], &truths, &[bools(&[2], &[true, true])]);
        check("ScatterNdSub", &[], &truths, &[bools(&[2], &[false, true])]);
        refuses("TensorScatterAdd", &[], &truths, "numbers are needed");
    }
}
