//! Conv2DBackpropInput, the transposed convolution: inputs the output's shape (int32, `[batch, height, width, channels]`
//! or `[height, width]`), the filter `[height, width, channels, in_channels]`, and `[batch, rows, columns, in_channels]`.
//!
//! float32 (float16 and bfloat16 are converted around it), float64 and int32, whose sums wrap; data format NHWC only.
//! float64 and int32 have a plain kernel. Of float32 it is the plain convolution, with
//! stride 1, of the input with zeros stuffed between its pixels by the filter turned around, both made in scratch. Rows
//! of padding beyond the filter's reach are left out of that image.

use tightfit_core::{ALIGNMENT, DType};
use tightfit_kernels::{
    Conv2d as Kernel, Conv2dParams, Epilogue, Isa, WeightForm, WeightedProduct as _, Weights, Window,
    conv2d_transpose_plain, stuff_zeros, stuffed_size, turn_filter,
};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::window::Moves;

pub(crate) const OPS: &[Registration] = &[Registration { name: "Conv2DBackpropInput", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Conv2dTranspose { moves: Moves::import(attributes)? }))
}

/// The operator.
#[derive(Debug)]
struct Conv2dTranspose {
    /// Those of the convolution that it is the transpose of.
    moves: Moves,
}

const SIZES: usize = 0;
const FILTER: usize = 1;
const INPUT: usize = 2;

/// The plain convolution at concrete shapes.
struct Plain {
    kernel: Kernel,
    input: [usize; 4],
    filter: [usize; 4],
    /// Rows and columns that are left out of it: top, bottom, left, right.
    crops: [usize; 4],
    /// Floats of the input with zeros between its pixels.
    stuffed_floats: usize,
}

impl Plain {
    fn filter_floats(&self) -> usize {
        self.filter.iter().product()
    }
}

impl Conv2dTranspose {
    /// The plain convolution; `None` where the filter reaches no pixel of the output, which is 0 then.
    fn plain(
        &self,
        isa: Isa,
        output: &[usize],
        filter: &[usize],
        input: &[usize],
    ) -> Result<Option<Plain>, OpError> {
        let four = |shape: &[usize]| {
            <[usize; 4]>::try_from(shape)
                .map_err(|_| OpError::Internal("a convolution of other than four dimensions"))
        };
        let (output, filter, input) = (four(output)?, four(filter)?, four(input)?);
        if [output, filter, input].iter().any(|dims| dims.contains(&0)) {
            return Ok(None);
        }
        let window = self.moves.window([filter[0], filter[1]], [output[1], output[2]]);
        let too_large = || OpError::input(INPUT, "is too large once zeros are put between its pixels");
        let stuffed = stuffed_size([input[1], input[2]], self.moves.strides).ok_or_else(too_large)?;
        let (mut pads, mut crops) = ([0; 4], [0; 4]);
        for axis in 0..2 {
            let reach = filter[axis].saturating_sub(1).saturating_mul(self.moves.dilations[axis]);
            // What padding the filter does not reach is cut off the image.
            let around = |size: usize, less: usize| (size.saturating_sub(less), less.saturating_sub(size));
            let (before, crop) = around(reach, window.pads[2 * axis]);
            let (after, crop_behind) = around(output[axis + 1] + reach + crop, stuffed[axis] + before);
            (pads[2 * axis], pads[2 * axis + 1]) = (before, after);
            (crops[2 * axis], crops[2 * axis + 1]) = (crop, crop_behind);
        }
        let left =
            |axis: usize| stuffed[axis].checked_sub(crops[2 * axis].saturating_add(crops[2 * axis + 1]));
        let stuffed = match (left(0), left(1)) {
            (Some(height), Some(width)) if height > 0 && width > 0 => [height, width],
            // All of it lies in the padding.
            _ => return Ok(None),
        };
        let window = Window { strides: [1, 1], pads, ..window };
        let params = Conv2dParams {
            batch: input[0],
            height: stuffed[0],
            width: stuffed[1],
            in_channels: input[3],
            out_channels: filter[2],
            window,
            groups: 1,
        };
        let kernel = Kernel::new(isa, params)?;
        let is_stuffed = self.moves.strides != [1, 1] || crops != [0; 4];
        let sizes = [input[0], stuffed[0], stuffed[1], input[3]];
        let floats = sizes.iter().try_fold(1usize, |n, size| n.checked_mul(*size)).ok_or_else(too_large)?;
        Ok(Some(Plain { kernel, input, filter, crops, stuffed_floats: if is_stuffed { floats } else { 0 } }))
    }

