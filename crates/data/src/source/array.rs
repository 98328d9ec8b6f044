//! The rows of one array in a file, lent out of a window that holds several.
//!
//! In C order rows stand one after the other. In Fortran order the values of a row lie as far apart as there are rows,
//! and what stands together is one value of many rows: so as many rows as fit the window are put together at once, out
//! of one run for each value, and no more of the file is read at a time.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use tightfit_core::{Buffer, MAX_RANK};
use tightfit_format::npy::{NpyHeader, swap};
use tightfit_format::{FormatError, Place, Problem};

use crate::error::{Needed, RowFault, clamped};
use crate::storage::StoredFile;

/// A window that is smaller than what is read into it.
const NO_ROOM: &str = "the window of an array has no room for its rows";

/// What runs are read through; where rows are few, several at once.
const RUN_BYTES: usize = 16 << 10;

/// Runs that are at most this many times their size apart are read together with what lies between them.
const MAX_GAPS: usize = 4;

/// A row that cannot be read: its number and where it begins, and why.
pub(crate) type Fault = (Option<(u64, u64)>, RowFault);

/// See the module.
pub(crate) struct ArrayRows {
    path: Arc<Path>,
    /// Read at places of its own, so that several arrays of a file share it.
    file: Arc<StoredFile>,
    header: NpyHeader,
    data_offset: u64,
    window: Buffer,
    /// The rows in the window, and the one of them that is next.
    first: u64,
    read: usize,
    next: usize,
    /// True after an error: nothing after it can be read.
    is_broken: bool,
}

/// Reads from a place in a file, and leaves the file's own position alone.
struct At<'a> {
    file: &'a StoredFile,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read_at(out, self.offset)?;
        self.offset += bytes as u64;
        Ok(bytes)
    }
}

/// The header of the .npy file that begins at byte `offset` of `file`.
pub(crate) fn header_at(file: &StoredFile, offset: u64, path: &Arc<Path>) -> Result<NpyHeader, FormatError> {
    NpyHeader::read(&mut At { file, offset }, path)
}

impl ArrayRows {
    /// The rows of the .npy file with this header that begins at byte `offset` of `file`, from number `row` on, read
    /// through `window`.
    pub fn new(
        path: Arc<Path>,
        file: Arc<StoredFile>,
        offset: u64,
        header: NpyHeader,
        row: u64,
        window: Buffer,
    ) -> ArrayRows {
        let data_offset = offset.saturating_add(header.data_offset);
        let first = row.min(header.rows());
        ArrayRows { path, file, header, data_offset, window, first, read: 0, next: 0, is_broken: false }
    }

    /// The header.
    pub fn header(&self) -> &NpyHeader {
        &self.header
    }

    /// The number of the row that comes next.
    pub fn next_row(&self) -> u64 {
        self.first + self.next as u64
    }

    /// The number of the current row.
    pub fn row(&self) -> u64 {
        self.next_row().saturating_sub(1)
    }

    /// Where row `row` begins, or where its first value is.
    pub fn offset(&self, row: u64) -> u64 {
        let bytes =
            if self.header.is_fortran_order { self.header.element.bytes() } else { self.header.row_bytes() };
        self.data_offset.saturating_add(row.saturating_mul(bytes as u64))
    }

    /// Bytes of the window.
    pub fn window_bytes(&self) -> usize {
        self.window.len()
    }

    /// The window, for another file.
    pub fn into_window(self) -> Buffer {
        self.window
    }

    /// Goes on to the next row; false when there is none.
    ///
    /// # Errors
    /// [`RowFault::Array`], and [`RowFault::DecodeBytes`] when a row is larger than the window. There is no row after.
    pub fn advance(&mut self) -> Result<bool, Fault> {
        if self.next == self.read {
            self.first += std::mem::take(&mut self.read) as u64;
            self.next = 0;
            if self.is_broken || self.first >= self.header.rows() {
                return Ok(false);
            }
            match self.fill() {
                Ok(rows) => self.read = rows,
                Err(fault) => {
                    self.is_broken = true;
                    return Err((Some((self.first, self.offset(self.first))), fault));
                }
            }
        }
        self.next += 1;
        Ok(true)
    }

    /// The current row, row-major and little-endian.
    pub fn current(&self) -> &[u8] {
        let row_bytes = self.header.row_bytes();
        // Before the first there is none; `fill` says how many there are.
        let Some(row) = self.next.checked_sub(1) else { return &[] };
        &self.window[row * row_bytes..][..row_bytes]
    }

