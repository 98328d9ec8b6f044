//! Samples of distributions with parameters: RandomGamma, RandomPoisson and RandomPoissonV2, ParameterizedTruncatedNormal,
//! StatelessRandomGammaV2 and V3, StatelessRandomPoisson, StatelessRandomBinomial.
//!
//! Inputs of the stateful ones: the shape of the samples (int32 or int64, a vector), and the parameters; output
//! `[..shape, ..parameters]`. Of the stateless ones: the whole shape, which ends with the parameters' own, seeds or a key,
//! a counter and an algorithm, and the parameters; a binomial distribution has two, counts and probabilities, which are
//! broadcast. Gamma is float32, float64, float16 or bfloat16; Poisson's rates and samples, and binomial samples, are
//! float16, float32, float64, int32 or int64. ParameterizedTruncatedNormal takes the whole shape, and means, deviations,
//! least and greatest values, each one number for all or a vector of one for each row (float16, float32 or float64); its
//! batches are TensorFlow's as long as it computes them on one thread.

use tightfit_core::{DType, Shape};
use tightfit_kernels::{
    STEPS_PER_NUMBER, TRUNCATED_ITERATIONS, random_binomial, random_gamma, random_poisson, truncated_normal,
};

use super::source::{Source, asked_dims, draws, need_end, set_asked_and_behind};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "RandomGamma",
        import: |a| sample("RandomGamma", Kind::Gamma, Source::of_node(a)?, a),
    },
    Registration {
        name: "RandomPoisson",
        import: |a| sample("RandomPoisson", Kind::Poisson, Source::of_node(a)?, a),
    },
    Registration {
        name: "RandomPoissonV2",
        import: |a| sample("RandomPoissonV2", Kind::Poisson, Source::of_node(a)?, a),
    },
    Registration {
        name: "StatelessRandomGammaV2",
        import: |a| sample("StatelessRandomGammaV2", Kind::Gamma, Source::Seeds(1), a),
    },
    Registration {
        name: "StatelessRandomGammaV3",
        import: |a| sample("StatelessRandomGammaV3", Kind::Gamma, Source::Key(1), a),
    },
    Registration {
        name: "StatelessRandomPoisson",
        import: |a| sample("StatelessRandomPoisson", Kind::Poisson, Source::Seeds(1), a),
    },
    Registration {
        name: "StatelessRandomBinomial",
        import: |a| Ok(Box::new(Binomial { dtype: a.dtype_or("dtype", DType::I64)? })),
    },
    Registration { name: "ParameterizedTruncatedNormal", import: import_truncated },
];

fn sample(
    name: &'static str,
    kind: Kind,
    source: Source,
    attributes: &Attributes<'_>,
) -> Result<Box<dyn Operator>, OpError> {
    let dtype = match kind {
        // Of the type of its parameter.
        Kind::Gamma => None,
        Kind::Poisson => Some(attributes.dtype_or("dtype", DType::I64)?),
    };
    Ok(Box::new(Sample { name, kind, dtype, source }))
}

/// A distribution of one parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gamma,
    Poisson,
}

/// Samples of a distribution of one parameter.
#[derive(Debug)]
struct Sample {
    name: &'static str,
    kind: Kind,
    dtype: Option<DType>,
    source: Source,
}

impl Sample {
    fn parameter_at(&self) -> usize {
        self.source.behind()
    }
}

