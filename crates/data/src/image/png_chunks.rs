//! The chunks of a PNG that its pixels need. Texts, profiles and whatever else a file brings along are passed over
//! where they lie, so that no memory depends on them. Source: the PNG specification, chapters 5 and 11.

use std::io::{self, BufRead, ErrorKind, Read, Seek, SeekFrom};

use tightfit_format::compress::inflate::{Inflater, Wrapping};

use super::png_grey;

/// Bytes of a chunk beside its data.
const FRAME_BYTES: usize = 12;

const SIGNATURE_BYTES: usize = 8;

/// A chunk from `at` on, and where the next begins.
fn chunk(bytes: &[u8], at: usize) -> Option<([u8; 4], &[u8], usize)> {
    let rest = bytes.get(at..)?;
    let count = u32::from_be_bytes(*rest.first_chunk()?) as usize;
    let next = at.checked_add(count)?.checked_add(FRAME_BYTES)?;
    Some((*rest.get(4..)?.first_chunk()?, rest.get(8..8 + count)?, next))
}

/// Reads a PNG without the chunks that can be left out, but for the one of transparent colours.
pub(super) struct Needed<'a> {
    bytes: &'a [u8],
    /// Bits of a sample and how they are a colour, as the header says.
    kind: [u8; 2],
    /// The chunk of a transparent colour, if it had to be changed, and how much of it is still to be read.
    patched: [u8; 18],
    patched_bytes: usize,
    /// What is read next.
    at: usize,
    /// Where the chunk that is being read ends.
    end: usize,
    has_palette: bool,
    has_data: bool,
    is_after_data: bool,
}

impl<'a> Needed<'a> {
    pub fn new(bytes: &'a [u8]) -> Needed<'a> {
        let end = SIGNATURE_BYTES.min(bytes.len());
        let kind = bytes.get(24..).and_then(|rest| rest.first_chunk().copied());
        Needed {
            bytes,
            // Of a file without a header nothing is decoded.
            kind: kind.unwrap_or_default(),
            patched: [0; 18],
            patched_bytes: 0,
            at: 0,
            end,
            has_palette: false,
            has_data: false,
            is_after_data: false,
        }
    }

    /// Whether the decoder is to see a chunk.
    fn takes(&mut self, kind: [u8; 4], data: &[u8]) -> io::Result<bool> {
        let broken = |why| Err(io::Error::new(ErrorKind::InvalidData, why));
        if !kind.iter().all(u8::is_ascii_alphabetic) {
            return broken("a PNG with a chunk of no kind");
        }
        let is_after_data = self.has_data && &kind != b"IDAT";
        self.has_data |= &kind == b"IDAT";
        self.is_after_data |= is_after_data;
        match (&kind, self.kind) {
            // Pixels end where something else follows.
            (b"IDAT", _) => Ok(!self.is_after_data),
            (b"PLTE", _) if std::mem::replace(&mut self.has_palette, true) => {
                broken("a PNG with two palettes")
            }
            (b"PLTE", [_, 3]) if data.is_empty() || !data.len().is_multiple_of(3) || data.len() > 3 * 256 => {
                broken("a PNG with a palette that is none")
            }
            // A suggestion.
            (b"PLTE", [_, colour]) => Ok(colour == 3),
            // Of the numbers of a transparent colour as many bits count as a sample has.
            (b"tRNS", [bits @ 1..=8, 0 | 2]) if matches!(data.len(), 2 | 6) => {
                let mask = (((1u32 << bits) - 1) as u16).to_be_bytes();
                let mut masked = [0; 6];
                masked[..data.len()].copy_from_slice(data);
                masked.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte &= mask);
                if masked[..data.len()] == *data {
                    return Ok(true);
                }
                self.patch(kind, &masked[..data.len()]);
                Ok(false)
            }
            _ => Ok(kind[0].is_ascii_uppercase() || &kind == b"tRNS"),
        }
    }

