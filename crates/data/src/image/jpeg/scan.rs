//! The coefficients of scans, sequential and progressive. Source: ITU-T T.81, annexes F and G.
//!
//! Damaged data become what libjpeg makes of them: a restart marker that is missing or of another number is looked for
//! as its `jpeg_resync_to_restart` does, and where the bits of an interval run out the blocks that are left stay as they
//! are.

use super::Stop;
use super::frame::Frame;
use super::huffman::{Bits, Table};
use super::segments::{InMemory, Source};
use super::tables::{Tables, ZIGZAG};

/// The coefficients of a block, line by line.
pub(super) type Block = [i16; 64];

/// A component in a scan.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Part {
    /// Its place in the frame.
    pub component: usize,
    /// Which codes it takes for the first coefficient and for the others.
    codes: [usize; 2],
}

/// A scan's header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan {
    parts: [Part; 4],
    count: usize,
    /// The first coefficient and the last.
    band: [usize; 2],
    /// Bits that are known before and after.
    high: u32,
    low: u32,
}

impl Scan {
    /// Reads the header, of `bytes` bytes of content.
    pub fn new(frame: &Frame, bytes: usize, source: &mut InMemory<'_>) -> Result<Scan, Stop> {
        let (parts, count) = read_parts(frame, bytes, source)?;
        let band = [usize::from(source.byte()?), usize::from(source.byte()?)];
        let bits = source.byte()?;
        let (high, low) = (u32::from(bits >> 4), u32::from(bits & 15));
        let scan = Scan { parts, count, band, high, low };
        let of_mcu = scan.parts().iter().filter_map(|part| frame.components().get(part.component));
        if count > 1 && of_mcu.map(|component| component.h * component.v).sum::<usize>() > 10 {
            return Err(Stop::Broken("a JPEG of more than ten blocks to the MCU"));
        }
        if frame.is_progressive && !scan.is_progression() {
            return Err(Stop::Broken("a JPEG with a progressive scan that is none"));
        }
        Ok(scan)
    }

    fn is_progression(&self) -> bool {
        let [first, last] = self.band;
        let is_band = if first == 0 { last == 0 } else { first <= last && last < 64 && self.count == 1 };
        is_band && (self.high == 0 || self.low + 1 == self.high) && self.low <= 13
    }

    /// Its components.
    pub fn parts(&self) -> &[Part] {
        &self.parts[..self.count]
    }

    /// Remembers in `known`, by component and place in the zigzag, how many bits are not known.
    pub fn note(&self, known: &mut [[i8; 64]; 4]) {
        for part in self.parts() {
            let band = self.band[0]..=self.band[1].min(63);
            if let Some(known) = known.get_mut(part.component).and_then(|known| known.get_mut(band)) {
                known.fill(self.low as i8);
            }
        }
    }
}

/// Reads the components of a scan, and how many they are, from its header of `bytes` bytes of content.
pub(super) fn read_parts(
    frame: &Frame,
    bytes: usize,
    source: &mut impl Source,
) -> Result<([Part; 4], usize), Stop> {
    let count = usize::from(source.byte()?);
    if !(1..=4).contains(&count) || bytes != 2 * count + 4 {
        return Err(Stop::Broken("a JPEG with a scan header of a wrong length"));
    }
    let mut parts = [Part::default(); 4];
    for at in 0..count {
        let [id, codes] = [source.byte()?, source.byte()?];
        // Components come in the frame's order; of those of the same name the later is meant later.
        let mut rest = frame.components().iter().enumerate().skip(at);
        let component = rest.find(|(_, component)| component.id == id).map(|(place, _)| place);
        let component = component.filter(|place| parts[..at].iter().all(|part| part.component != *place));
        let component = component.ok_or(Stop::Broken("a JPEG with a scan of a component that is none"))?;
        parts[at] = Part { component, codes: [usize::from(codes >> 4), usize::from(codes & 15)] };
    }
    Ok((parts, count))
}

/// Decodes the blocks of a scan, one after the other.
pub(super) struct Decoder<'a, 't> {
    bits: Bits<'a>,
    tables: &'t [[Table; 4]; 2],
    scan: Scan,
    predictions: [i32; 4],
    /// Blocks that come without more coefficients.
    ended: u32,
    restart_interval: usize,
    /// MCUs before the next restart.
    left: usize,
    next_restart: u8,
    /// Whether the bits have run out.
    is_out: bool,
}

