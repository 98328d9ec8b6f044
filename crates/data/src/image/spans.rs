//! Which source pixels an output pixel is made of along one axis, and their weights.
//!
//! The arithmetic is that of TensorFlow's `scale_and_translate_op.cc` and `sampling_kernels.h` (antialiasing, Lanczos,
//! Gaussian, Mitchell), `resize_bicubic_op.cc` (with half-pixel centres) and `resize_area_op.cc`, in float32 and in
//! their order, so that the weights have the same bits.

use std::f32::consts::PI;

/// How an axis is sampled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sampling {
    /// A kernel around each output pixel's centre; widened by the scale when `antialias` and the image shrinks.
    Kernel {
        /// The kernel.
        kernel: Kernel,
        /// Whether it is widened.
        antialias: bool,
    },
    /// Keys' cubic from a table of 1024 steps.
    Cubic,
    /// The part of each source pixel that the output pixel covers. Sums: to be divided by the product of the scales.
    Area,
}

impl Sampling {
    /// Source pixels that an output pixel reaches over where as many come out as go in.
    pub fn diameter(self) -> usize {
        match self {
            Sampling::Kernel { kernel, .. } => (2.0 * kernel.radius()) as usize,
            Sampling::Cubic => 4,
            Sampling::Area => 1,
        }
    }
}

/// A sampling kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kernel {
    Lanczos(f32),
    Gaussian,
    Triangle,
    KeysCubic,
    MitchellCubic,
}

impl Kernel {
    fn radius(self) -> f32 {
        match self {
            Kernel::Lanczos(radius) => radius,
            Kernel::Gaussian => 1.5,
            Kernel::Triangle => 1.0,
            Kernel::KeysCubic | Kernel::MitchellCubic => 2.0,
        }
    }

    /// Its value at distance `x`, which is not negative.
    fn at(self, x: f32) -> f32 {
        match self {
            Kernel::Lanczos(radius) if x > radius => 0.0,
            Kernel::Lanczos(_) if x <= 1e-3 => 1.0,
            Kernel::Lanczos(radius) => radius * (PI * x).sin() * (PI * x / radius).sin() / (PI * PI * x * x),
            Kernel::Gaussian if x >= 1.5 => 0.0,
            // sigma = 0.5; TensorFlow divides and exponentiates in float64.
            Kernel::Gaussian => (f64::from(-x * x) / 0.5).exp() as f32,
            Kernel::Triangle => (1.0 - x).max(0.0),
            Kernel::KeysCubic | Kernel::MitchellCubic if x >= 2.0 => 0.0,
            Kernel::KeysCubic if x >= 1.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Kernel::KeysCubic => (1.5 * x - 2.5) * x * x + 1.0,
            Kernel::MitchellCubic if x >= 1.0 => ((-7.0 / 18.0 * x + 2.0) * x - 10.0 / 3.0) * x + 16.0 / 9.0,
            Kernel::MitchellCubic => (7.0 / 6.0 * x - 2.0) * x * x + 8.0 / 9.0,
        }
    }
}

/// One axis of a resizing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    sampling: Sampling,
    in_size: usize,
    /// Source pixels for each output pixel.
    pub scale: f32,
    /// By how much the kernel is widened.
    kernel_scale: f32,
    /// The most source pixels an output pixel is made of.
    pub span_size: usize,
}

impl Axis {
    /// The axis on which `in_size` pixels become `out_size`.
    pub fn new(sampling: Sampling, in_size: usize, out_size: usize) -> Axis {
        let mut scale = in_size as f32 / out_size as f32;
        let mut kernel_scale = 1.0;
        let span_size = match sampling {
            Sampling::Kernel { kernel, antialias } => {
                // The reciprocal of a rounded quotient: not always the quotient above.
                scale = 1.0 / (out_size as f32 / in_size as f32);
                kernel_scale = if antialias { scale.max(1.0) } else { 1.0 };
                2 * (kernel.radius() * kernel_scale).ceil() as usize + 1
            }
            Sampling::Cubic => 4,
            Sampling::Area => scale.ceil() as usize + 2,
        };
        Axis { sampling, in_size, scale, kernel_scale, span_size: span_size.min(in_size) }
    }

    /// Writes the weights of output pixel `i` into `weights`, which holds [`Axis::span_size`], and returns the first
    /// source pixel and how many count.
    pub fn span(&self, i: usize, weights: &mut [f32]) -> (usize, usize) {
        match self.sampling {
            Sampling::Kernel { kernel, .. } => self.kernel_span(kernel, i, weights),
            Sampling::Cubic => self.cubic_span(i, weights),
            Sampling::Area => self.area_span(i, weights),
        }
    }

    fn last(&self) -> usize {
        self.in_size.saturating_sub(1)
    }

