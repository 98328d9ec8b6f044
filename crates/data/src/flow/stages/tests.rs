//! Batching stages against tf.data. TensorFlow 2.21 printed what is expected of windows, of ragged batches, of padding
//! along the first dimension, and of buckets but for those padded to their boundary; the rest follows from its
//! documentation.

use crate::Access;
use tightfit_core::{DType, MemoryBudget, Shape, TensorView};

use crate::flow::tests::{Folder, numbered, records, run};
use crate::flow::*;

/// Lengths of the elements of most tests.
const LENGTHS: [usize; 13] = [1, 5, 2, 9, 3, 12, 4, 6, 7, 2, 15, 1, 8];

/// Element `i` is `i` as often as the `i`th of the records says, which are numbers as text.
fn repeated() -> Map {
    let fields = vec![
        Field::new("x", DType::I64, &[None]),
        Field::fixed("n", DType::I32, &[]),
        Field::new("m", DType::F32, &[None, Some(2)]),
        Field::new("s", DType::String, &[None]),
    ];
    let schema = Schema::new(fields).unwrap();
    let op = FunctionOp::new(
        "repeated",
        move |_| Ok(schema.clone()),
        |input, out| {
            let text = std::str::from_utf8(input.string(0).unwrap()).unwrap();
            let (count, number): (usize, _) = (text.parse().unwrap(), input.origin().record as i64);
            let shape = Shape::new(&[count]).unwrap();
            out.add(shape)?.copy_from_slice(bytemuck::cast_slice(&vec![number; count]));
            out.add(Shape::SCALAR)?.copy_from_slice(&(count as i32).to_le_bytes());
            let m = vec![number as f32; 2 * count];
            out.add(Shape::new(&[count, 2]).unwrap())?.copy_from_slice(bytemuck::cast_slice(&m));
            let mut refs = Vec::new();
            for _ in 0..count {
                refs.push(out.add_text(number.to_string().as_bytes())?);
            }
            out.add(shape)?.copy_from_slice(bytemuck::cast_slice(&refs));
            Ok(Verdict::Keep)
        },
    );
    Map { op: std::sync::Arc::new(op), mode: MapMode::Inline }
}

fn of_lengths(folder: &Folder, lengths: &[usize]) -> PipelineSpec {
    let path = folder.records("lengths.tfrecord", lengths.iter().map(|n| n.to_string().into_bytes()));
    records(vec![path], 1, 1).then(repeated())
}

fn open(spec: PipelineSpec) -> Pipeline {
    Pipeline::open(&spec, &MemoryBudget::new(u64::MAX), 1).unwrap()
}

/// Numbers of a field, row by row, as Python prints lists of lists.
fn shown(tensor: TensorView<'_>) -> String {
    let values: Vec<String> = match tensor.dtype() {
        DType::I64 => tensor.as_slice::<i64>().unwrap().iter().map(i64::to_string).collect(),
        DType::F32 => tensor.as_slice::<f32>().unwrap().iter().map(f32::to_string).collect(),
        _ => tensor.as_slice::<i32>().unwrap().iter().map(i32::to_string).collect(),
    };
    fn list(dims: &[usize], values: &[String]) -> String {
        match dims.split_first() {
            None => values[0].clone(),
            Some((count, inner)) => {
                let size = values.len() / (*count).max(1);
                let rows: Vec<_> =
                    (0..*count).map(|i| list(inner, &values[i * size..(i + 1) * size])).collect();
                format!("[{}]", rows.join(", "))
            }
        }
    }
    list(tensor.shape(), &values)
}

/// Field `name` of all elements.
fn all(pipeline: &mut Pipeline, name: &str) -> Vec<String> {
    let mut all = Vec::new();
    while pipeline.advance().unwrap() {
        all.push(shown(pipeline.current().field(name).unwrap()));
    }
    all
}

fn texts(element: &ElementView<'_>, name: &str) -> String {
    let index = element.schema().find(name).unwrap();
    let texts: Vec<_> =
        element.strings(index).map(|text| String::from_utf8_lossy(text.unwrap()).into_owned()).collect();
    texts.join(",")
}

