//! Variables that bodies and functions are given: where nothing assigns one, its value is given instead of its handle, and
//! what reads it there takes that. A frozen graph keeps its loops, branches and calls, and has no handles.
//!
//! Handles are followed from each variable to all that takes them: through nodes that hand them on, and into functions, of
//! which each is gone over once to see what becomes of its arguments. A function that is given a value where it was given
//! a handle is written again under another name.

mod scope;

use std::collections::{BTreeSet, HashMap};

use tightfit_format::{AttrValue, FunctionDef, GraphDef, ListValue, NameAttrList, NodeDef, TensorShapeDef};

use super::calls::{first_part, node_bytes};
use super::variables::{Graph, Read, Role, become_read, role, variable_name};
use super::{ImportOptions, memory_error_of, split_name};
use crate::error::GraphError;
use scope::{FunctionScope, GraphScope, Resolved, Scope, Source};

/// The type of a handle.
const RESOURCE: i32 = 20;

/// Functions within functions: deeper ones keep their handles.
const MAX_DEPTH: usize = 64;

/// How a node gives what it takes to functions.
struct Call<'n> {
    functions: Vec<&'n NameAttrList>,
    /// The function is the node's operator.
    is_direct: bool,
    /// Inputs that are its own.
    own: usize,
    /// The attributes that list the types of what it takes, one after the other, and the one of what it returns.
    takes: &'static [&'static str],
    returns: &'static str,
    is_loop: bool,
}

fn call<'n>(node: &'n NodeDef, library: &HashMap<Box<str>, usize>) -> Option<Call<'n>> {
    let of = |attributes: &[&str], own, takes, returns, is_loop| {
        let mut functions = Vec::new();
        for attribute in attributes {
            match node.attr(attribute)? {
                AttrValue::Func(function) => functions.push(&**function),
                AttrValue::List(ListValue::Funcs(list)) => functions.extend(list),
                _ => return None,
            }
        }
        Some(Call { functions, is_direct: false, own, takes, returns, is_loop })
    };
    match &*node.op {
        "If" | "StatelessIf" => of(&["then_branch", "else_branch"], 1, &["Tin"], "Tout", false),
        "Case" | "StatelessCase" => of(&["branches"], 1, &["Tin"], "Tout", false),
        "While" | "StatelessWhile" => of(&["cond", "body"], 0, &["T"], "T", true),
        "PartitionedCall" | "StatefulPartitionedCall" => of(&["f"], 0, &["Tin"], "Tout", false),
        "BatchFunction" => of(&["f"], 0, &["Tin", "Tcaptured"], "Tout", false),
        op if library.contains_key(op) => Some(Call {
            functions: Vec::new(),
            is_direct: true,
            own: 0,
            takes: &[],
            returns: "",
            is_loop: false,
        }),
        _ => None,
    }
}

/// What is done to a node that is given a handle, once that is a value. A root is a variable's node, or an argument.
#[derive(Debug, Clone)]
enum Use {
    /// It hands it on: the attribute that has the type, and which of a list.
    Pass {
        node: usize,
        element: Option<usize>,
    },
    Read {
        node: usize,
        read: Read,
    },
    /// It gives it to functions as this argument, and has it as these outputs.
    Call {
        node: usize,
        argument: usize,
        outputs: Vec<usize>,
    },
}

/// Where the handles of a graph or function go.
#[derive(Debug, Default)]
struct Flow {
    uses: Vec<(usize, Use)>,
    /// The roots that something else than a read is given.
    changed: BTreeSet<usize>,
    /// The roots that functions, loops and branches are given.
    captured: BTreeSet<usize>,
    at: HashMap<Source, usize>,
}

/// What becomes of a function's arguments.
#[derive(Debug, Clone, Default)]
struct Summary {
    /// Whether an argument may be a value in the place of a handle.
    may_be_value: Vec<bool>,
    /// For each output the argument whose handle it is.
    outputs: Vec<Option<usize>>,
}

/// A variable's type and shape.
type Kind = (i32, TensorShapeDef);

