//! Convolution of images and volumes, f32, as a product over pixels. An image is a volume of depth 1.

use super::weighted::{Parts, check_residual};
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_exact, product};
use crate::base::threads::ThreadPool;
use crate::base::window::{Window, Window3};
use crate::product::gemm::{
    Epilogue, Form, Gemm, LeftHand, MAX_ROWS, Offsets, PackedLayout, Problem, RightHand, Scratch, Segment,
};
use crate::product::matmul::{ALIASING_FLOATS, copy_pitch};

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

/// Fewer pixels than this are no tile of their own.
const LEAST_ALIKE: usize = 7;

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

/// The windows of an image as rows of a matrix.
struct PixelRows<'a> {
    conv: &'a Conv2d,
    input: &'a [f32],
    /// As many zeros as a tap is long.
    zeros: &'a [f32],
    copy_floats: usize,
    packed: bool,
}

/// Where the window of an output pixel has its front top left corner.
#[derive(Clone, Copy)]
struct Corner {
    z: isize,
    y: isize,
    x: isize,
    /// The address of the pixel there, which may lie outside the image.
    pixel: *const f32,
}

impl PixelRows<'_> {
    /// The corners of `count` output pixels from number `first` on, for a group that starts at channel `a`. The rest
    /// of the array repeats the last.
    fn corners(&self, a: usize, first: usize, count: usize) -> [Corner; MAX_ROWS] {
        let p = &self.conv.p;
        let mut corners = [Corner { z: 0, y: 0, x: 0, pixel: std::ptr::null() }; MAX_ROWS];
        if self.conv.is_dense {
            // Only the pixels' addresses are needed; the origin lies inside the volume.
            let start = self.input.as_ptr().wrapping_add(first * p.in_channels + a);
            for (r, corner) in corners.iter_mut().enumerate() {
                corner.pixel = start.wrapping_add(r * p.in_channels);
            }
            return corners;
        }
        let ([depth, height, width], [deep, high, wide]) = (self.conv.output, p.size);
        let (mut x, rest) = (first % width, first / width);
        let (mut y, rest) = (rest % height, rest / height);
        let (mut z, mut volume) = (rest % depth, rest / depth);
        let (strides, starts) = (p.window.strides, [0, 1, 2].map(|axis| p.window.start(axis)));
        for (r, corner) in corners.iter_mut().enumerate() {
            let front = (z * strides[0]) as isize + starts[0];
            let top = (y * strides[1]) as isize + starts[1];
            let left = (x * strides[2]) as isize + starts[2];
            let row = ((volume * deep) as isize + front) * high as isize + top;
            let offset = (row * wide as isize + left) * p.in_channels as isize + a as isize;
            *corner =
                Corner { z: front, y: top, x: left, pixel: self.input.as_ptr().wrapping_offset(offset) };
            if r + 1 < count {
                x += 1;
                if x == width {
                    (x, y) = (0, y + 1);
                    if y == height {
                        (y, z) = (0, z + 1);
                        if z == depth {
                            (z, volume) = (0, volume + 1);
                        }
                    }
                }
            }
        }
        corners
    }

    /// Whether all the windows lie inside the volume.
    fn are_inside(&self, corners: &[Corner; MAX_ROWS]) -> bool {
        let p = &self.conv.p;
        let end = |axis: usize| {
            p.size[axis] as isize - ((p.window.size[axis] - 1) * p.window.dilations[axis]) as isize
        };
        let (behind, bottom, right) = (end(0), end(1), end(2));
        corners
            .iter()
            .all(|c| c.z >= 0 && c.z < behind && c.y >= 0 && c.y < bottom && c.x >= 0 && c.x < right)
    }

    /// A tap's place in the window: planes behind, pixels down and to the right of the corner.
    #[inline(always)]
    fn place(&self, tap: usize) -> [usize; 3] {
        let window = &self.conv.p.window;
        let (row, column) =
            if self.conv.row_taps { (tap, 0) } else { (tap / window.size[2], tap % window.size[2]) };
        let (plane, row) = (row / window.size[1], row % window.size[1]);
        [plane * window.dilations[0], row * window.dilations[1], column * window.dilations[2]]
    }

    /// The row of a window `dz` behind and `dy` below its corner, which is copied to `copy` when it sticks out to the left or right.
    ///
    /// # Safety
    /// `copy` has room for a tap.
    #[inline(always)]
    unsafe fn row(&self, corner: Corner, [dz, dy]: [usize; 2], copy: *mut f32) -> *const f32 {
        let p = &self.conv.p;
        let [depth, height, width] = p.size;
        if (corner.y + dy as isize) as usize >= height || (corner.z + dz as isize) as usize >= depth {
            return self.zeros.as_ptr();
        }
        let size = p.window.size[2];
        let skipped = usize::try_from(-corner.x).unwrap_or(0).min(size);
        let end = usize::try_from(width as isize - corner.x).unwrap_or(0).min(size);
        let c = p.in_channels;
        let start = corner.pixel.wrapping_add((dz * height + dy) * width * c);
        if skipped == 0 && end == size {
            return start;
        }
        // SAFETY: the caller vouches for the copy; pixels skipped..end of the row lie in the image.
        unsafe {
            std::ptr::write_bytes(copy, 0, size * c);
            if end > skipped {
                let from = start.wrapping_add(skipped * c);
                std::ptr::copy_nonoverlapping(from, copy.add(skipped * c), (end - skipped) * c);
            }
        }
        copy
    }

    /// Copies the rows that the first tap's pointers lead to, and leads them to the copies.
    ///
    /// # Safety
    /// As [`LeftHand::fill`].
    unsafe fn copy(&self, count: usize, len: usize, pointers: *mut *const f32, copies: *mut f32) {
        for r in 0..count {
            let to = copies.wrapping_add(r * copy_pitch(len));
            // SAFETY: the pointers lead to `len` floats; the caller vouches for the copies.
            unsafe {
                std::ptr::copy_nonoverlapping(*pointers.add(r), to, len);
                *pointers.add(r) = to;
            }
        }
    }
}

