//! Values whose size has no bound take memory in a run: as much as they have, for as long as they are needed, out of the
//! budget and never past it. Runs of the same sizes allocate nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use tightfit_core::{DType, MemoryBudget, Shape, TensorView};
use tightfit_format::{AttrValue, NodeDef};
use tightfit_graph::GraphError;
use tightfit_graph::dim::Dims;
use tightfit_graph::exec::{Context, Feed};
use tightfit_graph::fact::Fact;
use tightfit_graph::infer::infer_node;
use tightfit_graph::ir::{Constant, Graph, Node, NodeKind, Port, ValueRef};
use tightfit_graph::operator::attributes::Attributes;
use tightfit_graph::ops;
use tightfit_graph::plan::{Plan, PlanOptions, WeightMode};
use tightfit_kernels::ThreadPool;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Builder(Graph);

impl Builder {
    fn ints(&mut self, dims: &[usize], values: &[i32]) -> ValueRef {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.0.add_constant("ints", Constant::in_memory(DType::I32, Shape::new(dims).unwrap(), bytes))
    }

    fn op(&mut self, op: &str, attributes: &[(&str, AttrValue)], inputs: &[ValueRef]) -> ValueRef {
        let attrs = attributes.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        let name = format!("{op}{}", self.0.nodes.len());
        let def = NodeDef { name: name.as_str().into(), op: op.into(), attrs, ..NodeDef::default() };
        let operator = (ops::find(op).unwrap().import)(&Attributes::new(&def)).unwrap();
        let kind = NodeKind::Operator(Arc::from(operator));
        let node = Node { name: name.into(), kind, inputs: inputs.to_vec(), control: vec![], facts: vec![] };
        let id = self.0.add(node);
        let facts = infer_node(&self.0, id).unwrap_or_else(|e| panic!("{op}: {e}"));
        self.0.node_mut(id).facts = facts;
        ValueRef::of(id)
    }
}

/// The numbers below the one that is fed, squared and summed up, and every other one of them.
fn graph() -> Graph {
    let mut b = Builder(Graph::new("test.pb", &MemoryBudget::new(u64::MAX)));
    let dims = Dims::scalar();
    let facts = vec![Fact::new(DType::I32, dims.clone())];
    let kind = NodeKind::Input { dtype: DType::I32, dims };
    let input = Node { name: "limit".into(), kind, inputs: vec![], control: vec![], facts };
    let limit = ValueRef::of(b.0.add(input));
    b.0.inputs.push(Port { name: "limit".into(), value: limit });
    let (zero, one, two) = (b.ints(&[], &[0]), b.ints(&[], &[1]), b.ints(&[1], &[2]));
    let numbers = b.op("Range", &[], &[zero, limit, one]);
    let types = [("SrcT", AttrValue::Type(3)), ("DstT", AttrValue::Type(1))];
    let floats = b.op("Cast", &types, &[numbers]);
    // In place one after the other: the numbers are needed by nobody else.
    let squares = b.op("Square", &[], &[floats]);
    let negative = b.op("Neg", &[], &[squares]);
    let shape = b.ints(&[2], &[-1, 2]);
    let pairs = b.op("Reshape", &[], &[negative, shape]);
    let axes = b.ints(&[1], &[0]);
    let sums = b.op("Sum", &[], &[pairs, axes]);
    let first = b.ints(&[1], &[0]);
    let end = b.ints(&[1], &[i32::MAX]);
    let halves = b.op("StridedSlice", &[], &[numbers, first, end, two]);
    b.0.outputs.push(Port { name: "sums".into(), value: sums });
    b.0.outputs.push(Port { name: "halves".into(), value: halves });
    b.0
}

fn context(budget: &MemoryBudget) -> Context {
    let plan = Plan::new(&graph(), &PlanOptions::new(1, WeightMode::Resident)).unwrap();
    let grows: Vec<String> = plan.growing().iter().map(|g| format!("{} {}", g.op, g.what)).collect();
    let expected = [
        "Range int32[?]",
        "Cast float32[?]",
        "Square float32[?]",
        "Neg float32[?]",
        "Reshape float32[?, 2]",
        "StridedSlice int32[?]",
    ];
    assert_eq!(grows, expected);
    assert!(plan.arena_bytes <= 192, "what grows has no place in the arena");
    Context::load(plan, "test.pb", Arc::new(ThreadPool::new(1).unwrap()), budget, 0).unwrap()
}

