//! Elements of several shapes gathered for a batch: held as bytes until there are enough, then laid out in one element,
//! padded to one shape or ragged.

use std::sync::Arc;

use tightfit_core::{BudgetError, DType, MAX_RANK, MemoryBudget, Shape};

use super::batch::batched;
use crate::error::{DataError, Defect, Needed, RowFault};
use crate::flow::codec::{Broken, Cursor, encode, strings};
use crate::flow::element::{Element, ElementView, Field, Place, Schema, with_first};
use crate::flow::growing::Growing;
use crate::flow::origin::Origin;
use crate::flow::state::{StateReader, StateWriter};

/// How the rows of one field become a field of the batch.
#[derive(Debug, Clone)]
pub(crate) enum Layout {
    /// All have one shape, which gets one dimension more.
    Equal,
    /// They are padded to `dims`, or where that is open to the longest, with `value`: an element as it lies in memory, or
    /// text.
    Padded { dims: Vec<Option<usize>>, value: Vec<u8> },
    /// They lie one after the other; a second field says where each ends, as `row_splits` of `tf.RaggedTensor` does.
    Ragged,
}

/// The type of batches of `rows` elements of `input`.
pub(crate) fn batch_schema(
    input: &Schema,
    layouts: &[Layout],
    rows: Option<usize>,
) -> Result<Schema, DataError> {
    let mut fields = Vec::with_capacity(layouts.len());
    for (field, layout) in input.fields().iter().zip(layouts) {
        match layout {
            Layout::Equal => fields.push(field.batched(rows)),
            Layout::Padded { dims, .. } => {
                let dims: Vec<_> = dims.iter().zip(&field.dims).map(|(pad, own)| pad.or(*own)).collect();
                fields.push(Field::new(&field.name, field.dtype, &dims).batched(rows));
            }
            Layout::Ragged => {
                let Some((_, inner)) = field.dims.split_first() else {
                    return Err(DataError::Spec(format!("{field} has no dimension that could be ragged")));
                };
                fields.push(Field::new(&field.name, field.dtype, inner).batched(None));
                let splits = rows.map(|rows| rows.saturating_add(1));
                fields.push(Field::new(format!("{}/row_splits", field.name), DType::I64, &[splits]));
            }
        }
    }
    Schema::new(fields).map_err(DataError::Spec)
}

/// Elements as bytes, first in, first out.
pub(crate) struct RowQueue {
    bytes: Growing,
    /// Where each ends in `bytes`, 8 bytes a number.
    ends: Growing,
    /// How many of these were taken out.
    first: usize,
}

impl RowQueue {
    pub fn new(purpose: &'static str, budget: &MemoryBudget) -> RowQueue {
        let growing = || Growing::new(purpose, budget);
        RowQueue { bytes: growing(), ends: growing(), first: 0 }
    }

    pub fn len(&self) -> usize {
        self.ends.used() / 8 - self.first
    }

    pub fn held_bytes(&self) -> usize {
        self.bytes.held_bytes() + self.ends.held_bytes()
    }

    /// Where row `number` ends, of those that were taken out too.
    fn end(&self, number: usize) -> Result<usize, Defect> {
        let ends = self.ends.bytes().as_chunks().0;
        Ok(u64::from_le_bytes(*ends.get(number).needed(NO_ROW)?) as usize)
    }

    fn start(&self, number: usize) -> Result<usize, Defect> {
        number.checked_sub(1).map_or(Ok(0), |before| self.end(before))
    }

    pub fn get(&self, index: usize) -> Result<&[u8], Defect> {
        let number = self.first + index;
        self.bytes.bytes().get(self.start(number)?..self.end(number)?).needed(NO_ROW)
    }

    pub fn iter(&self) -> impl Iterator<Item = Result<&[u8], Defect>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Where the first row comes from; of no rows, nowhere.
    pub fn origin(&self) -> Result<Origin, RowFault> {
        if self.len() == 0 {
            return Ok(Origin::default());
        }
        Ok(Cursor::new(self.get(0)?).map_err(broken)?.origin())
    }

