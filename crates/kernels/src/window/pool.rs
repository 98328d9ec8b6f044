//! Pooling over windows, and the mean over a middle axis.

use tightfit_core::Shared;

use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_exact, product};
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::{ThreadPool, share};
use crate::base::window::{Window, Window3};

/// What pooling makes of the values in a window. Padding is not part of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest, NaN passed over as TensorFlow does; the lowest finite float32 if all are NaN, and negative infinity where
    /// a window lies in a volume.
    Max,
    /// The sum divided by the number of values that lie in the image.
    Average,
}

/// Pooling of `[batch, height, width, channels]`, or of volumes with depth before height, f32. Needs no scratch.
#[derive(Debug, Clone, Copy)]
pub struct Pool2d {
    isa: Isa,
    kind: PoolKind,
    batch: usize,
    size: [usize; 3],
    channels: usize,
    window: Window3,
    output: [usize; 3],
    /// The largest of no numbers in a window that lies in the image; of one that sticks out it is the lowest float32.
    lowest: f32,
}

/// Vectors of channels that are worked on together.
const VECTORS: usize = 4;

/// Values read that are worth a task of their own.
const TASK_WORK: usize = 1 << 17;

impl Pool2d {
    /// Pooling of images of this shape. Each window must touch the image.
    ///
    /// # Errors
    /// [`KernelError`] for a window that makes no sense or sizes that overflow, or when the processor lacks `isa`.
    pub fn new(isa: Isa, kind: PoolKind, shape: [usize; 4], window: Window) -> Result<Pool2d, KernelError> {
        let [batch, height, width, channels] = shape;
        let pool = Pool2d::of_volumes(isa, kind, [batch, 1, height, width, channels], window.into())?;
        Ok(Pool2d { lowest: f32::MIN, ..pool })
    }

    /// Pooling of volumes of this shape, `[batch, depth, height, width, channels]`. Each window must touch the volume.
    ///
    /// # Errors
    /// As [`Pool2d::new`].
    pub fn of_volumes(
        isa: Isa,
        kind: PoolKind,
        shape: [usize; 5],
        window: Window3,
    ) -> Result<Pool2d, KernelError> {
        if !isa.is_available() {
            return Err(KernelError::Isa(isa));
        }
        let [batch, depth, height, width, channels] = shape;
        let size = [depth, height, width];
        let output = window.output(size)?;
        product(&shape)?;
        product(&[batch, output[0], output[1], output[2], channels])?;
        for (axis, size) in size.into_iter().enumerate() {
            let touches = |position: usize| {
                let (first, end) = window.valid(axis, position, size);
                first < end
            };
            // Windows in between lie further inside than the first or the last, unless dilation steps over the image.
            if output[axis] > 0 && !(0..output[axis]).all(touches) {
                return Err(KernelError::Attribute("a pooling window lies outside the image"));
            }
        }
        Ok(Pool2d { isa, kind, batch, size, channels, window, output, lowest: f32::NEG_INFINITY })
    }

    /// The output's shape, `[batch, height', width', channels]`, of pooled images.
    pub fn output_shape(&self) -> [usize; 4] {
        [self.batch, self.output[1], self.output[2], self.channels]
    }

    /// Computes the pooling.
    ///
    /// # Errors
    /// [`KernelError::Length`] when a length is wrong.
    pub fn run(&self, pool: &ThreadPool, input: &[f32], out: &mut [f32]) -> Result<(), KernelError> {
        let ([depth, height, width], channels) = (self.output, self.channels);
        let pixels = self.batch * self.size.iter().product::<usize>();
        check_exact("the input", pixels * channels, input.len())?;
        check_exact("the output", self.batch * depth * height * width * channels, out.len())?;
        if out.is_empty() {
            return Ok(());
        }
        let rows = self.batch * depth * height;
        let work = out.len().saturating_mul(self.window.size.iter().product::<usize>());
        let wanted = if pool.threads() == 1 { 1 } else { (work / TASK_WORK).clamp(1, pool.threads() * 4) };
        let tasks = wanted.min(rows);
        let row_floats = width * channels;
        let shared = Shared::new(out);
        pool.run(tasks, &|task, _| {
            let own = share(rows, tasks, task);
            // SAFETY: each task has its own rows of the output, whose length was checked.
            let mut out = unsafe { shared.part(own.start * row_floats, own.len() * row_floats) };
            dispatch(self.isa, Job { op: self, input, first: own.start, out: &mut out });
        });
        Ok(())
    }
}

struct Job<'a> {
    op: &'a Pool2d,
    input: &'a [f32],
    /// The first row, counted over all images' outputs.
    first: usize,
    out: &'a mut [f32],
}

impl Kernel for Job<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ([depth, height, width], channels) = (self.op.output, self.op.channels);
        for (number, row) in self.out.chunks_exact_mut(width * channels).enumerate() {
            let (y, rest) = ((self.first + number) % height, (self.first + number) / height);
            let (z, volume) = (rest % depth, rest / depth);
            let place = |x: usize| [volume, z, y, x];
            for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
                let mut c = 0;
                while c + VECTORS * S::LANES <= channels {
                    pool_block::<S, VECTORS>(s, self.op, self.input, place(x), c, S::LANES, pixel);
                    c += VECTORS * S::LANES;
                }
                while c < channels {
                    let count = (channels - c).min(S::LANES);
                    pool_block::<S, 1>(s, self.op, self.input, place(x), c, count, pixel);
                    c += count;
                }
            }
        }
    }
}

