//! Quantising: a model as a TensorFlow Lite model whose weights, and with calibration activations too, are integers.
//!
//! A model of another kind is frozen to a TensorFlow Lite model of floats first. What is changed is the description of that
//! file: each tensor's values stay where they are and become integers as they are written ([`values`]).

mod calibrate;
mod full;
mod temporary;
mod values;
mod weights;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tightfit_core::{Account, MemoryBudget};
use tightfit_format::tflite::{Model as Lite, Place, Signature, SubGraph};
use tightfit_format::{FormatError, Problem, SourceFile};

use crate::error::Error;
use crate::freeze::{FreezeOptions, tflite};
use crate::job::DataOptions;
use crate::model::ModelSource;
use crate::process;

pub use calibrate::{Calibration, Method};
use temporary::Temporary;
use values::Value;
pub use weights::Layer;

/// What becomes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recipe {
    /// Weights of int8 with a scale for each output channel; activations are floats that each product rounds as it runs.
    #[default]
    Dynamic,
    /// Weights of int8 that are floats again before they are used.
    WeightOnly,
    /// Weights of float16 that are floats again before they are used.
    Half,
    /// Weights and activations of int8, with ranges that are calibrated.
    Int8,
}

impl Recipe {
    /// All with their names.
    pub const ALL: [(&'static str, Recipe); 4] = [
        ("dynamic", Recipe::Dynamic),
        ("weight-only", Recipe::WeightOnly),
        ("f16", Recipe::Half),
        ("int8", Recipe::Int8),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Recipe::ALL.iter().find(|(_, own)| *own == self).map_or("", |(name, _)| name)
    }
}

/// What is wanted of a quantised model.
#[derive(Debug, Clone, Default)]
pub struct QuantizeOptions {
    /// Which graph and which values are meant.
    pub source: ModelSource,
    /// Tensors to compute; empty for the outputs of the signature.
    pub fetches: Vec<String>,
    /// What becomes of it.
    pub recipe: Recipe,
    /// True where inputs and outputs are int8 as well.
    pub has_integer_ports: bool,
    /// How ranges follow from what was seen.
    pub method: Method,
    /// The data that ranges of activations are found with.
    pub data: DataOptions,
    /// Rows of it that are computed at once.
    pub batch: usize,
    /// Threads that compute them.
    pub threads: usize,
}

/// A model that has been quantised.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Quantized {
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of all constants, before and now.
    pub constant_bytes: [u64; 2],
    /// Weights that are stored in fewer bits.
    pub layers: Vec<Layer>,
    /// Operators that compute in floats, by their builtins, and how many there are.
    pub in_floats: Vec<(String, usize)>,
    /// Rows that ranges were found with.
    pub calibration_rows: u64,
}

/// A model while it is changed: the description of a file of floats.
struct Draft {
    source: Arc<SourceFile>,
    graphs: Vec<SubGraph>,
    signatures: Vec<Signature>,
    values: Vec<Value>,
    account: Account,
}

impl Draft {
    fn new(model: &Lite, budget: &MemoryBudget) -> Result<Draft, Error> {
        let mut account = Account::new(budget, "description of the quantised model");
        account.grow(2 * model.reservation.bytes())?;
        let mut draft = Draft {
            source: model.source.clone(),
            graphs: model.subgraphs.clone(),
            signatures: model.signatures.clone(),
            values: Vec::new(),
            account,
        };
        let invalid = |found: String| {
            let problem = Problem::invalid("a model whose values are all in its file", found);
            FormatError::new(model.source.path(), tightfit_format::Place::Whole, problem)
        };
        let mut numbers = HashMap::new();
        let values = &mut draft.values;
        let mut virtual_place = |place: Place| match place.bytes {
            0 => Place::default(),
            bytes => {
                let next = values.len() as u64;
                let offset = *numbers.entry(place.offset).or_insert(next);
                if offset == next {
                    values.push(Value::File(place));
                }
                Place { offset, bytes }
            }
        };
        for graph in &mut draft.graphs {
            for tensor in &mut graph.tensors {
                if tensor.external.is_some() {
                    return Err(invalid(format!("'{}', which is in another", tensor.name)).into());
                }
                tensor.values = virtual_place(tensor.values);
            }
            for operator in &mut graph.operators {
                operator.custom_options = virtual_place(operator.custom_options);
            }
        }
        Ok(draft)
    }

    /// Adds values, and counts them.
    fn add(&mut self, value: Value, bytes: u64) -> Result<Place, Error> {
        self.account.grow(value.held_bytes() + 256)?;
        self.values.push(value);
        Ok(Place { offset: self.values.len() as u64 - 1, bytes })
    }

