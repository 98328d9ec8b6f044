//! Transposed convolution of images and volumes, f32: each element of the input adds its products with the filter to the
//! elements of the output that the filter reaches from it. An image is a volume of depth 1.
//!
//! Each tap of the filter is a matrix of its own, `[in_channels, out_channels]`. With a step of two every other element of an
//! output row is computed from the same taps, and from neighbouring elements of the input: those are rows of a product,
//! and its output has a gap of one element after each. So nothing is multiplied by zeros between elements or around a
//! volume, and there is no copy of either.

use std::ops::Range;

use super::conv2d::Conv3dParams;
use super::gemm::{
    ALIGN, Band, Epilogue, Form, MAX_ROWS, PANELS_BYTES, PackedLayout, RawEpilogue, RightHand, max_rows,
};
use super::weighted::{Parts, check_residual};
use crate::base::access::split_with_cost;
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_exact, product};
use crate::base::threads::{ThreadPool, share};

/// The transpose of a convolution: its input `[batch, depth', height', width', channels']` is what the convolution would make,
/// its output `[batch, depth, height, width, channels]` what it would be made from, and the filter is `[window depth, window
/// height, window width, channels, channels']`. Cheap to make; holds no memory.
#[derive(Debug, Clone, Copy)]
pub struct ConvTranspose {
    /// The convolution that it is the transpose of.
    p: Conv3dParams,
    /// Depth, height and width of the input.
    input: [usize; 3],
    /// One group for each tap.
    layout: PackedLayout,
}

/// Multiply-adds that are worth a task of their own: a few microseconds.
const TASK_WORK: usize = 1 << 19;

impl ConvTranspose {
    /// The transpose of the convolution with these parameters.
    ///
    /// # Errors
    /// [`KernelError`] for parameters that make no sense, several groups or sizes that overflow, or when the processor lacks
    /// `isa`.
    pub fn new(isa: Isa, p: Conv3dParams) -> Result<ConvTranspose, KernelError> {
        let input = p.check()?;
        if p.groups != 1 {
            return Err(KernelError::Attribute("a transposed convolution is of one group"));
        }
        product(&[p.batch, input[0], input[1], input[2], p.out_channels])?;
        product(&[p.batch, p.size[0], p.size[1], p.size[2], p.in_channels])?;
        let taps = product(&p.window.size)?;
        product(&[taps, p.in_channels, p.out_channels])?;
        Ok(ConvTranspose { p, input, layout: PackedLayout::new(isa, p.out_channels, p.in_channels, taps)? })
    }

    /// The input's shape, `[batch, depth', height', width', channels']`.
    pub fn input_shape(&self) -> [usize; 5] {
        let [depth, height, width] = self.input;
        [self.p.batch, depth, height, width, self.p.out_channels]
    }

    fn taps(&self) -> usize {
        self.p.window.size.iter().product()
    }

    fn output_floats(&self) -> usize {
        self.p.batch * self.p.size.iter().product::<usize>() * self.p.in_channels
    }

    /// How many columns of the product, and how many taps, a part of the filter's rows is; parts of more than one tap are of
    /// whole taps.
    fn part(&self, rows: usize) -> (usize, usize) {
        let columns = self.p.in_channels.max(1);
        if rows < columns { (rows, 1) } else { (columns, rows / columns) }
    }

    /// How a part of the filter's rows is packed.
    fn part_layout(&self, rows: usize) -> PackedLayout {
        let (columns, taps) = self.part(rows);
        PackedLayout::new(self.layout.isa(), self.layout.k(), columns, taps).unwrap_or(self.layout)
    }

