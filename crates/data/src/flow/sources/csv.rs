//! Rows of CSV: `tf.data.experimental.CsvDataset` and `make_csv_dataset`. Each column is a field, a scalar.
//!
//! ```json
//! {"csv": ["part-*.csv"], "columns": {"age": "int64", "score": {"dtype": "float32", "default": 0.5}},
//!  "select": ["age", "name"], "header": true, "delimiter": ";", "na": "NA", "quotes": true, "cycle": 2, "block": 8}
//! {"csv": "plain.csv", "names": ["a", "b", "c"]}
//! ```
//!
//! Tabs stand between the cells of a file that is called `.tsv`, and commas in others, unless `delimiter` says otherwise.
//!
//! The first row of each file has the names of the columns, unless they are given with `names`. A column of a dtype is
//! required, as in CsvDataset: an empty cell, or one that is `na`, is its default or an error. The type of a column
//! that is not described is found from the first 100 rows as `make_csv_dataset` does: int64, float32 or string. There a
//! missing text is empty, and a missing number an error, for no number was declared that it would be. A blank line is a
//! row of one empty cell, as in CsvDataset: an error where there are several columns.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tightfit_core::{Buffer, DType, MemoryBudget, Reservation, Shape};

use super::files::{Interleave, open_files, read_interleave};
use super::{BadRead, FileRows, Format};
use crate::convert::put_number;
use crate::csv::{CellKind, CsvFormat, CsvReader};
use crate::error::{BadRow, DataError, Needed, RowFault};
use crate::flow::element::{Element, ElementView, Field, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read, read_dtype};
use crate::flow::origin::Origin;
use crate::flow::spec::SourceSpec;
use crate::flow::stage::{Context, Node};
use crate::source::{DataFile, FileList, Wanted, is_tsv, list_of};

const PURPOSE: &str = "csv row";

/// Rows whose cells are looked at to find the type of a column, as many as TensorFlow looks at.
const INFERENCE_ROWS: usize = 100;

/// CSV files as a source.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Csv {
    /// Files, folders and globs.
    #[serde(skip)]
    pub paths: Vec<PathBuf>,
    /// How they are interleaved.
    pub interleave: Interleave,
    /// How rows are cut into cells.
    pub format: CsvFormat,
    /// Whether commas, if those are what stands between cells, do so in files called `.tsv` too, where tabs are expected.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_commas_in_tsv: bool,
    /// Whether the first row of each file is none of data.
    pub has_header: bool,
    /// What the columns are called; `None` when the first row says so.
    pub names: Option<Vec<String>>,
    /// The columns that become fields, in order; `None` for all.
    pub select: Option<Vec<String>>,
    /// The types of columns; others are found.
    pub columns: Vec<CsvColumn>,
    /// A cell of this text is a missing one, as is an empty one.
    pub na: String,
    /// Types that whoever takes the rows wants of columns that nothing else is said of.
    #[serde(serialize_with = "identity::dtypes", skip_serializing_if = "Vec::is_empty")]
    pub wanted: Vec<(String, DType)>,
}

/// The type of a column.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CsvColumn {
    /// The column.
    pub name: String,
    /// What its cells become.
    #[serde(serialize_with = "identity::dtype")]
    pub dtype: DType,
    /// The cell that stands for a missing one; `None` when none may be missing.
    pub default: Option<String>,
}

impl Csv {
    /// Rows of comma-separated files that begin with the names of the columns.
    pub fn new(paths: Vec<PathBuf>) -> Csv {
        Csv {
            paths,
            interleave: Interleave::default(),
            format: CsvFormat { skips_blank_lines: false, ..CsvFormat::default() },
            has_commas_in_tsv: false,
            has_header: true,
            names: None,
            select: None,
            columns: Vec::new(),
            na: String::new(),
            wanted: Vec::new(),
        }
    }

    /// How the rows of the file at `path` are cut into cells.
    fn format_of(&self, path: &Path) -> CsvFormat {
        match self.format.delimiter == b',' && !self.has_commas_in_tsv && is_tsv(path) {
            true => CsvFormat { delimiter: b'\t', ..self.format },
            false => self.format,
        }
    }

