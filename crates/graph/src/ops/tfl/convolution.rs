//! Convolutions of quantised images, `[batch, height, width, channels]`: tfl.conv_2d, tfl.depthwise_conv_2d.
//!
//! int8, int16 and float32 with filters of int8 or of four bits, uint8 with filters of uint8; the filter of tfl.conv_2d is
//! `[out, height, width, channels]` (of groups, as many as its channels divide the image's), that of tfl.depthwise_conv_2d
//! `[1, height, width, channels * depth_multiplier]`. Sums and biases are of int32, of int16 of int64 (or with
//! `quantized_bias_type` int32 as well), and become integers of the output by one scale, or one for each channel, as TFLite rounds
//! them. float32 is quantised image by image, and gives float32 with a bias of float32. Attributes `stride_h`, `stride_w`,
//! `dilation_h_factor`, `dilation_w_factor`, `padding` (SAME, VALID) and `fused_activation_function`; a filter of four bits is a
//! vector of bytes with `filter_bits` 4 and `filter_shape`.

use tightfit_core::DType;
use tightfit_kernels::{AffineConv2d, AffineDepthwise, AffineFilter, AffineInput, AffineOutput, WideConv2d};

use super::affine;
use super::product::{BIAS, FILTER, Quantized, Rounding};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, WeightUse};
use crate::ops::shared;
use crate::ops::shared::window::WindowAttributes;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "tfl.conv_2d", import: import_conv },
    Registration { name: "tfl.depthwise_conv_2d", import: import_depthwise },
];

fn import_conv(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Conv2d { window: affine::window(attributes)?, quantized: Quantized::import(attributes)? }))
}

fn import_depthwise(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Depthwise { window: affine::window(attributes)?, quantized: Quantized::import(attributes)? }))
}

/// TFLite multiplies the scales of uint8 as float32.
fn rounding(dtype: DType) -> Rounding {
    if dtype == DType::U8 { Rounding::OfFloats } else { Rounding::Twice }
}

/// An image's four dimensions.
fn four(shape: &[usize]) -> Result<[usize; 4], OpError> {
    shape.try_into().map_err(|_| OpError::Internal("an image of other than four axes"))
}

/// tfl.conv_2d.
#[derive(Debug)]
struct Conv2d {
    window: WindowAttributes,
    quantized: Quantized,
}

impl Conv2d {
    fn kernel(&self, input: &[usize], filter: [usize; 4]) -> Result<AffineConv2d, OpError> {
        let input = four(input)?;
        let window = self.window.window([filter[1], filter[2]], [input[1], input[2]]);
        Ok(AffineConv2d::new(input, filter, window)?)
    }

    fn planned(&self, call: &Call<'_>) -> Option<(AffineConv2d, [usize; 4])> {
        let filter = self.quantized.filter.sizes(&call.inputs[FILTER].shape).ok()?;
        Some((self.kernel(&call.inputs[0].shape, filter).ok()?, filter))
    }
}

/// The output of a convolution with a filter of this size.
fn output(
    window: &WindowAttributes,
    input: &Fact,
    filter: Option<([usize; 2], usize)>,
) -> Result<Fact, OpError> {
    let open = || vec![Dim::Unknown; 4];
    let image = shared::dims_of_rank(0, input, 4)?.unwrap_or_else(open);
    let [rows, columns] = match filter {
        Some((size, _)) => window.output(size, &image[1..3])?,
        None => [Dim::Unknown; 2],
    };
    let channels = filter.map_or(Dim::Unknown, |(_, channels)| Dim::Known(channels as i64));
    Ok(Fact::new(input.dtype, Dims::new([image[0], rows, columns, channels])))
}

