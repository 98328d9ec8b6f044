//! Functions of square matrices: the exponential, the logarithm and the square root.
//!
//! The exponential is a quotient of polynomials of the matrix made small, squared again. The other two are those of a triangle
//! (Schur's), of which a root follows column by column; the logarithm is that of a matrix near to 1, which roots lead to.

use super::eigen;
use super::lu;
use super::matrix::Mat;
use super::scalar::{Complex, Limits, Scalar};
use crate::elementwise::float::Float;

/// Matrices of scratch that [`exponential`] takes, and [`on_triangle`].
pub(super) const EXPONENTIAL_MATRICES: usize = 6;
pub(super) const TRIANGLE_MATRICES: usize = 4;

/// The coefficients of the polynomial over and under the line, from the constant one on: that of degree 13.
const PADE: [f64; 14] = [
    64_764_752_532_480_000.0,
    32_382_376_266_240_000.0,
    7_771_770_303_897_600.0,
    1_187_353_796_428_800.0,
    129_060_195_264_000.0,
    10_559_470_521_600.0,
    670_442_572_800.0,
    33_522_128_640.0,
    1_323_241_920.0,
    40_840_800.0,
    960_960.0,
    16_380.0,
    182.0,
    1.0,
];

/// The largest sum of a column that the quotient is exact for.
const PADE_NORM: f64 = 4.0;

fn multiply<T: Scalar>(a: &[T], b: &[T], to: &mut [T], n: usize) {
    for (to, a) in to.chunks_exact_mut(n).zip(a.chunks_exact(n)) {
        to.fill(T::ZERO);
        for (a, b) in a.iter().zip(b.chunks_exact(n)) {
            to.iter_mut().zip(b).for_each(|(to, b)| *to = *to + *a * *b);
        }
    }
}

/// The largest sum of sizes in a column.
fn norm<T: Scalar>(a: &[T], n: usize) -> f64 {
    (0..n).fold(0.0, |most: f64, col| {
        let sum: f64 = a.iter().skip(col).step_by(n).map(|x| x.abs().to_f64()).sum();
        if sum > most || sum.is_nan() { sum } else { most }
    })
}

/// `to` becomes the exponential of `a`. `scratch` has room for [`EXPONENTIAL_MATRICES`], `order` for a row.
pub(super) fn exponential<T: Scalar>(a: &[T], to: &mut [T], scratch: &mut [T], order: &mut [u32], n: usize) {
    if n == 0 {
        return;
    }
    let size = norm(a, n);
    if !size.is_finite() {
        return to.fill(T::real(T::Real::of(f64::NAN)));
    }
    let squarings = if size > PADE_NORM { (size / PADE_NORM).log2().ceil() as i32 } else { 0 };
    let (small, scratch) = scratch.split_at_mut(n * n);
    let (second, scratch) = scratch.split_at_mut(n * n);
    let (fourth, scratch) = scratch.split_at_mut(n * n);
    let (sixth, scratch) = scratch.split_at_mut(n * n);
    let (odd, scratch) = scratch.split_at_mut(n * n);
    let work = &mut scratch[..n * n];
    // A size whose power of two is no number of the type is made small in two steps.
    let halves = [squarings / 2, squarings - squarings / 2].map(|by| T::Real::of(2f64.powi(-by)));
    small.iter_mut().zip(a).for_each(|(to, x)| *to = x.times(halves[0]).times(halves[1]));
    multiply(small, small, second, n);
    multiply(second, second, fourth, n);
    multiply(fourth, second, sixth, n);
    let powers = |i: usize, coefficients: [f64; 3]| {
        let [b2, b4, b6] = coefficients.map(T::Real::of);
        second[i].times(b2) + fourth[i].times(b4) + sixth[i].times(b6)
    };
    let one = |i: usize, coefficient: f64| {
        if i.is_multiple_of(n + 1) { T::real(T::Real::of(coefficient)) } else { T::ZERO }
    };
    // What stands at odd powers, before the last factor.
    (0..n * n).for_each(|i| work[i] = powers(i, [PADE[9], PADE[11], PADE[13]]));
    multiply(sixth, work, to, n);
    (0..n * n).for_each(|i| work[i] = to[i] + powers(i, [PADE[3], PADE[5], PADE[7]]) + one(i, PADE[1]));
    multiply(small, work, odd, n);
    // What stands at even ones.
    (0..n * n).for_each(|i| to[i] = powers(i, [PADE[8], PADE[10], PADE[12]]));
    multiply(sixth, to, work, n);
    for i in 0..n * n {
        let even = work[i] + powers(i, [PADE[2], PADE[4], PADE[6]]) + one(i, PADE[0]);
        (work[i], odd[i]) = (even + odd[i], even - odd[i]);
    }
    let mut under = Mat::new(odd, n, n);
    lu::factor(&mut under, order);
    let mut quotient = Mat::new(to, n, n);
    for (row, from) in order.iter().enumerate().take(n) {
        quotient.data[row * n..][..n].copy_from_slice(&work[*from as usize * n..][..n]);
    }
    lu::solve(&under, &mut quotient);
    for _ in 0..squarings {
        work.copy_from_slice(to);
        multiply(work, work, to, n);
    }
}

