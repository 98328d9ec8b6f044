//! Makes one of nodes that compute the same. Constants are the same where their values are, which are read once in small
//! pieces.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use tightfit_format::{AttrValue, NodeDef, SourceFile, TensorContent, TensorDef};

use super::nodes::Nodes;
use crate::error::Error;

/// Bytes of values that are read at a time.
const PIECE_BYTES: usize = 16 << 10;

/// Merges duplicates. Returns how many nodes are left out.
pub fn merge(nodes: &mut Nodes, source: &SourceFile) -> Result<usize, Error> {
    let mut count = 0;
    let mut hashes: HashMap<Box<str>, u64> = HashMap::new();
    // What takes merged nodes may be the same then.
    loop {
        nodes.sort();
        let mut seen: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut instead = HashMap::new();
        for (index, node) in nodes.list().iter().enumerate().filter(|(_, node)| !nodes.has_effect(node)) {
            let hash = match node.attr("value") {
                Some(AttrValue::Tensor(tensor)) => match hashes.get(&node.name) {
                    Some(hash) => *hash,
                    None => {
                        let hash = value_hash(tensor, source)?;
                        hashes.insert(node.name.clone(), hash);
                        hash
                    }
                },
                _ => 0,
            };
            let mut hasher = DefaultHasher::new();
            (&node.op, &node.inputs, hash).hash(&mut hasher);
            let others = seen.entry(hasher.finish()).or_default();
            let mut same = None;
            for other in others.iter() {
                if are_same(node, &nodes.list()[*other], source)? {
                    same = Some(*other);
                    break;
                }
            }
            match same {
                Some(other) if !nodes.is_kept(index) => {
                    let first = &nodes.list()[other].name;
                    // How many outputs it has does not matter: an output that nobody takes is replaced for nobody.
                    for output in 0..outputs(nodes.list(), &node.name) {
                        let name = if output == 0 { first.to_string() } else { format!("{first}:{output}") };
                        instead.insert((node.name.clone(), output), name.into());
                    }
                }
                Some(_) => {}
                None => others.push(index),
            }
        }
        if instead.is_empty() {
            return Ok(count);
        }
        nodes.replace(&instead);
        count += nodes.strip();
    }
}

/// One more than the last output that is taken.
fn outputs(list: &[NodeDef], name: &str) -> u32 {
    let taken =
        list.iter().flat_map(|node| &node.inputs).map(|input| tightfit_graph::import::split_name(input));
    taken.filter(|(node, _)| *node == name).map(|(_, output)| output + 1).max().unwrap_or(1)
}

fn value_hash(tensor: &TensorDef, source: &SourceFile) -> Result<u64, Error> {
    let mut hasher = DefaultHasher::new();
    (tensor.dtype, &tensor.shape).hash(&mut hasher);
    if let TensorContent::Strings(texts) = &tensor.content {
        texts.hash(&mut hasher);
    }
    for_each_piece(tensor, source, &mut |_, piece| {
        hasher.write(piece);
        Ok(true)
    })?;
    Ok(hasher.finish())
}

/// What is done with a block of values: their offset and bytes. False ends the reading.
type Each<'a> = dyn FnMut(u64, &[u8]) -> Result<bool, Error> + 'a;

/// Calls `each` with the values in pieces, as long as it says so.
fn for_each_piece(tensor: &TensorDef, source: &SourceFile, each: &mut Each<'_>) -> Result<(), Error> {
    let mut piece = [0; PIECE_BYTES];
    let bytes = tensor.bytes().unwrap_or(0);
    let mut at = 0;
    while at < bytes {
        let count = (bytes - at).min(PIECE_BYTES as u64) as usize;
        tensor.read_at(source, at, &mut piece[..count])?;
        if !each(at, &piece[..count])? {
            return Ok(());
        }
        at += count as u64;
    }
    Ok(())
}

fn are_same(a: &NodeDef, b: &NodeDef, source: &SourceFile) -> Result<bool, Error> {
    if a.op != b.op || a.inputs != b.inputs || a.attrs.len() != b.attrs.len() {
        return Ok(false);
    }
    for (name, value) in &a.attrs {
        let Some(other) = b.attr(name) else { return Ok(false) };
        let same = match (value, other) {
            (AttrValue::Tensor(a), AttrValue::Tensor(b)) => are_same_values(a, b, source)?,
            (value, other) => value == other,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether two tensors hold the same bytes.
pub(crate) fn are_same_values(a: &TensorDef, b: &TensorDef, source: &SourceFile) -> Result<bool, Error> {
    if a.dtype != b.dtype || a.shape != b.shape {
        return Ok(false);
    }
    match (&a.content, &b.content) {
        (TensorContent::Strings(a), TensorContent::Strings(b)) => return Ok(a == b),
        (TensorContent::Opaque, _) | (_, TensorContent::Opaque) => return Ok(false),
        _ => {}
    }
    let mut other = [0; PIECE_BYTES];
    let mut is_same = true;
    for_each_piece(a, source, &mut |at, piece| {
        let own = other.get_mut(..piece.len()).ok_or(Error::Defect("a piece is no larger than its room"))?;
        b.read_at(source, at, own)?;
        is_same = own == piece;
        Ok(is_same)
    })?;
    Ok(is_same)
}
