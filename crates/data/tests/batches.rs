//! From files to batches.
#![allow(missing_docs, clippy::cloned_ref_to_slice_refs)]

mod common;

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use common::{Folder, column, golden, numbered, read, records, spec};
use proptest::prelude::*;
use tightfit_core::{DType, MemoryBudget, StringRef};
use tightfit_data::{DataError, Dataset, Preprocess, Probe, Resize, RowFault};
use tightfit_format::example::Values;

fn open(spec: tightfit_data::DatasetSpec) -> Result<Dataset, DataError> {
    Dataset::open(spec, &MemoryBudget::new(u64::MAX))
}

fn row_error(result: Result<impl Sized, DataError>) -> tightfit_data::BadRow {
    match result {
        Err(DataError::Row(bad)) => *bad,
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("no error"),
    }
}

#[test]
fn several_sources_in_order_with_labels() {
    let folder = Folder::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&numbered(3..5)).unwrap();
    let sources = [
        folder.write("b.tfrecord", &numbered(0..3)),
        // What a file is, is found from its content.
        folder.write("a.bin", &gzip.finish().unwrap()),
        folder.write("empty.tfrecord", b""),
        folder.write("c.tfrecord", &numbered(5..6)),
    ];
    let mut spec = spec(&sources, vec![column("x", DType::F32, &[2])]);
    spec.label = Some("label".to_string());
    let dataset = open(spec).unwrap();
    assert_eq!((dataset.total_rows(), dataset.files(), dataset.feature(0)), (None, 4, Some("x")));
    let budget = MemoryBudget::new(u64::MAX);
    let mut batches = dataset.start(4, 2, 2, &budget).unwrap();
    let batch = batches.next().unwrap().unwrap();
    assert_eq!(batch.labels().unwrap(), [0, 1, 2, 3]);
    assert_eq!(batch.column(0).unwrap().as_slice::<f32>().unwrap(), [0., -0., 1., -1., 2., -2., 3., -3.]);
    assert_eq!(batch.source(3).unwrap().to_string(), format!("{}, record 0", sources[1].display()));
    assert!(batch.source(4).is_none() && batch.column(1).is_none());
    let last = batches.next().unwrap().unwrap();
    assert_eq!((last.rows(), last.labels().unwrap()), (2, &[4, 5][..]));
    assert_eq!(&**last.column(0).unwrap().shape(), [2, 2]);
    let full = last.full_column(0).unwrap();
    assert_eq!(full.as_slice::<f32>().unwrap(), [4., -4., 5., -5., 0., 0., 0., 0.]);
    assert!(batches.next().unwrap().is_none() && batches.next().unwrap().is_none());
    let stats = batches.stats();
    assert_eq!((stats.rows, stats.batches, stats.skipped_rows), (6, 2, 0));
}

#[test]
fn several_inputs_of_all_kinds() {
    let folder = Folder::new();
    let raw: Vec<u8> = [1.5f32, -2.5].iter().flat_map(|v| v.to_le_bytes()).collect();
    let example = |text: &'static [u8]| {
        vec![
            ("ids", Values::Int64(&[1, 2, 300])),
            ("pixels", Values::Bytes(&[&[0, 128, 255]])),
            ("raw", Values::Bytes(std::slice::from_ref(Box::leak(Box::new(&*raw.clone().leak()))))),
            ("text", Values::Bytes(Box::leak(Box::new([text, b"\xff\0z"])))),
        ]
    };
    let source = folder.write("x.tfrecord", &records(&[example(b"first"), example(b"")]));
    let columns = vec![
        column("ids", DType::I32, &[3]),
        column("pixels", DType::F64, &[3]),
        column("raw", DType::F32, &[2]),
        column("text", DType::String, &[2]),
        column("ids_too", DType::I64, &[3]),
    ];
    let mut spec = spec(&[source], columns);
    spec.columns[4].feature = Some("ids".to_string());
    let dataset = open(spec).unwrap();
    let mut batches = dataset.start(2, 1, 1, &MemoryBudget::new(u64::MAX)).unwrap();
    let batch = batches.next().unwrap().unwrap();
    assert_eq!(batch.column(0).unwrap().as_slice::<i32>().unwrap(), [1, 2, 300, 1, 2, 300]);
    assert_eq!(batch.column(1).unwrap().as_slice::<f64>().unwrap()[..3], [0., 128., 255.]);
    assert_eq!(batch.column(2).unwrap().as_slice::<f32>().unwrap(), [1.5, -2.5, 1.5, -2.5]);
    let text = |s: &StringRef| &batch.text()[s.offset as usize..(s.offset + s.bytes) as usize];
    let strings: Vec<_> = batch.column(3).unwrap().as_slice().unwrap().iter().map(text).collect();
    assert_eq!(strings, [&b"first"[..], b"\xff\0z", b"", b"\xff\0z"]);
    assert_eq!(batch.column(4).unwrap().as_slice::<i64>().unwrap(), [1, 2, 300, 1, 2, 300]);
}

