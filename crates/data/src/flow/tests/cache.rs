//! Caches are made once, and whole or not at all.

use std::fs;

use tightfit_core::MemoryBudget;

use super::*;

/// How many elements a run of `spec` takes from `counter`, a map that counts.
fn counted(counter: &std::sync::Arc<std::sync::atomic::AtomicU64>) -> Map {
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
    Map { op: std::sync::Arc::new(op), mode: MapMode::Inline }
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
    let spec = |cache| records(paths.clone(), 1, 1).then(counted(&counter)).then(cache).then(Repeat(Some(3)));
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
