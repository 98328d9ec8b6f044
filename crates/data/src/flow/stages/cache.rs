//! Elements that are made once and then come from memory, or from disk: `tf.data.Dataset.cache`.
//!
//! What is cached is pass 0 of the input, so that a cache holds the same whoever made it and when. It is kept in memory
//! while it fits there. With a folder it is written there too, under a name that is a digest of all that its content
//! depends on (the stages before it, and the files with their sizes and times): a file of another name until it is
//! complete, so there is a whole cache or none (see [`Partial`]). Processes that make one cache at a time each make their
//! own, which are equal.
//!
//! The file is a TFRecord file: the full text that the name is a digest of, then each element, then how many there were.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{BudgetError, Buffer, MemoryBudget};
use tightfit_format::tfrecord::{GrowError, RecordReader, RecordWriter};

use crate::error::{DataError, io_error};
use crate::flow::codec::{DecodeError, decode, encode};
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::growing::Growing;
use crate::flow::json::{Args, Read};
use crate::flow::partial::{Partial, remove_left_overs};
use crate::flow::spec::StageSpec;
use crate::flow::stage::{Context, Meter, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};

const PURPOSE: &str = "cache";

/// Memory grows by so much, or by an element if that is larger.
const CHUNK_BYTES: usize = 1 << 20;

/// What a file is read through at first.
const WINDOW_BYTES: usize = 256 << 10;

/// The memory of a cache that has a folder too, where nothing is said.
const MEMORY_BYTES: u64 = 64 << 20;

/// Makes elements once.
#[derive(Clone)]
pub struct Cache {
    /// Where it is kept for later runs, and when memory does not suffice.
    pub folder: Option<PathBuf>,
    /// The most memory it takes; left out, 64 MiB with a folder and the whole budget without.
    pub memory_bytes: Option<u64>,
}

impl std::fmt::Debug for Cache {
    // Where it is kept changes nothing of what comes out of it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache")
    }
}

impl StageSpec for Cache {
    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        let meter = context.meter("cache", &[&input]);
        let schema = input.schema().clone();
        let place = match &self.folder {
            Some(folder) => {
                Some(CacheFile::new(folder, &format!("tightfit cache 1\n{schema}\n{}", context.key()))?)
            }
            None => None,
        };
        let limit_bytes = self.memory_bytes.unwrap_or(if place.is_some() { MEMORY_BYTES } else { u64::MAX });
        let budget = context.budget.clone();
        let mut stage = CacheStage {
            input,
            place,
            memory: Some(Memory::new(limit_bytes, &budget)),
            limit_bytes,
            phase: Phase::Start,
            made: Element::new(schema, PURPOSE, &budget),
            encoded: Growing::new(PURPOSE, &budget),
            given: 0,
            budget,
            meter: meter.clone(),
        };
        stage.look_for_file()?;
        Ok(context.node(stage, meter))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let folder = if args.value().is_null() { None } else { Some(PathBuf::from(args.text()?)) };
    Ok(Arc::new(Cache { folder, memory_bytes: args.bytes_option("memory")? }))
}

/// What the stage is doing.
enum Phase {
    /// Nothing has been asked for in this pass.
    Start,
    /// The input is read, and what comes is kept.
    Filling(Option<CacheWriter>),
    /// The input is read, but as it was begun in another process, nothing is kept.
    Passing,
    /// What is in memory is read, from this place on.
    Memory(Cursor),
    /// The file is read.
    File(CacheReader),
}

struct CacheStage {
    input: Node,
    place: Option<CacheFile>,
    /// What was kept, as long as that fits.
    memory: Option<Memory>,
    limit_bytes: u64,
    phase: Phase,
    made: Element,
    encoded: Growing,
    /// Elements given in this pass.
    given: u64,
    budget: MemoryBudget,
    meter: Arc<Meter>,
}

