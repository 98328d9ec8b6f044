//! Numbers to quantised integers and back: QuantizeV2, Dequantize, Requantize, RequantizationRange and
//! QuantizeDownAndShrinkRange.
//!
//! A quantised type is held as the integer that it is stored as. QuantizeV2 and Dequantize take minimum and maximum as
//! scalars, or with `axis` as vectors along it, of float32; modes MIN_COMBINED, MIN_FIRST and SCALED. QuantizeV2 returns
//! the range that it used. Requantize turns int32 sums of one range to uint8 or int8 of another, which it returns;
//! RequantizationRange says which range sums use, QuantizeDownAndShrinkRange does both. Shapes: the input's.

use tightfit_core::{DType, Shape, TensorView};
use tightfit_kernels::{
    QuantMode, Quantize, QuantizedRange, cast, dequantize, quantize, requantize, requantize_down,
};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "QuantizeV2", import: import_quantize },
    Registration { name: "Dequantize", import: import_dequantize },
    Registration { name: "Requantize", import: |a| Ok(Box::new(Requantize { to: a.dtype("out_type")? })) },
    Registration { name: "RequantizationRange", import: |_| Ok(Box::new(RequantizationRange)) },
    Registration { name: "QuantizeDownAndShrinkRange", import: |_| Ok(Box::new(QuantizeDown)) },
];

/// The types that quantised types are stored as.
pub(super) const STORED: &[DType] = &[DType::I8, DType::U8, DType::I16, DType::U16, DType::I32];

fn mode(attributes: &Attributes<'_>) -> Result<QuantMode, OpError> {
    match attributes.text_or("mode", "MIN_COMBINED")? {
        "MIN_COMBINED" => Ok(QuantMode::MinCombined),
        "MIN_FIRST" => Ok(QuantMode::MinFirst),
        "SCALED" => Ok(QuantMode::Scaled),
        other => Err(OpError::attribute("mode", format!("is {other}"))),
    }
}

/// The axis along which ranges differ.
fn ranges_axis(attributes: &Attributes<'_>) -> Result<Option<usize>, OpError> {
    match attributes.int_or("axis", -1)? {
        -1 => Ok(None),
        axis => usize::try_from(axis)
            .map(Some)
            .map_err(|_| OpError::attribute("axis", format!("is {axis}; at least -1 is needed"))),
    }
}

/// Checks that inputs hold a float32 number each.
pub(super) fn check_numbers(inputs: &[&Fact], numbers: std::ops::Range<usize>) -> Result<(), OpError> {
    for index in numbers {
        let fact = shared::input(inputs, index)?;
        shared::need_type(index, fact, &[DType::F32])?;
        if fact.dims.elements().size().is_some_and(|n| n != 1) && !fact.is_bound {
            return Err(OpError::input(index, format!("is of shape {}; a scalar is needed", fact.dims)));
        }
    }
    Ok(())
}

/// The one number of an input.
pub(super) fn number(run: &Run<'_>, index: usize) -> Result<f32, OpError> {
    match run.slice::<f32>(index)? {
        [one] => Ok(*one),
        _ => Err(OpError::input(index, "does not hold one number")),
    }
}

/// The range of the integers of input `of` whose minimum and maximum are inputs.
pub(super) fn range_of(run: &Run<'_>, of: usize, min: usize) -> Result<QuantizedRange, OpError> {
    range(run.dtype(of), number(run, min)?, number(run, min + 1)?)
}

pub(super) fn range(dtype: DType, min: f32, max: f32) -> Result<QuantizedRange, OpError> {
    QuantizedRange::new(dtype, min, max).ok_or(OpError::Internal("a range of a type that is not quantised"))
}

/// Writes two numbers to outputs.
pub(super) fn give(run: &mut Run<'_>, first: usize, (min, max): (f32, f32)) -> Result<(), OpError> {
    run.out::<f32>(first)?.fill(min);
    run.out::<f32>(first + 1)?.fill(max);
    Ok(())
}

/// Facts of integers and the two numbers of their range.
pub(super) fn with_range(fact: Fact) -> Vec<Fact> {
    vec![fact, Fact::new(DType::F32, Dims::scalar()), Fact::new(DType::F32, Dims::scalar())]
}

