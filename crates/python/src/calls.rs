//! The calls of TensorFlow Lite's Interpreter that are made for every run. What they refuse, and why, is Python's.

use std::sync::{Mutex, MutexGuard, PoisonError};

use numpy::npyffi::{NPY_ORDER, PY_ARRAY_API};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::arrays::{self, Fed};
use crate::session::Session;

/// What `tightfit.Interpreter` is made of.
#[pyclass(frozen, subclass, module = "tightfit._tightfit")]
pub struct Calls {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<Py<Session>>,
    tensors: Vec<(isize, Place)>,
    /// The array of each input of the session; none before the model is laid out.
    inputs: Vec<Py<PyUntypedArray>>,
    is_ready: bool,
    has_run: bool,
}

/// Which input or output of the session a tensor is.
#[derive(Clone, Copy)]
enum Place {
    Input(usize),
    Output(usize),
}

impl State {
    fn place(&self, index: isize) -> Option<Place> {
        self.tensors.iter().find(|(own, _)| *own == index).map(|(_, place)| *place)
    }

    fn input<'py>(&self, py: Python<'py>, index: isize) -> Option<Bound<'py, PyUntypedArray>> {
        let Place::Input(position) = self.place(index)? else { return None };
        self.inputs.get(position).map(|array| array.bind(py).clone())
    }
}

impl Calls {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The array of an input of the shape that it has now.
    fn laid_out<'py>(&self, py: Python<'py>, index: isize) -> Option<Bound<'py, PyUntypedArray>> {
        let state = self.state();
        state.input(py, index).filter(|_| state.is_ready)
    }

    /// The session, where it has run and `index` is one of its outputs.
    fn output(&self, py: Python<'_>, index: isize) -> Option<(Py<Session>, usize)> {
        let state = self.state();
        match state.place(index)? {
            Place::Output(position) if state.has_run => {
                Some((state.session.as_ref()?.clone_ref(py), position))
            }
            _ => None,
        }
    }
}

