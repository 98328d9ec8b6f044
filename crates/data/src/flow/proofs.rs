//! What is promised of every pipeline: the same elements whatever the threads, memory inside the budget, an end in any
//! case, no more threads than there are, and a report that names the stage that holds the others up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use tightfit_core::{DType, MemoryBudget, Shape};

use super::tests::{Folder, numbered, records};
use super::*;
use crate::error::{DataError, RowFault};

/// What no pipeline here takes that gets on at all.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs `work`, which is to come to an end.
fn watched<T: Send + 'static>(what: String, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || send.send(work()));
    receive.recv_timeout(LIMIT).unwrap_or_else(|e| panic!("{what}: {e}"))
}

fn map(name: &str, mode: MapMode, function: impl Fn(&ElementView<'_>) + Send + Sync + 'static) -> Map {
    let function = move |input: &ElementView<'_>, out: &mut Element| {
        function(input);
        out.copy_from(input)?;
        Ok(Verdict::Keep)
    };
    Map { op: Arc::new(FunctionOp::new(name, |input| Ok(input.clone()), function)), mode }
}

const INLINE: MapMode = MapMode::Inline;

fn threads(threads: impl Into<Option<usize>>) -> MapMode {
    MapMode::Parallel { threads: threads.into(), is_ordered: true }
}

/// A map that gives each record a length of its own, up to ten times what it had.
fn repeated(mode: MapMode) -> Map {
    let op = FunctionOp::new(
        "repeated",
        |input| Ok(input.clone()),
        |input, out| {
            let text = input.string(0).unwrap_or_default();
            let times = 1 + input.origin().record as usize % 10;
            out.add_string(&text.repeat(times))?;
            Ok(Verdict::Keep)
        },
    );
    Map { op: Arc::new(op), mode }
}

/// All elements that come, as text, and all errors.
fn outcome(pipeline: &mut Pipeline) -> (Vec<String>, Vec<DataError>) {
    let (mut elements, mut errors) = (Vec::new(), Vec::new());
    loop {
        match pipeline.advance() {
            Ok(true) => {
                let texts = pipeline
                    .current()
                    .strings(0)
                    .map(Result::unwrap)
                    .map(|s| format!("{} {:?}", s.len(), s.first()));
                elements.push(texts.collect::<Vec<_>>().join(","));
            }
            Ok(false) => return (elements, errors),
            Err(error) => errors.push(error),
        }
    }
}

#[derive(Debug, Clone)]
struct Plan {
    threads: usize,
    first: Option<usize>,
    second: Option<usize>,
    depths: [Option<usize>; 2],
    is_ordered: bool,
}

fn plans() -> impl Strategy<Value = Plan> {
    let wanted = || prop_oneof![Just(None), (0usize..5).prop_map(Some)];
    let depth = || prop_oneof![Just(None), (1usize..300).prop_map(Some)];
    (1usize..5, wanted(), wanted(), depth(), depth(), any::<bool>()).prop_map(
        |(threads, first, second, a, b, is_ordered)| Plan {
            threads,
            first,
            second,
            depths: [a, b],
            is_ordered,
        },
    )
}

impl Plan {
    fn mode(&self, wanted: Option<usize>) -> MapMode {
        match wanted {
            Some(0) => INLINE,
            threads => MapMode::Parallel { threads, is_ordered: self.is_ordered },
        }
    }

