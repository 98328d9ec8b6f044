//! Hostile files of records, end to end: every command that reads records gives a right result or one clear line that
//! names the file and the place, inside its memory, and in time that grows with the file and no faster.
#![cfg(target_os = "linux")]

mod common;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use common::{Folder, command, digits, tightfit};
use tightfit::MemoryBudget;
use tightfit::records::{ConvertOptions, VerifyOptions, convert, head, inspect, verify};
use tightfit_format::compress::Compressor;
use tightfit_format::example::{Values, write_example};
use tightfit_format::tfrecord::{Compression, RecordWriter, masked_crc};

/// What reading the largest file here may take, on a slow and busy machine.
const SLOW: Duration = Duration::from_secs(60);

const MIB: u64 = 1 << 20;

/// How a command ended, and the most it had resident.
#[derive(Debug)]
struct Ending {
    name: &'static str,
    code: i32,
    stderr: String,
    peak_bytes: u64,
    took: Duration,
}

/// Calls the program and looks at its peak until it ends. What it takes in its last millisecond goes unseen.
fn watch(name: &'static str, args: &[String], folder: &Folder) -> Ending {
    let [out, err] = ["stdout", "stderr"].map(|name| folder.path(name));
    let mut command = command(args);
    command.stdout(File::create(&out).expect("a file")).stderr(File::create(&err).expect("a file"));
    let begin = Instant::now();
    let mut child = command.spawn().expect("the program starts");
    let status_path = format!("/proc/{}/status", child.id());
    let mut peak_bytes = 0;
    let status = loop {
        let status = std::fs::read_to_string(&status_path).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak_kib = peak.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        peak_bytes = peak_bytes.max(peak_kib.unwrap_or(0) << 10);
        if let Some(status) = child.try_wait().expect("the program") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let stderr = String::from_utf8(std::fs::read(err).expect("stderr")).expect("UTF-8");
    let code = status.code().unwrap_or(-1);
    Ending { name, code, stderr, peak_bytes, took: begin.elapsed() }
}

/// Runs every command that reads records on `path`.
fn endings(path: &Path, folder: &Folder, memory_bytes: u64) -> Vec<Ending> {
    let text = |path: PathBuf| path.display().to_string();
    let input = text(path.to_path_buf());
    let out = |name: &str| text(folder.path("out").join(name));
    let convert = |to: &str| vec!["convert".to_string(), input.clone(), "--output".to_string(), out(to)];
    let records: Vec<(&'static str, Vec<String>)> = vec![
        ("verify", vec!["verify".into(), input.clone()]),
        ("inspect", vec!["inspect".into(), input.clone()]),
        ("head", vec!["head".into(), input.clone()]),
        ("to records", convert("copy.tfrecord")),
        ("to csv", convert("table.csv")),
        ("to npz", convert("arrays.npz")),
        ("to images", convert("images/")),
        ("shard", vec!["shard".into(), "2".into(), input.clone(), "--output".into(), out("shard.tfrecord")]),
    ];
    let mut calls: Vec<(&'static str, Vec<String>)> = records
        .into_iter()
        .map(|(name, args)| (name, std::iter::once("records".to_string()).chain(args).collect()))
        .collect();
    let run = ["run", &text(digits().0), "--input", &input, "--quiet", "--output", &out("run.jsonl")];
    calls.push(("run", run.map(str::to_string).to_vec()));
    let mut endings = Vec::new();
    for (name, mut args) in calls {
        args.extend(["--memory".to_string(), memory_bytes.to_string()]);
        std::fs::create_dir(folder.path("out")).expect("a folder");
        let ending = watch(name, &args, folder);
        std::fs::remove_dir_all(folder.path("out")).expect("the folder");
        println!(
            "{name}: {} in {:?}, {} KiB: {}",
            ending.code,
            ending.took,
            ending.peak_bytes >> 10,
            ending.stderr.trim_end()
        );
        assert!(matches!(ending.code, 0..=3), "{ending:?}");
        let is_clear = !ending.stderr.contains("panicked") && !ending.stderr.contains("defect");
        assert!(is_clear && ending.stderr.trim_end().lines().count() <= 1, "{ending:?}");
        let names_a_file = ending.stderr.contains(&input) || ending.stderr.contains(&out(""));
        assert!(ending.code != 1 || names_a_file, "{ending:?}");
        assert!(ending.peak_bytes <= memory_bytes, "{ending:?}");
        assert!(ending.took < SLOW, "{ending:?}");
        endings.push(ending);
    }
    endings
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn field(number: u64, value: &[u8]) -> Vec<u8> {
    [&varint(number << 3 | 2), &varint(value.len() as u64), value].concat()
}

/// An Example of one feature called `image`, with these bytes as its value.
fn with_feature(feature: &[u8]) -> Vec<u8> {
    field(1, &field(1, &[field(1, b"image"), field(2, feature)].concat()))
}

fn one_record(folder: &Folder, data: &[u8]) -> PathBuf {
    let path = folder.path("hostile.tfrecord");
    let mut writer = RecordWriter::new(File::create(&path).expect("a file"));
    writer.write(data).expect("disk");
    path
}

const TEN_MILLION: usize = 10_000_000;

/// Ten million features, each with another name of four bytes.
fn many_features() -> Vec<u8> {
    let entries = (0..TEN_MILLION as u32).flat_map(|i| {
        let digit = |shift: u32| b'0' + (i >> shift & 63) as u8;
        [0x0a, 8, 0x0a, 4, digit(18), digit(12), digit(6), digit(0), 0x12, 0]
    });
    field(1, &entries.collect::<Vec<u8>>())
}

#[test]
fn ten_millions_of_everything() {
    let folder = Folder::new();
    let int = varint(300);
    let attacks: Vec<(&str, Vec<u8>)> = vec![
        ("features", many_features()),
        (
            "features of one name",
            field(1, &field(1, &[field(1, b"a"), field(2, b"")].concat()).repeat(TEN_MILLION)),
        ),
        ("values", with_feature(&field(3, &field(1, &int.repeat(TEN_MILLION))))),
        ("values, not packed", with_feature(&field(3, &[&[8][..], &int].concat().repeat(TEN_MILLION)))),
        ("empty strings", with_feature(&field(1, &[0x0a, 0].repeat(TEN_MILLION)))),
        ("empty lists", with_feature(&[0x1a, 0].repeat(TEN_MILLION))),
        ("lists of changing kinds", with_feature(&[0x1a, 0, 0x12, 0, 0x0a, 0].repeat(TEN_MILLION / 3))),
        ("empty messages", [0x0a, 0].repeat(TEN_MILLION)),
        ("groups in groups", [[0x3b].repeat(TEN_MILLION), [0x3c].repeat(TEN_MILLION)].concat()),
        ("groups", [0x3b, 0x3c].repeat(TEN_MILLION)),
        ("steps", field(2, &field(1, &[field(1, b"a"), field(2, &[0x0a, 0].repeat(TEN_MILLION))].concat()))),
        (
            "bytes of a name",
            field(1, &field(1, &[field(1, &[b'a'].repeat(TEN_MILLION)), field(2, &field(3, &[]))].concat())),
        ),
        ("examples of a list", field(1, &field(1, &[])).repeat(TEN_MILLION / 2)),
    ];
    for (name, data) in attacks {
        println!("-- {name}: {} bytes", data.len());
        let path = one_record(&folder, &data);
        for ending in endings(&path, &folder, 14 * MIB) {
            // A record is checked without being held. For a run, which plans for four times the first, it is larger than
            // was planned, or what was planned does not fit.
            let expected = match ending.name {
                "verify" => 0,
                "run" if ending.code == 1 => 1,
                _ => 3,
            };
            assert_eq!(ending.code, expected, "{name}: {ending:?}");
            let has_place = matches!(ending.name, "verify" | "run") || ending.stderr.contains("byte 0: ");
            assert!(has_place, "{name}: {ending:?}");
        }
        for ending in endings(&path, &folder, 400 * MIB) {
            let is_copy = matches!(ending.name, "verify" | "head" | "to records" | "shard");
            assert!(ending.code == 0 || !is_copy, "{name}: {ending:?}");
            if name == "features" && ending.name == "inspect" {
                assert!(ending.stderr.contains("record 0 at byte 0: more than 65536"), "{ending:?}");
            }
        }
    }
}

#[test]
fn many_features_and_many_entries() {
    let folder = Folder::new();
    let names: Vec<String> = (0..60_000).map(|i| format!("{i:05}")).collect();
    let features: Vec<_> = names.iter().map(|name| (name.as_str(), Values::Int64(&[7]))).collect();
    let mut data = Vec::new();
    write_example(&mut data, &features);
    let path = one_record(&folder, &data);
    for ending in endings(&path, &folder, 2048 * MIB) {
        let expected = match ending.name {
            // An array for each grows in a file of its own, of which the system lets so many be open or not.
            "to npz" if ending.stderr.contains("open files") => 1,
            "to images" => 1,
            "run" => 2,
            _ => 0,
        };
        assert_eq!(ending.code, expected, "{ending:?}");
    }
}

/// A gzip file of members that each inflate to 64 MiB of the same `unit`, after one that holds `head`.
fn bomb(path: &Path, head: &[u8], unit: &[u8], members: usize) {
    let member = |data: &mut dyn Iterator<Item = &[u8]>| {
        let mut gzip = Compressor::new(Compression::Gzip, Vec::new()).expect("a compression that is written");
        data.for_each(|part| gzip.write_all(part).expect("memory"));
        gzip.finish().expect("memory")
    };
    let mut file = File::create(path).expect("a file");
    file.write_all(&member(&mut std::iter::once(head))).expect("disk");
    let block = unit.repeat((1 << 20) / unit.len());
    let whole = member(&mut std::iter::repeat_n(&*block, 64));
    for _ in 0..members {
        file.write_all(&whole).expect("disk");
    }
}

fn length_field(bytes: u64) -> Vec<u8> {
    [&bytes.to_le_bytes()[..], &masked_crc(&bytes.to_le_bytes()).to_le_bytes()].concat()
}

#[test]
fn files_that_inflate_to_gigabytes() {
    let folder = Folder::new();
    let path = folder.path("bomb.tfrecord.gz");
    // A record of 3 GiB of which 2.5 are there, and 16 million empty ones.
    bomb(&path, &length_field(3 << 30), &[0], 40);
    for ending in endings(&path, &folder, 16 * MIB) {
        let (code, why) = match ending.name {
            // So few bytes cannot inflate to so many.
            "verify" | "run" => (1, "record 0 at byte 0: the file ends inside it"),
            _ => (3, "byte 0: record window needs 3.00 GiB"),
        };
        assert!(ending.code == code && ending.stderr.contains(why), "{ending:?}");
    }
    let mut empty = RecordWriter::new(Vec::new());
    empty.write(&[]).expect("memory");
    bomb(&path, &[], &empty.into_inner(), 4);
    for ending in endings(&path, &folder, 16 * MIB) {
        let is_copy = matches!(ending.name, "verify" | "inspect" | "head" | "to records" | "shard");
        assert_eq!(ending.code == 0, is_copy, "{ending:?}");
    }
}

/// Records of a small file, 44 bytes each.
fn small_records() -> Vec<Vec<u8>> {
    let example = |i: i64| {
        let mut bytes = Vec::new();
        write_example(&mut bytes, &[("id", Values::Int64(&[i])), ("x", Values::Int64(&[i; 3]))]);
        bytes
    };
    (1..4).map(example).collect()
}

fn file_of(compression: Compression, records: &[Vec<u8>]) -> Vec<u8> {
    let mut writer =
        RecordWriter::new(Compressor::new(compression, Vec::new()).expect("a compression that is written"));
    records.iter().for_each(|record| writer.write(record).expect("memory"));
    writer.into_inner().finish().expect("memory")
}

/// Reads a damaged file in every way that records are read; the records, or `None` where all ways say what is wrong
/// with it. `original` is what it held before: nothing else may be taken for good.
fn read_damaged(path: &Path, folder: &Folder, original: &[Vec<u8>]) -> Option<u64> {
    let (budget, go) = (MemoryBudget::new(16 * MIB), AtomicBool::new(false));
    let starts: Vec<u64> = (0..=original.len())
        .map(|i| original.iter().take(i).map(|record| record.len() as u64 + 16).sum())
        .collect();
    let options = VerifyOptions { sources: vec![path.to_path_buf()], threads: 1 };
    let verified = verify(&options, &budget, &go).expect("bad records are no error");
    let inspected = inspect(path, &budget, &go).expect("bad records are no error");
    assert_eq!((verified.records, verified.bad_records), (inspected.records, inspected.bad_records));
    let first_bad = verified.bad.first().map(|(_, bad)| bad.clone());
    assert_eq!(first_bad, inspected.first_bad);
    assert!(
        first_bad.as_ref().is_none_or(|bad| starts.get(bad.record as usize) == Some(&bad.offset)),
        "{first_bad:?}"
    );
    let mut shown = head(path, 10, &budget).expect("a window");
    let shown: Vec<_> = std::iter::from_fn(|| shown.next_record().transpose()).collect();
    assert_eq!(shown.iter().filter(|record| record.is_ok()).count() as u64, verified.records);
    let output = folder.path("copy.tfrecord");
    let options = ConvertOptions::new(vec![path.to_path_buf()], output.clone());
    match (convert(&options, &budget, &go), first_bad) {
        (Ok(records), None) => {
            let expected =
                file_of(Compression::None, original.get(..records as usize).expect("no more than before"));
            assert!(records == verified.records && std::fs::read(&output).expect("the copy") == expected);
            std::fs::remove_file(output).expect("the copy");
            Some(records)
        }
        (Err(error), Some(bad)) => {
            let place = format!("record {} at byte {}: ", bad.record, bad.offset);
            let text = error.to_string();
            assert!(text.contains(&place) && text.contains(&*path.to_string_lossy()), "{text}: {place}");
            assert!(!output.exists());
            None
        }
        (converted, bad) => panic!("{converted:?} against {bad:?}"),
    }
}

const KINDS: [(&str, Compression); 3] =
    [("a.tfrecord", Compression::None), ("a.gz", Compression::Gzip), ("a.zlib", Compression::Zlib)];

#[test]
fn cut_off_at_every_byte() {
    let (folder, records) = (Folder::new(), small_records());
    for (name, compression) in KINDS {
        let whole = file_of(compression, &records);
        for cut in 0..=whole.len() {
            let path = folder.write(name, &whole[..cut]);
            let read = read_damaged(&path, &folder, &records);
            let expected = match compression {
                _ if cut == 0 => Some(0),
                Compression::None => {
                    (cut % (whole.len() / 3) == 0).then_some((cut / (whole.len() / 3)) as u64)
                }
                _ => (cut == whole.len()).then_some(3),
            };
            assert_eq!(read, expected, "{name} cut at {cut} of {}", whole.len());
        }
    }
}

#[test]
fn every_single_bit_flipped() {
    let (folder, records) = (Folder::new(), small_records());
    for (name, compression) in KINDS {
        let whole = file_of(compression, &records);
        // Time, system and level in a gzip header say nothing of the data, nor do the last bits of the last byte of a
        // deflate stream, before the checksum.
        let (header, checksum_bytes) = match compression {
            Compression::None => (0..0, None),
            Compression::Gzip => (3..10, Some(8)),
            Compression::Zlib => (0..0, Some(4)),
            Compression::Zstd { .. } => unreachable!("none of the files is packed so"),
        };
        let last = checksum_bytes.map(|bytes| whole.len() - bytes - 1);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let path = folder.write(name, &bytes);
            if let Some(read) = read_damaged(&path, &folder, &records) {
                let is_harmless = header.contains(&(bit / 8)) || last == Some(bit / 8);
                assert!(is_harmless && read == 3, "{name}, bit {bit}: {read} records and no error");
            }
        }
    }
}

#[test]
fn a_run_on_damaged_files_fails_at_the_place() {
    let (folder, model) = (Folder::new(), digits().0);
    let pixels: Vec<f32> = (0..64).map(|i| i as f32 / 64.0).collect();
    let mut record = Vec::new();
    write_example(&mut record, &[("image", Values::Float(&pixels))]);
    let whole = file_of(Compression::None, &[record.clone(), record.clone(), record]);
    let third = whole.len() / 3;
    let output = folder.path("out.jsonl");
    let run = |name: &str, bytes: &[u8], memory: &str| {
        let input = folder.write(name, bytes);
        let [model, input, output] = [&model, &input, &output].map(|path| path.display().to_string());
        tightfit(["run", &model, "--input", &input, "--output", &output, "--memory", memory, "--quiet"])
    };
    for at in (0..whole.len()).step_by(37).chain([third, third + 8, third + 12, 2 * third - 1]) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        let place = format!("record {} at byte {}: ", at / third, at / third * third);
        // After a bad length or first record not even the features are known.
        run("flipped.tfrecord", &flipped, "20MiB").assert_fails(1, &place);
        if at % third > 0 {
            run("cut.tfrecord", &whole[..at], "20MiB")
                .assert_fails(1, &format!("{place}the file ends inside it"));
        }
        assert!(!output.exists());
    }
    for length in [1u64 << 63, u64::MAX, u64::MAX - 15, 1 << 40] {
        let hostile = [&whole[..third], &length_field(length), &[0; 100]].concat();
        let place = format!("record 1 at byte {third}: ");
        run("hostile.tfrecord", &hostile, "20MiB").assert_fails(1, &place);
        run("first.tfrecord", &hostile[third..], "20MiB").assert_fails(1, "record 0 at byte 0: ");
        let mut gzip = Compressor::new(Compression::Gzip, Vec::new()).expect("a compression that is written");
        gzip.write_all(&hostile).expect("memory");
        run("hostile.gz", &gzip.finish().expect("memory"), "20MiB").assert_fails(1, &place);
    }
}
