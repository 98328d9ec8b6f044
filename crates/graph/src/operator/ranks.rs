//! How many axes inputs have that say what is to be done, whenever that is known.

use std::ops::RangeInclusive;

use super::{OpError, Run};
use crate::dim::Dims;
use crate::fact::Fact;

/// Operators, an input, and how many axes it has.
pub(crate) type Rule = (&'static [&'static str], usize, RangeInclusive<usize>);

/// What TensorFlow's kernels refuse.
const ALWAYS: &[Rule] = &[
    (
        &[
            "ArgMax",
            "ArgMin",
            "Cumsum",
            "Cumprod",
            "CumulativeLogsumexp",
            "TopKV2",
            "NthElement",
            "Bincount",
            "DenseBincount",
        ],
        1,
        0..=0,
    ),
    (&["OneHot", "MatrixBandPart"], 1, 0..=0),
    (&["OneHot", "MatrixBandPart", "GatherV2", "PadV2", "LinSpace"], 2, 0..=0),
    (&["UnsortedSegmentSum", "UnsortedSegmentMax", "UnsortedSegmentMin", "UnsortedSegmentProd"], 2, 0..=0),
    (&["HistogramFixedWidth", "InTopKV2"], 2, 0..=0),
    (&["OneHot"], 3, 0..=0),
    (&["MatrixDiagV2", "MatrixDiagV3"], 2, 0..=0),
    (&["MatrixDiagV2", "MatrixDiagV3"], 3, 0..=0),
    (&["Split", "LinSpace", "ConcatOffset", "Assert"], 0, 0..=0),
    (&["LinSpace", "BroadcastArgs"], 1, 0..=1),
    (&["LinSpace"], 1, 0..=0),
    (&["ReverseV2", "Reverse", "BroadcastTo", "SplitV"], 1, 1..=1),
    (&["CropAndResize"], 3, 1..=1),
    (&["Roll"], 1, 0..=1),
    (&["Roll"], 2, 0..=1),
    (&["MatrixDiagV2", "MatrixDiagV3", "MatrixDiagPartV2", "MatrixDiagPartV3"], 1, 0..=1),
    (&["MatrixSetDiagV2", "MatrixSetDiagV3"], 2, 0..=1),
    (&["Reverse", "ReverseV2"], 0, 0..=8),
    (&["Empty"], 0, 1..=1),
    (&["Concat", "Range"], 0, 0..=1),
    (&["Fill", "Range"], 1, 0..=1),
    (&["Range"], 2, 0..=1),
    (&["Where"], 0, 1..=8),
    (&["Softmax", "LogSoftmax"], 0, 1..=usize::MAX),
    (&["UnsortedSegmentJoin"], 1, 1..=usize::MAX),
    (&["ReverseSequence"], 0, 2..=5),
    (&["QuantizedBiasAdd"], 0, 2..=usize::MAX),
    (&["Fingerprint"], 1, 0..=0),
    (&["QuantizedRelu", "QuantizedRelu6", "QuantizedMaxPool", "QuantizedAvgPool"], 1, 0..=0),
    (&["QuantizedRelu", "QuantizedRelu6", "QuantizedMaxPool", "QuantizedAvgPool"], 2, 0..=0),
    (&["Requantize", "QuantizeDownAndShrinkRange"], 1, 0..=0),
    (&["Requantize", "QuantizeDownAndShrinkRange"], 2, 0..=0),
    (&["QuantizedAdd", "QuantizedMul", "QuantizedBiasAdd", "QuantizedConv2D", "QuantizedMatMul"], 2, 0..=0),
    (&["QuantizedAdd", "QuantizedMul", "QuantizedBiasAdd", "QuantizedConv2D", "Requantize"], 3, 0..=0),
    (&["QuantizedAdd", "QuantizedMul", "QuantizedBiasAdd", "QuantizedConv2D", "Requantize"], 4, 0..=0),
    (&["QuantizedAdd", "QuantizedMul", "QuantizedBiasAdd", "QuantizedConv2D"], 5, 0..=0),
    (&["SparseReduceSum", "SparseReduceMax", "SparseReduceSumSparse", "SparseReduceMaxSparse"], 3, 0..=1),
    (&["EmptyTensorList", "TensorListReserve", "TensorListSetItem", "DecodePaddedRaw"], 1, 0..=0),
    (&["TensorListResize"], 1, 0..=0),
    (&["TensorListScatterV2"], 3, 0..=0),
    (&["TensorArrayV3"], 0, 0..=0),
    (
        &[
            "SparseSegmentSumWithNumSegments",
            "SparseSegmentMeanWithNumSegments",
            "SparseSegmentSqrtNWithNumSegments",
        ],
        3,
        0..=0,
    ),
];

/// Checks the inputs of an operator, where their number of axes is known.
///
/// # Errors
/// [`OpError::Input`] for one of another number.
pub fn check(op: &str, inputs: &[&Fact]) -> Result<(), OpError> {
    follow(ALWAYS, op, inputs)
}

