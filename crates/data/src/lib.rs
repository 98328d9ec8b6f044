//! RECORDS -> BATCHES: files of records, arrays, images or text become batches, or elements of any fields. Knows no
//! model: a column is a name, an element type and the shape of one row.
//!
//! Two ways lead through it. [`Dataset`] makes the batches of a job, with every byte planned before the first row:
//! [`DatasetSpec`] -> [`Dataset::open`] (lists the files, looks at their headers) -> [`Dataset::plan`] (every byte it
//! will hold) -> [`Dataset::start`] (reserves them) -> [`Batches::next`]. [`Batch::end`] is the place after a batch, at
//! which [`Dataset::start_at`] goes on another time. [`flow`] is tf.data's vocabulary: a pipeline of sources and stages,
//! described in Rust or JSON, whose elements may have any fields. A pipeline may be the source of a data set.
//!
//! Files are opened by [`storage`], on this machine or in an object store. [`shuffle`] reads whole data sets in random
//! order, [`image`] decodes and changes images as TensorFlow does.
//!
//! Invariant: what a data set holds is what its [`PipelinePlan`] says, and what a pipeline holds is reserved from one
//! budget. Once started, nothing is allocated on the way from records and arrays to a batch.

mod access;
mod convert;
pub mod csv;
mod dataset;
mod encode;
mod error;
mod feature;
pub mod flow;
pub mod image;
mod json;
mod meant;
mod preprocess;
pub mod shuffle;
mod source;
pub mod storage;

pub use access::Access;
pub use dataset::Dataset;
pub use dataset::batch::{Batch, RowSource};
pub use dataset::batches::{Batches, KEPT_REASONS, PipelineStats};
pub use dataset::plan::PipelinePlan;
pub use dataset::spec::{Column, DatasetSpec, MAX_COLUMNS, Resize};
pub use encode::ExampleEncoder;
pub use error::{BadRow, DataError, Defect, RowFault};
pub use preprocess::Preprocess;
pub use source::pipeline::{PipelineRows, SavedStates};
pub use source::probe::{FeatureInfo, Probe};
pub use source::stream::Position;
pub use source::{
    DataFile, FileKind, FileList, FileStamp, has_packed_extension, is_data_name, list, why_no_columns,
};
