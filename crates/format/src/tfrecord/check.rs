//! Reading without holding: CRCs of records of any size through a window of any size; reading on in the middle of a
//! file; and windows that grow with the records.

use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use tightfit_core::{BudgetError, Buffer, MemoryBudget};

use super::{
    Compression, FOOTER_BYTES, HEAD_BYTES, HEADER_BYTES, RecordError, RecordFault, RecordReader, masked,
    plain_length, read_up_to,
};
use crate::compress::Decompressor;

/// A record whose CRCs are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedRecord {
    /// Its number in the file, from 0.
    pub index: u64,
    /// Where it begins, in bytes of the uncompressed file.
    pub offset: u64,
    /// Bytes of its data.
    pub bytes: u64,
}

/// A record that could not be read through a window that grows.
#[derive(Debug)]
pub enum GrowError {
    /// It is broken.
    Record(RecordError),
    /// There is no memory for it.
    Budget {
        /// Its number in the file, from 0.
        record: u64,
        /// Where it begins, in bytes of the uncompressed file.
        offset: u64,
        /// What is missing.
        error: BudgetError,
    },
}

impl<R: Read> RecordReader<R> {
    /// A reader of an uncompressed file from the record on that begins at `offset`, where `read` stands. Its number is
    /// taken to be `index`.
    pub fn resume(path: Arc<Path>, read: R, window: Buffer, offset: u64, index: u64) -> Self {
        RecordReader {
            path,
            compression: Compression::None,
            stream: Decompressor::None(Cursor::new([0; HEAD_BYTES]).take(0).chain(read)),
            window,
            start: 0,
            end: 0,
            offset,
            index,
            current: (index, offset, 0..0),
            pass_over_bytes: 0,
            ended: false,
        }
    }

    /// Where the next record begins, in bytes of the uncompressed file.
    pub fn offset(&self) -> u64 {
        self.offset.saturating_add(self.pass_over_bytes)
    }

    /// Reads on through `window`, which must not be smaller than the one before. After
    /// [`RecordFault::TooLarge`] the next record is the one that was too large.
    ///
    /// # Errors
    /// `InvalidInput` when `window` is smaller than what was read ahead; nothing is changed then.
    pub fn enlarge(&mut self, mut window: Buffer) -> io::Result<()> {
        let unread = self.window.get(self.start..self.end);
        let unread = unread.ok_or_else(|| crate::defect("unread bytes lie outside of their window"))?;
        let unread_bytes = unread.len();
        let room = window.get_mut(..unread_bytes);
        room.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(unread);
        (self.start, self.end, self.window) = (0, unread_bytes, window);
        self.current.2 = 0..0;
        if self.pass_over_bytes > 0 {
            self.pass_over_bytes = 0;
            self.index = self.index.saturating_sub(1);
        }
        Ok(())
    }

    /// Makes the window hold a record of `bytes` bytes, out of `budget`. After [`RecordFault::TooLarge`] the next record is the
    /// one that was too large.
    ///
    /// # Errors
    /// [`BudgetError`]; nothing is changed then.
    pub fn grow(&mut self, bytes: u64, budget: &MemoryBudget) -> Result<(), BudgetError> {
        let whole_bytes = bytes.saturating_add((HEADER_BYTES + FOOTER_BYTES) as u64);
        self.window.grow(budget, usize::try_from(whole_bytes).unwrap_or(usize::MAX))?;
        if self.pass_over_bytes > 0 {
            self.pass_over_bytes = 0;
            self.index = self.index.saturating_sub(1);
        }
        Ok(())
    }

    /// As [`RecordReader::advance`], but where a record is larger than the window, the window grows to it, out of `budget`
    /// for `purpose`.
    ///
    /// # Errors
    /// [`GrowError`]; the next call goes on with the record after it, as far as that is possible.
    pub fn advance_growing(
        &mut self,
        purpose: &'static str,
        budget: &MemoryBudget,
    ) -> Result<bool, GrowError> {
        loop {
            let error = match self.advance() {
                Ok(more) => return Ok(more),
                Err(error) => error,
            };
            let RecordFault::TooLarge { bytes, .. } = error.fault else {
                return Err(GrowError::Record(error));
            };
            let whole_bytes = bytes.saturating_add((HEADER_BYTES + FOOTER_BYTES) as u64);
            let window = Buffer::new(budget, purpose, usize::try_from(whole_bytes).unwrap_or(usize::MAX));
            let (record, offset) = (error.record, error.offset);
            let window = window.map_err(|error| GrowError::Budget { record, offset, error })?;
            let grown = self.enlarge(window);
            grown.map_err(|io| GrowError::Record(RecordError { fault: RecordFault::Io(io), ..error }))?;
        }
    }

