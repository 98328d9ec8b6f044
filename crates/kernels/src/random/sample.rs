//! Samples of gamma, Poisson and binomial distributions, of one or more sets of parameters, by rejection: each sample has
//! steps of the generator set aside, so that it does not matter how many it takes nor which thread draws it.
//!
//! Outputs are `[samples, parameters]`. Methods: G. Marsaglia and W. Tsang, A Simple Method for Generating Gamma
//! Variables; W. Hörmann, The Transformed Rejection Method for Generating Poisson Random Variables, and The Generation of
//! Binomial Random Variates; D. Knuth for small rates. As in TensorFlow, down to the order in which numbers are drawn.

use bytemuck::Pod;
use half::{bf16, f16};
use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::{for_dtype, split_with_cost, values, values_mut};
use crate::base::error::{Result, ensure};
use crate::base::threads::ThreadPool;
use crate::elementwise::float::lgamma;
use crate::random::fill::{STEPS_PER_NUMBER, normal_f64, uniform_f64};
use crate::random::philox::Philox;

/// Elements touched that a sample is worth when work is shared out.
const SAMPLE_COST: usize = 200;

/// A number that parameters and samples are of.
pub(super) trait Number: Pod + Send + Sync {
    fn to_f64(self) -> f64;
    /// As C converts: through int64, of which what does not fit is the least.
    fn of_f64(x: f64) -> Self;
}

macro_rules! number {
    (floats $($T:ty: $to:expr, $of:expr;)*) => { $(
        impl Number for $T {
            fn to_f64(self) -> f64 { ($to)(self) }
            fn of_f64(x: f64) -> Self { ($of)(x) }
        }
    )* };
    (integers $($T:ty)*) => { $(
        impl Number for $T {
            fn to_f64(self) -> f64 { self as f64 }
            fn of_f64(x: f64) -> Self {
                let fits = x > i64::MIN as f64 && x < i64::MAX as f64;
                (if fits { x as i64 } else { i64::MIN }) as $T
            }
        }
    )* };
}

number! { floats
    f64: |x| x, |x| x;
    f32: |x| x as f64, |x| x as f32;
    f16: f16::to_f64, |x| f16::from_f32(x as f32);
    bf16: bf16::to_f64, |x| bf16::from_f32(x as f32);
}
number! { integers i32 i64 }

/// The numbers of a group that the last step gave, taken from the last to the first.
struct Backwards {
    group: [f64; 2],
    left: usize,
    draw: fn([u32; 4]) -> [f64; 2],
}

impl Backwards {
    fn new(draw: fn([u32; 4]) -> [f64; 2]) -> Self {
        Backwards { group: [0.0; 2], left: 0, draw }
    }

    fn next(&mut self, philox: &mut Philox) -> f64 {
        if self.left == 0 {
            self.group = (self.draw)(philox.next());
            self.left = self.group.len();
        }
        self.left -= 1;
        self.group[self.left]
    }
}

/// Fills `dst`, `[samples, parameters]`, with `draw(parameter, sample's generator)`.
fn fill<T: Number>(
    pool: &ThreadPool,
    philox: Philox,
    parameters: usize,
    dst: &mut [T],
    draw: &(impl Fn(usize, u64, Philox) -> f64 + Sync),
) {
    let samples = dst.len() / parameters.max(1);
    split_with_cost(pool, dst, 1, SAMPLE_COST, &|first, part| {
        for (n, to) in part.iter_mut().enumerate() {
            let at = first + n;
            let parameter = at % parameters;
            // Samples of one parameter follow each other in the generator.
            let number = (parameter * samples + at / parameters) as u64;
            *to = T::of_f64(draw(parameter, number, philox));
        }
    });
}

/// Draws samples of gamma distributions: for each of `alpha` as many as `dst`, of the same float type, has rows.
///
/// # Errors
/// [`KernelError::Invalid`](crate::KernelError::Invalid) where `dst` has no whole rows, and
/// [`KernelError::DType`](crate::KernelError::DType) for other types.
pub fn random_gamma(
    pool: &ThreadPool,
    philox: Philox,
    alpha: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "RandomGamma";
    ensure(alpha.dtype() == dst.dtype(), KERNEL, "all have one element type")?;
    for_dtype!(dst.dtype(), KERNEL, floats, T => {
        let alpha = values::<T>(alpha.bytes(), KERNEL)?;
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        check_rows(KERNEL, alpha.len(), dst.len())?;
        fill(pool, philox, alpha.len(), dst, &|parameter, number, philox| {
            let philox = philox.skipped(number.wrapping_mul(STEPS_PER_NUMBER));
            gamma(Number::to_f64(alpha[parameter]), philox)
        });
        Ok(())
    })
}

