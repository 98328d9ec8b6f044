//! Steps with bodies: each body is a plan of its own, whose arena lies in the scratch of the step.

use std::sync::Arc;

use super::planner::Planner;
use super::{Action, Plan, PlanOptions, Step, WeightMode};
use crate::error::GraphError;
use crate::ir::{Graph, NodeId, Region, RegionKind, ValueRef};

/// The bodies of a step, laid out.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RegionPlan {
    /// The operator's name in TensorFlow.
    pub op: &'static str,
    /// Which of the bodies are run, and how often.
    pub kind: RegionKind,
    /// The plan of each body. One is run at a time, so all have the same scratch for their arena.
    pub bodies: Vec<Plan>,
    /// Which of the plan's steps with bodies it is.
    pub number: usize,
}

/// What a plan is a plan of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A whole graph: what the caller feeds is never written, and what is fetched is never in the caller's memory. After
    /// inputs and outputs there are those of its variables, one of each for one variable, in memory that may be written.
    Whole {
        /// How many inputs the caller feeds.
        inputs: usize,
        /// How many outputs the caller fetches.
        outputs: usize,
    },
    /// A body. What it returns may be in the memory of what it is given.
    Body {
        /// How many inputs, from the first on, are variables of a loop: memory that it may write. What it returns of the
        /// same number is that variable's next value, and in the memory of no other variable.
        variables: usize,
    },
}

impl Role {
    pub(super) fn of(graph: &Graph) -> Role {
        Role::Whole { inputs: graph.inputs.len(), outputs: graph.outputs.len() }
    }

    /// True where the plan may write into what it is given as that input.
    pub(super) fn may_write(self, input: usize) -> bool {
        match self {
            Role::Whole { inputs, .. } => input >= inputs,
            Role::Body { variables } => input < variables,
        }
    }

    /// True where that output may stay in the memory of that input.
    pub(super) fn may_return(self, output: usize, input: usize) -> bool {
        match self {
            Role::Whole { inputs, outputs } => {
                input >= inputs && output >= outputs && input - inputs == output - outputs
            }
            Role::Body { variables } => input >= variables || input == output,
        }
    }
}

impl RegionPlan {
    /// Bytes of scratch: the arena of the body that is run.
    pub(super) fn scratch_bytes(&self) -> usize {
        self.bodies.iter().map(|body| body.arena_bytes).max().unwrap_or(0)
    }
}

impl Planner<'_> {
    /// Lays out the bodies of a node, and makes its step.
    pub(super) fn make_region_step(&mut self, id: NodeId, region: &Region) -> Result<(), GraphError> {
        let node = self.graph.node(id);
        // What a loop reads in every turn would be read from the file in every turn. Memory that is left is for weights that
        // every run needs, not for those of branches.
        let weights = match (region.kind, self.options.weights) {
            (RegionKind::Branch, WeightMode::Mixed { window_bytes, .. }) => {
                WeightMode::Streamed { window_bytes }
            }
            (RegionKind::Branch, weights) => weights,
            (RegionKind::Loop, _) => WeightMode::Resident,
        };
        let options = PlanOptions { weights, ..*self.options };
        let plan = |(number, body)| {
            let variables = if number == 1 { region.variables() } else { 0 };
            Plan::with_role(body, &options, Role::Body { variables })
        };
        let bodies = region.bodies.iter().enumerate().map(plan).collect::<Result<Vec<_>, _>>()?;
        let number = self.steps.iter().filter(|step| step.region().is_some()).count();
        let plan = RegionPlan { op: region.op, kind: region.kind, bodies, number };
        let scratch_bytes = plan.scratch_bytes();
        self.check_size(id, scratch_bytes)?;
        self.string_bytes += plan.bodies.iter().map(|body| body.string_bytes).sum::<usize>();
        let inputs: Vec<usize> = node.inputs.iter().map(|v| self.slot(*v)).collect();
        let outputs: Vec<usize> =
            (0..node.facts.len() as u32).map(|output| self.slot(ValueRef { node: id, output })).collect();
        let grows = self.grows(id);
        let is_dynamic = grows || inputs.iter().any(|slot| self.slots[*slot].is_bound);
        self.push_step(Step {
            node: id,
            reads: node.inputs.clone(),
            name: node.name.clone(),
            action: Action::Region(Arc::new(plan)),
            inputs,
            outputs,
            in_place_input: None,
            scratch: (0, scratch_bytes),
            stream: None,
            is_dynamic,
            grows,
            is_alias: false,
        });
        Ok(())
    }
}
