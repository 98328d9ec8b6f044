//! Sums and products of quantised integers: QuantizedAdd, QuantizedMul, QuantizedBiasAdd.
//!
//! Each tensor comes with the minimum and the maximum of its range, and leaves with them. QuantizedAdd and QuantizedMul
//! take uint8 and give int32; one tensor may be repeated along the first axes of the other, and no more is broadcast, as
//! TensorFlow has it. QuantizedBiasAdd adds a vector along the last axis.

use tightfit_core::DType;
use tightfit_kernels::{
    BIAS_HEADROOM, QuantizedRange, SUM_HEADROOM, quantized_add, quantized_bias_add, quantized_mul,
    quantized_sum_range,
};

use super::convert::{check_numbers, give, range_of, with_range};
use crate::fact::Fact;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "QuantizedAdd", import: |_| Ok(Box::new(Pair { is_sum: true })) },
    Registration { name: "QuantizedMul", import: |_| Ok(Box::new(Pair { is_sum: false })) },
    Registration { name: "QuantizedBiasAdd", import: |_| Ok(Box::new(BiasAdd)) },
];

/// QuantizedAdd and QuantizedMul.
#[derive(Debug)]
struct Pair {
    is_sum: bool,
}

/// Checks that one shape ends with the other, but for axes of 1 before it.
fn check_ends(a: &[usize], b: &[usize]) -> Result<(), OpError> {
    let is_end = |long: &[usize], short: &[usize]| {
        let ones = short.iter().take_while(|n| **n == 1).count();
        long.ends_with(&short[ones..])
    };
    if is_end(a, b) || is_end(b, a) {
        return Ok(());
    }
    Err(OpError::input(1, format!("of shape {b:?} is broadcast with {a:?} along more than the first axes")))
}

impl Operator for Pair {
    fn name(&self) -> &'static str {
        if self.is_sum { "QuantizedAdd" } else { "QuantizedMul" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (a, b) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, a, &[DType::U8])?;
        shared::need_type(1, b, &[DType::U8])?;
        check_numbers(inputs, 2..6)?;
        let dims = shared::broadcast(a, b)?;
        if let (Some(a), Some(b), false) = (a.dims.concrete(), b.dims.concrete(), a.is_bound || b.is_bound) {
            check_ends(&a, &b)?;
        }
        Ok(with_range(Fact::new(DType::I32, dims)))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        check_ends(&run.shape(0), &run.shape(1))?;
        let ranges = (range_of(run, 0, 2)?, range_of(run, 1, 4)?);
        for (range, max) in [(ranges.0, 3), (ranges.1, 5)] {
            if range.max <= range.min || range.max.is_nan() || range.min.is_nan() {
                return Err(OpError::input(max, format!("is {}, not above the minimum", range.max)));
            }
        }
        let (a, b) = ((run.slice::<u8>(0)?, ranges.0), (run.slice::<u8>(1)?, ranges.1));
        let elements = (a.0.len(), b.0.len());
        let differ = run.shape(0) != run.shape(1);
        if differ && elements.0.min(elements.1) == 0 && elements.0.max(elements.1) != 1 {
            let shorter = usize::from(elements.1 == 0);
            return Err(OpError::input(shorter, "has no elements to repeat"));
        }
        let (output, pool) = (run.out(0)?, run.pool);
        if self.is_sum {
            quantized_add(pool, a, b, output)?;
            give(run, 1, quantized_sum_range(&ranges.0, &ranges.1, SUM_HEADROOM))
        } else {
            quantized_mul(pool, a, b, output)?;
            give(run, 1, QuantizedRange::of_products(&ranges.0, &ranges.1))
        }
    }
}

/// QuantizedBiasAdd.
#[derive(Debug)]
struct BiasAdd;

impl Operator for BiasAdd {
    fn name(&self) -> &'static str {
        "QuantizedBiasAdd"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, bias) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, input, &[DType::U8, DType::I8])?;
        shared::need_type(1, bias, &[input.dtype])?;
        check_numbers(inputs, 2..6)?;
        shared::dims_of_rank(1, bias, 1)?;
        let last = input.dims.get().map(|dims| dims.last().copied());
        let count = bias.dims.elements().size();
        if last == Some(None) {
            return Err(OpError::input(0, "is a scalar"));
        }
        let last = last.flatten().and_then(|dim| dim.size());
        if last.zip(count).is_some_and(|(a, b)| a != b) && !input.is_bound && !bias.is_bound {
            return Err(OpError::input(1, format!("is of shape {} for {}", bias.dims, input.dims)));
        }
        Ok(with_range(Fact::new(DType::I32, input.dims.clone())))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let ranges = (range_of(run, 0, 2)?, range_of(run, 1, 4)?);
        let (input, bias) = (run.input(0)?, run.input(1)?);
        if input.shape().last() != bias.shape().last() {
            return Err(OpError::input(1, format!("is of shape {} for {}", bias.shape(), input.shape())));
        }
        if bias.shape().elements() == 0 {
            return Err(OpError::input(1, "has no elements"));
        }
        quantized_bias_add(run.pool, (input, ranges.0), (bias, ranges.1), run.out(0)?)?;
        give(run, 1, quantized_sum_range(&ranges.0, &ranges.1, BIAS_HEADROOM))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{refuses, run, scalar, tensor};

    #[test]
    fn zero_is_the_middle_of_sums() {
        let range = |min: f32, max: f32| [scalar(min), scalar(max)];
        let (a, b) = (tensor(&[2, 2], &[100u8, 101, 255, 0]), tensor(&[2], &[0u8, 255]));
        let inputs = [vec![a, b], range(-1.0, 1.55).to_vec(), range(0.0, 2.55).to_vec()].concat();
        for (op, expected) in
            [("QuantizedAdd", [0.0f64, 2.56, 1.55, 1.55]), ("QuantizedMul", [0.0, 0.0255, 0.0, -2.55])]
        {
            let outputs = run(op, &[], &inputs).unwrap();
            let high = outputs[2].values::<f32>()[0] as f64;
            for (sum, expected) in outputs[0].values::<i32>().iter().zip(expected) {
                let number = *sum as f64 * high / i32::MAX as f64;
                assert!((number - expected).abs() < 1e-3, "{op}: {number} for {expected}");
            }
        }
        let mut odd = inputs.clone();
        odd[1] = tensor(&[2, 1], &[0u8, 255]);
        refuses("QuantizedAdd", &[], &odd, "first axes");
        // Nothing is not repeated, even to nothing.
        (odd[0], odd[1]) = (tensor(&[2, 0], &[0u8; 0]), tensor(&[0], &[0u8; 0]));
        refuses("QuantizedMul", &[], &odd, "no elements to repeat");
        odd[1] = odd[0].clone();
        assert_eq!(run("QuantizedMul", &[], &odd).unwrap()[0].shape[..], [2, 0]);
    }
}
