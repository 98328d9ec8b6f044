//! Sums and means of integers over axes.

use tightfit_core::{DType, MAX_RANK, TensorView, TensorViewMut};

use super::multiplier::Multiplier;
use super::pairs::{BoundedInteger, Integer};
use crate::base::access::{for_dtype, split_with_cost, values, values_mut};
use crate::base::error::{KernelError, Result, check_exact};
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::ThreadPool;

/// Neighbouring outputs that are summed up at once.
const BLOCK: usize = 64;

/// A sum or a mean over axes, which is brought to the output's scale.
#[derive(Debug, Clone, Copy)]
pub struct AffineSum {
    /// The sum is divided by how many there are.
    pub is_mean: bool,
    /// The input's scale by the output's.
    pub multiplier: Multiplier,
    /// What stands for 0 in the input.
    pub from_zero: i32,
    /// What stands for 0 in the output.
    pub zero: i32,
}

/// The axes of a tensor in two lists: those that stay, and those that are summed up. Neighbours of one kind are one axis.
struct Axes {
    kept: ([(usize, usize); MAX_RANK], usize),
    summed: ([(usize, usize); MAX_RANK], usize),
}

impl Axes {
    fn new(shape: &[usize], is_reduced: &[bool; MAX_RANK]) -> Axes {
        let mut axes = Axes { kept: ([(0, 0); MAX_RANK], 0), summed: ([(0, 0); MAX_RANK], 0) };
        let mut stride = 1;
        let mut strides = [0; MAX_RANK];
        for (axis, size) in shape.iter().enumerate().rev() {
            strides[axis] = stride;
            stride *= size;
        }
        for (axis, size) in shape.iter().enumerate() {
            let (list, count) = if is_reduced[axis] { &mut axes.summed } else { &mut axes.kept };
            if let Some(last) = count.checked_sub(1)
                && list[last].1 == size * strides[axis]
            {
                list[last] = (list[last].0 * size, strides[axis]);
                continue;
            }
            list[*count] = (*size, strides[axis]);
            *count += 1;
        }
        axes
    }

    /// How many outputs from this one on are neighbours in the input.
    fn neighbours(&self, output: usize) -> usize {
        let (list, count) = &self.kept;
        match count.checked_sub(1).map(|last| list[last]) {
            Some((size, 1)) => size - output % size,
            _ => 1,
        }
    }

    /// Where the element with this number among those of a list of axes is.
    fn offset((list, count): &([(usize, usize); MAX_RANK], usize), number: usize) -> usize {
        let (mut left, mut offset) = (number, 0);
        for (size, stride) in list[..*count].iter().rev() {
            offset += left % size * stride;
            left /= size;
        }
        offset
    }
}

impl AffineSum {
    /// Computes the output; `is_reduced` says which axes of the input are gone.
    ///
    /// # Errors
    /// [`KernelError`] for types other than int8, uint8 and int16, and outputs of another size.
    pub fn run(
        &self,
        pool: &ThreadPool,
        is_reduced: &[bool; MAX_RANK],
        src: TensorView<'_>,
        dst: &mut TensorViewMut<'_>,
    ) -> Result<()> {
        const KERNEL: &str = "tfl.mean";
        let dtype: DType = dst.dtype();
        if src.dtype() != dtype {
            return Err(KernelError::DType { kernel: KERNEL, dtype: src.dtype() });
        }
        let axes = Axes::new(src.shape(), is_reduced);
        let count: usize = axes.summed.0[..axes.summed.1].iter().map(|(size, _)| size).product();
        let outputs: usize = axes.kept.0[..axes.kept.1].iter().map(|(size, _)| size).product();
        let multiplier = if self.is_mean { divided(self.multiplier, count) } else { self.multiplier };
        for_dtype!(dtype, KERNEL, [I8, U8, I16], T => {
            let (src, dst) = (values::<T>(src.bytes(), KERNEL)?, values_mut::<T>(dst.bytes(), KERNEL)?);
            check_exact("the output", outputs, dst.len())?;
            if count == 0 {
                let empty = if self.is_mean { self.zero } else { 0 };
                dst.fill(T::narrow(empty.clamp(T::LOWEST, T::HIGHEST)));
                return Ok(());
            }
            let offset = (self.from_zero as i64).wrapping_mul(count as i64) as i32;
            split_with_cost(pool, dst, 1, count, &|first, dst| {
                let mut done = 0;
                while done < dst.len() {
                    let own = axes.neighbours(first + done).min(dst.len() - done).min(BLOCK);
                    let start = Axes::offset(&axes.kept, first + done);
                    let sums = dispatch(pool.isa(), Sums { axes: &axes, start, count, own, src });
                    for (to, sum) in dst[done..done + own].iter_mut().zip(sums) {
                        let integer = multiplier.apply(sum.wrapping_sub(offset)).wrapping_add(self.zero);
                        *to = T::narrow(integer.clamp(T::LOWEST, T::HIGHEST));
                    }
                    done += own;
                }
            });
            Ok(())
        })
    }
}

