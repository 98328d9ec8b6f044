//! Serialized tf.train.SequenceExamples become tensors: ParseSequenceExample, its second version and ParseSingleSequenceExample.
//!
//! The context is parsed as an example is. Of the lists of features a dense one is `[batch, steps, ..shape]`, as many steps as the longest,
//! filled up with zeros, and the length of each; a sparse one has three coordinates to each value, or two in a single record; a
//! ragged one has values, the splits of steps and the splits of records. A dense list that is not there is an error unless it
//! may be empty.

use tightfit_core::{DType, StringRef};
use tightfit_format::example::sequence::{FeatureList, SequenceExample};

use super::example::{Dense, Features, Keys, check_number, dense_features, ragged_features, set};
use super::features::{WithoutList, broken, count, of_type, write};
use super::version::Version;
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::string::split::put;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "ParseSequenceExample", import: |a| import(a, Version::First) },
    Registration { name: "ParseSequenceExampleV2", import: |a| import(a, Version::Second) },
    Registration { name: "ParseSingleSequenceExample", import: |a| import(a, Version::Single) },
];

/// The attributes that have keys.
const KEYS: [&str; 4] =
    ["context_sparse_keys", "context_dense_keys", "feature_list_sparse_keys", "feature_list_dense_keys"];

/// Which dense lists may be missing.
#[derive(Debug)]
enum MayMiss {
    /// Those of these keys.
    Keys(Keys),
    /// A bool for each, in this input.
    Flags(usize),
}

/// ParseSequenceExample.
#[derive(Debug)]
struct Parse {
    version: Version,
    context: Features,
    sparse: Vec<DType>,
    dense: Vec<Dense>,
    ragged: Vec<(DType, DType)>,
    keys: [Keys; 3],
    may_miss: MayMiss,
}

fn import(attributes: &Attributes<'_>, version: Version) -> Result<Box<dyn Operator>, OpError> {
    let context_sparse = attributes.dtypes_or_empty("context_sparse_types")?;
    let context_dense = dense_features(attributes, "Tcontext_dense", "context_dense_shapes")?;
    let sparse = attributes.dtypes_or_empty("feature_list_sparse_types")?;
    let dense = dense_features(attributes, "feature_list_dense_types", "feature_list_dense_shapes")?;
    let mut ragged = [Vec::new(), Vec::new()];
    if version == Version::Second {
        for (to, scope) in ragged.iter_mut().zip(["context", "feature_list"]) {
            *to = ragged_features(
                attributes,
                &format!("{scope}_ragged_value_types"),
                &format!("{scope}_ragged_split_types"),
            )?;
        }
    }
    if dense.iter().any(|dense| dense.is_open) {
        return Err(OpError::attribute(
            "feature_list_dense_shapes",
            "has an open shape, which is not supported",
        ));
    }
    if context_dense.iter().any(|dense| dense.is_open) {
        return Err(OpError::attribute("context_dense_shapes", "has an open shape, which there is not"));
    }
    check_number(attributes, "Ncontext_sparse", &[context_sparse.len()])?;
    check_number(attributes, "Nfeature_list_sparse", &[sparse.len()])?;
    check_number(attributes, "Nfeature_list_dense", &[dense.len()])?;
    if version == Version::First {
        check_number(attributes, "Ncontext_dense", &[context_dense.len()])?;
    }
    let none = || Keys::Own(Vec::new());
    let own = |name: &str| attributes.strings(name).map(Keys::Own);
    let (context_keys, keys, may_miss, defaults, names) = match version {
        Version::First => {
            let context = [own("context_sparse_keys")?, own("context_dense_keys")?, none()];
            let lists = [own("feature_list_sparse_keys")?, own("feature_list_dense_keys")?, none()];
            let may_miss = MayMiss::Keys(own("feature_list_dense_missing_assumed_empty")?);
            let listed = [&context[0], &context[1], &lists[0], &lists[1]];
            let types = [context_sparse.len(), context_dense.len(), sparse.len(), dense.len()];
            if let Some(at) = listed.iter().zip(types).position(|(keys, count)| keys.own() != count) {
                let why = format!("is not of as many as there are types, {}", types[at]);
                return Err(OpError::attribute(KEYS[at], why));
            }
            (context, lists, may_miss, 2, 1)
        }
        Version::Second => {
            let [context, lists] = [2, 5].map(|first| [first, first + 1, first + 2].map(Keys::Vector));
            (context, lists, MayMiss::Flags(8), 9, 1)
        }
        Version::Single => {
            let starts = [2, context_sparse.len(), context_dense.len(), sparse.len(), dense.len()];
            let mut at = 0;
            let [a, b, c, d, defaults] = starts.map(|count| {
                at += count;
                at
            });
            let lists = [Keys::Each(c), Keys::Each(d), none()];
            let names = defaults + context_dense.len();
            ([Keys::Each(a), Keys::Each(b), none()], lists, MayMiss::Keys(Keys::Vector(1)), defaults, names)
        }
    };
    let [context_ragged, ragged] = ragged;
    let context = Features {
        sparse: context_sparse,
        dense: context_dense,
        ragged: context_ragged,
        keys: context_keys,
        defaults,
        names: Some(names),
        without_list: match version {
            Version::Single => WithoutList::Error,
            Version::First | Version::Second => WithoutList::Empty,
        },
        is_of_sequences: true,
    };
    context.check()?;
    Ok(Box::new(Parse { version, context, sparse, dense, ragged, keys, may_miss }))
}

