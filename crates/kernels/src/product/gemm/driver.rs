//! Runs a product: tasks, and the tiles of each.

use std::ops::Range;

use tightfit_core::{Part, Shared};

use crate::base::error::KernelError;
use crate::base::simd::dispatch;
use crate::base::threads::ThreadPool;

use super::RawEpilogue;
use super::band::Band;
use super::direct::Direct;
use super::panels::{PackPanel, PackedLayout, pack};
use super::plan::{ALIGN, Cut, Form, Problem};
use super::segment::Segment;
use super::tile;

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
pub(crate) trait LeftHand: Sync {
    /// Floats of scratch that [`Self::fill`] needs for copies.
    fn copy_floats(&self) -> usize;

    /// Whether [`Self::fill`] copies every row, so that it should not be called for each few panels.
    fn copies_all(&self) -> bool;

    /// Where [`Self::fill`] leads to for runs of A that are nothing but zeros around an image; null where there are none.
    fn zeros(&self) -> *const f32 {
        std::ptr::null()
    }

    /// How many rows from the first one on belong together: tiles that reach over them into others would multiply more zeros.
    fn alike(&self, _first_row: usize) -> usize {
        usize::MAX
    }

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
    /// Columns, and how panels of them are packed: for a k of the segment's.
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

/// Scratch of one product, by worker.
pub(crate) struct Scratch<'s> {
    memory: Shared<'s, u8>,
    parts: [usize; 3],
}

impl<'s> Scratch<'s> {
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

    /// One worker's scratch.
    ///
    /// # Safety
    /// The worker has one task at a time.
    unsafe fn of(&self, worker: usize) -> Part<'_, u8> {
        let bytes = self.parts.iter().sum::<usize>();
        // SAFETY: workers have parts of their own, and the caller vouches for one use of each.
        unsafe { self.memory.part(worker * bytes, bytes) }
    }

    /// Pointers, copies, and panels (or sums) in a worker's scratch.
    fn cut(&self, part: &mut Part<'_, u8>) -> WorkerMemory {
        let start = part.as_mut_ptr();
        let copies = start.wrapping_add(self.parts[0]);
        let panels = copies.wrapping_add(self.parts[1]);
        (start.cast(), copies.cast(), panels.cast())
    }
}

/// Pointers, copies, and panels (or sums) of one worker.
type WorkerMemory = (*mut *const f32, *mut f32, *mut f32);

// SAFETY: the caller of `run` vouches for the pointers, and tasks write disjoint tiles of the output.
unsafe impl<R: LeftHand> Sync for Gemm<'_, R> {}

