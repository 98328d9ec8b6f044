//! What is known of many elements at once: sums and extremes, norms, softmax, counts, order and distinct values.

mod bucketize;
mod channels_first;
mod cross_entropy;
mod extreme;
mod kept;
mod nearest;
mod norm;
mod norm_gradient;
mod nth;
mod order;
mod reduce;
mod rows;
mod scan;
mod search;
mod softmax;

pub use bucketize::{bucketize, first_not_below};
pub use channels_first::{batch_norm_channels_first, batch_statistics_channels_first};
pub use cross_entropy::{Labels, softmax_cross_entropy};
pub use extreme::{ArgOp, arg_reduce};
pub use nearest::nearest_neighbors;
pub use norm::{
    BatchNorm, LocalResponse, batch_norm, batch_norm_f64, batch_statistics, l2_normalize, layer_norm,
    local_response_norm,
};
pub use norm_gradient::{BatchNormGradient, batch_norm_gradient};
pub use nth::{histogram, nth_element};
pub use reduce::{ReduceOp, reduce};
pub(crate) use rows::log_add;
pub use rows::{cumulative_logsumexp, isotonic_regression, search_sorted};
pub use scan::{ScanOp, scan};
pub use search::{
    TopOrder, count_nonzero, invert_permutation, reverse_sequence, top_k, unique, where_indices,
};
pub use softmax::{log_softmax, softmax};
