//! What follows the sums of a product of bytes in one step with it: a bias, another tensor, a rectifier, and the integers of
//! another range. And the sums of a depthwise convolution.

use crate::base::access::{split, split_with_cost};
use crate::base::error::{KernelError, check_exact, product};
use crate::base::threads::ThreadPool;

use super::product::QuantizedWindow;

/// What is added to sums, in the order of the sums, before they are rectified.
#[derive(Debug, Clone, Copy)]
pub enum Summand<'a> {
    /// Nothing.
    None,
    /// Numbers.
    Floats(&'a [f32]),
    /// Integers of uint8.
    Unsigned(&'a [u8]),
    /// Integers of int8.
    Signed(&'a [i8]),
}

impl Summand<'_> {
    fn len(&self) -> Option<usize> {
        match self {
            Summand::None => None,
            Summand::Floats(values) => Some(values.len()),
            Summand::Unsigned(values) => Some(values.len()),
            Summand::Signed(values) => Some(values.len()),
        }
    }

    fn get(&self, at: usize) -> f32 {
        match self {
            Summand::None => 0.0,
            Summand::Floats(values) => values[at],
            Summand::Unsigned(values) => values[at] as f32,
            Summand::Signed(values) => values[at] as f32,
        }
    }
}

/// How sums become outputs: `(sum * scale + bias + summand * summand_scale) / step`, each step rounded to float32 as oneDNN
/// does it.
#[derive(Debug, Clone, Copy)]
pub struct Finish<'a> {
    /// What a one of a sum stands for, for each channel.
    pub scales: &'a [f32],
    /// What is added to each channel, if anything is.
    pub bias: Option<&'a [f32]>,
    /// What is added to each sum.
    pub summand: Summand<'a>,
    /// What a one of that stands for.
    pub summand_scale: f32,
    /// Numbers below 0 become 0.
    pub has_relu: bool,
    /// What a one of an output stands for.
    pub step: f32,
    /// The largest output.
    pub highest: f32,
}

/// A type of outputs.
pub trait Finished: Copy + Send {
    /// The nearest to a number, of two that are as near the even one.
    fn nearest(x: f32, highest: f32) -> Self;
}

macro_rules! finished {
    ($($kind:ty: $lowest:expr;)*) => {$(
        impl Finished for $kind {
            fn nearest(x: f32, highest: f32) -> $kind {
                x.max($lowest).min(highest).round_ties_even() as $kind
            }
        }
    )*};
}

finished! {
    u8: 0.0;
    i8: -128.0;
    i32: -2_147_483_648.0;
}

impl Finished for f32 {
    fn nearest(x: f32, _: f32) -> f32 {
        x
    }
}

/// Computes outputs, of which the channels are the last axis.
///
/// # Errors
/// [`KernelError`] when a length is wrong.
pub fn finish_sums<T: Finished>(
    pool: &ThreadPool,
    sums: &[i32],
    how: &Finish<'_>,
    output: &mut [T],
) -> Result<(), KernelError> {
    let channels = how.scales.len();
    check_exact("the output", sums.len(), output.len())?;
    check_exact("the sums of whole pixels", 0, sums.len().checked_rem(channels).unwrap_or(sums.len()))?;
    check_exact("the bias", channels, how.bias.map_or(channels, <[f32]>::len))?;
    check_exact("the summand", sums.len(), how.summand.len().unwrap_or(sums.len()))?;
    let inverse = 1.0 / how.step;
    split(pool, output, channels.max(1), &|pixel, values| {
        for (row, to) in values.chunks_exact_mut(channels.max(1)).enumerate() {
            let first = (pixel + row) * channels;
            let from = &sums[first..first + channels];
            for (channel, (to, sum)) in to.iter_mut().zip(from).enumerate() {
                let mut x = *sum as f32 * how.scales[channel];
                if let Some(bias) = how.bias {
                    x += bias[channel];
                }
                if !matches!(how.summand, Summand::None) {
                    x += how.summand.get(first + channel) * how.summand_scale;
                }
                if how.has_relu {
                    x = x.max(0.0);
                }
                *to = T::nearest(x * inverse, how.highest);
            }
        }
    });
    Ok(())
}

