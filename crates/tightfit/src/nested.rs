//! String tensors as JSON: nested lists of strings, where `{"b64": ".."}` stands for bytes.
//!
//! The text is read as a stream: besides the strings themselves, and the one that is being read, nothing of it is ever in
//! memory, and all of that is counted.

use std::fmt;
use std::io::{self, Read};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use tightfit_core::{BudgetError, MAX_RANK, MemoryBudget, Reservation, Shape};
use tightfit_format::base64;

/// Heap bytes of a text besides its own: its place in the list, which may have twice its length, and the allocator's.
pub const TEXT_BYTES: u64 = 64;

/// Bytes of heap for each byte of the string that is being read: the parser's buffer, which doubles, its copy, and what
/// base64 makes of it.
const SCRATCH_FACTOR: u64 = 5;

/// A string up to this is read without asking for memory.
const SMALL_BYTES: u64 = 4 << 10;

/// The strings of a JSON file in row-major order.
#[derive(Debug)]
pub struct Nested {
    /// The shape of the lists.
    pub shape: Shape,
    /// The strings.
    pub texts: Vec<Box<[u8]>>,
    /// Bytes of all strings.
    pub string_bytes: u64,
    /// Their memory.
    pub reservation: Reservation,
    /// The most memory that reading them took, in bytes.
    pub peak_bytes: u64,
}

/// Why a JSON file holds no string tensor.
#[derive(Debug)]
#[non_exhaustive]
pub enum NestedError {
    /// What is wrong in the text, and where.
    Json(serde_json::Error),
    /// The strings do not fit.
    Budget(BudgetError),
    /// The lists make no shape.
    Shape(String),
}

/// Reads nested lists of strings.
///
/// # Errors
/// [`NestedError`] for a text that is no JSON, lists of different lengths side by side, anything but strings in them,
/// and for strings that do not fit `budget`.
pub fn read(read: impl Read, budget: &MemoryBudget) -> Result<Nested, NestedError> {
    read_lists(read, true, budget)
}

/// What [`read`] would give, without the strings: only how many there are, and their bytes. The reservation is empty, and
/// `peak_bytes` is what [`read`] will take.
///
/// # Errors
/// As [`read`]; of the memory, only the longest string has to fit.
pub fn measure(read: impl Read, budget: &MemoryBudget) -> Result<Nested, NestedError> {
    read_lists(read, false, budget)
}

fn read_lists(read: impl Read, is_kept: bool, budget: &MemoryBudget) -> Result<Nested, NestedError> {
    let reserve = || budget.try_reserve("pipeline", 0).map_err(NestedError::Budget);
    let mut read = Counted {
        read,
        in_string: false,
        is_escaped: false,
        run_bytes: 0,
        scratch: reserve()?,
        refused: None,
    };
    let reservation = reserve()?;
    let mut lists = Lists {
        is_kept,
        dims: Vec::new(),
        rank: None,
        texts: Vec::new(),
        string_bytes: 0,
        held_bytes: 0,
        reservation,
        refused: None,
    };
    let outcome = {
        let mut json = serde_json::Deserializer::from_reader(&mut read);
        Level { lists: &mut lists, depth: 0 }.deserialize(&mut json).and_then(|()| json.end())
    };
    if let Some(error) = lists.refused.or(read.refused) {
        return Err(NestedError::Budget(error));
    }
    outcome.map_err(NestedError::Json)?;
    let shape = Shape::new(&lists.dims).map_err(|error| NestedError::Shape(error.to_string()))?;
    let peak_bytes = lists.held_bytes.saturating_add(read.scratch.bytes());
    let Lists { texts, string_bytes, reservation, .. } = lists;
    Ok(Nested { shape, texts, string_bytes, reservation, peak_bytes })
}

/// Reads a JSON text, and reserves memory for the string that the parser collects.
struct Counted<R> {
    read: R,
    in_string: bool,
    is_escaped: bool,
    /// Bytes of the string so far.
    run_bytes: u64,
    scratch: Reservation,
    refused: Option<BudgetError>,
}

impl<R> Counted<R> {
    fn see(&mut self, byte: u8) -> Result<(), BudgetError> {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.in_string => self.is_escaped = true,
            b'"' => (self.in_string, self.run_bytes) = (!self.in_string, 0),
            _ => {}
        }
        self.run_bytes += u64::from(self.in_string);
        let needed_bytes = self.run_bytes.saturating_mul(SCRATCH_FACTOR);
        if self.run_bytes > SMALL_BYTES && needed_bytes > self.scratch.bytes() {
            // As the parser's buffer does.
            let more_bytes = self.scratch.bytes().max(SMALL_BYTES * SCRATCH_FACTOR);
            self.scratch.try_grow(more_bytes)?;
        }
        Ok(())
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.read.read(buffer)?;
        for byte in buffer.iter().take(bytes) {
            if let Err(error) = self.see(*byte) {
                let text = error.to_string();
                self.refused = Some(error);
                return Err(io::Error::other(text));
            }
        }
        Ok(bytes)
    }
}

/// What is known so far.
struct Lists {
    is_kept: bool,
    /// The length of the first list at each depth.
    dims: Vec<usize>,
    /// The depth of the first string.
    rank: Option<usize>,
    texts: Vec<Box<[u8]>>,
    string_bytes: u64,
    /// Bytes that the texts take.
    held_bytes: u64,
    reservation: Reservation,
    refused: Option<BudgetError>,
}

/// The place of a value: how many lists it stands in.
struct Level<'a> {
    lists: &'a mut Lists,
    depth: usize,
}