/// Gives the first output the shape of the first input, and the others that of a scalar.
pub(super) fn reshape_with_range(run: &mut Run<'_>) -> Option<()> {
    run.set_output_shape(0, run.shape(0)).ok()?;
    (1..run.outputs()).try_for_each(|output| run.set_output_shape(output, Shape::SCALAR).ok())
}

/// Checks the inputs after the first: a minimum and a maximum, for each slice along the axis if there is one.
fn check_ranges(inputs: &[&Fact], axis: Option<usize>) -> Result<(), OpError> {
    let input = shared::input(inputs, 0)?;
    let slices = match (axis, input.dims.get()) {
        (Some(axis), Some(dims)) => match dims.get(axis) {
            Some(dim) => *dim,
            None => return Err(OpError::attribute("axis", format!("is {axis} for {}", input.dims))),
        },
        (Some(_), None) => Dim::Unknown,
        (None, _) => Dim::Known(1),
    };
    for index in 1..3 {
        let end = shared::input(inputs, index)?;
        shared::need_type(index, end, &[DType::F32])?;
        shared::dims_of_rank(index, end, axis.is_some() as usize)?;
        let is_other = end.dims.elements().size().zip(slices.size()).is_some_and(|(a, b)| a != b);
        if is_other && !end.is_bound && !input.is_bound {
            return Err(OpError::input(index, format!("is of shape {} for {slices} ranges", end.dims)));
        }
    }
    Ok(())
}

fn import_quantize(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let mode = mode(attributes)?;
    let rounds_to_even = match attributes.text_or("round_mode", "HALF_AWAY_FROM_ZERO")? {
        "HALF_AWAY_FROM_ZERO" => false,
        "HALF_TO_EVEN" if mode == QuantMode::Scaled => true,
        other => {
            return Err(OpError::attribute("round_mode", format!("is {other}; mode SCALED alone has more")));
        }
    };
    let dtype = attributes.dtype("T")?;
    Ok(Box::new(QuantizeV2 {
        how: Quantize {
            mode,
            rounds_to_even,
            is_narrow: attributes.bool_or("narrow_range", false)?,
            ensure_minimum_range: attributes.float_or("ensure_minimum_range", 0.01)?,
        },
        axis: ranges_axis(attributes)?,
        dtype,
    }))
}

/// QuantizeV2.
#[derive(Debug)]
struct QuantizeV2 {
    how: Quantize,
    axis: Option<usize>,
    dtype: DType,
}

impl Operator for QuantizeV2 {
    fn name(&self) -> &'static str {
        "QuantizeV2"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::F32])?;
        check_ranges(inputs, self.axis)?;
        let slices = match self.axis {
            Some(axis) => input.dims.get().map_or(Dim::Unknown, |dims| dims[axis]),
            None => Dim::Known(1),
        };
        if self.how.mode == QuantMode::MinFirst && slices.size().is_some_and(|n| n != 1) && !input.is_bound {
            return Err(OpError::attribute("mode", "is MIN_FIRST, which there is not along an axis"));
        }
        // Of one slice alone the range is a scalar.
        let end = match slices {
            Dim::Known(1) => Dims::scalar(),
            Dim::Unknown => Dims::UNKNOWN,
            slices => Dims::new([slices]),
        };
        let end = Fact::new(DType::F32, end);
        Ok(vec![Fact::new(self.dtype, input.dims.clone()), end.clone(), end])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let ends = run.shape(1);
        let ends = if ends.elements() == 1 { Shape::SCALAR } else { ends };
        run.set_output_shape(0, run.shape(0)).ok()?;
        (1..3).try_for_each(|n| run.set_output_shape(n, ends).ok())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, min, max) = (run.slice::<f32>(0)?, run.slice::<f32>(1)?, run.slice::<f32>(2)?);
        if self.how.mode == QuantMode::MinFirst && min.len() != 1 {
            return Err(OpError::attribute("mode", "is MIN_FIRST, which there is not along an axis"));
        }
        let (mut output, low, high) = (run.output(0)?, run.out::<f32>(1)?, run.out::<f32>(2)?);
        Ok(quantize(run.pool, self.how, input, self.axis, (min, max), &mut output, (low, high))?)
    }
}

