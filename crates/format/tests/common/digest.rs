//! What a message holds as one number, as `cases/expected.py` makes it: 64-bit FNV-1a over the features in the order of
//! their names.

use std::collections::BTreeMap;

use tightfit_format::example::list::ExampleListWithContext;
use tightfit_format::example::sequence::SequenceExample;
use tightfit_format::example::{Example, ExampleError, Feature, FeatureKind};

/// 64-bit FNV-1a.
pub struct Digest(pub u64);

impl Digest {
    /// The digest of nothing.
    pub fn new() -> Digest {
        Digest(0xcbf2_9ce4_8422_2325)
    }

    /// Goes on with `bytes`.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |d, b| (d ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    }

    /// Goes on with a count.
    pub fn count(&mut self, count: usize) {
        self.add(&(count as u64).to_le_bytes());
    }

    /// Goes on with a feature.
    pub fn feature(&mut self, feature: &Feature<'_>) -> Result<(), ExampleError> {
        self.add(&[match feature.kind() {
            FeatureKind::Empty => 0,
            FeatureKind::Bytes => 1,
            FeatureKind::Float => 2,
            FeatureKind::Int64 => 3,
        }]);
        self.count(feature.count()?);
        for value in feature.bytes() {
            let value = value?;
            self.count(value.len());
            self.add(value);
        }
        for run in feature.float_runs() {
            self.add(run?.as_flattened());
        }
        for value in feature.ints() {
            self.add(&value?.to_le_bytes());
        }
        Ok(())
    }

    fn features<'a>(
        &mut self,
        features: impl Iterator<Item = Result<(&'a [u8], Feature<'a>), ExampleError>>,
    ) -> Result<(), ExampleError> {
        for (name, feature) in features.collect::<Result<BTreeMap<_, _>, _>>()? {
            self.add(name);
            self.feature(&feature)?;
        }
        Ok(())
    }

    /// Goes on with a record that is an "example", a "sequence", a "list" with context, or nothing of these.
    pub fn message(&mut self, kind: &str, record: &[u8]) -> Result<(), ExampleError> {
        match kind {
            "example" => self.features(Example::new(record).features())?,
            "sequence" => {
                let sequence = SequenceExample::new(record);
                self.features(sequence.context())?;
                for (name, list) in sequence.feature_lists().collect::<Result<BTreeMap<_, _>, _>>()? {
                    self.add(name);
                    self.count(list.clone().count());
                    list.into_iter().try_for_each(|step| self.feature(&step?))?;
                }
            }
            "list" => {
                let list = ExampleListWithContext::new(record);
                self.features(list.context())?;
                list.examples().try_for_each(|example| self.features(example?.features()))?;
            }
            _ => {}
        }
        Ok(())
    }
}