/// A function of matrices that is found by its values on a triangle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfTriangle {
    SquareRoot,
    Logarithm,
}

/// Replaces `a` by a function of it. `scratch` has room for [`TRIANGLE_MATRICES`], `taus` for a row. False where the triangle
/// is not found.
pub(super) fn on_triangle<R>(
    function: OfTriangle,
    a: &mut [Complex<R>],
    scratch: &mut [Complex<R>],
    taus: &mut [Complex<R>],
    n: usize,
) -> bool
where
    R: Limits + Scalar<Real = R>,
    Complex<R>: Scalar<Real = R>,
{
    if n == 0 {
        return true;
    }
    let (basis, scratch) = scratch.split_at_mut(n * n);
    let (root, scratch) = scratch.split_at_mut(n * n);
    let (work, more) = scratch.split_at_mut(n * n);
    let more = &mut more[..n * n];
    let mut basis = Mat::new(basis, n, n);
    let mut triangle = Mat::new(a, n, n);
    if triangle.data.iter().any(|x| !x.is_finite()) || !eigen::schur(&mut triangle, &mut basis, taus) {
        return false;
    }
    match function {
        OfTriangle::SquareRoot => square_root(triangle.data, root, n),
        OfTriangle::Logarithm => logarithm(triangle.data, root, work, more, n),
    }
    // basis * root * basis*.
    multiply(basis.data, root, work, n);
    for row in 0..n {
        for col in 0..n {
            let pairs = work[row * n..][..n].iter().zip(&basis.data[col * n..][..n]);
            triangle.set(row, col, pairs.fold(Complex::ZERO, |sum, (x, y)| sum + *x * y.conj()));
        }
    }
    true
}

/// The square root of an upper triangle.
fn square_root<T: Scalar>(t: &[T], root: &mut [T], n: usize) {
    root.fill(T::ZERO);
    for col in 0..n {
        root[col * n + col] = t[col * n + col].sqrt();
        for row in (0..col).rev() {
            let sum = (row + 1..col).fold(T::ZERO, |sum, k| sum + root[row * n + k] * root[k * n + col]);
            root[row * n + col] = (t[row * n + col] - sum) / (root[row * n + row] + root[col * n + col]);
        }
    }
}

/// Where the integral that is the logarithm of a matrix near to 1 is looked at, and with what weight.
const NODES: [(f64, f64); 8] = [
    (0.019_855_071_751_231_884, 0.050_614_268_145_188_13),
    (0.101_666_761_293_186_63, 0.111_190_517_226_687_24),
    (0.237_233_795_041_835_5, 0.156_853_322_938_943_64),
    (0.408_282_678_752_175_1, 0.181_341_891_689_181),
    (0.591_717_321_247_825, 0.181_341_891_689_181),
    (0.762_766_204_958_164_5, 0.156_853_322_938_943_64),
    (0.898_333_238_706_813_4, 0.111_190_517_226_687_24),
    (0.980_144_928_248_768_1, 0.050_614_268_145_188_13),
];

/// How near to 1 that is, and how often a root is taken at most to come there.
const NEAR: f64 = 0.25;
const MOST_ROOTS: usize = 100;