    /// float64 and int32, by a plain kernel without scratch.
    fn run_directly(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (output, filter, input) = (run.output_shape(0), run.shape(FILTER), run.shape(INPUT));
        let (&[batch, height, width, in_channels], &[rows, columns, _, out_channels]) =
            (&output[..], &filter[..])
        else {
            return Err(OpError::Internal("a convolution of other than four dimensions"));
        };
        let window = self.moves.window([rows, columns], [height, width]);
        let params = Conv2dParams { batch, height, width, in_channels, out_channels, window, groups: 1 };
        if input.elements() == 0 || filter.elements() == 0 {
            run.output(0)?.bytes().fill(0);
            return Ok(());
        }
        if run.dtype(FILTER) == DType::I32 {
            let (filter, input) = (run.slice::<i32>(FILTER)?, run.slice::<i32>(INPUT)?);
            return Ok(conv2d_transpose_plain(run.pool, &params, input, filter, run.out(0)?)?);
        }
        let (filter, input) = (run.slice::<f64>(FILTER)?, run.slice::<f64>(INPUT)?);
        Ok(conv2d_transpose_plain(run.pool, &params, input, filter, run.out(0)?)?)
    }

    /// Checks that the batch and the channels that the first input says, where it does, are those of the others.
    fn check_sizes(sizes: &[Dim], batch: Dim, channels: Dim) -> Result<(), OpError> {
        let &[asked_batch, _, _, asked_channels] = sizes else { return Ok(()) };
        for (what, asked, have) in [("batch", asked_batch, batch), ("channels", asked_channels, channels)] {
            if let (Dim::Known(asked), Dim::Known(have)) = (asked, have)
                && asked != have
            {
                return Err(OpError::input(
                    SIZES,
                    format!("asks for {what} of {asked} where there are {have}"),
                ));
            }
        }
        Ok(())
    }

    /// Height and width of the output, as the first input says.
    fn size(&self, sizes: &Fact) -> Result<[Dim; 2], OpError> {
        shared::need_type(SIZES, sizes, &[DType::I32])?;
        shared::dims_of_rank(SIZES, sizes, 1)?;
        match sizes.dims_value().as_deref() {
            None => Ok([Dim::Unknown; 2]),
            Some(sizes) if sizes.iter().any(|size| matches!(size, Dim::Known(..0))) => {
                Err(OpError::input(SIZES, format!("is {}, no shape of images", Dims::new(sizes))))
            }
            Some(&[_, height, width, _] | &[height, width]) => Ok([height, width]),
            Some(other) => Err(OpError::input(SIZES, format!("is {}, no shape of images", Dims::new(other)))),
        }
    }
}

