//! JPEG, baseline and progressive, decoded to the bytes that libjpeg-turbo makes with `JDCT_ISLOW` or `JDCT_IFAST` and fancy
//! upsampling or none, which is what `tf.io.decode_jpeg` does with `dct_method` of INTEGER_ACCURATE or INTEGER_FAST, its default,
//! and `fancy_upscaling`.
//!
//! Where all components come in one scan, blocks become samples as they are decoded, and one or two lines of MCUs are
//! kept; otherwise the coefficients of the whole picture are. [`heap_bytes`] says how much memory that is; both follow
//! from the frame header and the first scan's.
//!
//! Arithmetic coding, lossless and hierarchical processes and other than 8 bits are refused, so is a progressive
//! picture that lacks the scans of its first coefficients, which libjpeg would smooth.

mod color;
mod frame;
mod huffman;
mod idct;
mod idct_fast;
mod idct_reduced;
mod scan;
mod segments;
mod tables;
mod upsample;

use std::io::{self, ErrorKind, Read, Seek};
use std::ops::Range;

use color::Colors;
use frame::{Component, FRAME_BYTES, Frame};
use huffman::Table;
use scan::{Block, Decoder, Scan, read_parts};
use segments::{EOI, InMemory, Reading, SOI, SOS, Source};
use tables::Tables;
use upsample::Upsampling;

/// More segments before the coded data are taken for an attack.
const MAX_SEGMENTS: usize = 10_000;

/// Why decoding stops.
#[derive(Debug)]
enum Stop {
    /// What reading reports.
    Io(io::Error),
    /// What is wrong with the file.
    Broken(&'static str),
}

impl From<Stop> for io::Error {
    fn from(stop: Stop) -> io::Error {
        match stop {
            Stop::Io(error) => error,
            Stop::Broken(why) => io::Error::new(ErrorKind::InvalidData, why),
        }
    }
}

/// What memory follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub width: usize,
    pub height: usize,
    /// 1, 3 or 4.
    pub components: usize,
    /// The most bytes of heap that decoding takes.
    pub heap_bytes: u64,
}

/// Reads the headers from the start of `read`, of a picture that is to be smaller by `ratio`, 1, 2, 4 or 8.
pub(super) fn head(read: &mut (impl Read + Seek), ratio: usize) -> io::Result<Head> {
    let mut source = Reading::new(read, 2)?;
    let mut frame = None;
    for _ in 0..MAX_SEGMENTS {
        let marker = source.marker()?;
        let bytes = source.content_bytes(marker)?;
        if is_frame(marker) {
            frame = Some(read_frame(marker, bytes, ratio, &mut source)?);
        } else if marker == SOS {
            let frame = frame.ok_or(Stop::Broken("a JPEG without a frame header"))?;
            let (_, first) = read_parts(&frame, bytes, &mut source)?;
            let (width, height, components) = (frame.width, frame.height, frame.components().len());
            return Ok(Head { width, height, components, heap_bytes: heap_bytes(&frame, first) });
        } else if marker == EOI {
            return Err(Stop::Broken("a JPEG without coded data").into());
        } else {
            source.skip(bytes)?;
        }
    }
    Err(Stop::Broken("a JPEG of too many segments").into())
}

fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf if !matches!(marker, 0xc4 | 0xcc))
}

fn read_frame(marker: u8, bytes: usize, ratio: usize, source: &mut impl Source) -> Result<Frame, Stop> {
    let mut content = [0; FRAME_BYTES];
    let content = content.get_mut(..bytes);
    let content = content.ok_or(Stop::Broken("a JPEG of a number of components that is not decoded"))?;
    source.fill(content)?;
    Ok(Frame::new(marker, content)?.reduced(ratio))
}

