//! The discrete Fourier transform of many rows of one length side by side.
//!
//! Rows lie interleaved, real and imaginary parts apart: element k of row i at `k * rows + i`. Each step of the transform
//! (Stockham's: the output of a step is in order, so nothing is permuted) does the same with every row, so rows fill
//! vectors whatever the length, and later steps fill them for a single row. Lengths that are products of primes up to
//! [`MAX_PRIME`] are done in steps of 4, 2, 3, 5 and other primes; other lengths are a convolution of a power of two
//! (Bluestein). Tables and rows lie in memory that is handed in, so a length need not be known before the run.

use bytemuck::Pod;

use crate::base::cpu::Isa;
use crate::base::width::{Loop, vectorised};

/// The largest prime that has a step.
const MAX_PRIME: usize = 31;

/// Steps that a length can have.
const MAX_STEPS: usize = 64;

/// A part of a complex number.
pub(super) trait Part:
    Pod
    + Send
    + Sync
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Neg<Output = Self>
{
    const ZERO: Self;
    fn of(x: f64) -> Self;
}

impl Part for f32 {
    const ZERO: f32 = 0.0;

    #[inline(always)]
    fn of(x: f64) -> f32 {
        x as f32
    }
}

impl Part for f64 {
    const ZERO: f64 = 0.0;

    #[inline(always)]
    fn of(x: f64) -> f64 {
        x
    }
}

/// Real and imaginary parts.
pub(super) type Planes<'a, T> = [&'a mut [T]; 2];

/// e^(-2 pi i k / n), exact at eighths of the circle; k is less than n.
fn root(k: usize, n: usize) -> [f64; 2] {
    let (eighth, rest) = (8 * k / n, 8 * k % n);
    let up = std::f64::consts::FRAC_PI_4 * rest as f64 / n as f64;
    let down = std::f64::consts::FRAC_PI_4 * (n - rest) as f64 / n as f64;
    let (cos, sin) = match eighth {
        0 => (up.cos(), up.sin()),
        1 => (down.sin(), down.cos()),
        2 => (-up.sin(), up.cos()),
        3 => (-down.cos(), down.sin()),
        4 => (-up.cos(), -up.sin()),
        5 => (-down.sin(), -down.cos()),
        6 => (up.sin(), -up.cos()),
        _ => (down.cos(), -down.sin()),
    };
    [cos, -sin]
}

/// Writes [`root`] of the first `re.len()` places of a circle of `n`. Where its eighths are whole, only the first is computed,
/// and the others are that one turned and mirrored.
pub(super) fn fill_roots<T: Part>(re: &mut [T], im: &mut [T], n: usize) {
    let base = if n.is_multiple_of(8) { n / 8 } else { n };
    for k in 0..re.len().min(im.len()) {
        if k <= base {
            [re[k], im[k]] = root(k, n).map(T::of);
            continue;
        }
        let (eighth, at) = (k / base, k % base);
        let from = if eighth % 2 == 1 { base - at } else { at };
        let (cos, sin) = (re[from], -im[from]);
        let [cos, sin] = match eighth {
            1 => [sin, cos],
            2 => [-sin, cos],
            3 => [-cos, sin],
            4 => [-cos, -sin],
            5 => [-sin, -cos],
            6 => [sin, -cos],
            _ => [cos, -sin],
        };
        (re[k], im[k]) = (cos, -sin);
    }
}

/// How rows of a length are transformed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transform {
    /// The length of a row.
    n: usize,
    /// The length in which its steps work: its own, or that of the convolution.
    len: usize,
    steps: [u8; MAX_STEPS],
    count: usize,
}

impl Transform {
    /// For rows of `n`, at least 1.
    pub fn new(n: usize) -> Transform {
        let mut transform = Transform { n, len: n, steps: [0; MAX_STEPS], count: 0 };
        if !transform.split() {
            // A length that is not there was refused before: it has more bytes than memory.
            transform.len = (2 * n - 1).next_power_of_two();
            transform.count = 0;
            transform.split();
        }
        transform
    }

    /// Splits the length in steps; false where a prime is too large.
    fn split(&mut self) -> bool {
        let mut rest = self.len;
        for step in std::iter::once(4).chain(2..=MAX_PRIME) {
            while rest.is_multiple_of(step) && self.count < MAX_STEPS {
                rest /= step;
                self.steps[self.count] = step as u8;
                self.count += 1;
            }
        }
        rest == 1
    }

    fn is_convolution(&self) -> bool {
        self.len != self.n
    }

    /// Numbers in its table.
    pub fn table_len(&self) -> usize {
        let more = if self.is_convolution() { 2 * self.n + 2 * self.len } else { 0 };
        2 * self.len + more
    }

