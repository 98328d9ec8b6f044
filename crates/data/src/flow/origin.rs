//! Where elements come from, small enough to go along with each of them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tightfit_format::location::Shown;

use super::identity::Digest;
use crate::error::{BadRow, DataError, RowFault};
use crate::source::{FileKind, FileList};
use crate::storage::{self, Location};

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

    /// How many files there are, and a digest of their names, sizes and times of their last change: other data give
    /// another value.
    pub(crate) fn identity(&self) -> Value {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut digest, mut files) = (Digest::default(), 0u64);
        for source in sources.iter() {
            match &source.name {
                Name::Other(name) => digest.add(name.as_bytes()),
                Name::Files(list) => {
                    for file in &list.files {
                        // A file that is gone has no bytes, and opening it says so.
                        let (bytes, changed_ns) = storage::size_and_time(file.on_disk()).unwrap_or((0, None));
                        let changed_ns =
                            changed_ns.map_or_else(|| "unknown".to_string(), |ns| ns.to_string());
                        // A URL that was signed anew is of the same file.
                        match Location::of(&file.path).is_url() {
                            true => digest.add(Shown(&file.path).to_string().as_bytes()),
                            false => digest.add(file.path.as_os_str().as_encoded_bytes()),
                        }
                        digest.add(format!("{bytes} {changed_ns}").as_bytes());
                        files += 1;
                    }
                }
            }
        }
        json!({"count": files, "digest": digest.text()})
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
