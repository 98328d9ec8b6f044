//! Elements that are moved: parts taken and put together, gathered, scattered, padded, reversed and resized.

use super::attrs::{Value, int, kind, text, truth, types, why};
use super::build::Refusal;
use super::operator::Op;
use super::quantized;
use super::rows::{Integers, Row, refused, row};

const MOVE: Integers = Integers::Move;

pub(super) const ROWS: &[Row] = &[
    row("CONCATENATION", "ConcatV2", Integers::Own, concatenation),
    row("PACK", "Pack", MOVE, pack),
    row("UNPACK", "Unpack", MOVE, unpack),
    row("SPLIT", "Split", MOVE, split),
    row("SPLIT_V", "SplitV", MOVE, split_v),
    row("SLICE", "Slice", MOVE, |op| indexed(op, "Slice", "Index")),
    row("STRIDED_SLICE", "StridedSlice", MOVE, strided_slice),
    row("TRANSPOSE", "Transpose", MOVE, |op| indexed(op, "Transpose", "Tperm")),
    row("REVERSE_V2", "ReverseV2", MOVE, |op| indexed(op, "ReverseV2", "Tidx")),
    row("REVERSE_SEQUENCE", "ReverseSequence", MOVE, reverse_sequence),
    row("GATHER", "GatherV2", MOVE, gather),
    row("GATHER_ND", "GatherNd", MOVE, gather_nd),
    row("EMBEDDING_LOOKUP", "GatherV2", Integers::Own, embedding_lookup),
    row("SCATTER_ND", "ScatterNd", MOVE, |op| {
        let (index, dtype, inputs) = (op.dtype(0)?, op.dtype(1)?, op.inputs()?);
        op.result("ScatterNd", inputs, vec![kind("T", dtype), kind("Tindices", index)])
    }),
    row("SPARSE_TO_DENSE", "SparseToDense", MOVE, |op| {
        let (index, dtype, inputs) = (op.dtype(0)?, op.dtype(2)?, op.inputs()?);
        let attrs = vec![kind("T", dtype), kind("Tindices", index), truth("validate_indices", false)];
        op.result("SparseToDense", inputs, attrs)
    }),
    row("PAD", "Pad, PadV2 of quantised integers", MOVE, pad),
    row("PADV2", "PadV2", MOVE, |op| indexed(op, "PadV2", "Tpaddings")),
    row("MIRROR_PAD", "MirrorPad", MOVE, mirror_pad),
    row("SPACE_TO_BATCH_ND", "SpaceToBatchND", MOVE, |op| blocks(op, "SpaceToBatchND", "Tpaddings")),
    row("BATCH_TO_SPACE_ND", "BatchToSpaceND", MOVE, |op| blocks(op, "BatchToSpaceND", "Tcrops")),
    row("SPACE_TO_DEPTH", "SpaceToDepth", MOVE, |op| depth(op, "SpaceToDepth")),
    row("DEPTH_TO_SPACE", "DepthToSpace", MOVE, |op| depth(op, "DepthToSpace")),
    row("RESIZE_BILINEAR", "ResizeBilinear", Integers::Compute, |op| resize(op, "ResizeBilinear")),
    row("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighbor", MOVE, |op| resize(op, "ResizeNearestNeighbor")),
    row("NON_MAX_SUPPRESSION_V4", "NonMaxSuppressionV4", MOVE, suppression_v4),
    row("NON_MAX_SUPPRESSION_V5", "NonMaxSuppressionV5", MOVE, suppression_v5),
    row("DYNAMIC_UPDATE_SLICE", "Pad, SelectV2", MOVE, update_slice),
    refused("HASHTABLE_LOOKUP", "TensorFlow has no such operator"),
    refused("EMBEDDING_LOOKUP_SPARSE", "TensorFlow has no such operator"),
    refused("CONCAT_EMBEDDINGS", "no version of TensorFlow Lite has a kernel for it"),
    refused("LSH_PROJECTION", "its hash has no operator in TensorFlow"),
];

/// A tensor and indices, whose type is an attribute of this name.
fn indexed(op: &mut Op<'_, '_, '_>, name: &str, attribute: &str) -> Result<(), Refusal> {
    let (dtype, index, inputs) = (op.dtype(0)?, op.dtype(1)?, op.inputs()?);
    op.result(name, inputs, vec![kind("T", dtype), kind(attribute, index)])
}

fn concatenation(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let output = op.made(0)?.quantization.as_ref();
    let differs =
        (0..op.count()).any(|input| op.tensor(input).is_ok_and(|t| t.quantization.as_ref() != output));
    if quantized::is_quantized(op)? && differs {
        return quantized::node(op, "CONCATENATION");
    }
    let (dtype, mut inputs) = (op.dtype(0)?, op.inputs()?);
    let count = inputs.len() as i64;
    inputs.push(op.scalar(op.operator.options.int("axis"))?);
    let attrs = vec![int("N", count), kind("T", dtype), kind("Tidx", types::I32)];
    let value = op.node("ConcatV2", inputs, attrs)?;
    let value = op.activated(value, dtype)?;
    op.bind(0, value)
}

