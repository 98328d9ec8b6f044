//! Coefficients as symbols and bits, of one pass over the picture or of many that get finer.

use super::huffman::Codes;
use super::{Component, ImageError, Sink};

/// What a pass over the picture codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scan {
    /// The only component, or all of them.
    pub component: Option<usize>,
    /// The first and the last coefficient, in the order of frequencies.
    pub first: usize,
    pub last: usize,
    /// How many of the lowest bits an earlier pass has left out, 0 where there was none, and how many this one does.
    pub before: u32,
    pub low: u32,
}

/// Coefficients of all components, 64 of each block in the order of frequencies.
pub(super) struct Coefficients<'a> {
    pub blocks: &'a [i16],
    pub components: &'a [Component],
    /// Units of all components across and down.
    pub units: [usize; 2],
}

impl Coefficients<'_> {
    fn block(&self, component: &Component, x: usize, y: usize) -> &[i16] {
        let at = component.first + (y * component.padded[0] + x) * 64;
        self.blocks.get(at..at + 64).unwrap_or(&[0; 64])
    }
}

/// DC of luma and of chroma, AC of both.
pub(super) const TABLES: usize = 4;

/// Where symbols go.
enum To<'s, 'w> {
    /// They are counted.
    Counts(&'s mut [[u32; 256]; TABLES]),
    /// They are written.
    Bits(&'s [Codes; TABLES], Bits<'s, 'w>),
}

/// Bits on their way to the file.
struct Bits<'s, 'w> {
    sink: &'s mut Sink<'w>,
    buffer: u64,
    count: u32,
}

impl Bits<'_, '_> {
    fn push(&mut self, value: u32, count: u32) -> Result<(), ImageError> {
        self.buffer = self.buffer << count | u64::from(value) & ((1 << count) - 1);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.buffer >> self.count) as u8;
            self.sink.push(&[byte])?;
            if byte == 0xff {
                self.sink.push(&[0])?;
            }
        }
        Ok(())
    }

    /// Fills the last byte with ones.
    fn finish(&mut self) -> Result<(), ImageError> {
        self.push(0x7f, 7)?;
        (self.buffer, self.count) = (0, 0);
        Ok(())
    }
}

/// The most bits of corrections that are kept back.
const MAX_CORRECTIONS: usize = 1000;

/// One pass.
pub(super) struct Coder<'s, 'w> {
    to: To<'s, 'w>,
    /// The last DC of each component.
    last: [i32; 3],
    /// Blocks that end in a row, of the table of `run_table`.
    run: u32,
    run_table: usize,
    /// Bits that correct coefficients of those blocks.
    corrections: [u8; MAX_CORRECTIONS],
    kept: usize,
}

impl<'s, 'w> Coder<'s, 'w> {
    /// One that counts symbols.
    pub fn counting(counts: &'s mut [[u32; 256]; TABLES]) -> Coder<'s, 'w> {
        Coder::new(To::Counts(counts))
    }

    /// One that writes.
    pub fn writing(codes: &'s [Codes; TABLES], sink: &'s mut Sink<'w>) -> Coder<'s, 'w> {
        Coder::new(To::Bits(codes, Bits { sink, buffer: 0, count: 0 }))
    }

    fn new(to: To<'s, 'w>) -> Coder<'s, 'w> {
        Coder { to, last: [0; 3], run: 0, run_table: 0, corrections: [0; MAX_CORRECTIONS], kept: 0 }
    }

    fn symbol(&mut self, table: usize, symbol: u32) -> Result<(), ImageError> {
        match &mut self.to {
            To::Counts(counts) => {
                counts[table][symbol as usize & 0xff] += 1;
                Ok(())
            }
            To::Bits(codes, bits) => {
                let (code, length) = codes[table].get(symbol as u8);
                bits.push(code, length)
            }
        }
    }

    fn bits(&mut self, value: u32, count: u32) -> Result<(), ImageError> {
        match &mut self.to {
            To::Bits(_, bits) if count > 0 => bits.push(value, count),
            _ => Ok(()),
        }
    }

    /// Codes what a scan says.
    pub fn scan(
        &mut self,
        of: &Coefficients<'_>,
        scan: Scan,
        is_progressive: bool,
    ) -> Result<(), ImageError> {
        let one = |number: usize| of.components.get(number).map(|component| (number, component));
        if let Some((number, component)) = scan.component.and_then(one) {
            // By itself a component has no more blocks than it needs.
            for y in 0..component.blocks[1] {
                for x in 0..component.blocks[0] {
                    self.block(of.block(component, x, y), number, scan, is_progressive)?;
                }
            }
        } else {
            for unit in 0..of.units[0] * of.units[1] {
                let [x, y] = [unit % of.units[0], unit / of.units[0]];
                for (number, component) in of.components.iter().enumerate() {
                    let [across, down] = component.factors;
                    for inner in 0..across * down {
                        let [x, y] = [x * across + inner % across, y * down + inner / across];
                        self.block(of.block(component, x, y), number, scan, is_progressive)?;
                    }
                }
            }
        }
        self.end_run()?;
        match &mut self.to {
            To::Bits(_, bits) => bits.finish(),
            To::Counts(_) => Ok(()),
        }
    }

