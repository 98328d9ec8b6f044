//! Parquet files: row group by row group, and of each the columns that are asked for, decoded in batches of about
//! 1 MiB. See [`super::columnar`] for what columns become.
//!
//! Memory: of each column the page it is at (whole: compressed and not), its dictionary, and the values of a batch. All
//! is reserved before it is read, by what the footer and the headers of pages say; strings lie in their pages. Pages
//! are read and decompressed here, in Rust, and decoded by the `parquet` crate; should it panic over a broken file,
//! that is an error like any other. The checksums of pages are looked at where a file has some.
//!
//! Uncompressed, Snappy, gzip, LZ4 and Zstandard are read; Brotli and LZO are not, and no encrypted files.

mod decompress;
mod delta;
mod footer;
mod header;
mod pages;
mod thrift;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_schema::{DataType, Field as ArrowField, FieldRef, Fields};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups, RowSelection, RowSelector};
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels, parquet_to_arrow_schema};
use parquet::column::page::{PageIterator, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use tightfit_core::{BudgetError, Buffer, MemoryBudget, Reservation};

use self::footer::Footer;
use self::pages::{Chunk, ChunkPages, Ledger};
use super::columnar::{Bound, Column, ColumnFiles, check_same, count_columns, schema_of};
use super::{BadRead, FileRows, Format};
use crate::error::{DataError, RowFault};
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::origin::Origin;
use crate::source::DataFile;
use crate::storage::{self, Location, StoredFile};

/// What a batch is to take.
const BATCH_BYTES: u64 = 1 << 20;

/// The most rows of a batch.
const BATCH_ROWS: u64 = 8192;

/// Counting the rows of more files than this beforehand takes too long.
const COUNTED_FILES: usize = 1000;

/// An error of ours on its way through the crate.
pub(super) fn external(error: impl std::error::Error + Send + Sync + 'static) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// What an error of the crate is.
fn fault_of(error: ParquetError) -> RowFault {
    let ParquetError::External(error) = error else {
        return RowFault::Map(match error {
            ParquetError::General(why) => why,
            error => error.to_string(),
        });
    };
    match error.downcast::<BudgetError>() {
        Ok(error) => RowFault::Memory(*error),
        Err(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => RowFault::Io(*error),
            Err(error) => RowFault::Map(error.to_string()),
        },
    }
}

/// Calls the crate; a panic over a broken file becomes an error.
fn guarded<T>(call: impl FnOnce() -> ParquetResult<T>) -> ParquetResult<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        Err(ParquetError::General("the file is broken: it cannot be decoded".to_string()))
    })
}

/// The rows of files that have the columns of `first`.
pub(super) fn open_format(
    spec: Arc<ColumnFiles>,
    first: &DataFile,
    budget: &MemoryBudget,
) -> Result<Box<dyn Format>, RowFault> {
    let file = storage::open(&first.path, budget).map_err(RowFault::Io)?;
    let footer = footer::read(&file, budget)?;
    let plan = Plan::new(&footer, &spec, budget)?;
    let schema = Arc::new(schema_of(&plan.columns).map_err(RowFault::Map)?);
    let columns = budget.try_reserve("columns", schema.bytes()).map_err(RowFault::Memory)?;
    Ok(Box::new(ParquetFormat { schema, spec, budget: budget.clone(), _columns: columns }))
}

struct ParquetFormat {
    schema: Arc<Schema>,
    spec: Arc<ColumnFiles>,
    budget: MemoryBudget,
    /// Counts the schema.
    _columns: Reservation,
}

/// What is read of a file.
struct Plan {
    _held: Reservation,
    columns: Vec<Column>,
    levels: FieldLevels,
    /// The numbers of the leaf columns.
    leaves: Vec<usize>,
    /// Values that fixed-size lists have at least in each row, by leaf column.
    repeats: Vec<u64>,
}

