//! Identity and what is the same when a model only runs: StopGradient, PreventGradient, Snapshot, CheckNumerics'
//! like without a check, and IdentityN for several tensors at once.
//!
//! Shapes and types: any; each output is the input of the same position. Costs nothing: passes remove them, and one
//! that stays shares its input's memory.

use super::Registration;
use crate::fact::Fact;
use crate::operator::{Call, Memory, OpError, Operator, Run};

pub(super) const OPS: &[Registration] = &[
    Registration { name: "Identity", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "IdentityN", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "StopGradient", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "PreventGradient", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "Snapshot", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "DeepCopy", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "PlaceholderWithDefault", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "NoOp", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "EnsureShape", import: |_| Ok(Box::new(Identity)) },
];

/// The operator.
#[derive(Debug)]
pub struct Identity;

impl Operator for Identity {
    fn name(&self) -> &'static str {
        "Identity"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        Ok(inputs.iter().map(|fact| (*fact).clone()).collect())
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        if call.inputs.len() == 1 { Memory::alias(0) } else { Memory::default() }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        for i in 0..run.inputs() {
            let view = run.input(i)?;
            run.out_bytes(i)?.copy_from_slice(view.bytes());
        }
        Ok(())
    }
}
