//! The builtins that compute in integers.

use tightfit_format::tflite::Operator;

use super::kinds::Width;

/// What an operator says of the scales of what it takes and makes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rule {
    /// A product of weights.
    Product,
    /// Any scales.
    Free,
    /// One scale for all.
    Same,
    /// Its output has this scale and zero point, in int8 and in int16.
    Fixed([(f32, i64); 2]),
}

/// Numbers from 0 to 1, and from -1 to 1.
const SHARE: [(f32, i64); 2] = [(1.0 / 256.0, -128), (1.0 / 32768.0, 0)];
const SIGNED: [(f32, i64); 2] = [(1.0 / 128.0, 0), (1.0 / 32768.0, 0)];

/// The builtins that compute in integers, with the versions that do in int8 and in int16; 0 where there is no kernel.
const ROWS: &[(&str, Rule, [i32; 2])] = &[
    ("CONV_2D", Rule::Product, [3, 4]),
    ("DEPTHWISE_CONV_2D", Rule::Product, [3, 5]),
    ("FULLY_CONNECTED", Rule::Product, [4, 7]),
    ("ADD", Rule::Free, [2, 3]),
    ("SUB", Rule::Free, [2, 5]),
    ("MUL", Rule::Free, [2, 4]),
    ("MEAN", Rule::Free, [2, 3]),
    ("RELU", Rule::Free, [2, 3]),
    ("RELU6", Rule::Free, [2, 3]),
    ("LEAKY_RELU", Rule::Free, [2, 2]),
    ("HARD_SWISH", Rule::Free, [1, 0]),
    ("AVERAGE_POOL_2D", Rule::Same, [2, 3]),
    ("MAX_POOL_2D", Rule::Same, [2, 3]),
    ("CONCATENATION", Rule::Same, [2, 3]),
    ("RESHAPE", Rule::Same, [1, 1]),
    ("SQUEEZE", Rule::Same, [1, 1]),
    ("EXPAND_DIMS", Rule::Same, [1, 1]),
    ("PAD", Rule::Same, [2, 3]),
    ("TRANSPOSE", Rule::Same, [2, 4]),
    ("SPLIT", Rule::Same, [2, 4]),
    ("SLICE", Rule::Same, [2, 4]),
    ("STRIDED_SLICE", Rule::Same, [2, 4]),
    ("MAXIMUM", Rule::Same, [2, 4]),
    ("MINIMUM", Rule::Same, [2, 4]),
    ("RESIZE_BILINEAR", Rule::Same, [2, 4]),
    ("RESIZE_NEAREST_NEIGHBOR", Rule::Same, [2, 4]),
    ("SOFTMAX", Rule::Fixed(SHARE), [2, 3]),
    ("LOGISTIC", Rule::Fixed(SHARE), [2, 3]),
    ("TANH", Rule::Fixed(SIGNED), [2, 3]),
];

/// What there is for an operator: its rule, and the version that computes in these integers.
pub(super) fn row(operator: &Operator, width: &Width) -> Option<(Rule, i32)> {
    let (_, rule, versions) = ROWS.iter().find(|(name, ..)| *name == operator.name())?;
    let version = versions.get(width.number).copied().filter(|version| *version > 0)?;
    Some((*rule, version))
}
