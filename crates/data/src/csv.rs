//! CSV as RFC 4180 has it: fields in quotes may hold delimiters, line ends and doubled quotes. Lines end in LF, CRLF or CR,
//! also in one file. Blank lines are passed over, or rows of one empty field; a quote inside a field that does not begin
//! with one is a character like others.

use std::path::Path;

use tightfit_core::{Buffer, MemoryBudget, Reservation};

use crate::error::{DataError, RowFault};
use crate::source::window::ByteWindow;

const PURPOSE: &str = "csv row";

/// How rows are cut into fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct CsvFormat {
    /// What stands between fields.
    pub delimiter: u8,
    /// Whether a field may stand in double quotes; if not, they are characters like others.
    pub has_quotes: bool,
    /// Whether blank lines are passed over; if not, each is a row of one empty field.
    pub skips_blank_lines: bool,
}

impl Default for CsvFormat {
    /// Commas and quotes, and blank lines passed over.
    fn default() -> Self {
        CsvFormat { delimiter: b',', has_quotes: true, skips_blank_lines: true }
    }
}

/// Reads rows; the current one is lent.
pub struct CsvReader {
    window: ByteWindow,
    format: CsvFormat,
    /// Where each field ends in the row's text, which stands where the row was read from, its quotes taken out.
    ends: Vec<usize>,
    /// Bytes that the current row was read from.
    row_bytes: usize,
    /// The line that the current row begins in, from 1, and the next row.
    line: u64,
    next_line: u64,
    /// Where the current row begins in the file.
    offset: u64,
    reservation: Reservation,
}

/// Where the reader is in a row.
#[derive(Clone, Copy, PartialEq)]
enum State {
    FieldStart,
    Bare,
    Quoted,
    /// After a quote inside a quoted field, which ends it unless another follows.
    QuoteSeen,
}

impl CsvReader {
    /// Opens `path`, which may be compressed with gzip. Memory comes out of `budget`.
    ///
    /// # Errors
    /// [`DataError::Io`] and [`DataError::Budget`].
    pub fn open(path: &Path, format: CsvFormat, budget: &MemoryBudget) -> Result<CsvReader, DataError> {
        CsvReader::open_at(path, format, (0, 0), None, budget).map_err(|fault| match fault {
            RowFault::Io(error) => DataError::Io { path: path.to_path_buf(), error },
            RowFault::Memory(error) => DataError::Budget(error),
            fault => DataError::Spec(format!("{}: {fault}", path.display())),
        })
    }

    /// Opens `path` after `from.0` lines, at byte `from.1`. `buffer` is what another file was read through.
    pub(crate) fn open_at(
        path: &Path,
        format: CsvFormat,
        from: (u64, u64),
        buffer: Option<Buffer>,
        budget: &MemoryBudget,
    ) -> Result<CsvReader, RowFault> {
        let (lines, offset) = from;
        let reservation = budget.try_reserve(PURPOSE, 0)?;
        let mut window = ByteWindow::open(path, offset, buffer, PURPOSE, budget)?;
        while offset == 0 && window.unread().len() < 3 && window.more()? {}
        // The mark that some programs put before UTF-8.
        if offset == 0 && window.unread().starts_with(b"\xef\xbb\xbf") {
            window.consume(3);
        }
        let next_line = lines + 1;
        let ends = Vec::new();
        Ok(CsvReader { window, format, ends, row_bytes: 0, line: next_line, next_line, offset, reservation })
    }

