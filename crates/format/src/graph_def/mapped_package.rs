//! Memory-mapped packages, as TensorFlow's `convert_graphdef_memmapped_format` writes them: tensors, the graph, and at the
//! end a directory of both (memmapped_file_system.proto). The graph has an ImmutableConst for each tensor, which becomes a
//! Const whose values stay in the file.

use std::sync::Arc;

use tightfit_core::{Account, MemoryBudget, block_bytes};

use super::decode::Decoder;
use super::schema::{PACKAGE, PACKAGE_ELEMENT};
use super::{AttrValue, GraphDef, NodeDef, PURPOSE, TensorContent, TensorDef};
use crate::data_type::DataType;
use crate::error::{FormatError, Problem};
use crate::limits;
use crate::proto::Input;
use crate::proto::wire::WireReader;
use crate::source::{Cursor, SourceFile};

type Result<T> = std::result::Result<T, FormatError>;

/// What all names in a package begin with; that of the graph ends with a point.
const PREFIX: &str = "memmapped_package://";
const GRAPH: &str = "memmapped_package://.";

/// What the file ends with: where the directory begins.
const FOOTER_BYTES: u64 = 8;

/// A part of the file.
#[derive(Debug, Clone, Copy, Default)]
struct Region {
    offset: u64,
    bytes: u64,
}

/// True when the file ends with the directory of a package. Of that nothing is kept.
pub(crate) fn is_package(source: &Arc<SourceFile>, budget: &MemoryBudget) -> bool {
    let mut has_graph = false;
    let walked = each_region(source, budget, &mut |decoder, name, _| {
        has_graph |= &*name == GRAPH;
        decoder.ledger.release(name.len() as u64);
        Ok(())
    });
    walked.is_ok() && has_graph
}

impl GraphDef {
    /// Reads the graph of a memory-mapped package. Values stay in the file.
    ///
    /// # Errors
    /// [`FormatError`] as for [`GraphDef::read`], and for a tensor that the package does not have or has not all of.
    pub fn read_mapped_package(source: Arc<SourceFile>, budget: &MemoryBudget) -> Result<GraphDef> {
        let mut regions = Vec::new();
        let _directory = each_region(&source, budget, &mut |decoder, name, region| {
            decoder.keep(&mut regions, (name, region), limits::NODES)
        })?;
        regions.sort_by(|a, b| a.0.cmp(&b.0));
        let find = |name: &[u8]| {
            let at = regions.binary_search_by(|(own, _)| own.as_bytes().cmp(name)).ok()?;
            regions.get(at).map(|(_, region)| *region)
        };
        let Some(graph) = find(GRAPH.as_bytes()) else {
            return Err(source.error_at(0, Problem::invalid("a package with a graph in it", "none")));
        };
        let reader = WireReader::of_part(Cursor::new(source.clone(), budget)?, graph.offset, graph.bytes);
        let mut decoder = Decoder::new(reader, Account::new(budget, PURPOSE));
        let mut parts = decoder.graph()?;
        let nodes = parts.nodes.iter_mut().chain(parts.functions.iter_mut().flat_map(|f| &mut f.nodes));
        for node in nodes.filter(|node| &*node.op == "ImmutableConst") {
            let own = 2 * size_of::<(Box<str>, AttrValue)>() + size_of::<TensorDef>();
            decoder.charge(block_bytes(own as u64))?;
            let tensor = tensor_of(&source, node, find)?;
            node.op = "Const".into();
            let value = AttrValue::Tensor(Box::new(tensor));
            node.attrs.retain(|(name, _)| &**name == "dtype");
            node.attrs.push(("value".into(), value));
        }
        GraphDef::from_parts(source, parts, decoder.into_ledger())
    }
}

/// The tensor that a node means.
fn tensor_of(
    source: &SourceFile,
    node: &NodeDef,
    find: impl Fn(&[u8]) -> Option<Region>,
) -> Result<TensorDef> {
    let wrong = |expected: &str, found: String| {
        source.error_at(node.offset, Problem::invalid(format!("{expected} of node '{}'", node.name), found))
    };
    let (Some(AttrValue::Type(dtype)), Some(AttrValue::Shape(shape)), Some(AttrValue::Str(name))) =
        (node.attr("dtype"), node.attr("shape"), node.attr("memory_region_name"))
    else {
        return Err(wrong("dtype, shape and memory region", "not all of them".to_string()));
    };
    let shown = || name.escape_ascii().to_string();
    let region =
        find(name).ok_or_else(|| wrong("the memory region", format!("no '{}' in the package", shown())))?;
    let shape = shape.dims.clone().unwrap_or_default();
    let elements = shape.iter().try_fold(1u64, |n, d| n.checked_mul(u64::try_from(*d).ok()?));
    let element_bytes = DataType(*dtype).storage().filter(|d| *d != tightfit_core::DType::String);
    let bytes = elements.zip(element_bytes).and_then(|(n, dtype)| n.checked_mul(dtype.bytes() as u64));
    match bytes.filter(|bytes| *bytes <= region.bytes && *bytes <= i64::MAX as u64) {
        Some(bytes) => Ok(TensorDef {
            dtype: *dtype,
            shape,
            content: TensorContent::File { offset: region.offset, bytes },
        }),
        None => {
            let found = format!("{} bytes for {} {shape:?}", region.bytes, DataType(*dtype));
            Err(wrong("the memory region", found))
        }
    }
}

/// Takes a part of the file by its name.
type Visit<'v> = &'v mut dyn FnMut(&mut Decoder<WireReader>, Box<str>, Region) -> Result<()>;

/// Calls `visit` with each part of the file, which is known to lie in it; returns what is counted of the list.
fn each_region(source: &Arc<SourceFile>, budget: &MemoryBudget, visit: Visit<'_>) -> Result<Account> {
    let none = || source.error_at(0, Problem::invalid("a memory-mapped package", "another file"));
    let end = source.len().checked_sub(FOOTER_BYTES).ok_or_else(none)?;
    let mut offset = [0; FOOTER_BYTES as usize];
    source.read_exact_at(end, &mut offset)?;
    let offset = u64::from_le_bytes(offset);
    let bytes = end.checked_sub(offset).filter(|bytes| *bytes > 0).ok_or_else(none)?;
    let reader = WireReader::of_part(Cursor::new(source.clone(), budget)?, offset, bytes);
    let mut decoder = Decoder::new(reader, Account::new(budget, PURPOSE));
    while decoder.input.next(PACKAGE)?.is_some() {
        let (mut region, mut name) = (Region::default(), Box::default());
        decoder.message(PACKAGE_ELEMENT, |this, field| {
            match field {
                1 => region.offset = this.input.scalar()?,
                2 => name = this.name()?,
                _ => region.bytes = this.input.scalar()?,
            }
            Ok(())
        })?;
        // Older packages leave the lengths out: a part then ends at the directory.
        if region.bytes == 0 {
            region.bytes = offset.saturating_sub(region.offset);
        }
        let is_inside = region.offset.checked_add(region.bytes).is_some_and(|end| end <= offset);
        if !name.starts_with(PREFIX) || !is_inside {
            return Err(none());
        }
        visit(&mut decoder, name, region)?;
    }
    Ok(decoder.into_ledger())
}
