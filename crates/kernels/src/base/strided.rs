//! One copy for all movement: from a box of elements to another, each with a stride along every dimension, of either
//! sign or 0. Transposing, slicing, padding, tiling, broadcasting and reversing are choices of strides.

use tightfit_core::MAX_RANK;

use crate::base::access::split_range;
use crate::base::error::{KernelError, Result};
use crate::base::threads::ThreadPool;

/// Splitting each dimension of a tensor in two gives at most this many.
pub(crate) const MAX_DIMS: usize = 2 * MAX_RANK;

/// Elements a side of the squares that a transposition moves at a time: both sides stay in the first-level cache.
const TILE: usize = 16;

/// What one task transposes: so many elements along what is contiguous in the destination, by so many along what is in the
/// source. Whole runs of either are read and written before the next, as memory likes it.
const BLOCK: [usize; 2] = [64, 256];

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Dim {
    len: usize,
    /// Elements between neighbours in the source.
    from: isize,
    /// Elements between neighbours in the destination.
    to: isize,
}

/// A copy of a box of elements.
#[derive(Debug, Clone)]
pub(crate) struct StridedCopy {
    element_bytes: usize,
    rank: usize,
    dims: [Dim; MAX_DIMS],
    /// The first element's place in the source and in the destination.
    from: usize,
    to: usize,
}

impl StridedCopy {
    /// A copy of the element at `from` in the source to `to` in the destination, to which `dim` adds dimensions.
    pub fn new(element_bytes: usize, from: usize, to: usize) -> Self {
        StridedCopy { element_bytes, rank: 0, dims: [Dim::default(); MAX_DIMS], from, to }
    }

    /// Adds the next inner dimension: `len` times the copy so far, with these steps in source and destination.
    /// Merges it with the one before if both are stepped through as one.
    pub fn dim(&mut self, len: usize, from: isize, to: isize) {
        if len == 1 {
            return;
        }
        let new = Dim { len, from, to };
        if let Some(last) = self.rank.checked_sub(1).map(|r| &mut self.dims[r]) {
            let n = len as isize;
            if last.from == from * n && last.to == to * n {
                *last = Dim { len: last.len * len, ..new };
                return;
            }
        }
        self.dims[self.rank] = new;
        self.rank += 1;
    }

    /// Whether the box lies within memory of `elements`.
    fn fits(&self, start: usize, elements: usize, stride: impl Fn(&Dim) -> isize) -> bool {
        let (mut low, mut high) = (start as isize, start as isize);
        for dim in &self.dims[..self.rank] {
            let reach = stride(dim).saturating_mul(dim.len as isize - 1);
            low = low.saturating_add(reach.min(0));
            high = high.saturating_add(reach.max(0));
        }
        low >= 0 && (high as usize) < elements
    }

    /// Whether every element has a place of its own in the destination: each step is longer than all that is reached
    /// by shorter ones.
    fn is_apart(&self) -> bool {
        let mut dims = self.dims;
        let dims = &mut dims[..self.rank];
        dims.sort_unstable_by_key(|d| d.to.unsigned_abs());
        let mut reach = 0usize;
        dims.iter().all(|d| {
            let step = d.to.unsigned_abs();
            let is_longer = step > reach;
            reach = reach.saturating_add(step.saturating_mul(d.len - 1));
            is_longer
        })
    }

    /// Copies.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] if the box does not lie within `src` or `dst`, or if two elements may have the same
    /// place in the destination.
    pub fn run(mut self, pool: &ThreadPool, kernel: &'static str, src: &[u8], dst: &mut [u8]) -> Result<()> {
        if self.dims[..self.rank].iter().any(|d| d.len == 0) {
            return Ok(());
        }
        let size = self.element_bytes;
        if !self.fits(self.from, src.len() / size, |d| d.from)
            || !self.fits(self.to, dst.len() / size, |d| d.to)
        {
            return Err(KernelError::Invalid {
                kernel,
                rule: "what is copied lies within the input and the output",
            });
        }
        if !self.is_apart() {
            return Err(KernelError::Invalid {
                kernel,
                rule: "what is copied has places of its own in the output",
            });
        }
        self.widen();
        let end = Ends { src: src.as_ptr(), dst: dst.as_mut_ptr() };
        match self.element_bytes {
            1 => self.run_sized::<1>(pool, &end),
            2 => self.run_sized::<2>(pool, &end),
            4 => self.run_sized::<4>(pool, &end),
            8 => self.run_sized::<8>(pool, &end),
            16 => self.run_sized::<16>(pool, &end),
            _ => return Err(KernelError::Invalid { kernel, rule: "an element is 1, 2, 4, 8 or 16 bytes" }),
        }
        Ok(())
    }

