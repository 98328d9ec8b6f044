//! Tables: the nodes that make one and that fill it become the table's content, which is read here, and the nodes that look
//! something up there operators of that table.
//!
//! A handle of a table is no tensor, as that of a variable is none (`import::state`): it says which table is meant. What
//! fills a table is computed once, as the model is imported, by a graph of its own. A table that nothing changes in a run is
//! shared by all; accesses to one that is changed have the order in which they are imported.

use std::sync::Arc;

use tightfit_core::{DType, MemoryBudget, Shape, StringRef};
use tightfit_format::{AttrValue, GraphDef, NodeDef, SourceFile};

use super::state::Taken;
use super::variables::{Graph, Restored, constant_node, restored_input, variable_name};
use super::{Checkpoint, ImportOptions, Importer, calls};
use crate::error::GraphError;
use crate::exec::Context;
use crate::fact::Fact;
use crate::ir::{Node, NodeId, NodeKind};
use crate::operator::OpError;
use crate::operator::attributes::Attributes;
use crate::operator::tables::{Elements, Table, TableSpec, TableType};
use crate::ops::data_flow::table::{Access, TableAccess};
use crate::plan::{Plan, PlanOptions, WeightMode};
use crate::signature;

mod text_file;

/// What a node of tables is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A table that is filled once.
    Constant,
    /// A table that runs may change.
    Mutable,
    /// The same, where some keys are not allowed.
    Dense,
    /// It fills a table with keys and values.
    Fill,
    /// It fills a table from a file.
    FillFromFile,
    /// It looks something up, or changes the table.
    Access(Access),
}

const TABLES: [(&str, Role); 4] = [
    ("HashTable", Role::Constant),
    ("MutableHashTable", Role::Mutable),
    ("MutableHashTableOfTensors", Role::Mutable),
    ("MutableDenseHashTable", Role::Dense),
];

const FILLERS: [(&str, Role); 2] =
    [("InitializeTable", Role::Fill), ("InitializeTableFromTextFile", Role::FillFromFile)];

fn role(op: &str) -> Option<Role> {
    if let Some(access) = Access::of(op) {
        return Some(Role::Access(access));
    }
    let op = op.strip_suffix("V2").unwrap_or(op);
    let op = op.strip_prefix("Anonymous").unwrap_or(op);
    TABLES.iter().chain(&FILLERS).find(|(name, _)| *name == op).map(|(_, role)| *role)
}

/// The operators that make, fill, read or change tables.
pub fn ops() -> impl Iterator<Item = &'static str> {
    [
        "AnonymousHashTable",
        "AnonymousMutableDenseHashTable",
        "AnonymousMutableHashTable",
        "AnonymousMutableHashTableOfTensors",
        "HashTable",
        "HashTableV2",
        "InitializeTable",
        "InitializeTableFromTextFile",
        "InitializeTableFromTextFileV2",
        "InitializeTableV2",
        "LookupTableExport",
        "LookupTableExportV2",
        "LookupTableFind",
        "LookupTableFindV2",
        "LookupTableImport",
        "LookupTableImportV2",
        "LookupTableInsert",
        "LookupTableInsertV2",
        "LookupTableRemoveV2",
        "LookupTableSize",
        "LookupTableSizeV2",
        "MutableDenseHashTable",
        "MutableDenseHashTableV2",
        "MutableHashTable",
        "MutableHashTableOfTensors",
        "MutableHashTableOfTensorsV2",
        "MutableHashTableV2",
    ]
    .into_iter()
}

/// True for one of [`ops`].
pub fn is_of_tables(op: &str) -> bool {
    ops().any(|own| own == op)
}

/// True for one of them whose outputs may be a model's.
pub fn has_result(op: &str) -> bool {
    matches!(role(op), Some(Role::Access(access)) if !access.is_change())
}