impl Operator for Conv2d {
    fn name(&self) -> &'static str {
        "tfl.conv_2d"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, filter) = (shared::input(inputs, 0)?, shared::input(inputs, FILTER)?);
        let filter = self.quantized.filter.dims::<4>(filter)?;
        self.quantized.check(inputs, filter.map(|filter| filter[0]))?;
        if let (Some(filter), Some(input)) = (filter, input.dims.concrete())
            && input.len() == 4
        {
            self.kernel(&input, filter).map_err(|error| OpError::input(FILTER, error.to_string()))?;
        }
        Ok(vec![output(&self.window, input, filter.map(|f| ([f[1], f[2]], f[0])))?])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let images = call.inputs[0].shape.first().copied().unwrap_or(0);
        self.planned(call).map_or(Memory::default(), |(conv, _)| self.quantized.memory(&conv, call, images))
    }

    fn operations(&self, call: &Call<'_>) -> Option<f64> {
        let filter: [usize; 4] = self.quantized.filter.sizes(&call.inputs.get(FILTER)?.shape).ok()?;
        shared::operations(call, filter.iter().product())
    }

    fn weight(&self, call: &Call<'_>) -> Option<WeightUse> {
        let (conv, filter) = self.planned(call)?;
        Some(self.quantized.weight(&conv, call, (filter[0], conv.depth())))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let filter: [usize; 4] = self.quantized.filter.sizes(&run.shape(FILTER))?;
        let shape = four(&run.shape(0))?;
        let conv = self.kernel(&shape, filter)?;
        let size = (filter[0], conv.depth());
        match run.dtype(0) {
            DType::F32 => {
                // Where a filter has one scale, and there are no groups, TFLite's range is as far on both sides of 0.
                let is_asymmetric = self.quantized.has_scales() || filter[3] != shape[3];
                self.quantized.run_hybrid(run, &conv, size, (shape[0], is_asymmetric))
            }
            DType::I16 => {
                let window = self.window.window([filter[1], filter[2]], [shape[1], shape[2]]);
                self.quantized.run_wide(run, &WideConv2d::new(shape, filter, window)?, size, Rounding::Twice)
            }
            dtype => self.quantized.run(run, &conv, size, rounding(dtype)),
        }
    }
}

/// tfl.depthwise_conv_2d.
#[derive(Debug)]
struct Depthwise {
    window: WindowAttributes,
    quantized: Quantized,
}

impl Operator for Depthwise {
    fn name(&self) -> &'static str {
        "tfl.depthwise_conv_2d"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, filter) = (shared::input(inputs, 0)?, shared::input(inputs, FILTER)?);
        let filter = self.quantized.filter.dims::<4>(filter)?;
        self.quantized.check(inputs, filter.map(|filter| filter[3]))?;
        if let Some(filter) = filter {
            let depth = shared::dims_of_rank(0, input, 4)?.and_then(|image| image[3].size());
            let divides = depth.is_none_or(|depth| {
                filter[3].checked_div(depth).map_or(filter[3] == 0, |each| each * depth == filter[3])
            });
            if filter[0] != 1 || !divides {
                let why = format!("is of shape {filter:?} for an image of {}", input.dims);
                return Err(OpError::input(FILTER, why));
            }
        }
        Ok(vec![output(&self.window, input, filter.map(|f| ([f[1], f[2]], f[3])))?])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        self.quantized.small_memory(call, call.inputs[0].shape.first().copied().unwrap_or(0))
    }

    fn operations(&self, call: &Call<'_>) -> Option<f64> {
        let filter: [usize; 4] = self.quantized.filter.sizes(&call.inputs.get(FILTER)?.shape).ok()?;
        shared::operations(call, filter.iter().product())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let filter: [usize; 4] = self.quantized.filter.sizes(&run.shape(FILTER))?;
        let image = four(&run.shape(0))?;
        let window = self.window.window([filter[1], filter[2]], [image[1], image[2]]);
        let multiplier = filter[3].checked_div(image[3]).unwrap_or(1);
        let size = (filter[1] * filter[2], filter[3]);
        let kernel = AffineDepthwise::new(image, window, multiplier)?;
        match run.dtype(0) {
            DType::F32 => return self.quantized.run_hybrid_depthwise(run, &kernel, size, image[0]),
            DType::I16 => {
                let kernel = WideConv2d::depthwise(image, window, multiplier)?;
                return self.quantized.run_wide(run, &kernel, size, Rounding::Twice);
            }
            _ => {}
        }
        let (input, bytes, bias) = (run.input(0)?, run.input(FILTER)?, affine::bias(run, BIAS)?);
        let kind = self.quantized.filter.kind(bytes.dtype());
        let filter = AffineFilter::new(bytes.bytes(), size, kind, self.quantized.filter_zero)?;
        let is_unsigned = input.dtype() == DType::U8;
        let rescale = self.quantized.rescale(run.output_dtype(0), rounding(input.dtype()))?;
        let (zeros, pool) = ([self.quantized.input.zero], run.pool);
        let input = AffineInput { bytes: input.bytes(), is_unsigned, zeros: &zeros };
        Ok(kernel.run(pool, input, filter, AffineOutput { bytes: run.out_bytes(0)?, rescale, bias })?)
    }
}

