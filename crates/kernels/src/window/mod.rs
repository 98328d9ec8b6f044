//! A window that moves over an image, each channel by itself: depthwise convolution, pooling and resizing.

mod depthwise;
mod pool;
mod pool_any;
mod resize;

pub use depthwise::{DepthwiseConv2d, DepthwiseParams};
pub use pool::{Pool2d, PoolKind, mean_middle_axis};
pub use pool_any::{average_pool_f64, max_over_channels, max_pool_any};
pub use resize::{Alignment, Interpolation, crop_and_resize, resize};
