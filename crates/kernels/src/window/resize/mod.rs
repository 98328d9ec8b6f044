//! Resizing images by TensorFlow's own arithmetic: ResizeBilinear, ResizeNearestNeighbor, ResizeBicubic, ResizeArea
//! and CropAndResize. All positions and weights are float32, computed in the same order as there.

use tightfit_core::{DType, Shared, TensorView, TensorViewMut};

use super::pixel::Pixel;
use crate::base::access::{for_dtype, split_range, values, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::indices::Indices;
use crate::base::threads::ThreadPool;

/// How pixels of the output get their value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpolation {
    /// From the four nearest of the input, by distance.
    Bilinear,
    /// From the nearest one. The output has the input's type.
    Nearest,
    /// From the sixteen nearest, by cubic convolution.
    Bicubic,
    /// From all that the pixel covers, by the part that it covers.
    Area,
}

/// Where the pixels of the output lie in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alignment {
    /// The corners of the upper left pixels lie on one another: both attributes false.
    Legacy,
    /// The centres of all corner pixels lie on one another: `align_corners`.
    Corners,
    /// The corners of the images lie on one another: `half_pixel_centers`. Not of [`Interpolation::Area`].
    HalfPixel,
}

/// One dimension of a resize.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    input: usize,
    scale: f32,
    alignment: Alignment,
}

impl Axis {
    pub(super) fn new(input: usize, output: usize, alignment: Alignment) -> Self {
        let scale = if alignment == Alignment::Corners && output > 1 {
            (input - 1) as f32 / (output - 1) as f32
        } else {
            input as f32 / output as f32
        };
        Axis { input, scale, alignment }
    }

    fn position(&self, at: usize) -> f32 {
        match self.alignment {
            Alignment::HalfPixel => (at as f32 + 0.5) * self.scale - 0.5,
            _ => at as f32 * self.scale,
        }
    }

    fn bound(&self, at: i64) -> usize {
        at.clamp(0, self.input as i64 - 1) as usize
    }

    pub(super) fn nearest(&self, at: usize) -> usize {
        match self.alignment {
            Alignment::Corners => self.bound((at as f32 * self.scale).round() as i64),
            Alignment::HalfPixel => self.bound(((at as f32 + 0.5) * self.scale).floor() as i64),
            Alignment::Legacy => self.bound((at as f32 * self.scale).floor() as i64),
        }
    }

    pub(super) fn linear(&self, at: usize) -> Linear {
        let position = self.position(at);
        let floor = position.floor();
        Linear {
            lower: self.bound(floor as i64),
            upper: self.bound(position.ceil() as i64),
            lerp: position - floor,
        }
    }

