//! Makes a large constant that is only converted to float32, and shifted and scaled by known numbers, or quantised over a
//! known range, a constant that is computed as it is read (see [`crate::ir::Computed`]). Compressed weights are stored like this, and would otherwise be
//! held twice: narrow as a constant, and wide as a result of each run.

use std::sync::Arc;

use tightfit_core::{DType, Shape};
use tightfit_kernels::BinaryOp;

use super::rewrite::known_floats;
use crate::ir::Computed;
use crate::ir::{Constant, ConstantData, Graph, NodeId, ValueRef};
use crate::ops::math::binary::Binary;
use crate::ops::math::cast::Cast;
use crate::ops::quantized::convert::Dequantize;
use crate::plan::STREAM_FROM_BYTES;

/// Makes all that can be.
pub fn make(graph: &mut Graph) -> bool {
    let Ok(order) = graph.order() else { return false };
    let mut has_changed = false;
    for id in order {
        let Some(constant) = computed(graph, id) else { continue };
        graph.make_constant(id, constant);
        has_changed = true;
    }
    has_changed
}

/// The constant that a node is.
fn computed(graph: &Graph, id: NodeId) -> Option<Constant> {
    let node = graph.node(id);
    let fact = node.facts.first().filter(|fact| fact.dtype == DType::F32 && node.control.is_empty())?;
    let (base, computed) = if node.is::<Cast>().is_some() {
        let base = large_constant(graph, *node.inputs.first()?)?;
        (base, Computed::widened(base)?)
    } else if let Some(dequantize) = node.is::<Dequantize>() {
        let base = large_constant(graph, *node.inputs.first()?)?;
        (base, dequantized(graph, &node.inputs, dequantize, base)?)
    } else {
        let op = node.is::<Binary>()?.op;
        let [left, right] = node.inputs[..] else { return None };
        let (base, other, is_reversed) = match (large_constant(graph, left), large_constant(graph, right)) {
            (Some(base), None) => (base, right, false),
            (None, Some(base)) => (base, left, true),
            _ => return None,
        };
        let before = match &base.data {
            ConstantData::Computed(computed) => computed.clone(),
            _ => Computed::widened(base)?,
        };
        (base, before.then_by_axis(op, operand(graph, other, base)?, is_reversed)?)
    };
    let is_same_shape = fact.dims.concrete() == Some(base.shape);
    let data = ConstantData::Computed(computed);
    is_same_shape.then_some(Constant { dtype: DType::F32, shape: base.shape, data, held: None })
}

/// A quantised constant as the numbers that it stands for, over one range that is known.
fn dequantized(
    graph: &Graph,
    inputs: &[ValueRef],
    how: &Dequantize,
    base: &Arc<Constant>,
) -> Option<Computed> {
    let end = |input: usize| match known_floats(graph, *inputs.get(input)?)?[..] {
        [end] => Some(end),
        _ => None,
    };
    let (before, scale, after) = how.mode.factors(base.dtype, how.is_narrow, end(1)?, end(2)?)?;
    let steps = [(BinaryOp::Add, before, 0.0), (BinaryOp::Mul, scale, 1.0), (BinaryOp::Add, after, 0.0)];
    let needed = steps.into_iter().filter(|(_, number, neutral)| number != neutral);
    needed.into_iter().try_fold(Computed::widened(base)?, |so_far, (op, number, _)| {
        so_far.then(op, Arc::new([number]), false)
    })
}

/// One of so many elements may have a number of its own.
const MOST_NUMBERS: usize = 16;

/// A constant that would be streamed.
fn large_constant(graph: &Graph, value: ValueRef) -> Option<&Arc<Constant>> {
    let constant = graph.producer(value).constant()?;
    (constant.data.is_in_file() && constant.bytes() >= STREAM_FROM_BYTES).then_some(constant)
}

/// The numbers of an operand that is one number, or one for each place along axes of `base` that follow each other, and how
/// many elements have the same one.
fn operand(graph: &Graph, value: ValueRef, base: &Constant) -> Option<(Arc<[f32]>, usize)> {
    let dims = graph.fact(value).dims.concrete()?;
    if dims.rank() > base.shape.rank() {
        return None;
    }
    let own = &base.shape[base.shape.rank() - dims.rank()..];
    let first = dims.iter().position(|size| *size != 1).unwrap_or(dims.rank());
    let end = dims.iter().rposition(|size| *size != 1).map_or(first, |last| last + 1);
    if dims[first..end] != own[first..end] {
        return None;
    }
    // Numbers are held in memory: no more of them than there are columns, or than are few beside the elements.
    let columns = base.shape.last().copied().unwrap_or(1);
    if dims.elements() > columns.max(base.shape.elements() / MOST_NUMBERS) {
        return None;
    }
    let repeats = if first == end { 1 } else { own[end..].iter().product() };
    Some((numbers(graph, value, &dims)?, repeats))
}

fn numbers(graph: &Graph, value: ValueRef, dims: &Shape) -> Option<Arc<[f32]>> {
    Some(match known_floats(graph, value) {
        Some(values) => values.into(),
        None => {
            let constant = graph.producer(value).constant().filter(|c| c.dtype == DType::F32)?;
            let mut values = vec![0f32; dims.elements()];
            // An error comes up again where the node is computed, and is reported there.
            constant.read_at(0, bytemuck::cast_slice_mut(&mut values)).ok()?;
            values.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tightfit_core::MemoryBudget;
    use tightfit_format::{GraphDef, SourceFile};

    use super::*;
    use crate::import::{ImportOptions, import};

    /// Halves, and bytes less a zero point times a scale for each column: neither is computed in a run.
    #[test]
    fn compressed_weights_are_read_as_they_are_used() {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/models/weights_compressed");
        let source = SourceFile::open(folder.join("model.pb")).unwrap();
        let def = GraphDef::read(source.clone(), &MemoryBudget::new(1 << 20)).unwrap();
        let budget = MemoryBudget::new(8 << 20);
        let mut graph = import(&source, def, &ImportOptions::default(), &budget).unwrap();
        assert!(make(&mut graph));
        assert!(!make(&mut graph));
        crate::ir::dead_nodes::remove(&mut graph);
        let constants = graph.nodes.iter().filter_map(|node| node.constant());
        let computed: Vec<usize> = constants
            .filter(|constant| matches!(constant.data, ConstantData::Computed(_)))
            .map(|constant| constant.shape.elements())
            .collect();
        assert_eq!(computed, [252 * 132, 132 * 500]);
        assert!(graph.nodes.iter().all(|node| node.is::<Cast>().is_none() && node.is::<Binary>().is_none()));
    }
}
