//! Open files that are read at positions, and a small window that moves over one.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget};

use crate::error::{FormatError, Place, Problem};

/// An open file of known length. It has no position of its own, so any number of threads may read it at once.
#[derive(Debug)]
pub struct SourceFile {
    file: File,
    path: Arc<Path>,
    bytes: u64,
}

impl SourceFile {
    /// Opens the regular file `path` to read.
    ///
    /// # Errors
    /// [`FormatError`] when it cannot be opened, or is a folder or a device.
    pub fn open(path: impl AsRef<Path>) -> Result<Arc<SourceFile>, FormatError> {
        let path: Arc<Path> = path.as_ref().into();
        // Before it is opened: opening a pipe waits for whoever writes to it.
        let metadata = std::fs::metadata(&path).map_err(|e| FormatError::io(&path, e))?;
        if !metadata.is_file() {
            let found = if metadata.is_dir() { "a folder" } else { "a device or pipe" };
            return Err(FormatError::new(&path, Place::Whole, Problem::invalid("a file", found)));
        }
        let file = File::open(&path).map_err(|e| FormatError::io(&path, e))?;
        Ok(Arc::new(SourceFile { file, path, bytes: metadata.len() }))
    }

    /// Where it was opened.
    pub fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Its bytes when it was opened.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// What the system says of it now.
    ///
    /// # Errors
    /// Whatever the system reports.
    pub fn metadata(&self) -> io::Result<std::fs::Metadata> {
        self.file.metadata()
    }

    /// True when it had no bytes when it was opened.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Fills `out` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`FormatError`] that names the offset: when the range passes the file's end, when the file has become
    /// shorter since it was opened, and when the system cannot read it.
    pub fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> Result<(), FormatError> {
        let present_bytes = self.bytes.saturating_sub(offset);
        if out.len() as u64 > present_bytes {
            let needed_bytes = out.len() as u64;
            let problem = Problem::Truncated { what: "a read", needed_bytes, present_bytes };
            return Err(self.error_at(offset, problem));
        }
        read_exact_at(&self.file, offset, out).map_err(|error| {
            let problem = match error.kind() {
                io::ErrorKind::UnexpectedEof => Problem::Shrunk { opened_bytes: self.bytes },
                _ => Problem::Io(error),
            };
            self.error_at(offset, problem)
        })
    }

