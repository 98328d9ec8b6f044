//! The process itself: what it takes besides everything that is counted one by one, and how that is kept small.
//!
//! Most of it is code: pages of the program and its libraries that have been executed. The system maps up to sixteen pages
//! around each that is touched, so a job would hold several times what it executes, and how much depends on where the
//! libraries were loaded. A process that is TightFit's own ([`govern`]) makes these windows four pages narrow. It also lets
//! its code go between the phases of a job, which have little of it in common, and whenever there is more of it than the
//! plan has room for ([`tend`]): pages of code are copies of what is in files, and mapping them again costs little. How much
//! room that is follows from what else is resident: where the allocator keeps more than is counted, code has less.
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

pub use super::resident::Resident;
use super::{limits, system};

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

/// The code of a run: reading weights, a batch, or writing the results. Measured are 1.1 to 2.0 MiB.
const CODE_BYTES: u64 = if IS_CHECKED { 27 << 16 } else { 31 << 16 };

/// The least code that there is room for, whatever else is resident: that of a step, and what comes before there is another
/// look.
const LEAST_CODE_BYTES: u64 = 16 << 16;

/// The code besides that where a model runs again and again: a run whose code does not find room maps it anew each time, which
/// takes EfficientNetB0 a sixth longer. Measured are up to 2.1 MiB of both.
const AGAIN_CODE_BYTES: u64 = if IS_CHECKED { 0 } else { 4 << 16 };

/// What a process that runs again and again maps between two looks at its code where runs read rows of tables in the file. Code
/// may not keep it: it would fill that too, and be above it between two looks. Measured are 0.1 MiB.
const TABLES_BYTES: u64 = 4 << 16;

/// The code of reading, decoding and writing the rows of a data set, besides that of a run.
const ROWS_CODE_BYTES: u64 = if IS_CHECKED { 14 << 16 } else { 10 << 16 };

/// The code besides all of these of a loop over rows. All that the examples execute in theirs is 2.2 to 2.7 MiB.
const LOOP_CODE_BYTES: u64 = if IS_CHECKED { 0 } else { 4 << 16 };

/// The code besides all of these of a loop that lays out another batch: binding shapes and running the passes. Measured are
/// 2.9 MiB in all, and 3.4 with checks.
const REPLANNING_CODE_BYTES: u64 = if IS_CHECKED { 11 << 16 } else { 2 << 16 };

/// With overflow checks and assertions there is more code.
const IS_CHECKED: bool = cfg!(debug_assertions);

/// Code that may be executed for the first time before there is another look at how much is resident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// That of a step of whatever job, or of a model: an operator, and all that leads to it.
    Step,
    /// That of an operator between others, in a body that runs.
    Operator,
    /// None: all that comes has been executed since code was last let go of.
    Nothing,
}

impl Ahead {
    fn code_bytes(self) -> u64 {
        match (self, IS_CHECKED) {
            (Ahead::Step, false) => 4 << 16,
            (Ahead::Step, true) => 7 << 16,
            (Ahead::Operator, false) => 2 << 16,
            (Ahead::Operator, true) => 4 << 16,
            // Another branch of what was executed before.
            (Ahead::Nothing, _) => 1 << 16,
        }
    }
}

/// What is neither code nor a table that the loader wrote to: the main stack, buffers of the standard streams, the command
/// line, the allocator. Measured are 60 KiB, and 72 with checks.
const REST_BYTES: u64 = 8 << 14;

/// The code of a job in a process that is not TightFit's own.
const GUEST_CODE_BYTES: u64 = 3 << 20;

/// What a process takes where the system does not say it.
const UNKNOWN_BYTES: u64 = 8 << 20;

/// True in a process of TightFit's own.
static IS_GOVERNED: AtomicBool = AtomicBool::new(false);

/// True in a process that has loaded TightFit as a library of its own.
static IS_JOINED: AtomicBool = AtomicBool::new(false);

/// What the host of this process had taken before TightFit came, in bytes.
static HOST_BYTES: AtomicU64 = AtomicU64::new(0);

/// What loading the library took at most; 0 where its host had taken more before, so that nothing tells.
static JOINING_BYTES: AtomicU64 = AtomicU64::new(0);