impl Parse {
    /// Checks that vectors of keys of lists, as far as their lengths are known, have one for each list.
    fn check_keys(&self, input: impl Fn(usize) -> Option<usize>) -> Result<(), OpError> {
        let counts = [self.sparse.len(), self.dense.len(), self.ragged.len()];
        self.keys.iter().zip(counts).try_for_each(|(keys, count)| keys.check(count, &input))
    }

    fn has_batch(&self, run: &Run<'_>) -> bool {
        self.version != Version::Single && run.shape(0).rank() > 0
    }

    /// Calls `each` with the number of every record, itself, and the list that it has under a key.
    fn for_each<'r>(
        &self,
        run: &Run<'r>,
        key: &[u8],
        mut each: impl FnMut(usize, StringRef, Option<FeatureList<'r>>) -> Result<(), OpError>,
    ) -> Result<(), OpError> {
        let name = std::str::from_utf8(key).map_err(|_| OpError::Invalid("a key is no UTF-8".into()))?;
        for (row, record) in run.slice::<StringRef>(0)?.iter().enumerate() {
            let found = SequenceExample::new(run.string(*record)).find_list(name).map_err(broken);
            found
                .and_then(|list| each(row, *record, list))
                .map_err(|error| self.context.of_record(run, row, error))?;
        }
        Ok(())
    }

    fn sparse(&self, run: &mut Run<'_>, number: usize) -> Result<(), OpError> {
        let key = self.keys[0].get(run, number)?;
        let dtype = self.sparse[number];
        let first = self.context.outputs();
        let (mut all, mut most_steps, mut most) = (0, 0, 0);
        self.for_each(run, key, |_, _, list| {
            let mut steps = 0;
            for step in list.into_iter().flatten() {
                let step = of_type(Some(step.map_err(broken)?), key, dtype)?;
                let own = step.map_or(Ok(0), |step| count(&step))?;
                all += own;
                most = most.max(own);
                steps += 1;
            }
            most_steps = most_steps.max(steps);
            Ok(())
        })?;
        let has_batch = self.has_batch(run);
        let rank = 2 + usize::from(has_batch);
        let [indices, values, shape] = [0, 1, 2].map(|part| first + part * self.sparse.len() + number);
        set(run, indices, &[all, rank])?;
        set(run, values, &[all])?;
        set(run, shape, &[rank])?;
        let rows = run.slice::<StringRef>(0)?.len();
        let sizes = [rows as i64, most_steps, most as i64];
        run.out::<i64>(shape)?.copy_from_slice(&sizes[usize::from(!has_batch)..]);
        let (indices, values) = (run.out::<i64>(indices)?, run.out_bytes(values)?);
        let mut places = indices.chunks_exact_mut(rank);
        let mut at = 0;
        self.for_each(run, key, |row, record, list| {
            for (number, step) in list.into_iter().flatten().enumerate() {
                let Some(step) = of_type(Some(step.map_err(broken)?), key, dtype)? else { continue };
                let own = count(&step)?;
                for (column, place) in places.by_ref().take(own).enumerate() {
                    let index = [row as i64, number as i64, column as i64];
                    place.copy_from_slice(&index[usize::from(!has_batch)..]);
                }
                let end = at + own * dtype.bytes();
                write(run, record, &step, values.get_mut(at..end).unwrap_or_default())?;
                at = end;
            }
            Ok(())
        })
    }

