//! The rows of many files: one file after the other, or interleaved as `tf.data.Dataset.interleave` does, `block` rows
//! of one, then of the next, `cycle` files open at once. The files come in the order they are listed in, or in a random
//! one, another in each epoch.

use std::path::PathBuf;
use std::sync::Arc;

use tightfit_core::{Buffer, Reservation};

use super::records::RecordFormat;
use super::{BadRead, FileRows, Format};
use crate::error::DataError;
use crate::flow::element::{ElementView, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::origin::{Names, Origin};
use crate::flow::spec::SourceSpec;
use crate::flow::stage::{Context, Meter, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};
use crate::shuffle::Random;
use crate::source::{FileList, Wanted, list_of};

/// How files are interleaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Interleave {
    /// Files that are open at once.
    pub cycle: usize,
    /// Rows of one file before it is the next one's turn.
    pub block: usize,
    /// What the order of the files depends on, together with the epoch; `None` for the order of the list.
    pub shuffle_seed: Option<u64>,
}

impl Default for Interleave {
    /// One file after the other.
    fn default() -> Self {
        Interleave { cycle: 1, block: 1, shuffle_seed: None }
    }
}

/// TFRecord files as a source.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TfRecord {
    /// Files, folders and globs.
    #[serde(skip)]
    pub paths: Vec<PathBuf>,
    /// How they are interleaved.
    pub interleave: Interleave,
}

impl SourceSpec for TfRecord {
    fn identity(&self) -> serde_json::Value {
        identity::of("tfrecord", self)
    }

    fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        let list = list_of(&self.paths, Some(Wanted::RECORDS), &context.access, &context.budget)?;
        open_files("tfrecord", RecordFormat::new(&context.budget), list, self.interleave, context)
    }
}

/// Opens the rows of `list`, which are of `format`, as a source called `name`.
pub(crate) fn open_files(
    name: &'static str,
    format: impl Format + 'static,
    list: FileList,
    interleave: Interleave,
    context: &mut Context,
) -> Result<Node, DataError> {
    let meter = context.meter(name, &[]);
    let files = Files::new(Box::new(format), Arc::new(list), interleave, meter.clone(), context)?;
    Ok(context.node(files, meter))
}

pub(crate) fn read_tfrecord(args: &mut Args<'_>) -> Read<Arc<dyn SourceSpec>> {
    Ok(Arc::new(TfRecord { paths: args.paths()?, interleave: read_interleave(args)? }))
}

/// The options `cycle`, `block` and `shuffle_files`, a seed.
pub(crate) fn read_interleave(args: &mut Args<'_>) -> Read<Interleave> {
    let mut option = |key| Ok::<_, String>(args.number_option(key)?.unwrap_or(1).max(1) as usize);
    let (cycle, block) = (option("cycle")?, option("block")?);
    Ok(Interleave { cycle, block, shuffle_seed: args.number_option("shuffle_files")? })
}

/// An open file and its number in the list; nothing where a file ended and there was no other.
struct Slot {
    file: usize,
    rows: Option<Box<dyn FileRows>>,
}

/// See the module.
pub(crate) struct Files {
    format: Box<dyn Format>,
    list: Arc<FileList>,
    names: Names,
    first: u32,
    interleave: Interleave,
    slots: Vec<Slot>,
    /// The slot whose turn it is, and the rows it has given in this turn.
    turn: usize,
    given: usize,
    next_file: usize,
    epoch: u64,
    /// The numbers of the files in the order of this epoch; none when that is the order of the list.
    order: Vec<u32>,
    _order_bytes: Reservation,
    window: Option<Buffer>,
    rows: Option<u64>,
    meter: Arc<Meter>,
}

impl Files {
    pub fn new(
        format: Box<dyn Format>,
        list: Arc<FileList>,
        interleave: Interleave,
        meter: Arc<Meter>,
        context: &Context,
    ) -> Result<Files, DataError> {
        let first = context.names.add_files(list.clone());
        let rows = format.rows(&list.files)?;
        let Interleave { cycle, block, shuffle_seed } = interleave;
        let cycle = cycle.clamp(1, list.files.len().max(1));
        let interleave = Interleave { cycle, block: block.max(1), shuffle_seed };
        let shuffled = if shuffle_seed.is_some() { list.files.len() } else { 0 };
        let order_bytes = context.budget.try_reserve("file list", (shuffled * size_of::<u32>()) as u64)?;
        let names = context.names.clone();
        let mut files = Files {
            format,
            list,
            names,
            first,
            interleave,
            slots: Vec::new(),
            turn: 0,
            given: 0,
            next_file: 0,
            epoch: 0,
            order: (0..shuffled as u32).collect(),
            _order_bytes: order_bytes,
            window: None,
            rows,
            meter,
        };
        files.set_epoch(0);
        Ok(files)
    }

    fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
        if let Some(seed) = self.interleave.shuffle_seed {
            self.order.iter_mut().zip(0..).for_each(|(to, file)| *to = file);
            Random::new(seed, epoch).shuffle(&mut self.order);
        }
    }

    fn bad(&self, file: usize, bad: BadRead) -> DataError {
        let (record, offset) = bad.place.unwrap_or_default();
        self.names.bad(Origin { file: self.first + file as u32, record, offset }, bad.fault)
    }

    /// Opens `file` before row `from` in slot `index`.
    fn open(&mut self, index: usize, file: usize, from: (u64, u64)) -> Result<(), DataError> {
        let Some(listed) = self.list.files.get(file) else { return Ok(()) };
        let rows = self.format.open(listed, from, self.window.take());
        let rows = rows.map_err(|bad| self.bad(file, bad))?;
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Slot { file, rows: Some(rows) };
        }
        let held = self.slots.iter().filter_map(|slot| slot.rows.as_ref()).map(|rows| rows.held_bytes());
        self.meter.holds(held.sum());
        Ok(())
    }

    /// Takes the next file of the list into slot `index`; false when there is none.
    fn open_next(&mut self, index: usize) -> Result<bool, DataError> {
        let file = self.next_file;
        if file >= self.list.files.len() {
            return Ok(false);
        }
        self.next_file += 1;
        let file = self.order.get(file).map_or(file, |file| *file as usize);
        self.open(index, file, (0, 0))?;
        Ok(true)
    }

    fn pass_turn(&mut self) {
        self.given = 0;
        self.turn = (self.turn + 1) % self.slots.len().max(1);
    }

    fn fill_slots(&mut self) {
        if self.slots.is_empty() {
            self.slots.resize_with(self.interleave.cycle, || Slot { file: 0, rows: None });
        }
    }
}

impl Stage for Files {
    fn schema(&self) -> &Arc<Schema> {
        self.format.schema()
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        self.fill_slots();
        if self.given == self.interleave.block && self.interleave.cycle > 1 {
            self.pass_turn();
        }
        // A whole round without a file means that there is none left.
        let mut empty = 0;
        while empty < self.slots.len() {
            let Some(slot) = self.slots.get_mut(self.turn) else { break };
            let Some(rows) = &mut slot.rows else {
                if !self.open_next(self.turn)? {
                    empty += 1;
                    self.pass_turn();
                }
                continue;
            };
            match rows.advance() {
                Ok(true) => {
                    self.given += 1;
                    return Ok(true);
                }
                Ok(false) => {
                    self.window = slot.rows.take().and_then(|rows| rows.into_window());
                    // As in tf.data, the slot's next file waits for the slot's next turn.
                    self.pass_turn();
                    empty = 0;
                }
                Err(bad) => {
                    let file = slot.file;
                    return Err(self.bad(file, bad));
                }
            }
        }
        Ok(false)
    }

    fn current(&self) -> ElementView<'_> {
        let slot = self.slots.get(self.turn);
        match slot.and_then(|slot| slot.rows.as_ref().map(|rows| (slot.file, rows))) {
            Some((file, rows)) => rows.current(self.first + file as u32),
            None => ElementView::new(self.format.schema(), &[], &[], &[], Origin::default()),
        }
    }

    fn reset(&mut self, epoch: u64) -> Result<(), DataError> {
        self.slots.clear();
        self.set_epoch(epoch);
        (self.turn, self.given, self.next_file) = (0, 0, 0);
        Ok(())
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        let mut numbers = vec![self.epoch, self.turn as u64, self.given as u64, self.next_file as u64];
        for slot in &self.slots {
            let (record, offset) = slot.rows.as_ref().map_or((0, 0), |rows| rows.next_place());
            numbers.extend([u64::from(slot.rows.is_some()), slot.file as u64, record, offset]);
        }
        state.numbers(&numbers)
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        let numbers = state.number_list()?;
        let Some((&[epoch, turn, given, next_file], slots)) = numbers.split_first_chunk() else {
            return Err(DataError::Spec("the saved state is none of these files".to_string()));
        };
        self.set_epoch(epoch);
        (self.turn, self.given, self.next_file) = (turn as usize, given as usize, next_file as usize);
        self.slots.clear();
        if slots.is_empty() {
            return Ok(());
        }
        self.fill_slots();
        for (index, &[is_open, file, record, offset]) in slots.as_chunks::<4>().0.iter().enumerate() {
            if is_open != 0 {
                self.open(index, file as usize, (record, offset))?;
            }
        }
        Ok(())
    }

    fn rows(&self) -> Option<u64> {
        self.rows
    }
}