    /// Gives the decoder a chunk of at most 6 bytes that the file has otherwise.
    fn patch(&mut self, kind: [u8; 4], data: &[u8]) {
        let bytes = data.len();
        self.patched[..4].copy_from_slice(&(bytes as u32).to_be_bytes());
        self.patched[4..8].copy_from_slice(&kind);
        self.patched[8..8 + bytes].copy_from_slice(data);
        let sum = crc(&self.patched[4..8 + bytes]);
        self.patched[8 + bytes..FRAME_BYTES + bytes].copy_from_slice(&sum.to_be_bytes());
        // What is read lies at the end.
        self.patched_bytes = FRAME_BYTES + bytes;
        self.patched.copy_within(..self.patched_bytes, 18 - self.patched_bytes);
    }
}

impl BufRead for Needed<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.patched_bytes > 0 {
            return Ok(&self.patched[18 - self.patched_bytes..]);
        }
        while self.at == self.end && self.at < self.bytes.len() {
            let Some((kind, data, next)) =
                chunk(self.bytes, self.at).filter(|(.., next)| *next <= self.bytes.len())
            else {
                self.end = self.bytes.len();
                break;
            };
            let takes = self.takes(kind, data)?;
            self.end = next;
            if !takes {
                self.at = next;
            }
            if self.patched_bytes > 0 {
                return Ok(&self.patched[18 - self.patched_bytes..]);
            }
        }
        // What moves them keeps them in order and inside.
        Ok(&self.bytes[self.at..self.end])
    }

    fn consume(&mut self, count: usize) {
        if self.patched_bytes > 0 {
            self.patched_bytes = self.patched_bytes.saturating_sub(count);
        } else {
            self.at = self.at.saturating_add(count).min(self.end);
        }
    }
}

/// The CRC of a chunk. Source: the PNG specification, annex D.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}

impl Read for Needed<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

impl Seek for Needed<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Current(0) => Ok(self.at as u64),
            _ => Err(ErrorKind::Unsupported.into()),
        }
    }
}

/// The compressed pixels.
struct Pixels<'a> {
    bytes: &'a [u8],
    /// Where the next chunk begins.
    next: usize,
    /// What is left of the present one.
    rest: &'a [u8],
    has_begun: bool,
}

impl BufRead for Pixels<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.rest.is_empty() {
            let Some((kind, data, next)) = chunk(self.bytes, self.next) else { break };
            match &kind {
                b"IDAT" => (self.rest, self.has_begun) = (data, true),
                _ if self.has_begun => break,
                _ => {}
            }
            self.next = next;
        }
        Ok(self.rest)
    }

    fn consume(&mut self, count: usize) {
        self.rest = &self.rest[count..];
    }
}

impl Read for Pixels<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

/// Whether the compressed pixels are whole to their end. libpng refuses those that are not, even if no pixel is missing,
/// and does not look at what is after.
pub(super) fn is_finished(bytes: &[u8]) -> bool {
    let mut pixels = Pixels { bytes, next: SIGNATURE_BYTES, rest: &[], has_begun: false };
    // The sum has been looked at by who decoded the pixels.
    let (mut head, mut sum) = ([0; 2], [0; 4]);
    pixels.read_exact(&mut head).is_ok()
        && io::copy(&mut Inflater::new(Wrapping::Raw, &mut pixels), &mut io::sink()).is_ok()
        && pixels.read_exact(&mut sum).is_ok()
}

