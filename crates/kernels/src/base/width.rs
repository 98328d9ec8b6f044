//! Plain loops, compiled once for each vector width and chosen when run.

use crate::base::cpu::Isa;

/// A loop to be compiled for several widths. `run` and all it calls must be `#[inline(always)]` to be vectorised.
pub(crate) trait Loop {
    fn run(self);
}

/// Runs `body` as compiled for the vectors of `isa`, or for those of [`Isa::Portable`] when the processor has them not.
/// No version fuses multiplications with additions, so all give the same bits.
#[inline]
pub(crate) fn vectorised<L: Loop>(isa: Isa, body: L) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the features.
        Isa::Avx512 if isa.is_available() => unsafe { wide(body) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the feature.
        Isa::Avx2 if isa.is_available() => unsafe { medium(body) },
        _ => body.run(),
    }
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