fn import_dequantize(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (mode, to) = (mode(attributes)?, attributes.dtype_or("dtype", DType::F32)?);
    if to == DType::BF16 && mode != QuantMode::MinCombined {
        return Err(OpError::attribute("mode", "of bfloat16 can only be MIN_COMBINED"));
    }
    let is_narrow = attributes.bool_or("narrow_range", false)?;
    Ok(Box::new(Dequantize { mode, is_narrow, axis: ranges_axis(attributes)?, to }))
}

/// Dequantize.
#[derive(Debug)]
pub struct Dequantize {
    /// How the integers are spread over the range.
    pub mode: QuantMode,
    /// The lowest integer is not used.
    pub is_narrow: bool,
    /// The axis along which ranges differ.
    pub axis: Option<usize>,
    /// float32 or bfloat16.
    pub to: DType,
}

impl Operator for Dequantize {
    fn name(&self) -> &'static str {
        "Dequantize"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, STORED)?;
        check_ranges(inputs, self.axis)?;
        let slices = self.axis.and_then(|axis| input.dims.get()?.get(axis)?.size());
        if self.mode == QuantMode::MinFirst && slices.is_some_and(|n| n != 1) && !input.is_bound {
            return Err(OpError::attribute("mode", "is MIN_FIRST, which there is not along an axis"));
        }
        Ok(vec![Fact::new(self.to, input.dims.clone())])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        // bfloat16 is rounded from float32.
        let elements = call.inputs.first().map_or(0, |input| input.shape.elements());
        Memory::scratch(if self.to == DType::F32 { 0 } else { 4 * elements })
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, min, max) = (run.input(0)?, run.slice::<f32>(1)?, run.slice::<f32>(2)?);
        let shape = *input.shape();
        if self.mode == QuantMode::MinFirst && min.len() != 1 {
            return Err(OpError::attribute("mode", "is MIN_FIRST, which there is not along an axis"));
        }
        if self.to == DType::F32 {
            let output = run.out(0)?;
            return Ok(dequantize(
                run.pool,
                self.mode,
                self.is_narrow,
                input,
                self.axis,
                (min, max),
                output,
            )?);
        }
        let scratch = run.scratch()?.get_mut(..4 * shape.elements());
        let wide = scratch.ok_or(OpError::Internal("scratch is too small"))?;
        let floats =
            bytemuck::try_cast_slice_mut(wide).map_err(|_| OpError::Internal("scratch is not aligned"))?;
        dequantize(run.pool, self.mode, self.is_narrow, input, self.axis, (min, max), floats)?;
        let wide = TensorView::new(DType::F32, shape, wide)
            .ok_or(OpError::Internal("scratch does not match its shape"))?;
        Ok(cast(run.pool, wide.into(), &mut run.output(0)?)?)
    }
}

/// Requantize.
#[derive(Debug)]
struct Requantize {
    to: DType,
}

/// Turns int32 of one range to integers of another.
fn narrow(run: &mut Run<'_>, (min, max): (f32, f32), (to_min, to_max): (f32, f32)) -> Result<(), OpError> {
    let input = run.input(0)?;
    let pool = run.pool;
    match run.output_dtype(0) {
        DType::U8 => {
            let (input, output) = (run.slice::<i32>(0)?, run.out::<u8>(0)?);
            Ok(requantize_down(pool, input, (min, max), (to_min, to_max), output)?)
        }
        to => {
            let ranges = (range(input.dtype(), min, max)?, range(to, to_min, to_max)?);
            Ok(requantize(pool, input, ranges, &mut run.output(0)?)?)
        }
    }
}

