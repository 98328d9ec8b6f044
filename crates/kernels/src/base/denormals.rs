//! Denormal numbers count as zero, as on TensorFlow's threads: what is read and what is computed.
//!
//! A product with denormal operands takes the processor a hundred times as long, and a comparison, a sign or a division
//! that one decides has another answer. The mode is the thread's (MXCSR's FTZ and DAZ on x86-64, FPCR's FZ on aarch64),
//! so every thread that computes holds a [`FlushDenormals`] while it does, and has the mode it had before again when
//! it is done. Processors without such a mode compute denormals in full.

use std::marker::PhantomData;

/// While it lives, denormal numbers count as zero on the thread that made it.
///
/// Guards may be nested; the innermost one goes first.
#[derive(Debug)]
#[must_use = "denormals count again once the guard is dropped"]
pub struct FlushDenormals {
    /// The thread's mode before, where it was another one.
    before: Option<mode::Register>,
    /// The mode is that of one thread.
    _thread: PhantomData<*const ()>,
}

impl FlushDenormals {
    /// Switches the mode of this thread.
    #[inline]
    pub fn new() -> FlushDenormals {
        let before = mode::read();
        let flushing = before | mode::FLUSH;
        if before != flushing {
            mode::write(flushing);
        }
        FlushDenormals { before: (before != flushing).then_some(before), _thread: PhantomData }
    }
}

impl Default for FlushDenormals {
    fn default() -> FlushDenormals {
        FlushDenormals::new()
    }
}

impl Drop for FlushDenormals {
    #[inline]
    fn drop(&mut self) {
        if let Some(before) = self.before {
            mode::write(before);
        }
    }
}

// The compiler takes the usual mode for granted where it computes with constants, and moves arithmetic freely across
// these instructions. Both change at most whether a denormal is flushed, never what else is computed.

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod mode {
    use std::arch::asm;

    pub(super) type Register = u32;

    /// Results (FTZ, bit 15) and operands (DAZ, bit 6).
    pub(super) const FLUSH: Register = 1 << 15 | 1 << 6;

    #[inline]
    pub(super) fn read() -> Register {
        let mut register: Register = 0;
        // SAFETY: it stores the four bytes of the register, which every x86-64 processor has.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut register, options(nostack, preserves_flags)) };
        register
    }

    #[inline]
    pub(super) fn write(register: Register) {
        // SAFETY: the value is one that was read, with two bits that every x86-64 processor has perhaps set.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &register, options(nostack, preserves_flags)) };
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
mod mode {
    use std::arch::asm;

    pub(super) type Register = u64;

    /// Results and operands of single and double precision (FZ, bit 24).
    pub(super) const FLUSH: Register = 1 << 24;

    #[inline]
    pub(super) fn read() -> Register {
        let register: Register;
        // SAFETY: the register can be read by every program.
        unsafe { asm!("mrs {}, fpcr", out(reg) register, options(nomem, nostack, preserves_flags)) };
        register
    }

    #[inline]
    pub(super) fn write(register: Register) {
        // SAFETY: the value is one that was read, with a bit that every aarch64 processor has perhaps set.
        unsafe { asm!("msr fpcr, {}", in(reg) register, options(nostack, preserves_flags)) };
    }
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod mode {
    pub(super) type Register = u32;
    pub(super) const FLUSH: Register = 0;

    pub(super) fn read() -> Register {
        0
    }

    pub(super) fn write(_: Register) {}
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
mod tests {
    use std::hint::black_box;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::base::threads::ThreadPool;

    const DENORMAL: f32 = 1e-39;

    fn flushes() -> bool {
        // A denormal operand, and a denormal result of normal operands.
        black_box(DENORMAL) * black_box(1e10) == 0.0 && black_box(f32::MIN_POSITIVE) * black_box(0.5) == 0.0
    }

    #[test]
    fn a_guard_flushes_and_restores() {
        assert!(!flushes());
        {
            let _outer = FlushDenormals::new();
            assert!(flushes());
            drop(FlushDenormals::new());
            assert!(flushes());
            assert_eq!(black_box(f64::MIN_POSITIVE) * black_box(0.5), 0.0);
            assert!(black_box(DENORMAL) <= 0.0);
        }
        assert!(!flushes());
    }

    #[test]
    fn every_thread_of_a_pool_flushes() {
        for threads in [1, 3] {
            let pool = ThreadPool::new(threads).unwrap();
            for tasks in [1, 8] {
                let flushing = AtomicUsize::new(0);
                pool.run(tasks, &|_, _| {
                    flushing.fetch_add(flushes() as usize, Ordering::Relaxed);
                });
                assert_eq!(flushing.load(Ordering::Relaxed), tasks);
            }
            assert!(!flushes());
        }
    }
}
