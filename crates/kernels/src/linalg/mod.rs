//! Linear algebra on matrices of any size, one after the other: equations, inverses, determinants and decompositions of
//! float32, float64, complex64 and complex128.
//!
//! What mathematics leaves open, signs of columns and the order of eigenvalues, is as TensorFlow's library, Eigen, has it,
//! which is why the methods are its own (see [`orthogonal`], [`eigen`] and [`real_eigen`]). All memory is given.

// Rows and columns of several matrices are named by the same number.
#![allow(clippy::needless_range_loop)]

mod cross;
mod eigen;
mod functions;
mod lu;
mod matrix;
mod orthogonal;
mod real_eigen;
mod run;
mod scalar;
mod tridiagonal;

pub use cross::cross;
pub use run::{MatrixOp, MatrixSizes, solve_matrices};
