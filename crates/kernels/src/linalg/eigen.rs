//! Eigenvalues and eigenvectors: of Hermitian matrices by reflections to a tridiagonal one and implicit QR steps, of any
//! others by their complex Schur form. Order and signs are those of TensorFlow's library, Eigen.
//!
//! G. Golub and C. Van Loan, Matrix Computations, 7.4, 7.5 and 8.3.

use super::matrix::{Mat, Rotation};
use super::scalar::{Limits, Scalar, larger};
use crate::elementwise::float::Float;

/// QR steps for each row before giving up.
const STEPS_PER_ROW: usize = 30;

/// The eigenvalues of a Hermitian matrix from the least on, of which the lower half is looked at; `a` becomes the
/// eigenvectors, one a column, where `has_vectors`. `subdiagonal` and `taus` have an element for each row. False where they
/// are not found.
pub(super) fn hermitian<T: Scalar>(
    a: &mut Mat<'_, T>,
    values: &mut [T::Real],
    subdiagonal: &mut [T::Real],
    taus: &mut [T],
    has_vectors: bool,
) -> bool
where
    T::Real: Limits,
{
    let n = a.rows;
    let c = T::Real::of;
    if n == 1 {
        values[0] = a.at(0, 0).re();
        a.set(0, 0, T::ONE);
        return true;
    }
    let mut scale = c(0.0);
    for row in 0..n {
        for col in 0..n {
            if col > row {
                a.set(row, col, T::ZERO);
            }
            scale = larger(scale, a.at(row, col).abs());
        }
    }
    let scale = if scale == c(0.0) { c(1.0) } else { scale };
    a.data.iter_mut().for_each(|x| *x = *x / T::real(scale));
    for i in 0..n {
        a.set(i, i, T::real(a.at(i, i).re()));
    }
    tridiagonalize(a, taus);
    for i in 0..n {
        values[i] = a.at(i, i).re();
        if i + 1 < n {
            subdiagonal[i] = a.at(i + 1, i).re();
        }
    }
    if has_vectors {
        make_basis(a, taus);
    }
    let is_found = diagonalize(values, subdiagonal, has_vectors.then_some(&mut *a));
    if is_found {
        for i in 0..n - 1 {
            let least = (i..n).fold(i, |best, k| if values[k] < values[best] { k } else { best });
            if least != i {
                values.swap(i, least);
                if has_vectors {
                    a.swap_cols(i, least);
                }
            }
        }
    }
    values[..n].iter_mut().for_each(|x| *x = *x * scale);
    is_found
}

