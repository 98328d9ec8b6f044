//! A file that is there while something is made of it.

use std::fs::File;
use std::path::{Path, PathBuf};

/// A file of a name that nobody has, which goes with this.
pub(super) struct Temporary {
    path: PathBuf,
    /// Locked: what is not is taken for what a process that was killed has left of the output, and removed.
    lock: Option<File>,
}

impl Temporary {
    /// A file beside `output`, which is written next.
    pub fn beside(output: &Path) -> Temporary {
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        let path = output.with_file_name(format!(".{name}.tmp-{:016x}", tightfit_format::random()));
        Temporary { path, lock: None }
    }

    /// Keeps what has been written from being removed.
    pub fn hold(&mut self) {
        self.lock = File::open(&self.path).ok().inspect(|file| {
            // A file system without locks removes no leftovers.
            let _ = file.lock();
        });
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(self.lock.take());
        // One that was not written is not there.
        let _ = std::fs::remove_file(&self.path);
    }
}
