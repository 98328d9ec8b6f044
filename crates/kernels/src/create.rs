//! Tensors made from numbers: ranges, one-hot vectors, and matrices from and to their diagonals.

use tightfit_core::{TensorView, TensorViewMut};

use crate::ThreadPool;
use crate::access::{for_dtype, split, values, values_mut};
use crate::error::{KernelError, Result, ensure};
use crate::layout::fill;

/// An element to count in.
trait Counted: Copy {
    /// This plus `n` times `step`, wrapping.
    fn after(self, n: usize, step: Self) -> Self;
}

macro_rules! counted {
    ($($T:ident)*) => { $(
        impl Counted for $T {
            #[inline]
            fn after(self, n: usize, step: Self) -> Self {
                self.wrapping_add(step.wrapping_mul(n as $T))
            }
        }
    )* };
    (@ $($T:ident)*) => { $(
        impl Counted for $T {
            #[inline]
            fn after(self, n: usize, step: Self) -> Self {
                self + step * n as $T
            }
        }
    )* };
}

counted!(i8 i16 i32 i64 u8 u16 u32 u64);
counted!(@ f32 f64);

/// As everywhere in these types, each step of the way is rounded.
macro_rules! counted_half {
    ($($T:ty)*) => { $(
        impl Counted for $T {
            #[inline]
            fn after(self, n: usize, step: Self) -> Self {
                self + step * <$T>::from_f32(n as f32)
            }
        }
    )* };
}

counted_half!(half::f16 half::bf16);

/// `start`, `start + step`, `start + 2 step` ... into `dst`; scalars of a float or integer type.
///
/// # Errors
/// [`KernelError::DType`] for other types, [`KernelError::Invalid`] for types that differ or no scalars.
pub fn range(start: TensorView<'_>, step: TensorView<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    const KERNEL: &str = "Range";
    let dtype = dst.dtype();
    ensure(start.dtype() == dtype && step.dtype() == dtype, KERNEL, "all have one element type")?;
    for_dtype!(dtype, KERNEL, numbers, T => {
        let (start, step) = (values::<T>(start.bytes(), KERNEL)?, values::<T>(step.bytes(), KERNEL)?);
        let (&[start], &[step]) = (start, step) else {
            return Err(KernelError::Invalid { kernel: KERNEL, rule: "start and step are scalars" });
        };
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        dst.iter_mut().enumerate().for_each(|(n, x)| *x = start.after(n, step));
        Ok(())
    })
}

/// As many values as `dst` (float32 or float64) has elements, from `start` to exactly `stop` in even steps.
///
/// # Errors
/// [`KernelError::DType`] for other types.
pub fn linspace(start: f64, stop: f64, dst: &mut TensorViewMut<'_>) -> Result<()> {
    const KERNEL: &str = "LinSpace";
    for_dtype!(dst.dtype(), KERNEL, [F32, F64], T => {
        let dst = values_mut::<T>(dst.bytes(), KERNEL)?;
        let (start, stop) = (start as T, stop as T);
        let step = (stop - start) / (dst.len().max(2) - 1) as T;
        dst.iter_mut().enumerate().for_each(|(n, x)| *x = start + step * n as T);
        if let [first, ..] = dst {
            *first = start;
        }
        if let [_, .., last] = dst {
            *last = stop;
        }
        Ok(())
    })
}

/// `on` where the coordinate along `axis` of `dst` is the index, else `off`; both are the bytes of one element. The
/// other dimensions are those of `indices` (uint8, int8, int32, int64); an index outside of the axis is nowhere on.
///
/// # Errors
/// [`KernelError::Invalid`] for sizes that do not go together, [`KernelError::DType`] for indices of other types.
pub fn one_hot(
    pool: &ThreadPool,
    axis: usize,
    indices: TensorView<'_>,
    (on, off): (&[u8], &[u8]),
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "OneHot";
    let (shape, size) = (*dst.shape(), dst.dtype().bytes());
    ensure(
        axis < shape.rank() && on.len() == size,
        KERNEL,
        "there is such an axis, and on and off are one element",
    )?;
    let (depth, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    ensure(
        indices.shape().elements() * depth == shape.elements(),
        KERNEL,
        "the output has an element for each index",
    )?;
    fill(pool, off, dst)?;
    for_dtype!(indices.dtype(), KERNEL, [U8, I8, I32, I64], I => {
        let indices = values::<I>(indices.bytes(), KERNEL)?;
        let dst = dst.bytes();
        for (n, index) in indices.iter().enumerate() {
            #[allow(clippy::unnecessary_fallible_conversions)]
            if let Ok(index) = usize::try_from(*index)
                && index < depth
            {
                let at = ((n / inner) * depth + index) * inner + n % inner;
                dst[at * size..][..size].copy_from_slice(on);
            }
        }
        Ok(())
    })
}

/// Which diagonals of matrices are meant, and how shorter ones lie in rows as long as the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diagonals {
    /// The lowest one: negative below the main diagonal.
    pub lower: i64,
    /// The highest one.
    pub upper: i64,
    /// Those above the main diagonal end at the row's end instead of beginning at its start.
    pub right_above: bool,
    /// And those below.
    pub right_below: bool,
}

