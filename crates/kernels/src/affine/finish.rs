//! What becomes of sums of products: integers of a tensor, or floats.

use tightfit_core::Shared;

use super::dot::COLUMNS;
use super::filter::FLIP;
use super::multiplier::Rescale;
use super::product::Finish;
use super::requantize::{Channels, store};
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

/// What sums of some channels become floats by.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct FloatChannels {
    added: [i32; COLUMNS],
    scales: [f32; COLUMNS],
    bias: [f32; COLUMNS],
}

impl Finish for ToBytes<'_> {
    type Channels = Channels;

    #[inline(always)]
    fn channels(&self, first: usize, count: usize, (added, most): (&[i32; COLUMNS], i64), to: &mut Channels) {
        to.set(&self.rescale, (first, count), self.bias, (added, most));
    }

    #[inline(always)]
    fn finish<S: Simd>(
        &self,
        _: S,
        channels: &Channels,
        row: usize,
        first: usize,
        sums: &[i32; COLUMNS],
        count: usize,
    ) {
        // SAFETY: every row and column is finished once, and they have places of their own.
        let mut to = unsafe { self.output.part(row * self.row_bytes + first, count) };
        store::<S>(&self.rescale, channels, sums, &mut to);
    }
}

impl Finish for ToFloats<'_> {
    type Channels = FloatChannels;

    #[inline(always)]
    fn channels(
        &self,
        first: usize,
        count: usize,
        (added, _): (&[i32; COLUMNS], i64),
        to: &mut FloatChannels,
    ) {
        to.added = *added;
        match self.scales {
            [one] => to.scales = [*one; COLUMNS],
            all => to.scales[..count].copy_from_slice(&all[first..first + count]),
        }
        if let Some(own) = self.bias {
            to.bias[..count].copy_from_slice(&own[first..first + count]);
        }
    }

    #[inline(always)]
    fn finish<S: Simd>(
        &self,
        _: S,
        channels: &FloatChannels,
        row: usize,
        first: usize,
        sums: &[i32; COLUMNS],
        count: usize,
    ) {
        let row_scale = match self.row_scales {
            [one] => *one,
            all => all[row / self.rows_each],
        };
        // SAFETY: as of bytes.
        let mut to = unsafe { self.output.part(row * self.row_floats + first, count) };
        let mut floats = [0f32; COLUMNS];
        let mut c = 0;
        while c < COLUMNS {
            let sum = sums[c].wrapping_add(channels.added[c]) as f32;
            let sum = sum * (channels.scales[c] * row_scale) + channels.bias[c];
            let sum = if sum > self.bounds.0 { sum } else { self.bounds.0 };
            floats[c] = if sum < self.bounds.1 { sum } else { self.bounds.1 };
            c += 1;
        }
        match <&mut [f32; COLUMNS]>::try_from(&mut *to) {
            Ok(to) => *to = floats,
            Err(_) => to.copy_from_slice(&floats[..count]),
        }
    }
}

impl ToBytes<'_> {
    /// What stands for 0 in bytes of this type, as uint8.
    pub fn unsigned(zero: i32, is_unsigned: bool) -> i32 {
        if is_unsigned { zero } else { zero + FLIP as i32 }
    }
}
