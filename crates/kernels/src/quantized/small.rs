//! Numbers of eight and of four bits, each in a byte of its own.

use crate::base::error::{Result, check_exact};

/// How a byte stands for a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmallNumber {
    /// An integer of four bits, -8 to 7, in the lower half.
    Int4,
    /// An integer of four bits, 0 to 15, in the lower half.
    UInt4,
    /// A float of five bits of exponent and two of fraction, with infinities.
    Float8E5M2,
    /// A float of four bits of exponent and three of fraction, without infinities.
    Float8E4M3,
}

impl SmallNumber {
    /// True for a float.
    pub fn is_float(self) -> bool {
        matches!(self, SmallNumber::Float8E5M2 | SmallNumber::Float8E4M3)
    }

    /// A byte of an integer as what four bits hold of it, as a whole byte; a float's as it is.
    pub fn cut(self, byte: u8) -> u8 {
        match self {
            SmallNumber::Int4 => ((byte << 4) as i8 >> 4) as u8,
            SmallNumber::UInt4 => byte & 15,
            _ => byte,
        }
    }

    /// The number that a byte stands for.
    pub fn decode(self, byte: u8) -> f32 {
        match self {
            SmallNumber::Int4 => self.cut(byte) as i8 as f32,
            SmallNumber::UInt4 => self.cut(byte) as f32,
            SmallNumber::Float8E5M2 => half::f16::from_bits((byte as u16) << 8).to_f32(),
            SmallNumber::Float8E4M3 => {
                let (exponent, fraction) = ((byte >> 3 & 15) as i32, (byte & 7) as f32);
                let magnitude = match (byte & 0x7f, exponent) {
                    (0x7f, _) => f32::NAN,
                    (_, 0) => fraction / 512.0,
                    _ => (1.0 + fraction / 8.0) * 2f32.powi(exponent - 7),
                };
                if byte & 0x80 == 0 { magnitude } else { -magnitude }
            }
        }
    }

    /// The byte of the number that is nearest to a float, ties to even: past the largest one infinity, or where there is
    /// none, no number. Of integers what is left of them in four bits.
    pub fn encode(self, x: f64) -> u8 {
        let (bits, bias, not_a_number, infinity) = match self {
            SmallNumber::Int4 | SmallNumber::UInt4 => return self.cut(x as i64 as u8),
            SmallNumber::Float8E5M2 => (2, 15, 0x7e, 0x7c),
            SmallNumber::Float8E4M3 => (3, 7, 0x7f, 0x7f),
        };
        let sign = if x.is_sign_negative() { 0x80 } else { 0 };
        let magnitude = x.abs();
        if magnitude.is_nan() {
            return sign | not_a_number;
        }
        if magnitude >= 1e9 {
            return sign | infinity;
        }
        let exponent = ((magnitude.to_bits() >> 52) as i32 - 1023).max(1 - bias);
        let steps = (magnitude / 2f64.powi(exponent - bits)).round_ties_even() as u32;
        // Carries run from the fraction into the exponent.
        let code = (((exponent + bias - 1) as u32) << bits) + steps;
        sign | if code >= infinity as u32 { infinity } else { code as u8 }
    }
}

/// Decodes bytes.
///
/// # Errors
/// [`crate::KernelError::Length`] where lengths differ.
pub fn decode_small(kind: SmallNumber, src: &[u8], dst: &mut [f32]) -> Result<()> {
    check_exact("the output", src.len(), dst.len())?;
    dst.iter_mut().zip(src).for_each(|(to, byte)| *to = kind.decode(*byte));
    Ok(())
}

/// Encodes numbers.
///
/// # Errors
/// [`crate::KernelError::Length`] where lengths differ.
pub fn encode_small(kind: SmallNumber, src: &[f64], dst: &mut [u8]) -> Result<()> {
    check_exact("the output", src.len(), dst.len())?;
    dst.iter_mut().zip(src).for_each(|(to, x)| *to = kind.encode(*x));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        for byte in 0..=255u8 {
            for kind in [SmallNumber::Float8E5M2, SmallNumber::Float8E4M3] {
                let x = kind.decode(byte);
                if !x.is_nan() {
                    assert_eq!(kind.encode(x as f64), byte, "{kind:?} {x}");
                }
            }
        }
        for n in -8..8i32 {
            assert_eq!(SmallNumber::Int4.encode(n as f64), n as i8 as u8);
            assert_eq!(SmallNumber::Int4.decode(n as u8 & 15), n as f32);
        }
    }

    #[test]
    fn rounds_as_floats_do() {
        use SmallNumber::{Float8E4M3, Float8E5M2};
        let of = |kind: SmallNumber, x: f64| kind.decode(kind.encode(x));
        assert_eq!(
            [1.3, -2.7, 0.06, 449.0, 1e-3].map(|x| of(Float8E4M3, x)),
            [1.25, -2.75, 0.058_593_75, 448.0, 0.001_953_125]
        );
        assert_eq!(
            [1.3, -2.7, 0.06, 449.0, 600.0].map(|x| of(Float8E5M2, x)),
            [1.25, -2.5, 0.0625, 448.0, 640.0]
        );
        assert!(of(Float8E4M3, 600.0).is_nan() && of(Float8E4M3, f64::INFINITY).is_nan());
        assert_eq!(of(Float8E5M2, -1e5), f32::NEG_INFINITY);
    }
}
