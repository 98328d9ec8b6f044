//! Gradients of batch normalisation: FusedBatchNormGrad, V2 and V3.
//!
//! Inputs: the gradient of the output and the input, `[batch, .., channels]` or, with `data_format` NCHW, `[batch, channels, ..]`,
//! of four axes (NDHWC and NCDHW of five; channels second in training alone), float32 (float16 and bfloat16 of V2 and V3 too); scale, mean and variance of each
//! channel, float32, and of V3 one more that is not looked at. With `is_training` mean and variance are those of the batch. Outputs: the
//! gradients by the input, the scale and the offset, and two vectors without elements.

use tightfit_core::{DType, Shape};
use tightfit_kernels::{BatchNormGradient, batch_norm_gradient};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "FusedBatchNormGrad", import },
    Registration { name: "FusedBatchNormGradV2", import },
    Registration { name: "FusedBatchNormGradV3", import },
];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (rank, is_second) = match attributes.text_or("data_format", "NHWC")? {
        "NCHW" => (4, true),
        "NDHWC" => (5, false),
        "NCDHW" => (5, true),
        _ => (4, false),
    };
    let is_training = attributes.bool_or("is_training", true)?;
    if is_second && !is_training {
        return Err(OpError::attribute("data_format", "has channels second, where is_training is false"));
    }
    Ok(Box::new(BatchNormGrad {
        epsilon: attributes.float_or("epsilon", 1e-4)?,
        is_training,
        is_second,
        rank,
    }))
}

/// The operator.
#[derive(Debug)]
struct BatchNormGrad {
    epsilon: f32,
    is_training: bool,
    /// Channels are the second axis.
    is_second: bool,
    rank: usize,
}

const SCALE: usize = 2;
const MEAN: usize = 3;
const VARIANCE: usize = 4;

impl BatchNormGrad {
    /// The elements before, along and behind the channels.
    fn around(&self, shape: &Shape) -> Result<[usize; 3], OpError> {
        match (self.is_second, &**shape) {
            (true, [outer, channels, inner @ ..]) => Ok([*outer, *channels, inner.iter().product()]),
            (false, [outer @ .., channels]) => Ok([outer.iter().product(), *channels, 1]),
            _ => Err(OpError::input(1, "is a scalar, no batch")),
        }
    }
}

impl Operator for BatchNormGrad {
    fn name(&self) -> &'static str {
        "FusedBatchNormGrad"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (gradient, x) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(1, x, &[DType::F32, DType::F16, DType::BF16])?;
        shared::need_type(0, gradient, &[x.dtype])?;
        shared::dims_of_rank(0, gradient, self.rank)?;
        let dims = shared::dims_of_rank(1, x, self.rank)?;
        let at = if self.is_second { 1 } else { self.rank - 1 };
        let mut channels = dims.map_or(Dim::Unknown, |dims| dims[at]);
        for index in [SCALE, MEAN, VARIANCE] {
            let vector = shared::input(inputs, index)?;
            shared::need_type(index, vector, &[DType::F32])?;
            let Some(dims) = shared::dims_of_rank(index, vector, 1)? else { continue };
            match (channels.known(), dims[0].known()) {
                (Some(a), Some(b)) if a != b && !x.is_bound => {
                    return Err(OpError::input(index, format!("has {b} elements for {a} channels")));
                }
                (None, _) => channels = dims[0],
                _ => {}
            }
        }
        let of_channels = || Fact::new(DType::F32, Dims::new([channels]));
        let nothing = || Fact::new(DType::F32, Dims::new([Dim::Known(0)]));
        let by_input = Fact::new(x.dtype, x.dims.clone());
        Ok(vec![by_input, of_channels(), of_channels(), nothing(), nothing()])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(1);
        let [_, channels, _] = self.around(&shape).ok()?;
        run.set_output_shape(0, shape).ok()?;
        let sizes = [channels, channels, 0, 0];
        (1..).zip(sizes).try_for_each(|(n, size)| run.set_output_shape(n, Shape::new(&[size]).ok()?).ok())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (gradient, x) = (run.input(0)?, run.input(1)?);
        if gradient.shape() != x.shape() {
            let why = format!("is of shape {}; the input is of {}", gradient.shape(), x.shape());
            return Err(OpError::input(0, why));
        }
        let around = self.around(x.shape())?;
        let norm = BatchNormGradient {
            scale: run.slice(SCALE)?,
            mean: run.slice(MEAN)?,
            variance: run.slice(VARIANCE)?,
            epsilon: self.epsilon,
            is_of_batch: self.is_training,
        };
        let vectors = [run.out::<f32>(1)?, run.out::<f32>(2)?];
        Ok(batch_norm_gradient(norm, around, [gradient, x], &mut run.output(0)?, vectors)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn gradients_of_a_channel() {
        let x = tensor(&[1, 1, 2, 1], &[1f32, 3.0]);
        let dy = tensor(&[1, 1, 2, 1], &[4f32, 2.0]);
        let one = |value: f32| tensor(&[1], &[value]);
        let inputs = [dy.clone(), x, one(2.0), one(2.0), one(0.25)];
        let nothing = tensor(&[0], &[0f32; 0]);
        let with = |is_training| [("epsilon", float(0.0)), ("is_training", flag(is_training))];
        let made = [one(-4.0), one(6.0), nothing.clone(), nothing];
        // 4 times what the gradient is above its mean and its slope, which is -1 * 4.
        let of_batch = [&[tensor(&[1, 1, 2, 1], &[-12f32, 12.0])], &made[..]].concat();
        check("FusedBatchNormGrad", &with(true), &inputs, &of_batch);
        let fixed = [&[tensor(&[1, 1, 2, 1], &[16f32, 8.0])], &made[..]].concat();
        check("FusedBatchNormGradV2", &with(false), &inputs, &fixed);
        let mut other = inputs;
        other[2] = tensor(&[2], &[1f32; 2]);
        refuses("FusedBatchNormGrad", &with(true), &other, "2 elements for 1 channels");
        let second = [("data_format", text("NCHW")), ("is_training", flag(false))];
        refuses("FusedBatchNormGrad", &second, &other, "channels second");
    }
}
