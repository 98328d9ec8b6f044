//! tf.train.Example from protobuf's JSON encoding.
//!
//! As protobuf reads it: names as in the message or in lower camel case, bytes in base64 of either alphabet, numbers that may
//! be strings, `null` for a default, and a number by itself for a list of one. What comes out has the features in the order of
//! the text, its lists not packed. JSON itself is RFC 8259: what protobuf forgives besides (single quotes, names without quotes,
//! a comma behind the last) is refused.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::write::{put_header, put_varint};
use crate::base64;

/// Bytes of heap for each byte of JSON: a list of `-1,` becomes four times as long, in buffers that double, one for each message
/// around it.
pub const JSON_FACTOR: u64 = 40;

/// What a field holds.
#[derive(Clone, Copy)]
enum Kind {
    Message(&'static [Field]),
    /// The one of these fields that is set.
    OneOf(&'static [Field]),
    /// A map from strings to messages, of which one field is set.
    Map(&'static [Field]),
    Values(Scalar),
}

#[derive(Clone, Copy)]
enum Scalar {
    Bytes,
    Float,
    Int64,
}

/// A field: its names, its number, what it holds.
struct Field(&'static [&'static str], u64, Kind);

const EXAMPLE: &[Field] = &[Field(&["features"], 1, Kind::Message(FEATURES))];
const FEATURES: &[Field] = &[Field(&["feature"], 1, Kind::Map(FEATURE))];
const FEATURE: &[Field] = &[
    Field(
        &["bytesList", "bytes_list"],
        1,
        Kind::Message(&[Field(&["value"], 1, Kind::Values(Scalar::Bytes))]),
    ),
    Field(
        &["floatList", "float_list"],
        2,
        Kind::Message(&[Field(&["value"], 1, Kind::Values(Scalar::Float))]),
    ),
    Field(
        &["int64List", "int64_list"],
        3,
        Kind::Message(&[Field(&["value"], 1, Kind::Values(Scalar::Int64))]),
    ),
];

/// The serialized tf.train.Example that `text` stands for. Takes up to [`JSON_FACTOR`] times its bytes while it works.
///
/// # Errors
/// What is wrong, and where.
pub fn example_of_json(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(text);
    let found = Read { kind: Kind::Message(EXAMPLE), number: None, out: &mut out };
    found.deserialize(&mut reader).and_then(|_| reader.end()).map_err(|error| error.to_string())?;
    Ok(out)
}

/// Reads what a field holds to the end of `out`, under its number where it has one.
struct Read<'o> {
    kind: Kind,
    number: Option<u64>,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Read<'_> {
    /// Whether there was anything, and no null.
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_any(self)
    }
}

impl Read<'_> {
    fn scalar(&self) -> Option<Scalar> {
        match self.kind {
            Kind::Values(scalar) => Some(scalar),
            Kind::Message(_) | Kind::OneOf(_) | Kind::Map(_) => None,
        }
    }

    fn put_int(&mut self, value: i64) {
        put_varint(self.out, 1 << 3);
        put_varint(self.out, value as u64);
    }

    fn put_float(&mut self, value: f32) {
        put_varint(self.out, 1 << 3 | 5);
        self.out.extend(value.to_le_bytes());
    }

    fn put_bytes(&mut self, value: &[u8]) {
        put_header(self.out, 1, value.len());
        self.out.extend_from_slice(value);
    }

    fn refused<E: Error>(&self, what: impl fmt::Display) -> E {
        let wanted = match self.kind {
            Kind::Values(Scalar::Bytes) => "bytes in base64",
            Kind::Values(Scalar::Float) => "a float32",
            Kind::Values(Scalar::Int64) => "an int64",
            Kind::Message(_) | Kind::OneOf(_) | Kind::Map(_) => "an object",
        };
        E::custom(format!("{what} is not {wanted}"))
    }
}

/// The beginning of a text, for messages.
fn shown(text: &str) -> String {
    let end = text.char_indices().nth(40).map_or(text.len(), |(at, _)| at);
    format!("'{}'", &text[..end])
}

/// A number without a fraction, in the range of int64.
fn whole(value: f64) -> Option<i64> {
    let is_whole = value.fract() == 0.0 && (-(2f64.powi(63))..2f64.powi(63)).contains(&value);
    is_whole.then_some(value as i64)
}

