//! Functions of two elements: Add, Mul, Maximum, Pow, Less, LogicalAnd and their like.
//!
//! Shape: the inputs', broadcast by numpy's rules. Types: both inputs of one; float16 and bfloat16 are computed in
//! float32, integers wrap, and an integer division by zero or a negative integer exponent is an error. Add also joins
//! strings, for which it takes free memory as it runs; Equal and NotEqual compare them, by their bytes. The output may take the memory of an input of its shape;
//! comparisons' may not, since bools are smaller. The functions are those of `tightfit_kernels`' tables, which
//! docs/functions.md lists.

use tightfit_core::{DType, MAX_RANK, Shape, StringRef, TensorView};
use tightfit_kernels::{BinaryOp, CompareOp, FunctionRow, Src, binary, binary_flat, compare, compare_flat};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::same_dims;

const FUNCTIONS: usize = FunctionRow::count(BinaryOp::TABLE);
const COMPARISONS: usize = FunctionRow::count(CompareOp::TABLE);

/// The operators of both tables.
pub(crate) const OPS: &[Registration] = &{
    let mut all = [Registration { name: "", import }; FUNCTIONS + COMPARISONS];
    let mut at = 0;
    while at < all.len() {
        all[at] = match at.checked_sub(FUNCTIONS) {
            None => Registration { name: FunctionRow::node(BinaryOp::TABLE, at), import },
            Some(at) => {
                Registration { name: FunctionRow::node(CompareOp::TABLE, at), import: import_comparison }
            }
        };
        at += 1;
    }
    all
};

const NO_ROW: OpError = OpError::Internal("a function of two elements is not in their table");

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let row = FunctionRow::of_node(BinaryOp::TABLE, &attributes.node().op).ok_or(NO_ROW)?;
    Ok(Box::new(Binary { op: row.op }))
}

fn import_comparison(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let row = FunctionRow::of_node(CompareOp::TABLE, &attributes.node().op).ok_or(NO_ROW)?;
    let may_differ = !attributes.bool_or("incompatible_shape_error", true)?;
    Ok(Box::new(Comparison { op: row.op, may_differ }))
}

/// A function of two elements to one of the same type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Binary {
    /// Which.
    pub op: BinaryOp,
}

