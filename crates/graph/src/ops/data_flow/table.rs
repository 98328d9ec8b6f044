//! Looking up in tables, and changing them: LookupTableFind, -Size, -Export, -Insert, -Remove, -Import, and what fills one in
//! a run. Import makes them (`import::tables`), since a table is no tensor.
//!
//! Find: keys and what stands for the value of one that is not there, either one value or one for each key; of each key's
//! value. Insert and Import: keys and values; Import takes out everything before. Remove: keys. Size: int64. Export: all
//! keys, and their values, in the order in which they were put in.

use std::sync::Arc;

use tightfit_core::{DType, Shape, StringRef};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::tables::{Elements, Table, TableSpec, Tables};
use crate::operator::{OpError, Operator, Run, reshape};
use crate::ops::shared;

/// What is done to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Values of keys.
    Find,
    /// How many entries there are.
    Size,
    /// All keys and values.
    Export,
    /// New or other values for keys.
    Insert,
    /// No value for keys.
    Remove,
    /// All values anew.
    Import,
    /// The same for a table that is filled once: of one key only one value.
    Fill,
}

impl Access {
    /// What an operator of TensorFlow does, of either version.
    pub fn of(op: &str) -> Option<Access> {
        Some(match op.strip_suffix("V2").unwrap_or(op) {
            "LookupTableFind" => Access::Find,
            "LookupTableSize" => Access::Size,
            "LookupTableExport" => Access::Export,
            "LookupTableInsert" => Access::Insert,
            "LookupTableRemove" => Access::Remove,
            "LookupTableImport" => Access::Import,
            _ => return None,
        })
    }

    /// True for one that changes the table.
    pub fn is_change(self) -> bool {
        matches!(self, Access::Insert | Access::Remove | Access::Import | Access::Fill)
    }
}

/// An access to a table.
#[derive(Debug)]
pub struct TableAccess {
    /// Which table.
    pub table: Arc<TableSpec>,
    /// What is done to it.
    pub access: Access,
}

impl TableAccess {
    /// Calls `with` with the table as it is by now.
    fn with<T>(
        &self,
        tables: &Tables,
        with: impl FnOnce(&Table) -> Result<T, OpError>,
    ) -> Result<T, OpError> {
        if self.table.is_mutable {
            with(&tables.get(&self.table)?.borrow())
        } else {
            with(&self.table.initial)
        }
    }

    /// The dimensions of keys without those of one key.
    fn outer(&self, keys: &Fact) -> Result<Option<Vec<Dim>>, OpError> {
        let own = &self.table.key_dims;
        shared::need_type(0, keys, &[self.table.initial.kind().key])?;
        let Some(dims) = keys.dims.get() else { return Ok(None) };
        let outer = dims.len().checked_sub(own.len()).map(|rank| dims.split_at(rank));
        let fits = |inner: &[Dim]| {
            inner.iter().zip(own).all(|(dim, own)| dim.size().is_none_or(|size| size == *own))
        };
        match outer {
            Some((outer, inner)) if fits(inner) => Ok(Some(outer.to_vec())),
            _ => Err(OpError::input(
                0,
                format!("is of shape {}; keys of {} are of shape {own:?}", keys.dims, self.name_of()),
            )),
        }
    }

    fn name_of(&self) -> String {
        format!("table '{}'", self.table.name)
    }

    fn values(&self, outer: Option<Vec<Dim>>) -> Dims {
        let Some(mut dims) = outer else { return Dims::UNKNOWN };
        dims.extend(self.table.value_dims.iter().map(|dim| Dim::Known(*dim as i64)));
        Dims::new(dims)
    }

    /// How many keys there are in a tensor of this shape. Those of a dense table are counted along its first axis.
    fn count(&self, keys: &[usize]) -> Result<usize, OpError> {
        let own = self.table.initial.kind().key_elements;
        let elements: usize = keys.iter().product();
        let rows = keys.first().copied().unwrap_or(1);
        if self.table.reserved.is_some() && elements != rows * own {
            let why = format!("is of shape {keys:?}; one key of {} for each row is needed", self.name_of());
            return Err(OpError::input(0, why));
        }
        Ok(elements / own.max(1))
    }

