//! Cuts a product into tasks and tiles.

use crate::error::KernelError;
use crate::threads::{SharedPtr, ThreadPool};

use super::RawEpilogue;
use super::panels::{PackPanel, PackedLayout, pack};
use super::tile::{self, MAX_ROWS, Tile};

/// The part of k that is summed up at once: `taps` runs of `len` elements, each starting `offset` into its tap.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub first_tap: usize,
    pub taps: usize,
    pub offset: usize,
    pub len: usize,
}

impl Segment {
    /// Rows `first..first + count` of B, when a tap has `tap_len` of them: whole taps, or a part of one.
    pub(crate) fn new(tap_len: usize, first: usize, count: usize) -> Result<Segment, KernelError> {
        if count == 0 || tap_len == 0 {
            return Ok(Segment { first_tap: 0, taps: 0, offset: 0, len: 0 });
        }
        let (first_tap, offset) = (first / tap_len, first % tap_len);
        if offset == 0 && count.is_multiple_of(tap_len) {
            return Ok(Segment { first_tap, taps: count / tap_len, offset, len: tap_len });
        }
        if count > tap_len - offset {
            return Err(KernelError::Attribute("a block of rows must be whole taps, or within one tap"));
        }
        Ok(Segment { first_tap, taps: 1, offset, len: count })
    }

    fn k(&self) -> usize {
        self.taps * self.len
    }
}

/// Where an instance of a product (a group of a convolution, an element of a batch) starts, in floats.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Offsets {
    pub a: usize,
    pub b: usize,
    pub out: usize,
    /// Of scale and shift.
    pub channel: usize,
}

/// The left-hand side.
pub(crate) trait Rows: Sync {
    /// Floats of scratch that [`Self::fill`] needs for copies.
    fn copy_floats(&self) -> usize;

    /// Where instance `number` starts.
    fn offsets(&self, number: usize) -> Offsets;

    /// Writes to `pointers[tap · MAX_ROWS + row]`, for each tap of `segment` and each of `count` rows from
    /// `first_row`, where that run of A begins, for an instance that starts at `a` floats.
    ///
    /// # Safety
    /// `pointers` has room for `segment.taps · MAX_ROWS`, `copies` for [`Self::copy_floats`].
    unsafe fn fill(
        &self,
        a: usize,
        first_row: usize,
        count: usize,
        segment: Segment,
        pointers: *mut *const f32,
        copies: *mut f32,
    );
}

/// The right-hand side.
#[derive(Clone, Copy)]
pub(crate) enum RightHand {
    /// Packed by the layout.
    Packed(*const f32),
    /// Any strides, in floats; any alignment.
    Strided { start: *const f32, row_stride: usize, column_stride: usize },
}

/// A product, or a batch of them, ready to run.
pub(crate) struct Gemm<'a, R> {
    pub rows: &'a R,
    pub m: usize,
    /// Columns, and how B is packed. Its k is that of the whole product when B comes packed; otherwise the segment's.
    pub layout: PackedLayout,
    pub instances: usize,
    pub segment: Segment,
    pub b: RightHand,
    pub out: *mut f32,
    pub out_stride: usize,
    /// Whether the sums start at 0, or at what the output holds.
    pub first: bool,
    pub epilogue: RawEpilogue,
}

/// How a product is cut: tasks are (instance, block of panels, chunk of rows), the chunk running fastest, so that
/// neighbouring tasks share panels.
#[derive(Debug, Clone, Copy)]
struct Blocking {
    panels: usize,
    panels_per_block: usize,
    blocks: usize,
    rows_per_chunk: usize,
    chunks: usize,
}

/// Bytes of panels that stay in a core's second-level cache while the rows of A pass by.
const PANELS_BYTES: usize = 448 << 10;

/// The least work that is worth a task of its own, in multiply-adds: a few microseconds.
const TASK_WORK: usize = 1 << 20;

fn blocking(
    layout: &PackedLayout,
    m: usize,
    k: usize,
    instances: usize,
    packed: bool,
    threads: usize,
) -> Blocking {
    let rows = tile::max_rows(layout.isa());
    let width = tile::width(layout.isa());
    let panels = layout.panels().max(1);
    let panel_bytes = (4 * k * width).max(1);
    let mut per_block = (PANELS_BYTES / panel_bytes).clamp(1, panels);
    let tiles = m.div_ceil(rows).max(1);
    let work = m.saturating_mul(layout.n()).saturating_mul(k.max(1)).saturating_mul(instances);
    // Several tasks per thread even out a thread that is late.
    let wanted = if threads == 1 { 1 } else { (work / TASK_WORK).clamp(1, threads * 6) };
    let blocks_wanted = wanted.div_ceil(instances);
    let mut chunks = 1;
    if panels.div_ceil(per_block) < blocks_wanted {
        // Panels packed on the fly are packed once per chunk, so there rows are cut only when columns give too little.
        let by_rows = if packed { tiles / 2 } else { tiles / 8 };
        chunks = blocks_wanted.div_ceil(panels.div_ceil(per_block)).min(by_rows.max(1));
        if panels.div_ceil(per_block) * chunks < blocks_wanted {
            per_block = panels.div_ceil(blocks_wanted.div_ceil(chunks)).max(1);
        }
    }
    let blocks = panels.div_ceil(per_block);
    let panels_per_block = panels.div_ceil(blocks);
    let rows_per_chunk = tiles.div_ceil(chunks) * rows;
    Blocking {
        panels,
        panels_per_block,
        blocks: panels.div_ceil(panels_per_block),
        rows_per_chunk,
        chunks: m.div_ceil(rows_per_chunk).max(1),
    }
}

