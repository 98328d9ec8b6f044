//! Gradients of resizes by the image: what each pixel of the output was made of gets its part of that pixel's gradient.

use tightfit_core::{TensorView, TensorViewMut};

use super::resize::{Alignment, Axis, Interpolation};
use crate::base::access::{for_dtype, values, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::movement::Number;

/// Writes to `dst` `[batch, height, width, channels]` the gradient of an image that was resized, from the gradient of what
/// came of it: float32 for `dst` of any float, or of the nearest pixels of one type of numbers.
///
/// # Errors
/// [`KernelError::Invalid`] for shapes that do not go together or are empty, [`KernelError::DType`] for other types.
pub fn resize_gradient(
    how: Interpolation,
    alignment: Alignment,
    gradient: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "ResizeGrad";
    let shapes = (<[usize; 4]>::try_from(&**dst.shape()), <[usize; 4]>::try_from(&**gradient.shape()));
    let rule = "images are [batch, height, width, channels]";
    let (Ok(image), Ok(made)) = shapes else { return Err(KernelError::Invalid { kernel: KERNEL, rule }) };
    ensure(image[0] == made[0] && image[3] == made[3], KERNEL, "batch and channels are those of the image")?;
    ensure(how != Interpolation::Area, KERNEL, "there is a gradient of the other ways")?;
    dst.bytes().fill(0);
    if image.contains(&0) || made.contains(&0) {
        return Ok(());
    }
    let (rows, columns) = (Axis::new(image[1], made[1], alignment), Axis::new(image[2], made[2], alignment));
    if how == Interpolation::Nearest {
        ensure(gradient.dtype() == dst.dtype(), KERNEL, "both have one type")?;
        return for_dtype!(dst.dtype(), KERNEL, numbers, T => {
            let (from, to) = (values::<T>(gradient.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?);
            each_pixel(image, made, to, from, |y, x| {
                [(rows.nearest(y), columns.nearest(x), None)].into_iter()
            }, |x: T, _: Option<f32>| x);
            Ok(())
        });
    }
    let from = values::<f32>(gradient.bytes(), KERNEL)?;
    ensure(gradient.dtype() == tightfit_core::DType::F32, KERNEL, "the gradient is float32")?;
    for_dtype!(dst.dtype(), KERNEL, floats, T => {
        let to = values_mut::<T>(dst.bytes(), KERNEL)?;
        let part = |x: f32, weight: Option<f32>| <T as Number>::of(f64::from(x * weight.unwrap_or(1.0)));
        match how {
            Interpolation::Bicubic => each_pixel(image, made, to, from, |y, x| {
                let (y, x) = (rows.cubic(y), columns.cubic(x));
                (0..16).map(move |n| (y.indices[n / 4], x.indices[n % 4], Some(y.weights[n / 4] * x.weights[n % 4])))
            }, part),
            _ => each_pixel(image, made, to, from, |y, x| {
                let (y, x) = (rows.linear(y), columns.linear(x));
                let [top, left] = [1.0 - y.lerp, 1.0 - x.lerp];
                [
                    (y.lower, x.lower, Some(top * left)),
                    (y.lower, x.upper, Some(top * x.lerp)),
                    (y.upper, x.lower, Some(y.lerp * left)),
                    (y.upper, x.upper, Some(y.lerp * x.lerp)),
                ]
                .into_iter()
            }, part),
        }
        Ok(())
    })
}

/// Adds the gradient of each pixel of the output to the pixels of the image that it was made of, which `parts` names with
/// their weights.
fn each_pixel<T: Number, G: Copy, I: Iterator<Item = (usize, usize, Option<f32>)>>(
    image: [usize; 4],
    made: [usize; 4],
    to: &mut [T],
    from: &[G],
    parts: impl Fn(usize, usize) -> I,
    part: impl Fn(G, Option<f32>) -> T,
) {
    let channels = image[3];
    for (at, pixel) in from.chunks_exact(channels).enumerate() {
        let (batch, y, x) = (at / made[2] / made[1], at / made[2] % made[1], at % made[2]);
        for (row, column, weight) in parts(y, x) {
            let start = ((batch * image[1] + row) * image[2] + column) * channels;
            for (to, from) in to[start..][..channels].iter_mut().zip(pixel) {
                *to = to.sum(part(*from, weight));
            }
        }
    }
}