    /// The most numbers of a table, and the most of a row, of any length up to `n`.
    pub fn most(n: usize) -> [usize; 2] {
        let len = (2 * n - 1).next_power_of_two();
        [2 * len + 2 * n + 2 * len, len]
    }

    /// Numbers that `rows` rows need to work in.
    pub fn work_len(&self, rows: usize) -> usize {
        4 * self.len * rows
    }

    /// Writes the table. `work` is for one row.
    pub fn fill_table<T: Part>(&self, isa: Isa, table: &mut [T], work: &mut [T]) {
        let (roots, more) = table.split_at_mut(2 * self.len);
        let (re, im) = roots.split_at_mut(self.len);
        fill_roots(re, im, self.len);
        if !self.is_convolution() {
            return;
        }
        let (chirp, spectrum) = more.split_at_mut(2 * self.n);
        let [mut a, mut b] = self.planes(work, 1);
        a.iter_mut().for_each(|plane| plane.fill(T::ZERO));
        for k in 0..self.n {
            let turn = (k as u128 * k as u128 % (2 * self.n as u128)) as usize;
            let [cos, sin] = root(turn, 2 * self.n);
            [chirp[k], chirp[self.n + k]] = [cos, sin].map(T::of);
            for at in [k, (self.len - k) % self.len] {
                (a[0][at], a[1][at]) = (T::of(cos), T::of(-sin));
            }
        }
        self.steps(isa, roots, 1, &mut a, &mut b);
        // The convolution's way back is divided by its length here.
        let scale = T::of(1.0 / self.len as f64);
        for (to, from) in spectrum.chunks_exact_mut(self.len).zip(&a) {
            to.iter_mut().zip(from.iter()).for_each(|(to, from)| *to = *from * scale);
        }
    }

    /// The two pairs of planes of `rows` rows in `work`; rows go in and come out in the first.
    pub fn planes<'a, T: Part>(&self, work: &'a mut [T], rows: usize) -> [Planes<'a, T>; 2] {
        let plane = self.len * rows;
        let (a, b) = work[..4 * plane].split_at_mut(2 * plane);
        let ((a, c), (b, d)) = (a.split_at_mut(plane), b.split_at_mut(plane));
        [[a, c], [b, d]]
    }

    /// Transforms the rows in the first pair of planes.
    pub fn run<T: Part>(&self, isa: Isa, table: &[T], rows: usize, planes: &mut [Planes<'_, T>; 2]) {
        let [a, b] = planes;
        let (roots, more) = table.split_at(2 * self.len);
        if !self.is_convolution() {
            return self.steps(isa, roots, rows, a, b);
        }
        let (chirp, spectrum) = more.split_at(2 * self.n);
        a.iter_mut().for_each(|plane| plane[self.n * rows..].fill(T::ZERO));
        vectorised(isa, Multiply { factors: chirp, rows, planes: a });
        self.steps(isa, roots, rows, a, b);
        vectorised(isa, Multiply { factors: spectrum, rows, planes: a });
        // With the parts exchanged the transform is the one back.
        a.swap(0, 1);
        self.steps(isa, roots, rows, a, b);
        a.swap(0, 1);
        vectorised(isa, Multiply { factors: chirp, rows, planes: a });
    }

    /// All steps, from `a` and back to it.
    fn steps<'w, T: Part>(
        &self,
        isa: Isa,
        roots: &[T],
        rows: usize,
        a: &mut Planes<'w, T>,
        b: &mut Planes<'w, T>,
    ) {
        let (mut n, mut stride) = (self.len, rows);
        for step in &self.steps[..self.count] {
            let radix = *step as usize;
            vectorised(isa, Step { radix, n, stride, len: self.len, roots, from: &*a, to: b });
            std::mem::swap(a, b);
            n /= radix;
            stride *= radix;
        }
    }
}

/// Multiplies element k of each row by factor k; as many elements as there are factors.
struct Multiply<'a, 'w, T> {
    /// Real parts, then imaginary ones.
    factors: &'a [T],
    rows: usize,
    planes: &'a mut Planes<'w, T>,
}

impl<T: Part> Loop for Multiply<'_, '_, T> {
    #[inline(always)]
    fn run(self) {
        let (re, im) = self.factors.split_at(self.factors.len() / 2);
        let [a, b] = self.planes;
        let elements = a.chunks_exact_mut(self.rows).zip(b.chunks_exact_mut(self.rows));
        for ((a, b), (re, im)) in elements.zip(re.iter().zip(im)) {
            for (a, b) in a.iter_mut().zip(b) {
                [*a, *b] = times([*a, *b], [*re, *im]);
            }
        }
    }
}

#[inline(always)]
fn times<T: Part>([a, b]: [T; 2], [c, d]: [T; 2]) -> [T; 2] {
    [a * c - b * d, a * d + b * c]
}