impl CacheStage {
    /// Reads the file if there is a complete one.
    fn look_for_file(&mut self) -> Result<(), DataError> {
        if let Some(place) = &self.place
            && let Some(reader) = place.open(&self.budget)?
        {
            self.memory = None;
            self.phase = Phase::File(reader);
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), DataError> {
        self.phase = match &self.memory {
            Some(memory) if memory.is_complete => Phase::Memory(Cursor::default()),
            _ => {
                self.look_for_file()?;
                if matches!(self.phase, Phase::File(_)) {
                    return Ok(());
                }
                self.memory = Some(Memory::new(self.limit_bytes, &self.budget));
                Phase::Filling(None)
            }
        };
        Ok(())
    }

    /// Keeps the element that the input stands at.
    fn keep(&mut self) -> Result<(), DataError> {
        self.encoded.set_used(0);
        encode(&self.input.current(), &mut self.encoded)?;
        let Phase::Filling(writer) = &mut self.phase else { return Ok(()) };
        let bytes = self.encoded.bytes();
        let kept = match &mut self.memory {
            Some(memory) => memory.push(bytes),
            None => false,
        };
        match (&self.place, kept) {
            (None, true) => {}
            (None, false) => {
                let held_bytes = self.memory.take().map_or(0, |memory| memory.bytes as u64);
                return Err(DataError::Budget(BudgetError {
                    purpose: "the cache (give it a folder)",
                    asked_bytes: bytes.len() as u64,
                    free_bytes: self.budget.free_bytes().min(self.limit_bytes.saturating_sub(held_bytes)),
                    limit_bytes: self.limit_bytes.min(self.budget.limit_bytes()),
                    holders: vec![(PURPOSE, held_bytes)],
                }));
            }
            (Some(place), _) => {
                if !kept {
                    // All of it is in the file, or will be.
                    self.memory = None;
                }
                let writer = match writer {
                    Some(writer) => writer,
                    None => writer.insert(place.create()?),
                };
                writer.write(bytes)?;
            }
        }
        Ok(())
    }

    /// The input is at its end: what was kept is complete.
    fn complete(&mut self) -> Result<(), DataError> {
        if let Phase::Filling(writer) = mem::replace(&mut self.phase, Phase::Passing) {
            if let Some(memory) = &mut self.memory {
                memory.is_complete = true;
            }
            match (writer, &self.place) {
                (Some(writer), _) => writer.finish()?,
                (None, Some(place)) => place.create()?.finish()?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn hold(&self) {
        let memory = self.memory.as_ref().map_or(0, |memory| memory.bytes);
        self.meter.holds(memory + self.made.held_bytes() + self.encoded.held_bytes());
    }

    fn decoded(&self, result: Result<(), DecodeError>) -> Result<(), DataError> {
        result.map_err(|error| match error {
            DecodeError::Budget(error) => DataError::Budget(error),
            DecodeError::Broken => DataError::Spec("the cache holds what is no element".to_string()),
        })
    }
}

impl Stage for CacheStage {
    fn schema(&self) -> &Arc<Schema> {
        self.made.schema()
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        if matches!(self.phase, Phase::Start) {
            self.begin()?;
        }
        let more = match &mut self.phase {
            Phase::Start => false,
            Phase::Passing => self.input.advance()?,
            Phase::Filling(_) => {
                let more = self.input.advance()?;
                if more {
                    self.keep()?
                } else {
                    self.complete()?
                }
                more
            }
            Phase::Memory(cursor) => match self.memory.as_ref().and_then(|memory| memory.next(cursor)) {
                Some(bytes) => {
                    let result = decode(bytes, &mut self.made);
                    self.decoded(result)?;
                    true
                }
                None => false,
            },
            Phase::File(reader) => match reader.next()? {
                Some(bytes) => {
                    let result = decode(bytes, &mut self.made);
                    self.decoded(result)?;
                    true
                }
                None => false,
            },
        };
        self.given += u64::from(more);
        self.hold();
        Ok(more)
    }

    fn current(&self) -> ElementView<'_> {
        match self.phase {
            Phase::Passing | Phase::Filling(_) => self.input.current(),
            _ => self.made.view(),
        }
    }

    fn take(&mut self, out: &mut Element) -> Result<(), DataError> {
        match self.phase {
            Phase::Passing | Phase::Filling(_) => self.input.take(out)?,
            _ => mem::swap(out, &mut self.made),
        }
        Ok(())
    }

    fn reset(&mut self, _epoch: u64) -> Result<(), DataError> {
        (self.given, self.phase) = (0, Phase::Start);
        if self.memory.as_ref().is_some_and(|memory| memory.is_complete) {
            return Ok(());
        }
        self.look_for_file()?;
        // What is kept is always pass 0.
        if matches!(self.phase, Phase::Start) { self.input.reset(0) } else { Ok(()) }
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        let is_live = matches!(self.phase, Phase::Start | Phase::Filling(_) | Phase::Passing);
        state.numbers(&[u64::from(is_live), self.given])?;
        if is_live { self.input.save(state) } else { Ok(()) }
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        let [is_live, given] = state.numbers()?;
        if is_live != 0 {
            self.input.restore(state)?;
            // What was kept before is gone, so this pass is only passed on; but if it has not begun, nothing is lost.
            self.phase = if given == 0 { Phase::Start } else { Phase::Passing };
            self.given = given;
            return Ok(());
        }
        // The same elements come again, whether there is a file or they have to be made once more.
        while self.given < given && self.advance()? {}
        Ok(())
    }

    fn rows(&self) -> Option<u64> {
        self.input.rows()
    }
}

/// Elements in memory, one behind the other, each behind its length.
struct Memory {
    chunks: Vec<(Buffer, usize)>,
    bytes: usize,
    limit_bytes: u64,
    budget: MemoryBudget,
    is_complete: bool,
}

/// A place in [`Memory`].
#[derive(Default)]
struct Cursor {
    chunk: usize,
    offset: usize,
}

impl Memory {
    fn new(limit_bytes: u64, budget: &MemoryBudget) -> Memory {
        Memory { chunks: Vec::new(), bytes: 0, limit_bytes, budget: budget.clone(), is_complete: false }
    }

    /// Keeps `element`; false when there is no room for it.
    fn push(&mut self, element: &[u8]) -> bool {
        let needed = element.len() + size_of::<u64>();
        if self.chunks.last().is_none_or(|(chunk, used)| chunk.len() - used < needed) {
            let left = usize::try_from(self.limit_bytes).unwrap_or(usize::MAX).saturating_sub(self.bytes);
            let chunk = needed.max(CHUNK_BYTES.min(left));
            if chunk > left {
                return false;
            }
            let Ok(chunk) = Buffer::new(&self.budget, PURPOSE, chunk) else { return false };
            self.bytes += chunk.len();
            self.chunks.push((chunk, 0));
        }
        let Some((chunk, used)) = self.chunks.last_mut() else { return false };
        let Some(room) = chunk.get_mut(*used..*used + needed) else { return false };
        let (length, room) = room.split_at_mut(size_of::<u64>());
        length.copy_from_slice(&(element.len() as u64).to_le_bytes());
        room.copy_from_slice(element);
        *used += needed;
        true
    }

    /// The element at `cursor`, which goes on to the next.
    fn next(&self, cursor: &mut Cursor) -> Option<&[u8]> {
        loop {
            let (chunk, used) = self.chunks.get(cursor.chunk)?;
            if cursor.offset < *used {
                let (length, rest) = chunk.get(cursor.offset..*used)?.split_first_chunk()?;
                let element = rest.get(..u64::from_le_bytes(*length) as usize)?;
                cursor.offset += element.len() + size_of::<u64>();
                return Some(element);
            }
            *cursor = Cursor { chunk: cursor.chunk + 1, offset: 0 };
        }
    }
}

/// Where a cache is kept.
struct CacheFile {
    path: PathBuf,
    key: String,
}

/// FNV-1a, to name files by.
fn digest(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl CacheFile {
    fn new(folder: &Path, key: &str) -> Result<CacheFile, DataError> {
        fs::create_dir_all(folder).map_err(|e| io_error(folder, e))?;
        let path = folder.join(format!("{:016x}.tfcache", digest(key)));
        // Nobody may ever write this cache again.
        remove_left_overs(&path);
        Ok(CacheFile { path, key: key.to_string() })
    }

    /// The cache, if it is complete; one that is not, or is of something else, is none.
    fn open(&self, budget: &MemoryBudget) -> Result<Option<CacheReader>, DataError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&self.path, error)),
        };
        let window = Buffer::new(budget, PURPOSE, WINDOW_BYTES.max(self.key.len() + 16))?;
        let Ok(read) = RecordReader::new(Arc::from(&*self.path), file, window) else { return Ok(None) };
        let mut reader = CacheReader { read, budget: budget.clone(), path: self.path.clone(), elements: 0 };
        Ok(match reader.read.advance() {
            Ok(true) if reader.read.current().data == self.key.as_bytes() => Some(reader),
            _ => None,
        })
    }

