//! Pure compute on slices: all of TightFit's vector code, and nearly all of its unsafe code.
//!
//! Invariant: kernels never allocate. Inputs, outputs and scratch are handed in, and their lengths are checked before
//! anything is touched. Results do not depend on the number of threads.

mod activation;
mod conv2d;
mod cpu;
mod depthwise;
mod double;
mod error;
mod gemm;
mod math;
mod matmul;
mod matmul_any;
mod pool;
mod simd;
mod strided_sum;
pub mod threads;

pub use activation::Activation;
pub use conv2d::{Conv2d, Conv2dParams, Window};
pub use cpu::Isa;
pub use depthwise::{DepthwiseConv2d, DepthwiseParams};
pub use double::{batch_matmul_f64, conv2d_f64, matmul_f64};
pub use error::KernelError;
pub use gemm::{Block, Epilogue, PackedLayout, Residual, WeightForm, Weights};
pub use matmul::{BatchMatMul, MatMul, MatrixStrides};
pub use pool::{Pool2d, PoolKind, mean_middle_axis};
pub use strided_sum::{StridedDim, strided_sum};
pub use threads::ThreadPool;

#[cfg(not(target_endian = "little"))]
compile_error!("weights are used as they stand in files, which are little-endian");