/// The most bytes of heap that a picture takes whose first scan is of `first` components.
fn heap_bytes(frame: &Frame, first: usize) -> u64 {
    // Where samples are repeated it is less.
    let has_neighbours = has_neighbours(frame, frame.components().len(), false);
    let of_component = |component: &Component| {
        // One that cannot be brought to the picture's size is refused where it is needed.
        let upsampling = Upsampling::new(frame, component, false).unwrap_or(Upsampling::None);
        let plane = plane_lines(component, has_neighbours) * component.size * component.padded[0];
        let [line, sums] = line_sizes(frame, component, upsampling);
        let blocks = if frame.has_many_scans(first) { component.padded[0] * component.padded[1] } else { 0 };
        (size_of::<Plane>() + plane + line + sums * size_of::<u16>()) as u64
            + (blocks * size_of::<Block>()) as u64
    };
    let components = frame.components().iter().map(of_component).sum::<u64>();
    size_of::<[[Table; 4]; 2]>() as u64 + components
}

/// Whether lines of the first `needed` components depend on lines above and below.
fn has_neighbours(frame: &Frame, needed: usize, repeats: bool) -> bool {
    let upsampling = |component: &Component| Upsampling::new(frame, component, repeats);
    frame.components().iter().take(needed).filter_map(upsampling).any(Upsampling::has_neighbours)
}

/// Lines of a component that are kept.
fn plane_lines(component: &Component, has_neighbours: bool) -> usize {
    if has_neighbours { 2 * component.size * component.v } else { component.size * component.v }
}

/// Bytes of a line after upsampling, and sums of a line while it is.
fn line_sizes(frame: &Frame, component: &Component, upsampling: Upsampling) -> [usize; 2] {
    let [across, _] = frame.group(component);
    let line = component.width * (frame.h_max / across);
    match upsampling {
        Upsampling::None => [0, 0],
        Upsampling::Across | Upsampling::Both => [line, component.width + 2],
        Upsampling::Down | Upsampling::Repeat(_) => [line, 0],
    }
}

/// Room for `count` elements.
fn room<T: Clone>(count: usize, value: T) -> Result<Vec<T>, Stop> {
    let mut room = Vec::new();
    room.try_reserve_exact(count).map_err(|_| Stop::Broken("not enough memory for the image"))?;
    room.resize(count, value);
    Ok(room)
}

/// How coefficients of a JPEG become samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JpegTransform {
    /// libjpeg's `JDCT_ISLOW`, TensorFlow's INTEGER_ACCURATE.
    #[default]
    Accurate,
    /// libjpeg's `JDCT_IFAST`, TensorFlow's INTEGER_FAST: coarser by up to a few of 255.
    Fast,
}

/// How a JPEG is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JpegDecoding {
    /// How coefficients become samples.
    pub transform: JpegTransform,
    /// How many times smaller than it is coded the picture is made, each way: 1, 2, 4 or 8. Fewer coefficients are
    /// transformed then, by one way for both [`JpegTransform`]s where a component is reduced.
    pub ratio: usize,
    /// Whether samples of components that have fewer than the picture has pixels are repeated, and not interpolated.
    pub repeats_samples: bool,
    /// The columns that are wanted, where not all are: the first, and how many. The others are what they happen to be,
    /// and as in libjpeg colours at the edges of what is decoded, which are those of whole units, are not mixed with what
    /// is beyond.
    pub columns: Option<[usize; 2]>,
}

impl Default for JpegDecoding {
    fn default() -> JpegDecoding {
        JpegDecoding { transform: JpegTransform::Accurate, ratio: 1, repeats_samples: false, columns: None }
    }
}

/// Decodes the file `bytes` to the start of `out`, as `[height, width, channels]`, and returns the channels: `wanted`,
/// which is 1 or 3, but 1 for a grey picture. The picture must become of `size`, height and width.
pub(super) fn decode(
    bytes: &[u8],
    size: [usize; 2],
    wanted: usize,
    how: JpegDecoding,
    out: &mut [u8],
) -> Result<usize, String> {
    let result = decode_file(bytes, size, wanted, how, out);
    result.map_err(|stop| io::Error::from(stop).to_string())
}

