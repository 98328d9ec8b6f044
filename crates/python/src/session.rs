//! A model that Python calls.

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use tightfit::job::DataOptions;
use tightfit::{DType, Error, Feed, Feeds, ModelSource, OpenOptions, SessionOptions};

use crate::arrays::{self, Fed};
use crate::signals::Signals;
use crate::{data, errors, jobs, memory_bytes, plan, thread_count};

/// How many times this process has come out of a fork since the module was loaded.
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// Says that this process has just come out of a fork: no thread of a model that was opened before is in it.
#[pyfunction]
pub fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// A model in a number of bytes: what `tightfit.Model` is made of.
#[pyclass(frozen, subclass, module = "tightfit._tightfit")]
pub struct Session {
    inner: Mutex<ManuallyDrop<tightfit::Session>>,
    /// The thread that runs it; 0 while none does.
    owner: AtomicUsize,
    inputs: Vec<Input>,
    /// What the inputs are in the file.
    specs: Vec<Spec>,
    outputs: Vec<Py<PyString>>,
    signals: Arc<Signals>,
    forks: usize,
}

struct Input {
    name: Py<PyString>,
    dtype: DType,
    /// Of integers that stand for other numbers, which it may be fed.
    is_quantized: bool,
}

impl Input {
    /// What it is fed: its integers, or the floats that they stand for.
    fn fed<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Fed<'py>> {
        let are_floats = self.is_quantized && arrays::are_floats(value)?;
        Fed::new(self.name.bind(py), if are_floats { DType::F32 } else { self.dtype }, value)
    }
}

/// The model, which nobody else runs meanwhile.
pub struct Held<'a> {
    guard: MutexGuard<'a, ManuallyDrop<tightfit::Session>>,
    owner: &'a AtomicUsize,
}

impl Deref for Held<'_> {
    type Target = tightfit::Session;

    fn deref(&self) -> &tightfit::Session {
        &self.guard
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut tightfit::Session {
        &mut self.guard
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.owner.store(0, Ordering::Release);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if FORKS.load(Ordering::Relaxed) == self.forks {
            let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: it is dropped here alone, and not used after.
            unsafe { ManuallyDrop::drop(inner) };
        }
        // Its threads are in the other process, and would be waited for.
    }
}

/// A number that no other thread has.
fn this_thread() -> usize {
    thread_local!(static PLACE: u8 = const { 0 });
    PLACE.with(|place| std::ptr::from_ref(place) as usize)
}

/// Between two looks at whether another thread's run has ended.
const PATIENCE: Duration = Duration::from_micros(50);

