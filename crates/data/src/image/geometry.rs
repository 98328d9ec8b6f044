//! Pixels moved about: cropped, padded, flipped, turned. They are copied as they are, whatever their type.

use super::pixel::ImageType;

/// Copies the window of `pixels`, which are `input`, that begins at `from`, `[y, x]`, and has `size`,
/// `[height, width]`, to `to` of `output`, whose other pixels become zero. Both windows lie inside their images.
pub(crate) fn place(
    input: ImageType,
    pixels: &[u8],
    from: [usize; 2],
    size: [usize; 2],
    output: ImageType,
    out: &mut [u8],
    to: [usize; 2],
) {
    let pixel_bytes = input.pixel_bytes();
    let bytes = size[1] * pixel_bytes;
    if size != [output.shape[0], output.shape[1]] {
        clear_around(output, out, to, size);
    }
    for y in 0..size[0] {
        let source = (from[0] + y) * input.line_bytes() + from[1] * pixel_bytes;
        let target = (to[0] + y) * output.line_bytes() + to[1] * pixel_bytes;
        out[target..target + bytes].copy_from_slice(&pixels[source..source + bytes]);
    }
}

/// Makes every pixel of `output` zero that lies outside of the window at `at` of `size`.
pub(crate) fn clear_around(output: ImageType, out: &mut [u8], at: [usize; 2], size: [usize; 2]) {
    let (left, right) = (at[1] * output.pixel_bytes(), (at[1] + size[1]) * output.pixel_bytes());
    for (y, line) in out.chunks_exact_mut(output.line_bytes().max(1)).enumerate() {
        if (at[0]..at[0] + size[0]).contains(&y) {
            line[..left].fill(0);
            line[right..].fill(0);
        } else {
            line.fill(0);
        }
    }
}

/// `tf.image.flip_up_down`.
pub(crate) fn flip_up_down(input: ImageType, pixels: &[u8], out: &mut [u8]) {
    let line = input.line_bytes().max(1);
    for (to, from) in out.chunks_exact_mut(line).zip(pixels.chunks_exact(line).rev()) {
        to.copy_from_slice(from);
    }
}

/// Calls `$function::<N>` with `N` being `$bytes`, if that is a size pixels often have, else `$other`.
macro_rules! with_pixel_bytes {
    ($bytes:expr, $function:ident ($($argument:expr),*), $other:expr) => {
        match $bytes {
            1 => $function::<1>($($argument),*),
            2 => $function::<2>($($argument),*),
            3 => $function::<3>($($argument),*),
            4 => $function::<4>($($argument),*),
            6 => $function::<6>($($argument),*),
            8 => $function::<8>($($argument),*),
            12 => $function::<12>($($argument),*),
            16 => $function::<16>($($argument),*),
            _ => $other,
        }
    };
}

/// `tf.image.flip_left_right`.
pub(crate) fn flip_left_right(input: ImageType, pixels: &[u8], out: &mut [u8]) {
    let bytes = input.pixel_bytes();
    let line = input.line_bytes().max(1);
    for (to, from) in out.chunks_exact_mut(line).zip(pixels.chunks_exact(line)) {
        with_pixel_bytes!(bytes, reverse(from, to), {
            for (to, from) in to.chunks_exact_mut(bytes).zip(from.chunks_exact(bytes).rev()) {
                to.copy_from_slice(from);
            }
        });
    }
}

fn reverse<const N: usize>(from: &[u8], to: &mut [u8]) {
    for (to, from) in to.as_chunks_mut::<N>().0.iter_mut().zip(from.as_chunks::<N>().0.iter().rev()) {
        *to = *from;
    }
}

/// Turns both halves: `tf.image.rot90` with k = 2.
pub(crate) fn rot180(input: ImageType, pixels: &[u8], out: &mut [u8]) {
    let bytes = input.pixel_bytes();
    with_pixel_bytes!(bytes, reverse(pixels, out), {
        for (to, from) in out.chunks_exact_mut(bytes.max(1)).zip(pixels.chunks_exact(bytes.max(1)).rev()) {
            to.copy_from_slice(from);
        }
    });
}

/// Where the lines of the source go as columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// `tf.image.transpose`.
    Transpose,
    /// `tf.image.rot90` with k = 1: counter-clockwise.
    Left,
    /// `tf.image.rot90` with k = 3.
    Right,
}

/// Side of the tiles in which lines become columns: 32 lines of the target stay in the first cache.
const TILE: usize = 32;

/// Makes columns of lines.
pub(crate) fn turn(turn: Turn, input: ImageType, pixels: &[u8], out: &mut [u8]) {
    let [height, width, _] = input.shape;
    let bytes = input.pixel_bytes();
    with_pixel_bytes!(bytes, turn_of(turn, [height, width], pixels, out), {
        for (i, pixel) in pixels.chunks_exact(bytes.max(1)).enumerate() {
            let at = turned(turn, [height, width], [i / width, i % width]) * bytes;
            out[at..at + bytes].copy_from_slice(pixel);
        }
    });
}

/// Which pixel of the result the pixel at `[y, x]` becomes.
fn turned(turn: Turn, [height, width]: [usize; 2], [y, x]: [usize; 2]) -> usize {
    match turn {
        Turn::Transpose => x * height + y,
        Turn::Left => (width - 1 - x) * height + y,
        Turn::Right => x * height + (height - 1 - y),
    }
}

fn turn_of<const N: usize>(turn: Turn, size: [usize; 2], pixels: &[u8], out: &mut [u8]) {
    let (pixels, out) = (pixels.as_chunks::<N>().0, out.as_chunks_mut::<N>().0);
    let [height, width] = size;
    for top in (0..height).step_by(TILE) {
        for left in (0..width).step_by(TILE) {
            for x in left..width.min(left + TILE) {
                for y in top..height.min(top + TILE) {
                    out[turned(turn, size, [y, x])] = pixels[y * width + x];
                }
            }
        }
    }
}
