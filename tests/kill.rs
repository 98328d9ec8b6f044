//! Processes that are killed at any moment lose nothing and leave nothing behind.
#![cfg(unix)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use common::{Folder, command, digits, floats, npy, tightfit};
use serde_json::Value;
use tightfit_format::compress::Compressor;
use tightfit_format::tfrecord::Compression;

/// Kills of each kind of job.
const KILLS: usize = 50;

/// Starts of one job after which something is wrong.
const MAX_STARTS: usize = 1000;

/// Moments to kill at. The seed is in every message.
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    fn new() -> Random {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
        let seed = since.as_nanos() as u64 | 1;
        Random { seed, state: seed }
    }

    fn below(&mut self, limit: u64) -> u64 {
        // xorshift64
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % limit.max(1)
    }
}

/// A file's name with its bytes.
type Files = BTreeMap<String, Vec<u8>>;

/// All files of a folder, those in folders too.
fn files(folder: &Path) -> Files {
    let mut all = Files::new();
    for entry in fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            all.extend(files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            all.insert(name, fs::read(&path).expect("the file"));
        }
    }
    all
}

fn strings(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| arg.to_string()).collect()
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_string()
}

fn start(args: &[String]) -> Child {
    let mut command = command(args);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// Starts a process and kills it some time before `limit`, unless it ends before; whether it was killed.
fn is_killed(args: &[String], limit: Duration, random: &mut Random) -> bool {
    let mut child = start(args);
    thread::sleep(Duration::from_micros(random.below(limit.as_micros() as u64)));
    child.kill().expect("it can be killed");
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_none_or(|code| code == 0), "seed {}: {stderr}", random.seed);
    output.status.code().is_none()
}

/// Calls that worked, and how long they took.
fn timed(args: &[String]) -> Duration {
    let begin = Instant::now();
    let answer = tightfit(args);
    assert_eq!(answer.code, 0, "{answer:?}");
    begin.elapsed()
}

/// Calls again and again, killing each time, until a call comes to its end; how often it was killed. `check` looks at
/// what a kill has left.
fn kill_until_done(
    args: &[String],
    limit: Duration,
    random: &mut Random,
    check: &mut dyn FnMut(u64),
) -> usize {
    for kills in 0..MAX_STARTS {
        // Later and later: each start also cleans up after the one before, and the machine may have got slower.
        let limit = limit.mul_f64(1.0 + kills as f64 / 10.0);
        if !is_killed(args, limit, random) {
            return kills;
        }
        check(random.seed);
    }
    panic!("seed {}: it does not get on", random.seed);
}

/// The digits' records `times` times. Two of them are bad where `is_broken`.
fn many_digits(times: usize, is_broken: bool) -> Vec<u8> {
    let mut bytes = fs::read(digits().1).expect("the records").repeat(times);
    if is_broken {
        let record_bytes = bytes.len() / 360 / times;
        for record in [0, 777] {
            bytes[record * record_bytes + 100] ^= 1;
        }
    }
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Compressor::new(Compression::Gzip, Vec::new()).expect("a compression that is written");
    gzip.write_all(bytes).expect("memory");
    gzip.finish().expect("memory")
}

/// Rows of the digits' shape that are all different.
fn rows_npy(rows: usize) -> Vec<u8> {
    let values: Vec<f32> = (0..rows * 64).map(|i| (i * 7919 % 1009) as f32 / 1009.0).collect();
    npy("<f4", &format!("({rows}, 8, 8, 1)"), &floats(&values))
}

/// A job whose shards are in `folder`, called `out-00000.EXT` and so on.
fn job(data: &Path, folder: &Folder, extension: &str, more: &[&str]) -> Vec<String> {
    let (model, output) = (text(&digits().0), text(&folder.path(&format!("out.{extension}"))));
    let fixed = ["run", &model, "--input", &text(data), "--output", &output];
    let mut args = strings(&[&fixed[..], &["--resume", "--quiet", "--threads", "1"]].concat());
    args.extend(strings(more));
    args
}