    /// Takes short contiguous runs for larger elements.
    fn widen(&mut self) {
        let Some(last) = self.rank.checked_sub(1).map(|r| self.dims[r]) else { return };
        let n = last.len;
        let divides = |x: isize| x % n as isize == 0;
        let fits = last.from == 1
            && last.to == 1
            && matches!(n * self.element_bytes, 2 | 4 | 8 | 16)
            && self.from.is_multiple_of(n)
            && self.to.is_multiple_of(n)
            && self.dims[..self.rank - 1].iter().all(|d| divides(d.from) && divides(d.to));
        if fits {
            self.rank -= 1;
            self.element_bytes *= n;
            self.from /= n;
            self.to /= n;
            for dim in &mut self.dims[..self.rank] {
                dim.from /= n as isize;
                dim.to /= n as isize;
            }
        }
    }

    fn run_sized<const N: usize>(&self, pool: &ThreadPool, ends: &Ends) {
        let inner = if self.rank == 0 { Dim { len: 1, from: 1, to: 1 } } else { self.dims[self.rank - 1] };
        let mut outer = [Dim::default(); MAX_DIMS + 1];
        let mut rank = self.rank.saturating_sub(1);
        outer[..rank].copy_from_slice(&self.dims[..rank]);
        let swap = if inner.from.abs() > 1 && inner.to == 1 {
            (0..rank).find(|a| outer[*a].from == 1 && outer[*a].len > 1)
        } else {
            None
        };
        let mut across = Dim { len: 1, from: 0, to: 0 };
        if let Some(axis) = swap {
            across = outer[axis];
            outer.copy_within(axis + 1..rank, axis);
            rank -= 1;
        }
        // The blocks of a transposition, or the pieces of a long run, which threads share, are a last outer dimension of their own.
        let strips = if swap.is_some() { across.len.div_ceil(BLOCK[1]) } else { 1 };
        let piece = if swap.is_some() { BLOCK[0] } else { LONGEST_RUN };
        let pieces = inner.len.div_ceil(piece) * strips;
        let rows: usize = outer[..rank].iter().map(|d| d.len).product();
        let whole = inner.len;
        let cost = match swap {
            Some(_) => BLOCK[0].min(whole) * BLOCK[1].min(across.len),
            None => whole.min(LONGEST_RUN),
        };
        split_range(pool, rows * pieces, cost, &|first, count| {
            let mut position = Position::at(&outer[..rank], first / pieces);
            let mut at = first % pieces;
            let mut inner = inner;
            for _ in 0..count {
                let (mut from, mut to) = (self.from as isize + position.from, self.to as isize + position.to);
                let start = at / strips * piece;
                inner.len = piece.min(whole - start);
                from += start as isize * inner.from;
                to += start as isize * inner.to;
                if swap.is_some() {
                    let start = at % strips * BLOCK[1];
                    let part = Dim { len: BLOCK[1].min(across.len - start), ..across };
                    from += start as isize * across.from;
                    to += start as isize * across.to;
                    // SAFETY: `run` has checked that the whole box lies within both, and the tasks' parts are disjoint.
                    unsafe { ends.transpose::<N>(from, to, inner, part) };
                } else {
                    // SAFETY: as above.
                    unsafe { ends.row::<N>(from, to, inner) };
                }
                at += 1;
                if at == pieces {
                    at = 0;
                    position.advance(&outer[..rank]);
                }
            }
        });
    }
}

/// Elements of a run that one task copies at a time.
const LONGEST_RUN: usize = 1 << 16;

/// Where an odometer over dimensions stands.
struct Position {
    index: [usize; MAX_DIMS],
    from: isize,
    to: isize,
}

impl Position {
    fn at(dims: &[Dim], flat: usize) -> Self {
        let mut position = Position { index: [0; MAX_DIMS], from: 0, to: 0 };
        let mut left = flat;
        for (axis, dim) in dims.iter().enumerate().rev() {
            let index = left % dim.len;
            left /= dim.len;
            position.index[axis] = index;
            position.from += index as isize * dim.from;
            position.to += index as isize * dim.to;
        }
        position
    }

    fn advance(&mut self, dims: &[Dim]) {
        for (axis, dim) in dims.iter().enumerate().rev() {
            self.index[axis] += 1;
            self.from += dim.from;
            self.to += dim.to;
            if self.index[axis] < dim.len {
                return;
            }
            self.index[axis] = 0;
            self.from -= dim.from * dim.len as isize;
            self.to -= dim.to * dim.len as isize;
        }
    }
}

