//! Parses one record into one element: its entries are walked once and those asked for noted, then each goes straight
//! into the memory of its field.

use std::collections::HashMap;
use std::mem;

use tightfit_core::{DType, MAX_RANK, MemoryBudget, Reservation, Shape};
use tightfit_format::example::list::ExampleListWithContext;
use tightfit_format::example::sequence::{FeatureList, SequenceExample};
use tightfit_format::example::{Example, ExampleError, Feature, FeatureKind};

use super::spec::{DefaultValue, FeatureForm, FeatureSpec, MessageForm, ParseSpec, Partition};
use crate::convert::cast;
use crate::error::{DataError, Defect, Needed, RowFault};
use crate::feature::numbers;
use crate::flow::element::{Element, ElementView};
use crate::flow::maps::{MapWorker, Verdict, recycled};

/// An element whose field is smaller than what it is to hold.
const NO_ROOM: &str = "an element has no room for a feature";

const PURPOSE: &str = "parse";

/// Positions of entries that are remembered.
const MAX_GUESSES: usize = 1 << 12;

/// Which entry of a record is which of the names asked for.
#[derive(Default)]
struct Names {
    names: Vec<String>,
    numbers: HashMap<Vec<u8>, usize>,
    /// What the entry at each position was the last time: most files have the same order in all records.
    guesses: Vec<usize>,
}

impl Names {
    /// The number of `name`, which is asked for.
    fn add(&mut self, name: &str) -> usize {
        let names = &mut self.names;
        *self.numbers.entry(name.as_bytes().to_vec()).or_insert_with(|| {
            names.push(name.to_string());
            names.len() - 1
        })
    }

    #[inline]
    fn find(&mut self, position: usize, name: &[u8]) -> Option<usize> {
        let guess = self.guesses.get(position).copied();
        if let Some(guess) = guess
            && self.names.get(guess).is_some_and(|known| known.as_bytes() == name)
        {
            return Some(guess);
        }
        let number = self.numbers.get(name).copied()?;
        if position < MAX_GUESSES {
            self.guesses.resize(self.guesses.len().max(position + 1), 0);
            if let Some(guess) = self.guesses.get_mut(position) {
                *guess = number;
            }
        }
        Some(number)
    }
}

/// A feature to parse, made ready.
struct Target {
    spec: FeatureSpec,
    /// The number of its name, and of that of its partition.
    number: usize,
    partition: usize,
    /// The shape of a record's or step's values, if fixed; else what is after the first dimension.
    shape: Shape,
    elements: usize,
    default: Vec<u8>,
}

impl Target {
    fn new(spec: &FeatureSpec, names: &mut Names) -> Result<Target, DataError> {
        let number = names.add(&spec.name);
        let (dims, partition): (&[usize], _) = match &spec.form {
            FeatureForm::Fixed(dims) | FeatureForm::Variable(dims) => (dims, number),
            FeatureForm::Ragged(Partition::RowLengths(key) | Partition::RowSplits(key)) => {
                (&[], names.add(key))
            }
        };
        let shape = Shape::new(dims).map_err(|e| DataError::Spec(format!("{:?}: {e}", spec.name)))?;
        let default = spec.default_bytes().map_err(DataError::Spec)?;
        Ok(Target { spec: spec.clone(), number, partition, shape, elements: shape.elements(), default })
    }

    fn missing(&self) -> RowFault {
        RowFault::MissingFeature { feature: self.spec.name.clone() }
    }

    fn wrong(&self, fault: RowFault) -> RowFault {
        match fault {
            RowFault::Range { .. } | RowFault::Example(_) | RowFault::Cast { .. } | RowFault::Map(_) => {
                RowFault::Feature { feature: self.spec.name.clone(), fault: Box::new(fault) }
            }
            fault => fault,
        }
    }

