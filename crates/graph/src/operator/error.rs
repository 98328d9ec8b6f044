//! What an operator refuses.

use std::fmt;

use tightfit_core::BudgetError;
use tightfit_format::FormatError;
use tightfit_kernels::KernelError;

/// Why an operator cannot be made, inferred or run. The graph adds node and file.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpError {
    /// An attribute is missing, of the wrong kind, or has a value that is not supported.
    Attribute {
        /// Its name.
        attribute: String,
        /// What is wrong with it.
        why: String,
    },
    /// An input's type, shape or value is not possible.
    Input {
        /// Which.
        input: usize,
        /// What is wrong with it.
        why: String,
    },
    /// Something the operator means that is not implemented.
    Unsupported(String),
    /// Values that cannot be computed with.
    Invalid(String),
    /// The memory that is needed is not free.
    Budget(BudgetError),
    /// A file that holds a weight failed.
    File(FormatError),
    /// A kernel refused its arguments.
    Kernel(KernelError),
    /// A promise between plan, executor and operator was broken.
    Internal(&'static str),
}

impl OpError {
    /// An input that is not possible.
    pub fn input(input: usize, why: impl Into<String>) -> OpError {
        OpError::Input { input, why: why.into() }
    }

    /// An attribute that is not possible.
    pub fn attribute(attribute: impl Into<String>, why: impl Into<String>) -> OpError {
        OpError::Attribute { attribute: attribute.into(), why: why.into() }
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpError::Attribute { attribute, why } => write!(f, "attribute {attribute} {why}"),
            OpError::Input { input, why } => write!(f, "input {input} {why}"),
            OpError::Unsupported(why) | OpError::Invalid(why) => f.write_str(why),
            OpError::Budget(error) => error.fmt(f),
            OpError::File(error) => error.fmt(f),
            OpError::Kernel(error) => error.fmt(f),
            OpError::Internal(why) => write!(f, "{why} (a defect of TightFit)"),
        }
    }
}

impl std::error::Error for OpError {}

impl From<BudgetError> for OpError {
    fn from(error: BudgetError) -> OpError {
        OpError::Budget(error)
    }
}

impl From<FormatError> for OpError {
    fn from(error: FormatError) -> OpError {
        OpError::File(error)
    }
}

impl From<KernelError> for OpError {
    fn from(error: KernelError) -> OpError {
        OpError::Kernel(error)
    }
}

impl From<tightfit_core::ShapeError> for OpError {
    fn from(error: tightfit_core::ShapeError) -> OpError {
        OpError::Unsupported(error.to_string())
    }
}
