//! Computes what follows from constants alone, with the kernels that run the model.

use std::path::Path;

use tightfit_core::{MemoryBudget, block_bytes};
use tightfit_format::{AttrValue, DataType, GraphDef, InlineBytes, NodeDef, TensorContent, TensorDef};
use tightfit_graph::{GraphError, ImportOptions, Operators, import};

use super::nodes::Nodes;
use crate::error::Error;
use crate::fit::FitOptions;
use crate::model::Model;
use crate::run::Runner;

/// A result that is larger stays computed: it would be held in memory until it is written, and often is larger than what
/// it follows from.
const MOST_BYTES: u64 = 1 << 20;

/// Bytes of results that are computed at once.
const GROUP_BYTES: u64 = 4 << 20;

/// Folds constants. Returns how many nodes have become constants.
pub fn fold(
    nodes: &mut Nodes,
    def: &mut GraphDef,
    path: &Path,
    operators: &Operators,
    budget: &MemoryBudget,
) -> Result<usize, Error> {
    let is_constant = constants(nodes);
    let roots = roots(nodes, &is_constant);
    if roots.is_empty() {
        return Ok(0);
    }
    let part: Vec<NodeDef> =
        nodes.list().iter().zip(&is_constant).filter(|(_, is)| **is).map(|(node, _)| node.clone()).collect();
    let folder = Folder { part: &part, def, path, operators, budget };
    let names: Vec<String> = roots.iter().map(|index| nodes.list()[*index].name.to_string()).collect();
    let mut found = Vec::new();
    for group in names.chunks(64) {
        match folder.compute(group) {
            Ok(values) => found.extend(values),
            Err(error) if is_about_one(&error) => {
                // One that cannot be computed here stays as it is.
                for name in group {
                    match folder.compute(std::slice::from_ref(name)) {
                        Ok(values) => found.extend(values),
                        Err(error) if is_about_one(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
    let count = found.len();
    let bytes = found.iter().map(|(_, value)| block_bytes(value.present_bytes()) + 256).sum();
    def.reservation.try_grow(bytes)?;
    for (name, value) in found {
        let Some(index) = nodes.find(&name) else { continue };
        let node = nodes.node_mut(index);
        node.op = "Const".into();
        node.inputs.clear();
        node.attrs = vec![
            ("dtype".into(), AttrValue::Type(value.dtype)),
            ("value".into(), AttrValue::Tensor(Box::new(value))),
        ];
    }
    Ok(count)
}

/// Whether a group fails because of one of its nodes.
fn is_about_one(error: &Error) -> bool {
    match error {
        Error::Graph(error) => !matches!(**error, GraphError::Format(_)),
        Error::NotFit(_) => true,
        _ => false,
    }
}

/// Marks the constants, and what is computed of such alone without waiting for anything.
fn constants(nodes: &Nodes) -> Vec<bool> {
    let list = nodes.list();
    let mut state: Vec<Option<bool>> = vec![None; list.len()];
    for root in 0..list.len() {
        let mut stack = vec![root];
        while let Some(index) = stack.last().copied() {
            if state[index].is_some() {
                stack.pop();
                continue;
            }
            let node = &list[index];
            let waits = node.inputs.iter().any(|input| input.starts_with('^'));
            if waits || nodes.has_effect(node) || (node.inputs.is_empty() && &*node.op != "Const") {
                state[index] = Some(false);
                continue;
            }
            let mut is_constant = true;
            let mut open = None;
            for input in &node.inputs {
                match nodes.find(input).map(|from| (from, state[from])) {
                    Some((_, Some(known))) => is_constant &= known,
                    // Nothing that takes itself is constant.
                    Some((from, None)) if stack.contains(&from) => is_constant = false,
                    Some((from, None)) => open = Some(from),
                    None => is_constant = false,
                }
            }
            match open.filter(|_| is_constant) {
                Some(from) => stack.push(from),
                None => state[index] = Some(is_constant),
            }
        }
    }
    state.into_iter().map(|state| state == Some(true)).collect()
}

/// The computed constants that something else takes, or that are kept, of one output.
fn roots(nodes: &Nodes, is_constant: &[bool]) -> Vec<usize> {
    let list = nodes.list();
    let mut is_root: Vec<bool> = (0..list.len()).map(|index| nodes.is_kept(index)).collect();
    let mut has_others = vec![false; list.len()];
    for (node, is_constant) in list.iter().zip(is_constant) {
        for input in &node.inputs {
            let Some(from) = nodes.find(input) else { continue };
            is_root[from] |= !is_constant;
            has_others[from] |= tightfit_graph::import::split_name(input).1 > 0;
        }
    }
    let folds = |index: &usize| {
        let op = &*list[*index].op;
        is_root[*index] && is_constant[*index] && !has_others[*index] && op != "Const" && op != "Identity"
    };
    (0..list.len()).filter(folds).collect()
}

struct Folder<'f> {
    /// The constants and what is computed of them.
    part: &'f [NodeDef],
    def: &'f GraphDef,
    path: &'f Path,
    operators: &'f Operators,
    budget: &'f MemoryBudget,
}

impl Folder<'_> {
    /// The values of some nodes, those aside that are too large.
    fn compute(&self, names: &[String]) -> Result<Vec<(String, TensorDef)>, Error> {
        let model = self.model(names)?;
        let graph = model.graph();
        let mut groups: Vec<Vec<String>> = Vec::new();
        let mut group_bytes = GROUP_BYTES;
        for port in &graph.outputs {
            let fact = graph.fact(port.value);
            let bytes = fact.dims.concrete().map(|shape| (shape.elements() * fact.dtype.bytes()) as u64);
            let Some(bytes) = bytes.filter(|bytes| *bytes <= MOST_BYTES) else { continue };
            if fact.dtype == tightfit_core::DType::String {
                continue;
            }
            if group_bytes + bytes > GROUP_BYTES {
                groups.push(Vec::new());
                group_bytes = 0;
            }
            group_bytes += bytes;
            groups.last_mut().into_iter().for_each(|group| group.push(port.name.clone()));
        }
        drop(model);
        let mut found = Vec::new();
        for group in groups {
            self.run(&group, &mut found)?;
        }
        Ok(found)
    }

    fn model(&self, names: &[String]) -> Result<Model, Error> {
        let bytes = self.part.iter().map(|node| 1024 + 64 * node.inputs.len() as u64).sum();
        let def = GraphDef {
            nodes: self.part.to_vec(),
            functions: Vec::new(),
            producer: self.def.producer,
            min_consumer: self.def.min_consumer,
            source: self.def.source.clone(),
            reservation: self.budget.try_reserve("constants that are folded", bytes)?,
        };
        let options = ImportOptions {
            fetches: names.to_vec(),
            operators: self.operators.clone(),
            ..ImportOptions::default()
        };
        let graph = import(&self.def.source, def, &options, self.budget)?;
        Ok(Model::of_graph(self.path, graph))
    }

    fn run(&self, names: &[String], found: &mut Vec<(String, TensorDef)>) -> Result<(), Error> {
        let model = self.model(names)?;
        let options = FitOptions {
            threads: 1,
            memory_bytes: self.budget.limit_bytes(),
            is_inner: true,
            ..FitOptions::default()
        };
        let mut runner = Runner::new(&model, &options, self.budget)?;
        let outputs = runner.run(&[])?;
        for index in 0..outputs.len() {
            let (Some(name), Some(view)) = (outputs.name(index), outputs.tensor(index)) else { continue };
            let content = TensorContent::Inline(InlineBytes::Small(view.bytes().into()));
            let shape = view.shape().iter().map(|dim| *dim as i64).collect();
            found.push((
                name.to_string(),
                TensorDef { dtype: DataType::from(view.dtype()).0, shape, content },
            ));
        }
        Ok(())
    }
}
