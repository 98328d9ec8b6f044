//! A model as one graph of constants and calls that are inlined, which is what every file that is written of a model begins
//! with.

use std::path::Path;

use tightfit_core::{MemoryBudget, Reservation};
use tightfit_format::{GraphDef, NodeDef};
use tightfit_graph::import::{Fetched, PortNames, plain, split_name};
use tightfit_graph::{ImportOptions, Operators};

use super::NAMES;
use super::source::Described;
use crate::error::Error;

/// A model as a graph that is whole by itself: what every file that is written of a model begins with.
pub(crate) struct Plain {
    pub def: GraphDef,
    pub ports: PortNames,
    /// The operators that fill tables, which have to be run first.
    pub keep: Vec<String>,
    /// What is computed; nothing where neither a signature nor the caller says it.
    pub fetched: Vec<Fetched>,
    /// What names take.
    pub _names: Reservation,
}

impl Plain {
    /// Makes the model at `path` plain, whole or as far as `fetches` need it.
    ///
    /// # Errors
    /// As [`crate::freeze::freeze`].
    pub fn of(
        path: &Path,
        mut described: Described,
        fetches: &[String],
        operators: &Operators,
        budget: &MemoryBudget,
    ) -> Result<Plain, Error> {
        described.check_fetches(fetches)?;
        let names = budget.try_reserve(NAMES, described.names_bytes())?;
        let (ports, keep) = (described.ports(), described.table_initializers());
        let import = ImportOptions {
            fetches: fetches.to_vec(),
            ports: ports.clone(),
            keep: keep.clone(),
            checkpoint: described.checkpoint.take(),
            operators: operators.clone(),
            ..ImportOptions::default()
        };
        let fetched = plain(&mut described.def, &import, budget)?;
        check_no_variables(path, &described.def)?;
        let mut def = described.def;
        def.nodes.iter_mut().for_each(tidy);
        Ok(Plain { def, ports, keep, fetched, _names: names })
    }
}

/// # Errors
/// [`Error::Data`] for a variable that is left, because the graph assigns it.
fn check_no_variables(path: &Path, def: &GraphDef) -> Result<(), Error> {
    let is_variable = |node: &&NodeDef| matches!(&*node.op, "VarHandleOp" | "VariableV2" | "Variable");
    let mut nodes = def.nodes.iter().chain(def.functions.iter().flat_map(|function| &function.nodes));
    let Some(variable) = nodes.find(is_variable) else { return Ok(()) };
    let takes = |node: &&NodeDef| {
        let is_read = node.op.contains("Read") || &*node.op == "Identity";
        !is_read && node.inputs.iter().any(|input| split_name(input).0 == &*variable.name)
    };
    let user = def.nodes.iter().find(takes);
    let user = user.map_or(String::new(), |node| format!(" by node '{}' ({})", node.name, node.op));
    let why = format!(
        "variable '{}' is assigned{user}, so it is no constant; name outputs with --fetch that need no assignment",
        variable.name
    );
    Err(Error::data(path, why))
}

/// Takes off a node what means something only where it was saved.
fn tidy(node: &mut NodeDef) {
    node.device = None;
    node.attrs.retain(|(name, _)| &**name != "_class");
}
