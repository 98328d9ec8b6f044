//! `NAME=FILE`: tensors that are fed as they are, once.
//!
//! A dense tensor comes from a .npy file of exactly the input's element type. A string tensor comes from a .json file
//! of nested lists, a .npy file of byte or unicode strings, or any other file, whose bytes are one scalar.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{Buffer, DType, MemoryBudget, Reservation, Shape};
use tightfit_format::npy::{NpyReader, NpyType, trim_zeros, utf8_of_ucs4};
use tightfit_graph::exec::Feed;
use tightfit_graph::ir::{Graph, Port};
use tightfit_graph::{GraphError, import};

use crate::error::Error;
use crate::fit::{Fit, FitOptions, fit};
use crate::model::Model;
use crate::nested::{self, NestedError, TEXT_BYTES};
use crate::tensor::Tensor;

/// A tensor for every input of a model, in memory.
#[derive(Debug)]
pub struct Feeds {
    tensors: Vec<(String, Tensor)>,
    /// What the texts of string tensors hold.
    texts: Vec<Reservation>,
}

impl Feeds {
    /// Reads the file of every input of `model`. `files` are pairs of a tensor's name and its file.
    ///
    /// # Errors
    /// [`Error::Usage`] for an input without a file, and as [`Feeds::read_some`].
    pub fn read(model: &Model, files: &[(String, PathBuf)], budget: &MemoryBudget) -> Result<Feeds, Error> {
        let graph = model.graph();
        let is_fed = |port: &&Port| files.iter().any(|(name, _)| import::split_name(name).0 == port.name);
        let missing: Vec<String> =
            graph.inputs.iter().filter(|port| !is_fed(port)).map(|port| describe(graph, port)).collect();
        if !missing.is_empty() {
            return Err(Error::Usage(format!(
                "not fed: {}; give each with --input NAME=FILE",
                missing.join(", ")
            )));
        }
        Feeds::read_some(model, files, budget)
    }

    /// Feeds these tensors, pairs of an input's name and its tensor.
    ///
    /// # Errors
    /// [`Error::Usage`] for an input of `model` without a tensor, [`Error::Graph`] for a tensor of another element type.
    pub fn new(model: &Model, tensors: Vec<(String, Tensor)>) -> Result<Feeds, Error> {
        let graph = model.graph();
        let mut feeds = Feeds { tensors: Vec::with_capacity(tensors.len()), texts: Vec::new() };
        for port in &graph.inputs {
            let dtype = graph.fact(port.value).dtype;
            let is_fed = |(name, _): &&(String, Tensor)| import::split_name(name).0 == port.name;
            match tensors.iter().find(is_fed).map(|(_, tensor)| tensor.dtype()) {
                Some(found) if found == dtype => {}
                Some(found) => {
                    let why = format!("is of type {dtype}, not {found}");
                    return Err(GraphError::Feed { input: port.name.clone(), why }.into());
                }
                None => return Err(Error::Usage(format!("not fed: {}", describe(graph, port)))),
            }
        }
        feeds.tensors.extend(
            tensors.into_iter().map(|(name, tensor)| (import::split_name(&name).0.to_string(), tensor)),
        );
        Ok(feeds)
    }

    /// Reads files for some inputs of `model`.
    ///
    /// # Errors
    /// [`Error::Usage`] for an input with two files, [`Error::Graph`] for a file of another element type, and whatever
    /// reading a file or the memory says.
    pub fn read_some(
        model: &Model,
        files: &[(String, PathBuf)],
        budget: &MemoryBudget,
    ) -> Result<Feeds, Error> {
        let mut feeds = Feeds { tensors: Vec::new(), texts: Vec::new() };
        let graph = model.graph();
        for port in &graph.inputs {
            let mut files = files.iter().filter(|(name, _)| import::split_name(name).0 == port.name);
            let Some((_, path)) = files.next() else { continue };
            if files.next().is_some() {
                return Err(Error::Usage(format!("input '{}' is fed twice", port.name)));
            }
            let tensor = feeds.read_file(&port.name, graph.fact(port.value).dtype, path, budget)?;
            feeds.tensors.push((port.name.clone(), tensor));
        }
        Ok(feeds)
    }

    /// The tensors with the names of their inputs. From here on nobody counts the memory of their strings.
    pub fn into_tensors(self) -> Vec<(String, Tensor)> {
        self.tensors
    }

    fn read_file(
        &mut self,
        input: &str,
        dtype: DType,
        path: &Path,
        budget: &MemoryBudget,
    ) -> Result<Tensor, Error> {
        let file = File::open(path).map_err(|error| Error::io(path, error))?;
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        if extension == "npy" {
            let reader = NpyReader::new(Arc::from(path), BufReader::new(file))?;
            let found = reader.header().element.dtype();
            if found != dtype {
                let why =
                    format!("is of type {dtype}, but {} holds {found}: save it as {dtype}", path.display());
                return Err(GraphError::Feed { input: input.to_string(), why }.into());
            }
            return match dtype {
                DType::String => self.read_npy_strings(reader, path, budget),
                _ => read_npy(reader, dtype, budget),
            };
        }
        if dtype != DType::String {
            let why =
                format!("is of type {dtype} and is fed from a .npy file, which {} is not", path.display());
            return Err(GraphError::Feed { input: input.to_string(), why }.into());
        }
        if extension == "json" {
            let nested = nested::read(BufReader::new(file), budget).map_err(|error| match error {
                NestedError::Budget(error) => Error::from(error),
                other => Error::data(path, other.to_string()),
            })?;
            self.texts.push(nested.reservation);
            return Ok(Tensor::Strings { shape: nested.shape, texts: nested.texts });
        }
        self.read_bytes(file, path, budget)
    }

