//! What a context promises to safe code: outputs are its own, and there only after a run that did not fail.

use std::cell::Cell;
use std::sync::{Arc, LazyLock};

use tightfit_core::{Buffer, DType, MemoryBudget, Shape, StopFlag, StringRef, TensorView};
use tightfit_kernels::ThreadPool;

use super::build::{fetch, input, operator};
use crate::GraphError;
use crate::exec::{Context, Feed};
use crate::ir::{Graph, Node, NodeKind, ValueRef};
use crate::operator::Growth;
use crate::operator::strings::{StringPool, Texts};
use crate::operator::{Held, OpError, Run, Slot};
use crate::plan::{Plan, PlanOptions, WeightMode, computes, validate};
use crate::testing;

static OPTIONS: LazyLock<PlanOptions> = LazyLock::new(|| PlanOptions::new(1, WeightMode::Resident));

fn context(graph: &Graph) -> Context {
    let plan = Plan::new(graph, &OPTIONS).unwrap();
    let pool = Arc::new(ThreadPool::new(1).unwrap());
    Context::load(plan, "test", pool, &MemoryBudget::new(64 << 20), 1 << 10).unwrap()
}

fn floats(context: &Context, output: usize) -> Vec<f32> {
    context.output(output).unwrap().as_slice::<f32>().unwrap().to_vec()
}

/// x itself, x twice over, x under another shape and once more under another, and -x.
fn of_inputs(size: usize) -> Graph {
    let mut graph = Graph::new("test", &MemoryBudget::new(u64::MAX));
    let x = input(&mut graph, "x", DType::F32, &[size, 2]);
    let flat = operator(&mut graph, "Squeeze", &[("squeeze_dims", testing::ints(&[]))], &[x]);
    let again = operator(&mut graph, "EnsureShape", &[], &[flat]);
    let negative = operator(&mut graph, "Neg", &[("T", testing::dtype(DType::F32))], &[x]);
    for (name, value) in [("x", x), ("same", x), ("flat", flat), ("again", again), ("negative", negative)] {
        fetch(&mut graph, name, value);
    }
    graph
}

#[test]
fn what_is_fetched_is_never_in_the_memory_of_the_caller() {
    let mut context = context(&of_inputs(3));
    for round in 0..3 {
        let fed: Vec<f32> = (0..6).map(|i| (i + round * 10) as f32).collect();
        let range = fed.as_ptr_range();
        let view = TensorView::from_slice(Shape::new(&[3, 2]).unwrap(), &fed).unwrap();
        context.run(&[Feed::Tensor(view)]).unwrap();
        for output in 0..5 {
            let at = context.output(output).unwrap().bytes().as_ptr().cast::<f32>();
            assert!(!range.contains(&at), "output {output} is the caller's");
        }
        let expected = fed.clone();
        drop(fed);
        for output in 0..4 {
            assert_eq!(floats(&context, output), expected);
        }
        assert_eq!(floats(&context, 4), expected.iter().map(|x| -x).collect::<Vec<f32>>());
        assert_eq!(**context.output(2).unwrap().shape(), [3, 2]);
    }
}

#[test]
fn fetched_strings_that_were_fed_stay() {
    let mut graph = Graph::new("test", &MemoryBudget::new(u64::MAX));
    let text = input(&mut graph, "text", DType::String, &[2]);
    fetch(&mut graph, "text", text);
    let mut context = context(&graph);
    let shape = Shape::new(&[2]).unwrap();
    let texts: Vec<Box<[u8]>> = vec![b"one".as_slice().into(), b"and two".as_slice().into()];
    context.run(&[Feed::Strings(shape, &texts)]).unwrap();
    drop(texts);
    let output = context.output(0).unwrap();
    let read: Vec<&[u8]> =
        output.as_slice::<StringRef>().unwrap().iter().map(|r| context.string(*r)).collect();
    assert_eq!(read, [b"one".as_slice(), b"and two"]);
}