    /// The fields of the current row.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let (text, mut start) = (self.window.unread(), 0);
        self.ends.iter().map(move |end| &text[std::mem::replace(&mut start, *end)..*end])
    }

    /// Field `index` of the current row.
    pub fn field(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.window.unread()[start..end])
    }

    /// The line that the current row begins in, or that is wrong, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Where the current row begins, in bytes of the uncompressed file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Lines and bytes before the next row.
    pub(crate) fn next_place(&self) -> (u64, u64) {
        (self.next_line - 1, self.window.offset() + self.row_bytes as u64)
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.window.held_bytes() + self.reservation.bytes() as usize
    }

    pub(crate) fn into_buffer(self) -> Buffer {
        self.window.into_buffer()
    }

    /// Goes on to the next row; false at the end.
    ///
    /// # Errors
    /// [`RowFault`] when the file cannot be read, a quote is not closed, or the row does not fit the budget. The next
    /// call goes on with the next line.
    pub fn advance(&mut self) -> Result<bool, RowFault> {
        loop {
            self.window.consume(std::mem::take(&mut self.row_bytes));
            self.ends.clear();
            (self.line, self.offset) = (self.next_line, self.window.offset());
            let found = self.scan();
            let is_row = match found {
                Ok(is_row) => is_row,
                Err(fault) => {
                    self.ends.clear();
                    self.window.consume(std::mem::take(&mut self.row_bytes));
                    self.next_line += 1;
                    self.skip_line()?;
                    return Err(fault);
                }
            };
            if is_row {
                return Ok(true);
            }
            if self.row_bytes == 0 {
                return Ok(false);
            }
            if !self.format.skips_blank_lines {
                self.end_field(0)?;
                return Ok(true);
            }
        }
    }

    /// Finds the fields of the row that the window begins with; false for a blank line, of no bytes at the end.
    fn scan(&mut self) -> Result<bool, RowFault> {
        let CsvFormat { delimiter, has_quotes, .. } = self.format;
        // The row is read at `from` and written to `to`, which is not after it.
        let (mut from, mut to, mut state) = (0, 0, State::FieldStart);
        let line_end = loop {
            self.row_bytes = from;
            let unread = self.window.unread_mut();
            let Some(&byte) = unread.get(from) else {
                if self.window.more()? { continue } else { break None }
            };
            if state == State::FieldStart && has_quotes && byte == b'"' {
                (from, state) = (from + 1, State::Quoted);
                continue;
            }
            if state == State::QuoteSeen {
                from += 1;
                match byte {
                    b'"' => {
                        unread[to] = byte;
                        (to, state) = (to + 1, State::Quoted);
                    }
                    b'\n' | b'\r' => break Some(byte),
                    _ if byte == delimiter => {
                        self.end_field(to)?;
                        state = State::FieldStart;
                    }
                    _ => return Err(RowFault::Map("text after a closing quote".to_string())),
                }
                continue;
            }
            // What is taken as it is goes up to the next byte that means something.
            let rest = &unread[from..];
            let run = match state {
                State::Quoted => memchr::memchr(b'"', rest),
                _ => memchr::memchr3(delimiter, b'\n', b'\r', rest),
            };
            let end = from + run.unwrap_or(rest.len());
            if state == State::Quoted {
                self.next_line += lines_in(&rest[..end - from]);
            } else if end > from {
                state = State::Bare;
            }
            if to < from {
                unread.copy_within(from..end, to);
            }
            to += end - from;
            from = end;
            let Some(&byte) = unread.get(from) else { continue };
            from += 1;
            match (state, byte) {
                (State::Quoted, _) => state = State::QuoteSeen,
                (_, b'\n' | b'\r') => break Some(byte),
                _ => {
                    self.end_field(to)?;
                    state = State::FieldStart;
                }
            }
        };
        if state == State::Quoted {
            return Err(RowFault::Map("a quote is not closed".to_string()));
        }
        self.next_line += u64::from(line_end.is_some());
        self.row_bytes = from;
        if line_end == Some(b'\r') && self.has_line_feed(from)? {
            from += 1;
        }
        self.row_bytes = from;
        if self.ends.is_empty() && to == 0 && state != State::QuoteSeen {
            return Ok(false);
        }
        self.end_field(to)?;
        Ok(true)
    }

    /// Whether a line feed stands at `at`.
    fn has_line_feed(&mut self, at: usize) -> Result<bool, RowFault> {
        while self.window.unread().len() <= at && self.window.more()? {}
        Ok(self.window.unread().get(at) == Some(&b'\n'))
    }

    /// Passes over the rest of a line that is wrong.
    fn skip_line(&mut self) -> Result<(), RowFault> {
        loop {
            let unread = self.window.unread();
            if let Some(end) = memchr::memchr2(b'\n', b'\r', unread) {
                let is_return = unread.get(end) == Some(&b'\r');
                let bytes = end + 1 + usize::from(is_return && self.has_line_feed(end + 1)?);
                self.window.consume(bytes);
                return Ok(());
            }
            self.window.consume(unread.len());
            if !self.window.more()? {
                return Ok(());
            }
        }
    }

    fn end_field(&mut self, end: usize) -> Result<(), RowFault> {
        if self.ends.len() == self.ends.capacity() {
            let more = self.ends.len().max(64);
            // While the list moves there are both the old and the new.
            self.reservation.try_grow((2 * more * size_of::<usize>()) as u64)?;
            self.ends.reserve_exact(more);
        }
        self.ends.push(end);
        Ok(())
    }
}

