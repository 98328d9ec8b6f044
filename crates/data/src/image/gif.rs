//! GIF as TensorFlow reads it: every frame as RGB, laid over the one before.
//!
//! A picture is as large as the largest frame, whatever the screen is said to be. Around a first frame that is smaller,
//! and where it is transparent, it is black; of later frames what is transparent or not covered is that of the frame
//! before. How a frame is to be disposed of is ignored. Source: TensorFlow's `gif_io.cc` for these rules, the GIF89a
//! specification for the format. Nothing is allocated: pixels go to their place as they are decoded.

use std::io::{self, ErrorKind, Read};

/// Codes of an LZW table.
const CODES: usize = 4096;

/// More frames are taken for an attack.
const MAX_FRAMES: usize = 1 << 20;

fn broken<T>(why: &'static str) -> io::Result<T> {
    Err(io::Error::new(ErrorKind::InvalidData, why))
}

/// Bytes of a file from front to back, some of them held.
struct Reader<R> {
    read: R,
    held: [u8; 512],
    at: usize,
    end: usize,
}

/// What a block of data holds at most, and how much of it there is.
struct Block {
    bytes: [u8; 255],
    count: usize,
}

impl Block {
    fn get(&self) -> &[u8] {
        // `block` reads no more than there is room for.
        &self.bytes[..self.count]
    }
}

impl<R: Read> Reader<R> {
    fn new(read: R) -> Reader<R> {
        Reader { read, held: [0; 512], at: 0, end: 0 }
    }

    fn fill(&mut self, mut to: &mut [u8]) -> io::Result<()> {
        while !to.is_empty() {
            let held = &self.held[self.at..self.end];
            if held.is_empty() {
                (self.at, self.end) = (0, self.more()?);
                continue;
            }
            let count = held.len().min(to.len());
            let (now, later) = to.split_at_mut(count);
            now.copy_from_slice(&held[..count]);
            (to, self.at) = (later, self.at + count);
        }
        Ok(())
    }

