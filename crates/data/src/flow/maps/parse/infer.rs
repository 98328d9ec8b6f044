//! What there is to parse, learnt from the first records.
//!
//! A feature that is in all of them with the same number of values has a fixed shape: none for one value, else
//! `[values]`. All others are variable. One that never holds anything has no type, and is left out.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use tightfit_core::DType;
use tightfit_format::example::list::ExampleListWithContext;
use tightfit_format::example::sequence::SequenceExample;
use tightfit_format::example::{Example, Feature, FeatureKind};
use tightfit_format::message::MessageKind;

use super::spec::{FeatureForm, FeatureSpec, MessageForm, ParseSpec};
use crate::error::{DataError, RowFault};
use crate::flow::pipeline::Pipeline;

/// Records that are looked at.
const RECORDS: usize = 64;

/// A record with more features than this is not one to be parsed without saying what is wanted.
const MAX_FEATURES: usize = 4096;

/// What was seen of a feature.
struct Seen {
    kind: FeatureKind,
    /// Values each time, if it was there; `Some(None)` when that differed.
    count: Option<Option<usize>>,
    /// The last unit it was in, and in how many it was.
    last: usize,
    units: usize,
}

/// The features of so many units: records, or examples of lists.
#[derive(Default)]
struct Features {
    seen: BTreeMap<String, Seen>,
    units: usize,
}

impl Features {
    /// Sees `feature` in the unit number `units`; nothing for a list without steps.
    fn add(&mut self, name: &[u8], feature: Option<&Feature<'_>>) -> Result<(), RowFault> {
        let name = String::from_utf8_lossy(name).into_owned();
        let is_full = self.seen.len() >= MAX_FEATURES;
        let wrong = |why: String| Err(RowFault::Map(why));
        let seen = match self.seen.entry(name) {
            Entry::Vacant(_) if is_full => {
                return wrong(format!(
                    "it has more than {MAX_FEATURES} features; say which of them to parse"
                ));
            }
            Entry::Vacant(entry) => {
                entry.insert(Seen { kind: FeatureKind::Empty, count: None, last: usize::MAX, units: 0 })
            }
            Entry::Occupied(entry) => entry.into_mut(),
        };
        if seen.last != self.units {
            (seen.last, seen.units) = (self.units, seen.units + 1);
        }
        let Some(feature) = feature else { return Ok(()) };
        let count = feature.count()?;
        seen.count = Some(seen.count.unwrap_or(Some(count)).filter(|same| *same == count));
        match (seen.kind, feature.kind()) {
            (_, FeatureKind::Empty) => {}
            (FeatureKind::Empty, kind) => seen.kind = kind,
            (before, found) if before != found => {
                return wrong(format!("a feature holds {found} here and {before} elsewhere"));
            }
            _ => {}
        }
        Ok(())
    }

    fn specs(self, message: MessageForm, is_step: bool) -> Vec<FeatureSpec> {
        let spec = |(name, seen): (String, Seen)| {
            let dtype = match seen.kind {
                FeatureKind::Empty => return None,
                FeatureKind::Bytes => DType::String,
                FeatureKind::Float => DType::F32,
                FeatureKind::Int64 => DType::I64,
            };
            let is_in_all = seen.units == self.units;
            let is_list = is_step && message == MessageForm::SequenceExample;
            let form = match seen.count.flatten() {
                Some(1) if is_list || is_in_all => FeatureForm::Fixed(Vec::new()),
                Some(count) if count > 0 && (is_list || is_in_all) => FeatureForm::Fixed(vec![count]),
                _ => FeatureForm::Variable(Vec::new()),
            };
            let allow_missing = !is_in_all || form == FeatureForm::Variable(Vec::new());
            Some(FeatureSpec { name, dtype, form, raw: None, default: None, allow_missing })
        };
        self.seen.into_iter().filter_map(spec).collect()
    }
}

/// The spec for the strings that are field `field` of the elements of `pipeline`.
pub(super) fn infer(pipeline: &mut Pipeline, field: usize) -> Result<ParseSpec, DataError> {
    let (mut features, mut steps) = (Features::default(), Features::default());
    let mut message = MessageForm::Example;
    let mut records = 0;
    while records < RECORDS && pipeline.advance()? {
        let row = pipeline.current();
        let bad = |fault| pipeline.context().names.bad(row.origin(), fault);
        let record = row.string(field).map_err(|defect| bad(defect.into()))?;
        let found = match MessageKind::of(record) {
            // Also a sequence without lists, and a list of examples without features.
            MessageKind::Example => message,
            MessageKind::SequenceExample => MessageForm::SequenceExample,
            MessageKind::ExampleListWithContext => MessageForm::ExampleListWithContext,
            MessageKind::Other => return Err(bad(RowFault::Map("it is not a tf.train.Example".to_string()))),
        };
        if message != found && message != MessageForm::Example {
            return Err(bad(RowFault::Map("it is another message than the records before it".to_string())));
        }
        message = found;
        look_at(message, record, &mut features, &mut steps).map_err(bad)?;
        records += 1;
    }
    if records == 0 {
        return Err(DataError::Spec("parse: there is no record to learn the features from".to_string()));
    }
    let (features, steps) = (features.specs(message, false), steps.specs(message, true));
    Ok(ParseSpec { message, features, steps })
}

fn look_at(
    message: MessageForm,
    data: &[u8],
    features: &mut Features,
    steps: &mut Features,
) -> Result<(), RowFault> {
    if message == MessageForm::ExampleListWithContext {
        let list = ExampleListWithContext::new(data);
        for example in list.examples() {
            for entry in example?.features() {
                let (name, feature) = entry?;
                steps.add(name, Some(&feature))?;
            }
            steps.units += 1;
        }
        for entry in list.context() {
            let (name, feature) = entry?;
            features.add(name, Some(&feature))?;
        }
        features.units += 1;
        return Ok(());
    }
    for entry in Example::new(data).features() {
        let (name, feature) = entry?;
        features.add(name, Some(&feature))?;
    }
    for entry in SequenceExample::new(data).feature_lists() {
        let (name, list) = entry?;
        // A list of no steps is there as well.
        steps.add(name, None)?;
        for feature in list {
            steps.add(name, Some(&feature?))?;
        }
    }
    features.units += 1;
    steps.units += 1;
    Ok(())
}
