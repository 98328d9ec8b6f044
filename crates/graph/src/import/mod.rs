//! GraphDef -> [`Graph`]: only what the fetched tensors need, and all that cannot be run in one error.

mod calls;
mod captures;
mod constants;
mod control_flow;
mod fused;
mod half;
mod kinds;
mod layout;
mod names;
mod narrow;
mod needed;
mod own;
mod plain;
mod ports;
mod regions;
mod state;
mod tables;
#[cfg(test)]
pub(crate) mod text_graph;
pub mod tflite;
mod variables;

use std::sync::Arc;

use tightfit_core::{BudgetError, DType, MemoryBudget, Reservation, block_bytes, piece_done, step_done};
use tightfit_format::{AttrValue, GraphDef, ListValue, NodeDef, SourceFile};

use crate::dim::{Dim, Dims, Symbol};
use crate::error::{A_FEED, A_FETCH, GraphError, Unsupported};
use crate::fact::Fact;
use crate::infer::{Values, graph_memory_error, infer_node, memory_error};
use crate::ir::dead_nodes;
use crate::ir::{Graph, Node, NodeId, NodeKind, Port, ValueRef};
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator};
use crate::ops;
use crate::signature;
use calls::Library;
pub(crate) use kinds::takes_only_lists;
pub use kinds::{attributes, is_result, is_supported, nearest, output_type, structure};
use kinds::{is_structural, takes_lists};
use names::Names;
pub use own::Operators;
pub use plain::{Fetched, functions_of, plain};
pub use ports::PortNames;
use regions::{Body, Given, has_bodies};
use state::{Taken, Variables, is_of_variables};
use tables::is_of_tables;
pub use variables::Checkpoint;

/// What is wanted of a graph.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Tensors to compute, `node` or `node:output`. Empty: every node that no other uses.
    pub fetches: Vec<String>,
    /// Tensors that the caller feeds besides the placeholders. A fed node needs none of its inputs.
    pub feeds: Vec<String>,
    /// What callers call the model's inputs and outputs, where it has names for them.
    pub ports: PortNames,
    /// Nodes that are kept besides what the fetches need, as the one that fills tables.
    pub keep: Vec<String>,
    /// Where the values of variables are.
    pub checkpoint: Option<Checkpoint>,
    /// Operators beside those that are built in.
    pub operators: Operators,
}

/// Nodes at the beginning each of which is a step: they execute most of the code for the first time.
const FIRST_NODES: usize = 128;

/// Reads a frozen graph, binary or text. The graph grows within `budget`; the description is let go of.
///
/// # Errors
/// [`GraphError`] for a file that is none, a tensor that does not exist, a cycle, and for everything that cannot be
/// run, all at once; [`GraphError::Memory`] when the graph does not fit the budget beside its description.
pub fn import(
    source: &Arc<SourceFile>,
    def: GraphDef,
    options: &ImportOptions,
    budget: &MemoryBudget,
) -> Result<Graph, GraphError> {
    let mut def = def;
    let (options, shown) = options.ports.resolve(options);
    plain::prepare(&mut def, &options, budget, true)?;
    step_done();
    let tables = tables::read(&def, &options, budget)?;
    step_done();
    let mut library = calls::take_library(&mut def);
    control_flow::structure(&mut def, &mut library)?;
    step_done();
    let mut importer = Importer::new(source, def, &options, shown, budget, Arc::new(library))?;
    importer.tables = Arc::new(tables);
    importer.import()
}

/// A value out of a node's attributes.
fn take_attribute(node: &mut NodeDef, attribute: &str) -> Option<AttrValue> {
    let (_, value) = node.attrs.iter_mut().find(|(name, _)| &**name == attribute)?;
    Some(std::mem::replace(value, AttrValue::None))
}

/// A tensor's name, split: `node:1` is output 1 of `node`, `node` its first.
pub fn split_name(name: &str) -> (&str, u32) {
    match name.rsplit_once(':').map(|(node, output)| (node, output.parse())) {
        Some((node, Ok(output))) => (node, output),
        _ => (name, 0),
    }
}

/// A node of the file that is not in the graph.
const NOT_MADE: u32 = u32::MAX;

