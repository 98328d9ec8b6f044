//! The process itself: what it takes besides everything that is counted one by one, and how that is kept small.
//!
//! Most of it is code: pages of the program and its libraries that have been executed. Which they are follows from the
//! job, from where the libraries were loaded and from the sixteen pages that the system maps around each that is
//! touched, so it cannot be known beforehand to within a mebibyte. It can be kept below a bound: pages of code are
//! copies of what is in files, and letting them go costs no more than mapping them again, from the system's cache, when
//! they are next executed. So a process that is TightFit's own ([`govern`]) lets its code go between the phases of a job,
//! which have little of it in common, and whenever there is more of it than the plan has room for ([`tend`]).
//!
//! A process that is somebody else's is left as it is. What it has taken when it first plans is what it takes, and the
//! code that a job will execute is added.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The most code of a process of TightFit's own that is resident. A batch of one of the usual models, or of records with
/// their parsing and writing, executes 2.6 to 3.6 MiB: what is mapped for it, in windows of 64 KiB.
const CODE_BYTES: u64 = if IS_CHECKED { 47 << 17 } else { 36 << 17 };

/// With overflow checks and assertions there is more code: a batch executes up to 4.6 MiB.
const IS_CHECKED: bool = cfg!(debug_assertions);

/// Code is let go of when this much is resident, which is more than a batch executes: up to [`CODE_BYTES`] a step may
/// execute before it is looked at again.
const TENDED_CODE_BYTES: u64 = if IS_CHECKED { 38 << 17 } else { 29 << 17 };

/// What ends a job executes: writing the output out, the summary, giving back.
const END_CODE_BYTES: u64 = 5 << 18;

/// What is no code: relocated tables, the main stack, buffers of the standard streams, the command line; and what the
/// system's own count of resident pages may be off, some tens of pages for each processor. Measured are 320 to 450 KiB.
const DATA_BYTES: u64 = if IS_CHECKED { 5 << 17 } else { 4 << 17 };

/// What a process of TightFit's own takes besides all that is counted.
pub const GOVERNED_BYTES: u64 = CODE_BYTES + DATA_BYTES;

/// The code of a job in a process that is not TightFit's own.
const GUEST_CODE_BYTES: u64 = 3 << 20;

/// What a process takes where the system does not say it.
const UNKNOWN_BYTES: u64 = 8 << 20;

/// True in a process of TightFit's own.
static IS_GOVERNED: AtomicBool = AtomicBool::new(false);

/// Resident memory of this process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resident {
    /// Pages of files: code, and tables of constants.
    pub code_bytes: u64,
    /// All else.
    pub data_bytes: u64,
}

impl Resident {
    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        self.code_bytes + self.data_bytes
    }
}

/// Makes this process TightFit's own: its code is let go of from here on, and what it takes is known before anything is
/// read. To be called once, before there are threads.
pub fn govern() {
    if system::is_governable() {
        IS_GOVERNED.store(true, Ordering::Relaxed);
        end_phase();
    }
}

/// What the process takes besides all that is counted, in bytes: the same for every job of a program, and within a
/// process from the first call on.
pub fn floor_bytes() -> u64 {
    static FLOOR_BYTES: OnceLock<u64> = OnceLock::new();
    *FLOOR_BYTES.get_or_init(|| match (IS_GOVERNED.load(Ordering::Relaxed), resident()) {
        (true, _) => GOVERNED_BYTES,
        (false, Some(resident)) => resident.total_bytes() + GUEST_CODE_BYTES,
        (false, None) => UNKNOWN_BYTES,
    })
}

/// What is resident now; `None` where the system does not say. Allocates nothing.
pub fn resident() -> Option<Resident> {
    system::resident()
}

/// Lets go of all code and of the allocator's free memory, in a process of TightFit's own: a phase of a job is over.
pub fn end_phase() {
    if IS_GOVERNED.load(Ordering::Relaxed) {
        system::let_code_go();
        system::trim_heap();
    }
}

/// Lets go of all code, in a process of TightFit's own, when there is no room left for that which ends a job.
pub fn end_job() {
    tend_above(CODE_BYTES - END_CODE_BYTES);
}

/// Lets go of all code, in a process of TightFit's own, when there is nearly as much as there is room for. True when it
/// did: then what is executed next is mapped anew, and has to be looked at again. Takes a microsecond.
pub fn tend() -> bool {
    tend_above(TENDED_CODE_BYTES)
}

/// Steps of a job that are short, and after which [`tend`] is called now and again: at first each time.
#[derive(Debug, Default)]
pub struct Tended {
    steps: u64,
}

impl Tended {
    /// A step is done.
    pub fn step(&mut self) {
        self.steps = self.steps.wrapping_add(1);
        if self.steps < 16 || self.steps.is_multiple_of(64) {
            tend();
        }
    }
}

