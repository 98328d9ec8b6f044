//! TFRecord files of Examples and SequenceExamples against another implementation: `tests/golden/examples.py` calls it.
//!
//!     roundtrip read FILE KIND             a line for each record: the digest of what it holds
//!     roundtrip rewrite FILE KIND OUT      each record read and written again, names in order and lists packed
//!     roundtrip write OUT KIND COUNT SEED  random records; a line for each: the digest of what was written
//!
//! KIND is example or sequence. OUT is compressed as its name's .gz or .zlib says.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget};
use tightfit_format::compress::Compressor;
use tightfit_format::example::sequence::write_sequence_example;
use tightfit_format::example::{Values, write_example};
use tightfit_format::tfrecord::{Compression, RecordReader, RecordWriter};

#[path = "../tests/common/canonical.rs"]
mod canonical;
#[path = "../tests/common/digest.rs"]
mod digest;

use digest::Digest;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["read", file, kind] => read(file, |record| print_digest(kind, record)),
        ["rewrite", file, kind, out] => {
            let mut writer = create(out)?;
            read(file, |record| Ok(writer.write(&canonical::canonical(kind, record)?)?))?;
            finish(writer)
        }
        ["write", out, kind, count, seed] => write(out, kind, count.parse()?, seed.parse()?),
        _ => Err("roundtrip read|rewrite|write ..".into()),
    }
}

fn read(path: &str, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let window = Buffer::new(&MemoryBudget::new(16 << 20), "window", 8 << 20)?;
    let mut reader = RecordReader::new(Arc::from(Path::new(path)), File::open(path)?, window)?;
    while let Some(record) = reader.next_record()? {
        let (index, data) = (record.index, record.data);
        each(data).map_err(|error| format!("{path}, record {index}: {error}"))?;
    }
    Ok(())
}

fn print_digest(kind: &str, record: &[u8]) -> Result<()> {
    let mut digest = Digest::new();
    digest.message(kind, record)?;
    println!("{:016x}", digest.0);
    Ok(())
}

type Writer = RecordWriter<Compressor<BufWriter<File>>>;

fn create(path: &str) -> Result<Writer> {
    let compression = match Path::new(path).extension().and_then(|e| e.to_str()) {
        Some("gz") => Compression::Gzip,
        Some("zlib") => Compression::Zlib,
        _ => Compression::None,
    };
    Ok(RecordWriter::new(Compressor::new(compression, BufWriter::new(File::create(path)?))?))
}

fn finish(writer: Writer) -> Result<()> {
    Ok(writer.into_inner().finish()?.flush()?)
}

/// A generator of numbers that look random.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// Owned values of a feature.
enum Owned {
    Empty,
    Bytes(Vec<Vec<u8>>),
    Float(Vec<f32>),
    Int64(Vec<i64>),
}

fn random_values(random: &mut Random) -> Owned {
    let count = random.one_of(&[0, 1, 1, 2, 7, 130]);
    match random.below(7) {
        0 => Owned::Empty,
        1 | 2 => Owned::Bytes(
            (0..count)
                .map(|_| (0..random.one_of(&[0, 1, 5, 127, 128])).map(|_| random.next() as u8).collect())
                .collect(),
        ),
        3 | 4 => Owned::Float(
            (0..count)
                .map(|_| match random.below(4) {
                    0 => {
                        random.one_of(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MIN_POSITIVE])
                    }
                    // Every pattern of bits but NaNs that signal: Python's floats make quiet ones of those.
                    _ => f32::from_bits(random.next() as u32),
                })
                .map(|value| if value.is_nan() { f32::NAN } else { value })
                .collect(),
        ),
        _ => Owned::Int64(
            (0..count)
                .map(|_| match random.below(3) {
                    0 => random.one_of(&[i64::MIN, i64::MAX, -1, 0, 127, 128, 1 << 62]),
                    // Of every length.
                    _ => (random.next() >> random.below(64)) as i64,
                })
                .collect(),
        ),
    }
}

