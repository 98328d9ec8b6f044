//! Elements that are made once and then come from memory, or from disk: `tf.data.Dataset.cache`.
//!
//! What is cached is pass 0 of the input, so that a cache holds the same whoever made it and when. It is kept in memory
//! while it fits there. With a folder it is written there too, under a name that is a digest of all that its content
//! depends on (the stages before it, and the files with their sizes and times): a file of another name until it is
//! complete, so there is a whole cache or none (see [`WholeFile`](tightfit_format::whole::WholeFile)). Processes that make one cache at a time each make
//! their own, which are equal unless elements come in no order.
//!
//! The file is a TFRecord file: the full text that the name is a digest of (see [`identity`]), then each element, then
//! how many there were and a digest of all. A file without that end, or of something else, is an error, as is damage
//! before the end when it is reached.
//!
//! A saved state has what was given in this pass and its digest, so that another cache that was made meanwhile (by stages
//! that keep no order) is refused; and where elements came from memory, all of these.

mod file;

use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tightfit_core::{BudgetError, Buffer, MemoryBudget};

use self::file::{CacheFile, CacheReader, CacheWriter};
use crate::error::{DataError, clamped};
use crate::flow::codec::{DecodeError, decode, encode};
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::growing::Growing;
use crate::flow::identity::{self, Digest};
use crate::flow::json::{Args, Read};
use crate::flow::spec::StageSpec;
use crate::flow::stage::{Context, Meter, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};

const PURPOSE: &str = "cache";

/// Memory grows by so much, or by an element if that is larger.
const CHUNK_BYTES: usize = 1 << 20;

/// The memory of a cache that has a folder too, where nothing is said.
const MEMORY_BYTES: u64 = 64 << 20;

/// Makes elements once.
#[derive(Debug, Clone)]
pub struct Cache {
    /// Where it is kept for later runs, and when memory does not suffice.
    pub folder: Option<PathBuf>,
    /// The most memory it takes; left out, 64 MiB with a folder and the whole budget without.
    pub memory_bytes: Option<u64>,
}

