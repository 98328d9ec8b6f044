//! Fourier transforms over the last axes of tensors: of complex numbers, of real ones and back to real ones.
//!
//! One axis after the other: rows along it are taken in blocks to where they are transformed, and put back. The first axis
//! that is done reads the input, cut or filled up with zeros to the length that is asked for.

use tightfit_core::{MAX_RANK, Shape, Shared, TensorView, TensorViewMut};

use super::transform::{Part, Planes, Transform};
use crate::base::access::{values, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;

const KERNEL: &str = "FFT";

/// What is transformed to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FourierKind {
    /// Complex numbers to complex ones; back as well, divided by how many there are.
    Complex {
        /// The way back.
        is_inverse: bool,
    },
    /// Real numbers to the first half of their transform.
    FromReal,
    /// The first half of a transform back to the real numbers it is of.
    ToReal,
}

/// A transform over the last axes.
#[derive(Debug, Clone, Copy)]
pub struct Fourier<'a> {
    /// What of what.
    pub kind: FourierKind,
    /// The length along each of the axes that are transformed.
    pub lengths: &'a [usize],
}

/// The most rows that are transformed side by side.
const MAX_ROWS: usize = 16;

/// Numbers that rows in work take, so that they stay in the cache.
const WORK_NUMBERS: usize = 32 << 10;

fn rows_of(transform: &Transform) -> usize {
    (WORK_NUMBERS / transform.work_len(1)).clamp(1, MAX_ROWS)
}

impl Fourier<'_> {
    /// Numbers of tables and, for each thread, of rows in work.
    fn needs(&self) -> [usize; 2] {
        let of = |n: &usize| {
            let transform = Transform::new((*n).max(1));
            [transform.table_len(), transform.work_len(rows_of(&transform))]
        };
        self.lengths.iter().map(of).fold([0; 2], |[a, b], [c, d]| [a.max(c), b.max(d)])
    }

    /// The shape of what is between, where that is not the output: complex numbers for the last axis to make real.
    fn between(&self, output: &Shape) -> Option<Shape> {
        if self.kind != FourierKind::ToReal || self.lengths.len() < 2 {
            return None;
        }
        let mut dims = [0; MAX_RANK];
        dims[..output.rank()].copy_from_slice(output);
        dims[output.rank() - 1] = output.last()? / 2 + 1;
        Shape::new(&dims[..output.rank()]).ok()
    }

    /// [`Fourier::needs`] of these lengths and of all that are smaller: one that is no product of small primes needs more than the
    /// next one.
    fn needs_at_most(&self) -> [usize; 2] {
        let longest = self.lengths.iter().copied().max().unwrap_or(1).max(1);
        let [table, len] = Transform::most(longest);
        let work = |rows: usize| len.saturating_mul(4 * rows);
        [table, work(1).max(WORK_NUMBERS).min(work(MAX_ROWS))]
    }

    fn scratch_numbers(&self, [table, work]: [usize; 2], output: &Shape, threads: usize) -> usize {
        let between = self.between(output).map_or(0, |shape| 2 * shape.elements());
        table.saturating_add(threads.saturating_mul(work)).saturating_add(between)
    }
}

/// The scratch of [`fourier`] in bytes, for parts of complex numbers of so many bytes and so many threads.
pub fn fourier_scratch_bytes(what: &Fourier<'_>, output: &Shape, part_bytes: usize, threads: usize) -> usize {
    what.scratch_numbers(what.needs(), output, threads).saturating_mul(part_bytes)
}

/// [`fourier_scratch_bytes`] for these lengths and all smaller ones.
pub fn fourier_scratch_bytes_at_most(
    what: &Fourier<'_>,
    output: &Shape,
    part_bytes: usize,
    threads: usize,
) -> usize {
    what.scratch_numbers(what.needs_at_most(), output, threads).saturating_mul(part_bytes)
}

/// Transforms `src` to `dst`: the last axes have the lengths asked for in `dst`, of half a transform half of that and one.
/// Parts are float32 or float64. `scratch` is aligned for them.
///
/// # Errors
/// [`KernelError::Invalid`] for shapes that do not go together, [`KernelError::Scratch`] for too little scratch.
pub fn fourier(
    pool: &ThreadPool,
    what: &Fourier<'_>,
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
    scratch: &mut [u8],
) -> Result<()> {
    use tightfit_core::DType::{C64, C128, F32, F64};
    match (src.dtype(), dst.dtype()) {
        (F32 | C64, F32 | C64) => of_parts::<f32>(pool, what, src, dst, scratch),
        (F64 | C128, F64 | C128) => of_parts::<f64>(pool, what, src, dst, scratch),
        (dtype, _) => Err(KernelError::DType { kernel: KERNEL, dtype }),
    }
}

