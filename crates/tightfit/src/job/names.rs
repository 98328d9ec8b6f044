//! How shards and the files beside them are called.

use std::fs;
use std::io;
use std::path::PathBuf;

use tightfit_data::SavedStates;
use tightfit_format::whole;

use crate::error::Error;

/// How shards and the file beside them are called.
#[derive(Debug)]
pub(super) struct ShardNames {
    pub(super) output: PathBuf,
}

impl ShardNames {
    pub(super) fn new(output: PathBuf) -> ShardNames {
        ShardNames { output }
    }

    /// `scores.jsonl.resume`.
    pub fn journal(&self) -> PathBuf {
        let mut path = self.output.clone().into_os_string();
        path.push(".resume");
        PathBuf::from(path)
    }

    /// `scores.jsonl.resume-`, which states have before their number.
    pub(super) fn state_prefix(&self) -> PathBuf {
        let mut path = self.journal().into_os_string();
        path.push("-");
        PathBuf::from(path)
    }

    /// The state after a shard: `scores.jsonl.resume-00000`.
    pub(super) fn state(&self, shard: u64) -> PathBuf {
        SavedStates { resume: None, every: 1, prefix: self.state_prefix(), first: 0 }.path(shard)
    }

    /// The number of the state of this name.
    pub(super) fn state_number(&self, name: &str) -> Option<u64> {
        let prefix = self.state_prefix();
        numbered(name.strip_prefix(prefix.file_name()?.to_str()?)?)
    }

    pub(super) fn remove_state(&self, number: u64) -> Result<(), Error> {
        let path = self.state(number);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path, error)),
            _ => Ok(()),
        }
    }

    /// Removes the states whose number is not kept.
    pub(super) fn remove_states(&self, is_kept: &dyn Fn(u64) -> bool) -> Result<(), Error> {
        let folder = whole::folder_of(&self.output);
        for entry in fs::read_dir(folder).map_err(|error| Error::io(folder, error))?.flatten() {
            let number = entry.file_name().to_str().and_then(|name| self.state_number(name));
            if let Some(number) = number.filter(|number| !is_kept(*number)) {
                self.remove_state(number)?;
            }
        }
        Ok(())
    }

    /// `scores-00000.jsonl`.
    pub fn path(&self, shard: u64) -> PathBuf {
        self.with(&format!("{shard:05}"))
    }

    /// `scores-*.jsonl`.
    pub fn pattern(&self) -> String {
        self.with("*").display().to_string()
    }

    pub(super) fn with(&self, number: &str) -> PathBuf {
        let mut name = self.output.file_stem().unwrap_or_default().to_os_string();
        name.push(format!("-{number}"));
        if let Some(extension) = self.output.extension() {
            name.push(".");
            name.push(extension);
        }
        self.output.with_file_name(name)
    }

    /// The number of the shard of this name.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let whole = self.with("*");
        let (before, behind) = whole.file_name()?.to_str()?.rsplit_once('*')?;
        numbered(name.strip_prefix(before)?.strip_suffix(behind)?)
    }

    /// That there is no shard: without a file that tells how far the job is, they are of another one.
    ///
    /// # Errors
    /// [`Error::Data`] that names one.
    pub fn check_none(&self) -> Result<(), Error> {
        let folder = whole::folder_of(&self.output);
        let entries = fs::read_dir(folder).map_err(|error| Error::io(folder, error))?;
        let is_shard = |name: &std::ffi::OsString| name.to_str().is_some_and(|n| self.number(n).is_some());
        match entries.flatten().map(|entry| entry.file_name()).filter(is_shard).min() {
            Some(name) => {
                let why = format!(
                    "exists, but {}, which says how to continue, does not; delete {} to start anew, or choose another \
                     output",
                    self.journal().display(),
                    self.pattern()
                );
                Err(Error::data(folder.join(name), why))
            }
            None => Ok(()),
        }
    }

    /// That a finished shard is there with its bytes.
    ///
    /// # Errors
    /// [`Error::Data`] when it is not.
    pub fn check(&self, shard: u64, bytes: u64) -> Result<(), Error> {
        let path = self.path(shard);
        let found = match fs::metadata(&path) {
            Ok(found) if found.len() == bytes => return Ok(()),
            Ok(found) => format!("has {} bytes, and {bytes} were written", found.len()),
            Err(error) => error.to_string(),
        };
        let (journal, pattern) = (self.journal(), self.pattern());
        let anew = format!("delete {} and {pattern} to start anew", journal.display());
        Err(Error::data(path, format!("{found}; put it back, or {anew}")))
    }
}

/// The number of five digits or more that `text` is.
fn numbered(text: &str) -> Option<u64> {
    let is_number = text.len() >= 5 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn names() {
        let names = ShardNames::new(PathBuf::from("a/b.c.jsonl"));
        assert_eq!(names.path(12), Path::new("a/b.c-00012.jsonl"));
        assert_eq!(names.journal(), Path::new("a/b.c.jsonl.resume"));
        assert_eq!(names.pattern(), "a/b.c-*.jsonl");
        assert_eq!(names.state(3), Path::new("a/b.c.jsonl.resume-00003"));
        assert_eq!(names.state_number("b.c.jsonl.resume-00003"), Some(3));
        assert_eq!(names.state_number("b.c.jsonl.resume-3"), None);
        assert_eq!(names.number("b.c-00012.jsonl"), Some(12));
        assert_eq!(names.number("b.c-123456.jsonl"), Some(123_456));
        for other in ["b.c.jsonl", "b.c-12.jsonl", "b.c-00012.csv", "b.c-0001x.jsonl", "x-00012.jsonl"] {
            assert_eq!(names.number(other), None, "{other}");
        }
    }
}