/// The functions of a file, and what has been found out about them.
struct Functions {
    all: Vec<FunctionDef>,
    library: HashMap<Box<str>, usize>,
    summaries: HashMap<usize, Summary>,
    /// The functions that have been written again, by what they were and which arguments are values.
    made: HashMap<(usize, Vec<Option<Kind>>), Box<str>>,
    /// Bytes that those take.
    made_bytes: u64,
}

/// Gives values in the place of the handles of variables that the wanted part of the graph only reads.
///
/// # Errors
/// [`GraphError::DuplicateNode`], and [`GraphError::Memory`] when functions do not fit a second time.
pub(super) fn give_values(def: &mut GraphDef, options: &ImportOptions) -> Result<(), GraphError> {
    if !def.nodes.iter().any(|node| role(&node.op) == Role::Handle) {
        return Ok(());
    }
    let all = std::mem::take(&mut def.functions);
    let library = all.iter().enumerate().map(|(index, f)| (f.name.clone(), index)).collect();
    let mut functions =
        Functions { all, library, summaries: HashMap::new(), made: HashMap::new(), made_bytes: 0 };
    let given = give(def, options, &mut functions);
    def.functions = functions.all;
    def.functions.sort_by(|a, b| a.name.cmp(&b.name));
    given?;
    def.reservation.try_grow(functions.made_bytes).map_err(|source| memory_error_of(def, source))
}

fn give(def: &mut GraphDef, options: &ImportOptions, functions: &mut Functions) -> Result<(), GraphError> {
    let graph = Graph::new(def)?;
    let roots = options.fetches.iter().chain(&options.keep).map(String::as_str);
    let needed = graph.reachable(roots, options.fetches.is_empty());
    let scope = GraphScope { graph, nodes: &def.nodes };
    let is_root = |index: &usize| needed[*index] && role(&def.nodes[*index].op) == Role::Handle;
    let roots: Vec<_> =
        (0..def.nodes.len()).filter(is_root).map(|index| (Source::Output(index, 0), index)).collect();
    let mut flow = functions.flow(&scope, &roots, &|index| needed[index], 0);
    // A handle that is fetched is wanted as one.
    let fetched = options.fetches.iter().filter_map(|tensor| scope.source(tensor));
    let fetched: Vec<usize> = fetched.filter_map(|source| flow.at.get(&source).copied()).collect();
    flow.changed.extend(fetched);
    let kinds = kinds(def, &roots, &flow);
    let (mut reads, names) = reads(def, &kinds, &scope);
    drop(scope);
    let value_of = |input: &str, nodes: &HashMap<Box<str>, usize>| {
        let (name, _) = split_name(input);
        nodes.get(name).and_then(|index| names.get(index)).cloned()
    };
    let handles: HashMap<Box<str>, usize> =
        names.keys().map(|index| (def.nodes[*index].name.clone(), *index)).collect();
    flow.uses.retain(|(root, one)| {
        let Use::Read { node, .. } = one else { return kinds.contains_key(root) };
        // What reads the variable itself stays as it is.
        let input = def.nodes[*node].inputs.first().map(|input| split_name(input).0);
        kinds.contains_key(root) && input.is_none_or(|input| !handles.contains_key(input))
    });
    for (_, one) in &flow.uses {
        let (Use::Pass { node, .. } | Use::Read { node, .. } | Use::Call { node, .. }) = one;
        for input in &mut def.nodes[*node].inputs {
            if let Some(value) = (!input.starts_with('^')).then(|| value_of(input, &handles)).flatten() {
                *input = value;
            }
        }
    }
    let mut axes = Vec::new();
    functions.apply(&mut def.nodes, &flow, &kinds, &mut axes);
    let bytes = reads.iter().chain(&axes).map(node_bytes).sum::<u64>();
    def.reservation.try_grow(bytes).map_err(|source| memory_error_of(def, source))?;
    def.nodes.append(&mut reads);
    def.nodes.append(&mut axes);
    Ok(())
}

