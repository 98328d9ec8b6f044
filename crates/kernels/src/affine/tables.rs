//! Functions of one integer by tables: of 256 entries for bytes, and for int16 of 513 with straight lines between them.

use tightfit_core::TensorViewMut;

use super::pairs::{BoundedInteger, Integer};
use crate::base::access::{for_dtype, split, values_mut};
use crate::base::error::{KernelError, Result, check_exact};
use crate::base::threads::ThreadPool;

/// Entries of a table for int16: its upper 9 bits say where, the lower 7 how far to the next.
pub const WIDE_TABLE: usize = 513;

/// For each byte another.
pub type ByteTable = [u8; 256];

/// For each 128th int16 another int16.
pub type WideTable = [i16; WIDE_TABLE];

/// A scale and what stands for 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// The number that one step stands for.
    pub scale: f32,
    /// What stands for 0.
    pub zero: i32,
}

/// The table of a function for int8 or uint8, which the bytes' own value finds its entry in.
pub fn byte_table(is_unsigned: bool, from: Affine, to: Affine, function: impl Fn(f32) -> f32) -> ByteTable {
    let inverse = 1.0 / to.scale;
    let (low, high) = if is_unsigned { (0, 255) } else { (-128, 127) };
    let mut table = [0; 256];
    for value in low..=high {
        let number = function(from.scale * (value - from.zero) as f32);
        let integer = ((number * inverse).round() + to.zero as f32) as i32;
        table[(value & 255) as usize] = integer.clamp(low, high) as u8;
    }
    table
}

/// The table of a function for int16. Between two entries it is as far off in the middle as at the ends.
pub fn wide_table(from: Affine, to: Affine, function: impl Fn(f32) -> f32) -> WideTable {
    let end = |affine: Affine, end: i16| affine.scale * (end as i32 - affine.zero) as f32;
    let (low, high) = (end(from, i16::MIN), end(from, i16::MAX));
    let (out_low, out_high) = (end(to, i16::MIN), end(to, i16::MAX));
    let step = (high - low) / 512.0;
    let inverse = 65_536.0 / (out_high - out_low);
    let bounded = |x: f32| x.max(i16::MIN as f32).min(i16::MAX as f32) as i16;
    let mut table = [0; WIDE_TABLE];
    for (i, entry) in table.iter_mut().enumerate().take(512) {
        let at = low + i as f32 * step;
        let (value, middle) = (function(at), function(at + step / 2.0));
        let next = function(low + (i + 1) as f32 * step);
        let sample = (value * inverse).round();
        let between = ((next * inverse + sample) / 2.0).round();
        let error = between - (middle * inverse).round();
        *entry = bounded(sample - (error / 2.0).round());
    }
    table[512] = bounded((function(high) * inverse).round());
    table
}

/// The same with numbers of 64 bits, of a function from one range of numbers to another.
pub fn wide_table_between(
    (from_scale, from_zero): (f64, i32),
    (to_scale, to_zero): (f64, i32),
    function: impl Fn(f64) -> f64,
) -> WideTable {
    let end = |scale: f64, zero: i32, end: i16| scale * (end as i32 - zero) as f64;
    let (low, high) = (end(from_scale, from_zero, i16::MIN), end(from_scale, from_zero, i16::MAX));
    let (out_low, out_high) = (end(to_scale, to_zero, i16::MIN), end(to_scale, to_zero, i16::MAX));
    let step = (high - low) / 512.0;
    let inverse = 65_536.0 / (out_high - out_low);
    let bounded = |x: f64| x.max(i16::MIN as f64).min(i16::MAX as f64) as i16;
    let mut table = [0; WIDE_TABLE];
    for (i, entry) in table.iter_mut().enumerate().take(512) {
        let at = low + i as f64 * step;
        let (value, middle) = (function(at), function(at + step / 2.0));
        let next = function(low + (i + 1) as f64 * step);
        let sample = (value * inverse).round();
        let between = ((next * inverse + sample) / 2.0).round();
        let error = between - (middle * inverse).round();
        *entry = bounded(sample - (error / 2.0).round());
    }
    table[512] = bounded((function(high) * inverse).round());
    table
}

