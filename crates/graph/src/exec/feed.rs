//! What a caller feeds.

use tightfit_core::{Shape, StringRef, TensorView};

/// A tensor to feed.
#[derive(Debug, Clone, Copy)]
pub enum Feed<'a> {
    /// Dense elements.
    Tensor(TensorView<'a>),
    /// Strings, and the shape they fill in row-major order.
    Strings(Shape, &'a [Box<[u8]>]),
    /// Strings as references into a text.
    Text(TensorView<'a>, &'a [u8]),
}

impl Feed<'_> {
    /// Nothing, to fill a list with.
    pub const NONE: Feed<'static> = Feed::Strings(Shape::SCALAR, &[]);
}

/// The text a reference means, or `None` where it leads out of the text.
pub(super) fn cut(text: &[u8], reference: StringRef) -> Option<&[u8]> {
    let start = usize::try_from(reference.offset).ok()?;
    let end = start.checked_add(usize::try_from(reference.bytes).ok()?)?;
    text.get(start..end)
}