fn tend_above(bytes: u64) -> bool {
    let is_much = || resident().is_some_and(|resident| resident.code_bytes > bytes);
    let is_over = IS_GOVERNED.load(Ordering::Relaxed) && is_much();
    if is_over {
        system::let_code_go();
    }
    is_over
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod system {
    use std::ffi::c_void;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::sync::OnceLock;

    use super::Resident;

    /// A range of addresses.
    #[derive(Clone, Copy)]
    struct Range {
        start: usize,
        bytes: usize,
    }

    /// The files of a program: itself, the libraries that it links to, the loader.
    const MAX_RANGES: usize = 64;

    struct Ranges {
        list: [Range; MAX_RANGES],
        len: usize,
    }

    fn page_bytes() -> usize {
        // SAFETY: sysconf only reads a constant of the system.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
    }

    /// Where code and constants of the program and its libraries are mapped: all that is never written to.
    fn ranges() -> &'static Ranges {
        static RANGES: OnceLock<Ranges> = OnceLock::new();
        RANGES.get_or_init(|| {
            let mut ranges = Ranges { list: [Range { start: 0, bytes: 0 }; MAX_RANGES], len: 0 };
            // SAFETY: the callback has the type that is called for, and the pointer is to `ranges`, which outlives the
            // call.
            unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut ranges).cast()) };
            ranges
        })
    }

    /// Adds the parts of one loaded file that are never written to.
    unsafe extern "C" fn add(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        ranges: *mut c_void,
    ) -> libc::c_int {
        // SAFETY: the loader passes a valid description, and `ranges` is what `ranges()` gave.
        let (info, ranges) = unsafe { (&*info, &mut *ranges.cast::<Ranges>()) };
        if info.dlpi_phdr.is_null() {
            return 0;
        }
        // SAFETY: the loader says how many headers there are.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
        let page = page_bytes();
        for header in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0) {
            let start = (info.dlpi_addr.wrapping_add(header.p_vaddr)) as usize;
            let end = start.saturating_add(header.p_memsz as usize).next_multiple_of(page);
            let start = start / page * page;
            if let Some(range) = ranges.list.get_mut(ranges.len) {
                *range = Range { start, bytes: end - start };
                ranges.len += 1;
            }
        }
        0
    }

    pub fn is_governable() -> bool {
        resident().is_some() && ranges().len > 0
    }

    pub fn let_code_go() {
        let ranges = ranges();
        for range in ranges.list.iter().take(ranges.len) {
            // SAFETY: the range is a private mapping of a file without a page that was written to, which the loader made
            // and nobody unmaps: whoever reads or executes a page of it next finds what the file has. A refusal costs
            // only memory.
            unsafe { libc::madvise(range.start as *mut c_void, range.bytes, libc::MADV_DONTNEED) };
        }
    }

    pub fn trim_heap() {
        #[cfg(target_env = "gnu")]
        // SAFETY: the allocator takes its own lock; nothing that is in use is touched.
        unsafe {
            libc::malloc_trim(0);
        }
    }

    pub fn resident() -> Option<Resident> {
        static STATM: OnceLock<Option<File>> = OnceLock::new();
        let file = STATM.get_or_init(|| File::open("/proc/self/statm").ok()).as_ref()?;
        let mut text = [0; 128];
        let bytes = file.read_at(&mut text, 0).ok()?;
        // Pages of address space, resident ones, and those among them that are of files.
        let text = std::str::from_utf8(text.get(..bytes)?).ok()?;
        let mut pages = text.split_ascii_whitespace().skip(1).map(|field| field.parse::<u64>().ok());
        let (all, of_files) = (pages.next()??, pages.next()??);
        let page = page_bytes() as u64;
        Some(Resident { code_bytes: of_files * page, data_bytes: all.saturating_sub(of_files) * page })
    }
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
mod system {
    use super::Resident;

    pub fn is_governable() -> bool {
        false
    }

    pub fn let_code_go() {}

    pub fn trim_heap() {}

    pub fn resident() -> Option<Resident> {
        None
    }
}

#[cfg(all(test, target_os = "linux", target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn code_that_is_let_go_of_is_mapped_again() {
        let before = resident().unwrap();
        assert!(before.code_bytes > 0 && before.data_bytes > 0);
        system::let_code_go();
        // Whatever is executed now is read from the file again: no value has changed.
        let after = resident().unwrap();
        assert!(after.code_bytes > 0 && after.code_bytes < before.code_bytes, "{before:?} {after:?}");
        assert_eq!(format!("{:?}", [1.5f64; 2]), "[1.5, 1.5]");
    }

    #[test]
    fn a_guest_leaves_its_host_as_it_is() {
        assert!(!tend());
        assert!(floor_bytes() > GUEST_CODE_BYTES && floor_bytes() == floor_bytes());
    }
}