impl LeftHand for PixelRows<'_> {
    fn copy_floats(&self) -> usize {
        self.copy_floats
    }

    fn copies_all(&self) -> bool {
        self.conv.copies_all()
    }

    fn zeros(&self) -> *const f32 {
        self.zeros.as_ptr()
    }

    /// The rest of a row of pixels whose windows stick out above or below, or else the rows up to the next such.
    fn alike(&self, first_row: usize) -> usize {
        let window = &self.conv.p.window;
        let [_, height, width] = self.conv.output;
        let (start, stride) = (window.start(1), window.strides[1]);
        let reach = ((window.size[1] - 1) * window.dilations[1]) as isize;
        // Rows of pixels with windows that stick out neither above nor below.
        let first = (-start).max(0).unsigned_abs().div_ceil(stride);
        let end = (self.conv.p.size[1] as isize - reach - start).max(0).unsigned_abs().div_ceil(stride);
        if width < LEAST_ALIKE || (first == 0 && end >= height) {
            return usize::MAX;
        }
        let (x, y) = (first_row % width, first_row / width % height);
        let rows = if (first..end).contains(&y) { end.min(height) - y } else { 1 };
        rows * width - x
    }

    fn offsets(&self, number: usize) -> Offsets {
        let p = &self.conv.p;
        let n = p.out_channels / p.groups;
        // Unpacked, the groups' columns stand side by side.
        let b = if self.packed { number * self.conv.layout.group_floats() } else { number * n };
        Offsets { a: number * (p.in_channels / p.groups), b, out: number * n, channel: number * n }
    }

    unsafe fn fill(
        &self,
        a: usize,
        first_row: usize,
        count: usize,
        segment: Segment,
        pointers: *mut *const f32,
        copies: *mut f32,
    ) {
        let p = &self.conv.p;
        let [depth, height, width] = p.size;
        let corners = self.corners(a, first_row, count);
        let inside = self.are_inside(&corners);
        for tap in 0..segment.taps {
            let [dz, dy, dx] = self.place(segment.first_tap + tap);
            let offset = ((dz * height + dy) * width + dx) * p.in_channels + segment.offset;
            // SAFETY: the caller vouches for pointers and copies.
            unsafe {
                let to = &mut *pointers.add(tap * MAX_ROWS).cast::<[*const f32; MAX_ROWS]>();
                if inside {
                    *to = corners.map(|corner| corner.pixel.wrapping_add(offset));
                } else if self.conv.row_taps {
                    for (r, corner) in corners[..count].iter().enumerate() {
                        let copy = copies.wrapping_add((tap * MAX_ROWS + r) * self.conv.tap_len);
                        to[r] = self.row(*corner, [dz, dy], copy).wrapping_add(segment.offset);
                    }
                } else {
                    *to = corners.map(|corner| {
                        let (y, x) = (corner.y + dy as isize, corner.x + dx as isize);
                        let lies_inside = ((corner.z + dz as isize) as usize) < depth
                            && (y as usize) < height
                            && (x as usize) < width;
                        if lies_inside { corner.pixel.wrapping_add(offset) } else { self.zeros.as_ptr() }
                    });
                }
            }
        }
        if self.copies_all() && segment.taps > 0 {
            // SAFETY: as above; such windows have one tap.
            unsafe { self.copy(count, segment.len, pointers, copies) };
        }
    }
}