    /// Checks both CRCs of the next record without holding it, so that its size does not matter; `None` at the end.
    ///
    /// # Errors
    /// As [`RecordReader::next_record`], but never [`RecordFault::TooLarge`].
    pub fn check_next(&mut self) -> Result<Option<CheckedRecord>, RecordError> {
        self.current = (self.index, self.offset, 0..0);
        self.pass_over()?;
        if self.ended {
            return Ok(None);
        }
        match self.fill(HEADER_BYTES)? {
            0 => {
                self.ended = true;
                return Ok(None);
            }
            have if have < HEADER_BYTES => return Err(self.end_with(RecordFault::Truncated)),
            _ => {}
        }
        let Some(bytes) = plain_length(self.unread()?) else {
            return Err(self.end_with(RecordFault::LengthCrc));
        };
        let (index, offset) = (self.index, self.offset);
        self.consume(HEADER_BYTES);
        // Errors are those of the record, not of the place in it.
        let of_record = |error| RecordError { record: index, offset, ..error };
        let crc = self.crc_of(bytes).map_err(of_record)?;
        let (Some(crc), FOOTER_BYTES..) = (crc, self.fill(FOOTER_BYTES).map_err(of_record)?) else {
            self.ended = true;
            return Err(self.error_at(index, offset, RecordFault::Truncated));
        };
        let stored = self.unread()?.first_chunk().map(|footer| u32::from_le_bytes(*footer));
        self.consume(FOOTER_BYTES);
        self.index += 1;
        match stored == Some(crc) {
            true => Ok(Some(CheckedRecord { index, offset, bytes })),
            false => Err(self.error_at(index, offset, RecordFault::DataCrc)),
        }
    }

    fn error_at(&self, record: u64, offset: u64, fault: RecordFault) -> RecordError {
        RecordError { path: self.path.clone(), record, offset, fault }
    }

    /// Consumes `bytes` of data; their masked CRC, or `None` when the file ends before.
    fn crc_of(&mut self, bytes: u64) -> Result<Option<u32>, RecordError> {
        let (mut left, mut crc) = (bytes, 0);
        while left > 0 {
            let have = match self.unread()?.len() {
                0 => self.fill(1)?,
                have => have,
            };
            let part_bytes = have.min(usize::try_from(left).unwrap_or(usize::MAX));
            if part_bytes == 0 {
                return Ok(None);
            }
            let part = crate::first(self.unread()?, part_bytes);
            let appended = part.map(|part| crc32c::crc32c_append(crc, part));
            crc = appended.map_err(|error| self.end_with_io(error))?;
            self.consume(part_bytes);
            left -= part_bytes as u64;
        }
        Ok(Some(masked(crc)))
    }
}

