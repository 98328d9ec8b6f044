//! DepthwiseConv2dNative: input `[batch, height, width, channels]`, filter `[height, width, channels, multiplier]`.
//!
//! float32 (float64 in [`super::conv2d_f64`], float16 and bfloat16 are converted around it); data format NHWC, and NCHW as a change of layout around it. Each input channel has filters
//! of its own; output channel `channel * multiplier + i` is that of filter `i`. Padding SAME, VALID or EXPLICIT,
//! strides and dilations along height and width.
//!
//! The filter is small beside the pixels it meets, so it is held as the file has it. See [`crate::operator::product`] for the
//! inputs after it. The output may take the residual's memory.

use std::sync::Arc;

use tightfit_core::DType;
use tightfit_kernels::{DepthwiseConv2d as Kernel, DepthwiseParams, Isa};

use super::conv2d_f64::Conv2dF64;
use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::product::{Fused, OWN_INPUTS, Product};
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::window::WindowAttributes;

pub(crate) const OPS: &[Registration] = &[Registration { name: "DepthwiseConv2dNative", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let window = WindowAttributes::import(attributes)?;
    Ok(match attributes.dtype_or("T", DType::F32)? {
        DType::F64 => Box::new(Conv2dF64 { window, is_depthwise: true }),
        _ => Box::new(DepthwiseConv2d { window, fused: Fused::default() }),
    })
}

/// The operator.
#[derive(Debug, Clone)]
pub struct DepthwiseConv2d {
    /// Strides, dilations and padding.
    pub window: WindowAttributes,
    /// What is done to the sums.
    pub fused: Fused,
}

const FILTER: usize = 1;

impl DepthwiseConv2d {
    fn kernel(&self, isa: Isa, input: &[usize], filter: &[usize]) -> Result<Kernel, OpError> {
        let ([batch, height, width, channels], [filter_height, filter_width, _, multiplier]) =
            (input, filter)
        else {
            return Err(OpError::Internal("a convolution of other than four dimensions"));
        };
        let params = DepthwiseParams {
            batch: *batch,
            height: *height,
            width: *width,
            channels: *channels,
            multiplier: *multiplier,
            window: self.window.window([*filter_height, *filter_width], [*height, *width]),
        };
        Ok(Kernel::new(isa, params)?)
    }
}

impl Operator for DepthwiseConv2d {
    fn name(&self) -> &'static str {
        "DepthwiseConv2dNative"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, filter) = (shared::input(inputs, 0)?, shared::input(inputs, FILTER)?);
        shared::need_type(0, input, &[DType::F32])?;
        shared::need_type(FILTER, filter, &[DType::F32])?;
        let (image, window) = (shared::dims_of_rank(0, input, 4)?, shared::dims_of_rank(FILTER, filter, 4)?);
        let (Some(image), Some(window)) = (image, window) else {
            return Ok(vec![Fact::new(DType::F32, Dims::of_rank(4))]);
        };
        if let (Some(channels), Some(depth)) = (image[3].size(), window[2].size())
            && channels != depth
        {
            return Err(OpError::input(FILTER, format!("has {depth} channels where input 0 has {channels}")));
        }
        let channels = window[2].times(window[3]);
        self.fused.check(inputs, channels.size())?;
        let [rows, columns] = self.window.output_by(filter, &image[1..3])?;
        Ok(vec![Fact::new(DType::F32, Dims::new([image[0], rows, columns, channels]))])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        self.window.check_filter(inputs)
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        self.fused.memory(0, call.inputs[FILTER].held)
    }

    fn operations(&self, call: &Call<'_>) -> Option<f64> {
        shared::operations(call, call.inputs.get(FILTER)?.shape.elements())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if run.shape(FILTER).elements() == 0 && self.fused == Fused::default() {
            run.out_bytes(0)?.fill(0);
            return Ok(());
        }
        let kernel = self.kernel(run.pool.isa(), &run.shape(0), &run.shape(FILTER))?;
        let (input, filter) = (run.slice::<f32>(0)?, run.input(FILTER)?);
        let epilogue = self.fused.epilogue(run, OWN_INPUTS)?;
        Ok(kernel.run(run.pool, input, filter.bytes(), run.out(0)?, epilogue)?)
    }

    fn as_product(&self) -> Option<&dyn Product> {
        Some(self)
    }
}

