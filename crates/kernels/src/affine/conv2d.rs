//! Convolutions of bytes: `[batch, height, width, channels]` with filters `[out, height, width, channels / groups]`, and
//! products of matrices, which are convolutions of single pixels.

use tightfit_core::Shared;

use super::filter::{AffineFilter, FLIP};
use super::finish::{ToBytes, ToFloats};
use super::multiplier::Rescale;
use super::panels::BytePanels;
use super::product::{Product, Row, Rows};
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_exact, product};
use crate::base::threads::ThreadPool;
use crate::base::window::{Window, element_at};

/// A convolution of bytes.
#[derive(Debug, Clone, Copy)]
pub struct AffineConv2d {
    input: [usize; 4],
    window: Window,
    output: [usize; 2],
    columns: usize,
    groups: usize,
}

/// The bytes on the left, and how they are read.
#[derive(Debug, Clone, Copy)]
pub struct AffineInput<'a> {
    /// int8, or uint8.
    pub bytes: &'a [u8],
    /// The bytes are uint8.
    pub is_unsigned: bool,
    /// What stands for 0; of each image, where there are several.
    pub zeros: &'a [i32],
}

/// Integers that a convolution gives.
#[derive(Debug)]
pub struct AffineOutput<'a> {
    /// int8 or uint8, as the bounds say.
    pub bytes: &'a mut [u8],
    /// How sums become integers.
    pub rescale: Rescale<'a>,
    /// What is added to the sums of each channel.
    pub bias: Option<&'a [i32]>,
}

/// Floats that a convolution of quantised floats gives: `bounded(sum * scale * image's scale + bias)`.
#[derive(Debug)]
pub struct HybridOutput<'a> {
    /// The floats.
    pub floats: &'a mut [f32],
    /// One scale of the filter, or one for each channel.
    pub scales: &'a [f32],
    /// The scale of each image.
    pub image_scales: &'a [f32],
    /// What is added in each channel.
    pub bias: Option<&'a [f32]>,
    /// The smallest and the largest number.
    pub bounds: (f32, f32),
}

impl AffineConv2d {
    /// A convolution of an input of this shape with a filter `[out, height, width, channels / groups]`.
    ///
    /// # Errors
    /// [`KernelError::Attribute`] for channels that the filter's do not divide, and windows without steps.
    pub fn new(input: [usize; 4], filter: [usize; 4], window: Window) -> Result<AffineConv2d, KernelError> {
        let [columns, height, width, depth] = filter;
        let groups = input[3].checked_div(depth).unwrap_or(1);
        if window.size != [height, width]
            || groups * depth != input[3]
            || groups == 0
            || !columns.is_multiple_of(groups)
        {
            return Err(KernelError::Attribute("the channels of a filter do not divide those of its input"));
        }
        let output = window.output(input[1], input[2])?;
        product(&input)?;
        product(&filter)?;
        product(&[input[0], output[0], output[1], columns])?;
        Ok(AffineConv2d { input, window, output, columns, groups })
    }

    /// A product of `[rows, depth]` with a filter `[columns, depth]`.
    ///
    /// # Errors
    /// [`KernelError`] for sizes that overflow.
    pub fn matmul(rows: usize, depth: usize, columns: usize) -> Result<AffineConv2d, KernelError> {
        AffineConv2d::new([rows, 1, 1, depth], [columns, 1, 1, depth], Window::new(1, 1))
    }

