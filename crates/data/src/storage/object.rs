//! One object of a store, and the requests for ranges of it.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use object_store::path::Path as Key;
use object_store::{Error, GetOptions, GetResult, ObjectMeta, ObjectStore};

/// Requests for one range whose answers break off, before that is an error. What the server refuses, and a connection
/// that cannot be made, is retried below this, by the store's own rule.
const ATTEMPTS: u32 = 3;

/// No request is made again this long after the first.
pub(super) const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// The wait after the first answer that broke off; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The most of an error's text that is passed on: servers answer with whole pages.
const MAX_ERROR_CHARS: usize = 600;

/// What tells an object from the one that had its name before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub bytes: u64,
    e_tag: Option<String>,
    /// Since 1970; `None` where the server does not say.
    pub modified_ns: Option<u64>,
}

impl Version {
    fn of(meta: &ObjectMeta) -> Version {
        let modified_ns = meta.last_modified.timestamp_nanos_opt().and_then(|ns| u64::try_from(ns).ok());
        let modified_ns = modified_ns.filter(|ns| *ns > 0);
        Version { bytes: meta.size, e_tag: meta.e_tag.clone(), modified_ns }
    }
}

/// An object by its place in a store.
#[derive(Debug)]
pub(super) struct Object {
    pub store: Arc<dyn ObjectStore>,
    pub key: Key,
}

/// Why a range did not come.
enum Fault {
    /// The answer broke off; the next may not.
    BrokeOff(io::Error),
    /// Asking again would bring the same.
    Final(io::Error),
}

impl Object {
    /// Reads bytes into `out` from `start` on, fewer where the object ends; what the object is, and the bytes read.
    /// With `known`, another object than that is an error.
    ///
    /// # Errors
    /// What the store says, with the range that was asked for.
    pub async fn fetch(
        &self,
        start: u64,
        out: &mut [u8],
        known: Option<&Version>,
    ) -> io::Result<(Version, usize)> {
        let (begin, mut wait, mut attempts) = (Instant::now(), FIRST_WAIT, 1);
        loop {
            match self.attempt(start, out, known).await {
                Ok(found) => return Ok(found),
                Err(Fault::BrokeOff(_)) if attempts < ATTEMPTS && begin.elapsed() < RETRY_TIMEOUT => {}
                Err(Fault::BrokeOff(error) | Fault::Final(error)) => return Err(error),
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
            attempts += 1;
        }
    }

    async fn attempt(
        &self,
        start: u64,
        out: &mut [u8],
        known: Option<&Version>,
    ) -> Result<(Version, usize), Fault> {
        let range = start..start.saturating_add(out.len() as u64);
        let answer =
            self.get(range.clone(), known).await.map_err(|e| Fault::Final(range_error(&range, e)))?;
        let version = Version::of(&answer.meta);
        if known.is_some_and(|known| *known != version) {
            return Err(Fault::Final(changed(&range)));
        }
        let expected_bytes = (answer.range.end - answer.range.start) as usize;
        let mut body = answer.into_stream();
        let mut filled = 0;
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(|e| Fault::BrokeOff(range_error(&range, e)))?;
            let room = out.get_mut(filled..filled + bytes.len());
            let room =
                room.ok_or_else(|| Fault::Final(other(&range, "more bytes came than were asked for")))?;
            room.copy_from_slice(&bytes);
            filled += bytes.len();
        }
        if filled < expected_bytes {
            let why = format!("the answer ended after {filled} bytes");
            return Err(Fault::BrokeOff(other(&range, &why)));
        }
        Ok((version, filled))
    }

    async fn get(&self, range: Range<u64>, known: Option<&Version>) -> object_store::Result<GetResult> {
        // A weak tag never satisfies If-Match; it is compared when the answer is there.
        let if_match = known.and_then(|v| v.e_tag.clone()).filter(|tag| !tag.starts_with("W/"));
        let options = GetOptions { range: Some(range.into()), if_match, ..GetOptions::default() };
        self.store.get_opts(&self.key, options).await
    }

    /// What the object is, without its bytes.
    ///
    /// # Errors
    /// What the store says.
    pub async fn head(&self) -> io::Result<Version> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let answer = self.store.get_opts(&self.key, options).await.map_err(|e| store_error("", e))?;
        Ok(Version::of(&answer.meta))
    }
}

fn other(range: &Range<u64>, why: &str) -> io::Error {
    io::Error::other(format!("bytes {} to {}: {why}", range.start, range.end))
}

fn changed(range: &Range<u64>) -> io::Error {
    other(range, "the object was replaced by another while it was read")
}

fn range_error(range: &Range<u64>, error: Error) -> io::Error {
    match error {
        Error::Precondition { .. } => changed(range),
        error => store_error(&format!("bytes {} to {}: ", range.start, range.end), error),
    }
}

/// The error of a store with what was asked for before it.
pub(super) fn store_error(what: &str, error: Error) -> io::Error {
    let kind = match &error {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        Error::NotSupported { .. } => io::ErrorKind::Unsupported,
        Error::InvalidPath { .. } => io::ErrorKind::InvalidInput,
        _ => io::ErrorKind::Other,
    };
    let hint = match kind {
        io::ErrorKind::Unsupported => " (the server must answer requests for ranges of bytes)",
        _ => "",
    };
    let mut text: String = with_causes(&error).split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = text.char_indices().nth(MAX_ERROR_CHARS) {
        text.truncate(end);
        text.push_str("...");
    }
    io::Error::new(kind, format!("{what}{text}{hint}"))
}

/// An error's text with those of its causes that it does not repeat: what the connection died of is the last of them.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let why = error.to_string();
        if !text.contains(&why) {
            text = format!("{text}: {why}");
        }
        cause = error.source();
    }
    text
}