fn of_parts<T: Part>(
    pool: &ThreadPool,
    what: &Fourier<'_>,
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
    scratch: &mut [u8],
) -> Result<()> {
    let (from_shape, to_shape) = (*src.shape(), *dst.shape());
    check(what, &from_shape, &to_shape, src.dtype().is_complex(), dst.dtype().is_complex())?;
    if to_shape.elements() == 0 {
        return Ok(());
    }
    if from_shape.elements() == 0 {
        dst.bytes().fill(0);
        return Ok(());
    }
    let needed_bytes = fourier_scratch_bytes(what, &to_shape, size_of::<T>(), pool.threads());
    let given_bytes = scratch.len();
    let scratch =
        scratch.get_mut(..needed_bytes).ok_or(KernelError::Scratch { needed_bytes, given_bytes })?;
    let scratch = values_mut::<T>(scratch, KERNEL)?;
    let [table, work] = what.needs();
    let (table, rest) = scratch.split_at_mut(table);
    let (work, between) = rest.split_at_mut(work * pool.threads());
    let src = values::<T>(src.bytes(), KERNEL)?;
    let dst = values_mut::<T>(dst.bytes(), KERNEL)?;

    let is_back = !matches!(what.kind, FourierKind::FromReal | FourierKind::Complex { is_inverse: false });
    let count = what.lengths.iter().map(|n| *n as f64).product::<f64>();
    let scale = T::of(if is_back { 1.0 / count } else { 1.0 });
    let first = to_shape.rank() - what.lengths.len();
    let last = to_shape.rank() - 1;
    let mut passes = Passes { pool, table, work, filled: 0 };
    let complex = Layout { is_complex: true, is_half: false };
    let plain = Pass { axis: last, length: 0, is_back, scale: T::of(1.0), from: complex, to: complex };
    match what.between(&to_shape) {
        Some(shape) => {
            for (at, length) in what.lengths[..what.lengths.len() - 1].iter().enumerate() {
                let pass = Pass { axis: first + at, length: *length, ..plain };
                let input = (at == 0).then_some((src, &from_shape));
                passes.run(&pass, input, between, &shape);
            }
            let length = what.lengths[what.lengths.len() - 1];
            let from = Layout { is_complex: true, is_half: true };
            let to = Layout { is_complex: false, is_half: false };
            passes.run(&Pass { length, scale, from, to, ..plain }, Some((between, &shape)), dst, &to_shape);
        }
        None => {
            for (at, length) in what.lengths.iter().enumerate().rev() {
                let is_first = first + at == last;
                let scale = if at == 0 { scale } else { T::of(1.0) };
                let mut pass = Pass { axis: first + at, length: *length, scale, ..plain };
                if is_first {
                    pass.from = Layout {
                        is_complex: what.kind != FourierKind::FromReal,
                        is_half: what.kind == FourierKind::ToReal,
                    };
                    pass.to = Layout {
                        is_complex: what.kind != FourierKind::ToReal,
                        is_half: what.kind == FourierKind::FromReal,
                    };
                }
                passes.run(&pass, is_first.then_some((src, &from_shape)), dst, &to_shape);
            }
        }
    }
    Ok(())
}

fn check(what: &Fourier<'_>, from: &Shape, to: &Shape, from_complex: bool, to_complex: bool) -> Result<()> {
    let is_of = match what.kind {
        FourierKind::Complex { .. } => from_complex && to_complex,
        FourierKind::FromReal => !from_complex && to_complex,
        FourierKind::ToReal => from_complex && !to_complex,
    };
    ensure(is_of, KERNEL, "the kind of transform goes with the types")?;
    let rank = to.rank();
    let count = what.lengths.len();
    ensure(count > 0 && count <= rank && from.rank() == rank, KERNEL, "each length is that of an axis")?;
    let batch = rank - count;
    ensure(from[..batch] == to[..batch], KERNEL, "the input has the output's first axes")?;
    let fits = what.lengths.iter().enumerate().all(|(at, length)| {
        let is_half = at + 1 == count && what.kind == FourierKind::FromReal && *length > 0;
        to[batch + at] == if is_half { length / 2 + 1 } else { *length }
    });
    ensure(fits, KERNEL, "the output has the lengths asked for")
}

/// How numbers of a row lie in a tensor.
#[derive(Clone, Copy, PartialEq)]
struct Layout {
    is_complex: bool,
    /// The first half of a row of which the second mirrors it.
    is_half: bool,
}

/// A transform along one axis.
#[derive(Clone, Copy)]
struct Pass<T> {
    axis: usize,
    length: usize,
    is_back: bool,
    scale: T,
    from: Layout,
    to: Layout,
}

/// What passes work in.
struct Passes<'a, T> {
    pool: &'a ThreadPool,
    table: &'a mut [T],
    work: &'a mut [T],
    /// The length that the table is of.
    filled: usize,
}

