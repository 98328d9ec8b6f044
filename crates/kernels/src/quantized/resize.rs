//! Bilinear resizing of quantised bytes in fixed point.

use crate::Alignment;
use crate::base::error::{Result, ensure};

/// The bits of a fraction: what TensorFlow computes with in 16 bits.
const BITS: u32 = 7;
const ONE: i64 = 1 << BITS;

/// Two neighbours, and how far between them in fractions of [`BITS`] bits.
type Between = (usize, usize, i64);

fn between(grid: Alignment, out: usize, to: usize, from: usize) -> Between {
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
    (lower, upper, ((at - at.floor()) * ONE as f32) as i64)
}

/// Resizes images `[batch, height, width, channels]`, of sizes `from`, to `to`, a height and a width.
///
/// # Errors
/// [`KernelError::Invalid`](crate::KernelError::Invalid) for lengths that do not go together.
pub fn quantized_resize(
    grid: Alignment,
    from: [usize; 4],
    to: [usize; 2],
    src: &[u8],
    dst: &mut [u8],
) -> Result<()> {
    let [batch, height, width, channels] = from;
    let sizes =
        src.len() == batch * height * width * channels && dst.len() == batch * to[0] * to[1] * channels;
    ensure(sizes, "QuantizedResizeBilinear", "images are of their sizes")?;
    if dst.is_empty() {
        return Ok(());
    }
    ensure(!src.is_empty(), "QuantizedResizeBilinear", "there are pixels")?;
    for (n, row) in dst.chunks_exact_mut(to[1] * channels).enumerate() {
        let (above, below, down) = between(grid, n % to[0], to[0], height);
        let line = |y: usize| &src[((n / to[0]) * height + y) * width * channels..][..width * channels];
        let lines = [line(above), line(below)];
        for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            let (left, right, along) = between(grid, x, to[1], width);
            for (channel, to) in pixel.iter_mut().enumerate() {
                let [top, bottom] = lines.map(|line| {
                    let [left, right] = [left, right].map(|x| i64::from(line[x * channels + channel]));
                    left * ONE + (right - left) * along
                });
                let out = top + (bottom - top) / ONE * down;
                *to = ((out + ONE / 2) / ONE) as u8;
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
        assert!(quantized_resize(Alignment::Legacy, [1, 2, 2, 1], [2, 1], &src, &mut dst).is_err());
    }
}
