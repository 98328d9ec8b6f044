//! What the command line sets up in the process and asks of the system.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// When the process started.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    main: Instant,
    before_main: Duration,
}

impl Start {
    /// To be called first in `main`.
    pub fn now() -> Start {
        // All that a process does before `main` is loading itself, so its processor time is the time that took.
        Start { main: Instant::now(), before_main: processor_time().unwrap_or_default() }
    }

    /// Time since the process started.
    pub fn elapsed(&self) -> Duration {
        self.main.elapsed() + self.before_main
    }
}

#[cfg(unix)]
fn processor_time() -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of this frame, which the call fills.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    (status == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

#[cfg(not(unix))]
fn processor_time() -> Option<Duration> {
    None
}

/// Whether the user asked to stop.
static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The signal that asked, or that an interrupt stands for.
static SIGNAL: AtomicI32 = AtomicI32::new(2);

/// The exit code of a job that a signal ended: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP.
pub fn interrupted_code() -> u8 {
    u8::try_from(SIGNAL_CODE + SIGNAL.load(Ordering::Relaxed)).unwrap_or(u8::MAX)
}

/// What shells add to the number of a signal.
const SIGNAL_CODE: i32 = 128;

/// Whether somebody looks at the flag and cleans up.
static IS_WATCHED: AtomicBool = AtomicBool::new(false);

/// True once the user asked to stop. Who takes it has to look at it often: until then an interrupt ends the process at
/// once, wherever it waits.
pub fn stop_flag() -> &'static AtomicBool {
    IS_WATCHED.store(true, Ordering::Relaxed);
    &IS_INTERRUPTED
}

/// Sets up allocator, signals, the report of defects and what object stores are reached with.
pub fn prepare() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    keep_heap_small();
    // The loader has touched most of the C library, and nobody needs that any more.
    tightfit::process::govern();
    prepare_guest();
}

/// The same in a process that is another program's, whose code is left where it is.
pub fn prepare_guest() {
    #[cfg(unix)]
    listen_for_signals();
    // A file that has become too large is an error of the system with its name, and what was written goes.
    #[cfg(unix)]
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
    #[cfg(feature = "object-store")]
    set_store_options();
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.to_string().replace('\n', " ");
        let _ = writeln!(std::io::stderr(), "tightfit: a defect of TightFit: {text}");
    }));
}

/// Passes on the variables that the tools of the object stores read too: addresses, regions and credentials.
#[cfg(feature = "object-store")]
fn set_store_options() {
    const PREFIXES: [&str; 2] = ["AWS_", "GOOGLE_"];
    let texts =
        std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    let options = texts.filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    tightfit::storage::set_options(options.collect());
}

/// One heap for all threads, whose free memory goes back to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_heap_small() {
    // SAFETY: no thread has been started, so nothing else is using the allocator. A refused option has no effect.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        // Small blocks are put together with free neighbours at once, not some time: the description of a model is small
        // blocks, and would otherwise not make room for the graph that is made of it.
        libc::mallopt(libc::M_MXFAST, 0);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 10);
    }
}

/// SIGINT, SIGTERM and SIGHUP ask the job to stop, or end the process where no job runs; a second one ends it at once.
#[cfg(unix)]
fn listen_for_signals() {
    extern "C" fn interrupt(signal: libc::c_int) {
        SIGNAL.store(signal, Ordering::Relaxed);
        IS_INTERRUPTED.store(true, Ordering::Relaxed);
        if !IS_WATCHED.load(Ordering::Relaxed) {
            const TEXT: &[u8] = b"tightfit: interrupted\n";
            // SAFETY: both calls are allowed in a signal handler, and the text is valid for its length. Nothing has been
            // written to disk yet, so there is nothing to clean up.
            unsafe {
                libc::write(libc::STDERR_FILENO, TEXT.as_ptr().cast(), TEXT.len());
                libc::_exit(SIGNAL_CODE + signal);
            }
        }
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: an all-zero sigaction is a valid value, and the handler does only what is allowed in one.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = interrupt as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_RESETHAND | libc::SA_RESTART;
            let mut before: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, &action, &mut before);
            if before.sa_sigaction == libc::SIG_IGN {
                // As `nohup` starts it.
                libc::sigaction(signal, &before, std::ptr::null_mut());
            }
        }
    }
}
