//! Runs one operator on given tensors, for the cases at the end of each operator's file.
//!
//! Besides the result this checks inference: with less known of the inputs it must still accept them, and say nothing
//! that the result contradicts.

use tightfit_core::{DType, Element, Shape, TensorView};
use tightfit_format::{AttrValue, ListValue, NodeDef};

use crate::dim::{Dim, Dims};
use crate::fact::{Fact, KNOWN_VALUE_MAX_BYTES};
use crate::operator::attributes::Attributes;
use crate::operator::evaluate;
use crate::operator::{OpError, Operator};
use crate::ops;

/// A tensor with its elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub dtype: DType,
    pub shape: Shape,
    pub bytes: Vec<u8>,
}

impl Tensor {
    /// The elements; panics for another type.
    pub fn values<T: Element>(&self) -> Vec<T> {
        assert_eq!(self.dtype, T::DTYPE);
        self.bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
    }

    fn view(&self) -> TensorView<'_> {
        TensorView::new(self.dtype, self.shape, &self.bytes).unwrap()
    }

    fn fact(&self) -> Fact {
        if self.dtype != DType::String && self.bytes.len() <= KNOWN_VALUE_MAX_BYTES {
            Fact::known(self.dtype, self.shape, self.bytes.as_slice())
        } else {
            Fact::new(self.dtype, self.shape)
        }
    }
}

/// A tensor of numbers or of string references.
pub fn tensor<T: Element>(dims: &[usize], values: &[T]) -> Tensor {
    let shape = Shape::new(dims).unwrap();
    assert_eq!(shape.elements(), values.len(), "{shape} is not the shape of {} elements", values.len());
    Tensor { dtype: T::DTYPE, shape, bytes: bytemuck::cast_slice(values).to_vec() }
}

/// A tensor without dimensions.
pub fn scalar<T: Element>(value: T) -> Tensor {
    tensor(&[], &[value])
}

/// A tensor of bools.
pub fn bools(dims: &[usize], values: &[bool]) -> Tensor {
    let bytes: Vec<u8> = values.iter().map(|b| *b as u8).collect();
    Tensor { dtype: DType::Bool, ..tensor(dims, &bytes) }
}

/// An integer attribute.
pub fn int(value: i64) -> AttrValue {
    AttrValue::Int(value)
}

/// An attribute that lists integers.
pub fn ints(values: &[i64]) -> AttrValue {
    AttrValue::List(ListValue::Ints(values.to_vec()))
}

/// An attribute that lists numbers.
pub fn floats(values: &[f32]) -> AttrValue {
    AttrValue::List(ListValue::Floats(values.to_vec()))
}

/// A number attribute.
pub fn float(value: f32) -> AttrValue {
    AttrValue::Float(value)
}

/// A bool attribute.
pub fn flag(value: bool) -> AttrValue {
    AttrValue::Bool(value)
}

/// A text attribute.
pub fn text(value: &str) -> AttrValue {
    AttrValue::Str(value.as_bytes().into())
}

/// A type attribute.
pub fn dtype(value: DType) -> AttrValue {
    AttrValue::Type(match value {
        DType::F32 => 1,
        DType::F64 => 2,
        DType::I32 => 3,
        DType::U8 => 4,
        DType::I16 => 5,
        DType::I8 => 6,
        DType::String => 7,
        DType::C64 => 8,
        DType::I64 => 9,
        DType::Bool => 10,
        DType::BF16 => 14,
        DType::U16 => 17,
        DType::C128 => 18,
        DType::F16 => 19,
        DType::U32 => 22,
        DType::U64 => 23,
    })
}

/// An operator as a node of a file with these attributes makes it.
pub fn operator(op: &str, attributes: &[(&str, AttrValue)]) -> Result<Box<dyn Operator>, OpError> {
    let attrs = attributes.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
    let node = NodeDef { name: "test".into(), op: op.into(), attrs, ..NodeDef::default() };
    let registration = ops::find(op).unwrap_or_else(|| panic!("{op} is not registered"));
    (registration.import)(&Attributes::new(&node))
}

/// The outputs of an operator.
///
/// # Errors
/// What import, inference or run refuse.
pub fn run(op: &str, attributes: &[(&str, AttrValue)], inputs: &[Tensor]) -> Result<Vec<Tensor>, OpError> {
    let operator = operator(op, attributes)?;
    let facts: Vec<Fact> = inputs.iter().map(Tensor::fact).collect();
    let inferred = infer(&*operator, &facts)?;
    let outputs = compute(&*operator, inputs, &inferred)?;
    check_facts(op, &inferred, &outputs);

    let without_values: Vec<Fact> = inputs.iter().map(|t| Fact::new(t.dtype, t.shape)).collect();
    let inferred = infer(&*operator, &without_values).expect("values are not needed to accept the inputs");
    check_facts(op, &inferred, &outputs);
    assert_eq!(
        compute(&*operator, inputs, &inferred)?,
        outputs,
        "{op} computes the same where less is known"
    );
    for (i, _) in inputs.iter().enumerate() {
        for open in [Dims::of_rank(inputs[i].shape.rank()), Dims::UNKNOWN] {
            let mut facts = facts.clone();
            facts[i] = Fact::new(inputs[i].dtype, open);
            let inferred = infer(&*operator, &facts).expect("an open shape is accepted");
            check_facts(op, &inferred, &outputs);
        }
    }
    Ok(outputs)
}

