//! A convolution of single pixels and the depthwise convolution of what it makes, row by row.
//!
//! Networks of inverted residuals (MobileNetV2, arXiv:1801.04381; EfficientNet) expand an image to several times its channels,
//! only to convolve those by themselves. Here each thread expands the few rows that the window is at, which stay in its
//! second-level cache, and the expanded image is never whole.

use super::depthwise::{DepthwiseConv2d, DepthwiseParams};
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_exact, product};
use crate::base::simd::dispatch;
use crate::base::threads::{ThreadPool, share};
use crate::product::gemm::{ALIGN, Dense, Epilogue, PackedLayout, RawEpilogue, Residual};
use tightfit_core::Shared;

/// Input `[batch, height, width, depth]`; the filter of single pixels `[depth, channels]`; of what it makes, `[batch, height,
/// width, channels]`, a depthwise convolution.
#[derive(Debug, Clone, Copy)]
pub struct ExpandedDepthwise {
    layout: PackedLayout,
    /// Whether the filter of single pixels is stored `[channels, depth]`.
    is_transposed: bool,
    depthwise: DepthwiseConv2d,
}

/// One of the two convolutions, as it is given for a run.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// The file's bytes: little-endian floats at any alignment.
    pub filter: &'a [u8],
    /// What is done to the sums. Nothing is added to those of the first convolution but a shift.
    pub epilogue: Epilogue<'a>,
}

/// The rows that a worker holds. They are of one image, and it has those from `first` up to `end`.
struct Held {
    image: usize,
    first: usize,
    end: usize,
    /// Whether the filter has been packed.
    is_packed: bool,
}

impl Held {
    const NOTHING: Held = Held { image: usize::MAX, first: 0, end: 0, is_packed: false };
}

/// Tasks for each thread. A thread goes on with the rows it holds where one task follows another.
const TASKS: usize = 4;

impl ExpandedDepthwise {
    /// The convolution of `depth` channels to those of `p`, and the depthwise one with these parameters.
    ///
    /// # Errors
    /// [`KernelError`] for parameters that make no sense or sizes that overflow, or when the processor lacks `isa`.
    pub fn new(
        isa: Isa,
        depth: usize,
        p: DepthwiseParams,
        is_transposed: bool,
    ) -> Result<ExpandedDepthwise, KernelError> {
        product(&[p.batch, p.height, p.width, depth])?;
        let layout = PackedLayout::new(isa, depth, p.channels, 1)?;
        let this = ExpandedDepthwise { layout, is_transposed, depthwise: DepthwiseConv2d::new(isa, p)? };
        product(&[this.held_rows(), p.width, p.channels])?;
        Ok(this)
    }

    /// The output's shape, `[batch, height', width', channels · multiplier]`.
    pub fn output_shape(&self) -> [usize; 4] {
        self.depthwise.output_shape()
    }

    /// Expanded rows that a worker holds: all that the window reaches.
    fn held_rows(&self) -> usize {
        let window = &self.depthwise.params().window;
        (window.size[0] - 1).saturating_mul(window.dilations[0]).saturating_add(1)
    }

    /// Bytes of a worker's notes, packed filter, and rows.
    fn parts(&self) -> [usize; 3] {
        let p = self.depthwise.params();
        let rows = 4 * self.held_rows() * p.width * p.channels;
        [size_of::<Held>(), self.layout.packed_bytes(), rows].map(|bytes| bytes.next_multiple_of(ALIGN))
    }

    /// Bytes of scratch that [`Self::run`] needs, wherever they start.
    pub fn scratch_bytes(&self, threads: usize) -> usize {
        threads.max(1) * self.parts().iter().sum::<usize>() + ALIGN
    }

