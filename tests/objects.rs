//! The program on data in object stores: what it says and writes is what it does of files.

mod common;
#[path = "../crates/data/tests/objects/server.rs"]
mod server;

use std::fs;
use std::path::Path;

use common::{Answer, Folder, command, digits};
use server::{Fault, server};
use tightfit_format::compress::Compressor;
use tightfit_format::example::{Values, write_example};
use tightfit_format::tfrecord::{Compression, RecordWriter};

/// Calls the program with a store at the server.
fn tightfit(args: &[&str]) -> Answer {
    let options = [
        ("AWS_ENDPOINT", server().address()),
        ("AWS_ALLOW_HTTP", "true".to_string()),
        ("AWS_ACCESS_KEY_ID", "key".to_string()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_string()),
        ("AWS_TIMEOUT", "1 second".to_string()),
    ];
    let output = command(args).envs(options).output().expect("the program starts");
    Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("UTF-8 on stdout"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8 on stderr"),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Records of 48 KiB: `bytes` of them, about.
fn large_records(compression: Compression, bytes: usize) -> Vec<u8> {
    let mut writer =
        RecordWriter::new(Compressor::new(compression, Vec::new()).expect("a compression that is written"));
    for i in 0..bytes / (48 << 10) {
        let values: Vec<f32> = (0..12 << 10).map(|j| (i * j) as f32).collect();
        let mut example = Vec::new();
        write_example(&mut example, &[("i", Values::Int64(&[i as i64])), ("x", Values::Float(&values))]);
        writer.write(&example).expect("memory");
    }
    writer.into_inner().finish().expect("memory")
}

#[test]
fn a_run_over_objects_gives_the_rows_of_files() {
    let (folder, (model, records)) = (Folder::new(), digits());
    let url = server().put("run/a.tfrecord", fs::read(&records).unwrap());
    server().put("run/b.tfrecord", fs::read(&records).unwrap());
    let run = |inputs: &[&str], name: &str| {
        let output = folder.path(name);
        let mut args =
            vec!["run", text(&model), "--quiet", "--batch", "7", "--output", text(&output), "--input"];
        args.extend(inputs);
        let answer = tightfit(&args);
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{answer:?}");
        fs::read(output).unwrap()
    };
    let local = run(&[text(&records), text(&records)], "local.npy");
    assert_eq!(local, run(&["s3://run/"], "folder.npy"));
    assert_eq!(local, run(&["s3://run/*.tfrecord"], "pattern.npy"));
    // A query with an equals sign is none of NAME=FILE.
    assert_eq!(local, run(&[text(&url), &format!("{}?signature=x", text(&url))], "http.npy"));
}

#[test]
fn a_run_over_objects_is_resumed() {
    let (folder, (model, records)) = (Folder::new(), digits());
    let records = fs::read(records).expect("the records");
    server().put("resume/a.tfrecord", records.clone());
    server().put("resume/b.tfrecord", records.clone());
    let (output, state) = (folder.path("out.csv"), folder.path("out.csv.resume"));
    let fixed = ["run", text(&model), "--input", "s3://resume/", "--output", text(&output), "--quiet"];
    let args = [&fixed[..], &["--batch", "9", "--resume", "--shard-rows", "99"]].concat();
    let run = || {
        let answer = tightfit(&args);
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{answer:?}");
        folder.names().iter().map(|name| fs::read(folder.path(name)).expect("it")).collect::<Vec<_>>()
    };
    let whole = run();
    assert_eq!(whole.len(), 9);
    // As if it had been killed in the second file, and in the first.
    let lines = fs::read_to_string(&state).expect("the state");
    for shards in [5, 1] {
        let kept: String = lines.split_inclusive('\n').take(1 + shards).collect();
        fs::write(&state, kept).expect("the state");
        assert_eq!(run(), whole);
    }
    server().put("resume/b.tfrecord", records.repeat(2));
    tightfit(&args).assert_fails(1, "data file 1 was 's3://resume/b.tfrecord of 111600 bytes");
}

#[test]
fn what_is_secret_in_an_address_is_written_nowhere() {
    let (folder, (model, records)) = (Folder::new(), digits());
    let url = server().put("secret/a.tfrecord", fs::read(records).expect("the records"));
    let url = url.to_str().expect("UTF-8").replacen("://", "://user:SECRET@", 1);
    let url = format!("{url}?X-Amz-Signature=SECRET&expires=SECRET");
    let report = folder.path("report.json");
    let run = |output: &str, more: &[&str]| {
        let output = folder.path(output);
        let fixed =
            ["run", text(&model), "--batch", "9", "--report", text(&report), "--output", text(&output)];
        let answer = tightfit(&[&fixed[..], &["--input", &url], more].concat());
        let shown = [answer.stdout.as_str(), &answer.stderr].concat();
        assert!(!shown.contains("SECRET"), "{answer:?}");
        answer
    };
    // Rows name their source in these two, and the journal tells the job by its data.
    let shards = ["--resume", "--shard-rows", "99"];
    for (output, more) in [("a.jsonl", &[][..]), ("a.csv", &[]), ("b.jsonl", &shards), ("b.csv", &shards)] {
        let answer = run(output, more);
        assert_eq!(answer.code, 0, "{answer:?}");
    }
    let lines = fs::read_to_string(folder.path("a.jsonl")).expect("the rows");
    assert!(lines.contains("***@") && lines.contains("secret/a.tfrecord?X-Amz-Signature=***"), "{lines}");
    let names = folder.names();
    assert!(names.contains(&"b.csv.resume".to_string()), "{names:?}");
    for name in names {
        let bytes = fs::read(folder.path(&name)).expect("it");
        assert!(
            !bytes.windows(6).any(|word| word == b"SECRET"),
            "{name}: {}",
            String::from_utf8_lossy(&bytes)
        );
    }
    // That the data has changed is told without them as well.
    server().put("secret/a.tfrecord", Vec::new());
    run("b.csv", &shards).assert_fails(1, "secret/a.tfrecord");
}

#[test]
fn commands_of_records_read_objects() {
    let folder = Folder::new();
    for (name, compression) in [("a.tfrecord", Compression::None), ("a.tfrecord.gz", Compression::Gzip)] {
        let bytes = large_records(compression, 6 << 20);
        let local = folder.write(name, &bytes);
        server().put(&format!("records/{name}"), bytes);
        let url = format!("s3://records/{name}");
        for command in ["inspect", "head"] {
            let [expected, found] = [text(&local), &url].map(|file| {
                let answer = tightfit(&["records", command, file, "--json"]);
                assert_eq!(answer.code, 0, "{answer:?}");
                answer.stdout.replace(file, "FILE")
            });
            assert_eq!(expected, found);
        }
        let verified = tightfit(&["records", "verify", &url, "--json"]).json();
        assert_eq!(
            (verified["records"].as_u64(), verified["bad"].as_array().map(Vec::len)),
            (Some(128), Some(0))
        );
        let [expected, found] = [text(&local), &url].map(|file| {
            let output = folder.path("out.npz");
            let answer = tightfit(&["records", "convert", file, "--output", text(&output), "--quiet"]);
            assert_eq!(answer.code, 0, "{answer:?}");
            fs::read(output).unwrap()
        });
        assert!(expected == found);
    }
}

#[test]
fn the_process_stays_inside_its_memory() {
    let (folder, (model, records)) = (Folder::new(), digits());
    let one = fs::read(&records).unwrap();
    server().put("peak/a.tfrecord", one.repeat((24 << 20) / one.len()));
    let report = folder.path("report.json");
    let output = folder.path("out.npy");
    let mut args = vec![
        "run",
        text(&model),
        "--quiet",
        "--batch",
        "64",
        "--output",
        text(&output),
        "--report",
        text(&report),
    ];
    args.extend(["--input", "s3://peak/a.tfrecord", "--memory"]);
    let of_size = |size: &'static str| tightfit(&[args.clone(), vec![size]].concat());
    // Too little for the stores, for what is read ahead, for the model.
    for size in ["10MiB", "13MiB", "15MiB"] {
        of_size(size).assert_fails(3, "does not fit");
    }
    let refused = of_size("1MiB");
    assert_eq!(refused.code, 3, "{refused:?}");
    // The smallest memory that works, as the error has it.
    let least = refused.stderr.split("that works is ").nth(1).and_then(|rest| rest.split(' ').next());
    let least = least.unwrap_or_else(|| panic!("{refused:?}"));
    let answer = tightfit(&[args, vec![least]].concat());
    assert_eq!(answer.code, 0, "{answer:?}");
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let (peak, budget) = (report["peak_resident_bytes"].as_u64(), report["budget_bytes"].as_u64());
    assert!(peak.is_some() && peak <= budget, "{report}");
}

#[test]
fn errors_name_url_range_and_status() {
    let (model, records) = digits();
    server().put("errors/a.tfrecord", fs::read(records).unwrap());
    server().fail_always("errors/a.tfrecord", Fault::Status(403));
    let run = |url: &str| tightfit(&["run", text(&model), "--input", url]);
    run("s3://errors/a.tfrecord").assert_fails(1, "s3://errors/a.tfrecord: bytes 0 to 65536: ");
    run("s3://errors/a.tfrecord").assert_fails(1, "403");
    run("s3://errors/none.tfrecord").assert_fails(1, "404");
    run("s3://errors/none/").assert_fails(1, "s3://errors/none/: no images");
}