/// What the process is to stay below, in bytes.
static LIMIT_BYTES: AtomicU64 = AtomicU64::new(u64::MAX);

/// The process' share of the budget of a job.
static SHARE: Mutex<Option<Share>> = Mutex::new(None);

/// What a process takes of the budget of a job, and what it knows of the rest.
#[derive(Debug)]
struct Share {
    budget: MemoryBudget,
    reservation: Reservation,
    /// Bytes of the budget that were in use before: for threads, of which too little is known to be looked for.
    before_bytes: u64,
    /// Bytes of the heap that nobody has reserved: what the allocator keeps of what was freed.
    kept_bytes: u64,
    /// The most code that is to be resident where no more than that is kept, in bytes.
    code_bytes: u64,
    /// False until there is a layout: any has room for the most that was counted before.
    is_running: bool,
}

impl Share {
    /// How much of what is resident and no code is more than is counted, in bytes.
    fn excess_bytes(&self, resident: Resident) -> u64 {
        let besides_bytes = self.before_bytes.saturating_add(self.reservation.bytes());
        let most_bytes = if self.is_running { self.budget.used_bytes() } else { self.budget.peak_bytes() };
        let counted_bytes = most_bytes.saturating_sub(besides_bytes);
        resident.data_bytes.saturating_sub(data_bytes() + self.kept_bytes + counted_bytes)
    }

    /// The most code that is to be resident, in bytes.
    fn room_bytes(&self, resident: Resident) -> u64 {
        let code_bytes = self.code_bytes.min(most_code_bytes());
        code_bytes.saturating_sub(self.excess_bytes(resident)).max(LEAST_CODE_BYTES)
    }
}