fn pack(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, inputs) = (op.dtype(0)?, op.inputs()?);
    let (count, axis) = (inputs.len() as i64, op.operator.options.int("axis"));
    op.result("Pack", inputs, vec![int("N", count), kind("T", dtype), int("axis", axis)])
}

fn unpack(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, value) = (op.dtype(0)?, op.input(0)?);
    let (count, axis) = (op.operator.outputs.len() as i64, op.operator.options.int("axis"));
    op.results("Unpack", vec![value], vec![int("num", count), kind("T", dtype), int("axis", axis)])
}

fn split(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, inputs) = (op.dtype(1)?, op.inputs()?);
    let count = op.operator.outputs.len() as i64;
    op.results("Split", inputs, vec![int("num_split", count), kind("T", dtype)])
}

fn split_v(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, lengths, inputs) = (op.dtype(0)?, op.dtype(1)?, op.inputs()?);
    let count = op.operator.outputs.len() as i64;
    op.results("SplitV", inputs, vec![int("num_split", count), kind("T", dtype), kind("Tlen", lengths)])
}

fn strided_slice(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, index, mut inputs) = (op.dtype(0)?, op.dtype(1)?, op.inputs()?);
    let options = &op.operator.options;
    // The ends may be told from the beginnings.
    if options.bool("offset")
        && let [_, begin, end, _] = &inputs[..]
    {
        let sum = op.node("AddV2", vec![begin.clone(), end.clone()], vec![kind("T", index)])?;
        inputs[2] = sum;
    }
    let masks = ["begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"];
    let mut attrs = vec![kind("T", dtype), kind("Index", index)];
    attrs.extend(masks.map(|mask| int(mask, options.int(mask))));
    op.result("StridedSlice", inputs, attrs)
}

fn reverse_sequence(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, lengths, inputs) = (op.dtype(0)?, op.dtype(1)?, op.inputs()?);
    let axis = |name: &str| int(name, op.operator.options.int(name));
    let attrs = vec![kind("T", dtype), kind("Tlen", lengths), axis("seq_dim"), axis("batch_dim")];
    op.result("ReverseSequence", inputs, attrs)
}

fn gather_attrs(dtype: i32, index: i32, batch_dims: i64) -> super::attrs::Attrs {
    let types = [kind("Tparams", dtype), kind("Tindices", index), kind("Taxis", types::I32)];
    types.into_iter().chain([int("batch_dims", batch_dims)]).collect()
}

fn gather(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, index, mut inputs) = (op.dtype(0)?, op.dtype(1)?, op.inputs()?);
    let (axis, batch_dims) = (op.operator.options.int("axis"), op.operator.options.int("batch_dims"));
    inputs.push(op.scalar(axis)?);
    op.result("GatherV2", inputs, gather_attrs(dtype, index, batch_dims))
}

fn gather_nd(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, index, inputs) = (op.dtype(0)?, op.dtype(1)?, op.inputs()?);
    op.result("GatherNd", inputs, vec![kind("Tparams", dtype), kind("Tindices", index)])
}

/// Rows of a table, which may be of narrower numbers than what it returns.
fn embedding_lookup(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (index, dtype, ids, table) = (op.dtype(0)?, op.dtype(1)?, op.input(0)?, op.input(1)?);
    let axis = op.scalar(0)?;
    let output = op.output_dtype(0)?;
    let value = op.node("GatherV2", vec![table, ids, axis], gather_attrs(dtype, index, 0))?;
    let value = if output == dtype { value } else { op.dequantized(value, 1)? };
    op.bind(0, value)
}

/// Zeros around a tensor; of quantised integers, the one that stands for 0.
fn pad(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, index, mut inputs) = (op.dtype(0)?, op.dtype(1)?, op.inputs()?);
    let zero = op.made(0)?.quantization.as_ref().and_then(|q| q.zero_points.first().copied()).unwrap_or(0);
    let attrs = vec![kind("T", dtype), kind("Tpaddings", index)];
    if zero == 0 {
        return op.result("Pad", inputs, attrs);
    }
    inputs.push(op.number_of(dtype, zero as f64)?);
    op.result("PadV2", inputs, attrs)
}

fn mirror_pad(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, index, inputs) = (op.dtype(0)?, op.dtype(1)?, op.inputs()?);
    let mode = match op.operator.options.int("mode") {
        0 => "REFLECT",
        1 => "SYMMETRIC",
        other => return why(format!("has the mode {other}, which schema.fbs does not have")),
    };
    op.result("MirrorPad", inputs, vec![kind("T", dtype), kind("Tpaddings", index), text("mode", mode)])
}

