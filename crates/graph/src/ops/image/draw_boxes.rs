//! Boxes drawn into images: DrawBoundingBoxes and its V2.
//!
//! Images `[batch, height, width, channels]` of float32 or float16 with 1, 3 or 4 channels; boxes `[batch, count, 4]`,
//! float32, are corners (y, x) in parts of the image; V2 has colours `[count, channels or more]`, float32, of which boxes
//! take the next one each and none stand for ten of TensorFlow's own. A box that is outside of the image or whose corners
//! are the wrong way round is not drawn. The output may take the images' memory.

use tightfit_core::DType;
use tightfit_kernels::draw_boxes;

use crate::dim::Dim;
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::agree;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "DrawBoundingBoxes", import: |_| Ok(Box::new(DrawBoxes { has_colors: false })) },
    Registration { name: "DrawBoundingBoxesV2", import: |_| Ok(Box::new(DrawBoxes { has_colors: true })) },
];

#[derive(Debug)]
struct DrawBoxes {
    has_colors: bool,
}

impl Operator for DrawBoxes {
    fn name(&self) -> &'static str {
        if self.has_colors { "DrawBoundingBoxesV2" } else { "DrawBoundingBoxes" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (images, boxes) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, images, &[DType::F32, DType::F16])?;
        shared::need_type(1, boxes, &[DType::F32])?;
        let is_bound = images.is_bound || boxes.is_bound;
        let dims = shared::dims_of_rank(0, images, 4)?.unwrap_or(vec![Dim::Unknown; 4]);
        let depth = dims[3].known();
        if depth.is_some_and(|depth| !matches!(depth, 1 | 3 | 4)) {
            return Err(OpError::input(
                0,
                format!("is of shape {}; 1, 3 or 4 channels are drawn in", images.dims),
            ));
        }
        if let Some(of_boxes) = shared::dims_of_rank(1, boxes, 3)? {
            let agrees =
                agree(of_boxes[0], dims[0], is_bound).and_then(|_| agree(of_boxes[2], Dim::Known(4), false));
            let why = || OpError::input(1, format!("is of shape {} for images {}", boxes.dims, images.dims));
            agrees.ok_or_else(why)?;
        }
        if self.has_colors {
            let colors = shared::input(inputs, 2)?;
            shared::need_type(2, colors, &[DType::F32])?;
            let channels = shared::dims_of_rank(2, colors, 2)?.and_then(|dims| dims[1].known());
            if channels.zip(depth).is_some_and(|(channels, depth)| channels < depth) {
                return Err(OpError::input(
                    2,
                    format!("is of shape {} for images {}", colors.dims, images.dims),
                ));
            }
        }
        Ok(vec![Fact::new(images.dtype, images.dims.clone())])
    }

    takes_over_its_input!();

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let boxes = run.input(1)?;
        let colors = if self.has_colors { Some(run.input(2)?) } else { None };
        let images = if run.is_in_place(0) { None } else { Some(run.input(0)?) };
        let mut canvas = run.output(0)?;
        if let Some(images) = images {
            canvas.bytes().copy_from_slice(images.bytes());
        }
        Ok(draw_boxes(boxes, colors, &mut canvas)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use half::f16;

    #[test]
    fn draws() {
        let boxes = tensor(&[1, 1, 4], &[0.0f32, 0.0, 1.0, 0.5]);
        let images = tensor(&[1, 2, 3, 1], &[0.25f32; 6]);
        let drawn = tensor(&[1, 2, 3, 1], &[1.0f32, 1.0, 0.25, 1.0, 1.0, 0.25]);
        check("DrawBoundingBoxes", &[], &[images.clone(), boxes.clone()], &[drawn]);
        let halves = tensor(&[1, 1, 1, 1], &[f16::ZERO]);
        let colors = tensor(&[1, 2], &[0.5f32, 9.0]);
        let inputs = [halves, boxes.clone(), colors];
        check("DrawBoundingBoxesV2", &[], &inputs, &[tensor(&[1, 1, 1, 1], &[f16::from_f32(0.5)])]);
        refuses("DrawBoundingBoxes", &[], &[tensor(&[1, 1, 1, 2], &[0f32; 2]), boxes.clone()], "channels");
        refuses("DrawBoundingBoxesV2", &[], &[images, boxes, tensor(&[1, 0], &[0f32; 0])], "for images");
    }
}