    /// Puts rows from `first` on into the window; how many, at least 1.
    fn fill(&mut self) -> Result<usize, RowFault> {
        let row_bytes = self.header.row_bytes();
        let left = clamped(self.header.rows() - self.first);
        let rows = self.window.len().checked_div(row_bytes).unwrap_or(left).min(left);
        if rows == 0 {
            let (needed_bytes, planned_bytes) = (row_bytes as u64, self.window.len() as u64);
            return Err(RowFault::DecodeBytes { needed_bytes, planned_bytes });
        }
        let bytes = rows * row_bytes;
        let whole = if self.header.is_fortran_order {
            self.gather(rows).map_err(|problem| self.error(problem))?;
            rows
        } else {
            let offset = self.offset(self.first);
            let out = self.window.get_mut(..bytes).needed(NO_ROOM)?;
            let have = self.file.read_at(out, offset).map_err(|e| self.error(Problem::Io(e)))?;
            // Rows before the place where a file breaks off are good; the next call says that it does.
            have.checked_div(row_bytes).unwrap_or(rows)
        };
        if whole == 0 {
            let (what, needed_bytes) = ("a row", row_bytes as u64);
            let present_bytes = self.file.len().saturating_sub(self.offset(self.first));
            return Err(self.error(Problem::Truncated { what, needed_bytes, present_bytes }));
        }
        if self.header.is_big_endian {
            let filled = self.window.get_mut(..whole * row_bytes).needed(NO_ROOM)?;
            swap(filled, self.header.element.swapped_bytes());
        }
        Ok(whole)
    }

    fn error(&self, problem: Problem) -> RowFault {
        let place = Place::Offset(self.offset(self.first));
        RowFault::Array(FormatError::new(&self.path, place, problem))
    }

    /// Puts `rows` rows of an array in Fortran order together.
    fn gather(&mut self, rows: usize) -> Result<(), Problem> {
        let value_bytes = self.header.element.bytes();
        let shape = self.header.shape;
        let row_shape = shape.get(1..).unwrap_or_default();
        let values = row_shape.iter().product::<usize>();
        if value_bytes == 0 || values == 0 {
            return Ok(());
        }
        // The place of a value in its row, for each dimension.
        let mut strides = [0; MAX_RANK];
        let mut stride = 1;
        for (to, dim) in strides.iter_mut().take(row_shape.len()).rev().zip(row_shape.iter().rev()) {
            *to = stride;
            stride *= dim;
        }
        let column_bytes = self.header.rows().saturating_mul(value_bytes as u64);
        let run_bytes = rows * value_bytes;
        let is_dense = column_bytes <= (run_bytes as u64).saturating_mul(MAX_GAPS as u64);
        let mut run = Run { bytes: [0; RUN_BYTES], from: 0, filled: 0 };
        let mut index = [0usize; MAX_RANK];
        for column in 0..values as u64 {
            let at: usize = index.iter().zip(strides).map(|(i, stride)| i * stride).sum();
            let from = self.data_offset + column * column_bytes + self.first * value_bytes as u64;
            let per_run = (RUN_BYTES / value_bytes).max(1);
            for part in (0..rows).step_by(per_run) {
                let count = per_run.min(rows - part);
                let offset = from + (part * value_bytes) as u64;
                let found = run.get(&self.file, offset, count * value_bytes, is_dense)?;
                for (i, value) in found.chunks_exact(value_bytes).enumerate() {
                    let to = ((part + i) * values + at) * value_bytes;
                    let to = self.window.get_mut(to..to + value_bytes).needed(NO_ROOM);
                    to.map_err(|defect| Problem::Io(defect.into()))?.copy_from_slice(value);
                }
            }
            for (i, dim) in index.iter_mut().zip(row_shape) {
                *i += 1;
                if *i < *dim {
                    break;
                }
                *i = 0;
            }
        }
        Ok(())
    }
}

/// A piece of the file.
struct Run {
    bytes: [u8; RUN_BYTES],
    from: u64,
    filled: usize,
}

impl Run {
    /// The `bytes` bytes at `offset`; with them what follows, if it is `dense` with what will be wanted next.
    fn get(
        &mut self,
        file: &StoredFile,
        offset: u64,
        bytes: usize,
        is_dense: bool,
    ) -> Result<&[u8], Problem> {
        let advice = "save it with numpy.ascontiguousarray";
        let is_here =
            |from: u64, filled: usize| from <= offset && offset + bytes as u64 <= from + filled as u64;
        if !is_here(self.from, self.filled) {
            let wanted = if is_dense { RUN_BYTES } else { bytes };
            let Some(room) = self.bytes.get_mut(..wanted) else {
                let what = "strings of more than 16 KiB in Fortran order".to_string();
                return Err(Problem::Unsupported { what, advice });
            };
            (self.from, self.filled) = (offset, file.read_at(room, offset).map_err(Problem::Io)?);
            if !is_here(self.from, self.filled) {
                let (needed_bytes, present_bytes) = (bytes as u64, self.filled as u64);
                return Err(Problem::Truncated { what: "the data", needed_bytes, present_bytes });
            }
        }
        let from = (offset - self.from) as usize;
        // All of it is here, as was looked at above.
        Ok(&self.bytes[from..from + bytes])
    }
}