#[test]
fn pads_as_tensorflow() {
    let folder = Folder::new("padded");
    let spec = of_lengths(&folder, &LENGTHS);
    let batch = PaddedBatch { size: 5, padding: Padding::default(), drop_remainder: false };
    let mut pipeline = open(spec.clone().then(batch));
    assert_eq!(
        pipeline.schema().to_string(),
        "x: int64 [?, ?]; n: int32 [?]; m: float32 [?, ?, 2]; s: string [?, ?]"
    );
    let batches = all(&mut pipeline, "x");
    assert_eq!(batches.len(), 3);
    assert_eq!(
        batches[0],
        "[[0, 0, 0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0, 0, 0, 0], [2, 2, 0, 0, 0, 0, 0, 0, 0], \
         [3, 3, 3, 3, 3, 3, 3, 3, 3], [4, 4, 4, 0, 0, 0, 0, 0, 0]]"
    );
    let padding = Padding {
        shapes: vec![("x".to_string(), vec![Some(6)])],
        values: vec![("x".to_string(), Scalar::Int(7))],
    };
    let batch = PaddedBatch { size: 2, padding, drop_remainder: true };
    let mut pipeline = open(spec.clone().then(Take(3)).then(batch.clone()));
    assert_eq!(pipeline.schema().fields()[0].to_string(), "x: int64 [2, 6]");
    assert_eq!(all(&mut pipeline, "x"), ["[[0, 7, 7, 7, 7, 7], [1, 1, 1, 1, 1, 7]]"]);
    // What is too long is an error of its own, and the rest goes on.
    let mut pipeline = open(spec.then(Skip(2)).then(batch));
    let error = pipeline.advance().unwrap_err().to_string();
    assert!(error.contains("record 3 at byte 51: x is [9] here, and is to be padded to 6"), "{error}");
    assert!(pipeline.advance().unwrap());
    assert_eq!(shown(pipeline.current().field("x").unwrap()), "[[2, 2, 7, 7, 7, 7], [4, 4, 4, 7, 7, 7]]");
}

#[test]
fn pads_inner_dimensions_and_strings() {
    let folder = Folder::new("inner");
    let spec = of_lengths(&folder, &[1, 2, 3]);
    let padding = Padding {
        shapes: vec![("m".to_string(), vec![None, Some(3)])],
        values: vec![
            ("m".to_string(), Scalar::Float(-1.0)),
            ("s".to_string(), Scalar::Text("x".to_string())),
        ],
    };
    // dims [n, 2] to [longest, 3] needs the second dimension to be open.
    let wide = FunctionOp::new(
        "wide",
        |input| Ok(input.with(2, |field| field.dims = vec![None; 2])),
        |input, out| {
            out.copy_from(input)?;
            Ok(Verdict::Keep)
        },
    );
    let wide = Map { op: std::sync::Arc::new(wide), mode: MapMode::Inline };
    let mut pipeline = open(spec.then(wide).then(PaddedBatch { size: 3, padding, drop_remainder: false }));
    assert!(pipeline.advance().unwrap());
    let batch = pipeline.current();
    assert_eq!(
        shown(batch.field("m").unwrap()),
        "[[[0, 0, -1], [-1, -1, -1], [-1, -1, -1]], [[1, 1, -1], [1, 1, -1], [-1, -1, -1]], \
         [[2, 2, -1], [2, 2, -1], [2, 2, -1]]]"
    );
    assert_eq!(texts(&batch, "s"), "0,x,x,1,1,x,2,2,2");
    assert_eq!(shown(batch.field("n").unwrap()), "[1, 2, 3]");
}

#[test]
fn a_batch_that_does_not_fit_is_an_error_and_the_next_comes() {
    let folder = Folder::new("large-batch");
    let spec = of_lengths(&folder, &[1, 1, 40_000, 1, 1, 1, 2, 1]);
    let batch = PaddedBatch { size: 4, padding: Padding::default(), drop_remainder: false };
    let mut pipeline =
        Pipeline::open(&spec.clone().then(batch.clone()), &MemoryBudget::new(3 << 20), 1).unwrap();
    let error = pipeline.advance().unwrap_err().to_string();
    assert!(error.contains("lengths.tfrecord, record 0 at byte 0: padded_batch"), "{error}");
    assert!(pipeline.advance().unwrap());
    assert_eq!(shown(pipeline.current().field("x").unwrap()), "[[4, 0], [5, 0], [6, 6], [7, 0]]");
    assert!(!pipeline.advance().unwrap());
    let mut pipeline = Pipeline::open(&spec.then(batch), &MemoryBudget::new(32 << 20), 1).unwrap();
    assert_eq!(all(&mut pipeline, "n").len(), 2);
}

