//! Part of the depth of a product.

use crate::base::error::KernelError;

/// The part of k that is summed up at once: `taps` runs of `len` elements, each starting `offset` into its tap.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub first_tap: usize,
    pub taps: usize,
    pub offset: usize,
    pub len: usize,
}

impl Segment {
    /// Rows `first..first + count` of B, when a tap has `tap_len` of them: whole taps, or a part of one.
    pub(crate) fn new(tap_len: usize, first: usize, count: usize) -> Result<Segment, KernelError> {
        if count == 0 || tap_len == 0 {
            return Ok(Segment { first_tap: 0, taps: 0, offset: 0, len: 0 });
        }
        let (first_tap, offset) = (first / tap_len, first % tap_len);
        if offset == 0 && count.is_multiple_of(tap_len) {
            return Ok(Segment { first_tap, taps: count / tap_len, offset, len: tap_len });
        }
        if count > tap_len - offset {
            return Err(KernelError::Attribute("a block of rows must be whole taps, or within one tap"));
        }
        Ok(Segment { first_tap, taps: 1, offset, len: count })
    }

    /// Elements of it.
    pub(super) fn k(&self) -> usize {
        self.taps * self.len
    }
}
