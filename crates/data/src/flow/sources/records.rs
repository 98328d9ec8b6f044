//! TFRecord files: each row is one record, a string scalar called `record`.

use std::path::Path;
use std::sync::Arc;

use tightfit_core::{Buffer, DType, MemoryBudget, Shape, StringRef};
use tightfit_format::tfrecord::{GrowError, RecordError, RecordReader};

use super::{BadRead, FileRows, Format};
use crate::error::{RowFault, clamped};
use crate::flow::element::{ElementView, Field, Place, Schema};
use crate::flow::origin::Origin;
use crate::source::{DataFile, FileKind};
use crate::storage::{self, StoredFile};

const PURPOSE: &str = "reading";

/// What records are read through at first; larger ones make it grow.
const WINDOW_BYTES: usize = 256 << 10;

/// Bytes around a record in its file.
const FRAME_BYTES: u64 = 16;

/// The field that a record is.
pub const RECORD: &str = "record";

/// Where the one field lies.
pub(super) const PLACES: [Place; 1] = [Place { shape: Shape::SCALAR, offset: 0 }];

/// The type of a record.
pub(super) fn schema() -> Arc<Schema> {
    Arc::new(Schema::single(Field::fixed(RECORD, DType::String, &[])))
}

/// A record of so many bytes as a string element, when it is all of the text.
pub(super) fn string_of(bytes: usize) -> [u8; 16] {
    bytemuck::cast(StringRef { offset: 0, bytes: bytes as u64 })
}

/// See the module.
pub(crate) struct RecordFormat {
    schema: Arc<Schema>,
    budget: MemoryBudget,
}

impl RecordFormat {
    pub fn new(budget: &MemoryBudget) -> RecordFormat {
        RecordFormat { schema: schema(), budget: budget.clone() }
    }
}

impl Format for RecordFormat {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn open(
        &self,
        file: &DataFile,
        from: (u64, u64),
        window: Option<Buffer>,
    ) -> Result<Box<dyn FileRows>, BadRead> {
        let bad = |fault| BadRead { place: None, fault };
        let memory = |error| bad(RowFault::Memory(error));
        let window = match window {
            Some(window) => window,
            None => Buffer::new(&self.budget, PURPOSE, WINDOW_BYTES).map_err(memory)?,
        };
        let path: Arc<Path> = Arc::from(&*file.path);
        let opened = storage::open(&path, &self.budget).map_err(|e| bad(RowFault::Io(e)))?;
        let inflate_bytes = match file.kind {
            FileKind::Records(compression) => compression.held_bytes(),
            _ => 0,
        };
        let inflating = self.budget.try_reserve(PURPOSE, inflate_bytes).map_err(memory)?;
        let unreadable = |error: RecordError| bad(RowFault::Record(error.fault));
        let mut reader = RecordReader::new(path, opened, window).map_err(unreadable)?;
        let (row, offset) = from;
        if row > 0 {
            reader.skip_to(row, offset).map_err(unreadable)?;
        }
        let (schema, budget) = (self.schema.clone(), self.budget.clone());
        let mut rows = RecordRows { schema, budget, reader, inflating, string: [0; 16] };
        rows.set_string();
        Ok(Box::new(rows))
    }
}

struct RecordRows {
    schema: Arc<Schema>,
    budget: MemoryBudget,
    reader: RecordReader<StoredFile>,
    inflating: tightfit_core::Reservation,
    /// The current record as a string element: all of the text.
    string: [u8; 16],
}

impl RecordRows {
    fn set_string(&mut self) {
        self.string = string_of(self.reader.current().data.len());
    }
}

impl FileRows for RecordRows {
    fn advance(&mut self) -> Result<bool, BadRead> {
        let more = self.reader.advance_growing(PURPOSE, &self.budget).map_err(|error| match error {
            GrowError::Record(RecordError { record, offset, fault, .. }) => {
                BadRead { place: Some((record, offset)), fault: RowFault::Record(fault) }
            }
            GrowError::Budget { record, offset, error } => {
                BadRead { place: Some((record, offset)), fault: RowFault::Memory(error) }
            }
        })?;
        self.set_string();
        Ok(more)
    }

    fn current(&self, file: u32) -> ElementView<'_> {
        let record = self.reader.current();
        let origin = Origin { file, record: record.index, offset: record.offset };
        ElementView::new(&self.schema, &PLACES, &self.string, record.data, origin)
    }

    fn next_place(&self) -> (u64, u64) {
        self.reader.next_place()
    }

    fn held_bytes(&self) -> usize {
        self.reader.max_record_bytes() + FRAME_BYTES as usize + clamped(self.inflating.bytes())
    }

    fn into_window(self: Box<Self>) -> Option<Buffer> {
        Some(self.reader.into_window())
    }
}
