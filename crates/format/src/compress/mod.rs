//! Files read and written compressed, as TensorFlow's `TFRecordOptions(compression_type)` has them.

use std::io::{self, BufReader, Read, Write};

use flate2::write::{GzEncoder, ZlibEncoder};

use self::inflate::{Inflater, Wrapping};

pub mod inflate;

/// Heap bytes that a reader of a compressed file takes beside its window: the input buffer, and the inflater's
/// 32 KiB of history with its tables. To be reserved by whoever plans memory.
pub const INFLATE_BYTES: usize = INPUT_BYTES + (64 << 10);

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
}

impl Compression {
    /// TensorFlow's name: `""`, `"GZIP"` or `"ZLIB"`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => "GZIP",
            Compression::Zlib => "ZLIB",
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
    pub fn new(compression: Compression, write: W) -> Self {
        let level = flate2::Compression::default();
        match compression {
            Compression::None => Compressor::None(write),
            Compression::Gzip => Compressor::Gzip(Box::new(GzEncoder::new(write, level))),
            Compression::Zlib => Compressor::Zlib(Box::new(ZlibEncoder::new(write, level))),
        }
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

/// Reads through from `R`, unpacked or as it is. It takes [`INFLATE_BYTES`] when it
/// unpacks. Of a damaged file all bytes before the damage are read before the error is.
pub enum Decompressor<R: Read> {
    /// As it is.
    None(R),
    /// RFC 1952, also of several members, or RFC 1950.
    Inflated(Box<Inflater<BufReader<R>>>),
}

impl<R: Read> Decompressor<R> {
    /// A reader from `read`.
    pub fn new(compression: Compression, read: R) -> Self {
        let wrapping = match compression {
            Compression::None => return Decompressor::None(read),
            Compression::Gzip => Wrapping::Gzip,
            Compression::Zlib => Wrapping::Zlib,
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
            let mut writer = RecordWriter::new(Compressor::new(compression, Vec::new()));
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
