//! Conv2D: input `[batch, height, width, in_channels]`, filter `[height, width, in_channels / groups, out_channels]`, or of
//! what passes make `[out_channels, height, width, in_channels]`, as TensorFlow Lite stores it.
//!
//! float32 (float64 and int32 in [`super::conv2d_f64`], float16 and bfloat16 are converted around it); data format NHWC, and NCHW as a change of layout around it. The
//! filter's input channels must divide the input's: there are as many groups as they fit. Padding SAME, VALID or EXPLICIT,
//! strides and dilations along height and width.
//!
//! The filter is a weight: read into the kernel's panels when it is resident, multiplied block by block of its rows
//! when it is streamed. See [`crate::operator::product`] for the inputs after it. The output may take the residual's memory.

use std::sync::Arc;

use tightfit_core::DType;
use tightfit_kernels::{Conv2d as Kernel, Conv2dParams, Isa};

use super::conv2d_f64::Conv2dF64;
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::product::{Fused, Product};
use crate::operator::{Call, Memory, OpError, Operator, Run, WeightUse};
use crate::ops::shared;
use crate::ops::shared::window::WindowAttributes;
use crate::ops::shared::{volume, weighted};

pub(crate) const OPS: &[Registration] = &[Registration { name: "Conv2D", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let window = WindowAttributes::import(attributes)?;
    Ok(match attributes.dtype_or("T", DType::F32)? {
        DType::F64 | DType::I32 => Box::new(Conv2dF64 { window, is_depthwise: false }),
        _ => Box::new(Conv2d { window, fused: Fused::default(), is_transposed: false }),
    })
}

/// The operator.
#[derive(Debug, Clone)]
pub struct Conv2d {
    /// Strides, dilations and padding.
    pub window: WindowAttributes,
    /// What is done to the sums.
    pub fused: Fused,
    /// The filter is stored with its output channels first, and there is one group.
    pub is_transposed: bool,
}

const FILTER: usize = weighted::WEIGHT;

impl Conv2d {
    fn kernel(&self, isa: Isa, input: &[usize], filter: &[usize]) -> Result<Kernel, OpError> {
        let ([batch, height, width, in_channels], [a, b, c, d]) = (input, filter) else {
            return Err(OpError::Internal("a convolution of other than four dimensions"));
        };
        let [filter_height, filter_width, depth, out_channels] =
            if self.is_transposed { [b, c, d, a] } else { [a, b, c, d] };
        let params = Conv2dParams {
            batch: *batch,
            height: *height,
            width: *width,
            in_channels: *in_channels,
            out_channels: *out_channels,
            window: self.window.window([*filter_height, *filter_width], [*height, *width]),
            groups: in_channels / (*depth).max(1),
        };
        let kernel = Kernel::new(isa, params)?;
        Ok(if self.is_transposed { kernel.with_transposed_filter()? } else { kernel })
    }

    fn planned(&self, call: &Call<'_>) -> Option<Kernel> {
        self.kernel(call.isa, &call.inputs.first()?.shape, &call.inputs.get(FILTER)?.shape).ok()
    }

    /// Channels of the input that each of the filter's takes.
    fn depth(&self, call: &Call<'_>) -> Option<usize> {
        call.inputs.get(FILTER)?.shape.get(if self.is_transposed { 3 } else { 2 }).copied()
    }
}

impl Operator for Conv2d {
    fn name(&self) -> &'static str {
        "Conv2D"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, filter) = (shared::input(inputs, 0)?, shared::input(inputs, FILTER)?);
        shared::need_type(0, input, &[DType::F32])?;
        shared::need_type(FILTER, filter, &[DType::F32])?;
        let Some(image) = shared::dims_of_rank(0, input, 4)? else {
            return Ok(vec![Fact::new(DType::F32, Dims::of_rank(4))]);
        };
        let Some(mut window) = shared::dims_of_rank(FILTER, filter, 4)? else {
            return Ok(vec![Fact::new(DType::F32, Dims::of_rank(4))]);
        };
        if self.is_transposed {
            window.rotate_left(1);
        }
        let filter = &Fact { dims: Dims::new(window.clone()), ..(*filter).clone() };
        let Some([_, _, depth, out_channels]) =
            filter.dims.concrete().and_then(|s| <[usize; 4]>::try_from(&s[..]).ok())
        else {
            let [rows, columns] = self.window.output_by(filter, &image[1..3])?;
            return Ok(vec![Fact::new(DType::F32, Dims::new([image[0], rows, columns, window[3]]))]);
        };
        if let Some(channels) = image[3].size()
            && (depth == 0 || channels % depth != 0 || out_channels % (channels / depth).max(1) != 0)
        {
            let why = format!(
                "is of shape {}, whose {depth} channels do not divide the input's {channels}",
                filter.dims
            );
            return Err(OpError::input(FILTER, why));
        }
        let [rows, columns] = self.window.output_by(filter, &image[1..3])?;
        self.fused.check(inputs, Some(out_channels))?;
        let dims = vec![image[0], rows, columns, Dim::Known(out_channels as i64)];
        Ok(vec![Fact::new(DType::F32, Dims::new(dims))])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        self.window.check_filter(inputs)
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let (Some(input), Some(depth)) = (call.inputs.first(), self.depth(call)) else {
            return Memory::default();
        };
        volume::memory_at_most(input, depth, |shape| {
            let kernel = self.kernel(call.isa, shape, &call.inputs[FILTER].shape).ok()?;
            Some(weighted::memory(&kernel, &self.fused, call))
        })
    }

    fn operations(&self, call: &Call<'_>) -> Option<f64> {
        shared::operations(call, call.inputs.get(FILTER)?.shape.elements())
    }

    fn weight(&self, call: &Call<'_>) -> Option<WeightUse> {
        let (input, depth) = (call.inputs.first()?, self.depth(call)?);
        if volume::has_open_groups(input, depth) {
            return None;
        }
        let groups = input.shape.get(3)? / depth.max(1);
        Some(weighted::weight_use(&self.planned(call)?, call, self.is_transposed, groups))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let is_empty = run.shape(0).elements() == 0 && self.fused == Fused::default();
        if run.shape(FILTER).elements() == 0 && (run.output_shape(0).elements() == 0 || is_empty) {
            run.out_bytes(0)?.fill(0);
            return Ok(());
        }
        let kernel = self.kernel(run.pool.isa(), &run.shape(0), &run.shape(FILTER))?;
        weighted::run(&kernel, &self.fused, 0, run)
    }

    fn as_product(&self) -> Option<&dyn Product> {
        Some(self)
    }
}