impl Diagonals {
    /// The diagonal `k` alone.
    pub fn single(k: i64) -> Self {
        Diagonals { lower: k, upper: k, right_above: true, right_below: false }
    }

    /// How many, for an output of at least one row.
    fn count(&self) -> Option<usize> {
        usize::try_from(self.upper.checked_sub(self.lower)?.checked_add(1)?).ok()
    }

    /// The length of diagonal `k` of a matrix of `[rows, columns]`.
    fn len(k: i64, [rows, columns]: [usize; 2]) -> usize {
        let (rows, columns) = (rows as i64, columns as i64);
        rows.saturating_add(k.min(0)).min(columns.saturating_sub(k.max(0))).max(0) as usize
    }

    /// The length of the longest of them.
    pub fn longest(&self, matrix: [usize; 2]) -> usize {
        Self::len(0.clamp(self.lower, self.upper.max(self.lower)), matrix)
    }

    /// Calls `f(matrix_element, diagonal_element)` for each element of the diagonals of one matrix.
    fn each(&self, matrix: [usize; 2], mut f: impl FnMut(usize, usize)) {
        let longest = self.longest(matrix);
        for (row, k) in (self.lower..=self.upper).rev().enumerate() {
            let len = Self::len(k, matrix);
            let right = if k > 0 { self.right_above } else { self.right_below && k < 0 };
            // The main diagonal may be shorter than another one only in a matrix that is not square.
            let right = right || (k == 0 && self.right_above);
            let start = if right { longest - len } else { 0 };
            let (y, x) = ((-k).max(0) as usize, k.max(0) as usize);
            for i in 0..len {
                f((y + i) * matrix[1] + x + i, row * longest + start + i);
            }
        }
    }

    /// The shape of a matrix of `dims`, and how many there are, if the diagonals of each are `elements` in all.
    fn check(&self, kernel: &'static str, dims: &[usize], elements: usize) -> Result<([usize; 2], usize)> {
        let &[ref outer @ .., rows, columns] = dims else {
            return Err(KernelError::Invalid { kernel, rule: "there are matrices" });
        };
        let outer: usize = outer.iter().product();
        ensure(self.lower <= self.upper, kernel, "the lowest diagonal is below the highest")?;
        // The longest of them is there: others may lie outside, and have no elements.
        ensure(
            self.longest([rows, columns]) > 0 || elements == 0,
            kernel,
            "the diagonals lie within the matrix",
        )?;
        let each = self.count().map(|c| c * self.longest([rows, columns]));
        ensure(
            each.map(|e| e * outer) == Some(elements),
            kernel,
            "the diagonals are as long as the matrices'",
        )?;
        Ok(([rows, columns], outer))
    }
}

/// Writes the diagonals of the matrices of `src` (its last two axes), the highest first, to the rows of `dst`, and
/// `padding` (the bytes of one element) beside the shorter ones. Any type.
///
/// # Errors
/// [`KernelError::Invalid`] for sizes that do not go together.
pub fn matrix_diag_part(
    pool: &ThreadPool,
    diagonals: Diagonals,
    padding: &[u8],
    src: TensorView<'_>,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    const KERNEL: &str = "MatrixDiagPart";
    ensure(src.dtype() == dst.dtype(), KERNEL, "the input and the output have one element type")?;
    let (matrix, count) = diagonals.check(KERNEL, src.shape(), dst.shape().elements())?;
    fill(pool, padding, dst)?;
    let size = src.dtype().bytes();
    let (src, dst) = (src.bytes(), dst.bytes());
    let (from, to) = (src.len() / count.max(1), dst.len() / count.max(1));
    for n in 0..count {
        diagonals.each(matrix, |at, diagonal| {
            dst[n * to + diagonal * size..][..size].copy_from_slice(&src[n * from + at * size..][..size]);
        });
    }
    Ok(())
}

/// Writes the rows of `src` to the diagonals of the matrices that `dst` holds: MatrixSetDiag, and on a filled output
/// MatrixDiag, Diag and Eye. Any type.
///
/// # Errors
/// As [`matrix_diag_part`].
pub fn matrix_set_diag(diagonals: Diagonals, src: TensorView<'_>, dst: &mut TensorViewMut<'_>) -> Result<()> {
    const KERNEL: &str = "MatrixSetDiag";
    ensure(src.dtype() == dst.dtype(), KERNEL, "the input and the output have one element type")?;
    let (matrix, count) = diagonals.check(KERNEL, dst.shape(), src.shape().elements())?;
    let size = src.dtype().bytes();
    let (src, dst) = (src.bytes(), dst.bytes());
    let (from, to) = (src.len() / count.max(1), dst.len() / count.max(1));
    for n in 0..count {
        diagonals.each(matrix, |at, diagonal| {
            dst[n * to + at * size..][..size].copy_from_slice(&src[n * from + diagonal * size..][..size]);
        });
    }
    Ok(())
}