    /// The product over the pixels of all images.
    fn product<'a>(&self, input: &AffineInput<'a>) -> Product<'a> {
        let rows_each = self.output[0] * self.output[1];
        Product {
            rows: self.input[0] * rows_each,
            depth: self.depth(),
            zeros: input.zeros,
            rows_each,
            offset: if input.is_unsigned { 0 } else { FLIP as i32 },
        }
    }

    /// Integers of a row of the filter.
    pub fn depth(&self) -> usize {
        self.window.size[0] * self.window.size[1] * (self.input[3] / self.groups)
    }

    /// Height and width of the output.
    pub fn output(&self) -> [usize; 2] {
        self.output
    }

    /// Bytes of scratch, with a filter in panels or as a file has it.
    pub fn scratch_bytes(&self, isa: Isa, threads: usize, is_packed: bool) -> usize {
        let columns = self.columns / self.groups;
        let rows = self.input[0] * self.output[0] * self.output[1];
        Product { rows, depth: self.depth(), zeros: &[], rows_each: 1, offset: 0 }
            .scratch_bytes(isa, columns, threads, is_packed)
    }

    /// The panels that a filter in memory is best laid out in; `None` with groups.
    pub fn panels(&self) -> Option<BytePanels> {
        (self.groups == 1).then(|| BytePanels::new(self.columns, self.depth()).ok()).flatten()
    }

    fn rows<'a>(&self, input: AffineInput<'a>, group: usize) -> PixelRows<'a> {
        let depth = self.input[3] / self.groups;
        PixelRows { conv: *self, input, channels: (group * depth, depth) }
    }

    /// The parts of each group that are among the filter's rows from `first` on: the group, and the filter of the part with its first
    /// channel.
    fn parts<'a>(
        &self,
        filter: AffineFilter<'a>,
        first: usize,
    ) -> impl Iterator<Item = Result<(usize, usize, AffineFilter<'a>), KernelError>> + use<'a> {
        let each = (self.columns / self.groups).max(1);
        let end = first + filter.columns;
        let groups = if filter.columns == 0 { 0..0 } else { first / each..end.div_ceil(each) };
        groups.map(move |group| {
            let (from, to) = (first.max(group * each), end.min((group + 1) * each));
            Ok((group, from, filter.part(from - first, to - from)?))
        })
    }

    fn check(
        &self,
        input: &AffineInput<'_>,
        filter: &AffineFilter<'_>,
        first: usize,
        output: usize,
    ) -> Result<(), KernelError> {
        check_exact("the input", product(&self.input)?, input.bytes.len())?;
        check_exact("the filter's depth", self.depth(), filter.depth)?;
        let pixels = product(&[self.input[0], self.output[0], self.output[1]])?;
        check_exact("the output", product(&[pixels, self.columns])?, output)?;
        if first + filter.columns > self.columns {
            return Err(KernelError::Attribute("a filter has more rows than there are channels"));
        }
        Ok(())
    }

    /// Computes the channels from `first` on, those of the rows of `filter`.
    ///
    /// # Errors
    /// [`KernelError`] when a length is wrong or the scratch too small.
    pub fn run(
        &self,
        pool: &ThreadPool,
        input: AffineInput<'_>,
        filter: (AffineFilter<'_>, usize),
        output: AffineOutput<'_>,
        scratch: &mut [u8],
    ) -> Result<(), KernelError> {
        let (filter, first) = filter;
        self.check(&input, &filter, first, output.bytes.len())?;
        if let Some(bias) = output.bias {
            check_exact("the bias", self.columns, bias.len())?;
        }
        output.rescale.check(self.columns)?;
        let finish = ToBytes {
            rescale: output.rescale,
            bias: output.bias,
            row_bytes: self.columns,
            output: Shared::new(output.bytes),
        };
        let product = self.product(&input);
        for part in self.parts(filter, first) {
            let (group, from, part) = part?;
            product.run(pool, &self.rows(input, group), part, from, &finish, scratch)?;
        }
        Ok(())
    }

    /// Computes the channels from `first` on of a convolution of floats that were quantised image by image.
    ///
    /// # Errors
    /// As [`AffineConv2d::run`].
    pub fn run_hybrid(
        &self,
        pool: &ThreadPool,
        input: AffineInput<'_>,
        filter: (AffineFilter<'_>, usize),
        output: HybridOutput<'_>,
        scratch: &mut [u8],
    ) -> Result<(), KernelError> {
        let (filter, first) = filter;
        self.check(&input, &filter, first, output.floats.len())?;
        check_exact("the images' zeros", self.input[0], input.zeros.len())?;
        check_exact("the images' scales", self.input[0], output.image_scales.len())?;
        if let Some(bias) = output.bias {
            check_exact("the bias", self.columns, bias.len())?;
        }
        if output.scales.len() != 1 {
            check_exact("the scales", self.columns, output.scales.len())?;
        }
        let finish = ToFloats {
            scales: output.scales,
            row_scales: output.image_scales,
            rows_each: (self.output[0] * self.output[1]).max(1),
            bias: output.bias,
            bounds: output.bounds,
            row_floats: self.columns,
            output: Shared::new(output.floats),
        };
        let product = self.product(&input);
        for part in self.parts(filter, first) {
            let (group, from, part) = part?;
            product.run(pool, &self.rows(input, group), part, from, &finish, scratch)?;
        }
        Ok(())
    }
}

/// The pixels under a filter at each place, as rows.
struct PixelRows<'a> {
    conv: AffineConv2d,
    input: AffineInput<'a>,
    /// The first channel, and how many.
    channels: (usize, usize),
}

impl PixelRows<'_> {
    fn copy(&self, to: &mut Row<'_>, from: usize, count: usize) {
        to.put(&self.input.bytes[from..], count, if self.input.is_unsigned { 0 } else { FLIP });
    }
}

