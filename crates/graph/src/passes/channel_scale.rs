//! Makes one step of a factor for each channel, the summand after it, and what may follow: batch norms before their
//! convolution, which are no part of a product.

use std::sync::Arc;

use super::rewrite::{Uses, replace, sweep, vector_constant};
use super::scale_shift::linear;
use crate::ir::{Graph, NodeId, ValueRef};
use crate::operator::product::Fused;
use crate::ops::math::channel_scale::ChannelScale;

/// Makes all that can be.
pub fn make(graph: &mut Graph) -> bool {
    sweep(graph, make_one)
}

fn make_one(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let (scaled, after) = linear(graph, uses, id)?;
    let (x, before) = linear(graph, uses, scaled.node)?;
    let channels = graph.fact(x).dims.get()?.last()?.size().filter(|channels| *channels > 1)?;
    let (before, after) = (before.of_channels(channels)?, after.of_channels(channels)?);
    // Sums are left in their order: other ones would be rounded otherwise.
    let is_scale_then_shift =
        before.summand.iter().all(|s| *s == 0.0) && after.factor.iter().all(|f| *f == 1.0);
    let is_same_shape = [scaled, ValueRef::of(id)].iter().all(|v| graph.fact(*v).dims == graph.fact(x).dims);
    let waits = [id, scaled.node].iter().any(|node| !graph.node(*node).control.is_empty());
    if !is_scale_then_shift || !is_same_shape || waits || !uses.is_used_once(scaled) {
        return None;
    }
    let name = graph.node(id).name.to_string();
    let mut constant = |what: &str, values: Vec<f64>| {
        let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
        vector_constant(graph, &format!("{name}/{what}"), &values)
    };
    let inputs = vec![x, constant("factor", before.factor)?, constant("shift", after.summand)?];
    let fused = Fused { has_shift: true, ..Fused::default() };
    replace(graph, uses, id, Arc::new(ChannelScale { fused }), inputs);
    Some(())
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
