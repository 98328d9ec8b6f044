//! The memory of one batch: columns one after the other, then text; and the rows it is dealt out in.

use tightfit_core::{BudgetError, Buffer, DType, MemoryBudget, Shape, StringRef};

use crate::dataset::spec::{DatasetSpec, ImageShape, MAX_COLUMNS};
use crate::error::{Defect, Needed};
use crate::preprocess::Preprocess;
use crate::source::stream::{Position, RowPlace};

/// Columns begin at multiples of this, so that any vector register can be filled from them.
const COLUMN_ALIGNMENT: usize = 64;

/// One column of a batch.
#[derive(Debug, Clone)]
pub(crate) struct ColumnLayout {
    /// The feature it is read from, when rows are records.
    pub feature: String,
    pub dtype: DType,
    pub row_shape: Shape,
    pub row_bytes: usize,
    pub offset: usize,
    pub image: Option<ImageShape>,
    pub preprocess: Preprocess,
}

/// How a batch lies in its slot.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub batch: usize,
    pub columns: Vec<ColumnLayout>,
    pub label: Option<String>,
    pool_offset: usize,
    pool_bytes: usize,
}

impl Layout {
    /// The layout of batches of `batch` rows of the columns of `spec`, which read `features`, with `pool_bytes` of text;
    /// `None` when one would not fit the address space.
    pub fn new(spec: &DatasetSpec, features: &[String], batch: usize, pool_bytes: usize) -> Option<Layout> {
        let mut offset = 0usize;
        let mut columns = Vec::with_capacity(spec.columns.len());
        for (column, feature) in spec.columns.iter().zip(features) {
            let row_bytes = column.row_bytes();
            let preprocess = if is_preprocessed(spec, column.image_shape().is_some(), column.dtype) {
                spec.preprocess
            } else {
                Preprocess::None
            };
            columns.push(ColumnLayout {
                feature: feature.clone(),
                dtype: column.dtype,
                row_shape: column.row_shape,
                row_bytes,
                offset,
                image: column.image_shape(),
                preprocess,
            });
            let end = offset.checked_add(row_bytes.checked_mul(batch)?)?;
            offset = end.checked_next_multiple_of(COLUMN_ALIGNMENT)?;
        }
        offset.checked_add(pool_bytes).filter(|bytes| *bytes <= isize::MAX as usize)?;
        Some(Layout { batch, columns, label: spec.label.clone(), pool_offset: offset, pool_bytes })
    }

    /// Bytes of the slot's buffer.
    pub fn slot_bytes(&self) -> usize {
        self.pool_offset + self.pool_bytes
    }

    /// Bytes a slot holds beside its buffer: position, label and mark of each row.
    pub fn metadata_bytes(&self) -> u64 {
        (self.batch * (size_of::<RowPlace>() + size_of::<i64>() + size_of::<bool>())) as u64
    }

    pub fn image_shapes(&self) -> impl Iterator<Item = ImageShape> {
        self.columns.iter().filter_map(|c| c.image)
    }

    pub fn has_strings(&self) -> bool {
        self.columns.iter().any(|c| c.dtype == DType::String)
    }
}

/// Whether the data set's preprocessing is for a column.
pub(crate) fn is_preprocessed(spec: &DatasetSpec, is_image: bool, dtype: DType) -> bool {
    dtype.is_float() && (is_image || spec.columns.len() == 1 && !spec.preprocess.needs_rgb())
}

/// A slot of another layout.
const SMALL: &str = "the memory of a batch is smaller than the batch";

/// The memory of one batch.
#[derive(Debug)]
pub(crate) struct Slot {
    pub buffer: Buffer,
    pub positions: Vec<RowPlace>,
    pub labels: Vec<i64>,
    is_good: Vec<bool>,
    /// Rows that are filled.
    pub rows: usize,
    /// Bytes of the text pool that are filled.
    pub text_bytes: usize,
    /// The place after the last row.
    pub end: Position,
    /// Bad rows before that place.
    pub skipped_rows: u64,
}

impl Slot {
    pub fn new(layout: &Layout, budget: &MemoryBudget) -> Result<Slot, BudgetError> {
        Ok(Slot {
            buffer: Buffer::new(budget, "pipeline", layout.slot_bytes())?,
            positions: vec![RowPlace::default(); layout.batch],
            labels: vec![0; layout.batch],
            is_good: vec![false; layout.batch],
            rows: 0,
            text_bytes: 0,
            end: Position::default(),
            skipped_rows: 0,
        })
    }

    /// The memory of a column, all rows of the batch.
    pub fn column(&self, layout: &Layout, column: usize) -> Option<&[u8]> {
        let column = layout.columns.get(column)?;
        self.buffer.get(column.offset..)?.get(..column.row_bytes * layout.batch)
    }

    /// The text that string columns refer to.
    pub fn text(&self, layout: &Layout) -> &[u8] {
        // A pool gives no more than it has.
        &self.buffer[layout.pool_offset..][..self.text_bytes]
    }