struct Importer<'a> {
    source: &'a Arc<SourceFile>,
    def: GraphDef,
    options: &'a ImportOptions,
    /// What the caller calls the fetches.
    shown: Vec<String>,
    names: Names,
    is_fed: Vec<bool>,
    graph: Graph,
    /// The graph's node for a node of the file.
    made: Vec<u32>,
    /// For each node of the file, how often nodes that are needed take it.
    users: Vec<u32>,
    is_fetched: Vec<bool>,
    values: Values,
    unsupported: Unsupported,
    /// The functions of the file, of which nodes with bodies name some.
    library: Arc<Library>,
    /// What a body is given: its first nodes.
    given: Vec<Given>,
    /// The variables that runs change.
    variables: Variables,
    /// The tables of the file.
    tables: Arc<Vec<tables::Entry>>,
    /// The functions whose bodies this one is in.
    within: Vec<Box<str>>,
    /// The tables above, while the graph is made.
    _working: Reservation,
}

/// What a node takes: its inputs, and the nodes that must have run before.
type Inputs = (Vec<Taken>, Vec<NodeId>);

/// What the tables of an import take for each node: two marks, three numbers, and in the search for what is needed a
/// mark, its place in the order, and on the stack, which grows by doubling, up to three.
const WORKING_BYTES: u64 = (2 + 3 * size_of::<u32>() + 1 + 4 * size_of::<(usize, usize)>()) as u64;

impl<'a> Importer<'a> {
    fn new(
        source: &'a Arc<SourceFile>,
        def: GraphDef,
        options: &'a ImportOptions,
        shown: Vec<String>,
        budget: &MemoryBudget,
        library: Arc<Library>,
    ) -> Result<Self, GraphError> {
        let file = source.path().display().to_string();
        let graph = Graph::new(file.clone(), budget);
        let count = def.nodes.len();
        let bytes = Names::bytes(count) + count as u64 * WORKING_BYTES + Values::bytes(count as u64);
        let working = graph.memory().room(bytes).map_err(|source| graph_memory_error(&graph, source))?;
        let names = Names::new(count, |i| &def.nodes[i].name)
            .map_err(|i| GraphError::DuplicateNode { node: def.nodes[i].name.to_string() })?;
        let unsupported = Unsupported { file, ..Unsupported::default() };
        Ok(Importer {
            source,
            options,
            shown,
            names,
            is_fed: vec![false; count],
            values: Values::new(&graph),
            graph,
            made: vec![NOT_MADE; count],
            users: vec![0; count],
            is_fetched: vec![false; count],
            unsupported,
            library,
            given: Vec::new(),
            variables: Variables::default(),
            tables: Arc::default(),
            within: Vec::new(),
            _working: working,
            def,
        })
    }

    fn import(mut self) -> Result<Graph, GraphError> {
        let fetches = self.fetches()?;
        self.import_roots(&fetches, &[])?;
        self.keep_states()?;
        self.finish()
    }

    /// Imports the function that node `call` calls: a body, whose first nodes are what it is given.
    fn import_body(mut self, call: &str, outputs: usize) -> Result<Body, GraphError> {
        let fetches: Vec<String> = (0..outputs).map(|output| format!("{call}:{output}")).collect();
        let mut roots: Vec<usize> = (0..self.given.len()).collect();
        roots.push(self.index(call, || format!("body '{call}'"))?);
        let returned = self.import_roots(&fetches, &roots)?;
        let variables = self.keep_states()?;
        let mut graph = self.finish()?;
        let states = variables.into_iter().zip(std::mem::take(&mut graph.states)).collect();
        Ok(Body { returned, states, graph })
    }