    fn spec(&self, paths: &[PathBuf], batch: usize) -> PipelineSpec {
        let prefetch = |elements| Prefetch { elements };
        records(paths.to_vec(), 2, 3)
            .then(repeated(self.mode(self.first)))
            .then(prefetch(self.depths[0]))
            .then(repeated(self.mode(self.second)))
            .then(Batch { size: batch, drop_remainder: false })
            .then(prefetch(self.depths[1]))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Threads and depths change nothing but the time it takes; without an order the same elements come.
    #[test]
    fn the_same_elements_whatever_the_threads(plan in plans(), batch in 1usize..40, case in 0u64..u64::MAX) {
        let folder = Folder::new(&format!("same-{case}"));
        let lengths = (0..700usize).map(|i| vec![(i % 251) as u8; i * i % 97]);
        let paths = vec![folder.records("a", lengths.clone()), folder.records("b", lengths.skip(300))];
        let alone = Plan { threads: 1, first: Some(0), second: Some(0), depths: [Some(1); 2], is_ordered: true };
        let run = |plan: &Plan, batch| {
            let (spec, threads) = (plan.spec(&paths, batch), plan.threads);
            watched(format!("{plan:?}"), move || {
                outcome(&mut Pipeline::open(&spec, &MemoryBudget::new(u64::MAX), threads).unwrap()).0
            })
        };
        if plan.is_ordered {
            prop_assert_eq!(run(&plan, batch), run(&alone, batch));
        } else {
            let counted = |elements: Vec<String>| {
                let mut counts = BTreeMap::new();
                elements.into_iter().for_each(|e| *counts.entry(e).or_insert(0) += 1);
                counts
            };
            prop_assert_eq!(counted(run(&plan, 1)), counted(run(&alone, 1)));
        }
    }

    /// However small the budget: all elements, or errors with file and record. Never more than the budget, never a hang.
    #[test]
    fn any_budget_is_enough_or_is_told(plan in plans(), batch in 1usize..20, large in 0usize..600_000, budget in 1u64..4_000_000, case in 0u64..u64::MAX) {
        let folder = Folder::new(&format!("small-{case}"));
        let lengths = (0..150usize).map(|i| vec![(i % 251) as u8; if i % 50 == 20 { large } else { i * 7 % 997 }]);
        let paths = vec![folder.records("a.tfrecord", lengths)];
        let budget = MemoryBudget::new(budget);
        let (spec, shared, threads) = (plan.spec(&paths, batch), budget.clone(), plan.threads);
        let shuffled = Shuffle { buffer_bytes: 100_000, seed: 1, reshuffles: true };
        let spec = if batch % 2 == 0 { spec } else { spec.then(shuffled) };
        let result = watched(format!("{plan:?}"), move || {
            Pipeline::open(&spec, &shared, threads).map(|mut pipeline| outcome(&mut pipeline))
        });
        prop_assert!(budget.peak_bytes() <= budget.limit_bytes());
        prop_assert_eq!(budget.used_bytes(), 0);
        if let Ok((elements, errors)) = result {
            prop_assert!(!errors.is_empty() || elements.len() == 150usize.div_ceil(batch));
            for error in errors {
                let text = error.to_string();
                let has_place = text.contains("a.tfrecord, record ");
                prop_assert!(has_place && matches!(error, DataError::Row(_)), "{}", text);
            }
        }
    }
}

#[test]
fn no_more_threads_work_than_there_are() {
    let folder = Folder::new("threads");
    let paths = numbered(&folder, &[400]);
    for (limit, wanted) in [(1, Some(4)), (2, None), (2, Some(4)), (3, Some(2)), (3, None)] {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let count = || {
            let (now, most) = (now.clone(), most.clone());
            map("count", threads(wanted), move |_| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::sleep(Duration::from_micros(300));
                now.fetch_sub(1, Ordering::SeqCst);
            })
        };
        let all = Skip(0);
        let spec = records(paths.clone(), 1, 1).then(count()).then(all).then(count()).then(all).then(count());
        let mut pipeline = Pipeline::open(&spec, &MemoryBudget::new(u64::MAX), limit).unwrap();
        assert_eq!(outcome(&mut pipeline).0.len(), 400);
        let most = most.load(Ordering::SeqCst);
        assert!(most == limit, "{most} of {limit}, {wanted:?} wanted");
    }
}

#[test]
fn large_elements_now_and_then_do_not_fill_the_memory() {
    let folder = Folder::new("tails");
    let lengths = (0..20_000usize).map(|i| vec![7; if i % 97 == 0 { 300_000 } else { 100 }]);
    let paths = vec![folder.records("a.tfrecord", lengths)];
    let copy = || map("copy", threads(2), |_| {});
    let spec = records(paths, 1, 1).then(copy()).then(Prefetch::default());
    let budget = MemoryBudget::new(u64::MAX);
    let mut pipeline = Pipeline::open(&spec, &budget, 3).unwrap();
    assert_eq!(outcome(&mut pipeline).0.len(), 20_000);
    assert!(budget.peak_bytes() < 24 << 20, "{}", budget.peak_bytes());
}

