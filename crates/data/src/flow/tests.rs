//! Pipelines over small files: order, state and memory, whatever the stages and threads.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tightfit_core::MemoryBudget;
use tightfit_format::tfrecord::RecordWriter;

use super::*;

/// A folder of its own that goes when the test is done.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("tightfit-flow-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes `records` to a TFRecord file.
    pub fn records(&self, name: &str, records: impl IntoIterator<Item = Vec<u8>>) -> PathBuf {
        let path = self.path(name);
        let mut write = RecordWriter::new(fs::File::create(&path).unwrap());
        for record in records {
            write.write(&record).unwrap();
        }
        write.into_inner().flush().unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Files of numbers as text, counted on from one to the next.
pub(crate) fn numbered(folder: &Folder, files: &[usize]) -> Vec<PathBuf> {
    let mut next = 0;
    let write = |(file, count): (usize, &usize)| {
        let numbers = next..next + count;
        next += count;
        folder.records(&format!("{file}.tfrecord"), numbers.map(|n| n.to_string().into_bytes()))
    };
    files.iter().enumerate().map(write).collect()
}

pub(crate) fn records(paths: Vec<PathBuf>, cycle: usize, block: usize) -> PipelineSpec {
    PipelineSpec::new(Records { paths, interleave: Interleave { cycle, block } })
}

/// The strings of the first field of each element.
fn strings(pipeline: &mut Pipeline) -> Vec<String> {
    let mut all = Vec::new();
    while pipeline.advance().unwrap() {
        let strings = pipeline.current().strings(0).map(|s| String::from_utf8_lossy(s).into_owned());
        all.push(strings.collect::<Vec<_>>().join(" "));
    }
    all
}

pub(crate) fn run(spec: PipelineSpec) -> Vec<String> {
    strings(&mut Pipeline::open(&spec, &MemoryBudget::unlimited(), 3).unwrap())
}

/// A map that adds a letter, and a filter that leaves out every seventh.
fn shout() -> FunctionOp {
    FunctionOp::new(
        "shout",
        |input| Ok(input.clone()),
        |input, out| {
            let text = input.string(0).unwrap_or_default();
            if text.ends_with(b"7") {
                return Ok(Verdict::Drop);
            }
            out.add_string(&[text, b"!"].concat())?;
            Ok(Verdict::Keep)
        },
    )
}

#[test]
fn interleaves_as_tensorflow() {
    let folder = Folder::new("interleave");
    let paths = numbered(&folder, &[3, 5, 1, 2]);
    assert_eq!(run(records(paths.clone(), 1, 1)).join(" "), "0 1 2 3 4 5 6 7 8 9 10");
    // As tf.data.Dataset.range(4).interleave gives them with these cycle and block lengths.
    assert_eq!(run(records(paths.clone(), 2, 1)).join(" "), "0 3 1 4 2 5 6 8 7 9 10");
    assert_eq!(run(records(paths.clone(), 2, 2)).join(" "), "0 1 3 4 2 5 6 8 7 9 10");
    assert_eq!(run(records(paths.clone(), 3, 2)).join(" "), "0 1 3 4 8 2 5 6 9 10 7");
    assert_eq!(run(records(paths, 2, 3)).join(" "), "0 1 2 3 4 5 6 7 8 9 10");
}

#[test]
fn an_element_larger_than_the_budget_is_an_error_with_its_place() {
    let folder = Folder::new("budget");
    let path = folder.records("large.tfrecord", [vec![1; 10], vec![2; 3 << 20], vec![3; 10]]);
    let spec = || {
        records(vec![path.clone()], 1, 1)
            .then(Prefetch::default())
            .then(BatchOf { size: 2, drop_remainder: false })
    };
    let mut pipeline = Pipeline::open(&spec(), &MemoryBudget::new(2 << 20), 2).unwrap();
    let error = pipeline.advance().unwrap_err().to_string();
    assert!(error.contains("large.tfrecord, record 1 at byte 26: "), "{error}");
    // What is behind it still comes, with what was gathered before.
    assert!(pipeline.advance().unwrap());
    assert_eq!(pipeline.current().tensor(0).unwrap().shape()[..], [2]);
    let mut pipeline = Pipeline::open(&spec(), &MemoryBudget::new(32 << 20), 2).unwrap();
    assert_eq!(strings(&mut pipeline).len(), 2);
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Map(usize),
    Prefetch(usize),
    Batch(usize),
    Take(u64),
    Skip(u64),
    Shard(u64, u64),
    Repeat(u64),
    Cache(bool),
    Shuffle(u64, u64),
}

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    let kind = prop_oneof![
        (0usize..4).prop_map(Kind::Map),
        (1usize..4).prop_map(Kind::Prefetch),
        (1usize..5).prop_map(Kind::Batch),
        (0u64..100).prop_map(Kind::Take),
        (0u64..10).prop_map(Kind::Skip),
        (1u64..4).prop_flat_map(|n| (Just(n), 0..n)).prop_map(|(n, i)| Kind::Shard(n, i)),
        (1u64..3).prop_map(Kind::Repeat),
        any::<bool>().prop_map(Kind::Cache),
        (100u64..4000, 0u64..3).prop_map(|(bytes, seed)| Kind::Shuffle(bytes, seed)),
    ];
    prop::collection::vec(kind, 0..5)
}