impl Session {
    /// The model, once nobody else runs it.
    pub fn lock<'a>(&'a self, py: Python<'_>) -> PyResult<Held<'a>> {
        if FORKS.load(Ordering::Relaxed) != self.forks {
            let why = "was opened before this process was forked: open it again in this process";
            return Err(errors::refused(py, &format!("the model {why}")));
        }
        if self.owner.load(Ordering::Acquire) == this_thread() {
            let why = "is running on this thread already: a signal handler or a finalizer cannot run it too";
            return Err(errors::refused(py, &format!("the model {why}")));
        }
        let guard = loop {
            match self.inner.try_lock() {
                Ok(guard) => break guard,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    py.detach(|| std::thread::sleep(PATIENCE));
                    py.check_signals()?;
                }
            }
        };
        self.owner.store(this_thread(), Ordering::Release);
        Ok(Held { guard, owner: &self.owner })
    }

    /// The inputs in the model's order.
    pub fn named_inputs(&self) -> impl Iterator<Item = (&Py<PyString>, DType)> {
        self.inputs.iter().map(|input| (&input.name, input.dtype))
    }

    /// Runs the model on what its inputs are fed, in its order.
    pub fn compute(&self, py: Python<'_>, fed: &[Fed<'_>]) -> PyResult<Held<'_>> {
        let feeds: Vec<Feed<'_>> = fed.iter().map(Fed::feed).collect();
        let are_floats = |(input, fed): &(&Input, &Fed<'_>)| input.is_quantized && fed.dtype() != input.dtype;
        let floats = self.inputs.iter().zip(fed).filter(are_floats);
        let floats: Vec<String> = floats.map(|(input, _)| input.name.to_string()).collect();
        let mut held = self.lock(py)?;
        let session: &mut tightfit::Session = &mut held;
        let ran = py.detach(|| {
            session.feed_floats(&floats)?;
            session.run(&feeds).map(|_| ())
        });
        ran.map_err(|error| self.signals.raise(py, &error))?;
        Ok(held)
    }

    /// What each input is fed, in the model's order.
    fn gather<'py>(
        &self,
        py: Python<'py>,
        feeds: Option<&Bound<'py, PyAny>>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Vec<Fed<'py>>> {
        if let (Some(feeds), None) = (feeds.map(Bound::cast::<PyDict>), named)
            && let Ok(feeds) = feeds
            && feeds.len() == self.inputs.len()
        {
            let mut fed = Vec::with_capacity(self.inputs.len());
            for input in &self.inputs {
                let Some(value) = feeds.get_item(&input.name)? else { break };
                fed.push(input.fed(py, &value)?);
            }
            if fed.len() == self.inputs.len() {
                return Ok(fed);
            }
        }
        let mut values: Vec<Option<Bound<'py, PyAny>>> = vec![None; self.inputs.len()];
        let mut put = |name: &str, value: Bound<'py, PyAny>| -> PyResult<()> {
            let index = self.find_input(py, name)?;
            match values.get_mut(index) {
                Some(place) if place.is_none() => *place = Some(value),
                _ => return Err(errors::invalid(py, &format!("input '{name}' is fed twice"))),
            }
            Ok(())
        };
        match feeds {
            None => {}
            Some(feeds) => match feeds.cast::<PyDict>() {
                Ok(dict) => {
                    for (name, value) in dict.iter() {
                        put(&name.str()?.to_cow()?, value)?;
                    }
                }
                Err(_) => match &self.inputs[..] {
                    [only] => put(&only.name.bind(py).to_cow()?, feeds.clone())?,
                    all => {
                        let why =
                            format!("the model has {} inputs: feed a dict of arrays by name", all.len());
                        return Err(errors::invalid(py, &why));
                    }
                },
            },
        }
        for (name, value) in named.iter().flat_map(|named| named.iter()) {
            put(&name.str()?.to_cow()?, value)?;
        }
        let missing = self.inputs.iter().zip(&values).filter(|(_, value)| value.is_none());
        let missing: Vec<String> = missing.map(|(input, _)| input.name.to_string()).collect();
        if !missing.is_empty() {
            return Err(errors::raise(py, &Error::NotFed(missing)));
        }
        let fed = self.inputs.iter().zip(values.iter().flatten());
        fed.map(|(input, value)| input.fed(py, value)).collect()
    }

    fn find_input(&self, py: Python<'_>, name: &str) -> PyResult<usize> {
        let session = self.lock(py)?;
        let model = session.model();
        let inputs = &model.graph().inputs;
        if let Some(index) = inputs.iter().position(|port| model.is_called(port, name)) {
            return Ok(index);
        }
        let names = || inputs.iter().map(|port| port.name.as_str());
        let advice = match tightfit::closest(name, names()) {
            Some(input) => format!("did you mean '{input}'?"),
            None => format!("its inputs are {}", names().collect::<Vec<_>>().join(", ")),
        };
        Err(errors::invalid(py, &format!("the model has no input '{name}'; {advice}")))
    }
}

/// Scales, zero points and the axis that they are along.
pub type Scales = (Vec<f32>, Vec<i64>, Option<usize>);

