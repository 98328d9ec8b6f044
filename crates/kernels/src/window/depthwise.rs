//! Depthwise convolution, f32: each input channel has filters of its own.

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

/// Multiply-adds that are worth a task of their own.
const TASK_WORK: usize = 1 << 17;

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
        let [_, height, width, channels] = self.output_shape();
        let taps = p.window.size[0] * p.window.size[1];
        check_exact("the input", p.batch * p.height * p.width * p.channels, input.len())?;
        check_exact("the filter", 4 * taps * channels, filter.len())?;
        check_exact("the output", p.batch * height * width * channels, out.len())?;
        if out.is_empty() {
            return Ok(());
        }
        let (out_start, out_len) = (out.as_mut_ptr(), out.len());
        let epilogue = epilogue.to_raw(channels, out_start, out_len)?;
        let rows = p.batch * height;
        let work = rows * width * channels * taps;
        let wanted = if pool.threads() == 1 { 1 } else { (work / TASK_WORK).clamp(1, pool.threads() * 6) };
        // Few rows are cut across the channels too, at whole cache lines.
        let parts = if rows < wanted { 2 } else { 1 };
        let part_channels = channels.div_ceil(parts).next_multiple_of(16).min(channels);
        let parts = channels.div_ceil(part_channels);
        let chunks = wanted.div_ceil(parts).min(rows);
        let job = Job {
            op: self,
            input: input.as_ptr(),
            filter: filter.as_ptr().cast(),
            out: out_start,
            epilogue,
            rows: 0..0,
            channels: 0..0,
        };
        let job = &job;
        pool.run(parts * chunks, &|task, _| {
            let (part, chunk) = (task % parts, task / parts);
            dispatch(
                self.isa,
                Job {
                    rows: share(rows, chunks, chunk),
                    channels: part * part_channels..((part + 1) * part_channels).min(channels),
                    ..*job
                },
            );
        });
        self.spoil_padding(filter, out);
        Ok(())
    }

    /// Around the image are zeros, which the kernels leave out: times a weight that is not finite they are NaN, and so
    /// is what any epilogue makes of the sum.
    fn spoil_padding(&self, filter: &[u8], out: &mut [f32]) {
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
struct Job<'a> {
    op: &'a DepthwiseConv2d,
    input: *const f32,
    /// At any alignment.
    filter: *const f32,
    out: *mut f32,
    epilogue: RawEpilogue,
    /// Rows of all images' outputs.
    rows: std::ops::Range<usize>,
    channels: std::ops::Range<usize>,
}

// SAFETY: the tensors outlive the run, the input and the filter are only read, and no two tasks of a run have the same
// rows and channels of the output.
unsafe impl Sync for Job<'_> {}

/// One row of the output: where its input rows are, and which of the window's rows lie in the image.
struct Row {
    /// The input row of the window's row 0, which may lie outside.
    top: isize,
    image: usize,
    /// The window's rows from `first` up to `end` lie in the image.
    first: usize,
    end: usize,
    /// The output row's start, in floats.
    out: usize,
}

/// Output pixels that are computed together.
const PIXELS: usize = 4;