#[test]
fn ragged_rows_are_split_as_tensorflow() {
    let folder = Folder::new("ragged");
    let spec = of_lengths(&folder, &[1, 2, 3]);
    let mut pipeline = open(spec.then(RaggedBatch { size: 2, fields: None, drop_remainder: false }));
    assert_eq!(
        pipeline.schema().to_string(),
        "x: int64 [?]; x/row_splits: int64 [?]; n: int32 [?]; m: float32 [?, 2]; m/row_splits: int64 [?]; \
         s: string [?]; s/row_splits: int64 [?]"
    );
    let mut seen = Vec::new();
    while pipeline.advance().unwrap() {
        let batch = pipeline.current();
        let fields = ["m", "m/row_splits", "n"].map(|name| shown(batch.field(name).unwrap()));
        seen.push(format!("{} {}", fields.join(" "), texts(&batch, "s")));
    }
    assert_eq!(
        seen,
        ["[[0, 0], [1, 1], [1, 1]] [0, 1, 3] [1, 2] 0,1,1", "[[2, 2], [2, 2], [2, 2]] [0, 3] [3] 2,2,2"]
    );
}

fn buckets(pad_to_boundary: bool, drop_remainder: bool) -> BucketByLength {
    BucketByLength {
        field: "x".to_string(),
        boundaries: vec![3, 6, 10],
        batch_sizes: vec![3, 2, 2, 2],
        padding: Padding { shapes: Vec::new(), values: vec![("x".to_string(), Scalar::Int(-1))] },
        pad_to_boundary,
        drop_remainder,
    }
}

#[test]
fn buckets_as_tensorflow() {
    let folder = Folder::new("buckets");
    let whole = [
        "[[1, 1, 1, 1, 1], [4, 4, 4, -1, -1]]",
        "[[3, 3, 3, 3, 3, 3, 3, 3, 3], [7, 7, 7, 7, 7, 7, -1, -1, -1]]",
        "[[0, -1], [2, 2], [9, 9]]",
        "[[5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, -1, -1, -1], [10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10]]",
        "[[8, 8, 8, 8, 8, 8, 8, -1], [12, 12, 12, 12, 12, 12, 12, 12]]",
    ];
    let spec = of_lengths(&folder, &LENGTHS);
    assert_eq!(all(&mut open(spec.clone().then(buckets(false, true))), "x"), whole);
    let seen = all(&mut open(spec.clone().then(buckets(false, false))), "x");
    assert_eq!(seen, [&whole[..], &["[[11]]", "[[6, 6, 6, 6]]"]].concat());
    // By a scalar, the same.
    let by_value = BucketByLength { field: "n".to_string(), ..buckets(false, false) };
    assert_eq!(all(&mut open(spec.clone().then(by_value)), "x"), seen);
    let mut pipeline = open(spec.then(buckets(true, false)).then(SkipBad::default()));
    let seen = all(&mut pipeline, "x");
    assert_eq!(
        seen,
        [
            "[[1, 1, 1, 1, 1], [4, 4, 4, -1, -1]]",
            "[[3, 3, 3, 3, 3, 3, 3, 3, 3], [7, 7, 7, 7, 7, 7, -1, -1, -1]]",
            "[[0, -1], [2, 2], [9, 9]]",
            "[[8, 8, 8, 8, 8, 8, 8, -1, -1], [12, 12, 12, 12, 12, 12, 12, 12, -1]]",
            "[[11, -1]]",
            "[[6, 6, 6, 6, -1]]",
        ]
    );
    let StageReport { skipped, messages, .. } = pipeline.report().stages.pop().unwrap();
    assert!(skipped == 2 && messages[0].contains("record 5 at byte"), "{messages:?}");
}

