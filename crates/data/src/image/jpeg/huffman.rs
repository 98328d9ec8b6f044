//! Huffman codes and the bits they come in. Source: ITU-T T.81, annexes C and F.2.2.
//!
//! Most coefficients are found by one look into a table that a few bits index: code and value together. Bits are taken
//! from a window of 64, which is filled eight bytes at a time where none of them is the first of a marker.
//!
//! Of damaged data the same becomes here as of libjpeg: a code that is none stands for 0, and after the next marker
//! all bits are 0.

use super::Stop;
use super::segments::{InMemory, Source};
use super::tables::{BAD_CODES, Codes};

/// Bits that index the table.
const LOOK_BITS: u32 = 10;

/// What a symbol's value is, `bits` of which were `raw`.
#[inline(always)]
fn extend(raw: u32, bits: u32) -> i32 {
    // Of a first bit 0 they are negative.
    let is_negative = (raw >> bits.wrapping_sub(1) & 1) ^ 1;
    raw as i32 - (((1i32 << bits) - 1) & -(is_negative as i32))
}

/// A code and, where the bits suffice, the value after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry(u32);

impl Entry {
    /// Bits of the code; 0 when there are more than are looked at.
    #[inline(always)]
    fn code_bits(self) -> u32 {
        self.0 & 15
    }

    /// Bits of code and value; 0 when they are not both here.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        self.0 >> 4 & 15
    }

    /// The symbol.
    #[inline(always)]
    fn symbol(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Zeros before the coefficient.
    #[inline(always)]
    pub fn run(self) -> usize {
        (self.0 >> 12 & 15) as usize
    }

    /// The coefficient.
    #[inline(always)]
    pub fn value(self) -> i16 {
        (self.0 >> 16) as i16
    }
}

/// Codes ready for decoding.
#[derive(Debug, Clone)]
pub(super) struct Table {
    look: [Entry; 1 << LOOK_BITS],
    /// One more than the last code of each length, moved to the top of 32 bits; the last is larger than any.
    ends: [u64; 18],
    /// What to add to a code of each length to have its symbol's place.
    offsets: [i32; 17],
    symbols: [u8; 256],
}

impl Table {
    pub const EMPTY: Table =
        Table { look: [Entry(0); 1 << LOOK_BITS], ends: [0; 18], offsets: [0; 17], symbols: [0; 256] };

    /// Makes the table of `codes`; those of first coefficients stand for at most 15 bits.
    pub fn set(&mut self, codes: &Codes, is_first: bool) -> Result<(), Stop> {
        self.look.fill(Entry(0));
        self.symbols = codes.symbols;
        let (mut code, mut place) = (0u32, 0usize);
        for (bits, count) in (1u32..).zip(codes.counts) {
            self.offsets[bits as usize] = place as i32 - code as i32;
            for _ in 0..count {
                let symbol = codes.symbols[place & 255];
                if is_first && symbol > 15 {
                    return Err(BAD_CODES);
                }
                if bits <= LOOK_BITS && code < 1 << bits {
                    self.spread(code, bits, symbol);
                }
                code += 1;
                place += 1;
            }
            // No code is all ones. Lengths without a code of their own are checked by the next that has one.
            if count > 0 && code >= 1 << bits {
                return Err(BAD_CODES);
            }
            self.ends[bits as usize] = if count > 0 { u64::from(code) << (32 - bits) } else { 0 };
            code <<= 1;
        }
        self.ends[17] = u64::MAX;
        Ok(())
    }

    /// Bits and symbol of a code that is not looked up, at the top of `window`.
    #[inline(never)]
    fn long(&self, window: u64) -> (u32, u8) {
        let next = window >> 32;
        let mut bits = LOOK_BITS + 1;
        while next >= self.ends[bits as usize] {
            bits += 1;
        }
        if bits > 16 {
            return (bits, 0);
        }
        let code = (next >> (32 - bits)) as i32;
        (bits, self.symbols[((code + self.offsets[bits as usize]) & 255) as usize])
    }

    /// Writes the entries of the bits that begin with a code.
    fn spread(&mut self, code: u32, code_bits: u32, symbol: u8) {
        let free_bits = LOOK_BITS - code_bits;
        let value_bits = u32::from(symbol & 15);
        let first = (code << free_bits) as usize;
        for (rest, entry) in (0u32..1 << free_bits).zip(self.look.iter_mut().skip(first)) {
            let mut packed = code_bits | u32::from(symbol) << 8;
            if (1..=free_bits).contains(&value_bits) {
                let value = extend(rest >> (free_bits - value_bits), value_bits);
                packed |= (code_bits + value_bits) << 4 | (value as u32) << 16;
            }
            *entry = Entry(packed);
        }
    }
}

