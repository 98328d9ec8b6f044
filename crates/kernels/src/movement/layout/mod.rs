//! Movement of whole tensors of any element type: transposing, joining, slicing, padding, repeating, reversing and
//! the exchange of space with batch or depth. Each is one or a few strided copies.

use tightfit_core::{MAX_RANK, Shape, TensorView, TensorViewMut};

use crate::base::access::{split, split_with_cost};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::strided::StridedCopy;
use crate::base::threads::ThreadPool;

const SAME_TYPE: &str = "the input and the output have one element type";

fn check_types(kernel: &'static str, src: TensorView<'_>, dst: &TensorViewMut<'_>) -> Result<usize> {
    ensure(src.dtype() == dst.dtype(), kernel, SAME_TYPE)?;
    Ok(src.dtype().bytes())
}

/// Elements between neighbours, as signed numbers.
fn steps(shape: &Shape) -> [isize; MAX_RANK] {
    shape.strides().map(|s| s as isize)
}

/// Copies a tensor's elements as they are, as reshaping or a copy does.
///
/// # Errors
/// [`KernelError::Invalid`] if the output is not as many bytes.
pub fn copy(pool: &ThreadPool, src: TensorView<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    let (src, dst) = (src.bytes(), dst.bytes());
    ensure(src.len() == dst.len(), "Reshape", "the input and the output are as many bytes")?;
    split(pool, dst, 1, &|first, dst| dst.copy_from_slice(&src[first..first + dst.len()]));
    Ok(())
}

/// Writes `src` with its dimensions reordered: dimension `i` of `dst` is dimension `permutation[i]` of `src`.
///
/// # Errors
/// [`KernelError::Invalid`] if that is no permutation, or `dst` has other dimensions.
pub fn transpose(
    pool: &ThreadPool,
    permutation: &[usize],
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "Transpose";
    let size = check_types(KERNEL, src, dst)?;
    let (from, to) = (*src.shape(), *dst.shape());
    let mut seen = [false; MAX_RANK];
    ensure(
        permutation.len() == from.rank()
            && permutation.iter().all(|p| *p < from.rank() && !std::mem::replace(&mut seen[*p], true)),
        KERNEL,
        "the permutation names each dimension once",
    )?;
    ensure(
        to.rank() == from.rank() && permutation.iter().zip(&*to).all(|(p, d)| from[*p] == *d),
        KERNEL,
        "the output has the input's dimensions, permuted",
    )?;
    let (from_steps, to_steps) = (steps(&from), steps(&to));
    let mut copy = StridedCopy::new(size, 0, 0);
    for (axis, source) in permutation.iter().enumerate() {
        copy.dim(to[axis], from_steps[*source], to_steps[axis]);
    }
    copy.run(pool, KERNEL, src.bytes(), dst.bytes())
}

/// Writes `src` into the box of `dst` that starts at `begin`; with one call for each input, this joins tensors.
///
/// # Errors
/// [`KernelError::Invalid`] if the box does not lie within `dst`.
pub fn copy_into(
    pool: &ThreadPool,
    src: TensorView<'_>,
    begin: &[usize],
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "Concat";
    let size = check_types(KERNEL, src, dst)?;
    let (from, to) = (*src.shape(), *dst.shape());
    ensure(
        begin.len() == to.rank()
            && from.rank() == to.rank()
            && (0..to.rank()).all(|a| begin[a] <= to[a] && from[a] <= to[a] - begin[a]),
        KERNEL,
        "the inputs lie within the output",
    )?;
    let (from_steps, to_steps) = (steps(&from), steps(&to));
    let start = begin.iter().zip(to.strides()).map(|(b, s)| b * s).sum();
    let mut copy = StridedCopy::new(size, 0, start);
    for axis in 0..to.rank() {
        copy.dim(from[axis], from_steps[axis], to_steps[axis]);
    }
    copy.run(pool, KERNEL, src.bytes(), dst.bytes())
}

/// Bytes of an input's part of a row of the output from which rows are written whole: shorter parts are quicker as the
/// elements of one strided copy for each input.
const LONG_PART_BYTES: usize = 32;

