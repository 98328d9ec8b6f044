//! tf.train.SequenceExample, read straight from its bytes and written without building the message.
//!
//! Field numbers are those of TensorFlow's `example.proto` and `feature.proto`:
//!
//! ```text
//! SequenceExample { Features context = 1; FeatureLists feature_lists = 2 }
//! FeatureLists { map<string, FeatureList> feature_list = 1 }   FeatureList { repeated Feature feature = 1 }
//! ```
//!
//! As with [`crate::example`] nothing is allocated in reading, and the last entry of a name wins.

use crate::example::{
    Entries, Example, Feature, Features, Message, NamedValues, Result, Values, check_entries, features_bytes,
    field_bytes, last_named, put_entry, put_features, put_header,
};

/// A tf.train.SequenceExample in its serialized form.
#[derive(Debug, Clone, Copy)]
pub struct SequenceExample<'a>(&'a [u8]);

impl<'a> SequenceExample<'a> {
    /// A sequence over a record's data. Nothing is looked at yet.
    pub fn new(bytes: &'a [u8]) -> Self {
        SequenceExample(bytes)
    }

    /// The context: the features of the sequence as a whole. A name may come twice; the last one counts.
    pub fn context(&self) -> Features<'a> {
        // The context has the number that the features of an Example have.
        Example::new(self.0).features()
    }

    /// The feature lists in the order of the file. A name may come twice; the last one counts.
    pub fn feature_lists(&self) -> FeatureLists<'a> {
        FeatureLists(Entries::new(self.0, 2))
    }

    /// Checks that its features and feature lists are entries of a key and then a value and nothing else, which
    /// TensorFlow's own parser asks for beside protobuf's rules.
    ///
    /// # Errors
    /// [`ExampleError::Entry`](crate::example::ExampleError::Entry) where they are not, and another one when the bytes are
    /// no SequenceExample.
    pub fn check_entries(&self) -> Result<()> {
        check_entries(self.0, 1, true).and_then(|()| check_entries(self.0, 2, true))
    }

    /// The feature list `name`, or `None` when there is none.
    ///
    /// # Errors
    /// [`ExampleError`](crate::example::ExampleError) when the bytes are no SequenceExample.
    pub fn find_list(&self, name: &str) -> Result<Option<FeatureList<'a>>> {
        last_named(self.feature_lists(), name)
    }
}

/// The feature lists of a [`SequenceExample`]: names and lists.
#[derive(Debug, Clone)]
pub struct FeatureLists<'a>(Entries<'a>);

impl<'a> Iterator for FeatureLists<'a> {
    type Item = Result<(&'a [u8], FeatureList<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_as(|list| Ok(FeatureList(Message(list))))
    }
}

/// A list of features, one for each step of the sequence; iterates over them.
#[derive(Debug, Clone)]
pub struct FeatureList<'a>(Message<'a>);

impl<'a> Iterator for FeatureList<'a> {
    type Item = Result<Feature<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.0.next_bytes(1).and_then(|step| step.map(Feature::new).transpose());
        if step.is_err() {
            self.0 = Message(&[]);
        }
        step.transpose()
    }
}

/// The name of a feature list, and the values of each of its steps.
pub type NamedLists<'a> = (&'a str, &'a [Values<'a>]);

/// Appends a serialized tf.train.SequenceExample to `out`, everything in the order given. With names in order these
/// are the bytes of TensorFlow's deterministic serialization, an empty context or an empty map of lists left out.
/// Nothing else is allocated.
pub fn write_sequence_example(out: &mut Vec<u8>, context: &[NamedValues<'_>], lists: &[NamedLists<'_>]) {
    if !context.is_empty() {
        put_header(out, 1, features_bytes(context));
        put_features(out, context);
    }
    if lists.is_empty() {
        return;
    }
    let entry_bytes =
        |(name, steps): &NamedLists<'_>| field_bytes(name.len()) + field_bytes(list_bytes(steps));
    put_header(out, 2, lists.iter().map(|list| field_bytes(entry_bytes(list))).sum());
    for (name, steps) in lists {
        put_entry(out, name, list_bytes(steps));
        for step in *steps {
            put_header(out, 1, step.feature_bytes());
            step.put_feature(out);
        }
    }
}