    /// `[count, ...]` for `count` times this shape.
    fn times(&self, count: usize) -> Result<Shape, RowFault> {
        let mut dims = [0; MAX_RANK];
        let too_large = || RowFault::Feature {
            feature: self.spec.name.clone(),
            fault: Box::new(RowFault::Map("its shape has too many dimensions or elements".to_string())),
        };
        let dims = dims.get_mut(..=self.shape.rank()).ok_or_else(too_large)?;
        if let Some((first, rest)) = dims.split_first_mut() {
            *first = count;
            rest.copy_from_slice(&self.shape);
        }
        Shape::new(dims).map_err(|_| too_large())
    }

    /// The one byte string that a raw feature is.
    fn raw_bytes<'a>(&self, feature: &Feature<'a>) -> Result<&'a [u8], RowFault> {
        let name = &self.spec.name;
        if feature.kind() != FeatureKind::Bytes {
            return Err(self.kind(feature.kind()));
        }
        let mut values = feature.bytes();
        match (values.next().transpose()?, values.next()) {
            (Some(value), None) => Ok(value),
            _ => Err(RowFault::Count { feature: name.clone(), expected: 1, found: feature.count()? }),
        }
    }

    fn kind(&self, found: FeatureKind) -> RowFault {
        RowFault::Kind { feature: self.spec.name.clone(), dtype: self.spec.dtype, found }
    }

    /// Values of `feature`; of a raw one, the numbers in its bytes.
    fn count(&self, feature: &Feature<'_>) -> Result<usize, RowFault> {
        let Some(raw) = self.spec.raw else { return Ok(feature.count()?) };
        let found_bytes = self.raw_bytes(feature)?.len();
        if found_bytes.is_multiple_of(raw.bytes()) {
            return Ok(found_bytes / raw.bytes());
        }
        let expected_bytes = found_bytes.next_multiple_of(raw.bytes());
        Err(RowFault::RawBytes { feature: self.spec.name.clone(), expected_bytes, found_bytes })
    }

    /// Writes the `expected` values of `feature` into field `index` of `out`, from its value `at` on.
    fn values(
        &self,
        feature: &Feature<'_>,
        expected: usize,
        out: &mut Element,
        index: usize,
        at: usize,
    ) -> Result<(), RowFault> {
        let dtype = self.spec.dtype;
        let from = at * dtype.bytes();
        if let Some(raw) = self.spec.raw {
            let bytes = self.raw_bytes(feature)?;
            let expected_bytes = expected * raw.bytes();
            if bytes.len() != expected_bytes {
                let (feature, found_bytes) = (self.spec.name.clone(), bytes.len());
                return Err(RowFault::RawBytes { feature, expected_bytes, found_bytes });
            }
            let target = out.field_mut(index)?.get_mut(from..).needed(NO_ROOM)?;
            return cast(raw, bytes, dtype, target).map_err(|fault| self.wrong(fault));
        }
        if dtype != DType::String {
            let target = out.field_mut(index)?.get_mut(from..).needed(NO_ROOM)?;
            let target = target.get_mut(..expected * dtype.bytes()).needed(NO_ROOM)?;
            return self.numbers(feature, expected, target);
        }
        if !matches!(feature.kind(), FeatureKind::Bytes | FeatureKind::Empty) {
            return Err(self.kind(feature.kind()));
        }
        let mut found = 0;
        for value in feature.bytes() {
            let value = value?;
            if found < expected {
                put_string(out, index, at + found, value)?;
            }
            found += 1;
        }
        self.check_count(expected, found)
    }

    fn numbers(&self, feature: &Feature<'_>, expected: usize, target: &mut [u8]) -> Result<(), RowFault> {
        let found = numbers(feature, self.spec.dtype, target).map_err(|fault| self.wrong(fault))?;
        self.check_count(expected, found.ok_or_else(|| self.kind(feature.kind()))?)
    }

    fn check_count(&self, expected: usize, found: usize) -> Result<(), RowFault> {
        if found == expected {
            return Ok(());
        }
        Err(RowFault::Count { feature: self.spec.name.clone(), expected, found })
    }

    /// Adds the field of a feature of a record.
    fn add(&self, found: &[Option<Feature<'_>>], out: &mut Element) -> Result<(), RowFault> {
        let index = out.added();
        let is_there = |feature: &&Feature<'_>| feature.kind() != FeatureKind::Empty;
        let find = |number: usize| found.get(number).and_then(Option::as_ref).filter(is_there);
        let feature = find(self.number);
        match (&self.spec.form, feature) {
            (FeatureForm::Fixed(_), Some(feature)) => {
                let target = out.add(self.shape)?;
                if self.spec.dtype == DType::String || self.spec.raw.is_some() {
                    return self.values(feature, self.elements, out, index, 0);
                }
                self.numbers(feature, self.elements, target)
            }
            (FeatureForm::Fixed(_), None) => self.add_default(out, index),
            (_, None) if !self.spec.allow_missing => Err(self.missing()),
            (FeatureForm::Variable(_), None) => Ok(out.add(self.times(0)?).map(drop)?),
            (FeatureForm::Variable(_), Some(feature)) => {
                self.add_variable(feature, out, index)?;
                Ok(())
            }
            (FeatureForm::Ragged(partition), feature) => {
                let values = match feature {
                    Some(feature) => self.add_variable(feature, out, index)?,
                    None => out.add(self.times(0)?).map(|_| 0)?,
                };
                self.add_splits(partition, find(self.partition), values, out)
            }
        }
    }

    /// Adds a field of all values of `feature`; how many rows it has.
    fn add_variable(
        &self,
        feature: &Feature<'_>,
        out: &mut Element,
        index: usize,
    ) -> Result<usize, RowFault> {
        let (count, of_one) = (self.count(feature)?, self.elements.max(1));
        if !count.is_multiple_of(of_one) {
            let expected = count.next_multiple_of(of_one);
            return Err(RowFault::Count { feature: self.spec.name.clone(), expected, found: count });
        }
        out.add(self.times(count / of_one)?)?;
        self.values(feature, count, out, index, 0)?;
        Ok(count / of_one)
    }

    fn add_default(&self, out: &mut Element, index: usize) -> Result<(), RowFault> {
        let default = self.spec.default.as_ref().ok_or_else(|| self.missing())?;
        out.add(self.shape)?;
        if let DefaultValue::Strings(strings) = default {
            for at in 0..self.elements {
                let string = strings.get(at).or_else(|| strings.first()).needed("a default has no values")?;
                put_string(out, index, at, string)?;
            }
            return Ok(());
        }
        for part in out.field_mut(index)?.chunks_exact_mut(self.default.len().max(1)) {
            part.copy_from_slice(&self.default);
        }
        Ok(())
    }

    /// Adds the row splits of `values` values, which the feature `partition` tells.
    fn add_splits(
        &self,
        form: &Partition,
        partition: Option<&Feature<'_>>,
        values: usize,
        out: &mut Element,
    ) -> Result<(), RowFault> {
        let (Partition::RowLengths(name) | Partition::RowSplits(name)) = form;
        let wrong = |why: &str| RowFault::Feature {
            feature: name.clone(),
            fault: Box::new(RowFault::Map(why.to_string())),
        };
        let partition = match partition {
            Some(feature) if feature.kind() == FeatureKind::Int64 => *feature,
            Some(feature) => {
                let (feature, found) = (name.clone(), feature.kind());
                return Err(RowFault::Kind { feature, dtype: DType::I64, found });
            }
            None if values == 0 => {
                out.add(one_dim(1)?)?.fill(0);
                return Ok(());
            }
            None => return Err(RowFault::MissingFeature { feature: name.clone() }),
        };
        let are_lengths = matches!(form, Partition::RowLengths(_));
        let count = partition.count()?;
        let splits = out.add(one_dim(count + usize::from(are_lengths))?)?;
        let mut splits = splits.as_chunks_mut::<8>().0.iter_mut();
        let mut last = 0i64;
        if are_lengths && let Some(first) = splits.next() {
            *first = last.to_le_bytes();
        }
        for (value, to) in partition.ints().zip(splits) {
            let next = if are_lengths { last.checked_add(value?) } else { Some(value?) };
            let next = next.filter(|next| *next >= last).ok_or_else(|| wrong("its rows go backwards"))?;
            *to = next.to_le_bytes();
            last = next;
        }
        if count == 0 && !are_lengths || usize::try_from(last) != Ok(values) {
            return Err(wrong(&format!("its rows end at value {last}, and there are {values}")));
        }
        Ok(())
    }

    /// Adds the fields of a feature of steps, which `steps` gives one after the other.
    fn add_steps<'a>(
        &self,
        steps: impl Iterator<Item = Result<Option<Feature<'a>>, ExampleError>> + Clone,
        out: &mut Element,
    ) -> Result<(), RowFault> {
        let index = out.added();
        let is_fixed = matches!(self.spec.form, FeatureForm::Fixed(_));
        let (mut count, mut values) = (0usize, 0usize);
        for step in steps.clone() {
            count += 1;
            if !is_fixed && let Some(step) = step? {
                values += step.count()?;
            }
        }
        if is_fixed {
            out.add(self.times(count)?)?;
            for (at, step) in steps.enumerate() {
                let step = step?.ok_or_else(|| self.missing())?;
                let of_one = self.elements;
                self.values(&step, of_one, out, index, at * of_one)?;
            }
            return Ok(());
        }
        out.add(self.times(values)?)?;
        out.add(one_dim(count + 1)?)?;
        let mut at = 0;
        for (number, step) in steps.enumerate() {
            put_split(out, index + 1, number, at)?;
            let Some(step) = step?.filter(|step| step.kind() != FeatureKind::Empty) else { continue };
            let of_step = step.count()?;
            self.values(&step, of_step, out, index, at)?;
            at += of_step;
        }
        Ok(put_split(out, index + 1, count, at)?)
    }
}

