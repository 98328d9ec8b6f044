//! Images in another size: ResizeBilinear, ResizeNearestNeighbor, ResizeBicubic, ResizeArea and CropAndResize.
//!
//! Images are `[batch, height, width, channels]` of numbers; the second input is `[height, width]` of the output, int32.
//! The output is float32, of ResizeNearestNeighbor the input's type. `align_corners` and `half_pixel_centers` exclude
//! each other. CropAndResize cuts boxes `[n, 4]` (float32, corners in parts of the image) out of the images that
//! `box_ind` names, and has the size as its fourth input; `method` is bilinear or nearest.

use tightfit_core::DType;
use tightfit_kernels::{Alignment, Interpolation, crop_and_resize, resize};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "ResizeBilinear", import: |attributes| import(attributes, Interpolation::Bilinear) },
    Registration {
        name: "ResizeNearestNeighbor",
        import: |attributes| import(attributes, Interpolation::Nearest),
    },
    Registration { name: "ResizeBicubic", import: |attributes| import(attributes, Interpolation::Bicubic) },
    Registration { name: "ResizeArea", import: |attributes| import(attributes, Interpolation::Area) },
    Registration { name: "CropAndResize", import: import_crop },
];

/// How the pixels of a node's output lie on those of its input.
pub(crate) fn alignment(attributes: &Attributes<'_>) -> Result<Alignment, OpError> {
    let align_corners = attributes.bool_or("align_corners", false)?;
    let half_pixel_centers = attributes.bool_or("half_pixel_centers", false)?;
    match (align_corners, half_pixel_centers) {
        (false, false) => Ok(Alignment::Legacy),
        (true, false) => Ok(Alignment::Corners),
        (false, true) => Ok(Alignment::HalfPixel),
        (true, true) => Err(OpError::attribute("half_pixel_centers", "is set along with align_corners")),
    }
}

fn import(attributes: &Attributes<'_>, how: Interpolation) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Resize { how, alignment: alignment(attributes)? }))
}

fn import_crop(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let how = match attributes.text_or("method", "bilinear")? {
        "bilinear" => Interpolation::Bilinear,
        "nearest" => Interpolation::Nearest,
        other => {
            return Err(OpError::attribute(
                "method",
                format!("is {other}; bilinear and nearest are supported"),
            ));
        }
    };
    Ok(Box::new(CropAndResize { how, outside: attributes.float_or("extrapolation_value", 0.0)? }))
}

fn need_number(fact: &Fact) -> Result<(), OpError> {
    if fact.dtype.is_float() || fact.dtype.is_integer() {
        return Ok(());
    }
    Err(OpError::input(0, format!("is of type {}; numbers are needed", fact.dtype)))
}

/// Height and width that an input says.
pub(crate) fn size(index: usize, fact: &Fact) -> Result<[Dim; 2], OpError> {
    shared::need_type(index, fact, &[DType::I32])?;
    shared::dims_of_rank(index, fact, 1)?;
    match fact.dims_value().as_deref() {
        None => Ok([Dim::Unknown; 2]),
        Some(&[height, width]) if [height, width].iter().all(|d| d.known().is_none_or(|n| n > 0)) => {
            Ok([height, width])
        }
        Some(other) => Err(OpError::input(index, format!("is {}, no height and width", Dims::new(other)))),
    }
}

/// A resize of whole images.
#[derive(Debug)]
struct Resize {
    how: Interpolation,
    alignment: Alignment,
}

