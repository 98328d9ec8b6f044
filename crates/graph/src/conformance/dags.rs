//! Random graphs: what runs in a planned arena is what plain interpretation gives, whatever is computed in place, is an
//! alias of something else, is fetched, or is streamed.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use tightfit_core::{DType, MemoryBudget, Shape};
use tightfit_format::{
    AttrValue, GraphDef, GraphWriter, InlineBytes, NodeDef, SourceFile, TensorContent, TensorDef,
};

use super::call::{Caller, Value};
use super::context::{self, same_outputs};
use super::random::{Random, value};
use crate::dim::Dims;
use crate::fact::Fact;
use crate::infer::infer_node;
use crate::ir::{Constant, Graph, Node, NodeKind, Port, ValueRef};
use crate::plan::{Plan, PlanOptions, WeightMode};
use crate::{ImportOptions, import, testing, verify};

struct Dag<'r> {
    graph: Graph,
    values: Vec<ValueRef>,
    random: &'r mut Random,
}

/// The sizes of all tensors: one count of elements, so that any can be reshaped into any shape.
const SHAPES: [&[usize]; 5] = [&[12], &[3, 4], &[4, 3], &[1, 12], &[2, 1, 6]];

impl Dag<'_> {
    fn add(&mut self, kind: NodeKind, inputs: Vec<ValueRef>, facts: Vec<Fact>) -> ValueRef {
        let name = format!("n{}", self.graph.nodes.len());
        let is_operator = matches!(kind, NodeKind::Operator(_));
        let id = self.graph.add(Node { name: name.into(), kind, inputs, control: vec![], facts });
        if is_operator {
            let facts = infer_node(&self.graph, id).unwrap();
            self.graph.node_mut(id).facts = facts;
        }
        ValueRef::of(id)
    }

    fn input(&mut self, dims: &[usize]) {
        let dims = Dims::from(Shape::new(dims).unwrap());
        let facts = vec![Fact::new(DType::F32, dims.clone())];
        let value = self.add(NodeKind::Input { dtype: DType::F32, dims }, vec![], facts);
        let name = self.graph.producer(value).name.to_string();
        self.graph.inputs.push(Port { name, value });
        self.values.push(value);
    }

    fn operator(&mut self, op: &str, inputs: Vec<ValueRef>) {
        let operator = testing::operator(op, &[("T", testing::dtype(DType::F32)), ("N", testing::int(2))]);
        let value = self.add(NodeKind::Operator(Arc::from(operator.unwrap())), inputs, vec![]);
        self.values.push(value);
    }

    fn constant(&mut self, dtype: DType, dims: &[usize], bytes: Vec<u8>) -> ValueRef {
        let constant = Constant::in_memory(dtype, Shape::new(dims).unwrap(), bytes);
        let facts = vec![constant.fact()];
        self.add(NodeKind::Constant(Arc::new(constant)), vec![], facts)
    }

    /// One more value out of those there are, mostly of late ones.
    fn grow(&mut self) {
        let recent = self.values.len().saturating_sub(4);
        let pick = |dag: &mut Self| {
            let from = if dag.random.chance(70) { recent } else { 0 };
            let count = dag.values.len() - from;
            dag.values[from + dag.random.below(count)]
        };
        let a = pick(self);
        let b = pick(self);
        match self.random.below(10) {
            0..3 => {
                let op = self.random.of(&["Relu", "Neg", "Sigmoid", "Identity", "Softmax"]);
                self.operator(op, vec![a]);
            }
            3..6 => {
                let op = self.random.of(&["AddV2", "Mul", "Sub", "Maximum", "AddN"]);
                // Of one shape, by way of a reshape where it must be.
                let dims = self.graph.fact(a).dims.concrete().unwrap();
                let b = self.reshape(b, &dims);
                self.operator(op, vec![a, b]);
            }
            6..9 => {
                let dims = self.random.of(&SHAPES);
                let reshaped = self.reshape(a, dims);
                self.values.push(reshaped);
            }
            _ => {
                let bytes = (0..12).flat_map(|i| (i as f32 / 4.0).to_le_bytes()).collect();
                let constant = self.constant(DType::F32, &[12], bytes);
                self.values.push(constant);
            }
        }
    }

    fn reshape(&mut self, value: ValueRef, dims: &[usize]) -> ValueRef {
        let bytes: Vec<u8> = dims.iter().flat_map(|d| (*d as i32).to_le_bytes()).collect();
        let shape = self.constant(DType::I32, &[dims.len()], bytes);
        let operator = testing::operator("Reshape", &[]).unwrap();
        self.add(NodeKind::Operator(Arc::from(operator)), vec![value, shape], vec![])
    }
}

pub fn dag(random: &mut Random) -> Graph {
    let graph = Graph::new("test", &MemoryBudget::new(u64::MAX));
    let mut dag = Dag { graph, values: vec![], random };
    for _ in 0..1 + dag.random.below(3) {
        let dims = dag.random.of(&SHAPES);
        dag.input(dims);
    }
    for _ in 0..3 + dag.random.below(30) {
        dag.grow();
    }
    let fetched = 1 + dag.random.below(4);
    for i in 0..fetched {
        let value = if i == 0 {
            dag.values[dag.values.len() - 1]
        } else {
            dag.values[dag.random.below(dag.values.len())]
        };
        dag.graph.outputs.push(Port { name: format!("out{i}"), value });
    }
    dag.graph
}

