//! Data sets in object stores: the same as in files, whatever happens on the way.
#![cfg(feature = "object-store")]
#![allow(missing_docs, clippy::cloned_ref_to_slice_refs)]

mod common;
#[path = "objects/server.rs"]
mod server;

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use common::{Folder, column, golden, numbered, read, spec};
use flate2::Compression;
use flate2::write::GzEncoder;
use server::{Fault, Server};
use tightfit_core::{DType, MemoryBudget};
use tightfit_data::storage::{self, StoredFile};
use tightfit_data::{Dataset, Resize};

/// What an object takes while it is read from front to back.
const READ_BYTES: u64 = (64 << 10) + (4 << 20);

/// The server of this process, which the stores' options point at.
fn server() -> &'static Server {
    static OPTIONS: Once = Once::new();
    let server = server::server();
    OPTIONS.call_once(|| {
        let here = server.address();
        let options = [
            ("aws_endpoint", here.as_str()),
            ("aws_access_key_id", "key"),
            ("aws_secret_access_key", "secret"),
            ("google_base_url", &here),
            ("google_skip_signature", "true"),
            ("allow_http", "true"),
            ("timeout", "1 second"),
        ];
        storage::set_options(options.map(|(key, value)| (key.to_string(), value.to_string())).to_vec());
    });
    server
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn open(url: &Path) -> StoredFile {
    storage::open(url, &MemoryBudget::new(READ_BYTES)).unwrap()
}

fn read_all(url: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    storage::open(url, &MemoryBudget::new(READ_BYTES))?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut write = GzEncoder::new(Vec::new(), Compression::fast());
    write.write_all(bytes).unwrap();
    write.finish().unwrap()
}

/// Asserts that two sources hold the same rows.
fn assert_same(local: &[PathBuf], remote: &[PathBuf], dims: &[usize]) {
    let rows = |sources: &[PathBuf]| {
        let mut spec = spec(sources, vec![column("x", DType::F32, dims)]);
        spec.resize = Some(Resize::Bilinear);
        read::<f32>(&Dataset::open(spec, &MemoryBudget::new(u64::MAX)).unwrap(), 32, 2).unwrap()
    };
    let ((expected, from), (found, from_remote)) = (rows(local), rows(remote));
    assert!(!expected.is_empty());
    assert_eq!(expected, found);
    // They are told by the same numbers of records and rows.
    let number = |source: &String| source.split_once(", ").map(|(_, number)| number.to_string());
    assert!(from.iter().map(number).eq(from_remote.iter().map(number)), "{from_remote:?}");
}

#[test]
fn records_arrays_and_images_are_those_of_files() {
    let (folder, server) = (Folder::new(), server());
    let plain = numbered(0..120_000);
    assert!(plain.len() > 5 << 20, "several ranges: {}", plain.len());
    let packed = gzip(&plain);
    let values: Vec<f32> = (0..900_000u32).map(|i| i as f32).collect();
    let files = [
        (folder.write("a.tfrecord", &plain), vec![2]),
        (folder.write("a.tfrecord.gz", &packed), vec![2]),
        (folder.npy("a.npy", &[300_000, 3], &values), vec![3]),
        (golden("rgb.jpg"), vec![8, 8, 3]),
        (golden("rgb.png"), vec![8, 8, 3]),
    ];
    for (path, dims) in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let http = server.put(&format!("equal/{name}"), fs::read(&path).unwrap());
        for url in [http, format!("s3://equal/{name}").into(), format!("gs://equal/{name}").into()] {
            assert_same(&[path.clone()], &[url], &dims);
        }
    }
}