/// The same for the inputs of a run, of which it may not have been known before.
///
/// # Errors
/// As [`check`].
pub fn check_in_run(op: &str, run: &Run<'_>) -> Result<(), OpError> {
    let rank = |input: usize| (input < run.inputs()).then(|| run.rank(input));
    match broken(ALWAYS, op, &rank) {
        Some((input, ranks)) => Err(refusal(input, &run.shape(input).into(), ranks)),
        None => Ok(()),
    }
}

/// Holds inputs against the rules of an operator.
///
/// # Errors
/// As [`check`].
pub(crate) fn follow(rules: &'static [Rule], op: &str, inputs: &[&Fact]) -> Result<(), OpError> {
    match broken(rules, op, &|input| inputs.get(input)?.dims.rank()) {
        Some((input, ranks)) => Err(refusal(input, &inputs[input].dims, ranks)),
        None => Ok(()),
    }
}

/// Holds one input against a rule.
///
/// # Errors
/// As [`check`].
pub(crate) fn need(input: usize, fact: &Fact, ranks: &RangeInclusive<usize>) -> Result<(), OpError> {
    match fact.dims.rank() {
        Some(rank) if !ranks.contains(&rank) => Err(refusal(input, &fact.dims, ranks)),
        _ => Ok(()),
    }
}

/// The first rule that is not kept by inputs of so many axes: its input, and how many that has to have.
fn broken(
    rules: &'static [Rule],
    op: &str,
    rank: &dyn Fn(usize) -> Option<usize>,
) -> Option<(usize, &'static RangeInclusive<usize>)> {
    let mut rules = rules.iter().filter(|(ops, ..)| ops.contains(&op));
    let rule = rules.find(|(_, input, ranks)| rank(*input).is_some_and(|rank| !ranks.contains(&rank)))?;
    Some((rule.1, &rule.2))
}

fn refusal(input: usize, dims: &Dims, ranks: &RangeInclusive<usize>) -> OpError {
    let needed = match (ranks.start(), ranks.end()) {
        (0, 0) => "a scalar",
        (0, 1) => "a scalar or a vector",
        (1, 1) => "a vector",
        (least, most) if least == most => &format!("rank {least}"),
        (least, &usize::MAX) => &format!("rank {least} or more"),
        (least, most) => &format!("a tensor of {least} to {most} axes"),
    };
    OpError::input(input, format!("is of shape {dims}; {needed} is needed"))
}

#[cfg(test)]
mod tests {
    use tightfit_core::DType;

    use super::*;
    use crate::testing::{int, ints, operator, text};

    /// What infers a graph anew asks by the name that an operator has then.
    #[test]
    fn rules_are_named_as_their_operators_are() {
        let attributes = [
            ("num_split", int(1)),
            ("seq_dim", int(1)),
            ("strides", ints(&[1; 4])),
            ("ksize", ints(&[1; 4])),
            ("padding", text("SAME")),
            ("out_type", crate::testing::dtype(DType::U8)),
            ("element_dtype", crate::testing::dtype(DType::F32)),
            ("dtype", crate::testing::dtype(DType::I32)),
        ];
        for (names, input, _) in ALWAYS {
            for name in *names {
                let found = operator(name, &attributes).unwrap();
                let is_in = |(names, at, _): &&Rule| at == input && names.contains(&found.name());
                assert!(ALWAYS.iter().any(|rule| is_in(&rule)), "{name}, which is {}", found.name());
            }
        }
    }

    #[test]
    fn scalars_pass_for_vectors_and_vectors_for_scalars_where_tensorflow_lets_them() {
        let of = |rank: usize| Fact::new(DType::I32, tightfit_core::Shape::new(&[1; 3][..rank]).unwrap());
        assert!(check("Fill", &[&of(0), &of(1)]).is_ok());
        assert!(check("Fill", &[&of(1), &of(2)]).is_err());
        assert!(check("Range", &[&of(0), &of(2), &of(0)]).is_err());
        assert!(check("InTopKV2", &[&of(2), &of(1), &of(1)]).is_err());
        assert!(check("UnsortedSegmentJoin", &[&of(1), &of(1)]).is_ok());
        assert!(check("UnsortedSegmentJoin", &[&of(1), &of(0)]).is_err());
        assert!(check("Reshape", &[&of(1), &of(0)]).is_ok());
        assert!(check("Requantize", &[&of(2), &of(0), &of(1)]).is_err());
        assert!(check("QuantizedMatMul", &[&of(2), &of(2), &of(0), &of(1)]).is_ok());
        assert!(check("TensorListScatterV2", &[&of(2), &of(1), &of(1), &of(1)]).is_err());
        assert!(check("TensorListResize", &[&of(2), &of(1)]).is_err());
        assert!(check("TensorArrayV3", &[&of(1)]).is_err());
        assert!(check("SparseReduceMax", &[&of(2), &of(1), &of(1), &of(2)]).is_err());
    }
}
