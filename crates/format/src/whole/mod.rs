//! Files and folders that are whole or not there: the one place that gives files their names.
//!
//! A [`WholeFile`] is written under another name beside its place, and renamed when all of it is on the disk. Whatever
//! happens before, a crash of the system included, what stood at its place stands there still.
//!
//! - The temporary name, `.NAME.tmp-` and 16 random digits, cannot be foreseen, and is made exclusively: whatever stands
//!   there already, a symbolic link among others, is neither followed nor replaced, and another name is tried.
//! - A new file gets the mode that the umask leaves, as any other. One that replaces a file gets that one's permissions,
//!   and its owner and group where the system allows, before the first byte is written.
//! - A target that is a symbolic link stays one: the file it points to is replaced. A link to nothing is an error, as it
//!   is for `cp`. Other hard links to a replaced file keep the old content.
//! - A target that is no regular file (a device, a pipe, what is under `/dev` and `/proc`) is written as it is.
//! - The writer holds a lock on the temporary file. The system takes a lock back when its holder ends, however it ends, so
//!   what is not locked was left over by a process that was killed, and [`remove_leftovers`] removes it.
//! - [`WholeFile::commit`] syncs the data, renames, and syncs the folder, so that the name is on the disk too. Dropped
//!   before that, nothing is left.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::random::random;

/// Between a name and the random digits.
const MARK: &[u8] = b".tmp-";

/// Random digits of a temporary name.
const DIGITS: usize = 16;

/// Names that are tried. That one is taken does not happen by chance.
const TRIES: usize = 16;

/// The longest name that is part of a temporary one: file systems allow 255 bytes.
const MAX_NAME_BYTES: usize = 200;

/// True for what the system shows as files: standard output and devices.
pub fn is_system(path: &Path) -> bool {
    cfg!(unix) && ["/dev", "/proc"].iter().any(|folder| path.starts_with(folder))
}

/// A device or a pipe to write to. Standard output is not opened anew: what is there already stays in front.
fn open_as_it_is(target: &Path) -> io::Result<File> {
    #[cfg(unix)]
    if target == Path::new("/dev/stdout") {
        return Ok(std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned()?.into());
    }
    OpenOptions::new().write(true).open(target)
}

/// A file on its way to its name, see the [module](self).
#[derive(Debug)]
pub struct WholeFile {
    file: File,
    /// Where it goes.
    place: PathBuf,
    /// What it is called until then; `None` once it has its name, and for what is written as it is.
    temporary: Option<PathBuf>,
}

impl WholeFile {
    /// A file that will stand at `target`. What killed processes have left of the same file is removed.
    ///
    /// # Errors
    /// Whatever the system reports, [`ErrorKind::IsADirectory`] for a folder and [`ErrorKind::NotFound`] for a symbolic
    /// link to nothing.
    pub fn create(target: &Path) -> io::Result<WholeFile> {
        let file = WholeFile::create_one(target)?;
        if file.temporary.is_some()
            && let Some(name) = file.place.file_name()
        {
            remove_leftovers(folder_of(&file.place), &|left| left == name);
        }
        Ok(file)
    }

