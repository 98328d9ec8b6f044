//! A few rows of A times panels of B: the tiles of a band of the output.

use std::ops::Range;

use super::RawEpilogue;
use super::panels::{PackedLayout, Panel};
use super::tile::{self, Tile};

/// As many rows as a tile has at most, and all of their outputs.
pub(crate) struct Band {
    pub layout: PackedLayout,
    /// As in [`Tile`].
    pub rows: *const *const f32,
    /// How many rows.
    pub count: usize,
    pub taps: usize,
    pub tap_len: usize,
    pub zeros: *const f32,
    /// Where the panels lie: each at its offset from here.
    pub b: *mut f32,
    /// Where B begins, and the floats from one row to the next, if full panels are packed as they are read.
    pub source: Option<(*const f32, usize)>,
    /// The first row's first column.
    pub out: *mut f32,
    pub out_stride: usize,
    pub first: bool,
    /// Its channels are the layout's columns, its residual starts at `out`.
    pub epilogue: RawEpilogue,
}

impl Band {
    /// Computes the columns of some panels.
    ///
    /// # Safety
    /// The pointers are valid for the counts, the panels are packed or have a source, and nothing else uses the output.
    pub unsafe fn run(&self, panels: Range<usize>) {
        let isa = self.layout.isa();
        let first = self.layout.panel(panels.start);
        let last = self.layout.panel(panels.end - 1);
        let has_partial = last.columns < tile::width(isa);
        let full = panels.len() - usize::from(has_partial);
        let packed = |panel: &Panel| self.b.wrapping_add(panel.offset);
        if full > 0 {
            let (b, b_stride, b_panel, b_copy) = match self.source {
                Some((start, stride)) => {
                    (start.wrapping_add(first.first), stride, first.width, packed(&first))
                }
                None => {
                    let floats = self.layout.k() * first.width;
                    (packed(&first).cast_const(), first.width, floats, std::ptr::null_mut())
                }
            };
            let tile = Tile { panels: full, b_panel, b_copy, ..self.tile(&first, b, b_stride) };
            // SAFETY: the layout was made for an available isa; the caller vouches for the memory.
            unsafe { tile::run(isa, self.count, first.width, &tile) };
        }
        if has_partial {
            let tile = self.tile(&last, packed(&last), last.width);
            // SAFETY: as above.
            unsafe { tile::run(isa, self.count, last.width, &tile) };
        }
        if self.epilogue.after.is_none() {
            return;
        }
        let len = last.first + last.columns - first.first;
        // Rows without a gap between them are one piece.
        let (pieces, len) = if len == self.out_stride { (1, self.count * len) } else { (self.count, len) };
        for piece in 0..pieces {
            let to = self.out.wrapping_add(piece * self.out_stride + first.first);
            // SAFETY: these are the elements that the tiles have just written.
            unsafe { self.epilogue.finish(isa, to, len) };
        }
    }

    /// The tile of one panel, which is packed, with its rows at `b`.
    fn tile(&self, panel: &Panel, b: *const f32, b_stride: usize) -> Tile {
        Tile {
            panels: 1,
            rows: self.rows,
            taps: self.taps,
            tap_len: self.tap_len,
            zeros: self.zeros,
            b,
            b_stride,
            b_panel: 0,
            b_copy: std::ptr::null_mut(),
            out: self.out.wrapping_add(panel.first),
            out_stride: self.out_stride,
            columns: panel.columns,
            first: self.first,
            epilogue: self.epilogue.starting_at(panel.first, panel.first),
        }
    }
}
