//! Rows of .npy arrays, along their first dimension, without loading them: a field `array`, or as the option `field`
//! calls it. Arrays of any type and order, larger than memory.
//!
//! ```json
//! {"npy": ["x-*.npy"], "field": "x", "window": "16MiB", "cycle": 2, "block": 8}
//! ```
//!
//! Rows of an array in Fortran order are scattered over the whole file. So many at once are gathered as fit the window:
//! the larger it is, the fewer times the file is walked through.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{Buffer, DType, MemoryBudget, Shape};
use tightfit_format::npy::{NpyHeader, NpyType, trim_zeros, utf8_of_ucs4};

use super::files::{Interleave, open_files, read_interleave};
use super::{BadRead, FileRows, Format};
use crate::error::{DataError, RowFault, clamped};
use crate::flow::element::{Element, ElementView, Field, Place, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::origin::Origin;
use crate::flow::spec::SourceSpec;
use crate::flow::stage::{Context, Node};
use crate::source::array::{ArrayRows, header_at};
use crate::source::scan::read_npy_header;
use crate::source::{DataFile, Wanted, list_of};
use crate::storage;

pub(super) const PURPOSE: &str = "rows of arrays";

/// The field that a row is where nothing is said.
const FIELD: &str = "array";

/// What rows are read through, if they are not larger: in C order, and in Fortran order.
const WINDOW_BYTES: usize = 256 << 10;
const GATHER_BYTES: usize = 4 << 20;

/// Arrays as a source of their rows.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Npy {
    /// Files, folders and globs.
    #[serde(skip)]
    pub paths: Vec<PathBuf>,
    /// How they are interleaved.
    pub interleave: Interleave,
    /// The field that a row is.
    pub field: String,
    /// Bytes that rows are read through; `None` for 256 KiB, or 4 MiB in Fortran order.
    #[serde(skip)]
    pub window_bytes: Option<usize>,
}

impl Npy {
    /// The rows of `paths`, one file after the other, as the field `array`.
    pub fn new(paths: Vec<PathBuf>) -> Npy {
        let interleave = Interleave::default();
        Npy { paths, interleave, field: FIELD.to_string(), window_bytes: None }
    }
}

impl SourceSpec for Npy {
    fn identity(&self) -> serde_json::Value {
        identity::of("npy", self)
    }

    fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        let list = list_of(&self.paths, Some(Wanted::ARRAYS), &context.access, &context.budget)?;
        let (mut first, mut rows) = (None, 0u64);
        for file in &list.files {
            let header = read_npy_header(&file.path, &context.budget)?;
            let wrong = |why: String| DataError::Spec(format!("{}: {why}", file.path.display()));
            let field = field_of(&self.field, &header).map_err(wrong)?;
            rows = rows.saturating_add(header.rows());
            match &first {
                None => first = Some(field),
                Some(first) if *first == field => {}
                Some(first) => {
                    return Err(wrong(format!("its rows are {field}, those of the first file {first}")));
                }
            }
        }
        let schema = Arc::new(Schema::new(first.into_iter().collect()).map_err(DataError::Spec)?);
        let format =
            ArrayFormat { schema, rows, window_bytes: self.window_bytes, budget: context.budget.clone() };
        open_files("npy", format, list, self.interleave, context)
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn SourceSpec>> {
    let (paths, interleave) = (args.paths()?, read_interleave(args)?);
    let field = args.text_option("field")?.unwrap_or(FIELD).to_string();
    let window_bytes = args.bytes_option("window")?.map(clamped);
    Ok(Arc::new(Npy { paths, interleave, field, window_bytes }))
}

/// The field that a row of an array with this header is.
pub(super) fn field_of(name: &str, header: &NpyHeader) -> Result<Field, String> {
    if header.shape.rank() == 0 {
        return Err("a single value, which has no rows".to_string());
    }
    Ok(Field::fixed(name, header.element.dtype(), header.row_shape()))
}

/// What the rows of an array with this header are read through: `found`, if that is enough.
pub(super) fn window_for(
    header: &NpyHeader,
    bytes: Option<usize>,
    found: Option<Buffer>,
    budget: &MemoryBudget,
) -> Result<Buffer, RowFault> {
    let row_bytes = header.row_bytes();
    let usual_bytes = if header.is_fortran_order { GATHER_BYTES } else { WINDOW_BYTES };
    let all_bytes = clamped(header.data_bytes());
    let wanted_bytes = bytes.unwrap_or(usual_bytes).min(all_bytes).max(row_bytes);
    match found {
        Some(found) if found.len() >= wanted_bytes => Ok(found),
        found => {
            drop(found);
            Ok(Buffer::new(budget, PURPOSE, wanted_bytes)?)
        }
    }
}

/// Adds the strings that `row`, a row of an array with this header, holds.
pub(super) fn add_strings(
    header: &NpyHeader,
    shape: Shape,
    row: &[u8],
    out: &mut Element,
) -> Result<(), RowFault> {
    let index = out.added();
    out.add(shape)?.fill(0);
    let element_bytes = header.element.bytes();
    if element_bytes == 0 {
        return Ok(());
    }
    for (at, element) in row.chunks_exact(element_bytes).enumerate() {
        let string = if let NpyType::Unicode(_) = header.element {
            let (mut string, room) = out.add_text_room(element.len())?;
            string.bytes = utf8_of_ucs4(element, room).ok_or(RowFault::Unicode)? as u64;
            out.cut_text(string);
            string
        } else {
            out.add_text(trim_zeros(element))?
        };
        out.put_string(index, at, string)?;
    }
    Ok(())
}

struct ArrayFormat {
    schema: Arc<Schema>,
    rows: u64,
    window_bytes: Option<usize>,
    budget: MemoryBudget,
}

impl Format for ArrayFormat {
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
        let path: Arc<Path> = Arc::from(&*file.path);
        let opened = storage::open(&path, &self.budget).map_err(|e| bad(RowFault::Io(e)))?;
        let header = header_at(&opened, 0, &path).map_err(|e| bad(RowFault::Array(e)))?;
        let field = self.schema.fields().first();
        let shape = Shape::new(header.row_shape())
            .ok()
            .filter(|shape| field.is_some_and(|f| f.allows(shape) && f.dtype == header.element.dtype()));
        let shape =
            shape.ok_or_else(|| bad(RowFault::Map("it has changed since it was listed".to_string())))?;
        let window = window_for(&header, self.window_bytes, window, &self.budget).map_err(bad)?;
        let rows = ArrayRows::new(path, Arc::new(opened), 0, header, from.0, window);
        let is_text = header.element.dtype() == DType::String;
        let text = is_text.then(|| Element::new(self.schema.clone(), PURPOSE, &self.budget));
        let places = [Place { shape, offset: 0 }];
        Ok(Box::new(NpyRows { schema: self.schema.clone(), rows, places, text }))
    }

    fn rows(&self, _files: &[DataFile]) -> Result<Option<u64>, DataError> {
        Ok(Some(self.rows))
    }
}

struct NpyRows {
    schema: Arc<Schema>,
    rows: ArrayRows,
    places: [Place; 1],
    /// The row, if it is strings.
    text: Option<Element>,
}

impl FileRows for NpyRows {
    fn advance(&mut self) -> Result<bool, BadRead> {
        let more = self.rows.advance().map_err(|(place, fault)| BadRead { place, fault })?;
        if let Some(text) = self.text.as_mut().filter(|_| more) {
            text.begin(Origin::default());
            let added = add_strings(self.rows.header(), self.places[0].shape, self.rows.current(), text);
            let row = self.rows.row();
            added.map_err(|fault| BadRead { place: Some((row, self.rows.offset(row))), fault })?;
        }
        Ok(more)
    }

    fn current(&self, file: u32) -> ElementView<'_> {
        let row = self.rows.row();
        let origin = Origin { file, record: row, offset: self.rows.offset(row) };
        match &self.text {
            Some(text) => {
                let view = text.view();
                ElementView::new(&self.schema, &self.places, view.values(), view.text(), origin)
            }
            None => ElementView::new(&self.schema, &self.places, self.rows.current(), &[], origin),
        }
    }

    fn next_place(&self) -> (u64, u64) {
        let row = self.rows.next_row();
        (row, self.rows.offset(row))
    }

    fn held_bytes(&self) -> usize {
        self.rows.window_bytes() + self.text.as_ref().map_or(0, Element::held_bytes)
    }

    fn into_window(self: Box<Self>) -> Option<Buffer> {
        Some(self.rows.into_window())
    }
}
