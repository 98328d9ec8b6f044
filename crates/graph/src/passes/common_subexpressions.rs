//! Merges nodes that compute the same, and constants that hold the same.

use std::collections::HashMap;

use tightfit_core::{DType, Shape};

use super::rewrite::{Uses, forward};
use crate::ir::{Constant, Graph, NodeId, NodeKind, ValueRef};

/// Bytes of two constants that are compared at once.
const CHUNK_BYTES: usize = 32 << 10;
/// Bytes by which constants are told apart before they are compared whole.
const FINGERPRINT_BYTES: usize = 64;

#[derive(PartialEq, Eq, Hash)]
enum Key {
    Constant(DType, Shape, Vec<u8>),
    Operator(String, Vec<ValueRef>),
}

/// Merges all that can be, in the order of computation, so that equal inputs make equal nodes.
pub fn merge(graph: &mut Graph) -> bool {
    let Ok(order) = graph.order() else { return false };
    let mut uses = Uses::new(graph);
    let mut first: HashMap<Key, NodeId> = HashMap::new();
    let mut has_changed = false;
    for id in order {
        let Some(key) = key(graph, id) else { continue };
        match first.get(&key).copied() {
            Some(same) if is_same(graph, same, id) => {
                for output in 0..graph.node(id).facts.len() as u16 {
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

fn key(graph: &Graph, id: NodeId) -> Option<Key> {
    let node = graph.node(id);
    match &node.kind {
        NodeKind::Operator(operator) if operator.is_pure() && node.control.is_empty() => {
            Some(Key::Operator(format!("{operator:?}"), node.inputs.clone()))
        }
        NodeKind::Constant(constant) => {
            let mut start = vec![0; FINGERPRINT_BYTES.min(constant.bytes())];
            read(constant, 0, &mut start)?;
            Some(Key::Constant(constant.dtype, constant.shape, start))
        }
        _ => None,
    }
}

/// For nodes of one key: operators are the same by their key, constants by all their bytes.
fn is_same(graph: &Graph, a: NodeId, b: NodeId) -> bool {
    let (Some(a), Some(b)) = (graph.node(a).constant(), graph.node(b).constant()) else { return true };
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
