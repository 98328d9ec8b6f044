//! Boxes around what is found in images: which of them are kept, and how they are drawn.

mod combined;
mod draw;
mod order;
mod suppress;

pub use combined::{
    CombinedOutputs, CombinedSuppression, combined_suppress, combined_suppress_scratch_bytes,
};
pub use draw::draw_boxes;
pub use suppress::{Selected, Similarity, Suppression, suppress, suppress_scratch_bytes};
