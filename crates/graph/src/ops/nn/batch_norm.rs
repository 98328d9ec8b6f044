//! Batch normalisation: FusedBatchNorm, V2 and V3, and the older BatchNormWithGlobalNormalization.
//!
//! `y = (x - mean) * scale / sqrt(variance + epsilon) + offset` for x of `[batch, height, width, channels]`, the other
//! inputs vectors of one float32 per channel: scale, offset, mean, variance. BatchNormWithGlobalNormalization is of
//! float32 or float64 throughout; for the others x is float32, float16 or bfloat16 (V2 and
//! V3) with channels last, and float32 with channels second (NCHW), as in the layer norm of older Keras.
//!
//! In inference (`is_training` false) the other outputs are mean and variance as they came in; of an x without elements
//! outputs 1 and 2 are NaN. In training they are those of the batch, mixed with what came in where
//! `exponential_avg_factor` is not 1, the variance times n / (n - 1); outputs 3 and 4 are the batch's own mean and
//! variance. Of the sixth output of V3, which only a gradient reads, there is a scalar, 0.

use tightfit_core::DType;
use tightfit_kernels::{
    BatchNorm as Norm, batch_norm, batch_norm_channels_first, batch_norm_f64, batch_statistics,
    batch_statistics_channels_first,
};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "FusedBatchNorm", import: |attributes| import(attributes, 5) },
    Registration { name: "FusedBatchNormV2", import: |attributes| import(attributes, 5) },
    Registration { name: "FusedBatchNormV3", import: |attributes| import(attributes, 6) },
    Registration { name: "BatchNormWithGlobalNormalization", import: import_global },
];

fn import(attributes: &Attributes<'_>, outputs: usize) -> Result<Box<dyn Operator>, OpError> {
    let format = attributes.text_or("data_format", "NHWC")?;
    let is_channels_first = match format {
        "NHWC" | "NDHWC" => false,
        "NCHW" | "NCDHW" => true,
        other => return Err(OpError::attribute("data_format", format!("is {other}"))),
    };
    Ok(Box::new(BatchNorm {
        epsilon: attributes.float_or("epsilon", 1e-4)?,
        is_training: attributes.bool_or("is_training", true)?,
        average_factor: attributes.float_or("exponential_avg_factor", 1.0)?,
        outputs,
        is_channels_first,
    }))
}

fn import_global(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(GlobalNormalization {
        epsilon: attributes.float_of_type_or("variance_epsilon", 0.0)?,
        has_scale: attributes.bool_or("scale_after_normalization", true)?,
    }))
}

/// FusedBatchNorm and its versions.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    /// What is added to the variance.
    pub epsilon: f32,
    /// The statistics are those of the batch.
    pub is_training: bool,
    /// The part of the batch's statistics in the first two statistics that are returned.
    pub average_factor: f32,
    /// How many outputs there are: 5, or 6.
    pub outputs: usize,
    /// x is `[batch, channels, ..]`.
    pub is_channels_first: bool,
}

/// Inputs: x, then these, each a float32 per channel.
const SCALE: usize = 1;
const OFFSET: usize = 2;
const MEAN: usize = 3;
const VARIANCE: usize = 4;

/// Types of x.
const TYPES: &[DType] = &[DType::F32, DType::F16, DType::BF16];

/// The number of channels, which those of x and each vector must agree on.
fn check_vectors(
    inputs: &[&Fact],
    in_x: Option<&Dim>,
    vectors: &[usize],
    dtype: DType,
    has_own: bool,
) -> Result<Dim, OpError> {
    let mut channels = in_x.copied().unwrap_or(Dim::Unknown);
    for index in vectors {
        let fact = shared::input(inputs, *index)?;
        shared::need_type(*index, fact, &[dtype])?;
        let Some(dims) = shared::dims_of_rank(*index, fact, 1)? else { continue };
        match (channels, dims[0]) {
            _ if has_own && *index >= MEAN => {}
            (Dim::Known(a), Dim::Known(b)) if a != b => {
                return Err(OpError::input(*index, format!("has {b} elements for {a} channels")));
            }
            (Dim::Known(_), _) => {}
            (_, dim) => channels = dim,
        }
    }
    Ok(channels)
}