    pub fn push(&mut self, row: &ElementView<'_>) -> Result<(), RowFault> {
        let before = self.bytes.used();
        encode(row, &mut self.bytes)?;
        Ok(self.add_end(before)?)
    }

    fn push_bytes(&mut self, row: &[u8]) -> Result<(), BudgetError> {
        let before = self.bytes.used();
        self.bytes.extend(row)?;
        self.add_end(before)
    }

    fn add_end(&mut self, before: usize) -> Result<(), BudgetError> {
        let end = self.bytes.used() as u64;
        let added = self.ends.extend(&end.to_le_bytes());
        if added.is_err() {
            self.bytes.set_used(before);
        }
        added
    }

    /// Takes out the first `count`.
    pub fn pop(&mut self, count: usize) -> Result<(), Defect> {
        self.first += count.min(self.len());
        // As much is moved as was taken out before, so a row is moved once on average.
        if self.first > self.len() { self.move_to_front() } else { Ok(()) }
    }

    fn move_to_front(&mut self) -> Result<(), Defect> {
        let (from, end) = (self.start(self.first)?, self.bytes.used());
        self.bytes.range_mut(0, end)?.copy_within(from.., 0);
        self.bytes.set_used(end - from);
        let ends = self.ends.used();
        let numbers = self.ends.range_mut(0, ends)?;
        numbers.copy_within(8 * self.first.., 0);
        for number in numbers.as_chunks_mut().0 {
            *number = u64::from_le_bytes(*number).wrapping_sub(from as u64).to_le_bytes();
        }
        self.ends.set_used(ends - 8 * self.first);
        self.first = 0;
        Ok(())
    }

    pub fn clear(&mut self) {
        self.bytes.set_used(0);
        self.ends.set_used(0);
        self.first = 0;
    }

    pub fn save(&self, state: &mut StateWriter) -> Result<(), DataError> {
        state.numbers(&[self.len() as u64])?;
        self.iter().try_for_each(|row| state.bytes(row?))
    }

    pub fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        self.clear();
        let [rows] = state.numbers()?;
        (0..rows).try_for_each(|_| Ok(self.push_bytes(state.bytes()?)?))
    }
}

/// The shapes of the rows of a batch, and what it will be.
pub(crate) struct Columns {
    schema: Arc<Schema>,
    layouts: Vec<Layout>,
    columns: Vec<Column>,
    /// What `columns` will be with the row that is being looked at.
    next: Vec<Column>,
    rows: usize,
}

#[derive(Debug, Clone, Copy)]
struct Column {
    /// The shape of one row, padded; of ragged ones, the first dimension is of no account.
    shape: Shape,
    /// Of ragged rows, the first dimensions of all.
    total: usize,
}

impl Columns {
    /// Of rows of `schema`.
    pub fn new(schema: Arc<Schema>, layouts: Vec<Layout>) -> Columns {
        Columns { schema, layouts, columns: Vec::new(), next: Vec::new(), rows: 0 }
    }

    pub fn clear(&mut self) {
        self.columns.clear();
        self.rows = 0;
    }

    /// Looks whether field number `next.len()` may have `shape` beside the rows before.
    fn look(&mut self, shape: &Shape) -> Result<(), RowFault> {
        let index = self.next.len();
        let before = self.columns.get(index).filter(|_| self.rows > 0);
        let (Some(layout), Some(field)) = (self.layouts.get(index), self.schema.fields().get(index)) else {
            return Ok(());
        };
        let column = match layout {
            Layout::Equal => equal(before, shape, 0, field),
            Layout::Ragged => equal(before, shape, 1, field),
            Layout::Padded { dims, .. } => padded(before, shape, dims, field),
        };
        self.next.push(column.map_err(RowFault::Map)?);
        Ok(())
    }

