//! Loops: a frame of Enter nodes, whose variables go round through Merge, Switch and NextIteration, becomes a While.

use std::collections::BTreeMap;

use tightfit_format::{AttrValue, FunctionDef, NodeDef};

use super::{Arguments, Input, Nodes, calls};

/// A variable of a loop.
struct Variable {
    enter: usize,
    merge: usize,
    next: usize,
    switch: Option<usize>,
    exits: Vec<usize>,
}

/// A loop that is not a node yet.
#[derive(Default)]
struct Frame {
    enters: Vec<usize>,
    variables: Vec<Variable>,
    condition: Option<usize>,
}

/// Makes every loop a While, inner ones first.
pub(super) fn convert(nodes: &mut Nodes, functions: &mut Vec<FunctionDef>) {
    let mut frames = frames(nodes);
    loop {
        let before = frames.len();
        frames.retain(|name, frame| take(nodes, name, frame, functions).is_none());
        if frames.len() == before {
            return;
        }
    }
}

fn frames(nodes: &Nodes) -> BTreeMap<String, Frame> {
    let mut frames: BTreeMap<String, Frame> = BTreeMap::new();
    let mut frame_of = BTreeMap::new();
    for index in (0..nodes.all.len()).filter(|index| matches!(nodes.op(*index), "Enter" | "RefEnter")) {
        let Some(AttrValue::Str(name)) = nodes.all[index].attr("frame_name") else { continue };
        let name = String::from_utf8_lossy(name).into_owned();
        frames.entry(name.clone()).or_default().enters.push(index);
        frame_of.insert(index, name);
    }
    // The Merge of a variable, by the Enter that it begins with, and the Switch and the exits after it.
    let mut place = BTreeMap::new();
    for index in (0..nodes.all.len()).filter(|index| matches!(nodes.op(*index), "Merge" | "RefMerge")) {
        let ends = (nodes.tensor(index, 0).map(|i| i.node), nodes.tensor(index, 1).map(|i| i.node));
        let (Some(enter), Some(next)) = ends else { continue };
        let (enter, next) = if frame_of.contains_key(&enter) { (enter, next) } else { (next, enter) };
        let Some(frame) = frame_of.get(&enter) else { continue };
        if !matches!(nodes.op(next), "NextIteration" | "RefNextIteration") {
            continue;
        }
        let variables = &mut frames.entry(frame.clone()).or_default().variables;
        place.insert(index, (frame.clone(), variables.len()));
        variables.push(Variable { enter, merge: index, next, switch: None, exits: Vec::new() });
    }
    let mut switches = BTreeMap::new();
    for index in (0..nodes.all.len()).filter(|index| matches!(nodes.op(*index), "Switch" | "RefSwitch")) {
        let Some((frame, number)) = nodes.tensor(index, 0).and_then(|input| place.get(&input.node)) else {
            continue;
        };
        let Some(condition) = nodes.tensor(index, 1).filter(|input| nodes.op(input.node) == "LoopCond")
        else {
            continue;
        };
        if let Some(of) = frames.get_mut(frame) {
            of.condition = Some(condition.node);
            of.variables[*number].switch = Some(index);
            switches.insert(index, (frame.clone(), *number));
        }
    }
    for index in (0..nodes.all.len()).filter(|index| matches!(nodes.op(*index), "Exit" | "RefExit")) {
        let place = nodes.tensor(index, 0).and_then(|input| switches.get(&input.node));
        if let Some((frame, number)) = place
            && let Some(of) = frames.get_mut(frame)
        {
            of.variables[*number].exits.push(index);
        }
    }
    frames
}

/// Makes one loop a While; `None` for one that has another in it, or is none.
fn take(nodes: &mut Nodes, name: &str, frame: &Frame, functions: &mut Vec<FunctionDef>) -> Option<()> {
    let condition = nodes.tensor(frame.condition?, 0)?;
    let is_variable = |enter: &usize| frame.variables.iter().any(|variable| variable.enter == *enter);
    let captures: Vec<usize> = frame.enters.iter().copied().filter(|enter| !is_variable(enter)).collect();
    let mut arguments = Arguments::new();
    for (number, variable) in frame.variables.iter().enumerate() {
        arguments.insert((variable.merge, 0), number);
        if let Some(switch) = variable.switch {
            arguments.insert((switch, 1), number);
        }
    }
    let count = frame.variables.len() + captures.len();
    for (number, enter) in captures.iter().enumerate() {
        arguments.insert((*enter, 0), frame.variables.len() + number);
    }
    let given = |index: usize| Input { is_control: false, node: index, output: 0 };
    let mut values = Vec::with_capacity(count);
    for variable in &frame.variables {
        values.push(nodes.tensor(variable.next, 0)?);
    }
    values.extend(captures.iter().map(|enter| given(*enter)));
    let condition_cone = nodes.cone(&[condition], &arguments)?;
    let body_cone = nodes.cone(&values, &arguments)?;
    let own = nodes.free_name(name);
    let condition =
        nodes.function(&format!("{own}/condition"), &condition_cone, count, &arguments, &[condition]);
    let body = nodes.function(&format!("{own}/turn"), &body_cone, count, &arguments, &values);
    // What an Enter takes goes into the loop, and what it waits for is waited for before.
    let mut inputs = Vec::with_capacity(count);
    let mut control = Vec::new();
    for enter in frame.variables.iter().map(|variable| variable.enter).chain(captures.iter().copied()) {
        for input in &nodes.all[enter].inputs {
            let list = if input.starts_with('^') { &mut control } else { &mut inputs };
            list.push(input.clone());
        }
    }
    inputs.append(&mut control);
    let node = NodeDef {
        name: own.as_str().into(),
        op: "While".into(),
        inputs,
        attrs: vec![calls("cond", &condition), calls("body", &body)],
        offset: nodes.all[*frame.enters.first()?].offset,
        ..NodeDef::default()
    };
    nodes.add(node);
    for (number, variable) in frame.variables.iter().enumerate() {
        for exit in &variable.exits {
            let exit = &mut nodes.all[*exit];
            exit.op = "Identity".into();
            let control = exit.inputs.iter().filter(|input| input.starts_with('^')).cloned();
            exit.inputs = std::iter::once(format!("{own}:{number}").into()).chain(control).collect();
        }
    }
    functions.extend([condition, body]);
    nodes.moved.extend(frame.enters.iter().chain(&frame.condition).chain(&condition_cone).chain(&body_cone));
    for variable in &frame.variables {
        nodes.moved.extend([variable.merge, variable.next].iter().chain(&variable.switch));
    }
    Some(())
}
