//! Tensors of independent random numbers: uniform and normal floats, integers of a range or of all bits.
//!
//! The numbers come in groups, as many as one step of the generator gives. Where a number takes as many steps as it takes
//! until one is accepted, each group has steps of its own set aside. So each group can be computed by itself, and the
//! result does not depend on the number of threads.

use half::{bf16, f16};
use tightfit_core::{DType, TensorViewMut};

use crate::base::access::{split_with_cost, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;
use crate::random::philox::{Philox, PhiloxStream, unit_f32, unit_f64};

/// Steps of the generator that are set aside for one number where it is not known how many it takes.
pub const STEPS_PER_NUMBER: u64 = 256;

/// What a tensor is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Floats in `[0, 1)`.
    Uniform,
    /// Floats of the standard normal distribution.
    Normal,
    /// The same, those outside of -2 to 2 drawn again.
    TruncatedNormal,
    /// int32 or int64, `low` and above, below `high`.
    Integers {
        /// The least.
        low: i64,
        /// One more than the greatest.
        high: i64,
    },
    /// int32, int64, uint32 or uint64 of random bits.
    Bits,
}

/// Elements touched that a group of four numbers is worth when work is shared out.
const GROUP_COST: usize = 64;

/// Fills `dst` from where `philox` stands.
///
/// # Errors
/// [`KernelError::DType`] for a type that the distribution is not of, [`KernelError::Invalid`] for an empty range.
pub fn random_fill(
    pool: &ThreadPool,
    philox: Philox,
    distribution: Distribution,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "random numbers";
    let dtype = dst.dtype();
    let bytes = dst.bytes();
    /// Fills with groups that each take one step, or with those that have steps set aside.
    macro_rules! groups {
        ($T:ty, $G:literal, $group:expr) => {
            groups!($T, $G, 1, |mut philox: Philox| $group(philox.next()))
        };
        ($T:ty, $G:literal, $steps:expr, $group:expr) => {{
            let dst = values_mut::<$T>(bytes, KERNEL)?;
            fill_groups::<$T, $G>(pool, philox, $steps, dst, &$group);
            Ok(())
        }};
    }
    const ASIDE_4: u64 = STEPS_PER_NUMBER;
    const ASIDE_2: u64 = STEPS_PER_NUMBER / 2;
    match (distribution, dtype) {
        (Distribution::Uniform, DType::F32) => groups!(f32, 4, |x: [u32; 4]| x.map(unit_f32)),
        (Distribution::Uniform, DType::F64) => groups!(f64, 2, uniform_f64),
        (Distribution::Uniform, DType::F16) => groups!(f16, 4, |x: [u32; 4]| x.map(unit_f16)),
        (Distribution::Uniform, DType::BF16) => groups!(bf16, 4, |x: [u32; 4]| x.map(unit_bf16)),
        (Distribution::Normal, DType::F32) => groups!(f32, 4, normal_f32),
        (Distribution::Normal, DType::F64) => groups!(f64, 2, normal_f64),
        (Distribution::Normal, DType::F16) => groups!(f16, 4, |x| normal_f32(x).map(f16::from_f32)),
        (Distribution::Normal, DType::BF16) => groups!(bf16, 4, |x| normal_f32(x).map(bf16::from_f32)),
        (Distribution::TruncatedNormal, DType::F32) => groups!(f32, 4, ASIDE_4, truncated_f32),
        (Distribution::TruncatedNormal, DType::F64) => groups!(f64, 2, ASIDE_2, truncated_f64),
        (Distribution::TruncatedNormal, DType::F16) => {
            groups!(f16, 4, ASIDE_4, |philox| truncated_f32(philox).map(f16::from_f32))
        }
        (Distribution::TruncatedNormal, DType::BF16) => {
            groups!(bf16, 4, ASIDE_4, |philox| truncated_f32(philox).map(bf16::from_f32))
        }
        (Distribution::Integers { low, high }, DType::I32 | DType::I64) => {
            ensure(low < high, KERNEL, "the least is less than the bound")?;
            let range = high.wrapping_sub(low) as u64;
            if dtype == DType::I64 {
                return groups!(i64, 2, |x| pairs(x).map(|bits| low.wrapping_add((bits % range) as i64)));
            }
            let range = range as u32;
            groups!(i32, 4, |x: [u32; 4]| x.map(|bits| (low as i32).wrapping_add((bits % range) as i32)))
        }
        (Distribution::Bits, DType::U32 | DType::I32) => groups!(u32, 4, |x| x),
        (Distribution::Bits, DType::U64 | DType::I64) => groups!(u64, 2, pairs),
        _ => Err(KernelError::DType { kernel: KERNEL, dtype }),
    }
}

