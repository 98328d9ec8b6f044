//! Messages in the form that TensorFlow's deterministic serialization gives them: names in order and each once, lists
//! packed, nothing unknown.

use std::collections::BTreeMap;

use tightfit_format::example::sequence::{SequenceExample, write_sequence_example};
use tightfit_format::example::{Example, ExampleError, Feature, FeatureKind, Values, write_example};

/// The values of a feature, held.
pub enum Held<'a> {
    /// Nothing.
    Empty,
    /// A bytes list.
    Bytes(Vec<&'a [u8]>),
    /// A float list.
    Float(Vec<f32>),
    /// An int64 list.
    Int64(Vec<i64>),
}

impl<'a> Held<'a> {
    /// Takes all values of `feature`.
    pub fn new(feature: &Feature<'a>) -> Result<Held<'a>, ExampleError> {
        Ok(match feature.kind() {
            FeatureKind::Empty => Held::Empty,
            FeatureKind::Bytes => Held::Bytes(feature.bytes().collect::<Result<_, _>>()?),
            FeatureKind::Int64 => Held::Int64(feature.ints().collect::<Result<_, _>>()?),
            FeatureKind::Float => {
                let mut values = vec![0.0; feature.count()?];
                feature.read_floats(&mut values)?;
                Held::Float(values)
            }
        })
    }

    /// Lent to be written.
    pub fn values(&self) -> Values<'_> {
        match self {
            Held::Empty => Values::Empty,
            Held::Bytes(values) => Values::Bytes(values),
            Held::Float(values) => Values::Float(values),
            Held::Int64(values) => Values::Int64(values),
        }
    }
}

type Map<'a, T> = BTreeMap<&'a str, T>;

fn held<'a>(
    features: impl Iterator<Item = Result<(&'a [u8], Feature<'a>), ExampleError>>,
) -> Result<Map<'a, Held<'a>>, ExampleError> {
    features.map(|entry| entry.and_then(|(name, feature)| Ok((text(name), Held::new(&feature)?)))).collect()
}

/// Names are UTF-8 wherever protobuf has written them.
fn text(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap_or_default()
}

fn named<'a>(features: &'a Map<'_, Held<'_>>) -> Vec<(&'a str, Values<'a>)> {
    features.iter().map(|(name, held)| (*name, held.values())).collect()
}

/// The bytes of an "example" or a "sequence" in that form.
pub fn canonical(kind: &str, record: &[u8]) -> Result<Vec<u8>, ExampleError> {
    let mut out = Vec::new();
    if kind == "example" {
        write_example(&mut out, &named(&held(Example::new(record).features())?));
        return Ok(out);
    }
    let sequence = SequenceExample::new(record);
    let context = held(sequence.context())?;
    let mut lists: Map<'_, Vec<Held<'_>>> = BTreeMap::new();
    for entry in sequence.feature_lists() {
        let (name, list) = entry?;
        let steps = list.map(|step| step.and_then(|step| Held::new(&step)));
        lists.insert(text(name), steps.collect::<Result<_, _>>()?);
    }
    let steps: Vec<(&str, Vec<Values<'_>>)> =
        lists.iter().map(|(name, list)| (*name, list.iter().map(Held::values).collect())).collect();
    let steps: Vec<(&str, &[Values<'_>])> = steps.iter().map(|(name, list)| (*name, &**list)).collect();
    write_sequence_example(&mut out, &named(&context), &steps);
    Ok(out)
}