/// Kills the job of `data` in every format, and compares all shards with those of a job that was left alone.
fn killed_runs_are_resumed(data: &Path, more: &[&str], rows: u64) {
    let mut random = Random::new();
    let mut kills = 0;
    for extension in ["jsonl", "csv", "npy", "npz", "tfrecord"].iter().cycle() {
        let (alone, killed) = (Folder::new(), Folder::new());
        let limit = timed(&job(data, &alone, extension, more)) / 4;
        let args = job(data, &killed, extension, more);
        kills += kill_until_done(&args, limit, &mut random, &mut |_| {});
        let (wanted, found) = (files(&alone.path("")), files(&killed.path("")));
        let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&wanted), "seed {}", random.seed);
        assert!(wanted.len() > 10, "{:?}", names(&wanted));
        for (name, bytes) in &wanted {
            assert!(found[name] == *bytes, "seed {}: {name} differs", random.seed);
        }
        // All rows are in the report, whoever has computed them, and nothing is computed again.
        let report = killed.path("report.json");
        let again = [args, strings(&["--report", &text(&report)])].concat();
        timed(&again);
        let report: Value = serde_json::from_slice(&fs::read(report).expect("it")).expect("JSON");
        assert_eq!((&report["rows"], &report["resumed_rows"]), (&rows.into(), &rows.into()));
        if kills >= KILLS {
            break;
        }
    }
}

#[test]
fn runs_over_records() {
    let folder = Folder::new();
    let data = folder.write("data.tfrecord", many_digits(20, true));
    killed_runs_are_resumed(&data, &["--batch", "7", "--shard-rows", "200", "--skip-bad"], 7198);
}

#[test]
fn runs_over_compressed_records() {
    let folder = Folder::new();
    let data = folder.write("data.tfrecord.gz", gzip(&many_digits(20, false)));
    killed_runs_are_resumed(&data, &["--batch", "32", "--shard-rows", "256", "--label", "label"], 7200);
}

#[test]
fn runs_over_arrays() {
    let folder = Folder::new();
    let data = folder.write("data.npy", rows_npy(7001));
    killed_runs_are_resumed(&data, &["--batch", "16", "--shard-rows", "304"], 7001);
}

/// A whole data set in random order, and a filter.
#[test]
fn runs_over_pipelines() {
    let folder = Folder::new();
    let data = folder.write("data.tfrecord", many_digits(20, false));
    let pipeline = serde_json::json!({
        "source": {"shuffled": data, "seed": 3},
        "stages": [{"parse": null}, {"filter": "label", "not_equals": 4}, {"prefetch": 8}],
    });
    let data = folder.write("data.json", pipeline.to_string());
    // 36 of the 360 digits are a four.
    killed_runs_are_resumed(
        &data,
        &["--batch", "8", "--shard-rows", "256", "--label", "label"],
        20 * (360 - 36),
    );
}

/// Elements that come from a cache, its file or memory, in a second pass in another order, and as a window of rows.
#[test]
fn runs_over_cached_pipelines() {
    for folder_of_cache in [true, false] {
        let folder = Folder::new();
        let data = folder.write("data.tfrecord", many_digits(8, false));
        let cache = if folder_of_cache { text(&folder.path("cache")).into() } else { Value::Null };
        let pipeline = serde_json::json!({
            "source": {"tfrecord": data},
            "stages": [{"parse": null, "threads": 2}, {"cache": cache, "memory": "8MiB"}, {"repeat": 2},
                       {"shuffle": "100KB", "seed": 5}, {"prefetch": 8}],
        });
        let data = folder.write("data.json", pipeline.to_string());
        let more = ["--batch", "8", "--shard-rows", "256", "--label", "label"];
        killed_runs_are_resumed(&data, &more, 2 * 8 * 360);
    }
}

