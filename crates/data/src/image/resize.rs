//! TensorFlow's image resizing, line by line.
//!
//! The arithmetic is that of TensorFlow's `image_resizer_state.h`, `resize_bilinear_op.cc` and
//! `resize_nearest_neighbor_op.cc` with `half_pixel_centers=True`, which is what `tf.image.resize` does without
//! antialiasing: scale = in / out, source = (i + 0.5) * scale - 0.5 (nearest: floor((i + 0.5) * scale)), all in
//! float32.

use bytemuck::{Pod, Zeroable};

use crate::Resize;

/// Between which source columns an output column lies.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct Between {
    lower: u32,
    upper: u32,
    lerp: f32,
}

/// Scratch bytes for each output column.
pub const WEIGHT_BYTES: usize = size_of::<Between>();

impl Between {
    fn new(method: Resize, i: usize, scale: f32, in_size: usize) -> Between {
        let last = in_size.saturating_sub(1);
        match method {
            Resize::Bilinear => {
                let at = (i as f32 + 0.5) * scale - 0.5;
                let floor = at.floor();
                let lower = (floor.max(0.0) as usize).min(last) as u32;
                let upper = (at.ceil().max(0.0) as usize).min(last) as u32;
                Between { lower, upper, lerp: at - floor }
            }
            Resize::Nearest => {
                let at = ((i as f32 + 0.5) * scale).floor();
                let lower = (at.max(0.0) as usize).min(last) as u32;
                Between { lower, upper: lower, lerp: 0.0 }
            }
        }
    }
}

/// Resizes one image of 8-bit pixels, `[height, width, channels]`, to lines of floats.
#[derive(Debug)]
pub struct Resizer<'a> {
    method: Resize,
    pixels: &'a [u8],
    in_height: usize,
    line_bytes: usize,
    channels: usize,
    scale_y: f32,
    columns: &'a [Between],
}

impl<'a> Resizer<'a> {
    /// Prepares to resize `pixels` of `in_size` `[height, width]` with `channels` to `out_size`. `scratch` has
    /// [`WEIGHT_BYTES`] for each output column, aligned to 4 bytes. `None` when a slice is too short.
    pub fn new(
        method: Resize,
        pixels: &'a [u8],
        [in_height, in_width]: [usize; 2],
        channels: usize,
        [out_height, out_width]: [usize; 2],
        scratch: &'a mut [u8],
    ) -> Option<Resizer<'a>> {
        let line_bytes = in_width.checked_mul(channels)?;
        let pixels = pixels.get(..in_height.checked_mul(line_bytes)?)?;
        let scratch = scratch.get_mut(..out_width.checked_mul(WEIGHT_BYTES)?)?;
        let columns: &mut [Between] = bytemuck::try_cast_slice_mut(scratch).ok()?;
        let scale_x = in_width as f32 / out_width as f32;
        for (x, column) in columns.iter_mut().enumerate() {
            *column = Between::new(method, x, scale_x, in_width);
            column.lower *= channels as u32;
            column.upper *= channels as u32;
        }
        let scale_y = in_height as f32 / out_height as f32;
        Some(Resizer { method, pixels, in_height, line_bytes, channels, scale_y, columns })
    }

    /// Writes line `y` of the result, `[width, channels]`, into `line`.
    ///
    /// # Panics
    /// When `line` is of another length.
    pub fn line(&self, y: usize, line: &mut [f32]) {
        assert_eq!(line.len(), self.columns.len() * self.channels, "the length of a resized line");
        match self.channels {
            1 => self.line_of::<1>(y, line),
            3 => self.line_of::<3>(y, line),
            _ => self.line_of::<4>(y, line),
        }
    }

    fn line_of<const C: usize>(&self, y: usize, line: &mut [f32]) {
        let row = Between::new(self.method, y, self.scale_y, self.in_height);
        let source = |row: u32| {
            let from = row as usize * self.line_bytes;
            &self.pixels[from..from + self.line_bytes]
        };
        let (top, bottom) = (source(row.lower), source(row.upper));
        let out = line.as_chunks_mut::<C>().0;
        match self.method {
            Resize::Nearest if out.len() == self.line_bytes / C => {
                line.iter_mut().zip(top).for_each(|(to, byte)| *to = f32::from(*byte));
            }
            Resize::Nearest => {
                for (to, column) in out.iter_mut().zip(self.columns) {
                    *to = pixel(top, column.lower);
                }
            }
            Resize::Bilinear if C == 1 => grey_line(top, bottom, self.columns, row.lerp, line),
            Resize::Bilinear => color_line::<C>(top, bottom, self.columns, row.lerp, line),
        }
    }
}

/// The first `N` bytes of a pixel; of the next one, too, where `N` is more than the channels.
#[inline(always)]
fn pixel<const N: usize>(line: &[u8], at: u32) -> [f32; N] {
    let bytes = &line[at as usize..][..N];
    std::array::from_fn(|i| f32::from(bytes[i]))
}

