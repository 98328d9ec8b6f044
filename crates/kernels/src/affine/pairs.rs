//! Sums, differences and products of two tensors of integers, each with a scale and a zero point of its own.

use tightfit_core::{DType, TensorViewMut};

use super::multiplier::{Multiplier, Rescale, divided_by_power};
use crate::base::access::{Src, split, values_mut};
use crate::base::broadcast::{Broadcast, Operand};
use crate::base::error::{KernelError, Result};
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::ThreadPool;

/// What is made of two integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AffinePairOp {
    /// Their numbers' sum.
    Add,
    /// Their difference.
    Sub,
    /// Their product.
    Mul,
    /// Their difference, squared.
    SquaredDifference,
}

/// An operation on two tensors of int8, uint8 or int16.
#[derive(Debug, Clone, Copy)]
pub struct AffinePair {
    /// What is computed.
    pub op: AffinePairOp,
    /// What stands for 0 in each.
    pub zeros: [i32; 2],
    /// How far integers are shifted to the left before they are brought to one scale; of a product not at all.
    pub left_shift: u32,
    /// What brings each to that scale.
    pub inputs: [Multiplier; 2],
    /// Powers of two that each is divided by in its place.
    pub shifts: Option<[u32; 2]>,
    /// What brings the result to the output's.
    pub output: Multiplier,
    /// What stands for 0 in the output.
    pub zero: i32,
    /// The smallest and the largest integer.
    pub bounds: (i32, i32),
}

/// Types of a tensor's integers.
pub(crate) trait Integer: Copy + bytemuck::Pod + Send + Sync {
    fn wide(self) -> i32;
    /// Of a number that is in its bounds.
    fn narrow(x: i32) -> Self;
}

macro_rules! integers {
    ($($T:ty),*) => {
        $(impl Integer for $T {
            #[inline(always)]
            fn wide(self) -> i32 {
                self as i32
            }

            #[inline(always)]
            fn narrow(x: i32) -> Self {
                x as $T
            }
        })*
    };
}
integers!(i8, u8, i16, i32);

/// An integer's type with its bounds.
#[allow(private_bounds)]
pub trait BoundedInteger: Integer {
    /// Bits.
    const BITS: u32;
    /// The lowest integer.
    const LOWEST: i32;
    /// The highest integer.
    const HIGHEST: i32;
}

macro_rules! bounded {
    ($($T:ty),*) => {
        $(impl BoundedInteger for $T {
            const BITS: u32 = <$T>::BITS;
            const LOWEST: i32 = <$T>::MIN as i32;
            const HIGHEST: i32 = <$T>::MAX as i32;
        })*
    };
}
bounded!(i8, u8, i16);

struct Block<'a, T> {
    pair: &'a AffinePair,
    a: &'a [T],
    b: &'a [T],
    to: &'a mut [T],
}

impl<T: Integer> Kernel for Block<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let pair = *self.pair;
        #[cfg(target_arch = "x86_64")]
        if S::LANES >= 8 && size_of::<T>() == 1 && x86::can_compute(&pair) {
            let bytes = [bytemuck::cast_slice(self.a), bytemuck::cast_slice(self.b)];
            let is_signed = T::narrow(255).wide() < 0;
            let to = bytemuck::cast_slice_mut(self.to);
            // SAFETY: a vector of 16 floats is there only where AVX-512 is, and one of 8 where AVX2 is.
            return unsafe {
                if S::LANES == 16 {
                    x86::run(&pair, bytes, is_signed, to);
                } else {
                    x86::run_eights(&pair, bytes, is_signed, to);
                }
            };
        }
        let rescale = Rescale { multipliers: &[], exact: &[], zero: pair.zero, bounds: pair.bounds };
        let output = pair.output;
        let brought = |input: usize, x: T| {
            if let Some(shifts) = pair.shifts {
                return divided_by_power(x.wide(), shifts[input]);
            }
            let shifted = x.wide().wrapping_sub(pair.zeros[input]).wrapping_mul(1 << pair.left_shift);
            pair.inputs[input].apply(shifted)
        };
        let elements = self.a.iter().zip(self.b).zip(self.to);
        match pair.op {
            AffinePairOp::Add => elements.for_each(|((a, b), to)| {
                let sum = brought(0, *a).wrapping_add(brought(1, *b));
                *to = T::narrow(rescale.bounded(output.apply(sum)));
            }),
            AffinePairOp::Sub => elements.for_each(|((a, b), to)| {
                let difference = brought(0, *a).wrapping_sub(brought(1, *b));
                *to = T::narrow(rescale.bounded(output.apply(difference)));
            }),
            AffinePairOp::Mul => elements.for_each(|((a, b), to)| {
                let (a, b) = (a.wide() - pair.zeros[0], b.wide() - pair.zeros[1]);
                *to = T::narrow(rescale.bounded(output.apply(a.wrapping_mul(b))));
            }),
            AffinePairOp::SquaredDifference => elements.for_each(|((a, b), to)| {
                let difference = brought(0, *a).wrapping_sub(brought(1, *b));
                *to = T::narrow(rescale.bounded(output.apply(difference.wrapping_mul(difference))));
            }),
        }
    }
}

