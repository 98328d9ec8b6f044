//! Which vector instructions the processor has.

/// A set of vector instructions that kernels are compiled for. Results are the same bit for bit on one `Isa`
/// whatever the number of threads; between two of them they differ by rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// AVX-512 (F, BW, DQ, VL) with FMA: vectors of 16 floats.
    Avx512,
    /// AVX2 with FMA: vectors of 8 floats.
    Avx2,
    /// Plain Rust that the compiler turns into what the target always has (SSE2, NEON): vectors of 4 floats.
    Portable,
}

impl Isa {
    /// All of them, the fastest first.
    pub const ALL: [Isa; 3] = [Isa::Avx512, Isa::Avx2, Isa::Portable];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Portable => "portable",
        }
    }

    /// The fastest that this processor has.
    pub fn detect() -> Isa {
        Isa::ALL.into_iter().find(|isa| isa.is_available()).unwrap_or(Isa::Portable)
    }

    /// Whether this processor has it. Costs a load and a test.
    #[inline]
    pub fn is_available(self) -> bool {
        // Miri checks the portable code, which all paths have in common but for their vectors.
        if cfg!(miri) {
            return self == Isa::Portable;
        }
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && Isa::Avx2.is_available()
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("popcnt")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512 | Isa::Avx2 => false,
            Isa::Portable => true,
        }
    }

    /// Whether code of AVX2 may run where this is asked for: it is part of AVX-512 here.
    #[inline]
    pub(crate) fn has_avx2(self) -> bool {
        self != Isa::Portable && Isa::Avx2.is_available()
    }

    /// Floats in one vector.
    pub const fn lanes(self) -> usize {
        match self {
            Isa::Avx512 => 16,
            Isa::Avx2 => 8,
            Isa::Portable => 4,
        }
    }
}