/// The entry of an int16.
#[inline(always)]
pub(crate) fn look_up(x: i16, table: &WideTable) -> i16 {
    let index = (256 + (x >> 7) as i32) as usize;
    let base = table[index];
    let slope = table[index + 1].wrapping_sub(base) as i32;
    base.wrapping_add(((slope * (x & 0x7f) as i32 + 64) >> 7) as i16)
}

/// Puts for each byte its entry; `src` is `None` where it is in `dst`.
///
/// # Errors
/// [`KernelError::Length`] for another number of bytes.
pub fn bytes_by_table(
    pool: &ThreadPool,
    table: &ByteTable,
    src: Option<&[u8]>,
    dst: &mut [u8],
) -> Result<()> {
    #[cfg(target_arch = "x86_64")]
    if pool.isa().has_avx2() {
        if let Some(src) = src {
            check_exact("the input", dst.len(), src.len())?;
        }
        split(pool, dst, 1, &|first, dst| {
            let (count, to) = (dst.len(), dst.as_mut_ptr());
            let from = src.map_or(to.cast_const(), |src| src[first..first + count].as_ptr());
            // SAFETY: the processor has the instructions, and there are as many bytes at both.
            unsafe { x86::look_up(table, from, to, count) }
        });
        return Ok(());
    }
    each(pool, src, dst, |byte| table[byte as usize])
}

/// Puts for each int16 its entry.
///
/// # Errors
/// As [`bytes_by_table`].
pub fn wide_by_table(
    pool: &ThreadPool,
    table: &WideTable,
    src: Option<&[i16]>,
    dst: &mut [i16],
) -> Result<()> {
    each(pool, src, dst, |x| look_up(x, table))
}

pub(super) fn each<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    src: Option<&[T]>,
    dst: &mut [T],
    f: impl Fn(T) -> T + Sync,
) -> Result<()> {
    if let Some(src) = src {
        check_exact("the input", dst.len(), src.len())?;
    }
    split(pool, dst, 1, &|first, dst| match src {
        Some(src) => dst.iter_mut().zip(&src[first..]).for_each(|(to, x)| *to = f(*x)),
        None => dst.iter_mut().for_each(|to| *to = f(*to)),
    });
    Ok(())
}

/// Brings the slices of some places along an axis from one scale and zero point to another, in float32.
///
/// # Errors
/// [`KernelError`] for types other than int8, uint8 and int16.
pub fn rescale_slices(
    axis: usize,
    places: std::ops::Range<usize>,
    (from, to): (Affine, Affine),
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "tfl.concatenation";
    let shape = *dst.shape();
    let Some(size) = shape.get(axis).copied().filter(|size| places.end <= *size) else {
        return Err(KernelError::Invalid {
            kernel: KERNEL,
            rule: "the places lie along an axis of the output",
        });
    };
    let inner: usize = shape[axis + 1..].iter().product();
    let scale = from.scale * (1.0 / to.scale);
    let bias = -from.zero as f32 * scale;
    let dtype = dst.dtype();
    for_dtype!(dtype, KERNEL, [I8, U8, I16], T => {
        let rows = values_mut::<T>(dst.bytes(), KERNEL)?.chunks_exact_mut((size * inner).max(1));
        for row in rows {
            for x in &mut row[places.start * inner..places.end * inner] {
                let integer = ((x.wide() as f32 * scale + bias).round() as i32).saturating_add(to.zero);
                *x = T::narrow(integer.clamp(T::LOWEST, T::HIGHEST));
            }
        }
        Ok(())
    })
}

/// How int16 are scaled to the entries of the sigmoid's own table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigmoidScale {
    multiplier: i32,
    shift: u32,
}