fn check_rows(kernel: &'static str, parameters: usize, samples: usize) -> Result<()> {
    let is_whole = samples == 0 || parameters > 0 && samples.is_multiple_of(parameters);
    ensure(is_whole, kernel, "each row of the output has a sample for each parameter")
}

fn gamma(alpha: f64, mut philox: Philox) -> f64 {
    let mut uniform = Backwards::new(uniform_f64);
    if alpha == 1.0 {
        return -(-uniform.next(&mut philox)).ln_1p();
    }
    let mut normal = Backwards::new(normal_f64);
    let is_below_one = alpha < 1.0;
    let d = alpha + if is_below_one { 2.0 / 3.0 } else { -1.0 / 3.0 };
    let c = 1.0 / 3.0 / d.sqrt();
    loop {
        let x = normal.next(&mut philox);
        let v = 1.0 + c * x;
        if v <= 0.0 {
            continue;
        }
        let v = v * v * v;
        let u = uniform.next(&mut philox);
        let is_sure = u < 1.0 - 0.0331 * (x * x) * (x * x);
        if is_sure || u.ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
            let power = if is_below_one { uniform.next(&mut philox).powf(1.0 / alpha) } else { 1.0 };
            return d * v * power;
        }
    }
}

/// Draws samples of Poisson distributions: for each of `rate` (float16, float32, float64, int32 or int64) as many as
/// `dst` (one of these types) has rows.
///
/// # Errors
/// As [`random_gamma`].
pub fn random_poisson(
    pool: &ThreadPool,
    philox: Philox,
    rate: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "RandomPoisson";
    let is_integer = dst.dtype().is_integer();
    for_dtype!(dst.dtype(), KERNEL, [F16, F32, F64, I32, I64], T => {
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        for_dtype!(rate.dtype(), KERNEL, [F16, F32, F64, I32, I64], R => {
            let rate = values::<R>(rate.bytes(), KERNEL)?;
            check_rows(KERNEL, rate.len(), dst.len())?;
            fill(pool, philox, rate.len(), dst, &|parameter, number, philox| {
                let philox = philox.skipped(number.wrapping_mul(STEPS_PER_NUMBER));
                let count = poisson(Number::to_f64(rate[parameter]), philox);
                // An integer has no infinity, of which TensorFlow makes 0.
                if count.is_infinite() && is_integer { 0.0 } else { count }
            });
            Ok(())
        })
    })
}

fn poisson(rate: f64, mut philox: Philox) -> f64 {
    let mut uniform = Backwards::new(uniform_f64);
    // Neither a number that is none nor infinity is ever accepted.
    if rate.is_nan() || rate == f64::INFINITY {
        return rate;
    }
    if rate < 10.0 {
        let least = (-rate).exp();
        let (mut product, mut count) = (1.0, 0.0);
        loop {
            product *= uniform.next(&mut philox);
            if product <= least {
                return count;
            }
            count += 1.0;
        }
    }
    let log_rate = rate.ln();
    let b = 0.931 + 2.53 * rate.sqrt();
    let a = -0.059 + 0.02483 * b;
    let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    loop {
        let u = uniform.next(&mut philox) - 0.5;
        let v = uniform.next(&mut philox);
        let shifted = 0.5 - u.abs();
        let k = ((2.0 * a / shifted + b) * u + rate + 0.43).floor();
        if shifted >= 0.07 && v <= 0.9277 - 3.6224 / (b - 2.0) {
            return k;
        }
        if k < 0.0 || shifted < 0.013 && v > shifted {
            continue;
        }
        let s = (v * inverse_alpha / (a / (shifted * shifted) + b)).ln();
        if s <= -rate + k * log_rate - lgamma(k + 1.0) {
            return k;
        }
    }
}

/// Where the parameters of each column of the output are: `counts[index(0, i)]`, `probabilities[index(1, i)]`.
pub type ParameterIndex<'a> = &'a (dyn Fn(usize, usize) -> usize + Sync);