#[test]
fn windows_as_tensorflow() {
    let folder = Folder::new("windows");
    let paths = numbered(&folder, &[10]);
    let run = |count: u64, size: usize, shift: usize, stride: usize, drop_remainder: bool| {
        let spec = records(paths.clone(), 1, 1).then(Take(count));
        run(spec.then(Window { size, shift, stride, drop_remainder }))
    };
    assert_eq!(run(7, 3, 1, 1, false), ["0 1 2", "1 2 3", "2 3 4", "3 4 5", "4 5 6", "5 6", "6"]);
    assert_eq!(run(7, 3, 1, 1, true), ["0 1 2", "1 2 3", "2 3 4", "3 4 5", "4 5 6"]);
    assert_eq!(run(7, 3, 3, 1, false), ["0 1 2", "3 4 5", "6"]);
    assert_eq!(run(7, 3, 5, 1, false), ["0 1 2", "5 6"]);
    assert_eq!(run(10, 3, 2, 2, false), ["0 2 4", "2 4 6", "4 6 8", "6 8", "8"]);
    assert_eq!(run(10, 3, 2, 2, true), ["0 2 4", "2 4 6", "4 6 8"]);
    let wide = ["0 3", "1 4", "2 5", "3 6", "4 7", "5 8", "6 9", "7", "8", "9"];
    assert_eq!(run(10, 2, 1, 3, false), wide);
    assert_eq!(run(5, 2, 7, 2, false), ["0 2"]);
    assert_eq!(run(4, 6, 1, 1, false), ["0 1 2 3", "1 2 3", "2 3", "3"]);
    assert!(run(4, 6, 1, 1, true).is_empty());
}

#[test]
fn rows_of_batches_are_lent_where_they_lie() {
    let folder = Folder::new("unbatch");
    let spec = of_lengths(&folder, &[2, 2, 2, 2, 2]);
    let batch = Batch { size: 3, drop_remainder: false };
    let mut pipeline = open(spec.clone().then(batch).then(Unbatch));
    assert_eq!(pipeline.schema().to_string(), "x: int64 [?]; n: int32 []; m: float32 [?, 2]; s: string [?]");
    let mut seen = Vec::new();
    let mut starts = Vec::new();
    while pipeline.advance().unwrap() {
        let row = pipeline.current();
        starts.push(row.tensor(0).unwrap().bytes().as_ptr().addr());
        seen.push(format!("{} {}", shown(row.field("m").unwrap()), texts(&row, "s")));
    }
    assert_eq!(seen[0], "[[0, 0], [0, 0]] 0,0");
    assert_eq!((seen.len(), seen[4].as_str()), (5, "[[4, 4], [4, 4]] 4,4"));
    assert!(starts[1] == starts[0] + 16 && starts[2] == starts[1] + 16);
    let ragged = spec.then(RaggedBatch { size: 3, fields: None, drop_remainder: false }).then(Unbatch);
    let error = open(ragged).advance().unwrap_err().to_string();
    assert!(error.contains("x/row_splits has 4 rows, and other fields have others"), "{error}");
}

#[test]
fn pipelines_are_zipped_and_concatenated() {
    let folder = Folder::new("combined");
    let paths = numbered(&folder, &[3, 5]);
    let (a, b) = (records(vec![paths[0].clone()], 1, 1), records(vec![paths[1].clone()], 1, 1));
    let zip = |prefixes: Option<&[&str]>| Zip {
        inputs: vec![a.clone(), b.clone()],
        prefixes: prefixes.map(|list| list.iter().map(|text| text.to_string()).collect()),
    };
    let mut pipeline = open(PipelineSpec::new(zip(Some(&["", "b/"]))));
    assert_eq!(pipeline.rows(), None);
    let mut pairs = Vec::new();
    while pipeline.advance().unwrap() {
        let element = pipeline.current();
        pairs.push([texts(&element, "record"), texts(&element, "b/record")].join("-"));
    }
    assert_eq!(pairs, ["0-3", "1-4", "2-5"]);
    assert!(!pipeline.advance().unwrap());
    let refused = |spec: PipelineSpec| {
        Pipeline::open(&spec, &MemoryBudget::new(u64::MAX), 1).err().unwrap().to_string()
    };
    let error = refused(PipelineSpec::new(zip(None)));
    assert!(error.contains("two fields are called \"record\"; prefixes"), "{error}");
    let inputs = vec![b.clone(), a.clone(), b.clone().then(Take(1))];
    let spec = PipelineSpec::new(Concatenate { inputs }).then(Repeat(Some(2)));
    assert_eq!(run(spec).join(" "), "3 4 5 6 7 0 1 2 3 3 4 5 6 7 0 1 2 3");
    let batches = |size| b.clone().then(Batch { size, drop_remainder: true });
    let spec = PipelineSpec::new(Concatenate { inputs: vec![batches(2), batches(3)] });
    assert_eq!(open(spec.clone()).schema().to_string(), "record: string [?]");
    assert_eq!(run(spec), ["3 4", "5 6", "3 4 5"]);
    let error = refused(PipelineSpec::new(Concatenate { inputs: vec![a, batches(2)] }));
    assert!(
        error.contains("of one pipeline are record: string [], and of another record: string [2]"),
        "{error}"
    );
}

