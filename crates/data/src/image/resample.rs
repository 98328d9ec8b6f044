//! `tf.image.resize`: every method, antialiased or not, line by line.
//!
//! A line of the result is made of the source lines that count for it, summed up with their weights into one line of
//! the source's width, and then of the columns of that line. This is TensorFlow's order for all methods but `area`,
//! where it sums columns first: so `area` can differ in the last bits (not for integers that shrink by whole numbers,
//! whose sums are exact), and all others give the same float32. Nearest copies pixels and keeps the element type.

use bytemuck::{Pod, Zeroable};
use tightfit_core::DType;

use super::lanes::vectorised;
use super::pixel::{ImageError, ImageType, Sample, elements, elements_mut, with_sample};
use super::resize::{Resizer, WEIGHT_BYTES};
use super::spans::{Axis, Kernel, Sampling};
use crate::Resize;

const OP: &str = "resize";

/// `tf.image.ResizeMethod`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum ResizeMethod {
    #[default]
    Bilinear,
    Nearest,
    Bicubic,
    Area,
    Lanczos3,
    Lanczos5,
    Gaussian,
    MitchellCubic,
}

impl ResizeMethod {
    /// Every one.
    pub const ALL: [ResizeMethod; 8] = [
        ResizeMethod::Bilinear,
        ResizeMethod::Nearest,
        ResizeMethod::Bicubic,
        ResizeMethod::Area,
        ResizeMethod::Lanczos3,
        ResizeMethod::Lanczos5,
        ResizeMethod::Gaussian,
        ResizeMethod::MitchellCubic,
    ];

    /// TensorFlow's name, the value of `tf.image.ResizeMethod`.
    pub fn name(self) -> &'static str {
        match self {
            ResizeMethod::Bilinear => "bilinear",
            ResizeMethod::Nearest => "nearest",
            ResizeMethod::Bicubic => "bicubic",
            ResizeMethod::Area => "area",
            ResizeMethod::Lanczos3 => "lanczos3",
            ResizeMethod::Lanczos5 => "lanczos5",
            ResizeMethod::Gaussian => "gaussian",
            ResizeMethod::MitchellCubic => "mitchellcubic",
        }
    }

    /// The method of this name.
    pub fn by_name(name: &str) -> Option<ResizeMethod> {
        ResizeMethod::ALL.into_iter().find(|method| method.name() == name)
    }

    /// The element type of the result: that of the image for nearest, else float32.
    pub fn output_dtype(self, input: DType) -> DType {
        if self == ResizeMethod::Nearest { input } else { DType::F32 }
    }

    /// `None` for those that have no weights: nearest, and bilinear without antialiasing.
    fn sampling(self, antialias: bool) -> Option<Sampling> {
        let kernel = |kernel| Some(Sampling::Kernel { kernel, antialias });
        match self {
            ResizeMethod::Nearest => None,
            ResizeMethod::Bilinear if !antialias => None,
            ResizeMethod::Bilinear => kernel(Kernel::Triangle),
            ResizeMethod::Bicubic if !antialias => Some(Sampling::Cubic),
            ResizeMethod::Bicubic => kernel(Kernel::KeysCubic),
            ResizeMethod::Area => Some(Sampling::Area),
            ResizeMethod::Lanczos3 => kernel(Kernel::Lanczos(3.0)),
            ResizeMethod::Lanczos5 => kernel(Kernel::Lanczos(5.0)),
            ResizeMethod::Gaussian => kernel(Kernel::Gaussian),
            ResizeMethod::MitchellCubic => kernel(Kernel::MitchellCubic),
        }
    }
}

/// Where lines of the result go: a window of a larger image, or the whole of it.
pub(crate) struct Target<'a> {
    pub bytes: &'a mut [u8],
    /// Bytes before the first line.
    pub offset: usize,
    /// Bytes from one line to the next.
    pub stride: usize,
}