fn blocks(op: &mut Op<'_, '_, '_>, name: &str, attribute: &str) -> Result<(), Refusal> {
    let (dtype, block, other, inputs) = (op.dtype(0)?, op.dtype(1)?, op.dtype(2)?, op.inputs()?);
    op.result(name, inputs, vec![kind("T", dtype), kind("Tblock_shape", block), kind(attribute, other)])
}

fn depth(op: &mut Op<'_, '_, '_>, name: &str) -> Result<(), Refusal> {
    let (dtype, value) = (op.dtype(0)?, op.input(0)?);
    let size = int("block_size", op.operator.options.int("block_size"));
    op.result(name, vec![value], vec![kind("T", dtype), size])
}

fn resize(op: &mut Op<'_, '_, '_>, name: &str) -> Result<(), Refusal> {
    let (dtype, inputs) = (op.dtype(0)?, op.inputs()?);
    let options = &op.operator.options;
    let attrs = vec![
        kind("T", dtype),
        truth("align_corners", options.bool("align_corners")),
        truth("half_pixel_centers", options.bool("half_pixel_centers")),
    ];
    op.result(name, inputs, attrs)
}

/// Boxes, scores, how many, and two thresholds: the boxes that are kept, after them zeros, and how many there are.
fn suppression_v4(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, inputs) = (op.dtype(0)?, op.inputs()?);
    let attrs =
        vec![kind("T", dtype), kind("T_threshold", types::F32), truth("pad_to_max_output_size", true)];
    op.results("NonMaxSuppressionV4", inputs, attrs)
}

fn suppression_v5(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, inputs) = (op.dtype(0)?, op.inputs()?);
    op.results("NonMaxSuppressionV5", inputs, vec![kind("T", dtype), truth("pad_to_max_output_size", true)])
}

/// What is between two places of an axis.
pub(super) fn part(
    op: &mut Op<'_, '_, '_>,
    value: Value,
    dtype: i32,
    begin: &[i64],
    size: &[i64],
) -> Result<Value, Refusal> {
    let (begin, size) = (op.vector(begin)?, op.vector(size)?);
    op.node("Slice", vec![value, begin, size], vec![kind("T", dtype), kind("Index", types::I32)])
}

/// Inputs: the operand, what takes the place of a part of it, and where that begins, moved so that it lies within.
fn update_slice(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, index) = (op.dtype(0)?, op.dtype(2)?);
    let (operand, update, begin) = (op.input(0)?, op.input(1)?, op.input(2)?);
    let rank = op.tensor(0)?.shape.len() as i64;
    let attrs = |dtype: i32| vec![kind("T", dtype)];
    let shape = |op: &mut Op<'_, '_, '_>, value: &Value, dtype: i32| {
        op.node("Shape", vec![value.clone()], vec![kind("T", dtype), kind("out_type", types::I32)])
    };
    let whole = shape(op, &operand, dtype)?;
    let size = shape(op, &update, dtype)?;
    let room = op.node("Sub", vec![whole.clone(), size], attrs(types::I32))?;
    let begin = op.node("Cast", vec![begin], vec![kind("SrcT", index), kind("DstT", types::I32)])?;
    let zero = op.scalar(0)?;
    let begin = op.node("Maximum", vec![begin, zero], attrs(types::I32))?;
    let begin = op.node("Minimum", vec![begin, room.clone()], attrs(types::I32))?;
    let end = op.node("Sub", vec![room, begin.clone()], attrs(types::I32))?;
    let pack = vec![int("N", 2), kind("T", types::I32), int("axis", 1)];
    let around = op.node("Pack", vec![begin, end], pack)?;
    let around = op.reshape(around, types::I32, &[rank, 2])?;
    let paddings = |dtype: i32| vec![kind("T", dtype), kind("Tpaddings", types::I32)];
    let ones = op.node("OnesLike", vec![update.clone()], attrs(dtype))?;
    let ones = op.node("Cast", vec![ones], vec![kind("SrcT", dtype), kind("DstT", types::I32)])?;
    let mask = op.node("Pad", vec![ones, around.clone()], paddings(types::I32))?;
    let mask = op.node("Cast", vec![mask], vec![kind("SrcT", types::I32), kind("DstT", 10)])?;
    let mask = op.node("Reshape", vec![mask, whole.clone()], attrs(10))?;
    let update = op.node("Pad", vec![update, around], paddings(dtype))?;
    let update = op.node("Reshape", vec![update, whole], attrs(dtype))?;
    op.result("SelectV2", vec![mask, update, operand], vec![kind("t", dtype)])
}