    /// As [`WholeFile::create`] for one of many: looking for leftovers once is left to the caller.
    ///
    /// # Errors
    /// As [`WholeFile::create`].
    pub fn create_one(target: &Path) -> io::Result<WholeFile> {
        let before = match fs::metadata(target) {
            Ok(metadata) if metadata.is_dir() => return Err(ErrorKind::IsADirectory.into()),
            Ok(metadata) if is_system(target) || !metadata.is_file() => {
                let file = open_as_it_is(target)?;
                return Ok(WholeFile { file, place: target.to_path_buf(), temporary: None });
            }
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let place = match &before {
            Some(_) => fs::canonicalize(target)?,
            None if fs::symlink_metadata(target).is_ok() => {
                let why = "a symbolic link to a file that is not there";
                return Err(io::Error::new(ErrorKind::NotFound, why));
            }
            None => target.to_path_buf(),
        };
        let (temporary, file) = create_beside(&place, &|path| make_file(path, before.is_some()))?;
        let whole = WholeFile { file, place, temporary: Some(temporary) };
        if let Some(before) = &before {
            take_over(&whole.file, before)?;
        }
        Ok(whole)
    }

    /// Where it goes: the target, or what that points to.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// True when it gets its name at the end, and false for a device or a pipe.
    pub fn is_renamed(&self) -> bool {
        self.temporary.is_some()
    }

    /// Brings all that was written to the disk.
    ///
    /// # Errors
    /// Whatever the system reports.
    pub fn sync(&self) -> io::Result<()> {
        if self.temporary.is_some() { self.file.sync_all() } else { Ok(()) }
    }

    /// Brings it to the disk, gives it its name and brings that to the disk.
    ///
    /// # Errors
    /// Whatever the system reports. Unless only the last step failed, what was at the place is still there.
    pub fn commit(mut self) -> io::Result<()> {
        self.sync()?;
        if self.rename()? { sync_folder(folder_of(&self.place)) } else { Ok(()) }
    }

    /// Commits files that belong together, the last of which completes them: at no moment are all of them there and some
    /// from before. All are on the disk before the first gets its name; a process that ends while they are being named,
    /// in a few milliseconds, leaves some of the new ones, beside old ones where there were any, and not the last.
    ///
    /// # Errors
    /// Whatever the system reports, with the file. Where naming one fails, those before it stay.
    pub fn commit_all(files: Vec<WholeFile>) -> Result<(), (PathBuf, io::Error)> {
        let at = |place: &Path| {
            let place = place.to_path_buf();
            move |error| (place, error)
        };
        for file in &files {
            file.sync().map_err(at(&file.place))?;
        }
        if let Some(last) = files.last().filter(|last| files.len() > 1 && last.temporary.is_some()) {
            match fs::remove_file(&last.place) {
                Ok(()) => sync_folder(folder_of(&last.place)).map_err(at(&last.place))?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err((last.place.clone(), error)),
            }
        }
        let count = files.len();
        for (number, mut file) in files.into_iter().enumerate() {
            let is_renamed = file.rename().map_err(at(&file.place))?;
            // Before the last one too, so that it is never the first on the disk.
            if is_renamed && number + 2 >= count {
                sync_folder(folder_of(&file.place)).map_err(at(&file.place))?;
            }
        }
        Ok(())
    }

    /// Gives it its name; false where it has it already.
    fn rename(&mut self) -> io::Result<bool> {
        let Some(temporary) = &self.temporary else { return Ok(false) };
        fs::rename(temporary, &self.place)?;
        self.temporary = None;
        Ok(true)
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // What cannot be removed is found by the next one that writes there.
            let _ = fs::remove_file(temporary);
        }
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for WholeFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

/// Writes `bytes` to `target`, whole or not at all.
///
/// # Errors
/// As [`WholeFile::create`] and [`WholeFile::commit`].
pub fn write(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = WholeFile::create(target)?;
    file.write_all(bytes)?;
    file.commit()
}

/// A new folder on its way to its name, as a [`WholeFile`].
#[derive(Debug)]
pub struct WholeFolder {
    place: PathBuf,
    temporary: Option<PathBuf>,
    /// Where the system opens and locks folders.
    _lock: Option<File>,
}

impl WholeFolder {
    /// A folder that will stand at `target`, where nothing is. What killed processes have left of it is removed.
    ///
    /// # Errors
    /// Whatever the system reports, and [`ErrorKind::AlreadyExists`].
    pub fn create(target: &Path) -> io::Result<WholeFolder> {
        // Without the slash at the end, after which nothing can be appended.
        let place: PathBuf = target.components().collect();
        if fs::symlink_metadata(&place).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if let Some(name) = place.file_name() {
            remove_leftovers(folder_of(&place), &|left| left == name);
        }
        let make = |path: &Path| fs::create_dir(path).map(|()| File::open(path).ok());
        let (temporary, lock) = create_beside(&place, &make)?;
        Ok(WholeFolder { place, temporary: Some(temporary), _lock: lock })
    }

    /// Where its files are to be written to.
    pub fn path(&self) -> &Path {
        self.temporary.as_deref().unwrap_or(&self.place)
    }

    /// Brings its files to the disk and gives it its name.
    ///
    /// # Errors
    /// Whatever the system reports.
    pub fn commit(mut self) -> io::Result<()> {
        let Some(temporary) = &self.temporary else { return Ok(()) };
        sync_tree(temporary)?;
        fs::rename(temporary, &self.place)?;
        self.temporary = None;
        sync_folder(folder_of(&self.place))
    }
}

impl Drop for WholeFolder {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_dir_all(temporary);
        }
    }
}

/// Brings the files of a folder that this process has made to the disk, and their names.
fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync_tree(&entry.path())?,
            false => File::open(entry.path())?.sync_all()?,
        }
    }
    sync_folder(folder)
}

