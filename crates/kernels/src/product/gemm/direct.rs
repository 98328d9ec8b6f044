//! A few rows of A times a row-major B where it stands. Packing pays only when each panel is used by many rows; a
//! dense layer at batch 1 reads B once, and does best to read it as the file has it.

use crate::base::simd::{Kernel, Simd};

use super::RawEpilogue;
use super::segment::Segment;
use super::tile::MAX_ROWS;

/// The most rows that are multiplied this way.
pub(crate) const MOST_ROWS: usize = 4;

/// Rows of B that are added to a sum while it is in a register.
const STEP: usize = 8;

/// Some columns of the product of up to [`MOST_ROWS`] rows. The pointers are to the first of the columns.
pub(crate) struct Direct {
    /// As in [`super::tile::Tile`].
    pub rows: *const *const f32,
    pub count: usize,
    pub segment: Segment,
    /// At any alignment.
    pub b: *const f32,
    pub b_stride: usize,
    /// `count` rows of `columns` floats.
    pub sums: *mut f32,
    pub out: *mut f32,
    pub out_stride: usize,
    pub columns: usize,
    pub first: bool,
    pub epilogue: RawEpilogue,
}

impl Kernel for Direct {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: whoever made this vouches for the pointers and counts.
        unsafe {
            match self.count {
                1 => self.compute::<S, 1>(s),
                2 => self.compute::<S, 2>(s),
                3 => self.compute::<S, 3>(s),
                _ => self.compute::<S, 4>(s),
            }
        }
    }
}

impl Direct {
    /// # Safety
    /// All pointers are valid for the counts, and there are `ROWS` rows.
    #[inline(always)]
    unsafe fn compute<S: Simd, const ROWS: usize>(&self, s: S) {
        // SAFETY: the caller vouches for the memory.
        unsafe {
            for r in 0..ROWS {
                let sums = self.sums.add(r * self.columns);
                if self.first {
                    std::ptr::write_bytes(sums, 0, self.columns);
                } else {
                    std::ptr::copy_nonoverlapping(self.out.add(r * self.out_stride), sums, self.columns);
                }
            }
            let mut b = self.b;
            for tap in 0..self.segment.taps {
                let mut a = [std::ptr::null(); ROWS];
                for (r, pointer) in a.iter_mut().enumerate() {
                    *pointer = *self.rows.add(tap * MAX_ROWS + r);
                }
                let mut k = 0;
                while k + STEP <= self.segment.len {
                    self.add_rows::<S, ROWS, STEP>(s, &a, k, b);
                    b = b.wrapping_add(STEP * self.b_stride);
                    k += STEP;
                }
                while k < self.segment.len {
                    self.add_rows::<S, ROWS, 1>(s, &a, k, b);
                    b = b.wrapping_add(self.b_stride);
                    k += 1;
                }
            }
            self.finish::<S, ROWS>(s);
        }
    }

    /// Adds `COUNT` rows of B, which start at `b`, times the elements from `k` on of each row of A.
    ///
    /// # Safety
    /// As [`Self::compute`].
    #[inline(always)]
    unsafe fn add_rows<S: Simd, const ROWS: usize, const COUNT: usize>(
        &self,
        s: S,
        a: &[*const f32; ROWS],
        k: usize,
        b: *const f32,
    ) {
        let mut factors = [[s.splat(0.0); COUNT]; ROWS];
        for (row, a) in factors.iter_mut().zip(a) {
            for (i, factor) in row.iter_mut().enumerate() {
                // SAFETY: the caller vouches for elements up to k + COUNT.
                *factor = s.splat(unsafe { *a.add(k + i) });
            }
        }
        let mut column = 0;
        while column < self.columns {
            let left = (self.columns - column).min(S::LANES);
            // SAFETY: `left` columns from `column` can be read in B, and read and written in the sums.
            unsafe {
                let mut vectors = [s.splat(0.0); COUNT];
                for (i, vector) in vectors.iter_mut().enumerate() {
                    let from = b.wrapping_add(i * self.b_stride + column);
                    *vector = if left == S::LANES { s.load(from) } else { s.load_partial(from, left) };
                }
                for (r, row) in factors.iter().enumerate() {
                    let at = self.sums.add(r * self.columns + column);
                    let mut sum = s.load_partial(at, left);
                    for (factor, vector) in row.iter().zip(vectors) {
                        sum = s.mul_add(*factor, vector, sum);
                    }
                    s.store_partial(at, sum, left);
                }
            }
            column += left;
        }
    }

    /// Scales, shifts, adds, clamps and stores.
    ///
    /// # Safety
    /// As [`Self::compute`].
    #[inline(always)]
    unsafe fn finish<S: Simd, const ROWS: usize>(&self, s: S) {
        for (r, column) in (0..ROWS).flat_map(|r| (0..self.columns).step_by(S::LANES).map(move |c| (r, c))) {
            let left = (self.columns - column).min(S::LANES);
            // SAFETY: `left` columns from `column` can be read and written in all of these.
            unsafe {
                let sum = s.load_partial(self.sums.add(r * self.columns + column), left);
                let at = [column, r * self.out_stride + column];
                self.epilogue.store(s, sum, at, left, self.out);
            }
        }
    }
}