    /// Imports what the fetches need, and these nodes of the file with all that they need. What a body is given is an input
    /// each. Returns what is fetched: tensors, which are outputs, and of bodies handles of variables, which are none.
    fn import_roots(&mut self, fetches: &[String], roots: &[usize]) -> Result<Vec<Taken>, GraphError> {
        for feed in &self.options.feeds {
            let index = self.index(split_name(feed).0, || A_FEED.into())?;
            self.is_fed[index] = true;
        }
        for (tensor, _) in &self.options.ports.inputs {
            if self.options.ports.are_fed
                && let Some(index) = self.find(split_name(tensor).0)
            {
                self.is_fed[index] = true;
            }
        }
        for fetch in fetches.iter() {
            let index = self.index(split_name(fetch).0, || A_FETCH.into())?;
            self.is_fetched[index] = true;
        }
        let order = self.needed(fetches, roots)?;
        self.report_unknown(&order)?;
        self.graph.reserve_nodes(order.len()).map_err(|source| graph_memory_error(&self.graph, source))?;
        for (number, index) in order.into_iter().enumerate() {
            self.add(index)?;
            match number < FIRST_NODES {
                true => step_done(),
                false => piece_done(number),
            }
        }
        if self.unsupported.count() > 0 {
            return Err(GraphError::Unsupported(std::mem::take(&mut self.unsupported)));
        }
        let mut returned = Vec::with_capacity(fetches.len());
        for (number, name) in fetches.iter().enumerate() {
            let taken = self.taken(name, || A_FETCH.into())?;
            returned.push(taken);
            if let Some(value) = self.values(&[taken]).and_then(|values| values.first().copied()) {
                let name = self.shown.get(number).unwrap_or(name).clone();
                self.graph.add_output(Port { name, value });
            }
        }
        for given in 0..self.given.len() {
            if matches!(self.given[given], Given::Value(_)) {
                let value = ValueRef::of(NodeId(self.made[given]));
                self.graph.add_input(Port { name: self.def.nodes[given].name.to_string(), value });
            }
        }
        for root in roots.iter().map(|root| NodeId(self.made[*root])) {
            // What returns nothing is there for its effects.
            if self.graph.node(root).facts.is_empty() {
                self.graph.effects.push(root);
            }
        }
        Ok(returned)
    }

    /// The graph, without what nothing needs.
    fn finish(self) -> Result<Graph, GraphError> {
        let Importer { mut graph, values, def, _working, .. } = self;
        drop(def);
        if values.has_folded {
            dead_nodes::remove(&mut graph);
        }
        graph.recount().map_err(|source| graph_memory_error(&graph, source))?;
        Ok(graph)
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.names.find(name, |i| &self.def.nodes[i].name)
    }

    fn index(&self, name: &str, asked_by: impl Fn() -> String) -> Result<usize, GraphError> {
        self.find(name).ok_or_else(|| GraphError::NoSuchTensor {
            asked_by: asked_by(),
            name: name.to_string(),
            similar: similar(name, self.def.nodes.iter().map(|n| &*n.name)),
        })
    }

    /// Names every operator that has no registration, before any shape is looked at: one missing operator would
    /// otherwise hide the next.
    fn report_unknown(&mut self, order: &[usize]) -> Result<(), GraphError> {
        for index in order.iter().filter(|index| !self.is_fed[**index]) {
            let node = &self.def.nodes[*index];
            if is_of_variables(&node.op) || is_of_tables(&node.op) {
                continue;
            }
            if has_bodies(&node.op) {
                let own = &self.options.operators;
                regions::report_unknown(node, &self.library, own, &mut self.unsupported);
            } else if !self.is_known(&node.op) && &*node.op != regions::GIVEN {
                self.unsupported.add(
                    &node.op,
                    tflite::why(node).unwrap_or("operator not supported"),
                    &node.name,
                );
            } else if !is_structural(&node.op) {
                // Attributes do not depend on shapes, so their errors belong to the same list.
                let checked = signature::check_attributes(node).and_then(|()| self.operator(node).map(drop));
                if let Err(error) = checked {
                    self.unsupported.add(&node.op, error.to_string(), &node.name);
                }
            }
        }
        if self.unsupported.count() == 0 {
            return Ok(());
        }
        Err(GraphError::Unsupported(std::mem::take(&mut self.unsupported)))
    }

    /// True for the name of an operator, built in or added.
    fn is_known(&self, op: &str) -> bool {
        ops::is_supported(op) || self.options.operators.has(op)
    }

    /// The operator of a node.
    fn operator(&self, node: &NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        self.options.operators.import(node).map_or_else(|| operator(node), |own| own.map(Arc::from))
    }

    /// Converts the inputs of a node that refused their types: the node that takes its place, or what else it refuses.
    fn widen(&mut self, id: NodeId) -> Option<Result<NodeId, GraphError>> {
        narrow::widen(&mut self.graph, id).map(Ok).or_else(|| half::widen(&mut self.graph, id))
    }

    fn add(&mut self, index: usize) -> Result<(), GraphError> {
        let made = if self.is_fed[index] {
            self.add_input(index)
        } else {
            match &*self.def.nodes[index].op {
                "Const" => self.add_constant(index),
                "Placeholder" => self.add_input(index),
                regions::GIVEN => self.add_given(index),
                _ => return self.add_computed(index),
            }
        };
        self.made_or_refused(index, made)
    }