#[test]
fn folders_and_patterns_are_listed_in_order() {
    let server = server();
    for key in ["p/c.jpg", "p/a.png", "p/sub/b.png", "p/notes.txt", "p/.hidden.png", "pp/d.png", "p/e f.png"]
    {
        server.put(&format!("listed/{key}"), fs::read(golden("rgb.png")).unwrap());
    }
    let names = |source: &str| {
        let budget = MemoryBudget::new(u64::MAX);
        let list = tightfit_data::list(&[source.into()], &budget).unwrap();
        let names = list
            .files
            .iter()
            .map(|f| f.path.to_str().unwrap().split_once("://listed/").unwrap().1.to_string());
        names.collect::<Vec<_>>()
    };
    for scheme in ["s3", "gs"] {
        assert_eq!(
            names(&format!("{scheme}://listed/p/")),
            ["p/a.png", "p/c.jpg", "p/e f.png", "p/sub/b.png"]
        );
        assert_eq!(names(&format!("{scheme}://listed/p/[a-d].*")), ["p/a.png", "p/c.jpg"]);
        assert_eq!(names(&format!("{scheme}://listed/p*/d.png")), ["pp/d.png"]);
        assert_eq!(names(&format!("{scheme}://listed/**/*.png")).len(), 5);
        assert_eq!(names(&format!("{scheme}://listed/p/e f.png")), ["p/e f.png"]);
    }
    let error = |source: &str| {
        tightfit_data::list(&[source.into()], &MemoryBudget::new(u64::MAX)).unwrap_err().to_string()
    };
    assert!(error("s3://listed/none/").contains("no images"));
    assert!(error("s3://listed/none*").contains("nothing matches"));
    assert!(error("s3://listed/p/x.png").contains("404"));
    assert!(error("s3://").contains("bucket"));
    let http = server.put("listed/x", Vec::new());
    assert!(error(http.parent().unwrap().join("").to_str().unwrap()).contains("no list"));
}

#[test]
fn reads_and_seeks_are_those_of_a_file() {
    let (bytes, server) = (noise(3_500_000), server());
    let url = server.put("seek", bytes.clone());
    let mut file = open(&url);
    assert_eq!((file.len(), file.modified_ns()), (3_500_000, Some(1_445_412_480_000_000_000)));
    let places = noise(120);
    for place in places.chunks(3) {
        let offset = usize::from(place[0]) * 13_700;
        let length = if place[2] < 30 { 1_500_000 } else { usize::from(place[1]) * 900 };
        let expected = &bytes[offset.min(bytes.len())..(offset + length).min(bytes.len())];
        let mut out = vec![0; length];
        if place[2] % 2 == 0 {
            assert_eq!(file.read_at(&mut out, offset as u64).unwrap(), expected.len());
        } else {
            file.seek(SeekFrom::Start(offset as u64)).unwrap();
            out.clear();
            (&mut file).take(length as u64).read_to_end(&mut out).unwrap();
            assert_eq!(file.stream_position().unwrap(), offset.max(offset + expected.len()) as u64);
        }
        assert!(out[..expected.len()] == *expected, "{length} bytes at {offset}");
    }
    assert_eq!(file.seek(SeekFrom::End(-1)).unwrap(), 3_499_999);
    assert!(file.seek(SeekFrom::Current(-4_000_000)).is_err());
    assert_eq!(file.read(&mut [0; 9]).unwrap(), 1);
    assert_eq!(file.read(&mut [0; 9]).unwrap(), 0);
}

#[test]
fn little_is_read_of_what_is_only_looked_at() {
    let (bytes, server) = (noise(20 << 20), server());
    let url = server.put("ranges", bytes);
    let mut file = open(&url);
    file.read_exact(&mut [0; 1000]).unwrap();
    assert_eq!(server.take_ranges("ranges").as_slice(), std::slice::from_ref(&(0..64 << 10)));
    file.read_exact(&mut vec![0; 19 << 20]).unwrap();
    let mut ranges = server.take_ranges("ranges");
    ranges.sort_by_key(|range| range.start);
    // Each byte is asked for once, one range after the other, and no more than there may be ahead.
    assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
    assert!(ranges.iter().all(|range| range.len() <= 1 << 20));
    assert_eq!(ranges[0].start, 64 << 10);
    assert!(ranges.last().unwrap().end <= (19 << 20) + 1000 + (4 << 20));
}

