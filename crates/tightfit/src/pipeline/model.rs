//! A model as a stage: fields feed its inputs, its outputs become fields.
//!
//! ```json
//! {"model": "features.pb", "feed": {"input": "image"}, "fetch": ["pool"], "keep": ["label"], "memory": "64MiB"}
//! ```
//!
//! An input is fed by the field that `feed` names, or by the one of its own name, or by the only one there is. Without
//! `keep` all fields go on that the outputs do not replace. A model is planned when the first element comes, and anew
//! when shapes change.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tightfit_core::{BudgetError, DType, MemoryBudget, Shape};
use tightfit_data::flow::{
    Args, Element, ElementView, Field, Map, MapMode, MapOp, MapWorker, Read, Schema, StageSpec, Verdict,
};
use tightfit_data::{DataError, FileStamp, RowFault};
use tightfit_graph::exec::Feed;
use tightfit_graph::ir::NodeKind;

use crate::error::Error;
use crate::fit::FitOptions;
use crate::model::{Model, OpenOptions};
use crate::run::Runner;

/// Inputs of a model, at most.
const MAX_INPUTS: usize = 64;

/// A model as an operation on elements.
struct ModelOp {
    model: Arc<Model>,
    /// What the operation is told from others by: the file and all options.
    identity: Value,
    /// The field that feeds an input, by the input's name.
    feeds: HashMap<String, String>,
    /// The fields that go on; `None` for all.
    keeps: Option<Vec<String>>,
    memory_bytes: Option<u64>,
    threads: usize,
}

/// The stage with all its options, and what they are, as docs/pipelines.md has it.
pub(super) const EXAMPLE: &str = r#"{"model": "features.pb", "feed": {"input": "image"}, "fetch": ["pool"], "keep": ["label"], "memory": "64MiB"}"#;
pub(super) const ABOUT: &str = "Runs a model: its outputs become fields. `feed` [fields of the inputs' names, or the only one]; `fetch` [the model's outputs]; `keep` [all that the outputs do not replace]; `memory` [all that is free]";

/// What a description says of the stage.
pub(super) struct Described {
    path: PathBuf,
    feeds: HashMap<String, String>,
    fetches: Vec<String>,
    keeps: Option<Vec<String>>,
    memory_bytes: Option<u64>,
}

/// Reads what a description says of the stage, and opens nothing.
pub(super) fn describe(args: &mut Args<'_>) -> Read<Described> {
    let path = args.path()?;
    let mut feeds = HashMap::new();
    if let Some(value) = args.option("feed") {
        let pairs = value.as_object().ok_or_else(|| args.wrong("feed", "an object of inputs and fields"))?;
        for (input, field) in pairs {
            let field = field.as_str().ok_or_else(|| args.wrong("feed", "an object of inputs and fields"))?;
            feeds.insert(input.clone(), field.to_string());
        }
    }
    let fetches = args.texts_option("fetch")?.unwrap_or_default();
    let keeps = args.texts_option("keep")?;
    let memory_bytes = args.bytes_option("memory")?;
    Ok(Described { path, feeds, fetches, keeps, memory_bytes })
}

/// Reads the stage `model`, which computes with `threads`. The model's structure comes out of `budget`.
pub(super) fn read(args: &mut Args<'_>, threads: usize, budget: &MemoryBudget) -> Read<Arc<dyn StageSpec>> {
    let Described { path, feeds, fetches, keeps, memory_bytes } = describe(args)?;
    let mut fed: Vec<_> = feeds.iter().collect();
    fed.sort();
    let stamp = FileStamp::of(&path).map_err(|error| error.to_string())?;
    let file = json!([path.display().to_string(), stamp.bytes, stamp.modified_ns]);
    let identity = json!({"model": file, "feed": fed, "fetch": fetches, "keep": keeps});
    let options = OpenOptions { fetches, ..OpenOptions::default() };
    let model = Model::open(&path, &options, budget).map_err(|e| e.to_string())?;
    let known = |input: &&String| model.graph().inputs.iter().all(|port| port.name != **input);
    if let Some(input) = feeds.keys().find(known) {
        return Err(format!("{}: the model has no input '{input}'", path.display()));
    }
    let op = ModelOp { model: Arc::new(model), identity, feeds, keeps, memory_bytes, threads };
    // One runner with its own threads: a second would hold the weights once more.
    let mode = MapMode::Parallel { threads: Some(1), is_ordered: true };
    Ok(Arc::new(Map { op: Arc::new(op), mode }))
}

