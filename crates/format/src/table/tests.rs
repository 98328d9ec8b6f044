use proptest::prelude::*;

use super::*;

/// A table as TensorFlow writes one, of entries in the order of their keys.
pub(crate) struct TableWriter {
    out: Vec<u8>,
    block: Vec<u8>,
    restarts: Vec<u32>,
    entries: usize,
    last: Vec<u8>,
    index: Vec<(Vec<u8>, Vec<u8>)>,
    block_bytes: usize,
    is_compressed: bool,
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

impl TableWriter {
    pub fn new(block_bytes: usize, is_compressed: bool) -> TableWriter {
        TableWriter {
            out: Vec::new(),
            block: Vec::new(),
            restarts: Vec::new(),
            entries: 0,
            last: Vec::new(),
            index: Vec::new(),
            block_bytes,
            is_compressed,
        }
    }

    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        let mut shared = 0;
        if self.entries.is_multiple_of(16) {
            self.restarts.push(self.block.len() as u32);
        } else {
            shared = key.iter().zip(&self.last).take_while(|(a, b)| a == b).count();
        }
        for number in [shared, key.len() - shared, value.len()] {
            put(&mut self.block, number as u64);
        }
        self.block.extend(&key[shared..]);
        self.block.extend(value);
        self.entries += 1;
        self.last = key.to_vec();
        if self.block.len() >= self.block_bytes {
            self.end_block();
        }
    }

    /// Writes the block with its trailer; the handle of it.
    fn end(&mut self) -> Vec<u8> {
        if self.restarts.is_empty() {
            self.restarts.push(0);
        }
        let mut content = std::mem::take(&mut self.block);
        self.restarts.iter().for_each(|at| content.extend(at.to_le_bytes()));
        content.extend((self.restarts.len() as u32).to_le_bytes());
        self.restarts.clear();
        self.entries = 0;
        let kind = u8::from(self.is_compressed);
        if self.is_compressed {
            content = snap::raw::Encoder::new().compress_vec(&content).unwrap();
        }
        let mut handle = Vec::new();
        put(&mut handle, self.out.len() as u64);
        put(&mut handle, content.len() as u64);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&content), &[kind]);
        self.out.extend(content);
        self.out.push(kind);
        self.out.extend(crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
        handle
    }

    fn end_block(&mut self) {
        let key = self.last.clone();
        let handle = self.end();
        self.index.push((key, handle));
    }

    pub fn finish(mut self) -> Vec<u8> {
        if !self.block.is_empty() {
            self.end_block();
        }
        let mut footer = self.end();
        for (key, handle) in std::mem::take(&mut self.index) {
            self.block_bytes = usize::MAX;
            self.add(&key, &handle);
        }
        footer.extend(self.end());
        footer.resize(FOOTER_BYTES as usize - 8, 0);
        footer.extend(MAGIC.to_le_bytes());
        self.out.extend(footer);
        self.out
    }
}

fn read(bytes: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("tightfit-table-{}-{number}", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let source = SourceFile::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut entries = Vec::new();
    for_each(&source, &MemoryBudget::new(1 << 20), &mut |key, value, _| {
        entries.push((key.to_vec(), value.to_vec()));
        Ok(())
    })?;
    Ok(entries)
}

proptest! {
    #[test]
    fn random_tables_are_read_as_they_were_written(
        entries in prop::collection::btree_map(
            prop::collection::vec(0..4u8, 0..12), prop::collection::vec(any::<u8>(), 0..40), 0..80),
        block_bytes in 1..400usize,
        is_compressed: bool,
    ) {
        let mut writer = TableWriter::new(block_bytes, is_compressed);
        entries.iter().for_each(|(key, value)| writer.add(key, value));
        let expected: Vec<_> = entries.into_iter().collect();
        prop_assert_eq!(read(&writer.finish()).unwrap(), expected);
    }

    #[test]
    fn random_damage_is_an_error_or_shows_in_no_entry(
        at: prop::sample::Index, change in 1..=255u8, is_compressed: bool, cut: bool,
    ) {
        let mut writer = TableWriter::new(100, is_compressed);
        let entries: Vec<_> = (0..40u32).map(|i| (format!("key/{i:04}").into_bytes(), vec![i as u8; 7])).collect();
        entries.iter().for_each(|(key, value)| writer.add(key, value));
        let mut bytes = writer.finish();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= change }
        // Every byte of a block is under its checksum; what is left are handles and padding.
        if let Ok(found) = read(&bytes) {
            prop_assert_eq!(found, entries);
        }
    }
}

#[test]
fn keys_out_of_order_and_lying_lengths_are_errors() {
    let mut writer = TableWriter::new(1000, false);
    writer.add(b"b", b"1");
    writer.add(b"a", b"2");
    assert!(read(&writer.finish()).unwrap_err().to_string().contains("keys in order"));
    let mut writer = TableWriter::new(1000, false);
    writer.add(b"a", b"1");
    // An entry that shares more than the key before it has.
    writer.block.extend([9, 1, 0, b'x']);
    assert!(read(&writer.finish()).unwrap_err().to_string().contains("an entry"));
    for bytes in [&b""[..], &[0; 47], &[7; 300]] {
        assert!(read(bytes).is_err());
    }
    // A handle past the end.
    let mut bytes = vec![0; 60];
    let mut footer = Vec::new();
    [0, 0, u64::MAX - 3, u64::MAX].iter().for_each(|n| put(&mut footer, *n));
    footer.resize(40, 0);
    bytes.extend(footer);
    bytes.extend(MAGIC.to_le_bytes());
    assert!(read(&bytes).unwrap_err().to_string().contains("a block of the table"));
}

#[test]
fn a_block_that_claims_to_be_large_is_not_believed() {
    let mut writer = TableWriter::new(1000, true);
    writer.add(b"a", &[5; 400]);
    let mut bytes = writer.finish();
    // The length that snappy begins with, made a gigabyte, under a right checksum.
    let mut rest = &bytes[bytes.len() - 48..];
    let _ = (varint(&mut rest), varint(&mut rest));
    let mut block = Vec::new();
    put(&mut block, 1 << 30);
    block.extend([0; 20]);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&block), &[1]);
    let at = bytes.len() - 48;
    let mut footer = Vec::new();
    [0, 0, at as u64, block.len() as u64].iter().for_each(|n| put(&mut footer, *n));
    footer.resize(40, 0);
    bytes.truncate(at);
    bytes.extend(block);
    bytes.push(1);
    bytes.extend(crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
    bytes.extend(footer);
    bytes.extend(MAGIC.to_le_bytes());
    let error = read(&bytes).unwrap_err();
    assert!(error.to_string().contains("snappy"), "{error}");
}