impl AffinePair {
    /// Computes each element of `dst`, to whose shape both inputs are broadcast.
    ///
    /// # Errors
    /// [`KernelError`] for other types, and shapes that do not go together.
    pub fn run(&self, pool: &ThreadPool, a: Src<'_>, b: Src<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
        match dst.dtype() {
            DType::I8 => self.run_typed::<i8>(pool, a, b, dst),
            DType::U8 => self.run_typed::<u8>(pool, a, b, dst),
            DType::I16 => self.run_typed::<i16>(pool, a, b, dst),
            dtype => Err(KernelError::DType { kernel: "tfl.add", dtype }),
        }
    }

    fn run_typed<T: Integer + Default>(
        &self,
        pool: &ThreadPool,
        a: Src<'_>,
        b: Src<'_>,
        dst: &mut TensorViewMut<'_>,
    ) -> Result<()> {
        const KERNEL: &str = "tfl.add";
        if let Some(odd) = [a.dtype(), b.dtype()].into_iter().find(|dtype| *dtype != dst.dtype()) {
            return Err(KernelError::DType { kernel: KERNEL, dtype: odd });
        }
        let broadcast = Broadcast::new(KERNEL, dst.shape(), [a.shape(dst), b.shape(dst)])?;
        let (a, b) = (a.values::<T>(KERNEL)?, b.values::<T>(KERNEL)?);
        split(pool, values_mut::<T>(dst.bytes(), KERNEL)?, 1, &|first, dst| {
            let mut a = Operand::new(&broadcast, 0, a, T::default());
            let mut b = Operand::new(&broadcast, 1, b, T::default());
            let mut done = 0;
            while done < dst.len() {
                let len = broadcast.block(first + done, dst.len() - done);
                let to = &mut dst[done..done + len];
                let (a, b) = (a.block(first + done, to), b.block(first + done, to));
                dispatch(pool.isa(), Block { pair: self, a, b, to });
                done += len;
            }
        });
        Ok(())
    }
}

