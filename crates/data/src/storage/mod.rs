//! Where bytes of data files come from: the one place that opens them, on this machine or in an object store.
//!
//! Paths are carried as they were given: `s3://bucket/key`, `gs://bucket/key` and `http(s)://...` are URLs, all else
//! is local. A local file costs no more here than [`File`] itself.
//!
//! Objects are read with the cargo feature `object-store`. Opening one brings its first 64 KiB; who reads on has up to
//! four ranges of 1 MiB ahead of him, in buffers of the budget that was given to [`open`]. Every request after the first
//! is for the version that was opened, and an object that was replaced meanwhile is an error. Transient errors
//! (answers 429 and 5xx, connections refused or broken) are retried with growing waits; no answer within 30 seconds, or what the
//! option `timeout` says, counts as broken. One thread of the process drives all connections, and calls wait for it: they
//! are not to be made from inside an async task.

#[cfg(feature = "object-store")]
mod ahead;
#[cfg(feature = "object-store")]
mod object;
#[cfg(feature = "object-store")]
mod remote;
#[cfg(feature = "object-store")]
mod stores;

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use tightfit_core::{BudgetError, MemoryBudget, Reservation};

/// The schemes that name a file in an object store.
pub(crate) const SCHEMES: [&str; 4] = ["s3://", "gs://", "http://", "https://"];

