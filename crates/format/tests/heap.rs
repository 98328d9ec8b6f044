//! What (de)compression takes of the heap is what is said of it, whatever the backend.
#![allow(missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tightfit_core::{Buffer, MemoryBudget};
use tightfit_format::compress::{Compressor, DEFLATE_BYTES, Decompressor};
use tightfit_format::tfrecord::{Compression, RecordReader, RecordWriter};

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is passed on to the system's allocator; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(used, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn peak_of<T>(run: impl FnOnce() -> T) -> (usize, T) {
    let before = USED.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = run();
    (PEAK.load(Relaxed) - before, result)
}

/// Writes nowhere, or into memory that is there already.
struct Sink<'a>(Option<&'a mut [u8]>);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Some(room) => room.write(bytes),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn compression_takes_what_is_said() {
    let noise: Vec<u8> = (0..100_000u32).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
    for compression in [Compression::Gzip, Compression::Zlib] {
        let write_all = |sink: Sink<'_>| {
            let mut writer = RecordWriter::new(Compressor::new(compression, sink).unwrap());
            (0..40).for_each(|i| writer.write(&noise[i * 1000..]).unwrap());
            writer.into_inner().finish().unwrap().0.map_or(0, |rest| rest.len())
        };
        let (peak_bytes, _) = peak_of(|| write_all(Sink(None)));
        assert!(
            peak_bytes > DEFLATE_BYTES / 2 && peak_bytes <= DEFLATE_BYTES,
            "{compression:?}: {peak_bytes}"
        );

        let mut file = vec![0; 4 << 20];
        let left = write_all(Sink(Some(&mut file)));
        assert!(left > 0);
        file.truncate(file.len() - left);
        let window = Buffer::new(&MemoryBudget::new(u64::MAX), "test", 256 << 10).unwrap();
        let path: Arc<Path> = Arc::from(Path::new("f"));
        let (peak_bytes, records) = peak_of(|| {
            let mut reader = RecordReader::new(path, &file[..], window).unwrap();
            std::iter::from_fn(|| reader.next_record().unwrap().map(|_| ())).count()
        });
        assert_eq!(records, 40);
        let held_bytes = compression.held_bytes() as usize;
        assert!(peak_bytes > held_bytes / 2 && peak_bytes <= held_bytes, "{compression:?}: {peak_bytes}");
    }
    unpacking_zstd();
}

/// Bytes of each of the files in `tests/zstd`, unpacked.
const CONTENT_BYTES: u64 = 9 << 20;

/// Files of the reference implementation, of windows from 256 KiB to 8 MiB, and one whose window is its content.
fn unpacking_zstd() {
    for name in ["window_18", "window_21", "window_23", "content"] {
        let file = std::fs::read(format!("tests/zstd/{name}.zst")).unwrap();
        let compression = Compression::of_text(&file);
        let (peak_bytes, bytes) =
            peak_of(|| io::copy(&mut Decompressor::new(compression, &file[..]), &mut io::sink()).unwrap());
        assert_eq!(bytes, CONTENT_BYTES, "{name}");
        let held_bytes = compression.held_bytes() as usize;
        assert!(
            peak_bytes > held_bytes / 4 && peak_bytes <= held_bytes,
            "{name}: {peak_bytes} of {held_bytes}"
        );
    }
}
