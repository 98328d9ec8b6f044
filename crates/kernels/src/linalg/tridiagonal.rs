//! Systems of equations with few diagonals.

use super::matrix::Mat;
use super::scalar::{Limits, Scalar, larger};
use crate::elementwise::float::Float;

/// Solves T X = B for T of the diagonals above, on and below the main one, each as long as T has rows, the first's last and
/// the last's first element left out. `x` is B. `u` has three elements for each row. False where a pivot is 0.
pub(super) fn solve<T: Scalar>(
    [above, main, below]: [&[T]; 3],
    x: &mut Mat<'_, T>,
    u: &mut [T],
    has_pivots: bool,
) -> bool {
    let n = main.len();
    if n == 0 {
        return true;
    }
    u.fill(T::ZERO);
    u[0] = main[0];
    u[1] = above[0];
    if n == 1 {
        u[1] = T::ZERO;
    }
    for i in 0..n - 1 {
        let (next, is_last) = (i + 1, i + 2 == n);
        let beyond = if is_last { T::ZERO } else { above[next] };
        if has_pivots && u[3 * i].abs() < below[next].abs() {
            exchange(i, [below[next], main[next], beyond], u, x);
        } else {
            if u[3 * i] == T::ZERO {
                return false;
            }
            let factor = below[next] / u[3 * i];
            u[3 * next] = main[next] - factor * u[3 * i + 1];
            u[3 * next + 1] = beyond;
            for col in 0..x.cols {
                x.add(next, col, -(factor * x.at(i, col)));
            }
        }
    }
    for i in (0..n).rev() {
        if u[3 * i] == T::ZERO {
            return false;
        }
        for col in 0..x.cols {
            let sum = without_known(i, col, u, x);
            x.set(i, col, sum / u[3 * i]);
        }
    }
    true
}

/// Puts the row after row `i`, whose elements are `next`, in its place, and eliminates the pivot of what was there.
fn exchange<T: Scalar>(i: usize, next: [T; 3], u: &mut [T], x: &mut Mat<'_, T>) {
    let factor = u[3 * i] / next[0];
    u[3 * i + 3] = u[3 * i + 1] - factor * next[1];
    u[3 * i + 4] = -(factor * next[2]);
    u[3 * i..][..3].copy_from_slice(&next);
    for col in 0..x.cols {
        let (own, other) = (x.at(i, col), x.at(i + 1, col));
        x.set(i + 1, col, own - factor * other);
        x.set(i, col, other);
    }
}

/// An element of row `i` less what the rows behind it, which are solved, make of it.
fn without_known<T: Scalar>(i: usize, col: usize, u: &[T], x: &Mat<'_, T>) -> T {
    (1..3.min(x.rows - i)).fold(x.at(i, col), |rest, k| rest - u[3 * i + k] * x.at(i + k, col))
}

