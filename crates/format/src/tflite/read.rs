//! From the tables of the flatbuffer to a description.

use std::sync::Arc;

use tightfit_core::{MemoryBudget, Quantization};

use super::flatbuffer::{Flatbuffer, Result, Table};
use super::options::{self, Options};
use super::schema::{OPTIONS, OPTIONS_2};
use super::{
    Blockwise, CUSTOM, Model, Operator, Place, Signature, SparseDim, Sparsity, SubGraph, Tensor, TensorKind,
};
use crate::error::Problem;
use crate::limits;
use crate::source::SourceFile;

/// What the memory of a description is reserved for.
const PURPOSE: &str = "description of the model's graph";

/// The one version of the schema that there are files of.
const VERSION: u32 = 3;

/// What an operator's number is.
struct Code {
    number: i32,
    custom: Option<Box<str>>,
    version: i32,
}

/// What tables name by its number.
struct Shared {
    codes: Vec<Code>,
    buffers: Vec<Place>,
    /// The files beside the model: the number of each buffer in one, and the name of its group.
    external: Vec<(u32, Box<str>)>,
}

pub(super) fn model(source: Arc<SourceFile>, budget: &MemoryBudget) -> Result<Model> {
    let mut file = Flatbuffer::new(&source, budget, PURPOSE)?;
    if file.bytes(4)? != *b"TFL3" {
        return Err(file.invalid(4, "the identifier TFL3", "another one"));
    }
    let root = file.table_at(0)?;
    let version = file.u32(root, 0, 0)?;
    if version != VERSION {
        let what = format!("a model in version {version} of its format");
        let advice = "convert it again with a TensorFlow of this decade";
        return Err(file.error(root.offset(), Problem::Unsupported { what, advice }));
    }
    let codes = file.tables(root, 1, limits::NODES, code)?;
    let buffers = file.tables(root, 4, limits::NODES, buffer)?;
    let groups =
        file.tables(root, 8, limits::LIST, |file, table| Ok(file.text(table, 0)?.unwrap_or_default()))?;
    let mut external = file.tables(root, 9, limits::NODES, |file, table| {
        let (number, group) = (file.u32(table, 0, 0)?, file.u32(table, 1, 0)?);
        let group: &str = groups.get(group as usize).map_or("", |name| name);
        file.charge(group.len() as u64)?;
        Ok((number, group.into()))
    })?;
    external.sort_unstable_by_key(|(number, _)| *number);
    let shared = Shared { codes, buffers, external };
    let subgraphs = file.tables(root, 2, limits::FUNCTIONS, |file, table| subgraph(file, table, &shared))?;
    let signatures = file.tables(root, 7, limits::SIGNATURES, signature)?;
    let metadata = file.tables(root, 6, limits::SIGNATURES, |file, table| {
        let number = file.u32(table, 1, 0)?;
        Ok((file.text(table, 0)?.unwrap_or_default(), shared.place(file, table, number)?))
    })?;
    let description = file.text(root, 3)?.unwrap_or_default();
    for signature in &signatures {
        check_signature(&file, signature, &subgraphs)?;
    }
    drop(shared);
    let account = file.into_account();
    let reservation = account.finish().map_err(|e| source.error_at(0, Problem::Budget(e)))?;
    Ok(Model { source, description, subgraphs, signatures, metadata, reservation })
}

/// The tensors that a signature names are there.
fn check_signature(file: &Flatbuffer<'_>, signature: &Signature, subgraphs: &[SubGraph]) -> Result<()> {
    let tensors = subgraphs.get(signature.subgraph as usize).map(|subgraph| subgraph.tensors.len());
    let mut named = signature.inputs.iter().chain(&signature.outputs);
    let are_there = tensors.is_some_and(|count| named.all(|(_, tensor)| (*tensor as usize) < count));
    if are_there {
        return Ok(());
    }
    let found = format!("'{}', which names others", signature.key);
    Err(file.invalid(0, "a signature of the model's tensors", found))
}

impl Shared {
    fn place(&self, file: &Flatbuffer<'_>, table: Table, number: u32) -> Result<Place> {
        match self.buffers.get(number as usize) {
            Some(place) => Ok(*place),
            // Models without any values need not have a first buffer, which is empty.
            None if number == 0 => Ok(Place::default()),
            None => {
                let found = format!("{number} of {}", self.buffers.len());
                Err(file.invalid(table.offset(), "the number of a buffer", found))
            }
        }
    }
}

fn code(file: &mut Flatbuffer<'_>, table: Table) -> Result<Code> {
    let [old] = file.scalar(table, 0, [0])?;
    let new = file.i32(table, 3, 0)?;
    // Numbers that did not fit one byte once are in a field of their own since, and it is 0 in older files.
    let number = new.max(i32::from(old as i8));
    Ok(Code { number, custom: file.text(table, 1)?, version: file.i32(table, 2, 1)? })
}