impl Operator for Sample {
    fn name(&self) -> &'static str {
        self.name
    }

    draws!();

    fn grows_with(&self, input: usize) -> bool {
        input == 0
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        self.source.check(inputs)?;
        let parameter = shared::input(inputs, self.parameter_at())?;
        if self.kind == Kind::Gamma {
            shared::need_float(self.parameter_at(), parameter)?;
        }
        let asked = asked_dims(0, inputs)?;
        let dims = match (self.source, asked.get(), parameter.dims.get()) {
            (Source::Node(_), Some(asked), Some(own)) => Dims::new([asked, own].concat()),
            (Source::Node(_), ..) => Dims::UNKNOWN,
            _ => {
                // Of nothing TensorFlow does not look at the parameter.
                if asked.elements().known().is_some_and(|count| count > 0) {
                    need_end(0, &asked, &parameter.dims)?;
                }
                asked
            }
        };
        Ok(vec![Fact::new(self.dtype.unwrap_or(parameter.dtype), dims)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        match self.source {
            Source::Node(_) => set_asked_and_behind(run, 0, self.parameter_at()),
            _ => {
                reshape::set_asked(run, 0, 0)?;
                let shape = run.output_shape(0);
                (shape.elements() == 0 || shape.ends_with(&run.shape(self.parameter_at()))).then_some(())
            }
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let elements = run.output_shape(0).elements();
        let parameters = run.input(self.parameter_at())?;
        if elements == 0 {
            return Ok(());
        }
        let philox = self.source.philox(run, (elements as u64).wrapping_mul(STEPS_PER_NUMBER))?;
        let mut output = run.output(0)?;
        match self.kind {
            Kind::Gamma => random_gamma(run.pool, philox, parameters, &mut output)?,
            Kind::Poisson => random_poisson(run.pool, philox, parameters, &mut output)?,
        }
        Ok(())
    }
}

/// Samples of binomial distributions.
#[derive(Debug)]
struct Binomial {
    dtype: DType,
}

/// The input that is counts; the next one is probabilities.
const COUNTS: usize = 2;

impl Operator for Binomial {
    fn name(&self) -> &'static str {
        "StatelessRandomBinomial"
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 0
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        Source::Seeds(1).check(inputs)?;
        let (counts, probabilities) = (shared::input(inputs, COUNTS)?, shared::input(inputs, COUNTS + 1)?);
        shared::need_type(COUNTS, counts, &[DType::F16, DType::F32, DType::F64])?;
        shared::need_type(COUNTS + 1, probabilities, &[counts.dtype])?;
        let asked = asked_dims(0, inputs)?;
        need_end(0, &asked, &shared::broadcast(counts, probabilities)?)?;
        Ok(vec![Fact::new(self.dtype, asked)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::set_asked(run, 0, 0)?;
        let end = reshape::broadcast(run.shape(COUNTS), run.shape(COUNTS + 1))?;
        run.output_shape(0).ends_with(&end).then_some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let inputs = [run.input(COUNTS)?, run.input(COUNTS + 1)?];
        let shapes = inputs.map(|input| *input.shape());
        let all = reshape::broadcast(shapes[0], shapes[1])
            .ok_or(OpError::Internal("shapes are broadcast that do not go together"))?;
        if run.output_shape(0).elements() == 0 {
            return Ok(());
        }
        let philox = Source::Seeds(1).philox(run, 0)?;
        let index = |input: usize, column: usize| place(shapes[input], all, column);
        Ok(random_binomial(run.pool, philox, inputs, all.elements(), &index, &mut run.output(0)?)?)
    }
}

/// Where element `index` of a tensor of shape `all` comes from in one of shape `of` that is broadcast to it.
fn place(of: Shape, all: Shape, index: usize) -> usize {
    let (mut rest, mut stride, mut place) = (index, 1, 0);
    for axis in (0..all.rank()).rev() {
        let at = rest % all[axis];
        rest /= all[axis];
        if let Some(own) = (axis + of.rank()).checked_sub(all.rank()) {
            place += if of[own] == 1 { 0 } else { at * stride };
            stride *= of[own];
        }
    }
    place
}

fn import_truncated(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Truncated { dtype: attributes.dtype("dtype")?, source: Source::of_node(attributes)? }))
}

/// ParameterizedTruncatedNormal.
#[derive(Debug)]
struct Truncated {
    dtype: DType,
    source: Source,
}

/// Samples of a batch where all have the same parameters.
const BATCH: usize = 100;

impl Operator for Truncated {
    fn name(&self) -> &'static str {
        "ParameterizedTruncatedNormal"
    }

    draws!();

    fn grows_with(&self, input: usize) -> bool {
        input == 0
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let dims = asked_dims(0, inputs)?;
        if dims.rank() == Some(0) {
            return Err(OpError::input(0, "is the shape of a scalar; there must be rows"));
        }
        let rows = dims.get().and_then(|dims| dims[0].known());
        for at in 1..=4 {
            let parameter = shared::input(inputs, at)?;
            shared::need_type(at, parameter, &[self.dtype])?;
            let fits = match parameter.dims.get() {
                None | Some([]) => true,
                Some([Dim::Known(n)]) => *n == 1 || rows.is_none_or(|rows| *n == rows),
                Some([_]) => true,
                Some(_) => false,
            };
            if !fits {
                let why =
                    format!("is of shape {}; one number, or one for each row, is needed", parameter.dims);
                return Err(OpError::input(at, why));
            }
        }
        Ok(vec![Fact::new(self.dtype, dims)])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let shape = run.output_shape(0);
        let parameters = [run.input(1)?, run.input(2)?, run.input(3)?, run.input(4)?];
        let elements = shape.elements();
        let is_one = |at: usize| parameters[at].shape().elements() == 1;
        let is_scalar = |at: usize| parameters[at].shape().rank() == 0;
        let rows = shape.first().copied().unwrap_or(0);
        let is_same = is_one(0) && is_one(1) && is_scalar(2) && is_scalar(3);
        let batch = if is_same { BATCH } else { elements.checked_div(rows).unwrap_or(0) };
        let batches = if is_same { elements.div_ceil(BATCH) } else { rows };
        let steps =
            (batches as u64).wrapping_mul(2 * TRUNCATED_ITERATIONS).wrapping_mul(batch as u64 + 3) / 4;
        let philox = self.source.philox(run, steps)?;
        Ok(truncated_normal(philox, parameters, [batches, batch], &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{dtype, int, refuses, run, scalar, tensor};
    use tightfit_core::DType;

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn samples_have_the_mean_of_their_distribution() {
        let shape = tensor(&[2], &[20_000i32, 2]);
        let seeds = tensor(&[2], &[7i64, 9]);
        let columns = |op: &str, attributes: &[_], inputs: &[_]| {
            let output = run(op, attributes, inputs).unwrap().remove(0);
            let values = output.values::<f64>();
            [0, 1].map(|column| mean(&values.iter().copied().skip(column).step_by(2).collect::<Vec<_>>()))
        };
        let doubles = [("dtype", dtype(DType::F64))];
        let parameters = tensor(&[2], &[0.5f64, 20.0]);
        let inputs = [shape.clone(), seeds.clone(), parameters.clone()];
        for op in ["StatelessRandomGammaV2", "StatelessRandomPoisson"] {
            let [small, large] = columns(op, &doubles, &inputs);
            assert!((small - 0.5).abs() < 0.02 && (large - 20.0).abs() < 0.15, "{op} {small} {large}");
        }
        let inputs = [shape, seeds, scalar(50.0f64), tensor(&[2], &[0.1f64, 0.7])];
        let [small, large] = columns("StatelessRandomBinomial", &doubles, &inputs);
        assert!((small - 5.0).abs() < 0.06 && (large - 35.0).abs() < 0.1, "{small} {large}");
    }

    #[test]
    fn of_nothing_the_parameter_is_any() {
        let inputs = [tensor(&[2], &[3i32, 0]), tensor(&[2], &[7i64, 9]), tensor(&[2], &[0.5f32, 2.0])];
        for op in ["StatelessRandomGammaV2", "StatelessRandomPoisson"] {
            let drawn = run(op, &[("dtype", dtype(DType::F32))], &inputs).unwrap();
            assert_eq!(drawn, [tensor(&[3, 0], &[0f32; 0])], "{op}");
        }
        let some = [tensor(&[1], &[3i32]), inputs[1].clone(), inputs[2].clone()];
        refuses("StatelessRandomPoisson", &[], &some, "does not end with");
    }

    #[test]
    fn truncated_samples_stay_within_their_ends() {
        let seeds = [("seed", int(3)), ("dtype", dtype(DType::F64))];
        // Each of the three ways to draw, and one that is turned round.
        let ends = [[-3.0, 9.0], [0.1, 0.2], [3.0, 9.0], [-9.0, -3.0]];
        for [least, greatest] in ends {
            let of = |x: f64| scalar(x);
            let inputs = [tensor(&[1], &[500i32]), of(0.0), of(1.0), of(least), of(greatest)];
            let values = run("ParameterizedTruncatedNormal", &seeds, &inputs).unwrap()[0].values::<f64>();
            assert!(values.iter().all(|x| (least..=greatest).contains(x)), "{least} {greatest}");
            assert!(values.windows(2).any(|pair| pair[0] != pair[1]));
        }
        let inputs = [tensor(&[1], &[5i32]), scalar(0.0f64), scalar(-1.0f64), scalar(0.0f64), scalar(1.0f64)];
        refuses("ParameterizedTruncatedNormal", &seeds, &inputs, "deviation");
    }

    #[test]
    fn a_whole_shape_ends_with_the_parameters() {
        let inputs = [tensor(&[1], &[3i32]), tensor(&[2], &[7i64, 9]), tensor(&[2], &[1.0f32, 2.0])];
        refuses("StatelessRandomGammaV2", &[("dtype", dtype(DType::F32))], &inputs, "does not end");
    }
}
