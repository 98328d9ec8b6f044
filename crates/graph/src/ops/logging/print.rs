//! Messages of a model to whoever trains it: Print and PrintV2.
//!
//! Print hands its first input on, PrintV2 gives nothing. What they would print is not: a library does not write to the
//! streams of the program that it is part of.

use crate::fact::Fact;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Print", import: |_| Ok(Box::new(Print { has_output: true })) },
    Registration { name: "PrintV2", import: |_| Ok(Box::new(Print { has_output: false })) },
];

/// Print and PrintV2.
#[derive(Debug)]
struct Print {
    /// True where it hands its first input on.
    has_output: bool,
}

impl Operator for Print {
    fn name(&self) -> &'static str {
        if self.has_output { "Print" } else { "PrintV2" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let first = shared::input(inputs, 0)?;
        Ok(if self.has_output { vec![first.clone()] } else { Vec::new() })
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        if self.has_output { Memory::alias(0) } else { Memory::default() }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, _: &mut Run<'_>) -> Result<(), OpError> {
        match self.has_output {
            true => Err(OpError::Internal("an operator that only shares its input's memory was run")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, run, scalar, tensor};

    #[test]
    fn the_first_input_goes_on() {
        let x = tensor(&[2], &[1.0f32, 2.0]);
        check("Print", &[], &[x.clone(), scalar(3i32)], &[x.clone()]);
        assert!(run("PrintV2", &[], &[x]).unwrap().is_empty());
    }
}
