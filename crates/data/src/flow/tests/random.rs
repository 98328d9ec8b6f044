//! Random pipelines go on from any state as if they had never stopped.

use proptest::prelude::*;
use tightfit_core::MemoryBudget;

use super::*;

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
    /// Whether its rows lie one after the other.
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
                spec.then(Map { op: std::sync::Arc::new(shout()), mode })
            }
            Kind::Spread => {
                (made.rank, made.is_even) = (1, false);
                spec.then(Map { op: std::sync::Arc::new(spread()), mode: MapMode::Inline })
            }
            Kind::Batch(size, drop_remainder) => {
                (made.rank, made.is_even) = (made.rank + 1, drop_remainder);
                spec.then(Batch { size, drop_remainder })
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
                spec.then(Window { size, shift, stride, drop_remainder })
            }
            Kind::Unbatch => {
                made.rank -= 1;
                spec.then(Unbatch)
            }
            Kind::Take(count) => spec.then(Take(count)),
            Kind::Skip(count) => spec.then(Skip(count)),
            Kind::Shard(count, index) => spec.then(Shard { count, index }),
            Kind::Repeat(count) => spec.then(Repeat(Some(count))),
            Kind::Cache(has_folder) => {
                made.is_cached |= has_folder;
                let folder = has_folder.then(|| folder.path("cache"));
                spec.then(Cache { folder, memory_bytes: has_folder.then_some(1000) })
            }
            Kind::Shuffle(bytes, seed) => {
                // Batches may be larger than the smallest of buffers.
                let buffer_bytes = bytes << (3 * made.rank);
                spec.then(Shuffle { buffer_bytes, seed, reshuffles: true })
            }
            Kind::Zip => {
                (made.is_single, made.name) = (false, "a/record");
                let other = spec.clone().then(Skip(1));
                let prefixes = Some(vec!["a/".to_string(), "b/".to_string()]);
                PipelineSpec::new(Zip { inputs: vec![spec, other], prefixes })
            }
            Kind::Concatenate(count) => {
                let inputs = vec![spec.clone(), spec.then(Take(count))];
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
