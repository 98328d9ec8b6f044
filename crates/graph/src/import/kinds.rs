//! What a node is by the name of its operator: one that computes, or a part of the graph's structure.

use std::cmp::Reverse;

use tightfit_core::{DType, closest};
use tightfit_format::NodeDef;

use super::regions::has_bodies;
use super::state::is_of_variables;
use super::tables::is_of_tables;
use super::{calls, control_flow, fused, regions, state, tables};
use crate::ops;
use crate::signature;

/// What a file may have besides operators, by what it becomes: what it is, the nodes, and what becomes of them.
pub fn structure() -> [(&'static str, Vec<&'static str>, &'static str); 5] {
    [
        (
            "nodes with bodies",
            regions::ops().collect(),
            "One of several functions, or one again and again; planned with the graph around it.",
        ),
        (
            "loops and branches of TensorFlow 1",
            control_flow::OPS.to_vec(),
            "Become While and If before anything else.",
        ),
        (
            "fused nodes",
            fused::ops().collect(),
            "Become the nodes that they were fused from; passes fuse them again.",
        ),
        ("variables", state::ops().collect(), "What a run assigns the next one finds."),
        (
            "tables",
            tables::ops().collect(),
            "What fills one is read once, from the graph, a vocabulary file or the checkpoint. What a run changes the next one finds.",
        ),
    ]
}

/// True when nodes of this kind can be imported: operators, and what belongs to a graph's structure.
pub fn is_supported(op: &str) -> bool {
    let is_structure =
        has_bodies(op) || control_flow::OPS.contains(&op) || is_of_variables(op) || is_of_tables(op);
    let is_taken_apart = fused::is_fused(op) || calls::OPS.contains(&op);
    is_structure || is_taken_apart || ops::is_supported(op)
}

/// Every name that [`is_supported`] is true of.
fn supported() -> impl Iterator<Item = &'static str> {
    let structure = structure().into_iter().flat_map(|(_, ops, _)| ops);
    let others = ["Const", "Placeholder"].into_iter().chain(calls::OPS);
    ops::all().map(|registration| registration.name).chain(structure).chain(others)
}

/// The supported operator whose name is nearest to that of one that is not: spelled nearly the same, or beginning with most
/// of it.
pub fn nearest(op: &str) -> Option<&'static str> {
    let beginning = || {
        let common = |name: &str| name.bytes().zip(op.bytes()).take_while(|(a, b)| a == b).count();
        let best = supported().max_by_key(|name| (common(name), Reverse(name.len())))?;
        (2 * common(best) > op.len()).then_some(best)
    };
    closest(op, supported()).or_else(beginning)
}

/// What TensorFlow's registry says of an operator's attributes: of each its name, and where there is a list the values that
/// it may have, types among them as TensorFlow names them. Of types only those that a kernel for a CPU takes.
pub fn attributes(op: &str) -> Vec<(&'static str, Vec<String>)> {
    signature::attributes(op)
}

/// The type of one of a node's outputs, where its attributes say.
pub fn output_type(node: &NodeDef, output: usize) -> Option<DType> {
    signature::output_type(node, output)
}

/// True for an operator of variables that gives something besides what its variables are from then on.
fn has_result(op: &str) -> bool {
    ops::state::variables::has_result(op) || state::READS.contains(&op)
}

/// True for an operator whose outputs are a model's where nothing takes them and nobody says what is wanted.
pub fn is_result(op: &str) -> bool {
    let is_made_for_others = (is_of_variables(op) && !has_result(op))
        || (is_of_tables(op) && !tables::has_result(op))
        || matches!(
            op,
            "NoOp" | "ControlTrigger" | "Const" | "Assert" | "Placeholder" | "SaveV2" | "TensorListReserve"
        )
        || matches!(op, "EmptyTensorList" | "TensorArrayV3" | "TensorArrayCloseV3");
    !is_made_for_others
}

/// True for an operator of lists of tensors, which are made by such operators alone.
pub(crate) fn takes_only_lists(op: &str) -> bool {
    op.starts_with("TensorList") || op.starts_with("TensorArray") || op == "EmptyTensorList"
}

/// The same, and for one that hands on what it is given.
pub(super) fn takes_lists(op: &str) -> bool {
    takes_only_lists(op) || matches!(op, "Identity" | "IdentityN" | "StopGradient" | "NoOp")
}

/// Nodes that are no operator but part of the graph's own structure.
pub(super) fn is_structural(op: &str) -> bool {
    matches!(op, "Const" | "Placeholder" | regions::GIVEN)
}
