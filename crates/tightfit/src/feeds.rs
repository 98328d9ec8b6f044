//! `NAME=FILE`: tensors that are fed as they are, once.
//!
//! A dense tensor comes from a .npy file of exactly the input's element type. A string tensor comes from a .json file
//! of nested lists, a .npy file of byte or unicode strings, or any other file, whose bytes are one scalar.
//!
//! What a file will take is known before it is read ([`FeedSizes`]): from its header, its size, or, of a .json file, from a
//! pass over it that keeps nothing. So a model is laid out first, and what does not fit is never read.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{Buffer, DType, MemoryBudget, Shape};
use tightfit_format::npy::{NpyHeader, NpyReader, NpyType, trim_zeros, utf8_of_ucs4};
use tightfit_graph::GraphError;
use tightfit_graph::exec::Feed;
use tightfit_graph::ir::{Graph, Port};

use crate::error::Error;
use crate::fit::{Fit, FitOptions, fit};
use crate::model::Model;
use crate::nested::{self, Nested, NestedError, TEXT_BYTES};
use crate::tensor::Tensor;

/// A tensor for every input of a model, in memory.
#[derive(Debug)]
pub struct Feeds {
    tensors: Vec<(String, Tensor)>,
}

/// What the tensors for the inputs of a model are, without their elements.
#[derive(Debug, Clone, Default)]
pub struct FeedSizes {
    sizes: Vec<FeedSize>,
}

/// One of them.
#[derive(Debug, Clone)]
struct FeedSize {
    input: String,
    shape: Shape,
    /// The most bytes of the budget that it takes, while it is read or later.
    held_bytes: u64,
    string_bytes: u64,
}

/// A file that feeds an input, opened.
enum FeedFile {
    Npy(Box<NpyReader<BufReader<File>>>),
    Json(File),
    /// A file whose bytes are one string, and how many they are.
    Bytes(File, u64),
}

impl Feeds {
    /// Reads the file of every input of `model`. `files` are pairs of a tensor's name and its file.
    ///
    /// # Errors
    /// [`Error::Usage`] for an input without a file, and as [`Feeds::read_some`].
    pub fn read(model: &Model, files: &[(String, PathBuf)], budget: &MemoryBudget) -> Result<Feeds, Error> {
        check_all_fed(model, files)?;
        Feeds::read_some(model, files, budget)
    }

    /// Feeds these tensors, pairs of an input's name and its tensor.
    ///
    /// # Errors
    /// [`Error::Usage`] for an input of `model` without a tensor, [`Error::Graph`] for a tensor of another element type.
    pub fn new(model: &Model, tensors: Vec<(String, Tensor)>) -> Result<Feeds, Error> {
        let graph = model.graph();
        let mut feeds = Feeds { tensors: Vec::with_capacity(tensors.len()) };
        for port in &graph.inputs {
            let dtype = graph.fact(port.value).dtype;
            let is_fed = |(name, _): &&(String, Tensor)| model.is_called(port, name);
            match tensors.iter().find(is_fed).map(|(_, tensor)| tensor.dtype()) {
                Some(found) if found == dtype => {}
                Some(found) => {
                    let why = format!("is of type {dtype}, not {found}");
                    return Err(GraphError::Feed { input: port.name.clone(), why }.into());
                }
                None => return Err(Error::Usage(format!("not fed: {}", describe(graph, port)))),
            }
        }
        feeds.tensors.extend(tensors.into_iter().map(|(name, tensor)| {
            let port = graph.inputs.iter().find(|port| model.is_called(port, &name));
            (port.map_or(name, |port| port.name.clone()), tensor)
        }));
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
        let mut tensors = Vec::new();
        for_each_file(model, files, &mut |port, dtype, path| {
            tensors.push((
                port.name.clone(),
                FeedFile::open(&port.name, dtype, path)?.read(dtype, path, budget)?,
            ));
            Ok(())
        })?;
        Ok(Feeds { tensors })
    }

    /// The tensors with the names of their inputs.
    pub fn into_tensors(self) -> Vec<(String, Tensor)> {
        self.tensors
    }

    /// What the tensors are.
    pub fn sizes(&self) -> FeedSizes {
        let size = |(input, tensor): &(String, Tensor)| FeedSize {
            input: input.clone(),
            shape: *tensor.shape(),
            held_bytes: tensor.held_bytes(),
            string_bytes: tensor.string_bytes() as u64,
        };
        FeedSizes { sizes: self.tensors.iter().map(size).collect() }
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
        let known = |options: &mut FitOptions| {
            options.values = self.tensors.iter().map(|(name, t)| (name.clone(), t.fact())).collect();
            fit(model, options)
        };
        match self.sizes().fit(model, options) {
            Err(error @ Error::Graph(_)) if !error.is_budget() => known(options),
            Ok(fit) if fit.can_outgrow() => {
                drop(fit);
                known(options)
            }
            other => other,
        }
    }