impl SigmoidScale {
    /// For integers of this scale. A tanh takes powers of two of 4096 and of 2048 as they are, a sigmoid only the former.
    ///
    /// # Errors
    /// [`KernelError::Attribute`] for a scale that is no positive number.
    pub fn new(scale: f32, is_tanh: bool) -> Result<SigmoidScale> {
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(KernelError::Attribute("a scale is not a positive number"));
        }
        let log = scale.ln() * (1.0 / 2f32.ln());
        let shift = 12 + log.round() as i32;
        if (log - log.round()).abs() < 1e-3 && (shift == 0 || (is_tanh && shift == 1)) {
            return Ok(SigmoidScale { multiplier: 3 << shift, shift: 0 });
        }
        let (mut multiplier, mut shift) = (scale as f64 * 4096.0 * 3.0, 0);
        while multiplier <= 32_767.0 / 2.0 && shift <= 30 {
            shift += 1;
            multiplier *= 2.0;
        }
        Ok(SigmoidScale { multiplier: multiplier as i32, shift })
    }

    #[inline(always)]
    fn apply(self, x: i16) -> i32 {
        let round = if self.shift > 0 { 1i32.wrapping_shl(self.shift - 1) } else { 0 };
        (x as i32).wrapping_mul(self.multiplier).wrapping_add(round) >> self.shift.min(31)
    }

    #[inline(always)]
    fn sigmoid_of(self, x: i16) -> i16 {
        let x = self.apply(x);
        let size = x.unsigned_abs();
        let at = (size >> 9) as usize;
        let result = if at >= 255 {
            0x7fff << 10
        } else {
            let (a, b) = (SIGMOID[at] as u32, SIGMOID[at + 1] as u32);
            (a << 9) + (size & 0x1ff) * (b - a)
        };
        let result = if x >= 0 { result + (1 << 9) } else { (1 << 25) - result + (1 << 9) - 1 };
        (result >> 10) as i16
    }

    #[inline(always)]
    fn tanh_of(self, x: i16) -> i16 {
        let x = self.apply(x);
        let size = x.unsigned_abs();
        let at = (size >> 8) as usize;
        let result = if at >= 255 {
            0xffff << 8
        } else {
            let (a, b) = (SIGMOID[at] as i32, SIGMOID[at + 1] as i32);
            (a << 8) + (size & 0xff) as i32 * (b - a)
        };
        let result = if x >= 0 { result - (1 << 23) + (1 << 7) } else { -result + (1 << 23) + (1 << 7) - 1 };
        (result >> 8) as i16
    }

    /// The sigmoid of each int16, in 15 bits after the point.
    ///
    /// # Errors
    /// As [`bytes_by_table`].
    pub fn sigmoid(self, pool: &ThreadPool, src: Option<&[i16]>, dst: &mut [i16]) -> Result<()> {
        each(pool, src, dst, |x| self.sigmoid_of(x))
    }

    /// The tanh of each int16, in 15 bits after the point.
    ///
    /// # Errors
    /// As [`bytes_by_table`].
    pub fn tanh(self, pool: &ThreadPool, src: Option<&[i16]>, dst: &mut [i16]) -> Result<()> {
        each(pool, src, dst, |x| self.tanh_of(x))
    }
}

