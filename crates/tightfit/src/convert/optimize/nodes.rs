//! A list of nodes that passes change: who takes what, and what is left out.

use std::collections::{HashMap, HashSet};

use tightfit_format::{AttrValue, NodeDef, TensorDef};
use tightfit_graph::Operators;
use tightfit_graph::import::split_name;

/// Operators that hand on their first input, and mean something only while a model is trained or looked into.
const PASSES: [&str; 5] = ["Identity", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot"];

/// The nodes of a graph.
pub struct Nodes {
    list: Vec<NodeDef>,
    names: HashMap<Box<str>, usize>,
    /// Names that stay: what is fed, fetched and run first.
    kept: HashSet<String>,
    /// Operators beside those that are built in.
    operators: Operators,
}

impl Nodes {
    pub fn new(list: Vec<NodeDef>, kept: HashSet<String>, operators: Operators) -> Nodes {
        let mut nodes = Nodes { list, names: HashMap::new(), kept, operators };
        nodes.find_names();
        nodes
    }

    pub fn into_list(self) -> Vec<NodeDef> {
        self.list
    }

    pub fn list(&self) -> &[NodeDef] {
        &self.list
    }

    /// True for a node that may differ from run to run, or that does more than give its outputs.
    pub fn has_effect(&self, node: &NodeDef) -> bool {
        self.operators.has_effect(node).unwrap_or_else(|| has_effect(&node.op))
    }

    pub fn node_mut(&mut self, index: usize) -> &mut NodeDef {
        &mut self.list[index]
    }

    fn find_names(&mut self) {
        self.names = self.list.iter().enumerate().map(|(index, node)| (node.name.clone(), index)).collect();
    }

    /// The node that an input names.
    pub fn find(&self, input: &str) -> Option<usize> {
        self.names.get(split_name(input.trim_start_matches('^')).0).copied()
    }

    pub fn is_kept(&self, index: usize) -> bool {
        self.kept.contains(&*self.list[index].name)
    }

    /// Adds a node whose name is free, or gets a number after it. Returns its name.
    pub fn add(&mut self, mut node: NodeDef) -> Box<str> {
        let wanted = node.name.clone();
        let numbered = (1..).map(|n| format!("{wanted}_{n}").into_boxed_str());
        let free =
            std::iter::once(wanted.clone()).chain(numbered).find(|name| !self.names.contains_key(name));
        node.name = free.unwrap_or_default();
        let name = node.name.clone();
        self.names.insert(name.clone(), self.list.len());
        self.list.push(node);
        name
    }

    /// For each node how often others take it, with control edges, and once more where it is kept.
    pub fn users(&self) -> Vec<usize> {
        let mut users: Vec<usize> =
            (0..self.list.len()).map(|index| usize::from(self.is_kept(index))).collect();
        for input in self.list.iter().flat_map(|node| &node.inputs) {
            if let Some(index) = self.find(input) {
                users[index] += 1;
            }
        }
        users
    }

    /// The constant that an input is, after nodes that hand it on.
    pub fn constant(&self, input: &str) -> Option<(usize, &TensorDef)> {
        let mut index = self.find(input).filter(|_| !input.starts_with('^') && split_name(input).1 == 0)?;
        for _ in 0..self.list.len() {
            let node = &self.list[index];
            match (&*node.op, node.attr("value")) {
                ("Const", Some(AttrValue::Tensor(tensor))) => return Some((index, tensor)),
                ("Identity", _) => index = self.find(node.inputs.first()?)?,
                _ => return None,
            }
        }
        None
    }

    /// Whether the graph has loops or branches of TensorFlow 1, in which a control edge says where a node belongs.
    pub fn has_control_flow(&self) -> bool {
        self.list.iter().any(|node| is_control_flow(&node.op))
    }

    /// Leaves out what nothing that is kept needs.
    pub fn strip(&mut self) -> usize {
        let mut is_needed = vec![false; self.list.len()];
        let mut stack: Vec<usize> = (0..self.list.len()).filter(|index| self.is_kept(*index)).collect();
        while let Some(index) = stack.pop() {
            if !std::mem::replace(&mut is_needed[index], true) {
                stack.extend(self.list[index].inputs.iter().filter_map(|input| self.find(input)));
            }
        }
        let before = self.list.len();
        let mut marks = is_needed.into_iter();
        self.list.retain(|_| marks.next().unwrap_or(false));
        self.find_names();
        before - self.list.len()
    }

    /// Gives what takes an output of these nodes another tensor instead, and what waits for them that one's node. A new
    /// input may be that of another node of the table.
    pub fn replace(&mut self, instead: &HashMap<(Box<str>, u32), Box<str>>) {
        let resolve = |input: &str| {
            let mut found: Option<&Box<str>> = None;
            let mut next = input;
            for _ in 0..=instead.len() {
                let (name, output) = split_name(next);
                match instead.get(&(name.into(), output)) {
                    Some(other) => {
                        found = Some(other);
                        next = other;
                    }
                    None => break,
                }
            }
            found.cloned()
        };
        for node in &mut self.list {
            let mut is_doubled = false;
            for input in &mut node.inputs {
                match input.strip_prefix('^') {
                    Some(name) => {
                        if let Some(other) = resolve(name) {
                            *input = format!("^{}", split_name(&other).0).into();
                            is_doubled = true;
                        }
                    }
                    None => {
                        if let Some(other) = resolve(input) {
                            *input = other;
                        }
                    }
                }
            }
            if is_doubled {
                let mut seen = HashSet::new();
                node.inputs.retain(|input| !input.starts_with('^') || seen.insert(input.clone()));
            }
        }
    }

    /// Leaves out nodes that hand on what they are given. After a branch an Identity says which side was taken, and one
    /// that waits for others makes what takes it wait.
    pub fn remove_passes(&mut self) -> usize {
        let mut instead = HashMap::new();
        for (index, node) in self.list.iter().enumerate() {
            let Some(first) = node.inputs.first().filter(|input| !input.starts_with('^')) else { continue };
            let is_pass = PASSES.contains(&&*node.op) && node.inputs.len() == 1;
            let from = self.find(first).map(|index| &self.list[index]);
            let is_plain = from.is_some_and(|from| !is_control_flow(&from.op) && *from.name != *node.name);
            if is_pass && is_plain && !self.is_kept(index) {
                instead.insert((node.name.clone(), 0), first.clone());
            }
        }
        self.replace(&instead);
        let removed = instead.len();
        self.strip();
        removed
    }

    /// Leaves out control edges to what has no effect, and nodes that only had such.
    pub fn remove_control(&mut self) -> usize {
        if self.has_control_flow() {
            return 0;
        }
        let mut removed = 0;
        loop {
            let has_no_effect: HashSet<Box<str>> = self
                .list
                .iter()
                .filter(|node| match &*node.op {
                    "Const" | "Identity" | "Placeholder" | "PlaceholderWithDefault" => {
                        node.inputs.iter().all(|input| !input.starts_with('^'))
                    }
                    "NoOp" => node.inputs.is_empty(),
                    _ => false,
                })
                .map(|node| node.name.clone())
                .collect();
            let mut changed = 0;
            for node in &mut self.list {
                let before = node.inputs.len();
                node.inputs
                    .retain(|input| input.strip_prefix('^').is_none_or(|name| !has_no_effect.contains(name)));
                changed += before - node.inputs.len();
            }
            removed += changed;
            if changed == 0 {
                return removed;
            }
        }
    }

    /// Puts every node after those that it takes; what a loop hands back comes where it may.
    pub fn sort(&mut self) -> usize {
        let count = self.list.len();
        let mut order = Vec::with_capacity(count);
        let mut is_seen = vec![false; count];
        for root in 0..count {
            let mut stack = vec![(root, 0)];
            while let Some((index, next)) = stack.pop() {
                if next == 0 && std::mem::replace(&mut is_seen[index], true) {
                    continue;
                }
                let node = &self.list[index];
                match node.inputs.get(next) {
                    Some(input) => {
                        stack.push((index, next + 1));
                        // The way back into a loop.
                        let is_back = &*node.op == "Merge" && next > 0;
                        stack.extend(self.find(input).filter(|i| !is_back && !is_seen[*i]).map(|i| (i, 0)));
                    }
                    None => order.push(index),
                }
            }
        }
        let moved = order.iter().enumerate().filter(|(at, index)| at != *index).count();
        let mut list: Vec<Option<NodeDef>> = std::mem::take(&mut self.list).into_iter().map(Some).collect();
        self.list = order.into_iter().filter_map(|index| list[index].take()).collect();
        self.find_names();
        moved
    }
}

/// True for an operator of TensorFlow 1's loops and branches.
pub fn is_control_flow(op: &str) -> bool {
    matches!(
        op.trim_start_matches("Ref"),
        "Switch" | "Merge" | "Enter" | "Exit" | "NextIteration" | "LoopCond"
    )
}

/// True for an operator of which two with the same inputs may compute different things, or do something besides.
fn has_effect(op: &str) -> bool {
    let words = [
        "Random",
        "Variable",
        "Table",
        "TensorList",
        "TensorArray",
        "Queue",
        "Iterator",
        "Stack",
        "Call",
        "Dataset",
        "Assert",
        "Print",
        "Save",
        "Restore",
        "Read",
        "Write",
        "Assign",
        "PyFunc",
        "Rng",
        "Barrier",
        "Placeholder",
        "Stateful",
        "Summary",
        "Lookup",
        "Dropout",
    ];
    is_control_flow(op)
        || words.iter().any(|word| op.contains(word))
        || matches!(
            op,
            "While"
                | "If"
                | "Case"
                | "Multinomial"
                | "NoOp"
                | "VarHandleOp"
                | "EmptyTensorList"
                | "ImmutableConst"
        )
}
