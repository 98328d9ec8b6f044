//! What becomes of sums of products: integers of a tensor, or floats.

use tightfit_core::Shared;

use super::dot::COLUMNS;
use super::filter::FLIP;
use super::multiplier::Rescale;
use super::product::Finish;
use super::requantize::store;
use crate::base::simd::Simd;

/// Bytes: sum and bias by the channel's multiplier.
pub(crate) struct ToBytes<'a> {
    pub rescale: Rescale<'a>,
    /// One for each channel.
    pub bias: Option<&'a [i32]>,
    /// Bytes from one row to the next.
    pub row_bytes: usize,
    pub output: Shared<'a, u8>,
}

/// Floats: `activation(sum * channel's scale * row's scale + bias)`.
pub(crate) struct ToFloats<'a> {
    /// One, or one for each channel.
    pub scales: &'a [f32],
    pub row_scales: &'a [f32],
    /// Rows of the product that share one scale: the pixels of an image.
    pub rows_each: usize,
    pub bias: Option<&'a [f32]>,
    pub bounds: (f32, f32),
    pub row_floats: usize,
    pub output: Shared<'a, f32>,
}

impl Finish for ToBytes<'_> {
    #[inline(always)]
    fn finish<S: Simd>(&self, _: S, row: usize, first: usize, sums: &[i32; COLUMNS], count: usize) {
        // SAFETY: every row and column is finished once, and they have places of their own.
        let mut to = unsafe { self.output.part(row * self.row_bytes + first, count) };
        store::<S>(&self.rescale, (first, count), sums, self.bias, &mut to);
    }
}

impl Finish for ToFloats<'_> {
    #[inline(always)]
    fn finish<S: Simd>(&self, _: S, row: usize, first: usize, sums: &[i32; COLUMNS], count: usize) {
        let row_scale = self.row_scales[row / self.rows_each];
        // SAFETY: as of bytes.
        let mut to = unsafe { self.output.part(row * self.row_floats + first, count) };
        let mut c = 0;
        while c < count {
            let scale = if self.scales.len() == 1 { self.scales[0] } else { self.scales[first + c] };
            let number = sums[c] as f32 * (scale * row_scale);
            let sum = number + self.bias.map_or(0.0, |bias| bias[first + c]);
            to[c] = sum.max(self.bounds.0).min(self.bounds.1);
            c += 1;
        }
    }
}

impl ToBytes<'_> {
    /// What stands for 0 in bytes of this type, as uint8.
    pub fn unsigned(zero: i32, is_unsigned: bool) -> i32 {
        if is_unsigned { zero } else { zero + FLIP as i32 }
    }
}
