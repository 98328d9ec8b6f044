//! Convolution of images and volumes, f32, as a product over pixels. An image is a volume of depth 1.

mod pixels;
mod winograd;

use super::weighted::{Parts, check_residual};
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_exact, product};
use crate::base::threads::ThreadPool;
use crate::base::window::{Window, Window3};
use crate::product::gemm::{
    Epilogue, Form, Gemm, MAX_ROWS, PackedLayout, Problem, RightHand, Scratch, Segment,
};
use crate::product::matmul::{ALIASING_FLOATS, copy_pitch};
use pixels::PixelRows;
use winograd::Winograd;

/// What a convolution works on: input `[batch, height, width, in_channels]`, filter `[window height, window width,
/// in_channels / groups, out_channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dParams {
    /// Images.
    pub batch: usize,
    /// Of the input.
    pub height: usize,
    /// Of the input.
    pub width: usize,
    /// Of the input, all groups together.
    pub in_channels: usize,
    /// Of the output, all groups together.
    pub out_channels: usize,
    /// The filter's window.
    pub window: Window,
    /// Groups of channels that do not see each other; 1 for an ordinary convolution.
    pub groups: usize,
}

/// What a convolution of volumes works on: input `[batch, depth, height, width, in_channels]`, filter `[window depth,
/// window height, window width, in_channels / groups, out_channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv3dParams {
    /// Volumes.
    pub batch: usize,
    /// Depth, height and width of the input.
    pub size: [usize; 3],
    /// Of the input, all groups together.
    pub in_channels: usize,
    /// Of the output, all groups together.
    pub out_channels: usize,
    /// The filter's window.
    pub window: Window3,
    /// Groups of channels that do not see each other; 1 for an ordinary convolution.
    pub groups: usize,
}

impl From<Conv2dParams> for Conv3dParams {
    fn from(p: Conv2dParams) -> Conv3dParams {
        Conv3dParams {
            batch: p.batch,
            size: [1, p.height, p.width],
            in_channels: p.in_channels,
            out_channels: p.out_channels,
            window: p.window.into(),
            groups: p.groups,
        }
    }
}

impl Conv3dParams {
    /// The output's depth, height and width, if the parameters make sense.
    pub(crate) fn check(&self) -> Result<[usize; 3], KernelError> {
        let fits = |channels: usize| self.groups > 0 && channels.is_multiple_of(self.groups);
        if !fits(self.in_channels) || !fits(self.out_channels) {
            return Err(KernelError::Attribute("the channels must be a multiple of the groups"));
        }
        self.window.output(self.size)
    }

    /// Elements of the input.
    fn input_len(&self) -> usize {
        self.batch * self.size.iter().product::<usize>() * self.in_channels
    }
}

/// A convolution `[batch, height, width, in_channels]` -> `[batch, height', width', out_channels]`, or one of volumes,
/// with depth before height. Cheap to make; holds no memory.
#[derive(Debug, Clone, Copy)]
pub struct Conv2d {
    p: Conv3dParams,
    /// Depth, height and width of the output.
    output: [usize; 3],
    /// Elements of k in one tap.
    tap_len: usize,
    /// Whether a tap is a whole row of the window, not just one position: its pixels are neighbours in memory.
    row_taps: bool,
    /// Whether the output's pixels are the input's, one by one.
    is_dense: bool,
    /// Whether the filter is stored with its output channels first.
    is_transposed: bool,
    layout: PackedLayout,
}

/// Up to this many channels a row of the window is one tap.
const ROW_TAP_CHANNELS: usize = 16;

impl Conv2d {
    /// The convolution of images with these parameters.
    ///
    /// # Errors
    /// [`KernelError`] for parameters that make no sense or sizes that overflow, or when the processor lacks `isa`.
    pub fn new(isa: Isa, p: Conv2dParams) -> Result<Conv2d, KernelError> {
        Conv2d::of_volumes(isa, p.into())
    }

    /// The convolution of volumes with these parameters.
    ///
    /// # Errors
    /// As [`Conv2d::new`].
    pub fn of_volumes(isa: Isa, p: Conv3dParams) -> Result<Conv2d, KernelError> {
        let output = p.check()?;
        product(&[p.batch, p.size[0], p.size[1], p.size[2], p.in_channels])?;
        product(&[p.batch, output[0], output[1], output[2], p.out_channels])?;
        let [depth, height, width] = p.window.size;
        let channels = p.in_channels / p.groups;
        let k = product(&[depth, height, width, channels])?;
        let row_taps =
            width > 1 && p.window.dilations[2] == 1 && p.groups == 1 && channels <= ROW_TAP_CHANNELS;
        Ok(Conv2d {
            p,
            output,
            tap_len: if row_taps { width * channels } else { channels },
            row_taps,
            is_dense: p.window == Window3::new([1; 3]),
            is_transposed: false,
            layout: PackedLayout::new(isa, k, p.out_channels / p.groups, p.groups)?,
        })
    }

    /// The same with a filter that is stored `[out_channels, window height, window width, in_channels]`.
    ///
    /// # Errors
    /// [`KernelError`] for a convolution of several groups.
    pub fn with_transposed_filter(self) -> Result<Conv2d, KernelError> {
        if self.p.groups != 1 {
            return Err(KernelError::Attribute("a filter with its output channels first is of one group"));
        }
        Ok(Conv2d { is_transposed: true, ..self })
    }

    /// The output's shape, `[batch, height', width', out_channels]`, of a convolution of images.
    pub fn output_shape(&self) -> [usize; 4] {
        [self.p.batch, self.output[1], self.output[2], self.p.out_channels]
    }

    /// The output's depth, height and width.
    pub fn output_size(&self) -> [usize; 3] {
        self.output
    }

