//! Plain loops, compiled once for each vector width and chosen when run.

use crate::base::cpu::Isa;

/// A loop to be compiled for several widths. `run` and all it calls must be `#[inline(always)]` to be vectorised.
pub(crate) trait Loop {
    fn run(self);
}

/// Runs `body` as compiled for the widest vectors the processor has. No version fuses multiplications with
/// additions, so all give the same bits.
#[inline]
pub(crate) fn vectorised<L: Loop>(body: L) {
    #[cfg(target_arch = "x86_64")]
    match Isa::detect() {
        // SAFETY: the features were detected.
        Isa::Avx512 => return unsafe { wide(body) },
        // SAFETY: the feature was detected.
        Isa::Avx2 => return unsafe { medium(body) },
        Isa::Portable => {}
    }
    body.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn wide<L: Loop>(body: L) {
    body.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn medium<L: Loop>(body: L) {
    body.run();
}
