//! Pure compute on slices: all of TightFit's vector code, and nearly all of its unsafe code.
//!
//! Invariant: kernels never allocate. Inputs, outputs and scratch are handed in, and their lengths are checked before
//! anything is touched. Results do not depend on the number of threads.

mod access;
mod activation;
mod binary;
mod blocks;
mod broadcast;
mod cast;
mod channels_first;
mod conv2d;
mod conv2d_f64;
mod cpu;
mod create;
mod cross_entropy;
mod denormals;
mod depthwise;
mod error;
mod fake_quant;
mod functions;
mod gather;
mod gemm;
mod layout;
mod math;
mod matmul;
mod matmul_any;
mod norm;
mod nth;
mod pool;
mod pool_any;
mod reduce;
mod resize;
mod scatter;
mod search;
mod select;
mod simd;
mod softmax;
mod strided;
mod strided_sum;
mod stuff;
pub mod threads;
mod unary;
mod width;

pub use access::Src;
pub use activation::Activation;
pub use binary::{BinaryOp, CompareOp, binary, compare};
pub use blocks::{batch_to_space_nd, depth_to_space, space_to_batch_nd, space_to_depth};
pub use cast::{cast, cast_truncated, widen};
pub use channels_first::{batch_norm_channels_first, batch_statistics_channels_first};
pub use conv2d::{Conv2d, Conv2dParams, Window};
pub use conv2d_f64::{Term, conv2d_plain, conv2d_transpose_plain};
pub use cpu::Isa;
pub use create::{Diagonals, linspace, matrix_band_part, matrix_diag_part, matrix_set_diag, one_hot, range};
pub use cross_entropy::{Labels, softmax_cross_entropy};
pub use denormals::FlushDenormals;
pub use depthwise::{DepthwiseConv2d, DepthwiseParams};
pub use error::{KernelError, Result};
pub use fake_quant::{QuantRange, fake_quant};
pub use gather::{BadIndex, gather, gather_nd};
pub use gemm::{Block, Epilogue, PackedLayout, Residual, WeightForm, Weights};
pub use layout::{
    Mirror, broadcast_to, concat, copy, copy_into, fill, mirror_pad, pad, reverse, roll, slice,
    strided_slice, tile, transpose,
};
pub use matmul::{BatchMatMul, MatMul, MatrixStrides};
pub use norm::{
    BatchNorm, LocalResponse, batch_norm, batch_norm_f64, batch_statistics, l2_normalize, layer_norm,
    local_response_norm,
};
pub use nth::{histogram, nth_element};
pub use pool::{Pool2d, PoolKind, mean_middle_axis};
pub use pool_any::{average_pool_f64, max_over_channels, max_pool_any};
pub use reduce::{ArgOp, ReduceOp, ScanOp, arg_reduce, reduce, scan};
pub use resize::{Alignment, Interpolation, crop_and_resize, resize};
pub use scatter::{
    Combine, SegmentOp, bincount, dynamic_partition, for_each_place, scatter_nd, segment_reduce,
};
pub use search::{count_nonzero, invert_permutation, reverse_sequence, top_k, unique, where_indices};
pub use select::{add_n, clip, select};
pub use softmax::{log_softmax, softmax};
pub use strided_sum::{StridedDim, strided_sum};
pub use stuff::{stuff_zeros, stuffed_size, turn_filter};
pub use threads::{ThreadError, ThreadPool};
pub use unary::{FloatTest, UnaryOp, test_floats, unary};

#[cfg(not(target_endian = "little"))]
compile_error!("weights are used as they stand in files, which are little-endian");
