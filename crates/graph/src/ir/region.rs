//! Regions: nodes with bodies of their own. If and Case run one of several, While runs one again and again.
//!
//! A body is a graph whose inputs are what the node is given, so a name in it belongs to it alone. What a body reads of the
//! graph around it comes in by an input, a *capture*; one that is a constant stands in the body itself.

use tightfit_core::{BudgetError, array_bytes, block_bytes};

use super::Graph;

/// The bodies of a node.
#[derive(Debug)]
pub struct Region {
    /// The operator's name in TensorFlow.
    pub op: &'static str,
    /// Which of the bodies are run, and how often.
    pub kind: RegionKind,
    /// The bodies. All of a node have the same inputs.
    pub bodies: Vec<Graph>,
}

/// What a node does with its bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionKind {
    /// Runs one. The node's first input says which: a bool the first where it is true and else the second, an int32 the one of
    /// that number and, where there is none, the last. The other inputs are the bodies'. The outputs of each body are
    /// the node's.
    Branch,
    /// While the first body says so, runs the second. Inputs are the variables, one for each output, and after them the
    /// captures. The first body returns one bool; the second returns the variables' next values. The outputs of the node
    /// are the variables' last values.
    Loop,
}

impl RegionKind {
    /// How many of a node's inputs are not its bodies'.
    pub fn own_inputs(self) -> usize {
        match self {
            RegionKind::Branch => 1,
            RegionKind::Loop => 0,
        }
    }
}

impl Region {
    /// How many variables a loop has.
    pub fn variables(&self) -> usize {
        match self.kind {
            RegionKind::Branch => 0,
            RegionKind::Loop => self.bodies.get(1).map_or(0, |body| body.outputs.len()),
        }
    }

    /// True where running a body may end the run or differ from run to run.
    pub fn has_effect(&self) -> bool {
        self.bodies.iter().any(|body| body.nodes.iter().any(|node| body.has_effect(node)))
    }

    /// A copy to bind the shapes of: [`Graph::copy_to_bind`] of each body.
    ///
    /// # Errors
    /// [`BudgetError`] when it does not fit the budget.
    pub fn copy_to_bind(&self) -> Result<Region, BudgetError> {
        let bodies = self.bodies.iter().map(Graph::copy_to_bind).collect::<Result<_, _>>()?;
        Ok(Region { bodies, ..*self })
    }

    /// Bytes of the heap that it takes, its bodies' own aside: they count themselves.
    pub(super) fn heap_bytes(&self) -> u64 {
        block_bytes(size_of::<Region>() as u64) + array_bytes::<Graph>(self.bodies.len())
    }
}
