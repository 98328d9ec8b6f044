//! Which of TensorFlow's messages a record is. Records do not say: it is found from how their bytes nest.

use std::fmt;

use crate::example::{Message, Wire};

/// The message that a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// tf.train.Example. A SequenceExample without feature lists has the same bytes.
    Example,
    /// tf.train.SequenceExample.
    SequenceExample,
    /// ExampleListWithContext of TensorFlow Serving.
    ExampleListWithContext,
    /// Something else.
    Other,
}

impl MessageKind {
    /// Every kind.
    pub const ALL: [MessageKind; 4] = [
        MessageKind::Example,
        MessageKind::SequenceExample,
        MessageKind::ExampleListWithContext,
        MessageKind::Other,
    ];

    /// The message that `data` is, as far as its bytes tell. What could be several is the first in the order of
    /// [`MessageKind::ALL`]; no bytes at all are an Example without features.
    pub fn of(data: &[u8]) -> MessageKind {
        if is_example(data) {
            MessageKind::Example
        } else if all_fields(data, |number, field| match number {
            1 => is_map(field, is_feature),
            2 => is_map(field, is_feature_list),
            _ => false,
        }) {
            MessageKind::SequenceExample
        } else if all_fields(data, |number, field| matches!(number, 1 | 2) && is_example(field)) {
            MessageKind::ExampleListWithContext
        } else {
            MessageKind::Other
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            MessageKind::Example => "Example",
            MessageKind::SequenceExample => "SequenceExample",
            MessageKind::ExampleListWithContext => "ExampleListWithContext",
            MessageKind::Other => "other",
        }
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// True when all fields are messages, strings or bytes that `is_right` accepts by number.
fn all_fields(data: &[u8], is_right: impl Fn(u64, &[u8]) -> bool) -> bool {
    let mut message = Message(data);
    loop {
        match message.field() {
            Ok(None) => return true,
            Ok(Some((number, Wire::Bytes(field)))) if is_right(number, field) => {}
            _ => return false,
        }
    }
}

fn is_example(data: &[u8]) -> bool {
    all_fields(data, |number, field| number == 1 && is_map(field, is_feature))
}

/// A map has nothing but entries, and each has both key and value: a message with one level more has only fields 1.
fn is_map(data: &[u8], is_value: fn(&[u8]) -> bool) -> bool {
    all_fields(data, |number, entry| {
        let mut message = Message(entry);
        let key =
            matches!(message.field(), Ok(Some((1, Wire::Bytes(key)))) if std::str::from_utf8(key).is_ok());
        let value = matches!(message.field(), Ok(Some((2, Wire::Bytes(value)))) if is_value(value));
        number == 1 && key && value && matches!(message.field(), Ok(None))
    })
}

fn is_feature(data: &[u8]) -> bool {
    all_fields(data, |number, _| matches!(number, 1..=3))
}

fn is_feature_list(data: &[u8]) -> bool {
    all_fields(data, |number, field| number == 1 && is_feature(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::list::write_example_list;
    use crate::example::sequence::write_sequence_example;
    use crate::example::{Values, write_example};

    #[test]
    fn tells_the_messages_apart() {
        let one = [("a", Values::Int64(&[1]))];
        let two = [("a", Values::Bytes(&[b"\x0a\x01x"])), ("b", Values::Float(&[]))];
        for features in [&one[..], &two[..], &[]] {
            let mut example = Vec::new();
            write_example(&mut example, features);
            assert_eq!(MessageKind::of(&example), MessageKind::Example);
            for steps in [&[][..], &[Values::Int64(&[])], &[Values::Int64(&[1, 2]), Values::Int64(&[3])]] {
                let mut sequence = Vec::new();
                write_sequence_example(&mut sequence, features, &[("s", steps)]);
                assert_eq!(MessageKind::of(&sequence), MessageKind::SequenceExample);
            }
            for context in [None, Some(&one[..])] {
                let mut list = Vec::new();
                write_example_list(&mut list, &[&one, features, &two], context);
                assert_eq!(MessageKind::of(&list), MessageKind::ExampleListWithContext, "{list:?}");
            }
        }
        for other in [&b"plain text"[..], b"\x08\x01", b"\x0a\x05abcde", &[0xff; 20]] {
            assert_eq!(MessageKind::of(other), MessageKind::Other, "{other:?}");
        }
    }
}