/// The variables that are given as values, with type and shape: those that loops, branches or functions are given and
/// nothing assigns.
fn kinds(def: &GraphDef, roots: &[(Source, usize)], flow: &Flow) -> HashMap<usize, Kind> {
    let name_of = |index: usize| variable_name(&def.nodes[index]);
    let changed: BTreeSet<&str> = flow.changed.iter().map(|index| name_of(*index)).collect();
    let captured: BTreeSet<&str> = flow.captured.iter().map(|index| name_of(*index)).collect();
    let mut kinds = HashMap::new();
    for (_, index) in roots {
        let node = &def.nodes[*index];
        let name = variable_name(node);
        if let Some(AttrValue::Type(dtype)) = node.attr("dtype")
            && captured.contains(name)
            && !changed.contains(name)
        {
            let shape = match node.attr("shape") {
                Some(AttrValue::Shape(shape)) => shape.clone(),
                _ => TensorShapeDef::default(),
            };
            kinds.insert(*index, (*dtype, shape));
        }
    }
    kinds
}

/// A node that reads each of these variables, and its name. What was given the variable's handle is given that.
fn reads(
    def: &GraphDef,
    kinds: &HashMap<usize, Kind>,
    scope: &GraphScope<'_>,
) -> (Vec<NodeDef>, HashMap<usize, Box<str>>) {
    let mut reads: Vec<NodeDef> = Vec::with_capacity(kinds.len());
    let mut names: HashMap<usize, Box<str>> = HashMap::new();
    let mut order: Vec<(&usize, &Kind)> = kinds.iter().collect();
    order.sort_unstable_by_key(|(index, _)| **index);
    for (index, (dtype, _)) in order {
        let node = &def.nodes[*index];
        let free = |name: &String| scope.graph.find(name).is_none();
        let numbered = (1..).map(|n| format!("{}/value_{n}", node.name));
        let name = std::iter::once(format!("{}/value", node.name)).chain(numbered).find(free);
        let name: Box<str> = name.unwrap_or_default().into();
        reads.push(NodeDef {
            name: name.clone(),
            op: "ReadVariableOp".into(),
            inputs: vec![node.name.clone()],
            attrs: vec![("dtype".into(), AttrValue::Type(*dtype))],
            ..NodeDef::default()
        });
        names.insert(*index, name);
    }
    (reads, names)
}

impl Functions {
    /// Follows handles from where they come from to all that takes them.
    fn flow(
        &mut self,
        scope: &dyn Scope,
        roots: &[(Source, usize)],
        is_needed: &dyn Fn(usize) -> bool,
        depth: usize,
    ) -> Flow {
        let nodes = scope.nodes();
        let mut users: HashMap<Source, Vec<(usize, usize)>> = HashMap::new();
        for (index, node) in nodes.iter().enumerate().filter(|(index, _)| is_needed(*index)) {
            for (number, input) in node.inputs.iter().enumerate().filter(|(_, i)| !i.starts_with('^')) {
                if let Some(source) = scope.source(input) {
                    users.entry(source).or_default().push((index, number));
                }
            }
        }
        let mut flow = Flow::default();
        let mut stack: Vec<(Source, usize)> = roots.to_vec();
        while let Some((source, root)) = stack.pop() {
            match flow.at.insert(source, root) {
                Some(other) if other != root => {
                    flow.changed.extend([root, other]);
                    continue;
                }
                Some(_) => continue,
                None => {}
            }
            for (index, input) in users.get(&source).into_iter().flatten().copied() {
                let outputs = self.follow(&nodes[index], index, input, root, &mut flow, depth);
                stack.extend(outputs.into_iter().map(|output| (Source::Output(index, output), root)));
            }
        }
        // What may be one of several is that one only where all are.
        for (root, one) in &flow.uses {
            if let Use::Pass { node, .. } = one
                && &*nodes[*node].op == "Merge"
            {
                let inputs = nodes[*node].inputs.iter().map(|input| &**input);
                let mut inputs = inputs.filter(|input| !input.starts_with('^'));
                let is_same =
                    |input: &str| scope.source(input).and_then(|source| flow.at.get(&source)) == Some(root);
                if !inputs.all(is_same) {
                    flow.changed.insert(*root);
                }
            }
        }
        flow
    }

