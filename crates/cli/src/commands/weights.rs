//! `--by scope`: where a model's bytes are.

use std::path::Path;

use serde_json::{Value, json};
use tightfit::inspect::{Duplicates, Scope, scopes, weights};
use tightfit::{MemoryBudget, ModelSource, display_bytes};

use crate::failure::Failure;
use crate::table::{columns, count_of};

/// How many sets of equal weights one screen shows.
const SHOWN: usize = 10;

/// The bytes of a model's weights by scope.
pub(super) struct WeightTree {
    scopes: Vec<Scope>,
    duplicates: Vec<Duplicates>,
}

impl WeightTree {
    /// # Errors
    /// What is wrong with the model.
    pub fn read(
        path: &Path,
        source: &ModelSource,
        depth: usize,
        budget: &MemoryBudget,
    ) -> Result<Self, Failure> {
        let weights = weights(path, source, budget)?;
        Ok(WeightTree { scopes: scopes(&weights.constants, depth), duplicates: weights.duplicates })
    }

    /// Adds it to what programs are told.
    pub fn add_to(&self, value: &mut Value) {
        let Some(object) = value.as_object_mut() else { return };
        object.insert("scopes".to_string(), tree(&self.scopes, 0));
        let one = |set: &Duplicates| json!({"names": set.names, "bytes": set.bytes});
        object.insert("duplicates".to_string(), self.duplicates.iter().map(one).collect());
    }

    /// The tree, to read.
    pub fn text(&self) -> String {
        let rows = self.scopes.iter().filter(|scope| scope.bytes > 0).map(|scope| {
            let name = format!("{}{}", "  ".repeat(scope.depth), scope.name);
            vec![name, display_bytes(scope.bytes), count_of(scope.constants, "constant")]
        });
        let mut text = format!("Weights by scope\n{}", columns(&rows.collect::<Vec<_>>(), &[1]));
        if self.duplicates.is_empty() {
            text.push_str("No duplicate weights.\n");
            return text;
        }
        let spare: u64 = self.duplicates.iter().map(|set| set.bytes * (set.names.len() as u64 - 1)).sum();
        text.push_str(&format!("Duplicate weights, {} of them redundant\n", display_bytes(spare)));
        let rows = self.duplicates.iter().take(SHOWN);
        let rows: Vec<_> = rows.map(|set| vec![display_bytes(set.bytes), set.names.join(", ")]).collect();
        text.push_str(&columns(&rows, &[0]));
        if self.duplicates.len() > SHOWN {
            text.push_str(&format!("  .. and {} more\n", self.duplicates.len() - SHOWN));
        }
        text
    }
}

/// The scopes at one depth, each with those in it.
fn tree(scopes: &[Scope], depth: usize) -> Value {
    let mut list = Vec::new();
    for (index, scope) in scopes.iter().enumerate().filter(|(_, scope)| scope.depth == depth) {
        let rest = scopes.get(index + 1..).unwrap_or_default();
        let end = rest.iter().position(|scope| scope.depth <= depth).unwrap_or(rest.len());
        let inner = tree(&rest[..end], depth + 1);
        list.push(
            json!({"name": scope.name, "bytes": scope.bytes, "constants": scope.constants, "scopes": inner}),
        );
    }
    Value::Array(list)
}
