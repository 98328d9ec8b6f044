//! Softmax and its logarithm over the last axis.

use half::{bf16, f16};
use tightfit_core::{DType, TensorViewMut};

use crate::base::access::{Src, for_dtype, split_with_cost, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::math;
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::ThreadPool;

/// How many times the work of a copy an element takes.
const COST: usize = 4;

/// e^x / sum e^x over the last axis of `src`, of floats (float16 and bfloat16 computed in float32).
///
/// # Errors
/// [`KernelError::DType`] for other types, [`KernelError::Invalid`] for scalars and for an output of another size or
/// type.
pub fn softmax(pool: &ThreadPool, src: Src<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    rows(pool, src, dst, "Softmax", false)
}

/// x - ln sum e^x over the last axis of `src`; otherwise as [`softmax`].
///
/// # Errors
/// As [`softmax`].
pub fn log_softmax(pool: &ThreadPool, src: Src<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    rows(pool, src, dst, "LogSoftmax", true)
}

fn rows(
    pool: &ThreadPool,
    src: Src<'_>,
    dst: &mut TensorViewMut<'_>,
    kernel: &'static str,
    log: bool,
) -> Result<()> {
    let dtype = dst.dtype();
    ensure(src.dtype() == dtype, kernel, "the input and the output have one element type")?;
    let len = *dst.shape().last().ok_or(KernelError::Invalid { kernel, rule: "there is a last axis" })?;
    if dtype == DType::F32 {
        let dst = values_mut::<f32>(dst.bytes(), kernel)?;
        let src = src.same_size::<f32>(dst.len(), kernel)?;
        let isa = pool.isa();
        split_with_cost(pool, dst, len, COST * len, &|first, dst| {
            if len <= NARROW {
                if let Some(src) = src {
                    dst.copy_from_slice(&src[first * len..][..dst.len()]);
                }
                return dispatch(isa, NarrowRows { values: dst, len, log });
            }
            for (n, dst) in dst.chunks_mut(len).enumerate() {
                if let Some(src) = src {
                    dst.copy_from_slice(&src[(first + n) * len..][..len]);
                }
                dispatch(isa, Row { values: dst, log });
            }
        });
        return Ok(());
    }
    for_dtype!(dtype, kernel, [F64, F16, BF16], T => {
        let dst = values_mut::<T>(dst.bytes(), kernel)?;
        let src = src.same_size::<T>(dst.len(), kernel)?;
        split_with_cost(pool, dst, len, COST * len, &|first, dst| {
            for (n, dst) in dst.chunks_mut(len).enumerate() {
                if let Some(src) = src {
                    dst.copy_from_slice(&src[(first + n) * len..][..len]);
                }
                row_in_f64(dst, log);
            }
        });
        Ok(())
    })
}

/// Rows of up to so many elements leave most of a vector empty.
const NARROW: usize = 8;

/// Elements of narrow rows whose exponentials are computed together.
const BLOCK: usize = 512;

/// Rows of at most [`NARROW`] elements of float32 each, in place.
struct NarrowRows<'a> {
    values: &'a mut [f32],
    len: usize,
    log: bool,
}

impl Kernel for NarrowRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let len = self.len;
        let mut powers = [0.0f32; BLOCK];
        for block in self.values.chunks_mut(BLOCK - BLOCK % len) {
            for row in block.chunks_exact_mut(len) {
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                row.iter_mut().for_each(|x| *x -= largest);
            }
            for i in (0..block.len()).step_by(S::LANES) {
                let count = S::LANES.min(block.len() - i);
                // SAFETY: as many are left of the block, which is not longer than the powers.
                unsafe {
                    let power = math::exp_flushed(s, s.load_partial(block.as_ptr().add(i), count));
                    s.store_partial(powers.as_mut_ptr().add(i), power, count);
                }
            }
            for (row, powers) in block.chunks_exact_mut(len).zip(powers.chunks_exact(len)) {
                let sum = powers.iter().sum::<f32>();
                if self.log {
                    let log = sum.ln();
                    row.iter_mut().for_each(|x| *x -= log);
                } else {
                    let scale = 1.0 / sum;
                    row.iter_mut().zip(powers).for_each(|(x, power)| *x = power * scale);
                }
            }
        }
    }
}