impl Rows for PixelRows<'_> {
    fn read(&self, row: usize, to: &mut Row<'_>) {
        let AffineConv2d { input: [_, height, width, channels], window, output, .. } = self.conv;
        let (first, depth) = self.channels;
        if depth == 0 {
            return;
        }
        if window.size == [1, 1] && window.strides == [1, 1] && output == [height, width] {
            return self.copy(to, row * channels + first, depth);
        }
        let (x, y) = (row % output[1], row / output[1] % output[0]);
        let image = row / output[1] / output[0];
        let zero = self.input.zeros.get(image).or(self.input.zeros.first()).copied().unwrap_or(0);
        let zero = ToBytes::unsigned(zero, self.input.is_unsigned) as u8;
        let taps = window.size[1];
        for line in 0..window.size[0] {
            let Some(at_y) = element_at(&window, 0, y, line, height) else {
                to.fill(zero, taps * depth);
                continue;
            };
            let start = (image * height + at_y) * width;
            let ends = [element_at(&window, 1, x, 0, width), element_at(&window, 1, x, taps - 1, width)];
            if let ([Some(at_x), Some(_)], 1, true) = (ends, window.dilations[1], depth == channels) {
                self.copy(to, (start + at_x) * channels, taps * depth);
                continue;
            }
            for tap in 0..taps {
                match element_at(&window, 1, x, tap, width) {
                    Some(at_x) => self.copy(to, (start + at_x) * channels + first, depth),
                    None => to.fill(zero, depth),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affine::{FilterType, Multiplier};

    fn bytes(count: usize, step: usize) -> Vec<u8> {
        (0..count).map(|n| (n * step % 251) as u8).collect()
    }

    /// The definition, on int8.
    fn slow(conv: &AffineConv2d, x: &[u8], zero: i32, w: &[u8], filter_zero: i32, at: usize) -> i32 {
        let [_, height, width, channels] = conv.input;
        let (column, pixel) = (at % conv.columns, at / conv.columns);
        let (ox, oy) = (pixel % conv.output[1], pixel / conv.output[1] % conv.output[0]);
        let image = pixel / conv.output[1] / conv.output[0];
        let depth = channels / conv.groups;
        let first = column / (conv.columns / conv.groups) * depth;
        let mut sum = 0;
        for (ty, tx) in (0..conv.window.size[0]).flat_map(|y| (0..conv.window.size[1]).map(move |x| (y, x))) {
            let at = [(0, oy, ty, height), (1, ox, tx, width)]
                .map(|(axis, position, tap, size)| element_at(&conv.window, axis, position, tap, size));
            let [Some(y), Some(px)] = at else { continue };
            for c in 0..depth {
                let a = x[((image * height + y) * width + px) * channels + first + c] as i8 as i32;
                let tap = (column * conv.window.size[0] + ty) * conv.window.size[1] + tx;
                sum += (a - zero) * (w[tap * depth + c] as i8 as i32 - filter_zero);
            }
        }
        sum
    }

    #[test]
    fn convolutions_are_what_the_definition_says() {
        for (input, filter, strides, dilations, is_same, filter_zero) in [
            ([2, 5, 6, 3], [20, 3, 3, 3], [1, 1], [1, 1], true, 0),
            ([1, 9, 7, 8], [36, 2, 3, 8], [2, 1], [1, 2], true, 5),
            ([1, 4, 4, 6], [4, 3, 3, 3], [1, 2], [1, 1], false, 0),
            ([3, 1, 1, 70], [33, 1, 1, 70], [1, 1], [1, 1], false, -7),
            ([1, 1, 1, 0], [3, 1, 1, 0], [1, 1], [1, 1], false, 0),
        ] {
            let mut window = Window { strides, dilations, ..Window::new(filter[1], filter[2]) };
            if is_same {
                window = window.same(input[1], input[2]);
            }
            let conv = AffineConv2d::new(input, filter, window).unwrap();
            let (x, w) = (bytes(input.iter().product(), 37), bytes(filter.iter().product(), 53));
            let multipliers: Vec<_> =
                (0..filter[0]).map(|c| Multiplier::of(0.001 * (c + 1) as f64)).collect();
            let bias: Vec<i32> = (0..filter[0] as i32).map(|c| c * 100 - 700).collect();
            let rescale = Rescale { multipliers: &multipliers, exact: &[], zero: 3, bounds: (-100, 120) };
            for (threads, isa, is_packed) in
                [(1, 0, false), (3, 0, false), (2, 1, true), (2, 1, false), (2, 2, true), (1, 0, true)]
            {
                let pool = ThreadPool::with_isa(threads, crate::Isa::ALL[isa]).unwrap();
                let pixels = input[0] * conv.output[0] * conv.output[1];
                let mut output = vec![77; pixels * filter[0]];
                let panels = conv.panels().filter(|_| is_packed);
                let mut scratch = vec![1; conv.scratch_bytes(pool.isa(), threads, panels.is_some())];
                let input = AffineInput { bytes: &x, is_unsigned: false, zeros: &[-5] };
                // In two parts, as a streamed filter comes.
                let first = filter[0] / 2;
                let row = filter[1..].iter().product::<usize>();
                if let Some(panels) = panels {
                    let mut packed = vec![9; panels.bytes()];
                    let half = filter[0] / 2 / BytePanels::WIDTH * BytePanels::WIDTH;
                    for (from, to) in [(half, filter[0]), (0, half)] {
                        panels.pack(&mut packed, from, FilterType::Int8, &w[from * row..to * row]).unwrap();
                    }
                    let own = panels.filter(&packed, FilterType::Int8, filter_zero).unwrap();
                    let output = AffineOutput { bytes: &mut output, rescale, bias: Some(&bias) };
                    conv.run(&pool, input, (own, 0), output, &mut scratch).unwrap();
                }
                let parts = [(0, first), (first, filter[0])];
                for (from, to) in parts.into_iter().filter(|_| panels.is_none()) {
                    let part = AffineFilter::new(
                        &w[from * row..to * row],
                        (to - from, row),
                        FilterType::Int8,
                        filter_zero,
                    );
                    let output = AffineOutput { bytes: &mut output, rescale, bias: Some(&bias) };
                    conv.run(&pool, input, (part.unwrap(), from), output, &mut scratch).unwrap();
                }
                for (at, byte) in output.iter().enumerate() {
                    let sum = slow(&conv, &x, -5, &w, filter_zero, at) + bias[at % filter[0]];
                    let expected = rescale.bounded(multipliers[at % filter[0]].apply(sum));
                    assert_eq!(*byte as i8 as i32, expected, "{conv:?} at {at}");
                }
            }
        }
    }
}