    /// Leaves out tensors that nothing takes or makes.
    fn compact(&mut self) {
        for (index, graph) in self.graphs.iter_mut().enumerate() {
            let operators = graph.operators.iter();
            let used = operators.flat_map(|o| o.inputs.iter().chain(&o.outputs).chain(&o.intermediates));
            let used: HashSet<i32> = used.chain(&graph.inputs).chain(&graph.outputs).copied().collect();
            let scales = graph.tensors.iter().filter_map(|tensor| tensor.blockwise);
            let scales: HashSet<i32> = scales.flat_map(|own| [own.scales, own.zero_points]).collect();
            let mut kept = 0;
            let numbers: Vec<i32> = (0..graph.tensors.len() as i32)
                .map(|id| {
                    let is_kept = used.contains(&id) || scales.contains(&id);
                    kept += i32::from(is_kept);
                    if is_kept { kept - 1 } else { -1 }
                })
                .collect();
            let mut marks = numbers.iter();
            graph.tensors.retain(|_| marks.next().is_some_and(|number| *number >= 0));
            let new = |id: &mut i32| {
                *id = usize::try_from(*id).ok().and_then(|id| numbers.get(id)).copied().unwrap_or(-1);
            };
            for operator in &mut graph.operators {
                let lists = [&mut operator.inputs, &mut operator.outputs, &mut operator.intermediates];
                lists.into_iter().flatten().for_each(new);
            }
            graph.inputs.iter_mut().chain(&mut graph.outputs).for_each(new);
            for blockwise in graph.tensors.iter_mut().filter_map(|tensor| tensor.blockwise.as_mut()) {
                new(&mut blockwise.scales);
                new(&mut blockwise.zero_points);
            }
            for signature in self.signatures.iter_mut().filter(|own| own.subgraph as usize == index) {
                for (_, number) in signature.inputs.iter_mut().chain(&mut signature.outputs) {
                    *number = numbers.get(*number as usize).map_or(*number, |new| (*new).max(0) as u32);
                }
            }
        }
    }

    fn constant_bytes(&self) -> u64 {
        self.graphs.iter().flat_map(|graph| &graph.tensors).map(|tensor| tensor.values.bytes).sum()
    }
}

/// Writes the model at `path`, quantised, to `output`, whole or not at all.
///
/// # Errors
/// As [`crate::freeze::freeze`], of calibration as [`crate::job::Job::run`], and [`Error::Usage`] for int8 activations without
/// data.
pub fn quantize(
    path: &Path,
    options: &QuantizeOptions,
    output: &Path,
    stop: &'static AtomicBool,
    budget: &MemoryBudget,
) -> Result<Quantized, Error> {
    if options.recipe == Recipe::Int8 && options.data.sources.is_empty() {
        return Err(Error::Usage("int8 needs data to find ranges with: give some with --input".into()));
    }
    let source = SourceFile::open(path).map_err(Error::from);
    let is_lite = source.is_ok_and(|source| {
        let mut head = [0; 8];
        source.read_exact_at(0, &mut head).is_ok() && head[4..] == *b"TFL3"
    });
    let floats = if is_lite { None } else { Some(Temporary::beside(output)) };
    if let Some(floats) = &floats {
        let freeze = FreezeOptions {
            source: options.source.clone(),
            fetches: options.fetches.clone(),
            ..FreezeOptions::default()
        };
        tflite::freeze(path, &freeze, floats.path(), stop, budget)?;
        process::end_phase();
    }
    let path = floats.as_ref().map_or(path, Temporary::path);
    let model = Lite::read(SourceFile::open(path)?, budget)?;
    let mut draft = Draft::new(&model, budget)?;
    let mut quantized = Quantized { constant_bytes: [draft.constant_bytes(), 0], ..Quantized::default() };
    if options.recipe == Recipe::Int8 {
        let ranges = calibrate::ranges(path, &model, options, stop, budget)?;
        quantized.calibration_rows = ranges.rows;
        process::end_phase();
        quantized.layers = full::quantize(&mut draft, &ranges, options.has_integer_ports, budget)?;
    } else {
        quantized.layers = weights::quantize(&mut draft, options.recipe, budget)?;
    }
    draft.compact();
    quantized.in_floats = in_floats(&draft);
    quantized.constant_bytes[1] = draft.constant_bytes();
    let Draft { source, graphs, signatures, values, account: _account } = &draft;
    let mut write = |place: Place, out: &mut dyn std::io::Write| {
        let value = usize::try_from(place.offset).ok().and_then(|index| values.get(index));
        let value = value.ok_or_else(|| std::io::Error::other(Error::Defect("a tensor has no values")))?;
        value.write(source, out, budget)
    };
    quantized.bytes = tflite::write((graphs, signatures), &mut write, output, stop, budget)?;
    Ok(quantized)
}

/// The operators that compute in floats.
fn in_floats(draft: &Draft) -> Vec<(String, usize)> {
    let mut counts = BTreeMap::new();
    for graph in &draft.graphs {
        for operator in &graph.operators {
            let output =
                operator.outputs.first().and_then(|id| graph.tensors.get(usize::try_from(*id).ok()?));
            let is_float = output.is_some_and(|tensor| tensor.kind.0 == 0);
            if is_float && operator.name() != "DEQUANTIZE" {
                *counts.entry(operator.name().to_string()).or_insert(0) += 1;
            }
        }
    }
    counts.into_iter().collect()
}
