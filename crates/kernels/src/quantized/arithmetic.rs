//! Sums, products, bounds and averages of quantised integers.

use tightfit_core::{DType, TensorView, TensorViewMut};

use super::range::QuantizedRange;
use crate::base::access::{for_dtype, split, split_with_cost, values, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::threads::ThreadPool;
use crate::base::window::Window;

/// The range of the int32 sums of two ranges: wide enough for both, and for `headroom` times as much.
pub fn quantized_sum_range(a: &QuantizedRange, b: &QuantizedRange, headroom: u32) -> (f32, f32) {
    // As C++'s max has it of NaN: the first one is it.
    let larger = |a: f32, b: f32| if a < b { b } else { a };
    let largest = larger(larger(a.max, -a.min), larger(b.max, -b.min));
    let max = largest * headroom as f32;
    (-max, max)
}

/// The headroom that TensorFlow gives the sums of two tensors.
pub const SUM_HEADROOM: u32 = 1 << 14;
/// The headroom that TensorFlow gives the sums with a bias.
pub const BIAS_HEADROOM: u32 = 1 << 17;

/// Integers of one range as int32 of another: that of the integer 0, and what each integer more adds.
fn line(from: &QuantizedRange, to: &QuantizedRange) -> (i64, i64) {
    let first = to.unclamped(from.float(0));
    let next = to.unclamped(from.float(1));
    (first, next.wrapping_sub(first) as i32 as i64)
}

/// Calls `f(element of a, element of b)` for each element of `dst`; the shorter of both is repeated.
fn pairs<T: Send>(
    pool: &ThreadPool,
    (a, b): (&[u8], &[u8]),
    dst: &mut [T],
    f: &(dyn Fn(u8, u8) -> T + Sync),
) -> Result<()> {
    let fits = |x: &[u8]| x.len() == dst.len() || (!x.is_empty() && dst.len().is_multiple_of(x.len()));
    ensure(fits(a) && fits(b), "QuantizedAdd", "the shapes go together")?;
    split(pool, dst, 1, &|first, dst| {
        for (at, to) in (first..).zip(dst.iter_mut()) {
            *to = f(a[at % a.len()], b[at % b.len()]);
        }
    });
    Ok(())
}

/// Adds uint8 of two ranges, to int32 of the range [`quantized_sum_range`] with [`SUM_HEADROOM`]. The shorter is repeated.
///
/// # Errors
/// [`KernelError`] for lengths that do not go together.
pub fn quantized_add(
    pool: &ThreadPool,
    (a, a_range): (&[u8], QuantizedRange),
    (b, b_range): (&[u8], QuantizedRange),
    dst: &mut [i32],
) -> Result<()> {
    let (min, max) = quantized_sum_range(&a_range, &b_range, SUM_HEADROOM);
    let to = QuantizedRange::new(DType::I32, min, max).ok_or(KernelError::Attribute("int32 is quantised"))?;
    let (of_a, of_b) = (line(&a_range, &to), line(&b_range, &to));
    let place = |(first, step): (i64, i64), x: u8| {
        first.wrapping_add(x as i64 * step).clamp(i32::MIN as i64, i32::MAX as i64) as i32
    };
    // One element alone is brought to the range by itself, all of a tensor along a line.
    let exact = |range: &QuantizedRange, x: u8| to.quantized(range.float(x as i64)) as i32;
    if let [one] = a {
        let one = exact(&a_range, *one);
        return pairs(pool, (a, b), dst, &|_, y| one.wrapping_add(place(of_b, y)));
    }
    if let [one] = b {
        let one = exact(&b_range, *one);
        return pairs(pool, (a, b), dst, &|x, _| place(of_a, x).wrapping_add(one));
    }
    pairs(pool, (a, b), dst, &|x, y| place(of_a, x).wrapping_add(place(of_b, y)))
}

/// Multiplies uint8 of two ranges, less what stands for 0 in each. The shorter is repeated.
///
/// # Errors
/// [`KernelError`] for lengths that do not go together.
pub fn quantized_mul(
    pool: &ThreadPool,
    (a, a_range): (&[u8], QuantizedRange),
    (b, b_range): (&[u8], QuantizedRange),
    dst: &mut [i32],
) -> Result<()> {
    let (a_zero, b_zero) = (a_range.unclamped(0.0) as i32, b_range.unclamped(0.0) as i32);
    pairs(pool, (a, b), dst, &|x, y| {
        (x as i32).wrapping_sub(a_zero).wrapping_mul((y as i32).wrapping_sub(b_zero))
    })
}

/// Adds a bias to each row of integers, both uint8 or int8, to int32 of the range [`quantized_sum_range`] with
/// [`BIAS_HEADROOM`].
///
/// # Errors
/// [`KernelError`] for lengths or types that do not go together.
pub fn quantized_bias_add(
    pool: &ThreadPool,
    (input, range): (TensorView<'_>, QuantizedRange),
    (bias, bias_range): (TensorView<'_>, QuantizedRange),
    dst: &mut [i32],
) -> Result<()> {
    const KERNEL: &str = "QuantizedBiasAdd";
    let (min, max) = quantized_sum_range(&range, &bias_range, BIAS_HEADROOM);
    let to = QuantizedRange::new(DType::I32, min, max).ok_or(KernelError::Attribute("int32 is quantised"))?;
    let zero = to.quantized(0.0) as i32;
    let ((factor, less), (low, high)) = (to.to_integers(), to.ends());
    let place = |(scale, offset): (f32, f32), x: f32| {
        (((offset + x * scale) * factor).round() - less).max(low).min(high) as i32
    };
    let (of_input, of_bias) = (range.to_floats(), bias_range.to_floats());
    for_dtype!(input.dtype(), KERNEL, [I8, U8], T => {
        let (input, bias) = (values::<T>(input.bytes(), KERNEL)?, values::<T>(bias.bytes(), KERNEL)?);
        ensure(input.len() == dst.len(), KERNEL, "the input and the output have as many elements")?;
        ensure(dst.is_empty() || !bias.is_empty() && dst.len().is_multiple_of(bias.len()), KERNEL, "the bias fits")?;
        split(pool, dst, 1, &|first, dst| {
            for (at, to) in (first..).zip(dst.iter_mut()) {
                let bias = place(of_bias, bias[at % bias.len()] as f32).wrapping_add(zero);
                *to = place(of_input, input[at] as f32).wrapping_add(bias);
            }
        });
        Ok(())
    })
}

/// Keeps integers, uint8 or int32, within two bounds.
///
/// # Errors
/// [`KernelError`] for lengths or types that do not go together.
pub fn quantized_clamp(
    pool: &ThreadPool,
    src: TensorView<'_>,
    (low, high): (i64, i64),
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "QuantizedRelu";
    for_dtype!(src.dtype(), KERNEL, [U8, I32], T => {
        let (src, dst) = (values::<T>(src.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?);
        ensure(src.len() == dst.len(), KERNEL, "the input and the output have as many elements")?;
        let (low, high) = (low as T, high as T);
        split(pool, dst, 1, &|first, dst| {
            for (to, x) in dst.iter_mut().zip(&src[first..]) {
                *to = (*x).max(low).min(high);
            }
        });
        Ok(())
    })
}

/// Averages of the windows of an image of int8 or uint8, `[batch, height, width, channels]`, cut off towards 0.
///
/// # Errors
/// [`KernelError`] for lengths or types that do not go together.
pub fn quantized_average(
    pool: &ThreadPool,
    window: Window,
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "QuantizedAvgPool";
    let (Ok(shape), Ok(to)) =
        (<[usize; 4]>::try_from(&src.shape()[..]), <[usize; 4]>::try_from(&dst.shape()[..]))
    else {
        return Err(KernelError::Invalid { kernel: KERNEL, rule: "images have four axes" });
    };
    let [_, height, width, channels] = shape;
    let [_, rows, columns, _] = to;
    for_dtype!(src.dtype(), KERNEL, [I8, U8], T => {
        let (src, dst) = (values::<T>(src.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?);
        let cost = window.size[0] * window.size[1] * channels;
        split_with_cost(pool, dst, channels, cost, &|first, dst| {
            for (pixel, dst) in (first..).zip(dst.chunks_exact_mut(channels)) {
                let (x, y, image) = (pixel % columns, pixel / columns % rows, pixel / columns / rows);
                let reach = |position: usize, axis: usize, size: usize| {
                    let start = (position * window.strides[axis]) as isize - window.pads[2 * axis] as isize;
                    let end = (start + window.size[axis] as isize).clamp(0, size as isize) as usize;
                    (start.max(0) as usize).min(end)..end
                };
                let (ys, xs) = (reach(y, 0, height), reach(x, 1, width));
                let count = (ys.len() * xs.len()) as i32;
                for (channel, to) in dst.iter_mut().enumerate() {
                    let mut sum = 0i32;
                    for (y, x) in ys.clone().flat_map(|y| xs.clone().map(move |x| (y, x))) {
                        sum += src[((image * height + y) * width + x) * channels + channel] as i32;
                    }
                    *to = if count > 0 { (sum / count) as T } else { 0 };
                }
            }
        });
        Ok(())
    })
}