    /// The columns to read: from the description, and the first rows of the first file.
    fn learn(&self, list: &FileList, budget: &MemoryBudget) -> Result<Learnt, DataError> {
        let wrong = |why: String| DataError::Spec(format!("{}: {why}", list.path(0).display()));
        let mut reader = CsvReader::open(list.path(0), self.format_of(list.path(0)), budget)?;
        let fault = |reader: &CsvReader, fault: RowFault| {
            if !fault.is_budget() {
                return wrong(format!("line {}: {fault}", reader.line()));
            }
            let fault = RowFault::Line { line: reader.line(), fault: Box::new(fault) };
            let (path, offset) = (list.path(0).to_path_buf(), Some(reader.offset()));
            DataError::Row(Box::new(BadRow { path, record: None, offset, fault }))
        };
        if self.has_header && !reader.advance().map_err(|why| fault(&reader, why))? {
            return Err(wrong("no row with the names of the columns".to_string()));
        }
        let count = |names: &mut dyn Iterator<Item = usize>| {
            let (columns, name_bytes) = names.fold((0, 0), |(n, sum), bytes| (n + 1, sum + bytes));
            budget.try_reserve(PURPOSE, column_bytes(columns, name_bytes))
        };
        let (names, reservation) = match &self.names {
            Some(names) => {
                let reservation = count(&mut names.iter().map(String::len))?;
                (names.clone(), reservation)
            }
            None => {
                // A byte that is no UTF-8 becomes a character of three.
                let reservation = count(&mut reader.fields().map(|name| 3 * name.len()))?;
                let name = |name| String::from_utf8_lossy(name).into_owned();
                (reader.fields().map(name).collect::<Vec<_>>(), reservation)
            }
        };
        let mut kinds = vec![CellKind::Unknown; names.len()];
        for _ in 0..INFERENCE_ROWS {
            // A row that is wrong is told when it is its turn.
            if !matches!(reader.advance(), Ok(true)) {
                break;
            }
            for (kind, cell) in kinds.iter_mut().zip(reader.fields()) {
                *kind = if cell == self.na.as_bytes() { *kind } else { kind.with(cell) };
            }
        }
        // Of two columns of one name the first is meant.
        let by_name: HashMap<&str, usize> =
            names.iter().enumerate().rev().map(|(index, name)| (name.as_str(), index)).collect();
        let find = |name: &str| {
            let index = by_name.get(name).copied();
            index.ok_or_else(|| wrong(format!("there is no column {name:?}, but {}", shown(&names))))
        };
        for column in &self.columns {
            find(&column.name)?;
        }
        let selected = match &self.select {
            None => (0..names.len()).collect(),
            Some(select) => select.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>()?,
        };
        let specified: HashMap<&str, &CsvColumn> =
            self.columns.iter().rev().map(|column| (column.name.as_str(), column)).collect();
        let column = |index: usize| {
            let (Some(name), Some(kind)) = (names.get(index), kinds.get(index)) else {
                return Err(wrong(format!("there is no column {index}")));
            };
            let spec = match specified.get(name.as_str()) {
                Some(column) => (*column).clone(),
                None => {
                    let wanted = self.wanted.iter().find(|(wanted, _)| wanted == name);
                    CsvColumn::found(name.clone(), *kind, wanted.map(|(_, dtype)| *dtype))
                }
            };
            Column::new(index, spec).map_err(wrong)
        };
        let columns = selected.into_iter().map(column).collect::<Result<_, _>>()?;
        Ok(Learnt { columns, width: names.len(), reservation })
    }
}

/// What [`Csv::learn`] finds out.
struct Learnt {
    columns: Vec<Column>,
    /// Cells of a row.
    width: usize,
    /// Counts what is kept for each column.
    reservation: Reservation,
}

