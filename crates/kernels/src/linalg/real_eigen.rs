//! Eigenvalues and eigenvectors of any real matrix, by its real Schur form: blocks of one or two rows on the diagonal, in the
//! order in which the steps leave them, which is that of TensorFlow's library, Eigen.
//!
//! G. Golub and C. Van Loan, Matrix Computations, 7.5: Francis' steps.

use super::eigen::hessenberg;
use super::matrix::{Mat, Rotation};
use super::scalar::{Complex, Limits, Scalar, larger};
use crate::elementwise::float::Float;

/// Steps for each row before giving up.
const STEPS_PER_ROW: usize = 40;

/// The eigenvalues of `a`, which becomes its Schur form, and `basis` the basis of that. False where they are not found.
pub(super) fn schur<R: Limits + Scalar<Real = R>>(
    a: &mut Mat<'_, R>,
    basis: &mut Mat<'_, R>,
    taus: &mut [R],
    values: &mut [Complex<R>],
) -> bool {
    let n = a.rows;
    let c = <R as Float>::of;
    let scale = a.data.iter().fold(c(0.0), |most, x| larger(most, Float::abs(*x)));
    if a.data.iter().any(|x| !x.is_finite()) {
        return false;
    }
    if scale < R::LEAST {
        basis.set_identity();
        a.data.fill(c(0.0));
    } else {
        a.data.iter_mut().for_each(|x| *x = *x / scale);
        hessenberg(a, basis, taus);
        if !reduce(a, basis) {
            return false;
        }
        a.data.iter_mut().for_each(|x| *x = *x * scale);
    }
    let mut i = 0;
    while i < n {
        if i + 1 == n || a.at(i + 1, i) == c(0.0) {
            values[i] = Complex { re: a.at(i, i), im: c(0.0) };
            i += 1;
            continue;
        }
        let p = c(0.5) * (a.at(i, i) - a.at(i + 1, i + 1));
        let (below, above) = (a.at(i + 1, i), a.at(i, i + 1));
        let most = larger(Float::abs(p), larger(Float::abs(below), Float::abs(above)));
        let (p0, t0, t1) = (p / most, below / most, above / most);
        let z = most * Float::sqrt(Float::abs(p0 * p0 + t0 * t1));
        let re = a.at(i + 1, i + 1) + p;
        values[i] = Complex { re, im: z };
        values[i + 1] = Complex { re, im: -z };
        i += 2;
    }
    values[..n].iter().all(|x| x.re.to_f64().is_finite() && x.im.to_f64().is_finite())
}

/// Makes a matrix with 0 below its subdiagonal one of blocks.
fn reduce<R: Limits + Scalar<Real = R>>(t: &mut Mat<'_, R>, basis: &mut Mat<'_, R>) -> bool {
    let n = t.rows;
    let zero = <R as Float>::of(0.0);
    let norm = (0..n)
        .fold(zero, |sum, col| (0..n.min(col + 2)).fold(sum, |sum, row| sum + Float::abs(t.at(row, col))));
    if norm == zero {
        return true;
    }
    let least = larger(norm * R::EPSILON * R::EPSILON, R::LEAST);
    let (mut steps, mut all_steps, mut shifted) = (0, 0, zero);
    let mut end = n;
    while end > 0 {
        let last = end - 1;
        let mut first = last;
        while first > 0 {
            let size = Float::abs(t.at(first - 1, first - 1)) + Float::abs(t.at(first, first));
            if Float::abs(t.at(first, first - 1)) <= larger(size * R::EPSILON, least) {
                break;
            }
            first -= 1;
        }
        if first == last {
            t.add(last, last, shifted);
            if last > 0 {
                t.set(last, last - 1, zero);
            }
            end -= 1;
            steps = 0;
        } else if first + 1 == last {
            split_off(t, basis, last, shifted);
            end -= 2;
            steps = 0;
        } else {
            let shift = shift(t, last, steps, &mut shifted);
            steps += 1;
            all_steps += 1;
            if all_steps > STEPS_PER_ROW * n {
                return false;
            }
            francis(t, basis, (first, last), shift);
        }
    }
    true
}

/// Makes the last two rows a triangle, where their eigenvalues are real.
fn split_off<R: Limits + Scalar<Real = R>>(
    t: &mut Mat<'_, R>,
    basis: &mut Mat<'_, R>,
    last: usize,
    shifted: R,
) {
    let zero = <R as Float>::of(0.0);
    let p = <R as Float>::of(0.5) * (t.at(last - 1, last - 1) - t.at(last, last));
    let q = p * p + t.at(last, last - 1) * t.at(last - 1, last);
    t.add(last, last, shifted);
    t.add(last - 1, last - 1, shifted);
    if q >= zero {
        let z = Float::sqrt(Float::abs(q));
        let (by, _) = Rotation::givens(if p >= zero { p + z } else { p - z }, t.at(last, last - 1));
        t.rotate_rows(last - 1, last, by.adjoint(), last - 1);
        t.rotate_cols(last - 1, last, by, last + 1);
        t.set(last, last - 1, zero);
        basis.rotate_cols(last - 1, last, by, basis.rows);
    }
    if last > 1 {
        t.set(last - 1, last - 2, zero);
    }
}

