//! Readers and writers of TensorFlow's files: a file becomes a neutral description, with byte ranges in place of
//! tensor values. Knows no operator's meaning.
//!
//! Invariant: nothing is allocated, skipped or looped over by a number out of a file before that number was checked
//! against the bytes that are there, the named [`limits`] and the memory budget.

pub mod base64;
pub mod compress;
pub mod data_type;
pub mod detect;
pub mod error;
pub mod example;
pub mod foreign;
pub mod graph_def;
pub mod limits;
pub mod location;
pub mod message;
pub mod npy;
pub mod npz;
mod random;
pub mod source;
pub mod spool;
pub mod stored;
mod table;
pub mod tensor_bundle;
pub mod tensor_message;
pub mod tfjs;
pub mod tflite;
pub mod tfrecord;
pub mod whole;
pub mod zip;

mod proto;

pub use data_type::DataType;
pub use detect::{ModelFormat, detect};
pub use error::{FormatError, Place, Problem};
pub use graph_def::{
    ArgDef, AttrValue, FunctionDef, GraphDef, GraphWriter, InlineBytes, ListValue, MetaGraphDef, MetaInfo,
    NameAttrList, Narrow, NodeDef, Rounding, SavedModelDef, SaverDef, Scaled, Segments, SignatureDef,
    TensorContent, TensorDef, TensorInfo, TensorShapeDef, VariableDef, saved_model_file, saved_model_tags,
};
pub use random::random;
pub use source::{Cursor, SourceFile};
pub use stored::Stored;
pub use tensor_bundle::{BundleEntry, BundleWriter, Objects, TensorBundle};

/// The error of an invariant of this crate that does not hold.
pub(crate) fn defect(what: &str) -> std::io::Error {
    std::io::Error::other(format!("{what} (a defect of TightFit)"))
}

/// The first `count` of `bytes`, which the caller knows to be there.
///
/// # Errors
/// [`defect`] when there are fewer.
pub(crate) fn first(bytes: &[u8], count: usize) -> std::io::Result<&[u8]> {
    bytes.get(..count).ok_or_else(|| defect("more bytes were counted than there are"))
}