    /// The rows that are not filled yet, to be dealt out in order, and the free part of the text pool.
    ///
    /// # Errors
    /// [`Defect`] when the slot is smaller than `layout`.
    pub fn deal(&mut self, layout: &Layout) -> Result<(FreeRows<'_>, TextPool<'_>), Defect> {
        let from = self.rows;
        let mut columns: [Column<'_>; MAX_COLUMNS] = std::array::from_fn(|_| Column::default());
        let (mut rest, pool) = self.buffer.split_at_mut_checked(layout.pool_offset).needed(SMALL)?;
        let mut at = 0;
        for (to, column) in columns.iter_mut().zip(&layout.columns) {
            let (_, tail) = rest.split_at_mut_checked(column.offset - at).needed(SMALL)?;
            let (own, tail) = tail.split_at_mut_checked(column.row_bytes * layout.batch).needed(SMALL)?;
            let free = own.get_mut(column.row_bytes * from..).needed(SMALL)?;
            *to = Column { free, row_bytes: column.row_bytes };
            at = column.offset + column.row_bytes * layout.batch;
            rest = tail;
        }
        let rows = FreeRows {
            columns,
            positions: self.positions.get_mut(from..).needed(SMALL)?,
            labels: self.labels.get_mut(from..).needed(SMALL)?,
            is_good: self.is_good.get_mut(from..).needed(SMALL)?,
        };
        Ok((rows, TextPool { text: pool, used_bytes: &mut self.text_bytes }))
    }

    /// Moves the good rows of the `dealt` rows dealt last together after those that were filled before.
    pub fn close_up(&mut self, layout: &Layout, dealt: usize) -> Result<(), Defect> {
        let from = self.rows;
        for row in from..from + dealt {
            if !*self.is_good.get(row).needed(SMALL)? {
                continue;
            }
            if row != self.rows {
                for column in &layout.columns {
                    let start = column.offset + row * column.row_bytes;
                    let to = column.offset + self.rows * column.row_bytes;
                    self.buffer.copy_within(start..start + column.row_bytes, to);
                }
                self.positions.copy_within(row..row + 1, self.rows);
                self.labels.copy_within(row..row + 1, self.rows);
            }
            self.rows += 1;
        }
        Ok(())
    }

    /// Zeroes the rows of a last, partial batch that are not filled.
    pub fn clear_rest(&mut self, layout: &Layout) -> Result<(), Defect> {
        for column in &layout.columns {
            let start = column.offset + self.rows * column.row_bytes;
            let end = column.offset + layout.batch * column.row_bytes;
            self.buffer.get_mut(start..end).needed(SMALL)?.fill(0);
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Column<'a> {
    free: &'a mut [u8],
    row_bytes: usize,
}

/// The free rows of a slot, dealt out one by one; each has its own part of every column.
#[derive(Debug)]
pub(crate) struct FreeRows<'a> {
    columns: [Column<'a>; MAX_COLUMNS],
    positions: &'a mut [RowPlace],
    labels: &'a mut [i64],
    is_good: &'a mut [bool],
}

/// One row to be filled.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub columns: [&'a mut [u8]; MAX_COLUMNS],
    pub position: &'a mut RowPlace,
    pub label: &'a mut i64,
    pub is_good: &'a mut bool,
}

impl<'a> FreeRows<'a> {
    pub fn deal(&mut self) -> Option<Row<'a>> {
        let position = self.positions.split_off_first_mut()?;
        let label = self.labels.split_off_first_mut()?;
        let is_good = self.is_good.split_off_first_mut()?;
        *is_good = false;
        let mut columns: [&mut [u8]; MAX_COLUMNS] = std::array::from_fn(|_| -> &mut [u8] { &mut [] });
        for (to, column) in columns.iter_mut().zip(&mut self.columns) {
            *to = column.free.split_off_mut(..column.row_bytes)?;
        }
        Some(Row { columns, position, label, is_good })
    }
}

/// Where the text of string columns goes.
#[derive(Debug)]
pub(crate) struct TextPool<'a> {
    text: &'a mut [u8],
    used_bytes: &'a mut usize,
}

impl<'a> TextPool<'a> {
    /// A pool without room, for rows without text.
    pub fn empty(used_bytes: &'a mut usize) -> TextPool<'a> {
        TextPool { text: &mut [], used_bytes }
    }

    /// Bytes used so far, to go back to when a row turns out bad.
    pub fn used_bytes(&self) -> usize {
        *self.used_bytes
    }

    pub fn go_back(&mut self, used_bytes: usize) {
        *self.used_bytes = used_bytes;
    }

    pub fn left_bytes(&self) -> usize {
        self.text.len() - *self.used_bytes
    }

    /// Room for `bytes` of text, or `None` when there is none.
    pub fn take(&mut self, bytes: usize) -> Option<(StringRef, &mut [u8])> {
        let offset = *self.used_bytes;
        let room = self.text.get_mut(offset..offset.checked_add(bytes)?)?;
        *self.used_bytes += bytes;
        Some((StringRef { offset: offset as u64, bytes: bytes as u64 }, room))
    }
}