/// The bytes of a buffer: a list in the flatbuffer, or after it, where offset and size are more than the 0 and 1 that
/// stand for none.
fn buffer(file: &mut Flatbuffer<'_>, table: Table) -> Result<Place> {
    let (offset, bytes) = (file.u64(table, 1)?, file.u64(table, 2)?);
    if offset > 1 {
        return behind(file, table, offset, bytes);
    }
    let (offset, bytes) = file.vector(table, 0, 1)?.unwrap_or_default();
    Ok(if bytes == 0 { Place::default() } else { Place { offset, bytes } })
}

fn behind(file: &Flatbuffer<'_>, table: Table, offset: u64, bytes: u64) -> Result<Place> {
    let present_bytes = file.len().saturating_sub(offset);
    // One that begins past the file's end has no place in it, even without bytes.
    if bytes > present_bytes || offset > file.len() {
        let problem = Problem::Truncated { what: "a buffer", needed_bytes: bytes, present_bytes };
        return Err(file.error(table.offset(), problem));
    }
    Ok(Place { offset, bytes })
}

fn subgraph(file: &mut Flatbuffer<'_>, table: Table, shared: &Shared) -> Result<SubGraph> {
    let tensors = file.tables(table, 0, limits::NODES, |file, table| tensor(file, table, shared))?;
    let inputs = numbers(file, table, 1)?;
    let outputs = numbers(file, table, 2)?;
    let operators = file.tables(table, 3, limits::NODES, |file, table| operator(file, table, shared))?;
    let used = operators.iter().flat_map(|o| o.inputs.iter().chain(&o.outputs).chain(&o.intermediates));
    let is_there = |number: &i32| *number == -1 || usize::try_from(*number).is_ok_and(|n| n < tensors.len());
    if let Some(number) = used.chain(&inputs).chain(&outputs).find(|number| !is_there(number)) {
        let found = format!("{number} of {}", tensors.len());
        return Err(file.invalid(table.offset(), "the number of a tensor", found));
    }
    Ok(SubGraph { name: file.text(table, 4)?.unwrap_or_default(), tensors, inputs, outputs, operators })
}

fn numbers(file: &mut Flatbuffer<'_>, table: Table, slot: u16) -> Result<Vec<i32>> {
    file.scalars(table, slot, limits::INPUTS, i32::from_le_bytes)
}

fn dims(file: &mut Flatbuffer<'_>, table: Table, slot: u16) -> Result<Vec<i32>> {
    file.scalars(table, slot, limits::RANK, i32::from_le_bytes)
}

fn tensor(file: &mut Flatbuffer<'_>, table: Table, shared: &Shared) -> Result<Tensor> {
    let number = file.u32(table, 2, 0)?;
    let external = file.u32(table, 10, 0)?;
    let found = shared.external.binary_search_by_key(&external, |(own, _)| *own);
    let external = found.ok().filter(|_| external > 0).and_then(|at| shared.external.get(at));
    if let Some((_, group)) = external {
        file.charge(group.len() as u64)?;
    }
    let quantization = file.table(table, 4)?;
    let (quantization, blockwise) = match quantization {
        Some(inner) => (quantized(file, inner)?, blockwise(file, inner)?),
        None => (None, None),
    };
    let sparse = file.table(table, 6)?;
    Ok(Tensor {
        name: file.text(table, 3)?.unwrap_or_default(),
        kind: TensorKind(file.u8(table, 1)? as i8),
        shape: dims(file, table, 0)?,
        signature: dims(file, table, 7)?,
        values: shared.place(file, table, number)?,
        external: external.map(|(_, group)| group.clone()),
        quantization,
        blockwise,
        is_variable: file.u8(table, 5)? != 0,
        sparsity: sparse.map(|table| sparsity(file, table)).transpose()?,
    })
}

/// Scales and zero points; `None` where there is no scale, as where only the range of training is told.
fn quantized(file: &mut Flatbuffer<'_>, table: Table) -> Result<Option<Quantization>> {
    let scales = file.scalars(table, 2, limits::LIST, f32::from_le_bytes)?;
    let mut zero_points = file.scalars(table, 3, limits::LIST, i64::from_le_bytes)?;
    if scales.is_empty() {
        return Ok(None);
    }
    if zero_points.is_empty() {
        zero_points = file.list(scales.len())?;
        zero_points.resize(scales.len(), 0);
    }
    // One zero point may stand for all.
    if let [one] = zero_points[..]
        && scales.len() > 1
    {
        zero_points = file.list(scales.len())?;
        zero_points.resize(scales.len(), one);
    }
    if zero_points.len() != scales.len() {
        let found = format!("{} and {}", scales.len(), zero_points.len());
        return Err(file.invalid(table.offset(), "as many zero points as scales", found));
    }
    let axis = usize::try_from(file.i32(table, 6, 0)?).ok().filter(|_| scales.len() > 1);
    if axis.is_none() && scales.len() > 1 {
        return Err(file.invalid(table.offset(), "an axis that scales are for", "a negative one"));
    }
    Ok(Some(Quantization { scales, zero_points, axis }))
}

