//! GIF as TensorFlow reads it: every frame as RGB, laid over the one before.
//!
//! A picture is as large as the largest frame, whatever the screen is said to be. Around a first frame that is smaller,
//! and where it is transparent, it is black; of later frames what is transparent or not covered is that of the frame
//! before. How a frame is to be disposed of is ignored. Source: TensorFlow's `gif_io.cc` for these rules, the GIF89a
//! specification for the format. Nothing is allocated: pixels go to their place as they are decoded.

use super::pixel::ImageError;

/// Codes of an LZW table.
const CODES: usize = 4096;

/// More frames are taken for an attack.
const MAX_FRAMES: usize = 1 << 20;

fn broken<T>(why: &'static str) -> Result<T, ImageError> {
    Err(ImageError::Codec(why.to_string()))
}

/// Where in the file reading is.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ImageError> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..count));
        self.at = self.at.saturating_add(count);
        taken.map_or_else(|| broken("the file ends inside the image"), Ok)
    }

    fn byte(&mut self) -> Result<u8, ImageError> {
        Ok(self.take(1)?[0])
    }

    /// The next block of data; empty at the end of the blocks.
    fn block(&mut self) -> Result<&'a [u8], ImageError> {
        let count = self.byte()?;
        self.take(usize::from(count))
    }

    fn palette(&mut self, flags: u8) -> Result<&'a [[u8; 3]], ImageError> {
        if flags & 0x80 == 0 {
            return Ok(&[]);
        }
        Ok(self.take(3 << ((flags & 7) + 1))?.as_chunks().0)
    }
}

/// One frame.
struct Frame<'a> {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    is_interlaced: bool,
    transparent: Option<u8>,
    palette: &'a [[u8; 3]],
    /// Where its coded pixels begin.
    data: usize,
}

impl Frame<'_> {
    /// Whether it has pixels, and codes of all of them. Codes that stand for nothing are an error: what TensorFlow
    /// makes of them, and of the frames behind, depends on its decoder's state.
    fn is_whole(&self, bytes: &[u8]) -> Result<bool, ImageError> {
        let mut left = self.width * self.height;
        if left == 0 {
            return Ok(false);
        }
        unpack(Reader { bytes, at: self.data }, |indices| {
            left = left.saturating_sub(indices.len());
            Ok(left > 0)
        })?;
        Ok(left == 0)
    }
}

/// The frames one after the other.
struct Frames<'a> {
    reader: Reader<'a>,
    palette: &'a [[u8; 3]],
}

