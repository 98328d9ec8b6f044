//! The last axes of a tensor seen as others, those before as they are: what passes put around a product so that
//! `[.., heads, width]` is `[.., heads * width]` to it, whatever stands in front.
//!
//! Types: any. Costs nothing: the output is the input's memory.

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

/// The operator.
#[derive(Debug, Clone, PartialEq)]
pub struct ReshapeTail {
    /// How many axes are replaced.
    pub axes: usize,
    /// What they become; as many elements.
    pub tail: Vec<usize>,
}

impl Operator for ReshapeTail {
    fn name(&self) -> &'static str {
        "Reshape"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        let Some(dims) = input.dims.get() else { return Ok(vec![Fact::new(input.dtype, Dims::UNKNOWN)]) };
        let wrong = || OpError::input(0, format!("is of shape {}, no end of {:?}", input.dims, self.tail));
        let kept = dims.len().checked_sub(self.axes).ok_or_else(wrong)?;
        let elements = Dims::new(&dims[kept..]).elements();
        if elements.size().is_some_and(|n| n != self.tail.iter().product::<usize>()) {
            return Err(wrong());
        }
        let mut dims = dims[..kept].to_vec();
        dims.extend(self.tail.iter().map(|size| Dim::Known(*size as i64)));
        Ok(vec![Fact::new(input.dtype, Dims::new(dims))])
    }

    shares_memory!();

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        let (kept, tail) = shape.split_at(shape.rank().checked_sub(self.axes)?);
        (tail.iter().product::<usize>() == self.tail.iter().product::<usize>()).then_some(())?;
        reshape::set(run, 0, kept.iter().chain(&self.tail).copied())
    }
}
