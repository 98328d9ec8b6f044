//! Integers that stand for other numbers: operators that compute with them, and weights of integers beside floats.

use tightfit_format::tflite::{OptionValue, Place, Tensor};
use tightfit_format::{AttrValue, TensorContent, TensorDef};

use super::attrs::{
    Attrs, Value, add_scales, data_type, float, floats, int, ints, kind, text, truth, types, why,
};
use super::build::Refusal;
use super::operator::{Op, quantization};
use super::rows::{Integers, Make, Row, row};
use super::{constants, dense};
use crate::ops;

pub(super) const ROWS: &[Row] = &[
    row("QUANTIZE", "tfl.quantize", Integers::Own, quantize),
    row("DEQUANTIZE", "Cast, Sub, Mul", Integers::Own, |op| {
        let value = op.input(0)?;
        let value = op.dequantized(value, 0)?;
        op.bind(0, value)
    }),
    row("DENSIFY", "tfl.densify, or a constant that is dense in memory", Integers::Move, densify),
    row("FAKE_QUANT", "FakeQuantWithMinMaxArgs", Integers::Own, fake_quant),
];

/// A sparse constant stays as small as it is, where that is small and its values stand in the order of its elements.
fn densify(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let tensor = op.tensor(0)?;
    let dtype = data_type(tensor)?;
    let bits = tensor.kind.bits().unwrap_or(0);
    let is_taken = matches!(dtype, types::F32 | types::F16 | types::I8);
    if let (Some(sparsity), Some(elements), true) = (&tensor.sparsity, tensor.elements(), is_taken)
        && tensor.values.bytes.saturating_add(elements / 8) <= elements.saturating_mul(bits / 8) / 4 * 3
        && let Some((marks, count)) =
            dense::marks(tensor, sparsity, op.lower.context.budget).map_err(|found| refusal(tensor, found))?
    {
        if count.checked_mul(bits / 8) != Some(tensor.values.bytes) {
            return Err(refusal(tensor, "which is damaged: its indices lead elsewhere".into()));
        }
        let Place { offset, bytes } = tensor.values;
        let values = TensorContent::File { offset, bytes };
        let values = TensorDef { dtype, shape: vec![count as i64], content: values };
        let values = constants::push(op.lower, &tensor.name, values)?;
        let shape = vec![elements.div_ceil(8) as i64];
        let marks = TensorDef { dtype: types::U8, shape, content: marks };
        let marks = constants::push(op.lower, &format!("{}/marks", tensor.name), marks)?;
        let shape: Vec<i64> = tensor.shape.iter().map(|dim| i64::from(*dim)).collect();
        let attrs = vec![kind("T", dtype), ints("shape", &shape)];
        let value = op.node("tfl.densify", vec![values, marks], attrs)?;
        return op.bind(0, value);
    }
    let value = op.input(0)?;
    op.bind(0, value)
}

fn refusal(tensor: &Tensor, found: String) -> Refusal {
    Refusal::Why(format!("takes the constant '{}', {found}", tensor.name))
}

/// True for a tensor of integers that stand for other numbers, as activations are.
fn is_of_integers(tensor: &Tensor) -> Result<bool, Refusal> {
    let is_narrow = matches!(data_type(tensor)?, types::U8 | types::I8 | types::I16);
    Ok(is_narrow && tensor.is_quantized())
}

/// True where an operator computes with integers that stand for other numbers.
pub(super) fn is_quantized(op: &Op<'_, '_, '_>) -> Result<bool, Refusal> {
    let is_input = op.has(0) && is_of_integers(op.tensor(0)?)?;
    Ok(is_input || (!op.operator.outputs.is_empty() && is_of_integers(op.made(0)?)?))
}

/// An operator that computes with integers: the node of its own that there is for that, or what it is in floats, between the
/// numbers that its inputs stand for and the integers that stand for its outputs.
pub(super) fn compute(op: &mut Op<'_, '_, '_>, builtin: &str, make: Make) -> Result<(), Refusal> {
    // Products of 16 bits have no kernel of their own.
    let is_wide = WITH_FILTER.contains(&builtin) && data_type(op.made(0)?)? == types::I16;
    if !is_wide && ops::find(&format!("tfl.{}", builtin.to_ascii_lowercase())).is_some() {
        return node(op, builtin);
    }
    op.in_floats = true;
    make(op)
}

/// Adds a node `tfl.NAME` that computes with integers: its options are attributes, and so are what its operands stand for,
/// `filter_scale` for the weights and `input_scale` for all others.
pub(super) fn node(op: &mut Op<'_, '_, '_>, builtin: &str) -> Result<(), Refusal> {
    let name = format!("tfl.{}", builtin.to_ascii_lowercase());
    let (inputs, attrs) = (op.inputs()?, attributes(op, builtin)?);
    op.results(&name, inputs, attrs)
}

/// The attributes of a node that computes with integers.
fn attributes(op: &Op<'_, '_, '_>, builtin: &str) -> Result<Attrs, Refusal> {
    let has_filter = WITH_FILTER.contains(&builtin);
    let mut attrs = options(op);
    let mut operands = Vec::new();
    for input in (0..op.count()).filter(|input| op.has(*input)) {
        let tensor = op.tensor(input)?;
        if has_filter && input == 1 {
            add_scales(&mut attrs, "filter", &[tensor]);
        } else if is_of_integers(tensor)? {
            operands.push(tensor);
        }
    }
    let outputs = (0..op.operator.outputs.len()).map(|output| op.made(output));
    let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
    charge_scales(op, operands.iter().chain(&outputs).copied())?;
    add_scales(&mut attrs, "input", &operands);
    add_scales(&mut attrs, "output", &outputs);
    attrs.push(kind("output_type", op.output_dtype(0)?));
    if let Some(axis) = op.made(0)?.quantization.as_ref().and_then(|q| q.axis) {
        attrs.push(int("quantized_dimension", axis as i64));
    }
    Ok(attrs)
}

