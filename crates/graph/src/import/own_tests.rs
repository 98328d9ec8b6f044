use tightfit_core::{DType, Shape, TensorView};

use super::*;
use crate::exec::Feed;
use crate::fact::Fact;
use crate::import::ImportOptions;
use crate::import::text_graph::{context, graph_with, node};
use crate::ir::Graph;
use crate::operator::{Call, Memory, Run};

/// Twice its input, so many times.
#[derive(Debug)]
struct Doubles {
    name: &'static str,
    count: usize,
    /// An input that it claims to be another form of.
    alias: Option<usize>,
}

impl Operator for Doubles {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let [input] = inputs else { return Err(OpError::Invalid("takes one input".into())) };
        if input.dtype != DType::F32 {
            return Err(OpError::input(0, "is not float32"));
        }
        Ok(vec![Fact::new(DType::F32, input.dims.clone()); self.count])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory { alias: self.alias, ..Memory::default() }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.slice::<f32>(0)?;
        (0..self.count).try_for_each(|output| {
            run.out::<f32>(output)?.iter_mut().zip(input).for_each(|(y, x)| *y = 2.0 * x);
            Ok(())
        })
    }
}

fn doubles(name: &'static str) -> impl Fn(&Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    move |attributes| {
        let alias =
            attributes.node().attr("alias").is_some().then(|| attributes.count("alias")).transpose()?;
        Ok(Box::new(Doubles { name, count: attributes.outputs("count")?, alias }))
    }
}

/// A graph of these nodes after an input `x` of any number of floats.
fn own_graph(rest: &str, fetches: &[&str]) -> Result<Graph, GraphError> {
    let mut operators = Operators::new();
    operators.add("Doubles", &["first", "rest"], doubles("Doubles")).unwrap();
    operators.add("Misnamed", &["y"], doubles("Doubles")).unwrap();
    let input = node(
        "x",
        "Placeholder",
        "",
        "attr { key: \"dtype\" value { type: DT_FLOAT } } attr { key: \"shape\" value { shape { dim { size: -1 } } } }",
    );
    let text = format!("node {{ {input} }}\n{rest}");
    graph_with(&text, fetches, ImportOptions { operators, ..ImportOptions::default() })
}

fn count(count: i64) -> String {
    format!("attr {{ key: \"count\" value {{ i: {count} }} }}")
}

fn error(nodes: &str) -> String {
    own_graph(nodes, &["y"]).unwrap_err().to_string()
}

#[test]
fn names_that_are_taken_are_refused() {
    let mut operators = Operators::new();
    for taken in ["Add", "Const", "Placeholder", "While", "Switch", "VarHandleOp", "PartitionedCall"] {
        let error = operators.add(taken, &["y"], doubles(taken)).unwrap_err().to_string();
        assert_eq!(error, format!("operator '{taken}' is built in; give yours another name"));
    }
    operators.add("Doubles", &["first", "rest"], doubles("Doubles")).unwrap();
    let error = operators.add("Doubles", &["y"], doubles("Doubles")).unwrap_err().to_string();
    assert_eq!(error, "operator 'Doubles' was added before; give each a name of its own");
    assert_eq!(operators.names().collect::<Vec<_>>(), ["Doubles"]);
}

#[test]
fn what_it_refuses_is_an_error_of_its_node() {
    let text = error(&format!("node {{ {} }}", node("y", "Doubles", "x", "")));
    assert!(text.contains("y") && text.contains("attribute count is missing"), "{text}");
    let text = error(&format!("node {{ {} }}", node("y", "Doubles", "x x", &count(1))));
    assert!(text.contains("takes one input"), "{text}");
    // A built-in one that computes in float32 alone would have been given that.
    let cast =
        "attr { key: \"SrcT\" value { type: DT_FLOAT } } attr { key: \"DstT\" value { type: DT_HALF } }";
    let half = node("half", "Cast", "x", cast);
    let text = error(&format!("node {{ {half} }} node {{ {} }}", node("y", "Doubles", "half", &count(1))));
    assert!(text.contains("input 0 is not float32"), "{text}");
    let text = error(&format!("node {{ {} }}", node("y", "Misnamed", "x", &count(1))));
    assert!(text.contains("calls itself 'Doubles'"), "{text}");
    let text = error(&format!("node {{ {} }}", node("y", "Undoubles", "x", &count(1))));
    assert!(text.contains("operator not supported"), "{text}");
}

