//! What a data set is to be: files, columns, and what is done on the way.

use std::path::PathBuf;
use std::sync::Arc;

use tightfit_core::{DType, Shape};

use crate::{PipelineRows, Preprocess};

/// The most columns a data set has.
pub const MAX_COLUMNS: usize = 16;

/// One input that is fed.
#[derive(Debug, Clone)]
pub struct Column {
    /// What the input is called, for messages and to find its feature.
    pub input: String,
    /// The tf.Example feature it is read from. Left out, it is the one named as the input, or else the only one that
    /// fits.
    pub feature: Option<String>,
    /// The element type of the batch.
    pub dtype: DType,
    /// The shape of one row, the batch dimension left out: `[height, width, channels]` of an image.
    pub row_shape: Shape,
}

/// How an image of another size is brought to `[height, width]` of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resize {
    /// `tf.image.resize(method="bilinear")`: half-pixel centres, no antialiasing.
    Bilinear,
    /// `tf.image.resize(method="nearest")`.
    Nearest,
}

/// What a data set is to be.
#[derive(Debug, Clone)]
pub struct DatasetSpec {
    /// Files, folders and globs, in order. A folder stands for the images, arrays and records in it and below it, and
    /// a glob for what matches, both sorted by path. What a file is, is found from its content. With the feature
    /// `object-store` they may be URLs: see [`Location`](crate::storage::Location).
    pub sources: Vec<PathBuf>,
    /// Instead of files, a pipeline: its elements are the rows, its fields the features.
    pub pipeline: Option<Arc<PipelineRows>>,
    /// What is fed. Arrays and images need exactly one.
    pub columns: Vec<Column>,
    /// A tf.Example feature of one integer that is carried along with each row.
    pub label: Option<String>,
    /// Left out, an image of another size is a bad row.
    pub resize: Option<Resize>,
    /// Done to each float column of the shape `[height, width, 1 or 3]`; to a single column also if it has another
    /// shape, for `Unit` and `Tf`, which treat all values alike.
    pub preprocess: Preprocess,
    /// Bad rows are left out and counted, instead of ending the run.
    pub skip_bad: bool,
    /// The largest record of a TFRecord file that is allowed, in bytes; left out, any that there is memory for. What is
    /// planned is the largest there is, where that can be told from the lengths of the records. For compressed files and
    /// very many records it is this limit, or left out, four times each file's first record, and at least 64 KiB.
    pub record_bytes: Option<usize>,
    /// The most memory one image may take while it is decoded: its pixels and the decoder's own; left out, any that there is
    /// memory for. What is planned is what the headers of all images ask for. For images inside records that cannot all be
    /// looked at it is this limit, or left out, four times what each file's first asks for.
    pub decode_bytes: Option<u64>,
    /// The most bytes of text for each row with string columns, where one row may use what others leave. Left out, it is
    /// what the longest row has, or 1 KiB where not all rows could be looked at.
    pub string_bytes: Option<usize>,
}

impl DatasetSpec {
    /// A data set of `sources` into `columns`, everything else left out.
    pub fn new(sources: Vec<PathBuf>, columns: Vec<Column>) -> Self {
        DatasetSpec {
            sources,
            pipeline: None,
            columns,
            label: None,
            resize: None,
            preprocess: Preprocess::None,
            skip_bad: false,
            record_bytes: None,
            decode_bytes: None,
            string_bytes: None,
        }
    }
}

/// `[height, width, channels]` of a column that can hold an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ImageShape {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl Column {
    /// The image shape of its rows: `[height, width, 1 or 3]`, or `[height, width]` of grey values.
    pub(crate) fn image_shape(&self) -> Option<ImageShape> {
        let (height, width, channels) = match *self.row_shape {
            [height, width] => (height, width, 1),
            [height, width, channels @ (1 | 3)] => (height, width, channels),
            _ => return None,
        };
        (self.dtype != DType::String && height > 0 && width > 0).then_some(ImageShape {
            height,
            width,
            channels,
        })
    }

    /// Bytes of one row in a batch.
    pub(crate) fn row_bytes(&self) -> usize {
        self.row_shape.elements() * self.dtype.bytes()
    }
}