    /// Notes what a node does with a handle, and returns the outputs that are the handle again.
    fn follow(
        &mut self,
        node: &NodeDef,
        index: usize,
        input: usize,
        root: usize,
        flow: &mut Flow,
        depth: usize,
    ) -> Vec<usize> {
        let pass = |element| (root, Use::Pass { node: index, element });
        match (role(&node.op), &*node.op) {
            (_, "IdentityN") => {
                flow.uses.push(pass(Some(input)));
                return vec![input];
            }
            (_, "Identity") if input == 0 => {
                flow.uses.push(pass(None));
                return vec![0];
            }
            (_, "Enter" | "Exit" | "NextIteration" | "Merge") => {
                flow.captured.insert(root);
                flow.uses.push(pass(None));
                return vec![0];
            }
            (_, "Switch") if input == 0 => {
                flow.captured.insert(root);
                flow.uses.push(pass(None));
                return vec![0, 1];
            }
            (Role::Read(read), _) if input == 0 => {
                flow.uses.push((root, Use::Read { node: index, read }));
                return Vec::new();
            }
            _ => {}
        }
        match self.outputs_of_call(node, input, depth) {
            Some((argument, outputs)) => {
                flow.captured.insert(root);
                flow.uses.push((root, Use::Call { node: index, argument, outputs: outputs.clone() }));
                outputs
            }
            None => {
                flow.changed.insert(root);
                Vec::new()
            }
        }
    }

    /// Which argument an input of a call is, and which outputs are its handle; `None` where it has to stay a handle.
    fn outputs_of_call(&mut self, node: &NodeDef, input: usize, depth: usize) -> Option<(usize, Vec<usize>)> {
        let call = call(node, &self.library)?;
        let argument = input.checked_sub(call.own)?;
        let callees: Vec<usize> = match call.is_direct {
            true => vec![*self.library.get(&node.op)?],
            false => {
                let found = call.functions.iter().map(|f| self.library.get(&f.name).copied());
                found.collect::<Option<_>>()?
            }
        };
        let is_loop = call.is_loop;
        let summaries: Vec<Summary> =
            callees.into_iter().map(|callee| self.summary(callee, depth + 1)).collect();
        if !summaries.iter().all(|summary| summary.may_be_value.get(argument) == Some(&true)) {
            return None;
        }
        let returned = match is_loop {
            // What a condition returns is no output.
            true => &summaries[1..],
            false => &summaries[..],
        };
        let count = returned.iter().map(|summary| summary.outputs.len()).max().unwrap_or(0);
        let mut outputs = Vec::new();
        for output in 0..count {
            let is_it = |summary: &Summary| summary.outputs.get(output) == Some(&Some(argument));
            if returned.iter().all(is_it) {
                outputs.push(output);
            } else if returned.iter().any(is_it) {
                return None;
            }
        }
        (!is_loop || outputs == [argument]).then_some((argument, outputs))
    }

    /// What becomes of a function's arguments. Of one that is being looked at, nothing is known.
    fn summary(&mut self, index: usize, depth: usize) -> Summary {
        if let Some(summary) = self.summaries.get(&index) {
            return summary.clone();
        }
        let Some(function) = self.all.get(index) else { return Summary::default() };
        let has_lists = function
            .input_args
            .iter()
            .chain(&function.output_args)
            .any(|arg| !arg.number_attr.is_empty() || !arg.type_list_attr.is_empty());
        if has_lists || depth > MAX_DEPTH {
            return Summary::default();
        }
        self.summaries.insert(index, Summary::default());
        let function = function.clone();
        let (flow, outputs) =
            self.flow_of(&function, &|arg| function.input_args[arg].dtype == RESOURCE, depth);
        let is_value =
            |arg: usize| function.input_args[arg].dtype == RESOURCE && !flow.changed.contains(&arg);
        let summary =
            Summary { may_be_value: (0..function.input_args.len()).map(is_value).collect(), outputs };
        self.summaries.insert(index, summary.clone());
        summary
    }