    fn may_miss(&self, run: &Run<'_>, number: usize, key: &[u8]) -> Result<bool, OpError> {
        Ok(match &self.may_miss {
            MayMiss::Flags(input) => run.input(*input)?.bytes().get(number).is_some_and(|flag| *flag != 0),
            MayMiss::Keys(Keys::Vector(input)) => {
                run.slice::<StringRef>(*input)?.iter().any(|own| run.string(*own) == key)
            }
            MayMiss::Keys(Keys::Own(keys)) => keys.iter().any(|own| **own == *key),
            MayMiss::Keys(Keys::Each(_)) => false,
        })
    }

    fn dense(&self, run: &mut Run<'_>, number: usize) -> Result<(), OpError> {
        let key = self.keys[1].get(run, number)?;
        let dense = &self.dense[number];
        let (dtype, elements) = (dense.dtype, dense.elements());
        let first = self.context.outputs() + 3 * self.sparse.len();
        let may_miss = self.may_miss(run, number, key)?;
        let shown = || String::from_utf8_lossy(key).into_owned();
        let mut most = 0;
        self.for_each(run, key, |_, _, list| {
            let Some(list) = list else {
                return if may_miss {
                    Ok(())
                } else {
                    Err(OpError::Invalid(format!(
                        "feature list '{}' is required but could not be found, and is not among those that may be missing",
                        shown()
                    )))
                };
            };
            most = most.max(list.count());
            Ok(())
        })?;
        let has_batch = self.has_batch(run);
        let rows = run.slice::<StringRef>(0)?.len();
        let dims = has_batch.then_some(rows).into_iter().chain([most]).chain(dense.shape.iter().copied());
        let shape = crate::operator::reshape::shape(dims);
        let shape = shape.ok_or_else(|| OpError::Invalid("has too many dimensions".into()))?;
        run.set_output_shape(first + number, shape)?;
        let out = run.out_bytes(first + number)?;
        out.fill(0);
        let mut lengths = match self.version {
            Version::Single => None,
            _ => {
                let output = first + self.dense.len() + number;
                let shape = run.shape(0);
                run.set_output_shape(output, shape)?;
                Some(run.out::<i64>(output)?)
            }
        };
        let step_bytes = elements * dtype.bytes();
        self.for_each(run, key, |row, record, list| {
            let mut steps = 0;
            for step in list.into_iter().flatten() {
                let step = of_type(Some(step.map_err(broken)?), key, dtype)?;
                if step.is_none() && self.version == Version::Single {
                    return Err(OpError::Invalid(format!(
                        "feature list '{}', step {steps}: has no values of any type, and {dtype} is expected",
                        shown()
                    )));
                }
                let own = step.as_ref().map_or(Ok(0), count)?;
                if own != elements {
                    return Err(OpError::Invalid(format!(
                        "feature list '{}', step {steps}: number of {dtype} values is {own}, and {elements} are expected",
                        shown()
                    )));
                }
                let at = (row * most + steps) * step_bytes;
                if let Some(step) = step {
                    write(run, record, &step, out.get_mut(at..at + step_bytes).unwrap_or_default())?;
                }
                steps += 1;
            }
            if let Some(length) = lengths.as_mut().and_then(|lengths| lengths.get_mut(row)) {
                *length = steps as i64;
            }
            Ok(())
        })
    }

    fn ragged(&self, run: &mut Run<'_>, number: usize) -> Result<(), OpError> {
        let key = self.keys[2].get(run, number)?;
        let (dtype, split_type) = self.ragged[number];
        let lists = 3 * self.sparse.len() + 2 * self.dense.len();
        let first = self.context.outputs() + lists;
        let [values, outer, inner] = [0, 1, 2].map(|part| first + part * self.ragged.len() + number);
        let (mut all, mut all_steps) = (0, 0);
        self.for_each(run, key, |_, _, list| {
            for step in list.into_iter().flatten() {
                let step = of_type(Some(step.map_err(broken)?), key, dtype)?;
                all += step.map_or(Ok(0), |step| count(&step))?;
                all_steps += 1;
            }
            Ok(())
        })?;
        let (has_batch, rows) = (self.has_batch(run), run.slice::<StringRef>(0)?.len());
        set(run, values, &[all])?;
        let splits = [rows + 1];
        set(run, outer, if has_batch { &splits } else { &[] })?;
        set(run, inner, &[all_steps + 1])?;
        let (values, outer, inner) = (run.out_bytes(values)?, run.out_bytes(outer)?, run.out_bytes(inner)?);
        put(inner, 0, 0, split_type);
        put(outer, 0, 0, split_type);
        let (mut at, mut steps) = (0, 0);
        self.for_each(run, key, |row, record, list| {
            for step in list.into_iter().flatten() {
                if let Some(step) = of_type(Some(step.map_err(broken)?), key, dtype)? {
                    let end = at + count(&step)? * dtype.bytes();
                    write(run, record, &step, values.get_mut(at..end).unwrap_or_default())?;
                    at = end;
                }
                steps += 1;
                put(inner, steps, at / dtype.bytes(), split_type);
            }
            if has_batch {
                put(outer, row + 1, steps, split_type);
            }
            Ok(())
        })
    }
}

