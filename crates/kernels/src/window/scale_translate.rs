//! Images scaled and moved, by a filter along each axis: TensorFlow's ScaleAndTranslate.

use std::f32::consts::PI;

use tightfit_core::{Shared, TensorView, TensorViewMut};

use super::pixel::Pixel;
use crate::base::access::{for_dtype, split_range, values, values_mut};
use crate::base::error::{KernelError, Result, check_exact, ensure};
use crate::base::threads::ThreadPool;

const KERNEL: &str = "ScaleAndTranslate";

/// How much pixels around a place count for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Lanczos' of this radius.
    Lanczos(u8),
    /// Gauss' of radius 1.5, a sigma of 0.5.
    Gaussian,
    /// The nearest pixel.
    Box,
    /// By distance.
    Triangle,
    /// Cubic convolution by Keys.
    KeysCubic,
    /// Cubic convolution by Mitchell and Netravali.
    MitchellCubic,
}

impl Filter {
    fn radius(self) -> f32 {
        match self {
            Filter::Lanczos(radius) => radius as f32,
            Filter::Gaussian => 1.5,
            Filter::Box | Filter::Triangle => 1.0,
            Filter::KeysCubic | Filter::MitchellCubic => 2.0,
        }
    }

    fn weight(self, x: f32) -> f32 {
        let x = x.abs();
        match self {
            Filter::Lanczos(radius) if x > radius as f32 => 0.0,
            Filter::Lanczos(_) if x <= 1e-3 => 1.0,
            Filter::Lanczos(radius) => {
                let radius = radius as f32;
                radius * (PI * x).sin() * (PI * x / radius).sin() / (PI * PI * x * x)
            }
            Filter::Gaussian if x >= 1.5 => 0.0,
            Filter::Gaussian => (-x * x / (2.0 * 0.5 * 0.5)).exp(),
            Filter::Box if x == 0.5 => 0.5,
            Filter::Box => f32::from(x < 0.5),
            Filter::Triangle => (1.0 - x).max(0.0),
            _ if x >= 2.0 => 0.0,
            Filter::KeysCubic if x >= 1.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Filter::KeysCubic => ((1.5 * x - 2.5) * x) * x + 1.0,
            Filter::MitchellCubic if x >= 1.0 => {
                (((-7.0 / 18.0) * x + 2.0) * x - 10.0 / 3.0) * x + 16.0 / 9.0
            }
            Filter::MitchellCubic => (((7.0 / 6.0) * x - 2.0) * x) * x + 8.0 / 9.0,
        }
    }
}

/// How pixels of one axis of the output are made of those of the input.
#[derive(Debug, Clone, Copy)]
struct Axis {
    filter: Filter,
    input: usize,
    inverse: f32,
    translate: f32,
    /// How far the filter is stretched.
    stretch: f32,
}

/// The pixels of the input that one of the output is made of, and the factor of their weights.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    sample: f32,
    factor: f32,
}

impl Axis {
    fn new(filter: Filter, antialias: bool, input: usize, scale: f32, translation: f32) -> Axis {
        let inverse = 1.0 / scale;
        let stretch = if antialias { inverse.max(1.0) } else { 1.0 };
        Axis { filter, input, inverse, translate: -inverse * translation, stretch }
    }

    /// How many pixels each of the output is made of: those after its own count with a weight of 0, which shows where they
    /// are infinite or NaN.
    fn width(&self) -> usize {
        let reach = (self.filter.radius() * self.stretch).ceil() as usize;
        reach.saturating_mul(2).saturating_add(1).min(self.input)
    }

    /// Where pixel `at` of the output is made: of nothing outside of the input, and where the weights cancel out.
    fn span(&self, at: usize) -> Span {
        let sample = (at as f32 + 0.5) * self.inverse + self.translate;
        if !(sample >= 0.0 && sample <= self.input as f32) {
            return Span { start: 0, end: 0, sample, factor: 0.0 };
        }
        let reach = self.filter.radius() * self.stretch;
        let bound = |at: f32| at.clamp(0.0, self.input as f32 - 1.0) as usize;
        let start = bound((sample - reach - 0.5).ceil());
        let end = bound((sample + reach - 0.5).floor()) + 1;
        let mut span = Span { start, end, sample, factor: 1.0 };
        let sum = (start..end).fold(0.0, |sum, source| sum + self.weight(&span, source));
        span.factor = 1.0 / sum;
        let is_something = sum.abs() >= 1000.0 * f32::MIN_POSITIVE;
        Span { end: if is_something { end } else { start }, ..span }
    }

