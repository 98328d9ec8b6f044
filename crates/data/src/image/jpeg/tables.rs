//! Tables that segments define: how samples were quantised, how coefficients are coded, what the colours are. Source:
//! ITU-T T.81, B.2.4 and annex C; T.871 and T.872 for JFIF's and Adobe's segments.

use super::Stop;
use super::segments::{APP0, APP14, DHT, DQT, DRI, InMemory, Source};

/// Where the coefficients of the zigzag lie in a block. What a broken file puts after the 64th goes into the 64th.
pub(super) const ZIGZAG: [u8; 128] = {
    let order: [u8; 64] = [
        0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,
        6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38,
        31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
    ];
    let mut padded = [63; 128];
    let mut i = 0;
    while i < 64 {
        padded[i] = order[i];
        i += 1;
    }
    padded
};

/// How many codes there are of each length from 1 to 16, and what they stand for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Codes {
    pub counts: [u8; 16],
    pub symbols: [u8; 256],
}

/// All that segments have defined.
#[derive(Debug)]
pub(super) struct Tables {
    /// Quantisation tables, in the order of a block.
    pub quants: [Option<[u16; 64]>; 4],
    /// Codes of the first coefficients, then those of the others.
    pub codes: [[Option<Codes>; 4]; 2],
    /// MCUs between restart markers; 0 for none.
    pub restart_interval: usize,
    pub is_jfif: bool,
    /// Adobe's colour transform.
    pub adobe: Option<u8>,
}

impl Tables {
    pub fn new() -> Tables {
        Tables { quants: [None; 4], codes: [[None; 4]; 2], restart_interval: 0, is_jfif: false, adobe: None }
    }

    /// Defines annex K's codes where there are none: frames of Motion JPEG come without.
    pub fn add_usual_codes(&mut self) {
        for (class, (tables, counts)) in self.codes.iter_mut().zip(USUAL_COUNTS).enumerate() {
            for (number, (table, counts)) in tables.iter_mut().zip(counts).enumerate() {
                let mut symbols = [0; 256];
                if class == 0 {
                    symbols.iter_mut().zip(0..12).for_each(|(to, symbol)| *to = symbol);
                } else {
                    symbols[..162].copy_from_slice(&USUAL_SYMBOLS[number]);
                }
                table.get_or_insert(Codes { counts, symbols });
            }
        }
    }

    /// Takes in the segment of `marker`, of `count` bytes of content.
    pub fn take(&mut self, marker: u8, count: usize, source: &mut InMemory<'_>) -> Result<(), Stop> {
        let end = source.at.saturating_add(count);
        match marker {
            DHT => self.huffman(count, source)?,
            DQT => self.quant(count, source)?,
            DRI if count == 2 => self.restart_interval = source.word()?,
            DRI => return Err(Stop::Broken("a JPEG with a restart interval of a wrong length")),
            APP0 if count >= 14 => {
                let mut head = [0; 5];
                source.fill(&mut head)?;
                self.is_jfif |= head == *b"JFIF\0";
            }
            APP14 if count >= 12 => {
                let mut head = [0; 12];
                source.fill(&mut head)?;
                if head.starts_with(b"Adobe") {
                    self.adobe = Some(head[11]);
                }
            }
            _ => {}
        }
        source.skip(end - source.at)
    }

    fn quant(&mut self, mut left: usize, source: &mut InMemory<'_>) -> Result<(), Stop> {
        while left > 0 {
            let head = source.byte()?;
            let sample_bytes = if head >> 4 == 0 { 1 } else { 2 };
            let table = self.quants.get_mut(usize::from(head & 15));
            let table =
                table.ok_or(Stop::Broken("a JPEG with a quantisation table of a number that is none"))?;
            left = left
                .checked_sub(1 + 64 * sample_bytes)
                .ok_or(Stop::Broken("a JPEG with a quantisation table that is too short"))?;
            let mut values = [0; 64];
            for at in ZIGZAG.iter().take(64) {
                values[usize::from(*at)] =
                    if sample_bytes == 1 { u16::from(source.byte()?) } else { source.word()? as u16 };
            }
            *table = Some(values);
        }
        Ok(())
    }

    fn huffman(&mut self, mut left: usize, source: &mut InMemory<'_>) -> Result<(), Stop> {
        while left > 16 {
            let head = source.byte()?;
            let mut codes = Codes { counts: [0; 16], symbols: [0; 256] };
            source.fill(&mut codes.counts)?;
            let count = codes.counts.iter().map(|count| usize::from(*count)).sum::<usize>();
            left = left.saturating_sub(17).checked_sub(count).ok_or(BAD_CODES)?;
            source.fill(codes.symbols.get_mut(..count).ok_or(BAD_CODES)?)?;
            let class = self.codes.get_mut(usize::from(head >> 4));
            let table = class.and_then(|class| class.get_mut(usize::from(head & 15)));
            *table.ok_or(Stop::Broken("a JPEG with a Huffman table of a number that is none"))? = Some(codes);
        }
        if left == 0 { Ok(()) } else { Err(BAD_CODES) }
    }
}

/// The symbols of annex K's codes for coefficients after the first: of luma, and of chroma.
const USUAL_SYMBOLS: [[u8; 162]; 2] = [
    [
        0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22,
        0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33,
        0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x34,
        0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55,
        0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76,
        0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96,
        0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5,
        0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4,
        0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1,
        0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
    ],
    [
        0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13,
        0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0, 0x15, 0x62,
        0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26, 0x27, 0x28, 0x29,
        0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54,
        0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75,
        0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94,
        0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3,
        0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2,
        0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea,
        0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
    ],
];

/// How many of annex K's codes have each length: first coefficients of luma and chroma, then the others.
const USUAL_COUNTS: [[[u8; 16]; 2]; 2] = [
    [[0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]],
    [[0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125], [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119]],
];

pub(super) const BAD_CODES: Stop = Stop::Broken("a JPEG with a Huffman table that is none");
