//! Convolutions and products of int16 by int8: sums of 64 bits, or of 32 where the bias is of so many.

use tightfit_core::Shared;

use super::filter::AffineFilter;
use super::multiplier::Rescale;
use crate::base::access::split_range;
use crate::base::error::{KernelError, Result, check_exact, product};
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::ThreadPool;
use crate::base::window::{Window, Window3};

/// What is added to the sums of each channel, and how wide these are.
#[derive(Debug, Clone, Copy)]
pub enum WideBias<'a> {
    /// Sums of 64 bits, without.
    None,
    /// Sums of 64 bits.
    Long(&'a [i64]),
    /// int32 added to sums of 64 bits.
    Short(&'a [i32]),
    /// Sums of 32 bits.
    Narrow(&'a [i32]),
}

/// A convolution of int16, `[batch, height, width, channels]`, by int8, of 0 that stands at 0.
#[derive(Debug, Clone, Copy)]
pub struct WideConv2d {
    input: [usize; 4],
    window: Window,
    output: [usize; 2],
    columns: usize,
    /// Channels of the input that an output channel is of, and how many output channels share them.
    depth: usize,
    sharing: usize,
    is_depthwise: bool,
}

impl WideConv2d {
    /// With a filter `[out, height, width, channels / groups]`.
    ///
    /// # Errors
    /// [`KernelError::Attribute`] for channels that the filter's do not divide, and windows without steps.
    pub fn new(input: [usize; 4], filter: [usize; 4], window: Window) -> Result<WideConv2d> {
        let [columns, height, width, depth] = filter;
        let groups = input[3].checked_div(depth).unwrap_or(1);
        let divides = groups > 0 && groups * depth == input[3] && columns.is_multiple_of(groups);
        if window.size != [height, width] || !divides {
            return Err(KernelError::Attribute("the channels of a filter do not divide those of its input"));
        }
        let sharing = (columns / groups).max(1);
        WideConv2d::of(input, window, columns, (depth, sharing), false)
    }

    /// Depthwise, with a filter `[height, width, channels * multiplier]`.
    ///
    /// # Errors
    /// As [`WideConv2d::new`].
    pub fn depthwise(input: [usize; 4], window: Window, multiplier: usize) -> Result<WideConv2d> {
        let columns = product(&[input[3], multiplier])?;
        WideConv2d::of(input, window, columns, (1, multiplier.max(1)), true)
    }

    fn of(
        input: [usize; 4],
        window: Window,
        columns: usize,
        (depth, sharing): (usize, usize),
        is_depthwise: bool,
    ) -> Result<WideConv2d> {
        let output = window.output(input[1], input[2])?;
        product(&input)?;
        product(&[window.size[0], window.size[1], depth, columns])?;
        product(&[input[0], output[0], output[1], columns])?;
        Ok(WideConv2d { input, window, output, columns, depth, sharing, is_depthwise })
    }

    /// Integers of a row of the filter.
    fn row(&self) -> usize {
        self.window.size[0] * self.window.size[1] * self.depth
    }

    /// Computes the channels from `first` on, those of the rows of `filter`; of a depthwise one its rows are the elements of
    /// the window, and `first` is 0.
    ///
    /// # Errors
    /// [`KernelError`] when a length is wrong.
    pub fn run(
        &self,
        pool: &ThreadPool,
        src: &[i16],
        (filter, first): (AffineFilter<'_>, usize),
        (rescale, bias): (Rescale<'_>, WideBias<'_>),
        dst: &mut [i16],
    ) -> Result<()> {
        let [height, width] = self.output;
        let pixels = product(&[self.input[0], height, width])?;
        check_exact("the input", product(&self.input)?, src.len())?;
        check_exact("the output", product(&[pixels, self.columns])?, dst.len())?;
        let taps = self.window.size[0] * self.window.size[1];
        let columns = if self.is_depthwise {
            check_exact("the filter", taps, filter.columns)?;
            check_exact("the filter's channels", self.columns, filter.depth)?;
            0..self.columns
        } else {
            check_exact("the filter's depth", self.row(), filter.depth)?;
            first..first + filter.columns
        };
        let biases = match bias {
            WideBias::None => self.columns,
            WideBias::Long(bias) => bias.len(),
            WideBias::Short(bias) | WideBias::Narrow(bias) => bias.len(),
        };
        check_exact("the bias", self.columns, biases)?;
        rescale.check(self.columns)?;
        if columns.end > self.columns {
            return Err(KernelError::Attribute("a filter has more rows than there are channels"));
        }
        let cost = self.row().saturating_mul(columns.len()).saturating_mul(4);
        let dst = Shared::new(dst);
        split_range(pool, pixels, cost, &|first_pixel, count| {
            for pixel in first_pixel..first_pixel + count {
                // SAFETY: pixels are apart.
                let mut to = unsafe { dst.part(pixel * self.columns + columns.start, columns.len()) };
                let pixel = Pixel { conv: self, src, filter, rescale, bias, pixel, first: columns.start };
                dispatch(pool.isa(), (pixel, &mut *to));
            }
        });
        Ok(())
    }
}

struct Pixel<'a> {
    conv: &'a WideConv2d,
    src: &'a [i16],
    filter: AffineFilter<'a>,
    rescale: Rescale<'a>,
    bias: WideBias<'a>,
    pixel: usize,
    first: usize,
}

/// Integers of a filter that are read at once.
const PIECE: usize = 64;

impl Kernel for (Pixel<'_>, &mut [i16]) {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (pixel, to) = self;
        for (at, to) in to.iter_mut().enumerate() {
            let column = pixel.first + at;
            let sum = pixel.sum(at, column);
            if !pixel.rescale.exact.is_empty() {
                let bias = match pixel.bias {
                    WideBias::None => 0,
                    WideBias::Long(bias) => bias[column],
                    WideBias::Short(bias) | WideBias::Narrow(bias) => bias[column] as i64,
                };
                let exact = pixel.rescale.exact;
                let factor = if exact.len() == 1 { exact[0] } else { exact[column] };
                *to = pixel.rescale.exactly(factor, sum.wrapping_add(bias) as f64) as i16;
                continue;
            }
            let multipliers = pixel.rescale.multipliers;
            let multiplier = if multipliers.len() == 1 { multipliers[0] } else { multipliers[column] };
            let integer = match pixel.bias {
                WideBias::Narrow(bias) => multiplier.apply((sum as i32).wrapping_add(bias[column])),
                WideBias::None => multiplier.apply_wide(sum),
                WideBias::Short(bias) => multiplier.apply_wide(sum.wrapping_add(bias[column] as i64)),
                WideBias::Long(bias) => multiplier.apply_wide(sum.wrapping_add(bias[column])),
            };
            *to = pixel.rescale.bounded(integer) as i16;
        }
    }
}

impl Pixel<'_> {
    /// The sum of a channel, the filter's row `row`.
    #[inline(always)]
    fn sum(&self, row: usize, column: usize) -> i64 {
        let WideConv2d { input: [_, height, width, channels], window, output, depth, sharing, .. } =
            *self.conv;
        let window = Window3::from(window);
        let (x, y) = (self.pixel % output[1], self.pixel / output[1] % output[0]);
        let image = self.pixel / output[1] / output[0];
        let (rows, columns) = (window.valid(1, y, height), window.valid(2, x, width));
        let from_channel = column / sharing * depth;
        let mut sum = 0i64;
        for ty in rows.0..rows.1 {
            let at_y = y * window.strides[1] + ty * window.dilations[1] - window.pads[2];
            for tx in columns.0..columns.1 {
                let at_x = x * window.strides[2] + tx * window.dilations[2] - window.pads[4];
                let from = ((image * height + at_y) * width + at_x) * channels + from_channel;
                let tap = ty * window.size[2] + tx;
                let numbers = &self.src[from..from + depth];
                if self.conv.is_depthwise {
                    let mut weight = [0];
                    self.filter.read(tap, column, &mut weight);
                    sum += numbers[0] as i64 * weight[0] as i8 as i64;
                    continue;
                }
                for (piece, numbers) in numbers.chunks(PIECE).enumerate() {
                    let mut weights = [0u8; PIECE];
                    self.filter.read(row, tap * depth + piece * PIECE, &mut weights[..numbers.len()]);
                    let products = numbers.iter().zip(&weights).map(|(a, w)| *a as i32 * *w as i8 as i32);
                    sum += products.sum::<i32>() as i64;
                }
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affine::{FilterType, Multiplier};

    #[test]
    fn sums_are_rescaled_by_their_width() {
        let pool = ThreadPool::new(2).unwrap();
        let src: Vec<i16> = (0..2 * 3 * 70).map(|i| (i * 331 % 65_521 - 32_760) as i16).collect();
        let weights: Vec<u8> = (0..3 * 2 * 70).map(|i| (i * 53 % 251) as u8).collect();
        let conv = WideConv2d::new([1, 2, 3, 70], [3, 1, 2, 70], Window::new(1, 2)).unwrap();
        let filter = AffineFilter::new(&weights, (3, 140), FilterType::Int8, 0).unwrap();
        let multipliers = [1e-3, 2e-3, 3e-4].map(Multiplier::of);
        let rescale = Rescale { multipliers: &multipliers, exact: &[], zero: 0, bounds: (-32_768, 32_767) };
        let (long, short) = ([5i64, -7, 900], [5i32, -7, 900]);
        for bias in [WideBias::Long(&long), WideBias::Narrow(&short)] {
            let mut out = vec![0i16; 12];
            conv.run(&pool, &src, (filter, 0), (rescale, bias), &mut out).unwrap();
            for (at, y) in out.iter().enumerate() {
                let (c, x, line) = (at % 3, at / 3 % 2, at / 6);
                let exact: i64 = (0..140)
                    .map(|i| src[(line * 3 + x) * 70 + i] as i64 * weights[c * 140 + i] as i8 as i64)
                    .sum::<i64>()
                    + long[c];
                let number = (exact as f64 * [1e-3, 2e-3, 3e-4][c]).clamp(-32_768.0, 32_767.0);
                assert!((*y as f64 - number).abs() <= 1.0 + number.abs() * 1e-4, "{y} for {number}");
            }
        }
    }
}
