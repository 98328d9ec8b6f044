//! ExtractImagePatches: every window of an image as a pixel of many channels.
//!
//! From `[batch, height, width, channels]`, of any type but string, to `[batch, rows, columns, ksize_rows *
//! ksize_columns * channels]`; around the image are zeros where `padding` is SAME. Attributes `ksizes`, `strides` and
//! `rates` (pixels from one element of the window to the next) are `[1, rows, columns, 1]`.

use tightfit_core::DType;

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::window::{Moves, Padding, pair};

pub(crate) const OPS: &[Registration] = &[Registration { name: "ExtractImagePatches", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let padding = match attributes.text("padding")? {
        "SAME" => Padding::Same,
        "VALID" => Padding::Valid,
        other => return Err(OpError::attribute("padding", format!("is {other}"))),
    };
    let strides = pair("strides", &attributes.ints("strides")?)?;
    let dilations = pair("rates", &attributes.ints("rates")?)?;
    let size = pair("ksizes", &attributes.ints("ksizes")?)?;
    Ok(Box::new(ExtractImagePatches { size, moves: Moves { strides, dilations, padding } }))
}

/// The operator.
#[derive(Debug)]
struct ExtractImagePatches {
    size: [usize; 2],
    moves: Moves,
}

impl Operator for ExtractImagePatches {
    fn name(&self) -> &'static str {
        "ExtractImagePatches"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        if input.dtype == DType::String {
            return Err(OpError::input(0, "is of type string, which has no zero"));
        }
        let Some(dims) = shared::dims_of_rank(0, input, 4)? else {
            return Ok(vec![Fact::new(input.dtype, Dims::of_rank(4))]);
        };
        let [rows, columns] = self.moves.output(self.size, &dims[1..3])?;
        let pixels = self.size.iter().try_fold(1i64, |n, side| n.checked_mul(i64::try_from(*side).ok()?));
        let pixels = pixels.ok_or_else(|| OpError::attribute("ksizes", "is too large"))?;
        Ok(vec![Fact::new(
            input.dtype,
            Dims::new([dims[0], rows, columns, dims[3].times(Dim::Known(pixels))]),
        )])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let (&[_, height, width, channels], &[_, rows, columns, _]) = (&*run.shape(0), &*run.output_shape(0))
        else {
            return Err(OpError::Internal("an image of other than 4 dimensions was run"));
        };
        let pads = self.moves.window(self.size, [height, width]).pads;
        let bytes = channels * input.dtype().bytes();
        let out = run.out_bytes(0)?;
        if bytes == 0 || out.is_empty() {
            return Ok(());
        }
        let place = |axis: usize, step: usize, tap: usize, pad: usize, size: usize| {
            (step * self.moves.strides[axis] + tap * self.moves.dilations[axis])
                .checked_sub(pad)
                .filter(|p| *p < size)
        };
        let taps = self.size[0] * self.size[1];
        for (n, pixel) in out.chunks_exact_mut(bytes).enumerate() {
            let (tap, window) = (n % taps, n / taps);
            let (row, column) = (window / columns % rows, window % columns);
            let y = place(0, row, tap / self.size[1], pads[0], height);
            let x = place(1, column, tap % self.size[1], pads[2], width);
            match (y, x) {
                (Some(y), Some(x)) => {
                    let from = ((window / (rows * columns) * height + y) * width + x) * bytes;
                    pixel.copy_from_slice(&input.bytes()[from..from + bytes]);
                }
                _ => pixel.fill(0),
            }
        }
        Ok(())
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
}
