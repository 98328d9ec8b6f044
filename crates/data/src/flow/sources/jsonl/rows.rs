//! The lines of a file, and what is read of each.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tightfit_core::{Buffer, DType, MemoryBudget, Reservation, Shape};

use super::{JsonColumn, PURPOSE};
use crate::convert::put_number;
use crate::error::RowFault;
use crate::flow::element::{Element, ElementView, Field, Schema};
use crate::flow::origin::Origin;
use crate::flow::sources::{BadRead, FileRows, Format};
use crate::json::{Found, Json, Kind, RawText, read_numbers, read_texts};
use crate::source::DataFile;
use crate::source::window::ByteWindow;

/// Keys with escapes are compared with names up to this.
pub(super) const MAX_KEY_BYTES: usize = 1 << 10;

/// The name that a key is; `None` for one with escapes that is longer than any name.
pub(super) fn name_of<'a>(key: RawText<'a>, room: &'a mut [u8; MAX_KEY_BYTES]) -> Option<&'a [u8]> {
    match key.plain() {
        Some(plain) => Some(plain),
        None if key.most_bytes() > MAX_KEY_BYTES => None,
        None => {
            let bytes = key.read(room).ok()?;
            room.get(..bytes)
        }
    }
}

/// A field to read, made ready.
pub(super) struct Column {
    pub spec: JsonColumn,
    /// The shape and an element of the default, text apart.
    default: Option<(Shape, [u8; 8])>,
}

impl Column {
    pub fn new(spec: JsonColumn) -> Result<Column, String> {
        let wrong = |why: String| format!("column {:?}: {why}", spec.name);
        if spec.dtype.is_complex() {
            return Err(wrong("there are no complex numbers in JSON".to_string()));
        }
        let Some(value) = &spec.default else { return Ok(Column { spec, default: None }) };
        let shape = Field::new(spec.name.as_str(), spec.dtype, &spec.dims).shape();
        let shape =
            shape.ok_or_else(|| wrong("a default needs a shape without open dimensions".to_string()))?;
        let mut element = [0; 8];
        let is_right = match (spec.dtype, value) {
            (DType::String, value) => value.is_string(),
            (_, Value::String(_)) => false,
            (dtype, value) => element
                .get_mut(..dtype.bytes())
                .and_then(|element| put_number(&value.to_string(), dtype, element))
                .is_some(),
        };
        if !is_right {
            return Err(wrong(format!("the default {value} is not of type {}", spec.dtype)));
        }
        Ok(Column { spec, default: Some((shape, element)) })
    }

    /// Adds the field, the number `index` of its element, that stands in `line` as it was found.
    fn add(
        &self,
        index: usize,
        line: &[u8],
        found: Option<Found>,
        made: &mut Element,
    ) -> Result<(), RowFault> {
        let JsonColumn { name, dtype, dims, default } = &self.spec;
        let wrong = |why: String| RowFault::Map(format!("{name:?}: {why}"));
        let Some(found) = found.filter(|found| found.kind != Kind::Null) else {
            let (shape, element) = self.default.ok_or_else(|| {
                let options = format!("{{{name:?}: {{\"dtype\": \"{dtype}\", \"default\": ..}}}}");
                wrong(format!("the key is missing; \"columns\": {options} says what it is then"))
            })?;
            if *dtype == DType::String {
                let text = default.as_ref().and_then(Value::as_str).unwrap_or_default();
                let string = made.add_text(text.as_bytes())?;
                let strings = made.add(shape)?.as_chunks_mut::<16>().0;
                strings.fill(bytemuck::cast(string));
                return Ok(());
            }
            let bytes = dtype.bytes();
            let targets = made.add(shape)?.chunks_exact_mut(bytes);
            targets.for_each(|target| target.copy_from_slice(element.get(..bytes).unwrap_or_default()));
            return Ok(());
        };
        if found.kind == Kind::Other {
            return Err(wrong(
                "no tensor: lists side by side are of one length, with values of one type".to_string(),
            ));
        }
        let fits = |(dim, size): (&Option<usize>, &usize)| dim.is_none_or(|dim| dim == *size);
        if dims.len() != found.shape.rank() || !dims.iter().zip(found.shape.iter()).all(fits) {
            let expected = Field::new("", *dtype, dims);
            return Err(wrong(format!("{}, where{expected} is expected", found.shape)));
        }
        let json = Json::new(line, found.at);
        if *dtype != DType::String {
            return read_numbers(json, *dtype, made.add(found.shape)?).map_err(wrong);
        }
        made.add(found.shape)?;
        let mut at = 0;
        read_texts(json, found.shape.elements(), |most_bytes, read| {
            let (mut string, room) = made.add_text_room(most_bytes).map_err(|e| TextFault(e.into()))?;
            string.bytes = read(room)? as u64;
            made.cut_text(string);
            made.put_string(index, at, string).map_err(|e| TextFault(e.into()))?;
            at += 1;
            Ok::<_, TextFault>(())
        })
        .map_err(|TextFault(fault)| match fault {
            RowFault::Map(why) => wrong(why),
            fault => fault,
        })
    }
}

/// Why a string could not be read.
struct TextFault(RowFault);

impl From<String> for TextFault {
    fn from(why: String) -> TextFault {
        TextFault(RowFault::Map(why))
    }
}

