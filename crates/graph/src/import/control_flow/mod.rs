//! TensorFlow 1's control flow as nodes with bodies: before a graph is imported, what Enter, Merge, Switch, NextIteration and
//! Exit make a loop becomes a While, and what Switch and Merge make a branch becomes an If, over functions of the nodes
//! between them.
//!
//! A *cone* is what some values need, up to where tensors come in from outside: the Switch and Merge of a loop's variables, the
//! Enter of what its turns do not change, the Switch of a branch. The nodes of a cone become a function, and what comes in its
//! arguments. What is no loop or branch of TensorFlow's stays as it is, and is refused by the name of its operators where
//! something needs it. The structure is that of TensorFlow's own functionalization
//! (<https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/tf2xla/functionalize_control_flow.h>).

mod branches;
mod loops;

use std::collections::{BTreeMap, HashMap, HashSet};

use tightfit_core::block_bytes;
use tightfit_format::{ArgDef, AttrValue, FunctionDef, GraphDef, NameAttrList, NodeDef};

use super::calls::{Library, node_bytes};
use super::{memory_error_of, split_name};
use crate::error::GraphError;

/// Bytes that the tables of names and marks take for each node.
const NODE_BYTES: u64 = 3 * (size_of::<(Box<str>, usize)>() as u64 + 1) + 16;

/// Makes loops and branches nodes with bodies. Functions are added to `library`.
///
/// # Errors
/// [`GraphError::Memory`] when the functions do not fit the budget beside the description.
pub fn structure(def: &mut GraphDef, library: &mut Library) -> Result<(), GraphError> {
    if !def.nodes.iter().any(|node| OPS.contains(&&*node.op)) {
        return Ok(());
    }
    let names: u64 = def.nodes.iter().map(|node| block_bytes(node.name.len() as u64)).sum();
    let bodies: u64 = def.nodes.iter().map(node_bytes).sum();
    let bytes = names + def.nodes.len() as u64 * NODE_BYTES + bodies;
    def.reservation.try_grow(bytes).map_err(|source| memory_error_of(def, source))?;
    let mut bodies = Vec::new();
    let mut nodes = Nodes::new(std::mem::take(&mut def.nodes), 0);
    loops::convert(&mut nodes, &mut bodies);
    branches::convert(&mut nodes, &mut bodies);
    def.nodes = nodes.finish();
    // Branches within the bodies of loops.
    while let Some(mut function) = bodies.pop() {
        let mut nodes = Nodes::new(std::mem::take(&mut function.nodes), function.input_args.len());
        branches::convert(&mut nodes, &mut bodies);
        function.nodes = nodes.finish();
        library.insert(function.name.clone(), function);
    }
    Ok(())
}

/// The operators that it makes While and If of.
pub const OPS: &[&str] = &[
    "Enter",
    "RefEnter",
    "Exit",
    "RefExit",
    "LoopCond",
    "Merge",
    "RefMerge",
    "NextIteration",
    "RefNextIteration",
    "Switch",
    "RefSwitch",
];

/// An input as a node names it: control edge or not, node and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Input {
    is_control: bool,
    node: usize,
    output: u32,
}

/// The nodes of a graph or a function while their structure changes.
struct Nodes {
    all: Vec<NodeDef>,
    names: HashMap<Box<str>, usize>,
    /// Nodes that have become part of a body: they go unless something else still needs them.
    moved: HashSet<usize>,
}

/// Where tensors come into a cone: for an output of a node, the number of the argument that it is.
type Arguments = BTreeMap<(usize, u32), usize>;

/// The operator of a stand-in for a function's argument.
const ARGUMENT: &str = "_Argument";

impl Nodes {
    /// The nodes of a graph, or of a function with so many arguments.
    fn new(mut all: Vec<NodeDef>, arguments: usize) -> Nodes {
        let stand_in =
            |number| NodeDef { name: argument(number).into(), op: ARGUMENT.into(), ..NodeDef::default() };
        all.extend((0..arguments).map(stand_in));
        let names = all.iter().enumerate().map(|(index, node)| (node.name.clone(), index)).collect();
        Nodes { all, names, moved: HashSet::new() }
    }

    /// The nodes, without those that were moved into bodies and that nobody needs any more.
    fn finish(self) -> Vec<NodeDef> {
        let mut stack: Vec<usize> = (0..self.all.len()).filter(|index| !self.moved.contains(index)).collect();
        let mut is_needed = vec![false; self.all.len()];
        while let Some(index) = stack.pop() {
            if !std::mem::replace(&mut is_needed[index], true) {
                stack.extend(self.inputs(index).map(|input| input.node));
            }
        }
        let mut is_needed = is_needed.into_iter();
        let mut all = self.all;
        all.retain(|node| is_needed.next() == Some(true) && &*node.op != ARGUMENT);
        all
    }

    fn op(&self, index: usize) -> &str {
        &self.all[index].op
    }

