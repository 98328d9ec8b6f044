//! What all stages have in common: they are pulled, lend their element, measure themselves, and can be saved.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tightfit_core::{BudgetError, MemoryBudget, Reservation};

use super::ahead::Ahead;
use super::clock::{Awake, Own};
use super::element::{Element, ElementView, Schema};
use super::origin::Names;
use super::state::{StateReader, StateWriter};
use super::tuner::Tuner;
use crate::access::Access;
use crate::error::DataError;

/// A stage: elements one after the other, each lent until the next is asked for.
///
/// After an error a stage can be asked again: it goes on after what was wrong as far as that is possible, and what it
/// had gathered is not lost.
pub trait Stage: Send {
    /// The type of its elements.
    fn schema(&self) -> &Arc<Schema>;

    /// Goes on to the next element; false when there is none.
    ///
    /// # Errors
    /// [`DataError`], with file and record where it is about one.
    fn advance(&mut self) -> Result<bool, DataError>;

    /// The element that the last [`Stage::advance`] went to, if that was true.
    fn current(&self) -> ElementView<'_>;

    /// Moves the current element to `out`, so that a stage that owns it need not copy it. It is no longer current.
    ///
    /// # Errors
    /// [`DataError::Budget`] when it has to be copied and there is no memory for that.
    fn take(&mut self, out: &mut Element) -> Result<(), DataError> {
        out.copy_from(&self.current()).map_err(DataError::of_fault)
    }

    /// Starts again before the first element, for pass number `epoch` over the data: what is shuffled comes in another
    /// order in each.
    ///
    /// # Errors
    /// [`DataError`] when the data cannot be opened again.
    fn reset(&mut self, epoch: u64) -> Result<(), DataError>;

    /// Writes down what is needed to go on after the current element, inputs first.
    ///
    /// # Errors
    /// [`DataError`] when the state cannot be written.
    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError>;

    /// Goes where [`Stage::save`] was called, on a stage that was just opened.
    ///
    /// # Errors
    /// [`DataError`] when the state is none of this stage.
    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError>;

    /// Elements in one pass, where that is known beforehand.
    fn rows(&self) -> Option<u64> {
        None
    }
}

/// What is counted of one stage. Each figure has one writer; anyone may read.
#[derive(Debug, Default)]
pub struct Meter {
    /// What the stage is called.
    pub name: String,
    /// The number of the stage in its pipeline.
    id: usize,
    /// The numbers of the stages it reads from.
    pub inputs: Vec<usize>,
    /// What is done to each element, where that is several things.
    pub parts: Vec<Part>,
    pub(crate) elements: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Time it took in its taker's thread.
    pub(crate) own: Own,
    /// Time that threads of its own worked, where it has some; that they took to get what they work on, and how much of
    /// that was not their inputs' work.
    pub(crate) busy_ns: AtomicU64,
    pub(crate) pull_ns: AtomicU64,
    pub(crate) pull_own_ns: AtomicU64,
    /// The time of these threads.
    pub(crate) awake: Awake,
    /// Time that whoever takes its elements waited for them, where threads make them.
    pub(crate) wait_ns: AtomicU64,
    pub(crate) held_bytes: AtomicU64,
    pub(crate) peak_bytes: AtomicU64,
    /// Threads at work; 0 for a stage that works in its taker's thread.
    pub(crate) threads: AtomicU64,
    /// Elements in error that were left out, and the messages of the first.
    skipped: AtomicU64,
    messages: Mutex<Vec<String>>,
}

/// So many messages of elements that were left out are kept.
const MESSAGES: usize = 8;

/// One of several things that a stage does to each element.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Part {
    /// What it is called.
    pub name: String,
    /// Time it took, in all threads.
    pub(crate) busy_ns: AtomicU64,
}

impl Meter {
    /// Says how many bytes the stage holds now.
    pub fn holds(&self, bytes: usize) {
        let bytes = bytes as u64;
        self.held_bytes.store(bytes, Ordering::Relaxed);
        if bytes > self.peak_bytes.load(Ordering::Relaxed) {
            self.peak_bytes.store(bytes, Ordering::Relaxed);
        }
    }
}

