//! The shapes of outputs that depend on data, worked out while a model runs: without heap memory, from the shapes and
//! small values that are there.
//!
//! [`Operator::reshape`](crate::operator::Operator::reshape) answers the plain cases. Where it does not, because
//! shapes do not go together for one, inference is asked, which also knows what to say.

use tightfit_core::{MAX_RANK, Shape};

use crate::operator::Run;

/// The shape with these dimensions; `None` where there is none.
pub(crate) fn shape(dims: impl IntoIterator<Item = usize>) -> Option<Shape> {
    let mut sizes = [0; MAX_RANK];
    let mut rank = 0;
    for dim in dims {
        *sizes.get_mut(rank)? = dim;
        rank += 1;
    }
    Shape::new(&sizes[..rank]).ok()
}

/// Gives an output these dimensions.
pub(crate) fn set(run: &mut Run<'_>, output: usize, dims: impl IntoIterator<Item = usize>) -> Option<()> {
    run.set_output_shape(output, shape(dims)?).ok()
}

/// Gives an output the dimensions that an input holds.
pub(crate) fn set_asked(run: &mut Run<'_>, output: usize, input: usize) -> Option<()> {
    let dims = run.ints::<MAX_RANK>(input).ok()?;
    dims.iter().all(|d| usize::try_from(*d).is_ok()).then_some(())?;
    set(run, output, dims.iter().map(|d| *d as usize))
}

/// Gives every output the shape of an input.
pub(crate) fn same(run: &mut Run<'_>, input: usize) -> Option<()> {
    let shape = run.shape(input);
    (0..run.outputs()).try_for_each(|output| run.set_output_shape(output, shape).ok())
}

/// The shape of an elementwise result.
pub(crate) fn broadcast(a: Shape, b: Shape) -> Option<Shape> {
    let rank = a.rank().max(b.rank());
    let mut dims = [1; MAX_RANK];
    for (axis, dim) in dims[..rank].iter_mut().enumerate() {
        let at = |shape: &Shape| (axis + shape.rank()).checked_sub(rank).map_or(1, |i| shape[i]);
        *dim = match (at(&a), at(&b)) {
            (1, n) | (n, 1) => n,
            (m, n) if m == n => n,
            _ => return None,
        };
    }
    Shape::new(&dims[..rank]).ok()
}

/// Gives the output the shape of two inputs broadcast.
pub(crate) fn elementwise(run: &mut Run<'_>) -> Option<()> {
    let shape = broadcast(run.shape(0), run.shape(1))?;
    run.set_output_shape(0, shape).ok()
}

/// The one integer of an input.
pub(crate) fn int(run: &Run<'_>, input: usize) -> Option<i64> {
    match run.ints::<1>(input).ok()?[..] {
        [one] => Some(one),
        _ => None,
    }
}

/// The axis that an input names of a tensor of `rank`.
pub(crate) fn axis(run: &Run<'_>, input: usize, rank: usize) -> Option<usize> {
    super::axis(int(run, input)?, rank)
}
