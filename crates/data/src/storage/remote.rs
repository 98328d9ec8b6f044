//! A file in a store: its first bytes come with opening it, and who reads on has a few ranges on their way ahead of
//! him, in buffers of the budget.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, SeekFrom};
use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::object::{Object, Version};
use super::{HEAD_BYTES, PIECE_BYTES, PIECES, stores};
use crate::error::{Needed, clamped};

/// What the buffers are called in the budget.
const PURPOSE: &str = "object reads";

/// An open object.
pub(super) struct RemoteFile {
    object: Arc<Object>,
    version: Arc<Version>,
    runtime: Handle,
    budget: MemoryBudget,
    head: Buffer,
    head_bytes: usize,
    position: u64,
    /// Ranges one after the other, the first of which holds `position` while somebody reads through them.
    pieces: VecDeque<Piece>,
    /// Buffers of pieces that were read.
    spare: Vec<Buffer>,
    /// Pieces there may be: it grows as reading goes on, for who reads a header wants no more.
    depth: usize,
}

struct Piece {
    start: u64,
    bytes: usize,
    content: Content,
}

enum Content {
    Coming(JoinHandle<io::Result<Buffer>>),
    Here(Buffer),
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.bytes as u64
    }
}

/// An object whose first bytes were asked for.
pub(super) struct Opening {
    object: Arc<Object>,
    runtime: Handle,
    budget: MemoryBudget,
    first: JoinHandle<io::Result<First>>,
}

type First = (Version, Buffer, usize);

impl Opening {
    /// Asks for the object that `url` names.
    ///
    /// # Errors
    /// A URL that names none, or a budget without room for the first bytes.
    pub fn begin(url: &str, budget: &MemoryBudget) -> io::Result<Opening> {
        let (object, runtime) = stores::object(url)?;
        let object = Arc::new(object);
        let head = Buffer::new(budget, PURPOSE, HEAD_BYTES)?;
        let first = runtime.spawn(first_bytes(object.clone(), head));
        Ok(Opening { object, runtime, budget: budget.clone(), first })
    }

    /// Waits for the object.
    ///
    /// # Errors
    /// What the store says.
    pub fn finish(self) -> io::Result<RemoteFile> {
        let first = self.runtime.block_on(self.first).map_err(io::Error::other).flatten();
        let (version, head, head_bytes) = first?;
        Ok(RemoteFile {
            object: self.object,
            version: Arc::new(version),
            runtime: self.runtime,
            budget: self.budget,
            head,
            head_bytes,
            position: 0,
            pieces: VecDeque::new(),
            spare: Vec::new(),
            depth: 1,
        })
    }
}