/// What the name of a source stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location<'a> {
    /// A file or folder of this machine.
    Local(&'a Path),
    /// `s3://bucket/key`, `gs://bucket/key`, `http://...` or `https://...`. As the source of a list, what is in a bucket
    /// may end in a slash, for all data files under it, or be a glob over keys, whose stars stop at slashes.
    Url(&'a str),
}

impl<'a> Location<'a> {
    /// What `path` stands for. A local file of the name `s3:` is reached as `./s3:`.
    pub fn of(path: &'a Path) -> Location<'a> {
        let is_scheme = |text: &&str| {
            let begins = |s: &&str| text.get(..s.len()).is_some_and(|head| head.eq_ignore_ascii_case(s));
            SCHEMES.iter().any(begins)
        };
        path.to_str().filter(is_scheme).map_or(Location::Local(path), Location::Url)
    }

    /// True for a file that is reached through the network.
    pub fn is_url(&self) -> bool {
        matches!(self, Location::Url(_))
    }
}

/// Opens the file that `path` stands for. What reading it ahead takes comes out of `budget`; a local file takes
/// nothing.
///
/// # Errors
/// What the system or the store says. In a build without object stores a URL is [`io::ErrorKind::Unsupported`].
pub fn open(path: &Path, budget: &MemoryBudget) -> io::Result<StoredFile> {
    match Location::of(path) {
        Location::Local(path) => StoredFile::local(path),
        Location::Url(url) => remote(url, budget),
    }
}

/// What is read of an object when it is opened: enough for most headers, and for many images.
pub(crate) const HEAD_BYTES: usize = 64 << 10;

/// A range of an object that is read ahead.
#[cfg(feature = "object-store")]
const PIECE_BYTES: usize = 1 << 20;

/// Ranges that are asked for at once, or wait to be read.
#[cfg(feature = "object-store")]
const PIECES: usize = 4;

/// The most memory that reading one object from front to back takes; positioned reads take [`HEAD_BYTES`].
#[cfg(feature = "object-store")]
pub(crate) const READ_BYTES: u64 = (HEAD_BYTES + PIECES * PIECE_BYTES) as u64;
#[cfg(not(feature = "object-store"))]
pub(crate) const READ_BYTES: u64 = 0;

/// What the process holds as soon as it reads objects, beside the ranges that are counted by themselves: code, the
/// clients' certificates, connections, a page of listed keys. On Linux it is 5 MiB of resident memory over http, or with
/// four buckets, and 6.2 MiB over https.
#[cfg(feature = "object-store")]
const STORES_BYTES: u64 = 10 << 20;
#[cfg(not(feature = "object-store"))]
const STORES_BYTES: u64 = 0;

/// Takes what the process holds as soon as it reads objects out of `budget`, if `path` is a URL. A
/// [`FileList`](crate::FileList) has done so for its files; who opens one by itself keeps this while it is open.
///
/// # Errors
/// [`BudgetError`] when it is not there.
pub fn reserve(path: &Path, budget: &MemoryBudget) -> Result<Option<Reservation>, BudgetError> {
    let is_url = Location::of(path).is_url();
    is_url.then(|| budget.try_reserve("object stores", STORES_BYTES)).transpose()
}

/// Sets what object stores are reached with from now on, as the variables of the environment that the stores' own tools
/// read, in lower case: `aws_access_key_id`, `aws_endpoint`, `aws_region`, `google_service_account`, ..., and for all
/// of them `timeout` (`10 seconds`), `proxy_url`, `allow_http`. A store takes what it knows and leaves the rest. It is
/// the process's, and nothing is read from the environment here.
#[cfg(feature = "object-store")]
pub fn set_options(options: Vec<(String, String)>) {
    stores::set_options(options);
}

/// The objects that `url`, which ends in a slash or is a pattern, stands for.
#[cfg(feature = "object-store")]
pub(crate) fn keys(url: &str) -> io::Result<impl Iterator<Item = io::Result<String>>> {
    stores::Keys::list(url)
}

#[cfg(not(feature = "object-store"))]
pub(crate) fn keys(url: &str) -> io::Result<std::iter::Empty<io::Result<String>>> {
    Err(no_stores(url))
}

/// Opens files in order, with a few requests on their way ahead where they are objects: a request takes long, and most
/// of that is waiting.
#[cfg(feature = "object-store")]
pub(crate) fn open_each<T: AsRef<Path>>(
    files: impl Iterator<Item = T>,
    budget: &MemoryBudget,
) -> impl Iterator<Item = (T, io::Result<StoredFile>)> {
    ahead::OpenEach::new(files, budget)
}

#[cfg(not(feature = "object-store"))]
pub(crate) fn open_each<T: AsRef<Path>>(
    files: impl Iterator<Item = T>,
    budget: &MemoryBudget,
) -> impl Iterator<Item = (T, io::Result<StoredFile>)> {
    files.map(|file| {
        let opened = open(file.as_ref(), budget);
        (file, opened)
    })
}

/// The bytes of a file, and when it was last written, in nanoseconds since 1970, where that is known. Nothing is read
/// of it.
///
/// # Errors
/// As [`open`].
pub fn size_and_time(path: &Path) -> io::Result<(u64, Option<u64>)> {
    match Location::of(path) {
        Location::Local(path) => std::fs::metadata(path).map(|metadata| of_metadata(&metadata)),
        #[cfg(feature = "object-store")]
        Location::Url(url) => remote::size_and_time(url),
        #[cfg(not(feature = "object-store"))]
        Location::Url(url) => Err(no_stores(url)),
    }
}

/// The bytes of a local file and the time it was last written, as in [`size_and_time`].
pub(crate) fn of_metadata(metadata: &Metadata) -> (u64, Option<u64>) {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    (metadata.len(), modified.and_then(|since| u64::try_from(since.as_nanos()).ok()))
}

#[cfg(feature = "object-store")]
fn remote(url: &str, budget: &MemoryBudget) -> io::Result<StoredFile> {
    remote::Opening::begin(url, budget)?.finish().map(StoredFile::remote)
}

#[cfg(not(feature = "object-store"))]
fn remote(url: &str, _budget: &MemoryBudget) -> io::Result<StoredFile> {
    Err(no_stores(url))
}

/// The error of a build that has no object stores.
#[cfg(not(feature = "object-store"))]
fn no_stores(url: &str) -> io::Error {
    let scheme = url.split_once("://").map_or(url, |(scheme, _)| scheme);
    let why = format!(
        "{scheme}:// is read by builds with the cargo feature object-store only (cargo build --release --features \
         object-store)"
    );
    io::Error::new(io::ErrorKind::Unsupported, why)
}

/// See [`bytes_read`].
static BYTES_READ: AtomicU64 = AtomicU64::new(0);

/// Bytes that this process has read from files of data sets, as they are stored: how far a job is that reads files from
/// front to back.
pub fn bytes_read() -> u64 {
    BYTES_READ.load(Ordering::Relaxed)
}

/// Counts bytes that were read at a place given.
pub(crate) fn has_read(bytes: u64) {
    BYTES_READ.fetch_add(bytes, Ordering::Relaxed);
}

/// An open file of a data set. [`Read`] and [`Seek`] move one position; [`StoredFile::read_at`] leaves it alone.
#[derive(Debug)]
pub struct StoredFile {
    source: Source,
    bytes: u64,
    modified_ns: Option<u64>,
}

#[derive(Debug)]
enum Source {
    Local(File),
    /// A part of a local file from a byte on, and where in it reading goes on.
    Part {
        file: File,
        from: u64,
        at: u64,
    },
    #[cfg(feature = "object-store")]
    Remote(Box<remote::RemoteFile>),
}

impl StoredFile {
    fn local(path: &Path) -> io::Result<StoredFile> {
        let file = File::open(path)?;
        let (bytes, modified_ns) = of_metadata(&file.metadata()?);
        Ok(StoredFile { source: Source::Local(file), bytes, modified_ns })
    }

    /// The `bytes` bytes from `from` on of a local file.
    pub(crate) fn part(path: &Path, from: u64, bytes: u64) -> io::Result<StoredFile> {
        let file = File::open(path)?;
        let (_, modified_ns) = of_metadata(&file.metadata()?);
        Ok(StoredFile { source: Source::Part { file, from, at: 0 }, bytes, modified_ns })
    }

    #[cfg(feature = "object-store")]
    fn remote(file: remote::RemoteFile) -> StoredFile {
        let (bytes, modified_ns) = (file.version().bytes, file.version().modified_ns);
        StoredFile { source: Source::Remote(Box::new(file)), bytes, modified_ns }
    }

    /// Bytes of the file when it was opened.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// True for a file of no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// When it was last written, in nanoseconds since 1970, where that is known: whether it is still the file that an
    /// index was made of is told from this and its size.
    pub fn modified_ns(&self) -> Option<u64> {
        self.modified_ns
    }

    /// Reads what stands at byte `offset`, as many bytes as `out` has, and fewer only at the end of the file.
    ///
    /// # Errors
    /// What the system or the store says.
    pub fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(filled as u64);
            let read = match &self.source {
                Source::Local(file) => read_at(file, rest, at),
                Source::Part { file, from, .. } => {
                    let left = usize::try_from(self.bytes.saturating_sub(at)).unwrap_or(usize::MAX);
                    let bytes = rest.len().min(left);
                    read_at(file, rest.get_mut(..bytes).unwrap_or_default(), from.saturating_add(at))
                }
                #[cfg(feature = "object-store")]
                Source::Remote(file) => file.read_at(rest, at),
            };
            match read {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

#[cfg(unix)]
fn read_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, out, offset)
}

#[cfg(windows)]
fn read_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    // It moves the file's position as well, so that is put back for those who read on.
    let mut position = file;
    let before = position.stream_position()?;
    let read = std::os::windows::fs::FileExt::seek_read(file, out, offset);
    position.seek(SeekFrom::Start(before))?;
    read
}

impl Read for StoredFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Source::Part { at, .. } = self.source {
            let read = self.read_at(out, at)?;
            if let Source::Part { at, .. } = &mut self.source {
                *at = at.saturating_add(read as u64);
            }
            BYTES_READ.fetch_add(read as u64, Ordering::Relaxed);
            return Ok(read);
        }
        let read = match &mut self.source {
            Source::Local(file) => file.read(out),
            Source::Part { .. } => Ok(0),
            #[cfg(feature = "object-store")]
            Source::Remote(file) => file.read(out),
        };
        if let Ok(bytes) = read {
            BYTES_READ.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        read
    }
}

