//! Custom operators that TensorFlow Lite carries or that its tasks use.

use tightfit_format::tflite::FlexValue;

use super::attrs::{Value, float, int, ints, kind, text, truth, types, why};
use super::build::Refusal;
use super::moves::part;
use super::operator::Op;
use super::rows::{Integers, Row, refused, row};

pub(super) const ROWS: &[Row] = &[
    row("AudioSpectrogram", "AudioSpectrogram", Integers::Own, spectrogram),
    row("Mfcc", "Mfcc", Integers::Own, mfcc),
    row("Convolution2DTransposeBias", "Conv2DBackpropInput, BiasAdd", Integers::Own, transpose_conv_bias),
    row(
        "TFLite_Detection_PostProcess",
        "boxes from anchors, NonMaxSuppressionV4, GatherV2",
        Integers::Compute,
        detection,
    ),
    refused("Landmarks2TransformMatrix", "an operator of MediaPipe that has no kernel here"),
    refused("TransformTensorBilinear", "an operator of MediaPipe that has no kernel here"),
    refused("TransformLandmarks", "an operator of MediaPipe that has no kernel here"),
];

/// A number among the options.
fn number(options: &[(String, FlexValue)], name: &str) -> Option<f64> {
    let (_, value) = options.iter().find(|(own, _)| own == name)?;
    Some(match value {
        FlexValue::Bool(value) => f64::from(u8::from(*value)),
        FlexValue::Int(value) => *value as f64,
        FlexValue::Float(value) => *value,
        FlexValue::Text(_) => return None,
    })
}

fn needed(options: &[(String, FlexValue)], name: &str) -> Result<f64, Refusal> {
    number(options, name).map_or_else(|| why(format!("lacks the option {name}")), Ok)
}

fn spectrogram(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (options, value) = (op.custom_options()?, op.input(0)?);
    let attrs = vec![
        int("window_size", needed(&options, "window_size")? as i64),
        int("stride", needed(&options, "stride")? as i64),
        truth("magnitude_squared", needed(&options, "magnitude_squared")? != 0.0),
    ];
    op.result("AudioSpectrogram", vec![value], attrs)
}

fn mfcc(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (options, inputs) = (op.custom_options()?, op.inputs()?);
    let attrs = vec![
        float("upper_frequency_limit", needed(&options, "upper_frequency_limit")? as f32),
        float("lower_frequency_limit", needed(&options, "lower_frequency_limit")? as f32),
        int("filterbank_channel_count", needed(&options, "filterbank_channel_count")? as i64),
        int("dct_coefficient_count", needed(&options, "dct_coefficient_count")? as i64),
    ];
    op.result("Mfcc", inputs, attrs)
}

/// MediaPipe's transposed convolution: the values, the filter `[out, height, width, in]` and a bias. Its options are the fields
/// of a struct: padding (1 for SAME, 2 for VALID), and strides along width and height.
fn transpose_conv_bias(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let options = op.raw_options()?;
    let number =
        |field: usize| options.as_chunks().0.get(field).map(|bytes| i64::from(i32::from_le_bytes(*bytes)));
    let (Some(padding), Some(wide), Some(high)) = (number(0), number(1), number(2)) else {
        return why("has too few options");
    };
    let padding = match padding {
        1 => "SAME",
        2 => "VALID",
        other => return why(format!("has the padding {other}, which is not supported")),
    };
    let input = op.input(0)?;
    let filter = super::quantized::widened(op, 1, 0, None)?;
    let filter = filter.whole(op)?;
    let filter = op.transpose(filter, types::F32, &[1, 2, 0, 3])?;
    let sizes: Vec<i64> = op.made(0)?.shape.iter().map(|dim| i64::from(*dim)).collect();
    let [_, height, width, _] = sizes[..] else { return why("gives a tensor that is not of rank 4") };
    let sizes = op.vector(&[height, width])?;
    let attrs = vec![kind("T", types::F32), ints("strides", &[1, high, wide, 1]), text("padding", padding)];
    let mut value = op.node("Conv2DBackpropInput", vec![sizes, filter, input], attrs)?;
    if op.has(2) {
        let bias = op.input(2)?;
        value = op.node("BiasAdd", vec![value, bias], vec![kind("T", types::F32)])?;
    }
    op.bind(0, value)
}

