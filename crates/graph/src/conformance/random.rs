//! Random calls of every registered operator: whatever a file says, it is refused or computed, and a call that is
//! accepted keeps every promise.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tightfit_core::{DType, Shape};
use tightfit_format::{AttrValue, ListValue, NodeDef};

use super::call::{Caller, Shapes, Value};
use super::interpret::describes;
use crate::dim::{Dim, Dims, Symbol};
use crate::fact::Fact;
use crate::import::takes_only_lists;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Held, Operator, TensorInfo};
use crate::ops;
use crate::signature::sample::sample;
use crate::testing;

/// Calls of each operator; more with this variable set.
const CASES: u64 = 400;
const CASES_VARIABLE: &str = "TIGHTFIT_RANDOM_CASES";
/// Larger calls are planned but not computed.
const MAX_BYTES: usize = 256 << 10;
/// The share of the operators that must have computed something.
const MIN_COMPUTED: f64 = 0.8;

/// The generator of Vigna's xorshift64*: the same cases on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    pub fn list<T>(&mut self, len: usize, mut item: impl FnMut(&mut Random) -> T) -> Vec<T> {
        (0..len).map(|_| item(self)).collect()
    }

    fn dtype(&mut self) -> DType {
        if self.chance(50) { self.of(&[DType::F32, DType::F32, DType::I32]) } else { self.of(&DType::ALL) }
    }

    fn shape(&mut self) -> Shape {
        let rank = self.of(&[0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 4, 5]);
        let dims = self.list(rank, |r| r.of(&[0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 8, 17]));
        Shape::new(&dims).unwrap()
    }

    /// Mostly an integer as attributes and indices have them, sometimes one as none should.
    fn int(&mut self) -> i64 {
        match self.below(40) {
            0 => self.of(&[i64::MIN, i64::MAX, i64::MAX / 2, 1 << 31, 1 << 40, -(1 << 40), 1 << 20]),
            1..4 => -(self.below(5) as i64),
            _ => self.below(5) as i64,
        }
    }
}

/// The values an attribute may be expected to have, by the names the operators read.
fn attribute(name: &str, random: &mut Random) -> AttrValue {
    let text = |text: &str| AttrValue::Str(text.as_bytes().into());
    match name {
        "padding" => text(random.of(&["SAME", "VALID", "EXPLICIT", "VALID"])),
        "data_format" => text(random.of(&["NHWC", "NHWC", "NHWC", "NCHW"])),
        "mode" => text(random.of(&["REFLECT", "SYMMETRIC", "MIN_COMBINED"])),
        "align" => text(random.of(&["LEFT_RIGHT", "RIGHT_LEFT", "LEFT_LEFT", "RIGHT_RIGHT"])),
        "equation" => {
            text(random.of(&["ij,jk->ik", "bij,bjk->bik", "ab->ba", "...a,ab->...b", "ii->i", "a->", "ab,"]))
        }
        "strides" | "ksize" | "dilations" | "rates" | "ksizes" => {
            let (height, width) = (1 + random.below(3) as i64, 1 + random.below(3) as i64);
            let second = if random.chance(80) { height } else { width };
            // Volumes have an axis more.
            match random.chance(70) {
                true => testing::ints(&[1, height, second, 1]),
                false => testing::ints(&[1, 1, height, second, 1]),
            }
        }
        "explicit_paddings" => {
            let sizes = random.list(4, |r| r.below(3) as i64);
            testing::ints(&[0, 0, sizes[0], sizes[1], sizes[2], sizes[3], 0, 0])
        }
        "interpolation" => text(random.of(&["NEAREST", "BILINEAR"])),
        "fill_mode" => text(random.of(&["CONSTANT", "REFLECT", "WRAP", "NEAREST"])),
        "kernel_type" => text(random.of(&["lanczos3", "gaussian", "box", "triangle", "keyscubic"])),
        "squeeze_dims" | "dims" => {
            let count = random.below(3);
            testing::ints(&random.list(count, |r| r.below(4) as i64))
        }
        "axis" | "batch_dims" | "batch_dim" | "seq_dim" => AttrValue::Int(random.below(5) as i64 - 1),
        "N" | "num" | "num_split" | "num_partitions" | "block_size" | "k" => {
            AttrValue::Int(random.below(4) as i64)
        }
        "alpha" | "epsilon" | "variance_epsilon" | "exponential_avg_factor" => {
            AttrValue::Float(random.of(&[0.1, 1e-3, 1.0, 0.0, f32::NAN, f32::INFINITY, -1.0]))
        }
        name if name.ends_with("mask") => AttrValue::Int(random.below(16) as i64),
        "value" => AttrValue::Tensor(Box::default()),
        "shape" => AttrValue::Shape(Default::default()),
        name if name.starts_with(char::is_uppercase) || name.contains("type") || name == "out_idx" => {
            let dtype = random.dtype();
            testing::dtype(dtype)
        }
        _ => AttrValue::Bool(random.chance(50)),
    }
}

