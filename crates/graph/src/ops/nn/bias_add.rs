//! BiasAdd: a vector added along the channels.
//!
//! With channels last (NHWC) it is an Add, which broadcasts the vector the same way. With channels second (NCHW) the
//! vector is added as if it were of shape `[channels, 1, ..]`. Types: every number. The output may take the memory of
//! the tensor.

use tightfit_core::{Shape, TensorView};
use tightfit_kernels::{BinaryOp, Src, binary};

use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::math::binary::Binary;
use crate::ops::shared;

pub(crate) const OPS: &[Registration] =
    &[Registration { name: "BiasAdd", import }, Registration { name: "BiasAddV1", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    match attributes.text_or("data_format", "NHWC")? {
        "NHWC" => Ok(Box::new(Binary { op: BinaryOp::Add })),
        "NCHW" => Ok(Box::new(ChannelsSecond)),
        other => Err(OpError::attribute("data_format", format!("is {other}; NHWC and NCHW are supported"))),
    }
}

/// BiasAdd with channels second.
#[derive(Debug)]
struct ChannelsSecond;

impl Operator for ChannelsSecond {
    fn name(&self) -> &'static str {
        "BiasAdd"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, bias) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        if bias.dtype != input.dtype || !BinaryOp::Add.supports(input.dtype) {
            return Err(OpError::input(
                1,
                format!("is of type {}, and input 0 of {}", bias.dtype, input.dtype),
            ));
        }
        let bias = shared::dims_of_rank(1, bias, 1)?;
        if input.dims.rank().is_some_and(|rank| rank < 2) {
            return Err(OpError::input(0, format!("is of shape {}; NCHW needs at least 2 axes", input.dims)));
        }
        if let (Some(dims), Some(bias)) = (input.dims.get(), bias)
            && let (Some(channels), Some(elements)) = (dims[1].size(), bias[0].size())
            && channels != elements
        {
            return Err(OpError::input(1, format!("has {elements} elements for {channels} channels")));
        }
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        let input = shared::input(inputs, 0)?;
        if input.dims.rank().is_some_and(|rank| rank < 3) {
            return Err(OpError::input(0, format!("is of shape {}; NCHW needs at least 3 axes", input.dims)));
        }
        Ok(())
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::overwrites(&[0])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, bias) = (run.src(0)?, run.input(1)?);
        let mut dims = [1; tightfit_core::MAX_RANK];
        dims[0] = bias.shape().elements();
        let shape = Shape::new(&dims[..run.shape(0).rank() - 1])?;
        let bias = TensorView::new(bias.dtype(), shape, bias.bytes())
            .ok_or(OpError::Internal("a bias is no vector"))?;
        Ok(binary(run.pool, BinaryOp::Add, input, Src::View(bias), &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refuses, tensor, text};

    #[test]
    fn adds_along_the_channels() {
        let x = tensor(&[1, 2, 1, 2], &[1.0f32, 2.0, 3.0, 4.0]);
        let bias = tensor(&[2], &[10.0f32, 20.0]);
        check(
            "BiasAdd",
            &[],
            &[x.clone(), bias.clone()],
            &[tensor(&[1, 2, 1, 2], &[11.0f32, 22.0, 13.0, 24.0])],
        );
        check(
            "BiasAdd",
            &[("data_format", text("NCHW"))],
            &[x.clone(), bias],
            &[tensor(&[1, 2, 1, 2], &[11.0f32, 12.0, 23.0, 24.0])],
        );
        refuses("BiasAdd", &[("data_format", text("NCHW"))], &[x, tensor(&[3], &[0.0f32; 3])], "3 elements");
    }
}
