//! Writing a model: its tables are made in memory, and the values of its buffers are streamed after them.

use std::collections::HashMap;
use std::io::{self, Write};

use tightfit_core::{MemoryBudget, Quantization};

use super::builder::{ALIGNMENT, Fields, Tables};
use super::options::{Field, Kind, OptionValue, Options};
use super::schema::{OPTIONS, OPTIONS_2};
use super::{Operator, Place, Signature, SparseDim, Sparsity, SubGraph, Tensor};

/// The largest flatbuffer that there are readers for. The values of a larger model stand after it.
const MOST_BYTES: u64 = (1 << 31) - 1;

/// What tables are allowed to take of that.
const TABLES_BYTES: u64 = 64 << 20;

/// The number of schema.fbs's version.
const VERSION: u32 = 3;

/// From this number on an operator has no place in the field that was there first.
const FIRST_FIELD_ENDS: i32 = 127;

/// A model that is to be written. A [`Place`] in it, of a tensor's values or of metadata, says how many bytes there are and is
/// handed to whoever writes them; what has the same place shares a buffer.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'m> {
    /// What it says of itself.
    pub description: &'m str,
    /// The graphs.
    pub subgraphs: &'m [SubGraph],
    /// The signatures.
    pub signatures: &'m [Signature],
    /// Metadata by name.
    pub metadata: &'m [(Box<str>, Place)],
}

/// Writes bytes of a place, as many as it says.
pub type Values<'v> = dyn FnMut(Place, &mut dyn Write) -> io::Result<()> + 'v;

/// The buffers of a file: the places that they hold. The first is empty.
#[derive(Default)]
struct Buffers {
    places: Vec<Place>,
    numbers: HashMap<(u64, u64), u32>,
}

impl Buffers {
    fn number(&mut self, place: Place) -> u32 {
        if place.bytes == 0 {
            return 0;
        }
        let next = self.places.len() as u32 + 1;
        let number = *self.numbers.entry((place.offset, place.bytes)).or_insert(next);
        if number == next {
            self.places.push(place);
        }
        number
    }
}

/// What an operator's number is, as a row of the model's table.
type Code<'m> = (i32, Option<&'m str>, i32);

impl Draft<'_> {
    /// Writes the model to `out`. `values` is called once for each buffer.
    ///
    /// # Errors
    /// What `out` and `values` say, a [`tightfit_core::BudgetError`] where the tables do not fit the memory, and
    /// `InvalidData` for values of more or fewer bytes than was said.
    pub fn write(
        &self,
        values: &mut Values<'_>,
        out: &mut dyn Write,
        budget: &MemoryBudget,
    ) -> io::Result<u64> {
        let mut buffers = Buffers::default();
        let mut codes: Vec<Code<'_>> = Vec::new();
        let subgraphs = self.subgraphs.iter().map(|graph| subgraph(graph, &mut codes, &mut buffers, values));
        let subgraphs = subgraphs.collect::<io::Result<Vec<_>>>()?;
        let metadata: Vec<Fields> = self
            .metadata
            .iter()
            .map(|(name, place)| {
                let mut fields = Fields::default();
                fields.text(0, name);
                fields.number(1, buffers.number(*place).to_le_bytes());
                fields
            })
            .collect();
        let total: u64 = buffers.places.iter().map(|place| place.bytes + 2 * ALIGNMENT).sum();
        let is_behind = total > MOST_BYTES - TABLES_BYTES;
        let mut root = Fields::default();
        root.number(0, VERSION.to_le_bytes());
        root.tables(1, codes.iter().map(code).collect());
        root.tables(2, subgraphs);
        root.text(3, self.description);
        let mut tables = vec![Fields::default()];
        for (list, place) in buffers.places.iter().enumerate() {
            let mut fields = Fields::default();
            if is_behind {
                // Both are set once it is known where the tables end.
                fields.number(1, u64::MAX.to_le_bytes());
                fields.number(2, place.bytes.to_le_bytes());
            } else {
                fields.later(0, list);
            }
            tables.push(fields);
        }
        root.tables(4, tables);
        root.tables(6, metadata);
        root.tables(7, self.signatures.iter().map(signature).collect());
        if is_behind {
            self.write_behind(root, &buffers, values, out, budget)
        } else {
            write_within(&root, &buffers, values, out, budget)
        }
    }

    /// Writes a model whose values stand after the flatbuffer.
    fn write_behind(
        &self,
        mut root: Fields,
        buffers: &Buffers,
        values: &mut Values<'_>,
        out: &mut dyn Write,
        budget: &MemoryBudget,
    ) -> io::Result<u64> {
        let over = |error| io::Error::other(error);
        // Numbers take the same room whatever they are, so the first try tells where the tables end.
        let tables_bytes = Tables::new(&root, *b"TFL3", budget).map_err(over)?.bytes().len() as u64;
        let mut places = Vec::with_capacity(buffers.places.len());
        let mut at = tables_bytes.next_multiple_of(ALIGNMENT);
        let mut fields = vec![Fields::default()];
        for place in &buffers.places {
            let mut own = Fields::default();
            own.number(1, at.to_le_bytes());
            own.number(2, place.bytes.to_le_bytes());
            fields.push(own);
            places.push(at);
            at = (at + place.bytes).next_multiple_of(ALIGNMENT);
        }
        root.replace(4, fields);
        let tables = Tables::new(&root, *b"TFL3", budget).map_err(over)?;
        let mut out = Counted { out, bytes: 0 };
        out.write_all(tables.bytes())?;
        for (place, at) in buffers.places.iter().zip(places) {
            out.pad_to(at)?;
            out.values(*place, values)?;
        }
        Ok(out.bytes)
    }
}