impl Target<'_> {
    fn line(&mut self, y: usize, bytes: usize) -> Result<&mut [u8], ImageError> {
        let (from, found_bytes) = (self.offset + y * self.stride, self.bytes.len());
        let needed_bytes = from + bytes;
        let line = self.bytes.get_mut(from..needed_bytes);
        line.ok_or(ImageError::Memory { what: "output", needed_bytes, found_bytes })
    }
}

/// A resizing to `size`, `[height, width]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resampling {
    pub method: ResizeMethod,
    pub antialias: bool,
    pub size: [usize; 2],
}

/// Between which source columns an output column lies, in elements.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Between {
    lower: u32,
    upper: u32,
    lerp: f32,
}

impl Between {
    /// Output pixel `i` of `axis`; elements are `step` apart.
    fn new(i: usize, scale: f32, in_size: usize, step: usize) -> Between {
        let last = in_size - 1;
        let at = (i as f32 + 0.5) * scale - 0.5;
        let floor = at.floor();
        // A float below 0 becomes index 0.
        let lower = ((floor as usize).min(last) * step) as u32;
        Between { lower, upper: ((at.ceil() as usize).min(last) * step) as u32, lerp: at - floor }
    }
}

/// Floats read as a vector of four after the last pixel.
const LINE_MARGIN: usize = 4;

impl Resampling {
    /// Whether the path for 8-bit pixels does it.
    fn is_plain(&self, input: ImageType) -> bool {
        self.method == ResizeMethod::Bilinear
            && !self.antialias
            && input.dtype == DType::U8
            && matches!(input.shape[2], 1 | 3 | 4)
    }

    /// Bytes of scratch, enough for any smaller `size` and for any input of smaller sides too. A bound rather than
    /// what is used: the source pixels of a span are rounded up, and more count for each pixel where fewer come out.
    pub fn scratch_bytes(&self, input: ImageType) -> Option<usize> {
        let [in_height, in_width, channels] = input.shape;
        let out_width = self.size[1];
        let words = match self.method.sampling(self.antialias) {
            _ if self.is_plain(input) => return out_width.checked_mul(WEIGHT_BYTES),
            Some(sampling) => {
                // 2 * radius * scale + 3 weights for each column, its start and its count; and one to spare.
                let columns = in_width.max(out_width).checked_mul(sampling.diameter())?;
                let columns = columns.checked_add(out_width.checked_mul(6)?)?;
                let line = in_width.checked_mul(channels)?.checked_add(LINE_MARGIN)?;
                columns.checked_add(in_height)?.checked_add(line)?
            }
            None if self.method == ResizeMethod::Nearest => out_width,
            None => out_width.checked_mul(channels.checked_mul(2)?.checked_add(3)?)?,
        };
        words.checked_mul(4)
    }

    /// Resizes `pixels`, which are `input`, into `target`. All slices have the sizes asked for.
    pub fn run(
        &self,
        input: ImageType,
        pixels: &[u8],
        target: Target<'_>,
        scratch: &mut [u8],
    ) -> Result<(), ImageError> {
        if self.is_plain(input) {
            return self.plain(input, pixels, target, scratch);
        }
        let scratch: &mut [u32] = elements_mut("scratch", scratch)?;
        match self.method.sampling(self.antialias) {
            Some(sampling) => with_sample!(OP, input.dtype, T => {
                self.separable::<T>(sampling, input, elements("input", pixels)?, target, scratch)
            }),
            None if self.method == ResizeMethod::Nearest => {
                nearest(self.size, input, pixels, target, scratch)
            }
            None => with_sample!(OP, input.dtype, T => {
                self.bilinear::<T>(input, elements("input", pixels)?, target, scratch)
            }),
        }
    }

