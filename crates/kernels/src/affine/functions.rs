//! Functions of one integer, each as TFLite computes it in integers: what tables of bytes are filled with, and what int16 go through
//! one by one.

use super::fixed::reciprocal_root;
use super::multiplier::{Multiplier, divided_by_power};
use super::tables::{Affine, ByteTable, each};
use crate::base::error::Result;
use crate::base::threads::ThreadPool;
use crate::elementwise::float::erfc_f64;

/// The table of a function of the integers of a byte's type.
pub fn table_of(is_unsigned: bool, function: impl Fn(i32) -> i32) -> ByteTable {
    let (low, high) = if is_unsigned { (0, 255) } else { (-128, 127) };
    let mut table = [0; 256];
    for value in low..=high {
        table[(value & 255) as usize] = function(value).clamp(low, high) as u8;
    }
    table
}

/// Two lines that meet at 0: ReLU and its like, and absolute values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slopes {
    from_zero: i32,
    zero: i32,
    above: Multiplier,
    below: Multiplier,
    /// The line below 0 goes down.
    is_below_negative: bool,
    /// Numbers below 0 are taken for those above.
    is_absolute: bool,
}

impl Slopes {
    /// Numbers of 0 and more times `above`, others times `below`.
    pub fn new(from: Affine, to: Affine, above: f32, below: f32) -> Slopes {
        // Products and quotients of float32, as TFLite has them.
        let multiplier = |slope: f32| Multiplier::of((from.scale * slope / to.scale).abs() as f64);
        Slopes {
            from_zero: from.zero,
            zero: to.zero,
            above: multiplier(above),
            below: multiplier(below),
            is_below_negative: below < 0.0,
            is_absolute: false,
        }
    }

    /// Absolute values.
    pub fn absolute(from: Affine, to: Affine) -> Slopes {
        Slopes { is_absolute: true, ..Slopes::new(from, to, 1.0, 1.0) }
    }

    /// The integer of another.
    #[inline(always)]
    pub fn apply(self, x: i32) -> i32 {
        let x = x.wrapping_sub(self.from_zero);
        let x = if self.is_absolute { x.wrapping_abs() } else { x };
        let product = match (x >= 0, self.is_below_negative) {
            (true, _) => self.above.apply(x),
            (false, false) => self.below.apply(x),
            (false, true) => self.below.apply(x).wrapping_neg(),
        };
        product.wrapping_add(self.zero)
    }

    /// Those of int16, between bounds.
    ///
    /// # Errors
    /// As [`bytes_by_table`](super::bytes_by_table).
    pub fn run(
        self,
        pool: &ThreadPool,
        bounds: (i32, i32),
        src: Option<&[i16]>,
        dst: &mut [i16],
    ) -> Result<()> {
        each(pool, src, dst, |x| self.apply(x as i32).clamp(bounds.0, bounds.1) as i16)
    }
}

/// `x * relu6(x + 3) / 6` in 16 bits.
#[derive(Debug, Clone, Copy)]
pub struct HardSwish {
    from_zero: i32,
    zero: i32,
    output: (i16, i32),
    reluish: (i16, i32),
}

/// A multiplier of 16 bits.
fn halved(multiplier: Multiplier) -> (i16, i32) {
    let value = multiplier.value;
    let half = if value >= i32::MAX - (1 << 15) { i16::MAX as i32 } else { (value + (1 << 15)) >> 16 };
    (half as i16, multiplier.shift)
}

fn shifted(x: i16, shift: i32) -> i16 {
    (x as i64 * (1i64 << shift.min(40))).clamp(i16::MIN as i64, i16::MAX as i64) as i16
}

fn rounded_product(a: i16, b: i16) -> i16 {
    ((a as i32 * b as i32 + (1 << 14)) >> 15).min(i16::MAX as i32) as i16
}

impl HardSwish {
    /// For integers of these scales.
    pub fn new(from: Affine, to: Affine) -> HardSwish {
        let fine = from.scale * (1.0 / 128.0);
        HardSwish {
            from_zero: from.zero,
            zero: to.zero,
            output: halved(Multiplier::of((fine / to.scale) as f64)),
            reluish: halved(Multiplier::of((fine / (3.0 / 32_768.0f32)) as f64)),
        }
    }

    /// The integer of another.
    pub fn apply(self, x: i32) -> i32 {
        let fine = ((x - self.from_zero) * 128) as i16;
        let output = rounded_product(fine, self.output.0);
        let exponent = self.reluish.1;
        let mut reluish = if exponent > 0 { shifted(fine, exponent - 1) } else { fine };
        reluish = rounded_product(reluish, self.reluish.0);
        if exponent > 0 {
            reluish = shifted(reluish, 1);
        } else {
            reluish = divided_by_power(reluish as i32, -exponent as u32) as i16;
        }
        let reluish = ((reluish as i32 + (1 << 15)) >> 1) as i16;
        let product = (reluish as i32 * output as i32 / (1 << 15)) as i16;
        // What an output finer than its input would need to be shifted to the left by, TFLite refuses.
        divided_by_power(product as i32, (-self.output.1).max(0) as u32) + self.zero
    }
}