/// A row of float32, in place.
struct Row<'a> {
    values: &'a mut [f32],
    log: bool,
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let len = self.values.len();
        let start = self.values.as_mut_ptr();
        let whole = len - len % S::LANES;
        let rest = len - whole;
        // SAFETY (of all loads and stores): they stay within the row.
        let largest = {
            let mut most = s.splat(f32::NEG_INFINITY);
            for i in (0..whole).step_by(S::LANES) {
                // SAFETY: within the row.
                most = s.max(most, unsafe { s.load(start.add(i)) });
            }
            let tail = self.values[whole..].iter().copied();
            tail.chain(lanes(s, most).into_iter().take(S::LANES)).fold(f32::NEG_INFINITY, f32::max)
        };
        let shift = s.splat(largest);
        let mut sums = s.splat(0.0);
        for i in (0..whole).step_by(S::LANES) {
            // SAFETY: within the row.
            unsafe {
                let below = s.sub(s.load(start.add(i)), shift);
                let e = math::exp_flushed(s, below);
                sums = s.add(sums, e);
                s.store(start.add(i), if self.log { below } else { e });
            }
        }
        let mut sum = lanes(s, sums)[..S::LANES].iter().sum::<f32>();
        if rest > 0 {
            // SAFETY: `rest` elements are left of the row.
            let e = unsafe {
                let below = s.sub(s.load_partial(start.add(whole), rest), shift);
                let e = math::exp_flushed(s, below);
                s.store_partial(start.add(whole), if self.log { below } else { e }, rest);
                e
            };
            sum += lanes(s, e)[..rest].iter().sum::<f32>();
        }
        if self.log {
            let log = sum.ln();
            self.values.iter_mut().for_each(|x| *x -= log);
        } else {
            let scale = 1.0 / sum;
            self.values.iter_mut().for_each(|x| *x *= scale);
        }
    }
}

/// The lanes of a vector, and zeros.
#[inline(always)]
fn lanes<S: Simd>(s: S, v: S::V) -> [f32; 16] {
    const { assert!(S::LANES <= 16) };
    let mut lanes = [0.0; 16];
    // SAFETY: no vector has more lanes.
    unsafe { s.store(lanes.as_mut_ptr(), v) };
    lanes
}

trait ByF64: Copy {
    fn read(self) -> f64;
    fn write(x: f64) -> Self;
}

impl ByF64 for f64 {
    fn read(self) -> f64 {
        self
    }
    fn write(x: f64) -> Self {
        x
    }
}

macro_rules! half_by_f64 {
    ($($H:ident)*) => { $(
        impl ByF64 for $H {
            fn read(self) -> f64 {
                self.to_f64()
            }
            fn write(x: f64) -> Self {
                $H::from_f32(x as f32)
            }
        }
    )* };
}

half_by_f64!(f16 bf16);

fn row_in_f64<T: ByF64>(row: &mut [T], log: bool) {
    let largest = row.iter().map(|x| x.read()).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x.read() - largest).exp()).sum();
    let log_sum = sum.ln();
    for x in row {
        let below = x.read() - largest;
        *x = T::write(if log { below - log_sum } else { below.exp() / sum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::cpu::Isa;
    use tightfit_core::{Shape, TensorView};

    #[test]
    fn agrees_with_plain_float64() {
        let pool = ThreadPool::new(2).unwrap();
        for len in [1usize, 2, 7, 8, 9, 15, 16, 17, 128, 1000] {
            for log in [false, true] {
                let count = 40_000 / len + 1;
                let x: Vec<f32> =
                    (0..len * count).map(|i| ((i * 7919) % 2003) as f32 * 0.02 - 20.0).collect();
                let shape = Shape::new(&[count, len]).unwrap();
                let run = |src: Src<'_>, mut dst: Vec<f32>| {
                    let mut view =
                        TensorViewMut::new(DType::F32, shape, bytemuck::cast_slice_mut(&mut dst)).unwrap();
                    rows(&pool, src, &mut view, "test", log).unwrap();
                    dst
                };
                let result = run(TensorView::from_slice(shape, &x).unwrap().into(), vec![0.0; x.len()]);
                assert_eq!(run(Src::InPlace(DType::F32), x.clone()), result);
                for (x, y) in x.chunks(len).zip(result.chunks(len)) {
                    let mut exact: Vec<f64> = x.iter().map(|x| *x as f64).collect();
                    row_in_f64(&mut exact, log);
                    for (y, exact) in y.iter().zip(exact) {
                        assert!((*y as f64 - exact).abs() <= 1e-6 * exact.abs().max(0.1), "{y} {exact}");
                    }
                }
            }
        }
    }

    #[test]
    fn infinities_as_tensorflow() {
        let rows = [f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY, f32::NEG_INFINITY];
        let (mut each, mut narrow) = (rows, rows);
        for values in each.chunks_mut(2) {
            dispatch(Isa::detect(), Row { values, log: false });
        }
        dispatch(Isa::detect(), NarrowRows { values: &mut narrow, len: 2, log: false });
        for result in [each, narrow] {
            assert_eq!(result[..2], [0.0, 1.0]);
            assert!(result[2..].iter().all(|x| x.is_nan()));
        }
    }
}