/// Zeroes all of the matrices that `dst` holds but a band: `lower` diagonals below the main one and `upper` above, a
/// negative number meaning all. Any type.
///
/// # Errors
/// [`KernelError::Invalid`] if there are no matrices.
pub fn matrix_band_part(
    pool: &ThreadPool,
    lower: i64,
    upper: i64,
    dst: &mut TensorViewMut<'_>,
) -> Result<()> {
    let (&[.., rows, columns], size) = (&**dst.shape(), dst.dtype().bytes()) else {
        return Err(KernelError::Invalid { kernel: "MatrixBandPart", rule: "there are matrices" });
    };
    split(pool, dst.bytes(), columns * size, &|first, dst| {
        for (n, row) in dst.chunks_mut(columns * size).enumerate() {
            let y = ((first + n) % rows) as i64;
            let start = if lower < 0 { 0 } else { y.saturating_sub(lower).clamp(0, columns as i64) };
            let end = if upper < 0 {
                columns as i64
            } else {
                y.saturating_add(upper).saturating_add(1).clamp(start, columns as i64)
            };
            row[..start as usize * size].fill(0);
            row[end as usize * size..].fill(0);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tightfit_core::{DType, Element, Shape};

    fn view<'a, T: Element>(dims: &[usize], values: &'a [T]) -> TensorView<'a> {
        TensorView::from_slice(Shape::new(dims).unwrap(), values).unwrap()
    }

    fn run<T: Element>(
        dims: &[usize],
        start: T,
        kernel: impl Fn(&ThreadPool, &mut TensorViewMut<'_>) -> Result<()>,
    ) -> Vec<T> {
        let shape = Shape::new(dims).unwrap();
        let mut dst = vec![start; shape.elements()];
        let mut out = TensorViewMut::new(T::DTYPE, shape, bytemuck::cast_slice_mut(&mut dst)).unwrap();
        kernel(&ThreadPool::new(1).unwrap(), &mut out).unwrap();
        dst
    }

    /// Values of TensorFlow 2.21.
    #[test]
    fn ranges() {
        let floats = run(&[10_000], 0f32, |_, d| range(view(&[], &[0f32]), view(&[], &[0.1f32]), d));
        assert_eq!([floats[10], floats[1000], floats[9999]], [1.0, 100.0, 999.9]);
        assert_eq!(run(&[3], 0i64, |_, d| range(view(&[], &[5i64]), view(&[], &[-2i64]), d)), [5, 3, 1]);
        let even = run(&[7], 0f32, |_, d| linspace(0.1, 1.7, d));
        assert_eq!([even[1], even[5], even[6]], [0.366_666_67, 1.433_333_4, 1.7]);
    }

    #[test]
    fn one_hot_vectors() {
        let (on, off) = (1u8.to_le_bytes(), 0u8.to_le_bytes());
        let indices = [1i32, -1, 0];
        let last = run(&[3, 2], 9u8, |p, d| one_hot(p, 1, view(&[3], &indices), (&on, &off), d));
        assert_eq!(last, [0, 1, 0, 0, 1, 0]);
        let first = run(&[2, 3], 9u8, |p, d| one_hot(p, 0, view(&[3], &indices), (&on, &off), d));
        assert_eq!(first, [0, 0, 1, 1, 0, 0]);
    }

    /// Values of TensorFlow 2.21.
    #[test]
    fn diagonals() {
        let x: Vec<i32> = (1..=12).collect();
        let x = view(&[3, 4], &x);
        let nine = 9i32.to_le_bytes();
        let default = Diagonals { lower: -1, upper: 2, right_above: true, right_below: false };
        let part = run(&[4, 3], 0i32, |p, d| matrix_diag_part(p, default, &nine, x, d));
        assert_eq!(part, [9, 3, 8, 2, 7, 12, 1, 6, 11, 5, 10, 9]);
        let turned = Diagonals { lower: -2, upper: 1, right_above: false, right_below: true };
        let part = run(&[4, 3], 0i32, |p, d| matrix_diag_part(p, turned, &nine, x, d));
        assert_eq!(part, [2, 7, 12, 1, 6, 11, 9, 5, 10, 9, 9, 9]);
        let set = run(&[2, 2, 2], 7i32, |_, d| {
            matrix_set_diag(Diagonals::single(0), view(&[2, 2], &[1, 2, 3, 4]), d)
        });
        assert_eq!(set, [1, 7, 7, 2, 3, 7, 7, 4]);
    }

    /// Values of TensorFlow 2.21.
    #[test]
    fn bands() {
        let band = |lower, upper| {
            let mut x: Vec<i32> = (1..=12).collect();
            let shape = Shape::new(&[3, 4]).unwrap();
            let mut out = TensorViewMut::new(DType::I32, shape, bytemuck::cast_slice_mut(&mut x)).unwrap();
            matrix_band_part(&ThreadPool::new(1).unwrap(), lower, upper, &mut out).unwrap();
            x
        };
        assert_eq!(band(1, 0), [1, 0, 0, 0, 5, 6, 0, 0, 0, 10, 11, 0]);
        assert_eq!(band(-1, 1), [1, 2, 0, 0, 5, 6, 7, 0, 9, 10, 11, 12]);
    }
}
