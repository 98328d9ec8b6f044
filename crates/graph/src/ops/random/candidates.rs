//! Classes that are drawn for a loss to be estimated by: UniformCandidateSampler, LogUniformCandidateSampler,
//! FixedUnigramCandidateSampler, AllCandidateSampler, and ComputeAccidentalHits.
//!
//! Samplers: true classes (int64, `[batch, num_true]`); `num_sampled` classes below `range_max` (int64) and how often each true
//! one and each sampled one is to be expected (float32). The classes are TensorFlow's for the same seeds. The weights of
//! FixedUnigramCandidateSampler are its attribute `unigrams`; those of a file are not read. ComputeAccidentalHits: true
//! classes and sampled ones; the row, the place and minus the largest float32 of each true one that was sampled.

use tightfit_core::{DType, Shape};
use tightfit_kernels::{Candidates, PHILOX_NUMBERS, Unigrams};

use super::source::{Source, draws};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::shared;
use crate::ops::sparse::common::{at_most_rows, room, room_bytes};

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "UniformCandidateSampler",
        import: |a| import("UniformCandidateSampler", Candidates::Uniform, a),
    },
    Registration {
        name: "LogUniformCandidateSampler",
        import: |a| import("LogUniformCandidateSampler", Candidates::LogUniform, a),
    },
    Registration {
        name: "FixedUnigramCandidateSampler",
        import: |a| import("FixedUnigramCandidateSampler", Candidates::Weighted(unigrams(a)?), a),
    },
    Registration {
        name: "AllCandidateSampler",
        import: |a| import("AllCandidateSampler", Candidates::All, a),
    },
    Registration {
        name: "ComputeAccidentalHits",
        import: |a| Ok(Box::new(AccidentalHits { true_classes: a.count("num_true")? })),
    },
];

fn import(
    name: &'static str,
    candidates: Candidates,
    attributes: &Attributes<'_>,
) -> Result<Box<dyn Operator>, OpError> {
    let at_least_one = |name: &str| match attributes.count(name)? {
        0 => Err(OpError::attribute(name, "is 0; at least 1 is needed")),
        n => Ok(n),
    };
    let samples = at_least_one("num_sampled")?;
    let range = match candidates {
        Candidates::All => samples,
        _ => at_least_one("range_max")?,
    };
    match &candidates {
        Candidates::Weighted(unigrams) if unigrams.count() != range => {
            let why = format!("is {range}, and there are {} weights", unigrams.count());
            return Err(OpError::attribute("range_max", why));
        }
        _ => {}
    }
    let is_unique = attributes.bool_or("unique", false)?;
    if is_unique && samples > range {
        return Err(OpError::attribute(
            "num_sampled",
            format!("is {samples}, and there are {range} classes"),
        ));
    }
    let (true_classes, source) = (at_least_one("num_true")?, Source::of_node(attributes)?);
    Ok(Box::new(Sampler { name, candidates, true_classes, samples, range, is_unique, source }))
}

/// The weights of the classes that `shard` of `num_shards` has, to the power of `distortion`.
fn unigrams(attributes: &Attributes<'_>) -> Result<Unigrams, OpError> {
    if !attributes.bytes_or("vocab_file", b"")?.is_empty() {
        return Err(OpError::attribute("vocab_file", "names a file; weights are taken of unigrams alone"));
    }
    let given = match attributes.node().attr("unigrams") {
        Some(_) => attributes.floats("unigrams")?,
        None => Vec::new(),
    };
    if given.is_empty() {
        return Err(OpError::attribute("unigrams", "is empty"));
    }
    let distortion = attributes.float_or("distortion", 1.0)?;
    let (shards, shard) = (attributes.int_or("num_shards", 1)?, attributes.int_or("shard", 0)?);
    let reserved = attributes.int_or("num_reserved_ids", 0)?;
    if shards < 1 {
        return Err(OpError::attribute("num_shards", format!("is {shards}; at least 1 is needed")));
    }
    let most = attributes.count("range_max")? as i64;
    let own = (0..reserved).filter(|id| id % shards == shard).take(most as usize + 1).count();
    if own as i64 > most {
        return Err(OpError::attribute("num_reserved_ids", format!("is {reserved} for {most} classes")));
    }
    let mut weights = vec![0f32; own];
    let of_shard = given.iter().zip(own as i64..).filter(|(_, id)| id % shards == shard);
    weights.extend(of_shard.map(|(weight, _)| weight.powf(distortion)));
    if weights.is_empty() {
        return Err(OpError::attribute("shard", format!("is {shard} of {shards}, which has no weights")));
    }
    Ok(Unigrams::new(weights.into()))
}