impl<'de> Visitor<'de> for Read<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tf.train.Example")
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        // Null by itself is no message.
        if self.number.is_none() && self.scalar().is_none() {
            return Err(self.refused("null"));
        }
        Ok(false)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        Err(self.refused(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_i64<E: Error>(mut self, value: i64) -> Result<bool, E> {
        match self.scalar() {
            Some(Scalar::Int64) => self.put_int(value),
            Some(Scalar::Float) => self.put_float(value as f32),
            Some(Scalar::Bytes) | None => return Err(self.refused(value)),
        }
        Ok(true)
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<bool, E> {
        match (self.scalar(), whole(value)) {
            (Some(Scalar::Int64), Some(whole)) => self.put_int(whole),
            (Some(Scalar::Float), _) if (value as f32).is_finite() => self.put_float(value as f32),
            _ => return Err(self.refused(value)),
        }
        Ok(true)
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<bool, E> {
        match self.scalar() {
            Some(Scalar::Bytes) => match base64::decode_either(text) {
                Some(bytes) => self.put_bytes(&bytes),
                None => return Err(self.refused(shown(text))),
            },
            Some(Scalar::Float) => match text.parse() {
                Ok(value) => self.put_float(value),
                Err(_) => return Err(self.refused(shown(text))),
            },
            Some(Scalar::Int64) => match text.parse().ok().or_else(|| whole(text.parse().ok()?)) {
                Some(value) => self.put_int(value),
                None => return Err(self.refused(shown(text))),
            },
            None => return Err(self.refused(shown(text))),
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<bool, A::Error> {
        let Some(scalar) = self.scalar() else { return Err(self.refused("a list")) };
        while let Some(is_value) =
            list.next_element_seed(Read { kind: self.kind, number: self.number, out: self.out })?
        {
            match scalar {
                _ if is_value => {}
                Scalar::Bytes => self.put_bytes(&[]),
                Scalar::Float => self.put_float(0.0),
                Scalar::Int64 => self.put_int(0),
            }
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut content = Vec::new();
        let mut seen = BTreeSet::new();
        match self.kind {
            Kind::Values(_) => return Err(self.refused("an object")),
            Kind::Map(value) => {
                while let Some(name) = map.next_key::<String>()? {
                    let mut entry = Vec::new();
                    put_header(&mut entry, 1, name.len());
                    entry.extend_from_slice(name.as_bytes());
                    map.next_value_seed(Read { kind: Kind::OneOf(value), number: Some(2), out: &mut entry })?;
                    put_header(&mut content, 1, entry.len());
                    content.append(&mut entry);
                    if let Some(name) = seen.replace(name) {
                        return Err(A::Error::custom(format!("'{name}' is there twice")));
                    }
                }
                // Each entry is a field of the message around the map.
                self.out.append(&mut content);
                return Ok(true);
            }
            Kind::Message(fields) | Kind::OneOf(fields) => {
                while let Some(name) = map.next_key::<String>()? {
                    let field = fields.iter().find(|field| field.0.contains(&name.as_str()));
                    let Some(Field(_, number, kind)) = field else {
                        return Err(A::Error::custom(format!("there is no field '{name}'")));
                    };
                    let read = Read { kind: *kind, number: Some(*number), out: &mut content };
                    if map.next_value_seed(read)? && !matches!(kind, Kind::Values(_)) {
                        let is_other = matches!(self.kind, Kind::OneOf(_)) && !seen.is_empty();
                        if seen.replace(name).is_some() || is_other {
                            return Err(A::Error::custom("a field of which one may be set is set twice"));
                        }
                    }
                }
            }
        }
        if let Some(number) = self.number {
            put_header(self.out, number, content.len());
        }
        self.out.append(&mut content);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(text: &str) -> Result<Vec<u8>, String> {
        example_of_json(format!("{{\"features\":{{\"feature\":{{\"a\":{text}}}}}}}").as_bytes())
    }

    /// The bytes are those of TensorFlow's DecodeJSONExample.
    #[test]
    fn bytes_are_protobufs() {
        let whole: [(&str, &[u8]); 5] = [
            ("{}", b""),
            ("{\"features\":{}}", b"\n\0"),
            ("{\"features\":null}", b""),
            ("{\"features\":{\"feature\":{}}}", b"\n\0"),
            (
                " {\"features\":{\"feature\":{\"\\u0061\\ud83d\\ude00\":{\"int64List\":{\"value\":[1]}}}}} ",
                b"\n\x0f\n\r\n\x05a\xf0\x9f\x98\x80\x12\x04\x1a\x02\x08\x01",
            ),
        ];
        for (text, bytes) in whole {
            assert_eq!(example_of_json(text.as_bytes()).unwrap(), bytes, "{text}");
        }
        let features: [(&str, &[u8]); 12] = [
            ("{}", b"\n\x07\n\x05\n\x01a\x12\0"),
            ("null", b"\n\x05\n\x03\n\x01a"),
            ("{\"int64List\":{}}", b"\n\t\n\x07\n\x01a\x12\x02\x1a\0"),
            ("{\"int64List\":null}", b"\n\x07\n\x05\n\x01a\x12\0"),
            ("{\"int64List\":{\"value\":null}}", b"\n\t\n\x07\n\x01a\x12\x02\x1a\0"),
            ("{\"int64List\":{\"value\":[1,\"2\",3.0,1e2,-5,\"-7\"]}}",
             b"\n'\n%\n\x01a\x12 \x1a\x1e\x08\x01\x08\x02\x08\x03\x08d\x08\xfb\xff\xff\xff\xff\xff\xff\xff\xff\x01\x08\xf9\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            ("{\"int64_list\":{\"value\":[null]}}", b"\n\x0b\n\t\n\x01a\x12\x04\x1a\x02\x08\0"),
            ("{\"int64List\":{\"value\":[\"1.0\",\"1e2\"]}}", b"\n\r\n\x0b\n\x01a\x12\x06\x1a\x04\x08\x01\x08d"),
            ("{\"int64List\":{\"value\":[1],\"value\":[[2]]}}", b"\n\r\n\x0b\n\x01a\x12\x06\x1a\x04\x08\x01\x08\x02"),
            ("{\"floatList\":{\"value\":[1,1.5,\"2.5\",\"NaN\",\"Infinity\",\"-Infinity\",1e-50]}}",
             b"\n,\n*\n\x01a\x12%\x12#\r\0\0\x80?\r\0\0\xc0?\r\0\0 @\r\0\0\xc0\x7f\r\0\0\x80\x7f\r\0\0\x80\xff\r\0\0\0\0"),
            ("{\"floatList\":{\"value\":\"1e400\"}}", b"\n\x0e\n\x0c\n\x01a\x12\x07\x12\x05\r\0\0\x80\x7f"),
            ("{\"bytesList\":{\"value\":[\"aGVsbG8=\",\"aGVsbG9\",\"-_8=\",\"+/8=\",\"\"]}}",
             b"\n!\n\x1f\n\x01a\x12\x1a\n\x18\n\x05hello\n\x05hello\n\x02\xfb\xff\n\x02\xfb\xff\n\0"),
        ];
        for (text, bytes) in features {
            assert_eq!(feature(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_example_is_refused() {
        for (text, why) in [
            ("{\"int64List\":{\"value\":[1.5]}}", "1.5 is not an int64"),
            ("{\"int64List\":{\"value\":[\"9223372036854775808\"]}}", "is not an int64"),
            ("{\"int64List\":{\"value\":[18446744073709551615]}}", "is not an int64"),
            ("{\"int64List\":{\"value\":[true]}}", "true is not an int64"),
            ("{\"int64List\":{\"value\":[\" 1\"]}}", "' 1' is not an int64"),
            ("{\"floatList\":{\"value\":[1e39]}}", "is not a float32"),
            ("{\"floatList\":{\"value\":[\"x\"]}}", "'x' is not a float32"),
            ("{\"bytesList\":{\"value\":[\"a\"]}}", "'a' is not bytes in base64"),
            ("{\"bytesList\":{\"value\":[12]}}", "12 is not bytes in base64"),
            ("{\"bytesList\":{\"value\":[\"YQ==\"]},\"int64List\":{\"value\":[1]}}", "set twice"),
            ("{\"int64List\":{\"value\":[1]}},\"a\":{\"int64List\":{\"value\":[2]}}", "'a' is there twice"),
            ("{\"int64List\":{\"x\":2}}", "no field 'x'"),
            ("[]", "a list is not an object"),
            ("{\"int64List\":{\"value\":{}}}", "an object is not an int64"),
        ] {
            let error = feature(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        for text in ["", "null", "[]", "\"\"", "{} x", "{\"x\":1}", "{\"features\":{\"feature\":[]}}", "{"] {
            assert!(example_of_json(text.as_bytes()).is_err(), "{text}");
        }
    }
}
