//! The process itself: what it takes besides everything that is counted one by one, and how that is kept small.
//!
//! Most of it is code: pages of the program and its libraries that have been executed. The system maps up to sixteen pages
//! around each that is touched, so a job would hold several times what it executes, and how much depends on where the
//! libraries were loaded. A process that is TightFit's own ([`govern`]) makes these windows four pages narrow. It also lets
//! its code go between the phases of a job, which have little of it in common, and whenever there is more of it than the
//! plan has room for ([`tend`]): pages of code are copies of what is in files, and mapping them again costs little.
//!
//! The loader has done its work by then, with windows as wide as ever, so a process has a floor that no job is below:
//! [`floor_bytes`]. A program that is linked for a fixed address has little for the loader to write, so that its tables too
//! are copies of what is in its file. Opening and planning a model takes less code ([`opening_bytes`]), and running it less again
//! ([`running_bytes`]).
//!
//! A process that is somebody else's is left as it is. What it has taken when it first plans is what it takes, and the
//! code that a job will execute is added. Where TightFit is a library that such a process has loaded ([`join`]), the code of
//! that library is treated as a program's is, but for [`tend`]: what else is resident is not TightFit's to count.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tightfit_core::{BudgetError, MemoryBudget, Reservation};

use super::limits;

/// The code of loading the program, mapped in windows as wide as ever, and what is on the heap and the stack by then. The
/// loader's tables come on top: they grow with the program, and are read from its headers. Measured are 2.8 MiB, and 2.7
/// with checks.
const LOADING_BYTES: u64 = 51 << 16;

/// The code of what comes before a run: reading a model, laying it out, looking at data. It is tended at every few nodes;
/// measured are up to 3.2 MiB.
const OPENING_CODE_BYTES: u64 = 53 << 16;

/// The code of a job that nobody plans: writing a model, or reading and writing records. Measured are 3.8 to 4.1 MiB.
const WORKING_CODE_BYTES: u64 = if IS_CHECKED { 68 << 16 } else { 67 << 16 };

/// That of opening a model in a process that has loaded TightFit as a library, which is not tended.
const JOINED_CODE_BYTES: u64 = 63 << 16;

/// What a job that nobody plans takes more in such a process, and more threads than one with heaps of their own. Measured are
/// 0.5 to 1.7 MiB.
const JOINED_WORK_BYTES: u64 = 36 << 16;

/// The code of a run: reading weights, a batch, or writing the results. Measured are 1.1 to 1.9 MiB.
const CODE_BYTES: u64 = if IS_CHECKED { 28 << 16 } else { 32 << 16 };

/// The code besides it of a run over a data set: reading, decoding and writing rows. All that the examples execute in their
/// loops is 2.2 to 2.7 MiB.
const ROWS_CODE_BYTES: u64 = 14 << 16;

/// The code besides both of a run that lays out another batch: binding shapes and running the passes. Measured are 2.9 MiB of
/// all three, and 3.4 with checks.
const REPLANNING_CODE_BYTES: u64 = if IS_CHECKED { 10 << 16 } else { 2 << 16 };

/// With overflow checks and assertions there is more code.
const IS_CHECKED: bool = cfg!(debug_assertions);

/// Code that a step may execute for the first time before there is another look at how much is resident.
const STEP_CODE_BYTES: u64 = if IS_CHECKED { 7 << 16 } else { 4 << 16 };

/// What is neither code nor a table that the loader wrote to: the main stack, buffers of the standard streams, the command
/// line, the allocator. Measured are 60 KiB, and 72 with checks.
const REST_BYTES: u64 = 8 << 14;

/// The code of a job in a process that is not TightFit's own.
const GUEST_CODE_BYTES: u64 = 3 << 20;

/// What a process takes where the system does not say it.
const UNKNOWN_BYTES: u64 = 8 << 20;

/// True in a process of TightFit's own.
static IS_GOVERNED: AtomicBool = AtomicBool::new(false);

/// The most code that is to be resident in a run, in bytes.
static CODE_ROOM_BYTES: AtomicU64 = AtomicU64::new(u64::MAX);

/// True in a process that has loaded TightFit as a library of its own.
static IS_JOINED: AtomicBool = AtomicBool::new(false);

/// What the host of this process had taken before TightFit came, in bytes.
static HOST_BYTES: AtomicU64 = AtomicU64::new(0);