    /// Node `index` of the file has become a node of the graph, or cannot be run.
    fn made_or_refused(&mut self, index: usize, made: Result<NodeId, OpError>) -> Result<(), GraphError> {
        match made {
            Ok(id) => self.made(index, id),
            Err(OpError::Budget(source)) => {
                let node = &self.def.nodes[index];
                let file = self.graph.file.clone();
                let node = Some((node.name.to_string(), node.op.to_string()));
                Err(GraphError::Memory { file, node, source: Box::new(source) })
            }
            Err(error) => {
                self.refuse(index, error.to_string());
                Ok(())
            }
        }
    }

    /// Adds a node of the file to what cannot be run.
    fn refuse(&mut self, index: usize, why: impl Into<String>) {
        let node = &self.def.nodes[index];
        self.unsupported.add(&node.op, why, &node.name);
    }

    /// Node `id` of the graph is node `index` of the file, and all is known of it that there will be.
    fn made(&mut self, index: usize, id: NodeId) -> Result<(), GraphError> {
        let before = self.values.nodes();
        self.values.add_nodes(&self.graph);
        // What a variable is from now on may be read by any node after.
        let is_kept = self.is_fetched[index] || self.variables.is_current(id);
        self.values.expect_users(id, self.users[index], is_kept);
        // A chain of at most five nodes was made, in any order: what they wait for is known after as many rounds.
        for _ in 0..5 {
            (before..self.graph.nodes.len()).for_each(|id| self.values.note(&self.graph, NodeId(id as u32)));
        }
        // What was made on the way to it, casts of halves, is after it now.
        for other in (before..self.graph.nodes.len()).map(|id| NodeId(id as u32)).filter(|other| *other != id)
        {
            self.values.inferred(&mut self.graph, other);
        }
        self.values.inferred(&mut self.graph, id);
        self.made[index] = id.0;
        self.graph.check().map_err(|source| memory_error(&self.graph, id, source))
    }

    /// Finds what a node takes; `None` where some of it cannot be run, which is reported already.
    fn made_inputs(&self, index: usize) -> Result<Option<Inputs>, GraphError> {
        let node = &self.def.nodes[index];
        let count = node.inputs.iter().filter(|input| !input.starts_with('^')).count();
        let mut inputs = Vec::with_capacity(count);
        let mut control = Vec::with_capacity(node.inputs.len() - count);
        for input in &node.inputs {
            let (name, _) = split_name(input.trim_start_matches('^'));
            let need = self.index(name, || asked_by_node(node))?;
            if self.made[need] == NOT_MADE {
                return Ok(None);
            }
            if input.starts_with('^') {
                control.push(NodeId(self.made[need]));
            } else {
                inputs.push(self.taken(input, || asked_by_node(node))?);
            }
        }
        Ok(Some((inputs, control)))
    }

    /// Adds a node that computes something of what others have made.
    fn add_computed(&mut self, index: usize) -> Result<(), GraphError> {
        // What cannot be run is in the list already.
        let Some((taken, control)) = self.made_inputs(index)? else { return Ok(()) };
        let op = &self.def.nodes[index].op;
        if has_bodies(op) {
            return self.add_region(index, &taken, control);
        }
        let hands_on = matches!(&**op, "Identity" | "IdentityN")
            && taken.iter().any(|taken| matches!(taken, Taken::Handle(_)));
        if is_of_variables(op) || hands_on {
            let made = self.add_of_variables(index, &taken, control);
            return self.made_or_refused(index, made);
        }
        if is_of_tables(op) {
            let made = self.add_of_tables(index, &taken, control);
            return self.made_or_refused(index, made);
        }
        match self.values(&taken) {
            Some(inputs) => self.add_operator(index, inputs, control),
            None => {
                self.refuse(index, "is given a variable or a table, which is not supported");
                Ok(())
            }
        }
    }

