//! Reductions over axes, places of the largest elements, running sums and sums of segments.

use super::attrs::{int, kind, truth, types};
use super::build::Refusal;
use super::operator::Op;
use super::rows::{Integers, Row, row};

const ONE: Integers = Integers::Compute;

pub(super) const ROWS: &[Row] = &[
    row("MEAN", "Mean", ONE, |op| reduce(op, "Mean")),
    row("SUM", "Sum", ONE, |op| reduce(op, "Sum")),
    row("REDUCE_PROD", "Prod", ONE, |op| reduce(op, "Prod")),
    row("REDUCE_MAX", "Max", Integers::Move, |op| reduce(op, "Max")),
    row("REDUCE_MIN", "Min", Integers::Move, |op| reduce(op, "Min")),
    row("REDUCE_ANY", "Any", Integers::Move, |op| logical(op, "Any")),
    row("REDUCE_ALL", "All", Integers::Move, |op| logical(op, "All")),
    row("ARG_MAX", "ArgMax", Integers::Move, |op| arg(op, "ArgMax")),
    row("ARG_MIN", "ArgMin", Integers::Move, |op| arg(op, "ArgMin")),
    row("CUMSUM", "Cumsum", ONE, cumsum),
    row("TOPK_V2", "TopKV2", Integers::Move, top_k),
    row("SEGMENT_SUM", "SegmentSum", Integers::Own, |op| segment(op, "SegmentSum", false)),
    row("UNSORTED_SEGMENT_SUM", "UnsortedSegmentSum", Integers::Own, |op| {
        segment(op, "UnsortedSegmentSum", true)
    }),
    row("UNSORTED_SEGMENT_PROD", "UnsortedSegmentProd", Integers::Own, |op| {
        segment(op, "UnsortedSegmentProd", true)
    }),
    row("UNSORTED_SEGMENT_MAX", "UnsortedSegmentMax", Integers::Own, |op| {
        segment(op, "UnsortedSegmentMax", true)
    }),
    row("UNSORTED_SEGMENT_MIN", "UnsortedSegmentMin", Integers::Own, |op| {
        segment(op, "UnsortedSegmentMin", true)
    }),
    row("L2_NORMALIZATION", "Square, Sum, Sqrt, Maximum, RealDiv", ONE, l2_normalization),
    row("LOCAL_RESPONSE_NORMALIZATION", "LRN", Integers::Own, lrn),
    row("UNIQUE", "Unique", Integers::Move, unique),
    row("WHERE", "Where", Integers::Move, |op| {
        let (dtype, value) = (op.dtype(0)?, op.input(0)?);
        op.result("Where", vec![value], vec![kind("T", dtype)])
    }),
    row("BUCKETIZE", "Bucketize", Integers::Own, bucketize),
    row("RFFT2D", "RFFT2D", Integers::Move, |op| {
        let inputs = op.inputs()?;
        let (real, complex) = (op.dtype(0)?, op.output_dtype(0)?);
        op.result("RFFT2D", inputs, vec![kind("Treal", real), kind("Tcomplex", complex)])
    }),
];

fn reduce(op: &mut Op<'_, '_, '_>, name: &str) -> Result<(), Refusal> {
    let (dtype, axes, inputs) = (op.dtype(0)?, op.dtype(1)?, op.inputs()?);
    let keep = op.operator.options.bool("keep_dims");
    op.result(name, inputs, vec![kind("T", dtype), kind("Tidx", axes), truth("keep_dims", keep)])
}

fn logical(op: &mut Op<'_, '_, '_>, name: &str) -> Result<(), Refusal> {
    let (axes, inputs) = (op.dtype(1)?, op.inputs()?);
    let keep = op.operator.options.bool("keep_dims");
    op.result(name, inputs, vec![kind("Tidx", axes), truth("keep_dims", keep)])
}

fn arg(op: &mut Op<'_, '_, '_>, name: &str) -> Result<(), Refusal> {
    let (dtype, axis, output, inputs) = (op.dtype(0)?, op.dtype(1)?, op.output_dtype(0)?, op.inputs()?);
    op.result(name, inputs, vec![kind("T", dtype), kind("Tidx", axis), kind("output_type", output)])
}

fn cumsum(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, axis, inputs) = (op.dtype(0)?, op.dtype(1)?, op.inputs()?);
    let options = &op.operator.options;
    let attrs = vec![
        kind("T", dtype),
        kind("Tidx", axis),
        truth("exclusive", options.bool("exclusive")),
        truth("reverse", options.bool("reverse")),
    ];
    op.result("Cumsum", inputs, attrs)
}

fn top_k(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, places, inputs) = (op.dtype(0)?, op.output_dtype(1)?, op.inputs()?);
    op.results("TopKV2", inputs, vec![kind("T", dtype), truth("sorted", true), kind("index_type", places)])
}

fn segment(op: &mut Op<'_, '_, '_>, name: &str, has_count: bool) -> Result<(), Refusal> {
    let (dtype, ids, inputs) = (op.dtype(0)?, op.dtype(1)?, op.inputs()?);
    let mut attrs = vec![kind("T", dtype), kind("Tindices", ids)];
    if has_count {
        attrs.push(kind("Tnumsegments", op.dtype(2)?));
    }
    op.result(name, inputs, attrs)
}

/// `x / max(sqrt(sum(x^2)), 1e-6)` over the last axis.
fn l2_normalization(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, value) = (op.dtype(0)?, op.input(0)?);
    let attrs = || vec![kind("T", dtype)];
    let (axis, least) = (op.vector(&[-1])?, op.number_of(dtype, 1e-6)?);
    let square = op.node("Square", vec![value.clone()], attrs())?;
    let sum_attrs = vec![kind("T", dtype), kind("Tidx", types::I32), truth("keep_dims", true)];
    let sum = op.node("Sum", vec![square, axis], sum_attrs)?;
    let length = op.node("Sqrt", vec![sum], attrs())?;
    let length = op.node("Maximum", vec![length, least], attrs())?;
    let value = op.node("RealDiv", vec![value, length], attrs())?;
    let value = op.activated(value, dtype)?;
    op.bind(0, value)
}

fn lrn(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, value) = (op.dtype(0)?, op.input(0)?);
    let options = &op.operator.options;
    let float = |name: &str| super::attrs::float(name, options.float(name));
    let attrs = vec![
        kind("T", dtype),
        int("depth_radius", options.int("radius")),
        float("bias"),
        float("alpha"),
        float("beta"),
    ];
    op.result("LRN", vec![value], attrs)
}

fn unique(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, places, value) = (op.dtype(0)?, op.output_dtype(1)?, op.input(0)?);
    op.results("Unique", vec![value], vec![kind("T", dtype), kind("out_idx", places)])
}

fn bucketize(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (dtype, value) = (op.dtype(0)?, op.input(0)?);
    let boundaries = match op.operator.options.get("boundaries") {
        Some(tightfit_format::tflite::OptionValue::Floats(values)) => values.clone(),
        _ => Vec::new(),
    };
    let boundaries = super::attrs::floats("boundaries", &boundaries);
    op.result("Bucketize", vec![value], vec![kind("T", dtype), boundaries])
}
