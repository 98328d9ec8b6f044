//! What the system says of this process' code, and does with it: mappings, resident pages, the loader's tables.

use std::ffi::c_void;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use super::resident::{Resident, Tables};

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
unsafe extern "C" fn add(info: *mut libc::dl_phdr_info, _size: usize, ranges: *mut c_void) -> libc::c_int {
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