    /// The shape of the values of keys of this shape.
    fn values_shape(&self, keys: Shape) -> Option<Shape> {
        let outer = keys.rank().checked_sub(self.table.key_dims.len())?;
        reshape::shape(keys.iter().copied().take(outer).chain(self.table.value_dims.iter().copied()))
    }

    fn find(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (keys, default) = (run.input(0)?, run.input(1)?);
        let is_one = **default.shape() == *self.table.value_dims;
        if !is_one && self.values_shape(*keys.shape()) != Some(*default.shape()) {
            let why = format!(
                "is of shape {}, neither one value of {} nor one for each key",
                default.shape(),
                self.name_of()
            );
            return Err(OpError::input(1, why));
        }
        let count = self.count(keys.shape())?;
        let strings = run.strings;
        let text = |string| strings.get(string);
        let keys = Elements { bytes: keys.bytes(), text: &text };
        self.check_reserved(keys, count)?;
        let value_bytes = self.table.initial.value_bytes();
        let default = default.bytes();
        // Of a table that is filled once, and of a dense one, TensorFlow takes the first of them for all.
        let is_each = !is_one && !self.table.is_filled_once && self.table.reserved.is_none();
        let is_text = run.output_dtype(0) == DType::String;
        let output = run.out_bytes(0)?;
        let rows = output.chunks_exact_mut(value_bytes.max(1)).enumerate().take(count);
        self.with(run.tables, |table| {
            for (index, to) in rows {
                match table.find_at(keys, index) {
                    None => {
                        let from = if is_each { index * value_bytes } else { 0 };
                        to.copy_from_slice(&default[from..from + value_bytes]);
                    }
                    Some(entry) if is_text => put_texts(run, to, table.value(entry).1)?,
                    Some(entry) => to.copy_from_slice(table.value(entry).0),
                }
            }
            Ok(())
        })
    }

    fn check_reserved(&self, keys: Elements<'_, '_>, count: usize) -> Result<(), OpError> {
        let Some(reserved) = &self.table.reserved else { return Ok(()) };
        match (0..count).find_map(|index| reserved.find_at(keys, index)) {
            None => Ok(()),
            Some(which) => {
                let what = if which == 0 { "empty_key" } else { "deleted_key" };
                Err(OpError::Invalid(format!("uses the {what} of {} as a key", self.name_of())))
            }
        }
    }

    fn export(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        self.with(run.tables, |table| {
            let shape =
                |own: &[usize]| reshape::shape(std::iter::once(table.len()).chain(own.iter().copied()));
            let both = shape(&self.table.key_dims).zip(shape(&self.table.value_dims));
            let (keys, values) = both.ok_or_else(|| OpError::Invalid("has too many dimensions".into()))?;
            run.set_output_shape(0, keys)?;
            run.set_output_shape(1, values)?;
            let kind = table.kind();
            let (keys, values) = (run.out_bytes(0)?, run.out_bytes(1)?);
            for (entry, to) in keys.chunks_exact_mut(table.key_bytes().max(1)).enumerate() {
                let (own, texts) = table.key(entry);
                if kind.key == DType::String { put_texts(run, to, texts)? } else { to.copy_from_slice(own) }
            }
            for (entry, to) in values.chunks_exact_mut(table.value_bytes().max(1)).enumerate() {
                let (own, texts) = table.value(entry);
                if kind.value == DType::String { put_texts(run, to, texts)? } else { to.copy_from_slice(own) }
            }
            Ok(())
        })
    }