impl Plan {
    fn new(footer: &Footer, spec: &ColumnFiles, budget: &MemoryBudget) -> Result<Plan, RowFault> {
        let descr = footer.metadata.file_metadata().schema_descr_ptr();
        let names = descr.columns().iter().map(|column| column.path().string().len() as u64).sum();
        let held = count_columns(descr.num_columns(), names, budget)?;
        let pairs = footer.metadata.file_metadata().key_value_metadata();
        let arrow = guarded(|| parquet_to_arrow_schema(&descr, pairs)).map_err(fault_of)?;
        let wanted: Fields = arrow.fields().iter().map(|field| wanted_field(field)).collect();
        let columns = spec.columns(&wanted).map_err(RowFault::Map)?;
        let mask = ProjectionMask::roots(&descr, columns.iter().map(|column| column.index));
        let leaves: Vec<usize> = (0..descr.num_columns()).filter(|leaf| mask.leaf_included(*leaf)).collect();
        let by_root: HashMap<usize, &Column> = columns.iter().map(|column| (column.index, column)).collect();
        let repeat = |leaf: &usize| {
            let column = by_root.get(&descr.get_column_root_idx(*leaf));
            let sizes = column.into_iter().flat_map(|column| column.field.dims.iter().flatten());
            sizes.fold(1u64, |all, size| all.saturating_mul(*size as u64))
        };
        let repeats = leaves.iter().map(repeat).collect();
        let levels =
            guarded(|| parquet_to_arrow_field_levels(&descr, mask, Some(&wanted))).map_err(fault_of)?;
        Ok(Plan { _held: held, columns, levels, leaves, repeats })
    }

    /// The place of column `index` of the file among those that are read.
    fn place(&self, index: usize) -> usize {
        let mut read: Vec<usize> = self.columns.iter().map(|column| column.index).collect();
        read.sort_unstable();
        read.iter().position(|read| *read == index).unwrap_or(usize::MAX)
    }
}

/// The field as it is asked of the crate: strings that stay in their pages, and decimals as integers.
fn wanted_field(field: &ArrowField) -> FieldRef {
    Arc::new(field.clone().with_data_type(wanted_type(field.data_type())))
}

fn wanted_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Decimal128(digits @ 0..=9, scale) => DataType::Decimal32(*digits, *scale),
        DataType::Decimal128(digits @ 10..=18, scale) => DataType::Decimal64(*digits, *scale),
        DataType::Dictionary(_, values) => wanted_type(values),
        DataType::List(item) => DataType::List(wanted_field(item)),
        DataType::LargeList(item) => DataType::LargeList(wanted_field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(wanted_field(item), *size),
        other => other.clone(),
    }
}

impl Format for ParquetFormat {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn open(
        &self,
        file: &DataFile,
        from: (u64, u64),
        _window: Option<Buffer>,
    ) -> Result<Box<dyn FileRows>, BadRead> {
        let rows = ParquetRows::open(self, file, from.0);
        Ok(Box::new(rows.map_err(|fault| BadRead { place: None, fault })?))
    }

    fn rows(&self, files: &[DataFile]) -> Result<Option<u64>, DataError> {
        if files.len() > COUNTED_FILES || files.iter().any(|file| Location::of(&file.path).is_url()) {
            return Ok(None);
        }
        let rows_of = |file: &DataFile| {
            let opened = storage::open(&file.path, &self.budget).map_err(RowFault::Io)?;
            footer::read(&opened, &self.budget)?.rows()
        };
        // A file that cannot be read is told when it is its turn.
        let rows: Option<Vec<u64>> = files.iter().map(|file| rows_of(file).ok()).collect();
        Ok(rows.map(|rows| rows.into_iter().fold(0u64, u64::saturating_add)))
    }
}

/// The columns of one row group, for the crate.
struct Group {
    metadata: Arc<ParquetMetaData>,
    group: usize,
    rows: usize,
    file: Arc<StoredFile>,
    /// Those that are read.
    chunks: Vec<Chunk>,
    budget: MemoryBudget,
    ledger: Arc<Ledger>,
}

/// The pages of one column.
struct OneChunk(Option<ParquetResult<Box<dyn PageReader>>>);

impl Iterator for OneChunk {
    type Item = ParquetResult<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take()
    }
}

impl PageIterator for OneChunk {}

impl RowGroups for Group {
    fn num_rows(&self) -> usize {
        self.rows
    }