/// Makes this process TightFit's own: its code is let go of from here on, and what it takes is known before anything is
/// read. To be called once, before there are threads.
pub fn govern() {
    if system::is_governable(system::Whose::Program) {
        IS_GOVERNED.store(true, Ordering::Relaxed);
        tightfit_core::tend_steps(rest);
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

/// What this process has taken by now, so that less cannot be kept to: of one of TightFit's own, the least that loading takes
/// wherever the system loads it, which is the same in every process. `None` where the system does not say.
pub fn taken_bytes() -> Option<u64> {
    match IS_GOVERNED.load(Ordering::Relaxed) {
        true => Some(loading_bytes() / 8 * 7),
        false => limits::peak_resident_bytes(),
    }
}

/// The most code that is to be resident at any time: no more than there was when the program had been loaded.
fn most_code_bytes() -> u64 {
    loading_bytes().saturating_sub(data_bytes())
}

/// What only a process of TightFit's own plans with.
fn if_governed(bytes: u64) -> u64 {
    if IS_GOVERNED.load(Ordering::Relaxed) { bytes } else { 0 }
}

fn governed_or_floor_bytes(governed_bytes: u64) -> u64 {
    if IS_GOVERNED.load(Ordering::Relaxed) { governed_bytes } else { floor_bytes() }
}

/// What a process of TightFit's own takes beyond a single run: where a model runs more than once, and where rows of a data set
/// are read and written.
pub fn more_code_bytes(runs_again: bool, reads_rows: bool) -> u64 {
    let parts = [
        (runs_again, AGAIN_CODE_BYTES),
        (reads_rows, ROWS_CODE_BYTES),
        (runs_again && reads_rows, LOOP_CODE_BYTES),
    ];
    if_governed(parts.iter().filter(|(is_there, _)| *is_there).map(|(_, bytes)| bytes).sum())
}

/// What a process of TightFit's own takes more where runs read rows of tables in the file, besides the code that it keeps.
pub fn tables_bytes() -> u64 {
    if_governed(TABLES_BYTES)
}

/// What a process of TightFit's own takes more where a batch may be laid out anew.
pub fn replanning_bytes() -> u64 {
    if_governed(REPLANNING_CODE_BYTES)
}

/// Takes `bytes`, which are [`opening_bytes`] or [`working_bytes`], out of `budget`, until [`leave`]. Of them no more than a
/// running process takes is held from [`begin_run`] on. What is in use of the budget before is for threads.
///
/// # Errors
/// [`BudgetError`] when they are not free.
pub fn occupy(budget: &MemoryBudget, bytes: u64) -> Result<(), BudgetError> {
    let before_bytes = budget.used_bytes();
    let reservation = budget.try_reserve("runtime", bytes)?;
    let code_bytes = bytes.saturating_sub(data_bytes());
    let (budget, kept_bytes, is_running) = (budget.clone(), 0, false);
    *share() = Some(Share { budget, reservation, before_bytes, kept_bytes, code_bytes, is_running });
    Ok(())
}

/// Gives back what [`occupy`] took.
pub fn leave() {
    share().take();
}

fn share() -> MutexGuard<'static, Option<Share>> {
    // It is there or not after every statement.
    SHARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the plan of a job has for its process, besides [`running_bytes`], in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// For more code than that of a run.
    pub code_bytes: u64,
    /// For what the allocator keeps of opening the model.
    pub kept_bytes: u64,
}

/// A job that was laid out begins to run: its process takes no more than the plan has for it. What the allocator keeps of
/// opening the model is estimated in a plan; where it is more, code has less.
pub fn begin_run(room: Room) {
    if let Some(share) = share().as_mut() {
        share.reservation.shrink(running_bytes().saturating_add(room.code_bytes));
        // A model within the data has a layout of its own, and no more room.
        share.code_bytes = share.code_bytes.min(CODE_BYTES.saturating_add(room.code_bytes));
        share.is_running = true;
        share.kept_bytes = share.kept_bytes.max(room.kept_bytes);
        // What is there now stays. What comes is counted before it is there, so that later there seems to be less.
        let excess_bytes = resident().map_or(0, |resident| share.excess_bytes(resident));
        share.code_bytes = share.code_bytes.saturating_sub(excess_bytes);
        share.kept_bytes += excess_bytes;
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

/// Lets go of all code, in a process of TightFit's own, when there is nearly as much as there is room for, so that what is
/// `ahead` might not find any. True when it did: then what is executed next is mapped anew, and has to be looked at again.
/// Takes a microsecond.
pub fn tend(ahead: Ahead) -> bool {
    if !IS_GOVERNED.load(Ordering::Relaxed) {
        return false;
    }
    let Some(resident) = resident() else { return false };
    let room_bytes = share().as_ref().map_or_else(most_code_bytes, |share| share.room_bytes(resident));
    let is_over = resident.code_bytes > room_bytes.saturating_sub(ahead.code_bytes());
    if is_over {
        system::let_code_go();
    }
    is_over
}

/// [`tend`], between two steps of somebody's who does not care.
pub fn rest() {
    tend(Ahead::Step);
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
        if !tend(Ahead::Step) && is_near_limit() {
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
    fn code_has_less_room_where_more_is_resident_than_is_counted() {
        let budget = MemoryBudget::new(64 << 20);
        let _threads = budget.try_reserve("runtime", 1 << 20).unwrap();
        let before_bytes = budget.used_bytes();
        let reservation = budget.try_reserve("runtime", 4 << 20).unwrap();
        let code_bytes = 3 << 20;
        let mut share = Share {
            budget: budget.clone(),
            reservation,
            before_bytes,
            kept_bytes: 0,
            code_bytes,
            is_running: false,
        };
        let resident = |data| Resident { code_bytes: 0, data_bytes: data_bytes() + data };
        let room_bytes = code_bytes.min(most_code_bytes());
        drop(budget.try_reserve("opening", 300).unwrap());
        let held = budget.try_reserve("weights", 100).unwrap();
        // What a layout has room for is the most that opening took.
        assert_eq!([0, 300, 310].map(|data| share.excess_bytes(resident(data))), [0, 0, 10]);
        assert_eq!(share.room_bytes(resident(310)), room_bytes - 10);
        share.is_running = true;
        assert_eq!([0, 100, 310].map(|data| share.excess_bytes(resident(data))), [0, 0, 210]);
        share.kept_bytes = 50;
        assert_eq!(share.excess_bytes(resident(310)), 160);
        drop(held);
        assert_eq!(share.room_bytes(resident(310)), room_bytes - 260);
        assert_eq!(share.room_bytes(resident(16 << 20)), LEAST_CODE_BYTES);
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
        assert!(!tend(Ahead::Step) && !tend(Ahead::Nothing));
        assert!(floor_bytes() > GUEST_CODE_BYTES && floor_bytes() == floor_bytes());
    }
}