/// The two shifts of a step, and the product of the elements beside the diagonal.
fn shift<R: Limits + Scalar<Real = R>>(
    t: &mut Mat<'_, R>,
    last: usize,
    steps: usize,
    shifted: &mut R,
) -> [R; 3] {
    let c = <R as Float>::of;
    let mut of = [t.at(last, last), t.at(last - 1, last - 1), t.at(last, last - 1) * t.at(last - 1, last)];
    // Every sixteenth step an exceptional one, of two kinds in turn.
    if steps > 0 && steps.is_multiple_of(16) {
        if !steps.is_multiple_of(32) {
            *shifted = *shifted + of[0];
            (0..=last).for_each(|i| t.add(i, i, -of[0]));
            let s = Float::abs(t.at(last, last - 1)) + Float::abs(t.at(last - 1, last - 2));
            of = [c(0.75) * s, c(0.75) * s, c(-0.4375) * s * s];
        } else {
            let half = (of[1] - of[0]) / c(2.0);
            let s = half * half + of[2];
            if s > c(0.0) {
                let root = Float::sqrt(s);
                let s = if of[1] < of[0] { -root } else { root } + half;
                let s = of[0] - of[2] / s;
                *shifted = *shifted + s;
                (0..=last).for_each(|i| t.add(i, i, -s));
                of = [c(0.964); 3];
            }
        }
    }
    of
}

/// The reflection of a vector into a multiple of the first unit vector: v without its first element, tau, the multiple.
fn reflection<R: Limits + Scalar<Real = R>>(v: &[R]) -> ([R; 2], R, R) {
    let zero = <R as Float>::of(0.0);
    let tail: R = v[1..].iter().fold(zero, |sum, x| sum + *x * *x);
    if tail <= R::LEAST {
        return ([zero; 2], zero, v[0]);
    }
    let size = Float::sqrt(v[0] * v[0] + tail);
    let beta = if v[0] >= zero { -size } else { size };
    let mut own = [zero; 2];
    own.iter_mut().zip(&v[1..]).for_each(|(to, x)| *to = *x / (v[0] - beta));
    (own, (beta - v[0]) / beta, beta)
}

/// Reflects rows from `row` on, of columns from `from` on.
fn reflect_rows<R: Scalar>(t: &mut Mat<'_, R>, row: usize, from: usize, v: &[R], tau: R) {
    for col in from..t.cols {
        let sum = v.iter().enumerate().fold(t.at(row, col), |sum, (i, v)| sum + *v * t.at(row + 1 + i, col));
        let sum = tau * sum;
        t.add(row, col, -sum);
        v.iter().enumerate().for_each(|(i, v)| t.add(row + 1 + i, col, -(*v * sum)));
    }
}

/// Reflects columns from `col` on, of the first `to` rows.
fn reflect_cols<R: Scalar>(t: &mut Mat<'_, R>, col: usize, to: usize, v: &[R], tau: R) {
    for row in 0..to {
        let sum = v.iter().enumerate().fold(t.at(row, col), |sum, (i, v)| sum + *v * t.at(row, col + 1 + i));
        let sum = tau * sum;
        t.add(row, col, -sum);
        v.iter().enumerate().for_each(|(i, v)| t.add(row, col + 1 + i, -(*v * sum)));
    }
}

/// One step with two shifts on rows `first` to `last`.
fn francis<R: Limits + Scalar<Real = R>>(
    t: &mut Mat<'_, R>,
    basis: &mut Mat<'_, R>,
    (first, last): (usize, usize),
    shift: [R; 3],
) {
    let zero = <R as Float>::of(0.0);
    let n = t.rows;
    let mut start = last - 2;
    let begin = loop {
        let own = t.at(start, start);
        let (r, s) = (shift[0] - own, shift[1] - own);
        let v = [
            (r * s - shift[2]) / t.at(start + 1, start) + t.at(start, start + 1),
            t.at(start + 1, start + 1) - own - r - s,
            t.at(start + 2, start + 1),
        ];
        if start == first {
            break v;
        }
        let left = t.at(start, start - 1) * (Float::abs(v[1]) + Float::abs(v[2]));
        let beside = Float::abs(t.at(start - 1, start - 1)) + Float::abs(own);
        let right = v[0] * (beside + Float::abs(t.at(start + 1, start + 1)));
        if Float::abs(left) < R::EPSILON * right {
            break v;
        }
        start -= 1;
    };
    for k in start..last - 1 {
        let is_first = k == start;
        let v = if is_first { begin } else { [t.at(k, k - 1), t.at(k + 1, k - 1), t.at(k + 2, k - 1)] };
        let (v, tau, beta) = reflection(&v);
        if beta == zero {
            continue;
        }
        if is_first && k > first {
            t.set(k, k - 1, -t.at(k, k - 1));
        } else if !is_first {
            t.set(k, k - 1, beta);
        }
        reflect_rows(t, k, k, &v, tau);
        reflect_cols(t, k, last.min(k + 3) + 1, &v, tau);
        reflect_cols(basis, k, n, &v, tau);
    }
    let (v, tau, beta) = reflection(&[t.at(last - 1, last - 2), t.at(last, last - 2)]);
    if beta != zero {
        t.set(last - 1, last - 2, beta);
        reflect_rows(t, last - 1, last - 1, &v[..1], tau);
        reflect_cols(t, last - 1, last + 1, &v[..1], tau);
        reflect_cols(basis, last - 1, n, &v[..1], tau);
    }
    for i in start + 2..=last {
        t.set(i, i - 2, zero);
        if i > start + 2 {
            t.set(i, i - 3, zero);
        }
    }
}

