//! QR by reflections, without and with a choice of columns, and singular values by two-sided rotations. The signs of
//! columns, which mathematics leaves open, are those of TensorFlow's library, Eigen, as long as it has the same method:
//! it takes another one for singular values of 16 columns and more.
//!
//! G. Golub and C. Van Loan, Matrix Computations, 5.2 and 8.6; LAPACK Working Note 176 for the update of column norms.

use super::matrix::{Mat, Rotation};
use super::scalar::{Limits, Scalar, larger};
use crate::elementwise::float::Float;

/// Replaces a matrix by R and, below it, reflections whose product is Q.
pub(super) fn qr<T: Scalar>(a: &mut Mat<'_, T>, taus: &mut [T])
where
    T::Real: Limits,
{
    for k in 0..a.rows.min(a.cols) {
        let (tau, beta) = a.reflector(k, k);
        taus[k] = tau;
        a.set(k, k, T::real(beta));
        a.reflect_left_by_own(k, k, k + 1, tau);
    }
}

/// The same with the longest column left as the next one, `order[i]` the column that has come to be column i. `norms` are
/// two numbers for each column.
pub(super) fn qr_of_longest<T: Scalar>(a: &mut Mat<'_, T>, taus: &mut [T], order: &mut [u32], norms: &mut [T])
where
    T::Real: Limits,
{
    let (rows, cols) = (a.rows, a.cols);
    let c = T::Real::of;
    let (updated, direct) = norms.split_at_mut(cols);
    for col in 0..cols {
        updated[col] = T::real(a.col_norm(col, 0));
        direct[col] = updated[col];
        order[col] = col as u32;
    }
    let threshold = T::Real::EPSILON.sqrt();
    for k in 0..rows.min(cols) {
        let longest =
            (k..cols).fold(k, |best, col| if updated[col].re() > updated[best].re() { col } else { best });
        if longest != k {
            a.swap_cols(k, longest);
            updated.swap(k, longest);
            direct.swap(k, longest);
            order.swap(k, longest);
        }
        let (tau, beta) = a.reflector(k, k);
        taus[k] = tau;
        a.set(k, k, T::real(beta));
        a.reflect_left_by_own(k, k, k + 1, tau);
        for col in k + 1..cols {
            let norm = updated[col].re();
            if norm == c(0.0) {
                continue;
            }
            let share = a.at(k, col).abs() / norm;
            let left = larger((c(1.0) + share) * (c(1.0) - share), c(0.0));
            let ratio = norm / direct[col].re();
            updated[col] = if left * (ratio * ratio) <= threshold {
                direct[col] = T::real(a.col_norm(col, k + 1));
                direct[col]
            } else {
                T::real(norm * left.sqrt())
            };
        }
    }
}

/// Makes `q` the first columns of the Q that [`qr`] has left in `a`.
pub(super) fn make_q<T: Scalar>(a: &Mat<'_, T>, taus: &[T], q: &mut Mat<'_, T>) {
    q.set_identity();
    for k in (0..a.rows.min(a.cols)).rev() {
        // The adjoint of what made R, which is not the same where tau is complex.
        q.reflect_left(k, k.min(q.cols), |row| a.at(row, k), taus[k].conj());
    }
}

/// Where the singular vectors go.
pub(super) struct Vectors<'a, 'b, T> {
    pub u: Option<&'b mut Mat<'a, T>>,
    pub v: Option<&'b mut Mat<'a, T>>,
}

/// Elements of scratch that [`svd`] takes.
pub(super) fn svd_scratch(rows: usize, cols: usize) -> usize {
    let (n, longest) = (rows.min(cols), rows.max(cols));
    // The square, the matrix, its reflections and column norms, and an order of columns, an element for each.
    n * n + rows * cols + n + 2 * n.max(1) + longest
}

/// The singular values of `a` from the largest on, and where wanted the vectors. False where an element is not finite.
pub(super) fn svd<T: Scalar>(
    a: &[T],
    (rows, cols): (usize, usize),
    values: &mut [T],
    mut vectors: Vectors<'_, '_, T>,
    scratch: &mut [T],
) -> bool
where
    T::Real: Limits,
{
    let n = rows.min(cols);
    let c = T::Real::of;
    if a.iter().any(|x| !x.is_finite()) {
        return false;
    }
    let scale = a.iter().fold(c(0.0), |most, x| larger(most, x.abs()));
    let scale = if scale == c(0.0) { c(1.0) } else { scale };
    let (work, scratch) = scratch.split_at_mut(n * n);
    let mut work = Mat::new(work, n, n);
    make_square(a, (rows, cols), T::real(scale), &mut work, &mut vectors, scratch);
    rotate(&mut work, &mut vectors);
    for i in 0..n {
        let entry = work.at(i, i);
        let size = entry.abs();
        values[i] = T::real(size);
        if let Some(u) = &mut vectors.u {
            if T::IS_COMPLEX && Float::abs(entry.im()) > T::Real::LEAST {
                u.scale_col(i, entry / T::real(size));
            } else if entry.re() < c(0.0) {
                u.scale_col(i, -T::ONE);
            }
        }
        values[i] = values[i].times(scale);
    }
    for i in 0..n {
        let largest = (i..n).fold(i, |best, k| if values[k].re() > values[best].re() { k } else { best });
        if values[largest].re() == c(0.0) {
            break;
        }
        if largest != i {
            values.swap(i, largest);
            vectors.u.iter_mut().chain(&mut vectors.v).for_each(|of| of.swap_cols(i, largest));
        }
    }
    true
}

/// Makes `work` the square factor of `a / scale`, and the vectors what the others are.
fn make_square<T: Scalar>(
    a: &[T],
    (rows, cols): (usize, usize),
    scale: T,
    work: &mut Mat<'_, T>,
    vectors: &mut Vectors<'_, '_, T>,
    scratch: &mut [T],
) where
    T::Real: Limits,
{
    let n = work.rows;
    if rows == cols {
        work.data.iter_mut().zip(a).for_each(|(to, x)| *to = *x / scale);
        vectors.u.iter_mut().chain(&mut vectors.v).for_each(|of| of.set_identity());
        return;
    }
    // The matrix with more rows than columns: itself, or its adjoint.
    let is_wide = cols > rows;
    let tall = rows.max(cols);
    let (copy, scratch) = scratch.split_at_mut(tall * n);
    let mut copy = Mat::new(copy, tall, n);
    for row in 0..tall {
        for col in 0..n {
            let x = if is_wide { a[col * cols + row].conj() } else { a[row * cols + col] };
            copy.set(row, col, x / scale);
        }
    }
    let (taus, scratch) = scratch.split_at_mut(n);
    let (norms, order) = scratch.split_at_mut(2 * n);
    let order: &mut [u32] = bytemuck::cast_slice_mut(order);
    qr_of_longest(&mut copy, taus, &mut order[..n], norms);
    for row in 0..n {
        for col in 0..n {
            let x = if col >= row { copy.at(row, col) } else { T::ZERO };
            if is_wide { work.set(col, row, x.conj()) } else { work.set(row, col, x) }
        }
    }
    let Vectors { u, v } = vectors;
    let (of_q, of_order) = if is_wide { (v, u) } else { (u, v) };
    if let Some(of_q) = of_q {
        make_q(&copy, taus, of_q);
    }
    if let Some(of_order) = of_order {
        of_order.data.fill(T::ZERO);
        for (col, row) in order[..n].iter().enumerate() {
            of_order.set(*row as usize, col, T::ONE);
        }
    }
}

/// Makes `work` diagonal by rotations of rows and columns.
fn rotate<T: Scalar>(work: &mut Mat<'_, T>, vectors: &mut Vectors<'_, '_, T>)
where
    T::Real: Limits,
{
    let n = work.rows;
    let precision = T::Real::of(2.0) * T::Real::EPSILON;
    let mut most = (0..n).fold(T::Real::of(0.0), |most, i| larger(most, work.at(i, i).abs()));
    let is_done = |work: &Mat<'_, T>, p: usize, q: usize, precision: T::Real, most: T::Real| {
        let threshold = larger(T::Real::LEAST, precision * most);
        !(work.at(p, q).abs() > threshold || work.at(q, p).abs() > threshold)
    };
    loop {
        let mut is_diagonal = true;
        for p in 1..n {
            for q in 0..p {
                if is_done(work, p, q, precision, most) {
                    continue;
                }
                is_diagonal = false;
                if T::IS_COMPLEX {
                    make_real(work, vectors, p, q);
                    most = larger(most, larger(work.at(p, p).abs(), work.at(q, q).abs()));
                    if is_done(work, p, q, T::Real::EPSILON, most) {
                        continue;
                    }
                }
                let (left, right) = of_two(work, p, q);
                work.rotate_rows(p, q, left, 0);
                work.rotate_cols(p, q, right, n);
                if let Some(u) = &mut vectors.u {
                    u.rotate_cols(p, q, left.transposed(), u.rows);
                }
                if let Some(v) = &mut vectors.v {
                    v.rotate_cols(p, q, right, v.rows);
                }
                most = larger(most, larger(work.at(p, p).abs(), work.at(q, q).abs()));
            }
        }
        if is_diagonal {
            return;
        }
    }
}

/// Makes the four elements of rows and columns p and q real.
fn make_real<T: Scalar>(work: &mut Mat<'_, T>, vectors: &mut Vectors<'_, '_, T>, p: usize, q: usize)
where
    T::Real: Limits,
{
    let has_phase = |x: T| Float::abs(x.im()) > T::Real::LEAST;
    let phase = |x: T| T::real(x.abs()) / x;
    let size = (work.at(p, p).abs2() + work.at(q, p).abs2()).sqrt();
    if size == T::Real::of(0.0) {
        work.set(p, p, T::ZERO);
        work.set(q, p, T::ZERO);
        if has_phase(work.at(p, q)) {
            let z = phase(work.at(p, q));
            work.scale_row(p, z);
            vectors.u.iter_mut().for_each(|u| u.scale_col(p, z.conj()));
        }
    } else {
        let by = Rotation { c: work.at(p, p).conj() / T::real(size), s: work.at(q, p) / T::real(size) };
        work.rotate_rows(p, q, by, 0);
        vectors.u.iter_mut().for_each(|u| u.rotate_cols(p, q, by.adjoint(), u.rows));
        if has_phase(work.at(p, q)) {
            let z = phase(work.at(p, q));
            work.scale_col(q, z);
            vectors.v.iter_mut().for_each(|v| v.scale_col(q, z));
        }
    }
    if has_phase(work.at(q, q)) {
        let z = phase(work.at(q, q));
        work.scale_row(q, z);
        vectors.u.iter_mut().for_each(|u| u.scale_col(q, z.conj()));
    }
}

/// The rotations from the left and from the right that make the four real elements of rows and columns p and q diagonal.
fn of_two<T: Scalar>(work: &Mat<'_, T>, p: usize, q: usize) -> (Rotation<T>, Rotation<T>)
where
    T::Real: Limits,
{
    let c = T::Real::of;
    let at = |row, col| work.at(row, col).re();
    let m = [[at(p, p), at(p, q)], [at(q, p), at(q, q)]];
    let (sum, difference) = (m[0][0] + m[1][1], m[1][0] - m[0][1]);
    let (cos, sin) = if difference.abs() < T::Real::LEAST {
        (c(1.0), c(0.0))
    } else {
        let u = sum / difference;
        let size = (c(1.0) + u * u).sqrt();
        (u / size, c(1.0) / size)
    };
    let m = [
        [cos * m[0][0] + sin * m[1][0], cos * m[0][1] + sin * m[1][1]],
        [cos * m[1][0] - sin * m[0][0], cos * m[1][1] - sin * m[0][1]],
    ];
    let first = Rotation { c: T::real(cos), s: T::real(sin) };
    let divisor = c(2.0) * m[0][1].abs();
    let right = if divisor < T::Real::LEAST {
        Rotation::NONE
    } else {
        let tau = (m[0][0] - m[1][1]) / divisor;
        let w = (tau * tau + c(1.0)).sqrt();
        let t = if tau > c(0.0) { c(1.0) / (tau + w) } else { c(1.0) / (tau - w) };
        let n = c(1.0) / (t * t + c(1.0)).sqrt();
        let sign = if t > c(0.0) { c(1.0) } else { c(-1.0) };
        Rotation { c: T::real(n), s: T::real(-sign * (m[0][1] / m[0][1].abs()) * t.abs() * n) }
    };
    (first.then(right.transposed()), right)
}
