//! Files that are whole or not there: written under another name, and renamed once all of it is on the disk.
//!
//! Who writes such a file holds a lock on it, which the system takes back when the process ends, however that happens:
//! what nobody holds is left over and removed.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{DataError, io_error};

/// Tells files apart that one process writes.
static WRITERS: AtomicU64 = AtomicU64::new(0);

const EXTENSION: &str = ".partial";

/// A file on its way to its name. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Partial {
    path: PathBuf,
    target: PathBuf,
    is_finished: bool,
}

impl Partial {
    /// A file that is to be `target`, and what to write to: it is locked as long as that is open.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn create(target: &Path) -> Result<(Partial, File), DataError> {
        remove_left_overs(target);
        loop {
            let number = WRITERS.fetch_add(1, Ordering::Relaxed);
            let mut path = OsString::from(target);
            path.push(format!(".{}-{number}{EXTENSION}", std::process::id()));
            let path = PathBuf::from(path);
            let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => file,
                // Of a process of this number on another machine.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(io_error(&path, error)),
            };
            file.lock().map_err(|e| io_error(&path, e))?;
            // Before it was locked, another process may have taken it for a left-over.
            if path.exists() {
                return Ok((Partial { path, target: target.to_path_buf(), is_finished: false }, file));
            }
        }
    }

    /// Gives it its name, once all that was written to `file` is on the disk.
    ///
    /// # Errors
    /// [`DataError::Io`]; then nothing is left.
    pub fn finish(mut self, file: &File) -> Result<(), DataError> {
        let renamed = file.sync_all().and_then(|()| fs::rename(&self.path, &self.target));
        renamed.map_err(|e| io_error(&self.target, e))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether `name` is one that [`Partial::create`] gives to what is to be `target`.
fn is_partial(name: &str, target: &str) -> bool {
    let middle = name.strip_prefix(target).and_then(|rest| rest.strip_prefix('.'));
    let numbers = middle.and_then(|rest| rest.strip_suffix(EXTENSION)).and_then(|rest| rest.split_once('-'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    numbers.is_some_and(|(process, number)| is_number(process) && is_number(number))
}

/// Removes files on their way to `target` whose process died. What cannot be looked at or removed does no harm.
pub(crate) fn remove_left_overs(target: &Path) {
    let Some(target_name) = target.file_name().and_then(|name| name.to_str()) else { return };
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(|name| is_partial(name, target_name)) {
            continue;
        }
        // Locked while it is removed, so that who has just made it sees that.
        let _: io::Result<()> = File::open(entry.path()).and_then(|file| {
            file.try_lock()?;
            fs::remove_file(entry.path())
        });
    }
}
