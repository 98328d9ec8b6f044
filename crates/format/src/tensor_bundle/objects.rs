//! TensorFlow 2's graph of objects (trackable_object_graph.proto): which key of a checkpoint a variable has.

use std::collections::HashMap;

use tightfit_core::{MemoryBudget, Reservation, block_bytes};

use super::{PURPOSE, Result, TensorBundle};
use crate::error::Problem;
use crate::example::{ExampleError, Message, Wire};
use crate::graph_def::TensorContent;

/// The tensor that the graph of objects is kept in.
pub(super) const KEY: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";

/// Bytes of a table's entry besides its texts: it doubles as it grows.
const ENTRY_BYTES: u64 = 3 * (2 * size_of::<String>() as u64 + 1);

/// The keys of variables by the names that the variables have in TensorFlow.
#[derive(Debug)]
pub struct Objects {
    keys: HashMap<String, String>,
    _reservation: Reservation,
}

impl Objects {
    /// The key of the variable `name`.
    pub fn key(&self, name: &str) -> Option<&str> {
        self.keys.get(name).map(String::as_str)
    }
}

impl TensorBundle {
    /// The graph of objects of the checkpoint; an empty one where it has none, as those of TensorFlow 1.
    ///
    /// # Errors
    /// [`crate::FormatError`] when it is damaged or does not fit the budget.
    pub fn objects(&self, budget: &MemoryBudget) -> Result<Objects> {
        let over = |error| self.index.error_at(0, Problem::Budget(error));
        let mut reservation = budget.try_reserve(PURPOSE, 0).map_err(over)?;
        let mut keys = HashMap::new();
        if self.entry(KEY).is_none() {
            return Ok(Objects { keys, _reservation: reservation });
        }
        let mut reading = budget.try_reserve(PURPOSE, 0).map_err(over)?;
        let tensor = self.tensor(KEY, "", &mut reading)?;
        let TensorContent::Strings(texts) = &tensor.content else {
            return Ok(Objects { keys, _reservation: reservation });
        };
        let mut problem = None;
        let walked = texts.iter().try_for_each(|text| {
            for_each(text, &mut |name, key| {
                let texts = block_bytes(name.len() as u64) + block_bytes(key.len() as u64);
                match reservation.try_grow(ENTRY_BYTES + texts) {
                    Ok(()) => drop(keys.insert(name.to_string(), key.to_string())),
                    Err(error) => problem = problem.take().or(Some(over(error))),
                }
                problem.is_none()
            })
        });
        let damaged = |_| {
            let expected = "the graph of objects of a checkpoint";
            self.index.error_at(0, Problem::invalid(expected, "other bytes"))
        };
        walked.map_err(damaged)?;
        problem.map_or(Ok(Objects { keys, _reservation: reservation }), Err)
    }
}

/// Calls `visit` with the name and the key of each variable until it says no more.
fn for_each(
    graph: &[u8],
    visit: &mut dyn FnMut(&str, &str) -> bool,
) -> std::result::Result<(), ExampleError> {
    let mut nodes = Message(graph);
    while let Some(node) = nodes.next_bytes(1)? {
        let mut attributes = Message(node);
        while let Some(attribute) = attributes.next_bytes(2)? {
            let (mut name, mut key) = ("", "");
            let mut fields = Message(attribute);
            while let Some((number, value)) = fields.field()? {
                let Wire::Bytes(value) = value else { continue };
                let text = std::str::from_utf8(value).unwrap_or_default();
                match number {
                    2 => name = text,
                    3 => key = text,
                    _ => {}
                }
            }
            if !name.is_empty() && !key.is_empty() && !visit(name, key) {
                return Ok(());
            }
        }
    }
    Ok(())
}