/// How many lines end in a part of a quoted field: at LF, CRLF and CR. CRLF across two parts counts twice, which is no
/// more than a line's number that is one too high.
fn lines_in(text: &[u8]) -> u64 {
    let ends = |(at, byte): &(usize, &u8)| match byte {
        b'\n' => true,
        b'\r' => text.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    text.iter().enumerate().filter(ends).count() as u64
}

/// What the cells of a column seen so far could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CellKind {
    /// All were empty.
    #[default]
    Unknown,
    /// Integers.
    Int64,
    /// Numbers.
    Float,
    /// Anything. `007` is text: as a number it would lose its zeros.
    Text,
}

impl CellKind {
    /// What the column could be with one more cell.
    #[must_use]
    pub fn with(self, cell: &[u8]) -> CellKind {
        let found = match cell {
            [] => return self,
            _ => number_text(cell).map_or(CellKind::Text, |text| match text.parse::<i64>() {
                Ok(_) => CellKind::Int64,
                Err(_) if text.parse::<f64>().is_ok() => CellKind::Float,
                Err(_) => CellKind::Text,
            }),
        };
        match (self, found) {
            (CellKind::Unknown, found) => found,
            (known, found) if known == found => known,
            (CellKind::Text, _) | (_, CellKind::Text) => CellKind::Text,
            _ => CellKind::Float,
        }
    }
}

