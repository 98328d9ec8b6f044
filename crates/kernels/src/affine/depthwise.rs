//! Depthwise convolutions of bytes: `[batch, height, width, channels]` with filters
//! `[height, width, channels * multiplier]`.

use tightfit_core::Shared;

#[cfg(target_arch = "x86_64")]
use super::columns::x86;
use super::conv2d::{AffineInput, AffineOutput, HybridOutput};
use super::dot::COLUMNS;
use super::filter::{AffineFilter, FLIP, FilterType};
use super::finish::{ToBytes, ToFloats};
use super::product::Finish;
#[cfg(target_arch = "x86_64")]
use super::product::most_sum;
use crate::base::access::split_range;
use crate::base::error::{KernelError, check_exact, product};
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::ThreadPool;
use crate::base::window::Window;
use crate::base::window::Window3;

/// Bytes of lines that are computed for one block of channels after the other.
const BAND_BYTES: usize = 192 << 10;

/// A depthwise convolution of bytes: output channel `c` is that of input channel `c / multiplier`.
#[derive(Debug, Clone, Copy)]
pub struct AffineDepthwise {
    input: [usize; 4],
    window: Window,
    output: [usize; 2],
    multiplier: usize,
}

impl AffineDepthwise {
    /// A convolution of an input of this shape, with a window of the filter's size.
    ///
    /// # Errors
    /// [`KernelError::Attribute`] for windows without steps, and sizes that overflow.
    pub fn new(input: [usize; 4], window: Window, multiplier: usize) -> Result<AffineDepthwise, KernelError> {
        let output = window.output(input[1], input[2])?;
        product(&[input[0], output[0], output[1], input[3], multiplier])?;
        product(&[window.size[0], window.size[1], input[3], multiplier])?;
        Ok(AffineDepthwise { input, window, output, multiplier })
    }

    /// Height and width of the output.
    pub fn output(&self) -> [usize; 2] {
        self.output
    }

    fn channels(&self) -> usize {
        self.input[3] * self.multiplier
    }

    fn check(
        &self,
        input: &AffineInput<'_>,
        filter: &AffineFilter<'_>,
        output: usize,
    ) -> Result<(), KernelError> {
        check_exact("the input", product(&self.input)?, input.bytes.len())?;
        check_exact("the filter's taps", self.window.size[0] * self.window.size[1], filter.columns)?;
        check_exact("the filter's channels", self.channels(), filter.depth)?;
        let pixels = product(&[self.input[0], self.output[0], self.output[1]])?;
        check_exact("the output", product(&[pixels, self.channels()])?, output)
    }

    /// Computes the output. `filter` has a row for each element of the window.
    ///
    /// # Errors
    /// [`KernelError`] when a length is wrong.
    pub fn run(
        &self,
        pool: &ThreadPool,
        input: AffineInput<'_>,
        filter: AffineFilter<'_>,
        output: AffineOutput<'_>,
    ) -> Result<(), KernelError> {
        self.check(&input, &filter, output.bytes.len())?;
        if let Some(bias) = output.bias {
            check_exact("the bias", self.channels(), bias.len())?;
        }
        output.rescale.check(self.channels())?;
        let finish = ToBytes {
            rescale: output.rescale,
            bias: output.bias,
            row_bytes: self.channels(),
            output: Shared::new(output.bytes),
        };
        self.lines(pool, input, filter, &finish);
        Ok(())
    }

    /// Computes the output of floats that were quantised image by image.
    ///
    /// # Errors
    /// As [`AffineDepthwise::run`].
    pub fn run_hybrid(
        &self,
        pool: &ThreadPool,
        input: AffineInput<'_>,
        filter: AffineFilter<'_>,
        output: HybridOutput<'_>,
    ) -> Result<(), KernelError> {
        self.check(&input, &filter, output.floats.len())?;
        check_exact("the images' zeros", self.input[0], input.zeros.len())?;
        check_exact("the images' scales", self.input[0], output.image_scales.len())?;
        if let Some(bias) = output.bias {
            check_exact("the bias", self.channels(), bias.len())?;
        }
        if output.scales.len() != 1 {
            check_exact("the scales", self.channels(), output.scales.len())?;
        }
        let finish = ToFloats {
            scales: output.scales,
            row_scales: output.image_scales,
            rows_each: (self.output[0] * self.output[1]).max(1),
            bias: output.bias,
            bounds: output.bounds,
            row_floats: self.channels(),
            output: Shared::new(output.floats),
        };
        self.lines(pool, input, filter, &finish);
        Ok(())
    }

