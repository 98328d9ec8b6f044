//! Which operation, on which matrices, and the memory that it takes.

use bytemuck::Pod;
use tightfit_core::{DType, TensorView, TensorViewMut};

use super::functions::OfTriangle;
use super::matrix::Mat;
use super::orthogonal::{Vectors, svd_scratch};
use super::scalar::{Complex, Limits, Scalar};
use super::{eigen, functions, lu, orthogonal, real_eigen, tridiagonal};
use crate::base::access::{values, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::elementwise::float::Float;

mod apply;

/// An operation on matrices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MatrixOp {
    /// The inverse, of the adjoint where that is so.
    Inverse {
        /// Of the adjoint.
        adjoint: bool,
    },
    /// The determinant.
    Determinant,
    /// The sign of the determinant, and the logarithm of its size.
    LogDeterminant,
    /// X of A X = B, or of A* X = B.
    Solve {
        /// With the adjoint.
        adjoint: bool,
    },
    /// X with the least error |A X - B|; third input: a number that weighs |X| besides.
    LeastSquares {
        /// By the normal equations, for matrices of full rank.
        fast: bool,
    },
    /// X of A X = B for a triangular A.
    SolveTriangular {
        /// The lower triangle is looked at.
        lower: bool,
        /// With the adjoint.
        adjoint: bool,
    },
    /// L of A = L L*.
    Cholesky,
    /// Q and R of A = Q R.
    Qr {
        /// Q is square.
        full: bool,
    },
    /// Singular values, and where wanted the vectors U and V.
    Svd {
        /// With vectors.
        vectors: bool,
        /// U and V are square.
        full: bool,
    },
    /// L and U in one matrix, and the order of rows.
    Lu,
    /// Eigenvalues of a Hermitian matrix and where wanted vectors.
    SelfAdjointEig {
        /// With vectors.
        vectors: bool,
    },
    /// Both in one tensor: the values before the vectors.
    SelfAdjointEigRows,
    /// Complex eigenvalues and where wanted vectors.
    Eig {
        /// With vectors.
        vectors: bool,
    },
    /// The exponential.
    Exponential,
    /// The logarithm; of complex numbers.
    Logarithm,
    /// The square root. A real matrix without a real one gives NaN.
    SquareRoot,
    /// X of T X = B for three diagonals.
    SolveTridiagonal {
        /// Rows are swapped for larger pivots.
        pivots: bool,
        /// Pivots that would make too large numbers are changed a little.
        perturbs: bool,
    },
    /// T B for three diagonals, the first three inputs.
    MultiplyTridiagonal,
    /// X of T X = B for a triangular T of some diagonals.
    SolveBanded {
        /// T is lower triangular.
        lower: bool,
        /// With the adjoint.
        adjoint: bool,
    },
}

/// The sizes of one matrix, and of its right-hand side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatrixSizes {
    /// Rows of the first input.
    pub rows: usize,
    /// Columns of the first input.
    pub cols: usize,
    /// Columns of the right-hand side.
    pub rhs: usize,
}

impl MatrixOp {
    /// Bytes of scratch for matrices of these sizes, of elements of `dtype`; `usize::MAX` where they are too many.
    pub fn scratch_bytes(self, sizes: MatrixSizes, dtype: DType) -> usize {
        let elements = self.scratch_elements(sizes.rows as u128, sizes.cols as u128, sizes.rhs as u128);
        let bytes = match self {
            MatrixOp::Eig { .. } | MatrixOp::SquareRoot if !dtype.is_complex() => 2 * dtype.bytes(),
            _ => dtype.bytes(),
        };
        usize::try_from(elements * bytes as u128).unwrap_or(usize::MAX)
    }

