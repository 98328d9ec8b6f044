//! How many axes inputs have that say what is to be done.

use std::ops::RangeInclusive;

use crate::fact::Fact;
use crate::operator::OpError;

/// Operators, an input, and how many axes it has.
type Rule = (&'static [&'static str], usize, RangeInclusive<usize>);

/// What TensorFlow's kernels refuse.
const ALWAYS: &[Rule] = &[
    (
        &["ArgMax", "ArgMin", "Cumsum", "Cumprod", "TopKV2", "NthElement", "Bincount", "DenseBincount"],
        1,
        0..=0,
    ),
    (&["OneHot", "MatrixBandPart"], 1, 0..=0),
    (&["OneHot", "MatrixBandPart", "GatherV2", "PadV2", "LinSpace"], 2, 0..=0),
    (&["UnsortedSegmentSum", "UnsortedSegmentMax", "UnsortedSegmentMin", "UnsortedSegmentProd"], 2, 0..=0),
    (&["HistogramFixedWidth", "InTopKV2", "MatrixDiagPartV2", "MatrixDiagPartV3"], 2, 0..=0),
    (&["OneHot"], 3, 0..=0),
    (&["MatrixDiagV2", "MatrixDiagV3"], 2, 0..=0),
    (&["MatrixDiagV2", "MatrixDiagV3"], 3, 0..=0),
    (&["MatrixDiagV2", "MatrixDiagV3"], 4, 0..=0),
    (&["Split", "LinSpace", "ConcatOffset", "Assert"], 0, 0..=0),
    (&["LinSpace", "BroadcastArgs"], 1, 0..=1),
    (&["LinSpace"], 1, 0..=0),
    (&["ReverseV2", "Reverse", "BroadcastTo"], 1, 1..=1),
    (&["CropAndResize"], 3, 1..=1),
    (&["Roll"], 1, 0..=1),
    (&["Roll"], 2, 0..=1),
    (&["MatrixDiagV2", "MatrixDiagV3", "MatrixDiagPartV2", "MatrixDiagPartV3"], 1, 0..=1),
    (&["MatrixSetDiagV2", "MatrixSetDiagV3"], 2, 0..=1),
];

/// What only the reading of a file refuses: a vector of one element passes where the shape is not known then.
const IN_A_FILE: &[Rule] = &[
    (&["Concat", "Range"], 0, 0..=0),
    (&["Fill", "Range", "FakeQuantWithMinMaxVars"], 1, 0..=0),
    (&["FakeQuantWithMinMaxVars"], 2, 0..=0),
    (&["Range"], 2, 0..=0),
    (&["SplitV"], 2, 0..=0),
    (&["Fill", "Empty"], 0, 1..=1),
    (&["SplitV", "Reshape", "Tile"], 1, 1..=1),
    (&["Sum", "Mean", "Prod", "Max", "Min", "EuclideanNorm", "All", "Any"], 1, 0..=1),
    (&["SpaceToBatchND", "BatchToSpaceND"], 1, 1..=1),
];

/// Checks the inputs of an operator, where their number of axes is known.
///
/// # Errors
/// [`OpError::Input`] for one of another number.
pub fn check(op: &str, inputs: &[&Fact]) -> Result<(), OpError> {
    follow(ALWAYS, op, inputs)
}

/// The same for inputs as a file says them.
///
/// # Errors
/// As [`check`].
pub fn check_in_file(op: &str, inputs: &[&Fact]) -> Result<(), OpError> {
    follow(IN_A_FILE, op, inputs)?;
    match (op, inputs.split_last()) {
        ("ConcatV2", Some((axis, values))) => need(values.len(), axis, &(0..=0)),
        _ => Ok(()),
    }
}

fn follow(rules: &[Rule], op: &str, inputs: &[&Fact]) -> Result<(), OpError> {
    for (_, input, ranks) in rules.iter().filter(|(ops, ..)| ops.contains(&op)) {
        if let Some(fact) = inputs.get(*input) {
            need(*input, fact, ranks)?;
        }
    }
    Ok(())
}

fn need(input: usize, fact: &Fact, ranks: &RangeInclusive<usize>) -> Result<(), OpError> {
    if fact.dims.rank().is_none_or(|rank| ranks.contains(&rank)) {
        return Ok(());
    }
    let needed = match (ranks.start(), ranks.end()) {
        (0, 0) => "a scalar",
        (0, _) => "a scalar or a vector",
        _ => "a vector",
    };
    Err(OpError::input(input, format!("is of shape {}; {needed} is needed", fact.dims)))
}