    fn lines(
        &self,
        pool: &ThreadPool,
        input: AffineInput<'_>,
        filter: AffineFilter<'_>,
        finish: &impl Finish,
    ) {
        let cost = filter.columns.saturating_mul(self.output[1]).saturating_mul(self.channels());
        // The bytes under a band stay in a cache while it is computed for one block of channels after the other.
        let line_bytes = self.input[2] * self.input[3] * self.window.strides[0];
        let band = (BAND_BYTES / line_bytes.max(1)).max(1);
        split_range(pool, self.input[0] * self.output[0], cost, &|first, count| {
            let mut line = first;
            while line < first + count {
                let image = line / self.output[0];
                let zero = input.zeros.get(image).or(input.zeros.first()).copied().unwrap_or(0);
                let end = (line + band).min(first + count).min((image + 1) * self.output[0]);
                let lines = Lines {
                    conv: self,
                    input: input.bytes,
                    flip: if input.is_unsigned { 0 } else { FLIP },
                    zero: ToBytes::unsigned(zero, input.is_unsigned),
                    filter,
                    image,
                    lines: (line - image * self.output[0], end - image * self.output[0]),
                    finish,
                };
                dispatch(pool.isa(), lines);
                line = end;
            }
        });
    }
}

/// Some lines of an image of the output.
struct Lines<'a, F> {
    conv: &'a AffineDepthwise,
    input: &'a [u8],
    flip: u8,
    zero: i32,
    filter: AffineFilter<'a>,
    image: usize,
    lines: (usize, usize),
    finish: &'a F,
}

impl<F: Finish> Kernel for Lines<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let AffineDepthwise { input: [_, height, width, _], window, output, .. } = *self.conv;
        let window = Window3::from(window);
        let channels = self.conv.channels();
        #[cfg(target_arch = "x86_64")]
        if S::LANES >= 8 && self.conv.multiplier == 1 && channels >= COLUMNS {
            let is_byte = (0..256).contains(&self.zero) && (-128..128).contains(&self.filter.zero());
            if let Some(terms) = x86::Terms::new(&window).filter(|_| is_byte) {
                // SAFETY: a vector of 8 floats is there only where AVX2 is.
                return unsafe { self.columns(simd, &window, &terms) };
            }
        }
        let furthest = |zero: i32| 255 + i64::from(zero).abs();
        let most = furthest(self.zero) * furthest(self.filter.zero()) * self.filter.columns as i64;
        let mut at = 0;
        while at < channels {
            let count = if channels - at < COLUMNS { channels - at } else { COLUMNS };
            let mut own = F::Channels::default();
            self.finish.channels(at, count, (&[0; COLUMNS], most), &mut own);
            let mut y = self.lines.0;
            while y < self.lines.1 {
                let rows = window.valid(1, y, height);
                let mut x = 0;
                while x < output[1] {
                    let columns = window.valid(2, x, width);
                    let mut sums = [0i32; COLUMNS];
                    let mut ty = rows.0;
                    while ty < rows.1 {
                        let at_y = y * window.strides[1] + ty * window.dilations[1] - window.pads[2];
                        let mut tx = columns.0;
                        while tx < columns.1 {
                            let at_x = x * window.strides[2] + tx * window.dilations[2] - window.pads[4];
                            let pixel = (self.image * height + at_y) * width + at_x;
                            self.tap(pixel, ty * window.size[2] + tx, at, count, &mut sums);
                            tx += 1;
                        }
                        ty += 1;
                    }
                    let row = (self.image * output[0] + y) * output[1] + x;
                    self.finish.finish(simd, &own, row, at, &sums, count);
                    x += 1;
                }
                y += 1;
            }
            at += COLUMNS;
        }
    }
}

