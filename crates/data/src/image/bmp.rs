//! BMP as TensorFlow reads it: whole bytes for a pixel.
//!
//! One byte is one channel, its palette is not looked at; three are blue, green and red, four alpha as well, and masks say
//! nothing else. What has fewer bits than eight, or 16, TensorFlow refuses, and what is not as long as its pixels, which
//! runs hardly ever are; it does not look at what compression is said to be. Source: TensorFlow's
//! `decode_image_op.cc`, and the BITMAPFILEHEADER and BITMAPINFOHEADER structures of Windows.

use std::cmp::Ordering;

use super::pixel::ImageError;

/// Where the pixels of a file are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bmp<'a> {
    /// Its lines, each padded to four bytes.
    data: &'a [u8],
    /// Bytes of a pixel.
    pub channels: usize,
    is_top_down: bool,
}

/// Bytes of the structures before the pixels that have to be there.
const HEAD_BYTES: usize = 34;

/// The older structure has its sides in other places, where TensorFlow does not look.
const INFO_BYTES: u32 = 40;

fn broken(why: &str) -> ImageError {
    ImageError::Codec(why.to_string())
}

impl<'a> Bmp<'a> {
    /// The picture of `[height, width]` in `bytes`.
    ///
    /// # Errors
    /// [`ImageError::Codec`] for what is not decoded, and for a file that ends too early.
    pub fn new(bytes: &'a [u8], [height, width]: [usize; 2]) -> Result<Bmp<'a>, ImageError> {
        let ends = || broken("the file ends inside the image");
        let head: &[u8; HEAD_BYTES] = bytes.first_chunk().ok_or_else(ends)?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let bits = usize::from(u16::from_le_bytes([head[28], head[29]]));
        if !matches!(bits, 8 | 24 | 32) || word(14) < INFO_BYTES {
            return Err(broken("a BMP that is not of 8, 24 or 32 bits"));
        }
        let channels = bits / 8;
        let line_bytes = width.checked_mul(channels).and_then(|bytes| bytes.checked_next_multiple_of(4));
        let all_bytes = line_bytes.and_then(|bytes| bytes.checked_mul(height));
        let data = usize::try_from(word(10)).ok().and_then(|at| bytes.get(at..));
        let (data, all_bytes) = data.zip(all_bytes).ok_or_else(ends)?;
        // TensorFlow takes no other bytes for a BMP either.
        match data.len().cmp(&all_bytes) {
            Ordering::Less => return Err(ends()),
            Ordering::Greater => return Err(broken("a BMP with extra bytes after its pixels")),
            Ordering::Equal => {}
        }
        Ok(Bmp { data, channels, is_top_down: word(22) > i32::MAX as u32 })
    }

    /// Writes `channels` of each pixel of lines of `width` to `out`: alpha, where there is none, as 255.
    pub fn pixels(&self, width: usize, channels: usize, out: &mut [u8]) {
        let line_bytes = (self.channels * width).next_multiple_of(4);
        let lines = self.data.chunks_exact(line_bytes);
        let outs = out.chunks_exact_mut(width * channels);
        if self.is_top_down {
            lines.zip(outs).for_each(|(line, out)| self.line(line, channels, out));
        } else {
            lines.rev().zip(outs).for_each(|(line, out)| self.line(line, channels, out));
        }
    }

    fn line(&self, line: &[u8], channels: usize, out: &mut [u8]) {
        for (to, from) in out.chunks_exact_mut(channels).zip(line.chunks_exact(self.channels)) {
            let pixel = match *from {
                [grey] => [grey, grey, grey, 255],
                [b, g, r] => [r, g, b, 255],
                [b, g, r, a] => [r, g, b, a],
                _ => continue,
            };
            if let Some(pixel) = pixel.get(..channels) {
                to.copy_from_slice(pixel);
            }
        }
    }
}