    fn change(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let keys = run.input(0)?;
        let count = self.count(keys.shape())?;
        let wanted = self.values_shape(*keys.shape());
        let strings = run.strings;
        let text = |string| strings.get(string);
        let keys = Elements { bytes: keys.bytes(), text: &text };
        self.check_reserved(keys, count)?;
        let mut table = run.tables.get(&self.table)?.borrow_mut();
        if self.access == Access::Remove {
            let bytes = table.key_bytes();
            let each = keys.bytes.chunks_exact(bytes.max(1)).take(count);
            each.for_each(|key| table.remove(Elements { bytes: key, text: &text }));
            return Ok(());
        }
        let values = run.input(1)?;
        if wanted != Some(*values.shape()) {
            let why =
                format!("is of shape {}, which is not a value for each of {count} keys", values.shape());
            return Err(OpError::input(1, why));
        }
        if matches!(self.access, Access::Import | Access::Fill) {
            table.clear();
        }
        let values = Elements { bytes: values.bytes(), text: &text };
        if self.access == Access::Fill && count == 0 {
            return Err(OpError::input(0, format!("has no keys for {}", self.name_of())));
        }
        for index in 0..count {
            let (key, value) = table.entry_of(keys, values, index)?;
            if self.access == Access::Fill && table.differs(key, value) {
                return Err(OpError::Invalid(format!(
                    "fills {} with two values for one key",
                    self.name_of()
                )));
            }
            table.insert_one(key, value)?;
        }
        Ok(())
    }
}

/// Makes strings of texts.
fn put_texts<'t>(run: &Run<'_>, to: &mut [u8], texts: impl Iterator<Item = &'t [u8]>) -> Result<(), OpError> {
    for (to, text) in to.chunks_exact_mut(size_of::<StringRef>()).zip(texts) {
        to.copy_from_slice(bytemuck::bytes_of(&run.new_string(text)?));
    }
    Ok(())
}

impl Operator for TableAccess {
    fn name(&self) -> &'static str {
        match self.access {
            Access::Find => "LookupTableFindV2",
            Access::Size => "LookupTableSizeV2",
            Access::Export => "LookupTableExportV2",
            Access::Insert => "LookupTableInsertV2",
            Access::Remove => "LookupTableRemoveV2",
            Access::Import => "LookupTableImportV2",
            Access::Fill => "InitializeTableV2",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let kind = self.table.initial.kind();
        match self.access {
            Access::Find => {
                let (keys, default) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
                shared::need_type(1, default, &[kind.value])?;
                Ok(vec![Fact::new(kind.value, self.values(self.outer(keys)?))])
            }
            Access::Size if self.table.is_mutable => Ok(vec![Fact::new(DType::I64, Dims::scalar())]),
            Access::Size => {
                let len = [Dim::Known(self.table.initial.len() as i64)];
                Ok(vec![Fact::of_dims(DType::I64, Dims::scalar(), &len)])
            }
            Access::Export => {
                let len = match self.table.is_mutable {
                    true => Dim::Unknown,
                    false => Dim::Known(self.table.initial.len() as i64),
                };
                let mut keys = vec![len];
                keys.extend(self.table.key_dims.iter().map(|dim| Dim::Known(*dim as i64)));
                Ok(vec![
                    Fact::new(kind.key, Dims::new(keys)),
                    Fact::new(kind.value, self.values(Some(vec![len]))),
                ])
            }
            Access::Insert | Access::Import | Access::Fill => {
                self.outer(shared::input(inputs, 0)?)?;
                shared::need_type(1, shared::input(inputs, 1)?, &[kind.value])?;
                Ok(vec![])
            }
            Access::Remove => {
                self.outer(shared::input(inputs, 0)?)?;
                Ok(vec![])
            }
        }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        match self.access {
            Access::Find => {
                let keys = run.shape(0);
                run.set_output_shape(0, self.values_shape(keys)?).ok()
            }
            // The run itself finds how many there are.
            _ => Some(()),
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        match self.access {
            Access::Find => self.find(run),
            Access::Size => {
                let len = self.with(run.tables, |table| Ok(table.len() as i64))?;
                run.out::<i64>(0)?.fill(len);
                Ok(())
            }
            Access::Export => self.export(run),
            Access::Insert | Access::Remove | Access::Import | Access::Fill => self.change(run),
        }
    }

    fn is_pure(&self) -> bool {
        !self.table.is_mutable
    }

    fn changed_table(&self) -> Option<&Arc<TableSpec>> {
        self.table.is_mutable.then_some(&self.table)
    }
}
