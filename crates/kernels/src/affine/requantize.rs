//! Sums to bytes, 16 at a time.

use super::dot::COLUMNS;
use super::multiplier::{Multiplier, Rescale};
use crate::base::simd::Simd;

/// Sums and numbers that stay below it are multiplied without a look at overflow.
const TAME: i64 = 1 << 30;

/// What sums of 16 channels become bytes by: what is added to each, and its multiplier, as an integer and shifts or as a number.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
pub(crate) struct Channels {
    added: [i32; COLUMNS],
    values: [i32; COLUMNS],
    shifts: [i32; COLUMNS],
    /// Bits of each that are shifted out to the right.
    right: [i32; COLUMNS],
    /// Of even and of odd channels: what is added to a product, so that it is rounded twice by one shift.
    rounding: [[i64; COLUMNS / 2]; 2],
    /// Products that are below it were below 0 before.
    negative: [i32; COLUMNS],
    exact: [f64; COLUMNS],
    /// Some are shifted to the left.
    has_left: bool,
    /// No sum overflows on its way to a byte.
    is_tame: bool,
}

impl Channels {
    /// Makes them those of `count` channels from `first` on, to whose sums `added` is added, and a bias. No sum is further from 0
    /// than `most`.
    pub fn set(
        &mut self,
        rescale: &Rescale<'_>,
        (first, count): (usize, usize),
        bias: Option<&[i32]>,
        (added, most): (&[i32; COLUMNS], i64),
    ) {
        self.added = *added;
        // All bits that are set in one of the numbers: no less than the largest.
        let bits = |all: &[i32]| all.iter().fold(0, |bits, one| bits | one.unsigned_abs()) as i64;
        let mut largest = bits(added).saturating_add(most);
        if let Some(bias) = bias {
            let bias = &bias[first..first + count];
            largest = largest.saturating_add(bits(bias));
            self.added.iter_mut().zip(bias).for_each(|(added, bias)| *added = added.wrapping_add(*bias));
        }
        self.is_tame = largest < TAME && rescale.zero.unsigned_abs() < 1 << 10;
        match rescale.exact {
            [] => {}
            [one] => self.exact = [*one; COLUMNS],
            all => self.exact[..count].copy_from_slice(&all[first..first + count]),
        }
        if !rescale.exact.is_empty() {
            let bounded = |factor: &f64| (factor.abs() * largest as f64) < TAME as f64;
            self.is_tame &= self.exact[..count].iter().all(bounded);
            return;
        }
        let own = match rescale.multipliers {
            [one] => [*one; COLUMNS],
            all => {
                let mut own = [Multiplier::default(); COLUMNS];
                let count = count.min(all.len());
                own[..count].copy_from_slice(&all[first.min(all.len() - count)..][..count]);
                own
            }
        };
        let (mut most, mut least, mut lowest) = (0, 0, 0);
        for (c, own) in own.into_iter().enumerate() {
            (self.values[c], self.shifts[c]) = (own.value, own.shift);
            self.right[c] = (-own.shift).max(0);
            (most, least, lowest) = (most.max(own.shift), least.min(own.shift), lowest.min(own.value));
        }
        self.has_left = most > 0;
        self.is_tame &= most == 0 && least > -31 && lowest == 0;
        if !self.is_tame {
            return;
        }
        for c in 0..COLUMNS {
            let half = (1 << self.right[c]) >> 1;
            let added = self.added[c] as i64 * self.values[c] as i64;
            self.rounding[c % 2][c / 2] = added + (1 << 30) + ((half as i64) << 31);
            self.negative[c] = if half > 0 { half } else { i32::MIN };
        }
    }
}

/// Stores the bytes of sums, as many as `to` has room for. Must run where [`Simd`]'s instructions are.
#[inline(always)]
pub(crate) fn store<S: Simd>(
    rescale: &Rescale<'_>,
    channels: &Channels,
    sums: &[i32; COLUMNS],
    to: &mut [u8],
) {
    let is_exact = !rescale.exact.is_empty();
    #[cfg(target_arch = "x86_64")]
    if S::LANES == 16 {
        // SAFETY: a vector of 16 floats is there only where AVX-512 is.
        return unsafe {
            if is_exact {
                x86::store_exactly(channels, rescale, sums, to);
            } else {
                x86::store(channels, rescale, sums, to);
            }
        };
    }
    let mut bytes = [0u8; COLUMNS];
    #[cfg(target_arch = "x86_64")]
    if S::LANES == 8 {
        // SAFETY: a vector of 8 floats is there only where AVX2 is.
        bytes = unsafe {
            if channels.is_tame && !is_exact {
                x86::tame_bytes(channels, rescale, sums)
            } else if is_exact {
                x86::exact_bytes(channels, rescale, sums)
            } else {
                x86::bytes(channels, rescale, sums)
            }
        };
        return put(&bytes, to);
    }
    let mut c = 0;
    while c < COLUMNS {
        let sum = sums[c].wrapping_add(channels.added[c]);
        let integer = if is_exact {
            rescale.exactly(channels.exact[c], sum as f64)
        } else {
            let own = Multiplier { value: channels.values[c], shift: channels.shifts[c] };
            rescale.bounded(own.apply(sum))
        };
        bytes[c] = integer as u8;
        c += 1;
    }
    put(&bytes, to);
}

