//! Makes one step of a Mul by a constant for each channel, the Add of one after it, and what may follow: batch norms before their
//! convolution, which are no part of a product.

use std::sync::Arc;

use tightfit_core::DType;
use tightfit_kernels::BinaryOp;

use super::rewrite::{Uses, replace, sweep, vector_constant};
use super::scale_shift::per_channel;
use crate::ir::{Graph, NodeId, ValueRef};
use crate::operator::product::Fused;
use crate::ops::math::binary::Binary;
use crate::ops::math::channel_scale::ChannelScale;

/// Makes all that can be.
pub fn make(graph: &mut Graph) -> bool {
    sweep(graph, make_one)
}

fn make_one(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let (scaled, shift) = with_constant(graph, id, BinaryOp::Add)?;
    let (x, factor) = with_constant(graph, scaled.node, BinaryOp::Mul)?;
    let channels = graph.fact(x).dims.get()?.last()?.size()?;
    let is_same_shape = [scaled, ValueRef::of(id)].iter().all(|v| graph.fact(*v).dims == graph.fact(x).dims);
    if !uses.is_used_once(scaled) || !is_same_shape || channels < 2 {
        return None;
    }
    let name = graph.node(id).name.to_string();
    let vector = |values: Vec<f64>| -> Option<Vec<f32>> {
        let values: Vec<f32> = match values[..] {
            [one] => vec![one as f32; channels],
            _ => values.iter().map(|value| *value as f32).collect(),
        };
        (values.len() == channels).then_some(values)
    };
    let (factor, shift) = (vector(factor)?, vector(shift)?);
    let factor = vector_constant(graph, &format!("{name}/factor"), &factor)?;
    let shift = vector_constant(graph, &format!("{name}/shift"), &shift)?;
    let fused = Fused { has_shift: true, ..Fused::default() };
    replace(graph, uses, id, Arc::new(ChannelScale { fused }), vec![x, factor, shift]);
    Some(())
}

/// The value, and the constant that differs along the last axis at most, of a node that does this with them.
fn with_constant(graph: &Graph, id: NodeId, op: BinaryOp) -> Option<(ValueRef, Vec<f64>)> {
    let node = graph.node(id);
    let is_it = node.is::<Binary>()?.op == op && node.facts.first()?.dtype == DType::F32;
    let &[a, b] = &node.inputs[..] else { return None };
    if !is_it || !node.control.is_empty() {
        return None;
    }
    match (per_channel(graph, a), per_channel(graph, b)) {
        (None, Some(constant)) => Some((a, constant)),
        (Some(constant), None) => Some((b, constant)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tightfit_core::{Shape, TensorView};

    use crate::exec::Feed;
    use crate::import::text_graph::{context, filter, graph, placeholder, plain};

    #[test]
    fn a_norm_before_its_activation_is_one_step() {
        let text = [
            placeholder("x", &[3, 4]),
            filter("factor", &[4]),
            filter("by", &[4]),
            plain("scaled", "Mul", "factor x"),
            plain("shifted", "AddV2", "scaled by"),
            plain("y", "Relu", "shifted"),
        ];
        let text = text.join("\n");
        let names = |fetches: &[&str]| -> Vec<&str> {
            let context = context(graph(&text, fetches).unwrap(), 1);
            context.plan().steps.iter().map(|step| step.op_name()).collect()
        };
        assert_eq!(names(&["y"]), ["Mul"]);
        assert_eq!(names(&["y", "scaled"]), ["Mul", "Add", "Relu"]);
        let mut context = context(graph(&text, &["y"]).unwrap(), 1);
        let x: Vec<f32> = (0..12).map(|i| (i as f32 * 1.3).cos()).collect();
        let shape = Shape::new(&[3, 4]).unwrap();
        context.run(&[Feed::Tensor(TensorView::from_slice(shape, &x).unwrap())]).unwrap();
        let constant = |i: usize, name: &str| ((i % 4) as f32 * 0.7 + name.len() as f32).sin();
        for (i, y) in context.output(0).unwrap().as_slice::<f32>().unwrap().iter().enumerate() {
            let expected = (x[i] * constant(i, "factor") + constant(i, "by")).max(0.0);
            assert!((y - expected).abs() < 1e-6, "{i}: {y} {expected}");
        }
    }
}
