//! Colours of pixels, in TensorFlow's own arithmetic: RGBToHSV, HSVToRGB, AdjustHue, AdjustSaturation, AdjustContrast.

use half::{bf16, f16};
use tightfit_core::Shared;

use crate::base::access::{split_range, split_with_cost};
use crate::base::error::{Result, check_exact, ensure, product};
use crate::base::threads::ThreadPool;

/// What is made of a pixel of three channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Colour {
    /// Red, green and blue to hue, saturation and value, all in 0 to 1.
    RgbToHsv,
    /// The way back.
    HsvToRgb,
    /// The hue turned by this part of the circle.
    Hue(f32),
    /// The saturation times this.
    Saturation(f32),
}

/// Any float.
pub trait Channel: Copy + Send + Sync {
    #[doc(hidden)]
    fn rgb_to_hsv(pixel: [Self; 3]) -> [Self; 3];
    #[doc(hidden)]
    fn hsv_to_rgb(pixel: [Self; 3]) -> [Self; 3];
}

macro_rules! channel {
    ($T:ident) => {
        impl Channel for $T {
            #[inline(always)]
            fn rgb_to_hsv([r, g, b]: [$T; 3]) -> [$T; 3] {
                let value = r.max(g).max(b);
                let range = value - r.min(g).min(b);
                let saturation = if value > 0.0 { range / value } else { 0.0 };
                let norm = 1.0 / range * (1.0 / 6.0);
                let hue = if r == value {
                    norm * (g - b)
                } else if g == value {
                    norm * (b - r) + 2.0 / 6.0
                } else {
                    norm * (r - g) + 4.0 / 6.0
                };
                let hue = if range > 0.0 { hue } else { 0.0 };
                [if hue < 0.0 { hue + 1.0 } else { hue }, saturation, value]
            }

            #[inline(always)]
            fn hsv_to_rgb([h, s, v]: [$T; 3]) -> [$T; 3] {
                let h = h * 6.0;
                let rest = 1.0 - s;
                let red = ((h - 3.0).abs() - 1.0).clamp(0.0, 1.0);
                let green = (2.0 - (h - 2.0).abs()).clamp(0.0, 1.0);
                let blue = (2.0 - (h - 4.0).abs()).clamp(0.0, 1.0);
                [red, green, blue].map(|part| (rest + s * part) * v)
            }
        }
    };
}

channel!(f32);
channel!(f64);

/// Halves: on the way to red, green and blue TensorFlow rounds each step, which makes infinities of large numbers.
macro_rules! half_channel {
    ($T:ident) => {
        impl Channel for $T {
            fn rgb_to_hsv(pixel: [$T; 3]) -> [$T; 3] {
                f32::rgb_to_hsv(pixel.map($T::to_f32)).map($T::from_f32)
            }

            fn hsv_to_rgb(pixel: [$T; 3]) -> [$T; 3] {
                let round = |x: f32| $T::from_f32(x).to_f32();
                let [h, s, v] = pixel.map($T::to_f32);
                let h = round(h * 6.0);
                let rest = round(1.0 - s);
                let red = round(round(h - 3.0).abs() - 1.0).clamp(0.0, 1.0);
                let green = round(2.0 - round(h - 2.0).abs()).clamp(0.0, 1.0);
                let blue = round(2.0 - round(h - 4.0).abs()).clamp(0.0, 1.0);
                [red, green, blue].map(|part| $T::from_f32(round(rest + round(s * part)) * v))
            }
        }
    };
}

half_channel!(f16);
half_channel!(bf16);

/// Converts pixels `[.., 3]` between red, green, blue and hue, saturation, value.
///
/// # Errors
/// [`KernelError::Length`](crate::KernelError::Length) for lengths that differ, [`KernelError::Invalid`](crate::KernelError::Invalid) where they are no multiple of 3.
pub fn convert_colours<T: Channel>(pool: &ThreadPool, to_hsv: bool, src: &[T], dst: &mut [T]) -> Result<()> {
    let change = if to_hsv { T::rgb_to_hsv } else { T::hsv_to_rgb };
    each_pixel(pool, src, dst, &|pixel| change(pixel))
}

/// Changes hue or saturation of pixels `[.., 3]` of red, green and blue, as AdjustHue and AdjustSaturation do.
///
/// # Errors
/// As [`convert_colours`].
pub fn adjust_colours(pool: &ThreadPool, colour: Colour, src: &[f32], dst: &mut [f32]) -> Result<()> {
    match colour {
        Colour::RgbToHsv => convert_colours(pool, true, src, dst),
        Colour::HsvToRgb => convert_colours(pool, false, src, dst),
        Colour::Hue(delta) => each_pixel(pool, src, dst, &|pixel| turn_hue(pixel, delta)),
        Colour::Saturation(scale) => each_pixel(pool, src, dst, &|pixel| saturate(pixel, scale)),
    }
}

fn each_pixel<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    src: &[T],
    dst: &mut [T],
    change: &(dyn Fn([T; 3]) -> [T; 3] + Sync),
) -> Result<()> {
    check_exact("the output", src.len(), dst.len())?;
    ensure(src.len().is_multiple_of(3), "colours", "pixels have three channels")?;
    split_with_cost(pool, dst, 3, 24, &|first, dst| {
        let src = &src[first * 3..][..dst.len()];
        for (to, from) in dst.chunks_exact_mut(3).zip(src.chunks_exact(3)) {
            to.copy_from_slice(&change([from[0], from[1], from[2]]));
        }
    });
    Ok(())
}

