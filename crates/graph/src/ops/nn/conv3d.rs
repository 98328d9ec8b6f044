//! Conv3D: input `[batch, depth, height, width, in_channels]`, filter `[depth, height, width, in_channels / groups,
//! out_channels]`.
//!
//! float32, by the kernel of Conv2D, and float64 by a plain one (float16 and bfloat16 are converted around it); data format
//! NDHWC, and NCDHW as a change of layout around it. Padding SAME or VALID, strides and dilations along depth, height and
//! width.
//!
//! The filter is a weight, as that of [`super::conv2d`].

use std::sync::Arc;

use tightfit_core::{DType, Shape};
use tightfit_kernels::{Conv2d as Kernel, Conv3dParams, conv3d_plain};

use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::product::{Fused, Product};
use crate::operator::{Call, Memory, OpError, Operator, Run, WeightUse};
use crate::ops::shared;
use crate::ops::shared::volume::{self, WindowAttributes3};
use crate::ops::shared::weighted;

pub(crate) const OPS: &[Registration] = &[Registration { name: "Conv3D", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let window = WindowAttributes3::import(attributes)?;
    let is_double = attributes.dtype_or("T", DType::F32)? == DType::F64;
    Ok(Box::new(Conv3d { window, is_double, fused: Fused::default() }))
}

/// The operator.
#[derive(Debug, Clone)]
pub struct Conv3d {
    window: WindowAttributes3,
    /// float64, which has no epilogue.
    is_double: bool,
    fused: Fused,
}

const FILTER: usize = weighted::WEIGHT;

impl Conv3d {
    fn params(&self, input: &[usize], filter: &[usize]) -> Result<Conv3dParams, OpError> {
        let (&[batch, depth, height, width, in_channels], &[planes, rows, columns, channels, out_channels]) =
            (input, filter)
        else {
            return Err(OpError::Internal("a convolution of volumes of other than five dimensions"));
        };
        let size = [depth, height, width];
        let window = self.window.window([planes, rows, columns], size);
        let groups = in_channels / channels.max(1);
        Ok(Conv3dParams { batch, size, in_channels, out_channels, window, groups })
    }

    fn planned(&self, call: &Call<'_>) -> Option<Kernel> {
        self.kernel(call, &call.inputs.first()?.shape)
    }

    /// Channels of the input that each of the filter's takes.
    fn depth(call: &Call<'_>) -> Option<usize> {
        call.inputs.get(FILTER)?.shape.get(3).copied()
    }

    fn kernel(&self, call: &Call<'_>, input: &Shape) -> Option<Kernel> {
        let params = self.params(input, &call.inputs.get(FILTER)?.shape).ok()?;
        Kernel::of_volumes(call.isa, params).ok().filter(|_| !self.is_double)
    }

    fn dtype(&self) -> DType {
        if self.is_double { DType::F64 } else { DType::F32 }
    }
}

impl Operator for Conv3d {
    fn name(&self) -> &'static str {
        "Conv3D"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, filter) = (shared::input(inputs, 0)?, shared::input(inputs, FILTER)?);
        let dtype = self.dtype();
        shared::need_type(0, input, &[dtype])?;
        shared::need_type(FILTER, filter, &[dtype])?;
        let (volume, window) = (shared::dims_of_rank(0, input, 5)?, shared::dims_of_rank(FILTER, filter, 5)?);
        let (Some(volume), Some(window)) = (volume, window) else {
            return Ok(vec![Fact::new(dtype, Dims::of_rank(5))]);
        };
        if let (Some(channels), Some(depth), Some(out_channels)) =
            (volume[4].size(), window[3].size(), window[4].size())
            && (depth == 0 || channels % depth != 0 || out_channels % (channels / depth).max(1) != 0)
        {
            let why = format!(
                "is of shape {}, whose {depth} channels do not divide the input's {channels}",
                filter.dims
            );
            return Err(OpError::input(FILTER, why));
        }
        self.fused.check(inputs, window[4].size())?;
        let [depth, height, width] = self.window.output_by(filter, &volume[1..4])?;
        Ok(vec![Fact::new(dtype, Dims::new([volume[0], depth, height, width, window[4]]))])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        let (input, filter) = (shared::input(inputs, 0)?, shared::input(inputs, FILTER)?);
        let (Some(volume), Some(window)) = (input.dims.get(), filter.dims.get()) else { return Ok(()) };
        // Of a size that is open nothing is asked.
        let size = |axis: usize| window.get(axis).and_then(|dim| dim.size()).unwrap_or(0);
        self.window.check([size(0), size(1), size(2)], volume)
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let (Some(input), Some(depth)) = (call.inputs.first(), Conv3d::depth(call)) else {
            return Memory::default();
        };
        volume::memory_at_most(input, depth, |shape| {
            Some(weighted::memory(&self.kernel(call, shape)?, &self.fused, call))
        })
    }

    fn operations(&self, call: &Call<'_>) -> Option<f64> {
        shared::operations(call, call.inputs.get(FILTER)?.shape.elements())
    }

    fn weight(&self, call: &Call<'_>) -> Option<WeightUse> {
        let (input, depth) = (call.inputs.first()?, Conv3d::depth(call)?);
        if volume::has_open_groups(input, depth) {
            return None;
        }
        let groups = input.shape.get(4)? / depth.max(1);
        Some(weighted::weight_use(&self.planned(call)?, call, false, groups))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if run.shape(FILTER).elements() == 0 {
            return Err(OpError::input(
                FILTER,
                format!("is of shape {}, without elements", run.shape(FILTER)),
            ));
        }
        if run.output_shape(0).elements() == 0 {
            run.out_bytes(0)?.fill(0);
            return Ok(());
        }
        let params = self.params(&run.shape(0), &run.shape(FILTER))?;
        if self.is_double {
            let (input, filter) = (run.slice::<f64>(0)?, run.slice::<f64>(FILTER)?);
            return Ok(conv3d_plain(run.pool, &params, input, filter, run.out(0)?)?);
        }
        weighted::run(&Kernel::of_volumes(run.pool.isa(), params)?, &self.fused, 0, run)
    }

    fn as_product(&self) -> Option<&dyn Product> {
        (!self.is_double).then_some(self)
    }
}