#[test]
fn a_panic_is_an_error_and_no_end() {
    let folder = Folder::new("panic");
    let paths = numbered(&folder, &[100]);
    for threads in [1, 3] {
        let fails = Arc::new(AtomicU64::new(1));
        let panics = map("panics", self::threads(2), move |view| {
            let is_it = view.string(0) == Ok(b"70");
            assert!(!is_it || fails.swap(0, Ordering::Relaxed) == 0, "as is wanted here");
        });
        let spec = records(paths.clone(), 1, 1).then(panics).then(Prefetch::default());
        watched("panic".to_string(), move || {
            let mut pipeline = Pipeline::open(&spec, &MemoryBudget::new(u64::MAX), threads).unwrap();
            let (_, errors) = outcome(&mut pipeline);
            assert_eq!(errors.len(), 1);
            assert!(errors[0].to_string().contains("panicked"), "{}", errors[0]);
            pipeline.reset(1).unwrap();
            let (elements, errors) = outcome(&mut pipeline);
            assert_eq!((elements.len(), errors.len()), (100, 0));
        });
    }
}

/// A source whose elements take their time.
#[derive(Debug)]
struct SlowSource(u64, Duration);

struct Slow {
    made: Element,
    left: u64,
    time: Duration,
}

impl SourceSpec for SlowSource {
    fn identity(&self) -> serde_json::Value {
        serde_json::json!({"slow": self.0})
    }

    fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        let meter = context.meter("source", &[]);
        let schema = Schema::new(vec![Field::fixed("x", DType::U8, &[4])]).map_err(DataError::Spec)?;
        let made = Element::new(Arc::new(schema), "source", &context.budget);
        Ok(context.node(Slow { made, left: self.0, time: self.1 }, meter))
    }
}

impl Stage for Slow {
    fn schema(&self) -> &Arc<Schema> {
        self.made.schema()
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        thread::sleep(self.time);
        self.made.begin(Origin::default());
        let made = |made: &mut Element| -> Result<(), RowFault> {
            made.add(Shape::new(&[4]).unwrap_or(Shape::SCALAR)).map(|x| x.fill(1))
        };
        made(&mut self.made).map_err(|e| DataError::Spec(format!("{e:?}")))?;
        Ok(true)
    }

    fn current(&self) -> ElementView<'_> {
        self.made.view()
    }

    fn reset(&mut self, _epoch: u64) -> Result<(), DataError> {
        Ok(())
    }

    fn save(&mut self, _state: &mut StateWriter) -> Result<(), DataError> {
        Ok(())
    }

    fn restore(&mut self, _state: &mut StateReader) -> Result<(), DataError> {
        Ok(())
    }
}

#[test]
fn the_report_names_what_the_others_wait_for() {
    let slow = |name: &'static str, mode, us| {
        let time = Duration::from_micros(us);
        map(name, mode, move |_| {
            if !time.is_zero() {
                thread::sleep(time)
            }
        })
    };
    let batch = || Batch { size: 8, drop_remainder: true };
    let all = Skip(0);
    let source = |us| PipelineSpec::new(SlowSource(400, Duration::from_micros(us)));
    let find = |spec: PipelineSpec, taker_us| {
        let mut pipeline = Pipeline::open(&spec, &MemoryBudget::new(u64::MAX), 2).unwrap();
        while pipeline.advance().unwrap() {
            thread::sleep(Duration::from_micros(taker_us));
        }
        let report = pipeline.report();
        report.bottleneck().map(|index| report.stages[index].name.clone())
    };
    let name = |name: &str| Some(name.to_string());
    // One of everything, on either side of the threads.
    let spec = |source_us, map_us, inline_us| {
        let maps = source(source_us).then(slow("first", threads(None), map_us)).then(all);
        maps.then(batch()).then(slow("last", INLINE, inline_us)).then(Prefetch::default())
    };
    assert_eq!(find(spec(500, 100, 500), 500), name("source"));
    assert_eq!(find(spec(100, 800, 500), 500), name("first"));
    assert_eq!(find(spec(50, 50, 6000), 500), name("last"));
    assert_eq!(find(spec(50, 50, 500), 6000), None);
    // Two maps with a thread each.
    let two = |a, b| {
        let first = source(0).then(slow("first", threads(1), a)).then(all);
        first.then(slow("second", threads(1), b)).then(batch())
    };
    assert_eq!(find(two(200, 800), 0), name("second"));
    assert_eq!(find(two(800, 200), 0), name("first"));
    // No threads at all.
    let inline = |source_us, map_us| source(source_us).then(slow("only", INLINE, map_us)).then(batch());
    assert_eq!(find(inline(500, 100), 0), name("source"));
    assert_eq!(find(inline(100, 500), 0), name("only"));
    assert_eq!(find(inline(50, 50), 5000), None);
    // Quick elements, of which only some are timed, after threads that are waited for.
    let quick = PipelineSpec::new(SlowSource(20_000, Duration::ZERO))
        .then(map("spins", threads(1), |_| (0..2000).map(std::hint::black_box).for_each(|_: u32| {})))
        .then(all)
        .then(batch());
    assert_eq!(find(quick, 0), name("spins"));
}