impl<F: Finish> Lines<'_, F> {
    /// Adds the products of a pixel with an element of the window.
    #[inline(always)]
    fn tap(&self, pixel: usize, tap: usize, first: usize, count: usize, sums: &mut [i32; COLUMNS]) {
        let AffineDepthwise { input: [_, _, _, channels], multiplier, .. } = *self.conv;
        let mut weights = [0u8; COLUMNS];
        let mut bytes = [0u8; COLUMNS];
        let start = tap * self.filter.depth + first;
        if count == COLUMNS && self.filter.kind == FilterType::Int8 {
            weights.copy_from_slice(&self.filter.bytes[start..start + COLUMNS]);
        } else {
            self.filter.read(tap, first, &mut weights[..count]);
        }
        if multiplier != 1 {
            let mut c = 0;
            while c < count {
                bytes[c] = self.input[pixel * channels + (first + c) / multiplier];
                c += 1;
            }
        } else if count == COLUMNS {
            let from = pixel * channels + first;
            bytes.copy_from_slice(&self.input[from..from + COLUMNS]);
        } else {
            let from = pixel * channels + first;
            bytes[..count].copy_from_slice(&self.input[from..from + count]);
        }
        let filter_zero = self.filter.zero();
        let mut c = 0;
        while c < COLUMNS {
            let x = (bytes[c] ^ self.flip) as i32 - self.zero;
            sums[c] = sums[c].wrapping_add(x.wrapping_mul(weights[c] as i8 as i32 - filter_zero));
            c += 1;
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl<F: Finish> Lines<'_, F> {
    /// Computes 16 channels after the other; the last ones with those before them, where they are fewer.
    ///
    /// # Safety
    /// The processor has AVX2, and the pixels as many channels.
    #[inline(always)]
    unsafe fn columns<S: Simd>(&self, simd: S, window: &Window3, terms: &x86::Terms) {
        let AffineDepthwise { input: [_, height, width, channels], output, .. } = *self.conv;
        let (zero, taps) = (self.zero - i32::from(self.flip), self.filter.columns);
        let image = &self.input[self.image * height * width * channels..][..height * width * channels];
        let mut columns = x86::Columns::new();
        for first in (0..channels).step_by(COLUMNS).map(|first| first.min(channels - COLUMNS)) {
            let read = |tap: usize, to: &mut [u8; COLUMNS]| self.filter.read(tap, first, to);
            // SAFETY: the caller's promise.
            let weights = unsafe { terms.weights(read, self.filter.zero()) };
            // What stands for 0 is multiplied as well, and what comes of it taken off the sums.
            let added = weights.sums.map(|sum| -(zero * sum));
            let mut own = F::Channels::default();
            self.finish.channels(first, COLUMNS, (&added, 2 * most_sum(taps)), &mut own);
            for y in self.lines.0..self.lines.1 {
                let mut line = x86::Line {
                    rows: [std::ptr::null(); x86::ROWS],
                    width,
                    stride: channels,
                    zero,
                    is_signed: self.flip != 0,
                };
                for (ty, row) in line.rows.iter_mut().enumerate().take(window.size[1]) {
                    let at_y = (y * window.strides[1] + ty * window.dilations[1]).checked_sub(window.pads[2]);
                    if let Some(at_y) = at_y.filter(|at_y| *at_y < height) {
                        *row = image[at_y * width * channels + first..].as_ptr();
                    }
                }
                for start in (0..output[1]).step_by(terms.windows()) {
                    let count = terms.windows().min(output[1] - start);
                    // SAFETY: the caller's promise; each pixel has 16 channels from `first` on.
                    unsafe { columns.lay_out(terms, &line, (start, count)) };
                    for at in (0..count).step_by(2) {
                        let next = (at + 1).min(count - 1);
                        // SAFETY: the columns of `count` windows are laid out.
                        let sums = unsafe { columns.sums(terms, &weights, [at, next]) };
                        let row = (self.image * output[0] + y) * output[1] + start;
                        self.finish.finish(simd, &own, row + at, first, &sums[0], COLUMNS);
                        if next > at {
                            self.finish.finish(simd, &own, row + next, first, &sums[1], COLUMNS);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affine::{Multiplier, Rescale};
    use crate::base::window::element_at;

    #[test]
    fn each_channel_has_filters_of_its_own() {
        let bytes =
            |count: usize, step: usize| (0..count).map(|n| (n * step % 253) as u8).collect::<Vec<_>>();
        for (input, multiplier, size, strides, dilations, is_same, is_unsigned) in [
            ([2, 5, 7, 3], 1, [3, 2], [1, 1], [1, 1], true, false),
            ([1, 6, 6, 40], 1, [3, 2], [2, 2], [1, 1], true, true),
            ([1, 4, 5, 3], 7, [3, 2], [1, 2], [1, 1], false, false),
            ([2, 9, 200, 16], 1, [3, 3], [1, 1], [1, 1], true, false),
            ([1, 9, 13, 37], 1, [5, 5], [2, 2], [1, 1], true, false),
            ([1, 17, 19, 20], 1, [4, 3], [1, 3], [2, 3], true, true),
            ([1, 3, 4, 16], 1, [7, 7], [1, 1], [1, 1], true, false),
            ([1, 30, 4, 16], 1, [9, 1], [1, 1], [1, 1], false, false),
            ([1, 2, 60, 16], 1, [1, 4], [1, 5], [1, 1], true, false),
        ] {
            let mut window = Window { strides, dilations, ..Window::new(size[0], size[1]) };
            let taps = size[0] * size[1];
            if is_same {
                window = window.same(input[1], input[2]);
            }
            let conv = AffineDepthwise::new(input, window, multiplier).unwrap();
            let channels = input[3] * multiplier;
            let (x, w) = (bytes(input.iter().product(), 37), bytes(taps * channels, 53));
            let multipliers = [Multiplier::of(0.01)];
            let rescale = Rescale { multipliers: &multipliers, exact: &[], zero: 3, bounds: (0, 100) };
            let mut expected = vec![0; input[0] * conv.output[0] * conv.output[1] * channels];
            let kind = if is_unsigned { FilterType::UInt8 } else { FilterType::Int8 };
            let (zero, filter_zero) = if is_unsigned { (130, 120) } else { (-4, 0) };
            let value = |byte: u8| if is_unsigned { byte as i32 } else { byte as i8 as i32 };
            for (at, byte) in expected.iter_mut().enumerate() {
                let (c, pixel) = (at % channels, at / channels);
                let (ox, oy) = (pixel % conv.output[1], pixel / conv.output[1] % conv.output[0]);
                let image = pixel / conv.output[1] / conv.output[0];
                let mut sum = c as i32;
                for tap in 0..taps {
                    let y = element_at(&window, 0, oy, tap / size[1], input[1]);
                    let px = element_at(&window, 1, ox, tap % size[1], input[2]);
                    let (Some(y), Some(px)) = (y, px) else { continue };
                    let from = ((image * input[1] + y) * input[2] + px) * input[3] + c / multiplier;
                    sum += (value(x[from]) - zero) * (value(w[tap * channels + c]) - filter_zero);
                }
                *byte = rescale.bounded(multipliers[0].apply(sum)) as u8;
            }
            let bias: Vec<i32> = (0..channels as i32).collect();
            for isa in crate::Isa::ALL {
                let pool = ThreadPool::with_isa(2, isa).unwrap();
                let filter = AffineFilter::new(&w, (taps, channels), kind, filter_zero).unwrap();
                let mut output = vec![0; expected.len()];
                let out = AffineOutput { bytes: &mut output, rescale, bias: Some(&bias) };
                conv.run(&pool, AffineInput { bytes: &x, is_unsigned, zeros: &[zero] }, filter, out).unwrap();
                assert_eq!(output, expected, "{isa:?} {input:?}");
            }
        }
    }
}
