//! Where rows come from: the list of files, what is in each, and the stream of their rows in order.

pub(crate) mod array;
pub(crate) mod look;
pub(crate) mod pattern;
pub(crate) mod pipeline;
pub(crate) mod probe;
pub(crate) mod scan;
pub(crate) mod stream;
mod tar;
pub(crate) mod window;

use std::fs;
use std::path::{Path, PathBuf};

use tightfit_core::{MemoryBudget, Reservation};
use tightfit_format::npy::MAGIC;
use tightfit_format::tfrecord::{Compression, is_plain_header};

use crate::access::Access;
use crate::error::{DataError, Needed, io_error};
use crate::image::ImageFormat;
use crate::shuffle::INDEX_EXTENSION;
use crate::storage::{self, HEAD_BYTES, Location, READ_BYTES, StoredFile};

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// One image.
    Image,
    /// A .npy array.
    Array,
    /// TFRecords.
    Records(Compression),
    /// A description of a pipeline, whose elements are rows.
    Pipeline,
    /// Lines of text, or CSV. Only files that were named as that.
    Text,
    /// A .npz archive of arrays. Only files that were named as that.
    Archive,
    /// Parquet or Arrow IPC.
    Columns,
}

/// A file of a data set.
#[derive(Debug)]
pub struct DataFile {
    /// Where it is.
    pub path: Box<Path>,
    /// What it holds.
    pub kind: FileKind,
    /// Where it lies in an archive, if it is in one.
    part: Option<Part>,
}

/// Where a file lies in an archive.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Bytes of the archive's path, which the path begins with.
    archive_len: usize,
    offset: u64,
    bytes: u64,
}

impl DataFile {
    /// The file on the disk: the archive that it is in, or itself.
    pub fn on_disk(&self) -> &Path {
        let archive = self.part.and_then(|part| self.path.to_str()?.get(..part.archive_len));
        archive.map_or(&*self.path, Path::new)
    }

    /// Whether it lies in an archive.
    pub(crate) fn is_member(&self) -> bool {
        self.part.is_some()
    }

    /// Opens it, as [`storage::open`].
    ///
    /// # Errors
    /// As [`storage::open`].
    pub fn open(&self, budget: &MemoryBudget) -> std::io::Result<StoredFile> {
        match self.part {
            Some(Part { offset, bytes, .. }) => StoredFile::part(self.on_disk(), offset, bytes),
            None => storage::open(&self.path, budget),
        }
    }
}

impl AsRef<Path> for DataFile {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

/// What tells whether a file is still the one it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileStamp {
    /// Its bytes.
    pub bytes: u64,
    /// When it was last written, in nanoseconds since 1970; 0 where that is not known.
    pub modified_ns: u64,
}

impl FileStamp {
    /// The stamp of a file as it is now.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn of(path: &Path) -> Result<FileStamp, DataError> {
        storage::size_and_time(path).map(FileStamp::from_parts).map_err(|e| io_error(path, e))
    }

    /// The stamp in what the system says of a file.
    pub(crate) fn new(metadata: &fs::Metadata) -> FileStamp {
        FileStamp::from_parts(storage::of_metadata(metadata))
    }

    fn from_parts((bytes, modified_ns): (u64, Option<u64>)) -> FileStamp {
        FileStamp { bytes, modified_ns: modified_ns.unwrap_or(0) }
    }
}

/// The files of a data set in order.
#[derive(Debug)]
pub struct FileList {
    /// The files.
    pub files: Vec<DataFile>,
    reservation: Reservation,
    /// What the process holds for object stores, once a source is in one.
    stores: Option<Reservation>,
}

impl FileList {
    /// The list of a pipeline alone, by its name.
    pub(crate) fn of_pipeline(name: &Path, budget: &MemoryBudget) -> Result<FileList, DataError> {
        let reservation = budget.try_reserve("file list", entry_bytes(name))?;
        let files = vec![DataFile { path: name.into(), kind: FileKind::Pipeline, part: None }];
        Ok(FileList { files, reservation, stores: None })
    }

    /// Bytes held for the list.
    pub fn bytes(&self) -> u64 {
        self.reservation.bytes()
    }

    /// Bytes held for object stores: what they take of the process, whatever is read. 0 when all files are local.
    pub fn store_bytes(&self) -> u64 {
        self.stores.as_ref().map_or(0, Reservation::bytes)
    }

    /// Bytes that reading the files takes with `threads`, beside the windows of those who read: what is on its way from
    /// an object store. 0 when all files are local.
    pub(crate) fn read_ahead_bytes(&self, threads: usize) -> u64 {
        let remote = || self.files.iter().filter(|f| Location::of(&f.path).is_url());
        let has_stream = remote().any(|f| f.kind != FileKind::Image);
        let images = if remote().any(|f| f.kind == FileKind::Image) { threads as u64 } else { 0 };
        let streams = if has_stream { READ_BYTES } else { 0 };
        streams.saturating_add(images.saturating_mul(HEAD_BYTES as u64))
    }

