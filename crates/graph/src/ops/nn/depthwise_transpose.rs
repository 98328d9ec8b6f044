//! DepthwiseConv2dNativeBackpropInput, the transpose of [`super::depthwise`]: inputs the output's shape (int32, `[batch,
//! height, width, channels]`), the filter `[height, width, channels, multiplier]`, and `[batch, rows, columns, channels *
//! multiplier]`.
//!
//! float32 and float64 (float16 and bfloat16 are converted around it); data format NHWC, and NCHW as a change of layout
//! around it. Padding SAME, VALID or EXPLICIT, strides along height and width. Dilations are taken for 1, as TensorFlow's
//! kernel for the CPU does.

use tightfit_core::DType;
use tightfit_kernels::{DepthwiseParams, depthwise_transpose};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::window::WindowAttributes;

pub(crate) const OPS: &[Registration] =
    &[Registration { name: "DepthwiseConv2dNativeBackpropInput", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(DepthwiseTranspose { window: WindowAttributes::import_undilated(attributes)? }))
}

/// The operator.
#[derive(Debug)]
struct DepthwiseTranspose {
    /// Those of the convolution that it is the transpose of.
    window: WindowAttributes,
}

const SIZES: usize = 0;
const FILTER: usize = 1;
const INPUT: usize = 2;

/// The convolution's parameters, where the shapes go together.
fn params(
    window: &WindowAttributes,
    output: &[usize],
    filter: &[usize],
    input: &[usize],
) -> Result<DepthwiseParams, OpError> {
    let (&[batch, height, width, channels], &[rows, columns, depth, multiplier], &[images, down, along, all]) =
        (output, filter, input)
    else {
        return Err(OpError::Internal("a convolution of other than four dimensions"));
    };
    let size = [Dim::Known(height as i64), Dim::Known(width as i64)];
    let forward = window.output([rows, columns], &size)?.map(|d| d.size());
    let is_whole = channels == depth && images == batch && depth.checked_mul(multiplier) == Some(all);
    if !is_whole || forward != [Some(down), Some(along)] {
        let why = format!("is {output:?}, which is not a shape for {input:?} and a filter of {filter:?}");
        return Err(OpError::input(SIZES, why));
    }
    let window = window.window([rows, columns], [height, width]);
    Ok(DepthwiseParams { batch, height, width, channels, multiplier, window })
}

impl Operator for DepthwiseTranspose {
    fn name(&self) -> &'static str {
        "DepthwiseConv2dNativeBackpropInput"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let sizes = shared::input(inputs, SIZES)?;
        let (filter, input) = (shared::input(inputs, FILTER)?, shared::input(inputs, INPUT)?);
        shared::need_type(SIZES, sizes, &[DType::I32])?;
        shared::need_type(FILTER, filter, &[DType::F32, DType::F64])?;
        shared::need_type(INPUT, input, &[filter.dtype])?;
        shared::dims_of_rank(FILTER, filter, 4)?;
        let images = shared::dims_of_rank(INPUT, input, 4)?;
        if let Some([len]) = shared::dims_of_rank(SIZES, sizes, 1)?.as_deref()
            && len.known().is_some_and(|len| len != 4)
        {
            return Err(OpError::input(SIZES, format!("is of shape {}; four sizes are needed", sizes.dims)));
        }
        let mut asked = sizes.dims_value().unwrap_or_else(|| vec![Dim::Unknown; 4]);
        if asked.len() != 4 || asked.iter().any(|size| matches!(size, Dim::Known(..0))) {
            return Err(OpError::input(SIZES, format!("is {}, no shape of images", Dims::new(asked))));
        }
        if asked[0] == Dim::Unknown {
            asked[0] = images.map_or(Dim::Unknown, |dims| dims[0]);
        }
        let output = Dims::new(asked);
        if let (Some(output), Some(filter), Some(input)) =
            (output.concrete(), filter.dims.concrete(), input.dims.concrete())
            && !inputs.iter().any(|fact| fact.is_bound)
        {
            params(&self.window, &output, &filter, &input)?;
        }
        Ok(vec![Fact::new(filter.dtype, output)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::set_asked(run, 0, SIZES)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let params = params(&self.window, &run.output_shape(0), &run.shape(FILTER), &run.shape(INPUT))?;
        if run.shape(FILTER).elements() == 0 || run.shape(INPUT).elements() == 0 {
            run.out_bytes(0)?.fill(0);
            return Ok(());
        }
        if run.dtype(FILTER) == DType::F64 {
            let (filter, input) = (run.slice::<f64>(FILTER)?, run.slice::<f64>(INPUT)?);
            return Ok(depthwise_transpose(run.pool, &params, input, filter, run.out(0)?)?);
        }
        let (filter, input) = (run.slice::<f32>(FILTER)?, run.slice::<f32>(INPUT)?);
        Ok(depthwise_transpose(run.pool, &params, input, filter, run.out(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, check_close, dtype, ints, refuses, tensor, text};
    use tightfit_core::DType;

    #[test]
    fn scatters_each_channels_filters() {
        for (stride, multiplier, size) in [(2usize, 3usize, 5usize), (1, 1, 4), (1, 2, 3)] {
            let channels = 3usize;
            let n = size.div_ceil(stride);
            let before = ((n - 1) * stride + 3).saturating_sub(size) / 2;
            let all = channels * multiplier;
            let x: Vec<f32> = (0..n * n * all).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
            let f: Vec<f32> = (0..9 * all).map(|i| (i * 5 % 13) as f32 - 6.0).collect();
            let mut expected = vec![0f32; size * size * channels];
            for (i, value) in x.iter().enumerate() {
                let (at, from) = (i / all, i % all);
                for tap in 0..9 {
                    let y = (at / n * stride + tap / 3).wrapping_sub(before);
                    let x = (at % n * stride + tap % 3).wrapping_sub(before);
                    if y < size && x < size {
                        expected[(y * size + x) * channels + from / multiplier] +=
                            value * f[tap * all + from];
                    }
                }
            }
            let s = stride as i64;
            let attributes = [("strides", ints(&[1, s, s, 1])), ("padding", text("SAME"))];
            let sizes = tensor(&[4], &[1, size as i32, size as i32, 3]);
            let (filter_dims, dims) = ([3, 3, channels, multiplier], [1, n, n, all]);
            let inputs = [sizes.clone(), tensor(&filter_dims, &f), tensor(&dims, &x)];
            let op = "DepthwiseConv2dNativeBackpropInput";
            let shape = [1, size, size, channels];
            check_close(op, &attributes, &inputs, &tensor(&shape, &expected), 1e-5);
            let doubles = |values: &[f32]| values.iter().map(|v| *v as f64).collect::<Vec<_>>();
            let typed = [attributes.as_slice(), &[("T", dtype(DType::F64))]].concat();
            let inputs = [sizes, tensor(&filter_dims, &doubles(&f)), tensor(&dims, &doubles(&x))];
            check(op, &typed, &inputs, &[tensor(&shape, &doubles(&expected))]);
            let wrong = [tensor(&[4], &[1, 9, 9, 3]), inputs[1].clone(), inputs[2].clone()];
            refuses(op, &typed, &wrong, "not a shape");
        }
    }
}