    /// What an input names; `None` where there is no such node.
    fn input(&self, name: &str) -> Option<Input> {
        let is_control = name.starts_with('^');
        let name = name.trim_start_matches('^');
        let (node, output) = split_name(name);
        // Within functions an output has a name too, as in `add:z:0`: no operator of control flow has two of them.
        let node = node.split(':').next().unwrap_or(node);
        Some(Input { is_control, node: self.names.get(node).copied()?, output })
    }

    fn inputs(&self, index: usize) -> impl Iterator<Item = Input> + '_ {
        self.all[index].inputs.iter().filter_map(|name| self.input(name))
    }

    /// An input of a node that is a tensor.
    fn tensor(&self, index: usize, input: usize) -> Option<Input> {
        let name = self.all[index].inputs.get(input)?;
        self.input(name).filter(|input| !input.is_control)
    }

    fn add(&mut self, node: NodeDef) {
        self.names.insert(node.name.clone(), self.all.len());
        self.all.push(node);
    }

    /// A name that no node has, from `name` on.
    fn free_name(&self, name: &str) -> String {
        let numbered = (1..).map(|n| format!("{name}_{n}"));
        std::iter::once(name.to_string())
            .chain(numbered)
            .find(|name| !self.names.contains_key(&**name))
            .unwrap_or_default()
    }

    /// The nodes that `values` need, up to the arguments. Control edges lead on as well, but those from what has become an
    /// argument: what stands there is given. `None` for a cone with a loop in it that is no node yet.
    fn cone(&self, values: &[Input], arguments: &Arguments) -> Option<Vec<usize>> {
        let given: HashSet<usize> = arguments.keys().map(|(node, _)| *node).collect();
        let mut seen = HashSet::new();
        let mut stack: Vec<Input> = values.to_vec();
        while let Some(input) = stack.pop() {
            if arguments.contains_key(&(input.node, input.output))
                || (input.is_control && given.contains(&input.node))
            {
                continue;
            }
            match self.op(input.node) {
                "Exit" | "RefExit" | "Enter" | "RefEnter" | "NextIteration" | "RefNextIteration" => {
                    return None;
                }
                "Merge" | "RefMerge" if self.is_of_loop(input.node) => return None,
                "LoopCond" if input.is_control => continue,
                ARGUMENT => continue,
                _ => {}
            }
            if seen.insert(input.node) {
                stack.extend(self.inputs(input.node));
            }
        }
        let mut nodes: Vec<usize> = seen.into_iter().collect();
        nodes.sort_unstable();
        Some(nodes)
    }

    /// True for a Merge that begins the turns of a loop.
    fn is_of_loop(&self, merge: usize) -> bool {
        let mut ops = self.inputs(merge).map(|input| self.op(input.node));
        ops.any(|op| matches!(op, "Enter" | "RefEnter" | "NextIteration" | "RefNextIteration"))
    }

    /// A function of the nodes of a cone: what it is given and returns.
    fn function(
        &self,
        name: &str,
        cone: &[usize],
        count: usize,
        arguments: &Arguments,
        values: &[Input],
    ) -> FunctionDef {
        let in_cone: HashSet<usize> = cone.iter().copied().collect();
        let named = |input: Input| -> Option<Box<str>> {
            if let Some(number) = arguments.get(&(input.node, input.output)).filter(|_| !input.is_control) {
                return Some(argument(*number).into());
            }
            let name = &self.all[input.node].name;
            match (input.is_control, input.output) {
                (true, _) => in_cone.contains(&input.node).then(|| format!("^{name}").into()),
                (false, 0) => Some(name.clone()),
                (false, output) => Some(format!("{name}:{output}").into()),
            }
        };
        let copy = |index: &usize| {
            let node = &self.all[*index];
            let rename = |name: &str| match self.input(name) {
                None => Some(name.into()),
                Some(input) => named(input),
            };
            NodeDef { inputs: node.inputs.iter().filter_map(|name| rename(name)).collect(), ..node.clone() }
        };
        let arg = |number: usize| ArgDef { name: argument(number).into(), ..ArgDef::default() };
        let returned = |number: usize| -> Box<str> { format!("result{number}").into() };
        let rets = values.iter().enumerate();
        let ret = rets.filter_map(|(number, value)| Some((returned(number), named(*value)?))).collect();
        FunctionDef {
            name: name.into(),
            input_args: (0..count).map(arg).collect(),
            output_args: (0..values.len())
                .map(|number| ArgDef { name: returned(number), ..ArgDef::default() })
                .collect(),
            nodes: cone.iter().map(copy).collect(),
            ret,
            ..FunctionDef::default()
        }
    }
}

/// The name of a function's argument.
fn argument(number: usize) -> String {
    format!("argument{number}")
}

/// An attribute that names a function.
fn calls(attribute: &str, function: &FunctionDef) -> (Box<str>, AttrValue) {
    let function = NameAttrList { name: function.name.clone(), attrs: Vec::new() };
    (attribute.into(), AttrValue::Func(Box::new(function)))
}
