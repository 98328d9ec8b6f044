use tightfit_core::{Shape, TensorView};

use crate::error::GraphError;
use crate::exec::{Context, Feed};
use crate::import::text_graph::{context, graph, node};

const FLOAT: &str =
    "attr { key: 'T' value { type: DT_FLOAT } } attr { key: 'dtype' value { type: DT_FLOAT } }";
const PAIR: &str = "attr { key: 'shape' value { shape { dim { size: 2 } } } }";
const INITIAL: &str = "attr { key: '_initial_value' value { tensor { dtype: DT_FLOAT tensor_shape { dim { size: 2 } } \
                       float_val: 10 float_val: 20 } } }";

fn nodes(nodes: &[String]) -> String {
    nodes.iter().map(|node| format!("node {{ {node} }}\n")).collect()
}

fn x() -> String {
    node("x", "Placeholder", "", &format!("{FLOAT} {PAIR}"))
}

fn run(context: &mut Context, x: [f32; 2]) -> Result<Vec<f32>, GraphError> {
    let shape = Shape::new(&[2]).unwrap();
    let feeds = [Feed::Tensor(TensorView::from_slice(shape, &x).unwrap())];
    context.run(&feeds[..context.plan().inputs.len()])?;
    Ok(context.output(0).unwrap().as_slice::<f32>().unwrap().to_vec())
}

#[test]
fn a_run_finds_what_the_one_before_has_assigned() {
    let text = nodes(&[
        x(),
        node("v", "VarHandleOp", "", &format!("{FLOAT} {PAIR} {INITIAL}")),
        node("add", "AssignAddVariableOp", "v x", FLOAT),
        node("read", "ReadVariableOp", "v ^add", FLOAT),
    ]);
    let mut context = context(graph(&text, &["read"]).unwrap(), 1);
    assert_eq!(run(&mut context, [1.0, 2.0]).unwrap(), [11.0, 22.0]);
    assert_eq!(run(&mut context, [1.0, 2.0]).unwrap(), [12.0, 24.0]);
    let mut other = context.try_clone().unwrap();
    assert_eq!(run(&mut other, [0.0, 0.0]).unwrap(), [10.0, 20.0]);
    context.reset().unwrap();
    assert_eq!(run(&mut context, [0.5, 0.5]).unwrap(), [10.5, 20.5]);
}

#[test]
fn a_step_of_training_changes_all_that_is_kept() {
    let zero = INITIAL.replace("float_val: 10", "float_val: 0").replace("float_val: 20", "float_val: 0");
    let of = |value: f32| {
        let value = format!("tensor {{ dtype: DT_FLOAT tensor_shape {{ }} float_val: {value} }}");
        format!(
            "attr {{ key: 'dtype' value {{ type: DT_FLOAT }} }} attr {{ key: 'value' value {{ {value} }} }}"
        )
    };
    for (variable, step, read) in [
        ("VarHandleOp", "ResourceApplyMomentum", node("y", "ReadVariableOp", "v ^step", FLOAT)),
        ("VariableV2", "ApplyMomentum", node("y", "Identity", "step", FLOAT)),
    ] {
        let text = nodes(&[
            x(),
            node("v", variable, "", &format!("{FLOAT} {PAIR} {INITIAL}")),
            node("m", variable, "", &format!("{FLOAT} {PAIR} {zero}")),
            node("rate", "Const", "", &of(0.5)),
            node("stays", "Const", "", &of(1.0)),
            node("step", step, "v m rate x stays", FLOAT),
            read,
        ]);
        let mut context = context(graph(&text, &["y"]).unwrap(), 1);
        assert_eq!(run(&mut context, [2.0, 4.0]).unwrap(), [9.0, 18.0]);
        // The momentum of the first step goes on.
        assert_eq!(run(&mut context, [0.0, 0.0]).unwrap(), [8.0, 16.0]);
        context.reset().unwrap();
        assert_eq!(run(&mut context, [0.0, 0.0]).unwrap(), [10.0, 20.0]);
    }
}