    /// A file to write a cache to.
    fn create(&self) -> Result<CacheWriter, DataError> {
        let (partial, file) = Partial::create(&self.path)?;
        let write = RecordWriter::new(BufWriter::with_capacity(64 << 10, file));
        let mut writer = CacheWriter { write, partial, path: self.path.clone(), elements: 0 };
        writer.put(self.key.as_bytes())?;
        Ok(writer)
    }
}

/// What the last record begins with, and no element does.
const END: u8 = 0xff;

/// The last record: how many elements there were.
fn end_record(elements: u64) -> [u8; 9] {
    let mut record = [END; 9];
    if let Some(count) = record.last_chunk_mut() {
        *count = elements.to_le_bytes();
    }
    record
}

/// Writes a cache. Dropped before it is finished, it leaves nothing.
struct CacheWriter {
    write: RecordWriter<BufWriter<File>>,
    partial: Partial,
    path: PathBuf,
    elements: u64,
}

impl CacheWriter {
    fn put(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.write.write(bytes).map_err(|e| io_error(&self.path, e))
    }

    fn write(&mut self, element: &[u8]) -> Result<(), DataError> {
        self.elements += 1;
        self.put(element)
    }

    fn finish(mut self) -> Result<(), DataError> {
        self.put(&end_record(self.elements))?;
        let mut file = self.write.into_inner();
        file.flush().map_err(|e| io_error(&self.path, e))?;
        self.partial.finish(file.get_ref())
    }
}

/// Reads a cache.
struct CacheReader {
    read: RecordReader<File>,
    budget: MemoryBudget,
    path: PathBuf,
    elements: u64,
}

impl CacheReader {
    /// The next element; `None` behind the last.
    fn next(&mut self) -> Result<Option<&[u8]>, DataError> {
        match self.read.advance_growing(PURPOSE, &self.budget) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(GrowError::Budget { error, .. }) => return Err(DataError::Budget(error)),
            Err(GrowError::Record(error)) => {
                return Err(DataError::Spec(format!("{error}; remove the file to have it made again")));
            }
        }
        let data = self.read.current().data;
        if data.first() == Some(&END) {
            if data == end_record(self.elements) {
                return Ok(None);
            }
            let path = self.path.display();
            return Err(DataError::Spec(format!(
                "{path}: elements are missing; remove the file to have it made again"
            )));
        }
        self.elements += 1;
        Ok(Some(self.read.current().data))
    }
}
