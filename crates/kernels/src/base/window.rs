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
        let mut pads = [0; 4];
        for (axis, size) in [height, width].into_iter().enumerate() {
            let stride = self.strides[axis].max(1);
            let span =
                self.size[axis].saturating_sub(1).saturating_mul(self.dilations[axis]).saturating_add(1);
            let covered = (size.div_ceil(stride).max(1) - 1).saturating_mul(stride).saturating_add(span);
            // Around nothing there is nothing.
            let total = if size == 0 { 0 } else { covered.saturating_sub(size) };
            pads[2 * axis] = total / 2;
            pads[2 * axis + 1] = total - total / 2;
        }
        Window { pads, ..self }
    }

    /// Height and width of the output for an image of this size; 0 where the window does not fit.
    ///
    /// # Errors
    /// [`KernelError::Attribute`] for a size, stride or dilation of 0, and for sizes that overflow.
    pub fn output(&self, height: usize, width: usize) -> Result<[usize; 2], KernelError> {
        let mut output = [0; 2];
        for (axis, size) in [height, width].into_iter().enumerate() {
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