/// The eigenvectors of the matrix that [`schur`] has taken apart, one a column of `vectors`, each of length 1. `y` has an
/// element for each row.
pub(super) fn vectors<R: Limits + Scalar<Real = R>>(
    t: &Mat<'_, R>,
    basis: &Mat<'_, R>,
    values: &[Complex<R>],
    vectors: &mut Mat<'_, Complex<R>>,
    y: &mut [Complex<R>],
) where
    Complex<R>: Scalar<Real = R>,
{
    let n = t.rows;
    let zero = <R as Float>::of(0.0);
    let norm = t.data.iter().fold(zero, |sum, x| sum + Float::abs(*x));
    let mut col = 0;
    while col < n {
        let is_pair = values[col].im != zero;
        // Of a pair the second one's own element is i.
        let top = if is_pair { col + 1 } else { col };
        schur_vector(t, values, col, R::EPSILON * norm, y);
        let mut size = zero;
        for row in 0..n {
            let sum = (0..=top).fold(Complex::ZERO, |sum, k| sum + y[k].times(basis.at(row, k)));
            vectors.set(row, col, sum);
            size = size + sum.abs2();
        }
        let size = Float::sqrt(size);
        for row in 0..n {
            let x = vectors.at(row, col);
            let x = if size > zero { Complex { re: x.re / size, im: x.im / size } } else { x };
            vectors.set(row, col, x);
            if is_pair {
                vectors.set(row, col + 1, x.conj());
            }
        }
        col = top + 1;
    }
}

/// Solves (T - value) y = 0 for the value of column `col`, the first one of a pair.
fn schur_vector<R: Limits + Scalar<Real = R>>(
    t: &Mat<'_, R>,
    values: &[Complex<R>],
    col: usize,
    least: R,
    y: &mut [Complex<R>],
) where
    Complex<R>: Scalar<Real = R>,
{
    let (zero, one) = (<R as Float>::of(0.0), <R as Float>::of(1.0));
    let real = |x: R| Complex { re: x, im: zero };
    let value = values[col];
    let held = |x: Complex<R>| if x == Complex::ZERO { real(least) } else { x };
    y.fill(Complex::ZERO);
    let mut row = col;
    if value.im == zero {
        y[col] = Complex::ONE;
    } else {
        // From one of the two rows of its own block, that which has the larger element beside the diagonal.
        y[col + 1] = Complex { re: zero, im: one };
        let (below, above) = (t.at(col + 1, col), t.at(col, col + 1));
        y[col] = if Float::abs(below) > Float::abs(above) {
            -((real(t.at(col + 1, col + 1)) - value) * y[col + 1]) / real(below)
        } else {
            -(real(above) * y[col + 1]) / held(real(t.at(col, col)) - value)
        };
    }
    let top = if value.im == zero { col } else { col + 1 };
    while row > 0 {
        row -= 1;
        let rest = |row: usize, from: usize| {
            (from..=top).fold(Complex::ZERO, |sum, k| sum - y[k].times(t.at(row, k)))
        };
        if values[row].im == zero {
            y[row] = rest(row, row + 1) / held(real(t.at(row, row)) - value);
            continue;
        }
        // Two rows at once, by Cramer's rule.
        let (r0, r1) = (rest(row - 1, row + 1), rest(row, row + 1));
        let (a, b) = (real(t.at(row - 1, row - 1)) - value, real(t.at(row - 1, row)));
        let (c, d) = (real(t.at(row, row - 1)), real(t.at(row, row)) - value);
        let determinant = held(a * d - b * c);
        y[row - 1] = (r0 * d - b * r1) / determinant;
        y[row] = (a * r1 - r0 * c) / determinant;
        row -= 1;
    }
}
