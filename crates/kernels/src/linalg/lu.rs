//! Gaussian elimination with the largest element of each column as its pivot: P A = L U.

use super::matrix::Mat;
use super::scalar::Scalar;
use crate::elementwise::float::Float;

/// Replaces a square matrix by L below the diagonal, whose own is 1, and U. `order[i]` is the row that has come to be row
/// i. Returns true where an odd number of rows were swapped.
pub(super) fn factor<T: Scalar>(a: &mut Mat<'_, T>, order: &mut [u32]) -> bool {
    let n = a.rows;
    order.iter_mut().zip(0..).for_each(|(to, i)| *to = i);
    let mut is_odd = false;
    for k in 0..n {
        let mut pivot = k;
        for row in k + 1..n {
            if a.at(row, k).abs() > a.at(pivot, k).abs() {
                pivot = row;
            }
        }
        if pivot != k {
            a.swap_rows(pivot, k);
            order.swap(pivot, k);
            is_odd = !is_odd;
        }
        let divisor = a.at(k, k);
        if divisor == T::ZERO {
            continue;
        }
        let (above, below) = a.data.split_at_mut((k + 1) * n);
        let upper = &above[k * n..][k + 1..n];
        for row in below.chunks_exact_mut(n) {
            let factor = row[k] / divisor;
            row[k] = factor;
            if factor != T::ZERO {
                row[k + 1..].iter_mut().zip(upper).for_each(|(x, u)| *x = *x - factor * *u);
            }
        }
    }
    is_odd
}

/// True where no pivot is 0 or NaN.
pub(super) fn is_invertible<T: Scalar>(a: &Mat<'_, T>) -> bool {
    (0..a.rows).all(|i| a.at(i, i).abs() > T::Real::of(0.0))
}

/// Solves A X = B of a factored A. `x` is B with its rows in the order of the factors already.
pub(super) fn solve<T: Scalar>(a: &Mat<'_, T>, x: &mut Mat<'_, T>) {
    let (n, cols) = (a.rows, x.cols);
    for row in 1..n {
        let (done, rest) = x.data.split_at_mut(row * cols);
        for k in 0..row {
            let factor = a.at(row, k);
            rest[..cols].iter_mut().zip(&done[k * cols..][..cols]).for_each(|(x, y)| *x = *x - factor * *y);
        }
    }
    for row in (0..n).rev() {
        let (before, done) = x.data.split_at_mut((row + 1) * cols);
        let own = &mut before[row * cols..];
        for k in row + 1..n {
            let factor = a.at(row, k);
            let from = &done[(k - row - 1) * cols..][..cols];
            own.iter_mut().zip(from).for_each(|(x, y)| *x = *x - factor * *y);
        }
        let divisor = a.at(row, row);
        own.iter_mut().for_each(|x| *x = *x / divisor);
    }
}

/// Solves the triangular T X = B in place of B.
pub(super) fn solve_triangular<T: Scalar>(
    at: impl Fn(usize, usize) -> T,
    n: usize,
    is_lower: bool,
    x: &mut Mat<'_, T>,
) {
    for step in 0..n {
        let row = if is_lower { step } else { n - 1 - step };
        let others = if is_lower { 0..row } else { row + 1..n };
        for k in others {
            // A factor of zero counts: after a zero on the diagonal it meets infinities.
            let factor = at(row, k);
            for col in 0..x.cols {
                x.add(row, col, -(factor * x.at(k, col)));
            }
        }
        let divisor = at(row, row);
        for col in 0..x.cols {
            x.set(row, col, x.at(row, col) / divisor);
        }
    }
}

/// Replaces a Hermitian matrix, of which the lower half is looked at, by the lower triangle L of A = L L*, the rest 0.
/// False where it is not positive definite.
pub(super) fn cholesky<T: Scalar>(a: &mut Mat<'_, T>) -> bool {
    let n = a.rows;
    for col in 0..n {
        let mut size = a.at(col, col).re();
        for k in 0..col {
            size = size - a.at(col, k).abs2();
        }
        if !(size > T::Real::of(0.0)) {
            return false;
        }
        let root = size.sqrt();
        a.set(col, col, T::real(root));
        for row in col + 1..n {
            let mut sum = a.at(row, col);
            for k in 0..col {
                sum = sum - a.at(row, k) * a.at(col, k).conj();
            }
            a.set(row, col, sum / T::real(root));
        }
        for above in 0..col {
            a.set(above, col, T::ZERO);
        }
    }
    true
}
