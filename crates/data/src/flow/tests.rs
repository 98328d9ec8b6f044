//! Pipelines over small files: order, state and memory, whatever the stages and threads.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Access;
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

/// The fields of an element as text: numbers as they are, strings in quotes, behind the shape.
pub(crate) fn show(view: &ElementView<'_>) -> Vec<String> {
    let show = |index: usize| {
        let tensor = view.tensor(index).unwrap();
        let values: Vec<String> = match tensor.dtype() {
            tightfit_core::DType::String => {
                view.strings(index).map(|s| format!("{:?}", String::from_utf8_lossy(s))).collect()
            }
            dtype => {
                let mut out = vec![0; tensor.shape().elements() * 8];
                crate::convert::cast(dtype, tensor.bytes(), tightfit_core::DType::F64, &mut out).unwrap();
                out.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b).to_string()).collect()
            }
        };
        format!("{}{:?} {}", view.schema().fields()[index].name, &tensor.shape()[..], values.join(" "))
    };
    (0..view.places().len()).map(show).collect()
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
    PipelineSpec::new(Records { paths, interleave: Interleave { cycle, block, shuffle_seed: None } })
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
    strings(&mut Pipeline::open(&spec, &MemoryBudget::new(u64::MAX), 3).unwrap())
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

/// What of an element can be seen: of each field its shape, and its strings or bytes.
pub(crate) fn shown(element: &ElementView<'_>) -> String {
    let field = |index: usize| {
        let tensor = element.tensor(index).unwrap();
        let strings: Vec<_> = element.strings(index).map(String::from_utf8_lossy).collect();
        let bytes = if strings.is_empty() { tensor.bytes() } else { &[] };
        format!("{} {strings:?} {bytes:?}", tensor.shape())
    };
    (0..element.places().len()).map(field).collect::<Vec<_>>().join("; ")
}

/// A scalar string that becomes between none and three.
fn spread() -> FunctionOp {
    let typing = |input: &Schema| Ok(input.with(0, |field| field.dims = vec![None]));
    FunctionOp::new("spread", typing, |input, out| {
        let text = input.string(0).unwrap_or_default();
        let refs = vec![out.add_text(text)?; text.iter().map(|b| usize::from(*b)).sum::<usize>() % 4];
        let shape = tightfit_core::Shape::new(&[refs.len()]).unwrap();
        out.add(shape)?.copy_from_slice(bytemuck::cast_slice(&refs));
        Ok(Verdict::Keep)
    })
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Map(usize),
    Spread,
    Prefetch(usize),
    Batch(usize, bool),
    Padded(usize, bool),
    Ragged(usize, bool),
    Bucket(usize, bool),
    Window(usize, usize, usize, bool),
    Unbatch,
    Take(u64),
    Skip(u64),
    Shard(u64, u64),
    Repeat(u64),
    Cache(bool),
    Shuffle(u64, u64),
    Zip,
    Concatenate(u64),
    SkipBad,
}

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    let size = || (1usize..5, any::<bool>());
    let kind = prop_oneof![
        (0usize..4).prop_map(Kind::Map),
        Just(Kind::Spread),
        (1usize..4).prop_map(Kind::Prefetch),
        size().prop_map(|(size, drop)| Kind::Batch(size, drop)),
        size().prop_map(|(size, drop)| Kind::Padded(size, drop)),
        size().prop_map(|(size, drop)| Kind::Ragged(size, drop)),
        size().prop_map(|(size, drop)| Kind::Bucket(size, drop)),
        (1usize..5, 1usize..6, 1usize..3, any::<bool>())
            .prop_map(|(n, by, step, d)| Kind::Window(n, by, step, d)),
        Just(Kind::Unbatch),
        (0u64..100).prop_map(Kind::Take),
        (0u64..10).prop_map(Kind::Skip),
        (1u64..4).prop_flat_map(|n| (Just(n), 0..n)).prop_map(|(n, i)| Kind::Shard(n, i)),
        (1u64..3).prop_map(Kind::Repeat),
        any::<bool>().prop_map(Kind::Cache),
        (200u64..4000, 0u64..3).prop_map(|(bytes, seed)| Kind::Shuffle(bytes, seed)),
        Just(Kind::Zip),
        (0u64..50).prop_map(Kind::Concatenate),
        Just(Kind::SkipBad),
    ];
    prop::collection::vec(kind, 0..6)
}

/// What the stages so far make, of which it depends what can come next.
struct Made {
    /// Dimensions of the first field, and whether all elements have one shape.
    rank: usize,
    is_even: bool,
    /// Whether there is the one field that there was at first, and what it is called.
    is_single: bool,
    name: &'static str,
    /// Whether its rows lie one behind the other.
    is_ragged: bool,
    /// Whether it lies in a file, which no two at once can make.
    is_cached: bool,
}

