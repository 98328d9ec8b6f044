//! Depthwise convolutions of bytes: `[batch, height, width, channels]` with filters
//! `[height, width, channels * multiplier]`.

use tightfit_core::Shared;

use super::conv2d::{AffineInput, AffineOutput, HybridOutput};
use super::dot::COLUMNS;
use super::filter::{AffineFilter, FLIP, FilterType};
use super::finish::{ToBytes, ToFloats};
use super::product::Finish;
use crate::base::access::split_range;
use crate::base::error::{KernelError, check_exact, product};
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::ThreadPool;
use crate::base::window::Window;
use crate::base::window::Window3;

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
        split_range(pool, self.input[0] * self.output[0], cost, &|first, count| {
            for line in first..first + count {
                let image = line / self.output[0];
                let zero = input.zeros.get(image).or(input.zeros.first()).copied().unwrap_or(0);
                let line = Line {
                    conv: self,
                    input: input.bytes,
                    flip: if input.is_unsigned { 0 } else { FLIP },
                    zero: ToBytes::unsigned(zero, input.is_unsigned),
                    filter,
                    line,
                    finish,
                };
                dispatch(pool.isa(), line);
            }
        });
    }
}

/// One line of the output.
struct Line<'a, F> {
    conv: &'a AffineDepthwise,
    input: &'a [u8],
    flip: u8,
    zero: i32,
    filter: AffineFilter<'a>,
    line: usize,
    finish: &'a F,
}

impl<F: Finish> Kernel for Line<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let AffineDepthwise { input: [_, height, width, _], window, output, .. } = *self.conv;
        let window = Window3::from(window);
        let (image, y) = (self.line / output[0], self.line % output[0]);
        let rows = window.valid(1, y, height);
        let top = y * window.strides[1];
        let channels = self.conv.channels();
        let mut at = 0;
        while at < channels {
            let (first, count) = (at, if channels - at < COLUMNS { channels - at } else { COLUMNS });
            #[cfg(target_arch = "x86_64")]
            if S::LANES >= 8 && self.conv.multiplier == 1 && channels >= COLUMNS {
                // The last channels, with those before them where they are fewer.
                let first = first.min(channels - COLUMNS);
                // SAFETY: a vector of 8 floats is there only where AVX2 is.
                if unsafe { self.sixteen(simd, &window, rows, first) } {
                    at += COLUMNS;
                    continue;
                }
            }
            let mut own = F::Channels::default();
            self.finish.channels(first, count, &[0; COLUMNS], &mut own);
            let mut x = 0;
            while x < output[1] {
                let columns = window.valid(2, x, width);
                let mut sums = [0i32; COLUMNS];
                let mut ty = rows.0;
                while ty < rows.1 {
                    let at_y = top + ty * window.dilations[1] - window.pads[2];
                    let mut tx = columns.0;
                    while tx < columns.1 {
                        let at_x = x * window.strides[2] + tx * window.dilations[2] - window.pads[4];
                        let pixel = (image * height + at_y) * width + at_x;
                        self.tap(pixel, ty * window.size[2] + tx, first, count, &mut sums);
                        tx += 1;
                    }
                    ty += 1;
                }
                self.finish.finish(simd, &own, self.line * output[1] + x, first, &sums, count);
                x += 1;
            }
            at += COLUMNS;
        }
    }
}

