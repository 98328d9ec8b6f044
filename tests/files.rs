//! Files of the command line where disks are full and names are no UTF-8.
#![cfg(target_os = "linux")]

mod common;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use common::{Answer, Folder, command, digits, repository};

fn answer_of(mut command: Command) -> Answer {
    let output = command.output().expect("the program starts");
    Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("UTF-8 on stdout"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8 on stderr"),
    }
}

/// Calls the program where no file may become larger than `bytes`, as on a disk that is full.
fn limited(args: &[&OsStr], bytes: u64) -> Answer {
    let mut command = command(args);
    // SAFETY: setrlimit is async-signal-safe, and nothing else happens between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
            match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    answer_of(command)
}

fn words(text: &str) -> Vec<&OsStr> {
    text.split(' ').map(OsStr::new).collect()
}

#[test]
fn a_disk_that_becomes_full_is_one_line_and_leaves_nothing() {
    let ((model, records), folder) = (digits(), Folder::new());
    let pipeline = repository("examples/digits/pipeline.json");
    let run = [words("run"), vec![model.as_os_str(), "--input".as_ref(), records.as_os_str()]].concat();
    let of_records = |first: &'static str, more: &'static str| {
        [words(first), vec![records.as_os_str()], words(more)].concat()
    };
    // Relative names in it are those of the repository.
    let preprocess = [words("records preprocess"), vec![pipeline.as_os_str(), "--quiet".as_ref()]].concat();
    let jobs = [
        (run.clone(), "csv"),
        (run.clone(), "jsonl"),
        (run.clone(), "npz"),
        (run.clone(), "npy"),
        (run, "tfrecord"),
        (of_records("records convert", "--quiet"), "npz"),
        (of_records("records convert", "--quiet"), "tfrecord.gz"),
        (of_records("records shuffle", "--quiet"), "tfrecord"),
        (of_records("records shard 1", "--quiet"), "shard"),
        (preprocess, "tfrecord"),
    ];
    for (job, extension) in jobs {
        let output = folder.write(&format!("out.{extension}"), "from before");
        // Indexes of records stay, and are of use to the next call.
        let indexes = Folder::new();
        let index = indexes.path("");
        let mut args = [job, vec!["--output".as_ref(), output.as_os_str()]].concat();
        if args.contains(&OsStr::new("shuffle")) {
            args.extend([OsStr::new("--index"), index.as_os_str()]);
        }
        std::env::set_current_dir(repository("")).expect("the repository");
        let before = folder.names();
        // Smaller than what is written, and not a whole number of buffers.
        let answer = limited(&args, 3001);
        answer.assert_fails(1, "out.");
        assert!(answer.stderr.contains("File too large"), "{answer:?}");
        assert_eq!(folder.names(), before, "{args:?}");
        assert_eq!(fs::read(&output).expect("it stays"), b"from before", "{args:?}");
        fs::remove_file(&output).expect("it stays");
    }
}

#[test]
fn a_report_is_whole_or_not_there() {
    let ((model, _), folder) = (digits(), Folder::new());
    let image = repository("examples/digits/digit_2.png");
    let (output, report) = (folder.path("out.csv"), folder.write("report.html", "from before"));
    let first = [OsStr::new("run"), model.as_os_str(), "--input".as_ref(), image.as_os_str()];
    let more = words("--quiet --output");
    let args = [&first[..], &more, &[output.as_os_str(), "--report".as_ref(), report.as_os_str()]].concat();
    assert_eq!(common::tightfit(&args).code, 0);
    let (rows, page) = (fs::read(&output).expect("it"), fs::metadata(&report).expect("it").len());
    assert!(page > rows.len() as u64, "{page}");
    fs::write(&report, "from before").expect("it");
    limited(&args, rows.len() as u64).assert_fails(1, "report.html");
    assert_eq!(folder.names(), ["out.csv", "report.html"]);
    assert_eq!(fs::read(&report).expect("it stays"), b"from before");
}

#[test]
fn a_job_in_shards_keeps_what_was_whole_when_the_disk_became_full() {
    let ((model, records), folder) = (digits(), Folder::new());
    let output = folder.path("out.csv");
    let first = [OsStr::new("run"), model.as_os_str(), "--input".as_ref(), records.as_os_str()];
    let more = words("--batch 10 --resume --shard-rows 100 --quiet --output");
    let args = [&first[..], &more, &[output.as_os_str()]].concat();
    let expected = {
        let answer = common::tightfit(&args);
        assert_eq!(answer.code, 0, "{answer:?}");
        let names = folder.names();
        let files: Vec<_> = names.iter().map(|name| fs::read(folder.path(name)).expect("it")).collect();
        names.iter().for_each(|name| fs::remove_file(folder.path(name)).expect("it"));
        (names, files)
    };
    limited(&args, 3001).assert_fails(1, "out-00000.csv");
    assert!(folder.names().iter().all(|name| name == "out.csv.resume"), "{:?}", folder.names());
    let answer = common::tightfit(&args);
    assert_eq!(answer.code, 0, "{answer:?}");
    let names = folder.names();
    let files: Vec<_> = names.iter().map(|name| fs::read(folder.path(name)).expect("it")).collect();
    assert!((names, files) == expected);
}

#[test]
fn names_that_are_no_utf_8_are_names() {
    let ((model, records), folder) = (digits(), Folder::new());
    let name = |text: &[u8]| folder.path("").join(OsStr::from_bytes(text));
    let (odd_model, odd_records) = (name(b"m\xff.pb"), name(b"r\xfe.tfrecord"));
    fs::copy(&model, &odd_model).expect("a file system that takes any name");
    fs::copy(&records, &odd_records).expect("the same");
    let output = name(b"o\xfd.npy");
    let run = |model: &OsStr, input: &OsStr, output: &OsStr| {
        let args = [OsStr::new("run"), model, "--input".as_ref(), input, "--output".as_ref(), output];
        let answer = common::tightfit(args.iter().chain(&[OsStr::new("--quiet")]));
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{answer:?}");
        fs::read(output).expect("the output")
    };
    let expected = run(model.as_os_str(), records.as_os_str(), folder.path("plain.npy").as_os_str());
    assert_eq!(run(odd_model.as_os_str(), odd_records.as_os_str(), output.as_os_str()), expected);
    // A tensor is fed from a file of such a name, too.
    let pixels: Vec<u8> = [0.5f32; 64].iter().flat_map(|value| value.to_le_bytes()).collect();
    let array = name(b"x\xfc.npy");
    fs::write(&array, common::npy("<f4", "(1, 8, 8, 1)", &pixels)).expect("the same");
    let inspected =
        common::tightfit([OsStr::new("inspect"), odd_model.as_os_str(), "--json".as_ref()]).json();
    let input = inspected["inputs"][0]["name"].as_str().expect("an input").to_string();
    let mut pair = OsString::from(input + "=");
    pair.push(&array);
    assert!(!run(odd_model.as_os_str(), &pair, output.as_os_str()).is_empty());
    // One that is missing is told by what can be shown of its name.
    let missing = name(b"none\xff.pb");
    common::tightfit([OsStr::new("inspect"), missing.as_os_str()]).assert_fails(1, "none\u{fffd}.pb");
    for command in [["records", "verify"], ["records", "inspect"], ["records", "head"]] {
        let args = command.map(OsStr::new).into_iter().chain([odd_records.as_os_str()]);
        let answer = common::tightfit(args);
        assert_eq!(answer.code, 0, "{answer:?}");
    }
}
