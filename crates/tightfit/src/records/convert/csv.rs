//! CSV as RFC 4180 has it: fields in quotes may hold commas, line ends and doubled quotes; lines end in LF or CRLF.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use tightfit_core::{MemoryBudget, Reservation};
use tightfit_data::storage::{self, StoredFile};

use crate::error::Error;

const BUFFER_BYTES: usize = 64 << 10;

/// Bytes by which the memory of a row grows.
const STEP_BYTES: usize = 4 << 10;

/// Reads rows; the current one is held.
pub struct CsvReader {
    path: PathBuf,
    read: BufReader<StoredFile>,
    text: Vec<u8>,
    /// Where each field ends in the text.
    ends: Vec<usize>,
    /// The line that the current row begins in, from 1, and the next row.
    line: u64,
    next_line: u64,
    reservation: Reservation,
}

/// Where the reader is in a row.
#[derive(Clone, Copy, PartialEq)]
enum State {
    FieldStart,
    Bare,
    Quoted,
    /// Behind a quote inside a quoted field, which ends it unless another follows.
    QuoteSeen,
}

impl CsvReader {
    /// Opens `path`. The memory of a row comes out of `budget`.
    ///
    /// # Errors
    /// [`Error::Io`] and the budget's error.
    pub fn open(path: &Path, budget: &MemoryBudget) -> Result<CsvReader, Error> {
        let reservation = budget.try_reserve("csv row", BUFFER_BYTES as u64)?;
        let file = storage::open(path, budget).map_err(|error| Error::io(path, error))?;
        let mut reader = CsvReader {
            path: path.to_path_buf(),
            read: BufReader::with_capacity(BUFFER_BYTES, file),
            text: Vec::new(),
            ends: Vec::new(),
            line: 1,
            next_line: 1,
            reservation,
        };
        // The mark that some programs put before UTF-8.
        let head = reader.read.fill_buf().map_err(|error| Error::io(path, error))?;
        if head.starts_with(b"\xef\xbb\xbf") {
            reader.read.consume(3);
        }
        Ok(reader)
    }

    /// The fields of the current row.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.ends.len()).map(|i| {
            let start = i.checked_sub(1).and_then(|i| self.ends.get(i)).copied().unwrap_or(0);
            self.ends.get(i).and_then(|end| self.text.get(start..*end)).unwrap_or_default()
        })
    }

    /// An error at the current row.
    pub fn error(&self, why: impl std::fmt::Display) -> Error {
        Error::data(&self.path, format!("line {}: {why}", self.line))
    }

    /// Goes on to the next row that is not blank; false at the end.
    ///
    /// # Errors
    /// [`Error`] when the file cannot be read, a quote is not closed, or a row does not fit the budget.
    pub fn advance(&mut self) -> Result<bool, Error> {
        loop {
            self.text.clear();
            self.ends.clear();
            self.line = self.next_line;
            let mut state = State::FieldStart;
            let is_ended = loop {
                let Some(byte) = self.next_byte()? else { break true };
                self.next_line += u64::from(byte == b'\n');
                if byte == b'\n' && state != State::Quoted {
                    break false;
                }
                state = self.take(byte, state)?;
            };
            if state == State::Quoted {
                return Err(self.error("a quote is not closed"));
            }
            if state == State::Bare && self.text.last() == Some(&b'\r') && !is_ended {
                self.text.pop();
            }
            let is_blank = self.ends.is_empty() && self.text.is_empty() && state != State::QuoteSeen;
            if !is_blank {
                self.end_field()?;
                return Ok(true);
            }
            if is_ended {
                return Ok(false);
            }
        }
    }

    fn take(&mut self, byte: u8, state: State) -> Result<State, Error> {
        Ok(match (state, byte) {
            (State::FieldStart | State::Bare | State::QuoteSeen, b',') => {
                self.end_field()?;
                State::FieldStart
            }
            (State::FieldStart, b'"') => State::Quoted,
            (State::Quoted, b'"') => State::QuoteSeen,
            (State::QuoteSeen, b'"') => {
                self.push(byte)?;
                State::Quoted
            }
            (State::QuoteSeen, b'\r') => State::QuoteSeen,
            (State::QuoteSeen, _) => return Err(self.error("text behind a closing quote")),
            (State::Quoted, _) => {
                self.push(byte)?;
                State::Quoted
            }
            (State::FieldStart | State::Bare, _) => {
                self.push(byte)?;
                State::Bare
            }
        })
    }

    fn next_byte(&mut self) -> Result<Option<u8>, Error> {
        let filled = self.read.fill_buf().map_err(|error| Error::io(&self.path, error))?;
        let byte = filled.first().copied();
        self.read.consume(usize::from(byte.is_some()));
        Ok(byte)
    }

    fn push(&mut self, byte: u8) -> Result<(), Error> {
        if self.text.len() == self.text.capacity() {
            let more_bytes = self.text.len().max(STEP_BYTES);
            // While it moves there are both the old and the new.
            self.reservation.try_grow(2 * more_bytes as u64)?;
            self.text.reserve_exact(more_bytes);
        }
        self.text.push(byte);
        Ok(())
    }

    fn end_field(&mut self) -> Result<(), Error> {
        if self.ends.len() == self.ends.capacity() {
            let more = self.ends.len().max(64);
            self.reservation.try_grow((2 * more * size_of::<usize>()) as u64)?;
            self.ends.reserve_exact(more);
        }
        self.ends.push(self.text.len());
        Ok(())
    }
}

