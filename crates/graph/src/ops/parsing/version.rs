//! The spellings of the operators that parse records: in which of their inputs keys are, and what a batch is.

use tightfit_core::DType;

use crate::dim::Dim;
use crate::fact::Fact;
use crate::operator::OpError;
use crate::ops::shared;

/// The spelling of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A key is an input of its own.
    First,
    /// The keys of each kind are one input.
    Second,
    /// Keys are attributes.
    Single,
}

impl Version {
    /// The records of a call, `None` within for one record that makes no batch; `None` where it is open whether there is a
    /// batch.
    ///
    /// # Errors
    /// [`OpError::Input`] for records of another type or shape.
    pub fn batch(self, inputs: &[&Fact]) -> Result<Option<Option<Dim>>, OpError> {
        let records = shared::input(inputs, 0)?;
        shared::need_type(0, records, &[DType::String])?;
        Ok(match (self, records.dims.get()) {
            (Version::Single, Some([]) | None) => Some(None),
            (Version::First, None) => Some(Some(Dim::Unknown)),
            (Version::Second, None) => None,
            (Version::Second, Some([])) => Some(None),
            (Version::First | Version::Second, Some([batch])) => Some(Some(*batch)),
            _ => {
                return Err(OpError::input(
                    0,
                    format!("is of shape {}, which cannot be parsed", records.dims),
                ));
            }
        })
    }
}