fn with(mut spec: PipelineSpec, kinds: &[Kind], folder: &Folder) -> PipelineSpec {
    for kind in kinds {
        spec = match *kind {
            Kind::Map(threads) => {
                let mode = match threads {
                    0 => MapMode::Inline,
                    n => MapMode::Parallel { threads: Some(n), is_ordered: true },
                };
                spec.then(Each { op: std::sync::Arc::new(shout()), mode })
            }
            Kind::Prefetch(elements) => spec.then(Prefetch { elements: Some(elements) }),
            // What is batched twice may have two shapes, which is an error that another test is for.
            Kind::Batch(size) if !kinds.iter().any(|k| matches!(k, Kind::Map(_))) => {
                spec.then(BatchOf { size, drop_remainder: true })
            }
            Kind::Batch(_) => spec,
            Kind::Take(count) => spec.then(Choice::Take(count)),
            Kind::Skip(count) => spec.then(Choice::Skip(count)),
            Kind::Shard(count, index) => spec.then(Choice::Shard { count, index }),
            Kind::Repeat(count) => spec.then(Passes(Some(count))),
            Kind::Cache(has_folder) => {
                let folder = has_folder.then(|| folder.path("cache"));
                spec.then(Cache { folder, memory_bytes: has_folder.then_some(1000) })
            }
            // Batches may be larger than the smallest of buffers.
            Kind::Shuffle(bytes, seed) => {
                let is_batched = kinds.iter().any(|k| matches!(k, Kind::Batch(_)));
                let buffer_bytes = if is_batched { 10 * bytes } else { bytes };
                spec.then(Shuffled { buffer_bytes, seed, reshuffles: true })
            }
        };
    }
    spec
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the pipeline, what comes before a saved state and what comes after it is the whole.
    #[test]
    fn goes_on_from_a_saved_state(kinds in kinds(), cycle in 1usize..4, block in 1usize..4, at in 0usize..200, case in 0u64..u64::MAX) {
        let folder = Folder::new(&format!("state-{case}"));
        let paths = numbered(&folder, &[30, 0, 150, 41]);
        let spec = || with(records(paths.clone(), cycle, block), &kinds, &folder);
        let whole = run(spec());
        let mut pipeline = Pipeline::open(&spec(), &MemoryBudget::unlimited(), 2).unwrap();
        let mut seen = Vec::new();
        while seen.len() < at && pipeline.advance().unwrap() {
            let strings = pipeline.current().strings(0).map(|s| String::from_utf8_lossy(s).into_owned());
            seen.push(strings.collect::<Vec<_>>().join(" "));
        }
        let state = folder.path("state");
        pipeline.save_state(&state).unwrap();
        let mut resumed = Pipeline::open(&spec(), &MemoryBudget::unlimited(), 3).unwrap();
        resumed.resume(&state).unwrap();
        let rest = strings(&mut resumed);
        prop_assert_eq!([seen.clone(), rest].concat(), whole.clone());
        // Saving has changed nothing.
        prop_assert_eq!([seen, strings(&mut pipeline)].concat(), whole);
    }
}