    fn plain(
        &self,
        input: ImageType,
        pixels: &[u8],
        mut target: Target<'_>,
        scratch: &mut [u8],
    ) -> Result<(), ImageError> {
        let [in_height, in_width, channels] = input.shape;
        let found_bytes = scratch.len();
        let resizer =
            Resizer::new(Resize::Bilinear, pixels, [in_height, in_width], channels, self.size, scratch);
        let needed_bytes = self.size[1].saturating_mul(WEIGHT_BYTES);
        let resizer = resizer.ok_or(ImageError::Memory { what: "scratch", needed_bytes, found_bytes })?;
        for y in 0..self.size[0] {
            resizer.line(y, elements_mut("output", target.line(y, self.size[1] * channels * 4)?)?);
        }
        Ok(())
    }

    fn separable<T: Sample>(
        &self,
        sampling: Sampling,
        input: ImageType,
        pixels: &[T],
        mut target: Target<'_>,
        scratch: &mut [u32],
    ) -> Result<(), ImageError> {
        let [in_height, in_width, channels] = input.shape;
        let [out_height, out_width] = self.size;
        let columns = Axis::new(sampling, in_width, out_width);
        let rows = Axis::new(sampling, in_height, out_height);
        let (spans, scratch) = scratch.split_at_mut(2 * out_width);
        let (column_weights, scratch) = scratch.split_at_mut(columns.span_size * out_width);
        let (row_weights, line) = scratch.split_at_mut(rows.span_size);
        let spans: &mut [[u32; 2]] = bytemuck::cast_slice_mut(spans);
        let column_weights: &mut [f32] = bytemuck::cast_slice_mut(column_weights);
        let row_weights: &mut [f32] = bytemuck::cast_slice_mut(row_weights);
        let line: &mut [f32] = bytemuck::cast_slice_mut(line);
        for ((x, span), weights) in
            spans.iter_mut().enumerate().zip(column_weights.chunks_mut(columns.span_size))
        {
            let (start, count) = columns.span(x, weights);
            *span = [(start * channels) as u32, count as u32];
        }
        let stride = in_width * channels;
        let line = &mut line[..stride + LINE_MARGIN];
        line[stride..].fill(0.0);
        let factor = if sampling == Sampling::Area { area_factor(rows.scale, columns.scale) } else { 1.0 };
        for y in 0..out_height {
            let (start, count) = rows.span(y, row_weights);
            let source = &pixels[start * stride..(start + count) * stride];
            sum_rows::<T>(source, stride, &row_weights[..count], &mut line[..stride]);
            let out: &mut [f32] = elements_mut("output", target.line(y, out_width * channels * 4)?)?;
            match channels {
                1 => sum_columns::<1>(line, spans, column_weights, columns.span_size, factor, out),
                3 => sum_columns::<3>(line, spans, column_weights, columns.span_size, factor, out),
                4 => sum_columns::<4>(line, spans, column_weights, columns.span_size, factor, out),
                _ => {
                    sum_any_columns(line, spans, column_weights, columns.span_size, factor, channels, out);
                }
            }
        }
        Ok(())
    }

    /// Bilinear without antialiasing: columns first, as TensorFlow does. Both lines are kept for the next line.
    fn bilinear<T: Sample>(
        &self,
        input: ImageType,
        pixels: &[T],
        mut target: Target<'_>,
        scratch: &mut [u32],
    ) -> Result<(), ImageError> {
        let [in_height, in_width, channels] = input.shape;
        let [out_height, out_width] = self.size;
        let (columns, scratch) = scratch.split_at_mut(3 * out_width);
        let columns: &mut [Between] = bytemuck::cast_slice_mut(columns);
        let scale = in_width as f32 / out_width as f32;
        for (x, column) in columns.iter_mut().enumerate() {
            *column = Between::new(x, scale, in_width, channels);
        }
        let (mut top, bottom) = scratch.split_at_mut(out_width * channels);
        let mut bottom = &mut bottom[..out_width * channels];
        let mut held = [None; 2];
        let scale = in_height as f32 / out_height as f32;
        for y in 0..out_height {
            let row = Between::new(y, scale, in_height, in_width * channels);
            if held[1] == Some(row.lower) {
                std::mem::swap(&mut top, &mut bottom);
                held.swap(0, 1);
            }
            for ((row, held), line) in
                [row.lower, row.upper].into_iter().zip(&mut held).zip([&mut top, &mut bottom])
            {
                if held.replace(row) != Some(row) {
                    let (row, line) = (&pixels[row as usize..], bytemuck::cast_slice_mut(line));
                    match channels {
                        1 => lerp_columns::<T, 1>(row, columns, line),
                        3 => lerp_columns::<T, 3>(row, columns, line),
                        4 => lerp_columns::<T, 4>(row, columns, line),
                        _ => lerp_any_columns::<T>(row, columns, channels, line),
                    }
                }
            }
            let out: &mut [f32] = elements_mut("output", target.line(y, out_width * channels * 4)?)?;
            lerp_rows(bytemuck::cast_slice(top), bytemuck::cast_slice(bottom), row.lerp, out);
        }
        Ok(())
    }
}