/// The types of keys and values that TensorFlow's kernels have, by what kind of table it is.
fn check_types(role: Role, op: &str, key: DType, value: DType) -> Result<(), OpError> {
    use DType::{Bool, F32, F64, I32, I64, String};
    let values: &[DType] = match (role, key) {
        (Role::Constant, I32) => &[F32, F64, I32, String],
        (Role::Mutable, I32) | (Role::Dense, I32) => &[F32, F64, I32],
        (Role::Dense, I64) => &[Bool, F32, F64, I32, I64],
        (_, I64) => &[F32, F64, I32, I64, String],
        (Role::Constant, String) => &[Bool, F32, F64, I32, I64, String],
        (_, String) => &[Bool, F32, F64, I32, I64],
        _ => &[],
    };
    if values.contains(&value) {
        return Ok(());
    }
    Err(OpError::attribute("value_dtype", format!("is {value} for keys of {key}, which {op} is not for")))
}

/// True for a node that is a table.
fn is_table(op: &str) -> bool {
    matches!(role(op), Some(Role::Constant | Role::Mutable | Role::Dense))
}

/// A table of the file: what it is, or why it cannot be had.
#[derive(Debug)]
pub(super) struct Entry {
    name: String,
    spec: Result<Arc<TableSpec>, String>,
}

/// Reads the tables that the fetched tensors need.
///
/// # Errors
/// [`GraphError::Memory`] where they do not fit the budget. Of what fills one and cannot be read the nodes tell that look
/// something up there.
pub(super) fn read(
    def: &GraphDef,
    options: &ImportOptions,
    budget: &MemoryBudget,
) -> Result<Vec<Entry>, GraphError> {
    if !def.nodes.iter().any(|node| is_table(&node.op)) {
        return Ok(Vec::new());
    }
    let graph = Graph::new(def)?;
    let fetched = graph.reachable(options.fetches.iter().map(String::as_str), options.fetches.is_empty());
    let mut entries: Vec<Entry> = Vec::new();
    for (index, node) in def.nodes.iter().enumerate().filter(|(index, _)| fetched[*index]) {
        let name = variable_name(node);
        if !is_table(&node.op) || entries.iter().any(|entry| entry.name == name) {
            continue;
        }
        let reader = Reader { def, graph: &graph, fetched: &fetched, options, budget };
        let spec = match reader.table(index) {
            Ok(spec) => Ok(Arc::new(spec)),
            Err(Refused::Memory(error)) => return Err(error),
            Err(Refused::Why(why)) => Err(why),
        };
        entries.push(Entry { name: name.to_string(), spec });
    }
    Ok(entries)
}

/// Why a table cannot be had.
enum Refused {
    Memory(GraphError),
    Why(String),
}

impl From<GraphError> for Refused {
    fn from(error: GraphError) -> Refused {
        match error {
            error @ (GraphError::Memory { .. } | GraphError::Budget(_)) => Refused::Memory(error),
            error => Refused::Why(error.to_string()),
        }
    }
}

impl From<OpError> for Refused {
    fn from(error: OpError) -> Refused {
        match error {
            OpError::Budget(error) => Refused::Memory(GraphError::Budget(error)),
            error => Refused::Why(error.to_string()),
        }
    }
}

impl From<tightfit_core::BudgetError> for Refused {
    fn from(error: tightfit_core::BudgetError) -> Refused {
        Refused::Memory(GraphError::Budget(error))
    }
}

/// When a table gets what it holds before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filled {
    Never,
    /// As the model is imported.
    Here,
    /// In each run, with what is fed.
    InARun,
}

struct Reader<'r> {
    def: &'r GraphDef,
    graph: &'r Graph<'r>,
    fetched: &'r [bool],
    options: &'r ImportOptions,
    budget: &'r MemoryBudget,
}