/// The largest budget of `from..to` bytes, to within `step`, that `spec` does not fit, by a run without threads.
fn threshold(spec: &PipelineSpec, mut from: u64, mut to: u64, step: u64) -> u64 {
    while to - from > step {
        let budget_bytes = from.midpoint(to);
        if fits(spec, budget_bytes, 0) { to = budget_bytes } else { from = budget_bytes }
    }
    from
}

/// Whether all of `spec` comes with so much memory: without threads where there are to be none.
fn fits(spec: &PipelineSpec, budget_bytes: u64, threads: usize) -> bool {
    let budget = MemoryBudget::new(budget_bytes);
    let fitting = if threads == 0 {
        let mut context = Context::synchronous(&budget);
        let mut all = || {
            let mut node = spec.open(&mut context)?;
            while node.advance()? {}
            Ok::<_, DataError>(())
        };
        all()
    } else {
        let all = || {
            let mut pipeline = Pipeline::open(spec, &budget, threads)?;
            while pipeline.advance()? {}
            Ok(())
        };
        all()
    };
    if let Err(error) = &fitting {
        assert!(error.is_budget(), "{error}");
    }
    assert!(budget.peak_bytes() <= budget_bytes);
    fitting.is_ok()
}

/// Whether a pipeline fits is a matter of sizes: with any number of threads, however often, it is what a run without
/// threads says, on both sides of the smallest budget that suffices.
#[test]
fn what_fits_depends_on_sizes_alone() {
    let folder = Folder::new("threshold");
    let size = |i: usize| (i * i * 7_919) % if i % 9 == 4 { 300_000 } else { 20_000 };
    let paths = vec![
        folder.records("a.tfrecord", (0..90).map(|i| vec![(i % 251) as u8; size(i)])),
        folder.records("b.tfrecord", (0..60).map(|i| vec![(i % 251) as u8; size(i + 5)])),
    ];
    let prefetch = |elements| Prefetch { elements };
    let source = || records(paths.clone(), 2, 3);
    let specs = [
        source(),
        source().then(prefetch(Some(64))),
        source().then(repeated(threads(3))),
        source().then(prefetch(None)).then(repeated(threads(None))).then(prefetch(Some(100))),
        source()
            .then(repeated(threads(2)))
            .then(RaggedBatch { size: 3, fields: Some(Vec::new()), drop_remainder: false })
            .then(prefetch(Some(8))),
        source()
            .then(Shuffle { buffer_bytes: 1 << 20, seed: 1, reshuffles: true })
            .then(repeated(threads(None)))
            .then(prefetch(Some(8))),
    ];
    for spec in specs {
        let refused = threshold(&spec, 1 << 10, 64 << 20, 64);
        for (budget_bytes, is_enough) in [
            (refused, false),
            (refused + 64, true),
            (refused - refused / 10, false),
            (refused * 11 / 10, true),
        ] {
            for run in 0..25 {
                let fitted = fits(&spec, budget_bytes, 1 + run % 4);
                assert_eq!(fitted, is_enough, "{spec:?} with {budget_bytes} bytes, run {run}");
            }
        }
    }
}
