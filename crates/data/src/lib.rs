//! RECORDS -> BATCHES: files of records, arrays or images become batches in memory that was reserved beforehand.
//! Knows no model: a column is a name, an element type and the shape of one row.
//!
//! The way of the data: [`DatasetSpec`] -> [`Dataset::open`] (lists the files, looks at their headers) ->
//! [`Dataset::plan`] (every byte the pipeline will hold) -> [`Dataset::start`] (reserves them) -> [`Batches::next`].
//! [`Batch::end`] is the place behind a batch, at which [`Dataset::start_at`] goes on another time.
//!
//! Invariant: what the pipeline holds is what its [`PipelinePlan`] says. Batches live in slots allocated at the start
//! and go round; on the way from records and arrays to a batch nothing is allocated.

mod array;
mod batch;
mod convert;
pub mod csv;
mod dataset;
mod encode;
mod error;
mod feature;
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
pub mod storage;
mod window;

pub use batch::{Batch, RowSource};
pub use dataset::Dataset;
pub use encode::ExampleEncoder;
pub use error::{BadRow, DataError, RowFault};
pub use pipeline::{Batches, KEPT_REASONS, PipelineStats};
pub use plan::PipelinePlan;
pub use preprocess::Preprocess;
pub use source::pipeline::PipelineRows;
pub use source::probe::{FeatureInfo, Probe};
pub use source::stream::Position;
pub use source::{DataFile, FileKind, FileList, FileStamp, is_data_name, list, why_no_columns};
pub use spec::{Column, DatasetSpec, MAX_COLUMNS, Resize};