    /// Reads what is to be held.
    fn more(&mut self) -> io::Result<usize> {
        loop {
            match self.read.read(&mut self.held) {
                Ok(0) => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the file ends inside the image"));
                }
                Ok(count) => return Ok(count.min(self.held.len())),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// The next block of data; empty at the end of the blocks.
    fn block(&mut self) -> io::Result<Block> {
        let count = usize::from(self.byte()?);
        let mut block = Block { bytes: [0; 255], count };
        self.fill(&mut block.bytes[..count])?;
        Ok(block)
    }

    fn skip_blocks(&mut self) -> io::Result<()> {
        while self.block()?.count > 0 {}
        Ok(())
    }

    fn palette(&mut self, flags: u8) -> io::Result<Palette> {
        let mut palette = Palette { colors: [[0; 3]; 256], count: 0 };
        if flags & 0x80 != 0 {
            palette.count = 2 << (flags & 7);
            self.fill(palette.colors[..palette.count].as_flattened_mut())?;
        }
        Ok(palette)
    }
}

/// Colours; none where there is no palette.
#[derive(Clone, Copy)]
struct Palette {
    colors: [[u8; 3]; 256],
    count: usize,
}

impl Palette {
    fn get(&self, index: u8) -> Option<[u8; 3]> {
        let colors = self.colors.get(..self.count)?;
        colors.get(usize::from(index)).copied()
    }
}

/// One frame, after whose head reading stands.
struct Frame {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    is_interlaced: bool,
    transparent: Option<u8>,
    palette: Palette,
}

/// The frames one after the other.
struct Frames<R> {
    reader: Reader<R>,
    palette: Palette,
}

impl<R: Read> Frames<R> {
    fn new(read: R) -> io::Result<Frames<R>> {
        let mut reader = Reader::new(read);
        let head = reader.array::<13>()?;
        let palette = reader.palette(head[10])?;
        Ok(Frames { reader, palette })
    }

    /// The next frame, whose pixels are to be taken next.
    fn next(&mut self) -> io::Result<Option<Frame>> {
        let reader = &mut self.reader;
        let mut transparent = None;
        loop {
            match reader.byte()? {
                b'!' => {
                    let is_control = reader.byte()? == 0xf9;
                    loop {
                        match reader.block()?.get() {
                            [] => break,
                            [flags, _, _, index] if is_control => {
                                transparent = (flags & 1 != 0).then_some(*index)
                            }
                            _ => {}
                        }
                    }
                }
                b',' => break,
                b';' => return Ok(None),
                _ => return broken("a GIF with a block of no kind"),
            }
        }
        let head = reader.array::<9>()?;
        let [left, top, width, height] =
            [0, 2, 4, 6].map(|at| usize::from(u16::from_le_bytes([head[at], head[at + 1]])));
        let local = reader.palette(head[8])?;
        let palette = if local.count == 0 { self.palette } else { local };
        let is_interlaced = head[8] & 0x40 != 0;
        Ok(Some(Frame { left, top, width, height, is_interlaced, transparent, palette }))
    }

    /// Takes the pixels of `frame`, which came last, and says how many of them were missing. Codes that stand for nothing
    /// are an error: what TensorFlow makes of them, and of the frames after, depends on its decoder's state.
    fn pixels(&mut self, frame: &Frame, mut sink: impl FnMut(u8) -> io::Result<()>) -> io::Result<usize> {
        let mut left = frame.width * frame.height;
        let is_at_end = unpack(&mut self.reader, |indices| {
            for index in indices.iter().take(left) {
                sink(*index)?;
            }
            left = left.saturating_sub(indices.len());
            Ok(left > 0)
        })?;
        if !is_at_end {
            self.reader.skip_blocks()?;
        }
        Ok(left)
    }
}

/// Whether an error is about what the file holds.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

/// `[frames, height, width]` of a file, read from its start.
///
/// # Errors
/// What reading reports, and `InvalidData` with a text for what is no GIF that can be decoded.
pub(crate) fn size(read: impl Read) -> io::Result<[usize; 3]> {
    let mut frames = Frames::new(read)?;
    let mut size = [0; 3];
    loop {
        let frame = match frames.next() {
            Ok(Some(frame)) => frame,
            Err(error) if size[0] == 0 || !is_damage(&error) => return Err(error),
            // What is damaged after the first frame is as if it were not there, and with it all that follows.
            _ => break,
        };
        if frame.width * frame.height == 0 && size[0] == 0 {
            return broken("a GIF whose first frame has no pixels");
        }
        if size[0] == 0 {
            frames.reader.byte()?;
            frames.reader.skip_blocks()?;
        } else if frame.width * frame.height == 0 {
            break;
        } else {
            match frames.pixels(&frame, |_| Ok(())) {
                Ok(0) => {}
                Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error),
                _ => break,
            }
        }
        size = [size[0] + 1, size[1].max(frame.height), size[2].max(frame.width)];
        if size[0] > MAX_FRAMES {
            return broken("a GIF of too many frames");
        }
    }
    if size.contains(&0) {
        return broken("a GIF without an image");
    }
    Ok(size)
}

/// Decodes as many frames as `out` has room for, of `[height, width]` pixels of three bytes each.
///
/// # Errors
/// `InvalidData` with a text.
pub(crate) fn decode(bytes: &[u8], size: [usize; 2], out: &mut [u8]) -> io::Result<()> {
    let mut frames = Frames::new(bytes)?;
    let frame_bytes = size[0] * size[1] * 3;
    for at in (0..out.len() / frame_bytes).map(|i| i * frame_bytes) {
        let Some(frame) = frames.next()? else { return broken("a GIF with a frame missing") };
        if at == 0 {
            out[..frame_bytes].fill(0);
        } else {
            out.copy_within(at - frame_bytes..at, at);
        }
        draw(&mut frames, &frame, size, &mut out[at..at + frame_bytes])?;
    }
    Ok(())
}

fn draw<R: Read>(
    frames: &mut Frames<R>,
    frame: &Frame,
    [height, width]: [usize; 2],
    out: &mut [u8],
) -> io::Result<()> {
    if frame.palette.count == 0 {
        return broken("a GIF with a frame without a palette");
    }
    let mut place = Place { x: 0, y: 0, pass: 0 };
    let canvas = out.as_chunks_mut::<3>().0;
    let missing = frames.pixels(frame, |index| {
        let (x, y) = (frame.left + place.x, frame.top + place.y);
        if x < width && y < height && frame.transparent != Some(index) {
            let Some(color) = frame.palette.get(index) else {
                return broken("a pixel of a colour that its palette does not have");
            };
            canvas[y * width + x] = color;
        }
        place.step(frame);
        Ok(())
    })?;
    if missing > 0 { broken("the file ends inside the image") } else { Ok(()) }
}

/// The next pixel of a frame.
struct Place {
    x: usize,
    y: usize,
    pass: usize,
}

impl Place {
    fn step(&mut self, frame: &Frame) {
        self.x += 1;
        if self.x < frame.width {
            return;
        }
        self.x = 0;
        if !frame.is_interlaced {
            self.y += 1;
            return;
        }
        // First line and distance of the lines of each pass.
        const PASSES: [[usize; 2]; 4] = [[0, 8], [4, 8], [2, 4], [1, 2]];
        self.y += PASSES[self.pass][1];
        while self.y >= frame.height && self.pass < 3 {
            self.pass += 1;
            self.y = PASSES[self.pass][0];
        }
    }
}

/// Hands what the codes at `reader` stand for to `sink`, until it says that it has enough or the codes end; whether the
/// blocks have come to their end.
fn unpack<R: Read>(
    reader: &mut Reader<R>,
    mut sink: impl FnMut(&[u8]) -> io::Result<bool>,
) -> io::Result<bool> {
    let bits = u32::from(reader.byte()?);
    if !(1..=8).contains(&bits) {
        return broken("a GIF with codes of a size that is none");
    }
    let (clear, end) = (1usize << bits, (1usize << bits) + 1);
    // A code's string is that of its prefix and one more byte; it is built from the back.
    let (mut prefixes, mut lasts, mut string) = ([0u16; CODES], [0u8; CODES], [0u8; CODES]);
    let (mut next, mut code_bits, mut before) = (end + 1, bits + 1, None);
    let (mut window, mut window_bits) = (0u32, 0u32);
    let (mut block, mut at) = (Block { bytes: [0; 255], count: 0 }, 0);
    loop {
        while window_bits < code_bits {
            let Some(byte) = block.get().get(at) else {
                (block, at) = (reader.block()?, 0);
                if block.count == 0 {
                    return Ok(true);
                }
                continue;
            };
            window |= u32::from(*byte) << window_bits;
            (at, window_bits) = (at + 1, window_bits + 8);
        }
        let code = (window & ((1 << code_bits) - 1)) as usize;
        (window, window_bits) = (window >> code_bits, window_bits - code_bits);
        if code == clear {
            (next, code_bits, before) = (end + 1, bits + 1, None);
            continue;
        }
        if code == end {
            return Ok(false);
        }
        // The string of a code not yet known is the one before and its own first byte.
        let (is_new, mut of) = match before {
            Some(before) if code == next => (true, before),
            Some(_) if code < next => (false, code),
            None if code < clear => (false, code),
            _ => return broken("a GIF with an undefined code"),
        };
        let mut start = if is_new { CODES - 1 } else { CODES };
        while of > end && start > 1 {
            start -= 1;
            string[start] = lasts[of];
            of = usize::from(prefixes[of]);
        }
        start -= 1;
        string[start] = of as u8;
        let first = of as u8;
        if is_new {
            string[CODES - 1] = first;
        }
        if let Some(before) = before.filter(|_| next < CODES) {
            (prefixes[next], lasts[next]) = (before as u16, first);
            next += 1;
        }
        // With codes of one bit the first that is read fills the table up already.
        if next == 1 << code_bits && code_bits < 12 {
            code_bits += 1;
        }
        before = Some(code);
        if !sink(&string[start..])? {
            return Ok(false);
        }
    }
}
