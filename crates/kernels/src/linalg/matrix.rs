//! A matrix in memory, and what every decomposition does with one: reflections and rotations of its rows and columns.

use super::scalar::{Limits, Scalar};
use crate::elementwise::float::Float;

/// A matrix over elements that lie row by row.
pub(super) struct Mat<'a, T> {
    pub data: &'a mut [T],
    pub rows: usize,
    pub cols: usize,
}

impl<'a, T: Scalar> Mat<'a, T> {
    /// The first `rows * cols` elements of `data`, which it must have.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize) -> Mat<'a, T> {
        Mat { data: &mut data[..rows * cols], rows, cols }
    }

    #[inline(always)]
    pub fn at(&self, row: usize, col: usize) -> T {
        self.data[row * self.cols + col]
    }

    #[inline(always)]
    pub fn set(&mut self, row: usize, col: usize, value: T) {
        self.data[row * self.cols + col] = value;
    }

    #[inline(always)]
    pub fn add(&mut self, row: usize, col: usize, value: T) {
        self.data[row * self.cols + col] = self.data[row * self.cols + col] + value;
    }

    /// The diagonal 1, the rest 0.
    pub fn set_identity(&mut self) {
        self.data.fill(T::ZERO);
        for i in 0..self.rows.min(self.cols) {
            self.set(i, i, T::ONE);
        }
    }

    pub fn swap_rows(&mut self, a: usize, b: usize) {
        for col in 0..self.cols {
            self.data.swap(a * self.cols + col, b * self.cols + col);
        }
    }

    pub fn swap_cols(&mut self, a: usize, b: usize) {
        for row in 0..self.rows {
            self.data.swap(row * self.cols + a, row * self.cols + b);
        }
    }

    pub fn scale_row(&mut self, row: usize, by: T) {
        self.data[row * self.cols..][..self.cols].iter_mut().for_each(|x| *x = *x * by);
    }

    pub fn scale_col(&mut self, col: usize, by: T) {
        for row in 0..self.rows {
            self.set(row, col, self.at(row, col) * by);
        }
    }

    /// The size of the part of a column from `row` on.
    pub fn col_norm(&self, col: usize, row: usize) -> T::Real {
        (row..self.rows).map(|row| self.at(row, col).abs2()).sum::<T::Real>().sqrt()
    }

    /// Turns the part of a column from `row` on into a multiple of the first unit vector, by I - tau v v*: v stands below
    /// `row` then, its first element, which is 1, left out. Returns tau and the multiple, which is left to be set.
    pub fn reflector(&mut self, row: usize, col: usize) -> (T, T::Real)
    where
        T::Real: Limits,
    {
        let first = self.at(row, col);
        let tail: T::Real = (row + 1..self.rows).map(|row| self.at(row, col).abs2()).sum();
        let least = T::Real::LEAST;
        if tail <= least && first.im() * first.im() <= least {
            (row + 1..self.rows).for_each(|row| self.set(row, col, T::ZERO));
            return (T::ZERO, first.re());
        }
        let size = (first.abs2() + tail).sqrt();
        let beta = if first.re() >= T::Real::of(0.0) { -size } else { size };
        let divisor = first - T::real(beta);
        for row in row + 1..self.rows {
            self.set(row, col, self.at(row, col) / divisor);
        }
        (((T::real(beta) - first) / T::real(beta)).conj(), beta)
    }

    /// Multiplies the part from (`row`, `col`) on by I - tau v v* from the left, v given without its first element. Sums and
    /// products have Eigen's order: where a column becomes zero but for rounding, its sign follows from that.
    pub fn reflect_left(&mut self, row: usize, col: usize, v: impl Fn(usize) -> T, tau: T) {
        if tau == T::ZERO {
            return;
        }
        for col in col..self.cols {
            let below = (row + 1..self.rows).fold(T::ZERO, |sum, i| sum + v(i).conj() * self.at(i, col));
            let sum = below + self.at(row, col);
            self.add(row, col, -(tau * sum));
            for i in row + 1..self.rows {
                self.add(i, col, -(tau * v(i) * sum));
            }
        }
    }

    /// The same with v as [`Mat::reflector`] has left it below `row` in column `v`, which comes before `col`.
    pub fn reflect_left_by_own(&mut self, row: usize, v: usize, col: usize, tau: T) {
        if tau == T::ZERO {
            return;
        }
        for col in col..self.cols {
            let own = |of: &Self, i: usize| of.at(i, v);
            let below =
                (row + 1..self.rows).fold(T::ZERO, |sum, i| sum + own(self, i).conj() * self.at(i, col));
            let sum = below + self.at(row, col);
            self.add(row, col, -(tau * sum));
            for i in row + 1..self.rows {
                self.add(i, col, -(tau * own(self, i) * sum));
            }
        }
    }

    /// Rotates two rows: x' = c x + s* y, y' = -s x + c* y, from column `from` on.
    pub fn rotate_rows(&mut self, p: usize, q: usize, by: Rotation<T>, from: usize) {
        for col in from..self.cols {
            let (x, y) = (self.at(p, col), self.at(q, col));
            self.set(p, col, by.c * x + by.s.conj() * y);
            self.set(q, col, by.c.conj() * y - by.s * x);
        }
    }

    /// Rotates two columns by the transpose, up to row `to`.
    pub fn rotate_cols(&mut self, p: usize, q: usize, by: Rotation<T>, to: usize) {
        for row in 0..to {
            let (x, y) = (self.at(row, p), self.at(row, q));
            self.set(row, p, by.c * x - by.s * y);
            self.set(row, q, by.s.conj() * x + by.c.conj() * y);
        }
    }
}