    fn read_bytes(&mut self, file: File, path: &Path, budget: &MemoryBudget) -> Result<Tensor, Error> {
        let metadata = file.metadata().map_err(|error| Error::io(path, error))?;
        if !metadata.is_file() {
            return Err(Error::data(path, "is no regular file, so its size is not known before it is read"));
        }
        let bytes = metadata.len();
        self.texts.push(budget.try_reserve("pipeline", bytes + TEXT_BYTES)?);
        let mut text = Vec::with_capacity(bytes as usize);
        // A file that grows meanwhile is cut off where it ended.
        file.take(bytes).read_to_end(&mut text).map_err(|error| Error::io(path, error))?;
        Ok(Tensor::Strings { shape: Shape::SCALAR, texts: vec![text.into()] })
    }

    fn read_npy_strings(
        &mut self,
        mut reader: NpyReader<BufReader<File>>,
        path: &Path,
        budget: &MemoryBudget,
    ) -> Result<Tensor, Error> {
        let header = *reader.header();
        let (shape, width) = (header.shape, header.element.bytes());
        let overhead_bytes = (shape.elements() as u64).saturating_mul(TEXT_BYTES);
        let texts_bytes = header.data_bytes().saturating_add(overhead_bytes);
        self.texts.push(budget.try_reserve("pipeline", texts_bytes)?);
        let mut data = Buffer::new(budget, "pipeline", header.data_bytes() as usize)?;
        reader.read_all(&mut data)?;
        let mut texts: Vec<Box<[u8]>> = Vec::with_capacity(shape.elements());
        // No wider than the data, which is in the budget, unless there is no element at all.
        let mut utf8 = vec![0; width.min(data.len())];
        for i in 0..shape.elements() {
            let element = data.get(i * width..(i + 1) * width).unwrap_or_default();
            let text = match header.element {
                NpyType::Unicode(_) => {
                    let bytes = utf8_of_ucs4(element, &mut utf8).and_then(|bytes| utf8.get(..bytes));
                    bytes.ok_or_else(|| Error::data(path, format!("element {i} is no unicode")))?
                }
                _ => trim_zeros(element),
            };
            texts.push(text.into());
        }
        Ok(Tensor::Strings { shape, texts })
    }

    /// Rows of the run: the first dimension of the first input whose first dimension the model leaves open, else 1.
    pub fn rows(&self, model: &Model) -> usize {
        let graph = model.graph();
        let is_open = |port: &&Port| {
            let dims = &graph.fact(port.value).dims;
            dims.get().is_none_or(|dims| dims.first().is_some_and(|d| d.known().is_none()))
        };
        let tensors = graph.inputs.iter().filter(is_open).filter_map(|port| self.tensor(&port.name));
        tensors.filter_map(|t| t.shape().first().copied()).next().unwrap_or(1)
    }

    /// Lays out `model` for these tensors. `options` says threads, memory and output; the rest follows from the tensors
    /// and is filled in.
    ///
    /// Shapes that depend on the value of an input are known here, since what is fed is fed once. Still the values are
    /// used only where a layout cannot be made without them, so that all else is computed as in any other run.
    ///
    /// # Errors
    /// As [`crate::fit::fit`].
    pub fn fit(&self, model: &Model, options: &mut FitOptions) -> Result<Fit, Error> {
        options.batch = self.rows(model);
        options.shapes = self.tensors.iter().map(|(name, t)| (name.clone(), *t.shape())).collect();
        options.string_bytes = self.tensors.iter().map(|(_, t)| t.string_bytes() as u64).sum();
        options.pipeline_bytes = self.memory_bytes();
        let known = |options: &mut FitOptions| {
            options.values = self.tensors.iter().map(|(name, t)| (name.clone(), t.fact())).collect();
            fit(model, options)
        };
        match fit(model, options) {
            Err(Error::Graph(_)) => known(options),
            Ok(fit) if fit.plan.steps.iter().any(|step| step.operator.can_outgrow()) => {
                drop(fit);
                known(options)
            }
            other => other,
        }
    }

    /// Bytes of memory that the tensors take.
    pub fn memory_bytes(&self) -> u64 {
        let dense = self.tensors.iter().map(|(_, tensor)| match tensor {
            Tensor::Dense { bytes, .. } => bytes.len() as u64,
            Tensor::Strings { .. } => 0,
        });
        dense.sum::<u64>() + self.texts.iter().map(Reservation::bytes).sum::<u64>()
    }

    /// The tensors for a run, for inputs in this order.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that is not fed.
    pub fn feeds<'n>(&self, inputs: impl Iterator<Item = &'n str>) -> Result<Vec<Feed<'_>>, Error> {
        let feed = |name: &str| {
            let feed = self.tensor(name).and_then(Tensor::feed);
            feed.ok_or_else(|| Error::Usage(format!("input '{name}' is not fed")))
        };
        inputs.map(feed).collect()
    }

    fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|(n, _)| n == name).map(|(_, tensor)| tensor)
    }
}

fn describe(graph: &Graph, port: &Port) -> String {
    format!("{} ({})", port.name, graph.fact(port.value))
}

fn read_npy(
    mut reader: NpyReader<BufReader<File>>,
    dtype: DType,
    budget: &MemoryBudget,
) -> Result<Tensor, Error> {
    let shape = reader.header().shape;
    let mut bytes = Buffer::new(budget, "pipeline", shape.elements() * dtype.bytes())?;
    reader.read_all(&mut bytes)?;
    if dtype == DType::Bool {
        // Kernels rely on 0 and 1.
        bytes.iter_mut().for_each(|b| *b = (*b != 0) as u8);
    }
    Ok(Tensor::Dense { dtype, shape, bytes })
}
