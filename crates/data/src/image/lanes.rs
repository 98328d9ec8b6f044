//! Loops compiled a second time for wider vectors.
//!
//! The compiler vectorises the loops of this folder by itself. What it may assume of the processor decides how wide;
//! so the hottest are compiled for AVX2 as well and the processor is asked. No fused multiply-add is among what is
//! allowed: results are the same on every processor.

/// Defines `$name` out of the body of a function whose loops are worth wider vectors.
macro_rules! vectorised {
    ($(#[$doc:meta])* fn $name:ident $(<$($generic:ident: $bound:path),* $(; const $constant:ident: $of:ty)?>)?
        ($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        pub(crate) fn $name $(<$($generic: $bound),* $(, const $constant: $of)?>)? ($($argument: $type),*) {
            #[inline(always)]
            fn portable $(<$($generic: $bound),* $(, const $constant: $of)?>)? ($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn wide $(<$($generic: $bound),* $(, const $constant: $of)?>)? ($($argument: $type),*) {
                    portable$(::<$($generic),* $(, $constant)?>)?($($argument),*);
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor was just asked for what the function needs.
                    return unsafe { wide$(::<$($generic),* $(, $constant)?>)?($($argument),*) };
                }
            }
            portable$(::<$($generic),* $(, $constant)?>)?($($argument),*);
        }
    };
}
pub(crate) use vectorised;
