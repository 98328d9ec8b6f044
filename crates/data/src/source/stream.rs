//! The rows of all files in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget};
use tightfit_format::npy::NpyHeader;
use tightfit_format::tfrecord::{Compression, RecordFault, RecordReader};

use super::pipeline::{self, PipelineRows};
use super::{DataFile, FileKind, FileList};
use crate::error::{BadRow, DataError, RowFault};
use crate::flow::ElementView;
use crate::source::array::{ArrayRows, Fault, header_at};
use crate::storage::{self, StoredFile};

/// A place between two rows of a data set, after which it can be read on. The default is before the first row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The number of the next row's file in the list of files; as many as there are files at the end.
    pub file: u32,
    /// The number of the next record or row in that file, from 0.
    pub record: u64,
    /// Where that record begins, in bytes of the uncompressed file; 0 in arrays, whose rows are found by number.
    pub offset: u64,
}

/// Where a row came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RowPlace {
    /// The file's number in the list.
    pub file: u32,
    /// The record's or row's number in the file.
    pub record: u64,
}

/// The row that the stream stands at.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    pub position: RowPlace,
    pub payload: Payload<'a>,
}

/// What there is of a row.
#[derive(Debug)]
pub(crate) enum Payload<'a> {
    /// An image file still to be read.
    Image(&'a DataFile),
    /// A record at this offset.
    Record { offset: u64, data: &'a [u8] },
    /// A row of an array with this header.
    Row { header: &'a NpyHeader, bytes: &'a [u8] },
    /// An element of a pipeline.
    Element(ElementView<'a>),
}

/// A row that could not be read.
#[derive(Debug)]
pub(crate) struct BadRead {
    pub bad: Box<BadRow>,
    /// False when reading on makes no sense, whatever was asked for bad rows.
    pub can_skip: bool,
    /// The record's size, where it can be read once the window has [grown](Stream::grow) to it.
    pub grows_to: Option<u64>,
}

impl BadRead {
    /// Whether it is left out where bad rows are: never for want of memory, since what is large is not
    /// bad, nor for a fault of this program.
    pub fn is_left_out(&self, skip_bad: bool) -> bool {
        skip_bad && self.can_skip && !self.bad.fault.is_budget() && !self.bad.fault.is_broken()
    }
}

/// The rows of a list of files, one at a time, through one window.
pub(crate) struct Stream {
    list: Arc<FileList>,
    pipeline: Option<Arc<PipelineRows>>,
    /// The state that the pipeline goes on from.
    resume: Option<PathBuf>,
    next_file: usize,
    /// Where the next file to be opened is gone into, if not at its first row.
    enter: Option<Position>,
    open: Open,
    window: Option<Buffer>,
    budget: MemoryBudget,
    /// The largest record that is allowed.
    record_bytes: u64,
}

enum Open {
    Nothing,
    Image,
    /// With the bytes of the file, where no record can be larger.
    Records(Box<RecordReader<StoredFile>>, Option<u64>),
    Array(Box<ArrayRows>),
    Pipeline(Box<pipeline::ElementRows>),
}

impl Stream {
    /// The stream of the rows of `list` after `start`, read through `window`. Records may be `record_bytes` long, for
    /// which the window may have to grow. What files take to be open comes out of `budget`.
    pub fn new(
        list: Arc<FileList>,
        pipeline: Option<Arc<PipelineRows>>,
        window: Buffer,
        start: Position,
        record_bytes: u64,
        budget: &MemoryBudget,
    ) -> Stream {
        Stream {
            list,
            pipeline,
            resume: None,
            next_file: start.file as usize,
            enter: (start.record > 0).then_some(start),
            open: Open::Nothing,
            window: Some(window),
            budget: budget.clone(),
            record_bytes,
        }
    }

    /// Goes on from a state of the pipeline that was saved where this stream starts.
    pub fn resume(&mut self, state: Option<PathBuf>) {
        self.resume = state;
    }

    /// Saves the state of the pipeline after the current row.
    ///
    /// # Errors
    /// [`DataError`] when it cannot be written.
    pub fn save(&mut self, path: &Path) -> Result<(), DataError> {
        match &mut self.open {
            Open::Pipeline(rows) => rows.save(path),
            _ => Err(DataError::Spec("only a pipeline that is open has a state".to_string())),
        }
    }

    /// The place after the row that the last [`Stream::advance`] went to.
    pub fn position(&self) -> Position {
        let file = self.next_file.saturating_sub(1) as u32;
        match &self.open {
            // An image file is one row.
            Open::Nothing | Open::Image => Position { file: self.next_file as u32, record: 0, offset: 0 },
            Open::Records(reader, _) => {
                let (record, offset) = reader.next_place();
                Position { file, record, offset }
            }
            Open::Array(rows) => Position { file, record: rows.next_row(), offset: 0 },
            Open::Pipeline(rows) => Position { file, record: rows.next_row(), offset: 0 },
        }
    }

    /// Goes on to the next row; false when there is none.
    ///
    /// # Errors
    /// [`BadRead`] for a row that cannot be read; the next call goes on after it, as far as the file allows.
    pub fn advance(&mut self) -> Result<bool, BadRead> {
        loop {
            let has_row = match &mut self.open {
                Open::Nothing | Open::Image => Ok(false),
                Open::Records(reader, file_bytes) => advance_records(reader, *file_bytes, self.record_bytes),
                Open::Array(rows) => rows.advance(),
                Open::Pipeline(rows) => match rows.advance()? {
                    true => return Ok(true),
                    false => Ok(false),
                },
            };
            match has_row {
                Ok(true) => return Ok(true),
                Ok(false) => self.close(),
                Err((place, fault)) => return Err(self.bad_record(place, fault)),
            }
            if self.next_file >= self.list.files.len() {
                return Ok(false);
            }
            self.open_next()?;
            if matches!(self.open, Open::Image) {
                return Ok(true);
            }
        }
    }

    /// The row that the last [`Stream::advance`] went to.
    pub fn current(&self) -> Option<Item<'_>> {
        let file = self.next_file.checked_sub(1)?;
        let at = |record| RowPlace { file: file as u32, record };
        Some(match &self.open {
            Open::Nothing => return None,
            Open::Image => Item { position: at(0), payload: Payload::Image(self.list.files.get(file)?) },
            Open::Records(reader, _) => {
                let record = reader.current();
                let payload = Payload::Record { offset: record.offset, data: record.data };
                Item { position: at(record.index), payload }
            }
            Open::Array(rows) => {
                let payload = Payload::Row { header: rows.header(), bytes: rows.current() };
                Item { position: at(rows.row()), payload }
            }
            Open::Pipeline(rows) => {
                let number = rows.next_row().saturating_sub(1);
                Item { position: at(number), payload: Payload::Element(rows.current()) }
            }
        })
    }

    /// Takes back the window of the file that is at its end.
    fn close(&mut self) {
        self.window = match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing | Open::Image | Open::Pipeline(_) => self.window.take(),
            Open::Records(reader, _) => Some(reader.into_window()),
            Open::Array(rows) => Some(rows.into_window()),
        };
    }

    fn open_next(&mut self) -> Result<(), BadRead> {
        let list = self.list.clone();
        let Some(file) = list.files.get(self.next_file) else { return Ok(()) };
        self.next_file += 1;
        let enter = self.enter.take();
        if file.kind == FileKind::Image {
            self.open = Open::Image;
            return Ok(());
        }
        if let (FileKind::Pipeline, Some(rows)) = (file.kind, &self.pipeline) {
            let skip = enter.map_or(0, |place| place.record);
            let state = self.resume.take();
            self.open = Open::Pipeline(Box::new(pipeline::ElementRows::open(rows, skip, state.as_deref())?));
            return Ok(());
        }
        let opened = storage::open(&file.path, &self.budget).map_err(|e| self.bad(None, RowFault::Io(e)))?;
        let path: Arc<Path> = Arc::from(&*file.path);
        if file.kind == FileKind::Array {
            let header = header_at(&opened, 0, &path).map_err(|e| self.bad(None, RowFault::Array(e)))?;
            let row = enter.map_or(0, |place| place.record);
            let Some(window) = self.window.take() else { return Ok(()) };
            self.open = Open::Array(Box::new(ArrayRows::new(path, Arc::new(opened), 0, header, row, window)));
            return Ok(());
        }
        let Some(window) = self.window.take() else { return Ok(()) };
        let file_bytes = opened.len();
        match RecordReader::new(path, opened, window) {
            Ok(mut reader) => {
                let entered = enter.map_or(Ok(()), |place| reader.skip_to(place.record, place.offset));
                let most_bytes = match reader.compression() {
                    Compression::None => Some(file_bytes),
                    Compression::Gzip | Compression::Zlib => {
                        Some(file_bytes.saturating_mul(DEFLATE_MAX_RATIO))
                    }
                    Compression::Zstd { .. } => None,
                };
                self.open = Open::Records(Box::new(reader), most_bytes);
                entered.map_err(|e| self.bad(Some((e.record, e.offset)), RowFault::Record(e.fault)))
            }
            Err(error) => Err(self.bad(None, RowFault::Record(error.fault))),
        }
    }

    fn bad(&self, place: Option<(u64, u64)>, fault: RowFault) -> BadRead {
        let path = self.list.path(self.next_file.saturating_sub(1) as u32).to_path_buf();
        let (record, offset) = (place.map(|p| p.0), place.map(|p| p.1));
        // Without a window nothing more can be read.
        let can_skip = self.window.is_some() || !matches!(self.open, Open::Nothing);
        BadRead { bad: Box::new(BadRow { path, record, offset, fault }), can_skip, grows_to: None }
    }

    /// As [`Stream::bad`] for a record, which may be one that needs a larger window.
    fn bad_record(&mut self, place: Option<(u64, u64)>, fault: RowFault) -> BadRead {
        let grows_to = match &fault {
            RowFault::Record(RecordFault::TooLarge { bytes, .. }) => {
                Some(*bytes).filter(|bytes| *bytes <= self.record_bytes)
            }
            _ => None,
        };
        let bad = BadRead { grows_to, ..self.bad(place, fault) };
        if let RowFault::Record(RecordFault::Truncated) = bad.bad.fault {
            // There is nothing after it.
            self.close();
        }
        bad
    }

    /// Makes room for the record that the last [`Stream::advance`] found too large, which the next one goes to. The window
    /// stays as large.
    ///
    /// # Errors
    /// [`BadRead`] of that record when there is no memory for it in `budget`.
    pub fn grow(&mut self, bad: BadRead, budget: &MemoryBudget) -> Result<(), BadRead> {
        let (Some(bytes), Open::Records(reader, _)) = (bad.grows_to, &mut self.open) else {
            return Err(bad);
        };
        reader.grow(bytes, budget).map_err(|error| {
            let BadRow { path, record, offset, .. } = *bad.bad;
            let fault = RowFault::LargeRecord { bytes, error };
            BadRead { bad: Box::new(BadRow { path, record, offset, fault }), grows_to: None, ..bad }
        })
    }
}

