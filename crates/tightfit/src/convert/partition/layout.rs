//! A graph as parts are cut from it: its nodes in an order in which each comes after what it takes, and what each needs of
//! weights.

use std::collections::{HashMap, HashSet};

use tightfit_format::{AttrValue, GraphDef, NodeDef};
use tightfit_graph::import::{PortNames, split_name};

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
    /// What fills tables.
    pub fillers: Fillers,
    /// Tables, and handles of them that went through an Identity.
    is_table: Vec<bool>,
    names: HashMap<Box<str>, usize>,
}

impl Layout {
    /// The graph of `def`, ordered for the tensors `roots`, whose tables are filled by what `initializers` name. What has a
    /// default is an input where `ports` name it, or nothing.
    ///
    /// # Errors
    /// An input that is not there, or a table that is filled with more than constants.
    pub fn new(
        def: &GraphDef,
        roots: &[String],
        initializers: &[String],
        ports: &PortNames,
    ) -> Result<Layout, String> {
        let names: HashMap<Box<str>, usize> =
            def.nodes.iter().enumerate().map(|(index, node)| (node.name.clone(), index)).collect();
        let count = def.nodes.len();
        let (mut inputs, mut waits) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        for (index, node) in def.nodes.iter().enumerate() {
            for input in &node.inputs {
                let (name, output) = split_name(input.trim_start_matches('^'));
                let from = *names.get(name).ok_or_else(|| missing(input))?;
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
            fillers: Fillers::default(),
            is_table: vec![false; count],
            names,
        };
        let found =
            |names: &[String]| names.iter().map(|name| layout.find(name)).collect::<Result<Vec<_>, _>>();
        let (all, filling) = (found(roots)?, found(initializers)?);
        let (all, filling) = (layout.ordered(&all, count), layout.ordered(&filling, count));
        for index in filling.iter().chain(&all) {
            let node = &def.nodes[*index];
            layout.is_table[*index] = layout.is_table(node, *index);
            layout.kinds[*index] = layout.kind(node, *index, ports);
            if let (Kind::Constant, Some(AttrValue::Tensor(tensor))) =
                (layout.kinds[*index], node.attr("value"))
            {
                layout.bytes[*index] = tensor.bytes().unwrap_or(0);
            }
        }
        layout.fillers = Fillers::of(def, &layout, &filling)?;
        layout.order = all.into_iter().filter(|index| layout.kinds[*index] == Kind::Moved).collect();
        Ok(layout)
    }

    /// The node of a tensor's name.
    pub fn find(&self, tensor: &str) -> Result<usize, String> {
        self.names.get(split_name(tensor).0).copied().ok_or_else(|| missing(tensor))
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

    fn is_table(&self, node: &NodeDef, index: usize) -> bool {
        let takes_table = || self.inputs[index].first().is_some_and(|(from, _)| self.is_table[*from]);
        matches!(&*node.op, "HashTable" | "HashTableV2") || (&*node.op == "Identity" && takes_table())
    }

    fn kind(&self, node: &NodeDef, index: usize, ports: &PortNames) -> Kind {
        let is_named = || ports.inputs.is_empty() || ports.input_key(&node.name).is_some();
        match &*node.op {
            "Placeholder" => return Kind::Input,
            "PlaceholderWithDefault" if is_named() => return Kind::Input,
            // A table that is filled once is the same in every part.
            "Const" => return Kind::Constant,
            _ if self.is_table[index] => return Kind::Constant,
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

    /// The constants that a node takes, and all that those are computed of, and what fills tables among them; each once. To
    /// wait for one means nothing.
    pub fn constants_of(&self, node: usize, is_seen: &mut [bool], each: &mut dyn FnMut(usize)) {
        let taken = |node: usize| self.inputs[node].iter().map(|(from, _)| *from);
        let mut stack: Vec<usize> = taken(node).filter(|from| self.kinds[*from] == Kind::Constant).collect();
        while let Some(constant) = stack.pop() {
            if !std::mem::replace(&mut is_seen[constant], true) {
                each(constant);
                stack.extend(taken(constant));
                stack.extend(self.fillers.of_table.get(&constant).into_iter().flatten());
            }
        }
    }

    /// What an Identity, or a row of them, hands on.
    pub fn source(&self, def: &GraphDef, mut node: usize) -> usize {
        for _ in 0..self.inputs.len() {
            match (&*def.nodes[node].op, self.inputs[node].first()) {
                ("Identity", Some((from, _))) => node = *from,
                _ => break,
            }
        }
        node
    }

    /// The nodes that a node takes or waits for.
    pub fn needs(&self, node: usize) -> impl Iterator<Item = usize> {
        self.inputs[node].iter().map(|(from, _)| *from).chain(self.waits[node].iter().copied())
    }
}

/// The nodes that fill tables.
#[derive(Debug, Default)]
pub struct Fillers {
    /// Those of each table.
    of_table: HashMap<usize, Vec<usize>>,
    /// What each takes besides the table, with what that is computed of.
    contents: HashSet<usize>,
}

impl Fillers {
    /// Those among `nodes`.
    fn of(def: &GraphDef, layout: &Layout, nodes: &[usize]) -> Result<Fillers, String> {
        let mut fillers = Fillers::default();
        let mut is_seen = vec![false; def.nodes.len()];
        for filler in nodes.iter().copied().filter(|node| def.nodes[*node].op.contains("Table")) {
            let (name, op) = (&def.nodes[filler].name, &*def.nodes[filler].op);
            if matches!(op, "HashTable" | "HashTableV2") {
                continue;
            }
            let [(table, _), contents @ ..] = &layout.inputs[filler][..] else { continue };
            let table = layout.source(def, *table);
            let is_filler = op.starts_with("InitializeTable") || op.starts_with("LookupTableImport");
            let is_plain = is_filler && layout.kinds[table] == Kind::Constant;
            if !is_plain || contents.iter().any(|(from, _)| layout.kinds[*from] != Kind::Constant) {
                return Err(format!(
                    "fills a table with more than constants, at '{name}' ({op}), which parts do not do for each other; freeze it \
                     instead"
                ));
            }
            layout.constants_of(filler, &mut is_seen, &mut |constant| {
                fillers.contents.insert(constant);
            });
            fillers.of_table.entry(table).or_default().push(filler);
        }
        Ok(fillers)
    }

    /// True for a node that fills a table.
    pub fn is_one(&self, node: usize) -> bool {
        self.of_table.values().flatten().any(|filler| *filler == node)
    }

    /// True for what a table is filled with, which has to be there when variables are restored.
    pub fn is_content(&self, node: usize) -> bool {
        self.contents.contains(&node)
    }
}

fn missing(name: &str) -> String {
    format!("asks for '{name}', which the model does not have")
}

/// True for an operator of TensorFlow 1's loops and branches, which stay in one part.
pub fn is_control_flow(op: &str) -> bool {
    matches!(op, "Switch" | "Merge" | "Enter" | "Exit" | "NextIteration" | "LoopCond")
        || matches!(op, "RefSwitch" | "RefMerge" | "RefEnter" | "RefExit" | "RefNextIteration")
}
