//! Functions of integers that stand for fractions, as gemmlowp computes them (fixedpoint/fixedpoint.h): exponentials, reciprocals,
//! the logistic function and tanh.
//!
//! Numbers have `BITS` bits besides the sign: 31, or 15 of those that int16 holds. With none of them before the point, the largest
//! integer stands for 1.

use super::multiplier::{divided_by_power, doubled_high_product};

/// `a * b / 2^BITS`, to the nearest integer, halves up.
#[inline(always)]
fn times<const BITS: u32>(a: i32, b: i32) -> i32 {
    if BITS == 31 {
        return doubled_high_product(a, b);
    }
    (a * b + (1 << (BITS - 1))) >> BITS
}

/// A constant of 31 bits in the bits that there are.
#[inline(always)]
fn constant<const BITS: u32>(x: i32) -> i32 {
    divided_by_power(x, 31 - BITS)
}

/// The largest integer, which stands for 1.
#[inline(always)]
fn one<const BITS: u32>() -> i32 {
    (u32::MAX >> (32 - BITS)) as i32
}

/// `x * 2^exponent`, as far as it fits.
#[inline(always)]
pub(crate) fn saturating_shift<const BITS: u32>(x: i32, exponent: u32) -> i32 {
    let threshold = one::<BITS>() >> exponent;
    if x > threshold {
        one::<BITS>()
    } else if x < -threshold {
        -one::<BITS>() - 1
    } else {
        x << exponent
    }
}

/// e to the power of `x`, which is 0 or less and has so many bits before the point; with none before it.
#[inline(always)]
pub(crate) fn exp_of_negative<const BITS: u32>(x: i32, integer_bits: u32) -> i32 {
    let fraction_bits = BITS - integer_bits;
    let quarter = 1i32 << (fraction_bits - 2);
    let rest = (x & (quarter - 1)) - quarter;
    let mut result = exp_near_zero::<BITS>(saturating_shift::<BITS>(rest, integer_bits));
    let remainder = rest.wrapping_sub(x);
    // e to the power of -1/4, -1/2, -1 and so on.
    const POWERS: [i32; 7] =
        [1_672_461_947, 1_302_514_674, 790_015_084, 290_630_308, 39_332_535, 720_401, 242];
    for (at, power) in POWERS.into_iter().enumerate() {
        let shift = fraction_bits as i32 + at as i32 - 2;
        if at < integer_bits as usize + 2 && remainder & 1i32.wrapping_shl(shift as u32) != 0 {
            result = times::<BITS>(result, constant::<BITS>(power));
        }
    }
    if integer_bits > 5 && x < -(1i32 << (BITS + 5 - integer_bits)) {
        result = 0;
    }
    if x == 0 { one::<BITS>() } else { result }
}

/// e to the power of `x` from -1/4 up to 0, by the first terms of its series at -1/8.
#[inline(always)]
fn exp_near_zero<const BITS: u32>(x: i32) -> i32 {
    let (at_eighth, third) = (constant::<BITS>(1_895_147_668), constant::<BITS>(715_827_883));
    let x = x.wrapping_add(1 << (BITS - 3));
    let square = times::<BITS>(x, x);
    let cube = times::<BITS>(square, x);
    let fourth = divided_by_power(times::<BITS>(square, square), 2);
    let terms = divided_by_power(times::<BITS>(fourth.wrapping_add(cube), third).wrapping_add(square), 1);
    let sum = at_eighth.wrapping_add(times::<BITS>(at_eighth, x.wrapping_add(terms)));
    if BITS < 31 { sum.min(one::<BITS>()) } else { sum }
}

/// `2 / (1 + x)` for x from 0 to 1, with two bits before the point: by Newton's method on half of the denominator.
#[inline(always)]
fn two_over_one_plus<const BITS: u32>(x: i32) -> i32 {
    let sum = x as i64 + one::<BITS>() as i64;
    let half = ((sum + if sum >= 0 { 1 } else { -1 }) / 2) as i32;
    let start = constant::<BITS>(1_515_870_810);
    let mut result = start.wrapping_add(times::<BITS>(half, constant::<BITS>(-1_010_580_540)));
    for _ in 0..3 {
        let error = (1i32 << (BITS - 2)).wrapping_sub(times::<BITS>(half, result));
        result = result.wrapping_add(saturating_shift::<BITS>(times::<BITS>(result, error), 2));
    }
    result
}

