//! Tensors of independent random numbers: RandomUniform, RandomStandardNormal, TruncatedNormal, RandomUniformInt, and the
//! stateless ones of all.
//!
//! Inputs: the shape (int32 or int64, a vector); for stateless operators two seeds, or in V2 a key, a counter and an
//! algorithm; for integers of a range its least and its bound, scalars of the output's type. Floats are float32, float64,
//! float16 or bfloat16, integers int32 or int64, and FullInt is uint32 or uint64 besides. The numbers are TensorFlow's for
//! the same seeds. Operators with attributes `seed` and `seed2` give others in each run.

use tightfit_core::DType;
use tightfit_kernels::{Distribution, STEPS_PER_NUMBER, random_fill};

use super::source::{Source, asked_dims, draws};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;
use crate::ops::shared::extent::int_input;

pub(crate) const OPS: &[Registration] = &[
    row("RandomUniform"),
    row("RandomStandardNormal"),
    row("TruncatedNormal"),
    row("RandomUniformInt"),
    row("StatelessRandomUniform"),
    row("StatelessRandomNormal"),
    row("StatelessTruncatedNormal"),
    row("StatelessRandomUniformInt"),
    row("StatelessRandomUniformFullInt"),
    row("StatelessRandomUniformV2"),
    row("StatelessRandomNormalV2"),
    row("StatelessTruncatedNormalV2"),
    row("StatelessRandomUniformIntV2"),
    row("StatelessRandomUniformFullIntV2"),
];

const fn row(name: &'static str) -> Registration {
    Registration { name, import }
}

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let node = &*attributes.node().op;
    let name = OPS.iter().map(|row| row.name).find(|name| *name == node);
    let name = name.ok_or(OpError::Internal("an operator of random numbers has a row"))?;
    let is_stateless = name.starts_with("Stateless");
    let plain = name.trim_start_matches("Stateless").trim_end_matches("V2");
    let (numbers, dtype) = match plain {
        "RandomUniform" => (Numbers::Uniform, "dtype"),
        "RandomStandardNormal" | "RandomNormal" => (Numbers::Normal, "dtype"),
        "TruncatedNormal" => (Numbers::Truncated, "dtype"),
        "RandomUniformInt" => (Numbers::Integers, if is_stateless { "dtype" } else { "Tout" }),
        _ => (Numbers::Bits, "dtype"),
    };
    let default = match numbers {
        Numbers::Bits => DType::U64,
        _ => DType::F32,
    };
    let source = match (is_stateless, name.ends_with("V2")) {
        (false, _) => Source::of_node(attributes)?,
        (true, false) => Source::Seeds(1),
        (true, true) => Source::Key(1),
    };
    let dtype = if is_stateless && !matches!(numbers, Numbers::Integers) {
        attributes.dtype_or(dtype, default)?
    } else {
        attributes.dtype(dtype)?
    };
    Ok(Box::new(RandomFill { name, numbers, dtype, source }))
}

/// What numbers are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Uniform,
    Normal,
    Truncated,
    /// Of a range, the last two inputs.
    Integers,
    Bits,
}

/// The operator.
#[derive(Debug)]
struct RandomFill {
    name: &'static str,
    numbers: Numbers,
    dtype: DType,
    source: Source,
}

impl RandomFill {
    /// The input that is the least integer; the next one is the bound.
    fn range_at(&self) -> usize {
        self.source.behind()
    }

    fn check_range(&self, low: i64, high: i64) -> Result<(), OpError> {
        if low < high {
            return Ok(());
        }
        let why = format!("is {high}; it must be more than input {}, {low}", self.range_at());
        Err(OpError::input(self.range_at() + 1, why))
    }
}

impl Operator for RandomFill {
    fn name(&self) -> &'static str {
        self.name
    }

    draws!();

    fn grows_with(&self, input: usize) -> bool {
        input == 0
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        self.source.check(inputs)?;
        if self.numbers == Numbers::Integers {
            let at = self.range_at();
            let ends = [shared::input(inputs, at)?, shared::input(inputs, at + 1)?];
            for (input, end) in ends.into_iter().enumerate() {
                shared::need_type(at + input, end, &[self.dtype])?;
                shared::dims_of_rank(at + input, end, 0)?;
            }
        }
        Ok(vec![Fact::new(self.dtype, asked_dims(0, inputs)?)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::set_asked(run, 0, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let elements = run.output_shape(0).elements();
        let distribution = match self.numbers {
            Numbers::Uniform => Distribution::Uniform,
            Numbers::Normal => Distribution::Normal,
            Numbers::Truncated => Distribution::TruncatedNormal,
            Numbers::Bits => Distribution::Bits,
            Numbers::Integers => {
                let at = self.range_at();
                let (low, high) = (int_input(run, at)?, int_input(run, at + 1)?);
                // Of no numbers TensorFlow does not look at the range.
                if elements > 0 {
                    self.check_range(low, high)?;
                }
                Distribution::Integers { low, high }
            }
        };
        let philox = self.source.philox(run, (elements as u64).wrapping_mul(STEPS_PER_NUMBER))?;
        if elements == 0 {
            return Ok(());
        }
        Ok(random_fill(run.pool, philox, distribution, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, check_close, dtype, int, refuses, scalar, tensor};
    use tightfit_core::DType;

    /// What TensorFlow 2.21 gives.
    #[test]
    fn seeded_numbers_are_tensorflows() {
        let seeds = [("seed", int(87654321)), ("seed2", int(42)), ("dtype", dtype(DType::F32))];
        let shape = tensor(&[1], &[5i32]);
        let uniform = [0.952_271_46f32, 0.677_407_74, 0.795_318_25, 0.755_781_77, 0.475_955_6];
        let normal = [-0.280_775_07f32, -0.137_752_1, -0.676_329_6, 0.024_580_413, -0.893_584_55];
        let truncated = [-0.280_775_07f32, -0.137_752_1, -0.676_329_6, 0.024_580_413, -0.468_454_72];
        check("RandomUniform", &seeds, &[shape.clone()], &[tensor(&[5], &uniform)]);
        check_close("RandomStandardNormal", &seeds, &[shape.clone()], &tensor(&[5], &normal), 1e-6);
        check_close("TruncatedNormal", &seeds, &[shape.clone()], &tensor(&[5], &truncated), 1e-6);
        let stateless = [("dtype", dtype(DType::I32))];
        let inputs = [shape, tensor(&[2], &[1i64, -2]), scalar(-5i32), scalar(100i32)];
        check("StatelessRandomUniformInt", &stateless, &inputs, &[tensor(&[5], &[48i32, 40, 89, -3, 64])]);
    }

    #[test]
    fn refuses_what_describes_no_numbers() {
        let seeds = [("seed", int(1)), ("Tout", dtype(DType::I32)), ("dtype", dtype(DType::F32))];
        let inputs = [tensor(&[1], &[5i64]), scalar(3i32), scalar(3i32)];
        refuses("RandomUniformInt", &seeds, &inputs, "more than");
        refuses("RandomUniform", &seeds, &[scalar(3i32)], "rank 1");
        refuses("RandomUniform", &seeds, &[tensor(&[1], &[-1i32])], "-1");
        let one_seed = [tensor(&[1], &[5i64]), tensor(&[1], &[1i64])];
        refuses("StatelessRandomNormal", &[("dtype", dtype(DType::F32))], &one_seed, "two seeds");
    }
}
