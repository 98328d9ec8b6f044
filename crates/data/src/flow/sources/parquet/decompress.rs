//! Pages are decompressed in Rust, into memory that was reserved for them.

use std::io::Read;

use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result};
use tightfit_core::MemoryBudget;
use tightfit_format::compress::zstd::frame_window;

use super::external;

const PURPOSE: &str = "decompressing";

/// What the state of inflating takes.
const INFLATE_BYTES: u64 = 64 << 10;

/// What zstd decodes at a time before it is taken, and what its tables take.
const ZSTD_BYTES: u64 = (1 << 20) + (512 << 10);

fn broken(codec: Compression, why: impl std::fmt::Display) -> ParquetError {
    ParquetError::General(format!("{codec}: {why}"))
}

/// True when there is a way to decompress what `codec` made.
pub(super) fn is_known(codec: Compression) -> bool {
    !matches!(codec, Compression::LZO | Compression::BROTLI(_))
}

/// Decompresses `from`, which becomes exactly as many bytes as `to` has.
pub(super) fn decompress(
    codec: Compression,
    from: &[u8],
    to: &mut [u8],
    budget: &MemoryBudget,
) -> Result<()> {
    let wrong = |why: &dyn std::fmt::Display| broken(codec, why);
    let bytes = match codec {
        Compression::UNCOMPRESSED if from.len() == to.len() => {
            to.copy_from_slice(from);
            from.len()
        }
        Compression::UNCOMPRESSED => from.len(),
        Compression::SNAPPY => snap::raw::Decoder::new().decompress(from, to).map_err(|e| wrong(&e))?,
        Compression::GZIP(_) => {
            let _state = budget.try_reserve(PURPOSE, INFLATE_BYTES).map_err(external)?;
            fill(flate2::read::MultiGzDecoder::new(from), to).map_err(|e| wrong(&e))?
        }
        Compression::LZ4_RAW => lz4_flex::block::decompress_into(from, to).map_err(|e| wrong(&e))?,
        Compression::LZ4 => match hadoop(from, to) {
            Some(bytes) => bytes,
            None => lz4_flex::block::decompress_into(from, to).map_err(|e| wrong(&e))?,
        },
        Compression::ZSTD(_) => zstd(from, to, budget)?,
        Compression::LZO | Compression::BROTLI(_) => return Err(wrong(&"this compression is not read")),
    };
    let expected = to.len();
    if bytes == expected {
        Ok(())
    } else {
        Err(wrong(&format!("{bytes} bytes, not the {expected} of the page")))
    }
}

/// Fills `to` and looks whether there is more; bytes read.
fn fill(mut from: impl Read, to: &mut [u8]) -> std::io::Result<usize> {
    let mut have = 0usize;
    while let Some(rest) = to.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match from.read(rest)? {
            0 => return Ok(have),
            bytes => have += bytes,
        }
    }
    Ok(have + from.read(&mut [0])?)
}

/// LZ4 as Hadoop frames it: blocks after their sizes, decompressed and compressed, big-endian.
fn hadoop(mut from: &[u8], to: &mut [u8]) -> Option<usize> {
    let mut have = 0usize;
    while !from.is_empty() {
        let (sizes, rest) = from.split_first_chunk::<8>()?;
        let [size, compressed] =
            [sizes.first_chunk::<4>()?, sizes.last_chunk::<4>()?].map(|b| u32::from_be_bytes(*b));
        let (block, rest) = rest.split_at_checked(compressed as usize)?;
        let room = to.get_mut(have..have.checked_add(size as usize)?)?;
        have += lz4_flex::block::decompress_into(block, room).ok().filter(|bytes| *bytes == size as usize)?;
        from = rest;
    }
    Some(have)
}

fn zstd(from: &[u8], to: &mut [u8], budget: &MemoryBudget) -> Result<usize> {
    let codec = Compression::ZSTD(parquet::basic::ZstdLevel::default());
    // Frames after the first one may not ask for more.
    let window = frame_window(from).unwrap_or(0).max(to.len().min(1 << 10) as u64);
    // The ring it decodes into doubles as it grows.
    let state_bytes = window.saturating_add(ZSTD_BYTES).saturating_mul(2);
    let _state = budget.try_reserve(PURPOSE, state_bytes).map_err(external)?;
    let mut decoder = ruzstd::decoding::FrameDecoder::new();
    decoder.set_max_window_size(window);
    decoder.decode_all(from, to).map_err(|error| broken(codec, error))
}
