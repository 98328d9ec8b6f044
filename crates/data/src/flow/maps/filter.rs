//! Elements left out by what one of their fields is: `tf.data.Dataset.filter` with a comparison.

use std::cmp::Ordering;
use std::sync::Arc;

use tightfit_core::{DType, MemoryBudget};

use super::{MapOp, MapWorker, Verdict};
use crate::convert::{to_float, to_whole};
use crate::error::{DataError, RowFault};
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::scalar::Scalar;
use crate::flow::spec::StageSpec;
use crate::flow::stages::map::read_each;

/// What a field has to be for its element to go on.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub enum Condition {
    /// This value.
    Equals(Scalar),
    /// Any other value.
    NotEquals(Scalar),
    /// A smaller value.
    Less(Scalar),
    /// A larger value.
    Greater(Scalar),
    /// This value or a larger one.
    AtLeast(Scalar),
    /// This value or a smaller one.
    AtMost(Scalar),
    /// As long as this or longer: along its first dimension, or of a single string, in bytes.
    MinLength(u64),
    /// As long as this or shorter.
    MaxLength(u64),
}

impl Condition {
    fn value(&self) -> Option<&Scalar> {
        match self {
            Condition::Equals(value)
            | Condition::NotEquals(value)
            | Condition::Less(value)
            | Condition::Greater(value)
            | Condition::AtLeast(value)
            | Condition::AtMost(value) => Some(value),
            Condition::MinLength(_) | Condition::MaxLength(_) => None,
        }
    }

    /// Whether it holds for a value that compares as `order` with that of the condition, `None` for NaN.
    fn holds(&self, order: Option<Ordering>) -> bool {
        match self {
            Condition::Equals(_) => order == Some(Ordering::Equal),
            Condition::NotEquals(_) => order != Some(Ordering::Equal),
            Condition::Less(_) => order == Some(Ordering::Less),
            Condition::Greater(_) => order == Some(Ordering::Greater),
            Condition::AtLeast(_) => order.is_some_and(Ordering::is_ge),
            Condition::AtMost(_) => order.is_some_and(Ordering::is_le),
            Condition::MinLength(_) | Condition::MaxLength(_) => true,
        }
    }
}

/// Leaves out elements unless all conditions hold. A value that is compared with a field of floats is one of its type:
/// 0.1 is what a float32 field holds of it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Filter {
    /// The field that is looked at.
    pub field: String,
    /// What it has to be.
    pub conditions: Vec<Condition>,
}

impl MapOp for Filter {
    fn identity(&self) -> serde_json::Value {
        identity::of("filter", self)
    }

    fn name(&self) -> String {
        format!("filter {:?} {:?}", self.field, self.conditions)
    }

    fn schema(&self, input: &Schema) -> Result<Schema, String> {
        Worker::new(self, input)?;
        Ok(input.clone())
    }

    fn worker(&self, input: &Schema, _budget: &MemoryBudget) -> Result<Box<dyn MapWorker>, DataError> {
        Ok(Box::new(Worker::new(self, input).map_err(DataError::Spec)?))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let field = args.text()?.to_string();
    let mut conditions = Vec::new();
    type Comparison = fn(Scalar) -> Condition;
    let comparisons: [(&str, Comparison); 6] = [
        ("equals", Condition::Equals),
        ("not_equals", Condition::NotEquals),
        ("less", Condition::Less),
        ("greater", Condition::Greater),
        ("at_least", Condition::AtLeast),
        ("at_most", Condition::AtMost),
    ];
    for (key, condition) in comparisons {
        if let Some(value) = args.option(key) {
            let value = Scalar::from_json(value).ok_or_else(|| args.wrong(key, "a number or text"))?;
            conditions.push(condition(value));
        }
    }
    conditions.extend(args.number_option("min_length")?.map(Condition::MinLength));
    conditions.extend(args.number_option("max_length")?.map(Condition::MaxLength));
    if conditions.is_empty() {
        let keys: Vec<_> = comparisons.iter().map(|(key, _)| *key).collect();
        return Err(format!("filter: by what? There is {}, min_length, max_length", keys.join(", ")));
    }
    read_each(Filter { field, conditions }, args)
}

struct Worker {
    field: String,
    index: usize,
    tests: Vec<(Condition, Value)>,
}

/// What a field is compared with, of the field's kind.
enum Value {
    Whole(i128),
    Float(f64),
    Text(Vec<u8>),
    Length,
}

impl Worker {
    fn new(filter: &Filter, input: &Schema) -> Result<Worker, String> {
        let index = input.index(&filter.field)?;
        let mut tests = Vec::with_capacity(filter.conditions.len());
        if let Some(field) = input.fields().get(index) {
            for condition in &filter.conditions {
                let (dtype, is_scalar) = (field.dtype, field.dims.iter().all(|dim| *dim == Some(1)));
                let value = match condition.value() {
                    None if field.dims.is_empty() && dtype != DType::String => {
                        return Err(format!("{field} has no length"));
                    }
                    None => Value::Length,
                    Some(_) if !is_scalar => {
                        return Err(format!("{field} is not a scalar, so it cannot be compared"));
                    }
                    Some(value) if dtype == DType::String => Value::Text(value.bytes(dtype)?),
                    Some(Scalar::Int(value)) if !dtype.is_float() => Value::Whole(*value),
                    Some(Scalar::Bool(value)) if !dtype.is_float() => Value::Whole(i128::from(*value)),
                    // A whole number compared with a fraction.
                    Some(Scalar::Float(value)) if !dtype.is_float() => Value::Float(*value),
                    Some(value) => {
                        let value = to_float(dtype, &value.bytes(dtype)?);
                        Value::Float(value.ok_or_else(|| format!("{field} cannot be compared"))?)
                    }
                };
                if dtype.is_complex() {
                    return Err(format!("{field} cannot be compared"));
                }
                tests.push((condition.clone(), value));
            }
        }
        Ok(Worker { field: filter.field.clone(), index, tests })
    }

    fn keeps(&self, input: &ElementView<'_>) -> Option<bool> {
        let tensor = input.tensor(self.index)?;
        for (condition, value) in &self.tests {
            let holds = match (value, condition) {
                (Value::Whole(value), _) => {
                    condition.holds(Some(to_whole(tensor.dtype(), tensor.bytes())?.cmp(value)))
                }
                (Value::Float(value), _) => {
                    condition.holds(to_float(tensor.dtype(), tensor.bytes())?.partial_cmp(value))
                }
                (Value::Text(value), _) => condition.holds(Some(input.string(self.index).ok()?.cmp(value))),
                (Value::Length, _) => {
                    let length = match tensor.shape().first() {
                        Some(first) => *first,
                        None => input.string(self.index).ok()?.len(),
                    };
                    match condition {
                        Condition::MinLength(least) => length as u64 >= *least,
                        Condition::MaxLength(most) => length as u64 <= *most,
                        _ => true,
                    }
                }
            };
            if !holds {
                return Some(false);
            }
        }
        Some(true)
    }
}

impl MapWorker for Worker {
    fn run(&mut self, input: &ElementView<'_>, out: &mut Element) -> Result<Verdict, RowFault> {
        let missing = || RowFault::Map(format!("{:?} has no value here", self.field));
        if !self.keeps(input).ok_or_else(missing)? {
            return Ok(Verdict::Drop);
        }
        out.copy_from(input)?;
        Ok(Verdict::Keep)
    }
}
