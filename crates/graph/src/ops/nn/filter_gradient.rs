//! Gradients of convolutions by their filter: Conv2DBackpropFilter, DepthwiseConv2dNativeBackpropFilter, Conv3DBackpropFilter
//! and its V2.
//!
//! Inputs: the images or volumes `[batch, .., in_channels]`, the filter's shape (an int32 vector; of Conv3DBackpropFilter a
//! tensor that has it), and the gradient `[batch, .., channels]` of the output. The output is of the filter's shape, `[..,
//! in_channels, channels]`, of a depthwise one `[height, width, in_channels, multiplier]`. float32 and float64 (float16 and bfloat16 are
//! converted around it), channels last, one group.

use tightfit_core::{DType, Shape, TensorViewMut};
use tightfit_kernels::{Window3, depthwise_filter_gradient, filter_gradient};

use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::{not_negative, reshaped, vector_len};
use crate::ops::shared::volume::WindowAttributes3;
use crate::ops::shared::window::WindowAttributes;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Conv2DBackpropFilter", import: |a| of_images(a, "Conv2DBackpropFilter", false) },
    Registration {
        name: "DepthwiseConv2dNativeBackpropFilter",
        import: |a| of_images(a, "DepthwiseConv2dNativeBackpropFilter", true),
    },
    Registration { name: "Conv3DBackpropFilter", import: |a| of_volumes(a, "Conv3DBackpropFilter", true) },
    Registration {
        name: "Conv3DBackpropFilterV2",
        import: |a| of_volumes(a, "Conv3DBackpropFilterV2", false),
    },
];

fn of_images(
    attributes: &Attributes<'_>,
    name: &'static str,
    is_depthwise: bool,
) -> Result<Box<dyn Operator>, OpError> {
    let window = match is_depthwise {
        true => WindowAttributes::import_undilated(attributes)?.into(),
        false => WindowAttributes::import(attributes)?.into(),
    };
    Ok(Box::new(FilterGradient { name, window, rank: 4, is_depthwise, has_filter: false }))
}

fn of_volumes(
    attributes: &Attributes<'_>,
    name: &'static str,
    has_filter: bool,
) -> Result<Box<dyn Operator>, OpError> {
    let window = WindowAttributes3::import(attributes)?;
    Ok(Box::new(FilterGradient { name, window, rank: 5, is_depthwise: false, has_filter }))
}

/// The operator.
#[derive(Debug)]
struct FilterGradient {
    name: &'static str,
    /// Those of the convolution.
    window: WindowAttributes3,
    /// 4 of images, 5 of volumes.
    rank: usize,
    is_depthwise: bool,
    /// The second input is of the filter's shape, and does not hold it.
    has_filter: bool,
}

const SIZES: usize = 1;
const GRADIENT: usize = 2;

/// The shape of images as that of volumes, where the depth stands at `at`.
fn as_volume(index: usize, shape: &Shape, at: usize) -> Result<[usize; 5], OpError> {
    match **shape {
        [a, b, c, d] if at == 0 => Ok([1, a, b, c, d]),
        [a, b, c, d] => Ok([a, 1, b, c, d]),
        [a, b, c, d, e] => Ok([a, b, c, d, e]),
        _ => Err(OpError::input(index, format!("is of shape {shape}, neither images nor volumes"))),
    }
}

impl FilterGradient {
    fn output(&self, sizes: &Fact) -> Result<Dims, OpError> {
        if self.has_filter {
            shared::dims_of_rank(SIZES, sizes, self.rank)?;
            return Ok(sizes.dims.clone());
        }
        shared::need_type(SIZES, sizes, &[DType::I32])?;
        if let Some(len) = vector_len(SIZES, sizes)?
            && len != self.rank
        {
            return Err(OpError::input(SIZES, format!("has {len} elements; {} are needed", self.rank)));
        }
        let Some(dims) = sizes.dims_value() else { return Ok(Dims::of_rank(self.rank)) };
        let dims = dims.into_iter().map(|dim| not_negative(SIZES, dim));
        Ok(Dims::new(dims.collect::<Result<Vec<_>, _>>()?))
    }
}

