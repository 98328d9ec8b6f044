//! Depthwise convolution, f32: each input channel has filters of its own.

use std::ops::Range;

use super::taps::{Inputs, Plain, Spread, TapRow, Whole};
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_exact, product};
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::{ThreadPool, share};
use crate::base::window::{Window, element_at};
use crate::product::gemm::{Epilogue, RawEpilogue};

/// What a depthwise convolution works on: input `[batch, height, width, channels]`, filter `[window height, window
/// width, channels, multiplier]`, output `[batch, height', width', channels · multiplier]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthwiseParams {
    /// Images.
    pub batch: usize,
    /// Of the input.
    pub height: usize,
    /// Of the input.
    pub width: usize,
    /// Of the input.
    pub channels: usize,
    /// Output channels per input channel.
    pub multiplier: usize,
    /// The filter's window.
    pub window: Window,
}

/// A depthwise convolution. Cheap to make; needs no packing and no scratch.
#[derive(Debug, Clone, Copy)]
pub struct DepthwiseConv2d {
    isa: Isa,
    p: DepthwiseParams,
    output: [usize; 2],
}

/// Multiply-adds that are worth a task of their own: two microseconds.
const TASK_WORK: usize = 1 << 16;

/// Floats of a cache line.
const LINE: usize = 16;

impl DepthwiseConv2d {
    /// The convolution with these parameters.
    ///
    /// # Errors
    /// [`KernelError`] for parameters that make no sense or sizes that overflow, or when the processor lacks `isa`.
    pub fn new(isa: Isa, p: DepthwiseParams) -> Result<DepthwiseConv2d, KernelError> {
        if !isa.is_available() {
            return Err(KernelError::Isa(isa));
        }
        let output = p.window.output(p.height, p.width)?;
        product(&[p.batch, p.height, p.width, p.channels])?;
        product(&[p.batch, output[0], output[1], p.channels, p.multiplier])?;
        product(&[p.window.size[0], p.window.size[1], p.channels, p.multiplier])?;
        Ok(DepthwiseConv2d { isa, p, output })
    }

    /// The output's shape, `[batch, height', width', channels · multiplier]`.
    pub fn output_shape(&self) -> [usize; 4] {
        [self.p.batch, self.output[0], self.output[1], self.p.channels * self.p.multiplier]
    }

    /// Computes the convolution. `filter` is the file's bytes: little-endian floats at any alignment.
    ///
    /// # Errors
    /// [`KernelError::Length`] when a length is wrong.
    pub fn run(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        filter: &[u8],
        out: &mut [f32],
        epilogue: Epilogue<'_>,
    ) -> Result<(), KernelError> {
        let p = &self.p;
        check_exact("the input", p.batch * p.height * p.width * p.channels, input.len())?;
        let is_empty = out.is_empty();
        let job = &self.job(filter, out, epilogue)?.over(input.as_ptr(), usize::MAX);
        if is_empty {
            return Ok(());
        }
        let [_, height, width, channels] = self.output_shape();
        let rows = p.batch * height;
        let work = rows * width * channels * p.window.size[0] * p.window.size[1];
        let threads = pool.threads();
        // As many for each thread, so that all end together.
        let wanted = match (work / TASK_WORK).min(threads * 6) {
            few if threads == 1 || few < 2 => 1,
            many => many.next_multiple_of(threads),
        };
        // Few rows are cut across the channels, at whole cache lines, as the product is that makes so small an image.
        let lines = channels.div_ceil(LINE);
        let (parts, chunks) = if rows < 4 * threads { (wanted.min(lines), 1) } else { (1, wanted.min(rows)) };
        pool.run(parts * chunks, &|task, _| {
            let lines = share(lines, parts, task / chunks);
            let channels = lines.start * LINE..(lines.end * LINE).min(channels);
            dispatch(self.isa, job.part(share(rows, chunks, task % chunks), channels));
        });
        self.spoil_padding(filter, out);
        Ok(())
    }

    /// The parameters it was made with.
    pub(super) fn params(&self) -> &DepthwiseParams {
        &self.p
    }