#[test]
fn memory_is_given_back_and_its_lack_is_told() {
    let server = server();
    let url = server.put("memory", noise(9 << 20));
    let budget = MemoryBudget::new(READ_BYTES);
    for _ in 0..3 {
        let mut file = storage::open(&url, &budget).unwrap();
        file.read_exact(&mut vec![0; 7 << 20]).unwrap();
        assert_eq!(budget.used_bytes(), READ_BYTES);
        // Ranges are on their way now, and nobody waits for them any more.
        drop(file);
        assert_eq!(budget.used_bytes(), 0);
    }
    // One range at a time is enough.
    let small = MemoryBudget::new((64 << 10) + (1 << 20));
    let mut out = Vec::new();
    storage::open(&url, &small).unwrap().read_to_end(&mut out).unwrap();
    assert!(out == noise(9 << 20));
    let error = storage::open(&url, &MemoryBudget::new(65_535)).unwrap_err();
    assert!(error.to_string().contains("object reads"), "{error}");
}

#[test]
fn transient_failures_are_retried() {
    let (bytes, server) = (noise(2_500_000), server());
    let url = server.put("passes", bytes.clone());
    for faults in [
        [Fault::Drop, Fault::Drop],
        [Fault::Status(503), Fault::Status(503)],
        [Fault::Status(429), Fault::Drop],
        [Fault::Short, Fault::Status(500)],
    ] {
        for tag in [Some("\"1\""), Some("W/\"1\""), None] {
            server.tag("passes", tag);
            server.fail("passes", &faults);
            assert!(read_all(&url).unwrap() == bytes, "{faults:?}, {tag:?}, at the start");
            let file = open(&url);
            server.fail("passes", &faults);
            let mut out = vec![0; 2_000_000];
            assert_eq!(file.read_at(&mut out, 400_000).unwrap(), out.len());
            assert!(out == bytes[400_000..2_400_000], "{faults:?}, {tag:?}, inside");
        }
    }
}

