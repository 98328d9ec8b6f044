//! What an image's header says: format, size, and how much memory decoding will take. Nothing is allocated.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use super::{gif, jpeg};

/// The formats that are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageFormat {
    /// JPEG, sequential and progressive.
    Jpeg,
    /// PNG.
    Png,
    /// Windows bitmap.
    Bmp,
    /// GIF, of which the first frame counts; it is as large as its largest frame.
    Gif,
}

impl ImageFormat {
    /// Its name, which is also the extension of its files.
    pub fn name(self) -> &'static str {
        match self {
            ImageFormat::Jpeg => "jpeg",
            ImageFormat::Png => "png",
            ImageFormat::Bmp => "bmp",
            ImageFormat::Gif => "gif",
        }
    }

    /// The format of a file that begins with `head` (8 bytes, fewer if it has fewer).
    pub fn detect(head: &[u8]) -> Option<ImageFormat> {
        match head {
            [0xff, 0xd8, 0xff, ..] => Some(ImageFormat::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(ImageFormat::Png),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(ImageFormat::Gif),
            [b'B', b'M', ..] => Some(ImageFormat::Bmp),
            _ => None,
        }
    }
}

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageHeader {
    /// The format.
    pub format: ImageFormat,
    /// Pixels across.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// The most bytes that the decoder puts out.
    pub pixel_bytes: u64,
    /// The most bytes of heap that the decoder takes, beside the file's bytes and the pixels.
    pub heap_bytes: u64,
    /// Components of a JPEG.
    pub(crate) components: usize,
}

/// What every decoder takes for its tables and state.
const TABLES_BYTES: u64 = 192 << 10;

impl ImageHeader {
    /// Reads the header of `read`, which is `file_bytes` long, from its start.
    ///
    /// # Errors
    /// Whatever `read` reports, and `InvalidData` with a text for what is no image that can be decoded.
    pub fn read(read: &mut (impl Read + Seek), file_bytes: u64) -> io::Result<ImageHeader> {
        ImageHeader::read_reduced(read, file_bytes, 1)
    }

    /// The same where a JPEG is decoded with a [`JpegDecoding::ratio`](super::JpegDecoding::ratio): `width` and `height`
    /// are those that it gets.
    ///
    /// # Errors
    /// As [`ImageHeader::read`].
    pub fn read_reduced(
        read: &mut (impl Read + Seek),
        file_bytes: u64,
        ratio: usize,
    ) -> io::Result<ImageHeader> {
        read.seek(SeekFrom::Start(0))?;
        let mut head = [0; 30];
        let head_bytes = file_bytes.min(head.len() as u64) as usize;
        let head = &mut head[..head_bytes];
        read.read_exact(head)?;
        match ImageFormat::detect(head) {
            Some(ImageFormat::Jpeg) => jpeg(read, ratio),
            Some(ImageFormat::Png) => png(head),
            Some(ImageFormat::Gif) => gif(read),
            Some(ImageFormat::Bmp) => bmp(head),
            None => Err(invalid("not a JPEG, PNG, BMP or GIF image")),
        }
    }
}

impl ImageHeader {
    /// Components of a JPEG as it is coded, 1, 3 or 4; 0 of other formats.
    pub fn components(&self) -> usize {
        self.components
    }