impl ModelOp {
    /// The field that feeds each input, in the order of the inputs.
    fn fields(&self, input: &Schema) -> Read<Vec<usize>> {
        let inputs = &self.model.graph().inputs;
        if inputs.len() > MAX_INPUTS {
            return Err(format!("a model of {} inputs; at most {MAX_INPUTS} can be fed", inputs.len()));
        }
        let field = |name: &String| match (self.feeds.get(name), input.find(name)) {
            (Some(field), _) => input.index(field),
            (None, Some(index)) => Ok(index),
            (None, None) if inputs.len() == 1 && input.fields().len() == 1 => Ok(0),
            (None, None) => Err(format!("which field feeds input '{name}'? There are {input}")),
        };
        inputs.iter().map(|port| field(&port.name)).collect()
    }

    /// The fields of `input` that go on.
    fn kept(&self, input: &Schema) -> Read<Vec<usize>> {
        match &self.keeps {
            Some(names) => names.iter().map(|name| input.index(name)).collect(),
            None => {
                let is_replaced =
                    |f: &Field| self.model.graph().outputs.iter().any(|port| port.name == f.name);
                let all = input.fields().iter().enumerate();
                Ok(all.filter(|(_, field)| !is_replaced(field)).map(|(index, _)| index).collect())
            }
        }
    }
}

impl MapOp for ModelOp {
    fn name(&self) -> String {
        format!("model {}", self.model.path().display())
    }

    fn identity(&self) -> Value {
        self.identity.clone()
    }

    fn schema(&self, input: &Schema) -> Read<Schema> {
        let graph = self.model.graph();
        for (port, index) in graph.inputs.iter().zip(self.fields(input)?) {
            let NodeKind::Input { dtype, .. } = &graph.producer(port.value).kind else { continue };
            match input.fields().get(index) {
                Some(field) if field.dtype != *dtype => {
                    return Err(format!("input '{}' is {dtype}; a cast makes that of {field}", port.name));
                }
                _ => {}
            }
        }
        let kept = self.kept(input)?.into_iter().filter_map(|index| input.fields().get(index).cloned());
        let mut fields: Vec<Field> = kept.collect();
        for port in &graph.outputs {
            let fact = graph.fact(port.value);
            let dims = fact.dims.get().ok_or_else(|| format!("output '{}' has no known rank", port.name))?;
            let dims: Vec<_> = dims.iter().map(|dim| dim.size()).collect();
            fields.push(Field::new(port.name.clone(), fact.dtype, &dims));
        }
        Schema::new(fields)
    }

    fn worker(&self, input: &Schema, budget: &MemoryBudget) -> Result<Box<dyn MapWorker>, DataError> {
        Ok(Box::new(ModelWorker {
            model: self.model.clone(),
            fields: self.fields(input).map_err(DataError::Spec)?,
            kept: self.kept(input).map_err(DataError::Spec)?,
            memory_bytes: self.memory_bytes,
            threads: self.threads,
            budget: budget.clone(),
            runner: None,
            shapes: Vec::new(),
            string_bytes: 0,
        }))
    }
}

struct ModelWorker {
    model: Arc<Model>,
    /// The field of each of the model's inputs, and those that go on.
    fields: Vec<usize>,
    kept: Vec<usize>,
    memory_bytes: Option<u64>,
    threads: usize,
    budget: MemoryBudget,
    runner: Option<Runner>,
    /// What the runner is planned for.
    shapes: Vec<Shape>,
    string_bytes: u64,
}