/// Stages of every kind that hold elements, in order.
#[test]
fn runs_over_ordered_pipelines() {
    let folder = Folder::new();
    let data = [folder.write("a.npy", rows_npy(4000)), folder.write("b.npy", rows_npy(3001))];
    let pipeline = serde_json::json!({
        "source": {"npy": data, "field": "image", "cycle": 2, "block": 3, "shuffle_files": 7},
        "stages": [{"shuffle": "50KB", "seed": 1}, {"cast": {"image": "float64"}}, {"batch": 5}, {"unbatch": null},
                   {"cast": {"image": "float32"}, "threads": 2}, {"shuffle": "20KB", "seed": 2},
                   {"prefetch": null}],
    });
    let data = folder.write("data.json", pipeline.to_string());
    killed_runs_are_resumed(&data, &["--batch", "16", "--shard-rows", "304"], 7001);
}

/// The rows of all shards, without the numbers that say in which order they came.
fn sorted_rows(folder: &Folder) -> Vec<String> {
    let shards = files(&folder.path("")).into_iter().filter(|(name, _)| name.starts_with("out-"));
    let shards = shards.map(|(_, bytes)| String::from_utf8(bytes).expect("UTF-8"));
    let rows = shards.flat_map(|shard| shard.lines().skip(1).map(str::to_string).collect::<Vec<_>>());
    let mut rows: Vec<_> = rows.map(|row| row.split(',').skip(3).collect::<Vec<_>>().join(",")).collect();
    rows.sort();
    rows
}

/// Elements that come as they are done, in another order each time: every row is there once, whoever was killed.
#[test]
fn runs_over_unordered_pipelines() {
    let mut random = Random::new();
    let folder = Folder::new();
    let values: Vec<f32> = (0..7000 * 64u64).map(|i| (i * 7919 % 1_000_003) as f32 / 1e6).collect();
    let data = folder.write("rows.npy", npy("<f4", "(7000, 8, 8, 1)", &floats(&values)));
    let cache = folder.path("cache");
    let pipeline = |is_unordered: bool, stage: Option<Value>| {
        let mut stages = vec![
            serde_json::json!({"cast": {"image": "float64"}, "threads": 3, "unordered": is_unordered}),
            serde_json::json!({"shuffle": "40KB", "seed": 3}),
            serde_json::json!({"cast": {"image": "float32"}, "threads": 3, "unordered": is_unordered}),
        ];
        stages.splice(1..1, stage);
        let source = serde_json::json!({"npy": data, "field": "image", "cycle": 2});
        folder.write("data.json", serde_json::json!({"source": source, "stages": stages}).to_string())
    };
    let more = ["--batch", "8", "--shard-rows", "200"];
    let (alone, mut wanted) = (Folder::new(), Vec::new());
    let limit = timed(&job(&pipeline(false, None), &alone, "csv", &more)) / 3;
    wanted.extend(sorted_rows(&alone));
    let different = wanted.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(wanted.len() == 7000 && different > 6900, "{} rows, {different} different", wanted.len());
    let cached = serde_json::json!({"cache": cache});
    let in_memory = serde_json::json!({"cache": null});
    let mut kills = 0;
    for stage in [None, Some(cached), Some(in_memory)].into_iter().cycle() {
        let _ = fs::remove_dir_all(&cache);
        let killed = Folder::new();
        let args = job(&pipeline(true, stage), &killed, "csv", &more);
        kills += kill_until_done(&args, limit, &mut random, &mut |_| {});
        let found = sorted_rows(&killed);
        assert!(found == wanted, "seed {}: {} rows, of {}", random.seed, found.len(), wanted.len());
        let states: Vec<_> = killed.names().into_iter().filter(|name| name.contains("resume-")).collect();
        assert!(states.is_empty(), "{states:?}");
        if kills >= KILLS {
            break;
        }
    }
}

