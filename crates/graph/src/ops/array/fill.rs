//! Tensors of one value or of even steps: Fill, ZerosLike, OnesLike, Empty, FakeParam, Range, LinSpace.
//!
//! Fill takes a shape (int32 or int64) and a scalar of any type; Empty, a shape, and is zeros here. FakeParam, which stands in a
//! branch for what only the other one has, is zeros of the shape of its attribute, in which a dimension that is open is 0. ZerosLike and
//! OnesLike take the shape and type of their input, of any type (ones of numbers and bools). Range counts from `start`
//! by `delta` to before `limit`, in int32, int64 or a float type, how often computed in that type; LinSpace takes `num` even steps from `start` to
//! `stop`, in float32 or float64.

use tightfit_core::{DType, Shape, TensorView};
use tightfit_kernels::{fill, linspace, range};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{minus, need_index_type, not_negative, scalar_or_vector_len};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Fill", import: |_| Ok(Box::new(Fill)) },
    Registration { name: "Empty", import: import_empty },
    Registration { name: "FakeParam", import: import_fake_param },
    Registration { name: "ZerosLike", import: |_| Ok(Box::new(Like { is_one: false })) },
    Registration { name: "OnesLike", import: |_| Ok(Box::new(Like { is_one: true })) },
    Registration { name: "Range", import: |_| Ok(Box::new(Range)) },
    Registration { name: "LinSpace", import: |_| Ok(Box::new(LinSpace)) },
];

fn import_empty(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Empty { dtype: attributes.dtype("dtype")? }))
}

fn import_fake_param(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let dims = attributes.shape_or_unknown("shape")?.unwrap_or_default();
    let shape = reshape::shape(dims.into_iter().map(|dim| usize::try_from(dim).unwrap_or(0)))
        .ok_or_else(|| OpError::attribute("shape", "has more dimensions than are supported"))?;
    Ok(Box::new(FakeParam { dtype: attributes.dtype("dtype")?, shape }))
}

/// The shape that an input asks for.
pub(crate) fn asked_shape(index: usize, fact: &Fact) -> Result<Dims, OpError> {
    need_index_type(index, fact)?;
    let rank = scalar_or_vector_len(index, fact)?;
    match fact.dims_value() {
        Some(dims) => {
            Ok(Dims::new(dims.into_iter().map(|d| not_negative(index, d)).collect::<Result<Vec<_>, _>>()?))
        }
        None => Ok(rank.map_or(Dims::UNKNOWN, Dims::of_rank)),
    }
}

fn need_scalar(index: usize, fact: &Fact) -> Result<(), OpError> {
    // A vector of one element passes, as in old graphs.
    if fact.dims.elements().known().is_some_and(|n| n != 1) {
        return Err(OpError::input(index, format!("is of shape {}; a scalar is needed", fact.dims)));
    }
    Ok(())
}

/// A tensor of one value.
#[derive(Debug)]
struct Fill;

impl Operator for Fill {
    fn name(&self) -> &'static str {
        "Fill"
    }

    fn grows_with(&self, _: usize) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (shape, value) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        need_scalar(1, value)?;
        Ok(vec![Fact::new(value.dtype, asked_shape(0, shape)?)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        (run.shape(1).elements() == 1).then_some(())?;
        reshape::set_asked(run, 0, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let value = run.input(1)?;
        Ok(fill(run.pool, value.bytes(), &mut run.output(0)?)?)
    }
}

/// A tensor of zeros.
#[derive(Debug)]
struct Empty {
    dtype: DType,
}

impl Operator for Empty {
    fn name(&self) -> &'static str {
        "Empty"
    }

    fn grows_with(&self, _: usize) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::new(self.dtype, asked_shape(0, shared::input(inputs, 0)?)?)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::set_asked(run, 0, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        run.out_bytes(0)?.fill(0);
        Ok(())
    }
}

/// Zeros that nobody reads.
#[derive(Debug)]
struct FakeParam {
    dtype: DType,
    shape: Shape,
}

impl Operator for FakeParam {
    fn name(&self) -> &'static str {
        "FakeParam"
    }

    fn infer(&self, _: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::new(self.dtype, self.shape)])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        run.out_bytes(0)?.fill(0);
        Ok(())
    }
}

/// Zeros or ones in the shape and type of the input.
#[derive(Debug)]
struct Like {
    is_one: bool,
}

impl Operator for Like {
    fn name(&self) -> &'static str {
        if self.is_one { "OnesLike" } else { "ZerosLike" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        if self.is_one && input.dtype == DType::String {
            return Err(OpError::input(0, format!("is of type {}, which is not supported", input.dtype)));
        }
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    takes_over_its_input!();

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let mut output = run.output(0)?;
        let value = if self.is_one { one(output.dtype()) } else { [0; 16] };
        Ok(fill(run.pool, &value[..output.dtype().bytes()], &mut output)?)
    }
}