/// `1 / sqrt(x)`.
#[derive(Debug, Clone, Copy)]
pub struct ReciprocalRoot {
    from_zero: i32,
    zero: i32,
    multiplier: Multiplier,
}

impl ReciprocalRoot {
    /// For integers of these scales.
    pub fn new(from: Affine, to: Affine) -> ReciprocalRoot {
        let multiplier = Multiplier::of(1.0 / (from.scale.sqrt() * to.scale) as f64);
        ReciprocalRoot { from_zero: from.zero, zero: to.zero, multiplier }
    }

    /// The integer of another, the largest of that which stands for 0 or less.
    pub fn apply(self, x: i32) -> i32 {
        const SHIFT: i32 = 20;
        let x = x - self.from_zero;
        if x <= 0 {
            return i32::MAX;
        }
        let (value, shift) = reciprocal_root(x);
        let root = Multiplier { value, shift: shift + SHIFT }.apply(1);
        let multiplier = Multiplier { shift: self.multiplier.shift - SHIFT, ..self.multiplier };
        multiplier.apply(root).saturating_add(self.zero)
    }
}

/// `x` times the share of a normal distribution below it, or what it is taken for with a tanh.
pub fn gelu(x: f32, is_approximate: bool) -> f32 {
    if is_approximate {
        // The square root of 2 / pi.
        const FACTOR: f32 = 0.797_884_6;
        return 0.5 * x * (1.0 + (FACTOR * (x + 0.044_715 * x * x * x)).tanh());
    }
    0.5 * x * erfc_f64((x * -std::f32::consts::FRAC_1_SQRT_2) as f64) as f32
}

/// Rows of numbers divided by their length, of int8 and uint8: the output's scale is 1/128.
///
/// # Errors
/// [`KernelError::Length`](crate::KernelError::Length) for outputs of another length.
pub fn affine_l2_normalize(
    pool: &ThreadPool,
    (depth, zero): (usize, i32),
    is_unsigned: bool,
    src: &[u8],
    dst: &mut [u8],
) -> Result<()> {
    crate::base::error::check_exact("the output", src.len(), dst.len())?;
    if depth == 0 {
        return Ok(());
    }
    let value = |byte: u8| if is_unsigned { byte as i32 } else { byte as i8 as i32 } - zero;
    crate::base::access::split(pool, dst, depth, &|first, dst| {
        for (row, to) in dst.chunks_exact_mut(depth).enumerate() {
            let numbers = &src[(first + row) * depth..(first + row + 1) * depth];
            let squares = numbers.iter().map(|byte| value(*byte).wrapping_mul(value(*byte)));
            let (root, shift) = reciprocal_root(squares.fold(0, i32::wrapping_add));
            for (to, byte) in to.iter_mut().zip(numbers) {
                let scaled = Multiplier { value: root, shift }.apply(128i32.wrapping_mul(value(*byte)));
                *to = if is_unsigned { (scaled + 128).clamp(0, 255) } else { scaled.clamp(-128, 127) } as u8;
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_near() {
        let (from, to) = (Affine { scale: 0.05, zero: -10 }, Affine { scale: 0.04, zero: 20 });
        let swish = HardSwish::new(from, to);
        let slopes = Slopes::new(from, to, 1.0, 0.2);
        for x in -128..128 {
            let number = 0.05 * (x + 10) as f64;
            let exact = number * (number + 3.0).clamp(0.0, 6.0) / 6.0 / 0.04 + 20.0;
            assert!((swish.apply(x) as f64 - exact).abs() <= 1.0, "{x}");
            let exact = if number < 0.0 { number * 0.2 } else { number } / 0.04 + 20.0;
            assert!((slopes.apply(x) as f64 - exact).abs() <= 1.0, "{x}");
        }
        let root =
            ReciprocalRoot::new(Affine { scale: 0.05, zero: -128 }, Affine { scale: 0.05, zero: -100 });
        for x in -120..128 {
            let exact = 1.0 / (0.05f64 * (x + 128) as f64).sqrt() / 0.05 - 100.0;
            assert!((root.apply(x) as f64 - exact).abs() <= 1.0, "{x}: {} for {exact}", root.apply(x));
        }
    }

    #[test]
    fn rows_become_of_length_one() {
        let pool = ThreadPool::new(2).unwrap();
        let src: Vec<u8> = (0..30).map(|i| (i * 37 % 100 + 90) as u8).collect();
        let mut out = vec![0; 30];
        affine_l2_normalize(&pool, (10, 120), true, &src, &mut out).unwrap();
        for (row, numbers) in src.chunks(10).enumerate() {
            let length = numbers.iter().map(|x| (*x as f64 - 120.0).powi(2)).sum::<f64>().sqrt();
            for (c, x) in numbers.iter().enumerate() {
                let exact = (*x as f64 - 120.0) / length * 128.0 + 128.0;
                assert!((out[row * 10 + c] as f64 - exact).abs() <= 1.0);
            }
        }
    }
}
