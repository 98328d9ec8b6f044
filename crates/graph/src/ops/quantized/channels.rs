//! Quantised integers channel by channel: RequantizePerChannel, RequantizationRangePerChannel and QuantizedInstanceNorm.
//!
//! The first two take int32 sums `[batch, height, width, channels]`, and a minimum and a maximum for each channel (float32
//! vectors): one turns them to int8 or uint8 of a range that it is given as scalars and returns, the other says which range the
//! sums use. QuantizedInstanceNorm takes uint8 images `[batch, height, width, channels]` with their range, and returns each
//! less its mean over its deviation, with the range that this has or is said to have.

use tightfit_core::{DType, Shape};
use tightfit_kernels::{channels_used, quantized_instance_norm, requantize_channels};

use super::convert::{check_numbers, give, number, range_of, reshape_with_range, with_range};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "RequantizePerChannel",
        import: |a| Ok(Box::new(Requantize { to: a.dtype_or("out_type", DType::U8)? })),
    },
    Registration { name: "RequantizationRangePerChannel", import: import_range },
    Registration { name: "QuantizedInstanceNorm", import: import_norm },
];

/// Checks sums with a range for each channel.
fn check_channels(inputs: &[&Fact]) -> Result<(), OpError> {
    let sums = shared::input(inputs, 0)?;
    shared::need_type(0, sums, &[DType::I32])?;
    let channels = shared::dims_of_rank(0, sums, 4)?.map(|dims| dims[3]);
    for at in 1..3 {
        let end = shared::input(inputs, at)?;
        shared::need_type(at, end, &[DType::F32])?;
        let count = shared::dims_of_rank(at, end, 1)?.map(|dims| dims[0]);
        let sizes = channels.zip(count).and_then(|(channels, count)| channels.size().zip(count.size()));
        if sizes.is_some_and(|(channels, count)| channels != count) && !sums.is_bound && !end.is_bound {
            return Err(OpError::input(
                at,
                format!("is of shape {} for sums of shape {}", end.dims, sums.dims),
            ));
        }
    }
    Ok(())
}

/// RequantizePerChannel.
#[derive(Debug)]
struct Requantize {
    to: DType,
}

impl Operator for Requantize {
    fn name(&self) -> &'static str {
        "RequantizePerChannel"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        check_channels(inputs)?;
        check_numbers(inputs, 3..5)?;
        for at in 3..5 {
            shared::dims_of_rank(at, shared::input(inputs, at)?, 0)?;
        }
        Ok(with_range(Fact::new(self.to, shared::input(inputs, 0)?.dims.clone())))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape_with_range(run)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let range = (number(run, 3)?, number(run, 4)?);
        let (sums, ends) = (run.slice::<i32>(0)?, (run.slice::<f32>(1)?, run.slice::<f32>(2)?));
        let to = range.0.abs().max(range.1.abs());
        requantize_channels(sums, ends, to, self.to == DType::I8, run.out_bytes(0)?)?;
        give(run, 1, range)
    }
}

fn import_range(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    if attributes.node().attr("clip_value_max").is_none() {
        return Err(OpError::attribute("clip_value_max", "is missing"));
    }
    Ok(Box::new(Range { most: attributes.float_or("clip_value_max", 0.0)? }))
}

/// RequantizationRangePerChannel.
#[derive(Debug)]
struct Range {
    /// The largest number that the range may reach.
    most: f32,
}

impl Operator for Range {
    fn name(&self) -> &'static str {
        "RequantizationRangePerChannel"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        check_channels(inputs)?;
        Ok(vec![Fact::new(DType::F32, Dims::scalar()); 2])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        (0..2).try_for_each(|output| run.set_output_shape(output, Shape::SCALAR).ok())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (sums, ends) = (run.slice::<i32>(0)?, (run.slice::<f32>(1)?, run.slice::<f32>(2)?));
        if sums.is_empty() {
            return Err(OpError::input(0, "has no elements to take a range of"));
        }
        let (used, has_negative) = channels_used(sums, ends)?;
        let most = if used > self.most { self.most } else { used };
        give(run, 0, (if has_negative { -most } else { 0.0 }, most))
    }
}

fn import_norm(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let given = (attributes.float_or("given_y_min", 0.0)?, attributes.float_or("given_y_max", 0.0)?);
    let is_given = attributes.bool_or("output_range_given", false)?;
    if is_given && !given.0.partial_cmp(&given.1).is_some_and(std::cmp::Ordering::is_lt) {
        return Err(OpError::attribute(
            "given_y_max",
            format!("is {}; more than given_y_min is needed", given.1),
        ));
    }
    Ok(Box::new(InstanceNorm {
        given: is_given.then_some(given),
        epsilon: attributes.float_or("variance_epsilon", 1e-5)?,
        separation: attributes.float_or("min_separation", 1e-3)?,
    }))
}

/// QuantizedInstanceNorm.
#[derive(Debug)]
struct InstanceNorm {
    /// The range of the result.
    given: Option<(f32, f32)>,
    epsilon: f32,
    /// The least size of a range that is not given.
    separation: f32,
}

