//! Comparing two models on the same data: one runs as any job does, and the other beside it, on what that one is fed.
//!
//! Integers that stand for other numbers are compared as what they stand for, and a model that takes such is fed what the other
//! one's numbers are in them.

pub(crate) mod noise;
mod numbers;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tightfit_core::{MemoryBudget, Quantization, Shape, StopFlag};
use tightfit_graph::exec::Feed;

use crate::error::Error;
use crate::feeds::Feeds;
use crate::fit::{Bound, FitOptions};
use crate::job::{Job, JobOptions};
use crate::model::Model;
use crate::outputs::Outputs;
use crate::run::Runner;
use crate::sink::{OutputRows, RowPlace, Sink};
use crate::tensor::Tensor;
use numbers::{Measure, Numbers, fed};

/// What both models compute on.
pub enum CompareData {
    /// A data set.
    Rows(Box<JobOptions>),
    /// Tensors for one call: names of inputs and files.
    Files(Vec<(String, PathBuf)>, FitOptions),
}

/// Two models side by side.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Compared {
    /// Rows that were computed.
    pub rows: u64,
    /// What differs, for each output of the first.
    pub outputs: Vec<Difference>,
    /// The first model, and the second.
    pub sides: [Side; 2],
}

/// One of the models.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Side {
    /// Bytes that its plan takes: weights, window and values.
    pub planned_bytes: u64,
    /// Time of all runs.
    pub time: Duration,
    /// How many there were.
    pub runs: u64,
    /// Rows whose top class was the label, where there are labels.
    pub right_rows: Option<u64>,
}

impl Side {
    /// Milliseconds of a run.
    pub fn run_ms(&self) -> f64 {
        self.time.as_secs_f64() * 1e3 / self.runs.max(1) as f64
    }
}

/// How an output of two models differs.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Difference {
    /// What the first calls it, and the second.
    pub names: [String; 2],
    /// Elements that were compared.
    pub elements: u64,
    /// The largest difference of two elements.
    pub max_error: f64,
    /// The first's power over that of the difference, in dB; infinite where there is none.
    pub snr_db: f64,
    /// The share of rows in which the same element is the largest, in percent; `None` for an output without rows of several.
    pub top1_agreement: Option<f64>,
}

/// Runs both models on the same data.
///
/// # Errors
/// As [`Job::new`] and [`Job::run`]; [`Error::Usage`] for models whose inputs or outputs do not go together.
pub fn compare(
    first: &Model,
    second: Model,
    data: CompareData,
    stop: impl Into<StopFlag>,
    budget: &MemoryBudget,
) -> Result<Compared, Error> {
    check(first, &second)?;
    let free = budget.free_bytes();
    let threads = match &data {
        CompareData::Rows(options) => options.threads,
        CompareData::Files(_, options) => options.threads,
    };
    // Each gets half of what is there.
    let limit_bytes = budget.limit_bytes().saturating_sub(free / 2);
    let beside =
        Beside { model: second, runner: None, threads, memory_bytes: free / 2, budget: budget.clone() };
    let found = Rc::new(RefCell::new(Found::new(first)));
    let inputs = first.graph().inputs.iter().map(|port| port.name.clone()).collect();
    let sink = Box::new(Comparing { beside, inputs, found: found.clone() });
    match data {
        CompareData::Rows(mut options) => {
            options.memory_bytes = limit_bytes;
            let job = Job::new(first, *options, budget)?;
            found.borrow_mut().sides[0].planned_bytes = planned(job.runner());
            job.run(sink, &mut |_| {}, stop)?;
        }
        CompareData::Files(files, options) => {
            let options = FitOptions { memory_bytes: limit_bytes, ..options };
            once(first, &files, options, sink, stop.into(), &found, budget)?;
        }
    }
    let found = Rc::into_inner(found).ok_or(Error::Defect("a comparison is still going on"))?;
    Ok(found.into_inner().finish())
}

