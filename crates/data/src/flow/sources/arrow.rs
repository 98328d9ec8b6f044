//! Arrow IPC: the file format and the stream format, batch by batch. A file is a stream between magic numbers, so both
//! are read as one, and the footer is not needed. See [`super::columnar`] for what columns become.
//!
//! Memory: a batch is in memory whole, as it lies in the file; where it is compressed (LZ4) also what it becomes, and all
//! dictionaries. Each is reserved before it is read.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::Buffer as ArrowBuffer;
use arrow_ipc::reader::{RecordBatchDecoder, read_dictionary};
use arrow_ipc::{CompressionType, Message, MessageHeader, MetadataVersion, RecordBatch as BatchHeader};
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;
use tightfit_core::{Buffer, MemoryBudget, Reservation};

use super::columnar::{Bound, Column, ColumnFiles, check_same, count_columns, schema_of};
use super::{BadRead, FileRows, Format};
use crate::error::{RowFault, clamped};
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::origin::Origin;
use crate::source::DataFile;
use crate::storage::{self, StoredFile};

const PURPOSE: &str = "arrow batch";

/// What a file begins with, and no stream.
const MAGIC: &[u8; 8] = b"ARROW1\0\0";

/// What stands before the length of a message, since version 0.15 of the format.
const CONTINUATION: u32 = u32::MAX;

/// What arrays take for each byte of the header that describes them.
const HEADER_FACTOR: u64 = 16;

fn wrong(why: impl Into<String>) -> RowFault {
    RowFault::Map(why.into())
}

/// Calls the crate; a panic over a broken file becomes an error.
fn guarded<T>(call: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, RowFault> {
    let called = catch_unwind(AssertUnwindSafe(call));
    called
        .unwrap_or_else(|_| {
            Err(ArrowError::ParseError("the file is broken: it cannot be decoded".to_string()))
        })
        .map_err(|error| match error {
            ArrowError::ParseError(why) | ArrowError::IpcError(why) => RowFault::Map(why),
            error => RowFault::Map(error.to_string()),
        })
}

/// The rows of files that have the columns of `first`.
pub(super) fn open_format(
    spec: Arc<ColumnFiles>,
    first: &DataFile,
    budget: &MemoryBudget,
) -> Result<Box<dyn Format>, RowFault> {
    let stream = Messages::open(first, budget)?;
    let _columns = stream.count_columns()?;
    let columns = spec.columns(stream.schema.fields()).map_err(RowFault::Map)?;
    let schema = Arc::new(schema_of(&columns).map_err(RowFault::Map)?);
    let columns = budget.try_reserve("columns", schema.bytes()).map_err(RowFault::Memory)?;
    Ok(Box::new(ArrowFormat { schema, spec, budget: budget.clone(), _columns: columns }))
}

/// Where the stream of a file begins: after the zeros that align it, of which writers have up to 64 bytes.
fn first_message(file: &StoredFile) -> Result<u64, RowFault> {
    let mut head = [0; 64];
    file.read_at(&mut head, 0).map_err(RowFault::Io)?;
    let words = head.as_chunks::<8>().0;
    let zeros = words.iter().skip(1).take_while(|word| **word == [0; 8]).count();
    Ok(8 * (1 + zeros as u64))
}

struct ArrowFormat {
    schema: Arc<Schema>,
    spec: Arc<ColumnFiles>,
    budget: MemoryBudget,
    /// Counts the schema.
    _columns: Reservation,
}

impl Format for ArrowFormat {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn open(
        &self,
        file: &DataFile,
        from: (u64, u64),
        _window: Option<Buffer>,
    ) -> Result<Box<dyn FileRows>, BadRead> {
        let bad = |fault| BadRead { place: None, fault };
        let messages = Messages::open(file, &self.budget).map_err(bad)?;
        let counted = messages.count_columns().map_err(bad)?;
        let columns = self.spec.columns(messages.schema.fields()).map_err(|why| bad(wrong(why)))?;
        check_same(&columns, &self.schema).map_err(|why| bad(wrong(why)))?;
        let projection = columns.iter().map(|column| column.index).collect();
        let made = Element::new(self.schema.clone(), "arrow row", &self.budget);
        Ok(Box::new(ArrowRows {
            messages,
            _counted: counted,
            columns,
            projection,
            row: 0,
            skipped: from.0,
            batch: None,
            made,
        }))
    }
}

/// A buffer that arrays are lent from.
struct Owner(Buffer);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The messages of a stream.
struct Messages {
    file: StoredFile,
    budget: MemoryBudget,
    schema: SchemaRef,
    version: MetadataVersion,
    dictionaries: HashMap<i64, ArrayRef>,
    /// What dictionaries take beside what they were read into.
    held: Reservation,
    /// Where the next message begins.
    at: u64,
}

/// A message: its header, and where its body is.
struct Framed {
    header: Buffer,
    body_at: u64,
    body_bytes: u64,
}

impl Framed {
    fn message(&self) -> Result<Message<'_>, RowFault> {
        guarded(|| {
            arrow_ipc::root_as_message(&self.header)
                .map_err(|e| ArrowError::ParseError(format!("a broken message: {e}")))
        })
    }
}

