//! How often values occur in the rows of sparse and ragged tensors.

use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::{for_dtype, values, values_mut};
use crate::base::error::{KernelError, Result, check_exact, ensure};
use crate::base::indices::Indices;
use crate::movement::{Combine, Number};

/// Values and what each adds to its count.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    /// int32 or int64.
    pub values: TensorView<'a>,
    /// Of the output's type; `None` for 1 each.
    pub weights: Option<TensorView<'a>>,
    /// Each count is 1.
    pub is_binary: bool,
}

/// Adds up the values below `size` in rows of `dst`, `[rows, size]`: value `n` belongs to row `row(n)`.
///
/// # Errors
/// [`KernelError`] for a negative value, a row outside, and lengths or types that do not go together.
pub fn add_counts(
    counted: Counted<'_>,
    row: &dyn Fn(usize) -> usize,
    size: usize,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "Bincount";
    let ids = Indices::new(KERNEL, counted.values)?;
    ids.check(KERNEL, |_| usize::MAX)?;
    for_dtype!(dst.dtype(), KERNEL, numbers, T => {
        let weights = counted.weights.map(|w| values::<T>(w.bytes(), KERNEL)).transpose()?;
        if let Some(weights) = weights {
            check_exact("the weights", ids.len(), weights.len())?;
        }
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        dst.fill(<T as Number>::of(0.0));
        let one = <T as Number>::of(1.0);
        for n in 0..ids.len() {
            let bin = ids.get(n) as usize;
            if bin >= size {
                continue;
            }
            let rule = "rows lie in the output";
            let to = dst.get_mut(row(n) * size + bin).ok_or(KernelError::Invalid { kernel: KERNEL, rule })?;
            *to = match (counted.is_binary, weights) {
                (true, _) => one,
                (false, None) => to.combine(Combine::Add, one),
                (false, Some(weights)) => to.combine(Combine::Add, weights[n]),
            };
        }
        Ok(())
    })
}

/// How values are counted that become a sparse tensor.
#[derive(Debug, Clone, Copy)]
pub struct SparseCounts {
    /// The least columns of the result; -1 for none.
    pub min: i64,
    /// Values from here on do not count; -1 where all do.
    pub max: i64,
}

impl SparseCounts {
    /// Fills `order` with the numbers of the values that count, by row and value, and returns how many there are.
    ///
    /// # Errors
    /// [`KernelError::Index`] for a negative value.
    pub fn sort<'o>(
        &self,
        counted: Counted<'_>,
        row: &dyn Fn(usize) -> usize,
        order: &'o mut [u32],
    ) -> Result<&'o [u32]> {
        const KERNEL: &str = "CountSparseOutput";
        let ids = Indices::new(KERNEL, counted.values)?;
        check_exact("the order", ids.len(), order.len())?;
        ids.check(KERNEL, |_| usize::MAX)?;
        let mut count = 0;
        for n in 0..ids.len() {
            if self.max < 0 || ids.get(n) < self.max {
                order[count] = n as u32;
                count += 1;
            }
        }
        let order = &mut order[..count];
        order.sort_unstable_by_key(|n| (row(*n as usize), ids.get(*n as usize), *n));
        Ok(order)
    }
}

/// Counts the values in the sorted `order`; returns how many different ones there are and the largest. With outputs it
/// writes each one's coordinates, `[row, value]` or `[value]`, and its count.
///
/// # Errors
/// [`KernelError`] for lengths or types that do not go together.
pub fn sparse_counts(
    counted: Counted<'_>,
    row: &dyn Fn(usize) -> usize,
    order: &[u32],
    has_rows: bool,
    outputs: Option<(&mut [i64], &mut TensorViewMut<'_>)>,
) -> Result<(usize, i64)> {
    const KERNEL: &str = "CountSparseOutput";
    let ids = Indices::new(KERNEL, counted.values)?;
    let key = |n: u32| (row(n as usize), ids.get(n as usize));
    let is_first = |n: usize| n == 0 || key(order[n - 1]) != key(order[n]);
    let largest = order.iter().map(|n| ids.get(*n as usize)).max().unwrap_or(-1);
    let Some((rows, dst)) = outputs else {
        return Ok(((0..order.len()).filter(|n| is_first(*n)).count(), largest));
    };
    let width = 1 + has_rows as usize;
    for_dtype!(dst.dtype(), KERNEL, numbers, T => {
        let weights = counted.weights.map(|w| values::<T>(w.bytes(), KERNEL)).transpose()?;
        ensure(weights.is_none_or(|w| w.len() == ids.len()), KERNEL, "there is a weight for each value")?;
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        check_exact("the coordinates", dst.len() * width, rows.len())?;
        let one = <T as Number>::of(1.0);
        let mut at = 0usize;
        for (n, id) in order.iter().enumerate() {
            let weight = match (counted.is_binary, weights) {
                (false, Some(weights)) => weights[*id as usize],
                _ => one,
            };
            at += is_first(n) as usize;
            let to = dst.get_mut(at.wrapping_sub(1)).ok_or(KernelError::Attribute("more values than were counted"))?;
            if is_first(n) {
                let (row, value) = key(*id);
                let coordinates = &mut rows[(at - 1) * width..][..width];
                coordinates[0] = row as i64;
                coordinates[width - 1] = value;
                *to = weight;
            } else if !counted.is_binary {
                *to = to.combine(Combine::Add, weight);
            }
        }
        Ok((at, largest))
    })
}
