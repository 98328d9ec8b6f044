//! Normal distributions cut off at both ends, each batch of samples with a mean, deviation and ends of its own: by
//! rejection from a normal, a uniform or an exponential distribution, whichever accepts the most.
//!
//! C. Robert, Simulation of Truncated Normal Variables. As in TensorFlow, in the type's own arithmetic, and down to the
//! order in which numbers are drawn.

use bytemuck::Pod;
use half::f16;
use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::{for_dtype, values, values_mut};
use crate::base::error::{Result, ensure};
use crate::random::fill::{normal_f32, normal_f64, uniform_f64, unit_f16};
use crate::random::philox::{Philox, unit_f32};

/// How often in a row a sample may be refused.
pub const TRUNCATED_ITERATIONS: u64 = 1000;

/// With so many deviations inside of the ends, the normal distribution is sampled.
const NORMAL_FROM: f64 = 1.3;

/// f16, f32 or f64, with what TensorFlow computes in each.
trait Real:
    Pod
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
{
    /// Numbers of one step.
    const GROUP: usize;
    fn of(x: f64) -> Self;
    fn sqrt(self) -> Self;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
    fn is_finite(self) -> bool;
    fn uniform(x: [u32; 4]) -> [Self; 4];
    fn normal(x: [u32; 4]) -> [Self; 4];
}

fn two([a, b]: [f64; 2]) -> [f64; 4] {
    [a, b, 0.0, 0.0]
}

macro_rules! real {
    ($T:ty, $group:literal, $of:expr, $apply:ident, $uniform:expr, $normal:expr) => {
        impl Real for $T {
            const GROUP: usize = $group;
            fn of(x: f64) -> Self {
                $of(x)
            }
            fn sqrt(self) -> Self {
                real!(@$apply self, sqrt)
            }
            fn exp(self) -> Self {
                real!(@$apply self, exp)
            }
            fn ln(self) -> Self {
                real!(@$apply self, ln)
            }
            fn is_finite(self) -> bool {
                <$T>::is_finite(self)
            }
            fn uniform(x: [u32; 4]) -> [Self; 4] {
                $uniform(x)
            }
            fn normal(x: [u32; 4]) -> [Self; 4] {
                $normal(x)
            }
        }
    };
    (@native $x:expr, $f:ident) => { <Self>::$f($x) };
    (@widened $x:expr, $f:ident) => { f16::from_f32($x.to_f32().$f()) };
}

mod floats {
    use super::*;
    real!(f32, 4, |x| x as f32, native, |x: [u32; 4]| x.map(unit_f32), normal_f32);
    real!(f64, 2, |x| x, native, |x| two(uniform_f64(x)), |x| two(normal_f64(x)));
    real!(f16, 4, f16::from_f64, widened, |x: [u32; 4]| x.map(unit_f16), |x| normal_f32(x)
        .map(f16::from_f32));
}