    fn block(
        &mut self,
        block: &[i16],
        component: usize,
        scan: Scan,
        is_progressive: bool,
    ) -> Result<(), ImageError> {
        let table = usize::from(component > 0);
        match (is_progressive, scan.first, scan.before) {
            (false, ..) => {
                self.dc(i32::from(block[0]), component, table)?;
                self.whole(block, 2 + table)
            }
            (true, 0, 0) => self.dc(i32::from(block[0]) >> scan.low, component, table),
            (true, 0, _) => self.bits((i32::from(block[0]) >> scan.low) as u32, 1),
            (true, _, 0) => self.first_bits(block, 2 + table, scan),
            (true, ..) => self.next_bit(block, 2 + table, scan),
        }
    }

    /// The difference of a DC from the one before.
    fn dc(&mut self, value: i32, component: usize, table: usize) -> Result<(), ImageError> {
        let difference = value - self.last[component];
        self.last[component] = value;
        let size = size(difference.unsigned_abs());
        self.symbol(table, size)?;
        self.bits(signed(difference), size)
    }

    /// All other coefficients of a block.
    fn whole(&mut self, block: &[i16], table: usize) -> Result<(), ImageError> {
        let mut zeros = 0;
        for value in &block[1..] {
            if *value == 0 {
                zeros += 1;
                continue;
            }
            self.coefficient(i32::from(*value), &mut zeros, table)?;
        }
        if zeros > 0 { self.symbol(table, 0) } else { Ok(()) }
    }

    /// A coefficient that is not 0, after so many that are.
    fn coefficient(&mut self, value: i32, zeros: &mut u32, table: usize) -> Result<(), ImageError> {
        while *zeros > 15 {
            self.symbol(table, 0xf0)?;
            *zeros -= 16;
        }
        let size = size(value.unsigned_abs());
        self.symbol(table, *zeros << 4 | size)?;
        *zeros = 0;
        self.bits(signed(value), size)
    }

    /// The upper bits of coefficients.
    fn first_bits(&mut self, block: &[i16], table: usize, scan: Scan) -> Result<(), ImageError> {
        self.run_table = table;
        let mut zeros = 0;
        for value in &block[scan.first..=scan.last] {
            // Towards 0.
            let upper = i32::from(value.unsigned_abs() >> scan.low);
            if upper == 0 {
                zeros += 1;
                continue;
            }
            self.end_run()?;
            self.coefficient(if *value < 0 { -upper } else { upper }, &mut zeros, table)?;
        }
        if zeros > 0 {
            self.run += 1;
            if self.run == 0x7fff {
                self.end_run()?;
            }
        }
        Ok(())
    }

    /// One bit more of coefficients.
    fn next_bit(&mut self, block: &[i16], table: usize, scan: Scan) -> Result<(), ImageError> {
        self.run_table = table;
        let upper = |at: usize| u32::from(block[at].unsigned_abs() >> scan.low);
        let end = (scan.first..=scan.last).rev().find(|at| upper(*at) == 1).unwrap_or(0);
        // Bits of coefficients that were there before, since the last symbol.
        let (mut zeros, mut own, mut count) = (0, [0u8; 64], 0);
        for (at, coefficient) in block.iter().enumerate().take(scan.last + 1).skip(scan.first) {
            let value = upper(at);
            if value == 0 {
                zeros += 1;
                continue;
            }
            while zeros > 15 && at <= end {
                self.end_run()?;
                self.symbol(table, 0xf0)?;
                zeros -= 16;
                self.all_bits(&own[..count])?;
                count = 0;
            }
            if value > 1 {
                own[count] = (value & 1) as u8;
                count += 1;
                continue;
            }
            self.end_run()?;
            self.symbol(table, zeros << 4 | 1)?;
            self.bits(u32::from(*coefficient >= 0), 1)?;
            self.all_bits(&own[..count])?;
            (zeros, count) = (0, 0);
        }
        if zeros > 0 || count > 0 {
            self.run += 1;
            self.corrections[self.kept..self.kept + count].copy_from_slice(&own[..count]);
            self.kept += count;
            if self.run == 0x7fff || self.kept > MAX_CORRECTIONS - 64 + 1 {
                self.end_run()?;
            }
        }
        Ok(())
    }

    fn all_bits(&mut self, bits: &[u8]) -> Result<(), ImageError> {
        bits.iter().try_for_each(|bit| self.bits(u32::from(*bit), 1))
    }

    /// Says how many blocks have ended, and what corrects them.
    fn end_run(&mut self) -> Result<(), ImageError> {
        if self.run == 0 {
            return Ok(());
        }
        let size = size(self.run) - 1;
        self.symbol(self.run_table, size << 4)?;
        self.bits(self.run, size)?;
        let (corrections, kept) = (self.corrections, std::mem::take(&mut self.kept));
        self.run = 0;
        self.all_bits(&corrections[..kept])
    }
}

/// How many bits a number has.
fn size(value: u32) -> u32 {
    u32::BITS - value.leading_zeros()
}

/// The bits of a number: of a negative one those of one less.
fn signed(value: i32) -> u32 {
    (if value < 0 { value - 1 } else { value }) as u32
}