impl StageSpec for Cache {
    // Where it is kept changes nothing of what comes out of it.
    fn identity(&self) -> serde_json::Value {
        json!("cache")
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        let meter = context.meter("cache", &[&input]);
        let schema = input.schema().clone();
        let place = match &self.folder {
            Some(folder) => {
                context.access.check(folder).map_err(DataError::Spec)?;
                let identity = json!({"schema": schema.to_string(), "input": context.identity()});
                Some(CacheFile::new(folder, identity::header("cache", &identity))?)
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
            digest: Digest::default(),
            budget,
            meter: meter.clone(),
        };
        stage.look_for_file()?;
        Ok(context.node(stage, meter))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let folder = if args.value().is_null() { None } else { Some(args.path()?) };
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

/// Where the elements come from that a state goes on with.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    File = 0,
    Live = 1,
    Memory = 2,
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
    /// Elements given in this pass, and their digest as far as they come from what was kept.
    given: u64,
    digest: Digest,
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
        encode(&self.input.current(), &mut self.encoded).map_err(DataError::of_fault)?;
        let Phase::Filling(writer) = &mut self.phase else { return Ok(()) };
        let bytes = self.encoded.bytes();
        let kept = match &mut self.memory {
            Some(memory) => memory.push(bytes),
            None => false,
        };
        match (&self.place, kept) {
            (None, true) => {}
            (None, false) => {
                let free_bytes = self.budget.free_bytes();
                let held_bytes = self.memory.take().map_or(0, |memory| memory.bytes as u64);
                return Err(DataError::Budget(BudgetError {
                    purpose: "the cache (give it a folder)",
                    asked_bytes: bytes.len() as u64,
                    free_bytes: free_bytes.min(self.limit_bytes.saturating_sub(held_bytes)),
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

    /// Takes what was in memory out of a state, and goes after the first `given`.
    fn restore_memory(&mut self, given: u64, state: &mut StateReader) -> Result<(), DataError> {
        let [elements] = state.numbers()?;
        let mut memory = Memory::new(self.limit_bytes, &self.budget);
        for _ in 0..elements {
            if !memory.push(state.bytes()?) {
                return Err(state.wrong("the cache has no room in memory for what it holds"));
            }
        }
        memory.is_complete = true;
        let mut cursor = Cursor::default();
        for _ in 0..given {
            let element = memory.next(&mut cursor);
            self.digest.add(element.ok_or_else(|| state.wrong("it is the state of another pipeline"))?);
        }
        (self.memory, self.given, self.phase) = (Some(memory), given, Phase::Memory(cursor));
        Ok(())
    }

    /// Goes after `given` elements, at record and byte of a file of the digest `whole`; `before` is that of the elements.
    fn restore_file(
        &mut self,
        (given, record, offset): (u64, u64, u64),
        before: &str,
        whole: &str,
        state: &mut StateReader,
    ) -> Result<(), DataError> {
        self.phase = match mem::replace(&mut self.phase, Phase::Start) {
            Phase::File(reader) if reader.digest() == whole => {
                self.given = given;
                self.digest = Digest::parse(before).ok_or_else(|| state.wrong("it is damaged"))?;
                self.phase = Phase::File(reader.skip_to(given, record, offset)?);
                return Ok(());
            }
            phase => phase,
        };
        // The file is gone, or another: the same elements come again unless they come in no order.
        while self.given < given && self.advance()? {
            if let Phase::Filling(_) = self.phase {
                self.digest.add(self.encoded.bytes());
            }
        }
        if self.given < given || self.digest.text() != before {
            return Err(state.wrong("the cache it continues from is gone, and the one made again differs"));
        }
        Ok(())
    }

    fn hold(&self) {
        let memory = self.memory.as_ref().map_or(0, |memory| memory.bytes);
        self.meter.holds(memory + self.made.held_bytes() + self.encoded.held_bytes());
    }

    fn decoded(&self, result: Result<(), DecodeError>) -> Result<(), DataError> {
        result.map_err(|error| match error {
            DecodeError::Fault(fault) => DataError::of_fault(fault),
            DecodeError::Broken => {
                DataError::Spec("the cache holds something that is not an element".to_string())
            }
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
                    self.digest.add(bytes);
                    let result = decode(bytes, &mut self.made);
                    self.decoded(result)?;
                    true
                }
                None => false,
            },
            Phase::File(reader) => match reader.next()? {
                Some(bytes) => {
                    self.digest.add(bytes);
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
        (self.given, self.digest, self.phase) = (0, Digest::default(), Phase::Start);
        if self.memory.as_ref().is_some_and(|memory| memory.is_complete) {
            return Ok(());
        }
        self.look_for_file()?;
        // What is kept is always pass 0.
        if matches!(self.phase, Phase::Start) { self.input.reset(0) } else { Ok(()) }
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        let mode = match &self.phase {
            Phase::Start if self.memory.as_ref().is_some_and(|memory| memory.is_complete) => Mode::Memory,
            Phase::Start | Phase::Filling(_) | Phase::Passing => Mode::Live,
            Phase::Memory(_) => Mode::Memory,
            Phase::File(_) => Mode::File,
        };
        let (record, offset) = match &self.phase {
            Phase::File(reader) => reader.next_place(),
            _ => (0, 0),
        };
        state.numbers(&[mode as u64, self.given, record, offset])?;
        match (mode, &self.phase) {
            (Mode::Live, _) => self.input.save(state),
            (Mode::File, Phase::File(reader)) => {
                state.text(&self.digest.text())?;
                state.text(reader.digest())
            }
            _ => {
                let Some(memory) = &self.memory else { return Ok(()) };
                state.numbers(&[memory.elements])?;
                let mut cursor = Cursor::default();
                while let Some(element) = memory.next(&mut cursor) {
                    state.bytes(element)?;
                }
                Ok(())
            }
        }
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        let [mode, given, record, offset] = state.numbers()?;
        match mode {
            mode if mode == Mode::Live as u64 => {
                self.input.restore(state)?;
                // What was kept before is gone, so this pass is only passed on; but if it has not begun, nothing is lost.
                self.phase = if given == 0 { Phase::Start } else { Phase::Passing };
                self.given = given;
                Ok(())
            }
            mode if mode == Mode::Memory as u64 => self.restore_memory(given, state),
            mode if mode == Mode::File as u64 => {
                let (before, whole) = (state.text()?, state.text()?);
                self.restore_file((given, record, offset), &before, &whole, state)
            }
            _ => Err(state.wrong("it is the state of another pipeline")),
        }
    }

    fn rows(&self) -> Option<u64> {
        self.input.rows()
    }
}

/// Elements in memory, one after the other, each after its length.
struct Memory {
    chunks: Vec<(Buffer, usize)>,
    bytes: usize,
    elements: u64,
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
        let (chunks, budget) = (Vec::new(), budget.clone());
        Memory { chunks, bytes: 0, elements: 0, limit_bytes, budget, is_complete: false }
    }

    /// Keeps `element`; false when there is no room for it.
    fn push(&mut self, element: &[u8]) -> bool {
        let needed = element.len() + size_of::<u64>();
        if self.chunks.last().is_none_or(|(chunk, used)| chunk.len() - used < needed) {
            let left = clamped(self.limit_bytes).saturating_sub(self.bytes);
            let chunk = needed.max(CHUNK_BYTES.min(left));
            if chunk > left {
                return false;
            }
            let Some(chunk) = self.chunk(chunk, needed) else { return false };
            self.bytes += chunk.len();
            self.chunks.push((chunk, 0));
        }
        let Some((chunk, used)) = self.chunks.last_mut() else { return false };
        let Some(room) = chunk.get_mut(*used..*used + needed) else { return false };
        let (length, room) = room.split_at_mut(size_of::<u64>());
        length.copy_from_slice(&(element.len() as u64).to_le_bytes());
        room.copy_from_slice(element);
        *used += needed;
        self.elements += 1;
        true
    }

    /// Memory of `bytes`, or as much of it as there is but `needed` at least.
    fn chunk(&self, mut bytes: usize, needed: usize) -> Option<Buffer> {
        loop {
            match Buffer::new(&self.budget, PURPOSE, bytes) {
                Ok(chunk) => return Some(chunk),
                Err(_) if bytes > needed => bytes = (bytes / 2).max(needed),
                Err(_) => return None,
            }
        }
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
