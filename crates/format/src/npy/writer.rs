//! Writing .npy files: a tensor at once, or rows whose number is known at the end.

use std::io::{self, Seek, SeekFrom, Write};

use tightfit_core::{Shape, TensorView};

use super::NpyType;
use super::header::header;

/// Headers written are padded to this, which has room for any row count.
pub(super) const WRITTEN_HEADER_BYTES: usize = 384;

/// Writes `tensor`, which holds no strings, as a whole .npy file.
///
/// # Errors
/// Whatever `write` reports.
pub fn write_tensor(write: &mut impl Write, tensor: &TensorView<'_>) -> io::Result<()> {
    let dims = tensor.shape().iter().map(|d| *d as u64);
    write.write_all(&header(NpyType::Plain(tensor.dtype()), dims, 0))?;
    write.write_all(tensor.bytes())
}

/// Writes a .npy file row by row, the row count unknown until the end: the header is rewritten then.
#[derive(Debug)]
pub struct NpyWriter<W: Write + Seek> {
    write: W,
    start: u64,
    element: NpyType,
    row_shape: Shape,
    row_bytes: usize,
    rows: u64,
}

impl<W: Write + Seek> NpyWriter<W> {
    /// Begins a file at the position of `write`. Strings of unknown length cannot be written this way: spool them
    /// with [`crate::spool::ArraySpool`].
    ///
    /// # Errors
    /// Whatever `write` reports.
    pub fn new(mut write: W, element: NpyType, row_shape: Shape) -> io::Result<Self> {
        let start = write.stream_position()?;
        let row_bytes = row_shape.elements().saturating_mul(element.bytes());
        let mut writer = NpyWriter { write, start, element, row_shape, row_bytes, rows: 0 };
        writer.write_header()?;
        Ok(writer)
    }

    /// Appends whole rows.
    ///
    /// # Errors
    /// Whatever is written to reports, and `InvalidInput` when `bytes` are not whole rows.
    pub fn write_rows(&mut self, rows: usize, bytes: &[u8]) -> io::Result<()> {
        if rows.checked_mul(self.row_bytes) != Some(bytes.len()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not whole rows"));
        }
        self.write.write_all(bytes)?;
        self.rows += rows as u64;
        Ok(())
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the row count into the header and gives back what was written to, positioned at the end, not flushed.
    ///
    /// # Errors
    /// Whatever is written to reports.
    pub fn finish(mut self) -> io::Result<W> {
        self.write.seek(SeekFrom::Start(self.start))?;
        self.write_header()?;
        self.write.seek(SeekFrom::End(0))?;
        Ok(self.write)
    }

    fn write_header(&mut self) -> io::Result<()> {
        let dims = std::iter::once(self.rows).chain(self.row_shape.iter().map(|d| *d as u64));
        self.write.write_all(&header(self.element, dims, WRITTEN_HEADER_BYTES))
    }
}