/// A sampler.
#[derive(Debug)]
struct Sampler {
    name: &'static str,
    candidates: Candidates,
    true_classes: usize,
    samples: usize,
    range: usize,
    is_unique: bool,
    source: Source,
}

/// Checks `[batch, num_true]` classes; how many rows there are.
fn rows_of_classes(inputs: &[&Fact], columns: usize) -> Result<Dim, OpError> {
    let classes = shared::input(inputs, 0)?;
    shared::need_type(0, classes, &[DType::I64])?;
    match shared::dims_of_rank(0, classes, 2)?.as_deref() {
        Some(&[_, have]) if have.size().is_some_and(|have| have != columns) && !classes.is_bound => {
            Err(OpError::input(0, format!("is of shape {}; {columns} columns are needed", classes.dims)))
        }
        Some(&[rows, _]) => Ok(rows),
        _ => Ok(Dim::Unknown),
    }
}

impl Operator for Sampler {
    fn name(&self) -> &'static str {
        self.name
    }

    draws!();

    fn heap_bytes(&self) -> u64 {
        match &self.candidates {
            Candidates::Weighted(unigrams) => unigrams.heap_bytes(),
            _ => 0,
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let rows = rows_of_classes(inputs, self.true_classes)?;
        let known = |count: usize| Dim::Known(i64::try_from(count).unwrap_or(i64::MAX));
        let samples = known(self.samples);
        Ok(vec![
            Fact::new(DType::I64, Dims::new([samples])),
            Fact::new(DType::F32, Dims::new([rows, known(self.true_classes)])),
            Fact::new(DType::F32, Dims::new([samples])),
        ])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::scratch(room_bytes::<i64>(self.samples.saturating_mul(2)))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::set(run, 0, [self.samples])?;
        reshape::set(run, 1, [*run.shape(0).first()?, self.true_classes])?;
        reshape::set(run, 2, [self.samples])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        // TensorFlow keeps so many numbers of 32 bits for each sample, of which a draw may take several.
        const NUMBERS: u64 = 2048;
        let steps = (self.samples as u64).wrapping_mul(NUMBERS).div_ceil(PHILOX_NUMBERS as u64);
        let philox = self.source.philox(run, steps)?;
        let classes = run.slice::<i64>(0)?;
        let (seen, _) = room::<i64>(run.scratch()?, self.samples * 2)?;
        let made = (run.out::<i64>(0)?, run.out::<f32>(1)?, run.out::<f32>(2)?);
        Ok(self.candidates.sample((self.range as u64, self.is_unique), philox, classes, seen, made)?)
    }
}

/// ComputeAccidentalHits.
#[derive(Debug)]
struct AccidentalHits {
    true_classes: usize,
}