/// A state that is missing, cut off, damaged or of another version is one clear error, and nothing is lost.
#[test]
fn states_that_cannot_be_read() {
    let folder = Folder::new();
    let data = folder.write("rows.npy", rows_npy(1000));
    let source = serde_json::json!({"npy": data, "field": "image"});
    let stages = serde_json::json!([{"shuffle": "40KB", "seed": 3}]);
    let spec = folder.write("data.json", serde_json::json!({"source": source, "stages": stages}).to_string());
    let mut random = Random::new();
    let out = Folder::new();
    let args = job(&spec, &out, "csv", &["--batch", "4", "--shard-rows", "8"]);
    let limit = timed(&job(&spec, &Folder::new(), "csv", &["--batch", "4", "--shard-rows", "8"]));
    let state = loop {
        is_killed(&args, limit, &mut random);
        let mut states = out.names();
        states.retain(|name| name.starts_with("out.csv.resume-"));
        let last = fs::read_to_string(out.path("out.csv.resume")).unwrap_or_default();
        let mut number =
            last.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?.get("shard")?.as_u64());
        if let Some(number) = number.next_back()
            && !last.contains("\"done\"")
        {
            break out.path(&format!("out.csv.resume-{number:05}"));
        }
        out.names().iter().for_each(|name| fs::remove_file(out.path(name)).expect("it is there"));
    };
    let whole = fs::read(&state).expect("the state of the last shard");
    let before = |out: &Folder| {
        let mut files = files(&out.path(""));
        files.retain(|name, _| name.starts_with("out-"));
        files
    };
    let shards = before(&out);
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let version = String::from_utf8_lossy(&whole[12..]).find("\"version\":2").expect("a version") + 12 + 10;
    assert_eq!(whole[version], b'2');
    for (bytes, why) in [
        (Vec::new(), "resume-"),
        (whole[..whole.len() - 1].to_vec(), "resume-"),
        (whole[..whole.len() - 36].to_vec(), "resume-"),
        (flipped, "CRC"),
        (b"my notes, which are no state of a pipeline\n".to_vec(), "resume-"),
    ] {
        fs::write(&state, bytes).expect("a damaged state");
        let answer = tightfit(&args);
        assert!(answer.code == 1 || answer.code == 2, "{answer:?}");
        assert!(answer.stderr.contains(why) && answer.stderr.lines().count() == 1, "{answer:?}");
        assert!(before(&out) == shards, "a shard was lost");
    }
    fs::remove_file(&state).expect("it is there");
    tightfit(&args).assert_fails(1, "is missing, and the job continues from it");
    fs::write(&state, whole).expect("the state");
    timed(&args);
}

#[test]
fn a_batch_that_was_tuned_is_kept() {
    let (folder, fixed) = (Folder::new(), Folder::new());
    let data = folder.write("data.npy", rows_npy(1001));
    let auto = job(&data, &folder, "jsonl", &["--batch", "auto", "--shard-rows", "300"]);
    timed(&auto);
    let state = fs::read_to_string(folder.path("out.jsonl.resume")).expect("the state");
    let lines: Vec<&str> = state.lines().collect();
    let head: Value = serde_json::from_str(lines[0]).expect("JSON");
    let batch = head["batch"].as_u64().expect("a batch").to_string();
    assert!(head["shard_rows"].as_u64() >= Some(300), "{head}");
    // Whatever would be found now, the job goes on as it was begun.
    folder.write("out.jsonl.resume", format!("{}\n{}\n", lines[0], lines[1]));
    timed(&auto);
    assert_eq!(fs::read_to_string(folder.path("out.jsonl.resume")).expect("the state"), state);
    timed(&job(&data, &fixed, "jsonl", &["--batch", &batch, "--shard-rows", "300"]));
    for name in fixed.names().iter().filter(|name| name.starts_with("out-")) {
        assert_eq!(fs::read(folder.path(name)).expect("a shard"), fs::read(fixed.path(name)).expect("it"));
    }
}

#[test]
fn shards_together_are_the_output_of_a_plain_run() {
    let folder = Folder::new();
    let data = folder.write("data.tfrecord", many_digits(1, false));
    let args = job(&data, &folder, "jsonl", &["--batch", "8", "--shard-rows", "100", "--label", "label"]);
    let report = folder.path("report.json");
    timed(&[args.clone(), strings(&["--report", &text(&report)])].concat());
    let plain: Vec<String> =
        args.iter().filter(|a| !["--resume", "--shard-rows", "100"].contains(&a.as_str())).cloned().collect();
    timed(&plain);
    let files = files(&folder.path(""));
    let shards = files.iter().filter(|(name, _)| name.starts_with("out-"));
    let together: Vec<u8> = shards.flat_map(|(_, bytes)| bytes.clone()).collect();
    assert_eq!(together, files["out.jsonl"]);
    let report: Value = serde_json::from_slice(&fs::read(report).expect("it")).expect("JSON");
    assert_eq!((&report["rows"], &report["right_rows"]), (&360.into(), &356.into()));
}