fn decode_file(
    bytes: &[u8],
    size: [usize; 2],
    wanted: usize,
    how: JpegDecoding,
    out: &mut [u8],
) -> Result<usize, Stop> {
    if !bytes.starts_with(&[0xff, SOI]) {
        return Err(Stop::Broken("not a JPEG"));
    }
    let mut file =
        File { source: InMemory { bytes, at: 2 }, tables: Tables::new(), frame: None, ratio: how.ratio };
    let marker = file.source.marker()?;
    let Some(scan) = file.next_scan(marker)? else {
        return Err(Stop::Broken("a JPEG without coded data"));
    };
    let frame = file.frame.ok_or(Stop::Broken("a JPEG without a frame header"))?;
    if size != [frame.height, frame.width] {
        return Err(Stop::Broken("its size is not what its header says"));
    }
    let colors = Colors::new(&frame, &file.tables)?;
    let channels = match colors {
        Colors::Grey => 1,
        Colors::Inks | Colors::YCbCrInks if wanted == 1 => {
            return Err(Stop::Broken("a JPEG of four inks does not become grey"));
        }
        _ => wanted,
    };
    if !frame.is_progressive {
        file.tables.add_usual_codes();
    }
    let mut picture = Picture::new(&frame, colors, channels, how)?;
    let mut made: Vec<[[Table; 4]; 2]> = Vec::new();
    made.try_reserve_exact(1).map_err(|_| Stop::Broken("not enough memory for the image"))?;
    made.push([const { [const { Table::EMPTY }; 4] }; 2]);
    let made = made.first_mut().ok_or(Stop::Broken("not enough memory for the image"))?;
    if frame.has_many_scans(scan.parts().len()) {
        file.many_scans(&frame, scan, made, &mut picture, out)?;
    } else {
        file.one_scan(&frame, scan, made, &mut picture, out)?;
    }
    Ok(channels)
}

/// A file and what its segments have said so far.
struct File<'a> {
    source: InMemory<'a>,
    tables: Tables,
    frame: Option<Frame>,
    ratio: usize,
}

impl File<'_> {
    /// Reads segments from `marker` on to the next scan's bits; `None` at the end of the image.
    fn next_scan(&mut self, mut marker: u8) -> Result<Option<Scan>, Stop> {
        loop {
            let bytes = self.source.content_bytes(marker)?;
            if is_frame(marker) {
                if self.frame.is_some() {
                    return Err(Stop::Broken("a JPEG of two frames"));
                }
                self.frame = Some(read_frame(marker, bytes, self.ratio, &mut self.source)?);
            } else if marker == SOS {
                let frame = self.frame.ok_or(Stop::Broken("a JPEG without a frame header"))?;
                return Scan::new(&frame, bytes, &mut self.source).map(Some);
            } else if marker == EOI {
                return Ok(None);
            } else {
                self.tables.take(marker, bytes, &mut self.source)?;
            }
            marker = self.source.marker()?;
        }
    }

    /// Decodes an image whose only scan is `scan`, and checks that it ends.
    fn one_scan(
        &mut self,
        frame: &Frame,
        scan: Scan,
        made: &mut [[Table; 4]; 2],
        picture: &mut Picture<'_>,
        out: &mut [u8],
    ) -> Result<(), Stop> {
        for part in scan.parts() {
            picture.latch(part.component, &self.tables)?;
        }
        let mut decoder = Decoder::new(frame, scan, &self.tables, self.source, made)?;
        // A scan of one component has its blocks alone, whatever its sampling factors are.
        let [across, down] = frame.mcus;
        let is_alone = scan.parts().len() == 1;
        let mut block: Block = [0; 64];
        let mut is_used = true;
        for y in 0..down {
            if is_alone {
                let [across, down] = frame.components()[0].blocks;
                let v = frame.components()[0].v;
                for line in (y * v..y * v + v).take_while(|line| *line < down) {
                    for x in 0..across {
                        clear(&mut block, &mut is_used);
                        let is_more = decoder.begin()? && decoder.sequential(0, &mut block)?;
                        is_used = is_more;
                        picture.put(0, [x, line], &block, is_more)?;
                    }
                }
            } else {
                for x in 0..across {
                    let is_decoded = decoder.begin()?;
                    for (part, component) in frame.components().iter().enumerate() {
                        for at in 0..component.v * component.h {
                            let place =
                                [x * component.h + at % component.h, y * component.v + at / component.h];
                            clear(&mut block, &mut is_used);
                            let is_more = is_decoded && decoder.sequential(part, &mut block)?;
                            is_used = is_more;
                            picture.put(part, place, &block, is_more)?;
                        }
                    }
                }
            }
            picture.write(y + 1 == down, out)?;
        }
        let (marker, source) = decoder.finish()?;
        self.source = source;
        match self.next_scan(marker)? {
            Some(_) => Err(Stop::Broken("a JPEG with a scan after its last")),
            None => Ok(()),
        }
    }

    /// Decodes an image of several scans, of which `scan` is the first.
    fn many_scans(
        &mut self,
        frame: &Frame,
        scan: Scan,
        made: &mut [[Table; 4]; 2],
        picture: &mut Picture<'_>,
        out: &mut [u8],
    ) -> Result<(), Stop> {
        let mut blocks: [Vec<Block>; 4] = [const { Vec::new() }; 4];
        for (blocks, component) in blocks.iter_mut().zip(frame.components()) {
            *blocks = room(component.padded[0] * component.padded[1], [0; 64])?;
        }
        let mut known = [[-1; 64]; 4];
        let mut next = Some(scan);
        while let Some(scan) = next {
            for part in scan.parts() {
                picture.latch(part.component, &self.tables)?;
            }
            if frame.is_progressive {
                scan.note(&mut known);
            }
            let mut decoder = Decoder::new(frame, scan, &self.tables, self.source, made)?;
            scan_blocks(frame, &scan, &mut decoder, &mut blocks)?;
            let (marker, source) = decoder.finish()?;
            self.source = source;
            next = self.next_scan(marker)?;
        }
        if frame.is_progressive && picture.is_smoothed(&known) {
            return Err(Stop::Broken("a progressive JPEG without the scans of its first coefficients"));
        }
        for y in 0..frame.mcus[1] {
            for (at, (component, blocks)) in
                frame.components().iter().zip(&blocks).take(picture.planes.len()).enumerate()
            {
                for line in y * component.v..(y + 1) * component.v {
                    let blocks = blocks.chunks_exact(component.padded[0]).nth(line);
                    let blocks = blocks.ok_or(Stop::Broken("a JPEG of fewer lines than it has"))?;
                    for (x, block) in blocks.iter().take(component.blocks[0]).enumerate() {
                        picture.put(at, [x, line], block, true)?;
                    }
                }
            }
            picture.write(y + 1 == frame.mcus[1], out)?;
        }
        Ok(())
    }
}

