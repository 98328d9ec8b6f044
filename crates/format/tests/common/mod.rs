//! What the tests of the readers share.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tightfit_core::MemoryBudget;
use tightfit_format::{FormatError, GraphDef, SourceFile};

/// A file that is removed when dropped.
pub struct TempFile(pub PathBuf);

impl TempFile {
    pub fn new(content: &[u8]) -> TempFile {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("tightfit-format-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        TempFile(path)
    }

    pub fn open(&self) -> Arc<SourceFile> {
        SourceFile::open(&self.0).unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

pub fn read(content: &[u8]) -> Result<GraphDef, FormatError> {
    GraphDef::read(TempFile::new(content).open(), &MemoryBudget::new(u64::MAX))
}

pub fn read_text(content: &str) -> Result<GraphDef, FormatError> {
    GraphDef::read_text(TempFile::new(content.as_bytes()).open(), &MemoryBudget::new(u64::MAX))
}

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A field with a length.
pub fn field(number: u64, value: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// A field of variable length.
pub fn int(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

/// A GraphDef of one node with one attribute `a`, whose AttrValue is given.
pub fn with_attr(value: &[u8]) -> Vec<u8> {
    let entry = [field(1, b"a"), field(2, value)].concat();
    field(1, &[field(1, b"n"), field(2, b"Op"), field(5, &entry)].concat())
}

/// A GraphDef of one node with one tensor, whose fields are given.
pub fn with_tensor(fields: &[Vec<u8>]) -> Vec<u8> {
    with_attr(&field(8, &fields.concat()))
}

/// The TensorShapeProto of a tensor.
pub fn shape(dims: &[u64]) -> Vec<u8> {
    field(2, &dims.iter().flat_map(|d| field(2, &int(1, *d))).collect::<Vec<_>>())
}
