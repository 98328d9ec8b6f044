use std::io::Write;

use flate2::write::{GzEncoder, ZlibEncoder};
use proptest::prelude::*;
use tightfit_core::MemoryBudget;

use super::*;

fn reader(bytes: &[u8], window_bytes: usize) -> RecordReader<&[u8]> {
    let window = Buffer::new(&MemoryBudget::new(u64::MAX), "test", window_bytes).unwrap();
    RecordReader::new(Arc::from(Path::new("f.tfrecord")), bytes, window).unwrap()
}

fn file(records: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = RecordWriter::new(Vec::new());
    for record in records {
        writer.write(record).unwrap();
    }
    writer.into_inner()
}

fn all(mut reader: RecordReader<&[u8]>) -> Vec<Result<Vec<u8>, RecordError>> {
    let mut list = Vec::new();
    loop {
        match reader.next_record() {
            Ok(Some(record)) => list.push(Ok(record.data.to_vec())),
            Ok(None) => return list,
            Err(error) => list.push(Err(error)),
        }
    }
}

#[test]
fn goes_on_at_any_record() {
    let records: Vec<Vec<u8>> = (0..9u8).map(|i| vec![i; usize::from(i) * 7]).collect();
    let plain = file(&records);
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    for bytes in [plain.clone(), gzip.finish().unwrap()] {
        let window = || Buffer::new(&MemoryBudget::new(u64::MAX), "test", 80).unwrap();
        let open = || RecordReader::new(Arc::from(Path::new("f")), Cursor::new(&bytes), window()).unwrap();
        let mut first = open();
        for from in 0..=records.len() {
            let (index, offset) = first.next_place();
            let mut second = open();
            second.skip_to(index, offset).unwrap();
            for (i, wanted) in records.iter().enumerate().skip(from) {
                let record = second.next_record().unwrap().unwrap();
                assert_eq!((record.index, record.data), (i as u64, &wanted[..]));
            }
            assert!(second.next_record().unwrap().is_none());
            first.advance().unwrap();
        }
        let past = open().skip_to(9, 10_000).is_err();
        let mut cut = open();
        assert!(past || cut.skip_to(9, 10_000).and_then(|()| cut.advance()).is_err());
    }
}

#[test]
fn the_bytes_tensorflow_writes() {
    // tf.io.TFRecordWriter(path).write(b"foo")
    let written = file(&[b"foo".to_vec()]);
    assert_eq!(written[..8], [3, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(masked_crc(b"123456789"), 0xe306_9283u32.rotate_right(15).wrapping_add(CRC_MASK));
    assert_eq!(written.len(), 8 + 4 + 3 + 4);
}

#[test]
fn a_length_that_looks_like_gzip_is_a_length() {
    let plain = file(&[vec![0; 0x88b1f]]);
    assert_eq!(plain[..3], [0x1f, 0x8b, 8]);
    let list = all(reader(&plain, 600_000));
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].as_ref().unwrap().len(), 0x88b1f);
}

#[test]
fn goes_on_after_bad_data_but_not_after_a_bad_length() {
    let records: Vec<_> = (0..4u8).map(|i| vec![i; 10]).collect();
    let mut bytes = file(&records);
    bytes[26 + 15] ^= 1;
    let list = all(reader(&bytes, 100));
    assert_eq!(list.len(), 4);
    let error = list[1].as_ref().unwrap_err();
    assert_eq!((error.record, error.offset, error.can_continue()), (1, 26, true));
    assert!(error.to_string().contains("f.tfrecord, record 1 at byte 26"));
    bytes[52] ^= 1;
    let list = all(reader(&bytes, 100));
    assert_eq!(list.len(), 3);
    assert!(matches!(list[2].as_ref().unwrap_err().fault, RecordFault::LengthCrc));
}

#[test]
fn passes_over_a_record_larger_than_the_window() {
    let records = [vec![1; 20], vec![2; 1000], vec![3; 20]];
    let list = all(reader(&file(&records), 64));
    assert_eq!(list[0].as_ref().unwrap(), &records[0]);
    let fault = &list[1].as_ref().unwrap_err().fault;
    assert!(matches!(fault, RecordFault::TooLarge { bytes: 1000, limit_bytes: 48 }));
    assert_eq!(list[2].as_ref().unwrap(), &records[2]);
}

