//! The table, written: what [`super::for_each`] and TensorFlow read.

use std::io::{self, Write};

use super::{FOOTER_BYTES, Handle, MAGIC};

/// Bytes of a block from which on it ends.
const BLOCK_BYTES: usize = 4 << 10;

/// Entries from one that shares nothing with its neighbour to the next.
const RESTART_INTERVAL: usize = 16;

/// Takes entries in the order of their keys.
pub(crate) struct TableWriter<W> {
    out: W,
    written: u64,
    block: BlockWriter,
    /// For each block its last key and where it stands.
    index: BlockWriter,
}

#[derive(Default)]
struct BlockWriter {
    bytes: Vec<u8>,
    restarts: Vec<u32>,
    entries: usize,
    last: Vec<u8>,
}

impl BlockWriter {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let mut shared = 0;
        if self.entries.is_multiple_of(RESTART_INTERVAL) {
            self.restarts.push(self.bytes.len() as u32);
        } else {
            shared = self.last.iter().zip(key).take_while(|(a, b)| a == b).count();
        }
        for number in [shared, key.len() - shared, value.len()] {
            put_varint(&mut self.bytes, number as u64);
        }
        self.bytes.extend_from_slice(&key[shared..]);
        self.bytes.extend_from_slice(value);
        self.last.clear();
        self.last.extend_from_slice(key);
        self.entries += 1;
    }

    /// The block, which begins anew.
    fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut restarts = std::mem::take(&mut self.restarts);
        if restarts.is_empty() {
            restarts.push(0);
        }
        for place in &restarts {
            bytes.extend_from_slice(&place.to_le_bytes());
        }
        bytes.extend_from_slice(&(restarts.len() as u32).to_le_bytes());
        self.entries = 0;
        bytes
    }
}

impl<W: Write> TableWriter<W> {
    pub fn new(out: W) -> Self {
        TableWriter { out, written: 0, block: BlockWriter::default(), index: BlockWriter::default() }
    }

    /// Adds an entry, whose key comes after those of all before it.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.block.add(key, value);
        if self.block.bytes.len() >= BLOCK_BYTES { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> io::Result<()> {
        let last = self.block.last.clone();
        let block = self.block.take();
        let handle = self.write_block(&block)?;
        self.index.add(&last, &encoded(handle));
        Ok(())
    }

    fn write_block(&mut self, block: &[u8]) -> io::Result<Handle> {
        let handle = Handle { offset: self.written, bytes: block.len() as u64 };
        let uncompressed = [0];
        let crc = crc32c::crc32c_append(crc32c::crc32c(block), &uncompressed);
        self.out.write_all(block)?;
        self.out.write_all(&uncompressed)?;
        self.out.write_all(&masked(crc).to_le_bytes())?;
        self.written += block.len() as u64 + super::TRAILER_BYTES;
        Ok(handle)
    }

    /// Writes what ends the table, and flushes.
    pub fn finish(mut self) -> io::Result<W> {
        if self.block.entries > 0 {
            self.end_block()?;
        }
        let about = self.write_block(&BlockWriter::default().take())?;
        let index = self.index.take();
        let index = self.write_block(&index)?;
        let mut footer = encoded(about);
        footer.extend(encoded(index));
        footer.resize(FOOTER_BYTES as usize - 8, 0);
        footer.extend_from_slice(&MAGIC.to_le_bytes());
        self.out.write_all(&footer)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

fn encoded(handle: Handle) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(20);
    put_varint(&mut bytes, handle.offset);
    put_varint(&mut bytes, handle.bytes);
    bytes
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A checksum as it is stored.
pub(crate) fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceFile;
    use tightfit_core::MemoryBudget;

    #[test]
    fn what_is_written_is_read() {
        for count in [0, 1, 15, 16, 17, 1000] {
            let entries: Vec<(String, Vec<u8>)> =
                (0..count).map(|n| (format!("scope/layer_{n:05}/kernel"), vec![n as u8; n % 300])).collect();
            let mut writer = TableWriter::new(Vec::new());
            entries.iter().for_each(|(key, value)| writer.add(key.as_bytes(), value).unwrap());
            let path = std::env::temp_dir().join(format!("tightfit-table-{}-{count}", std::process::id()));
            std::fs::write(&path, writer.finish().unwrap()).unwrap();
            let source = SourceFile::open(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            let mut found = Vec::new();
            crate::table::for_each(&source, &MemoryBudget::new(1 << 20), &mut |key, value, _| {
                found.push((String::from_utf8(key.to_vec()).unwrap(), value.to_vec()));
                Ok(())
            })
            .unwrap();
            assert!(found == entries, "{count}");
        }
    }

    #[test]
    fn a_checksum_is_masked_and_unmasked() {
        for crc in [0, 1, 0x8000_7fff, u32::MAX] {
            assert_eq!(crate::table::unmasked(masked(crc)), crc);
        }
    }
}