impl Operator for InstanceNorm {
    fn name(&self) -> &'static str {
        "QuantizedInstanceNorm"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let images = shared::input(inputs, 0)?;
        shared::need_type(0, images, &[DType::U8])?;
        check_numbers(inputs, 1..3)?;
        (1..3).try_for_each(|end| shared::dims_of_rank(end, shared::input(inputs, end)?, 0).map(drop))?;
        let dims = shared::dims_of_rank(0, images, 4)?.unwrap_or(vec![Dim::Unknown; 4]);
        Ok(with_range(Fact::new(DType::U8, Dims::new(dims))))
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let per = call.inputs.first().and_then(|images| {
            let (batch, channels) = (images.shape.first()?, images.shape.last()?);
            batch.checked_mul(*channels)?.checked_mul(2 * size_of::<f32>())
        });
        Memory::scratch(per.unwrap_or(0))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape_with_range(run)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (shape, from) = (run.shape(0), range_of(run, 0, 1)?);
        if !from.min.partial_cmp(&from.max).is_some_and(std::cmp::Ordering::is_lt) {
            return Err(OpError::input(2, format!("is {}, not above the minimum, {}", from.max, from.min)));
        }
        let images = run.slice::<u8>(0)?;
        if shape[3] == 0 {
            return Err(OpError::input(0, "has no channels"));
        }
        if images.is_empty() {
            // The least and the largest of nothing.
            return give(run, 1, self.given.unwrap_or((f32::INFINITY, f32::INFINITY)));
        }
        let step = (from.max - from.min) / 255.0;
        let scratch = run.scratch_of::<f32>()?;
        let used = quantized_instance_norm(
            (shape[0], shape[3]),
            images,
            (step, self.epsilon),
            (self.given, self.separation),
            scratch,
            run.out::<u8>(0)?,
        )?;
        give(run, 1, used)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, dtype, flag, float, refuses, run, scalar, tensor};
    use tightfit_core::DType;

    fn sums() -> Vec<crate::testing::Tensor> {
        let sums = tensor(&[1, 1, 2, 2], &[1i32 << 30, -(1 << 29), 1 << 29, 1 << 28]);
        vec![sums, tensor(&[2], &[-4f32, -8.0]), tensor(&[2], &[4f32, 2.0])]
    }

    #[test]
    fn sums_of_channels_come_to_one_range() {
        let clip = [("clip_value_max", float(1.5))];
        check("RequantizationRangePerChannel", &clip, &sums(), &[scalar(-1.5f32), scalar(1.5f32)]);
        let mut none = sums();
        none[0] = tensor(&[1, 0, 2, 2], &[0i32; 0]);
        refuses("RequantizationRangePerChannel", &clip, &none, "no elements");
        let inputs = [sums(), vec![scalar(-2f32), scalar(1f32)]].concat();
        let signed = [("out_type", dtype(DType::I8))];
        let expected = [tensor(&[1, 1, 2, 2], &[127i8, -127, 64, 64]), scalar(-2f32), scalar(1f32)];
        check("RequantizePerChannel", &signed, &inputs, &expected);
        let mut other = inputs.clone();
        other[1] = tensor(&[1], &[1f32]);
        refuses("RequantizePerChannel", &signed, &other, "for sums");
        let vector = [sums(), vec![scalar(-2f32), tensor(&[1], &[1f32])]].concat();
        refuses("RequantizePerChannel", &signed, &vector, "rank 0");
    }

    #[test]
    fn images_lose_their_mean() {
        let x = tensor(&[1, 2, 2, 1], &[0u8, 10, 20, 30]);
        let inputs = [x, scalar(0f32), scalar(255f32)];
        let given =
            [("output_range_given", flag(true)), ("given_y_min", float(-3.0)), ("given_y_max", float(2.0))];
        let expected = [tensor(&[1, 2, 2, 1], &[85u8, 130, 176, 221]), scalar(-3f32), scalar(2f32)];
        check("QuantizedInstanceNorm", &given, &inputs, &expected);
        let high = run("QuantizedInstanceNorm", &[], &inputs).unwrap()[2].values::<f32>()[0];
        assert!((high - 1.341_641).abs() < 1e-4, "{high}");
        // Nothing has its least and largest at infinity, and a range that is given is as far apart as one that is not.
        let nothing = [tensor::<u8>(&[1, 0, 2, 3], &[]), scalar(0f32), scalar(1f32)];
        let ends = run("QuantizedInstanceNorm", &[], &nothing).unwrap();
        assert_eq!((ends[1].values::<f32>()[0], ends[2].values::<f32>()[0]), (f32::INFINITY, f32::INFINITY));
        let apart = [given.as_slice(), &[("min_separation", float(8.0))]].concat();
        assert_eq!(run("QuantizedInstanceNorm", &apart, &inputs).unwrap()[2].values::<f32>(), [5.0]);
        let mut wrong = inputs.clone();
        wrong[1] = scalar(f32::NAN);
        refuses("QuantizedInstanceNorm", &[], &wrong, "not above");
    }
}
