//! Arithmetic on sparse tensors: with dense ones, with each other, products and softmax.

use std::cmp::Ordering;

use tightfit_core::{TensorView, TensorViewMut};

use super::coordinates::Coordinates;
use crate::base::access::{for_dtype, values, values_mut};
use crate::base::error::{KernelError, Result, check_exact, ensure};
use crate::base::indices::Indices;
use crate::movement::Number;

/// What is done with an element and the dense one at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenseCombine {
    /// Their sum.
    Add,
    /// Their product.
    Mul,
    /// The element over the dense one.
    Div,
}

/// Combines each element of a sparse tensor of shape `dims` with the one of a dense tensor, which is broadcast to it.
///
/// # Errors
/// [`KernelError`] for coordinates outside, an integer over 0, and lengths or types that do not go together.
pub fn sparse_dense_combine(
    how: DenseCombine,
    coordinates: &Coordinates<'_>,
    src: TensorView<'_>,
    dims: &[i64],
    dense: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "SparseDenseCwise";
    coordinates.check(KERNEL, dims)?;
    let shape = *dense.shape();
    let skipped = dims.len().checked_sub(shape.rank());
    // Where there is no element, TensorFlow takes a dense tensor of nothing for an axis of 1.
    let fits = |d: usize, s: i64| d == 1 || d as i64 == s || d == 0 && s == 1 && coordinates.is_empty();
    let skipped = skipped.filter(|n| shape.iter().zip(&dims[*n..]).all(|(d, s)| fits(*d, *s)));
    let skipped = skipped.ok_or(KernelError::Invalid {
        kernel: KERNEL,
        rule: "the dense tensor broadcasts to the sparse one",
    })?;
    let is_div = how == DenseCombine::Div && dst.dtype().is_integer();
    for_dtype!(dst.dtype(), KERNEL, numbers, T => {
        let (src, dense) = (values::<T>(src.bytes(), KERNEL)?, values::<T>(dense.bytes(), KERNEL)?);
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        check_exact("the values", coordinates.len(), src.len())?;
        check_exact("the output", coordinates.len(), dst.len())?;
        for (n, (to, x)) in dst.iter_mut().zip(src).enumerate() {
            let row = &coordinates.row(n)[skipped..];
            let at = row.iter().zip(shape.iter()).fold(0, |sum, (at, dim)| {
                sum * dim + if *dim == 1 { 0 } else { *at as usize }
            });
            let other = dense[at];
            *to = match how {
                DenseCombine::Add => x.sum(other),
                DenseCombine::Mul => x.product(other),
                DenseCombine::Div if is_div && other == <T as Number>::of(0.0) => return Err(KernelError::DivisionByZero),
                DenseCombine::Div => x.quotient(other),
            };
        }
        Ok(())
    })
}

/// One of two sparse tensors: coordinates and values.
pub type Sparse<'a> = (Coordinates<'a>, TensorView<'a>);

/// Calls `each(coordinates, element of a, element of b)` along two sparse tensors whose coordinates are in order.
fn merge<'a>(
    a: &Coordinates<'a>,
    b: &Coordinates<'a>,
    each: &mut dyn FnMut(&'a [i64], Option<usize>, Option<usize>),
) {
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let order = match (i < a.len(), j < b.len()) {
            (true, true) => a.row(i).cmp(b.row(j)),
            (true, false) => Ordering::Less,
            _ => Ordering::Greater,
        };
        match order {
            Ordering::Less => each(a.row(i), Some(i), None),
            Ordering::Greater => each(b.row(j), None, Some(j)),
            Ordering::Equal => each(a.row(i), Some(i), Some(j)),
        }
        i += order.is_le() as usize;
        j += order.is_ge() as usize;
    }
}

/// Where merged elements go; without outputs they are only counted.
struct Sink<'a, T> {
    count: usize,
    outputs: Option<(&'a mut [i64], &'a mut [T])>,
}