/// Where, at or after `from`, a record of an uncompressed file of `file_bytes` seems to begin; `None` when nothing
/// before `end` does. `read` stands at `from` and is read through `window`. A header is known by its CRC, which other
/// bytes have once in four billion places, or because a record holds a TFRecord file: so the place is a guess.
///
/// # Errors
/// Whatever `read` reports.
pub fn find_header(
    mut read: impl Read,
    window: &mut [u8],
    from: u64,
    end: u64,
    file_bytes: u64,
) -> io::Result<Option<u64>> {
    let (mut at, mut have) = (from, 0);
    loop {
        let room = window.get_mut(have..).filter(|room| !room.is_empty());
        let room = room.ok_or_else(|| crate::defect("a window has no room for the next header"))?;
        let read_bytes = read_up_to(&mut read, room)?.len();
        have += read_bytes;
        let filled =
            window.get(..have).ok_or_else(|| crate::defect("more was read than there is room for"))?;
        for header in filled.windows(HEADER_BYTES) {
            if at >= end {
                return Ok(None);
            }
            let framing_bytes = (HEADER_BYTES + FOOTER_BYTES) as u64;
            let next =
                plain_length(header).and_then(|bytes| bytes.checked_add(at)?.checked_add(framing_bytes));
            if next.is_some_and(|next| next <= file_bytes) {
                return Ok(Some(at));
            }
            at += 1;
        }
        if read_bytes == 0 {
            return Ok(None);
        }
        let kept = have.min(HEADER_BYTES - 1);
        window.copy_within(have - kept..have, 0);
        have = kept;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tightfit_core::MemoryBudget;

    use super::super::RecordWriter;
    use super::*;

    fn window(bytes: usize) -> Buffer {
        Buffer::new(&MemoryBudget::new(u64::MAX), "test", bytes).unwrap()
    }

    fn file(records: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = RecordWriter::new(Vec::new());
        records.iter().for_each(|record| writer.write(record).unwrap());
        writer.into_inner()
    }

    fn reader(bytes: &[u8], window_bytes: usize) -> RecordReader<&[u8]> {
        RecordReader::new(Arc::from(Path::new("f")), bytes, window(window_bytes)).unwrap()
    }

    fn check_all(mut reader: RecordReader<&[u8]>) -> Vec<Result<CheckedRecord, RecordError>> {
        std::iter::from_fn(|| reader.check_next().transpose()).collect()
    }

    #[test]
    fn a_window_grows_with_the_records() {
        let records = [vec![1; 20], vec![2; 1000], vec![3; 30]];
        let bytes = file(&records);
        let mut reader = reader(&bytes, 64);
        assert_eq!(reader.next_record().unwrap().unwrap().data, records[0]);
        assert!(matches!(reader.advance().unwrap_err().fault, RecordFault::TooLarge { bytes: 1000, .. }));
        assert_eq!(reader.offset(), 36 + 1016);
        assert!(reader.enlarge(window(8)).is_err());
        reader.enlarge(window(1016)).unwrap();
        let record = reader.next_record().unwrap().unwrap();
        assert_eq!((record.index, record.offset, record.data), (1, 36, &*records[1]));
        assert_eq!(reader.next_record().unwrap().unwrap().index, 2);
        assert!(reader.next_record().unwrap().is_none());
    }

    #[test]
    fn a_window_grows_as_far_as_the_budget_allows() {
        let records = [vec![1; 20], vec![2; 5000], vec![3; 700], vec![4; 30]];
        let bytes = file(&records);
        let budget = MemoryBudget::new(2000);
        let mut reader = reader(&bytes, 64);
        assert!(reader.advance_growing("test", &budget).unwrap());
        let error = reader.advance_growing("test", &budget).unwrap_err();
        assert!(matches!(error, GrowError::Budget { record: 1, offset: 36, .. }), "{error:?}");
        for record in &records[2..] {
            assert!(reader.advance_growing("test", &budget).unwrap());
            assert_eq!(reader.current().data, record);
        }
        assert!(!reader.advance_growing("test", &budget).unwrap());
        assert!(budget.peak_bytes() < 2000);
    }

    #[test]
    fn reads_on_from_the_middle() {
        let bytes = file(&[vec![1; 20], vec![2; 5], vec![3; 30]]);
        let mut reader = RecordReader::resume(Arc::from(Path::new("f")), &bytes[36..], window(50), 36, 1);
        let record = reader.next_record().unwrap().unwrap();
        assert_eq!((record.index, record.offset, record.data), (1, 36, &[2; 5][..]));
        assert_eq!(reader.offset(), 36 + 21);
    }

    #[test]
    fn finds_a_header_behind_noise() {
        let mut bytes = vec![7; 1000];
        bytes.extend(file(&[vec![1; 20]]));
        let total = bytes.len() as u64;
        for window_bytes in [16, 100, 4096] {
            let find = |end, file_bytes| {
                find_header(&bytes[..], &mut vec![0; window_bytes], 0, end, file_bytes).unwrap()
            };
            assert_eq!(find(total, total), Some(1000));
            assert_eq!(find(1000, total), None);
            assert_eq!(find(total, total - 1), None);
        }
    }

    proptest! {
        #[test]
        fn checks_what_reading_reads(
            records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..20),
            window_bytes in 16..400usize,
            flip in any::<prop::sample::Index>(),
            bit in 0..16u8,
        ) {
            let mut bytes = file(&records);
            // Half of the cases are left whole.
            if bit < 8 {
                let at = flip.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            let checked = check_all(reader(&bytes, window_bytes));
            let mut whole = reader(&bytes, bytes.len() + 16);
            for found in checked {
                match (found, whole.next_record()) {
                    (Ok(checked), Ok(Some(record))) => {
                        let (index, offset, bytes) = (record.index, record.offset, record.data.len() as u64);
                        prop_assert_eq!(checked, CheckedRecord { index, offset, bytes });
                    }
                    (Err(a), Err(b)) => prop_assert_eq!(a.to_string(), b.to_string()),
                    (a, b) => prop_assert!(false, "{a:?} against {b:?}"),
                }
            }
            prop_assert!(matches!(whole.next_record(), Ok(None)));
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), size in 16..50usize) {
            prop_assert!(check_all(reader(&bytes, size)).len() <= bytes.len() / 12 + 1);
            let total = bytes.len() as u64;
            prop_assert!(find_header(&bytes[..], &mut vec![0; size], 0, total, total).is_ok());
        }
    }
}