    /// Computes both convolutions.
    ///
    /// # Errors
    /// [`KernelError`] when a length is wrong, the scratch is too small, or the first convolution has a residual.
    pub fn run(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        expand: Layer<'_>,
        depthwise: Layer<'_>,
        out: &mut [f32],
        scratch: &mut [u8],
    ) -> Result<(), KernelError> {
        let p = *self.depthwise.params();
        let depth = self.layout.k();
        check_exact("the input", p.batch * p.height * p.width * depth, input.len())?;
        check_exact("the filter", 4 * depth * p.channels, expand.filter.len())?;
        if !matches!(expand.epilogue.residual, Residual::None) {
            return Err(KernelError::Attribute("what is expanded has no residual"));
        }
        let (needed_bytes, given_bytes) = (self.scratch_bytes(pool.threads()), scratch.len());
        if given_bytes < needed_bytes {
            return Err(KernelError::Scratch { needed_bytes, given_bytes });
        }
        let filter = depthwise.filter;
        let is_empty = out.is_empty();
        let job = self.depthwise.job(filter, out, depthwise.epilogue)?;
        if is_empty {
            return Ok(());
        }
        let [batch, height, _, channels] = self.output_shape();
        let skip = scratch.as_ptr().align_offset(ALIGN).min(ALIGN);
        let shared = Shared::new(&mut scratch[skip..]);
        let parts = self.parts();
        let worker_bytes = parts.iter().sum::<usize>();
        for worker in 0..pool.threads() {
            // SAFETY: no worker runs yet; the part is aligned for what is written, and large enough.
            unsafe {
                shared
                    .part(worker * worker_bytes, worker_bytes)
                    .as_mut_ptr()
                    .cast::<Held>()
                    .write(Held::NOTHING)
            };
        }
        let expansion = Expansion {
            op: self,
            input,
            filter: expand.filter,
            epilogue: expand.epilogue.to_raw(p.channels, std::ptr::null_mut(), 0)?,
        };
        let (expansion, job) = (&expansion, &job);
        let rows = batch * height;
        let tasks = if pool.threads() == 1 { 1 } else { (pool.threads() * TASKS).min(rows) };
        pool.run(tasks, &|task, worker| {
            // SAFETY: each worker has a part of its own and one task at a time; the notes were written above, what lies
            // behind them is large enough, and no two tasks write the same rows of the output.
            unsafe {
                let mut part = shared.part(worker * worker_bytes, worker_bytes);
                let start = part.as_mut_ptr();
                let packed = start.wrapping_add(parts[0]);
                let ring = packed.wrapping_add(parts[1]).cast::<f32>();
                let held = &mut *start.cast::<Held>();
                if !held.is_packed {
                    expansion.pack(std::slice::from_raw_parts_mut(packed, self.layout.packed_bytes()));
                    held.is_packed = true;
                }
                for row in share(rows, tasks, task) {
                    expansion.make_rows(held, row, packed.cast(), ring);
                    let job = job.over(ring, self.held_rows()).part(row..row + 1, 0..channels);
                    dispatch(self.layout.isa(), job);
                }
            }
        });
        self.depthwise.spoil_padding(filter, out);
        Ok(())
    }
}

/// The first convolution of a run. All lengths have been checked.
struct Expansion<'a> {
    op: &'a ExpandedDepthwise,
    input: &'a [f32],
    filter: &'a [u8],
    epilogue: RawEpilogue,
}

// SAFETY: the epilogue's vectors are only read and outlive the run.
unsafe impl Sync for Expansion<'_> {}

impl Expansion<'_> {
    /// Packs the filter.
    fn pack(&self, packed: &mut [u8]) {
        let layout = &self.op.layout;
        let result = match self.op.is_transposed {
            true => layout.pack_columns(packed, 0, self.filter),
            false => layout.pack_rows(packed, 0, self.filter),
        };
        debug_assert!(result.is_ok(), "the filter's length was checked");
    }

    /// Makes the rows that row `row` of all images' outputs needs and that are not held.
    ///
    /// # Safety
    /// `packed` is the packed filter, and `ring` has room for the rows that are held.
    unsafe fn make_rows(&self, held: &mut Held, row: usize, packed: *const f32, ring: *mut f32) {
        let p = self.op.depthwise.params();
        let [_, height, ..] = self.op.output_shape();
        let image = row / height;
        let needed = self.op.depthwise.input_rows(row % height);
        if needed.is_empty() {
            return;
        }
        if held.image != image || needed.start < held.first || needed.start > held.end {
            *held = Held { image, first: needed.start, end: needed.start, is_packed: held.is_packed };
        }
        held.first = needed.start;
        let depth = self.op.layout.k();
        for y in held.end..needed.end {
            let dense = Dense {
                layout: self.op.layout,
                a: self.input.as_ptr().wrapping_add((image * p.height + y) * p.width * depth),
                m: p.width,
                b: packed,
                out: ring.wrapping_add(y % self.op.held_rows() * p.width * p.channels),
                epilogue: self.epilogue,
            };
            // SAFETY: the input's length was checked, and the caller vouches for the rest.
            unsafe { dense.run() };
        }
        held.end = held.end.max(needed.end);
    }
}
