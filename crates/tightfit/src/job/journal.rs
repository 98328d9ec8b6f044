//! The file that says how far a job is: a line of JSON for the job, then one for each finished shard.
//!
//! ```text
//! {"tightfit resume": 2, "batch": 32, "shard_rows": 8192, "job": {"model": "..", ..}}
//! {"shard": 0, "bytes": 71680, "rows": 8192, "skipped_rows": 0, "right_rows": 8101, "skipped": [], "position": {..}}
//! {"shard": 1, .., "last": true}
//! {"done": true, ..}
//! ```
//!
//! Rows are all rows up to there. Where rows come from a pipeline, its state after the shard is in a file of its own,
//! which is on the disk before the line is; the line says so with `"state": true`. The last shard needs none. A line is added when its shard has its name on the disk. A line that was cut off, as a
//! power cut may do, is dropped, and its shard computed again. The file is never replaced, so that its lock, which the
//! system lets go of when its holder ends, keeps other processes off the job.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tightfit_data::{KEPT_REASONS, Position};
use tightfit_format::whole;

use super::identity::Identity;
use super::names::ShardNames;
use crate::error::{Error, OtherJob};
use crate::progress::Done;

/// Of a later version whose lines mean something else.
const VERSION: u64 = 2;

/// What the file begins with.
const HEAD: &[u8] = b"{\"tightfit resume\":";

/// The longest line: that of a job is a few KiB.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// An open, locked file.
pub struct Journal {
    path: PathBuf,
    file: File,
    /// What the job was begun with; `None` for a new one.
    begun: Option<Begun>,
    /// Finished shards.
    shards: u64,
    /// Whether the pipeline's state after the last of them was saved.
    has_state: bool,
    /// Whether there are no more.
    is_last: bool,
    done: Done,
    is_done: bool,
}

/// What a job goes on with.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    /// Rows at once.
    pub batch: usize,
    /// Rows of each shard but the last.
    pub shard_rows: u64,
}

impl Journal {
    /// Opens or makes the file of the job `identity` with the shards `names`, and locks it.
    ///
    /// # Errors
    /// [`Error::Data`] when another process is at the job, the file is of another job, or shards do not match it.
    pub fn open(names: &ShardNames, identity: &Identity) -> Result<Journal, Error> {
        let path = names.journal();
        if !path.exists() {
            names.check_none()?;
        }
        let mut journal = Journal::lock(path)?;
        journal.read(names, identity)?;
        if journal.begun.is_none() {
            // A file that was cut off in its first line.
            names.check_none()?;
        }
        if journal.is_last && !journal.is_done {
            journal.put_done(&journal.done.clone())?;
        }
        Ok(journal)
    }

