//! Writing: lengths are computed first, so that a message is appended in one pass and nothing is moved.

/// The values of a feature to write.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// No list at all, as TensorFlow writes a feature that nothing was put into.
    Empty,
    /// A bytes list.
    Bytes(&'a [&'a [u8]]),
    /// A float list.
    Float(&'a [f32]),
    /// An int64 list.
    Int64(&'a [i64]),
}

impl Values<'_> {
    fn number(&self) -> u64 {
        match self {
            Values::Empty => 0,
            Values::Bytes(_) => 1,
            Values::Float(_) => 2,
            Values::Int64(_) => 3,
        }
    }

    /// Bytes of the packed values; of a bytes list, of the whole list.
    fn packed_bytes(&self) -> usize {
        match self {
            Values::Empty => 0,
            Values::Bytes(list) => list.iter().map(|v| field_bytes(v.len())).sum(),
            Values::Float(list) => list.len() * 4,
            Values::Int64(list) => list.iter().map(|v| varint_bytes(*v as u64)).sum(),
        }
    }

    fn list_bytes(&self) -> usize {
        match (self, self.packed_bytes()) {
            (Values::Bytes(_), bytes) => bytes,
            (_, 0) => 0,
            (_, packed) => field_bytes(packed),
        }
    }

    /// Bytes of the Feature message.
    pub(crate) fn feature_bytes(&self) -> usize {
        match self {
            Values::Empty => 0,
            _ => field_bytes(self.list_bytes()),
        }
    }

    /// Appends the Feature message.
    pub(crate) fn put_feature(&self, out: &mut Vec<u8>) {
        if matches!(self, Values::Empty) {
            return;
        }
        put_header(out, self.number(), self.list_bytes());
        match self {
            Values::Bytes(list) => {
                for value in *list {
                    put_header(out, 1, value.len());
                    out.extend_from_slice(value);
                }
            }
            Values::Empty | Values::Float([]) | Values::Int64([]) => {}
            Values::Float(list) => {
                put_header(out, 1, self.packed_bytes());
                out.extend(list.iter().flat_map(|v| v.to_le_bytes()));
            }
            Values::Int64(list) => {
                put_header(out, 1, self.packed_bytes());
                for value in *list {
                    put_varint(out, *value as u64);
                }
            }
        }
    }
}

/// Names and values to write.
pub type NamedValues<'a> = (&'a str, Values<'a>);

/// Appends a serialized tf.train.Example of `features`, in the order given, to `out`. With names in order these are
/// the bytes of TensorFlow's deterministic serialization. Nothing else is allocated.
pub fn write_example(out: &mut Vec<u8>, features: &[NamedValues<'_>]) {
    let bytes = features_bytes(features);
    out.reserve(field_bytes(bytes));
    put_header(out, 1, bytes);
    put_features(out, features);
}

/// Bytes of a Features message.
pub(crate) fn features_bytes(features: &[NamedValues<'_>]) -> usize {
    features.iter().map(|f| field_bytes(entry_bytes(f.0, f.1.feature_bytes()))).sum()
}

/// Appends a Features message.
pub(crate) fn put_features(out: &mut Vec<u8>, features: &[NamedValues<'_>]) {
    for (name, values) in features {
        put_entry(out, name, values.feature_bytes());
        values.put_feature(out);
    }
}

/// Bytes of a map entry whose value has `value_bytes`.
pub(crate) fn entry_bytes(name: &str, value_bytes: usize) -> usize {
    field_bytes(name.len()) + field_bytes(value_bytes)
}

/// Appends a map entry up to its value, which has `value_bytes`.
pub(crate) fn put_entry(out: &mut Vec<u8>, name: &str, value_bytes: usize) {
    put_header(out, 1, entry_bytes(name, value_bytes));
    put_header(out, 1, name.len());
    out.extend_from_slice(name.as_bytes());
    put_header(out, 2, value_bytes);
}

/// Bytes of a length-delimited field with a number under 16 and `bytes` of content.
pub(crate) fn field_bytes(bytes: usize) -> usize {
    1 + varint_bytes(bytes as u64) + bytes
}

/// Bytes of a number as a varint.
pub fn varint_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_header(out: &mut Vec<u8>, number: u64, bytes: usize) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes as u64);
}
