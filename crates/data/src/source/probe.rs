//! A look at the first file, for those who must choose columns before a data set can be described.

use std::path::PathBuf;
use std::sync::Arc;

use tightfit_core::{DType, MemoryBudget};
use tightfit_format::example::FeatureKind;

use super::pipeline::PipelineRows;
use super::scan::{Scan, read_npy_header};
use super::{FileKind, FileList, list, why_no_columns};
use crate::error::{DataError, io_error};
use crate::flow::Schema;
use crate::image::ImageHeader;

/// What the first file of some sources holds.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Probe {
    /// An image of this size.
    Image {
        /// Lines.
        height: usize,
        /// Pixels across.
        width: usize,
    },
    /// An array.
    Array {
        /// The type of its elements.
        dtype: DType,
        /// The shape of one row.
        row_shape: Vec<usize>,
    },
    /// A pipeline with elements of this type.
    Pipeline(Arc<Schema>),
    /// TFRecords with these features in the first, sorted by name; none when the file is empty or broken.
    Records(Vec<FeatureInfo>),
}

/// A feature of a tf.Example.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FeatureInfo {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: FeatureKind,
    /// How many values.
    pub count: usize,
    /// Bytes of its first byte string.
    pub bytes: usize,
    /// `[height, width]` if that is an image.
    pub image_size: Option<[usize; 2]>,
}

impl Probe {
    /// Looks at a pipeline, which is opened for a moment.
    ///
    /// # Errors
    /// [`DataError`] when it cannot be opened.
    pub fn pipeline(rows: &PipelineRows, budget: &MemoryBudget) -> Result<Probe, DataError> {
        Ok(Probe::Pipeline(rows.look(budget)?.schema))
    }

    /// Looks at the first file of `sources` (files, folders, globs). What that takes for a moment comes out of
    /// `budget`.
    ///
    /// # Errors
    /// [`DataError`] when there is no file, or the first cannot be read.
    pub fn open(sources: &[PathBuf], budget: &MemoryBudget) -> Result<Probe, DataError> {
        let mut list = list(&sources[..sources.len().min(1)], budget)?;
        list.files.truncate(1);
        Probe::first(&list, budget)
    }

    fn first(list: &FileList, budget: &MemoryBudget) -> Result<Probe, DataError> {
        let Some(file) = list.files.first() else { return Ok(Probe::Records(Vec::new())) };
        match file.kind {
            FileKind::Image => {
                let mut open = file.open(budget).map_err(|e| io_error(&file.path, e))?;
                let bytes = open.len();
                let header = ImageHeader::read(&mut open, bytes).map_err(|e| io_error(&file.path, e))?;
                Ok(Probe::Image { height: header.height, width: header.width })
            }
            FileKind::Array => {
                let header = read_npy_header(&file.path, budget)?;
                let row_shape = header.row_shape().to_vec();
                Ok(Probe::Array { dtype: header.element.dtype(), row_shape })
            }
            FileKind::Columns => Err(DataError::Spec(why_no_columns(&file.path))),
            FileKind::Records(_) | FileKind::Pipeline | FileKind::Text | FileKind::Archive => {
                let features = Scan::new(list, budget)?.features.into_iter().map(|f| FeatureInfo {
                    name: f.name,
                    kind: f.kind,
                    count: f.count,
                    bytes: f.bytes,
                    image_size: f.image.map(|h| [h.height, h.width]),
                });
                Ok(Probe::Records(features.collect()))
            }
        }
    }
}
