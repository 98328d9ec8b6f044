use std::fs::OpenOptions;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use tightfit_format::tfrecord::{RecordReader, RecordWriter};

use super::*;
use crate::source::list;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("tightfit-index-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, sizes: impl IntoIterator<Item = usize>) -> PathBuf {
        let path = self.0.join(name);
        let mut writer = RecordWriter::new(Vec::new());
        sizes.into_iter().enumerate().for_each(|(i, size)| writer.write(&vec![i as u8; size]).unwrap());
        fs::write(&path, writer.into_inner()).unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// The index, and how often a file was read for it.
fn open(paths: &[PathBuf], folder: Option<&Path>) -> Result<(Arc<RecordIndex>, u32), DataError> {
    let budget = MemoryBudget::new(u64::MAX);
    let mut reads = 0;
    let index = RecordIndex::open(&list(paths, &budget)?, folder, &budget, &mut |_| {
        reads += 1;
        true
    })?;
    Ok((Arc::new(index), reads))
}

fn places(index: &Arc<RecordIndex>) -> Vec<RecordPlace> {
    let mut cursor = IndexCursor::new(index.clone(), &MemoryBudget::new(u64::MAX)).unwrap();
    assert_eq!(cursor.locate(index.records()).unwrap(), None);
    (0..index.records()).map(|record| cursor.locate(record).unwrap().unwrap()).collect()
}

/// What a reader of the whole file says.
fn reference(path: &Path, file: u32) -> Vec<RecordPlace> {
    let bytes = fs::read(path).unwrap();
    let window =
        tightfit_core::Buffer::new(&MemoryBudget::new(u64::MAX), "test", bytes.len().max(64)).unwrap();
    let mut reader = RecordReader::new(Arc::from(path), &bytes[..], window).unwrap();
    let mut list = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        let (index, offset, bytes) = (record.index, record.offset, record.data.len() as u64);
        list.push(RecordPlace { file, index, offset, bytes });
    }
    list
}

#[test]
fn several_files_are_one_sequence() {
    let folder = Folder::new("several");
    let paths = [
        folder.write("a.tfrecord", [10, 0, 70_000, 20_000, 3]),
        folder.write("b.tfrecord", []),
        folder.write("c.tfrecord", vec![5; 70_000]),
    ];
    let (index, reads) = open(&paths, None).unwrap();
    assert!(reads > 0);
    let expected: Vec<_> = paths.iter().zip(0..).flat_map(|(path, file)| reference(path, file)).collect();
    assert_eq!((places(&index), index.records()), (expected, 70_005));
    assert_eq!(index.bytes(), paths.iter().map(|p| fs::metadata(p).unwrap().len()).sum::<u64>());
    assert_eq!(index.largest().unwrap(), RecordPlace { file: 0, index: 2, offset: 42, bytes: 70_000 });
    assert_eq!(index.file_of(5).unwrap().path(), paths[2]);
    assert!(index.file_of(70_005).is_none());
    // Records of one size take no bytes of their own, and the other files are read as they stand.
    let index_bytes = fs::metadata(index.files()[2].index_path()).unwrap().len();
    assert_eq!(index_bytes, 80 + 3 * 32);
    assert_eq!(open(&paths, None).unwrap().1, 0);
    // An index is no data.
    assert_eq!(list(&[folder.0.clone()], &MemoryBudget::new(u64::MAX)).unwrap().files.len(), 3);
    assert_eq!(list(&[folder.0.join("*")], &MemoryBudget::new(u64::MAX)).unwrap().files.len(), 3);
}

#[test]
fn a_changed_file_or_a_damaged_index_is_built_anew() {
    let folder = Folder::new("stale");
    let path = folder.write("a.tfrecord", (0..1000).map(|i| i * 7 % 300));
    let place = open(&[path.clone()], None).unwrap().0.files()[0].index_path().to_path_buf();
    let right = fs::read(&place).unwrap();
    for at in (0..right.len()).step_by(13) {
        let mut bytes = right.clone();
        bytes[at] ^= 4;
        fs::write(&place, bytes).unwrap();
        assert!(open(&[path.clone()], None).unwrap().1 > 0, "byte {at}");
        assert_eq!(fs::read(&place).unwrap(), right);
        fs::write(&place, &right[..at]).unwrap();
        assert!(open(&[path.clone()], None).unwrap().1 > 0, "cut at {at}");
    }
    // Of the same size, but later.
    let (old, _) = open(&[path.clone()], None).unwrap();
    folder.write("a.tfrecord", (0..1000).map(|i| i * 7 % 300).rev());
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
    let (new, reads) = open(&[path.clone()], None).unwrap();
    assert_eq!((reads > 0, places(&new)), (true, reference(&path, 0)));
    // Whoever still has the old one is told.
    let mut cursor = IndexCursor::new(old, &MemoryBudget::new(u64::MAX)).unwrap();
    assert!(cursor.locate(0).unwrap_err().to_string().contains("changed since it was indexed"));
    assert_eq!(folder.names(), [".a.tfrecord.tfindex", "a.tfrecord"]);
}