/// Zeros a block that has more than a first coefficient; the first is always written.
#[inline(always)]
fn clear(block: &mut Block, is_used: &mut bool) {
    if *is_used {
        *block = [0; 64];
        *is_used = false;
    }
    block[0] = 0;
}

/// Decodes a scan into blocks that are kept.
fn scan_blocks(
    frame: &Frame,
    scan: &Scan,
    decoder: &mut Decoder<'_, '_>,
    blocks: &mut [Vec<Block>; 4],
) -> Result<(), Stop> {
    let mut one = |decoder: &mut Decoder<'_, '_>, part: usize, is_decoded: bool, [x, y]: [usize; 2]| {
        let component = scan.parts()[part].component;
        let at = y * frame.components()[component].padded[0] + x;
        let block = blocks[component].get_mut(at).ok_or(Stop::Broken("a JPEG of more blocks than it has"))?;
        if frame.is_progressive {
            decoder.progressive(part, is_decoded, block)
        } else if is_decoded {
            decoder.sequential(part, block).map(|_| ())
        } else {
            Ok(())
        }
    };
    if let [part] = scan.parts() {
        let [across, down] = frame.components()[part.component].blocks;
        for y in 0..down {
            for x in 0..across {
                let is_decoded = decoder.begin()?;
                one(decoder, 0, is_decoded, [x, y])?;
            }
        }
        return Ok(());
    }
    for y in 0..frame.mcus[1] {
        for x in 0..frame.mcus[0] {
            let is_decoded = decoder.begin()?;
            for (at, part) in scan.parts().iter().enumerate() {
                let Component { h, v, .. } = frame.components()[part.component];
                for of in 0..h * v {
                    one(decoder, at, is_decoded, [x * h + of % h, y * v + of / h])?;
                }
            }
        }
    }
    Ok(())
}