#[test]
fn parts_of_what_changes_are_read() {
    let indices = "attr { key: 'dtype' value { type: DT_INT32 } } attr { key: 'value' value { tensor { dtype: DT_INT32 \
                   tensor_shape { dim { size: 1 } } int_val: 1 } } }";
    let at = "attr { key: 'Tindices' value { type: DT_INT32 } }";
    let text = nodes(&[
        x(),
        node("v", "VarHandleOp", "", &format!("{FLOAT} {PAIR} {INITIAL}")),
        node("at", "Const", "", indices),
        node("add", "AssignAddVariableOp", "v x", FLOAT),
        node(
            "row",
            "ResourceGather",
            "v at ^add",
            &format!("{at} attr {{ key: 'dtype' value {{ type: DT_FLOAT }} }}"),
        ),
        node(
            "step",
            "ResourceScatterAdd",
            "v at row",
            &format!("{at} attr {{ key: 'dtype' value {{ type: DT_FLOAT }} }}"),
        ),
        node("shape", "VariableShape", "v", "attr { key: 'out_type' value { type: DT_INT32 } }"),
        node(
            "sizes",
            "Cast",
            "shape",
            "attr { key: 'SrcT' value { type: DT_INT32 } } attr { key: 'DstT' value { type: DT_FLOAT } }",
        ),
        node("read", "ReadVariableOp", "v ^step", FLOAT),
        node("y", "AddV2", "read sizes", FLOAT),
    ]);
    let mut context = context(graph(&text, &["y"]).unwrap(), 1);
    assert_eq!(run(&mut context, [1.0, 2.0]).unwrap(), [13.0, 46.0]);
    assert_eq!(run(&mut context, [0.0, 0.0]).unwrap(), [13.0, 90.0]);
}

#[test]
fn a_generator_goes_on_from_run_to_run() {
    let state = "attr { key: 'dtype' value { type: DT_INT64 } } attr { key: 'shape' value { shape { dim { size: 3 } } } } \
                 attr { key: '_initial_value' value { tensor { dtype: DT_INT64 tensor_shape { dim { size: 3 } } \
                 int64_val: 5 int64_val: -1 int64_val: 77 } } }";
    let constant = |name: &str, dtype: &str, shape: &str, value: &str| {
        let value = format!("tensor {{ dtype: {dtype} tensor_shape {{ {shape} }} {value} }}");
        let attrs = format!(
            "attr {{ key: 'dtype' value {{ type: {dtype} }} }} attr {{ key: 'value' value {{ {value} }} }}"
        );
        node(name, "Const", "", &attrs)
    };
    let of_shape = format!("{FLOAT} attr {{ key: 'shape_dtype' value {{ type: DT_INT32 }} }}");
    let text = nodes(&[
        node("v", "VarHandleOp", "", state),
        constant("algorithm", "DT_INT64", "", "int64_val: 1"),
        constant("shape", "DT_INT32", "dim { size: 1 }", "int_val: 2"),
        node("first", "StatefulUniform", "v algorithm shape", &of_shape),
        constant("skip", "DT_INT64", "", "int64_val: 3"),
        node("skips", "RngSkip", "v algorithm skip ^first", ""),
        node("second", "StatefulUniform", "v algorithm shape ^skips", &of_shape),
        node(
            "both",
            "ConcatV2",
            "first second axis",
            "attr { key: 'T' value { type: DT_FLOAT } } attr { key: 'N' value { i: 2 } }",
        ),
        constant("axis", "DT_INT32", "", "int_val: 0"),
    ]);
    let mut context = context(graph(&text, &["both"]).unwrap(), 1);
    let of_state = |counter: i64| {
        let state = crate::testing::tensor(&[3], &[counter, -1, 77]);
        let inputs = [state, crate::testing::scalar(1i64), crate::testing::tensor(&[1], &[2i32])];
        crate::testing::run("StatefulUniform", &[], &inputs).unwrap()[0].values::<f32>()
    };
    for begin in [5, 5 + 7 * 256] {
        let expected = [of_state(begin), of_state(begin + 5 * 256)].concat();
        assert_eq!(run(&mut context, [0.0, 0.0]).unwrap(), expected);
    }
}