/// A byte of a deflated file stands for no more than so many (zlib's technical details).
const DEFLATE_MAX_RATIO: u64 = 1032;

/// Goes on to the next record of no more than `limit_bytes`. The window may have room for more: what is too large must not
/// depend on how it has grown. A length that `file_bytes` cannot hold is that of a broken file.
fn advance_records(
    reader: &mut RecordReader<StoredFile>,
    file_bytes: Option<u64>,
    limit_bytes: u64,
) -> Result<bool, Fault> {
    let has_record = reader.advance().map_err(|error| {
        let is_cut_off = match error.fault {
            RecordFault::TooLarge { bytes, .. } => {
                file_bytes.is_some_and(|all| bytes > all.saturating_sub(error.offset))
            }
            _ => false,
        };
        let fault = match error.fault {
            _ if is_cut_off => RecordFault::Truncated,
            RecordFault::TooLarge { bytes, .. } if bytes > limit_bytes => {
                RecordFault::TooLarge { bytes, limit_bytes }
            }
            fault => fault,
        };
        (Some((error.record, error.offset)), RowFault::Record(fault))
    })?;
    let record = reader.current();
    let bytes = record.data.len() as u64;
    if has_record && bytes > limit_bytes {
        let fault = RowFault::Record(RecordFault::TooLarge { bytes, limit_bytes });
        return Err((Some((record.index, record.offset)), fault));
    }
    Ok(has_record)
}
