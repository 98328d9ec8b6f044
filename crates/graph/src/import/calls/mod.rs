//! Calls: before anything else is imported, the body of a function takes the place of each node that calls it.
//!
//! A node calls a function by its name as operator, or names it in the attribute `f` of PartitionedCall and its kin. Names
//! belong to the graph or to one function: node `n` of a body becomes `call/n`, as TensorFlow's own inlining names it, and
//! an input of the function is what the call is given. The call itself stays as an Identity of what the function returns,
//! so that its outputs are found by name. Only what the fetched tensors need is copied, calls within bodies included.

use std::collections::HashMap;

use tightfit_core::block_bytes;
use tightfit_format::{
    ArgDef, AttrValue, FunctionDef, GraphDef, ListValue, NameAttrList, NodeDef, TensorContent,
};

use super::{ImportOptions, Operators, asked_by_node, file, memory_error_of, similar, split_name};
use crate::error::GraphError;
use crate::operator::OpError;
use crate::signature;

/// Nodes that call the function which their attribute `f` names, with what they are given. BatchFunction calls it for several
/// requests at once, of which there is one here.
pub(super) const OPS: [&str; 3] = ["PartitionedCall", "StatefulPartitionedCall", "BatchFunction"];

/// Calls within calls: deeper ones are a function that calls itself by a way that no argument ends.
const MAX_DEPTH: usize = 64;

/// Bytes that the table of names takes for each node: a name's place and number, in a table that doubles.
const NAME_BYTES: u64 = 3 * (size_of::<(u64, usize)>() as u64 + 1);

/// The functions of a file by name.
pub type Library = HashMap<Box<str>, FunctionDef>;

/// Takes the functions out of a description.
pub fn take_library(def: &mut GraphDef) -> Library {
    std::mem::take(&mut def.functions).into_iter().map(|f| (f.name.clone(), f)).collect()
}

/// Puts the bodies of functions in the place of the calls that the fetched tensors need.
///
/// # Errors
/// [`GraphError::Node`] for a function that does not exist or that calls itself, [`GraphError::NoSuchTensor`] for a name
/// that a body does not have, [`GraphError::Memory`] when the bodies do not fit the budget.
pub fn inline(def: &mut GraphDef, options: &ImportOptions) -> Result<(), GraphError> {
    let library = take_library(def);
    let inlined = inline_from(def, &library, options);
    // What other nodes than calls name, branches and loops, is still wanted.
    def.functions = library.into_values().collect();
    def.functions.sort_by(|a, b| a.name.cmp(&b.name));
    inlined
}

/// The same for a description whose functions are in `library`.
///
/// # Errors
/// As [`inline`].
pub fn inline_from(def: &mut GraphDef, library: &Library, options: &ImportOptions) -> Result<(), GraphError> {
    if !def.nodes.iter().any(|node| callee(node, library).is_some()) {
        return Ok(());
    }
    let mut inliner = Inliner { library, operators: &options.operators, def };
    inliner.reserve(inliner.def.nodes.len() as u64 * NAME_BYTES)?;
    let mut names = inliner.names(0);
    let needed = needed_of_graph(&inliner.def.nodes, &names, options);
    let is_call = |nodes: &[NodeDef], index: usize| callee(&nodes[index], library).is_some();
    let calls = needed.into_iter().filter(|index| is_call(&inliner.def.nodes, *index));
    let mut calls: Vec<(usize, Vec<String>)> = calls.map(|index| (index, Vec::new())).collect();
    while let Some((index, mut within)) = calls.pop() {
        let Some(function) = callee(&inliner.def.nodes[index], library).map(str::to_string) else {
            continue;
        };
        let first = inliner.def.nodes.len();
        inliner.expand(index, &function, &within, &mut names)?;
        within.push(function);
        let inner = (first..inliner.def.nodes.len()).filter(|index| is_call(&inliner.def.nodes, *index));
        calls.extend(inner.map(|index| (index, within.clone())));
    }
    Ok(())
}