impl Meter {
    /// Says that an element was left out because of what `message` says.
    pub fn skips(&self, message: &str) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.len() < MESSAGES {
            messages.push(message.to_string());
        }
    }

    /// How many elements were left out because something was wrong with them, and the first messages.
    pub fn skipped(&self) -> (u64, Vec<String>) {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        (self.skipped.load(Ordering::Relaxed), messages.clone())
    }
}

/// Adds to a figure that this thread alone writes: cheaper than an atomic addition.
pub(crate) fn add(figure: &AtomicU64, more: u64) {
    figure.store(figure.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// What a stage keeps for each field beside a schema: its shape now and in the element before, and where it goes.
const STAGE_FIELD_BYTES: usize = 256;

/// A stage with its meter: what stages hold as their input.
pub struct Node {
    stage: Box<dyn Stage>,
    meter: Arc<Meter>,
    id: usize,
}

/// A stage without elements, for while there is no other.
struct Nothing(Arc<Schema>);

impl Stage for Nothing {
    fn schema(&self) -> &Arc<Schema> {
        &self.0
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        Ok(false)
    }

    fn current(&self) -> ElementView<'_> {
        ElementView::new(&self.0, &[], &[], &[], Default::default())
    }

    fn reset(&mut self, _epoch: u64) -> Result<(), DataError> {
        Ok(())
    }

    fn save(&mut self, _state: &mut StateWriter) -> Result<(), DataError> {
        Ok(())
    }

    fn restore(&mut self, _state: &mut StateReader) -> Result<(), DataError> {
        Ok(())
    }
}

impl Node {
    /// A stage of `schema` that gives nothing.
    pub(crate) fn nothing(schema: Arc<Schema>) -> Node {
        Node { stage: Box::new(Nothing(schema)), meter: Arc::default(), id: 0 }
    }

    /// The number of the stage in its pipeline.
    pub fn id(&self) -> usize {
        self.id
    }

    /// Its meter.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// See [`Stage::schema`].
    pub fn schema(&self) -> &Arc<Schema> {
        self.stage.schema()
    }

    /// See [`Stage::advance`].
    ///
    /// # Errors
    /// As [`Stage::advance`].
    pub fn advance(&mut self) -> Result<bool, DataError> {
        let Node { stage, meter, .. } = self;
        let more = meter.own.time(|| stage.advance())?;
        if more {
            add(&meter.elements, 1);
            add(&meter.bytes, stage.current().bytes() as u64);
        }
        Ok(more)
    }

    /// See [`Stage::current`].
    pub fn current(&self) -> ElementView<'_> {
        self.stage.current()
    }

    /// See [`Stage::take`].
    ///
    /// # Errors
    /// As [`Stage::take`].
    pub fn take(&mut self, out: &mut Element) -> Result<(), DataError> {
        self.stage.take(out)
    }

    /// See [`Stage::reset`].
    ///
    /// # Errors
    /// As [`Stage::reset`].
    pub fn reset(&mut self, epoch: u64) -> Result<(), DataError> {
        self.stage.reset(epoch)
    }

    /// See [`Stage::save`].
    ///
    /// # Errors
    /// As [`Stage::save`].
    pub fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        self.stage.save(state)
    }

    /// See [`Stage::restore`].
    ///
    /// # Errors
    /// As [`Stage::restore`].
    pub fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        self.stage.restore(state)
    }

    /// See [`Stage::rows`].
    pub fn rows(&self) -> Option<u64> {
        self.stage.rows()
    }
}

/// What stages are opened with: the one budget, the names of files, and the meters of the stages opened before.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where all memory comes from.
    pub budget: MemoryBudget,
    /// The most threads that may work at once.
    pub threads: usize,
    /// The names of the files.
    pub names: Names,
    /// What the pipeline may open: all that its description names is checked against it.
    pub access: Access,
    pub(crate) tuner: Arc<Tuner>,
    /// Whether every stage works in the thread of whoever takes the elements.
    pub(crate) is_synchronous: bool,
    /// Counts the schemas of the stages, and what stages keep for each field.
    columns: Arc<Mutex<Option<Reservation>>>,
    /// The source and the stages of this pipeline that are open, as they describe themselves.
    pub(crate) trail: Vec<Value>,
    meters: Vec<Arc<Meter>>,
}

