//! A file that is there while something is made of it.

use std::path::{Path, PathBuf};

/// A file of a name that nobody has, which goes with this.
pub(super) struct Temporary(PathBuf);

impl Temporary {
    /// A file in the folder of `output`.
    pub fn beside(output: &Path) -> Temporary {
        let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
        let name = format!(".tightfit-{:016x}.part", tightfit_format::random());
        Temporary(folder.unwrap_or(Path::new(".")).join(name))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // One that was not written is not there.
        let _ = std::fs::remove_file(&self.0);
    }
}
