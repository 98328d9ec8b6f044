//! Columns of Arrow's types as fields, for the sources whose files hold such columns: Parquet and Arrow IPC.
//!
//! ```json
//! {"parquet": ["part-*.parquet"], "columns": ["image", "label"], "defaults": {"label": 0}, "cycle": 2, "block": 8}
//! {"arrow": ["batches.arrow", "stream.arrows"]}
//! ```
//!
//! | Arrow | field |
//! |---|---|
//! | integers, floats (float16 too), booleans | a scalar of that type |
//! | utf8, binary, large and view, fixed-size binary | a string |
//! | date32, time32, decimals of up to 9 digits | the integer it is: int32 |
//! | date64, time64, timestamp, duration, decimals of up to 18 digits | the integer it is: int64 |
//! | list, large list | one dimension that differs from row to row, in front |
//! | fixed-size list | one dimension of that size |
//! | dictionary | what its values are |
//!
//! A column of another type is an error that names both, unless `columns` leaves it out. A null is an error
//! with the column and the row, unless the column has a default: it takes the place of a null value, in a list too, and
//! a list that is null is an empty one.

mod bound;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_schema::DataType;
use tightfit_core::{DType, MAX_RANK, MemoryBudget, Reservation};

pub(crate) use bound::Bound;

use super::files::{Files, Interleave, read_interleave};
use super::{Format, arrow, parquet};
use crate::error::{DataError, RowFault};
use crate::flow::element::{Field, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::scalar::Scalar;
use crate::flow::spec::SourceSpec;
use crate::flow::stage::{Context, Node};
use crate::source::{Wanted, list_of};

/// The kinds of files with columns of Arrow's types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub enum ColumnKind {
    /// Parquet.
    Parquet,
    /// Arrow IPC, as a file or as a stream.
    Arrow,
}

impl ColumnKind {
    /// What the source is called.
    pub fn name(self) -> &'static str {
        match self {
            ColumnKind::Parquet => "parquet",
            ColumnKind::Arrow => "arrow",
        }
    }
}

/// Parquet or Arrow files as a source.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ColumnFiles {
    /// What they are.
    pub kind: ColumnKind,
    /// Files, folders and globs.
    #[serde(skip)]
    pub paths: Vec<PathBuf>,
    /// How they are interleaved.
    pub interleave: Interleave,
    /// The columns that become fields, in this order; `None` for all.
    pub columns: Option<Vec<String>>,
    /// What takes the place of nulls, by column.
    pub defaults: Vec<(String, Scalar)>,
    /// Whether a null without a default is no value at all: then scalars have one more dimension, of 0 or 1.
    pub nulls_are_empty: bool,
}

impl ColumnFiles {
    /// All columns of files of this kind, without nulls.
    pub fn new(kind: ColumnKind, paths: Vec<PathBuf>) -> ColumnFiles {
        let interleave = Interleave::default();
        ColumnFiles { kind, paths, interleave, columns: None, defaults: Vec::new(), nulls_are_empty: false }
    }

    /// The columns to read of a file of columns `fields`, in the order in which they become fields.
    pub(crate) fn columns(&self, fields: &arrow_schema::Fields) -> Result<Vec<Column>, String> {
        let known = || fields.iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ");
        // Of two of one name the first is meant.
        let mut by_name = HashMap::new();
        if self.columns.is_some() || !self.defaults.is_empty() {
            fields.iter().enumerate().for_each(|(index, field)| {
                by_name.entry(field.name().as_str()).or_insert(index);
            });
        }
        let find = |name: &str| {
            let index = by_name.get(name).copied();
            index.ok_or_else(|| format!("there is no column {name:?}, but {}", known()))
        };
        for (name, _) in &self.defaults {
            find(name)?;
        }
        let indices = match &self.columns {
            None => (0..fields.len()).collect(),
            Some(names) => names.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>()?,
        };
        let column = |index: usize| {
            let field = fields.get(index).ok_or("a column that is not there")?;
            let wrong = |why: String| format!("column {:?}: {why}", field.name());
            let given = self.defaults.iter().find(|(name, _)| name == field.name());
            let mut field = field_of(field.name(), field.data_type()).map_err(wrong)?;
            let default = given.map(|(_, value)| value.bytes(field.dtype)).transpose();
            let is_optional = self.nulls_are_empty && field.dims.is_empty();
            field.dims.extend(is_optional.then_some(None));
            let nulls_are_empty = self.nulls_are_empty;
            Ok(Column { index, default: default.map_err(wrong)?, field, nulls_are_empty, is_optional })
        };
        indices.into_iter().map(column).collect()
    }
}

impl SourceSpec for ColumnFiles {
    fn identity(&self) -> serde_json::Value {
        identity::of("columns", self)
    }

    fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        let wanted = match self.kind {
            ColumnKind::Parquet => Wanted::PARQUET,
            ColumnKind::Arrow => Wanted::ARROW,
        };
        let list = Arc::new(list_of(&self.paths, Some(wanted), &context.access, &context.budget)?);
        let first = list.files.first().ok_or_else(|| DataError::Spec("no files".to_string()))?;
        let spec = Arc::new(self.clone());
        let format: Result<Box<dyn Format>, RowFault> = match self.kind {
            ColumnKind::Parquet => parquet::open_format(spec, first, &context.budget),
            ColumnKind::Arrow => arrow::open_format(spec, first, &context.budget),
        };
        let format = format.map_err(|fault| match fault {
            RowFault::Memory(error) => DataError::Budget(error),
            fault => DataError::Spec(format!("{}: {fault}", first.path.display())),
        })?;
        let meter = context.meter(self.kind.name(), &[]);
        let files = Files::new(format, list, self.interleave, meter.clone(), context)?;
        Ok(context.node(files, meter))
    }
}

pub(crate) fn read_parquet(args: &mut Args<'_>) -> Read<Arc<dyn SourceSpec>> {
    read(ColumnKind::Parquet, args)
}

pub(crate) fn read_arrow(args: &mut Args<'_>) -> Read<Arc<dyn SourceSpec>> {
    read(ColumnKind::Arrow, args)
}

fn read(kind: ColumnKind, args: &mut Args<'_>) -> Read<Arc<dyn SourceSpec>> {
    let mut files = ColumnFiles::new(kind, args.paths()?);
    files.interleave = read_interleave(args)?;
    files.columns = args.texts_option("columns")?;
    if let Some(defaults) = args.object_option("defaults")? {
        let wrong = || args.wrong("defaults", "an object of numbers, booleans and texts");
        let default = |(name, value): (&String, _)| Some((name.clone(), Scalar::from_json(value)?));
        files.defaults = defaults.iter().map(|pair| default(pair).ok_or_else(wrong)).collect::<Read<_>>()?;
    }
    Ok(Arc::new(files))
}

/// A column to read.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    /// Its number among those of the file.
    pub index: usize,
    /// What it becomes.
    pub field: Field,
    /// What takes the place of nulls: a number as it lies in memory, or text.
    pub default: Option<Vec<u8>>,
    /// Whether a null without a default is no value at all.
    pub nulls_are_empty: bool,
    /// Whether it is a list for that reason only.
    pub is_optional: bool,
}

/// What the lists of a column take beside its name: it is in the description of the file as Arrow has it, in what is asked
/// of it, among what is read, and in the schema.
const COLUMN_BYTES: u64 = 1024;

/// Counts the lists of `columns` columns, before they are made, whose names and types take `name_bytes` in the file.
pub(crate) fn count_columns(
    columns: usize,
    name_bytes: u64,
    budget: &MemoryBudget,
) -> Result<Reservation, RowFault> {
    let bytes = (columns as u64).saturating_mul(COLUMN_BYTES).saturating_add(name_bytes.saturating_mul(4));
    budget.try_reserve("columns", bytes).map_err(RowFault::Memory)
}

/// The type of the elements that `columns` become.
pub(crate) fn schema_of(columns: &[Column]) -> Result<Schema, String> {
    Schema::new(columns.iter().map(|column| column.field.clone()).collect())
}

/// The error of a file with other columns than `schema`, if `columns` are others.
pub(crate) fn check_same(columns: &[Column], schema: &Schema) -> Result<(), String> {
    let found = schema_of(columns)?;
    if found == *schema { Ok(()) } else { Err(format!("its columns are {found}, the first file's {schema}")) }
}

/// What a column of `data_type` becomes.
pub(crate) fn field_of(name: &str, data_type: &DataType) -> Result<Field, String> {
    let (mut dims, mut inner) = (Vec::new(), data_type);
    loop {
        inner = match inner {
            DataType::List(item) | DataType::LargeList(item) if dims.is_empty() => {
                dims.push(None);
                item.data_type()
            }
            DataType::FixedSizeList(item, size) => {
                dims.push(Some(usize::try_from(*size).map_err(|_| format!("lists of {size} values"))?));
                item.data_type()
            }
            _ => break,
        };
    }
    if let DataType::Dictionary(_, values) = inner {
        inner = values;
    }
    let dtype = dtype_of(inner).ok_or_else(|| format!("no field can be made of the type {data_type}"))?;
    if dims.len() >= MAX_RANK {
        return Err(format!("{} dimensions", dims.len()));
    }
    Ok(Field { name: name.to_string(), dtype, dims })
}

fn dtype_of(data_type: &DataType) -> Option<DType> {
    Some(match data_type {
        DataType::Boolean => DType::Bool,
        DataType::Int8 => DType::I8,
        DataType::Int16 => DType::I16,
        DataType::Int32 | DataType::Date32 | DataType::Time32(_) | DataType::Decimal32(..) => DType::I32,
        DataType::Int64
        | DataType::Date64
        | DataType::Time64(_)
        | DataType::Timestamp(..)
        | DataType::Duration(_)
        | DataType::Decimal64(..) => DType::I64,
        DataType::Decimal128(0..=9, _) => DType::I32,
        DataType::Decimal128(10..=18, _) => DType::I64,
        DataType::UInt8 => DType::U8,
        DataType::UInt16 => DType::U16,
        DataType::UInt32 => DType::U32,
        DataType::UInt64 => DType::U64,
        DataType::Float16 => DType::F16,
        DataType::Float32 => DType::F32,
        DataType::Float64 => DType::F64,
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => DType::String,
        _ => return None,
    })
}
