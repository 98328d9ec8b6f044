//! Places in a flat list as places in a tensor.

use crate::base::error::{Result, ensure};

/// The integers that places are counted in.
pub trait Place: Copy {
    /// As a wider number.
    fn wide(self) -> i64;
    /// The other way.
    fn of(wide: i64) -> Self;
}

macro_rules! place {
    ($($T:ident)*) => { $(
        impl Place for $T {
            fn wide(self) -> i64 {
                i64::from(self)
            }

            fn of(wide: i64) -> $T {
                wide as $T
            }
        }
    )* };
}

place!(i32 i64);

/// Writes the place on each axis of a tensor of these dimensions: `dst` is `[axes, places]`. Returns the first place that is
/// beyond the last, if any is. One that is negative is divided by the dimensions all the same, as C divides: towards 0.
///
/// # Errors
/// [`crate::KernelError::Invalid`] for an output of another size.
pub fn unravel_index<T: Place>(dims: &[usize], places: &[T], dst: &mut [T]) -> Result<Option<usize>> {
    ensure(dst.len() == dims.len() * places.len(), "UnravelIndex", "the output has a place for each axis")?;
    for (number, flat) in places.iter().enumerate() {
        let mut rest = flat.wide();
        for (axis, dim) in dims.iter().enumerate().rev() {
            // No number is divided by more than there are numbers, and so none by what is no number.
            let dim = i64::try_from(*dim).unwrap_or(i64::MAX).max(1);
            dst[axis * places.len() + number] = T::of(rest % dim);
            rest /= dim;
        }
        if rest > 0 {
            return Ok(Some(number));
        }
    }
    Ok(None)
}
