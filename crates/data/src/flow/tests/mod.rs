//! Pipelines over small files: order, state and memory, whatever the stages and threads.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Access;
use proptest::prelude::*;
use tightfit_core::MemoryBudget;
use tightfit_format::tfrecord::RecordWriter;

use super::*;

mod cache;
mod random;

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

/// The fields of an element as text: numbers as they are, strings in quotes, after the shape.
pub(crate) fn show(view: &ElementView<'_>) -> Vec<String> {
    let show = |index: usize| {
        let tensor = view.tensor(index).unwrap();
        let values: Vec<String> = match tensor.dtype() {
            tightfit_core::DType::String => {
                view.strings(index).map(|s| format!("{:?}", String::from_utf8_lossy(s.unwrap()))).collect()
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
    PipelineSpec::new(TfRecord { paths, interleave: Interleave { cycle, block, shuffle_seed: None } })
}

/// The strings of the first field of each element.
fn strings(pipeline: &mut Pipeline) -> Vec<String> {
    let mut all = Vec::new();
    while pipeline.advance().unwrap() {
        let strings = pipeline.current().strings(0).map(|s| String::from_utf8_lossy(s.unwrap()).into_owned());
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
            .then(Batch { size: 2, drop_remainder: false })
    };
    let mut pipeline = Pipeline::open(&spec(), &MemoryBudget::new(2 << 20), 2).unwrap();
    let error = pipeline.advance().unwrap_err().to_string();
    assert!(error.contains("large.tfrecord, record 1 at byte 26: "), "{error}");
    // What is after it still comes, with what was gathered before.
    assert!(pipeline.advance().unwrap());
    assert_eq!(pipeline.current().tensor(0).unwrap().shape()[..], [2]);
    let mut pipeline = Pipeline::open(&spec(), &MemoryBudget::new(32 << 20), 2).unwrap();
    assert_eq!(strings(&mut pipeline).len(), 2);
}

/// What of an element can be seen: of each field its shape, and its strings or bytes.
pub(crate) fn shown(element: &ElementView<'_>) -> String {
    let field = |index: usize| {
        let tensor = element.tensor(index).unwrap();
        let strings: Vec<_> = element.strings(index).map(|s| String::from_utf8_lossy(s.unwrap())).collect();
        let bytes = if strings.is_empty() { tensor.bytes() } else { &[] };
        format!("{} {strings:?} {bytes:?}", tensor.shape())
    };
    (0..element.places().len()).map(field).collect::<Vec<_>>().join("; ")
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
        (r#"{"source": {"tfrecords": "a"}}"#, "there is no source \"tfrecords\"; did you mean \"tfrecord\""),
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

#[test]
fn shuffled_records_go_on_from_a_saved_state_in_any_memory_and_thread() {
    let folder = Folder::new("shuffled");
    let paths = numbered(&folder, &[100, 300, 200]);
    let spec = |window_bytes, shard| {
        let (order, index_folder) = (crate::shuffle::Order::Uniform, None);
        let source = Shuffled { paths: paths.clone(), order, seed: 5, window_bytes, index_folder, shard };
        PipelineSpec::new(source).then(Repeat(Some(2)))
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
        let once = records(paths.clone(), 1, 1).then(Map { op: std::sync::Arc::new(Pass::default()), mode });
        assert_eq!(run(once.clone().then(Repeat(Some(2)))).join(" "), "0/0 1/0 2/0 0/1 1/1 2/1");
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
                .then(Shuffle { buffer_bytes: 1000, seed, reshuffles: true })
                .then(Shard { count: workers, index })
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