impl Context {
    /// A pipeline without stages. Its threads wait for memory as long as others can give some back.
    pub fn new(budget: &MemoryBudget, threads: usize) -> Context {
        let threads = threads.max(1);
        let tuner = Arc::new(Tuner::new(threads, budget));
        let budget = budget.with_patience(Arc::new(Ahead::new(tuner.clone(), budget.limit_bytes())));
        let (names, trail, meters) = (Names::default(), Vec::new(), Vec::new());
        let columns = Arc::default();
        let access = Access::everything();
        Context { budget, threads, names, access, tuner, is_synchronous: false, columns, trail, meters }
    }

    /// A pipeline without stages, in which nothing works ahead and nothing is held but for the element that is being
    /// made. What fits the budget this way depends on the elements alone.
    pub fn synchronous(budget: &MemoryBudget) -> Context {
        let budget = budget.frugal();
        let tuner = Arc::new(Tuner::new(1, &budget));
        let (names, trail, meters) = (Names::default(), Vec::new(), Vec::new());
        let columns = Arc::default();
        let access = Access::everything();
        Context { budget, threads: 1, names, access, tuner, is_synchronous: true, columns, trail, meters }
    }

    /// Counts what `stages` stages, which get elements of `schema`, are going to keep for each of its fields.
    pub(crate) fn count_columns(&self, schema: &Schema, stages: usize) -> Result<(), BudgetError> {
        let table_bytes = schema.fields().len().saturating_mul(STAGE_FIELD_BYTES) as u64;
        let bytes = schema.bytes().saturating_add(table_bytes).saturating_mul(stages as u64);
        let mut columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *columns {
            Some(columns) => columns.try_grow(bytes),
            None => {
                *columns = Some(self.budget.try_reserve("columns", bytes)?);
                Ok(())
            }
        }
    }

    /// Gives back what was counted for the fields of stages that are no more.
    pub(crate) fn forget_columns(&self) {
        self.columns.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// A meter for the next stage, which is called `name` and reads from `inputs`.
    pub fn meter(&mut self, name: impl Into<String>, inputs: &[&Node]) -> Arc<Meter> {
        self.meter_of_parts(name, inputs, Vec::new())
    }

    /// A meter for the next stage, which does several things to each element.
    pub fn meter_of_parts(
        &mut self,
        name: impl Into<String>,
        inputs: &[&Node],
        parts: Vec<Part>,
    ) -> Arc<Meter> {
        let inputs = inputs.iter().map(|node| node.id).collect();
        let id = self.meters.len();
        let meter = Arc::new(Meter { name: name.into(), id, inputs, parts, ..Meter::default() });
        self.meters.push(meter.clone());
        meter
    }

    /// The stage that `meter` was made for last, as an input of others.
    pub fn node(&self, stage: impl Stage + 'static, meter: Arc<Meter>) -> Node {
        let id = meter.id;
        Node { stage: Box::new(stage), meter, id }
    }

    /// What tells the elements that come so far from those of other pipelines or other files.
    pub(crate) fn identity(&self) -> Value {
        json!({"pipeline": self.trail, "files": self.names.identity()})
    }

    /// The meters of the stages that work in the thread that takes the elements of `node`.
    pub(crate) fn meters_of_thread(&self, node: &Node) -> Vec<Arc<Meter>> {
        let (mut meters, mut waiting) = (Vec::new(), vec![node.id]);
        while let Some(meter) = waiting.pop().and_then(|id| self.meters.get(id)) {
            meters.push(meter.clone());
            if meter.threads.load(Ordering::Relaxed) == 0 {
                waiting.extend(&meter.inputs);
            }
        }
        meters
    }

    /// The meters of all stages, sources first.
    pub fn meters(&self) -> &[Arc<Meter>] {
        &self.meters
    }
}