impl<R: LeftHand> Gemm<'_, R> {
    fn problem(&self) -> Problem {
        Problem {
            m: self.m,
            layout: self.layout,
            k: self.segment.k(),
            taps: self.segment.taps,
            instances: self.instances,
            form: match self.b {
                RightHand::Packed(_) => Form::Packed,
                RightHand::Strided { column_stride, .. } => Form::of_column_stride(column_stride),
            },
            copy_floats: self.rows.copy_floats(),
            copies_all: self.rows.copies_all(),
        }
    }

    /// Cuts `scratch` up for the workers.
    pub(crate) fn scratch<'s>(
        &self,
        threads: usize,
        scratch: &'s mut [u8],
    ) -> Result<Scratch<'s>, KernelError> {
        let problem = self.problem();
        let needed_bytes = problem.scratch_bytes(threads);
        if scratch.len() < needed_bytes {
            return Err(KernelError::Scratch { needed_bytes, given_bytes: scratch.len() });
        }
        let skip = scratch.as_ptr().align_offset(ALIGN).min(scratch.len());
        Ok(Scratch { memory: Shared::new(&mut scratch[skip..]), parts: problem.parts(threads) })
    }

    /// Computes the product.
    ///
    /// # Safety
    /// The pointers in `self` are valid for the sizes in it, nothing else uses the output, and `scratch` was made by
    /// [`Self::scratch`] for `pool`'s threads.
    pub(crate) unsafe fn run(&self, pool: &ThreadPool, scratch: &Scratch<'_>) {
        if self.m == 0 || self.layout.n() == 0 || self.instances == 0 {
            return;
        }
        let problem = self.problem();
        let cut = problem.cut(pool.threads());
        let is_direct = problem.is_direct();
        pool.run(self.instances * cut.blocks * cut.chunks, &|task, worker| {
            let (chunk, rest) = (task % cut.chunks, task / cut.chunks);
            let (block, instance) = (rest % cut.blocks, rest / cut.blocks);
            // SAFETY: tasks write disjoint tiles of the output, each worker has its own scratch, and the caller
            // vouches for the rest.
            unsafe {
                let mut part = scratch.of(worker);
                let memory = scratch.cut(&mut part);
                if is_direct {
                    self.direct_task(&cut, memory, instance, block);
                } else {
                    self.task(&cut, memory, instance, block, chunk);
                }
            }
        });
    }

    /// A block of columns of a few rows, with B where it stands.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn direct_task(&self, cut: &Cut, memory: WorkerMemory, instance: usize, block: usize) {
        let RightHand::Strided { start, row_stride, .. } = self.b else { return };
        let offsets = self.rows.offsets(instance);
        let (pointers, copies, sums) = memory;
        let first = block * cut.block;
        let columns = cut.block.min(self.layout.n() - first);
        let out = offsets.out + first;
        let epilogue = self.epilogue.starting_at(offsets.channel + first, out);
        // SAFETY: the caller vouches for the memory.
        unsafe { self.rows.fill(offsets.a, 0, self.m, self.segment, pointers, copies) };
        dispatch(
            self.layout.isa(),
            Direct {
                rows: pointers,
                count: self.m,
                segment: self.segment,
                b: start.wrapping_add(offsets.b + first),
                b_stride: row_stride,
                sums,
                out: self.out.wrapping_add(out),
                out_stride: self.out_stride,
                columns,
                first: self.first,
                epilogue,
            },
        );
        for r in 0..self.m {
            let to = self.out.wrapping_add(out + r * self.out_stride);
            // SAFETY: these elements have just been written.
            unsafe { epilogue.finish(self.layout.isa(), to, columns) };
        }
    }

    /// A block of panels of a chunk of rows.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn task(&self, cut: &Cut, memory: WorkerMemory, instance: usize, block: usize, chunk: usize) {
        let offsets = self.rows.offsets(instance);
        let (pointers, copies, packed) = memory;
        let panels = cut.panels(block);
        // SAFETY: the caller vouches for the memory.
        let b = unsafe { self.panels(panels.clone(), offsets, packed) };
        let mut source = self.packed_on_the_way(offsets);
        let Range { start: first_row, end } = cut.rows(chunk);
        let rows = end - first_row;
        let mut done = 0;
        while done < rows {
            let alike = self.rows.alike(first_row + done).min(rows - done);
            for count in tile::heights(self.layout.isa(), alike) {
                let out = offsets.out + (first_row + done) * self.out_stride;
                let band = Band {
                    layout: self.layout,
                    rows: pointers,
                    count,
                    taps: self.segment.taps,
                    tap_len: self.segment.len,
                    zeros: self.rows.zeros(),
                    b,
                    source,
                    out: self.out.wrapping_add(out),
                    out_stride: self.out_stride,
                    first: self.first,
                    epilogue: self.epilogue.starting_at(offsets.channel, out),
                };
                // SAFETY: as above.
                unsafe {
                    self.rows.fill(offsets.a, first_row + done, count, self.segment, pointers, copies);
                    band.run(panels.clone());
                }
                source = None;
                done += count;
            }
        }
    }

    /// Where B begins, and the floats from one row to the next, if the first tiles pack full panels as they read them.
    fn packed_on_the_way(&self, offsets: Offsets) -> Option<(*const f32, usize)> {
        match self.b {
            RightHand::Strided { start, row_stride, column_stride: 1 } => {
                Some((start.wrapping_add(offsets.b), row_stride))
            }
            _ => None,
        }
    }

    /// Where the panels lie such that panel p starts at the result plus its offset; packs those that are not, and that
    /// the first tiles will not pack.
    ///
    /// # Safety
    /// As [`Self::run`]; `to` has room for the panels.
    unsafe fn panels(&self, panels: Range<usize>, offsets: Offsets, to: *mut f32) -> *mut f32 {
        match self.b {
            RightHand::Packed(start) => start.wrapping_add(offsets.b).cast_mut(),
            RightHand::Strided { start, row_stride, column_stride } => {
                let base = self.layout.panel(panels.start).offset;
                for number in panels {
                    let panel = self.layout.panel(number);
                    if column_stride == 1 && panel.columns == tile::width(self.layout.isa()) {
                        continue;
                    }
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
                                padded: true,
                            },
                        );
                    }
                }
                to.wrapping_sub(base)
            }
        }
    }
}
