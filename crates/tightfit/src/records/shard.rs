//! Records dealt to N files, each record to one of them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tightfit_core::MemoryBudget;

use super::files::{RecordFile, list_files};
use super::output::{RecordOutput, compression_of};
use crate::error::Error;
use crate::sink::file::Output;
use tightfit_format::tfrecord::Compression;
use tightfit_format::whole::{folder_of, is_system, remove_leftovers};

/// The most shards, which the five digits in a shard's name can number.
pub const MAX_SHARDS: usize = 99_999;

/// How records are dealt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dealing {
    /// Record i goes to shard i mod N.
    RoundRobin,
    /// Each shard has records that follow each other, as many as the others or one more.
    Ranges,
}

/// What to split.
#[derive(Debug, Clone)]
pub struct ShardOptions {
    /// Files, folders and globs, whose records are taken one after the other.
    pub sources: Vec<PathBuf>,
    /// The name of the shards up to their number: `OUT` gives `OUT-00000-of-00004`, and `OUT.gz`
    /// `OUT-00000-of-00004.gz`.
    pub output: PathBuf,
    /// Shards.
    pub shards: usize,
    /// Which record goes where.
    pub dealing: Dealing,
}

/// Deals the records of `sources`, byte for byte; the records of each shard.
///
/// The shards are one set. They are written beside their places and appear when all are whole and on the disk: first
/// the last shard of an older set of the same name is removed, then all are renamed, the last one last. So whenever all
/// N are there they are of one call. A process that is killed before leaves the older set as it was; one that is killed
/// in the few milliseconds of renaming leaves a set without its last shard, of new shards up to some number and older
/// ones, if there were any, after it. Calling again finishes the set, and removes what was written beside it.
///
/// # Errors
/// [`Error`] for a bad record, with its place, and when the budget has no room for a window and the buffers of all
/// shards, or `stop` was set. No shard appears then.
pub fn shard(options: &ShardOptions, budget: &MemoryBudget, stop: &AtomicBool) -> Result<Vec<u64>, Error> {
    let list = list_files(&options.sources, true, budget)?;
    let mut outputs = ShardSet::create(&options.output, options.shards, budget)?;
    if let Some(path) = outputs.paths().find(|path| list.files.iter().any(|f| *f.path == **path)) {
        return Err(Error::Usage(format!("{} would be read and written", path.display())));
    }
    let shards = options.shards.max(1) as u64;
    // Where ranges end follows from how many records there are.
    let total = match options.dealing {
        Dealing::RoundRobin => 0,
        Dealing::Ranges => {
            let mut total = 0u64;
            each_record(&list, budget, stop, &mut |_, _| {
                total += 1;
                Ok(())
            })?;
            total
        }
    };
    each_record(&list, budget, stop, &mut |index, record| {
        let shard = match options.dealing {
            Dealing::RoundRobin => index % shards,
            Dealing::Ranges => range_of(index, total, shards),
        };
        outputs.write(shard, record)
    })?;
    outputs.commit()
}

/// # Errors
/// [`Error::Usage`] for standard output or a device, beside which no files can stand.
pub(crate) fn check_begins_names(output: &Path) -> Result<(), Error> {
    if is_system(output) {
        let why = "shards are files of their own; give the name that they begin with";
        return Err(Error::Usage(format!("{}: {why}", output.display())));
    }
    Ok(())
}

/// A set of shards being written: beside their places, and named when all are whole.
pub struct ShardSet {
    outputs: Vec<RecordOutput>,
}

impl ShardSet {
    /// `shards` files of the name `output` up to their number, compressed as it says. Their buffers come out of
    /// `budget`. What a process that was killed has left of such a set is removed.
    ///
    /// # Errors
    /// [`Error::Usage`] for a device, [`Error::Io`], and the budget's error.
    pub fn create(output: &Path, shards: usize, budget: &MemoryBudget) -> Result<ShardSet, Error> {
        check_begins_names(output)?;
        remove_leftovers(folder_of(output), &|name| name.to_str().is_some_and(|name| is_shard(output, name)));
        let create = |shard| RecordOutput::create_one(&shard_path(output, shard, shards), budget);
        Ok(ShardSet { outputs: (0..shards).map(create).collect::<Result<_, _>>()? })
    }

