//! Conv2D of float64 and int32, and DepthwiseConv2dNative of float64: the inputs and padding of [`super::conv2d`] and [`super::depthwise`], by
//! a plain kernel without an epilogue. The filter of the latter is that of as many groups as there are channels.

use tightfit_core::DType;
use tightfit_kernels::{Conv2dParams, conv2d_plain};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::window::WindowAttributes;

/// The operator.
#[derive(Debug)]
pub(crate) struct Conv2dF64 {
    pub(crate) window: WindowAttributes,
    pub(crate) is_depthwise: bool,
}

impl Conv2dF64 {
    fn params(&self, input: &[usize], filter: &[usize]) -> Option<Conv2dParams> {
        let (&[batch, height, width, in_channels], &[rows, columns, depth, out_channels]) = (input, filter)
        else {
            return None;
        };
        let (depth, out_channels) = match self.is_depthwise {
            true if depth != in_channels => return None,
            // Of no channels there is nothing to put in groups.
            true if depth == 0 => (0, 0),
            true => (1, depth.checked_mul(out_channels)?),
            false => (depth, out_channels),
        };
        let groups =
            in_channels.checked_div(depth).filter(|groups| groups * depth == in_channels && *groups > 0);
        let groups = if self.is_depthwise { groups.unwrap_or(1) } else { groups? };
        let window = self.window.window([rows, columns], [height, width]);
        let is_whole = out_channels % groups == 0;
        is_whole.then_some(Conv2dParams { batch, height, width, in_channels, out_channels, window, groups })
    }
}

impl Operator for Conv2dF64 {
    fn name(&self) -> &'static str {
        if self.is_depthwise { "DepthwiseConv2dNative" } else { "Conv2D" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, filter) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        let types = if self.is_depthwise { &[DType::F64][..] } else { &[DType::F64, DType::I32] };
        shared::need_type(0, input, types)?;
        shared::need_type(1, filter, &[input.dtype])?;
        let (image, window) = (shared::dims_of_rank(0, input, 4)?, shared::dims_of_rank(1, filter, 4)?);
        let (Some(image), Some(window)) = (image, window) else {
            return Ok(vec![Fact::new(input.dtype, Dims::of_rank(4))]);
        };
        if let (Some(input), Some(filter)) = (input.dims.concrete(), filter.dims.concrete())
            && self.params(&input, &filter).is_none()
        {
            return Err(OpError::input(
                1,
                format!("is of shape {filter}, which an input of {input} has no groups for"),
            ));
        }
        let [rows, columns] = self.window.output_by(filter, &image[1..3])?;
        let channels = match (self.is_depthwise, window[2].size(), window[3].size()) {
            (false, ..) => window[3],
            (true, Some(channels), Some(multiplier)) => {
                Dim::Known(channels.saturating_mul(multiplier) as i64)
            }
            (true, ..) => Dim::Unknown,
        };
        Ok(vec![Fact::new(input.dtype, Dims::new([image[0], rows, columns, channels]))])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        self.window.check_filter(inputs)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let params = self.params(&run.shape(0), &run.shape(1));
        let is_empty = run.output_shape(0).elements() == 0 || run.shape(0).elements() == 0;
        if run.shape(1).elements() == 0 && (is_empty || self.is_depthwise) {
            run.out_bytes(0)?.fill(0);
            return Ok(());
        }
        let params =
            params.ok_or(OpError::Internal("a convolution's shapes are not as they were inferred"))?;
        if run.dtype(0) == DType::I32 {
            let (input, filter) = (run.slice::<i32>(0)?, run.slice::<i32>(1)?);
            return Ok(conv2d_plain(run.pool, &params, input, filter, run.out(0)?)?);
        }
        let (input, filter) = (run.slice::<f64>(0)?, run.slice::<f64>(1)?);
        Ok(conv2d_plain(run.pool, &params, input, filter, run.out(0)?)?)
    }
}