#[test]
fn what_cannot_be_indexed() {
    let folder = Folder::new("bad");
    let path = folder.write("a.tfrecord", [10, 20, 30]);
    let whole = fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[26] ^= 1;
    for (bytes, why) in [
        (&bytes[..], "a.tfrecord, record 1 at byte 26: the CRC of its length is wrong"),
        (&whole[..whole.len() - 1], "record 2 at byte 62: the file ends inside it"),
        (&whole[..67], "record 2 at byte 62: the file ends inside it"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = open(&[path.clone()], None).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &whole).unwrap();
    fs::write(&path, gzip.finish().unwrap()).unwrap();
    let error = open(&[path.clone()], None).unwrap_err().to_string();
    assert!(error.contains("compressed (GZIP)") && error.contains("records convert"), "{error}");
    // A length that the file cannot keep.
    let length = (1u64 << 63).to_le_bytes();
    let mut bytes = length.to_vec();
    bytes.extend(masked_crc_of(&length));
    bytes.extend([0; 100]);
    fs::write(&path, bytes).unwrap();
    assert!(open(&[path.clone()], None).unwrap_err().to_string().contains("the file ends inside it"));
    fs::write(&path, &whole).unwrap();
    let budget = MemoryBudget::new(u64::MAX);
    let files = list(&[path], &budget).unwrap();
    let stopped = RecordIndex::open(&files, None, &budget, &mut |_| false);
    assert!(matches!(stopped, Err(DataError::Stopped)));
    let small = MemoryBudget::new(100_000);
    assert!(matches!(RecordIndex::open(&files, None, &small, &mut |_| true), Err(DataError::Budget(_))));
    assert_eq!(folder.names(), ["a.tfrecord"]);
}

fn masked_crc_of(bytes: &[u8]) -> [u8; 4] {
    tightfit_format::tfrecord::masked_crc(bytes).to_le_bytes()
}

#[test]
fn indexes_in_a_folder_of_their_own() {
    let folder = Folder::new("readonly");
    let path = folder.write("a.tfrecord", [10, 20, 30]);
    // Permissions would not stop root.
    let place = folder.0.join("no/such/folder/x");
    let budget = MemoryBudget::new(u64::MAX);
    let error = find_or_build(&path, &[place], 0, &budget, &mut |_| true).unwrap_err().to_string();
    assert!(error.contains("a.tfrecord: its index cannot be written to") && error.contains("another folder"));
    let indexes = folder.0.join("indexes/of/mine");
    let (index, reads) = open(&[path.clone()], Some(&indexes)).unwrap();
    assert_eq!((places(&index), reads > 0), (reference(&path, 0), true));
    let name = index.files()[0].index_path().strip_prefix(&indexes).unwrap().to_str().unwrap().to_string();
    assert!(name.starts_with("a.tfrecord-") && name.ends_with(".tfindex"), "{name}");
    assert_eq!(open(&[path.clone()], Some(&indexes)).unwrap().1, 0);
    assert_eq!(folder.names(), ["a.tfrecord", "indexes"]);
    // One that is beside the data is as good.
    open(&[path.clone()], None).unwrap();
    assert_eq!(open(&[path.clone()], Some(&folder.0.join("other"))).unwrap().1, 0);
}

#[test]
fn many_may_build_at_once() {
    let folder = Folder::new("parallel");
    let path = folder.write("a.tfrecord", (0..50_000).map(|i| i % 40));
    let expected = reference(&path, 0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(places(&open(&[path.clone()], None).unwrap().0), expected));
        }
    });
    assert_eq!(folder.names(), [".a.tfrecord.tfindex", "a.tfrecord"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn offsets_are_those_of_reading(
        small in proptest::collection::vec(0..300usize, 0..200),
        large in proptest::collection::vec(0..40_000usize, 0..10),
        repeat in 1..400usize,
        case: u32,
    ) {
        let folder = Folder::new(&format!("offsets-{case}"));
        let sizes = (0..repeat).flat_map(|_| small.iter().copied()).chain(large.iter().copied());
        let path = folder.write("a.tfrecord", sizes.chain(small.iter().copied()));
        prop_assert_eq!(places(&open(&[path.clone()], None).unwrap().0), reference(&path, 0));
    }
}
