//! QuantizeAndDequantize, V2, V3 and V4: numbers rounded to what integers of a range can express.
//!
//! float32 and float64. The range is two attributes (of the first version), two inputs, or with `range_given` false that
//! of the numbers themselves; with `axis` there is one for each slice along it. The third version takes the number of bits
//! as an input. Shape: the input's.

use tightfit_core::{DType, TensorView};
use tightfit_kernels::{Rounding, SimulatedRange, simulate_quantization};

use crate::dim::Dim;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::{int_input, same_dims};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "QuantizeAndDequantize", import: |a| import(a, "QuantizeAndDequantize") },
    Registration { name: "QuantizeAndDequantizeV2", import: |a| import(a, "QuantizeAndDequantizeV2") },
    Registration { name: "QuantizeAndDequantizeV3", import: |a| import(a, "QuantizeAndDequantizeV3") },
    Registration { name: "QuantizeAndDequantizeV4", import: |a| import(a, "QuantizeAndDequantizeV4") },
];

fn import(attributes: &Attributes<'_>, name: &'static str) -> Result<Box<dyn Operator>, OpError> {
    let is_first = name == "QuantizeAndDequantize";
    let takes_bits = name == "QuantizeAndDequantizeV3";
    let rounding = match attributes.text_or("round_mode", "HALF_TO_EVEN")? {
        _ if takes_bits || is_first => Rounding::HalfToEven,
        "HALF_TO_EVEN" => Rounding::HalfToEven,
        "HALF_UP" => Rounding::HalfUp,
        other => return Err(OpError::attribute("round_mode", format!("is {other}"))),
    };
    let axis = match attributes.int_or("axis", -1)? {
        -1 => None,
        _ if is_first => None,
        axis => Some(
            usize::try_from(axis)
                .map_err(|_| OpError::attribute("axis", format!("is {axis}; at least -1 is needed")))?,
        ),
    };
    let bits = attributes.int_or("num_bits", 8)?;
    let range = SimulatedRange {
        is_signed: attributes.bool_or("signed_input", true)?,
        bits: 8,
        is_narrow: !is_first && attributes.bool_or("narrow_range", false)?,
        rounding,
    };
    let range = if takes_bits {
        range
    } else {
        with_bits(range, bits).map_err(|why| OpError::attribute("num_bits", why))?
    };
    let is_given = attributes.bool_or("range_given", takes_bits)?;
    let ends = match is_first && is_given {
        true => Some([attributes.float_or("input_min", 0.0)?, attributes.float_or("input_max", 0.0)?]),
        false => None,
    };
    if is_given && axis.is_some() && !takes_bits {
        let why = "is given with a range, where TensorFlow has none for each slice along it";
        return Err(OpError::attribute("axis", why));
    }
    if let Some([min, max]) = ends
        && !min.partial_cmp(&max).is_some_and(std::cmp::Ordering::is_le)
    {
        return Err(OpError::attribute("input_min", format!("is {min}, above input_max, which is {max}")));
    }
    Ok(Box::new(Simulate { name, range, axis, is_given, ends, takes_bits }))
}

/// A range of so many bits, as many as TensorFlow takes.
fn with_bits(range: SimulatedRange, bits: i64) -> Result<SimulatedRange, String> {
    let most = if range.is_signed { 62 } else { 63 };
    // What 63 bits would be is past what is counted with.
    match u32::try_from(bits) {
        Ok(n) if n > 0 && i64::from(n) < most + 1 && n <= 62 => Ok(SimulatedRange { bits: n, ..range }),
        _ => Err(format!("is {bits}; 1 to 62 are supported")),
    }
}

/// The operator.
#[derive(Debug)]
struct Simulate {
    name: &'static str,
    range: SimulatedRange,
    axis: Option<usize>,
    /// The range does not come from the numbers.
    is_given: bool,
    /// Minimum and maximum, where they are no inputs.
    ends: Option<[f32; 2]>,
    /// The last input says how many bits there are.
    takes_bits: bool,
}

impl Simulate {
    /// The rank of minimum and maximum.
    fn ends_rank(&self) -> usize {
        self.axis.is_some().into()
    }
}

/// Checks that an end of a range is one element, as far as that is known.
fn need_one(index: usize, end: &Fact) -> Result<(), OpError> {
    match end.dims.elements().size() {
        Some(count) if count != 1 => {
            Err(OpError::input(index, format!("is of shape {}; one element is needed", end.dims)))
        }
        _ => Ok(()),
    }
}

