//! `tightfit records shuffle`: nothing is lost, the order is random and can be had again, and memory stays inside.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{Folder, tightfit};
use serde_json::{Value, json};
use tightfit_format::tfrecord::RecordWriter;

const MIB: u64 = 1 << 20;

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Records of `bytes` bytes that begin with their number.
fn numbered(numbers: std::ops::Range<u64>, bytes: usize) -> Vec<u8> {
    let mut writer = RecordWriter::new(Vec::new());
    for number in numbers {
        let mut record = number.to_le_bytes().to_vec();
        record.resize(bytes, number as u8);
        writer.write(&record).expect("memory");
    }
    writer.into_inner()
}

fn numbers_of(path: &Path) -> Vec<u64> {
    let verified = tightfit(["records", "verify", text(path), "--json"]).json();
    let whole = fs::read(path).expect("the output");
    let (mut rest, mut numbers) = (&whole[..], Vec::new());
    while let Some((length, _)) = rest.split_first_chunk() {
        let (record, behind) = rest[12..].split_at(u64::from_le_bytes(*length) as usize);
        let number = u64::from_le_bytes(*record.first_chunk().expect("a number"));
        assert!(record[8..].iter().all(|byte| *byte == number as u8));
        numbers.push(number);
        rest = &behind[4..];
    }
    assert_eq!(verified["records"], json!(numbers.len()));
    numbers
}

/// Shuffles `inputs`; the order and the report.
fn shuffle(folder: &Folder, inputs: &[&Path], more: &[&str]) -> (Vec<u64>, Value) {
    let output = folder.path("out.tfrecord");
    let mut args = vec!["records", "shuffle", "--json", "--quiet", "--output", text(&output)];
    args.extend(inputs.iter().map(|path| text(path)));
    args.extend(more);
    let report = tightfit(&args).json();
    let numbers = numbers_of(&output);
    assert_eq!(report["records"], json!(numbers.len()));
    fs::remove_file(output).expect("the output");
    (numbers, report)
}

fn assert_complete(numbers: &[u64], count: u64) {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..count), "every record once");
}

#[test]
fn the_same_order_in_any_memory_and_another_in_any_epoch() {
    let folder = Folder::new();
    let (a, b) = (
        folder.write("a.tfrecord", numbered(0..30_000, 100)),
        folder.write("b.tfrecord", numbered(30_000..40_000, 400)),
    );
    let inputs = [a.as_path(), b.as_path()];
    let (order, report) = shuffle(&folder, &inputs, &["--seed", "3"]);
    assert_complete(&order, 40_000);
    assert_eq!((&report["order"], &report["windows"]), (&json!("uniform"), &json!(1)));
    for more in [["--memory", "6MiB", "--threads", "1"], ["--memory", "6500KiB", "--threads", "3"]] {
        let (again, report) = shuffle(&folder, &inputs, &[&["--seed", "3"][..], &more].concat());
        assert!(again == order, "the same seed gives the same order");
        assert!(report["windows"].as_u64() > Some(3), "{report}");
    }
    for other in [["--seed", "4", "--epoch", "0"], ["--seed", "3", "--epoch", "1"]] {
        let (other, _) = shuffle(&folder, &inputs, &other);
        assert_complete(&other, 40_000);
        let same = other.iter().zip(&order).filter(|(a, b)| a == b).count();
        assert!(same < 12, "{same} records stand where they stood");
    }
    assert_eq!(folder.names(), [".a.tfrecord.tfindex", ".b.tfrecord.tfindex", "a.tfrecord", "b.tfrecord"]);
}

/// Positions by numbers in 32 by 32 cells, and the distances of neighbours in 256: Pearson's test, by the normal
/// approximation of Wilson and Hilferty. More than 3.1 deviations come twice in a thousand seeds.
#[test]
fn uniform_after_chi_squared() {
    const COUNT: u64 = 120_000;
    let deviations = |counts: &BTreeMap<u64, u64>, cells: f64, freedom: f64| {
        let expected = counts.values().sum::<u64>() as f64 / cells;
        let chi: f64 = counts.values().map(|count| (*count as f64 - expected).powi(2) / expected).sum();
        let spread = 2.0 / (9.0 * freedom);
        ((chi / freedom).cbrt() - (1.0 - spread)) / spread.sqrt()
    };
    let folder = Folder::new();
    let path = folder.write("a.tfrecord", numbered(0..COUNT, 50));
    for seed in ["1", "2", "3"] {
        let (order, report) = shuffle(&folder, &[&path], &["--seed", seed, "--memory", "7MiB"]);
        assert_complete(&order, COUNT);
        assert!(report["windows"].as_u64() > Some(3), "{report}");
        let (mut cells, mut distances) = (BTreeMap::new(), BTreeMap::new());
        for (position, number) in (0..).zip(&order) {
            *cells.entry(position * 32 / COUNT * 32 + number * 32 / COUNT).or_default() += 1;
        }
        for pair in order.chunks_exact(2) {
            *distances.entry((pair[1] + COUNT - pair[0]) % COUNT * 256 / COUNT).or_default() += 1;
        }
        assert_eq!((cells.len(), distances.len()), (1024, 256));
        let far = [deviations(&cells, 1024.0, 31.0 * 31.0), deviations(&distances, 256.0, 255.0)];
        assert!(far.iter().all(|far| far.abs() < 3.1), "seed {seed}: {far:?} deviations");
    }
}

