//! Files of records: are they whole, what is in them, and into what else can they be turned.
//!
//! Everything here but `shuffle` reads files once from front to back (types are found in a pass of its own) and holds no
//! more than one record, a window and what a `MemoryBudget` has reserved for a summary.

mod convert;
mod files;
mod inspect;
mod output;
mod schema;
mod shard;
mod shuffle;
mod text;
mod verify;

pub(crate) use convert::is_record_name;
pub use convert::{ConvertOptions, convert};
pub(crate) use files::is_same;
pub use files::total_bytes;
pub use inspect::{BadRecord, Inspection, Sizes, inspect};
pub(crate) use output::RecordOutput;
pub use schema::{FeatureSummary, Range, Scope};
pub use shard::{Dealing, MAX_SHARDS, ShardOptions, shard};
pub(crate) use shard::{ShardSet, check_begins_names};
pub use shuffle::{ShuffleOptions, ShuffleProgress, Shuffling, shuffle};
pub use text::{Head, head, kind_name};
pub(crate) use text::{SHOWN_VALUES, bytes_json, float_json};
pub use tightfit_format::example::FeatureKind;
pub use tightfit_format::message::MessageKind;
pub use tightfit_format::tfrecord::Compression;
pub use verify::{Verification, VerifyOptions, verify};