impl Operator for Simulate {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::F32, DType::F64])?;
        if let (Some(axis), Some(rank)) = (self.axis, input.dims.rank())
            && axis >= rank
        {
            return Err(OpError::attribute("axis", format!("is {axis} for {}", input.dims)));
        }
        let is_first = self.name == "QuantizeAndDequantize";
        for index in (1..3).filter(|_| !is_first) {
            let end = shared::input(inputs, index)?;
            shared::need_type(index, end, &[input.dtype])?;
            match (self.is_given, self.takes_bits, self.axis) {
                // Ends that are not given are not looked at as it runs.
                (false, ..) => {}
                (true, true, None) => need_one(index, end)?,
                (true, ..) => drop(shared::dims_of_rank(index, end, self.ends_rank())?),
            }
        }
        if self.takes_bits {
            let bits = shared::input(inputs, 3)?;
            shared::need_type(3, bits, &[DType::I32])?;
            if let Some(bits) = bits.int() {
                with_bits(self.range, bits).map_err(|why| OpError::input(3, why))?;
            }
        }
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        // Of a size that is no symbol of the file TensorFlow does not know the rank either.
        let is_open = |fact: &Fact| fact.dims.get().is_some_and(|dims| dims.contains(&Dim::Unknown));
        for (index, end) in inputs.iter().enumerate().take(3).skip(1).filter(|(_, end)| !is_open(end)) {
            shared::dims_of_rank(index, end, self.ends_rank())?;
        }
        // As long as the axis and as each other, though ends that are not given are not looked at as it runs.
        if self.axis.is_some() {
            same_dims((1..3).filter_map(|index| Some((index, *inputs.get(index)?))))?;
        }
        let dims = shared::input(inputs, 0)?.dims.get();
        let Some(slices) = self.axis.and_then(|axis| dims?.get(axis)?.size()) else { return Ok(()) };
        for index in 1..3 {
            let end = shared::input(inputs, index)?;
            if end.dims.elements().size().is_some_and(|count| count != slices) {
                return Err(OpError::input(index, format!("is of shape {} for {slices} ranges", end.dims)));
            }
        }
        Ok(())
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, pool) = (run.input(0)?, run.pool);
        let range = match self.takes_bits {
            true => with_bits(self.range, int_input(run, 3)?).map_err(|why| OpError::input(3, why))?,
            false => self.range,
        };
        let attributes = self.ends.unwrap_or_default();
        let (narrow, wide) = (attributes, attributes.map(f64::from));
        let scalar = |bytes| TensorView::new(input.dtype(), tightfit_core::Shape::SCALAR, bytes);
        let ends = match (self.is_given, self.ends) {
            (false, _) => None,
            (true, None) => Some((run.input(1)?, run.input(2)?)),
            (true, Some(_)) => {
                let bytes = |n: usize| match input.dtype() {
                    DType::F64 => bytemuck::bytes_of(&wide[n]),
                    _ => bytemuck::bytes_of(&narrow[n]),
                };
                scalar(bytes(0)).zip(scalar(bytes(1)))
            }
        };
        Ok(simulate_quantization(pool, range, input, self.axis, ends, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, check_close, flag, float, int, refuses, run, scalar, tensor};

    #[test]
    fn rounds_to_the_steps_of_the_range() {
        let x = tensor(&[4], &[-1.0f32, 0.3, 0.5, 0.9]);
        let attributes = [("num_bits", int(3)), ("range_given", flag(true))];
        let inputs = [x.clone(), scalar(-1f32), scalar(0.75f32)];
        let steps = tensor(&[4], &[-1.0f32, 0.25, 0.5, 0.75]);
        check("QuantizeAndDequantizeV2", &attributes, &inputs, std::slice::from_ref(&steps));
        let [_, min, max] = inputs;
        let bits = [x.clone(), min, max, scalar(3i32)];
        check("QuantizeAndDequantizeV3", &[], &bits, std::slice::from_ref(&steps));
        let first =
            [attributes.as_slice(), &[("input_min", float(-1.0)), ("input_max", float(0.75))]].concat();
        check_close("QuantizeAndDequantize", &first, std::slice::from_ref(&x), &steps, 1e-6);
        refuses("QuantizeAndDequantize", &[("num_bits", int(0))], std::slice::from_ref(&x), "num_bits");
        // The third version takes vectors of one for its ends.
        let ends = [tensor(&[1], &[-1f32]), tensor(&[1, 1], &[0.75f32])];
        let [least, most] = ends.clone();
        check("QuantizeAndDequantizeV3", &[], &[x.clone(), least, most, scalar(3i32)], &[steps]);
        let [least, most] = ends;
        refuses("QuantizeAndDequantizeV4", &attributes, &[x.clone(), least, most], "rank 0");
        let [_, min, max] = [x, scalar(f32::NAN), scalar(2f32)];
        // NaN stays between ends, and is none.
        let odd = tensor(&[3], &[f32::NAN, -9.0, 9.0]);
        let attributes = [("num_bits", int(6)), ("range_given", flag(true))];
        refuses("QuantizeAndDequantizeV2", &attributes, &[odd.clone(), min, max.clone()], "minimum");
        let found = run("QuantizeAndDequantizeV2", &attributes, &[odd, scalar(-1f32), max]).unwrap();
        let found = found[0].values::<f32>();
        assert!(found[0].is_nan() && found[1..] == [-2.064_516, 2.0], "{found:?}");
    }
}
