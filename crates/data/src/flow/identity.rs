//! What saved states and caches are of, as canonical JSON: equal texts for equal pipelines over equal files, in whatever
//! order keys were given and however numbers were written. It begins the file, with what the file is and the version of
//! its format.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use tightfit_core::DType;

/// The version of the formats of states and caches: it changes when a file of an older one would be misread.
const VERSION: u64 = 2;

/// What a source, a stage or an operation called `name` is told from others by: all that its result depends on.
pub(crate) fn of(name: &str, options: &impl Serialize) -> Value {
    // A description is plain data, which becomes JSON whatever it is.
    let options = serde_json::to_value(options).unwrap_or_else(|error| Value::from(error.to_string()));
    json!({ name: options })
}

/// An element type by its name.
pub(crate) fn dtype<S: Serializer>(dtype: &DType, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(dtype.name())
}

/// An element type by its name, or null.
pub(crate) fn dtype_option<S: Serializer>(dtype: &Option<DType>, to: S) -> Result<S::Ok, S::Error> {
    dtype.map(DType::name).serialize(to)
}

/// Element types by their names.
pub(crate) fn dtypes<S: Serializer>(fields: &[(String, DType)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(fields.iter().map(|(name, dtype)| (name, dtype.name())))
}

/// The text of `value` with the keys of all objects in order, without spaces, and whole numbers as such (`3`, not `3.0`).
pub(crate) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    put(value, &mut text);
    text
}

fn put(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| key.as_str());
            put_list(text, ['{', '}'], entries.into_iter(), |(key, value), text| {
                put(&Value::from(key.as_str()), text);
                text.push(':');
                put(value, text);
            });
        }
        Value::Array(list) => put_list(text, ['[', ']'], list.iter(), put),
        Value::Number(number) => {
            // Doubles are exact up to here.
            const EXACT: f64 = 9_007_199_254_740_992.0;
            let float = number.as_f64().filter(|f| number.is_f64() && f.fract() == 0.0 && f.abs() <= EXACT);
            // Writing to a string does not fail.
            let _ = match float {
                Some(float) => write!(text, "{}", float as i64),
                None => write!(text, "{number}"),
            };
        }
        other => {
            let _ = write!(text, "{other}");
        }
    }
}

fn put_list<T>(
    text: &mut String,
    [open, close]: [char; 2],
    items: impl Iterator<Item = T>,
    put: impl Fn(T, &mut String),
) {
    text.push(open);
    for (number, item) in items.enumerate() {
        if number > 0 {
            text.push(',');
        }
        put(item, text);
    }
    text.push(close);
}

/// What a file begins with that is `what` ("state", "cache") of `identity`.
pub(crate) fn header(what: &str, identity: &Value) -> String {
    canonical(&json!({"tightfit": what, "version": VERSION, "of": identity}))
}

/// What keeps a file that begins with `found` from being used where it is to begin with `header` of `what`.
pub(crate) fn mismatch(found: &[u8], what: &str, header: &str) -> Option<String> {
    if found == header.as_bytes() {
        return None;
    }
    let found: Option<Map<String, Value>> = serde_json::from_slice(found).ok();
    let Some(found) = found.filter(|found| found.get("tightfit").and_then(Value::as_str) == Some(what))
    else {
        return Some(format!("it is not a {what} of a pipeline, or comes from another version of TightFit"));
    };
    match found.get("version").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(other) => {
            return Some(format!(
                "it has version {other} of the format, and this program reads version {VERSION}"
            ));
        }
        None => return Some(format!("it is a {what} without a version")),
    }
    Some(format!("it is the {what} of another pipeline, or of other files"))
}

/// FNV-1a twice, from two beginnings: finds changes, and is no protection from anyone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digest([u64; 2]);

impl Default for Digest {
    fn default() -> Digest {
        Digest([0xcbf2_9ce4_8422_2325, 0x6c62_272e_07bb_0142])
    }
}

impl Digest {
    /// Adds a part, with its length.
    pub fn add(&mut self, part: &[u8]) {
        for byte in (part.len() as u64).to_le_bytes().iter().chain(part) {
            for (half, turn) in self.0.iter_mut().zip([0, 17]) {
                *half = (half.rotate_left(turn) ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }

    /// Bytes of [`Digest::text`].
    pub const TEXT_BYTES: usize = 32;

    /// The digest of this [`Digest::text`], to be added to.
    pub fn parse(text: &str) -> Option<Digest> {
        let (a, b) = text.split_at_checked(16).filter(|_| text.len() == Digest::TEXT_BYTES)?;
        Some(Digest([u64::from_str_radix(a, 16).ok()?, u64::from_str_radix(b, 16).ok()?]))
    }

    /// 32 hexadecimal digits.
    pub fn text(&self) -> String {
        let [a, b] = self.0;
        format!("{a:016x}{b:016x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_spelling_do_not_matter() {
        let read = |text: &str| canonical(&serde_json::from_str(text).unwrap());
        let text = read(r#"{"b": [1, 2.50, {"y": null, "x": "é\n"}], "a": -0.0}"#);
        assert_eq!(text, r#"{"a":0,"b":[1,2.5,{"x":"é\n","y":null}]}"#);
        assert_eq!(read(r#"{"a": 0, "b": [1.0, 25e-1, {"x": "\u00e9\n", "y": null}]}"#), text);
        assert_eq!(read("18446744073709551615"), "18446744073709551615");
        assert_eq!((read("1e300"), read("3e2")), ("1e+300".to_string(), "300".to_string()));
        assert_ne!(read("[1, 2]"), read("[2, 1]"));
    }

    #[test]
    fn files_of_other_kinds_and_versions_are_told_apart() {
        let own = header("state", &json!({"a": 1}));
        assert_eq!(own, r#"{"of":{"a":1},"tightfit":"state","version":2}"#);
        let why = |found: &str| mismatch(found.as_bytes(), "state", &own);
        assert_eq!(why(&own), None);
        for (found, expected) in [
            (r#"{"of":{"a":1},"tightfit":"state","version":3}"#, "version 3 of the format"),
            (r#"{"of":{"a":2},"tightfit":"state","version":2}"#, "of another pipeline"),
            (r#"{"of":{"a":1},"tightfit":"cache","version":2}"#, "not a state"),
            ("tightfit pipeline 1\nRecords", "another version of TightFit"),
            ("", "not a state"),
            (r#"{"tightfit":"state"}"#, "without a version"),
        ] {
            let found = why(found).unwrap();
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn digests_tell_parts_apart() {
        let digest = |parts: &[&str]| {
            let mut digest = Digest::default();
            parts.iter().for_each(|part| digest.add(part.as_bytes()));
            digest.text()
        };
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&[""]), digest(&[]));
        assert_eq!(digest(&["ab"]).len(), 32);
    }
}
