//! Merges nodes that compute the same, and constants that hold the same.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};

use tightfit_core::DType;

use super::rewrite::{Uses, forward};
use crate::ir::{Constant, Graph, NodeId, NodeKind, ValueRef};

/// Bytes of two constants that are compared at once.
const CHUNK_BYTES: usize = 32 << 10;
/// Bytes by which constants are told apart before they are compared whole.
const FINGERPRINT_BYTES: usize = 64;

/// Merges all that can be, in the order of computation, so that equal inputs make equal nodes.
pub fn merge(graph: &mut Graph) -> bool {
    let Ok(order) = graph.order() else { return false };
    let mut uses = Uses::new(graph);
    let mut first: HashMap<u64, NodeId> = HashMap::with_capacity(order.len());
    let mut has_changed = false;
    for id in order {
        let Some(key) = key(graph, id) else { continue };
        match first.get(&key).copied() {
            Some(same) if is_same(graph, same, id) => {
                for output in 0..graph.node(id).facts.len() as u32 {
                    forward(graph, &mut uses, ValueRef { node: id, output }, ValueRef { node: same, output });
                }
                has_changed = true;
            }
            Some(_) => {}
            None => {
                first.insert(key, id);
            }
        }
    }
    has_changed
}

/// Bytes of the table for so many nodes: as many buckets as are a power of two and an eighth more than nodes.
pub fn table_bytes(nodes: u64) -> u64 {
    (nodes * 8 / 7 + 4).next_power_of_two() * (size_of::<(u64, NodeId)>() as u64 + 1)
}

/// A number that nodes that compute the same have in common, of all that decides it but the bytes of large constants.
fn key(graph: &Graph, id: NodeId) -> Option<u64> {
    let node = graph.node(id);
    let mut hasher = DefaultHasher::new();
    match &node.kind {
        NodeKind::Operator(operator) if operator.is_pure() && node.control.is_empty() => {
            write!(Text(&mut hasher), "{operator:?}").ok()?;
            node.inputs.hash(&mut hasher);
        }
        NodeKind::Constant(constant) => {
            let mut start = [0; FINGERPRINT_BYTES];
            let start = &mut start[..FINGERPRINT_BYTES.min(constant.bytes())];
            read(constant, 0, start)?;
            (constant.dtype, constant.shape, start).hash(&mut hasher);
        }
        NodeKind::Operator(_) | NodeKind::Region(_) | NodeKind::Input { .. } => return None,
    }
    Some(hasher.finish())
}

/// Hashes what is written.
struct Text<'h>(&'h mut DefaultHasher);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// For nodes of one key: operators are the same by attributes and inputs, constants by all their bytes.
fn is_same(graph: &Graph, a: NodeId, b: NodeId) -> bool {
    let (a, b) = (graph.node(a), graph.node(b));
    match (&a.kind, &b.kind) {
        (NodeKind::Operator(one), NodeKind::Operator(other)) => {
            let is_same_type = (**one).type_id() == (**other).type_id();
            is_same_type && a.inputs == b.inputs && format!("{one:?}") == format!("{other:?}")
        }
        (NodeKind::Constant(a), NodeKind::Constant(b)) => {
            a.dtype == b.dtype && a.shape == b.shape && has_same_bytes(a, b)
        }
        _ => false,
    }
}

fn has_same_bytes(a: &Constant, b: &Constant) -> bool {
    let bytes = a.bytes().min(a.distinct_bytes().max(b.distinct_bytes()));
    let mut chunks = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    (0..bytes).step_by(CHUNK_BYTES).all(|offset| {
        let bytes = CHUNK_BYTES.min(bytes - offset);
        let (left, right) = (&mut chunks.0[..bytes], &mut chunks.1[..bytes]);
        read(a, offset, left).is_some() && read(b, offset, right).is_some() && left == right
    })
}

/// Bytes of a constant; `None` for strings, and for a file that fails, which is found when it is loaded.
fn read(constant: &Constant, offset: usize, out: &mut [u8]) -> Option<()> {
    if constant.dtype == DType::String {
        return None;
    }
    constant.read_at(offset as u64, out).ok()
}
