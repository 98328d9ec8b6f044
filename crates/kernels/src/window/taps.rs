//! What a depthwise convolution reads for some neighbouring pixels: how channels of the input reach lanes, and the taps of one
//! row of the window.

use std::ops::Range;

use crate::base::simd::Simd;

/// How the channels of the input reach the lanes of the output's.
pub(super) trait Inputs: Copy {
    /// The channel of the input that belongs to channel `c` of the output, the first one.
    fn first(self, c: usize) -> usize;

    /// The input for each lane, from the pixel's first of those channels on.
    ///
    /// # Safety
    /// The pixel has them.
    unsafe fn load<S: Simd>(self, s: S, from: *const f32) -> S::V;
}

/// A lane for each channel.
#[derive(Clone, Copy)]
pub(super) struct Whole;

/// A lane for each of so many channels.
#[derive(Clone, Copy)]
pub(super) struct Plain(pub usize);

/// Several lanes for each channel.
#[derive(Clone, Copy)]
pub(super) struct Spread {
    first: usize,
    /// Channels of the input.
    count: usize,
    places: [i32; 16],
}

impl Inputs for Whole {
    #[inline(always)]
    fn first(self, c: usize) -> usize {
        c
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, from: *const f32) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe { s.load(from) }
    }
}

impl Inputs for Plain {
    #[inline(always)]
    fn first(self, c: usize) -> usize {
        c
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, from: *const f32) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe { s.load_partial(from, self.0) }
    }
}

impl Spread {
    /// For `count` channels of the output from `c` on.
    #[inline(always)]
    pub fn new(c: usize, count: usize, multiplier: usize) -> Spread {
        let first = c / multiplier;
        let last = (c + count - 1) / multiplier;
        let mut places = [0; 16];
        for (lane, place) in places.iter_mut().enumerate().take(count) {
            *place = ((c + lane) / multiplier - first) as i32;
        }
        Spread { first, count: last - first + 1, places }
    }
}

impl Inputs for Spread {
    #[inline(always)]
    fn first(self, _: usize) -> usize {
        self.first
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, from: *const f32) -> S::V {
        // SAFETY: as the caller vouches; no more channels than lanes belong to the lanes.
        s.spread(unsafe { s.load_partial(from, self.count) }, &self.places)
    }
}

/// A row of the window of some neighbouring output pixels.
pub(super) struct TapRow<const WIDTH: usize> {
    /// Floats from one pixel to the next, and from one tap to the next.
    pub channels: usize,
    pub weights: usize,
    /// How many lanes there are weights for.
    pub count: usize,
    /// The first pixel's leftmost column.
    pub start: *const f32,
    pub filter: *const f32,
    /// Columns that lie in the image, counted from the first.
    pub valid: Range<usize>,
}

impl<const WIDTH: usize> TapRow<WIDTH> {
    /// Adds the row's products.
    ///
    /// # Safety
    /// `inputs` can load at all valid columns, and `count` weights can be loaded at the filter's taps.
    #[inline(always)]
    pub unsafe fn add<S: Simd, const STRIDE: usize, const PIXELS: usize, const EDGE: bool>(
        &self,
        s: S,
        sums: &mut [S::V; PIXELS],
        inputs: impl Inputs,
    ) {
        let mut weights = [s.splat(0.0); WIDTH];
        for (kx, weight) in weights.iter_mut().enumerate() {
            let from = self.filter.wrapping_add(kx * self.weights);
            // SAFETY: as the caller vouches.
            *weight = unsafe {
                if self.count == S::LANES { s.load(from) } else { s.load_partial(from, self.count) }
            };
        }
        for i in 0..(PIXELS - 1) * STRIDE + WIDTH {
            if EDGE && !self.valid.contains(&i) {
                continue;
            }
            // SAFETY: as the caller vouches.
            let value = unsafe { inputs.load(s, self.start.wrapping_add(i * self.channels)) };
            for (pixel, sum) in sums.iter_mut().enumerate() {
                let kx = i.wrapping_sub(pixel * STRIDE);
                if kx < WIDTH {
                    *sum = s.mul_add(value, weights[kx], *sum);
                }
            }
        }
    }
}
