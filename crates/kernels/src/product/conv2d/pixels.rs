//! The pixels under the windows of a convolution, as rows of a matrix.

use std::ops::Range;

use super::Conv2d;
use crate::product::gemm::{LeftHand, MAX_ROWS, Offsets, Segment};
use crate::product::matmul::copy_pitch;

/// Floats of a cache line.
const LINE: usize = 16;

/// Asks for a cache line to be in the second-level cache; any address will do.
#[inline(always)]
fn prefetch(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Fewer pixels than this are no tile of their own.
const LEAST_ALIKE: usize = 7;

/// The windows of an image as rows of a matrix.
pub(super) struct PixelRows<'a> {
    pub conv: &'a Conv2d,
    pub input: &'a [f32],
    /// As many zeros as a tap is long.
    pub zeros: &'a [f32],
    pub copy_floats: usize,
    pub packed: bool,
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
    /// The volume, plane, row and column of an output pixel.
    fn pixel(&self, number: usize) -> [usize; 4] {
        let [depth, height, width] = self.conv.output;
        let (x, rest) = (number % width, number / width);
        let (y, rest) = (rest % height, rest / height);
        [rest / depth, rest % depth, y, x]
    }

    /// The corner of an output pixel, for a group that starts at channel `a`.
    #[inline(always)]
    fn corner(&self, a: usize, [volume, z, y, x]: [usize; 4]) -> Corner {
        let (p, window) = (&self.conv.p, &self.conv.p.window);
        let [deep, high, wide] = p.size;
        let front = (z * window.strides[0]) as isize + window.start(0);
        let top = (y * window.strides[1]) as isize + window.start(1);
        let left = (x * window.strides[2]) as isize + window.start(2);
        let row = ((volume * deep) as isize + front) * high as isize + top;
        let offset = (row * wide as isize + left) * p.in_channels as isize + a as isize;
        Corner { z: front, y: top, x: left, pixel: self.input.as_ptr().wrapping_offset(offset) }
    }

    /// [`LeftHand::fill`] for some rows of a tile that are neighbouring pixels of one row of the output, of which `corner` is the
    /// first: all their windows stick out above and below alike.
    ///
    /// # Safety
    /// As there.
    unsafe fn fill_line(
        &self,
        corner: Corner,
        rows: Range<usize>,
        segment: Segment,
        pointers: *mut *const f32,
        copies: *mut f32,
    ) {
        let p = &self.conv.p;
        let ([depth, height, width], stride) = (p.size, p.window.strides[2]);
        let size = if self.conv.row_taps { p.window.size[2] } else { 1 };
        for tap in 0..segment.taps {
            let [dz, dy, dx] = self.place(segment.first_tap + tap);
            let first_row = tap * MAX_ROWS + rows.start;
            // SAFETY: the caller vouches for pointers and copies.
            let to = unsafe { std::slice::from_raw_parts_mut(pointers.add(first_row), rows.len()) };
            if (corner.z + dz as isize) as usize >= depth || (corner.y + dy as isize) as usize >= height {
                to.fill(self.zeros.as_ptr());
                continue;
            }
            let offset = ((dz * height + dy) * width + dx) * p.in_channels + segment.offset;
            let start = corner.pixel.wrapping_add(offset);
            for (r, pointer) in to.iter_mut().enumerate() {
                *pointer = start.wrapping_add(r * stride * p.in_channels);
            }
            // The first and the last pixels may stick out to the left or right.
            let is_inside = |r: usize| {
                let x = corner.x + (dx + r * stride) as isize;
                x >= 0 && x + size as isize <= width as isize
            };
            let mut outside = |r: usize| {
                to[r] = if self.conv.row_taps {
                    let copy = copies.wrapping_add((first_row + r) * self.conv.tap_len);
                    let x = corner.x + (r * stride) as isize;
                    let row = start.wrapping_add(r * stride * p.in_channels).wrapping_sub(segment.offset);
                    // SAFETY: as above; the row lies in the image.
                    unsafe { self.copied(row, x, copy) }.wrapping_add(segment.offset)
                } else {
                    self.zeros.as_ptr()
                };
            };
            let inside = (0..rows.len()).find(|r| is_inside(*r)).unwrap_or(rows.len());
            (0..inside).for_each(&mut outside);
            (inside..rows.len()).rev().take_while(|r| !is_inside(*r)).for_each(outside);
        }
    }

    /// Asks for what the windows below those of some neighbouring pixels look at besides, of which `corner` is the first's: a row
    /// of output later, when an image larger than a cache has come from further away by then.
    fn prefetch_below(&self, corner: Corner, count: usize) {
        let (p, window) = (&self.conv.p, &self.conv.p.window);
        let [_, height, width] = p.size;
        if window.size[1] == 1 {
            return;
        }
        let reach = (window.size[1] - 1) * window.dilations[1] + 1;
        let pixels = (count * window.strides[2]).min(width);
        for dy in (reach..reach + window.strides[1]).filter(|dy| (corner.y + *dy as isize) < height as isize)
        {
            let row = corner.pixel.wrapping_add(dy * width * p.in_channels);
            (0..pixels * p.in_channels).step_by(LINE).for_each(|i| prefetch(row.wrapping_add(i)));
        }
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

    /// A row of a window that sticks out to the left or right, from column `x` on, as a copy.
    ///
    /// # Safety
    /// `copy` has room for a tap, and the row lies in the image.
    unsafe fn copied(&self, row: *const f32, x: isize, copy: *mut f32) -> *const f32 {
        let (c, size) = (self.conv.p.in_channels, self.conv.p.window.size[2]);
        let skipped = usize::try_from(-x).unwrap_or(0).min(size);
        let end = usize::try_from(self.conv.p.size[2] as isize - x).unwrap_or(0).min(size);
        // SAFETY: the caller vouches for the copy; pixels skipped..end of the row lie in the image.
        unsafe {
            std::ptr::write_bytes(copy, 0, size * c);
            if end > skipped {
                let from = row.wrapping_add(skipped * c);
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
        if self.conv.is_dense {
            return usize::MAX;
        }
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
        let mut done = if self.conv.is_dense { count } else { 0 };
        for r in 0..done * segment.taps {
            // One window of one pixel: the output's pixels are the input's.
            let offset = (first_row + r) * self.conv.p.in_channels + a + segment.offset;
            // SAFETY: the caller vouches for the pointers; there is one tap.
            unsafe { *pointers.add(r) = self.input.as_ptr().wrapping_add(offset) };
        }
        while done < count {
            let place = self.pixel(first_row + done);
            let end = count.min(done + self.conv.output[2] - place[3]);
            let corner = self.corner(a, place);
            // SAFETY: as above.
            unsafe { self.fill_line(corner, done..end, segment, pointers, copies) };
            self.prefetch_below(corner, end - done);
            done = end;
        }
        if self.copies_all() && segment.taps > 0 {
            // SAFETY: as above; such windows have one tap.
            unsafe { self.copy(count, segment.len, pointers, copies) };
        }
    }
}