/// What `columns` columns take whose names have `name_bytes` bytes: twice their names and kinds, once themselves, an entry
/// to find them by, and a schema.
pub(super) fn column_bytes(columns: usize, name_bytes: usize) -> u64 {
    /// Beside what stands in the lists: the name's and the default's blocks, and the entry.
    const BLOCKS_BYTES: usize = 192;
    let each = size_of::<String>() + size_of::<Column>() + BLOCKS_BYTES;
    let tables = columns.saturating_mul(each).saturating_add(name_bytes.saturating_mul(2)) as u64;
    tables.saturating_add(Schema::bytes_of(columns, name_bytes))
}

/// The names of columns for messages, which do not grow with their number.
fn shown(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let first = names.get(..SHOWN).unwrap_or(names).join(", ");
    let others = names.len().saturating_sub(SHOWN);
    if others == 0 { first } else { format!("{first} and {others} others") }
}

impl CsvColumn {
    /// The type of cells of a kind: of numbers the float type that is wanted, and of all text if that is.
    fn found(name: String, kind: CellKind, wanted: Option<DType>) -> CsvColumn {
        let (dtype, default) = match kind {
            CellKind::Int64 | CellKind::Float if wanted.is_some_and(DType::is_float) => {
                (wanted.unwrap_or(DType::F32), None)
            }
            _ if wanted == Some(DType::String) => (DType::String, Some(String::new())),
            CellKind::Int64 => (DType::I64, None),
            CellKind::Float => (DType::F32, None),
            CellKind::Text | CellKind::Unknown => (DType::String, Some(String::new())),
        };
        CsvColumn { name, dtype, default }
    }

    fn read(name: &str, value: &Value) -> Read<CsvColumn> {
        let wrong = |why: String| format!("csv: column {name:?}: {why}");
        let Some(object) = value.as_object() else {
            let dtype = read_dtype(value).map_err(wrong)?;
            return Ok(CsvColumn { name: name.to_string(), dtype, default: None });
        };
        if let Some(key) = object.keys().find(|key| !["dtype", "default"].contains(&key.as_str())) {
            return Err(wrong(format!("dtype and default, not {key:?}")));
        }
        let dtype = object.get("dtype").ok_or_else(|| wrong("it has no dtype".to_string()))?;
        let default = match object.get("default") {
            None => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Some(value.to_string()),
            Some(other) => return Err(wrong(format!("{other} is not a default"))),
        };
        Ok(CsvColumn { name: name.to_string(), dtype: read_dtype(dtype).map_err(wrong)?, default })
    }
}

impl SourceSpec for Csv {
    fn identity(&self) -> serde_json::Value {
        identity::of("csv", self)
    }

    fn wanting(&self, types: &[(String, DType)]) -> Option<Arc<dyn SourceSpec>> {
        Some(Arc::new(Csv { wanted: types.to_vec(), ..self.clone() }))
    }

    fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        let list = list_of(&self.paths, Some(Wanted::CSV), &context.access, &context.budget)?;
        let Learnt { columns, width, reservation } = self.learn(&list, &context.budget)?;
        let fields = columns.iter().map(|c| Field::fixed(&c.spec.name, c.spec.dtype, &[])).collect();
        let schema = Arc::new(Schema::new(fields).map_err(DataError::Spec)?);
        let format = RowFormat {
            schema,
            columns: columns.into(),
            width,
            spec: Arc::new(self.clone()),
            budget: context.budget.clone(),
            _columns: reservation,
        };
        open_files("csv", format, list, self.interleave, context)
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn SourceSpec>> {
    let mut csv = Csv::new(args.paths()?);
    csv.interleave = read_interleave(args)?;
    if let Some(delimiter) = args.text_option("delimiter")? {
        let &[byte] = delimiter.as_bytes() else { return Err(args.wrong("delimiter", "one character")) };
        csv.format.delimiter = byte;
        csv.has_commas_in_tsv = byte == b',';
    }
    csv.names = args.texts_option("names")?;
    csv.select = args.texts_option("select")?;
    csv.has_header = if args.option("header").is_some() { args.flag("header")? } else { csv.names.is_none() };
    if !csv.has_header && csv.names.is_none() {
        return Err("csv: without a header the columns need names".to_string());
    }
    csv.format.has_quotes = args.option("quotes").is_none() || args.flag("quotes")?;
    csv.na = args.text_option("na")?.unwrap_or_default().to_string();
    if let Some(columns) = args.option("columns") {
        let columns = columns.as_object().ok_or_else(|| args.wrong("columns", "an object of columns"))?;
        csv.columns =
            columns.iter().map(|(name, value)| CsvColumn::read(name, value)).collect::<Read<_>>()?;
    }
    Ok(Arc::new(csv))
}

/// A column to read, made ready.
struct Column {
    /// The number of its cell in a row.
    index: usize,
    spec: CsvColumn,
    /// The default of numbers in memory.
    default: [u8; 8],
}

impl Column {
    fn new(index: usize, spec: CsvColumn) -> Result<Column, String> {
        let mut default = [0; 8];
        if spec.dtype.is_complex() {
            return Err(format!("column {:?}: there are no complex columns", spec.name));
        }
        if let Some(text) = spec.default.as_deref().filter(|_| spec.dtype != DType::String) {
            let target = default.get_mut(..spec.dtype.bytes());
            let target = target.ok_or_else(|| format!("column {:?}: no number of CSV", spec.name))?;
            put_number(text, spec.dtype, target).ok_or_else(|| {
                format!("column {:?}: the default {text:?} is not of type {}", spec.name, spec.dtype)
            })?;
        }
        Ok(Column { index, spec, default })
    }

