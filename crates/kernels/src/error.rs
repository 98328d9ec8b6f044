//! What a kernel refuses.

use std::fmt;

/// Arguments that a kernel cannot work with. Kernels check them before they touch any memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelError {
    /// A slice has the wrong length.
    Length {
        /// Which slice.
        what: &'static str,
        /// How many elements (or bytes, for raw bytes) it needs.
        needed: usize,
        /// How many it has.
        given: usize,
    },
    /// The scratch memory is too small.
    Scratch {
        /// How many bytes it needs.
        needed_bytes: usize,
        /// How many it has.
        given_bytes: usize,
    },
    /// Attributes or dimensions that describe no computation.
    Attribute(&'static str),
    /// The processor does not have the instructions asked for.
    Isa(crate::Isa),
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KernelError::Length { what, needed, given } => {
                write!(f, "{what} has length {given}, but {needed} is needed")
            }
            KernelError::Scratch { needed_bytes, given_bytes } => {
                write!(f, "{given_bytes} bytes of scratch were given, but {needed_bytes} are needed")
            }
            KernelError::Attribute(why) => f.write_str(why),
            KernelError::Isa(isa) => write!(f, "the processor has no {isa:?} instructions"),
        }
    }
}

impl std::error::Error for KernelError {}

/// An error unless `given` is at least `needed`.
pub(crate) fn check_at_least(what: &'static str, needed: usize, given: usize) -> Result<(), KernelError> {
    if given < needed { Err(KernelError::Length { what, needed, given }) } else { Ok(()) }
}

/// An error unless `given` is `needed`.
pub(crate) fn check_exact(what: &'static str, needed: usize, given: usize) -> Result<(), KernelError> {
    if given == needed { Ok(()) } else { Err(KernelError::Length { what, needed, given }) }
}