/// A batch of rows, ready to be read.
struct Batch {
    columns: Vec<Bound>,
    rows: u64,
    next: u64,
    offset: u64,
    _held: Reservation,
}

impl Messages {
    /// Opens a file and reads its schema.
    fn open(file: &DataFile, budget: &MemoryBudget) -> Result<Messages, RowFault> {
        let file = storage::open(&file.path, budget).map_err(RowFault::Io)?;
        let mut magic = [0; 8];
        let have = file.read_at(&mut magic, 0).map_err(RowFault::Io)?;
        let at = if have == 8 && magic == *MAGIC { first_message(&file)? } else { 0 };
        let held = budget.try_reserve(PURPOSE, 0).map_err(RowFault::Memory)?;
        let mut messages = Messages {
            file,
            budget: budget.clone(),
            schema: SchemaRef::new(arrow_schema::Schema::empty()),
            version: MetadataVersion::V5,
            dictionaries: HashMap::new(),
            held,
            at,
        };
        let first = messages.next()?.ok_or_else(|| wrong("no Arrow IPC file: it has no schema"))?;
        let bytes = (first.header.len() as u64).saturating_mul(HEADER_FACTOR);
        messages.held.try_grow(bytes).map_err(RowFault::Memory)?;
        let message = first.message()?;
        let schema =
            message.header_as_schema().ok_or_else(|| wrong("no Arrow IPC file: it begins with no schema"))?;
        if schema.endianness() == arrow_ipc::Endianness::Big {
            return Err(wrong("the file is big-endian"));
        }
        let version = message.version();
        messages.schema = guarded(|| arrow_ipc::convert::try_fb_to_schema(schema)).map(SchemaRef::new)?;
        messages.version = version;
        Ok(messages)
    }

    /// Counts what is made of the schema's columns.
    fn count_columns(&self) -> Result<Reservation, RowFault> {
        let fields = self.schema.fields();
        let name_bytes = fields.iter().map(|field| field.name().len() as u64).sum();
        count_columns(fields.len(), name_bytes, &self.budget)
    }

    /// The next message; `None` at the end.
    fn next(&mut self) -> Result<Option<Framed>, RowFault> {
        let from = self.at;
        let mut head = [0; 8];
        let have = self.file.read_at(&mut head, from).map_err(RowFault::Io)?;
        let [a, b, c, d, e, f, g, h] = head;
        let first = u32::from_le_bytes([a, b, c, d]);
        let (length, header_at) = match first {
            CONTINUATION if have == 8 => (u32::from_le_bytes([e, f, g, h]), from.saturating_add(8)),
            length if have >= 4 && length != CONTINUATION => (length, from.saturating_add(4)),
            // A stream may just end.
            _ if have == 0 => return Ok(None),
            _ => return Err(wrong("the file ends in a message")),
        };
        if length == 0 {
            return Ok(None);
        }
        let behind = self.file.len().saturating_sub(header_at);
        if u64::from(length) > behind {
            return Err(wrong(format!("a message of {length} bytes, but {behind} are left")));
        }
        let mut header = Buffer::new(&self.budget, PURPOSE, length as usize).map_err(RowFault::Memory)?;
        if self.file.read_at(&mut header, header_at).map_err(RowFault::Io)? < header.len() {
            return Err(wrong("the file ends in a message"));
        }
        let body_at = header_at.saturating_add(u64::from(length));
        let mut framed = Framed { header, body_at, body_bytes: 0 };
        let body_bytes =
            u64::try_from(framed.message()?.bodyLength()).map_err(|_| wrong("a body of no length"))?;
        let end = body_at.checked_add(body_bytes).filter(|end| *end <= self.file.len());
        self.at =
            end.ok_or_else(|| wrong(format!("a body of {body_bytes} bytes that the file does not have")))?;
        framed.body_bytes = body_bytes;
        Ok(Some(framed))
    }

