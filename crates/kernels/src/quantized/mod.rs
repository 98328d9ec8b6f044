//! TensorFlow's first quantised operators: integers that stand for the numbers of a range, from its minimum at the lowest
//! integer to its maximum at the highest.

mod arithmetic;
mod channels;
mod convert;
mod fused;
mod product;
mod range;
mod resize;
mod simulate;
mod small;

pub use arithmetic::{
    BIAS_HEADROOM, SUM_HEADROOM, quantized_add, quantized_average, quantized_bias_add, quantized_clamp,
    quantized_mul, quantized_sum_range,
};
pub use channels::{channels_used, quantized_instance_norm, requantize_channels};
pub use convert::{QuantMode, Quantize, dequantize, quantize, requantize, requantize_down};
pub use fused::{Finish, Finished, Summand, finish_sums};
pub use product::{QuantizedConv2d, QuantizedWindow, quantized_matmul};
pub use range::QuantizedRange;
pub use resize::quantized_resize;
pub use simulate::{Rounding, SimulatedRange, simulate_quantization};
pub use small::{SmallNumber, decode_small, encode_small};
