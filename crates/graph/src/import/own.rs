//! Operators of the caller's own, for nodes of kinds that are not built in.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tightfit_format::NodeDef;

use super::kinds::is_supported;
use crate::error::GraphError;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator};

/// Makes an operator of a node's attributes.
type Import = dyn Fn(&Attributes<'_>) -> Result<Box<dyn Operator>, OpError> + Send + Sync;

/// Operators beside the built-in ones, by the name that nodes call them by. Each is an [`Operator`] like any other: passes,
/// planner, validator and threads treat it the same.
#[derive(Clone, Default)]
pub struct Operators {
    by_name: BTreeMap<&'static str, OwnOperator>,
}

#[derive(Clone)]
struct OwnOperator {
    outputs: &'static [&'static str],
    import: Arc<Import>,
}

impl fmt::Debug for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Operators {
    /// No operators.
    pub fn new() -> Operators {
        Operators::default()
    }

    /// Adds the operator `name`, which `import` makes of a node's attributes. It must return that name from
    /// [`Operator::name`]. `outputs` are the names of its outputs, as the `REGISTER_OP` of TensorFlow has them: functions of
    /// a SavedModel refer to outputs by name. The last one may be of any number of tensors.
    ///
    /// # Errors
    /// [`GraphError::OperatorExists`] for the name of one that is built in or was added before.
    pub fn add<F>(
        &mut self,
        name: &'static str,
        outputs: &'static [&'static str],
        import: F,
    ) -> Result<(), GraphError>
    where
        F: Fn(&Attributes<'_>) -> Result<Box<dyn Operator>, OpError> + Send + Sync + 'static,
    {
        let is_built_in = is_supported(name);
        if is_built_in || self.has(name) {
            return Err(GraphError::OperatorExists { op: name.to_string(), is_built_in });
        }
        self.by_name.insert(name, OwnOperator { outputs, import: Arc::new(import) });
        Ok(())
    }

    /// True when an operator of this name was added.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The names of the operators, in their order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.by_name.keys().copied()
    }

    /// Whether a node of an operator that was added must run even where nothing reads it, or differs from run to run; where
    /// no operator can be made of it, that is not known, and it may. `None` for a node of another kind.
    pub fn has_effect(&self, node: &NodeDef) -> Option<bool> {
        Some(self.import(node)?.map_or(true, |operator| !operator.is_pure()))
    }

    /// The operator of a node; `None` for one of another kind.
    pub(super) fn import(&self, node: &NodeDef) -> Option<Result<Box<dyn Operator>, OpError>> {
        let (name, own) = self.by_name.get_key_value(&*node.op)?;
        let made = (own.import)(&Attributes::new(node)).and_then(|made| match made.name() {
            same if same == *name => Ok(made),
            other => Err(OpError::Invalid(format!(
                "was added to the operators as '{name}', but calls itself '{other}'; both must be the same"
            ))),
        });
        Some(made)
    }

    /// The number of the first tensor of the output of this name; `None` for an operator of another kind, or one without
    /// such an output.
    pub(super) fn first_output(&self, op: &str, output: &str) -> Option<usize> {
        self.by_name.get(op)?.outputs.iter().position(|name| *name == output)
    }
}

#[cfg(test)]
#[path = "own_tests.rs"]
mod tests;