impl Operator for Conv2dTranspose {
    fn name(&self) -> &'static str {
        "Conv2DBackpropInput"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (filter, input) = (shared::input(inputs, FILTER)?, shared::input(inputs, INPUT)?);
        shared::need_type(FILTER, filter, &[DType::F32, DType::F64, DType::I32])?;
        shared::need_type(INPUT, input, &[filter.dtype])?;
        let filter_type = filter.dtype;
        let [height, width] = self.size(shared::input(inputs, SIZES)?)?;
        let unknown = || vec![Dim::Unknown; 4];
        let window = shared::dims_of_rank(FILTER, filter, 4)?.unwrap_or_else(unknown);
        let image = shared::dims_of_rank(INPUT, input, 4)?.unwrap_or_else(unknown);
        if let (Dim::Known(a), Dim::Known(b)) = (window[3], image[3])
            && a != b
        {
            return Err(OpError::input(FILTER, format!("has {a} channels where input {INPUT} has {b}")));
        }
        let is_bound = filter.is_bound || input.is_bound || inputs[SIZES].is_bound;
        if let Some(sizes) = inputs[SIZES].dims_value().filter(|_| !is_bound) {
            Self::check_sizes(&sizes, image[0], window[2])?;
        }
        if window[2] == Dim::Known(0) && !filter.is_bound {
            return Err(OpError::input(
                FILTER,
                format!("is of shape {}, for images of no channels", filter.dims),
            ));
        }
        if let (Some(rows), Some(columns)) = (window[0].size(), window[1].size()) {
            // A convolution of the output must give the input.
            let forward = self.moves.output([rows, columns], &[height, width])?;
            if forward
                .iter()
                .zip(&image[1..3])
                .any(|(a, b)| a.known().zip(b.known()).is_some_and(|(a, b)| a != b))
            {
                let why =
                    format!("is {}, which is not a size for {}", Dims::new([height, width]), input.dims);
                return Err(OpError::input(SIZES, why));
            }
        }
        let output = Dims::new([image[0], height, width, window[2]]);
        if let (Some(output), Some(filter), Some(input)) =
            (output.concrete(), filter.dims.concrete(), input.dims.concrete())
            && filter_type == DType::F32
        {
            self.plain(Isa::Portable, &output, &filter, &input)?;
        }
        Ok(vec![Fact::new(filter_type, output)])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        if call.inputs[FILTER].dtype != DType::F32 {
            return Memory::default();
        }
        let (filter, input) = (call.inputs[FILTER].shape, call.inputs[INPUT].shape);
        let Ok(Some(plain)) = self.plain(call.isa, &call.outputs[0].shape, &filter, &input) else {
            return Memory::default();
        };
        let copies = [plain.filter_floats(), plain.stuffed_floats]
            .map(|floats| floats.saturating_mul(4).next_multiple_of(ALIGNMENT));
        let kernel = plain.kernel.scratch_bytes(call.threads, WeightForm::Unpacked);
        Memory::scratch(copies.iter().fold(kernel, |sum, bytes| sum.saturating_add(*bytes)))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let sizes = run.ints::<4>(SIZES)?;
        if let [batch, height, width, channels] = sizes[..] {
            let dim = |input: usize, axis: usize| {
                run.shape(input).get(axis).map_or(Dim::Unknown, |d| Dim::Known(*d as i64))
            };
            let sizes = [batch, height, width, channels].map(Dim::Known);
            Self::check_sizes(&sizes, dim(INPUT, 0), dim(FILTER, 2))?;
        }
        if run.dtype(FILTER) != DType::F32 {
            return self.run_directly(run);
        }
        let plain =
            self.plain(run.pool.isa(), &run.output_shape(0), &run.shape(FILTER), &run.shape(INPUT))?;
        let Some(plain) = plain else {
            run.out_bytes(0)?.fill(0);
            return Ok(());
        };
        let (filter, input) = (run.slice::<f32>(FILTER)?, run.slice::<f32>(INPUT)?);
        let (turned, rest) = floats(run.scratch()?, plain.filter_floats())?;
        let (stuffed, scratch) = floats(rest, plain.stuffed_floats)?;
        turn_filter(run.pool, plain.filter, filter, turned)?;
        let input = if plain.stuffed_floats > 0 {
            stuff_zeros(run.pool, plain.input, self.moves.strides, plain.crops, input, stuffed)?;
            stuffed
        } else {
            input
        };
        let weights = Weights::Unpacked(bytemuck::cast_slice(turned));
        Ok(plain.kernel.run(run.pool, input, weights, run.out(0)?, Epilogue::default(), scratch)?)
    }
}