/// The number of `BlockwiseQuantization` among the details of a quantisation.
const BLOCKWISE: u8 = 2;

fn blockwise(file: &mut Flatbuffer<'_>, table: Table) -> Result<Option<Blockwise>> {
    if file.u8(table, 4)? != BLOCKWISE {
        return Ok(None);
    }
    let Some(details) = file.table(table, 5)? else { return Ok(None) };
    Ok(Some(Blockwise {
        scales: file.i32(details, 0, 0)?,
        zero_points: file.i32(details, 1, 0)?,
        size: file.i32(details, 2, 0)?,
    }))
}

fn sparsity(file: &mut Flatbuffer<'_>, table: Table) -> Result<Sparsity> {
    let traversal_order = dims(file, table, 0)?;
    let block_map = dims(file, table, 1)?;
    let dims = file.tables(table, 2, limits::RANK, |file, table| {
        Ok(match file.u8(table, 0)? {
            0 => SparseDim::Dense { size: file.i32(table, 1, 0)? },
            1 => SparseDim::Sparse { segments: indices(file, table, 2)?, indices: indices(file, table, 4)? },
            other => {
                return Err(file.invalid(table.offset(), "a dense or a sparse dimension", other.to_string()));
            }
        })
    })?;
    Ok(Sparsity { traversal_order, block_map, dims })
}

/// A list of indices in one of three widths.
fn indices(file: &mut Flatbuffer<'_>, table: Table, slot: u16) -> Result<Vec<i32>> {
    let width = file.u8(table, slot)?;
    let Some(inner) = file.table(table, slot + 1)? else { return Ok(Vec::new()) };
    match width {
        1 => file.scalars(inner, 0, limits::STRINGS, i32::from_le_bytes),
        2 => file.scalars(inner, 0, limits::STRINGS, |b| u16::from_le_bytes(b).into()),
        3 => file.scalars(inner, 0, limits::STRINGS, |[b]: [u8; 1]| b.into()),
        _ => Err(file.invalid(table.offset(), "a list of indices", format!("one of kind {width}"))),
    }
}

fn operator(file: &mut Flatbuffer<'_>, table: Table, shared: &Shared) -> Result<Operator> {
    let number = file.u32(table, 0, 0)?;
    let Some(code) = shared.codes.get(number as usize) else {
        let found = format!("{number} of {}", shared.codes.len());
        return Err(file.invalid(table.offset(), "the number of an operator's code", found));
    };
    let custom = code.custom.as_ref().filter(|_| code.number == CUSTOM);
    if let Some(name) = custom {
        file.charge(name.len() as u64)?;
    }
    let (offset, bytes) = (file.u64(table, 9)?, file.u64(table, 10)?);
    let custom_options = if offset > 1 {
        behind(file, table, offset, bytes)?
    } else {
        let (offset, bytes) = file.vector(table, 5, 1)?.unwrap_or_default();
        Place { offset, bytes }
    };
    let mut options = chosen(file, table, 3, OPTIONS)?;
    if options.table.is_empty() {
        options = chosen(file, table, 11, OPTIONS_2)?;
    }
    Ok(Operator {
        code: code.number,
        custom: custom.cloned(),
        version: code.version,
        inputs: numbers(file, table, 1)?,
        outputs: numbers(file, table, 2)?,
        intermediates: numbers(file, table, 8)?,
        options,
        custom_options,
    })
}

/// The options that a union is.
fn chosen(
    file: &mut Flatbuffer<'_>,
    table: Table,
    slot: u16,
    tables: &'static [(&'static str, &'static [options::Field])],
) -> Result<Options> {
    let number = file.u8(table, slot)?;
    let known = tables.get(usize::from(number)).filter(|(name, _)| !name.is_empty());
    let (Some(known), Some(inner)) = (known, file.table(table, slot + 1)?) else {
        return Ok(Options::default());
    };
    options::read(file, inner, *known)
}

fn signature(file: &mut Flatbuffer<'_>, table: Table) -> Result<Signature> {
    let mut tensors = |slot| {
        file.tables(table, slot, limits::SIGNATURES, |file, table| {
            Ok((file.text(table, 0)?.unwrap_or_default(), file.u32(table, 1, 0)?))
        })
    };
    let (inputs, outputs) = (tensors(0)?, tensors(1)?);
    let key = file.text(table, 2)?.unwrap_or_default();
    Ok(Signature { key, subgraph: file.u32(table, 4, 0)?, inputs, outputs })
}
