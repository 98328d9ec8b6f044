//! WAV files of 16-bit samples.

use crate::base::error::{Result, check_exact, ensure};

const KERNEL: &str = "DecodeWav";

/// Bytes before the samples of a file that [`encode_wav`] makes.
pub const WAV_HEADER_BYTES: usize = 44;

/// Chunks that may stand before the format.
const SKIPPED: [&[u8; 4]; 8] = [b"JUNK", b"bext", b"iXML", b"qlty", b"mext", b"levl", b"link", b"axml"];

/// What a WAV file holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wav<'a> {
    /// Channels, at least 1.
    pub channels: usize,
    /// Samples a second.
    pub sample_rate: u32,
    /// Samples of each channel.
    pub samples: usize,
    /// The samples of all channels, little-endian, one point in time after the other.
    bytes: &'a [u8],
}

/// Reads from the start of what is left.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn skip(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(bytes).filter(|end| *end <= self.bytes.len());
        let rule = "the file is as long as it says";
        ensure(end.is_some(), KERNEL, rule)?;
        let found = &self.bytes[self.at..self.at + bytes];
        self.at += bytes;
        Ok(found)
    }

    fn u16(&mut self) -> Result<u16> {
        let bytes = self.skip(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32> {
        let bytes = self.skip(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}

impl<'a> Wav<'a> {
    /// Reads a file's head.
    ///
    /// # Errors
    /// [`KernelError::Invalid`](crate::KernelError::Invalid) naming the rule that a file breaks.
    pub fn read(bytes: &'a [u8]) -> Result<Wav<'a>> {
        let mut reader = Reader { bytes, at: 0 };
        ensure(reader.skip(4)? == b"RIFF", KERNEL, "a WAV file begins with RIFF")?;
        reader.skip(4)?;
        ensure(reader.skip(4)? == b"WAVE", KERNEL, "a RIFF file of sound is of type WAVE")?;
        loop {
            let name = reader.skip(4)?;
            if name == b"fmt " {
                break;
            }
            ensure(SKIPPED.iter().any(|skipped| *skipped == name), KERNEL, "the format stands first")?;
            let bytes = reader.u32()? as usize;
            reader.skip(bytes)?;
        }
        let format_bytes = reader.u32()?;
        ensure(matches!(format_bytes, 16 | 18), KERNEL, "the format has 16 or 18 bytes")?;
        ensure(reader.u16()? == 1, KERNEL, "samples are PCM, format 1")?;
        let channels = reader.u16()?;
        ensure(channels > 0, KERNEL, "there is a channel")?;
        let sample_rate = reader.u32()?;
        let (bytes_per_second, bytes_per_sample) = (reader.u32()?, reader.u16()?);
        ensure(reader.u16()? == 16, KERNEL, "samples have 16 bits")?;
        let is_right = bytes_per_sample as u32 == 2 * channels as u32;
        ensure(is_right, KERNEL, "a point in time has two bytes for each channel")?;
        let is_right = bytes_per_second == (bytes_per_sample as u32).wrapping_mul(sample_rate);
        ensure(is_right, KERNEL, "a second has the bytes of its samples")?;
        if format_bytes == 18 {
            reader.at += 2;
        }
        let data = data(&mut reader, bytes_per_sample as usize)?;
        let samples = data.len() / bytes_per_sample as usize;
        Ok(Wav { channels: channels as usize, sample_rate, samples, bytes: data })
    }

    /// Writes samples as numbers from -1 to 1 to `dst`, `[samples, channels]`: zeros after the last, the last channel again
    /// where there are fewer.
    ///
    /// # Errors
    /// [`KernelError::Length`](crate::KernelError::Length) for an output that is not of whole points in time.
    pub fn decode(&self, channels: usize, dst: &mut [f32]) -> Result<()> {
        if channels == 0 {
            return check_exact("samples", 0, dst.len());
        }
        check_exact("samples", dst.len() / channels * channels, dst.len())?;
        let mut points = self.bytes.chunks_exact(2 * self.channels);
        for point in dst.chunks_exact_mut(channels) {
            let Some(bytes) = points.next() else {
                point.fill(0.0);
                continue;
            };
            for (channel, sample) in point.iter_mut().enumerate() {
                let at = 2 * channel.min(self.channels - 1);
                *sample = i16::from_le_bytes([bytes[at], bytes[at + 1]]) as f32 * (1.0 / 32768.0);
            }
        }
        Ok(())
    }
}

/// The one chunk of samples.
fn data<'a>(reader: &mut Reader<'a>, bytes_per_sample: usize) -> Result<&'a [u8]> {
    let mut found = None;
    while reader.at < reader.bytes.len() {
        let name = reader.skip(4)?;
        let bytes = reader.u32()?;
        ensure(bytes <= i32::MAX as u32, KERNEL, "a chunk has fewer than 2^31 bytes")?;
        let bytes = bytes as usize;
        if name == b"data" {
            ensure(found.is_none(), KERNEL, "there is one chunk of samples")?;
            // What is left of a point in time is read as a chunk, as TensorFlow reads it.
            found = Some(reader.skip(bytes / bytes_per_sample * bytes_per_sample)?);
        } else {
            reader.at += bytes;
        }
    }
    found.ok_or(crate::KernelError::Invalid { kernel: KERNEL, rule: "there is a chunk of samples" })
}

/// Writes a file of 16-bit samples to `dst`: [`WAV_HEADER_BYTES`] and two bytes for each of `sound`.
///
/// # Errors
/// [`KernelError::Invalid`](crate::KernelError::Invalid) for a rate or a number of channels that no file has.
pub fn encode_wav(sound: &[f32], channels: usize, sample_rate: i64, dst: &mut [u8]) -> Result<()> {
    const KERNEL: &str = "EncodeWav";
    ensure((1..=u32::MAX as i64).contains(&sample_rate), KERNEL, "there are samples a second")?;
    ensure((1..=u16::MAX as usize).contains(&channels), KERNEL, "there are 1 to 65535 channels")?;
    check_exact("a file", WAV_HEADER_BYTES + 2 * sound.len(), dst.len())?;
    ensure(u32::try_from(dst.len()).is_ok(), KERNEL, "a file has fewer than 2^32 bytes")?;
    let (file_bytes, rate, channels) = (dst.len() as u32, sample_rate as u32, channels as u16);
    let (head, samples) = dst.split_at_mut(WAV_HEADER_BYTES);
    let bytes_per_sample = 2 * channels as u32;
    let numbers = [
        (4, file_bytes - 8),
        (16, 16),
        (24, rate),
        (28, rate.wrapping_mul(bytes_per_sample)),
        (40, 2 * sound.len() as u32),
    ];
    for (at, text) in [(0, b"RIFF"), (8, b"WAVE"), (12, b"fmt "), (36, b"data")] {
        head[at..at + 4].copy_from_slice(text);
    }
    for (at, number) in numbers {
        head[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    for (at, number) in [(20, 1), (22, channels), (32, bytes_per_sample as u16), (34, 16)] {
        head[at..at + 2].copy_from_slice(&number.to_le_bytes());
    }
    for (bytes, sample) in samples.chunks_exact_mut(2).zip(sound) {
        // The conversion saturates, and makes 0 of NaN.
        bytes.copy_from_slice(&((sample * 32768.0).round() as i16).to_le_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let sound = [0.0f32, 0.5, -1.0, 2.0, -3.0, f32::NAN];
        let mut file = vec![0; WAV_HEADER_BYTES + 12];
        encode_wav(&sound, 2, 16000, &mut file).unwrap();
        let wav = Wav::read(&file).unwrap();
        assert_eq!((wav.channels, wav.sample_rate, wav.samples), (2, 16000, 3));
        let mut out = [9.0; 12];
        wav.decode(3, &mut out).unwrap();
        let most = 32767.0 / 32768.0;
        assert_eq!(out, [0.0, 0.5, 0.5, -1.0, most, most, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let mut out = [9.0; 2];
        wav.decode(1, &mut out).unwrap();
        assert_eq!(out, [0.0, -1.0]);
        for cut in 0..file.len() {
            assert!(Wav::read(&file[..cut]).is_err(), "{cut}");
        }
        assert!(encode_wav(&sound, 0, 16000, &mut file).is_err());
        assert!(encode_wav(&sound, 1, -1, &mut file).is_err());
    }

    #[test]
    fn other_chunks_are_passed_over() {
        let mut file = vec![0; WAV_HEADER_BYTES + 4];
        encode_wav(&[0.5, 0.25], 1, 8000, &mut file).unwrap();
        let junk = [b"JUNK", &2u32.to_le_bytes()[..], &[1, 2]].concat();
        let before = [&file[..12], &junk, &file[12..]].concat();
        assert_eq!(Wav::read(&before).unwrap().samples, 2);
        let behind = [&file[..], b"LIST", &3u32.to_le_bytes(), &[1, 2, 3]].concat();
        assert_eq!(Wav::read(&behind).unwrap().samples, 2);
        let twice = [&file[..], &file[36..]].concat();
        assert!(Wav::read(&twice).is_err());
        let other = [&file[..12], b"LIST", &2u32.to_le_bytes(), &[1, 2], &file[12..]].concat();
        assert!(Wav::read(&other).is_err());
    }
}