    fn column_chunks(&self, leaf: usize) -> ParquetResult<Box<dyn PageIterator>> {
        let chunk = self.chunks.iter().find(|chunk| chunk.leaf == leaf);
        let chunk = chunk.ok_or_else(|| ParquetError::General(format!("column {leaf} is not read")))?;
        let pages = ChunkPages::new(self.file.clone(), chunk.clone(), &self.budget, self.ledger.clone())?;
        Ok(Box::new(OneChunk(Some(Ok(Box::new(pages))))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.metadata.row_groups().get(self.group).into_iter())
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

/// A decoded batch.
struct Batch {
    columns: Vec<Bound>,
    rows: usize,
    next: usize,
}

struct ParquetRows {
    budget: MemoryBudget,
    file: Arc<StoredFile>,
    footer: Footer,
    plan: Plan,
    /// The row group to open next, the number of its first row, and the row to begin with.
    group: usize,
    group_row: u64,
    row: u64,
    /// Decodes the row group before it, whose rows end there.
    reader: Option<ParquetRecordBatchReader>,
    values: Option<Reservation>,
    ledger: Arc<Ledger>,
    batch: Option<Batch>,
    offset: u64,
    made: Element,
}

impl ParquetRows {
    fn open(format: &ParquetFormat, file: &DataFile, from: u64) -> Result<ParquetRows, RowFault> {
        let budget = format.budget.clone();
        let file = Arc::new(storage::open(&file.path, &budget).map_err(RowFault::Io)?);
        let footer = footer::read(&file, &budget)?;
        let plan = Plan::new(&footer, &format.spec, &budget)?;
        check_same(&plan.columns, &format.schema).map_err(RowFault::Map)?;
        let (mut group, mut group_row) = (0, 0u64);
        while group < footer.metadata.num_row_groups() {
            let behind = group_row.saturating_add(footer.group_rows(group)?);
            if behind > from {
                break;
            }
            (group, group_row) = (group + 1, behind);
        }
        let leaves = footer.metadata.file_metadata().schema_descr().num_columns();
        let ledger = Arc::new(Ledger::new(leaves, &budget).map_err(RowFault::Memory)?);
        let made = Element::new(format.schema.clone(), "parquet row", &budget);
        let offset = footer.group_offset(group);
        Ok(ParquetRows {
            budget,
            file,
            footer,
            plan,
            group,
            group_row,
            row: from.max(group_row),
            reader: None,
            values: None,
            ledger,
            batch: None,
            offset,
            made,
        })
    }

    /// Gives up what is open of a row group; the next goes on after it.
    fn close_group(&mut self) {
        (self.reader, self.batch, self.values) = (None, None, None);
        self.ledger.clear();
        self.row = self.row.max(self.group_row);
        self.offset = self.footer.group_offset(self.group);
    }

    /// Opens the next row group that has rows; false when there is none. The next one follows, whatever happens.
    fn open_group(&mut self) -> Result<bool, RowFault> {
        loop {
            if self.group >= self.footer.metadata.num_row_groups() {
                return Ok(false);
            }
            let (group, first) = (self.group, self.group_row);
            let rows = self.footer.group_rows(group);
            self.offset = self.footer.group_offset(group);
            self.group += 1;
            // How far a group reaches whose rows are not known, the next one does not say either.
            let rows = rows?;
            self.group_row = first.saturating_add(rows);
            let skipped = self.row.saturating_sub(first);
            if skipped < rows {
                self.reader = Some(self.reader_of(group, rows, skipped)?);
                return Ok(true);
            }
        }
    }

    fn reader_of(
        &mut self,
        group: usize,
        rows: u64,
        skipped: u64,
    ) -> Result<ParquetRecordBatchReader, RowFault> {
        let chunks = self.plan.leaves.iter().map(|leaf| self.footer.chunk(group, *leaf));
        let chunks = chunks.collect::<Result<Vec<_>, _>>()?;
        let (batch_rows, values_bytes) = self.batch_rows(group, rows, &chunks);
        self.values =
            Some(self.budget.try_reserve("parquet values", values_bytes).map_err(RowFault::Memory)?);
        let rows = usize::try_from(rows).map_err(|_| RowFault::Map(format!("a row group of {rows} rows")))?;
        let source = Group {
            metadata: self.footer.metadata.clone(),
            group,
            rows,
            file: self.file.clone(),
            chunks,
            budget: self.budget.clone(),
            ledger: self.ledger.clone(),
        };
        let skipped = skipped as usize;
        let selection = (skipped > 0).then(|| {
            RowSelection::from(vec![RowSelector::skip(skipped), RowSelector::select(rows - skipped)])
        });
        let levels = &self.plan.levels;
        let open =
            || ParquetRecordBatchReader::try_new_with_row_groups(levels, &source, batch_rows, selection);
        guarded(open).map_err(fault_of)
    }

    /// Rows of a batch, and what their values take, lists of no fixed size aside.
    fn batch_rows(&self, group: usize, rows: u64, chunks: &[Chunk]) -> (usize, u64) {
        let group = self.footer.metadata.row_groups().get(group);
        let (mut row_bytes, mut fixed_bytes) = (1u64, 0u64);
        for (chunk, repeat) in chunks.iter().zip(&self.plan.repeats) {
            let stored =
                group.and_then(|group| group.columns().get(chunk.leaf)).map_or(0, |c| c.uncompressed_size());
            let decoded = chunk.decoded_bytes.saturating_mul(*repeat);
            row_bytes = row_bytes.saturating_add(decoded.max(stored.max(0) as u64 / rows.max(1)));
            fixed_bytes = fixed_bytes.saturating_add(decoded);
        }
        let batch_rows = (BATCH_BYTES / row_bytes).clamp(1, BATCH_ROWS).min(rows.max(1));
        // Arrays grow by doubling.
        (batch_rows as usize, batch_rows.saturating_mul(fixed_bytes).saturating_mul(2))
    }

    /// Decodes the next batch; false when the row group has no more.
    fn next_batch(&mut self) -> Result<bool, RowFault> {
        self.ledger.begin_batch();
        let Some(reader) = &mut self.reader else { return Ok(false) };
        let next = guarded(|| {
            reader.next().transpose().map_err(|error| match error {
                arrow_schema::ArrowError::ExternalError(error) => match error.downcast::<ParquetError>() {
                    Ok(error) => *error,
                    Err(error) => ParquetError::External(error),
                },
                error => ParquetError::General(error.to_string()),
            })
        });
        let Some(batch) = next.map_err(fault_of)? else {
            if self.row < self.group_row {
                let why = format!("the row group ends at row {}, not at {}", self.row, self.group_row);
                return Err(RowFault::Map(why));
            }
            return Ok(false);
        };
        let bind = |column: &Column| {
            let place = self.plan.place(column.index);
            let array =
                batch.columns().get(place).ok_or_else(|| format!("no column {:?}", column.field.name))?;
            Bound::new(array, column)
        };
        let columns =
            self.plan.columns.iter().map(bind).collect::<Result<Vec<_>, _>>().map_err(RowFault::Map)?;
        self.batch = Some(Batch { columns, rows: batch.num_rows(), next: 0 });
        Ok(true)
    }

    /// The error of a row group that cannot be read on.
    fn lost(&mut self, fault: RowFault) -> BadRead {
        let place = Some((self.row, self.offset));
        self.row = self.group_row;
        self.close_group();
        BadRead { place, fault }
    }
}

impl FileRows for ParquetRows {
    fn advance(&mut self) -> Result<bool, BadRead> {
        loop {
            if let Some(batch) = &mut self.batch
                && batch.next < batch.rows
            {
                let (at, record) = (batch.next, self.row);
                batch.next += 1;
                self.row += 1;
                self.made.begin(Origin { file: 0, record, offset: self.offset });
                for (index, column) in batch.columns.iter().enumerate() {
                    let place = Some((record, self.offset));
                    column.add(index, at, &mut self.made).map_err(|fault| BadRead { place, fault })?;
                }
                return Ok(true);
            }
            self.batch = None;
            match self.next_batch() {
                Ok(true) => continue,
                Ok(false) => self.close_group(),
                Err(fault) => return Err(self.lost(fault)),
            }
            match self.open_group() {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(fault) => return Err(self.lost(fault)),
            }
        }
    }

    fn current(&self, file: u32) -> ElementView<'_> {
        self.made.view().in_file(file)
    }

    fn next_place(&self) -> (u64, u64) {
        (self.row, self.offset)
    }

    fn held_bytes(&self) -> usize {
        let values = self.values.as_ref().map_or(0, |held| held.bytes() as usize);
        self.made.held_bytes() + values + self.ledger.held_bytes() + self.footer.held.bytes() as usize
    }
}
