//! The largest elements of each row, the last axis: TopK, TopKV2 and ApproxTopK (values and their places, the largest
//! first), NthElement, and InTopK and InTopKV2 (whether a class is among the likeliest).
//!
//! k is an attribute of TopK, ApproxTopK and InTopK, an input of the others. Types: numbers; places are int32, or what
//! `index_type` says. Of equal elements the first comes first. ApproxTopK finds the very largest, as TensorFlow's does on
//! a CPU, where there is none of the smallest or along another axis.

use tightfit_core::{DType, Shape};
use tightfit_kernels::{TopOrder, nth_element, top_k};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "TopK",
        import: |attributes| {
            let is_sorted = attributes.bool_or("sorted", true)?;
            Ok(Box::new(TopK { k: Some(attributes.count("k")?), places: DType::I32, is_sorted }))
        },
    },
    Registration { name: "TopKV2", import: import_v2 },
    Registration { name: "ApproxTopK", import: import_approximate },
    Registration {
        name: "NthElement",
        import: |attributes| Ok(Box::new(NthElement { is_reversed: attributes.bool_or("reverse", false)? })),
    },
    Registration {
        name: "InTopK",
        import: |attributes| Ok(Box::new(InTopK { k: Some(attributes.int("k")?) })),
    },
    Registration { name: "InTopKV2", import: |_| Ok(Box::new(InTopK { k: None })) },
];

fn import_v2(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let places = attributes.dtype_or("index_type", DType::I32)?;
    if !matches!(places, DType::I16 | DType::I32 | DType::I64) {
        return Err(OpError::attribute(
            "index_type",
            format!("is {places}; int16, int32 and int64 are supported"),
        ));
    }
    Ok(Box::new(TopK { k: None, places, is_sorted: attributes.bool_or("sorted", true)? }))
}

fn import_approximate(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    if !attributes.bool_or("is_max_k", true)? {
        return Err(OpError::attribute("is_max_k", "is false; the largest elements are found"));
    }
    let recall = attributes.float_or("recall_target", 0.95)?;
    if recall <= 0.0 || recall > 1.0 {
        return Err(OpError::attribute(
            "recall_target",
            format!("is {recall}; more than 0 and at most 1 is needed"),
        ));
    }
    match attributes.int_or("reduction_dimension", -1)? {
        -1 => Ok(Box::new(TopK { k: Some(attributes.count("k")?), places: DType::I32, is_sorted: true })),
        axis => Err(OpError::attribute("reduction_dimension", format!("is {axis}; the last axis is -1"))),
    }
}

fn need_number(input: &Fact) -> Result<(), OpError> {
    if input.dtype.is_float() || input.dtype.is_integer() {
        return Ok(());
    }
    Err(OpError::input(0, format!("is of type {}; numbers are needed", input.dtype)))
}

/// TopK.
#[derive(Debug)]
struct TopK {
    /// `None` where it is an input.
    k: Option<usize>,
    places: DType,
    /// The largest first. Otherwise TensorFlow leaves the order open; it is the same as TensorFlow's on a CPU.
    is_sorted: bool,
}

/// The one integer of an input that counts.
fn count(input: usize, values: &[i64]) -> Result<usize, OpError> {
    let value = values.first().copied().ok_or_else(|| OpError::input(input, "is not a number"))?;
    usize::try_from(value).map_err(|_| OpError::input(input, format!("is {value}; it must not be negative")))
}