impl<'a, 't> Decoder<'a, 't> {
    /// The decoder of `scan`, whose bits begin at `source`; `made` is where its tables are made.
    pub fn new(
        frame: &Frame,
        scan: Scan,
        tables: &Tables,
        source: InMemory<'a>,
        made: &'t mut [[Table; 4]; 2],
    ) -> Result<Decoder<'a, 't>, Stop> {
        for part in scan.parts() {
            for (class, (made, codes)) in made.iter_mut().zip(&tables.codes).enumerate() {
                let is_taken = match (frame.is_progressive, class) {
                    (false, _) => true,
                    (true, 0) => scan.band[0] == 0 && scan.high == 0,
                    (true, _) => scan.band[0] > 0,
                };
                if !is_taken {
                    continue;
                }
                let number = part.codes[class];
                let codes = codes.get(number).and_then(|codes| codes.as_ref());
                let (Some(codes), Some(made)) = (codes, made.get_mut(number)) else {
                    return Err(Stop::Broken("a JPEG with a scan of codes that are not defined"));
                };
                made.set(codes, class == 0)?;
            }
        }
        Ok(Decoder {
            bits: Bits::new(source),
            tables: made,
            scan,
            predictions: [0; 4],
            ended: 0,
            restart_interval: tables.restart_interval,
            left: tables.restart_interval,
            next_restart: 0,
            is_out: false,
        })
    }

    /// Begins an MCU; false when there are no bits for its blocks.
    #[inline(always)]
    pub fn begin(&mut self) -> Result<bool, Stop> {
        if self.restart_interval > 0 {
            if self.left == 0 {
                self.restart()?;
            }
            self.left -= 1;
        }
        self.is_out |= self.bits.are_used_up();
        Ok(!self.is_out)
    }

    #[cold]
    fn restart(&mut self) -> Result<(), Stop> {
        self.is_out |= self.bits.are_used_up();
        self.bits.clear();
        let mut marker = self.bits.next_marker()?;
        // How far the marker's number lies after the one that is expected.
        let distance = |marker: u8| marker.wrapping_sub(0xd0).wrapping_sub(self.next_restart) & 7;
        loop {
            match (marker, distance(marker)) {
                // One of the next two: this one is lost, and with it all up to that marker.
                (0xd0..=0xd7, 1 | 2) => self.bits.stop_before_marker(),
                // One of the last two, or none at all: passed over.
                (0xd0..=0xd7, 6 | 7) | (..0xc0, _) => {
                    marker = self.bits.next_marker()?;
                    continue;
                }
                // The one expected, or one so far away that it is taken for it.
                (0xd0..=0xd7, _) => {}
                _ => self.bits.stop_before_marker(),
            }
            break;
        }
        self.next_restart = (self.next_restart + 1) & 7;
        self.predictions = [0; 4];
        self.ended = 0;
        self.left = self.restart_interval;
        self.is_out &= self.bits.is_at_marker();
        Ok(())
    }

    /// After the last block: the next marker, and what comes after it.
    pub fn finish(mut self) -> Result<(u8, InMemory<'a>), Stop> {
        let marker = self.bits.next_marker()?;
        Ok((marker, self.bits.source()))
    }

    /// Decodes a block of a sequential scan into `block`; whether it is more than a first coefficient.
    #[inline(always)]
    pub fn sequential(&mut self, part: usize, block: &mut Block) -> Result<bool, Stop> {
        let Part { component, codes } = self.scan.parts[part & 3];
        let [first, rest] = [&self.tables[0][codes[0] & 3], &self.tables[1][codes[1] & 3]];
        let mut bits = self.bits;
        bits.fill()?;
        let size = bits.symbol(first);
        let prediction = &mut self.predictions[component & 3];
        *prediction = prediction.wrapping_add(bits.value(u32::from(size & 15)));
        block[0] = *prediction as i16;
        let mut k = 1;
        while k < 64 {
            bits.fill()?;
            let entry = bits.look(rest);
            if entry.bits() > 0 {
                bits.drop(entry.bits());
                k += entry.run();
                block[usize::from(ZIGZAG[k & 127] & 63)] = entry.value();
                k += 1;
                continue;
            }
            let symbol = bits.symbol(rest);
            let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if size > 0 {
                k += run;
                block[usize::from(ZIGZAG[k & 127] & 63)] = bits.value(size) as i16;
            } else if run == 15 {
                k += 15;
            } else {
                break;
            }
            k += 1;
        }
        self.bits = bits;
        Ok(k > 1)
    }