    /// The rows of an image that row `y` of its output is computed from.
    pub(super) fn input_rows(&self, y: usize) -> Range<usize> {
        let w = &self.p.window;
        let top = (y * w.strides[0]) as isize - w.pads[0] as isize;
        let (first, end) = valid(top, w.dilations[0], w.size[0], self.p.height);
        let row = |ky: usize| (top + (ky * w.dilations[0]) as isize) as usize;
        if first < end { row(first)..row(end - 1) + 1 } else { 0..0 }
    }

    /// Nothing of this output yet, from no input.
    pub(super) fn job(
        &self,
        filter: &[u8],
        out: &mut [f32],
        epilogue: Epilogue<'_>,
    ) -> Result<Job<'_>, KernelError> {
        let [batch, height, width, channels] = self.output_shape();
        check_exact(
            "the filter",
            4 * self.p.window.size[0] * self.p.window.size[1] * channels,
            filter.len(),
        )?;
        check_exact("the output", batch * height * width * channels, out.len())?;
        let (out, out_len) = (out.as_mut_ptr(), out.len());
        Ok(Job {
            op: self,
            input: std::ptr::null(),
            held_rows: usize::MAX,
            filter: filter.as_ptr().cast(),
            out,
            epilogue: epilogue.to_raw(channels, out, out_len)?,
            rows: 0..0,
            channels: 0..0,
        })
    }

    /// Around the image are zeros, which the kernels leave out: times a weight that is not finite they are NaN, and so
    /// is what any epilogue makes of the sum.
    pub(super) fn spoil_padding(&self, filter: &[u8], out: &mut [f32]) {
        let p = &self.p;
        let ([height, width], channels) = (self.output, p.channels * p.multiplier);
        const INFINITE: u32 = 0x7f80_0000;
        let bits = |weight: &[u8]| u32::from_le_bytes([weight[0], weight[1], weight[2], weight[3]]);
        let odd = filter.chunks_exact(4).fold(0, |n, w| n | u32::from(bits(w) & INFINITE == INFINITE));
        if odd == 0 {
            return;
        }
        for (index, weight) in filter.chunks_exact(4).enumerate() {
            if bits(weight) & INFINITE != INFINITE {
                continue;
            }
            let (tap, channel) = (index / channels, index % channels);
            let (ky, kx) = (tap / p.window.size[1], tap % p.window.size[1]);
            for (pixel, sums) in out.chunks_exact_mut(channels).enumerate() {
                let (x, y) = (pixel % width, pixel / width % height);
                let is_inside = element_at(&p.window, 0, y, ky, p.height).is_some()
                    && element_at(&p.window, 1, x, kx, p.width).is_some();
                if !is_inside {
                    sums[channel] = f32::NAN;
                }
            }
        }
    }
}

/// Some rows and channels of the output. The pointers are to the whole tensors, whose lengths have been checked.
pub(super) struct Job<'a> {
    op: &'a DepthwiseConv2d,
    input: *const f32,
    /// How many rows of the input there is memory for: row `y` of an image is where row `y % held_rows` would be. All of them
    /// where it is `usize::MAX`.
    held_rows: usize,
    /// At any alignment.
    filter: *const f32,
    out: *mut f32,
    epilogue: RawEpilogue,
    /// Rows of all images' outputs.
    rows: Range<usize>,
    channels: Range<usize>,
}

// SAFETY: the tensors outlive the run, the input and the filter are only read, and no two tasks of a run have the same
// rows and channels of the output.
unsafe impl Sync for Job<'_> {}

/// The most rows of a window whose places are worked out once for a row of the output.
const LINES: usize = 8;

/// One row of the output: where its input rows are, and which of the window's rows lie in the image.
struct Row {
    /// The input row of the window's row 0, which may lie outside.
    top: isize,
    /// The row of the input's memory that row 0 of the image would be, as far as that wraps.
    base: usize,
    /// The window's rows from `first` up to `end` lie in the image.
    first: usize,
    end: usize,
    /// The output row's start, in floats.
    out: usize,
    /// The first input pixel of each of the window's rows that lie in the image, of up to [`LINES`].
    lines: [*const f32; LINES],
}