#[test]
fn what_is_wrong_is_passed_over_and_counted() {
    let folder = Folder::new("skip-bad");
    let paths = numbered(&folder, &[40]);
    let bad = FunctionOp::new(
        "bad",
        |input| Ok(input.clone()),
        |input, out| {
            if input.string(0).unwrap().ends_with(b"3") || input.origin().record >= 30 {
                return Err(crate::RowFault::Map("bad".to_string()));
            }
            out.copy_from(input)?;
            Ok(Verdict::Keep)
        },
    );
    let bad = |mode| Map { op: std::sync::Arc::new(bad.clone()), mode };
    for mode in [MapMode::Inline, MapMode::default()] {
        let spec = records(paths.clone(), 1, 1).then(bad(mode));
        let mut pipeline = open(spec.clone().then(SkipBad::default()));
        let mut count = 0;
        while pipeline.advance().unwrap() {
            count += 1;
        }
        let StageReport { skipped, messages, .. } = pipeline.report().stages.pop().unwrap();
        assert_eq!((count, skipped, messages.len()), (27, 13, 8));
        assert!(messages[1].contains("record 13 at byte") && messages[1].ends_with("bad"), "{messages:?}");
        let mut pipeline = open(spec.then(SkipBad { limit: Some(2) }));
        let error = (0..40).find_map(|_| pipeline.advance().err()).unwrap().to_string();
        assert!(error.contains("record 23"), "{error}");
    }
    // A file that is gone is an error each time it is its turn, and no end of errors.
    let spec = records(paths.clone(), 1, 1).then(Repeat(None)).then(SkipBad::default());
    let mut pipeline = open(spec);
    std::fs::remove_file(&paths[0]).unwrap();
    assert!((0..10).any(|_| matches!(pipeline.advance(), Ok(false) | Err(_))));
}

#[test]
fn files_come_in_an_order_by_seed_and_epoch() {
    let folder = Folder::new("file-order");
    let paths = numbered(&folder, &[2; 9]);
    let order = |cycle, seed, passes| {
        let interleave = Interleave { cycle, block: 2, shuffle_seed: Some(seed) };
        run(PipelineSpec::new(TfRecord { paths: paths.clone(), interleave }).then(Repeat(Some(passes))))
    };
    let first = order(1, 3, 1);
    assert_ne!(order(1, 4, 1), first);
    let both = order(1, 3, 2);
    assert_eq!(both[..18], first);
    assert_ne!(both[18..], first);
    let mut sorted: Vec<u32> = both[18..].iter().map(|text| text.parse().unwrap()).collect();
    // Files stay whole.
    assert!(sorted.chunks(2).all(|pair| pair[0] % 2 == 0 && pair[1] == pair[0] + 1));
    sorted.sort();
    assert!(sorted.into_iter().eq(0..18));
    let interleave = Interleave { cycle: 2, block: 1, shuffle_seed: Some(5) };
    let spec = || PipelineSpec::new(TfRecord { paths: paths.clone(), interleave });
    let mut pipeline = open(spec());
    pipeline.reset(7).unwrap();
    assert!(pipeline.advance().unwrap() && pipeline.advance().unwrap() && pipeline.advance().unwrap());
    let state = folder.path("state");
    pipeline.save_state(&state).unwrap();
    let mut resumed = open(spec());
    resumed.resume(&state).unwrap();
    while pipeline.advance().unwrap() {
        assert!(resumed.advance().unwrap());
        assert_eq!(resumed.current().string(0), pipeline.current().string(0));
    }
    assert!(!resumed.advance().unwrap());
}