impl Reader<'_> {
    /// The nodes whose first input is a handle of this table, with their roles.
    fn users(&self, name: &str) -> impl Iterator<Item = (usize, Option<Role>)> {
        let nodes = self.def.nodes.iter().enumerate();
        nodes.filter_map(move |(index, node)| {
            let is_user = node.inputs.iter().filter(|input| !input.starts_with('^')).any(|input| {
                let behind = self.graph.behind(input).map(|(index, _)| &self.def.nodes[index]);
                behind.is_some_and(|table| is_table(&table.op) && variable_name(table) == name)
            });
            is_user.then(|| (index, role(&node.op)))
        })
    }

    fn table(&self, index: usize) -> Result<TableSpec, Refused> {
        let node = &self.def.nodes[index];
        let name = variable_name(node).to_string();
        let attributes = Attributes::new(node);
        let role = role(&node.op).ok_or(OpError::Internal("a table is a table"))?;
        let shape = |attribute: &str| -> Result<Vec<usize>, OpError> {
            let dims = attributes.shape_or_unknown(attribute)?.unwrap_or_default();
            dims.iter()
                .map(|dim| usize::try_from(*dim).map_err(|_| OpError::attribute(attribute, "is open")))
                .collect()
        };
        let value_dims = shape("value_shape")?;
        let mut reserved = None;
        let mut key_dims = Vec::new();
        let (key, value) = (attributes.dtype("key_dtype")?, attributes.dtype("value_dtype")?);
        check_types(role, &node.op, key, value)?;
        let load = attributes.float_or("max_load_factor", 0.8)?;
        if role == Role::Dense && !(load > 0.0 && load < 1.0) {
            return Err(
                OpError::attribute("max_load_factor", format!("is {load}, not between 0 and 1")).into()
            );
        }
        let buckets = attributes.int_or("initial_num_buckets", 1 << 17)?;
        if role == Role::Dense && (buckets < 4 || buckets & (buckets - 1) != 0) {
            let why = format!("is {buckets}, not a power of two of at least 4");
            return Err(OpError::attribute("initial_num_buckets", why).into());
        }
        if role == Role::Dense {
            let keys: Vec<&str> = node.inputs.iter().take(2).map(|input| &**input).collect();
            let context = self.evaluate(&keys, Vec::new())?;
            let views = (0..keys.len()).map(|i| context.output(i)).collect::<Option<Vec<_>>>();
            let views = views.ok_or(OpError::Internal("what was computed is not there"))?;
            let shape = views.first().map_or(Shape::SCALAR, |view| *view.shape());
            if views.iter().any(|view| *view.shape() != shape) {
                return Err(Refused::Why(
                    "has keys of different shapes for what is empty and what was deleted".into(),
                ));
            }
            key_dims = shape.to_vec();
            let kind = TableType { key, key_elements: shape.elements(), value: DType::U8, value_elements: 0 };
            let mut own = Table::new(kind, self.budget)?;
            let text = |string: StringRef| context.string(string);
            for view in &views {
                let empty = Elements { bytes: &[], text: &text };
                own.insert_one(Elements { bytes: view.bytes(), text: &text }, empty)?;
            }
            if own.len() < views.len() {
                return Err(Refused::Why("has one key for both what is empty and what was deleted".into()));
            }
            reserved = Some(own);
        }
        let product = |dims: &[usize]| dims.iter().try_fold(1usize, |all, dim| all.checked_mul(*dim));
        let both = product(&key_dims).zip(product(&value_dims));
        let (key_elements, value_elements) =
            both.ok_or_else(|| OpError::attribute("value_shape", "has too many elements"))?;
        let kind = TableType { key, key_elements, value, value_elements };
        let mut content = Table::new(kind, self.budget)?;
        let filled = self.fill(&name, role, &mut content)?;
        let mut is_mutable = filled == Filled::InARun;
        if role == Role::Constant {
            if filled == Filled::Never {
                return Err(Refused::Why(format!("table '{name}' is never filled")));
            }
        } else {
            // What changes a table in a branch or a loop is not looked for.
            let is_read = |role| match role {
                Some(Role::Access(access)) => !Access::is_change(access),
                Some(_) => true,
                None => false,
            };
            let pass = |index: usize| matches!(&*self.def.nodes[index].op, "Identity" | "IdentityN");
            is_mutable =
                self.users(&name).any(|(index, role)| self.fetched[index] && !pass(index) && !is_read(role));
        }
        let is_filled_once = role == Role::Constant;
        let initial = Arc::new(content);
        Ok(TableSpec { name, initial, key_dims, value_dims, reserved, is_filled_once, is_mutable })
    }

    /// Puts into a table what the model fills it with before it is used.
    fn fill(&self, name: &str, table: Role, content: &mut Table) -> Result<Filled, Refused> {
        for (index, role) in self.users(name) {
            let node = &self.def.nodes[index];
            let restored = || {
                let input = |number: usize| restored_input(self.graph, node.inputs.get(number)?);
                Some([input(1)?, input(2)?])
            };
            match role {
                Some(Role::Fill) => {
                    if self.is_fed(&pairs(node)) {
                        return Ok(Filled::InARun);
                    }
                    self.put_computed(node, table, content)?;
                    return Ok(Filled::Here);
                }
                Some(Role::FillFromFile) => {
                    let inputs: Vec<&str> = node.inputs.iter().skip(1).take(1).map(|i| &**i).collect();
                    let context = self.evaluate(&inputs, Vec::new())?;
                    let view = context.output(0);
                    let path = view.as_ref().and_then(|view| view.as_slice::<StringRef>()?.first().copied());
                    let path = path.ok_or_else(|| Refused::Why("names no file".into()))?;
                    let path = String::from_utf8_lossy(context.string(path)).into_owned();
                    text_file::read(node, &path, content, self.budget)?;
                    return Ok(Filled::Here);
                }
                Some(Role::Access(Access::Import)) if !self.fetched[index] => {
                    let is_filled = match (restored(), &self.options.checkpoint) {
                        (Some(restored), Some(checkpoint)) => self.restore(checkpoint, restored, content)?,
                        // How TensorFlow 2.21 fills one that is filled once.
                        (None, _) if table == Role::Constant => {
                            self.put_computed(node, table, content)?;
                            true
                        }
                        _ => false,
                    };
                    if is_filled {
                        return Ok(Filled::Here);
                    }
                }
                _ => {}
            }
        }
        Ok(Filled::Never)
    }

    /// Puts into a table the keys and values that a node takes.
    fn put_computed(&self, node: &NodeDef, table: Role, content: &mut Table) -> Result<(), Refused> {
        let context = self.evaluate(&pairs(node), Vec::new())?;
        put(&context, content, table == Role::Constant)
    }

    /// True where tensors depend on what is fed.
    fn is_fed(&self, tensors: &[&str]) -> bool {
        let needed = self.graph.reachable(tensors.iter().copied(), false);
        self.def.nodes.iter().zip(&needed).any(|(node, needed)| *needed && &*node.op == "Placeholder")
    }

    /// Puts into a table what a checkpoint has of it; false where it has nothing.
    fn restore(
        &self,
        checkpoint: &Checkpoint,
        restored: [Restored; 2],
        content: &mut Table,
    ) -> Result<bool, Refused> {
        if restored.iter().any(|(key, _)| checkpoint.bundle.entry(key).is_none()) {
            return Ok(false);
        }
        let mut held = self.budget.try_reserve("tables", 0)?;
        let mut nodes = Vec::new();
        for (number, (key, spec)) in restored.iter().enumerate() {
            let tensor = checkpoint.bundle.tensor(key, spec, &mut held).map_err(OpError::File)?;
            nodes.push(constant_node(&format!("restored{number}"), tensor));
        }
        let context = self.evaluate(&["restored0", "restored1"], nodes)?;
        put(&context, content, false)?;
        Ok(true)
    }

    /// Computes tensors that depend on nothing that is fed, by a graph of their own.
    fn evaluate(&self, tensors: &[&str], own: Vec<NodeDef>) -> Result<Context, Refused> {
        let nodes = if own.is_empty() {
            let needed = self.graph.reachable(tensors.iter().copied(), false);
            let needed = || self.def.nodes.iter().zip(&needed).filter(|(_, needed)| **needed);
            let bytes = needed().map(|(node, _)| calls::node_bytes(node)).sum();
            let held = self.budget.try_reserve("tables", bytes)?;
            (needed().map(|(node, _)| node.clone()).collect::<Vec<_>>(), held)
        } else {
            (own, self.budget.try_reserve("tables", 0)?)
        };
        if let Some(fed) = nodes.0.iter().find(|node| &*node.op == "Placeholder") {
            let why = format!("is filled with what '{}' is fed, which is not supported", fed.name);
            return Err(Refused::Why(why));
        }
        let (nodes, reservation) = nodes;
        let (producer, min_consumer) = (self.def.producer, self.def.min_consumer);
        let source: Arc<SourceFile> = self.def.source.clone();
        let def = GraphDef {
            nodes,
            functions: Vec::new(),
            producer,
            min_consumer,
            source: source.clone(),
            reservation,
        };
        let fetches = tensors.iter().map(|name| name.to_string()).collect();
        let options = ImportOptions {
            fetches,
            checkpoint: self.options.checkpoint.clone(),
            operators: self.options.operators.clone(),
            ..ImportOptions::default()
        };
        let mut graph = super::import(&source, def, &options, self.budget)?;
        crate::passes::run(&mut graph)?;
        let mut bound = crate::bind(&graph, &crate::Binding::default())?;
        drop(graph);
        crate::passes::run_bound(&mut bound, 1)?;
        let plan = Plan::new(&bound, &PlanOptions::new(1, WeightMode::Resident))?;
        drop(bound);
        let pool =
            tightfit_kernels::ThreadPool::new(1).map_err(|error| OpError::Invalid(error.to_string()))?;
        let file = source.path().display().to_string();
        let mut context = Context::load(plan, &file, Arc::new(pool), self.budget, 0)?;
        context.run(&[])?;
        Ok(context)
    }
}