/// Samples of a component, as many lines as are needed.
struct Plane {
    component: Component,
    /// The samples of a line that are wanted.
    part: Range<usize>,
    upsampling: Upsampling,
    quant: Option<[i16; 64]>,
    samples: Vec<u8>,
    stride: usize,
    lines: usize,
    line: Vec<u8>,
    sums: Vec<u16>,
}

impl Plane {
    fn sample_line(&self, y: usize) -> &[u8] {
        let at = y % self.lines * self.stride;
        // As many lines as `y` is kept below, each with room for a component's.
        &self.samples[at..at + self.component.width]
    }

    /// Makes line `y` of the picture.
    fn upsample(&mut self, y: usize) {
        if self.upsampling == Upsampling::None {
            return;
        }
        let [near, far] = self.upsampling.lines(y, self.component.height);
        let (mut line, mut sums) = (std::mem::take(&mut self.line), std::mem::take(&mut self.sums));
        let part = |y: usize| self.sample_line(y).get(self.part.clone()).unwrap_or_default();
        let start = self.part.start * (line.len() / self.component.width.max(1));
        if let Some(out) = line.get_mut(start..) {
            self.upsampling.line(y, part(near), part(far), &mut sums, out);
        }
        (self.line, self.sums) = (line, sums);
    }

    fn line(&self, y: usize) -> &[u8] {
        if self.upsampling == Upsampling::None { self.sample_line(y) } else { &self.line }
    }
}

/// The samples of a component's line that columns of the picture are made of, from the start of a unit.
fn columns(frame: &Frame, component: &Component, wanted: Option<[usize; 2]>) -> Range<usize> {
    let Some([x, width]) = wanted else { return 0..component.width };
    let ([h, _], most) = (frame.group(component), frame.h_max);
    let unit = if frame.components().len() == 1 { frame.unit } else { frame.unit * most };
    let start = x - x % unit;
    let from = (start * h / most).min(component.width);
    let count = ((width + x % unit) * h).div_ceil(most);
    from..from.saturating_add(count).min(component.width)
}

/// What becomes of blocks.
struct Picture<'f> {
    frame: &'f Frame,
    colors: Colors,
    channels: usize,
    is_adobe: bool,
    /// One for each component that is needed.
    planes: Vec<Plane>,
    has_neighbours: bool,
    /// Quantisation tables as they were when a component's first scan began, of all components.
    transform: JpegTransform,
    quants: [Option<[u16; 64]>; 4],
    /// Lines of MCUs that are decoded, and lines that are written.
    decoded: usize,
    written: usize,
}