impl Level<'_> {
    fn push<E: serde::de::Error>(self, text: &[u8]) -> Result<(), E> {
        if *self.lists.rank.get_or_insert(self.depth) != self.depth || self.lists.dims.len() > self.depth {
            return Err(E::custom("strings and lists stand side by side"));
        }
        let bytes = text.len() as u64 + TEXT_BYTES;
        self.lists.string_bytes = self.lists.string_bytes.saturating_add(text.len() as u64);
        self.lists.held_bytes = self.lists.held_bytes.saturating_add(bytes);
        if !self.lists.is_kept {
            return Ok(());
        }
        if let Err(error) = self.lists.reservation.try_grow(bytes) {
            let text = error.to_string();
            self.lists.refused = Some(error);
            return Err(E::custom(text));
        }
        self.lists.texts.push(text.into());
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, {\"b64\": \"..\"} or a list of them")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.push(text.as_bytes())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let key: Option<String> = map.next_key()?;
        if key.as_deref() != Some("b64") {
            return Err(A::Error::custom("an object has one key, \"b64\""));
        }
        let text: String = map.next_value()?;
        if map.next_key::<String>()?.is_some() {
            return Err(A::Error::custom("an object has one key, \"b64\""));
        }
        let bytes = base64::decode(&text).ok_or_else(|| A::Error::custom("\"b64\" is not base64"))?;
        self.push(&bytes)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let depth = self.depth;
        if depth == MAX_RANK {
            return Err(A::Error::custom(format!("lists are nested deeper than {MAX_RANK}")));
        }
        if self.lists.rank.is_some_and(|rank| depth >= rank) {
            return Err(A::Error::custom("strings and lists stand side by side"));
        }
        // A list's length is known at its end; until then its place in `dims` only says that it is a list.
        let is_first = self.lists.dims.len() == depth;
        if is_first {
            self.lists.dims.push(0);
        }
        let mut length = 0;
        while list.next_element_seed(Level { lists: self.lists, depth: depth + 1 })?.is_some() {
            length += 1;
        }
        if is_first {
            self.lists.dims[depth] = length;
        } else if self.lists.dims[depth] != length {
            return Err(A::Error::custom(format!(
                "lists of {} and {length} stand side by side",
                self.lists.dims[depth]
            )));
        }
        Ok(())
    }
}

impl fmt::Display for NestedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NestedError::Json(error) => error.fmt(f),
            NestedError::Budget(error) => error.fmt(f),
            NestedError::Shape(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(Vec<usize>, Vec<String>), String> {
        let nested = read(text.as_bytes(), &MemoryBudget::new(10_000)).map_err(|e| e.to_string())?;
        let texts = nested.texts.iter().map(|t| String::from_utf8_lossy(t).into_owned());
        Ok((nested.shape.to_vec(), texts.collect()))
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|t| t.to_string()).collect()
    }

    #[test]
    fn scalars_lists_and_bytes() {
        assert_eq!(parse("\"a\\u00e4\""), Ok((vec![], strings(&["aä"]))));
        assert_eq!(parse("{\"b64\": \"Zm9v\"}"), Ok((vec![], strings(&["foo"]))));
        assert_eq!(
            parse("[[\"a\", {\"b64\": \"Yg==\"}], [\"c\", \"\"]]"),
            Ok((vec![2, 2], strings(&["a", "b", "c", ""])))
        );
        assert_eq!(parse("[]"), Ok((vec![0], vec![])));
        assert_eq!(parse("[[], []]"), Ok((vec![2, 0], vec![])));
    }

    #[test]
    fn refuses_what_is_no_tensor() {
        for bad in [
            "",
            "1",
            "null",
            "[1]",
            "[\"a\", [\"b\"]]",
            "[[\"a\"], \"b\"]",
            "[[\"a\"], [\"b\", \"c\"]]",
            "[\"a\"",
            "{\"x\": \"a\"}",
            "{\"b64\": \"?\"}",
            "{\"b64\": \"\", \"c\": 1}",
            "[\"a\"] [",
            "[[], [[]]]",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let brackets = |bracket: &str| bracket.repeat(tightfit_core::MAX_RANK + 1);
        assert!(parse(&format!("{}\"too deep\"{}", brackets("["), brackets("]"))).is_err());
        let many = format!("[{}\"a\"]", "\"a\",".repeat(1000));
        assert!(parse(&many).unwrap_err().contains("budget"));
        // One that the parser alone would collect, and one after escaped quotes.
        let long = format!("\"{}\"", "a".repeat(9000));
        assert!(parse(&long).unwrap_err().contains("budget"));
        let quotes = format!("\"{}\"", "\\\"".repeat(9000));
        assert!(parse(&quotes).unwrap_err().contains("budget"));
    }

    #[test]
    fn measuring_keeps_nothing_and_knows_what_reading_takes() {
        let text = "[[\"a\", {\"b64\": \"Yg==\"}], [\"ccc\", \"\"]]";
        let budget = MemoryBudget::new(10_000);
        let measured = measure(text.as_bytes(), &budget).unwrap();
        assert_eq!((&measured.shape[..], measured.string_bytes), (&[2, 2][..], 5));
        assert!(measured.texts.is_empty() && budget.used_bytes() == 0 && budget.peak_bytes() == 0);
        let read = read(text.as_bytes(), &budget).unwrap();
        assert_eq!((read.string_bytes, read.peak_bytes), (5, measured.peak_bytes));
        assert_eq!(budget.peak_bytes(), measured.peak_bytes);
    }
}
