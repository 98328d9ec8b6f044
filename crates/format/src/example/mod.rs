//! tf.train.Example, read straight from its bytes and written without building the message.
//!
//! Field numbers are those of TensorFlow's `example.proto` and `feature.proto`:
//!
//! ```text
//! Example { Features features = 1 }        Features { map<string, Feature> feature = 1 }
//! Feature { oneof { BytesList bytes_list = 1; FloatList float_list = 2; Int64List int64_list = 3 } }
//! BytesList { repeated bytes value = 1 }   FloatList, Int64List { repeated ... value = 1 [packed] }
//! ```
//!
//! Nothing is allocated: an [`Example`] borrows the record, and values are walked where they stand. As protobuf
//! asks, the last entry of a name wins, repeated lists are appended, and unknown fields are passed over.

use std::fmt;

use crate::limits;

pub mod json;
pub mod list;
pub mod sequence;
mod write;

pub use write::{NamedValues, Values, varint_bytes, write_example};
pub(crate) use write::{features_bytes, field_bytes, put_entry, put_features, put_header};

/// Bytes that are no tf.train.Example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExampleError {
    /// A field ends past the message around it.
    Truncated,
    /// A varint longer than ten bytes.
    Varint,
    /// Field number 0 or above 2^29 - 1, a wire type that protobuf has not, or the end of a group that is not open.
    Tag,
    /// A packed list of floats whose bytes are no multiple of four.
    PackedFloats,
    /// Groups nested deeper than protobuf reads them.
    Depth,
    /// A map entry with two values. Protobuf would merge them; nothing writes it, and TensorFlow's own parser of
    /// Examples refuses it.
    TwoValues,
    /// A map entry that is not one key and one value, or something else among entries, which TensorFlow's parsers refuse.
    Entry,
}

impl fmt::Display for ExampleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExampleError::Truncated => "not a tf.train.Example: a field ends after its message",
            ExampleError::Varint => "not a tf.train.Example: a varint of more than ten bytes",
            ExampleError::Tag => "not a tf.train.Example: a tag that protobuf has not",
            ExampleError::PackedFloats => "a float list whose size is not a multiple of four bytes",
            ExampleError::Depth => "not a tf.train.Example: groups nested deeper than 100",
            ExampleError::Entry => "a map of features has what is not an entry of a key and a value",
            ExampleError::TwoValues => "a feature's map entry has two values",
        })
    }
}

impl std::error::Error for ExampleError {}

pub(crate) type Result<T> = std::result::Result<T, ExampleError>;

