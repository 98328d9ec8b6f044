//! Which features records have: kinds, counts, and in how many of them.

use std::collections::HashMap;

use tightfit_core::{BudgetError, MemoryBudget, Reservation};
use tightfit_format::example::list::ExampleListWithContext;
use tightfit_format::example::sequence::{FeatureList, SequenceExample};
use tightfit_format::example::{Example, ExampleError, Feature, FeatureKind};
use tightfit_format::limits::NAME_BYTES;
use tightfit_format::message::MessageKind;

/// The most features that are told apart; real records have a few hundred at most.
const MAX_FEATURES: usize = 1 << 16;

/// Memory of a feature beside its name: its summary, and its place in two lists and a table that grow by doubling.
const FEATURE_BYTES: u64 = 512;

/// Where in a record a feature stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// A feature of an Example.
    Features,
    /// A feature of the context of a SequenceExample or an ExampleListWithContext.
    Context,
    /// A feature list of a SequenceExample.
    FeatureLists,
    /// A feature of the examples of an ExampleListWithContext.
    Examples,
}

impl Scope {
    /// Its name, after the field of the message.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Features => "features",
            Scope::Context => "context",
            Scope::FeatureLists => "feature_lists",
            Scope::Examples => "examples",
        }
    }
}

/// The smallest and the largest of some counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

impl Range {
    fn of(value: u64) -> Range {
        Range { min: value, max: value }
    }

    fn include(into: &mut Option<Range>, other: Range) {
        let range = into.get_or_insert(other);
        *range = Range { min: range.min.min(other.min), max: range.max.max(other.max) };
    }
}

/// One feature over all records.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FeatureSummary {
    /// Where it stands.
    pub scope: Scope,
    /// Its name.
    pub name: String,
    /// What it holds: every kind that was seen, in the order they were.
    pub kinds: Vec<FeatureKind>,
    /// Records that have it; for [`Scope::Examples`], examples.
    pub records: u64,
    /// Records (or examples) that could have it.
    pub of_records: u64,
    /// Values of a record, or of a step of a feature list; `None` when there was no step.
    pub count: Option<Range>,
    /// Steps of a feature list.
    pub steps: Option<Range>,
    /// Bytes of a byte string.
    pub bytes: Option<Range>,
}

impl FeatureSummary {
    /// The share of records that have it, from 0 to 1.
    pub fn share(&self) -> f64 {
        self.records as f64 / self.of_records.max(1) as f64
    }
}

/// What one record has of a feature. A name that comes again replaces what was before.
#[derive(Debug, Clone, Default)]
struct Seen {
    kinds: [bool; 4],
    count: Option<Range>,
    steps: Option<Range>,
    bytes: Option<Range>,
}

/// Why a record cannot be summed up.
#[derive(Debug)]
pub(super) enum SchemaError {
    Example(ExampleError),
    TooMany,
    LongName(usize),
    Budget(BudgetError),
}

impl From<ExampleError> for SchemaError {
    fn from(error: ExampleError) -> Self {
        SchemaError::Example(error)
    }
}

impl std::fmt::Display for SchemaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SchemaError::Example(error) => write!(f, "{error}"),
            SchemaError::TooMany => write!(f, "more than {MAX_FEATURES} different features"),
            SchemaError::LongName(bytes) => {
                write!(f, "a feature's name of {bytes} bytes; at most {} are accepted", NAME_BYTES.max)
            }
            SchemaError::Budget(error) => write!(f, "{error}"),
        }
    }
}

/// Grows with the records it is shown.
pub(super) struct Schema {
    features: Vec<FeatureSummary>,
    /// What the current record has, by the number of the feature, and which those are.
    seen: Vec<Option<Seen>>,
    touched: Vec<usize>,
    /// Numbers by name, for each scope.
    numbers: [HashMap<Box<[u8]>, usize>; 4],
    /// Records by [`MessageKind::ALL`].
    kinds: [u64; 4],
    examples: u64,
    examples_range: Option<Range>,
    reservation: Reservation,
}

impl Schema {
    pub fn new(budget: &MemoryBudget) -> Result<Schema, BudgetError> {
        Ok(Schema {
            features: Vec::new(),
            seen: Vec::new(),
            touched: Vec::new(),
            numbers: Default::default(),
            kinds: [0; 4],
            examples: 0,
            examples_range: None,
            reservation: budget.try_reserve("schema", 0)?,
        })
    }

    /// Adds a record.
    pub fn add(&mut self, data: &[u8]) -> Result<(), SchemaError> {
        let kind = MessageKind::of(data);
        match kind {
            MessageKind::Example => self.add_features(Scope::Features, Example::new(data).features())?,
            MessageKind::SequenceExample => {
                let sequence = SequenceExample::new(data);
                self.add_features(Scope::Context, sequence.context())?;
                for entry in sequence.feature_lists() {
                    let (name, list) = entry?;
                    self.see(Scope::FeatureLists, name, seen_list(list)?)?;
                }
            }
            MessageKind::ExampleListWithContext => {
                let list = ExampleListWithContext::new(data);
                self.add_features(Scope::Context, list.context())?;
                self.commit();
                let mut examples = 0;
                for example in list.examples() {
                    self.add_features(Scope::Examples, example?.features())?;
                    self.commit();
                    examples += 1;
                }
                self.examples += examples;
                Range::include(&mut self.examples_range, Range::of(examples));
            }
            MessageKind::Other => {}
        }
        self.commit();
        if let Some(records) = self.kinds.get_mut(kind as usize) {
            *records += 1;
        }
        Ok(())
    }

