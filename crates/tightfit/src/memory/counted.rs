//! Small files that are read whole, counted before they are read.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use tightfit_core::{MemoryBudget, Reservation};

use crate::error::Error;

/// Bytes that a pipe or a device is first given.
const FIRST_BYTES: usize = 16 << 10;

/// All bytes of a file, and their memory, held for `purpose`. A regular file is refused by its size; what it grows by while
/// it is read is left out. Of anything else the memory grows with what comes.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, and the memory.
pub(crate) fn read_whole(
    path: &Path,
    purpose: &'static str,
    budget: &MemoryBudget,
) -> Result<(Vec<u8>, Reservation), Error> {
    let at = |error| Error::io(path, error);
    let mut file = File::open(path).map_err(at)?;
    let metadata = file.metadata().map_err(at)?;
    let mut bytes = Vec::new();
    if metadata.is_file() {
        let reservation = budget.try_reserve(purpose, metadata.len())?;
        bytes.reserve_exact(metadata.len() as usize);
        file.take(metadata.len()).read_to_end(&mut bytes).map_err(at)?;
        return Ok((bytes, reservation));
    }
    let mut reservation = budget.try_reserve(purpose, 0)?;
    loop {
        if bytes.len() == bytes.capacity() {
            // While it moves, the old place is there as well.
            let (old, new) = (bytes.capacity(), (2 * bytes.capacity()).max(FIRST_BYTES));
            reservation.try_grow(new as u64)?;
            bytes.reserve_exact(new - bytes.len());
            reservation.shrink(reservation.bytes() - old as u64);
        }
        let room = (bytes.capacity() - bytes.len()) as u64;
        if (&mut file).take(room).read_to_end(&mut bytes).map_err(at)? == 0 {
            return Ok((bytes, reservation));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_not_read() {
        let path = std::env::temp_dir().join(format!("tightfit-counted-{}", std::process::id()));
        std::fs::write(&path, [7; 5000]).unwrap();
        let budget = MemoryBudget::new(5000);
        let (bytes, reservation) = read_whole(&path, "test", &budget).unwrap();
        assert_eq!((bytes, reservation.bytes()), (vec![7; 5000], 5000));
        assert!(read_whole(&path, "test", &budget).unwrap_err().is_budget());
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read_whole(&path, "test", &budget), Err(Error::Io { .. })));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_device_without_an_end_is_refused() {
        let budget = MemoryBudget::new(1 << 20);
        assert!(read_whole("/dev/zero".as_ref(), "test", &budget).unwrap_err().is_budget());
        assert!(budget.peak_bytes() <= 1 << 20 && budget.used_bytes() == 0);
        assert!(read_whole("/dev/null".as_ref(), "test", &budget).unwrap().0.is_empty());
    }
}
