//! ImageProjectiveTransformV2 and V3: images `[batch, height, width, channels]` (floats, uint8, int32, int64), transformations
//! `[batch or 1, 8]` (float32) from pixels of the output to those of the input, `[height, width]` of the output (int32), and for
//! V3 the value outside (float32).
//!
//! `interpolation` is NEAREST or BILINEAR; `fill_mode` is CONSTANT, REFLECT, WRAP or NEAREST.

use tightfit_core::DType;
use tightfit_kernels::{Outside, project_images};

use super::resize::size;
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "ImageProjectiveTransformV2", import: |attributes| import(attributes, false) },
    Registration { name: "ImageProjectiveTransformV3", import: |attributes| import(attributes, true) },
];

fn import(attributes: &Attributes<'_>, has_fill: bool) -> Result<Box<dyn Operator>, OpError> {
    let bilinear = match attributes.text("interpolation")?.to_ascii_uppercase().as_str() {
        "NEAREST" => false,
        "BILINEAR" => true,
        other => return Err(OpError::attribute("interpolation", format!("is {other}"))),
    };
    let outside = match attributes.text_or("fill_mode", "CONSTANT")?.to_ascii_uppercase().as_str() {
        "CONSTANT" => Outside::Constant(0.0),
        "REFLECT" => Outside::Reflect,
        "WRAP" => Outside::Wrap,
        "NEAREST" => Outside::Nearest,
        other => return Err(OpError::attribute("fill_mode", format!("is {other}"))),
    };
    Ok(Box::new(Project { bilinear, outside, has_fill }))
}

/// The operator.
#[derive(Debug)]
struct Project {
    bilinear: bool,
    outside: Outside,
    /// Whether the value outside is the last input.
    has_fill: bool,
}

impl Operator for Project {
    fn name(&self) -> &'static str {
        if self.has_fill { "ImageProjectiveTransformV3" } else { "ImageProjectiveTransformV2" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (images, transforms) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        let types = [DType::F32, DType::F64, DType::F16, DType::BF16, DType::U8, DType::I32, DType::I64];
        shared::need_type(0, images, &types)?;
        shared::need_type(1, transforms, &[DType::F32])?;
        if self.has_fill {
            let fill = shared::input(inputs, 3)?;
            shared::need_type(3, fill, &[DType::F32])?;
            shared::dims_of_rank(3, fill, 0)?;
        }
        let dims = shared::dims_of_rank(0, images, 4)?.unwrap_or(vec![Dim::Unknown; 4]);
        if let Some([count, eight]) = shared::dims_of_rank(1, transforms, 2)?.as_deref() {
            let is_one_each = match (count.known(), dims[0].known()) {
                (Some(count), Some(batch)) => count == 1 || count == batch || transforms.is_bound,
                _ => true,
            };
            if !is_one_each || eight.known().is_some_and(|eight| eight != 8) {
                let why = format!("is of shape {}, not 8 numbers for each image or for all", transforms.dims);
                return Err(OpError::input(1, why));
            }
        }
        let [height, width] = size(2, shared::input(inputs, 2)?)?;
        Ok(vec![Fact::new(images.dtype, Dims::new([dims[0], height, width, dims[3]]))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let fill = match self.has_fill.then(|| run.slice::<f32>(3)).transpose()? {
            None => 0.0,
            Some(&[fill]) => fill,
            Some(_) => return Err(OpError::input(3, "is no scalar")),
        };
        let how = (self.bilinear, self.outside, fill);
        let (images, transforms) = (run.input(0)?, run.input(1)?);
        Ok(project_images(run.pool, how, images, transforms, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refuses, scalar, tensor, text};

    #[test]
    fn shifts_by_every_way_to_fill() {
        let x = tensor(&[1, 1, 3, 1], &[1f32, 2.0, 3.0]);
        // The pixel at x of the output is that at x - 2 of the input.
        let shift = tensor(&[1, 8], &[1f32, 0.0, -2.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        let size = tensor(&[2], &[1i32, 4]);
        // WRAP steps by one pixel less than there are, as TensorFlow does.
        for (mode, expected) in [
            ("CONSTANT", [7f32, 7.0, 1.0, 2.0]),
            ("REFLECT", [2.0, 1.0, 1.0, 2.0]),
            ("WRAP", [3.0, 3.0, 1.0, 2.0]),
            ("NEAREST", [1.0, 1.0, 1.0, 2.0]),
        ] {
            let attributes = [("interpolation", text("NEAREST")), ("fill_mode", text(mode))];
            let inputs = [x.clone(), shift.clone(), size.clone(), scalar(7f32)];
            let expected = [tensor(&[1, 1, 4, 1], &expected)];
            check("ImageProjectiveTransformV3", &attributes, &inputs, &expected);
        }
        let half = tensor(&[1, 8], &[1f32, 0.0, 0.5, 0.0, 1.0, 0.0, 0.0, 0.0]);
        let bilinear = [("interpolation", text("BILINEAR"))];
        let inputs = [x.clone(), half, tensor(&[2], &[1i32, 3])];
        let expected = [tensor(&[1, 1, 3, 1], &[1.5f32, 2.5, 1.5])];
        check("ImageProjectiveTransformV2", &bilinear, &inputs, &expected);
        let wrong = [x, tensor(&[2, 8], &[0f32; 16]), size];
        refuses("ImageProjectiveTransformV2", &bilinear, &wrong, "for each image");
    }
}
