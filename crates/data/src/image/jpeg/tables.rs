//! Tables that segments define: how samples were quantised, how coefficients are coded, what the colours are. Source:
//! ITU-T T.81, B.2.4 and annex C; T.871 and T.872 for JFIF's and Adobe's segments.

use super::Stop;
use super::segments::{APP0, APP14, DHT, DQT, DRI, InMemory, Source};

/// Where the coefficients of the zigzag lie in a block. What a broken file puts behind the 64th goes into the 64th.
pub(super) const ZIGZAG: [u8; 128] = {
    let order: [u8; 64] = [
        0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14,
        21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60,
        61, 54, 47, 55, 62, 63,
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
            let table = table.ok_or(Stop::Broken("a JPEG with a quantisation table of a number that is none"))?;
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

pub(super) const BAD_CODES: Stop = Stop::Broken("a JPEG with a Huffman table that is none");