/// Joins `inputs` along `axis`.
///
/// # Errors
/// [`KernelError::Invalid`] if they do not make up `dst` exactly.
pub fn concat(
    pool: &ThreadPool,
    axis: usize,
    inputs: &[TensorView<'_>],
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "Concat";
    let to = *dst.shape();
    ensure(axis < to.rank(), KERNEL, "the axis is one of the output's")?;
    let mut joined = 0;
    for input in inputs {
        let others = (0..to.rank()).all(|a| a == axis || input.shape().get(a) == Some(&to[a]));
        ensure(
            others && input.shape().rank() == to.rank(),
            KERNEL,
            "the inputs have the output's other dimensions",
        )?;
        check_types(KERNEL, *input, dst)?;
        joined += input.shape()[axis];
    }
    ensure(joined == to[axis], KERNEL, "the inputs make up the output")?;
    let inner_bytes = to[axis + 1..].iter().product::<usize>() * dst.dtype().bytes();
    let rows: usize = to[..axis].iter().product();
    let row_bytes = to[axis] * inner_bytes;
    let part_bytes = |input: &TensorView<'_>| input.shape()[axis] * inner_bytes;
    if rows > 1 && row_bytes > 0 && inputs.iter().all(|input| part_bytes(input) >= LONG_PART_BYTES) {
        split_with_cost(pool, dst.bytes(), row_bytes, to[axis..].iter().product(), &|first, dst| {
            for (row, mut dst) in dst.chunks_exact_mut(row_bytes).enumerate() {
                for input in inputs {
                    let bytes = part_bytes(input);
                    let (part, rest) = dst.split_at_mut(bytes);
                    part.copy_from_slice(&input.bytes()[(first + row) * bytes..][..bytes]);
                    dst = rest;
                }
            }
        });
        return Ok(());
    }
    let mut begin = [0; MAX_RANK];
    for input in inputs {
        copy_into(pool, *input, &begin[..to.rank()], dst)?;
        begin[axis] += input.shape()[axis];
    }
    Ok(())
}

/// Writes to `dst` the elements of `src` at `begin[i] + n strides[i]` along each dimension `i`, for `n` below
/// `sizes[i]`. `dst` has the product of `sizes` elements in whatever shape: Slice, Split, Unpack and StridedSlice.
///
/// # Errors
/// [`KernelError::Invalid`] if an element would lie outside of `src`, or `dst` has another size.
pub fn strided_slice(
    pool: &ThreadPool,
    src: TensorView<'_>,
    begin: &[usize],
    strides: &[isize],
    sizes: &[usize],
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "StridedSlice";
    let size = check_types(KERNEL, src, dst)?;
    let from = *src.shape();
    let rank = from.rank();
    ensure(
        begin.len() == rank && strides.len() == rank && sizes.len() == rank,
        KERNEL,
        "begin, strides and sizes have one value for each dimension",
    )?;
    let to = Shape::new(sizes)
        .map_err(|_| KernelError::Invalid { kernel: KERNEL, rule: "the sizes are a shape" })?;
    ensure(to.elements() == dst.shape().elements(), KERNEL, "the output has the size of the slice")?;
    if to.elements() == 0 {
        return Ok(());
    }
    let within = |axis: usize| {
        let last =
            (sizes[axis] as isize - 1).checked_mul(strides[axis])?.checked_add_unsigned(begin[axis])?;
        (begin[axis] < from[axis] && (0..from[axis] as isize).contains(&last)).then_some(())
    };
    ensure((0..rank).all(|a| within(a).is_some()), KERNEL, "the slice lies within the input")?;
    let (from_steps, to_steps) = (steps(&from), steps(&to));
    let start = begin.iter().zip(from.strides()).map(|(b, s)| b * s).sum();
    let mut copy = StridedCopy::new(size, start, 0);
    for axis in 0..rank {
        copy.dim(sizes[axis], from_steps[axis] * strides[axis], to_steps[axis]);
    }
    copy.run(pool, KERNEL, src.bytes(), dst.bytes())
}

/// The other way round: writes the elements of `src`, `src_steps[i]` after one another along each dimension `i` of `dst` (0
/// where one is for all), to the elements of `dst` at `begin[i] + n strides[i]`, for `n` below `sizes[i]`. Others stay.
///
/// # Errors
/// [`KernelError::Invalid`] if an element would lie outside of `src` or `dst`.
pub fn strided_update(
    pool: &ThreadPool,
    src: TensorView<'_>,
    src_steps: &[usize],
    (begin, strides, sizes): (&[usize], &[isize], &[usize]),
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "StridedSliceAssign";
    let size = check_types(KERNEL, src, dst)?;
    let to = *dst.shape();
    let rank = to.rank();
    ensure(
        [begin.len(), strides.len(), sizes.len(), src_steps.len()] == [rank; 4],
        KERNEL,
        "begin, strides, sizes and steps have one value for each dimension",
    )?;
    if sizes.contains(&0) {
        return Ok(());
    }
    let start = begin.iter().zip(to.strides()).map(|(b, s)| b * s).sum();
    let within = |axis: usize| {
        let last =
            (sizes[axis] as isize - 1).checked_mul(strides[axis])?.checked_add_unsigned(begin[axis])?;
        (begin[axis] < to[axis] && (0..to[axis] as isize).contains(&last)).then_some(())
    };
    ensure((0..rank).all(|a| within(a).is_some()), KERNEL, "the slice lies within the output")?;
    let to_steps = steps(&to);
    let mut copy = StridedCopy::new(size, 0, start);
    for axis in 0..rank {
        copy.dim(sizes[axis], src_steps[axis] as isize, to_steps[axis] * strides[axis]);
    }
    copy.run(pool, KERNEL, src.bytes(), dst.bytes())
}

/// [`strided_slice`] of every element of a box from `begin` on, with the shape of `dst`.
///
/// # Errors
/// As [`strided_slice`].
pub fn slice(
    pool: &ThreadPool,
    src: TensorView<'_>,
    begin: &[usize],
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    let to = *dst.shape();
    strided_slice(pool, src, begin, &[1; MAX_RANK][..to.rank()], &to, dst)
}

/// Writes `src` turned around along each of `axes`.
///
/// # Errors
/// [`KernelError::Invalid`] if shapes differ or there is no such axis.
pub fn reverse(
    pool: &ThreadPool,
    axes: &[usize],
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    let shape = *src.shape();
    ensure(shape == *dst.shape(), "ReverseV2", "the output has the input's shape")?;
    ensure(axes.iter().all(|a| *a < shape.rank()), "ReverseV2", "the axes are among the input's")?;
    let (mut begin, mut strides) = ([0; MAX_RANK], [1; MAX_RANK]);
    for axis in axes {
        begin[*axis] = shape[*axis].saturating_sub(1);
        strides[*axis] = -1;
    }
    let rank = shape.rank();
    strided_slice(pool, src, &begin[..rank], &strides[..rank], &shape, dst)
}

/// Repeats `src` to the shape of `dst` by numpy's broadcasting.
///
/// # Errors
/// [`KernelError::Invalid`] if it does not broadcast so.
pub fn broadcast_to(pool: &ThreadPool, src: TensorView<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    const KERNEL: &str = "BroadcastTo";
    let size = check_types(KERNEL, src, dst)?;
    let (from, to) = (*src.shape(), *dst.shape());
    let error = KernelError::Invalid { kernel: KERNEL, rule: "the input broadcasts to the output's shape" };
    let missing = to.rank().checked_sub(from.rank()).ok_or(error)?;
    ensure(
        from.iter().zip(&to[missing..]).all(|(f, t)| *f == 1 || f == t),
        KERNEL,
        "the input broadcasts to the output's shape",
    )?;
    let (from_steps, to_steps) = (steps(&from), steps(&to));
    let mut copy = StridedCopy::new(size, 0, 0);
    for axis in 0..to.rank() {
        let repeats = axis < missing || from[axis - missing] == 1;
        copy.dim(to[axis], if repeats { 0 } else { from_steps[axis - missing] }, to_steps[axis]);
    }
    copy.run(pool, KERNEL, src.bytes(), dst.bytes())
}

/// Repeats `src` whole along each dimension, as often as it goes into that of `dst`.
///
/// # Errors
/// [`KernelError::Invalid`] if a dimension of `dst` is no multiple.
pub fn tile(pool: &ThreadPool, src: TensorView<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    const KERNEL: &str = "Tile";
    let size = check_types(KERNEL, src, dst)?;
    let (from, to) = (*src.shape(), *dst.shape());
    if to.elements() == 0 {
        return Ok(());
    }
    ensure(
        from.rank() == to.rank() && from.iter().zip(&*to).all(|(f, t)| *f > 0 && t % f == 0),
        KERNEL,
        "the output's dimensions are multiples of the input's",
    )?;
    let (from_steps, to_steps) = (steps(&from), steps(&to));
    let mut copy = StridedCopy::new(size, 0, 0);
    for axis in 0..to.rank() {
        copy.dim(to[axis] / from[axis], 0, to_steps[axis] * from[axis] as isize);
        copy.dim(from[axis], from_steps[axis], to_steps[axis]);
    }
    copy.run(pool, KERNEL, src.bytes(), dst.bytes())
}

/// Fills `dst` with one element, given by its bytes.
///
/// # Errors
/// [`KernelError::Invalid`] if `value` is not as many bytes as an element.
pub fn fill(pool: &ThreadPool, value: &[u8], dst: &mut TensorViewMut<'_>) -> Result<()> {
    ensure(value.len() == dst.dtype().bytes(), "Fill", "the value is one element")?;
    split(pool, dst.bytes(), value.len(), &|_, dst| {
        if value.iter().all(|b| *b == value[0]) {
            dst.fill(value[0]);
        } else {
            dst.chunks_mut(value.len()).for_each(|d| d.copy_from_slice(value));
        }
    });
    Ok(())
}

/// Writes `src` into `dst` from `before` on, and `value` (the bytes of one element) around it.
///
/// # Errors
/// [`KernelError::Invalid`] if it does not lie within `dst`.
pub fn pad(
    pool: &ThreadPool,
    before: &[usize],
    value: &[u8],
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    fill(pool, value, dst)?;
    copy_into(pool, src, before, dst)
}

/// How [`mirror_pad`] continues a tensor past its edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mirror {
    /// Without repeating the edge: `3 2 | 1 2 3 | 2 1`.
    Reflect,
    /// Repeating the edge: `2 1 | 1 2 3 | 3 2`.
    Symmetric,
}

