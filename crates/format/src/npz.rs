//! NumPy's .npz files: a zip file of one `<name>.npy` per array.

use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{DType, MemoryBudget, Shape};

use crate::error::FormatError;
use crate::npy::NpyReader;
use crate::spool::{ArraySpool, Rows};
use crate::zip::{Content, ZipReader, ZipWriter};

/// Arrays that grow side by side and become one .npz file at the end. Until then each is spooled into a temporary
/// file, because the entries of a zip file stand one after the other.
#[derive(Debug)]
pub struct NpzWriter {
    folder: PathBuf,
    arrays: Vec<(String, ArraySpool)>,
}

impl NpzWriter {
    /// No arrays yet; their temporary files are made in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        NpzWriter { folder: folder.into(), arrays: Vec::new() }
    }

    /// Adds an array of this name and returns its number. It takes [`crate::spool::SPOOL_BYTES`] of memory.
    ///
    /// # Errors
    /// Whatever the system reports.
    pub fn add(&mut self, name: &str, dtype: DType, rows: Rows, row_shape: Shape) -> io::Result<usize> {
        let spool = ArraySpool::create(&self.folder, dtype, rows, row_shape)?;
        self.arrays.push((name.to_string(), spool));
        Ok(self.arrays.len() - 1)
    }

    /// The array of this number, to push into.
    pub fn array(&mut self, index: usize) -> Option<&mut ArraySpool> {
        self.arrays.get_mut(index).map(|(_, spool)| spool)
    }

    /// Writes the .npz file to `write`, positioned at its start; what was written to, not flushed.
    ///
    /// # Errors
    /// Whatever the system or `write` reports, and `InvalidInput` when an array has broken rows.
    pub fn finish<W: Write + Seek>(self, write: W) -> io::Result<W> {
        let mut zip = ZipWriter::new(write);
        for (name, spool) in self.arrays {
            zip.entry(&format!("{name}.npy"), spool.npy_bytes()?, |content| spool.write_npy(content))?;
        }
        zip.finish()
    }
}

/// Reads the arrays of an .npz file.
#[derive(Debug)]
pub struct NpzReader<R> {
    zip: ZipReader<R>,
}

impl<R: Read + Seek> NpzReader<R> {
    /// Reads the directory of `read`, which is called `path` in errors; memory comes out of `budget`.
    ///
    /// # Errors
    /// [`FormatError`] when it is no zip file, or does not fit the budget.
    pub fn new(path: Arc<Path>, read: R, budget: &MemoryBudget) -> Result<Self, FormatError> {
        Ok(NpzReader { zip: ZipReader::new(path, read, budget)? })
    }