    fn lock(path: PathBuf) -> Result<Journal, Error> {
        loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let file = file.map_err(|error| Error::io(&path, error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::data(path, "another process is at this job"));
                }
                Err(TryLockError::Error(error)) => return Err(Error::io(path, error)),
            }
            // Somebody may have deleted it between opening and locking.
            if whole::is_linked(&file) {
                let (begun, done) = (None, Done::default());
                let (has_state, is_last, is_done) = (false, false, false);
                return Ok(Journal { path, file, begun, shards: 0, has_state, is_last, done, is_done });
            }
        }
    }

    fn read(&mut self, names: &ShardNames, identity: &Identity) -> Result<(), Error> {
        let mut read = BufReader::new(self.file.try_clone().map_err(|error| self.error(error))?);
        let (mut line, mut good_bytes) = (Vec::new(), 0);
        loop {
            line.clear();
            let bytes = (&mut read).take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
            let bytes = bytes.map_err(|error| self.error(error))?;
            let value = line.strip_suffix(b"\n").and_then(|text| serde_json::from_slice(text).ok());
            let Some(Value::Object(value)) = value else {
                self.check_cut_off(&line)?;
                break;
            };
            if self.begun.is_none() {
                self.begin(&value, names, identity)?;
            } else if self.go_on(&value, names)?.is_none() {
                break;
            }
            good_bytes += bytes as u64;
        }
        let cut = self.file.set_len(good_bytes).and_then(|()| self.file.seek(SeekFrom::End(0)));
        cut.map(drop).map_err(|error| self.error(error))
    }

    /// That what is dropped is no file of somebody else.
    fn check_cut_off(&self, line: &[u8]) -> Result<(), Error> {
        let is_ours = line.iter().zip(HEAD).all(|(found, wanted)| found == wanted);
        if self.begun.is_some() || is_ours || line.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        Err(Error::data(&self.path, "does not tell how far a job is; choose another output"))
    }

    fn begin(
        &mut self,
        line: &Map<String, Value>,
        names: &ShardNames,
        identity: &Identity,
    ) -> Result<(), Error> {
        let anew = format!("delete it and {} to start anew, or choose another output", names.pattern());
        if line.get("tightfit resume").and_then(Value::as_u64) != Some(VERSION) {
            let found = line.get("tightfit resume").map_or_else(|| "none".to_string(), Value::to_string);
            let why = format!("has version {found} of its format, and this program reads {VERSION}; {anew}");
            return Err(Error::data(&self.path, why));
        }
        let then = |name: &str| Some(line.get("job")?.get(name)?.as_str()?.to_string());
        if let Some(change) = identity.change(&then) {
            let (path, results) = (self.path.clone(), names.pattern());
            return Err(Error::OtherJob(Box::new(OtherJob { path, results, ..change })));
        }
        let number = |name: &str| line.get(name).and_then(Value::as_u64).filter(|n| *n > 0);
        let batch = number("batch").and_then(|n| usize::try_from(n).ok());
        let (Some(batch), Some(shard_rows)) = (batch, number("shard_rows")) else {
            return Err(Error::data(&self.path, format!("its first line is broken; {anew}")));
        };
        self.begun = Some(Begun { batch, shard_rows });
        Ok(())
    }

    /// Takes a line of a shard, or the last one; `None` for one that is broken.
    fn go_on(&mut self, line: &Map<String, Value>, names: &ShardNames) -> Result<Option<()>, Error> {
        let number = |name: &str| line.get(name).and_then(Value::as_u64);
        let place = |name: &str| line.get("position")?.get(name)?.as_u64();
        let counts = (number("rows"), number("skipped_rows"), number("right_rows"));
        let (Some(rows), Some(skipped_rows), Some(right_rows)) = counts else { return Ok(None) };
        let file = place("file").and_then(|file| u32::try_from(file).ok());
        let (Some(file), Some(record), Some(offset)) = (file, place("record"), place("offset")) else {
            return Ok(None);
        };
        if line.get("done") == Some(&Value::Bool(true)) {
            self.is_done = true;
        } else if let (Some(shard), Some(bytes)) = (number("shard"), number("bytes"))
            && shard == self.shards
        {
            names.check(shard, bytes)?;
            self.shards += 1;
            self.has_state = line.get("state") == Some(&Value::Bool(true));
            self.is_last = line.get("last") == Some(&Value::Bool(true));
        } else {
            return Ok(None);
        }
        let reasons = line.get("skipped").and_then(Value::as_array).into_iter().flatten();
        self.done.skipped.extend(reasons.filter_map(|why| Some(why.as_str()?.to_string())));
        self.done.skipped.truncate(KEPT_REASONS);
        (self.done.rows, self.done.skipped_rows) = (rows, skipped_rows);
        self.done.right_rows = right_rows;
        self.done.position = Position { file, record, offset };
        Ok(Some(()))
    }

    /// What the job was begun with; `None` for a new one.
    pub fn begun(&self) -> Option<Begun> {
        self.begun
    }

    /// Finished shards.
    pub fn shards(&self) -> u64 {
        self.shards
    }

    /// Whether the pipeline's state after the last of them was saved.
    pub fn has_state(&self) -> bool {
        self.has_state
    }

    /// What is done in them.
    pub fn done(&self) -> &Done {
        &self.done
    }

    /// True when all is done.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Writes down what a new job is begun with. One that is gone on with has it already.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put_begun(&mut self, begun: Begun, identity: &Identity) -> Result<(), Error> {
        if self.begun.is_some() {
            return Ok(());
        }
        self.begun = Some(begun);
        let job: Map<String, Value> =
            identity.entries().map(|(name, value)| (name.to_string(), value.into())).collect();
        let Begun { batch, shard_rows } = begun;
        let line = json!({"tightfit resume": VERSION, "batch": batch, "shard_rows": shard_rows, "job": job});
        self.write(&line)?;
        whole::sync_folder(whole::folder_of(&self.path)).map_err(|error| self.error(error))
    }

    /// Writes down that the next shard, at `path`, is finished, and what is done with it: whether the state after it is
    /// saved, and whether it is the last.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put_shard(
        &mut self,
        path: &Path,
        done: &Done,
        has_state: bool,
        is_last: bool,
    ) -> Result<(), Error> {
        let bytes = fs::metadata(path).map_err(|error| Error::io(path, error))?.len();
        let mut line = json!({"shard": self.shards, "bytes": bytes});
        for (key, value) in [("state", has_state), ("last", is_last)] {
            if value {
                line[key] = json!(true);
            }
        }
        self.put(line, done)?;
        (self.has_state, self.is_last) = (has_state, is_last);
        self.shards += 1;
        Ok(())
    }

    /// Writes down that all is done.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put_done(&mut self, done: &Done) -> Result<(), Error> {
        self.put(json!({"done": true}), done)?;
        self.is_done = true;
        Ok(())
    }

    fn put(&mut self, mut line: Value, done: &Done) -> Result<(), Error> {
        let Position { file, record, offset } = done.position;
        let new_reasons = done.skipped.get(self.done.skipped.len()..);
        let new_reasons = new_reasons.ok_or(Error::Defect("reasons that were told are missing"))?;
        line["rows"] = json!(done.rows);
        line["skipped_rows"] = json!(done.skipped_rows);
        line["right_rows"] = json!(done.right_rows);
        line["skipped"] = json!(new_reasons);
        line["position"] = json!({"file": file, "record": record, "offset": offset});
        self.write(&line)?;
        self.done = done.clone();
        Ok(())
    }

    fn write(&mut self, line: &Value) -> Result<(), Error> {
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written.and_then(|()| self.file.sync_all()).map_err(|error| self.error(error))
    }

    fn error(&self, error: io::Error) -> Error {
        Error::io(&self.path, error)
    }
}