/// Bits of a scan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bits<'a> {
    source: InMemory<'a>,
    /// The next bits, from the top.
    window: u64,
    /// How many of them there are.
    count: u32,
    /// How many of those were made up after a marker.
    padding: u32,
    /// Whether some of those were taken.
    is_used_up: bool,
    /// Whether reading has come to a marker, which ends them.
    is_at_marker: bool,
}

impl<'a> Bits<'a> {
    pub fn new(source: InMemory<'a>) -> Bits<'a> {
        Bits { source, window: 0, count: 0, padding: 0, is_used_up: false, is_at_marker: false }
    }

    /// What comes after the bits.
    pub fn source(&self) -> InMemory<'a> {
        self.source
    }

    /// Forgets the bits that are left of the bytes that were read.
    pub fn clear(&mut self) {
        (self.window, self.count, self.padding, self.is_used_up) = (0, 0, 0, false);
    }

    /// Whether bits were taken that the file does not have.
    #[inline(always)]
    pub fn are_used_up(&self) -> bool {
        self.is_used_up | (self.count < self.padding)
    }

    /// Makes sure of 32 bits at least.
    #[inline(always)]
    pub fn fill(&mut self) -> Result<(), Stop> {
        if self.count < 32 { self.fill_window() } else { Ok(()) }
    }

    #[inline(always)]
    fn fill_window(&mut self) -> Result<(), Stop> {
        if let Some(eight) = self.source.bytes.get(self.source.at..).and_then(|rest| rest.first_chunk::<8>())
        {
            let word = u64::from_be_bytes(*eight);
            // A byte of ones is one of zeros in the complement.
            const LOW: u64 = 0x0101_0101_0101_0101;
            if (!word).wrapping_sub(LOW) & word & (LOW << 7) == 0 {
                self.window |= word >> self.count;
                self.source.at += ((63 - self.count) >> 3) as usize;
                self.count |= 56;
                return Ok(());
            }
        }
        // By value: what a reference is taken of does not stay in registers.
        *self = self.filled_bytewise()?;
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn filled_bytewise(mut self) -> Result<Bits<'a>, Stop> {
        // Bits above the count can be there from filling eight bytes at once.
        if self.count < 64 {
            self.window &= !(u64::MAX >> self.count);
        }
        while self.count <= 56 {
            if self.is_at_marker {
                let missing = 64 - self.count;
                self.is_used_up |= self.count < self.padding;
                self.padding = self.padding.min(self.count) + missing;
                self.count = 64;
                return Ok(self);
            }
            let mut byte = self.source.byte()?;
            if byte == 0xff {
                while byte == 0xff {
                    byte = self.source.byte()?;
                }
                if byte != 0 {
                    self.stop_before_marker();
                    continue;
                }
                byte = 0xff;
            }
            self.window |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
        Ok(self)
    }

    /// Drops `bits` of those made sure of.
    #[inline(always)]
    pub fn drop(&mut self, bits: u32) {
        self.window <<= bits;
        self.count = self.count.wrapping_sub(bits);
    }

    /// The next `bits`, 0 to 16, of those made sure of.
    #[inline(always)]
    pub fn take(&mut self, bits: u32) -> u32 {
        let taken = (self.window >> 32) as u32;
        let taken = (u64::from(taken) >> (32 - bits)) as u32;
        self.drop(bits);
        taken
    }

    /// The next bit.
    #[inline(always)]
    pub fn bit(&mut self) -> Result<bool, Stop> {
        if self.count == 0 {
            self.fill_window()?;
        }
        Ok(self.take(1) == 1)
    }

    /// What the next bits index.
    #[inline(always)]
    pub fn look(&self, table: &Table) -> Entry {
        table.look[(self.window >> (64 - LOOK_BITS)) as usize]
    }

    /// The next symbol; of up to 32 bits made sure of it takes up to 17.
    #[inline(always)]
    pub fn symbol(&mut self, table: &Table) -> u8 {
        let entry = self.look(table);
        if entry.code_bits() > 0 {
            self.drop(entry.code_bits());
            return entry.symbol();
        }
        let (bits, symbol) = table.long(self.window);
        self.drop(bits);
        symbol
    }

    /// The value of `bits`, 0 to 15, of those made sure of.
    #[inline(always)]
    pub fn value(&mut self, bits: u32) -> i32 {
        if bits == 0 {
            return 0;
        }
        extend(self.take(bits), bits)
    }

    /// Reads on after the next marker, which is returned.
    pub fn next_marker(&mut self) -> Result<u8, Stop> {
        self.is_at_marker = false;
        self.source.marker()
    }

    /// Takes the marker just read to end the bits.
    pub fn stop_before_marker(&mut self) {
        self.source.at -= 2;
        self.is_at_marker = true;
    }

    /// Whether nothing but bits that are made up can come.
    pub fn is_at_marker(&self) -> bool {
        self.is_at_marker
    }
}