/// One call on tensors.
fn once(
    model: &Model,
    files: &[(String, PathBuf)],
    mut options: FitOptions,
    mut sink: Box<Comparing>,
    stop: StopFlag,
    found: &RefCell<Found>,
    budget: &MemoryBudget,
) -> Result<(), Error> {
    let feeds = Feeds::read(model, files, budget)?;
    let fit = feeds.fit(model, &mut options)?;
    let pool = tightfit_kernels::ThreadPool::new(options.threads);
    let pool = pool.map_err(|error| Error::io("threads", error.into()))?;
    let mut runner = Runner::with_fit(model, fit, pool.into(), &options, budget)?;
    runner.stop_at(stop);
    found.borrow_mut().sides[0].planned_bytes = planned(&runner);
    let inputs = feeds.feeds(runner.inputs())?;
    let begin = Instant::now();
    let outputs = runner.run(&inputs)?;
    sink.write(&OutputRows {
        outputs,
        inputs: &inputs,
        labels: None,
        rows: options.batch,
        first_row: 0,
        is_whole: true,
        run_time: begin.elapsed(),
        sources: &|_| RowPlace::default(),
    })
}

fn planned(runner: &Runner) -> u64 {
    let lines = runner.lines();
    lines.weights_bytes + lines.window_bytes + lines.arena_bytes
}

/// # Errors
/// [`Error::Usage`] for models that have other numbers of inputs or outputs.
fn check(first: &Model, second: &Model) -> Result<(), Error> {
    let counts = |model: &Model| (model.graph().inputs.len(), model.graph().outputs.len());
    let ((inputs, outputs), (others_in, others_out)) = (counts(first), counts(second));
    if inputs == others_in && outputs == others_out {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{} has {inputs} inputs and {outputs} outputs, and {} has {others_in} and {others_out}: name outputs of both \
         with --fetch",
        first.path().display(),
        second.path().display()
    )))
}

/// For each of `names` the place of the same name among `others`, or the same place where they have other names.
fn pairs(names: &[&str], others: &[&str]) -> Vec<usize> {
    let by_name: Option<Vec<usize>> =
        names.iter().map(|name| others.iter().position(|other| other == name)).collect();
    by_name.unwrap_or_else(|| (0..names.len()).collect())
}

fn names(ports: &[tightfit_graph::ir::Port]) -> Vec<&str> {
    ports.iter().map(|port| port.name.as_str()).collect()
}

/// The second model, laid out for what it is fed.
struct Beside {
    model: Model,
    runner: Option<Runner>,
    threads: usize,
    memory_bytes: u64,
    budget: MemoryBudget,
}

impl Beside {
    fn run(&mut self, feeds: &[Feed<'_>], rows: usize) -> Result<Outputs<'_>, Error> {
        let graph = self.model.graph();
        let shapes: HashMap<String, Shape> = graph
            .inputs
            .iter()
            .zip(feeds)
            .map(|(port, feed)| match feed {
                Feed::Tensor(view) | Feed::Text(view, _) => (port.name.clone(), *view.shape()),
                Feed::Strings(shape, _) => (port.name.clone(), *shape),
            })
            .collect();
        let text = |feed: &Feed<'_>| match feed {
            Feed::Text(_, text) => text.len(),
            Feed::Strings(_, texts) => texts.iter().map(|text| text.len()).sum(),
            Feed::Tensor(_) => 0,
        };
        let options = FitOptions {
            batch: rows,
            threads: self.threads,
            memory_bytes: self.memory_bytes,
            shapes,
            string_bytes: feeds.iter().map(text).sum::<usize>() as u64,
            is_inner: true,
            // What is left is for the other model.
            fills_rest: false,
            replans: true,
            ..FitOptions::default()
        };
        match &mut self.runner {
            Some(runner) if runner.batch() == rows => {}
            Some(runner) => runner.replan(&self.model, &options)?,
            None => {
                // What is wrong with shapes is told before memory is taken.
                Bound::new(&self.model, &options)?;
                self.runner = Some(Runner::new(&self.model, &options, &self.budget)?);
            }
        }
        let runner = self.runner.as_mut().ok_or(Error::Defect("a model is laid out before it runs"))?;
        runner.run(feeds)
    }
}

/// What has been found by now.
struct Found {
    rows: u64,
    measures: Vec<Measure>,
    sides: [Side; 2],
    /// What the integers of the first model's outputs stand for.
    first: Vec<Option<Quantization>>,
}

impl Found {
    fn new(first: &Model) -> Found {
        let graph = first.graph();
        Found {
            rows: 0,
            measures: graph.outputs.iter().map(|port| Measure::new(&port.name)).collect(),
            sides: [Side::default(); 2],
            first: graph.outputs.iter().map(|port| first.quantization(&port.name).cloned()).collect(),
        }
    }