/// Counts the scales of tensors that are about to be attributes: of one tensor any number of operands may be.
pub(super) fn charge_scales<'t>(
    op: &Op<'_, '_, '_>,
    tensors: impl Iterator<Item = &'t Tensor>,
) -> Result<(), Refusal> {
    let scales = tensors.filter_map(|tensor| tensor.quantization.as_ref()).map(|q| q.scales.len() as u64);
    Ok(op.lower.context.charge(scales.sum::<u64>().saturating_mul(SCALE_BYTES))?)
}

/// What a scale and its zero point take as attributes.
const SCALE_BYTES: u64 = 2 * (size_of::<f32>() + size_of::<i64>()) as u64;

/// The builtins whose second input is a weight.
const WITH_FILTER: [&str; 4] = ["CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"];

/// The names of the numbers that schema.fbs has for padding and activations.
const PADDINGS: [&str; 2] = ["SAME", "VALID"];
const ACTIVATIONS: [&str; 6] = ["NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT"];

/// The options of an operator as attributes.
pub(super) fn options(op: &Op<'_, '_, '_>) -> Attrs {
    let named = |names: &[&str], value: i64| {
        let name = usize::try_from(value).ok().and_then(|value| names.get(value));
        name.map_or(AttrValue::Int(value), |name| AttrValue::Str(name.as_bytes().into()))
    };
    let value = |(name, value): &(&'static str, OptionValue)| match (*name, value) {
        ("padding", OptionValue::Int(value)) => (Box::from(*name), named(&PADDINGS, *value)),
        ("fused_activation_function", OptionValue::Int(value)) => {
            (Box::from(*name), named(&ACTIVATIONS, *value))
        }
        (_, OptionValue::Bool(value)) => truth(name, *value),
        (_, OptionValue::Int(value)) => int(name, *value),
        (_, OptionValue::Float(value)) => float(name, *value),
        (_, OptionValue::Text(value)) => text(name, value),
        (_, OptionValue::Ints(values)) => ints(name, values),
        (_, OptionValue::Floats(values)) => floats(name, values),
    };
    op.operator.options.fields.iter().map(value).collect()
}

/// Numbers to integers, and integers of one scale to those of another.
fn quantize(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    node(op, "QUANTIZE")
}

/// A weight as float32 numbers, whose scales for each output channel are put to the product after it.
pub(super) struct Weight {
    pub value: Value,
    scales: Vec<f32>,
    /// How many output channels there are.
    channels: usize,
}

impl Weight {
    /// The product with its scales.
    pub fn scaled(&self, op: &mut Op<'_, '_, '_>, product: Value) -> Result<Value, Refusal> {
        if self.scales.is_empty() {
            return Ok(product);
        }
        let scales = match self.scales[..] {
            [one] => vec![one; self.channels],
            _ => self.scales.clone(),
        };
        let scales = op.float_vector(&scales, &[self.channels as i64])?;
        op.node("Mul", vec![product, scales], vec![kind("T", types::F32)])
    }

    /// The weight itself with its one scale.
    pub fn whole(self, op: &mut Op<'_, '_, '_>) -> Result<Value, Refusal> {
        match self.scales[..] {
            [] => Ok(self.value),
            [one] => {
                let scale = op.number_of(types::F32, one.into())?;
                op.node("Mul", vec![self.value, scale], vec![kind("T", types::F32)])
            }
            _ => why("has a scale for each channel of an operand, which is not supported"),
        }
    }
}

/// The weight that an input is, beside float activations. `axis` is that of the output channels; under `shape` it is looked
/// at through another shape.
pub(super) fn widened(
    op: &mut Op<'_, '_, '_>,
    input: usize,
    axis: usize,
    shape: Option<&[i64]>,
) -> Result<Weight, Refusal> {
    let (tensor, dtype) = (op.tensor(input)?, op.dtype(input)?);
    let value = match shape {
        Some(shape) => op.shaped(input, shape)?,
        None => op.input(input)?,
    };
    let channels = tensor.shape.get(axis).map_or(1, |dim| usize::try_from(*dim).unwrap_or(1));
    if dtype == types::F32 {
        return Ok(Weight { value, scales: Vec::new(), channels });
    }
    let value = op.node("Cast", vec![value], vec![kind("SrcT", dtype), kind("DstT", types::F32)])?;
    if dtype == types::F16 {
        return Ok(Weight { value, scales: Vec::new(), channels });
    }
    let quantization = quantization(tensor)?;
    let zero_points: Vec<f32> = quantization.zero_points.iter().map(|zero| *zero as f32).collect();
    if quantization.axis.is_some_and(|own| own != axis) {
        return why(format!("takes '{}' with scales that are not for its output channels", tensor.name));
    }
    let value = match zero_points[..] {
        [_] => op.less(value, &zero_points, &[])?,
        _ if zero_points.iter().any(|zero| *zero != 0.0) => {
            return why(format!("takes '{}' with zero points for each channel", tensor.name));
        }
        _ => value,
    };
    Ok(Weight { value, scales: quantization.scales.clone(), channels })
}

fn fake_quant(op: &mut Op<'_, '_, '_>) -> Result<(), Refusal> {
    let (value, options) = (op.input(0)?, &op.operator.options);
    let attrs = vec![
        float("min", options.float("min")),
        float("max", options.float("max")),
        int("num_bits", options.int("num_bits")),
        truth("narrow_range", options.bool("narrow_range")),
    ];
    op.result("FakeQuantWithMinMaxArgs", vec![value], attrs)
}