const NAMES: &[&str] = &[
    "padding",
    "data_format",
    "mode",
    "align",
    "equation",
    "strides",
    "ksize",
    "dilations",
    "rates",
    "ksizes",
    "explicit_paddings",
    "interpolation",
    "fill_mode",
    "kernel_type",
    "squeeze_dims",
    "axis",
    "batch_dims",
    "batch_dim",
    "seq_dim",
    "N",
    "num",
    "num_split",
    "num_partitions",
    "block_size",
    "k",
    "alpha",
    "epsilon",
    "variance_epsilon",
    "exponential_avg_factor",
    "value",
    "begin_mask",
    "end_mask",
    "ellipsis_mask",
    "new_axis_mask",
    "shrink_axis_mask",
    "shape",
    "T",
    "DstT",
    "SrcT",
    "Tidx",
    "Truncate",
    "dtype",
    "out_type",
    "output_type",
    "out_idx",
    "transpose_a",
    "transpose_b",
    "adj_x",
    "adj_y",
    "keep_dims",
    "is_training",
    "scale_after_normalization",
    "align_corners",
    "half_pixel_centers",
    "sorted",
    "exclusive",
    "reverse",
    "type",
];

/// A value of any kind, for an attribute of another one.
fn wrong_attribute(random: &mut Random) -> AttrValue {
    match random.below(10) {
        0 => AttrValue::Int(random.int()),
        1 => AttrValue::Float(f32::from_bits(random.next() as u32)),
        2 => AttrValue::List(ListValue::Empty),
        3 => {
            let count = random.below(9);
            testing::ints(&random.list(count, Random::int))
        }
        4 => AttrValue::Str([0xFF, 0xFE].as_slice().into()),
        5 => AttrValue::Type(random.int() as i32),
        6 => AttrValue::None,
        7 => AttrValue::Bool(true),
        8 => AttrValue::List(ListValue::Types(vec![1, 3, 7])),
        _ => AttrValue::Str("".as_bytes().into()),
    }
}

fn node(op: &str, random: &mut Random) -> NodeDef {
    let wrong_percent = random.of(&[0, 0, 0, 3, 40]);
    let missing_percent = random.of(&[0, 0, 0, 20, 100]);
    let mut attrs: Vec<(Box<str>, AttrValue)> = Vec::new();
    for name in NAMES {
        // Mostly left out in files, and rarely anything but their default.
        let is_rare = matches!(*name, "explicit_paddings" | "shape" | "value");
        if random.chance(missing_percent) || (is_rare && random.chance(70)) {
            continue;
        }
        let value =
            if random.chance(wrong_percent) { wrong_attribute(random) } else { attribute(name, random) };
        attrs.push(((*name).into(), value));
    }
    // Without, random numbers are others in each call.
    attrs.push(("seed".into(), AttrValue::Int(7)));
    NodeDef { name: "test".into(), op: op.into(), attrs, ..NodeDef::default() }
}

pub fn value(dtype: DType, shape: Shape, is_index: bool, random: &mut Random, caller: &Caller) -> Value {
    let count = shape.elements();
    if dtype == DType::String {
        let texts = random.list(count, |r| r.of(&["", "a", "bc", "longer than both"]));
        return caller.strings(shape, &texts);
    }
    let mut bytes = Vec::with_capacity(count * dtype.bytes());
    for _ in 0..count {
        let x = if is_index { random.int() } else { random.below(9) as i64 - 2 };
        let y = match random.below(60) {
            0 => random.of(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e30]),
            _ => x as f64 / 2.0,
        };
        match dtype {
            DType::F32 => bytes.extend((y as f32).to_le_bytes()),
            DType::F64 => bytes.extend(y.to_le_bytes()),
            DType::F16 => bytes.extend(half::f16::from_f64(y).to_le_bytes()),
            DType::BF16 => bytes.extend(half::bf16::from_f64(y).to_le_bytes()),
            DType::C64 => bytes.extend([y as f32, x as f32].map(f32::to_le_bytes).concat()),
            DType::C128 => bytes.extend([y, x as f64].map(f64::to_le_bytes).concat()),
            DType::Bool => bytes.push((x & 1) as u8),
            _ => bytes.extend(&x.to_le_bytes()[..dtype.bytes()]),
        }
    }
    Value { dtype, shape, bytes }
}