/// Output pixels that are computed together: as many sums as hide the time that an addition takes. The images of most
/// networks are multiples of seven wide.
const SEVEN: usize = 7;

/// The same where seven would leave more of a row's last pixels over, for larger windows, and where lanes share channels.
const FOUR: usize = 4;

impl Kernel for Job<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let p = &self.op.p;
        let w = &p.window;
        let [height, width] = self.op.output;
        let all_channels = p.channels * p.multiplier;
        let in_sevens = width.next_multiple_of(SEVEN) <= width.next_multiple_of(FOUR);
        for number in self.rows.clone() {
            let (image, y) = (number / height, number % height);
            let top = (y * w.strides[0]) as isize - w.pads[0] as isize;
            let (first, end) = valid(top, w.dilations[0], w.size[0], p.height);
            let base = if self.held_rows == usize::MAX {
                image * p.height
            } else {
                let uppermost = (top + (first * w.dilations[0]) as isize) as usize;
                0usize.wrapping_sub(uppermost - uppermost % self.held_rows)
            };
            let out = number * width * all_channels;
            let mut row = Row { top, base, first, end, out, lines: [std::ptr::null(); LINES] };
            for (line, ky) in (first..end).enumerate().take(LINES) {
                row.lines[line] = self.pixel(&row, ky, 0);
            }
            // A window that has more rows is one of any size.
            let columns = if w.size[0] > LINES { 0 } else { w.size[1] };
            match (p.multiplier == 1, columns, w.strides[1], w.dilations[1]) {
                (true, 3, 1, 1) if in_sevens => self.blocks::<S, 3, 1, SEVEN>(s, &row),
                (true, 3, 2, 1) if in_sevens => self.blocks::<S, 3, 2, SEVEN>(s, &row),
                (true, 7, 1, 1) if in_sevens => self.blocks::<S, 7, 1, SEVEN>(s, &row),
                (true, 3, 1, 1) => self.blocks::<S, 3, 1, FOUR>(s, &row),
                (true, 3, 2, 1) => self.blocks::<S, 3, 2, FOUR>(s, &row),
                (true, 5, 1, 1) => self.blocks::<S, 5, 1, FOUR>(s, &row),
                (true, 5, 2, 1) => self.blocks::<S, 5, 2, FOUR>(s, &row),
                (true, 7, 1, 1) => self.blocks::<S, 7, 1, FOUR>(s, &row),
                (true, 7, 2, 1) => self.blocks::<S, 7, 2, FOUR>(s, &row),
                (true, ..) => (0..width).for_each(|x| {
                    self.each_block(S::LANES, |c, count| self.any_pixel(s, &row, x, Plain(count), c, count));
                }),
                (false, 3, 1, 1) => self.multiplied::<S, 3, 1>(s, &row),
                (false, 3, 2, 1) => self.multiplied::<S, 3, 2>(s, &row),
                (false, 5, 1, 1) => self.multiplied::<S, 5, 1>(s, &row),
                (false, 5, 2, 1) => self.multiplied::<S, 5, 2>(s, &row),
                (false, 7, 1, 1) => self.multiplied::<S, 7, 1>(s, &row),
                (false, ..) => self.each_block(S::LANES, |c, count| {
                    let spread = Spread::new(c, count, p.multiplier);
                    (0..width).for_each(|x| self.any_pixel(s, &row, x, spread, c, count));
                }),
            }
            self.after(&row, width, all_channels);
        }
    }
}

/// Which elements of a window of `size` that starts at `start` lie in `0..limit`: from the first up to the second.
#[inline(always)]
fn valid(start: isize, dilation: usize, size: usize, limit: usize) -> (usize, usize) {
    let first = if start < 0 { start.unsigned_abs().div_ceil(dilation) } else { 0 };
    let end = (limit as isize - start).max(0).unsigned_abs().div_ceil(dilation);
    let end = end.min(size);
    (first.min(end), end)
}

