//! Places in a flat list as places in a tensor.

use crate::base::error::{Result, ensure};

/// The integers that places are counted in.
pub trait Place: Copy {
    /// As a place, where it is not negative.
    fn place(self) -> Option<usize>;
    /// The number of a place.
    fn of(place: usize) -> Self;
}

macro_rules! place {
    ($($T:ident)*) => { $(
        impl Place for $T {
            fn place(self) -> Option<usize> {
                usize::try_from(self).ok()
            }

            fn of(place: usize) -> $T {
                place as $T
            }
        }
    )* };
}

place!(i32 i64);

/// Writes the place on each axis of a tensor of these dimensions: `dst` is `[axes, places]`. Returns the first place that is
/// outside, if any is.
///
/// # Errors
/// [`crate::KernelError::Invalid`] for an output of another size.
pub fn unravel_index<T: Place>(dims: &[usize], places: &[T], dst: &mut [T]) -> Result<Option<usize>> {
    ensure(dst.len() == dims.len() * places.len(), "UnravelIndex", "the output has a place for each axis")?;
    for (number, flat) in places.iter().enumerate() {
        let mut rest = flat.place();
        for (axis, dim) in dims.iter().enumerate().rev() {
            let at = rest.filter(|_| *dim > 0).map(|rest| (rest % dim, rest / dim));
            dst[axis * places.len() + number] = T::of(at.map_or(0, |(place, _)| place));
            rest = at.map(|(_, rest)| rest);
        }
        if rest != Some(0) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}
