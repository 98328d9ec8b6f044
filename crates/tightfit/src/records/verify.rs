//! Every CRC of many files, on all processors. Large uncompressed files are cut into pieces that are checked side by
//! side: where the first record of a piece begins is guessed from the CRC of its header, and the guess counts only if
//! the records before the piece end exactly there. So the outcome is that of reading from front to back.

use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tightfit_core::{BudgetError, Buffer, MemoryBudget};
use tightfit_data::storage::{self, StoredFile};
use tightfit_data::{FileKind, FileList};
use tightfit_format::tfrecord::{Compression, RecordFault, RecordReader, find_header};

use super::files::{WINDOW_BYTES, list_files, record_error};
use super::inspect::BadRecord;
use crate::error::Error;
use crate::fit::THREAD_BYTES;

/// Uncompressed files are cut into pieces of this size.
const PIECE_BYTES: u64 = 64 << 20;

/// The most bad records that are listed of one piece; the others are only counted.
const LISTED_PER_PIECE: usize = 1000;

/// Memory of a listed bad record.
const LISTED_BYTES: u64 = 256;

/// Memory of a piece besides that.
const PIECE_HEAP_BYTES: u64 = 128;

/// What to verify, and with how much.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Files, folders and globs.
    pub sources: Vec<PathBuf>,
    /// The most threads; fewer are used where memory or work does not suffice for more.
    pub threads: usize,
}

/// What came out.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Verification {
    /// Files read.
    pub files: usize,
    /// Records whose CRCs are right.
    pub records: u64,
    /// Bytes of the files, as they are stored.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// The bad records in the order of the files; of very many, the first of each part of a file.
    pub bad: Vec<(PathBuf, BadRecord)>,
    /// All bad records, listed or not.
    pub bad_records: u64,
}

/// Checks every CRC.
///
/// # Errors
/// [`Error`] when a file cannot be opened, the budget has no room for one window, or `stop` was set. Bad records are
/// no error: they are in the answer.
pub fn verify(
    options: &VerifyOptions,
    budget: &MemoryBudget,
    stop: &AtomicBool,
) -> Result<Verification, Error> {
    verify_pieces(options, PIECE_BYTES, budget, stop)
}

fn verify_pieces(
    options: &VerifyOptions,
    piece_bytes: u64,
    budget: &MemoryBudget,
    stop: &AtomicBool,
) -> Result<Verification, Error> {
    let begin = Instant::now();
    let list = list_files(&options.sources, true, budget)?;
    let work = Work::new(&list, piece_bytes, budget)?;
    let threads = options.threads.clamp(1, work.pieces.len().max(1));
    let mut windows = vec![Window::new(budget, work.inflate_bytes)?];
    while windows.len() < threads {
        match Window::new(budget, work.inflate_bytes) {
            Ok(window) => windows.push(window),
            Err(_) => break,
        }
    }
    let mut first = windows.pop();
    std::thread::scope(|scope| {
        for mut window in windows.drain(..) {
            let work = &work;
            scope.spawn(move || work.run(&mut window, stop));
        }
        if let Some(window) = &mut first {
            work.run(window, stop);
        }
    });
    let mut verification = work.join(first.as_mut(), stop)?;
    verification.elapsed = begin.elapsed();
    Ok(verification)
}

/// What one thread reads through.
struct Window {
    buffer: Option<Buffer>,
    _thread: tightfit_core::Reservation,
}

impl Window {
    fn new(budget: &MemoryBudget, inflate_bytes: u64) -> Result<Window, BudgetError> {
        let thread = budget.try_reserve("threads", THREAD_BYTES.saturating_add(inflate_bytes))?;
        Ok(Window { buffer: Some(Buffer::new(budget, "record window", WINDOW_BYTES)?), _thread: thread })
    }
}

/// Records of a file that begin in a range of bytes.
struct Piece {
    file: usize,
    /// Of the uncompressed file; the end of a compressed one is not known.
    from: u64,
    end: u64,
    is_plain: bool,
}

/// What a piece holds.
#[derive(Default)]
struct Checked {
    /// Where the first record was taken to begin; `None` when none was found.
    start: Option<u64>,
    /// Where the record after the last begins.
    next: u64,
    records: u64,
    /// Numbered from the start of the piece.
    bad: Vec<BadRecord>,
    bad_records: u64,
    /// True when the rest of the file cannot be read.
    ended: bool,
}