/// On bytes, 16 at a time, with AVX-512 or AVX2.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{AffinePair, AffinePairOp, Multiplier, Rescale};
    use crate::affine::requantize::x86::{Tame, bounded, eight_scaled, scaled, sixteen_bounded};

    /// Bytes that are taken at once.
    const LANES: usize = 16;

    /// True for what [`run`] computes.
    pub(super) fn can_compute(pair: &AffinePair) -> bool {
        let [a, b] = pair.inputs;
        pair.shifts.is_none() && pair.left_shift < 32 && [a, b, pair.output].iter().all(|own| own.shift < 32)
    }

    /// Computes each of the bytes, int8 or uint8, of two tensors of as many.
    ///
    /// # Safety
    /// The processor has AVX-512 with DQ, BW and VL.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn run(pair: &AffinePair, from: [&[u8]; 2], is_signed: bool, to: &mut [u8]) {
        let rescale = Rescale { multipliers: &[], exact: &[], zero: pair.zero, bounds: pair.bounds };
        let shift = _mm_cvtsi32_si128(pair.left_shift as i32);
        let by = |own: Multiplier, x: __m512i| {
            scaled(_mm512_set1_epi32(own.value), _mm512_set1_epi32(own.shift), x)
        };
        let count = to.len().min(from[0].len()).min(from[1].len());
        for at in (0..count).step_by(LANES) {
            let mask = ((1u32 << (count - at).min(LANES)) - 1) as u16;
            let wide = |input: usize| {
                // SAFETY: no more is read than the mask says.
                let bytes = unsafe { _mm_maskz_loadu_epi8(mask, from[input].as_ptr().add(at).cast()) };
                let x = if is_signed { _mm512_cvtepi8_epi32(bytes) } else { _mm512_cvtepu8_epi32(bytes) };
                _mm512_sub_epi32(x, _mm512_set1_epi32(pair.zeros[input]))
            };
            let brought = |input: usize| by(pair.inputs[input], _mm512_sll_epi32(wide(input), shift));
            let result = match pair.op {
                AffinePairOp::Add => _mm512_add_epi32(brought(0), brought(1)),
                AffinePairOp::Sub => _mm512_sub_epi32(brought(0), brought(1)),
                AffinePairOp::Mul => _mm512_mullo_epi32(wide(0), wide(1)),
                AffinePairOp::SquaredDifference => {
                    let difference = _mm512_sub_epi32(brought(0), brought(1));
                    _mm512_mullo_epi32(difference, difference)
                }
            };
            let bytes = bounded(by(pair.output, result), &rescale);
            // SAFETY: no more is written than the mask says.
            unsafe { _mm_mask_storeu_epi8(to.as_mut_ptr().add(at).cast(), mask, bytes) };
        }
    }

    /// The same with AVX2.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn run_eights(pair: &AffinePair, from: [&[u8]; 2], is_signed: bool, to: &mut [u8]) {
        let by = |own: Multiplier| {
            let left = _mm_cvtsi32_si128(own.shift.max(0));
            let (value, right) = (_mm256_set1_epi32(own.value), _mm256_set1_epi32((-own.shift).max(0)));
            move |x: __m256i| eight_scaled(value, right, _mm256_sll_epi32(x, left))
        };
        // SAFETY: the caller's promise.
        if unsafe { run_tame(pair, from, is_signed, &mut *to) } {
            return;
        }
        let shift = _mm_cvtsi32_si128(pair.left_shift as i32);
        let (first, second, output) = (by(pair.inputs[0]), by(pair.inputs[1]), by(pair.output));
        let first = |x: __m256i| first(_mm256_sll_epi32(x, shift));
        let second = |x: __m256i| second(_mm256_sll_epi32(x, shift));
        // Each has a loop of its own, in which numbers stay in registers.
        // SAFETY: the caller's promise.
        unsafe {
            match pair.op {
                AffinePairOp::Add => {
                    each(pair, from, is_signed, to, |a, b| output(_mm256_add_epi32(first(a), second(b))))
                }
                AffinePairOp::Sub => {
                    each(pair, from, is_signed, to, |a, b| output(_mm256_sub_epi32(first(a), second(b))))
                }
                AffinePairOp::Mul => each(pair, from, is_signed, to, |a, b| output(_mm256_mullo_epi32(a, b))),
                AffinePairOp::SquaredDifference => each(pair, from, is_signed, to, |a, b| {
                    let difference = _mm256_sub_epi32(first(a), second(b));
                    output(_mm256_mullo_epi32(difference, difference))
                }),
            }
        }
    }

    /// The same of what surely does not overflow. False for what might, which is left.
    ///
    /// # Safety
    /// As of [`run_eights`].
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn run_tame(pair: &AffinePair, from: [&[u8]; 2], is_signed: bool, to: &mut [u8]) -> bool {
        let is_near = |zero: &i32| zero.unsigned_abs() <= 256;
        let Some(output) = Tame::new(pair.output).filter(|_| pair.zeros.iter().all(is_near)) else {
            return false;
        };
        let half = Multiplier { value: 1 << 30, shift: 0 };
        // Integers are below 2^9, and so their product below 2^18.
        if pair.op == AffinePairOp::Mul {
            // SAFETY: the caller's promise.
            unsafe { each(pair, from, is_signed, to, |a, b| output.apply(_mm256_mullo_epi32(a, b))) };
            return true;
        }
        let is_most_half = |own: &Multiplier| *own == half || own.shift < 0;
        let is_sum = matches!(pair.op, AffinePairOp::Add | AffinePairOp::Sub);
        let [Some(first), Some(second)] = pair.inputs.map(|own| Tame::new(own)) else { return false };
        if !is_sum || !(1..=20).contains(&pair.left_shift) || !pair.inputs.iter().all(is_most_half) {
            return false;
        }
        let shift = _mm_cvtsi32_si128(pair.left_shift as i32);
        let halved = _mm_cvtsi32_si128(pair.left_shift as i32 - 1);
        // The one of the larger scale is halved, which leaves no rest.
        let first = |x: __m256i| first.apply(_mm256_sll_epi32(x, shift));
        let second = |x: __m256i| second.apply(_mm256_sll_epi32(x, shift));
        let even = |x: __m256i| _mm256_sll_epi32(x, halved);
        let is_add = pair.op == AffinePairOp::Add;
        let sign = _mm256_set1_epi32(if is_add { 1 } else { -1 });
        let sum = |a: __m256i, b: __m256i| output.apply(_mm256_add_epi32(a, _mm256_sign_epi32(b, sign)));
        // SAFETY: the caller's promise.
        unsafe {
            match pair.inputs.map(|own| own == half) {
                [true, true] => each(pair, from, is_signed, to, |a, b| sum(even(a), even(b))),
                [true, false] => each(pair, from, is_signed, to, |a, b| sum(even(a), second(b))),
                [false, true] => each(pair, from, is_signed, to, |a, b| sum(first(a), even(b))),
                [false, false] => each(pair, from, is_signed, to, |a, b| sum(first(a), second(b))),
            }
        }
        true
    }

    /// Makes bytes of 16 pairs at a time by what `compute` makes of 8, less what stands for 0 in each.
    ///
    /// # Safety
    /// As of [`run_eights`].
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn each(
        pair: &AffinePair,
        [a, b]: [&[u8]; 2],
        is_signed: bool,
        to: &mut [u8],
        compute: impl Fn(__m256i, __m256i) -> __m256i,
    ) {
        let rescale = Rescale { multipliers: &[], exact: &[], zero: pair.zero, bounds: pair.bounds };
        // Bytes of int8 as uint8 that are 128 more.
        let flip = _mm_set1_epi8(if is_signed { -128 } else { 0 });
        let zeros = pair.zeros.map(|zero| _mm256_set1_epi32(zero + if is_signed { 128 } else { 0 }));
        let sixteen = |a: &[u8; LANES], b: &[u8; LANES]| {
            // SAFETY: 16 bytes each.
            let [a, b] =
                [a, b].map(|own| unsafe { _mm_xor_si128(_mm_loadu_si128(own.as_ptr().cast()), flip) });
            let wide = |bytes: __m128i, zero: __m256i| _mm256_sub_epi32(_mm256_cvtepu8_epi32(bytes), zero);
            let (high_a, high_b) = (_mm_unpackhi_epi64(a, a), _mm_unpackhi_epi64(b, b));
            let low = compute(wide(a, zeros[0]), wide(b, zeros[1]));
            sixteen_bounded([low, compute(wide(high_a, zeros[0]), wide(high_b, zeros[1]))], &rescale)
        };
        let count = to.len().min(a.len()).min(b.len());
        let (to, a, b) = (&mut to[..count], &a[..count], &b[..count]);
        let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        let (to, rest) = to.as_chunks_mut::<LANES>();
        for ((a, b), to) in a.iter().zip(b).zip(to) {
            *to = sixteen(a, b);
        }
        let mut last = [[0; LANES]; 2];
        last[0][..rest.len()].copy_from_slice(rest_a);
        last[1][..rest.len()].copy_from_slice(rest_b);
        let all = sixteen(&last[0], &last[1]);
        rest.copy_from_slice(&all[..rest.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::cpu::Isa;
    use tightfit_core::{Shape, TensorView};

    #[test]
    fn vectors_compute_as_single_integers_do() {
        let all = |step: usize| (0..5000).map(|at| (at * step % 256) as u8).collect::<Vec<_>>();
        let (a, b) = (all(37), all(91));
        use AffinePairOp::{Add, Mul, SquaredDifference, Sub};
        for (dtype, zeros, zero, bounds) in
            [(DType::I8, [3, -17], 5, (-128, 127)), (DType::U8, [10, 128], 50, (0, 240))]
        {
            for op in [
                (Add, 20, 1.3e-6),
                (Add, 20, 3e-7),
                (Sub, 20, 3e-7),
                (Mul, 0, 0.007),
                (SquaredDifference, 7, 1e-6),
                (Mul, 0, 1.6),
            ]
            .into_iter()
            .flat_map(|one| {
                [[0.731, 0.5], [0.25, 0.5], [0.5, 0.013], [0.5, 0.5], [0.49, 0.49]].map(|i| (one, i))
            }) {
                let ((op, left_shift, output), inputs) = op;
                let inputs = inputs.map(Multiplier::of);
                let output = Multiplier::of(output);
                let pair = AffinePair { op, zeros, left_shift, inputs, shifts: None, output, zero, bounds };
                let computed = |isa: Isa, len: usize| {
                    let pool = ThreadPool::with_isa(1, isa).unwrap();
                    let shape = Shape::new(&[len]).unwrap();
                    let mut bytes = vec![0u8; len];
                    let mut dst = TensorViewMut::new(dtype, shape, &mut bytes).unwrap();
                    let [a, b] =
                        [&a, &b].map(|own| Src::View(TensorView::new(dtype, shape, &own[..len]).unwrap()));
                    pair.run(&pool, a, b, &mut dst).unwrap();
                    bytes
                };
                for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                    for len in [5000, 16, 7] {
                        assert_eq!(computed(isa, len), computed(Isa::Portable, len), "{op:?} {isa:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn tensors_of_different_scales_are_added_and_multiplied() {
        let pool = ThreadPool::new(2).unwrap();
        let shape = Shape::new(&[2, 3]).unwrap();
        let a: [u8; 6] = [0, 10, 20, 130, 140, 255];
        let b: [u8; 3] = [100, 128, 200];
        // Numbers are (a - 10) / 10 and (b - 128) / 40; the output's are c / 20.
        let (scale_a, scale_b) = (0.1f64, 0.025f64);
        for (op, inputs, left_shift, output) in [
            (
                AffinePairOp::Add,
                [scale_a, scale_b].map(|s| Multiplier::of(s / 0.2)),
                20,
                0.2 / (1048576.0 * 0.05),
            ),
            (AffinePairOp::Mul, [Multiplier::default(); 2], 0, scale_a * scale_b / 0.05),
        ] {
            let pair = AffinePair {
                op,
                zeros: [10, 128],
                left_shift,
                inputs,
                shifts: None,
                output: Multiplier::of(output),
                zero: 50,
                bounds: (0, 255),
            };
            let mut bytes = [0u8; 6];
            let mut dst = TensorViewMut::new(DType::U8, shape, &mut bytes).unwrap();
            let a_view = TensorView::new(DType::U8, shape, &a).unwrap();
            let b_view = TensorView::new(DType::U8, Shape::new(&[3]).unwrap(), &b).unwrap();
            pair.run(&pool, Src::View(a_view), Src::View(b_view), &mut dst).unwrap();
            for (at, byte) in bytes.iter().enumerate() {
                let (x, y) = ((a[at] as f64 - 10.0) * scale_a, (b[at % 3] as f64 - 128.0) * scale_b);
                let exact = if op == AffinePairOp::Add { x + y } else { x * y };
                let expected = (exact / 0.05 + 50.0).round().clamp(0.0, 255.0);
                assert!((*byte as f64 - expected).abs() <= 1.0, "{op:?} at {at}: {byte} for {expected}");
            }
        }
    }
}
