//! What TFLite's operators on integers share: scales, zero points, activations and windows, by the names that the reader
//! of .tflite files gives them.
//!
//! `input_scale` and `input_zero_point` list one number for each input that is not a filter or a bias, `filter_scale` one, or
//! one for each output channel, `output_scale` and `output_zero_point` one. `output_type` is the output's type where it
//! is not the input's.

use tightfit_core::DType;
use tightfit_kernels::Affine;

use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Run};
use crate::ops::shared::window::{Padding, WindowAttributes};

/// A scale, which is a positive number.
fn check_scale(name: &str, scale: f32) -> Result<f32, OpError> {
    if scale.is_finite() && scale > 0.0 {
        return Ok(scale);
    }
    Err(OpError::attribute(name, format!("has {scale}; a scale is a positive number")))
}

/// A zero point, which is an integer of a tensor's type.
fn check_zero(name: &str, zero: i64) -> Result<i32, OpError> {
    let is_held = i16::try_from(zero).is_ok();
    is_held
        .then_some(zero as i32)
        .ok_or_else(|| OpError::attribute(name, format!("has {zero}, which no type holds")))
}

/// Scales and zero points, one of each or one for each channel or operand.
type Scales = (Box<[f32]>, Box<[i32]>);

/// The scales and zero points of `input`, `filter`, `bias` or `output`; a zero point that is left out is 0.
///
/// # Errors
/// [`OpError::Attribute`] for lists that do not go together, and scales that are no positive numbers.
pub fn scales(attributes: &Attributes<'_>, of: &str) -> Result<Scales, OpError> {
    let (scale_name, zero_name) = (format!("{of}_scale"), format!("{of}_zero_point"));
    let scales = attributes.floats(&scale_name)?;
    let scales: Box<[f32]> =
        scales.into_iter().map(|scale| check_scale(&scale_name, scale)).collect::<Result<_, _>>()?;
    let zeros = attributes.ints_or_empty(&zero_name)?;
    let mut zeros: Vec<i32> =
        zeros.into_iter().map(|zero| check_zero(&zero_name, zero)).collect::<Result<_, _>>()?;
    if scales.is_empty() {
        return Err(OpError::attribute(&scale_name, "is empty"));
    }
    if zeros.is_empty() {
        zeros.push(0);
    }
    if zeros.len() != 1 && zeros.len() != scales.len() {
        let why = format!("has {} numbers for {} scales", zeros.len(), scales.len());
        return Err(OpError::attribute(&zero_name, why));
    }
    Ok((scales, zeros.into()))
}

/// Scale and zero point of one of the inputs.
///
/// # Errors
/// As [`scales`], and where there are fewer.
pub fn input(attributes: &Attributes<'_>, index: usize) -> Result<Affine, OpError> {
    let (scales, zeros) = scales(attributes, "input")?;
    let zero = zeros.get(index).or(if zeros.len() == 1 { zeros.first() } else { None });
    match (scales.get(index), zero) {
        (Some(scale), Some(zero)) => Ok(Affine { scale: *scale, zero: *zero }),
        _ => Err(OpError::attribute(
            "input_scale",
            format!("has {} numbers; input {index} has none", scales.len()),
        )),
    }
}

/// Scale and zero point of the output.
///
/// # Errors
/// As [`scales`], and where there are several.
pub fn output(attributes: &Attributes<'_>) -> Result<Affine, OpError> {
    let (scales, zeros) = scales(attributes, "output")?;
    match (&*scales, &*zeros) {
        ([scale], [zero]) => Ok(Affine { scale: *scale, zero: *zero }),
        _ => Err(OpError::attribute("output_scale", format!("has {} numbers; one is needed", scales.len()))),
    }
}

/// The output's type where the node says it.
///
/// # Errors
/// [`OpError::Attribute`] for what is no type.
pub fn output_type(attributes: &Attributes<'_>) -> Result<Option<DType>, OpError> {
    let name = "output_type";
    attributes.node().attr(name).map(|_| attributes.dtype(name)).transpose()
}

/// What is applied last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fused {
    /// Nothing.
    None,
    /// The larger of it and 0.
    Relu,
    /// The same, and at most 6.
    Relu6,
    /// From -1 to 1.
    ReluN1To1,
}

