//! Parts of images around places: ExtractGlimpse and its V2.
//!
//! Images `[batch, height, width, channels]` of float32, the size of a glimpse (int32, `[2]`: rows and columns) and its place
//! in each image (float32, `[batch, 2]`: y and x). Attributes: `normalized` (places are parts of the image's size), `centered`
//! (from its centre) and `noise`, what stands outside of the image: zero, uniform or gaussian. TensorFlow draws that noise
//! by chance, and so does this.

use tightfit_core::{DType, Shape};
use tightfit_kernels::{Glimpse, GlimpseNoise, PhiloxStream};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::random::Seeds;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{agree, not_negative};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "ExtractGlimpse", import: |a| import(a, true) },
    Registration { name: "ExtractGlimpseV2", import: |a| import(a, false) },
];

fn import(attributes: &Attributes<'_>, is_first_version: bool) -> Result<Box<dyn Operator>, OpError> {
    let is_uniform = attributes.bool_or("uniform_noise", true)?;
    let noise = match (attributes.text_or("noise", "uniform")?, is_uniform) {
        ("uniform", _) | ("", true) => GlimpseNoise::Uniform,
        ("", false) | ("gaussian", false) => GlimpseNoise::Gaussian,
        ("zero", false) => GlimpseNoise::Zero,
        (noise @ ("gaussian" | "zero"), true) => {
            return Err(OpError::attribute("noise", format!("is {noise}, and uniform_noise is true")));
        }
        (other, _) => return Err(OpError::attribute("noise", format!("is {other}"))),
    };
    let is_normalized = attributes.bool_or("normalized", true)?;
    let is_centered = attributes.bool_or("centered", true)?;
    Ok(Box::new(Extract { glimpse: Glimpse { is_normalized, is_centered, is_first_version, noise } }))
}

/// The operator.
#[derive(Debug)]
struct Extract {
    glimpse: Glimpse,
}

/// Every sequence of noise is another one.
const BY_CHANCE: Seeds = [0, 0];

/// The sides of a glimpse, of the values of input 1.
fn sides(values: &[i64]) -> Result<[usize; 2], OpError> {
    match values.iter().map(|side| usize::try_from(*side)).collect::<Result<Vec<_>, _>>().as_deref() {
        Ok(&[rows, columns]) => Ok([rows, columns]),
        _ => Err(OpError::input(1, format!("is {values:?}; a height and a width are needed"))),
    }
}

impl Operator for Extract {
    fn name(&self) -> &'static str {
        if self.glimpse.is_first_version { "ExtractGlimpse" } else { "ExtractGlimpseV2" }
    }

    fn is_pure(&self) -> bool {
        self.seeds().is_none()
    }

    fn seeds(&self) -> Option<Seeds> {
        (self.glimpse.noise != GlimpseNoise::Zero).then_some(BY_CHANCE)
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (images, size, places) =
            (shared::input(inputs, 0)?, shared::input(inputs, 1)?, shared::input(inputs, 2)?);
        shared::need_type(0, images, &[DType::F32])?;
        shared::need_type(1, size, &[DType::I32])?;
        shared::need_type(2, places, &[DType::F32])?;
        let is_bound = images.is_bound || places.is_bound;
        let dims = shared::dims_of_rank(0, images, 4)?.unwrap_or(vec![Dim::Unknown; 4]);
        let of_places = shared::dims_of_rank(2, places, 2)?.unwrap_or(vec![Dim::Unknown; 2]);
        let batch = agree(dims[0], of_places[0], is_bound)
            .filter(|_| agree(of_places[1], Dim::Known(2), false).is_some())
            .ok_or_else(|| {
                OpError::input(2, format!("is of shape {} for images {}", places.dims, images.dims))
            })?;
        if shared::dims_of_rank(1, size, 1)?.is_some_and(|len| len[0].size().is_some_and(|len| len != 2)) {
            return Err(OpError::input(1, format!("is of shape {}; two sizes are needed", size.dims)));
        }
        let [rows, columns] = match size.dims_value().as_deref() {
            Some(&[rows, columns]) => [not_negative(1, rows)?, not_negative(1, columns)?],
            _ => [Dim::Unknown; 2],
        };
        Ok(vec![Fact::new(DType::F32, Dims::new([batch, rows, columns, dims[3]]))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let size = sides(&run.ints::<2>(1)?)?;
        let &[batch, height, width, channels] = &run.shape(0)[..] else {
            return Err(OpError::input(0, format!("is of shape {}; rank 4 is needed", run.shape(0))));
        };
        run.set_output_shape(0, Shape::new(&[batch, size[0], size[1], channels])?)?;
        let (images, places) = (run.slice::<f32>(0)?, run.slice::<f32>(2)?);
        let mut numbers = match self.seeds() {
            // A number of 64 bits for each element is more than any noise takes.
            Some(seeds) => Some(PhiloxStream::new(run.random(seeds, run.output_shape(0).elements() as u64)?)),
            None => None,
        };
        let dims = [batch, height, width, channels];
        self.glimpse.extract(dims, size, (images, places), numbers.as_mut(), run.out(0)?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, flag, operator, refuses, tensor, text};

    #[test]
    fn what_is_around_a_place() {
        let image = tensor(&[1, 3, 3, 1], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        let inputs = |places: &[f32]| [image.clone(), tensor(&[2], &[2i32, 2]), tensor(&[1, 2], places)];
        let with = |normalized, centered| {
            let off = ("uniform_noise", flag(false));
            [("noise", text("zero")), off, ("normalized", flag(normalized)), ("centered", flag(centered))]
        };
        let made = |values: &[f32]| [tensor(&[1, 2, 2, 1], values)];
        // The centre less half of the glimpse is cut to whole pixels.
        check("ExtractGlimpse", &with(true, true), &inputs(&[0.0, 0.0]), &made(&[1.0, 2.0, 4.0, 5.0]));
        check("ExtractGlimpse", &with(false, false), &inputs(&[3.0, 1.0]), &made(&[7.0, 8.0, 0.0, 0.0]));
        check("ExtractGlimpseV2", &with(false, true), &inputs(&[0.0, 0.0]), &made(&[5.0, 6.0, 8.0, 9.0]));
        check("ExtractGlimpseV2", &with(false, false), &inputs(&[-1.0, 0.0]), &made(&[0.0, 0.0, 1.0, 2.0]));
        assert!(operator("ExtractGlimpseV2", &[("noise", text("zero"))]).is_err());
        let mut odd = inputs(&[0.0, 0.0]);
        odd[1] = tensor(&[2], &[2i32, -1]);
        refuses("ExtractGlimpseV2", &[], &odd, "-1 elements");
    }
}
