//! Where every record of a data set begins: an index for each TFRecord file, built once and read at positions.
//!
//! The index of `train.tfrecord` is `.train.tfrecord.tfindex` beside it (hidden, so that `train.tfrecord*` does not
//! find it), or a file in a folder that the caller names. It is written beside its place and renamed when whole, so
//! several processes may build it at once, and a killed one leaves nothing that is taken for an index. It says for
//! which size and modification time of the data it holds and carries CRCs; where anything differs it is built anew.
//!
//! In memory is only a table of 40 bytes for 32,768 records; [`IndexCursor`] reads the offsets themselves.

mod build;
mod cursor;
mod file;

use std::fs;
use std::path::{Path, PathBuf};

use tightfit_core::{MemoryBudget, Reservation};
use tightfit_format::tfrecord::Compression;
use tightfit_format::whole::WholeFile;

pub use cursor::{IndexCursor, RecordPlace};

use crate::error::{BadRow, DataError, RowFault, io_error};
use crate::source::{FileKind, FileList, FileStamp, why_no_columns};
use crate::storage::Location;
use build::Progress;
use file::FileIndex;

/// What the extension of an index is.
pub(crate) const EXTENSION: &str = "tfindex";

/// The offsets of all records of a list of files, which count as one sequence in the list's order.
#[derive(Debug)]
pub struct RecordIndex {
    files: Vec<IndexedFile>,
    records: u64,
    whole_bytes: u64,
    reservation: Reservation,
}

/// A file of an index.
#[derive(Debug)]
pub struct IndexedFile {
    /// The data.
    path: Box<Path>,
    /// Where the index is.
    place: PathBuf,
    index: FileIndex,
    /// The number of its first record in the whole sequence.
    first: u64,
}

impl IndexedFile {
    /// The TFRecord file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file with its index.
    pub fn index_path(&self) -> &Path {
        &self.place
    }

    /// Its records.
    pub fn records(&self) -> u64 {
        self.index.header.records
    }

    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        self.index.header.stamp.bytes
    }

    /// The number of its first record among those of all files.
    pub fn first_record(&self) -> u64 {
        self.first
    }

    /// That it is no longer what was indexed.
    pub(super) fn changed(&self) -> DataError {
        let why = "it has changed since it was indexed; start again".to_string();
        DataError::Index { path: self.path.to_path_buf(), why }
    }

    /// An error when the file, of which `metadata` was taken, is not the one that was indexed.
    pub(super) fn check(&self, metadata: &fs::Metadata) -> Result<(), DataError> {
        if FileStamp::new(metadata) == self.index.header.stamp { Ok(()) } else { Err(self.changed()) }
    }
}

impl RecordIndex {
    /// The index of the TFRecord files of `files`, out of their index files where those are there and right, or built:
    /// into `folder`, which is made if need be, or beside the data if there is none. After each piece of a file that is
    /// read, `progress` is called with the bytes that have been passed over; false ends the work.
    ///
    /// # Errors
    /// [`DataError`] for a file that is compressed, not local, or no TFRecord file, for a record whose length is broken (with its
    /// place), when an index cannot be written, when the budget is too small, and [`DataError::Stopped`].
    pub fn open(
        files: &FileList,
        folder: Option<&Path>,
        budget: &MemoryBudget,
        progress: &mut Progress<'_>,
    ) -> Result<RecordIndex, DataError> {
        let mut index = RecordIndex {
            files: Vec::new(),
            records: 0,
            whole_bytes: 0,
            reservation: budget.try_reserve("record index", 0)?,
        };
        if let Some(folder) = folder {
            fs::create_dir_all(folder).map_err(|error| io_error(folder, error))?;
        }
        for data_file in &files.files {
            let path = &data_file.path;
            check_kind(path, data_file.kind)?;
            let places = places(path, folder)?;
            let place_bytes = places.iter().map(|p| p.as_os_str().len()).fold(0, usize::max);
            let entry_bytes = path.as_os_str().len() + place_bytes + 2 * size_of::<IndexedFile>() + 64;
            index.reservation.try_grow(entry_bytes as u64)?;
            let (place, file) = find_or_build(path, &places, index.whole_bytes, budget, progress)?;
            let first = index.records;
            index.records = first.saturating_add(file.header.records);
            index.whole_bytes = index.whole_bytes.saturating_add(file.header.stamp.bytes);
            index.files.push(IndexedFile { path: path.clone(), place, index: file, first });
        }
        Ok(index)
    }

