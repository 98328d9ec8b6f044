//! The exchange of space with depth, and of space with batch.

use tightfit_core::{MAX_RANK, TensorView, TensorViewMut};

use crate::base::error::{Result, ensure};
use crate::base::strided::StridedCopy;
use crate::base::threads::ThreadPool;
use crate::movement::layout::fill;

/// `[batch, height, width, depth]` to `[batch, height / block, width / block, block * block * depth]`.
///
/// # Errors
/// [`crate::KernelError::Invalid`] for other shapes.
pub fn space_to_depth(
    pool: &ThreadPool,
    block: usize,
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    let (large, small) = (*src.shape(), *dst.shape());
    check_depth("SpaceToDepth", block, &large, &small, src, dst)?;
    let (from, to) = (large.strides().map(|s| s as isize), small.strides().map(|s| s as isize));
    let (block, depth) = (block as isize, large[3]);
    let mut copy = StridedCopy::new(src.dtype().bytes(), 0, 0);
    copy.dim(small[0], from[0], to[0]);
    copy.dim(small[1], from[1] * block, to[1]);
    copy.dim(small[2], from[2] * block, to[2]);
    copy.dim(block as usize, from[1], block * depth as isize);
    copy.dim(block as usize, from[2], depth as isize);
    copy.dim(depth, 1, 1);
    copy.run(pool, "SpaceToDepth", src.bytes(), dst.bytes())
}

/// `[batch, height, width, block * block * depth]` to `[batch, height * block, width * block, depth]`.
///
/// # Errors
/// [`crate::KernelError::Invalid`] for other shapes.
pub fn depth_to_space(
    pool: &ThreadPool,
    block: usize,
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    let (small, large) = (*src.shape(), *dst.shape());
    check_depth("DepthToSpace", block, &large, &small, src, dst)?;
    let (from, to) = (small.strides().map(|s| s as isize), large.strides().map(|s| s as isize));
    let (block, depth) = (block as isize, large[3]);
    let mut copy = StridedCopy::new(src.dtype().bytes(), 0, 0);
    copy.dim(small[0], from[0], to[0]);
    copy.dim(small[1], from[1], to[1] * block);
    copy.dim(block as usize, block * depth as isize, to[1]);
    copy.dim(small[2], from[2], to[2] * block);
    copy.dim(block as usize, depth as isize, to[2]);
    copy.dim(depth, 1, 1);
    copy.run(pool, "DepthToSpace", src.bytes(), dst.bytes())
}

fn check_depth(
    kernel: &'static str,
    block: usize,
    large: &[usize],
    small: &[usize],
    src: TensorView<'_>,
    dst: &TensorViewMut<'_>,
) -> Result<()> {
    ensure(src.dtype() == dst.dtype(), kernel, "the input and the output have one element type")?;
    let fits = large.len() == 4
        && small.len() == 4
        && block > 0
        && large[0] == small[0]
        && Some(large[1]) == small[1].checked_mul(block)
        && Some(large[2]) == small[2].checked_mul(block)
        && Some(small[3]) == block.checked_mul(block).and_then(|b| b.checked_mul(large[3]));
    ensure(fits, kernel, "the shapes differ by the block in height, width and depth")
}

/// Moves blocks of the dimensions after the first of `src`, padded with zeros by `pads[i]` before and after, to the
/// first: `dst[block * batch + n, q.., rest] = src[n, q * block_shape + block - pads.., rest]`.
///
/// # Errors
/// [`crate::KernelError::Invalid`] for shapes that do not go together.
pub fn space_to_batch_nd(
    pool: &ThreadPool,
    block_shape: &[usize],
    pads: &[[usize; 2]],
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "SpaceToBatchND";
    ensure(src.dtype() == dst.dtype(), KERNEL, "the input and the output have one element type")?;
    let (large, small) = (*src.shape(), *dst.shape());
    check_blocks(KERNEL, block_shape, pads, &large, &small)?;
    if pads.iter().any(|p| *p != [0, 0]) {
        fill(pool, &[0; 16][..src.dtype().bytes()], dst)?;
    }
    let bytes = src.dtype().bytes();
    let (to, from) = (small.strides(), large.strides());
    each_block(block_shape, pads, &large, &small, |place| {
        let mut copy = StridedCopy::new(bytes, place.large, place.small);
        for axis in 0..large.rank() {
            copy.dim(
                place.sizes[axis],
                (from[axis] * place.step(block_shape, axis)) as isize,
                to[axis] as isize,
            );
        }
        copy.run(pool, KERNEL, src.bytes(), dst.bytes())
    })
}

/// The inverse of [`space_to_batch_nd`], `crops` taking the place of the padding.
///
/// # Errors
/// As [`space_to_batch_nd`].
pub fn batch_to_space_nd(
    pool: &ThreadPool,
    block_shape: &[usize],
    crops: &[[usize; 2]],
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "BatchToSpaceND";
    ensure(src.dtype() == dst.dtype(), KERNEL, "the input and the output have one element type")?;
    let (small, large) = (*src.shape(), *dst.shape());
    check_blocks(KERNEL, block_shape, crops, &large, &small)?;
    let bytes = src.dtype().bytes();
    let (from, to) = (small.strides(), large.strides());
    each_block(block_shape, crops, &large, &small, |place| {
        let mut copy = StridedCopy::new(bytes, place.small, place.large);
        for axis in 0..large.rank() {
            copy.dim(
                place.sizes[axis],
                from[axis] as isize,
                (to[axis] * place.step(block_shape, axis)) as isize,
            );
        }
        copy.run(pool, KERNEL, src.bytes(), dst.bytes())
    })
}