#[test]
fn a_state_of_other_files_is_refused() {
    let folder = Folder::new("other");
    let paths = numbered(&folder, &[5, 5]);
    let open = |paths: &[PathBuf]| {
        Pipeline::open(&records(paths.to_vec(), 1, 1), &MemoryBudget::unlimited(), 1).unwrap()
    };
    let state = folder.path("state");
    open(&paths).save_state(&state).unwrap();
    open(&paths).resume(&state).unwrap();
    let error = open(&paths[..1]).resume(&state).unwrap_err().to_string();
    assert!(error.contains("of another pipeline"), "{error}");
    fs::write(&state, b"no state").unwrap();
    assert!(open(&paths).resume(&state).is_err());
    assert!(open(&paths).resume(Path::new("/nowhere")).is_err());
}

#[test]
fn reads_descriptions_in_json() {
    let folder = Folder::new("json");
    let paths = numbered(&folder, &[10, 10]);
    let read = |text: &str| PipelineSpec::from_json(text, &|_| None);
    let source = format!(r#"{{"tfrecord": [{:?}, {:?}], "cycle": 2}}"#, paths[0], paths[1]);
    let spec = read(&format!(
        r#"{{"source": {source}, "stages": [{{"skip": 2}}, {{"take": 7}}, {{"batch": 2, "drop_remainder": true}}, {{"prefetch": null}}]}}"#
    ));
    assert_eq!(run(spec.unwrap()), ["1 11", "2 12", "3 13"]);
    for (text, why) in [
        ("{", "not JSON"),
        ("{}", "no source"),
        (r#"{"source": {"tfrecords": "a"}}"#, "there is no source \"tfrecords\", but"),
        (r#"{"source": {"tfrecord": 3}}"#, "a path or a list of paths"),
        (r#"{"source": {"tfrecord": "a", "cycles": 3}}"#, "tfrecord has no option \"cycles\""),
        (
            r#"{"source": {"tfrecord": "a"}, "stages": [{"take": -1}]}"#,
            "take is to be a whole number, not -1",
        ),
        (r#"{"source": {"tfrecord": "a"}, "stages": [{"tak": 1}]}"#, "there is no stage \"tak\""),
        (r#"{"source": {"tfrecord": "a"}, "stage": []}"#, "not \"stage\""),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

/// How many elements a run of `spec` takes from `counter`, a map that counts.
fn counted(counter: &std::sync::Arc<std::sync::atomic::AtomicU64>) -> Each {
    let counter = counter.clone();
    let op = FunctionOp::new(
        "count",
        |input| Ok(input.clone()),
        move |input, out| {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            out.copy_from(input)?;
            Ok(Verdict::Keep)
        },
    );
    Each { op: std::sync::Arc::new(op), mode: MapMode::Inline }
}

#[test]
fn a_cache_is_made_once_and_is_whole_or_none() {
    let folder = Folder::new("cache");
    let paths = numbered(&folder, &[40, 60]);
    let counter = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let made = || counter.swap(0, std::sync::atomic::Ordering::Relaxed);
    let caches = folder.path("caches");
    let partial = || {
        fs::read_dir(&caches)
            .unwrap()
            .flatten()
            .filter(|e| e.path().extension().unwrap() == "partial")
            .count()
    };
    let whole: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let thrice = |part: &[String]| [part, part, part].concat();
    // In memory only: made once for all passes.
    let spec = |cache| records(paths.clone(), 1, 1).then(counted(&counter)).then(cache).then(Passes(Some(3)));
    let all = run(spec(Cache { folder: None, memory_bytes: None }));
    assert_eq!((all, made()), (thrice(&whole), 100));
    let kept = |bytes| Cache { folder: Some(caches.clone()), memory_bytes: Some(bytes) };
    // Ended too early: nothing is left that could be taken for it.
    let mut pipeline = Pipeline::open(&spec(kept(0)), &MemoryBudget::unlimited(), 1).unwrap();
    (0..50).for_each(|_| assert!(pipeline.advance().unwrap()));
    assert_eq!(partial(), 1);
    drop(pipeline);
    assert_eq!((partial(), made()), (0, 50));
    for memory in [0, 1 << 20] {
        let all = run(spec(kept(memory)));
        let expected = if memory == 0 { 100 } else { 0 };
        assert_eq!((all, made(), partial()), (thrice(&whole), expected, 0));
    }
    // What a killed process left is removed by the next that writes.
    let cache = fs::read_dir(&caches).unwrap().next().unwrap().unwrap().path();
    fs::write(cache.with_extension("tfcache.1-0.partial"), b"half").unwrap();
    fs::remove_file(cache).unwrap();
    assert_eq!((run(spec(kept(0))), made(), partial()), (thrice(&whole), 100, 0));
    // Other files are another cache.
    fs::write(&paths[1], b"").unwrap();
    assert_eq!((run(spec(kept(0))), made()), (thrice(&whole[..40]), 40));
    // A damaged cache is told, not believed.
    for entry in
        fs::read_dir(&caches).unwrap().flatten().filter(|e| e.path().extension().unwrap() == "tfcache")
    {
        let mut bytes = fs::read(entry.path()).unwrap();
        let at = bytes.len() - 40;
        bytes[at] ^= 1;
        fs::write(entry.path(), bytes).unwrap();
    }
    let mut pipeline = Pipeline::open(&spec(kept(0)), &MemoryBudget::unlimited(), 1).unwrap();
    let error = loop {
        match pipeline.advance() {
            Ok(more) => assert!(more),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("tfcache") && error.contains("remove the file"), "{error}");
    // Without a folder, too little memory is an error.
    let mut pipeline =
        Pipeline::open(&spec(Cache { folder: None, memory_bytes: Some(100) }), &MemoryBudget::unlimited(), 1)
            .unwrap();
    let error = loop {
        match pipeline.advance() {
            Ok(more) => assert!(more),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("give it a folder"), "{error}");
}

#[test]
fn shuffled_records_go_on_from_a_saved_state_in_any_memory_and_thread() {
    let folder = Folder::new("shuffled");
    let paths = numbered(&folder, &[100, 300, 200]);
    let spec = |window_bytes, shard| {
        let (order, index_folder) = (crate::shuffle::Order::Uniform, None);
        let source =
            ShuffledRecords { paths: paths.clone(), order, seed: 5, window_bytes, index_folder, shard };
        PipelineSpec::new(source).then(Passes(Some(2)))
    };
    let whole = run(spec(1 << 20, (1, 0)));
    let (first, second) = whole.split_at(600);
    assert_ne!(first, second);
    let sorted = |part: &[String]| {
        let mut numbers: Vec<u64> = part.iter().map(|n| n.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    let all: Vec<u64> = (0..600).collect();
    assert!(sorted(first) == all && sorted(second) == all);
    // Shards share out each pass.
    let shards: Vec<String> = (0..3).flat_map(|i| run(spec(1000, (3, i))).into_iter().take(200)).collect();
    assert_eq!(sorted(&shards), all);
    for at in [0, 1, 599, 600, 777, 1200] {
        let mut pipeline = Pipeline::open(&spec(1 << 20, (1, 0)), &MemoryBudget::unlimited(), 1).unwrap();
        (0..at).for_each(|_| assert!(pipeline.advance().unwrap()));
        pipeline.save_state(&folder.path("state")).unwrap();
        let mut resumed = Pipeline::open(&spec(2000, (1, 0)), &MemoryBudget::unlimited(), 3).unwrap();
        resumed.resume(&folder.path("state")).unwrap();
        assert_eq!(strings(&mut resumed), whole[at..]);
    }
}
