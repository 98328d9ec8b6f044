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
        let is_plain = self.conv.multiplier == 1 && self.filter.kind == FilterType::Int8;
        let mut first = 0;
        while first < channels {
            let count = if channels - first < COLUMNS { channels - first } else { COLUMNS };
            let mut x = 0;
            while x < output[1] {
                let columns = window.valid(2, x, width);
                #[cfg(target_arch = "x86_64")]
                if S::LANES == 16 && is_plain && rows.0 < rows.1 && columns.0 < columns.1 {
                    let at = [(1, rows.0, y, 2), (2, columns.0, x, 4)].map(|(axis, tap, at, pad)| {
                        at * window.strides[axis] + tap * window.dilations[axis] - window.pads[pad]
                    });
                    let pixel = (image * height + at[0]) * width + at[1];
                    let taps = x86::Taps {
                        input: self.input[pixel * channels + first..].as_ptr(),
                        steps: [window.dilations[1] * width * channels, window.dilations[2] * channels],
                        filter: self.filter.bytes[(rows.0 * window.size[2] + columns.0) * channels + first..]
                            .as_ptr(),
                        line: window.size[2] * channels,
                        channels,
                        taps: [rows.1 - rows.0, columns.1 - columns.0],
                    };
                    // SAFETY: a vector of 16 floats is there only where AVX-512 is; the taps are those inside of the image.
                    let sums = unsafe { x86::sums(&taps, count, self.flip, self.zero, self.filter.zero()) };
                    self.finish.finish(simd, self.line * output[1] + x, first, &sums, count);
                    x += 1;
                    continue;
                }
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
                self.finish.finish(simd, self.line * output[1] + x, first, &sums, count);
                x += 1;
            }
            first += COLUMNS;
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
mod x86 {
    use std::arch::x86_64::*;

    use super::COLUMNS;

    /// The elements of a window that are inside of an image, for some channels.
    pub(super) struct Taps {
        /// The channels of the first one's pixel.
        pub input: *const u8,
        /// Bytes to the pixel below that one takes, and to that beside it.
        pub steps: [usize; 2],
        /// The first one's weights.
        pub filter: *const u8,
        /// Bytes to those of the line below, and to those beside.
        pub line: usize,
        pub channels: usize,
        /// How many there are, down and across.
        pub taps: [usize; 2],
    }

    /// The sums of `count` channels, at most 16.
    ///
    /// # Safety
    /// The processor has AVX-512 with BW and VL, and pixels and weights are where `taps` says.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn sums(
        taps: &Taps,
        count: usize,
        flip: u8,
        zero: i32,
        filter_zero: i32,
    ) -> [i32; COLUMNS] {
        let mask = ((1u32 << count) - 1) as u16;
        let (flip, zero, filter_zero) =
            (_mm_set1_epi8(flip as i8), _mm512_set1_epi32(zero), _mm512_set1_epi32(filter_zero));
        let mut sums = _mm512_setzero_si512();
        for ty in 0..taps.taps[0] {
            for tx in 0..taps.taps[1] {
                // SAFETY: the caller vouches for both; no more is read than the mask says.
                let [bytes, weights] = unsafe {
                    [
                        taps.input.add(ty * taps.steps[0] + tx * taps.steps[1]),
                        taps.filter.add(ty * taps.line + tx * taps.channels),
                    ]
                    .map(|at| _mm_maskz_loadu_epi8(mask, at.cast()))
                };
                let x = _mm512_sub_epi32(_mm512_cvtepu8_epi32(_mm_xor_si128(bytes, flip)), zero);
                let weight = _mm512_sub_epi32(_mm512_cvtepi8_epi32(weights), filter_zero);
                sums = _mm512_add_epi32(sums, _mm512_mullo_epi32(x, weight));
            }
        }
        let mut all = [0; COLUMNS];
        // SAFETY: 16 sums.
        unsafe { _mm512_storeu_si512(all.as_mut_ptr().cast(), sums) };
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
