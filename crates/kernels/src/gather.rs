//! Reading slices that indices name. An index is an int32 or an int64; one outside of what it indexes is an error,
//! found before anything is written.

use tightfit_core::{DType, TensorView, TensorViewMut};

use crate::ThreadPool;
use crate::access::{split, values};
use crate::error::{KernelError, Result, ensure};

/// Indices of either type.
#[derive(Clone, Copy)]
pub(crate) enum Indices<'a> {
    I32(&'a [i32]),
    I64(&'a [i64]),
}

impl<'a> Indices<'a> {
    pub fn new(kernel: &'static str, view: TensorView<'a>) -> Result<Self> {
        match view.dtype() {
            DType::I32 => Ok(Indices::I32(values(view.bytes(), kernel)?)),
            DType::I64 => Ok(Indices::I64(values(view.bytes(), kernel)?)),
            dtype => Err(KernelError::DType { kernel, dtype }),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Indices::I32(i) => i.len(),
            Indices::I64(i) => i.len(),
        }
    }

    #[inline]
    pub fn get(&self, position: usize) -> i64 {
        match self {
            Indices::I32(i) => i[position] as i64,
            Indices::I64(i) => i[position],
        }
    }

    /// An error for the first index that is not in `0..bound(position)`.
    pub fn check(&self, kernel: &'static str, bound: impl Fn(usize) -> usize) -> Result<()> {
        for position in 0..self.len() {
            let (index, bound) = (self.get(position), bound(position));
            if index < 0 || index as u64 >= bound as u64 {
                return Err(KernelError::Index { kernel, position, index, bound });
            }
        }
        Ok(())
    }
}

/// Copies slices of `params` along `axis`: `dst[batch, outer, index, inner] = params[batch, outer,
/// indices[batch, index], inner]`, the first `batch_dims` dimensions being those of `indices` too. Elements of any
/// type.
///
/// # Errors
/// [`KernelError::Index`] for an index that is not below the axis' length, [`KernelError::Invalid`] for dimensions
/// that do not go together, [`KernelError::DType`] for indices of another type than int32 and int64.
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

/// The places that the last axis of `indices` names in the first dimensions of a tensor: their number, the bytes of
/// each, and the offset of one.
pub(crate) struct Places<'a> {
    indices: Indices<'a>,
    depth: usize,
    pub count: usize,
    pub slice_elements: usize,
    strides: [usize; tightfit_core::MAX_RANK],
    of: tightfit_core::Shape,
}

/// What an index outside of its tensor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BadIndex {
    /// It is an error.
    #[default]
    Refused,
    /// It names no place: nothing is written there, and a slice read there is zeros.
    PassedOver,
}

impl<'a> Places<'a> {
    pub fn new(
        kernel: &'static str,
        indices: TensorView<'a>,
        of: &tightfit_core::Shape,
        bad: BadIndex,
    ) -> Result<Self> {
        let shape = *indices.shape();
        let depth = *shape.last().ok_or(KernelError::Invalid { kernel, rule: "the indices have an axis" })?;
        ensure(depth <= of.rank(), kernel, "an index has no more parts than the tensor has dimensions")?;
        let indices = Indices::new(kernel, indices)?;
        if bad == BadIndex::Refused {
            indices.check(kernel, |position| of[position % depth])?;
        }
        let count = shape[..shape.rank() - 1].iter().product();
        let slice_elements = of[depth..].iter().product();
        // Without parts, every index names the whole tensor, of which there is none if a dimension is 0.
        Ok(Places { indices, depth, count, slice_elements, strides: of.strides(), of: *of })
    }

    /// The element at which place `n` starts; `None` where its index is outside of the tensor.
    #[inline]
    pub fn start(&self, n: usize) -> Option<usize> {
        (0..self.depth).try_fold(0, |sum, d| {
            let index = usize::try_from(self.indices.get(n * self.depth + d)).ok()?;
            (index < self.of[d]).then(|| sum + index * self.strides[d])
        })
    }
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
    use tightfit_core::Shape;

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
