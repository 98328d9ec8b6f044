//! Arithmetic on dimensions, and small integer inputs, that operators share.

use tightfit_core::{MAX_RANK, Shape, TensorView};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::{OpError, Run};

/// The one dimension that `a` and `b` both are, or `None` when they are different numbers. Of upper bounds it is the
/// larger one.
pub(crate) fn agree(a: Dim, b: Dim, is_bound: bool) -> Option<Dim> {
    match (a, b) {
        (Dim::Known(m), Dim::Known(n)) if is_bound => Some(Dim::Known(m.max(n))),
        (Dim::Known(m), Dim::Known(n)) => (m == n).then_some(a),
        (_, Dim::Known(_)) | (Dim::Unknown, _) => Some(b),
        _ => Some(a),
    }
}

/// The dimensions that all inputs have, where anything is known of one.
///
/// # Errors
/// [`OpError::Input`] for the first input that has others.
pub(crate) fn same_dims<'a>(inputs: impl Iterator<Item = (usize, &'a Fact)>) -> Result<Dims, OpError> {
    let mut all: Option<Vec<Dim>> = None;
    let mut is_bound = false;
    for (index, fact) in inputs {
        is_bound |= fact.is_bound;
        let Some(dims) = fact.dims.get() else { continue };
        let Some(so_far) = &mut all else {
            all = Some(dims.to_vec());
            continue;
        };
        let differs =
            || OpError::input(index, format!("is of shape {}, unlike an input before it", fact.dims));
        if so_far.len() != dims.len() {
            return Err(differs());
        }
        for (a, b) in so_far.iter_mut().zip(dims) {
            *a = agree(*a, *b, is_bound).ok_or_else(differs)?;
        }
    }
    Ok(all.map_or(Dims::UNKNOWN, Dims::new))
}

/// The difference, or `Unknown` when it is no multiple of one symbol.
pub(crate) fn minus(a: Dim, b: Dim) -> Dim {
    match (a, b) {
        (d, Dim::Known(0)) => d,
        (Dim::Known(a), Dim::Known(b)) => a.checked_sub(b).map_or(Dim::Unknown, Dim::Known),
        (a, b) if a == b && a != Dim::Unknown => Dim::Known(0),
        (Dim::Symbol { symbol: a, times: m }, Dim::Symbol { symbol: b, times: n }) if a == b && m > n => {
            Dim::Symbol { symbol: a, times: m - n }
        }
        _ => Dim::Unknown,
    }
}

/// The number of elements of a vector that says something for each axis, where it is known; a scalar is a vector of one
/// element, as in old graphs.
///
/// # Errors
/// [`OpError::Input`] when it has more axes.
pub(crate) fn scalar_or_vector_len(index: usize, fact: &Fact) -> Result<Option<usize>, OpError> {
    if fact.dims.rank() == Some(0) { Ok(Some(1)) } else { vector_len(index, fact) }
}

/// The number of elements of a vector that says something for each axis, where it is known.
///
/// # Errors
/// [`OpError::Input`] when it is no vector.
pub(crate) fn vector_len(index: usize, fact: &Fact) -> Result<Option<usize>, OpError> {
    Ok(super::dims_of_rank(index, fact, 1)?.and_then(|dims| dims[0].size()))
}

/// An axis that an input names, where the input is known.
///
/// # Errors
/// [`OpError::Input`] when there is no such axis.
pub(crate) fn known_axis(index: usize, fact: &Fact, rank: usize) -> Result<Option<usize>, OpError> {
    need_index_type(index, fact)?;
    let Some(axis) = fact.int() else { return Ok(None) };
    match super::axis(axis, rank) {
        Some(axis) => Ok(Some(axis)),
        None => Err(OpError::input(index, format!("is {axis}, no axis of a tensor of {rank} dimensions"))),
    }
}

/// An axis that an input names, at run time.
///
/// # Errors
/// As [`known_axis`].
pub(crate) fn axis_input(run: &Run<'_>, index: usize, rank: usize) -> Result<usize, OpError> {
    let axis = int_input(run, index)?;
    super::axis(axis, rank)
        .ok_or_else(|| OpError::input(index, format!("is {axis}, no axis of a tensor of {rank} dimensions")))
}

/// The one integer of an input, at run time.
///
/// # Errors
/// [`OpError::Input`] when it has none or several.
pub(crate) fn int_input(run: &Run<'_>, index: usize) -> Result<i64, OpError> {
    run.ints::<1>(index)?.first().copied().ok_or_else(|| OpError::input(index, "has no element"))
}

/// Checks that an input is of an integer type that can index.
///
/// # Errors
/// [`OpError::Input`] for another type.
pub(crate) fn need_index_type(index: usize, fact: &Fact) -> Result<(), OpError> {
    super::need_type(index, fact, &[tightfit_core::DType::I32, tightfit_core::DType::I64])
}

/// A size that is not known as a number `n` of at least 0.
///
/// # Errors
/// [`OpError::Input`] for a negative number.
pub(crate) fn not_negative(index: usize, dim: Dim) -> Result<Dim, OpError> {
    match dim {
        Dim::Known(n) if n < 0 => Err(OpError::input(index, format!("asks for {n} elements along an axis"))),
        dim => Ok(dim),
    }
}

