//! Finding elements: the largest, the true, the distinct; and orders given by indices.

use std::cmp::Ordering;

use tightfit_core::{DType, Shared, TensorView, TensorViewMut};

use crate::base::access::{for_dtype, split_range, values, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::indices::Indices;
use crate::base::threads::ThreadPool;

use super::kept::Kept;
use super::order::Ordered;

/// In which order [`top_k`] gives what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopOrder {
    /// The largest first; of equal ones the first.
    Sorted,
    /// As TensorFlow leaves them when it may: one is as in [`TopOrder::Sorted`], and so are all of a row; fewer stand in
    /// the heap that they were kept in.
    Kept,
}

/// The `k` largest elements of each row (last axis) of `src`, of numbers, and their places. Of equal ones the first is
/// found first; NaNs come last. `k` is the last dimension of `found` and of `places` (int16, int32, int64).
///
/// # Errors
/// [`KernelError::Invalid`] for sizes that do not go together, [`KernelError::DType`] for other types.
pub fn top_k(
    pool: &ThreadPool,
    src: TensorView<'_>,
    order: TopOrder,
    found: &mut TensorViewMut<'_>,
    places: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "TopKV2";
    ensure(src.dtype() == found.dtype(), KERNEL, "the input and the output have one element type")?;
    let len =
        *src.shape().last().ok_or(KernelError::Invalid { kernel: KERNEL, rule: "there is a last axis" })?;
    let k = found.shape().last().copied().unwrap_or(0);
    let rows = src.shape()[..src.shape().rank() - 1].iter().product::<usize>();
    let fits = k <= len && found.shape().elements() == rows * k && places.shape().elements() == rows * k;
    ensure(fits, KERNEL, "the outputs have k elements for each row, and a row has as many")?;
    for_dtype!(src.dtype(), KERNEL, numbers, T => {
        let (src, found) = (values::<T>(src.bytes(), KERNEL)?, values_mut::<T>(found.bytes(), KERNEL)?);
        for_dtype!(places.dtype(), KERNEL, [I16, I32, I64], I => {
            let places = values_mut::<I>(places.bytes(), KERNEL)?;
            let (found, places) = (Shared::new(found), Shared::new(places));
            split_range(pool, if k == 0 { 0 } else { rows }, len * 2, &|first, count| {
                for row in first..first + count {
                    // SAFETY: every row belongs to one task, and the outputs outlive the call.
                    let (mut found, mut places) = unsafe { (found.part(row * k, k), places.part(row * k, k)) };
                    let row = &src[row * len..][..len];
                    if order == TopOrder::Kept && 1 < k && k < len {
                        Kept::fill(row, &mut found, &mut places, |n| n as I);
                        continue;
                    }
                    let mut heap = Heap { found: &mut found, places: &mut places, len: 0 };
                    for (n, x) in row.iter().enumerate() {
                        heap.offer(*x, n as I);
                    }
                    heap.sort();
                }
            });
            Ok(())
        })
    })
}

/// The best elements so far, the worst of them on top.
struct Heap<'a, T, I> {
    found: &'a mut [T],
    places: &'a mut [I],
    len: usize,
}

/// Whether an element at a place comes after another.
#[inline]
fn after<T: Ordered, I: PartialOrd>((x, i): (T, I), (y, j): (T, I)) -> bool {
    match x.order(y) {
        Some(Ordering::Less) => true,
        Some(Ordering::Greater) => false,
        Some(Ordering::Equal) => i > j,
        // One is NaN, or both.
        None => match (x.order(x), y.order(y)) {
            (None, Some(_)) => true,
            (Some(_), None) => false,
            _ => i > j,
        },
    }
}