/// The bytes of 1, zeros after them.
fn one(dtype: DType) -> [u8; 16] {
    let mut bytes = [0; 16];
    match dtype {
        DType::F32 | DType::C64 => bytes[..4].copy_from_slice(&1f32.to_le_bytes()),
        DType::F64 | DType::C128 => bytes[..8].copy_from_slice(&1f64.to_le_bytes()),
        // The sign, exponent and fraction of 1 in the two formats of 16 bits.
        DType::F16 => bytes[..2].copy_from_slice(&0x3c00u16.to_le_bytes()),
        DType::BF16 => bytes[..2].copy_from_slice(&0x3f80u16.to_le_bytes()),
        _ => bytes[0] = 1,
    }
    bytes
}

/// Numbers in even steps of a given size.
#[derive(Debug)]
struct Range;

/// How many steps of `delta` lead from `start` to before `limit`.
fn steps(dtype: DType, start: f64, limit: f64, delta: f64) -> Option<usize> {
    // In the type itself: 7 over a float32 of 0.7 is 10, though it is a little more.
    let steps = match dtype {
        DType::F32 => ((limit as f32 - start as f32) / delta as f32).ceil() as f64,
        DType::F16 => {
            let [start, limit, delta] = [start, limit, delta].map(half::f16::from_f64);
            ((limit - start) / delta).to_f64().ceil()
        }
        DType::BF16 => {
            let [start, limit, delta] = [start, limit, delta].map(half::bf16::from_f64);
            ((limit - start) / delta).to_f64().ceil()
        }
        _ => ((limit - start) / delta).ceil(),
    };
    // False for NaN: a step of 0 leads nowhere, and one away from the limit is refused.
    ((0.0..9e15).contains(&steps) && delta != 0.0).then_some(steps as usize)
}

fn integer_steps(start: i64, limit: i64, delta: i64) -> Option<usize> {
    let distance = if delta > 0 { limit.checked_sub(start)? } else { start.checked_sub(limit)? };
    if delta == 0 || distance < 0 {
        return None;
    }
    let delta = delta.unsigned_abs();
    usize::try_from((distance as u64).div_ceil(delta)).ok()
}

/// The one float of a tensor.
fn number(view: TensorView<'_>) -> Option<f64> {
    match view.dtype() {
        DType::F32 => view.bytes().try_into().ok().map(|bytes| f32::from_le_bytes(bytes) as f64),
        DType::F64 => view.bytes().try_into().ok().map(f64::from_le_bytes),
        DType::F16 => view.bytes().try_into().ok().map(|bytes| half::f16::from_le_bytes(bytes).to_f64()),
        DType::BF16 => view.bytes().try_into().ok().map(|bytes| half::bf16::from_le_bytes(bytes).to_f64()),
        _ => None,
    }
}

impl Range {
    fn count(&self, inputs: [&Fact; 3]) -> Result<Dim, OpError> {
        let bad = || OpError::input(2, "is a step that does not lead from input 0 to input 1");
        let is_integer = matches!(inputs[0].dtype, DType::I32 | DType::I64);
        if is_integer {
            let values =
                inputs.map(|f| f.dims_value().and_then(|v| v.first().copied()).unwrap_or(Dim::Unknown));
            return match values {
                // A limit that is a bound says nothing where the steps lead down.
                [.., Dim::Known(..1)] if inputs[1].is_bound => Ok(Dim::Unknown),
                [Dim::Known(start), Dim::Known(limit), Dim::Known(delta)] => {
                    Ok(Dim::Known(integer_steps(start, limit, delta).ok_or_else(bad)? as i64))
                }
                [start, limit, Dim::Known(1)] => Ok(minus(limit, start)),
                _ => Ok(Dim::Unknown),
            };
        }
        match inputs.map(|fact| fact.view().and_then(number)) {
            [Some(start), Some(limit), Some(delta)] => {
                Ok(Dim::Known(steps(inputs[0].dtype, start, limit, delta).ok_or_else(bad)? as i64))
            }
            _ => Ok(Dim::Unknown),
        }
    }
}