impl Product for Conv2d {
    fn fused(&self) -> Fused {
        self.fused
    }

    fn with_fused(&self, fused: Fused) -> Arc<dyn Operator> {
        Arc::new(Conv2d { fused, ..self.clone() })
    }

    fn padded(&self, zeros: [usize; 4]) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Conv2d { window: self.window.padded(zeros)?, ..self.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use tightfit_core::{Shape, TensorView};

    use crate::exec::Feed;
    use crate::import::text_graph::{context, filter, graph, ints, node, placeholder, window};

    #[test]
    fn how_many_groups_there_are_may_be_known_in_a_run_alone() {
        let int32 = |name: &str| format!("attr {{ key: \"{name}\" value {{ type: DT_INT32 }} }}");
        let size =
            format!("{} attr {{ key: \"shape\" value {{ shape {{ dim {{ size: 4 }} }} }} }}", int32("dtype"));
        let slice = format!("attr {{ key: \"T\" value {{ type: DT_FLOAT }} }} {}", int32("Index"));
        let text = [
            placeholder("x", &[1, 2, 2, 4]),
            ints("begin", &[0; 4]),
            format!("node {{ {} }}", node("size", "Placeholder", "", &size)),
            format!("node {{ {} }}", node("s", "Slice", "x begin size", &slice)),
            filter("w", &[1, 1, 2, 8]),
            window("y", "Conv2D", "s w", 1, "VALID"),
        ];
        let mut context = context(graph(&text.concat(), &["y"]).unwrap(), 1);
        let weight = |i: usize, o: usize| ((i * 8 + o) as f32 * 0.7 + 1.0).sin();
        let x: Vec<f32> = (0..16).map(|i| i as f32 / 4.0 - 1.0).collect();
        for channels in [2usize, 4, 2] {
            let size = [1, 2, 2, channels as i32];
            let feeds = [
                Feed::Tensor(TensorView::from_slice(Shape::new(&[1, 2, 2, 4]).unwrap(), &x).unwrap()),
                Feed::Tensor(TensorView::from_slice(Shape::new(&[4]).unwrap(), &size).unwrap()),
            ];
            context.run(&feeds).unwrap();
            let output = context.output(0).unwrap();
            for (at, y) in output.as_slice::<f32>().unwrap().iter().enumerate() {
                let (pixel, o) = (at / 8, at % 8);
                let first = pixel * 4 + o / (16 / channels) * 2;
                let expected = x[first] * weight(0, o) + x[first + 1] * weight(1, o);
                assert!((y - expected).abs() < 1e-5, "{channels} channels, {at}: {y}, not {expected}");
            }
        }
    }
}