/// `1 / (1 + x)` for x from 0 to 1, with no bits before the point.
#[inline(always)]
pub(crate) fn one_over_one_plus<const BITS: u32>(x: i32) -> i32 {
    saturating_shift::<BITS>(two_over_one_plus::<BITS>(x), 1)
}

/// `1 / (1 + e^-x)` of an int16 with so many bits before the point.
pub(crate) fn logistic(x: i16, integer_bits: u32) -> i16 {
    let of_positive = one_over_one_plus::<15>(exp_of_negative::<15>(-(x as i32).abs(), integer_bits));
    match x {
        0 => 1 << 14,
        1.. => of_positive as i16,
        _ => (one::<15>() - of_positive) as i16,
    }
}

/// tanh of an int16 with so many bits before the point.
pub(crate) fn tanh(x: i16, integer_bits: u32) -> i16 {
    // Twice a number is the same integer with one more bit before the point.
    let exponential = exp_of_negative::<15>(-(x as i32).abs(), integer_bits + 1);
    let of_positive = saturating_shift::<15>(two_over_one_plus::<15>(exponential) - (1 << 13), 2);
    match x {
        0 => 0,
        1.. => of_positive as i16,
        _ => -of_positive as i16,
    }
}

/// The reciprocal of `x`, which has so many bits before the point, as a fraction of 31 bits, and how many bits it has before
/// the point.
pub(crate) fn reciprocal(x: i32, integer_bits: i32) -> (i32, i32) {
    let headroom = (x as u32).leading_zeros();
    let fraction = (x as u32).wrapping_shl(headroom).wrapping_sub(1 << 31) as i32;
    (one_over_one_plus::<31>(fraction), integer_bits - headroom as i32)
}

/// `1 / sqrt(x)` of an integer as a multiplier: its value, and the power of two, 0 or less.
pub(crate) fn reciprocal_root(x: i32) -> (i32, i32) {
    if x <= 1 {
        return (i32::MAX, 0);
    }
    let (mut x, mut shift) = (x, 11);
    while x >= 1 << 29 {
        x /= 4;
        shift += 1;
    }
    let pairs = (x.leading_zeros() as i32 - 1) / 2 - 1;
    shift -= pairs;
    x <<= 2 * pairs;
    // Newton's method, with three bits before the point.
    let half = divided_by_power(x >> 1, 1);
    const THREE_HALVES: i32 = (1 << 28) + (1 << 27);
    const HALF_ROOT_OF_TWO: i32 = 1_518_500_250;
    let mut root = 1i32 << 28;
    for _ in 0..5 {
        let cube = saturating_shift::<31>(times::<31>(times::<31>(root, root), root), 6);
        let next = times::<31>(THREE_HALVES, root).wrapping_sub(times::<31>(half, cube));
        root = saturating_shift::<31>(next, 3);
    }
    root = times::<31>(root, HALF_ROOT_OF_TWO);
    if shift < 0 {
        root <<= -shift;
        shift = 0;
    }
    (root, -shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: f64 = (1u64 << 31) as f64;

    #[test]
    fn exponentials_and_reciprocals_are_near() {
        for step in 0..4000 {
            let x = -step * 100_003;
            let exact = (x as f64 / (1 << 26) as f64).exp();
            assert!((exp_of_negative::<31>(x, 5) as f64 / ONE - exact).abs() < 1e-6, "{x}");
        }
        for step in 0..2000 {
            let x = step * 1_000_003;
            let exact = 1.0 / (1.0 + x as f64 / ONE);
            assert!((one_over_one_plus::<31>(x) as f64 / ONE - exact).abs() < 1e-7, "{x}");
        }
        assert_eq!(exp_of_negative::<31>(0, 5), i32::MAX);
    }

    #[test]
    fn logistic_and_tanh_of_int16_are_near() {
        for bits in 0..=6 {
            for x in i16::MIN..=i16::MAX {
                let exact = x as f64 / (1 << (15 - bits)) as f64;
                let (share, squashed) = (logistic(x, bits) as f64 / 32768.0, tanh(x, bits) as f64 / 32768.0);
                assert!((share - 1.0 / (1.0 + (-exact).exp())).abs() < 1e-3, "{x} {bits}: {share}");
                assert!((squashed - exact.tanh()).abs() < 1e-3, "{x} {bits}: {squashed}");
            }
        }
        // gemmlowp's own, of int16 with three bits before the point.
        assert_eq!([0, 4096, -4096].map(|x| logistic(x, 3)), [16384, 23952, 8815]);
    }
}