/// Names of all kinds, unsorted and each once.
fn random_names(random: &mut Random, count: usize) -> Vec<String> {
    const ODD: [&str; 7] = ["", "a\0b", "ü/ß", "名前", "\u{10ffff}", "image/encoded", "\n\t\"'"];
    let mut names = Vec::new();
    while names.len() < count {
        let name = match random.below(3) {
            0 => random.one_of(&ODD).to_string(),
            1 => "x".repeat(random.one_of(&[1, 127, 128, 300])),
            _ => format!("feature/{}", random.below(1000)),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn write(path: &str, kind: &str, records: usize, seed: u64) -> Result<()> {
    let (mut random, mut writer, mut record) = (Random(seed), create(path)?, Vec::new());
    for _ in 0..records {
        let count = random.one_of(&[0, 1, 2, 3, 6]);
        let names = random_names(&mut random, count);
        let owned: Vec<Owned> = names.iter().map(|_| random_values(&mut random)).collect();
        let context: Vec<_> = names.iter().zip(&owned).map(|(n, v)| (n.as_str(), v)).collect();
        let list_count = if kind == "sequence" { random.below(4) } else { 0 };
        let list_names = random_names(&mut random, list_count);
        let lists: Vec<Vec<Owned>> = list_names
            .iter()
            .map(|_| (0..random.one_of(&[0, 1, 3, 20])).map(|_| random_values(&mut random)).collect())
            .collect();
        let lists: Vec<_> = list_names.iter().map(String::as_str).zip(&lists).collect();
        println!("{:016x}", digest_of(kind, &context, &lists));
        put(&mut record, kind, &context, &lists);
        writer.write(&record)?;
    }
    finish(writer)
}

type Named<'a, T> = Vec<(&'a str, &'a T)>;

fn values<'a>(owned: &'a Owned, slices: &'a [&'a [u8]]) -> Values<'a> {
    match owned {
        Owned::Empty => Values::Empty,
        Owned::Bytes(_) => Values::Bytes(slices),
        Owned::Float(list) => Values::Float(list),
        Owned::Int64(list) => Values::Int64(list),
    }
}

fn slices(owned: &Owned) -> Vec<&[u8]> {
    match owned {
        Owned::Bytes(list) => list.iter().map(Vec::as_slice).collect(),
        _ => Vec::new(),
    }
}

fn put(record: &mut Vec<u8>, kind: &str, context: &Named<'_, Owned>, lists: &Named<'_, Vec<Owned>>) {
    record.clear();
    let texts: Vec<_> = context.iter().map(|(_, owned)| slices(owned)).collect();
    let context: Vec<_> =
        context.iter().zip(&texts).map(|((name, owned), texts)| (*name, values(owned, texts))).collect();
    if kind == "example" {
        return write_example(record, &context);
    }
    let texts: Vec<Vec<_>> = lists.iter().map(|(_, list)| list.iter().map(slices).collect()).collect();
    let steps: Vec<Vec<_>> = lists
        .iter()
        .zip(&texts)
        .map(|((_, list), texts)| list.iter().zip(texts).map(|(owned, texts)| values(owned, texts)).collect())
        .collect();
    let lists: Vec<_> =
        lists.iter().zip(&steps).map(|((name, _), steps)| (*name, steps.as_slice())).collect();
    write_sequence_example(record, &context, &lists);
}

/// The digest from the values themselves: reading has no part in it.
fn digest_of(kind: &str, context: &Named<'_, Owned>, lists: &Named<'_, Vec<Owned>>) -> u64 {
    let mut digest = Digest::new();
    let mut sorted: Vec<_> = context.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    for (name, owned) in sorted {
        digest.add(name.as_bytes());
        add_values(&mut digest, owned);
    }
    let mut sorted: Vec<_> = lists.iter().filter(|_| kind == "sequence").collect();
    sorted.sort_by_key(|(name, _)| *name);
    for (name, steps) in sorted {
        digest.add(name.as_bytes());
        digest.count(steps.len());
        steps.iter().for_each(|step| add_values(&mut digest, step));
    }
    digest.0
}

fn add_values(digest: &mut Digest, owned: &Owned) {
    let (kind, count) = match owned {
        Owned::Empty => (0, 0),
        Owned::Bytes(list) => (1, list.len()),
        Owned::Float(list) => (2, list.len()),
        Owned::Int64(list) => (3, list.len()),
    };
    digest.add(&[kind]);
    digest.count(count);
    match owned {
        Owned::Empty => {}
        Owned::Bytes(list) => list.iter().for_each(|value| {
            digest.count(value.len());
            digest.add(value);
        }),
        Owned::Float(list) => list.iter().for_each(|value| digest.add(&value.to_le_bytes())),
        Owned::Int64(list) => list.iter().for_each(|value| digest.add(&value.to_le_bytes())),
    }
}