/// Writes a model whose values stand in the flatbuffer, after its tables.
fn write_within(
    root: &Fields,
    buffers: &Buffers,
    values: &mut Values<'_>,
    out: &mut dyn Write,
    budget: &MemoryBudget,
) -> io::Result<u64> {
    let mut tables = Tables::new(root, *b"TFL3", budget).map_err(io::Error::other)?;
    let mut at = tables.bytes().len() as u64;
    let mut starts = Vec::with_capacity(buffers.places.len());
    for place in &buffers.places {
        // The count stands right before the bytes, and those are aligned.
        at = (at + 4).next_multiple_of(ALIGNMENT) - 4;
        starts.push(at);
        at += 4 + place.bytes;
    }
    if at > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the tables of the model are too large"));
    }
    tables.place_all(&starts);
    let mut out = Counted { out, bytes: 0 };
    out.write_all(tables.bytes())?;
    for (place, start) in buffers.places.iter().zip(starts) {
        out.pad_to(start)?;
        out.write_all(&(place.bytes as u32).to_le_bytes())?;
        out.values(*place, values)?;
    }
    Ok(out.bytes)
}

/// Counts what goes through.
struct Counted<'o> {
    out: &'o mut dyn Write,
    bytes: u64,
}

impl Counted<'_> {
    fn pad_to(&mut self, at: u64) -> io::Result<()> {
        let count = at.saturating_sub(self.bytes).min(ALIGNMENT) as usize;
        self.write_all(&[0; ALIGNMENT as usize][..count])
    }

    fn values(&mut self, place: Place, values: &mut Values<'_>) -> io::Result<()> {
        let before = self.bytes;
        values(place, self)?;
        if self.bytes - before == place.bytes {
            return Ok(());
        }
        let why = format!("{} bytes of values where there are to be {}", self.bytes - before, place.bytes);
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }
}

impl Write for Counted<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.out.write(data)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn code((number, custom, version): &Code<'_>) -> Fields {
    let mut fields = Fields::default();
    fields.number(0, [(*number).min(FIRST_FIELD_ENDS) as u8]);
    if let Some(custom) = custom {
        fields.text(1, custom);
    }
    fields.number(2, version.to_le_bytes());
    fields.number(3, number.to_le_bytes());
    fields
}

fn signature(signature: &Signature) -> Fields {
    let tensors = |list: &[(Box<str>, u32)]| {
        let each = |(name, number): &(Box<str>, u32)| {
            let mut fields = Fields::default();
            fields.text(0, name);
            fields.number(1, number.to_le_bytes());
            fields
        };
        list.iter().map(each).collect()
    };
    let mut fields = Fields::default();
    fields.tables(0, tensors(&signature.inputs));
    fields.tables(1, tensors(&signature.outputs));
    fields.text(2, &signature.key);
    fields.number(4, signature.subgraph.to_le_bytes());
    fields
}

fn int32s(fields: &mut Fields, slot: u16, values: &[i32]) {
    fields.numbers(slot, values.iter().map(|value| value.to_le_bytes()));
}

fn subgraph<'m>(
    graph: &'m SubGraph,
    codes: &mut Vec<Code<'m>>,
    buffers: &mut Buffers,
    values: &mut Values<'_>,
) -> io::Result<Fields> {
    let mut fields = Fields::default();
    fields.tables(0, graph.tensors.iter().map(|own| tensor(own, buffers)).collect());
    int32s(&mut fields, 1, &graph.inputs);
    int32s(&mut fields, 2, &graph.outputs);
    let operators = graph.operators.iter().map(|own| operator(own, codes, values));
    fields.tables(3, operators.collect::<io::Result<_>>()?);
    fields.text(4, &graph.name);
    Ok(fields)
}

fn tensor(tensor: &Tensor, buffers: &mut Buffers) -> Fields {
    let mut fields = Fields::default();
    int32s(&mut fields, 0, &tensor.shape);
    fields.number(1, tensor.kind.0.to_le_bytes());
    fields.number(2, buffers.number(tensor.values).to_le_bytes());
    fields.text(3, &tensor.name);
    if tensor.quantization.is_some() || tensor.blockwise.is_some() {
        fields.table(4, quantization(tensor));
    }
    if tensor.is_variable {
        fields.number(5, [1]);
    }
    if let Some(own) = &tensor.sparsity {
        fields.table(6, sparsity(own));
    }
    if !tensor.signature.is_empty() {
        int32s(&mut fields, 7, &tensor.signature);
    }
    // Without it a tensor without dimensions is one whose shape is not known.
    fields.number(8, [1]);
    fields
}

