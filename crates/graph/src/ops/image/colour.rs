//! Colours of pixels `[.., 3]`: RGBToHSV and HSVToRGB, AdjustHue and AdjustSaturation.
//!
//! The first two are of any float, the others of float32, with a
//! scalar after the images: the part of the circle that the hue is turned by, the factor of the saturation. Hue, saturation
//! and value are in 0 to 1.

use half::{bf16, f16};
use tightfit_core::{DType, Element};
use tightfit_kernels::{Channel, Colour, adjust_colours, convert_colours};

use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::{OpError, Operator, Run, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "RGBToHSV", import: |_| Ok(Box::new(Convert { to_hsv: true })) },
    Registration { name: "HSVToRGB", import: |_| Ok(Box::new(Convert { to_hsv: false })) },
    Registration { name: "AdjustHue", import: |_| Ok(Box::new(Adjust { is_hue: true })) },
    Registration { name: "AdjustSaturation", import: |_| Ok(Box::new(Adjust { is_hue: false })) },
];

/// Checks that an input has pixels of three channels, along `least` axes or more.
fn need_pixels(input: &Fact, least: usize) -> Result<(), OpError> {
    let Some(dims) = input.dims.get() else { return Ok(()) };
    let channels = dims.last().and_then(|dim| dim.known());
    if dims.len() < least || channels.is_some_and(|channels| channels != 3) {
        let why = format!("is of shape {}; pixels of three channels are needed", input.dims);
        return Err(OpError::input(0, why));
    }
    Ok(())
}

/// From one space of colours to the other.
#[derive(Debug)]
struct Convert {
    to_hsv: bool,
}

impl Operator for Convert {
    fn name(&self) -> &'static str {
        if self.to_hsv { "RGBToHSV" } else { "HSVToRGB" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_float(0, input)?;
        need_pixels(input, 1)?;
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        match run.dtype(0) {
            DType::F64 => self.convert::<f64>(run),
            DType::F16 => self.convert::<f16>(run),
            DType::BF16 => self.convert::<bf16>(run),
            _ => self.convert::<f32>(run),
        }
    }
}

impl Convert {
    fn convert<T: Channel + Element>(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        Ok(convert_colours(run.pool, self.to_hsv, run.slice::<T>(0)?, run.out(0)?)?)
    }
}

/// Another hue or saturation.
#[derive(Debug)]
struct Adjust {
    is_hue: bool,
}

impl Operator for Adjust {
    fn name(&self) -> &'static str {
        if self.is_hue { "AdjustHue" } else { "AdjustSaturation" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, by) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, input, &[DType::F32])?;
        shared::need_type(1, by, &[DType::F32])?;
        shared::dims_of_rank(1, by, 0)?;
        need_pixels(input, 3)?;
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let &[by] = run.slice::<f32>(1)? else { return Err(OpError::input(1, "is no scalar")) };
        let input = run.slice::<f32>(0)?;
        let colour = if self.is_hue { Colour::Hue(by) } else { Colour::Saturation(by) };
        Ok(adjust_colours(run.pool, colour, input, run.out(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use crate::testing::{check, check_close, refuses, run, scalar, tensor};

    #[test]
    fn there_and_back() {
        let rgb = [1f32, 0.0, 0.0, 0.5, 0.75, 0.25, 0.2, 0.2, 0.2, 0.1, 0.3, 0.9];
        let hsv = [0f32, 1.0, 1.0, 0.25, 2.0 / 3.0, 0.75, 0.0, 0.0, 0.2, 0.625, 8.0 / 9.0, 0.9];
        let (rgb, hsv) = (tensor(&[2, 2, 3], &rgb), tensor(&[2, 2, 3], &hsv));
        check_close("RGBToHSV", &[], &[rgb.clone()], &hsv, 1e-6);
        check_close("HSVToRGB", &[], &[hsv], &rgb, 1e-6);
        // TensorFlow's, which rounds each step.
        let halves = [0.3f32, 60000.0, 60000.0, 0.5117188, 0.9506836, 0.144165].map(f16::from_f32);
        let rgb = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY, 0.007110596, 0.13452148, 0.14416504];
        let rgb = tensor(&[2, 3], &rgb.map(f16::from_f32));
        check("HSVToRGB", &[], &[tensor(&[2, 3], &halves)], &[rgb]);
        let doubles = tensor(&[3], &[0.5f64, 0.75, 0.25]);
        let hsv = run("RGBToHSV", &[], &[doubles]).unwrap()[0].values::<f64>();
        assert!((hsv[1] - 2.0 / 3.0).abs() < 1e-15 && hsv[2] == 0.75);
        refuses("RGBToHSV", &[], &[tensor(&[4], &[0f32; 4])], "three channels");
    }

    #[test]
    fn hue_turns_and_saturation_grows() {
        let x = tensor(&[1, 2, 3], &[1f32, 0.0, 0.0, 0.5, 0.75, 0.25]);
        let third = tensor(&[1, 2, 3], &[0f32, 1.0, 0.0, 0.25, 0.5, 0.75]);
        check_close("AdjustHue", &[], &[x.clone(), scalar(1f32 / 3.0)], &third, 1e-6);
        let back = tensor(&[1, 2, 3], &[0f32, 0.0, 1.0, 0.75, 0.25, 0.5]);
        check_close("AdjustHue", &[], &[x.clone(), scalar(-1f32 / 3.0)], &back, 1e-6);
        let half = tensor(&[1, 2, 3], &[1f32, 0.5, 0.5, 0.625, 0.75, 0.5]);
        check_close("AdjustSaturation", &[], &[x.clone(), scalar(0.5f32)], &half, 1e-6);
        let grey = tensor(&[1, 2, 3], &[1f32, 1.0, 1.0, 0.75, 0.75, 0.75]);
        check_close("AdjustSaturation", &[], &[x.clone(), scalar(-2f32)], &grey, 1e-6);
        refuses("AdjustHue", &[], &[x, tensor(&[1], &[0f32])], "rank 0");
    }
}
