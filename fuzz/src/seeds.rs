//! Inputs to begin with: the small files that are committed as tests, and of record files the first records.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{Buffer, DType, MemoryBudget, Shape};
use tightfit_format::compress::Compressor;
use tightfit_format::npz::NpzWriter;
use tightfit_format::spool::Rows;
use tightfit_format::tfrecord::{Compression, RecordReader, RecordWriter};

/// Larger inputs make a fuzzer slow.
const MAX_BYTES: u64 = 4096;

/// Records taken of a file.
const RECORDS: usize = 12;

/// Seeds of `target`; `root` is the repository.
pub fn seeds(target: &str, root: &Path) -> Vec<Vec<u8>> {
    let format = root.join("crates/format/tests");
    let images = root.join("crates/data/tests/golden");
    match target {
        "records" => record_files(&root.join("crates/format/tests/examples")),
        "messages" => messages(&format),
        "arrays" => {
            let mut seeds = files(&[&images, &root.join("tests/golden/ops/casts/ref_tf")], &["npy"]);
            seeds.push(npz());
            seeds
        }
        "graphs" => {
            let ops = fs::read_dir(root.join("tests/golden/models")).expect("golden models");
            let mut folders: Vec<PathBuf> = ops.map(|entry| entry.expect("a folder").path()).collect();
            folders.sort();
            folders.truncate(20);
            folders.push(format.join("data"));
            let folders: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
            files(&folders, &["pb", "pbtxt"])
        }
        "images" => files(&[&images], &["png", "jpg", "gif", "bmp"]),
        _ => Vec::new(),
    }
}

/// Small files of some folders, by their extensions.
fn files(folders: &[&Path], extensions: &[&str]) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    for folder in folders {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        paths.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    paths.retain(|path| {
        let has_extension = path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x));
        has_extension && path.metadata().is_ok_and(|m| m.len() <= MAX_BYTES)
    });
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a golden file")).collect()
}

/// The first small records of a file.
fn head(path: &Path) -> Vec<Vec<u8>> {
    let window = Buffer::new(&MemoryBudget::new(1 << 20), "seeds", 128 << 10).expect("memory");
    let file = File::open(path).expect("a golden file");
    let mut reader = RecordReader::new(Arc::from(path), file, window).expect("a golden file");
    let mut records = Vec::new();
    while let (true, Ok(Some(record))) = (records.len() < RECORDS, reader.next_record()) {
        if record.data.len() as u64 <= MAX_BYTES / 8 {
            records.push(record.data.to_vec());
        }
    }
    records
}

fn golden_records(folder: &Path) -> Vec<Vec<Vec<u8>>> {
    let entries = fs::read_dir(folder).expect("golden files");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e != "expected" && e != "json"));
    paths.sort();
    paths.iter().map(|path| head(path)).collect()
}

fn record_files(folder: &Path) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for records in golden_records(folder) {
        for compression in [Compression::None, Compression::Gzip, Compression::Zlib] {
            let mut writer = RecordWriter::new(Compressor::new(compression, Vec::new()));
            for record in &records {
                writer.write(record).expect("memory");
            }
            let mut out = writer.into_inner().finish().expect("memory");
            out.flush().expect("memory");
            seeds.push(out);
        }
    }
    seeds
}

fn messages(tests: &Path) -> Vec<Vec<u8>> {
    let folders = [tests.join("examples"), tests.join("cases/ranking_elwc")];
    folders.iter().flat_map(|folder| golden_records(folder)).flatten().collect()
}

fn npz() -> Vec<u8> {
    let mut npz = NpzWriter::new(std::env::temp_dir());
    let pair = Shape::new(&[2]).expect("a shape");
    let numbers = npz.add("numbers", DType::F32, Rows::Counted, pair).expect("a temporary file");
    let names = npz.add("names", DType::String, Rows::Counted, Shape::SCALAR).expect("a temporary file");
    for row in 0..5 {
        npz.array(numbers).expect("the array").push(&[row; 8]).expect("a temporary file");
        npz.array(names).expect("the array").push_string(&[b'a' + row; 3]).expect("a temporary file");
    }
    npz.finish(std::io::Cursor::new(Vec::new())).expect("memory").into_inner()
}