    fn finish(self) -> Compared {
        let outputs = self.measures.into_iter().map(Measure::finish).collect();
        Compared { rows: self.rows, outputs, sides: self.sides }
    }
}

/// Runs the second model after each batch of the first.
struct Comparing {
    beside: Beside,
    /// What the first model's inputs are called.
    inputs: Vec<String>,
    found: Rc<RefCell<Found>>,
}

impl Sink for Comparing {
    fn write(&mut self, rows: &OutputRows<'_>) -> Result<(), Error> {
        if rows.rows == 0 {
            return Ok(());
        }
        let graph = self.beside.model.graph();
        let first_names: Vec<&str> = (0..rows.outputs.len()).filter_map(|i| rows.outputs.name(i)).collect();
        let second_names: Vec<String> = graph.outputs.iter().map(|port| port.name.clone()).collect();
        let model = &self.beside.model;
        let second: Vec<_> = second_names.iter().map(|name| model.quantization(name).cloned()).collect();
        let others: Vec<&str> = second_names.iter().map(String::as_str).collect();
        let pairing = pairs(&first_names, &others);
        let inputs = graph.inputs.iter();
        let wanted: Vec<_> = inputs
            .map(|port| (graph.fact(port.value).dtype, model.quantization(&port.name).cloned()))
            .collect();
        let memory = self.beside.budget.clone();
        let own: Vec<&str> = self.inputs.iter().map(String::as_str).collect();
        let order = pairs(&names(&graph.inputs), &own);
        let given: Vec<Feed<'_>> = order.iter().filter_map(|at| rows.inputs.get(*at)).copied().collect();
        let converted = given.iter().zip(&wanted).map(|(feed, wanted)| fed(feed, wanted, &memory));
        let converted = converted.collect::<Result<Vec<_>, _>>()?;
        let feeds = given.iter().zip(&converted);
        let feeds: Vec<Feed<'_>> =
            feeds.map(|(feed, own)| own.as_ref().and_then(Tensor::feed).unwrap_or(*feed)).collect();
        let fed_rows = match feeds.first() {
            Some(Feed::Tensor(view)) => view.shape().first().copied().unwrap_or(1),
            _ => rows.rows,
        };
        let begin = Instant::now();
        let outputs = self.beside.run(&feeds, fed_rows)?;
        let time = begin.elapsed();
        let mut found = self.found.borrow_mut();
        let found = &mut *found;
        for (index, other) in pairing.into_iter().enumerate() {
            let missing =
                || Error::Usage(format!("'{}' is a weight and not kept as it is", first_names[index]));
            let (a, b) =
                (rows.outputs.tensor(index).ok_or_else(missing)?, outputs.tensor(other).ok_or_else(missing)?);
            let a = Numbers::new(a, found.first[index].as_ref())?;
            let b = Numbers::new(b, second[other].as_ref())?;
            let measure = &mut found.measures[index];
            measure.add(&a, &b, (first_names[index], others[other]), rows.rows)?;
            if let (0, Some(labels)) = (index, rows.labels) {
                for (side, own) in found.sides.iter_mut().zip([&a, &b]) {
                    *side.right_rows.get_or_insert(0) += own.right_rows(labels);
                }
            }
        }
        found.rows += rows.rows as u64;
        for (side, time) in found.sides.iter_mut().zip([rows.run_time, time]) {
            side.time += time;
            side.runs += 1;
        }
        if let Some(runner) = &self.beside.runner {
            found.sides[1].planned_bytes = planned(runner);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::pairs;

    #[test]
    fn outputs_go_together_by_name_or_by_place() {
        assert_eq!(pairs(&["a", "b"], &["b", "a"]), [1, 0]);
        assert_eq!(pairs(&["a", "b"], &["b", "c"]), [0, 1]);
    }
}
