//! Choosing and combining several tensors: Select, SelectV2, ClipByValue, AddN, AccumulateNV2.
//!
//! Select and SelectV2 take a bool condition and two tensors of one type, strings included: Select needs one shape,
//! the condition may be a scalar or say something for each row; SelectV2 broadcasts all three by numpy's rules.
//! ClipByValue is `max(min(x, high), low)`, each bound of the shape of `x` or a scalar; one that is NaN is none, and of complex numbers each part has its own. AddN and AccumulateNV2 sum tensors of one shape.
//! The output may take the memory of an input of its shape.

use tightfit_core::{DType, MAX_RANK};
use tightfit_kernels::{BinaryOp, Src, binary, clip, select};

use crate::dim::Dim;
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{reshaped, same_dims};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Select", import: |_| Ok(Box::new(Select { broadcasts: false })) },
    Registration { name: "SelectV2", import: |_| Ok(Box::new(Select { broadcasts: true })) },
    Registration { name: "ClipByValue", import: |_| Ok(Box::new(Clip)) },
    Registration { name: "AddN", import: |_| Ok(Box::new(AddN)) },
    Registration { name: "AccumulateNV2", import: |_| Ok(Box::new(AddN)) },
];

/// The most axes of TensorFlow's kernel for SelectV2.
const MAX_BROADCAST: usize = 8;

/// One of two elements.
#[derive(Debug)]
struct Select {
    broadcasts: bool,
}

impl Operator for Select {
    fn name(&self) -> &'static str {
        if self.broadcasts { "SelectV2" } else { "Select" }
    }

    fn grows_with(&self, input: usize) -> bool {
        input > 0
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (condition, a, b) =
            (shared::input(inputs, 0)?, shared::input(inputs, 1)?, shared::input(inputs, 2)?);
        shared::need_type(0, condition, &[DType::Bool])?;
        shared::need_type(2, b, &[a.dtype])?;
        let dims = if self.broadcasts {
            let both = shared::broadcast(a, b)?;
            let why =
                || OpError::input(0, format!("of shape {} does not broadcast with {both}", condition.dims));
            condition.dims.broadcast(&both).ok_or_else(why)?
        } else {
            let dims = same_dims([(1, a), (2, b)].into_iter())?;
            self.check_condition(condition, &dims)?;
            dims
        };
        Ok(vec![match chosen_values(condition, a, b) {
            Some(values) => Fact::of_dims(a.dtype, dims, &values),
            None => Fact::new(a.dtype, dims),
        }])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::overwrites(&[1, 2])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        if self.broadcasts {
            let both = reshape::broadcast(run.shape(1), run.shape(2))?;
            let shape = reshape::broadcast(run.shape(0), both)?;
            return run.set_output_shape(0, shape).ok();
        }
        let (condition, shape) = (run.shape(0), run.shape(1));
        let is_for_each_row = condition.rank() == 1 && shape.first() == condition.first();
        let fits = condition.rank() == 0 || condition == shape || is_for_each_row;
        (fits && run.shape(2) == shape).then_some(())?;
        reshape::same(run, 1)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let mut condition = run.input(0)?;
        let (a, b) = (run.src(1)?, run.src(2)?);
        let mut output = run.output(0)?;
        let rank = output.shape().rank();
        if self.broadcasts && rank > MAX_BROADCAST && output.shape().elements() > 0 {
            let why = format!("is of shape {}; at most {MAX_BROADCAST} axes are supported", output.shape());
            return Err(OpError::input(0, why));
        }
        if !self.broadcasts && condition.shape().rank() == 1 && rank > 1 {
            // A condition for each row is one for every element of it.
            let mut dims = [1; MAX_RANK];
            dims[0] = condition.shape()[0];
            condition = reshaped(condition, &dims[..rank])?;
        }
        Ok(select(run.pool, condition, a, b, &mut output)?)
    }
}

impl Select {
    fn check_condition(&self, condition: &Fact, dims: &crate::dim::Dims) -> Result<(), OpError> {
        let (Some(asked), Some(dims)) = (condition.dims.get(), dims.get()) else { return Ok(()) };
        let fits =
            |(a, b): (&Dim, &Dim)| a.known().zip(b.known()).is_none_or(|(a, b)| a == b || condition.is_bound);
        let is_right = match asked.len() {
            0 => true,
            1 if !dims.is_empty() => fits((&asked[0], &dims[0])),
            rank => rank == dims.len() && asked.iter().zip(dims).all(fits),
        };
        if is_right {
            return Ok(());
        }
        Err(OpError::input(0, format!("is of shape {}, not of the inputs' or for each row", condition.dims)))
    }
}

/// The elements of shapes that are chosen between by a known condition.
fn chosen_values(condition: &Fact, a: &Fact, b: &Fact) -> Option<Vec<Dim>> {
    let condition = condition.view()?.bytes();
    let (a, b) = (a.dims_value()?, b.dims_value()?);
    if a.len() != b.len() || ![1, a.len()].contains(&condition.len()) {
        return None;
    }
    let choose = |i: usize| if condition[i.min(condition.len() - 1)] != 0 { a[i] } else { b[i] };
    Some((0..a.len()).map(choose).collect())
}

/// Numbers within bounds.
#[derive(Debug)]
struct Clip;

