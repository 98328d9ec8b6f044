//! Branches: what stands between the Switch nodes of a predicate and the Merge nodes after them becomes an If.

use std::collections::{BTreeMap, HashSet};

use tightfit_core::DType;
use tightfit_format::data_type::DataType;
use tightfit_format::{AttrValue, FunctionDef, NodeDef};

use super::{ARGUMENT, Arguments, Input, Nodes, calls};

/// The Merge nodes of one branch: those of one name scope and one predicate.
struct Group {
    scope: String,
    merges: Vec<usize>,
    predicate: Input,
    /// For each Merge, which of its inputs is of the branch that is taken where the predicate is true.
    if_true: Vec<usize>,
    /// The Switch nodes, and what each one switches.
    switches: Vec<(usize, Input)>,
}

/// Makes every branch an If, inner ones first.
pub(super) fn convert(nodes: &mut Nodes, functions: &mut Vec<FunctionDef>) {
    loop {
        let merges: Vec<usize> = (0..nodes.all.len())
            .filter(|i| matches!(nodes.op(*i), "Merge" | "RefMerge") && !nodes.moved.contains(i))
            .collect();
        let mut groups: BTreeMap<(String, usize, u32), Group> = BTreeMap::new();
        for found in merges.into_iter().filter_map(|merge| describe(nodes, merge)) {
            let key = (found.scope.clone(), found.predicate.node, found.predicate.output);
            let Some(group) = groups.get_mut(&key) else {
                groups.insert(key, found);
                continue;
            };
            group.merges.extend(found.merges);
            group.if_true.extend(found.if_true);
            group.switches.extend(found.switches);
            group.switches.sort_unstable_by_key(|(switch, _)| *switch);
            group.switches.dedup();
        }
        let taken = groups.into_values().filter_map(|group| take(nodes, group, functions)).count();
        if taken == 0 {
            return;
        }
    }
}

/// What a Merge joins; `None` where one of its branches has another in it, or it joins no branch.
fn describe(nodes: &Nodes, merge: usize) -> Option<Group> {
    let data = nodes.all[merge].inputs.iter().filter(|input| !input.starts_with('^')).count();
    let mut sides = Vec::with_capacity(data);
    for input in 0..data {
        sides.push(ends(nodes, nodes.tensor(merge, input)?)?);
    }
    let [first, second] = &sides[..] else { return None };
    let all = || first.iter().chain(second);
    let predicate = predicate(nodes, all().next()?.0)?;
    if !all().all(|(switch, _)| self::predicate(nodes, *switch) == Some(predicate)) {
        return None;
    }
    let side = |side: &HashSet<(usize, u32)>| {
        let mut outputs = side.iter().map(|(_, output)| *output);
        outputs.next().map(|one| (one, outputs.all(|other| other == one)))
    };
    let if_true = match (side(first), side(second)) {
        (Some((1, true)), Some((0, true)) | None) | (None, Some((0, true))) => 0,
        (Some((0, true)), Some((1, true)) | None) | (None, Some((1, true))) => 1,
        _ => return None,
    };
    let mut switches: Vec<usize> = all().map(|(switch, _)| *switch).collect();
    switches.sort_unstable();
    switches.dedup();
    let switched = |switch: usize| Some((switch, nodes.tensor(switch, 0)?));
    let scope = nodes.all[merge].name.rsplit_once('/').map_or("", |(scope, _)| scope);
    Some(Group {
        scope: scope.to_string(),
        merges: vec![merge],
        predicate,
        if_true: vec![if_true],
        switches: switches.into_iter().map(switched).collect::<Option<_>>()?,
    })
}

/// The predicate of a Switch, after the names that `tf.cond` gives it.
fn predicate(nodes: &Nodes, switch: usize) -> Option<Input> {
    let mut predicate = nodes.tensor(switch, 1)?;
    // A graph may be a circle.
    for _ in 0..nodes.all.len() {
        if nodes.op(predicate.node) != "Identity" {
            return Some(predicate);
        }
        predicate = nodes.tensor(predicate.node, 0)?;
    }
    None
}