/// Writes `src` into `dst` from `before` on, and its mirror image around it.
///
/// # Errors
/// [`KernelError::Invalid`] if it does not lie within `dst`, or the image is larger than the input.
pub fn mirror_pad(
    pool: &ThreadPool,
    mirror: Mirror,
    before: &[usize],
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "MirrorPad";
    copy_into(pool, src, before, dst)?;
    let (from, to) = (*src.shape(), *dst.shape());
    let size = dst.dtype().bytes();
    let edge = (mirror == Mirror::Reflect) as usize;
    let to_steps = to.strides();
    // Dimension by dimension: what has been filled so far grows to the output's full length.
    for axis in 0..to.rank() {
        let after = to[axis] - from[axis] - before[axis];
        if before[axis] == 0 && after == 0 {
            continue;
        }
        ensure(
            before[axis].max(after) + edge <= from[axis],
            KERNEL,
            "the padding is not larger than the input",
        )?;
        let step = to_steps[axis];
        let outer: usize = to[..axis].iter().product();
        // Dimensions after this one are filled within the input's box alone, but copying all of them is right too:
        // what is not filled yet is overwritten later.
        let bytes = dst.bytes();
        for block in 0..outer {
            let base = block * to[axis] * step;
            let place = |index: usize| (base + index * step) * size;
            for n in 0..before[axis] {
                let source = place(2 * before[axis] - 1 - n + edge);
                bytes.copy_within(source..source + step * size, place(n));
            }
            for n in 0..after {
                let end = before[axis] + from[axis];
                let source = place(end - 1 - n - edge);
                bytes.copy_within(source..source + step * size, place(end + n));
            }
        }
    }
    Ok(())
}

