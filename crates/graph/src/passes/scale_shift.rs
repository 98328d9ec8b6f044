//! Takes what is linear per channel after a product into its scale and shift: a bias, and batch norm however it is
//! written: FusedBatchNorm in inference, or the chain of Mul, Sub, Add and division by constants that Keras and TF1
//! leave in a frozen graph.
//!
//! The weights stay the file's own: `scale * (x . w) + shift` is computed as the sums are stored.

use tightfit_kernels::BinaryOp;

use super::rewrite::{Uses, known_floats, replace, sweep, vector_constant};
use crate::ir::{Graph, NodeId, ValueRef};
use crate::operator::product::{Fused, OWN_INPUTS};
use crate::ops::math::binary::Binary;
use crate::ops::nn::batch_norm::BatchNorm;

/// `factor * x + summand` per channel; one element for all channels, or one for each.
pub(super) struct Linear {
    pub factor: Vec<f64>,
    pub summand: Vec<f64>,
}

impl Linear {
    /// An element for each of so many channels; `None` where there are others than one or as many.
    pub fn of_channels(self, channels: usize) -> Option<Linear> {
        let spread = |values: Vec<f64>| match values[..] {
            [one] => Some(vec![one; channels]),
            _ => (values.len() == channels).then_some(values),
        };
        Some(Linear { factor: spread(self.factor)?, summand: spread(self.summand)? })
    }
}

/// Takes in all that can be.
pub fn fuse(graph: &mut Graph) -> bool {
    sweep(graph, fuse_node)
}

fn fuse_node(graph: &mut Graph, uses: &mut Uses, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (x, linear) = linear(graph, uses, id)?;
    let product_node = graph.producer(x);
    let product = product_node.operator()?.as_product()?;
    let fused = product.fused();
    let is_same_shape = graph.fact(x).dims == node.facts[0].dims;
    if !uses.is_used_once(x) || !fused.is_linear() || !is_same_shape || !node.control.is_empty() {
        return None;
    }
    let channels = graph.fact(x).dims.get()?.last()?.size()?;
    let Linear { factor, summand } = linear.of_channels(channels)?;
    let vector = |input: Option<usize>, default: f64| match input {
        Some(input) => {
            Some(known_floats(graph, product_node.inputs[input])?.into_iter().map(f64::from).collect())
        }
        None => Some(vec![default; channels]),
    };
    let scale: Vec<f64> = vector(fused.scale(), 1.0)?;
    let shift: Vec<f64> = vector(fused.shift(), 0.0)?;
    let scale: Vec<f32> = (0..channels).map(|i| (scale[i] * factor[i]) as f32).collect();
    let shift: Vec<f32> = (0..channels).map(|i| (shift[i] * factor[i] + summand[i]) as f32).collect();
    // A sum times infinity is not what the sum over zero is where weights or the shift are 0.
    if !scale.iter().chain(&shift).all(|value| value.is_finite()) {
        return None;
    }
    let fused = Fused {
        has_scale: scale.iter().any(|s| *s != 1.0),
        has_shift: shift.iter().any(|s| *s != 0.0),
        ..fused
    };
    let operator = product.with_fused(fused);
    let mut inputs = product_node.inputs[..OWN_INPUTS].to_vec();
    let name = node.name.to_string();
    if fused.has_scale {
        inputs.push(vector_constant(graph, &format!("{name}/scale"), &scale)?);
    }
    if fused.has_shift {
        inputs.push(vector_constant(graph, &format!("{name}/shift"), &shift)?);
    }
    // The statistics that a batch norm also returns were not used, see `linear`.
    graph.node_mut(id).facts.truncate(1);
    replace(graph, uses, id, operator, inputs);
    Some(())
}

/// The node as a linear function per channel of one of its inputs.
pub(super) fn linear(graph: &Graph, uses: &Uses, id: NodeId) -> Option<(ValueRef, Linear)> {
    let node = graph.node(id);
    if let Some(norm) = node.is::<BatchNorm>() {
        return batch_norm(graph, uses, id, norm);
    }
    let Binary { op } = node.is()?;
    let (a, b) = (*node.inputs.first()?, *node.inputs.get(1)?);
    if let Some(c) = per_channel(graph, b) {
        let (factor, summand) = match op {
            BinaryOp::Add => (vec![1.0], c),
            BinaryOp::Sub => (vec![1.0], c.into_iter().map(|c| -c).collect()),
            BinaryOp::Mul => (c, vec![0.0]),
            BinaryOp::Div => (c.into_iter().map(|c| 1.0 / c).collect(), vec![0.0]),
            _ => return None,
        };
        // A sum times infinity is not what the sum over zero is where weights or the shift are 0.
        let is_finite = factor.iter().chain(&summand).all(|f| (*f as f32).is_finite());
        return is_finite.then_some((a, Linear { factor, summand }));
    }
    let c = per_channel(graph, a)?;
    let (factor, summand) = match op {
        BinaryOp::Add => (vec![1.0], c),
        BinaryOp::Sub => (vec![-1.0], c),
        BinaryOp::Mul => (c, vec![0.0]),
        _ => return None,
    };
    let is_finite = factor.iter().chain(&summand).all(|f| (*f as f32).is_finite());
    is_finite.then_some((b, Linear { factor, summand }))
}

fn batch_norm(graph: &Graph, uses: &Uses, id: NodeId, norm: &BatchNorm) -> Option<(ValueRef, Linear)> {
    let node = graph.node(id);
    let uses_statistics =
        (1..node.facts.len() as u32).any(|output| uses.is_used(graph, ValueRef { node: id, output }));
    if norm.is_training || uses_statistics {
        return None;
    }
    let vector = |input: usize| known_floats(graph, *node.inputs.get(input)?);
    let (gamma, beta, mean, variance) = (vector(1)?, vector(2)?, vector(3)?, vector(4)?);
    let (factor, summand) = of_batch_norm([&gamma, &beta, &mean, &variance], norm.epsilon);
    Some((node.inputs[0], Linear { factor, summand }))
}

/// What a batch norm of the constants gamma, beta, mean and variance is for each channel: a factor, and what is added after it.
pub fn of_batch_norm([gamma, beta, mean, variance]: [&[f32]; 4], epsilon: f32) -> (Vec<f64>, Vec<f64>) {
    let root = |variance: f32| (f64::from(variance) + f64::from(epsilon)).sqrt();
    let factor: Vec<f64> =
        gamma.iter().zip(variance).map(|(gamma, variance)| f64::from(*gamma) / root(*variance)).collect();
    let centres = beta.iter().zip(mean).zip(&factor);
    let summand =
        centres.map(|((beta, mean), factor)| f64::from(*beta) - f64::from(*mean) * factor).collect();
    (factor, summand)
}

/// The elements of a constant that differs along its last axis at most.
fn per_channel(graph: &Graph, value: ValueRef) -> Option<Vec<f64>> {
    graph.producer(value).constant()?;
    let dims = graph.fact(value).dims.concrete()?;
    let is_vector = dims.split_last().is_none_or(|(_, outer)| outer.iter().all(|d| *d == 1));
    let values = known_floats(graph, value).filter(|_| is_vector)?;
    Some(values.into_iter().map(f64::from).collect())
}
