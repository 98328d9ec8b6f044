//! Pools of quantised images, `[batch, height, width, channels]`: tfl.average_pool_2d, tfl.max_pool_2d.
//!
//! int8, uint8 and int16; the output is of the input's scale and zero point. Attributes `filter_height`, `filter_width`,
//! `stride_h`, `stride_w`, `padding` and `fused_activation_function`. An average is of the pixels that lie in the image,
//! rounded to the nearest integer, halves away from 0.

use tightfit_core::DType;
use tightfit_kernels::{Affine, AffinePool, PoolKind};

use super::affine::{self, Fused};
use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;
use crate::ops::shared::window::WindowAttributes;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "tfl.average_pool_2d", import: |a| import(a, PoolKind::Average) },
    Registration { name: "tfl.max_pool_2d", import: |a| import(a, PoolKind::Max) },
];

fn import(attributes: &Attributes<'_>, kind: PoolKind) -> Result<Box<dyn Operator>, OpError> {
    let size = |name: &str| match attributes.count(name)? {
        0 => Err(OpError::attribute(name, "is 0")),
        size => Ok(size),
    };
    Ok(Box::new(Pool {
        kind,
        size: [size("filter_height")?, size("filter_width")?],
        window: affine::window(attributes)?,
        activation: Fused::import(attributes)?,
        output: affine::output(attributes)?,
    }))
}

/// The operator.
#[derive(Debug)]
struct Pool {
    kind: PoolKind,
    size: [usize; 2],
    window: WindowAttributes,
    activation: Fused,
    output: Affine,
}

impl Operator for Pool {
    fn name(&self) -> &'static str {
        if self.kind == PoolKind::Max { "tfl.max_pool_2d" } else { "tfl.average_pool_2d" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::I8, DType::U8, DType::I16])?;
        let Some(image) = shared::dims_of_rank(0, input, 4)? else {
            return Ok(vec![Fact::new(input.dtype, Dims::of_rank(4))]);
        };
        let [rows, columns] = self.window.output(self.size, &image[1..3])?;
        Ok(vec![Fact::new(input.dtype, Dims::new([image[0], rows, columns, image[3]]))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, pool) = (run.input(0)?, run.pool);
        let bounds = self.activation.bounds(input.dtype(), self.output)?;
        let window = self.window.window(self.size, [input.shape()[1], input.shape()[2]]);
        Ok(AffinePool { kind: self.kind, window, bounds }.run(pool, input, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, floats, int, ints, tensor, text};

    #[test]
    fn windows_at_the_edge_are_smaller() {
        let attributes = [
            ("filter_height", int(2)),
            ("filter_width", int(2)),
            ("stride_h", int(2)),
            ("stride_w", int(2)),
            ("padding", text("SAME")),
            ("output_scale", floats(&[0.5])),
            ("output_zero_point", ints(&[-3])),
        ];
        let x = tensor(&[1, 3, 3, 1], &[1i8, 2, 3, -4, -5, 6, 7, -8, -9]);
        check("tfl.average_pool_2d", &attributes, &[x.clone()], &[tensor(&[1, 2, 2, 1], &[-2i8, 5, -1, -9])]);
        let relu = [attributes.as_slice(), &[("fused_activation_function", text("RELU"))]].concat();
        check("tfl.max_pool_2d", &relu, &[x], &[tensor(&[1, 2, 2, 1], &[2i8, 6, 7, -3])]);
    }
}