    fn body(&self, framed: &Framed) -> Result<ArrowBuffer, RowFault> {
        let bytes = clamped(framed.body_bytes);
        let mut body = Buffer::new(&self.budget, PURPOSE, bytes).map_err(RowFault::Memory)?;
        if self.file.read_at(&mut body, framed.body_at).map_err(RowFault::Io)? < bytes {
            return Err(wrong("the file ends in a batch"));
        }
        Ok(ArrowBuffer::from(Bytes::from_owner(Owner(body))))
    }

    /// What arrays take beside the body they lie in.
    fn beside(framed: &Framed, batch: BatchHeader<'_>, body: &[u8]) -> Result<u64, RowFault> {
        let mut bytes = (framed.header.len() as u64).saturating_mul(HEADER_FACTOR);
        let Some(compression) = batch.compression() else { return Ok(bytes) };
        if compression.codec() != CompressionType::LZ4_FRAME {
            return Err(wrong(
                "the batch is compressed with Zstandard; of Arrow files, LZ4 and none are read",
            ));
        }
        let mut block_bytes = 0u64;
        for buffer in batch.buffers().into_iter().flatten().filter(|buffer| buffer.length() > 0) {
            let from = usize::try_from(buffer.offset()).ok();
            let Some((size, frame)) =
                from.and_then(|from| body.get(from..)).and_then(|rest| rest.split_first_chunk::<8>())
            else {
                return Err(wrong("a buffer that lies outside its batch"));
            };
            // -1 says that it is not compressed.
            let size = i64::from_le_bytes(*size);
            let own_bytes = if size == -1 { buffer.length() } else { size };
            let own_bytes = u64::try_from(own_bytes).map_err(|_| wrong("a buffer of no size"))?;
            bytes = bytes.saturating_add(own_bytes);
            // Byte 5 of a frame says how large its blocks are: 64 KiB, or 4, 16 or 64 times that.
            let code = frame.get(5).map_or(4, |byte| byte >> 4 & 7);
            block_bytes = block_bytes.max((64 << 10) << (2 * (code.clamp(4, 7) - 4)));
        }
        // A block as it is, what it becomes, and what stands before it.
        Ok(bytes.saturating_add(block_bytes.saturating_mul(3)))
    }

    fn add_dictionary(&mut self, framed: &Framed) -> Result<(), RowFault> {
        let body = self.body(framed)?;
        let message = framed.message()?;
        let dictionary = message.header_as_dictionary_batch().ok_or_else(|| wrong("a broken dictionary"))?;
        let data = dictionary.data().ok_or_else(|| wrong("a broken dictionary"))?;
        let mut bytes = Self::beside(framed, data, &body)?;
        if dictionary.isDelta() {
            // It is copied after what is there.
            let known =
                self.dictionaries.get(&dictionary.id()).map_or(0, |array| array.get_array_memory_size());
            bytes = bytes.saturating_add(known as u64).saturating_add(framed.body_bytes);
        }
        self.held.try_grow(bytes).map_err(RowFault::Memory)?;
        let (schema, version) = (self.schema.clone(), self.version);
        guarded(|| read_dictionary(&body, dictionary, &schema, &mut self.dictionaries, &version))
    }