/// The value of one field as the wire has it.
pub(crate) enum Wire<'a> {
    Varint(u64),
    Fixed32(&'a [u8]),
    Fixed64(&'a [u8]),
    Bytes(&'a [u8]),
}

/// Wire types of protobuf 2's groups, which may come as unknown fields.
const START_GROUP: u64 = 3;
const END_GROUP: u64 = 4;

/// A message whose fields are taken from the front.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a>(pub(crate) &'a [u8]);

impl<'a> Message<'a> {
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64> {
        // Tags and most lengths are one byte.
        if let [byte @ 0..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64> {
        let (mut value, mut rest) = (0u64, self.0.iter());
        for (i, byte) in rest.by_ref().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.0 = rest.as_slice();
                return Ok(value);
            }
        }
        Err(if self.0.len() < 10 { ExampleError::Truncated } else { ExampleError::Varint })
    }

    pub(crate) fn take(&mut self, bytes: u64) -> Result<&'a [u8]> {
        let bytes = usize::try_from(bytes).map_err(|_| ExampleError::Truncated)?;
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(ExampleError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next field's number and value, or `None` at the end. Groups, which are in no message read here, are passed
    /// over.
    #[inline]
    pub(crate) fn field(&mut self) -> Result<Option<(u64, Wire<'a>)>> {
        // Most fields are messages, strings or bytes with a length of one or two bytes.
        let (tag, bytes, rest) = match self.0 {
            [] => return Ok(None),
            [tag, bytes @ 0..0x80, rest @ ..] => (*tag, usize::from(*bytes), rest),
            [tag, low, high @ 0..0x80, rest @ ..] => {
                (*tag, usize::from(low & 0x7f) | usize::from(*high) << 7, rest)
            }
            _ => return self.any_field(),
        };
        if matches!(tag, 8..0x80)
            && tag & 7 == 2
            && let Some((taken, rest)) = rest.split_at_checked(bytes)
        {
            self.0 = rest;
            return Ok(Some((u64::from(tag >> 3), Wire::Bytes(taken))));
        }
        self.any_field()
    }

    fn any_field(&mut self) -> Result<Option<(u64, Wire<'a>)>> {
        loop {
            if self.0.is_empty() {
                return Ok(None);
            }
            let tag = self.varint()?;
            let number = tag >> 3;
            if number == 0 || tag > u64::from(u32::MAX) {
                return Err(ExampleError::Tag);
            }
            if tag & 7 != START_GROUP {
                return Ok(Some((number, self.value(tag & 7)?)));
            }
            self.skip_group(number)?;
        }
    }

    #[inline]
    fn value(&mut self, wire_type: u64) -> Result<Wire<'a>> {
        Ok(match wire_type {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(self.take(8)?),
            2 => {
                let bytes = self.varint()?;
                Wire::Bytes(self.take(bytes)?)
            }
            5 => Wire::Fixed32(self.take(4)?),
            _ => return Err(ExampleError::Tag),
        })
    }

    /// Passes over the rest of group `number`, whose start was taken. Not recursive: groups in groups are a list of
    /// the numbers that are still to end.
    #[cold]
    fn skip_group(&mut self, number: u64) -> Result<()> {
        let mut open = [0; limits::DEPTH.max as usize];
        let mut depth = 0;
        let mut opening = Some(number);
        loop {
            if let Some(number) = opening.take() {
                *open.get_mut(depth).ok_or(ExampleError::Depth)? = number;
                depth += 1;
            }
            let tag = self.varint()?;
            let number = tag >> 3;
            match tag & 7 {
                _ if number == 0 || tag > u64::from(u32::MAX) => return Err(ExampleError::Tag),
                START_GROUP => opening = Some(number),
                END_GROUP => {
                    depth -= 1;
                    match open.get(depth) {
                        Some(expected) if *expected == number => {}
                        _ => return Err(ExampleError::Tag),
                    }
                    if depth == 0 {
                        return Ok(());
                    }
                }
                wire_type => {
                    self.value(wire_type)?;
                }
            }
        }
    }

    /// The next field `number` that is a message, string or bytes; others are passed over.
    #[inline]
    pub(crate) fn next_bytes(&mut self, number: u64) -> Result<Option<&'a [u8]>> {
        while let Some((found, value)) = self.field()? {
            if let (true, Wire::Bytes(bytes)) = (found == number, value) {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// A tf.train.Example in its serialized form.
#[derive(Debug, Clone, Copy)]
pub struct Example<'a>(&'a [u8]);

impl<'a> Example<'a> {
    /// An example over a record's data. Nothing is looked at yet.
    pub fn new(bytes: &'a [u8]) -> Self {
        Example(bytes)
    }

    /// The features in the order of the file. A name may come twice; the last one counts.
    pub fn features(&self) -> Features<'a> {
        Features(Entries::new(self.0, 1))
    }

    /// Checks that its features are entries of one key and one value and nothing else, which TensorFlow's own parser
    /// asks for beside protobuf's rules.
    ///
    /// # Errors
    /// [`ExampleError::Entry`] where they are not, and another one when the bytes are no Example.
    pub fn check_entries(&self) -> Result<()> {
        check_entries(self.0, 1, false)
    }

    /// The feature `name`, or `None` when there is none.
    ///
    /// # Errors
    /// [`ExampleError`] when the bytes are no Example.
    pub fn find(&self, name: &str) -> Result<Option<Feature<'a>>> {
        last_named(self.features(), name)
    }
}

/// The features of an [`Example`]: names and values.
#[derive(Debug, Clone)]
pub struct Features<'a>(Entries<'a>);

impl<'a> Iterator for Features<'a> {
    type Item = Result<(&'a [u8], Feature<'a>)>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_as(Feature::new)
    }
}

/// The entries of the maps that stand under one field number of a message, each map under number 1 of its own.
#[derive(Debug, Clone)]
pub(crate) struct Entries<'a> {
    outer: Message<'a>,
    number: u64,
    map: Message<'a>,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(message: &'a [u8], number: u64) -> Self {
        Entries { outer: Message(message), number, map: Message(&[]) }
    }

    /// The next key, and what `make` makes of its value. After an error there is nothing more.
    #[inline]
    pub(crate) fn next_as<T>(
        &mut self,
        make: impl FnOnce(&'a [u8]) -> Result<T>,
    ) -> Option<Result<(&'a [u8], T)>> {
        let entry =
            self.step().and_then(|entry| entry.map(|(key, value)| Ok((key, make(value)?))).transpose());
        if entry.is_err() {
            (self.outer, self.map) = (Message(&[]), Message(&[]));
        }
        entry.transpose()
    }

    #[inline]
    fn step(&mut self) -> Result<Option<(&'a [u8], &'a [u8])>> {
        loop {
            if let Some(entry) = self.map.next_bytes(1)? {
                return entry_of(Message(entry)).map(Some);
            }
            match self.outer.next_bytes(self.number)? {
                Some(map) => self.map = Message(map),
                None => return Ok(None),
            }
        }
    }
}

