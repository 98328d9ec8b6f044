//! How many bits are set, and whether numbers are nearly equal: PopulationCount and ApproximateEqual.
//!
//! PopulationCount takes integers and gives uint8 of the same shape. ApproximateEqual takes two tensors of one shape, float32
//! or float64, and gives bools: true where they differ by no more than `tolerance`.

use tightfit_core::DType;
use tightfit_kernels::{approximate_equal, population_count};

use crate::fact::Fact;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;
use crate::ops::shared::extent::same_dims;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "PopulationCount", import: |_| Ok(Box::new(PopulationCount)) },
    Registration {
        name: "ApproximateEqual",
        import: |a| Ok(Box::new(ApproximateEqual { tolerance: a.float_or("tolerance", 1e-5)? })),
    },
];

/// The number of bits that are 1.
#[derive(Debug)]
struct PopulationCount;

impl Operator for PopulationCount {
    fn name(&self) -> &'static str {
        "PopulationCount"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        if !input.dtype.is_integer() {
            return Err(OpError::input(0, format!("is of type {}; integers are needed", input.dtype)));
        }
        Ok(vec![Fact::new(DType::U8, input.dims.clone())])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        Ok(population_count(run.pool, input, &mut run.output(0)?)?)
    }
}

/// True for numbers that are nearly equal.
#[derive(Debug)]
struct ApproximateEqual {
    tolerance: f32,
}

impl Operator for ApproximateEqual {
    fn name(&self) -> &'static str {
        "ApproximateEqual"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (a, b) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, a, &[DType::F32, DType::F64])?;
        shared::need_type(1, b, &[a.dtype])?;
        Ok(vec![Fact::new(DType::Bool, same_dims([a, b].into_iter().enumerate())?)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        (run.shape(0) == run.shape(1)).then_some(())?;
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (a, b) = (run.input(0)?, run.input(1)?);
        Ok(approximate_equal(run.pool, a, b, self.tolerance, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{bools, check, float, refuses, tensor};

    #[test]
    fn counts_and_compares() {
        let bits = tensor(&[3], &[-1i16, 3, 0]);
        check("PopulationCount", &[], &[bits], &[tensor(&[3], &[16u8, 2, 0])]);
        let (a, b) = (tensor(&[3], &[1.0f32, 2.0, f32::NAN]), tensor(&[3], &[1.25f32, 2.5, f32::NAN]));
        let tolerance = [("tolerance", float(0.5))];
        check("ApproximateEqual", &tolerance, &[a.clone(), b], &[bools(&[3], &[true, true, false])]);
        refuses("ApproximateEqual", &[], &[a, tensor(&[1], &[1.0f32])], "");
    }
}
