//! The file of a cache; see [`super`] for what is in it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget};
use tightfit_format::tfrecord::{GrowError, RecordError, RecordReader, RecordWriter};
use tightfit_format::whole::{WholeFile, folder_of, remove_leftovers};

use super::PURPOSE;
use crate::error::{DataError, io_error};
use crate::flow::identity::{self, Digest};

/// What a file is read through at first.
const WINDOW_BYTES: usize = 256 << 10;

/// Where a cache is kept.
pub(super) struct CacheFile {
    path: PathBuf,
    key: String,
}

/// What to do about a file that is damaged.
const AGAIN: &str = "remove the file to have it made again";

fn damaged(path: &Path, why: &str) -> DataError {
    DataError::Spec(format!("{}: {why}; {AGAIN}", path.display()))
}

fn bad_record(error: RecordError) -> DataError {
    DataError::Spec(format!("{error}; {AGAIN}"))
}

impl CacheFile {
    /// The cache of what `key`, its first record, says.
    pub fn new(folder: &Path, key: String) -> Result<CacheFile, DataError> {
        fs::create_dir_all(folder).map_err(|e| io_error(folder, e))?;
        let mut digest = Digest::default();
        digest.add(key.as_bytes());
        let path = folder.join(format!("{}.tfcache", digest.text()));
        // Nobody may ever write this cache again.
        if let Some(name) = path.file_name() {
            remove_leftovers(folder_of(&path), &|left| left == name);
        }
        Ok(CacheFile { path, key })
    }

    /// The cache, if there is one.
    ///
    /// # Errors
    /// [`DataError`] for a file of this name that is none, or has no end: nobody leaves such files behind.
    pub fn open(&self, budget: &MemoryBudget) -> Result<Option<CacheReader>, DataError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&self.path, error)),
        };
        let found = End::read(&mut file).map_err(|e| io_error(&self.path, e))?;
        let end =
            found.ok_or_else(|| damaged(&self.path, "it is cut off or damaged, as its end is missing"))?;
        let window = Buffer::new(budget, PURPOSE, WINDOW_BYTES.max(self.key.len() + 16))?;
        let mut read = RecordReader::new(Arc::from(&*self.path), file, window).map_err(bad_record)?;
        let has_key = read.advance().map_err(bad_record)?;
        match identity::mismatch(if has_key { read.current().data } else { &[] }, "cache", &self.key) {
            Some(why) => Err(damaged(&self.path, &why)),
            None => {
                let (budget, path) = (budget.clone(), self.path.clone());
                Ok(Some(CacheReader { read, budget, path, elements: 0, end, is_at_end: false }))
            }
        }
    }

    /// A file to write a cache to.
    pub fn create(&self) -> Result<CacheWriter, DataError> {
        let file = WholeFile::create(&self.path).map_err(|e| io_error(&self.path, e))?;
        let write = RecordWriter::new(BufWriter::with_capacity(64 << 10, file));
        let digest = Digest::default();
        let mut writer = CacheWriter { write, path: self.path.clone(), elements: 0, digest };
        writer.put(self.key.as_bytes())?;
        Ok(writer)
    }
}

/// What the last record begins with, and no element does.
const END: u8 = 0xff;

/// The last record: how many elements there were, and the digest of all.
#[derive(Debug, PartialEq)]
struct End {
    elements: u64,
    digest: String,
}

impl End {
    /// Bytes of the record.
    const BYTES: usize = 1 + size_of::<u64>() + Digest::TEXT_BYTES;

    /// Bytes around the data of a record: its length, and two CRCs.
    const FRAME_BYTES: usize = 16;

    fn to_bytes(&self) -> Vec<u8> {
        [&[END][..], &self.elements.to_le_bytes(), self.digest.as_bytes()].concat()
    }

    fn parse(record: &[u8]) -> Option<End> {
        let (elements, digest) = record.strip_prefix(&[END])?.split_first_chunk()?;
        let digest = std::str::from_utf8(digest).ok().filter(|digest| digest.len() == Digest::TEXT_BYTES)?;
        Some(End { elements: u64::from_le_bytes(*elements), digest: digest.to_string() })
    }

