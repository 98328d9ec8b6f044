//! Pipelines whose process is killed at any moment: a cache is whole or none, and who goes on from a saved state gives
//! what would have come.
#![cfg(unix)]
#![allow(missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use common::Folder;
use tightfit_core::MemoryBudget;
use tightfit_data::Access;
use tightfit_data::flow::{ElementView, Pipeline, PipelineSpec};
use tightfit_format::tfrecord::RecordWriter;

/// Kills of each kind of job.
const KILLS: usize = 50;

/// Starts of one job after which something is wrong.
const MAX_STARTS: usize = 1000;

/// Elements between two saved states.
const EVERY: u64 = 20;

/// What tells this program that it is to be a job: a description of a pipeline, and the folder it is done in.
const SPEC: &str = "TIGHTFIT_TEST_SPEC";
const FOLDER: &str = "TIGHTFIT_TEST_FOLDER";

/// Moments to kill at. The seed is in every message.
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    fn new() -> Random {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let seed = since.as_nanos() as u64 | 1;
        Random { seed, state: seed }
    }

    fn before(&mut self, limit: Duration) -> Duration {
        // xorshift64
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        Duration::from_micros(self.state % (limit.as_micros() as u64).max(1))
    }
}

fn write_element(out: &mut impl Write, element: &ElementView<'_>) {
    element.strings(0).for_each(|text| out.write_all(text.unwrap()).unwrap());
}

/// The state in `folder` that was saved last, and the bytes of output that go before it.
fn last_state(folder: &Path) -> Option<(u64, PathBuf)> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let state = |path: PathBuf| {
        let offset = path.file_name()?.to_str()?.strip_prefix("state-")?.parse().ok()?;
        Some((offset, path))
    };
    names.filter_map(state).max()
}

/// No test, but what the tests start and kill: goes through a pipeline, and saves its state now and then if there is a
/// folder for that.
#[test]
fn job() {
    let (Ok(spec), Ok(folder)) = (env::var(SPEC), env::var(FOLDER)) else { return };
    let spec = PipelineSpec::from_json(&spec, &Access::everything(), &|_| None).unwrap();
    let mut pipeline = Pipeline::open(&spec, &MemoryBudget::new(16 << 20), 2).unwrap();
    let folder = Path::new(&folder);
    let mut out =
        OpenOptions::new().write(true).create(true).truncate(false).open(folder.join("out")).unwrap();
    let before = last_state(folder);
    let mut offset = before.as_ref().map_or(0, |(offset, _)| *offset);
    out.set_len(offset).unwrap();
    out.seek(SeekFrom::Start(offset)).unwrap();
    let mut last = before.map(|(_, path)| path);
    if let Some(path) = &last {
        pipeline.resume(path).unwrap();
    }
    let mut out = BufWriter::new(out);
    let (mut elements, saves) = (0, folder.join("saves").exists());
    while pipeline.advance().unwrap() {
        write_element(&mut out, &pipeline.current());
        elements += 1;
        if saves && elements % EVERY == 0 {
            out.flush().unwrap();
            offset = out.stream_position().unwrap();
            let state = folder.join(format!("state-{offset}"));
            pipeline.save_state(&state).unwrap();
            if let Some(last) = last.replace(state) {
                fs::remove_file(last).unwrap();
            }
        }
    }
    out.flush().unwrap();
}

fn start(spec: &str, folder: &Path) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["job", "--exact", "--nocapture"]).env(SPEC, spec).env(FOLDER, folder);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for its end; whether it was killed.
fn was_killed(child: Child, seed: u64) -> bool {
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_none_or(|code| code == 0), "seed {seed}: {stderr}");
    output.status.code().is_none()
}

fn kill_after(mut child: Child, time: Duration, seed: u64) -> bool {
    thread::sleep(time);
    child.kill().unwrap();
    was_killed(child, seed)
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_string();
    // What is no longer there was on its way.
    entries.filter_map(|path| Some((name(&path), fs::read(&path).ok()?))).collect()
}

fn data(folder: &Folder, records: u32) -> String {
    let path = folder.0.join("data.tfrecord");
    let mut write = RecordWriter::new(BufWriter::new(File::create(&path).unwrap()));
    for i in 0..records {
        let text = format!("{i} ").repeat(1 + i as usize % 40);
        write.write(text.as_bytes()).unwrap();
    }
    write.into_inner().flush().unwrap();
    path.to_str().unwrap().to_string()
}