/// What is read of each line.
pub(super) struct Fields {
    pub columns: Vec<Column>,
    pub places: HashMap<String, usize>,
    pub is_bare: bool,
    pub _counted: Reservation,
}

impl Fields {
    /// The field of a key; most lines have them in the order of the first, in which `next` is the one to come.
    fn find(&self, key: RawText<'_>, next: usize) -> Option<usize> {
        let mut room = [0; MAX_KEY_BYTES];
        let name = name_of(key, &mut room)?;
        if self.columns.get(next).is_some_and(|column| column.spec.name.as_bytes() == name) {
            return Some(next);
        }
        self.places.get(std::str::from_utf8(name).ok()?).copied()
    }

    /// Reads a line.
    fn fill(&self, line: &[u8], found: &mut [Option<Found>], made: &mut Element) -> Result<(), RowFault> {
        found.fill(None);
        let mut json = Json::new(line, 0);
        let mut next = 0;
        let mut put = |place: usize, value: Found| {
            if let Some(to) = found.get_mut(place) {
                *to = Some(value);
            }
        };
        let read = match self.is_bare {
            true => json.value().map(|value| put(0, value)),
            false => json.object(|key, json| {
                let value = json.value()?;
                if let Some(place) = self.find(key, next) {
                    put(place, value);
                    next = place + 1;
                }
                Ok(())
            }),
        };
        read.and_then(|()| json.end()).map_err(RowFault::Map)?;
        for (index, (column, found)) in self.columns.iter().zip(found.iter()).enumerate() {
            column.add(index, line, *found, made)?;
        }
        Ok(())
    }
}

/// The lines of a file that are not blank.
pub(super) struct Lines {
    window: ByteWindow,
    /// The number of the next line, from 0.
    next: u64,
    /// Bytes of the current line, without its end and with it.
    bytes: usize,
    used: usize,
}

impl Lines {
    pub fn open(
        path: &Path,
        (line, offset): (u64, u64),
        window: Option<Buffer>,
        budget: &MemoryBudget,
    ) -> Result<Lines, RowFault> {
        let mut window = ByteWindow::open(path, offset, window, PURPOSE, budget)?;
        while offset == 0 && window.unread().len() < 3 && window.more()? {}
        // The mark that some programs put before UTF-8.
        if offset == 0 && window.unread().starts_with(b"\xef\xbb\xbf") {
            window.consume(3);
        }
        Ok(Lines { window, next: line, bytes: 0, used: 0 })
    }

    /// Goes on to the next line that is not blank; false at the end.
    pub fn advance(&mut self) -> Result<bool, RowFault> {
        loop {
            self.window.consume(std::mem::take(&mut self.used));
            self.bytes = 0;
            let line = self.window.line();
            self.next += u64::from(!matches!(line, Ok(None)));
            let Some((bytes, used)) = line? else { return Ok(false) };
            (self.bytes, self.used) = (bytes, used);
            if !self.current().trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    pub fn current(&self) -> &[u8] {
        self.window.unread().get(..self.bytes).unwrap_or_default()
    }

    /// The number of the current line, from 0.
    fn number(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    pub fn in_line(&self, fault: RowFault) -> RowFault {
        RowFault::Line { line: self.next, fault: Box::new(fault) }
    }
}

pub(super) struct LineFormat {
    pub schema: Arc<Schema>,
    pub fields: Arc<Fields>,
    pub budget: MemoryBudget,
}

impl Format for LineFormat {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn open(
        &self,
        file: &DataFile,
        from: (u64, u64),
        window: Option<Buffer>,
    ) -> Result<Box<dyn FileRows>, BadRead> {
        let bad = |fault| BadRead { place: None, fault };
        let columns = self.fields.columns.len();
        let table = self.budget.try_reserve(PURPOSE, (columns * size_of::<Option<Found>>()) as u64);
        let table = table.map_err(|error| bad(RowFault::Memory(error)))?;
        let lines = Lines::open(&file.path, from, window, &self.budget).map_err(bad)?;
        let made = Element::new(self.schema.clone(), PURPOSE, &self.budget);
        let found = vec![None; columns];
        Ok(Box::new(LineRows { lines, fields: self.fields.clone(), found, _table: table, made }))
    }
}

struct LineRows {
    lines: Lines,
    fields: Arc<Fields>,
    /// Where each field was found in the current line.
    found: Vec<Option<Found>>,
    _table: Reservation,
    made: Element,
}

impl FileRows for LineRows {
    fn advance(&mut self) -> Result<bool, BadRead> {
        let LineRows { lines, fields, found, made, .. } = self;
        let more = lines.advance();
        let (record, offset) = (lines.number(), lines.window.offset());
        made.begin(Origin { file: 0, record, offset });
        let filled = more.and_then(|more| {
            if more {
                fields.fill(lines.current(), found, made)?;
            }
            Ok(more)
        });
        filled.map_err(|fault| BadRead { place: Some((record, offset)), fault })
    }

    fn current(&self, file: u32) -> ElementView<'_> {
        self.made.view().in_file(file)
    }

    fn next_place(&self) -> (u64, u64) {
        (self.lines.next, self.lines.window.offset() + self.lines.used as u64)
    }

    fn held_bytes(&self) -> usize {
        self.lines.window.held_bytes() + self.made.held_bytes()
    }

    fn into_window(self: Box<Self>) -> Option<Buffer> {
        Some(self.lines.window.into_buffer())
    }
}