/// Fills `dst` (float16, float32 or float64) in so many batches of `batch` samples, the last of which may be short.
/// `parameters` are means, deviations, least and greatest values, of the output's type, each one number for all batches
/// or one for each.
///
/// # Errors
/// [`KernelError::Invalid`](crate::KernelError::Invalid) for parameters that describe no distribution or of which hardly
/// a sample is accepted, [`KernelError::DType`](crate::KernelError::DType) for other types.
pub fn truncated_normal(
    philox: Philox,
    parameters: [TensorView<'_>; 4],
    [batches, batch]: [usize; 2],
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    let is_typed = parameters.iter().all(|p| p.dtype() == dst.dtype());
    ensure(is_typed, KERNEL, "the parameters have the output's type")?;
    for_dtype!(dst.dtype(), KERNEL, [F16, F32, F64], T => {
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        let [means, deviations, least, greatest] = parameters.map(|p| values::<T>(p.bytes(), KERNEL));
        let of = [means?, deviations?, least?, greatest?];
        let fits = of.iter().all(|of| of.len() == 1 || of.len() >= batches);
        ensure(fits, KERNEL, "there is one parameter for all batches, or one for each")?;
        ensure(batches.saturating_mul(batch) >= dst.len(), KERNEL, "the batches are as many as the output has")?;
        let mut philox = philox;
        let mut chunks = dst.chunks_mut(batch.max(1));
        // Parameters are held to make sense where there is nothing to draw too; equal ones once.
        let longest = of.iter().map(|of| of.len()).max().unwrap_or(0);
        for n in 0..if chunks.len() == 0 { batches.min(longest) } else { batches } {
            let [mean, deviation, least, greatest] = of.map(|of| if of.len() == 1 { of[0] } else { of[n] });
            let ends = Ends::new(mean, deviation, least, greatest)?;
            fill(&mut philox, ends, chunks.next().unwrap_or_default())?;
        }
        Ok(())
    })
}

const KERNEL: &str = "ParameterizedTruncatedNormal";

/// A distribution by its ends in deviations from the mean, turned round so that the far end is above.
struct Ends<T> {
    mean: T,
    deviation: T,
    low: T,
    high: T,
}

impl<T: Real> Ends<T> {
    fn new(mean: T, deviation: T, least: T, greatest: T) -> Result<Ends<T>> {
        let zero = T::of(0.0);
        let is_cut = least.is_finite() || greatest.is_finite();
        let is_valid = deviation > zero && least < greatest && is_cut;
        ensure(is_valid, KERNEL, "the deviation is above 0, the ends rise, and one of them is finite")?;
        let is_turned = !least.is_finite() && least < zero || greatest < mean;
        let (least, greatest, deviation) =
            if is_turned { (greatest, least, -deviation) } else { (least, greatest, deviation) };
        let [low, high] = [least, greatest].map(|end| (end - mean) / deviation);
        Ok(Ends { mean, deviation, low, high })
    }
}

/// Counts the samples that were refused in a row.
struct Refused(u64);

impl Refused {
    fn one_more(&mut self, most: u64) -> Result<()> {
        self.0 += 1;
        ensure(self.0 < most, KERNEL, "a sample is accepted now and then")
    }
}

fn fill<T: Real>(philox: &mut Philox, ends: Ends<T>, dst: &mut [T]) -> Result<()> {
    let c = T::of;
    let Ends { low, high, .. } = ends;
    let root = (low * low + c(4.0)).sqrt();
    let cutoff = c(2.0) * (c(0.5) + (low * (low - root)) / c(4.0)).exp() / (low + root);
    let inside = c(NORMAL_FROM);
    if low < -inside && high >= c(0.0) || high > inside && low <= c(0.0) {
        from_normal(philox, ends, dst)
    } else if high - low < cutoff {
        from_uniform(philox, ends, dst)
    } else {
        from_exponential(philox, ends, dst)
    }
}

fn from_normal<T: Real>(philox: &mut Philox, ends: Ends<T>, dst: &mut [T]) -> Result<()> {
    let mut refused = Refused(0);
    let mut done = 0;
    while done < dst.len() {
        for x in &T::normal(philox.next())[..T::GROUP] {
            if *x >= ends.low && *x <= ends.high {
                dst[done] = *x * ends.deviation + ends.mean;
                done += 1;
                if done == dst.len() {
                    break;
                }
                refused = Refused(0);
            } else {
                refused.one_more(TRUNCATED_ITERATIONS + 1)?;
            }
        }
    }
    Ok(())
}

fn from_uniform<T: Real>(philox: &mut Philox, ends: Ends<T>, dst: &mut [T]) -> Result<()> {
    let (low, range) = (ends.low, ends.high - ends.low);
    let plus = if low < T::of(0.0) { T::of(0.0) } else { low * low };
    let mut refused = Refused(0);
    let mut done = 0;
    while done < dst.len() {
        let (places, chances) = (T::uniform(philox.next()), T::uniform(philox.next()));
        for (place, chance) in places.iter().zip(chances).take(T::GROUP) {
            let z = *place * range + low;
            if chance <= ((plus - z * z) / T::of(2.0)).exp() {
                dst[done] = z * ends.deviation + ends.mean;
                done += 1;
                if done == dst.len() {
                    break;
                }
                refused = Refused(0);
            } else {
                refused.one_more(TRUNCATED_ITERATIONS)?;
            }
        }
    }
    Ok(())
}

fn from_exponential<T: Real>(philox: &mut Philox, ends: Ends<T>, dst: &mut [T]) -> Result<()> {
    let (c, low) = (T::of, ends.low);
    let alpha = (low + (low * low + c(4.0)).sqrt()) / c(2.0);
    let mut refused = Refused(0);
    let mut done = 0;
    while done < dst.len() {
        for pair in T::uniform(philox.next())[..T::GROUP].chunks_exact(2) {
            let z = -pair[0].ln() / alpha + low;
            let x = if low < alpha { alpha - z } else { low - alpha };
            let chance = (-x * x / c(2.0)).exp();
            if pair[1] <= chance && z < ends.high {
                dst[done] = z * ends.deviation + ends.mean;
                done += 1;
                if done == dst.len() {
                    break;
                }
                refused = Refused(0);
            } else {
                refused.one_more(TRUNCATED_ITERATIONS)?;
            }
        }
    }
    Ok(())
}