#[test]
fn reads_and_assignments_have_the_order_of_control_edges() {
    let text = nodes(&[
        x(),
        node("v", "VariableV2", "", &format!("{FLOAT} {PAIR} {INITIAL}")),
        node("before", "Identity", "v", FLOAT),
        node("assign", "Assign", "v x ^before", FLOAT),
        node("sub", "AssignSub", "assign x", FLOAT),
        node("after", "Identity", "sub", FLOAT),
        node("all", "Sub", "before after", FLOAT),
    ]);
    let mut context = context(graph(&text, &["all"]).unwrap(), 1);
    assert_eq!(run(&mut context, [1.0, 2.0]).unwrap(), [10.0, 20.0]);
    // `before` is 0 from then on.
    assert_eq!(run(&mut context, [1.0, 2.0]).unwrap(), [0.0, 0.0]);
}

#[test]
fn what_is_read_before_it_has_a_value_is_an_error() {
    let variable = node("v", "VarHandleOp", "", &format!("{FLOAT} {PAIR}"));
    let read = nodes(&[
        x(),
        variable.clone(),
        node("read", "ReadVariableOp", "v", FLOAT),
        node("set", "AssignVariableOp", "v x ^read", FLOAT),
        node("y", "Mul", "read x ^set", FLOAT),
    ]);
    let error = run(&mut context(graph(&read, &["y"]).unwrap(), 1), [1.0, 2.0]).unwrap_err();
    assert_eq!(error.to_string(), "variable 'v' is read before anything gives it a value");
    let never = nodes(&[x(), variable.clone(), node("read", "ReadVariableOp", "v", FLOAT)]);
    let error = graph(&never, &["read"]).unwrap_err().to_string();
    assert!(error.contains("is not frozen: 'v' is a variable whose value is in a checkpoint"), "{error}");
    let assigned = nodes(&[
        x(),
        variable,
        node("set", "AssignVariableOp", "v x", FLOAT),
        node("read", "ReadVariableOp", "v ^set", FLOAT),
    ]);
    assert_eq!(run(&mut context(graph(&assigned, &["read"]).unwrap(), 1), [1.0, 2.0]).unwrap(), [1.0, 2.0]);
}

#[test]
fn an_assignment_of_another_shape_is_refused() {
    let text = nodes(&[
        node(
            "x",
            "Placeholder",
            "",
            &format!("{FLOAT} attr {{ key: 'shape' value {{ shape {{ dim {{ size: 3 }} }} }} }}"),
        ),
        node("v", "VarHandleOp", "", &format!("{FLOAT} {PAIR}")),
        node("set", "AssignVariableOp", "v x", FLOAT),
        node("read", "ReadVariableOp", "v ^set", FLOAT),
    ]);
    let error = graph(&text, &["read"]).unwrap_err().to_string();
    assert!(error.contains("input 1 is float32[3]; variable 'v' is float32[2]"), "{error}");
    assert!(error.contains("AssignVariableOp"), "{error}");
}