    fn batch(&self, framed: &Framed, columns: &[Column], projection: &[usize]) -> Result<Batch, RowFault> {
        let body = self.body(framed)?;
        let message = framed.message()?;
        let header = message.header_as_record_batch().ok_or_else(|| wrong("a broken batch"))?;
        let held = self
            .budget
            .try_reserve(PURPOSE, Self::beside(framed, header, &body)?)
            .map_err(RowFault::Memory)?;
        let batch = guarded(|| {
            RecordBatchDecoder::try_new(
                &body,
                header,
                self.schema.clone(),
                &self.dictionaries,
                &self.version,
            )?
            .with_projection(Some(projection))
            .read_record_batch()
        })?;
        let bound = |(column, array): (&Column, &ArrayRef)| Bound::new(array, column);
        let bound =
            columns.iter().zip(batch.columns()).map(bound).collect::<Result<_, _>>().map_err(wrong)?;
        Ok(Batch {
            columns: bound,
            rows: batch.num_rows() as u64,
            next: 0,
            offset: framed.body_at,
            _held: held,
        })
    }
}

struct ArrowRows {
    messages: Messages,
    _counted: Reservation,
    columns: Vec<Column>,
    projection: Vec<usize>,
    /// The number of the next row.
    row: u64,
    /// Rows still to be passed over.
    skipped: u64,
    batch: Option<Batch>,
    made: Element,
}

impl ArrowRows {
    /// Goes to the next batch that has rows; false at the end.
    fn next_batch(&mut self) -> Result<bool, RowFault> {
        self.batch = None;
        while let Some(framed) = self.messages.next()? {
            let message = framed.message()?;
            match message.header_type() {
                MessageHeader::DictionaryBatch => self.messages.add_dictionary(&framed)?,
                MessageHeader::RecordBatch => {
                    let rows = message.header_as_record_batch().map_or(0, |batch| batch.length());
                    let rows = u64::try_from(rows).map_err(|_| wrong("a batch of negative rows"))?;
                    if rows <= self.skipped {
                        self.skipped -= rows;
                        self.row = self.row.saturating_add(rows);
                        continue;
                    }
                    let (at, skipped) = (self.row, std::mem::take(&mut self.skipped));
                    // Whatever comes of it, the next message is after it.
                    self.row = self.row.saturating_add(rows);
                    let mut batch = self.messages.batch(&framed, &self.columns, &self.projection)?;
                    batch.next = skipped;
                    self.row = at.saturating_add(batch.next);
                    self.batch = Some(batch);
                    return Ok(true);
                }
                _ => return Err(wrong("a message that is not a batch")),
            }
        }
        Ok(false)
    }
}

impl FileRows for ArrowRows {
    fn advance(&mut self) -> Result<bool, BadRead> {
        loop {
            if let Some(batch) = &mut self.batch
                && batch.next < batch.rows
            {
                let (at, record) = (batch.next as usize, self.row);
                batch.next += 1;
                self.row += 1;
                let (place, offset) = (Some((record, batch.offset)), batch.offset);
                self.made.begin(Origin { file: 0, record, offset });
                for (index, column) in batch.columns.iter().enumerate() {
                    column.add(index, at, &mut self.made).map_err(|fault| BadRead { place, fault })?;
                }
                return Ok(true);
            }
            let (row, at) = (self.row, self.messages.at);
            match self.next_batch() {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(fault) => {
                    if self.messages.at == at {
                        // Where the next message begins is not known.
                        self.messages.at = self.messages.file.len();
                    }
                    return Err(BadRead { place: Some((row, at)), fault });
                }
            }
        }
    }

    fn current(&self, file: u32) -> ElementView<'_> {
        self.made.view().in_file(file)
    }

    fn next_place(&self) -> (u64, u64) {
        (self.row + self.skipped, self.messages.at)
    }

    fn held_bytes(&self) -> usize {
        let batch = self.batch.as_ref().map_or(0, |batch| batch._held.bytes() as usize);
        self.made.held_bytes() + batch + self.messages.held.bytes() as usize
    }
}
