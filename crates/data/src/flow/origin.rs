//! Where elements come from, small enough to go along with each of them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{BadRow, DataError, RowFault};
use crate::source::{DataFile, FileKind, FileList};
use crate::storage;

/// Of more files than this a fingerprint has sums.
const LISTED_FILES: usize = 64;

/// Two 64-bit sums after FNV-1a that begin differently.
const SUM_STARTS: [u64; 2] = [0xcbf2_9ce4_8422_2325, 0x6c62_272e_07bb_0142];

fn sum(sums: [u64; 2], text: &str) -> [u64; 2] {
    const PRIMES: [u64; 2] = [0x0100_0000_01b3, 0x9e37_79b9_7f4a_7c15];
    text.bytes().fold(sums, |[a, b], byte| {
        let byte = u64::from(byte);
        [(a ^ byte).wrapping_mul(PRIMES[0]), (b ^ byte).wrapping_mul(PRIMES[1]).rotate_left(29)]
    })
}

/// The file and record that an element comes from; of several, the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// The number of the file among all of the pipeline, which [`Names`] has the name of.
    pub file: u32,
    /// The record's or row's number in the file, from 0; of text, that of the line it begins in.
    pub record: u64,
    /// Where it begins, in bytes of the (uncompressed) file.
    pub offset: u64,
}

/// The names of the files of a pipeline, for messages.
#[derive(Debug, Clone, Default)]
pub struct Names {
    sources: Arc<Mutex<Vec<Source>>>,
}

#[derive(Debug)]
struct Source {
    first: u32,
    name: Name,
}

#[derive(Debug)]
enum Name {
    Files(Arc<FileList>),
    Other(String),
}

impl Names {
    fn add(&self, name: Name) -> u32 {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let files = |source: &Source| match &source.name {
            Name::Files(list) => list.files.len() as u32,
            Name::Other(_) => 1,
        };
        let first = sources.last().map_or(0, |last| last.first.saturating_add(files(last)));
        sources.push(Source { first, name });
        first
    }

    /// Makes the files of a source known; the number of its first.
    pub fn add_files(&self, list: Arc<FileList>) -> u32 {
        self.add(Name::Files(list))
    }

    /// Makes a source known that is no file; its number.
    pub fn add_other(&self, name: impl Into<String>) -> u32 {
        self.add(Name::Other(name.into()))
    }

    /// The name of a file, and what it holds.
    pub fn find(&self, file: u32) -> (PathBuf, Option<FileKind>) {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        match sources.iter().rev().find(|source| source.first <= file) {
            Some(Source { first, name: Name::Files(list) }) => {
                let found = list.files.get((file - first) as usize);
                found.map_or((PathBuf::new(), None), |f| (f.path.to_path_buf(), Some(f.kind)))
            }
            Some(Source { name: Name::Other(name), .. }) => (Path::new(name).to_path_buf(), None),
            None => (PathBuf::new(), None),
        }
    }

    /// Whether `is` is true of the path of one of the files.
    pub fn any_path(&self, mut is: impl FnMut(&Path) -> bool) -> bool {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let lists = sources.iter().filter_map(|source| match &source.name {
            Name::Files(list) => Some(&list.files),
            Name::Other(_) => None,
        });
        lists.flatten().any(|file| is(&file.path))
    }

    /// Every file with its size and the time of its last change: other data give another text. Of many files it is their
    /// number and two sums over them, so that the text does not grow with their number.
    pub fn fingerprint(&self) -> String {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for source in sources.iter() {
            match &source.name {
                Name::Other(name) => text.push_str(&format!("{name}\n")),
                Name::Files(list) => {
                    let line = |file: &DataFile| {
                        let (bytes, changed_ns) = storage::size_and_time(&file.path).unwrap_or((0, None));
                        format!("{} {bytes} {changed_ns:?}\n", file.path.display())
                    };
                    if list.files.len() <= LISTED_FILES {
                        list.files.iter().for_each(|file| text.push_str(&line(file)));
                        continue;
                    }
                    let sums = list.files.iter().fold(SUM_STARTS, |sums, file| sum(sums, &line(file)));
                    text.push_str(&format!("{} files {:016x}{:016x}\n", list.files.len(), sums[0], sums[1]));
                }
            }
        }
        text
    }

    /// The error of an element that comes from `origin`.
    pub fn bad(&self, origin: Origin, fault: RowFault) -> DataError {
        let (path, kind) = self.find(origin.file);
        let (has_place, is_text) = (kind != Some(FileKind::Image), kind == Some(FileKind::Text));
        let record = (has_place && !is_text).then_some(origin.record);
        let offset = has_place.then_some(origin.offset);
        let line = origin.record.saturating_add(1);
        let fault = if is_text { RowFault::Line { line, fault: Box::new(fault) } } else { fault };
        DataError::Row(Box::new(BadRow { path, record, offset, fault }))
    }
}