impl Operator for Range {
    fn name(&self) -> &'static str {
        "Range"
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let inputs = [shared::input(inputs, 0)?, shared::input(inputs, 1)?, shared::input(inputs, 2)?];
        let types = [DType::I32, DType::I64, DType::F32, DType::F64, DType::F16, DType::BF16];
        shared::need_type(0, inputs[0], &types)?;
        for (i, input) in inputs.iter().enumerate() {
            shared::need_type(i, input, &[inputs[0].dtype])?;
            need_scalar(i, input)?;
        }
        Ok(vec![Fact::new(inputs[0].dtype, Dims::new([self.count(inputs)?]))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let count = match run.dtype(0) {
            DType::I32 | DType::I64 => {
                integer_steps(reshape::int(run, 0)?, reshape::int(run, 1)?, reshape::int(run, 2)?)?
            }
            _ => {
                let at = |input| number(run.input(input).ok()?);
                steps(run.dtype(0), at(0)?, at(1)?, at(2)?)?
            }
        };
        reshape::set(run, 0, [count])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (start, step) = (run.input(0)?, run.input(2)?);
        Ok(range(start, step, &mut run.output(0)?)?)
    }
}

/// A number of even steps between two numbers.
#[derive(Debug)]
struct LinSpace;

impl Operator for LinSpace {
    fn name(&self) -> &'static str {
        "LinSpace"
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 2
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (start, stop, count) =
            (shared::input(inputs, 0)?, shared::input(inputs, 1)?, shared::input(inputs, 2)?);
        shared::need_type(0, start, &[DType::F32, DType::F64])?;
        shared::need_type(1, stop, &[start.dtype])?;
        need_index_type(2, count)?;
        for (i, input) in [start, stop, count].into_iter().enumerate() {
            need_scalar(i, input)?;
        }
        let count = count.dims_value().and_then(|v| v.first().copied()).unwrap_or(Dim::Unknown);
        if matches!(count, Dim::Known(..1)) {
            return Err(OpError::input(2, format!("is {count}; at least one element is needed")));
        }
        Ok(vec![Fact::new(start.dtype, Dims::new([count]))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let count = usize::try_from(reshape::int(run, 2)?).ok()?;
        (count > 0).then_some(())?;
        reshape::set(run, 0, [count])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (start, stop) = (number(run.input(0)?), number(run.input(1)?));
        let (Some(start), Some(stop)) = (start, stop) else {
            return Err(OpError::Internal("steps without start or end were run"));
        };
        Ok(linspace(start, stop, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Symbol;
    use crate::testing::*;

    #[test]
    fn fills() {
        let shape = tensor(&[2], &[2i32, 1]);
        check("Fill", &[], &[shape.clone(), scalar(7i64)], &[tensor(&[2, 1], &[7i64, 7])]);
        check("Fill", &[], &[tensor::<i32>(&[0], &[]), scalar(1f32)], &[scalar(1f32)]);
        refuses("Fill", &[], &[tensor(&[1], &[-1i32]), scalar(1f32)], "-1");
        refuses("Fill", &[], &[shape.clone(), tensor(&[2], &[1f32, 2.0])], "scalar");
        check("Empty", &[("dtype", dtype(DType::F64))], &[shape], &[tensor(&[2, 1], &[0f64; 2])]);
        check("ZerosLike", &[], &[tensor(&[2], &[1f32, 2.0])], &[tensor(&[2], &[0f32, 0.0])]);
        check("OnesLike", &[], &[tensor(&[1], &[9f64])], &[tensor(&[1], &[1f64])]);
        check("OnesLike", &[], &[bools(&[1], &[false])], &[bools(&[1], &[true])]);
    }

    #[test]
    fn ranges() {
        let range = |a: i32, b: i32, c: i32, expected: &[i32]| {
            check("Range", &[], &[scalar(a), scalar(b), scalar(c)], &[tensor(&[expected.len()], expected)]);
        };
        range(0, 5, 2, &[0, 2, 4]);
        range(3, -1, -2, &[3, 1]);
        range(2, 2, 1, &[]);
        let floats = [scalar(0f32), scalar(1f32), scalar(0.25f32)];
        check("Range", &[], &floats, &[tensor(&[4], &[0f32, 0.25, 0.5, 0.75])]);
        refuses("Range", &[], &[scalar(0i32), scalar(3i32), scalar(0i32)], "step");
        refuses("Range", &[], &[scalar(0i32), scalar(3i32), scalar(-1i32)], "step");
        check(
            "LinSpace",
            &[],
            &[scalar(1f32), scalar(2f32), scalar(3i32)],
            &[tensor(&[3], &[1f32, 1.5, 2.0])],
        );
        check("LinSpace", &[], &[scalar(1f64), scalar(2f64), scalar(1i64)], &[tensor(&[1], &[1f64])]);
        refuses("LinSpace", &[], &[scalar(1f32), scalar(2f32), scalar(0i32)], "at least one");
    }

    #[test]
    fn a_range_up_to_the_batch_is_as_long() {
        let batch = Fact::of_dims(DType::I32, Dims::scalar(), &[Dim::of(Symbol::BATCH)]);
        let known = |n: i64| Fact::of_dims(DType::I32, Dims::scalar(), &[Dim::Known(n)]);
        let facts = operator("Range", &[]).unwrap().infer(&[&known(0), &batch, &known(1)]).unwrap();
        assert_eq!(facts[0].dims, Dims::new([Dim::of(Symbol::BATCH)]));
    }
}
