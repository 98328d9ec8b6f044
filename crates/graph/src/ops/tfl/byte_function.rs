//! One table in the place of operators on quantised bytes that follow from one tensor, element by element. Passes make it.

use tightfit_core::DType;
use tightfit_kernels::{ByteTable, bytes_by_table};

use super::affine;
use crate::fact::Fact;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

/// The operator.
#[derive(Debug)]
pub struct ByteFunction {
    /// The type of input and output: int8 or uint8.
    pub dtype: DType,
    /// For each byte another.
    pub table: Box<ByteTable>,
}

impl Operator for ByteFunction {
    fn name(&self) -> &'static str {
        "tfl.byte_function"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[self.dtype])?;
        Ok(affine::like(input, None))
    }

    takes_over_its_input!();

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let src = if run.is_in_place(0) { None } else { Some(run.input(0)?.bytes()) };
        Ok(bytes_by_table(run.pool, &self.table, src, run.out_bytes(0)?)?)
    }
}