/// Scratch of one product, by worker.
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    start: SharedPtr<u8>,
    worker_bytes: usize,
    pointer_bytes: usize,
    copy_bytes: usize,
}

impl Scratch {
    /// Cuts `floats` zeros off the front of `scratch`, aligned; they take up to 64 bytes more.
    pub(crate) fn take_zeros(scratch: &mut [u8], floats: usize) -> Result<(&[f32], &mut [u8]), KernelError> {
        let given_bytes = scratch.len();
        let skip = scratch.as_ptr().align_offset(ALIGN).min(ALIGN);
        let needed_bytes = skip + 4 * floats;
        let Some((front, rest)) = scratch.split_at_mut_checked(needed_bytes) else {
            return Err(KernelError::Scratch { needed_bytes, given_bytes });
        };
        let front = &mut front[skip..];
        front.fill(0);
        let zeros = bytemuck::try_cast_slice(front)
            .map_err(|_| KernelError::Attribute("the scratch memory cannot be aligned"))?;
        Ok((zeros, rest))
    }
}

/// Parts of scratch start at multiples of this.
const ALIGN: usize = 64;

/// How much scratch a product needs: `shared_floats` common to all workers, and per worker the pointers of `taps`
/// taps, `copy_floats`, and panels when B comes unpacked.
#[allow(clippy::too_many_arguments)]
pub(crate) fn scratch_bytes(
    layout: &PackedLayout,
    m: usize,
    k: usize,
    instances: usize,
    taps: usize,
    copy_floats: usize,
    packed: bool,
    threads: usize,
) -> usize {
    let parts = parts(layout, m, k, instances, taps, copy_floats, packed, threads);
    threads.max(1) * parts.iter().sum::<usize>() + ALIGN
}

/// Bytes of one worker's pointers, copies and panels.
#[allow(clippy::too_many_arguments)]
fn parts(
    layout: &PackedLayout,
    m: usize,
    k: usize,
    instances: usize,
    taps: usize,
    copy_floats: usize,
    packed: bool,
    threads: usize,
) -> [usize; 3] {
    let width = tile::width(layout.isa());
    let panel_floats = if packed {
        0
    } else {
        k * width * blocking(layout, m, k, instances, packed, threads).panels_per_block
    };
    [
        (taps * MAX_ROWS * size_of::<*const f32>()).next_multiple_of(ALIGN),
        (4 * copy_floats).next_multiple_of(ALIGN),
        (4 * panel_floats).next_multiple_of(ALIGN),
    ]
}