impl BatchNorm {
    fn normalise(&self, run: &mut Run<'_>, norm: Norm<'_>) -> Result<(), OpError> {
        if self.is_channels_first {
            let (shape, x) = (planes(&run.shape(0)), run.slice::<f32>(0)?);
            return Ok(batch_norm_channels_first(run.pool, norm, shape, x, run.out(0)?)?);
        }
        let x = run.src(0)?;
        Ok(batch_norm(run.pool, norm, x, &mut run.output(0)?)?)
    }

    /// Mean and variance of x, mixed into those returned.
    fn train(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let x = run.input(0)?;
        let (scale, offset) = (run.slice::<f32>(SCALE)?, run.slice::<f32>(OFFSET)?);
        let (mean, variance) = (run.out::<f32>(3)?, run.out::<f32>(4)?);
        if self.is_channels_first {
            batch_statistics_channels_first(run.pool, planes(x.shape()), run.slice(0)?, mean, variance)?;
        } else {
            batch_statistics(run.pool, x, mean, variance)?;
        }
        self.normalise(run, Norm { scale, offset, mean, variance, epsilon: self.epsilon })?;
        let count = x.shape().elements() as f32 / mean.len().max(1) as f32;
        // Without elements TensorFlow answers NaN.
        let unbiased = if count > 1.0 {
            count / (count - 1.0)
        } else if count == 1.0 {
            1.0
        } else {
            f32::NAN
        };
        let (own, factor) = (1.0 - self.average_factor, self.average_factor);
        for (output, input, batch, times) in [(1, MEAN, &*mean, 1.0), (2, VARIANCE, &*variance, unbiased)] {
            let before = run.slice::<f32>(input)?;
            let out = run.out::<f32>(output)?;
            for (i, (out, batch)) in out.iter_mut().zip(batch).enumerate() {
                let batch = if count == 0.0 { f32::NAN } else { batch * times };
                *out =
                    if factor == 1.0 { batch } else { own * before.get(i).unwrap_or(&0.0) + factor * batch };
            }
        }
        Ok(())
    }
}

/// A shape as `[batch, channels, inner]`.
fn planes(shape: &[usize]) -> [usize; 3] {
    let inner = shape.get(2..).map_or(1, |dims| dims.iter().product());
    [shape[0], shape[1], inner]
}

impl Operator for BatchNorm {
    fn name(&self) -> &'static str {
        "FusedBatchNorm"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let x = shared::input(inputs, 0)?;
        let is_plain = self.is_training || self.is_channels_first;
        shared::need_type(0, x, if is_plain { &[DType::F32] } else { TYPES })?;
        // Volumes have come with the third version.
        let ranks = if self.outputs == 6 { 4..=5 } else { 4..=4 };
        if x.dims.rank().is_some_and(|rank| !ranks.contains(&rank)) {
            let why = format!(
                "is of shape {}; rank {} is needed",
                x.dims,
                if self.outputs == 6 { "4 or 5" } else { "4" }
            );
            return Err(OpError::input(0, why));
        }
        // Nothing is read then of the statistics that come in.
        let has_own = self.is_training && self.average_factor == 1.0;
        let dims = x.dims.get();
        let in_x = dims.and_then(|dims| if self.is_channels_first { dims.get(1) } else { dims.last() });
        let channels = check_vectors(inputs, in_x, &[SCALE, OFFSET, MEAN, VARIANCE], DType::F32, has_own)?;
        let mut facts = vec![Fact::new(x.dtype, x.dims.clone())];
        facts.resize(5, Fact::new(DType::F32, Dims::new([channels])));
        if self.outputs == 6 {
            facts.push(Fact::new(DType::F32, Dims::scalar()));
        }
        Ok(facts)
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        // Training reads x twice.
        if self.is_training || self.is_channels_first { Memory::default() } else { Memory::overwrites(&[0]) }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if run.outputs() > 5 {
            run.out::<f32>(5)?.fill(0.0);
        }
        if self.is_training {
            return self.train(run);
        }
        let vector = |input| run.slice::<f32>(input);
        let (mean, variance) = (vector(MEAN)?, vector(VARIANCE)?);
        let (scale, offset) = (vector(SCALE)?, vector(OFFSET)?);
        self.normalise(run, Norm { scale, offset, mean, variance, epsilon: self.epsilon })?;
        let is_of_nothing = run.output_shape(0).elements() == 0;
        for (output, values) in [(1, mean), (2, variance), (3, mean), (4, variance)] {
            let to = run.out::<f32>(output)?;
            to.copy_from_slice(values);
            if is_of_nothing && output < 3 {
                to.fill(f32::NAN);
            }
        }
        Ok(())
    }
}

