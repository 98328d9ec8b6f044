//! ExtractImagePatches and ExtractVolumePatches: every window of an image or a volume as a pixel of many channels.
//!
//! From `[batch, height, width, channels]`, of any type but string, to `[batch, rows, columns, ksize_rows *
//! ksize_columns * channels]`; around the image are zeros where `padding` is SAME. Attributes `ksizes`, `strides` and
//! `rates` (pixels from one element of the window to the next) are `[1, rows, columns, 1]`. Of volumes, `[batch, depth, height,
//! width, channels]`, they are `[1, planes, rows, columns, 1]`, and there are no `rates`.

use tightfit_core::DType;
use tightfit_kernels::{Window3, patches};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::volume::{Padding3, WindowAttributes3, three};
use crate::ops::shared::window::pair;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "ExtractImagePatches", import: |attributes| import(attributes, false) },
    Registration { name: "ExtractVolumePatches", import: |attributes| import(attributes, true) },
];

fn import(attributes: &Attributes<'_>, of_volumes: bool) -> Result<Box<dyn Operator>, OpError> {
    let padding = match attributes.text("padding")? {
        "SAME" => Padding3::Same,
        "VALID" => Padding3::Valid,
        other => return Err(OpError::attribute("padding", format!("is {other}"))),
    };
    let along = |name: &str| {
        let list = attributes.ints(name)?;
        if of_volumes {
            return three(name, &list);
        }
        let [rows, columns] = pair(name, &list)?;
        Ok([1, rows, columns])
    };
    let dilations = if of_volumes { [1; 3] } else { along("rates")? };
    let window = WindowAttributes3 { strides: along("strides")?, dilations, padding };
    Ok(Box::new(ExtractPatches { size: along("ksizes")?, window, of_volumes }))
}

/// The operator.
#[derive(Debug)]
struct ExtractPatches {
    size: [usize; 3],
    window: WindowAttributes3,
    of_volumes: bool,
}

impl ExtractPatches {
    /// The axes of `[batch, .., channels]` that a window moves along, with a depth of 1 for images.
    fn volume<T: Copy>(&self, dims: &[T], one: T) -> Option<[T; 5]> {
        match *dims {
            [a, b, c, d] if !self.of_volumes => Some([a, one, b, c, d]),
            [a, b, c, d, e] if self.of_volumes => Some([a, b, c, d, e]),
            _ => None,
        }
    }
}

impl Operator for ExtractPatches {
    fn name(&self) -> &'static str {
        if self.of_volumes { "ExtractVolumePatches" } else { "ExtractImagePatches" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        if input.dtype == DType::String {
            return Err(OpError::input(0, "is of type string, which has no zero"));
        }
        let rank = if self.of_volumes { 5 } else { 4 };
        let dims = shared::dims_of_rank(0, input, rank)?;
        let Some([batch, depth, height, width, channels]) =
            dims.and_then(|dims| self.volume(&dims, Dim::Known(1)))
        else {
            return Ok(vec![Fact::new(input.dtype, Dims::of_rank(rank))]);
        };
        let size = self.window.output(self.size, &[depth, height, width])?;
        let taps = self.size.iter().try_fold(1i64, |n, side| n.checked_mul(i64::try_from(*side).ok()?));
        let taps = taps.ok_or_else(|| OpError::attribute("ksizes", "is too large"))?;
        let mut dims = vec![batch];
        dims.extend(if self.of_volumes { &size[..] } else { &size[1..] });
        dims.push(channels.times(Dim::Known(taps)));
        Ok(vec![Fact::new(input.dtype, Dims::new(dims))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let Some([batch, depth, height, width, channels]) = self.volume(input.shape(), 1) else {
            return Err(OpError::Internal("patches of other than four or five dimensions"));
        };
        let out = run.out_bytes(0)?;
        if out.is_empty() {
            return Ok(());
        }
        let window = self.window.window(self.size, [depth, height, width]);
        let pixel = channels * input.dtype().bytes();
        let window = Window3 { skips: if self.of_volumes { window.skips } else { [0; 3] }, ..window };
        Ok(patches(run.pool, window, [batch, depth, height, width, pixel], input.bytes(), out)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn windows_become_pixels() {
        let x = tensor(&[1, 3, 3, 1], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        let attributes = |padding, stride, rate| {
            let four = |n| ints(&[1, n, n, 1]);
            [
                ("ksizes", four(2)),
                ("strides", four(stride)),
                ("rates", four(rate)),
                ("padding", text(padding)),
            ]
        };
        let expected = tensor(&[1, 1, 1, 4], &[1f32, 2.0, 4.0, 5.0]);
        check("ExtractImagePatches", &attributes("VALID", 2, 1), &[x.clone()], &[expected]);
        let corners = tensor(&[1, 1, 1, 4], &[1f32, 3.0, 7.0, 9.0]);
        check("ExtractImagePatches", &attributes("VALID", 1, 2), &[x.clone()], &[corners]);
        let same = tensor(&[1, 2, 2, 4], &[1f32, 2., 4., 5., 3., 0., 6., 0., 7., 8., 0., 0., 9., 0., 0., 0.]);
        check("ExtractImagePatches", &attributes("SAME", 2, 1), &[x], &[same]);
        refuses("ExtractImagePatches", &attributes("FULL", 1, 1), &[], "padding");
    }

    #[test]
    fn windows_of_volumes() {
        let x = tensor(&[1, 2, 2, 2, 1], &[1i32, 2, 3, 4, 5, 6, 7, 8]);
        let attributes = |ksizes: &[i64], padding| {
            [("ksizes", ints(ksizes)), ("strides", ints(&[1, 1, 2, 1, 1])), ("padding", text(padding))]
        };
        let expected = tensor(&[1, 1, 1, 2, 2], &[1i32, 5, 2, 6]);
        check("ExtractVolumePatches", &attributes(&[1, 2, 1, 1, 1], "VALID"), &[x.clone()], &[expected]);
        let expected = tensor(&[1, 2, 1, 2, 2], &[1i32, 2, 2, 0, 5, 6, 6, 0]);
        check("ExtractVolumePatches", &attributes(&[1, 1, 1, 2, 1], "SAME"), &[x.clone()], &[expected]);
        refuses("ExtractVolumePatches", &attributes(&[1, 1, 1, 2, 2], "SAME"), &[x], "ksizes");
    }
}
