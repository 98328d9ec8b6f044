//! Sums of products: matrix products, convolutions and sums over strided axes.

pub(crate) mod conv2d;
mod conv2d_f64;
mod conv_transpose;
pub(crate) mod gemm;
pub(crate) mod matmul;
mod matmul_any;
mod sparse_product;
mod strided_sum;
pub(crate) mod weighted;

pub use conv_transpose::ConvTranspose;
pub use conv2d::{Conv2d, Conv2dParams, Conv3dParams};
pub use conv2d_f64::{Term, conv2d_plain, conv3d_plain, conv3d_transpose_plain};
pub use gemm::{Block, Epilogue, PackedLayout, Residual, WeightForm, Weights};
pub use matmul::{BatchMatMul, MatMul, MatrixStrides};
pub use sparse_product::SparseProduct;
pub use strided_sum::{StridedDim, strided_sum};
pub use weighted::WeightedProduct;