impl Seek for StoredFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &mut self.source {
            Source::Local(file) => file.seek(to),
            Source::Part { at, .. } => {
                let to = match to {
                    SeekFrom::Start(to) => Some(to),
                    SeekFrom::Current(by) => at.checked_add_signed(by),
                    SeekFrom::End(by) => self.bytes.checked_add_signed(by),
                };
                *at = to.ok_or(io::ErrorKind::InvalidInput)?;
                Ok(*at)
            }
            #[cfg(feature = "object-store")]
            Source::Remote(file) => file.seek(to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths() {
        for url in ["s3://b/k", "gs://b/k", "http://h/x", "HTTPS://h/x"] {
            assert_eq!(Location::of(Path::new(url)), Location::Url(url));
        }
        for path in ["a.npy", "./s3://b/k", "s3:/b/k", "file://a", "ftp://h/x", ""] {
            assert!(!Location::of(Path::new(path)).is_url(), "{path}");
        }
    }

    #[test]
    fn positioned_reads_leave_the_position_alone() {
        let path = std::env::temp_dir().join(format!("tightfit-storage-{}", std::process::id()));
        std::fs::write(&path, b"0123456789").unwrap();
        let mut file = open(&path, &MemoryBudget::new(0)).unwrap();
        let (mut head, mut out) = ([0; 2], [0; 4]);
        file.read_exact(&mut head).unwrap();
        assert_eq!((file.read_at(&mut out, 5).unwrap(), &out), (4, b"5678"));
        assert_eq!((file.read_at(&mut out, 8).unwrap(), &out[..2]), (2, &b"89"[..]));
        assert_eq!(file.read_at(&mut out, 1000).unwrap(), 0);
        file.read_exact(&mut head).unwrap();
        assert_eq!((&head, file.len(), file.modified_ns().is_some()), (b"23", 10, true));
        std::fs::remove_file(&path).unwrap();
    }

    #[cfg(not(feature = "object-store"))]
    #[test]
    fn a_url_names_the_feature_that_is_missing() {
        let error = open(Path::new("s3://bucket/key"), &MemoryBudget::new(0)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(error.to_string().contains("--features object-store"), "{error}");
    }
}
