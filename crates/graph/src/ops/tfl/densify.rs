//! A sparse constant with all its elements: tfl.densify.
//!
//! Inputs: the elements that are there, `[count]`, and a bit for each element of the output, uint8, the lowest of a byte first.
//! The attribute `shape` has the output's shape. The constant stays as small as the file has it; its elements are made in each run.

use tightfit_core::DType;
use tightfit_kernels::expand;

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[Registration { name: "tfl.densify", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Densify { shape: attributes.ints("shape")? }))
}

/// The operator.
#[derive(Debug)]
pub struct Densify {
    shape: Vec<i64>,
}

impl Operator for Densify {
    fn name(&self) -> &'static str {
        "tfl.densify"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let values = shared::input(inputs, 0)?;
        shared::need_type(0, values, &[DType::F32, DType::F16, DType::I8])?;
        shared::need_type(1, shared::input(inputs, 1)?, &[DType::U8])?;
        Ok(vec![Fact::new(
            values.dtype,
            Dims::new(self.shape.iter().map(|dim| Dim::Known(*dim)).collect::<Vec<_>>()),
        )])
    }

    fn heap_bytes(&self) -> u64 {
        tightfit_core::list_bytes(&self.shape)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (values, marks) = (run.input(0)?, run.slice::<u8>(1)?);
        Ok(expand(marks, values.bytes(), values.dtype().bytes(), run.out_bytes(0)?)?)
    }

    /// What is computed ahead would be as large as what the file leaves out.
    fn is_pure(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, ints, refuses_as_it_runs, tensor};

    #[test]
    fn elements_are_where_their_bits_are() {
        let attributes = [("shape", ints(&[2, 5]))];
        let inputs = [tensor(&[3], &[1.5f32, -2.0, 3.0]), tensor(&[2], &[0b1000_0010u8, 0b10])];
        let y = [0.0f32, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0, -2.0, 0.0, 3.0];
        check("tfl.densify", &attributes, &inputs, &[tensor(&[2, 5], &y)]);
        let few = [tensor(&[1], &[1.5f32]), inputs[1].clone()];
        refuses_as_it_runs("tfl.densify", &attributes, &few, "each mark");
    }
}
