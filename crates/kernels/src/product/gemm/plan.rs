//! How a product is cut into tasks, and how much scratch that takes.

use std::ops::Range;

use crate::base::threads::share;

use super::direct;
use super::panels::PackedLayout;
use super::tile::{self, MAX_ROWS};

/// In which form B comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Packed.
    Packed,
    /// Rows of floats next to each other.
    RowMajor,
    /// Any other strides.
    Strided,
}

impl Form {
    /// The form of an unpacked B by the floats from one column to the next.
    pub(crate) fn of_column_stride(stride: usize) -> Form {
        if stride == 1 { Form::RowMajor } else { Form::Strided }
    }
}

/// A product, as far as its size and its cutting are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Problem {
    pub m: usize,
    /// Columns, and how panels of them are packed.
    pub layout: PackedLayout,
    /// What is summed up at once.
    pub k: usize,
    /// Taps that `k` consists of.
    pub taps: usize,
    pub instances: usize,
    pub form: Form,
    /// Floats that the left-hand side needs for copies of a tile's rows.
    pub copy_floats: usize,
    /// Whether it copies every row.
    pub copies_all: bool,
}

/// How a product is cut: tasks are (instance, block of columns, chunk of rows), the chunk running fastest, so that
/// neighbouring tasks share columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// Panels of the largest block; columns when B is used directly.
    pub block: usize,
    pub blocks: usize,
    pub chunks: usize,
    /// Panels of all blocks.
    panels: usize,
    /// Tiles of all chunks, and the rows of each.
    tiles: usize,
    rows: usize,
    /// Rows of all chunks.
    m: usize,
}

impl Cut {
    /// The panels of a block.
    pub(crate) fn panels(&self, block: usize) -> Range<usize> {
        share(self.panels, self.blocks, block)
    }

    /// The rows of a chunk.
    pub(crate) fn rows(&self, chunk: usize) -> Range<usize> {
        let tiles = share(self.tiles, self.chunks, chunk);
        tiles.start * self.rows..(tiles.end * self.rows).min(self.m)
    }
}

/// Bytes of panels that stay in a core's second-level cache while the rows of A pass by.
pub(crate) const PANELS_BYTES: usize = 448 << 10;

/// The least work that is worth a task of its own, in multiply-adds: a few microseconds.
const TASK_WORK: usize = 1 << 20;

/// Less work than this is not worth a second thread.
const LEAST_WORK: usize = TASK_WORK / 4;

/// The most columns of one direct task: their sums stay in a core's first-level cache.
const DIRECT_COLUMNS: usize = 4096;

/// Parts of scratch start at multiples of this.
pub(crate) const ALIGN: usize = 64;

impl Problem {
    /// Whether B is used where it stands.
    pub(crate) fn is_direct(&self) -> bool {
        self.form == Form::RowMajor && self.m <= direct::MOST_ROWS
    }

    /// How to cut it for this many threads.
    pub(crate) fn cut(&self, threads: usize) -> Cut {
        let m = self.m;
        if self.is_direct() {
            let n = self.layout.n().max(1);
            let most = DIRECT_COLUMNS / m.max(1);
            let block = n.div_ceil(2 * threads).next_multiple_of(64).min(most);
            return Cut { block, blocks: n.div_ceil(block), chunks: 1, panels: 0, tiles: 1, rows: m, m };
        }
        let rows = tile::max_rows(self.layout.isa());
        let panels = self.layout.panels().max(1);
        let panel_bytes = (4 * self.k * tile::width(self.layout.isa())).max(1);
        // Rows are copied once per block of panels, so there it is the panels that come from further away.
        let budget_bytes = if self.form == Form::Packed && self.copies_all { 4 } else { 1 } * PANELS_BYTES;
        let mut blocks = panels.div_ceil((budget_bytes / panel_bytes).max(1));
        let tiles = m.div_ceil(rows).max(1);
        let instances = self.instances.max(1);
        let work = [m, self.layout.n(), self.k.max(1)].iter().fold(instances, |w, d| w.saturating_mul(*d));
        // Several tasks per thread even out a thread that is late.
        let least = (work / LEAST_WORK).clamp(1, threads);
        let wanted = if threads == 1 { 1 } else { (work / TASK_WORK).clamp(least, threads * 6) };
        let blocks_wanted = wanted.next_multiple_of(least).div_ceil(instances);
        // Panels packed on the fly are packed once per chunk, so rows are cut only where columns give too little.
        let by_rows = (if self.form == Form::Packed { tiles / 2 } else { tiles / 8 }).max(1);
        let mut chunks = 1;
        if blocks < blocks_wanted {
            chunks = blocks_wanted.div_ceil(blocks).min(by_rows);
            // As many chunks for each thread, which finds its rows in its caches then.
            chunks -= if chunks > least { chunks % least } else { 0 };
            if blocks * chunks < blocks_wanted.min(2 * threads) {
                blocks = blocks.max(blocks_wanted.div_ceil(chunks).min(panels));
            }
        }
        // Threads that take as many tasks each end together.
        let is_even = |tasks: usize| (instances * tasks).is_multiple_of(least);
        if !is_even(blocks * chunks) {
            let more = |count: usize, other: usize, most: usize| {
                (count..count + least).find(|count| is_even(count * other)).filter(|count| *count <= most)
            };
            if let Some(even) = more(blocks, chunks, panels) {
                blocks = even;
            } else if let Some(even) = more(chunks, blocks, by_rows) {
                chunks = even;
            }
        }
        Cut { block: panels.div_ceil(blocks), blocks, chunks, panels, tiles, rows, m }
    }

    /// Bytes of one worker's pointers, copies, and panels (or sums). A smaller `k`, fewer columns and fewer rows never need
    /// more, so that what is enough for a full block, or for the largest matrix, is enough for any other.
    pub(crate) fn parts(&self, threads: usize) -> [usize; 3] {
        let panel_bytes = 4 * self.k * tile::width(self.layout.isa());
        let of_panels = panel_bytes.max(PANELS_BYTES).min(panel_bytes * self.layout.panels());
        let direct = |m: usize| 4 * m * Problem { m, ..*self }.cut(threads).block;
        let bytes = match self.form {
            Form::Packed => 0,
            Form::Strided => of_panels,
            Form::RowMajor => {
                let few_rows = (1..=self.m.min(direct::MOST_ROWS)).map(direct).max().unwrap_or(0);
                if self.is_direct() { few_rows } else { few_rows.max(of_panels) }
            }
        };
        [self.taps * MAX_ROWS * size_of::<*const f32>(), 4 * self.copy_floats, bytes]
            .map(|bytes| bytes.next_multiple_of(ALIGN))
    }

    /// Bytes of scratch for all workers, wherever it starts.
    pub(crate) fn scratch_bytes(&self, threads: usize) -> usize {
        threads.max(1) * self.parts(threads.max(1)).iter().sum::<usize>() + ALIGN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::cpu::Isa;

    /// A run whose sizes turn out smaller than was planned has the scratch that was planned.
    #[test]
    fn smaller_products_need_no_more_scratch() {
        for (k, n, threads) in [(6, 16, 1), (1, 300, 2), (100, 5000, 4)] {
            let bytes = |m: usize| {
                let layout = PackedLayout::new(Isa::Portable, k, n, 1).unwrap();
                let (form, instances) = (Form::RowMajor, 1);
                Problem { m, layout, k, taps: 1, instances, form, copy_floats: 0, copies_all: false }
                    .scratch_bytes(threads)
            };
            for m in 1..20 {
                assert!(bytes(m) <= bytes(m + 1), "{m} rows of {k} times {n}");
            }
        }
    }
}