impl Operator for Requantize {
    fn name(&self) -> &'static str {
        "Requantize"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::I32])?;
        check_numbers(inputs, 1..5)?;
        Ok(with_range(Fact::new(self.to, input.dims.clone())))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape_with_range(run)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (from, to) = ((number(run, 1)?, number(run, 2)?), (number(run, 3)?, number(run, 4)?));
        if to.0 > 0.0 {
            return Err(OpError::input(3, format!("is {}; at most 0 is needed", to.0)));
        }
        if !to.0.partial_cmp(&to.1).is_some_and(std::cmp::Ordering::is_le) {
            return Err(OpError::input(4, format!("is {}; at least the minimum, {}, is needed", to.1, to.0)));
        }
        narrow(run, from, to)?;
        give(run, 1, to)
    }
}

/// What the integers of input 0 really use of their range; a minimum of at most 0.
fn used(run: &Run<'_>) -> Result<(f32, f32), OpError> {
    let range = range_of(run, 0, 1)?;
    let values = run.slice::<i32>(0)?;
    let (low, high) = (values.iter().min().copied(), values.iter().max().copied());
    let (low, high) = (low.map_or(range.highest(), i64::from), high.map_or(range.lowest(), i64::from));
    Ok((range.float(low).min(0.0), range.float(high)))
}

/// RequantizationRange.
#[derive(Debug)]
struct RequantizationRange;

impl Operator for RequantizationRange {
    fn name(&self) -> &'static str {
        "RequantizationRange"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        shared::need_type(0, shared::input(inputs, 0)?, &[DType::I32])?;
        check_numbers(inputs, 1..3)?;
        Ok(vec![Fact::new(DType::F32, Dims::scalar()); 2])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        (0..2).try_for_each(|output| run.set_output_shape(output, Shape::SCALAR).ok())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let used = used(run)?;
        give(run, 0, used)
    }
}

/// QuantizeDownAndShrinkRange.
#[derive(Debug)]
struct QuantizeDown;

impl Operator for QuantizeDown {
    fn name(&self) -> &'static str {
        "QuantizeDownAndShrinkRange"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::I32])?;
        check_numbers(inputs, 1..3)?;
        Ok(with_range(Fact::new(DType::U8, input.dims.clone())))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape_with_range(run)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (used, from) = (used(run)?, (number(run, 1)?, number(run, 2)?));
        narrow(run, from, used)?;
        give(run, 1, used)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, check_close, dtype, refuses, scalar, tensor, text};
    use tightfit_core::DType;

    #[test]
    fn bytes_come_back_as_the_numbers_that_they_stand_for() {
        let x = tensor(&[4], &[-1.0f32, 0.0, 1.55, 9.0]);
        let attributes = [("T", dtype(DType::U8)), ("mode", text("MIN_FIRST"))];
        let quantised = [tensor(&[4], &[0u8, 100, 255, 255]), scalar(-1.0f32), scalar(1.55f32)];
        check("QuantizeV2", &attributes, &[x, scalar(-1f32), scalar(1.55f32)], &quantised);
        let numbers = tensor(&[4], &[-1.0f32, 0.0, 1.55, 1.55]);
        check_close("Dequantize", &attributes, &quantised, &numbers, 1e-6);
    }

    #[test]
    fn sums_are_narrowed_to_what_they_use() {
        let sums = tensor(&[3], &[-1i32 << 30, 0, 1 << 29]);
        let inputs = [sums, scalar(-4f32), scalar(4f32)];
        let used = [scalar(-2f32), scalar(1f32)];
        check("RequantizationRange", &[], &inputs, &used);
        let narrow = tensor(&[3], &[0u8, 170, 255]);
        let [low, high] = used;
        check("QuantizeDownAndShrinkRange", &[], &inputs, &[narrow, low, high]);
    }

    #[test]
    fn refuses_what_has_no_meaning() {
        let x = [tensor(&[2], &[0f32, 1.0]), scalar(2f32), scalar(1f32)];
        refuses("QuantizeV2", &[("T", dtype(DType::U8))], &x, "minimum");
        let rounding = [("T", dtype(DType::U8)), ("round_mode", text("HALF_TO_EVEN"))];
        refuses("QuantizeV2", &rounding, &x, "round_mode");
        let bytes = [tensor(&[2], &[0u8, 1]), scalar(0f32), scalar(1f32)];
        refuses("Dequantize", &[("mode", text("OTHER"))], &bytes, "mode");
    }
}