    /// Adds the field that `cell` is.
    fn add(&self, cell: &[u8], na: &[u8], out: &mut Element) -> Result<(), RowFault> {
        let CsvColumn { name, dtype, default } = &self.spec;
        let wrong = |why: String| RowFault::Map(format!("column {name:?}: {why}"));
        let is_missing = cell.is_empty() || cell == na;
        if is_missing && default.is_none() {
            let options = format!("{{{name:?}: {{\"dtype\": \"{dtype}\", \"default\": ..}}}}");
            return Err(wrong(format!(
                "it is required but missing; \"columns\": {options} says what it is then"
            )));
        }
        if *dtype == DType::String {
            let default = default.as_deref().unwrap_or_default().as_bytes();
            return out.add_string(if is_missing { default } else { cell });
        }
        let target = out.add(Shape::SCALAR)?;
        if is_missing {
            let default = self.default.get(..dtype.bytes());
            target.copy_from_slice(default.needed("the default of a column is of another type")?);
            return Ok(());
        }
        let put =
            std::str::from_utf8(cell).ok().and_then(|text| put_number(text.trim_ascii(), *dtype, target));
        put.ok_or_else(|| wrong(format!("{:?} is not a valid {dtype}", String::from_utf8_lossy(cell))))
    }
}

struct RowFormat {
    schema: Arc<Schema>,
    columns: Arc<[Column]>,
    /// Cells of a row.
    width: usize,
    spec: Arc<Csv>,
    budget: MemoryBudget,
    _columns: Reservation,
}

impl RowFormat {
    /// Passes over the names of the columns.
    fn header(&self, reader: &mut CsvReader) -> Result<(), RowFault> {
        if !reader.advance()? {
            return Ok(());
        }
        if self.spec.names.is_some() {
            return Ok(());
        }
        let is_same = |column: &Column| reader.field(column.index) == Some(column.spec.name.as_bytes());
        if reader.fields().len() == self.width && self.columns.iter().all(is_same) {
            return Ok(());
        }
        Err(RowFault::Map("other columns than the first file has".to_string()))
    }
}

impl Format for RowFormat {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn open(
        &self,
        file: &DataFile,
        from: (u64, u64),
        window: Option<Buffer>,
    ) -> Result<Box<dyn FileRows>, BadRead> {
        let bad = |place| move |fault| BadRead { place, fault };
        let reader =
            CsvReader::open_at(&file.path, self.spec.format_of(&file.path), from, window, &self.budget);
        let mut reader = reader.map_err(bad(None))?;
        if from == (0, 0) && self.spec.has_header {
            self.header(&mut reader).map_err(bad(Some((0, 0))))?;
        }
        let made = Element::new(self.schema.clone(), PURPOSE, &self.budget);
        let (columns, width, spec) = (self.columns.clone(), self.width, self.spec.clone());
        Ok(Box::new(CsvRows { reader, columns, width, spec, made }))
    }
}

struct CsvRows {
    reader: CsvReader,
    columns: Arc<[Column]>,
    width: usize,
    spec: Arc<Csv>,
    made: Element,
}

impl CsvRows {
    fn fill(&mut self) -> Result<(), RowFault> {
        let record = self.reader.line().saturating_sub(1);
        self.made.begin(Origin { file: 0, record, offset: self.reader.offset() });
        let found = self.reader.fields().len();
        if found != self.width {
            return Err(RowFault::Map(format!("{found} fields, but there are {} columns", self.width)));
        }
        for column in self.columns.iter() {
            let cell = self.reader.field(column.index).needed("a row of CSV has lost a cell")?;
            column.add(cell, self.spec.na.as_bytes(), &mut self.made)?;
        }
        Ok(())
    }
}

impl FileRows for CsvRows {
    fn advance(&mut self) -> Result<bool, BadRead> {
        let more = self.reader.advance();
        let filled = more.and_then(|more| if more { self.fill().map(|()| true) } else { Ok(false) });
        let place = Some((self.reader.line().saturating_sub(1), self.reader.offset()));
        filled.map_err(|fault| BadRead { place, fault })
    }

