//! Elements moved and made, not computed with: copies under another layout, gathers, scatters, and new tensors.

mod blocks;
mod create;
mod expand;
mod gather;
pub(crate) mod layout;
mod scatter;
mod unravel;

pub use blocks::{batch_to_space_nd, depth_to_space, space_to_batch_nd, space_to_depth};
pub use create::{Diagonals, linspace, matrix_band_part, matrix_diag_part, matrix_set_diag, one_hot, range};
pub use expand::expand;
pub use gather::{gather, gather_nd};
pub use layout::{
    Mirror, broadcast_to, concat, copy, copy_into, fill, mirror_pad, pad, reverse, roll, slice,
    strided_slice, strided_update, tile, transpose,
};
pub(crate) use scatter::Number;
pub use scatter::{
    Combine, SegmentOp, bincount, dynamic_partition, for_each_place, scatter_nd, scatter_one, segment_reduce,
};
pub use unravel::unravel_index;
