//! A Rust function as an operation: `tf.data.Dataset.map` and `filter`.

use std::sync::Arc;

use tightfit_core::MemoryBudget;

use super::{MapOp, MapWorker, Verdict};
use crate::error::{DataError, RowFault};
use crate::flow::element::{Element, ElementView, Schema};

type Function = dyn Fn(&ElementView<'_>, &mut Element) -> Result<Verdict, RowFault> + Send + Sync;
type Typing = dyn Fn(&Schema) -> Result<Schema, String> + Send + Sync;

/// A function that makes an element of another, or leaves it out.
#[derive(Clone)]
pub struct FunctionOp {
    name: String,
    typing: Arc<Typing>,
    function: Arc<Function>,
}

impl FunctionOp {
    /// `function` makes elements of the type that `typing` says. `name` stands for what it does: two that do different
    /// things need different names, as caches and saved states are told apart by it.
    pub fn new(
        name: impl Into<String>,
        typing: impl Fn(&Schema) -> Result<Schema, String> + Send + Sync + 'static,
        function: impl Fn(&ElementView<'_>, &mut Element) -> Result<Verdict, RowFault> + Send + Sync + 'static,
    ) -> FunctionOp {
        FunctionOp { name: name.into(), typing: Arc::new(typing), function: Arc::new(function) }
    }

    /// Leaves out the elements for which `keeps` is false.
    pub fn filter(
        name: impl Into<String>,
        keeps: impl Fn(&ElementView<'_>) -> bool + Send + Sync + 'static,
    ) -> FunctionOp {
        let function = move |input: &ElementView<'_>, out: &mut Element| {
            if !keeps(input) {
                return Ok(Verdict::Drop);
            }
            out.copy_from(input)?;
            Ok(Verdict::Keep)
        };
        FunctionOp::new(name, |input| Ok(input.clone()), function)
    }
}

impl MapOp for FunctionOp {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn schema(&self, input: &Schema) -> Result<Schema, String> {
        (self.typing)(input)
    }

    fn worker(&self, _input: &Schema, _budget: &MemoryBudget) -> Result<Box<dyn MapWorker>, DataError> {
        Ok(Box::new(self.clone()))
    }
}

impl MapWorker for FunctionOp {
    fn run(&mut self, input: &ElementView<'_>, out: &mut Element) -> Result<Verdict, RowFault> {
        (self.function)(input, out)
    }
}