async fn first_bytes(object: Arc<Object>, mut head: Buffer) -> io::Result<First> {
    match object.fetch(0, &mut head, None).await {
        Ok((version, bytes)) => Ok((version, head, bytes)),
        // An object of no bytes has no range of them: status 416, or the whole of nothing. Asking once more tells.
        Err(error) if may_be_empty(&error) => match object.head().await {
            Ok(version) if version.bytes == 0 => Ok((version, head, 0)),
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// The bytes of the object that `url` names and the time of its last change, without its content.
///
/// # Errors
/// What the store says.
pub(super) fn size_and_time(url: &str) -> io::Result<(u64, Option<u64>)> {
    let (object, runtime) = stores::object(url)?;
    let version = runtime.block_on(object.head())?;
    Ok((version.bytes, version.modified_ns))
}

impl RemoteFile {
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Reads at `offset` straight into `out`; fewer bytes only at the end of the object.
    pub fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let left_bytes = self.version.bytes.saturating_sub(offset);
        let bytes = clamped(left_bytes).min(out.len());
        let mut filled = self.copy_head(out, offset);
        // In pieces, so that one that breaks off does not cost the whole.
        while let Some(rest) = out.get_mut(filled..bytes).filter(|rest| !rest.is_empty()) {
            let length = rest.len().min(PIECE_BYTES);
            let part = &mut rest[..length];
            let fetch = self.object.fetch(offset + filled as u64, part, Some(&self.version));
            filled += self.runtime.block_on(fetch)?.1;
        }
        Ok(filled)
    }

    /// Copies what the first bytes have of `out` at `offset`.
    fn copy_head(&self, out: &mut [u8], offset: u64) -> usize {
        let head = &self.head[..self.head_bytes];
        let rest = usize::try_from(offset).ok().and_then(|at| head.get(at..));
        rest.map_or(0, |rest| copy(rest, out))
    }

    pub fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() || self.position >= self.version.bytes {
            return Ok(0);
        }
        let mut read = self.copy_head(out, self.position);
        if read == 0 {
            read = match self.read_piece(out) {
                Ok(read) => read,
                Err(error) => {
                    // What comes after a piece that failed is no use to whoever tries again.
                    self.cancel();
                    return Err(error);
                }
            };
        }
        self.position += read as u64;
        Ok(read)
    }

    fn read_piece(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(piece) = self.pieces.front().filter(|piece| piece.end() <= self.position) {
            let is_read = matches!(piece.content, Content::Here(_));
            match self.pieces.pop_front().map(|piece| piece.content) {
                Some(Content::Here(buffer)) => self.spare.push(buffer),
                Some(Content::Coming(task)) => self.wait_for_end(task),
                None => {}
            }
            self.depth = (self.depth + usize::from(is_read)).min(PIECES);
        }
        if self.pieces.front().is_some_and(|piece| self.position < piece.start) {
            self.cancel();
        }
        self.read_ahead()?;
        let position = self.position;
        let Some(piece) = self.pieces.front_mut() else { return Ok(0) };
        if let Content::Coming(task) = &mut piece.content {
            match self.runtime.block_on(task).map_err(io::Error::other).flatten() {
                Ok(buffer) => piece.content = Content::Here(buffer),
                Err(error) => {
                    self.pieces.pop_front();
                    return Err(error);
                }
            }
        }
        let Content::Here(buffer) = &piece.content else { return Ok(0) };
        let at = (position - piece.start) as usize;
        Ok(copy(
            buffer.get(at..piece.bytes).needed("a piece of an object ends before what is read of it")?,
            out,
        ))
    }

    /// Asks for pieces until there are as many as there may be, or as memory allows.
    fn read_ahead(&mut self) -> io::Result<()> {
        while self.pieces.len() < self.depth {
            let start = self.pieces.back().map_or(self.position, Piece::end);
            let left_bytes = self.version.bytes.saturating_sub(start);
            let bytes = clamped(left_bytes).min(PIECE_BYTES);
            if bytes == 0 {
                break;
            }
            let buffer = match self.spare.pop() {
                Some(buffer) => buffer,
                None => match Buffer::new(&self.budget, PURPOSE, PIECE_BYTES) {
                    Ok(buffer) => buffer,
                    // One is enough to go on with.
                    Err(_) if !self.pieces.is_empty() => break,
                    Err(error) => return Err(error.into()),
                },
            };
            let task = fetch(self.object.clone(), self.version.clone(), start, bytes, buffer);
            let content = Content::Coming(self.runtime.spawn(task));
            self.pieces.push_back(Piece { start, bytes, content });
        }
        Ok(())
    }

    pub fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.version.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        let before_start = || io::Error::new(io::ErrorKind::InvalidInput, "a position before the first byte");
        self.position = position.ok_or_else(before_start)?;
        Ok(self.position)
    }

    /// Lets go of all pieces, those on their way too.
    fn cancel(&mut self) {
        for piece in std::mem::take(&mut self.pieces) {
            match piece.content {
                Content::Here(buffer) => self.spare.push(buffer),
                Content::Coming(task) => self.wait_for_end(task),
            }
        }
        self.depth = 1;
    }

    /// Ends a request. Its buffer is given back when this returns, so that the next can have the memory.
    fn wait_for_end(&mut self, task: JoinHandle<io::Result<Buffer>>) {
        task.abort();
        if let Ok(Ok(buffer)) = self.runtime.block_on(task) {
            self.spare.push(buffer);
        }
    }
}

impl Drop for RemoteFile {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteFile").field("object", &self.object).finish_non_exhaustive()
    }
}

async fn fetch(
    object: Arc<Object>,
    version: Arc<Version>,
    start: u64,
    bytes: usize,
    mut buffer: Buffer,
) -> io::Result<Buffer> {
    let out = buffer.get_mut(..bytes);
    let out = out.ok_or_else(|| io::Error::other("a piece of an object has no room"))?;
    object.fetch(start, out, Some(&version)).await?;
    Ok(buffer)
}

fn may_be_empty(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported || error.to_string().contains("416")
}

/// Copies as much of `from` as `to` has room for.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let bytes = from.len().min(to.len());
    to[..bytes].copy_from_slice(&from[..bytes]);
    bytes
}
