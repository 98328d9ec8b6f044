//! Ragged tensors: values, and for each level what says where its rows begin.

use crate::base::error::{KernelError, Result, check_exact, ensure};

/// Whole numbers of int32 or int64.
#[derive(Debug, Clone, Copy)]
pub enum Whole<'a> {
    /// int32.
    I32(&'a [i32]),
    /// int64.
    I64(&'a [i64]),
}

impl Whole<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Whole::I32(values) => values.len(),
            Whole::I64(values) => values.len(),
        }
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them, which must exist.
    #[inline]
    pub fn get(&self, at: usize) -> i64 {
        match self {
            Whole::I32(values) => values[at] as i64,
            Whole::I64(values) => values[at],
        }
    }

    /// The number of the first for which `is_past` holds, where all after it are.
    fn partition(&self, is_past: impl Fn(i64) -> bool) -> usize {
        match self {
            Whole::I32(values) => values.partition_point(|x| !is_past(*x as i64)),
            Whole::I64(values) => values.partition_point(|x| !is_past(*x)),
        }
    }
}

/// What says where the rows of a level begin.
#[derive(Debug, Clone, Copy)]
pub enum RowPartition<'a> {
    /// Where each row begins, and at last where they end.
    Splits(Whole<'a>),
    /// The row of each value, never falling.
    RowIds(Whole<'a>),
}

impl RowPartition<'_> {
    /// Checks that splits rise from 0 to `values`, or that row ids never fall and lie in `rows`, where they are known.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] where they do not.
    pub fn check(&self, rows: Option<usize>, values: Option<usize>) -> Result<()> {
        const KERNEL: &str = "ragged rows";
        let (RowPartition::Splits(of) | RowPartition::RowIds(of)) = self;
        let rises = (1..of.len()).all(|n| of.get(n - 1) <= of.get(n));
        ensure(rises, KERNEL, "splits and row ids never fall")?;
        match self {
            RowPartition::Splits(splits) => {
                ensure(!splits.is_empty() && splits.get(0) == 0, KERNEL, "splits begin at 0")?;
                ensure(
                    rows.is_none_or(|rows| splits.len() == rows + 1),
                    KERNEL,
                    "there is a split for each row",
                )?;
                let last = splits.get(splits.len() - 1);
                ensure(
                    values.is_none_or(|n| n as i64 == last),
                    KERNEL,
                    "the last split is the number of values",
                )
            }
            RowPartition::RowIds(ids) => {
                ensure(values.is_none_or(|n| n == ids.len()), KERNEL, "there is a row id for each value")?;
                let inside = ids.is_empty()
                    || (ids.get(0) >= 0 && rows.is_none_or(|rows| ids.get(ids.len() - 1) < rows as i64));
                ensure(inside, KERNEL, "row ids name rows")
            }
        }
    }

    /// Checks that splits never fall and name some of `values`, not all of which need be in a row.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] where they do not, and for row ids.
    pub fn check_within(&self, values: usize) -> Result<()> {
        const KERNEL: &str = "ragged rows";
        let RowPartition::Splits(splits) = self else {
            return ensure(false, KERNEL, "rows are given as splits");
        };
        ensure(!splits.is_empty(), KERNEL, "there are splits")?;
        let rises = (1..splits.len()).all(|n| splits.get(n - 1) <= splits.get(n));
        ensure(rises && splits.get(0) >= 0, KERNEL, "splits are no less than 0 and never fall")?;
        ensure(splits.get(splits.len() - 1) <= values as i64, KERNEL, "splits do not point past the values")
    }

    /// How many values there are.
    pub fn values(&self) -> usize {
        match self {
            RowPartition::Splits(splits) if splits.is_empty() => 0,
            RowPartition::Splits(splits) => splits.get(splits.len() - 1).max(0) as usize,
            RowPartition::RowIds(ids) => ids.len(),
        }
    }

    /// The row of a value, and which of its row's values it is.
    pub fn place(&self, value: usize) -> (usize, usize) {
        match self {
            RowPartition::Splits(splits) => {
                let row = splits.partition(|split| split > value as i64).saturating_sub(1);
                (row, value - splits.get(row) as usize)
            }
            RowPartition::RowIds(ids) => {
                let id = ids.get(value);
                (id as usize, value - ids.partition(|other| other >= id))
            }
        }
    }

    /// The most values of a row; of splits that fall none are counted there.
    pub fn widest(&self) -> usize {
        match self {
            RowPartition::Splits(splits) => {
                let width = |n| usize::try_from(splits.get(n).saturating_sub(splits.get(n - 1))).unwrap_or(0);
                (1..splits.len()).map(width).max().unwrap_or(0)
            }
            RowPartition::RowIds(ids) => {
                let (mut most, mut run) = (0, 0);
                for n in 0..ids.len() {
                    run = if n > 0 && ids.get(n - 1) == ids.get(n) { run + 1 } else { 1 };
                    most = run.max(most);
                }
                most
            }
        }
    }
}