/// The outputs of Switch nodes that a value's cone ends at.
fn ends(nodes: &Nodes, value: Input) -> Option<HashSet<(usize, u32)>> {
    let (mut ends, mut seen, mut stack) = (HashSet::new(), HashSet::new(), vec![value]);
    while let Some(input) = stack.pop() {
        match nodes.op(input.node) {
            // Which of its outputs a control edge waits for it does not say.
            "Switch" | "RefSwitch" if input.is_control => {}
            "Switch" | "RefSwitch" => drop(ends.insert((input.node, input.output))),
            "Merge" | "RefMerge" => return None,
            _ if seen.insert(input.node) => stack.extend(nodes.inputs(input.node)),
            _ => {}
        }
    }
    Some(ends)
}

/// Makes one branch an If.
fn take(nodes: &mut Nodes, group: Group, functions: &mut Vec<FunctionDef>) -> Option<()> {
    // What several Switch nodes switch is given once.
    let mut switched: Vec<Input> = Vec::new();
    let mut arguments = Arguments::new();
    for (switch, input) in &group.switches {
        let place = switched.iter().position(|other| other == input).unwrap_or_else(|| {
            switched.push(*input);
            switched.len() - 1
        });
        arguments.insert((*switch, 0), place);
        arguments.insert((*switch, 1), place);
    }
    // Constants of a function around are its arguments.
    for index in (0..nodes.all.len()).filter(|index| nodes.op(*index) == ARGUMENT) {
        arguments.insert((index, 0), switched.len());
        switched.push(Input { is_control: false, node: index, output: 0 });
    }
    let own = nodes.free_name(format!("{}/If", group.scope).trim_start_matches('/'));
    let (mut branches, mut moved) = (Vec::with_capacity(2), Vec::new());
    for (attribute, is_true) in [("then_branch", true), ("else_branch", false)] {
        let values: Vec<Input> = group
            .merges
            .iter()
            .zip(&group.if_true)
            .filter_map(|(merge, if_true)| {
                nodes.tensor(*merge, if is_true { *if_true } else { 1 - *if_true })
            })
            .collect();
        let cone = nodes.cone(&values, &arguments)?;
        let name = format!("{own}/{}", if is_true { "then" } else { "else" });
        let function = nodes.function(&name, &cone, switched.len(), &arguments, &values);
        moved.extend(cone);
        branches.push((attribute, function));
    }
    let name_of = |input: &Input| match input.output {
        0 => nodes.all[input.node].name.clone(),
        output => format!("{}:{output}", nodes.all[input.node].name).into(),
    };
    let node = NodeDef {
        name: own.as_str().into(),
        op: "If".into(),
        inputs: std::iter::once(&group.predicate).chain(&switched).map(name_of).collect(),
        attrs: branches.iter().map(|(attribute, function)| calls(attribute, function)).collect(),
        offset: nodes.all[group.merges[0]].offset,
        ..NodeDef::default()
    };
    let predicate = name_of(&group.predicate);
    nodes.add(node);
    for (number, (merge, if_true)) in group.merges.iter().zip(&group.if_true).enumerate() {
        // Beside what it joins, a Merge gives the number of the input that there was.
        let taken = number_taken(nodes, *merge, &predicate, *if_true == 1);
        let merge = &mut nodes.all[*merge];
        merge.op = "IdentityN".into();
        merge.inputs = vec![format!("{own}:{number}").into(), taken];
    }
    functions.extend(branches.into_iter().map(|(_, function)| function));
    nodes.moved.extend(group.switches.iter().map(|(switch, _)| *switch).chain(moved));
    Some(())
}

/// Adds what gives the number of the input that a Merge takes: 1 where the predicate is `when`, or else 0. Its name.
fn number_taken(nodes: &mut Nodes, merge: usize, predicate: &str, when: bool) -> Box<str> {
    let name = format!("{}/value_index", nodes.all[merge].name);
    let mut taken: Box<str> = predicate.into();
    let to_int = vec![("DstT".into(), AttrValue::Type(DataType::from(DType::I32).0))];
    let steps = [("LogicalNot", vec![]), ("Cast", to_int)];
    for (op, attrs) in steps.into_iter().skip(usize::from(when)) {
        let own: Box<str> = nodes.free_name(&name).into();
        let offset = nodes.all[merge].offset;
        nodes.add(NodeDef {
            name: own.clone(),
            op: op.into(),
            inputs: vec![taken],
            attrs,
            offset,
            ..NodeDef::default()
        });
        taken = own;
    }
    taken
}
