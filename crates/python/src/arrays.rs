//! Arrays of NumPy in and out.
//!
//! An array that lies in memory as the model wants it is read where it is. Anything else goes through `tightfit._arrays`,
//! which makes such an array of it or says why that cannot be. Results are arrays of their own.

use std::ffi::c_int;

use numpy::npyffi::{NPY_TYPES, PY_ARRAY_API, npy_intp};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString};
use pyo3::{PyTypeInfo, ffi};
use tightfit::{DType, Feed, Outputs, Shape, TensorView};
use tightfit_core::StringRef;

use crate::errors;

/// What one input is fed.
pub enum Fed<'py> {
    /// An array that is read where it is.
    Array { array: Bound<'py, PyUntypedArray>, dtype: DType, shape: Shape },
    /// Strings.
    Texts { shape: Shape, texts: Vec<Box<[u8]>> },
}

impl<'py> Fed<'py> {
    /// What is fed to the input `name`, which is of type `dtype`.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no such tensor.
    pub fn new(name: &Bound<'py, PyString>, dtype: DType, value: &Bound<'py, PyAny>) -> PyResult<Fed<'py>> {
        if let Some(fed) = Fed::as_it_is(dtype, value)? {
            return Ok(fed);
        }
        let py = value.py();
        static MODULE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let prepare = MODULE.get_or_try_init(py, || {
            Ok::<_, PyErr>(py.import("tightfit._arrays")?.getattr("prepare")?.unbind())
        })?;
        let prepared = prepare.bind(py).call1((name, dtype.name(), value))?;
        if dtype == DType::String {
            return Fed::texts(&prepared);
        }
        Fed::as_it_is(dtype, &prepared)?.ok_or_else(|| errors::refused(py, "an array is not as it was made"))
    }

    /// The array itself, where it is dense, aligned, in this machine's byte order and of the type.
    fn as_it_is(dtype: DType, value: &Bound<'py, PyAny>) -> PyResult<Option<Fed<'py>>> {
        let Ok(array) = value.cast::<PyUntypedArray>() else { return Ok(None) };
        if !array.is_c_contiguous() || !array.is_aligned() || !is_of(&array.dtype(), dtype)? {
            return Ok(None);
        }
        let Ok(shape) = Shape::new(array.shape()) else {
            return Err(errors::invalid(value.py(), "an array of too many dimensions"));
        };
        let fed = Fed::Array { array: array.clone(), dtype, shape };
        // Kernels rely on 0 and 1.
        Ok(Some(fed).filter(|fed| dtype != DType::Bool || fed.bytes().iter().all(|byte| *byte <= 1)))
    }

    /// Strings of what `prepare` makes of them: a shape and a list of bytes.
    fn texts(prepared: &Bound<'py, PyAny>) -> PyResult<Fed<'py>> {
        let (dims, list): (Vec<usize>, Vec<Bound<'py, PyBytes>>) = prepared.extract()?;
        let shape = Shape::new(&dims).map_err(|error| errors::invalid(prepared.py(), &error.to_string()))?;
        Ok(Fed::Texts { shape, texts: list.iter().map(|text| text.as_bytes().into()).collect() })
    }

    /// The type of the tensor.
    pub fn dtype(&self) -> DType {
        match self {
            Fed::Array { dtype, .. } => *dtype,
            Fed::Texts { .. } => DType::String,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Fed::Array { array, dtype, shape } => {
                // SAFETY: the array is alive as long as `self`, and dense, so that it has so many bytes from its address on.
                unsafe {
                    let data = (*array.as_array_ptr()).fields.data;
                    std::slice::from_raw_parts(data.cast::<u8>(), shape.elements() * dtype.bytes())
                }
            }
            Fed::Texts { .. } => &[],
        }
    }

    /// The tensor for a run.
    pub fn feed(&self) -> Feed<'_> {
        match self {
            Fed::Array { dtype, shape, .. } => {
                TensorView::new(*dtype, *shape, self.bytes()).map_or(Feed::NONE, Feed::Tensor)
            }
            Fed::Texts { shape, texts } => Feed::Strings(*shape, texts),
        }
    }
}

/// True for an array of floats, and for what becomes one.
///
/// # Errors
/// What Python raises for what is no array.
pub fn are_floats(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if let Ok(array) = value.cast::<PyUntypedArray>() {
        return Ok(array.dtype().kind() == b'f');
    }
    let array = value.py().import("tightfit._arrays")?.getattr("as_array")?.call1((value,))?;
    Ok(array.cast::<PyUntypedArray>()?.dtype().kind() == b'f')
}

/// True where elements of an array are those of `dtype` as they lie in memory.
fn is_of(descr: &Bound<'_, numpy::PyArrayDescr>, dtype: DType) -> PyResult<bool> {
    if dtype == DType::BF16 {
        return descr.is_equiv_to_bfloat16();
    }
    let kind = match dtype {
        DType::F16 | DType::F32 | DType::F64 => b'f',
        DType::I8 | DType::I16 | DType::I32 | DType::I64 => b'i',
        DType::U8 | DType::U16 | DType::U32 | DType::U64 => b'u',
        DType::C64 | DType::C128 => b'c',
        DType::Bool => b'b',
        DType::BF16 | DType::String => return Ok(false),
    };
    let is_native = descr.is_native_byteorder() != Some(false);
    Ok(descr.kind() == kind && descr.itemsize() == dtype.bytes() && is_native)
}

trait BFloat16 {
    fn is_equiv_to_bfloat16(&self) -> PyResult<bool>;
}

impl BFloat16 for Bound<'_, numpy::PyArrayDescr> {
    /// True for the type of the package ml_dtypes, which NumPy itself does not have.
    fn is_equiv_to_bfloat16(&self) -> PyResult<bool> {
        Ok(self.itemsize() == 2 && self.getattr("name")?.extract::<String>()? == "bfloat16")
    }
}