impl<F: Finish> Line<'_, F> {
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
impl<F: Finish> Line<'_, F> {
    /// Computes 16 channels from `first` on, whose window has these rows inside of the image. False where it has too many
    /// elements.
    ///
    /// # Safety
    /// The processor has AVX2, and the pixels as many channels.
    #[inline(always)]
    unsafe fn sixteen<S: Simd>(&self, simd: S, window: &Window3, rows: (usize, usize), first: usize) -> bool {
        let AffineDepthwise { input: [_, height, width, channels], output, .. } = *self.conv;
        let (image, y) = (self.line / output[0], self.line % output[0]);
        let (down, across) = (rows.1.saturating_sub(rows.0), window.size[2]);
        let taps = down * across;
        if taps > x86::MOST {
            return false;
        }
        let mut weights = x86::Weights::new();
        for tap in 0..taps {
            let mut bytes = [0; COLUMNS];
            self.filter.read(rows.0 * across + tap, first, &mut bytes);
            let zero = self.filter.zero() as i16;
            weights.put(tap, bytes.map(|byte| i16::from(byte as i8) - zero));
        }
        let is_signed = self.flip != 0;
        let zero = self.zero - i32::from(self.flip);
        let outside = [zero as u8; COLUMNS];
        let mut own = F::Channels::default();
        self.finish.channels(first, COLUMNS, &[0; COLUMNS], &mut own);
        let top = y * window.strides[1] + rows.0 * window.dilations[1];
        let top = (image * height + top.saturating_sub(window.pads[2])) * width * channels + first;
        let mut pointers = [outside.as_ptr(); x86::MOST + 1];
        let step = window.strides[2] * channels;
        let mut was_inside = false;
        for x in 0..output[1] {
            let valid = window.valid(2, x, width);
            let is_inside = valid == (0, across);
            let own_taps = &mut pointers[..taps];
            if is_inside && was_inside {
                own_taps.iter_mut().for_each(|pointer| *pointer = pointer.wrapping_add(step));
            } else {
                own_taps.fill(outside.as_ptr());
            }
            let is_moved = std::mem::replace(&mut was_inside, is_inside) && is_inside;
            let left = (x * window.strides[2]) as isize - window.pads[4] as isize;
            for ty in (0..down).take_while(|_| !is_moved) {
                let line = top + ty * window.dilations[1] * width * channels;
                for tx in valid.0..valid.1 {
                    let at_x = left + (tx * window.dilations[2]) as isize;
                    pointers[ty * across + tx] = self.input[line + at_x as usize * channels..].as_ptr();
                }
            }
            // SAFETY: the caller's promise, of pixels that are inside of the image.
            let sums = unsafe { x86::sums(&pointers[..taps.next_multiple_of(2)], &weights, is_signed, zero) };
            self.finish.finish(simd, &own, self.line * output[1] + x, first, &sums, COLUMNS);
        }
        true
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::COLUMNS;

    /// The most elements of a window.
    pub(super) const MOST: usize = 49;

    /// The weights of 16 channels: those of two elements of the window stand side by side, in the order of [`sums`].
    pub(super) struct Weights([[i16; 2 * COLUMNS]; MOST.div_ceil(2)]);

    impl Weights {
        pub fn new() -> Weights {
            Weights([[0; 2 * COLUMNS]; MOST.div_ceil(2)])
        }

        pub fn put(&mut self, tap: usize, weights: [i16; COLUMNS]) {
            let pair = &mut self.0[tap / 2];
            for (c, weight) in weights.into_iter().enumerate() {
                // Channels 0 to 3, 8 to 11, 4 to 7 and 12 to 15, as the halves of vectors are interleaved.
                let place = c % 4 + 4 * [0, 2, 1, 3][c / 4];
                pair[2 * place + tap % 2] = weight;
            }
        }
    }

    /// The sums of 16 channels over an even number of elements of a window.
    ///
    /// # Safety
    /// The processor has AVX2, and 16 bytes can be read at each pointer.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn sums(
        pixels: &[*const u8],
        weights: &Weights,
        is_signed: bool,
        zero: i32,
    ) -> [i32; COLUMNS] {
        let zero = _mm256_set1_epi16(zero as i16);
        let (mut low, mut high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        for (pixels, weights) in pixels.as_chunks::<2>().0.iter().zip(&weights.0) {
            let [a, b] = pixels.map(|pixel| {
                // SAFETY: the caller's promise.
                let bytes = unsafe { _mm_loadu_si128(pixel.cast()) };
                let words = if is_signed { _mm256_cvtepi8_epi16(bytes) } else { _mm256_cvtepu8_epi16(bytes) };
                _mm256_sub_epi16(words, zero)
            });
            // SAFETY: 32 weights.
            let [of_low, of_high] =
                [0, 16].map(|at| unsafe { _mm256_loadu_si256(weights.as_ptr().add(at).cast()) });
            low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), of_low));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), of_high));
        }
        let mut all = [0; COLUMNS];
        // SAFETY: 16 sums.
        unsafe {
            let to = all.as_mut_ptr();
            _mm256_storeu_si256(to.cast(), _mm256_permute2x128_si256::<0x20>(low, high));
            _mm256_storeu_si256(to.add(8).cast(), _mm256_permute2x128_si256::<0x31>(low, high));
        }
        all
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
        for (input, multiplier, strides, is_same, is_unsigned) in [
            ([2, 5, 7, 3], 1, [1, 1], true, false),
            ([1, 6, 6, 40], 1, [2, 2], true, true),
            ([1, 4, 5, 3], 7, [1, 2], false, false),
        ] {
            let mut window = Window { strides, ..Window::new(3, 2) };
            if is_same {
                window = window.same(input[1], input[2]);
            }
            let conv = AffineDepthwise::new(input, window, multiplier).unwrap();
            let channels = input[3] * multiplier;
            let (x, w) = (bytes(input.iter().product(), 37), bytes(6 * channels, 53));
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
                for tap in 0..6 {
                    let y = element_at(&window, 0, oy, tap / 2, input[1]);
                    let px = element_at(&window, 1, ox, tap % 2, input[2]);
                    let (Some(y), Some(px)) = (y, px) else { continue };
                    let from = ((image * input[1] + y) * input[2] + px) * input[3] + c / multiplier;
                    sum += (value(x[from]) - zero) * (value(w[tap * channels + c]) - filter_zero);
                }
                *byte = rescale.bounded(multipliers[0].apply(sum)) as u8;
            }
            let bias: Vec<i32> = (0..channels as i32).collect();
            for isa in crate::Isa::ALL {
                let pool = ThreadPool::with_isa(2, isa).unwrap();
                let filter = AffineFilter::new(&w, (6, channels), kind, filter_zero).unwrap();
                let mut output = vec![0; expected.len()];
                let out = AffineOutput { bytes: &mut output, rescale, bias: Some(&bias) };
                conv.run(&pool, AffineInput { bytes: &x, is_unsigned, zeros: &[zero] }, filter, out).unwrap();
                assert_eq!(output, expected, "{isa:?} {input:?}");
            }
        }
    }
}