    /// The arrays' names in the file's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.zip.entries().iter().map(|e| e.name.strip_suffix(".npy").unwrap_or(&e.name))
    }

    /// The zip file that it is.
    pub fn zip(&self) -> &ZipReader<R> {
        &self.zip
    }

    /// A reader of the array `name`, or `None` when there is none.
    ///
    /// # Errors
    /// [`FormatError`] when its header cannot be read. Its CRC is checked when its last row is read.
    pub fn array(&mut self, name: &str) -> Result<Option<NpyReader<Content<&mut R>>>, FormatError> {
        let Some(index) = self.names().position(|n| n == name) else { return Ok(None) };
        let path = self.zip.path().join(name);
        let content = self.zip.content(index)?;
        NpyReader::new(Arc::from(path), content).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use flate2::write::DeflateEncoder;
    use proptest::prelude::*;

    use super::*;

    fn open(bytes: &[u8]) -> Result<NpzReader<Cursor<&[u8]>>, FormatError> {
        NpzReader::new(Arc::from(Path::new("a.npz")), Cursor::new(bytes), &MemoryBudget::new(1 << 20))
    }

    fn two_arrays() -> Vec<u8> {
        let mut npz = NpzWriter::new(std::env::temp_dir());
        let numbers = npz.add("dense/out:0", DType::F32, Rows::Counted, Shape::new(&[2]).unwrap()).unwrap();
        let names = npz.add("names", DType::String, Rows::Counted, Shape::SCALAR).unwrap();
        for row in 0..5 {
            let values = [row as f32, -1.0];
            npz.array(numbers).unwrap().push(bytemuck::cast_slice(&values)).unwrap();
            npz.array(names).unwrap().push_string(&b"abcde"[..row]).unwrap();
        }
        npz.finish(Cursor::new(Vec::new())).unwrap().into_inner()
    }

    fn read_numbers(bytes: &[u8]) -> Result<Vec<f32>, FormatError> {
        let mut npz = open(bytes)?;
        let mut out = vec![0f32; 10];
        if let Some(mut array) = npz.array("dense/out:0")? {
            array.read_all(bytemuck::cast_slice_mut(&mut out))?;
        }
        Ok(out)
    }

    #[test]
    fn reads_back_what_was_written() {
        let bytes = two_arrays();
        let npz = open(&bytes).unwrap();
        assert_eq!(npz.names().collect::<Vec<_>>(), ["dense/out:0", "names"]);
        assert_eq!(read_numbers(&bytes).unwrap(), [0.0, -1.0, 1.0, -1.0, 2.0, -1.0, 3.0, -1.0, 4.0, -1.0]);
        let mut npz = open(&bytes).unwrap();
        let mut names = npz.array("names").unwrap().unwrap();
        assert_eq!((names.header().rows(), names.header().element.bytes()), (5, 4));
        let mut out = [0; 20];
        assert_eq!(names.read_rows(&mut out).unwrap(), 5);
        assert_eq!(&out, b"\0\0\0\0a\0\0\0ab\0\0abc\0abcd");
        assert!(npz.array("absent").unwrap().is_none());
    }

    #[test]
    fn unpacks_deflated_entries() {
        let mut npy = Vec::new();
        let values: Vec<i64> = (0..1000).collect();
        let shape = Shape::new(&[1000]).unwrap();
        let view = tightfit_core::TensorView::from_slice(shape, &values).unwrap();
        crate::npy::write_tensor(&mut npy, &view).unwrap();
        let mut deflate = DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        deflate.write_all(&npy).unwrap();
        let packed = deflate.finish().unwrap();
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.entry("x.npy", packed.len() as u64, |w| w.write_all(&packed)).unwrap();
        let mut bytes = zip.finish().unwrap().into_inner();
        // Turn the stored entry into a deflated one of the content's CRC and size.
        let central = bytes.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
        bytes[central + 10] = 8;
        bytes[central + 16..central + 20].copy_from_slice(&crc32fast::hash(&npy).to_le_bytes());
        bytes[central + 24..central + 28].copy_from_slice(&(npy.len() as u32).to_le_bytes());
        let mut npz = open(&bytes).unwrap();
        let mut out = vec![0i64; 1000];
        npz.array("x").unwrap().unwrap().read_all(bytemuck::cast_slice_mut(&mut out)).unwrap();
        assert_eq!(out, values);
    }

    #[test]
    fn a_wrong_crc_and_a_small_budget_are_errors() {
        let mut bytes = two_arrays();
        let data = bytes.windows(4).position(|w| w == 4f32.to_le_bytes()).unwrap();
        bytes[data] ^= 1;
        assert!(read_numbers(&bytes).unwrap_err().to_string().contains("CRC"));
        let budget = MemoryBudget::new(10);
        let error = NpzReader::new(Arc::from(Path::new("a.npz")), Cursor::new(&bytes), &budget).unwrap_err();
        assert!(error.as_budget().is_some());
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic_nor_pass_the_budget(
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = two_arrays();
            // The directory is what the parser trusts most, so half of the damage goes there.
            let central = bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
            for (i, (at, byte)) in flips.iter().enumerate() {
                let from = if i % 2 == 0 { central } else { 0 };
                let at = from + at.index(bytes.len() - from);
                bytes[at] = *byte;
            }
            let _ = read_numbers(&bytes);
            let _ = read_numbers(&bytes[..cut.index(bytes.len())]);
        }
    }
}
