//! The file under a sink: written beside its place, renamed when whole.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::beside;
use crate::error::Error;

/// Bytes of the buffer in front of a file.
pub const BUFFER_BYTES: usize = 64 << 10;

/// A file or the standard output.
#[derive(Debug)]
pub struct Output {
    /// The name in messages.
    path: PathBuf,
    write: Option<BufWriter<Target>>,
    /// Where it is written and where it goes, for a file that is renamed at the end.
    rename: Option<(PathBuf, PathBuf)>,
}

/// What the buffer is written to.
#[derive(Debug)]
pub enum Target {
    /// A file.
    File(File),
    /// The standard output.
    Stdout(io::Stdout),
}

impl Output {
    /// The standard output.
    pub fn stdout() -> Output {
        let write = BufWriter::with_capacity(BUFFER_BYTES, Target::Stdout(io::stdout()));
        Output { path: PathBuf::from("standard output"), write: Some(write), rename: None }
    }

    /// A file that will stand at `path`. Devices and pipes are written as they are. What a process that was killed has
    /// left of the same output is removed.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be made.
    pub fn create(path: &Path) -> Result<Output, Error> {
        let output = Output::create_one(path)?;
        if let Some((_, place)) = &output.rename
            && let Some(name) = place.file_name().and_then(|name| name.to_str())
        {
            beside::remove_leftovers(beside::folder_of(place), &|left| left == name);
        }
        Ok(output)
    }

    /// As [`Output::create`] for one of many: looking for leftovers once is left to the caller.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be made.
    pub fn create_one(path: &Path) -> Result<Output, Error> {
        let at = |error| Error::io(path, error);
        let (file, rename) = match fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => {
                (OpenOptions::new().write(true).open(path).map_err(at)?, None)
            }
            Ok(metadata) if metadata.is_dir() => return Err(at(io::ErrorKind::IsADirectory.into())),
            found => {
                // A link stays a link: what it points to is replaced.
                let place =
                    if found.is_ok() { fs::canonicalize(path).map_err(at)? } else { path.to_path_buf() };
                let (temporary, file) = beside::create_file(&place).map_err(at)?;
                (file, Some((temporary, place)))
            }
        };
        let write = BufWriter::with_capacity(BUFFER_BYTES, Target::File(file));
        Ok(Output { path: path.to_path_buf(), write: Some(write), rename })
    }

    /// The name in messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder it is in.
    pub fn folder(&self) -> &Path {
        let place = self.rename.as_ref().map_or(&self.path, |(_, place)| place);
        place.parent().unwrap_or(Path::new(""))
    }

    /// The error of the system at this file.
    pub fn error(&self, error: io::Error) -> Error {
        Error::io(&self.path, error)
    }

    /// Flushes, waits for the disk and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Io`]; the temporary file is removed then.
    pub fn commit(mut self) -> Result<(), Error> {
        let committed = self.write_out().and_then(|()| self.give_name());
        let place = committed.map_err(|error| self.error(error))?;
        place.iter().for_each(|place| sync_folder(place));
        Ok(())
    }

    /// Commits files that belong together, the last of which completes them: at no moment are all of them there and
    /// some from before. All are on the disk before the first gets its name; a process that ends while they are being
    /// named, in a few milliseconds, leaves some of the new ones, beside old ones where there were any, and not the last.
    ///
    /// # Errors
    /// [`Error::Io`]. Where naming one fails, those before it stay.
    pub fn commit_all(outputs: Vec<Output>) -> Result<(), Error> {
        let mut outputs = VecDeque::from(outputs);
        for output in &mut outputs {
            output.write_out().map_err(|error| output.error(error))?;
        }
        let last_place = |outputs: &VecDeque<Output>| outputs.back().and_then(|last| last.rename.clone());
        if let Some((_, place)) = last_place(&outputs).filter(|_| outputs.len() > 1) {
            match fs::remove_file(&place) {
                Ok(()) => sync_folder(&place),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io(place, error)),
            }
        }
        while let Some(mut output) = outputs.pop_front() {
            let place = output.give_name().map_err(|error| output.error(error))?;
            // Before the last one too, so that it is never the first on the disk.
            place.iter().filter(|_| outputs.len() < 2).for_each(|place| sync_folder(place));
        }
        Ok(())
    }

    /// Brings all that was written to the disk.
    fn write_out(&mut self) -> io::Result<()> {
        self.flush()?;
        match self.write.as_ref().map(BufWriter::get_ref) {
            Some(Target::File(file)) if self.rename.is_some() => file.sync_all(),
            _ => Ok(()),
        }
    }

    /// Renames the file; its place, if it is one that is renamed.
    fn give_name(&mut self) -> io::Result<Option<PathBuf>> {
        let Some((temporary, place)) = &self.rename else { return Ok(None) };
        fs::rename(temporary, place)?;
        Ok(self.rename.take().map(|(_, place)| place))
    }
}

