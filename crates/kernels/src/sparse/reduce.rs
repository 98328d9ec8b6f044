//! Reductions of sparse tensors over some of their axes.

use tightfit_core::{MAX_RANK, TensorView, TensorViewMut};

use super::coordinates::Coordinates;
use crate::base::access::{for_dtype, values, values_mut};
use crate::base::error::{KernelError, Result, check_exact, ensure};
use crate::movement::{Combine, Number};

/// What a reduction keeps.
#[derive(Debug, Clone, Copy)]
pub struct SparseReduce {
    /// For each axis whether it is reduced.
    pub is_reduced: [bool; MAX_RANK],
    /// Reduced axes stay, with one element.
    pub keeps_dims: bool,
    /// The largest is wanted, not the sum.
    pub is_max: bool,
}

impl SparseReduce {
    /// The axes of the result, each that of the input it comes from; `None` for one that is kept with one element.
    pub fn axes(&self, rank: usize) -> impl Iterator<Item = Option<usize>> + '_ {
        (0..rank.min(MAX_RANK)).filter_map(|axis| match (self.is_reduced[axis], self.keeps_dims) {
            (false, _) => Some(Some(axis)),
            (true, true) => Some(None),
            (true, false) => None,
        })
    }

    fn key<'a>(&'a self, row: &'a [i64]) -> impl Iterator<Item = i64> + 'a {
        row.iter().enumerate().filter(|(axis, _)| !self.is_reduced[*axis]).map(|(_, at)| *at)
    }

    /// Sorts the numbers of the elements in `order` so that those that become one stand together, in order.
    ///
    /// # Errors
    /// [`KernelError::Length`] when `order` is of another length.
    pub fn sort(&self, coordinates: &Coordinates<'_>, order: &mut [u32]) -> Result<()> {
        check_exact("the order", coordinates.len(), order.len())?;
        ensure(coordinates.rank() <= MAX_RANK, "SparseReduce", "the tensor has not too many axes")?;
        order.iter_mut().zip(0..).for_each(|(to, n)| *to = n);
        let row = |n: &u32| coordinates.row(*n as usize);
        order.sort_unstable_by(|a, b| {
            self.key(row(a)).cmp(self.key(row(b))).then_with(|| row(a).cmp(row(b))).then(a.cmp(b))
        });
        Ok(())
    }

    /// How many elements the result has, from the sorted order.
    pub fn count(&self, coordinates: &Coordinates<'_>, order: &[u32]) -> usize {
        let row = |n: u32| coordinates.row(n as usize);
        let rises = order.windows(2).filter(|pair| !self.key(row(pair[0])).eq(self.key(row(pair[1]))));
        rises.count() + !order.is_empty() as usize
    }
}

/// Reduces elements in the order that [`SparseReduce::sort`] found. A result goes to `each(number, coordinates)`'s place of
/// `dst`: `number` counts them, `coordinates` are those of its first element.
///
/// # Errors
/// [`KernelError`] for a place outside of `dst`, and lengths or types that do not go together.
pub fn sparse_reduce(
    how: &SparseReduce,
    coordinates: &Coordinates<'_>,
    src: TensorView<'_>,
    order: &[u32],
    each: &mut dyn FnMut(usize, &[i64]) -> usize,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "SparseReduce";
    for_dtype!(src.dtype(), KERNEL, numbers, T => {
        let (src, dst) = (values::<T>(src.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?);
        check_exact("the values", coordinates.len(), src.len())?;
        let combine = if how.is_max { Combine::Max } else { Combine::Add };
        let (mut first, mut number) = (0, 0);
        while first < order.len() {
            let row = coordinates.row(order[first] as usize);
            let mut end = first;
            let mut result = src[order[first] as usize];
            // As in TensorFlow sums begin with 0: of -0 alone the sum is 0.
            if !how.is_max {
                result = T::of(0.0).sum(result);
            }
            for n in &order[first + 1..] {
                end += 1;
                if !how.key(coordinates.row(*n as usize)).eq(how.key(row)) {
                    end -= 1;
                    break;
                }
                result = result.combine(combine, src[*n as usize]);
            }
            let place = each(number, row);
            *dst.get_mut(place).ok_or(KernelError::Invalid { kernel: KERNEL, rule: "elements lie in the shape" })? = result;
            number += 1;
            first = end + 1;
        }
        Ok(())
    })
}
