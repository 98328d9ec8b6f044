//! Generators that are variables: RngReadAndSkip, RngSkip, StatefulUniform, StatefulStandardNormal and its V2,
//! StatefulTruncatedNormal, StatefulUniformInt, StatefulUniformFullInt.
//!
//! The variable is int64 of three elements or more: a counter of two and a key. What the file has as the variable itself is
//! here the value that it has (`import::state`), and the last output is the value that it has from then on. After it: the
//! number of the algorithm (not of StatefulStandardNormal), which is Philox's, and the shape (int32 or int64), with the least
//! and the bound of integers; of the two of Rng the numbers to skip. The numbers are TensorFlow's.

use tightfit_core::{DType, Shape};
use tightfit_kernels::{Distribution, Philox, STEPS_PER_NUMBER, random_fill};

use super::source::{asked_dims, need_philox};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "RngReadAndSkip", import: |_| Ok(Box::new(Skip { has_value: true })) },
    Registration { name: "RngSkip", import: |_| Ok(Box::new(Skip { has_value: false })) },
    Registration {
        name: "StatefulUniform",
        import: |a| fill("StatefulUniform", Numbers::Floats(Distribution::Uniform), a),
    },
    Registration {
        name: "StatefulStandardNormal",
        import: |a| fill("StatefulStandardNormal", Numbers::Floats(Distribution::Normal), a),
    },
    Registration {
        name: "StatefulStandardNormalV2",
        import: |a| fill("StatefulStandardNormalV2", Numbers::Floats(Distribution::Normal), a),
    },
    Registration {
        name: "StatefulTruncatedNormal",
        import: |a| fill("StatefulTruncatedNormal", Numbers::Floats(Distribution::TruncatedNormal), a),
    },
    Registration { name: "StatefulUniformInt", import: |a| fill("StatefulUniformInt", Numbers::Integers, a) },
    Registration {
        name: "StatefulUniformFullInt",
        import: |a| fill("StatefulUniformFullInt", Numbers::Bits, a),
    },
];

/// Elements of the state: a counter of two, and a key.
const STATE: usize = 3;

/// The names of the operators of this family.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    OPS.iter().map(|row| row.name)
}

/// True for an operator of this family that gives something besides what its variable is from then on.
pub(crate) fn has_result(op: &str) -> bool {
    op != "RngSkip" && names().any(|name| name == op)
}

/// Checks the value of the variable.
fn need_state(inputs: &[&Fact]) -> Result<Fact, OpError> {
    let state = shared::input(inputs, 0)?;
    shared::need_type(0, state, &[DType::I64])?;
    match shared::dims_of_rank(0, state, 1)?.as_deref() {
        Some([Dim::Known(n)]) if *n < STATE as i64 => Err(OpError::input(
            0,
            format!("is of shape {}; the state of Philox has {STATE} elements", state.dims),
        )),
        _ => Ok(Fact::new(DType::I64, state.dims.clone())),
    }
}

fn need_algorithm(index: usize, inputs: &[&Fact], dtype: DType) -> Result<(), OpError> {
    let algorithm = shared::input(inputs, index)?;
    shared::need_type(index, algorithm, &[dtype])?;
    shared::dims_of_rank(index, algorithm, 0)?;
    algorithm.int().map_or(Ok(()), |number| need_philox(index, number))
}

/// The generator that a state is.
fn philox(state: &[i64]) -> Result<Philox, OpError> {
    match state {
        [low, high, key, ..] => {
            Ok(Philox::new((*high as u64 as u128) << 64 | *low as u64 as u128, *key as u64))
        }
        _ => Err(OpError::input(0, "is too short for the state of a generator")),
    }
}

/// Writes the state after so many numbers to an output.
fn skip(run: &mut Run<'_>, output: usize, numbers: u64) -> Result<(), OpError> {
    let state = run.slice::<i64>(0)?;
    let counter = philox(state)?.skipped(numbers.wrapping_mul(STEPS_PER_NUMBER)).counter();
    let next = run.out::<i64>(output)?;
    next.copy_from_slice(state);
    next.iter_mut().zip([0, 64]).for_each(|(to, from)| *to = (counter >> from) as i64);
    Ok(())
}

/// The one element of an input.
fn one(run: &Run<'_>, input: usize) -> Result<i64, OpError> {
    run.ints::<1>(input)?.first().copied().ok_or_else(|| OpError::input(input, "is not a number"))
}

/// RngReadAndSkip and RngSkip.
#[derive(Debug)]
struct Skip {
    /// The state as it was is an output.
    has_value: bool,
}

impl Operator for Skip {
    fn name(&self) -> &'static str {
        if self.has_value { "RngReadAndSkip" } else { "RngSkip" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let state = need_state(inputs)?;
        let (algorithm, delta) =
            if self.has_value { (DType::I32, DType::U64) } else { (DType::I64, DType::I64) };
        need_algorithm(1, inputs, algorithm)?;
        let by = shared::input(inputs, 2)?;
        shared::need_type(2, by, &[delta])?;
        shared::dims_of_rank(2, by, 0)?;
        let value = Fact::new(DType::I64, Dims::new([Dim::Known(STATE as i64)]));
        Ok(self.has_value.then_some(value).into_iter().chain([state]).collect())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        need_philox(1, one(run, 1)?)?;
        let by = match self.has_value {
            true => run.slice::<u64>(2)?.first().copied().unwrap_or_default(),
            false => one(run, 2)? as u64,
        };
        if self.has_value {
            let state = run.slice::<i64>(0)?;
            philox(state)?;
            run.out::<i64>(0)?.copy_from_slice(&state[..STATE]);
        }
        skip(run, usize::from(self.has_value), by)
    }
}