    fn scratch_elements(self, rows: u128, cols: u128, rhs: u128) -> u128 {
        let least = rows.min(cols);
        let most = rows.max(cols);
        let svd = least * least + rows * cols + 4 * least + 2 + most;
        match self {
            MatrixOp::Inverse { .. } | MatrixOp::Determinant | MatrixOp::LogDeterminant => rows * rows + rows,
            MatrixOp::Solve { .. } | MatrixOp::Lu => rows * rows + rows,
            MatrixOp::LeastSquares { fast: true } => least * least + least * rhs,
            MatrixOp::LeastSquares { fast: false } => svd + least * (1 + rows + cols) + least * rhs,
            MatrixOp::Qr { .. } => rows * cols + least,
            MatrixOp::Svd { .. } => svd,
            MatrixOp::SelfAdjointEig { .. } | MatrixOp::SelfAdjointEigRows => rows * rows + 3 * rows,
            MatrixOp::Eig { .. } => 3 * rows * rows + 2 * rows,
            MatrixOp::Exponential => functions::EXPONENTIAL_MATRICES as u128 * rows * rows + rows,
            MatrixOp::Logarithm | MatrixOp::SquareRoot => {
                (1 + functions::TRIANGLE_MATRICES) as u128 * rows * rows + rows
            }
            MatrixOp::SolveTridiagonal { .. } => 3 * cols,
            MatrixOp::SolveTriangular { .. }
            | MatrixOp::Cholesky
            | MatrixOp::MultiplyTridiagonal
            | MatrixOp::SolveBanded { .. } => 0,
        }
    }

    fn kernel(self) -> &'static str {
        match self {
            MatrixOp::Inverse { .. } => "MatrixInverse",
            MatrixOp::Determinant => "MatrixDeterminant",
            MatrixOp::LogDeterminant => "LogMatrixDeterminant",
            MatrixOp::Solve { .. } => "MatrixSolve",
            MatrixOp::LeastSquares { .. } => "MatrixSolveLs",
            MatrixOp::SolveTriangular { .. } => "MatrixTriangularSolve",
            MatrixOp::Cholesky => "Cholesky",
            MatrixOp::Qr { .. } => "Qr",
            MatrixOp::Svd { .. } => "Svd",
            MatrixOp::Lu => "Lu",
            MatrixOp::SelfAdjointEig { .. } => "SelfAdjointEigV2",
            MatrixOp::SelfAdjointEigRows => "SelfAdjointEig",
            MatrixOp::Eig { .. } => "Eig",
            MatrixOp::Exponential => "MatrixExponential",
            MatrixOp::Logarithm => "MatrixLogarithm",
            MatrixOp::SquareRoot => "MatrixSquareRoot",
            MatrixOp::SolveTridiagonal { .. } => "TridiagonalSolve",
            MatrixOp::MultiplyTridiagonal => "TridiagonalMatMul",
            MatrixOp::SolveBanded { .. } => "BandedTriangularSolve",
        }
    }
}

/// Which matrix of an input goes with a result.
pub type MatrixIndex<'a> = &'a dyn Fn(usize, usize) -> usize;