#[test]
fn a_job_stays_the_same() {
    let folder = Folder::new();
    let data = folder.write("data.tfrecord", many_digits(2, false));
    let model = folder.path("model.pb");
    fs::copy(digits().0, &model).expect("a copy");
    let mut args = job(&data, &folder, "csv", &["--batch", "8", "--shard-rows", "200"]);
    args[1] = text(&model);
    let with = |more: &[&str]| tightfit([args.clone(), strings(more)].concat());
    timed(&args);
    let done = files(&folder.path(""));
    let again = tightfit(args.iter().filter(|arg| *arg != "--quiet"));
    assert!(again.code == 0 && again.stderr.contains("720 rows: all of it was done before"), "{again:?}");
    for (more, why) in [
        (&["--top", "2"][..], "--top was 'left out' and is '2'"),
        (&["--skip-bad"], "--skip-bad was 'false'"),
        (&["--label", "label"], "--label was 'left out' and is 'label'"),
        (&["--input", "image=x.npy"], "x.npy"),
    ] {
        with(more).assert_fails(1, why);
    }
    let replaced = |from: &str, to: &str| {
        tightfit(args.iter().map(|arg| if arg == from { to.to_string() } else { arg.clone() }))
    };
    replaced("8", "9").assert_fails(1, "--batch was '8' and is '9'; delete it and");
    replaced("200", "201").assert_fails(1, "--shard-rows was '200'");
    // Memory and threads are no part of a job.
    let other_limits = replaced("--quiet", "--skip-bad");
    other_limits.assert_fails(1, "is of another job");
    assert_eq!(with(&["--memory", "64MiB"]).code, 0);
    assert_eq!(files(&folder.path("")), done);
    fs::write(&data, many_digits(3, false)).expect("more data");
    with(&[]).assert_fails(1, "data file 0 was");
    fs::write(&data, many_digits(2, false)).expect("as many bytes");
    with(&[]).assert_fails(1, "data file 0 was");
    fs::write(&model, fs::read(digits().0).expect("the model")).expect("as many bytes");
    with(&[]).assert_fails(1, "model was");
    assert_eq!(files(&folder.path(""))["out.csv.resume"], done["out.csv.resume"]);
    // Started anew, it does not mix with what is there.
    fs::remove_file(folder.path("out.csv.resume")).expect("it is there");
    with(&[]).assert_fails(1, "out-00000.csv: exists, but");
    for shard in 0..4 {
        fs::remove_file(folder.path(&format!("out-{shard:05}.csv"))).expect("four shards");
    }
    timed(&args);
    fs::remove_file(folder.path("out-00002.csv")).expect("it is there");
    with(&[]).assert_fails(1, "out-00002.csv");
    folder.write("out-00002.csv", "short");
    with(&[]).assert_fails(1, "has 5 bytes");
}

#[test]
fn a_file_that_was_cut_off_loses_a_shard_at_most() {
    let folder = Folder::new();
    let data = folder.write("data.tfrecord", many_digits(1, false));
    let args = job(&data, &folder, "npy", &["--batch", "8", "--shard-rows", "120"]);
    timed(&args);
    let whole = files(&folder.path(""));
    let state = &whole["out.npy.resume"];
    let ends: Vec<usize> = state.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i).collect();
    for cut in [ends[0] + 1, ends[1] - 1, ends[1], ends[1] + 1, ends[2] + 5, ends[3], state.len() - 1] {
        folder.write("out.npy.resume", &state[..cut]);
        timed(&args);
        assert_eq!(files(&folder.path("")), whole, "cut off at {cut}");
    }
    folder.write("out.npy.resume", [&state[..ends[1] + 1], &[0; 300]].concat());
    timed(&args);
    assert_eq!(files(&folder.path("")), whole);
    // Without its first line the shards are of nobody knows which job, and what is no such file is left alone.
    for (other, why) in [(&state[..ends[0]], "exists, but"), (b"my notes\n", "does not tell how far")] {
        folder.write("out.npy.resume", other);
        tightfit(&args).assert_fails(1, why);
    }
    assert_eq!(files(&folder.path(""))["out.npy.resume"], b"my notes\n");
}