/// One value between four: first across, then down, as TensorFlow rounds it.
#[inline(always)]
fn lerp<const N: usize>([tl, tr, bl, br]: [[f32; N]; 4], across: [f32; N], down: f32) -> [f32; N] {
    std::array::from_fn(|i| {
        let upper = tl[i] + (tr[i] - tl[i]) * across[i];
        let lower = bl[i] + (br[i] - bl[i]) * across[i];
        upper + (lower - upper) * down
    })
}

/// A line of pixels of `C` channels, up to 4. Four bytes are taken and written for each, which is one vector, as far
/// as the line has a fourth byte.
fn color_line<const C: usize>(top: &[u8], bottom: &[u8], columns: &[Between], down: f32, line: &mut [f32]) {
    let has_four = |column: &Between| column.upper as usize + 4 <= top.len().min(bottom.len());
    let fast = columns.partition_point(has_four).min(columns.len().saturating_sub(1));
    let (columns, last_columns) = columns.split_at(fast);
    for (x, column) in columns.iter().enumerate() {
        let at = [(top, column.lower), (top, column.upper), (bottom, column.lower), (bottom, column.upper)];
        let value = lerp(at.map(|(line, at)| pixel::<4>(line, at)), [column.lerp; 4], down);
        line[x * C..x * C + 4].copy_from_slice(&value);
    }
    let last = line.as_chunks_mut::<C>().0.iter_mut().skip(fast);
    for (out, column) in last.zip(last_columns) {
        let at = [(top, column.lower), (top, column.upper), (bottom, column.lower), (bottom, column.upper)];
        *out = lerp(at.map(|(line, at)| pixel::<C>(line, at)), [column.lerp; C], down);
    }
}

/// A line of pixels of one channel: collected one by one, computed a vector at a time.
fn grey_line(top: &[u8], bottom: &[u8], columns: &[Between], down: f32, line: &mut [f32]) {
    const AT_ONCE: usize = 16;
    for (out, columns) in line.chunks_mut(AT_ONCE).zip(columns.chunks(AT_ONCE)) {
        let mut bytes = [[0u8; AT_ONCE]; 4];
        let mut across = [0.0; AT_ONCE];
        let byte = |line: &[u8], at: u32| line[at as usize];
        for (i, column) in columns.iter().enumerate() {
            bytes[0][i] = byte(top, column.lower);
            bytes[1][i] = byte(top, column.upper);
            bytes[2][i] = byte(bottom, column.lower);
            bytes[3][i] = byte(bottom, column.upper);
            across[i] = column.lerp;
        }
        let values = lerp(bytes.map(|bytes| bytes.map(f32::from)), across, down);
        out.iter_mut().zip(values).for_each(|(to, value)| *to = value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resize(method: Resize, pixels: &[u8], from: [usize; 2], channels: usize, to: [usize; 2]) -> Vec<f32> {
        let mut scratch = vec![0u32; to[1] * WEIGHT_BYTES / 4];
        let scratch = bytemuck::cast_slice_mut(&mut scratch);
        let resizer = Resizer::new(method, pixels, from, channels, to, scratch).unwrap();
        let mut out = vec![0.0; to[0] * to[1] * channels];
        for (y, line) in out.chunks_mut(to[1] * channels).enumerate() {
            resizer.line(y, line);
        }
        out
    }

    #[test]
    fn the_same_size_is_the_same_image() {
        let pixels: Vec<u8> = (0..60).map(|v| v * 4).collect();
        let same: Vec<f32> = pixels.iter().map(|v| f32::from(*v)).collect();
        for method in [Resize::Bilinear, Resize::Nearest] {
            assert_eq!(resize(method, &pixels, [4, 5], 3, [4, 5]), same);
        }
    }

    #[test]
    fn halves_and_doubles() {
        let out = resize(Resize::Bilinear, &[0, 10, 20, 30], [2, 2], 1, [1, 1]);
        assert_eq!(out, [15.0]);
        let out = resize(Resize::Bilinear, &[0, 100], [1, 2], 1, [1, 4]);
        assert_eq!(out, [0.0, 25.0, 75.0, 100.0]);
        let out = resize(Resize::Nearest, &[0, 100], [1, 2], 1, [1, 4]);
        assert_eq!(out, [0.0, 0.0, 100.0, 100.0]);
    }

    #[test]
    fn short_slices_are_refused() {
        assert!(Resizer::new(Resize::Bilinear, &[0; 11], [2, 2], 3, [1, 1], &mut [0; 100]).is_none());
        let mut scratch = [0u32; 8];
        let short = &mut bytemuck::cast_slice_mut(&mut scratch)[..2];
        assert!(Resizer::new(Resize::Bilinear, &[0; 12], [2, 2], 3, [1, 1], short).is_none());
    }
}