/// The number that NumPy has for elements of a type.
fn type_number(py: Python<'_>, dtype: DType) -> PyResult<c_int> {
    let number = match dtype {
        DType::F32 => NPY_TYPES::NPY_FLOAT,
        DType::F64 => NPY_TYPES::NPY_DOUBLE,
        DType::F16 => NPY_TYPES::NPY_HALF,
        DType::I8 => NPY_TYPES::NPY_BYTE,
        DType::U8 => NPY_TYPES::NPY_UBYTE,
        DType::I16 => NPY_TYPES::NPY_SHORT,
        DType::U16 => NPY_TYPES::NPY_USHORT,
        DType::I32 => NPY_TYPES::NPY_INT,
        DType::U32 => NPY_TYPES::NPY_UINT,
        DType::I64 if size_of::<std::ffi::c_long>() == 8 => NPY_TYPES::NPY_LONG,
        DType::I64 => NPY_TYPES::NPY_LONGLONG,
        DType::U64 if size_of::<std::ffi::c_long>() == 8 => NPY_TYPES::NPY_ULONG,
        DType::U64 => NPY_TYPES::NPY_ULONGLONG,
        DType::Bool => NPY_TYPES::NPY_BOOL,
        DType::C64 => NPY_TYPES::NPY_CFLOAT,
        DType::C128 => NPY_TYPES::NPY_CDOUBLE,
        DType::String => NPY_TYPES::NPY_OBJECT,
        DType::BF16 => {
            static NUMBER: PyOnceLock<c_int> = PyOnceLock::new();
            let number = NUMBER.get_or_try_init(py, || {
                py.import("tightfit._arrays")?.getattr("bfloat16_number")?.call0()?.extract::<c_int>()
            })?;
            return Ok(*number);
        }
    };
    Ok(number as c_int)
}

/// A new array.
fn new_array<'py>(py: Python<'py>, dtype: DType, shape: &[usize]) -> PyResult<Bound<'py, PyUntypedArray>> {
    let number = type_number(py, dtype)?;
    let mut dims: Vec<npy_intp> = shape.iter().map(|dim| *dim as npy_intp).collect();
    // SAFETY: NumPy takes over the reference to the description, reads as many dimensions as it is told, and gives a new
    // reference, or null with an exception set.
    unsafe {
        let descr = PY_ARRAY_API.PyArray_DescrFromType(py, number);
        let array = PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            PyUntypedArray::type_object_raw(py),
            descr,
            dims.len() as c_int,
            dims.as_mut_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        Ok(Bound::from_owned_ptr_or_err(py, array)?.cast_into_unchecked())
    }
}

/// A new array of elements that own nothing, whose bytes `fill` writes.
pub fn filled<'py, E: Send>(
    py: Python<'py>,
    dtype: DType,
    shape: &Shape,
    fill: impl FnOnce(&mut [u8]) -> Result<(), E> + Send,
) -> PyResult<Result<Bound<'py, PyUntypedArray>, E>> {
    let array = new_array(py, dtype, shape)?;
    let bytes = shape.elements() * dtype.bytes();
    // SAFETY: the array is new, so nobody else reads or writes it, and dense. It has at least an element's bytes even where
    // it has none, so the address is no null. What it holds so far is written before it is read.
    let out = unsafe {
        let data = (*array.as_array_ptr()).fields.data.cast::<u8>();
        std::ptr::write_bytes(data, 0, bytes);
        std::slice::from_raw_parts_mut(data, bytes)
    };
    Ok(py.detach(|| fill(out)).map(|()| array))
}

/// A copy of a tensor as an array of its own; `string` gives the texts of strings.
pub fn to_array<'py>(
    py: Python<'py>,
    tensor: &TensorView<'_>,
    string: &dyn Fn(StringRef) -> Vec<u8>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let array = new_array(py, tensor.dtype(), tensor.shape())?;
    // SAFETY: the array is new, so nobody else reads or writes it, and dense.
    let data = unsafe { (*array.as_array_ptr()).fields.data };
    if tensor.dtype() != DType::String {
        let bytes = tensor.bytes();
        // SAFETY: the array has the tensor's type and shape, and so as many bytes as it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), data.cast::<u8>(), bytes.len()) };
        return Ok(array);
    }
    let references = tensor.as_slice::<StringRef>().unwrap_or_default();
    let places = data.cast::<*mut ffi::PyObject>();
    for (index, reference) in references.iter().enumerate() {
        let text = PyBytes::new(py, &string(*reference)).into_ptr();
        // SAFETY: the array has an element for each reference; what a new array of objects holds is null or a reference
        // that it owns.
        unsafe {
            let place = places.add(index);
            let before = std::ptr::replace(place, text);
            ffi::Py_XDECREF(before);
        }
    }
    Ok(array)
}

/// The outputs of a run, by name.
pub fn to_dict<'py>(
    py: Python<'py>,
    names: &[Py<PyString>],
    outputs: &Outputs<'_>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (index, name) in names.iter().enumerate() {
        let Some(tensor) = outputs.tensor(index) else {
            return Err(errors::refused(py, &format!("'{name}' is a weight and not kept as it is")));
        };
        let array = to_array(py, &tensor, &|reference| outputs.string(reference).to_vec())?;
        dict.set_item(name.bind(py), array)?;
    }
    Ok(dict)
}