    fn commit(&mut self) {
        std::mem::swap(&mut self.columns, &mut self.next);
        self.rows += 1;
    }

    /// Takes the shapes of `row` into account, unless `keep` fails.
    pub fn add(
        &mut self,
        row: &ElementView<'_>,
        keep: impl FnOnce() -> Result<(), RowFault>,
    ) -> Result<(), RowFault> {
        let same = |(place, (column, layout)): (&Place, (&Column, &Layout))| {
            !matches!(layout, Layout::Ragged) && place.shape == column.shape
        };
        if self.rows > 0 && row.places().iter().zip(self.columns.iter().zip(&self.layouts)).all(same) {
            keep()?;
            self.rows += 1;
            return Ok(());
        }
        self.next.clear();
        row.places().iter().try_for_each(|place| self.look(&place.shape))?;
        keep()?;
        self.commit();
        Ok(())
    }

    /// Takes the shapes of an element into account that was encoded as `row`.
    pub fn add_encoded(&mut self, row: &[u8]) -> Result<(), RowFault> {
        self.next.clear();
        let schema = self.schema.clone();
        let mut cursor = Cursor::new(row).map_err(broken)?;
        for index in 0..schema.fields().len() {
            let (shape, _) = cursor.field(&schema, index).map_err(broken)?;
            self.look(&shape)?;
        }
        self.commit();
        Ok(())
    }

    /// Makes `made` a batch of `rows`, whose shapes were added.
    pub fn lay_out<'a>(
        &self,
        rows: impl Iterator<Item = Result<&'a [u8], Defect>>,
        made: &mut Element,
    ) -> Result<(), RowFault> {
        let mut slots = Vec::with_capacity(self.columns.len());
        let mut target = 0;
        for ((column, layout), field) in self.columns.iter().zip(&self.layouts).zip(self.schema.fields()) {
            let shape = match layout {
                Layout::Ragged => with_first(&column.shape, column.total)
                    .map_err(|error| RowFault::Map(error.to_string()))?,
                _ => batched(self.rows, &column.shape)?,
            };
            made.add(shape)?;
            let offset = made.view().places().last().needed("a field was not added")?.offset;
            if let Layout::Ragged = layout {
                let splits =
                    Shape::new(&[self.rows + 1]).map_err(|error| RowFault::Map(error.to_string()))?;
                made.add(splits)?.fill(0);
            }
            let mut pad = [0; 16];
            match layout {
                Layout::Padded { value, .. } if field.dtype == DType::String => {
                    pad = bytemuck::cast(made.add_text(value)?);
                }
                Layout::Padded { value, .. } => pad.iter_mut().zip(value).for_each(|(to, from)| *to = *from),
                _ => {}
            }
            slots.push(Slots { column, layout, dtype: field.dtype, target, offset, at: 0, pad });
            target += if let Layout::Ragged = layout { 2 } else { 1 };
        }
        for (number, row) in rows.enumerate() {
            let mut cursor = Cursor::new(row?).map_err(broken)?;
            for (index, slot) in slots.iter_mut().enumerate() {
                let (shape, values) = cursor.field(&self.schema, index).map_err(broken)?;
                slot.put(made, number, &shape, values)?;
            }
        }
        Ok(())
    }
}

fn broken(_: Broken) -> RowFault {
    RowFault::Map("it is none of this type".to_string())
}

