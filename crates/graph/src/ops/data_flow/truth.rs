//! What a branch or a loop is chosen by: ToBool, what a tensor is taken for, and DeviceIndex.
//!
//! A number is true unless it is zero, a text unless it is empty, and a tensor that is no scalar when it has elements.
//! Types: any but complex numbers. ToBool is this, and If and While mean it by their condition
//! (<https://www.tensorflow.org/api_docs/python/tf/raw_ops/If>). DeviceIndex is the place of `CPU` among `device_names`, or
//! how many there are: Keras chooses an implementation of its recurrent layers by it.

use tightfit_core::{DType, Shape, StringRef};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "ToBool", import: |_| Ok(Box::new(Truth { name: "ToBool" })) },
    Registration { name: "DeviceIndex", import: import_device },
];

fn import_device(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let names = attributes.strings("device_names")?;
    Ok(Box::new(DeviceIndex {
        index: names.iter().position(|name| **name == *b"CPU").unwrap_or(names.len()),
    }))
}

/// DeviceIndex.
#[derive(Debug)]
struct DeviceIndex {
    index: usize,
}

impl Operator for DeviceIndex {
    fn name(&self) -> &'static str {
        "DeviceIndex"
    }

    fn infer(&self, _: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let index = Dim::Known(i64::try_from(self.index).unwrap_or(i64::MAX));
        Ok(vec![Fact::of_dims(DType::I32, Dims::scalar(), &[index])])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        run.out::<i32>(0)?.fill(i32::try_from(self.index).unwrap_or(i32::MAX));
        Ok(())
    }
}

/// The operator.
#[derive(Debug)]
pub struct Truth {
    /// Whose condition it is.
    pub name: &'static str,
}

impl Operator for Truth {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let condition = shared::input(inputs, 0)?;
        if matches!(condition.dtype, DType::C64 | DType::C128) {
            return Err(OpError::input(
                0,
                format!("is {}, which is neither true nor false", condition.dtype),
            ));
        }
        Ok(vec![Fact::new(DType::Bool, Shape::SCALAR)])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let condition = run.input(0)?;
        let is_true = match (condition.shape().rank(), condition.dtype()) {
            (1.., _) => condition.shape().elements() > 0,
            (_, DType::String) => {
                condition.as_slice::<StringRef>().is_some_and(|text| text.iter().any(|t| t.bytes > 0))
            }
            (_, dtype) => is_number(dtype, condition.bytes()),
        };
        run.out_bytes(0)?.fill(u8::from(is_true));
        Ok(())
    }
}

/// True for a number, little-endian, that is not zero.
fn is_number(dtype: DType, bytes: &[u8]) -> bool {
    let sign = if matches!(dtype, DType::F16 | DType::BF16 | DType::F32 | DType::F64) { 0x80 } else { 0 };
    bytes.split_last().is_some_and(|(last, others)| last & !sign != 0 || others.iter().any(|byte| *byte != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, scalar};
    use tightfit_format::{AttrValue, ListValue};

    #[test]
    fn a_device_is_found_by_its_kind() {
        for (names, index) in [(vec!["GPU", "CPU"], 1), (vec!["TPU", "cpu"], 2), (vec![], 0)] {
            let list = ListValue::Strs(names.iter().map(|name| name.as_bytes().into()).collect());
            check("DeviceIndex", &[("device_names", AttrValue::List(list))], &[], &[scalar::<i32>(index)]);
        }
    }

    #[test]
    fn zeros_of_any_sign_are_false() {
        for (zero, one) in [(0.0f32, 1e-45f32), (-0.0, -1e-45), (-0.0, f32::NAN)] {
            assert!(!is_number(DType::F32, &zero.to_le_bytes()) && is_number(DType::F32, &one.to_le_bytes()));
        }
        assert!(is_number(DType::I32, &i32::MIN.to_le_bytes()) && is_number(DType::I8, &[0x80]));
        assert!(
            !is_number(DType::I64, &[0; 8]) && !is_number(DType::Bool, &[0]) && is_number(DType::Bool, &[1])
        );
    }
}