    /// Where the arguments of a function go that are `is_root`, and which of them its outputs are.
    fn flow_of(
        &mut self,
        function: &FunctionDef,
        is_root: &dyn Fn(usize) -> bool,
        depth: usize,
    ) -> (Flow, Vec<Option<usize>>) {
        let (all, library) = (std::mem::take(&mut self.all), std::mem::take(&mut self.library));
        // The scope looks functions up while others are gone over.
        let scope = FunctionScope::new(function, &all, &library);
        let sources: Vec<Vec<Option<Source>>> = function
            .nodes
            .iter()
            .map(|node| node.inputs.iter().map(|input| scope.source(input)).collect())
            .collect();
        let returned: Vec<Option<Source>> = function
            .output_args
            .iter()
            .map(|arg| {
                let ret = function.ret.iter().find(|(name, _)| *name == arg.name);
                ret.and_then(|(_, value)| scope.source(value))
            })
            .collect();
        drop(scope);
        (self.all, self.library) = (all, library);
        let scope = Resolved::new(function, sources);
        let roots: Vec<_> = (0..function.input_args.len())
            .filter(|a| is_root(*a))
            .map(|a| (Source::Argument(a), a))
            .collect();
        let flow = self.flow(&scope, &roots, &|_| true, depth);
        let outputs = returned.iter().map(|source| source.and_then(|s| flow.at.get(&s).copied())).collect();
        (flow, outputs)
    }

    /// Makes of nodes that take handles ones that take values.
    fn apply(
        &mut self,
        nodes: &mut [NodeDef],
        flow: &Flow,
        kinds: &HashMap<usize, Kind>,
        axes: &mut Vec<NodeDef>,
    ) {
        // Of each call the arguments that are handles: number, outputs that are the handle again, kind.
        type Given<'a> = (usize, &'a [usize], &'a Kind);
        let mut calls: HashMap<usize, Vec<Given<'_>>> = HashMap::new();
        for (root, one) in &flow.uses {
            let Some(kind) = kinds.get(root) else { continue };
            match one {
                Use::Pass { node, element } => {
                    set_type(&mut nodes[*node], "T", *element, kind.0);
                    drop_attribute(&mut nodes[*node], "_output_shapes");
                }
                Use::Read { node, read } => {
                    let node = &mut nodes[*node];
                    let first = node.inputs.first().cloned().unwrap_or_default();
                    become_read(node, *read, first, AttrValue::Type(kind.0), axes);
                }
                Use::Call { node, argument, outputs } => {
                    calls.entry(*node).or_default().push((*argument, outputs, kind));
                }
            }
        }
        for (index, given) in calls {
            self.apply_call(&mut nodes[index], &given);
        }
    }

    fn apply_call(&mut self, node: &mut NodeDef, given: &[(usize, &[usize], &Kind)]) {
        let Some(call) = call(node, &self.library) else { return };
        let (takes, returns, is_direct, is_loop) = (call.takes, call.returns, call.is_direct, call.is_loop);
        let mut kinds: HashMap<usize, Kind> = HashMap::new();
        for (argument, outputs, kind) in given {
            kinds.insert(*argument, (*kind).clone());
            if !is_direct {
                set_type_of_argument(node, takes, *argument, kind.0);
                outputs.iter().for_each(|output| set_type(node, returns, Some(*output), kind.0));
            }
            if is_loop {
                set_shape(node, *argument, &kind.1);
            }
        }
        drop_attribute(node, "_output_shapes");
        if is_direct {
            if let Some(callee) = self.library.get(&node.op).copied() {
                node.op = self.with_values(callee, &kinds);
            }
            return;
        }
        for (_, value) in &mut node.attrs {
            let list: &mut [NameAttrList] = match value {
                AttrValue::Func(function) => std::slice::from_mut(&mut **function),
                AttrValue::List(ListValue::Funcs(list)) => list,
                _ => continue,
            };
            for function in list {
                if let Some(callee) = self.library.get(&function.name).copied() {
                    function.name = self.with_values(callee, &kinds);
                }
            }
        }
    }