#[test]
fn what_stays_is_told_with_place_and_status() {
    let server = server();
    let url = server.put("stays", noise(2_000_000));
    for (fault, words) in [
        (Fault::Status(503), vec!["503", "come back later"]),
        (Fault::Status(403), vec!["403"]),
        (Fault::Short, vec!["ended after"]),
        (Fault::Drop, vec![]),
        (Fault::NoRanges, vec!["ranges of bytes"]),
    ] {
        let mut file = open(&url);
        server.fail("stays", &[fault; 1000]);
        file.seek(SeekFrom::Start(100_000)).unwrap();
        let error = file.read(&mut [0; 10]).unwrap_err().to_string();
        server.fail("stays", &[]);
        assert!(error.starts_with("bytes 100000 to 1148576: "), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{fault:?}: {error}");
        // The next attempt begins anew.
        assert_eq!(file.read(&mut [0; 10]).unwrap(), 10, "{fault:?}");
    }
    server.fail("stays", &[Fault::Status(403); 1000]);
    let error = tightfit_data::list(&[url.clone()], &MemoryBudget::new(u64::MAX)).unwrap_err().to_string();
    server.fail("stays", &[]);
    assert!(error.starts_with(&format!("{}: bytes 0 to 65536: ", url.display())), "{error}");
}

#[test]
fn a_length_that_is_not_the_ranges_is_no_data() {
    let server = server();
    let url = server.put("long", noise(300_000));
    let file = open(&url);
    server.fail_always("long", Fault::Long);
    let error = file.read_at(&mut [0; 1000], 100_000).unwrap_err().to_string();
    assert!(error.contains("more bytes"), "{error}");
}

#[test]
fn an_object_that_is_replaced_is_an_error() {
    let server = server();
    for tag in [Some("\"1\""), Some("W/\"1\"")] {
        let url = server.put("replaced", noise(2_000_000));
        server.tag("replaced", tag);
        let mut file = open(&url);
        server.put("replaced", noise(2_000_000).into_iter().rev().collect());
        let error = file.read_to_end(&mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("replaced"), "{error}");
    }
    // A server without tags, or one that does not keep to them: the size tells, or the tag it answers with.
    let url = server.put("replaced", noise(2_000_000));
    server.tag("replaced", None);
    let file = open(&url);
    server.put("replaced", noise(1_999_999));
    server.tag("replaced", None);
    assert!(file.read_at(&mut [0; 10], 100_000).unwrap_err().to_string().contains("replaced"));
    let url = server.put("replaced", noise(2_000_000));
    let file = open(&url);
    server.fail_always("replaced", Fault::OtherTag);
    assert!(file.read_at(&mut [0; 10], 100_000).unwrap_err().to_string().contains("replaced"));
}

#[test]
fn a_server_that_hangs_is_given_up() {
    let server = server();
    let url = server.put("hangs", noise(2_000_000));
    server.tag("hangs", None);
    let mut file = open(&url);
    for fault in [Fault::Hang, Fault::Stall] {
        server.fail_always("hangs", fault);
        let begin = Instant::now();
        file.seek(SeekFrom::Start(1_000_000)).unwrap();
        let error = file.read(&mut [0; 10]).unwrap_err().to_string();
        assert!(error.contains("timed out"), "{error}");
        // Some attempts of a second, and the waits between them.
        assert!(begin.elapsed() < Duration::from_secs(30), "{fault:?}");
    }
}

#[test]
fn many_objects_are_looked_at_side_by_side() {
    let server = server();
    for i in 0..40 {
        server.put(&format!("many/{i:02}.png"), fs::read(golden("rgb.png")).unwrap());
    }
    let (budget, begin) = (MemoryBudget::new(u64::MAX), Instant::now());
    server.delay("many/", Duration::from_millis(50));
    let images = spec(&["s3://many/".into()], vec![column("x", DType::F32, &[8, 8, 3])]);
    assert_eq!(Dataset::open(images, &budget).unwrap().total_rows(), Some(40));
    // 80 requests one after the other would take four seconds.
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    // Where memory is short, they come one after the other: room for the store, one read and the list, not for two reads.
    let (store, read, list) = (10 << 20, 64 << 10, 32 << 10);
    let few = MemoryBudget::new(store + read + list);
    assert_eq!(tightfit_data::list(&["s3://many/".into()], &few).unwrap().files.len(), 40);
}

#[test]
fn sizes_and_times_are_told_without_reading() {
    let server = server();
    let url = server.put("size", noise(1000));
    assert_eq!(storage::size_and_time(&url).unwrap(), (1000, Some(1_445_412_480_000_000_000)));
    assert!(storage::size_and_time(&url.join("none")).unwrap_err().to_string().contains("404"));
}

#[test]
fn an_object_of_no_bytes_has_none() {
    let server = server();
    let url = server.put("empty", Vec::new());
    let mut file = open(&url);
    assert!(file.is_empty());
    assert_eq!(file.read(&mut [0; 9]).unwrap(), 0);
    assert_eq!(file.read_at(&mut [0; 9], 5).unwrap(), 0);
}

#[test]
fn a_pipeline_takes_what_its_plan_says() {
    let server = server();
    let records = server.put("plan/a.tfrecord", numbered(0..60_000));
    let folder = Folder::new();
    let array = folder.npy("a.npy", &[60_000, 3], &vec![1.0f32; 180_000]);
    let array = server.put("plan/a.npy", fs::read(array).unwrap());
    for (sources, dims) in [(vec![records], [2]), (vec![array], [3])] {
        let spec = spec(&sources, vec![column("x", DType::F32, &dims)]);
        let plan = Dataset::open(spec.clone(), &MemoryBudget::new(u64::MAX)).unwrap().plan(64, 2, 2).unwrap();
        assert!(plan.lines().iter().any(|(name, bytes)| *name == "object stores" && *bytes > READ_BYTES));
        let budget = MemoryBudget::new(plan.total_bytes);
        let dataset = Dataset::open(spec, &budget).unwrap();
        let mut batches = dataset.start(64, 2, 2, &budget).unwrap();
        let mut rows = 0;
        while let Some(batch) = batches.next().unwrap() {
            rows += batch.rows();
        }
        assert_eq!(rows, 60_000);
        assert_eq!(budget.peak_bytes(), plan.total_bytes);
    }
}
