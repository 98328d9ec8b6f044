use tightfit_format::{AttrValue, FunctionDef, GraphDef, ListValue, NodeDef, SourceFile};

use super::give_values;
use crate::import::ImportOptions;
use crate::import::text_graph::budget;

const VARIABLE: &str = r#"
node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
node { name: "n" op: "Placeholder" attr { key: "dtype" value { type: DT_INT32 } } }
node { name: "v" op: "VarHandleOp" attr { key: "dtype" value { type: DT_FLOAT } }
       attr { key: "shape" value { shape { dim { size: 4 } dim { size: 2 } } } } }
node { name: "loop" op: "While" input: "n" input: "v" input: "x"
       attr { key: "cond" value { func { name: "go_on" } } } attr { key: "body" value { func { name: "turn" } } }
       attr { key: "T" value { list { type: DT_INT32 type: DT_RESOURCE type: DT_FLOAT } } }
       attr { key: "output_shapes" value { list { shape { } shape { } shape { unknown_rank: true } } } } }
"#;

fn functions(turn: &str) -> String {
    format!(
        r#"library {{
function {{ signature {{ name: "go_on" input_arg {{ name: "i" type: DT_INT32 }} input_arg {{ name: "w" type: DT_RESOURCE }}
    input_arg {{ name: "a" type: DT_FLOAT }} output_arg {{ name: "b" type: DT_BOOL }} }}
  node_def {{ name: "less" op: "Less" input: "i" input: "i" attr {{ key: "T" value {{ type: DT_INT32 }} }} }}
  ret {{ key: "b" value: "less:z:0" }} }}
function {{ signature {{ name: "turn" input_arg {{ name: "i" type: DT_INT32 }} input_arg {{ name: "w" type: DT_RESOURCE }}
    input_arg {{ name: "a" type: DT_FLOAT }} output_arg {{ name: "j" type: DT_INT32 }}
    output_arg {{ name: "same" type: DT_RESOURCE }} output_arg {{ name: "c" type: DT_FLOAT }} }}
  {turn}
  ret {{ key: "j" value: "i" }} ret {{ key: "same" value: "hand_on:output:0" }} ret {{ key: "c" value: "sum:z:0" }} }}
}}"#
    )
}

const HAND_ON: &str = r#"
  node_def { name: "hand_on" op: "Identity" input: "w" attr { key: "T" value { type: DT_RESOURCE } } }
"#;

const READS: &str = r#"
  node_def { name: "read" op: "ReadVariableOp" input: "hand_on:output:0" attr { key: "dtype" value { type: DT_FLOAT } } }
  node_def { name: "row" op: "ResourceGather" input: "w" input: "i" attr { key: "dtype" value { type: DT_FLOAT } }
             attr { key: "Tindices" value { type: DT_INT32 } } }
  node_def { name: "sum" op: "AddV2" input: "read:value:0" input: "row:output:0" attr { key: "T" value { type: DT_FLOAT } } }
"#;

fn given(name: &str, text: &str) -> GraphDef {
    let path = std::env::temp_dir().join(format!("captures-{name}-{}.pbtxt", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let mut def = GraphDef::read_text(SourceFile::open(&path).unwrap(), &budget()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let options = ImportOptions { fetches: vec!["loop:2".into()], ..ImportOptions::default() };
    give_values(&mut def, &options).unwrap();
    def
}

fn node<'f>(function: &'f FunctionDef, name: &str) -> &'f NodeDef {
    function.nodes.iter().find(|node| &*node.name == name).unwrap()
}

#[test]
fn a_loop_is_given_the_value() {
    let def = given("value", &format!("{VARIABLE}{}", functions(&format!("{HAND_ON}{READS}"))));
    let own = def.node("loop").unwrap();
    assert_eq!(own.inputs.iter().map(|i| &**i).collect::<Vec<_>>(), ["n", "v/value", "x"]);
    assert_eq!(own.attr("T"), Some(&AttrValue::List(ListValue::Types(vec![3, 1, 1]))));
    let Some(AttrValue::List(ListValue::Shapes(shapes))) = own.attr("output_shapes") else { panic!() };
    assert_eq!(shapes[1].dims, Some(vec![4, 2]));
    let Some(AttrValue::Func(body)) = own.attr("body") else { panic!() };
    let turn = def.function(&body.name).unwrap();
    assert_eq!((turn.input_args[1].dtype, turn.output_args[1].dtype), (1, 1));
    assert_eq!(node(turn, "hand_on").attr("T"), Some(&AttrValue::Type(1)));
    assert_eq!((&*node(turn, "read").op, &*node(turn, "row").op), ("Identity", "GatherV2"));
    assert_eq!(&*node(turn, "row").inputs[2], "row/axis:output:0");
    assert_eq!(&*node(turn, "sum").inputs[0], "read:output:0");
    // What others call stays as it was.
    assert_eq!(def.function("turn").unwrap().input_args[1].dtype, 20);
    let Some(AttrValue::Func(cond)) = own.attr("cond") else { panic!() };
    assert_eq!(def.function(&cond.name).unwrap().input_args[1].dtype, 1);
}

#[test]
fn what_a_body_assigns_stays_a_handle() {
    let assigns = r#"
  node_def { name: "assign" op: "AssignAddVariableOp" input: "w" input: "a" attr { key: "dtype" value { type: DT_FLOAT } } }
"#;
    let def = given("assign", &format!("{VARIABLE}{}", functions(&format!("{HAND_ON}{READS}{assigns}"))));
    assert_eq!(&*def.node("loop").unwrap().inputs[1], "v");
    assert_eq!(def.functions.len(), 2);
}

#[test]
fn a_handle_that_each_turn_may_change_stays_one() {
    let text = functions(&format!("{HAND_ON}{READS}"))
        .replace("ret { key: \"j\" value: \"i\" }", "ret { key: \"j\" value: \"w\" }");
    let def = given("changes", &format!("{VARIABLE}{text}"));
    assert_eq!(&*def.node("loop").unwrap().inputs[1], "v");
}

#[test]
fn functions_that_call_themselves_keep_their_handles() {
    let calls = r#"
  node_def { name: "again" op: "turn" input: "i" input: "w" input: "a" }
"#;
    let def = given("again", &format!("{VARIABLE}{}", functions(&format!("{HAND_ON}{READS}{calls}"))));
    assert_eq!(&*def.node("loop").unwrap().inputs[1], "v");
}