/// The text of what could be a number.
fn number_text(cell: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(cell).ok()?.trim_ascii();
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    match digits {
        [b'0', b'0'..=b'9', ..] => None,
        _ => Some(text),
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

    /// A reader of a file that holds `text`.
    fn open(text: &[u8], format: CsvFormat, budget_bytes: u64) -> Result<CsvReader, DataError> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tightfit-csv-{}-{number}.csv", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let reader = CsvReader::open(&path, format, &MemoryBudget::new(budget_bytes));
        std::fs::remove_file(&path).unwrap();
        reader
    }

    fn rows(text: &[u8], budget_bytes: u64) -> Result<Vec<Vec<Vec<u8>>>, String> {
        let mut reader = open(text, CsvFormat::default(), budget_bytes).map_err(|e| e.to_string())?;
        let mut rows = Vec::new();
        while reader.advance().map_err(|fault| format!("line {}: {fault}", reader.line()))? {
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
            let error = rows(text, 1 << 20).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let error = rows(&[b'x'; 1_000_000], 600_000).unwrap_err();
        assert!(error.contains("csv row needs"), "{error}");
        assert_eq!(rows(&[b'x'; 1_000_000], 4 << 20).unwrap(), [[vec![b'x'; 1_000_000]]]);
    }

    #[test]
    fn lines_end_in_any_way() {
        for text in ["a,b\r1,2\r3,4\r", "a,b\r\n1,2\r3,4\n", "a,b\n1,2\r\n3,4", "a,b\r\"1\",2\r\n3,\"4\"\r"] {
            assert_eq!(
                rows(text.as_bytes(), 1 << 20).unwrap(),
                [[b"a", b"b"], [b"1", b"2"], [b"3", b"4"]],
                "{text:?}"
            );
        }
        // In quotes they are text.
        let expected: [&[&[u8]]; 2] = [&[b"x\ry", b"p\r\nq\n"], &[b"1", b"2"]];
        assert_eq!(rows(b"\"x\ry\",\"p\r\nq\n\"\r1,2\r", 1 << 20).unwrap(), expected);
        assert_eq!(rows(b"a\r\r\nb\r", 1 << 20).unwrap(), [[b"a"], [b"b"]]);
        // Across the end of what is read at once, whose place moves by one byte each time.
        for before in 0..3 {
            let text = "x".repeat(before) + "\r\n" + &"12,34\r\n".repeat(100_000);
            let found = rows(text.as_bytes(), 1 << 20).unwrap();
            assert_eq!(found.len(), 100_000 + usize::from(before > 0));
            assert!(found.iter().skip(1).all(|row| row == &[b"12", b"34"]));
        }
        let error = rows(b"1\r\n2\r\"3\r4\r\n5\"x\r", 1 << 20).unwrap_err();
        assert!(error.starts_with("line 3:") && error.contains("closing quote"), "{error}");
    }

    #[test]
    fn blank_lines_are_rows_where_they_are_not_passed_over() {
        let format = CsvFormat { skips_blank_lines: false, ..CsvFormat::default() };
        let mut reader = open(b"a\n\r\n\rb\n", format, 1 << 20).unwrap();
        let mut found = Vec::new();
        while reader.advance().unwrap() {
            found.push((reader.line(), reader.fields().map(<[u8]>::to_vec).collect::<Vec<_>>()));
        }
        let row = |line, text: &str| (line, vec![text.as_bytes().to_vec()]);
        assert_eq!(found, [row(1, "a"), row(2, ""), row(3, ""), row(4, "b")]);
    }

    #[test]
    fn rows_across_the_end_of_the_window() {
        let mut text = Vec::new();
        let expected: Vec<Vec<Vec<u8>>> = (0..20_000u32)
            .map(|i| {
                let (plain, quoted) = (i.to_string(), format!("\"{i}\",\n{}", "x".repeat(i as usize % 50)));
                text.extend(plain.as_bytes());
                text.push(b',');
                put_field(&mut text, quoted.as_bytes());
                text.extend(b"\r\n");
                vec![plain.into_bytes(), quoted.into_bytes()]
            })
            .collect();
        assert_eq!(rows(&text, 1 << 20).unwrap(), expected);
    }

    #[test]
    fn goes_on_behind_a_bad_row() {
        for text in ["a\n\"b\"c\nd\n", "a\r\"b\"c\rd\r"] {
            let mut reader = open(text.as_bytes(), CsvFormat::default(), 1 << 20).unwrap();
            assert!(reader.advance().unwrap());
            assert!(reader.advance().is_err());
            assert_eq!(
                (reader.advance().unwrap(), reader.line(), reader.field(0)),
                (true, 3, Some(&b"d"[..]))
            );
            assert!(!reader.advance().unwrap());
        }
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

    #[test]
    fn kinds_of_columns() {
        let kind =
            |cells: &[&str]| cells.iter().fold(CellKind::Unknown, |kind, cell| kind.with(cell.as_bytes()));
        assert_eq!(kind(&["", ""]), CellKind::Unknown);
        assert_eq!(kind(&["1", "", "-2"]), CellKind::Int64);
        assert_eq!(kind(&["1", "0.5"]), CellKind::Float);
        assert_eq!(kind(&["0.5", "1"]), CellKind::Float);
        assert_eq!(kind(&["-0.5", "1e-3", "NaN"]), CellKind::Float);
        assert_eq!(kind(&["99999999999999999999"]), CellKind::Float);
        assert_eq!(kind(&["1", "x", "2"]), CellKind::Text);
        assert_eq!(kind(&["1", "007"]), CellKind::Text);
    }
}