/// The indices, elements and shape that a sparse tensor of a type is.
fn sparse(dtype: DType, random: &mut Random, caller: &Caller) -> [Value; 3] {
    let rank = 1 + random.below(3);
    let dims = random.list(rank, |r| 1 + r.below(4));
    // Places in the order of rows, each once.
    let places: Vec<usize> = (0..dims.iter().product()).filter(|_| random.chance(40)).collect();
    let mut indices = Vec::new();
    for place in &places {
        let mut rest = *place;
        let mut index = vec![0i64; rank];
        for (at, size) in index.iter_mut().zip(&dims).rev() {
            *at = (rest % size) as i64;
            rest /= size;
        }
        indices.extend(index.iter().flat_map(|i| i.to_le_bytes()));
    }
    let shape = |dims: &[usize]| Shape::new(dims).unwrap();
    let size_bytes = dims.iter().flat_map(|size| (*size as i64).to_le_bytes()).collect();
    [
        Value { dtype: DType::I64, shape: shape(&[places.len(), rank]), bytes: indices },
        value(dtype, shape(&[places.len()]), false, random, caller),
        Value { dtype: DType::I64, shape: shape(&[rank]), bytes: size_bytes },
    ]
}

/// Bytes and weights of a product that they go together in, and numbers or vectors for each output channel beside them;
/// `None` for other types.
fn quantized_inputs(types: &[DType], random: &mut Random, caller: &Caller) -> Option<Vec<Value>> {
    let is_bytes = |dtype: &DType| matches!(dtype, DType::U8 | DType::I8);
    if types.len() < 6 || !types[..2].iter().all(is_bytes) {
        return None;
    }
    let (depth, columns) = (random.of(&[1, 1, 3, 17]), random.of(&[1, 2, 5]));
    let shapes = match random.chance(60) {
        true => [vec![1 + random.below(2), 4, 5, depth], vec![2, 1 + random.below(3), depth, columns]],
        false => [vec![random.below(4), depth], vec![depth, columns]],
    };
    let typed = |(position, dtype): (usize, &DType)| {
        let dims = match shapes.get(position) {
            Some(dims) => dims.clone(),
            None if random.chance(if position == 2 { 60 } else { 15 }) => vec![columns],
            None => vec![],
        };
        value(*dtype, Shape::new(&dims).unwrap(), false, random, caller)
    };
    Some(types.iter().enumerate().map(typed).collect())
}

/// Inputs of the types that the operator is for, of shapes that are related.
fn typed_inputs(types: &[DType], random: &mut Random, caller: &Caller) -> Vec<Value> {
    if random.chance(50)
        && let Some(values) = quantized_inputs(types, random, caller)
    {
        return values;
    }
    // Colours, boxes, pairs and rows of bits have their last axis.
    let mut dims = random.shape().to_vec();
    let last = random.of(&[1, 2, 3, 3, 4, 4]);
    if let Some(own) = dims.last_mut().filter(|_| random.chance(30)) {
        *own = last;
    }
    let shape = Shape::new(&dims).unwrap();
    let first = types.first().copied();
    let typed = |(position, dtype): (usize, &DType)| {
        let is_index =
            position > 0 && matches!(dtype, DType::I32 | DType::I64 | DType::U64) && Some(*dtype) != first;
        let rank = shape.rank();
        let last = shape.last().copied().unwrap_or(1);
        let related = match random.below(12) {
            _ if position == 0 => shape.to_vec(),
            _ if is_index => {
                random.of(&[vec![], vec![], vec![1], vec![2], vec![rank], vec![rank], vec![rank, 2]])
            }
            0..5 => shape.to_vec(),
            5 | 6 => vec![],
            7 => vec![last],
            8 => shape.first().copied().into_iter().collect(),
            9 => shape.iter().map(|d| if random.chance(30) { 1 } else { *d }).collect(),
            10 => vec![last, 1 + random.below(6)],
            _ => random.shape().to_vec(),
        };
        value(*dtype, Shape::new(&related).unwrap(), is_index, random, caller)
    };
    types.iter().enumerate().map(typed).collect()
}

/// Puts sparse tensors where the types of three inputs are those of one.
fn make_sparse(values: &mut [Value], random: &mut Random, caller: &Caller) {
    for place in 0..values.len().saturating_sub(2) {
        if let [DType::I64, dtype, DType::I64] = [0, 1, 2].map(|i| values[place + i].dtype) {
            let made = sparse(dtype, random, caller);
            values[place..place + 3].clone_from_slice(&made);
        }
    }
}

