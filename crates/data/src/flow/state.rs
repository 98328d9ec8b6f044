//! The state of a pipeline as bytes: what its stages need to go on with the element that would have come next. A state
//! is a TFRecord file, so that its CRCs are checked: the first record says which pipeline it is of (see
//! [`identity`](super::identity)), each other one is what a stage put there, numbers or an element that it held, and the
//! last how many there were.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tightfit_core::{Buffer, MemoryBudget};
use tightfit_format::tfrecord::{GrowError, RecordReader, RecordWriter};
use tightfit_format::whole::WholeFile;

use super::codec::{DecodeError, decode, encode};
use super::element::{Element, ElementView};
use super::growing::Growing;
use super::identity::{header, mismatch};
use crate::error::{BadRow, DataError, RowFault, io_error};

const PURPOSE: &str = "saved state";

/// What state is read through at first.
const WINDOW_BYTES: usize = 64 << 10;

/// What the last record begins with.
const END: &[u8] = b"end of state";

/// The last record: how many were put before it.
fn end_record(records: u64) -> Vec<u8> {
    [END, &records.to_le_bytes()].concat()
}

/// Writes a state.
pub struct StateWriter {
    path: PathBuf,
    write: RecordWriter<BufWriter<WholeFile>>,
    scratch: Growing,
}

impl StateWriter {
    /// A state of the pipeline `identity`, which is to be at `path`.
    pub(crate) fn create(
        path: &Path,
        identity: &Value,
        budget: &MemoryBudget,
    ) -> Result<StateWriter, DataError> {
        let file = WholeFile::create(path).map_err(|e| io_error(path, e))?;
        let write = RecordWriter::new(BufWriter::new(file));
        let scratch = Growing::new(PURPOSE, budget);
        let mut state = StateWriter { path: path.to_path_buf(), write, scratch };
        state.put(header("state", identity).as_bytes())?;
        Ok(state)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.write.write(bytes).map_err(|e| io_error(&self.path, e))
    }

    /// Puts numbers.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn numbers(&mut self, numbers: &[u64]) -> Result<(), DataError> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.put(&bytes)
    }

    /// Puts text.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn text(&mut self, text: &str) -> Result<(), DataError> {
        self.put(text.as_bytes())
    }

    /// Puts bytes.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.put(bytes)
    }

    /// Puts an element.
    ///
    /// # Errors
    /// [`DataError::Io`], and [`DataError::Budget`] when there is no memory to encode it.
    pub fn element(&mut self, view: &ElementView<'_>) -> Result<(), DataError> {
        self.scratch.set_used(0);
        encode(view, &mut self.scratch).map_err(DataError::of_fault)?;
        self.write.write(self.scratch.bytes()).map_err(|e| io_error(&self.path, e))
    }

    /// Puts an error that comes when it is its turn.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub(crate) fn error(&mut self, error: &DataError) -> Result<(), DataError> {
        if error.is_budget() {
            self.numbers(&[2])?;
            return self.text(&error.to_string());
        }
        let DataError::Row(row) = error else {
            self.numbers(&[0])?;
            return self.text(&error.to_string());
        };
        let (line, fault) = match &row.fault {
            RowFault::Line { line, fault } => (Some(*line), &**fault),
            fault => (None, fault),
        };
        let places = [row.record, row.offset, line];
        let known = places.iter().enumerate().map(|(bit, place)| u64::from(place.is_some()) << bit).sum();
        let [record, offset, line] = places.map(Option::unwrap_or_default);
        self.numbers(&[1, known, record, offset, line])?;
        self.put(row.path.as_os_str().as_encoded_bytes())?;
        self.text(&fault.to_string())
    }

    /// Brings the state to the disk and gives it its name.
    pub(crate) fn finish(mut self) -> Result<(), DataError> {
        self.put(&end_record(self.write.records()))?;
        let file = self.write.into_inner().into_inner().map_err(|error| error.into_error());
        file.and_then(WholeFile::commit).map_err(|error| io_error(&self.path, error))
    }
}

/// Reads a state, in the order in which it was written.
pub struct StateReader {
    path: PathBuf,
    budget: MemoryBudget,
    read: RecordReader<BufReader<File>>,
    records: u64,
}

