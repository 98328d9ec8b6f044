//! The rows of a .npy file, one after the other, or all at once.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::{NpyHeader, swap};
use crate::error::{FormatError, Place, Problem};
use crate::tfrecord::read_up_to;

/// Reads the rows of a .npy file in order.
#[derive(Debug)]
pub struct NpyReader<R> {
    path: Arc<Path>,
    read: R,
    header: NpyHeader,
    row: u64,
    /// Bytes of a row that the file broke off in.
    cut_off_bytes: usize,
}

impl<R: Read> NpyReader<R> {
    /// Reads the header of `read`, which is called `path` in errors.
    ///
    /// # Errors
    /// As [`NpyHeader::read`].
    pub fn new(path: Arc<Path>, mut read: R) -> Result<Self, FormatError> {
        let header = NpyHeader::read(&mut read, &path)?;
        Ok(NpyReader { path, read, header, row: 0, cut_off_bytes: 0 })
    }

    /// The header.
    pub fn header(&self) -> &NpyHeader {
        &self.header
    }

    /// The number of the next row.
    pub fn row(&self) -> u64 {
        self.row
    }

    /// Fills `out` with as many whole rows as it has room for and the file still has; how many. Multi-byte elements
    /// come out little-endian.
    ///
    /// # Errors
    /// [`FormatError`] when the file is shorter than its header says, cannot be read, or is in Fortran order, whose
    /// rows are scattered over the whole file.
    pub fn read_rows(&mut self, out: &mut [u8]) -> Result<usize, FormatError> {
        if self.header.is_fortran_order {
            return Err(self.error(Problem::Unsupported {
                what: "rows of an array in Fortran order".to_string(),
                advice: "save it with numpy.ascontiguousarray",
            }));
        }
        let left = self.header.rows() - self.row;
        let row_bytes = self.header.row_bytes();
        let room = out.len().checked_div(row_bytes).map_or(left, |rows| (rows as u64).min(left));
        let wanted_bytes = room as usize * row_bytes;
        let Some(wanted) = out.get_mut(..wanted_bytes) else {
            return Err(self.error(Problem::Io(crate::defect("rows are longer than their room"))));
        };
        let have = self.read_up_to(wanted)?;
        // Rows before the place where a file breaks off are good; the next call says that it does.
        let rows = have.checked_div(row_bytes).map_or(room, |rows| rows as u64);
        if rows == 0 && wanted_bytes > 0 {
            let (needed_bytes, present_bytes) = (row_bytes as u64, (have + self.cut_off_bytes) as u64);
            return Err(self.error(Problem::Truncated { what: "a row", needed_bytes, present_bytes }));
        }
        // Rows of no bytes are not cut off.
        self.cut_off_bytes = have.checked_rem(row_bytes).unwrap_or(0);
        self.row += rows;
        Ok(rows as usize)
    }

    /// Fills `out`, which must have exactly the data's bytes, with the whole array in C order, turning one in Fortran
    /// order.
    ///
    /// # Errors
    /// [`FormatError`] as [`NpyReader::read_rows`], and when `out` has another size.
    pub fn read_all(&mut self, out: &mut [u8]) -> Result<(), FormatError> {
        if out.len() as u64 != self.header.data_bytes() || self.row > 0 {
            let found = format!("{} bytes", out.len());
            return Err(
                self.error(Problem::invalid(format!("{} bytes of room", self.header.data_bytes()), found))
            );
        }
        if !self.header.is_fortran_order {
            self.fill(out)?;
            self.row = self.header.rows();
            return Ok(());
        }
        let shape = self.header.shape;
        let strides = shape.strides();
        let bytes = self.header.element.bytes();
        let mut index = [0usize; tightfit_core::MAX_RANK];
        let mut chunk = [0; 4096];
        let per_chunk = (chunk.len() / bytes.max(1)).max(1);
        let elements = shape.elements();
        let mut done = 0;
        while done < elements {
            let count = per_chunk.min(elements - done);
            let Some(part) = chunk.get_mut(..count * bytes) else {
                return Err(self.error(Problem::Unsupported {
                    what: "strings of more than 4096 bytes in Fortran order".to_string(),
                    advice: "save it with numpy.ascontiguousarray",
                }));
            };
            self.fill(part)?;
            for element in part.chunks_exact(bytes.max(1)) {
                let at: usize = index.iter().zip(strides).map(|(i, stride)| i * stride).sum();
                if let Some(to) = out.get_mut(at * bytes..(at + 1) * bytes) {
                    to.copy_from_slice(element);
                }
                for (i, dim) in index.iter_mut().zip(shape.iter()) {
                    *i += 1;
                    if *i < *dim {
                        break;
                    }
                    *i = 0;
                }
            }
            done += count;
        }
        self.row = self.header.rows();
        Ok(())
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), FormatError> {
        let have = self.read_up_to(out)?;
        if have < out.len() {
            let (needed_bytes, present_bytes) = (out.len() as u64, have as u64);
            return Err(self.error(Problem::Truncated { what: "the data", needed_bytes, present_bytes }));
        }
        Ok(())
    }

    fn read_up_to(&mut self, out: &mut [u8]) -> Result<usize, FormatError> {
        let found = read_up_to(&mut self.read, out).map_err(|e| self.error(Problem::Io(e)))?;
        if self.header.is_big_endian {
            swap(found, self.header.element.swapped_bytes());
        }
        Ok(found.len())
    }

    fn error(&self, problem: Problem) -> FormatError {
        let row_offset = self.row.saturating_mul(self.header.row_bytes() as u64);
        FormatError::new(&self.path, Place::Offset(self.header.data_offset + row_offset), problem)
    }
}

impl<R: Read + Seek> NpyReader<R> {
    /// Goes to row `row` of an array in C order.
    ///
    /// # Errors
    /// [`FormatError`] when the array has fewer rows, and when the position cannot be set.
    pub fn skip_to_row(&mut self, row: u64) -> Result<(), FormatError> {
        if row > self.header.rows() {
            let found = format!("{}", self.header.rows());
            return Err(self.error(Problem::invalid(format!("at least {row} rows"), found)));
        }
        let before_bytes = row.checked_mul(self.header.row_bytes() as u64);
        let offset = before_bytes.and_then(|bytes| self.header.data_offset.checked_add(bytes));
        let offset = offset.ok_or(io::ErrorKind::InvalidInput.into());
        offset
            .and_then(|offset| self.read.seek(SeekFrom::Start(offset)))
            .map_err(|error| self.error(Problem::Io(error)))?;
        self.row = row;
        Ok(())
    }
}