/// 100,000 times the gamma by which colours become grey; `None` where they do as they are.
///
/// # Errors
/// A file whose colours are managed in a way of which libpng makes something else.
pub(super) fn gamma(bytes: &[u8]) -> Result<Option<u32>, &'static str> {
    let (mut at, mut gamma, mut is_srgb, mut has_profile) = (SIGNATURE_BYTES, None, false, false);
    const PROFILE: &str = "a PNG with a colour profile does not become grey; decode it as RGB";
    while let Some((kind, data, next)) = chunk(bytes, at) {
        match (&kind, data) {
            (b"IDAT" | b"PLTE" | b"IEND", _) => break,
            (b"gAMA", _) if gamma.is_some() => {}
            (b"gAMA", [a, b, c, d]) => match u32::from_be_bytes([*a, *b, *c, *d]) {
                value if GAMMAS.contains(&value) => gamma = Some(value),
                _ if is_srgb => return Err(NO_GAMMA),
                // Nothing that follows counts any more.
                _ => return Ok(None),
            },
            (b"sRGB", [0..=3]) => is_srgb = true,
            (b"gAMA" | b"sRGB", _) => return Err(NO_GAMMA),
            // One after sRGB is passed over. After one that is none, libpng looks at no gamma any more.
            (b"iCCP", data) if !is_srgb => {
                if data.len() >= LEAST_PROFILE_BYTES && !is_profile(data) {
                    return Err(PROFILE);
                }
                has_profile = true;
            }
            _ => {}
        }
        at = next;
    }
    let gamma = if is_srgb { Some(SRGB) } else { gamma };
    if has_profile && gamma != Some(SRGB) {
        return Err(PROFILE);
    }
    Ok(gamma.filter(|gamma| {
        png_grey::is_significant(*gamma) || png_grey::is_significant(png_grey::inverse(*gamma))
    }))
}

/// How many bits of the samples of a colour are said to mean something, where that is said.
pub(super) fn significant_bits(bytes: &[u8]) -> Option<u8> {
    let mut at = SIGNATURE_BYTES;
    while let Some((kind, data, next)) = chunk(bytes, at) {
        match (&kind, data) {
            (b"IDAT" | b"PLTE" | b"IEND", _) => return None,
            // Of the colours, and of alpha if there is any.
            (b"sBIT", bits @ ([r, g, b] | [r, g, b, _]))
                if bits.iter().all(|bits| (1..=16).contains(bits)) =>
            {
                return Some(*r.max(g).max(b));
            }
            _ => at = next,
        }
    }
    None
}

/// A shorter iCCP is passed over.
const LEAST_PROFILE_BYTES: usize = 14;

/// Whether an iCCP is a profile of RGB. Source: ICC.1, 7.2, the profile's header.
fn is_profile(data: &[u8]) -> bool {
    let name_bytes = data.iter().take(80).position(|byte| *byte == 0);
    let Some([0, deflated @ ..]) = name_bytes.filter(|n| *n > 0).and_then(|n| data.get(n + 1..)) else {
        return false;
    };
    let mut head = [0; 132];
    let mut profile = Inflater::new(Wrapping::Zlib, deflated);
    if profile.read_exact(&mut head).is_err() {
        return false;
    }
    let bytes = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let rest = io::copy(&mut profile, &mut io::sink());
    bytes.is_multiple_of(4)
        && rest.is_ok_and(|rest| rest + head.len() as u64 == u64::from(bytes))
        && matches!(&head[12..16], b"scnr" | b"mntr" | b"prtr" | b"spac")
        && &head[16..20] == b"RGB "
        && matches!(&head[20..24], b"XYZ " | b"Lab ")
        && &head[36..40] == b"acsp"
}

/// What sRGB takes for a gamma.
const SRGB: u32 = 45_455;

/// What libpng takes for a gamma.
const GAMMAS: std::ops::RangeInclusive<u32> = 16..=625_000_000;

const NO_GAMMA: &str = "a PNG whose colours do not become grey: its gAMA or sRGB is none";

#[cfg(test)]
mod tests {
    use super::*;

