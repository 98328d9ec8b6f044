//! A file of records being written: beside its place, and renamed when whole.

use std::path::{Path, PathBuf};

use tightfit_core::{MemoryBudget, Reservation};
use tightfit_format::compress::{Compressor, DEFLATE_BYTES};
use tightfit_format::tfrecord::{Compression, RecordWriter};

use crate::error::Error;
use crate::memory::process::Tended;
use crate::sink::file::{BUFFER_BYTES, Output};

/// Writes one file of records.
pub struct RecordOutput {
    path: PathBuf,
    writer: RecordWriter<Compressor<Output>>,
    tended: Tended,
    _reservation: Reservation,
}

impl RecordOutput {
    /// A file that will stand at `path`, compressed as its name says. Its buffers come out of `budget`.
    ///
    /// # Errors
    /// [`Error::Io`], and the budget's error.
    pub fn create(path: &Path, budget: &MemoryBudget) -> Result<RecordOutput, Error> {
        RecordOutput::create_with(path, budget, Output::create)
    }

    /// As [`RecordOutput::create`] for one of many, see [`Output::create_one`].
    ///
    /// # Errors
    /// As [`RecordOutput::create`].
    pub fn create_one(path: &Path, budget: &MemoryBudget) -> Result<RecordOutput, Error> {
        RecordOutput::create_with(path, budget, Output::create_one)
    }

    fn create_with(
        path: &Path,
        budget: &MemoryBudget,
        create: fn(&Path) -> Result<Output, Error>,
    ) -> Result<RecordOutput, Error> {
        let compression = compression_of(path)?;
        let deflate_bytes = if compression == Compression::None { 0 } else { DEFLATE_BYTES };
        let reservation = budget.try_reserve("output", (BUFFER_BYTES + deflate_bytes) as u64)?;
        let compressor = Compressor::new(compression, create(path)?);
        let writer = RecordWriter::new(compressor.map_err(|error| Error::io(path, error))?);
        Ok(RecordOutput {
            path: path.to_path_buf(),
            writer,
            tended: Tended::default(),
            _reservation: reservation,
        })
    }

    /// Where it will stand.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a record.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, record: &[u8]) -> Result<(), Error> {
        self.tended.step(record.len());
        self.writer.write(record).map_err(|error| Error::io(&self.path, error))
    }

    /// Records written.
    pub fn records(&self) -> u64 {
        self.writer.records()
    }

    /// Ends the compressed stream; the file has its name when it is committed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self) -> Result<Output, Error> {
        self.writer.into_inner().finish().map_err(|error| Error::io(&self.path, error))
    }
}

/// The compression that a file's name asks for.
///
/// # Errors
/// [`Error::Usage`] for Zstandard.
pub fn compression_of(path: &Path) -> Result<Compression, Error> {
    Ok(match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("gz" | "gzip") => Compression::Gzip,
        Some("zlib" | "zz") => Compression::Zlib,
        Some("zst" | "zstd") => {
            let path = path.display();
            return Err(Error::Usage(format!(
                "{path}: Zstandard is read and not written; end the name in .gz"
            )));
        }
        _ => Compression::None,
    })
}
