//! Images under projective transformations: TensorFlow's ImageProjectiveTransform.

use half::{bf16, f16};
use tightfit_core::{TensorView, TensorViewMut};

use super::pixel::Pixel;
use crate::base::access::{for_dtype, split_with_cost, values, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;

const KERNEL: &str = "ImageProjectiveTransform";

/// What is outside of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outside {
    /// One value.
    Constant(f32),
    /// The image again, mirrored at its edges.
    Reflect,
    /// The image again.
    Wrap,
    /// The nearest pixel of the edge.
    Nearest,
}

impl Outside {
    /// The coordinate along an axis of `len` pixels that stands for this one.
    fn map(self, at: f32, len: usize) -> f32 {
        let (size, last) = (len as f32, len as f32 - 1.0);
        let whole = |x: f32| (x as i64) as f32;
        let inside = match self {
            Outside::Constant(_) => return at,
            Outside::Nearest => at,
            _ if (0.0..=last).contains(&at) => at,
            _ if len <= 1 => 0.0,
            Outside::Reflect if at < 0.0 => {
                let twice = 2.0 * size;
                let at = twice * whole(-at / twice) + at;
                if at < -size { at + twice } else { -at - 1.0 }
            }
            Outside::Reflect => {
                let twice = 2.0 * size;
                let at = at - twice * whole(at / twice);
                if at >= size { twice - at - 1.0 } else { at }
            }
            Outside::Wrap if at < 0.0 => at + size * (whole(-at / last) + 1.0),
            Outside::Wrap => at - size * whole(at / last),
        };
        inside.max(0.0).min(last)
    }
}

/// An element that an image is made of again.
trait Made: Pixel {
    fn made(value: f32) -> Self;
}

macro_rules! made {
    ($($T:ty, $x:ident $made:expr;)*) => { $(
        impl Made for $T {
            #[inline(always)]
            fn made($x: f32) -> $T {
                $made
            }
        }
    )* };
}

made! {
    f32, x x; f64, x x as f64; f16, x f16::from_f32(x); bf16, x bf16::from_f32(x); u8, x x as u8; i32, x x as i32;
    i64, x x as i64;
}

/// Fills `dst` `[batch, height', width', channels]` with the pixels of `images` `[batch, height, width, channels]` (float32,
/// float64, halves, uint8, int32, int64) that `transforms` `[batch or 1, 8]` lead to: pixel `(x, y)` is that at `((a0 x + a1 y +
/// a2) / k, (b0 x + b1 y + b2) / k)`, `k = c0 x + c1 y + 1`; between four of them where `bilinear`, else the nearest.
///
/// # Errors
/// [`KernelError::Invalid`] for shapes that do not go together, [`KernelError::DType`] for other types.
pub fn project_images(
    pool: &ThreadPool,
    (bilinear, outside, fill): (bool, Outside, f32),
    images: TensorView<'_>,
    transforms: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    let rule = "images are [batch, height, width, channels]";
    let wrong = |_| KernelError::Invalid { kernel: KERNEL, rule };
    let [batch, height, width, channels] = <[usize; 4]>::try_from(&**images.shape()).map_err(wrong)?;
    let [to_batch, rows, columns, to_channels] = <[usize; 4]>::try_from(&**dst.shape()).map_err(wrong)?;
    ensure(batch == to_batch && channels == to_channels, KERNEL, "batch and channels stay as they are")?;
    ensure(images.dtype() == dst.dtype(), KERNEL, "the output has the input's type")?;
    let count = transforms.shape().first().copied().unwrap_or(0);
    let fits = transforms.shape()[..] == [count, 8] && (count == 1 || count == batch);
    ensure(fits, KERNEL, "there is a transformation for each image, or one for all")?;
    let wrong_type = KernelError::DType { kernel: KERNEL, dtype: transforms.dtype() };
    let transforms = transforms.as_slice::<f32>().ok_or(wrong_type)?;
    for_dtype!(images.dtype(), KERNEL, [F32, F64, F16, BF16, U8, I32, I64], T => {
        let (src, dst) = (values::<T>(images.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?);
        let fill = <T as Made>::made(fill);
        split_with_cost(pool, dst, channels, 4 * channels + 16, &|first, dst| {
            for (n, pixel) in dst.chunks_exact_mut(channels).enumerate() {
                let (x, rest) = ((first + n) % columns, (first + n) / columns);
                let (y, image) = (rest % rows, rest / rows);
                let t = &transforms[if count == 1 { 0 } else { image * 8 }..][..8];
                let (x, y) = (x as f32, y as f32);
                let k = t[6] * x + t[7] * y + 1.0;
                let from = [
                    outside.map((t[3] * x + t[4] * y + t[5]) / k, height),
                    outside.map((t[0] * x + t[1] * y + t[2]) / k, width),
                ];
                if k == 0.0 || from.iter().any(|at| !at.is_finite()) {
                    pixel.fill(fill);
                    continue;
                }
                let read = |y: f32, x: f32| {
                    let (y, x) = (y as i64, x as i64);
                    let inside = (0..height as i64).contains(&y) && (0..width as i64).contains(&x);
                    inside.then(|| ((image * height + y as usize) * width + x as usize) * channels)
                };
                let [y, x] = from;
                if !bilinear {
                    match read(y.round(), x.round()) {
                        Some(at) => pixel.copy_from_slice(&src[at..at + channels]),
                        None => pixel.fill(fill),
                    }
                    continue;
                }
                let (top, left) = (y.floor(), x.floor());
                let (bottom, right) = (top + 1.0, left + 1.0);
                let four = [(top, left), (top, right), (bottom, left), (bottom, right)];
                let four = four.map(|(y, x)| read(y, x));
                for (channel, to) in pixel.iter_mut().enumerate() {
                    let [a, b, c, d] = four.map(|at| at.map_or(fill, |at| src[at + channel]).value());
                    let upper = (right - x) * a + (x - left) * b;
                    let lower = (right - x) * c + (x - left) * d;
                    *to = <T as Made>::made((bottom - y) * upper + (y - top) * lower);
                }
            }
        });
        Ok(())
    })
}