/// What loading the library took at most; 0 where its host had taken more before, so that nothing tells.
static JOINING_BYTES: AtomicU64 = AtomicU64::new(0);

/// What the process is to stay below, in bytes.
static LIMIT_BYTES: AtomicU64 = AtomicU64::new(u64::MAX);

/// The process' share of the budget of a job.
static SHARE: Mutex<Option<Reservation>> = Mutex::new(None);

/// What the loader reads and writes before a program begins, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Tables {
    /// Lists of what to write: read once.
    relocations_bytes: u64,
    /// Tables that were written to, and variables: they stay.
    written_bytes: u64,
}

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
    if system::is_governable(system::Whose::Program) {
        IS_GOVERNED.store(true, Ordering::Relaxed);
        system::narrow_windows();
        end_phase();
    }
}

/// Says that this process is a host's, who had taken `host_bytes`, and at most `host_peak_bytes`, before TightFit was loaded: no
/// job is planned with them, and the memory of a job bounds what the process takes besides. To be called once, by the library
/// that it has loaded, before anything is opened.
pub fn join(host_bytes: u64, host_peak_bytes: u64) {
    HOST_BYTES.store(host_bytes, Ordering::Relaxed);
    // How many pages of a file the system maps at once follows from how the file came to the page cache.
    let peak_bytes = limits::peak_resident_bytes().filter(|peak| *peak > host_peak_bytes);
    JOINING_BYTES.store(peak_bytes.map_or(0, |peak| peak.saturating_sub(host_bytes)), Ordering::Relaxed);
    if system::is_governable(system::Whose::Library) {
        IS_JOINED.store(true, Ordering::Relaxed);
        system::narrow_windows();
        end_phase();
    }
    floor_bytes();
}

/// The code that a job may execute in a process that is not TightFit's own, in bytes.
fn guest_code_bytes() -> u64 {
    match (IS_JOINED.load(Ordering::Relaxed), IS_CHECKED) {
        (false, _) => GUEST_CODE_BYTES,
        (true, false) => JOINED_CODE_BYTES.min(system::code_bytes()),
        // How much is executed depends on how little was optimised.
        (true, true) => system::code_bytes(),
    }
}

/// Says what the process is to stay below, in bytes: where it comes near, [`Tended`] lets go of what can be had again.
pub fn stay_below(bytes: u64) {
    LIMIT_BYTES.store(bytes, Ordering::Relaxed);
}

/// The least memory there is for a process, in bytes, whatever else it takes: the same for every job of a program, and within a
/// process from the first call on.
pub fn floor_bytes() -> u64 {
    static TAKEN_BYTES: OnceLock<u64> = OnceLock::new();
    *TAKEN_BYTES.get_or_init(|| match (IS_GOVERNED.load(Ordering::Relaxed), resident()) {
        (true, _) => loading_bytes().max(OPENING_CODE_BYTES + data_bytes()),
        (false, Some(resident)) => {
            let own_bytes = resident.total_bytes().saturating_sub(HOST_BYTES.load(Ordering::Relaxed));
            (own_bytes + guest_code_bytes()).max(JOINING_BYTES.load(Ordering::Relaxed))
        }
        (false, None) => UNKNOWN_BYTES,
    })
}

/// What it takes besides all that is counted while a model is opened and planned.
pub fn opening_bytes() -> u64 {
    governed_or_floor_bytes(OPENING_CODE_BYTES + data_bytes())
}

/// What it takes besides all that is counted in a job that nobody plans.
pub fn working_bytes() -> u64 {
    match IS_JOINED.load(Ordering::Relaxed) {
        true => floor_bytes() + JOINED_WORK_BYTES,
        false => governed_or_floor_bytes(WORKING_CODE_BYTES + data_bytes()).max(floor_bytes()),
    }
}

/// What it takes besides all that is counted while a model runs.
pub fn running_bytes() -> u64 {
    governed_or_floor_bytes(CODE_BYTES + data_bytes())
}

/// What is no code.
fn data_bytes() -> u64 {
    REST_BYTES + system::tables().written_bytes
}

/// What loading the program takes.
fn loading_bytes() -> u64 {
    let tables = system::tables();
    LOADING_BYTES + tables.relocations_bytes + tables.written_bytes
}

