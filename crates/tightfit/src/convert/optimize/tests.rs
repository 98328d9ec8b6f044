use super::*;

#[test]
fn transforms_by_their_names() {
    let text = "strip_unused_nodes fold_constants,fold_old_batch_norms\n merge_duplicate_nodes";
    let expected = [
        Transform::StripUnusedNodes,
        Transform::FoldConstants,
        Transform::FoldBatchNorms,
        Transform::MergeDuplicateNodes,
    ];
    assert_eq!(Transform::parse(text).unwrap(), expected);
    assert!(Transform::parse("fold_constant").unwrap_err().contains("did you mean fold_constants?"));
    assert!(Transform::parse("quantize").unwrap_err().contains("'quantize'"));
}

fn node(name: &str, op: &str, inputs: &[&str]) -> NodeDef {
    let inputs = inputs.iter().map(|input| (*input).into()).collect();
    NodeDef { name: name.into(), op: op.into(), inputs, ..NodeDef::default() }
}

fn inputs<'n>(nodes: &'n Nodes, name: &str) -> Vec<&'n str> {
    let node = nodes.list().iter().find(|node| &*node.name == name).unwrap();
    node.inputs.iter().map(|input| &**input).collect()
}

#[test]
fn nodes_that_hand_on_are_left_out_but_not_where_they_mean_something() {
    let list = vec![
        node("x", "Placeholder", &[]),
        node("a", "Identity", &["x"]),
        node("b", "StopGradient", &["a"]),
        node("waits", "Identity", &["x", "^b"]),
        node("switch", "Switch", &["b", "p"]),
        node("p", "Placeholder", &[]),
        node("pivot", "Identity", &["switch:1"]),
        node("sum", "AddN", &["b", "waits", "pivot", "^a"]),
        node("y", "Identity", &["sum"]),
        node("unused", "Relu", &["x"]),
    ];
    let mut nodes = Nodes::new(list, ["x", "p", "y"].map(String::from).into(), Operators::new());
    assert_eq!(nodes.remove_passes(), 2);
    assert_eq!(inputs(&nodes, "sum"), ["x", "waits", "pivot", "^x"]);
    assert_eq!(inputs(&nodes, "waits"), ["x", "^x"]);
    assert_eq!(inputs(&nodes, "y"), ["sum"]);
    assert!(nodes.list().iter().all(|node| &*node.name != "unused"));
    // Where branches are, a control edge says on which side a node is.
    assert_eq!(nodes.remove_control(), 0);
    nodes.sort();
    let at = |name: &str| nodes.list().iter().position(|node| &*node.name == name).unwrap();
    assert!(at("switch") > at("p") && at("y") > at("sum"));
}

#[test]
fn control_edges_to_what_has_no_effect_go() {
    let list = vec![
        node("x", "Placeholder", &[]),
        node("c", "Const", &[]),
        node("all", "NoOp", &["^c", "^x"]),
        node("check", "Assert", &["x"]),
        node("y", "Relu", &["x", "^all", "^check"]),
    ];
    let mut nodes = Nodes::new(list, ["x", "y"].map(String::from).into(), Operators::new());
    assert_eq!(nodes.remove_control(), 3);
    assert_eq!(inputs(&nodes, "y"), ["x", "^check"]);
}