    fn add_operator(
        &mut self,
        index: usize,
        inputs: Vec<ValueRef>,
        control: Vec<NodeId>,
    ) -> Result<(), GraphError> {
        let node = &self.def.nodes[index];
        let channels_last = layout::channels_last(node);
        let has_lists = inputs.iter().any(|value| self.graph.fact(*value).list.is_some());
        if has_lists && !takes_lists(&node.op) {
            self.refuse(index, "is given a list of tensors, which is not supported");
            return Ok(());
        }
        // A list is of its elements' type here, and in the file a variant, which is not compared, or an array's flow.
        let type_of = |fact: &Fact| if fact.list.is_some() { DType::F32 } else { fact.dtype };
        let types: Vec<DType> = inputs.iter().map(|value| type_of(self.graph.fact(*value))).collect();
        let hands_lists_on = has_lists && !takes_only_lists(&node.op);
        let checked = if hands_lists_on { Ok(()) } else { signature::check_inputs(node, &types) };
        let operator = match checked.and_then(|()| self.operator(node)) {
            Ok(operator) => operator,
            Err(error) => {
                self.refuse(index, error.to_string());
                return Ok(());
            }
        };
        let changed = channels_last.as_ref().map(|changed| changed.inputs(&mut self.graph, &inputs));
        let inputs = match changed {
            Some(Some(inputs)) => inputs,
            Some(None) => {
                self.refuse(index, "has inputs that do not go with its data_format");
                return Ok(());
            }
            None => inputs,
        };
        let held_bytes = lists_bytes(node) + operator.heap_bytes();
        let kind = NodeKind::Operator(operator);
        let id = self.graph.add(Node { name: (&*node.name).into(), kind, inputs, control, facts: vec![] });
        self.graph.count_operator_lists(held_bytes);
        self.graph.check().map_err(|source| memory_error(&self.graph, id, source))?;
        match infer_node(&self.graph, id) {
            Ok(facts) => {
                self.graph.set_facts(id, facts);
                self.check(index, id);
                let made = self.graph.node(id);
                let facts = self.graph.input_facts(made);
                if let Some(plainer) = made.operator().and_then(|operator| operator.plainer(&facts)) {
                    self.graph.node_mut(id).kind = NodeKind::Operator(plainer);
                }
                self.made_in_layout(index, id, channels_last.as_ref())
            }
            Err(GraphError::Node { source, .. }) => {
                // What a caller's own operator refuses stays refused.
                let is_own = self.options.operators.has(&self.def.nodes[index].op);
                let widened = if is_own { None } else { self.widen(id) };
                match widened {
                    Some(Ok(made)) => {
                        self.check(index, id);
                        self.made_in_layout(index, made, channels_last.as_ref())
                    }
                    Some(Err(GraphError::Node { source, .. })) => {
                        self.refuse(index, source.to_string());
                        Ok(())
                    }
                    Some(Err(other)) => Err(other),
                    None => {
                        self.refuse(index, source.to_string());
                        Ok(())
                    }
                }
            }
            Err(other) => Err(other),
        }
    }

    /// [`Import::made`] of a node that computes with channels last where the file's has them second.
    fn made_in_layout(
        &mut self,
        index: usize,
        id: NodeId,
        changed: Option<&layout::ChannelsLast>,
    ) -> Result<(), GraphError> {
        let Some(changed) = changed else { return self.made(index, id) };
        match changed.output(&mut self.graph, id) {
            Some(made) => self.made(index, made),
            None => {
                self.refuse(index, "has an output that does not go with its data_format");
                Ok(())
            }
        }
    }

    /// Refuses what TensorFlow refuses of shapes that the file knows already.
    fn check(&mut self, index: usize, id: NodeId) {
        let node = &self.def.nodes[index];
        let made = self.graph.node(id);
        let facts = self.graph.input_facts(made);
        let checked = signature::ranks::check_in_file(node, &facts);
        let checked =
            checked.and_then(|()| made.operator().map_or(Ok(()), |operator| operator.check(&facts)));
        if let Err(error) = checked {
            self.refuse(index, error.to_string());
        }
    }

    fn add_input(&mut self, index: usize) -> Result<NodeId, OpError> {
        let node = &self.def.nodes[index];
        let attributes = Attributes::new(node);
        // A fed node that is no placeholder has the type that its operator would give it.
        let dtype = match signature::output_type(node, 0) {
            Some(dtype) => dtype,
            None if node.attr("dtype").is_some() => attributes.dtype("dtype")?,
            None => attributes.dtype("T")?,
        };
        let declared = attributes.shape_or_unknown("shape")?;
        let dims = match declared {
            // Graphs of old producers write an unknown shape as a scalar's.
            Some(dims) if !(dims.is_empty() && self.def.producer < 24) => {
                input_dims(&mut self.graph, &node.name, &dims)
            }
            _ => Dims::UNKNOWN,
        };
        let facts = vec![Fact::new(dtype, dims.clone())];
        let kind = NodeKind::Input { dtype, dims };
        let id =
            self.graph.add(Node { name: (&*node.name).into(), kind, inputs: vec![], control: vec![], facts });
        let name = self.options.ports.input_key(&node.name).unwrap_or(&node.name).to_string();
        self.graph.add_input(Port { name, value: ValueRef::of(id) });
        Ok(id)
    }

