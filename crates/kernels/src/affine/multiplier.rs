//! Products of integers by numbers, in integers alone, as TFLite rounds them.

use crate::base::error::{Result, check_exact};

/// A number as an integer of 31 bits and a power of two: `value / 2^31 * 2^shift`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Multiplier {
    /// The number between 1/2 and 1, as a fraction of 2^31; 0 for 0 and for what is too small.
    pub value: i32,
    /// The power of two that it is multiplied with.
    pub shift: i32,
}

/// The most that a number can be shifted to the left.
const MAX_SHIFT: i32 = 62;

impl Multiplier {
    /// The nearest to `real`, which is finite.
    pub fn of(real: f64) -> Multiplier {
        if real == 0.0 || !real.is_finite() {
            return Multiplier::default();
        }
        let (fraction, mut shift) = fraction_and_exponent(real);
        let mut value = (fraction * (1u64 << 31) as f64).round() as i64;
        if value == 1 << 31 {
            value /= 2;
            shift += 1;
        }
        if shift < -31 {
            return Multiplier::default();
        }
        Multiplier { value: value as i32, shift: shift.min(MAX_SHIFT) }
    }

    /// `x` times the number, rounded twice: to an integer before the shift to the right, and after it.
    #[inline(always)]
    pub fn apply(self, x: i32) -> i32 {
        let (left, right) = if self.shift > 0 { (self.shift as u32, 0) } else { (0, -self.shift as u32) };
        divided_by_power(doubled_high_product(x.wrapping_mul(1i32.wrapping_shl(left)), self.value), right)
    }

    /// The same of a sum of up to 48 bits, by the number's upper 16 bits, rounded once.
    #[inline(always)]
    pub fn apply_wide(self, x: i64) -> i32 {
        let reduced = if self.value < 0x7fff_0000 { (self.value + (1 << 15)) >> 16 } else { 0x7fff };
        let shift = (15 - self.shift).clamp(1, 62);
        (x.wrapping_mul(reduced as i64).wrapping_add(1 << (shift - 1)) >> shift) as i32
    }
}

/// A finite number other than 0 as a fraction between 1/2 and 1 and a power of two.
fn fraction_and_exponent(x: f64) -> (f64, i32) {
    const EXPONENT: u64 = 0x7ff << 52;
    let (x, scaled) = if x.abs() < f64::MIN_POSITIVE { (x * (1u64 << 54) as f64, -54) } else { (x, 0) };
    let bits = x.to_bits();
    let exponent = ((bits & EXPONENT) >> 52) as i32 - 1022;
    (f64::from_bits(bits & !EXPONENT | 1022 << 52), exponent + scaled)
}

/// `a * b / 2^31`, to the nearest integer, halves up; the one product that does not fit is the largest integer.
#[inline(always)]
pub fn doubled_high_product(a: i32, b: i32) -> i32 {
    let high = (a as i64 * b as i64 + (1 << 30)) >> 31;
    high.min(i32::MAX as i64) as i32
}

/// `x / 2^exponent`, to the nearest integer, halves away from zero.
#[inline(always)]
pub fn divided_by_power(x: i32, exponent: u32) -> i32 {
    let mask = (1i64 << exponent.min(31)) - 1;
    let rest = x as i64 & mask;
    let threshold = (mask >> 1) + (x < 0) as i64;
    (x >> exponent.min(31)) + (rest > threshold) as i32
}

/// From the integers of a sum to those of a tensor: one number to multiply with, or one for each channel, what stands for 0,
/// and the bounds that an activation sets.
#[derive(Debug, Clone, Copy)]
pub struct Rescale<'a> {
    /// One number, or one for each channel.
    pub multipliers: &'a [Multiplier],
    /// The numbers themselves, where sums are multiplied as numbers and rounded once; else nothing.
    pub exact: &'a [f64],
    /// What stands for 0.
    pub zero: i32,
    /// The smallest and the largest integer.
    pub bounds: (i32, i32),
}

impl Rescale<'_> {
    /// Checks that there is one number, or one for each channel.
    pub(crate) fn check(&self, channels: usize) -> Result<()> {
        let numbers = if self.exact.is_empty() { self.multipliers.len() } else { self.exact.len() };
        if numbers == 1 { Ok(()) } else { check_exact("the multipliers", channels, numbers) }
    }

    /// The integer of a sum by a number, halves away from 0.
    #[inline(always)]
    pub(crate) fn exactly(&self, factor: f64, sum: f64) -> i32 {
        let number = sum * factor;
        let integer = (number + 0.5f64.copysign(number)) as i32;
        integer.saturating_add(self.zero).max(self.bounds.0).min(self.bounds.1)
    }

    /// The integer of a product by a multiplier.
    #[inline(always)]
    pub(crate) fn bounded(&self, product: i32) -> i32 {
        product.wrapping_add(self.zero).max(self.bounds.0).min(self.bounds.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_fractions_and_powers_of_two() {
        for (real, value, shift) in [
            (1.0, 1 << 30, 1),
            (0.75, 3 << 29, 0),
            (2f64.powi(-33), 0, 0),
            (0.0, 0, 0),
            (1.0 - 1e-12, 1 << 30, 1),
        ] {
            assert_eq!(Multiplier::of(real), Multiplier { value, shift }, "{real}");
        }
        let (fraction, exponent) = fraction_and_exponent(5e-324);
        assert_eq!((fraction, exponent), (0.5, -1073));
    }

    /// The definitions of gemmlowp, in C++'s division.
    fn slow(x: i32, m: Multiplier) -> i32 {
        let x = x.wrapping_mul(1 << m.shift.max(0));
        let product = x as i64 * m.value as i64;
        let nudge = if product >= 0 { 1i64 << 30 } else { 1 - (1i64 << 30) };
        let high = ((product + nudge) / (1i64 << 31)) as i32;
        let right = -m.shift.min(0);
        let mask = ((1i64 << right) - 1) as i32;
        let threshold = (mask >> 1) + (high < 0) as i32;
        (high >> right) + ((high & mask) > threshold) as i32
    }

    #[test]
    fn products_are_rounded_twice() {
        let xs =
            [0, 1, -1, 2, -2, 3, -3, 99, -1000, 123_456, -123_456, 1 << 30, -(1 << 30), i32::MAX, i32::MIN];
        for real in [0.5, 0.25, 0.3, 1.0 / 3.0, 0.999_999, 1.5, 7e-4, 1e-9] {
            let m = Multiplier::of(real);
            for x in xs {
                assert_eq!(m.apply(x), slow(x, m), "{x} times {real}");
            }
        }
        assert_eq!(Multiplier::of(0.25).apply(-2), -1);
        assert_eq!(doubled_high_product(i32::MIN, i32::MIN), i32::MAX);
    }

    #[test]
    fn long_sums_are_rounded_once() {
        for (x, real, expected) in [(1i64 << 40, 2f64.powi(-20), 1 << 20), (-3, 0.5, -1), (3, 0.5, 2)] {
            assert_eq!(Multiplier::of(real).apply_wide(x), expected);
        }
    }
}
