//! Single values in descriptions: what to pad with, what to compare with.

use serde_json::Value;
use tightfit_core::DType;

use crate::convert::cast;

/// A value, to become one element of a tensor.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Scalar {
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(String),
}

impl serde::Serialize for Scalar {
    // As text of one form for each number: JSON has neither all whole numbers nor all others.
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Scalar::Int(value) => to.collect_str(value),
            Scalar::Float(value) => to.collect_str(value),
            Scalar::Bool(value) => to.serialize_bool(*value),
            Scalar::Text(text) => [text].serialize(to),
        }
    }
}

impl Scalar {
    /// Reads it from JSON; `None` when it is a list, an object or null.
    pub fn from_json(value: &Value) -> Option<Scalar> {
        match value {
            Value::Bool(value) => Some(Scalar::Bool(*value)),
            Value::String(text) => Some(Scalar::Text(text.clone())),
            Value::Number(number) => {
                let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
                whole.map(Scalar::Int).or_else(|| number.as_f64().map(Scalar::Float))
            }
            _ => None,
        }
    }

    /// Zero, false or empty.
    pub(crate) fn zero(dtype: DType) -> Scalar {
        if dtype == DType::String { Scalar::Text(String::new()) } else { Scalar::Int(0) }
    }

    /// An element of `dtype` as it lies in memory; of a string, the text.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub(crate) fn bytes(&self, dtype: DType) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; dtype.bytes()];
        let cast = match self {
            Scalar::Text(text) if dtype == DType::String => return Ok(text.clone().into_bytes()),
            Scalar::Int(0) if dtype.is_complex() => Ok(()),
            Scalar::Text(_) => return Err(format!("{self:?} cannot become {dtype}")),
            Scalar::Bool(value) => cast(DType::Bool, &[u8::from(*value)], dtype, &mut bytes),
            Scalar::Float(value) => cast(DType::F64, &value.to_le_bytes(), dtype, &mut bytes),
            Scalar::Int(value) => match i64::try_from(*value) {
                Ok(value) => cast(DType::I64, &value.to_le_bytes(), dtype, &mut bytes),
                Err(_) => cast(DType::U64, &(*value as u64).to_le_bytes(), dtype, &mut bytes),
            },
        };
        cast.map(|()| bytes).map_err(|fault| format!("{self:?} cannot become {dtype}: {fault}"))
    }
}
