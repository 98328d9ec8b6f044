//! Arrays whose row count, or longest string, is known only at the end: they grow in a nameless temporary file, from
//! which a .npy file or an entry of an .npz file is then written, with bounded memory.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use tightfit_core::{DType, Shape};

use crate::npy::{NpyType, header_of};

/// Heap bytes that a spool holds while it grows and while it is written out.
pub const SPOOL_BYTES: usize = 16 << 10;

/// The first dimension of a spooled array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// As many as will have been pushed.
    Counted,
    /// There is no dimension for rows: what is pushed is one array of the row shape.
    None,
}

/// An array that grows in a temporary file.
#[derive(Debug)]
pub struct ArraySpool {
    file: BufWriter<File>,
    dtype: DType,
    rows: Rows,
    row_shape: Shape,
    elements: u64,
    longest_bytes: usize,
}

impl ArraySpool {
    /// An empty array of `row_shape` rows. The temporary file is made in `folder`, which should be where the result
    /// goes; it has no name, so nothing of it stays behind however the process ends.
    ///
    /// # Errors
    /// Whatever the system reports.
    pub fn create(folder: &Path, dtype: DType, rows: Rows, row_shape: Shape) -> io::Result<Self> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let file = BufWriter::with_capacity(SPOOL_BYTES, tempfile::tempfile_in(folder)?);
        Ok(ArraySpool { file, dtype, rows, row_shape, elements: 0, longest_bytes: 0 })
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Appends elements of any type but strings.
    ///
    /// # Errors
    /// Whatever the system reports, and `InvalidInput` for strings and for bytes that are not whole elements.
    pub fn push(&mut self, elements: &[u8]) -> io::Result<()> {
        if self.dtype == DType::String || !elements.len().is_multiple_of(self.dtype.bytes()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not whole elements"));
        }
        self.file.write_all(elements)?;
        self.elements += (elements.len() / self.dtype.bytes()) as u64;
        Ok(())
    }

    /// Appends one string. numpy does not keep zero bytes at its end.
    ///
    /// # Errors
    /// Whatever the system reports, and `InvalidInput` when the array is not one of strings.
    pub fn push_string(&mut self, text: &[u8]) -> io::Result<()> {
        if self.dtype != DType::String {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an array of strings"));
        }
        self.file.write_all(&(text.len() as u64).to_le_bytes())?;
        self.file.write_all(text)?;
        self.elements += 1;
        self.longest_bytes = self.longest_bytes.max(text.len());
        Ok(())
    }

    fn element(&self) -> NpyType {
        match self.dtype {
            // numpy reads |S0 as |S1, so an array of empty strings is written as the latter.
            DType::String => NpyType::Bytes(self.longest_bytes.max(1)),
            dtype => NpyType::Plain(dtype),
        }
    }

    fn header(&self) -> io::Result<Vec<u8>> {
        let row = self.row_shape.elements() as u64;
        let mut dims: Vec<u64> = self.row_shape.iter().map(|d| *d as u64).collect();
        let is_whole = match self.rows {
            Rows::Counted => {
                dims.insert(0, self.elements.checked_div(row).unwrap_or(0));
                self.elements.checked_rem(row).unwrap_or(0) == 0
            }
            Rows::None => self.elements == row,
        };
        if !is_whole {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not whole rows"));
        }
        Ok(header_of(self.element(), &dims))
    }

    /// Bytes of the .npy file.
    ///
    /// # Errors
    /// `InvalidInput` when what was pushed is no whole number of rows.
    pub fn npy_bytes(&self) -> io::Result<u64> {
        let data_bytes = self.elements.checked_mul(self.element().bytes() as u64);
        let too_large = || io::Error::new(io::ErrorKind::InvalidInput, "an array of more than 2^64 bytes");
        Ok(self.header()?.len() as u64 + data_bytes.ok_or_else(too_large)?)
    }

    /// Writes the .npy file.
    ///
    /// # Errors
    /// Whatever the system or `write` reports, and `InvalidInput` as [`ArraySpool::npy_bytes`].
    pub fn write_npy(mut self, write: &mut impl Write) -> io::Result<()> {
        write.write_all(&self.header()?)?;
        self.file.flush()?;
        self.file.get_mut().rewind()?;
        let width = self.element().bytes();
        let mut read = BufReader::with_capacity(SPOOL_BYTES, self.file.get_mut());
        if self.dtype != DType::String {
            io::copy(&mut read, write)?;
            return Ok(());
        }
        for _ in 0..self.elements {
            let mut length = [0; 8];
            read.read_exact(&mut length)?;
            let bytes = u64::from_le_bytes(length);
            if io::copy(&mut (&mut read).take(bytes), write)? < bytes {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            io::copy(&mut io::repeat(0).take((width as u64).saturating_sub(bytes)), write)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::npy::{NpyReader, trim_zeros};

    #[test]
    fn strings_get_the_longest_width() {
        let folder = std::env::temp_dir();
        let row_shape = Shape::new(&[2]).unwrap();
        let mut spool = ArraySpool::create(&folder, DType::String, Rows::Counted, row_shape).unwrap();
        let texts: [&[u8]; 4] = [b"a", b"", b"longest", b"xyz"];
        for text in texts {
            spool.push_string(text).unwrap();
        }
        assert!(spool.push(&[0]).is_err());
        let (mut bytes, expected_bytes) = (Vec::new(), spool.npy_bytes().unwrap());
        spool.write_npy(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, expected_bytes);
        let mut reader = NpyReader::new(Arc::from(folder), bytes.as_slice()).unwrap();
        assert_eq!((reader.header().element, &*reader.header().shape), (NpyType::Bytes(7), &[2, 2][..]));
        let mut rows = [0; 28];
        assert_eq!(reader.read_rows(&mut rows).unwrap(), 2);
        assert_eq!(rows.chunks(7).map(trim_zeros).collect::<Vec<_>>(), texts);
    }

    #[test]
    fn whole_arrays_and_broken_rows() {
        let folder = std::env::temp_dir();
        let mut scalar = ArraySpool::create(&folder, DType::F32, Rows::None, Shape::SCALAR).unwrap();
        assert!(scalar.npy_bytes().is_err());
        scalar.push(&1.5f32.to_le_bytes()).unwrap();
        let mut bytes = Vec::new();
        scalar.write_npy(&mut bytes).unwrap();
        let reader = NpyReader::new(Arc::from(folder.clone()), bytes.as_slice()).unwrap();
        assert_eq!(reader.header().shape, Shape::SCALAR);
        let row_shape = Shape::new(&[3]).unwrap();
        let mut rows = ArraySpool::create(&folder, DType::U8, Rows::Counted, row_shape).unwrap();
        rows.push(&[1, 2, 3, 4]).unwrap();
        assert!(rows.write_npy(&mut Vec::new()).is_err());
    }
}
