//! What a kernel refuses.

use std::fmt;

use tightfit_core::DType;

/// Arguments that a kernel cannot work with. Kernels check them before they touch any memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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
    Isa(crate::base::cpu::Isa),
    /// The kernel has no meaning for, or no code for, this element type.
    DType {
        /// The kernel, by TensorFlow's name.
        kernel: &'static str,
        /// The type it was given.
        dtype: DType,
    },
    /// Shapes, sizes or attributes that do not go together.
    Invalid {
        /// The kernel, by TensorFlow's name.
        kernel: &'static str,
        /// The rule that they break.
        rule: &'static str,
    },
    /// Memory that is not aligned for the element type.
    Misaligned {
        /// The kernel, by TensorFlow's name.
        kernel: &'static str,
    },
    /// An integer division or modulus by zero.
    DivisionByZero,
    /// An integer to a negative power.
    NegativeExponent,
    /// An index outside of what it indexes.
    Index {
        /// The kernel, by TensorFlow's name.
        kernel: &'static str,
        /// Which index, counted from 0 in row-major order.
        position: usize,
        /// Its value.
        index: i64,
        /// It must be at least 0 and less than this.
        bound: usize,
    },
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
            KernelError::DType { kernel, dtype } => write!(f, "{kernel} is not supported for {dtype}"),
            KernelError::Invalid { kernel, rule } => write!(f, "{kernel}: {rule}"),
            KernelError::Misaligned { kernel } => {
                write!(f, "{kernel}: the tensor's memory is not aligned for its element type")
            }
            KernelError::DivisionByZero => write!(f, "integer division by zero"),
            KernelError::NegativeExponent => {
                write!(f, "integers to negative integer powers are not allowed")
            }
            KernelError::Index { kernel, position, index, bound: usize::MAX } => {
                write!(f, "{kernel}: indices[{position}] = {index} is below 0")
            }
            KernelError::Index { kernel, position, index, bound } => {
                write!(f, "{kernel}: indices[{position}] = {index} is not in [0, {bound})")
            }
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

/// What every kernel returns.
pub type Result<T, E = KernelError> = std::result::Result<T, E>;

/// An error unless `holds`.
pub(crate) fn ensure(holds: bool, kernel: &'static str, rule: &'static str) -> Result<()> {
    if holds { Ok(()) } else { Err(KernelError::Invalid { kernel, rule }) }
}

/// The product of `factors`, or an error.
pub(crate) fn product(factors: &[usize]) -> Result<usize, KernelError> {
    factors
        .iter()
        .try_fold(1usize, |n, f| n.checked_mul(*f))
        .filter(|n| *n <= isize::MAX as usize / 16)
        .ok_or(KernelError::Attribute("a dimension is too large"))
}