/// Draws samples of binomial distributions: `columns` of them, of `counts` and `probabilities` (float16, float32 or
/// float64, both of one type), as many of each as `dst` (one of these, int32 or int64) has rows.
///
/// # Errors
/// As [`random_gamma`].
pub fn random_binomial(
    pool: &ThreadPool,
    philox: Philox,
    [counts, probabilities]: [TensorView<'_>; 2],
    columns: usize,
    index: ParameterIndex<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "RandomBinomial";
    ensure(counts.dtype() == probabilities.dtype(), KERNEL, "the parameters are of one type")?;
    for_dtype!(dst.dtype(), KERNEL, [F16, F32, F64, I32, I64], T => {
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        check_rows(KERNEL, columns, dst.len())?;
        for_dtype!(counts.dtype(), KERNEL, [F16, F32, F64], P => {
            let counts = values::<P>(counts.bytes(), KERNEL)?;
            let probabilities = values::<P>(probabilities.bytes(), KERNEL)?;
            // In the parameters' own type, as the choice of the method follows from it.
            let times = |a: f64, b: f64| Number::to_f64(<P as Number>::of_f64(a * b));
            fill(pool, philox, columns, dst, &|column, number, philox| {
                let count = Number::to_f64(counts[index(0, column)]);
                let p = Number::to_f64(probabilities[index(1, column)]);
                let draw = |p: f64| {
                    if times(count, p) >= 10.0 {
                        by_rejection(count, p, philox.skipped(number.wrapping_mul(STEPS_PER_NUMBER)))
                    } else {
                        by_inversion(count, p, philox.skipped(number.wrapping_mul(INVERSION_STEPS)))
                    }
                };
                if count <= 0.0 || p <= 0.0 {
                    0.0
                } else if p >= 1.0 {
                    count
                } else if count.is_nan() || p.is_nan() {
                    f64::NAN
                } else if p <= 0.5 {
                    draw(p)
                } else {
                    count - draw(Number::to_f64(<P as Number>::of_f64(1.0 - p)))
                }
            });
            Ok(())
        })
    })
}

/// Steps set aside for a sample of a mean below 10.
const INVERSION_STEPS: u64 = 42;

fn by_inversion(count: f64, p: f64, mut philox: Philox) -> f64 {
    let mut uniform = Backwards::new(uniform_f64);
    let (mut sum, mut drawn) = (0.0, 0.0);
    loop {
        sum += (uniform.next(&mut philox).ln() / (-p).ln_1p()).ceil();
        // Also where the sum is NaN: more would not change it.
        if !(sum <= count) {
            return drawn;
        }
        drawn += 1.0;
    }
}

fn stirling_tail(k: f64) -> f64 {
    const TAILS: [f64; 10] = [
        0.081_061_466_795_327_2,
        0.041_340_695_955_409_2,
        0.027_677_925_684_998_3,
        0.020_790_672_103_765_09,
        0.016_644_691_189_821_1,
        0.013_876_128_823_070_7,
        0.011_896_709_945_891_7,
        0.010_411_265_261_972_0,
        0.009_255_462_182_712_73,
        0.008_330_563_433_362_87,
    ];
    if k <= 9.0 {
        return TAILS[k.max(0.0) as usize];
    }
    let square = (k + 1.0) * (k + 1.0);
    (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / 1260.0 / square) / square) / (k + 1.0)
}

fn by_rejection(count: f64, p: f64, mut philox: Philox) -> f64 {
    let mut uniform = Backwards::new(uniform_f64);
    let deviation = (count * p * (1.0 - p)).sqrt();
    let b = 1.15 + 2.53 * deviation;
    let a = -0.0873 + 0.0248 * b + 0.01 * p;
    let c = count * p + 0.5;
    let v_r = 0.92 - 4.2 / b;
    let r = p / (1.0 - p);
    let alpha = (2.83 + 5.1 / b) * deviation;
    let m = ((count + 1.0) * p).floor();
    loop {
        let u = uniform.next(&mut philox);
        let v = uniform.next(&mut philox);
        let u = u - 0.5;
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + c).floor();
        if us >= 0.07 && v <= v_r {
            return k;
        }
        if k < 0.0 || k > count {
            continue;
        }
        let v = (v * alpha / (a / (us * us) + b)).ln();
        let bound = (m + 0.5) * ((m + 1.0) / (r * (count - m + 1.0))).ln()
            + (count + 1.0) * ((count - m + 1.0) / (count - k + 1.0)).ln()
            + (k + 0.5) * (r * (count - k + 1.0) / (k + 1.0)).ln()
            + stirling_tail(m)
            + stirling_tail(count - m)
            - stirling_tail(k)
            - stirling_tail(count - k);
        if v <= bound {
            return k;
        }
    }
}