impl<T: Part> Passes<'_, T> {
    /// Transforms rows along an axis: from `input`, or in place.
    fn run(&mut self, pass: &Pass<T>, input: Option<(&[T], &Shape)>, dst: &mut [T], to: &Shape) {
        let transform = Transform::new(pass.length);
        let isa = self.pool.isa();
        if self.filled != pass.length {
            transform.fill_table(isa, &mut self.table[..transform.table_len()], self.work);
            self.filled = pass.length;
        }
        let table = &self.table[..transform.table_len()];
        let lines = to.elements() / to[pass.axis];
        let rows = rows_of(&transform).min(lines);
        let each = self.work.len() / self.pool.threads();
        let (shared_work, shared_dst) = (Shared::new(&mut *self.work), Shared::new(dst));
        let inner = to[pass.axis + 1..].iter().product::<usize>();
        self.pool.run(lines.div_ceil(rows), &|task, worker| {
            // SAFETY: each worker has a part of its own.
            let mut work = unsafe { shared_work.part(worker * each, each) };
            let first = task * rows;
            let rows = rows.min(lines - first);
            let mut planes = transform.planes(&mut work, rows);
            let block = Block { shared: &shared_dst, inner, first, rows, width: pass.to.width() };
            match input {
                Some((src, from)) => load(pass, src, from, to, &block, &mut planes[0]),
                None => block.each(pass.length, |k, row, numbers| {
                    for (i, number) in numbers.chunks_exact(2).enumerate() {
                        let at = k * rows + row + i;
                        (planes[0][pass.is_back as usize][at], planes[0][!pass.is_back as usize][at]) =
                            (number[0], number[1]);
                    }
                }),
            }
            transform.run(isa, table, rows, &mut planes);
            store(pass, &block, to[pass.axis], &planes[0]);
        });
    }
}

/// Lines of a tensor that a task works on, and no other does.
struct Block<'a, 's, T> {
    shared: &'a Shared<'s, T>,
    /// Elements from one of a line to the next.
    inner: usize,
    /// The first line.
    first: usize,
    rows: usize,
    /// Numbers of an element.
    width: usize,
}

impl<T> Block<'_, '_, T> {
    /// Calls `each` with neighbouring numbers of lines of `len` elements: those of one line from element `k` on (the last
    /// axis), or element `k` of lines from `row` on.
    fn each(&self, len: usize, mut each: impl FnMut(usize, usize, &mut [T])) {
        let mut row = 0;
        while row < self.rows {
            let line = self.first + row;
            let (outer, at) = (line / self.inner, line % self.inner);
            let run = (self.rows - row).min(self.inner - at);
            for k in 0..len {
                let first = ((outer * len + k) * self.inner + at) * self.width;
                // SAFETY: a line is of one task alone.
                each(k, row, &mut unsafe { self.shared.part(first, run * self.width) });
            }
            row += run;
        }
    }
}

impl Layout {
    /// Numbers of an element.
    fn width(self) -> usize {
        1 + self.is_complex as usize
    }
}

/// Where the line that is `line` of the output begins in an input of other lengths; `None` outside of it.
fn place(line: usize, axis: usize, from: &Shape, to: &Shape) -> Option<usize> {
    let strides = from.strides();
    let (mut rest, mut at) = (line, 0);
    for other in (0..to.rank()).rev().filter(|other| *other != axis) {
        let index = rest % to[other];
        rest /= to[other];
        if index >= from[other] {
            return None;
        }
        at += index * strides[other];
    }
    Some(at)
}

/// Takes lines from an input.
fn load<T: Part>(
    pass: &Pass<T>,
    src: &[T],
    from: &Shape,
    to: &Shape,
    block: &Block<'_, '_, T>,
    planes: &mut Planes<'_, T>,
) {
    let (rows, width) = (block.rows, pass.from.width());
    let step = from.strides()[pass.axis];
    let half = pass.length / 2 + 1;
    let wanted = if pass.from.is_half { half } else { pass.length };
    let [re, im] = planes;
    // With the parts exchanged the transform is the one back.
    let (re, im) = if pass.is_back { (&mut **im, &mut **re) } else { (&mut **re, &mut **im) };
    for row in 0..rows {
        let start = place(block.first + row, pass.axis, from, to);
        let given = start.map_or(0, |_| wanted.min(from[pass.axis]));
        let start = start.unwrap_or(0);
        for k in 0..given {
            let number = &src[(start + k * step) * width..][..width];
            re[k * rows + row] = number[0];
            im[k * rows + row] = if width == 2 { number[1] } else { T::ZERO };
        }
        for k in given..wanted {
            (re[k * rows + row], im[k * rows + row]) = (T::ZERO, T::ZERO);
        }
        if pass.from.is_half {
            im[row] = T::ZERO;
            if pass.length.is_multiple_of(2) && half > 1 {
                im[(half - 1) * rows + row] = T::ZERO;
            }
            for k in half..pass.length {
                let mirrored = (pass.length - k) * rows + row;
                (re[k * rows + row], im[k * rows + row]) = (re[mirrored], -im[mirrored]);
            }
        }
    }
}

