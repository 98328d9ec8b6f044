//! Makes one LayerNorm of the operators that models write it with: the moments of the last axis, the reciprocal of the
//! standard deviation, and then either
//!
//! - `x * inv + (beta - mean * inv)` with `inv = rsqrt(variance + epsilon) * gamma` (tf.nn.batch_normalization, which
//!   BERT and Keras go through), or
//! - `(x - mean) * rsqrt(variance + epsilon)`, or that divided by the root, and after it `* gamma` and `+ beta`.

use std::sync::Arc;

use tightfit_core::DType;
use tightfit_kernels::{BinaryOp, ReduceOp, UnaryOp};

use super::rewrite::{Uses, known_scalar, produced_by, replace, sweep};
use crate::ir::{Graph, NodeId, ValueRef};
use crate::ops::math::binary::Binary;
use crate::ops::math::reduce::Reduce;
use crate::ops::math::unary::Unary;
use crate::ops::nn::layer_norm::LayerNorm;

/// Makes all that can be.
pub fn fuse(graph: &mut Graph) -> bool {
    sweep(graph, |graph, uses, id| {
        let found = find(graph, uses, id)?;
        let operator = LayerNorm {
            epsilon: found.moments.epsilon,
            has_gamma: found.gamma.is_some(),
            has_beta: found.beta.is_some(),
        };
        let inputs = [Some(found.moments.x), found.gamma, found.beta].into_iter().flatten().collect();
        replace(graph, uses, id, Arc::new(operator), inputs);
        Some(())
    })
}

/// What a layer normalisation is of.
struct Found {
    moments: Moments,
    gamma: Option<ValueRef>,
    beta: Option<ValueRef>,
}

/// What a standard deviation is of.
#[derive(PartialEq, Clone, Copy)]
struct Moments {
    x: ValueRef,
    mean: ValueRef,
    epsilon: f32,
}

fn find(graph: &Graph, uses: &Uses, id: NodeId) -> Option<Found> {
    let node = graph.node(id);
    if !node.control.is_empty() || node.facts.first()?.dtype != DType::F32 {
        return None;
    }
    let value = ValueRef::of(id);
    let found = shifted(graph, value)
        .or_else(|| normalised(graph, value))
        .or_else(|| extended(graph, uses, value))?;
    let x = &graph.fact(found.moments.x).dims;
    (x == &node.facts[0].dims && x.rank().is_some()).then_some(found)
}

/// `x * inv + (beta - mean * inv)`.
fn shifted(graph: &Graph, value: ValueRef) -> Option<Found> {
    either_order(graph, value, BinaryOp::Add, |scaled, shift| {
        either_order(graph, scaled, BinaryOp::Mul, |x, inv| {
            let (moments, gamma) = inverse_deviation(graph, inv)?;
            let beta = shift_of(graph, shift, moments.mean, inv)?;
            (moments.x == x && is_row(graph, beta, x)).then_some(Found { moments, gamma, beta: Some(beta) })
        })
    })
}

/// The beta of `beta - mean * inv`.
fn shift_of(graph: &Graph, shift: ValueRef, mean: ValueRef, inv: ValueRef) -> Option<ValueRef> {
    let is_mean = |a: ValueRef| a == mean;
    let is_negated = |a: ValueRef| unary(graph, a, UnaryOp::Neg) == Some(mean);
    let is_product = |value: ValueRef, is_left: &dyn Fn(ValueRef) -> bool| {
        either_order(graph, value, BinaryOp::Mul, |a, b| (is_left(a) && b == inv).then_some(())).is_some()
    };
    if let Some((beta, product)) = binary(graph, shift, BinaryOp::Sub) {
        return is_product(product, &is_mean).then_some(beta);
    }
    either_order(graph, shift, BinaryOp::Add, |beta, product| {
        let is_negative = is_product(product, &is_negated)
            || unary(graph, product, UnaryOp::Neg).is_some_and(|p| is_product(p, &is_mean));
        is_negative.then_some(beta)
    })
}

/// `(x - mean) * inv`, or `(x - mean) / sqrt(..)`.
fn normalised(graph: &Graph, value: ValueRef) -> Option<Found> {
    let is_centred = |value: ValueRef, moments: &Moments| {
        binary(graph, value, BinaryOp::Sub) == Some((moments.x, moments.mean))
    };
    if let Some((centred, deviation)) = binary(graph, value, BinaryOp::Div) {
        let moments = moments(graph, unary(graph, deviation, UnaryOp::Sqrt)?)?;
        return is_centred(centred, &moments).then_some(Found { moments, gamma: None, beta: None });
    }
    either_order(graph, value, BinaryOp::Mul, |centred, inv| {
        let (moments, gamma) = inverse_deviation(graph, inv)?;
        is_centred(centred, &moments).then_some(Found { moments, gamma, beta: None })
    })
}