impl<R: Rows> Gemm<'_, R> {
    fn packed(&self) -> bool {
        matches!(self.b, RightHand::Packed(_))
    }

    /// Cuts `scratch` up for the workers.
    pub(crate) fn scratch(&self, threads: usize, scratch: &mut [u8]) -> Result<Scratch, KernelError> {
        let parts = parts(
            &self.layout,
            self.m,
            self.segment.k(),
            self.instances,
            self.segment.taps,
            self.rows.copy_floats(),
            self.packed(),
            threads,
        );
        let worker_bytes = parts.iter().sum::<usize>();
        let needed_bytes = worker_bytes * threads + ALIGN;
        if scratch.len() < needed_bytes {
            return Err(KernelError::Scratch { needed_bytes, given_bytes: scratch.len() });
        }
        let start = scratch.as_mut_ptr();
        let skip = start.align_offset(ALIGN).min(ALIGN);
        Ok(Scratch {
            start: SharedPtr::new(start.wrapping_add(skip)),
            worker_bytes,
            pointer_bytes: parts[0],
            copy_bytes: parts[1],
        })
    }

    /// Computes the product.
    ///
    /// # Safety
    /// The pointers in `self` are valid for the sizes in it, nothing else uses the output, and `scratch` was made by
    /// [`Self::scratch`] for `pool`'s threads.
    pub(crate) unsafe fn run(&self, pool: &ThreadPool, scratch: Scratch) {
        if self.m == 0 || self.layout.n() == 0 || self.instances == 0 {
            return;
        }
        let cut =
            blocking(&self.layout, self.m, self.segment.k(), self.instances, self.packed(), pool.threads());
        let shared = SharedPtr::new(std::ptr::from_ref(self).cast_mut());
        pool.run(self.instances * cut.blocks * cut.chunks, &|task, worker| {
            let (chunk, rest) = (task % cut.chunks, task / cut.chunks);
            let (block, instance) = (rest % cut.blocks, rest / cut.blocks);
            let start = scratch.start.get().wrapping_add(worker * scratch.worker_bytes);
            // SAFETY: tasks write disjoint tiles of the output, each worker has its own scratch, and the caller
            // vouches for the rest.
            unsafe { (*shared.get()).task(&cut, scratch, start, instance, block, chunk) }
        });
    }

    /// # Safety
    /// As [`Self::run`]; `start` is the worker's own part of the scratch.
    unsafe fn task(
        &self,
        cut: &Blocking,
        scratch: Scratch,
        start: *mut u8,
        instance: usize,
        block: usize,
        chunk: usize,
    ) {
        let offsets = self.rows.offsets(instance);
        let pointers = start.cast::<*const f32>();
        let copies = start.wrapping_add(scratch.pointer_bytes).cast::<f32>();
        let packed = start.wrapping_add(scratch.pointer_bytes + scratch.copy_bytes).cast::<f32>();
        let panels = block * cut.panels_per_block..((block + 1) * cut.panels_per_block).min(cut.panels);
        // SAFETY: the caller vouches for the memory.
        let b = unsafe { self.panels(panels.clone(), offsets, packed) };
        let first_row = chunk * cut.rows_per_chunk;
        let rows = cut.rows_per_chunk.min(self.m - first_row);
        // Tiles of nearly the same height waste less than full ones and a low last one.
        let tiles = rows.div_ceil(tile::max_rows(self.layout.isa()));
        let mut done = 0;
        for number in 0..tiles {
            let count = (rows - done).div_ceil(tiles - number);
            // SAFETY: as above.
            unsafe {
                self.rows.fill(offsets.a, first_row + done, count, self.segment, pointers, copies);
                self.tiles(panels.clone(), b, pointers, offsets, first_row + done, count);
            }
            done += count;
        }
    }

    /// Where the panels lie such that panel p starts at the result plus its offset; packs them if they are not.
    ///
    /// # Safety
    /// As [`Self::run`]; `to` has room for the panels.
    unsafe fn panels(&self, panels: std::ops::Range<usize>, offsets: Offsets, to: *mut f32) -> *const f32 {
        match self.b {
            RightHand::Packed(start) => start.wrapping_add(offsets.b),
            RightHand::Strided { start, row_stride, column_stride } => {
                let base = self.layout.panel(panels.start).offset;
                for number in panels {
                    let panel = self.layout.panel(number);
                    // SAFETY: the caller vouches for the memory.
                    unsafe {
                        pack(
                            self.layout.isa(),
                            PackPanel {
                                to: to.add(panel.offset - base),
                                width: panel.width,
                                columns: panel.columns,
                                from: start.wrapping_add(offsets.b + panel.first * column_stride),
                                rows: self.segment.k(),
                                row_stride,
                                column_stride,
                            },
                        );
                    }
                }
                to.wrapping_sub(base)
            }
        }
    }

    /// All tiles of `count` rows.
    ///
    /// # Safety
    /// As [`Self::run`]; `pointers` has been filled for these rows.
    unsafe fn tiles(
        &self,
        panels: std::ops::Range<usize>,
        b: *const f32,
        pointers: *const *const f32,
        offsets: Offsets,
        first_row: usize,
        count: usize,
    ) {
        let e = &self.epilogue;
        let isa = self.layout.isa();
        let at = |pointer: *const f32, offset: usize| {
            if pointer.is_null() { pointer } else { pointer.wrapping_add(offset) }
        };
        let row = offsets.out + first_row * self.out_stride;
        let columns = panels.clone();
        for number in panels {
            let panel = self.layout.panel(number);
            let out = row + panel.first;
            let tile = Tile {
                rows: pointers,
                taps: self.segment.taps,
                tap_len: self.segment.len,
                b: b.wrapping_add(panel.offset),
                b_stride: panel.width,
                out: self.out.wrapping_add(out),
                out_stride: self.out_stride,
                columns: panel.columns,
                first: self.first,
                scale: at(e.scale, offsets.channel + panel.first),
                shift: at(e.shift, offsets.channel + panel.first),
                residual: at(e.residual, out),
                min: e.min,
                max: e.max,
            };
            // SAFETY: the layout was made for an available isa; the caller vouches for the memory.
            unsafe { tile::select(isa, count, panel.width)(&tile) };
        }
        if let Some(activation) = e.after {
            let (first, last) = (self.layout.panel(columns.start), self.layout.panel(columns.end - 1));
            for r in 0..count {
                let to = self.out.wrapping_add(row + r * self.out_stride + first.first);
                // SAFETY: these are the elements that the tiles have just written.
                unsafe { activation.apply_raw(isa, to, to, last.first + last.columns - first.first) };
            }
        }
    }
}