    /// True for a JPEG of one component.
    pub(crate) fn is_grey(&self) -> bool {
        self.format == ImageFormat::Jpeg && self.components == 1
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

fn chunk<const N: usize>(head: &[u8], at: usize) -> io::Result<[u8; N]> {
    let bytes = head.get(at..).and_then(|b| b.first_chunk().copied());
    bytes.ok_or_else(|| invalid("the file ends inside the image's header"))
}

fn header(
    format: ImageFormat,
    [width, height]: [u64; 2],
    pixel_bytes: u64,
    heap_bytes: u64,
) -> io::Result<ImageHeader> {
    if width == 0 || height == 0 {
        return Err(invalid("an image without pixels"));
    }
    let size = width.checked_mul(height).and_then(|n| n.checked_mul(pixel_bytes));
    let pixel_bytes =
        size.filter(|n| *n <= u64::from(u32::MAX)).ok_or_else(|| invalid("an image over 4 GB"))?;
    let (width, height) = (width as usize, height as usize);
    Ok(ImageHeader { format, width, height, pixel_bytes, heap_bytes, components: 0 })
}

/// Source: the PNG specification, 11.2.1 IHDR.
fn png(head: &[u8]) -> io::Result<ImageHeader> {
    let [width, height] = [16, 20].map(|at| chunk(head, at).map(u32::from_be_bytes));
    let size = [u64::from(width?), u64::from(height?)];
    let [bit_depth, colour] = chunk(head, 24)?;
    // A transparent colour can add an alpha channel to grey, RGB and palette.
    let channels = match colour {
        0 | 4 => 2,
        2 | 3 | 6 => 4,
        _ => return Err(invalid("a PNG of an unknown colour type")),
    };
    let pixel_bytes = channels * if bit_depth == 16 { 2 } else { 1 };
    // Lines before and after filtering, the inflater's window.
    let heap_bytes = 2 * TABLES_BYTES + 8 * size[0].saturating_mul(pixel_bytes);
    header(ImageFormat::Png, size, pixel_bytes, heap_bytes)
}

/// As large as the largest frame, whatever the screen is.
fn gif(read: &mut (impl Read + Seek)) -> io::Result<ImageHeader> {
    read.seek(SeekFrom::Start(0))?;
    let [_, height, width] = gif::size(read)?;
    header(ImageFormat::Gif, [width as u64, height as u64], 4, 0)
}

/// Source: the BITMAPCOREHEADER and BITMAPINFOHEADER structures of Windows.
fn bmp(head: &[u8]) -> io::Result<ImageHeader> {
    let size = if u32::from_le_bytes(chunk(head, 14)?) == 12 {
        [18, 20].map(|at| chunk(head, at).map(|b| u64::from(u16::from_le_bytes(b))))
    } else {
        // A negative height is one of lines from the top.
        [18, 22].map(|at| chunk(head, at).map(|b| u64::from(i32::from_le_bytes(b).unsigned_abs())))
    };
    let [width, height] = size;
    let size = [width?, height?];
    header(ImageFormat::Bmp, size, 4, 0)
}

/// What a JPEG's headers say.
fn jpeg(read: &mut (impl Read + Seek), ratio: usize) -> io::Result<ImageHeader> {
    let head = jpeg::head(read, ratio)?;
    let size = [head.width as u64, head.height as u64];
    // Four inks become RGB.
    let channels = head.components.min(3);
    let made = header(ImageFormat::Jpeg, size, channels as u64, head.heap_bytes)?;
    Ok(ImageHeader { components: head.components, ..made })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<ImageHeader> {
        ImageHeader::read(&mut Cursor::new(bytes), bytes.len() as u64)
    }

    #[test]
    fn huge_sizes_are_refused() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend([0xff; 8]);
        png.extend([16, 6, 0, 0, 0]);
        assert!(read(&png).unwrap_err().to_string().contains("4 GB"));
        png[16..24].copy_from_slice(&[0, 0, 1, 0, 0, 0, 0, 2]);
        let header = read(&png).unwrap();
        assert_eq!((header.width, header.height, header.pixel_bytes), (256, 2, 256 * 2 * 8));
        png[16..20].fill(0);
        assert!(read(&png).is_err());
        assert!(read(&png[..20]).unwrap_err().to_string().contains("ends"));
    }

    #[test]
    fn a_jpeg_is_read_as_far_as_the_components_of_its_scan() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/full.jpg");
        let jpeg = std::fs::read(path).unwrap();
        let scan = jpeg.windows(2).position(|bytes| bytes == [0xff, 0xda]).unwrap();
        // The marker, a length, how many components there are, and two bytes of each.
        let components = scan + 2 + 2 + 1 + 2 * usize::from(jpeg[scan + 4]);
        assert_eq!(read(&jpeg[..components]).unwrap(), read(&jpeg).unwrap());
        assert!(read(&jpeg[..components - 1]).is_err());
        let mut other = jpeg.clone();
        other[scan + 5] = 200;
        assert!(read(&other).unwrap_err().to_string().contains("component that is none"));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            magic in 0..4usize,
        ) {
            let magics: [&[u8]; 4] = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM"];
            let mut file = magics[magic].to_vec();
            file.extend(bytes);
            let _ = read(&file);
        }
    }
}