/// Name, type and shape of a tensor of the model, open dimensions as nothing, and nothing where not even their number is
/// known; and what its integers stand for.
type Spec = (String, &'static str, Option<Vec<Option<usize>>>, Option<Scales>);

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (path, memory=None, signature=None, precision="f32", threads=None, *, tags=None, checkpoint=None, fetches=Vec::new(), feeds=Vec::new(), shapes=HashMap::new()))]
    #[expect(clippy::too_many_arguments, reason = "they are named in Python")]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        memory: Option<&Bound<'_, PyAny>>,
        signature: Option<String>,
        precision: &str,
        threads: Option<usize>,
        tags: Option<Vec<String>>,
        checkpoint: Option<PathBuf>,
        fetches: Vec<String>,
        feeds: Vec<String>,
        shapes: HashMap<String, Vec<usize>>,
    ) -> PyResult<Session> {
        if precision != "f32" {
            let why = format!(
                "precision='{precision}': values are computed in the types that the model says, 'f32'"
            );
            return Err(errors::invalid(py, &why));
        }
        let options =
            SessionOptions { memory_bytes: memory_bytes(memory)?, threads: thread_count(py, threads)? };
        let source = ModelSource { signature, tags, checkpoint };
        let shapes = data::shapes(py, shapes)?.into_iter().collect();
        let open = OpenOptions { fetches, feeds, source, shapes, ..OpenOptions::default() };
        let opened = py.detach(|| tightfit::Session::open(&path, &open, &options));
        let mut session = opened.map_err(|error| errors::raise(py, &error))?;
        let signals = Arc::new(Signals::default());
        session.stop_at(signals.flag());
        let (model, graph) = (session.model(), session.model().graph());
        let name = |name: &str| PyString::new(py, name).unbind();
        let input = |port: &tightfit::Port| {
            let dtype = graph.fact(port.value).dtype;
            let is_quantized = dtype.is_integer() && model.takes_quantized(&port.name);
            Input { name: name(&port.name), dtype, is_quantized }
        };
        Ok(Session {
            inputs: graph.inputs.iter().map(input).collect(),
            specs: graph.inputs.iter().map(|port| spec(&port.name, graph.fact(port.value))).collect(),
            outputs: graph.outputs.iter().map(|port| name(&port.name)).collect(),
            inner: Mutex::new(ManuallyDrop::new(session)),
            owner: AtomicUsize::new(0),
            signals,
            forks: FORKS.load(Ordering::Relaxed),
        })
    }

    /// Computes the outputs for these inputs.
    ///
    /// Parameters
    /// ----------
    /// feeds : dict of str to array_like, or array_like
    ///     One value per input, by name; a model with one input takes the value alone. An array of the input's type that
    ///     is C-contiguous is read where it is, and must not be written to meanwhile. Whatever has DLPack or the buffer
    ///     protocol is an array too; lists and numbers are converted. Floats for an input of quantised integers become these,
    ///     by its scale and zero point.
    /// **named : array_like
    ///     The same by keyword.
    ///
    /// Returns
    /// -------
    /// dict of str to numpy.ndarray
    ///     A new array for each output. Strings are arrays of ``bytes``.
    ///
    /// Raises
    /// ------
    /// NotFit
    ///     When inputs of these shapes do not fit the memory. Nothing has been computed then.
    /// InvalidArgument
    ///     For an input that is missing, unknown, or of another type or shape.
    /// KeyboardInterrupt
    ///     When Ctrl-C is pressed: between two steps.
    #[pyo3(signature = (feeds=None, /, **named))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        feeds: Option<&Bound<'py, PyAny>>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let fed = self.gather(py, feeds, named)?;
        let held = self.compute(py, &fed)?;
        let outputs = held.outputs().ok_or_else(|| errors::refused(py, "a run has no outputs"))?;
        arrays::to_dict(py, &self.outputs, &outputs)
    }

    /// What the inputs are.
    fn _inputs(&self) -> Vec<Spec> {
        self.specs.clone()
    }

    /// What the outputs are.
    fn _outputs(&self, py: Python<'_>) -> PyResult<Vec<Spec>> {
        let session = self.lock(py)?;
        let graph = session.model().graph();
        Ok(graph.outputs.iter().map(|port| spec(&port.name, graph.fact(port.value))).collect())
    }

    /// The layout for a batch, in figures.
    fn _plan<'py>(
        &self,
        py: Python<'py>,
        batch: usize,
        shapes: HashMap<String, Vec<usize>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let shapes = data::shapes(py, shapes)?;
        let mut held = self.lock(py)?;
        let session: &mut tightfit::Session = &mut held;
        let planned = py.detach(move || session.plan(batch, shapes));
        let (options, fit) = planned.map_err(|error| errors::raise(py, &error))?;
        plan::to_dict(py, &options, &fit)
    }

    /// The batch of at most `most` rows that runs fastest.
    fn _fastest_batch(
        &self,
        py: Python<'_>,
        most: usize,
        shapes: HashMap<String, Vec<usize>>,
    ) -> PyResult<usize> {
        let shapes = data::shapes(py, shapes)?;
        let mut held = self.lock(py)?;
        let session: &mut tightfit::Session = &mut held;
        py.detach(|| session.fastest_batch(most, &shapes)).map_err(|error| self.signals.raise(py, &error))
    }

    /// Runs a data set: `tightfit run --input`.
    fn _job<'py>(&self, py: Python<'py>, wishes: jobs::Wishes) -> PyResult<Bound<'py, PyDict>> {
        let mut held = self.lock(py)?;
        jobs::run(py, &mut held, wishes, &self.signals)
    }

    /// Runs once on tensors in files: `tightfit run --input NAME=FILE`.
    fn _run_files<'py>(
        &self,
        py: Python<'py>,
        files: Vec<(String, PathBuf)>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let mut held = self.lock(py)?;
        let session: &mut tightfit::Session = &mut held;
        let ran = py.detach(|| {
            session.feed_data(&files, &DataOptions::default())?;
            let feeds = Feeds::read(session.model(), &files, session.budget())?;
            let inputs = session.model().graph().inputs.iter();
            let names: Vec<String> = inputs.map(|port| port.name.clone()).collect();
            let tensors = feeds.feeds(names.iter().map(String::as_str))?;
            session.run(&tensors).map(|_| ())
        });
        ran.map_err(|error| self.signals.raise(py, &error))?;
        let outputs = held.outputs().ok_or_else(|| errors::refused(py, "a run has no outputs"))?;
        arrays::to_dict(py, &self.outputs, &outputs)
    }

    /// True where a run leaves variables for the next one.
    fn _has_states(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(!self.lock(py)?.model().graph().states.is_empty())
    }

    /// Makes every variable of the model what it is before the first run, and lets random numbers begin anew.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.lock(py)?.reset().map_err(|error| errors::raise(py, &error))
    }

    /// Lets go of the weights and of all that a run takes, variables included. The next run reads them again.
    fn unload(&self, py: Python<'_>) -> PyResult<()> {
        let mut held = self.lock(py)?;
        let session: &mut tightfit::Session = &mut held;
        py.detach(|| session.unload());
        Ok(())
    }

    /// Bytes of the memory in use, and the most that were in use at once.
    fn _usage(&self, py: Python<'_>) -> PyResult<(u64, u64)> {
        let session = self.lock(py)?;
        Ok((session.budget().used_bytes(), session.budget().peak_bytes()))
    }

    /// The memory that the model may take, in bytes.
    #[getter]
    fn memory_bytes(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.lock(py)?.options().memory_bytes)
    }

    /// Threads that compute.
    #[getter]
    fn threads(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.lock(py)?.options().threads)
    }

    /// The model's path.
    #[getter]
    fn path(&self, py: Python<'_>) -> PyResult<PathBuf> {
        Ok(self.lock(py)?.model().path().to_path_buf())
    }

    /// The key of the signature whose names the inputs and outputs have; None where the model has none.
    #[getter]
    fn signature(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.lock(py)?.model().signature().map(str::to_string))
    }
}

fn spec(name: &str, fact: &tightfit::Fact) -> Spec {
    let dims = fact.dims.get().map(|dims| dims.iter().map(|dim| dim.size()).collect());
    let scales = fact.quantization.as_ref().map(|q| (q.scales.clone(), q.zero_points.clone(), q.axis));
    (name.to_string(), fact.dtype.name(), dims, scales)
}