/// The most code that is to be resident at any time: no more than there was when the program had been loaded.
fn most_code_bytes() -> u64 {
    loading_bytes().saturating_sub(data_bytes())
}

fn governed_or_floor_bytes(governed_bytes: u64) -> u64 {
    if IS_GOVERNED.load(Ordering::Relaxed) { governed_bytes } else { floor_bytes() }
}

/// What a process of TightFit's own takes more where the rows of a data set are read and written.
pub fn rows_bytes() -> u64 {
    if IS_GOVERNED.load(Ordering::Relaxed) { ROWS_CODE_BYTES } else { 0 }
}

/// What a process of TightFit's own takes more where a batch may be laid out anew.
pub fn replanning_bytes() -> u64 {
    if IS_GOVERNED.load(Ordering::Relaxed) { REPLANNING_CODE_BYTES } else { 0 }
}

/// Takes `bytes`, which are [`opening_bytes`] or [`working_bytes`], out of `budget`, until [`leave`]. Of them no more than a
/// running process takes is held from [`begin_run`] on.
///
/// # Errors
/// [`BudgetError`] when they are not free.
pub fn occupy(budget: &MemoryBudget, bytes: u64) -> Result<(), BudgetError> {
    *share() = Some(budget.try_reserve("runtime", bytes)?);
    Ok(())
}

/// Gives back what [`occupy`] took.
pub fn leave() {
    share().take();
}

fn share() -> MutexGuard<'static, Option<Reservation>> {
    // It is there or not after every statement.
    SHARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A job that was laid out begins to run: its process takes no more than the plan has for it, which is `spare_bytes` above
/// [`running_bytes`].
pub fn begin_run(spare_bytes: u64) {
    if let Some(share) = share().as_mut() {
        share.shrink(running_bytes().saturating_add(spare_bytes));
        let code_bytes = CODE_BYTES.saturating_add(spare_bytes).min(most_code_bytes());
        // A model within the data has a layout of its own, and no more room.
        CODE_ROOM_BYTES.fetch_min(code_bytes, Ordering::Relaxed);
    }
}

/// What is resident now; `None` where the system does not say. Allocates nothing.
pub fn resident() -> Option<Resident> {
    system::resident()
}

/// Lets go of all code that is TightFit's and of the allocator's free memory: a phase of a job is over. A process that has
/// not loaded TightFit by itself is left alone.
pub fn end_phase() {
    if IS_GOVERNED.load(Ordering::Relaxed) || IS_JOINED.load(Ordering::Relaxed) {
        system::let_code_go();
        system::trim_heap();
    }
}

/// Lets go of all code, in a process of TightFit's own, when there is nearly as much as there is room for. True when it
/// did: then what is executed next is mapped anew, and has to be looked at again. Takes a microsecond.
pub fn tend() -> bool {
    if !IS_GOVERNED.load(Ordering::Relaxed) {
        return false;
    }
    let room_bytes = CODE_ROOM_BYTES.load(Ordering::Relaxed).min(most_code_bytes());
    let most_bytes = room_bytes.saturating_sub(STEP_CODE_BYTES);
    let is_over = resident().is_some_and(|resident| resident.code_bytes > most_bytes);
    if is_over {
        system::let_code_go();
    }
    is_over
}

/// [`tend`], between two steps of somebody's who does not care.
pub fn rest() {
    tend();
}

/// Steps of a job that are short, and after which the process is tended now and again: at first each time, then once in so
/// many bytes.
#[derive(Debug, Default)]
pub struct Tended {
    steps: u64,
    bytes: usize,
}

/// How near to its limit the process is when it lets go of what can be had again: what threads that work ahead may take
/// between two looks.
const NEAR_BYTES: u64 = 8 << 16;

/// Bytes that steps go over between two looks at the process, and the least that a step counts for.
const TENDED_BYTES: usize = 64 << 10;
const STEP_BYTES: usize = 1 << 10;

impl Tended {
    /// A step over so many bytes is done.
    pub fn step(&mut self, bytes: usize) {
        self.steps = self.steps.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes.max(STEP_BYTES));
        if self.steps >= 16 && self.bytes < TENDED_BYTES {
            return;
        }
        self.bytes = 0;
        if !tend() && is_near_limit() {
            end_phase();
        }
    }
}