/// The hue in sixths of the circle beside the lowest and the highest channel, and back.
#[inline]
fn turn_hue([r, g, b]: [f32; 3], delta: f32) -> [f32; 3] {
    // The largest, the middle and the smallest channel, and in which sixth that is.
    let (max, mid, min, sixth) = if r < g {
        if b < r {
            (g, r, b, 1)
        } else if b > g {
            (b, g, r, 3)
        } else {
            (g, b, r, 2)
        }
    } else if b < g {
        (r, g, b, 0)
    } else if b > r {
        (b, r, g, 4)
    } else {
        (r, b, g, 5)
    };
    let mut hue = 0.0;
    if max != min {
        let ratio = (mid - min) / (max - min);
        hue = sixth as f32 + if sixth % 2 == 0 { ratio } else { 1.0 - ratio };
    }
    hue += delta * 6.0;
    if hue.abs() > 1e4 {
        hue %= 6.0;
    }
    while hue < 0.0 {
        hue += 6.0;
    }
    while hue >= 6.0 {
        hue -= 6.0;
    }
    // Of NaN C++ makes the least integer, and the last of the sixths follows.
    let sixth = if hue.is_nan() { i32::MIN } else { hue as i32 };
    let ratio = hue - sixth as f32;
    let ratio = if sixth % 2 == 0 { ratio } else { 1.0 - ratio };
    let mid = min + ratio * (max - min);
    match sixth {
        0 => [max, mid, min],
        1 => [mid, max, min],
        2 => [min, max, mid],
        3 => [min, mid, max],
        4 => [mid, min, max],
        _ => [max, min, mid],
    }
}

/// The second where it is larger, as C++ has it: of NaN it is the first.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a < b { b } else { a }
}

#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if b < a { b } else { a }
}

#[inline]
fn saturate([r, g, b]: [f32; 3], scale: f32) -> [f32; 3] {
    let value = larger(r, larger(g, b));
    let range = value - smaller(r, smaller(g, b));
    let saturation = if value > 0.0 { range / value } else { 0.0 };
    let norm = 1.0 / (6.0 * range);
    // TensorFlow adds the thirds, which no float32 is, in float64.
    let beside = |part: f32, third: f64| (f64::from(part) + third) as f32;
    let mut hue = if r == value {
        norm * (g - b)
    } else if g == value {
        beside(norm * (b - r), 2.0 / 6.0)
    } else {
        beside(norm * (r - g), 4.0 / 6.0)
    };
    if range <= 0.0 {
        hue = 0.0;
    }
    if hue < 0.0 {
        hue += 1.0;
    }
    let chroma = smaller(1.0, larger(0.0, saturation * scale)) * value;
    let (rest, hue) = (value - chroma, hue * 6.0);
    let mut turn = hue % 2.0;
    if turn <= 0.0 {
        turn += 2.0;
    }
    let middle = chroma * (1.0 - (turn - 1.0).abs());
    let parts = match if hue.is_nan() { i32::MIN } else { hue as i32 } {
        0 => [chroma, middle, 0.0],
        1 => [middle, chroma, 0.0],
        2 => [0.0, chroma, middle],
        3 => [0.0, middle, chroma],
        4 => [middle, 0.0, chroma],
        5 => [chroma, 0.0, middle],
        _ => [0.0; 3],
    };
    parts.map(|part| part + rest)
}

/// Moves each channel of `images` `[images, pixels, channels]` away from its mean over an image, or nearer to it: `dst =
/// (images - mean) * factor + mean`, and between `bounds` where there are any. `means` is scratch for one float64 per image and
/// channel.
///
/// # Errors
/// [`KernelError::Length`](crate::KernelError::Length) for lengths that do not go together.
pub fn adjust_contrast<T: Copy + Send + Sync + Into<f64>>(
    pool: &ThreadPool,
    [images, pixels, channels]: [usize; 3],
    (factor, bounds): (f32, Option<[f32; 2]>),
    src: &[T],
    dst: &mut [f32],
    means: &mut [f64],
) -> Result<()> {
    check_exact("the input", product(&[images, pixels, channels])?, src.len())?;
    check_exact("the output", src.len(), dst.len())?;
    check_exact("the means", images * channels, means.len())?;
    if dst.is_empty() {
        return Ok(());
    }
    let image = pixels * channels;
    let shared = Shared::new(means);
    split_range(pool, images, image, &|first, count| {
        for number in first..first + count {
            // SAFETY: each image's means are taken once, and outlive the call.
            let mut means = unsafe { shared.part(number * channels, channels) };
            means.fill(0.0);
            for pixel in src[number * image..][..image].chunks_exact(channels) {
                for (mean, value) in means.iter_mut().zip(pixel) {
                    *mean += (*value).into();
                }
            }
            means.iter_mut().for_each(|mean| *mean /= pixels as f64);
        }
    });
    let means = &*means;
    split_with_cost(pool, dst, channels, 2 * channels, &|first, dst| {
        for (n, pixel) in dst.chunks_exact_mut(channels).enumerate() {
            let at = first + n;
            let means = &means[at / pixels * channels..][..channels];
            for ((to, from), mean) in pixel.iter_mut().zip(&src[at * channels..][..channels]).zip(means) {
                let (value, mean) = ((*from).into() as f32, *mean as f32);
                *to = (value - mean) * factor + mean;
                if let Some([min, max]) = bounds {
                    *to = to.min(max).max(min);
                }
            }
        }
    });
    Ok(())
}