impl Fused {
    /// From the attribute `fused_activation_function`.
    ///
    /// # Errors
    /// [`OpError::Attribute`] for those that TFLite does not bring into bounds.
    pub fn import(attributes: &Attributes<'_>) -> Result<Fused, OpError> {
        let name = "fused_activation_function";
        Ok(match attributes.text_or(name, "NONE")? {
            "NONE" | "" => Fused::None,
            "RELU" => Fused::Relu,
            "RELU6" => Fused::Relu6,
            "RELU_N1_TO_1" => Fused::ReluN1To1,
            other => {
                let why = format!("is {other}; NONE, RELU, RELU6 and RELU_N1_TO_1 are supported");
                return Err(OpError::attribute(name, why));
            }
        })
    }

    /// The smallest and the largest number.
    pub fn range(self) -> (Option<f32>, Option<f32>) {
        match self {
            Fused::None => (None, None),
            Fused::Relu => (Some(0.0), None),
            Fused::Relu6 => (Some(0.0), Some(6.0)),
            Fused::ReluN1To1 => (Some(-1.0), Some(1.0)),
        }
    }

    /// The smallest and the largest integer of an output.
    ///
    /// # Errors
    /// [`OpError::Internal`] for a type that is none of a quantised tensor.
    pub fn bounds(self, dtype: DType, output: Affine) -> Result<(i32, i32), OpError> {
        bounds_of(self.range(), dtype, output)
    }
}

/// The smallest and the largest integer of a type, for numbers of at least and at most so much.
///
/// # Errors
/// As [`limits`].
pub fn bounds_of(
    (least, most): (Option<f32>, Option<f32>),
    dtype: DType,
    output: Affine,
) -> Result<(i32, i32), OpError> {
    let (low, high) = limits(dtype)?;
    let integer = |x: f32| ((x / output.scale).round() as i32).saturating_add(output.zero);
    Ok((least.map_or(low, |x| integer(x).max(low)), most.map_or(high, |x| integer(x).min(high))))
}

/// The smallest and the largest integer of a type.
///
/// # Errors
/// [`OpError::Internal`] for a type that is none of a quantised tensor.
pub fn limits(dtype: DType) -> Result<(i32, i32), OpError> {
    match dtype {
        DType::I8 => Ok((i8::MIN as i32, i8::MAX as i32)),
        DType::U8 => Ok((0, u8::MAX as i32)),
        DType::I16 => Ok((i16::MIN as i32, i16::MAX as i32)),
        DType::I32 => Ok((i32::MIN, i32::MAX)),
        _ => Err(OpError::Internal("an integer of a type that no tensor is quantised to")),
    }
}

/// Strides, dilations and padding of a convolution or a pool.
///
/// # Errors
/// [`OpError::Attribute`] for steps below 1 and other paddings than SAME and VALID.
pub fn window(attributes: &Attributes<'_>) -> Result<WindowAttributes, OpError> {
    let steps = |name: &str| match usize::try_from(attributes.int_or(name, 1)?) {
        Ok(steps) if steps > 0 => Ok(steps),
        _ => Err(OpError::attribute(name, "is below 1")),
    };
    let padding = match attributes.text("padding")? {
        "SAME" => Padding::Same,
        "VALID" => Padding::Valid,
        other => {
            return Err(OpError::attribute("padding", format!("is {other}; SAME and VALID are supported")));
        }
    };
    Ok(WindowAttributes {
        strides: [steps("stride_h")?, steps("stride_w")?],
        dilations: [steps("dilation_h_factor")?, steps("dilation_w_factor")?],
        padding,
    })
}

/// The fact of an elementwise output of one input.
pub fn like(input: &Fact, dtype: Option<DType>) -> Vec<Fact> {
    vec![Fact::new(dtype.unwrap_or(input.dtype), input.dims.clone())]
}

/// A bias of int32, where there is one.
///
/// # Errors
/// [`OpError::Internal`] for another type.
pub fn bias<'a>(run: &Run<'a>, input: usize) -> Result<Option<&'a [i32]>, OpError> {
    if run.inputs() > input { run.slice::<i32>(input).map(Some) } else { Ok(None) }
}

/// Checks the bias of so many channels.
///
/// # Errors
/// [`OpError::Input`] for another type or number.
pub fn check_bias(
    inputs: &[&Fact],
    index: usize,
    types: &[DType],
    channels: Option<usize>,
) -> Result<(), OpError> {
    let Some(bias) = inputs.get(index) else { return Ok(()) };
    crate::ops::shared::need_type(index, bias, types)?;
    if let (Some(count), Some(channels)) = (bias.dims.elements().size(), channels)
        && count != channels
    {
        return Err(OpError::input(index, format!("is of shape {} for {channels} channels", bias.dims)));
    }
    Ok(())
}
