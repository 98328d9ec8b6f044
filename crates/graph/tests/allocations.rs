//! A run allocates nothing, not even where shapes depend on data and differ from run to run.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tightfit_core::{DType, MemoryBudget, Shape, TensorView};
use tightfit_format::{AttrValue, GraphDef, ListValue, NodeDef, SourceFile};
use tightfit_graph::dim::Dims;
use tightfit_graph::exec::{Context, Feed};
use tightfit_graph::fact::Fact;
use tightfit_graph::infer::infer_node;
use tightfit_graph::ir::{Constant, Graph, Node, NodeKind, Port, ValueRef};
use tightfit_graph::operator::TensorInfo;
use tightfit_graph::operator::attributes::Attributes;
use tightfit_graph::ops;
use tightfit_graph::plan::{Plan, PlanOptions, WeightMode};
use tightfit_graph::{Binding, ImportOptions, bind, import, passes};
use tightfit_kernels::ThreadPool;

/// Counts allocations of all threads.
struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(start, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Attribute = (&'static str, AttrValue);

/// A graph in the making.
struct Builder(Graph);

impl Builder {
    fn input(&mut self, name: &str, dtype: DType, dims: &[usize]) -> ValueRef {
        let dims = Dims::from(Shape::new(dims).unwrap());
        let facts = vec![Fact::new(dtype, dims.clone())];
        let kind = NodeKind::Input { dtype, dims };
        let node = Node { name: name.into(), kind, inputs: vec![], control: vec![], facts };
        let value = ValueRef::of(self.0.add(node));
        self.0.inputs.push(Port { name: name.into(), value });
        value
    }

    fn ints(&mut self, dims: &[usize], values: &[i32]) -> ValueRef {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.0.add_constant("ints", Constant::in_memory(DType::I32, Shape::new(dims).unwrap(), bytes))
    }

    fn floats(&mut self, dims: &[usize], values: &[f32]) -> ValueRef {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.0.add_constant("floats", Constant::in_memory(DType::F32, Shape::new(dims).unwrap(), bytes))
    }

    /// All outputs of an operator.
    fn all(&mut self, op: &str, attributes: &[Attribute], inputs: &[ValueRef]) -> Vec<ValueRef> {
        let attrs = attributes.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        let name = format!("{op}{}", self.0.nodes.len());
        let def = NodeDef { name: name.as_str().into(), op: op.into(), attrs, ..NodeDef::default() };
        let operator = (ops::find(op).unwrap().import)(&Attributes::new(&def)).unwrap();
        let kind = NodeKind::Operator(Arc::from(operator));
        let node = Node { name: name.into(), kind, inputs: inputs.to_vec(), control: vec![], facts: vec![] };
        let id = self.0.add(node);
        let facts = infer_node(&self.0, id).unwrap_or_else(|e| panic!("{op}: {e}"));
        let count = facts.len();
        self.0.node_mut(id).facts = facts;
        (0..count).map(|output| ValueRef { output: output as _, ..ValueRef::of(id) }).collect()
    }

    fn op(&mut self, op: &str, attributes: &[Attribute], inputs: &[ValueRef]) -> ValueRef {
        self.all(op, attributes, inputs)[0]
    }

    fn fetch(&mut self, name: &str, value: ValueRef) {
        self.0.outputs.push(Port { name: name.into(), value });
    }
}

fn dtype(number: u32) -> AttrValue {
    AttrValue::Type(number as _)
}

const F32: u32 = 1;
const F64: u32 = 2;
const ROWS: usize = 8;

/// Everything that is done to `[n, 4]` rows taken by a mask of eight.
fn graph() -> Graph {
    let mut b = Builder(Graph::new("test", &MemoryBudget::new(u64::MAX)));
    let mask = b.input("mask", DType::Bool, &[ROWS]);
    let params = b.input("params", DType::F32, &[ROWS, 4]);
    let ids = b.input("ids", DType::I32, &[ROWS]);
    let list = |values: &[i64]| AttrValue::List(ListValue::Ints(values.to_vec()));
    let (zero, one, all) = (b.ints(&[], &[0]), b.ints(&[], &[1]), b.ints(&[1], &[-1]));

    // tf.boolean_mask, step by step.
    let flat = b.op("Reshape", &[], &[mask, all]);
    let places = b.op("Where", &[], &[flat]);
    let at = b.op("Squeeze", &[("squeeze_dims", list(&[1]))], &[places]);
    let rows = b.op("GatherV2", &[], &[params, at, zero]);
    b.fetch("rows", rows);

    let bias = b.floats(&[4], &[1.0, 2.0, 3.0, 4.0]);
    let weights = b.floats(&[4, 3], &[0.5; 12]);
    let sum = b.op("AddV2", &[], &[rows, bias]);
    b.fetch("sum", sum);
    let negative = b.op("Neg", &[], &[sum]);
    let relu = b.op("Relu", &[], &[negative]);
    b.fetch("relu", relu);
    let product = b.op("MatMul", &[], &[rows, weights]);
    b.fetch("product", product);
    let softmax = b.op("Softmax", &[], &[rows]);
    b.fetch("softmax", softmax);
    let is_larger = b.op("Greater", &[], &[rows, bias]);
    let chosen = b.op("SelectV2", &[], &[is_larger, rows, sum]);
    b.fetch("chosen", chosen);
    let wide = b.op("Cast", &[("DstT", dtype(F64)), ("SrcT", dtype(F32))], &[rows]);
    b.fetch("wide", wide);
    let added = b.op("AddN", &[], &[rows, sum, relu]);
    b.fetch("added", added);

    let shape = b.ints(&[3], &[-1, 2, 2]);
    let reshaped = b.op("Reshape", &[], &[rows, shape]);
    b.fetch("reshaped", reshaped);
    let asked = b.op("Shape", &[], &[rows]);
    b.fetch("shape", asked);
    let size = b.op("Size", &[], &[rows]);
    b.fetch("size", size);
    let order = b.ints(&[2], &[1, 0]);
    let turned = b.op("Transpose", &[], &[rows, order]);
    b.fetch("turned", turned);
    let square = b.op("BatchMatMulV2", &[], &[turned, rows]);
    b.fetch("square", square);
    let expanded = b.op("ExpandDims", &[], &[rows, zero]);
    b.fetch("expanded", expanded);
    let joined = b.op("ConcatV2", &[], &[rows, sum, zero]);
    b.fetch("joined", joined);
    let packed = b.op("Pack", &[("axis", AttrValue::Int(1))], &[rows, sum]);
    b.fetch("packed", packed);
    let times = b.ints(&[2], &[2, 1]);
    let tiled = b.op("Tile", &[], &[rows, times]);
    b.fetch("tiled", tiled);
    let paddings = b.ints(&[2, 2], &[1, 2, 0, 1]);
    let padded = b.op("Pad", &[], &[rows, paddings]);
    b.fetch("padded", padded);
    let (begin, end) = (b.ints(&[2], &[0, 1]), b.ints(&[2], &[-1, 2]));
    let sliced = b.op("Slice", &[], &[rows, begin, end]);
    b.fetch("sliced", sliced);
    let (last, behind, step) = (b.ints(&[1], &[-2]), b.ints(&[1], &[100]), b.ints(&[1], &[1]));
    let strided = b.op("StridedSlice", &[], &[rows, last, behind, step]);
    b.fetch("strided", strided);
    for (i, part) in b.all("Split", &[("num_split", AttrValue::Int(2))], &[one, rows]).into_iter().enumerate()
    {
        b.fetch(&format!("part {i}"), part);
    }
    let columns = [("num", AttrValue::Int(4)), ("axis", AttrValue::Int(1))];
    for (i, column) in b.all("Unpack", &columns, &[rows]).into_iter().enumerate() {
        b.fetch(&format!("column {i}"), column);
    }

    let axes = b.ints(&[1], &[0]);
    let total = b.op("Sum", &[], &[rows, axes]);
    b.fetch("total", total);
    let mean = b.op("Mean", &[("keep_dims", AttrValue::Bool(true))], &[rows, one]);
    b.fetch("mean", mean);
    let largest = b.op("ArgMax", &[], &[rows, one]);
    b.fetch("largest", largest);
    let running = b.op("Cumsum", &[], &[rows, zero]);
    b.fetch("running", running);
    let two = b.ints(&[], &[2]);
    let best = b.all("TopKV2", &[], &[rows, two]);
    b.fetch("best", best[0]);
    b.fetch("best places", best[1]);
    let zeros = b.op("ZerosLike", &[], &[rows]);
    b.fetch("zeros", zeros);
    let (depth, on, off) = (b.ints(&[], &[8]), b.floats(&[], &[1.0]), b.floats(&[], &[0.0]));
    let marks = b.op("OneHot", &[], &[at, depth, on, off]);
    b.fetch("marks", marks);
    let nested = b.op("GatherNd", &[], &[params, places]);
    b.fetch("nested", nested);

    // tf.unique, after the mask and by itself.
    let masked_ids = b.op("GatherV2", &[], &[ids, at, zero]);
    let unique = b.all("Unique", &[], &[masked_ids]);
    b.fetch("unique", unique[0]);
    b.fetch("unique places", unique[1]);
    let counted = b.all("UniqueWithCounts", &[], &[ids]);
    b.fetch("counts", counted[2]);
    let back = b.op("GatherV2", &[], &[unique[0], unique[1], zero]);
    b.fetch("back", back);
    b.0
}

fn floats(context: &Context, name: &str) -> Vec<f32> {
    let index = context.plan().outputs.iter().position(|(n, _)| n == name).unwrap();
    context.output(index).unwrap().as_slice::<f32>().unwrap().to_vec()
}

fn shape(context: &Context, name: &str) -> Vec<usize> {
    let index = context.plan().outputs.iter().position(|(n, _)| n == name).unwrap();
    context.output(index).unwrap().shape().to_vec()
}

fn check(context: &Context, mask: &[u8], params: &[f32]) {
    let kept: Vec<&[f32]> =
        params.chunks(4).zip(mask).filter(|(_, is_set)| **is_set == 1).map(|(row, _)| row).collect();
    let n = kept.len();
    assert_eq!(floats(context, "rows"), kept.concat());
    assert_eq!(shape(context, "product"), [n, 3]);
    let product: Vec<f32> = kept.iter().flat_map(|row| [0.5 * row.iter().sum::<f32>(); 3]).collect();
    assert_eq!(floats(context, "product"), product);
    assert_eq!(shape(context, "reshaped"), [n, 2, 2]);
    assert_eq!(shape(context, "turned"), [4, n]);
    assert_eq!(shape(context, "square"), [4, 4]);
    assert_eq!(shape(context, "expanded"), [1, n, 4]);
    assert_eq!(shape(context, "joined"), [2 * n, 4]);
    assert_eq!(shape(context, "packed"), [n, 2, 4]);
    assert_eq!(floats(context, "tiled"), [kept.concat(), kept.concat()].concat());
    assert_eq!(shape(context, "padded"), [n + 3, 5]);
    assert_eq!(
        floats(context, "sliced"),
        kept.iter().flat_map(|row| row[1..3].to_vec()).collect::<Vec<f32>>()
    );
    assert_eq!(floats(context, "strided"), kept[n.saturating_sub(2)..].concat());
    assert_eq!(
        floats(context, "part 1"),
        kept.iter().flat_map(|row| row[2..].to_vec()).collect::<Vec<f32>>()
    );
    assert_eq!(floats(context, "column 3"), kept.iter().map(|row| row[3]).collect::<Vec<f32>>());
    let total: Vec<f32> = (0..4).map(|c| kept.iter().map(|row| row[c]).sum()).collect();
    assert_eq!(floats(context, "total"), total);
    assert_eq!(shape(context, "best"), [n, 2]);
    assert_eq!(shape(context, "marks"), [n, 8]);
    assert_eq!(floats(context, "nested"), kept.concat());
    assert_eq!(shape(context, "back"), [n]);
}

/// In one test: what counts allocations counts those of all threads.
#[test]
fn a_run_allocates_nothing() {
    shapes_depend_on_data();
    a_loop_over_lists();
}

/// A loop as TensorFlow 2 writes it, of which no turn allocates.
fn a_loop_over_lists() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/models/region_tensor_lists/model.pb");
    let budget = MemoryBudget::new(64 << 20);
    let source = SourceFile::open(path).unwrap();
    let def = GraphDef::read(source.clone(), &budget).unwrap();
    let mut graph = import(&source, def, &ImportOptions::default(), &budget).unwrap();
    passes::run(&mut graph).unwrap();
    let mut bound = bind(&graph, &Binding { batch: Some(2), ..Binding::default() }).unwrap();
    passes::run_bound(&mut bound, 1).unwrap();
    let plan = Plan::new(&bound, &PlanOptions::new(1, WeightMode::Resident)).unwrap();
    assert!(plan.steps.iter().any(|step| step.region().is_some()));
    let infos: Vec<_> = plan.inputs.iter().map(|(_, slot)| plan.slots[*slot].info).collect();
    let zeros: Vec<Vec<u8>> =
        infos.iter().map(|info| vec![0; info.shape.elements() * info.dtype.bytes()]).collect();
    let view = |(info, bytes)| {
        let info: &TensorInfo = info;
        let bytes: &Vec<u8> = bytes;
        Feed::Tensor(TensorView::new(info.dtype, info.shape, bytes).unwrap())
    };
    let feeds: Vec<Feed<'_>> = infos.iter().zip(&zeros).map(view).collect();
    let pool = Arc::new(ThreadPool::new(1).unwrap());
    let mut context = Context::load(plan, "test", pool, &budget, 0).unwrap();
    for _ in 0..2 {
        let before = COUNT.load(Ordering::Relaxed);
        context.run(&feeds).unwrap();
        assert_eq!(COUNT.load(Ordering::Relaxed) - before, 0, "a loop allocates");
    }
}

fn shapes_depend_on_data() {
    let options = PlanOptions::new(2, WeightMode::Resident);
    let plan = Plan::new(&graph(), &options).unwrap();
    let dynamic = plan.steps.iter().filter(|step| step.is_dynamic).count();
    assert!(dynamic >= 36, "only {dynamic} steps have shapes that depend on data");
    let pool = Arc::new(ThreadPool::new(2).unwrap());
    // A thread that the system has not started yet allocates when it begins, which is not the run's doing.
    let both = std::sync::Barrier::new(2);
    pool.run(2, &|_, _| {
        both.wait();
    });
    let mut context = Context::load(plan, "test", pool, &MemoryBudget::new(64 << 20), 0).unwrap();
    let params: Vec<f32> = (0..ROWS * 4).map(|i| (i * 7 % 13) as f32 - 4.0).collect();
    let ids: Vec<i32> = (0..ROWS as i32).map(|i| i * i % 5).collect();
    let mut most = 0;
    for bits in [0b1011_0010u32, 0, 0xff, 0b1, 0b1000_0000, 0b0110_1111, 0b1011_0010] {
        let mask: Vec<u8> = (0..ROWS).map(|i| (bits >> i & 1) as u8).collect();
        let feeds = [
            Feed::Tensor(TensorView::new(DType::Bool, Shape::new(&[ROWS]).unwrap(), &mask).unwrap()),
            Feed::Tensor(TensorView::from_slice(Shape::new(&[ROWS, 4]).unwrap(), &params).unwrap()),
            Feed::Tensor(TensorView::from_slice(Shape::new(&[ROWS]).unwrap(), &ids).unwrap()),
        ];
        let mut by_step = [0usize; 128];
        let mut before = COUNT.load(Ordering::Relaxed);
        context
            .run_steps(&feeds, &mut |step| {
                let now = COUNT.load(Ordering::Relaxed);
                by_step[step] = now - before;
                before = now;
            })
            .unwrap();
        for (step, count) in by_step.iter().enumerate().filter(|(_, count)| **count > 0) {
            println!("{count} allocations in {}", context.plan().steps[step].name);
            most += count;
        }
        check(&context, &mask, &params);
    }
    assert_eq!(most, 0, "runs allocate");
}