/// Inputs that look like those of one operator: of one type and related shapes, with indices among them.
fn inputs(random: &mut Random, caller: &Caller) -> Vec<Value> {
    let (dtype, shape) = (random.dtype(), random.shape());
    let count = random.of(&[0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 5, 6]);
    let mut channels = shape;
    if let Some(last) = shape.last() {
        channels = Shape::new(&[*last]).unwrap();
    }
    random.list(count, |random| match random.below(20) {
        0..8 => value(dtype, shape, false, random, caller),
        8..10 => {
            let dims: Vec<usize> = shape.iter().map(|d| if random.chance(30) { 1 } else { *d }).collect();
            value(dtype, Shape::new(&dims).unwrap(), false, random, caller)
        }
        10..12 => value(dtype, channels, false, random, caller),
        12..14 => {
            // A filter, or the right-hand side of a product.
            let depth = shape.last().copied().unwrap_or(1);
            let out = 1 + random.below(20);
            let dims = if shape.rank() == 4 {
                vec![1 + random.below(3), 1 + random.below(3), depth, out]
            } else {
                vec![depth, out]
            };
            value(dtype, Shape::new(&dims).unwrap(), false, random, caller)
        }
        14..18 => {
            let rank = shape.rank();
            let dims =
                random.of(&[vec![], vec![], vec![1], vec![rank], vec![rank], vec![rank, 2], vec![2, 2]]);
            let dtype = random.of(&[DType::I32, DType::I32, DType::I64]);
            value(dtype, Shape::new(&dims).unwrap(), true, random, caller)
        }
        _ => {
            let (dtype, shape) = (random.dtype(), random.shape());
            value(dtype, shape, false, random, caller)
        }
    })
}

/// What may be known of a tensor: its value, its shape, some dimensions, nothing.
fn fact(value: &Value, random: &mut Random) -> Fact {
    match random.below(8) {
        0..5 => value.fact(),
        5 => Fact::new(value.dtype, value.shape),
        6 => Fact::new(value.dtype, Dims::UNKNOWN),
        _ => {
            let open = |d: &usize| match random.below(3) {
                0 => Dim::Unknown,
                1 => Dim::Known(*d as i64),
                _ => Dim::of(Symbol::BATCH),
            };
            Fact::new(value.dtype, Dims::new(value.shape.iter().map(open).collect::<Vec<_>>()))
        }
    }
}

fn check(op: &crate::operator::Registration, random: &mut Random, caller: &Caller) -> Result<bool, String> {
    let mut node = node(op.name, random);
    let typed = match random.chance(75) {
        true => sample(op.name, &mut |n| random.below(n)),
        false => None,
    };
    if let Some(typed) = &typed {
        node.attrs.retain(|(name, _)| !typed.attrs.iter().any(|(own, _)| own == name));
        node.attrs.extend(typed.attrs.iter().cloned());
    }
    let Ok(operator) = (op.import)(&Attributes::new(&node)) else { return Ok(false) };
    let operator = &*operator;
    let inputs = match &typed {
        Some(typed) => {
            let mut values = typed_inputs(&typed.inputs, random, caller);
            if op.name.starts_with("Sparse") && random.chance(80) {
                make_sparse(&mut values, random, caller);
            }
            values
        }
        None => inputs(random, caller),
    };
    let context = |why: String| format!("{operator:?} of {inputs:?}: {why}");
    let partly: Vec<Fact> = inputs.iter().map(|v| fact(v, random)).collect();
    let partly = operator.infer(&partly.iter().collect::<Vec<_>>());
    let known: Vec<Fact> = inputs.iter().map(Value::fact).collect();
    let Ok(known) = operator.infer(&known.iter().collect::<Vec<_>>()) else { return Ok(false) };
    let planned =
        known.iter().map(|f| Some((f.dtype, f.planned_dims().concrete()?))).collect::<Option<Vec<_>>>();
    let Some(planned_outputs) = planned else { return Ok(false) };
    let planned_inputs: Vec<Shape> = inputs.iter().map(|v| v.shape).collect();
    let outputs = planned_outputs.iter().map(|(_, shape)| *shape).collect();
    if !is_small(operator, &inputs, &planned_outputs) {
        return Ok(false);
    }
    let shapes = Shapes { planned_inputs, planned_outputs, outputs };
    let Ok(outputs) = caller.check(operator, &inputs, &shapes).map_err(context)? else { return Ok(false) };
    for (fact, output) in known.iter().zip(&outputs) {
        describes(fact, output).map_err(context)?;
    }
    if let Ok(partly) = partly {
        check_partly(operator, &inputs, &shapes.planned_inputs, &partly, &outputs, caller)
            .map_err(context)?;
    }
    Ok(true)
}