    /// Decodes what a progressive scan says of a block.
    #[inline(always)]
    pub fn progressive(&mut self, part: usize, is_decoded: bool, block: &mut Block) -> Result<(), Stop> {
        match (self.scan.band[0], self.scan.high) {
            // After the last bit a refined one is 0.
            (0, 1..) => self.refine_first(block),
            _ if !is_decoded => Ok(()),
            (0, 0) => self.first(part, block),
            (_, 0) => self.band(part, block),
            _ => self.refine_band(part, block),
        }
    }

    fn first(&mut self, part: usize, block: &mut Block) -> Result<(), Stop> {
        let Part { component, codes } = self.scan.parts[part & 3];
        self.bits.fill()?;
        let size = self.bits.symbol(&self.tables[0][codes[0] & 3]);
        let prediction = &mut self.predictions[component & 3];
        let sum = prediction.checked_add(self.bits.value(u32::from(size & 15)));
        *prediction = sum.ok_or(Stop::Broken("a JPEG with a coefficient that is none"))?;
        block[0] = (*prediction << self.scan.low) as i16;
        Ok(())
    }

    fn refine_first(&mut self, block: &mut Block) -> Result<(), Stop> {
        if self.bits.bit()? {
            block[0] |= 1 << self.scan.low;
        }
        Ok(())
    }

    fn band(&mut self, part: usize, block: &mut Block) -> Result<(), Stop> {
        if self.ended > 0 {
            self.ended -= 1;
            return Ok(());
        }
        let table = &self.tables[1][self.scan.parts[part & 3].codes[1] & 3];
        let ([mut k, last], low, mut bits) = (self.scan.band, self.scan.low, self.bits);
        while k <= last {
            bits.fill()?;
            let entry = bits.look(table);
            if entry.bits() > 0 {
                bits.drop(entry.bits());
                k += entry.run();
                block[usize::from(ZIGZAG[k & 127] & 63)] = entry.value() << low;
                k += 1;
                continue;
            }
            let symbol = bits.symbol(table);
            let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if size > 0 {
                k += run;
                block[usize::from(ZIGZAG[k & 127] & 63)] = (bits.value(size) << low) as i16;
            } else if run == 15 {
                k += 15;
            } else {
                self.ended = (1 << run) + bits.take(run as u32) - 1;
                break;
            }
            k += 1;
        }
        self.bits = bits;
        Ok(())
    }

    fn refine_band(&mut self, part: usize, block: &mut Block) -> Result<(), Stop> {
        let table = &self.tables[1][self.scan.parts[part & 3].codes[1] & 3];
        let ([mut k, last], bits) = (self.scan.band, &mut self.bits);
        let one = 1i16 << self.scan.low;
        if self.ended == 0 {
            while k <= last {
                bits.fill()?;
                let symbol = bits.symbol(table);
                let (run, size) = (u32::from(symbol >> 4), symbol & 15);
                let mut value = 0;
                if size > 0 {
                    value = if bits.take(1) == 1 { one } else { -one };
                } else if run < 15 {
                    self.ended = (1 << run) + bits.take(run);
                    break;
                }
                k = pass_over(bits, block, [k, last], run, one)?;
                if value != 0 {
                    block[usize::from(ZIGZAG[k & 127] & 63)] = value;
                }
                k += 1;
            }
        }
        if self.ended > 0 {
            // No run is so long: all that are not zero are refined.
            pass_over(bits, block, [k, last], u32::MAX, one)?;
            self.ended -= 1;
        }
        Ok(())
    }
}

/// Refines what is not zero up to the coefficient before which `run` are zero, and returns its place.
#[inline(always)]
fn pass_over(
    bits: &mut Bits<'_>,
    block: &mut Block,
    [mut k, last]: [usize; 2],
    mut run: u32,
    one: i16,
) -> Result<usize, Stop> {
    while k <= last {
        let value = &mut block[usize::from(ZIGZAG[k & 127] & 63)];
        if *value != 0 {
            if bits.bit()? && *value & one == 0 {
                *value = value.wrapping_add(if *value >= 0 { one } else { -one });
            }
        } else if run == 0 {
            break;
        } else {
            run -= 1;
        }
        k += 1;
    }
    Ok(k)
}
