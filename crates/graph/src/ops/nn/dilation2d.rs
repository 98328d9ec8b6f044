//! Dilation2D, the morphological one: `output[b, y, x, c] = max(input[b, y + .., x + .., c] + filter[.., .., c])` over a
//! window, of `[batch, height, width, channels]` and a filter `[height, width, channels]`.
//!
//! Any numbers. Attributes `strides` and `rates` (pixels from one element of the window to the next) are `[1, rows, columns,
//! 1]`, `padding` is SAME or VALID; what lies outside of the image is left out. Sums of integers wrap.

use tightfit_kernels::dilation2d;

use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::window::{Padding, WindowAttributes, pair};

pub(crate) const OPS: &[Registration] = &[Registration { name: "Dilation2D", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let padding = match attributes.text("padding")? {
        "SAME" => Padding::Same,
        "VALID" => Padding::Valid,
        other => return Err(OpError::attribute("padding", format!("is {other}"))),
    };
    let strides = pair("strides", &attributes.ints("strides")?)?;
    let dilations = pair("rates", &attributes.ints("rates")?)?;
    Ok(Box::new(Dilation2d { window: WindowAttributes { strides, dilations, padding } }))
}

/// The operator.
#[derive(Debug)]
struct Dilation2d {
    window: WindowAttributes,
}

impl Operator for Dilation2d {
    fn name(&self) -> &'static str {
        "Dilation2D"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, filter) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        if !input.dtype.is_float() && !input.dtype.is_integer() {
            return Err(OpError::input(0, format!("is of type {}; numbers are needed", input.dtype)));
        }
        shared::need_type(1, filter, &[input.dtype])?;
        let image = shared::dims_of_rank(0, input, 4)?;
        let window = shared::dims_of_rank(1, filter, 3)?;
        let (Some(image), Some(window)) = (image, window) else {
            return Ok(vec![Fact::new(input.dtype, Dims::of_rank(4))]);
        };
        if let (Some(a), Some(b)) = (image[3].size(), window[2].size())
            && a != b
        {
            return Err(OpError::input(1, format!("has {b} channels where input 0 has {a}")));
        }
        let [rows, columns] = self.window.output_by(filter, &image[1..3])?;
        Ok(vec![Fact::new(input.dtype, Dims::new([image[0], rows, columns, image[3]]))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, filter) = (run.input(0)?, run.input(1)?);
        let mut output = run.output(0)?;
        if output.bytes().is_empty() {
            return Ok(());
        }
        let size = |shape: &[usize], from: usize| match shape.get(from..from + 2) {
            Some(&[height, width]) => Ok([height, width]),
            _ => Err(OpError::Internal("a dilation of other than four and three dimensions")),
        };
        let window = self.window.window(size(filter.shape(), 0)?, size(input.shape(), 1)?);
        Ok(dilation2d(run.pool, window, input, filter, &mut output)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, ints, refuses, tensor, text};

    #[test]
    fn the_largest_sum_of_a_window() {
        let attributes = |stride, rate, padding| {
            let four = |n| ints(&[1, n, n, 1]);
            [("strides", four(stride)), ("rates", four(rate)), ("padding", text(padding))]
        };
        let x = tensor(&[1, 2, 3, 1], &[1f32, 5.0, 2.0, 4.0, f32::NAN, 3.0]);
        let f = tensor(&[2, 1, 1], &[0f32, 10.0]);
        let inputs = [x, f];
        let expected = tensor(&[1, 1, 3, 1], &[14f32, 5.0, 13.0]);
        check("Dilation2D", &attributes(1, 1, "VALID"), &inputs, &[expected]);
        let expected = tensor(&[1, 1, 2, 1], &[14f32, 13.0]);
        check("Dilation2D", &attributes(2, 1, "SAME"), &inputs, &[expected]);
        let bytes = [tensor(&[1, 1, 3, 1], &[100i8, 5, -3]), tensor(&[1, 2, 1], &[1i8, 2])];
        let expected = tensor(&[1, 1, 1, 1], &[101i8]);
        check("Dilation2D", &attributes(1, 2, "VALID"), &bytes, &[expected]);
        let wrong = [inputs[0].clone(), tensor(&[1, 1, 2], &[0f32; 2])];
        refuses("Dilation2D", &attributes(1, 1, "SAME"), &wrong, "2 channels");
    }
}