/// The sigmoid of each 24th, in 16 bits.
#[rustfmt::skip]
const SIGMOID: [u16; 256] = [32_768, 33_451, 34_133, 34_813, 35_493, 36_169, 36_843, 37_513, 38_180, 38_841, 39_498, 40_149, 40_794, 41_432, 42_064, 42_688, 43_304, 43_912, 44_511, 45_102, 45_683, 46_255, 46_817, 47_369, 47_911, 48_443, 48_964, 49_475, 49_975, 50_464, 50_942, 51_409, 51_865, 52_311, 52_745, 53_169, 53_581, 53_983, 54_374, 54_755, 55_125, 55_485, 55_834, 56_174, 56_503, 56_823, 57_133, 57_433, 57_724, 58_007, 58_280, 58_544, 58_800, 59_048, 59_288, 59_519, 59_743, 59_959, 60_168, 60_370, 60_565, 60_753, 60_935, 61_110, 61_279, 61_441, 61_599, 61_750, 61_896, 62_036, 62_172, 62_302, 62_428, 62_549, 62_666, 62_778, 62_886, 62_990, 63_090, 63_186, 63_279, 63_368, 63_454, 63_536, 63_615, 63_691, 63_765, 63_835, 63_903, 63_968, 64_030, 64_090, 64_148, 64_204, 64_257, 64_308, 64_357, 64_405, 64_450, 64_494, 64_536, 64_576, 64_614, 64_652, 64_687, 64_721, 64_754, 64_786, 64_816, 64_845, 64_873, 64_900, 64_926, 64_950, 64_974, 64_997, 65_019, 65_039, 65_060, 65_079, 65_097, 65_115, 65_132, 65_149, 65_164, 65_179, 65_194, 65_208, 65_221, 65_234, 65_246, 65_258, 65_269, 65_280, 65_291, 65_301, 65_310, 65_319, 65_328, 65_337, 65_345, 65_352, 65_360, 65_367, 65_374, 65_381, 65_387, 65_393, 65_399, 65_404, 65_410, 65_415, 65_420, 65_425, 65_429, 65_433, 65_438, 65_442, 65_445, 65_449, 65_453, 65_456, 65_459, 65_462, 65_465, 65_468, 65_471, 65_474, 65_476, 65_479, 65_481, 65_483, 65_485, 65_488, 65_489, 65_491, 65_493, 65_495, 65_497, 65_498, 65_500, 65_501, 65_503, 65_504, 65_505, 65_507, 65_508, 65_509, 65_510, 65_511, 65_512, 65_513, 65_514, 65_515, 65_516, 65_517, 65_517, 65_518, 65_519, 65_520, 65_520, 65_521, 65_522, 65_522, 65_523, 65_523, 65_524, 65_524, 65_525, 65_525, 65_526, 65_526, 65_526, 65_527, 65_527, 65_528, 65_528, 65_528, 65_529, 65_529, 65_529, 65_529, 65_530, 65_530, 65_530, 65_530, 65_531, 65_531, 65_531, 65_531, 65_531, 65_532, 65_532, 65_532, 65_532, 65_532, 65_532, 65_533, 65_533, 65_533, 65_533, 65_533, 65_533, 65_533, 65_533, 65_534, 65_534, 65_534, 65_534, 65_534, 65_534, 65_534, 65_534, 65_534, 65_534, 65_535];

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::ByteTable;

    /// Bytes that are looked up at once.
    const LANES: usize = 32;

    /// Puts for each of so many bytes at `from` its entry `to` a place, which may be the same.
    ///
    /// # Safety
    /// The processor has AVX2, and as many bytes can be read and written.
    #[target_feature(enable = "avx2")]
    pub unsafe fn look_up(table: &ByteTable, from: *const u8, to: *mut u8, count: usize) {
        // A shuffle gives 0 for bytes of 128 and more, and else looks at the lower four bits: what each adds to the one
        // before, for bytes that are 16 less each time, adds up to the entry of the bytes' own sixteen.
        let mut parts = [[_mm256_setzero_si256(); 8]; 2];
        for (half, parts) in table.as_chunks::<128>().0.iter().zip(&mut parts) {
            let mut before = _mm256_setzero_si256();
            for (sixteen, part) in half.as_chunks::<16>().0.iter().zip(parts) {
                // SAFETY: 16 bytes.
                let own = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(sixteen.as_ptr().cast()) });
                *part = _mm256_xor_si256(own, before);
                before = own;
            }
        }
        let (sixteen, flip) = (_mm256_set1_epi8(16), _mm256_set1_epi8(-128));
        let entries = |bytes: __m256i| {
            let mut entries = _mm256_setzero_si256();
            for (parts, flipped) in parts.iter().zip([bytes, _mm256_xor_si256(bytes, flip)]) {
                let mut place = flipped;
                for part in parts {
                    entries = _mm256_xor_si256(entries, _mm256_shuffle_epi8(*part, place));
                    place = _mm256_subs_epi8(place, sixteen);
                }
            }
            entries
        };
        let whole = count / LANES * LANES;
        for at in (0..whole).step_by(LANES) {
            // SAFETY: the caller's promise.
            unsafe {
                let bytes = _mm256_loadu_si256(from.add(at).cast());
                _mm256_storeu_si256(to.add(at).cast(), entries(bytes));
            }
        }
        for at in whole..count {
            // SAFETY: the caller's promise.
            unsafe { *to.add(at) = table[*from.add(at) as usize] };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_find_the_entries_that_single_bytes_do() {
        let table: ByteTable = std::array::from_fn(|at| (at * 91 + at / 7) as u8);
        let bytes: Vec<u8> = (0..1000).map(|at| (at * 37 / 3) as u8).collect();
        let expected: Vec<u8> = bytes.iter().map(|byte| table[*byte as usize]).collect();
        for isa in crate::Isa::ALL {
            let pool = ThreadPool::with_isa(1, isa).unwrap();
            let (mut apart, mut in_place) = (vec![0; 1000], bytes.clone());
            bytes_by_table(&pool, &table, Some(&bytes), &mut apart).unwrap();
            bytes_by_table(&pool, &table, None, &mut in_place).unwrap();
            assert_eq!((&apart, &in_place), (&expected, &expected), "{isa:?}");
        }
    }

    #[test]
    fn tables_are_near_their_functions() {
        let (from, to) = (Affine { scale: 0.05, zero: 3 }, Affine { scale: 1.0 / 256.0, zero: -128 });
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        let table = byte_table(false, from, to, sigmoid);
        for x in -128..128i32 {
            let exact = sigmoid(0.05 * (x - 3) as f32) * 256.0 - 128.0;
            assert!((table[(x & 255) as usize] as i8 as f32 - exact.min(127.0)).abs() <= 0.5001, "{x}");
        }
        let (from, to) = (Affine { scale: 1e-4, zero: 0 }, Affine { scale: 1.0 / 32768.0, zero: 0 });
        let table = wide_table(from, to, |x| x * x / 16.0);
        for x in (i16::MIN..=i16::MAX).step_by(77) {
            let exact = (x as f32 * 1e-4).powi(2) / 16.0 * 32768.0;
            assert!((look_up(x, &table) as f32 - exact).abs() < 2.0, "{x}");
        }
    }

    #[test]
    fn the_sigmoid_of_int16_is_near() {
        let pool = ThreadPool::new(1).unwrap();
        for scale in [1.0 / 4096.0, 1.0 / 2048.0, 0.0007] {
            let x: Vec<i16> = (i16::MIN..=i16::MAX).step_by(101).collect();
            for is_tanh in [false, true] {
                let own = SigmoidScale::new(scale, is_tanh).unwrap();
                let mut y = vec![0; x.len()];
                if is_tanh {
                    own.tanh(&pool, Some(&x), &mut y)
                } else {
                    own.sigmoid(&pool, Some(&x), &mut y)
                }
                .unwrap();
                for (x, y) in x.iter().zip(y) {
                    let number = *x as f64 * scale as f64;
                    let exact = if is_tanh { number.tanh() } else { 1.0 / (1.0 + (-number).exp()) };
                    assert!((y as f64 / 32768.0 - exact).abs() < 4e-4, "{number} {is_tanh}: {y}");
                }
            }
        }
    }
}
