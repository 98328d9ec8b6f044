//! Functions of the matrices of a batch.

use super::{Batch, NOT_FOUND};
use crate::base::access::values_mut;
use crate::base::error::Result;
use crate::elementwise::float::Float;
use crate::linalg::functions::{self, OfTriangle};
use crate::linalg::scalar::{Complex, Limits, Scalar, larger};

impl Batch<'_, '_, '_> {
    pub(super) fn exponential<T: Scalar>(&mut self, n: usize, scratch: &mut [T]) -> Result<()> {
        let size = self.sizes.rows;
        let (work, order) = scratch.split_at_mut(functions::EXPONENTIAL_MATRICES * size * size);
        let order = &mut bytemuck::cast_slice_mut::<T, u32>(order)[..size];
        let a = self.input::<T>(0, n, size * size)?;
        functions::exponential(a, self.output::<T>(0, n, size * size)?, work, order, size);
        Ok(())
    }

    pub(super) fn on_triangle<R>(&mut self, function: OfTriangle, scratch: &mut [u8]) -> Result<()>
    where
        R: Limits + Scalar<Real = R>,
        Complex<R>: Scalar<Real = R>,
    {
        let size = self.sizes.rows;
        let scratch = values_mut::<Complex<R>>(scratch, self.op.kernel())?;
        let (taus, work) = scratch.split_at_mut(size);
        for n in 0..self.count {
            let a = self.input::<Complex<R>>(0, n, size * size)?;
            let to = self.output::<Complex<R>>(0, n, size * size)?;
            to.copy_from_slice(a);
            let is_found = functions::on_triangle(function, to, work, taus, size);
            self.need(is_found, NOT_FOUND)?;
        }
        Ok(())
    }

    pub(super) fn real_root<R>(&mut self, scratch: &mut [u8]) -> Result<()>
    where
        R: Limits + Scalar<Real = R>,
        Complex<R>: Scalar<Real = R>,
    {
        let size = self.sizes.rows;
        let scratch = values_mut::<Complex<R>>(scratch, self.op.kernel())?;
        let (taus, scratch) = scratch.split_at_mut(size);
        let (root, work) = scratch.split_at_mut(size * size);
        for n in 0..self.count {
            let a = self.input::<R>(0, n, size * size)?;
            root.iter_mut().zip(a).for_each(|(to, x)| *to = Complex::real(*x));
            let is_found = functions::on_triangle(OfTriangle::SquareRoot, root, work, taus, size);
            self.need(is_found, NOT_FOUND)?;
            // That of a real matrix is real, but where an eigenvalue has no real root.
            let most = root.iter().fold(R::of(0.0), |most, x| larger(most, Float::abs(x.re)));
            let is_real = root.iter().all(|x| Float::abs(x.im) <= most * Float::sqrt(R::EPSILON));
            let to = self.output::<R>(0, n, size * size)?;
            to.iter_mut().zip(&*root).for_each(|(to, x)| *to = if is_real { x.re } else { R::of(f64::NAN) });
        }
        Ok(())
    }
}
