//! Rows of text as data sets: tables and JSON lines, plain and compressed, give the same results in the same memory contract.

mod common;

use std::fs;
use std::path::Path;

use common::{Folder, digits, tightfit};
use serde_json::{Value, json};

/// Rows of 64 pixels, as `run` with `digits.pb` takes them.
fn images(rows: usize) -> Vec<Value> {
    let pixel = |row: usize, i: usize| ((row * 31 + i * 7) % 17) as f32 / 16.0;
    let line = |row, y: usize| (0..8).map(|x| json!([pixel(row, 8 * y + x)])).collect::<Value>();
    (0..rows).map(|row| (0..8).map(|y| line(row, y)).collect()).collect()
}

fn jsonl(rows: usize) -> String {
    images(rows)
        .iter()
        .enumerate()
        .map(|(i, image)| json!({"id": i, "image": image}).to_string() + "\n")
        .collect()
}

/// Zstandard of blocks as they are (RFC 8878): no more than a frame around the content, with a window of 1 MiB.
fn zstd(content: &[u8]) -> Vec<u8> {
    let mut file = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 10 << 3];
    let blocks: Vec<&[u8]> = content.chunks(100_000).collect();
    for (i, block) in blocks.iter().enumerate() {
        let header = (block.len() as u32) << 3 | u32::from(i + 1 == blocks.len());
        file.extend(&header.to_le_bytes()[..3]);
        file.extend(*block);
    }
    file
}

fn run(model: &Path, data: &[&Path], output: &Path, more: &[&str]) -> common::Answer {
    let mut args = vec!["run".as_ref(), model.as_os_str(), "--quiet".as_ref(), "--input".as_ref()];
    args.extend(data.iter().map(|path| path.as_os_str()));
    args.extend(["--output".as_ref(), output.as_os_str()]);
    args.extend(more.iter().map(std::ffi::OsStr::new));
    tightfit(args)
}

/// The results of a run, whatever the rows come from.
fn results(model: &Path, data: &[&Path], more: &[&str]) -> Vec<u8> {
    let folder = Folder::new();
    let output = folder.path("out.npz");
    let answer = run(model, data, &output, more);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{data:?}");
    fs::read(&output).expect("results")
}

#[test]
fn lines_and_what_is_packed_give_the_same() {
    let (folder, (model, records)) = (Folder::new(), digits());
    let text = jsonl(40);
    let plain = folder.write("a.jsonl", &text);
    let expected = results(&model, &[&plain], &[]);
    let packed = folder.write("a.jsonl.zst", zstd(text.as_bytes()));
    assert!(results(&model, &[&packed], &["--batch", "7"]) == expected);
    let halves = text.match_indices('\n').nth(14).expect("a line").0 + 1;
    let first = folder.write("b1.jsonl", &text[..halves]);
    let second = folder.write("b2.jsonl", &text[halves..]);
    assert!(results(&model, &[&first, &second], &[]) == expected);
    // Values without keys feed the only input.
    let values: String = images(40).iter().map(|image| image.to_string() + "\n").collect();
    assert!(results(&model, &[&folder.write("c.jsonl", values)], &[]) == expected);
    let records_zst = folder.write("test.tfrecord.zst", zstd(&fs::read(&records).expect("records")));
    assert!(results(&model, &[&records_zst], &[]) == results(&model, &[&records], &[]));
}

#[test]
fn tables_with_tabs_are_those_with_commas() {
    let folder = Folder::new();
    let csv: String = (0..30).map(|i| format!("{i},{}\n", i % 10)).collect();
    let head = |csv: &str| tightfit(["data", "head", "-n", "30", "--quiet", csv]).stdout;
    let tsv = folder.write("a.tsv", format!("x,y\n{csv}").replace(',', "\t"));
    let csv = folder.write("a.csv", format!("x,y\n{csv}"));
    let [csv, tsv] = [csv, tsv].map(|path| head(path.to_str().expect("UTF-8")));
    assert_eq!(csv.replace("a.csv", "a.tsv"), tsv);
    assert!(tsv.starts_with("x: int64 []\ny: int64 []\n") && tsv.lines().count() == 32, "{tsv}");
}

