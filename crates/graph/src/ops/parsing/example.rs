//! Serialized tf.train.Examples become tensors: ParseExample, ParseExampleV2 and ParseSingleExample.
//!
//! Of a batch of records each dense feature is a tensor `[batch, ..shape]`, where the first dimension of the shape may be open: rows are
//! then as long as the longest, filled up with the default. A sparse feature is indices, values and a shape, a ragged one
//! values and row splits; how many values there are the data says. Types are float32, int64 and string. A dense feature that
//! is not there is its default, and an error where that is empty. Of a single record, or a scalar, there is no batch.

use std::borrow::Cow;

use tightfit_core::{DType, Shape, StringRef};
use tightfit_format::example::{Example, Feature};

use super::features::{broken, count, of_type, write};
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// A key is an input of its own.
    First,
    /// The keys of each kind are one input.
    Second,
    /// Keys are attributes.
    Single,
}

/// A dense feature.
#[derive(Debug)]
struct Dense {
    dtype: DType,
    /// The dimensions, without the first where that is open.
    shape: Vec<usize>,
    is_open: bool,
}

impl Dense {
    /// Values of one row, or where the first dimension is open of one step along it.
    fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// An operator that parses examples.
#[derive(Debug)]
struct Parse {
    version: Version,
    sparse: Vec<DType>,
    dense: Vec<Dense>,
    /// Types of values and of splits.
    ragged: Vec<(DType, DType)>,
    sparse_keys: Vec<Box<[u8]>>,
    dense_keys: Vec<Box<[u8]>>,
}

fn import(attributes: &Attributes<'_>, version: Version) -> Result<Box<dyn Operator>, OpError> {
    let sparse = attributes.dtypes_or_empty("sparse_types")?;
    let types = attributes.dtypes_or_empty("Tdense")?;
    let shapes = attributes.shapes("dense_shapes")?;
    if types.len() != shapes.len() {
        return Err(OpError::attribute("dense_shapes", "is not of as many as Tdense"));
    }
    let (values, splits) = match version {
        Version::Second => {
            (attributes.dtypes_or_empty("ragged_value_types")?, attributes.dtypes_or_empty("ragged_split_types")?)
        }
        _ => (Vec::new(), Vec::new()),
    };
    if values.len() != splits.len() {
        return Err(OpError::attribute("ragged_split_types", "is not of as many as ragged_value_types"));
    }
    let all = sparse.iter().chain(&types).chain(&values);
    if let Some(other) = all.copied().find(|dtype| !matches!(dtype, DType::F32 | DType::I64 | DType::String)) {
        return Err(OpError::Unsupported(format!("parses features of {other}; float32, int64 and string are there")));
    }
    let dense = types.into_iter().zip(shapes).map(|(dtype, shape)| dense(dtype, shape));
    let keys = |name: &str| if version == Version::Single { attributes.strings(name) } else { Ok(Vec::new()) };
    let parse = Parse {
        version,
        sparse,
        dense: dense.collect::<Result<_, _>>()?,
        ragged: values.into_iter().zip(splits).collect(),
        sparse_keys: keys("sparse_keys")?,
        dense_keys: keys("dense_keys")?,
    };
    if version == Version::Single
        && (parse.sparse_keys.len(), parse.dense_keys.len()) != (parse.sparse.len(), parse.dense.len())
    {
        return Err(OpError::attribute("dense_keys", "or sparse_keys is not of as many as there are types"));
    }
    Ok(Box::new(parse))
}

fn dense(dtype: DType, shape: Option<Vec<i64>>) -> Result<Dense, OpError> {
    let bad = || OpError::attribute("dense_shapes", "has a shape that is open behind its first dimension");
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

/// The kind of a feature.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Sparse,
    Dense,
    Ragged,
}

impl Parse {
    /// The input that holds the default of a dense feature.
    fn default_input(&self, number: usize) -> usize {
        let before = match self.version {
            Version::First => 2 + self.sparse.len() + self.dense.len(),
            Version::Second => 5,
            Version::Single => 1,
        };
        before + number
    }

    fn key<'r>(&'r self, run: &Run<'r>, kind: Kind, number: usize) -> Result<&'r [u8], OpError> {
        let at = |input: usize, at: usize| {
            let key = run.slice::<StringRef>(input)?.get(at).copied();
            let key = key.ok_or_else(|| OpError::input(input, "has fewer keys than there are types"))?;
            Ok(run.string(key))
        };
        let own = |keys: &'r [Box<[u8]>]| keys.get(number).map_or(&b""[..], |key| key);
        match (self.version, kind) {
            (Version::First, Kind::Sparse) => at(2 + number, 0),
            (Version::First, _) => at(2 + self.sparse.len() + number, 0),
            (Version::Second, Kind::Sparse) => at(2, number),
            (Version::Second, Kind::Dense) => at(3, number),
            (Version::Second, Kind::Ragged) => at(4, number),
            (Version::Single, Kind::Sparse) => Ok(own(&self.sparse_keys)),
            (Version::Single, _) => Ok(own(&self.dense_keys)),
        }
    }

    /// Calls `each` with the number of every record, itself, and what it has under a key.
    fn for_each<'r>(
        &self,
        run: &Run<'r>,
        key: &[u8],
        dtype: DType,
        mut each: impl FnMut(usize, StringRef, Option<Feature<'r>>) -> Result<(), OpError>,
    ) -> Result<(), OpError> {
        let name = std::str::from_utf8(key).map_err(|_| OpError::Invalid("a key is no UTF-8".into()))?;
        for (row, record) in run.slice::<StringRef>(0)?.iter().enumerate() {
            let found = Example::new(run.string(*record)).find(name).map_err(broken);
            found
                .and_then(|feature| of_type(feature, key, dtype))
                .and_then(|feature| each(row, *record, feature))
                .map_err(|error| self.of_record(run, row, error))?;
        }
        Ok(())
    }

