//! Names of nodes for tensors: TensorFlow Lite's own, as far as a graph can have them.
//!
//! In a graph `name:1` is output 1 of the node `name`, and a name belongs to one node. So `y:0` is the node `y`, and another
//! tensor of a name that is taken, or that would be an output's, gets one of its own.

use std::collections::HashMap;

use tightfit_format::tflite::SubGraph;

use crate::import::split_name;

/// The names of nodes, and what each tensor is in the graph.
#[derive(Debug, Default)]
pub struct Names {
    /// Each with the number that is put after it where it is wanted again.
    taken: HashMap<Box<str>, u32>,
    /// For each tensor the node output that it is, once that has been made.
    pub values: Vec<Option<Box<str>>>,
}

impl Names {
    /// The names of a graph in which nothing has been made.
    pub fn new(graph: &SubGraph) -> Names {
        Names { taken: HashMap::new(), values: vec![None; graph.tensors.len()] }
    }

    /// The output that a tensor is; empty for one that is not there.
    pub fn reference(&self, tensor: u32) -> Box<str> {
        self.values.get(tensor as usize).cloned().flatten().unwrap_or_default()
    }

    /// A name for a node that is `wanted`, as nearly as can be.
    pub fn free(&mut self, wanted: &str) -> Box<str> {
        let base = match split_name(wanted) {
            (base, 0) if base.len() < wanted.len() => base.to_string(),
            (base, output) if base.len() < wanted.len() => format!("{base}_{output}"),
            _ => wanted.to_string(),
        };
        // A colon is after a node's name, and a name after `^` is a control edge.
        let base = match base.trim_start_matches('^').replace(':', "_") {
            base if base.is_empty() => "unnamed".to_string(),
            base => base,
        };
        let mut name: Box<str> = base.as_str().into();
        while self.taken.contains_key(&name) {
            let Some(number) = self.taken.get_mut(&*base) else { break };
            *number += 1;
            name = format!("{base}_{number}").into();
        }
        self.taken.insert(name.clone(), 0);
        name
    }

    /// Gives a name back that its node does not have any more.
    pub fn release(&mut self, name: &str) {
        self.taken.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_free_and_no_outputs() {
        let mut names = Names::default();
        let wanted = ["y:0", "y", "y:1", "^c", "", "a/b;c/d", "x:0:0"];
        let given = wanted.map(|name| names.free(name));
        assert_eq!(given.map(String::from), ["y", "y_1", "y_1_1", "c", "unnamed", "a/b;c/d", "x_0"]);
    }
}
