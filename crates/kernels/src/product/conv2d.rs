//! Two-dimensional convolution, f32, as a product over pixels.

use super::weighted::{Parts, check_residual};
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_exact, product};
use crate::base::threads::ThreadPool;
use crate::base::window::Window;
use crate::product::gemm::{
    Epilogue, Form, Gemm, MAX_ROWS, Offsets, PackedLayout, Problem, RightHand, Rows, Scratch, Segment,
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

impl Conv2dParams {
    /// The output's height and width, if the parameters make sense.
    pub(crate) fn check(&self) -> Result<[usize; 2], KernelError> {
        let fits = |channels: usize| self.groups > 0 && channels.is_multiple_of(self.groups);
        if !fits(self.in_channels) || !fits(self.out_channels) {
            return Err(KernelError::Attribute("the channels must be a multiple of the groups"));
        }
        self.window.output(self.height, self.width)
    }
}

/// A convolution `[batch, height, width, in_channels]` -> `[batch, height', width', out_channels]`. Cheap to make;
/// holds no memory.
#[derive(Debug, Clone, Copy)]
pub struct Conv2d {
    p: Conv2dParams,
    /// Height and width of the output.
    output: [usize; 2],
    /// Elements of k in one tap.
    tap_len: usize,
    /// Whether a tap is a whole row of the window, not just one position: its pixels are neighbours in memory.
    row_taps: bool,
    /// Whether the output's pixels are the input's, one by one.
    is_dense: bool,
    layout: PackedLayout,
}

/// Up to this many channels a row of the window is one tap.
const ROW_TAP_CHANNELS: usize = 16;

impl Conv2d {
    /// The convolution with these parameters.
    ///
    /// # Errors
    /// [`KernelError`] for parameters that make no sense or sizes that overflow, or when the processor lacks `isa`.
    pub fn new(isa: Isa, p: Conv2dParams) -> Result<Conv2d, KernelError> {
        let output = p.check()?;
        product(&[p.batch, p.height, p.width, p.in_channels])?;
        product(&[p.batch, output[0], output[1], p.out_channels])?;
        let [height, width] = p.window.size;
        let channels = p.in_channels / p.groups;
        let k = product(&[height, width, channels])?;
        let row_taps =
            width > 1 && p.window.dilations[1] == 1 && p.groups == 1 && channels <= ROW_TAP_CHANNELS;
        Ok(Conv2d {
            p,
            output,
            tap_len: if row_taps { width * channels } else { channels },
            row_taps,
            is_dense: p.window == Window::new(1, 1),
            layout: PackedLayout::new(isa, k, p.out_channels / p.groups, p.groups)?,
        })
    }

    /// The output's shape, `[batch, height', width', out_channels]`.
    pub fn output_shape(&self) -> [usize; 4] {
        [self.p.batch, self.output[0], self.output[1], self.p.out_channels]
    }

    /// The filter's rows (of `out_channels` floats): window height · window width · in_channels / groups.
    pub fn filter_rows(&self) -> usize {
        self.layout.k()
    }

    fn block_layout(&self, k: usize) -> PackedLayout {
        PackedLayout::new(self.layout.isa(), k, self.layout.n(), self.p.groups).unwrap_or(self.layout)
    }

    fn pixels(&self) -> usize {
        self.p.batch * self.output[0] * self.output[1]
    }

    /// Floats of zeros that taps outside the image point to.
    fn zero_floats(&self) -> usize {
        self.tap_len
    }

    /// Whether the rows of a tile are copied because they would fall on the same few lines of a first-level cache.
    fn copies_all(&self) -> bool {
        let pixel_floats = self.p.in_channels * self.p.window.strides[1];
        self.p.window.size == [1, 1]
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
    /// Fill it with [`PackedLayout::pack_rows`], where a row is the filter's innermost dimension.
    fn packed(&self) -> PackedLayout {
        self.layout
    }

    fn stored(&self) -> (usize, usize) {
        (self.filter_rows(), self.p.out_channels)
    }

    /// Whole taps, or a divisor of one tap.
    fn fitting_rows(&self, fitting: usize) -> Option<usize> {
        if fitting >= self.tap_len {
            return Some(fitting - fitting % self.tap_len);
        }
        (1..=fitting).rev().find(|count| self.tap_len.is_multiple_of(*count))
    }

    fn strides(&self) -> (usize, usize) {
        (self.p.out_channels, 1)
    }

    fn part_scratch_bytes(&self, threads: usize, rows: usize, form: Form) -> usize {
        let taps = rows.checked_div(self.tap_len).unwrap_or(0).max(1);
        let problem = Problem {
            m: self.pixels(),
            layout: self.block_layout(rows),
            k: rows,
            taps,
            instances: self.p.groups,
            form,
            copy_floats: self.copy_floats(taps, rows),
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
        (first_row, count): (usize, usize),
        out: &mut [f32],
        epilogue: Epilogue<'_>,
        scratch: &mut [u8],
    ) -> Result<(), KernelError> {
        let p = &self.p;
        check_exact("the input", p.batch * p.height * p.width * p.in_channels, input.len())?;
        check_exact("the output", self.pixels() * p.out_channels, out.len())?;
        let (first, last) = (first_row == 0, first_row + count == self.filter_rows());
        check_residual(&epilogue, first && last)?;
        let (out, out_len) = (out.as_mut_ptr(), out.len());
        let epilogue = epilogue.to_raw(p.out_channels, out, out_len)?.only_if(last);
        let (zeros, rest) = Scratch::take_zeros(scratch, self.zero_floats())?;
        let segment = Segment::new(self.tap_len, first_row, count)?;
        let rows = PixelRows {
            conv: self,
            input,
            zeros,
            copy_floats: self.copy_floats(segment.taps, count),
            packed: matches!(right, RightHand::Packed(_)),
        };
        let gemm = Gemm {
            rows: &rows,
            m: self.pixels(),
            layout: self.block_layout(count),
            instances: p.groups,
            segment,
            b: right,
            out,
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

/// Where the window of an output pixel has its top left corner.
#[derive(Clone, Copy)]
struct Corner {
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
        let mut corners = [Corner { y: 0, x: 0, pixel: std::ptr::null() }; MAX_ROWS];
        if self.conv.is_dense {
            // Only the pixels' addresses are needed; (0, 0) lies inside the image.
            let start = self.input.as_ptr().wrapping_add(first * p.in_channels + a);
            for (r, corner) in corners.iter_mut().enumerate() {
                corner.pixel = start.wrapping_add(r * p.in_channels);
            }
            return corners;
        }
        let [height, width] = self.conv.output;
        let (mut x, rest) = (first % width, first / width);
        let (mut y, mut image) = (rest % height, rest / height);
        for (r, corner) in corners.iter_mut().enumerate() {
            let top = (y * p.window.strides[0]) as isize - p.window.pads[0] as isize;
            let left = (x * p.window.strides[1]) as isize - p.window.pads[2] as isize;
            let pixel = ((image * p.height) as isize + top) * p.width as isize + left;
            let offset = pixel * p.in_channels as isize + a as isize;
            *corner = Corner { y: top, x: left, pixel: self.input.as_ptr().wrapping_offset(offset) };
            if r + 1 < count {
                x += 1;
                if x == width {
                    (x, y) = (0, y + 1);
                    if y == height {
                        (y, image) = (0, image + 1);
                    }
                }
            }
        }
        corners
    }

    /// Whether all the windows lie inside the image.
    fn are_inside(&self, corners: &[Corner; MAX_ROWS]) -> bool {
        let p = &self.conv.p;
        let reach = |axis: usize| ((p.window.size[axis] - 1) * p.window.dilations[axis]) as isize;
        let (bottom, right) = (p.height as isize - reach(0), p.width as isize - reach(1));
        corners.iter().all(|c| c.y >= 0 && c.y < bottom && c.x >= 0 && c.x < right)
    }

    /// A tap's place in the window: pixels down and to the right of the corner.
    #[inline(always)]
    fn place(&self, tap: usize) -> (usize, usize) {
        let window = &self.conv.p.window;
        if self.conv.row_taps {
            (tap * window.dilations[0], 0)
        } else {
            (tap / window.size[1] * window.dilations[0], tap % window.size[1] * window.dilations[1])
        }
    }

    /// The row of a window `dy` below its corner, which is copied to `copy` when it sticks out to the left or right.
    ///
    /// # Safety
    /// `copy` has room for a tap.
    #[inline(always)]
    unsafe fn row(&self, corner: Corner, dy: usize, copy: *mut f32) -> *const f32 {
        let p = &self.conv.p;
        if (corner.y + dy as isize) as usize >= p.height {
            return self.zeros.as_ptr();
        }
        let size = p.window.size[1];
        let skipped = usize::try_from(-corner.x).unwrap_or(0).min(size);
        let end = usize::try_from(p.width as isize - corner.x).unwrap_or(0).min(size);
        let c = p.in_channels;
        let start = corner.pixel.wrapping_add(dy * p.width * c);
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
    /// As [`Rows::fill`].
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

impl Rows for PixelRows<'_> {
    fn copy_floats(&self) -> usize {
        self.copy_floats
    }

    fn copies_all(&self) -> bool {
        self.conv.copies_all()
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
        let corners = self.corners(a, first_row, count);
        let inside = self.are_inside(&corners);
        for tap in 0..segment.taps {
            let (dy, dx) = self.place(segment.first_tap + tap);
            let offset = (dy * p.width + dx) * p.in_channels + segment.offset;
            // SAFETY: the caller vouches for pointers and copies.
            unsafe {
                let to = &mut *pointers.add(tap * MAX_ROWS).cast::<[*const f32; MAX_ROWS]>();
                if inside {
                    *to = corners.map(|corner| corner.pixel.wrapping_add(offset));
                } else if self.conv.row_taps {
                    for (r, corner) in corners[..count].iter().enumerate() {
                        let copy = copies.wrapping_add((tap * MAX_ROWS + r) * self.conv.tap_len);
                        to[r] = self.row(*corner, dy, copy).wrapping_add(segment.offset);
                    }
                } else {
                    *to = corners.map(|corner| {
                        let (y, x) = (corner.y + dy as isize, corner.x + dx as isize);
                        let lies_inside = (y as usize) < p.height && (x as usize) < p.width;
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