impl Operator for FilterGradient {
    fn name(&self) -> &'static str {
        self.name
    }

    fn grows_with(&self, input: usize) -> bool {
        input == SIZES && !self.has_filter
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, gradient) = (shared::input(inputs, 0)?, shared::input(inputs, GRADIENT)?);
        shared::need_type(0, input, &[DType::F32, DType::F64])?;
        shared::need_type(GRADIENT, gradient, &[input.dtype])?;
        shared::dims_of_rank(0, input, self.rank)?;
        shared::dims_of_rank(GRADIENT, gradient, self.rank)?;
        Ok(vec![Fact::new(input.dtype, self.output(shared::input(inputs, SIZES)?)?)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        if !self.has_filter {
            return reshape::set_asked(run, 0, SIZES);
        }
        let shape = run.shape(SIZES);
        run.set_output_shape(0, shape).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, gradient) = (run.input(0)?, run.input(GRADIENT)?);
        let shape = run.output_shape(0);
        let (volume, given) = (as_volume(0, input.shape(), 1)?, as_volume(GRADIENT, gradient.shape(), 1)?);
        let filter = as_volume(SIZES, &shape, 0)?;
        let size = [volume[1], volume[2], volume[3]];
        // Windows begin where the padding does, however long their steps.
        let window = self.window.window([filter[0], filter[1], filter[2]], size);
        let window = Window3 { skips: [0; 3], ..window };
        let [depth, height, width] = window.output(size)?;
        let channels = if self.is_depthwise { filter[3].saturating_mul(filter[4]) } else { filter[4] };
        if filter[3] != volume[4] {
            let why = format!("is {shape}, a filter of {} channels for {}", filter[3], volume[4]);
            return Err(OpError::input(SIZES, why));
        }
        if given != [volume[0], depth, height, width, channels] {
            let why = format!("is of shape {} for a filter of {shape}", gradient.shape());
            return Err(OpError::input(GRADIENT, why));
        }
        let (input, gradient) = (reshaped(input, &volume)?, reshaped(gradient, &given)?);
        let output = run.output(0)?;
        let mut output = TensorViewMut::new(output.dtype(), Shape::new(&filter)?, output.into_bytes())
            .ok_or(OpError::Internal("images as volumes have other bytes"))?;
        if volume.contains(&0) || given.contains(&0) || filter.contains(&0) {
            output.bytes().fill(0);
            return Ok(());
        }
        let kernel = if self.is_depthwise { depthwise_filter_gradient } else { filter_gradient };
        Ok(kernel(run.pool, window, input, gradient, &mut output)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn filters_get_what_they_reach_times_its_gradient() {
        let x = tensor(&[1, 2, 3, 1], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let sizes = tensor(&[4], &[1i32, 2, 1, 2]);
        let dy = tensor(&[1, 2, 2, 2], &[1f32, 0.0, 0.0, 1.0, 2.0, 0.0, 0.0, -1.0]);
        let attributes = [("strides", ints(&[1, 1, 1, 1])), ("padding", text("VALID"))];
        let dw = tensor(&[1, 2, 1, 2], &[9f32, -3.0, 12.0, -3.0]);
        check("Conv2DBackpropFilter", &attributes, &[x.clone(), sizes.clone(), dy.clone()], &[dw.clone()]);
        // One channel is a depthwise filter of two.
        check(
            "DepthwiseConv2dNativeBackpropFilter",
            &attributes,
            &[x.clone(), sizes.clone(), dy.clone()],
            &[dw],
        );
        let other = tensor(&[4], &[2i32, 2, 1, 2]);
        refuses("Conv2DBackpropFilter", &attributes, &[x.clone(), other, dy.clone()], "for a filter of");
        let groups = tensor(&[4], &[1i32, 2, 2, 2]);
        refuses("Conv2DBackpropFilter", &attributes, &[x, groups, dy], "channels");
    }

    #[test]
    fn of_volumes_too() {
        let x = tensor(&[1, 2, 1, 1, 1], &[3f64, 5.0]);
        let dy = tensor(&[1, 2, 1, 1, 1], &[1f64, 10.0]);
        let attributes = [("strides", ints(&[1, 1, 1, 1, 1])), ("padding", text("SAME"))];
        let dw = tensor(&[2, 1, 1, 1, 1], &[53f64, 5.0]);
        let sizes = tensor(&[5], &[2i32, 1, 1, 1, 1]);
        check("Conv3DBackpropFilterV2", &attributes, &[x.clone(), sizes, dy.clone()], &[dw.clone()]);
        let filter = tensor(&[2, 1, 1, 1, 1], &[0f64; 2]);
        check("Conv3DBackpropFilter", &attributes, &[x, filter, dy], &[dw]);
    }

    /// TensorFlow does not look at the dilations of a depthwise convolution here.
    #[test]
    fn a_depthwise_filter_is_not_dilated() {
        let attributes =
            [("strides", ints(&[1; 4])), ("padding", text("VALID")), ("dilations", ints(&[1, 2, 2, 1]))];
        let x = tensor(&[1, 1, 3, 1], &[1f32, 2.0, 3.0]);
        let inputs = [x, tensor(&[4], &[1i32, 2, 1, 1]), tensor(&[1, 1, 2, 1], &[1f32, 10.0])];
        check(
            "DepthwiseConv2dNativeBackpropFilter",
            &attributes,
            &inputs,
            &[tensor(&[1, 2, 1, 1], &[21f32, 32.0])],
        );
    }
}
