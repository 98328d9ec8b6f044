//! Convolutions of quantised integers in one step with what follows them, as Intel's tools write them: QuantizedConv2D and
//! QuantizedDepthwiseConv2D with a bias (WithBias), a summand (Sum, SignedSum), Relu and Requantize in their names, and
//! QuantizedConv2DPerChannel.
//!
//! An input is uint8 or int8 and a filter int8, 0 standing for 0 in both: the larger of a range's ends stands for 255 or 127. A
//! filter's range is two scalars, or vectors with an element for each channel. A bias is float32, or int32 in steps of the sums;
//! a summand is float32 beside int32 sums, and else of bytes with a range of their own. Sums are returned as int32 with their
//! range, or, where they are requantised, as bytes of a range that is given. Images are `[batch, height, width, channels]`,
//! padding SAME, VALID, or a `padding_list`. Rounding is that of oneDNN 3, which TensorFlow computes these with.

use tightfit_core::DType;
use tightfit_kernels::{Finish, Finished, QuantizedConv2d, QuantizedWindow, Summand, finish_sums};

use super::convert::{check_numbers, give, number};
use super::fused::{HIGHEST_SUM, Scratch, reach};
use super::layers::four;
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::shared;
use crate::ops::shared::window::{Padding, WindowAttributes, explicit};

/// A convolution by its name and what follows it.
macro_rules! fused {
    ($($name:literal: $($part:ident)*;)*) => {
        &[$(Registration {
            name: $name,
            import: |a| import(a, Parts { name: $name, $($part: true,)* ..Parts::NONE }),
        }),*]
    };
}

pub(crate) const OPS: &[Registration] = fused! {
    "QuantizedConv2DPerChannel":;
    "QuantizedConv2DAndRelu": has_relu;
    "QuantizedConv2DAndRequantize": is_requantized;
    "QuantizedConv2DAndReluAndRequantize": has_relu is_requantized;
    "QuantizedConv2DWithBias": has_bias;
    "QuantizedConv2DWithBiasAndRelu": has_bias has_relu;
    "QuantizedConv2DWithBiasAndRequantize": has_bias is_requantized;
    "QuantizedConv2DWithBiasAndReluAndRequantize": has_bias has_relu is_requantized;
    "QuantizedConv2DWithBiasSumAndRelu": has_bias has_summand has_relu;
    "QuantizedConv2DWithBiasSumAndReluAndRequantize": has_bias has_summand has_relu is_requantized;
    "QuantizedConv2DWithBiasSignedSumAndReluAndRequantize": has_bias has_summand has_relu is_requantized;
    "QuantizedDepthwiseConv2D": is_depthwise;
    "QuantizedDepthwiseConv2DWithBias": is_depthwise has_bias;
    "QuantizedDepthwiseConv2DWithBiasAndRelu": is_depthwise has_bias has_relu;
    "QuantizedDepthwiseConv2DWithBiasAndReluAndRequantize": is_depthwise has_bias has_relu is_requantized;
};

/// What an operator does in its step.
#[derive(Debug, Clone, Copy)]
struct Parts {
    name: &'static str,
    is_depthwise: bool,
    has_bias: bool,
    has_summand: bool,
    has_relu: bool,
    is_requantized: bool,
}

impl Parts {
    const NONE: Parts = Parts {
        name: "",
        is_depthwise: false,
        has_bias: false,
        has_summand: false,
        has_relu: false,
        is_requantized: false,
    };

    /// The input that the minimum of the image is; its maximum, those of the filter and those of the output come after it.
    fn ranges(&self) -> usize {
        2 + usize::from(self.has_bias)
    }

    /// The input that the summand is; its minimum and maximum come after it, where it is of bytes.
    fn summand(&self) -> usize {
        self.ranges() + if self.is_requantized { 6 } else { 4 }
    }
}

fn import(attributes: &Attributes<'_>, parts: Parts) -> Result<Box<dyn Operator>, OpError> {
    let window = WindowAttributes::import(attributes)?;
    let padding = match attributes.ints_or_empty("padding_list")?[..] {
        [] => window.padding,
        _ => Padding::Explicit(explicit(attributes, "padding_list")?),
    };
    let to = match (parts.is_requantized, parts.has_relu) {
        (false, _) => DType::I32,
        (true, false) => DType::I8,
        (true, true) => DType::U8,
    };
    let said = attributes.dtype_or("out_type", to)?;
    if said != to {
        return Err(OpError::attribute("out_type", format!("is {said}; {to} is what it gives")));
    }
    Ok(Box::new(FusedConv { parts, window: WindowAttributes { padding, ..window }, to }))
}

/// The operator.
#[derive(Debug)]
struct FusedConv {
    parts: Parts,
    window: WindowAttributes,
    /// The type of the first output.
    to: DType,
}