#[test]
fn functions_and_loops_call_it() {
    // Two outputs of two tensors in all, by the names that they were added with; in each of three turns.
    let arguments = "input_arg { name: \"n\" type: DT_INT32 } input_arg { name: \"v\" type: DT_FLOAT }";
    let t = |dtype: &str| format!("attr {{ key: \"T\" value {{ type: {dtype} }} }}");
    let constant = |name: &str, value: i32| {
        format!(
            "node_def {{ name: \"{name}\" op: \"Const\" attr {{ key: \"dtype\" value {{ type: DT_INT32 }} }} attr {{ key: \"value\" value {{ tensor {{ dtype: DT_INT32 tensor_shape {{ }} int_val: {value} }} }} }} }}"
        )
    };
    let library = format!(
        "library {{
           function {{ signature {{ name: \"more\" {arguments} output_arg {{ name: \"is\" type: DT_BOOL }} }}
             {} node_def {{ {} }} ret {{ key: \"is\" value: \"less:z:0\" }} }}
           function {{ signature {{ name: \"turn\" {arguments} output_arg {{ name: \"m\" type: DT_INT32 }} output_arg {{ name: \"w\" type: DT_FLOAT }} }}
             {} node_def {{ {} }} node_def {{ {} }} node_def {{ {} }} ret {{ key: \"m\" value: \"next:z:0\" }} ret {{ key: \"w\" value: \"sum:z:0\" }} }} }}",
        constant("three", 3),
        node("less", "Less", "n three:output:0", &t("DT_INT32")),
        constant("one", 1),
        node("next", "AddV2", "n one:output:0", &t("DT_INT32")),
        node("twice", "Doubles", "v", &count(2)),
        node("sum", "AddV2", "twice:first:0 twice:rest:0", &t("DT_FLOAT")),
    );
    let function =
        |key: &str, name: &str| format!("attr {{ key: \"{key}\" value {{ func {{ name: \"{name}\" }} }} }}");
    let types = "attr { key: \"T\" value { list { type: DT_INT32 type: DT_FLOAT } } }";
    let attributes = format!("{} {} {types}", function("cond", "more"), function("body", "turn"));
    let zero = constant("zero", 0).replacen("node_def", "node", 1);
    let text = format!("{zero} node {{ {} }} {library}", node("loop", "While", "zero x", &attributes));
    let mut context = context(own_graph(&text, &["loop:1"]).unwrap(), 2);
    let fed = TensorView::from_slice(Shape::new(&[2]).unwrap(), &[1.0f32, -3.0]).unwrap();
    context.run(&[Feed::Tensor(fed)]).unwrap();
    assert_eq!(context.output(0).unwrap().as_slice::<f32>().unwrap(), [64.0, -192.0]);
}

#[test]
fn a_claim_on_memory_that_is_not_there_is_an_error() {
    for (alias, why) in [(9, "an input that it does not have"), (0, "")] {
        let attributes = format!("{} attr {{ key: \"alias\" value {{ i: {alias} }} }}", count(1));
        let graph =
            own_graph(&format!("node {{ {} }}", node("y", "Doubles", "x", &attributes)), &["y"]).unwrap();
        let bound = crate::bind(&graph, &crate::Binding { batch: Some(2), ..Default::default() }).unwrap();
        let options = crate::plan::PlanOptions::new(1, crate::plan::WeightMode::Resident);
        let planned = crate::plan::Plan::new(&bound, &options);
        match planned {
            Err(error) => assert!(!why.is_empty() && error.to_string().contains(why), "{error}"),
            Ok(_) => assert!(why.is_empty(), "input {alias} is there"),
        }
    }
}

#[test]
fn equal_ones_are_computed_once_and_others_are_not() {
    #[derive(Debug)]
    struct Relu;
    impl Operator for Relu {
        fn name(&self) -> &'static str {
            "MyRelu"
        }
        fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
            Ok(vec![inputs[0].clone()])
        }
        fn run(&self, _: &mut Run<'_>) -> Result<(), OpError> {
            Ok(())
        }
    }
    let mut operators = Operators::new();
    operators.add("MyRelu", &["y"], |_| Ok(Box::new(Relu))).unwrap();
    operators
        .add("Another", &["y"], |_| {
            #[derive(Debug)]
            struct Relu;
            impl Operator for Relu {
                fn name(&self) -> &'static str {
                    "Another"
                }
                fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
                    Ok(vec![inputs[0].clone()])
                }
                fn run(&self, _: &mut Run<'_>) -> Result<(), OpError> {
                    Ok(())
                }
            }
            Ok(Box::new(Relu))
        })
        .unwrap();
    let input = node("x", "Placeholder", "", "attr { key: \"dtype\" value { type: DT_FLOAT } }");
    let nodes =
        [input, node("a", "MyRelu", "x", ""), node("b", "MyRelu", "x", ""), node("c", "Another", "x", "")];
    let text: String = nodes.iter().map(|node| format!("node {{ {node} }}\n")).collect();
    let options = ImportOptions { operators, ..ImportOptions::default() };
    let mut graph = graph_with(&text, &["a", "b", "c"], options).unwrap();
    crate::passes::run(&mut graph).unwrap();
    let [a, b, c] = [0, 1, 2].map(|output| graph.outputs[output].value);
    assert_eq!(a, b);
    assert_ne!(a, c);
}
