//! Pixels as JPEG files, byte for byte those of libjpeg with its accurate transform (islow), as `tf.io.encode_jpeg` makes them:
//! grey or RGB pixels of uint8, baseline or progressive.
//!
//! Sources: ITU-T T.81, and libjpeg's rules for what that leaves open: how colours are converted and halved, what stands
//! beyond the picture's edges, and which passes a progressive file has.

mod entropy;
mod huffman;
mod transform;

use super::pixel::ImageError;
use entropy::{Coder, Coefficients, Scan, TABLES};
use huffman::Codes;

const OP: &str = "encode_jpeg";

/// The order of a block's coefficients by frequency.
#[rustfmt::skip]
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47,
    55, 62, 63,
];

/// The standard's steps of quantisation, in rows, for half the quality.
#[rustfmt::skip]
const LUMA_STEPS: [u8; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
];
#[rustfmt::skip]
const CHROMA_STEPS: [u8; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99,
];

/// How pixels become a file.
#[derive(Debug, Clone)]
pub struct JpegEncoding<'a> {
    /// From 0, the smallest file, to 100.
    pub quality: u8,
    /// In passes that get finer.
    pub is_progressive: bool,
    /// With tables of its own; always where it is progressive.
    pub is_optimized: bool,
    /// Colours at half the resolution.
    pub halves_colours: bool,
    /// Pixels per inch, or per centimetre where `is_metric`, across and down.
    pub density: [u16; 2],
    /// See there.
    pub is_metric: bool,
    /// What is said of the picture beside it; nothing where it is empty.
    pub xmp: &'a [u8],
}

/// Where a file goes, in pieces; false stops.
pub type Write<'w> = dyn FnMut(&[u8]) -> bool + 'w;

/// The end of the file, before it goes on.
struct Sink<'w> {
    write: &'w mut Write<'w>,
    bytes: [u8; 512],
    len: usize,
}

impl Sink<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        for byte in bytes {
            if self.len == self.bytes.len() {
                self.flush()?;
            }
            self.bytes[self.len] = *byte;
            self.len += 1;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ImageError> {
        let is_written = (self.write)(&self.bytes[..self.len]);
        self.len = 0;
        if is_written { Ok(()) } else { Err(ImageError::Codec("the file cannot be written".to_string())) }
    }

    /// A segment of two bytes of marker and two of length before what `parts` hold.
    fn segment(&mut self, marker: u8, parts: &[&[u8]]) -> Result<(), ImageError> {
        let bytes = 2 + parts.iter().map(|part| part.len()).sum::<usize>();
        let bytes =
            u16::try_from(bytes).map_err(|_| ImageError::Codec("a segment is too long".to_string()))?;
        self.push(&[0xff, marker])?;
        self.push(&bytes.to_be_bytes())?;
        parts.iter().try_for_each(|part| self.push(part))
    }
}

/// One of the components of a picture.
#[derive(Debug, Clone, Copy, Default)]
struct Component {
    /// Blocks of it in a unit, across and down.
    factors: [usize; 2],
    /// Its blocks across and down.
    blocks: [usize; 2],
    /// The same, filled up to whole units.
    padded: [usize; 2],
    /// Where its coefficients begin.
    first: usize,
    /// Whether it has half the picture's resolution.
    is_halved: bool,
}

/// How a picture is cut.
struct Layout {
    components: [Component; 3],
    count: usize,
    units: [usize; 2],
    coefficients: usize,
}

/// The longest side that libjpeg takes.
const MAX_SIDE: usize = 65_500;

impl Layout {
    fn new([height, width, channels]: [usize; 3], halves_colours: bool) -> Result<Layout, ImageError> {
        let shape = |why| ImageError::Shape { op: OP, shape: [height, width, channels], why };
        if !matches!(channels, 1 | 3) {
            return Err(shape("it takes one or three channels"));
        }
        if !(1..=MAX_SIDE).contains(&height) || !(1..=MAX_SIDE).contains(&width) {
            return Err(shape("its sides must be 1 to 65500"));
        }
        let most = if channels == 3 && halves_colours { 2 } else { 1 };
        let units = [width.div_ceil(8 * most), height.div_ceil(8 * most)];
        let mut layout = Layout { components: Default::default(), count: channels, units, coefficients: 0 };
        for (number, component) in layout.components.iter_mut().enumerate().take(channels) {
            let factor = if number == 0 { most } else { 1 };
            let blocks = [width, height].map(|side| (side * factor).div_ceil(8 * most));
            let padded = units.map(|units| units * factor);
            let (first, is_halved) = (layout.coefficients, factor < most);
            *component = Component { factors: [factor; 2], blocks, padded, first, is_halved };
            layout.coefficients += padded[0] * padded[1] * 64;
        }
        Ok(layout)
    }
}

/// Bytes of scratch that [`encode_jpeg`] takes for an image `[height, width, channels]`.
///
/// # Errors
/// [`ImageError::Shape`] for one that it does not take.
pub fn encode_jpeg_scratch_bytes(shape: [usize; 3], halves_colours: bool) -> Result<usize, ImageError> {
    Ok(Layout::new(shape, halves_colours)?.coefficients * size_of::<i16>() + size_of::<i16>())
}