pub fn feeds(graph: &Graph, random: &mut Random, caller: &Caller) -> HashMap<String, Value> {
    let feed = |port: &Port| {
        let shape = graph.fact(port.value).dims.concrete().unwrap();
        (port.name.clone(), value(DType::F32, shape, false, random, caller))
    };
    graph.inputs.iter().map(feed).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_planned_arena_computes_what_plain_memory_does(seed in 1u64..) {
        let mut random = Random(seed);
        let caller = Caller::new();
        let graph = dag(&mut random);
        verify(&graph).unwrap();
        let feeds = feeds(&graph, &mut random, &caller);
        let plain = caller.interpret(&graph, &feeds).unwrap();
        let threads = 1 + random.below(2);
        let planned = context::run(&graph, &feeds, WeightMode::Resident, threads, &caller).unwrap();
        prop_assert_eq!(same_outputs("the session", &plain, &planned, &caller), Ok(()), "{}", graph);
    }
}

const WIDTH: usize = 192;

/// A dense net with weights large enough to be streamed, written and read, and what to feed it.
pub fn streamed_net(name: &str, caller: &Caller) -> (Graph, HashMap<String, Value>) {
    let path = std::env::temp_dir().join(format!("tightfit-{name}-{}.pb", std::process::id()));
    let budget = MemoryBudget::new(u64::MAX);
    let mut writer = GraphWriter::new(std::fs::File::create(&path).unwrap(), &budget).unwrap();
    let mut add = |name: &str, op: &str, inputs: &[&str], attrs: &[(&str, AttrValue)]| {
        let node = NodeDef {
            name: name.into(),
            op: op.into(),
            inputs: inputs.iter().map(|i| (*i).into()).collect(),
            attrs: attrs.iter().map(|(name, value)| ((*name).into(), value.clone())).collect(),
            ..NodeDef::default()
        };
        writer.node(&node, None).unwrap();
    };
    let float = || testing::dtype(DType::F32);
    let mut random = Random(42);
    add("x", "Placeholder", &[], &[("dtype", float())]);
    let mut last = "x".to_string();
    for layer in 0..4 {
        let (weight, name) = (format!("w{layer}"), format!("y{layer}"));
        // The third weight is one value, repeated.
        let count = if layer == 2 { 1 } else { WIDTH * WIDTH };
        let values = random.list(count, |r| (r.below(200) as f32 - 100.0) / 1000.0);
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let content = TensorContent::Inline(InlineBytes::Small(bytes.into()));
        let tensor = TensorDef { dtype: 1, shape: vec![WIDTH as i64; 2], content };
        add(&weight, "Const", &[], &[("dtype", float()), ("value", AttrValue::Tensor(Box::new(tensor)))]);
        let transposed = ("transpose_b", testing::flag(layer % 2 == 1));
        add(&name, "MatMul", &[&last, &weight], &[("T", float()), transposed]);
        last = name;
    }
    writer.finish(1000, 0).unwrap();
    let source = SourceFile::open(&path).unwrap();
    let def = GraphDef::read(source.clone(), &budget).unwrap();
    let graph = import(&source, def, &ImportOptions::default(), &budget).unwrap();
    std::fs::remove_file(&path).unwrap();
    let x = value(DType::F32, Shape::new(&[5, WIDTH]).unwrap(), false, &mut random, caller);
    let shapes = [("x".to_string(), x.shape)].into();
    let graph = crate::bind(&graph, &crate::Binding { shapes, ..Default::default() }).unwrap();
    (graph, [("x".to_string(), x)].into())
}

#[test]
fn streamed_weights_compute_what_resident_ones_do() {
    let caller = Caller::new();
    let (graph, feeds) = streamed_net("streamed", &caller);
    let plain = caller.interpret(&graph, &feeds).unwrap();
    let streamed =
        [1usize, 4 << 10, 64 << 10, 1 << 20].map(|window_bytes| WeightMode::Streamed { window_bytes });
    for weights in streamed {
        let plan = Plan::new(&graph, &PlanOptions::new(1, weights)).unwrap();
        assert_eq!(plan.streamed_bytes, (4 * WIDTH * WIDTH * 4) as u64, "{weights:?}");
    }
    // So much of a weight's bytes, of which there are four.
    let weight_bytes = WIDTH * WIDTH * 4;
    let mixed =
        [(0, 0), (weight_bytes - 1, 0), (weight_bytes, 1), (3 * weight_bytes + 1, 3), (usize::MAX, 4)];
    let mixed = mixed.map(|(kept_bytes, kept)| {
        let weights = WeightMode::Mixed { window_bytes: 4 << 10, kept_bytes };
        let plan = Plan::new(&graph, &PlanOptions::new(1, weights)).unwrap();
        assert_eq!(plan.streamed_bytes, ((4 - kept) * weight_bytes) as u64, "{weights:?}");
        assert_eq!(plan.streaming_cost() == 0, kept == 4, "{weights:?}");
        weights
    });
    for weights in [WeightMode::Resident].into_iter().chain(streamed).chain(mixed) {
        for threads in [1, 3] {
            let outputs = context::run(&graph, &feeds, weights, threads, &caller).unwrap();
            same_outputs(&format!("{weights:?}"), &plain, &outputs, &caller).unwrap();
        }
    }
}
