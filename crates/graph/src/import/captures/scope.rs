//! What the names of inputs mean, in a graph and in a function.

use std::collections::HashMap;

use tightfit_format::{FunctionDef, NodeDef};

use super::super::calls::tensors;
use super::super::split_name;
use super::super::variables::Graph;
use crate::signature;

/// Where a tensor comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    Argument(usize),
    Output(usize, usize),
}

/// Nodes whose inputs are looked up.
pub trait Scope {
    fn nodes(&self) -> &[NodeDef];
    fn source(&self, input: &str) -> Option<Source>;
}

pub struct GraphScope<'d> {
    pub graph: Graph<'d>,
    pub nodes: &'d [NodeDef],
}

impl Scope for GraphScope<'_> {
    fn nodes(&self) -> &[NodeDef] {
        self.nodes
    }

    fn source(&self, input: &str) -> Option<Source> {
        let (name, output) = split_name(input);
        Some(Source::Output(self.graph.find(name)?, output as usize))
    }
}

pub struct FunctionScope<'d> {
    function: &'d FunctionDef,
    functions: &'d [FunctionDef],
    library: &'d HashMap<Box<str>, usize>,
    nodes: HashMap<&'d str, usize>,
    arguments: HashMap<&'d str, usize>,
}

impl<'d> FunctionScope<'d> {
    pub fn new(
        function: &'d FunctionDef,
        functions: &'d [FunctionDef],
        library: &'d HashMap<Box<str>, usize>,
    ) -> Self {
        let nodes = function.nodes.iter().enumerate().map(|(index, node)| (&*node.name, index)).collect();
        let arguments = function.input_args.iter().enumerate();
        let arguments = arguments.map(|(index, arg)| (&*arg.name, index)).collect();
        FunctionScope { function, functions, library, nodes, arguments }
    }
}

impl Scope for FunctionScope<'_> {
    fn nodes(&self) -> &[NodeDef] {
        &self.function.nodes
    }

    fn source(&self, input: &str) -> Option<Source> {
        let mut parts = input.split(':');
        let name = parts.next()?;
        if let Some(argument) = self.arguments.get(name) {
            return Some(Source::Argument(*argument));
        }
        let index = *self.nodes.get(name)?;
        let node = self.function.nodes.get(index)?;
        let first = match parts.next() {
            None => 0,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                return Some(Source::Output(index, digits.parse().ok()?));
            }
            Some(output) => match self.library.get(&node.op).and_then(|at| self.functions.get(*at)) {
                Some(callee) => {
                    let before = callee.output_args.iter().take_while(|arg| &*arg.name != output);
                    before.map(|arg| tensors(arg, &node.attrs)).sum()
                }
                None => signature::first_output(node, output).unwrap_or(0),
            },
        };
        let more = parts.next().map_or(Some(0), |number| number.parse::<usize>().ok())?;
        Some(Source::Output(index, first.checked_add(more)?))
    }
}

/// A function whose names have been looked up.
pub struct Resolved<'d> {
    function: &'d FunctionDef,
    sources: HashMap<&'d str, Source>,
}

impl<'d> Resolved<'d> {
    pub fn new(function: &'d FunctionDef, sources: Vec<Vec<Option<Source>>>) -> Self {
        let of_node = |(node, sources): (&'d NodeDef, Vec<Option<Source>>)| {
            let named = node.inputs.iter().zip(sources);
            named.filter_map(|(input, source)| Some((&**input, source?))).collect::<Vec<_>>()
        };
        let sources = function.nodes.iter().zip(sources).flat_map(of_node).collect();
        Resolved { function, sources }
    }
}

impl Scope for Resolved<'_> {
    fn nodes(&self) -> &[NodeDef] {
        &self.function.nodes
    }

    fn source(&self, input: &str) -> Option<Source> {
        self.sources.get(input).copied()
    }
}