/// The first floats of a memory, and the rest from the next aligned byte on.
fn floats(memory: &mut [u8], count: usize) -> Result<(&mut [f32], &mut [u8]), OpError> {
    let missing = || OpError::Internal("less scratch than was planned");
    let (first, rest) =
        memory.split_at_mut_checked((count * 4).next_multiple_of(ALIGNMENT)).ok_or_else(missing)?;
    Ok((bytemuck::try_cast_slice_mut(&mut first[..count * 4]).map_err(|_| missing())?, rest))
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, check_close, ints, refuses, tensor, text};

    /// Each pixel of the input adds the filter to the output, as the definition says.
    #[test]
    fn scatters_the_filter() {
        for (stride, padding, dilation, size) in [
            (2usize, "SAME", 1usize, 6usize),
            (1, "SAME", 1, 4),
            (2, "VALID", 1, 8),
            (3, "VALID", 2, 11),
            (1, "SAME", 2, 5),
        ] {
            let (taps, channels, in_channels) = (3usize, 2usize, 3usize);
            let reach = (taps - 1) * dilation + 1;
            let pixels = if padding == "SAME" { size.div_ceil(stride) } else { (size - reach) / stride + 1 };
            let total = ((pixels - 1) * stride + reach).saturating_sub(size);
            let before = if padding == "SAME" { total / 2 } else { 0 };
            let x: Vec<f32> = (0..pixels * pixels * in_channels).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
            let f: Vec<f32> = (0..9 * channels * in_channels).map(|i| (i * 5 % 13) as f32 - 6.0).collect();
            let mut expected = vec![0.0f32; size * size * channels];
            for (i, value) in x.iter().enumerate() {
                let (pixel, from) = (i / in_channels, i % in_channels);
                for tap in 0..9 {
                    let y = (pixel / pixels * stride + tap / 3 * dilation).wrapping_sub(before);
                    let x = (pixel % pixels * stride + tap % 3 * dilation).wrapping_sub(before);
                    for to in (0..channels).filter(|_| y < size && x < size) {
                        expected[(y * size + x) * channels + to] +=
                            value * f[(tap * channels + to) * in_channels + from];
                    }
                }
            }
            let attributes = [
                ("strides", ints(&[1, stride as i64, stride as i64, 1])),
                ("dilations", ints(&[1, dilation as i64, dilation as i64, 1])),
                ("padding", text(padding)),
            ];
            let shape = tensor(&[4], &[1i32, size as i32, size as i32, channels as i32]);
            let inputs = [
                shape,
                tensor(&[3, 3, channels, in_channels], &f),
                tensor(&[1, pixels, pixels, in_channels], &x),
            ];
            let expected = tensor(&[1, size, size, channels], &expected);
            check_close("Conv2DBackpropInput", &attributes, &inputs, &expected, 1e-5);
        }
    }

    #[test]
    fn other_types_as_tensorflow() {
        let attributes = [("strides", ints(&[1, 2, 2, 1])), ("padding", text("SAME"))];
        let expected = [1, 2, 2, 4, 3, 4, 6, 8, 3, 6, 4, 8];
        let sizes = tensor(&[4], &[1i32, 3, 4, 1]);
        let four = tensor(&[2, 2, 1, 1], &[1i32, 2, 3, 4]);
        let x = tensor(&[1, 2, 2, 1], &[1i32, 2, 3, 4]);
        let inputs = [sizes.clone(), four, x];
        check("Conv2DBackpropInput", &attributes, &inputs, &[tensor(&[1, 3, 4, 1], &expected)]);
        let four = tensor(&[2, 2, 1, 1], &[1f64, 2.0, 3.0, 4.0]);
        let x = tensor(&[1, 2, 2, 1], &[1f64, 2.0, 3.0, 4.0]);
        let expected = tensor(&[1, 3, 4, 1], &expected.map(f64::from));
        check("Conv2DBackpropInput", &attributes, &[sizes, four, x], &[expected]);
    }

    /// What the filter puts into the padding is nowhere; TensorFlow counts a filter without rows as one of -1.
    #[test]
    fn nothing_reaches_the_image() {
        let attributes = [
            ("strides", ints(&[1, 3, 1, 1])),
            ("padding", text("EXPLICIT")),
            ("explicit_paddings", ints(&[0, 0, 2, 1, 0, 0, 0, 0])),
        ];
        let sizes = tensor(&[4], &[1i32, 1, 1, 1]);
        let inputs = [sizes, tensor(&[2, 1, 1, 1], &[5.0f32; 2]), tensor(&[1, 1, 1, 1], &[7.0f32])];
        check("Conv2DBackpropInput", &attributes, &inputs, &[tensor(&[1, 1, 1, 1], &[0.0f32])]);
        let valid = [("strides", ints(&[1; 4])), ("padding", text("VALID"))];
        let sizes = tensor(&[4], &[1i32, 2, 1, 1]);
        let inputs = |rows: usize| {
            let x = tensor(&[1, rows, 1, 1], &vec![7i32; rows]);
            [sizes.clone(), tensor::<i32>(&[0, 1, 1, 1], &[]), x]
        };
        check("Conv2DBackpropInput", &valid, &inputs(3), &[tensor(&[1, 2, 1, 1], &[0i32; 2])]);
        refuses("Conv2DBackpropInput", &valid, &inputs(2), "not a size");
    }

    #[test]
    fn refuses_sizes_that_do_not_follow() {
        let attributes = [("strides", ints(&[1, 2, 2, 1])), ("padding", text("SAME"))];
        let (filter, x) = (tensor(&[1, 1, 1, 1], &[1.0f32]), tensor(&[1, 2, 2, 1], &[0.0f32; 4]));
        let inputs = [tensor(&[4], &[1i32, 5, 4, 1]), filter, x];
        refuses("Conv2DBackpropInput", &attributes, &inputs, "not a size");
        for (sizes, why) in [([2, 4, 4, 1], "batch of 2"), ([1, 4, 4, 2], "channels of 2")] {
            let inputs = [tensor(&[4], &sizes), inputs[1].clone(), inputs[2].clone()];
            refuses("Conv2DBackpropInput", &attributes, &inputs, why);
        }
    }
}
