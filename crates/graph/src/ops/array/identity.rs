//! Identity and what is the same when a model only runs: StopGradient, PreventGradient, Snapshot, DeepCopy, Copy, CopyHost,
//! GuaranteeConst, a PlaceholderWithDefault that is not fed, IdentityN of several tensors at once, NoOp of none, and what a
//! debugger puts between nodes to look at values: DebugIdentity and its kin, which look at nothing here. EnsureShape is Identity
//! of a tensor that must have a shape.
//!
//! Shapes and types: any; each output is the input of the same position. Costs nothing: passes remove them, and one
//! that stays shares its input's memory.

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Identity", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "IdentityN", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "StopGradient", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "PreventGradient", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "Snapshot", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "GuaranteeConst", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "DeepCopy", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "Copy", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "CopyHost", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "DebugGradientIdentity", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "DebugIdentity", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "DebugIdentityV2", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "DebugIdentityV3", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "PlaceholderWithDefault", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "NoOp", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "ControlTrigger", import: |_| Ok(Box::new(Identity)) },
    Registration { name: "EnsureShape", import: ensure_shape },
];

fn ensure_shape(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(EnsureShape { shape: attributes.shape_or_unknown("shape")? }))
}

/// The operator.
#[derive(Debug)]
pub struct Identity;

impl Operator for Identity {
    fn name(&self) -> &'static str {
        "Identity"
    }

    fn grows_with(&self, _: usize) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        Ok(inputs.iter().map(|fact| (*fact).clone()).collect())
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        if call.inputs.len() == 1 { Memory::alias(0) } else { Memory::default() }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        (0..run.outputs()).try_for_each(|i| run.set_output_shape(i, run.shape(i)).ok())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        for i in 0..run.inputs() {
            let view = run.input(i)?;
            run.out_bytes(i)?.copy_from_slice(view.bytes());
        }
        Ok(())
    }
}

/// Identity of a tensor that must have a shape.
#[derive(Debug)]
pub struct EnsureShape {
    /// The shape, -1 for a dimension of any size; `None` for any shape.
    shape: Option<Vec<i64>>,
}

impl EnsureShape {
    /// Identity of what must be a scalar.
    pub fn scalar() -> EnsureShape {
        EnsureShape { shape: Some(Vec::new()) }
    }
}

impl Operator for EnsureShape {
    fn name(&self) -> &'static str {
        "EnsureShape"
    }

    fn grows_with(&self, _: usize) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        if let (Some(dims), Some(shape)) = (input.dims.get(), &self.shape) {
            let fits = |(dim, size): (&Dim, &i64)| *size < 0 || dim.known().is_none_or(|dim| dim == *size);
            if dims.len() != shape.len() || !dims.iter().zip(shape).all(fits) {
                return Err(OpError::input(0, format!("is of shape {}, not {shape:?}", input.dims)));
            }
        }
        // What is ensured is known of it from here on.
        let Some(shape) = &self.shape else { return Ok(vec![input.clone()]) };
        let dim = |(axis, size): (usize, &i64)| match input.dims.get() {
            _ if *size >= 0 => Dim::Known(*size),
            Some(dims) => dims[axis],
            None => Dim::Unknown,
        };
        let dims = Dims::new(shape.iter().enumerate().map(dim).collect::<Vec<_>>());
        Ok(vec![if dims == input.dims {
            input.clone()
        } else {
            Fact { dims, largest: None, ..input.clone() }
        }])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        let input = shared::input(inputs, 0)?;
        match (&self.shape, input.dims.rank()) {
            // To TensorFlow a shape of unknown rank is here one of rank -1.
            (None, Some(_)) => Err(OpError::input(0, format!("is of shape {}, not of any rank", input.dims))),
            _ => Ok(()),
        }
    }

    shares_memory!();

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        let fits = |asked: &Vec<i64>| {
            asked.len() == shape.rank()
                && asked.iter().zip(shape.iter()).all(|(a, d)| *a < 0 || *a == *d as i64)
        };
        self.shape.as_ref().is_none_or(fits).then_some(())?;
        reshape::same(run, 0)
    }
}

#[cfg(test)]
mod tests {
    use tightfit_format::{AttrValue, TensorShapeDef};

    use crate::testing::{check, refuses, tensor};

    #[test]
    fn a_shape_is_ensured() {
        let shape = |dims: &[i64]| AttrValue::Shape(TensorShapeDef { dims: Some(dims.to_vec()) });
        let x = tensor(&[2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        check(
            "EnsureShape",
            &[("shape", shape(&[-1, 3]))],
            std::slice::from_ref(&x),
            std::slice::from_ref(&x),
        );
        refuses("EnsureShape", &[("shape", shape(&[2, 4]))], std::slice::from_ref(&x), "not [2, 4]");
        refuses("EnsureShape", &[("shape", shape(&[6]))], &[x], "not [6]");
    }
}