    fn current(&self, file: u32) -> ElementView<'_> {
        self.made.view().in_file(file)
    }

    fn next_place(&self) -> (u64, u64) {
        self.reader.next_place()
    }

    fn held_bytes(&self) -> usize {
        self.reader.held_bytes() + self.made.held_bytes()
    }

    fn into_window(self: Box<Self>) -> Option<Buffer> {
        Some(self.reader.into_buffer())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::sources::tests::{all, check_resume, gzip, open};
    use crate::flow::tests::Folder;
    use crate::flow::{Concatenate, PipelineSpec};

    #[test]
    fn tabs_stand_between_the_cells_of_tsv() {
        let folder = Folder::new("tsv");
        let text = b"a\tb,c\ts\n1\t2\t\"x\ty\"\"\"\n3\t4\t,\n";
        let expected = ["a[] 1; b,c[] 2; s[] \"x\\ty\\\"\"", "a[] 3; b,c[] 4; s[] \",\""];
        for (name, bytes) in [("a.tsv", text.to_vec()), ("b.tsv.gz", gzip(text))] {
            let path = folder.write(name, &bytes);
            let make = || PipelineSpec::new(Csv::new(vec![path.clone()]));
            assert_eq!(all(&mut open(make(), 1 << 20).unwrap()), expected, "{name}");
            check_resume(&folder, make);
        }
        // Each file by its name, whatever the others are called.
        let comma = folder.write("c.csv", b"a,\"b,c\",s\n5,6,z\n");
        let both = PipelineSpec::new(Csv::new(vec![folder.path("a.tsv"), comma]));
        assert_eq!(all(&mut open(both, 1 << 20).unwrap())[2], "a[] 5; b,c[] 6; s[] \"z\"");
    }

    #[test]
    fn types_are_those_that_are_wanted_where_cells_allow() {
        let folder = Folder::new("csv-wanted");
        let path = folder.write("a.csv", b"x,y,s,t\n16777217,1,7,a\n");
        let wanted: Vec<_> = ["x", "t"].map(|name| (name.to_string(), DType::F64)).into();
        let text = [("s".to_string(), DType::String)];
        let spec = PipelineSpec::new(Csv::new(vec![path])).wanting(&[&wanted[..], &text].concat());
        let mut pipeline = open(spec.clone(), 1 << 20).unwrap();
        assert_eq!(pipeline.schema().to_string(), "x: float64 []; y: int64 []; s: string []; t: string []");
        assert_eq!(all(&mut pipeline), ["x[] 16777217; y[] 1; s[] \"7\"; t[] \"a\""]);
        let joined = PipelineSpec::new(Concatenate { inputs: vec![spec] }).wanting(&text);
        assert_eq!(open(joined, 1 << 20).unwrap().schema().fields()[0].dtype, DType::F64);
    }
}
