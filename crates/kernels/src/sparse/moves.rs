//! Elements of sparse tensors, of any type, moved about: to dense tensors, in order, into parts, and to other shapes.

use super::coordinates::{Coordinates, place};
use crate::base::error::{KernelError, Result, check_exact, ensure};

/// Copies element `from[n]` of `src` to place `n` of `dst`, elements of `bytes` bytes each.
///
/// # Errors
/// [`KernelError::Length`] where `dst` has not a place for each, or an element is not there.
pub fn copy_elements(
    src: &[u8],
    bytes: usize,
    from: impl Iterator<Item = usize>,
    dst: &mut [u8],
) -> Result<()> {
    let mut places = dst.chunks_exact_mut(bytes.max(1));
    for n in from {
        let short =
            KernelError::Length { what: "the elements", needed: n + 1, given: src.len() / bytes.max(1) };
        let (Some(element), Some(place)) = (src.get(n * bytes..(n + 1) * bytes), places.next()) else {
            return Err(short);
        };
        place.copy_from_slice(element);
    }
    Ok(())
}

/// Fills `dst`, a dense tensor of shape `dims`, with `default`, and puts elements at their coordinates: element `n` is
/// `values[n]`, or where there is one value, that. With `validate` they must come in order.
///
/// # Errors
/// [`KernelError::Index`] for coordinates outside, [`KernelError::Invalid`] for an order that is none.
pub fn set_dense(
    coordinates: &Coordinates<'_>,
    dims: &[i64],
    (values, default): (&[u8], &[u8]),
    validate: bool,
    dst: &mut [u8],
) -> Result<()> {
    const KERNEL: &str = "SparseToDense";
    let bytes = default.len();
    coordinates.check(KERNEL, dims)?;
    if validate {
        coordinates.check_order(KERNEL)?;
    }
    let is_one = values.len() == bytes && coordinates.len() != 1;
    if !is_one {
        check_exact("the values", coordinates.len() * bytes, values.len())?;
    }
    dst.chunks_exact_mut(bytes).for_each(|to| to.copy_from_slice(default));
    for n in 0..coordinates.len() {
        let at = place(coordinates.row(n), dims) * bytes;
        let value = if is_one { values } else { &values[n * bytes..][..bytes] };
        dst.get_mut(at..at + bytes)
            .ok_or(KernelError::Attribute("an element lies outside of the dense tensor"))?
            .copy_from_slice(value);
    }
    Ok(())
}

/// Puts elements in an order: coordinates and values of element `order[n]` become the `n`th.
///
/// # Errors
/// [`KernelError::Length`] for outputs of another size.
pub fn gather_sorted(
    coordinates: &Coordinates<'_>,
    (values, bytes): (&[u8], usize),
    order: &[u32],
    (to, to_values): (&mut [i64], &mut [u8]),
) -> Result<()> {
    check_exact("the coordinates", order.len() * coordinates.rank(), to.len())?;
    for (to, n) in to.chunks_exact_mut(coordinates.rank().max(1)).zip(order) {
        to.copy_from_slice(coordinates.row(*n as usize));
    }
    copy_elements(values, bytes, order.iter().map(|n| *n as usize), to_values)
}

/// Writes the coordinates that elements have in another shape of as many elements. Those that lie outside of `from` are
/// counted on, as TensorFlow does: they lie outside of `to` as well, or where another element does.
///
/// # Errors
/// [`KernelError::Invalid`] for elements in a shape that has room for none.
pub fn sparse_reshape(
    coordinates: &Coordinates<'_>,
    from: &[i64],
    to: &[i64],
    out: &mut [i64],
) -> Result<()> {
    const KERNEL: &str = "SparseReshape";
    check_exact("the coordinates", coordinates.len() * to.len(), out.len())?;
    ensure(from.len() == coordinates.rank(), KERNEL, "there is a coordinate for each dimension")?;
    let has_room = from.iter().chain(to).all(|dim| *dim > 0);
    ensure(coordinates.is_empty() || has_room, KERNEL, "elements lie in a shape that is not empty")?;
    for (n, out) in (0..coordinates.len()).zip(out.chunks_exact_mut(to.len().max(1))) {
        let places = coordinates.row(n).iter().zip(from);
        let mut rest = places.fold(0i64, |sum, (at, dim)| sum.wrapping_mul(*dim).wrapping_add(*at));
        for (axis, out) in out.iter_mut().enumerate() {
            let step = to[axis + 1..].iter().fold(1i64, |step, dim| step.wrapping_mul(*dim)).max(1);
            *out = rest / step;
            rest %= step;
        }
    }
    Ok(())
}