impl FusedConv {
    /// The types that a summand may have.
    fn summands(&self) -> &'static [DType] {
        match (self.parts.is_requantized, self.parts.name.contains("SignedSum")) {
            (false, _) => &[DType::F32],
            (true, false) => &[DType::U8],
            (true, true) => &[DType::I8],
        }
    }

    /// Computes the sums.
    fn sum(&self, run: &Run<'_>, sums: &mut [i32]) -> Result<(), OpError> {
        let (input, filter) = (run.input(0)?, run.input(1)?);
        let (image, size) = (four(*input.shape())?, four(*filter.shape())?);
        let output = four(run.output_shape(0))?;
        let window = self.window.window([size[0], size[1]], [image[1], image[2]]);
        let window = QuantizedWindow {
            input: image,
            filter: size,
            output: [output[1], output[2]],
            strides: window.strides,
            dilations: window.dilations,
            before: [window.pads[0] as isize, window.pads[2] as isize],
            is_input_signed: input.dtype() == DType::I8,
        };
        if self.parts.is_depthwise {
            return Ok(window.depthwise(run.pool, input.bytes(), run.slice::<i8>(1)?, sums)?);
        }
        let conv = QuantizedConv2d { window, input_zero: 0, filter_zero: 0, is_filter_signed: true };
        Ok(conv.run(run.pool, input.bytes(), filter.bytes(), sums)?)
    }

    /// The ends of the filter's ranges: one of each, or one for each channel.
    fn filter_ranges<'a>(&self, run: &Run<'a>, channels: usize) -> Result<(&'a [f32], &'a [f32]), OpError> {
        let first = self.parts.ranges() + 2;
        let ends = (run.slice::<f32>(first)?, run.slice::<f32>(first + 1)?);
        if ends.0.len() != ends.1.len() || (ends.0.len() != 1 && ends.0.len() != channels) {
            let why =
                format!("holds {} ends and {} others for {channels} channels", ends.0.len(), ends.1.len());
            return Err(OpError::input(first, why));
        }
        Ok(ends)
    }

    /// What is added to the sums.
    fn summand<'a>(&self, run: &Run<'a>) -> Result<(Summand<'a>, f32), OpError> {
        if !self.parts.has_summand {
            return Ok((Summand::None, 1.0));
        }
        let at = self.parts.summand();
        if run.shape(at) != run.output_shape(0) {
            let why = format!("is of shape {}, and the sums are of {}", run.shape(at), run.output_shape(0));
            return Err(OpError::input(at, why));
        }
        Ok(match run.dtype(at) {
            DType::F32 => (Summand::Floats(run.slice(at)?), 1.0),
            dtype => {
                let end = reach(number(run, at + 1)?, number(run, at + 2)?);
                match dtype {
                    DType::U8 => (Summand::Unsigned(run.slice(at)?), end / 255.0),
                    _ => (Summand::Signed(run.slice(at)?), end / 127.0),
                }
            }
        })
    }

    fn finish<T: Finished + tightfit_core::Element>(
        &self,
        run: &mut Run<'_>,
        sums: &[i32],
        how: &Finish<'_>,
    ) -> Result<(), OpError> {
        Ok(finish_sums(run.pool, sums, how, run.out::<T>(0)?)?)
    }
}