    /// What a name means: a tensor, or a variable's handle.
    fn taken(&self, name: &str, asked_by: impl Fn() -> String) -> Result<Taken, GraphError> {
        let (node, output) = split_name(name);
        let index = self.index(node, &asked_by)?;
        if let Some(taken) = self.variables.output(index, output) {
            return Ok(taken);
        }
        let made = Some(self.made[index]).filter(|id| *id != NOT_MADE);
        let outputs = made.map_or(0, |id| self.graph.node(NodeId(id)).facts.len());
        let value = made.map(|id| ValueRef { node: NodeId(id), output });
        let value = value.filter(|value| (value.output as usize) < outputs);
        value.map(Taken::Value).ok_or_else(|| GraphError::NoSuchOutput {
            asked_by: asked_by(),
            name: name.to_string(),
            op: self.def.nodes[index].op.to_string(),
            outputs,
        })
    }
}

/// The file of a description.
fn file(def: &GraphDef) -> String {
    def.source.path().display().to_string()
}

/// The error of a description that does not fit the memory there is.
fn memory_error_of(def: &GraphDef, source: BudgetError) -> GraphError {
    GraphError::Memory { file: file(def), node: None, source: Box::new(source) }
}

fn asked_by_node(node: &NodeDef) -> String {
    format!("node '{}'", node.name)
}

/// The built-in operator of a node.
fn operator(node: &NodeDef) -> Result<Arc<dyn Operator>, OpError> {
    let laid = layout::channels_last(node);
    let node = laid.as_ref().map_or(node, |changed| &changed.node);
    let registration =
        ops::find(&node.op).ok_or_else(|| OpError::Unsupported("operator not supported".to_string()))?;
    (registration.import)(&Attributes::new(node)).map(Arc::from)
}

/// What an operator may keep of the lists among a node's attributes.
fn lists_bytes(node: &NodeDef) -> u64 {
    let lists = node.attrs.iter().map(|(_, value)| match value {
        AttrValue::List(ListValue::Empty) => 0,
        AttrValue::List(list) => block_bytes(list.len() as u64 * size_of::<i64>() as u64),
        AttrValue::Shape(shape) => block_bytes(shape.dims.as_ref().map_or(0, |d| d.len() as u64 * 8)),
        AttrValue::Str(text) => block_bytes(text.len() as u64),
        _ => 0,
    });
    lists.sum()
}

/// Open dimensions become symbols: the first of every input is the batch.
fn input_dims(graph: &mut Graph, name: &str, dims: &[i64]) -> Dims {
    let dims = dims.iter().enumerate().map(|(axis, dim)| match (axis, dim) {
        (0, ..0) => Dim::of(Symbol::BATCH),
        (_, ..0) => {
            let number = graph.symbols.len() as u32;
            graph.add_symbol(format!("axis {axis} of {name}"));
            Dim::of(Symbol(number))
        }
        (_, n) => Dim::Known(*n),
    });
    Dims::new(dims.collect::<Vec<_>>())
}

/// How many names are suggested in place of one that does not exist.
const SUGGESTIONS: usize = 3;

/// The names that share the most with `name`, best first.
pub fn similar<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let lower = name.to_ascii_lowercase();
    let mut best: Vec<(usize, &str)> = Vec::with_capacity(SUGGESTIONS + 1);
    for candidate in names {
        let other = candidate.to_ascii_lowercase();
        let common = lower.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
        let score = if other.contains(&lower) || lower.contains(&other) { 100 } else { common };
        if score < 3.min(lower.len().max(1)) {
            continue;
        }
        let is_behind = |better: &(usize, &str)| {
            better.0 > score || (better.0 == score && better.1.len() <= candidate.len())
        };
        let place = best.iter().take_while(|better| is_behind(better)).count();
        best.insert(place, (score, candidate));
        best.truncate(SUGGESTIONS);
    }
    best.into_iter().map(|(_, name)| name.to_string()).collect()
}