impl<'f> Picture<'f> {
    fn new(
        frame: &'f Frame,
        colors: Colors,
        channels: usize,
        how: JpegDecoding,
    ) -> Result<Picture<'f>, Stop> {
        let needed = colors.needed(channels);
        let has_neighbours = has_neighbours(frame, needed, how.repeats_samples);
        let mut planes = Vec::new();
        planes.try_reserve_exact(needed).map_err(|_| Stop::Broken("not enough memory for the image"))?;
        // Then libjpeg chooses anew how each component's lines become the picture's.
        let is_narrow = frame
            .components()
            .iter()
            .any(|component| component.width >= 2 && columns(frame, component, how.columns).len() < 2);
        for component in frame.components().iter().take(needed) {
            let part = columns(frame, component, how.columns);
            let upsampling = if is_narrow {
                let narrow = Component { width: part.len(), ..*component };
                Upsampling::new(frame, &narrow, how.repeats_samples)
            } else {
                Upsampling::new(frame, component, how.repeats_samples)
            };
            let upsampling = upsampling
                .ok_or(Stop::Broken("a JPEG whose component sizes are not multiples of each other"))?;
            let (stride, lines) =
                (component.size * component.padded[0], plane_lines(component, has_neighbours));
            let [line, sums] = line_sizes(frame, component, upsampling);
            planes.push(Plane {
                component: *component,
                part,
                upsampling,
                quant: None,
                samples: room(stride * lines, 128)?,
                stride,
                lines,
                line: room(line, 0)?,
                sums: room(sums, 0)?,
            });
        }
        let quants = [None; 4];
        Ok(Picture {
            frame,
            colors,
            channels,
            is_adobe: false,
            planes,
            has_neighbours,
            quants,
            transform: how.transform,
            decoded: 0,
            written: 0,
        })
    }

    /// Keeps the quantisation table of a component, if this is its first scan.
    fn latch(&mut self, component: usize, tables: &Tables) -> Result<(), Stop> {
        self.is_adobe |= tables.adobe.is_some();
        let Some(latched) = self.quants.get_mut(component).filter(|latched| latched.is_none()) else {
            return Ok(());
        };
        let number =
            self.frame.components().get(component).map_or(0, |component| usize::from(component.quant));
        let quant = tables.quants.get(number).copied().flatten();
        let quant = quant.ok_or(Stop::Broken("a JPEG with a component whose quantisation is not defined"))?;
        *latched = Some(quant);
        if let Some(plane) = self.planes.get_mut(component) {
            plane.quant = Some(match (self.transform, plane.component.size) {
                (JpegTransform::Fast, 8) => idct_fast::scaled(&quant),
                _ => quant.map(|value| value as i16),
            });
        }
        Ok(())
    }

    /// Whether libjpeg would smooth the picture: its first coefficients are not `known` to the last bit.
    fn is_smoothed(&self, known: &[[i8; 64]; 4]) -> bool {
        let count = self.frame.components().len();
        let is_quantised = |quant: &Option<[u16; 64]>| {
            quant.is_some_and(|quant| tables::ZIGZAG.iter().take(10).all(|at| quant[usize::from(*at)] != 0))
        };
        self.quants.iter().take(count).all(is_quantised)
            && known.iter().take(count).all(|known| known[0] >= 0)
            && known.iter().take(count).any(|known| known[1..10].iter().any(|bits| *bits != 0))
    }

    /// Transforms a block of component `at` to its place, in blocks across and down.
    #[inline(always)]
    fn put(&mut self, at: usize, [x, y]: [usize; 2], block: &Block, is_more: bool) -> Result<(), Stop> {
        // Components that are not needed have none.
        let Some(plane) = self.planes.get_mut(at) else { return Ok(()) };
        let size = plane.component.size;
        let start = size * y % plane.lines * plane.stride + size * x;
        let quant =
            plane.quant.as_ref().ok_or(Stop::Broken("a JPEG with a block before its quantisation"))?;
        let (stride, out) = (plane.stride, &mut plane.samples[start..]);
        match (size, self.transform, is_more) {
            (8, JpegTransform::Accurate, true) => idct::transform(block, quant, out, stride),
            (8, JpegTransform::Accurate, false) => idct::transform_flat(block[0], quant[0], out, stride),
            (8, JpegTransform::Fast, true) => idct_fast::transform(block, quant, out, stride),
            (8, JpegTransform::Fast, false) => idct_fast::transform_flat(block[0], quant[0], out, stride),
            (4, ..) => idct_reduced::transform::<4>(block, quant, out, stride),
            (2, ..) => idct_reduced::transform::<2>(block, quant, out, stride),
            _ => out[0] = idct_reduced::mean(block[0], quant[0]),
        }
        Ok(())
    }

    /// Writes the lines that can be made now that another line of MCUs is decoded, the last if `is_last`.
    fn write(&mut self, is_last: bool, out: &mut [u8]) -> Result<(), Stop> {
        self.decoded += 1;
        let lines = self.frame.unit * self.frame.v_max * self.decoded;
        let ready = match (is_last, self.has_neighbours) {
            (true, _) => self.frame.height,
            (false, true) => lines - self.frame.v_max,
            (false, false) => lines,
        };
        let line_bytes = self.frame.width * self.channels;
        for y in self.written..ready {
            for plane in &mut self.planes {
                plane.upsample(y);
            }
            let mut lines: [&[u8]; 4] = [&[]; 4];
            for (line, plane) in lines.iter_mut().zip(&self.planes) {
                *line = plane.line(y);
            }
            let out = out.get_mut(y * line_bytes..(y + 1) * line_bytes);
            let out = out.ok_or(Stop::Broken("its size is not what its header says"))?;
            self.colors.line(lines, self.is_adobe, self.channels, out);
        }
        self.written = ready;
        Ok(())
    }
}