fn one_dim(count: usize) -> Result<Shape, RowFault> {
    Shape::new(&[count]).map_err(|e| RowFault::Map(e.to_string()))
}

fn put_split(out: &mut Element, index: usize, number: usize, value: usize) -> Result<(), Defect> {
    let to = out.field_mut(index)?.as_chunks_mut::<8>().0.get_mut(number);
    *to.needed(NO_ROOM)? = (value as i64).to_le_bytes();
    Ok(())
}

/// Makes element `at` of string field `index` a copy of `value`.
fn put_string(out: &mut Element, index: usize, at: usize, value: &[u8]) -> Result<(), RowFault> {
    let string = out.add_text(value)?;
    Ok(out.put_string(index, at, string)?)
}

/// See the module.
pub(super) struct ParseWorker {
    field: usize,
    message: MessageForm,
    features: Vec<Target>,
    steps: Vec<Target>,
    names: Names,
    step_names: Names,
    /// What was found of each name; empty between records.
    found: Vec<Option<Feature<'static>>>,
    lists: Vec<Option<FeatureList<'static>>>,
    /// Of each example of a list, what was found of each name.
    examples: Vec<Option<Feature<'static>>>,
    example_bytes: Reservation,
}

impl ParseWorker {
    pub fn new(spec: &ParseSpec, field: usize, budget: &MemoryBudget) -> Result<ParseWorker, DataError> {
        let (mut names, mut step_names) = (Names::default(), Names::default());
        let targets = |specs: &[FeatureSpec], names: &mut Names| {
            specs.iter().map(|spec| Target::new(spec, names)).collect::<Result<Vec<_>, _>>()
        };
        Ok(ParseWorker {
            field,
            message: spec.message,
            features: targets(&spec.features, &mut names)?,
            steps: targets(&spec.steps, &mut step_names)?,
            names,
            step_names,
            found: Vec::new(),
            lists: Vec::new(),
            examples: Vec::new(),
            example_bytes: budget.try_reserve(PURPOSE, 0)?,
        })
    }

