//! ExampleListWithContext, TensorFlow Serving's message of ranking models, read straight from its bytes and written
//! without building the message.
//!
//! Field numbers are those of `tensorflow_serving/apis/input.proto`:
//!
//! ```text
//! ExampleListWithContext { repeated tf.Example examples = 1; tf.Example context = 2 }
//! ```

use crate::example::{
    Example, Feature, Features, Message, NamedValues, Result, features_bytes, field_bytes, put_header,
    write_example,
};

/// An ExampleListWithContext in its serialized form.
#[derive(Debug, Clone, Copy)]
pub struct ExampleListWithContext<'a>(&'a [u8]);

impl<'a> ExampleListWithContext<'a> {
    /// A list over a record's data. Nothing is looked at yet.
    pub fn new(bytes: &'a [u8]) -> Self {
        ExampleListWithContext(bytes)
    }

    /// The examples in order.
    pub fn examples(&self) -> Examples<'a> {
        Examples { list: Message(self.0), number: 1 }
    }

    /// The features of the context. A name may come twice; the last one counts.
    pub fn context(&self) -> ContextFeatures<'a> {
        ContextFeatures {
            contexts: Examples { list: Message(self.0), number: 2 },
            features: Example::new(&[]).features(),
        }
    }
}

/// The examples of an [`ExampleListWithContext`].
#[derive(Debug, Clone)]
pub struct Examples<'a> {
    list: Message<'a>,
    number: u64,
}

impl<'a> Iterator for Examples<'a> {
    type Item = Result<Example<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let example = self.list.next_bytes(self.number);
        if example.is_err() {
            self.list = Message(&[]);
        }
        example.map(|bytes| bytes.map(Example::new)).transpose()
    }
}

/// The context of an [`ExampleListWithContext`]: names and values. Where the field comes several times protobuf makes
/// one message of them, and so the features of all are given.
#[derive(Debug, Clone)]
pub struct ContextFeatures<'a> {
    contexts: Examples<'a>,
    features: Features<'a>,
}

impl<'a> Iterator for ContextFeatures<'a> {
    type Item = Result<(&'a [u8], Feature<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.features.next() {
                if entry.is_err() {
                    self.contexts.list = Message(&[]);
                }
                return Some(entry);
            }
            match self.contexts.next()? {
                Ok(context) => self.features = context.features(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Appends a serialized ExampleListWithContext to `out`, everything in the order given. With names in order these are
/// the bytes of protobuf's deterministic serialization. Nothing else is allocated.
pub fn write_example_list(
    out: &mut Vec<u8>,
    examples: &[&[NamedValues<'_>]],
    context: Option<&[NamedValues<'_>]>,
) {
    let numbered = examples.iter().map(|e| (1, *e)).chain(context.map(|c| (2, c)));
    for (number, features) in numbered {
        put_header(out, number, field_bytes(features_bytes(features)));
        write_example(out, features);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{ExampleError, Values};

    fn list() -> Vec<u8> {
        let mut bytes = Vec::new();
        let first = [("a", Values::Int64(&[1]))];
        let second = [("a", Values::Int64(&[2])), ("b", Values::Bytes(&[b"x"]))];
        write_example_list(&mut bytes, &[&first, &second], Some(&[("q", Values::Float(&[0.5]))]));
        bytes
    }

    #[test]
    fn reads_back_what_was_written() {
        let bytes = list();
        // ELWC(examples=[Example(a=[1])], ..).SerializeToString(deterministic=True) begins so.
        assert!(bytes.starts_with(b"\x0a\x0e\x0a\x0c\x0a\x0a\x0a\x01a\x12\x05\x1a\x03\x0a\x01\x01\x0a"));
        let list = ExampleListWithContext::new(&bytes);
        let ids: Vec<i64> = list
            .examples()
            .map(|e| e.unwrap().find("a").unwrap().unwrap().ints().next().unwrap().unwrap())
            .collect();
        assert_eq!(ids, [1, 2]);
        let context: Vec<_> = list.context().map(|entry| entry.unwrap().0).collect();
        assert_eq!(context, [b"q"]);
    }

    #[test]
    fn contexts_are_merged_and_errors_end_the_walk() {
        let twice = [list(), list()].concat();
        assert_eq!(ExampleListWithContext::new(&twice).context().count(), 2);
        let mut bytes = list();
        bytes.pop();
        let cut = ExampleListWithContext::new(&bytes);
        assert_eq!(cut.context().next().unwrap().unwrap_err(), ExampleError::Truncated);
        assert_eq!((cut.context().count(), cut.examples().count()), (1, 3));
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let whole = list();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                let list = ExampleListWithContext::new(&bytes);
                let inner: usize = list.examples().flatten().map(|e| e.features().count()).sum();
                assert!(inner + list.context().count() < whole.len());
            }
        }
    }
}
