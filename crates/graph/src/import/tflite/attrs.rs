//! Attributes of nodes, and what tensors of the file are in them.

use tightfit_format::tflite::Tensor;
use tightfit_format::{AttrValue, DataType, ListValue};

use super::build::Refusal;

/// An output of a node.
pub(super) type Value = Box<str>;

/// The attributes of a node.
pub(super) type Attrs = Vec<(Box<str>, AttrValue)>;

/// Numbers of TensorFlow's types.
pub(super) mod types {
    pub const F32: i32 = 1;
    pub const I32: i32 = 3;
    pub const U8: i32 = 4;
    pub const I16: i32 = 5;
    pub const I8: i32 = 6;
    pub const I64: i32 = 9;
    pub const F16: i32 = 19;
}

pub(super) fn why<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Why(why.into()))
}

pub(super) fn int(name: &str, value: i64) -> (Box<str>, AttrValue) {
    (name.into(), AttrValue::Int(value))
}

pub(super) fn float(name: &str, value: f32) -> (Box<str>, AttrValue) {
    (name.into(), AttrValue::Float(value))
}

pub(super) fn truth(name: &str, value: bool) -> (Box<str>, AttrValue) {
    (name.into(), AttrValue::Bool(value))
}

pub(super) fn text(name: &str, value: &str) -> (Box<str>, AttrValue) {
    (name.into(), AttrValue::Str(value.as_bytes().into()))
}

pub(super) fn kind(name: &str, value: i32) -> (Box<str>, AttrValue) {
    (name.into(), AttrValue::Type(value))
}

pub(super) fn ints(name: &str, values: &[i64]) -> (Box<str>, AttrValue) {
    let list = if values.is_empty() { ListValue::Empty } else { ListValue::Ints(values.to_vec()) };
    (name.into(), AttrValue::List(list))
}

pub(super) fn floats(name: &str, values: &[f32]) -> (Box<str>, AttrValue) {
    let list = if values.is_empty() { ListValue::Empty } else { ListValue::Floats(values.to_vec()) };
    (name.into(), AttrValue::List(list))
}

/// The type of a tensor.
pub(super) fn data_type(tensor: &Tensor) -> Result<i32, Refusal> {
    match tensor.kind.data_type() {
        // Elements of two or four bits are a byte each.
        Some(DataType(29 | 31)) => Ok(types::I8),
        Some(DataType(30)) => Ok(types::U8),
        Some(data_type) => Ok(data_type.0),
        None => {
            why(format!("takes '{}' of type {}, which schema.fbs does not have", tensor.name, tensor.kind.0))
        }
    }
}

/// Scales and zero points of tensors, one after the other; nothing for tensors without any.
pub(super) fn add_scales(attrs: &mut Attrs, name: &str, tensors: &[&Tensor]) {
    let known = || tensors.iter().filter_map(|tensor| tensor.quantization.as_ref());
    let scales: Vec<f32> = known().flat_map(|q| q.scales.iter().copied()).collect();
    let zero_points: Vec<i64> = known().flat_map(|q| q.zero_points.iter().copied()).collect();
    if !scales.is_empty() {
        attrs.push(floats(&format!("{name}_scale"), &scales));
        attrs.push(ints(&format!("{name}_zero_point"), &zero_points));
    }
}

/// The attributes that say which integers floats become.
pub(super) fn scales_of(tensor: &Tensor) -> Result<Attrs, Refusal> {
    let mut attrs = vec![kind("output_type", data_type(tensor)?)];
    add_scales(&mut attrs, "output", &[tensor]);
    Ok(attrs)
}