/// As many of the bytes as there is room for.
#[inline(always)]
fn put(bytes: &[u8; COLUMNS], to: &mut [u8]) {
    match <&mut [u8; COLUMNS]>::try_from(&mut *to) {
        Ok(to) => *to = *bytes,
        Err(_) => to.copy_from_slice(&bytes[..to.len()]),
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{COLUMNS, Channels, Multiplier, Rescale};

    /// # Safety
    /// The processor has AVX-512 with DQ, BW and VL.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn store(
        channels: &Channels,
        rescale: &Rescale<'_>,
        sums: &[i32; COLUMNS],
        to: &mut [u8],
    ) {
        let mask = ((1u32 << to.len()) - 1) as u16;
        // SAFETY: all have 16 numbers, and no more is written than the mask says.
        unsafe {
            let sums = _mm512_loadu_si512(sums.as_ptr().cast());
            let sums = _mm512_add_epi32(sums, _mm512_loadu_si512(channels.added.as_ptr().cast()));
            let values = _mm512_loadu_si512(channels.values.as_ptr().cast());
            let shifts = _mm512_loadu_si512(channels.shifts.as_ptr().cast());
            let bytes = bounded(scaled(values, shifts, sums), rescale);
            _mm_mask_storeu_epi8(to.as_mut_ptr().cast(), mask, bytes);
        }
    }

    /// The same of sums that are multiplied as numbers: see [`Rescale::exactly`].
    ///
    /// # Safety
    /// As of [`store`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn store_exactly(
        channels: &Channels,
        rescale: &Rescale<'_>,
        sums: &[i32; COLUMNS],
        to: &mut [u8],
    ) {
        let mask = ((1u32 << to.len()) - 1) as u16;
        // Beyond these the bounds are what remains.
        let (most, half, sign) =
            (_mm512_set1_pd((1 << 30) as f64), _mm512_set1_pd(0.5), _mm512_set1_pd(-0.0));
        let eight = |sums: __m256i, factors: __m512d| {
            let number = _mm512_mul_pd(_mm512_cvtepi32_pd(sums), factors);
            let number = _mm512_add_pd(number, _mm512_or_pd(half, _mm512_and_pd(number, sign)));
            let is_number = _mm512_cmp_pd_mask::<_CMP_ORD_Q>(number, number);
            let number = _mm512_max_pd(number, _mm512_or_pd(most, sign));
            _mm512_maskz_cvttpd_epi32(is_number, _mm512_min_pd(number, most))
        };
        // SAFETY: all have 16 numbers, and no more is written than the mask says.
        unsafe {
            let sums = _mm512_loadu_si512(sums.as_ptr().cast());
            let sums = _mm512_add_epi32(sums, _mm512_loadu_si512(channels.added.as_ptr().cast()));
            let [low, high] = [0, 8].map(|at| _mm512_loadu_pd(channels.exact.as_ptr().add(at)));
            let low = eight(_mm512_castsi512_si256(sums), low);
            let high = eight(_mm512_extracti32x8_epi32::<1>(sums), high);
            let all = _mm512_inserti32x8::<1>(_mm512_castsi256_si512(low), high);
            _mm_mask_storeu_epi8(to.as_mut_ptr().cast(), mask, bounded(all, rescale));
        }
    }

    /// The first or the last 8 integers, from 0 or from 8 on.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in crate::affine) fn eight_of(from: &[i32; COLUMNS], at: usize) -> __m256i {
        let eight = &from[at..at + 8];
        // SAFETY: there are 8.
        unsafe { _mm256_loadu_si256(eight.as_ptr().cast()) }
    }

    /// The bytes of sums.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn bytes(
        channels: &Channels,
        rescale: &Rescale<'_>,
        sums: &[i32; COLUMNS],
    ) -> [u8; COLUMNS] {
        let eight = |at: usize| {
            let load = |from: &[i32; COLUMNS]| eight_of(from, at);
            let sums = _mm256_add_epi32(load(sums), load(&channels.added));
            let x = if channels.has_left {
                _mm256_sllv_epi32(sums, _mm256_max_epi32(load(&channels.shifts), _mm256_setzero_si256()))
            } else {
                sums
            };
            eight_scaled(load(&channels.values), load(&channels.right), x)
        };
        sixteen_bounded([eight(0), eight(8)], rescale)
    }

    /// The same of sums that do not overflow: bias and both roundings are one number that is added to a product.
    ///
    /// # Safety
    /// As of [`bytes`].
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn tame_bytes(
        channels: &Channels,
        rescale: &Rescale<'_>,
        sums: &[i32; COLUMNS],
    ) -> [u8; COLUMNS] {
        let eight = |at: usize| {
            let load = |from: &[i32; COLUMNS]| eight_of(from, at);
            let rounding = |odd: usize| {
                // SAFETY: 4 of 8 integers.
                unsafe { _mm256_loadu_si256(channels.rounding[odd].as_ptr().add(at / 2).cast()) }
            };
            let (sums, values) = (load(sums), load(&channels.values));
            let of_even = _mm256_add_epi64(_mm256_mul_epi32(sums, values), rounding(0));
            let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(sums), _mm256_srli_epi64::<32>(values));
            let of_odd = _mm256_add_epi64(odd, rounding(1));
            let product = _mm256_blend_epi32::<0b1010_1010>(
                _mm256_srli_epi64::<31>(of_even),
                _mm256_slli_epi64::<1>(of_odd),
            );
            // Halves are rounded away from 0.
            let is_negative = _mm256_cmpgt_epi32(load(&channels.negative), product);
            _mm256_srav_epi32(_mm256_add_epi32(product, is_negative), load(&channels.right))
        };
        let words = _mm256_packs_epi32(eight(0), eight(8));
        words_bounded(_mm256_adds_epi16(words, _mm256_set1_epi16(rescale.zero as i16)), rescale)
    }

    /// The same of sums that are multiplied as numbers.
    ///
    /// # Safety
    /// As of [`bytes`].
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn exact_bytes(
        channels: &Channels,
        rescale: &Rescale<'_>,
        sums: &[i32; COLUMNS],
    ) -> [u8; COLUMNS] {
        // Beyond these the bounds are what remains.
        let (most, half, sign) =
            (_mm256_set1_pd((1 << 30) as f64), _mm256_set1_pd(0.5), _mm256_set1_pd(-0.0));
        let four = |at: usize| {
            // SAFETY: 4 of 16 numbers.
            let (sums, added, factors) = unsafe {
                (
                    _mm_loadu_si128(sums.as_ptr().add(at).cast()),
                    _mm_loadu_si128(channels.added.as_ptr().add(at).cast()),
                    _mm256_loadu_pd(channels.exact.as_ptr().add(at)),
                )
            };
            let number = _mm256_mul_pd(_mm256_cvtepi32_pd(_mm_add_epi32(sums, added)), factors);
            let number = _mm256_add_pd(number, _mm256_or_pd(half, _mm256_and_pd(number, sign)));
            if channels.is_tame {
                return _mm256_cvttpd_epi32(number);
            }
            let number = _mm256_and_pd(number, _mm256_cmp_pd::<_CMP_ORD_Q>(number, number));
            let number = _mm256_max_pd(number, _mm256_or_pd(most, sign));
            _mm256_cvttpd_epi32(_mm256_min_pd(number, most))
        };
        let eight = |at: usize| _mm256_set_m128i(four(at + 4), four(at));
        sixteen_bounded([eight(0), eight(8)], rescale)
    }

    /// One multiplier for sums that do not overflow: see [`tame_bytes`].
    #[derive(Clone, Copy)]
    pub(in crate::affine) struct Tame {
        value: __m256i,
        rounding: __m256i,
        negative: __m256i,
        right: __m256i,
    }

    impl Tame {
        /// `None` for a number of 1 or more, and one that is so small that it leaves nothing.
        #[inline]
        #[target_feature(enable = "avx2")]
        pub fn new(own: Multiplier) -> Option<Tame> {
            let right = -own.shift;
            if !(0..31).contains(&right) || own.value < 0 {
                return None;
            }
            let half = if right > 0 { 1 << (right - 1) } else { 0 };
            Some(Tame {
                value: _mm256_set1_epi32(own.value),
                rounding: _mm256_set1_epi64x((1 << 30) + (i64::from(half) << 31)),
                negative: _mm256_set1_epi32(if right > 0 { half } else { i32::MIN }),
                right: _mm256_set1_epi32(right),
            })
        }

        /// The products of 8 sums, which are below 2^30.
        #[inline]
        #[target_feature(enable = "avx2")]
        pub fn apply(self, sums: __m256i) -> __m256i {
            let of_even = _mm256_add_epi64(_mm256_mul_epi32(sums, self.value), self.rounding);
            let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(sums), self.value);
            let of_odd = _mm256_add_epi64(odd, self.rounding);
            let product = _mm256_blend_epi32::<0b1010_1010>(
                _mm256_srli_epi64::<31>(of_even),
                _mm256_slli_epi64::<1>(of_odd),
            );
            let is_negative = _mm256_cmpgt_epi32(self.negative, product);
            _mm256_srav_epi32(_mm256_add_epi32(product, is_negative), self.right)
        }
    }

    /// The bytes of 16 integers.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in crate::affine) fn sixteen_bounded(integers: [__m256i; 2], rescale: &Rescale<'_>) -> [u8; COLUMNS] {
        let zero = _mm256_set1_epi32(rescale.zero);
        let [low, high] = integers.map(|integers| _mm256_add_epi32(integers, zero));
        // The bounds are those of bytes, so that what does not fit 16 bits is outside of them.
        words_bounded(_mm256_packs_epi32(low, high), rescale)
    }

    /// The bytes of 16 integers of 16 bits, which stand as 0 to 3, 8 to 11, 4 to 7 and 12 to 15.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn words_bounded(words: __m256i, rescale: &Rescale<'_>) -> [u8; COLUMNS] {
        let words = _mm256_max_epi16(words, _mm256_set1_epi16(rescale.bounds.0 as i16));
        let words = _mm256_min_epi16(words, _mm256_set1_epi16(rescale.bounds.1 as i16));
        let words = _mm256_and_si256(words, _mm256_set1_epi16(0xff));
        let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        // Fours of bytes stand as 0, 2, 1, 3.
        let bytes = _mm_shuffle_epi32::<0b11_01_10_00>(bytes);
        let mut all = [0; COLUMNS];
        // SAFETY: 16 bytes.
        unsafe { _mm_storeu_si128(all.as_mut_ptr().cast(), bytes) };
        all
    }

    /// As [`scaled`], for 8 integers that are shifted to the left already, and by so many bits to the right.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in crate::affine) fn eight_scaled(values: __m256i, right: __m256i, x: __m256i) -> __m256i {
        let one = _mm256_set1_epi32(1);
        let half = _mm256_set1_epi64x(1 << 30);
        let of_even = _mm256_add_epi64(_mm256_mul_epi32(x, values), half);
        let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(x), _mm256_srli_epi64::<32>(values));
        let of_odd = _mm256_add_epi64(odd, half);
        let product = _mm256_blend_epi32::<0b1010_1010>(
            _mm256_srli_epi64::<31>(of_even),
            _mm256_slli_epi64::<1>(of_odd),
        );
        let mask = _mm256_sub_epi32(_mm256_sllv_epi32(one, right), one);
        let rest = _mm256_and_si256(product, mask);
        let threshold = _mm256_sub_epi32(_mm256_srli_epi32::<1>(mask), _mm256_srai_epi32::<31>(product));
        let is_more = _mm256_cmpgt_epi32(rest, threshold);
        _mm256_sub_epi32(_mm256_srav_epi32(product, right), is_more)
    }

    /// The bytes of integers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(in crate::affine) fn bounded(integers: __m512i, rescale: &Rescale<'_>) -> __m128i {
        let integers = _mm512_add_epi32(integers, _mm512_set1_epi32(rescale.zero));
        let integers = _mm512_max_epi32(integers, _mm512_set1_epi32(rescale.bounds.0));
        _mm512_cvtepi32_epi8(_mm512_min_epi32(integers, _mm512_set1_epi32(rescale.bounds.1)))
    }

    /// Sums by multipliers of these values and shifts: see [`Multiplier::apply`]. No shift is more than 31.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(in crate::affine) fn scaled(values: __m512i, shifts: __m512i, sums: __m512i) -> __m512i {
        let zero = _mm512_setzero_si512();
        let left = _mm512_max_epi32(shifts, zero);
        let right = _mm512_max_epi32(_mm512_sub_epi32(zero, shifts), zero);
        let x = _mm512_sllv_epi32(sums, left);
        let half = _mm512_set1_epi64(1 << 30);
        let of_even = _mm512_add_epi64(_mm512_mul_epi32(x, values), half);
        let odd = _mm512_mul_epi32(_mm512_srli_epi64(x, 32), _mm512_srli_epi64(values, 32));
        let of_odd = _mm512_add_epi64(odd, half);
        let product =
            _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(of_even, 31), _mm512_slli_epi64(of_odd, 1));
        let one = _mm512_set1_epi32(1);
        let mask = _mm512_sub_epi32(_mm512_sllv_epi32(one, right), one);
        let rest = _mm512_and_si512(product, mask);
        let threshold = _mm512_sub_epi32(_mm512_srli_epi32(mask, 1), _mm512_srai_epi32(product, 31));
        let is_more = _mm512_cmpgt_epi32_mask(rest, threshold);
        let quotient = _mm512_srav_epi32(product, right);
        _mm512_mask_add_epi32(quotient, is_more, quotient, one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affine::Multiplier;
    use crate::base::cpu::Isa;
    use crate::base::simd::{Kernel, dispatch};

    /// With sums no further from 0 than the last number.
    struct Store<'a>(&'a Rescale<'a>, &'a [i32; COLUMNS], &'a [i32], usize, &'a mut [u8], i64);

    impl Kernel for Store<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            let mut channels = Channels::default();
            channels.set(self.0, (0, self.3), Some(self.2), (&[0; COLUMNS], self.5));
            store::<S>(self.0, &channels, self.1, &mut self.4[..self.3]);
        }
    }

    #[test]
    fn vectors_multiply_numbers_as_single_sums_do() {
        let reals = [0.5, 0.25, 1e-3, 3e-5, 1.7, -0.3, 0.0, 5.0, 1e-7, f64::INFINITY];
        let all: [f64; COLUMNS] = std::array::from_fn(|c| reals[c % reals.len()]);
        for step in 0..2000i32 {
            let exact = if step % 5 == 0 { &all[2..3] } else { &all[..] };
            let rescale = Rescale { multipliers: &[], exact, zero: 7, bounds: (-128, 127) };
            let sums: [i32; COLUMNS] = std::array::from_fn(|c| match (step % 7, c) {
                (0, _) => (step - 1000) * (c as i32 - 5),
                (1, 0..4) => [i32::MAX, i32::MIN, 0, -1][c],
                _ => (step * 7919 + c as i32 * 131).wrapping_mul(step % 311).wrapping_sub(step * 40),
            });
            let expected: [u8; COLUMNS] =
                std::array::from_fn(|c| rescale.exactly(exact[c % exact.len()], sums[c] as f64) as u8);
            let (bias, count) = ([0; COLUMNS], step as usize % COLUMNS + 1);
            let mut bytes = [99; COLUMNS + 1];
            for isa in Isa::ALL {
                dispatch(isa, Store(&rescale, &sums, &bias, count, &mut bytes, furthest(&sums)));
                assert_eq!(bytes[..count], expected[..count], "{isa:?} {step}");
                assert!(bytes[count..].iter().all(|byte| *byte == 99));
            }
        }
    }

    fn furthest(sums: &[i32; COLUMNS]) -> i64 {
        sums.iter().map(|sum| (*sum as i64).abs()).fold(0, i64::max)
    }

    #[test]
    fn vectors_round_as_single_sums_do() {
        let reals = [0.5, 0.25, 1e-3, 3e-5, 0.3, 0.999_999, 2f64.powi(-31), 0.0, 1e-7, 1.0, 1.7, 5.0];
        for step in 0..5000i32 {
            // Those of 1 and more are shifted to the left.
            let reals = if step % 2 == 0 { &reals[..6] } else { &reals[..] };
            let multipliers: [Multiplier; COLUMNS] =
                std::array::from_fn(|c| Multiplier::of(reals[c % reals.len()]));
            let rescale = Rescale { multipliers: &multipliers, exact: &[], zero: -3, bounds: (-120, 125) };
            let sums: [i32; COLUMNS] = std::array::from_fn(|c| {
                let sum = (step * 7919 + c as i32 * 131).wrapping_mul(step % 311).wrapping_sub(step * 40);
                sum >> (step % 27)
            });
            let expected: [u8; COLUMNS] =
                std::array::from_fn(|c| rescale.bounded(multipliers[c].apply(sums[c])) as u8);
            for isa in Isa::ALL {
                let bias: Vec<i32> = (0..COLUMNS as i32).map(|c| c * 37 - 300).collect();
                let before = std::array::from_fn(|c| sums[c].wrapping_sub(bias[c]));
                let count = step as usize % COLUMNS + 1;
                let mut bytes = [99; COLUMNS + 1];
                dispatch(isa, Store(&rescale, &before, &bias, count, &mut bytes, furthest(&before)));
                assert_eq!(bytes[..count], expected[..count], "{isa:?} {step}");
                assert!(bytes[count..].iter().all(|byte| *byte == 99));
            }
        }
    }
}