#[test]
fn reads_stages_in_json() {
    let folder = Folder::new("json-stages");
    let paths = numbered(&folder, &[10]);
    let source = format!(r#"{{"tfrecord": {:?}}}"#, paths[0]);
    let open = |stages: &str| {
        let text = format!(r#"{{"source": {source}, "stages": [{stages}]}}"#);
        Pipeline::open(
            &PipelineSpec::from_json(&text, &Access::everything(), &|_| None)?,
            &MemoryBudget::new(u64::MAX),
            1,
        )
    };
    for (stages, schema) in [
        (r#"{"shuffle": "64KiB", "seed": 1, "reshuffle": true}"#, "record: string []"),
        (
            r#"{"padded_batch": 2, "padding_values": {"record": "x"}, "drop_remainder": true}"#,
            "record: string [2]",
        ),
        (r#"{"ragged_batch": 2, "fields": []}, {"unbatch": null}"#, "record: string []"),
        (
            r#"{"batch": 2}, {"bucket_by_length": "record", "boundaries": [2], "batch_sizes": [1, 2]}"#,
            "record: string [?, ?]",
        ),
        (r#"{"window": 3, "shift": 1, "stride": 2, "drop_remainder": true}"#, "record: string [3]"),
        (r#"{"skip_bad": null}, {"skip_bad": 3}"#, "record: string []"),
        (r#"{"rename": {"record": "r"}}, {"select": ["r"]}, {"filter": "r", "equals": "5"}"#, "r: string []"),
    ] {
        let mut pipeline = open(stages).unwrap();
        assert_eq!(pipeline.schema().to_string(), schema, "{stages}");
        assert!(pipeline.advance().unwrap(), "{stages}");
    }
    for (stages, why) in [
        (r#"{"bucket_by_length": "record", "boundaries": [2]}"#, "needs batch_sizes"),
        (r#"{"shuffle": "many"}"#, "shuffle is to be a size, as 64MiB"),
        (r#"{"window": 0}"#, "at least 1"),
        (r#"{"unbatch": null}"#, "unbatch: record: string [] has no rows"),
        (r#"{"padded_batch": 2, "padding_values": {"record": 3}}"#, "Int(3) cannot become string"),
        (r#"{"padded_batch": 2, "padded_shapes": {"x": [3]}}"#, "there is no field \"x\" here"),
        (r#"{"ragged_batch": 2, "fields": ["record"]}"#, "no dimension that could be ragged"),
        (r#"{"filter": "record", "equal": 3}"#, "by what? There is equals,"),
    ] {
        let error = open(stages).err().unwrap().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_pipeline_may_have_one_cache_twice() {
    let folder = Folder::new("twice");
    let paths = numbered(&folder, &[30, 20]);
    let whole: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    for (name, memory_bytes) in [("disk", 0), ("memory", 1 << 20)] {
        let caches = folder.path(name);
        let part = || {
            let kept = Cache { folder: Some(caches.clone()), memory_bytes: Some(memory_bytes) };
            records(paths.clone(), 1, 1).then(kept)
        };
        // Both at once, then from what one of them has left.
        for _ in 0..2 {
            let prefixes = Some(["a/", "b/"].map(str::to_string).to_vec());
            let both = PipelineSpec::new(Zip { inputs: vec![part(), part()], prefixes });
            let mut pipeline = Pipeline::open(&both, &MemoryBudget::new(16 << 20), 2).unwrap();
            let mut found = Vec::new();
            while pipeline.advance().unwrap() {
                let view = pipeline.current();
                let text = |field| String::from_utf8(view.string(field).unwrap().to_vec()).unwrap();
                assert_eq!(text(0), text(1));
                found.push(text(0));
            }
            assert_eq!(found, whole);
        }
        let again = PipelineSpec::new(Concatenate { inputs: vec![part(), part()] });
        assert_eq!(run(again), [&whole[..], &whole[..]].concat());
        // Each is whole under a name of its own, as what stands before it is another.
        let names = std::fs::read_dir(&caches).unwrap().map(|e| e.unwrap().file_name());
        let names: Vec<_> = names.map(|name| name.to_str().unwrap().to_string()).collect();
        assert!(!names.is_empty() && names.iter().all(|name| name.ends_with(".tfcache")), "{names:?}");
    }
}