impl Kernel for Job<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let p = &self.op.p;
        let w = &p.window;
        let [height, width] = self.op.output;
        let all_channels = p.channels * p.multiplier;
        for number in self.rows.clone() {
            let (image, y) = (number / height, number % height);
            let top = (y * w.strides[0]) as isize - w.pads[0] as isize;
            let (first, end) = valid(top, w.dilations[0], w.size[0], p.height);
            let row = Row { top, image, first, end, out: number * width * all_channels };
            match (p.multiplier == 1, w.size[1], w.strides[1], w.dilations[1]) {
                (true, 3, 1, 1) => self.blocks::<S, 3, 1>(s, &row),
                (true, 3, 2, 1) => self.blocks::<S, 3, 2>(s, &row),
                (true, 5, 1, 1) => self.blocks::<S, 5, 1>(s, &row),
                (true, 5, 2, 1) => self.blocks::<S, 5, 2>(s, &row),
                (true, ..) => (0..width).for_each(|x| {
                    self.each_block(S::LANES, |c, count| self.any_pixel(s, &row, x, Plain(count), c, count));
                }),
                (false, 3, 1, 1) => self.multiplied::<S, 3, 1>(s, &row),
                (false, 3, 2, 1) => self.multiplied::<S, 3, 2>(s, &row),
                (false, 5, 1, 1) => self.multiplied::<S, 5, 1>(s, &row),
                (false, 5, 2, 1) => self.multiplied::<S, 5, 2>(s, &row),
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
    /// The input pixel in the window's row `ky` of an output row, `x` pixels from the left.
    #[inline(always)]
    fn pixel(&self, row: &Row, ky: usize, x: usize) -> *const f32 {
        let p = &self.op.p;
        let y = (row.top + (ky * p.window.dilations[0]) as isize) as usize;
        self.input.wrapping_add(((row.image * p.height + y) * p.width + x) * p.channels)
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
    fn blocks<S: Simd, const WIDTH: usize, const STRIDE: usize>(&self, s: S, row: &Row) {
        for x in (0..self.op.output[1]).step_by(PIXELS) {
            self.each_block(S::LANES, |c, count| {
                if count == S::LANES {
                    self.pixels::<S, WIDTH, STRIDE>(s, row, x, Whole, c, count);
                } else {
                    self.pixels::<S, WIDTH, STRIDE>(s, row, x, Plain(count), c, count);
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
            for x in (0..self.op.output[1]).step_by(PIXELS) {
                self.pixels::<S, WIDTH, STRIDE>(s, row, x, spread, c, count);
            }
        });
    }

    /// `count` channels of up to [`PIXELS`] output pixels from `x` on.
    #[inline(always)]
    fn pixels<S: Simd, const WIDTH: usize, const STRIDE: usize>(
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
            self.pixel_block::<S, WIDTH, STRIDE, false>(s, row, block, inputs);
        } else {
            self.pixel_block::<S, WIDTH, STRIDE, true>(s, row, block, inputs);
        }
    }

    /// Each vector of the input is loaded once for all pixels of the block. With `EDGE` their windows may stick out of the
    /// image, which lies from column `-left` of them on.
    #[inline(always)]
    fn pixel_block<S: Simd, const WIDTH: usize, const STRIDE: usize, const EDGE: bool>(
        &self,
        s: S,
        row: &Row,
        PixelBlock { x, left, live, c, count }: PixelBlock,
        inputs: impl Inputs,
    ) {
        let p = &self.op.p;
        let all = p.channels * p.multiplier;
        let mut sums = [s.splat(0.0); PIXELS];
        for ky in row.first..row.end {
            let start = self.pixel(row, ky, 0).wrapping_offset(left * p.channels as isize);
            let taps = TapRow::<WIDTH> {
                channels: p.channels,
                weights: all,
                count,
                start: start.wrapping_add(inputs.first(c)),
                filter: self.filter.wrapping_add(ky * WIDTH * all + c),
                valid: if EDGE {
                    (-left).max(0) as usize..(p.width as isize - left).max(0) as usize
                } else {
                    0..usize::MAX
                },
            };
            // SAFETY: the valid columns lie in the image, and `count` channels are left.
            unsafe { taps.add::<S, STRIDE, EDGE>(s, &mut sums, inputs) };
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
            let scale = if e.scale.is_null() { s.splat(1.0) } else { s.load_partial(e.scale.add(c), count) };
            let shift = if e.shift.is_null() { s.splat(0.0) } else { s.load_partial(e.shift.add(c), count) };
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
        let Some(activation) = self.epilogue.after else { return };
        let whole = self.channels.len() == all_channels;
        let (pieces, len) = if whole { (1, width * all_channels) } else { (width, self.channels.len()) };
        for piece in 0..pieces {
            let to = self.out.wrapping_add(row.out + piece * all_channels + self.channels.start);
            // SAFETY: this task has just written these elements.
            unsafe { activation.apply_raw(self.op.isa, to, to, len) };
        }
    }
}

/// Some channels of neighbouring output pixels.
#[derive(Clone, Copy)]
struct PixelBlock {
    /// The first pixel, and where its window begins.
    x: usize,
    left: isize,
    /// How many of [`PIXELS`] there are.
    live: usize,
    /// The first channel of the output, and how many.
    c: usize,
    count: usize,
}

/// How the channels of the input reach the lanes of the output's.
trait Inputs: Copy {
    /// The channel of the input that belongs to channel `c` of the output, the first one.
    fn first(self, c: usize) -> usize;

    /// The input for each lane, from the pixel's first of those channels on.
    ///
    /// # Safety
    /// The pixel has them.
    unsafe fn load<S: Simd>(self, s: S, from: *const f32) -> S::V;
}

/// A lane for each channel.
#[derive(Clone, Copy)]
struct Whole;

/// A lane for each of so many channels.
#[derive(Clone, Copy)]
struct Plain(usize);

/// Several lanes for each channel.
#[derive(Clone, Copy)]
struct Spread {
    first: usize,
    /// Channels of the input.
    count: usize,
    places: [i32; 16],
}

impl Inputs for Whole {
    #[inline(always)]
    fn first(self, c: usize) -> usize {
        c
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, from: *const f32) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe { s.load(from) }
    }
}

impl Inputs for Plain {
    #[inline(always)]
    fn first(self, c: usize) -> usize {
        c
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, from: *const f32) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe { s.load_partial(from, self.0) }
    }
}

impl Spread {
    /// For `count` channels of the output from `c` on.
    #[inline(always)]
    fn new(c: usize, count: usize, multiplier: usize) -> Spread {
        let first = c / multiplier;
        let last = (c + count - 1) / multiplier;
        let mut places = [0; 16];
        for (lane, place) in places.iter_mut().enumerate().take(count) {
            *place = ((c + lane) / multiplier - first) as i32;
        }
        Spread { first, count: last - first + 1, places }
    }
}

impl Inputs for Spread {
    #[inline(always)]
    fn first(self, _: usize) -> usize {
        self.first
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, from: *const f32) -> S::V {
        // SAFETY: as the caller vouches; no more channels than lanes belong to the lanes.
        s.spread(unsafe { s.load_partial(from, self.count) }, &self.places)
    }
}

/// A row of the window of [`PIXELS`] neighbouring output pixels.
struct TapRow<const WIDTH: usize> {
    /// Floats from one pixel to the next, and from one tap to the next.
    channels: usize,
    weights: usize,
    /// How many lanes there are weights for.
    count: usize,
    /// The first pixel's leftmost column.
    start: *const f32,
    filter: *const f32,
    /// Columns that lie in the image, counted from the first.
    valid: std::ops::Range<usize>,
}

impl<const WIDTH: usize> TapRow<WIDTH> {
    /// Adds the row's products.
    ///
    /// # Safety
    /// `inputs` can load at all valid columns, and `count` weights can be loaded at the filter's taps.
    #[inline(always)]
    unsafe fn add<S: Simd, const STRIDE: usize, const EDGE: bool>(
        &self,
        s: S,
        sums: &mut [S::V; PIXELS],
        inputs: impl Inputs,
    ) {
        let mut weights = [s.splat(0.0); WIDTH];
        for (kx, weight) in weights.iter_mut().enumerate() {
            let from = self.filter.wrapping_add(kx * self.weights);
            // SAFETY: as the caller vouches.
            *weight = unsafe {
                if self.count == S::LANES { s.load(from) } else { s.load_partial(from, self.count) }
            };
        }
        for i in 0..(PIXELS - 1) * STRIDE + WIDTH {
            if EDGE && !self.valid.contains(&i) {
                continue;
            }
            // SAFETY: as the caller vouches.
            let value = unsafe { inputs.load(s, self.start.wrapping_add(i * self.channels)) };
            for (pixel, sum) in sums.iter_mut().enumerate() {
                let kx = i.wrapping_sub(pixel * STRIDE);
                if kx < WIDTH {
                    *sum = s.mul_add(value, weights[kx], *sum);
                }
            }
        }
    }
}
