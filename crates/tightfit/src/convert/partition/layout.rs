//! A graph as parts are cut from it: its nodes in an order in which each comes after what it takes, and what each needs of
//! weights.

use std::collections::HashMap;

use tightfit_format::{AttrValue, GraphDef, NodeDef};
use tightfit_graph::import::split_name;

/// What a node is to parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It belongs to one part.
    Moved,
    /// A constant, or computed of such alone: every part that takes it has its own.
    Constant,
    /// The model is fed with it.
    Input,
}

/// A tensor: a node, and which of its outputs.
pub type Tensor = (usize, u32);

/// The nodes of a graph.
#[derive(Debug)]
pub struct Layout {
    /// What each takes, control edges aside.
    pub inputs: Vec<Vec<Tensor>>,
    /// What each waits for.
    pub waits: Vec<Vec<usize>>,
    pub kinds: Vec<Kind>,
    /// The moved nodes in order.
    pub order: Vec<usize>,
    /// Bytes of each constant.
    pub bytes: Vec<u64>,
    names: HashMap<Box<str>, usize>,
}

impl Layout {
    /// The graph of `def`, ordered for the tensors `roots`. The name of an input that is not there is the error.
    pub fn new(def: &GraphDef, roots: &[String]) -> Result<Layout, String> {
        let names: HashMap<Box<str>, usize> =
            def.nodes.iter().enumerate().map(|(index, node)| (node.name.clone(), index)).collect();
        let count = def.nodes.len();
        let (mut inputs, mut waits) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        for (index, node) in def.nodes.iter().enumerate() {
            for input in &node.inputs {
                let (name, output) = split_name(input.trim_start_matches('^'));
                let from = *names.get(name).ok_or_else(|| input.to_string())?;
                match input.starts_with('^') {
                    true => waits[index].push(from),
                    false => inputs[index].push((from, output)),
                }
            }
        }
        let mut layout = Layout {
            inputs,
            waits,
            kinds: vec![Kind::Moved; count],
            order: Vec::new(),
            bytes: vec![0; count],
            names,
        };
        let roots = roots.iter().map(|root| layout.find(root)).collect::<Result<Vec<_>, _>>()?;
        let all = layout.ordered(&roots, count);
        for index in &all {
            let node = &def.nodes[*index];
            layout.kinds[*index] = layout.kind(node, *index);
            if let (Kind::Constant, Some(AttrValue::Tensor(tensor))) =
                (layout.kinds[*index], node.attr("value"))
            {
                layout.bytes[*index] = tensor.bytes().unwrap_or(0);
            }
        }
        layout.order = all.into_iter().filter(|index| layout.kinds[*index] == Kind::Moved).collect();
        Ok(layout)
    }

    /// The node of a tensor's name.
    pub fn find(&self, tensor: &str) -> Result<usize, String> {
        self.names.get(split_name(tensor).0).copied().ok_or_else(|| tensor.to_string())
    }

    /// True where no node has the name.
    pub fn is_free(&self, name: &str) -> bool {
        !self.names.contains_key(name)
    }

    /// What `roots` need, each after what it takes; what a loop hands back to its beginning does not count.
    fn ordered(&self, roots: &[usize], count: usize) -> Vec<usize> {
        let mut order = Vec::with_capacity(count);
        let mut is_seen = vec![false; count];
        for root in roots {
            let mut stack = vec![(*root, 0)];
            while let Some((node, next)) = stack.pop() {
                if next == 0 && std::mem::replace(&mut is_seen[node], true) {
                    continue;
                }
                let data = self.inputs[node].get(next).map(|(from, _)| *from);
                let need = data
                    .or_else(|| self.waits[node].get(next.wrapping_sub(self.inputs[node].len())).copied());
                match need {
                    Some(need) => {
                        stack.push((node, next + 1));
                        if !is_seen[need] {
                            stack.push((need, 0));
                        }
                    }
                    None => order.push(node),
                }
            }
        }
        order
    }

    fn kind(&self, node: &NodeDef, index: usize) -> Kind {
        match &*node.op {
            "Placeholder" | "PlaceholderWithDefault" => return Kind::Input,
            "Const" => return Kind::Constant,
            _ => {}
        }
        let takes_constants = !self.inputs[index].is_empty()
            && self.inputs[index].iter().all(|(from, _)| self.kinds[*from] == Kind::Constant)
            && self.waits[index].iter().all(|from| self.kinds[*from] == Kind::Constant);
        let is_plain = !is_control_flow(&node.op)
            && ![
                "Random",
                "Variable",
                "Table",
                "TensorList",
                "TensorArray",
                "Queue",
                "Iterator",
                "Stack",
                "Call",
            ]
            .iter()
            .any(|word| node.op.contains(word))
            && !matches!(
                &*node.op,
                "While" | "StatelessWhile" | "If" | "StatelessIf" | "Case" | "StatelessCase"
            )
            && !matches!(&*node.op, "Multinomial" | "Print" | "PrintV2" | "Assert" | "NoOp" | "ReadFile");
        if takes_constants && is_plain { Kind::Constant } else { Kind::Moved }
    }

    /// The constants that a node takes, and all that those are computed of; each once. To wait for one means nothing.
    pub fn constants_of(&self, node: usize, is_seen: &mut [bool], each: &mut dyn FnMut(usize)) {
        let taken = |node: usize| self.inputs[node].iter().map(|(from, _)| *from);
        let mut stack: Vec<usize> = taken(node).filter(|from| self.kinds[*from] == Kind::Constant).collect();
        while let Some(constant) = stack.pop() {
            if !std::mem::replace(&mut is_seen[constant], true) {
                each(constant);
                stack.extend(taken(constant));
            }
        }
    }

    /// The nodes that a node takes or waits for.
    pub fn needs(&self, node: usize) -> impl Iterator<Item = usize> {
        self.inputs[node].iter().map(|(from, _)| *from).chain(self.waits[node].iter().copied())
    }
}

/// True for an operator of TensorFlow 1's loops and branches, which stay in one part.
pub fn is_control_flow(op: &str) -> bool {
    matches!(op, "Switch" | "Merge" | "Enter" | "Exit" | "NextIteration" | "LoopCond")
        || matches!(op, "RefSwitch" | "RefMerge" | "RefEnter" | "RefExit" | "RefNextIteration")
}
