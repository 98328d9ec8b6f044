//! The vector product: Cross.
//!
//! Inputs: two tensors of one shape and type, numbers, whose last dimension is 3. Output: the same shape and type.

use tightfit_kernels::cross;

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[Registration { name: "Cross", import: |_| Ok(Box::new(Cross)) }];

/// The operator.
#[derive(Debug)]
struct Cross;

impl Operator for Cross {
    fn name(&self) -> &'static str {
        "Cross"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (a, b) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(1, b, &[a.dtype])?;
        let is_bound = a.is_bound || b.is_bound;
        for (at, fact) in [a, b].into_iter().enumerate() {
            let is_of_three = match fact.dims.get() {
                None => true,
                Some([]) => false,
                Some([.., last]) => last.known().is_none_or(|n| n == 3 || is_bound),
            };
            if !is_of_three {
                let why = format!("is of shape {}; the last dimension must be 3", fact.dims);
                return Err(OpError::input(at, why));
            }
        }
        let dims = match (a.dims.get(), b.dims.get()) {
            (Some(own), Some(other)) => {
                let differs = |(a, b): (&Dim, &Dim)| a.known().zip(b.known()).is_some_and(|(a, b)| a != b);
                if own.len() != other.len() || !is_bound && own.iter().zip(other).any(differs) {
                    let why = format!("is of shape {}; that of input 0, {}, is needed", b.dims, a.dims);
                    return Err(OpError::input(1, why));
                }
                let known = own.iter().zip(other).map(|(a, b)| if a.known().is_some() { *a } else { *b });
                Dims::new(known.collect::<Vec<_>>())
            }
            (Some(_), None) => a.dims.clone(),
            _ => b.dims.clone(),
        };
        Ok(vec![Fact::new(a.dtype, dims)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        (run.shape(0) == run.shape(1) && run.shape(0).last() == Some(&3)).then_some(())?;
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (a, b) = (run.input(0)?, run.input(1)?);
        Ok(cross(a, b, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refuses, tensor};

    #[test]
    fn is_perpendicular_to_both() {
        let (a, b) = (tensor(&[2, 3], &[1i32, 2, 3, 1, 0, 0]), tensor(&[2, 3], &[4i32, 5, 6, 0, 1, 0]));
        check("Cross", &[], &[a.clone(), b], &[tensor(&[2, 3], &[-3i32, 6, -3, 0, 0, 1])]);
        refuses("Cross", &[], &[a.clone(), tensor(&[3], &[1i32, 2, 3])], "is needed");
        refuses("Cross", &[], &[tensor(&[2], &[1i32, 2]), a], "must be 3");
    }
}
