//! What a pipeline is to be: a source and stages, as data. Each source and stage describes itself in its own file, as a
//! [`SourceSpec`] or [`StageSpec`]; `json.rs` lists those that a JSON description may name.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use tightfit_core::DType;

use super::maps::MapOp;
use super::stage::{Context, Node};
use super::stages::map::MapMode;
use crate::access::Access;
use crate::error::{DataError, Needed};

/// A source, described.
pub trait SourceSpec: fmt::Debug + Send + Sync {
    /// All that its elements depend on but the files themselves, which are told apart by their names, sizes and times:
    /// two of one identity give the same elements from the same files. Caches and saved states are kept by it.
    fn identity(&self) -> Value;

    /// Opens it.
    ///
    /// # Errors
    /// [`DataError`] when files are missing or of another kind, or the budget is too small.
    fn open(&self, context: &mut Context) -> Result<Node, DataError>;

    /// The source with types for fields whose types it would have to find; `None` where it finds none.
    fn wanting(&self, types: &[(String, DType)]) -> Option<Arc<dyn SourceSpec>> {
        let _ = types;
        None
    }
}

/// A stage, described, as a [`SourceSpec`].
pub trait StageSpec: fmt::Debug + Send + Sync {
    /// All that its elements depend on but its input, as [`SourceSpec::identity`].
    fn identity(&self) -> Value;

    /// Opens it after `input`.
    ///
    /// # Errors
    /// [`DataError`] when it cannot be done to such elements, or the budget is too small.
    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError>;

    /// The stage with what it leaves open decided from the data: `before` is the pipeline of all stages before it,
    /// which can be opened for a look at its elements. `None` when nothing is open.
    ///
    /// # Errors
    /// [`DataError`] when the data do not tell.
    fn settle(
        &self,
        before: &PipelineSpec,
        context: &Context,
    ) -> Result<Option<Arc<dyn StageSpec>>, DataError> {
        let _ = (before, context);
        Ok(None)
    }

    /// The operation on single elements that it is, if it is one: several in a row are done by the same threads.
    fn as_map(&self) -> Option<(Arc<dyn MapOp>, MapMode)> {
        None
    }
}

/// A pipeline, described.
#[derive(Debug, Clone)]
pub struct PipelineSpec {
    /// Where elements come from.
    pub source: Arc<dyn SourceSpec>,
    /// What is done to them, in order.
    pub stages: Vec<Arc<dyn StageSpec>>,
    /// What they may open.
    pub access: Access,
}

impl PipelineSpec {
    /// A pipeline of the elements of `source`. Whoever builds one names its files himself: it may open
    /// [`everything`](Access::everything).
    pub fn new(source: impl SourceSpec + 'static) -> PipelineSpec {
        PipelineSpec { source: Arc::new(source), stages: Vec::new(), access: Access::everything() }
    }

    /// The same pipeline with one more stage.
    #[must_use]
    pub fn then(mut self, stage: impl StageSpec + 'static) -> PipelineSpec {
        self.stages.push(Arc::new(stage));
        self
    }

    /// The same pipeline, whose elements are taken as `types` of fields by name: a source that would have to find the types in
    /// its rows takes those, as far as its rows allow. Fields that stages make have other types.
    #[must_use]
    pub fn wanting(mut self, types: &[(String, DType)]) -> PipelineSpec {
        if let Some(source) = self.source.wanting(types).filter(|_| self.stages.is_empty()) {
            self.source = source;
        }
        self
    }

    /// The same pipeline with all stages [settled](StageSpec::settle).
    ///
    /// # Errors
    /// [`DataError`], as the stages.
    pub fn settle(&self, context: &Context) -> Result<PipelineSpec, DataError> {
        let (source, access) = (self.source.clone(), self.access.clone());
        let mut settled = PipelineSpec { source, stages: Vec::new(), access };
        for stage in &self.stages {
            let stage = stage.settle(&settled, context)?.unwrap_or_else(|| stage.clone());
            settled.stages.push(stage);
        }
        Ok(settled)
    }

    /// What it is told from other pipelines by, see [`SourceSpec::identity`].
    pub fn identity(&self) -> Value {
        std::iter::once(self.source.identity()).chain(self.stages.iter().map(|s| s.identity())).collect()
    }

    /// Opens the source and all stages.
    ///
    /// # Errors
    /// [`DataError`], as the source and the stages.
    pub fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        // A pipeline inside of another has an access of its own.
        let outer = std::mem::replace(&mut context.access, self.access.clone());
        let opened = self.open_stages(context);
        context.access = outer;
        opened
    }

    fn open_stages(&self, context: &mut Context) -> Result<Node, DataError> {
        let settled = self.settle(context)?;
        let mut node = settled.source.open(context)?;
        context.trail = vec![settled.source.identity()];
        let mut stages = settled.stages.as_slice();
        while let Some((stage, rest)) = stages.split_first() {
            let Some((_, mode)) = stage.as_map() else {
                context.count_columns(node.schema(), 1)?;
                node = stage.open(node, context)?;
                context.trail.push(stage.identity());
                stages = rest;
                continue;
            };
            let ops: Vec<_> = stages.iter().map_while(|s| s.as_map().filter(|(_, m)| *m == mode)).collect();
            context.count_columns(node.schema(), ops.len())?;
            for stage in stages.split_off(..ops.len()).needed("more operations than stages")? {
                context.trail.push(stage.identity());
            }
            node = mode.open(ops.into_iter().map(|(op, _)| op).collect(), node, context)?;
        }
        Ok(node)
    }
}
