//! What is wanted of a file, and the nodes that this needs.

use std::borrow::Cow;

use tightfit_core::block_bytes;

use super::kinds::is_result;
use super::{Importer, asked_by_node, split_name};
use crate::error::{A_FEED, A_FETCH, GraphError};
use crate::infer::graph_memory_error;
use crate::ir::Port;

impl<'a> Importer<'a> {
    /// The tensors to compute: those that are asked for, or what nobody in the graph uses.
    pub(super) fn fetches(&mut self) -> Result<Cow<'a, [String]>, GraphError> {
        if !self.options.fetches.is_empty() {
            return Ok(Cow::Borrowed(&self.options.fetches));
        }
        let sinks = self.sinks();
        let name_bytes = |index: &usize| block_bytes(self.def.nodes[*index].name.len() as u64);
        // As the name that is asked for, and once more in the graph.
        let names = sinks.iter().map(name_bytes).sum::<u64>();
        let bytes = 2 * (names + (sinks.len() * size_of::<Port>()) as u64);
        let room =
            self.graph.memory().room(bytes).map_err(|source| graph_memory_error(&self.graph, source))?;
        let names = sinks.into_iter().map(|index| self.def.nodes[index].name.to_string()).collect();
        // From here on the graph's own count has them.
        drop(room);
        Ok(Cow::Owned(names))
    }

    /// The nodes that compute something nobody in the graph uses.
    fn sinks(&self) -> Vec<usize> {
        let mut used = vec![false; self.def.nodes.len()];
        for node in &self.def.nodes {
            for input in node.inputs.iter().filter(|i| !i.starts_with('^')) {
                if let Some(index) = self.find(split_name(input).0) {
                    used[index] = true;
                }
            }
        }
        let nodes = self.def.nodes.iter().zip(used).enumerate();
        nodes.filter(|(_, (node, used))| !used && is_result(&node.op)).map(|(index, _)| index).collect()
    }

    /// The nodes that the fetches need, each after all it needs. Counts the users of each.
    pub(super) fn needed(&mut self, fetches: &[String], roots: &[usize]) -> Result<Vec<usize>, GraphError> {
        let mut is_done: Vec<Option<bool>> = vec![None; self.def.nodes.len()];
        let mut order = Vec::with_capacity(self.def.nodes.len());
        let mut stack = Vec::new();
        let mut has_loop = false;
        let named = fetches.iter().map(|name| (name, A_FETCH));
        let named = named.chain(self.options.feeds.iter().map(|name| (name, A_FEED)));
        let named = named.map(|(name, asked_by)| self.index(split_name(name).0, || asked_by.into()));
        let roots: Vec<usize> = named.chain(roots.iter().copied().map(Ok)).collect::<Result<_, _>>()?;
        for root in roots {
            stack.push((root, 0));
            while let Some((index, next)) = stack.pop() {
                if next == 0 && is_done[index].is_some() {
                    continue;
                }
                is_done[index] = Some(false);
                let node = &self.def.nodes[index];
                let inputs: &[Box<str>] = if self.is_fed[index] { &[] } else { &node.inputs };
                let Some(input) = inputs.get(next) else {
                    is_done[index] = Some(true);
                    order.push(index);
                    continue;
                };
                stack.push((index, next + 1));
                let need = self.index(split_name(input.trim_start_matches('^')).0, || asked_by_node(node))?;
                match is_done[need] {
                    None => stack.push((need, 0)),
                    // Once there is a loop the graph cannot be run, and the error says why.
                    Some(false) if !has_loop => {
                        has_loop = self.is_loop(&stack, need);
                        if !has_loop {
                            return Err(GraphError::Cycle { node: node.name.to_string() });
                        }
                    }
                    Some(_) => {}
                }
                if !input.starts_with('^') {
                    self.users[need] += 1;
                }
            }
        }
        Ok(order)
    }

    /// True when the way from `need` to the end of `stack` is a loop of TF1's control flow, which is no cycle.
    fn is_loop(&self, stack: &[(usize, usize)], need: usize) -> bool {
        let way = stack.iter().rev().take_while(|(index, _)| *index != need).map(|(index, _)| *index);
        way.chain([need]).any(|index| &*self.def.nodes[index].op == "NextIteration")
    }
}
