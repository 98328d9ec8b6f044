//! Which of several ranges a number is in: Bucketize and BoostedTreesBucketize.
//!
//! Bucketize: int32, int64, float32 or float64 of any shape and the attribute `boundaries`, rising; output int32, how many
//! boundaries are not above the number. BoostedTreesBucketize: vectors of float32, then for each a vector of rising
//! boundaries; outputs int32, the first boundary that is not below the number, or the last one.

use tightfit_core::DType;
use tightfit_kernels::{bucketize, first_not_below};

use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::same_dims;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Bucketize", import },
    Registration {
        name: "BoostedTreesBucketize",
        import: |a| Ok(Box::new(BoostedTreesBucketize { features: a.outputs("num_features")? })),
    },
];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let boundaries = attributes.floats("boundaries")?;
    if !boundaries.is_sorted() {
        return Err(OpError::attribute("boundaries", "do not rise"));
    }
    Ok(Box::new(Bucketize { boundaries }))
}

/// Bucketize.
#[derive(Debug)]
struct Bucketize {
    boundaries: Vec<f32>,
}

impl Operator for Bucketize {
    fn name(&self) -> &'static str {
        "Bucketize"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::I32, DType::I64, DType::F32, DType::F64])?;
        Ok(vec![Fact::new(DType::I32, input.dims.clone())])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, pool) = (run.input(0)?, run.pool);
        Ok(bucketize(pool, input, &self.boundaries, run.out(0)?)?)
    }
}

/// BoostedTreesBucketize.
#[derive(Debug)]
struct BoostedTreesBucketize {
    features: usize,
}

impl Operator for BoostedTreesBucketize {
    fn name(&self) -> &'static str {
        "BoostedTreesBucketize"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let mut facts = Vec::new();
        same_dims(inputs.iter().copied().take(self.features).enumerate())?;
        for feature in 0..self.features {
            let (values, boundaries) = (feature, self.features + feature);
            for index in [values, boundaries] {
                let input = shared::input(inputs, index)?;
                shared::need_type(index, input, &[DType::F32])?;
                shared::dims_of_rank(index, input, 1)?;
            }
            facts.push(Fact::new(DType::I32, inputs[values].dims.clone()));
        }
        Ok(facts)
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        (0..self.features).try_for_each(|feature| run.set_output_shape(feature, run.shape(feature)).ok())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        for feature in 0..self.features {
            let boundaries = run.slice::<f32>(self.features + feature)?;
            if boundaries.is_empty() && run.shape(feature).elements() > 0 {
                return Err(OpError::input(self.features + feature, "has no boundaries"));
            }
            let values = run.slice::<f32>(feature)?;
            first_not_below(run.pool, values, boundaries, run.out(feature)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, int, refuses, tensor};
    use tightfit_format::{AttrValue, ListValue};

    #[test]
    fn numbers_fall_between_boundaries() {
        let boundaries =
            |values: &[f32]| [("boundaries", AttrValue::List(ListValue::Floats(values.to_vec())))];
        let x = tensor(&[2, 3], &[-5i32, 0, 9, 10, 11, 100]);
        let buckets = tensor(&[2, 3], &[0i32, 1, 1, 2, 2, 3]);
        check("Bucketize", &boundaries(&[0.0, 10.0, 100.0]), &[x.clone()], &[buckets]);
        let nan = tensor(&[1], &[f32::NAN]);
        check("Bucketize", &boundaries(&[0.0, 10.0]), &[nan], &[tensor(&[1], &[2i32])]);
        refuses("Bucketize", &boundaries(&[1.0, 0.0]), &[x], "do not rise");
        let inputs = [tensor(&[4], &[-1f32, 1.0, 1.5, 9.0]), tensor(&[3], &[0f32, 1.0, 2.0])];
        check(
            "BoostedTreesBucketize",
            &[("num_features", int(1))],
            &inputs,
            &[tensor(&[4], &[0i32, 1, 2, 2])],
        );
        let [values, boundaries] = inputs;
        let other = [values, tensor(&[1], &[1f32]), boundaries.clone(), boundaries];
        refuses("BoostedTreesBucketize", &[("num_features", int(2))], &other, "unlike an input before it");
    }
}