/// Replaces the lower half by a tridiagonal matrix and, below, reflections. `taus` is room for one more vector too.
fn tridiagonalize<T: Scalar>(a: &mut Mat<'_, T>, taus: &mut [T])
where
    T::Real: Limits,
{
    let n = a.rows;
    for i in 0..n - 1 {
        let (tau, beta) = a.reflector(i + 1, i);
        a.set(i + 1, i, T::ONE);
        // taus[i..] is w = A (tau* v) - 1/2 tau* (w* v) v until tau takes its place.
        let tau_conj = tau.conj();
        for row in i + 1..n {
            let mut sum = T::ZERO;
            for col in i + 1..n {
                let x = if col <= row { a.at(row, col) } else { a.at(col, row).conj() };
                sum = sum + x * (tau_conj * a.at(col, i));
            }
            taus[row - 1] = sum;
        }
        let mut dot = T::ZERO;
        for row in i + 1..n {
            dot = dot + taus[row - 1].conj() * a.at(row, i);
        }
        let factor = (tau_conj * dot).times(T::Real::of(-0.5));
        for row in i + 1..n {
            taus[row - 1] = taus[row - 1] + factor * a.at(row, i);
        }
        for row in i + 1..n {
            for col in i + 1..=row {
                let (v, w) = (a.at(row, i), taus[row - 1]);
                let change = v * taus[col - 1].conj() + w * a.at(col, i).conj();
                a.add(row, col, -change);
            }
        }
        a.set(i + 1, i, T::real(beta));
        taus[i] = tau;
    }
}

/// Replaces reflections that stand below the subdiagonal by their product.
fn make_basis<T: Scalar>(a: &mut Mat<'_, T>, taus: &[T]) {
    let n = a.rows;
    // Each reflection moves to the column after its own, where the product of those after it leaves room.
    for row in 0..n {
        for col in (1..n).rev() {
            let x = if row > col { a.at(row, col - 1) } else { T::ZERO };
            a.set(row, col, x);
        }
        a.set(row, 0, T::ZERO);
    }
    a.set(0, 0, T::ONE);
    for k in (0..n - 1).rev() {
        // Reflection k acts on rows from k + 1 on; its vector is in column k + 1.
        let (first, tau) = (k + 1, taus[k].conj());
        for col in first + 1..n {
            let mut sum = a.at(first, col);
            for row in first + 1..n {
                sum = sum + a.at(row, first).conj() * a.at(row, col);
            }
            let sum = tau * sum;
            a.add(first, col, -sum);
            for row in first + 1..n {
                a.add(row, col, -(a.at(row, first) * sum));
            }
        }
        a.set(first, first, T::ONE - tau);
        for row in first + 1..n {
            a.set(row, first, -(a.at(row, first) * tau));
        }
    }
}

fn diagonalize<T: Scalar>(
    diagonal: &mut [T::Real],
    subdiagonal: &mut [T::Real],
    mut vectors: Option<&mut Mat<'_, T>>,
) -> bool
where
    T::Real: Limits,
{
    let n = diagonal.len();
    let zero = T::Real::of(0.0);
    let inverse_precision = T::Real::of(1.0) / T::Real::EPSILON;
    let (mut start, mut end) = (0, n - 1);
    let mut steps = 0;
    while end > 0 {
        for i in start..end {
            let scaled = inverse_precision * subdiagonal[i];
            let is_small = subdiagonal[i].abs() < T::Real::LEAST
                || scaled * scaled <= diagonal[i].abs() + diagonal[i + 1].abs();
            if is_small {
                subdiagonal[i] = zero;
            }
        }
        while end > 0 && subdiagonal[end - 1] == zero {
            end -= 1;
        }
        if end == 0 {
            break;
        }
        steps += 1;
        if steps > STEPS_PER_ROW * n {
            return false;
        }
        start = end - 1;
        while start > 0 && subdiagonal[start - 1] != zero {
            start -= 1;
        }
        qr_step(diagonal, subdiagonal, start, end, &mut vectors);
    }
    true
}

fn qr_step<T: Scalar>(
    diagonal: &mut [T::Real],
    subdiagonal: &mut [T::Real],
    start: usize,
    end: usize,
    vectors: &mut Option<&mut Mat<'_, T>>,
) where
    T::Real: Limits,
{
    let zero = T::Real::of(0.0);
    let td = (diagonal[end - 1] - diagonal[end]) * T::Real::of(0.5);
    let e = subdiagonal[end - 1];
    let mut shift = diagonal[end];
    if td == zero {
        shift = shift - e.abs();
    } else if e != zero {
        let (square, size) = (e * e, (td * td + e * e).sqrt());
        let divisor = td + if td > zero { size } else { -size };
        shift = shift - if square == zero { e / (divisor / e) } else { square / divisor };
    }
    let (mut x, mut z) = (diagonal[start] - shift, subdiagonal[start]);
    for k in start..end {
        if z == zero {
            break;
        }
        let (c, s) = real_givens::<T>(x, z);
        let sdk = s * diagonal[k] + c * subdiagonal[k];
        let dkp1 = s * subdiagonal[k] + c * diagonal[k + 1];
        diagonal[k] =
            c * (c * diagonal[k] - s * subdiagonal[k]) - s * (c * subdiagonal[k] - s * diagonal[k + 1]);
        diagonal[k + 1] = s * sdk + c * dkp1;
        subdiagonal[k] = c * sdk - s * dkp1;
        if k > start {
            subdiagonal[k - 1] = c * subdiagonal[k - 1] - s * z;
        }
        x = subdiagonal[k];
        if k + 1 < end {
            z = -s * subdiagonal[k + 1];
            subdiagonal[k + 1] = c * subdiagonal[k + 1];
        }
        if let Some(vectors) = vectors {
            let by = Rotation { c: T::real(c), s: T::real(s) };
            vectors.rotate_cols(k, k + 1, by, vectors.rows);
        }
    }
}

/// [`Rotation::givens`] of two real numbers.
fn real_givens<T: Scalar>(p: T::Real, q: T::Real) -> (T::Real, T::Real) {
    let (zero, one) = (T::Real::of(0.0), T::Real::of(1.0));
    if q == zero {
        (if p < zero { -one } else { one }, zero)
    } else if p == zero {
        (zero, if q < zero { one } else { -one })
    } else if p.abs() > q.abs() {
        let t = q / p;
        let u = (one + t * t).sqrt();
        let c = one / if p < zero { -u } else { u };
        (c, -t * c)
    } else {
        let t = p / q;
        let u = (one + t * t).sqrt();
        let s = -(one / if q < zero { -u } else { u });
        (-t * s, s)
    }
}

/// The eigenvalues of a complex matrix from the least in size on; `basis` becomes the eigenvectors, one a column, where
/// `has_vectors`. `a` is overwritten, `taus` and `scratch` have room for a vector and a matrix. False where they are not
/// found.
pub(super) fn general<T: Scalar>(
    a: &mut Mat<'_, T>,
    values: &mut [T],
    basis: &mut Mat<'_, T>,
    taus: &mut [T],
    scratch: &mut Mat<'_, T>,
    has_vectors: bool,
) -> bool
where
    T::Real: Limits,
{
    let n = a.rows;
    if a.data.iter().any(|x| !x.is_finite()) {
        return false;
    }
    if !schur(a, basis, taus) {
        return false;
    }
    for i in 0..n {
        values[i] = a.at(i, i);
    }
    if has_vectors {
        triangular_vectors(a, scratch);
        // The columns of basis * scratch, a row of the basis at a time.
        for row in 0..n {
            for col in (0..n).rev() {
                let mut sum = T::ZERO;
                for k in 0..=col {
                    sum = sum + basis.at(row, k) * scratch.at(k, col);
                }
                basis.set(row, col, sum);
            }
        }
        for col in 0..n {
            let size = basis.col_norm(col, 0);
            if size > T::Real::of(0.0) {
                for row in 0..n {
                    basis.set(row, col, basis.at(row, col) / T::real(size));
                }
            }
        }
    }
    for i in 0..n {
        let least = (i..n).fold(i, |best, k| if values[k].abs() < values[best].abs() { k } else { best });
        if least != i {
            values.swap(i, least);
            basis.swap_cols(i, least);
        }
    }
    true
}

/// Replaces `a` by an upper triangle T, and `basis` by the unitary Q of A = Q T Q*. False where they are not found.
pub(super) fn schur<T: Scalar>(a: &mut Mat<'_, T>, basis: &mut Mat<'_, T>, taus: &mut [T]) -> bool
where
    T::Real: Limits,
{
    hessenberg(a, basis, taus);
    triangularize(a, basis)
}

/// Replaces `a` by a matrix with 0 below its subdiagonal, and `basis` by the product of the reflections.
pub(super) fn hessenberg<T: Scalar>(a: &mut Mat<'_, T>, basis: &mut Mat<'_, T>, taus: &mut [T])
where
    T::Real: Limits,
{
    let n = a.rows;
    for i in 0..n.saturating_sub(1) {
        let (tau, beta) = a.reflector(i + 1, i);
        a.set(i + 1, i, T::real(beta));
        taus[i] = tau;
        a.reflect_left_by_own(i + 1, i, i + 1, tau);
        // From the right by the adjoint.
        for row in 0..n {
            let mut sum = a.at(row, i + 1);
            for k in i + 2..n {
                sum = sum + a.at(row, k) * a.at(k, i);
            }
            let sum = tau.conj() * sum;
            a.add(row, i + 1, -sum);
            for k in i + 2..n {
                a.add(row, k, -(sum * a.at(k, i).conj()));
            }
        }
    }
    basis.set_identity();
    for k in (0..n.saturating_sub(1)).rev() {
        basis.reflect_left(k + 1, k + 1, |row| a.at(row, k), taus[k].conj());
    }
    for row in 2..n {
        for col in 0..row - 1 {
            a.set(row, col, T::ZERO);
        }
    }
}

/// Makes the subdiagonal 0 by QR steps with shifts.
fn triangularize<T: Scalar>(t: &mut Mat<'_, T>, basis: &mut Mat<'_, T>) -> bool
where
    T::Real: Limits,
{
    let n = t.rows;
    let is_small = |t: &mut Mat<'_, T>, i: usize| {
        let diagonal = t.at(i, i).norm1() + t.at(i + 1, i + 1).norm1();
        let is_small = t.at(i + 1, i).norm1() <= diagonal * T::Real::EPSILON;
        if is_small {
            t.set(i + 1, i, T::ZERO);
        }
        is_small
    };
    let Some(mut last) = n.checked_sub(1) else { return true };
    let (mut steps, mut all_steps) = (0, 0);
    loop {
        while last > 0 && is_small(t, last - 1) {
            steps = 0;
            last -= 1;
        }
        if last == 0 {
            return true;
        }
        steps += 1;
        all_steps += 1;
        if all_steps > STEPS_PER_ROW * n {
            return false;
        }
        let mut first = last - 1;
        while first > 0 && !is_small(t, first - 1) {
            first -= 1;
        }
        let shift = shift(t, last, steps);
        let (by, _) = Rotation::givens(t.at(first, first) - shift, t.at(first + 1, first));
        let mut turn = |t: &mut Mat<'_, T>, i: usize, by: Rotation<T>| {
            t.rotate_rows(i, i + 1, by.adjoint(), i);
            t.rotate_cols(i, i + 1, by, (i + 2).min(last) + 1);
            basis.rotate_cols(i, i + 1, by, n);
        };
        turn(t, first, by);
        for i in first + 1..last {
            let (by, r) = Rotation::givens(t.at(i, i - 1), t.at(i + 1, i - 1));
            t.set(i, i - 1, r);
            t.set(i + 1, i - 1, T::ZERO);
            turn(t, i, by);
        }
    }
}

