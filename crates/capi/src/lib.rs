//! The C interface, which `include/tightfit.h` describes for who calls it.
//!
//! A pointer that comes in is trusted as far as the header says: what it points to is there, as long as it says. Nothing
//! unwinds into C, and what a call returns lives in the model, so lifetimes are those of Rust: results until the next run.

mod error;
mod model;
mod types;

use std::ffi::{CStr, c_char};
use std::ptr;

use tightfit::{ModelSource, OpenOptions, SessionOptions};

use error::{Failure, Status, guarded};
pub use model::Model;
pub use types::{Options, PlanLines, Spec, Tensor, Text};

/// The version.
#[unsafe(no_mangle)]
pub extern "C" fn tightfit_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// What went wrong in the last call of this thread that failed.
#[unsafe(no_mangle)]
pub extern "C" fn tightfit_error() -> *const c_char {
    error::last_text()
}

/// The smallest memory that works, where that is what went wrong and it is known.
#[unsafe(no_mangle)]
pub extern "C" fn tightfit_error_minimum_bytes() -> u64 {
    error::last_minimum_bytes()
}

/// A text that the caller passes.
///
/// # Safety
/// `text` is null or a text that ends with a zero.
unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<Option<&'a str>, Failure> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| Failure::usage(format!("{what} is not UTF-8")))
}

/// Opens a model.
///
/// # Safety
/// `path` is a text that ends with a zero, `options` null or valid, `model` a place to write to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tightfit_open(
    path: *const c_char,
    options: *const Options,
    model: *mut *mut Model,
) -> Status {
    guarded(|| {
        if model.is_null() {
            return Err(Failure::usage("there is no place for the model"));
        }
        // SAFETY: as the caller promises.
        let (path, given) = unsafe { (text(path, "the path")?, options.as_ref()) };
        let path = path.ok_or_else(|| Failure::usage("there is no path"))?;
        let (mut session, mut open) = (SessionOptions::default(), OpenOptions::default());
        if let Some(given) = given {
            if given.memory_bytes > 0 {
                session.memory_bytes = given.memory_bytes;
            }
            if given.threads > 0 {
                session.threads = given.threads;
            }
            // SAFETY: as the caller promises.
            let (signature, checkpoint) = unsafe {
                (text(given.signature, "the signature")?, text(given.checkpoint, "the checkpoint")?)
            };
            open.source = ModelSource {
                signature: signature.map(str::to_string),
                tags: None,
                checkpoint: checkpoint.map(Into::into),
            };
        }
        let opened = Box::new(Model::open(path, &open, &session)?);
        // SAFETY: as the caller promises.
        unsafe { *model = Box::into_raw(opened) };
        Ok(())
    })
}

/// Lets go of a model.
///
/// # Safety
/// `model` is null, or what [`tightfit_open`] gave and is not used after.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tightfit_close(model: *mut Model) {
    guarded(|| {
        if !model.is_null() {
            // SAFETY: as the caller promises.
            drop(unsafe { Box::from_raw(model) });
        }
        Ok(())
    });
}

/// # Safety
/// `model` is null or open.
unsafe fn open<'a>(model: *const Model) -> Result<&'a Model, Failure> {
    // SAFETY: as the caller promises.
    unsafe { model.as_ref() }.ok_or_else(|| Failure::usage("there is no model"))
}

/// How many inputs the model has.
///
/// # Safety
/// `model` is null or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tightfit_input_count(model: *const Model) -> usize {
    // SAFETY: as the caller promises.
    unsafe { model.as_ref() }.map_or(0, |model| model.inputs().len())
}

/// How many outputs the model has.
///
/// # Safety
/// `model` is null or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tightfit_output_count(model: *const Model) -> usize {
    // SAFETY: as the caller promises.
    unsafe { model.as_ref() }.map_or(0, |model| model.outputs().len())
}

/// Writes to where the caller wants it.
///
/// # Safety
/// `place` is null or can be written to.
unsafe fn put<T>(place: *mut T, value: T) -> Result<(), Failure> {
    if place.is_null() {
        return Err(Failure::usage("there is no place for the result"));
    }
    // SAFETY: as the caller promises.
    unsafe { ptr::write(place, value) };
    Ok(())
}

/// What an input is.
///
/// # Safety
/// `model` is null or open, `spec` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tightfit_input(model: *const Model, index: usize, spec: *mut Spec) -> Status {
    // SAFETY: as the caller promises.
    guarded(|| unsafe {
        let input = open(model)?.inputs().get(index);
        put(spec, input.ok_or_else(|| Failure::usage(format!("there is no input {index}")))?.spec())
    })
}

/// What an output is.
///
/// # Safety
/// `model` is null or open, `spec` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tightfit_output(model: *const Model, index: usize, spec: *mut Spec) -> Status {
    // SAFETY: as the caller promises.
    guarded(|| unsafe {
        let output = open(model)?.outputs().get(index);
        put(spec, output.ok_or_else(|| Failure::usage(format!("there is no output {index}")))?.spec())
    })
}

/// How the model lies in memory.
///
/// # Safety
/// `model` is null or open, `lines` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tightfit_plan(model: *const Model, batch: usize, lines: *mut PlanLines) -> Status {
    // SAFETY: as the caller promises.
    guarded(|| unsafe { put(lines, open(model)?.plan(batch)?) })
}

/// Computes the outputs.
///
/// # Safety
/// `model` is null or open, and nobody else's; `inputs` has `count` tensors, each with what it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tightfit_run(model: *mut Model, inputs: *const Tensor, count: usize) -> Status {
    guarded(|| {
        // SAFETY: as the caller promises.
        let model = unsafe { model.as_mut() }.ok_or_else(|| Failure::usage("there is no model"))?;
        let inputs = match count {
            0 => &[],
            _ if inputs.is_null() => return Err(Failure::usage("there are no inputs")),
            // SAFETY: as the caller promises.
            _ => unsafe { std::slice::from_raw_parts(inputs, count) },
        };
        // SAFETY: as the caller promises.
        unsafe { model.run(inputs) }
    })
}

/// An output of the last run.
///
/// # Safety
/// `model` is null or open, `output` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tightfit_result(model: *const Model, index: usize, output: *mut Tensor) -> Status {
    // SAFETY: as the caller promises.
    guarded(|| unsafe { put(output, open(model)?.result(index)?) })
}

/// Makes every variable what it is before the first run.
///
/// # Safety
/// `model` is null or open, and nobody else's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tightfit_reset(model: *mut Model) -> Status {
    guarded(|| {
        // SAFETY: as the caller promises.
        let model = unsafe { model.as_mut() }.ok_or_else(|| Failure::usage("there is no model"))?;
        model.reset()
    })
}
