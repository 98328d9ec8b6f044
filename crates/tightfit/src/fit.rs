//! Making a model fit a number of bytes.

use std::cell::Cell;
use std::collections::HashMap;

use tightfit_core::Shape;
use tightfit_graph::exec::arena_bytes;
use tightfit_graph::fact::Fact;
use tightfit_graph::ir::Graph;
use tightfit_graph::passes::sparse::{self, Runs};
use tightfit_graph::plan::{Bounds, Plan, PlanOptions, STREAM_FROM_BYTES, WeightMode};
use tightfit_graph::{Binding, bind, passes};
use tightfit_kernels::Isa;

use crate::error::{Error, NotFit};
use crate::memory::lines::Lines;
use crate::memory::process;
use crate::model::Model;
use crate::sink::SinkNeed;

/// Resident memory of each thread: its stack and the allocator's share, of which 8 to 13 KiB are measured, and what the
/// system's count is off for the processor that it runs on, which counts up to 31 pages for itself.
pub const THREAD_BYTES: u64 = 96 << 10;

/// The structure of a model is thousands of small blocks between others that were freed, and of a page that holds one of
/// them nothing goes back to the system. So much of what was freed stays resident: measured are 0.37 to 0.57 of it on the
/// models of `bench`, of an opening of 0.3 to 2.4 MiB. Where it is more, code has less room ([`process::begin_run`]).
const KEPT_SIXTEENTHS: u64 = 8;

/// Sizes of one block of streamed weights, largest first. From the smallest on a pass costs more than it reads.
const WINDOWS_BYTES: [usize; 5] = [4 << 20, 2 << 20, 1 << 20, 512 << 10, 256 << 10];

/// How often what is left is looked at again for one window.
const FILLING_ROUNDS: usize = 4;

/// From so many bytes on it is worth looking whether another weight finds room in them.
const LEAST_KEPT_BYTES: u64 = STREAM_FROM_BYTES as u64;

/// One of so many parts of the memory is left to values that grow, if that is possible.
const ROOM_PARTS: u64 = 4;

/// What a model is to fit.
#[derive(Debug, Clone)]
pub struct FitOptions {
    /// Rows at once.
    pub batch: usize,
    /// Threads that compute.
    pub threads: usize,
    /// The vector instructions that they use, which the processor must have.
    pub isa: Isa,
    /// Bytes of memory, where it is to be less than what the budget of the model allows.
    pub memory_bytes: u64,
    /// Shapes of inputs that the model leaves open, by name.
    pub shapes: HashMap<String, Shape>,
    /// Values of inputs that stay the same, by name.
    pub values: HashMap<String, Fact>,
    /// Bytes that input takes.
    pub pipeline_bytes: u64,
    /// True where rows of a data set are read and written besides, by code of its own.
    pub reads_rows: bool,
    /// Where the output goes.
    pub sink: SinkNeed,
    /// Bytes of fed strings.
    pub string_bytes: u64,
    /// True where the model may run more than once, so that there is to be room for all the code of a run.
    pub runs_again: bool,
    /// True where the model is laid out again for another batch while it is in memory, which takes as much beside it as the
    /// first time.
    pub replans: bool,
    /// True where the process and the model's structure are counted by whoever asks, as in a pipeline.
    pub is_inner: bool,
    /// True where whoever runs it copies all outputs into memory that is counted as the sink's.
    pub copies_outputs: bool,
    /// True where what no line of the plan needs is not the model's alone: reading takes of it too. Values that grow get
    /// half of it then, and so do weights that could be streamed.
    pub shares_rest: bool,
    /// True where memory that is left keeps weights of a streamed model; false where it may be needed for another batch, with
    /// the same weights in memory.
    pub fills_rest: bool,
}

impl Default for FitOptions {
    /// One row at once, on all processors, in all that the model's budget allows.
    fn default() -> FitOptions {
        FitOptions {
            batch: 1,
            threads: std::thread::available_parallelism().map_or(1, |n| n.get()),
            isa: Isa::detect(),
            memory_bytes: u64::MAX,
            shapes: HashMap::new(),
            values: HashMap::new(),
            pipeline_bytes: 0,
            reads_rows: false,
            sink: SinkNeed::default(),
            string_bytes: 0,
            runs_again: true,
            replans: false,
            is_inner: false,
            copies_outputs: false,
            shares_rest: false,
            fills_rest: true,
        }
    }
}