#[test]
fn the_plan_names_the_smallest_memory_and_the_run_works_there() {
    let (folder, (model, _)) = (Folder::new(), digits());
    let text = jsonl(300);
    for (name, bytes) in [("a.jsonl", text.clone().into_bytes()), ("b.jsonl.zst", zstd(text.as_bytes()))] {
        let data = folder.write(name, bytes);
        let output = folder.path("out.jsonl");
        let with = |command: &str, more: &[&str]| {
            let mut args = vec![command.as_ref(), model.as_os_str(), "--quiet".as_ref(), "--input".as_ref()];
            args.extend([data.as_os_str(), "--output".as_ref(), output.as_os_str()]);
            args.extend(["--pipeline-memory", "6MiB"].map(std::ffi::OsStr::new));
            args.extend(more.iter().map(std::ffi::OsStr::new));
            tightfit(args)
        };
        let minimum_bytes = with("plan", &["--json"]).json()["minimum_bytes"].as_u64().expect("a size");
        let answer = with("run", &["--memory", &minimum_bytes.to_string()]);
        assert_eq!(answer.code, 0, "{name}: {answer:?}");
        let refused = with("run", &["--memory", &(minimum_bytes - (64 << 10)).to_string()]);
        refused.assert_fails(3, &minimum_bytes.to_string());
        fs::remove_file(&output).expect("results");
    }
}

#[test]
fn what_is_written_as_lines_can_be_read_and_a_job_be_gone_on_with() {
    let (folder, (model, records)) = (Folder::new(), digits());
    let data = folder.write("a.jsonl", jsonl(50));
    let whole = folder.path("whole.jsonl");
    assert_eq!(run(&model, &[&data], &whole, &["--batch", "4"]).code, 0);
    let out = folder.path("out.jsonl");
    for _ in 0..2 {
        let answer = run(&model, &[&data], &out, &["--batch", "4", "--resume", "--shard-rows", "20"]);
        assert_eq!(answer.code, 0, "{answer:?}");
        // As after a kill: without the last shard, and what the journal says of it.
        let journal = fs::read_to_string(folder.path("out.jsonl.resume")).expect("a journal");
        let lines: Vec<&str> = journal.lines().collect();
        assert!(lines.len() >= 4, "{journal}");
    }
    let shards: String = (0..3)
        .map(|i| fs::read_to_string(folder.path(&format!("out-0000{i}.jsonl"))).expect("a shard"))
        .collect();
    assert_eq!(shards, fs::read_to_string(&whole).expect("results"));
    // The probabilities of a run are a field of what it writes, beside where the rows came from.
    let head = tightfit(["data", "head", "--json", "-n", "1", whole.to_str().expect("UTF-8")]).json();
    let schema = head["schema"].as_array().expect("a schema");
    let field = |name: &str| schema.iter().find(|field| field["name"] == name).expect("a field").clone();
    assert_eq!(field("probabilities"), json!({"name": "probabilities", "dtype": "float32", "shape": [10]}));
    assert_eq!(field("row")["dtype"], "int64");
    drop(records);
}

#[test]
fn bad_lines_are_told_or_skipped() {
    let (folder, (model, _)) = (Folder::new(), digits());
    let text = jsonl(10).replace("\"id\":3,\"image\"", "\"id\":3,\"picture\"");
    let data = folder.write("a.jsonl", &text);
    let out = folder.path("out.jsonl");
    run(&model, &[&data], &out, &[]).assert_fails(1, "a.jsonl, line 4 at byte");
    assert_eq!(run(&model, &[&data], &out, &["--skip-bad"]).code, 0);
    assert_eq!(fs::read_to_string(&out).expect("results").lines().count(), 9);
    // A file that ends in the middle of what is packed.
    let packed = zstd(text.as_bytes());
    let cut = folder.write("b.jsonl.zst", &packed[..packed.len() - 10]);
    let answer = run(&model, &[&cut], &out, &[]);
    assert!(answer.code == 1 && answer.stderr.contains("b.jsonl.zst"), "{answer:?}");
    // Zstandard is read and not written.
    let (_, records) = digits();
    let packed = folder.path("c.tfrecord.zst");
    let convert = [
        "records".as_ref(),
        "convert".as_ref(),
        records.as_os_str(),
        "--output".as_ref(),
        packed.as_os_str(),
    ];
    let answer = tightfit(convert);
    assert!(answer.code == 2 && answer.stderr.contains("end the name in .gz"), "{answer:?}");
}