#[test]
fn a_length_of_two_to_the_63_costs_nothing() {
    let length = (1u64 << 63).to_le_bytes();
    let mut bytes = length.to_vec();
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend([0; 50]);
    let list = all(reader(&bytes, 64));
    assert!(matches!(list[0].as_ref().unwrap_err().fault, RecordFault::TooLarge { .. }));
    assert!(matches!(list[1].as_ref().unwrap_err().fault, RecordFault::Truncated));
    assert_eq!(list.len(), 2);
}

#[test]
fn members_are_joined_and_garbage_behind_them_is_an_error() {
    let whole = file(&[vec![1; 20], vec![2; 20]]);
    let gzip = |bytes: &[u8]| {
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    };
    let zlib = |bytes: &[u8]| {
        let mut zlib = ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(bytes).unwrap();
        zlib.finish().unwrap()
    };
    // Cut inside a record, with an empty member between.
    let members = [gzip(&whole[..40]), gzip(&[]), gzip(&whole[40..])].concat();
    assert_eq!(all(reader(&members, 64)).iter().flatten().count(), 2);
    for garbage in [
        [&members[..], b"garbage"].concat(),
        [zlib(&whole), b"garbage".to_vec()].concat(),
        [zlib(&whole[..36]), zlib(&whole[36..])].concat(),
    ] {
        let list = all(reader(&garbage, 64));
        let (last, good) = list.split_last().unwrap();
        assert!(matches!(last.as_ref().unwrap_err().fault, RecordFault::Compression(_)), "{last:?}");
        assert!(!good.is_empty() && good.iter().all(Result::is_ok));
    }
}

#[test]
fn errors_are_where_the_record_begins() {
    let whole = file(&[vec![1; 20], vec![2; 1000], vec![3; 20]]);
    let mut zlib = ZlibEncoder::new(Vec::new(), flate2::Compression::none());
    zlib.write_all(&whole).unwrap();
    let zlib = zlib.finish().unwrap();
    for cut_off in [&whole[..800], &zlib[..800]] {
        let place = |error: &RecordError| (error.record, error.offset);
        let list = all(reader(cut_off, 64));
        assert_eq!(list.iter().flat_map(|r| r.as_ref().err()).map(place).collect::<Vec<_>>(), [(1, 36); 2]);
        let mut reader = reader(cut_off, 64);
        reader.check_next().unwrap();
        assert_eq!(place(&reader.check_next().unwrap_err()), (1, 36));
        assert!(reader.check_next().unwrap().is_none());
    }
}

proptest! {
    #[test]
    fn reads_back_what_was_written(
        records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..30),
        window_bytes in 216..1000usize,
        how in 0..3,
    ) {
        let plain = file(&records);
        let bytes = match how {
            0 => plain,
            1 => {
                let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(&plain).unwrap();
                gzip.finish().unwrap()
            }
            _ => {
                let mut zlib = ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                zlib.write_all(&plain).unwrap();
                zlib.finish().unwrap()
            }
        };
        let list: Vec<_> = all(reader(&bytes, window_bytes)).into_iter().map(Result::unwrap).collect();
        prop_assert_eq!(list, records);
    }

    #[test]
    fn broken_files_are_errors(
        records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..8),
        cut in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let whole = file(&records);
        let cut_at = cut.index(whole.len());
        let list = all(reader(&whole[..cut_at], 100));
        let read = list.iter().filter(|r| r.is_ok()).count();
        prop_assert!(read < records.len());
        let mut flipped = whole.clone();
        flipped[flip.index(whole.len())] ^= 1 << bit;
        prop_assert!(all(reader(&flipped, 100)).iter().any(|r| r.is_err()));
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), magic in 0..3) {
        let mut file = match magic { 0 => vec![], 1 => vec![0x1f, 0x8b, 8, 0], _ => vec![0x78, 0x9c] };
        file.extend(bytes);
        for window_bytes in [16, 20, 100] {
            all(reader(&file, window_bytes));
        }
    }
}
