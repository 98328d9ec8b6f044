//! Recurrent layers: one BlockLSTM over all steps of a layer, whose state is a variable that the next run finds.

use super::attrs::{Value, add_scales, float, floats, int, ints, kind, truth, types, why};
use super::build::Refusal;
use super::moves::part;
use super::operator::Op;
use super::rows::{Integers, Row, refused, row};
use super::{control, quantized};

pub(super) const ROWS: &[Row] = &[
    row("UNIDIRECTIONAL_SEQUENCE_LSTM", "BlockLSTM", Integers::Own, sequence_lstm),
    row("SVDF", "MatMul, ConcatV2, Mul, Sum", Integers::Own, svdf),
    refused("LSTM", "a cell that is not a layer over steps has no kernel here"),
    refused("BIDIRECTIONAL_SEQUENCE_LSTM", "it has no kernel here"),
    refused("RNN", "it has no kernel here"),
    refused("UNIDIRECTIONAL_SEQUENCE_RNN", "it has no kernel here"),
    refused("BIDIRECTIONAL_SEQUENCE_RNN", "it has no kernel here"),
];

/// Inputs of an LSTM, the first of each group of four gates: input, forget, cell, output.
const INPUT_WEIGHTS: usize = 1;
const RECURRENT_WEIGHTS: usize = 5;
/// Peepholes of the input, the forget and the output gate.
const PEEPHOLES: usize = 9;
const BIASES: usize = 12;
const PROJECTION: usize = 16;
const OUTPUT_STATE: usize = 18;
const CELL_STATE: usize = 19;
const NORMS: usize = 20;

/// The gates in BlockLSTM's order: input, cell, forget, output.
const ORDER: [usize; 4] = [0, 2, 1, 3];

/// `[batch, steps, input]`, or steps first: the output of each step.
fn sequence_lstm(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    if quantized::is_quantized(op)? {
        return integer_lstm(op);
    }
    if op.dtype(0)? != types::F32 || op.dtype(2)? != types::F32 {
        return why("has weights of integers, which is not supported");
    }
    if op.has(PROJECTION) || (NORMS..NORMS + 4).any(|input| op.has(input)) {
        return why("has a projection or normalises its gates, which is not supported");
    }
    let options = &op.operator.options;
    if options.bool("diagonal_recurrent_tensors") || options.int("fused_activation_function") != TANH {
        return why("has diagonal weights or an activation other than tanh, which is not supported");
    }
    let dims = op.tensor(0)?.open_shape();
    if dims.len() != 3 {
        return why("takes an input that is not of rank 3");
    }
    let units = op.tensor(RECURRENT_WEIGHTS + 1)?.shape.first().map_or(0, |dim| i64::from(*dim));
    let is_time_major = options.bool("time_major");
    let mut value = op.input(0)?;
    if !is_time_major {
        value = op.transpose(value, types::F32, &[1, 0, 2])?;
    }
    let steps = steps(op, &value)?;
    let weights = weights(op)?;
    let (output, cell) = (control::state(op, OUTPUT_STATE)?, control::state(op, CELL_STATE)?);
    let peepholes = peepholes(op, units)?;
    let mut inputs = vec![steps, value, cell.value.clone(), output.value.clone(), weights];
    inputs.extend(peepholes);
    inputs.push(biases(op)?);
    let options = &op.operator.options;
    let attrs = vec![
        kind("T", types::F32),
        float("forget_bias", 0.0),
        float("cell_clip", options.float("cell_clip")),
        truth("use_peephole", op.has(PEEPHOLES + 1)),
    ];
    let node = op.node("BlockLSTM", inputs, attrs)?;
    let (cells, outputs): (Value, Value) = (format!("{node}:1").into(), format!("{node}:6").into());
    let last_cell = last(op, cells)?;
    let last_output = last(op, outputs.clone())?;
    cell.becomes(op, last_cell)?;
    output.becomes(op, last_output)?;
    let outputs = if is_time_major { outputs } else { op.transpose(outputs, types::F32, &[1, 0, 2])? };
    op.bind(0, outputs)
}

const TANH: i64 = 4;

