//! Each element of the output from the elements at its place.

mod activation;
pub(crate) mod binary;
mod cast;
mod fake_quant;
mod functions;
mod select;
mod unary;

pub use activation::Activation;
pub use binary::{BinaryOp, CompareOp, binary, compare};
pub use cast::{cast, cast_truncated, widen};
pub use fake_quant::{QuantRange, fake_quant};
pub use select::{add_n, clip, select};
pub use unary::{FloatTest, UnaryOp, test_floats, unary};