/// The sums of the elements of all summed axes from `start` on, and from the `own - 1` elements after it.
struct Sums<'a, T> {
    axes: &'a Axes,
    start: usize,
    count: usize,
    own: usize,
    src: &'a [T],
}

impl<T: Integer> Kernel for Sums<'_, T> {
    type Output = [i32; BLOCK];

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> [i32; BLOCK] {
        let (list, axes_count) = &self.axes.summed;
        let (inner, stride) = axes_count.checked_sub(1).map_or((1, 1), |last| list[last]);
        let outer = (*list, axes_count.saturating_sub(1));
        let mut sums = [0i32; BLOCK];
        for row in 0..self.count / inner {
            let from = self.start + Axes::offset(&outer, row);
            if self.own == 1 && stride == 1 {
                let row = self.src[from..from + inner].iter();
                sums[0] = row.fold(sums[0], |sum, x| sum.wrapping_add(x.wide()));
                continue;
            }
            for i in 0..inner {
                let from = &self.src[from + i * stride..][..self.own];
                for (sum, x) in sums.iter_mut().zip(from) {
                    *sum = sum.wrapping_add(x.wide());
                }
            }
        }
        sums
    }
}

/// A number divided by how many elements there are, with as many bits as there is room for.
fn divided(multiplier: Multiplier, count: usize) -> Multiplier {
    if count == 0 {
        return multiplier;
    }
    let shift = (63 - (count as u64).leading_zeros() as i32).min(32).min(31 + multiplier.shift).max(0);
    let value = ((multiplier.value as i64) << shift) / count as i64;
    Multiplier { value: value as i32, shift: multiplier.shift - shift }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tightfit_core::Shape;

    #[test]
    fn means_are_of_the_axes_that_are_gone() {
        let pool = ThreadPool::new(2).unwrap();
        let src: Vec<i8> = (0..24).map(|i| (i * 7 % 41) as i8 - 20).collect();
        let shape = Shape::new(&[2, 3, 4]).unwrap();
        let view = TensorView::new(DType::I8, shape, bytemuck::cast_slice(&src)).unwrap();
        for gone in [[true, false, true], [false, true, false], [true, true, true], [false, false, false]] {
            let mut is_reduced = [false; MAX_RANK];
            is_reduced[..3].copy_from_slice(&gone);
            let dims: Vec<usize> = (0..3).filter(|a| !gone[*a]).map(|a| shape[a]).collect();
            let mut out = vec![0u8; dims.iter().product()];
            let count = 24 / out.len();
            let mut dst = TensorViewMut::new(DType::I8, Shape::new(&dims).unwrap(), &mut out).unwrap();
            let sum = AffineSum { is_mean: true, multiplier: Multiplier::of(0.5), from_zero: 3, zero: -1 };
            sum.run(&pool, &is_reduced, view, &mut dst).unwrap();
            let mut sums = vec![0.0; out.len()];
            for (at, x) in src.iter().enumerate() {
                let index = [at / 12, at / 4 % 3, at % 4];
                let to = (0..3).filter(|a| !gone[*a]).fold(0, |to, a| to * shape[a] + index[a]);
                sums[to] += (*x as f64 - 3.0) / count as f64;
            }
            for (byte, mean) in out.iter().zip(sums) {
                assert!((*byte as i8 as f64 - (mean * 0.5 - 1.0)).abs() <= 1.0, "{gone:?}");
            }
        }
    }
}
