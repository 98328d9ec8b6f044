//! A checkpoint, written: values go to one shard as they come, and the index tells where they stand.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tightfit_core::{Account, Buffer, MemoryBudget, block_bytes};

use super::with_ending;
use crate::graph_def::TensorDef;
use crate::source::SourceFile;
use crate::table::write::{TableWriter, masked};

/// Bytes that are copied at a time.
const PIECE_BYTES: usize = 256 << 10;

/// What the index says of a tensor before its shape.
const ENTRY_BYTES: u64 = 96;

/// Writes the values of a checkpoint to its only shard, and then its index.
#[derive(Debug)]
pub struct BundleWriter<W> {
    data: W,
    offset: u64,
    /// Names with what the index says of them.
    entries: Vec<(Box<str>, Vec<u8>)>,
    memory: Account,
    scratch: Buffer,
}

/// The files of a checkpoint of one shard: the values, and the index.
pub fn files(prefix: &Path) -> [PathBuf; 2] {
    [with_ending(prefix, ".data-00000-of-00001"), with_ending(prefix, ".index")]
}

impl<W: Write> BundleWriter<W> {
    /// A checkpoint without tensors, which takes 256 KiB of `budget`.
    ///
    /// # Errors
    /// The budget's.
    pub fn new(data: W, budget: &MemoryBudget) -> io::Result<Self> {
        let scratch = Buffer::new(budget, "copying tensor values", PIECE_BYTES)?;
        let memory = Account::new(budget, "index of a checkpoint that is written");
        Ok(BundleWriter { data, offset: 0, entries: Vec::new(), memory, scratch })
    }

    /// Adds a tensor of elements of fixed size, whose values in a file, if it has any there, are in `source`.
    ///
    /// # Errors
    /// Those of the output, of the budget, and a [`crate::FormatError`] inside an [`io::Error`] for values that cannot be
    /// read, strings among them.
    pub fn tensor(&mut self, name: &str, tensor: &TensorDef, source: &SourceFile) -> io::Result<()> {
        let strings =
            || io::Error::new(io::ErrorKind::InvalidInput, format!("'{name}' has no plain elements"));
        let bytes = tensor.bytes().ok_or_else(strings)?;
        let mut crc = 0;
        let mut done = 0;
        while done < bytes {
            let count = (bytes - done).min(PIECE_BYTES as u64) as usize;
            let piece = self.scratch.get_mut(..count).ok_or_else(|| crate::defect("a piece is too large"))?;
            tensor.read_at(source, done, piece).map_err(io::Error::other)?;
            crc = crc32c::crc32c_append(crc, piece);
            self.data.write_all(piece)?;
            done += count as u64;
        }
        let entry = entry(tensor, self.offset, bytes, crc);
        self.offset += bytes;
        let held = block_bytes(name.len() as u64) + block_bytes(entry.capacity() as u64) + ENTRY_BYTES;
        self.memory.grow(held)?;
        self.entries.push((name.into(), entry));
        Ok(())
    }

    /// Bytes of values so far.
    pub fn bytes(&self) -> u64 {
        self.offset
    }

    /// Writes the index, and flushes both.
    ///
    /// # Errors
    /// Those of the outputs, and a name that two tensors have.
    pub fn finish(mut self, index: impl Write) -> io::Result<()> {
        self.data.flush()?;
        self.entries.sort();
        if let Some(pair) = self.entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let why = format!("two tensors are called '{}'", pair[0].0);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let mut table = TableWriter::new(index);
        // One shard, the low byte first, version 1.
        table.add(b"", &[0x08, 1, 0x1a, 2, 0x08, 1])?;
        for (name, entry) in &self.entries {
            table.add(name.as_bytes(), entry)?;
        }
        table.finish()?.flush()
    }
}

/// What the index says of a tensor (tensor_bundle.proto's `BundleEntryProto`).
fn entry(tensor: &TensorDef, offset: u64, bytes: u64, crc: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(ENTRY_BYTES as usize);
    number(&mut out, 1, u64::from(tensor.dtype.unsigned_abs()));
    let mut shape = Vec::new();
    for size in &tensor.shape {
        let mut dim = Vec::new();
        number(&mut dim, 1, *size as u64);
        message(&mut shape, 2, &dim);
    }
    message(&mut out, 2, &shape);
    number(&mut out, 4, offset);
    number(&mut out, 5, bytes);
    out.push(6 << 3 | 5);
    out.extend_from_slice(&masked(crc).to_le_bytes());
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(out: &mut Vec<u8>, field: u8, value: u64) {
    if value > 0 {
        out.push(field << 3);
        varint(out, value);
    }
}

fn message(out: &mut Vec<u8>, field: u8, body: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, body.len() as u64);
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph_def::{InlineBytes, TensorContent};
    use crate::tensor_bundle::TensorBundle;

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let folder = std::env::temp_dir().join(format!("tightfit-bundle-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let prefix = folder.join("variables");
        let [data, index] = files(&prefix);
        let budget = MemoryBudget::new(4 << 20);
        let any = folder.join("any");
        std::fs::write(&any, b"12345678").unwrap();
        let source = SourceFile::open(&any).unwrap();
        let mut writer = BundleWriter::new(std::fs::File::create(&data).unwrap(), &budget).unwrap();
        let tensor = |shape: &[i64], content| TensorDef { dtype: 1, shape: shape.to_vec(), content };
        let in_file = tensor(&[2], TensorContent::File { offset: 0, bytes: 8 });
        // One element that stands for all.
        let same = TensorContent::Inline(InlineBytes::Small(2.5f32.to_le_bytes().into()));
        let large = tensor(&[300, 1000], same);
        writer.tensor("b", &in_file, &source).unwrap();
        writer.tensor("a/large", &large, &source).unwrap();
        writer
            .tensor("none", &tensor(&[0, 3], TensorContent::Inline(InlineBytes::Small([].into()))), &source)
            .unwrap();
        let strings = TensorDef { dtype: 7, shape: vec![1], content: TensorContent::Strings(vec![]) };
        assert!(writer.tensor("s", &strings, &source).is_err());
        writer.finish(std::fs::File::create(&index).unwrap()).unwrap();
        let bundle = TensorBundle::open(&prefix, &budget).unwrap();
        let names: Vec<&str> = bundle.entries().map(|(name, _)| name).collect();
        assert_eq!(names, ["a/large", "b", "none"]);
        let mut memory = budget.try_reserve("test", 0).unwrap();
        let mut read = |name: &str, bytes: usize| {
            let tensor = bundle.tensor(name, "", &mut memory).unwrap();
            let mut out = vec![0; bytes];
            tensor.read_into(&source, &mut out).unwrap();
            out
        };
        assert_eq!(read("b", 8), b"12345678");
        assert!(read("a/large", 1_200_000).chunks(4).all(|value| value == 2.5f32.to_le_bytes()));
        assert_eq!(bundle.entry("none").unwrap().shape, [0, 3]);
        // A byte that changes is noticed.
        let mut bytes = std::fs::read(&data).unwrap();
        bytes[3] ^= 1;
        std::fs::write(&data, bytes).unwrap();
        let bundle = TensorBundle::open(&prefix, &budget).unwrap();
        let tensor = bundle.tensor("b", "", &mut memory).unwrap();
        assert!(tensor.read_into(&source, &mut [0; 8]).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
