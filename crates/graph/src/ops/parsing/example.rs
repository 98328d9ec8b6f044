//! Serialized tf.train.Examples become tensors: ParseExample, ParseExampleV2 and ParseSingleExample.
//!
//! Of a batch of records each dense feature is a tensor `[batch, ..shape]`, where the first dimension of the shape may be open: rows are
//! then as long as the longest, filled up with the default. A sparse feature is indices, values and a shape, a ragged one
//! values and row splits; how many values there are the data says. Types are float32, int64 and string. A dense feature that
//! is not there is its default, and an error where that is empty. Of a single record, or a scalar, there is no batch.

use std::borrow::Cow;

use tightfit_core::{DType, Shape, StringRef};
use tightfit_format::example::{Example, Feature};

use super::features::{WithoutList, broken, count, write};
use super::version::Version;
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run, reshape};
use crate::ops::shared;
use crate::ops::string::split::put;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "ParseExample", import: |a| import(a, Version::First) },
    Registration { name: "ParseExampleV2", import: |a| import(a, Version::Second) },
    Registration { name: "ParseSingleExample", import: |a| import(a, Version::Single) },
];

/// Where the keys of features are.
#[derive(Debug)]
pub enum Keys {
    /// Each is an input, from this one on.
    Each(usize),
    /// All are this input.
    Vector(usize),
    /// They are attributes.
    Own(Vec<Box<[u8]>>),
}

impl Keys {
    /// Checks that a vector of keys, as far as its length is known, has one for each feature.
    ///
    /// # Errors
    /// [`OpError::Input`] where it has not.
    pub fn check(&self, features: usize, input: impl Fn(usize) -> Option<usize>) -> Result<(), OpError> {
        match self {
            Keys::Vector(index) => match input(*index) {
                Some(keys) if keys != features => {
                    Err(OpError::input(*index, format!("has {keys} keys for {features} features")))
                }
                _ => Ok(()),
            },
            Keys::Each(_) | Keys::Own(_) => Ok(()),
        }
    }

    /// Checks that a vector of keys is there.
    ///
    /// # Errors
    /// [`OpError::Input`] where it is not.
    pub fn need(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        match self {
            Keys::Vector(index) => shared::input(inputs, *index).map(|_| ()),
            Keys::Each(_) | Keys::Own(_) => Ok(()),
        }
    }

    /// How many keys are attributes.
    pub fn own(&self) -> usize {
        match self {
            Keys::Own(keys) => keys.len(),
            Keys::Each(_) | Keys::Vector(_) => 0,
        }
    }

    /// Key number `number`.
    ///
    /// # Errors
    /// [`OpError::Input`] where there are fewer.
    pub fn get<'r>(&'r self, run: &Run<'r>, number: usize) -> Result<&'r [u8], OpError> {
        let at = |input: usize, at: usize| {
            let key = run.slice::<StringRef>(input)?.get(at).copied();
            let key = key.ok_or_else(|| OpError::input(input, "has fewer keys than there are types"))?;
            Ok(run.string(key))
        };
        match self {
            Keys::Each(first) if run.shape(first + number).elements() != 1 => {
                let why = format!("is of shape {}; a key is one string", run.shape(first + number));
                Err(OpError::input(first + number, why))
            }
            Keys::Each(first) => at(first + number, 0),
            Keys::Vector(input) => at(*input, number),
            Keys::Own(keys) => Ok(keys.get(number).map_or(&b""[..], |key| key)),
        }
    }
}

/// A dense feature.
#[derive(Debug)]
pub struct Dense {
    /// The type of its values.
    pub dtype: DType,
    /// The dimensions, without the first where that is open.
    pub shape: Vec<usize>,
    /// True where the first dimension is open.
    pub is_open: bool,
}