/// A .tar of files, as tar writes it.
fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        let mut block = [0u8; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block[156] = b'0';
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        archive.extend(block);
        archive.extend(content);
        archive.resize(archive.len().div_ceil(512) * 512, 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

#[test]
fn images_in_an_archive_are_those_of_a_folder() {
    let (folder, (model, _)) = (Folder::new(), digits());
    let mut files: Vec<(&str, Vec<u8>)> =
        vec![("b/notes.txt", b"no image".to_vec()), ("._a.png", vec![1; 9])];
    let digits = [0, 2, 3, 5, 8];
    let names = digits.map(|digit| format!("b/digit_{digit}.png"));
    for (digit, name) in digits.iter().zip(&names) {
        let path = common::repository(&format!("examples/digits/digit_{digit}.png"));
        let content = fs::read(&path).expect("an image");
        fs::write(folder.path(&format!("digit_{digit}.png")), &content).expect("an image");
        files.push((name, content));
    }
    let archive = tar(&files);
    let path = folder.write("digits.tar", &archive);
    let unit = ["--preprocess", "unit"];
    let images = digits.map(|digit| folder.path(&format!("digit_{digit}.png")));
    let images = images.each_ref().map(|path| path.as_path());
    let expected = results(&model, &images, &unit);
    for more in [&[][..], &["--batch", "4"], &["--threads", "1", "--batch", "3"]] {
        assert!(results(&model, &[&path], &[&unit[..], more].concat()) == expected, "{more:?}");
    }
    let out = folder.path("out.jsonl");
    let resumed = ["--batch", "2", "--resume", "--shard-rows", "2"];
    for _ in 0..2 {
        assert_eq!(run(&model, &[&path], &out, &[&unit[..], &resumed].concat()).code, 0);
    }
    let last = fs::read_to_string(folder.path("out-00002.jsonl")).expect("a shard");
    assert!(last.contains("digits.tar/b/digit_8.png"), "{last}");
    // The plan names the smallest memory here too.
    let with = |command: &str, memory: &[&str]| {
        let args = [command.as_ref(), model.as_os_str(), "--input".as_ref(), path.as_os_str()];
        let more = ["--quiet", "--preprocess", "unit", "--json", "--output"].map(std::ffi::OsStr::new);
        let memory = memory.iter().map(std::ffi::OsStr::new);
        let npz = folder.path("out.npz");
        tightfit(args.into_iter().chain(more).chain([npz.as_os_str()]).chain(memory).collect::<Vec<_>>())
    };
    let minimum_bytes = with("plan", &[]).json()["minimum_bytes"].as_u64().expect("a size");
    assert_eq!(with("run", &["--memory", &minimum_bytes.to_string()]).code, 0);
    assert_eq!(with("run", &["--memory", &(minimum_bytes - (64 << 10)).to_string()]).code, 3);
    // A bad image is told with its name, an archive that is cut off with its own.
    files[3].1.truncate(60);
    let bad = folder.write("bad.tar", tar(&files));
    run(&model, &[&bad], &out.with_extension("csv"), &unit).assert_fails(1, "bad.tar/b/digit_2.png");
    let skipped = run(&model, &[&bad], &out.with_extension("csv"), &[&unit[..], &["--skip-bad"]].concat());
    assert_eq!(skipped.code, 0, "{skipped:?}");
    let cut = folder.write("cut.tar", &archive[..archive.len() - 1536]);
    run(&model, &[&cut], &out.with_extension("csv"), &unit).assert_fails(1, "cut.tar: a damaged .tar");
    let empty = folder.write("empty.tar", tar(&files[..1]));
    run(&model, &[&empty], &out.with_extension("csv"), &unit).assert_fails(1, "no images in this archive");
    // A pipeline reads it as a source of images.
    let head = tightfit(["data", "head", "--json", path.to_str().expect("UTF-8")]).json();
    assert_eq!(head["elements"].as_array().expect("elements").len(), 5);
}
