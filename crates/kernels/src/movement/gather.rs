//! Reading slices that indices name. An index is an int32 or an int64; one outside of what it indexes is an error,
//! found before anything is written.

use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::split;
use crate::base::error::{Result, ensure};
use crate::base::indices::{BadIndex, Indices, Places};
use crate::base::threads::ThreadPool;

/// Copies slices of `params` along `axis`: `dst[batch, outer, index, inner] = params[batch, outer,
/// indices[batch, index], inner]`, the first `batch_dims` dimensions being those of `indices` too. Elements of any
/// type.
///
/// # Errors
/// [`KernelError::Index`] for an index that is not below the axis' length, [`KernelError::Invalid`] for dimensions
/// that do not go together, [`KernelError::DType`] for indices of another type than int32 and int64.
///
/// [`KernelError::Index`]: crate::KernelError::Index
/// [`KernelError::Invalid`]: crate::KernelError::Invalid
/// [`KernelError::DType`]: crate::KernelError::DType
pub fn gather(
    pool: &ThreadPool,
    (axis, batch_dims): (usize, usize),
    params: TensorView<'_>,
    indices: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "GatherV2";
    let (from, at) = (*params.shape(), *indices.shape());
    ensure(params.dtype() == dst.dtype(), KERNEL, "the input and the output have one element type")?;
    ensure(
        axis < from.rank() && batch_dims <= axis && batch_dims <= at.rank(),
        KERNEL,
        "the axis is one of the input's",
    )?;
    ensure(from[..batch_dims] == at[..batch_dims], KERNEL, "the batch dimensions are the same")?;
    let batch: usize = from[..batch_dims].iter().product();
    let outer: usize = from[batch_dims..axis].iter().product();
    let inner: usize = from[axis + 1..].iter().product();
    let count: usize = at[batch_dims..].iter().product();
    ensure(
        dst.shape().elements() == batch * outer * count * inner,
        KERNEL,
        "the output has the size of what is read",
    )?;
    let indices = Indices::new(KERNEL, indices)?;
    if dst.bytes().is_empty() {
        // Of slices without elements TensorFlow does not look at the indices.
        return Ok(());
    }
    indices.check(KERNEL, |_| from[axis])?;
    let bytes = inner * params.dtype().bytes();
    let src = params.bytes();
    split(pool, dst.bytes(), bytes, &|first, dst| {
        for (n, dst) in dst.chunks_mut(bytes).enumerate() {
            let row = first + n;
            let (block, index) = (row / count, row % count);
            let index = indices.get(block / outer * count + index) as usize;
            let start = (block * from[axis] + index) * bytes;
            dst.copy_from_slice(&src[start..start + bytes]);
        }
    });
    Ok(())
}

/// Copies the slices of `params` that the last axis of `indices` names: `dst[i] = params[indices[i]]`.
///
/// # Errors
/// As [`gather`], for an index outside of `params` only where `bad` refuses one.
pub fn gather_nd(
    pool: &ThreadPool,
    bad: BadIndex,
    params: TensorView<'_>,
    indices: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "GatherNd";
    ensure(params.dtype() == dst.dtype(), KERNEL, "the input and the output have one element type")?;
    let places = Places::new(KERNEL, indices, params.shape(), bad)?;
    let elements = places.count * places.slice_elements;
    ensure(dst.shape().elements() == elements, KERNEL, "the output has the size of what is read")?;
    let size = params.dtype().bytes();
    let bytes = places.slice_elements * size;
    let src = params.bytes();
    split(pool, dst.bytes(), bytes, &|first, dst| {
        for (n, dst) in dst.chunks_mut(bytes).enumerate() {
            match places.start(first + n) {
                Some(start) => dst.copy_from_slice(&src[start * size..start * size + bytes]),
                None => dst.fill(0),
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::KernelError;
    use tightfit_core::{DType, Shape};

    fn run(
        from: &[usize],
        (index_shape, indices): (&[usize], &[i64]),
        elements: usize,
        kernel: impl Fn(&ThreadPool, TensorView<'_>, TensorView<'_>, &mut TensorViewMut<'_>) -> Result<()>,
    ) -> Result<Vec<i16>> {
        let src: Vec<i16> = (0..from.iter().product::<usize>() as i16).collect();
        let mut dst = vec![0i16; elements];
        let mut view = TensorViewMut::new(
            DType::I16,
            Shape::new(&[elements]).unwrap(),
            bytemuck::cast_slice_mut(&mut dst),
        )
        .unwrap();
        let params = TensorView::from_slice(Shape::new(from).unwrap(), &src).unwrap();
        let indices = TensorView::from_slice(Shape::new(index_shape).unwrap(), indices).unwrap();
        kernel(&ThreadPool::new(1).unwrap(), params, indices, &mut view)?;
        Ok(dst)
    }

    /// Values of numpy's take and of fancy indexing.
    #[test]
    fn gathers() {
        let along = |axis, batch| {
            move |p: &ThreadPool, a: TensorView<'_>, i: TensorView<'_>, d: &mut TensorViewMut<'_>| {
                gather(p, (axis, batch), a, i, d)
            }
        };
        let nd = |bad| {
            move |p: &ThreadPool, a: TensorView<'_>, i: TensorView<'_>, d: &mut TensorViewMut<'_>| {
                gather_nd(p, bad, a, i, d)
            }
        };
        assert_eq!(run(&[3, 2], (&[2], &[2, 0]), 4, along(0, 0)).unwrap(), [4, 5, 0, 1]);
        assert_eq!(run(&[2, 3], (&[2], &[2, 0]), 4, along(1, 0)).unwrap(), [2, 0, 5, 3]);
        assert_eq!(run(&[2, 3], (&[2, 2], &[2, 0, 1, 1]), 4, along(1, 1)).unwrap(), [2, 0, 4, 4]);
        assert_eq!(
            run(&[3, 2], (&[2], &[0, 3]), 4, along(0, 0)),
            Err(KernelError::Index { kernel: "GatherV2", position: 1, index: 3, bound: 3 })
        );
        assert!(run(&[3, 2], (&[1], &[-1]), 2, along(0, 0)).is_err());
        assert!(run(&[3, 2], (&[1], &[1]), 3, along(0, 0)).is_err());
        assert_eq!(run(&[2, 3], (&[2, 2], &[1, 2, 0, 1]), 2, nd(BadIndex::Refused)).unwrap(), [5, 1]);
        assert_eq!(run(&[2, 3], (&[2, 1], &[1, 0]), 6, nd(BadIndex::Refused)).unwrap(), [3, 4, 5, 0, 1, 2]);
        assert!(run(&[2, 3], (&[1, 2], &[1, 3]), 1, nd(BadIndex::Refused)).is_err());
        let passed_over = run(&[2, 3], (&[3, 2], &[1, 3, 1, 2, -1, 0]), 3, nd(BadIndex::PassedOver));
        assert_eq!(passed_over.unwrap(), [0, 5, 0]);
    }
}