/// Beside rows as `before`, a row of `shape`, where the dimensions from `axis` on have to be the same.
fn equal(before: Option<&Column>, shape: &Shape, axis: usize, field: &Field) -> Result<Column, String> {
    let Some(inner) = shape.get(axis..) else {
        return Err(format!("{} is a scalar here, which cannot be ragged", field.name));
    };
    // Of a scalar, which is never ragged, there is nothing to sum up.
    let total = shape.first().map_or(0, |rows| *rows);
    match before {
        None => Ok(Column { shape: *shape, total }),
        Some(before) if before.shape.get(axis..) == Some(inner) => {
            Ok(Column { total: before.total.saturating_add(total), ..*before })
        }
        Some(before) => {
            let (name, all) = (&field.name, if axis == 0 { "" } else { " but for the first dimension" });
            Err(format!(
                "{name} is {shape} here and {} in the rows before it, which differs{all}",
                before.shape
            ))
        }
    }
}

/// Beside rows as `before`, a row of `shape` that is padded to `dims`.
fn padded(
    before: Option<&Column>,
    shape: &Shape,
    dims: &[Option<usize>],
    field: &Field,
) -> Result<Column, String> {
    let name = &field.name;
    if shape.rank() != dims.len() {
        return Err(format!("{name} is {shape} here, which is not of {} dimensions", dims.len()));
    }
    let mut sizes = [0; MAX_RANK];
    let sizes = &mut sizes[..shape.rank()];
    for (axis, (to, (size, dim))) in sizes.iter_mut().zip(shape.iter().zip(dims)).enumerate() {
        // The first row has none before it that could be longer.
        let longest =
            before.and_then(|before| before.shape.get(axis)).map_or(*size, |longest| *longest.max(size));
        *to = dim.map_or(longest, |dim| dim);
        if *size > *to {
            return Err(format!(
                "{name} is {shape} here, and is to be padded to {to} along dimension {axis}"
            ));
        }
    }
    Ok(Column { shape: Shape::new(sizes).map_err(|error| error.to_string())?, total: 0 })
}

/// A queue that is shorter than it says.
const NO_ROW: &str = "a row that was put by is not there";

/// A batch that is smaller than its rows.
const NO_ROOM: &str = "a batch has no room for a row";

/// Where the rows of one field go.
struct Slots<'a> {
    column: &'a Column,
    layout: &'a Layout,
    dtype: DType,
    /// The number of the field of the batch.
    target: usize,
    /// Where that begins.
    offset: usize,
    /// Of ragged rows, the first dimensions of those before.
    at: usize,
    /// What is put where a row is too short, as it lies in memory.
    pad: [u8; 16],
}

impl Slots<'_> {
    /// Puts row `number`.
    fn put(
        &mut self,
        made: &mut Element,
        number: usize,
        shape: &Shape,
        values: &[u8],
    ) -> Result<(), RowFault> {
        let elements = shape.elements();
        let (start, size) = match self.layout {
            Layout::Equal => (number * elements, elements),
            Layout::Padded { .. } => {
                let size = self.column.shape.elements();
                (number * size, size)
            }
            Layout::Ragged => {
                let rows = *shape.first().needed("a ragged row is a scalar")?;
                let inner: usize = shape.iter().skip(1).product();
                let start = self.at * inner;
                self.at += rows;
                let splits = made.field_mut(self.target + 1)?.as_chunks_mut().0;
                let split = splits.get_mut(number + 1).needed(NO_ROOM)?;
                *split = (self.at as i64).to_le_bytes();
                (start, elements)
            }
        };
        let width = self.dtype.bytes();
        let slot = made.values_mut(self.offset + start * width, size * width)?;
        if elements == size && self.dtype != DType::String {
            if slot.len() != values.len() {
                return Err(RowFault::Broken(NO_ROOM));
            }
            slot.copy_from_slice(values);
            return Ok(());
        }
        let runs = if elements == size { Runs::whole(size) } else { Runs::new(shape, &self.column.shape) };
        if elements < size {
            fill(slot, self.pad.get(..width).needed("a padding value is of another type")?);
        }
        if self.dtype != DType::String {
            for run in 0..runs.count {
                let (from, to) = (run * runs.elements * width, runs.offset(run) * width);
                let bytes = runs.elements * width;
                let to = slot.get_mut(to..to + bytes).needed(NO_ROOM)?;
                to.copy_from_slice(values.get(from..from + bytes).needed(NO_ROOM)?);
            }
            return Ok(());
        }
        let mut texts = strings(values);
        for run in 0..runs.count {
            let at = start + runs.offset(run);
            for (i, text) in texts.by_ref().take(runs.elements).enumerate() {
                let string = made.add_text(text.map_err(broken)?)?;
                made.put_string(self.target, at + i, string)?;
            }
        }
        Ok(())
    }
}