/// Does `op` on `count` matrices of `sizes` each: matrix `index(i, n)` of input i is the n-th. Inputs and outputs have one
/// element type, but for the order of rows (int32, int64), the eigenvalues of [`MatrixOp::Eig`] (complex), and the weight
/// of [`MatrixOp::LeastSquares`] (one float64).
///
/// # Errors
/// [`KernelError::Invalid`] for a matrix that is not invertible or whose eigenvalues are not found, and
/// for lengths that do not go together; [`KernelError::Scratch`] for too little scratch, [`KernelError::DType`] for other
/// types.
pub fn solve_matrices(
    op: MatrixOp,
    sizes: MatrixSizes,
    count: usize,
    inputs: &[TensorView<'_>],
    index: MatrixIndex<'_>,
    outputs: &mut [TensorViewMut<'_>],
    scratch: &mut [u8],
) -> Result<()> {
    let kernel = op.kernel();
    let Some(first) = inputs.first() else {
        return Err(KernelError::Invalid { kernel, rule: "there is an input" });
    };
    let dtype = first.dtype();
    let (needed_bytes, given_bytes) = (op.scratch_bytes(sizes, dtype), scratch.len());
    let scratch =
        scratch.get_mut(..needed_bytes).ok_or(KernelError::Scratch { needed_bytes, given_bytes })?;
    let mut batch = Batch { op, sizes, count, inputs, index, outputs };
    if let MatrixOp::Eig { vectors } = op {
        return match dtype {
            DType::F32 => batch.real_eig::<f32>(vectors, scratch),
            DType::F64 => batch.real_eig::<f64>(vectors, scratch),
            DType::C64 => batch.eig::<Complex<f32>>(vectors, scratch),
            DType::C128 => batch.eig::<Complex<f64>>(vectors, scratch),
            dtype => Err(KernelError::DType { kernel, dtype }),
        };
    }
    let function = match op {
        MatrixOp::Logarithm => Some(OfTriangle::Logarithm),
        MatrixOp::SquareRoot => Some(OfTriangle::SquareRoot),
        _ => None,
    };
    if let Some(function) = function {
        return match dtype {
            DType::F32 if op == MatrixOp::SquareRoot => batch.real_root::<f32>(scratch),
            DType::F64 if op == MatrixOp::SquareRoot => batch.real_root::<f64>(scratch),
            DType::C64 => batch.on_triangle::<f32>(function, scratch),
            DType::C128 => batch.on_triangle::<f64>(function, scratch),
            dtype => Err(KernelError::DType { kernel, dtype }),
        };
    }
    match dtype {
        DType::F32 => batch.run::<f32>(scratch),
        DType::F64 => batch.run::<f64>(scratch),
        DType::C64 => batch.run::<Complex<f32>>(scratch),
        DType::C128 => batch.run::<Complex<f64>>(scratch),
        dtype => Err(KernelError::DType { kernel, dtype }),
    }
}

const NOT_FOUND: &str = "the eigenvalues are found; the input might not be valid";

struct Batch<'a, 'b, 'c> {
    op: MatrixOp,
    sizes: MatrixSizes,
    count: usize,
    inputs: &'a [TensorView<'b>],
    index: MatrixIndex<'a>,
    outputs: &'a mut [TensorViewMut<'c>],
}

/// Copies a square matrix, or its adjoint.
fn copy<T: Scalar>(from: &[T], to: &mut Mat<'_, T>, is_adjoint: bool) {
    if !is_adjoint {
        return to.data.copy_from_slice(from);
    }
    for row in 0..to.rows {
        for col in 0..to.cols {
            to.set(row, col, from[col * to.rows + row].conj());
        }
    }
}