    /// An error at a byte offset of this file.
    pub fn error_at(&self, offset: u64, problem: Problem) -> FormatError {
        FormatError::new(&self.path, Place::Offset(offset), problem)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !out.is_empty() {
        match file.seek_read(out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                offset += n as u64;
                out = &mut out[n..];
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The most bytes a [`Cursor`] holds.
pub const WINDOW_BYTES: usize = 64 << 10;

/// Bytes read after a jump. After a skipped tensor stands a little structure and then the next tensor, so a full
/// window there would mostly hold bytes that nobody wants; reads that follow on double it.
const FIRST_FILL_BYTES: usize = 4 << 10;

/// A position in a [`SourceFile`] with a bounded window of its bytes. What is skipped is not read.
#[derive(Debug)]
pub struct Cursor {
    source: Arc<SourceFile>,
    window: Buffer,
    /// The file offset of `window[0]`.
    start: u64,
    /// Bytes of the window that are valid.
    filled: usize,
    /// The position, relative to `start`. It is above `filled` after a skip out of the window.
    at: u64,
    next_fill: usize,
}

impl Cursor {
    /// A cursor at the start of `source`, its window taken from `budget`.
    ///
    /// # Errors
    /// [`FormatError`] when the window does not fit the budget.
    pub fn new(source: Arc<SourceFile>, budget: &MemoryBudget) -> Result<Self, FormatError> {
        let bytes = source.len().min(WINDOW_BYTES as u64) as usize;
        let window = Buffer::new(budget, "window over a model file", bytes)
            .map_err(|e| source.error_at(0, Problem::Budget(e)))?;
        Ok(Self { source, window, start: 0, filled: 0, at: 0, next_fill: FIRST_FILL_BYTES })
    }

    /// The file.
    pub fn source(&self) -> &Arc<SourceFile> {
        &self.source
    }

    /// The offset of the next byte.
    pub fn position(&self) -> u64 {
        self.start + self.at
    }

    /// Bytes from the position to the file's end.
    pub fn remaining(&self) -> u64 {
        self.source.len().saturating_sub(self.position())
    }

    /// Moves to `offset`, which may pass the end of the file; reading there gives no bytes.
    pub fn seek(&mut self, offset: u64) {
        match offset.checked_sub(self.start) {
            Some(at) => self.at = at,
            None => {
                self.start = offset;
                self.filled = 0;
                self.at = 0;
                self.next_fill = FIRST_FILL_BYTES;
            }
        }
    }

    /// The bytes from the position on that are in the window: at least one, unless the file ends here.
    ///
    /// # Errors
    /// [`FormatError`] when the file cannot be read.
    pub fn peek(&mut self) -> Result<&[u8], FormatError> {
        if self.at >= self.filled as u64 {
            self.fill(1)?;
        }
        Ok(&self.window[self.at as usize..self.filled])
    }

    /// As [`Cursor::peek`], with at least `bytes` unless the file ends before. `bytes` is at most 64.
    ///
    /// # Errors
    /// [`FormatError`] when the file cannot be read.
    pub fn peek_at_least(&mut self, bytes: usize) -> Result<&[u8], FormatError> {
        debug_assert!(bytes <= 64);
        let all_held = self.start + self.filled as u64 >= self.source.len();
        if self.at > self.filled as u64 || (self.at + bytes as u64 > self.filled as u64 && !all_held) {
            self.fill(bytes)?;
        }
        Ok(&self.window[self.at as usize..self.filled])
    }

    /// Moves on by `bytes`, read or not.
    pub fn skip(&mut self, bytes: u64) {
        self.seek(self.position().saturating_add(bytes));
    }

    /// The next byte, or `None` at the file's end.
    ///
    /// # Errors
    /// [`FormatError`] when the file cannot be read.
    pub fn byte(&mut self) -> Result<Option<u8>, FormatError> {
        let byte = self.peek()?.first().copied();
        if byte.is_some() {
            self.at += 1;
        }
        Ok(byte)
    }

    /// Fills `out`; a large part that is not in the window is read straight into it.
    ///
    /// # Errors
    /// [`FormatError`] when the file has fewer bytes or cannot be read.
    pub fn read_exact(&mut self, mut out: &mut [u8]) -> Result<(), FormatError> {
        while !out.is_empty() {
            let in_window = self.at < self.filled as u64;
            let position = self.position();
            if !in_window && (out.len() >= WINDOW_BYTES / 2 || self.remaining() == 0) {
                self.source.read_exact_at(position, out)?;
                self.skip(out.len() as u64);
                return Ok(());
            }
            let available = self.peek()?;
            let bytes = available.len().min(out.len());
            let (head, tail) = out.split_at_mut(bytes);
            head.copy_from_slice(&available[..bytes]);
            self.at += bytes as u64;
            out = tail;
        }
        Ok(())
    }

    /// Puts the position at the window's start and reads there: at least `bytes` unless the file ends before.
    fn fill(&mut self, bytes: usize) -> Result<(), FormatError> {
        let position = self.position();
        let follows_on = self.filled > 0 && self.at <= self.filled as u64;
        self.next_fill = if follows_on { self.next_fill * 2 } else { FIRST_FILL_BYTES }.min(WINDOW_BYTES);
        self.start = position;
        self.at = 0;
        self.filled = 0;
        let wanted = self.next_fill.max(bytes).min(self.window.len());
        let wanted = (wanted as u64).min(self.remaining()) as usize;
        self.source.read_exact_at(position, &mut self.window[..wanted])?;
        self.filled = wanted;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of `bytes` bytes, each the low byte of its offset times 7, removed when dropped.
    struct Sample(std::path::PathBuf);

    impl Sample {
        fn new(name: &str, bytes: usize) -> Sample {
            let path = std::env::temp_dir().join(format!("tightfit-source-{}-{name}", std::process::id()));
            std::fs::write(&path, (0..bytes).map(at).collect::<Vec<u8>>()).unwrap();
            Sample(path)
        }
    }

    impl Drop for Sample {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).ok();
        }
    }

    fn at(offset: usize) -> u8 {
        (offset * 7) as u8
    }

    #[test]
    fn a_cursor_gives_the_file_from_any_position_in_any_pieces() {
        const BYTES: usize = 300_000;
        let sample = Sample::new("pieces", BYTES);
        let budget = MemoryBudget::new(WINDOW_BYTES as u64);
        let mut cursor = Cursor::new(SourceFile::open(&sample.0).unwrap(), &budget).unwrap();
        let mut position = 0;
        for round in 0..2000 {
            let piece = [1, 9, 4095, 4096, 40_000, 70_000][round % 6];
            if position + piece > BYTES {
                position = (round * 7919) % 1000;
                cursor.seek(position as u64);
            }
            assert_eq!(cursor.position(), position as u64);
            match round % 5 {
                0 => {
                    assert_eq!(cursor.byte().unwrap(), Some(at(position)));
                    position += 1;
                }
                1 => {
                    cursor.skip(piece as u64);
                    position += piece;
                }
                2 => {
                    let wanted = 10.min(BYTES - position);
                    let bytes = cursor.peek_at_least(10).unwrap();
                    assert!(bytes.len() >= wanted);
                    assert!(bytes.iter().enumerate().all(|(i, b)| *b == at(position + i)));
                }
                _ => {
                    let mut out = vec![0; piece];
                    cursor.read_exact(&mut out).unwrap();
                    assert!(out.iter().enumerate().all(|(i, b)| *b == at(position + i)));
                    position += piece;
                }
            }
        }
    }

    #[test]
    fn the_end_is_the_end() {
        let sample = Sample::new("end", 10);
        let source = SourceFile::open(&sample.0).unwrap();
        let mut cursor = Cursor::new(source.clone(), &MemoryBudget::new(u64::MAX)).unwrap();
        cursor.skip(8);
        assert_eq!((cursor.peek_at_least(10).unwrap().len(), cursor.remaining()), (2, 2));
        let error = cursor.read_exact(&mut [0; 3]).unwrap_err();
        assert!(matches!(error.problem(), Problem::Truncated { .. }), "{error}");
        cursor.skip(u64::MAX);
        assert_eq!((cursor.byte().unwrap(), cursor.remaining()), (None, 0));
        cursor.seek(9);
        assert_eq!(cursor.byte().unwrap(), Some(at(9)));
        assert!(source.read_exact_at(u64::MAX, &mut [0]).is_err());
        source.read_exact_at(10, &mut []).unwrap();
    }

    #[test]
    fn only_files_are_opened() {
        let error = SourceFile::open(std::env::temp_dir()).unwrap_err().to_string();
        assert!(error.contains("expected a file, found a folder"), "{error}");
        let error = SourceFile::open("/no/such/model.pb").unwrap_err();
        assert!(matches!(error.problem(), Problem::Io(_)) && error.place() == Place::Whole, "{error}");
    }
}