#[test]
fn flags_of_resumed_runs() {
    let (model, data) = digits();
    let (model, data) = (text(&model), text(&data));
    let run = |more: &[&str]| tightfit([&["run", &model, "--input", &data], more].concat());
    run(&["--resume"]).assert_fails(2, "--resume needs an --output");
    run(&["--output", "x.csv", "--shard-rows", "5"]).assert_fails(2, "--shard-rows goes with --resume");
    run(&["--output", "x.csv", "--resume", "--shard-rows", "0"]).assert_fails(2, "--shard-rows 0");
    run(&["--output", "x.npy", "--resume", "--top", "3"])
        .assert_fails(2, "--top: x.npy is neither .jsonl nor .csv");
    run(&["--output", "no/such/x.csv", "--resume"]).assert_fails(1, "no/such");
    let folder = Folder::new();
    folder.write("data.tfrecord", many_digits(1, false));
    let (source, output) = (text(&folder.path("")), text(&folder.path("x.npy")));
    tightfit(["run", &model, "--input", &source, "--output", &output, "--resume"])
        .assert_fails(2, "would become part of the data");
    tightfit(["run", &model, "--input", "image=x.npy", "--output", "x.npz", "--resume"])
        .assert_fails(2, "--resume is for a data set");
}

/// A job of a minute, well on its way.
fn long_job(folder: &Folder) -> (Vec<String>, Child) {
    let data = digits().1;
    let mut args = job(&data, folder, "jsonl", &["--batch", "8", "--shard-rows", "2000", "--input"]);
    args.extend(std::iter::repeat_n(text(&data), 3000));
    let child = start(&args);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !folder.path("out-00001.jsonl").exists() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    (args, child)
}

#[test]
fn only_one_process_is_at_a_job() {
    let folder = Folder::new();
    let (args, mut child) = long_job(&folder);
    tightfit(&args).assert_fails(1, "another process is at this job");
    assert_eq!(child.try_wait().expect("a status"), None);
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    // The lock has gone with its holder.
    let mut next = start(&args);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(next.try_wait().expect("a status"), None);
    next.kill().expect("it can be killed");
    next.wait().expect("it ends");
}