    /// The filter's rows (of `out_channels` floats): elements of the window · in_channels / groups.
    pub fn filter_rows(&self) -> usize {
        self.layout.k()
    }

    /// The layout of a part of the filter's rows: some of the product's depth, or, stored transposed, of its columns.
    fn block_layout(&self, rows: usize) -> PackedLayout {
        let (k, n) = if self.is_transposed { (self.layout.k(), rows) } else { (rows, self.layout.n()) };
        PackedLayout::new(self.layout.isa(), k, n, self.p.groups).unwrap_or(self.layout)
    }

    fn pixels(&self) -> usize {
        self.p.batch * self.output.iter().product::<usize>()
    }

    /// Floats of zeros that taps outside the image point to.
    fn zero_floats(&self) -> usize {
        self.tap_len
    }

    /// Whether the rows of a tile are copied because they would fall on the same few lines of a first-level cache.
    fn copies_all(&self) -> bool {
        let pixel_floats = self.p.in_channels * self.p.window.strides[2];
        self.p.window.size == [1; 3]
            && pixel_floats.is_multiple_of(ALIASING_FLOATS)
            && self.tap_len >= 64
            && self.layout.n() >= 128
    }

    /// Floats of copies per worker, for `k` elements in this many taps: whole rows, or the rows of windows that stick
    /// out to the left or right.
    fn copy_floats(&self, taps: usize, k: usize) -> usize {
        if self.copies_all() {
            MAX_ROWS * copy_pitch(k)
        } else if self.row_taps {
            MAX_ROWS * taps * self.tap_len
        } else {
            0
        }
    }
}

impl Parts for Conv2d {
    /// Fill it with [`PackedLayout::pack_rows`], where a row is the filter's innermost dimension, or with
    /// [`PackedLayout::pack_columns`] when it is stored transposed.
    fn packed(&self) -> PackedLayout {
        self.layout
    }

    fn stored(&self) -> (usize, usize) {
        let size = (self.filter_rows(), self.p.out_channels);
        if self.is_transposed { (size.1, size.0) } else { size }
    }

    /// Whole taps, or a divisor of one tap; any columns of a filter that is stored transposed.
    fn fitting_rows(&self, fitting: usize) -> Option<usize> {
        if self.is_transposed {
            return (fitting > 0).then_some(fitting);
        }
        if fitting >= self.tap_len {
            return Some(fitting - fitting % self.tap_len);
        }
        (1..=fitting).rev().find(|count| self.tap_len.is_multiple_of(*count))
    }

    fn strides(&self) -> (usize, usize) {
        if self.is_transposed { (1, self.filter_rows()) } else { (self.p.out_channels, 1) }
    }

    fn part_scratch_bytes(&self, threads: usize, rows: usize, form: Form) -> usize {
        let k = if self.is_transposed { self.filter_rows() } else { rows };
        let taps = k.checked_div(self.tap_len).unwrap_or(0).max(1);
        let problem = Problem {
            m: self.pixels(),
            layout: self.block_layout(rows),
            k,
            taps,
            instances: self.p.groups,
            form,
            copy_floats: self.copy_floats(taps, k),
            copies_all: self.copies_all(),
        };
        // The zeros are aligned too.
        4 * self.zero_floats() + 64 + problem.scratch_bytes(threads)
    }

    fn most_scratch_bytes(&self, threads: usize) -> usize {
        match winograd::most_scratch_bytes(self, threads) {
            0 => 0,
            bytes => 4 * self.zero_floats() + 64 + bytes,
        }
    }

    fn part(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        right: RightHand,
        rows: (usize, usize),
        out: &mut [f32],
        epilogue: Epilogue<'_>,
        scratch: &mut [u8],
    ) -> Result<(), KernelError> {
        let p = &self.p;
        check_exact("the input", p.input_len(), input.len())?;
        check_exact("the output", self.pixels() * p.out_channels, out.len())?;
        let whole = (0, self.filter_rows());
        let (k, first_column) = if self.is_transposed { (whole, rows.0) } else { (rows, 0) };
        let (first, last) = (k.0 == 0, k.0 + k.1 == self.filter_rows());
        check_residual(&epilogue, first && last)?;
        let (out, out_len) = (out.as_mut_ptr(), out.len());
        let epilogue = epilogue.to_raw(p.out_channels, out, out_len)?;
        let epilogue = epilogue.starting_at(first_column, first_column).only_if(last);
        let (zeros, rest) = Scratch::take_zeros(scratch, self.zero_floats())?;
        let segment = Segment::new(self.tap_len, k.0, k.1)?;
        let pixels = PixelRows {
            conv: self,
            input,
            zeros,
            copy_floats: self.copy_floats(segment.taps, k.1),
            packed: matches!(right, RightHand::Packed(_)),
        };
        if let RightHand::Packed(filter) = right
            && let Some(cut) = winograd::cut(self, pool.threads(), rest.len())
        {
            // SAFETY: the lengths were checked above, and `out` and `scratch` are borrowed exclusively.
            unsafe { Winograd { pixels, filter, out, epilogue }.run(pool, cut, rest) };
            return Ok(());
        }
        let gemm = Gemm {
            rows: &pixels,
            m: self.pixels(),
            layout: self.block_layout(rows.1),
            instances: p.groups,
            segment,
            b: right,
            out: out.wrapping_add(first_column),
            out_stride: p.out_channels,
            first,
            epilogue,
        };
        let scratch = gemm.scratch(pool.threads(), rest)?;
        // SAFETY: the lengths were checked above, and `out` and `scratch` are borrowed exclusively.
        unsafe { gemm.run(pool, &scratch) };
        Ok(())
    }
}
