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
        "saved_models" => {
            let graphs = seeds("graphs", root);
            let binary = graphs.iter().filter(|graph| !graph.is_empty() && graph[0] == 0x0a);
            let mut seeds: Vec<_> =
                binary.take(12).flat_map(|graph| [meta_graph(graph), saved_model(graph)]).collect();
            seeds.push(TFJS.as_bytes().to_vec());
            seeds
        }
        "tflite" => {
            let folders = fs::read_dir(root.join("tests/golden/tflite")).expect("golden models");
            let mut folders: Vec<PathBuf> = folders.map(|entry| entry.expect("a folder").path()).collect();
            folders.sort();
            let folders: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
            files(&folders, &["tflite"])
        }
        "tensor_bundles" => {
            let models = root.join("tests/golden/saved_models");
            let folders =
                ["checkpoint", "functions/variables", "keras_export/variables"].map(|name| models.join(name));
            let mut seeds = files(&folders.each_ref().map(PathBuf::as_path), &["index"]);
            seeds.extend((1..6).map(index));
            seeds
        }
        "images" => files(&[&images], &["png", "jpg", "gif", "bmp"]),
        _ => Vec::new(),
    }
}

/// A TensorFlow.js model, whose weights have no elements.
const TFJS: &str = r#"{"format": "graph-model", "modelTopology": {"node": [
{"name": "x", "op": "Placeholder", "attr": {"dtype": {"type": "DT_FLOAT"}, "shape": {"shape": {"dim": [{"size": "-1"}]}}}},
{"name": "w", "op": "Const", "attr": {"dtype": {"type": "DT_FLOAT"}}},
{"name": "y", "op": "Mul", "input": ["x", "w"], "attr": {"T": {"type": "DT_FLOAT"}, "s": {"s": "U0FNRQ=="},
"l": {"list": {"i": ["1"]}}}}], "versions": {"producer": 561}},
"weightsManifest": [{"paths": [], "weights": [{"name": "w", "shape": [0], "dtype": "float32",
"quantization": {"dtype": "uint8", "scale": 0.5, "min": 0}}]}],
"signature": {"inputs": {}, "outputs": {"y": {"name": "y:0", "dtype": "DT_FLOAT"}}}}"#;

fn field(out: &mut Vec<u8>, number: u8, body: &[u8]) {
    out.push(number << 3 | 2);
    let mut bytes = body.len();
    while bytes >= 0x80 {
        out.push(bytes as u8 | 0x80);
        bytes >>= 7;
    }
    out.push(bytes as u8);
    out.extend(body);
}

/// A graph with tags, a signature, an asset and what restores it.
fn meta_graph(graph: &[u8]) -> Vec<u8> {
    let text = |fields: &[(u8, &[u8])]| {
        let mut out = Vec::new();
        fields.iter().for_each(|(number, body)| field(&mut out, *number, body));
        out
    };
    let tensor = text(&[(1, b"x:0"), (3, b"\x12\x02\x08\x02")]);
    let port = text(&[(1, b"key"), (2, &tensor)]);
    let signature = text(&[(1, b"serving_default"), (2, &text(&[(1, &port), (2, &port), (3, b"method")]))]);
    let nodes = text(&[(1, &text(&[(1, b"init")]))]);
    text(&[
        (1, &text(&[(4, b"serve"), (5, b"2.21")])),
        (2, graph),
        (3, &text(&[(1, b"save/Const:0"), (3, b"save/restore_all")])),
        (4, &text(&[(1, b"saved_model_main_op"), (2, &nodes)])),
        (5, &signature),
        (6, &text(&[(1, &tensor), (2, b"words.txt")])),
    ])
}

fn saved_model(graph: &[u8]) -> Vec<u8> {
    let mut out = vec![8, 1];
    field(&mut out, 2, &meta_graph(graph));
    out
}

/// The index of a checkpoint of so many tensors, whose values are those that `bodies` puts in its shard.
fn index(tensors: usize) -> Vec<u8> {
    let shard: Vec<u8> = (0..4096).map(|i| (i % 7) as u8).collect();
    let mut block = Vec::new();
    let mut entry = |key: &[u8], value: &[u8]| {
        block.extend([0, key.len() as u8, value.len() as u8]);
        block.extend(key);
        block.extend(value);
    };
    entry(b"", &[8, 1]);
    for number in 0..tensors {
        // float32 [2, 3]: its place, and the masked checksum of its 24 bytes.
        let mut value =
            vec![8, 1, 0x12, 8, 0x12, 2, 8, 2, 0x12, 2, 8, 3, 0x20, 24 * number as u8, 0x28, 24, 0x35];
        let stored = tightfit_format::tfrecord::masked_crc(&shard[24 * number..][..24]);
        value.extend(stored.to_le_bytes());
        entry(&[b'a' + number as u8], &value);
    }
    let mut table = Vec::new();
    let mut end = |content: &mut Vec<u8>| {
        // Where keys share nothing, and how many places those are; no compression; the checksum.
        content.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        let handle = [table.len(), content.len()].map(|n| [n as u8 & 0x7f | 0x80, (n >> 7) as u8]).concat();
        content.push(0);
        let crc = tightfit_format::tfrecord::masked_crc(content);
        table.append(content);
        table.extend(crc.to_le_bytes());
        handle
    };
    let data = end(&mut block);
    let mut footer = end(&mut Vec::new());
    let mut pointer = [&[0, 1, data.len() as u8, b'z'][..], &data].concat();
    footer.extend(end(&mut pointer));
    footer.resize(40, 0);
    table.extend(footer);
    table.extend(0xdb47_7524_8b80_fb57u64.to_le_bytes());
    table
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
            let mut writer = RecordWriter::new(
                Compressor::new(compression, Vec::new()).expect("a compression that is written"),
            );
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
