//! A Conv2D of single pixels and the DepthwiseConv2dNative of what it makes, as one step that never holds the image between
//! them whole: what [`crate::passes::separable`] makes.
//!
//! Inputs: those of [`super::conv2d`] (image, filter, scale and shift where it has them), then those of
//! [`super::depthwise`] after its image. float32, NHWC. Both filters are small beside the pixels they meet, so they are held as
//! the file has them.

use tightfit_kernels::{DepthwiseParams, ExpandedDepthwise as Kernel, ExpandedLayer, Isa};

use super::conv2d::Conv2d;
use super::depthwise::DepthwiseConv2d;
use crate::fact::Fact;
use crate::operator::product::OWN_INPUTS;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::weighted::WEIGHT;

/// The operator.
#[derive(Debug, Clone)]
pub struct ExpandedDepthwise {
    /// The convolution of single pixels. Nothing is added to its sums but a shift.
    pub expand: Conv2d,
    /// The convolution after it, of the same kind.
    pub depthwise: DepthwiseConv2d,
}

impl ExpandedDepthwise {
    /// The input that is the depthwise filter.
    fn depthwise_filter(&self) -> usize {
        self.expand.fused.inputs()
    }

    fn kernel(&self, isa: Isa, input: &[usize], taps: &[usize]) -> Result<Kernel, OpError> {
        let (&[batch, height, width, depth], &[rows, columns, channels, multiplier]) = (input, taps) else {
            return Err(OpError::Internal("a convolution of other than four dimensions"));
        };
        let window = self.depthwise.window.window([rows, columns], [height, width]);
        let p = DepthwiseParams { batch, height, width, channels, multiplier, window };
        Ok(Kernel::new(isa, depth, p, self.expand.is_transposed)?)
    }
}

impl Operator for ExpandedDepthwise {
    fn name(&self) -> &'static str {
        "Conv2D+DepthwiseConv2dNative"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let own = self.depthwise_filter();
        shared::input(inputs, own)?;
        let between = self.expand.infer(&inputs[..own])?;
        let rest: Vec<&Fact> = between.iter().chain(inputs[own..].iter().copied()).collect();
        self.depthwise.infer(&rest)
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let shape = |input: usize| call.inputs.get(input).map(|info| info.shape);
        let (Some(image), Some(taps)) = (shape(0), shape(self.depthwise_filter())) else {
            return Memory::default();
        };
        let kernel = self.kernel(call.isa, &image, &taps);
        kernel.map_or(Memory::default(), |kernel| Memory::scratch(kernel.scratch_bytes(call.threads)))
    }

    fn operations(&self, call: &Call<'_>) -> Option<f64> {
        let shape = |input: usize| call.inputs.get(input).map(|info| info.shape);
        let (image, filter, own) = (shape(0)?, shape(WEIGHT)?, shape(self.depthwise_filter())?);
        let depth = image.last().filter(|depth| **depth > 0)?;
        let expanded = 2.0 * image.elements() as f64 * filter.elements() as f64 / *depth as f64;
        Some(expanded + shared::operations(call, own.elements())?)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let own = self.depthwise_filter();
        let kernel = self.kernel(run.pool.isa(), &run.shape(0), &run.shape(own))?;
        let (input, filter, taps) = (run.slice::<f32>(0)?, run.input(WEIGHT)?, run.input(own)?);
        let expand =
            ExpandedLayer { filter: filter.bytes(), epilogue: self.expand.fused.epilogue(run, OWN_INPUTS)? };
        let depthwise =
            ExpandedLayer { filter: taps.bytes(), epilogue: self.depthwise.fused.epilogue(run, own + 1)? };
        let (output, scratch, pool) = (run.out::<f32>(0)?, run.scratch()?, run.pool);
        Ok(kernel.run(pool, input, expand, depthwise, output, scratch)?)
    }
}