fn list_bytes(steps: &[Values<'_>]) -> usize {
    steps.iter().map(|step| field_bytes(step.feature_bytes())).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::example::{ExampleError, FeatureKind};

    #[test]
    fn the_bytes_tensorflow_writes() {
        // tf.train.SequenceExample(
        //   context=tf.train.Features(feature={'c': int64 [7]}),
        //   feature_lists=tf.train.FeatureLists(feature_list={'w': tf.train.FeatureList(feature=[
        //     float [1.0], float []])})).SerializeToString(deterministic=True)
        let mut out = Vec::new();
        let steps = [Values::Float(&[1.0]), Values::Float(&[])];
        write_sequence_example(&mut out, &[("c", Values::Int64(&[7]))], &[("w", &steps)]);
        let expected = b"\x0a\x0c\x0a\x0a\x0a\x01c\x12\x05\x1a\x03\x0a\x01\x07\
                         \x12\x15\x0a\x13\x0a\x01w\x12\x0e\x0a\x08\x12\x06\x0a\x04\x00\x00\x80\x3f\x0a\x02\x12\x00";
        assert_eq!(out, expected);
    }

    #[test]
    fn the_last_list_of_a_name_wins_and_errors_end_the_walk() {
        let mut bytes = Vec::new();
        write_sequence_example(&mut bytes, &[], &[("w", &[Values::Int64(&[1])]), ("w", &[])]);
        let sequence = SequenceExample::new(&bytes);
        assert_eq!(sequence.find_list("w").unwrap().unwrap().count(), 0);
        assert_eq!(sequence.feature_lists().count(), 2);
        assert_eq!(sequence.context().count(), 0);
        let cut = SequenceExample::new(&bytes[..bytes.len() - 1]);
        assert_eq!(cut.find_list("w").unwrap_err(), ExampleError::Truncated);
        assert_eq!(cut.feature_lists().count(), 1);
        let mut list = FeatureList(Message(b"\x0a\x02\x12\x09"));
        assert!(list.next().unwrap().is_err() && list.next().is_none());
    }

    proptest! {
        #[test]
        fn reads_back_what_was_written(
            context in proptest::collection::vec(any::<i64>(), 0..5),
            steps in proptest::collection::vec(proptest::collection::vec(any::<i64>(), 0..6), 0..30),
        ) {
            let values: Vec<_> = steps.iter().map(|s| Values::Int64(s)).collect();
            let mut bytes = Vec::new();
            write_sequence_example(&mut bytes, &[("n", Values::Int64(&context))], &[("a", &[]), ("b", &values)]);
            let sequence = SequenceExample::new(&bytes);
            let (name, feature) = sequence.context().next().unwrap().unwrap();
            prop_assert_eq!((name, feature.count().unwrap()), (&b"n"[..], context.len()));
            let read: Vec<Vec<i64>> = sequence
                .find_list("b").unwrap().unwrap()
                .map(|step| step.unwrap().ints().map(Result::unwrap).collect())
                .collect();
            prop_assert_eq!(read, steps);
            prop_assert!(sequence.find_list("c").unwrap().is_none());
        }

        #[test]
        fn random_and_damaged_bytes_never_panic(
            random in proptest::collection::vec(any::<u8>(), 0..100),
            flip in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = Vec::new();
            let steps = [Values::Int64(&[1, 300]), Values::Bytes(&[b"xyz", b""])];
            write_sequence_example(&mut bytes, &[("n", Values::Float(&[0.5; 5]))], &[("b", &steps)]);
            let at = flip.index(bytes.len());
            bytes[at] ^= byte;
            for data in [&random, &bytes] {
                let mut values = 0;
                for list in SequenceExample::new(data).feature_lists().map_while(Result::ok) {
                    for step in list.1.map_while(Result::ok) {
                        values += step.count().unwrap_or(0) + usize::from(step.kind() != FeatureKind::Empty);
                    }
                }
                prop_assert!(values <= data.len());
            }
        }
    }
}