/// Brings the name of a file to the disk. Some file systems cannot sync a folder, and the file is whole already.
fn sync_folder(place: &Path) {
    File::open(beside::folder_of(place)).and_then(|folder| folder.sync_all()).ok();
}

impl Drop for Output {
    fn drop(&mut self) {
        // What is still in the buffer of an output that was given up is not wanted.
        if let Some(write) = self.write.take() {
            drop(write.into_parts());
        }
        if let Some((temporary, _)) = &self.rename {
            fs::remove_file(temporary).ok();
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write.as_mut().map_or(Ok(0), |write| write.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write.as_mut().map_or(Ok(()), |write| write.flush())
    }
}

impl Seek for Output {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.write.as_mut().map_or(Ok(0), |write| write.seek(position))
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::File(file) => file.write(bytes),
            Target::Stdout(stdout) => stdout.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Target::File(file) => file.flush(),
            Target::Stdout(stdout) => stdout.flush(),
        }
    }
}

impl Seek for Target {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        match self {
            Target::File(file) => file.seek(position),
            Target::Stdout(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("tightfit-output-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        entries.collect()
    }

    #[test]
    fn appears_whole_or_not_at_all() {
        let folder = folder("atomic");
        let path = folder.join("a.csv");
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"1").unwrap();
        assert!(!path.exists());
        drop(output);
        assert!(names(&folder).is_empty());
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"2").unwrap();
        output.commit().unwrap();
        assert_eq!((names(&folder), fs::read(&path).unwrap()), (vec!["a.csv".to_string()], b"2".to_vec()));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_set_is_not_mixed_when_naming_it_breaks_off() {
        let folder = folder("set");
        let places: Vec<_> = ["0", "1", "2"].iter().map(|name| folder.join(name)).collect();
        let outputs = || -> Vec<Output> {
            let write = |path: &PathBuf| {
                let mut output = Output::create_one(path).unwrap();
                output.write_all(b"new").unwrap();
                output
            };
            places.iter().map(write).collect()
        };
        places.iter().for_each(|path| fs::write(path, "old").unwrap());
        let broken = outputs();
        fs::remove_file(&places[1]).unwrap();
        fs::create_dir(&places[1]).unwrap();
        Output::commit_all(broken).unwrap_err();
        assert_eq!(fs::read(&places[0]).unwrap(), b"new");
        assert!(!places[2].exists() && names(&folder).len() == 2, "{:?}", names(&folder));
        fs::remove_dir(&places[1]).unwrap();
        Output::commit_all(outputs()).unwrap();
        assert!(places.iter().all(|path| fs::read(path).unwrap() == b"new"));
        assert_eq!(names(&folder).len(), 3);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_device_is_an_error_with_the_name() {
        let folder = folder("full");
        let path = folder.join("full.csv");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"1").unwrap();
        let error = output.commit().unwrap_err().to_string();
        assert!(error.contains("full.csv"), "{error}");
        assert_eq!(names(&folder), ["full.csv"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