impl<'b> Batch<'_, 'b, '_> {
    /// Matrix `n` of input `input`, of so many elements.
    fn input<T: Pod>(&self, input: usize, n: usize, elements: usize) -> Result<&'b [T]> {
        let kernel = self.op.kernel();
        let rule = "the inputs have a matrix for each result";
        let view = self.inputs.get(input).ok_or(KernelError::Invalid { kernel, rule })?;
        let all = values::<T>(view.bytes(), kernel)?;
        let first = (self.index)(input, n).checked_mul(elements);
        let own = first.and_then(|first| all.get(first..first.checked_add(elements)?));
        own.ok_or(KernelError::Invalid { kernel, rule })
    }

    fn output<T: Pod>(&mut self, output: usize, n: usize, elements: usize) -> Result<&mut [T]> {
        let kernel = self.op.kernel();
        let rule = "the outputs have room for each result";
        let view = self.outputs.get_mut(output).ok_or(KernelError::Invalid { kernel, rule })?;
        let all = values_mut::<T>(view.bytes(), kernel)?;
        let own = n.checked_mul(elements).and_then(|first| all.get_mut(first..first.checked_add(elements)?));
        own.ok_or(KernelError::Invalid { kernel, rule })
    }

    fn run<T: Scalar>(&mut self, scratch: &mut [u8]) -> Result<()>
    where
        T::Real: Limits,
    {
        let scratch = values_mut::<T>(scratch, self.op.kernel())?;
        for n in 0..self.count {
            match self.op {
                MatrixOp::Inverse { .. }
                | MatrixOp::Determinant
                | MatrixOp::LogDeterminant
                | MatrixOp::Solve { .. }
                | MatrixOp::Lu => self.eliminate(n, scratch)?,
                MatrixOp::LeastSquares { fast } => self.least_squares(n, fast, scratch)?,
                MatrixOp::SolveTriangular { lower, adjoint } => self.triangular::<T>(n, lower, adjoint)?,
                MatrixOp::Cholesky => self.cholesky::<T>(n)?,
                MatrixOp::Qr { full } => self.qr(n, full, scratch)?,
                MatrixOp::Svd { vectors, full } => self.svd(n, vectors, full, scratch)?,
                MatrixOp::SelfAdjointEig { .. } | MatrixOp::SelfAdjointEigRows => {
                    self.self_adjoint_eig(n, scratch)?;
                }
                MatrixOp::SolveTridiagonal { pivots, perturbs } => {
                    self.tridiagonal(n, (pivots, perturbs), scratch)?;
                }
                MatrixOp::MultiplyTridiagonal => self.multiply_tridiagonal::<T>(n)?,
                MatrixOp::SolveBanded { lower, adjoint } => self.banded::<T>(n, lower, adjoint)?,
                MatrixOp::Exponential => self.exponential(n, scratch)?,
                // Done by what they are computed with.
                MatrixOp::Eig { .. } | MatrixOp::Logarithm | MatrixOp::SquareRoot => {}
            }
        }
        Ok(())
    }

    fn need(&self, holds: bool, rule: &'static str) -> Result<()> {
        ensure(holds, self.op.kernel(), rule)
    }

    /// What begins with L and U.
    fn eliminate<T: Scalar>(&mut self, n: usize, scratch: &mut [T]) -> Result<()> {
        let (size, rhs) = (self.sizes.rows, self.sizes.rhs);
        let (a, order) = scratch.split_at_mut(size * size);
        let mut a = Mat::new(a, size, size);
        let order = &mut bytemuck::cast_slice_mut::<T, u32>(order)[..size];
        let is_adjoint =
            matches!(self.op, MatrixOp::Inverse { adjoint: true } | MatrixOp::Solve { adjoint: true });
        copy(self.input::<T>(0, n, size * size)?, &mut a, is_adjoint);
        let is_odd = lu::factor(&mut a, order);
        let sign = if is_odd { -T::ONE } else { T::ONE };
        match self.op {
            MatrixOp::Determinant => {
                let product = (0..size).fold(T::ONE, |product, i| product * a.at(i, i));
                self.output::<T>(0, n, 1)?[0] = sign * product;
            }
            MatrixOp::LogDeterminant => {
                let zero = T::Real::of(0.0);
                let (mut sign, mut sum) = (sign, zero);
                for i in 0..size {
                    let entry = a.at(i, i);
                    sign = sign * (entry / T::real(entry.abs()));
                    sum = sum + entry.abs().log();
                }
                if !sum.to_f64().is_finite() {
                    let infinity = T::Real::of(f64::INFINITY);
                    (sign, sum) = (T::ZERO, if sum > zero { infinity } else { -infinity });
                }
                self.output::<T>(0, n, 1)?[0] = sign;
                self.output::<T>(1, n, 1)?[0] = T::real(sum);
            }
            MatrixOp::Lu => {
                self.need(lu::is_invertible(&a), "the matrix is not invertible")?;
                self.output::<T>(0, n, size * size)?.copy_from_slice(a.data);
                if self.outputs.get(1).is_some_and(|order| order.dtype() == DType::I64) {
                    self.output::<i64>(1, n, size)?.iter_mut().zip(order).for_each(|(p, i)| *p = *i as i64);
                } else {
                    self.output::<i32>(1, n, size)?.iter_mut().zip(order).for_each(|(p, i)| *p = *i as i32);
                }
            }
            MatrixOp::Inverse { .. } => {
                self.need(lu::is_invertible(&a), "the input is not invertible")?;
                let mut x = Mat::new(self.output::<T>(0, n, size * size)?, size, size);
                x.data.fill(T::ZERO);
                order.iter().enumerate().for_each(|(row, from)| x.set(row, *from as usize, T::ONE));
                lu::solve(&a, &mut x);
            }
            _ => {
                // Where nothing is solved TensorFlow does not look.
                self.need(rhs == 0 || lu::is_invertible(&a), "the input matrix is not invertible")?;
                let b = self.input::<T>(1, n, size * rhs)?;
                let mut x = Mat::new(self.output::<T>(0, n, size * rhs)?, size, rhs);
                for (row, from) in order.iter().enumerate() {
                    x.data[row * rhs..][..rhs].copy_from_slice(&b[*from as usize * rhs..][..rhs]);
                }
                lu::solve(&a, &mut x);
            }
        }
        Ok(())
    }

    fn triangular<T: Scalar>(&mut self, n: usize, lower: bool, adjoint: bool) -> Result<()> {
        let (size, rhs) = (self.sizes.rows, self.sizes.rhs);
        let a = self.input::<T>(0, n, size * size)?;
        let b = self.input::<T>(1, n, size * rhs)?;
        let mut x = Mat::new(self.output::<T>(0, n, size * rhs)?, size, rhs);
        x.data.copy_from_slice(b);
        if adjoint {
            lu::solve_triangular(|row, col| a[col * size + row].conj(), size, !lower, &mut x);
        } else {
            lu::solve_triangular(|row, col| a[row * size + col], size, lower, &mut x);
        }
        Ok(())
    }

    fn cholesky<T: Scalar>(&mut self, n: usize) -> Result<()> {
        let size = self.sizes.rows;
        let a = self.input::<T>(0, n, size * size)?;
        let mut l = Mat::new(self.output::<T>(0, n, size * size)?, size, size);
        l.data.copy_from_slice(a);
        if !lu::cholesky(&mut l) {
            // As TensorFlow says that there is none, so that other matrices have theirs: of complex numbers it makes zeros.
            let none = if T::IS_COMPLEX { T::ZERO } else { T::real(T::Real::of(f64::NAN)) };
            for row in 0..size {
                for col in 0..size {
                    l.set(row, col, if col <= row { none } else { T::ZERO });
                }
            }
        }
        Ok(())
    }

    fn least_squares<T: Scalar>(&mut self, n: usize, fast: bool, scratch: &mut [T]) -> Result<()>
    where
        T::Real: Limits,
    {
        let MatrixSizes { rows, cols, rhs } = self.sizes;
        let kernel = self.op.kernel();
        let rule = "the weight is one float64";
        let weight = self.inputs.get(2).ok_or(KernelError::Invalid { kernel, rule })?;
        let &[weight] = values::<f64>(weight.bytes(), kernel)? else {
            return Err(KernelError::Invalid { kernel, rule });
        };
        let (a, b) = (self.input::<T>(0, n, rows * cols)?, self.input::<T>(1, n, rows * rhs)?);
        let least = rows.min(cols);
        let mut x = Mat::new(self.output::<T>(0, n, cols * rhs)?, cols, rhs);
        if fast {
            let is_definite = normal_equations((a, rows, cols), b, T::Real::of(weight), &mut x, scratch);
            let rule = "the matrix has full rank; try a larger l2_regularizer, or fast=false";
            return self.need(is_definite, rule);
        }
        let (values, scratch) = scratch.split_at_mut(least);
        let (u, scratch) = scratch.split_at_mut(rows * least);
        let (v, scratch) = scratch.split_at_mut(cols * least);
        let (y, scratch) = scratch.split_at_mut(least * rhs);
        let (mut u, mut v) = (Mat::new(u, rows, least), Mat::new(v, cols, least));
        let vectors = Vectors { u: Some(&mut u), v: Some(&mut v) };
        let is_found = orthogonal::svd(a, (rows, cols), values, vectors, scratch);
        let mut y = Mat::new(y, least, rhs);
        let threshold = T::Real::EPSILON * T::Real::of(least as f64);
        let largest = values.first().map_or(T::Real::of(0.0), |x| x.re());
        for row in 0..least {
            for col in 0..rhs {
                let sum = (0..rows).fold(T::ZERO, |sum, k| sum + u.at(k, row).conj() * b[k * rhs + col]);
                let is_zero = !(values[row].re() > threshold * largest);
                y.set(row, col, if is_zero { T::ZERO } else { sum / values[row] });
            }
        }
        for row in 0..cols {
            for col in 0..rhs {
                x.set(row, col, (0..least).fold(T::ZERO, |sum, k| sum + v.at(row, k) * y.at(k, col)));
            }
        }
        self.need(is_found, "every element is finite")
    }

    fn qr<T: Scalar>(&mut self, n: usize, full: bool, scratch: &mut [T]) -> Result<()>
    where
        T::Real: Limits,
    {
        let MatrixSizes { rows, cols, .. } = self.sizes;
        let least = rows.min(cols);
        let inner = if full { rows } else { least };
        let (a, taus) = scratch.split_at_mut(rows * cols);
        let mut a = Mat::new(a, rows, cols);
        a.data.copy_from_slice(self.input::<T>(0, n, rows * cols)?);
        orthogonal::qr(&mut a, taus);
        orthogonal::make_q(&a, taus, &mut Mat::new(self.output::<T>(0, n, rows * inner)?, rows, inner));
        let mut r = Mat::new(self.output::<T>(1, n, inner * cols)?, inner, cols);
        for row in 0..inner {
            for col in 0..cols {
                r.set(row, col, if col >= row { a.at(row, col) } else { T::ZERO });
            }
        }
        Ok(())
    }

    fn svd<T: Scalar>(&mut self, n: usize, vectors: bool, full: bool, scratch: &mut [T]) -> Result<()>
    where
        T::Real: Limits,
    {
        let MatrixSizes { rows, cols, .. } = self.sizes;
        let least = rows.min(cols);
        debug_assert!(svd_scratch(rows, cols) <= scratch.len());
        let a = self.input::<T>(0, n, rows * cols)?;
        let kernel = self.op.kernel();
        let rule = "the outputs are the values and two matrices";
        let [values, u, v] = &mut self.outputs[..] else {
            return Err(KernelError::Invalid { kernel, rule });
        };
        let part = |of: &mut TensorViewMut<'_>, elements: usize| (n * elements, elements, of.bytes().len());
        let (first, count, _) = part(values, least);
        let values = values_mut::<T>(values.bytes(), kernel)?
            .get_mut(first..first + count)
            .ok_or(KernelError::Invalid { kernel, rule })?;
        if !vectors {
            let none = Vectors { u: None, v: None };
            if !orthogonal::svd(a, (rows, cols), values, none, scratch) {
                values.fill(T::real(T::Real::of(f64::NAN)));
            }
            return Ok(());
        }
        let (u_cols, v_cols) = if full { (rows, cols) } else { (least, least) };
        let (u, v) = (values_mut::<T>(u.bytes(), kernel)?, values_mut::<T>(v.bytes(), kernel)?);
        let own = |all: &mut [T], elements: usize| -> Option<()> {
            all.get(n * elements..(n + 1) * elements).map(drop)
        };
        if own(u, rows * u_cols).is_none() || own(v, cols * v_cols).is_none() {
            return Err(KernelError::Invalid { kernel, rule });
        }
        let mut u = Mat::new(&mut u[n * rows * u_cols..], rows, u_cols);
        let mut v = Mat::new(&mut v[n * cols * v_cols..], cols, v_cols);
        let vectors = Vectors { u: Some(&mut u), v: Some(&mut v) };
        if !orthogonal::svd(a, (rows, cols), values, vectors, scratch) {
            [values, u.data, v.data].into_iter().for_each(|all| all.fill(T::real(T::Real::of(f64::NAN))));
        }
        Ok(())
    }

    fn self_adjoint_eig<T: Scalar>(&mut self, n: usize, scratch: &mut [T]) -> Result<()>
    where
        T::Real: Limits,
    {
        let size = self.sizes.rows;
        let (a, scratch) = scratch.split_at_mut(size * size);
        let (values, scratch) = scratch.split_at_mut(size);
        let (subdiagonal, taus) = scratch.split_at_mut(size);
        let reals = |x| -> &mut [T::Real] { bytemuck::cast_slice_mut::<T, T::Real>(x) };
        let (values, subdiagonal) = (&mut reals(values)[..size], &mut reals(subdiagonal)[..size]);
        let mut a = Mat::new(a, size, size);
        a.data.copy_from_slice(self.input::<T>(0, n, size * size)?);
        let has_vectors = !matches!(self.op, MatrixOp::SelfAdjointEig { vectors: false });
        let is_found = size == 0 || eigen::hermitian(&mut a, values, subdiagonal, taus, has_vectors);
        self.need(is_found, NOT_FOUND)?;
        let fill = |to: &mut [T], values: &[T::Real]| {
            to.iter_mut().zip(values).for_each(|(to, x)| *to = T::real(*x));
        };
        if self.op == MatrixOp::SelfAdjointEigRows {
            let rows = self.output::<T>(0, n, (size + 1) * size)?;
            fill(&mut rows[..size], values);
            rows[size..].copy_from_slice(a.data);
            return Ok(());
        }
        fill(self.output::<T>(0, n, size)?, values);
        if has_vectors {
            self.output::<T>(1, n, size * size)?.copy_from_slice(a.data);
        }
        Ok(())
    }

    fn eig<T: Scalar>(&mut self, has_vectors: bool, scratch: &mut [u8]) -> Result<()>
    where
        T::Real: Limits,
    {
        let size = self.sizes.rows;
        let scratch = values_mut::<T>(scratch, self.op.kernel())?;
        let (a, scratch) = scratch.split_at_mut(size * size);
        let (basis, scratch) = scratch.split_at_mut(size * size);
        let (work, scratch) = scratch.split_at_mut(size * size);
        let (taus, found) = scratch.split_at_mut(size);
        let [mut a, mut basis, mut work] = [a, basis, work].map(|of| Mat::new(of, size, size));
        for n in 0..self.count {
            a.data.copy_from_slice(self.input::<T>(0, n, size * size)?);
            let is_found = eigen::general(&mut a, found, &mut basis, taus, &mut work, has_vectors);
            self.need(is_found, NOT_FOUND)?;
            self.output::<T>(0, n, size)?.copy_from_slice(&found[..size]);
            if has_vectors {
                self.output::<T>(1, n, size * size)?.copy_from_slice(basis.data);
            }
        }
        Ok(())
    }

    fn real_eig<R: Limits + Scalar<Real = R>>(&mut self, has_vectors: bool, scratch: &mut [u8]) -> Result<()>
    where
        Complex<R>: Scalar<Real = R>,
    {
        let size = self.sizes.rows;
        let (complex, reals) = values_mut::<Complex<R>>(scratch, self.op.kernel())?.split_at_mut(2 * size);
        let (found, y) = complex.split_at_mut(size);
        let reals: &mut [R] = bytemuck::cast_slice_mut(reals);
        let (a, reals) = reals.split_at_mut(size * size);
        let (basis, taus) = reals.split_at_mut(size * size);
        let [mut a, mut basis] = [a, basis].map(|of| Mat::new(of, size, size));
        for n in 0..self.count {
            a.data.copy_from_slice(self.input::<R>(0, n, size * size)?);
            let is_found = real_eigen::schur(&mut a, &mut basis, taus, found);
            self.need(is_found, NOT_FOUND)?;
            self.output::<Complex<R>>(0, n, size)?.copy_from_slice(found);
            if has_vectors {
                let mut to = Mat::new(self.output::<Complex<R>>(1, n, size * size)?, size, size);
                real_eigen::vectors(&a, &basis, found, &mut to, y);
            }
        }
        Ok(())
    }

    fn tridiagonal<T: Scalar>(
        &mut self,
        n: usize,
        (pivots, perturbs): (bool, bool),
        scratch: &mut [T],
    ) -> Result<()>
    where
        T::Real: Limits,
    {
        let MatrixSizes { cols, rhs, .. } = self.sizes;
        let diagonals = self.input::<T>(0, n, 3 * cols)?;
        let b = self.input::<T>(1, n, cols * rhs)?;
        let of = [0, 1, 2].map(|k| &diagonals[k * cols..][..cols]);
        let mut x = Mat::new(self.output::<T>(0, n, cols * rhs)?, cols, rhs);
        x.data.copy_from_slice(b);
        if pivots && perturbs {
            tridiagonal::solve_perturbed(of, &mut x, scratch);
        } else if !tridiagonal::solve(of, &mut x, scratch, pivots) {
            // TensorFlow goes on with what is no number.
            x.data.fill(T::real(T::Real::of(f64::NAN)));
        }
        Ok(())
    }

    fn multiply_tridiagonal<T: Scalar>(&mut self, n: usize) -> Result<()> {
        let MatrixSizes { cols, rhs, .. } = self.sizes;
        let of = [self.input::<T>(0, n, cols)?, self.input::<T>(1, n, cols)?, self.input::<T>(2, n, cols)?];
        let b = self.input::<T>(3, n, cols * rhs)?;
        tridiagonal::multiply(of, b, &mut Mat::new(self.output::<T>(0, n, cols * rhs)?, cols, rhs));
        Ok(())
    }

    fn banded<T: Scalar>(&mut self, n: usize, lower: bool, adjoint: bool) -> Result<()> {
        let MatrixSizes { rows, cols, rhs } = self.sizes;
        let bands = self.input::<T>(0, n, rows * cols)?;
        let b = self.input::<T>(1, n, cols * rhs)?;
        let mut x = Mat::new(self.output::<T>(0, n, cols * rhs)?, cols, rhs);
        x.data.copy_from_slice(b);
        tridiagonal::solve_banded(bands, cols, lower, adjoint, &mut x);
        // TensorFlow looks at the first matrix alone, and goes on with the infinities of the others.
        let is_invertible = (self.index)(0, n) > 0 || tridiagonal::is_invertible(bands, cols, lower);
        self.need(is_invertible, "the input matrix is not invertible")
    }
}

