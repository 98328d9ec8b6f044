//! The values of tensors on their way to the file: what they are made of, piece by piece.

use std::io::{self, Write};

use tightfit_core::{Buffer, MemoryBudget};
use tightfit_format::SourceFile;
use tightfit_format::tflite::Place;

use crate::error::Error;

/// Bytes of floats that are read at a time.
const PIECE_BYTES: u64 = 256 << 10;

/// The values of a tensor.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// As they stand in the file.
    File(Place),
    /// Floats of the file as float16.
    Half(Place),
    /// Floats of the file as bfloat16.
    Brain(Place),
    /// Floats of the file as integers of so many bits: 4 of them in two to a byte, 8 or 16.
    Integers(Place, Scales, u8),
    /// These.
    Bytes(Vec<u8>),
}

/// The scales of integers: element `i` has the one of channel `i / inner % count`.
#[derive(Debug, Clone)]
pub(super) struct Scales {
    pub scales: Vec<f32>,
    /// Elements next to each other that have the same.
    pub inner: u64,
    /// The integer that stands for 0.
    pub zero_point: i64,
    /// The smallest integer there is, and the largest.
    pub bounds: [i16; 2],
}

impl Scales {
    fn channel(&self, element: u64) -> usize {
        (element / self.inner.max(1)) as usize % self.scales.len().max(1)
    }

    /// The integer for a number.
    pub fn integer(&self, element: u64, value: f32) -> i16 {
        let scale = self.scales.get(self.channel(element)).copied().unwrap_or(1.0);
        let value = (value / scale).round_ties_even() + self.zero_point as f32;
        value.clamp(self.bounds[0].into(), self.bounds[1].into()) as i16
    }

    /// The number that an integer stands for.
    pub fn number(&self, element: u64, integer: i16) -> f32 {
        let scale = self.scales.get(self.channel(element)).copied().unwrap_or(1.0);
        (i64::from(integer) - self.zero_point) as f32 * scale
    }
}

impl Value {
    /// Bytes that it holds in memory.
    pub fn held_bytes(&self) -> u64 {
        match self {
            Value::File(_) | Value::Half(_) | Value::Brain(_) => 0,
            Value::Integers(_, scales, _) => 4 * scales.scales.len() as u64,
            Value::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Writes the values.
    pub fn write(&self, source: &SourceFile, out: &mut dyn Write, budget: &MemoryBudget) -> io::Result<()> {
        match self {
            Value::Bytes(bytes) => out.write_all(bytes),
            Value::File(place) => pieces(source, *place, budget, &mut |_, bytes| out.write_all(bytes)),
            Value::Half(place) => converted(source, *place, budget, out, 16, &|_, value| {
                u16::from_le_bytes(half::f16::from_f32(value).to_le_bytes())
            }),
            Value::Brain(place) => converted(source, *place, budget, out, 16, &|_, value| {
                u16::from_le_bytes(half::bf16::from_f32(value).to_le_bytes())
            }),
            Value::Integers(place, scales, bits) => {
                converted(source, *place, budget, out, usize::from(*bits), &|element, value| {
                    scales.integer(element, value) as u16
                })
            }
        }
    }
}

/// Writes what floats become: the lowest `bits` bits of each, the first in the lowest of a byte.
fn converted(
    source: &SourceFile,
    place: Place,
    budget: &MemoryBudget,
    out: &mut dyn Write,
    bits: usize,
    convert: &dyn Fn(u64, f32) -> u16,
) -> io::Result<()> {
    let mut narrow = buffer(budget, (place.bytes.min(PIECE_BYTES) / 4 * bits as u64).div_ceil(8))?;
    floats(source, place, budget, &mut |first, values| {
        let own = &mut narrow[..(values.len() * bits).div_ceil(8)];
        own.fill(0);
        for (index, value) in values.iter().enumerate() {
            put(own, index, bits, convert(first + index as u64, f32::from_le_bytes(*value)));
        }
        out.write_all(own)
    })
}

/// Puts the lowest `bits` bits of a number to its place among others, which are 0 so far; the first is in the lowest of a byte.
fn put(bytes: &mut [u8], index: usize, bits: usize, number: u16) {
    let (at, shift) = (index * bits / 8, index * bits % 8);
    bytes[at] |= ((number & ((1u32 << bits) - 1) as u16) << shift) as u8;
    if bits > 8 {
        bytes[at + 1] = (number >> 8) as u8;
    }
}

/// Integers of so many bits as [`Value::Integers`] writes them.
pub(super) fn packed(integers: &[i16], bits: u8) -> Vec<u8> {
    let bits = usize::from(bits);
    let mut bytes = vec![0; (integers.len() * bits).div_ceil(8)];
    integers.iter().enumerate().for_each(|(index, integer)| put(&mut bytes, index, bits, *integer as u16));
    bytes
}

/// Takes floats, with the number of the first.
type EachPiece<'e> = dyn FnMut(u64, &[[u8; 4]]) -> io::Result<()> + 'e;

/// Calls `each` with pieces of the file and where in the place they begin.
fn pieces(
    source: &SourceFile,
    place: Place,
    budget: &MemoryBudget,
    each: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = buffer(budget, place.bytes.min(PIECE_BYTES))?;
    let mut at = 0;
    while at < place.bytes {
        let count = (place.bytes - at).min(PIECE_BYTES);
        let part = &mut piece[..count as usize];
        source.read_exact_at(place.offset + at, part).map_err(io::Error::other)?;
        each(at, part)?;
        at += count;
    }
    Ok(())
}

/// Calls `each` with floats of the file and the number of the first.
pub(super) fn floats(
    source: &SourceFile,
    place: Place,
    budget: &MemoryBudget,
    each: &mut EachPiece<'_>,
) -> io::Result<()> {
    pieces(source, place, budget, &mut |at, bytes| each(at / 4, bytes.as_chunks::<4>().0))
}

/// The same for what can fail otherwise.
pub(super) fn look_at(
    source: &SourceFile,
    place: Place,
    budget: &MemoryBudget,
    each: &mut dyn FnMut(u64, f32),
) -> Result<(), Error> {
    let done = floats(source, place, budget, &mut |first, values| {
        for (index, value) in values.iter().enumerate() {
            each(first + index as u64, f32::from_le_bytes(*value));
        }
        Ok(())
    });
    done.map_err(|error| crate::convert::writing::of_writing(source.path(), error))
}

/// All of them. Who calls this has room for them.
pub(super) fn read(source: &SourceFile, place: Place, budget: &MemoryBudget) -> Result<Vec<f32>, Error> {
    let mut values = Vec::with_capacity((place.bytes / 4) as usize);
    look_at(source, place, budget, &mut |_, value| values.push(value))?;
    Ok(values)
}

/// The same as numbers of 32 bits, whatever they stand for.
pub(super) fn numbers(source: &SourceFile, place: Place, budget: &MemoryBudget) -> Result<Vec<u32>, Error> {
    let mut values = Vec::with_capacity((place.bytes / 4) as usize);
    let done = floats(source, place, budget, &mut |_, words| {
        values.extend(words.iter().map(|word| u32::from_le_bytes(*word)));
        Ok(())
    });
    done.map_err(|error| crate::convert::writing::of_writing(source.path(), error))?;
    Ok(values)
}

fn buffer(budget: &MemoryBudget, bytes: u64) -> io::Result<Buffer> {
    Buffer::new(budget, "values on their way to the file", bytes as usize).map_err(io::Error::other)
}