/// A rotation in a plane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotation<T> {
    pub c: T,
    pub s: T,
}

impl<T: Scalar> Rotation<T> {
    pub const NONE: Rotation<T> = Rotation { c: T::ONE, s: T::ZERO };

    pub fn transposed(self) -> Self {
        Rotation { c: self.c, s: -self.s.conj() }
    }

    pub fn adjoint(self) -> Self {
        Rotation { c: self.c.conj(), s: -self.s }
    }

    /// This one after another.
    pub fn then(self, other: Self) -> Self {
        Rotation {
            c: self.c * other.c - self.s.conj() * other.s,
            s: (self.c * other.s.conj() + self.s.conj() * other.c.conj()).conj(),
        }
    }

    /// The rotation whose adjoint turns (p, q) into (r, 0), and r.
    pub fn givens(p: T, q: T) -> (Self, T) {
        let one = T::Real::of(1.0);
        let zero = T::Real::of(0.0);
        if q == T::ZERO {
            let c = if p.re() < zero { -T::ONE } else { T::ONE };
            return (Rotation { c, s: T::ZERO }, c * p);
        }
        if p == T::ZERO {
            let size = q.abs();
            if !T::IS_COMPLEX {
                let s = if q.re() < zero { T::ONE } else { -T::ONE };
                return (Rotation { c: T::ZERO, s }, T::real(size));
            }
            return (Rotation { c: T::ZERO, s: -q / T::real(size) }, T::real(size));
        }
        if !T::IS_COMPLEX {
            let (p, q) = (p.re(), q.re());
            if p.abs() > q.abs() {
                let t = q / p;
                let u = (one + t * t).sqrt();
                let u = if p < zero { -u } else { u };
                let c = one / u;
                return (Rotation { c: T::real(c), s: T::real(-t * c) }, T::real(p * u));
            }
            let t = p / q;
            let u = (one + t * t).sqrt();
            let u = if q < zero { -u } else { u };
            let s = -(one / u);
            return (Rotation { c: T::real(-t * s), s: T::real(s) }, T::real(q * u));
        }
        let (p1, q1) = (p.norm1(), q.norm1());
        let large = if p1 >= q1 { p1 } else { q1 };
        let (ps, qs) = (p / T::real(large), q / T::real(large));
        let (p2, q2) = (ps.abs2(), qs.abs2());
        if p1 >= q1 {
            let u = (one + q2 / p2).sqrt();
            let u = if p.re() < zero { -u } else { u };
            let c = one / u;
            let s = -(qs * ps.conj()).times(c / p2);
            return (Rotation { c: T::real(c), s }, p.times(u));
        }
        let u = large * (p2 + q2).sqrt();
        let u = if p.re() < zero { -u } else { u };
        let size = p.abs();
        let direction = p / T::real(size);
        (Rotation { c: T::real(size / u), s: -(direction.conj() * (q / T::real(u))) }, direction.times(u))
    }
}