impl StateReader {
    /// Opens the state in `path`.
    ///
    /// # Errors
    /// [`DataError`] when it cannot be read, or is not of the pipeline `identity`.
    pub(crate) fn open(
        path: &Path,
        identity: &Value,
        budget: &MemoryBudget,
    ) -> Result<StateReader, DataError> {
        let file = File::open(path).map_err(|e| io_error(path, e))?;
        let own = header("state", identity);
        let window = Buffer::new(budget, PURPOSE, WINDOW_BYTES.max(own.len() + 16))?;
        let read = RecordReader::new(Arc::from(path), BufReader::new(file), window);
        let read = read.map_err(|e| DataError::Spec(e.to_string()))?;
        let mut state = StateReader { path: path.to_path_buf(), budget: budget.clone(), read, records: 0 };
        match mismatch(state.next()?, "state", &own) {
            None => Ok(state),
            Some(why) => Err(state.wrong(&why)),
        }
    }

    /// That all of it was read, and there is nothing missing and nothing else.
    pub(crate) fn finish(mut self) -> Result<(), DataError> {
        let end = end_record(self.records);
        if self.next()? != end || self.has_more()? {
            return Err(self.wrong("it is the state of another pipeline, or damaged"));
        }
        Ok(())
    }

    /// What is wrong with the state.
    pub(crate) fn wrong(&self, why: &str) -> DataError {
        DataError::Spec(format!("{}: {why}", self.path.display()))
    }

    fn has_more(&mut self) -> Result<bool, DataError> {
        self.read.advance_growing(PURPOSE, &self.budget).map_err(|error| match error {
            GrowError::Budget { error, .. } => DataError::Budget(error),
            GrowError::Record(error) => DataError::Spec(error.to_string()),
        })
    }

    fn next(&mut self) -> Result<&[u8], DataError> {
        if !self.has_more()? {
            return Err(self.wrong("the state ends too early"));
        }
        self.records += 1;
        Ok(self.read.current().data)
    }

    /// As many numbers as were put.
    ///
    /// # Errors
    /// [`DataError`] when there are not `N` of them.
    pub fn numbers<const N: usize>(&mut self) -> Result<[u64; N], DataError> {
        let numbers = self.number_list()?;
        <[u64; N]>::try_from(numbers).map_err(|_| self.wrong("it is the state of another pipeline"))
    }

    /// As many numbers as were put.
    ///
    /// # Errors
    /// [`DataError`] when the state cannot be read.
    pub fn number_list(&mut self) -> Result<Vec<u64>, DataError> {
        let (numbers, rest) = self.next()?.as_chunks::<8>();
        let (numbers, is_whole) = (numbers.iter().map(|n| u64::from_le_bytes(*n)).collect(), rest.is_empty());
        if is_whole { Ok(numbers) } else { Err(self.wrong("it is the state of another pipeline")) }
    }

    /// The error that was put.
    ///
    /// # Errors
    /// [`DataError`] when the state cannot be read.
    pub(crate) fn error(&mut self) -> Result<DataError, DataError> {
        let numbers = self.number_list()?;
        if *numbers == [2] {
            return Ok(DataError::SavedBudget(self.text()?));
        }
        let &[1, known, record, offset, line] = &*numbers else { return Ok(DataError::Saved(self.text()?)) };
        let is_known = |bit: u32| known >> bit & 1 != 0;
        let path = PathBuf::from(path_of(self.next()?));
        let fault = RowFault::Map(self.text()?);
        let fault = if is_known(2) { RowFault::Line { line, fault: Box::new(fault) } } else { fault };
        let (record, offset) = (is_known(0).then_some(record), is_known(1).then_some(offset));
        Ok(DataError::Row(Box::new(BadRow { path, record, offset, fault })))
    }

    /// The text that was put.
    ///
    /// # Errors
    /// [`DataError`] when the state cannot be read.
    pub fn text(&mut self) -> Result<String, DataError> {
        Ok(String::from_utf8_lossy(self.next()?).into_owned())
    }

    /// The bytes that were put.
    ///
    /// # Errors
    /// [`DataError`] when the state cannot be read.
    pub fn bytes(&mut self) -> Result<&[u8], DataError> {
        self.next()
    }

    /// Makes `element` the one that was put.
    ///
    /// # Errors
    /// [`DataError`] when it is none of such a schema, or there is no memory for it.
    pub fn element(&mut self, element: &mut Element) -> Result<(), DataError> {
        match decode(self.next()?, element) {
            Ok(()) => Ok(()),
            Err(DecodeError::Broken) => Err(self.wrong("it is the state of another pipeline")),
            Err(DecodeError::Fault(fault)) => Err(DataError::of_fault(fault)),
        }
    }
}

/// The path that was put as bytes.
#[cfg(unix)]
fn path_of(bytes: &[u8]) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

#[cfg(not(unix))]
fn path_of(bytes: &[u8]) -> std::ffi::OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}
