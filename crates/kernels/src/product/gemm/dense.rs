//! Neighbouring rows of A times a packed B, on the calling thread alone.

use super::RawEpilogue;
use super::band::Band;
use super::panels::PackedLayout;
use super::tile::{self, MAX_ROWS};
use crate::base::threads::share;

/// `m` rows of as many floats as `layout` has rows, one after the other, times a matrix of one group.
pub(crate) struct Dense {
    pub layout: PackedLayout,
    pub a: *const f32,
    pub m: usize,
    /// Packed by the layout.
    pub b: *const f32,
    /// `m` rows of the layout's columns, one after the other.
    pub out: *mut f32,
    pub epilogue: RawEpilogue,
}

impl Dense {
    /// Computes the product.
    ///
    /// # Safety
    /// The pointers are valid for these sizes, and nothing else uses the output.
    pub(crate) unsafe fn run(&self) {
        let (k, n) = (self.layout.k(), self.layout.n());
        let tiles = self.m.div_ceil(tile::max_rows(self.layout.isa()));
        for rows in (0..tiles).map(|number| share(self.m, tiles, number)) {
            let mut pointers = [std::ptr::null(); MAX_ROWS];
            for (pointer, row) in pointers.iter_mut().zip(rows.clone()) {
                *pointer = self.a.wrapping_add(row * k);
            }
            let first = rows.start * n;
            let band = Band {
                layout: self.layout,
                rows: pointers.as_ptr(),
                count: rows.len(),
                taps: 1,
                tap_len: k,
                zeros: std::ptr::null(),
                b: self.b.cast_mut(),
                source: None,
                out: self.out.wrapping_add(first),
                out_stride: n,
                first: true,
                epilogue: self.epilogue.starting_at(0, first),
            };
            // SAFETY: the caller vouches for the memory; of B, which is packed, nothing is written.
            unsafe { band.run(0..self.layout.panels()) };
        }
    }
}
