//! RECORDS -> BATCHES: files of records, arrays or images become batches in memory that was reserved beforehand.
//! Knows no model: a column is a name, an element type and the shape of one row.
//!
//! The way of the data: [`DatasetSpec`] -> [`Dataset::open`] (lists the files, looks at their headers) ->
//! [`Dataset::plan`] (every byte the pipeline will hold) -> [`Dataset::start`] (reserves them) -> [`Batches::next`].
//!
//! Invariant: what the pipeline holds is what its [`PipelinePlan`] says. Batches live in slots allocated at the start
//! and go round; on the way from records and arrays to a batch nothing is allocated.

mod batch;
mod convert;
mod dataset;
mod error;
mod fill;
pub mod flow;
pub mod image;
mod pipeline;
mod plan;
mod preprocess;
mod reader;
pub mod shuffle;
mod slot;
mod source;
mod spec;

pub use batch::{Batch, RowSource};
pub use dataset::Dataset;
pub use error::{BadRow, DataError, RowFault};
pub use pipeline::{Batches, PipelineStats};
pub use plan::PipelinePlan;
pub use preprocess::Preprocess;
pub use source::probe::{FeatureInfo, Probe};
pub use source::{DataFile, FileKind, FileList, list};
pub use spec::{Column, DatasetSpec, MAX_COLUMNS, Resize};