    /// The pixels of a span.
    fn pixels(&self, span: &Span) -> std::ops::Range<usize> {
        span.start..(span.start + self.width()).min(self.input)
    }

    fn weight(&self, span: &Span, source: usize) -> f32 {
        if source >= span.end {
            return 0.0;
        }
        self.filter.weight((source as f32 + 0.5 - span.sample) * (1.0 / self.stretch)) * span.factor
    }
}

/// Floats of scratch that [`scale_and_translate`] needs: `[batch, output height, input width, channels]`.
pub fn scale_and_translate_floats(images: [usize; 4], height: usize) -> usize {
    [images[0], images[2], images[3]].iter().fold(height, |n, size| n.saturating_mul(*size))
}

/// Scales `images` `[batch, height, width, channels]`, of numbers, by `scale` (down, then across), moves them by `translation`
/// pixels of `dst` `[batch, height', width', channels]`, float32, and filters by `filter`, which is stretched where `antialias`
/// and pixels fall together. Where there is no image, there is 0.
///
/// # Errors
/// [`KernelError::Invalid`] for shapes that do not go together and a scale that is not positive, [`KernelError::DType`] for
/// other types.
pub fn scale_and_translate(
    pool: &ThreadPool,
    (filter, antialias): (Filter, bool),
    (scale, translation): ([f32; 2], [f32; 2]),
    images: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
    scratch: &mut [f32],
) -> Result<()> {
    let rule = "images are [batch, height, width, channels]";
    let wrong = |_| KernelError::Invalid { kernel: KERNEL, rule };
    let from = <[usize; 4]>::try_from(&**images.shape()).map_err(wrong)?;
    let to = <[usize; 4]>::try_from(&**dst.shape()).map_err(wrong)?;
    ensure(from[0] == to[0] && from[3] == to[3], KERNEL, "batch and channels stay as they are")?;
    ensure(from[1] > 0 && from[2] > 0, KERNEL, "images have pixels")?;
    ensure(scale.iter().all(|scale| *scale > 0.0), KERNEL, "the scale is positive")?;
    check_exact("the scratch", scale_and_translate_floats(from, to[1]), scratch.len())?;
    let [rows, columns] =
        [0, 1].map(|axis| Axis::new(filter, antialias, from[axis + 1], scale[axis], translation[axis]));
    let line = from[2] * from[3];
    let dst = values_mut::<f32>(dst.bytes(), KERNEL)?;
    for_dtype!(images.dtype(), KERNEL, numbers, T => {
        let src = values::<T>(images.bytes(), KERNEL)?;
        crate::base::access::split_with_cost(pool, scratch, line.max(1), 4 * line, &|first, lines| {
            for (n, to_line) in lines.chunks_exact_mut(line).enumerate() {
                let (y, image) = ((first + n) % to[1], (first + n) / to[1]);
                to_line.fill(0.0);
                let span = rows.span(y);
                for source in rows.pixels(&span) {
                    let weight = rows.weight(&span, source);
                    let from_line = &src[(image * from[1] + source) * line..][..line];
                    for (to, value) in to_line.iter_mut().zip(from_line) {
                        *to += value.value() * weight;
                    }
                }
            }
        });
        Ok(())
    })?;
    let (lines, out_line, channels) = (to[0] * to[1], to[2] * to[3], to[3]);
    let (scratch, shared) = (&*scratch, Shared::new(dst));
    if out_line == 0 || line == 0 {
        return Ok(());
    }
    split_range(pool, lines, 4 * out_line, &|first, count| {
        // SAFETY: the ranges of `split_range` are disjoint, and the output outlives the call.
        let mut out = unsafe { shared.part(first * out_line, count * out_line) };
        out.fill(0.0);
        for x in 0..to[2] {
            let span = columns.span(x);
            for source in columns.pixels(&span) {
                let weight = columns.weight(&span, source);
                for (n, out) in out.chunks_exact_mut(out_line).enumerate() {
                    let pixel = &scratch[(first + n) * line + source * channels..][..channels];
                    for (to, value) in out[x * channels..][..channels].iter_mut().zip(pixel) {
                        *to += value * weight;
                    }
                }
            }
        }
    });
    Ok(())
}