    /// Packs a part of the filter, as it stands in a file, into `scratch`.
    fn pack(
        &self,
        pool: &ThreadPool,
        bytes: &[u8],
        rows: usize,
        scratch: &mut [u8],
    ) -> Result<*const f32, KernelError> {
        let (columns, taps) = self.part(rows);
        let tap = PackedLayout::new(self.layout.isa(), self.layout.k(), columns, 1)?;
        let (skip, given_bytes) = (scratch.as_ptr().align_offset(ALIGN).min(ALIGN), scratch.len());
        let needed_bytes = skip + taps * tap.packed_bytes();
        let Some(packed) = scratch.get_mut(skip..needed_bytes) else {
            return Err(KernelError::Scratch { needed_bytes, given_bytes });
        };
        let tap_bytes = 4 * columns * self.layout.k();
        split_with_cost(pool, packed, tap.packed_bytes(), tap_bytes, &|first, packed| {
            let matrices = bytes[first * tap_bytes..].chunks_exact(tap_bytes.max(1));
            for (to, from) in packed.chunks_exact_mut(tap.packed_bytes().max(1)).zip(matrices) {
                let result = tap.pack_columns(to, 0, from);
                debug_assert!(result.is_ok(), "the filter's length was checked");
            }
        });
        Ok(packed.as_ptr().cast())
    }

    /// The product with some taps, whose sums start at 0 or at what the output holds.
    fn pass(&self, pool: &ThreadPool, job: &Job<'_>) {
        let lines = self.p.batch * self.p.size[0] * self.p.size[1];
        let panels = job.layout.panels();
        if lines == 0 || panels == 0 || self.p.size[2] == 0 {
            return;
        }
        let floats = self.p.batch * self.input.iter().product::<usize>() * job.taps.len().max(1);
        let work = floats.saturating_mul(self.layout.k().max(1)).saturating_mul(job.layout.n());
        let threads = pool.threads();
        // One tap's panels stay in a cache while a row passes by: each is used by every few elements alone.
        let blocks = (4 * job.layout.group_floats()).div_ceil(PANELS_BYTES).clamp(1, panels);
        let wanted = if threads == 1 { 1 } else { (work / TASK_WORK).clamp(1, threads * 6) };
        let chunks = wanted.div_ceil(blocks).next_multiple_of(threads.min(wanted)).min(lines);
        pool.run(blocks * chunks, &|task, _| {
            let panels = share(panels, blocks, task / chunks);
            for line in share(lines, chunks, task % chunks) {
                // SAFETY: the lengths were checked, and tasks write disjoint lines and columns of the output.
                unsafe { job.line(line, panels.clone()) };
            }
        });
    }
}

impl Parts for ConvTranspose {
    /// Fill it with [`PackedLayout::pack_columns`].
    fn packed(&self) -> PackedLayout {
        self.layout
    }

    fn stored(&self) -> (usize, usize) {
        (self.taps() * self.p.in_channels, self.p.out_channels)
    }

    /// Whole taps, or a divisor of one.
    fn fitting_rows(&self, fitting: usize) -> Option<usize> {
        let columns = self.p.in_channels;
        if fitting >= columns {
            return Some(fitting - fitting % columns);
        }
        (1..=fitting).rev().find(|count| columns.is_multiple_of(*count))
    }

    fn strides(&self) -> (usize, usize) {
        (1, self.layout.k())
    }

    fn part_scratch_bytes(&self, _threads: usize, rows: usize, form: Form) -> usize {
        if form == Form::Packed { 0 } else { self.part_layout(rows).packed_bytes() + ALIGN }
    }