    /// An error with the record that it is of.
    fn of_record(&self, run: &Run<'_>, row: usize, error: OpError) -> OpError {
        let OpError::Invalid(why) = error else { return error };
        let names = if self.version == Version::Single { None } else { run.slice::<StringRef>(1).ok() };
        let name = names.and_then(|names| names.get(row)).map_or(Cow::Borrowed("<unknown>"), |name| {
            String::from_utf8_lossy(run.string(*name))
        });
        OpError::Invalid(format!("Name: {name}, example {row}: {why}"))
    }

    fn sparse(&self, run: &mut Run<'_>, number: usize, has_batch: bool) -> Result<(), OpError> {
        let key = self.key(run, Kind::Sparse, number)?;
        let dtype = self.sparse[number];
        let (mut all, mut most) = (0, 0);
        self.for_each(run, key, dtype, |_, _, feature| {
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
        self.for_each(run, key, dtype, |row, record, feature| {
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
        let key = self.key(run, Kind::Ragged, number)?;
        let (dtype, split_type) = self.ragged[number];
        let first = 3 * self.sparse.len() + self.dense.len();
        let (values, splits) = (first + number, first + self.ragged.len() + number);
        let mut all = 0;
        self.for_each(run, key, dtype, |_, _, feature| {
            all += feature.map_or(Ok(0), |feature| count(&feature))?;
            Ok(())
        })?;
        let rows = run.slice::<StringRef>(0)?.len();
        set(run, values, &[all])?;
        set(run, splits, &[if has_batch { rows + 1 } else { 0 }])?;
        if split_type == DType::I32 && i32::try_from(all).is_err() {
            return Err(OpError::Invalid("has more values than its int32 row splits can say".into()));
        }
        let (values, splits) = (run.out_bytes(values)?, run.out_bytes(splits)?);
        if has_batch {
            put(splits, 0, 0, split_type);
        }
        let mut at = 0;
        self.for_each(run, key, dtype, |row, record, feature| {
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
        let key = self.key(run, Kind::Dense, number)?;
        let dense = &self.dense[number];
        let (dtype, output) = (dense.dtype, 3 * self.sparse.len() + number);
        let default = run.input(self.default_input(number))?;
        let shown = || String::from_utf8_lossy(key).into_owned();
        let elements = dense.elements();
        let rows = run.slice::<StringRef>(0)?.len();
        let mut row_elements = elements;
        if dense.is_open {
            let mut most = 0;
            self.for_each(run, key, dtype, |_, _, feature| {
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
            if has_batch && default.shape().elements() != 1 {
                let why = format!("has {} elements; a feature of open length takes one", default.shape().elements());
                return Err(OpError::input(self.default_input(number), why));
            }
        }
        let steps = dense.is_open.then_some(row_elements / elements.max(1));
        let dims = has_batch.then_some(rows).into_iter().chain(steps).chain(dense.shape.iter().copied());
        let shape = reshape::shape(dims).ok_or_else(|| OpError::Invalid("has too many dimensions".into()))?;
        run.set_output_shape(output, shape)?;
        let out = run.out_bytes(output)?;
        let row_bytes = row_elements * dtype.bytes();
        self.for_each(run, key, dtype, |row, record, feature| {
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
                None if default.bytes().len() == to.len() => to.copy_from_slice(default.bytes()),
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
}

/// Fills with one element again and again.
fn fill(out: &mut [u8], element: &[u8], bytes: usize) {
    if let Some(element) = element.get(..bytes) {
        out.chunks_exact_mut(bytes).for_each(|to| to.copy_from_slice(element));
    }
}

fn set(run: &mut Run<'_>, output: usize, dims: &[usize]) -> Result<(), OpError> {
    Ok(run.set_output_shape(output, Shape::new(dims)?)?)
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
        let records = shared::input(inputs, 0)?;
        shared::need_type(0, records, &[DType::String])?;
        let batch = match (self.version, records.dims.get()) {
            (Version::Single, Some([]) | None) => Some(None),
            (Version::First, None) => Some(Some(Dim::Unknown)),
            (Version::Second, None) => None,
            (Version::Second, Some([])) => Some(None),
            (Version::First | Version::Second, Some([batch])) => Some(Some(*batch)),
            _ => return Err(OpError::input(0, format!("is of shape {}, which cannot be parsed", records.dims))),
        };
        for (number, dense) in self.dense.iter().enumerate() {
            let index = self.default_input(number);
            let default = shared::input(inputs, index)?;
            shared::need_type(index, default, &[dense.dtype])?;
            let is_right = |count: i64| count == 0 || count == dense.elements() as i64 || dense.is_open;
            if default.dims.elements().known().is_some_and(|count| !is_right(count)) {
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
            None => Dim::Unknown,
            Some(None) => Dim::Known(0),
            Some(Some(batch)) => batch.plus(Dim::Known(1)),
        };
        facts.extend(self.ragged.iter().map(|(_, splits)| vector(*splits, rows)));
        Ok(facts)
    }

    fn max_outputs(&self, inputs: usize) -> usize {
        inputs.max(3 * self.sparse.len() + self.dense.len() + 2 * self.ragged.len())
    }

    fn reshape(&self, _: &mut Run<'_>) -> Option<()> {
        // The run sets every shape.
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
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
