//! Makes one step of activation functions that models spell out: gelu by the error function, by what it lacks of 1 or by tanh, swish
//! (x sigmoid(x)), hard swish and hard sigmoid.
//!
//! Each is `p(x) + q(x) f(a(x))` for one function f and polynomials p, q and a of at most third degree, so terms and
//! factors are recognised in whatever order they stand. The constants are those of the file: x may be divided by a root
//! of 2 or multiplied by 0.7071.

use std::sync::Arc;

use tightfit_core::DType;
use tightfit_kernels::{BinaryOp, UnaryOp};

use super::rewrite::{known_scalar, replace, sweep};
use crate::ir::{Graph, NodeId, NodeKind, ValueRef};
use crate::ops::math::binary::Binary;
use crate::ops::math::unary::Unary;

/// Makes all that can be.
pub fn fuse(graph: &mut Graph) -> bool {
    sweep(graph, |graph, uses, id| {
        let (op, x) = find(graph, id)?;
        replace(graph, uses, id, Arc::new(Unary { op }), vec![x]);
        Some(())
    })
}

/// How many operators deep an activation is looked into.
const DEPTH: usize = 6;

/// Coefficients of 1, x, x^2 and x^3.
type Polynomial = [f64; 4];

/// The functions that are recognised: what they are made of, and p, q and a.
const FORMS: &[(UnaryOp, UnaryOp, Polynomial, Polynomial, Polynomial)] = &[
    (UnaryOp::Swish, UnaryOp::Sigmoid, [0.0; 4], [0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]),
    (UnaryOp::HardSwish, UnaryOp::Relu6, [0.0; 4], [0.0, 1.0 / 6.0, 0.0, 0.0], [3.0, 1.0, 0.0, 0.0]),
    (UnaryOp::HardSigmoid, UnaryOp::Relu6, [0.0; 4], [1.0 / 6.0, 0.0, 0.0, 0.0], [3.0, 1.0, 0.0, 0.0]),
    (
        UnaryOp::Gelu,
        UnaryOp::Erf,
        [0.0, 0.5, 0.0, 0.0],
        [0.0, 0.5, 0.0, 0.0],
        [0.0, std::f64::consts::FRAC_1_SQRT_2, 0.0, 0.0],
    ),
    (
        UnaryOp::Gelu,
        UnaryOp::Erfc,
        [0.0; 4],
        [0.0, 0.5, 0.0, 0.0],
        [0.0, -std::f64::consts::FRAC_1_SQRT_2, 0.0, 0.0],
    ),
    (
        UnaryOp::GeluTanh,
        UnaryOp::Tanh,
        [0.0, 0.5, 0.0, 0.0],
        [0.0, 0.5, 0.0, 0.0],
        [0.0, 0.797_884_560_8, 0.0, 0.797_884_560_8 * 0.044_715],
    ),
];

fn find(graph: &Graph, id: NodeId) -> Option<(UnaryOp, ValueRef)> {
    let node = graph.node(id);
    let is_outer = matches!(node.is::<Binary>()?.op, BinaryOp::Mul | BinaryOp::Div);
    let fact = node.facts.first()?;
    if !is_outer || fact.dtype != DType::F32 || !node.control.is_empty() {
        return None;
    }
    let (function, argument, inner) = inner_function(graph, ValueRef::of(id), DEPTH)?;
    let mut candidates = Vec::new();
    collect(graph, argument, DEPTH, &mut candidates);
    let forms = FORMS.iter().filter(|form| form.1 == inner);
    forms.flat_map(|form| candidates.iter().map(move |x| (form, *x))).find_map(|((op, _, p, q, a), x)| {
        let is_argument = is_close(&expression(graph, argument, x, None, DEPTH)?.p, a);
        let outer = expression(graph, ValueRef::of(id), x, Some(function), DEPTH)?;
        let is_whole = is_argument && is_close(&outer.p, p) && is_close(&outer.q, q);
        (is_whole && graph.fact(x).dims == fact.dims && fact.dims.rank().is_some()).then_some((*op, x))
    })
}

/// The one function in a product, its argument, and which it is.
fn inner_function(graph: &Graph, value: ValueRef, depth: usize) -> Option<(ValueRef, ValueRef, UnaryOp)> {
    let node = graph.producer(value);
    if let Some(unary) = node.is::<Unary>() {
        let is_one = FORMS.iter().any(|form| form.1 == unary.op);
        return is_one.then_some((value, *node.inputs.first()?, unary.op));
    }
    node.is::<Binary>()?;
    let depth = depth.checked_sub(1)?;
    node.inputs.iter().find_map(|input| inner_function(graph, *input, depth))
}

