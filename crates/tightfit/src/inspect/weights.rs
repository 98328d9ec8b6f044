//! Where a model's bytes are: its constants by the scopes of their names, and those that are there twice.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;

use tightfit_core::MemoryBudget;
use tightfit_format::{AttrValue, SourceFile, TensorDef};
use tightfit_graph::import::plain;
use tightfit_graph::{GraphError, ImportOptions, Operators};

use crate::convert::optimize::are_same_values;
use crate::error::Error;
use crate::model::{ModelSource, NAMES, describe};

/// Constants below this size are not looked at twice.
const DUPLICATE_FROM_BYTES: u64 = 1024;

/// Bytes at the beginning of a constant that are compared before all are.
const HEAD_BYTES: usize = 4 << 10;

/// The constants of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weights {
    /// Names and bytes, in the file's order.
    pub constants: Vec<(String, u64)>,
    /// Constants of the same type, shape and values, the largest first.
    pub duplicates: Vec<Duplicates>,
}

/// Constants that are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// Their names.
    pub names: Vec<String>,
    /// Bytes of one of them.
    pub bytes: u64,
}

/// A scope of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Its name within the scope around it.
    pub name: String,
    /// How many scopes are around it.
    pub depth: usize,
    /// Bytes of the constants in it.
    pub bytes: u64,
    /// How many those are.
    pub constants: usize,
}

/// Reads the constants of a model: of one with signatures those that its signature needs, variables among them.
///
/// # Errors
/// As [`super::inspect`], and values that cannot be read.
pub fn weights(path: &Path, wanted: &ModelSource, budget: &MemoryBudget) -> Result<Weights, Error> {
    let mut described = describe(path, wanted, &Operators::default(), budget)?;
    let _names = budget.try_reserve(NAMES, described.names_bytes())?;
    if described.signature.is_some() || described.checkpoint.is_some() {
        let options = ImportOptions {
            ports: described.ports(),
            checkpoint: described.checkpoint.take(),
            ..ImportOptions::default()
        };
        match plain(&mut described.def, &options, budget) {
            Ok(_) | Err(GraphError::NotFrozen { .. } | GraphError::NoValue { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let def = &described.def;
    let tensors = def.nodes.iter().filter_map(|node| match node.attr("value") {
        Some(AttrValue::Tensor(tensor)) => Some((&*node.name, &**tensor)),
        _ => None,
    });
    let tensors: Vec<(&str, &TensorDef)> = tensors.collect();
    let constants = tensors.iter().map(|(name, tensor)| (name.to_string(), tensor.bytes().unwrap_or(0)));
    Ok(Weights { constants: constants.collect(), duplicates: duplicates(&tensors, &def.source)? })
}

/// The constants that are equal to others.
fn duplicates(tensors: &[(&str, &TensorDef)], source: &SourceFile) -> Result<Vec<Duplicates>, Error> {
    let mut alike: HashMap<(i32, &[i64], u64), Vec<usize>> = HashMap::new();
    let mut head = [0; HEAD_BYTES];
    for (index, (_, tensor)) in tensors.iter().enumerate() {
        let Some(bytes) = tensor.bytes().filter(|bytes| *bytes >= DUPLICATE_FROM_BYTES) else { continue };
        // A few bytes out of the beginning tell most apart; what they do not, all bytes do.
        let count = bytes.min(HEAD_BYTES as u64) as usize;
        tensor.read_at(source, 0, &mut head[..count])?;
        let mut hasher = DefaultHasher::new();
        hasher.write(&head[..count]);
        let digest = hasher.finish();
        alike.entry((tensor.dtype, &tensor.shape, digest)).or_default().push(index);
    }
    let mut found = Vec::new();
    for mut left in alike.into_values().filter(|list| list.len() > 1) {
        while let Some((first, rest)) = left.split_first() {
            let (mut names, mut others) = (vec![tensors[*first].0.to_string()], Vec::new());
            for index in rest {
                match are_same_values(tensors[*first].1, tensors[*index].1, source)? {
                    true => names.push(tensors[*index].0.to_string()),
                    false => others.push(*index),
                }
            }
            if names.len() > 1 {
                found.push(Duplicates { names, bytes: tensors[*first].1.bytes().unwrap_or(0) });
            }
            left = others;
        }
    }
    found.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.names.cmp(&b.names)));
    Ok(found)
}

/// The scopes of constants, down to `depth` within each other; each is followed by those in it, the largest first. Where a
/// scope holds nothing but one other, both are one.
pub fn scopes(constants: &[(String, u64)], depth: usize) -> Vec<Scope> {
    let names: Vec<(&str, u64)> = constants.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let mut found = Vec::new();
    add_scopes(&names, 0, depth, &mut found);
    found
}

fn add_scopes(names: &[(&str, u64)], at: usize, depth: usize, found: &mut Vec<Scope>) {
    if at >= depth {
        return;
    }
    let mut inner: BTreeMap<&str, Vec<(&str, u64)>> = BTreeMap::new();
    for (name, bytes) in names {
        let (first, rest) = name.split_once('/').unwrap_or((name, ""));
        inner.entry(first).or_default().push((rest, *bytes));
    }
    let mut inner: Vec<(String, Vec<(&str, u64)>)> =
        inner.into_iter().map(|(name, list)| joined(name.to_string(), list)).collect();
    let bytes = |list: &[(&str, u64)]| list.iter().map(|(_, bytes)| *bytes).sum::<u64>();
    inner.sort_by(|a, b| bytes(&b.1).cmp(&bytes(&a.1)).then_with(|| a.0.cmp(&b.0)));
    for (name, list) in inner {
        found.push(Scope { name, depth: at, bytes: bytes(&list), constants: list.len() });
        let within: Vec<(&str, u64)> = list.into_iter().filter(|(rest, _)| !rest.is_empty()).collect();
        add_scopes(&within, at + 1, depth, found);
    }
}

/// A scope together with the only one in it.
fn joined<'n>(mut name: String, mut list: Vec<(&'n str, u64)>) -> (String, Vec<(&'n str, u64)>) {
    loop {
        let Some((first, _)) = list.first().and_then(|(rest, _)| rest.split_once('/').or(Some((rest, ""))))
        else {
            return (name, list);
        };
        let of = |rest: &'n str| rest.split_once('/').unwrap_or((rest, ""));
        if first.is_empty() || list.iter().any(|(rest, _)| of(rest).0 != first) {
            return (name, list);
        }
        name = format!("{name}/{first}");
        list = list.into_iter().map(|(rest, bytes)| (of(rest).1, bytes)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_within_scopes() {
        let constants: Vec<(String, u64)> = [
            ("m/a/x/kernel", 40),
            ("m/a/y/kernel", 8),
            ("m/a/y/bias", 2),
            ("m/b/only/kernel", 30),
            ("axis", 4),
        ]
        .map(|(name, bytes)| (name.to_string(), bytes))
        .into();
        let found = |depth| {
            let scopes = scopes(&constants, depth).into_iter();
            scopes
                .map(|s| format!("{}{} {} {}", " ".repeat(s.depth), s.name, s.bytes, s.constants))
                .collect::<Vec<_>>()
        };
        assert_eq!(found(1), ["m 80 4", "axis 4 1"]);
        assert_eq!(found(2), ["m 80 4", " a 50 3", " b/only/kernel 30 1", "axis 4 1"]);
        let deep = ["m 80 4", " a 50 3", "  x/kernel 40 1", "  y 10 2", " b/only/kernel 30 1", "axis 4 1"];
        assert_eq!(found(3), deep);
    }
}