/// The keys and values that a node takes after the handle of a table.
fn pairs(node: &NodeDef) -> Vec<&str> {
    node.inputs.iter().skip(1).take(2).map(|input| &**input).collect()
}

/// Puts keys and values that were computed into a table, of which one that is filled once has only one value for a key.
fn put(context: &Context, table: &mut Table, is_once: bool) -> Result<(), Refused> {
    let both = context.output(0).zip(context.output(1));
    let (keys, values) = both.ok_or(OpError::Internal("what was computed is not there"))?;
    let kind = table.kind();
    if keys.dtype() != kind.key || values.dtype() != kind.value {
        let why = format!(
            "is of {} to {}, and filled with {} to {}",
            kind.key,
            kind.value,
            keys.dtype(),
            values.dtype()
        );
        return Err(Refused::Why(why));
    }
    let count = keys.shape().elements() / kind.key_elements.max(1);
    if values.bytes().len() != count * table.value_bytes() {
        return Err(Refused::Why(format!("is filled with {count} keys and values of {}", values.shape())));
    }
    if is_once && count == 0 {
        return Err(Refused::Why("is filled with no keys".into()));
    }
    let text = |string: StringRef| context.string(string);
    for index in 0..count {
        let part = |bytes, size: usize| Elements {
            bytes: &<[u8]>::get(bytes, index * size..).unwrap_or_default()[..size],
            text: &text,
        };
        let (key, value) = (part(keys.bytes(), table.key_bytes()), part(values.bytes(), table.value_bytes()));
        if is_once && table.differs(key, value) {
            return Err(Refused::Why("is filled with two values for one key".into()));
        }
        table.insert_one(key, value)?;
    }
    Ok(())
}

