//! Concrete shapes.

use std::fmt;
use std::ops::Deref;

/// The most dimensions a tensor may have here. TensorFlow allows 254, but has few kernels for more than 8: a shape is copied
/// wherever a tensor goes, and would take 2 KiB.
pub const MAX_RANK: usize = 20;

/// The dimensions of a tensor, outermost first, as in `[batch, height, width, channels]`. It is `Copy` and holds no
/// heap memory. The product of the dimensions is known to fit `isize`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    rank: u8,
    dims: [usize; MAX_RANK],
}

/// Dimensions that make no shape.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShapeError {
    /// More than [`MAX_RANK`] dimensions: how many.
    Rank(usize),
    /// More elements than can be addressed.
    TooLarge(Vec<usize>),
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShapeError::Rank(rank) => {
                write!(f, "a tensor of {rank} dimensions; at most {MAX_RANK} are supported")
            }
            ShapeError::TooLarge(dims) => {
                write!(f, "a tensor of shape {dims:?} has more elements than memory has bytes")
            }
        }
    }
}

impl std::error::Error for ShapeError {}

impl Shape {
    /// The shape of a scalar: no dimensions, one element.
    pub const SCALAR: Shape = Shape { rank: 0, dims: [0; MAX_RANK] };

    /// The shape with these dimensions.
    ///
    /// # Errors
    /// [`ShapeError`] for more than [`MAX_RANK`] dimensions, and for so many elements that 16 bytes of each would
    /// not fit `isize`.
    pub fn new(dims: &[usize]) -> Result<Shape, ShapeError> {
        if dims.len() > MAX_RANK {
            return Err(ShapeError::Rank(dims.len()));
        }
        // Zero dimensions are left out of the product, so that no later partial product can overflow either.
        let too_large = || ShapeError::TooLarge(dims.to_vec());
        let elements = dims
            .iter()
            .filter(|d| **d > 0)
            .try_fold(1usize, |n, d| n.checked_mul(*d))
            .ok_or_else(too_large)?;
        if elements > isize::MAX as usize / 16 {
            return Err(too_large());
        }
        let mut shape = Shape { rank: dims.len() as u8, dims: [0; MAX_RANK] };
        shape.dims[..dims.len()].copy_from_slice(dims);
        Ok(shape)
    }

    /// The number of elements; 1 for a scalar.
    #[inline]
    pub fn elements(&self) -> usize {
        self.iter().product()
    }

    /// The number of dimensions.
    #[inline]
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// Elements between neighbours along each dimension, for a dense tensor in row-major order.
    pub fn strides(&self) -> [usize; MAX_RANK] {
        let mut strides = [0; MAX_RANK];
        let mut step = 1;
        for axis in (0..self.rank()).rev() {
            strides[axis] = step;
            step *= self.dims[axis];
        }
        strides
    }
}

impl Deref for Shape {
    type Target = [usize];

    #[inline]
    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank as usize]
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &**self)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &**self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_and_strides() {
        let shape = Shape::new(&[2, 3, 4]).unwrap();
        assert_eq!((shape.rank(), shape.elements()), (3, 24));
        assert_eq!(shape.strides()[..3], [12, 4, 1]);
        assert_eq!(Shape::SCALAR.elements(), 1);
        assert_eq!(Shape::new(&[0, 5]).unwrap().elements(), 0);
    }

    #[test]
    fn refuses_what_cannot_be() {
        assert_eq!(Shape::new(&[1; MAX_RANK + 1]), Err(ShapeError::Rank(MAX_RANK + 1)));
        assert!(Shape::new(&[usize::MAX, 2]).is_err());
        assert!(Shape::new(&[0, usize::MAX, usize::MAX]).is_err());
    }
}