fn run(context: &mut Context, limit: i32) -> Result<(), GraphError> {
    let limit = [limit];
    context.run(&[Feed::Tensor(TensorView::from_slice(Shape::SCALAR, &limit).unwrap())])
}

fn check(context: &Context, limit: i32) {
    let sums = context.output(0).unwrap().as_slice::<f32>().unwrap().to_vec();
    let of = |first: i64| -(first..i64::from(limit)).step_by(2).map(|i| i * i).sum::<i64>() as f32;
    assert!(sums.iter().zip([of(0), of(1)]).all(|(sum, of)| (sum - of).abs() <= 1e-5 * of.abs()), "{sums:?}");
    let halves = context.output(1).unwrap();
    assert_eq!(halves.as_slice::<i32>().unwrap(), (0..limit).step_by(2).collect::<Vec<_>>());
}

/// What is held at once for a limit: the numbers, and beside them their squares, or half of them.
fn needed_bytes(limit: i32) -> u64 {
    2 * (limit as u64 * 4).next_multiple_of(64)
}

#[test]
fn what_grows_takes_what_it_needs_and_never_more() {
    let outside = MemoryBudget::new(64 << 20);
    let mut context = context(&outside);
    for limit in [2i32, 0, 100, 16, 2000] {
        let budget = outside.child(needed_bytes(limit));
        context.grow_in(&budget);
        run(&mut context, limit).unwrap_or_else(|error| panic!("{limit}: {error}"));
        check(&context, limit);
        assert_eq!(budget.peak_bytes(), needed_bytes(limit));
        if limit < 2 {
            continue;
        }
        let budget = outside.child(needed_bytes(limit) - 1);
        context.grow_in(&budget);
        let error = run(&mut context, limit).unwrap_err();
        let GraphError::Memory { node: Some((node, op)), source, .. } = &error else { panic!("{error}") };
        assert_eq!((&node[..], &op[..]), ("Cast5", "Cast"));
        let free_bytes = needed_bytes(limit) / 2 - 1;
        assert_eq!((source.asked_bytes, source.free_bytes), (needed_bytes(limit) / 2, free_bytes));
        assert!(error.to_string().starts_with("test.pb: node 'Cast5' (Cast): data-dependent memory needs "));
        assert!(context.output(0).is_none());
        // What was refused holds nothing.
        assert_eq!(budget.used_bytes(), 0);
    }
    drop(context);
    assert_eq!(outside.used_bytes(), 0);
}

#[test]
fn whether_it_fits_does_not_depend_on_what_went_before() {
    let budget = MemoryBudget::new(64 << 20);
    let mut context = context(&budget);
    let room = budget.child(needed_bytes(1000));
    context.grow_in(&room);
    let mut random = 1u32;
    for _ in 0..200 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let limit = (random >> 21) as i32 & !1;
        assert_eq!(run(&mut context, limit).is_ok(), needed_bytes(limit) <= needed_bytes(1000), "{limit}");
        assert!(room.peak_bytes() <= needed_bytes(1000));
    }
}

#[test]
fn runs_of_one_size_allocate_nothing() {
    let budget = MemoryBudget::new(64 << 20);
    let mut context = context(&budget);
    run(&mut context, 1000).unwrap();
    run(&mut context, 1000).unwrap();
    let (count, bytes) = (COUNT.get(), budget.used_bytes());
    for _ in 0..3 {
        run(&mut context, 1000).unwrap();
    }
    assert_eq!(COUNT.get(), count);
    check(&context, 1000);
    assert_eq!(budget.used_bytes(), bytes);
}

#[test]
fn hostile_sizes_are_refused() {
    let budget = MemoryBudget::new(64 << 20);
    let mut context = context(&budget);
    assert!(matches!(run(&mut context, i32::MAX), Err(GraphError::Memory { .. })));
    // One element too many for pairs.
    let error = run(&mut context, 3).unwrap_err().to_string();
    assert!(error.contains("Reshape") && error.contains("2 elements where there are 3"), "{error}");
    run(&mut context, 4).unwrap();
    check(&context, 4);
}