/// The same in integers, by an operator of its own: `slots` says which of the inputs each of its inputs is, and what it
/// returns after its output are the states.
fn integer_lstm(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let slots: Vec<usize> = (0..op.count()).filter(|input| op.has(*input)).collect();
    let mut attrs = quantized::options(op);
    let tensors = slots.iter().map(|slot| op.tensor(*slot)).collect::<Result<Vec<_>, _>>()?;
    if let Some(tensor) = tensors.iter().find(|t| t.quantization.as_ref().is_none_or(|q| q.scales.len() != 1))
    {
        return why(format!("takes '{}', which does not have one scale", tensor.name));
    }
    quantized::charge_scales(op, tensors.iter().copied())?;
    add_scales(&mut attrs, "input", &tensors);
    // Of a layer without normalised gates the last alone says something: the range of the hidden state.
    let ranges = op.operator.intermediates.iter().map(|number| {
        let tensor = usize::try_from(*number).ok().and_then(|number| op.lower.graph.tensors.get(number));
        let range = tensor.and_then(|tensor| tensor.quantization.as_ref());
        let scale = range.and_then(|range| range.scales.first().copied()).unwrap_or(1.0);
        (scale, range.and_then(|range| range.zero_points.first().copied()).unwrap_or(0))
    });
    let (scales, zeros): (Vec<f32>, Vec<i64>) = ranges.unzip();
    attrs.push(floats("intermediate_scale", &scales));
    attrs.push(ints("intermediate_zero_point", &zeros));
    attrs.push(ints("slots", &slots.iter().map(|slot| *slot as i64).collect::<Vec<_>>()));
    add_scales(&mut attrs, "output", &[op.made(0)?]);
    let (output, cell) = (control::state(op, OUTPUT_STATE)?, control::state(op, CELL_STATE)?);
    let mut inputs = Vec::with_capacity(slots.len());
    for slot in slots {
        inputs.push(match slot {
            OUTPUT_STATE => output.value.clone(),
            CELL_STATE => cell.value.clone(),
            slot => op.input(slot)?,
        });
    }
    let node = op.node("tfl.unidirectional_sequence_lstm", inputs, attrs)?;
    output.becomes(op, format!("{node}:1").into())?;
    cell.becomes(op, format!("{node}:2").into())?;
    op.hand_on(0, node)
}

/// Inputs of an SVDF.
const FEATURE: usize = 1;
const TIME: usize = 2;
const SVDF_BIAS: usize = 3;
const MEMORY: usize = 4;

/// `[batch, inputs]` to `[batch, units]`: filters over the features of a step, weighed over the last steps, `rank` of them for
/// a unit.
fn svdf(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    if quantized::is_quantized(op)? {
        return integer_svdf(op);
    }
    if op.dtype(0)? != types::F32 || op.dtype(FEATURE)? != types::F32 || op.dtype(TIME)? != types::F32 {
        return why("has weights of integers beside floats, which is not supported");
    }
    let dims = |op: &Op<'_, '_, '_>, input: usize| -> Result<[i64; 2], Refusal> {
        let shape: Vec<i64> = op.tensor(input)?.shape.iter().map(|dim| i64::from(*dim)).collect();
        shape.try_into().or_else(|_| why(format!("has input {input} that is no matrix")))
    };
    let ([rows, _], [filters, steps]) = (dims(op, 0)?, dims(op, TIME)?);
    let rank = op.operator.options.int("rank").max(1);
    let of_floats = || kind("T", types::F32);
    let (input, feature) = (op.input(0)?, op.input(FEATURE)?);
    let attrs = vec![of_floats(), truth("transpose_a", false), truth("transpose_b", true)];
    let newest = op.node("MatMul", vec![input, feature], attrs)?;
    let newest = op.reshape(newest, types::F32, &[rows, filters, 1])?;
    let memory = control::state(op, MEMORY)?;
    let seen = op.reshape(memory.value.clone(), types::F32, &[rows, filters, steps])?;
    let (begin, size) = (op.vector(&[0, 0, 1])?, op.vector(&[-1, -1, -1])?);
    let kept = op.node("Slice", vec![seen, begin, size], vec![of_floats(), kind("Index", types::I32)])?;
    let seen = joined(op, vec![kept, newest], 2)?;
    let shape: Vec<i64> = op.tensor(MEMORY)?.shape.iter().map(|dim| i64::from(*dim)).collect();
    let after = op.reshape(seen.clone(), types::F32, &shape)?;
    memory.becomes(op, after)?;
    let time = op.input(TIME)?;
    let weighed = op.node("Mul", vec![seen, time], vec![of_floats()])?;
    let weighed = op.reshape(weighed, types::F32, &[rows, filters / rank, rank * steps])?;
    let axis = op.vector(&[2])?;
    let attrs = vec![of_floats(), kind("Tidx", types::I32), truth("keep_dims", false)];
    let mut sum = op.node("Sum", vec![weighed, axis], attrs)?;
    if op.has(SVDF_BIAS) {
        let bias = op.input(SVDF_BIAS)?;
        sum = op.node("BiasAdd", vec![sum, bias], vec![of_floats()])?;
    }
    let value = op.activated(sum, types::F32)?;
    op.bind(0, value)
}

