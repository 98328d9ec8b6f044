//! Operations on single values and their statistics: brightness, contrast, gamma, standardising, normalising.
//!
//! As in TensorFlow, integers become float32 from 0 to 1 for these (not for standardising and normalising, which take
//! values as they are) and are stored saturated; float16 is computed in float32 and rounded once.

use super::lanes::vectorised;
use super::pixel::{BLOCK, ImageType, Range, load, store};
use crate::Preprocess;

/// The most channels that statistics by channel are made of.
pub(crate) const MAX_CHANNELS: usize = BLOCK;

/// Calls `each` for blocks of whole pixels of `input`, at most [`BLOCK`] values, and stores what it leaves.
#[inline(always)]
pub(crate) fn map(
    range: Range,
    input: ImageType,
    pixels: &[u8],
    output: ImageType,
    out: &mut [u8],
    mut each: impl FnMut(&mut [f32]),
) {
    let values = block_values(input);
    let mut block = [0.0f32; BLOCK];
    let outs = out.chunks_mut(values * output.dtype.bytes());
    for (from, to) in pixels.chunks(values * input.dtype.bytes()).zip(outs) {
        let block = &mut block[..from.len() / input.dtype.bytes()];
        load(input.dtype, range, from, block);
        each(block);
        store(output.dtype, range, block, to);
    }
}

/// Values of a block: whole pixels where they are of at most [`BLOCK`] channels.
fn block_values(input: ImageType) -> usize {
    let channels = input.shape[2].clamp(1, BLOCK);
    BLOCK / channels * channels
}

/// Sums up `of(value)` by place in a block: place i is channel i modulo the number of channels. Float32 sums of at
/// most 64 values go into float64 ones.
#[inline(always)]
fn sums(range: Range, input: ImageType, pixels: &[u8], of: impl Fn(f32) -> f32) -> [f64; BLOCK] {
    let mut total = [0.0f64; BLOCK];
    let values = block_values(input);
    let mut block = [0.0f32; BLOCK];
    for group in pixels.chunks(64 * values * input.dtype.bytes()) {
        let mut sums = [0.0f32; BLOCK];
        for part in group.chunks(values * input.dtype.bytes()) {
            let block = &mut block[..part.len() / input.dtype.bytes()];
            load(input.dtype, range, part, block);
            for (sum, value) in sums.iter_mut().zip(block.iter()) {
                *sum += of(*value);
            }
        }
        for (total, sum) in total.iter_mut().zip(sums) {
            *total += f64::from(sum);
        }
    }
    total
}

vectorised! {
    /// `tf.image.adjust_brightness`.
    fn brightness(input: ImageType, pixels: &[u8], out: &mut [u8], delta: f32) {
        map(Range::Unit, input, pixels, input, out, |block| block.iter_mut().for_each(|v| *v += delta));
    }
}

vectorised! {
    /// `tf.image.adjust_contrast`: away from the mean of each channel. For up to [`MAX_CHANNELS`].
    fn contrast(input: ImageType, pixels: &[u8], out: &mut [u8], factor: f32) {
        let [height, width, channels] = input.shape;
        let sums = sums(Range::Unit, input, pixels, |v| v);
        let mut means = [0.0f32; BLOCK];
        for (i, mean) in means.iter_mut().enumerate() {
            let sum: f64 = sums.iter().skip(i % channels).step_by(channels).sum();
            *mean = (sum / (height * width) as f64) as f32;
        }
        map(Range::Unit, input, pixels, input, out, |block| {
            for (value, mean) in block.iter_mut().zip(means) {
                *value = mean + (*value - mean) * factor;
            }
        });
    }
}

/// `tf.image.adjust_gamma`.
pub(crate) fn gamma(input: ImageType, pixels: &[u8], out: &mut [u8], gamma: f32, gain: f32) {
    map(Range::Unit, input, pixels, input, out, |block| {
        block.iter_mut().for_each(|v| *v = gain * v.powf(gamma));
    });
}

vectorised! {
    /// `tf.image.per_image_standardization`: less the mean, over the standard deviation but at least 1 / sqrt(elements).
    fn standardize(input: ImageType, pixels: &[u8], output: ImageType, out: &mut [u8]) {
        let count = (pixels.len() / input.dtype.bytes()) as f64;
        let mean = (sums(Range::Value, input, pixels, |v| v).iter().sum::<f64>() / count) as f32;
        let squares: f64 = sums(Range::Value, input, pixels, |v| (v - mean) * (v - mean)).iter().sum();
        let deviation = ((squares / count) as f32).sqrt().max(1.0 / (count as f32).sqrt());
        map(Range::Value, input, pixels, output, out, |block| {
            block.iter_mut().for_each(|v| *v = (*v - mean) / deviation);
        });
    }
}

vectorised! {
    /// `value * scale + offset`, as `keras.layers.Rescaling` does.
    fn rescale(
        input: ImageType,
        pixels: &[u8],
        output: ImageType,
        out: &mut [u8],
        factors: [f32; 2],
    ) {
        map(Range::Value, input, pixels, output, out, |block| {
            block.iter_mut().for_each(|v| *v = *v * factors[0] + factors[1]);
        });
    }
}

vectorised! {
    /// `(value - mean) / std` by channel; as many of both as there are channels.
    fn normalize(
        input: ImageType,
        pixels: &[u8],
        output: ImageType,
        out: &mut [u8],
        mean: &[f32],
        std: &[f32],
    ) {
        let (mut means, mut stds) = ([0.0f32; BLOCK], [1.0f32; BLOCK]);
        for (to, from) in means.iter_mut().zip(mean.iter().cycle()) {
            *to = *from;
        }
        for (to, from) in stds.iter_mut().zip(std.iter().cycle()) {
            *to = *from;
        }
        map(Range::Value, input, pixels, output, out, |block| {
            for ((value, mean), std) in block.iter_mut().zip(means).zip(stds) {
                *value = (*value - mean) / std;
            }
        });
    }
}

vectorised! {
    /// `keras.applications.imagenet_utils.preprocess_input`.
    fn preprocess(
        input: ImageType,
        pixels: &[u8],
        output: ImageType,
        out: &mut [u8],
        preprocess: Preprocess,
    ) {
        map(Range::Value, input, pixels, output, out, |block| preprocess.apply(block));
    }
}