impl Made {
    fn can(&self, kind: Kind) -> bool {
        match kind {
            Kind::Map(_) | Kind::Spread => self.rank == 0 && self.is_single,
            Kind::Batch(..) | Kind::Window(..) => self.is_even && self.rank < 3 && !self.is_ragged,
            Kind::Padded(..) => self.rank < 3 && !self.is_ragged,
            Kind::Ragged(..) | Kind::Bucket(..) => (1..3).contains(&self.rank) && !self.is_ragged,
            // Of two pipelines, rows of an element may be of different numbers.
            Kind::Unbatch => self.rank > 0 && !self.is_ragged && (self.is_single || self.is_even),
            Kind::Zip => self.is_single && !self.is_cached,
            Kind::Concatenate(_) => !self.is_cached,
            _ => true,
        }
    }
}

/// `spec` with those of `kinds` that can be done.
fn with(mut spec: PipelineSpec, kinds: &[Kind], folder: &Folder) -> PipelineSpec {
    let mut made =
        Made { rank: 0, is_even: true, is_single: true, name: "record", is_ragged: false, is_cached: false };
    for kind in kinds.iter().copied() {
        if !made.can(kind) {
            continue;
        }
        spec = match kind {
            Kind::Map(threads) => {
                let mode = match threads {
                    0 => MapMode::Inline,
                    n => MapMode::Parallel { threads: Some(n), is_ordered: true },
                };
                spec.then(Each { op: std::sync::Arc::new(shout()), mode })
            }
            Kind::Spread => {
                (made.rank, made.is_even) = (1, false);
                spec.then(Each { op: std::sync::Arc::new(spread()), mode: MapMode::Inline })
            }
            Kind::Batch(size, drop_remainder) => {
                (made.rank, made.is_even) = (made.rank + 1, drop_remainder);
                spec.then(BatchOf { size, drop_remainder })
            }
            Kind::Padded(size, drop_remainder) => {
                (made.rank, made.is_even) = (made.rank + 1, made.is_even && drop_remainder);
                spec.then(PaddedBatch { size, padding: Padding::default(), drop_remainder })
            }
            Kind::Ragged(size, drop_remainder) => {
                // Rows of two dimensions may differ in the second.
                if made.rank > 1 && !made.is_even {
                    continue;
                }
                (made.is_even, made.is_single, made.is_ragged) = (false, false, true);
                let fields = Some(vec![made.name.to_string()]);
                if made.name != "record" {
                    continue;
                }
                spec.then(RaggedBatch { size, fields, drop_remainder })
            }
            Kind::Bucket(size, drop_remainder) => {
                (made.rank, made.is_even) = (made.rank + 1, false);
                spec.then(BucketByLength {
                    field: made.name.to_string(),
                    boundaries: vec![1, 3],
                    batch_sizes: vec![1, size as u64, 2],
                    padding: Padding::default(),
                    pad_to_boundary: false,
                    drop_remainder,
                })
            }
            Kind::Window(size, shift, stride, drop_remainder) => {
                (made.rank, made.is_even) = (made.rank + 1, drop_remainder);
                spec.then(Windows { size, shift, stride, drop_remainder })
            }
            Kind::Unbatch => {
                made.rank -= 1;
                spec.then(Rows)
            }
            Kind::Take(count) => spec.then(Choice::Take(count)),
            Kind::Skip(count) => spec.then(Choice::Skip(count)),
            Kind::Shard(count, index) => spec.then(Choice::Shard { count, index }),
            Kind::Repeat(count) => spec.then(Passes(Some(count))),
            Kind::Cache(has_folder) => {
                made.is_cached |= has_folder;
                let folder = has_folder.then(|| folder.path("cache"));
                spec.then(Cache { folder, memory_bytes: has_folder.then_some(1000) })
            }
            Kind::Shuffle(bytes, seed) => {
                // Batches may be larger than the smallest of buffers.
                let buffer_bytes = bytes << (3 * made.rank);
                spec.then(Shuffled { buffer_bytes, seed, reshuffles: true })
            }
            Kind::Zip => {
                (made.is_single, made.name) = (false, "a/record");
                let other = spec.clone().then(Choice::Skip(1));
                let prefixes = Some(vec!["a/".to_string(), "b/".to_string()]);
                PipelineSpec::new(Zip { inputs: vec![spec, other], prefixes })
            }
            Kind::Concatenate(count) => {
                let inputs = vec![spec.clone(), spec.then(Choice::Take(count))];
                PipelineSpec::new(Concatenate { inputs })
            }
            Kind::SkipBad => spec.then(SkipBad::default()),
            Kind::Prefetch(elements) => spec.then(Prefetch { elements: Some(elements) }),
        };
    }
    spec
}

