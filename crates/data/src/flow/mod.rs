//! tf.data's vocabulary with memory that is bounded in bytes: elements of named fields flow through stages, from sources
//! to whoever takes them.
//!
//! The way of an element: a source lends it out of the window that its file is read through, operations
//! ([`maps`](MapOp)) make another of it, and so each stage lends what it has to the next: [`Stage::advance`], then
//! [`Stage::current`]. Only where threads meet is it moved. What a stage makes lies in an [`Element`] that is used again
//! for the next, so nothing is allocated once every element has grown to the largest it has held.
//!
//! ```
//! use tightfit_core::MemoryBudget;
//! use tightfit_data::flow::{Batch, FunctionOp, Map, Pipeline, PipelineSpec, Prefetch, Range};
//!
//! let even = FunctionOp::filter("even", |element| {
//!     element.tensor(0).and_then(|tensor| tensor.as_slice::<i64>()).is_some_and(|values| values[0] % 2 == 0)
//! });
//! let spec = PipelineSpec::new(Range { start: 0, stop: 10, step: 1 })
//!     .then(Map::new(even))
//!     .then(Batch { size: 2, drop_remainder: true })
//!     .then(Prefetch::default());
//! let mut pipeline = Pipeline::open(&spec, &MemoryBudget::new(1 << 20), 2)?;
//! let mut batches = Vec::new();
//! while pipeline.advance()? {
//!     let batch = pipeline.current();
//!     batches.push(batch.tensor(0).unwrap().as_slice::<i64>().unwrap().to_vec());
//! }
//! assert_eq!(batches, [[0, 2], [4, 6]]);
//! # Ok::<(), tightfit_data::DataError>(())
//! ```
//!
//! Invariants: all memory that grows with the data is reserved from the one budget; the same pipeline over the same files
//! gives the same elements in the same order, whatever the number of threads, and the same error with file and record for
//! what does not fit the budget. Whether something fits is what a run without threads says, in which nothing is held but
//! what the present element needs: threads that work ahead wait for memory, and where that does not help, the pipeline
//! goes on without them from the element that it had come to (see [`Pipeline`]).

mod ahead;
mod catalogue;
mod clock;
mod codec;
mod element;
mod growing;
pub(crate) mod identity;
mod json;
mod maps;
mod origin;
mod pipeline;
#[cfg(test)]
mod proofs;
mod report;
mod scalar;
mod schema;
mod sources;
mod spec;
mod stage;
mod stages;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod tuner;

pub use element::{Element, ElementView, Field, Place, Schema};
pub use json::{Args, Read, ReadOther};
pub use maps::cast::Cast;
pub use maps::fields::Fields;
pub use maps::filter::{Condition, Filter};
pub use maps::normalise::Normalise;
pub use maps::one_hot::OneHot;
pub use maps::parse::{DefaultValue, FeatureForm, FeatureSpec, MessageForm, Parse, ParseSpec, Partition};
pub use maps::serialize::Serialize;
pub use maps::{DecodeImage, FunctionOp, ImageFieldOp, MapOp, MapWorker, Verdict};
pub use origin::{Names, Origin};
pub use pipeline::Pipeline;
pub use report::{Report, StageReport};
pub use scalar::Scalar;
pub use schema::{OtherStage, json_schema};
#[cfg(feature = "arrow")]
pub use sources::columnar::{ColumnFiles, ColumnKind};
pub use sources::combine::{Concatenate, Zip};
pub use sources::csv::{Csv, CsvColumn};
pub use sources::files::{Interleave, TfRecord};
pub use sources::generate::{Generated, Generator};
pub use sources::images::Images;
pub use sources::jsonl::{JsonColumn, JsonLines};
pub use sources::npy::Npy;
pub use sources::npz::Npz;
pub use sources::range::Range;
pub use sources::records::RECORD;
pub use sources::shuffled::Shuffled;
pub use sources::text::Text;
pub use spec::{PipelineSpec, SourceSpec, StageSpec};
pub use stage::{Context, Meter, Node, Part, Stage};
pub use stages::batch::Batch;
pub use stages::bucket::BucketByLength;
pub use stages::cache::Cache;
pub use stages::choose::{Shard, Skip, Take};
pub use stages::map::{Map, MapMode};
pub use stages::padded::{PaddedBatch, Padding, RaggedBatch};
pub use stages::parallel::Prefetch;
pub use stages::repeat::Repeat;
pub use stages::shuffle::Shuffle;
pub use stages::skip_bad::SkipBad;
pub use stages::unbatch::Unbatch;
pub use stages::window::Window;
pub use state::{StateReader, StateWriter};
