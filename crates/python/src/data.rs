//! A data set, as it is described in Python.

use std::collections::HashMap;
use std::path::PathBuf;

use pyo3::prelude::*;
use tightfit::job::DataOptions;
use tightfit::{Access, Preprocess, Resize, Shape};

use crate::{errors, parse_bytes};

/// What is read, and how.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Data {
    sources: Vec<PathBuf>,
    resize: Option<[usize; 2]>,
    preprocess: String,
    features: Vec<(String, String)>,
    label: Option<String>,
    skip_bad: bool,
    decode_memory: Option<Size>,
    record_memory: Option<Size>,
    string_memory: Option<Size>,
    pipeline_memory: Option<Size>,
}

/// A size of memory as people give it.
#[derive(FromPyObject)]
pub enum Size {
    /// Bytes.
    Bytes(u64),
    /// A number and a unit.
    Text(String),
}

impl Data {
    /// The same for the library.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that is none, and a size that is none.
    pub fn options(self, py: Python<'_>) -> PyResult<DataOptions> {
        let preprocess = self.preprocess.parse::<Preprocess>();
        let preprocess = preprocess.map_err(|why| errors::invalid(py, &format!("preprocess: {why}")))?;
        let size = |name: &str, size: Option<Size>| match size {
            None => Ok(None),
            Some(Size::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Size::Text(text)) => parse_bytes(py, name, &text).map(Some),
        };
        let length = |name: &str, bytes: Option<Size>| {
            let bytes = size(name, bytes)?.map(usize::try_from).transpose();
            bytes.map_err(|_| errors::invalid(py, &format!("{name}: more than the address space")))
        };
        Ok(DataOptions {
            sources: self.sources,
            access: Access::everything(),
            pipeline_bytes: size("pipeline_memory", self.pipeline_memory)?,
            features: self.features,
            label: self.label,
            resize: self.resize,
            method: self.resize.map(|_| Resize::Bilinear),
            preprocess,
            skip_bad: self.skip_bad,
            record_bytes: length("record_memory", self.record_memory)?,
            decode_bytes: size("decode_memory", self.decode_memory)?,
            string_bytes: length("string_memory", self.string_memory)?,
        })
    }
}

/// The shapes of inputs by name.
///
/// # Errors
/// `tightfit.InvalidArgument` for one of too many dimensions.
pub fn shapes(py: Python<'_>, shapes: HashMap<String, Vec<usize>>) -> PyResult<HashMap<String, Shape>> {
    let shape = |(name, dims): (String, Vec<usize>)| match Shape::new(&dims) {
        Ok(shape) => Ok((name, shape)),
        Err(error) => Err(errors::invalid(py, &format!("shape of '{name}': {error}"))),
    };
    shapes.into_iter().map(shape).collect()
}
