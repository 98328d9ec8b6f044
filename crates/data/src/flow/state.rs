//! The state of a pipeline as bytes: what its stages need to go on with the element that would have come next. A state
//! is a TFRecord file, so that its CRCs are checked: the first record says which pipeline it is of, each other one is
//! what a stage put there, numbers or an element that it held.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget};
use tightfit_format::tfrecord::{GrowError, RecordReader, RecordWriter};

use super::codec::{DecodeError, decode, encode};
use super::element::{Element, ElementView};
use super::growing::Growing;
use crate::error::{DataError, io_error};

const PURPOSE: &str = "saved state";

/// What state is read through at first.
const WINDOW_BYTES: usize = 64 << 10;

/// Writes a state.
pub struct StateWriter {
    path: PathBuf,
    write: RecordWriter<BufWriter<File>>,
    scratch: Growing,
}

impl StateWriter {
    /// A state of the pipeline that `key` describes, written to `file`, which is to be at `path`.
    pub(crate) fn new(
        path: &Path,
        file: File,
        key: &str,
        budget: &MemoryBudget,
    ) -> Result<StateWriter, DataError> {
        let write = RecordWriter::new(BufWriter::new(file));
        let scratch = Growing::new(PURPOSE, budget);
        let mut state = StateWriter { path: path.to_path_buf(), write, scratch };
        state.put(key.as_bytes())?;
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
        encode(view, &mut self.scratch)?;
        self.write.write(self.scratch.bytes()).map_err(|e| io_error(&self.path, e))
    }

    /// The file, with all that was put.
    pub(crate) fn finish(self) -> Result<File, DataError> {
        let file = self.write.into_inner().into_inner();
        file.map_err(|error| io_error(&self.path, error.into_error()))
    }
}

/// Reads a state, in the order in which it was written.
pub struct StateReader {
    path: PathBuf,
    budget: MemoryBudget,
    read: RecordReader<BufReader<File>>,
}

impl StateReader {
    /// Opens the state in `path`.
    ///
    /// # Errors
    /// [`DataError`] when it cannot be read, or is not of the pipeline that `key` describes.
    pub(crate) fn open(path: &Path, key: &str, budget: &MemoryBudget) -> Result<StateReader, DataError> {
        let file = File::open(path).map_err(|e| io_error(path, e))?;
        let window = Buffer::new(budget, PURPOSE, WINDOW_BYTES.max(key.len() + 16))?;
        let read = RecordReader::new(Arc::from(path), BufReader::new(file), window);
        let read = read.map_err(|e| DataError::Spec(e.to_string()))?;
        let mut state = StateReader { path: path.to_path_buf(), budget: budget.clone(), read };
        if state.next()? == key.as_bytes() {
            return Ok(state);
        }
        Err(state.wrong("it is the state of another pipeline, or of other files"))
    }

    /// What is wrong with the state.
    pub(crate) fn wrong(&self, why: &str) -> DataError {
        DataError::Spec(format!("{}: {why}", self.path.display()))
    }

    fn next(&mut self) -> Result<&[u8], DataError> {
        match self.read.advance_growing(PURPOSE, &self.budget) {
            Ok(true) => Ok(self.read.current().data),
            Ok(false) => Err(self.wrong("the state ends too early")),
            Err(GrowError::Budget { error, .. }) => Err(DataError::Budget(error)),
            Err(GrowError::Record(error)) => Err(DataError::Spec(error.to_string())),
        }
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
            Err(DecodeError::Budget(error)) => Err(DataError::Budget(error)),
        }
    }
}