impl Operator for Binary {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn grows_with(&self, input: usize) -> bool {
        match self.op {
            BinaryOp::Add | BinaryOp::Mul | BinaryOp::Maximum | BinaryOp::Minimum | BinaryOp::Sub => true,
            BinaryOp::FloorDiv | BinaryOp::Div | BinaryOp::TruncateDiv => input == 0,
            _ => false,
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (a, b) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        let is_text = a.dtype == DType::String && self.op == BinaryOp::Add;
        if a.dtype != b.dtype || !(is_text || self.op.supports(a.dtype)) {
            return Err(OpError::input(1, format!("is of type {}, and input 0 of {}", b.dtype, a.dtype)));
        }
        let dims = if self.op.is_gradient() {
            same_dims([a, b].into_iter().enumerate())?
        } else if self.op.is_gradient_by_result() {
            return Ok(vec![Fact::new(a.dtype, a.dims.clone())]);
        } else {
            shared::broadcast(a, b)?
        };
        Ok(vec![match self.of_dims(a, b) {
            Some(values) => Fact::of_dims(a.dtype, dims, &values),
            None => Fact::new(a.dtype, dims),
        }])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let is_text = call.inputs.iter().any(|input| input.dtype == DType::String);
        if is_text { Memory::default() } else { Memory::overwrites(&[0, 1]) }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        if self.op.is_gradient_by_result() {
            let shape = run.shape(0);
            return run.set_output_shape(0, shape).ok();
        }
        reshape::elementwise(run)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let dtype = run.dtype(0);
        let is_plain = dtype != DType::String && !self.op.is_gradient() && !self.op.is_gradient_by_result();
        if is_plain && dtype == run.output_dtype(0) && run.is_flat() {
            let operands = [run.bytes_apart(0)?, run.bytes_apart(1)?];
            return Ok(binary_flat(run.pool, self.op, dtype, operands, run.out_bytes(0)?)?);
        }
        let (own, other) = (run.shape(0), run.shape(1));
        let fits = match (self.op.is_gradient(), self.op.is_gradient_by_result()) {
            (true, _) => own == other,
            (_, true) => own.elements() == other.elements(),
            _ => {
                shared::check_broadcast(&own, &other)?;
                true
            }
        };
        if !fits {
            return Err(OpError::input(1, format!("is of shape {other}, unlike an input before it")));
        }
        if run.dtype(0) == DType::String {
            return join_texts(run);
        }
        let (a, mut b) = (run.src(0)?, run.src(1)?);
        if let (Src::View(view), true) = (b, self.op.is_gradient_by_result()) {
            let as_own = TensorView::new(view.dtype(), own, view.bytes());
            b = Src::View(as_own.ok_or(OpError::Internal("a tensor is of other bytes than its shape"))?);
        }
        Ok(binary(run.pool, self.op, a, b, &mut run.output(0)?)?)
    }
}

impl Binary {
    /// The result for integers some of which are open dimensions, as models compute shapes with.
    fn of_dims(&self, a: &Fact, b: &Fact) -> Option<Vec<Dim>> {
        if self.op == BinaryOp::Sub && b.is_bound {
            // The most there can be is left where nothing is taken away.
            return a.dims_value().filter(|_| b.dims.elements() == Dim::Known(1));
        }
        let function = match self.op {
            BinaryOp::Add => Dim::plus,
            BinaryOp::Mul => Dim::times,
            BinaryOp::FloorDiv | BinaryOp::Div | BinaryOp::TruncateDiv => Dim::divided_by,
            _ => return None,
        };
        if !matches!(a.dtype, DType::I32 | DType::I64) {
            return None;
        }
        let (a, b) = (a.dims_value()?, b.dims_value()?);
        let at = |v: &[Dim], i: usize| if v.len() == 1 { v[0] } else { v[i] };
        let is_plain = a.len() == b.len() || a.len() == 1 || b.len() == 1;
        let len = if a.len() == 1 { b.len() } else { a.len() };
        is_plain.then(|| (0..len).map(|i| function(at(&a, i), at(&b, i))).collect())
    }
}

/// A comparison of two elements, answered with a bool.
#[derive(Debug, Clone, Copy)]
struct Comparison {
    op: CompareOp,
    /// Shapes that do not broadcast make tensors unequal, in place of an error.
    may_differ: bool,
}

impl Operator for Comparison {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (a, b) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        let is_text = a.dtype == DType::String && matches!(self.op, CompareOp::Equal | CompareOp::NotEqual);
        if a.dtype != b.dtype || !(is_text || self.op.supports(a.dtype)) {
            return Err(OpError::input(1, format!("is of type {}, and input 0 of {}", b.dtype, a.dtype)));
        }
        if self.may_differ {
            let dims =
                if a.is_bound || b.is_bound { most_dims(a, b) } else { lenient_dims(&a.dims, &b.dims) };
            return Ok(vec![Fact::new(DType::Bool, dims)]);
        }
        Ok(vec![Fact::new(DType::Bool, shared::broadcast(a, b)?)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::elementwise(run)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let dtype = run.dtype(0);
        if dtype != DType::String && !self.may_differ && run.is_flat() {
            let operands = [run.bytes(0)?, run.bytes(1)?];
            return Ok(compare_flat(run.pool, self.op, dtype, operands, run.out_bytes(0)?)?);
        }
        if self.may_differ && Dims::from(run.shape(0)).broadcast(&Dims::from(run.shape(1))).is_none() {
            run.out_bytes(0)?.fill((self.op == CompareOp::NotEqual) as u8);
            return Ok(());
        }
        shared::check_broadcast(&run.shape(0), &run.shape(1))?;
        if run.dtype(0) == DType::String {
            return self.compare_texts(run);
        }
        let (a, b) = (run.src(0)?, run.src(1)?);
        Ok(compare(run.pool, self.op, a, b, &mut run.output(0)?)?)
    }
}

/// The shape of a comparison that may be of shapes which do not broadcast: a scalar then, and open while that is.
fn lenient_dims(a: &Dims, b: &Dims) -> Dims {
    let (Some(x), Some(y)) = (a.get(), b.get()) else { return Dims::UNKNOWN };
    let is_settled = |(x, y): (&Dim, &Dim)| {
        let is_one = *x == Dim::Known(1) || *y == Dim::Known(1);
        is_one || (x == y && *x != Dim::Unknown) || (x.known().is_some() && y.known().is_some())
    };
    match a.broadcast(b) {
        None => Dims::scalar(),
        Some(dims) if x.iter().rev().zip(y.iter().rev()).all(is_settled) => dims,
        Some(_) => Dims::UNKNOWN,
    }
}

/// The most that operands which may be smaller can make: bounds that do not broadcast are of shapes that may.
fn most_dims(a: &Fact, b: &Fact) -> Dims {
    let (Some(x), Some(y)) = (a.dims.get(), b.dims.get()) else { return Dims::UNKNOWN };
    let rank = x.len().max(y.len());
    let at =
        |dims: &[Dim], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(Dim::Known(1), |i| dims[i]);
    let most = |axis: usize| match (at(x, axis), at(y, axis)) {
        (Dim::Known(a), Dim::Known(b)) => Dim::Known(a.max(b)),
        (a, b) if a == b || b == Dim::Known(1) => a,
        (Dim::Known(1), b) => b,
        _ => Dim::Unknown,
    };
    Dims::new((0..rank).map(most).collect::<Vec<_>>())
}

/// The two strings for each element of the output.
fn text_pairs<'a>(run: &Run<'a>) -> Result<impl Iterator<Item = [StringRef; 2]> + Clone + use<'a>, OpError> {
    let shape = run.output_shape(0);
    let (a, b) = (run.slice::<StringRef>(0)?, run.slice::<StringRef>(1)?);
    let steps = [broadcast_steps(&run.shape(0), shape.rank()), broadcast_steps(&run.shape(1), shape.rank())];
    Ok((0..shape.elements()).map(move |i| {
        let [x, y] = steps.map(|steps| place(i, &shape, &steps));
        [a[x], b[y]]
    }))
}