/// One step: transforms of `radix` over elements that lie `n / radix` apart.
struct Step<'a, 'w, T> {
    radix: usize,
    /// The length that is left.
    n: usize,
    /// Numbers from one element to the next.
    stride: usize,
    len: usize,
    roots: &'a [T],
    from: &'a Planes<'w, T>,
    to: &'a mut Planes<'w, T>,
}

impl<T: Part> Loop for Step<'_, '_, T> {
    #[inline(always)]
    fn run(self) {
        let (stride, block) = (self.stride, self.n / self.radix);
        let [from_re, from_im] = self.from;
        let [to_re, to_im] = self.to;
        let element = |k: usize| [&from_re[k * stride..][..stride], &from_im[k * stride..][..stride]];
        let factor = |k: usize| {
            let at = k * (self.len / self.n);
            [self.roots[at], self.roots[self.len + at]]
        };
        let group = self.radix * stride;
        for p in 0..block {
            let (re, im) = (&mut to_re[p * group..][..group], &mut to_im[p * group..][..group]);
            match self.radix {
                2 => two([0, 1].map(|k| element(p + k * block)), factor(p), re, im),
                3 => three([0, 1, 2].map(|k| element(p + k * block)), [1, 2].map(|j| factor(j * p)), re, im),
                4 => four(
                    [0, 1, 2, 3].map(|k| element(p + k * block)),
                    [1, 2, 3].map(|j| factor(j * p)),
                    re,
                    im,
                ),
                radix => {
                    let turn = |k: usize| {
                        let at = k % radix * (self.len / radix);
                        [self.roots[at], self.roots[self.len + at]]
                    };
                    let outputs = re.chunks_exact_mut(stride).zip(im.chunks_exact_mut(stride));
                    for (j, (re, im)) in outputs.enumerate() {
                        re.fill(T::ZERO);
                        im.fill(T::ZERO);
                        for k in 0..radix {
                            add(element(p + k * block), turn(j * k), re, im);
                        }
                        turned(factor(j * p), re, im);
                    }
                }
            }
        }
    }
}

/// Adds a multiple of `from`.
#[inline(always)]
fn add<T: Part>(from: [&[T]; 2], factor: [T; 2], re: &mut [T], im: &mut [T]) {
    for i in 0..re.len().min(im.len()).min(from[0].len()).min(from[1].len()) {
        let [a, b] = times([from[0][i], from[1][i]], factor);
        re[i] = re[i] + a;
        im[i] = im[i] + b;
    }
}

#[inline(always)]
fn turned<T: Part>(factor: [T; 2], re: &mut [T], im: &mut [T]) {
    for (re, im) in re.iter_mut().zip(im) {
        [*re, *im] = times([*re, *im], factor);
    }
}

#[inline(always)]
fn two<T: Part>([a, b]: [[&[T]; 2]; 2], factor: [T; 2], re: &mut [T], im: &mut [T]) {
    let stride = re.len() / 2;
    let ((re0, re1), (im0, im1)) = (re.split_at_mut(stride), im.split_at_mut(stride));
    two_apart(a, b, factor, re0, im0, re1, im1);
}

#[inline(always)]
fn two_apart<T: Part>(
    a: [&[T]; 2],
    b: [&[T]; 2],
    factor: [T; 2],
    re0: &mut [T],
    im0: &mut [T],
    re1: &mut [T],
    im1: &mut [T],
) {
    let n = re0.len();
    let ([ar, ai], [br, bi]) = (a.map(|x| &x[..n]), b.map(|x| &x[..n]));
    let (im0, re1, im1) = (&mut im0[..n], &mut re1[..n], &mut im1[..n]);
    for i in 0..n {
        (re0[i], im0[i]) = (ar[i] + br[i], ai[i] + bi[i]);
        [re1[i], im1[i]] = times([ar[i] - br[i], ai[i] - bi[i]], factor);
    }
}

#[inline(always)]
fn three<T: Part>([a, b, c]: [[&[T]; 2]; 3], factors: [[T; 2]; 2], re: &mut [T], im: &mut [T]) {
    let n = re.len() / 3;
    let (half, sin) = (T::of(0.5), T::of(0.866_025_403_784_438_6));
    let ((re0, re), (im0, im)) = (re.split_at_mut(n), im.split_at_mut(n));
    let ((re1, re2), (im1, im2)) = (re.split_at_mut(n), im.split_at_mut(n));
    let [[ar, ai], [br, bi], [cr, ci]] = [a, b, c].map(|x| x.map(|x| &x[..n]));
    for i in 0..n {
        let (sum_re, sum_im) = (br[i] + cr[i], bi[i] + ci[i]);
        let (gap_re, gap_im) = ((br[i] - cr[i]) * sin, (bi[i] - ci[i]) * sin);
        let (mid_re, mid_im) = (ar[i] - sum_re * half, ai[i] - sum_im * half);
        (re0[i], im0[i]) = (ar[i] + sum_re, ai[i] + sum_im);
        [re1[i], im1[i]] = times([mid_re + gap_im, mid_im - gap_re], factors[0]);
        [re2[i], im2[i]] = times([mid_re - gap_im, mid_im + gap_re], factors[1]);
    }
}