/// The name of the function that a node calls.
fn callee<'n>(node: &'n NodeDef, library: &'n Library) -> Option<&'n str> {
    if let Some((name, _)) = library.get_key_value(&node.op) {
        return Some(name);
    }
    if !OPS.contains(&&*node.op) {
        return None;
    }
    match node.attr("f") {
        Some(AttrValue::Func(function)) => Some(match library.get_key_value(&function.name) {
            Some((name, _)) => name,
            None => &function.name,
        }),
        _ => None,
    }
}

/// The nodes that the fetched tensors need; all nodes where none are named. Of names that are not there import speaks.
fn needed_of_graph(
    nodes: &[NodeDef],
    names: &HashMap<Box<str>, usize>,
    options: &ImportOptions,
) -> Vec<usize> {
    if options.fetches.is_empty() {
        return (0..nodes.len()).collect();
    }
    let find = |name: &str| names.get(split_name(name.trim_start_matches('^')).0).copied();
    let mut is_needed = vec![false; nodes.len()];
    // A name that is not there may be that of a body's node, after the name of its call.
    let in_call = |name: &str| name.match_indices('/').rev().find_map(|(at, _)| find(&name[..at]));
    // What restores the variables says which values are theirs.
    let restore = options.checkpoint.iter().map(|checkpoint| &checkpoint.restore_op);
    let roots = options
        .fetches
        .iter()
        .chain(restore)
        .chain(&options.keep)
        .filter_map(|name| find(name).or_else(|| in_call(name)));
    let mut stack: Vec<usize> = roots.collect();
    while let Some(index) = stack.pop() {
        if !std::mem::replace(&mut is_needed[index], true) {
            stack.extend(nodes[index].inputs.iter().filter_map(|input| find(input)));
        }
    }
    (0..nodes.len()).filter(|index| is_needed[*index]).collect()
}

struct Inliner<'d> {
    library: &'d Library,
    operators: &'d Operators,
    def: &'d mut GraphDef,
}

impl Inliner<'_> {
    /// The numbers of the graph's nodes from `first` on by their names.
    fn names(&self, first: usize) -> HashMap<Box<str>, usize> {
        let nodes = self.def.nodes.iter().enumerate().skip(first);
        nodes.map(|(index, node)| (node.name.clone(), index)).collect()
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), GraphError> {
        let grown = self.def.reservation.try_grow(bytes);
        grown.map_err(|source| memory_error_of(self.def, source))
    }

    fn refused(&self, call: usize, why: String) -> GraphError {
        let node = &self.def.nodes[call];
        GraphError::Node {
            file: file(self.def),
            node: node.name.to_string(),
            op: node.op.to_string(),
            source: Box::new(OpError::Unsupported(why)),
        }
    }

    /// Copies what a call needs of its function's body after the graph's nodes, and makes the call an Identity.
    fn expand(
        &mut self,
        call: usize,
        name: &str,
        within: &[String],
        names: &mut HashMap<Box<str>, usize>,
    ) -> Result<(), GraphError> {
        let Some(function) = self.library.get(name) else {
            return Err(self.refused(call, format!("calls function '{name}', which the file does not have")));
        };
        if within.iter().any(|outer| outer == name) || within.len() >= MAX_DEPTH {
            return Err(
                self.refused(call, format!("calls function '{name}' from within it, which is not supported"))
            );
        }
        let node = self.def.nodes[call].clone();
        let given = given_attributes(&node);
        let prefix = self.prefix(&node.name, function, names);
        let known = (self.library, self.operators);
        let body = Body::new(function, &node, &given, &prefix, known);
        for index in body.needed()? {
            let copy = body.copy(&function.nodes[index])?;
            self.reserve(node_bytes(&copy) + NAME_BYTES)?;
            names.insert(copy.name.clone(), self.def.nodes.len());
            self.def.nodes.push(copy);
        }
        let returned = body.returned()?;
        self.reserve(node_bytes(&returned))?;
        self.def.nodes[call] = returned;
        Ok(())
    }

    /// What names of the body are put after: the call's own name, or that with a number where a node has one of the
    /// names already.
    fn prefix(&self, call: &str, function: &FunctionDef, names: &HashMap<Box<str>, usize>) -> String {
        let is_free = |prefix: &String| {
            function.nodes.iter().all(|node| !names.contains_key(&*format!("{prefix}/{}", node.name)))
        };
        let numbered = (1..).map(|n| format!("{call}_{n}"));
        std::iter::once(call.to_string()).chain(numbered).find(is_free).unwrap_or_default()
    }
}