/// Puts lines of `len` elements where they belong.
fn store<T: Part>(pass: &Pass<T>, block: &Block<'_, '_, T>, len: usize, planes: &Planes<'_, T>) {
    let [re, im] = planes;
    let (re, im) = if pass.is_back { (im, re) } else { (re, im) };
    block.each(len, |k, row, numbers| {
        for (i, number) in numbers.chunks_exact_mut(block.width).enumerate() {
            let at = k * block.rows + row + i;
            number[0] = re[at] * pass.scale;
            if let Some(number) = number.get_mut(1) {
                *number = im[at] * pass.scale;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use tightfit_core::DType;

    fn run(kind: FourierKind, lengths: &[usize], from: &[usize], to: &[usize], src: &[f64]) -> Vec<f64> {
        let of = |is_complex: bool| if is_complex { DType::C128 } else { DType::F64 };
        let (from, to) = (Shape::new(from).unwrap(), Shape::new(to).unwrap());
        let from_type = of(kind != FourierKind::FromReal);
        let to_type = of(kind != FourierKind::ToReal);
        let src = TensorView::new(from_type, from, bytemuck::cast_slice(src)).unwrap();
        let mut results = Vec::new();
        for threads in [1, 3] {
            let pool = ThreadPool::new(threads).unwrap();
            let what = Fourier { kind, lengths };
            let mut scratch = vec![0f64; fourier_scratch_bytes(&what, &to, 8, threads) / 8];
            let mut out = vec![f64::NAN; to.elements() * to_type.bytes() / 8];
            let mut dst = TensorViewMut::new(to_type, to, bytemuck::cast_slice_mut(&mut out)).unwrap();
            fourier(&pool, &what, src, &mut dst, bytemuck::cast_slice_mut(&mut scratch)).unwrap();
            results.push(out);
        }
        assert_eq!(results[0], results[1], "one thread and three");
        results.remove(0)
    }

    fn near(a: &[f64], b: &[f64]) {
        assert_eq!(a.len(), b.len());
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12), "{a:?} is not {b:?}");
    }

    #[test]
    fn there_and_back() {
        let numbers: Vec<f64> = (0..2 * 2 * 3 * 5).map(|i| ((i * i) as f64).sin()).collect();
        let shape = [2, 3, 5];
        for lengths in [&[5][..], &[3, 5], &[2, 3, 5]] {
            let forward = run(FourierKind::Complex { is_inverse: false }, lengths, &shape, &shape, &numbers);
            let back = run(FourierKind::Complex { is_inverse: true }, lengths, &shape, &shape, &forward);
            near(&back, &numbers);
            let real = &numbers[..30];
            let half = run(FourierKind::FromReal, lengths, &shape, &[2, 3, 3], real);
            near(&run(FourierKind::ToReal, lengths, &[2, 3, 3], &shape, &half), real);
        }
    }

    #[test]
    fn known_transforms() {
        let half = run(FourierKind::FromReal, &[4], &[4], &[3], &[1.0, 2.0, 3.0, 4.0]);
        near(&half, &[10.0, 0.0, -2.0, 2.0, -2.0, 0.0]);
        // Cut to the length that is asked for.
        near(&run(FourierKind::FromReal, &[2], &[4], &[2], &[1.0, 2.0, 3.0, 4.0]), &[3.0, 0.0, -1.0, 0.0]);
        // Of the first and the middle number the imaginary part counts for nothing.
        near(&run(FourierKind::ToReal, &[2], &[2], &[2], &[3.0, 9.0, -1.0, 9.0]), &[1.0, 2.0]);
        let plane = run(FourierKind::FromReal, &[2, 2], &[2, 2], &[2, 2], &[1.0, 2.0, 3.0, 5.0]);
        near(&plane, &[11.0, 0.0, -3.0, 0.0, -5.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn shorter_lengths_need_no_more_than_is_said() {
        let of =
            |n: usize| Fourier { kind: FourierKind::Complex { is_inverse: false }, lengths: &[n] }.needs();
        let mut most = [0; 2];
        for n in 1..3000 {
            most = [0, 1].map(|i| most[i].max(of(n)[i]));
            let said = Fourier { kind: FourierKind::FromReal, lengths: &[n] }.needs_at_most();
            assert!(most[0] <= said[0] && most[1] <= said[1], "{n}: {most:?} and {said:?}");
        }
        // 37 needs more than 39, which is 3 times 13.
        assert!(of(37)[0] > of(39)[0]);
    }
}