    /// Bytes of memory that the tensors take.
    pub fn memory_bytes(&self) -> u64 {
        self.tensors.iter().map(|(_, tensor)| tensor.held_bytes()).sum()
    }

    /// The tensors for a run, for inputs in this order.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that is not fed.
    pub fn feeds<'n>(&self, inputs: impl Iterator<Item = &'n str>) -> Result<Vec<Feed<'_>>, Error> {
        let feed = |name: &str| {
            let feed = self.tensors.iter().find(|(n, _)| n == name).and_then(|(_, tensor)| tensor.feed());
            feed.ok_or_else(|| Error::Usage(format!("input '{name}' is not fed")))
        };
        inputs.map(feed).collect()
    }
}

/// The shapes of the arrays in .npy files; nothing of other files, and of those that cannot be read, which is told as they
/// are fed.
pub fn array_shapes(files: &[(String, PathBuf)]) -> Vec<(String, Shape)> {
    let shape = |(name, path): &(String, PathBuf)| {
        Some((name.clone(), array_header(path).map(|header| header.shape)?))
    };
    files.iter().filter_map(shape).collect()
}

/// The type of the array in a .npy file, as of [`array_shapes`].
pub(crate) fn array_dtype(path: &Path) -> Option<DType> {
    array_header(path).map(|header| header.element.dtype())
}

fn array_header(path: &Path) -> Option<NpyHeader> {
    let is_array = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"));
    let file = File::open(path).ok().filter(|file| is_array && file.metadata().is_ok_and(|m| m.is_file()))?;
    let reader = NpyReader::new(Arc::from(path), BufReader::new(file)).ok()?;
    Some(*reader.header())
}

impl FeedSizes {
    /// Looks at the file of every input of `model`, without reading what is in it. `None` where a file is no regular one,
    /// and could not be read a second time.
    ///
    /// # Errors
    /// As [`Feeds::read`], but for what only the elements tell.
    pub fn read(
        model: &Model,
        files: &[(String, PathBuf)],
        budget: &MemoryBudget,
    ) -> Result<Option<FeedSizes>, Error> {
        check_all_fed(model, files)?;
        let is_regular = |path: &PathBuf| path.metadata().map_or(true, |metadata| metadata.is_file());
        if !files.iter().all(|(_, path)| is_regular(path)) {
            return Ok(None);
        }
        let mut sizes = Vec::new();
        for_each_file(model, files, &mut |port, dtype, path| {
            sizes.push(FeedFile::open(&port.name, dtype, path)?.size(&port.name, dtype, path, budget)?);
            Ok(())
        })?;
        Ok(Some(FeedSizes { sizes }))
    }

    /// Rows of the run: the first dimension of the first input whose first dimension the model leaves open, else 1.
    pub fn rows(&self, model: &Model) -> usize {
        let graph = model.graph();
        let is_open = |port: &&Port| {
            let dims = &graph.fact(port.value).dims;
            dims.get().is_none_or(|dims| dims.first().is_some_and(|d| d.known().is_none()))
        };
        let find = |port: &Port| self.sizes.iter().find(|size| size.input == port.name);
        let shapes = graph.inputs.iter().filter(is_open).filter_map(find).map(|size| size.shape);
        shapes.filter_map(|shape| shape.first().copied()).next().unwrap_or(1)
    }

    /// Lays out `model` for tensors of these sizes. `options` says threads, memory and output; the rest is filled in.
    ///
    /// # Errors
    /// As [`crate::fit::fit`]; [`Error::Graph`] as well where a shape depends on the value of an input, which
    /// [`Feeds::fit`] knows.
    pub fn fit(&self, model: &Model, options: &mut FitOptions) -> Result<Fit, Error> {
        options.batch = self.rows(model);
        options.shapes = self.sizes.iter().map(|size| (size.input.clone(), size.shape)).collect();
        let total = |bytes: fn(&FeedSize) -> u64| self.sizes.iter().map(bytes).fold(0, u64::saturating_add);
        options.string_bytes = total(|size| size.string_bytes);
        options.pipeline_bytes = total(|size| size.held_bytes);
        fit(model, options)
    }
}