#[test]
fn memory_stays_inside() {
    let folder = Folder::new();
    let small = folder.write("small.tfrecord", numbered(0..400_000, 100));
    let large = folder.write("large.tfrecord", numbered(0..80, 600_000));
    for (path, count) in [(&small, 400_000), (&large, 80)] {
        for memory in [11u64, 14, 24] {
            for more in [&[][..], &["--blocks", "64KiB"], &["--threads", "4"]] {
                let size = format!("{memory}MiB");
                let (order, report) = shuffle(&folder, &[path], &[&["--memory", &size][..], more].concat());
                assert_complete(&order, count);
                let peak_bytes = report["peak_resident_bytes"].as_u64().expect("Linux");
                assert!(peak_bytes <= memory * MIB, "{peak_bytes} in {size} {more:?}: {report}");
            }
        }
    }
    // Into a compressed file too, which takes memory of its own.
    let output = folder.path("o.tfrecord.gz");
    let args = ["records", "shuffle", text(&small), "--output", text(&output), "--memory", "11MiB", "--json"];
    let report = tightfit(args).json();
    assert!(report["peak_resident_bytes"].as_u64() <= Some(11 * MIB), "{report}");
    let unpacked = folder.path("o.tfrecord");
    tightfit(["records", "convert", text(&output), "--output", text(&unpacked), "--json"]).json();
    assert_complete(&numbers_of(&unpacked), 400_000);
}

#[test]
fn blocks_say_how_far_they_mix() {
    let folder = Folder::new();
    let path = folder.write("a.tfrecord", numbered(0..50_000, 100));
    let (order, report) =
        shuffle(&folder, &[&path], &["--blocks", "8KiB", "--memory", "10MiB", "--seed", "8"]);
    assert_complete(&order, 50_000);
    let number = |name: &str| report[name].as_u64().expect("a number");
    let (block, mixed) = (number("block_records"), number("mixed_records"));
    assert_eq!((&report["order"], block), (&json!("blocks"), 8192 / 116));
    assert_eq!(mixed, block * number("mixed_blocks"));
    let mut position = vec![0u64; order.len()];
    (0..).zip(&order).for_each(|(at, number)| position[*number as usize] = at);
    let farthest = (0..order.len() - 1)
        .filter(|number| *number as u64 / block == (*number as u64 + 1) / block)
        .map(|number| position[number].abs_diff(position[number + 1]))
        .max();
    assert!(farthest < Some(mixed) && farthest > Some(mixed / 2), "{farthest:?} of {mixed}");
}

#[test]
fn a_stale_or_damaged_index_is_built_anew() {
    let folder = Folder::new();
    let path = folder.write("a.tfrecord", numbered(0..1000, 100));
    let place = folder.path(".a.tfrecord.tfindex");
    let (order, _) = shuffle(&folder, &[&path], &[]);
    let index = fs::read(&place).expect("the index");
    let mut damaged = index.clone();
    damaged[60] ^= 1;
    fs::write(&place, damaged).expect("the index");
    assert_eq!(shuffle(&folder, &[&path], &[]).0, order);
    assert_eq!(fs::read(&place).expect("the index"), index);
    folder.write("a.tfrecord", numbered(0..500, 222));
    assert_complete(&shuffle(&folder, &[&path], &[]).0, 500);
    // One for data that cannot have it beside.
    fs::remove_file(&place).expect("the index");
    fs::create_dir(&place).expect("a folder in its place");
    let indexes = folder.path("indexes");
    let output = folder.path("o.tfrecord");
    let args = ["records", "shuffle", text(&path), "--output", text(&output)];
    assert_eq!(tightfit(args).code, 1);
    assert_complete(&shuffle(&folder, &[&path], &["--index", text(&indexes)]).0, 500);
}

#[test]
fn what_cannot_be_shuffled() {
    let folder = Folder::new();
    let whole = numbered(0..100, 1000);
    let path = folder.write("a.tfrecord", &whole);
    let output = folder.path("o.tfrecord");
    let call = |path: &Path, more: &[&str]| {
        tightfit([&["records", "shuffle", text(path), "--output", text(&output)][..], more].concat())
    };
    tightfit(["records", "shuffle", text(&path)]).assert_fails(2, "needs --output");
    tightfit(["records", "shuffle", text(&path), "--output", text(&path)])
        .assert_fails(2, "would be read and written");
    call(&path, &["--seed", "x"]).assert_fails(2, "--seed x: give a whole number");
    let unpack = call(&path, &["--quiet"]);
    assert_eq!(unpack.code, 0, "{unpack:?}");
    let gzip = folder.path("z.tfrecord.gz");
    assert_eq!(tightfit(["records", "convert", text(&path), "--output", text(&gzip), "--quiet"]).code, 0);
    call(&gzip, &[]).assert_fails(2, "is compressed (GZIP)");
    let large = folder.write("large.tfrecord", numbered(0..3, 4_000_000));
    call(&large, &["--memory", "7MiB", "--quiet"])
        .assert_fails(3, "large.tfrecord, record 0 at byte 0: the shuffle window");
    fs::remove_file(&output).expect("the output");
    // Broken where only reading shows it, and where the index does.
    let mut broken = whole.clone();
    broken[50 * 1016 + 500] ^= 1;
    let path = folder.write("b.tfrecord", &broken);
    call(&path, &["--quiet"]).assert_fails(1, "b.tfrecord, record 50 at byte 50800: the CRC of its data");
    broken[60 * 1016] ^= 1;
    let path = folder.write("b.tfrecord", &broken);
    call(&path, &["--quiet"]).assert_fails(1, "record 60 at byte 60960: the CRC of its length");
    let path = folder.write("c.tfrecord", &whole[..whole.len() - 1]);
    call(&path, &["--quiet"]).assert_fails(1, "record 99 at byte 100584: the file ends inside it");
    assert!(!output.exists());
    // Nothing is something that can be shuffled.
    let path = folder.write("empty.tfrecord", b"");
    assert_eq!(call(&path, &["--quiet"]).code, 0);
    assert_eq!(fs::metadata(&output).expect("the output").len(), 0);
}
