//! What turns a transposed convolution into a plain one: its input with zeros between the pixels, and its filter turned
//! around.

use crate::base::access::split;
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;

const KERNEL: &str = "Conv2DBackpropInput";

/// The size of a volume (or, with a depth of 1, an image) of this size with zeros stuffed between its elements, `stride - 1`
/// of them along each axis.
pub fn stuffed_size(size: [usize; 3], strides: [usize; 3]) -> Option<[usize; 3]> {
    let stuffed = |elements: usize, stride: usize| {
        elements.saturating_sub(1).checked_mul(stride)?.checked_add(elements.min(1))
    };
    Some([stuffed(size[0], strides[0])?, stuffed(size[1], strides[1])?, stuffed(size[2], strides[2])?])
}

/// Writes `src` `[batch, depth, height, width, channels]` to `dst` with `strides - 1` zeros between neighbouring elements,
/// see [`stuffed_size`]; of its planes, rows and columns, `crops` (front, after, top, bottom, left, right) are left out.
///
/// # Errors
/// [`KernelError::Invalid`] for lengths that do not go together.
pub fn stuff_zeros(
    pool: &ThreadPool,
    [batch, depth, height, width, channels]: [usize; 5],
    strides: [usize; 3],
    crops: [usize; 6],
    src: &[f32],
    dst: &mut [f32],
) -> Result<()> {
    let too_large = KernelError::Invalid { kernel: KERNEL, rule: "the strides fit memory" };
    let stuffed = stuffed_size([depth, height, width], strides).ok_or(too_large)?;
    let mut to = [0; 3];
    for (axis, to) in to.iter_mut().enumerate() {
        let cropped = stuffed[axis].checked_sub(crops[2 * axis].saturating_add(crops[2 * axis + 1]));
        let rule = "an image is larger than what is left out of it";
        *to = cropped.ok_or(KernelError::Invalid { kernel: KERNEL, rule })?;
    }
    let [planes, rows, columns] = to;
    let fits = src.len() == batch * depth * height * width * channels
        && dst.len() == batch * planes * rows * columns * channels;
    ensure(fits, KERNEL, "the images have the sizes that follow from one another")?;
    let ([front, _, top, _, left, _], [down, step, along]) = (crops, strides);
    split(pool, dst, columns * channels, &|first, dst| {
        dst.fill(0.0);
        for (n, line) in dst.chunks_exact_mut(columns * channels).enumerate() {
            let (y, rest) = ((first + n) % rows + top, (first + n) / rows);
            let (z, volume) = (rest % planes + front, rest / planes);
            if !y.is_multiple_of(step) || !z.is_multiple_of(down) {
                continue;
            }
            let row = (volume * depth + z / down) * height + y / step;
            let row = &src[row * width * channels..][..width * channels];
            let skipped = left.div_ceil(along);
            let start = ((skipped * along - left) * channels).min(line.len());
            let pixels = row.chunks_exact(channels).skip(skipped);
            for (to, pixel) in line[start..].chunks_mut(along * channels).zip(pixels) {
                to[..channels].copy_from_slice(pixel);
            }
        }
    });
    Ok(())
}

/// Writes `filter` `[taps, inputs, outputs]`, its taps those of a window of any number of axes, to `dst` with the order of the
/// taps reversed, which turns the window around, and its channels swapped, `[taps, outputs, inputs]`.
///
/// # Errors
/// [`KernelError::Invalid`] for lengths that do not go together.
pub fn turn_filter(
    pool: &ThreadPool,
    [taps, inputs, outputs]: [usize; 3],
    filter: &[f32],
    dst: &mut [f32],
) -> Result<()> {
    let channels = inputs * outputs;
    ensure(filter.len() == taps * channels && dst.len() == filter.len(), KERNEL, "a filter keeps its size")?;
    split(pool, dst, channels, &|first, dst| {
        for (n, tap) in dst.chunks_exact_mut(channels).enumerate() {
            let from = &filter[(taps - 1 - (first + n)) * channels..][..channels];
            for (output, row) in tap.chunks_exact_mut(inputs).enumerate() {
                for (input, value) in row.iter_mut().enumerate() {
                    *value = from[input * outputs + output];
                }
            }
        }
    });
    Ok(())
}