/// What TensorFlow multiplies the sums of `area` by.
fn area_factor(row_scale: f32, column_scale: f32) -> f32 {
    1.0 / (row_scale * column_scale)
}

/// Values summed up at a time, in registers.
const AT_ONCE: usize = 32;

vectorised! {
    /// Sums up lines of `source`, `stride` elements each, with their weights.
    fn sum_rows<T: Sample>(source: &[T], stride: usize, weights: &[f32], line: &mut [f32]) {
        let (blocks, rest) = line.as_chunks_mut::<AT_ONCE>();
        for (i, block) in blocks.iter_mut().enumerate() {
            let mut sums = [0.0f32; AT_ONCE];
            for (row, weight) in source.chunks_exact(stride).zip(weights) {
                for (sum, value) in sums.iter_mut().zip(&row[i * AT_ONCE..][..AT_ONCE]) {
                    *sum += weight * value.value();
                }
            }
            *block = sums;
        }
        let from = blocks.len() * AT_ONCE;
        rest.fill(0.0);
        for (row, weight) in source.chunks_exact(stride).zip(weights) {
            for (sum, value) in rest.iter_mut().zip(&row[from..]) {
                *sum += weight * value.value();
            }
        }
    }
}

/// Sums up columns of `line` with their weights, for `C` channels, and multiplies by `factor`. After the last pixel
/// of `line` there are [`LINE_MARGIN`] floats more.
fn sum_columns<const C: usize>(
    line: &[f32],
    spans: &[[u32; 2]],
    weights: &[f32],
    span_size: usize,
    factor: f32,
    out: &mut [f32],
) {
    let columns = spans.iter().zip(weights.chunks_exact(span_size));
    for ((span, weights), out) in columns.zip(out.as_chunks_mut::<C>().0) {
        let [start, count] = span.map(|n| n as usize);
        let Some(last) = count.checked_sub(1) else {
            out.fill(0.0);
            continue;
        };
        let source = &line[start..start + last * C + LINE_MARGIN];
        let mut sums = [0.0f32; 4];
        // Four values whatever the channels are: one vector. Those beyond the pixel are summed up for nothing.
        let mut add = |values: &[f32], weight: f32| {
            for (sum, value) in sums.iter_mut().zip(&values[..4]) {
                *sum += weight * value;
            }
        };
        if let ([w0, w1, w2, w3], Some(source)) = (&weights[..count], source.get(..3 * C + 4)) {
            // What most kernels reach over when nothing shrinks.
            add(source, *w0);
            add(&source[C..], *w1);
            add(&source[2 * C..], *w2);
            add(&source[3 * C..], *w3);
        } else {
            for (t, weight) in weights[..count].iter().enumerate() {
                add(&source[t * C..], *weight);
            }
        }
        for (to, sum) in out.iter_mut().zip(sums) {
            *to = sum * factor;
        }
    }
}