impl QuantizedWindow {
    /// Computes the sums of a depthwise convolution, `[batch, height, width, channels * multiplier]`: of `[batch, height, width,
    /// channels]` with int8 `[height, width, channels, multiplier]`, of which 0 is 0.
    ///
    /// # Errors
    /// [`KernelError`] when a length is wrong.
    pub fn depthwise(
        &self,
        pool: &ThreadPool,
        input: &[u8],
        filter: &[i8],
        sums: &mut [i32],
    ) -> Result<(), KernelError> {
        let [batch, in_height, _, channels] = self.input;
        let [filter_height, filter_width, depth, multiplier] = self.filter;
        let [height, width] = self.output;
        check_exact("the input", product(&self.input)?, input.len())?;
        check_exact("the filter", product(&self.filter)?, filter.len())?;
        check_exact("the filter's channels", channels, depth)?;
        let columns = product(&[channels, multiplier])?;
        check_exact("the sums", product(&[batch, height, width, columns])?, sums.len())?;
        let row = product(&[width, columns])?;
        let cost = product(&[filter_height, filter_width, row])?;
        split_with_cost(pool, sums, row.max(1), cost.max(1), &|first, values| {
            for (line, to) in values.chunks_exact_mut(row.max(1)).enumerate() {
                let (image, y) = ((first + line) / height, (first + line) % height);
                to.fill(0);
                for tap in 0..filter_height {
                    if let Some(from) = self.place(y, tap, 0) {
                        let weights = &filter[tap * filter_width * columns..][..filter_width * columns];
                        self.add_line(input, image * in_height + from, weights, to);
                    }
                }
            }
        });
        Ok(())
    }

    /// Adds the products of a line of the input with one of the filter.
    fn add_line(&self, input: &[u8], line: usize, weights: &[i8], to: &mut [i32]) {
        let [_, _, in_width, channels] = self.input;
        let [_, filter_width, _, multiplier] = self.filter;
        let columns = channels * multiplier;
        for (x, to) in to.chunks_exact_mut(columns).enumerate() {
            for tap in 0..filter_width {
                let Some(from) = self.place(x, tap, 1) else { continue };
                let pixel = &input[(line * in_width + from) * channels..][..channels];
                let weights = &weights[tap * columns..][..columns];
                for ((byte, weights), to) in
                    pixel.iter().zip(weights.chunks_exact(multiplier)).zip(to.chunks_exact_mut(multiplier))
                {
                    let value = if self.is_input_signed { *byte as i8 as i32 } else { *byte as i32 };
                    for (weight, to) in weights.iter().zip(to) {
                        *to = to.wrapping_add(value * *weight as i32);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Finish<'static> = Finish {
        scales: &[0.5, 2.0],
        bias: Some(&[0.25, -1.0]),
        summand: Summand::None,
        summand_scale: 1.0,
        has_relu: false,
        step: 0.5,
        highest: 127.0,
    };

    #[test]
    fn sums_are_rounded_to_even_and_cut_off() {
        let pool = ThreadPool::new(2).unwrap();
        let mut bytes = [0i8; 4];
        finish_sums(&pool, &[1, -3, 1000, -1000], &PLAIN, &mut bytes).unwrap();
        assert_eq!(bytes, [2, -14, 127, -128]);
        let how =
            Finish { summand: Summand::Signed(&[-1, 2, 0, 127]), has_relu: true, highest: 255.0, ..PLAIN };
        let mut bytes = [7u8; 4];
        finish_sums(&pool, &[1, -3, 1000, -1], &how, &mut bytes).unwrap();
        assert_eq!(bytes, [0, 0, 255, 248]);
        let mut numbers = [0f32; 2];
        finish_sums(&pool, &[i32::MAX, 1], &Finish { step: 1.0, ..PLAIN }, &mut numbers).unwrap();
        assert_eq!(numbers, [1_073_741_824.0, 1.0]);
        assert!(finish_sums(&pool, &[1, 2, 3], &PLAIN, &mut [0u8; 3]).is_err());
        assert!(finish_sums(&pool, &[1, 2], &Finish { bias: Some(&[1.0]), ..PLAIN }, &mut [0u8; 2]).is_err());
    }

    #[test]
    fn depthwise_sums_are_what_the_definition_says() {
        let pool = ThreadPool::new(3).unwrap();
        let window = QuantizedWindow {
            input: [2, 5, 4, 3],
            filter: [3, 2, 3, 2],
            output: [3, 3],
            strides: [2, 1],
            dilations: [1, 2],
            before: [1, 1],
            is_input_signed: false,
        };
        let input: Vec<u8> = (0..120).map(|n| (n * 37 % 251) as u8).collect();
        let filter: Vec<i8> = (0..36).map(|n| (n * 53 % 251) as u8 as i8).collect();
        let mut sums = vec![-1; 2 * 3 * 3 * 6];
        window.depthwise(&pool, &input, &filter, &mut sums).unwrap();
        for (at, sum) in sums.iter().enumerate() {
            let (column, x, y, image) = (at % 6, at / 6 % 3, at / 18 % 3, at / 54);
            let mut expected = 0;
            for (fy, fx) in (0..3).flat_map(|fy| (0..2).map(move |fx| (fy, fx))) {
                let (Some(from_y), Some(from_x)) = (window.place(y, fy, 0), window.place(x, fx, 1)) else {
                    continue;
                };
                let from = ((image * 5 + from_y) * 4 + from_x) * 3 + column / 2;
                expected += input[from] as i32 * filter[(fy * 2 + fx) * 6 + column] as i32;
            }
            assert_eq!(*sum, expected, "at {at}");
        }
        assert!(window.depthwise(&pool, &input, &filter[1..], &mut sums).is_err());
    }
}