/// With less known of the inputs the result is the same, or refused where it is larger than could be planned.
fn check_partly(
    operator: &dyn Operator,
    inputs: &[Value],
    planned_inputs: &[Shape],
    partly: &[Fact],
    outputs: &[Value],
    caller: &Caller,
) -> Result<(), String> {
    let planned =
        partly.iter().map(|f| Some((f.dtype, f.planned_dims().concrete()?))).collect::<Option<Vec<_>>>();
    if let Some(planned_outputs) = planned.filter(|planned| is_small(operator, inputs, planned)) {
        let outputs_now = planned_outputs.iter().map(|(_, shape)| *shape).collect();
        let planned_inputs = planned_inputs.to_vec();
        let shapes = Shapes { planned_inputs, planned_outputs, outputs: outputs_now };
        return match caller.check(operator, inputs, &shapes)? {
            Ok(again) if outputs.iter().zip(&again).all(|(a, b)| caller.same(a, b)) => Ok(()),
            Ok(again) => Err(format!("is {outputs:?}, but {again:?} where only {partly:?} is known")),
            Err(_) if partly.iter().any(|f| f.depends_on_data()) => Ok(()),
            Err(error) => Err(format!("is refused where only {partly:?} is known: {error}")),
        };
    }
    // A bound holds for what is planned, which is never open.
    let described = partly.iter().zip(outputs).filter(|(fact, _)| !fact.depends_on_data());
    described.into_iter().try_for_each(|(fact, output)| describes(fact, output))
}

/// True when a call can be computed in a test. Memory is asked for in any case: that must not fail either.
fn is_small(operator: &dyn Operator, inputs: &[Value], outputs: &[(DType, Shape)]) -> bool {
    let info = |dtype, shape| TensorInfo { dtype, shape, is_bound: false, held: Held::Value };
    let inputs: Vec<TensorInfo> = inputs.iter().map(|v| info(v.dtype, v.shape)).collect();
    let outputs: Vec<TensorInfo> = outputs.iter().map(|(dtype, shape)| info(*dtype, *shape)).collect();
    let call = Call {
        inputs: &inputs,
        outputs: &outputs,
        threads: 2,
        isa: tightfit_kernels::Isa::detect(),
        window_bytes: 1 << 20,
    };
    let memory = operator.memory(&call);
    let weight = operator.weight(&call);
    let bytes = outputs.iter().map(|i| i.shape.elements().saturating_mul(i.dtype.bytes()));
    let bytes = bytes.fold(memory.scratch_bytes, usize::saturating_add);
    weight.is_none_or(|w| w.input < inputs.len() && w.block_bytes <= MAX_BYTES) && bytes <= MAX_BYTES
}

#[test]
fn random_calls_are_refused_or_keep_every_promise() {
    let cases = std::env::var(CASES_VARIABLE).ok().and_then(|n| n.parse().ok()).unwrap_or(CASES);
    let mut failures = Vec::new();
    let mut computed = BTreeSet::new();
    for (number, op) in ops::all().enumerate() {
        let mut caller = Caller::new();
        for case in 0..cases {
            let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (number as u64 * 1_000_003 + case + 1) << 8);
            random.next();
            caller.strings.clear();
            match catch_unwind(AssertUnwindSafe(|| check(op, &mut random, &caller))) {
                Ok(Ok(false)) => continue,
                Ok(Ok(true)) => {
                    computed.insert(op.name);
                    continue;
                }
                Ok(Err(why)) => failures.push(format!("{} (case {case}): {why}", op.name)),
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
                    failures.push(format!("{} (case {case}) panics: {text}", op.name));
                }
            }
            // One failure of an operator is enough to read.
            break;
        }
    }
    // Lists of tensors and variables are made by operators alone, and TensorFlow's registry, from which
    // calls are drawn, has none of TensorFlow Lite's operators.
    let needs_others =
        |name: &str| takes_only_lists(name) || ops::state::variables::names().any(|own| own == name);
    let is_drawn = |name: &&str| !needs_others(name) && !name.starts_with("tfl.");
    let plain = || ops::all().map(|op| op.name).filter(is_drawn);
    let never: Vec<&str> = plain().filter(|name| !computed.contains(name)).collect();
    assert!(failures.is_empty(), "{} operators fail:\n{}", failures.len(), failures.join("\n"));
    let share = computed.len() as f64 / plain().count() as f64;
    assert!(share >= MIN_COMPUTED, "operators that never computed anything: {never:?}");
}