impl Operator for TopK {
    fn name(&self) -> &'static str {
        "TopKV2"
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        need_number(input)?;
        let k = match self.k {
            Some(k) => Some(k),
            None => {
                let k = shared::input(inputs, 1)?;
                shared::need_type(1, k, &[DType::I16, DType::I32, DType::I64])?;
                k.ints().map(|values| count(1, &values)).transpose()?
            }
        };
        let Some(dims) = input.dims.get() else {
            return Ok(vec![Fact::new(input.dtype, Dims::UNKNOWN), Fact::new(self.places, Dims::UNKNOWN)]);
        };
        let mut dims = dims.to_vec();
        let last = dims.last_mut().ok_or_else(|| OpError::input(0, "is a scalar; rows are needed"))?;
        let Some(k) = k else {
            // As many as a row has at most.
            let axis = dims.len() - 1;
            let dims = Dims::new(dims);
            return Ok(vec![
                Fact::at_most_along(input.dtype, dims.clone(), axis),
                Fact::at_most_along(self.places, dims, axis),
            ]);
        };
        if let Some(elements) = last.size()
            && elements < k
        {
            return Err(OpError::input(0, format!("has rows of {elements}, fewer than the {k} asked for")));
        }
        *last = Dim::Known(k as i64);
        let dims = Dims::new(dims);
        Ok(vec![Fact::new(input.dtype, dims.clone()), Fact::new(self.places, dims)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        let k = match self.k {
            Some(k) => k,
            None => usize::try_from(reshape::int(run, 1)?).ok()?,
        };
        let (last, rows) = shape.split_last()?;
        (k <= *last).then_some(())?;
        let shape = reshape::shape(rows.iter().copied().chain([k]))?;
        (0..2).try_for_each(|output| run.set_output_shape(output, shape).ok())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        if self.k.is_none() {
            let k = count(1, &run.ints::<1>(1)?)?;
            let mut dims = [0; tightfit_core::MAX_RANK];
            let rank = input.shape().rank();
            dims[..rank].copy_from_slice(input.shape());
            if dims[rank - 1] < k {
                return Err(OpError::input(1, format!("asks for {k} of {}", dims[rank - 1])));
            }
            dims[rank - 1] = k;
            let shape = Shape::new(&dims[..rank])?;
            run.set_output_shape(0, shape)?;
            run.set_output_shape(1, shape)?;
        }
        let (mut found, mut places) = (run.output(0)?, run.output(1)?);
        let order = if self.is_sorted { TopOrder::Sorted } else { TopOrder::Kept };
        Ok(top_k(run.pool, input, order, &mut found, &mut places)?)
    }
}

/// NthElement: the element that would stand at place n of each sorted row.
#[derive(Debug)]
struct NthElement {
    /// Counted from the largest.
    is_reversed: bool,
}

impl Operator for NthElement {
    fn name(&self) -> &'static str {
        "NthElement"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, n) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        need_number(input)?;
        shared::need_type(1, n, &[DType::I32, DType::I64])?;
        let Some(dims) = input.dims.get() else { return Ok(vec![Fact::new(input.dtype, Dims::UNKNOWN)]) };
        let (last, rows) =
            dims.split_last().ok_or_else(|| OpError::input(0, "is a scalar; rows are needed"))?;
        if let (Some(n), Some(elements)) = (n.int(), last.size())
            && usize::try_from(n).is_ok_and(|n| n >= elements)
        {
            return Err(OpError::input(1, format!("is {n}, and rows have {elements} elements")));
        }
        Ok(vec![Fact::new(input.dtype, Dims::new(rows))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let input = call.inputs[0];
        Memory::scratch(input.shape.last().map_or(0, |row| row * input.dtype.bytes()))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let n = count(1, &run.ints::<1>(1)?)?;
        let input = run.input(0)?;
        Ok(nth_element(n, self.is_reversed, input, &mut run.output(0)?, run.scratch()?)?)
    }
}

/// InTopK: inputs predictions `[batch, classes]` (float32), targets `[batch]`; whether fewer than k classes are likelier
/// than the target. False where a prediction is not finite, and for a target that is no class.
#[derive(Debug)]
struct InTopK {
    /// `None` where it is an input.
    k: Option<i64>,
}

impl Operator for InTopK {
    fn name(&self) -> &'static str {
        if self.k.is_some() { "InTopK" } else { "InTopKV2" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (predictions, targets) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, predictions, &[DType::F32])?;
        shared::need_type(1, targets, &[DType::I32, DType::I64])?;
        if self.k.is_none() {
            shared::need_type(2, shared::input(inputs, 2)?, &[DType::I32, DType::I64])?;
        }
        let rows = shared::dims_of_rank(0, predictions, 2)?.map(|dims| dims[0]);
        let targets = shared::dims_of_rank(1, targets, 1)?.map(|dims| dims[0]);
        match (rows, targets) {
            (Some(Dim::Known(a)), Some(Dim::Known(b))) if a != b => {
                Err(OpError::input(1, format!("has {b} targets for {a} rows")))
            }
            (rows, targets) => {
                let rows = rows.filter(|dim| dim.known().is_some()).or(targets).unwrap_or(Dim::Unknown);
                Ok(vec![Fact::new(DType::Bool, Dims::new([rows]))])
            }
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let k = match self.k {
            Some(k) => k,
            None => run.ints::<1>(2)?.first().copied().ok_or_else(|| OpError::input(2, "is not a number"))?,
        };
        let classes = run.shape(0)[1];
        let predictions = run.slice::<f32>(0)?;
        let targets = run.input(1)?;
        let target = |row: usize| match targets.as_slice::<i32>() {
            Some(targets) => targets.get(row).map(|t| *t as i64),
            None => targets.as_slice::<i64>().and_then(|targets| targets.get(row).copied()),
        };
        for (row, out) in run.out_bytes(0)?.iter_mut().enumerate() {
            let predictions = &predictions[row * classes..][..classes];
            let target = target(row).and_then(|t| predictions.get(usize::try_from(t).ok()?));
            let likelier = target.map(|target| predictions.iter().filter(|p| *p > target).count() as i64);
            *out = (predictions.iter().all(|p| p.is_finite()) && likelier.is_some_and(|n| n < k)) as u8;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{bools, check, flag, int, refuses, scalar, tensor};

    #[test]
    fn the_largest_and_their_places() {
        let x = tensor(&[2, 4], &[1.0f32, 4.0, 4.0, 2.0, -1.0, -3.0, 0.0, -2.0]);
        let expected = [tensor(&[2, 2], &[4.0f32, 4.0, 0.0, -1.0]), tensor(&[2, 2], &[1i32, 2, 2, 0])];
        check("TopK", &[("k", int(2))], std::slice::from_ref(&x), &expected);
        check("TopKV2", &[], &[x.clone(), scalar(2i32)], &expected);
        let of_a_heap = [tensor(&[4], &[3.0f32, 4.0, 8.0, 9.0]), tensor(&[4], &[0i32, 6, 2, 4])];
        let y = tensor(&[7], &[3.0f32, 1.0, 8.0, 1.0, 9.0, 2.0, 4.0]);
        check("TopKV2", &[("sorted", flag(false))], &[y, scalar(4i32)], &of_a_heap);
        check("NthElement", &[], &[x.clone(), scalar(1i32)], &[tensor(&[2], &[2.0f32, -2.0])]);
        let reversed = [("reverse", flag(true))];
        check("NthElement", &reversed, &[x.clone(), scalar(0i32)], &[tensor(&[2], &[4.0f32, 0.0])]);
        refuses("TopKV2", &[], &[x.clone(), scalar(5i32)], "fewer");
        refuses("NthElement", &[], &[x, scalar(4i32)], "4 elements");
    }

    #[test]
    fn a_class_among_the_likeliest() {
        let x = tensor(&[4, 3], &[0.1f32, 0.7, 0.2, 0.5, 0.5, 0.0, 0.0, f32::NAN, 1.0, 0.0, 1.0, 2.0]);
        let targets = tensor(&[4], &[2i32, 1, 2, 3]);
        let expected = [bools(&[4], &[false, true, false, false])];
        check("InTopK", &[("k", int(1))], &[x.clone(), targets.clone()], &expected);
        check("InTopKV2", &[], &[x, targets, scalar(2i32)], &[bools(&[4], &[true, true, false, false])]);
    }
}
