//! Numbers and the integers that stand for them: tfl.quantize, tfl.dequantize.
//!
//! tfl.quantize takes float32, or integers of another scale; `output_type` is int8, uint8, int16 or int32 (of integers alone).
//! tfl.dequantize takes int8, uint8, int16 and int32 and gives float32. A scale for each slice lies along the attribute
//! `quantized_dimension`.

use tightfit_core::DType;
use tightfit_kernels::{AffineScales, Multiplier, Requantize, affine_dequantize, affine_quantize};

use super::affine;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run, axis, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "tfl.quantize", import: import_quantize },
    Registration { name: "tfl.dequantize", import: import_dequantize },
];

/// Scales and zero points along an axis.
#[derive(Debug)]
struct Scales {
    scales: Box<[f32]>,
    zeros: Box<[i32]>,
    axis: i64,
}

impl Scales {
    fn import(attributes: &Attributes<'_>, of: &str) -> Result<Scales, OpError> {
        let (scales, zeros) = affine::scales(attributes, of)?;
        Ok(Scales { scales, zeros, axis: attributes.int_or("quantized_dimension", 0)? })
    }

    /// Checks them against a tensor.
    fn check(&self, input: &Fact) -> Result<(), OpError> {
        let (Some(dims), true) = (input.dims.get(), self.scales.len() > 1) else { return Ok(()) };
        let at = axis(self.axis, dims.len());
        let slices = at.map(|at| dims[at].size());
        if slices.is_none_or(|slices| slices.is_some_and(|slices| slices != self.scales.len())) {
            let why = format!("is {} with {} scales, for {}", self.axis, self.scales.len(), input.dims);
            return Err(OpError::attribute("quantized_dimension", why));
        }
        Ok(())
    }

    fn of(&self, shape: &[usize]) -> AffineScales<'_> {
        let behind = axis(self.axis, shape.len()).map_or(0, |at| at + 1);
        let slice = shape.get(behind..).unwrap_or_default().iter().product::<usize>();
        AffineScales { scales: &self.scales, zeros: &self.zeros, slice: slice.max(1) }
    }
}

fn import_quantize(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let output_type = attributes.dtype_or("output_type", DType::I8)?;
    let has_input = attributes.node().attr("input_scale").is_some();
    let input = if has_input { Some(affine::input(attributes, 0)?) } else { None };
    let output = Scales::import(attributes, "output")?;
    let requantize = input.map(|input| Requantize {
        multiplier: Multiplier::of(input.scale as f64 / output.scales[0] as f64),
        from_zero: input.zero,
        zero: output.zeros[0],
    });
    Ok(Box::new(Quantize { output_type, requantize, output }))
}

/// tfl.quantize.
#[derive(Debug)]
pub struct Quantize {
    output_type: DType,
    /// For an input of integers.
    requantize: Option<Requantize>,
    output: Scales,
}

impl Quantize {
    /// True where all numbers become integers of one scale.
    pub fn has_one_scale(&self) -> bool {
        self.output.scales.len() == 1
    }
}

impl Operator for Quantize {
    fn name(&self) -> &'static str {
        "tfl.quantize"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        let types = [DType::F32, DType::I8, DType::U8, DType::I16, DType::I32];
        shared::need_type(0, input, &types)?;
        let is_float = input.dtype == DType::F32;
        let is_type = match self.output_type {
            DType::I8 | DType::U8 | DType::I16 => true,
            DType::I32 => !is_float,
            _ => false,
        };
        if !is_type {
            return Err(OpError::attribute(
                "output_type",
                format!("is {}, which {} is not quantised to", self.output_type, input.dtype),
            ));
        }
        if is_float {
            self.output.check(input)?;
        } else if self.requantize.is_none() {
            return Err(OpError::attribute("input_scale", "is missing, and the input is of integers"));
        } else if self.output.scales.len() > 1 {
            return Err(OpError::attribute(
                "output_scale",
                "has several numbers; integers are brought to one scale",
            ));
        }
        Ok(affine::like(input, Some(self.output_type)))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, pool) = (run.input(0)?, run.pool);
        let mut output = run.output(0)?;
        if input.dtype() == DType::F32 {
            let numbers = run.slice::<f32>(0)?;
            return Ok(affine_quantize(pool, self.output.of(input.shape()), numbers, &mut output)?);
        }
        let requantize = self.requantize.ok_or(OpError::Internal("integers have no scale"))?;
        Ok(requantize.run(pool, input, &mut output)?)
    }
}

fn import_dequantize(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Dequantize { input: Scales::import(attributes, "input")? }))
}

/// tfl.dequantize.
#[derive(Debug)]
struct Dequantize {
    input: Scales,
}

impl Operator for Dequantize {
    fn name(&self) -> &'static str {
        "tfl.dequantize"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::I8, DType::U8, DType::I16, DType::I32])?;
        self.input.check(input)?;
        Ok(affine::like(input, Some(DType::F32)))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, pool) = (run.input(0)?, run.pool);
        Ok(affine_dequantize(pool, self.input.of(input.shape()), input, run.out(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::DType;
    use crate::testing::{check, dtype, floats, int, ints, refuses, tensor};

    #[test]
    fn numbers_are_rounded_and_bounded() {
        let to = [("output_scale", floats(&[0.5])), ("output_zero_point", ints(&[3]))];
        let x = tensor(&[5], &[0.0f32, 0.25, -0.25, 1000.0, -1000.0]);
        check("tfl.quantize", &to, &[x], &[tensor(&[5], &[3i8, 4, 2, 127, -128])]);
        let other = [
            to.as_slice(),
            &[
                ("input_scale", floats(&[0.25])),
                ("input_zero_point", ints(&[100])),
                ("output_type", dtype(DType::I16)),
            ],
        ]
        .concat();
        check("tfl.quantize", &other, &[tensor(&[3], &[100u8, 104, 0])], &[tensor(&[3], &[3i16, 5, -47])]);
        refuses("tfl.quantize", &to, &[tensor(&[1], &[1i8])], "input_scale");
    }

    #[test]
    fn slices_have_scales_of_their_own() {
        let attributes = [
            ("input_scale", floats(&[0.5, 2.0])),
            ("input_zero_point", ints(&[1, 0])),
            ("quantized_dimension", int(1)),
        ];
        let x = tensor(&[2, 2, 2], &[1i8, 2, 1, 2, -1, -2, -1, -2]);
        let y = [0.0f32, 0.5, 2.0, 4.0, -1.0, -1.5, -2.0, -4.0];
        check("tfl.dequantize", &attributes, &[x], &[tensor(&[2, 2, 2], &y)]);
        let odd = tensor(&[2, 3], &[0i8; 6]);
        refuses("tfl.dequantize", &attributes, &[odd], "quantized_dimension");
    }
}
