//! Files read and written compressed, as TensorFlow's `TFRecordOptions(compression_type)` has them, and Zstandard, which is
//! only read.

use std::io::{self, BufReader, Read, Write};

use flate2::write::{GzEncoder, ZlibEncoder};

use self::inflate::{Inflater, Wrapping};
use self::zstd::Zstd;

pub mod inflate;
pub mod zstd;

/// Heap bytes that inflating takes: the input buffer, and the inflater's 32 KiB of history with its tables.
const INFLATE_BYTES: usize = INPUT_BYTES + (64 << 10);

/// What compressed bytes are read through.
pub(crate) const INPUT_BYTES: usize = 64 << 10;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, also of several members.
    Gzip,
    /// RFC 1950.
    Zlib,
    /// RFC 8878, also of several frames.
    Zstd {
        /// How far back the first frame refers, in bytes; no later one may further.
        window_bytes: u64,
    },
}

impl Compression {
    /// TensorFlow's name: `""`, `"GZIP"` or `"ZLIB"`; it has none for `"ZSTD"`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => "GZIP",
            Compression::Zlib => "ZLIB",
            Compression::Zstd { .. } => "ZSTD",
        }
    }

    /// The compression of a text that begins with `head` (16 bytes, fewer if it has fewer). Other text may begin as zlib's
    /// format does, which no file of text is kept in.
    pub fn of_text(head: &[u8]) -> Compression {
        match head {
            [0x1f, 0x8b, 8, ..] => Compression::Gzip,
            _ => zstd::window_of(head)
                .map_or(Compression::None, |window_bytes| Compression::Zstd { window_bytes }),
        }
    }

    /// Heap bytes that a [`Decompressor`] takes beside what it reads into. To be reserved by whoever plans memory.
    pub fn held_bytes(self) -> u64 {
        match self {
            Compression::None => 0,
            Compression::Gzip | Compression::Zlib => INFLATE_BYTES as u64,
            Compression::Zstd { window_bytes } => zstd::held_bytes(window_bytes),
        }
    }
}

/// Heap bytes that a [`Compressor`] takes when it compresses: zlib's window, tables and pending output.
pub const DEFLATE_BYTES: usize = 416 << 10;

/// Writes through to `W`, compressed or not.
#[derive(Debug)]
pub enum Compressor<W: Write> {
    /// As it is.
    None(W),
    /// RFC 1952.
    Gzip(Box<GzEncoder<W>>),
    /// RFC 1950.
    Zlib(Box<ZlibEncoder<W>>),
}

impl<W: Write> Compressor<W> {
    /// A writer to `write`, at zlib's default level.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] for Zstandard, which is not written.
    pub fn new(compression: Compression, write: W) -> io::Result<Self> {
        let level = flate2::Compression::default();
        Ok(match compression {
            Compression::None => Compressor::None(write),
            Compression::Gzip => Compressor::Gzip(Box::new(GzEncoder::new(write, level))),
            Compression::Zlib => Compressor::Zlib(Box::new(ZlibEncoder::new(write, level))),
            Compression::Zstd { .. } => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "Zstandard is read and not written"));
            }
        })
    }

    /// Writes the end of the compressed stream; what was written to, not flushed.
    ///
    /// # Errors
    /// Whatever is written to reports.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Compressor::None(write) => Ok(write),
            Compressor::Gzip(encoder) => encoder.finish(),
            Compressor::Zlib(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Compressor::None(write) => write.write(bytes),
            Compressor::Gzip(encoder) => encoder.write(bytes),
            Compressor::Zlib(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Compressor::None(write) => write.flush(),
            Compressor::Gzip(encoder) => encoder.flush(),
            Compressor::Zlib(encoder) => encoder.flush(),
        }
    }
}

/// Reads through from `R`, unpacked or as it is. It takes [`Compression::held_bytes`]. Of a damaged file all bytes before
/// the damage are read before the error is, but those that a frame of Zstandard still refers to.
pub enum Decompressor<R: Read> {
    /// As it is.
    None(R),
    /// RFC 1952, also of several members, or RFC 1950.
    Inflated(Box<Inflater<BufReader<R>>>),
    /// RFC 8878.
    Zstd(Box<Zstd<BufReader<R>>>),
}

impl<R: Read> Decompressor<R> {
    /// A reader from `read`.
    pub fn new(compression: Compression, read: R) -> Self {
        let wrapping = match compression {
            Compression::None => return Decompressor::None(read),
            Compression::Gzip => Wrapping::Gzip,
            Compression::Zlib => Wrapping::Zlib,
            Compression::Zstd { window_bytes } => {
                let packed = BufReader::with_capacity(INPUT_BYTES, read);
                return Decompressor::Zstd(Box::new(Zstd::new(packed, window_bytes)));
            }
        };
        let packed = BufReader::with_capacity(INPUT_BYTES, read);
        Decompressor::Inflated(Box::new(Inflater::new(wrapping, packed)))
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Decompressor::None(read) => read.read(out),
            Decompressor::Inflated(read) => read.read(out),
            Decompressor::Zstd(read) => read.read(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use tightfit_core::{Buffer, MemoryBudget};

    use super::*;
    use crate::tfrecord::{RecordReader, RecordWriter};

    #[test]
    fn the_reader_reads_every_kind() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zlib] {
            let mut writer = RecordWriter::new(Compressor::new(compression, Vec::new()).unwrap());
            (0..100u8).for_each(|i| writer.write(&[i; 50]).unwrap());
            let bytes = writer.into_inner().finish().unwrap();
            assert_eq!(bytes.len() == 6600, compression == Compression::None);
            let window = Buffer::new(&MemoryBudget::new(u64::MAX), "test", 1000).unwrap();
            let mut reader = RecordReader::new(Arc::from(Path::new("f")), &bytes[..], window).unwrap();
            assert_eq!(reader.compression(), compression);
            for i in 0..100u8 {
                assert_eq!(reader.next_record().unwrap().unwrap().data, [i; 50]);
            }
            assert!(reader.next_record().unwrap().is_none());
        }
    }
}