/// The attributes that a call gives its function.
fn given_attributes(node: &NodeDef) -> Vec<(Box<str>, AttrValue)> {
    let mut given = node.attrs.clone();
    if let Some(AttrValue::Func(function)) = node.attr("f") {
        given.extend(function.attrs.iter().cloned());
    }
    given
}

/// A function's body as one call of it.
struct Body<'b> {
    function: &'b FunctionDef,
    call: &'b NodeDef,
    given: &'b [(Box<str>, AttrValue)],
    prefix: &'b str,
    library: &'b Library,
    operators: &'b Operators,
    /// The body's nodes by name.
    nodes: HashMap<&'b str, usize>,
    /// The function's inputs by name: the first of the call's inputs that belongs to it, and how many do.
    arguments: HashMap<&'b str, (usize, usize)>,
    /// The call's inputs without control edges, and those.
    inputs: Vec<&'b str>,
    control: Vec<&'b str>,
}

impl<'b> Body<'b> {
    fn new(
        function: &'b FunctionDef,
        call: &'b NodeDef,
        given: &'b [(Box<str>, AttrValue)],
        prefix: &'b str,
        (library, operators): (&'b Library, &'b Operators),
    ) -> Body<'b> {
        let (control, inputs) = call.inputs.iter().map(|input| &**input).partition(|i| i.starts_with('^'));
        let mut arguments = HashMap::new();
        let mut at = 0;
        for arg in &function.input_args {
            let count = tensors(arg, given);
            arguments.insert(&*arg.name, (at, count));
            at += count;
        }
        let nodes = function.nodes.iter().enumerate().map(|(index, node)| (&*node.name, index)).collect();
        Body { function, call, given, prefix, library, operators, nodes, arguments, inputs, control }
    }

    fn missing(&self, asked_by: String, name: &str) -> GraphError {
        let similar = similar(name, self.nodes.keys().chain(self.arguments.keys()).copied());
        GraphError::NoSuchTensor { asked_by, name: name.to_string(), similar }
    }

    fn in_function(&self, node: &NodeDef) -> String {
        format!("{} of function '{}'", asked_by_node(node), self.function.name)
    }

    /// The nodes of the body that its outputs and its effects need, in the body's order.
    fn needed(&self) -> Result<Vec<usize>, GraphError> {
        let asked = || format!("function '{}'", self.function.name);
        let mut stack = Vec::new();
        for (_, value) in self.function.ret.iter().chain(&self.function.control_ret) {
            if let Some(index) = self.node_of(value, asked)? {
                stack.push(index);
            }
        }
        let mut is_needed = vec![false; self.function.nodes.len()];
        while let Some(index) = stack.pop() {
            if std::mem::replace(&mut is_needed[index], true) {
                continue;
            }
            let node = &self.function.nodes[index];
            for input in &node.inputs {
                stack.extend(self.node_of(input, || self.in_function(node))?);
            }
        }
        Ok((0..is_needed.len()).filter(|index| is_needed[*index]).collect())
    }

    /// The node of the body that a name means; `None` for an input of the function.
    fn node_of(&self, name: &str, asked_by: impl Fn() -> String) -> Result<Option<usize>, GraphError> {
        let own = name.trim_start_matches('^').split(':').next().unwrap_or(name);
        if self.arguments.contains_key(own) {
            return Ok(None);
        }
        self.nodes.get(own).copied().map(Some).ok_or_else(|| self.missing(asked_by(), own))
    }

    /// A name of the body as one of the graph.
    fn resolve(&self, name: &str, asked_by: impl Fn() -> String) -> Result<Box<str>, GraphError> {
        if let Some(node) = name.strip_prefix('^') {
            return Ok(format!("^{}/{node}", self.prefix).into());
        }
        let mut parts = name.split(':');
        let own = parts.next().unwrap_or(name);
        let rest: Vec<&str> = parts.collect();
        let number = |text: Option<&&str>| text.map_or(Some(0), |text| text.parse::<usize>().ok());
        let missing = || self.missing(asked_by(), name);
        if let Some((first, count)) = self.arguments.get(own) {
            let at = number(rest.first()).filter(|at| at < count).ok_or_else(missing)?;
            return self.inputs.get(first + at).map(|input| (*input).into()).ok_or_else(missing);
        }
        let node = self.nodes.get(own).map(|index| &self.function.nodes[*index]).ok_or_else(missing)?;
        let at = match &rest[..] {
            [] => 0,
            [output] if output.bytes().all(|b| b.is_ascii_digit()) => {
                number(Some(output)).ok_or_else(missing)?
            }
            [output, rest @ ..] => {
                let first = self.first_output(node, output).ok_or_else(missing)?;
                first + number(rest.first()).ok_or_else(missing)?
            }
        };
        Ok(match at {
            0 => format!("{}/{own}", self.prefix).into(),
            at => format!("{}/{own}:{at}", self.prefix).into(),
        })
    }

    /// The number of the first tensor of a node's output of this name.
    fn first_output(&self, node: &NodeDef, output: &str) -> Option<usize> {
        if let Some(function) = self.library.get(&node.op) {
            let before = function.output_args.iter().take_while(|arg| &*arg.name != output);
            return Some(before.map(|arg| tensors(arg, &node.attrs)).sum());
        }
        if self.operators.has(&node.op) {
            return self.operators.first_output(&node.op, output);
        }
        // What is not known is refused by its name later, whatever it returns.
        if signature::has_row(&node.op) { signature::first_output(node, output) } else { Some(0) }
    }

    /// A node of the body as one of the graph.
    fn copy(&self, node: &NodeDef) -> Result<NodeDef, GraphError> {
        let inputs = node.inputs.iter().map(|input| self.resolve(input, || self.in_function(node)));
        let mut inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        // What the call waits for, the first nodes of the body wait for.
        let is_first = node.inputs.iter().all(|input| self.arguments.contains_key(first_part(input)));
        if is_first && &*node.op != "Const" {
            inputs.extend(self.control.iter().map(|input| Box::from(*input)));
        }
        let attrs = node.attrs.iter().map(|(name, value)| (name.clone(), self.value(value)));
        Ok(NodeDef {
            name: format!("{}/{}", self.prefix, node.name).into(),
            op: node.op.clone(),
            inputs,
            device: None,
            attrs: attrs.collect(),
            offset: node.offset,
        })
    }

    /// An attribute's value, those of the call put in.
    fn value(&self, value: &AttrValue) -> AttrValue {
        match value {
            AttrValue::Placeholder(name) => {
                let given = self.given.iter().find(|(given, _)| given == name);
                given.map_or_else(|| value.clone(), |(_, value)| value.clone())
            }
            AttrValue::Func(function) => AttrValue::Func(Box::new(NameAttrList {
                name: function.name.clone(),
                attrs: function.attrs.iter().map(|(name, value)| (name.clone(), self.value(value))).collect(),
            })),
            other => other.clone(),
        }
    }

    /// The call, once it is what the function returns.
    fn returned(&self) -> Result<NodeDef, GraphError> {
        let asked = || format!("function '{}'", self.function.name);
        let mut inputs: Vec<Box<str>> = Vec::new();
        for arg in &self.function.output_args {
            let (_, value) = self
                .function
                .ret
                .iter()
                .find(|(name, _)| *name == arg.name)
                .ok_or_else(|| self.missing(asked(), &arg.name))?;
            let one = self.resolve(value, asked)?;
            let (node, first) = split_name(&one);
            inputs.push(one.clone());
            // A list of tensors is returned from its first one on.
            inputs.extend(
                (1..tensors(arg, self.given)).map(|i| format!("{node}:{}", first as usize + i).into()),
            );
        }
        let count = inputs.len();
        for (_, node) in &self.function.control_ret {
            inputs.push(format!("^{}/{node}", self.prefix).into());
        }
        inputs.extend(self.control.iter().map(|input| Box::from(*input)));
        let types = self.types(count);
        Ok(NodeDef {
            name: self.call.name.clone(),
            op: match count {
                0 => "NoOp",
                1 => "Identity",
                _ => "IdentityN",
            }
            .into(),
            inputs,
            device: None,
            attrs: types.map(|types| ("T".into(), types)).into_iter().collect(),
            offset: self.call.offset,
        })
    }

    /// What Identity or IdentityN says of the types of what is returned.
    fn types(&self, count: usize) -> Option<AttrValue> {
        let find = |name: &str| self.given.iter().find(|(given, _)| &**given == name).map(|(_, value)| value);
        let mut types = Vec::with_capacity(count);
        for arg in &self.function.output_args {
            match (find(&arg.type_list_attr), find(&arg.type_attr)) {
                (Some(AttrValue::List(ListValue::Types(list))), _) => types.extend(list),
                (_, Some(AttrValue::Type(dtype))) => types.extend(vec![*dtype; tensors(arg, self.given)]),
                _ => types.extend(vec![arg.dtype; tensors(arg, self.given)]),
            }
        }
        match &types[..] {
            [] => None,
            [0, ..] => self.call.attr("Tout").cloned().filter(|_| count > 1),
            [one] => Some(AttrValue::Type(*one)),
            _ => Some(AttrValue::List(ListValue::Types(types))),
        }
    }
}

