//! BiasAdd: a vector added along the channels.
//!
//! With channels last (NHWC) it is an Add, which broadcasts the vector the same way, as soon as the shapes are known to
//! be those of a BiasAdd. With channels second (NCHW) the vector is added as if it were of shape `[channels, 1, ..]`.
//! Types: every number. The output may take the memory of the tensor.

use std::sync::Arc;

use tightfit_core::{Shape, TensorView};
use tightfit_kernels::{BinaryOp, Src, binary};

use crate::dim::Dim;
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::math::binary::Binary;
use crate::ops::shared;

pub(crate) const OPS: &[Registration] =
    &[Registration { name: "BiasAdd", import }, Registration { name: "BiasAddV1", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    match attributes.text_or("data_format", "NHWC")? {
        "NHWC" => Ok(Box::new(BiasAdd { is_second: false })),
        "NCHW" => Ok(Box::new(BiasAdd { is_second: true })),
        other => Err(OpError::attribute("data_format", format!("is {other}; NHWC and NCHW are supported"))),
    }
}

/// The operator.
#[derive(Debug)]
pub(crate) struct BiasAdd {
    /// True where the channels are the second axis, false where they are the last.
    pub(crate) is_second: bool,
}

impl BiasAdd {
    /// The channels of a tensor, where its rank is known, and the elements of a bias.
    fn channels(&self, inputs: &[&Fact]) -> Result<Option<[Dim; 2]>, OpError> {
        let (input, bias) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        let bias = shared::dims_of_rank(1, bias, 1)?;
        let Some(dims) = input.dims.get() else { return Ok(None) };
        if dims.len() < 2 {
            return Err(OpError::input(0, format!("is of shape {}; at least 2 axes are needed", input.dims)));
        }
        let channels = if self.is_second { dims[1] } else { dims[dims.len() - 1] };
        Ok(bias.map(|bias| [channels, bias[0]]))
    }
}

impl Operator for BiasAdd {
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
        if let Some([channels, elements]) = self.channels(inputs)?
            && let (Some(channels), Some(elements)) = (channels.size(), elements.size())
            && channels != elements
            && !input.is_bound
            && !bias.is_bound
        {
            return Err(OpError::input(1, format!("has {elements} elements for {channels} channels")));
        }
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        let input = shared::input(inputs, 0)?;
        if self.is_second && input.dims.rank().is_some_and(|rank| rank < 3) {
            return Err(OpError::input(0, format!("is of shape {}; NCHW needs at least 3 axes", input.dims)));
        }
        Ok(())
    }

    fn plainer(&self, inputs: &[&Fact]) -> Option<Arc<dyn Operator>> {
        let [channels, elements] = self.channels(inputs).ok()??;
        let is_add = !self.is_second && channels.known().is_some() && channels == elements;
        is_add.then(|| Arc::new(Binary { op: BinaryOp::Add }) as Arc<dyn Operator>)
    }

    takes_over_its_input!();

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, bias) = (run.src(0)?, run.input(1)?);
        let mut dims = [1; tightfit_core::MAX_RANK];
        dims[0] = bias.shape().elements();
        let behind = if self.is_second { run.shape(0).rank() - 2 } else { 0 };
        let shape = Shape::new(&dims[..1 + behind])?;
        let bias = TensorView::new(bias.dtype(), shape, bias.bytes())
            .ok_or(OpError::Internal("a bias is no vector"))?;
        Ok(binary(run.pool, BinaryOp::Add, input, Src::View(bias), &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refuses, scalar, tensor, text};

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
        let three = tensor(&[3], &[0.0f32; 3]);
        refuses("BiasAdd", &[("data_format", text("NCHW"))], &[x.clone(), three], "3 elements");
        // What would be broadcast is no bias.
        refuses("BiasAdd", &[], &[x.clone(), tensor(&[1], &[0.0f32])], "1 elements");
        refuses("BiasAddV1", &[], &[x.clone(), tensor(&[1, 2], &[0.0f32; 2])], "rank 1");
        refuses("BiasAddV1", &[], &[x, scalar(0.0f32)], "rank 1");
        refuses("BiasAdd", &[], &[tensor(&[2], &[0.0f32; 2]), tensor(&[2], &[0.0f32; 2])], "2 axes");
    }
}