impl Operator for AccidentalHits {
    fn name(&self) -> &'static str {
        "ComputeAccidentalHits"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let rows = rows_of_classes(inputs, self.true_classes)?;
        let sampled = shared::input(inputs, 1)?;
        shared::need_type(1, sampled, &[DType::I64])?;
        shared::dims_of_rank(1, sampled, 1)?;
        let most = rows.times(Dim::Known(i64::try_from(self.true_classes).unwrap_or(i64::MAX)));
        let of = |dtype| at_most_rows(dtype, most, &[]);
        Ok(vec![of(DType::I32), of(DType::I64), of(DType::F32)])
    }

    fn reshape(&self, _: &mut Run<'_>) -> Option<()> {
        // The run itself finds how many hits there are.
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (classes, sampled) = (run.slice::<i64>(0)?, run.slice::<i64>(1)?);
        // Of a class that was sampled several times the last place counts.
        let place = |class: &i64| sampled.iter().rposition(|sample| sample == class);
        let count = classes.iter().filter_map(place).count();
        for output in 0..3 {
            run.set_output_shape(output, Shape::new(&[count])?)?;
        }
        let (rows, places, weights) = (run.out::<i32>(0)?, run.out::<i64>(1)?, run.out::<f32>(2)?);
        let hits = classes.iter().enumerate().filter_map(|(n, class)| place(class).map(|at| (n, at)));
        for ((row, to), (n, at)) in rows.iter_mut().zip(places.iter_mut()).zip(hits) {
            (*row, *to) = ((n / self.true_classes) as i32, at as i64);
        }
        weights.fill(f32::MIN);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, flag, floats, int, operator, refuses, run, tensor, text};
    use tightfit_format::AttrValue;

    fn sampler(samples: i64, unique: bool, range: i64) -> Vec<(&'static str, AttrValue)> {
        let names = ["num_true", "num_sampled", "range_max", "seed", "seed2"];
        let numbers = [1, samples, range, 3, 4].map(int);
        names.into_iter().zip(numbers).chain([("unique", flag(unique))]).collect()
    }

    #[test]
    fn each_class_is_drawn_once() {
        let classes = [tensor(&[2, 1], &[0i64, 4])];
        for name in ["UniformCandidateSampler", "LogUniformCandidateSampler"] {
            let made = run(name, &sampler(5, true, 5), &classes).unwrap();
            let mut drawn = made[0].values::<i64>();
            drawn.sort();
            assert_eq!(drawn, [0, 1, 2, 3, 4], "{name}");
        }
        let expected = [tensor(&[3], &[0i64, 1, 2]), tensor(&[2, 1], &[1f32, 1.0]), tensor(&[3], &[1f32; 3])];
        let few = [tensor(&[2, 1], &[0i64, 2])];
        check("AllCandidateSampler", &sampler(3, true, 0), &few, &expected);
        refuses("AllCandidateSampler", &sampler(3, true, 0), &classes, "not in [0, 3)");
        assert!(operator("UniformCandidateSampler", &sampler(6, true, 5)).is_err());
    }

    #[test]
    fn classes_without_a_weight_are_not_drawn() {
        let with = [sampler(40, false, 3), vec![("unigrams", floats(&[0.0, 3.0, 1.0]))]].concat();
        let made = run("FixedUnigramCandidateSampler", &with, &[tensor(&[1, 1], &[1i64])]).unwrap();
        let drawn = made[0].values::<i64>();
        assert!(drawn.iter().all(|class| (1..3).contains(class)) && drawn.contains(&1));
        assert_eq!(made[1].values::<f32>(), [30.0]);
        let of_file = [sampler(2, false, 3), vec![("vocab_file", text("words.csv"))]].concat();
        assert!(operator("FixedUnigramCandidateSampler", &of_file).is_err());
    }

    #[test]
    fn hits_have_their_row_and_place() {
        let inputs = [tensor(&[2, 2], &[7i64, 1, 2, 7]), tensor(&[3], &[7i64, 5, 7])];
        let hits = [tensor(&[2], &[0i32, 1]), tensor(&[2], &[2i64, 2]), tensor(&[2], &[f32::MIN; 2])];
        check("ComputeAccidentalHits", &[("num_true", int(2))], &inputs, &hits);
        refuses("ComputeAccidentalHits", &[("num_true", int(3))], &inputs, "3 columns");
    }
}
