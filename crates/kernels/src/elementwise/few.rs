//! Elementwise functions of other forms: the incomplete beta function of three tensors, how many bits are set,
//! comparisons packed into bits, and whether two numbers are nearly equal.

use tightfit_core::{DType, TensorView, TensorViewMut};

use crate::base::access::{for_dtype, split, split_with_cost, values, values_mut};
use crate::base::error::{Result, ensure};
use crate::base::threads::ThreadPool;
use crate::elementwise::float::Float;
use crate::elementwise::special::gamma;
use crate::movement::Number;

/// Elements touched that one incomplete beta function is worth when work is shared out.
const BETA_COST: usize = 500;

/// The regularised incomplete beta function of `a` and `b` at `x` (float32 or float64); each has the output's shape or is
/// one number for all.
///
/// # Errors
/// [`KernelError::Invalid`](crate::KernelError::Invalid) for other shapes, and
/// [`KernelError::DType`](crate::KernelError::DType) for other types.
pub fn betainc(pool: &ThreadPool, [a, b, x]: [TensorView<'_>; 3], dst: &mut TensorViewMut<'_>) -> Result<()> {
    const KERNEL: &str = "Betainc";
    let is_typed = [a, b, x].iter().all(|of| of.dtype() == dst.dtype());
    ensure(is_typed, KERNEL, "all have one element type")?;
    for_dtype!(dst.dtype(), KERNEL, [F32, F64], T => {
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        let of = [values::<T>(a.bytes(), KERNEL)?, values(b.bytes(), KERNEL)?, values(x.bytes(), KERNEL)?];
        let fits = of.iter().all(|of| of.len() == 1 || of.len() == dst.len());
        ensure(fits, KERNEL, "each input has the output's shape, or one element")?;
        split_with_cost(pool, dst, 1, BETA_COST, &|first, dst| {
            for (n, to) in dst.iter_mut().enumerate() {
                let [a, b, x] = of.map(|of| if of.len() == 1 { of[0] } else { of[first + n] }.to_f64());
                *to = <T as Float>::of(gamma::betainc(a, b, x));
            }
        });
        Ok(())
    })
}

/// How many bits of each integer of `src` are 1, into the uint8 of `dst`.
///
/// # Errors
/// As [`betainc`].
pub fn population_count(pool: &ThreadPool, src: TensorView<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    const KERNEL: &str = "PopulationCount";
    for_dtype!(src.dtype(), KERNEL, integers, T => {
        let src = values::<T>(src.bytes(), KERNEL)?;
        let dst = values_mut::<u8>(dst.bytes(), KERNEL)?;
        ensure(src.len() == dst.len(), KERNEL, "the output has the input's shape")?;
        split(pool, dst, 1, &|first, dst| {
            dst.iter_mut().zip(&src[first..]).for_each(|(to, x)| *to = x.count_ones() as u8);
        });
        Ok(())
    })
}

/// Packs eight comparisons with `threshold`, one number of the same type, into each byte of `dst`, the first in the highest bit:
/// 1 where a number is above it. A bool is its own bit.
///
/// # Errors
/// As [`betainc`]; an error too where there are not eight numbers for each byte.
pub fn compare_and_bitpack(
    pool: &ThreadPool,
    [src, threshold]: [TensorView<'_>; 2],
    dst: &mut [u8],
) -> Result<()> {
    const KERNEL: &str = "CompareAndBitpack";
    ensure(src.dtype() == threshold.dtype(), KERNEL, "both have one type")?;
    if src.dtype() == DType::Bool {
        return pack_bits(pool, src.bytes(), &|bit| bit != 0, dst);
    }
    for_dtype!(src.dtype(), KERNEL, numbers, T => {
        let threshold = values::<T>(threshold.bytes(), KERNEL)?;
        ensure(threshold.len() == 1, KERNEL, "the threshold is one number")?;
        pack_bits(pool, values::<T>(src.bytes(), KERNEL)?, &|x| x > threshold[0], dst)
    })
}

fn pack_bits<T: Copy + Sync>(
    pool: &ThreadPool,
    src: &[T],
    is_set: &(dyn Fn(T) -> bool + Sync),
    dst: &mut [u8],
) -> Result<()> {
    let (src, rest) = src.as_chunks::<8>();
    let fits = rest.is_empty() && src.len() == dst.len();
    ensure(fits, "CompareAndBitpack", "there are eight numbers for each byte")?;
    split(pool, dst, 1, &|first, dst| {
        for (to, eight) in dst.iter_mut().zip(&src[first..]) {
            *to = eight.iter().fold(0, |byte, x| byte << 1 | u8::from(is_set(*x)));
        }
    });
    Ok(())
}

/// The gradient of a leaky rectifier: that of the output where the input is above 0, and `alpha` of it elsewhere. Numbers of one
/// type and size; `alpha` is one of that type.
///
/// # Errors
/// As [`betainc`].
pub fn leaky_relu_gradient(
    pool: &ThreadPool,
    alpha: f32,
    [gradient, input]: [TensorView<'_>; 2],
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "LeakyReluGrad";
    ensure(gradient.dtype() == dst.dtype() && input.dtype() == dst.dtype(), KERNEL, "all have one type")?;
    for_dtype!(dst.dtype(), KERNEL, numbers, T => {
        let (gradient, input) = (values::<T>(gradient.bytes(), KERNEL)?, values::<T>(input.bytes(), KERNEL)?);
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        ensure(gradient.len() == dst.len() && input.len() == dst.len(), KERNEL, "all have one size")?;
        let [zero, one, alpha] = [0.0, 1.0, f64::from(alpha)].map(<T as Number>::of);
        split(pool, dst, 1, &|first, dst| {
            for (to, (dy, x)) in dst.iter_mut().zip(gradient[first..].iter().zip(&input[first..])) {
                // What a multiplication takes for 0 is not above it, in halves too.
                *to = if x.product(one) > zero { *dy } else { dy.product(alpha) };
            }
        });
        Ok(())
    })
}

/// Whether the elements of `a` and `b` (float32 or float64, of one shape) differ by less than `tolerance`.
///
/// # Errors
/// As [`betainc`].
pub fn approximate_equal(
    pool: &ThreadPool,
    a: TensorView<'_>,
    b: TensorView<'_>,
    tolerance: f32,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "ApproximateEqual";
    ensure(a.dtype() == b.dtype(), KERNEL, "both have one element type")?;
    for_dtype!(a.dtype(), KERNEL, [F32, F64], T => {
        let (a, b) = (values::<T>(a.bytes(), KERNEL)?, values::<T>(b.bytes(), KERNEL)?);
        let dst = values_mut::<u8>(dst.bytes(), KERNEL)?;
        ensure(a.len() == dst.len() && b.len() == dst.len(), KERNEL, "all have one shape")?;
        #[allow(clippy::unnecessary_cast)] // one of the types is float32 already
        let tolerance = tolerance as T;
        split(pool, dst, 1, &|first, dst| {
            let pairs = a[first..].iter().zip(&b[first..]);
            dst.iter_mut().zip(pairs).for_each(|(to, (a, b))| *to = ((a - b).abs() <= tolerance) as u8);
        });
        Ok(())
    })
}
