//! Writing to, or adding up in, places that indices name. All in the order of the indices, on one thread: which of
//! several updates of one place comes last, and the rounding of sums, are then always the same.

use bytemuck::Pod;
use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::{for_dtype, values, values_mut};
use crate::base::complex::{Complex, Float, complex};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::indices::{BadIndex, Indices, Places};

/// What is done with an element and an update of it. All but `Update` are of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    /// The update replaces it; of any type.
    Update,
    /// It is added.
    Add,
    /// It is subtracted.
    Sub,
    /// It is multiplied by.
    Mul,
    /// It is divided by; of integers rounded towards zero.
    Div,
    /// The smaller stays.
    Min,
    /// The larger stays.
    Max,
}

/// A number of any type that tensors hold. What asks for the smaller or larger of complex ones is refused before.
pub(crate) trait Number: Pod + PartialOrd {
    const LOWEST: Self;
    const HIGHEST: Self;
    fn of(x: f64) -> Self;
    fn combine(self, how: Combine, x: Self) -> Self;
    /// This over `x`; of integers rounded towards zero.
    fn over(self, x: f64) -> Self;
    /// This over `x`; of integers rounded towards zero, and 0 for what is no number.
    fn quotient(self, x: Self) -> Self;

    /// This and `x`; of integers wrapped.
    #[inline]
    fn sum(self, x: Self) -> Self {
        self.combine(Combine::Add, x)
    }

    /// This times `x`; of integers wrapped.
    #[inline]
    fn product(self, x: Self) -> Self {
        self.combine(Combine::Mul, x)
    }

    /// This without its sign.
    fn magnitude(self) -> Self {
        let zero = Self::of(0.0);
        if self < zero { zero.combine(Combine::Sub, self) } else { self }
    }
}

macro_rules! number {
    ($($T:ident, $x:ident $of:expr, $over:expr, $low:expr, $high:expr, $add:expr, $sub:expr, $mul:expr,
        $div:expr;)*) => { $(
        impl Number for $T {
            const LOWEST: Self = $low;
            const HIGHEST: Self = $high;
            fn of($x: f64) -> Self {
                $of
            }
            #[inline]
            fn combine(self, how: Combine, x: Self) -> Self {
                match how {
                    Combine::Update => x,
                    Combine::Add => $add(self, x),
                    Combine::Sub => $sub(self, x),
                    Combine::Mul => $mul(self, x),
                    Combine::Div => self.quotient(x),
                    Combine::Min => if x < self { x } else { self },
                    Combine::Max => if x > self { x } else { self },
                }
            }
            fn over(self, x: f64) -> Self {
                $over(self, x)
            }
            fn quotient(self, x: Self) -> Self {
                $div(self, x)
            }
        }
    )* };
}

macro_rules! integer {
    ($($T:ident)*) => {
        number!($($T, x x as $T, |a: $T, x: f64| a.checked_div(x as $T).unwrap_or(0), $T::MIN, $T::MAX,
            $T::wrapping_add, $T::wrapping_sub, $T::wrapping_mul, |a: $T, x: $T| a.checked_div(x).unwrap_or(0);)*);
    };
}

integer!(i8 i16 i32 i64 u8 u16 u32 u64);

use half::{bf16, f16};
use std::ops::{Add, Div, Mul, Sub};
number! {
    f32, x x as f32, |a, x| (a as f64 / x) as f32, f32::MIN, f32::MAX, Add::add, Sub::sub, Mul::mul, Div::div;
    f64, x x, |a, x| a / x, f64::MIN, f64::MAX, Add::add, Sub::sub, Mul::mul, Div::div;
    f16, x f16::from_f64(x), |a: f16, x| f16::from_f64(a.to_f64() / x), f16::MIN, f16::MAX, Add::add, Sub::sub, Mul::mul, Div::div;
    bf16, x bf16::from_f64(x), |a: bf16, x| bf16::from_f64(a.to_f64() / x), bf16::MIN, bf16::MAX, Add::add, Sub::sub, Mul::mul, Div::div;
}

impl<F: Float + PartialOrd> Number for Complex<F> {
    const LOWEST: Self = Complex::<F>::ZERO;
    const HIGHEST: Self = Complex::<F>::ZERO;