impl Operator for Clip {
    fn name(&self) -> &'static str {
        "ClipByValue"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        if !(input.dtype.is_float() || input.dtype.is_integer() || input.dtype.is_complex()) {
            return Err(OpError::input(0, format!("is of type {}; numbers are needed", input.dtype)));
        }
        for i in 1..3 {
            let bound = shared::input(inputs, i)?;
            shared::need_type(i, bound, &[input.dtype])?;
            let is_scalar = bound.dims.rank() == Some(0);
            if !is_scalar && same_dims([(0, input), (i, bound)].into_iter()).is_err() {
                let why = format!("is of shape {}; {} or a scalar is needed", bound.dims, input.dims);
                return Err(OpError::input(i, why));
            }
        }
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    takes_over_its_input!();

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, low, high) = (run.src(0)?, run.input(1)?, run.input(2)?);
        Ok(clip(run.pool, input, low, high, &mut run.output(0)?)?)
    }
}

/// A sum of tensors.
#[derive(Debug)]
struct AddN;

impl Operator for AddN {
    fn name(&self) -> &'static str {
        "AddN"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let first = shared::input(inputs, 0)?;
        if !BinaryOp::Add.supports(first.dtype) {
            return Err(OpError::input(0, format!("is of type {}; numbers are needed", first.dtype)));
        }
        for (i, input) in inputs.iter().enumerate() {
            shared::need_type(i, input, &[first.dtype])?;
        }
        Ok(vec![Fact::new(first.dtype, same_dims(inputs.iter().copied().enumerate())?)])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        if call.inputs.len() == 1 {
            return Memory::alias(0);
        }
        // The order of a sum is part of its result, so a later input cannot be where it begins.
        Memory::overwrites(&[0, 1])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        (1..run.inputs()).all(|i| run.shape(i) == shape).then_some(())?;
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let dtype = run.output_dtype(0);
        let mut output = run.output(0)?;
        binary(run.pool, BinaryOp::Add, run.src(0)?, run.src(1)?, &mut output)?;
        for i in 2..run.inputs() {
            binary(run.pool, BinaryOp::Add, Src::InPlace(dtype), run.src(i)?, &mut output)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use tightfit_core::StringRef;

    #[test]
    fn selects() {
        let (a, b) = (tensor(&[2, 2], &[1f32, 2.0, 3.0, 4.0]), tensor(&[2, 2], &[5f32, 6.0, 7.0, 8.0]));
        let rows = bools(&[2], &[true, false]);
        let by_row = tensor(&[2, 2], &[1f32, 2.0, 7.0, 8.0]);
        let by_column = tensor(&[2, 2], &[1f32, 6.0, 3.0, 8.0]);
        check("Select", &[], &[rows.clone(), a.clone(), b.clone()], &[by_row]);
        check("SelectV2", &[], &[rows.clone(), a.clone(), b.clone()], &[by_column]);
        check("Select", &[], &[bools(&[], &[false]), a.clone(), b.clone()], &[b.clone()]);
        let wide = tensor(&[2, 2], &[9f32, 2.0, 9.0, 4.0]);
        check("SelectV2", &[], &[bools(&[2], &[true, false]), scalar(9f32), a.clone()], &[wide]);
        refuses("Select", &[], &[rows.clone(), a.clone(), scalar(1f32)], "shape");
        refuses("Select", &[], &[bools(&[3], &[true; 3]), a.clone(), b.clone()], "each row");
        refuses("SelectV2", &[], &[bools(&[3], &[true; 3]), a, b], "broadcast");
        let text = |offset| StringRef { offset, bytes: 1 };
        let (x, y) = (tensor(&[2], &[text(0), text(1)]), tensor(&[2], &[text(2), text(3)]));
        check("SelectV2", &[], &[rows, x, y], &[tensor(&[2], &[text(0), text(3)])]);
    }

    #[test]
    fn clips_and_adds() {
        let x = tensor(&[3], &[-2f32, 0.5, 9.0]);
        check(
            "ClipByValue",
            &[],
            &[x.clone(), scalar(-1f32), scalar(1f32)],
            &[tensor(&[3], &[-1f32, 0.5, 1.0])],
        );
        let low = tensor(&[3], &[0i32, 0, 0]);
        check(
            "ClipByValue",
            &[],
            &[tensor(&[3], &[-3i32, 1, 9]), low, scalar(5i32)],
            &[tensor(&[3], &[0i32, 1, 5])],
        );
        refuses("ClipByValue", &[], &[scalar(1f32), x.clone(), scalar(1f32)], "scalar");
        refuses("ClipByValue", &[], &[x.clone(), tensor(&[1], &[1f32]), scalar(1f32)], "scalar");
        let ends =
            |low: f32, high: f32| run("ClipByValue", &[], &[x.clone(), scalar(low), scalar(high)]).unwrap();
        assert_eq!(ends(1.0, -1.0)[0].values::<f32>(), [1.0; 3]);
        assert_eq!(ends(f32::NAN, 1.0)[0].values::<f32>(), [-2.0, 0.5, 1.0]);
        assert_eq!(ends(0.0, f32::NAN)[0].values::<f32>(), [0.0, 0.5, 9.0]);
        let sum = tensor(&[3], &[-6f32, 1.5, 27.0]);
        check("AddN", &[], &[x.clone(), x.clone(), x.clone()], &[sum]);
        check("AccumulateNV2", &[], &[x.clone()], &[x.clone()]);
        refuses("AddN", &[], &[x, scalar(1f32)], "shape");
    }
}