struct Work<'a> {
    list: &'a FileList,
    paths: Vec<Arc<Path>>,
    sizes: Vec<u64>,
    pieces: Vec<Piece>,
    next: AtomicUsize,
    done: Vec<Mutex<Option<Result<Checked, Error>>>>,
    /// What inflating takes of a thread.
    inflate_bytes: u64,
    budget: MemoryBudget,
    reservation: Mutex<tightfit_core::Reservation>,
}

impl<'a> Work<'a> {
    fn new(list: &'a FileList, plain_piece_bytes: u64, budget: &MemoryBudget) -> Result<Work<'a>, Error> {
        let mut reservation = budget.try_reserve("pieces of files", 0)?;
        let (mut paths, mut sizes, mut pieces) = (Vec::new(), Vec::new(), Vec::new());
        let mut inflate_bytes = 0;
        for (index, file) in list.files.iter().enumerate() {
            let bytes = storage::size_and_time(&file.path).map_err(|error| Error::io(&file.path, error))?.0;
            let compression = match file.kind {
                FileKind::Records(compression) => compression,
                _ => Compression::None,
            };
            let is_plain = compression == Compression::None;
            inflate_bytes = inflate_bytes.max(compression.held_bytes());
            let piece_bytes = if is_plain { plain_piece_bytes } else { u64::MAX };
            let count = bytes.div_ceil(piece_bytes).max(1);
            let name_bytes = file.path.as_os_str().len() as u64 + 64;
            reservation.try_grow(count.saturating_mul(PIECE_HEAP_BYTES).saturating_add(name_bytes))?;
            pieces.extend((0..count).map(|i| {
                let from = i * piece_bytes;
                let end = if i + 1 == count { u64::MAX } else { from + piece_bytes };
                Piece { file: index, from, end, is_plain }
            }));
            paths.push(Arc::from(&*file.path));
            sizes.push(bytes);
        }
        let done = pieces.iter().map(|_| Mutex::new(None)).collect();
        Ok(Work {
            list,
            paths,
            sizes,
            pieces,
            next: AtomicUsize::new(0),
            done,
            inflate_bytes,
            budget: budget.clone(),
            reservation: Mutex::new(reservation),
        })
    }

    /// Checks pieces until there are no more.
    fn run(&self, window: &mut Window, stop: &AtomicBool) {
        while let Some((index, piece)) = {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            self.pieces.get(index).map(|piece| (index, piece))
        } {
            let checked = self.check(piece, None, window, stop);
            if let Some(done) = self.done.get(index) {
                *done.lock().unwrap_or_else(PoisonError::into_inner) = Some(checked);
            }
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Checks the records that begin in `piece`, the first of which begins at `start`, if that is known.
    fn check(
        &self,
        piece: &Piece,
        start: Option<u64>,
        window: &mut Window,
        stop: &AtomicBool,
    ) -> Result<Checked, Error> {
        let (Some(path), Some(file_bytes)) = (self.paths.get(piece.file), self.sizes.get(piece.file)) else {
            return Ok(Checked::default());
        };
        let at = |error| Error::io(path, error);
        let mut file = storage::open(path, &self.budget).map_err(at)?;
        let mut buffer = match window.buffer.take() {
            Some(buffer) => buffer,
            None => Buffer::new(&self.budget, "record window", WINDOW_BYTES)?,
        };
        let start = match start {
            Some(start) => start,
            None if piece.from == 0 => 0,
            None => {
                file.seek(SeekFrom::Start(piece.from)).map_err(at)?;
                let found = find_header(&mut file, &mut buffer, piece.from, piece.end, *file_bytes);
                match found.map_err(at)? {
                    Some(start) => start,
                    None => {
                        window.buffer = Some(buffer);
                        return Ok(Checked::default());
                    }
                }
            }
        };
        let mut reader = if piece.is_plain {
            file.seek(SeekFrom::Start(start)).map_err(at)?;
            RecordReader::resume(path.clone(), file, buffer, start, 0)
        } else {
            RecordReader::new(path.clone(), file, buffer).map_err(record_error)?
        };
        let checked = self.read(&mut reader, piece, start, stop)?;
        window.buffer = Some(reader.into_window());
        Ok(checked)
    }

    fn read(
        &self,
        reader: &mut RecordReader<StoredFile>,
        piece: &Piece,
        start: u64,
        stop: &AtomicBool,
    ) -> Result<Checked, Error> {
        let mut checked = Checked { start: Some(start), ..Checked::default() };
        while reader.offset() < piece.end && !stop.load(Ordering::Relaxed) {
            match reader.check_next() {
                Ok(Some(_)) => checked.records += 1,
                Ok(None) => {
                    checked.ended = true;
                    break;
                }
                Err(error) => {
                    if let RecordFault::Io(io) = error.fault {
                        return Err(Error::io(&*error.path, io));
                    }
                    checked.ended |= !error.can_continue();
                    checked.bad_records += 1;
                    if checked.bad.len() < LISTED_PER_PIECE {
                        self.grow(LISTED_BYTES)?;
                        checked.bad.push(BadRecord::new(&error));
                    }
                }
            }
        }
        checked.next = reader.offset();
        Ok(checked)
    }

    fn grow(&self, bytes: u64) -> Result<(), BudgetError> {
        self.reservation.lock().unwrap_or_else(PoisonError::into_inner).try_grow(bytes)
    }

    /// Puts the pieces together, and checks those again whose start was guessed wrong.
    fn join(&self, window: Option<&mut Window>, stop: &AtomicBool) -> Result<Verification, Error> {
        let mut total = Verification {
            files: self.list.files.len(),
            bytes: self.sizes.iter().sum(),
            ..Verification::default()
        };
        let mut spare = None;
        let window = match window {
            Some(window) => window,
            None => spare.insert(Window::new(&self.budget, self.inflate_bytes)?),
        };
        let (mut file, mut at, mut index, mut ended) = (usize::MAX, 0, 0, false);
        for (piece, done) in self.pieces.iter().zip(&self.done) {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            if piece.file != file {
                (file, at, index, ended) = (piece.file, 0, 0, false);
            }
            let checked = done.lock().unwrap_or_else(PoisonError::into_inner).take();
            if ended || at >= piece.end {
                // The file cannot be read so far, or one record covers the whole piece.
                continue;
            }
            let checked = match checked {
                Some(Ok(checked)) if checked.start == Some(at) => checked,
                Some(Err(error)) => return Err(error),
                _ => self.check(piece, Some(at), window, stop)?,
            };
            total.records += checked.records;
            total.bad_records += checked.bad_records;
            let path = self.list.files.get(piece.file).map(|f| f.path.to_path_buf());
            let path = path.ok_or(Error::Defect("a piece is of no file"))?;
            let numbered = checked.bad.into_iter().map(|b| BadRecord { record: b.record + index, ..b });
            total.bad.extend(numbered.map(|bad| (path.clone(), bad)));
            index += checked.records + checked.bad_records;
            (at, ended) = (checked.next, checked.ended);
        }
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use tightfit_format::tfrecord::RecordWriter;

    use super::*;

    /// A generator of numbers that look random.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) % end
        }
    }

    fn outcome(path: &Path, piece_bytes: u64, threads: usize) -> (u64, u64, Vec<BadRecord>) {
        let options = VerifyOptions { sources: vec![path.to_path_buf()], threads };
        let budget = MemoryBudget::new(8 << 20);
        let v = verify_pieces(&options, piece_bytes, &budget, &AtomicBool::new(false)).unwrap();
        assert!(budget.used_bytes() == 0 && v.files == 1);
        (v.records, v.bad_records, v.bad.into_iter().map(|(_, bad)| bad).collect())
    }

    /// Records of many sizes, some of which are TFRecord files themselves, so that places of headers are guessed wrong.
    fn file(numbers: &mut Numbers) -> Vec<u8> {
        let mut writer = RecordWriter::new(Vec::new());
        for _ in 0..40 {
            let record = match numbers.below(4) {
                0 => {
                    let mut inner = RecordWriter::new(Vec::new());
                    (0..5).for_each(|i| inner.write(&[i; 9]).unwrap());
                    inner.into_inner()
                }
                1 => vec![3; numbers.below(2000) as usize],
                _ => vec![5; numbers.below(40) as usize],
            };
            writer.write(&record).unwrap();
        }
        writer.into_inner()
    }

    #[test]
    fn pieces_give_what_reading_from_front_to_back_gives() {
        let path = std::env::temp_dir().join(format!("tightfit-verify-{}.tfrecord", std::process::id()));
        let mut numbers = Numbers(7);
        for round in 0..60 {
            let mut bytes = file(&mut numbers);
            for _ in 0..round % 4 {
                let at = numbers.below(bytes.len() as u64) as usize;
                bytes[at] ^= 16;
            }
            if round % 5 == 4 {
                bytes.truncate(numbers.below(bytes.len() as u64) as usize);
            }
            std::fs::write(&path, &bytes).unwrap();
            let whole = outcome(&path, u64::MAX, 1);
            assert!(round % 20 != 0 || (whole.0, whole.1) == (40, 0));
            for piece_bytes in [13, 100, 1000] {
                assert_eq!(outcome(&path, piece_bytes, 2), whole, "round {round}, pieces of {piece_bytes}");
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}