impl Operator for Resize {
    fn name(&self) -> &'static str {
        match self.how {
            Interpolation::Bilinear => "ResizeBilinear",
            Interpolation::Nearest => "ResizeNearestNeighbor",
            Interpolation::Bicubic => "ResizeBicubic",
            Interpolation::Area => "ResizeArea",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let images = shared::input(inputs, 0)?;
        need_number(images)?;
        let [height, width] = size(1, shared::input(inputs, 1)?)?;
        let dims = shared::dims_of_rank(0, images, 4)?.unwrap_or(vec![Dim::Unknown; 4]);
        if dims[1..].contains(&Dim::Known(0)) {
            return Err(OpError::input(0, format!("is of shape {}, images without pixels", images.dims)));
        }
        let dtype = if self.how == Interpolation::Nearest { images.dtype } else { DType::F32 };
        Ok(vec![Fact::new(dtype, Dims::new([dims[0], height, width, dims[3]]))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let images = run.input(0)?;
        Ok(resize(run.pool, self.how, self.alignment, images, &mut run.output(0)?)?)
    }
}

/// A resize of boxes.
#[derive(Debug)]
struct CropAndResize {
    how: Interpolation,
    outside: f32,
}

impl Operator for CropAndResize {
    fn name(&self) -> &'static str {
        "CropAndResize"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let images = shared::input(inputs, 0)?;
        need_number(images)?;
        let (boxes, places) = (shared::input(inputs, 1)?, shared::input(inputs, 2)?);
        shared::need_type(1, boxes, &[DType::F32])?;
        shared::need_type(2, places, &[DType::I32])?;
        let [height, width] = size(3, shared::input(inputs, 3)?)?;
        let channels = shared::dims_of_rank(0, images, 4)?.map_or(Dim::Unknown, |dims| dims[3]);
        let boxes_dims = shared::dims_of_rank(1, boxes, 2)?;
        let count = shared::dims_of_rank(2, places, 1)?.map_or(Dim::Unknown, |dims| dims[0]);
        let count = match boxes_dims.as_deref() {
            // Of no boxes a run does not ask how many corners they have.
            _ if boxes.dims.elements() == Dim::Known(0) && count == Dim::Known(0) => count,
            Some([_, corners]) if corners.known().is_some_and(|n| n != 4) => {
                return Err(OpError::input(
                    1,
                    format!("is of shape {}; four corners are needed", boxes.dims),
                ));
            }
            Some([Dim::Known(n), _]) if count.known().is_some_and(|m| m != *n) => {
                return Err(OpError::input(2, format!("is of shape {} for {n} boxes", places.dims)));
            }
            Some([n, _]) if n.known().is_some() => *n,
            _ => count,
        };
        Ok(vec![Fact::new(DType::F32, Dims::new([count, height, width, channels]))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (images, boxes, places) = (run.input(0)?, run.input(1)?, run.input(2)?);
        Ok(crop_and_resize(run.pool, (self.how, self.outside), images, boxes, places, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, check_close, flag, refuses, tensor, text};

    #[test]
    fn three_alignments() {
        let x = tensor(&[1, 1, 2, 1], &[0.0f32, 4.0]);
        let to = tensor(&[2], &[1i32, 4]);
        let inputs = [x.clone(), to.clone()];
        let row = |v: [f32; 4]| tensor(&[1, 1, 4, 1], &v);
        check_close("ResizeBilinear", &[], &inputs, &row([0.0, 2.0, 4.0, 4.0]), 1e-6);
        let corners = [("align_corners", flag(true))];
        check_close("ResizeBilinear", &corners, &inputs, &row([0.0, 4.0 / 3.0, 8.0 / 3.0, 4.0]), 1e-6);
        let half = [("half_pixel_centers", flag(true))];
        check_close("ResizeBilinear", &half, &inputs, &row([0.0, 1.0, 3.0, 4.0]), 1e-6);
        let bytes = [tensor(&[1, 1, 2, 1], &[7u8, 9]), to];
        check("ResizeNearestNeighbor", &[], &bytes, &[tensor(&[1, 1, 4, 1], &[7u8, 7, 9, 9])]);
        let none = [x, tensor(&[2], &[0i32, 4])];
        refuses("ResizeBilinear", &[], &none, "no height");
        refuses(
            "ResizeArea",
            &[("align_corners", flag(true)), ("half_pixel_centers", flag(true))],
            &inputs,
            "along",
        );
    }

    #[test]
    fn boxes_of_images() {
        let x = tensor(&[1, 2, 2, 1], &[1.0f32, 2.0, 3.0, 4.0]);
        let boxes = tensor(&[1, 4], &[0.0f32, 0.0, 1.0, 1.0]);
        let inputs = [x, boxes, tensor(&[1], &[0i32]), tensor(&[2], &[1i32, 3])];
        check_close("CropAndResize", &[], &inputs, &tensor(&[1, 1, 3, 1], &[2.0f32, 2.5, 3.0]), 1e-6);
        refuses("CropAndResize", &[("method", text("cubic"))], &inputs, "cubic");
    }
}