/// The eigenvalue of the last two rows and columns up to `last` that is nearer to the last element.
fn shift<T: Scalar>(t: &Mat<'_, T>, last: usize, steps: usize) -> T {
    if matches!(steps, 10 | 20) && last > 1 {
        let size = Float::abs(t.at(last, last - 1).re()) + Float::abs(t.at(last - 1, last - 2).re());
        return T::real(size);
    }
    let at = |row: usize, col: usize| t.at(last - 1 + row, last - 1 + col);
    let size = at(0, 0).abs() + at(0, 1).abs() + at(1, 0).abs() + at(1, 1).abs();
    let of = |row, col| at(row, col) / T::real(size);
    let two = T::Real::of(2.0);
    let b = of(0, 1) * of(1, 0);
    let c = of(0, 0) - of(1, 1);
    let root = (c * c + b.times(two + two)).sqrt();
    let determinant = of(0, 0) * of(1, 1) - b;
    let trace = of(0, 0) + of(1, 1);
    let (mut one, mut other) = ((trace + root) / T::real(two), (trace - root) / T::real(two));
    if one.norm1() > other.norm1() {
        other = determinant / one;
    } else if other.norm1() != T::Real::of(0.0) {
        one = determinant / other;
    }
    let is_first = (one - of(1, 1)).norm1() < (other - of(1, 1)).norm1();
    (if is_first { one } else { other }).times(size)
}

/// The eigenvectors of a triangular matrix, their own elements 1.
fn triangular_vectors<T: Scalar>(t: &Mat<'_, T>, x: &mut Mat<'_, T>)
where
    T::Real: Limits,
{
    let n = t.rows;
    let norm = t.data.iter().map(|x| x.abs2()).sum::<T::Real>().sqrt();
    let least = T::Real::EPSILON * larger(norm, T::Real::LEAST);
    x.data.fill(T::ZERO);
    for k in (0..n).rev() {
        x.set(k, k, T::ONE);
        for i in (0..k).rev() {
            let mut sum = -t.at(i, k);
            for j in i + 1..k {
                sum = sum - t.at(i, j) * x.at(j, k);
            }
            let z = t.at(i, i) - t.at(k, k);
            let z = if z == T::ZERO { T::real(least) } else { z };
            x.set(i, k, sum / z);
        }
    }
}