/// A map entry: key = 1, value = 2.
#[inline]
fn entry_of(mut entry: Message<'_>) -> Result<(&[u8], &[u8])> {
    let (mut key, mut value): (&[u8], Option<&[u8]>) = (&[], None);
    while let Some((number, field)) = entry.field()? {
        match (number, field) {
            (1, Wire::Bytes(bytes)) => key = bytes,
            (2, Wire::Bytes(bytes)) if value.replace(bytes).is_some() => return Err(ExampleError::TwoValues),
            _ => {}
        }
    }
    // An entry without a value has the value of an empty message.
    Ok((key, value.unwrap_or_default()))
}

/// Checks that the maps under field `number` of a message are entries of one key and one value, the key first where they
/// have an order.
pub(crate) fn check_entries(message: &[u8], number: u64, has_order: bool) -> Result<()> {
    let mut outer = Message(message);
    while let Some(map) = outer.next_bytes(number)? {
        let mut map = Message(map);
        while let Some(field) = map.field()? {
            let (1, Wire::Bytes(entry)) = field else { return Err(ExampleError::Entry) };
            let mut entry = Message(entry);
            let mut next = || match entry.field()? {
                Some((field @ 1..=2, Wire::Bytes(_))) => Ok(field),
                _ => Err(ExampleError::Entry),
            };
            let both = (next()?, next()?);
            if !entry.0.is_empty() || has_order && both != (1, 2) {
                return Err(ExampleError::Entry);
            }
        }
    }
    Ok(())
}

/// The value of the last entry of a name.
pub(crate) fn last_named<'a, T>(
    entries: impl Iterator<Item = Result<(&'a [u8], T)>>,
    name: &str,
) -> Result<Option<T>> {
    let mut last = None;
    for entry in entries {
        let (key, value) = entry?;
        if key == name.as_bytes() {
            last = Some(value);
        }
    }
    Ok(last)
}

/// What a feature holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureKind {
    /// Nothing: no list was set.
    Empty,
    /// Byte strings.
    Bytes,
    /// float32.
    Float,
    /// int64.
    Int64,
}

impl fmt::Display for FeatureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FeatureKind::Empty => "nothing",
            FeatureKind::Bytes => "byte strings",
            FeatureKind::Float => "floats",
            FeatureKind::Int64 => "integers",
        })
    }
}

/// One feature: a list of values of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Feature<'a> {
    kind: FeatureKind,
    /// The Feature message from the first list of `kind` on; it has no list of another kind after that.
    message: Message<'a>,
}

impl<'a> Feature<'a> {
    #[inline]
    pub(crate) fn new(value: &'a [u8]) -> Result<Self> {
        let mut feature = Feature { kind: FeatureKind::Empty, message: Message(&[]) };
        let mut message = Message(value);
        loop {
            let here = message;
            let kind = match message.field()? {
                None => return Ok(feature),
                Some((1, Wire::Bytes(_))) => FeatureKind::Bytes,
                Some((2, Wire::Bytes(_))) => FeatureKind::Float,
                Some((3, Wire::Bytes(_))) => FeatureKind::Int64,
                Some(_) => continue,
            };
            if kind != feature.kind {
                feature = Feature { kind, message: here };
            }
        }
    }

    /// What it holds.
    pub fn kind(&self) -> FeatureKind {
        self.kind
    }

