//! The first elements of a pipeline as JSON for people: long tensors are cut, and say so.

use std::io::{self, Write};

use serde_json::{Value, json};
use tightfit_core::{DType, MemoryBudget, TensorView};
use tightfit_data::Defect;
use tightfit_data::flow::{ElementView, Pipeline, PipelineSpec, Schema};

use crate::error::Error;
use crate::records::{SHOWN_VALUES, bytes_json, float_json};
use crate::sink::elements::{integer, number};

/// The first elements of a pipeline, one after the other.
pub struct Head {
    pipeline: Pipeline,
    next: u64,
    elements: u64,
}

/// The first `elements` of the pipeline `spec`, which works with `threads`.
///
/// # Errors
/// [`Error`] for what is wrong with the description, or when `budget` is too small.
pub fn head(
    spec: &PipelineSpec,
    elements: u64,
    threads: usize,
    budget: &MemoryBudget,
) -> Result<Head, Error> {
    Ok(Head { pipeline: Pipeline::open(spec, budget, threads)?, next: 0, elements })
}

impl Head {
    /// The type of the elements.
    pub fn schema(&self) -> &Schema {
        self.pipeline.schema()
    }

    /// Goes to the next element; false at the end.
    ///
    /// # Errors
    /// [`Error`] for what is wrong with the element, with its place.
    pub fn advance(&mut self) -> Result<bool, Error> {
        let is_there = self.next < self.elements && self.pipeline.advance()?;
        self.next += u64::from(is_there);
        Ok(is_there)
    }

    /// Writes the element as a JSON object: its number `element`, the `file` and `record` that it comes from, and of each
    /// of its `fields` the `shape` and the first `values`. One field at a time is in memory.
    ///
    /// # Errors
    /// Whatever `write` reports.
    pub fn write(&self, write: &mut dyn Write) -> io::Result<()> {
        let view = self.pipeline.current();
        let origin = view.origin();
        let file = self.pipeline.context().names.find(origin.file).0;
        let file = Value::from(tightfit_format::location::Shown(&file).to_string());
        let (element, record) = (self.next.saturating_sub(1), origin.record);
        write!(write, "{{\"element\":{element},\"file\":{file},\"record\":{record},\"fields\":{{")?;
        let mut before = "";
        for (index, field) in view.schema().fields().iter().enumerate() {
            let Some(tensor) = view.tensor(index) else { continue };
            let tensor = tensor_json(&view, index, tensor).map_err(io::Error::other)?;
            write!(write, "{before}{}:{tensor}", Value::from(field.name.as_str()))?;
            before = ",";
        }
        write.write_all(b"}}")
    }
}

fn tensor_json(view: &ElementView<'_>, index: usize, tensor: TensorView<'_>) -> Result<Value, Defect> {
    let dtype = tensor.dtype();
    let values: Vec<Value> = match dtype {
        DType::String => {
            let strings = view.strings(index).take(SHOWN_VALUES);
            strings.map(|string| string.map(bytes_json)).collect::<Result<_, _>>()?
        }
        _ => {
            let values = tensor.bytes().chunks_exact(dtype.bytes()).take(SHOWN_VALUES);
            values.map(|value| value_json(dtype, value)).collect()
        }
    };
    Ok(json!({"shape": &tensor.shape()[..], "values": values}))
}

fn value_json(dtype: DType, value: &[u8]) -> Value {
    match dtype {
        DType::Bool => json!(value != [0]),
        DType::U64 => value.first_chunk().map_or(Value::Null, |bytes| json!(u64::from_le_bytes(*bytes))),
        DType::F64 => match number(dtype, value) {
            Some(number) if number.is_finite() => json!(number),
            number => json!(number.unwrap_or(f64::NAN).to_string()),
        },
        DType::C64 | DType::C128 => {
            let part = if dtype == DType::C64 { DType::F32 } else { DType::F64 };
            let (re, im) = value.split_at(value.len() / 2);
            json!([value_json(part, re), value_json(part, im)])
        }
        _ => match integer(dtype, value) {
            Some(value) => json!(value),
            None => float_json(number(dtype, value).unwrap_or(f64::NAN) as f32),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_type() {
        assert_eq!(value_json(DType::U64, &[255; 8]), json!(u64::MAX));
        assert_eq!(value_json(DType::I8, &[255]), json!(-1));
        assert_eq!(value_json(DType::Bool, &[1]), json!(true));
        assert_eq!(value_json(DType::F32, &0.1f32.to_le_bytes()), json!(0.1));
        assert_eq!(value_json(DType::F64, &0.1f64.to_le_bytes()), json!(0.1));
        assert_eq!(value_json(DType::F64, &f64::NAN.to_le_bytes()), json!("NaN"));
        assert_eq!(value_json(DType::F16, &half::f16::from_f32(-2.5).to_le_bytes()), json!(-2.5));
        let complex = [1.0f32.to_le_bytes(), 2.0f32.to_le_bytes()];
        assert_eq!(value_json(DType::C64, complex.as_flattened()), json!([1.0, 2.0]));
    }
}