/// An array as NumPy's own functions return it: a number where it has no dimensions.
fn given(array: Bound<'_, PyUntypedArray>) -> PyResult<Bound<'_, PyAny>> {
    if array.ndim() > 0 || array.dtype().has_object() {
        return Ok(array.into_any());
    }
    let py = array.py();
    // SAFETY: the reference to the array is given away for the one that comes back, or null with an exception.
    unsafe { Bound::from_owned_ptr_or_err(py, PY_ARRAY_API.PyArray_Return(py, array.into_ptr().cast())) }
}

#[pymethods]
impl Calls {
    #[new]
    #[pyo3(signature = (*_args, **_named))]
    fn new(_args: &Bound<'_, PyTuple>, _named: Option<&Bound<'_, PyDict>>) -> Calls {
        Calls { state: Mutex::default() }
    }

    /// Takes the session, the number of each of its inputs, and the numbers of the tensors that each output is.
    fn _connect(&self, session: Py<Session>, inputs: Vec<isize>, outputs: Vec<Vec<isize>>) {
        let inputs = inputs.into_iter().enumerate().map(|(at, index)| (index, Place::Input(at)));
        let outputs = outputs.into_iter().enumerate();
        let outputs =
            outputs.flat_map(|(at, all)| all.into_iter().map(move |index| (index, Place::Output(at))));
        let tensors = inputs.chain(outputs).collect();
        *self.state() = State { session: Some(session), tensors, ..State::default() };
    }

    /// Lets go of all of it.
    fn _disconnect(&self) {
        // Dropped without the lock: whoever owned an element may call this object.
        let state = std::mem::take(&mut *self.state());
        drop(state);
    }

    /// Takes the arrays of the inputs: from here on it may be invoked. Without any it may not.
    fn _lay_out(&self, inputs: Vec<Py<PyUntypedArray>>) {
        let mut state = self.state();
        state.is_ready =
            !inputs.is_empty() || state.tensors.iter().all(|(_, p)| matches!(p, Place::Output(_)));
        state.has_run = false;
        let before = std::mem::replace(&mut state.inputs, inputs);
        drop(state);
        drop(before);
    }

    /// The shapes have changed: it may not be invoked until it is laid out.
    fn _change(&self) {
        self.state().is_ready = false;
    }

    /// True once it may be invoked.
    #[getter]
    fn _is_ready(&self) -> bool {
        self.state().is_ready
    }

    /// The array that an input is; None for any other tensor, and before it is laid out.
    fn _input<'py>(&self, py: Python<'py>, index: isize) -> Option<Bound<'py, PyUntypedArray>> {
        self.state().input(py, index)
    }

    /// The shape of an output of the last run; None before.
    fn _output_shape(&self, py: Python<'_>, index: isize) -> PyResult<Option<Vec<usize>>> {
        let Some((session, position)) = self.output(py, index) else { return Ok(None) };
        let held = session.get().lock(py)?;
        Ok(held.outputs().and_then(|outputs| Some(outputs.tensor(position)?.shape().to_vec())))
    }

    /// Sets an input to a copy of ``value``.
    ///
    /// Parameters
    /// ----------
    /// tensor_index : int
    ///     The input's index.
    /// value : array_like
    ///     An array of its type and shape.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     For another type or shape, and before `allocate_tensors`.
    fn set_tensor(slf: &Bound<'_, Self>, tensor_index: isize, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let own = slf.get().laid_out(slf.py(), tensor_index);
        if let (Some(own), Ok(array)) = (own, value.cast::<PyUntypedArray>())
            && own.dtype().is(array.dtype())
            && own.shape() == array.shape()
            && array.is_c_contiguous()
            && !own.dtype().has_object()
        {
            let bytes = own.len() * own.dtype().itemsize();
            // SAFETY: both are dense arrays of as many elements of one type, which own no references.
            unsafe {
                let (from, to) = ((*array.as_array_ptr()).fields.data, (*own.as_array_ptr()).fields.data);
                std::ptr::copy(from.cast::<u8>(), to.cast::<u8>(), bytes);
            }
            return Ok(());
        }
        slf.call_method1("_set_tensor", (tensor_index, value)).map(|_| ())
    }

    /// A copy of a tensor.
    ///
    /// Parameters
    /// ----------
    /// tensor_index : int
    ///     Its index.
    /// subgraph_index : int
    ///     Must be 0.
    ///
    /// Returns
    /// -------
    /// numpy.ndarray
    ///     Its elements, strings as ``bytes``; a NumPy scalar for a tensor without dimensions.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     For a tensor that is not there, and for an output before `invoke`.
    #[pyo3(signature = (tensor_index, subgraph_index=0))]
    fn get_tensor<'py>(
        slf: &Bound<'py, Self>,
        tensor_index: isize,
        subgraph_index: isize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, calls) = (slf.py(), slf.get());
        if subgraph_index == 0 {
            let own = calls.state().input(py, tensor_index);
            if let Some(array) = own {
                // SAFETY: the array is one, and what comes back is a new reference or null with an exception.
                let copy = unsafe {
                    let copy = PY_ARRAY_API.PyArray_NewCopy(py, array.as_array_ptr(), NPY_ORDER::NPY_CORDER);
                    Bound::from_owned_ptr_or_err(py, copy)?
                };
                return given(copy.cast_into::<PyUntypedArray>()?);
            }
            if let Some((session, position)) = calls.output(py, tensor_index) {
                let held = session.get().lock(py)?;
                if let Some(outputs) = held.outputs()
                    && let Some(tensor) = outputs.tensor(position)
                {
                    let string = |reference| outputs.string(reference).to_vec();
                    return given(arrays::to_array(py, &tensor, &string)?);
                }
            }
        }
        slf.call_method1("_no_tensor", (tensor_index, subgraph_index))
    }

    /// Computes the outputs.
    ///
    /// Raises
    /// ------
    /// RuntimeError
    ///     Before `allocate_tensors`.
    fn invoke(&self, py: Python<'_>) -> PyResult<()> {
        let (session, arrays) = {
            let state = self.state();
            let Some(session) = state.session.as_ref().filter(|_| state.is_ready) else {
                let why = "Invoke called on model that is not ready: call allocate_tensors() first";
                return Err(PyRuntimeError::new_err(why));
            };
            let arrays: Vec<_> = state.inputs.iter().map(|array| array.bind(py).clone()).collect();
            (session.clone_ref(py), arrays)
        };
        let own = session.get();
        let fed = own.named_inputs().zip(&arrays);
        let fed = fed.map(|((name, dtype), array)| Fed::new(name.bind(py), dtype, array.as_any()));
        let fed: Vec<Fed<'_>> = fed.collect::<PyResult<_>>()?;
        own.compute(py, &fed)?;
        self.state().has_run = true;
        Ok(())
    }
}
