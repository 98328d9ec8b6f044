//! TensorFlow models in the memory you have: open a model, plan it inside a number of bytes, run it on data.
//!
//! Model, data and sink meet in one place, [`job`]. Everything is reserved from one
//! [`MemoryBudget`] before the first byte is computed.

pub mod compare;
mod convert;
mod error;
mod feeds;
pub mod fit;
pub mod inspect;
pub mod job;
mod memory;
mod model;
mod nested;
pub mod operator;
mod outputs;
mod pictures;
pub mod pipeline;
mod progress;
pub mod records;
mod roofline;
mod run;
mod session;
pub mod sink;
mod speed;
mod tensor;

pub use convert::{freeze, optimize, partition, quantize};
pub use error::{Error, NotFit, OtherJob};
pub use feeds::{FeedSizes, Feeds, array_shapes};
pub use fit::{Fit, FitOptions};
pub use memory::lines::Lines;
pub use memory::{limits, process, usage};
pub use model::{DEFAULT_SIGNATURE, Model, ModelFile, ModelSource, OpenOptions};
pub use outputs::Outputs;
pub use progress::{Done, Progress};
pub use roofline::Roofline;
pub use run::Runner;
pub use session::{Session, SessionOptions, hosted_budget};
pub use speed::Expected;
pub use tensor::Tensor;
pub use tightfit_core::{
    DType, MemoryBudget, Reservation, Shape, StopFlag, TensorView, closest, display_bytes, display_bytes_up,
    parse_bytes,
};
pub use tightfit_data::{Access, BadRow, DataError, Preprocess, Resize, RowFault, flow, shuffle, storage};
pub use tightfit_format::tfrecord::RecordFault;
pub use tightfit_format::{FormatError, whole};
pub use tightfit_graph::dim::Dim;
pub use tightfit_graph::exec::Feed;
pub use tightfit_graph::fact::Fact;
pub use tightfit_graph::ir::{Graph, Port};
pub use tightfit_graph::{A_FEED, A_FETCH, Binding, GraphError, plan};
pub use tightfit_kernels::{Isa, ThreadPool};