/// A loop over `i` below 3 and a branch, whose bodies add to the variable that they are given.
fn bodies() -> String {
    let scalar = |value: &str| {
        format!(
            "attr {{ key: 'dtype' value {{ type: DT_INT32 }} }} \
             attr {{ key: 'value' value {{ tensor {{ dtype: DT_INT32 tensor_shape {{ }} int_val: {value} }} }} }}"
        )
    };
    let int = "attr { key: 'T' value { type: DT_INT32 } }";
    let types = "attr { key: 'T' value { list { type: DT_INT32 type: DT_RESOURCE type: DT_FLOAT } } }";
    let function = |name: &str, arguments: &str, returned: &str, body: &[String], rets: &str| {
        let body: String = body.iter().map(|node| format!("node_def {{ {node} }}\n")).collect();
        format!("function {{ signature {{ name: '{name}' {arguments} {returned} }}\n{body} {rets} }}\n")
    };
    let given = "input_arg { name: 'i' type: DT_INT32 } input_arg { name: 'v' type: DT_RESOURCE } \
                 input_arg { name: 'x' type: DT_FLOAT }";
    let cond = [node("n", "Const", "", &scalar("3")), node("less", "Less", "i n:output:0", int)];
    let body = [
        node("one", "Const", "", &scalar("1")),
        node("add", "AssignAddVariableOp", "v x", FLOAT),
        node("next", "AddV2", "i one:output:0", int),
    ];
    let then =
        [node("read", "ReadVariableOp", "v", FLOAT), node("set", "AssignVariableOp", "v x ^read", FLOAT)];
    let library = [
        function(
            "cond",
            given,
            "output_arg { name: 'c' type: DT_BOOL }",
            &cond,
            "ret { key: 'c' value: 'less:z:0' }",
        ),
        function(
            "body",
            given,
            "output_arg { name: 'i2' type: DT_INT32 } output_arg { name: 'v2' type: DT_RESOURCE } \
             output_arg { name: 'x2' type: DT_FLOAT }",
            &body,
            "ret { key: 'i2' value: 'next:z:0' } ret { key: 'v2' value: 'v' } ret { key: 'x2' value: 'x' } \
             control_ret { key: 'add' value: 'add' }",
        ),
        function(
            "then",
            "input_arg { name: 'v' type: DT_RESOURCE } input_arg { name: 'x' type: DT_FLOAT }",
            "output_arg { name: 'y' type: DT_FLOAT }",
            &then,
            "ret { key: 'y' value: 'read:value:0' } control_ret { key: 'set' value: 'set' }",
        ),
        function(
            "else",
            "input_arg { name: 'v' type: DT_RESOURCE } input_arg { name: 'x' type: DT_FLOAT }",
            "output_arg { name: 'y' type: DT_FLOAT }",
            &[],
            "ret { key: 'y' value: 'x' }",
        ),
    ];
    let func =
        |key: &str, name: &str| format!("attr {{ key: '{key}' value {{ func {{ name: '{name}' }} }} }} ");
    let main = nodes(&[
        x(),
        node("v", "VarHandleOp", "", &format!("{FLOAT} {PAIR} {INITIAL}")),
        node("zero", "Const", "", &scalar("0")),
        node("while", "While", "zero v x", &(func("cond", "cond") + &func("body", "body") + types)),
        node("read", "ReadVariableOp", "while:1", FLOAT),
        node("axis", "Const", "", &scalar("0")),
        node(
            "least",
            "Min",
            "x axis",
            "attr { key: 'T' value { type: DT_FLOAT } } attr { key: 'Tidx' value { type: DT_INT32 } }",
        ),
        node(
            "limit",
            "Const",
            "",
            "attr { key: 'dtype' value { type: DT_FLOAT } } \
             attr { key: 'value' value { tensor { dtype: DT_FLOAT tensor_shape { } float_val: 0 } } }",
        ),
        node("is_less", "Less", "limit least", "attr { key: 'T' value { type: DT_FLOAT } }"),
        node(
            "if",
            "If",
            "is_less v x ^while",
            &(func("then_branch", "then")
                + &func("else_branch", "else")
                + "attr { key: 'Tout' value { list { type: DT_FLOAT } } }"),
        ),
        node("last", "ReadVariableOp", "v ^if", FLOAT),
    ]);
    format!("{main} library {{ {} }}", library.join(""))
}