/// A shape as an input holds it, of which an axis may be left open as -1.
///
/// # Errors
/// [`OpError::Input`] for another negative number.
pub(crate) fn check_open_shape(index: usize, fact: &Fact) -> Result<(), OpError> {
    match fact.dims_value().into_iter().flatten().find(|dim| matches!(dim, Dim::Known(..-1))) {
        Some(dim) => Err(OpError::input(index, format!("has a dimension of {dim}; at least -1 is needed"))),
        None => Ok(()),
    }
}

/// The most axes that TensorFlow's kernels cut along.
const MAX_CUT: usize = 8;

/// What one thread copies before others have woken.
pub(crate) const SMALL_BYTES: usize = 64 << 10;

/// What a slice takes of a tensor, as far as TensorFlow has ways of its own for it.
pub(crate) struct Cut {
    /// All of it.
    pub is_all: bool,
    /// Neighbouring slices of its first axis.
    pub is_of_rows: bool,
}

/// Checks that TensorFlow's kernels have a way to cut a tensor of so many axes.
///
/// # Errors
/// [`OpError::Input`] for one of too many.
pub(crate) fn check_cut(input: &TensorView<'_>, cut: Cut, output: &Shape) -> Result<(), OpError> {
    let shape = input.shape();
    if shape.rank() <= MAX_CUT || cut.is_all || output.elements() == 0 {
        return Ok(());
    }
    // Slices along the first axis share their memory with the tensor where they begin at whole lines of it.
    let row_bytes = shape[1..].iter().product::<usize>() * input.dtype().bytes();
    if cut.is_of_rows && row_bytes.is_multiple_of(64) {
        return Ok(());
    }
    Err(OpError::input(0, format!("is of shape {shape}; at most {MAX_CUT} axes are cut")))
}

/// The shape with these dimensions.
///
/// # Errors
/// [`OpError::Input`] naming `index` for a negative dimension, and those of [`Shape::new`].
pub(crate) fn shape_of(index: usize, dims: &[i64]) -> Result<Shape, OpError> {
    let mut sizes = [0; MAX_RANK];
    if dims.len() > MAX_RANK {
        return Err(OpError::input(
            index,
            format!("asks for {} dimensions; {MAX_RANK} are supported", dims.len()),
        ));
    }
    for (size, dim) in sizes.iter_mut().zip(dims) {
        *size = usize::try_from(*dim)
            .map_err(|_| OpError::input(index, format!("asks for a dimension of {dim}")))?;
    }
    Ok(Shape::new(&sizes[..dims.len()])?)
}

/// The same elements under another shape.
///
/// # Errors
/// [`OpError::Internal`] when there are not as many.
pub(crate) fn reshaped<'a>(view: TensorView<'a>, dims: &[usize]) -> Result<TensorView<'a>, OpError> {
    TensorView::new(view.dtype(), Shape::new(dims)?, view.bytes())
        .ok_or(OpError::Internal("a tensor was looked at under a shape of another size"))
}

/// `N` integers that index vectors hold, one after the other.
#[derive(Clone, Copy)]
pub(crate) enum Indices<'a> {
    I32(&'a [i32]),
    I64(&'a [i64]),
}

impl<'a> Indices<'a> {
    /// The elements of an input.
    ///
    /// # Errors
    /// [`OpError::Internal`] when it is of another type.
    pub fn new(run: &Run<'a>, index: usize) -> Result<Indices<'a>, OpError> {
        match run.dtype(index) {
            tightfit_core::DType::I64 => Ok(Indices::I64(run.slice(index)?)),
            _ => Ok(Indices::I32(run.slice(index)?)),
        }
    }

    /// Element `i`, which must exist.
    pub fn get(&self, i: usize) -> i64 {
        match self {
            Indices::I32(values) => values[i] as i64,
            Indices::I64(values) => values[i],
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Indices::I32(values) => values.len(),
            Indices::I64(values) => values.len(),
        }
    }

    /// Element `i` as an index below `bound`.
    ///
    /// # Errors
    /// [`OpError::Input`] naming `input` when it is none.
    pub fn index(&self, input: usize, i: usize, bound: usize) -> Result<usize, OpError> {
        let value = self.get(i);
        usize::try_from(value)
            .ok()
            .filter(|v| *v < bound)
            .ok_or_else(|| OpError::input(input, format!("has {value} at {i}, which is not in [0, {bound})")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Symbol;

    #[test]
    fn dimensions_agree_and_subtract() {
        let batch = Dim::of(Symbol::BATCH);
        assert_eq!(agree(Dim::Known(2), Dim::Known(3), false), None);
        assert_eq!(agree(Dim::Known(2), Dim::Known(3), true), Some(Dim::Known(3)));
        assert_eq!(agree(batch, Dim::Known(3), false), Some(Dim::Known(3)));
        assert_eq!(agree(Dim::Unknown, batch, false), Some(batch));
        assert_eq!(minus(batch.plus(batch), batch), batch);
        assert_eq!(minus(batch, batch), Dim::Known(0));
        assert_eq!(minus(batch, Dim::Known(1)), Dim::Unknown);
    }
}