impl Product for Conv3d {
    fn fused(&self) -> Fused {
        self.fused
    }

    fn with_fused(&self, fused: Fused) -> Arc<dyn Operator> {
        Arc::new(Conv3d { fused, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, check_close, dtype, ints, refuses, tensor, text};
    use tightfit_core::DType;

    /// Sums as the definition says, of a volume with a plane, row and column of padding where it is SAME.
    #[test]
    fn sums_over_windows_of_volumes() {
        for (stride, padding, channels, out) in
            [(1usize, "SAME", 1usize, 2usize), (2, "SAME", 3, 5), (1, "VALID", 20, 3), (2, "VALID", 2, 33)]
        {
            let (size, taps) = ([5usize, 6, 7], 3usize);
            let is_same = padding == "SAME";
            let to = size.map(|n| if is_same { n.div_ceil(stride) } else { (n - taps) / stride + 1 });
            let before = |axis: usize| {
                let total = ((to[axis] - 1) * stride + taps).saturating_sub(size[axis]);
                if is_same { total / 2 } else { 0 }
            };
            let x: Vec<f32> = (0..2 * 210 * channels).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
            let f: Vec<f32> = (0..27 * channels * out).map(|i| (i * 5 % 13) as f32 - 6.0).collect();
            let mut expected = vec![0f32; 2 * to.iter().product::<usize>() * out];
            for (at, sum) in expected.iter_mut().enumerate() {
                let (o, pixel) = (at % out, at / out);
                let place = [pixel / to[2] / to[1] % to[0], pixel / to[2] % to[1], pixel % to[2]];
                let volume = pixel / (to[0] * to[1] * to[2]);
                for tap in 0..27 {
                    let tap_at = [tap / 9, tap / 3 % 3, tap % 3];
                    let from: [usize; 3] = std::array::from_fn(|axis| {
                        (place[axis] * stride + tap_at[axis]).wrapping_sub(before(axis))
                    });
                    if (0..3).any(|axis| from[axis] >= size[axis]) {
                        continue;
                    }
                    let pixel = ((volume * 5 + from[0]) * 6 + from[1]) * 7 + from[2];
                    for c in 0..channels {
                        *sum += x[pixel * channels + c] * f[(tap * channels + c) * out + o];
                    }
                }
            }
            let s = stride as i64;
            let attributes = [("strides", ints(&[1, s, s, s, 1])), ("padding", text(padding))];
            let dims = [2, to[0], to[1], to[2], out];
            let inputs = [tensor(&[2, 5, 6, 7, channels], &x), tensor(&[3, 3, 3, channels, out], &f)];
            check_close("Conv3D", &attributes, &inputs, &tensor(&dims, &expected), 1e-5);
            let doubles = |values: &[f32]| values.iter().map(|v| *v as f64).collect::<Vec<_>>();
            let attributes = [attributes.as_slice(), &[("T", dtype(DType::F64))]].concat();
            let inputs = [
                tensor(&[2, 5, 6, 7, channels], &doubles(&x)),
                tensor(&[3, 3, 3, channels, out], &doubles(&f)),
            ];
            check("Conv3D", &attributes, &inputs, &[tensor(&dims, &doubles(&expected))]);
        }
    }

    #[test]
    fn refuses_what_tensorflow_refuses() {
        let x = tensor(&[1, 2, 2, 2, 1], &[0f32; 8]);
        let f = tensor(&[1, 1, 1, 1, 1], &[0f32]);
        let with = |strides, padding| [("strides", ints(strides)), ("padding", text(padding))];
        let inputs = [x.clone(), f];
        refuses("Conv3D", &with(&[2, 1, 1, 1, 1], "SAME"), &inputs, "strides");
        refuses("Conv3D", &with(&[1, 1, 1, 1], "SAME"), &inputs, "strides");
        refuses("Conv3D", &with(&[1; 5], "EXPLICIT"), &inputs, "padding");
        let wide = tensor(&[1, 1, 1, 2, 1], &[0f32; 2]);
        refuses("Conv3D", &with(&[1; 5], "SAME"), &[x, wide], "channels");
    }

    #[test]
    fn a_filter_has_elements() {
        let attributes = [("strides", ints(&[1; 5])), ("padding", text("SAME"))];
        let inputs = [tensor(&[1, 2, 2, 2, 1], &[1f32; 8]), tensor::<f32>(&[1, 1, 1, 1, 0], &[])];
        refuses("Conv3D", &attributes, &inputs, "without elements");
    }
}
