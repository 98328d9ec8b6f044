//! What turns a transposed convolution into a plain one: its input with zeros between the pixels, and its filter turned
//! around.

use crate::base::access::split;
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;

const KERNEL: &str = "Conv2DBackpropInput";

/// Height and width of an image of this size with zeros stuffed between its pixels, `stride - 1` of them.
pub fn stuffed_size([height, width]: [usize; 2], strides: [usize; 2]) -> Option<[usize; 2]> {
    let size = |pixels: usize, stride: usize| {
        pixels.saturating_sub(1).checked_mul(stride)?.checked_add(pixels.min(1))
    };
    Some([size(height, strides[0])?, size(width, strides[1])?])
}

/// Writes `src` `[batch, height, width, channels]` to `dst` with `strides - 1` zeros between neighbouring pixels, see
/// [`stuffed_size`]; of its rows and columns, `crops` (top, bottom, left, right) are left out.
///
/// # Errors
/// [`KernelError::Invalid`] for lengths that do not go together.
pub fn stuff_zeros(
    pool: &ThreadPool,
    [batch, height, width, channels]: [usize; 4],
    strides: [usize; 2],
    crops: [usize; 4],
    src: &[f32],
    dst: &mut [f32],
) -> Result<()> {
    let too_large = KernelError::Invalid { kernel: KERNEL, rule: "the strides fit memory" };
    let [rows, columns] = stuffed_size([height, width], strides).ok_or(too_large)?;
    let [top, bottom, left, right] = crops;
    let cropped =
        rows.checked_sub(top.saturating_add(bottom)).zip(columns.checked_sub(left.saturating_add(right)));
    let too_cropped =
        KernelError::Invalid { kernel: KERNEL, rule: "an image is larger than what is left out of it" };
    let (rows, columns) = cropped.ok_or(too_cropped)?;
    let fits =
        src.len() == batch * height * width * channels && dst.len() == batch * rows * columns * channels;
    ensure(fits, KERNEL, "the images have the sizes that follow from one another")?;
    split(pool, dst, columns * channels, &|first, dst| {
        dst.fill(0.0);
        for (n, line) in dst.chunks_exact_mut(columns * channels).enumerate() {
            let (image, y) = ((first + n) / rows, (first + n) % rows + top);
            if !y.is_multiple_of(strides[0]) {
                continue;
            }
            let row = &src[(image * height + y / strides[0]) * width * channels..][..width * channels];
            let skipped = left.div_ceil(strides[1]);
            let start = ((skipped * strides[1] - left) * channels).min(line.len());
            let pixels = row.chunks_exact(channels).skip(skipped);
            for (to, pixel) in line[start..].chunks_mut(strides[1] * channels).zip(pixels) {
                to[..channels].copy_from_slice(pixel);
            }
        }
    });
    Ok(())
}

/// Writes `filter` `[height, width, inputs, outputs]` to `dst` turned by half a turn and with its channels swapped,
/// `[height, width, outputs, inputs]`.
///
/// # Errors
/// [`KernelError::Invalid`] for lengths that do not go together.
pub fn turn_filter(
    pool: &ThreadPool,
    [height, width, inputs, outputs]: [usize; 4],
    filter: &[f32],
    dst: &mut [f32],
) -> Result<()> {
    let (taps, channels) = (height * width, inputs * outputs);
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