/// The least squares solution by Cholesky's decomposition of A* A or, with fewer rows than columns, A A*. False where that
/// is not positive definite.
fn normal_equations<T: Scalar>(
    (a, rows, cols): (&[T], usize, usize),
    b: &[T],
    weight: T::Real,
    x: &mut Mat<'_, T>,
    scratch: &mut [T],
) -> bool {
    let (rhs, size) = (x.cols, rows.min(cols));
    let is_tall = rows >= cols;
    let at = |row: usize, col: usize| a[row * cols + col];
    let (gram, y) = scratch.split_at_mut(size * size);
    let (mut gram, mut y) = (Mat::new(gram, size, size), Mat::new(y, size, rhs));
    for i in 0..size {
        for j in 0..=i {
            let sum = if is_tall {
                (0..rows).fold(T::ZERO, |sum, k| sum + at(k, i).conj() * at(k, j))
            } else {
                (0..cols).fold(T::ZERO, |sum, k| sum + at(i, k) * at(j, k).conj())
            };
            gram.set(i, j, sum);
        }
        if weight > T::Real::of(0.0) {
            gram.add(i, i, T::real(weight));
        }
    }
    if !lu::cholesky(&mut gram) {
        return false;
    }
    // A* times from the left, before or after the equations.
    let times_adjoint = |row: usize, col: usize, from: &[T]| {
        (0..rows).fold(T::ZERO, |sum, k| sum + at(k, row).conj() * from[k * rhs + col])
    };
    for row in 0..size {
        for col in 0..rhs {
            y.set(row, col, if is_tall { times_adjoint(row, col, b) } else { b[row * rhs + col] });
        }
    }
    lu::solve_triangular(|row, col| gram.at(row, col), size, true, &mut y);
    lu::solve_triangular(|row, col| gram.at(col, row).conj(), size, false, &mut y);
    for row in 0..cols {
        for col in 0..rhs {
            x.set(row, col, if is_tall { y.at(row, col) } else { times_adjoint(row, col, y.data) });
        }
    }
    true
}

#[cfg(test)]
mod tests;