impl<T: Ordered, I: Copy + PartialOrd> Heap<'_, T, I> {
    fn at(&self, n: usize) -> (T, I) {
        (self.found[n], self.places[n])
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.found.swap(a, b);
        self.places.swap(a, b);
    }

    fn offer(&mut self, x: T, place: I) {
        if self.len == self.found.len() {
            if after((x, place), self.at(0)) {
                return;
            }
            (self.found[0], self.places[0]) = (x, place);
            return self.sink(0);
        }
        let mut n = self.len;
        self.len += 1;
        (self.found[n], self.places[n]) = (x, place);
        while n > 0 && after(self.at(n), self.at((n - 1) / 2)) {
            self.swap(n, (n - 1) / 2);
            n = (n - 1) / 2;
        }
    }

    fn sink(&mut self, from: usize) {
        let mut n = from;
        loop {
            let mut last = n;
            for child in [2 * n + 1, 2 * n + 2] {
                if child < self.len && after(self.at(child), self.at(last)) {
                    last = child;
                }
            }
            if last == n {
                return;
            }
            self.swap(n, last);
            n = last;
        }
    }

    fn sort(&mut self) {
        while self.len > 1 {
            self.len -= 1;
            self.swap(0, self.len);
            self.sink(0);
        }
    }
}

/// How many elements of `src`, of numbers or bools, are not 0.
///
/// # Errors
/// [`KernelError::DType`] for other types.
pub fn count_nonzero(src: TensorView<'_>) -> Result<usize> {
    for_dtype!(src.dtype(), "Where", [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool, C64, C128], T => {
        let zero = <T as bytemuck::Zeroable>::zeroed();
        Ok(values::<T>(src.bytes(), "Where")?.iter().filter(|x| **x != zero).count())
    })
}

/// The coordinates of the elements of `src`, of numbers or bools, that are not 0, into the rows of `dst`
/// `[count, rank]` (int64), in row-major order.
///
/// # Errors
/// [`KernelError::Invalid`] if there are not as many as `dst` has rows, [`KernelError::DType`] for other types.
pub fn where_indices(src: TensorView<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    const KERNEL: &str = "Where";
    let shape = *src.shape();
    ensure(dst.dtype() == DType::I64, KERNEL, "the output is int64")?;
    let fits = count_nonzero(src)?.checked_mul(shape.rank()) == Some(dst.shape().elements());
    ensure(fits, KERNEL, "the output has a row for each element found")?;
    if shape.rank() == 0 {
        return Ok(());
    }
    let strides = shape.strides();
    let dst = values_mut::<i64>(dst.bytes(), KERNEL)?;
    for_dtype!(src.dtype(), KERNEL, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool, C64, C128], T => {
        let zero = <T as bytemuck::Zeroable>::zeroed();
        let places = values::<T>(src.bytes(), KERNEL)?.iter().enumerate().filter(|(_, x)| **x != zero);
        for (row, (at, _)) in dst.chunks_mut(shape.rank()).zip(places) {
            for (axis, index) in row.iter_mut().enumerate() {
                *index = (at / strides[axis] % shape[axis]) as i64;
            }
        }
        Ok(())
    })
}

/// The distinct elements of `src`, of numbers or bools, in order of appearance, into the first of `found` (as large as
/// `src`), and for each element the place of its like there into `places` (int32, int64). Returns how many there are.
/// `scratch` has an element for each of `src`. Every NaN is distinct.
///
/// # Errors
/// [`KernelError::Invalid`] for sizes that do not go together, [`KernelError::DType`] for other types.
pub fn unique(
    src: TensorView<'_>,
    scratch: &mut [u32],
    found: &mut TensorViewMut<'_>,
    places: &mut TensorViewMut<'_>,
) -> Result<usize> {
    const KERNEL: &str = "Unique";
    let len = src.shape().elements();
    ensure(src.dtype() == found.dtype(), KERNEL, "the input and the output have one element type")?;
    let fits = len <= u32::MAX as usize && scratch.len() >= len && places.shape().elements() == len;
    ensure(
        fits && found.shape().elements() == len,
        KERNEL,
        "outputs and scratch have an element for each input",
    )?;
    let order = &mut scratch[..len];
    for_dtype!(src.dtype(), KERNEL, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool], T => {
        let (src, found) = (values::<T>(src.bytes(), KERNEL)?, values_mut::<T>(found.bytes(), KERNEL)?);
        for_dtype!(places.dtype(), KERNEL, [I16, I32, I64], I => {
            let places = values_mut::<I>(places.bytes(), KERNEL)?;
            (0..).zip(order.iter_mut()).for_each(|(n, o)| *o = n);
            order.sort_unstable_by(|a, b| {
                let (x, y) = (src[*a as usize], src[*b as usize]);
                if after((x, *a), (y, *b)) { Ordering::Greater } else if a == b { Ordering::Equal } else { Ordering::Less }
            });
            // First the place of each element's first like, which is the first of its group.
            let mut group = 0;
            for n in 0..len {
                if n == 0 || src[order[n] as usize] != src[order[n - 1] as usize] {
                    group = order[n];
                }
                places[order[n] as usize] = group as I;
            }
            // Then, in order of appearance, the number of that: those before it have theirs already.
            let mut count = 0;
            for n in 0..len {
                let first = places[n] as usize;
                if first == n {
                    found[count] = src[n];
                    places[n] = count as I;
                    count += 1;
                } else {
                    places[n] = places[first];
                }
            }
            Ok(count)
        })
    })
}