    /// The record at the end of `file`, which is gone back to its beginning; `None` when there is none.
    fn read(file: &mut File) -> io::Result<Option<End>> {
        let mut bytes = [0; End::BYTES + End::FRAME_BYTES];
        let length = file.metadata()?.len();
        let Some(start) = length.checked_sub(bytes.len() as u64) else { return Ok(None) };
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut bytes)?;
        file.rewind()?;
        let path: Arc<Path> = Arc::from(Path::new(""));
        // The record and nothing else, of which the CRCs are checked as of any.
        let budget = MemoryBudget::new(2 * bytes.len() as u64);
        let Ok(window) = Buffer::new(&budget, PURPOSE, bytes.len()) else { return Ok(None) };
        let Ok(mut read) = RecordReader::new(path, &bytes[..], window) else { return Ok(None) };
        let is_record = matches!(read.advance(), Ok(true));
        Ok(End::parse(read.current().data).filter(|_| is_record))
    }
}

/// Writes a cache. Dropped before it is finished, it leaves nothing.
pub(super) struct CacheWriter {
    write: RecordWriter<BufWriter<WholeFile>>,
    path: PathBuf,
    elements: u64,
    digest: Digest,
}

impl CacheWriter {
    fn put(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.write.write(bytes).map_err(|e| io_error(&self.path, e))
    }

    pub fn write(&mut self, element: &[u8]) -> Result<(), DataError> {
        self.elements += 1;
        self.digest.add(element);
        self.put(element)
    }

    pub fn finish(mut self) -> Result<(), DataError> {
        let end = End { elements: self.elements, digest: self.digest.text() };
        self.put(&end.to_bytes())?;
        let file = self.write.into_inner().into_inner().map_err(|error| error.into_error());
        file.and_then(WholeFile::commit).map_err(|e| io_error(&self.path, e))
    }
}

/// Reads a cache.
pub(super) struct CacheReader {
    read: RecordReader<File>,
    budget: MemoryBudget,
    path: PathBuf,
    elements: u64,
    end: End,
    is_at_end: bool,
}

impl CacheReader {
    /// Goes after the first `elements`, to the record of this number at this byte.
    pub fn skip_to(mut self, elements: u64, record: u64, offset: u64) -> Result<CacheReader, DataError> {
        let file = File::open(&self.path).map_err(|e| io_error(&self.path, e))?;
        let read = RecordReader::new(Arc::from(&*self.path), file, self.read.into_window());
        self.read = read.map_err(bad_record)?;
        self.read.skip_to(record, offset).map_err(bad_record)?;
        (self.elements, self.is_at_end) = (elements, elements == self.end.elements);
        Ok(self)
    }

    /// The digest of all elements.
    pub fn digest(&self) -> &str {
        &self.end.digest
    }

    /// The number of the record that comes next, and the byte it begins at.
    pub fn next_place(&self) -> (u64, u64) {
        self.read.next_place()
    }

    /// The next element; `None` after the last.
    pub fn next(&mut self) -> Result<Option<&[u8]>, DataError> {
        if self.is_at_end {
            return Ok(None);
        }
        match self.read.advance_growing(PURPOSE, &self.budget) {
            Ok(true) => {}
            Ok(false) => return Err(damaged(&self.path, "it is cut off, as its end is missing")),
            Err(GrowError::Budget { error, .. }) => return Err(DataError::Budget(error)),
            Err(GrowError::Record(error)) => return Err(bad_record(error)),
        }
        let data = self.read.current().data;
        if data.first() == Some(&END) {
            self.is_at_end =
                End::parse(data).is_some_and(|end| end == self.end) && self.elements == self.end.elements;
            return match self.is_at_end {
                true => Ok(None),
                false => Err(damaged(&self.path, "elements are missing")),
            };
        }
        self.elements += 1;
        Ok(Some(self.read.current().data))
    }
}