impl Operator for FusedConv {
    fn name(&self) -> &'static str {
        self.parts.name
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, filter) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, input, &[DType::U8, DType::I8])?;
        shared::need_type(1, filter, &[DType::I8])?;
        let image = shared::dims_of_rank(0, input, 4)?.unwrap_or(vec![Dim::Unknown; 4]);
        let size = shared::dims_of_rank(1, filter, 4)?.unwrap_or(vec![Dim::Unknown; 4]);
        if image[3].size().zip(size[2].size()).is_some_and(|(channels, depth)| channels != depth) {
            return Err(OpError::input(1, format!("is of shape {} for {} channels", filter.dims, image[3])));
        }
        let channels = match (self.parts.is_depthwise, size[2].known(), size[3].known()) {
            (false, ..) => size[3],
            (true, Some(channels), Some(multiplier)) => {
                channels.checked_mul(multiplier).map_or(Dim::Unknown, Dim::Known)
            }
            (true, ..) => Dim::Unknown,
        };
        if self.parts.has_bias {
            let bias = shared::input(inputs, 2)?;
            let types: &[DType] =
                if self.parts.is_requantized { &[DType::F32, DType::I32] } else { &[DType::F32] };
            shared::need_type(2, bias, types)?;
            let count = shared::dims_of_rank(2, bias, 1)?.and_then(|dims| dims[0].size());
            let is_other = count.zip(channels.size()).is_some_and(|(a, b)| a != b);
            if is_other && !bias.is_bound && !filter.is_bound {
                return Err(OpError::input(2, format!("is of shape {} for {channels} channels", bias.dims)));
            }
        }
        let ranges = self.parts.ranges();
        check_numbers(inputs, ranges..ranges + 2)?;
        for at in ranges + 2..ranges + 4 {
            let end = shared::input(inputs, at)?;
            shared::need_type(at, end, &[DType::F32])?;
            if end.dims.rank().is_some_and(|rank| rank > 1) {
                return Err(OpError::input(
                    at,
                    format!("is of shape {}; at most a vector is needed", end.dims),
                ));
            }
        }
        if self.parts.is_requantized {
            check_numbers(inputs, ranges + 4..ranges + 6)?;
        }
        if self.parts.has_summand {
            let at = self.parts.summand();
            shared::need_type(at, shared::input(inputs, at)?, self.summands())?;
            if self.parts.is_requantized {
                check_numbers(inputs, at + 1..at + 3)?;
            }
        }
        let [rows, columns] = self.window.output_by(filter, &image[1..3])?;
        let ends = match self.parts.is_requantized {
            true => Dims::scalar(),
            false => inputs[ranges + 2].dims.clone(),
        };
        let output = Fact::new(self.to, Dims::new([image[0], rows, columns, channels]));
        Ok(vec![output, Fact::new(DType::F32, ends.clone()), Fact::new(DType::F32, ends)])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        self.window.check_filter(inputs)
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        Scratch::memory(call)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let Scratch { sums, scales, biases } = Scratch::of(run)?;
        let channels = scales.len();
        self.sum(run, sums)?;

        let ranges = self.parts.ranges();
        let is_signed = run.dtype(0) == DType::I8;
        let most = if is_signed { 127.0 } else { 255.0 };
        let (min, max) = (number(run, ranges)?, number(run, ranges + 1)?);
        let input_step = reach(min, max) / most;
        let (lows, highs) = self.filter_ranges(run, channels)?;
        let end = |channel: usize| {
            let channel = if lows.len() == 1 { 0 } else { channel };
            reach(lows[channel], highs[channel])
        };
        for (channel, scale) in scales.iter_mut().enumerate() {
            *scale = input_step * (end(channel) as f64 / 127.0) as f32;
        }
        let bias = match self.parts.has_bias {
            false => None,
            true if run.dtype(2) == DType::F32 => Some(run.slice::<f32>(2)?),
            true => {
                let given = run.slice::<i32>(2)?;
                for (channel, (to, steps)) in biases.iter_mut().zip(given).enumerate() {
                    let per_one = most * 127.0 / (reach(min, max) * end(channel));
                    *to = *steps as f32 * (1.0 / per_one);
                }
                Some(&biases[..given.len().min(channels)])
            }
        };
        let (summand, summand_scale) = self.summand(run)?;
        let mut how = Finish {
            scales,
            bias,
            summand,
            summand_scale,
            has_relu: self.parts.has_relu,
            step: 1.0,
            highest: 255.0,
        };
        if !self.parts.is_requantized {
            let lowest = lows.iter().copied().fold(f32::INFINITY, f32::min);
            let highest = highs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            how.step = (reach(lowest, highest) as f64 / 127.0) as f32 * input_step;
            how.highest = HIGHEST_SUM;
            self.finish::<i32>(run, sums, &how)?;
            let one = (max - min) / if is_signed { 254.0 } else { 255.0 };
            let (to_low, to_high) = (run.out::<f32>(1)?, run.out::<f32>(2)?);
            for (channel, (to_low, to_high)) in to_low.iter_mut().zip(to_high).enumerate() {
                let step = one * ((highs[channel] - lows[channel]) / 254.0);
                (*to_low, *to_high) = (step * i32::MIN as f32, step * i32::MAX as f32);
            }
            return Ok(());
        }
        let to = (number(run, ranges + 4)?, number(run, ranges + 5)?);
        if self.to == DType::I8 {
            (how.step, how.highest) = (reach(to.0, to.1) / 127.0, 127.0);
            self.finish::<i8>(run, sums, &how)?;
        } else {
            how.step = reach(to.0, to.1) / 255.0;
            if matches!(summand, Summand::Signed(_)) {
                // TensorFlow has the sums in the memory of the summand, as int8.
                how.highest = 127.0;
            }
            self.finish::<u8>(run, sums, &how)?;
        }
        give(run, 1, to)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tensor, check, ints, refuses, scalar, tensor, text};

    /// An image whose ones stand for 1/2, a filter whose ones stand for 1/4, and their ranges.
    fn image_and_filter(bias: Option<Tensor>) -> Vec<Tensor> {
        let x = tensor(&[1, 1, 3, 1], &[2u8, 4, 255]);
        let w = tensor(&[1, 1, 1, 2], &[4i8, -2]);
        let ranges = [0.0, 127.5, -31.75, 1.0].map(|end: f32| scalar(end));
        [vec![x, w], bias.into_iter().collect(), ranges.to_vec()].concat()
    }

    fn plain() -> Vec<(&'static str, tightfit_format::AttrValue)> {
        vec![("strides", ints(&[1, 1, 1, 1])), ("padding", text("VALID"))]
    }

    #[test]
    fn sums_are_rectified_and_come_with_their_range() {
        let inputs = image_and_filter(Some(tensor(&[2], &[1f32, 1.0])));
        // 8 steps of 1/8 to the bias' 1.
        let step = 0.5f32 * (32.75 / 254.0);
        let range = [scalar(step * i32::MIN as f32), scalar(step * i32::MAX as f32)];
        let sums = tensor(&[1, 1, 3, 2], &[16i32, 4, 24, 0, 1028, -502]);
        check("QuantizedConv2DWithBias", &plain(), &inputs, &[&[sums][..], &range].concat());
        let sums = tensor(&[1, 1, 3, 2], &[16i32, 4, 24, 0, 1028, 0]);
        check("QuantizedConv2DWithBiasAndRelu", &plain(), &inputs, &[&[sums][..], &range].concat());
        let padded = [plain(), vec![("padding_list", ints(&[0, 0, 0, 0, 1, 0, 0, 0]))]].concat();
        let sums = tensor(&[1, 1, 4, 2], &[0i32, 0, 8, 0, 16, 0, 1020, 0]);
        let inputs = image_and_filter(None);
        check("QuantizedConv2DAndRelu", &padded, &inputs, &[&[sums][..], &range].concat());
    }

    #[test]
    fn summands_and_biases_have_steps_of_their_own() {
        let bias = tensor(&[2], &[8i32, 0]);
        let to = [scalar(-4f32), scalar(63.75f32)];
        let mut inputs = [image_and_filter(Some(bias)), to.to_vec()].concat();
        let expected = tensor(&[1, 1, 3, 2], &[8u8, 0, 12, 0, 255, 0]);
        check(
            "QuantizedConv2DWithBiasAndReluAndRequantize",
            &plain(),
            &inputs,
            &[&[expected][..], &to].concat(),
        );
        inputs.push(tensor(&[1, 1, 3, 2], &[1i8, 9, -5, 1, 127, 127]));
        inputs.extend([scalar(-127f32), scalar(2f32)]);
        let expected = tensor(&[1, 1, 3, 2], &[12u8, 34, 0, 0, 127, 127]);
        let signed = "QuantizedConv2DWithBiasSignedSumAndReluAndRequantize";
        check(signed, &plain(), &inputs, &[&[expected][..], &to].concat());
        inputs[9] = tensor(&[1, 1, 2, 2], &[1i8; 4]);
        refuses(signed, &plain(), &inputs, "the sums are of");
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let inputs = image_and_filter(Some(tensor(&[3], &[1f32; 3])));
        refuses("QuantizedConv2DWithBias", &plain(), &inputs, "for 2 channels");
        let mut inputs = image_and_filter(None);
        inputs[4] = tensor(&[3], &[1f32; 3]);
        inputs[5] = tensor(&[3], &[2f32; 3]);
        refuses("QuantizedConv2DPerChannel", &plain(), &inputs, "3 others for 2 channels");
        let wrong = [plain(), vec![("padding_list", ints(&[1, 0, 0, 0, 0, 0, 0, 0]))]].concat();
        refuses("QuantizedConv2DAndRelu", &wrong, &image_and_filter(None), "batch");
    }

    #[test]
    fn depthwise_channels_are_by_themselves() {
        let x = tensor(&[1, 1, 1, 2], &[2u8, 4]);
        let w = tensor(&[1, 1, 2, 2], &[4i8, -2, 1, 3]);
        let ends = [0.0, 127.5].map(|end: f32| scalar(end));
        let filter = [tensor(&[4], &[-31.75f32; 4]), tensor(&[4], &[31.75f32; 4])];
        let inputs = [&[x, w][..], &ends, &filter].concat();
        let step = 0.5f32 * (63.5 / 254.0);
        let expected = [
            tensor(&[1, 1, 1, 4], &[8i32, -4, 4, 12]),
            tensor(&[4], &[step * i32::MIN as f32; 4]),
            tensor(&[4], &[step * i32::MAX as f32; 4]),
        ];
        check("QuantizedDepthwiseConv2D", &plain(), &inputs, &expected);
    }
}