impl FeedFile {
    fn open(input: &str, dtype: DType, path: &Path) -> Result<FeedFile, Error> {
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
            return Ok(FeedFile::Npy(Box::new(reader)));
        }
        if dtype != DType::String {
            let why =
                format!("is of type {dtype} and is fed from a .npy file, which {} is not", path.display());
            return Err(GraphError::Feed { input: input.to_string(), why }.into());
        }
        if extension == "json" {
            return Ok(FeedFile::Json(file));
        }
        let metadata = file.metadata().map_err(|error| Error::io(path, error))?;
        if !metadata.is_file() {
            return Err(Error::data(path, "is not a regular file: its size is unknown until it is read"));
        }
        Ok(FeedFile::Bytes(file, metadata.len()))
    }

    fn size(self, input: &str, dtype: DType, path: &Path, budget: &MemoryBudget) -> Result<FeedSize, Error> {
        let (shape, held_bytes, string_bytes) = match self {
            FeedFile::Npy(reader) => {
                let header = reader.header();
                let data_bytes = header.data_bytes();
                match dtype {
                    DType::String => {
                        (header.shape, texts_bytes(header).saturating_add(data_bytes), data_bytes)
                    }
                    _ => (header.shape, data_bytes, 0),
                }
            }
            FeedFile::Json(file) => {
                let nested =
                    nested::measure(BufReader::new(file), budget).map_err(|e| json_error(path, e))?;
                (nested.shape, nested.peak_bytes, nested.string_bytes)
            }
            FeedFile::Bytes(_, bytes) => (Shape::SCALAR, bytes.saturating_add(TEXT_BYTES), bytes),
        };
        Ok(FeedSize { input: input.to_string(), shape, held_bytes, string_bytes })
    }

    fn read(self, dtype: DType, path: &Path, budget: &MemoryBudget) -> Result<Tensor, Error> {
        match self {
            FeedFile::Npy(reader) if dtype == DType::String => read_npy_strings(*reader, path, budget),
            FeedFile::Npy(reader) => read_npy(*reader, dtype, budget),
            FeedFile::Json(file) => {
                let nested = nested::read(BufReader::new(file), budget).map_err(|e| json_error(path, e))?;
                let Nested { shape, texts, reservation, .. } = nested;
                Ok(Tensor::Strings { shape, texts, memory: Some(reservation) })
            }
            FeedFile::Bytes(file, bytes) => read_bytes(file, bytes, path, budget),
        }
    }
}

/// Calls `each` with every input of `model` that has a file, its type and the file.
fn for_each_file(
    model: &Model,
    files: &[(String, PathBuf)],
    each: &mut dyn FnMut(&Port, DType, &Path) -> Result<(), Error>,
) -> Result<(), Error> {
    let graph = model.graph();
    for port in &graph.inputs {
        let mut files = files.iter().filter(|(name, _)| model.is_called(port, name));
        let Some((_, path)) = files.next() else { continue };
        if files.next().is_some() {
            return Err(Error::Usage(format!("input '{}' is fed twice", port.name)));
        }
        each(port, graph.fact(port.value).dtype, path)?;
    }
    Ok(())
}

fn check_all_fed(model: &Model, files: &[(String, PathBuf)]) -> Result<(), Error> {
    let graph = model.graph();
    let is_fed = |port: &&Port| files.iter().any(|(name, _)| model.is_called(port, name));
    let missing: Vec<String> =
        graph.inputs.iter().filter(|port| !is_fed(port)).map(|port| describe(graph, port)).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Error::NotFed(missing)),
    }
}

fn json_error(path: &Path, error: NestedError) -> Error {
    match error {
        NestedError::Budget(error) => Error::from(error),
        other => Error::data(path, other.to_string()),
    }
}

fn read_bytes(file: File, bytes: u64, path: &Path, budget: &MemoryBudget) -> Result<Tensor, Error> {
    let memory = Some(budget.try_reserve("pipeline", bytes.saturating_add(TEXT_BYTES))?);
    let mut text = Vec::with_capacity(bytes as usize);
    // A file that grows meanwhile is cut off where it ended.
    file.take(bytes).read_to_end(&mut text).map_err(|error| Error::io(path, error))?;
    Ok(Tensor::Strings { shape: Shape::SCALAR, texts: vec![text.into()], memory })
}

/// Bytes that the strings of a .npy file take, with their places in the list.
fn texts_bytes(header: &NpyHeader) -> u64 {
    header.data_bytes().saturating_add((header.shape.elements() as u64).saturating_mul(TEXT_BYTES))
}

fn read_npy_strings(
    mut reader: NpyReader<BufReader<File>>,
    path: &Path,
    budget: &MemoryBudget,
) -> Result<Tensor, Error> {
    let header = *reader.header();
    let (shape, width) = (header.shape, header.element.bytes());
    let memory = Some(budget.try_reserve("pipeline", texts_bytes(&header))?);
    let mut data = Buffer::new(budget, "pipeline", header.data_bytes() as usize)?;
    reader.read_all(&mut data)?;
    let mut texts: Vec<Box<[u8]>> = Vec::with_capacity(shape.elements());
    // No wider than the data, which is in the budget, unless there is no element at all.
    let mut utf8 = vec![0; width.min(data.len())];
    for i in 0..shape.elements() {
        let element = data.get(i * width..(i + 1) * width);
        let element = element.ok_or(Error::Defect("an element lies outside of its array"))?;
        let text = match header.element {
            NpyType::Unicode(_) => {
                let bytes = utf8_of_ucs4(element, &mut utf8).and_then(|bytes| utf8.get(..bytes));
                bytes.ok_or_else(|| Error::data(path, format!("element {i} is not Unicode")))?
            }
            _ => trim_zeros(element),
        };
        texts.push(text.into());
    }
    Ok(Tensor::Strings { shape, texts, memory })
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