/// BatchNormWithGlobalNormalization: inputs x, mean, variance, beta (offset), gamma (scale, read only where there is one).
#[derive(Debug)]
struct GlobalNormalization {
    epsilon: f32,
    has_scale: bool,
}

impl GlobalNormalization {
    fn run_f64(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let vectors = [run.slice::<f64>(1)?, run.slice::<f64>(2)?, run.slice::<f64>(3)?];
        let scale = if self.has_scale { Some(run.slice::<f64>(4)?) } else { None };
        let x = if run.is_in_place(0) { None } else { Some(run.slice::<f64>(0)?) };
        Ok(batch_norm_f64(vectors, scale, f64::from(self.epsilon), x, run.out(0)?)?)
    }
}

impl Operator for GlobalNormalization {
    fn name(&self) -> &'static str {
        "BatchNormWithGlobalNormalization"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let x = shared::input(inputs, 0)?;
        shared::need_type(0, x, &[DType::F32, DType::F64])?;
        shared::dims_of_rank(0, x, 4)?;
        let in_x = x.dims.get().and_then(|dims| dims.last());
        check_vectors(inputs, in_x, &[1, 2, 3, 4], x.dtype, false)?;
        Ok(vec![Fact::new(x.dtype, x.dims.clone())])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        // Ones, in place of a scale.
        let has_none = self.has_scale || call.inputs[0].dtype == DType::F64;
        let scratch_bytes = if has_none { 0 } else { call.inputs[1].shape.elements() * 4 };
        Memory { scratch_bytes, ..Memory::overwrites(&[0]) }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if run.dtype(0) == DType::F64 {
            return self.run_f64(run);
        }
        let ones: &mut [f32] = bytemuck::try_cast_slice_mut(run.scratch()?)
            .map_err(|_| OpError::Internal("the scratch is not aligned"))?;
        let (mean, variance, offset) = (run.slice::<f32>(1)?, run.slice::<f32>(2)?, run.slice::<f32>(3)?);
        let scale = if self.has_scale {
            run.slice::<f32>(4)?
        } else {
            ones.fill(1.0);
            &ones[..mean.len()]
        };
        let norm = Norm { scale, offset, mean, variance, epsilon: self.epsilon };
        let x = run.src(0)?;
        Ok(batch_norm(run.pool, norm, x, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_close, flag, float, refuses, run, tensor};

    #[test]
    fn inference_uses_the_statistics_given() {
        let x = tensor(&[1, 1, 2, 2], &[1.0f32, 2.0, 3.0, 4.0]);
        let vector = |v: [f32; 2]| tensor(&[2], &v);
        let inputs = [x, vector([2.0, 3.0]), vector([1.0, -1.0]), vector([1.0, 2.0]), vector([4.0, 9.0])];
        let attributes = [("epsilon", float(0.0)), ("is_training", flag(false))];
        let expected = tensor(&[1, 1, 2, 2], &[1.0f32, -1.0, 3.0, 1.0]);
        check_close("FusedBatchNormV3", &attributes, &inputs, &expected, 1e-6);
        let outputs = run("FusedBatchNormV3", &attributes, &inputs).unwrap();
        assert_eq!(outputs.len(), 6);
        assert_eq!(outputs[2].values::<f32>(), [4.0, 9.0]);
        let [x, scale, offset, mean, variance] = inputs;
        let global = [x.clone(), mean.clone(), variance.clone(), offset.clone(), scale.clone()];
        let attributes = [("variance_epsilon", float(0.0)), ("scale_after_normalization", flag(true))];
        check_close("BatchNormWithGlobalNormalization", &attributes, &global, &expected, 1e-6);
        let attributes = [("variance_epsilon", float(0.0)), ("scale_after_normalization", flag(false))];
        let plain = tensor(&[1, 1, 2, 2], &[1.0f32, -1.0, 2.0, -1.0 / 3.0]);
        check_close("BatchNormWithGlobalNormalization", &attributes, &global, &plain, 1e-6);
        let wide = |v: [f64; 2]| tensor(&[2], &v);
        let global = [
            tensor(&[1, 1, 2, 2], &[1.0f64, 2.0, 3.0, 4.0]),
            wide([1.0, -1.0]),
            wide([4.0, 9.0]),
            wide([1.0, -1.0]),
            wide([2.0, 3.0]),
        ];
        let expected = tensor(&[1, 1, 2, 2], &[1.0f64, 0.0, 2.0, 2.0 / 3.0]);
        let result = run("BatchNormWithGlobalNormalization", &attributes, &global).unwrap();
        for (got, want) in result[0].values::<f64>().iter().zip(expected.values::<f64>()) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
        let volume = tensor(&[1, 1, 1, 1, 2], &[1.0f32, 2.0]);
        let inputs = [volume, offset.clone(), offset.clone(), offset.clone(), offset.clone()];
        refuses("FusedBatchNormV2", &[("is_training", flag(false))], &inputs, "rank 4");
        refuses("FusedBatchNorm", &[], &[x, tensor(&[1], &[1.0f32]), offset, mean, variance], "1 elements");
    }

    #[test]
    fn statistics_of_nothing_are_no_numbers() {
        let one = |v: f32| tensor(&[1], &[v]);
        let inputs = [tensor(&[0, 2, 2, 1], &[0f32; 0]), one(2.0), one(3.0), one(5.0), one(7.0)];
        for name in ["FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"] {
            let outputs = run(name, &[("is_training", flag(false))], &inputs).unwrap();
            assert!(outputs[1..3].iter().all(|output| output.values::<f32>()[0].is_nan()), "{name}");
        }
    }

    #[test]
    fn training_uses_those_of_the_batch() {
        let x = tensor(&[1, 1, 4, 1], &[1.0f32, 2.0, 3.0, 6.0]);
        let one = |v: f32| tensor(&[1], &[v]);
        let none = tensor(&[0], &[0.0f32; 0]);
        let attributes = [("epsilon", float(0.0))];
        let inputs = [x, one(1.0), one(0.0), none.clone(), none];
        let outputs = run("FusedBatchNorm", &attributes, &inputs).unwrap();
        let deviation = 3.5f32.sqrt();
        let expected = [-2.0, -1.0, 0.0, 3.0].map(|d| d / deviation);
        for (got, want) in outputs[0].values::<f32>().iter().zip(expected) {
            assert!((got - want).abs() < 1e-6);
        }
        assert_eq!(outputs[1].values::<f32>(), [3.0]);
        assert!((outputs[2].values::<f32>()[0] - 14.0 / 3.0).abs() < 1e-6);
        assert_eq!(outputs[4].values::<f32>(), [3.5]);
    }
}