    fn part(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        right: RightHand,
        (first_row, rows): (usize, usize),
        out: &mut [f32],
        epilogue: Epilogue<'_>,
        scratch: &mut [u8],
    ) -> Result<(), KernelError> {
        // Where several taps reach an element, its sum waits in the output.
        check_residual(&epilogue, false)?;
        let channels = self.p.in_channels.max(1);
        let ((columns, taps), first_tap) = (self.part(rows), first_row / channels);
        let first_column = first_row % channels;
        if rows != columns * taps || first_column + columns > channels {
            return Err(KernelError::Attribute("a block of rows must be whole taps, or within one tap"));
        }
        let b = match right {
            RightHand::Packed(start) => start,
            RightHand::Strided { start, .. } => {
                // SAFETY: the caller has checked that there are so many rows.
                let bytes = unsafe { std::slice::from_raw_parts(start.cast(), 4 * rows * self.layout.k()) };
                self.pack(pool, bytes, rows, scratch)?
            }
        };
        let whole = Job::new(self, input, out, epilogue)?;
        let (taps, layout) = (first_tap..first_tap + taps, self.part_layout(rows));
        let part = Job { taps, layout, b, first_column, ..whole.clone() };
        if rows == self.stored().0 {
            self.pass(pool, &Job { starts: true, ..part });
            return Ok(());
        }
        // Each tap reaches elements of its own, so the sums begin and end apart from its products.
        if first_row == 0 {
            self.pass(pool, &Job { starts: true, epilogue: RawEpilogue::NONE, ..whole.clone() });
        }
        self.pass(pool, &Job { epilogue: RawEpilogue::NONE, ..part });
        if first_row + rows == self.stored().0 {
            self.pass(pool, &whole);
        }
        Ok(())
    }
}

/// A pass over the output. All lengths have been checked.
#[derive(Clone)]
struct Job<'a> {
    op: &'a ConvTranspose,
    input: *const f32,
    out: *mut f32,
    /// The taps whose products are added.
    taps: Range<usize>,
    /// How those are packed: a group for each, of columns from `first_column` on.
    layout: PackedLayout,
    b: *const f32,
    first_column: usize,
    /// Whether the sums start at 0, or at what the output holds.
    starts: bool,
    epilogue: RawEpilogue,
}

// SAFETY: the input and the filter are only read and outlive the run, and tasks write disjoint parts of the output.
unsafe impl Sync for Job<'_> {}

/// Some elements of an output row that are computed from the same taps: every `step`th, from `phase + first * step` on.
struct Run {
    phase: usize,
    first: usize,
    count: usize,
}