    /// The path of file `index`.
    pub fn path(&self, index: u32) -> &Path {
        self.files.get(index as usize).map_or(Path::new(""), |f| &f.path)
    }
}

/// What folders are searched for. Everything else in them is left alone.
const IMAGES: [&str; 7] = ["jpg", "jpeg", "jpe", "jfif", "png", "bmp", "gif"];
const ARRAYS: [&str; 1] = ["npy"];

/// Folders deeper than this are taken for a loop of links.
const MAX_DEPTH: usize = 32;

/// A path in the list: its text, the list's place for it (twice, as the list grows by doubling), and what the
/// allocator adds.
fn entry_bytes(path: &Path) -> u64 {
    (path.as_os_str().len() + 2 * size_of::<DataFile>() + 16) as u64
}

/// Finds the files of `sources` (files, folders, globs) and what each holds. The list comes out of `budget`.
///
/// # Errors
/// [`DataError`] when a source stands for no file, a file cannot be read, or the budget is too small.
pub fn list(sources: &[PathBuf], budget: &MemoryBudget) -> Result<FileList, DataError> {
    list_of(sources, None, &Access::everything(), budget)
}

/// Files that are taken for what they were named as, whatever they begin with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub kind: FileKind,
    /// What folders are searched for, in lower case.
    pub extensions: &'static [&'static str],
}

impl Wanted {
    /// TFRecord files. How each is compressed is found from its first bytes.
    pub const RECORDS: Wanted = Wanted { kind: FileKind::Records(Compression::None), extensions: &[] };
    /// Images.
    pub const IMAGES: Wanted = Wanted { kind: FileKind::Image, extensions: &IMAGES };
    /// Arrays.
    pub const ARRAYS: Wanted = Wanted { kind: FileKind::Array, extensions: &ARRAYS };
    /// Archives of arrays.
    pub const ARCHIVES: Wanted = Wanted { kind: FileKind::Archive, extensions: &["npz"] };
    /// Text.
    pub const TEXT: Wanted = Wanted { kind: FileKind::Text, extensions: &["txt", "text"] };
    /// CSV.
    pub const CSV: Wanted = Wanted { kind: FileKind::Text, extensions: &["csv", "tsv"] };
    /// JSON lines.
    pub const JSON_LINES: Wanted = Wanted { kind: FileKind::Text, extensions: &["jsonl"] };

    /// Parquet.
    #[cfg(feature = "arrow")]
    pub const PARQUET: Wanted = Wanted { kind: FileKind::Columns, extensions: &["parquet"] };
    /// Arrow IPC, by the names of files and of streams.
    #[cfg(feature = "arrow")]
    pub const ARROW: Wanted =
        Wanted { kind: FileKind::Columns, extensions: &["arrow", "arrows", "feather", "ipc"] };

    /// Whether a file of this name is taken for such a one where it is found in a folder.
    fn is_name(&self, path: &Path) -> bool {
        if let FileKind::Records(_) = self.kind {
            return is_records_name(path);
        }
        match self.kind {
            FileKind::Text => has_packed_extension(path, self.extensions),
            _ => has_extension(path, self.extensions),
        }
    }
}

/// Whether a name ends in one of `extensions`, or in one and then in `.gz` or `.zst`.
pub fn has_packed_extension(path: &Path, extensions: &[&str]) -> bool {
    const PACKED: [&str; 2] = ["gz", "zst"];
    has_extension(path, extensions)
        || has_extension(path, &PACKED)
            && path.file_stem().is_some_and(|s| has_extension(Path::new(s), extensions))
}

/// Whether tabs stand between the cells of a table of this name.
pub(crate) fn is_tsv(path: &Path) -> bool {
    has_packed_extension(path, &["tsv"])
}