/// What the elements that are left are.
fn rest(pipeline: &mut Pipeline) -> Vec<String> {
    let mut all = Vec::new();
    while pipeline.advance().unwrap() {
        all.push(shown(&pipeline.current()));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the pipeline, what comes before a saved state and what comes after it is the whole.
    #[test]
    fn goes_on_from_a_saved_state(kinds in kinds(), cycle in 1usize..4, block in 1usize..4, at in 0usize..200, case in 0u64..u64::MAX) {
        let folder = Folder::new(&format!("state-{case}"));
        let paths = numbered(&folder, &[30, 0, 150, 41]);
        let spec = || with(records(paths.clone(), cycle, block), &kinds, &folder);
        let open = |threads| Pipeline::open(&spec(), &MemoryBudget::new(u64::MAX), threads).unwrap();
        let whole = rest(&mut open(3));
        let mut pipeline = open(2);
        let mut seen = Vec::new();
        while seen.len() < at && pipeline.advance().unwrap() {
            seen.push(shown(&pipeline.current()));
        }
        let state = folder.path("state");
        pipeline.save_state(&state).unwrap();
        let mut resumed = open(3);
        resumed.resume(&state).unwrap();
        prop_assert_eq!([seen.clone(), rest(&mut resumed)].concat(), whole.clone());
        // Saving has changed nothing.
        prop_assert_eq!([seen, rest(&mut pipeline)].concat(), whole);
    }
}

#[test]
fn a_state_of_other_files_is_refused() {
    let folder = Folder::new("other");
    let paths = numbered(&folder, &[5, 5]);
    let open = |paths: &[PathBuf]| {
        Pipeline::open(&records(paths.to_vec(), 1, 1), &MemoryBudget::new(u64::MAX), 1).unwrap()
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
    let read = |text: &str| PipelineSpec::from_json(text, &Access::everything(), &|_| None);
    let source = format!(r#"{{"tfrecord": [{:?}, {:?}], "cycle": 2}}"#, paths[0], paths[1]);
    let spec = read(&format!(
        r#"{{"source": {source}, "stages": [{{"skip": 2}}, {{"take": 7}}, {{"batch": 2, "drop_remainder": true}}, {{"prefetch": null}}]}}"#
    ));
    assert_eq!(run(spec.unwrap()), ["1 11", "2 12", "3 13"]);
    for (text, why) in [
        ("{", "not JSON"),
        ("{}", "no source"),
        (r#"{"source": {"tfrecords": "a"}}"#, "there is no source \"tfrecords\"; did you mean \"tfrecord\"?"),
        (r#"{"source": {"tfrecord": 3}}"#, "a path or a list of paths"),
        (r#"{"source": {"tfrecord": "a", "cycles": 3}}"#, "tfrecord has no option \"cycles\""),
        (
            r#"{"source": {"tfrecord": "a"}, "stages": [{"take": -1}]}"#,
            "take is to be a whole number, not -1",
        ),
        (
            r#"{"source": {"tfrecord": "a"}, "stages": [{"tak": 1}]}"#,
            "there is no stage \"tak\"; did you mean \"take\"?",
        ),
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
            .filter(|e| e.file_name().to_str().unwrap().contains(".tmp-"))
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
    let mut pipeline = Pipeline::open(&spec(kept(0)), &MemoryBudget::new(u64::MAX), 1).unwrap();
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
    let name = cache.file_name().unwrap().to_str().unwrap();
    fs::write(caches.join(format!(".{name}.tmp-0123456789abcdef")), b"half").unwrap();
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
    let error = match Pipeline::open(&spec(kept(0)), &MemoryBudget::new(u64::MAX), 1) {
        Err(error) => error.to_string(),
        Ok(mut pipeline) => loop {
            match pipeline.advance() {
                Ok(more) => assert!(more),
                Err(error) => break error.to_string(),
            }
        },
    };
    assert!(error.contains("tfcache") && error.contains("remove the file"), "{error}");
    // Nor is one that is cut off anywhere, also where a record ends, or is something else.
    for entry in fs::read_dir(&caches).unwrap().flatten() {
        fs::remove_file(entry.path()).unwrap();
    }
    assert_eq!(run(spec(kept(0))), thrice(&whole[..40]));
    let cache = fs::read_dir(&caches).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&cache).unwrap();
    let record_ends = (1..bytes.len()).filter(|at| tightfit_format::tfrecord::is_plain_header(&bytes[*at..]));
    let cuts: Vec<usize> = record_ends.chain([0, 1, 100, bytes.len() - 1]).collect();
    assert!(cuts.len() > 40, "{}", cuts.len());
    for cut in cuts {
        fs::write(&cache, &bytes[..cut]).unwrap();
        let error =
            Pipeline::open(&spec(kept(0)), &MemoryBudget::new(u64::MAX), 1).err().unwrap().to_string();
        assert!(error.contains("tfcache") && error.contains("remove the file"), "{cut}: {error}");
    }
    fs::remove_file(&cache).unwrap();
    // Without a folder, too little memory is an error.
    let mut pipeline = Pipeline::open(
        &spec(Cache { folder: None, memory_bytes: Some(100) }),
        &MemoryBudget::new(u64::MAX),
        1,
    )
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
        let mut pipeline = Pipeline::open(&spec(1 << 20, (1, 0)), &MemoryBudget::new(u64::MAX), 1).unwrap();
        (0..at).for_each(|_| assert!(pipeline.advance().unwrap()));
        pipeline.save_state(&folder.path("state")).unwrap();
        let mut resumed = Pipeline::open(&spec(2000, (1, 0)), &MemoryBudget::new(u64::MAX), 3).unwrap();
        resumed.resume(&folder.path("state")).unwrap();
        assert_eq!(strings(&mut resumed), whole[at..]);
    }
}

/// Adds the number of the pass to a text.
#[derive(Clone, Default)]
struct Pass(u64);

impl MapOp for Pass {
    fn name(&self) -> String {
        "pass".to_string()
    }

    fn schema(&self, input: &Schema) -> Result<Schema, String> {
        Ok(input.clone())
    }

    fn worker(&self, _: &Schema, _: &MemoryBudget) -> Result<Box<dyn MapWorker>, crate::DataError> {
        Ok(Box::new(self.clone()))
    }
}

impl MapWorker for Pass {
    fn run(&mut self, input: &ElementView<'_>, out: &mut Element) -> Result<Verdict, crate::RowFault> {
        let text = String::from_utf8_lossy(input.string(0).unwrap_or_default()).into_owned();
        out.add_string(format!("{text}/{}", self.0).as_bytes())?;
        Ok(Verdict::Keep)
    }

    fn begin_pass(&mut self, epoch: u64) {
        self.0 = epoch;
    }
}

#[test]
fn operations_know_the_pass_resumed_too() {
    let folder = Folder::new("passes");
    let paths = numbered(&folder, &[3]);
    for mode in [MapMode::Inline, MapMode::Parallel { threads: Some(2), is_ordered: true }] {
        let once = records(paths.clone(), 1, 1).then(Each { op: std::sync::Arc::new(Pass::default()), mode });
        assert_eq!(run(once.clone().then(Passes(Some(2)))).join(" "), "0/0 1/0 2/0 0/1 1/1 2/1");
        let mut pipeline = Pipeline::open(&once, &MemoryBudget::new(u64::MAX), 2).unwrap();
        assert_eq!(strings(&mut pipeline).join(" "), "0/0 1/0 2/0");
        pipeline.reset(7).unwrap();
        assert!(pipeline.advance().unwrap());
        pipeline.save_state(&folder.path("state")).unwrap();
        let mut resumed = Pipeline::open(&once, &MemoryBudget::new(u64::MAX), 2).unwrap();
        resumed.resume(&folder.path("state")).unwrap();
        assert_eq!(strings(&mut resumed).join(" "), "1/7 2/7");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Each worker takes its shard, with as many threads as it likes: together they have every element once.
    #[test]
    fn shards_are_disjoint_and_cover(workers in 1u64..7, cycle in 1usize..4, seed in 0u64..9, case in 0u64..u64::MAX) {
        let folder = Folder::new(&format!("shards-{case}"));
        let paths = numbered(&folder, &[30, 0, 50, 21]);
        let mut all = Vec::new();
        for index in 0..workers {
            let spec = records(paths.clone(), cycle, 3)
                .then(Shuffled { buffer_bytes: 1000, seed, reshuffles: true })
                .then(Choice::Shard { count: workers, index })
                .then(Prefetch::default());
            let of_threads = |threads| strings(&mut Pipeline::open(&spec, &MemoryBudget::new(u64::MAX), threads).unwrap());
            let shard = of_threads(1 + index as usize);
            prop_assert_eq!(&shard, &of_threads(1));
            prop_assert!(shard.len().abs_diff(101 / workers as usize) <= 1);
            all.extend(shard);
        }
        let mut numbers: Vec<u64> = all.iter().map(|n| n.parse().unwrap()).collect();
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (0..101).collect::<Vec<u64>>());
    }
}