/// Puts the values of a ragged tensor, each of `bytes` bytes, into a dense one of shape `dims`, which has an axis more than
/// there are levels. `place(level, value)` is the row of a value of that level and its place there, the innermost level
/// last. What is past an axis is left out.
///
/// # Errors
/// [`KernelError::Length`] where lengths do not go together.
pub fn ragged_to_dense(
    dims: &[usize],
    place: &dyn Fn(usize, usize) -> (usize, usize),
    (values, bytes): (&[u8], usize),
    dst: &mut [u8],
) -> Result<()> {
    let all = dims.iter().try_fold(bytes, |n, dim| n.checked_mul(*dim));
    check_exact("the output", all.ok_or(KernelError::Attribute("a dimension is too large"))?, dst.len())?;
    if bytes == 0 {
        return Ok(());
    }
    for (n, value) in values.chunks_exact(bytes).enumerate() {
        let (mut at, mut step, mut index, mut is_inside) = (0, 1, n, true);
        for level in (0..dims.len() - 1).rev() {
            let (row, position) = place(level, index);
            is_inside &= position < dims[level + 1];
            at += position * step;
            step *= dims[level + 1];
            index = row;
        }
        if is_inside && index < dims[0] {
            at += index * step;
            dst[at * bytes..][..bytes].copy_from_slice(value);
        }
    }
    Ok(())
}

/// Rows of `start`, `start + delta` and so on, up to a limit; of int32, int64, float32 or float64.
pub trait RangeNumber: bytemuck::Pod + PartialOrd {
    /// 0.
    const ZERO: Self;
    /// How many there are before the limit; `None` where there is no end.
    fn steps(start: Self, limit: Self, delta: Self) -> Option<u64>;
    /// The next one.
    fn next(self, delta: Self) -> Self;
}

macro_rules! range_number {
    ($($T:ident $zero:literal, $start:ident $limit:ident $delta:ident $steps:expr, $next:expr;)*) => {
        $(impl RangeNumber for $T {
            const ZERO: Self = $zero;
            fn steps($start: Self, $limit: Self, $delta: Self) -> Option<u64> {
                if $delta == $zero {
                    return None;
                }
                if ($delta > $zero && $limit < $start) || ($delta < $zero && $limit > $start) {
                    return Some(0);
                }
                $steps
            }
            fn next(self, delta: Self) -> Self {
                $next(self, delta)
            }
        })*
    };
}

/// How often a step goes into a way, rounded up.
fn whole_steps(start: i64, limit: i64, delta: i64) -> Option<u64> {
    Some(start.abs_diff(limit).div_ceil(delta.unsigned_abs()))
}

/// The same of numbers with fractions.
fn real_steps(way: f64) -> Option<u64> {
    let steps = way.abs().ceil();
    (steps < 9e18).then_some(steps as u64)
}

use std::ops::Add;
range_number! {
    i32 0, start limit delta whole_steps(start as i64, limit as i64, delta as i64), i32::wrapping_add;
    i64 0, start limit delta whole_steps(start, limit, delta), i64::wrapping_add;
    f32 0.0, start limit delta real_steps(((limit - start) / delta) as f64), Add::add;
    f64 0.0, start limit delta real_steps((limit - start) / delta), Add::add;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_and_row_ids_say_the_same() {
        let splits = RowPartition::Splits(Whole::I64(&[0, 2, 2, 5]));
        let ids = RowPartition::RowIds(Whole::I32(&[0, 0, 2, 2, 2]));
        for partition in [splits, ids] {
            partition.check(Some(3), Some(5)).unwrap();
            assert_eq!((partition.values(), partition.widest()), (5, 3));
            let places: Vec<_> = (0..5).map(|n| partition.place(n)).collect();
            assert_eq!(places, [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)]);
            assert!(partition.check(Some(2), None).is_err());
        }
        assert!(RowPartition::Splits(Whole::I64(&[0, 3, 2])).check(None, None).is_err());
        // Those that fall are refused later, and have no width before.
        assert_eq!(RowPartition::Splits(Whole::I64(&[0, 3, 2, -19])).widest(), 3);
        assert_eq!(RowPartition::Splits(Whole::I64(&[i64::MAX, i64::MIN, i64::MIN])).widest(), 0);
    }

    #[test]
    fn ranges_end_before_their_limit() {
        assert_eq!(i32::steps(0, 5, 2), Some(3));
        assert_eq!(i64::steps(5, 0, -5), Some(1));
        assert_eq!(i64::steps(i64::MIN, i64::MAX, 1), Some(u64::MAX));
        assert_eq!(f32::steps(0.0, 1.0, 0.25), Some(4));
        assert_eq!((f64::steps(1.0, 0.0, 1.0), i32::steps(1, 2, 0)), (Some(0), None));
        assert_eq!(f32::steps(0.0, f32::INFINITY, 1.0), None);
    }
}