fn sum_any_columns(
    line: &[f32],
    spans: &[[u32; 2]],
    weights: &[f32],
    span_size: usize,
    factor: f32,
    channels: usize,
    out: &mut [f32],
) {
    let columns = spans.iter().zip(weights.chunks_exact(span_size));
    for ((span, weights), out) in columns.zip(out.chunks_exact_mut(channels)) {
        let [start, count] = span.map(|n| n as usize);
        out.fill(0.0);
        for (pixel, weight) in line[start..].chunks_exact(channels).zip(&weights[..count]) {
            for (sum, value) in out.iter_mut().zip(pixel) {
                *sum += weight * value;
            }
        }
        out.iter_mut().for_each(|sum| *sum *= factor);
    }
}

fn lerp_columns<T: Sample, const C: usize>(row: &[T], columns: &[Between], line: &mut [f32]) {
    let pixel = |at: u32| -> [f32; C] {
        let pixel = &row[at as usize..][..C];
        std::array::from_fn(|channel| pixel[channel].value())
    };
    for (out, column) in line.as_chunks_mut::<C>().0.iter_mut().zip(columns) {
        let (left, right) = (pixel(column.lower), pixel(column.upper));
        for c in 0..C {
            out[c] = left[c] + (right[c] - left[c]) * column.lerp;
        }
    }
}

fn lerp_any_columns<T: Sample>(row: &[T], columns: &[Between], channels: usize, line: &mut [f32]) {
    for (out, column) in line.chunks_exact_mut(channels).zip(columns) {
        let (left, right) = (&row[column.lower as usize..], &row[column.upper as usize..]);
        for ((out, left), right) in out.iter_mut().zip(left).zip(right) {
            let (left, right) = (left.value(), right.value());
            *out = left + (right - left) * column.lerp;
        }
    }
}

vectorised! {
    fn lerp_rows(top: &[f32], bottom: &[f32], lerp: f32, out: &mut [f32]) {
        for ((out, top), bottom) in out.iter_mut().zip(top).zip(bottom) {
            *out = top + (bottom - top) * lerp;
        }
    }
}

/// Copies the pixel that lies nearest to each output pixel's centre.
fn nearest(
    size: [usize; 2],
    input: ImageType,
    pixels: &[u8],
    mut target: Target<'_>,
    columns: &mut [u32],
) -> Result<(), ImageError> {
    let [in_height, in_width, _] = input.shape;
    let [out_height, out_width] = size;
    let pixel_bytes = input.pixel_bytes();
    let at =
        |i: usize, scale: f32, in_size: usize| (((i as f32 + 0.5) * scale).floor() as usize).min(in_size - 1);
    let scale = in_width as f32 / out_width as f32;
    let columns = &mut columns[..out_width];
    for (x, column) in columns.iter_mut().enumerate() {
        *column = (at(x, scale, in_width) * pixel_bytes) as u32;
    }
    let scale = in_height as f32 / out_height as f32;
    for y in 0..out_height {
        let from = at(y, scale, in_height) * input.line_bytes();
        let row = &pixels[from..from + input.line_bytes()];
        let out = target.line(y, out_width * pixel_bytes)?;
        match pixel_bytes {
            1 => pick::<1>(row, columns, out),
            2 => pick::<2>(row, columns, out),
            3 => pick::<3>(row, columns, out),
            4 => pick::<4>(row, columns, out),
            12 => pick::<12>(row, columns, out),
            _ => {
                for (to, column) in out.chunks_exact_mut(pixel_bytes).zip(columns.iter()) {
                    to.copy_from_slice(&row[*column as usize..][..pixel_bytes]);
                }
            }
        }
    }
    Ok(())
}

fn pick<const N: usize>(row: &[u8], columns: &[u32], out: &mut [u8]) {
    for (to, column) in out.as_chunks_mut::<N>().0.iter_mut().zip(columns) {
        to.copy_from_slice(&row[*column as usize..][..N]);
    }
}