impl<'a> Frames<'a> {
    fn new(bytes: &'a [u8]) -> Result<Frames<'a>, ImageError> {
        let mut reader = Reader { bytes, at: 0 };
        let head = reader.take(13)?;
        let palette = reader.palette(head[10])?;
        Ok(Frames { reader, palette })
    }

    fn next(&mut self) -> Result<Option<Frame<'a>>, ImageError> {
        let reader = &mut self.reader;
        let mut transparent = None;
        loop {
            match reader.byte()? {
                b'!' => {
                    let is_control = reader.byte()? == 0xf9;
                    loop {
                        match reader.block()? {
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
        let head = reader.take(9)?;
        let [left, top, width, height] =
            [0, 2, 4, 6].map(|at| usize::from(u16::from_le_bytes([head[at], head[at + 1]])));
        let local = reader.palette(head[8])?;
        let palette = if local.is_empty() { self.palette } else { local };
        let data = reader.at;
        reader.byte()?;
        while !reader.block()?.is_empty() {}
        let is_interlaced = head[8] & 0x40 != 0;
        Ok(Some(Frame { left, top, width, height, is_interlaced, transparent, palette, data }))
    }
}

/// `[frames, height, width]` of a file.
///
/// # Errors
/// [`ImageError::Codec`].
pub(crate) fn size(bytes: &[u8]) -> Result<[usize; 3], ImageError> {
    let mut frames = Frames::new(bytes)?;
    let mut size = [0; 3];
    loop {
        let found = frames.next();
        // What is damaged behind the first frame is as if it were not there, and with it all that follows.
        let frame = match found {
            Ok(Some(frame)) if size[0] == 0 || frame.is_whole(bytes)? => frame,
            Err(error) if size[0] == 0 => return Err(error),
            _ => break,
        };
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
pub(crate) fn decode(bytes: &[u8], size: [usize; 2], out: &mut [u8]) -> Result<(), ImageError> {
    let mut frames = Frames::new(bytes)?;
    let frame_bytes = size[0] * size[1] * 3;
    for at in (0..out.len() / frame_bytes).map(|i| i * frame_bytes) {
        let Some(frame) = frames.next()? else { return broken("a GIF with a frame missing") };
        if at == 0 {
            out[..frame_bytes].fill(0);
        } else {
            out.copy_within(at - frame_bytes..at, at);
        }
        draw(bytes, &frame, size, &mut out[at..at + frame_bytes])?;
    }
    Ok(())
}

fn draw(
    bytes: &[u8],
    frame: &Frame<'_>,
    [height, width]: [usize; 2],
    out: &mut [u8],
) -> Result<(), ImageError> {
    let mut place = Place { x: 0, y: 0, pass: 0 };
    let canvas = out.as_chunks_mut::<3>().0;
    let mut left = frame.width * frame.height;
    unpack(Reader { bytes, at: frame.data }, |indices| {
        for index in indices {
            if left == 0 {
                return Ok(false);
            }
            left -= 1;
            let (x, y) = (frame.left + place.x, frame.top + place.y);
            if x < width && y < height && frame.transparent != Some(*index) {
                let Some(color) = frame.palette.get(usize::from(*index)) else {
                    return broken("a pixel of a colour that its palette does not have");
                };
                canvas[y * width + x] = *color;
            }
            place.step(frame);
        }
        Ok(left > 0)
    })?;
    if left > 0 { broken("the file ends inside the image") } else { Ok(()) }
}

/// The next pixel of a frame.
struct Place {
    x: usize,
    y: usize,
    pass: usize,
}

impl Place {
    fn step(&mut self, frame: &Frame<'_>) {
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

/// Hands what the codes at `reader` stand for to `sink`, until it says that it has enough or the codes end.
fn unpack(
    mut reader: Reader<'_>,
    mut sink: impl FnMut(&[u8]) -> Result<bool, ImageError>,
) -> Result<(), ImageError> {
    let bits = u32::from(reader.byte()?);
    if !(1..=8).contains(&bits) {
        return broken("a GIF with codes of a size that is none");
    }
    let (clear, end) = (1usize << bits, (1usize << bits) + 1);
    // A code's string is that of its prefix and one more byte; it is built from the back.
    let (mut prefixes, mut lasts, mut string) = ([0u16; CODES], [0u8; CODES], [0u8; CODES]);
    let (mut next, mut code_bits, mut before) = (end + 1, bits + 1, None);
    let (mut window, mut window_bits) = (0u32, 0u32);
    let mut block: &[u8] = &[];
    loop {
        while window_bits < code_bits {
            let Some((byte, rest)) = block.split_first() else {
                block = reader.block()?;
                if block.is_empty() {
                    return Ok(());
                }
                continue;
            };
            window |= u32::from(*byte) << window_bits;
            (block, window_bits) = (rest, window_bits + 8);
        }
        let code = (window & ((1 << code_bits) - 1)) as usize;
        (window, window_bits) = (window >> code_bits, window_bits - code_bits);
        if code == clear {
            (next, code_bits, before) = (end + 1, bits + 1, None);
            continue;
        }
        if code == end {
            return Ok(());
        }
        let is_new = code == next && before.is_some();
        if code > next || code == next && !is_new || code > end && before.is_none() {
            return broken("a GIF with a code that stands for nothing");
        }
        let mut start = CODES;
        // The string of a code not yet known is the one before and its own first byte.
        let mut of = if is_new { before.unwrap_or_default() } else { code };
        if is_new {
            start -= 1;
        }
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
            if next == 1 << code_bits && code_bits < 12 {
                code_bits += 1;
            }
        }
        before = Some(code);
        if !sink(&string[start..])? {
            return Ok(());
        }
    }
}
