//! The chunks of a PNG that its pixels need. Texts, profiles and whatever else a file brings along are passed over
//! where they lie, so that no memory depends on them. Source: the PNG specification, chapters 5 and 11.

use std::io::{self, BufRead, ErrorKind, Read, Seek, SeekFrom};

use tightfit_format::inflate::{Inflater, Wrapping};

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
    /// What is read next.
    at: usize,
    /// Where the chunk that is being read ends.
    end: usize,
    has_data: bool,
    is_after_data: bool,
}

impl<'a> Needed<'a> {
    pub fn new(bytes: &'a [u8]) -> Needed<'a> {
        Needed { bytes, at: 0, end: SIGNATURE_BYTES.min(bytes.len()), has_data: false, is_after_data: false }
    }
}

impl BufRead for Needed<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.end && self.at < self.bytes.len() {
            let Some((kind, _, next)) =
                chunk(self.bytes, self.at).filter(|(.., next)| *next <= self.bytes.len())
            else {
                self.end = self.bytes.len();
                break;
            };
            if &kind == b"IDAT" && self.is_after_data {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "a PNG whose pixels are not in one place",
                ));
            }
            self.is_after_data = self.has_data && &kind != b"IDAT";
            self.has_data |= &kind == b"IDAT";
            self.end = next;
            if kind[0].is_ascii_lowercase() && &kind != b"tRNS" {
                self.at = next;
            }
        }
        // What moves them keeps them in order and inside.
        Ok(&self.bytes[self.at..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.at = self.at.saturating_add(count).min(self.end);
    }
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
            // One behind sRGB is passed over. After one that is none, libpng looks at no gamma any more.
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
    Ok(gamma.filter(|gamma| gamma.abs_diff(UNIT) > UNIT / 20))
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

/// A gamma of 1.
const UNIT: u32 = 100_000;

/// Colours made linear and back: by value, 0 to 255.
pub(super) struct GreyTables {
    linear: [u8; 256],
    coded: [u8; 256],
}

impl GreyTables {
    pub fn new(gamma: u32) -> GreyTables {
        let table = |exponent: f64| {
            let mut table = [0; 256];
            for (value, to) in table.iter_mut().enumerate() {
                let exact = (value as f64 / 255.0).powf(exponent * 1e-5);
                *to =
                    if matches!(value, 0 | 255) { value as u8 } else { (255.0 * exact + 0.5).floor() as u8 };
            }
            table
        };
        let inverse = (1e10 / f64::from(gamma) + 0.5).floor();
        GreyTables { linear: table(inverse), coded: table(f64::from(gamma)) }
    }

    /// The grey of a colour.
    pub fn grey(&self, rgb: [u8; 3]) -> u8 {
        if rgb[0] == rgb[1] && rgb[0] == rgb[2] {
            return rgb[0];
        }
        let [r, g, b] = rgb.map(|value| u32::from(self.linear[usize::from(value)]));
        self.coded[((9797 * r + 19234 * g + 3737 * b + 16384) >> 15) as usize & 255]
    }
}

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
        let apart = file(&[(b"IDAT", &[1]), (b"tEXt", &[]), (b"IDAT", &[1])]);
        assert!(Needed::new(&apart).read_to_end(&mut found).is_err());
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
        // What is no profile makes libpng pass over sRGB behind it, and is passed over behind sRGB.
        assert!(gamma(&file(&[(b"iCCP", &[7; 200]), (b"sRGB", &[0])])).is_err());
        assert_eq!(gamma(&file(&[(b"sRGB", &[0]), (b"iCCP", &[7; 200])])), Ok(Some(45_455)));
    }
}