impl Operator for Parse {
    fn name(&self) -> &'static str {
        match self.version {
            Version::First => "ParseSequenceExample",
            Version::Second => "ParseSequenceExampleV2",
            Version::Single => "ParseSingleSequenceExample",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (records, batch) = (shared::input(inputs, 0)?, self.version.batch(inputs)?);
        self.check_keys(|index| inputs.get(index)?.dims.elements().size())?;
        if let MayMiss::Keys(Keys::Vector(input)) = self.may_miss {
            shared::dims_of_rank(input, shared::input(inputs, input)?, 1)?;
        }
        let mut facts = self.context.facts(inputs, batch)?;
        let rank = batch.map_or(Dim::Unknown, |batch| Dim::Known(2 + i64::from(batch.is_some())));
        let vector = |dtype, dim| Fact::new(dtype, Dims::new([dim]));
        let each = || self.sparse.iter();
        facts.extend(each().map(|_| Fact::new(DType::I64, Dims::new([Dim::Unknown, rank]))));
        facts.extend(each().map(|dtype| vector(*dtype, Dim::Unknown)));
        facts.extend(each().map(|_| vector(DType::I64, rank)));
        facts.extend(self.dense.iter().map(|dense| {
            let dims = batch.map(|batch| {
                let own = dense.shape.iter().map(|dim| Dim::Known(*dim as i64));
                Dims::new(batch.into_iter().chain([Dim::Unknown]).chain(own).collect::<Vec<_>>())
            });
            Fact::new(dense.dtype, dims.unwrap_or(Dims::UNKNOWN))
        }));
        if self.version != Version::Single {
            facts.extend(self.dense.iter().map(|_| Fact::new(DType::I64, records.dims.clone())));
        }
        facts.extend(self.ragged.iter().map(|(dtype, _)| vector(*dtype, Dim::Unknown)));
        // Of one record that makes no batch TensorFlow gives a scalar.
        let outer = match batch {
            None => Dims::UNKNOWN,
            Some(None) => Dims::scalar(),
            Some(Some(batch)) => Dims::new([batch.plus(Dim::Known(1))]),
        };
        facts.extend(self.ragged.iter().map(|(_, splits)| Fact::new(*splits, outer.clone())));
        facts.extend(self.ragged.iter().map(|(_, splits)| vector(*splits, Dim::Unknown)));
        Ok(facts)
    }

    fn max_outputs(&self, inputs: usize) -> usize {
        inputs.max(
            self.context.outputs() + 3 * self.sparse.len() + 2 * self.dense.len() + 3 * self.ragged.len(),
        )
    }

    fn reshape(&self, _: &mut Run<'_>) -> Option<()> {
        // The run sets every shape.
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        // TensorFlow misses a feature without a default also where there is no record that could have it.
        if self.version != Version::Single && run.shape(0).elements() == 0 {
            for (number, dense) in self.context.dense.iter().enumerate() {
                if dense.elements() > 0 && run.shape(self.context.defaults + number).elements() == 0 {
                    return Err(OpError::input(
                        self.context.defaults + number,
                        "has no default, and there are no records",
                    ));
                }
            }
        }
        self.check_keys(|index| Some(run.shape(index).elements()))?;
        if self.version == Version::Single {
            let keys = 2..self.context.defaults;
            if let Some(input) = keys.into_iter().find(|input| run.shape(*input).rank() > 0) {
                let why = format!("is of shape {}; a key is a scalar", run.shape(input));
                return Err(OpError::input(input, why));
            }
        }
        for (row, record) in run.slice::<StringRef>(0)?.iter().enumerate() {
            let checked = SequenceExample::new(run.string(*record)).check_entries().map_err(broken);
            checked.map_err(|error| self.context.of_record(run, row, error))?;
        }
        self.context.run(run)?;
        for number in 0..self.sparse.len() {
            self.sparse(run, number)?;
        }
        for number in 0..self.dense.len() {
            self.dense(run, number)?;
        }
        for number in 0..self.ragged.len() {
            self.ragged(run, number)?;
        }
        Ok(())
    }
}
