//! What several families use: checks of inputs, arithmetic on dimensions, windows, and products with a weight.

pub mod extent;
pub mod transposed;
pub mod volume;
pub mod weighted;
pub mod window;

use tightfit_core::DType;

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::{Call, OpError};

pub(crate) use crate::operator::axis;

/// The fact of an input.
///
/// # Errors
/// [`OpError::Input`] when the node has fewer inputs.
pub(crate) fn input<'a>(inputs: &[&'a Fact], index: usize) -> Result<&'a Fact, OpError> {
    inputs.get(index).copied().ok_or_else(|| OpError::input(index, "is missing"))
}

/// The shape of an elementwise result.
///
/// # Errors
/// [`OpError::Input`] when the shapes do not broadcast.
pub(crate) fn broadcast(a: &Fact, b: &Fact) -> Result<Dims, OpError> {
    let why = || OpError::input(1, format!("of shape {} does not broadcast with {}", b.dims, a.dims));
    a.dims.broadcast(&b.dims).ok_or_else(why)
}

/// The most axes that TensorFlow broadcasts along, where neighbours that are broadcast alike are one.
const MAX_BROADCAST: usize = 5;

/// Checks that TensorFlow's kernels broadcast these shapes, which go together.
///
/// # Errors
/// [`OpError::Input`] for shapes that differ in too many ways.
pub(crate) fn check_broadcast(a: &[usize], b: &[usize]) -> Result<(), OpError> {
    if a.len().max(b.len()) <= MAX_BROADCAST || a == b || a.contains(&0) || b.contains(&0) {
        return Ok(());
    }
    let (mut runs, mut last) = (0, None);
    for axis in 1..=a.len().max(b.len()) {
        let is_one = [a, b].map(|dims| dims.len().checked_sub(axis).is_none_or(|at| dims[at] == 1));
        if is_one != [true; 2] && last != Some(is_one) {
            runs += 1;
            last = Some(is_one);
        }
    }
    if runs <= MAX_BROADCAST {
        return Ok(());
    }
    let why = format!(
        "of shape {b:?} is broadcast with {a:?} along {runs} axes; at most {MAX_BROADCAST} are supported"
    );
    Err(OpError::input(1, why))
}

/// Checks the type of an input.
///
/// # Errors
/// [`OpError::Input`] that names both.
pub(crate) fn need_type(index: usize, fact: &Fact, types: &[DType]) -> Result<(), OpError> {
    if types.contains(&fact.dtype) {
        return Ok(());
    }
    let names = types.iter().map(|t| t.name()).collect::<Vec<_>>().join(", ");
    Err(OpError::input(index, format!("is of type {}; supported: {names}", fact.dtype)))
}

/// Checks that an input is of a float type.
///
/// # Errors
/// [`OpError::Input`] when it is not.
pub(crate) fn need_float(index: usize, fact: &Fact) -> Result<(), OpError> {
    need_type(index, fact, &[DType::F32, DType::F64, DType::F16, DType::BF16])
}

/// The dimensions of an input that must be of a rank, or `None` when nothing is known of its shape.
///
/// # Errors
/// [`OpError::Input`] when it is of another rank.
pub(crate) fn dims_of_rank(index: usize, fact: &Fact, rank: usize) -> Result<Option<Vec<Dim>>, OpError> {
    match fact.dims.get() {
        None => Ok(None),
        Some(dims) if dims.len() == rank => Ok(Some(dims.to_vec())),
        Some(_) => Err(OpError::input(index, format!("is of shape {}; rank {rank} is needed", fact.dims))),
    }
}

/// Multiplications and additions of a product with a weight of so many elements: each element of the output is a sum over as
/// many products as the weight has elements for one channel of the output.
pub(crate) fn operations(call: &Call<'_>, weight_elements: usize) -> Option<f64> {
    let output = call.outputs.first()?.shape;
    let channels = output.last().filter(|channels| **channels > 0)?;
    Some(2.0 * output.elements() as f64 * weight_elements as f64 / *channels as f64)
}
