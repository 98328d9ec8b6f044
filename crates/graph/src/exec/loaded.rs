//! A plan with its constants in memory: what all who run a model share.

use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget, step_done};
use tightfit_kernels::ThreadPool;

use super::weights::{WeightMemory, load_scratch_bytes};
use crate::error::GraphError;
use crate::plan::{Plan, Role, validate};

/// A plan with its constants in memory, and the threads that compute. Any number of [`Context`](super::Context)s run it,
/// at once if they like.
pub struct Loaded {
    plan: Plan,
    file: Arc<str>,
    pool: Arc<ThreadPool>,
    weights: WeightMemory,
    budget: MemoryBudget,
}

impl Loaded {
    /// Reads the constants of `plan` into memory of `budget`.
    ///
    /// # Errors
    /// [`GraphError::Budget`] when the memory is not free, [`GraphError::Plan`] for a plan that breaks a rule of
    /// [`validate`], and what reading the file finds.
    pub fn new(
        plan: Plan,
        file: &str,
        pool: Arc<ThreadPool>,
        budget: &MemoryBudget,
    ) -> Result<Loaded, GraphError> {
        check(&plan, &pool)?;
        step_done();
        let mut scratch = Buffer::new(budget, "arena", load_scratch_bytes(&plan, pool.threads()))?;
        let mut weights = WeightMemory::default();
        weights.add(&plan, file, &mut scratch, &pool, budget)?;
        Ok(Loaded { plan, file: file.into(), pool, weights, budget: budget.clone() })
    }

    /// The same model under another plan, for another batch: constants that both have are shared. `scratch` is as long as
    /// [`arena_bytes`] says.
    ///
    /// # Errors
    /// As [`Loaded::new`].
    pub(super) fn with_plan(&self, plan: Plan, scratch: &mut [u8]) -> Result<Loaded, GraphError> {
        let mut weights = self.weights.clone();
        weights.add(&plan, &self.file, scratch, &self.pool, &self.budget)?;
        let (file, pool, budget) = (self.file.clone(), self.pool.clone(), self.budget.clone());
        Ok(Loaded { plan, file, pool, weights, budget })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The file of the model, for messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The threads that compute.
    pub fn pool(&self) -> &Arc<ThreadPool> {
        &self.pool
    }

    /// The budget that its memory is of.
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    pub(super) fn weights(&self) -> &WeightMemory {
        &self.weights
    }
}

/// Bytes of the arena: loading needs scratch before values are in the arena, so a plan counts the larger of both.
pub fn arena_bytes(plan: &Plan, threads: usize) -> usize {
    plan.arena_bytes.max(load_scratch_bytes(plan, threads))
}

/// A plan that keeps all rules, without which none of its memory may be touched, and threads that it was made for.
pub(super) fn check(plan: &Plan, pool: &ThreadPool) -> Result<(), GraphError> {
    let (planned, given) = (plan.options.isa, pool.isa());
    if planned != given {
        return Err(GraphError::Plan(format!(
            "it is made for {planned:?} instructions, and the threads use {given:?}"
        )));
    }
    if !matches!(plan.role, Role::Whole { .. }) {
        return Err(GraphError::Plan("it is the plan of a body".into()));
    }
    validate(plan).map_err(|fault| GraphError::Plan(fault.to_string()))
}