/// The name of a body's node or argument in what names one of its outputs.
pub fn first_part(name: &str) -> &str {
    name.split(':').next().unwrap_or(name)
}

/// How many tensors an argument is.
pub fn tensors(arg: &ArgDef, attributes: &[(Box<str>, AttrValue)]) -> usize {
    let find = |name: &str| attributes.iter().find(|(given, _)| &**given == name).map(|(_, value)| value);
    match (find(&arg.number_attr), find(&arg.type_list_attr)) {
        (Some(AttrValue::Int(count)), _) => usize::try_from(*count).unwrap_or(0),
        (_, Some(AttrValue::List(ListValue::Types(types)))) => types.len(),
        (_, Some(AttrValue::List(ListValue::Empty))) => 0,
        _ => 1,
    }
}

/// Bytes of the heap that a copy of a node takes.
pub fn node_bytes(node: &NodeDef) -> u64 {
    let text = |text: &str| block_bytes(text.len() as u64);
    let value = |value: &AttrValue| match value {
        AttrValue::Str(bytes) => block_bytes(bytes.len() as u64),
        AttrValue::List(list) => block_bytes(list.len() as u64 * 64),
        AttrValue::Func(function) => block_bytes(64) + function.attrs.len() as u64 * 128,
        AttrValue::Tensor(tensor) => {
            let content = match &tensor.content {
                TensorContent::Strings(texts) => texts.iter().map(|t| block_bytes(t.len() as u64 + 16)).sum(),
                TensorContent::File { .. } => 0,
                _ => tensor.present_bytes(),
            };
            block_bytes(128) + content
        }
        _ => 0,
    };
    let attrs =
        node.attrs.iter().map(|(name, v)| size_of::<(Box<str>, AttrValue)>() as u64 + text(name) + value(v));
    let inputs = node.inputs.iter().map(|input| size_of::<Box<str>>() as u64 + text(input));
    2 * size_of::<NodeDef>() as u64
        + text(&node.name)
        + text(&node.op)
        + attrs.sum::<u64>()
        + inputs.sum::<u64>()
}

#[cfg(test)]
mod tests;
