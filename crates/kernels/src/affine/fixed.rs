//! Functions of integers that stand for fractions, as gemmlowp computes them: exponentials and reciprocals.

use super::multiplier::{divided_by_power, doubled_high_product as times};

/// `x * 2^exponent`, as far as it fits.
#[inline(always)]
pub(crate) fn saturating_shift(x: i32, exponent: u32) -> i32 {
    let threshold = ((1i64 << (31 - exponent)) - 1) as i32;
    if x > threshold {
        i32::MAX
    } else if x < -threshold {
        i32::MIN
    } else {
        x << exponent
    }
}

/// e to the power of `x / 2^(31 - integer_bits)`, which is 0 or less, in 31 bits behind the point.
#[inline(always)]
pub(crate) fn exp_of_negative(x: i32, integer_bits: u32) -> i32 {
    let fraction_bits = 31 - integer_bits;
    let quarter = 1i32 << (fraction_bits - 2);
    let rest = (x & (quarter - 1)) - quarter;
    let mut result = exp_near_zero(saturating_shift(rest, integer_bits));
    let remainder = rest.wrapping_sub(x);
    // e to the power of -1/4, -1/2, -1 and so on.
    const POWERS: [i32; 7] =
        [1_672_461_947, 1_302_514_674, 790_015_084, 290_630_308, 39_332_535, 720_401, 242];
    for (at, power) in POWERS.into_iter().enumerate() {
        let shift = fraction_bits as i32 + at as i32 - 2;
        if at < integer_bits as usize + 2 && remainder & 1i32.wrapping_shl(shift as u32) != 0 {
            result = times(result, power);
        }
    }
    if integer_bits > 5 && x < -(1i32 << (36 - integer_bits)) {
        result = 0;
    }
    if x == 0 { i32::MAX } else { result }
}

/// e to the power of `x / 2^31` from -1/4 up to 0, by the first terms of its series at -1/8.
#[inline(always)]
fn exp_near_zero(x: i32) -> i32 {
    const AT_EIGHTH: i32 = 1_895_147_668;
    const THIRD: i32 = 715_827_883;
    let x = x.wrapping_add(1 << 28);
    let square = times(x, x);
    let cube = times(square, x);
    let fourth = divided_by_power(times(square, square), 2);
    let terms = divided_by_power(times(fourth.wrapping_add(cube), THIRD).wrapping_add(square), 1);
    AT_EIGHTH.wrapping_add(times(AT_EIGHTH, x.wrapping_add(terms)))
}

/// `1 / (1 + x / 2^31)` for x of 0 or more, in 31 bits behind the point.
#[inline(always)]
pub(crate) fn one_over_one_plus(x: i32) -> i32 {
    // Newton's method on half of the denominator, with two bits before the point.
    let sum = x as i64 + i32::MAX as i64;
    let half = ((sum + if sum >= 0 { 1 } else { -1 }) / 2) as i32;
    let mut result = 1_515_870_810i32.wrapping_add(times(half, -1_010_580_540));
    for _ in 0..3 {
        let error = (1i32 << 29).wrapping_sub(times(half, result));
        result = result.wrapping_add(saturating_shift(times(result, error), 2));
    }
    saturating_shift(result, 1)
}

/// The reciprocal of `x`, which has so many bits before the point, as a fraction of 31 bits, and how many bits it has before
/// the point.
pub(crate) fn reciprocal(x: i32, integer_bits: i32) -> (i32, i32) {
    let headroom = (x as u32).leading_zeros();
    let fraction = (x as u32).wrapping_shl(headroom).wrapping_sub(1 << 31) as i32;
    (one_over_one_plus(fraction), integer_bits - headroom as i32)
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
        let cube = saturating_shift(times(times(root, root), root), 6);
        let next = times(THREE_HALVES, root).wrapping_sub(times(half, cube));
        root = saturating_shift(next, 3);
    }
    root = times(root, HALF_ROOT_OF_TWO);
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
            assert!((exp_of_negative(x, 5) as f64 / ONE - exact).abs() < 1e-6, "{x}");
        }
        for step in 0..2000 {
            let x = step * 1_000_003;
            let exact = 1.0 / (1.0 + x as f64 / ONE);
            assert!((one_over_one_plus(x) as f64 / ONE - exact).abs() < 1e-7, "{x}");
        }
        assert_eq!(exp_of_negative(0, 5), i32::MAX);
    }
}