/// Checks an operator's outputs, all bits of them.
pub fn check(op: &str, attributes: &[(&str, AttrValue)], inputs: &[Tensor], expected: &[Tensor]) {
    let outputs = run(op, attributes, inputs).unwrap_or_else(|error| panic!("{op}: {error}"));
    assert_eq!(outputs.len(), expected.len(), "the number of outputs of {op}");
    for (output, expected) in outputs.iter().zip(expected) {
        assert_eq!((output.dtype, output.shape), (expected.dtype, expected.shape), "{op}");
        if output.bytes != expected.bytes {
            panic!("{op}:\n{}\nis not\n{}", show(output), show(expected));
        }
    }
}

/// Checks that an operator takes inputs of these shapes, and refuses them once it sees their values.
pub fn refuses_as_it_runs(op: &str, attributes: &[(&str, AttrValue)], inputs: &[Tensor], why: &str) {
    refuses_after(op, attributes, inputs, |tensor| Fact::new(tensor.dtype, tensor.shape), why);
}

/// The same of inputs whose shapes too are not known before.
pub fn refuses_shapes_as_it_runs(op: &str, attributes: &[(&str, AttrValue)], inputs: &[Tensor], why: &str) {
    refuses_after(op, attributes, inputs, |tensor| Fact::new(tensor.dtype, Dims::UNKNOWN), why);
}

fn refuses_after(
    op: &str,
    attributes: &[(&str, AttrValue)],
    inputs: &[Tensor],
    known: impl Fn(&Tensor) -> Fact,
    why: &str,
) {
    let operator = operator(op, attributes).unwrap();
    let inferred = infer(&*operator, &inputs.iter().map(known).collect::<Vec<_>>()).unwrap();
    let error = compute(&*operator, inputs, &inferred).unwrap_err().to_string();
    assert!(error.contains(why), "{op}: {error}");
}

/// Checks the one float32 output of an operator against values that may differ by `tolerance`, absolute or relative.
pub fn check_close(
    op: &str,
    attributes: &[(&str, AttrValue)],
    inputs: &[Tensor],
    expected: &Tensor,
    tolerance: f32,
) {
    let outputs = run(op, attributes, inputs).unwrap_or_else(|error| panic!("{op}: {error}"));
    assert_eq!((outputs[0].dtype, outputs[0].shape), (expected.dtype, expected.shape), "{op}");
    for (i, (x, y)) in outputs[0].values::<f32>().iter().zip(expected.values::<f32>()).enumerate() {
        let is_close = (x - y).abs() <= tolerance * y.abs().max(1.0) || *x == y || (x.is_nan() && y.is_nan());
        assert!(is_close, "{op}: element {i} is {x}, not {y}");
    }
}

/// Checks that an operator refuses its inputs or attributes, and names `why`.
pub fn refuses(op: &str, attributes: &[(&str, AttrValue)], inputs: &[Tensor], why: &str) {
    match run(op, attributes, inputs) {
        Ok(outputs) => panic!("{op} accepts these inputs: {outputs:?}"),
        Err(error) => assert!(error.to_string().contains(why), "{op} refuses for another reason: {error}"),
    }
}

fn infer(operator: &dyn Operator, facts: &[Fact]) -> Result<Vec<Fact>, OpError> {
    let facts: Vec<_> = facts.iter().collect();
    crate::operator::ranks::check(operator.name(), &facts)?;
    operator.infer(&facts)
}

fn compute(operator: &dyn Operator, inputs: &[Tensor], facts: &[Fact]) -> Result<Vec<Tensor>, OpError> {
    let views: Vec<_> = inputs.iter().map(Tensor::view).collect();
    let values = evaluate(operator, &views, facts, &tightfit_core::MemoryBudget::new(u64::MAX))?;
    let outputs = values.into_iter().zip(facts);
    Ok(outputs.map(|((shape, bytes), fact)| Tensor { dtype: fact.dtype, shape, bytes }).collect())
}

/// Fails when a fact says what is not so.
fn check_facts(op: &str, facts: &[Fact], outputs: &[Tensor]) {
    assert_eq!(facts.len(), outputs.len(), "{op}: outputs inferred");
    for (fact, output) in facts.iter().zip(outputs) {
        assert_eq!(fact.dtype, output.dtype, "{op}: type inferred");
        for (dims, is_bound) in [(&fact.dims, false), (fact.planned_dims(), fact.depends_on_data())] {
            let Some(dims) = dims.get() else { continue };
            let fits = |(dim, size): (&Dim, &usize)| match dim.size() {
                Some(n) if is_bound => *size <= n,
                Some(n) => *size == n,
                None => !matches!(dim, Dim::Known(_)),
            };
            let is_right =
                dims.len() == output.shape.rank() && dims.iter().zip(output.shape.iter()).all(fits);
            assert!(is_right, "{op}: inferred {fact}, computed {}", output.shape);
        }
        if let Some(view) = fact.view() {
            assert_eq!(view.bytes(), output.bytes, "{op}: value inferred");
        }
    }
}

fn show(tensor: &Tensor) -> String {
    match tensor.dtype {
        DType::F32 => format!("{:?}", tensor.values::<f32>()),
        DType::F64 => format!("{:?}", tensor.values::<f64>()),
        DType::I32 => format!("{:?}", tensor.values::<i32>()),
        DType::I64 => format!("{:?}", tensor.values::<i64>()),
        _ => format!("{:?}", tensor.bytes),
    }
}
