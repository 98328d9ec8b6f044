//! A window that moves over an image, each channel by itself: depthwise convolution, pooling and resizing.

mod depthwise;
mod depthwise_transpose;
mod dilation;
mod expanded;
mod fractional;
mod glimpse;
mod gradients;
mod patches;
mod pixel;
mod pool;
mod pool_any;
mod projective;
mod resize;
mod resize_gradient;
mod scale_translate;
mod taps;

pub use depthwise::{DepthwiseConv2d, DepthwiseParams};
pub use depthwise_transpose::depthwise_transpose;
pub use dilation::dilation2d;
pub use expanded::{ExpandedDepthwise, Layer as ExpandedLayer};
pub use fractional::{FractionalPool, Pooled, fractional_edges};
pub use glimpse::{Glimpse, GlimpseNoise};
pub use gradients::{PoolGradient, depthwise_filter_gradient, filter_gradient, pool_gradient};
pub use patches::patches;
pub use pool::{Pool2d, PoolKind, mean_middle_axis};
pub use pool_any::{average_pool_f64, max_over_channels, max_pool_any};
pub use projective::{Outside, project_images};
pub use resize::{Alignment, Interpolation, crop_and_resize, resize};
pub use resize_gradient::resize_gradient;
pub use scale_translate::{Filter, scale_and_translate, scale_and_translate_floats};