/// Fills `dst` with groups, the n-th drawn by `group` from `n * steps` steps after where `philox` stands.
fn fill_groups<T: Copy + Send, const G: usize>(
    pool: &ThreadPool,
    philox: Philox,
    steps: u64,
    dst: &mut [T],
    group: &(impl Fn(Philox) -> [T; G] + Sync),
) {
    let full = dst.len() / G;
    let at = |n: usize| philox.skipped((n as u64).wrapping_mul(steps));
    let (whole, rest) = dst.split_at_mut(full * G);
    split_with_cost(pool, whole, G, GROUP_COST, &|first, part| {
        for (n, to) in part.chunks_exact_mut(G).enumerate() {
            to.copy_from_slice(&group(at(first + n)));
        }
    });
    if !rest.is_empty() {
        rest.copy_from_slice(&group(at(full))[..rest.len()]);
    }
}

/// Numbers of 64 bits, the lower half first.
fn pairs(x: [u32; 4]) -> [u64; 2] {
    [x[0] as u64 | (x[1] as u64) << 32, x[2] as u64 | (x[3] as u64) << 32]
}

/// A float16 in `[0, 1)` of 10 random bits.
pub(super) fn unit_f16(bits: u32) -> f16 {
    f16::from_bits(0x3c00 | bits as u16 & 0x3ff) - f16::ONE
}

fn unit_bf16(bits: u32) -> bf16 {
    bf16::from_bits(0x3f80 | bits as u16 & 0x7f) - bf16::ONE
}

/// Two uniform numbers of one step.
pub(super) fn uniform_f64(x: [u32; 4]) -> [f64; 2] {
    [unit_f64(x[0], x[1]), unit_f64(x[2], x[3])]
}

/// The least number whose logarithm is taken.
const LEAST: f64 = 1e-7;

/// Two independent normal numbers of two uniform ones, by Box and Muller.
pub(crate) fn box_muller_f32(a: u32, b: u32) -> [f32; 2] {
    let radius = (-2.0 * unit_f32(a).max(LEAST as f32).ln()).sqrt();
    let angle = (2.0 * std::f64::consts::PI * unit_f32(b) as f64) as f32;
    [angle.sin() * radius, angle.cos() * radius]
}

/// Four normal numbers of one step.
pub(super) fn normal_f32(x: [u32; 4]) -> [f32; 4] {
    let ([a, b], [c, d]) = (box_muller_f32(x[0], x[1]), box_muller_f32(x[2], x[3]));
    [a, b, c, d]
}

/// Two normal numbers of one step.
pub(super) fn normal_f64(x: [u32; 4]) -> [f64; 2] {
    let [a, b] = uniform_f64(x);
    let radius = (-2.0 * a.max(LEAST).ln()).sqrt();
    let angle = 2.0 * std::f64::consts::PI * b;
    [angle.sin() * radius, angle.cos() * radius]
}

/// Where the truncated normal distribution ends.
const END: f64 = 2.0;

fn truncated_f32(philox: Philox) -> [f32; 4] {
    let mut stream = PhiloxStream::new(philox);
    let (mut found, mut count) = ([0.0; 4], 0);
    while count < found.len() {
        let first = stream.next_u32();
        for x in box_muller_f32(first, stream.next_u32()) {
            if x.abs() < END as f32 && count < found.len() {
                found[count] = x;
                count += 1;
            }
        }
    }
    found
}

fn truncated_f64(mut philox: Philox) -> [f64; 2] {
    let (mut found, mut count) = ([0.0; 2], 0);
    while count < found.len() {
        for x in normal_f64(philox.next()) {
            if x.abs() < END && count < found.len() {
                found[count] = x;
                count += 1;
            }
        }
    }
    found
}