impl<'a> Job<'a> {
    /// The epilogue alone, over what the output holds.
    fn new(
        op: &'a ConvTranspose,
        input: &'a [f32],
        out: &'a mut [f32],
        epilogue: Epilogue<'_>,
    ) -> Result<Job<'a>, KernelError> {
        let p = &op.p;
        check_exact("the input", op.input_shape().iter().product(), input.len())?;
        check_exact("the output", op.output_floats(), out.len())?;
        let (to, out_len) = (out.as_mut_ptr(), out.len());
        Ok(Job {
            op,
            input: input.as_ptr(),
            out: to,
            taps: 0..0,
            layout: PackedLayout::new(op.layout.isa(), op.layout.k(), p.in_channels, 1)?,
            b: std::ptr::null(),
            first_column: 0,
            starts: false,
            epilogue: epilogue.to_raw(p.in_channels, to, out_len)?,
        })
    }

    /// How far an element of the window reaches back from a place of the output, in steps of the output.
    fn ahead(&self, axis: usize, place: usize, element: usize) -> isize {
        let window = &self.op.p.window;
        (place + window.pads[2 * axis]) as isize - (element * window.dilations[axis]) as isize
    }

    /// The place of the input from which an element of the window reaches a place of the output.
    fn source(&self, axis: usize, place: usize, element: usize) -> Option<usize> {
        let ahead = usize::try_from(self.ahead(axis, place, element)).ok()?;
        let stride = self.op.p.window.strides[axis];
        (ahead.is_multiple_of(stride) && ahead / stride < self.op.input[axis]).then_some(ahead / stride)
    }

    /// How many elements of a phase, from `first` on, are reached by the same columns of the window.
    fn alike(&self, phase: usize, first: usize, count: usize) -> usize {
        let stride = self.op.p.window.strides[2];
        let until = |element: usize| {
            let ahead = self.ahead(2, phase + first * stride, element);
            if ahead.rem_euclid(stride as isize) != 0 {
                return usize::MAX;
            }
            let steps = ahead / stride as isize;
            if steps < 0 {
                steps.unsigned_abs()
            } else {
                self.op.input[2]
                    .checked_sub(steps.unsigned_abs())
                    .filter(|left| *left > 0)
                    .unwrap_or(usize::MAX)
            }
        };
        (0..self.op.p.window.size[2]).map(until).fold(count - first, usize::min)
    }

    /// Some columns of a row of the output.
    ///
    /// # Safety
    /// Nothing else uses them.
    unsafe fn line(&self, line: usize, panels: Range<usize>) {
        let [_, _, width] = self.op.p.size;
        let stride = self.op.p.window.strides[2];
        for phase in 0..stride.min(width) {
            let count = (width - phase).div_ceil(stride);
            let mut first = 0;
            while first < count {
                let alike = self.alike(phase, first, count);
                let tiles = alike.div_ceil(max_rows(self.layout.isa()));
                for rows in (0..tiles).map(|number| share(alike, tiles, number)) {
                    let run = Run { phase, first: first + rows.start, count: rows.len() };
                    // SAFETY: as the caller vouches.
                    unsafe { self.run(line, &run, panels.clone()) };
                }
                first += alike;
            }
        }
    }

    /// Where the taps that reach some elements of a row find their inputs: with each tap its first input, in floats.
    fn reaching(&self, line: usize, run: &Run) -> impl Iterator<Item = (usize, usize)> {
        let [depth, height, width] = self.op.input;
        let [_, rows, columns] = self.op.p.window.size;
        let [deep, high, _] = self.op.p.size;
        let (y, z, volume) = (line % high, line / high % deep, line / high / deep);
        let x = run.phase + run.first * self.op.p.window.strides[2];
        self.taps.clone().filter_map(move |tap| {
            let from_z = self.source(0, z, tap / columns / rows)?;
            let from_y = self.source(1, y, tap / columns % rows)?;
            let from_x = self.source(2, x, tap % columns)?;
            let from = ((volume * depth + from_z) * height + from_y) * width + from_x;
            Some((tap, from * self.op.p.out_channels))
        })
    }

    /// Some columns of elements that are a tile high at most.
    ///
    /// # Safety
    /// As [`Job::line`].
    unsafe fn run(&self, line: usize, run: &Run, panels: Range<usize>) {
        let p = &self.op.p;
        let (stride, depth) = (p.window.strides[2], p.out_channels);
        let x = run.phase + run.first * stride;
        let out = (line * p.size[2] + x) * p.in_channels + self.first_column;
        let mut rows = [std::ptr::null(); MAX_ROWS];
        let mut band = Band {
            layout: self.layout,
            rows: std::ptr::null(),
            count: run.count,
            taps: 1,
            tap_len: depth,
            zeros: std::ptr::null(),
            b: self.b.cast_mut(),
            source: None,
            out: self.out.wrapping_add(out),
            out_stride: stride * p.in_channels,
            first: self.starts,
            epilogue: RawEpilogue::NONE,
        };
        let epilogue = self.epilogue.starting_at(self.first_column, out);
        let mut reaching = self.reaching(line, run).peekable();
        if reaching.peek().is_none() {
            let all = Band { taps: 0, rows: rows.as_ptr(), epilogue, ..band };
            // SAFETY: as the caller vouches; no row is read.
            return unsafe { all.run(panels) };
        }
        while let Some((tap, from)) = reaching.next() {
            for (number, row) in rows[..run.count].iter_mut().enumerate() {
                *row = self.input.wrapping_add(from + number * depth);
            }
            let group = (tap - self.taps.start) * self.layout.group_floats();
            band.rows = rows.as_ptr();
            band.b = self.b.wrapping_add(group).cast_mut();
            band.epilogue = if reaching.peek().is_none() { epilogue } else { RawEpilogue::NONE };
            // SAFETY: neighbouring elements are reached from neighbouring inputs, all of them in the volume, and of B, which
            // is packed, nothing is written.
            unsafe { band.run(panels.clone()) };
            band.first = false;
        }
    }
}