/// A model laid out in a number of bytes.
#[derive(Debug)]
pub struct Fit {
    /// The layout.
    pub plan: Plan,
    /// The budget.
    pub lines: Lines,
    /// What of the runtime is for more than the model's own run: for the code of what else is done, and for what is taken before
    /// there is anything to run.
    pub room: process::Room,
    /// The least memory that works for this batch and these threads.
    pub minimum_bytes: u64,
    /// How the weights are held.
    pub weights: WeightMode,
    /// How values are held whose size depends on data and has a bound.
    pub bounds: Bounds,
    /// Values that grow where the memory is the least that works, besides which they need theirs.
    pub minimum_growing: usize,
    /// Bytes that are set aside for values that grow, besides the lines: 0 where the plan has none. What they will take is
    /// only known as the model runs, and a value that does not find room in them is an error then.
    pub growth_bytes: u64,
}

impl Fit {
    /// The error of a layout that takes more than `memory_bytes`, for `batch` rows.
    pub(crate) fn not_fit(&self, memory_bytes: u64, batch: usize) -> Error {
        Error::NotFit(Box::new(NotFit {
            memory_bytes,
            minimum_bytes: self.minimum_bytes,
            batch,
            peak_step: self.plan.report().peak_step,
            growing: self.plan.growing().len(),
        }))
    }

    /// True where shapes follow from what is fed and may be larger than is planned, or have no bound, so that a call on
    /// tensors that are all there is laid out with their values.
    pub fn can_outgrow(&self) -> bool {
        let mut plans = self.plan.all();
        self.plan.has_growth()
            || plans
                .any(|plan| plan.steps.iter().any(|step| step.operator().is_some_and(|o| o.can_outgrow())))
    }
}

/// The least memory that a model works in, besides what values take that grow.
#[derive(Debug, Clone, Copy)]
struct Smallest {
    bytes: u64,
    weights: WeightMode,
    bounds: Bounds,
    /// Values that grow.
    growing: usize,
}

/// A model bound to a batch, before its weights are placed.
#[derive(Debug)]
pub struct Bound<'m> {
    model: &'m Model,
    graph: Graph,
    /// Bytes that were in use before the shapes were bound.
    before_bytes: u64,
    /// The most bytes that binding and planning have taken beside the model so far.
    planning_bytes: Cell<u64>,
    /// The same, whatever was taken before.
    replanning_bytes: Cell<u64>,
    options: FitOptions,
}

