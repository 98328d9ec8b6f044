//! Takes away transpositions that leave the axes in their order, as Tensordot has them, and those that undo each other, as
//! they stand between layers of a model with channels second: what is done element by element or channel by channel after
//! one is done before it, until it meets the next.

use std::sync::Arc;

use tightfit_core::{DType, Shape};
use tightfit_kernels::BinaryOp;

use super::rewrite::{Uses, forward, insert, produced_by, sweep};
use crate::dim::Dim;
use crate::ir::{Constant, Graph, NodeId, ValueRef};
use crate::operator::Operator;
use crate::ops::array::transpose::Transpose;
use crate::ops::math::binary::Binary;
use crate::ops::math::unary::Unary;
use crate::ops::nn::batch_norm::BatchNorm;
use crate::ops::nn::bias_add::BiasAdd;

/// WindowAttributes and takes away all that can be.
pub fn simplify(graph: &mut Graph) -> bool {
    sweep(graph, |graph, uses, id| {
        if !graph.node(id).control.is_empty() {
            return None;
        }
        cancel(graph, uses, id).or_else(|| sink(graph, uses, id))
    })
}

/// What a value is the transposition of, and by which order.
fn transposed(graph: &Graph, value: ValueRef) -> Option<(ValueRef, ValueRef, Vec<i64>)> {
    let (node, operator) = produced_by::<Transpose>(graph, value)?;
    let &[from, order] = &node.inputs[..] else { return None };
    let known = graph.fact(order).ints()?;
    (!operator.is_conjugate() && node.control.is_empty()).then_some((from, order, known))
}

/// Whether each axis stays where it is.
fn is_in_order(order: &[i64]) -> bool {
    order.iter().copied().eq(0..order.len() as i64)
}

/// One transposition as none, or two as one or as none.
fn cancel(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let value = ValueRef::of(id);
    let (middle, _, outer) = transposed(graph, value)?;
    if is_in_order(&outer) {
        forward(graph, uses, value, middle);
        return Some(());
    }
    let (from, _, inner) = transposed(graph, middle)?;
    let order: Vec<i64> = outer
        .iter()
        .map(|axis| usize::try_from(*axis).ok().and_then(|axis| inner.get(axis)).copied())
        .collect::<Option<_>>()?;
    if is_in_order(&order) {
        forward(graph, uses, value, from);
        return Some(());
    }
    if !uses.is_used_once(middle) {
        return None;
    }
    let bytes: Vec<u8> = order.iter().flat_map(|axis| axis.to_le_bytes()).collect();
    let name = graph.node(id).name.clone();
    let constant = Constant::in_memory(DType::I64, Shape::new(&[order.len()]).ok()?, bytes);
    let order = graph.add_constant(&format!("{name}/order"), constant);
    let made = insert(graph, uses, &name, Arc::new(Transpose::PLAIN), vec![from, order])?;
    forward(graph, uses, value, made);
    Some(())
}

/// True for the order that puts channels that are last second.
fn is_channels_second(order: &[i64]) -> bool {
    let rank = order.len() as i64;
    rank >= 4 && order[..2] == [0, rank - 1] && order[2..].iter().copied().eq(1..rank - 1)
}

/// An operator after a transposition to channels second as one before it.
fn sink(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let first = *node.inputs.first()?;
    let laid = node.inputs.iter().copied().find(|input| transposed(graph, *input).is_some())?;
    let (_, order, known) = transposed(graph, laid)?;
    if !is_channels_second(&known) {
        return None;
    }
    let mut inputs = node.inputs.clone();
    let is_laid = |value: ValueRef| {
        transposed(graph, value).filter(|(_, _, order)| *order == known && uses.is_used_once(value))
    };
    let operator: Arc<dyn Operator> = if node.is::<Unary>().is_some() {
        inputs[0] = is_laid(first)?.0;
        node.operator_arc()?
    } else if node.is::<Binary>().is_some() {
        for input in &mut inputs {
            let fact = graph.fact(*input);
            let is_one = fact.dims.elements() == Dim::Known(1) && fact.dims.rank() <= Some(known.len());
            match is_laid(*input) {
                Some((from, ..)) => *input = from,
                None if is_one && !fact.depends_on_data() => {}
                None => return None,
            }
        }
        node.operator_arc()?
    } else if node.is::<BiasAdd>().is_some_and(|bias| bias.is_second) {
        inputs[0] = is_laid(first)?.0;
        let channels =
            graph.fact(inputs[0]).dims.get().and_then(|dims| dims.last()).and_then(|dim| dim.size());
        let bias = graph.fact(*inputs.get(1)?).dims.elements().size();
        // An addition is what other passes know.
        match channels.is_some() && channels == bias {
            true => Arc::new(Binary { op: BinaryOp::Add }),
            false => Arc::new(BiasAdd { is_second: false }),
        }
    } else {
        let norm = node.is::<BatchNorm>().filter(|norm| norm.is_channels_first)?;
        let others = (1..node.facts.len() as u32).map(|output| ValueRef { node: id, output });
        if others.into_iter().any(|other| uses.is_used(graph, other)) {
            return None;
        }
        inputs[0] = is_laid(first)?.0;
        Arc::new(BatchNorm { is_channels_first: false, ..norm.clone() })
    };
    let name = node.name.clone();
    let made = insert(graph, uses, &name, operator, inputs)?;
    let made = insert(graph, uses, &name, Arc::new(Transpose::PLAIN), vec![made, order])?;
    forward(graph, uses, ValueRef::of(id), made);
    Some(())
}