/// Writes pixels `[height, width, channels]` as a JPEG file to `write`, in pieces.
///
/// # Errors
/// [`ImageError::Shape`] for an image that it does not take, [`ImageError::Memory`] when pixels or scratch are fewer than
/// said, and [`ImageError::Codec`] once `write` says false.
pub fn encode_jpeg<'w>(
    shape: [usize; 3],
    pixels: &[u8],
    how: &JpegEncoding<'_>,
    scratch: &mut [u8],
    write: &'w mut Write<'w>,
) -> Result<(), ImageError> {
    let layout = Layout::new(shape, how.halves_colours)?;
    let memory = |what, needed_bytes, found_bytes| ImageError::Memory { what, needed_bytes, found_bytes };
    let needed = shape.iter().product::<usize>();
    let pixels = pixels.get(..needed).ok_or(memory("input", needed, pixels.len()))?;
    let (found, needed) = (scratch.len(), encode_jpeg_scratch_bytes(shape, how.halves_colours)?);
    let skip = scratch.as_ptr().align_offset(2).min(1);
    let bytes =
        scratch.get_mut(skip..skip + layout.coefficients * 2).ok_or(memory("scratch", needed, found))?;
    let blocks: &mut [i16] =
        bytemuck::try_cast_slice_mut(bytes).map_err(|_| memory("scratch", needed, found))?;
    let steps = [steps(&LUMA_STEPS, how.quality), steps(&CHROMA_STEPS, how.quality)];
    let components = &layout.components[..layout.count];
    for (number, component) in components.iter().enumerate() {
        let own = &mut blocks[component.first..][..component.padded[0] * component.padded[1] * 64];
        transform::component(shape, pixels, number, component, &steps[usize::from(number > 0)], own);
    }
    let mut sink = Sink { write, bytes: [0; 512], len: 0 };
    header(&mut sink, shape, how, components, &steps)?;
    let of = Coefficients { blocks, components, units: layout.units };
    passes(&mut sink, &of, how)?;
    sink.push(&[0xff, 0xd9])?;
    sink.flush()
}

/// Steps of a quality.
fn steps(table: &[u8; 64], quality: u8) -> [u8; 64] {
    let quality = u32::from(quality.clamp(1, 100));
    let scale = if quality < 50 { 5000 / quality } else { 200 - quality * 2 };
    table.map(|step| ((u32::from(step) * scale + 50) / 100).clamp(1, 255) as u8)
}

/// All before the first pass.
fn header(
    sink: &mut Sink<'_>,
    [height, width, _]: [usize; 3],
    how: &JpegEncoding<'_>,
    components: &[Component],
    steps: &[[u8; 64]; 2],
) -> Result<(), ImageError> {
    sink.push(&[0xff, 0xd8])?;
    let [across, down] = how.density.map(u16::to_be_bytes);
    let unit = [if how.is_metric { 2 } else { 1 }];
    sink.segment(0xe0, &[b"JFIF\0\x01\x01", &unit, &across, &down, &[0, 0]])?;
    if !how.xmp.is_empty() {
        sink.segment(0xe1, &[b"http://ns.adobe.com/xap/1.0/\0", how.xmp])?;
    }
    for (number, steps) in (0..).zip(&steps[..components.len().min(2)]) {
        sink.segment(0xdb, &[&[number], &ZIGZAG.map(|at| steps[usize::from(at)])])?;
    }
    let [height, width] = [height, width].map(|side| (side as u16).to_be_bytes());
    let frame = if how.is_progressive { 0xc2 } else { 0xc0 };
    let mut said = [[0; 3]; 3];
    for (number, (to, component)) in (0u8..).zip(said.iter_mut().zip(components)) {
        let [across, down] = component.factors;
        *to = [number + 1, (across << 4 | down) as u8, number.min(1)];
    }
    let said = said[..components.len()].as_flattened();
    sink.segment(frame, &[&[8], &height, &width, &[components.len() as u8], said])
}

/// The passes of a progressive file, as libjpeg chooses them.
fn progression(components: usize) -> ([Scan; 10], usize) {
    let scan = |component, first, last, before, low| Scan { component, first, last, before, low };
    let one = |component, first, last, before, low| scan(Some(component), first, last, before, low);
    let colours = [
        scan(None, 0, 0, 0, 1),
        one(0, 1, 5, 0, 2),
        one(2, 1, 63, 0, 1),
        one(1, 1, 63, 0, 1),
        one(0, 6, 63, 0, 2),
        one(0, 1, 63, 2, 1),
        scan(None, 0, 0, 1, 0),
        one(2, 1, 63, 1, 0),
        one(1, 1, 63, 1, 0),
        one(0, 1, 63, 1, 0),
    ];
    if components == 3 {
        return (colours, 10);
    }
    // The same without colours.
    let mut grey = colours;
    [0, 1, 4, 5, 6, 9].into_iter().enumerate().for_each(|(to, from)| grey[to] = colours[from]);
    (grey, 6)
}