/// The same in integers, by an operator of its own, which returns the memory after its output.
fn integer_svdf(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let mut attrs = quantized::options(op);
    let slots = [0, FEATURE, TIME, MEMORY];
    let tensors = slots.map(|slot| op.tensor(slot)).into_iter().collect::<Result<Vec<_>, _>>()?;
    quantized::charge_scales(op, tensors.iter().copied())?;
    add_scales(&mut attrs, "input", &tensors);
    add_scales(&mut attrs, "output", &[op.made(0)?]);
    let memory = control::state(op, MEMORY)?;
    let mut inputs = vec![op.input(0)?, op.input(FEATURE)?, op.input(TIME)?, memory.value.clone()];
    if op.has(SVDF_BIAS) {
        inputs.push(op.input(SVDF_BIAS)?);
    }
    let node = op.node("tfl.svdf", inputs, attrs)?;
    memory.becomes(op, format!("{node}:1").into())?;
    op.hand_on(0, node)
}

/// How many steps there are, as BlockLSTM takes it.
fn steps(op: &mut Op<'_, '_, '_>, value: &Value) -> Result<Value, Refusal> {
    let attrs = vec![kind("T", types::F32), kind("out_type", types::I32)];
    let shape = op.node("Shape", vec![value.clone()], attrs)?;
    let first = part(op, shape, types::I32, &[0], &[1])?;
    let count = op.reshape(first, types::I32, &[])?;
    op.node("Cast", vec![count], vec![kind("SrcT", types::I32), kind("DstT", types::I64)])
}

/// Several values one after the other along an axis.
fn joined(op: &mut Op<'_, '_, '_>, mut values: Vec<Value>, axis: i64) -> Result<Value, Refusal> {
    let count = values.len() as i64;
    values.push(op.scalar(axis)?);
    let attrs = vec![int("N", count), kind("T", types::F32), kind("Tidx", types::I32)];
    op.node("ConcatV2", values, attrs)
}

/// What the input gate has in a group of gates. A layer that couples it to the forget gate has none: it lets in what that
/// forgets, and `sigmoid(-x) = 1 - sigmoid(x)`.
fn gate(op: &mut Op<'_, '_, '_>, input: usize, forget: usize) -> Result<Value, Refusal> {
    if op.has(input) {
        return op.input(input);
    }
    let forget = op.input(forget)?;
    op.node("Neg", vec![forget], vec![kind("T", types::F32)])
}

/// `[input + units, 4 * units]`, of weights `[units, input]` and `[units, units]` for each gate.
fn weights(op: &mut Op<'_, '_, '_>) -> Result<Value, Refusal> {
    let mut groups = Vec::new();
    for first in [INPUT_WEIGHTS, RECURRENT_WEIGHTS] {
        let mut gates = Vec::new();
        for number in ORDER {
            gates.push(gate(op, first + number, first + 1)?);
        }
        groups.push(joined(op, gates, 0)?);
    }
    let all = joined(op, groups, 1)?;
    op.transpose(all, types::F32, &[1, 0])
}

/// The peepholes of the input, the forget and the output gate; zeros for a layer without.
fn peepholes(op: &mut Op<'_, '_, '_>, units: i64) -> Result<Vec<Value>, Refusal> {
    if op.has(PEEPHOLES + 1) {
        let input = gate(op, PEEPHOLES, PEEPHOLES + 1)?;
        return Ok(vec![input, op.input(PEEPHOLES + 1)?, op.input(PEEPHOLES + 2)?]);
    }
    let none = op.float_vector(&vec![0.0; usize::try_from(units).unwrap_or(0).min(MAX_UNITS)], &[units])?;
    Ok(vec![none.clone(), none.clone(), none])
}

/// Units of a layer: more are a damaged shape.
const MAX_UNITS: usize = 1 << 20;

fn biases(op: &mut Op<'_, '_, '_>) -> Result<Value, Refusal> {
    let mut gates = Vec::new();
    for number in ORDER {
        gates.push(gate(op, BIASES + number, BIASES + 1)?);
    }
    joined(op, gates, 0)
}

/// What the last step has made.
fn last(op: &mut Op<'_, '_, '_>, values: Value) -> Result<Value, Refusal> {
    let (begin, end, stride) = (op.vector(&[-1])?, op.vector(&[0])?, op.vector(&[1])?);
    let mut attrs = vec![kind("T", types::F32), kind("Index", types::I32)];
    let masks = [
        ("begin_mask", 0),
        ("end_mask", 0),
        ("ellipsis_mask", 0),
        ("new_axis_mask", 0),
        ("shrink_axis_mask", 1),
    ];
    attrs.extend(masks.map(|(name, mask)| int(name, mask)));
    op.node("StridedSlice", vec![values, begin, end, stride], attrs)
}