impl Dense {
    /// Values of one row, or where the first dimension is open of one step along it.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The features of an example that are wanted, and where keys, defaults and outputs are.
#[derive(Debug)]
pub struct Features {
    /// The types of sparse features.
    pub sparse: Vec<DType>,
    /// The dense features.
    pub dense: Vec<Dense>,
    /// Types of values and of splits.
    pub ragged: Vec<(DType, DType)>,
    /// The keys of sparse, dense and ragged features.
    pub keys: [Keys; 3],
    /// The input that is the first default of a dense feature.
    pub defaults: usize,
    /// The input that names the records, where there is one.
    pub names: Option<usize>,
    /// What a dense feature is that is there and has no list of values.
    pub without_list: WithoutList,
    /// True of SequenceExamples: the row splits of a ragged feature of a single record are a scalar, and not none, and as
    /// many names as records will do, whatever their shape.
    pub is_of_sequences: bool,
}

/// ParseExample and its like.
#[derive(Debug)]
struct Parse {
    version: Version,
    features: Features,
}

fn import(attributes: &Attributes<'_>, version: Version) -> Result<Box<dyn Operator>, OpError> {
    let sparse = attributes.dtypes_or_empty("sparse_types")?;
    let dense = dense_features(attributes, "Tdense", "dense_shapes")?;
    let ragged = match version {
        Version::Second => ragged_features(attributes, "ragged_value_types", "ragged_split_types")?,
        _ => Vec::new(),
    };
    let (keys, defaults) = match version {
        Version::First => {
            let first_dense = 2 + sparse.len();
            let keys = [Keys::Each(2), Keys::Each(first_dense), Keys::Own(Vec::new())];
            (keys, first_dense + dense.len())
        }
        Version::Second => ([Keys::Vector(2), Keys::Vector(3), Keys::Vector(4)], 5),
        Version::Single => {
            let (own_sparse, own_dense) =
                (attributes.strings("sparse_keys")?, attributes.strings("dense_keys")?);
            if (own_sparse.len(), own_dense.len()) != (sparse.len(), dense.len()) {
                return Err(OpError::attribute(
                    "dense_keys",
                    "or sparse_keys is not of as many as there are types",
                ));
            }
            ([Keys::Own(own_sparse), Keys::Own(own_dense), Keys::Own(Vec::new())], 1)
        }
    };
    if version != Version::First {
        check_number(attributes, "num_sparse", &[sparse.len()])?;
    }
    let names = (version != Version::Single).then_some(1);
    let features = Features {
        sparse,
        dense,
        ragged,
        keys,
        defaults,
        names,
        without_list: WithoutList::Default,
        is_of_sequences: false,
    };
    features.check()?;
    Ok(Box::new(Parse { version, features }))
}

/// Checks that an attribute that says how many features there are, where the file has it, says what their lists do.
///
/// # Errors
/// [`OpError::Attribute`] where it does not.
pub fn check_number(attributes: &Attributes<'_>, name: &str, lists: &[usize]) -> Result<(), OpError> {
    let Some(first) = lists.first() else { return Ok(()) };
    let number = attributes.int_or(name, *first as i64)?;
    match lists.iter().find(|list| **list as i64 != number) {
        None => Ok(()),
        Some(list) => Err(OpError::attribute(name, format!("is {number}, and a list of them is of {list}"))),
    }
}

/// The dense features that two lists describe.
///
/// # Errors
/// [`OpError::Attribute`] for lists of different lengths, and for shapes that cannot be.
pub fn dense_features(attributes: &Attributes<'_>, types: &str, shapes: &str) -> Result<Vec<Dense>, OpError> {
    let (dtypes, dims) = (attributes.dtypes_or_empty(types)?, attributes.shapes(shapes)?);
    if dtypes.len() != dims.len() {
        return Err(OpError::attribute(shapes, format!("is not of as many as {types}")));
    }
    dtypes.into_iter().zip(dims).map(|(dtype, dims)| dense(dtype, dims)).collect()
}

/// The types of values and splits of ragged features that two lists describe.
///
/// # Errors
/// [`OpError::Attribute`] for lists of different lengths.
pub fn ragged_features(
    attributes: &Attributes<'_>,
    values: &str,
    splits: &str,
) -> Result<Vec<(DType, DType)>, OpError> {
    let (types, split_types) = (attributes.dtypes_or_empty(values)?, attributes.dtypes_or_empty(splits)?);
    if types.len() != split_types.len() {
        return Err(OpError::attribute(splits, format!("is not of as many as {values}")));
    }
    Ok(types.into_iter().zip(split_types).collect())
}

fn dense(dtype: DType, shape: Option<Vec<i64>>) -> Result<Dense, OpError> {
    let bad = || OpError::attribute("dense_shapes", "has a shape that is open after its first dimension");
    let shape = shape.ok_or_else(bad)?;
    let is_open = matches!(shape.first(), Some(..0));
    let rest = &shape[usize::from(is_open)..];
    let shape: Option<Vec<usize>> = rest.iter().map(|dim| usize::try_from(*dim).ok()).collect();
    let dense = Dense { dtype, shape: shape.ok_or_else(bad)?, is_open };
    let elements = dense.shape.iter().try_fold(1usize, |all, dim| all.checked_mul(*dim));
    match elements {
        Some(0) if is_open => Err(OpError::attribute("dense_shapes", "has a shape without elements")),
        Some(_) => Ok(dense),
        None => Err(OpError::attribute("dense_shapes", "has a shape of too many elements")),
    }
}

impl Features {
    /// Checks that values can be of their types.
    ///
    /// # Errors
    /// [`OpError::Unsupported`] for another type.
    pub fn check(&self) -> Result<(), OpError> {
        let dense = self.dense.iter().map(|dense| dense.dtype);
        let ragged = self.ragged.iter().map(|(dtype, _)| *dtype);
        let mut all = self.sparse.iter().copied().chain(dense).chain(ragged);
        match all.find(|dtype| !matches!(dtype, DType::F32 | DType::I64 | DType::String)) {
            None => Ok(()),
            Some(other) => Err(OpError::Unsupported(format!(
                "parses features of {other}; float32, int64 and string are there"
            ))),
        }
    }