#[inline(always)]
fn four<T: Part>(from: [[&[T]; 2]; 4], factors: [[T; 2]; 3], re: &mut [T], im: &mut [T]) {
    let n = re.len() / 4;
    let ((re01, re23), (im01, im23)) = (re.split_at_mut(2 * n), im.split_at_mut(2 * n));
    let ((re0, re1), (im0, im1)) = (re01.split_at_mut(n), im01.split_at_mut(n));
    let ((re2, re3), (im2, im3)) = (re23.split_at_mut(n), im23.split_at_mut(n));
    four_apart(from, factors, [re0, re1, re2, re3], [im0, im1, im2, im3]);
}

#[inline(always)]
fn four_apart<T: Part>(
    from: [[&[T]; 2]; 4],
    [f1, f2, f3]: [[T; 2]; 3],
    [re0, re1, re2, re3]: [&mut [T]; 4],
    [im0, im1, im2, im3]: [&mut [T]; 4],
) {
    let n = re0.len();
    let [[ar, ai], [br, bi], [cr, ci], [dr, di]] = from.map(|x| x.map(|x| &x[..n]));
    let [re1, re2, re3, im0, im1, im2, im3] = [re1, re2, re3, im0, im1, im2, im3].map(|x| &mut x[..n]);
    for i in 0..n {
        let (even_re, even_im) = (ar[i] + cr[i], ai[i] + ci[i]);
        let (odd_re, odd_im) = (br[i] + dr[i], bi[i] + di[i]);
        let (left_re, left_im) = (ar[i] - cr[i], ai[i] - ci[i]);
        let (right_re, right_im) = (br[i] - dr[i], bi[i] - di[i]);
        (re0[i], im0[i]) = (even_re + odd_re, even_im + odd_im);
        [re1[i], im1[i]] = times([left_re + right_im, left_im - right_re], f1);
        [re2[i], im2[i]] = times([even_re - odd_re, even_im - odd_im], f2);
        [re3[i], im3[i]] = times([left_re - right_im, left_im + right_re], f3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_sum_it_stands_for() {
        for n in [1usize, 2, 3, 4, 5, 6, 7, 8, 12, 15, 16, 30, 31, 37, 49, 64, 74, 120, 128, 211, 462] {
            for rows in [1usize, 3, 16] {
                let transform = Transform::new(n);
                let mut table = vec![0f64; transform.table_len()];
                let mut work = vec![f64::NAN; transform.work_len(rows)];
                let isa = Isa::detect();
                transform.fill_table(isa, &mut table, &mut work);
                let input = |row: usize, k: usize| {
                    let x = (row * 31 + k * 17) as f64;
                    [(x * 0.37).sin(), (x * 1.91).cos()]
                };
                let mut planes = transform.planes(&mut work, rows);
                for k in 0..n {
                    for row in 0..rows {
                        let [re, im] = input(row, k);
                        (planes[0][0][k * rows + row], planes[0][1][k * rows + row]) = (re, im);
                    }
                }
                transform.run(isa, &table, rows, &mut planes);
                for row in 0..rows {
                    for k in 0..n {
                        let expected = (0..n).fold([0.0; 2], |[re, im], j| {
                            let [a, b] = times(input(row, j), root(j * k % n, n));
                            [re + a, im + b]
                        });
                        let found = [planes[0][0][k * rows + row], planes[0][1][k * rows + row]];
                        let error = (expected[0] - found[0]).abs().max((expected[1] - found[1]).abs());
                        assert!(
                            error < 1e-12 * (n as f64 + 10.0),
                            "{n} {rows} {row} {k}: {expected:?} {found:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same() {
        let transform = Transform::new(60);
        let of = |isa: Isa| {
            let mut table = vec![0f32; transform.table_len()];
            let mut work = vec![0f32; transform.work_len(5)];
            transform.fill_table(isa, &mut table, &mut work);
            let mut planes = transform.planes(&mut work, 5);
            (0..300).for_each(|i| planes[0][0][i] = (i as f32).sin());
            transform.run(isa, &table, 5, &mut planes);
            planes[0].iter().flat_map(|plane| plane.iter().map(|x| x.to_bits())).collect::<Vec<_>>()
        };
        assert_eq!(of(Isa::detect()), of(Isa::Portable));
    }
}
