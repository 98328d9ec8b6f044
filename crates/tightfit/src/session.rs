//! A model that is called with tensors: laid out for what it is fed first, and anew where shapes change.
//!
//! A session keeps to its memory as a job does. What the process takes, the model's structure and everything of a run are of
//! one budget, the results of a run included, which are copied after it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{DType, MemoryBudget, Reservation, Shape, StopFlag};
use tightfit_graph::GraphError;
use tightfit_graph::exec::Feed;
use tightfit_graph::fact::{Fact, KNOWN_VALUE_MAX_BYTES};
use tightfit_graph::plan::{Bounds, WeightMode};
use tightfit_kernels::ThreadPool;

use crate::error::Error;
use crate::fit::{Bound, Fit, FitOptions, THREAD_BYTES};
use crate::job::{self, DataOptions};
use crate::memory::process;
use crate::model::{Model, ModelFile, OpenOptions};
use crate::outputs::Outputs;
use crate::run::Runner;

/// How a session computes.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Bytes of memory, the process' own included, as [`process::floor_bytes`] counts them.
    pub memory_bytes: u64,
    /// Threads that compute.
    pub threads: usize,
}

impl Default for SessionOptions {
    /// All processors, and the memory that is taken where nobody says how much.
    fn default() -> SessionOptions {
        SessionOptions {
            memory_bytes: crate::memory::limits::default_memory_bytes(),
            threads: std::thread::available_parallelism().map_or(1, |n| n.get()),
        }
    }
}

/// A model that is called with tensors.
pub struct Session {
    // Dropped before what its memory is reserved from.
    layout: Option<Layout>,
    model: Model,
    open: OpenOptions,
    pool: Option<Arc<ThreadPool>>,
    stop: Option<StopFlag>,
    budget: MemoryBudget,
    options: SessionOptions,
    _process: Reservation,
}

/// The model in memory, for what it is fed.
struct Layout {
    runner: Runner,
    string_bytes: u64,
    /// What was fed, where the layout follows from it: nothing for an input whose value nothing follows from.
    values: Option<Vec<Option<Box<[u8]>>>>,
}

impl Layout {
    fn is_for(&self, feeds: &[Feed<'_>]) -> bool {
        let plan = self.runner.context().plan();
        let is_same = |((_, slot), feed): (&(String, usize), &Feed<'_>)| {
            plan.slots.get(*slot).is_some_and(|slot| {
                let (dtype, shape) = kind(feed);
                slot.info.dtype == dtype && slot.info.shape == shape
            })
        };
        plan.inputs.len() == feeds.len()
            && plan.inputs.iter().zip(feeds).all(is_same)
            && feeds.iter().map(text_bytes).sum::<u64>() <= self.string_bytes
            && self.values.as_ref().is_none_or(|values| {
                values.iter().zip(feeds).all(|(value, feed)| value.as_deref() == small_value(feed))
            })
    }

    /// True where a new one could not take its place without a loss.
    fn has_states(&self) -> bool {
        !self.runner.context().plan().states.is_empty()
    }

    fn is_streamed(&self) -> bool {
        self.runner.context().plan().window_bytes() > 0
    }
}

/// Type and shape of what is fed.
fn kind(feed: &Feed<'_>) -> (DType, Shape) {
    match feed {
        Feed::Tensor(view) | Feed::Text(view, _) => (view.dtype(), *view.shape()),
        Feed::Strings(shape, _) => (DType::String, *shape),
    }
}

fn text_bytes(feed: &Feed<'_>) -> u64 {
    match feed {
        Feed::Tensor(_) => 0,
        Feed::Strings(_, texts) => texts.iter().map(|text| text.len() as u64).sum(),
        Feed::Text(_, text) => text.len() as u64,
    }
}

/// The elements, where shapes may follow from them.
fn small_value<'f>(feed: &Feed<'f>) -> Option<&'f [u8]> {
    match feed {
        Feed::Tensor(view) => Some(view.bytes()).filter(|bytes| bytes.len() <= KNOWN_VALUE_MAX_BYTES),
        Feed::Strings(..) | Feed::Text(..) => None,
    }
}

