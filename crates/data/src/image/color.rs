//! Operations on whole RGB pixels: grey, HSV, hue and saturation.
//!
//! The arithmetic is that of TensorFlow's `colorspace_op.h`, `adjust_hue_op.cc`, `adjust_saturation_op.cc` and
//! `rgb_to_grayscale`, in float32.

use super::adjust::map;
use super::lanes::vectorised;
use super::pixel::{BLOCK, ImageType, Range, load, store};

fn pixels_of(block: &mut [f32]) -> &mut [[f32; 3]] {
    block.as_chunks_mut::<3>().0
}

vectorised! {
    /// `tf.image.rgb_to_grayscale`, for `input` of three channels and `output` of one.
    fn rgb_to_grayscale(input: ImageType, pixels: &[u8], output: ImageType, out: &mut [u8]) {
        const PIXELS: usize = BLOCK / 3;
        let mut block = [0.0f32; BLOCK];
        let mut grey = [0.0f32; PIXELS];
        let outs = out.chunks_mut(PIXELS * output.dtype.bytes());
        for (from, to) in pixels.chunks(BLOCK * input.dtype.bytes()).zip(outs) {
            load(input.dtype, Range::Unit, from, &mut block);
            for (grey, [r, g, b]) in grey.iter_mut().zip(block.as_chunks::<3>().0) {
                *grey = r * 0.2989 + g * 0.587 + b * 0.114;
            }
            store(output.dtype, Range::Unit, &grey, to);
        }
    }
}

/// `tf.image.grayscale_to_rgb`, for any element type.
pub(crate) fn grayscale_to_rgb(input: ImageType, pixels: &[u8], out: &mut [u8]) {
    fn thrice<const N: usize>(pixels: &[u8], out: &mut [u8]) {
        for (to, from) in out.as_chunks_mut::<N>().0.chunks_exact_mut(3).zip(pixels.as_chunks::<N>().0) {
            to.fill(*from);
        }
    }
    match input.dtype.bytes() {
        1 => thrice::<1>(pixels, out),
        2 => thrice::<2>(pixels, out),
        4 => thrice::<4>(pixels, out),
        8 => thrice::<8>(pixels, out),
        _ => thrice::<16>(pixels, out),
    }
}

/// Hue, saturation and value, each from 0 to 1 where the colours are. `norm` is a sixth of the reciprocal of its
/// argument and `add` adds a part of the circle: the two operations that need it round these differently.
#[inline(always)]
fn hsv([r, g, b]: [f32; 3], norm: impl Fn(f32) -> f32, add: impl Fn(f32, f64) -> f32) -> [f32; 3] {
    let value = r.max(g).max(b);
    let range = value - r.min(g).min(b);
    let saturation = if value > 0.0 { range / value } else { 0.0 };
    let norm = norm(range);
    let hue = if r == value {
        norm * (g - b)
    } else if g == value {
        add(norm * (b - r), 2.0 / 6.0)
    } else {
        add(norm * (r - g), 4.0 / 6.0)
    };
    let hue = if range > 0.0 { hue } else { 0.0 };
    [if hue < 0.0 { hue + 1.0 } else { hue }, saturation, value]
}

vectorised! {
    /// `tf.image.rgb_to_hsv`.
    fn rgb_to_hsv(input: ImageType, pixels: &[u8], out: &mut [u8]) {
        map(Range::Value, input, pixels, input, out, |block| {
            for pixel in pixels_of(block) {
                *pixel = hsv(*pixel, |range| 1.0 / range * (1.0 / 6.0), |hue, part| hue + part as f32);
            }
        });
    }
}

vectorised! {
    /// `tf.image.hsv_to_rgb`.
    fn hsv_to_rgb(input: ImageType, pixels: &[u8], out: &mut [u8]) {
        map(Range::Value, input, pixels, input, out, |block| {
            for pixel in pixels_of(block) {
                let [hue, saturation, value] = *pixel;
                let sixths = hue * 6.0;
                let shares = [(sixths - 3.0).abs() - 1.0, 2.0 - (sixths - 2.0).abs(), 2.0 - (sixths - 4.0).abs()];
                *pixel = shares.map(|share| ((1.0 - saturation) + saturation * share.clamp(0.0, 1.0)) * value);
            }
        });
    }
}

vectorised! {
    /// `tf.image.adjust_saturation`.
    fn saturation(input: ImageType, pixels: &[u8], out: &mut [u8], factor: f32) {
        map(Range::Unit, input, pixels, input, out, |block| {
            pixels_of(block).iter_mut().for_each(|pixel| *pixel = saturated(*pixel, factor));
        });
    }
}

#[inline(always)]
fn saturated(pixel: [f32; 3], factor: f32) -> [f32; 3] {
    let add = |hue: f32, part: f64| (f64::from(hue) + part) as f32;
    let [hue, saturation, value] = hsv(pixel, |range| 1.0 / (6.0 * range), add);
    let saturation = (saturation * factor).clamp(0.0, 1.0);
    let chroma = saturation * value;
    let least = value - chroma;
    let sixths = hue * 6.0;
    let middle = chroma * (1.0 - (sixths % 2.0 - 1.0).abs());
    let [r, g, b] = match sixths as i32 {
        0 => [chroma, middle, 0.0],
        1 => [middle, chroma, 0.0],
        2 => [0.0, chroma, middle],
        3 => [0.0, middle, chroma],
        4 => [middle, 0.0, chroma],
        5 => [chroma, 0.0, middle],
        _ => [0.0; 3],
    };
    [r + least, g + least, b + least]
}

vectorised! {
    /// `tf.image.adjust_hue`: turns the hue by `delta`, from -1 to 1, of a circle.
    fn hue(input: ImageType, pixels: &[u8], out: &mut [u8], delta: f32) {
        map(Range::Unit, input, pixels, input, out, |block| {
            pixels_of(block).iter_mut().for_each(|pixel| *pixel = turned(*pixel, delta));
        });
    }
}

#[inline(always)]
fn turned([r, g, b]: [f32; 3], delta: f32) -> [f32; 3] {
    // The least, the middle and the greatest of the three, and which sixth of the circle they stand for.
    let (sector, [low, middle, high]) = if r < g {
        if b < r {
            (1, [b, r, g])
        } else if b > g {
            (3, [r, g, b])
        } else {
            (2, [r, b, g])
        }
    } else if b < g {
        (0, [b, g, r])
    } else if b > r {
        (4, [g, r, b])
    } else {
        (5, [g, b, r])
    };
    let mut hue = 0.0;
    if high != low {
        let ratio = (middle - low) / (high - low);
        hue = sector as f32 + if sector % 2 == 0 { ratio } else { 1.0 - ratio };
    }
    hue += delta * 6.0;
    if hue < 0.0 {
        hue += 6.0;
    }
    if hue >= 6.0 {
        hue -= 6.0;
    }
    let sector = hue as i32;
    let ratio = hue - sector as f32;
    let ratio = if sector % 2 == 0 { ratio } else { 1.0 - ratio };
    let middle = low + ratio * (high - low);
    match sector {
        0 => [high, middle, low],
        1 => [middle, high, low],
        2 => [low, high, middle],
        3 => [low, middle, high],
        4 => [middle, low, high],
        _ => [high, low, middle],
    }
}