    fn file(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, data) in chunks {
            file.extend((data.len() as u32).to_be_bytes());
            file.extend(*kind);
            file.extend(*data);
            file.extend([0; 4]);
        }
        file
    }

    #[test]
    fn what_pixels_do_not_need_is_passed_over() {
        let long = vec![7; 100_000];
        let bytes = file(&[
            (b"IHDR", &[1; 13]),
            (b"zTXt", &long),
            (b"tRNS", &[2]),
            (b"IDAT", &[3]),
            (b"eXIf", &long),
            (b"IEND", &[]),
        ]);
        let mut found = Vec::new();
        Needed::new(&bytes).read_to_end(&mut found).unwrap();
        assert_eq!(found, file(&[(b"IHDR", &[1; 13]), (b"tRNS", &[2]), (b"IDAT", &[3]), (b"IEND", &[])]));
        let read = |bytes: &[u8]| {
            let mut found = Vec::new();
            Needed::new(bytes).read_to_end(&mut found).map(|_| found)
        };
        let apart = file(&[(b"IDAT", &[1]), (b"tEXt", &[]), (b"IDAT", &[1])]);
        assert_eq!(read(&apart).unwrap(), file(&[(b"IDAT", &[1])]));
        assert!(read(&file(&[(b"\xeeAMA", &[1])])).is_err());
        let header = [0, 0, 0, 1, 0, 0, 0, 1, 8, 3, 0, 0, 0];
        assert!(read(&file(&[(b"IHDR", &header), (b"PLTE", &[1])])).is_err());
        assert!(read(&file(&[(b"IHDR", &header), (b"PLTE", &[1; 3]), (b"PLTE", &[1; 3])])).is_err());
    }

    #[test]
    fn of_a_transparent_colour_the_bits_of_a_sample_count() {
        let header = [0, 0, 0, 1, 0, 0, 0, 1, 2, 0, 0, 0, 0];
        let mut found = Vec::new();
        let bytes = file(&[(b"IHDR", &header), (b"tRNS", &[1, 0xd6]), (b"IDAT", &[3])]);
        Needed::new(&bytes).read_to_end(&mut found).unwrap();
        let mut expected = file(&[(b"IHDR", &header), (b"tRNS", &[0, 2]), (b"IDAT", &[3])]);
        // zlib.crc32(b"tRNS\0\2")
        expected[43..47].copy_from_slice(&0x989d_ac14u32.to_be_bytes());
        assert_eq!(found, expected);
    }

    #[test]
    fn pixels_have_an_end() {
        // zlib.compress(bytes(9))
        let whole = [0x78, 0x9c, 0x63, 0x60, 0x80, 0x02, 0x00, 0x00, 0x09, 0x00, 0x01];
        let parts = |count: usize| file(&[(b"IDAT", &whole[..5]), (b"IDAT", &whole[5..count])]);
        assert!(is_finished(&parts(11)));
        assert!((5..11).all(|count| !is_finished(&parts(count))));
        assert!(!is_finished(&file(&[(b"IDAT", &whole[..5]), (b"tEXt", &[]), (b"IDAT", &whole[5..])])));
    }

    #[test]
    fn gamma_is_libpngs() {
        let gama = |value: u32| value.to_be_bytes();
        assert_eq!(gamma(&file(&[(b"gAMA", &gama(60_000)), (b"sRGB", &[0])])), Ok(Some(45_455)));
        assert_eq!(gamma(&file(&[(b"gAMA", &gama(95_500))])), Ok(None));
        assert_eq!(gamma(&file(&[(b"PLTE", &[]), (b"gAMA", &gama(45_455))])), Ok(None));
        assert_eq!(gamma(&file(&[(b"iCCP", &[]), (b"gAMA", &gama(45_455))])), Ok(Some(45_455)));
        assert!(gamma(&file(&[(b"iCCP", &[])])).is_err());
        // After a gamma that is none libpng looks at no other.
        assert_eq!(gamma(&file(&[(b"gAMA", &gama(0)), (b"sRGB", &[0])])), Ok(None));
        // What is no profile makes libpng pass over sRGB after it, and is passed over after sRGB.
        assert!(gamma(&file(&[(b"iCCP", &[7; 200]), (b"sRGB", &[0])])).is_err());
        assert_eq!(gamma(&file(&[(b"sRGB", &[0]), (b"iCCP", &[7; 200])])), Ok(Some(45_455)));
    }
}