/// The values that an expression may be one of, the nearest to the inputs first.
fn collect(graph: &Graph, value: ValueRef, depth: usize, into: &mut Vec<ValueRef>) {
    let node = graph.producer(value);
    let is_expression = node.is::<Unary>().is_some() || node.is::<Binary>().is_some();
    if let (true, Some(depth)) = (is_expression, depth.checked_sub(1)) {
        node.inputs.iter().for_each(|input| collect(graph, *input, depth, into));
    }
    if !matches!(node.kind, NodeKind::Constant(_)) && !into.contains(&value) {
        into.push(value);
    }
}

/// `p(x) + q(x) f`.
#[derive(Clone, Copy, Default)]
struct Expression {
    p: Polynomial,
    q: Polynomial,
}

/// A value as an expression of `x` and the function `f`, or `None` where it is more than that.
fn expression(
    graph: &Graph,
    value: ValueRef,
    x: ValueRef,
    f: Option<ValueRef>,
    depth: usize,
) -> Option<Expression> {
    if value == x {
        return Some(Expression { p: [0.0, 1.0, 0.0, 0.0], q: [0.0; 4] });
    }
    if Some(value) == f {
        return Some(Expression { p: [0.0; 4], q: [1.0, 0.0, 0.0, 0.0] });
    }
    if let Some(constant) = known_scalar(graph, value) {
        return Some(Expression { p: [constant as f64, 0.0, 0.0, 0.0], q: [0.0; 4] });
    }
    let node = graph.producer(value);
    let depth = depth.checked_sub(1)?;
    let of = |input: usize| expression(graph, *node.inputs.get(input)?, x, f, depth);
    if let Some(unary) = node.is::<Unary>() {
        let a = of(0)?;
        return match unary.op {
            UnaryOp::Neg => Some(combine(Expression::default(), a, -1.0)),
            UnaryOp::Square => product(a, a),
            _ => None,
        };
    }
    let (a, b) = (of(0)?, of(1)?);
    match node.is::<Binary>()?.op {
        BinaryOp::Add => Some(combine(a, b, 1.0)),
        BinaryOp::Sub => Some(combine(a, b, -1.0)),
        BinaryOp::Mul => product(a, b),
        BinaryOp::Div => product(a, constant(1.0 / as_constant(b)?)),
        BinaryOp::Pow => match as_constant(b)? {
            2.0 => product(a, a),
            3.0 => product(product(a, a)?, a),
            _ => None,
        },
        _ => None,
    }
}

fn constant(value: f64) -> Expression {
    Expression { p: [value, 0.0, 0.0, 0.0], q: [0.0; 4] }
}

fn as_constant(e: Expression) -> Option<f64> {
    (e.p[1..] == [0.0; 3] && e.q == [0.0; 4]).then_some(e.p[0])
}

fn combine(a: Expression, b: Expression, factor: f64) -> Expression {
    let sum = |a: Polynomial, b: Polynomial| std::array::from_fn(|i| a[i] + factor * b[i]);
    Expression { p: sum(a.p, b.p), q: sum(a.q, b.q) }
}

/// The product, or `None` where f would be squared or the degree be above 3.
fn product(a: Expression, b: Expression) -> Option<Expression> {
    let none = [0.0; 4];
    if a.q != none && b.q != none {
        return None;
    }
    let sum = |a: Polynomial, b: Polynomial| std::array::from_fn(|i| a[i] + b[i]);
    Some(Expression { p: multiply(a.p, b.p)?, q: sum(multiply(a.q, b.p)?, multiply(a.p, b.q)?) })
}

fn multiply(a: Polynomial, b: Polynomial) -> Option<Polynomial> {
    let mut result = [0.0; 4];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate().filter(|(_, y)| *x != 0.0 && **y != 0.0) {
            *result.get_mut(i + j)? += x * y;
        }
    }
    Some(result)
}

/// The constants of files are rounded, some to four digits.
fn is_close(a: &Polynomial, b: &Polynomial) -> bool {
    a.iter().zip(b).all(|(x, y)| (x - y).abs() <= 2e-4 * y.abs().max(1e-3))
}
