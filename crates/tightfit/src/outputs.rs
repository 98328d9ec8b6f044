//! What a run has computed.

use tightfit_core::{Shape, StringRef, TensorView};
use tightfit_graph::exec::Context;

/// The outputs of a run.
#[derive(Clone, Copy)]
pub struct Outputs<'a> {
    pub(crate) context: &'a Context,
    /// Rows computed and rows kept, where the last of a batch were only there to fill it.
    pub(crate) kept_rows: Option<(usize, usize)>,
}

impl<'a> Outputs<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.context.plan().outputs.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name that was asked for.
    pub fn name(&self, index: usize) -> Option<&'a str> {
        self.context.plan().outputs.get(index).map(|(name, _)| name.as_str())
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<TensorView<'a>> {
        let outputs = &self.context.plan().outputs;
        self.tensor(outputs.iter().position(|(own, _)| own == name)?)
    }

    /// The tensor.
    pub fn tensor(&self, index: usize) -> Option<TensorView<'a>> {
        if let Some((computed, 0)) = self.kept_rows {
            return self.empty(index, computed);
        }
        let tensor = self.context.output(index)?;
        let Some((computed, kept)) = self.kept_rows else { return Some(tensor) };
        let Some((_, row)) = tensor.shape().split_first().filter(|(rows, _)| **rows == computed) else {
            return Some(tensor);
        };
        let mut dims = vec![kept];
        dims.extend(row);
        let shape = Shape::new(&dims).ok()?;
        TensorView::new(tensor.dtype(), shape, &tensor.bytes()[..shape.elements() * tensor.dtype().bytes()])
    }

    /// The tensor without rows. Nothing needs to have run.
    fn empty(&self, index: usize, computed: usize) -> Option<TensorView<'a>> {
        let plan = self.context.plan();
        let info = &plan.slots.get(plan.outputs.get(index)?.1)?.info;
        let (_, row) = info.shape.split_first().filter(|(rows, _)| **rows == computed)?;
        let mut dims = vec![0];
        dims.extend(row);
        TensorView::new(info.dtype, Shape::new(&dims).ok()?, bytemuck::cast_slice::<u64, u8>(&[]))
    }

    /// The outputs without the rows after the first `kept` of `computed`.
    pub fn keep_rows(self, computed: usize, kept: usize) -> Outputs<'a> {
        Outputs { kept_rows: (kept < computed).then_some((computed, kept)), ..self }
    }

    /// The text of an element of a string tensor.
    pub fn string(&self, string: StringRef) -> &'a [u8] {
        self.context.string(string)
    }
}
