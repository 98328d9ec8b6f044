//! Integers that stand for numbers by a scale and a zero point, `scale * (integer - zero)`, as TFLite has them: int8, uint8
//! and int16 tensors, and filters of small integers with a scale for each channel.

mod columns;
mod conv2d;
mod convert;
mod depthwise;
mod dot;
mod dynamic;
mod filter;
mod finish;
mod fixed;
mod functions;
mod lstm;
mod mean;
mod multiplier;
mod pairs;
mod panels;
mod pool;
mod product;
mod requantize;
mod softmax;
mod svdf;
mod tables;
mod wide;

pub use conv2d::{AffineConv2d, AffineInput, AffineOutput, HybridOutput};
pub use convert::{AffineScales, Requantize, affine_dequantize, affine_quantize};
pub use depthwise::AffineDepthwise;
pub use dynamic::quantize_rows;
pub use filter::{AffineFilter, FilterType};
pub use functions::{HardSwish, ReciprocalRoot, Slopes, affine_l2_normalize, gelu, table_of};
pub use lstm::{AffineLstm, LstmGate, LstmState};
pub use mean::AffineSum;
pub use multiplier::{Multiplier, Rescale};
pub use pairs::{AffinePair, AffinePairOp, BoundedInteger};
pub use panels::BytePanels;
pub use pool::AffinePool;
pub use softmax::{AffineSoftmax, WideSoftmax, affine_log_softmax};
pub use svdf::AffineSvdf;
pub use tables::{
    Affine, ByteTable, SigmoidScale, WIDE_TABLE, WideTable, byte_table, bytes_by_table, rescale_slices,
    wide_by_table, wide_table,
};
pub use wide::{WideBias, WideConv2d};