fn passes(sink: &mut Sink<'_>, of: &Coefficients<'_>, how: &JpegEncoding<'_>) -> Result<(), ImageError> {
    let whole = Scan { component: None, first: 0, last: 63, before: 0, low: 0 };
    let (scans, count) = match how.is_progressive {
        true => progression(of.components.len()),
        false => ([whole; 10], 1),
    };
    let mut codes = [
        Codes::standard_dc(false),
        Codes::standard_dc(true),
        Codes::standard_ac(false),
        Codes::standard_ac(true),
    ];
    for scan in &scans[..count] {
        if how.is_progressive || how.is_optimized {
            let mut counts = [[0; 256]; TABLES];
            Coder::counting(&mut counts).scan(of, *scan, how.is_progressive)?;
            for (codes, counts) in codes.iter_mut().zip(&counts) {
                *codes = Codes::best(counts);
            }
        }
        let numbers = match scan.component {
            Some(one) => one..one + 1,
            None => 0..of.components.len(),
        };
        let (has_dc, has_ac) = (scan.first == 0 && scan.before == 0, scan.last > 0);
        for table in 0..2.min(of.components.len()) {
            if !numbers.clone().any(|number| number.min(1) == table) {
                continue;
            }
            for (is_there, kind) in [(has_dc, 0u8), (has_ac, 1)] {
                if is_there {
                    let own = &codes[2 * usize::from(kind) + table];
                    sink.segment(
                        0xc4,
                        &[&[kind << 4 | table as u8], &own.counts, &own.symbols[..own.len()]],
                    )?;
                }
            }
        }
        let mut said = [[0; 2]; 3];
        for (to, number) in said.iter_mut().zip(numbers.clone()) {
            let table = number.min(1) as u8;
            let [dc, ac] = [has_dc, has_ac].map(|is_there| if is_there { table } else { 0 });
            *to = [number as u8 + 1, dc << 4 | ac];
        }
        let said = said[..numbers.len()].as_flattened();
        let ends = [scan.first as u8, scan.last as u8, (scan.before << 4 | scan.low) as u8];
        sink.segment(0xda, &[&[numbers.len() as u8], said, &ends])?;
        Coder::writing(&codes, sink).scan(of, *scan, how.is_progressive)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(shape: [usize; 3], how: &JpegEncoding<'_>) -> Vec<u8> {
        let pixels: Vec<u8> = (0..shape.iter().product::<usize>()).map(|n| (n * n / 7 % 251) as u8).collect();
        let mut scratch = vec![1; encode_jpeg_scratch_bytes(shape, how.halves_colours).unwrap()];
        let mut file = Vec::new();
        let mut write = |bytes: &[u8]| {
            file.extend_from_slice(bytes);
            true
        };
        encode_jpeg(shape, &pixels, how, &mut scratch, &mut write).unwrap();
        file
    }

    const USUAL: JpegEncoding<'static> = JpegEncoding {
        quality: 95,
        is_progressive: false,
        is_optimized: false,
        halves_colours: true,
        density: [300, 300],
        is_metric: false,
        xmp: b"",
    };

    /// Every form of one picture has the same coefficients, so its pixels are the same.
    #[test]
    fn every_form_of_a_picture_decodes_to_the_same_pixels() {
        for shape in [[1, 1, 1], [17, 33, 1], [16, 16, 3], [19, 37, 3]] {
            let decode = |how: &JpegEncoding<'_>| {
                let file = encode(shape, how);
                let header =
                    crate::image::ImageHeader::read(&mut std::io::Cursor::new(&file), file.len() as u64);
                let options = crate::image::DecodeOptions {
                    channels: shape[2],
                    dtype: tightfit_core::DType::U8,
                    expand_animations: false,
                };
                let mut pixels = vec![0; shape.iter().product()];
                let mut scratch = vec![0; 1 << 20];
                options.decode(&file, &header.unwrap(), &mut pixels, &mut scratch).unwrap();
                pixels
            };
            let plain = decode(&USUAL);
            assert_eq!(decode(&JpegEncoding { is_optimized: true, ..USUAL }), plain, "{shape:?}");
            assert_eq!(decode(&JpegEncoding { is_progressive: true, xmp: b"more", ..USUAL }), plain);
        }
    }

    #[test]
    fn what_it_does_not_take_is_refused() {
        assert!(encode_jpeg_scratch_bytes([1, 1, 2], true).is_err());
        assert!(encode_jpeg_scratch_bytes([0, 1, 3], true).is_err());
        assert!(encode_jpeg_scratch_bytes([1, 65_501, 3], true).is_err());
        let none = encode_jpeg([1, 1, 1], &[0], &USUAL, &mut [0; 130], &mut |_| false);
        assert!(matches!(none, Err(ImageError::Codec(_))));
        let few = encode_jpeg([1, 1, 1], &[], &USUAL, &mut [0; 130], &mut |_| true);
        assert!(matches!(few, Err(ImageError::Memory { .. })));
    }
}
