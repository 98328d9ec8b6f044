//! Linear algebra on the last two dimensions: MatrixInverse, MatrixDeterminant, LogMatrixDeterminant, MatrixSolve,
//! MatrixSolveLs, MatrixTriangularSolve, BandedTriangularSolve, TridiagonalSolve, TridiagonalMatMul, Cholesky, Qr, Svd, Lu,
//! SelfAdjointEig(V2), Eig, MatrixExponential, MatrixLogarithm (of complex numbers), MatrixSquareRoot, and the legacy names that
//! begin with Batch.
//!
//! Inputs: matrices `[..batch, rows, cols]` of float32, float64, complex64 or complex128 (MatrixInverse and Qr of float16
//! are converted around it), and for equations right-hand sides `[..batch, rows, columns]`. The batches of
//! (Batch)MatrixTriangularSolve and BandedTriangularSolve are broadcast; of the others they are the same. The
//! values are TensorFlow's, signs included, but for singular vectors of matrices of 16 columns and more, whose signs may
//! differ. A matrix that is not invertible is refused as the model runs; of one that is not positive definite, or has a NaN,
//! Cholesky and Svd are NaN, and Cholesky of complex numbers is zeros.

use tightfit_core::{DType, Shape, TensorView, TensorViewMut};
use tightfit_kernels::{MatrixOp, MatrixSizes, solve_matrices};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::shared;

macro_rules! rows {
    ($($name:literal => $op:expr;)*) => {
        pub(crate) const OPS: &[Registration] = &[$(Registration {
            name: $name,
            import: |a| {
                let index = if $name == "Lu" { a.dtype_or("output_idx_type", DType::I32)? } else { DType::I32 };
                Ok(Box::new(Decompose { name: $name, op: made($op, a)?, index }))
            },
        }),*];
    };
}

