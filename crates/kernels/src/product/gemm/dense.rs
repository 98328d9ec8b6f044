//! Neighbouring rows of A times a packed B, on the calling thread alone.

use super::RawEpilogue;
use super::panels::PackedLayout;
use super::tile::{self, MAX_ROWS, Tile};
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
        let (isa, k, n) = (self.layout.isa(), self.layout.k(), self.layout.n());
        let tiles = self.m.div_ceil(tile::max_rows(isa));
        for rows in (0..tiles).map(|number| share(self.m, tiles, number)) {
            let mut pointers = [std::ptr::null(); MAX_ROWS];
            for (pointer, row) in pointers.iter_mut().zip(rows.clone()) {
                *pointer = self.a.wrapping_add(row * k);
            }
            let first = rows.start * n;
            for panel in (0..self.layout.panels()).map(|number| self.layout.panel(number)) {
                let tile = Tile {
                    rows: pointers.as_ptr(),
                    taps: 1,
                    tap_len: k,
                    zeros: std::ptr::null(),
                    b: self.b.wrapping_add(panel.offset),
                    b_stride: panel.width,
                    b_copy: std::ptr::null_mut(),
                    out: self.out.wrapping_add(first + panel.first),
                    out_stride: n,
                    columns: panel.columns,
                    first: true,
                    epilogue: self.epilogue.starting_at(panel.first, first + panel.first),
                };
                // SAFETY: the layout was made for an available isa; the caller vouches for the memory.
                unsafe { tile::run(isa, rows.len(), panel.width, &tile) };
            }
            if let Some(activation) = self.epilogue.after {
                let to = self.out.wrapping_add(first);
                // SAFETY: these are the elements that the tiles have just written.
                unsafe { activation.apply_raw(isa, to, to, rows.len() * n) };
            }
        }
    }
}