    /// The four inputs of an output, and their weights. Those are taken at 1024 places between two pixels, as in
    /// TensorFlow; with half pixel centres those outside of the image count for nothing, otherwise the edge repeats.
    pub(super) fn cubic(&self, at: usize) -> Cubic {
        const PLACES: i64 = 1024;
        let keys = self.alignment == Alignment::HalfPixel;
        let a = if keys { -0.5f64 } else { -0.75 };
        let position = self.position(at);
        let floor = position.floor();
        let offset = ((position - floor) * PLACES as f32).round_ties_even() as i64;
        let near = |place: i64| {
            let x = (place as f64 / PLACES as f64) as f32 as f64;
            (((a + 2.0) * x - (a + 3.0)) * x * x + 1.0) as f32
        };
        let far = |place: i64| {
            let x = (place as f64 / PLACES as f64) as f32 as f64 + 1.0;
            (((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a) as f32
        };
        let mut weights = [far(offset), near(offset), near(PLACES - offset), far(PLACES - offset)];
        let first = floor as i64 - 1;
        let indices = [0, 1, 2, 3].map(|i| self.bound(first + i));
        if keys {
            for (i, weight) in (0..).zip(&mut weights) {
                if indices[i as usize] as i64 != first + i {
                    *weight = 0.0;
                }
            }
            let sum = weights[0] + weights[1] + weights[2] + weights[3];
            if sum.abs() >= 1000.0 * f32::MIN_POSITIVE {
                let inverse = 1.0 / sum;
                weights.iter_mut().for_each(|w| *w *= inverse);
            }
        }
        Cubic { indices, weights }
    }

    /// The first and one past the last input that an output covers.
    fn cover(&self, at: usize) -> Cover {
        let from = at as f32 * self.scale;
        let to = (at + 1) as f32 * self.scale;
        Cover { from, to, start: from.floor() as i64, end: to.ceil() as i64, scale: self.scale }
    }
}

#[derive(Clone, Copy, Default)]
pub(super) struct Linear {
    pub lower: usize,
    pub upper: usize,
    pub lerp: f32,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Cubic {
    pub indices: [usize; 4],
    pub weights: [f32; 4],
}

#[derive(Clone, Copy, Default)]
struct Cover {
    from: f32,
    to: f32,
    start: i64,
    end: i64,
    scale: f32,
}

impl Cover {
    /// How much of the input `at` is covered.
    fn part(&self, at: i64) -> f32 {
        let (low, high) = (at as f32, (at + 1) as f32);
        if low < self.from {
            if high > self.to { self.scale } else { high - self.from }
        } else if high > self.to {
            self.to - low
        } else {
            1.0
        }
    }
}

/// Output columns whose weights are computed once and used for every row.
const COLUMNS: usize = 32;

/// What computes a row of a tile, from the tile's weights: `f(weights, batch, y, dst)`.
type RowOfTile<'a, T, W> = dyn Fn(&W, usize, usize, &mut [T]) + Sync + 'a;

/// The sizes of a resize: input and output are `[batch, height, width, channels]`.
#[derive(Clone, Copy)]
struct Sizes {
    from: [usize; 4],
    to: [usize; 4],
}

impl Sizes {
    /// Calls `row` for every row of tiles of `COLUMNS` columns, with the output's pixels there and the weights that
    /// `tile(first_column)` gave, once for all rows that a task does.
    fn each_tile<T: Send, W>(
        &self,
        pool: &ThreadPool,
        dst: &mut [T],
        cost: usize,
        tile: &(dyn Fn(usize) -> W + Sync),
        row: &RowOfTile<'_, T, W>,
    ) {
        let [batch, height, width, channels] = self.to;
        if dst.is_empty() {
            return;
        }
        let dst = Shared::new(dst);
        split_range(pool, batch * height, width * channels * cost, &|first, count| {
            for start in (0..width).step_by(COLUMNS) {
                let columns = COLUMNS.min(width - start);
                let weights = tile(start);
                for at in first..first + count {
                    // SAFETY: every row belongs to one task, which writes a tile of it at a time, and the output
                    // outlives the call.
                    let mut dst = unsafe { dst.part((at * width + start) * channels, columns * channels) };
                    row(&weights, at / height, at % height, &mut dst);
                }
            }
        });
    }

    /// The pixels of a row of the input.
    fn row<'a, T>(&self, src: &'a [T], batch: usize, y: usize) -> &'a [T] {
        let [_, height, width, channels] = self.from;
        &src[(batch * height + y) * width * channels..][..width * channels]
    }
}

/// Resizes `src` `[batch, height, width, channels]`, of numbers, to the height and width of `dst`, which is float32,
/// or of the input's type with [`Interpolation::Nearest`].
///
/// # Errors
/// [`KernelError::Invalid`] for shapes that do not go together or are empty, [`KernelError::DType`] for other types.
pub fn resize(
    pool: &ThreadPool,
    how: Interpolation,
    alignment: Alignment,
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "Resize";
    let shapes = (<[usize; 4]>::try_from(&**src.shape()), <[usize; 4]>::try_from(&**dst.shape()));
    let (Ok(from), Ok(to)) = shapes else {
        return Err(KernelError::Invalid {
            kernel: KERNEL,
            rule: "images are [batch, height, width, channels]",
        });
    };
    ensure(from[0] == to[0] && from[3] == to[3], KERNEL, "batch and channels stay as they are")?;
    ensure(from[1] > 0 && from[2] > 0 && to[1] > 0 && to[2] > 0, KERNEL, "images have pixels")?;
    let area = how == Interpolation::Area && alignment == Alignment::HalfPixel;
    ensure(!area, KERNEL, "areas know no half pixel centres")?;
    let sizes = Sizes { from, to };
    let (rows, columns) = (Axis::new(from[1], to[1], alignment), Axis::new(from[2], to[2], alignment));
    if how == Interpolation::Nearest {
        ensure(src.dtype() == dst.dtype(), KERNEL, "the nearest pixel has the input's type")?;
        nearest(pool, sizes, rows, columns, src.dtype().bytes(), src.bytes(), dst.bytes());
        return Ok(());
    }
    ensure(dst.dtype() == DType::F32, KERNEL, "the output is float32")?;
    for_dtype!(src.dtype(), KERNEL, numbers, T => {
        let (src, dst) = (values::<T>(src.bytes(), KERNEL)?, values_mut::<f32>(dst.bytes(), KERNEL)?);
        match how {
            Interpolation::Bilinear => bilinear(pool, sizes, rows, columns, src, dst),
            Interpolation::Bicubic => bicubic(pool, sizes, rows, columns, src, dst),
            Interpolation::Area => area_mean(pool, sizes, rows, columns, src, dst),
            Interpolation::Nearest => {}
        }
        Ok(())
    })
}

fn nearest(
    pool: &ThreadPool,
    sizes: Sizes,
    rows: Axis,
    columns: Axis,
    size: usize,
    src: &[u8],
    dst: &mut [u8],
) {
    let bytes = sizes.from[3] * size;
    let mut sizes = sizes;
    (sizes.from[3], sizes.to[3]) = (bytes, bytes);
    let tile =
        |start: usize| std::array::from_fn::<usize, COLUMNS, _>(|x| columns.nearest(start + x) * bytes);
    sizes.each_tile(pool, dst, 1, &tile, &|from, batch, y, dst| {
        let src = sizes.row(src, batch, rows.nearest(y));
        for (dst, from) in dst.chunks_mut(bytes).zip(from) {
            dst.copy_from_slice(&src[*from..from + bytes]);
        }
    });
}

/// Interpolates between four pixels, as TensorFlow does.
#[inline(always)]
fn lerp([top_left, top_right, bottom_left, bottom_right]: [f32; 4], x: f32, y: f32) -> f32 {
    let top = top_left + (top_right - top_left) * x;
    let bottom = bottom_left + (bottom_right - bottom_left) * x;
    top + (bottom - top) * y
}

/// Writes one pixel, each channel of which is interpolated between two columns of two rows.
#[inline(always)]
fn lerp_pixel<T: Pixel>(dst: &mut [f32], top: &[T], bottom: &[T], x: Linear, y: f32) {
    let channels = dst.len();
    let (left, right) = (x.lower * channels, x.upper * channels);
    let top = top[left..left + channels].iter().zip(&top[right..right + channels]);
    let bottom = bottom[left..left + channels].iter().zip(&bottom[right..right + channels]);
    for ((dst, top), bottom) in dst.iter_mut().zip(top).zip(bottom) {
        *dst = lerp([top.0.value(), top.1.value(), bottom.0.value(), bottom.1.value()], x.lerp, y);
    }
}

fn bilinear<T: Pixel>(
    pool: &ThreadPool,
    sizes: Sizes,
    rows: Axis,
    columns: Axis,
    src: &[T],
    dst: &mut [f32],
) {
    let channels = sizes.to[3];
    let tile = |start: usize| std::array::from_fn::<Linear, COLUMNS, _>(|x| columns.linear(start + x));
    sizes.each_tile(pool, dst, 4, &tile, &|weights, batch, y, dst| {
        let y = rows.linear(y);
        let (top, bottom) = (sizes.row(src, batch, y.lower), sizes.row(src, batch, y.upper));
        for (dst, x) in dst.chunks_mut(channels).zip(weights) {
            lerp_pixel(dst, top, bottom, *x, y.lerp);
        }
    });
}

fn bicubic<T: Pixel>(pool: &ThreadPool, sizes: Sizes, rows: Axis, columns: Axis, src: &[T], dst: &mut [f32]) {
    let channels = sizes.to[3];
    let mix = |w: &[f32; 4], v: [f32; 4]| v[0] * w[0] + v[1] * w[1] + v[2] * w[2] + v[3] * w[3];
    let tile = |start: usize| std::array::from_fn::<Cubic, COLUMNS, _>(|x| columns.cubic(start + x));
    sizes.each_tile(pool, dst, 24, &tile, &|weights, batch, y, dst| {
        let y = rows.cubic(y);
        let lines = y.indices.map(|y| sizes.row(src, batch, y));
        for (dst, x) in dst.chunks_mut(channels).zip(weights) {
            for (channel, dst) in dst.iter_mut().enumerate() {
                let column =
                    |x: usize| mix(&y.weights, lines.map(|line| line[x * channels + channel].value()));
                *dst = mix(&x.weights, x.indices.map(column));
            }
        }
    });
}

fn area_mean<T: Pixel>(
    pool: &ThreadPool,
    sizes: Sizes,
    rows: Axis,
    columns: Axis,
    src: &[T],
    dst: &mut [f32],
) {
    let channels = sizes.to[3];
    // The corners of one pixel are not apart: it covers every pixel of the output.
    let whole = |axis: Axis, output: usize| match axis.input {
        1 => Axis::new(1, output, Alignment::Legacy),
        _ => axis,
    };
    let (rows, columns) = (whole(rows, sizes.to[1]), whole(columns, sizes.to[2]));
    let scale = 1.0 / (rows.scale * columns.scale);
    let cost = (1.0 / scale) as usize + 8;
    let tile = |start: usize| std::array::from_fn::<Cover, COLUMNS, _>(|x| columns.cover(start + x));
    sizes.each_tile(pool, dst, cost, &tile, &|covers, batch, y, dst| {
        let y = rows.cover(y);
        for (dst, x) in dst.chunks_mut(channels).zip(covers) {
            for (channel, dst) in dst.iter_mut().enumerate() {
                let mut sum = 0.0f32;
                for line in y.start..y.end {
                    let pixels = sizes.row(src, batch, rows.bound(line));
                    let value = |x: i64| pixels[columns.bound(x) * channels + channel].value();
                    let mut part = value(x.start) * x.part(x.start);
                    for at in x.start + 1..x.end {
                        part += value(at) * if at + 1 == x.end { x.part(at) } else { 1.0 };
                    }
                    sum += part * y.part(line);
                }
                *dst = sum * scale;
            }
        }
    });
}

/// Cuts boxes out of images and resizes them to one size: TensorFlow's CropAndResize. `images` are `[batch, height,
/// width, channels]`, of numbers; row `i` of `boxes` `[n, 4]` (float32) is the upper left and lower right corner `y1, x1,
/// y2, x2` in image number `box_indices[i]` (int32), 1 being the last pixel; `dst` is `[n, crop_height, crop_width,
/// channels]`, float32. Pixels outside of an image become `outside`. `how` is bilinear or nearest.
///
/// # Errors
/// [`KernelError::Index`] for a box of no image, [`KernelError::Invalid`] for shapes that do not go together, another
/// interpolation and no pixels, [`KernelError::DType`] for other types.
pub fn crop_and_resize(
    pool: &ThreadPool,
    (how, outside): (Interpolation, f32),
    images: TensorView<'_>,
    boxes: TensorView<'_>,
    box_indices: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "CropAndResize";
    let shapes = (<[usize; 4]>::try_from(&**images.shape()), <[usize; 4]>::try_from(&**dst.shape()));
    let (Ok(from), Ok(to)) = shapes else {
        return Err(KernelError::Invalid {
            kernel: KERNEL,
            rule: "images are [batch, height, width, channels]",
        });
    };
    let is_none = to[0] == 0 && boxes.shape().elements() == 0;
    let is_each = is_none || boxes.shape()[..] == [to[0], 4];
    ensure(from[3] == to[3] && is_each, KERNEL, "there is an output for each box")?;
    ensure(from[1] > 0 && from[2] > 0, KERNEL, "images have pixels")?;
    let linear = match how {
        Interpolation::Bilinear => true,
        Interpolation::Nearest => false,
        _ => return Err(KernelError::Invalid { kernel: KERNEL, rule: "the method is bilinear or nearest" }),
    };
    ensure(dst.dtype() == DType::F32, KERNEL, "the output is float32")?;
    let indices = Indices::new(KERNEL, box_indices)?;
    ensure(indices.len() == to[0], KERNEL, "there is an image for each box")?;
    indices.check(KERNEL, |_| from[0])?;
    let boxes = boxes.as_slice::<f32>().ok_or(KernelError::DType { kernel: KERNEL, dtype: boxes.dtype() })?;
    let sizes = Sizes { from, to };
    let (row, channels) = (to[2] * to[3], to[3]);
    for_dtype!(images.dtype(), KERNEL, numbers, T => {
        let (src, dst) = (values::<T>(images.bytes(), KERNEL)?, values_mut::<f32>(dst.bytes(), KERNEL)?);
        crate::base::access::split_with_cost(pool, dst, row, row * 8, &|first, dst| {
            for (n, dst) in dst.chunks_mut(row).enumerate() {
                let (n, y) = ((first + n) / to[1], (first + n) % to[1]);
                let image = indices.get(n) as usize;
                let &[y1, x1, y2, x2] = &boxes[n * 4..][..4] else { continue };
                let Some(y) = crop_position(y1, y2, y, to[1], from[1]) else {
                    dst.fill(outside);
                    continue;
                };
                for (x, dst) in dst.chunks_mut(channels).enumerate() {
                    let Some(x) = crop_position(x1, x2, x, to[2], from[2]) else {
                        dst.fill(outside);
                        continue;
                    };
                    if linear {
                        let between = |at: f32| Linear {
                            lower: at.floor() as usize,
                            upper: at.ceil() as usize,
                            lerp: at - at.floor(),
                        };
                        let (x, y) = (between(x), between(y));
                        let (top, bottom) = (sizes.row(src, image, y.lower), sizes.row(src, image, y.upper));
                        lerp_pixel(dst, top, bottom, x, y.lerp);
                    } else {
                        let src = &sizes.row(src, image, y.round() as usize)[x.round() as usize * channels..];
                        dst.iter_mut().zip(src).for_each(|(dst, x)| *dst = x.value());
                    }
                }
            }
        });
        Ok(())
    })
}

/// Where in an input of `input` pixels output `at` of `output` lies, for a box from `start` to `end`; nowhere if that
/// is outside.
fn crop_position(start: f32, end: f32, at: usize, output: usize, input: usize) -> Option<f32> {
    let last = (input - 1) as f32;
    let position = if output > 1 {
        let scale = (end - start) * last / (output - 1) as f32;
        start * last + at as f32 * scale
    } else {
        0.5 * (start + end) * last
    };
    (0.0..=last).contains(&position).then_some(position)
}

#[cfg(test)]
mod tests;