    fn list(&self, kind: FeatureKind) -> List<'a> {
        let number = match kind {
            FeatureKind::Empty => 0,
            FeatureKind::Bytes => 1,
            FeatureKind::Float => 2,
            FeatureKind::Int64 => 3,
        };
        let message = if self.kind == kind { self.message } else { Message(&[]) };
        List { number, feature: message, list: Message(&[]) }
    }

    /// The byte strings; none when it holds another kind.
    pub fn bytes(&self) -> BytesValues<'a> {
        BytesValues(self.list(FeatureKind::Bytes))
    }

    /// The integers; none when it holds another kind.
    pub fn ints(&self) -> IntValues<'a> {
        IntValues { list: self.list(FeatureKind::Int64), packed: Message(&[]) }
    }

    /// The floats in runs of little-endian values, one run for each packed list; none when it holds another kind.
    pub fn float_runs(&self) -> FloatRuns<'a> {
        FloatRuns(self.list(FeatureKind::Float))
    }

    /// Writes the floats into `out`; how many there are, which may be more than `out` has room for. None when it
    /// holds another kind.
    ///
    /// # Errors
    /// [`ExampleError`] when the list is broken.
    pub fn read_floats(&self, out: &mut [f32]) -> Result<usize> {
        let mut count = 0;
        let mut out = out.iter_mut();
        for run in self.float_runs() {
            let run = run?;
            // The run first: at its end no room is taken.
            for (from, to) in run.iter().zip(out.by_ref()) {
                *to = f32::from_le_bytes(*from);
            }
            count += run.len();
        }
        Ok(count)
    }

    /// Writes the integers into `out`; how many there are, which may be more than `out` has room for. None when it
    /// holds another kind.
    ///
    /// # Errors
    /// [`ExampleError`] when the list is broken.
    pub fn read_ints(&self, out: &mut [i64]) -> Result<usize> {
        let mut count = 0;
        for value in self.ints() {
            let value = value?;
            if let Some(to) = out.get_mut(count) {
                *to = value;
            }
            count += 1;
        }
        Ok(count)
    }

    /// How many values it has.
    ///
    /// # Errors
    /// [`ExampleError`] when the list is broken.
    pub fn count(&self) -> Result<usize> {
        match self.kind {
            FeatureKind::Empty => Ok(0),
            FeatureKind::Float => self.read_floats(&mut []),
            FeatureKind::Int64 => self.read_ints(&mut []),
            FeatureKind::Bytes => self.bytes().try_fold(0, |count, value| value.map(|_| count + 1)),
        }
    }
}

/// The fields numbered 1 of all lists of a feature.
#[derive(Debug, Clone)]
struct List<'a> {
    number: u64,
    feature: Message<'a>,
    list: Message<'a>,
}

impl<'a> List<'a> {
    #[inline]
    fn field(&mut self) -> Result<Option<Wire<'a>>> {
        loop {
            while let Some((number, value)) = self.list.field()? {
                if number == 1 {
                    return Ok(Some(value));
                }
            }
            match self.feature.next_bytes(self.number)? {
                Some(list) => self.list = Message(list),
                None => return Ok(None),
            }
        }
    }

    fn end(&mut self) {
        (self.feature, self.list) = (Message(&[]), Message(&[]));
    }
}

/// The byte strings of a [`Feature`].
#[derive(Debug, Clone)]
pub struct BytesValues<'a>(List<'a>);

impl<'a> Iterator for BytesValues<'a> {
    type Item = Result<&'a [u8]>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.0.field() {
                Ok(Some(Wire::Bytes(bytes))) => return Some(Ok(bytes)),
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => {
                    self.0.end();
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The floats of a [`Feature`], run by run.
#[derive(Debug, Clone)]
pub struct FloatRuns<'a>(List<'a>);

impl<'a> Iterator for FloatRuns<'a> {
    type Item = Result<&'a [[u8; 4]]>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let run = match self.0.field() {
                Ok(Some(Wire::Bytes(run) | Wire::Fixed32(run))) => match run.as_chunks::<4>() {
                    (values, []) => Ok(values),
                    _ => Err(ExampleError::PackedFloats),
                },
                Ok(Some(_)) => continue,
                Ok(None) => return None,
                Err(error) => Err(error),
            };
            if run.is_err() {
                self.0.end();
            }
            return Some(run);
        }
    }
}

/// The integers of a [`Feature`].
#[derive(Debug, Clone)]
pub struct IntValues<'a> {
    list: List<'a>,
    packed: Message<'a>,
}

impl IntValues<'_> {
    fn step(&mut self) -> Result<Option<i64>> {
        loop {
            if !self.packed.0.is_empty() {
                return self.packed.varint().map(|v| Some(v as i64));
            }
            match self.list.field()? {
                Some(Wire::Bytes(packed)) => self.packed = Message(packed),
                Some(Wire::Varint(value)) => return Ok(Some(value as i64)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }
}

impl Iterator for IntValues<'_> {
    type Item = Result<i64>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.packed = Message(&[]);
            self.list.end();
        }
        step.transpose()
    }
}

#[cfg(test)]
mod tests;