    /// Adds the features that `entries` are.
    fn features<'a>(
        &mut self,
        entries: impl Iterator<Item = Result<(&'a [u8], Feature<'a>), ExampleError>>,
        out: &mut Element,
    ) -> Result<(), RowFault> {
        let mut found: Vec<Option<Feature<'a>>> = mem::take(&mut self.found);
        found.resize(self.names.names.len(), None);
        let filled = note(entries, &mut self.names, &mut found)
            .and_then(|()| self.features.iter().try_for_each(|target| target.add(&found, out)));
        self.found = recycled(found);
        filled
    }

    /// Adds the steps of a sequence.
    fn sequence(&mut self, data: &[u8], out: &mut Element) -> Result<(), RowFault> {
        let mut lists: Vec<Option<FeatureList<'_>>> = mem::take(&mut self.lists);
        lists.resize(self.step_names.names.len(), None);
        let filled = note(SequenceExample::new(data).feature_lists(), &mut self.step_names, &mut lists)
            .and_then(|()| {
                self.steps.iter().try_for_each(|target| match lists.get(target.number) {
                    Some(Some(list)) => target.add_steps(list.clone().map(|step| step.map(Some)), out),
                    _ if target.spec.allow_missing => target.add_steps(std::iter::empty(), out),
                    _ => Err(target.missing()),
                })
            });
        self.lists = recycled(lists);
        filled
    }

    /// Adds the examples of a list.
    fn examples(&mut self, data: &[u8], out: &mut Element) -> Result<(), RowFault> {
        let width = self.step_names.names.len();
        let mut table: Vec<Option<Feature<'_>>> = mem::take(&mut self.examples);
        let filled = (|| {
            let mut count = 0usize;
            for example in ExampleListWithContext::new(data).examples() {
                let from = table.len();
                if table.capacity() < from + width {
                    let more = from.max(16 * width);
                    self.example_bytes.try_grow((more * size_of::<Option<Feature<'_>>>()) as u64)?;
                    table.reserve_exact(more);
                }
                table.resize(from + width, None);
                let row = table.get_mut(from..).needed("a list of Examples has lost one")?;
                note(example?.features(), &mut self.step_names, row)?;
                count += 1;
            }
            for target in &self.steps {
                let number = target.number;
                let step = |example| table.get(example * width + number).copied().flatten();
                let is_optional = !matches!(target.spec.form, FeatureForm::Fixed(_));
                let step = |example| match step(example) {
                    None if is_optional && !target.spec.allow_missing => Err(target.missing()),
                    found => Ok(found),
                };
                if let Some(Err(missing)) = (0..count).map(step).find(Result::is_err) {
                    return Err(missing);
                }
                target.add_steps((0..count).map(|example| Ok(step(example).ok().flatten())), out)?;
            }
            Ok(())
        })();
        self.examples = recycled(table);
        filled
    }
}

/// Puts each entry that is asked for where its name's number is; the last one of a name counts.
#[inline]
fn note<'a, T>(
    entries: impl Iterator<Item = Result<(&'a [u8], T), ExampleError>>,
    names: &mut Names,
    found: &mut [Option<T>],
) -> Result<(), RowFault> {
    for (position, entry) in entries.enumerate() {
        let (name, value) = entry?;
        if let Some(to) = names.find(position, name).and_then(|number| found.get_mut(number)) {
            *to = Some(value);
        }
    }
    Ok(())
}

impl MapWorker for ParseWorker {
    fn run(&mut self, input: &ElementView<'_>, out: &mut Element) -> Result<Verdict, RowFault> {
        for index in (0..input.places().len()).filter(|index| *index != self.field) {
            if let Some(tensor) = input.tensor(index) {
                out.add_copy(tensor, input.text())?;
            }
        }
        let data = input.string(self.field)?;
        match self.message {
            MessageForm::Example => self.features(Example::new(data).features(), out)?,
            MessageForm::SequenceExample => {
                self.features(SequenceExample::new(data).context(), out)?;
                self.sequence(data, out)?;
            }
            MessageForm::ExampleListWithContext => {
                self.features(ExampleListWithContext::new(data).context(), out)?;
                self.examples(data, out)?;
            }
        }
        Ok(Verdict::Keep)
    }
}