#[cfg(test)]
mod tests {
    use tightfit_format::AttrValue;

    use crate::testing::{check, floats, int, ints, refuses, tensor, text};

    fn attributes() -> Vec<(&'static str, AttrValue)> {
        vec![
            ("input_scale", floats(&[0.5])),
            ("input_zero_point", ints(&[1])),
            ("filter_scale", floats(&[0.5, 0.25])),
            ("output_scale", floats(&[0.25])),
            ("output_zero_point", ints(&[-2])),
            ("padding", text("SAME")),
        ]
    }

    #[test]
    fn each_channel_has_a_scale() {
        // Numbers 0, 0.5; 1, -0.5.
        let x = tensor(&[1, 2, 2, 1], &[1i8, 2, 3, 0]);
        let filter = tensor(&[2, 1, 2, 1], &[2i8, 4, 1, -1]);
        let bias = tensor(&[2], &[4i32, 0]);
        // First channel: x + 2 * next + 1; second: (x - next) / 4.
        let y = [(0.0, 0.5), (0.5, 0.0), (1.0, -0.5), (-0.5, 0.0)]
            .map(|(a, b): (f32, f32)| [a + 2.0 * b + 1.0, (a - b) / 4.0])
            .concat()
            .iter()
            .map(|number| (number / 0.25 - 2.0 + 0.5).floor() as i8)
            .collect::<Vec<_>>();
        let inputs = [x, filter.clone(), bias];
        check("tfl.conv_2d", &attributes(), &inputs, &[tensor(&[1, 2, 2, 2], &y)]);
        let mut relu = attributes();
        relu.push(("fused_activation_function", text("RELU")));
        let bounded: Vec<i8> = y.iter().map(|y| (*y).max(-2)).collect();
        check("tfl.conv_2d", &relu, &inputs, &[tensor(&[1, 2, 2, 2], &bounded)]);
        let mut wrong = inputs.to_vec();
        wrong[2] = tensor(&[3], &[0i32; 3]);
        refuses("tfl.conv_2d", &attributes(), &wrong, "2 channels");
        wrong[2] = tensor(&[2], &[0i32; 2]);
        wrong[1] = tensor(&[2, 1, 1, 2], &[2i8, 4, 1, -1]);
        refuses("tfl.conv_2d", &attributes(), &wrong, "channels");
    }

    #[test]
    fn filters_of_four_bits_are_packed() {
        let x = tensor(&[1, 2, 2, 1], &[1i8, 2, 3, 0]);
        let bytes = tensor(&[2, 1, 2, 1], &[2i8, 4, 1, -1]);
        let packed = tensor(&[2], &[0x42u8, 0xf1]);
        let expected = crate::testing::run("tfl.conv_2d", &attributes(), &[x.clone(), bytes]).unwrap();
        let mut four = attributes();
        four.extend([("filter_bits", int(4)), ("filter_shape", ints(&[2, 1, 2, 1]))]);
        check("tfl.conv_2d", &four, &[x, packed], &expected);
    }

    #[test]
    fn channels_are_apart_in_depthwise_convolutions() {
        let x = tensor(&[1, 1, 2, 1], &[1i8, 3]);
        let filter = tensor(&[1, 1, 1, 2], &[2i8, -4]);
        // 0 and 1, by 1 and by -1.
        let expected = tensor(&[1, 1, 2, 2], &[-2i8, -2, 2, -6]);
        check("tfl.depthwise_conv_2d", &attributes(), &[x.clone(), filter], &[expected]);
        let wrong = tensor(&[2, 1, 1, 2], &[2i8, -4, 1, 1]);
        refuses("tfl.depthwise_conv_2d", &attributes(), &[x, wrong], "shape");
    }
}