/// Both memories. Offsets and steps below are in elements of `N` bytes; elements are arrays of bytes, so that no
/// alignment is needed.
struct Ends {
    src: *const u8,
    dst: *mut u8,
}

// SAFETY: used only within `StridedCopy::run`, whose tasks read `src` and write disjoint parts of `dst`.
unsafe impl Sync for Ends {}

impl Ends {
    /// # Safety
    /// The `inner.len` elements from `from` and `to` on lie within the memories, and nobody else writes the latter.
    #[inline]
    unsafe fn row<const N: usize>(&self, from: isize, to: isize, inner: Dim) {
        // SAFETY: all offsets are those of elements in the row.
        unsafe {
            let src = self.src.cast::<[u8; N]>().offset(from);
            let dst = self.dst.cast::<[u8; N]>().offset(to);
            match (inner.from, inner.to) {
                (1, 1) => std::ptr::copy_nonoverlapping(src, dst, inner.len),
                (0, 1) => std::slice::from_raw_parts_mut(dst, inner.len).fill(*src),
                (from, to) => {
                    for i in 0..inner.len as isize {
                        *dst.offset(i * to) = *src.offset(i * from);
                    }
                }
            }
        }
    }

    /// Copies what is `inner` by `across`, the former contiguous in the destination, the latter in the source.
    ///
    /// # Safety
    /// As of `row`, for every place of `across`.
    #[inline]
    unsafe fn transpose<const N: usize>(&self, from: isize, to: isize, inner: Dim, across: Dim) {
        for first in (0..across.len).step_by(TILE) {
            let width = TILE.min(across.len - first);
            for start in (0..inner.len).step_by(TILE) {
                let len = TILE.min(inner.len - start);
                // SAFETY: all offsets are those of elements in the square.
                unsafe {
                    let src = self.src.cast::<[u8; N]>().offset(from + start as isize * inner.from);
                    let dst = self.dst.cast::<[u8; N]>().offset(to + start as isize);
                    let (src, dst) = (src.add(first), dst.offset(first as isize * across.to));
                    square(src, inner.from, dst, across.to, [len, width]);
                }
            }
        }
    }
}

/// Writes `len` elements, `from_step` apart in the source, next to each other, and so for each of `width` neighbours in the
/// source, `to_step` apart in the destination.
///
/// # Safety
/// All of these are valid to read and to write, and apart.
#[inline]
unsafe fn square<const N: usize>(
    src: *const [u8; N],
    from_step: isize,
    dst: *mut [u8; N],
    to_step: isize,
    [len, width]: [usize; 2],
) {
    let [whole, wide] = if N == size_of::<f32>() { [len / 4 * 4, width / 4 * 4] } else { [0, 0] };
    for a in (0..wide).step_by(4) {
        for i in (0..whole).step_by(4) {
            // SAFETY: four elements by four inside of what the caller promises.
            unsafe {
                let src = src.offset(i as isize * from_step).add(a).cast::<f32>();
                let dst = dst.offset(a as isize * to_step).add(i).cast::<f32>();
                four_by_four(src, from_step, dst, to_step);
            }
        }
    }
    for a in 0..width {
        let first = if a < wide { whole } else { 0 };
        for i in first..len {
            // SAFETY: an element of what the caller promises.
            unsafe { *dst.offset(a as isize * to_step).add(i) = *src.offset(i as isize * from_step).add(a) };
        }
    }
}

/// [`square`] of four elements by four, of four bytes each and at any alignment. All bits stay as they are.
///
/// # Safety
/// As there.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn four_by_four(src: *const f32, from_step: isize, dst: *mut f32, to_step: isize) {
    use std::arch::x86_64::{_MM_TRANSPOSE4_PS, _mm_loadu_ps, _mm_storeu_ps};
    // SAFETY: the caller's promise; every x86-64 has these instructions.
    unsafe {
        let row = |i: isize| _mm_loadu_ps(src.offset(i * from_step));
        let [mut a, mut b, mut c, mut d] = [row(0), row(1), row(2), row(3)];
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        for (to, row) in [a, b, c, d].into_iter().enumerate() {
            _mm_storeu_ps(dst.offset(to as isize * to_step), row);
        }
    }
}

/// The same without vectors.
///
/// # Safety
/// As there.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
unsafe fn four_by_four(src: *const f32, from_step: isize, dst: *mut f32, to_step: isize) {
    let (src, dst) = (src.cast::<[u8; 4]>(), dst.cast::<[u8; 4]>());
    for at in 0..16 {
        let (i, a) = (at / 4, at % 4);
        // SAFETY: the caller's promise.
        unsafe { *dst.offset(a * to_step + i) = *src.offset(i * from_step + a) };
    }
}