    /// Checks that vectors of keys, as far as their lengths are known, have one for each feature.
    ///
    /// # Errors
    /// [`OpError::Input`] for one that has not.
    pub fn check_keys(&self, input: impl Fn(usize) -> Option<usize>) -> Result<(), OpError> {
        let counts = [self.sparse.len(), self.dense.len(), self.ragged.len()];
        self.keys.iter().zip(counts).try_for_each(|(keys, count)| keys.check(count, &input))
    }

    /// How many outputs they are.
    pub fn outputs(&self) -> usize {
        3 * self.sparse.len() + self.dense.len() + 2 * self.ragged.len()
    }

    /// Calls `each` with the number of every record, itself, and what it has under a key, which may have no list.
    fn for_each<'r>(
        &self,
        run: &Run<'r>,
        (key, dtype, without_list): (&[u8], DType, WithoutList),
        mut each: impl FnMut(usize, StringRef, Option<Feature<'r>>) -> Result<(), OpError>,
    ) -> Result<(), OpError> {
        let name = std::str::from_utf8(key).map_err(|_| OpError::Invalid("a key is no UTF-8".into()))?;
        for (row, record) in run.slice::<StringRef>(0)?.iter().enumerate() {
            let found = Example::new(run.string(*record)).find(name).map_err(broken);
            found
                .and_then(|feature| without_list.taken(feature, key, dtype))
                .and_then(|feature| each(row, *record, feature))
                .map_err(|error| self.of_record(run, row, error))?;
        }
        Ok(())
    }

    /// An error with the record that it is of.
    pub fn of_record(&self, run: &Run<'_>, row: usize, error: OpError) -> OpError {
        let OpError::Invalid(why) = error else { return error };
        let names = self.names.and_then(|names| run.slice::<StringRef>(names).ok());
        let name = names
            .and_then(|names| names.get(row))
            .map_or(Cow::Borrowed("<unknown>"), |name| String::from_utf8_lossy(run.string(*name)));
        OpError::Invalid(format!("Name: {name}, example {row}: {why}"))
    }