/// As [`list`], of files that are all `wanted`, if that is said, and that `access` allows.
///
/// # Errors
/// As [`list`], and for a file that is not allowed.
pub(crate) fn list_of(
    sources: &[PathBuf],
    wanted: Option<Wanted>,
    access: &Access,
    budget: &MemoryBudget,
) -> Result<FileList, DataError> {
    let mut list =
        FileList { files: Vec::new(), reservation: budget.try_reserve("file list", 0)?, stores: None };
    for source in sources {
        access.check(source).map_err(DataError::Spec)?;
        let before = list.files.len();
        if let Location::Url(url) = Location::of(source) {
            add_url(url, wanted, budget, &mut list)?;
        } else if source.is_dir() {
            add_folder(source, 0, wanted, &mut list)?;
            if let Some(found) = list.files.get_mut(before..) {
                found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
            }
        } else if source.exists() || !is_pattern(source) {
            add_file_or_members(source, (wanted, access), budget, &mut list)?;
        } else {
            add_matches(source, (wanted, access), budget, &mut list)?;
        }
        if list.files.len() == before {
            let is_folder = source.is_dir() || source.as_os_str().as_encoded_bytes().ends_with(b"/");
            let why = match wanted {
                _ if is_archive(source) => "no images in this archive",
                _ if !is_folder => "nothing matches this pattern",
                Some(_) => "no such files in this folder",
                None => "no images, .npy or .tfrecord files in this folder",
            };
            return Err(DataError::NoFiles { source: source.clone(), why });
        }
    }
    if list.files.is_empty() {
        return Err(DataError::Spec("no sources were given".to_string()));
    }
    if u32::try_from(list.files.len()).is_err() {
        return Err(DataError::Spec("more than four billion files".to_string()));
    }
    // Links in folders may lead anywhere; nothing has been opened so far.
    list.files.iter().try_for_each(|file| access.check(file.on_disk())).map_err(DataError::Spec)?;
    find_kinds(&mut list.files, wanted, budget)?;
    Ok(list)
}

/// Adds the object that `url` names, those under it when it ends in a slash, or those of a bucket that it matches.
fn add_url(
    url: &str,
    wanted: Option<Wanted>,
    budget: &MemoryBudget,
    list: &mut FileList,
) -> Result<(), DataError> {
    if list.stores.is_none() {
        list.stores = storage::reserve(Path::new(url), budget)?;
    }
    let is_http = url.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"));
    let is_folder = url.ends_with('/');
    // The question mark of an http URL begins its query.
    if !is_folder && (is_http || !is_pattern(Path::new(url))) {
        return add_file(Path::new(url), list);
    }
    let before = list.files.len();
    let at = |error| io_error(Path::new(url), error);
    for key in storage::keys(url).map_err(at)? {
        let key = key.map_err(at)?;
        let path = Path::new(&key);
        let is_hidden = || path.iter().any(|part| part.as_encoded_bytes().starts_with(b"."));
        let is_named = || wanted.map_or_else(|| is_data_name(path), |wanted| wanted.is_name(path));
        if !is_folder || is_named() && !is_hidden() {
            add_file(path, list)?;
        }
    }
    if let Some(found) = list.files.get_mut(before..) {
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    }
    Ok(())
}

fn is_pattern(path: &Path) -> bool {
    pattern::is_pattern(path.as_os_str())
}

fn add_matches(
    pattern: &Path,
    how: (Option<Wanted>, &Access),
    budget: &MemoryBudget,
    list: &mut FileList,
) -> Result<(), DataError> {
    pattern::each_match(pattern, budget, &mut |path| match path.is_file() && !is_index(path) {
        true => add_file_or_members(path, how, budget, list),
        false => Ok(()),
    })
}

fn is_archive(path: &Path) -> bool {
    has_extension(path, &["tar"])
}

/// Adds a file, or of an archive, where images will do, those in it; the archive is opened as far as the access allows.
fn add_file_or_members(
    path: &Path,
    (wanted, access): (Option<Wanted>, &Access),
    budget: &MemoryBudget,
    list: &mut FileList,
) -> Result<(), DataError> {
    let takes_images = wanted.is_none_or(|wanted| wanted.kind == FileKind::Image);
    let (Some(archive), true) = (path.to_str(), takes_images && is_archive(path) && path.is_file()) else {
        return add_file(path, list);
    };
    access.check(path).map_err(DataError::Spec)?;
    tar::each_member(path, budget, &mut |member| {
        let name = Path::new(&member.name);
        let is_hidden = name.iter().any(|part| part.as_encoded_bytes().starts_with(b".") && part != ".");
        if !has_extension(name, &IMAGES) || is_hidden {
            return Ok(());
        }
        let shown = format!("{archive}/{}", member.name.trim_start_matches("./").trim_start_matches('/'));
        let shown = Path::new(&shown);
        list.reservation.try_grow(entry_bytes(shown))?;
        let part = Part { archive_len: archive.len(), offset: member.offset, bytes: member.bytes };
        list.files.push(DataFile { path: shown.into(), kind: FileKind::Image, part: Some(part) });
        Ok(())
    })
    .map_err(|error| match error {
        tar::Broken::Io(error) => io_error(path, error),
        tar::Broken::Data(error) => error,
    })
}