/// Writes `src` shifted along dimensions, what falls off one end coming in at the other. `shifts[i]` of dimension `i`
/// may be of either sign and any size.
///
/// # Errors
/// [`KernelError::Invalid`] if shapes differ.
pub fn roll(
    pool: &ThreadPool,
    shifts: &[i64],
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "Roll";
    let size = check_types(KERNEL, src, dst)?;
    let shape = *src.shape();
    ensure(
        shape == *dst.shape() && shifts.len() == shape.rank(),
        KERNEL,
        "the output has the input's shape",
    )?;
    if shape.elements() == 0 {
        return Ok(());
    }
    let strides = steps(&shape);
    let mut by = [0; MAX_RANK];
    for axis in 0..shape.rank() {
        by[axis] = shifts[axis].rem_euclid(shape[axis] as i64) as usize;
    }
    // Along each shifted dimension there are two pieces; every choice of pieces is one box.
    for choice in 0..1usize << shape.rank() {
        let (mut from, mut to) = (0, 0);
        let mut sizes = [0; MAX_RANK];
        for axis in 0..shape.rank() {
            let step = strides[axis] as usize;
            if choice >> axis & 1 == 0 {
                sizes[axis] = shape[axis] - by[axis];
                to += by[axis] * step;
            } else {
                sizes[axis] = by[axis];
                from += (shape[axis] - by[axis]) * step;
            }
        }
        if sizes[..shape.rank()].contains(&0) {
            continue;
        }
        let mut copy = StridedCopy::new(size, from, to);
        for axis in 0..shape.rank() {
            copy.dim(sizes[axis], strides[axis], strides[axis]);
        }
        copy.run(pool, KERNEL, src.bytes(), dst.bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
