//! How a convolution by the way of Winograd is cut into tasks, how much scratch that takes, and whether it pays.

use super::transform::{CELLS, PLACES, TAPS};
use crate::product::gemm::{ALIGN, PackedLayout, tile_width};

/// What the predicted time follows from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Images or planes.
    pub images: usize,
    /// Patches, and pixels of the output, of each.
    pub image_patches: usize,
    pub pixels: usize,
    /// Input channels.
    pub channels: usize,
    /// How the filter is packed: its columns are the output channels.
    pub layout: PackedLayout,
}

/// How the work is cut: tasks are (block of patches, block of panels).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::product::conv2d) struct Cut {
    /// Blocks of patches.
    pub blocks: usize,
    /// Blocks of panels.
    pub sides: usize,
    /// Patches, and panels, of the largest task.
    pub patches: usize,
    pub panels: usize,
    /// Input channels that patches and filters are transformed for at once.
    pub depth: usize,
}

/// Bytes of scratch that a worker may have at most: part of it passes through a second-level cache.
const WORKER_BYTES: usize = 1 << 20;

/// The most input channels at once.
const MOST_DEPTH: usize = 80;

/// The most patches of a task. More would not fall on their filter's transform any more.
const MOST_PATCHES: usize = 60;

/// With scratch for fewer patches the direct way is taken: filters would be transformed too often.
const LEAST_PATCHES: usize = 8;

/// Cycles as measured on an AVX2 processor (Zen 3): for a patch, input channel and output channel ...
const PRODUCT: f64 = 2.8;
/// ... to transform a patch's input channel ...
const INPUT: f64 = 16.0;
/// ... a filter ...
const FILTER: f64 = 8.0;
/// ... or a patch's output channel ...
const OUTPUT: f64 = 20.0;
/// ... to add to a patch's sums of an output channel in memory ...
const SUM: f64 = 2.0;
/// ... and the direct way for a pixel, input channel and output channel.
const DIRECT: f64 = 0.6;

/// Rows of a tile that leave the processor no time to spare.
const LEAST_ROWS: f64 = 4.0;

/// It has to be so much faster to be taken: 7x7 pixels of 512 channels are at 0.7.
const LEAST_GAIN: f64 = 0.8;

/// Floats from one place to the next: an odd number of cache lines, so that places do not fall on the same few sets of a cache.
pub(super) fn pitch(floats: usize) -> usize {
    let lines = floats.div_ceil(16);
    16 * (lines + 1 - lines % 2)
}

impl Cut {
    /// Bytes of a worker's transformed patches, transformed filters, sums, and squares of cells and of taps.
    pub(super) fn parts(&self, width: usize) -> [usize; 5] {
        [
            PLACES * pitch(self.patches * self.depth),
            PLACES * pitch(self.depth * width),
            self.panels * PLACES * pitch(self.patches * width),
            self.patches * CELLS,
            self.panels * TAPS * width,
        ]
        .map(|floats| (4 * floats).next_multiple_of(ALIGN))
    }
}

impl Size {
    fn width(&self) -> usize {
        tile_width(self.layout.isa())
    }

    /// Patches of all images.
    pub(super) fn patches(&self) -> usize {
        self.images * self.image_patches
    }

    /// Whether it is predicted to be faster than the direct way, for one image. As the two ways round differently, neither the
    /// number of images nor that of threads changes it.
    pub(super) fn pays(&self) -> bool {
        let (channels, columns) = (self.channels as f64, self.layout.n() as f64);
        let patches = self.image_patches as f64;
        let blocks = (patches / 32.0).max(1.0);
        let own = patches * (PRODUCT + INPUT / columns + OUTPUT / channels) + blocks * FILTER;
        own < LEAST_GAIN * DIRECT * self.pixels as f64
    }

    /// Input channels at once, when they are cut into so many parts of nearly the same size.
    fn depth(&self, parts: usize) -> usize {
        self.channels.div_ceil(parts).next_multiple_of(8).min(self.channels)
    }

    /// Predicted cycles.
    fn cost(&self, cut: &Cut, threads: usize) -> f64 {
        let (channels, patches) = (self.channels as f64, cut.patches as f64);
        let columns = (cut.panels * self.width()).min(self.layout.n()) as f64;
        let passes = self.channels.div_ceil(cut.depth) as f64;
        // A tile of fewer rows takes as long.
        let task = channels * columns * (patches.max(LEAST_ROWS) * PRODUCT + FILTER)
            + patches * (channels * INPUT + columns * (OUTPUT + passes * SUM));
        (cut.blocks * cut.sides).div_ceil(threads) as f64 * task
    }

    /// Floats of a worker's scratch, and more for each patch of a task, with so many panels and channels at once: at most.
    fn floats(&self, panels: usize, depth: usize) -> (usize, usize) {
        let width = self.width();
        // A place takes up to 31 floats more, and a part up to a line.
        let fixed = PLACES * (pitch(depth * width) + 31 * (panels + 1)) + panels * TAPS * width + 48;
        (fixed, PLACES * (depth + panels * width) + CELLS)
    }

    /// The most patches of a task that so many bytes have room for.
    fn most_patches(&self, panels: usize, depth: usize, worker_bytes: usize) -> usize {
        let (fixed, each) = self.floats(panels, depth);
        ((worker_bytes / 4).saturating_sub(fixed) / each).min(self.patches()).min(MOST_PATCHES)
    }

    /// The fastest way to cut it for so many threads and bytes of scratch, if those are enough.
    pub(super) fn cut(&self, threads: usize, bytes: usize) -> Option<Cut> {
        let worker_bytes = (bytes.checked_sub(ALIGN)? / threads).min(WORKER_BYTES);
        let (all, parts) = (self.layout.panels(), self.channels.div_ceil(MOST_DEPTH));
        let ways =
            [parts, 2 * parts].into_iter().flat_map(|parts| (1..=all).map(move |sides| (parts, sides)));
        let cuts = ways.flat_map(|(parts, sides)| {
            let (panels, depth) = (all.div_ceil(sides), self.depth(parts));
            let most = self.most_patches(panels, depth, worker_bytes);
            let is_enough = most >= LEAST_PATCHES.min(self.patches()) && most > 0;
            let least = if is_enough { self.patches().div_ceil(most) } else { usize::MAX };
            // As many tasks for each thread, if there are patches for more blocks.
            let end = least.saturating_add(threads).min(self.patches().saturating_add(1));
            (least..end).map(move |blocks| Cut {
                blocks,
                sides,
                patches: self.patches().div_ceil(blocks),
                panels,
                depth,
            })
        });
        cuts.min_by(|a, b| self.cost(a, threads).total_cmp(&self.cost(b, threads)))
    }

    /// The most bytes of scratch that are of use.
    pub(super) fn most_bytes(&self, threads: usize) -> usize {
        self.cut(threads, threads * WORKER_BYTES + ALIGN).map_or(0, |cut| {
            let (fixed, each) = self.floats(cut.panels, cut.depth);
            let patches = cut.patches.max(LEAST_PATCHES.min(self.patches()));
            threads * (4 * (fixed + each * patches)).next_multiple_of(ALIGN) + ALIGN
        })
    }
}
