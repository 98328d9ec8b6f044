//! Numbers rounded to what quantised integers can express: TensorFlow's QuantizeAndDequantize.

use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::{split, values, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;

/// How halves are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To the even integer.
    HalfToEven,
    /// Up.
    HalfUp,
}

/// The integers that numbers are rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimulatedRange {
    /// There are negative ones.
    pub is_signed: bool,
    /// How many bits they have, 1 to 62.
    pub bits: u32,
    /// The lowest one of signed integers is not used.
    pub is_narrow: bool,
    /// How halves are rounded.
    pub rounding: Rounding,
}

/// f32 or f64, as far as it is needed here.
trait Real: bytemuck::Pod + Send + Sync + PartialOrd {
    const MAX: Self;
    fn of(x: f64) -> Self;
    fn times(self, x: Self) -> Self;
    fn over(self, x: Self) -> Self;
    fn rounded(self, how: Rounding) -> Self;
}

macro_rules! real {
    ($($T:ty),*) => {
        $(impl Real for $T {
            const MAX: Self = <$T>::MAX;
            fn of(x: f64) -> Self {
                x as $T
            }
            #[inline(always)]
            fn times(self, x: Self) -> Self {
                self * x
            }
            fn over(self, x: Self) -> Self {
                self / x
            }
            #[inline(always)]
            fn rounded(self, how: Rounding) -> Self {
                match how {
                    Rounding::HalfToEven => self.round_ties_even(),
                    Rounding::HalfUp => (self + 0.5).floor(),
                }
            }
        })*
    };
}

real!(f32, f64);

impl SimulatedRange {
    /// Scale, its inverse, and the ends that the integers have.
    fn scale<T: Real>(&self, min: T, max: T) -> (T, T, T, T) {
        let lowest = match self.is_signed {
            true => -(1i64 << (self.bits - 1)) + self.is_narrow as i64,
            false => 0,
        };
        let highest = if self.is_signed { (1i64 << (self.bits - 1)) - 1 } else { (1i64 << self.bits) - 1 };
        let (lowest, highest, zero) = (T::of(lowest as f64), T::of(highest as f64), T::of(0.0));
        let side = |end: T, of: T| if end.times(of) > zero { end.over(of) } else { T::MAX };
        let (low, high) = (side(lowest, min), side(highest, max));
        if low < high {
            let inverse = min.over(lowest);
            (low, inverse, min, highest.times(inverse))
        } else {
            let inverse = max.over(highest);
            (high, inverse, lowest.times(inverse), max)
        }
    }
}

/// Rounds each element of `src`, float32 or float64. `ends` are the minimum and the maximum, one, or one for each slice
/// along `axis`; without them they are those of the elements.
///
/// # Errors
/// [`KernelError`] for a minimum above its maximum, and for lengths or types that do not go together.
pub fn simulate_quantization(
    pool: &ThreadPool,
    range: SimulatedRange,
    src: TensorView<'_>,
    axis: Option<usize>,
    ends: Option<(TensorView<'_>, TensorView<'_>)>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    match src.dtype() {
        tightfit_core::DType::F32 => simulate::<f32>(pool, range, src, axis, ends, dst),
        tightfit_core::DType::F64 => simulate::<f64>(pool, range, src, axis, ends, dst),
        dtype => Err(KernelError::DType { kernel: KERNEL, dtype }),
    }
}

const KERNEL: &str = "QuantizeAndDequantize";

fn simulate<T: Real>(
    pool: &ThreadPool,
    range: SimulatedRange,
    src: TensorView<'_>,
    axis: Option<usize>,
    ends: Option<(TensorView<'_>, TensorView<'_>)>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    ensure((1..=62).contains(&range.bits), KERNEL, "there are 1 to 62 bits")?;
    let shape = *src.shape();
    let (outer, count, inner) = match axis {
        Some(axis) if axis < shape.rank() => {
            (shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product())
        }
        _ => (1usize, 1usize, shape.elements()),
    };
    let (src, dst) = (values::<T>(src.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?);
    ensure(src.len() == dst.len(), KERNEL, "the input and the output have as many elements")?;
    let ends = match ends {
        Some((min, max)) => {
            let (min, max) = (values::<T>(min.bytes(), KERNEL)?, values::<T>(max.bytes(), KERNEL)?);
            ensure(min.len() == count && max.len() == count, KERNEL, "there is a range for each slice")?;
            Some((min, max))
        }
        None => None,
    };
    for slice in 0..count {
        let parts = (0..outer).map(|n| (n * count + slice) * inner);
        let (min, max) = match ends {
            Some((min, max)) => (min[slice], max[slice]),
            None => {
                let mut found: Option<(T, T)> = None;
                for x in parts.clone().flat_map(|at| &src[at..at + inner]) {
                    let (min, max) = found.unwrap_or((*x, *x));
                    found = Some((if *x < min { *x } else { min }, if *x > max { *x } else { max }));
                }
                found.unwrap_or((T::of(0.0), T::of(0.0)))
            }
        };
        ensure(ends.is_none() || min <= max, KERNEL, "no minimum is above its maximum")?;
        let (scale, inverse, low, high) = range.scale(min, max);
        let has_ends = ends.is_some();
        for at in parts {
            let src = &src[at..at + inner];
            split(pool, &mut dst[at..at + inner], 1, &|first, dst| {
                for (dst, x) in dst.iter_mut().zip(&src[first..]) {
                    let mut x = *x;
                    if has_ends {
                        // NaN stays, and so does the sign of a zero.
                        x = if high < x { high } else { x };
                        x = if x < low { low } else { x };
                    }
                    *dst = x.times(scale).rounded(range.rounding).times(inverse);
                }
            });
        }
    }
    Ok(())
}