/// Fills `slot` with elements equal to `element`.
fn fill(slot: &mut [u8], element: &[u8]) {
    if element.iter().all(|byte| *byte == 0) {
        slot.fill(0);
    } else {
        slot.chunks_exact_mut(element.len()).for_each(|to| to.copy_from_slice(element));
    }
}

/// The elements of a row that lie together in its padded place too.
struct Runs {
    count: usize,
    /// Elements of each.
    elements: usize,
    /// The dimensions outside of a run, each with the distance in the padded place.
    outer: [(usize, usize); MAX_RANK],
    rank: usize,
}

impl Runs {
    fn whole(elements: usize) -> Runs {
        Runs { count: 1, elements, outer: [(0, 0); MAX_RANK], rank: 0 }
    }

    fn new(row: &Shape, place: &Shape) -> Runs {
        // What is inside of the last dimension that differs lies together.
        let Some(rank) = row.iter().zip(place.iter()).rposition(|(row, place)| row != place) else {
            return Runs::whole(row.elements());
        };
        let mut outer = [(0, 0); MAX_RANK];
        let strides = place.strides();
        for (to, pair) in outer.iter_mut().zip(row.iter().copied().zip(strides)).take(rank) {
            *to = pair;
        }
        let count = row.iter().take(rank).product();
        Runs { count, elements: row.iter().skip(rank).product(), outer, rank }
    }

    /// Where run `number` begins in the padded place.
    fn offset(&self, number: usize) -> usize {
        let mut rest = number;
        let mut offset = 0;
        for (size, stride) in self.outer.iter().take(self.rank).rev() {
            offset += rest % size.max(&1) * stride;
            rest /= size.max(&1);
        }
        offset
    }
}

/// Rows that become one batch.
pub(crate) struct Pile {
    rows: RowQueue,
    columns: Columns,
}

impl Pile {
    pub fn new(
        schema: Arc<Schema>,
        layouts: Vec<Layout>,
        purpose: &'static str,
        budget: &MemoryBudget,
    ) -> Pile {
        Pile { rows: RowQueue::new(purpose, budget), columns: Columns::new(schema, layouts) }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn held_bytes(&self) -> usize {
        self.rows.held_bytes()
    }

    /// Adds a row; when that fails, those before it are still there.
    pub fn add(&mut self, row: &ElementView<'_>) -> Result<(), RowFault> {
        let rows = &mut self.rows;
        self.columns.add(row, || rows.push(row))
    }

    /// Makes `made` a batch of all rows, which are then gone, also when there is no memory for it.
    pub fn lay_out(&mut self, made: &mut Element) -> Result<(), (Origin, RowFault)> {
        let origin = self.rows.origin().map_err(|fault| (Origin::default(), fault))?;
        made.begin(origin);
        let laid = self.columns.lay_out(self.rows.iter(), made);
        self.clear();
        laid.map_err(|fault| (origin, fault))
    }

    pub fn clear(&mut self) {
        self.rows.clear();
        self.columns.clear();
    }

    pub fn save(&self, state: &mut StateWriter) -> Result<(), DataError> {
        self.rows.save(state)
    }

    pub fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        self.rows.restore(state)?;
        self.columns.clear();
        let shapes = self.rows.iter().try_for_each(|row| self.columns.add_encoded(row?));
        shapes.map_err(|fault| state.wrong(&fault.to_string()))
    }
}