/// What a job gives that is left alone, and how long it takes.
fn alone(spec: &str, folder: &Folder) -> (Vec<u8>, Duration) {
    let begin = Instant::now();
    assert!(!was_killed(start(spec, &folder.0), 0));
    (fs::read(folder.0.join("out")).unwrap(), begin.elapsed())
}

fn cached(data: &str, cache: &Path, memory: &str) -> String {
    format!(
        r#"{{"source": {{"tfrecord": {data:?}}},
            "stages": [{{"cache": {cache:?}, "memory": {memory:?}}}, {{"repeat": 2}}, {{"batch": 50}}, {{"prefetch": null}}]}}"#
    )
}

#[test]
fn a_cache_is_whole_or_none() {
    let mut random = Random::new();
    let seed = random.seed;
    let (source, reference, job, shared) = (Folder::new(), Folder::new(), Folder::new(), Folder::new());
    let data = data(&source, 20_000);
    let (wanted, took) = alone(&cached(&data, &reference.0, "1MiB"), &job);
    let cache = files(&reference.0);
    assert_eq!(cache.len(), 1);
    let check_cache = || {
        let mut found = files(&shared.0);
        found.retain(|name, _| !name.contains(".tmp-"));
        assert!(found.is_empty() || found == cache, "seed {seed}: a cache is not whole");
    };
    let mut kills = 0;
    while kills < KILLS {
        // Some keep it in memory as well, which changes nothing.
        let spec = cached(&data, &shared.0, if kills % 2 == 0 { "0" } else { "64MiB" });
        let mut starts = 0;
        while kill_after(
            start(&spec, &job.0),
            random.before(took.mul_f64(1.0 + f64::from(starts) / 10.0)),
            seed,
        ) {
            (kills, starts) = (kills + 1, starts + 1);
            check_cache();
            assert!((starts as usize) < MAX_STARTS, "seed {seed}: it does not get on");
        }
        assert!(fs::read(job.0.join("out")).unwrap() == wanted, "seed {seed}: the output differs");
        assert!(files(&shared.0) == cache, "seed {seed}: something is left over");
        // Every other time the next ones find it whole.
        if kills % 2 == 0 {
            files(&shared.0).keys().for_each(|name| fs::remove_file(shared.0.join(name)).unwrap());
        }
    }
    // Two at a time, of which one is killed.
    let other = Folder::new();
    for round in 0..20 {
        files(&shared.0).keys().for_each(|name| fs::remove_file(shared.0.join(name)).unwrap());
        let spec = cached(&data, &shared.0, "0");
        let lives = start(&spec, &other.0);
        thread::sleep(random.before(took / 4));
        if round % 4 == 0 {
            assert!(!was_killed(start(&spec, &job.0), seed));
            assert!(fs::read(job.0.join("out")).unwrap() == wanted, "seed {seed}: the output differs");
        } else {
            kill_after(start(&spec, &job.0), random.before(took), seed);
        }
        assert!(!was_killed(lives, seed));
        assert!(fs::read(other.0.join("out")).unwrap() == wanted, "seed {seed}: the output differs");
        check_cache();
        // Whoever comes next removes what the killed one left.
        assert_eq!(alone(&spec, &job).0, wanted);
        assert!(files(&shared.0) == cache, "seed {seed}: something is left over");
    }
}

#[test]
fn saved_states_lose_and_repeat_nothing() {
    let mut random = Random::new();
    let seed = random.seed;
    let (source, reference, job) = (Folder::new(), Folder::new(), Folder::new());
    let data = data(&source, 6_000);
    let spec = format!(
        r#"{{"source": {{"tfrecord": {data:?}}},
            "stages": [{{"shuffle": "40KB", "seed": 5}}, {{"repeat": 2}}, {{"batch": 7}}, {{"prefetch": null}}]}}"#
    );
    fs::write(reference.0.join("saves"), b"").unwrap();
    let (wanted, took) = alone(&spec, &reference);
    let mut kills = 0;
    while kills < KILLS {
        files(&job.0).keys().for_each(|name| fs::remove_file(job.0.join(name)).unwrap());
        fs::write(job.0.join("saves"), b"").unwrap();
        let mut starts = 0;
        while kill_after(
            start(&spec, &job.0),
            random.before(took.mul_f64(0.3 + f64::from(starts) / 20.0)),
            seed,
        ) {
            (kills, starts) = (kills + 1, starts + 1);
            assert!((starts as usize) < MAX_STARTS, "seed {seed}: it does not get on");
        }
        assert!(fs::read(job.0.join("out")).unwrap() == wanted, "seed {seed}: the output differs");
    }
}
