//! ScaleAndTranslate: images `[batch, height, width, channels]` of numbers, `[height, width]` of the output (int32), and two
//! float32 vectors, the scale down and across and the pixels of the output that the images are moved by. The output is float32.
//!
//! `kernel_type` is lanczos1, lanczos3, lanczos5, gaussian, box, triangle, keyscubic or mitchellcubic; with `antialias` it is
//! stretched where images become smaller.

use tightfit_core::{DType, Shape};
use tightfit_kernels::{Filter, scale_and_translate, scale_and_translate_floats};

use super::resize::size;
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[Registration { name: "ScaleAndTranslate", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let filter = match attributes.text_or("kernel_type", "lanczos3")? {
        "lanczos1" => Filter::Lanczos(1),
        "lanczos3" => Filter::Lanczos(3),
        "lanczos5" => Filter::Lanczos(5),
        "gaussian" => Filter::Gaussian,
        "box" => Filter::Box,
        "triangle" => Filter::Triangle,
        "keyscubic" => Filter::KeysCubic,
        "mitchellcubic" => Filter::MitchellCubic,
        other => return Err(OpError::attribute("kernel_type", format!("is {other}"))),
    };
    Ok(Box::new(ScaleAndTranslate { filter, antialias: attributes.bool_or("antialias", true)? }))
}

/// The operator.
#[derive(Debug)]
struct ScaleAndTranslate {
    filter: Filter,
    antialias: bool,
}

fn floats(input: &Shape, output: &Shape) -> Option<usize> {
    let images = <[usize; 4]>::try_from(&input[..]).ok()?;
    Some(scale_and_translate_floats(images, *output.get(1)?))
}

impl Operator for ScaleAndTranslate {
    fn name(&self) -> &'static str {
        "ScaleAndTranslate"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let images = shared::input(inputs, 0)?;
        if !images.dtype.is_float() && !images.dtype.is_integer() {
            return Err(OpError::input(0, format!("is of type {}; numbers are needed", images.dtype)));
        }
        for index in [2, 3] {
            let pair = shared::input(inputs, index)?;
            shared::need_type(index, pair, &[DType::F32])?;
            shared::dims_of_rank(index, pair, 1)?;
            if pair.dims.elements().known().is_some_and(|count| count != 2) {
                return Err(OpError::input(index, format!("is of shape {}; two are needed", pair.dims)));
            }
        }
        if shared::input(inputs, 2)?.floats().is_some_and(|scale| scale.iter().any(|s| !(*s > 0.0))) {
            return Err(OpError::input(2, "is not positive"));
        }
        let [height, width] = size(1, shared::input(inputs, 1)?)?;
        let dims = shared::dims_of_rank(0, images, 4)?.unwrap_or(vec![Dim::Unknown; 4]);
        if dims[1..].contains(&Dim::Known(0)) {
            return Err(OpError::input(0, format!("is of shape {}, images without pixels", images.dims)));
        }
        Ok(vec![Fact::new(DType::F32, Dims::new([dims[0], height, width, dims[3]]))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let floats = floats(&call.inputs[0].shape, &call.outputs[0].shape).unwrap_or(0);
        Memory::scratch(floats.saturating_mul(4))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let pair = |input: usize| match run.slice::<f32>(input)? {
            &[down, across] => Ok([down, across]),
            _ => Err(OpError::input(input, "does not have two elements")),
        };
        let moves = (pair(2)?, pair(3)?);
        let floats = floats(&run.shape(0), &run.output_shape(0)).unwrap_or(0);
        let scratch = run.scratch()?.get_mut(..floats * 4).map(bytemuck::try_cast_slice_mut);
        let Some(Ok(scratch)) = scratch else {
            return Err(OpError::Internal("less scratch than was planned"));
        };
        let (images, how) = (run.input(0)?, (self.filter, self.antialias));
        Ok(scale_and_translate(run.pool, how, moves, images, &mut run.output(0)?, scratch)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_close, flag, refuses, tensor, text};

    #[test]
    fn triangles_move_and_scale() {
        let x = tensor(&[1, 1, 4, 1], &[0f32, 4.0, 8.0, 2.0]);
        let two = |a: f32, b: f32| tensor(&[2], &[a, b]);
        let attributes = |antialias| [("kernel_type", text("triangle")), ("antialias", flag(antialias))];
        let inputs = |width: i32, scale, shift| {
            [x.clone(), tensor(&[2], &[1i32, width]), two(1.0, scale), two(0.0, shift)]
        };
        let row = |values: &[f32]| tensor(&[1, 1, values.len(), 1], values);
        let moved = row(&[0.0, 0.0, 4.0, 8.0, 2.0, 0.0]);
        check_close("ScaleAndTranslate", &attributes(true), &inputs(6, 1.0, 1.0), &moved, 1e-6);
        let plain = row(&[2.0, 5.0]);
        check_close("ScaleAndTranslate", &attributes(false), &inputs(2, 0.5, 0.0), &plain, 1e-6);
        // Stretched by two: weights of 3, 3 and 1 at the edges.
        let smooth = row(&[20.0 / 7.0, 34.0 / 7.0]);
        check_close("ScaleAndTranslate", &attributes(true), &inputs(2, 0.5, 0.0), &smooth, 1e-6);
        refuses("ScaleAndTranslate", &attributes(true), &inputs(2, 0.0, 0.0), "positive");
        refuses("ScaleAndTranslate", &[("kernel_type", text("cubic"))], &inputs(2, 1.0, 0.0), "cubic");
    }
}
