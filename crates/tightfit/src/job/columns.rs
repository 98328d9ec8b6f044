//! Which columns a model's inputs want of a data set, and how its labels compare.

use tightfit_core::{DType, MemoryBudget, Shape};
use tightfit_data::{Column, PipelineRows, Probe};
use tightfit_graph::GraphError;
use tightfit_graph::dim::{Dim, Dims};
use tightfit_graph::ir::{NodeKind, Port};

use super::JobOptions;
use crate::error::Error;
use crate::model::Model;
use crate::outputs::Outputs;

/// Dimensions of a colour image, the batch among them.
const IMAGE_RANK: usize = 4;

/// A column for every input of the model that is not fixed.
///
/// # Errors
/// [`Error::Usage`] for an input whose row shape nobody says, [`Error::Dataset`] when the first file cannot be read.
pub fn columns(
    model: &Model,
    options: &JobOptions,
    pipeline: Option<&PipelineRows>,
    budget: &MemoryBudget,
) -> Result<Vec<Column>, Error> {
    let mut probe = None;
    let mut columns = Vec::new();
    for port in &model.graph().inputs {
        if options.fixed.iter().any(|(name, _)| *name == port.name) {
            continue;
        }
        let NodeKind::Input { dtype, dims } = &model.graph().producer(port.value).kind else { continue };
        let feature = options.data.features.iter().find(|(input, _)| *input == port.name);
        let row_shape = match row_shape(dims, options, &port.name) {
            Some(shape) => shape,
            None => {
                if probe.is_none() {
                    probe = Some(match pipeline {
                        Some(rows) => Probe::pipeline(rows, budget)?,
                        None => Probe::open(&options.data.sources, budget)?,
                    });
                }
                let found =
                    probe.as_ref().and_then(|probe| probed_shape(probe, name_of(feature, port), dims));
                found.ok_or_else(|| open_shape(&port.name, dims))?
            }
        };
        columns.push(Column {
            input: port.name.clone(),
            feature: feature.map(|(_, feature)| feature.clone()),
            dtype: *dtype,
            row_shape,
        });
    }
    let unknown = options.data.features.iter().find(|(input, _)| columns.iter().all(|c| c.input != *input));
    if let Some((input, _)) = unknown {
        let names = columns.iter().map(|c| c.input.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Error::option("feature", input, format!("the model has no such input; it has {names}")));
    }
    Ok(columns)
}

/// The types that the inputs want of the features that feed them, and the label's.
pub fn types(model: &Model, options: &JobOptions) -> Vec<(String, DType)> {
    let graph = model.graph();
    let inputs = graph.inputs.iter().filter_map(|port| match graph.producer(port.value).kind {
        NodeKind::Input { dtype, .. } => Some((port, dtype)),
        _ => None,
    });
    inputs
        .filter(|(port, _)| options.fixed.iter().all(|(name, _)| *name != port.name))
        .map(|(port, dtype)| {
            let feature = options.data.features.iter().find(|(input, _)| *input == port.name);
            (name_of(feature, port).to_string(), dtype)
        })
        .chain(options.data.label.iter().map(|label| (label.clone(), DType::I64)))
        .collect()
}

/// The feature that feeds an input: the one asked for, or the one of its own name.
fn name_of<'a>(feature: Option<&'a (String, String)>, port: &'a Port) -> &'a str {
    feature.map_or(&port.name, |(_, feature)| feature)
}

fn open_shape(input: &str, dims: &Dims) -> Error {
    GraphError::OpenShape { input: input.to_string(), dims: dims.to_string() }.into()
}

/// The shape of one row, from `--shape`, `--resize` and the model, in this order.
fn row_shape(dims: &Dims, options: &JobOptions, name: &str) -> Option<Shape> {
    if let Some(shape) = options.shapes.get(name) {
        return Shape::new(shape.get(1..)?).ok();
    }
    let mut row: Vec<Dim> = dims.get()?.get(1..)?.to_vec();
    if let (Some([height, width]), IMAGE_RANK) = (options.data.resize, row.len() + 1) {
        row[0] = Dim::Known(height as i64);
        row[1] = Dim::Known(width as i64);
    }
    let sizes: Option<Vec<usize>> = row.iter().map(|d| d.size()).collect();
    Shape::new(&sizes?).ok()
}

/// The shape of one row from the first file, where the model leaves it open.
fn probed_shape(probe: &Probe, name: &str, dims: &Dims) -> Option<Shape> {
    let found: Vec<usize> = match probe {
        Probe::Image { height, width } => {
            let channels = dims.get().and_then(|d| d.last()).and_then(|d| d.size()).unwrap_or(3);
            vec![*height, *width, channels]
        }
        Probe::Array { row_shape, .. } => row_shape.to_vec(),
        Probe::Pipeline(schema) => {
            let only = if schema.fields().len() == 1 { Some(0) } else { None };
            schema.fields().get(schema.find(name).or(only)?)?.shape()?.to_vec()
        }
        _ => return None,
    };
    let row = Shape::new(&found).ok()?;
    let fits = dims.get().is_none_or(|dims| {
        dims.len() == row.rank() + 1
            && dims[1..].iter().zip(row.iter()).all(|(d, n)| d.size().is_none_or(|d| d == *n))
    });
    fits.then_some(row)
}

/// The batch of a model that can only compute one size.
pub fn fixed_batch(model: &Model, options: &JobOptions) -> Option<usize> {
    model.graph().inputs.iter().find_map(|port| {
        let NodeKind::Input { dims, .. } = &model.graph().producer(port.value).kind else { return None };
        let is_fed = options.fixed.iter().all(|(name, _)| *name != port.name);
        dims.get()?.first()?.size().filter(|_| is_fed)
    })
}

/// How many rows' largest output is at the label's place.
///
/// # Errors
/// [`Error::Usage`] when the first output has no scores of classes.
pub fn right_rows(outputs: &Outputs<'_>, labels: &[i64]) -> Result<u64, Error> {
    let name = outputs.name(0).ok_or_else(|| Error::option("label", "", "the model has no output"))?;
    let no_scores =
        || Error::option("label", "", format!("'{name}' holds no float32 scores of classes for each row"));
    let tensor = outputs.tensor(0).filter(|t| t.dtype() == DType::F32).ok_or_else(no_scores)?;
    let scores = tensor.as_slice::<f32>().ok_or_else(no_scores)?;
    let classes = scores.len().checked_div(labels.len()).filter(|n| *n > 0).ok_or_else(no_scores)?;
    let is_right = |(row, label): &(&[f32], &i64)| {
        let mut best = 0;
        for (i, score) in row.iter().enumerate() {
            if *score > row[best] {
                best = i;
            }
        }
        best as i64 == **label
    };
    Ok(scores.chunks_exact(classes).zip(labels).filter(is_right).count() as u64)
}
