//! The constants of a graph that is written: where their values are, and in which order of axes the file has them.

use std::io::{self, Write};

use tightfit_core::{Buffer, MemoryBudget};
use tightfit_format::{InlineBytes, SourceFile, TensorContent, TensorDef};

/// Bytes that are read and written at a time.
const PIECE_BYTES: usize = 256 << 10;

/// The most bytes of a constant that is transposed at a time.
const BAND_BYTES: usize = 4 << 20;

/// A constant.
#[derive(Debug, Clone)]
pub struct Constant {
    /// Where the values are.
    pub tensor: TensorDef,
    /// Rows and columns of the matrix that is written transposed; `None` for values that are written as they are.
    pub transposed: Option<[u64; 2]>,
}

impl Constant {
    /// Values as they are.
    pub fn plain(tensor: TensorDef) -> Constant {
        Constant { tensor, transposed: None }
    }

    /// A vector of small values.
    pub fn of_bytes(dtype: i32, shape: &[i64], bytes: Vec<u8>) -> Constant {
        let content = TensorContent::Inline(InlineBytes::Small(bytes.into()));
        Constant::plain(TensorDef { dtype, shape: shape.to_vec(), content })
    }

    /// Writes the values.
    ///
    /// # Errors
    /// What reading and writing say, and the memory, in an [`io::Error`].
    pub fn write(&self, source: &SourceFile, out: &mut dyn Write, budget: &MemoryBudget) -> io::Result<()> {
        match self.transposed {
            Some(matrix) => self.write_transposed(matrix, source, out, budget),
            None => {
                let mut rest = self.tensor.bytes().unwrap_or(0);
                let bytes = PIECE_BYTES.min(rest as usize).max(1);
                let mut piece = buffer(budget, bytes)?;
                let mut at = 0;
                while rest > 0 {
                    let count = rest.min(bytes as u64);
                    let part = &mut piece[..count as usize];
                    self.tensor.read_at(source, at, part).map_err(io::Error::other)?;
                    out.write_all(part)?;
                    (at, rest) = (at + count, rest - count);
                }
                Ok(())
            }
        }
    }

    /// Writes bands of columns as rows: as many as the memory of a band holds, each read row by row.
    fn write_transposed(
        &self,
        [rows, columns]: [u64; 2],
        source: &SourceFile,
        out: &mut dyn Write,
        budget: &MemoryBudget,
    ) -> io::Result<()> {
        let size = self.tensor.element_bytes().unwrap_or(0);
        let (rows, columns) = (rows as usize, columns as usize);
        if rows == 0 || columns == 0 || size == 0 {
            return Ok(());
        }
        let band = (BAND_BYTES / (rows * size)).clamp(1, columns);
        let mut held = buffer(budget, band * rows * size)?;
        let mut row_part = buffer(budget, band * size)?;
        for first in (0..columns).step_by(band) {
            let width = band.min(columns - first);
            for row in 0..rows {
                let part = &mut row_part[..width * size];
                let at = ((row * columns + first) * size) as u64;
                self.tensor.read_at(source, at, part).map_err(io::Error::other)?;
                for (column, element) in part.chunks_exact(size).enumerate() {
                    held[(column * rows + row) * size..][..size].copy_from_slice(element);
                }
            }
            out.write_all(&held[..width * rows * size])?;
        }
        Ok(())
    }
}

fn buffer(budget: &MemoryBudget, bytes: usize) -> io::Result<Buffer> {
    Buffer::new(budget, "values on their way to the file", bytes).map_err(io::Error::other)
}
