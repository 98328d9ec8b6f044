//! TFRecord files of other projects (`cases/*/SOURCE.json` says whose): record counts, and digests of the records and of
//! what they hold, against TensorFlow's. `cases/expected.py` says how the digests are made.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget};
use tightfit_format::example::{Example, ExampleError, Feature, FeatureKind};
use tightfit_format::example_list::ExampleListWithContext;
use tightfit_format::message::MessageKind;
use tightfit_format::sequence::SequenceExample;
use tightfit_format::tfrecord::RecordReader;

/// 64-bit FNV-1a.
struct Digest(u64);

impl Digest {
    fn new() -> Digest {
        Digest(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |d, b| (d ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    }

    fn count(&mut self, count: usize) {
        self.add(&(count as u64).to_le_bytes());
    }

    fn feature(&mut self, feature: &Feature<'_>) -> Result<(), ExampleError> {
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

    fn message(&mut self, kind: &str, record: &[u8]) -> Result<(), ExampleError> {
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

/// Where a case lies: beside this test, or, the large ones, in the folder `TIGHTFIT_CASES`.
fn find(path: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(path);
    let elsewhere = std::env::var_os("TIGHTFIT_CASES").map(|folder| Path::new(&folder).join(path));
    [Some(here), elsewhere].into_iter().flatten().find(|path| path.exists())
}

#[test]
fn reads_what_tensorflow_reads() {
    let mut checked = 0;
    for line in include_str!("cases/expected.txt").lines() {
        let [path, kind, records, raw, held] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let Some(found) = find(path) else { continue };
        let window = Buffer::new(&MemoryBudget::new(1 << 20), "test", 64 << 10).unwrap();
        let file = File::open(&found).unwrap();
        let mut reader = RecordReader::new(Arc::from(found), file, window).unwrap();
        let (mut raw_digest, mut held_digest, mut count) = (Digest::new(), Digest::new(), 0u64);
        while let Some(record) = reader.next_record().unwrap() {
            raw_digest.count(record.data.len());
            raw_digest.add(record.data);
            held_digest.message(kind, record.data).unwrap();
            count += 1;
            let expected = match kind {
                "example" => MessageKind::Example,
                "sequence" => MessageKind::SequenceExample,
                "list" => MessageKind::ExampleListWithContext,
                _ => MessageKind::Other,
            };
            assert_eq!(MessageKind::of(record.data), expected, "{path}, record {}", record.index);
        }
        assert_eq!(count.to_string(), records, "{path}");
        assert_eq!(format!("{:016x}", raw_digest.0), raw, "{path}: the records");
        assert_eq!(format!("{:016x}", held_digest.0), held, "{path}: what they hold");
        checked += 1;
    }
    assert!(checked >= 11, "only {checked} files are there");
}