impl ModelWorker {
    /// Plans the model for an element of these shapes.
    fn plan(&mut self, input: &ElementView<'_>) -> Result<(), Error> {
        let shape = |index: &usize| input.tensor(*index).map_or(Shape::SCALAR, |tensor| *tensor.shape());
        let is_planned = self.fields.iter().map(shape).eq(self.shapes.iter().copied());
        let text_bytes = input.text().len() as u64;
        if is_planned && self.runner.is_some() && text_bytes <= self.string_bytes {
            return Ok(());
        }
        self.shapes = self.fields.iter().map(shape).collect();
        let names = self.model.graph().inputs.iter().map(|port| port.name.clone());
        let free_bytes = self.memory_bytes.unwrap_or(u64::MAX).min(self.budget.free_bytes());
        let options = FitOptions {
            batch: self.shapes.first().and_then(|shape| shape.first().copied()).unwrap_or(1),
            threads: self.threads,
            memory_bytes: free_bytes,
            is_inner: true,
            // What is left is the pipeline's, and elements have many shapes.
            fills_rest: false,
            shapes: names.zip(self.shapes.iter().copied()).collect(),
            string_bytes: text_bytes.saturating_mul(2),
            ..FitOptions::default()
        };
        match &mut self.runner {
            Some(runner) if text_bytes <= self.string_bytes => runner.replan(&self.model, &options)?,
            _ => {
                // The old one's memory is given back first.
                self.runner = None;
                self.runner = Some(Runner::new(&self.model, &options, &self.budget)?);
                self.string_bytes = options.string_bytes;
            }
        }
        Ok(())
    }
}

impl MapWorker for ModelWorker {
    fn run(&mut self, input: &ElementView<'_>, out: &mut Element) -> Result<Verdict, RowFault> {
        self.plan(input).map_err(|error| fault(&self.model, &self.budget, &error))?;
        let Some(runner) = &mut self.runner else { return Ok(Verdict::Drop) };
        let mut feeds = [Feed::NONE; MAX_INPUTS];
        let names: Vec<&str> = runner.inputs().collect();
        let ports = &self.model.graph().inputs;
        for (to, name) in feeds.iter_mut().zip(&names) {
            let port = ports.iter().position(|port| port.name == *name);
            let tensor = port.and_then(|port| input.tensor(*self.fields.get(port)?));
            let Some(tensor) = tensor else { continue };
            *to = match tensor.dtype() {
                DType::String => Feed::Text(tensor, input.text()),
                _ => Feed::Tensor(tensor),
            };
        }
        let count = names.len();
        let outputs = feeds.get(..count).ok_or(Error::Defect("more inputs than there is room for"));
        let outputs = outputs
            .and_then(|feeds| runner.run(feeds))
            .map_err(|error| fault(&self.model, &self.budget, &error))?;
        for index in &self.kept {
            if let Some(tensor) = input.tensor(*index) {
                out.add_copy(tensor, input.text())?;
            }
        }
        for index in 0..outputs.len() {
            let Some(tensor) = outputs.tensor(index) else { continue };
            if tensor.dtype() != DType::String {
                out.add_copy(tensor, &[])?;
                continue;
            }
            let field = self.kept.len() + index;
            out.add(*tensor.shape())?;
            for (i, element) in tensor.bytes().as_chunks::<16>().0.iter().enumerate() {
                let string = out.add_text(outputs.string(bytemuck::cast(*element)))?;
                out.put_string(field, i, string)?;
            }
        }
        Ok(Verdict::Keep)
    }
}

/// Too little memory stays told apart from what else can go wrong.
fn fault(model: &Model, budget: &MemoryBudget, error: &Error) -> RowFault {
    match error {
        Error::NotFit(not_fit) => RowFault::Memory(BudgetError {
            purpose: "the model",
            asked_bytes: not_fit.minimum_bytes,
            free_bytes: budget.free_bytes(),
            limit_bytes: budget.limit_bytes(),
            holders: budget.holders(),
        }),
        error => RowFault::Map(format!("{}: {error}", model.path().display())),
    }
}