/// True when little more would be too much. What was freed between pieces that are in use counts for the system, and for
/// nobody else.
fn is_near_limit() -> bool {
    let limit_bytes = LIMIT_BYTES.load(Ordering::Relaxed);
    resident().is_some_and(|resident| resident.total_bytes().saturating_add(NEAR_BYTES) > limit_bytes)
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod system {
    use std::ffi::c_void;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::sync::OnceLock;

    use super::{Resident, Tables};

    /// A range of addresses.
    #[derive(Clone, Copy)]
    struct Range {
        start: usize,
        bytes: usize,
    }

    /// The files of a program: itself, the libraries that it links to, the loader.
    const MAX_RANGES: usize = 64;

    /// Whose code it is.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub enum Whose {
        /// All of the program's, with its libraries.
        Program,
        /// That of the file alone that this code stands in.
        Library,
    }

    struct Ranges {
        list: [Range; MAX_RANGES],
        len: usize,
        whose: Whose,
        tables: Tables,
    }

    impl Ranges {
        /// Adds a range, and joins it to the last one where that ends.
        fn push(&mut self, range: Range) {
            let last = self.len.checked_sub(1).and_then(|last| self.list.get_mut(last));
            match last {
                Some(last) if last.start + last.bytes == range.start => last.bytes += range.bytes,
                _ => {
                    if let Some(next) = self.list.get_mut(self.len) {
                        *next = range;
                        self.len += 1;
                    }
                }
            }
        }

        /// Adds the pages of what the loader has protected from writing that it did not write to before: they are as in the
        /// file, and stay so.
        fn add_protected(&mut self, start: usize, bytes: usize) {
            let page = page_bytes();
            // The loader protects whole pages alone.
            let (first, end) = (start / page, start.saturating_add(bytes) / page);
            let Ok(map) = File::open("/proc/self/pagemap") else { return };
            for number in first..end {
                let mut entry = [0; 8];
                let Ok(()) = map.read_exact_at(&mut entry, number as u64 * 8) else { return };
                let entry = u64::from_le_bytes(entry);
                let is_written = entry & (IN_MEMORY | SWAPPED) != 0 && entry & OF_FILE == 0;
                if !is_written {
                    self.push(Range { start: number * page, bytes: page });
                    self.tables.written_bytes = self.tables.written_bytes.saturating_sub(page as u64);
                }
            }
        }
    }

    /// Bits of an entry of `/proc/self/pagemap` (Documentation/admin-guide/mm/pagemap.rst of Linux): the page is in memory or
    /// swapped, and it is a page of a file. One that was written to is of no file any more.
    const IN_MEMORY: u64 = 1 << 63;
    const SWAPPED: u64 = 1 << 62;
    const OF_FILE: u64 = 1 << 61;

    /// The pages that a range touches.
    fn whole_pages(start: usize, bytes: usize) -> Range {
        let page = page_bytes();
        let end = start.saturating_add(bytes).next_multiple_of(page);
        let start = start / page * page;
        Range { start, bytes: end - start }
    }

    fn page_bytes() -> usize {
        // SAFETY: sysconf only reads a constant of the system.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
    }

    static RANGES: OnceLock<Ranges> = OnceLock::new();

    /// Where code and constants are mapped: all that is never written to. Whose is said by the first call.
    fn ranges(whose: Whose) -> &'static Ranges {
        RANGES.get_or_init(|| {
            let list = [Range { start: 0, bytes: 0 }; MAX_RANGES];
            let mut ranges = Ranges { list, len: 0, whose, tables: Tables::default() };
            // SAFETY: the callback has the type that is called for, and the pointer is to `ranges`, which outlives the
            // call.
            unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut ranges).cast()) };
            ranges
        })
    }

    /// Adds the parts of one loaded file that are never written to, and counts the others.
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
        let is_loaded = |header: &&libc::Elf64_Phdr| header.p_type == libc::PT_LOAD;
        let start_of = |header: &libc::Elf64_Phdr| info.dlpi_addr.wrapping_add(header.p_vaddr) as usize;
        let here = add as *const () as usize;
        let holds = |header: &libc::Elf64_Phdr| {
            (start_of(header)..start_of(header).saturating_add(header.p_memsz as usize)).contains(&here)
        };
        let is_own = headers.iter().filter(is_loaded).any(holds);
        if ranges.whose == Whose::Library && !is_own {
            return 0;
        }
        for header in headers.iter().filter(is_loaded) {
            let (start, bytes) = (start_of(header), header.p_memsz as usize);
            match header.p_flags & libc::PF_W {
                0 => ranges.push(whole_pages(start, bytes)),
                _ => ranges.tables.written_bytes += whole_pages(start, header.p_filesz as usize).bytes as u64,
            }
        }
        // What other files have protected is theirs to change.
        let is_protected = |header: &&libc::Elf64_Phdr| is_own && header.p_type == libc::PT_GNU_RELRO;
        for header in headers.iter().filter(is_protected) {
            ranges.add_protected(start_of(header), header.p_memsz as usize);
        }
        for header in headers.iter().filter(|header| header.p_type == libc::PT_DYNAMIC) {
            let entries = header.p_memsz as usize / size_of::<[u64; 2]>();
            // SAFETY: this part of the file is an array of tags and values of 64 bits each, which stays where it was loaded.
            let entries = unsafe { std::slice::from_raw_parts(start_of(header) as *const [u64; 2], entries) };
            let entries = entries.iter().take_while(|[tag, _]| *tag != 0);
            let sizes = entries.filter(|[tag, _]| RELOCATION_SIZES.contains(tag)).map(|[_, bytes]| bytes);
            ranges.tables.relocations_bytes += sizes.sum::<u64>();
        }
        0
    }

    /// Tags of the sizes of tables of relocations: DT_PLTRELSZ, DT_RELASZ and DT_RELRSZ (System V ABI, chapter 5).
    const RELOCATION_SIZES: [u64; 3] = [2, 8, 35];

    /// What the loader has read and written for the program.
    pub fn tables() -> Tables {
        ranges(Whose::Program).tables
    }

    pub fn is_governable(whose: Whose) -> bool {
        resident().is_some() && ranges(whose).len > 0
    }

    /// Bytes of code and constants.
    pub fn code_bytes() -> u64 {
        let ranges = ranges(Whose::Program);
        ranges.list.iter().take(ranges.len).map(|range| range.bytes as u64).sum()
    }

    /// Bytes of code that are mapped at once.
    const WINDOW_BYTES: usize = 16 << 10;

    /// Makes the mappings of code as short as a window, beyond whose ends the system maps nothing when a page is touched: of
    /// one that differs from its neighbours in some way it makes a mapping of its own. That of every other window is not
    /// dumped, which code that stands in a file never is.
    pub fn narrow_windows() {
        if page_bytes() >= WINDOW_BYTES {
            return;
        }
        let ranges = ranges(Whose::Program);
        for range in ranges.list.iter().take(ranges.len) {
            let end = range.start.saturating_add(range.bytes);
            let mut start = range.start.next_multiple_of(2 * WINDOW_BYTES);
            while start < end {
                let bytes = WINDOW_BYTES.min(end - start);
                // SAFETY: the pages are of a mapping that the loader made and nobody unmaps, and stay as they are. A refusal
                // costs only memory.
                unsafe { libc::madvise(start as *mut c_void, bytes, libc::MADV_DONTDUMP) };
                start += 2 * WINDOW_BYTES;
            }
        }
    }

    pub fn let_code_go() {
        let ranges = ranges(Whose::Program);
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
    use super::{Resident, Tables};

    pub enum Whose {
        Program,
        Library,
    }

    pub fn is_governable(_whose: Whose) -> bool {
        false
    }

    pub fn code_bytes() -> u64 {
        0
    }

    pub fn tables() -> Tables {
        Tables::default()
    }

    pub fn narrow_windows() {}

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
    fn tables_are_those_of_the_headers() {
        // A position-independent program has a table of every function that is called by a pointer.
        let tables = system::tables();
        assert!(tables.written_bytes > 64 << 10 && tables.written_bytes < 4 << 20, "{tables:?}");
        assert!(tables.relocations_bytes > 64 << 10 && tables.relocations_bytes < 8 << 20, "{tables:?}");
    }

    #[test]
    fn a_guest_leaves_its_host_as_it_is() {
        assert!(!tend());
        assert!(floor_bytes() > GUEST_CODE_BYTES && floor_bytes() == floor_bytes());
    }
}
