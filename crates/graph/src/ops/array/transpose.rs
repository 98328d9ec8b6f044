//! Axes in another order: Transpose, ConjugateTranspose, InvertPermutation.
//!
//! Transpose takes a tensor of any type, strings included, and an int32 or int64 vector that names for each axis of
//! the output the one it is of the input. ConjugateTranspose gives the conjugates of complex numbers besides.
//! InvertPermutation takes such a vector to the one that undoes it.

use tightfit_core::MAX_RANK;
use tightfit_kernels::{Src, conjugate, invert_permutation, transpose};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{need_index_type, vector_len};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Transpose", import: |_| Ok(Box::new(Transpose { conjugate: false })) },
    Registration { name: "ConjugateTranspose", import: |_| Ok(Box::new(Transpose { conjugate: true })) },
    Registration { name: "InvertPermutation", import: |_| Ok(Box::new(InvertPermutation)) },
];

/// Reorders axes.
#[derive(Debug)]
pub struct Transpose {
    conjugate: bool,
}

impl Transpose {
    /// The one that only moves elements.
    pub(crate) const PLAIN: Transpose = Transpose { conjugate: false };

    /// Whether it also conjugates.
    pub(crate) fn is_conjugate(&self) -> bool {
        self.conjugate
    }
}

/// Which axis of a tensor of `rank` each axis is.
fn permutation(input: usize, values: &[i64], rank: usize) -> Result<[usize; MAX_RANK], OpError> {
    let mut axes = [0; MAX_RANK];
    let mut is_seen = [false; MAX_RANK];
    let why = || OpError::input(input, format!("is {values:?}, no permutation of {rank} axes"));
    if values.len() != rank || rank > MAX_RANK {
        return Err(why());
    }
    for (to, value) in axes.iter_mut().zip(values) {
        *to = shared::axis(*value, rank).filter(|axis| !is_seen[*axis]).ok_or_else(why)?;
        is_seen[*to] = true;
    }
    Ok(axes)
}

impl Operator for Transpose {
    fn name(&self) -> &'static str {
        if self.conjugate { "ConjugateTranspose" } else { "Transpose" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, order) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        need_index_type(1, order)?;
        let len = vector_len(1, order)?;
        let Some(dims) = input.dims.get() else {
            return Ok(vec![Fact::new(input.dtype, len.map_or(Dims::UNKNOWN, Dims::of_rank))]);
        };
        let rank = dims.len();
        if len.is_some_and(|len| len != rank) {
            return Err(OpError::input(1, format!("does not name each axis of {}", input.dims)));
        }
        let Some(order) = order.ints() else { return Ok(vec![Fact::new(input.dtype, Dims::of_rank(rank))]) };
        let axes = permutation(1, &order, rank)?;
        let permuted: Vec<Dim> = axes[..rank].iter().map(|axis| dims[*axis]).collect();
        Ok(vec![Fact::new(input.dtype, Dims::new(permuted))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        let axes = permutation(1, &run.ints::<MAX_RANK>(1).ok()?, shape.rank()).ok()?;
        reshape::set(run, 0, axes[..shape.rank()].iter().map(|axis| shape[*axis]))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let rank = input.shape().rank();
        let axes = permutation(1, &run.ints::<MAX_RANK>(1)?, rank)?;
        let mut output = run.output(0)?;
        transpose(run.pool, &axes[..rank], input, &mut output)?;
        if self.conjugate && input.dtype().is_complex() {
            conjugate(run.pool, Src::InPlace(input.dtype()), &mut output)?;
        }
        Ok(())
    }
}

/// The permutation that undoes another.
#[derive(Debug)]
struct InvertPermutation;

impl Operator for InvertPermutation {
    fn name(&self) -> &'static str {
        "InvertPermutation"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        need_index_type(0, input)?;
        vector_len(0, input)?;
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        Ok(invert_permutation(input, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn reorders() {
        let x = tensor(&[2, 3], &[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let order = |v: &[i32]| tensor(&[v.len()], v);
        let columns = tensor(&[3, 2], &[0f32, 3.0, 1.0, 4.0, 2.0, 5.0]);
        check("Transpose", &[], &[x.clone(), order(&[1, 0])], &[columns.clone()]);
        check("ConjugateTranspose", &[], &[x.clone(), order(&[-1, 0])], &[columns]);
        check("Transpose", &[], &[scalar(7u8), order(&[])], &[scalar(7u8)]);
        refuses("Transpose", &[], &[x.clone(), order(&[0, 0])], "no permutation");
        refuses("Transpose", &[], &[x, order(&[0])], "each axis");
    }

    #[test]
    fn inverts() {
        let order = tensor(&[4], &[2i64, 0, 3, 1]);
        check("InvertPermutation", &[], &[order], &[tensor(&[4], &[1i64, 3, 0, 2])]);
        refuses("InvertPermutation", &[], &[tensor(&[2], &[1i32, 1])], "comes once");
        refuses("InvertPermutation", &[], &[tensor(&[2], &[1i32, 2])], "2");
    }
}
