//! The nodes of a graph while they are made of its operators.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use tightfit_core::{Account, MemoryBudget};
use tightfit_format::tflite::{Model, SubGraph};
use tightfit_format::{AttrValue, FormatError, NodeDef, Place, Problem, SourceFile};

use super::names::Names;
use crate::import::calls::node_bytes;

/// The attribute of a node that cannot be run which says why; no file has it.
pub(in crate::import) const WHY: &str = "_why";

/// What a name in a graph takes besides its text: an entry of a table that doubles.
const NAME_BYTES: u64 = 160;

/// What all graphs of a model share while they are made.
pub(super) struct Context<'m> {
    pub model: &'m Model,
    pub budget: &'m MemoryBudget,
    account: RefCell<Account>,
    /// The graphs that operators call.
    pub called: RefCell<BTreeSet<usize>>,
    /// What variables are before the first run, by the name that their handles share: made by graphs that run once.
    pub initial: BTreeMap<&'m str, Initial>,
}

/// What a variable is before the first run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Initial {
    /// The graph and the tensor that have the value.
    pub subgraph: usize,
    pub tensor: usize,
}

impl<'m> Context<'m> {
    pub fn new(
        model: &'m Model,
        initial: BTreeMap<&'m str, Initial>,
        account: Account,
        budget: &'m MemoryBudget,
    ) -> Context<'m> {
        Context { model, budget, account: RefCell::new(account), called: RefCell::default(), initial }
    }

    pub fn source(&self) -> &SourceFile {
        &self.model.source
    }

    /// Counts bytes of memory.
    pub fn charge(&self, bytes: u64) -> Result<(), FormatError> {
        let charged = self.account.borrow_mut().grow(bytes);
        charged.map_err(|e| FormatError::new(self.model.source.path(), Place::Whole, Problem::Budget(e)))
    }

    pub fn finish(self) -> Result<tightfit_core::Reservation, FormatError> {
        let path = self.model.source.path();
        self.account
            .into_inner()
            .finish()
            .map_err(|e| FormatError::new(path, Place::Whole, Problem::Budget(e)))
    }

    /// The name of the function that a graph of the model is.
    pub fn function(&self, number: usize) -> Box<str> {
        self.called.borrow_mut().insert(number);
        format!("subgraph_{number}").into()
    }
}

/// A graph while its nodes are made.
pub(super) struct Lower<'c, 'm> {
    pub context: &'c Context<'m>,
    pub graph: &'m SubGraph,
    pub nodes: Vec<NodeDef>,
    pub names: Names,
    /// For each variable by its name: the nodes that have read it since it was assigned, and the one that did.
    pub accesses: BTreeMap<Box<str>, Accesses>,
    /// Nodes that are there for their effects.
    pub effects: Vec<Box<str>>,
    /// For each tensor whether it is an output that waits for those; nothing where none does.
    pub waiting: Vec<bool>,
    /// The names of the variables that tensors are handles of.
    pub handles: BTreeMap<usize, &'m str>,
}

/// The names of the variables that tensors of a graph are handles of.
pub(super) fn handles(graph: &SubGraph) -> BTreeMap<usize, &str> {
    let handles = graph.operators.iter().filter(|operator| operator.name() == "VAR_HANDLE");
    let named = handles.filter_map(|operator| {
        let tensor = operator.outputs.first().map(|number| place(*number))?;
        Some((tensor, operator.options.text("shared_name")))
    });
    named.collect()
}

/// What was done to a variable.
#[derive(Debug, Default)]
pub(super) struct Accesses {
    pub assigned: Option<Box<str>>,
    pub read: Vec<Box<str>>,
}

/// A tensor of the graph by its number.
pub(super) fn place(number: i32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl<'c, 'm> Lower<'c, 'm> {
    /// A graph of which nothing has been made.
    pub fn new(context: &'c Context<'m>, graph: &'m SubGraph) -> Result<Lower<'c, 'm>, FormatError> {
        context.charge(graph.tensors.len() as u64 * (NAME_BYTES / 2))?;
        let names = Names::new(graph);
        let accesses = BTreeMap::new();
        let (nodes, effects, waiting) = (Vec::new(), Vec::new(), Vec::new());
        let handles = handles(graph);
        context.charge(handles.len() as u64 * NAME_BYTES)?;
        Ok(Lower { context, graph, nodes, names, accesses, effects, waiting, handles })
    }

    /// What the node that makes a tensor is to be called.
    pub fn wanted(&self, number: usize) -> String {
        let name = self.graph.tensors.get(number).map_or("", |tensor| &tensor.name);
        match name {
            "" => "unnamed".to_string(),
            name if self.waiting.get(number) == Some(&true) => format!("{name}/before_effects"),
            name => name.to_string(),
        }
    }

    /// Adds a node named as nearly as can be like `wanted`.
    pub fn push(
        &mut self,
        wanted: &str,
        op: &str,
        inputs: Vec<Box<str>>,
        attrs: Vec<(Box<str>, AttrValue)>,
    ) -> Result<Box<str>, FormatError> {
        let name = self.names.free(wanted);
        let node = NodeDef { name: name.clone(), op: op.into(), inputs, attrs, ..NodeDef::default() };
        self.context.charge(node_bytes(&node) + NAME_BYTES + 2 * name.len() as u64)?;
        self.nodes.push(node);
        Ok(name)
    }
}

/// Why an operator is not made.
pub(super) enum Refusal {
    /// It cannot be computed: a reason that follows its name.
    Why(String),
    /// The file or the memory failed.
    Format(FormatError),
}

impl From<FormatError> for Refusal {
    fn from(error: FormatError) -> Refusal {
        Refusal::Format(error)
    }
}