/// What numbers are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Floats(Distribution),
    /// Of a range, the last two inputs.
    Integers,
    Bits,
}

fn fill(
    name: &'static str,
    numbers: Numbers,
    attributes: &Attributes<'_>,
) -> Result<Box<dyn Operator>, OpError> {
    let default = match numbers {
        Numbers::Floats(_) => DType::F32,
        Numbers::Integers => DType::I64,
        Numbers::Bits => DType::U64,
    };
    let shape_at = if name == "StatefulStandardNormal" { 1 } else { 2 };
    Ok(Box::new(StatefulFill { name, numbers, dtype: attributes.dtype_or("dtype", default)?, shape_at }))
}

/// The operators that fill a tensor.
#[derive(Debug)]
struct StatefulFill {
    name: &'static str,
    numbers: Numbers,
    dtype: DType,
    /// The input that is the shape.
    shape_at: usize,
}

impl Operator for StatefulFill {
    fn name(&self) -> &'static str {
        self.name
    }

    fn grows_with(&self, input: usize) -> bool {
        input == self.shape_at
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let state = need_state(inputs)?;
        if self.shape_at > 1 {
            need_algorithm(1, inputs, DType::I64)?;
        }
        if self.numbers == Numbers::Integers {
            for at in [self.shape_at + 1, self.shape_at + 2] {
                let end = shared::input(inputs, at)?;
                shared::need_type(at, end, &[self.dtype])?;
                shared::dims_of_rank(at, end, 0)?;
            }
        }
        Ok(vec![Fact::new(self.dtype, asked_dims(self.shape_at, inputs)?), state])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::set_asked(run, 0, self.shape_at)?;
        let state: Shape = run.shape(0);
        run.set_output_shape(1, state).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if self.shape_at > 1 {
            need_philox(1, one(run, 1)?)?;
        }
        let distribution = match self.numbers {
            Numbers::Floats(distribution) => distribution,
            Numbers::Bits => Distribution::Bits,
            Numbers::Integers => {
                let (low, high) = (one(run, self.shape_at + 1)?, one(run, self.shape_at + 2)?);
                if low >= high {
                    let why = format!("is {high}; it must be more than input {}, {low}", self.shape_at + 1);
                    return Err(OpError::input(self.shape_at + 2, why));
                }
                Distribution::Integers { low, high }
            }
        };
        let elements = run.output_shape(0).elements();
        let from = philox(run.slice::<i64>(0)?)?;
        if elements > 0 {
            random_fill(run.pool, from, distribution, &mut run.output(0)?)?;
        }
        skip(run, 1, elements as u64)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, dtype, refuses, run, scalar, tensor};
    use tightfit_core::DType;

    /// What TensorFlow 2.21 gives.
    #[test]
    fn numbers_and_states_are_tensorflows() {
        let state = tensor(&[3], &[5i64, -1, 77]);
        let inputs = [state.clone(), scalar(1i64), tensor(&[1], &[5i32])];
        let uniform = [0.172_035_57f32, 0.135_039_45, 0.518_453_36, 0.486_006_62, 0.382_188_08];
        let next = tensor(&[3], &[1285i64, -1, 77]);
        check("StatefulUniform", &[], &inputs, &[tensor(&[5], &uniform), next.clone()]);
        let made = run("StatefulStandardNormalV2", &[], &inputs).unwrap();
        assert!((made[0].values::<f32>()[0] - 1.407_662_2).abs() < 1e-6);
        assert_eq!(made[1], next);
        let whole = [state.clone(), scalar(1i64), tensor(&[2], &[2i32, 3]), scalar(3i32), scalar(9i32)];
        let made = [tensor(&[2, 3], &[6i32, 8, 3, 6, 7, 8]), tensor(&[3], &[1541i64, -1, 77])];
        check("StatefulUniformInt", &[("dtype", dtype(DType::I32))], &whole, &made);
        let skipped = tensor(&[3], &[1797i64, -1, 77]);
        check(
            "RngReadAndSkip",
            &[],
            &[state.clone(), scalar(3i32), scalar(7u64)],
            &[state.clone(), skipped.clone()],
        );
        check("RngSkip", &[], &[state, scalar(1i64), scalar(7i64)], &[skipped]);
    }

    #[test]
    fn refuses_what_is_no_generator() {
        let state = tensor(&[3], &[5i64, -1, 77]);
        refuses("RngSkip", &[], &[tensor(&[2], &[1i64, 2]), scalar(1i64), scalar(7i64)], "has 3 elements");
        refuses("RngSkip", &[], &[state, scalar(2i64), scalar(7i64)], "algorithm 2");
    }
}
