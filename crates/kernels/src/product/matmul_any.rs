//! Batches of products of numbers other than float32: a plain loop, for the few products that models leave in float64
//! and integers.

use bytemuck::Pod;
use tightfit_core::{DType, Shared};

use crate::base::complex::Complex;
use crate::base::error::{KernelError, check_at_least, product};
use crate::base::threads::ThreadPool;
use crate::product::matmul::BatchMatMul;

/// Multiply-adds that are worth a task of their own.
const TASK_WORK: usize = 1 << 16;

/// A number that products are made of. Integers wrap.
trait Number: Pod + Send + Sync {
    fn add_product(self, a: Self, b: Self) -> Self;
}

macro_rules! number {
    ($($t:ty, $sum:ident $a:ident $b:ident => $value:expr;)*) => { $(
        impl Number for $t {
            #[inline(always)]
            fn add_product(self, $a: Self, $b: Self) -> Self {
                let $sum = self;
                $value
            }
        }
    )* };
}

number! {
    f32, sum a b => sum + a * b;
    f64, sum a b => sum + a * b;
    i32, sum a b => sum.wrapping_add(a.wrapping_mul(b));
    i64, sum a b => sum.wrapping_add(a.wrapping_mul(b));
    Complex<f32>, sum a b => sum + a * b;
    Complex<f64>, sum a b => sum + a * b;
}

impl BatchMatMul<'_> {
    /// Computes all products of float32, float64, int32, int64 or complex operands, without scratch and without an epilogue.
    /// The bytes are aligned for their type. [`BatchMatMul::run`] is many times faster for float32.
    ///
    /// # Errors
    /// [`KernelError`] for another type, a wrong length or alignment, and when the output's elements overlap.
    pub fn run_any(
        &self,
        pool: &ThreadPool,
        dtype: DType,
        a: &[u8],
        b: &[u8],
        out: &mut [u8],
    ) -> Result<(), KernelError> {
        match dtype {
            DType::F32 => self.run_as::<f32>(pool, a, b, out),
            DType::F64 => self.run_as::<f64>(pool, a, b, out),
            DType::I32 => self.run_as::<i32>(pool, a, b, out),
            DType::I64 => self.run_as::<i64>(pool, a, b, out),
            DType::C64 => self.run_as::<Complex<f32>>(pool, a, b, out),
            DType::C128 => self.run_as::<Complex<f64>>(pool, a, b, out),
            _ => Err(KernelError::Attribute(
                "products are of float32, float64, int32, int64 or complex numbers",
            )),
        }
    }

    fn run_as<T: Number>(
        &self,
        pool: &ThreadPool,
        a: &[u8],
        b: &[u8],
        out: &mut [u8],
    ) -> Result<(), KernelError> {
        let misaligned = |_| KernelError::Attribute("an operand is not aligned for its type");
        let a: &[T] = bytemuck::try_cast_slice(a).map_err(misaligned)?;
        let b: &[T] = bytemuck::try_cast_slice(b).map_err(misaligned)?;
        let out: &mut [T] = bytemuck::try_cast_slice_mut(out).map_err(misaligned)?;
        let rows = product(&[product(self.batch)?, self.m])?;
        if rows == 0 || self.n == 0 {
            return Ok(());
        }
        if self.k > 0 {
            check_at_least("the left-hand side", self.extent(&self.a, self.m, self.k)?, a.len())?;
            check_at_least("the right-hand side", self.extent(&self.b, self.k, self.n)?, b.len())?;
        }
        check_at_least("the output", self.extent(&self.out, self.m, self.n)?, out.len())?;
        self.check_disjoint()?;
        let row_work = self.n.saturating_mul(self.k.max(1));
        let tasks = (rows.saturating_mul(row_work) / TASK_WORK).clamp(1, pool.threads() * 4).min(rows);
        let shared = Shared::new(out);
        pool.run(tasks, &|task, _| {
            for row in rows * task / tasks..rows * (task + 1) / tasks {
                let (instance, row) = (row / self.m, row % self.m);
                let offset = |strides: &[usize]| {
                    let dims = self.batch.iter().zip(strides).rev();
                    dims.fold((0, instance), |(sum, rest), (dim, stride)| {
                        (sum + rest % dim * stride, rest / dim)
                    })
                    .0
                };
                let a_start = offset(self.a.batch) + row * self.a.row;
                let b_start = offset(self.b.batch);
                let out_start = offset(self.out.batch) + row * self.out.row;
                // SAFETY: the row lies in the output, whose extent was checked, and no two rows share an element.
                let mut sums = unsafe { shared.part(out_start, self.n) };
                sums.fill(T::zeroed());
                for k in 0..self.k {
                    let left = a[a_start + k * self.a.column];
                    let right = b_start + k * self.b.row;
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = sum.add_product(left, b[right + j * self.b.column]);
                    }
                }
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::cpu::Isa;
    use crate::product::matmul::MatrixStrides;

    #[test]
    fn a_broadcast_and_transposed_batch() {
        let a: Vec<i64> = (0..12).collect();
        let b: Vec<i64> = (0..12).map(|x| x - 5).collect();
        let op = BatchMatMul {
            isa: Isa::Portable,
            batch: &[2],
            m: 2,
            k: 3,
            n: 4,
            a: MatrixStrides { row: 3, column: 1, batch: &[6] },
            b: MatrixStrides { row: 1, column: 3, batch: &[0] },
            out: MatrixStrides { row: 4, column: 1, batch: &[8] },
        };
        let mut out = vec![7i64; 16];
        let pool = ThreadPool::new(2).unwrap();
        let (a_bytes, b_bytes) = (bytemuck::cast_slice(&a), bytemuck::cast_slice(&b));
        op.run_any(&pool, DType::I64, a_bytes, b_bytes, bytemuck::cast_slice_mut(&mut out)).unwrap();
        for (i, value) in out.iter().enumerate() {
            let (batch, row, column) = (i / 8, i / 4 % 2, i % 4);
            let want: i64 = (0..3).map(|k| a[batch * 6 + row * 3 + k] * b[column * 3 + k]).sum();
            assert_eq!(*value, want, "{i}");
        }
        assert!(
            op.run_any(&pool, DType::I64, &a_bytes[8..], b_bytes, bytemuck::cast_slice_mut(&mut out))
                .is_err()
        );
        assert!(
            op.run_any(&pool, DType::Bool, a_bytes, b_bytes, bytemuck::cast_slice_mut(&mut out)).is_err()
        );
    }
}