#[test]
fn an_interrupted_job_keeps_whole_shards_alone() {
    let folder = Folder::new();
    let (_, child) = long_job(&folder);
    let status = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(status.expect("kill starts").success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let mut names = folder.names();
    names.retain(|name| !name.starts_with("out-"));
    assert_eq!(names, ["out.jsonl.resume"]);
}

#[test]
fn a_resumed_job_keeps_to_its_memory() {
    let folder = Folder::new();
    let data = folder.write("data.tfrecord.gz", gzip(&many_digits(4, true)));
    let args = job(&data, &folder, "npz", &["--batch", "8", "--shard-rows", "300", "--skip-bad"]);
    let least = tightfit([args.clone(), strings(&["--memory", "1"])].concat());
    let least = least.stderr.split("works is ").nth(1).and_then(|rest| rest.split(' ').next());
    let least_bytes: u64 = least.expect("the least memory").parse().expect("a number");
    let report = folder.path("report.json");
    let limited = strings(&["--memory", &least_bytes.to_string(), "--report", &text(&report)]);
    timed(&[args, limited].concat());
    let report: Value = serde_json::from_slice(&fs::read(report).expect("it")).expect("JSON");
    assert!(report["peak_resident_bytes"].as_u64() <= Some(least_bytes), "{report}");
    assert_eq!((&report["rows"], &report["skipped_rows"]), (&1438.into(), &2.into()));
}

/// Kills conversions to `output`: it is always what it was or what it is to be, and nothing else is left at the end.
fn killed_conversions_are_whole(source: &Path, output: &str, kills: usize) {
    let mut random = Random::new();
    let alone = Folder::new();
    let convert = |folder: &Folder| {
        strings(&["records", "convert", &text(source), "--output", &text(&folder.path(output)), "--quiet"])
    };
    let limit = timed(&convert(&alone)) * 5 / 4;
    let wanted = files(&alone.path(""));
    let folder = Folder::new();
    let is_folder = output.ends_with('/');
    let old = Files::from([(output.to_string(), b"from before".to_vec())]);
    let mut done = 0;
    for round in 0..MAX_STARTS {
        let before = if round % 2 == 1 && !is_folder { old.clone() } else { Files::new() };
        fs::remove_dir_all(folder.path("")).expect("the folder");
        fs::create_dir(folder.path("")).expect("the folder");
        before.iter().for_each(|(name, bytes)| drop(folder.write(name, bytes)));
        done += kill_until_done(&convert(&folder), limit, &mut random, &mut |seed| {
            let mut found = files(&folder.path(""));
            found.retain(|name, _| !name.contains(".tmp-") && !name.ends_with(".part"));
            assert!(found == before || found == wanted, "seed {seed}: {:?}", found.keys());
            if is_folder && found == wanted {
                // A folder is not replaced.
                fs::remove_dir_all(folder.path(output)).expect("the images");
            }
        });
        let found = files(&folder.path(""));
        assert!(found == wanted, "seed {}: {:?}", random.seed, found.keys());
        if done >= kills {
            return;
        }
    }
    panic!("seed {}: only {done} kills", random.seed);
}

#[test]
fn conversions() {
    let folder = Folder::new();
    let records = folder.write("data.tfrecord", many_digits(12, false));
    for output in ["out.tfrecord", "out.tfrecord.gz", "out.csv", "out.npz"] {
        killed_conversions_are_whole(&records, output, 12);
    }
    let array = folder.write("rows.npy", rows_npy(10_000));
    killed_conversions_are_whole(&array, "out.tfrecord", 12);
    let image = fs::read(common::repository("examples/digits/digit_2.png")).expect("the image");
    let values = [&image[..]];
    let mut record = Vec::new();
    tightfit_format::example::write_example(
        &mut record,
        &[("image/encoded", tightfit_format::example::Values::Bytes(&values))],
    );
    let mut writer = tightfit_format::tfrecord::RecordWriter::new(Vec::new());
    (0..300).for_each(|_| writer.write(&record).expect("memory"));
    let images = folder.write("images.tfrecord", writer.into_inner());
    killed_conversions_are_whole(&images, "out/", 12);
}

#[test]
fn sets_of_shards() {
    let folder = Folder::new();
    let mut random = Random::new();
    let deal = |times: usize, is_ranges: bool, to: &Folder| {
        let data = folder.write(&format!("{times}.tfrecord"), many_digits(times, false));
        let output = text(&to.path("set.tfrecord"));
        let mut args = strings(&["records", "shard", "40", &text(&data), "--output", &output, "--quiet"]);
        args.extend(is_ranges.then(|| "--ranges".to_string()));
        args
    };
    let (old_folder, new_folder, killed) = (Folder::new(), Folder::new(), Folder::new());
    timed(&deal(10, false, &old_folder));
    let limit = timed(&deal(12, true, &new_folder)) * 5 / 4;
    let (old, new) = (files(&old_folder.path("")), files(&new_folder.path("")));
    let args = deal(12, true, &killed);
    let mut kills = 0;
    while kills < KILLS {
        old.iter().for_each(|(name, bytes)| drop(killed.write(name, bytes)));
        kills += kill_until_done(&args, limit, &mut random, &mut |seed| {
            let mut found = files(&killed.path(""));
            found.retain(|name, _| !name.contains(".tmp-"));
            let is_whole = |(name, bytes): (&String, &Vec<u8>)| old[name] == *bytes || new[name] == *bytes;
            assert!(found.iter().all(is_whole), "seed {seed}: a shard is cut off");
            let is_set = found == old || found == new || found.len() < new.len();
            assert!(is_set, "seed {seed}: two sets are mixed");
        });
        assert!(files(&killed.path("")) == new, "seed {}", random.seed);
    }
}