impl Product for DepthwiseConv2d {
    fn fused(&self) -> Fused {
        self.fused
    }

    fn with_fused(&self, fused: Fused) -> Arc<dyn Operator> {
        Arc::new(DepthwiseConv2d { fused, ..self.clone() })
    }

    fn padded(&self, zeros: [usize; 4]) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(DepthwiseConv2d { window: self.window.padded(zeros)?, ..self.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, check_close, dtype, ints, refuses, run, tensor, text};
    use tightfit_core::DType;

    /// A row of padding is a row of zeros: TensorFlow multiplies them too.
    #[test]
    fn infinite_weights_times_padding_are_nan() {
        let attributes = [("strides", ints(&[1; 4])), ("padding", text("SAME"))];
        let x = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let f = [1.0f32, f32::INFINITY, 1.0, 1.0, 1.0, 1.0];
        let inputs = [tensor(&[1, 3, 1, 2], &x), tensor(&[3, 1, 2, 1], &f)];
        let sums = run("DepthwiseConv2dNative", &attributes, &inputs).unwrap()[0].values::<f32>();
        assert!(sums[1].is_nan());
        assert_eq!(
            [sums[0], sums[2], sums[3], sums[4], sums[5]],
            [4.0, 9.0, f32::INFINITY, 8.0, f32::INFINITY]
        );
        let doubles = |values: &[f32]| values.iter().map(|v| *v as f64).collect::<Vec<_>>();
        let inputs = [tensor(&[1, 3, 1, 2], &doubles(&x)), tensor(&[3, 1, 2, 1], &doubles(&f))];
        let attributes = [attributes.as_slice(), &[("T", dtype(DType::F64))]].concat();
        assert!(run("DepthwiseConv2dNative", &attributes, &inputs).unwrap()[0].values::<f64>()[1].is_nan());
    }

    #[test]
    fn each_channel_has_its_filters() {
        let (size, channels, multiplier) = (5usize, 3usize, 2usize);
        let x: Vec<f32> = (0..size * size * channels).map(|i| (i * 7 % 11) as f32 - 4.0).collect();
        let f: Vec<f32> = (0..9 * channels * multiplier).map(|i| (i * 5 % 13) as f32 - 6.0).collect();
        // 5 pixels with stride 2 and SAME: 3 outputs, one pixel of padding before.
        let mut expected = vec![0.0; 3 * 3 * channels * multiplier];
        for (i, out) in expected.iter_mut().enumerate() {
            let (pixel, channel) = (i / (channels * multiplier), i % (channels * multiplier));
            for tap in 0..9 {
                let (y, x_) =
                    ((pixel / 3 * 2 + tap / 3).wrapping_sub(1), (pixel % 3 * 2 + tap % 3).wrapping_sub(1));
                if y < size && x_ < size {
                    let at = (y * size + x_) * channels + channel / multiplier;
                    *out += x[at] * f[tap * channels * multiplier + channel];
                }
            }
        }
        let attributes = [("strides", ints(&[1, 2, 2, 1])), ("padding", text("SAME"))];
        let inputs = [tensor(&[1, 5, 5, 3], &x), tensor(&[3, 3, 3, 2], &f)];
        check_close("DepthwiseConv2dNative", &attributes, &inputs, &tensor(&[1, 3, 3, 6], &expected), 1e-5);
        let doubles = |values: &[f32]| values.iter().map(|v| *v as f64).collect::<Vec<_>>();
        let inputs = [tensor(&[1, 5, 5, 3], &doubles(&x)), tensor(&[3, 3, 3, 2], &doubles(&f))];
        let attributes_f64 = [attributes.as_slice(), &[("T", dtype(DType::F64))]].concat();
        let expected = [tensor(&[1, 3, 3, 6], &doubles(&expected))];
        check("DepthwiseConv2dNative", &attributes_f64, &inputs, &expected);
        let nothing = [tensor(&[1, 1, 1, 1], &[7.0f32]), tensor::<f32>(&[0, 1, 1, 1], &[])];
        check("DepthwiseConv2dNative", &attributes, &nothing, &[tensor(&[1, 1, 1, 1], &[0.0f32])]);
        let wrong = [tensor(&[1, 5, 5, 3], &x), tensor(&[3, 3, 2, 3], &f)];
        refuses("DepthwiseConv2dNative", &attributes, &wrong, "2 channels");
    }
}
