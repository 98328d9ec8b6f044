//! Files and folders that are written beside their place, until they are whole and get its name.
//!
//! They are called `NAME.tmp-PID` and are locked by whoever writes them. A lock goes when its holder ends, however it
//! ends. So what is not locked was left over by a process that was killed, and the next one that writes to the same
//! place removes it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use tightfit_format::spool::is_spool_name;

/// Between a name and the number of the process.
const MARK: &str = ".tmp-";

/// Names that are tried. One is taken only where the process of another machine or container has the same number.
const TRIES: usize = 100;

/// Makes a locked file beside `place`; its path, to be renamed by the caller.
///
/// # Errors
/// What the system says.
pub fn create_file(place: &Path) -> io::Result<(PathBuf, File)> {
    let make = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path).map(Some);
    let (path, file) = create(place, &make)?;
    file.map(|file| (path, file)).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Makes a locked folder beside `place`; its path, and what holds the lock, where the system opens and locks folders.
///
/// # Errors
/// What the system says.
pub fn create_folder(place: &Path) -> io::Result<(PathBuf, Option<File>)> {
    create(place, &|path| fs::create_dir(path).map(|()| File::open(path).ok()))
}

/// Makes something new of a name beside a place.
type Make<'m> = dyn Fn(&Path) -> io::Result<Option<File>> + 'm;

fn create(place: &Path, make: &Make<'_>) -> io::Result<(PathBuf, Option<File>)> {
    for number in 0..TRIES {
        let mut path = place.as_os_str().to_os_string();
        path.push(format!("{MARK}{}", std::process::id()));
        if number > 0 {
            path.push(format!("-{number}"));
        }
        let path = PathBuf::from(path);
        match make(&path) {
            Ok(file) => {
                // A file system without locks removes no leftovers.
                let _ = file.as_ref().map(File::lock);
                if file.as_ref().is_none_or(is_linked) {
                    return Ok((path, file));
                }
                // Taken for a leftover before it was locked.
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Whether a file or folder still has a name.
#[cfg(unix)]
pub fn is_linked(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| std::os::unix::fs::MetadataExt::nlink(&metadata) > 0)
}

#[cfg(not(unix))]
pub fn is_linked(_file: &File) -> bool {
    true
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes from `folder` what dead processes left of places whose name `is_ours`, and arrays that they were about to
/// make nameless. What cannot be removed stays: nothing depends on it.
pub fn remove_leftovers(folder: &Path, is_ours: &dyn Fn(&str) -> bool) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if cfg!(unix) && is_spool_name(name) {
            // Whoever makes one of these removes its name at once and does not miss it.
            let _ = fs::remove_file(entry.path());
        } else if place_of(name).is_some_and(is_ours) {
            remove_unlocked(&entry.path());
        }
    }
}

/// The name that a file is written beside.
fn place_of(name: &str) -> Option<&str> {
    let (place, number) = name.rsplit_once(MARK)?;
    let is_number = number.starts_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || c == '-');
    is_number.then_some(place)
}

fn remove_unlocked(path: &Path) {
    let Ok(kind) = fs::symlink_metadata(path).map(|metadata| metadata.file_type()) else { return };
    let opened = match () {
        () if kind.is_file() => OpenOptions::new().read(true).write(true).open(path),
        () if kind.is_dir() => File::open(path),
        () => return,
    };
    let Ok(file) = opened else { return };
    if file.try_lock().is_ok() {
        let _ = if kind.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_writes_is_removed() {
        let folder = std::env::temp_dir().join(format!("tightfit-beside-{}", std::process::id()));
        fs::create_dir_all(folder.join("a.tmp-77-1/inner")).unwrap();
        let place = folder.join("a");
        let (held_path, held) = create_file(&place).unwrap();
        let (second_path, second) = create_folder(&place).unwrap();
        for name in ["a.tmp-4", "a.tmp-", "a.tmp-x", "b.tmp-4", "a", ".tightfit-4-0.part", ".tightfit-x"] {
            fs::write(folder.join(name), name).unwrap();
        }
        remove_leftovers(&folder, &|name| name == "a");
        let mut names: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let pid = std::process::id();
        let (first, other) = (format!("a.tmp-{pid}"), format!("a.tmp-{pid}-1"));
        let mut expected = [".tightfit-x", "a", "a.tmp-", &first, &other, "a.tmp-x", "b.tmp-4"];
        expected.sort_unstable();
        assert_eq!(names, expected);
        drop((held, second));
        remove_leftovers(&folder, &|name| name == "a");
        assert!(!held_path.exists() && !second_path.exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