    fn sparse(&self, run: &mut Run<'_>, number: usize, has_batch: bool) -> Result<(), OpError> {
        let key = self.keys[0].get(run, number)?;
        let dtype = self.sparse[number];
        let (mut all, mut most) = (0, 0);
        self.for_each(run, (key, dtype, WithoutList::Default), |_, _, feature| {
            let own = feature.map_or(Ok(0), |feature| count(&feature))?;
            all += own;
            most = most.max(own);
            Ok(())
        })?;
        let rank = 1 + usize::from(has_batch);
        let [indices, values, shape] = [0, 1, 2].map(|part| part * self.sparse.len() + number);
        set(run, indices, &[all, rank])?;
        set(run, values, &[all])?;
        set(run, shape, &[rank])?;
        let rows = run.slice::<StringRef>(0)?.len();
        let shape = run.out::<i64>(shape)?;
        if let [batch, .., _] = shape {
            *batch = rows as i64;
        }
        if let Some(last) = shape.last_mut() {
            *last = most as i64;
        }
        let (indices, values) = (run.out::<i64>(indices)?, run.out_bytes(values)?);
        let mut places = indices.chunks_exact_mut(rank);
        let mut at = 0;
        self.for_each(run, (key, dtype, WithoutList::Default), |row, record, feature| {
            let Some(feature) = feature else { return Ok(()) };
            let own = count(&feature)?;
            for (column, place) in places.by_ref().take(own).enumerate() {
                place.fill(row as i64);
                place[rank - 1] = column as i64;
            }
            let end = at + own * dtype.bytes();
            write(run, record, &feature, values.get_mut(at..end).unwrap_or_default())?;
            at = end;
            Ok(())
        })
    }

    fn ragged(&self, run: &mut Run<'_>, number: usize, has_batch: bool) -> Result<(), OpError> {
        let key = self.keys[2].get(run, number)?;
        let (dtype, split_type) = self.ragged[number];
        let first = 3 * self.sparse.len() + self.dense.len();
        let (values, splits) = (first + number, first + self.ragged.len() + number);
        let mut all = 0;
        self.for_each(run, (key, dtype, WithoutList::Default), |_, _, feature| {
            all += feature.map_or(Ok(0), |feature| count(&feature))?;
            Ok(())
        })?;
        let rows = run.slice::<StringRef>(0)?.len();
        set(run, values, &[all])?;
        match (has_batch, self.is_of_sequences) {
            (true, _) => set(run, splits, &[rows + 1])?,
            (false, true) => set(run, splits, &[])?,
            (false, false) => set(run, splits, &[0])?,
        }
        if split_type == DType::I32 && i32::try_from(all).is_err() {
            return Err(OpError::Invalid("has more values than its int32 row splits can say".into()));
        }
        let (values, splits) = (run.out_bytes(values)?, run.out_bytes(splits)?);
        if !splits.is_empty() {
            put(splits, 0, 0, split_type);
        }
        let mut at = 0;
        self.for_each(run, (key, dtype, WithoutList::Default), |row, record, feature| {
            if let Some(feature) = feature {
                let end = at + count(&feature)? * dtype.bytes();
                write(run, record, &feature, values.get_mut(at..end).unwrap_or_default())?;
                at = end;
            }
            if has_batch {
                put(splits, row + 1, at / dtype.bytes(), split_type);
            }
            Ok(())
        })
    }