impl<'m> Bound<'m> {
    /// The model with every shape known.
    ///
    /// # Errors
    /// [`Error::Graph`] when shapes stay open or do not fit.
    pub fn new(model: &'m Model, options: &FitOptions) -> Result<Bound<'m>, Error> {
        let budget = model.graph().budget();
        let (before_bytes, peak_bytes) = (budget.used_bytes(), budget.peak_bytes());
        budget.restart_recent_peak();
        // What has run a batch is not needed to lay out another.
        process::end_phase();
        let mut graph = bind(model.graph(), &binding(options))?;
        process::end_phase();
        passes::run_bound(&mut graph, options.threads)?;
        process::end_phase();
        let (planning_bytes, replanning_bytes) = (Cell::new(0), Cell::new(0));
        let bound =
            Bound { model, graph, before_bytes, planning_bytes, replanning_bytes, options: options.clone() };
        bound.count_planning(peak_bytes);
        Ok(bound)
    }

    /// The graph, all shapes known.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Notes what was taken since the peak was `peak_bytes`. Where it did not rise, what rose it before is in the lines.
    fn count_planning(&self, peak_bytes: u64) {
        let budget = self.model.graph().budget();
        let recent_bytes = budget.recent_peak_bytes().saturating_sub(self.before_bytes);
        self.replanning_bytes.set(self.replanning_bytes.get().max(recent_bytes));
        let peak = budget.peak_bytes();
        if peak > peak_bytes {
            self.planning_bytes.set(self.planning_bytes.get().max(peak.saturating_sub(self.before_bytes)));
        }
    }

    fn plan(&self, weights: WeightMode, bounds: Bounds) -> Result<(Plan, Lines, process::Room), Error> {
        let options = &self.options;
        let budget = self.model.graph().budget();
        let peak_bytes = budget.peak_bytes();
        budget.restart_recent_peak();
        let plan = {
            let plan_options =
                PlanOptions { bounds, isa: options.isa, ..PlanOptions::new(options.threads, weights) };
            match weights {
                WeightMode::Dense => {
                    let mut dense = bind(self.model.graph(), &binding(options))?;
                    passes::run_bound_dense(&mut dense, self.runs())?;
                    Plan::new(&dense, &plan_options)?
                }
                _ => Plan::new(&self.graph, &plan_options)?,
            }
        };
        process::rest();
        self.count_planning(peak_bytes);
        let streams = (plan.window_bytes() > 0) as u64;
        let threads = options.threads as u64 + streams;
        let structure_bytes = self.model.structure_bytes() + plan.structure_bytes();
        let code_bytes = process::more_code_bytes(options.runs_again, options.reads_rows);
        let reads_tables = streams == 0 && plan.streamed_bytes > 0;
        let tables_bytes = if options.runs_again && reads_tables { process::tables_bytes() } else { 0 };
        let (replanning_bytes, replanning_code_bytes) = match options.replans {
            true => (self.replanning_bytes.get(), process::replanning_bytes()),
            false => (0, 0),
        };
        // Of what opening the model took and gave back, the allocator keeps what stands between what stayed.
        let kept_bytes = self.model.opening_bytes().saturating_sub(structure_bytes) / 16 * KEPT_SIXTEENTHS;
        let runtime_bytes = process::running_bytes()
            + code_bytes
            + tables_bytes
            + replanning_code_bytes
            + threads * THREAD_BYTES
            + structure_bytes
            + replanning_bytes.max(kept_bytes);
        let runtime_bytes = match options.is_inner {
            true => threads * THREAD_BYTES + plan.structure_bytes(),
            false => runtime_bytes,
        };
        let mut lines = Lines {
            runtime_bytes,
            weights_bytes: plan.weights_bytes as u64,
            window_bytes: plan.window_bytes() as u64,
            arena_bytes: (arena_bytes(&plan, options.threads) + plan.string_bytes + plan.state_bytes())
                as u64
                + options.string_bytes,
            pipeline_bytes: options.pipeline_bytes,
            sink_bytes: options.sink.memory_bytes(&self.graph, options.batch) + self.copied_bytes(),
        };
        if options.is_inner {
            return Ok((plan, lines, process::Room::default()));
        }
        // Before there is anything to run, the model was read and laid out; that has to fit as well.
        let planning_bytes = self.model.structure_bytes()
            + self.planning_bytes.get()
            + options.pipeline_bytes
            + options.sink.held_bytes;
        let opening_bytes = self.model.opening_bytes().max(planning_bytes);
        let before_bytes = process::opening_bytes() + threads * THREAD_BYTES + opening_bytes;
        let before_bytes = before_bytes.max(process::floor_bytes());
        let spare_bytes = before_bytes.saturating_sub(lines.total_bytes());
        lines.runtime_bytes += spare_bytes;
        let room = process::Room {
            code_bytes: spare_bytes + code_bytes,
            kept_bytes: replanning_bytes.max(kept_bytes),
        };
        Ok((plan, lines, room))
    }

    /// The layout that is fastest inside the memory: all weights resident, or else streamed through the largest
    /// window that does, or through a smaller one where memory that is left keeps more of them then. Where values grow a layout fits only if it leaves them a quarter of the memory; where none does,
    /// the one that takes least is theirs.
    ///
    /// Values whose size has a bound grow as well where no layout with their bounds fits, if values grow anyway or the bounds
    /// are most of what is planned. Otherwise whether the model fits is known to the byte, and it is refused.
    ///
    /// # Errors
    /// [`Error::NotFit`] when none fits.
    pub fn fit(&self) -> Result<Fit, Error> {
        let (planned, resident) = self.smallest(Bounds::Planned)?;
        let is_arena = resident.lines.arena_bytes > planned.bytes / 2;
        let may_grow = resident.plan.has_bounds() && (planned.growing > 0 || is_arena);
        let resident = Some(resident).filter(|_| !may_grow);
        // Only one plan exists at a time: that of a graph of many small nodes is larger than the graph.
        let grown = if may_grow { Some(self.smallest(Bounds::Grown)?.0) } else { None };
        let grown = grown.filter(|grown| planned.growing > 0 || planned.bytes / 2 > grown.bytes);
        let least = grown.unwrap_or(planned);
        let told = |fit: Fit| Fit { minimum_bytes: least.bytes, minimum_growing: least.growing, ..fit };
        if let Some(fit) = self.roomiest(&planned, resident)? {
            return Ok(told(fit));
        }
        let memory_bytes = self.memory_bytes();
        if least.bytes > memory_bytes {
            let Smallest { bytes: minimum_bytes, growing, weights, bounds } = least;
            let peak_step = self.with(weights, bounds)?.plan.report().peak_step;
            let batch = self.options.batch;
            let not_fit = NotFit { memory_bytes, minimum_bytes, batch, peak_step, growing };
            return Err(Error::NotFit(Box::new(not_fit)));
        }
        if let Some(grown) = &grown
            && let Some(fit) = self.roomiest(grown, None)?
        {
            return Ok(told(fit));
        }
        Ok(told(self.with(least.weights, least.bounds)?))
    }

    /// How weights are held where there is memory for it.
    fn fastest_mode(&self) -> WeightMode {
        match self.model.is_in_parts() {
            true => WeightMode::Streamed { window_bytes: WINDOWS_BYTES[0] },
            false => WeightMode::Resident,
        }
    }

    /// The least that works with bounds held so, and the layout with weights held as is fastest.
    fn smallest(&self, bounds: Bounds) -> Result<(Smallest, Fit), Error> {
        let streamed = WeightMode::Streamed { window_bytes: WINDOWS_BYTES[WINDOWS_BYTES.len() - 1] };
        let streamed_bytes = self.with(streamed, bounds)?.minimum_bytes;
        let resident = self.with(self.fastest_mode(), bounds)?;
        let weights = if resident.minimum_bytes <= streamed_bytes { self.fastest_mode() } else { streamed };
        let smallest = Smallest {
            bytes: streamed_bytes.min(resident.minimum_bytes),
            weights,
            bounds,
            growing: resident.plan.growing().len(),
        };
        Ok((smallest, resident))
    }

    /// The fastest layout with bounds held as in the smallest one that leaves room for what grows; `resident` is the fastest
    /// of all, where it is there.
    fn roomiest(&self, smallest: &Smallest, resident: Option<Fit>) -> Result<Option<Fit>, Error> {
        let memory_bytes = self.memory_bytes();
        let room_bytes = if smallest.growing > 0 { memory_bytes / ROOM_PARTS } else { 0 };
        let leaves_room = |fit: &Fit| fit.minimum_bytes.saturating_add(room_bytes) <= memory_bytes;
        if smallest.bytes > memory_bytes {
            return Ok(None);
        }
        let resident = resident.map_or_else(|| self.with(self.fastest_mode(), smallest.bounds), Ok)?;
        if leaves_room(&resident) {
            return self.dense(resident, memory_bytes - room_bytes).map(Some);
        }
        drop(resident);
        for (number, window_bytes) in WINDOWS_BYTES.into_iter().enumerate() {
            let fit = self.with(WeightMode::Streamed { window_bytes }, smallest.bounds)?;
            if leaves_room(&fit) {
                return self.filled(fit, &WINDOWS_BYTES[number..], memory_bytes - room_bytes).map(Some);
            }
        }
        Ok(None)
    }

    /// The layout with products dense that are faster so, where it fits `memory_bytes`; else `fit`.
    fn dense(&self, fit: Fit, memory_bytes: u64) -> Result<Fit, Error> {
        let dense_bytes = sparse::dense_bytes(&self.graph, self.runs());
        // It is laid out beside the graph that there is.
        let more_bytes = dense_bytes + 2 * self.replanning_bytes.get();
        let bounds = fit.bounds;
        if dense_bytes == 0
            || fit.weights != WeightMode::Resident
            || fit.minimum_bytes.saturating_add(more_bytes) > memory_bytes
        {
            return Ok(fit);
        }
        // Only one plan exists at a time.
        drop(fit);
        let dense = self.with(WeightMode::Dense, bounds)?;
        if dense.minimum_bytes <= memory_bytes { Ok(dense) } else { self.with(WeightMode::Resident, bounds) }
    }

    fn runs(&self) -> Runs {
        let FitOptions { batch, threads, isa, .. } = self.options;
        Runs { batch, threads, isa }
    }

    /// The layout with the least to read in each run that fits `memory_bytes`: `fit`, or one that keeps some of the weights in
    /// what is left beside one of the windows.
    fn filled(&self, fit: Fit, windows_bytes: &[usize], memory_bytes: u64) -> Result<Fit, Error> {
        let (streamed, bounds) = (fit.weights, fit.bounds);
        if fit.plan.streaming_cost() == 0 || !self.options.fills_rest {
            return Ok(fit);
        }
        let mut best = (fit.plan.streaming_cost(), streamed);
        // Only one plan exists at a time.
        drop(fit);
        for window_bytes in windows_bytes.iter().copied() {
            let mut mode = WeightMode::Streamed { window_bytes };
            for _ in 0..FILLING_ROUNDS {
                let fit = self.with(mode, bounds)?;
                let (taken_bytes, cost) = (fit.lines.total_bytes(), fit.plan.streaming_cost());
                if taken_bytes <= memory_bytes && cost < best.0 {
                    best = (cost, mode);
                }
                // What is kept may make the window smaller, and what computes with it needs other scratch.
                let rest_bytes = match (memory_bytes.checked_sub(taken_bytes), self.options.shares_rest) {
                    (Some(rest_bytes), true) if mode.kept_bytes() == 0 => rest_bytes / 2,
                    (Some(_), true) => break,
                    (Some(rest_bytes), false) => rest_bytes,
                    (None, _) => 0,
                };
                let over_bytes = taken_bytes.saturating_sub(memory_bytes);
                let kept_bytes = (mode.kept_bytes() as u64 + rest_bytes).saturating_sub(over_bytes) as usize;
                if kept_bytes == mode.kept_bytes() || (rest_bytes > 0 && rest_bytes < LEAST_KEPT_BYTES) {
                    break;
                }
                mode = WeightMode::Mixed { window_bytes, kept_bytes };
            }
        }
        self.with(best.1, bounds)
    }

    /// Bytes of the outputs, the most that they can be, where they are copied.
    fn copied_bytes(&self) -> u64 {
        let outputs = self.graph.outputs.iter().filter(|_| self.options.copies_outputs);
        let bytes = outputs.filter_map(|port| {
            let fact = self.graph.fact(port.value);
            Some((fact.planned_dims().concrete()?.elements() * fact.dtype.bytes()) as u64)
        });
        bytes.fold(0, u64::saturating_add)
    }

    /// Bytes of memory that the model may take.
    fn memory_bytes(&self) -> u64 {
        self.options.memory_bytes.min(self.graph.budget().limit_bytes())
    }

    /// The layout with weights and bounds held so, whether it fits or not. Its minimum is its own total.
    ///
    /// # Errors
    /// [`Error::Graph`] when it cannot be planned.
    pub fn with(&self, weights: WeightMode, bounds: Bounds) -> Result<Fit, Error> {
        let (plan, lines, room) = self.plan(weights, bounds)?;
        let rest_bytes = self.memory_bytes().saturating_sub(lines.total_bytes());
        let growth_bytes = match (plan.has_growth(), self.options.shares_rest) {
            (false, _) => 0,
            (true, false) => rest_bytes,
            (true, true) => rest_bytes / 2,
        };
        let (minimum_bytes, minimum_growing) = (lines.total_bytes(), plan.growing().len());
        Ok(Fit { plan, lines, room, minimum_bytes, minimum_growing, weights, bounds, growth_bytes })
    }
}

fn binding(options: &FitOptions) -> Binding {
    Binding { batch: Some(options.batch), shapes: options.shapes.clone(), values: options.values.clone() }
}

/// Lays out `model` in the memory of its budget, or in `options.memory_bytes` of it.
///
/// # Errors
/// [`Error::NotFit`] when it does not fit, [`Error::Graph`] when it cannot be planned.
pub fn fit(model: &Model, options: &FitOptions) -> Result<Fit, Error> {
    Bound::new(model, options)?.fit()
}