/// Appends `field`, in quotes where it needs them, or where an empty one would be taken for a missing one.
pub fn put_field(out: &mut Vec<u8>, field: &[u8]) {
    let needs_quotes = field.is_empty()
        || field.iter().any(|b| matches!(b, b',' | b'"' | b'\n' | b'\r'))
        || field.trim_ascii().len() < field.len();
    if !needs_quotes {
        out.extend_from_slice(field);
        return;
    }
    out.push(b'"');
    for byte in field {
        out.extend(std::iter::repeat_n(*byte, 1 + usize::from(*byte == b'"')));
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8], budget_bytes: u64) -> Result<Vec<Vec<Vec<u8>>>, Error> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tightfit-csv-{}-{number}.csv", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let mut reader = CsvReader::open(&path, &MemoryBudget::new(budget_bytes))?;
        std::fs::remove_file(&path).unwrap();
        let mut rows = Vec::new();
        while reader.advance()? {
            rows.push(reader.fields().map(<[u8]>::to_vec).collect());
        }
        Ok(rows)
    }

    #[test]
    fn fields_as_rfc_4180_has_them() {
        let text = b"\xef\xbb\xbfa,b\r\n\"x,1\",\"say \"\"hi\"\"\nagain\"\r\n\r\n,\n\"\"\nlast,\xff";
        let expected: [&[&[u8]]; 5] =
            [&[b"a", b"b"], &[b"x,1", b"say \"hi\"\nagain"], &[b"", b""], &[b""], &[b"last", b"\xff"]];
        assert_eq!(rows(text, 1 << 20).unwrap(), expected);
        for (text, why) in [(&b"a\n\"b"[..], "line 2: a quote is not closed"), (b"\"a\"b\n", "closing quote")]
        {
            let error = rows(text, 1 << 20).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let error = rows(&[b'x'; 100_000], 100_000).unwrap_err().to_string();
        assert!(error.contains("csv row needs"), "{error}");
    }

    #[test]
    fn writes_what_it_reads() {
        let fields: [&[u8]; 6] = [b"plain", b"", b"a,b", b"\"q\"", b" x", b"two\r\nlines"];
        let mut text = Vec::new();
        for (i, field) in fields.iter().enumerate() {
            text.extend((i > 0).then_some(b','));
            put_field(&mut text, field);
        }
        assert_eq!(rows(&text, 1 << 20).unwrap(), [fields.map(<[u8]>::to_vec)]);
    }
}