impl Job<'_> {
    /// The same from an input at `input`, of whose rows so many are held.
    pub(super) fn over(&self, input: *const f32, held_rows: usize) -> Self {
        Job { input, held_rows, rows: 0..0, channels: 0..0, ..*self }
    }

    /// These rows and channels of the output.
    pub(super) fn part(&self, rows: Range<usize>, channels: Range<usize>) -> Self {
        Job { rows, channels, ..*self }
    }

    /// The input pixel in the window's row `ky` of an output row, `x` pixels from the left.
    #[inline(always)]
    fn pixel(&self, row: &Row, ky: usize, x: usize) -> *const f32 {
        let p = &self.op.p;
        let y = row.base.wrapping_add_signed(row.top + (ky * p.window.dilations[0]) as isize);
        let held = if y < self.held_rows { y } else { y - self.held_rows };
        self.input.wrapping_add((held * p.width + x) * p.channels)
    }

    /// Calls `each(first, count)` for vectors of this task's channels of the output.
    #[inline(always)]
    fn each_block(&self, lanes: usize, each: impl Fn(usize, usize)) {
        let mut c = self.channels.start;
        while c < self.channels.end {
            let count = (self.channels.end - c).min(lanes);
            each(c, count);
            c += count;
        }
    }

    /// `count` channels of an output pixel, of any window.
    #[inline(always)]
    fn any_pixel<S: Simd>(&self, s: S, row: &Row, x: usize, inputs: impl Inputs, c: usize, count: usize) {
        let p = &self.op.p;
        let w = &p.window;
        let all = p.channels * p.multiplier;
        let left = (x * w.strides[1]) as isize - w.pads[2] as isize;
        let (first, end) = valid(left, w.dilations[1], w.size[1], p.width);
        let mut sum = s.splat(0.0);
        for ky in row.first..row.end {
            for kx in first..end {
                let column = (left + (kx * w.dilations[1]) as isize) as usize;
                let tap = (ky * w.size[1] + kx) * all + c;
                // SAFETY: the window's row and column lie in the image, and `count` channels are left.
                unsafe {
                    let value = inputs.load(s, self.pixel(row, ky, column).wrapping_add(inputs.first(c)));
                    let weight = s.load_partial(self.filter.wrapping_add(tap), count);
                    sum = s.mul_add(value, weight, sum);
                }
            }
        }
        self.finish(s, [sum], 1, row.out + x * all + c, c, count);
    }

    /// A row of output pixels, some together.
    #[inline(always)]
    fn blocks<S: Simd, const WIDTH: usize, const STRIDE: usize, const PIXELS: usize>(&self, s: S, row: &Row) {
        for x in (0..self.op.output[1]).step_by(PIXELS) {
            self.each_block(S::LANES, |c, count| {
                if count == S::LANES {
                    self.pixels::<S, WIDTH, STRIDE, PIXELS>(s, row, x, Whole, c, count);
                } else {
                    self.pixels::<S, WIDTH, STRIDE, PIXELS>(s, row, x, Plain(count), c, count);
                }
            });
        }
    }

    /// A row of output pixels, some together, of several channels for each of the input. Where those are is worked out once
    /// for all pixels.
    #[inline(always)]
    fn multiplied<S: Simd, const WIDTH: usize, const STRIDE: usize>(&self, s: S, row: &Row) {
        self.each_block(S::LANES, |c, count| {
            let spread = Spread::new(c, count, self.op.p.multiplier);
            for x in (0..self.op.output[1]).step_by(FOUR) {
                self.pixels::<S, WIDTH, STRIDE, FOUR>(s, row, x, spread, c, count);
            }
        });
    }

    /// `count` channels of up to `PIXELS` output pixels from `x` on.
    #[inline(always)]
    fn pixels<S: Simd, const WIDTH: usize, const STRIDE: usize, const PIXELS: usize>(
        &self,
        s: S,
        row: &Row,
        x: usize,
        inputs: impl Inputs,
        c: usize,
        count: usize,
    ) {
        let p = &self.op.p;
        let left = (x * STRIDE) as isize - p.window.pads[2] as isize;
        let span = (PIXELS - 1) * STRIDE + WIDTH;
        let live = PIXELS.min(self.op.output[1] - x);
        let block = PixelBlock { x, left, live, c, count };
        if live == PIXELS && left >= 0 && left + span as isize <= p.width as isize {
            self.pixel_block::<S, WIDTH, STRIDE, PIXELS, false>(s, row, block, inputs);
        } else {
            self.pixel_block::<S, WIDTH, STRIDE, PIXELS, true>(s, row, block, inputs);
        }
    }

    /// Each vector of the input is loaded once for all pixels of the block. With `EDGE` their windows may stick out of the
    /// image, which lies from column `-left` of them on.
    #[inline(always)]
    fn pixel_block<
        S: Simd,
        const WIDTH: usize,
        const STRIDE: usize,
        const PIXELS: usize,
        const EDGE: bool,
    >(
        &self,
        s: S,
        row: &Row,
        PixelBlock { x, left, live, c, count }: PixelBlock,
        inputs: impl Inputs,
    ) {
        let p = &self.op.p;
        let (channels, all) = (p.channels, p.channels * p.multiplier);
        let valid = match EDGE {
            true => (-left).max(0) as usize..(p.width as isize - left).max(0) as usize,
            false => 0..usize::MAX,
        };
        let offset = left * channels as isize + inputs.first(c) as isize;
        let mut filter = self.filter.wrapping_add(row.first * WIDTH * all + c);
        let mut sums = [s.splat(0.0); PIXELS];
        for line in &row.lines[..row.end - row.first] {
            let start = line.wrapping_offset(offset);
            let taps = TapRow::<WIDTH> { channels, weights: all, count, start, filter, valid: valid.clone() };
            // SAFETY: the valid columns lie in the image, and `count` channels are left.
            unsafe { taps.add::<S, STRIDE, PIXELS, EDGE>(s, &mut sums, inputs) };
            filter = filter.wrapping_add(WIDTH * all);
        }
        self.finish(s, sums, live, row.out + x * all + c, c, count);
    }

    /// Scales, shifts, adds, clamps and stores `count` channels from `c` of the first `live` of neighbouring pixels,
    /// the first at `out`.
    #[inline(always)]
    fn finish<S: Simd, const COUNT: usize>(
        &self,
        s: S,
        sums: [S::V; COUNT],
        live: usize,
        out: usize,
        c: usize,
        count: usize,
    ) {
        let e = &self.epilogue;
        let (min, max) = (s.splat(e.min), s.splat(e.max));
        // SAFETY: `count` channels from `c` of the pixels at `out` are this task's own part of the output.
        unsafe {
            let load = |from: *const f32, absent: f32| match from.is_null() {
                true => s.splat(absent),
                false if count == S::LANES => s.load(from.add(c)),
                false => s.load_partial(from.add(c), count),
            };
            let (scale, shift) = (load(e.scale, 1.0), load(e.shift, 0.0));
            for (i, sum) in sums.into_iter().enumerate() {
                if i >= live {
                    break;
                }
                let at = out + i * self.op.p.channels * self.op.p.multiplier;
                let mut x = s.mul_add(sum, scale, shift);
                if !e.residual.is_null() {
                    x = s.add(x, s.load_partial(e.residual.add(at), count));
                }
                x = s.min(max, s.max(min, x));
                if count == S::LANES {
                    s.store(self.out.add(at), x);
                } else {
                    s.store_partial(self.out.add(at), x, count);
                }
            }
        }
    }

    /// Applies an activation that is more than a clamp.
    fn after(&self, row: &Row, width: usize, all_channels: usize) {
        let whole = self.channels.len() == all_channels;
        let (pieces, len) = if whole { (1, width * all_channels) } else { (width, self.channels.len()) };
        for piece in 0..pieces {
            let to = self.out.wrapping_add(row.out + piece * all_channels + self.channels.start);
            // SAFETY: this task has just written these elements.
            unsafe { self.epilogue.finish(self.op.isa, to, len) };
        }
    }
}

/// Some channels of neighbouring output pixels.
#[derive(Clone, Copy)]
struct PixelBlock {
    /// The first pixel, and where its window begins.
    x: usize,
    left: isize,
    /// How many there are of those that are computed.
    live: usize,
    /// The first channel of the output, and how many.
    c: usize,
    count: usize,
}