    /// Where they will stand.
    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.outputs.iter().map(RecordOutput::path)
    }

    /// Appends a record to one of them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, shard: u64, record: &[u8]) -> Result<(), Error> {
        match usize::try_from(shard).ok().and_then(|shard| self.outputs.get_mut(shard)) {
            Some(output) => output.write(record),
            None => Err(Error::Usage("a file has grown while it was read".to_string())),
        }
    }

    /// Gives them their names; the records of each.
    ///
    /// # Errors
    /// [`Error::Io`]. No shard appears when one cannot be written.
    pub fn commit(self) -> Result<Vec<u64>, Error> {
        let counts = self.outputs.iter().map(RecordOutput::records).collect();
        let finished = self.outputs.into_iter().map(RecordOutput::finish).collect::<Result<Vec<_>, _>>()?;
        Output::commit_all(finished)?;
        Ok(counts)
    }
}

/// The range that record `index` of `total` falls into, the first `total % shards` ranges having one more.
fn range_of(index: u64, total: u64, shards: u64) -> u64 {
    let (size, longer) = (total / shards, total % shards);
    let end_of_longer = longer * (size + 1);
    if index < end_of_longer {
        index / (size + 1)
    } else {
        longer + (index - end_of_longer).checked_div(size).unwrap_or(shards)
    }
}

/// What is called with the number and the data of a record.
type EachRecord<'f> = dyn FnMut(u64, &[u8]) -> Result<(), Error> + 'f;

/// Calls `each` with the number and the data of every record of every file.
pub(super) fn each_record(
    list: &tightfit_data::FileList,
    budget: &MemoryBudget,
    stop: &AtomicBool,
    each: &mut EachRecord<'_>,
) -> Result<(), Error> {
    let mut index = 0;
    for entry in &list.files {
        let mut file = RecordFile::open(&entry.path, budget)?;
        while file.advance_good()? {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            each(index, file.current().data)?;
            index += 1;
        }
    }
    Ok(())
}

/// `name-00000-of-00004`, the suffix of a compressed file kept at the end.
fn shard_path(output: &Path, shard: usize, shards: usize) -> PathBuf {
    let (stem, suffix) = stem_and_suffix(output);
    let mut path = stem.into_os_string();
    path.push(format!("-{shard:05}-of-{shards:05}"));
    path.push(suffix);
    PathBuf::from(path)
}

/// Whether a file is called as a shard of `output` is, of however many.
fn is_shard(output: &Path, name: &str) -> bool {
    let (stem, suffix) = stem_and_suffix(output);
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    let numbers = stem
        .file_name()
        .and_then(|stem| name.strip_prefix(stem.to_str()?)?.strip_suffix(suffix.to_str()?))
        .and_then(|rest| rest.strip_prefix('-')?.split_once("-of-"));
    numbers.is_some_and(|(shard, shards)| is_number(shard) && is_number(shards))
}

fn stem_and_suffix(output: &Path) -> (PathBuf, OsString) {
    match (compression_of(output), output.extension()) {
        (Ok(compression), Some(extension)) if compression != Compression::None => {
            let mut suffix = OsString::from(".");
            suffix.push(extension);
            (output.with_extension(""), suffix)
        }
        _ => (output.to_path_buf(), OsString::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_and_differ_by_one() {
        for total in 0..40u64 {
            for shards in 1..12u64 {
                let dealt: Vec<u64> = (0..total).map(|i| range_of(i, total, shards)).collect();
                assert!(dealt.is_sorted() && dealt.iter().all(|s| *s < shards), "{total} to {shards}");
                let sizes: Vec<_> = (0..shards).map(|s| dealt.iter().filter(|d| **d == s).count()).collect();
                assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
            }
        }
    }

    #[test]
    fn names_of_shards() {
        assert_eq!(shard_path(Path::new("a/b.tfrecord"), 3, 12), Path::new("a/b.tfrecord-00003-of-00012"));
        assert_eq!(shard_path(Path::new("b.tfrecord.gz"), 0, 1), Path::new("b.tfrecord-00000-of-00001.gz"));
        assert!(is_shard(Path::new("a/b.tfrecord"), "b.tfrecord-00003-of-00012"));
        assert!(is_shard(Path::new("b.tfrecord.gz"), "b.tfrecord-00000-of-00001.gz"));
        for other in ["b.tfrecord", "b.tfrecord-3-of-12", "b.tfrecord-00000-of-00001.gz", "b-00000-of-00001"]
        {
            assert!(!is_shard(Path::new("b.tfrecord"), other), "{other}");
        }
    }
}