/// `N` vectors of one output pixel, from channel `c` on; only the first `count` lanes if `N` is 1.
#[inline(always)]
fn pool_block<S: Simd, const N: usize>(
    s: S,
    op: &Pool2d,
    input: &[f32],
    [volume, z, y, x]: [usize; 4],
    c: usize,
    count: usize,
    pixel: &mut [f32],
) {
    let w = &op.window;
    let [depth, height, width] = op.size;
    let (first_z, end_z) = w.valid(0, z, depth);
    let (first_y, end_y) = w.valid(1, y, height);
    let (first_x, end_x) = w.valid(2, x, width);
    let is_max = op.kind == PoolKind::Max;
    let pixels = (end_z - first_z) * (end_y - first_y) * (end_x - first_x);
    let is_whole = pixels == w.size[0] * w.size[1] * w.size[2];
    let start = match op.kind {
        PoolKind::Average => 0.0,
        PoolKind::Max => {
            if is_whole {
                op.lowest
            } else {
                f32::MIN
            }
        }
    };
    let mut values = [s.splat(start); N];
    for kz in first_z..end_z {
        let plane = volume * depth + z * w.strides[0] + kz * w.dilations[0] + w.skips[0] - w.pads[0];
        for ky in first_y..end_y {
            let row = plane * height + y * w.strides[1] + ky * w.dilations[1] + w.skips[1] - w.pads[2];
            for kx in first_x..end_x {
                let column = x * w.strides[2] + kx * w.dilations[2] + w.skips[2] - w.pads[4];
                let at = (row * width + column) * op.channels + c;
                for (v, value) in values.iter_mut().enumerate() {
                    // SAFETY: plane, row and column lie in the volume, and `count` channels (N whole vectors) are left.
                    let next = unsafe { s.load_partial(input.as_ptr().add(at + v * S::LANES), count) };
                    // A NaN is passed over, as in TensorFlow.
                    *value = if is_max { s.max(next, *value) } else { s.add(*value, next) };
                }
            }
        }
    }
    let divisor = s.splat(pixels as f32);
    for (v, value) in values.into_iter().enumerate() {
        let value = if is_max { value } else { s.div(value, divisor) };
        // SAFETY: `count` channels (N whole vectors) of the pixel are left from `c`.
        unsafe { s.store_partial(pixel.as_mut_ptr().add(c + v * S::LANES), value, count) };
    }
}

/// The mean over the middle axis of `[outer, n, channels]`, into `[outer, channels]`: global average pooling.
///
/// # Errors
/// [`KernelError::Length`] when a length is wrong, [`KernelError::Attribute`] when `n` is 0.
pub fn mean_middle_axis(
    isa: Isa,
    pool: &ThreadPool,
    [outer, n, channels]: [usize; 3],
    input: &[f32],
    out: &mut [f32],
) -> Result<(), KernelError> {
    check_exact("the input", product(&[outer, n, channels])?, input.len())?;
    check_exact("the output", product(&[outer, channels])?, out.len())?;
    if n == 0 {
        return Err(KernelError::Attribute("the mean of no values"));
    }
    if out.is_empty() {
        return Ok(());
    }
    // Channels are cut at whole cache lines.
    let parts = if pool.threads() == 1 || input.len() < TASK_WORK { 1 } else { pool.threads() };
    let part = channels.div_ceil(parts).next_multiple_of(64);
    let parts = channels.div_ceil(part);
    let shared = Shared::new(out);
    pool.run(outer * parts, &|task, _| {
        let (row, first) = (task / parts, task % parts * part);
        let count = part.min(channels - first);
        // SAFETY: each task has its own channels of its own row of the output.
        let mut out = unsafe { shared.part(row * channels + first, count) };
        let input = &input[row * n * channels..(row + 1) * n * channels];
        dispatch(isa, Mean { input, n, channels, first, out: &mut out });
    });
    Ok(())
}

struct Mean<'a> {
    /// `[n, channels]`
    input: &'a [f32],
    n: usize,
    channels: usize,
    /// The channel that `out` starts at.
    first: usize,
    out: &'a mut [f32],
}

impl Kernel for Mean<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let mut c = 0;
        while c + VECTORS * S::LANES <= self.out.len() {
            self.block::<S, VECTORS>(s, c, S::LANES);
            c += VECTORS * S::LANES;
        }
        while c < self.out.len() {
            let count = (self.out.len() - c).min(S::LANES);
            self.block::<S, 1>(s, c, count);
            c += count;
        }
    }
}

impl Mean<'_> {
    #[inline(always)]
    fn block<S: Simd, const N: usize>(&mut self, s: S, c: usize, count: usize) {
        let mut sums = [s.splat(0.0); N];
        let factor = s.splat(self.n as f32);
        // SAFETY: `count` channels (N whole vectors) are left in the row of the output, and so in each input row.
        unsafe {
            for i in 0..self.n {
                let from = self.input.as_ptr().add(i * self.channels + self.first + c);
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = s.add(*sum, s.load_partial(from.add(v * S::LANES), count));
                }
            }
            for (v, sum) in sums.into_iter().enumerate() {
                s.store_partial(self.out.as_mut_ptr().add(c + v * S::LANES), s.div(sum, factor), count);
            }
        }
    }
}