/// A budget of `memory_bytes` for a call into somebody's process, and what is taken out of it for the process itself:
/// `process_bytes`, and what the threads take.
///
/// # Errors
/// [`Error::Floor`] for less memory than that, or than the process takes without a model.
pub fn hosted_budget(
    memory_bytes: u64,
    threads: usize,
    process_bytes: u64,
) -> Result<(MemoryBudget, Reservation), Error> {
    let threads_bytes = (threads as u64).saturating_mul(THREAD_BYTES);
    let process_bytes = process_bytes.saturating_add(threads_bytes);
    let floor_bytes = process::floor_bytes().max(process_bytes);
    if memory_bytes < floor_bytes {
        return Err(Error::Floor { memory_bytes, floor_bytes });
    }
    let budget = MemoryBudget::new(memory_bytes);
    let process = budget.try_reserve("runtime", process_bytes)?;
    Ok((budget, process))
}

impl Session {
    /// Opens the model at `path`. Its weights are read by the first run.
    ///
    /// # Errors
    /// As [`Model::open`]; [`Error::Floor`] for less memory than the process takes without a model.
    pub fn open(
        path: impl AsRef<Path>,
        open: &OpenOptions,
        options: &SessionOptions,
    ) -> Result<Session, Error> {
        let (budget, process) =
            hosted_budget(options.memory_bytes, options.threads, process::opening_bytes())?;
        let model = Model::open(path, open, &budget)?;
        Ok(Session {
            layout: None,
            model,
            open: open.clone(),
            pool: None,
            stop: None,
            budget,
            options: options.clone(),
            _process: process,
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The budget that everything is reserved from.
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Threads and memory.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// Makes the inputs of these names, which are of quantised integers, ones of floats, and all others what they are in the
    /// file: [`OpenOptions::float_inputs`]. The model is opened anew where they are others than before.
    ///
    /// # Errors
    /// [`Error::Usage`] where variables of an earlier run would be lost, and as [`Session::open`].
    pub fn feed_floats(&mut self, names: &[String]) -> Result<(), Error> {
        if names == self.model.float_inputs() {
            return Ok(());
        }
        let file = self.read_file()?;
        self.open_anew(file, names.to_vec())
    }

    /// The same for the inputs that files, pairs of a tensor's name and its file, and a data set hold floats for, as
    /// [`job::float_inputs`] finds them.
    ///
    /// # Errors
    /// As [`Session::feed_floats`] and [`job::float_inputs`].
    pub fn feed_data(&mut self, files: &[(String, PathBuf)], data: &DataOptions) -> Result<(), Error> {
        if !self.model.graph().inputs.iter().any(|port| self.model.takes_quantized(&port.name)) {
            return Ok(());
        }
        let file = self.read_file()?;
        let names = job::float_inputs(&file, files, data, self.options.threads, &self.budget)?;
        if names == self.model.float_inputs() {
            return Ok(());
        }
        self.open_anew(file, names)
    }

    fn read_file(&self) -> Result<ModelFile, Error> {
        let OpenOptions { source, operators, .. } = &self.open;
        ModelFile::read_source(self.model.path(), source, operators, &self.budget)
    }

    fn open_anew(&mut self, file: ModelFile, float_inputs: Vec<String>) -> Result<(), Error> {
        if self.layout.as_ref().is_some_and(Layout::has_states) {
            let why = "an input is fed floats and integers in turn, between which the model's variables would be lost: unload it first";
            return Err(Error::Usage(why.into()));
        }
        self.layout = None;
        self.model = file.open(&OpenOptions { float_inputs, ..self.open.clone() })?;
        Ok(())
    }

    /// The model in memory, once it has run.
    pub fn runner(&self) -> Option<&Runner> {
        self.layout.as_ref().map(|layout| &layout.runner)
    }

    /// From now on a run ends between two steps, with [`Error::Interrupted`], once `flag` is set.
    pub fn stop_at(&mut self, flag: impl Into<StopFlag>) {
        let flag = flag.into();
        if let Some(layout) = &mut self.layout {
            layout.runner.stop_at(flag.clone());
        }
        self.stop = Some(flag);
    }

    /// Makes every variable what it is before the first run, and random numbers begin anew.
    ///
    /// # Errors
    /// [`Error::Graph`] when a value cannot be read from its file.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.layout.as_mut().map_or(Ok(()), |layout| layout.runner.reset())
    }

    /// Lets go of weights and of all that a run takes, variables included. The next run reads them again.
    pub fn unload(&mut self) {
        self.layout = None;
    }

    /// The layout that runs of `batch` rows have, and what it was made for. `shapes` are those of inputs whose other
    /// dimensions the model leaves open, by name.
    ///
    /// # Errors
    /// As [`crate::fit::fit`].
    pub fn plan(&self, batch: usize, shapes: HashMap<String, Shape>) -> Result<(FitOptions, Fit), Error> {
        let mut options = FitOptions { batch, shapes, ..self.fit_options() };
        let bound = Bound::new(&self.model, &options)?;
        let graph = bound.graph();
        let bytes = graph.inputs.iter().map(|port| {
            let fact = graph.fact(port.value);
            fact.dims.concrete().map_or(0, |shape| (shape.elements() * fact.dtype.bytes()) as u64)
        });
        options.pipeline_bytes = bytes.sum();
        drop(bound);
        let fit = Bound::new(&self.model, &options)?.fit()?;
        Ok((options, fit))
    }

    /// Computes the outputs for one tensor per input of the model, in the order of its graph's inputs. They are there until
    /// the next run. The model is laid out for the shapes of the tensors, unless it is already.
    ///
    /// # Errors
    /// [`Error::NotFit`] when the model does not fit, and as [`Runner::run`].
    pub fn run(&mut self, feeds: &[Feed<'_>]) -> Result<Outputs<'_>, Error> {
        if !self.layout.as_ref().is_some_and(|layout| layout.is_for(feeds)) {
            self.lay_out(feeds)?;
        }
        let defect = Error::Defect("a session is laid out before it runs");
        let Some(layout) = &mut self.layout else { return Err(defect) };
        if let Err(error) = layout.runner.run(feeds).map(|_| ()) {
            // The thread that reads weights ahead has lost its place.
            if layout.is_streamed() && !layout.has_states() {
                self.layout = None;
            }
            return Err(error);
        }
        self.outputs().ok_or(defect)
    }

    /// The outputs of the last run.
    pub fn outputs(&self) -> Option<Outputs<'_>> {
        self.runner().map(Runner::outputs)
    }

    /// The batch of at most `most` rows that runs fastest, found by running; the model is laid out for it then.
    ///
    /// # Errors
    /// As [`Session::plan`] and [`Runner::run`].
    pub fn fastest_batch(&mut self, most: usize, shapes: &HashMap<String, Shape>) -> Result<usize, Error> {
        self.layout = None;
        let rows_of = |shape: &Shape, batch: usize| {
            let dims: Vec<usize> = [batch].into_iter().chain(shape.iter().skip(1).copied()).collect();
            Shape::new(&dims).map_err(|error| Error::Usage(error.to_string()))
        };
        let options_for = |batch: usize| {
            let shapes = shapes.iter().map(|(name, shape)| Ok((name.clone(), rows_of(shape, batch)?)));
            let shapes = shapes.collect::<Result<HashMap<_, _>, Error>>()?;
            Ok(self.plan(batch, shapes)?.0)
        };
        let (mut runner, batch) = job::fastest(&self.model, most, &options_for, &self.budget)?;
        if let Some(stop) = &self.stop {
            runner.stop_at(stop.clone());
        }
        self.layout = Some(Layout { runner, string_bytes: 0, values: None });
        Ok(batch)
    }

    fn fit_options(&self) -> FitOptions {
        FitOptions {
            threads: self.options.threads,
            memory_bytes: self.options.memory_bytes,
            replans: true,
            copies_outputs: true,
            // Values that are kept from run to run would be lost if another batch had to read the weights again.
            fills_rest: self.model.graph().states.is_empty(),
            ..FitOptions::default()
        }
    }

    /// # Errors
    /// [`Error::NotFed`] for too few tensors, [`GraphError::Feed`] for one of another type.
    fn check(&self, feeds: &[Feed<'_>]) -> Result<(), Error> {
        let graph = self.model.graph();
        if feeds.len() != graph.inputs.len() {
            let missing = graph.inputs.iter().skip(feeds.len());
            return Err(Error::NotFed(missing.map(|port| port.name.clone()).collect()));
        }
        for (port, feed) in graph.inputs.iter().zip(feeds) {
            let (wanted, (found, _)) = (graph.fact(port.value).dtype, kind(feed));
            if wanted != found {
                let why = format!("is of type {wanted}, not {found}");
                return Err(GraphError::Feed { input: port.name.clone(), why }.into());
            }
        }
        Ok(())
    }

    fn lay_out(&mut self, feeds: &[Feed<'_>]) -> Result<(), Error> {
        self.check(feeds)?;
        let graph = self.model.graph();
        let shapes = graph.inputs.iter().zip(feeds).map(|(port, feed)| (port.name.clone(), kind(feed).1));
        let string_bytes = feeds.iter().map(text_bytes).sum();
        let bytes = |feed: &Feed<'_>| {
            let (dtype, shape) = kind(feed);
            (shape.elements() * dtype.bytes()) as u64 + text_bytes(feed)
        };
        let options = FitOptions {
            batch: self.rows(feeds),
            shapes: shapes.collect(),
            string_bytes,
            pipeline_bytes: feeds.iter().map(bytes).sum(),
            ..self.fit_options()
        };
        if let Some(mut layout) = self.layout.take() {
            match self.change(&mut layout, feeds, options.clone()) {
                Ok(()) => {
                    self.layout = Some(layout);
                    return Ok(());
                }
                Err(error) if !error.is_budget() || layout.has_states() => {
                    // What was laid out before still is, where nothing was done to it.
                    self.layout = Some(layout).filter(|layout| !layout.runner.has_failed());
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        let (options, fit, values) = self.fit(feeds, options, None)?;
        let pool = match &self.pool {
            Some(pool) => pool.clone(),
            None => {
                let pool = ThreadPool::new(options.threads);
                let pool = pool.map_err(|error| Error::io("threads", error.into()))?;
                self.pool.insert(Arc::new(pool)).clone()
            }
        };
        let mut runner = Runner::with_fit(&self.model, fit, pool, &options, &self.budget)?;
        if let Some(stop) = &self.stop {
            runner.stop_at(stop.clone());
        }
        self.layout = Some(Layout { runner, string_bytes, values });
        Ok(())
    }

    /// Lays the memory of a layout out anew, where there is enough.
    ///
    /// # Errors
    /// As [`Runner::replan_with`]; [`Error::NotFit`] where it takes more than there is.
    fn change(&self, layout: &mut Layout, feeds: &[Feed<'_>], options: FitOptions) -> Result<(), Error> {
        let (options, fit, values) = self.fit(feeds, options, Some(layout.runner.held()))?;
        let memory_bytes = self.options.memory_bytes;
        if fit.lines.total_bytes() > memory_bytes {
            return Err(fit.not_fit(memory_bytes, options.batch));
        }
        // The pool of fed strings is as large as it was made.
        if options.string_bytes > layout.string_bytes {
            return Err(fit.not_fit(memory_bytes, options.batch));
        }
        layout.runner.replan_with(fit, &options)?;
        layout.values = values;
        Ok(())
    }

    /// A layout for what is fed. Where one cannot be made without the values, or would be larger without them, it is made
    /// with them.
    #[expect(clippy::type_complexity, reason = "one use")]
    fn fit(
        &self,
        feeds: &[Feed<'_>],
        mut options: FitOptions,
        held: Option<(WeightMode, Bounds)>,
    ) -> Result<(FitOptions, Fit, Option<Vec<Option<Box<[u8]>>>>), Error> {
        let fit = |options: &FitOptions| {
            let bound = Bound::new(&self.model, options)?;
            held.map_or_else(|| bound.fit(), |(weights, bounds)| bound.with(weights, bounds))
        };
        match fit(&options) {
            Err(error @ Error::Graph(_)) if !error.is_budget() => {}
            Ok(fit) if fit.can_outgrow() => {}
            other => return Ok((options, other?, None)),
        }
        let named = self.model.graph().inputs.iter().zip(feeds);
        options.values = named
            .map(|(port, feed)| {
                let (dtype, shape) = kind(feed);
                let fact = match small_value(feed) {
                    Some(bytes) => Fact::known(dtype, shape, bytes),
                    None => Fact::new(dtype, shape),
                };
                (port.name.clone(), fact)
            })
            .collect();
        let values = feeds.iter().map(|feed| small_value(feed).map(Box::from)).collect();
        let fit = fit(&options)?;
        Ok((options, fit, Some(values)))
    }

    /// Rows of a run: the first dimension of the first input whose first dimension the model leaves open, else 1.
    fn rows(&self, feeds: &[Feed<'_>]) -> usize {
        let graph = self.model.graph();
        let is_open = |port: &tightfit_graph::ir::Port| {
            let dims = &graph.fact(port.value).dims;
            dims.get().is_none_or(|dims| dims.first().is_some_and(|d| d.known().is_none()))
        };
        let open = graph.inputs.iter().zip(feeds).filter(|(port, _)| is_open(port));
        open.filter_map(|(_, feed)| kind(feed).1.first().copied()).next().unwrap_or(1)
    }
}
