//! Sparse tensors (rows of coordinates, a value for each, and the shape that they lie in), and ragged ones.

mod arithmetic;
mod coordinates;
mod counts;
mod distance;
mod moves;
mod ragged;
mod reduce;
mod segments;
mod sets;

pub use arithmetic::{
    DenseCombine, sparse_add, sparse_dense_combine, sparse_matmul, sparse_softmax, sparse_sparse_extreme,
};
pub use coordinates::{Coordinates, sort_coordinates};
pub use counts::{Counted, SparseCounts, add_counts, sparse_counts};
pub use distance::edit_distance;
pub use moves::{
    SplitAxis, copy_elements, fill_empty_rows, gather_sorted, set_dense, sparse_part, sparse_reshape,
};
pub use ragged::{RangeNumber, RowPartition, Whole, ragged_to_dense};
pub use reduce::{SparseReduce, sparse_reduce};
pub use segments::segment_gradient;
pub use sets::{Compare, SetOperation, sort_set};
