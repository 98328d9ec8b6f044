//! What a processor and its memory do at most: what the speed of kernels is held against (the roofline model of Williams,
//! Waterman and Patterson, 2009).

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::ThreadPool;

/// Vectors that are computed side by side: no fewer than it takes to hide how long one waits for itself, and with two operands no
/// more than the 16 registers of AVX2.
const CHAINS: usize = 12;

/// Multiply-adds of each chain in a task: about a tenth of a millisecond.
const STEPS: usize = 1 << 14;

/// Tasks of a measurement for each thread, so that one that begins late is not waited for.
const TASKS: usize = 16;

/// The most additions and multiplications of float32 a second, by multiply-adds on all threads of `pool`, measured for about
/// `time`.
pub fn peak_flops(pool: &ThreadPool, time: Duration) -> f64 {
    let isa = pool.isa();
    let tasks = TASKS * pool.threads();
    most(time, || {
        pool.run(tasks, &|_, _| {
            black_box(dispatch(isa, MultiplyAdds(black_box(0.5))));
        });
        (tasks * isa.lanes() * CHAINS * STEPS * 2) as f64
    })
}

/// The most bytes of `data` a second that all threads of `pool` read, measured for about `time`. What does not fit the caches
/// comes from memory.
pub fn peak_read_bytes(pool: &ThreadPool, data: &[f32], time: Duration) -> f64 {
    let isa = pool.isa();
    let parts = TASKS * pool.threads();
    let part = data.len().div_ceil(parts).max(1);
    most(time, || {
        pool.run(parts, &|index, _| {
            let begin = (index * part).min(data.len());
            let end = (begin + part).min(data.len());
            black_box(dispatch(isa, Sum(&data[begin..end])));
        });
        size_of_val(data) as f64
    })
}

/// The most of what `measured` says it has done in a second of its time.
fn most(time: Duration, measured: impl Fn() -> f64) -> f64 {
    let until = Instant::now() + time;
    let mut best = 0f64;
    loop {
        let begin = Instant::now();
        let done = measured();
        best = best.max(done / begin.elapsed().as_secs_f64().max(1e-9));
        if Instant::now() >= until {
            return best;
        }
    }
}

/// Multiply-adds that wait for nothing but those before them in their chain.
struct MultiplyAdds(f32);

impl Kernel for MultiplyAdds {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (factor, summand) = (s.splat(self.0), s.splat(1.0));
        let mut sums = [factor; CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = s.mul_add(*sum, factor, summand);
            }
        }
        first_of_all(s, sums)
    }
}

/// The sum of the vectors.
struct Sum<'a>(&'a [f32]);

impl Kernel for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut sums = [s.splat(0.0); CHAINS];
        let mut chunks = self.0.chunks_exact(CHAINS * S::LANES);
        for chunk in &mut chunks {
            for (sum, vector) in sums.iter_mut().zip(chunk.chunks_exact(S::LANES)) {
                // SAFETY: the chunk has a vector's floats.
                *sum = s.add(*sum, unsafe { s.load(vector.as_ptr()) });
            }
        }
        first_of_all(s, sums) + chunks.remainder().iter().sum::<f32>()
    }
}

/// One float that all vectors have a part in, so that none is left out.
#[inline(always)]
fn first_of_all<S: Simd>(s: S, vectors: [S::V; CHAINS]) -> f32 {
    let all = vectors.into_iter().fold(s.splat(0.0), |all, vector| s.add(all, vector));
    let mut first = 0.0;
    // SAFETY: one float is written.
    unsafe { s.store_partial(&raw mut first, all, 1) };
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::cpu::Isa;

    /// Neither speed is told, only that what is measured is computed: on each instruction set.
    #[test]
    fn what_is_measured_is_done() {
        let data: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            // x = x / 2 + 1 goes to 2 from everywhere.
            assert_eq!(dispatch(isa, MultiplyAdds(0.5)), 2.0 * CHAINS as f32);
            let lanes = isa.lanes();
            let whole = 1000 / (CHAINS * lanes) * (CHAINS * lanes);
            let expected = (0..whole).step_by(lanes).sum::<usize>() + (whole..1000).sum::<usize>();
            assert_eq!(dispatch(isa, Sum(&data)), expected as f32);
            let pool = ThreadPool::with_isa(2, isa).unwrap();
            assert!(peak_flops(&pool, Duration::ZERO) > 0.0);
            assert!(peak_read_bytes(&pool, &data, Duration::ZERO) > 0.0);
            assert_eq!(peak_read_bytes(&pool, &[], Duration::ZERO), 0.0);
        }
    }
}
