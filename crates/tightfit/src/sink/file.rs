//! The file under a sink, and a buffer in front of it: see [`WholeFile`].

use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tightfit_format::whole::{WholeFile, folder_of};

use crate::error::Error;

/// Bytes of the buffer in front of a file.
pub const BUFFER_BYTES: usize = 64 << 10;

/// A file or the standard output.
#[derive(Debug)]
pub struct Output {
    /// The name in messages.
    path: PathBuf,
    write: Option<BufWriter<Target>>,
}

/// What the buffer is written to.
#[derive(Debug)]
pub enum Target {
    /// A file.
    File(WholeFile),
    /// The standard output.
    Stdout(io::Stdout),
}

impl Output {
    fn new(path: PathBuf, target: Target) -> Output {
        Output { path, write: Some(BufWriter::with_capacity(BUFFER_BYTES, target)) }
    }

    /// The standard output.
    pub fn stdout() -> Output {
        Output::new(PathBuf::from("standard output"), Target::Stdout(io::stdout()))
    }

    /// A file that will stand at `path`. Devices and pipes are written as they are. What a process that was killed has
    /// left of the same output is removed.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be made.
    pub fn create(path: &Path) -> Result<Output, Error> {
        let file = WholeFile::create(path).map_err(|error| Error::io(path, error))?;
        Ok(Output::new(path.to_path_buf(), Target::File(file)))
    }

    /// As [`Output::create`] for one of many: looking for leftovers once is left to the caller.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be made.
    pub fn create_one(path: &Path) -> Result<Output, Error> {
        let file = WholeFile::create_one(path).map_err(|error| Error::io(path, error))?;
        Ok(Output::new(path.to_path_buf(), Target::File(file)))
    }

    /// The name in messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder it is in.
    pub fn folder(&self) -> &Path {
        match self.write.as_ref().map(BufWriter::get_ref) {
            Some(Target::File(file)) => folder_of(file.place()),
            _ => folder_of(&self.path),
        }
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
        let file = self.written();
        file.and_then(|file| file.map_or(Ok(()), WholeFile::commit)).map_err(|error| self.error(error))
    }

    /// Commits files that belong together, as [`WholeFile::commit_all`] says.
    ///
    /// # Errors
    /// [`Error::Io`]. Where naming one fails, those before it stay.
    pub fn commit_all(outputs: Vec<Output>) -> Result<(), Error> {
        let mut files = Vec::with_capacity(outputs.len());
        for mut output in outputs {
            files.extend(output.written().map_err(|error| output.error(error))?);
        }
        WholeFile::commit_all(files).map_err(|(place, error)| Error::io(place, error))
    }

    /// The file, with all that is in the buffer.
    fn written(&mut self) -> io::Result<Option<WholeFile>> {
        let Some(mut write) = self.write.take() else { return Ok(None) };
        if let Err(error) = write.flush() {
            self.write = Some(write);
            return Err(error);
        }
        match write.into_parts().0 {
            Target::File(file) => Ok(Some(file)),
            Target::Stdout(_) => Ok(None),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // What is still in the buffer of an output that was given up is not wanted.
        if let Some(write) = self.write.take() {
            drop(write.into_parts());
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
    use std::fs;

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
