//! A vocabulary file: a line is an entry, of which columns, the whole line or its number are key and value.

use tightfit_core::{Buffer, DType, MemoryBudget, StringRef};
use tightfit_format::{NodeDef, SourceFile};

use super::{Refused, text};
use crate::operator::OpError;
use crate::operator::attributes::Attributes;
use crate::operator::tables::{Elements, Table};

/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;
/// The longest line.
const LINE_MAX_BYTES: usize = 16 << 20;

/// What of a line is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    WholeLine,
    LineNumber,
    At(usize),
}

impl Column {
    fn read(attributes: &Attributes<'_>, name: &str) -> Result<Column, OpError> {
        match attributes.int(name)? {
            -2 => Ok(Column::WholeLine),
            -1 => Ok(Column::LineNumber),
            n => usize::try_from(n)
                .map(Column::At)
                .map_err(|_| OpError::attribute(name, format!("is {n}; at least -2 is needed"))),
        }
    }

    fn check(self, name: &str, dtype: DType) -> Result<(), OpError> {
        let is_right = match self {
            Column::WholeLine => dtype == DType::String,
            Column::LineNumber => dtype == DType::I64,
            Column::At(_) => true,
        };
        if is_right {
            return Ok(());
        }
        let what = if self == Column::WholeLine { "the whole line" } else { "the line's number" };
        Err(OpError::attribute(name, format!("is {what}, and the table's type there is {dtype}")))
    }
}

/// Fills `table` from the file at `path` as `node` says.
pub(super) fn read(
    node: &NodeDef,
    path: &str,
    table: &mut Table,
    budget: &MemoryBudget,
) -> Result<(), Refused> {
    let attributes = Attributes::new(node);
    let kind = table.kind();
    let (key, value) = (Column::read(&attributes, "key_index")?, Column::read(&attributes, "value_index")?);
    key.check("key_index", kind.key)?;
    value.check("value_index", kind.value)?;
    let vocab_size = attributes.int_or("vocab_size", -1)?;
    let offset = attributes.int_or("offset", 0)?;
    let delimiter = text(node, "delimiter").unwrap_or(b"\t");
    let [delimiter] = delimiter else {
        return Err(OpError::attribute("delimiter", "is not one character").into());
    };
    let source = SourceFile::open(path).map_err(OpError::File)?;
    let mut entries = 0i64;
    let invalid = |why: String| Refused::Why(format!("{path}: {why}"));
    for_each_line(&source, budget, &mut |line| {
        if vocab_size >= 0 && entries >= vocab_size {
            return Ok(false);
        }
        if line.is_empty() {
            return Err(invalid(format!("line {} is empty", entries + 1)));
        }
        let column = |column: Column, dtype: DType| -> Result<Cell<'_>, Refused> {
            let text = match column {
                Column::LineNumber => return Ok(Cell::Number((entries + offset).to_le_bytes())),
                Column::WholeLine => line,
                Column::At(at) => line
                    .split(|byte| byte == delimiter)
                    .nth(at)
                    .ok_or_else(|| invalid(format!("line {} has no column {at}", entries + 1)))?,
            };
            parse(text, dtype).ok_or_else(|| {
                let shown = String::from_utf8_lossy(text);
                invalid(format!("field {shown} in line {} is not a valid {dtype}", entries + 1))
            })
        };
        let (key, value) = (column(key, kind.key)?, column(value, kind.value)?);
        key.with(kind.key, &mut |key| {
            value.with(kind.value, &mut |value| {
                if table.differs(key, value) {
                    return Err(OpError::Invalid(format!(
                        "{path}: line {} has another value for a key that was there before",
                        entries + 1
                    )));
                }
                table.insert_one(key, value)
            })
        })?;
        entries += 1;
        Ok(true)
    })?;
    if entries == 0 {
        return Err(invalid("has no entries".into()));
    }
    if vocab_size >= 0 && entries < vocab_size {
        return Err(invalid(format!("has {entries} entries, not vocab_size {vocab_size}")));
    }
    Ok(())
}

/// One key or value.
enum Cell<'l> {
    /// The bytes of a number, as many as its type has.
    Number([u8; 8]),
    Text(&'l [u8]),
}

impl Cell<'_> {
    fn with(
        &self,
        dtype: DType,
        each: &mut dyn FnMut(Elements<'_, '_>) -> Result<(), OpError>,
    ) -> Result<(), OpError> {
        match self {
            Cell::Number(bytes) => {
                let none = |_: StringRef| -> &'static [u8] { &[] };
                each(Elements { bytes: &bytes[..dtype.bytes().min(8)], text: &none })
            }
            Cell::Text(text) => {
                let text = |_: StringRef| *text;
                each(Elements { bytes: &[0; size_of::<StringRef>()], text: &text })
            }
        }
    }
}

fn parse(text: &[u8], dtype: DType) -> Option<Cell<'_>> {
    if dtype == DType::String {
        return Some(Cell::Text(text));
    }
    let text = std::str::from_utf8(text).ok()?.trim();
    let mut bytes = [0; 8];
    let mut put = |from: &[u8]| bytes[..from.len()].copy_from_slice(from);
    match dtype {
        DType::I32 => put(&text.parse::<i32>().ok()?.to_le_bytes()),
        DType::I64 => put(&text.parse::<i64>().ok()?.to_le_bytes()),
        DType::F32 => put(&text.parse::<f32>().ok()?.to_le_bytes()),
        DType::F64 => put(&text.parse::<f64>().ok()?.to_le_bytes()),
        _ => return None,
    }
    Some(Cell::Number(bytes))
}

/// Calls `each` with every line, without its end, until it returns false. Carriage returns are no part of a line.
fn for_each_line(
    source: &SourceFile,
    budget: &MemoryBudget,
    each: &mut dyn FnMut(&[u8]) -> Result<bool, Refused>,
) -> Result<(), Refused> {
    let mut block = Buffer::new(budget, "tables", READ_BYTES.min(source.len() as usize))?;
    let mut line = Buffer::new(budget, "tables", 256)?;
    let (mut offset, mut used, mut has_line) = (0, 0, false);
    while offset < source.len() {
        let bytes = block.len().min((source.len() - offset) as usize);
        source.read_exact_at(offset, &mut block[..bytes]).map_err(OpError::File)?;
        offset += bytes as u64;
        for byte in &block[..bytes] {
            has_line = true;
            match byte {
                b'\n' => {
                    has_line = false;
                    if !each(&line[..used])? {
                        return Ok(());
                    }
                    used = 0;
                }
                b'\r' => {}
                byte => {
                    if used == LINE_MAX_BYTES {
                        return Err(Refused::Why("has a line of more than 16 MiB".into()));
                    }
                    if used == line.len() {
                        line.grow(budget, used * 2)?;
                    }
                    line[used] = *byte;
                    used += 1;
                }
            }
        }
    }
    if has_line {
        each(&line[..used])?;
    }
    Ok(())
}