    fn kernel_span(&self, kernel: Kernel, i: usize, weights: &mut [f32]) -> (usize, usize) {
        let sample = (i as f32 + 0.5) * self.scale;
        if sample > self.in_size as f32 {
            return (0, 0);
        }
        let reach = kernel.radius() * self.kernel_scale;
        // A float becomes the nearest index: below 0 it is 0.
        let start = ((sample - reach - 0.5).ceil() as usize).min(self.last());
        let end = ((sample + reach - 0.5).floor() as usize).min(self.last()) + 1;
        let one_over_kernel_scale = 1.0 / self.kernel_scale;
        let mut total = 0.0;
        let span = weights.iter_mut().zip(start..end);
        let mut count = 0;
        for (weight, source) in span {
            *weight = kernel.at(((source as f32 + 0.5 - sample) * one_over_kernel_scale).abs());
            total += *weight;
            count += 1;
        }
        let weights = &mut weights[..count];
        normalise(weights, total);
        trimmed(start, weights)
    }

    fn cubic_span(&self, i: usize, weights: &mut [f32]) -> (usize, usize) {
        let at = (i as f32 + 0.5) * self.scale - 0.5;
        let floor = at.floor();
        let step = ((at - floor) * 1024.0).round_ties_even();
        let (near, far) = (step / 1024.0, (1024.0 - step) / 1024.0);
        let four = [outer(near), inner(near), inner(far), outer(far)];
        let first = floor as i64 - 1;
        let is_inside = |tap: i64| (0..self.in_size as i64).contains(&(first + tap));
        // In TensorFlow too the sum runs over all four, with zeros for those outside.
        let total = (0..4).zip(four).filter(|(tap, _)| is_inside(*tap)).map(|(_, w)| w).sum();
        let inside = (0..4).zip(four).filter(|(tap, _)| is_inside(*tap));
        let mut count = 0;
        for (weight, (_, value)) in weights.iter_mut().zip(inside) {
            *weight = value;
            count += 1;
        }
        let weights = &mut weights[..count];
        normalise(weights, total);
        (first.max(0) as usize, count)
    }

    fn area_span(&self, i: usize, weights: &mut [f32]) -> (usize, usize) {
        let (from, to) = (i as f32 * self.scale, (i + 1) as f32 * self.scale);
        let (start, end) = ((from.floor() as usize).min(self.last()), to.ceil() as usize);
        let mut count = 0;
        for source in start..end {
            let (low, high) = (source as f32, (source + 1) as f32);
            let weight = match (low < from, high > to) {
                (true, true) => self.scale,
                (true, false) => high - from,
                (false, true) => to - low,
                (false, false) => 1.0,
            };
            if source < self.in_size && count < weights.len() {
                weights[count] = weight;
                count += 1;
            } else if let Some(last) = count.checked_sub(1).and_then(|last| weights.get_mut(last)) {
                // By rounding an output pixel can reach over the edge: the last pixel counts for what is there.
                *last += weight;
            }
        }
        (start, count)
    }
}

/// Keys' cubic with a = -0.5 between 0 and 1, as TensorFlow's table has it.
fn inner(x: f32) -> f32 {
    let x = f64::from(x);
    ((1.5 * x - 2.5) * x * x + 1.0) as f32
}

/// Keys' cubic between 1 and 2, `x` less 1.
fn outer(x: f32) -> f32 {
    let x = f64::from(x + 1.0);
    (((-0.5 * x + 2.5) * x - 4.0) * x + 2.0) as f32
}

/// Makes the weights sum up to 1. Those of a sum near 0 become 0.
fn normalise(weights: &mut [f32], total: f32) {
    if total.abs() >= 1000.0 * f32::MIN_POSITIVE {
        let one_over_total = 1.0 / total;
        weights.iter_mut().for_each(|weight| *weight *= one_over_total);
    } else {
        weights.fill(0.0);
    }
}

/// Without the zeros at both ends, of which a kernel's span has often some.
fn trimmed(start: usize, weights: &mut [f32]) -> (usize, usize) {
    let count = weights.iter().rposition(|weight| *weight != 0.0).map_or(0, |last| last + 1);
    let leading = weights.iter().take(count).take_while(|weight| **weight == 0.0).count();
    weights.copy_within(leading..count, 0);
    (start + leading, count - leading)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Sampling; 7] = [
        Sampling::Kernel { kernel: Kernel::Lanczos(3.0), antialias: true },
        Sampling::Kernel { kernel: Kernel::Lanczos(5.0), antialias: false },
        Sampling::Kernel { kernel: Kernel::Gaussian, antialias: true },
        Sampling::Kernel { kernel: Kernel::Triangle, antialias: true },
        Sampling::Kernel { kernel: Kernel::MitchellCubic, antialias: true },
        Sampling::Cubic,
        Sampling::Area,
    ];

    #[test]
    fn spans_stay_inside_and_sum_to_one() {
        for sampling in ALL {
            for (in_size, out_size) in
                [(1, 1), (1, 9), (2, 7), (9, 1), (100, 7), (7, 100), (640, 224), (333, 332)]
            {
                let axis = Axis::new(sampling, in_size, out_size);
                let mut weights = vec![0.0; axis.span_size];
                let expected = if sampling == Sampling::Area { axis.scale } else { 1.0 };
                for i in 0..out_size {
                    let (start, count) = axis.span(i, &mut weights);
                    assert!(count >= 1 && start + count <= in_size, "{sampling:?} {in_size} {out_size} {i}");
                    let sum: f32 = weights[..count].iter().sum();
                    assert!(
                        (sum - expected).abs() <= 2e-4 * expected,
                        "{sampling:?} {in_size} {out_size}: {sum}"
                    );
                }
            }
        }
    }
}