    /// Records of all files.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.whole_bytes
    }

    /// The files in order.
    pub fn files(&self) -> &[IndexedFile] {
        &self.files
    }

    /// Bytes of the budget that it holds.
    pub fn held_bytes(&self) -> u64 {
        self.files.iter().map(|f| f.index.held_bytes()).sum::<u64>() + self.reservation.bytes()
    }

    /// The largest record; `None` when there are none.
    pub fn largest(&self) -> Option<RecordPlace> {
        let largest = |(number, file): (usize, &IndexedFile)| {
            let header = &file.index.header;
            (header.records > 0).then_some(RecordPlace {
                file: number as u32,
                index: header.largest_record,
                offset: header.largest_offset,
                bytes: header.largest_bytes,
            })
        };
        self.files.iter().enumerate().filter_map(largest).max_by_key(|place| place.bytes)
    }

    /// Bytes of a record in the mean, with what the format puts around its data; at least 1.
    pub fn mean_bytes(&self) -> u64 {
        self.whole_bytes.checked_div(self.records).unwrap_or_default().max(1)
    }

    /// The file that record `record` of the whole sequence is in; `None` beyond the last.
    pub fn file_of(&self, record: u64) -> Option<&IndexedFile> {
        self.files.get(self.file_number(record)?)
    }

    pub(super) fn file_number(&self, record: u64) -> Option<usize> {
        // Files without records begin where the next one does, so the last that begins there is meant.
        let after = self.files.partition_point(|file| file.first <= record);
        after.checked_sub(1).filter(|_| record < self.records)
    }

    /// The error of the record at `place`.
    pub(super) fn bad_record(&self, place: &RecordPlace, fault: RowFault) -> DataError {
        let path = self.files.get(place.file as usize).map_or(Path::new(""), |f| &f.path).to_path_buf();
        let (record, offset) = (Some(place.index), Some(place.offset));
        DataError::Row(Box::new(BadRow { path, record, offset, fault }))
    }
}

fn check_kind(path: &Path, kind: FileKind) -> Result<(), DataError> {
    let name = path.display();
    if Location::of(path).is_url() {
        let why = "is in an object store; shuffling needs local files";
        return Err(DataError::Spec(format!("{name} {why}")));
    }
    match kind {
        FileKind::Records(Compression::None) => Ok(()),
        FileKind::Records(compression) => Err(DataError::Spec(format!(
            "{name} is compressed ({}), and shuffling needs plain files; unpack it: `tightfit records convert {name} --output FILE.tfrecord`",
            compression.name()
        ))),
        FileKind::Columns => Err(DataError::Spec(why_no_columns(path))),
        FileKind::Image | FileKind::Array | FileKind::Pipeline | FileKind::Text | FileKind::Archive => {
            Err(DataError::Spec(format!("{name} is not a TFRecord file")))
        }
    }
}

/// Where the index of `path` may be: beside it, and in the folder for indexes, if there is one.
fn places(path: &Path, folder: Option<&Path>) -> Result<Vec<PathBuf>, DataError> {
    let nameless = || DataError::Spec(format!("{} has no name that an index could go by", path.display()));
    let name = path.file_name().ok_or_else(nameless)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{EXTENSION}"));
    let mut places = vec![path.with_file_name(hidden)];
    if let Some(folder) = folder {
        // Files of the same name in several folders are told apart.
        let whole = path.canonicalize().map_err(|error| io_error(path, error))?;
        let mut name = name.to_os_string();
        name.push(format!("-{:016x}.{EXTENSION}", fnv1a(whole.as_os_str().as_encoded_bytes())));
        places.push(folder.join(name));
    }
    Ok(places)
}

/// FNV-1a of 64 bits, by Fowler, Noll and Vo.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The index at the first of `places` where there is a right one, or else one that is built at the last of them.
fn find_or_build(
    path: &Path,
    places: &[PathBuf],
    bytes_before: u64,
    budget: &MemoryBudget,
    progress: &mut Progress<'_>,
) -> Result<(PathBuf, FileIndex), DataError> {
    let stamp = FileStamp::of(path)?;
    for place in places {
        if let Some(index) = FileIndex::read(place, &stamp, budget)? {
            return Ok((place.clone(), index));
        }
    }
    let Some(place) = places.last() else { return Err(DataError::Spec("no place for an index".to_string())) };
    let output = WholeFile::create(place).map_err(|error| DataError::Index {
        path: path.to_path_buf(),
        why: format!(
            "its index cannot be written to {} ({error}); choose another folder for indexes",
            place.display()
        ),
    })?;
    build::build(path, &stamp, output, place, budget, &mut |bytes| {
        progress(bytes_before.saturating_add(bytes))
    })?;
    let index = FileIndex::read(place, &stamp, budget)?.ok_or_else(|| DataError::Index {
        path: path.to_path_buf(),
        why: "it was changed while it was indexed; start again".to_string(),
    })?;
    Ok((place.clone(), index))
}

#[cfg(test)]
mod tests;