impl<T> Sink<'_, T> {
    fn put(&mut self, row: &[i64], value: T) {
        if let Some((rows, values)) = &mut self.outputs {
            let at = self.count;
            if let (Some(to), Some(place)) =
                (rows.get_mut(at * row.len()..(at + 1) * row.len()), values.get_mut(at))
            {
                to.copy_from_slice(row);
                *place = value;
            }
        }
        self.count += 1;
    }
}

/// Adds two sparse tensors whose coordinates are in order; of the elements that are in both stay those whose sum is at least
/// `threshold` in magnitude. Returns how many there are; without outputs that is all.
///
/// # Errors
/// [`KernelError`] for lengths or types that do not go together.
pub fn sparse_add(
    (a, a_values): Sparse<'_>,
    (b, b_values): Sparse<'_>,
    threshold: TensorView<'_>,
    outputs: Option<(&mut [i64], &mut TensorViewMut<'_>)>,
) -> Result<usize> {
    const KERNEL: &str = "SparseAdd";
    ensure(a.rank() == b.rank(), KERNEL, "both tensors are of one rank")?;
    for_dtype!(a_values.dtype(), KERNEL, numbers, T => {
        let (x, y) = (values::<T>(a_values.bytes(), KERNEL)?, values::<T>(b_values.bytes(), KERNEL)?);
        let [threshold] = values::<T>(threshold.bytes(), KERNEL)? else {
            return Err(KernelError::Invalid { kernel: KERNEL, rule: "the threshold is a scalar" });
        };
        check_exact("the values", a.len(), x.len())?;
        check_exact("the values", b.len(), y.len())?;
        let outputs = match outputs {
            Some((rows, to)) => Some((rows, values_mut::<T>(to.bytes(), KERNEL)?)),
            None => None,
        };
        let mut sink = Sink { count: 0, outputs };
        merge(&a, &b, &mut |row, i, j| {
            match (i.map(|i| x[i]), j.map(|j| y[j])) {
                (Some(x), Some(y)) => {
                    let sum = x.sum(y);
                    if *threshold <= sum.magnitude() {
                        sink.put(row, sum);
                    }
                }
                (Some(x), None) | (None, Some(x)) => sink.put(row, x),
                (None, None) => {}
            }
        });
        Ok(sink.count)
    })
}

/// The larger (or smaller) of the elements of two sparse tensors whose coordinates are in order, an element that is not
/// there being 0. Returns how many there are; without outputs that is all.
///
/// # Errors
/// [`KernelError`] for lengths or types that do not go together.
pub fn sparse_sparse_extreme(
    is_largest: bool,
    (a, a_values): Sparse<'_>,
    (b, b_values): Sparse<'_>,
    outputs: Option<(&mut [i64], &mut TensorViewMut<'_>)>,
) -> Result<usize> {
    const KERNEL: &str = "SparseSparseMaximum";
    ensure(a.rank() == b.rank(), KERNEL, "both tensors are of one rank")?;
    for_dtype!(a_values.dtype(), KERNEL, numbers, T => {
        let (x, y) = (values::<T>(a_values.bytes(), KERNEL)?, values::<T>(b_values.bytes(), KERNEL)?);
        check_exact("the values", a.len(), x.len())?;
        check_exact("the values", b.len(), y.len())?;
        let outputs = match outputs {
            Some((rows, to)) => Some((rows, values_mut::<T>(to.bytes(), KERNEL)?)),
            None => None,
        };
        let mut sink = Sink { count: 0, outputs };
        merge(&a, &b, &mut |row, i, j| {
            let zero = <T as Number>::of(0.0);
            // Of equal ones the first is taken, and NaN of any; what is only in the second tensor is compared with 0.
            let (x, y) = (i.map_or(zero, |i| x[i]), j.map_or(zero, |j| y[j]));
            let is_nan = |v: T| v.partial_cmp(&v).is_none();
            let takes_first = is_nan(x) || if is_largest { x >= y } else { x <= y };
            sink.put(row, if takes_first { x } else { y });
        });
        Ok(sink.count)
    })
}

/// A sparse matrix, `[m, k]` (stored `[k, m]` where `adjoint.0`), times a dense one, `[k, n]` (stored `[n, k]` where
/// `adjoint.1`).
///
/// # Errors
/// [`KernelError::Index`] for coordinates outside, and lengths or types that do not go together.
pub fn sparse_matmul(
    (rows, src): (TensorView<'_>, TensorView<'_>),
    adjoint: (bool, bool),
    (m, k): (usize, usize),
    dense: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "SparseTensorDenseMatMul";
    let n = dst.shape().last().copied().unwrap_or(0);
    let rows = Indices::new(KERNEL, rows)?;
    check_exact("the dense matrix", k.saturating_mul(n), dense.shape().elements())?;
    for_dtype!(dst.dtype(), KERNEL, [F32, F64, I32], T => {
        let (src, dense) = (values::<T>(src.bytes(), KERNEL)?, values::<T>(dense.bytes(), KERNEL)?);
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        check_exact("the coordinates", 2 * src.len(), rows.len())?;
        check_exact("the output", m.saturating_mul(n), dst.len())?;
        dst.fill(<T as Number>::of(0.0));
        for (element, x) in src.iter().enumerate() {
            let at = |axis: usize, bound: usize| {
                let position = 2 * element + axis;
                let index = rows.get(position);
                usize::try_from(index).ok().filter(|at| *at < bound)
                    .ok_or(KernelError::Index { kernel: KERNEL, position, index, bound })
            };
            let (row, column) = if adjoint.0 { (at(1, m)?, at(0, k)?) } else { (at(0, m)?, at(1, k)?) };
            let to = &mut dst[row * n..][..n];
            if adjoint.1 {
                for (i, to) in to.iter_mut().enumerate() {
                    *to = to.sum(x.product(dense[i * k + column]));
                }
            } else {
                for (to, y) in to.iter_mut().zip(&dense[column * n..][..n]) {
                    *to = to.sum(x.product(*y));
                }
            }
        }
        Ok(())
    })
}

/// The softmax over the last axis of a sparse tensor's elements, in the order of `order`, which
/// [`SparseReduce::sort`](super::SparseReduce::sort) makes of their coordinates; what is not there does not count. float32,
/// float64 or float16.
///
/// # Errors
/// [`KernelError`] for lengths or types that do not go together.
pub fn sparse_softmax(
    coordinates: &Coordinates<'_>,
    src: TensorView<'_>,
    order: &[u32],
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "SparseSoftmax";
    for_dtype!(src.dtype(), KERNEL, [F32, F64, F16], T => {
        let (src, dst) = (values::<T>(src.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?);
        check_exact("the values", coordinates.len(), src.len())?;
        check_exact("the order", coordinates.len(), order.len())?;
        check_exact("the output", coordinates.len(), dst.len())?;
        let group = |n: u32| coordinates.row(n as usize).split_last().map(|(_, group)| group);
        #[allow(clippy::useless_conversion)]
        let float = |x: T| -> f64 { x.into() };
        let mut first = 0;
        for same in order.chunk_by(|a, b| group(*a) == group(*b)) {
            let dst = &mut dst[first..][..same.len()];
            let of = |n: &u32| float(src[*n as usize]);
            let most = same.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
            // Each step is rounded to the type, as in TensorFlow.
            let mut sum = <T as Number>::of(0.0);
            for (to, n) in dst.iter_mut().zip(same) {
                *to = <T as Number>::of(float(<T as Number>::of(of(n) - most)).exp());
                sum = sum.sum(*to);
            }
            dst.iter_mut().for_each(|to| *to = to.quotient(sum));
            first += same.len();
        }
        Ok(())
    })
}
