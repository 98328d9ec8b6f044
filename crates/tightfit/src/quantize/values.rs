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
    /// Floats of the file as int8.
    Int8(Place, Scales),
    /// These.
    Bytes(Vec<u8>),
}

/// The scales of int8: element `i` has the one of channel `i / inner % count`.
#[derive(Debug, Clone)]
pub(super) struct Scales {
    pub scales: Vec<f32>,
    /// Elements next to each other that have the same.
    pub inner: u64,
    /// The integer that stands for 0.
    pub zero_point: i64,
    /// The smallest integer there is.
    pub least: i8,
}

impl Scales {
    fn channel(&self, element: u64) -> usize {
        (element / self.inner.max(1)) as usize % self.scales.len().max(1)
    }

    /// The integer for a number.
    pub fn integer(&self, element: u64, value: f32) -> i8 {
        let scale = self.scales.get(self.channel(element)).copied().unwrap_or(1.0);
        let value = (value / scale).round_ties_even() + self.zero_point as f32;
        value.clamp(self.least.into(), 127.0) as i8
    }

    /// The number that an integer stands for.
    pub fn number(&self, element: u64, integer: i8) -> f32 {
        let scale = self.scales.get(self.channel(element)).copied().unwrap_or(1.0);
        (i64::from(integer) - self.zero_point) as f32 * scale
    }
}

impl Value {
    /// Bytes that it holds in memory.
    pub fn held_bytes(&self) -> u64 {
        match self {
            Value::File(_) | Value::Half(_) => 0,
            Value::Int8(_, scales) => 4 * scales.scales.len() as u64,
            Value::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Writes the values.
    pub fn write(&self, source: &SourceFile, out: &mut dyn Write, budget: &MemoryBudget) -> io::Result<()> {
        match self {
            Value::Bytes(bytes) => out.write_all(bytes),
            Value::File(place) => pieces(source, *place, budget, &mut |_, bytes| out.write_all(bytes)),
            Value::Half(place) => {
                let mut halves = buffer(budget, place.bytes.min(PIECE_BYTES) / 2)?;
                floats(source, *place, budget, &mut |_, values| {
                    for (to, value) in halves.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                        *to = half::f16::from_f32(f32::from_le_bytes(*value)).to_le_bytes();
                    }
                    out.write_all(&halves[..2 * values.len()])
                })
            }
            Value::Int8(place, scales) => {
                let mut integers = buffer(budget, place.bytes.min(PIECE_BYTES) / 4)?;
                floats(source, *place, budget, &mut |first, values| {
                    for (index, value) in values.iter().enumerate() {
                        let integer = scales.integer(first + index as u64, f32::from_le_bytes(*value));
                        integers[index] = integer as u8;
                    }
                    out.write_all(&integers[..values.len()])
                })
            }
        }
    }
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
    done.map_err(|error| crate::writing::of_writing(source.path(), error))
}

fn buffer(budget: &MemoryBudget, bytes: u64) -> io::Result<Buffer> {
    Buffer::new(budget, "values on their way to the file", bytes as usize).map_err(io::Error::other)
}
