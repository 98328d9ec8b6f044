//! Makes one table of operators that follow from one tensor of quantised bytes, element by element: `x sigmoid(x)` of a swish,
//! functions of functions, and what is computed in floats between bytes. There are 256 integers that an element can be, and
//! each is computed ahead.

use std::sync::Arc;

use tightfit_core::{DType, Shape, TensorView};

use super::rewrite::{Uses, replace, sweep};
use crate::fact::{Fact, Known};
use crate::ir::{Graph, NodeId, NodeKind, ValueRef};
use crate::operator::{OpError, evaluate};
use crate::ops::math::binary::Binary;
use crate::ops::math::cast::Cast;
use crate::ops::math::unary::Unary;
use crate::ops::tfl::arithmetic::Pair;
use crate::ops::tfl::byte_function::ByteFunction;
use crate::ops::tfl::convert::Quantize;
use crate::ops::tfl::table::Table;

/// Integers that there are in a byte.
const BYTES: usize = 256;
/// How many operators deep a function is looked into.
const DEPTH: usize = 8;

/// Makes all that can be.
pub fn fuse(graph: &mut Graph) -> bool {
    sweep(graph, |graph, uses, id| {
        let x = argument(graph, uses, id)?;
        let bytes = match values(graph, ValueRef::of(id), x, DEPTH) {
            Ok(bytes) => bytes?,
            Err(OpError::Budget(error)) => {
                graph.refuse(error);
                return None;
            }
            // An error comes up again where the node is computed, and is reported there.
            Err(_) => return None,
        };
        let dtype = graph.fact(x).dtype;
        let table = Box::new(<[u8; BYTES]>::try_from(bytes).ok()?);
        replace(graph, uses, id, Arc::new(ByteFunction { dtype, table }), vec![x]);
        Some(())
    })
}

/// True for an operator that computes each element from one of each input.
fn is_function(graph: &Graph, value: ValueRef) -> bool {
    let node = graph.producer(value);
    let is_of_bytes =
        node.is::<Table>().is_some() || node.is::<ByteFunction>().is_some() || node.is::<Pair>().is_some();
    let is_of_floats =
        node.is::<Cast>().is_some() || node.is::<Unary>().is_some() || node.is::<Binary>().is_some();
    let is_quantized = node.is::<Quantize>().is_some_and(Quantize::has_one_scale);
    (is_of_bytes || is_of_floats || is_quantized) && node.control.is_empty()
}

/// The one element of a constant that is known.
fn scalar(graph: &Graph, value: ValueRef) -> Option<&[u8]> {
    let view = graph.producer(value).constant().and(graph.fact(value).view());
    match (view.map(|view| view.shape().elements()), graph.fact(value).value.as_ref()) {
        (Some(1), Some(Known::Bytes(bytes))) => Some(bytes),
        _ => None,
    }
}

/// The tensor of bytes that a node follows from, where there is more than one step between them or it is taken twice.
fn argument(graph: &Graph, uses: &Uses, id: NodeId) -> Option<ValueRef> {
    let (node, fact) = (graph.node(id), graph.node(id).facts.first()?);
    let is_byte = |dtype: DType| matches!(dtype, DType::I8 | DType::U8);
    if !is_byte(fact.dtype) || fact.depends_on_data() || !is_function(graph, ValueRef::of(id)) {
        return None;
    }
    let mut candidates = Vec::new();
    node.inputs.iter().for_each(|input| collect(graph, *input, DEPTH, &mut candidates));
    // What is furthest back makes the most of one table.
    candidates.into_iter().find(|x| {
        let own = graph.fact(*x);
        let is_whole = own.dtype == fact.dtype && own.dims.is_surely(&fact.dims);
        let has_more = node.inputs.iter().any(|input| input != x);
        is_whole && has_more && node.inputs.iter().all(|input| is_of(graph, uses, *input, *x, DEPTH))
    })
}

/// The values that an input follows from, those furthest back first.
fn collect(graph: &Graph, value: ValueRef, depth: usize, into: &mut Vec<ValueRef>) {
    if let (true, Some(depth)) = (is_function(graph, value), depth.checked_sub(1)) {
        graph.producer(value).inputs.iter().for_each(|input| collect(graph, *input, depth, into));
    }
    if scalar(graph, value).is_none() && !into.contains(&value) {
        into.push(value);
    }
}

/// True where a value is `x` or follows from it alone, and nothing else takes what is between them.
fn is_of(graph: &Graph, uses: &Uses, value: ValueRef, x: ValueRef, depth: usize) -> bool {
    let own = |depth| graph.producer(value).inputs.iter().all(|input| is_of(graph, uses, *input, x, depth));
    let is_function = || is_function(graph, value) && uses.is_used_once(value);
    let is_between = || is_function() && depth.checked_sub(1).is_some_and(own);
    value == x || scalar(graph, value).is_some() || is_between()
}