/// A part of a sparse tensor, `start[axis]..start[axis] + size[axis]` of each axis: with outputs its elements, moved so that
/// the part begins at 0; without them how many there are.
///
/// # Errors
/// [`KernelError::Length`] for outputs of another size.
pub fn sparse_part(
    coordinates: &Coordinates<'_>,
    (values, bytes): (&[u8], usize),
    (start, size): (&[i64], &[i64]),
    outputs: Option<(&mut [i64], &mut [u8])>,
) -> Result<usize> {
    let is_inside = |n: &usize| {
        let axes = coordinates.row(*n).iter().zip(start.iter().zip(size));
        axes.into_iter().all(|(at, (start, size))| at >= start && at.wrapping_sub(*start) < *size)
    };
    let inside = || (0..coordinates.len()).filter(is_inside);
    let Some((to, to_values)) = outputs else { return Ok(inside().count()) };
    let mut count = 0;
    for (n, to) in inside().zip(to.chunks_exact_mut(coordinates.rank().max(1))) {
        for (to, (at, start)) in to.iter_mut().zip(coordinates.row(n).iter().zip(start)) {
            *to = at - start;
        }
        count += 1;
    }
    copy_elements(values, bytes, inside(), to_values)?;
    Ok(count)
}

/// An axis that is cut into parts of nearly the same size, the first ones larger by one.
#[derive(Debug, Clone, Copy)]
pub struct SplitAxis {
    /// How long the axis is.
    pub size: i64,
    /// How many parts there are: 1 to `size`.
    pub parts: i64,
}

impl SplitAxis {
    /// Where a part begins, and how long it is.
    pub fn part(&self, number: i64) -> (i64, i64) {
        let (each, rest) = (self.size / self.parts, self.size % self.parts);
        (number * each + number.min(rest), each + (number < rest) as i64)
    }
}

/// Fills the empty rows of a sparse tensor with `default` in their first column. `next` is room for a number for each row.
/// `empty` says which rows were; `reverse` where each element went. Outputs `None` only count: returned is how many
/// elements there are then.
///
/// # Errors
/// [`KernelError::Index`] for an element outside of the rows.
#[allow(clippy::too_many_arguments)]
pub fn fill_empty_rows(
    coordinates: &Coordinates<'_>,
    (values, default): (&[u8], &[u8]),
    next: &mut [u64],
    empty: &mut [u8],
    reverse: &mut [i64],
    outputs: Option<(&mut [i64], &mut [u8])>,
) -> Result<usize> {
    const KERNEL: &str = "SparseFillEmptyRows";
    let (rows, rank, bytes) = (empty.len(), coordinates.rank(), default.len());
    check_exact("the room for rows", rows, next.len())?;
    check_exact("the map", coordinates.len(), reverse.len())?;
    next.fill(0);
    for n in 0..coordinates.len() {
        let index = *coordinates.row(n).first().unwrap_or(&0);
        let row = usize::try_from(index).ok().filter(|row| *row < rows);
        let row = row.ok_or(KernelError::Index { kernel: KERNEL, position: n * rank, index, bound: rows })?;
        next[row] += 1;
    }
    let mut total = 0;
    for (next, empty) in next.iter_mut().zip(empty.iter_mut()) {
        *empty = (*next == 0) as u8;
        let count = (*next).max(1);
        *next = total;
        total += count;
    }
    let Some((to, to_values)) = outputs else { return Ok(total as usize) };
    check_exact("the coordinates", total as usize * rank, to.len())?;
    check_exact("the values", total as usize * bytes, to_values.len())?;
    for (row, (next, _)) in next.iter().zip(empty.iter()).enumerate().filter(|(_, (_, empty))| **empty == 1) {
        let at = *next as usize;
        to[at * rank..][..rank].fill(0);
        if let Some(first) = to[at * rank..][..rank].first_mut() {
            *first = row as i64;
        }
        to_values[at * bytes..][..bytes].copy_from_slice(default);
    }
    for n in 0..coordinates.len() {
        let row = *coordinates.row(n).first().unwrap_or(&0) as usize;
        let at = next[row] as usize;
        next[row] += 1;
        to[at * rank..][..rank].copy_from_slice(coordinates.row(n));
        to_values[at * bytes..][..bytes].copy_from_slice(&values[n * bytes..][..bytes]);
        reverse[n] = at as i64;
    }
    Ok(total as usize)
}