/// Brings the names in a folder to the disk. Some file systems cannot, and some folders may be written but not opened:
/// there the files are whole and have their names, and it takes the system longer to remember that.
///
/// # Errors
/// What the system reports of a disk that fails.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let Ok(opened) = File::open(folder) else { return Ok(()) };
    match opened.sync_all() {
        Err(error) if !is_unsupported(&error) => Err(error),
        _ => Ok(()),
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    // A folder that is opened to be read is no handle that some systems sync.
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::PermissionDenied)
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What a file is called beside `place`.
fn temporary_name(place: &Path) -> Option<OsString> {
    let mut name = OsString::from(".");
    name.push(short_name(place.file_name()?));
    name.push(format!(".tmp-{:016x}", random()));
    Some(name)
}

/// The name, or one that stands for it where it is too long to have anything appended.
fn short_name(name: &OsStr) -> OsString {
    if name.len() <= MAX_NAME_BYTES {
        return name.to_os_string();
    }
    let hash = name.as_encoded_bytes().iter();
    let hash = hash.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    OsString::from(format!("{hash:016x}"))
}

/// Something that holds a lock while it is written.
trait Locked {
    fn as_file(&self) -> Option<&File>;
}

impl Locked for File {
    fn as_file(&self) -> Option<&File> {
        Some(self)
    }
}

impl Locked for Option<File> {
    fn as_file(&self) -> Option<&File> {
        self.as_ref()
    }
}

/// Makes something new, and locks it, of a random name beside `place`.
fn create_beside<T: Locked>(place: &Path, make: &dyn Fn(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
    for _ in 0..TRIES {
        let Some(name) = temporary_name(place) else { return Err(ErrorKind::InvalidInput.into()) };
        let path = place.with_file_name(name);
        match make(&path) {
            Ok(made) => {
                // A file system without locks removes no leftovers.
                let _ = made.as_file().map(File::lock);
                if made.as_file().is_none_or(is_linked) {
                    return Ok((path, made));
                }
                // Taken for a leftover before it was locked.
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Makes a file that was not there; one that replaces another is nobody else's until it has that one's permissions.
fn make_file(path: &Path, is_private: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NOFOLLOW).mode(if is_private { 0o600 } else { 0o666 });
    }
    let _ = is_private;
    options.open(path)
}

/// Gives `file` the permissions of the one that it will replace, and where the system allows it its owner and group.
#[cfg(unix)]
fn take_over(file: &File, before: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let own = file.metadata()?;
    let is_same = own.uid() == before.uid() && own.gid() == before.gid();
    let is_taken = is_same || fchown(file, Some(before.uid()), Some(before.gid())).is_ok();
    // Where it belongs to another group, that one may not do what the old one might.
    let mask = if is_taken { 0o777 } else { 0o707 };
    file.set_permissions(fs::Permissions::from_mode(before.mode() & mask))
}

#[cfg(not(unix))]
fn take_over(file: &File, before: &Metadata) -> io::Result<()> {
    file.set_permissions(before.permissions())
}

/// Whether a file or folder still has a name.
#[cfg(unix)]
pub fn is_linked(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| std::os::unix::fs::MetadataExt::nlink(&metadata) > 0)
}

/// Whether a file or folder still has a name.
#[cfg(not(unix))]
pub fn is_linked(_file: &File) -> bool {
    true
}

/// Removes from `folder` what dead processes left of places whose name `is_ours`. What cannot be removed stays: nothing
/// depends on it.
pub fn remove_leftovers(folder: &Path, is_ours: &dyn Fn(&OsStr) -> bool) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if place_of(&name).is_some_and(is_ours) {
            remove_unlocked(&entry.path());
        }
    }
}

/// The name that a file is written beside.
fn place_of(name: &OsStr) -> Option<&OsStr> {
    let bytes = name.as_encoded_bytes().strip_prefix(b".")?;
    let (rest, digits) = bytes.split_at_checked(bytes.len().checked_sub(DIGITS)?)?;
    let place = rest.strip_suffix(MARK)?;
    let is_random = digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !is_random || place.is_empty() {
        return None;
    }
    #[cfg(unix)]
    return Some(std::os::unix::ffi::OsStrExt::from_bytes(place));
    #[cfg(not(unix))]
    return std::str::from_utf8(place).ok().map(OsStr::new);
}

fn remove_unlocked(path: &Path) {
    let Ok(kind) = fs::symlink_metadata(path).map(|metadata| metadata.file_type()) else { return };
    let open = |writes: bool| {
        let mut options = OpenOptions::new();
        options.read(true).write(writes);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
        options.open(path)
    };
    let opened = match () {
        // Some file systems lock only what may be written.
        () if kind.is_file() => open(true).or_else(|_| open(false)),
        () if kind.is_dir() => open(false),
        () => return,
    };
    let Ok(file) = opened else { return };
    if file.try_lock().is_ok() {
        let _ = if kind.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}

#[cfg(all(test, unix))]
mod tests;