/// One string after the other.
fn join_texts(run: &mut Run<'_>) -> Result<(), OpError> {
    let pairs = text_pairs(run)?;
    let output = run.out::<StringRef>(0)?;
    for (to, [a, b]) in output.iter_mut().zip(pairs) {
        *to = run.joined_strings(a, b)?;
    }
    Ok(())
}

impl Comparison {
    /// Strings, by their bytes.
    fn compare_texts(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let pairs = text_pairs(run)?;
        for (out, [a, b]) in run.out_bytes(0)?.iter_mut().zip(pairs) {
            let is_same = run.string(a) == run.string(b);
            *out = (is_same == (self.op == CompareOp::Equal)) as u8;
        }
        Ok(())
    }
}

/// Elements from one index to the next along each axis of a result of `rank`, for an operand that is broadcast to it.
fn broadcast_steps(shape: &Shape, rank: usize) -> [usize; MAX_RANK] {
    let mut steps = [0; MAX_RANK];
    let missing = rank - shape.rank();
    for (axis, stride) in shape.strides().into_iter().take(shape.rank()).enumerate() {
        steps[missing + axis] = if shape[axis] == 1 { 0 } else { stride };
    }
    steps
}

/// The element of an operand for element `i` of a result.
fn place(i: usize, shape: &Shape, steps: &[usize; MAX_RANK]) -> usize {
    let strides = shape.strides();
    (0..shape.rank()).map(|axis| i / strides[axis] % shape[axis] * steps[axis]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn compares_strings_by_their_texts() {
        // Without a pool every text is empty: only shapes and broadcasting show here.
        let text = StringRef { offset: 0, bytes: 0 };
        let (column, row) = (tensor(&[2, 1], &[text; 2]), tensor(&[3], &[text; 3]));
        check("Equal", &[], &[column.clone(), row.clone()], &[bools(&[2, 3], &[true; 6])]);
        check("NotEqual", &[], &[row.clone(), scalar(text)], &[bools(&[3], &[false; 3])]);
        refuses("Less", &[], &[row, scalar(text)], "string");
    }

    #[test]
    fn shapes_that_do_not_broadcast_are_unequal_where_that_is_no_error() {
        let (two, three) = (tensor(&[2], &[1i32, 2]), tensor(&[3], &[1i32, 2, 3]));
        let lenient = [("incompatible_shape_error", flag(false))];
        check("Equal", &lenient, &[two.clone(), three.clone()], &[bools(&[], &[false])]);
        check("NotEqual", &lenient, &[two.clone(), three.clone()], &[bools(&[], &[true])]);
        refuses("Equal", &[], &[two, three], "broadcast");
    }

    #[test]
    fn bounds_that_do_not_broadcast_are_of_shapes_that_may() {
        let fact = |dims: &[i64], is_bound| {
            let dims = Dims::new(dims.iter().map(|n| Dim::Known(*n)).collect::<Vec<_>>());
            Fact { is_bound, ..Fact::new(DType::I32, dims) }
        };
        let equal = operator("Equal", &[("incompatible_shape_error", flag(false))]).unwrap();
        let facts = equal.infer(&[&fact(&[18, 3, 7], true), &fact(&[17, 1, 5], false)]).unwrap();
        assert_eq!(facts[0].dims, Dims::new([18, 3, 7].map(Dim::Known)));
    }

    #[test]
    fn truncates_quotients_of_every_type() {
        let floats = [tensor(&[3], &[7.0f32, -7.0, 1.0]), scalar(4.0f32)];
        check("TruncateDiv", &[], &floats, &[tensor(&[3], &[1.0f32, -1.0, 0.0])]);
        let whole = [tensor(&[2], &[7i32, -7]), scalar(4i32)];
        check("TruncateDiv", &[], &whole, &[tensor(&[2], &[1i32, -1])]);
    }

    #[test]
    fn known_operands_of_as_many_elements_may_be_broadcast() {
        let (column, row) = (tensor(&[2, 1], &[1i32, 2]), tensor(&[1, 2], &[10i32, 20]));
        check("Add", &[], &[column.clone(), row.clone()], &[tensor(&[2, 2], &[11i32, 21, 12, 22])]);
        let chosen = tensor(&[2, 2], &[1i32, 1, 2, 2]);
        check("SelectV2", &[], &[bools(&[], &[true]), column, row], &[chosen]);
    }

    #[test]
    fn operands_are_broadcast() {
        let shape = Shape::new(&[2, 3]).unwrap();
        let steps = broadcast_steps(&Shape::new(&[2, 1]).unwrap(), 2);
        assert_eq!([0, 2, 3, 5].map(|i| place(i, &shape, &steps)), [0, 0, 1, 1]);
        let steps = broadcast_steps(&Shape::new(&[3]).unwrap(), 2);
        assert_eq!([0, 2, 3, 5].map(|i| place(i, &shape, &steps)), [0, 2, 0, 2]);
    }

    #[test]
    fn gradients_by_results_go_by_elements() {
        let y = tensor(&[2, 1, 2], &[1f32, 2.0, 4.0, 0.5]);
        let dy = tensor(&[4], &[1f32, 1.0, 2.0, 1.0]);
        let expected = tensor(&[2, 1, 2], &[0.5f32, 0.25, 0.25, 1.0]);
        check("SqrtGrad", &[], &[y.clone(), dy.clone()], &[expected]);
        refuses("SqrtGrad", &[], &[y.clone(), tensor(&[2], &[1f32; 2])], "unlike an input before it");
        refuses("ReluGrad", &[], &[y, dy], "unlike an input before it");
    }
}
