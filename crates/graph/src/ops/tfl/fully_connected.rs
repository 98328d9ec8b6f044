//! tfl.fully_connected: rows of quantised numbers times a filter `[out, in]`.
//!
//! int8, int16 and float32 with filters of int8 or of four bits, uint8 with filters of uint8; biases of int32, of int16 of int64
//! too, of float32 of float32. The input is of any shape, taken as rows of as many elements as the filter has columns; the output is
//! `[rows, out]`, or with `keep_num_dims` the input's shape but for its last axis. One scale of the filter, or one for each of its
//! rows. float32 is quantised row by row, with `asymmetric_quantize_inputs` by the range that it has. A filter of four bits is a
//! vector of bytes with `filter_bits` 4 and `filter_shape`.

use tightfit_core::DType;
use tightfit_kernels::{AffineConv2d, WideConv2d, Window};

use super::product::{FILTER, Quantized, Rounding};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, WeightUse, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[Registration { name: "tfl.fully_connected", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(FullyConnected {
        keep_dims: attributes.bool_or("keep_num_dims", false)?,
        is_asymmetric: attributes.bool_or("asymmetric_quantize_inputs", false)?,
        quantized: Quantized::import(attributes)?,
    }))
}

/// The operator.
#[derive(Debug)]
struct FullyConnected {
    keep_dims: bool,
    is_asymmetric: bool,
    quantized: Quantized,
}

impl FullyConnected {
    fn kernel(&self, input: &[usize], [columns, depth]: [usize; 2]) -> Result<AffineConv2d, OpError> {
        let elements: usize = input.iter().product();
        let rows = elements.checked_div(depth).unwrap_or(0);
        if rows * depth != elements {
            let why = format!("is of shape {input:?}, which a filter of {depth} columns does not divide");
            return Err(OpError::input(0, why));
        }
        Ok(AffineConv2d::matmul(rows, depth, columns)?)
    }

    fn planned(&self, call: &Call<'_>) -> Option<(AffineConv2d, [usize; 2])> {
        let filter = self.quantized.filter.sizes(&call.inputs[FILTER].shape).ok()?;
        Some((self.kernel(&call.inputs[0].shape, filter).ok()?, filter))
    }
}

impl Operator for FullyConnected {
    fn name(&self) -> &'static str {
        "tfl.fully_connected"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, filter) = (shared::input(inputs, 0)?, shared::input(inputs, FILTER)?);
        let filter = self.quantized.filter.dims::<2>(filter)?;
        let channels = filter.map(|filter| filter[0]);
        self.quantized.check(inputs, channels)?;
        let columns = channels.map_or(Dim::Unknown, |channels| Dim::Known(channels as i64));
        let Some(dims) = input.dims.get() else {
            let rank = if self.keep_dims { Dims::UNKNOWN } else { Dims::new([Dim::Unknown, columns]) };
            return Ok(vec![Fact::new(input.dtype, rank)]);
        };
        if let (Some(shape), Some(filter)) = (input.dims.concrete(), filter) {
            self.kernel(&shape, filter)?;
        }
        let dims = if self.keep_dims {
            let Some((last, before)) = dims.split_last() else {
                return Err(OpError::input(0, "is a scalar"));
            };
            if let (Some(last), Some(filter)) = (last.size(), filter)
                && last != filter[1]
            {
                return Err(OpError::input(
                    0,
                    format!("is of shape {} for {} columns", input.dims, filter[1]),
                ));
            }
            [before, &[columns][..]].concat()
        } else {
            let rows = match (dims, filter) {
                ([rows, depth], Some(filter)) if depth.size() == Some(filter[1]) => *rows,
                (_, Some(filter)) if filter[1] > 0 => {
                    input.dims.elements().divided_by(Dim::Known(filter[1] as i64))
                }
                _ => Dim::Unknown,
            };
            vec![rows, columns]
        };
        Ok(vec![Fact::new(input.dtype, Dims::new(dims))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let elements = call.inputs[0].shape.elements();
        self.planned(call).map_or(Memory::default(), |(conv, filter)| {
            self.quantized.memory(&conv, call, elements.checked_div(filter[1]).unwrap_or(0))
        })
    }

    fn operations(&self, call: &Call<'_>) -> Option<f64> {
        let filter: [usize; 2] = self.quantized.filter.sizes(&call.inputs.get(FILTER)?.shape).ok()?;
        shared::operations(call, filter.iter().product())
    }

    fn weight(&self, call: &Call<'_>) -> Option<WeightUse> {
        let (conv, filter) = self.planned(call)?;
        Some(self.quantized.weight(&conv, call, (filter[0], filter[1])))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let [columns, depth]: [usize; 2] = self.quantized.filter.sizes(&run.shape(FILTER)).ok()?;
        let shape = run.shape(0);
        if self.keep_dims {
            let (_, before) = shape.split_last()?;
            return reshape::set(run, 0, before.iter().copied().chain([columns]));
        }
        reshape::set(run, 0, [shape.elements().checked_div(depth)?, columns])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let filter: [usize; 2] = self.quantized.filter.sizes(&run.shape(FILTER))?;
        let shape = run.shape(0);
        let (conv, size) = (self.kernel(&shape, filter)?, (filter[0], filter[1]));
        let rows = shape.elements().checked_div(filter[1]).unwrap_or(0);
        match run.dtype(0) {
            DType::F32 => self.quantized.run_hybrid(run, &conv, size, (rows, self.is_asymmetric)),
            DType::I16 => {
                let filter = [filter[0], 1, 1, filter[1]];
                let conv = WideConv2d::new([rows, 1, 1, filter[3]], filter, Window::new(1, 1))?;
                self.quantized.run_wide(run, &conv, size, Rounding::Once)
            }
            DType::U8 => self.quantized.run(run, &conv, size, Rounding::OfFloats),
            _ => self.quantized.run(run, &conv, size, Rounding::Once),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, flag, floats, ints, refuses, tensor};

    #[test]
    fn rows_are_multiplied_by_the_filters() {
        let attributes = [
            ("input_scale", floats(&[0.5])),
            ("input_zero_point", ints(&[128])),
            ("filter_scale", floats(&[0.5])),
            ("filter_zero_point", ints(&[100])),
            ("output_scale", floats(&[0.25])),
            ("output_zero_point", ints(&[3])),
        ];
        let x = tensor(&[1, 2, 2], &[128u8, 129, 130, 120]);
        let filter = tensor(&[3, 2], &[101u8, 100, 100, 102, 90, 90]);
        let bias = tensor(&[3], &[1i32, 0, 10]);
        let y = [3u8 + 1, 3 + 2, 3, 3 + 3, 0, 3 + 70];
        let inputs = [x.clone(), filter, bias];
        check("tfl.fully_connected", &attributes, &inputs, &[tensor(&[2, 3], &y)]);
        let kept = [attributes.as_slice(), &[("keep_num_dims", flag(true))]].concat();
        check("tfl.fully_connected", &kept, &inputs, &[tensor(&[1, 2, 3], &y)]);
        let odd = [x, tensor(&[1, 3], &[0u8; 3])];
        refuses("tfl.fully_connected", &attributes, &odd, "does not divide");
    }
}