/// The logarithm of an upper triangle, to `to`. `a` and `b` are scratch.
fn logarithm<R>(t: &[Complex<R>], to: &mut [Complex<R>], a: &mut [Complex<R>], b: &mut [Complex<R>], n: usize)
where
    R: Limits + Scalar<Real = R>,
    Complex<R>: Scalar<Real = R>,
{
    a.copy_from_slice(t);
    let mut roots = 0;
    loop {
        b.copy_from_slice(a);
        (0..n).for_each(|i| b[i * n + i] = a[i * n + i] - Complex::ONE);
        // A NaN is never near.
        if norm(b, n) < NEAR || roots == MOST_ROOTS {
            break;
        }
        square_root(a, to, n);
        a.copy_from_slice(to);
        roots += 1;
    }
    to.fill(Complex::ZERO);
    let scale = 2f64.powi(roots as i32);
    for (node, weight) in NODES {
        let (node, weight) = (R::of(node), R::of(weight * scale));
        // Each column of (1 + node B) X = B, from below.
        for col in 0..n {
            for row in (0..=col).rev() {
                let sum = (row + 1..=col)
                    .fold(b[row * n + col], |sum, k| sum - b[row * n + k].times(node) * a[k * n + col]);
                a[row * n + col] = sum / (Complex::ONE + b[row * n + row].times(node));
                to[row * n + col] = to[row * n + col] + a[row * n + col].times(weight);
            }
        }
    }
    for i in 0..n {
        let (re, im) = (t[i * n + i].re().to_f64(), t[i * n + i].im().to_f64());
        to[i * n + i] = Complex { re: R::of(re.hypot(im).ln()), im: R::of(im.atan2(re)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type C = Complex<f64>;

    fn close(a: &[C], b: &[C]) {
        for (a, b) in a.iter().zip(b) {
            assert!((*a - *b).abs() < 1e-10, "{a:?} {b:?}");
        }
    }

    fn sample(n: usize) -> Vec<C> {
        let entry = |i: usize| C {
            re: ((i * 7 + 3) % 11) as f64 / 10.0 + if i.is_multiple_of(n + 1) { 2.0 } else { 0.0 },
            im: ((i * 5 + 1) % 7) as f64 / 10.0 - 0.3,
        };
        (0..n * n).map(entry).collect()
    }

    fn of_triangle(function: OfTriangle, a: &[C], n: usize) -> Vec<C> {
        let (mut to, mut scratch, mut taus) =
            (a.to_vec(), vec![C::ZERO; TRIANGLE_MATRICES * n * n], vec![C::ZERO; n]);
        assert!(on_triangle(function, &mut to, &mut scratch, &mut taus, n));
        to
    }

    #[test]
    fn a_root_is_one_and_the_exponential_undoes_the_logarithm() {
        for n in [1, 2, 3, 5, 8] {
            let a = sample(n);
            let root = of_triangle(OfTriangle::SquareRoot, &a, n);
            let mut square = vec![C::ZERO; n * n];
            multiply(&root, &root, &mut square, n);
            close(&square, &a);
            let logarithm = of_triangle(OfTriangle::Logarithm, &a, n);
            let mut scratch = vec![C::ZERO; EXPONENTIAL_MATRICES * n * n];
            let mut again = vec![C::ZERO; n * n];
            exponential(&logarithm, &mut again, &mut scratch, &mut vec![0; n], n);
            close(&again, &a);
        }
    }

    #[test]
    fn the_exponential_of_a_nilpotent_matrix_ends() {
        let a = [0.0f64, 60.0, 3.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0];
        let mut to = [0.0; 9];
        exponential(&a, &mut to, &mut [0.0; 9 * EXPONENTIAL_MATRICES], &mut [0; 3], 3);
        let expected = [1.0, 60.0, 123.0, 0.0, 1.0, 4.0, 0.0, 0.0, 1.0];
        assert!(to.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{to:?}");
        let mut one = [0.0];
        exponential(&[f64::NAN], &mut one, &mut [0.0; EXPONENTIAL_MATRICES], &mut [0], 1);
        assert!(one[0].is_nan());
    }
}
