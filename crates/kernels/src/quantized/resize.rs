//! Bilinear resizing of quantised integers in fixed point.

use crate::Alignment;
use crate::base::error::{Result, ensure};

/// The integers that are resized, and the fraction's bits with which TensorFlow computes for each.
pub trait Resized: Copy {
    /// The bits of a fraction.
    const BITS: u32;
    /// As a wide integer.
    fn wide(self) -> i64;
    /// What a wide one ends as.
    fn narrow(x: i64) -> Self;
}

impl Resized for u8 {
    const BITS: u32 = 7;
    fn wide(self) -> i64 {
        i64::from(self)
    }
    fn narrow(x: i64) -> u8 {
        x as u8
    }
}

impl Resized for i32 {
    const BITS: u32 = 30;
    fn wide(self) -> i64 {
        i64::from(self)
    }
    fn narrow(x: i64) -> i32 {
        x as i32
    }
}

/// Two neighbours, and how far between them in fractions of [`Resized::BITS`] bits.
type Between = (usize, usize, i64);

fn between(grid: Alignment, out: usize, to: usize, from: usize, bits: u32) -> Between {
    let scale = match grid {
        Alignment::Corners if to > 1 => (from - 1) as f32 / (to - 1) as f32,
        _ => from as f32 / to as f32,
    };
    let at = match grid {
        Alignment::HalfPixel => (out as f32 + 0.5) * scale - 0.5,
        _ => out as f32 * scale,
    };
    let upper = (at.ceil().max(0.0) as usize).min(from - 1);
    let lower = (at.floor().max(0.0) as usize).min(upper);
    (lower, upper, ((at - at.floor()) * (1u64 << bits) as f32) as i64)
}

/// Resizes images `[batch, height, width, channels]`, of sizes `from`, to `to`, a height and a width.
///
/// # Errors
/// [`KernelError::Invalid`](crate::KernelError::Invalid) for lengths that do not go together.
pub fn quantized_resize<T: Resized>(
    grid: Alignment,
    from: [usize; 4],
    to: [usize; 2],
    src: &[T],
    dst: &mut [T],
) -> Result<()> {
    let [batch, height, width, channels] = from;
    let sizes =
        src.len() == batch * height * width * channels && dst.len() == batch * to[0] * to[1] * channels;
    ensure(sizes, "QuantizedResizeBilinear", "images are of their sizes")?;
    if dst.is_empty() {
        return Ok(());
    }
    ensure(!src.is_empty(), "QuantizedResizeBilinear", "there are pixels")?;
    let one = 1i64 << T::BITS;
    for (n, row) in dst.chunks_exact_mut(to[1] * channels).enumerate() {
        let (above, below, down) = between(grid, n % to[0], to[0], height, T::BITS);
        let line = |y: usize| &src[((n / to[0]) * height + y) * width * channels..][..width * channels];
        let lines = [line(above), line(below)];
        for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            let (left, right, along) = between(grid, x, to[1], width, T::BITS);
            for (channel, to) in pixel.iter_mut().enumerate() {
                let [top, bottom] = lines.map(|line| {
                    let (left, right) =
                        (line[left * channels + channel].wide(), line[right * channels + channel].wide());
                    left.wrapping_mul(one).wrapping_add((right - left).wrapping_mul(along))
                });
                let out = top.wrapping_add((bottom.wrapping_sub(top) / one).wrapping_mul(down));
                *to = T::narrow(out.wrapping_add(one / 2) / one);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_is_in_fractions() {
        let src = [0u8, 100, 200, 50];
        let mut dst = [0u8; 9];
        quantized_resize(Alignment::Corners, [1, 2, 2, 1], [3, 3], &src, &mut dst).unwrap();
        assert_eq!(dst, [0, 50, 100, 100, 88, 75, 200, 125, 50]);
        let wide = [0i32, 1 << 30, -(1 << 30), 7];
        let mut dst = [0i32; 4];
        quantized_resize(Alignment::HalfPixel, [1, 2, 2, 1], [2, 2], &wide, &mut dst).unwrap();
        assert_eq!(dst, wide);
        assert!(quantized_resize(Alignment::Legacy, [1, 2, 2, 1], [2, 1], &wide, &mut dst).is_err());
    }
}
