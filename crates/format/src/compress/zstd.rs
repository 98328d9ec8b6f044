//! Zstandard (RFC 8878): frames one after the other, those that are to be skipped passed over. The sum of each frame that has
//! one is compared. A frame with a dictionary is an error.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::INPUT_BYTES;

/// How a frame begins, and one that is to be skipped but for the lowest four bits.
const MAGIC: u32 = 0xfd2f_b528;
const SKIPPED_MAGIC: u32 = 0x184d_2a50;

/// The window that every decoder should have (RFC 8878, 3.1.1.1.2), for files that begin with what is to be skipped.
const USUAL_WINDOW_BYTES: u64 = 8 << 20;

/// Tables, a block, its literals and sequences, and the room for two blocks behind the window.
const STATE_BYTES: u64 = (2 << 20) + INPUT_BYTES as u64;

/// The window that a file asks for that begins with `head` (16 bytes, fewer if it has fewer); `None` when it is no Zstandard.
pub fn window_of(head: &[u8]) -> Option<u64> {
    match u32::from_le_bytes(*head.first_chunk()?) {
        MAGIC => Some(frame_window(head).unwrap_or(u64::MAX)),
        magic if magic & !0xf == SKIPPED_MAGIC => Some(USUAL_WINDOW_BYTES),
        _ => None,
    }
}

/// The window in a frame's header (3.1.1.1), in which it is written, or is all of the content; `None` for what is no frame or
/// ends before it.
pub fn frame_window(frame: &[u8]) -> Option<u64> {
    let (&descriptor, rest) = frame.strip_prefix(&MAGIC.to_le_bytes())?.split_first()?;
    if descriptor & 0x20 == 0 {
        let byte = *rest.first()?;
        let base = 1u64 << (10 + (byte >> 3));
        return Some(base + base / 8 * u64::from(byte & 7));
    }
    let id_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = rest.get(id_bytes..)?;
    match descriptor >> 6 {
        0 => size.first().map(|byte| u64::from(*byte)),
        1 => size.first_chunk().map(|bytes| u64::from(u16::from_le_bytes(*bytes)) + 256),
        2 => size.first_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes))),
        _ => size.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)),
    }
}

/// Heap bytes of a reader whose frames refer back `window_bytes`: the ring that it decodes into is a power of two, and there are
/// the old and the new one while it grows.
pub fn held_bytes(window_bytes: u64) -> u64 {
    let ring = window_bytes.checked_next_power_of_two().unwrap_or(u64::MAX);
    ring.saturating_add(ring / 2).saturating_add(STATE_BYTES)
}

/// Reads what is packed in `R`.
pub struct Zstd<R> {
    packed: R,
    frames: FrameDecoder,
    is_in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    /// A reader from `packed`, whose frames refer back no more than `window_bytes`.
    pub fn new(packed: R, window_bytes: u64) -> Zstd<R> {
        let mut frames = FrameDecoder::new();
        frames.set_max_window_size(window_bytes);
        Zstd { packed, frames, is_in_frame: false }
    }

    /// Begins the next frame; false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            if self.packed.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.frames.reset(&mut self.packed) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    if io::copy(&mut (&mut self.packed).take(length), &mut io::sink())? < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(broken(&error)),
            }
        }
    }

    /// Reads of the frame that was begun; 0 at its end.
    fn read_frame(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.frames.can_collect() == 0 && !self.frames.is_finished() {
            let decoded = self.frames.decode_blocks(&mut self.packed, BlockDecodingStrategy::UptoBlocks(1));
            decoded.map_err(|error| broken(&error))?;
        }
        let bytes = self.frames.read(out)?;
        let sum = self.frames.get_checksum_from_data();
        if bytes == 0 && sum.is_some() && sum != self.frames.get_calculated_checksum() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a sum of Zstandard is wrong"));
        }
        Ok(bytes)
    }
}

fn broken(error: &FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("broken Zstandard: {error}"))
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !out.is_empty() {
            if !self.is_in_frame && !self.begin()? {
                return Ok(0);
            }
            self.is_in_frame = false;
            let bytes = self.read_frame(out)?;
            self.is_in_frame = bytes > 0;
            if bytes > 0 {
                return Ok(bytes);
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `tests/zstd/*.zst` hold, as `zstd` 1.5.4 packed it: `--zstd=wlog=N` with its length unknown, and `-19 --long=24`
    /// of a file.
    fn content() -> Vec<u8> {
        let block: Vec<u8> = (0..256u32).flat_map(|i| i.wrapping_mul(0x9e37_79b1).to_le_bytes()).collect();
        let (mut content, mut state) = (Vec::new(), 1u32);
        while content.len() < 9 << 20 {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345) & 0x7fff_ffff;
            (0..64).for_each(|_| content.extend(&block));
            content.extend(state.to_le_bytes());
        }
        content.truncate(9 << 20);
        content
    }

    fn unpacked(file: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Zstd::new(file, window_of(file).unwrap_or(0)).read_to_end(&mut content).map(|_| content)
    }

    #[test]
    fn files_of_the_reference_implementation() {
        let content = content();
        for (file, window_bytes) in [
            (&include_bytes!("../../tests/zstd/window_18.zst")[..], 1 << 18),
            (include_bytes!("../../tests/zstd/window_21.zst"), 1 << 21),
            (include_bytes!("../../tests/zstd/window_23.zst"), 1 << 23),
            (include_bytes!("../../tests/zstd/content.zst"), 9 << 20),
        ] {
            assert_eq!(window_of(file), Some(window_bytes));
            assert!(unpacked(file).unwrap() == content);
            // Cut anywhere, and with any byte changed, it is an error; its sum sees to that.
            for at in (0..file.len()).step_by(211) {
                assert!(at == 0 || unpacked(&file[..at]).is_err(), "cut at {at}");
                let mut broken = file.to_vec();
                broken[at] ^= 0x55;
                assert!(unpacked(&broken).map_or(true, |found| found == content), "changed at {at}");
            }
        }
    }

    #[test]
    fn frames_follow_each_other_and_may_be_passed_over() {
        let skipped = [&0x184d_2a57u32.to_le_bytes()[..], &3u32.to_le_bytes(), b"abc"].concat();
        let frame = include_bytes!("../../tests/zstd/window_18.zst");
        let file = [&skipped[..], frame, &skipped, frame].concat();
        assert_eq!(window_of(&file), Some(USUAL_WINDOW_BYTES));
        assert!(unpacked(&file).unwrap() == content().repeat(2));
        assert!(unpacked(&skipped[..9]).is_err());
        // A later frame may not refer further back than memory was taken for.
        let file = [&frame[..], include_bytes!("../../tests/zstd/window_21.zst")].concat();
        assert!(unpacked(&file).unwrap_err().to_string().contains("indow"));
        for head in [&b""[..], b"(", &[0x1f, 0x8b, 8], b"text"] {
            assert_eq!(window_of(head), None);
        }
        assert_eq!(window_of(&[0x28, 0xb5, 0x2f, 0xfd, 0xe0]), Some(u64::MAX));
    }
}
