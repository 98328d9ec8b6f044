//! A file read from front to back through a window that grows to the longest piece of it that is needed at once.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use tightfit_core::{Buffer, MemoryBudget, Reservation};
use tightfit_format::compress::{Compression, Decompressor};

use crate::error::{Needed, RowFault, clamped};
use crate::storage::{self, StoredFile};

/// A window that is smaller than what is in it.
const NO_ROOM: &str = "a window has no room for what it holds";

/// What files are read through at first.
const WINDOW_BYTES: usize = 256 << 10;

/// The bytes of a file that were read and not yet used.
pub(crate) struct ByteWindow {
    read: Decompressor<StoredFile>,
    purpose: &'static str,
    budget: MemoryBudget,
    _inflating: Reservation,
    buffer: Buffer,
    /// Unread bytes are `buffer[start..end]`; the byte at `start` is at `offset` of the uncompressed file.
    start: usize,
    end: usize,
    offset: u64,
    is_at_end: bool,
}

impl ByteWindow {
    /// Opens `path`, unpacked if it begins as a file of gzip or Zstandard does, before the byte `offset` of its content. `buffer` is
    /// what another file was read through; memory comes out of `budget`, for `purpose`.
    pub fn open(
        path: &Path,
        offset: u64,
        buffer: Option<Buffer>,
        purpose: &'static str,
        budget: &MemoryBudget,
    ) -> Result<ByteWindow, RowFault> {
        let mut file = storage::open(path, budget).map_err(RowFault::Io)?;
        let mut head = [0; 16];
        let have = file.read_at(&mut head, 0).map_err(RowFault::Io)?;
        let compression = Compression::of_text(&head[..have.min(head.len())]);
        let is_plain = compression == Compression::None;
        let inflating = budget.try_reserve(purpose, compression.held_bytes())?;
        if is_plain && offset > 0 {
            file.seek(SeekFrom::Start(offset)).map_err(RowFault::Io)?;
        }
        let buffer = match buffer {
            Some(buffer) => buffer,
            None => Buffer::new(budget, purpose, WINDOW_BYTES)?,
        };
        let mut window = ByteWindow {
            read: Decompressor::new(compression, file),
            purpose,
            budget: budget.clone(),
            _inflating: inflating,
            buffer,
            start: 0,
            end: 0,
            offset: if is_plain { offset } else { 0 },
            is_at_end: false,
        };
        // There is no other way to a place in a compressed file than through what is before it.
        while window.offset < offset && window.more()? {
            let ahead = clamped(offset - window.offset);
            window.consume(ahead.min(window.unread().len()));
        }
        Ok(window)
    }

    /// Where the first unread byte is in the uncompressed file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes held.
    pub fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The memory, for the next file.
    pub fn into_buffer(self) -> Buffer {
        self.buffer
    }

    /// What was read and not yet used.
    pub fn unread(&self) -> &[u8] {
        // What moves the one end looks at the other, and at how much there is.
        &self.buffer[self.start..self.end]
    }

    /// The same, to be changed in place.
    pub fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    /// The first `bytes` bytes that are unread are used.
    pub fn consume(&mut self, bytes: usize) {
        let bytes = bytes.min(self.end - self.start);
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Reads more after what is unread, whose place in memory may change; false when there is nothing more.
    ///
    /// # Errors
    /// [`RowFault::Io`], and [`RowFault::Memory`] when the window is full and there is no memory for a larger one.
    pub fn more(&mut self) -> Result<bool, RowFault> {
        if self.is_at_end {
            return Ok(false);
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            let bytes = self.buffer.len().max(WINDOW_BYTES / 2).saturating_mul(2);
            let mut larger = Buffer::new(&self.budget, self.purpose, bytes)?;
            let to = larger.get_mut(..self.end).needed(NO_ROOM)?;
            to.copy_from_slice(self.buffer.get(..self.end).needed(NO_ROOM)?);
            self.buffer = larger;
        }
        let room = self.buffer.get_mut(self.end..).needed(NO_ROOM)?;
        loop {
            match self.read.read(room) {
                Ok(bytes) => {
                    // No reader says that it has filled more than there was.
                    self.end = self.buffer.len().min(self.end + bytes);
                    self.is_at_end = bytes == 0;
                    return Ok(bytes > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.is_at_end = true;
                    return Err(RowFault::Io(error));
                }
            }
        }
    }

    /// Reads up to the end of the line that the unread bytes begin with: its bytes without its end, LF or CRLF, and with it;
    /// `None` at the end of the file.
    ///
    /// # Errors
    /// As [`ByteWindow::more`]; the line is passed over then.
    pub fn line(&mut self) -> Result<Option<(usize, usize)>, RowFault> {
        let mut looked_at = 0;
        loop {
            let unread = self.unread();
            if let Some(end) = memchr::memchr(b'\n', unread.get(looked_at..).unwrap_or_default()) {
                let end = looked_at + end;
                let is_crlf = end > 0 && unread.get(end - 1) == Some(&b'\r');
                return Ok(Some((end - usize::from(is_crlf), end + 1)));
            }
            looked_at = unread.len();
            match self.more() {
                Ok(true) => {}
                Ok(false) => return Ok((looked_at > 0).then_some((looked_at, looked_at))),
                Err(fault) => {
                    self.consume(looked_at);
                    // What cannot be read here cannot be read by the next call either, which says so.
                    let _ = self.skip_line();
                    return Err(fault);
                }
            }
        }
    }

    /// Passes over everything up to and with the next line end, so that reading can go on after a line that is bad.
    ///
    /// # Errors
    /// [`RowFault::Io`].
    pub fn skip_line(&mut self) -> Result<(), RowFault> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', self.unread()) {
                self.consume(end + 1);
                return Ok(());
            }
            self.consume(self.unread().len());
            if !self.more()? {
                return Ok(());
            }
        }
    }
}
