//! The geometry of a window that moves over an image.

use crate::base::error::{KernelError, product};

/// The geometry of a window that moves over an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Height and width of the window.
    pub size: [usize; 2],
    /// Steps down and to the right.
    pub strides: [usize; 2],
    /// Pixels from one element of the window to the next, down and to the right; 1 for a dense one.
    pub dilations: [usize; 2],
    /// Rows and columns of zeros around the image: top, bottom, left, right.
    pub pads: [usize; 4],
}

impl Window {
    /// A dense window with stride 1 and no padding.
    pub fn new(height: usize, width: usize) -> Window {
        Window { size: [height, width], strides: [1, 1], dilations: [1, 1], pads: [0; 4] }
    }

    /// The same with TensorFlow's SAME padding for an image of this size: the output has `ceil(size / stride)`
    /// pixels, and an odd padding has its larger part at the bottom and right.
    pub fn same(self, height: usize, width: usize) -> Window {
        let around = |axis: usize, size: usize| {
            same_pads(self.size[axis], self.strides[axis], self.dilations[axis], size)
        };
        let ([top, bottom], [left, right]) = (around(0, height), around(1, width));
        Window { pads: [top, bottom, left, right], ..self }
    }

    /// Height and width of the output for an image of this size; 0 where the window does not fit.
    ///
    /// # Errors
    /// [`KernelError::Attribute`] for a size, stride or dilation of 0, and for sizes that overflow.
    pub fn output(&self, height: usize, width: usize) -> Result<[usize; 2], KernelError> {
        let [_, rows, columns] = Window3::from(*self).output([1, height, width])?;
        Ok([rows, columns])
    }
}

/// The geometry of a window that moves over a volume; axes are depth, height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window3 {
    /// Elements of the window along each axis.
    pub size: [usize; 3],
    /// Steps along each axis.
    pub strides: [usize; 3],
    /// Elements of the volume from one element of the window to the next.
    pub dilations: [usize; 3],
    /// Zeros around the volume: in front and behind, top, bottom, left, right.
    pub pads: [usize; 6],
    /// Elements before the first window along each axis.
    pub skips: [usize; 3],
}

impl From<Window> for Window3 {
    fn from(w: Window) -> Window3 {
        let [top, bottom, left, right] = w.pads;
        Window3 {
            size: [1, w.size[0], w.size[1]],
            strides: [1, w.strides[0], w.strides[1]],
            dilations: [1, w.dilations[0], w.dilations[1]],
            pads: [0, 0, top, bottom, left, right],
            skips: [0; 3],
        }
    }
}

impl Window3 {
    /// A dense window with stride 1 and no padding.
    pub fn new(size: [usize; 3]) -> Window3 {
        Window3 { size, strides: [1; 3], dilations: [1; 3], pads: [0; 6], skips: [0; 3] }
    }

    /// The same with SAME padding for a volume of this size, as [`Window::same`]. What windows do not reach of a volume
    /// TensorFlow leaves out in equal parts before and behind them.
    pub fn same(self, volume: [usize; 3]) -> Window3 {
        let (mut pads, mut skips) = ([0; 6], [0; 3]);
        for axis in 0..3 {
            let (size, stride) = (self.size[axis], self.strides[axis]);
            let around = same_pads(size, stride, self.dilations[axis], volume[axis]);
            pads[2 * axis..2 * axis + 2].copy_from_slice(&around);
            let covered = same_covered(size, stride, self.dilations[axis], volume[axis]);
            skips[axis] = volume[axis].saturating_sub(covered) / 2;
        }
        Window3 { pads, skips, ..self }
    }

    /// Where the first window begins along an axis, which may be before the volume.
    #[inline(always)]
    pub(crate) fn start(&self, axis: usize) -> isize {
        self.skips[axis] as isize - self.pads[2 * axis] as isize
    }

    /// The output's size for a volume of this size; 0 where the window does not fit.
    ///
    /// # Errors
    /// As [`Window::output`].
    pub fn output(&self, volume: [usize; 3]) -> Result<[usize; 3], KernelError> {
        let mut output = [0; 3];
        for (axis, size) in volume.into_iter().enumerate() {
            let (window, stride, dilation) = (self.size[axis], self.strides[axis], self.dilations[axis]);
            if window == 0 || stride == 0 || dilation == 0 {
                return Err(KernelError::Attribute("a window's size, stride and dilation must not be 0"));
            }
            let too_large = KernelError::Attribute("a window or padding is too large");
            // Coordinates are worked out in isize.
            let span = product(&[window - 1, dilation])? + 1;
            let [before, after] = [self.pads[2 * axis], self.pads[2 * axis + 1]];
            if [before, after, size, stride, span].iter().any(|x| *x > isize::MAX as usize / 16) {
                return Err(too_large);
            }
            let padded = size + before + after;
            output[axis] = if padded < span { 0 } else { (padded - span) / stride + 1 };
        }
        Ok(output)
    }

    /// Where an element of the window at this output position lies in a volume of `size` along an axis; `None` outside.
    pub(crate) fn element_at(
        &self,
        axis: usize,
        position: usize,
        element: usize,
        size: usize,
    ) -> Option<usize> {
        let at = position * self.strides[axis] + element * self.dilations[axis] + self.skips[axis];
        at.checked_sub(self.pads[2 * axis]).filter(|at| *at < size)
    }

    /// Which elements of the window at this output position lie in a volume of `size` along an axis: from the first up to
    /// the second.
    #[inline(always)]
    pub(crate) fn valid(&self, axis: usize, position: usize, size: usize) -> (usize, usize) {
        let dilation = self.dilations[axis];
        let start = (position * self.strides[axis]) as isize + self.start(axis);
        let first = if start < 0 { start.unsigned_abs().div_ceil(dilation) } else { 0 };
        let end = (size as isize - start).max(0).unsigned_abs().div_ceil(dilation).min(self.size[axis]);
        (first.min(end), end)
    }
}

/// How many elements windows reach with SAME padding along one axis, from the first to the last.
fn same_covered(window: usize, stride: usize, dilation: usize, size: usize) -> usize {
    let stride = stride.max(1);
    let span = window.saturating_sub(1).saturating_mul(dilation).saturating_add(1);
    (size.div_ceil(stride).max(1) - 1).saturating_mul(stride).saturating_add(span)
}

/// SAME padding before and after, along one axis.
fn same_pads(window: usize, stride: usize, dilation: usize, size: usize) -> [usize; 2] {
    let covered = same_covered(window, stride, dilation, size);
    // Around nothing there is nothing.
    let total = if size == 0 { 0 } else { covered.saturating_sub(size) };
    [total / 2, total - total / 2]
}

/// Where an element of a window at this output position lies in an image of `size`, along one axis; `None` outside.
pub(crate) fn element_at(
    window: &Window,
    axis: usize,
    position: usize,
    element: usize,
    size: usize,
) -> Option<usize> {
    let at = position * window.strides[axis] + element * window.dilations[axis];
    at.checked_sub(window.pads[2 * axis]).filter(|at| *at < size)
}