#[test]
fn strings_are_joined_in_memory_that_a_run_takes_as_it_needs() {
    let mut graph = Graph::new("test", &MemoryBudget::new(64 << 20));
    let (a, b) =
        (input(&mut graph, "a", DType::String, &[2, 1]), input(&mut graph, "b", DType::String, &[2]));
    let both = operator(&mut graph, "Add", &[("T", testing::dtype(DType::String))], &[a, b]);
    let twice = operator(&mut graph, "Add", &[("T", testing::dtype(DType::String))], &[both, both]);
    fetch(&mut graph, "both", both);
    fetch(&mut graph, "twice", twice);
    let mut context = context(&graph);
    let shapes = [Shape::new(&[2, 1]).unwrap(), Shape::new(&[2]).unwrap()];
    // The second run's strings are longer than those that there was room for after the first.
    for times in [1, 50, 3] {
        let texts =
            |list: [&str; 2]| list.map(|text| Box::<[u8]>::from(text.repeat(times).as_bytes())).to_vec();
        let (a, b) = (texts(["x", ""]), texts(["one", "2"]));
        context.run(&[Feed::Strings(shapes[0], &a), Feed::Strings(shapes[1], &b)]).unwrap();
        let read = |output| {
            let references = context.output(output).unwrap();
            let texts = references.as_slice::<StringRef>().unwrap().iter();
            texts.map(|r| String::from_utf8(context.string(*r).to_vec()).unwrap()).collect::<Vec<_>>()
        };
        let joined = [["x", "one"], ["x", "2"], ["", "one"], ["", "2"]]
            .map(|[a, b]| format!("{}{}", a.repeat(times), b.repeat(times)));
        assert_eq!(read(0), joined);
        assert_eq!(read(1), joined.map(|text| text.repeat(2)));
    }
}

#[test]
fn a_string_outside_of_its_text_is_refused() {
    let mut graph = Graph::new("test", &MemoryBudget::new(u64::MAX));
    let text = input(&mut graph, "text", DType::String, &[1]);
    fetch(&mut graph, "text", text);
    let mut context = context(&graph);
    for (offset, bytes) in [(0, 4), (4, 1), (u64::MAX, 2), (0, u64::MAX)] {
        let references = [StringRef { offset, bytes }];
        let view = TensorView::from_slice(Shape::new(&[1]).unwrap(), &references).unwrap();
        let error = context.run(&[Feed::Text(view, b"abc")]).unwrap_err();
        assert!(matches!(error, GraphError::Feed { .. }), "{error}");
        assert!(context.output(0).is_none());
    }
}

#[test]
fn there_is_no_output_before_a_run_nor_after_one_that_failed() {
    let fed = [1f32; 6];
    let feed = || [Feed::Tensor(TensorView::from_slice(Shape::new(&[3, 2]).unwrap(), &fed).unwrap())];
    let has_outputs = |context: &Context| (0..6).any(|i| context.output(i).is_some());

    let mut context = context(&of_inputs(3));
    assert!(!has_outputs(&context));
    context.run(&feed()).unwrap();
    assert!((0..5).all(|i| context.output(i).is_some()) && context.output(5).is_none());
    assert!(context.run(&[]).is_err());
    assert!(!has_outputs(&context));
    context.run(&feed()).unwrap();
    context.replan(Plan::new(&of_inputs(2), &OPTIONS).unwrap()).unwrap();
    assert!(!has_outputs(&context));
    assert!(context.run(&feed()).is_err());
    assert!(!has_outputs(&context));
    let view = TensorView::from_slice(Shape::new(&[2, 2]).unwrap(), &fed[..4]).unwrap();
    context.run(&[Feed::Tensor(view)]).unwrap();
    assert_eq!(floats(&context, 0), [1.0; 4]);
    let stop = StopFlag::new();
    context.stop_at(stop.clone());
    stop.set();
    assert!(matches!(context.run(&[Feed::Tensor(view)]), Err(GraphError::Stopped)));
    assert!(!has_outputs(&context));
}

