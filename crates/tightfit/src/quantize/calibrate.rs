//! The ranges of activations: the model of floats runs over data, and of each tensor the smallest and the largest value is
//! kept. Tensors are looked at in groups that fit the memory; each group is a pass over the data.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use tightfit_core::{DType, MemoryBudget};
use tightfit_format::tflite::{Model as Lite, SubGraph};

use super::QuantizeOptions;
use super::weights::FLOAT;
use crate::error::Error;
use crate::job::{BatchSize, Job, JobOptions};
use crate::model::{Model, OpenOptions};
use crate::sink::{OutputRows, Sink, SinkNeed};

/// How a range follows from those of the batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// The smallest and the largest value of all.
    #[default]
    MinMax,
    /// A moving average of the smallest and the largest value of each batch.
    MovingAverage,
}

impl Method {
    /// All with their names.
    pub const ALL: [(&'static str, Method); 2] =
        [("min-max", Method::MinMax), ("moving-average", Method::MovingAverage)];
}

/// The weight of a new batch in a moving average.
const NEW_SHARE: f32 = 0.05;

/// The ranges that were found.
#[derive(Debug, Clone, Default)]
pub struct Calibration {
    /// The range of each tensor by its number.
    pub(super) ranges: HashMap<i32, (f32, f32)>,
    /// Rows of data.
    pub(super) rows: u64,
}

/// The tensors of floats that operators compute or callers feed.
fn activations(graph: &SubGraph) -> Vec<i32> {
    let made = graph.inputs.iter().chain(graph.operators.iter().flat_map(|operator| &operator.outputs));
    let is_float = |id: &&i32| {
        let tensor = usize::try_from(**id).ok().and_then(|id| graph.tensors.get(id));
        tensor.is_some_and(|tensor| tensor.kind == FLOAT && !tensor.is_variable)
    };
    let mut seen = HashSet::new();
    made.filter(is_float).copied().filter(|id| seen.insert(*id)).collect()
}

/// Runs the model in `path` over the data.
///
/// # Errors
/// As [`Job::run`]; [`Error::Data`] for a model of several graphs, or whose tensors share names.
pub(super) fn ranges(
    path: &Path,
    model: &Lite,
    options: &QuantizeOptions,
    stop: &'static AtomicBool,
    budget: &MemoryBudget,
) -> Result<Calibration, Error> {
    let [graph] = &model.subgraphs[..] else {
        return Err(Error::data(path, "has several graphs, of which int8 activations are not made"));
    };
    let ids = activations(graph);
    let mut names = HashSet::new();
    for id in &ids {
        let name = &*graph.tensors[*id as usize].name;
        if name.is_empty() || !names.insert(name) {
            let why = format!("has several tensors named '{name}': ranges are kept by name");
            return Err(Error::data(path, why));
        }
    }
    let batch = options.batch.max(1);
    let bytes = |id: &i32| 4 * batch as u64 * graph.tensors[*id as usize].elements().unwrap_or(0);
    // What is looked at is kept to the end of a run: a part of the memory, the rest is the model's.
    let most_bytes = budget.free_bytes() / 3;
    let mut groups: Vec<Vec<i32>> = vec![Vec::new()];
    let mut used = 0;
    for id in ids {
        if used + bytes(&id) > most_bytes && used > 0 {
            groups.push(Vec::new());
            used = 0;
        }
        used += bytes(&id);
        groups.last_mut().into_iter().for_each(|group| group.push(id));
    }
    let found = Rc::new(RefCell::new(Calibration::default()));
    for group in groups {
        let named: Vec<(String, i32)> =
            group.iter().map(|id| (graph.tensors[*id as usize].name.to_string(), *id)).collect();
        run(path, named, options, &found, stop, budget)?;
        crate::process::end_phase();
    }
    Ok(Rc::into_inner(found).ok_or(Error::Defect("calibration is still going on"))?.into_inner())
}

/// A pass over the data for some tensors.
fn run(
    path: &Path,
    named: Vec<(String, i32)>,
    options: &QuantizeOptions,
    found: &Rc<RefCell<Calibration>>,
    stop: &'static AtomicBool,
    budget: &MemoryBudget,
) -> Result<(), Error> {
    let fetches = named.iter().map(|(name, _)| name.clone()).collect();
    let model = Model::open(path, &OpenOptions { fetches, ..OpenOptions::default() }, budget)?;
    let job = JobOptions {
        data: options.data.clone(),
        fixed: Vec::new(),
        batch: BatchSize::Fixed(options.batch.max(1)),
        threads: options.threads,
        memory_bytes: budget.limit_bytes(),
        sink: SinkNeed::default(),
        shapes: HashMap::new(),
    };
    let job = Job::new(&model, job, budget)?;
    let sink =
        Ranges { ids: named.into_iter().collect(), method: options.method, found: found.clone(), rows: 0 };
    job.run(Box::new(sink), &mut |_| {}, stop)?;
    Ok(())
}

/// Keeps the ranges of what a batch gives.
struct Ranges {
    ids: HashMap<String, i32>,
    method: Method,
    found: Rc<RefCell<Calibration>>,
    rows: u64,
}

impl Sink for Ranges {
    fn write(&mut self, rows: &OutputRows<'_>) -> Result<(), Error> {
        let mut found = self.found.borrow_mut();
        for index in 0..rows.outputs.len() {
            let id = rows.outputs.name(index).and_then(|name| self.ids.get(name));
            let (Some(id), Some(view)) = (id, rows.outputs.tensor(index)) else { continue };
            if view.dtype() != DType::F32 || rows.rows == 0 {
                continue;
            }
            let values = view.bytes().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            let (least, most) = values
                .filter(|value| value.is_finite())
                .fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), v| (least.min(v), most.max(v)));
            if least > most {
                continue;
            }
            let own = found.ranges.entry(*id).or_insert((least, most));
            *own = match self.method {
                Method::MinMax => (own.0.min(least), own.1.max(most)),
                Method::MovingAverage => {
                    (own.0 + NEW_SHARE * (least - own.0), own.1 + NEW_SHARE * (most - own.1))
                }
            };
        }
        self.rows += rows.rows as u64;
        found.rows = self.rows;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}
