//! Systems of equations with few diagonals.

use super::matrix::Mat;
use super::scalar::Scalar;
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
            let factor = u[3 * i] / below[next];
            u[3 * i] = below[next];
            u[3 * next] = u[3 * i + 1] - factor * main[next];
            u[3 * i + 1] = main[next];
            u[3 * i + 2] = beyond;
            u[3 * next + 1] = -(factor * beyond);
            for col in 0..x.cols {
                let (own, other) = (x.at(i, col), x.at(next, col));
                x.set(next, col, own - factor * other);
                x.set(i, col, other);
            }
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
            let mut sum = x.at(i, col);
            for k in 1..3.min(n - i) {
                sum = sum - u[3 * i + k] * x.at(i + k, col);
            }
            x.set(i, col, sum / u[3 * i]);
        }
    }
    true
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