#[test]
fn bad_records_are_named_or_skipped() {
    let folder = Folder::new();
    let record_bytes = numbered(0..1).len();
    let mut bytes = numbered(0..5);
    bytes[record_bytes * 2 + 20] ^= 1;
    bytes.extend(records(&[vec![("x", Values::Float(&[1.0, 2.0, 3.0]))], vec![("y", Values::Int64(&[1]))]]));
    bytes.extend(numbered(5..6));
    bytes.extend(&numbered(6..7)[..10]);
    let source = folder.write("x.tfrecord", &bytes);
    let mut spec = spec(
        &[source.clone(), folder.write("y.tfrecord", &numbered(7..8))],
        vec![column("x", DType::F32, &[2])],
    );
    let bad = row_error(read::<f32>(&open(spec.clone()).unwrap(), 2, 1));
    assert_eq!((bad.path.clone(), bad.record, bad.offset), (source, Some(2), Some(record_bytes as u64 * 2)));
    assert!(bad.to_string().contains("CRC"), "{bad}");
    spec.skip_bad = true;
    let dataset = open(spec).unwrap();
    let (values, _) = read::<f32>(&dataset, 3, 1).unwrap();
    assert_eq!(values.iter().step_by(2).copied().collect::<Vec<_>>(), [0., 1., 3., 4., 5., 7.]);
    let mut batches = dataset.start(10, 1, 1, &MemoryBudget::new(u64::MAX)).unwrap();
    assert_eq!(batches.next().unwrap().unwrap().rows(), 6);
    let stats = batches.stats();
    assert_eq!((stats.skipped_rows, stats.skipped.len()), (4, 4));
    for (reason, part) in stats.skipped.iter().zip(["CRC", "3 values", "no feature", "ends inside"]) {
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn numbers_that_do_not_fit_are_bad_rows() {
    let folder = Folder::new();
    let source = folder.write("x.tfrecord", &records(&[vec![("x", Values::Int64(&[256]))]]));
    let bad = row_error(read::<u8>(
        &open(spec(&[source.clone()], vec![column("x", DType::U8, &[1])])).unwrap(),
        1,
        1,
    ));
    assert!(matches!(bad.fault, RowFault::Range { value: 256, dtype: DType::U8 }));
    let bad =
        row_error(read::<f32>(&open(spec(&[source], vec![column("x", DType::F32, &[4])])).unwrap(), 1, 1));
    assert!(matches!(bad.fault, RowFault::Count { expected: 4, found: 1, .. }));
    let text = folder.write("t.tfrecord", &records(&[vec![("x", Values::Bytes(&[&[b'a'; 100]]))]]));
    let mut spec = spec(&[text], vec![column("x", DType::String, &[1])]);
    spec.string_bytes = Some(99);
    let bad = row_error(read::<StringRef>(&open(spec).unwrap(), 1, 1));
    assert!(matches!(bad.fault, RowFault::StringBytes { needed_bytes: 100, left_bytes: 99 }));
}

#[test]
fn arrays_by_rows() {
    let folder = Folder::new();
    let sources = [
        folder.npy("a.npy", &[3, 2, 2], &(0..12).map(f64::from).collect::<Vec<_>>()),
        folder.npy("b.npy", &[0, 2, 2], &[] as &[f32]),
        folder.npy("c.npy", &[2, 4, 1], &(12..20).collect::<Vec<u8>>()),
    ];
    let mut spec = spec(&sources[..2], vec![column("x", DType::F32, &[2, 2])]);
    spec.preprocess = Preprocess::Unit;
    let dataset = open(spec.clone()).unwrap();
    assert_eq!(dataset.total_rows(), Some(3));
    let (values, rows) = read::<f32>(&dataset, 2, 1).unwrap();
    assert_eq!(values, (0..12).map(|v| v as f32 / 255.0).collect::<Vec<_>>());
    assert!(rows[2].ends_with("a.npy, record 2"));
    spec.sources = vec![sources[2].clone()];
    assert!(matches!(row_error(open(spec)).fault, RowFault::RowShape { .. }));
    let ints = common::spec(&sources[..1], vec![column("x", DType::I32, &[2, 2])]);
    assert!(matches!(row_error(open(ints)).fault, RowFault::Cast { from: DType::F64, to: DType::I32 }));
}

#[test]
fn arrays_in_fortran_order_by_rows() {
    let folder = Folder::new();
    // numpy.asfortranarray(numpy.arange(12).reshape(3, 2, 2)) and its file.
    let in_file = [0, 4, 8, 2, 6, 10, 1, 5, 9, 3, 7, 11];
    let source = folder.npy("a.npy", &[3, 2, 2], &in_file.map(f64::from));
    let bytes = fs::read(&source).unwrap();
    let at = bytes.windows(5).position(|part| part == b"False").unwrap();
    fs::write(&source, [&bytes[..at], b"True ", &bytes[at + 5..]].concat()).unwrap();
    let dataset = open(spec(&[source], vec![column("x", DType::F32, &[2, 2])])).unwrap();
    let (values, rows) = read::<f32>(&dataset, 2, 1).unwrap();
    assert_eq!(values, (0..12).map(|v| v as f32).collect::<Vec<_>>());
    assert!(rows[2].ends_with("a.npy, record 2"));
}

#[test]
fn a_truncated_array_gives_its_rows_and_then_the_place() {
    let folder = Folder::new();
    let source = folder.npy("a.npy", &[5, 2], &(0..10).collect::<Vec<i64>>());
    let bytes = fs::read(&source).unwrap();
    fs::write(&source, &bytes[..bytes.len() - 20]).unwrap();
    let mut spec = spec(&[source], vec![column("x", DType::I64, &[2])]);
    let bad = row_error(read::<i64>(&open(spec.clone()).unwrap(), 1, 1));
    assert_eq!((bad.record, bad.offset), (Some(3), Some(bytes.len() as u64 - 32)));
    spec.skip_bad = true;
    assert_eq!(read::<i64>(&open(spec).unwrap(), 2, 1).unwrap().0, (0..6).collect::<Vec<_>>());
}

#[test]
fn strings_out_of_arrays() {
    let folder = Folder::new();
    let head = "{'descr': '<U2', 'fortran_order': False, 'shape': (2,), }\n";
    let mut bytes = b"\x93NUMPY\x01\0".to_vec();
    bytes.extend((head.len() as u16).to_le_bytes());
    bytes.extend(head.as_bytes());
    bytes.extend("é\0ab".chars().flat_map(|c| (c as u32).to_le_bytes()));
    let source = folder.write("s.npy", &bytes);
    let dataset = open(spec(&[source], vec![column("x", DType::String, &[])])).unwrap();
    let mut batches = dataset.start(2, 1, 1, &MemoryBudget::new(u64::MAX)).unwrap();
    let batch = batches.next().unwrap().unwrap();
    assert_eq!(batch.text(), "éab".as_bytes());
}

/// Three images, one of them broken, among files that are none.
fn image_folder() -> Folder {
    let folder = Folder::new();
    fs::create_dir(folder.0.join("sub")).unwrap();
    fs::copy(golden("rgb.png"), folder.0.join("sub/b.png")).unwrap();
    fs::copy(golden("rgb.jpg"), folder.0.join("sub/c.JPG")).unwrap();
    fs::copy(golden("grey.png"), folder.0.join("z.png")).unwrap();
    let jpeg = fs::read(golden("rgb.jpg")).unwrap();
    folder.write("a.jpg", &jpeg[..jpeg.len() / 2]);
    folder.write("notes.txt", b"not an image");
    folder.write(".hidden.png", b"nor this");
    folder
}

#[test]
fn folders_and_globs_of_images() {
    let folder = image_folder();
    let mut spec = spec(&[folder.0.clone()], vec![column("x", DType::U8, &[20, 30, 3])]);
    spec.resize = Some(Resize::Bilinear);
    let dataset = open(spec.clone()).unwrap();
    assert_eq!(dataset.total_rows(), Some(4));
    for threads in [1, 3] {
        let bad = row_error(read::<u8>(&dataset, 4, threads));
        assert_eq!((bad.path, bad.record), (folder.0.join("a.jpg"), None));
    }
    spec.skip_bad = true;
    let dataset = open(spec.clone()).unwrap();
    let (alone, rows) = read::<u8>(&dataset, 2, 1).unwrap();
    let names = ["sub/b.png", "sub/c.JPG", "z.png"].map(|name| folder.0.join(name).display().to_string());
    assert_eq!(rows, names);
    for (batch, threads) in [(3, 2), (2, 3), (10, 4)] {
        assert_eq!(read::<u8>(&dataset, batch, threads).unwrap(), (alone.clone(), rows.clone()));
    }
    spec.sources = vec![folder.0.join("sub/*.[pJ]*")];
    assert_eq!(read::<u8>(&open(spec.clone()).unwrap(), 4, 2).unwrap().1, names[..2]);
    spec.resize = None;
    let dataset = open(spec.clone()).unwrap();
    assert_eq!(read::<u8>(&dataset, 4, 2).unwrap().0.len(), 0);
    spec.skip_bad = false;
    let bad = row_error(read::<u8>(&open(spec.clone()).unwrap(), 4, 2));
    assert!(matches!(bad.fault, RowFault::ImageSize { expected: [20, 30], found: [37, 45] }));
    spec.sources = vec![folder.0.join("none/*.png")];
    assert!(matches!(open(spec), Err(DataError::NoFiles { .. })));
}

#[test]
fn images_inside_records() {
    let folder = Folder::new();
    let files =
        ["rgb.png", "rgb.jpg", "progressive.jpg", "palette.gif"].map(|n| fs::read(golden(n)).unwrap());
    let slices: Vec<[&[u8]; 1]> = files.iter().cycle().take(12).map(|f| [&**f]).collect();
    let labels: Vec<[i64; 1]> = (0..12).map(|i| [i]).collect();
    let examples: Vec<_> = slices
        .iter()
        .zip(&labels)
        .map(|(image, label)| vec![("image/encoded", Values::Bytes(image)), ("label", Values::Int64(label))])
        .collect();
    let source = folder.write("i.tfrecord", &records(&examples));
    let mut spec = spec(&[source.clone()], vec![column("serving_input", DType::F32, &[37, 45, 3])]);
    spec.label = Some("label".to_string());
    let dataset = open(spec.clone()).unwrap();
    assert_eq!(dataset.feature(0), Some("image/encoded"));
    let (alone, rows) = read::<f32>(&dataset, 5, 1).unwrap();
    assert_eq!(rows.len(), 12);
    assert_eq!(read::<f32>(&dataset, 5, 4).unwrap(), (alone.clone(), rows));
    let rgb =
        read::<f32>(&open(common::spec(&[golden("rgb.png")], spec.columns.clone())).unwrap(), 1, 1).unwrap();
    assert_eq!(alone[..rgb.0.len()], rgb.0);
    match Probe::open(&[source], &MemoryBudget::new(u64::MAX)).unwrap() {
        Probe::Records(features) => {
            assert_eq!(features[0].image_size, Some([37, 45]));
            assert_eq!((features[1].name.as_str(), features[1].count), ("label", 1));
        }
        other => panic!("{other:?}"),
    }
    spec.decode_bytes = Some(3000);
    let bad = row_error(read::<f32>(&open(spec.clone()).unwrap(), 5, 2));
    let RowFault::DecodeBytes { needed_bytes, planned_bytes: 3000 } = bad.fault else { panic!("{bad}") };
    // The error names what works.
    spec.decode_bytes = Some(needed_bytes * 2);
    assert_eq!(read::<f32>(&open(spec).unwrap(), 5, 2).unwrap().0, alone);
}

#[test]
fn what_cannot_be_is_refused_at_once() {
    let folder = image_folder();
    let image = folder.0.join("z.png");
    let record = folder
        .write("r.tfrecord", &records(&[vec![("a", Values::Float(&[1.0])), ("b", Values::Float(&[1.0]))]]));
    let refused = |sources: &[PathBuf], columns, change: &dyn Fn(&mut tightfit_data::DatasetSpec)| {
        let mut spec = spec(sources, columns);
        change(&mut spec);
        open(spec).unwrap_err().to_string()
    };
    let rgb = || column("x", DType::F32, &[8, 8, 3]);
    for (text, part) in [
        (refused(&[], vec![rgb()], &|_| {}), "no sources"),
        (refused(&[image.clone()], vec![], &|_| {}), "0 inputs"),
        (refused(&[image.clone()], vec![rgb(), rgb()], &|_| {}), "several"),
        (refused(&[image.clone()], vec![column("x", DType::F32, &[8])], &|_| {}), "[height, width"),
        (refused(&[image.clone()], vec![rgb()], &|s| s.label = Some("y".into())), "labels"),
        (
            refused(&[image.clone()], vec![column("x", DType::U8, &[8, 8, 3])], &|s| {
                s.preprocess = Preprocess::Tf
            }),
            "float",
        ),
        (
            refused(&[image], vec![column("x", DType::F32, &[8, 8])], &|s| s.preprocess = Preprocess::Torch),
            "3 channels",
        ),
        (refused(&[record], vec![column("x", DType::F32, &[1])], &|_| {}), "which feature"),
        (refused(&[folder.0.join("absent.png")], vec![rgb()], &|_| {}), "absent.png"),
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn dropping_stops_while_batches_are_out() {
    let folder = Folder::new();
    let source = folder.write("x.tfrecord", &numbered(0..1000));
    let dataset = open(spec(&[source], vec![column("x", DType::F32, &[2])])).unwrap();
    let budget = MemoryBudget::new(u64::MAX);
    let mut batches = dataset.start(1, 1, 2, &budget).unwrap();
    let (first, second) = (batches.next().unwrap().unwrap(), batches.next().unwrap().unwrap());
    drop(batches);
    assert_eq!(first.column(0).unwrap().as_slice::<f32>().unwrap(), [0.0, -0.0]);
    assert!(budget.used_bytes() > 0);
    drop((first, second));
    assert_eq!(budget.used_bytes(), 0);
}

#[test]
fn a_file_that_vanishes_is_a_bad_row() {
    let folder = image_folder();
    fs::remove_file(folder.0.join("a.jpg")).unwrap();
    let mut spec = spec(&[folder.0.clone()], vec![column("x", DType::F32, &[37, 45, 3])]);
    let strict = open(spec.clone()).unwrap();
    spec.skip_bad = true;
    let lenient = open(spec).unwrap();
    fs::remove_file(folder.0.join("sub/b.png")).unwrap();
    let bad = row_error(read::<f32>(&strict, 2, 2));
    assert!(matches!(bad.fault, RowFault::Io(_)) && bad.path.ends_with("b.png"));
    assert_eq!(read::<f32>(&lenient, 2, 2).unwrap().1.len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn batches_are_the_rows_in_order(
        files in proptest::collection::vec(0..40i64, 1..6),
        batch in 1..50usize,
        slots in 1..5usize,
    ) {
        let folder = Folder::new();
        let mut next = 0;
        let sources: Vec<_> = files.iter().enumerate().map(|(i, count)| {
            next += count;
            folder.write(&format!("{i}.tfrecord"), &numbered(next - count..next))
        }).collect();
        let mut spec = spec(&sources, vec![column("x", DType::F32, &[2])]);
        spec.label = Some("label".to_string());
        let budget = MemoryBudget::new(u64::MAX);
        let dataset = Dataset::open(spec, &budget).unwrap();
        let plan = dataset.plan(batch, 1, slots).unwrap();
        let mut batches = dataset.start(batch, 1, slots, &budget).unwrap();
        let mut labels = Vec::new();
        while let Some(b) = batches.next().unwrap() {
            prop_assert!(b.rows() == batch || labels.len() + b.rows() == next as usize);
            labels.extend_from_slice(b.labels().unwrap());
        }
        prop_assert_eq!(labels, (0..next).collect::<Vec<_>>());
        prop_assert_eq!(batches.plan(), &plan);
        prop_assert_eq!(budget.peak_bytes(), plan.total_bytes);
    }

    #[test]
    fn damaged_files_never_panic(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        which in 0..4usize,
    ) {
        let folder = Folder::new();
        let mut bytes = match which {
            0 => numbered(0..20),
            1 => fs::read(golden("rgb.jpg")).unwrap(),
            2 => fs::read(golden("progressive.jpg")).unwrap(),
            _ => fs::read(golden("palette.gif")).unwrap(),
        };
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let source = folder.write("x", &bytes);
        let image = if which == 0 { column("x", DType::F32, &[2]) } else { column("x", DType::F32, &[8, 8, 3]) };
        let mut spec = spec(&[source], vec![image]);
        (spec.resize, spec.skip_bad) = (Some(Resize::Nearest), true);
        let budget = MemoryBudget::new(64 << 20);
        if let Ok(dataset) = Dataset::open(spec, &budget) {
            let _ = dataset.start(3, 1, 2, &budget).map(|mut batches| while let Ok(Some(_)) = batches.next() {});
        }
    }
}

/// A PNG of one colour.
fn png(height: usize, width: usize) -> Vec<u8> {
    let pixels = vec![height as u8; height * width * 3];
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    out
}

/// Records whose sizes cannot be known before they are read.
fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn what_is_larger_than_the_first_takes_free_memory_or_is_refused() {
    let folder = Folder::new();
    let images: Vec<Vec<u8>> = (0..60).map(|i| png(4 + i * i % 97 * 7, 5 + i * 5)).collect();
    let slices: Vec<[&[u8]; 1]> = images.iter().map(|image| [&**image]).collect();
    let noise: Vec<u8> = (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let examples: Vec<_> = slices
        .iter()
        .enumerate()
        .map(|(i, image)| {
            let extra: &[u8] = if i == 40 { &noise } else { &[] };
            let extra: &'static [&'static [u8]] = Box::leak(Box::new([&*extra.to_vec().leak()]));
            vec![("image", Values::Bytes(image)), ("noise", Values::Bytes(extra))]
        })
        .collect();
    let source = folder.write("i.tfrecord.gz", &zipped(&records(&examples)));
    let mut spec = spec(&[source.clone()], vec![column("image", DType::U8, &[8, 8, 3])]);
    (spec.resize, spec.skip_bad) = (Some(Resize::Nearest), true);
    let dataset = open(spec.clone()).unwrap();
    for threads in [1, 3] {
        let (values, rows) = read::<u8>(&dataset, 7, threads).unwrap();
        assert_eq!(rows.len(), 60);
        let colours: Vec<u8> = values.iter().step_by(8 * 8 * 3).copied().collect();
        assert_eq!(colours, (0..60).map(|i| (4 + i * i % 97 * 7) as u8).collect::<Vec<_>>());
        // With what was planned and nothing else it is refused, for memory and not as a bad row.
        let budget = MemoryBudget::new(dataset.plan(7, threads, 2).unwrap().total_bytes);
        let dataset = Dataset::open(spec.clone(), &budget).unwrap();
        let mut batches = dataset.start(7, threads, 2, &budget).unwrap();
        let error = loop {
            match batches.next() {
                Ok(batch) => assert!(batch.is_some(), "nothing was refused"),
                Err(error) => break error,
            }
        };
        assert!(error.is_budget() && batches.stats().skipped_rows == 0, "{error}");
        assert!(error.to_string().contains(&format!("{}, record ", source.display())), "{error}");
    }
    // Limits hold whatever is free.
    let refused = |change: &dyn Fn(&mut tightfit_data::DatasetSpec)| {
        let mut limited = spec.clone();
        change(&mut limited);
        let error = read::<u8>(&open(limited).unwrap(), 7, 2).unwrap_err();
        assert!(error.is_budget(), "{error}");
        error.to_string()
    };
    let error = refused(&|spec| spec.record_bytes = Some(100_000));
    assert!(error.contains("record 40") && !error.contains("--"), "{error}");
    let error = refused(&|spec| spec.decode_bytes = Some(1_000_000));
    assert!(error.contains("to decode, and may take") && !error.contains("--"), "{error}");
}

/// Rows of all sizes in files that can be looked at: what is planned is enough, and no byte less.
#[test]
fn what_is_planned_is_what_the_largest_row_takes() {
    let folder = Folder::new();
    let images: Vec<Vec<u8>> = (0..50).map(|i| png(3 + i * 29 % 50 * 6, 4 + i * 37 % 50 * 7)).collect();
    let slices: Vec<[&[u8]; 1]> = images.iter().map(|image| [&**image]).collect();
    let text = "x".repeat(3000);
    let texts: Vec<[&[u8]; 1]> = (0..50).map(|i| [&text.as_bytes()[..i * 61]]).collect();
    let of_images: Vec<_> = slices.iter().map(|image| vec![("x", Values::Bytes(image))]).collect();
    let of_texts: Vec<_> = texts.iter().map(|text| vec![("x", Values::Bytes(text))]).collect();
    let pictures = column("x", DType::U8, &[8, 8, 3]);
    for (name, bytes, column) in [
        ("i.tfrecord", records(&of_images), pictures),
        ("t.tfrecord", records(&of_texts), column("x", DType::String, &[1])),
    ] {
        let mut spec = spec(&[folder.write(name, &bytes)], vec![column]);
        (spec.resize, spec.skip_bad) = (Some(Resize::Bilinear), true);
        let unlimited = MemoryBudget::new(u64::MAX);
        for threads in [1, 2] {
            let plan = Dataset::open(spec.clone(), &unlimited).unwrap().plan(7, threads, 2).unwrap();
            let budget = MemoryBudget::new(plan.total_bytes);
            let dataset = Dataset::open(spec.clone(), &budget).unwrap();
            let mut batches = dataset.start(7, threads, 2, &budget).unwrap();
            let mut rows = 0;
            while let Some(batch) = batches.next().unwrap() {
                rows += batch.rows();
            }
            assert_eq!((rows, batches.stats().skipped_rows), (50, 0), "{name}");
            assert_eq!(budget.peak_bytes(), plan.total_bytes);
            drop(batches);
            let budget = MemoryBudget::new(plan.total_bytes - 1);
            let dataset = Dataset::open(spec.clone(), &budget).unwrap();
            assert!(dataset.start(7, threads, 2, &budget).unwrap_err().is_budget());
        }
    }
}

#[test]
fn a_length_that_the_file_cannot_hold_is_a_bad_row() {
    let folder = Folder::new();
    let mut bytes = numbered(0..3);
    let length = (1u64 << 40).to_le_bytes();
    bytes.extend(length);
    bytes.extend(tightfit_format::tfrecord::masked_crc(&length).to_le_bytes());
    bytes.extend([0; 100]);
    let sources = [folder.write("x.tfrecord", &bytes), folder.write("y.tfrecord", &numbered(3..4))];
    let mut spec = spec(&sources, vec![column("x", DType::F32, &[2])]);
    let bad = row_error(read::<f32>(&open(spec.clone()).unwrap(), 2, 1));
    assert!(bad.record == Some(3) && bad.to_string().contains("ends inside"), "{bad}");
    spec.skip_bad = true;
    let dataset = open(spec).unwrap();
    let (values, _) = read::<f32>(&dataset, 2, 1).unwrap();
    assert_eq!(values.iter().step_by(2).copied().collect::<Vec<_>>(), [0., 1., 2., 3.]);
}
