//! Random choices: Multinomial and StatelessMultinomial, RandomShuffle and StatelessShuffle.
//!
//! Multinomial: inputs logits `[rows, classes]` (floats) and the number of samples (int32); output int32 or int64
//! `[rows, samples]`, classes drawn by their logits; the numbers are TensorFlow's as long as it computes them on one
//! thread. RandomShuffle: a tensor of any type, whose rows come in another order.

use tightfit_core::{DType, Shape};
use tightfit_kernels::{PHILOX_NUMBERS, STEPS_PER_NUMBER, multinomial, random_order};

use super::source::{Source, draws};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::shared;
use crate::ops::shared::extent::not_negative;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Multinomial", import: |a| import_multinomial(a, Source::of_node(a)?) },
    Registration { name: "StatelessMultinomial", import: |a| import_multinomial(a, Source::Seeds(2)) },
    Registration { name: "RandomShuffle", import: |a| Ok(Box::new(Shuffle { source: Source::of_node(a)? })) },
    Registration { name: "StatelessShuffle", import: |_| Ok(Box::new(Shuffle { source: Source::Key(1) })) },
];

fn import_multinomial(attributes: &Attributes<'_>, source: Source) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Multinomial { dtype: attributes.dtype_or("output_dtype", DType::I64)?, source }))
}

/// Classes by their logits.
#[derive(Debug)]
struct Multinomial {
    dtype: DType,
    source: Source,
}

impl Operator for Multinomial {
    fn name(&self) -> &'static str {
        if self.source.seeds().is_some() { "Multinomial" } else { "StatelessMultinomial" }
    }

    draws!();

    fn grows_with(&self, input: usize) -> bool {
        input == 1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        self.source.check(inputs)?;
        let (logits, count) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_float(0, logits)?;
        shared::need_type(1, count, &[DType::I32])?;
        shared::dims_of_rank(1, count, 0)?;
        let rows = match shared::dims_of_rank(0, logits, 2)?.as_deref() {
            Some([_, Dim::Known(0)]) if !logits.is_bound => {
                return Err(OpError::input(0, "has no classes"));
            }
            Some([rows, _]) => *rows,
            _ => Dim::Unknown,
        };
        let samples = match count.dims_value().as_deref() {
            Some([samples]) => not_negative(1, *samples)?,
            _ => Dim::Unknown,
        };
        Ok(vec![Fact::new(self.dtype, Dims::new([rows, samples]))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        Memory::scratch(call.inputs.first().and_then(|logits| logits.shape.last()).map_or(0, |n| n * 8))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let &[rows, 1..=usize::MAX] = &run.shape(0)[..] else { return None };
        let samples = usize::try_from(reshape::int(run, 1)?).ok()?;
        reshape::set(run, 0, [rows, samples])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let shape = run.output_shape(0);
        if shape.elements() == 0 {
            return Ok(());
        }
        // A sample takes two numbers, and room is made for whole steps of each row.
        let outputs = shape[0] * shape[1].next_multiple_of(PHILOX_NUMBERS) * 2;
        let philox = self.source.philox(run, (outputs as u64).wrapping_mul(STEPS_PER_NUMBER))?;
        let (logits, scratch) = (run.input(0)?, run.scratch()?);
        Ok(multinomial(philox, logits, &mut run.output(0)?, scratch)?)
    }
}

/// Rows in another order.
#[derive(Debug)]
struct Shuffle {
    source: Source,
}

/// The rows of a tensor that there is something to do with.
fn rows(shape: &Shape) -> Option<usize> {
    shape.first().copied().filter(|rows| *rows > 1 && shape.elements() > 1)
}

impl Operator for Shuffle {
    fn name(&self) -> &'static str {
        if self.source.seeds().is_some() { "RandomShuffle" } else { "StatelessShuffle" }
    }

    draws!();

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        self.source.check(inputs)?;
        let input = shared::input(inputs, 0)?;
        if let Some(Dim::Known(rows)) = input.dims.get().and_then(|dims| dims.first())
            && u32::try_from(*rows).is_err()
        {
            return Err(OpError::input(0, "has more than 2^32 rows"));
        }
        Ok(vec![Fact { value: None, ..input.clone() }])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        Memory::scratch(call.inputs.first().and_then(|input| rows(&input.shape)).map_or(0, |rows| rows * 4))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, scratch) = (run.input(0)?, run.scratch()?);
        let Some(rows) = rows(input.shape()) else {
            run.out_bytes(0)?.copy_from_slice(input.bytes());
            return Ok(());
        };
        let philox = self.source.philox(run, (rows - 1).div_ceil(PHILOX_NUMBERS) as u64)?;
        let order: &mut [u32] = scratch
            .get_mut(..rows * 4)
            .and_then(|bytes| bytemuck::try_cast_slice_mut(bytes).ok())
            .ok_or(OpError::Internal("scratch is too small or not aligned"))?;
        random_order(philox, order);
        let bytes = input.bytes().len() / rows;
        let output = run.out_bytes(0)?;
        for (to, from) in output.chunks_exact_mut(bytes).zip(order) {
            to.copy_from_slice(&input.bytes()[*from as usize * bytes..][..bytes]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, dtype, int, refuses, run, scalar, tensor};
    use tightfit_core::DType;

    #[test]
    fn seeded_orders_are_tensorflows() {
        let seeds = [("seed", int(1)), ("seed2", int(2))];
        let values: Vec<i64> = (0..7).collect();
        check("RandomShuffle", &seeds, &[tensor(&[7], &values)], &[tensor(&[7], &[5i64, 6, 4, 2, 1, 0, 3])]);
        let rows: Vec<u8> = (0..14).collect();
        let shuffled = [10u8, 11, 12, 13, 8, 9, 4, 5, 2, 3, 0, 1, 6, 7];
        check("RandomShuffle", &seeds, &[tensor(&[7, 2], &rows)], &[tensor(&[7, 2], &shuffled)]);
        check("RandomShuffle", &seeds, &[scalar(3u8)], &[scalar(3u8)]);
        let key = tensor(&[1], &[6_403_228_833_514_061_428u64]);
        let inputs =
            [tensor(&[7], &values), key, tensor(&[2], &[0u64, 1_432_497_372_691_926_344]), scalar(1i32)];
        check("StatelessShuffle", &[], &inputs, &[tensor(&[7], &[4i64, 1, 6, 3, 0, 5, 2])]);
    }

    #[test]
    fn classes_come_as_often_as_their_logits_say() {
        let seeds = [("seed", int(5)), ("output_dtype", dtype(DType::I32))];
        let logits = tensor(&[1, 3], &[0.0f32, f32::NEG_INFINITY, (3.0f32).ln()]);
        let classes = run("Multinomial", &seeds, &[logits, scalar(4000i32)]).unwrap()[0].values::<i32>();
        let count = |class| classes.iter().filter(|c| **c == class).count();
        assert!(count(1) == 0 && count(0) + count(2) == 4000);
        assert!(count(0).abs_diff(1000) < 100, "{}", count(0));
        refuses("Multinomial", &seeds, &[tensor(&[2, 0], &[0f32; 0]), scalar(1i32)], "no classes");
    }
}