#[test]
fn a_broken_plan_makes_no_session() {
    let mut plan = Plan::new(&of_inputs(3), &OPTIONS).unwrap();
    let fed = plan.inputs[0].1;
    plan.outputs[0].1 = fed;
    let pool = Arc::new(ThreadPool::new(1).unwrap());
    let error = Context::load(plan.clone(), "test", pool, &MemoryBudget::new(64 << 20), 0).err().unwrap();
    assert!(error.to_string().contains("caller's memory"), "{error}");
    let mut context = context(&of_inputs(3));
    assert!(context.replan(plan).is_err());
    assert!(context.output(0).is_none());
    let fed = [1f32; 6];
    let view = TensorView::from_slice(Shape::new(&[3, 2]).unwrap(), &fed).unwrap();
    assert!(context.run(&[Feed::Tensor(view)]).is_err());
}

#[test]
fn every_output_is_taken_once() {
    const OUTPUTS: usize = 200;
    let budget = MemoryBudget::new(1 << 20);
    let mut memory = Buffer::new(&budget, "test", 64 * OUTPUTS).unwrap();
    let start = memory.as_mut_ptr();
    let slots: Vec<Slot> = (0..OUTPUTS)
        .map(|i| Slot {
            start: Cell::new(start.wrapping_add(64 * i)),
            dtype: DType::F32,
            shape: Cell::new(Shape::SCALAR),
            held: Held::Value,
            capacity_bytes: Cell::new(64),
            is_taken: Cell::new(true),
            growth: Cell::new(Growth::PLANNED),
        })
        .collect();
    let pool = ThreadPool::new(1).unwrap();
    let strings = StringPool::new(Texts::default(), Buffer::new(&budget, "test", 0).unwrap(), &budget);
    let tables = crate::operator::tables::Tables::new(&budget);
    let outputs: Vec<usize> = (0..OUTPUTS).collect();
    let mut run = Run {
        pool: &pool,
        slots: &slots,
        inputs: &[],
        outputs: &outputs,
        in_place_input: None,
        stream: None,
        scratch: None,
        strings: &strings,
        tables: &tables,
        rooms: None,
        generator: None,
    };
    run.begin();
    let mut taken: Vec<&mut [f32]> = (0..OUTPUTS).map(|i| run.out::<f32>(i).unwrap()).collect();
    taken.iter_mut().enumerate().for_each(|(i, out)| out[0] = i as f32);
    for i in [0, 1, 63, 64, 65, 127, 128, 199] {
        assert!(matches!(run.output(i), Err(OpError::Internal(_))), "output {i} is taken twice");
    }
    assert!(taken.iter().enumerate().all(|(i, out)| out[0] == i as f32));
    run.begin();
    assert!(run.output(65).is_ok());
}

#[test]
fn a_plan_of_a_hundred_thousand_steps_is_checked_at_once() {
    const STEPS: usize = 100_000;
    let mut graph = Graph::new("test", &MemoryBudget::new(u64::MAX));
    let mut last = input(&mut graph, "x", DType::F32, &[16]);
    let negate = Arc::from(testing::operator("Neg", &[]).unwrap());
    for step in 0..STEPS {
        let facts = vec![graph.fact(last).clone()];
        let kind = NodeKind::Operator(Arc::clone(&negate));
        let node = Node { name: "neg".into(), kind, inputs: vec![last], control: vec![], facts };
        last = ValueRef::of(graph.add(node));
        // Some live to the end.
        if step % 100 == 0 {
            fetch(&mut graph, "kept", last);
        }
    }
    fetch(&mut graph, "last", last);
    let plan = Plan::new(&graph, &OPTIONS).unwrap();
    assert_eq!(plan.steps.len(), STEPS);
    let start = std::time::Instant::now();
    validate(&plan).unwrap();
    let replayed = start.elapsed();
    computes(&plan, &graph).unwrap();
    println!("replayed in {replayed:?}, held against the graph in {:?}", start.elapsed() - replayed);
    assert!(replayed.as_secs() < 5, "{replayed:?}");
}