    fn dense(&self, run: &mut Run<'_>, number: usize, has_batch: bool) -> Result<(), OpError> {
        let key = self.keys[1].get(run, number)?;
        let dense = &self.dense[number];
        let (dtype, output) = (dense.dtype, 3 * self.sparse.len() + number);
        let default = run.input(self.defaults + number)?;
        let shown = || String::from_utf8_lossy(key).into_owned();
        let elements = dense.elements();
        let rows = run.slice::<StringRef>(0)?.len();
        let mut row_elements = elements;
        if dense.is_open {
            let mut most = 0;
            self.for_each(run, (key, dtype, self.without_list), |_, _, feature| {
                let own = feature.map_or(Ok(0), |feature| count(&feature))?;
                if !own.is_multiple_of(elements) {
                    return Err(OpError::Invalid(format!(
                        "key: {}. Number of {dtype} values is not a multiple of stride length. Saw {own} values but \
                         {elements} are in a step",
                        shown()
                    )));
                }
                most = most.max(own);
                Ok(())
            })?;
            row_elements = most;
            if default.shape().elements() != 1 {
                let why = format!(
                    "has {} elements; a feature of open length takes one",
                    default.shape().elements()
                );
                return Err(OpError::input(self.defaults + number, why));
            }
        }
        let steps = dense.is_open.then_some(row_elements / elements.max(1));
        let dims = has_batch.then_some(rows).into_iter().chain(steps).chain(dense.shape.iter().copied());
        let shape = reshape::shape(dims).ok_or_else(|| OpError::Invalid("has too many dimensions".into()))?;
        run.set_output_shape(output, shape)?;
        let out = run.out_bytes(output)?;
        let row_bytes = row_elements * dtype.bytes();
        self.for_each(run, (key, dtype, self.without_list), |row, record, feature| {
            let to = out.get_mut(row * row_bytes..(row + 1) * row_bytes).unwrap_or_default();
            let own = feature.as_ref().map_or(Ok(0), count)?;
            match feature {
                Some(feature) if dense.is_open || own == elements => {
                    let (own, rest) = to.split_at_mut((own * dtype.bytes()).min(row_bytes));
                    write(run, record, &feature, own)?;
                    fill(rest, default.bytes(), dtype.bytes());
                }
                Some(_) => {
                    return Err(OpError::Invalid(format!(
                        "key: {}. Number of {dtype} values != expected. Values size: {own} but output shape: {:?}",
                        shown(),
                        dense.shape
                    )));
                }
                None if dense.is_open => fill(to, default.bytes(), dtype.bytes()),
                None if default.shape().elements() > 0 && default.bytes().len() == to.len() => {
                    to.copy_from_slice(default.bytes());
                }
                None => {
                    return Err(OpError::Invalid(format!(
                        "feature: {} (data type: {dtype}) is required but could not be found",
                        shown()
                    )));
                }
            }
            Ok(())
        })
    }