    fn of(x: f64) -> Self {
        complex(F::of(x), F::ZERO)
    }

    #[inline]
    fn combine(self, how: Combine, x: Self) -> Self {
        match how {
            Combine::Add => self + x,
            Combine::Sub => self - x,
            Combine::Mul => self * x,
            Combine::Div => self.quotient(x),
            Combine::Update | Combine::Min | Combine::Max => x,
        }
    }

    fn over(self, x: f64) -> Self {
        complex(F::of(self.re.wide() / x), F::of(self.im.wide() / x))
    }

    fn quotient(self, x: Self) -> Self {
        Complex::of(self.wide().over(x.wide()))
    }
}

/// Calls `each(n, element)` for slice `n` of the updates that goes to the place in a tensor of shape `of` that starts at
/// `element`, for the types that this crate does not combine.
///
/// # Errors
/// As [`scatter_nd`], for indices alone.
pub fn for_each_place(
    indices: TensorView<'_>,
    of: &tightfit_core::Shape,
    bad: BadIndex,
    each: &mut dyn FnMut(usize, usize),
) -> Result<()> {
    let places = Places::new("ScatterNd", indices, of, bad)?;
    (0..places.count).for_each(|n| {
        if let Some(start) = places.start(n) {
            each(n, start);
        }
    });
    Ok(())
}

/// Combines the slices of `updates` into those of `dst` that the last axis of `indices` (int32, int64) names. `dst`
/// has its initial content: zeros for ScatterNd, the tensor for TensorScatterUpdate and the like.
///
/// # Errors
/// [`KernelError::Index`] for an index outside of `dst` where `bad` refuses one, [`KernelError::Invalid`] for shapes that
/// do not go together, [`KernelError::DType`] for types that are not combined so, [`KernelError::DivisionByZero`] for integers
/// divided by one.
pub fn scatter_nd(
    how: Combine,
    bad: BadIndex,
    indices: TensorView<'_>,
    updates: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "ScatterNd";
    ensure(updates.dtype() == dst.dtype(), KERNEL, "the updates and the output have one element type")?;
    let places = Places::new(KERNEL, indices, dst.shape(), bad)?;
    let len = places.slice_elements;
    ensure(updates.shape().elements() == places.count * len, KERNEL, "there is an update for each index")?;
    if len == 0 {
        return Ok(());
    }
    combine_places(how, &places, updates, len, dst)
}

/// The same with one element, which goes to every element of each slice.
///
/// # Errors
/// As [`scatter_nd`].
pub fn scatter_one(
    how: Combine,
    bad: BadIndex,
    indices: TensorView<'_>,
    update: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "ScatterUpdate";
    ensure(update.dtype() == dst.dtype(), KERNEL, "the update and the output have one element type")?;
    ensure(update.shape().elements() == 1, KERNEL, "there is one update")?;
    let places = Places::new(KERNEL, indices, dst.shape(), bad)?;
    if places.slice_elements == 0 {
        return Ok(());
    }
    combine_places(how, &places, update, 0, dst)
}

/// Combines slice `n` of the updates, `step` elements after the one before, with the `n`th place; of a step of 0 one element
/// with each element of it.
fn combine_places(
    how: Combine,
    places: &Places<'_>,
    updates: TensorView<'_>,
    step: usize,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "ScatterNd";
    let len = places.slice_elements;
    let (dtype, size) = (dst.dtype(), dst.dtype().bytes());
    if how == Combine::Update {
        let (updates, dst) = (updates.bytes(), dst.bytes());
        for n in 0..places.count {
            let Some(start) = places.start(n) else { continue };
            let row = &mut dst[start * size..][..len * size];
            match step {
                0 => row.chunks_exact_mut(size).for_each(|to| to.copy_from_slice(&updates[..size])),
                _ => row.copy_from_slice(&updates[n * step * size..][..len * size]),
            }
        }
        return Ok(());
    }
    if dtype.is_complex() && matches!(how, Combine::Min | Combine::Max) {
        return Err(KernelError::DType { kernel: KERNEL, dtype });
    }
    for_dtype!(dtype, KERNEL, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, C64, C128], T => {
        let (updates, dst) = (values::<T>(updates.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?);
        if how == Combine::Div && dtype.is_integer() && updates.contains(&<T as Number>::of(0.0)) {
            return Err(KernelError::DivisionByZero);
        }
        for n in 0..places.count {
            let Some(start) = places.start(n) else { continue };
            let row = &mut dst[start..][..len];
            match step {
                0 => row.iter_mut().for_each(|to| *to = to.combine(how, updates[0])),
                _ => combine_row(how, row, &updates[n * step..][..len]),
            }
        }
        Ok(())
    })
}