impl Importer<'_> {
    /// Adds a node of tables.
    pub(super) fn add_of_tables(
        &mut self,
        index: usize,
        taken: &[Taken],
        mut control: Vec<NodeId>,
    ) -> Result<NodeId, OpError> {
        let node = &self.def.nodes[index];
        let role = role(&node.op).ok_or(OpError::Internal("a node of tables is one"))?;
        signature::check_attributes(node)?;
        if is_table(&node.op) {
            let name = variable_name(node);
            let entry = self.tables.iter().find(|entry| entry.name == name);
            let entry = entry.ok_or_else(|| {
                OpError::Unsupported("makes a table within a branch or a loop, which is not supported".into())
            })?;
            let spec = entry.spec.clone().map_err(OpError::Unsupported)?;
            let number = self.variables.declare_table(spec);
            self.variables.set_output(index, 0, Taken::Handle(number));
            return Ok(self.pass(index, Vec::new(), control));
        }
        let Some((Taken::Handle(number), rest)) = taken.split_first() else {
            return Err(OpError::Unsupported("is given what is no table of the graph".into()));
        };
        let number = *number;
        let table = self.variables.table(number);
        let table = table.ok_or_else(|| OpError::Unsupported("is given a variable for a table".into()))?;
        let refused = || OpError::Unsupported("is given a handle where a tensor is wanted".into());
        let inputs = self.values(rest).ok_or_else(refused)?;
        let node = &self.def.nodes[index];
        let facts: Vec<Fact> = inputs.iter().map(|value| self.graph.fact(*value).clone()).collect();
        // A handle of the first version is a string; that of the second is of a type that no tensor has.
        let types: Vec<DType> =
            std::iter::once(DType::String).chain(facts.iter().map(|fact| fact.dtype)).collect();
        signature::check_inputs(node, &types)?;
        signature::ranks::check_in_file(node, &facts.iter().collect::<Vec<_>>())?;
        let access = match role {
            Role::Access(access) => access,
            Role::Fill if table.is_filled_once && table.is_mutable => Access::Fill,
            // The table is filled with that already.
            _ => return Ok(self.pass(index, Vec::new(), control)),
        };
        if access.is_change() && access != Access::Fill && (table.is_filled_once || !table.is_mutable) {
            let why = format!("changes table '{}', which is filled once", table.name);
            return Err(OpError::Unsupported(why));
        }
        if access == Access::Import && table.reserved.is_some() {
            let why = format!("imports to {}, a dense one, which TensorFlow refuses", table.name);
            return Err(OpError::Unsupported(why));
        }
        if access == Access::Export {
            let (kind, attributes) = (table.initial.kind(), Attributes::new(node));
            for (name, own) in [("Tkeys", kind.key), ("Tvalues", kind.value)] {
                let asked = attributes.dtype_or(name, own)?;
                if asked != own {
                    return Err(OpError::attribute(name, format!("is {asked}; the table has {own}")));
                }
            }
        }
        self.follow_access(&[Taken::Handle(number)], &mut control);
        let operator = Arc::new(TableAccess { table, access });
        let node = &self.def.nodes[index];
        let kind = NodeKind::Operator(operator);
        let name = (&*node.name).into();
        let id = self.graph.add(Node { name, kind, inputs, control, facts: vec![] });
        match crate::infer::infer_node(&self.graph, id) {
            Ok(facts) => self.graph.set_facts(id, facts),
            Err(GraphError::Node { source, .. }) => return Err(*source),
            Err(other) => return Err(OpError::Unsupported(other.to_string())),
        }
        self.note_access(&[Taken::Handle(number)], id);
        Ok(id)
    }

    /// What was last done to the tables among what a node takes that runs change: it has to be done before the node.
    pub(super) fn follow_access(&self, taken: &[Taken], control: &mut Vec<NodeId>) {
        for last in taken.iter().filter_map(|taken| self.variables.last_access(*taken)) {
            if !control.contains(&last) {
                control.push(last);
            }
        }
    }

    /// Node `id` does something to the tables that it takes.
    pub(super) fn note_access(&mut self, taken: &[Taken], id: NodeId) {
        taken.iter().for_each(|taken| self.variables.set_last_access(*taken, id));
    }
}

/// A text attribute of a node.
fn text<'n>(node: &'n NodeDef, attribute: &str) -> Option<&'n [u8]> {
    match node.attr(attribute) {
        Some(AttrValue::Str(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
