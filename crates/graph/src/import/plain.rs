//! A description without calls and without variables that only are read, and of it what is wanted: what import makes a graph
//! of, and what can be written as a frozen GraphDef.

use tightfit_core::MemoryBudget;
use tightfit_format::{AttrValue, FunctionDef, GraphDef, ListValue, NodeDef};

use super::variables::Graph;
use super::{ImportOptions, calls, captures, fused, similar, split_name, variables};
use crate::error::GraphError;

/// A tensor that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What the caller calls it.
    pub name: String,
    /// Its name in the graph.
    pub tensor: String,
}

/// Makes plain nodes of calls and of the variables that only are read. With `with_initial` others say what they are before
/// the first run.
///
/// # Errors
/// As [`super::import`].
pub(super) fn prepare(
    def: &mut GraphDef,
    options: &ImportOptions,
    budget: &MemoryBudget,
    with_initial: bool,
) -> Result<(), GraphError> {
    calls::inline(def, options)?;
    fused::take_apart(def)?;
    variables::freeze(def, options, budget, with_initial)
}

/// Leaves of a description what the fetched tensors need, as plain nodes: bodies of functions in the place of calls,
/// constants whose bytes stay in their checkpoint in the place of variables. Functions stay that nodes name otherwise.
/// Returns the fetched tensors.
///
/// # Errors
/// As [`super::import`], but for operators that cannot be run here: those are kept.
pub fn plain(
    def: &mut GraphDef,
    options: &ImportOptions,
    budget: &MemoryBudget,
) -> Result<Vec<Fetched>, GraphError> {
    let (options, shown) = options.ports.resolve(options);
    calls::inline(def, &options)?;
    fused::take_apart(def)?;
    captures::give_values(def, &options)?;
    variables::freeze(def, &options, budget, false)?;
    let graph = Graph::new(def)?;
    for tensor in &options.fetches {
        let name = split_name(tensor).0;
        if graph.find(name).is_none() {
            return Err(GraphError::NoSuchTensor {
                asked_by: "--fetch".to_string(),
                name: tensor.clone(),
                similar: similar(name, def.nodes.iter().map(|node| &*node.name)),
            });
        }
    }
    // An input that no output needs is one all the same: callers feed it.
    let inputs = options.ports.inputs.iter().filter(|_| options.ports.are_fed).map(|(tensor, _)| tensor);
    let inputs = inputs.filter(|tensor| {
        let node = graph.find(split_name(tensor).0).map(|index| &def.nodes[index]);
        node.is_some_and(|node| node.inputs.is_empty())
    });
    let roots = options.fetches.iter().chain(&options.keep).chain(inputs);
    let needed = graph.reachable(roots.map(String::as_str), options.fetches.is_empty());
    drop(graph);
    let mut marks = needed.into_iter();
    def.nodes.retain(|_| marks.next().unwrap_or(false));
    keep_functions(def);
    let fetched = shown.into_iter().zip(options.fetches);
    Ok(fetched.map(|(name, tensor)| Fetched { name, tensor }).collect())
}

/// Leaves the functions that nodes name, and those that these name. They are in the order of their names, as inlining has
/// left them.
fn keep_functions(def: &mut GraphDef) {
    let mut marks = named_functions(def, &def.nodes).into_iter();
    def.functions.retain(|_| marks.next().unwrap_or(false));
}

/// Calls `each` with the functions of `def` that `nodes` name, and those that these name.
pub fn functions_of<'d>(def: &'d GraphDef, nodes: &[NodeDef], each: &mut dyn FnMut(&'d FunctionDef)) {
    let marks = named_functions(def, nodes);
    def.functions
        .iter()
        .zip(marks)
        .filter(|(_, is_named)| *is_named)
        .for_each(|(function, _)| each(function));
}

fn named_functions(def: &GraphDef, nodes: &[NodeDef]) -> Vec<bool> {
    let mut is_named = vec![false; def.functions.len()];
    let named = |functions: &[FunctionDef], is_named: &mut Vec<bool>, nodes: &[NodeDef]| {
        let mut new = Vec::new();
        for_each_function(nodes, &mut |name| {
            if let Ok(index) = functions.binary_search_by(|function| (*function.name).cmp(name))
                && !std::mem::replace(&mut is_named[index], true)
            {
                new.push(index);
            }
        });
        new
    };
    let mut stack = named(&def.functions, &mut is_named, nodes);
    while let Some(index) = stack.pop() {
        stack.extend(named(&def.functions, &mut is_named, &def.functions[index].nodes));
    }
    is_named
}

/// Calls `each` with every function that nodes name, as operator or in an attribute.
fn for_each_function(nodes: &[NodeDef], each: &mut dyn FnMut(&str)) {
    for node in nodes {
        each(&node.op);
        for (_, value) in &node.attrs {
            match value {
                AttrValue::Func(function) => each(&function.name),
                AttrValue::List(ListValue::Funcs(functions)) => {
                    functions.iter().for_each(|function| each(&function.name));
                }
                _ => {}
            }
        }
    }
}
