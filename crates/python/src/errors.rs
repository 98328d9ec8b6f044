//! What goes wrong, as exceptions of `tightfit._errors`.

use std::error::Error as _;
use std::io;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};
use tightfit::{DataError, Error, GraphError};

/// The exception of a name in `tightfit._errors`, with its message and what else it knows.
fn exception(py: Python<'_>, name: &str, message: &str, facts: &[(&str, Option<u64>)]) -> PyErr {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let made = || -> PyResult<PyErr> {
        let module =
            MODULE.get_or_try_init(py, || Ok::<_, PyErr>(py.import("tightfit._errors")?.unbind()))?;
        let class = module.bind(py).getattr(name)?.cast_into::<PyType>()?;
        let named = PyDict::new(py);
        for (fact, value) in facts {
            named.set_item(fact, *value)?;
        }
        Ok(PyErr::from_value(class.call((message,), Some(&named))?))
    };
    made().unwrap_or_else(|error| error)
}

/// An argument that makes no sense.
pub fn invalid(py: Python<'_>, message: &str) -> PyErr {
    exception(py, "InvalidArgument", message, &[])
}

/// What can only be done another way.
pub fn refused(py: Python<'_>, message: &str) -> PyErr {
    exception(py, "TightFitError", message, &[])
}

/// Flags that the library's errors name, and what they are called here.
const WORDS: [(&str, &str); 4] = [
    ("--signature ", "signature="),
    ("--signature", "signature="),
    ("--tags", "tags="),
    ("--fetch", "fetches="),
];

/// The library's error as an exception.
pub fn raise(py: Python<'_>, error: &Error) -> PyErr {
    if let Error::Option { name: "input", .. } = error {
        return invalid(py, &error.to_string().replacen("input", "data", 1));
    }
    let text = WORDS.iter().fold(error.to_string(), |text, (flag, word)| text.replace(flag, word));
    if error.is_budget() {
        let facts = match error {
            Error::NotFit(not_fit) => {
                [Some(not_fit.minimum_bytes), Some(not_fit.memory_bytes), Some(not_fit.batch as u64)]
            }
            Error::Floor { memory_bytes, floor_bytes } => [Some(*floor_bytes), Some(*memory_bytes), None],
            _ => [None, None, None],
        };
        let facts: Vec<_> = ["minimum_bytes", "memory_bytes", "batch"].into_iter().zip(facts).collect();
        return exception(py, "NotFit", &text, &facts);
    }
    let class = match error {
        Error::Interrupted => return pyo3::exceptions::PyKeyboardInterrupt::new_err(()),
        error if is_missing(error) => "MissingFile",
        Error::Usage(_) | Error::Option { .. } | Error::NotFed(_) | Error::OtherJob(_) => "InvalidArgument",
        Error::Graph(graph) => match &**graph {
            GraphError::OpenShape { .. }
            | GraphError::Feed { .. }
            | GraphError::NoSuchTensor { .. }
            | GraphError::NoSuchOutput { .. } => "InvalidArgument",
            _ => "ModelError",
        },
        Error::Format(_) => "ModelError",
        Error::Io { .. } | Error::Dataset(DataError::Io { .. }) => "FileError",
        Error::Dataset(_) | Error::Data { .. } => "DataError",
        _ => "TightFitError",
    };
    exception(py, class, &text, &[])
}

/// True where a file is not there.
fn is_missing(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(system) = error.downcast_ref::<io::Error>() {
            return system.kind() == io::ErrorKind::NotFound;
        }
        cause = error.source();
    }
    false
}
