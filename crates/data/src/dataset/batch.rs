//! A batch, lent out of its slot until it is dropped.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tightfit_core::{Shape, TensorView};
use tightfit_format::location::Shown;

use crate::dataset::batches::Shared;
use crate::dataset::slot::Slot;
use crate::source::FileKind;
use crate::source::stream::Position;

/// Rows of every column. Dropping it gives its memory back to the pipeline, which waits for that when all batches are
/// out.
pub struct Batch {
    slot: Option<Slot>,
    shared: Arc<Shared>,
}

/// Where a row came from; it displays as the file's path, and the record's number where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowSource<'a> {
    /// The file.
    pub path: &'a Path,
    /// The record's or row's number in it, from 0; `None` for an image file.
    pub record: Option<u64>,
}

impl fmt::Display for RowSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Shown(self.path))?;
        match self.record {
            Some(record) => write!(f, ", record {record}"),
            None => Ok(()),
        }
    }
}

impl Batch {
    pub(crate) fn new(slot: Slot, shared: Arc<Shared>) -> Batch {
        Batch { slot: Some(slot), shared }
    }

    fn slot(&self) -> &Slot {
        match &self.slot {
            Some(slot) => slot,
            None => unreachable!("only dropping a batch takes its memory"),
        }
    }

    /// Rows it has: the batch size asked for, or fewer in the last one.
    pub fn rows(&self) -> usize {
        self.slot().rows
    }

    /// Column `index` of the data set's columns, `[rows, ...row_shape]`; `None` when there are fewer columns.
    pub fn column(&self, index: usize) -> Option<TensorView<'_>> {
        self.view(index, self.rows())
    }

    /// As [`Batch::column`] with as many rows as the batch size, zeros after the last.
    pub fn full_column(&self, index: usize) -> Option<TensorView<'_>> {
        self.view(index, self.shared.layout.batch)
    }

    fn view(&self, index: usize, rows: usize) -> Option<TensorView<'_>> {
        let column = self.shared.layout.columns.get(index)?;
        let mut dims = [rows; tightfit_core::MAX_RANK];
        let rank = column.row_shape.rank() + 1;
        dims.get_mut(1..rank)?.copy_from_slice(&column.row_shape);
        let shape = Shape::new(dims.get(..rank)?).ok()?;
        let memory = self.slot().column(&self.shared.layout, index)?;
        TensorView::new(column.dtype, shape, memory.get(..rows * column.row_bytes)?)
    }

    /// The bytes that the elements of string columns refer to.
    pub fn text(&self) -> &[u8] {
        self.slot().text(&self.shared.layout)
    }

    /// The label of each row, when the data set has labels.
    pub fn labels(&self) -> Option<&[i64]> {
        self.shared.layout.label.as_ref()?;
        self.slot().labels.get(..self.rows())
    }

    /// The place after its last row, to start at later. Bad rows that were left out before it are after this too.
    pub fn end(&self) -> Position {
        self.slot().end
    }

    /// Bad rows that were left out between the start and [`Batch::end`].
    pub fn skipped_rows(&self) -> u64 {
        self.slot().skipped_rows
    }

    /// Where row `row` came from; `None` when there are fewer rows.
    pub fn source(&self, row: usize) -> Option<RowSource<'_>> {
        let position = self.slot().positions.get(..self.rows())?.get(row)?;
        let file = self.shared.list.files.get(position.file as usize)?;
        let record = (file.kind != FileKind::Image).then_some(position.record);
        Some(RowSource { path: &file.path, record })
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.shared.give_back(slot);
        }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} rows)", self.rows())
    }
}
