//! Bits and comparisons: PopulationCount, CompareAndBitpack and ApproximateEqual.
//!
//! CompareAndBitpack takes bools or numbers `[.., 8 * bytes]` and a scalar of their type, and gives uint8 `[.., bytes]`: a bit for
//! each number that is above the scalar, the first in the highest bit; a bool is its own bit.
//!
//! PopulationCount takes integers and gives uint8 of the same shape. ApproximateEqual takes two tensors of one shape, float32
//! or float64, and gives bools: true where they differ by no more than `tolerance`.

use tightfit_core::DType;
use tightfit_kernels::{approximate_equal, compare_and_bitpack, population_count};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;
use crate::ops::shared::extent::same_dims;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "PopulationCount", import: |_| Ok(Box::new(PopulationCount)) },
    Registration { name: "CompareAndBitpack", import: |_| Ok(Box::new(CompareAndBitpack)) },
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

/// Eight comparisons in each byte.
#[derive(Debug)]
struct CompareAndBitpack;

/// Comparisons in a byte.
const BITS: Dim = Dim::Known(8);

impl Operator for CompareAndBitpack {
    fn name(&self) -> &'static str {
        "CompareAndBitpack"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, threshold) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(1, threshold, &[input.dtype])?;
        shared::dims_of_rank(1, threshold, 0)?;
        if matches!(input.dtype, DType::String) || input.dtype.is_complex() {
            return Err(OpError::input(
                0,
                format!("is of type {}; bools or numbers are needed", input.dtype),
            ));
        }
        let Some(dims) = input.dims.get() else { return Ok(vec![Fact::new(DType::U8, Dims::UNKNOWN)]) };
        match dims.split_last() {
            Some((last, before)) if last.known().is_none_or(|last| last % 8 == 0) => {
                let dims = before.iter().copied().chain([last.divided_by(BITS)]);
                Ok(vec![Fact::new(DType::U8, Dims::new(dims.collect::<Vec<_>>()))])
            }
            _ => Err(OpError::input(
                0,
                format!("is of shape {}; a last dimension that is a multiple of 8 is needed", input.dims),
            )),
        }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        let (last, before) = shape.split_last()?;
        last.is_multiple_of(8).then_some(())?;
        reshape::set(run, 0, before.iter().copied().chain([last / 8]))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let inputs = [run.input(0)?, run.input(1)?];
        Ok(compare_and_bitpack(run.pool, inputs, run.out(0)?)?)
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
    use crate::testing::{bools, check, float, refuses, scalar, tensor};

    #[test]
    fn packs_comparisons() {
        let x = [1i32, 5, 2, 9, 3, 3, 4, -1, 0, 0, 0, 0, 0, 0, 0, 7];
        let packed = tensor(&[2, 1], &[0b0101_0010u8, 1]);
        check("CompareAndBitpack", &[], &[tensor(&[2, 8], &x), scalar(3i32)], &[packed]);
        let nan = [f32::NAN, f32::INFINITY, -1.0, 0.5, 0.0, -0.0, 1e-30, 2.0];
        let packed = tensor(&[1], &[0b0101_0011u8]);
        check("CompareAndBitpack", &[], &[tensor(&[8], &nan), scalar(0f32)], &[packed]);
        let bits = bools(&[8], &[true, false, false, true, true, false, false, false]);
        let packed = tensor(&[1], &[0b1001_1000u8]);
        check("CompareAndBitpack", &[], &[bits, bools(&[], &[true])], &[packed]);
        let none = tensor(&[3, 0], &[0u8; 0]);
        check("CompareAndBitpack", &[], &[tensor(&[3, 0], &[0f64; 0]), scalar(0f64)], &[none]);
        refuses("CompareAndBitpack", &[], &[tensor(&[7], &[0i8; 7]), scalar(0i8)], "a multiple of 8");
        refuses("CompareAndBitpack", &[], &[scalar(0i8), scalar(0i8)], "a multiple of 8");
    }

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