/// Solves T X = B as [`solve`] with pivots, which are made larger where what they divide would be too large: a singular T has a
/// solution too. The algorithm of LAPACK's xLAGTF and xLAGTS, which scales rows before it compares their pivots.
pub(super) fn solve_perturbed<T: Scalar>([above, main, below]: [&[T]; 3], x: &mut Mat<'_, T>, u: &mut [T])
where
    T::Real: Limits,
{
    let n = main.len();
    if n == 0 || x.cols == 0 {
        return;
    }
    u.fill(T::ZERO);
    u[0] = main[0];
    let mut largest = u[0].abs();
    let mut scale = largest;
    if n > 1 {
        u[1] = above[0];
        largest = larger(largest, u[1].abs());
        scale = scale + u[1].abs();
    }
    for i in 0..n - 1 {
        let (next, is_last) = (i + 1, i + 2 == n);
        let beyond = if is_last { T::ZERO } else { above[next] };
        let pivot = u[3 * i];
        let size = below[next].abs() + main[next].abs() + beyond.abs();
        let none = T::Real::of(0.0);
        let share = if pivot == T::ZERO { none } else { pivot.abs() / scale };
        if below[next] == T::ZERO || below[next].abs() / size <= share {
            let factor = if below[next] == T::ZERO { T::ZERO } else { below[next] / pivot };
            scale = size;
            u[3 * next] = main[next];
            u[3 * next + 1] = beyond;
            if factor != T::ZERO {
                u[3 * next] = main[next] - factor * u[3 * i + 1];
                for col in 0..x.cols {
                    x.add(next, col, -(factor * x.at(i, col)));
                }
            }
        } else {
            exchange(i, [below[next], main[next], beyond], u, x);
        }
        if !is_last {
            largest = u[3 * i..][..3].iter().fold(largest, |largest, of| larger(largest, of.abs()));
        }
    }
    largest = larger(largest, u[3 * (n - 1)].abs());
    let least = T::Real::EPSILON * largest;
    for i in (0..n).rev() {
        for col in 0..x.cols {
            let sum = without_known(i, col, u, x);
            x.set(i, col, sum);
        }
        let inverse = T::ONE / perturbed(least, u[3 * i], &mut x.data[i * x.cols..][..x.cols]);
        for col in 0..x.cols {
            x.set(i, col, x.at(i, col) * inverse);
        }
    }
}

/// A pivot that neither 1 nor an element of its row is too large for, by steps from `by` on; of a tiny one that is enough for
/// its row both are scaled up.
fn perturbed<T: Scalar>(by: T::Real, mut pivot: T, row: &mut [T]) -> T
where
    T::Real: Limits,
{
    let (one, least) = (T::Real::of(1.0), T::Real::LEAST);
    let most = one / least;
    let mut by = larger(Float::abs(by), least);
    if pivot.re().to_f64().is_sign_negative() {
        by = -by;
    }
    let top = row.iter().fold(T::Real::of(0.0), |top, of| larger(top, of.abs()));
    while pivot.abs() < one {
        let size = pivot.abs();
        let is_tiny = size < least;
        let is_enough =
            if is_tiny { size > T::Real::of(0.0) && top * least <= size } else { top <= size * most };
        if !is_enough {
            pivot = pivot + T::real(by);
            by = by + by;
        } else if is_tiny {
            row.iter_mut().for_each(|of| *of = of.times(most));
            return pivot.times(most);
        } else {
            return pivot;
        }
    }
    pivot
}

/// T B for T of three diagonals as in [`solve`].
pub(super) fn multiply<T: Scalar>([above, main, below]: [&[T]; 3], b: &[T], out: &mut Mat<'_, T>) {
    let (n, cols) = (out.rows, out.cols);
    for row in 0..n {
        for col in 0..cols {
            let mut sum = main[row] * b[row * cols + col];
            if row > 0 {
                sum = sum + below[row] * b[(row - 1) * cols + col];
            }
            if row + 1 < n {
                sum = sum + above[row] * b[(row + 1) * cols + col];
            }
            out.set(row, col, sum);
        }
    }
}

/// Whether the main diagonal of the bands that [`solve_banded`] takes has no 0.
pub(super) fn is_invertible<T: Scalar>(bands: &[T], n: usize, is_lower: bool) -> bool {
    let main =
        if is_lower { bands.chunks_exact(n.max(1)).next() } else { bands.rchunks_exact(n.max(1)).next() };
    main.is_none_or(|main| main.iter().all(|value| value.abs() > T::Real::of(0.0)))
}

/// Solves T X = B in place of B for a triangular T of `bands.len() / n` diagonals: of a lower one the main diagonal first,
/// of an upper one last; element i of each is in row i. With `is_adjoint` it is T's adjoint.
pub(super) fn solve_banded<T: Scalar>(
    bands: &[T],
    n: usize,
    is_lower: bool,
    is_adjoint: bool,
    x: &mut Mat<'_, T>,
) {
    let count = bands.len().checked_div(n).unwrap_or(0);
    let band = |k: usize| if is_lower { k } else { count - 1 - k };
    let main = |i: usize| bands[band(0) * n + i];
    let goes_down = is_lower != is_adjoint;
    for step in 0..n {
        let row = if goes_down { step } else { n - 1 - step };
        for k in 1..count.min(step + 1) {
            let other = if goes_down { row - k } else { row + k };
            // The adjoint has in row i what the matrix has in the other's row.
            let factor =
                if is_adjoint { bands[band(k) * n + other].conj() } else { bands[band(k) * n + row] };
            for col in 0..x.cols {
                x.add(row, col, -(factor * x.at(other, col)));
            }
        }
        let divisor = if is_adjoint { main(row).conj() } else { main(row) };
        for col in 0..x.cols {
            x.set(row, col, x.at(row, col) / divisor);
        }
    }
}
