//! A file of records, read through a window that grows with them as far as the budget allows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget, Reservation};
use tightfit_data::storage::{self, StoredFile};
use tightfit_data::{DataError, FileKind, FileList};
use tightfit_format::tfrecord::{
    Compression, FOOTER_BYTES, HEADER_BYTES, Record, RecordError, RecordFault, RecordReader,
};
use tightfit_format::{FormatError, Place, Problem};

use crate::error::Error;

/// The first window: reads are large enough not to be felt, and the window stays in the processor's cache.
pub const WINDOW_BYTES: usize = 256 << 10;

/// What the window is called in the budget.
const PURPOSE: &str = "record window";

/// Reads the records of one file.
pub struct RecordFile {
    path: Arc<Path>,
    reader: RecordReader<StoredFile>,
    budget: MemoryBudget,
    file_bytes: u64,
    _inflater: Option<Reservation>,
}

impl RecordFile {
    /// Opens `path`; the window comes out of `budget`.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Format`] when the budget is too small.
    pub fn open(path: &Path, budget: &MemoryBudget) -> Result<RecordFile, Error> {
        let file = storage::open(path, budget).map_err(|error| Error::io(path, error))?;
        let file_bytes = file.len();
        let path: Arc<Path> = Arc::from(path);
        let no_room = |error| FormatError::new(&path, Place::Whole, Problem::Budget(error));
        let window = Buffer::new(budget, PURPOSE, WINDOW_BYTES).map_err(no_room)?;
        let reader = RecordReader::new(path.clone(), file, window).map_err(record_error)?;
        let inflater = budget.try_reserve("inflater", reader.compression().held_bytes());
        Ok(RecordFile {
            reader,
            budget: budget.clone(),
            file_bytes,
            _inflater: Some(inflater.map_err(no_room)?),
            path,
        })
    }

    /// How it is compressed.
    pub fn compression(&self) -> Compression {
        self.reader.compression()
    }

    /// Bytes of the file as it is stored.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The record found last.
    pub fn current(&self) -> Record<'_> {
        self.reader.current()
    }

    /// Goes on to the next record; false at the end. A record that is bad is an `Err` inside the `Ok`.
    ///
    /// # Errors
    /// [`Error::Format`] when a record does not fit the budget, with its place.
    pub fn advance(&mut self) -> Result<Result<bool, RecordError>, Error> {
        loop {
            let error = match self.reader.advance() {
                Ok(has_record) => return Ok(Ok(has_record)),
                Err(error) => error,
            };
            let RecordFault::TooLarge { bytes, .. } = error.fault else { return Ok(Err(error)) };
            let whole_bytes = bytes.saturating_add((HEADER_BYTES + FOOTER_BYTES) as u64);
            let is_plain = self.compression() == Compression::None;
            if is_plain && error.offset.saturating_add(whole_bytes) > self.file_bytes {
                // No memory is taken on the word of a length that the file cannot keep.
                return Ok(Err(RecordError { fault: RecordFault::Truncated, ..error }));
            }
            self.enlarge(whole_bytes, error.offset)?;
        }
    }

    /// As [`RecordFile::advance`], where a bad record ends the work.
    ///
    /// # Errors
    /// [`Error::Data`] for a bad record, and as [`RecordFile::advance`].
    pub fn advance_good(&mut self) -> Result<bool, Error> {
        self.advance()?.map_err(record_error)
    }

    fn enlarge(&mut self, whole_bytes: u64, offset: u64) -> Result<(), Error> {
        let place = Place::Offset(offset);
        // Records differ little in size as a rule: an eighth more spares growing again for each that is a bit larger.
        let generous = usize::try_from(whole_bytes.saturating_add(whole_bytes / 8)).unwrap_or(usize::MAX);
        let exact = usize::try_from(whole_bytes).unwrap_or(usize::MAX);
        let window = Buffer::new(&self.budget, PURPOSE, generous)
            .or_else(|_| Buffer::new(&self.budget, PURPOSE, exact))
            .map_err(|error| FormatError::new(&self.path, place, Problem::Budget(error)))?;
        self.reader.enlarge(window).map_err(|error| Error::io(&self.path, error))
    }
}

/// The files that `sources` stand for. A folder may hold images and arrays beside records: with `is_records` they are
/// left out, unless they were named themselves.
///
/// # Errors
/// [`Error::Dataset`] when a source stands for no file, and the budget's error.
pub fn list_files(sources: &[PathBuf], is_records: bool, budget: &MemoryBudget) -> Result<FileList, Error> {
    let mut list = tightfit_data::list(sources, budget).map_err(|error| match error {
        DataError::Budget(error) => Error::from(error),
        error => Error::Dataset(error),
    })?;
    if is_records {
        let is_named = |path: &Path| sources.iter().any(|source| source == path);
        list.files.retain(|f| matches!(f.kind, FileKind::Records(_)) || is_named(&f.path));
    }
    Ok(list)
}

/// Bytes of all files that `sources` stand for, as they are stored; `None` when that cannot be told.
pub fn total_bytes(sources: &[PathBuf], is_records: bool, budget: &MemoryBudget) -> Option<u64> {
    let list = list_files(sources, is_records, budget).ok()?;
    let bytes = |path: &Path| storage::size_and_time(path).ok().map(|(bytes, _)| bytes);
    list.files.iter().map(|file| bytes(file.on_disk())).sum()
}

/// True when both are one file, by whatever names.
pub fn is_same(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The error of a record that ends the work.
pub fn record_error(error: RecordError) -> Error {
    let why = format!("record {} at byte {}: {}", error.record, error.offset, error.fault);
    Error::Data { path: error.path.to_path_buf(), why }
}
