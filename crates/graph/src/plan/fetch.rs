//! The copy of a fetched value that is an input: memory of its own, since the caller's is gone after the run.

use crate::fact::Fact;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};

/// The operator. Types and shapes: any; the output is the input.
#[derive(Debug)]
pub(super) struct FetchedCopy;

impl Operator for FetchedCopy {
    fn name(&self) -> &'static str {
        "Copy"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        Ok(inputs.iter().map(|fact| (*fact).clone()).collect())
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let view = run.input(0)?;
        run.out_bytes(0)?.copy_from_slice(view.bytes());
        Ok(())
    }
}