/// What a value is for each byte that an element of `x` may be.
fn values(graph: &Graph, value: ValueRef, x: ValueRef, depth: usize) -> Result<Option<Vec<u8>>, OpError> {
    if value == x {
        return Ok(Some((0..=u8::MAX).collect()));
    }
    if let Some(bytes) = scalar(graph, value) {
        return Ok(Some(bytes.repeat(BYTES)));
    }
    let node = graph.producer(value);
    let (NodeKind::Operator(operator), Some(depth)) = (&node.kind, depth.checked_sub(1)) else {
        return Ok(None);
    };
    let Ok(shape) = Shape::new(&[BYTES]) else { return Ok(None) };
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for input in &node.inputs {
        let Some(bytes) = values(graph, *input, x, depth)? else { return Ok(None) };
        inputs.push((graph.fact(*input).dtype, bytes));
    }
    let views = inputs.iter().map(|(dtype, bytes)| TensorView::new(*dtype, shape, bytes));
    let Some(views) = views.collect::<Option<Vec<_>>>() else { return Ok(None) };
    let facts = [Fact::new(graph.fact(value).dtype, shape)];
    let mut outputs = evaluate(&**operator, &views, &facts, graph.budget())?;
    Ok(outputs.pop().map(|(_, bytes)| bytes))
}

#[cfg(test)]
mod tests {
    use tightfit_core::{Shape, TensorView};

    use crate::exec::{Context, Feed};
    use crate::import::text_graph::{context, graph, node, placeholder, plain};

    const DIMS: [usize; 2] = [3, 100];

    fn list(name: &str, values: &[&str]) -> String {
        let values: String = values.iter().map(|value| format!("{value} ")).collect();
        format!("attr {{ key: \"{name}\" value {{ list {{ {values} }} }} }} ")
    }

    /// What integers stand for, on either side of a node.
    fn scales(of: &str, scales: &[f32], zeros: &[i64]) -> String {
        let scales: Vec<_> = scales.iter().map(|scale| format!("f: {scale}")).collect();
        let zeros: Vec<_> = zeros.iter().map(|zero| format!("i: {zero}")).collect();
        let text = |all: &[String]| all.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        list(&format!("{of}_scale"), &[&text(&scales)]) + &list(&format!("{of}_zero_point"), &[&text(&zeros)])
    }

    fn tfl(name: &str, op: &str, inputs: &str, input: (&[f32], &[i64]), output: (f32, i64)) -> String {
        let input = if input.0.is_empty() { String::new() } else { scales("input", input.0, input.1) };
        let output = scales("output", &[output.0], &[output.1]);
        let dtype = "attr { key: \"output_type\" value { type: DT_INT8 } }";
        format!("node {{ {} }}", node(name, op, inputs, &format!("{input}{output}{dtype}")))
    }

    fn number(name: &str, value: f32) -> String {
        let value = format!("tensor {{ dtype: DT_FLOAT tensor_shape {{ }} float_val: {value} }}");
        let attributes = format!(
            "attr {{ key: \"dtype\" value {{ type: DT_FLOAT }} }} attr {{ key: \"value\" value {{ {value} }} }}"
        );
        format!("node {{ {} }}", node(name, "Const", "", &attributes))
    }

    fn functions(fetches: &[&str]) -> Context {
        let types =
            "attr { key: \"SrcT\" value { type: DT_INT8 } } attr { key: \"DstT\" value { type: DT_FLOAT } }";
        let text = [
            placeholder("x", &DIMS),
            number("zero", 3.0),
            number("scale", 0.05),
            tfl("bytes", "tfl.quantize", "x", (&[], &[]), (0.05, 3)),
            tfl("sigmoid", "tfl.logistic", "bytes", (&[0.05], &[3]), (1.0 / 256.0, -128)),
            tfl("swish", "tfl.mul", "bytes sigmoid", (&[0.05, 1.0 / 256.0], &[3, -128]), (0.04, -90)),
            format!("node {{ {} }}", node("floats", "Cast", "bytes", types)),
            plain("less", "Sub", "floats zero"),
            plain("numbers", "Mul", "less scale"),
            plain("curve", "Tanh", "numbers"),
            tfl("back", "tfl.quantize", "curve", (&[], &[]), (1.0 / 128.0, 0)),
        ];
        context(graph(&text.join("\n"), fetches).unwrap(), 1)
    }

    fn outputs(context: &mut Context) -> [Vec<i8>; 2] {
        let x: Vec<f32> = (0..300).map(|i| (i as f32 - 150.0) * 0.06).collect();
        let view = TensorView::from_slice(Shape::new(&DIMS).unwrap(), &x).unwrap();
        context.run(&[Feed::Tensor(view)]).unwrap();
        [0, 1].map(|output| context.output(output).unwrap().as_slice::<i8>().unwrap().to_vec())
    }

    #[test]
    fn functions_of_one_byte_are_one_table() {
        let mut fused = functions(&["swish", "back"]);
        // What is fetched is computed.
        let mut apart = functions(&["swish", "back", "sigmoid", "curve"]);
        let names = |context: &Context| context.plan().steps.iter().map(|s| s.op_name()).collect::<Vec<_>>();
        assert_eq!(names(&fused), ["tfl.quantize", "tfl.byte_function", "tfl.byte_function"]);
        assert!(!names(&apart).contains(&"tfl.byte_function"));
        assert_eq!(outputs(&mut fused), outputs(&mut apart));
    }
}
