//! What goes over the border, as the header has it.

use std::ffi::{c_char, c_int, c_void};

use tightfit::DType;

/// An element of a string tensor: `tightfit_text`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Text {
    /// Its first byte.
    pub data: *const c_char,
    /// How many there are.
    pub bytes: usize,
}

/// What a model is opened with: `tightfit_options`.
#[derive(Debug)]
#[repr(C)]
pub struct Options {
    /// What the process may take; 0 for the default.
    pub memory_bytes: u64,
    /// Threads that compute; 0 for one of each processor.
    pub threads: usize,
    /// The signature to run, or null.
    pub signature: *const c_char,
    /// The checkpoint with the values of variables, or null.
    pub checkpoint: *const c_char,
}

/// What an input or output is: `tightfit_spec`.
#[derive(Debug)]
#[repr(C)]
pub struct Spec {
    /// Its name.
    pub name: *const c_char,
    /// Its type, as a place in [`DType::ALL`].
    pub dtype: c_int,
    /// How many dimensions, or -1.
    pub rank: i64,
    /// The dimensions, -1 for an open one.
    pub shape: *const i64,
}

/// A dense tensor: `tightfit_tensor`.
#[derive(Debug)]
#[repr(C)]
pub struct Tensor {
    /// Its name.
    pub name: *const c_char,
    /// Its type, as a place in [`DType::ALL`].
    pub dtype: c_int,
    /// How many dimensions.
    pub rank: usize,
    /// The dimensions.
    pub shape: *const usize,
    /// The elements.
    pub data: *const c_void,
    /// Bytes of the elements.
    pub bytes: usize,
}

/// Where the memory goes: `tightfit_plan_lines`.
#[derive(Debug, Default)]
#[repr(C)]
#[allow(missing_docs)]
pub struct PlanLines {
    pub minimum_bytes: u64,
    pub planned_bytes: u64,
    pub runtime_bytes: u64,
    pub weights_bytes: u64,
    pub window_bytes: u64,
    pub arena_bytes: u64,
    pub pipeline_bytes: u64,
    pub sink_bytes: u64,
}

/// The number of a type.
pub fn number(dtype: DType) -> c_int {
    DType::ALL.iter().position(|own| *own == dtype).map_or(-1, |number| number as c_int)
}
