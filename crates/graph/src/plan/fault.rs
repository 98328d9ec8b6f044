//! What is wrong with a plan.

use std::fmt;

/// A rule that a plan breaks, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanFault {
    /// The step, where it is one's.
    pub step: Option<usize>,
    /// The step's node.
    pub node: Option<String>,
    /// The slot or the number of the weight, where it is one's.
    pub number: Option<usize>,
    /// What must be and is not.
    pub rule: &'static str,
}

impl fmt::Display for PlanFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(step), Some(node)) = (self.step, &self.node) {
            write!(f, "step {step}, node '{node}': ")?;
        }
        if let Some(number) = self.number {
            write!(f, "number {number}: ")?;
        }
        f.write_str(self.rule)
    }
}

impl std::error::Error for PlanFault {}

pub(super) type Check = Result<(), PlanFault>;

pub(super) fn fault(number: impl Into<Option<usize>>, rule: &'static str) -> PlanFault {
    PlanFault { step: None, node: None, number: number.into(), rule }
}

pub(super) fn need(is_so: bool, number: impl Into<Option<usize>>, rule: &'static str) -> Check {
    if is_so { Ok(()) } else { Err(fault(number, rule)) }
}