/// Writes the inverse of the permutation `src` (int32 or int64) to `dst`.
///
/// # Errors
/// [`KernelError::Index`] for a number out of range, [`KernelError::Invalid`] for one that comes twice.
pub fn invert_permutation(src: TensorView<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    const KERNEL: &str = "InvertPermutation";
    let indices = Indices::new(KERNEL, src)?;
    let len = indices.len();
    ensure(
        src.dtype() == dst.dtype() && dst.shape().elements() == len,
        KERNEL,
        "the output is like the input",
    )?;
    indices.check(KERNEL, |_| len)?;
    for_dtype!(src.dtype(), KERNEL, [I32, I64], I => {
        let dst = values_mut::<I>(dst.bytes(), KERNEL)?;
        dst.fill(-1);
        for n in 0..len {
            let place = &mut dst[indices.get(n) as usize];
            ensure(*place == -1, KERNEL, "every number comes once")?;
            *place = n as I;
        }
        Ok(())
    })
}

/// Writes `src` with the first `lengths[b]` elements along `sequence_axis` turned around, for each place `b` along
/// `batch_axis`. Any type; lengths are int32 or int64.
///
/// # Errors
/// [`KernelError::Index`] for a length out of range, [`KernelError::Invalid`] for sizes that do not go together.
pub fn reverse_sequence(
    (sequence_axis, batch_axis): (usize, usize),
    lengths: TensorView<'_>,
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "ReverseSequence";
    let shape = *src.shape();
    let alike = src.dtype() == dst.dtype() && shape == *dst.shape();
    ensure(alike, KERNEL, "the output is like the input")?;
    let axes = sequence_axis < shape.rank() && batch_axis < shape.rank() && sequence_axis != batch_axis;
    ensure(axes, KERNEL, "the axes are two of the input's")?;
    let lengths = Indices::new(KERNEL, lengths)?;
    ensure(lengths.len() == shape[batch_axis], KERNEL, "there is a length for each of the batch")?;
    lengths.check(KERNEL, |_| shape[sequence_axis] + 1)?;
    let strides = shape.strides();
    let inner_axis = sequence_axis.max(batch_axis);
    let bytes = strides[inner_axis] * src.dtype().bytes();
    if shape.elements() == 0 {
        return Ok(());
    }
    let (src, dst) = (src.bytes(), dst.bytes());
    for (n, dst) in dst.chunks_mut(bytes).enumerate() {
        let at = n * strides[inner_axis];
        let place = at / strides[sequence_axis] % shape[sequence_axis];
        let length = lengths.get(at / strides[batch_axis] % shape[batch_axis]) as usize;
        let from = if place < length { length - 1 - place } else { place };
        // A step along the sequence is a whole number of these blocks, or one.
        let step = strides[sequence_axis] / strides[inner_axis] * bytes;
        let start = n * bytes + from * step - place * step;
        dst.copy_from_slice(&src[start..start + bytes]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tightfit_core::{Element, Shape};

    fn view<'a, T: Element>(dims: &[usize], values: &'a [T]) -> TensorView<'a> {
        TensorView::from_slice(Shape::new(dims).unwrap(), values).unwrap()
    }

    fn out<'a, T: Element>(dims: &[usize], values: &'a mut [T]) -> TensorViewMut<'a> {
        TensorViewMut::new(T::DTYPE, Shape::new(dims).unwrap(), bytemuck::cast_slice_mut(values)).unwrap()
    }

    #[test]
    fn the_largest() {
        let pool = ThreadPool::new(2).unwrap();
        let x: Vec<f32> = (0..3 * 1000).map(|i| ((i * 7919) % 503) as f32).collect();
        for k in [1usize, 5, 999, 1000] {
            let (mut found, mut places) = (vec![0f32; 3 * k], vec![0i32; 3 * k]);
            top_k(
                &pool,
                view(&[3, 1000], &x),
                TopOrder::Sorted,
                &mut out(&[3, k], &mut found),
                &mut out(&[3, k], &mut places),
            )
            .unwrap();
            for row in 0..3 {
                let x = &x[row * 1000..][..1000];
                let mut order: Vec<usize> = (0..1000).collect();
                order.sort_by(|a, b| x[*b].total_cmp(&x[*a]));
                let (found, places) = (&found[row * k..][..k], &places[row * k..][..k]);
                assert!(order.iter().zip(places).all(|(a, b)| *a == *b as usize));
                assert!(order.iter().zip(found).all(|(a, b)| x[*a] == *b));
            }
        }
        let (mut found, mut places) = ([0f32; 3], [0i64; 3]);
        let x = [f32::NAN, 2.0, 2.0];
        top_k(
            &pool,
            view(&[3], &x),
            TopOrder::Sorted,
            &mut out(&[3], &mut found),
            &mut out(&[3], &mut places),
        )
        .unwrap();
        assert_eq!(places, [1, 2, 0]);
    }

    #[test]
    fn the_true_and_the_distinct() {
        let x = [0.0f32, 2.0, 0.0, f32::NAN, -1.0, 0.0];
        let mut found = [0i64; 6];
        assert_eq!(count_nonzero(view(&[2, 3], &x)).unwrap(), 3);
        where_indices(view(&[2, 3], &x), &mut out(&[3, 2], &mut found)).unwrap();
        assert_eq!(found, [0, 1, 1, 0, 1, 1]);
        assert!(where_indices(view(&[2, 3], &x), &mut out(&[1, 2], &mut found[..2])).is_err());
        let x = [5i32, 3, 5, 9, 3, 3];
        let (mut found, mut places, mut scratch) = ([0i32; 6], [0i64; 6], [0u32; 6]);
        let count =
            unique(view(&[6], &x), &mut scratch, &mut out(&[6], &mut found), &mut out(&[6], &mut places));
        assert_eq!((count.unwrap(), &found[..3], places), (3, &[5, 3, 9][..], [0, 1, 0, 2, 1, 1]));
        let x = [f32::NAN, f32::NAN, 1.0];
        let (mut found, mut places) = ([0f32; 3], [0i32; 3]);
        let count =
            unique(view(&[3], &x), &mut scratch, &mut out(&[3], &mut found), &mut out(&[3], &mut places));
        assert_eq!((count.unwrap(), places), (3, [0, 1, 2]));
    }

    #[test]
    fn orders() {
        let mut inverse = [0i32; 4];
        invert_permutation(view(&[4], &[2i32, 0, 3, 1]), &mut out(&[4], &mut inverse)).unwrap();
        assert_eq!(inverse, [1, 3, 0, 2]);
        assert!(invert_permutation(view(&[2], &[1i32, 1]), &mut out(&[2], &mut inverse[..2])).is_err());
        assert!(invert_permutation(view(&[2], &[1i32, 2]), &mut out(&[2], &mut inverse[..2])).is_err());
        let x: Vec<i32> = (0..12).collect();
        let mut turned = [0i32; 12];
        reverse_sequence(
            (1, 0),
            view(&[2], &[2i32, 3]),
            view(&[2, 3, 2], &x),
            &mut out(&[2, 3, 2], &mut turned),
        )
        .unwrap();
        assert_eq!(turned, [2, 3, 0, 1, 4, 5, 10, 11, 8, 9, 6, 7]);
        reverse_sequence(
            (0, 1),
            view(&[3], &[1i32, 2, 2]),
            view(&[2, 3, 2], &x),
            &mut out(&[2, 3, 2], &mut turned),
        )
        .unwrap();
        assert_eq!(turned, [0, 1, 8, 9, 10, 11, 6, 7, 2, 3, 4, 5]);
    }
}
