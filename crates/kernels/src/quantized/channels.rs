//! Quantised integers channel by channel, the last axis: sums of 32 bits whose range is one for each, to bytes of one range, and
//! images normalised.

use tightfit_core::DType;

use super::range::QuantizedRange;
use crate::base::error::{KernelError, Result, ensure};

/// What the largest of an int32 stands for.
const WHOLE: f32 = 2_147_483_648.0;

/// The largest number that is used: of each channel the one of the two ends of its range that is further from 0, as far as
/// its sums use it. The second is true where a sum is below 0.
///
/// # Errors
/// [`KernelError::Invalid`] for sums that are no whole rows of channels.
pub fn channels_used(sums: &[i32], (min, max): (&[f32], &[f32])) -> Result<(f32, bool)> {
    const KERNEL: &str = "RequantizationRangePerChannel";
    let channels = min.len();
    ensure(max.len() == channels && channels > 0, KERNEL, "each channel has a range")?;
    ensure(sums.len().is_multiple_of(channels), KERNEL, "there is a sum for each channel")?;
    let mut most = f32::MIN_POSITIVE;
    for channel in 0..channels {
        let used =
            sums.iter().skip(channel).step_by(channels).fold(0, |most, sum| sum.unsigned_abs().max(most));
        most = most.max(furthest(min[channel], max[channel]) * used as f32 / WHOLE);
    }
    Ok((most, sums.iter().any(|sum| *sum < 0)))
}

fn furthest(min: f32, max: f32) -> f32 {
    min.abs().max(max.abs())
}

/// Turns sums of each channel's range, or of one range, to bytes of one that reaches to `to` on either side: int8 where
/// `is_signed`, else uint8, which has no numbers below 0.
///
/// # Errors
/// [`KernelError::Invalid`] for lengths that do not go together.
pub fn requantize_channels(
    sums: &[i32],
    (min, max): (&[f32], &[f32]),
    to: f32,
    is_signed: bool,
    bytes: &mut [u8],
) -> Result<()> {
    const KERNEL: &str = "RequantizePerChannel";
    let channels = min.len();
    ensure(max.len() == channels && channels > 0, KERNEL, "each channel has a range")?;
    let fits = sums.len() == bytes.len() && sums.len().is_multiple_of(channels);
    ensure(fits, KERNEL, "there is a byte for each sum, and a sum for each channel")?;
    let factor = if is_signed { 127.0 } else { 255.0 };
    let scale = |channel: usize| factor * (furthest(min[channel], max[channel]) / to / WHOLE);
    for (to, from) in bytes.chunks_exact_mut(channels).zip(sums.chunks_exact(channels)) {
        for (channel, (to, sum)) in to.iter_mut().zip(from).enumerate() {
            let scaled = (*sum as f32 * scale(channel)).round_ties_even();
            *to = if is_signed { scaled as i8 as u8 } else { scaled as u8 };
        }
    }
    Ok(())
}

/// Normalises each image `[height * width, channels]` of bytes by mean and variance of each channel; `step` is what a byte
/// stands for. `scratch` has room for two numbers for each channel of each image. What is `given` is the range of the result,
/// or else the one that it uses, `separation` wide at least. Returns the range.
///
/// # Errors
/// [`KernelError::Invalid`] for lengths that do not go together.
pub fn quantized_instance_norm(
    (images, channels): (usize, usize),
    src: &[u8],
    (step, epsilon): (f32, f32),
    (given, separation): (Option<(f32, f32)>, f32),
    scratch: &mut [f32],
    dst: &mut [u8],
) -> Result<(f32, f32)> {
    const KERNEL: &str = "QuantizedInstanceNorm";
    let per = images
        .checked_mul(channels)
        .ok_or(KernelError::Invalid { kernel: KERNEL, rule: "sizes are numbers" })?;
    ensure(per > 0 && src.len() == dst.len() && src.len().is_multiple_of(per), KERNEL, "images are whole")?;
    ensure(scratch.len() >= 2 * per, KERNEL, "there is room for means and variances")?;
    let (means, scales) = scratch[..2 * per].split_at_mut(per);
    let (pixels, count) = (src.len() / images, (src.len() / per) as f32);
    let each = || src.chunks_exact(pixels.max(1)).enumerate();
    means.fill(0.0);
    scales.fill(0.0);
    for (image, from) in each() {
        let means = &mut means[image * channels..][..channels];
        from.chunks_exact(channels)
            .for_each(|pixel| means.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += *x as f32));
        means.iter_mut().for_each(|sum| *sum /= count);
        let squares = &mut scales[image * channels..][..channels];
        for pixel in from.chunks_exact(channels) {
            let beside = pixel.iter().zip(&*means).map(|(x, mean)| *x as f32 - mean);
            squares.iter_mut().zip(beside).for_each(|(sum, x)| *sum += x * x);
        }
    }
    scales.iter_mut().for_each(|sum| *sum = step / (*sum / count * step * step + epsilon).sqrt());
    let normed = |image: usize, n: usize, x: u8| {
        let at = image * channels + n % channels;
        (x as f32 - means[at]) * scales[at]
    };
    let (low, high) = given.unwrap_or_else(|| {
        let all = each().flat_map(|(image, from)| from.iter().enumerate().map(move |(n, x)| (image, n, *x)));
        let ends = all.map(|(image, n, x)| normed(image, n, x));
        let (low, high) = ends.fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        (low, high)
    });
    let high = if high - low < separation { low + separation } else { high };
    let rule = "the range has a beginning and an end";
    let range =
        QuantizedRange::new(DType::U8, low, high).ok_or(KernelError::Invalid { kernel: KERNEL, rule })?;
    let ((factor, less), (lowest, highest)) = (range.to_integers(), range.ends());
    for ((image, from), to) in each().zip(dst.chunks_exact_mut(pixels.max(1))) {
        for (n, (to, x)) in to.iter_mut().zip(from).enumerate() {
            *to = ((normed(image, n, *x) * factor).round() - less).max(lowest).min(highest) as u8;
        }
    }
    Ok((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_have_ranges_of_their_own() {
        let sums = [1 << 30, -(1 << 29), 1 << 29, 1 << 28];
        let ranges = (&[-4.0f32, -8.0][..], &[4.0f32, 2.0][..]);
        assert_eq!(channels_used(&sums, ranges).unwrap(), (2.0, true));
        let mut bytes = [0; 4];
        requantize_channels(&sums, ranges, 2.0, true, &mut bytes).unwrap();
        assert_eq!(bytes.map(|byte| byte as i8), [127, -127, 64, 64]);
        requantize_channels(&sums, ranges, 2.0, false, &mut bytes).unwrap();
        assert_eq!(bytes, [255, 0, 128, 128]);
        assert!(channels_used(&sums[..3], ranges).is_err());
    }

    #[test]
    fn images_are_normed_by_themselves() {
        let src = [0, 10, 20, 30, 7, 7, 7, 7];
        let (mut scratch, mut dst) = ([0.0; 4], [0; 8]);
        let range = quantized_instance_norm(
            (2, 1),
            &src,
            (1.0, 1e-9),
            (Some((-2.0, 2.0)), 0.0),
            &mut scratch,
            &mut dst,
        );
        assert_eq!(range.unwrap(), (-2.0, 2.0));
        assert_eq!(dst[..4], [42, 99, 157, 214]);
        assert!(dst[4..].iter().all(|byte| *byte == 128), "{dst:?}");
    }
}
