//! Which inputs of quantised integers a data set, or tensors that are fed as they are, mean floats for.

use std::path::{Path, PathBuf};

use tightfit_core::{DType, MemoryBudget};
use tightfit_data::{Preprocess, Probe};
use tightfit_format::example::FeatureKind;

use super::{DataOptions, probe};
use crate::error::Error;
use crate::feeds::array_dtype;
use crate::model::{IntegerInput, Model, ModelFile, OpenOptions};

/// Opens a model for `files` and a data set: inputs of quantised integers that these hold floats for take floats.
///
/// # Errors
/// As [`Model::open`] and [`float_inputs`].
pub fn open_for(
    path: &Path,
    options: OpenOptions,
    (files, data): (&[(String, PathBuf)], &DataOptions),
    threads: usize,
    budget: &MemoryBudget,
) -> Result<Model, Error> {
    let file = ModelFile::read_source(path, &options.source, &options.operators, budget)?;
    let float_inputs = float_inputs(&file, files, data, threads, budget)?;
    file.open(&OpenOptions { float_inputs, ..options })
}

/// The inputs of quantised integers that `files`, pairs of a tensor's name and its file, and the data set feed with floats or
/// with pixels: what [`crate::OpenOptions::float_inputs`] is to be for them. Of a model without such inputs nothing is looked
/// at.
///
/// # Errors
/// [`Error::Dataset`] when the first file of the data set cannot be read.
pub fn float_inputs(
    file: &ModelFile,
    files: &[(String, PathBuf)],
    data: &DataOptions,
    threads: usize,
    budget: &MemoryBudget,
) -> Result<Vec<String>, Error> {
    let inputs = file.integer_inputs();
    let mut floats = Vec::new();
    let mut looked = None;
    for input in inputs {
        let is_called =
            |name: &str| name == input.name || tightfit_graph::import::split_name(name).0 == input.node;
        let is_fed_floats = match files.iter().find(|(name, _)| is_called(name)) {
            Some((_, path)) => array_dtype(path).is_some_and(DType::is_float),
            None if data.sources.is_empty() => false,
            None => {
                if looked.is_none() {
                    looked = Some(probe(data, threads, budget)?);
                }
                looked.as_ref().is_some_and(|probe| holds_floats(probe, &input, data))
            }
        };
        if is_fed_floats {
            floats.push(input.name.to_string());
        }
    }
    Ok(floats)
}

/// Whether what feeds the input are floats, or pixels that its integers are not.
fn holds_floats(probe: &Probe, input: &IntegerInput<'_>, data: &DataOptions) -> bool {
    let feature =
        data.features.iter().find(|(own, _)| own == input.name).map_or(input.name, |(_, name)| name);
    let are_pixels_floats = input.dtype != DType::U8 || data.preprocess != Preprocess::None;
    match probe {
        Probe::Image { .. } => are_pixels_floats,
        Probe::Array { dtype, .. } => dtype.is_float(),
        Probe::Pipeline(schema) => {
            let only = if schema.fields().len() == 1 { schema.fields().first() } else { None };
            let field = schema.fields().iter().find(|field| field.name == feature).or(only);
            field.is_some_and(|field| field.dtype.is_float())
        }
        Probe::Records(features) => {
            let only = if features.len() == 1 { features.first() } else { None };
            let found = features.iter().find(|own| own.name == feature).or(only);
            found.is_some_and(|own| match own.kind {
                FeatureKind::Float => true,
                _ => own.image_size.is_some() && are_pixels_floats,
            })
        }
        _ => false,
    }
}