fn check_blocks(
    kernel: &'static str,
    block_shape: &[usize],
    pads: &[[usize; 2]],
    large: &[usize],
    small: &[usize],
) -> Result<()> {
    let rank = block_shape.len();
    let batches = block_shape.iter().try_fold(large.first().copied().unwrap_or(0), |n, b| n.checked_mul(*b));
    let padded = |i: usize| large[i + 1].checked_add(pads[i][0])?.checked_add(pads[i][1]);
    let fits = large.len() > rank
        && small.len() == large.len()
        && pads.len() == rank
        && block_shape.iter().all(|b| *b > 0)
        && batches == Some(small[0])
        && (0..rank).all(|i| padded(i) == small[i + 1].checked_mul(block_shape[i]))
        && large[rank + 1..] == small[rank + 1..];
    ensure(fits, kernel, "the shapes differ by the blocks and the padding")
}

/// Where the elements of one block offset lie: a box in either tensor.
struct Place {
    large: usize,
    small: usize,
    sizes: [usize; MAX_RANK],
}

impl Place {
    /// Elements of the large tensor between neighbours of the box along `axis`.
    fn step(&self, block_shape: &[usize], axis: usize) -> usize {
        if axis == 0 { 1 } else { block_shape.get(axis - 1).copied().unwrap_or(1) }
    }
}

fn each_block(
    block_shape: &[usize],
    pads: &[[usize; 2]],
    large: &tightfit_core::Shape,
    small: &tightfit_core::Shape,
    mut f: impl FnMut(Place) -> Result<()>,
) -> Result<()> {
    let (large_strides, small_strides) = (large.strides(), small.strides());
    for block in 0..block_shape.iter().product() {
        let mut place = Place { large: 0, small: block * large[0] * small_strides[0], sizes: [0; MAX_RANK] };
        place.sizes[..large.rank()].copy_from_slice(large);
        let mut left: usize = block;
        for i in (0..block_shape.len()).rev() {
            let (step, before) = (block_shape[i], pads[i][0]);
            let offset = left % step;
            left /= step;
            // The q for which q * step + offset - before lies within the large tensor.
            let first = before.saturating_sub(offset).div_ceil(step);
            let end = (large[i + 1] + before).saturating_sub(offset).div_ceil(step).min(small[i + 1]);
            place.sizes[i + 1] = end.saturating_sub(first);
            if place.sizes[i + 1] > 0 {
                place.large += (first * step + offset - before) * large_strides[i + 1];
                place.small += first * small_strides[i + 1];
            }
        }
        f(place)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tightfit_core::{DType, Shape};

    fn run(
        from: &[usize],
        to: &[usize],
        kernel: impl Fn(&ThreadPool, TensorView<'_>, &mut TensorViewMut<'_>) -> Result<()>,
    ) -> Vec<i16> {
        let src: Vec<i16> = (1..=from.iter().product::<usize>() as i16).collect();
        let mut dst = vec![-1i16; to.iter().product()];
        let shape = Shape::new(to).unwrap();
        let mut out = TensorViewMut::new(DType::I16, shape, bytemuck::cast_slice_mut(&mut dst)).unwrap();
        let view = TensorView::from_slice(Shape::new(from).unwrap(), &src).unwrap();
        kernel(&ThreadPool::new(1).unwrap(), view, &mut out).unwrap();
        dst
    }

    /// Values of TensorFlow's documentation.
    #[test]
    fn depth() {
        let deep = run(&[1, 4, 4, 1], &[1, 2, 2, 4], |p, s, d| space_to_depth(p, 2, s, d));
        assert_eq!(deep, [1, 2, 5, 6, 3, 4, 7, 8, 9, 10, 13, 14, 11, 12, 15, 16]);
        let flat = run(&[1, 2, 2, 4], &[1, 4, 4, 1], |p, s, d| depth_to_space(p, 2, s, d));
        assert_eq!(flat, [1, 2, 5, 6, 3, 4, 7, 8, 9, 10, 13, 14, 11, 12, 15, 16]);
        let deep = run(&[1, 2, 2, 3], &[1, 1, 1, 12], |p, s, d| space_to_depth(p, 2, s, d));
        assert_eq!(deep, (1..=12).collect::<Vec<_>>());
    }

    /// Values of TensorFlow's documentation.
    #[test]
    fn batch() {
        let batches =
            run(&[1, 4, 4, 1], &[4, 2, 2, 1], |p, s, d| space_to_batch_nd(p, &[2, 2], &[[0, 0]; 2], s, d));
        assert_eq!(batches, [1, 3, 9, 11, 2, 4, 10, 12, 5, 7, 13, 15, 6, 8, 14, 16]);
        let padded = run(&[2, 2, 4, 1], &[8, 1, 3, 1], |p, s, d| {
            space_to_batch_nd(p, &[2, 2], &[[0, 0], [2, 0]], s, d)
        });
        assert_eq!(padded, [0, 1, 3, 0, 9, 11, 0, 2, 4, 0, 10, 12, 0, 5, 7, 0, 13, 15, 0, 6, 8, 0, 14, 16]);
        let cropped = run(&[8, 1, 3, 1], &[2, 2, 4, 1], |p, s, d| {
            batch_to_space_nd(p, &[2, 2], &[[0, 0], [2, 0]], s, d)
        });
        assert_eq!(cropped, [2, 8, 3, 9, 14, 20, 15, 21, 5, 11, 6, 12, 17, 23, 18, 24]);
    }
}