    /// The name of the function that is `index` with values for these arguments.
    fn with_values(&mut self, index: usize, kinds: &HashMap<usize, Kind>) -> Box<str> {
        let count = self.all[index].input_args.len();
        let key = (index, (0..count).map(|argument| kinds.get(&argument).cloned()).collect::<Vec<_>>());
        if let Some(name) = self.made.get(&key) {
            return name.clone();
        }
        let mut function = self.all[index].clone();
        let (flow, outputs) = self.flow_of(&function, &|arg| kinds.contains_key(&arg), 0);
        for (argument, (dtype, _)) in kinds {
            function.input_args[*argument].dtype = *dtype;
        }
        for (arg, root) in function.output_args.iter_mut().zip(&outputs) {
            if let Some((dtype, _)) = root.and_then(|root| kinds.get(&root)) {
                arg.dtype = *dtype;
            }
        }
        function.attrs.retain(|(name, _)| &**name != "_input_shapes");
        let mut axes = Vec::new();
        self.apply(&mut function.nodes, &flow, kinds, &mut axes);
        let reads: BTreeSet<Box<str>> = flow
            .uses
            .iter()
            .filter_map(|(_, one)| match one {
                Use::Read { node, .. } => Some(function.nodes[*node].name.clone()),
                _ => None,
            })
            .collect();
        rename_outputs(&mut function, &reads, &axes);
        function.nodes.append(&mut axes);
        let free = |name: &String| !self.library.contains_key(&**name);
        let numbered = (1..).map(|n| format!("{}_of_values_{n}", function.name));
        let name = std::iter::once(format!("{}_of_values", function.name)).chain(numbered).find(free);
        function.name = name.unwrap_or_default().into();
        self.made_bytes += function.nodes.iter().map(node_bytes).sum::<u64>();
        let name = function.name.clone();
        self.library.insert(name.clone(), self.all.len());
        self.all.push(function);
        self.made.insert(key, name.clone());
        name
    }
}

/// What reads a handle calls its output otherwise than what reads a value.
fn rename_outputs(function: &mut FunctionDef, reads: &BTreeSet<Box<str>>, axes: &[NodeDef]) {
    let rename = |input: &mut Box<str>| {
        let name = first_part(input);
        let is_output = input.len() > name.len();
        if reads.contains(name) && is_output {
            *input = format!("{name}:output:0").into();
        } else if !is_output && axes.iter().any(|axis| axis.name == *input) {
            *input = format!("{input}:output:0").into();
        }
    };
    function.nodes.iter_mut().flat_map(|node| &mut node.inputs).for_each(rename);
    function.ret.iter_mut().for_each(|(_, value)| rename(value));
}

fn drop_attribute(node: &mut NodeDef, name: &str) {
    node.attrs.retain(|(own, _)| &**own != name);
}

fn set_type(node: &mut NodeDef, attribute: &str, element: Option<usize>, dtype: i32) {
    let found = node.attrs.iter_mut().find(|(name, _)| &**name == attribute).map(|(_, value)| value);
    match (found, element) {
        (Some(AttrValue::Type(own)), None) => *own = dtype,
        (Some(AttrValue::List(ListValue::Types(list))), Some(element)) => {
            if let Some(own) = list.get_mut(element) {
                *own = dtype;
            }
        }
        _ => {}
    }
}

/// Sets the type of an argument whose number counts through several lists.
fn set_type_of_argument(node: &mut NodeDef, lists: &[&str], argument: usize, dtype: i32) {
    let mut element = argument;
    for list in lists {
        let types = match node.attr(list) {
            Some(AttrValue::List(ListValue::Types(types))) => types.len(),
            _ => 0,
        };
        if element < types {
            return set_type(node, list, Some(element), dtype);
        }
        element -= types;
    }
}

fn set_shape(node: &mut NodeDef, element: usize, shape: &TensorShapeDef) {
    let found = node.attrs.iter_mut().find(|(name, _)| &**name == "output_shapes").map(|(_, value)| value);
    if let Some(AttrValue::List(ListValue::Shapes(list))) = found
        && let Some(own) = list.get_mut(element)
    {
        *own = shape.clone();
    }
}

#[cfg(test)]
mod tests;