#[test]
fn bodies_read_and_assign_the_variables_they_are_given() {
    let text = bodies();
    let mut read = context(graph(&text, &["read"]).unwrap(), 1);
    assert_eq!(run(&mut read, [1.0, 2.0]).unwrap(), [13.0, 26.0]);
    assert_eq!(run(&mut read, [1.0, 2.0]).unwrap(), [16.0, 32.0]);
    // The branch returns what the variable was, and makes it `x`; the other does neither.
    let mut branch = context(graph(&text, &["if"]).unwrap(), 1);
    assert_eq!(run(&mut branch, [1.0, 2.0]).unwrap(), [13.0, 26.0]);
    assert_eq!(run(&mut branch, [1.0, 2.0]).unwrap(), [4.0, 8.0]);
    assert_eq!(run(&mut branch, [-1.0, 2.0]).unwrap(), [-1.0, 2.0]);
    let mut last = context(graph(&text, &["last"]).unwrap(), 1);
    assert_eq!(run(&mut last, [-1.0, 2.0]).unwrap(), [7.0, 26.0]);
    assert_eq!(run(&mut last, [1.0, 2.0]).unwrap(), [1.0, 2.0]);
}

#[test]
fn a_variable_may_be_assigned_a_constant() {
    let two = "attr { key: 'dtype' value { type: DT_FLOAT } } attr { key: 'value' value { tensor { dtype: DT_FLOAT \
               tensor_shape { dim { size: 2 } } float_val: 2 } } }";
    let text = nodes(&[
        x(),
        node("two", "Const", "", two),
        node("v", "VarHandleOp", "", &format!("{FLOAT} {PAIR}")),
        node("set", "AssignVariableOp", "v two", FLOAT),
        node("read", "ReadVariableOp", "v ^set", FLOAT),
        node("add", "AssignAddVariableOp", "v two ^read", FLOAT),
        node("again", "ReadVariableOp", "v ^add", FLOAT),
        node("both", "Add", "read again", FLOAT),
    ]);
    let mut context = context(graph(&text, &["both"]).unwrap(), 1);
    assert_eq!(run(&mut context, [0.0, 0.0]).unwrap(), [6.0, 6.0]);
}

/// A variable whose new value is of a shape that the run says: it must be the variable's.
#[test]
fn a_value_of_an_open_shape_is_looked_at_as_it_runs() {
    let int = "attr { key: 'dtype' value { type: DT_INT32 } } attr { key: 'shape' value { shape { dim { size: 1 } } } }";
    let types = "attr { key: 'T' value { type: DT_FLOAT } } attr { key: 'Index' value { type: DT_INT32 } }";
    for (assignment, expected) in [("AssignVariableOp", [1.0, 2.0]), ("AssignAddVariableOp", [11.0, 22.0])] {
        let text = nodes(&[
            x(),
            node("start", "Placeholder", "", int),
            node("size", "Placeholder", "", int),
            node("part", "Slice", "x start size", types),
            node("v", "VarHandleOp", "", &format!("{FLOAT} {PAIR} {INITIAL}")),
            node("set", assignment, "v part", FLOAT),
            node("read", "ReadVariableOp", "v ^set", FLOAT),
        ]);
        let mut context = context(graph(&text, &["read"]).unwrap(), 1);
        let names: Vec<String> = context.plan().inputs.iter().map(|(name, _)| name.to_string()).collect();
        let mut run = |size: i32| -> Result<Vec<f32>, GraphError> {
            let (pair, one) = (Shape::new(&[2]).unwrap(), Shape::new(&[1]).unwrap());
            let (x, zero, size) = ([1f32, 2.0], [0i32], [size]);
            let feed = |name: &String| match name.as_str() {
                "x" => Feed::Tensor(TensorView::from_slice(pair, &x).unwrap()),
                "start" => Feed::Tensor(TensorView::from_slice(one, &zero).unwrap()),
                _ => Feed::Tensor(TensorView::from_slice(one, &size).unwrap()),
            };
            context.run(&names.iter().map(feed).collect::<Vec<_>>())?;
            Ok(context.output(0).unwrap().as_slice::<f32>().unwrap().to_vec())
        };
        assert_eq!(run(2).unwrap(), expected, "{assignment}");
        // One element is not added to both.
        let error = run(1).unwrap_err().to_string();
        assert!(error.contains("is of shape [1]"), "{error}");
    }
}