fn add_folder(
    folder: &Path,
    depth: usize,
    wanted: Option<Wanted>,
    list: &mut FileList,
) -> Result<(), DataError> {
    if depth > MAX_DEPTH {
        return Err(DataError::NoFiles { source: folder.to_path_buf(), why: "folders are nested too deep" });
    }
    for entry in fs::read_dir(folder).map_err(|e| io_error(folder, e))? {
        let path = entry.map_err(|e| io_error(folder, e))?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        if path.is_dir() {
            add_folder(&path, depth + 1, wanted, list)?;
        } else if wanted.map_or_else(|| is_data_name(&path), |wanted| wanted.is_name(&path)) {
            add_file(&path, list)?;
        }
    }
    Ok(())
}

/// Whether a file of this name is taken for data where it is found in a folder.
pub fn is_data_name(path: &Path) -> bool {
    is_records_name(path) || has_extension(path, &IMAGES) || has_extension(path, &ARRAYS)
}

/// TensorFlow calls its files `train.tfrecord-00000-of-00010`, TFX `data_tfrecord-00000-of-00001.gz`.
fn is_records_name(path: &Path) -> bool {
    let is_records =
        |name: &std::ffi::OsStr| name.to_string_lossy().to_ascii_lowercase().contains("tfrecord");
    path.file_name().is_some_and(is_records) && !is_index(path)
}

/// True for an index of records, which is named after what it is of.
fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(&format!(".{INDEX_EXTENSION}")))
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|found| extensions.iter().any(|e| found.eq_ignore_ascii_case(e)))
}

/// Adds a file; what it holds is found when all are known.
fn add_file(path: &Path, list: &mut FileList) -> Result<(), DataError> {
    // Before it is opened: opening a pipe waits for whoever writes to it, and files are read more than once.
    let is_local = !Location::of(path).is_url();
    if is_local && !fs::metadata(path).map_err(|e| io_error(path, e))?.is_file() {
        return Err(DataError::NoFiles { source: path.to_path_buf(), why: "a device or pipe, not a file" });
    }
    list.reservation.try_grow(entry_bytes(path))?;
    list.files.push(DataFile { path: path.into(), kind: FileKind::Image, part: None });
    Ok(())
}

/// Finds what each file holds: what it is `wanted` as, or what its first bytes say.
fn find_kinds(
    files: &mut [DataFile],
    wanted: Option<Wanted>,
    budget: &MemoryBudget,
) -> Result<(), DataError> {
    let is_wanted = match wanted.map(|wanted| wanted.kind) {
        Some(kind) if !matches!(kind, FileKind::Records(_)) => {
            files.iter_mut().for_each(|file| file.kind = kind);
            return Ok(());
        }
        wanted => wanted.is_some(),
    };
    for (file, opened) in storage::open_each(files.iter_mut().filter(|file| !file.is_member()), budget) {
        let mut head = [0; 16];
        let read = opened.and_then(|opened| opened.read_at(&mut head, 0));
        let have = read.map_err(|e| io_error(&file.path, e))?;
        let head = head.get(..have).needed("more of a file was read than was asked for")?;
        file.kind = match kind_of(head) {
            _ if is_wanted => FileKind::Records(Compression::detect(head)),
            // An image that is empty or damaged is a bad row, and not a file of no records.
            FileKind::Records(_) if has_extension(&file.path, &IMAGES) => FileKind::Image,
            kind => kind,
        };
    }
    Ok(())
}

/// What a file that begins with `head` (16 bytes, fewer if it has fewer) holds.
fn kind_of(head: &[u8]) -> FileKind {
    if is_plain_header(head) {
        // A record's length may look like any magic number, but its CRC does not come by chance.
        FileKind::Records(Compression::None)
    } else if head.starts_with(MAGIC) {
        FileKind::Array
    } else if head.starts_with(b"PAR1") || head.starts_with(b"ARROW1\0\0") {
        FileKind::Columns
    } else if ImageFormat::detect(head).is_some() {
        FileKind::Image
    } else {
        FileKind::Records(Compression::detect(head))
    }
}

/// What keeps a Parquet or Arrow file from being read where it was given.
pub fn why_no_columns(path: &Path) -> String {
    let path = path.display();
    if cfg!(feature = "arrow") {
        return format!(
            "{path} is a Parquet or Arrow file: it is read in a pipeline, as {{\"source\": {{\"parquet\": [\"{path}\"]}}}}, \
             or `tightfit records convert {path} --output FILE.tfrecord` makes records of it"
        );
    }
    format!("{path}: {NO_COLUMNS}")
}

/// The error of a build that has no Parquet.
pub(crate) const NO_COLUMNS: &str = "Parquet and Arrow files are read by builds with the cargo feature arrow only (cargo \
                                     build --release --features arrow)";