    fn add_features<'a>(
        &mut self,
        scope: Scope,
        features: impl Iterator<Item = Result<(&'a [u8], Feature<'a>), ExampleError>>,
    ) -> Result<(), SchemaError> {
        for entry in features {
            let (name, feature) = entry?;
            self.see(scope, name, seen(&feature)?)?;
        }
        Ok(())
    }

    fn see(&mut self, scope: Scope, name: &[u8], seen: Seen) -> Result<(), SchemaError> {
        let known = self.numbers.get(scope as usize).and_then(|names| names.get(name));
        let number = match known {
            Some(number) => *number,
            None => self.insert(scope, name)?,
        };
        if let Some(slot) = self.seen.get_mut(number) {
            if slot.is_none() {
                self.touched.push(number);
            }
            *slot = Some(seen);
        }
        Ok(())
    }

    fn insert(&mut self, scope: Scope, name: &[u8]) -> Result<usize, SchemaError> {
        let number = self.features.len();
        if number == MAX_FEATURES {
            return Err(SchemaError::TooMany);
        }
        let name_bytes = name.len() as u64;
        if name_bytes > NAME_BYTES.max {
            return Err(SchemaError::LongName(name.len()));
        }
        // Once in the table, once as text, which is longer where the name is no UTF-8.
        let bytes = name_bytes.saturating_mul(4).saturating_add(FEATURE_BYTES);
        self.reservation.try_grow(bytes).map_err(SchemaError::Budget)?;
        self.features.push(FeatureSummary {
            scope,
            name: String::from_utf8_lossy(name).into_owned(),
            kinds: Vec::new(),
            records: 0,
            of_records: 0,
            count: None,
            steps: None,
            bytes: None,
        });
        self.seen.push(None);
        if let Some(names) = self.numbers.get_mut(scope as usize) {
            names.insert(Box::from(name), number);
        }
        Ok(number)
    }

    /// Adds what the current record has to the summaries.
    fn commit(&mut self) {
        for number in self.touched.drain(..) {
            let seen = self.seen.get_mut(number).and_then(Option::take);
            let (Some(seen), Some(feature)) = (seen, self.features.get_mut(number)) else { continue };
            feature.records += 1;
            for (kind, is_seen) in KINDS.into_iter().zip(seen.kinds) {
                if is_seen && !feature.kinds.contains(&kind) {
                    feature.kinds.push(kind);
                }
            }
            let FeatureSummary { count, steps, bytes, .. } = feature;
            for (into, range) in [(count, seen.count), (steps, seen.steps), (bytes, seen.bytes)] {
                if let Some(range) = range {
                    Range::include(into, range);
                }
            }
        }
    }

    /// Records by [`MessageKind::ALL`].
    pub fn kinds(&self) -> [u64; 4] {
        self.kinds
    }

    /// Examples of a record, for ExampleListWithContext.
    pub fn examples_range(&self) -> Option<Range> {
        self.examples_range
    }

    /// The features, by scope and name, and the reservation that covers them.
    pub fn finish(mut self) -> (Vec<FeatureSummary>, Reservation) {
        let [example, sequence, list, _] = self.kinds;
        for feature in &mut self.features {
            feature.of_records = match feature.scope {
                Scope::Features => example,
                Scope::Context => sequence + list,
                Scope::FeatureLists => sequence,
                Scope::Examples => self.examples,
            };
        }
        self.features.sort_by(|a, b| (a.scope, &a.name).cmp(&(b.scope, &b.name)));
        (self.features, self.reservation)
    }
}

const KINDS: [FeatureKind; 4] =
    [FeatureKind::Empty, FeatureKind::Bytes, FeatureKind::Float, FeatureKind::Int64];

fn seen(feature: &Feature<'_>) -> Result<Seen, ExampleError> {
    let mut seen = Seen { count: Some(Range::of(feature.count()? as u64)), ..Seen::default() };
    if let Some(is_seen) = seen.kinds.get_mut(feature.kind() as usize) {
        *is_seen = true;
    }
    for value in feature.bytes() {
        Range::include(&mut seen.bytes, Range::of(value?.len() as u64));
    }
    Ok(seen)
}

fn seen_list(list: FeatureList<'_>) -> Result<Seen, ExampleError> {
    let (mut all, mut steps) = (Seen::default(), 0);
    for step in list {
        let step = seen(&step?)?;
        steps += 1;
        all.kinds.iter_mut().zip(step.kinds).for_each(|(all, step)| *all |= step);
        for (into, range) in [(&mut all.count, step.count), (&mut all.bytes, step.bytes)] {
            if let Some(range) = range {
                Range::include(into, range);
            }
        }
    }
    all.steps = Some(Range::of(steps));
    Ok(all)
}