    /// The facts of their outputs, for records of this batch: open where it is not known whether there is one.
    ///
    /// # Errors
    /// [`OpError::Input`] for a default that cannot be one.
    pub fn facts(&self, inputs: &[&Fact], batch: Option<Option<Dim>>) -> Result<Vec<Fact>, OpError> {
        self.keys.iter().try_for_each(|keys| keys.need(inputs))?;
        self.check_keys(|index| inputs.get(index)?.dims.elements().size())?;
        if let Some(names) = self.names {
            shared::need_type(names, shared::input(inputs, names)?, &[DType::String])?;
        }
        for (number, dense) in self.dense.iter().enumerate() {
            let index = self.defaults + number;
            let default = shared::input(inputs, index)?;
            shared::need_type(index, default, &[dense.dtype])?;
            // Without elements it says that there is none, and of an open length it is one element.
            let count = default.dims.elements().known();
            let is_right = match dense.is_open {
                true => count.is_none_or(|count| count == 1),
                false => {
                    let own = || dense.shape.iter().map(|dim| Some(*dim));
                    matches!(count, None | Some(0))
                        || default.dims.get().is_none_or(|dims| {
                            let is_same =
                                |(dim, own): (&Dim, Option<usize>)| dim.size().is_none() || dim.size() == own;
                            dims.len() == dense.shape.len() && dims.iter().zip(own()).all(is_same)
                        })
                }
            };
            if !is_right {
                let why = format!("is of shape {}, and the feature of {:?}", default.dims, dense.shape);
                return Err(OpError::input(index, why));
            }
        }
        let rank = batch.map(|batch| 1 + i64::from(batch.is_some()));
        let rank = rank.map_or(Dim::Unknown, Dim::Known);
        let vector = |dtype, dim| Fact::new(dtype, Dims::new([dim]));
        let mut facts = Vec::new();
        let each = || self.sparse.iter();
        facts.extend(each().map(|_| Fact::new(DType::I64, Dims::new([Dim::Unknown, rank]))));
        facts.extend(each().map(|dtype| vector(*dtype, Dim::Unknown)));
        facts.extend(each().map(|_| vector(DType::I64, rank)));
        facts.extend(self.dense.iter().map(|dense| {
            let dims = batch.map(|batch| {
                let open = dense.is_open.then_some(Dim::Unknown);
                let own = dense.shape.iter().map(|dim| Dim::Known(*dim as i64));
                Dims::new(batch.into_iter().chain(open).chain(own).collect::<Vec<_>>())
            });
            Fact::new(dense.dtype, dims.unwrap_or(Dims::UNKNOWN))
        }));
        facts.extend(self.ragged.iter().map(|(dtype, _)| vector(*dtype, Dim::Unknown)));
        let rows = match batch {
            None if self.is_of_sequences => Dims::UNKNOWN,
            None => Dims::of_rank(1),
            Some(None) if self.is_of_sequences => Dims::scalar(),
            Some(None) => Dims::new([Dim::Known(0)]),
            Some(Some(batch)) => Dims::new([batch.plus(Dim::Known(1))]),
        };
        facts.extend(self.ragged.iter().map(|(_, splits)| Fact::new(*splits, rows.clone())));
        Ok(facts)
    }

    /// Writes all of them.
    ///
    /// # Errors
    /// What cannot be parsed.
    pub fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        self.check_keys(|index| Some(run.shape(index).elements()))?;
        if let Some(names) = self.names {
            let (own, records) = (run.shape(names), run.shape(0));
            let is_one_each = own == records || self.is_of_sequences && own.elements() == records.elements();
            if own.elements() > 0 && !is_one_each {
                return Err(OpError::input(names, "has not as many names as there are records"));
            }
        }
        if !self.is_of_sequences {
            for (row, record) in run.slice::<StringRef>(0)?.iter().enumerate() {
                let checked = Example::new(run.string(*record)).check_entries().map_err(broken);
                checked.map_err(|error| self.of_record(run, row, error))?;
            }
        }
        let has_batch = run.shape(0).rank() > 0;
        for number in 0..self.sparse.len() {
            self.sparse(run, number, has_batch)?;
        }
        for number in 0..self.dense.len() {
            self.dense(run, number, has_batch)?;
        }
        for number in 0..self.ragged.len() {
            self.ragged(run, number, has_batch)?;
        }
        Ok(())
    }
}

/// Fills with one element again and again.
pub fn fill(out: &mut [u8], element: &[u8], bytes: usize) {
    if let Some(element) = element.get(..bytes) {
        out.chunks_exact_mut(bytes).for_each(|to| to.copy_from_slice(element));
    }
}

/// Gives an output these dimensions.
///
/// # Errors
/// [`OpError::Internal`] when it is larger than was planned.
pub fn set(run: &mut Run<'_>, output: usize, dims: &[usize]) -> Result<(), OpError> {
    run.set_output_shape(output, Shape::new(dims)?)
}

impl Operator for Parse {
    fn name(&self) -> &'static str {
        match self.version {
            Version::First => "ParseExample",
            Version::Second => "ParseExampleV2",
            Version::Single => "ParseSingleExample",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let batch = self.version.batch(inputs)?;
        self.features.facts(inputs, batch)
    }

    fn max_outputs(&self, inputs: usize) -> usize {
        inputs.max(self.features.outputs())
    }

    fn reshape(&self, _: &mut Run<'_>) -> Option<()> {
        // The run sets every shape.
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        self.features.run(run)
    }
}
