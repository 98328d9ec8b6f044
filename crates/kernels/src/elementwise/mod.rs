//! Each element of the output from the elements at its place.

mod activation;
pub(crate) mod binary;
mod binary_functions;
mod cast;
mod channel_scale;
mod colour;
mod complex;
mod fake_quant;
mod few;
pub(crate) mod float;
mod functions;
mod optimizer;
mod select;
pub(crate) mod special;
mod unary;

pub use binary::{binary, binary_flat, binary_floats, compare, compare_flat};
pub use binary_functions::{BinaryOp, CompareOp};
pub use cast::{cast, cast_truncated, widen};
pub use channel_scale::scale_channels;
pub use colour::{Channel, Colour, adjust_colours, adjust_contrast, convert_colours};
pub use complex::{ComplexPart, complex_of, complex_part, conjugate};
pub use fake_quant::{QuantRange, fake_quant};
pub use few::{approximate_equal, betainc, compare_and_bitpack, leaky_relu_gradient, population_count};
pub use functions::{Activation, FunctionRow, UnaryOp};
pub use optimizer::{MAX_STATES, MAX_STEERING, Optimizer, OptimizerOptions, float_of, optimize};
pub use select::{add_n, clip, select};
pub use unary::{FloatTest, test_floats, unary};