fn quantization(tensor: &Tensor) -> Fields {
    let mut fields = Fields::default();
    if let Some(Quantization { scales, zero_points, axis }) = &tensor.quantization {
        fields.numbers(2, scales.iter().map(|scale| scale.to_le_bytes()));
        fields.numbers(3, zero_points.iter().map(|zero| zero.to_le_bytes()));
        fields.number(6, (axis.unwrap_or(0) as i32).to_le_bytes());
    }
    if let Some(blockwise) = &tensor.blockwise {
        let mut details = Fields::default();
        details.number(0, blockwise.scales.to_le_bytes());
        details.number(1, blockwise.zero_points.to_le_bytes());
        details.number(2, blockwise.size.to_le_bytes());
        fields.number(4, [2]);
        fields.table(5, details);
    }
    fields
}

fn sparsity(sparsity: &Sparsity) -> Fields {
    let list = |values: &[i32]| {
        let mut fields = Fields::default();
        int32s(&mut fields, 0, values);
        fields
    };
    let dim = |dim: &SparseDim| {
        let mut fields = Fields::default();
        match dim {
            SparseDim::Dense { size } => fields.number(1, size.to_le_bytes()),
            SparseDim::Sparse { segments, indices } => {
                fields.number(0, [1]);
                fields.number(2, [1]);
                fields.table(3, list(segments));
                fields.number(4, [1]);
                fields.table(5, list(indices));
            }
        }
        fields
    };
    let mut fields = Fields::default();
    int32s(&mut fields, 0, &sparsity.traversal_order);
    int32s(&mut fields, 1, &sparsity.block_map);
    fields.tables(2, sparsity.dims.iter().map(dim).collect());
    fields
}

fn operator<'m>(
    operator: &'m Operator,
    codes: &mut Vec<Code<'m>>,
    values: &mut Values<'_>,
) -> io::Result<Fields> {
    let code = (operator.code, operator.custom.as_deref(), operator.version);
    let number = codes.iter().position(|own| *own == code).unwrap_or_else(|| {
        codes.push(code);
        codes.len() - 1
    });
    let mut fields = Fields::default();
    fields.number(0, (number as u32).to_le_bytes());
    int32s(&mut fields, 1, &operator.inputs);
    int32s(&mut fields, 2, &operator.outputs);
    if !operator.intermediates.is_empty() {
        int32s(&mut fields, 8, &operator.intermediates);
    }
    for (slot, tables) in [(3, OPTIONS), (11, OPTIONS_2)] {
        let name = operator.options.table;
        let found = tables.iter().position(|(own, _)| !name.is_empty() && *own == name);
        if let Some(found) = found {
            fields.number(slot, [found as u8]);
            fields.table(slot + 1, options(&operator.options, tables[found].1));
            break;
        }
    }
    if operator.custom_options.bytes > 0 {
        let mut bytes = Vec::new();
        values(operator.custom_options, &mut bytes)?;
        fields.numbers(5, bytes.into_iter().map(|byte| [byte]));
    }
    Ok(fields)
}

/// The fields of an operator's options, but those that are what they are where nothing is said.
fn options(options: &Options, table: &[Field]) -> Fields {
    let mut fields = Fields::default();
    for Field { name, slot, kind } in table {
        let Some(value) = options.get(name) else { continue };
        let number = options.int(name);
        match (*kind, value) {
            (Kind::Bool(default), _) if (number != 0) != default => {
                fields.number(*slot, [u8::from(number != 0)])
            }
            (Kind::Int8(default), _) if number != i64::from(default) => fields.number(*slot, [number as u8]),
            (Kind::Int32(default), _) if number != i64::from(default) => {
                fields.number(*slot, (number as i32).to_le_bytes());
            }
            (Kind::Uint32(default), _) if number != i64::from(default) => {
                fields.number(*slot, (number as u32).to_le_bytes());
            }
            (Kind::Int64(default), _) if number != default => fields.number(*slot, number.to_le_bytes()),
            (Kind::Float(default), OptionValue::Float(value)) if value.to_bits() != default.to_bits() => {
                fields.number(*slot, value.to_le_bytes());
            }
            (Kind::Text, OptionValue::Text(text)) if !text.is_empty() => fields.text(*slot, text),
            (Kind::Int32s, OptionValue::Ints(values)) => {
                fields.numbers(*slot, values.iter().map(|value| (*value as i32).to_le_bytes()));
            }
            (Kind::Uint32s, OptionValue::Ints(values)) => {
                fields.numbers(*slot, values.iter().map(|value| (*value as u32).to_le_bytes()));
            }
            (Kind::Int64s, OptionValue::Ints(values)) => {
                fields.numbers(*slot, values.iter().map(|value| value.to_le_bytes()));
            }
            (Kind::Bytes, OptionValue::Ints(values)) => {
                fields.numbers(*slot, values.iter().map(|value| [*value as u8]));
            }
            (Kind::Floats, OptionValue::Floats(values)) => {
                fields.numbers(*slot, values.iter().map(|value| value.to_le_bytes()));
            }
            _ => {}
        }
    }
    fields
}