/// A layer normalisation that was found before, with a factor or a summand after it.
fn extended(graph: &Graph, uses: &Uses, value: ValueRef) -> Option<Found> {
    let previous = |value: ValueRef| {
        let (node, norm) = produced_by::<LayerNorm>(graph, value).filter(|_| uses.is_used_once(value))?;
        let x = *node.inputs.first()?;
        let gamma = if norm.has_gamma { Some(*node.inputs.get(1)?) } else { None };
        Some((Moments { x, mean: x, epsilon: norm.epsilon }, gamma, norm.has_beta))
    };
    let factor = either_order(graph, value, BinaryOp::Mul, |norm, row| match previous(norm)? {
        (moments, None, false) if is_row(graph, row, moments.x) => {
            Some(Found { moments, gamma: Some(row), beta: None })
        }
        _ => None,
    });
    factor.or_else(|| {
        either_order(graph, value, BinaryOp::Add, |norm, row| match previous(norm)? {
            (moments, gamma, false) if is_row(graph, row, moments.x) => {
                Some(Found { moments, gamma, beta: Some(row) })
            }
            _ => None,
        })
    })
}

/// What `rsqrt(variance + epsilon)`, perhaps times gamma, is of.
fn inverse_deviation(graph: &Graph, value: ValueRef) -> Option<(Moments, Option<ValueRef>)> {
    let plain = |value: ValueRef| {
        let sum = unary(graph, value, UnaryOp::Rsqrt).or_else(|| {
            let root = unary(graph, value, UnaryOp::Reciprocal)?;
            unary(graph, root, UnaryOp::Sqrt)
        })?;
        moments(graph, sum)
    };
    if let Some(moments) = plain(value) {
        return Some((moments, None));
    }
    either_order(graph, value, BinaryOp::Mul, |inv, gamma| {
        let moments = plain(inv)?;
        is_row(graph, gamma, moments.x).then_some((moments, Some(gamma)))
    })
}

/// What `variance + epsilon` is of.
fn moments(graph: &Graph, sum: ValueRef) -> Option<Moments> {
    either_order(graph, sum, BinaryOp::Add, |variance, epsilon| {
        let epsilon = known_scalar(graph, epsilon)?;
        let (x, mean) = squared_distance(graph, mean_of_rows(graph, variance)?)?;
        (mean_of_rows(graph, mean) == Some(x)).then_some(Moments { x, mean, epsilon })
    })
}

/// x and mean of `(x - mean)^2`.
fn squared_distance(graph: &Graph, value: ValueRef) -> Option<(ValueRef, ValueRef)> {
    if let Some((a, b)) = binary(graph, value, BinaryOp::SquaredDifference) {
        return Some(if mean_of_rows(graph, b) == Some(a) { (a, b) } else { (b, a) });
    }
    let difference = unary(graph, value, UnaryOp::Square).or_else(|| {
        let (a, b) = binary(graph, value, BinaryOp::Mul)?;
        (a == b).then_some(a)
    })?;
    binary(graph, difference, BinaryOp::Sub)
}

/// What a mean over the last axis, which stays with size 1, is of.
fn mean_of_rows(graph: &Graph, value: ValueRef) -> Option<ValueRef> {
    let (node, reduce) = produced_by::<Reduce>(graph, value)?;
    let (x, axes) = (*node.inputs.first()?, *node.inputs.get(1)?);
    let rank = graph.fact(x).dims.rank()? as i64;
    let is_last = matches!(graph.fact(axes).ints()?[..], [axis] if axis == -1 || axis == rank - 1);
    (reduce.op == ReduceOp::Mean && reduce.keep_dims && is_last).then_some(x)
}

/// True for a tensor of one element for each of the last axis of `x`.
fn is_row(graph: &Graph, row: ValueRef, x: ValueRef) -> bool {
    let (fact, x) = (graph.fact(row), graph.fact(x));
    let (Some(shape), Some(dims)) = (fact.dims.concrete(), x.dims.get()) else { return false };
    let (Some(columns), Some(last)) = (shape.last(), dims.last().and_then(|dim| dim.size())) else {
        return false;
    };
    fact.dtype == DType::F32 && *columns == last && shape.elements() == last && shape.rank() <= dims.len()
}

fn unary(graph: &Graph, value: ValueRef, op: UnaryOp) -> Option<ValueRef> {
    let (node, unary) = produced_by::<Unary>(graph, value)?;
    (unary.op == op).then_some(*node.inputs.first()?)
}

fn binary(graph: &Graph, value: ValueRef, op: BinaryOp) -> Option<(ValueRef, ValueRef)> {
    let (node, binary) = produced_by::<Binary>(graph, value)?;
    (binary.op == op).then_some((*node.inputs.first()?, *node.inputs.get(1)?))
}

/// `found` of the operands of a commutative function, in the order in which it finds something.
fn either_order<T>(
    graph: &Graph,
    value: ValueRef,
    op: BinaryOp,
    found: impl Fn(ValueRef, ValueRef) -> Option<T>,
) -> Option<T> {
    let (a, b) = binary(graph, value, op)?;
    found(a, b).or_else(|| found(b, a))
}