type Make = fn(&Attributes<'_>) -> Result<MatrixOp, OpError>;

fn made(make: Make, attributes: &Attributes<'_>) -> Result<MatrixOp, OpError> {
    make(attributes)
}

const INVERSE: Make = |a| Ok(MatrixOp::Inverse { adjoint: a.bool_or("adjoint", false)? });
const DETERMINANT: Make = |_| Ok(MatrixOp::Determinant);
const SOLVE: Make = |a| Ok(MatrixOp::Solve { adjoint: a.bool_or("adjoint", false)? });
const LEAST_SQUARES: Make = |a| Ok(MatrixOp::LeastSquares { fast: a.bool_or("fast", true)? });
const CHOLESKY: Make = |_| Ok(MatrixOp::Cholesky);
const SELF_ADJOINT: Make = |_| Ok(MatrixOp::SelfAdjointEigRows);
const SELF_ADJOINT_V2: Make = |a| Ok(MatrixOp::SelfAdjointEig { vectors: a.bool_or("compute_v", true)? });
const TRIANGULAR: Make = |a| {
    Ok(MatrixOp::SolveTriangular { lower: a.bool_or("lower", true)?, adjoint: a.bool_or("adjoint", false)? })
};
const BANDED: Make =
    |a| Ok(MatrixOp::SolveBanded { lower: a.bool_or("lower", true)?, adjoint: a.bool_or("adjoint", false)? });
const SVD: Make = |a| {
    Ok(MatrixOp::Svd { vectors: a.bool_or("compute_uv", true)?, full: a.bool_or("full_matrices", false)? })
};
const TRIDIAGONAL: Make = |a| {
    let (pivots, perturbs) = (a.bool_or("partial_pivoting", true)?, a.bool_or("perturb_singular", false)?);
    if perturbs && !pivots {
        return Err(OpError::attribute("perturb_singular", "is true, which needs partial_pivoting"));
    }
    Ok(MatrixOp::SolveTridiagonal { pivots, perturbs })
};

rows! {
    "MatrixInverse" => INVERSE;
    "MatrixDeterminant" => DETERMINANT;
    "LogMatrixDeterminant" => |_| Ok(MatrixOp::LogDeterminant);
    "MatrixSolve" => SOLVE;
    "MatrixSolveLs" => LEAST_SQUARES;
    "MatrixTriangularSolve" => TRIANGULAR;
    "BandedTriangularSolve" => BANDED;
    "TridiagonalSolve" => TRIDIAGONAL;
    "TridiagonalMatMul" => |_| Ok(MatrixOp::MultiplyTridiagonal);
    "Cholesky" => CHOLESKY;
    "Qr" => |a| Ok(MatrixOp::Qr { full: a.bool_or("full_matrices", false)? });
    "Svd" => SVD;
    "Lu" => |_| Ok(MatrixOp::Lu);
    "SelfAdjointEig" => SELF_ADJOINT;
    "SelfAdjointEigV2" => SELF_ADJOINT_V2;
    "Eig" => |a| Ok(MatrixOp::Eig { vectors: a.bool_or("compute_v", true)? });
    "MatrixExponential" => |_| Ok(MatrixOp::Exponential);
    "MatrixLogarithm" => |_| Ok(MatrixOp::Logarithm);
    "MatrixSquareRoot" => |_| Ok(MatrixOp::SquareRoot);
    "BatchMatrixInverse" => INVERSE;
    "BatchMatrixDeterminant" => DETERMINANT;
    "BatchMatrixSolve" => SOLVE;
    "BatchMatrixSolveLs" => LEAST_SQUARES;
    "BatchMatrixTriangularSolve" => TRIANGULAR;
    "BatchCholesky" => CHOLESKY;
    "BatchSelfAdjointEig" => SELF_ADJOINT;
    "BatchSelfAdjointEigV2" => SELF_ADJOINT_V2;
    "BatchSvd" => SVD;
}

/// The operator.
#[derive(Debug)]
struct Decompose {
    name: &'static str,
    op: MatrixOp,
    /// The type of an order of rows.
    index: DType,
}

/// The shape of matrices with what stands before it.
#[derive(Debug, Clone)]
struct Matrices {
    batch: Vec<Dim>,
    rows: Dim,
    cols: Dim,
}

impl Matrices {
    /// `None` where the rank is not known.
    fn of(index: usize, fact: &Fact) -> Result<Option<Matrices>, OpError> {
        match fact.dims.get() {
            None => Ok(None),
            Some([batch @ .., rows, cols]) => {
                Ok(Some(Matrices { batch: batch.to_vec(), rows: *rows, cols: *cols }))
            }
            Some(_) => Err(OpError::input(index, format!("is of shape {}; matrices are needed", fact.dims))),
        }
    }

    fn dims(&self, own: &[Dim]) -> Dims {
        Dims::new([&self.batch[..], own].concat())
    }
}

/// The dimension that two must be; an error where they are not.
fn same(index: usize, a: Dim, b: Dim, is_bound: bool) -> Result<Dim, OpError> {
    match (a.known(), b.known()) {
        (Some(x), Some(y)) if x != y && !is_bound => {
            Err(OpError::input(index, format!("has {y} elements along a dimension that must have {x}")))
        }
        (None, Some(_)) => Ok(b),
        _ => Ok(a),
    }
}

fn least(a: Dim, b: Dim) -> Dim {
    match (a.known(), b.known()) {
        (Some(a), Some(b)) => Dim::Known(a.min(b)),
        _ if a == b => a,
        _ => Dim::Unknown,
    }
}

impl Decompose {
    /// True where the batches of the inputs are broadcast.
    fn broadcasts(&self) -> bool {
        matches!(self.op, MatrixOp::SolveTriangular { .. } | MatrixOp::SolveBanded { .. })
    }

    /// True where the ranks of the inputs must be the same as a file is read, though others broadcast as it runs.
    fn needs_one_rank(&self) -> bool {
        self.op == MatrixOp::MultiplyTridiagonal
    }

    /// The number of the right-hand side among the inputs.
    fn rhs_at(&self) -> Option<usize> {
        match self.op {
            MatrixOp::Solve { .. }
            | MatrixOp::LeastSquares { .. }
            | MatrixOp::SolveTriangular { .. }
            | MatrixOp::SolveBanded { .. }
            | MatrixOp::SolveTridiagonal { .. } => Some(1),
            MatrixOp::MultiplyTridiagonal => Some(3),
            _ => None,
        }
    }

    fn needs_square(&self) -> bool {
        !matches!(
            self.op,
            MatrixOp::LeastSquares { .. }
                | MatrixOp::Qr { .. }
                | MatrixOp::Svd { .. }
                | MatrixOp::SolveBanded { .. }
                | MatrixOp::SolveTridiagonal { .. }
                | MatrixOp::MultiplyTridiagonal
        )
    }

    /// The batch of the result.
    fn joined(&self, a: &Matrices, b: &Matrices, at: usize, is_bound: bool) -> Result<Vec<Dim>, OpError> {
        if self.broadcasts() {
            let dims = Dims::new(a.batch.clone()).broadcast(&Dims::new(b.batch.clone()));
            let dims = dims.and_then(|dims| dims.get().map(<[Dim]>::to_vec));
            return dims
                .ok_or_else(|| OpError::input(at, "has batches that do not broadcast with input 0's"));
        }
        if a.batch.len() != b.batch.len() {
            return Err(OpError::input(at, "has other batches than input 0"));
        }
        a.batch.iter().zip(&b.batch).map(|(a, b)| same(at, *a, *b, is_bound)).collect()
    }

    /// The outputs' shapes of equations.
    fn solved(&self, of: &Matrices, b: &Matrices, at: usize, is_bound: bool) -> Result<Dims, OpError> {
        let batch = self.joined(of, b, at, is_bound)?;
        let rows = match self.op {
            MatrixOp::LeastSquares { .. } => {
                same(at, of.rows, b.rows, is_bound)?;
                of.cols
            }
            MatrixOp::Solve { .. } | MatrixOp::SolveTriangular { .. } => same(at, of.rows, b.rows, is_bound)?,
            _ => same(at, of.cols, b.rows, is_bound)?,
        };
        Ok(Matrices { batch, rows, cols: b.cols }.dims(&[rows, b.cols]))
    }

    /// The outputs' shapes of everything else.
    fn decomposed(&self, of: &Matrices) -> Vec<Dims> {
        let (rows, cols) = (of.rows, of.cols);
        let inner = least(rows, cols);
        let none = || Dims::new([Dim::Known(0)]);
        let vectors_or_none = |vectors: bool| if vectors { of.dims(&[rows, rows]) } else { none() };
        match self.op {
            MatrixOp::Determinant => vec![of.dims(&[])],
            MatrixOp::LogDeterminant => vec![of.dims(&[]); 2],
            MatrixOp::Qr { full } => {
                let inner = if full { rows } else { inner };
                vec![of.dims(&[rows, inner]), of.dims(&[inner, cols])]
            }
            MatrixOp::Svd { vectors: false, .. } => vec![of.dims(&[inner]), none(), none()],
            MatrixOp::Svd { full, .. } => {
                let (u, v) = if full { (rows, cols) } else { (inner, inner) };
                vec![of.dims(&[inner]), of.dims(&[rows, u]), of.dims(&[cols, v])]
            }
            MatrixOp::Lu => vec![of.dims(&[rows, rows]), of.dims(&[rows])],
            MatrixOp::SelfAdjointEigRows => vec![of.dims(&[rows.plus(Dim::Known(1)), rows])],
            MatrixOp::SelfAdjointEig { vectors } | MatrixOp::Eig { vectors } => {
                vec![of.dims(&[rows]), vectors_or_none(vectors)]
            }
            _ => vec![of.dims(&[rows, rows])],
        }
    }

    fn outputs(&self) -> usize {
        match self.op {
            MatrixOp::Svd { .. } => 3,
            MatrixOp::LogDeterminant
            | MatrixOp::Qr { .. }
            | MatrixOp::Lu
            | MatrixOp::SelfAdjointEig { .. }
            | MatrixOp::Eig { .. } => 2,
            _ => 1,
        }
    }

    /// Sizes of one matrix; inputs are of the shapes that were inferred.
    fn sizes(&self, shape: impl Fn(usize) -> Shape) -> MatrixSizes {
        let of = shape(0);
        let at = |shape: &Shape, back: usize| {
            shape.rank().checked_sub(back).and_then(|axis| shape.get(axis).copied()).unwrap_or(0)
        };
        let rhs = self.rhs_at().map_or(0, |input| at(&shape(input), 1));
        MatrixSizes { rows: at(&of, 2), cols: at(&of, 1), rhs }
    }

    fn dtypes(&self, of: DType) -> Vec<DType> {
        match self.op {
            MatrixOp::Lu => vec![of, self.index],
            MatrixOp::Eig { .. } => {
                let complex = if matches!(of, DType::F32 | DType::C64) { DType::C64 } else { DType::C128 };
                vec![complex; 2]
            }
            _ => vec![of; self.outputs()],
        }
    }
}

/// Which matrix of a tensor goes with the n-th of the result, where batches are broadcast.
fn matrix_of(shape: &Shape, batch: &[usize], n: usize) -> usize {
    let own = &shape[..shape.rank().saturating_sub(2)];
    let (mut rest, mut stride, mut place) = (n, 1, 0);
    for back in 1..=batch.len() {
        let dim = batch[batch.len() - back];
        let at = rest % dim.max(1);
        rest /= dim.max(1);
        if let Some(own) = own.len().checked_sub(back).map(|axis| own[axis]) {
            place += if own == 1 { 0 } else { at * stride };
            stride *= own;
        }
    }
    place
}

impl Operator for Decompose {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let first = shared::input(inputs, 0)?;
        shared::need_type(0, first, &[DType::F32, DType::F64, DType::C64, DType::C128])?;
        let is_bound = inputs.iter().any(|fact| fact.is_bound);
        let of = Matrices::of(0, first)?;
        if let (true, Some(of)) = (self.needs_square(), &of)
            && same(0, of.rows, of.cols, is_bound).is_err()
        {
            return Err(OpError::input(0, format!("is of shape {}; square matrices are needed", first.dims)));
        }
        if let (MatrixOp::SolveBanded { .. }, false) = (self.op, is_bound) {
            let empty = inputs.iter().position(|fact| fact.dims.elements() == Dim::Known(0));
            if let Some(empty) = empty {
                return Err(OpError::input(empty, "has no elements"));
            }
            if of
                .as_ref()
                .and_then(|of| of.rows.size().zip(of.cols.size()))
                .is_some_and(|(bands, size)| bands > size)
            {
                return Err(OpError::input(
                    0,
                    format!("is of shape {}, more bands than a row has elements", first.dims),
                ));
            }
        }
        let of = of.map(|of| match self.needs_square() {
            true if of.rows.known().is_none() => Matrices { rows: of.cols, ..of },
            _ => of,
        });
        let Some(at) = self.rhs_at() else {
            let dims = of.map_or(vec![Dims::UNKNOWN; self.outputs()], |of| self.decomposed(&of));
            let none = match self.op {
                MatrixOp::Svd { vectors: false, .. } => 1..3,
                MatrixOp::SelfAdjointEig { vectors: false } | MatrixOp::Eig { vectors: false } => 1..2,
                _ => 0..0,
            };
            let dtypes = self.dtypes(first.dtype);
            let facts = dims.into_iter().zip(dtypes).enumerate().map(|(i, (dims, dtype))| {
                let dims = if none.contains(&i) { Dims::new([Dim::Known(0)]) } else { dims };
                Fact::new(dtype, dims)
            });
            return Ok(facts.collect());
        };
        let rhs = shared::input(inputs, at)?;
        shared::need_type(at, rhs, &[first.dtype])?;
        self.check_others(inputs, of.as_ref(), is_bound)?;
        let dims = match (of, Matrices::of(at, rhs)?) {
            (Some(of), Some(b)) => self.solved(&of, &b, at, is_bound)?,
            _ => Dims::UNKNOWN,
        };
        Ok(vec![Fact::new(first.dtype, dims)])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        let mut ranks = inputs.iter().filter_map(|input| input.dims.rank());
        let first = ranks.next();
        match ranks.find(|rank| Some(*rank) != first) {
            Some(other) if self.needs_one_rank() => {
                Err(OpError::Invalid(format!("has inputs of ranks {} and {other}", first.unwrap_or(other))))
            }
            _ => Ok(()),
        }
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let Some(first) = call.inputs.first() else { return Memory::default() };
        let shape = |input: usize| call.inputs.get(input).map_or(Shape::SCALAR, |info| info.shape);
        Memory::scratch(self.op.scratch_bytes(self.sizes(shape), first.dtype))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let sizes = self.sizes(|input| run.shape(input));
        let result = run.output_shape(0);
        // The batch of the result: what stands before one result's own dimensions.
        let own = match self.op {
            MatrixOp::Determinant | MatrixOp::LogDeterminant => 0,
            MatrixOp::Svd { .. } | MatrixOp::SelfAdjointEig { .. } | MatrixOp::Eig { .. } => 1,
            _ => 2,
        };
        let batch = &result[..result.rank().saturating_sub(own)];
        let count = batch.iter().product();
        const MOST: usize = 4;
        let inputs = run.inputs().min(MOST);
        let first = run.input(0)?;
        let mut views: [TensorView<'_>; MOST] = [first; MOST];
        for (input, view) in views[..inputs].iter_mut().enumerate() {
            *view = run.input(input)?;
        }
        let index = |input: usize, n: usize| {
            if self.broadcasts() { matrix_of(views[input].shape(), batch, n) } else { n }
        };
        if matches!(self.op, MatrixOp::SolveBanded { .. })
            && let Some(at) = views[..inputs].iter().position(|view| view.shape().elements() == 0)
        {
            return Err(OpError::input(at, "has no elements; TensorFlow refuses that here"));
        }
        let scratch = run.scratch()?;
        let mut done = |outputs: &mut [TensorViewMut<'_>]| {
            Ok(solve_matrices(self.op, sizes, count, &views[..inputs], &index, outputs, scratch)?)
        };
        match self.outputs() {
            1 => done(&mut [run.output(0)?]),
            2 => done(&mut [run.output(0)?, run.output(1)?]),
            _ => done(&mut [run.output(0)?, run.output(1)?, run.output(2)?]),
        }
    }
}

impl Decompose {
    /// Checks the inputs besides the first and the right-hand side.
    fn check_others(&self, inputs: &[&Fact], of: Option<&Matrices>, is_bound: bool) -> Result<(), OpError> {
        match self.op {
            MatrixOp::LeastSquares { .. } => {
                let weight = shared::input(inputs, 2)?;
                shared::need_type(2, weight, &[DType::F64])?;
                shared::dims_of_rank(2, weight, 0).map(drop)
            }
            MatrixOp::SolveTridiagonal { .. } => match of {
                Some(of) => same(0, Dim::Known(3), of.rows, is_bound).map(drop),
                None => Ok(()),
            },
            MatrixOp::MultiplyTridiagonal => {
                for at in 0..3 {
                    let diagonal = shared::input(inputs, at)?;
                    shared::need_type(at, diagonal, &[inputs[0].dtype])?;
                    let Some(own) = Matrices::of(at, diagonal)? else { continue };
                    same(at, Dim::Known(1), own.rows, is_bound)?;
                    if let Some(of) = of {
                        same(at, of.cols, own.cols, is_bound)?;
                        self.joined(of, &own, at, is_bound)?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tensor, flag, refuses, run, scalar, tensor};
    use tightfit_core::{DType, Shape};

    fn product(a: &Tensor, b: &Tensor, is_second_turned: bool) -> Vec<f64> {
        let (rows, inner) = (a.shape[0], a.shape[1]);
        let (a, b_cols, b) = (a.values::<f64>(), b.shape[1], b.values::<f64>());
        let cols = if is_second_turned { b.len() / b_cols } else { b_cols };
        let at =
            |k: usize, col: usize| if is_second_turned { b[col * b_cols + k] } else { b[k * b_cols + col] };
        let sum = |row: usize, col: usize| (0..inner).map(|k| a[row * inner + k] * at(k, col)).sum::<f64>();
        (0..rows * cols).map(|i| sum(i / cols, i % cols)).collect()
    }

    fn assert_close(a: &[f64], b: &[f64]) {
        assert_eq!(a.len(), b.len());
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9), "{a:?}\n{b:?}");
    }

    fn numbers(count: usize) -> Vec<f64> {
        (0..count).map(|i| (((i + 1) * (i + 1) * (i + 1) * 29 + i * 7) % 101) as f64 / 25.0 - 2.0).collect()
    }

    #[test]
    fn equations_hold() {
        let a = tensor(&[4, 4], &numbers(16));
        let b = tensor(&[4, 2], &numbers(8));
        let x = run("MatrixSolve", &[], &[a.clone(), b.clone()]).unwrap().remove(0);
        assert_close(&product(&a, &x, false), &b.values::<f64>());
        let inverse = run("MatrixInverse", &[], &[a.clone()]).unwrap().remove(0);
        let identity: Vec<f64> = (0..16).map(|i| (i % 5 == 0) as u8 as f64).collect();
        assert_close(&product(&a, &inverse, false), &identity);
        let singular = tensor(&[2, 2], &[1.0f64, 2.0, 2.0, 4.0]);
        refuses("MatrixInverse", &[], &[singular.clone()], "not invertible");
        let zero = run("MatrixDeterminant", &[], &[singular]).unwrap()[0].values::<f64>();
        assert_eq!(zero, [0.0]);
        refuses("MatrixInverse", &[], &[tensor(&[2, 3], &numbers(6))], "square");
        let least =
            run("MatrixSolveLs", &[("fast", flag(false))], &[a, b, scalar(0.0f64)]).unwrap().remove(0);
        assert_close(&least.values::<f64>(), &x.values::<f64>());
    }

    #[test]
    fn functions_of_matrices() {
        let a = tensor(&[2, 2, 2], &[4.0f64, 1.0, 2.0, 3.0, 5.0, 2.0, 0.0, 9.0]);
        let roots = run("MatrixSquareRoot", &[], &[a.clone()]).unwrap()[0].values::<f64>();
        for (root, of) in roots.chunks(4).zip(a.values::<f64>().chunks(4)) {
            let root = tensor(&[2, 2], root);
            assert_close(&product(&root, &root, false), of);
        }
        let none = run("MatrixSquareRoot", &[], &[tensor(&[1, 1], &[-4.0f64])]).unwrap();
        assert!(none[0].values::<f64>()[0].is_nan());
        let diagonal = tensor(&[2, 2], &[1.0f64, 0.0, 0.0, -30.0]);
        let expected = [1f64.exp(), 0.0, 0.0, (-30f64).exp()];
        assert_close(&run("MatrixExponential", &[], &[diagonal]).unwrap()[0].values::<f64>(), &expected);
        refuses("MatrixExponential", &[], &[tensor(&[2, 1], &[1.0f32, 2.0])], "square");
    }

    #[test]
    fn factors_make_up_the_matrix() {
        for (rows, cols) in [(5, 3), (3, 5), (4, 4), (1, 1), (20, 18)] {
            let a = tensor(&[rows, cols], &numbers(rows * cols));
            for full in [false, true] {
                let attributes = [("full_matrices", flag(full))];
                let qr = run("Qr", &attributes, &[a.clone()]).unwrap();
                assert_close(&product(&qr[0], &qr[1], false), &a.values::<f64>());
            }
            let svd = run("Svd", &[], &[a.clone()]).unwrap();
            let (s, mut u) = (svd[0].values::<f64>(), svd[1].values::<f64>());
            assert!(s.windows(2).all(|pair| pair[0] >= pair[1]) && s.iter().all(|s| *s >= 0.0));
            u.iter_mut().enumerate().for_each(|(i, u)| *u *= s[i % s.len()]);
            assert_close(&product(&tensor(&svd[1].shape, &u), &svd[2], true), &a.values::<f64>());
        }
    }

    #[test]
    fn eigenvectors_are_scaled_by_their_values() {
        let n = 7;
        let numbers = numbers(n * n);
        let at = |row: usize, col: usize| numbers[row.max(col) * n + row.min(col)];
        let a = tensor(&[n, n], &(0..n * n).map(|i| at(i / n, i % n)).collect::<Vec<_>>());
        let found = run("SelfAdjointEigV2", &[], &[a.clone()]).unwrap();
        let (e, v) = (found[0].values::<f64>(), found[1].values::<f64>());
        assert!(e.windows(2).all(|pair| pair[0] <= pair[1]));
        let scaled: Vec<f64> = v.iter().enumerate().map(|(i, v)| v * e[i % n]).collect();
        assert_close(&product(&a, &found[1], false), &scaled);
        // The upper half is not looked at.
        let mut lower = a.values::<f64>();
        lower[1] = 99.0;
        assert_eq!(run("SelfAdjointEigV2", &[], &[tensor(&[n, n], &lower)]).unwrap(), found);
        let one_of_two = tensor(&[2, 1, 1], &[-1.0f32, 4.0]);
        let roots = run("Cholesky", &[], &[one_of_two]).unwrap()[0].values::<f32>();
        assert!(roots[0].is_nan() && roots[1] == 2.0);
        // Of complex numbers TensorFlow makes zeros where there is no root.
        let complex = |parts: [f32; 4]| {
            let (dtype, shape) = (DType::C64, Shape::new(&[2, 1, 1]).unwrap());
            Tensor { dtype, shape, ..tensor(&[4], &parts) }
        };
        let roots = run("Cholesky", &[], &[complex([-1.0, 0.0, 4.0, 0.0])]).unwrap();
        assert_eq!(roots, [complex([0.0, 0.0, 2.0, 0.0])]);
    }

    /// What TensorFlow 2.21 gives.
    #[test]
    fn zeros_on_the_diagonal() {
        let bands =
            |first: f32, second: f32| tensor(&[2, 2, 2], &[first, 2.0, 1.0, 1.0, second, 2.0, 1.0, 1.0]);
        let rhs = tensor(&[2, 2, 1], &[1f32; 4]);
        let lower = [("lower", flag(true))];
        let found = run("BandedTriangularSolve", &lower, &[bands(1.0, 0.0), rhs.clone()]).unwrap();
        assert_eq!(found[0].values::<f32>(), [1.0, 0.0, f32::INFINITY, f32::NEG_INFINITY]);
        refuses("BandedTriangularSolve", &lower, &[bands(0.0, 1.0), rhs], "not invertible");
        for pivots in [true, false] {
            let inputs = [tensor(&[3, 2], &[1f64; 6]), tensor(&[2, 1], &[1f64; 2])];
            let found = run("TridiagonalSolve", &[("partial_pivoting", flag(pivots))], &inputs).unwrap();
            assert!(found[0].values::<f64>().iter().all(|value| value.is_nan()));
        }
        let perturbs = [("perturb_singular", flag(true))];
        let inputs = [
            tensor(&[3, 3], &[1f64, 1.0, 9.0, 1.0, 2.0, 1.0, 9.0, 1.0, 1.0]),
            tensor(&[3, 1], &[1f64, 2.0, 3.0]),
        ];
        let found = run("TridiagonalSolve", &perturbs, &inputs).unwrap();
        let most = 9_007_199_254_740_992f64;
        assert_eq!(found[0].values::<f64>(), [-most - 4.0, most + 4.0, -most]);
        let zero = [tensor(&[3, 1], &[0f32; 3]), tensor(&[1, 2], &[1f32, 2.0])];
        let found = run("TridiagonalSolve", &perturbs, &zero).unwrap();
        assert_eq!(found[0].values::<f32>(), [2.835_686_5e37, 5.671_373e37]);
        let none = tensor::<f64>(&[0, 0, 1, 6], &[]);
        let nothing = [none.clone(), none.clone(), none, tensor::<f64>(&[0, 0, 6, 2], &[])];
        let found = run("TridiagonalMatMul", &[], &nothing).unwrap();
        assert_eq!((&found[0].shape[..], found[0].values::<f64>()), (&[0, 0, 6, 2][..], vec![]));
        let one = tensor::<f64>(&[2, 1, 2], &[1.0; 4]);
        let other =
            [one.clone(), tensor::<f64>(&[1, 1, 2], &[1.0; 2]), one, tensor::<f64>(&[2, 2, 1], &[1.0; 4])];
        refuses("TridiagonalMatMul", &[], &other, "input 1");
        let neither = [("perturb_singular", flag(true)), ("partial_pivoting", flag(false))];
        refuses("TridiagonalSolve", &neither, &inputs, "partial_pivoting");
    }

    #[test]
    fn a_singular_matrix_without_right_hand_sides_is_not_looked_at() {
        let inputs = [tensor(&[2, 2], &[1f32, 1.0, 1.0, 1.0]), tensor(&[2, 0], &[0f32; 0])];
        assert_eq!(run("MatrixSolve", &[], &inputs).unwrap()[0].shape[..], [2, 0]);
    }
}
