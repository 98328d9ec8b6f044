//! Coordinates of the elements of a sparse tensor.

use std::cmp::Ordering;

use crate::base::error::{KernelError, Result, ensure};

/// Rows of `rank` coordinates, one for each element.
#[derive(Debug, Clone, Copy)]
pub struct Coordinates<'a> {
    values: &'a [i64],
    rank: usize,
    count: usize,
}

impl<'a> Coordinates<'a> {
    /// The coordinates of `count` elements.
    ///
    /// # Errors
    /// [`KernelError::Length`] when there are not as many.
    pub fn new(values: &'a [i64], count: usize, rank: usize) -> Result<Coordinates<'a>> {
        if count.checked_mul(rank) != Some(values.len()) {
            let needed = count.saturating_mul(rank);
            return Err(KernelError::Length { what: "the coordinates", needed, given: values.len() });
        }
        Ok(Coordinates { values, rank, count })
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many coordinates an element has.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The coordinates of an element, which must exist.
    #[inline]
    pub fn row(&self, element: usize) -> &'a [i64] {
        &self.values[element * self.rank..][..self.rank]
    }

    /// Checks that each element lies in a tensor of this shape.
    ///
    /// # Errors
    /// [`KernelError::Index`] for the first that does not.
    pub fn check(&self, kernel: &'static str, dims: &[i64]) -> Result<()> {
        ensure(dims.len() == self.rank, kernel, "there is a coordinate for each dimension")?;
        for element in 0..self.count {
            self.check_one(kernel, dims, element)?;
        }
        Ok(())
    }

    /// [`Coordinates::check`] of one element.
    ///
    /// # Errors
    /// As there.
    pub fn check_one(&self, kernel: &'static str, dims: &[i64], element: usize) -> Result<()> {
        for (axis, (at, dim)) in self.row(element).iter().zip(dims).enumerate() {
            if at < &0 || at >= dim {
                let position = element * self.rank + axis;
                return Err(KernelError::Index {
                    kernel,
                    position,
                    index: *at,
                    bound: (*dim).max(0) as usize,
                });
            }
        }
        Ok(())
    }

    /// Checks that the elements come in order, none twice.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] where they do not.
    pub fn check_order(&self, kernel: &'static str) -> Result<()> {
        for element in 1..self.count {
            let rule = match self.row(element - 1).cmp(self.row(element)) {
                Ordering::Less => continue,
                Ordering::Equal => "no coordinates come twice",
                Ordering::Greater => "the coordinates are in order",
            };
            return Err(KernelError::Invalid { kernel, rule });
        }
        Ok(())
    }
}

/// The element's place in a dense tensor, row by row; the coordinates must have been checked.
pub(super) fn place(row: &[i64], dims: &[i64]) -> usize {
    row.iter().zip(dims).fold(0, |sum, (at, dim)| sum * (*dim as usize) + *at as usize)
}

/// Fills `order` with the numbers of all elements, sorted by their coordinates; of equal ones in the order that they have.
///
/// # Errors
/// [`KernelError::Length`] when `order` is of another length.
pub fn sort_coordinates(coordinates: &Coordinates<'_>, order: &mut [u32]) -> Result<()> {
    crate::base::error::check_exact("the order", coordinates.len(), order.len())?;
    order.iter_mut().zip(0..).for_each(|(to, n)| *to = n);
    let is_sorted = (1..coordinates.len()).all(|n| coordinates.row(n - 1) <= coordinates.row(n));
    if !is_sorted {
        order.sort_unstable_by(|a, b| {
            coordinates.row(*a as usize).cmp(coordinates.row(*b as usize)).then(a.cmp(b))
        });
    }
    Ok(())
}
