//! `-` as a file: the standard input to read from, the standard output to write to.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tightfit::Error;

use crate::failure::Failure;

/// What errors call it.
const NAME: &str = "standard input";

/// The standard output as a file.
const STDOUT: &str = "/dev/stdout";

/// The largest description of a pipeline, in bytes.
const MAX_SPEC_BYTES: u64 = 1 << 20;

/// The standard input as a file that can be read at any place. It stays open until the process ends.
static FILE: OnceLock<File> = OnceLock::new();

/// The path of the file that `path` stands for. What comes through a pipe is written to a temporary file without a name
/// first, as models and data are read at any place.
///
/// # Errors
/// [`Failure::Usage`] where it is read already, and what the system says.
pub fn path_of(path: &Path) -> Result<PathBuf, Failure> {
    if path.as_os_str() != "-" {
        return Ok(path.to_path_buf());
    }
    if FILE.get().is_some() {
        return Err(Failure::Usage("- is given twice: standard input can be read once".to_string()));
    }
    if io::stdin().is_terminal() {
        return Err(Failure::Usage("-: standard input is a terminal; pipe a file into it".to_string()));
    }
    let file = whole_file().map_err(failed)?;
    Ok(path_to(FILE.get_or_init(|| file)))
}

/// As [`path_of`] for data: JSON is the description of a pipeline, and comes back as it is.
///
/// # Errors
/// As [`path_of`].
pub fn data_of(path: &Path) -> Result<PathBuf, Failure> {
    let found = path_of(path)?;
    if path.as_os_str() != "-" {
        return Ok(found);
    }
    let mut file = File::open(&found).map_err(failed)?;
    let mut first = [0; 1];
    let is_short = file.metadata().map_err(failed)?.len() <= MAX_SPEC_BYTES;
    if !is_short || io::Read::read(&mut file, &mut first).map_err(failed)? == 0 || &first != b"{" {
        return Ok(found);
    }
    std::fs::read_to_string(&found).map(PathBuf::from).map_err(failed)
}

/// The path that an output goes to: `-` is the standard output.
///
/// # Errors
/// [`Failure::Usage`] where something else would be written there, and for a terminal.
pub fn output_of(path: PathBuf, is_json: bool) -> Result<PathBuf, Failure> {
    if path.as_os_str() != "-" {
        return Ok(path);
    }
    if is_json {
        return Err(Failure::Usage("--output - and --json both write to standard output".to_string()));
    }
    if io::stdout().is_terminal() {
        return Err(Failure::Usage(
            "--output -: standard output is a terminal; send it to a file or a pipe".to_string(),
        ));
    }
    Ok(PathBuf::from(STDOUT))
}

/// The name of a file as it was given: `-` for the standard input and output.
pub fn shown(name: String) -> String {
    let is_dash = name == STDOUT || FILE.get().is_some_and(|file| path_to(file).as_os_str() == name.as_str());
    if is_dash { "-".to_string() } else { name }
}

fn failed(error: io::Error) -> Failure {
    Failure::Job(Error::io(NAME, error))
}

#[cfg(unix)]
fn whole_file() -> io::Result<File> {
    use std::os::fd::AsFd;
    let given = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    if given.metadata()?.is_file() {
        return Ok(given);
    }
    let mut file = tempfile::tempfile()?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    Ok(file)
}

#[cfg(unix)]
fn path_to(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/dev/fd/{}", file.as_raw_fd()))
}

#[cfg(not(unix))]
fn whole_file() -> io::Result<File> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "write it to a file first"))
}

#[cfg(not(unix))]
fn path_to(_file: &File) -> PathBuf {
    PathBuf::new()
}