fn combine_row<T: Number>(how: Combine, dst: &mut [T], update: &[T]) {
    for (dst, x) in dst.iter_mut().zip(update) {
        *dst = dst.combine(how, *x);
    }
}

/// How the rows of a segment become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentOp {
    /// The sum; of none 0.
    Sum,
    /// The sum over the count; of none 0. Segments must be sorted.
    Mean,
    /// The sum over the square root of the count; of none 0. Segments must be sorted.
    SqrtN,
    /// The product; of none 1.
    Prod,
    /// The largest; of none the type's lowest finite.
    Max,
    /// The smallest; of none the type's highest finite.
    Min,
}

/// Reduces the rows (first axis) of `data`, of numbers, to those of `dst`: row `i` goes to row `segments[i]`, and
/// nowhere if that is negative. With `rows`, it is row `rows[i]` instead. `segments` has one or more of the first
/// dimensions of `data`; `sorted` asks for ids that never fall, and leaves segments without rows 0 where
/// the largest or smallest is wanted.
///
/// # Errors
/// [`KernelError::Index`] for an id or row out of range, [`KernelError::Invalid`] for shapes that do not go together,
/// and for ids that fall where they must not.
pub fn segment_reduce(
    op: SegmentOp,
    sorted: bool,
    data: TensorView<'_>,
    rows: Option<TensorView<'_>>,
    segments: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "SegmentReduce";
    ensure(data.dtype() == dst.dtype(), KERNEL, "the input and the output have one element type")?;
    let rank = segments.shape().rank();
    let shape = *data.shape();
    ensure(rank <= shape.rank(), KERNEL, "the segments are of the input's first dimensions")?;
    if rows.is_none() {
        ensure(
            shape[..rank] == **segments.shape(),
            KERNEL,
            "the segments are of the input's first dimensions",
        )?;
    }
    let len: usize = shape[rank..].iter().product();
    let count = dst.shape().first().copied().unwrap_or(0);
    ensure(dst.shape().elements() == count * len, KERNEL, "the output has rows like the input's")?;
    let ids = Indices::new(KERNEL, segments)?;
    let rows = rows.map(|r| Indices::new(KERNEL, r)).transpose()?;
    if let Some(rows) = rows {
        ensure(rank == 1 && rows.len() == ids.len(), KERNEL, "there is a row for each segment id")?;
        rows.check(KERNEL, |_| shape[0])?;
    }
    // Ids that nothing is added up for are not looked at, as in TensorFlow, unless they are sorted.
    let checked = if sorted || shape.elements() > 0 { ids.len() } else { 0 };
    for position in 0..checked {
        let index = ids.get(position);
        if index >= count as i64 || (sorted && index < 0) {
            return Err(KernelError::Index { kernel: KERNEL, position, index, bound: count });
        }
        let rises = !sorted || position == 0 || ids.get(position - 1) <= index;
        ensure(rises, KERNEL, "the segment ids never fall")?;
    }
    let averages = matches!(op, SegmentOp::Mean | SegmentOp::SqrtN);
    ensure(sorted || !averages, KERNEL, "only sorted segments are averaged")?;
    if dst.dtype().is_complex() && matches!(op, SegmentOp::Min | SegmentOp::Max) {
        return Err(KernelError::DType { kernel: KERNEL, dtype: dst.dtype() });
    }
    for_dtype!(dst.dtype(), KERNEL, [F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, C64, C128], T => {
        let (data, dst) = (values::<T>(data.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?);
        let (start, how) = match op {
            SegmentOp::Sum | SegmentOp::Mean | SegmentOp::SqrtN => (<T as Number>::of(0.0), Combine::Add),
            SegmentOp::Prod => (<T as Number>::of(1.0), Combine::Mul),
            SegmentOp::Max => (<T as Number>::LOWEST, Combine::Max),
            SegmentOp::Min => (<T as Number>::HIGHEST, Combine::Min),
        };
        let is_bound = matches!(op, SegmentOp::Max | SegmentOp::Min);
        dst.fill(if sorted && is_bound { <T as Number>::of(0.0) } else { start });
        let mut seen = 0usize;
        for position in 0..checked {
            let Ok(id) = usize::try_from(ids.get(position)) else { continue };
            let row = rows.map_or(position, |r| r.get(position) as usize);
            let (dst, data) = (&mut dst[id * len..][..len], &data[row * len..][..len]);
            let is_first = sorted && (position == 0 || ids.get(position - 1) as usize != id);
            seen = if is_first { 1 } else { seen + 1 };
            if is_bound && !is_first {
                // What came before stays only where it is beyond the new one: TensorFlow's answer where one is NaN.
                dst.iter_mut().zip(data).for_each(|(dst, x)| *dst = x.combine(how, *dst));
            } else {
                combine_row(if is_first { Combine::Update } else { how }, dst, data);
            }
            let is_last = position + 1 == ids.len() || ids.get(position + 1) as usize != id;
            if averages && is_last {
                let by = if op == SegmentOp::Mean { seen as f64 } else { (seen as f64).sqrt() };
                dst.iter_mut().for_each(|x| *x = <T as Number>::over(*x, by));
            }
        }
        Ok(())
    })
}

/// Counts the values of `src` (int32, int64) below the length of `dst`, or adds up their `weights`, into `dst`, of
/// numbers. Larger values are passed over.
///
/// # Errors
/// [`KernelError::Index`] for a negative value, [`KernelError::Invalid`] for weights of another size or type.
pub fn bincount(
    src: TensorView<'_>,
    weights: Option<TensorView<'_>>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "Bincount";
    let ids = Indices::new(KERNEL, src)?;
    ids.check(KERNEL, |_| usize::MAX)?;
    if let Some(weights) = weights {
        ensure(weights.dtype() == dst.dtype(), KERNEL, "the weights have the output's element type")?;
        ensure(weights.shape().elements() == ids.len(), KERNEL, "there is a weight for each value")?;
    }
    for_dtype!(dst.dtype(), KERNEL, numbers, T => {
        let weights = weights.map(|w| values::<T>(w.bytes(), KERNEL)).transpose()?;
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        dst.fill(<T as Number>::of(0.0));
        for n in 0..ids.len() {
            if let Some(dst) = dst.get_mut(ids.get(n) as usize) {
                *dst = dst.combine(Combine::Add, weights.map_or(<T as Number>::of(1.0), |w| w[n]));
            }
        }
        Ok(())
    })
}

/// Writes the rows of `data` whose id is `partition` to `dst`, in order: one output of DynamicPartition. Elements of
/// any type; `partitions` (int32) has the first dimensions of `data`.
///
/// # Errors
/// [`KernelError::Invalid`] if `dst` has not exactly those rows.
pub fn dynamic_partition(
    partition: i32,
    partitions: TensorView<'_>,
    data: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "DynamicPartition";
    ensure(data.dtype() == dst.dtype(), KERNEL, "the input and the output have one element type")?;
    let rank = partitions.shape().rank();
    let prefix = data.shape().get(..rank) == Some(&**partitions.shape());
    ensure(prefix, KERNEL, "the partitions are of the input's first dimensions")?;
    let bytes = data.shape()[rank..].iter().product::<usize>() * data.dtype().bytes();
    let ids = partitions
        .as_slice::<i32>()
        .ok_or(KernelError::DType { kernel: KERNEL, dtype: partitions.dtype() })?;
    let count = ids.iter().filter(|id| **id == partition).count();
    ensure(dst.bytes().len() == count * bytes, KERNEL, "the output has the rows of its partition")?;
    if bytes > 0 {
        let rows = ids.iter().zip(data.bytes().chunks(bytes)).filter(|(id, _)| **id == partition);
        for (dst, (_, row)) in dst.bytes().chunks_mut(bytes).zip(rows) {
            dst.copy_from_slice(row);
        }
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

    fn run<T: Element>(
        dims: &[usize],
        start: &[T],
        kernel: impl Fn(&mut TensorViewMut<'_>) -> Result<()>,
    ) -> Result<Vec<T>> {
        let mut dst = start.to_vec();
        let shape = Shape::new(dims).unwrap();
        kernel(&mut TensorViewMut::new(T::DTYPE, shape, bytemuck::cast_slice_mut(&mut dst)).unwrap())?;
        Ok(dst)
    }

    #[test]
    fn scatters() {
        let at = view(&[3, 1], &[2i32, 0, 2]);
        let by = view(&[3, 2], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(
            run(&[3, 2], &[0.0f32; 6], |d| scatter_nd(Combine::Add, BadIndex::Refused, at, by, d)).unwrap(),
            [3., 4., 0., 0., 6., 8.]
        );
        assert_eq!(
            run(&[3, 2], &[9.0f32; 6], |d| scatter_nd(Combine::Update, BadIndex::Refused, at, by, d))
                .unwrap(),
            [3., 4., 9., 9., 5., 6.]
        );
        assert_eq!(
            run(&[3, 2], &[2.0f32; 6], |d| scatter_nd(Combine::Min, BadIndex::Refused, at, by, d)).unwrap(),
            [2., 2., 2., 2., 1., 2.]
        );
        assert!(matches!(
            run(&[2, 2], &[0.0f32; 4], |d| scatter_nd(Combine::Add, BadIndex::Refused, at, by, d)),
            Err(KernelError::Index { .. })
        ));
    }

    /// Values of TensorFlow 2.21.
    #[test]
    fn segments() {
        let data = [1i32, 2, 3, 4, 5, 6];
        let data = view(&[3, 2], &data);
        let ids = [0i32, 0, 2];
        let ids = view(&[3], &ids);
        let sorted = |op| run(&[3, 2], &[7i32; 6], |d| segment_reduce(op, true, data, None, ids, d)).unwrap();
        assert_eq!(sorted(SegmentOp::Sum), [4, 6, 0, 0, 5, 6]);
        assert_eq!(sorted(SegmentOp::Mean), [2, 3, 0, 0, 5, 6]);
        assert_eq!(sorted(SegmentOp::Max), [3, 4, 0, 0, 5, 6]);
        assert_eq!(sorted(SegmentOp::Prod), [3, 8, 1, 1, 5, 6]);
        let loose = [1i64, -1, 0];
        let loose = view(&[3], &loose);
        let unsorted = |op| run(&[3, 2], &[7i32; 6], |d| segment_reduce(op, false, data, None, loose, d));
        assert_eq!(unsorted(SegmentOp::Sum).unwrap(), [5, 6, 1, 2, 0, 0]);
        assert_eq!(unsorted(SegmentOp::Max).unwrap(), [5, 6, 1, 2, i32::MIN, i32::MIN]);
        assert_eq!(unsorted(SegmentOp::Prod).unwrap(), [5, 6, 1, 2, 1, 1]);
        assert!(unsorted(SegmentOp::Mean).is_err());
        let rows = [2i32, 1, 0];
        let picked = run(&[3, 2], &[7i32; 6], |d| {
            segment_reduce(SegmentOp::Sum, true, data, Some(view(&[3], &rows)), ids, d)
        });
        assert_eq!(picked.unwrap(), [8, 10, 0, 0, 1, 2]);
    }

    #[test]
    fn counts_and_partitions() {
        let x = [1i32, 1, 5, 0];
        assert_eq!(run(&[3], &[9i64; 3], |d| bincount(view(&[4], &x), None, d)).unwrap(), [1, 2, 0]);
        let weights = [0.5f32, 1.0, 2.0, 4.0];
        assert_eq!(
            run(&[2], &[9f32; 2], |d| bincount(view(&[4], &x), Some(view(&[4], &weights)), d)).unwrap(),
            [4.0, 1.5]
        );
        let ids = [1i32, 0, 1];
        let data = [1u8, 2, 3, 4, 5, 6];
        let part = |dims: &[usize], n| {
            run(dims, &vec![0u8; dims.iter().product()], |d| {
                dynamic_partition(n, view(&[3], &ids), view(&[3, 2], &data), d)
            })
        };
        assert_eq!(part(&[2, 2], 1).unwrap(), [1, 2, 5, 6]);
        assert_eq!(part(&[1, 2], 0).unwrap(), [3, 4]);
        assert!(part(&[2, 2], 0).is_err());
    }
}