/// Boxes of a single image: codes `[1, anchors, 4]` (y, x, height, width), scores `[1, anchors, classes]` and the anchors
/// `[anchors, 4]`. Each anchor's likeliest class alone takes part. Outputs, after what was found filled with zeros: boxes
/// `[1, most, 4]`, classes, scores `[1, most]`, and how many there are.
fn detection(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let options = op.custom_options()?;
    let whole = |name: &str| number(&options, name).unwrap_or(0.0);
    if whole("use_regular_nms") != 0.0 || whole("max_classes_per_detection") > 1.0 {
        return why("keeps several classes of a box, which is not supported");
    }
    let most = needed(&options, "max_detections")? as i64;
    let classes = needed(&options, "num_classes")? as i64;
    let anchors = op.tensor(0)?.shape.get(1).map_or(0, |dim| i64::from(*dim));
    let labels = op.tensor(1)?.shape.get(2).map_or(0, |dim| i64::from(*dim));
    if op.tensor(0)?.shape.first() != Some(&1) || anchors < 1 || labels < classes {
        return why("takes other than one image");
    }
    let boxes = decoded(op, &options, anchors)?;
    let scores = op.input(1)?;
    let scores = op.reshape(scores, types::F32, &[anchors, labels])?;
    // What is no object comes before the classes.
    let scores = part(op, scores, types::F32, &[0, labels - classes], &[-1, -1])?;
    let axis = op.scalar(1)?;
    let attrs = vec![kind("T", types::F32), kind("Tidx", types::I32)];
    let best = op.node("Max", vec![scores.clone(), axis.clone()], attrs)?;
    let attrs = vec![kind("T", types::F32), kind("Tidx", types::I32), kind("output_type", types::I32)];
    let class = op.node("ArgMax", vec![scores, axis], attrs)?;
    let overlap = op.number_of(types::F32, needed(&options, "nms_iou_threshold")?)?;
    let least = op.number_of(types::F32, needed(&options, "nms_score_threshold")?)?;
    let count = op.scalar(most)?;
    let attrs =
        vec![kind("T", types::F32), kind("T_threshold", types::F32), truth("pad_to_max_output_size", true)];
    let inputs = vec![boxes.clone(), best.clone(), count, overlap, least];
    let kept = op.node("NonMaxSuppressionV4", inputs, attrs)?;
    let found: Value = format!("{kept}:1").into();
    // 1 for each place with a box, 0 after them.
    let numbers: Vec<i64> = (0..most).collect();
    let numbers = op.vector(&numbers)?;
    let is_there = op.node("Less", vec![numbers, found.clone()], vec![kind("T", types::I32)])?;
    let is_there = op.node("Cast", vec![is_there], vec![kind("SrcT", BOOL), kind("DstT", types::F32)])?;
    let class = op.node("Cast", vec![class], vec![kind("SrcT", types::I32), kind("DstT", types::F32)])?;
    let column = op.reshape(is_there.clone(), types::F32, &[most, 1])?;
    for (output, (values, mask, shape)) in [
        (boxes, column, vec![1, most, 4]),
        (class, is_there.clone(), vec![1, most]),
        (best, is_there, vec![1, most]),
    ]
    .into_iter()
    .enumerate()
    {
        let axis = op.scalar(0)?;
        let types = [kind("Tparams", types::F32), kind("Tindices", types::I32), kind("Taxis", types::I32)];
        let values = op.node("GatherV2", vec![values, kept.clone(), axis], types.into())?;
        let values = op.node("Mul", vec![values, mask], vec![kind("T", types::F32)])?;
        let values = op.reshape(values, types::F32, &shape)?;
        op.bind(output, values)?;
    }
    let found = op.node("Cast", vec![found], vec![kind("SrcT", types::I32), kind("DstT", types::F32)])?;
    let found = op.reshape(found, types::F32, &[1])?;
    op.bind(3, found)
}

/// The number of bool among TensorFlow's types.
const BOOL: i32 = 10;

/// Corners `[anchors, 4]` (top, left, bottom, right) of boxes from their codes and anchors.
fn decoded(op: &mut Op<'_, '_, '_>, options: &[(String, FlexValue)], anchors: i64) -> Result<Value, Refusal> {
    let attrs = || vec![kind("T", types::F32)];
    let (codes, from) = (op.input(0)?, op.input(2)?);
    let codes = op.reshape(codes, types::F32, &[anchors, 4])?;
    let half = |op: &mut Op<'_, '_, '_>, value: &Value, first: i64| {
        part(op, value.clone(), types::F32, &[0, first], &[-1, 2])
    };
    let (place, size) = (half(op, &codes, 0)?, half(op, &codes, 2)?);
    let (anchor, anchor_size) = (half(op, &from, 0)?, half(op, &from, 2)?);
    let scales = |names: [&str; 2]| -> Result<[f32; 2], Refusal> {
        Ok([needed(options, names[0])? as f32, needed(options, names[1])? as f32])
    };
    let of_place = op.float_vector(&scales(["y_scale", "x_scale"])?, &[2])?;
    let of_size = op.float_vector(&scales(["h_scale", "w_scale"])?, &[2])?;
    let place = op.node("RealDiv", vec![place, of_place], attrs())?;
    let place = op.node("Mul", vec![place, anchor_size.clone()], attrs())?;
    let centre = op.node("AddV2", vec![place, anchor], attrs())?;
    let size = op.node("RealDiv", vec![size, of_size], attrs())?;
    let size = op.node("Exp", vec![size], attrs())?;
    let size = op.node("Mul", vec![size, anchor_size], attrs())?;
    let half = op.number_of(types::F32, 0.5)?;
    let half = op.node("Mul", vec![size, half], attrs())?;
    let first = op.node("Sub", vec![centre.clone(), half.clone()], attrs())?;
    let last = op.node("AddV2", vec![centre, half], attrs())?;
    let axis = op.scalar(1)?;
    op.node(
        "ConcatV2",
        vec![first, last, axis],
        vec![int("N", 2), kind("T", types::F32), kind("Tidx", types::I32)],
    )
}
