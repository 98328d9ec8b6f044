//! How many axes inputs have that say what is to be done, where only the reading of a file refuses others.

use tightfit_core::DType;
use tightfit_format::NodeDef;

use crate::dim::Dim;
use crate::fact::Fact;
use crate::operator::OpError;
use crate::operator::attributes::Attributes;
use crate::operator::ranks::{Rule, follow, need};

/// What only the reading of a file refuses: a vector of one element passes for a scalar where the shape is not known
/// then, and a scalar for a vector.
const IN_A_FILE: &[Rule] = &[
    (&["Concat", "Range"], 0, 0..=0),
    (&["Fill", "Range", "FakeQuantWithMinMaxVars"], 1, 0..=0),
    (&["FakeQuantWithMinMaxVars"], 2, 0..=0),
    (&["Range"], 2, 0..=0),
    (&["SplitV"], 2, 0..=0),
    (&["Fill"], 0, 1..=1),
    (&["Reshape", "Tile", "MaxPoolV2"], 1, 1..=1),
    (&["MaxPoolV2"], 2, 1..=1),
    (&["Sum", "Mean", "Prod", "Max", "Min", "EuclideanNorm", "All", "Any"], 1, 0..=1),
    (&["SpaceToBatchND", "BatchToSpaceND"], 1, 1..=1),
    (&["SpaceToBatch", "BatchToSpace"], 0, 4..=4),
    (&["MatrixDiagPartV2", "MatrixDiagPartV3"], 2, 0..=0),
    (&["MatrixDiagV2", "MatrixDiagV3"], 4, 0..=0),
    // Of tables the handle is not counted.
    (&["InitializeTable", "InitializeTableV2", "LookupTableImportV2"], 0, 1..=1),
    (&["InitializeTableFromTextFile", "InitializeTableFromTextFileV2"], 0, 0..=0),
    (&["LookupTableRemoveV2"], 0, 1..=usize::MAX),
    (&["QuantizedMatMul", "QuantizedReshape"], 3, 0..=0),
    (&["QuantizedMatMul"], 4, 0..=0),
    (&["QuantizedMatMul"], 5, 0..=0),
    (&["QuantizedReshape", "RequantizationRange"], 2, 0..=0),
    (&["RequantizationRange"], 1, 0..=0),
    (&["EmptyTensorList", "TensorListReserve"], 0, 0..=1),
    (&["TensorListFromTensor", "TensorListStack", "TensorListConcatV2", "TensorListPopBack"], 1, 0..=1),
    (&["TensorListGetItem", "TensorListGather", "TensorListScatterV2"], 2, 0..=1),
    (&["TensorArrayWriteV3", "TensorArrayReadV3"], 1, 0..=0),
    (&["TensorArrayGatherV3", "TensorArrayScatterV3"], 1, 1..=1),
    (&["ParseExampleV2"], 1, 0..=1),
    (&["QuantizeAndDequantizeV3"], 3, 0..=0),
    (&["InitializeTable", "InitializeTableV2"], 1, 1..=1),
];

/// Checks the inputs of a node as a file says them.
///
/// # Errors
/// [`OpError::Input`] for one of another number.
pub fn check_in_file(node: &NodeDef, inputs: &[&Fact]) -> Result<(), OpError> {
    follow(IN_A_FILE, &node.op, inputs)?;
    match (&*node.op, inputs.split_last()) {
        ("ConcatV2", Some((axis, values))) => need(values.len(), axis, &(0..=0)),
        ("PlaceholderWithDefault", Some((default, _))) => {
            let declared = Attributes::new(node).shape_or_unknown("shape")?;
            declared.map_or(Ok(()), |declared| fits(0, default, &declared))
        }
        ("ParallelConcat", _) => {
            if let Some(mut declared) = Attributes::new(node).shape_or_unknown("shape")? {
                declared.iter_mut().take(1).for_each(|rows| *rows = 1);
                inputs.iter().enumerate().try_for_each(|(input, fact)| fits(input, fact, &declared))?;
            }
            let open =
                |fact: &&Fact| fact.dims.get().is_none_or(|dims| dims.iter().any(|d| d.size().is_none()));
            match inputs.iter().position(open) {
                Some(input) => {
                    let why = format!("is of shape {}, which must be known here", inputs[input].dims);
                    Err(OpError::input(input, why))
                }
                None => Ok(()),
            }
        }
        ("SpaceToBatchND" | "BatchToSpaceND", _) => {
            let blocks = inputs.get(1).and_then(|fact| fact.dims.get()).and_then(|dims| dims.first()?.size());
            blocks.map(drop).ok_or_else(|| OpError::input(1, "must be of a size that is known here"))
        }
        ("Range", _) if inputs.iter().all(|fact| fact.dtype == DType::F16 && fact.value.is_some()) => {
            Err(OpError::input(0, "is float16, of which TensorFlow works no size out as it reads a file"))
        }
        ("FusedBatchNormV3", _) => {
            let rank = Attributes::new(node).text_or("data_format", "NHWC")?.len();
            inputs.first().map_or(Ok(()), |x| need(0, x, &(rank..=rank)))
        }
        ("SplitV", _) => split_along_the_last(inputs),
        ("CropAndResize", _) => match inputs.get(1).and_then(|boxes| boxes.dims.get()) {
            Some([_, corners]) if corners.known().is_some_and(|n| n != 4) => {
                Err(OpError::input(1, "is of boxes that have not four corners"))
            }
            _ => Ok(()),
        },
        ("DenseCountSparseOutput", _) => {
            let [Some(values), Some(weights)] = [0, 1].map(|i| inputs.get(i)) else { return Ok(()) };
            // Weights of a size that is open may be some.
            let is_open = weights.dims.get().is_some_and(|dims| dims.iter().any(|d| d.size().is_none()));
            match values.dims.rank().filter(|_| is_open) {
                Some(rank) => need(1, weights, &(rank..=rank)),
                None => Ok(()),
            }
        }
        ("Substr", _) => {
            let [places, lengths] = [1, 2].map(|i| inputs.get(i).and_then(|fact| fact.dims.get()));
            let Some(places) = places else { return Ok(()) };
            // A size that is open is another one than any that is known.
            let is_same = match lengths {
                Some(lengths) => {
                    let mut pairs = places.iter().zip(lengths);
                    places.len() != lengths.len() || pairs.all(|(a, b)| a.size() == b.size())
                }
                None => places.iter().all(|place| place.size().is_none()),
            };
            if !is_same {
                return Err(OpError::input(
                    2,
                    format!("is of shape {}, and input 1 of {}", inputs[2].dims, inputs[1].dims),
                ));
            }
            Ok(())
        }
        ("MatrixDiagV2" | "MatrixDiagV3", _) => diagonals_of_open_size(inputs),
        ("MatrixSetDiagV2" | "MatrixSetDiagV3", _) => {
            let [Some(matrix), Some(diagonal)] = [0, 1].map(|i| inputs.get(i)) else { return Ok(()) };
            let is_open = matrix.dims.get().is_some_and(|dims| dims.iter().any(|d| d.size().is_none()));
            // What data says is open there too, but of how many axes it is not.
            let is_sure = [matrix, diagonal]
                .iter()
                .all(|fact| !fact.dims.get().unwrap_or_default().contains(&Dim::Unknown));
            if is_open
                && is_sure
                && matrix.dims.rank().is_some()
                && matrix.dims.rank() == diagonal.dims.rank()
            {
                // Before k is looked at, it is taken for one diagonal.
                return Err(OpError::input(
                    1,
                    format!("is of shape {}, more than a diagonal", diagonal.dims),
                ));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// TensorFlow takes an axis of SplitV that is not known as it reads a file for the last one.
fn split_along_the_last(inputs: &[&Fact]) -> Result<(), OpError> {
    let [Some(input), Some(sizes), Some(axis)] = [0, 1, 2].map(|i| inputs.get(i)) else { return Ok(()) };
    let last = input.dims.get().and_then(|dims| dims.last()?.known());
    let (Some(last), Some(sizes), None) = (last, sizes.ints(), axis.ints()) else { return Ok(()) };
    let sum: i64 = sizes.iter().filter(|size| **size != -1).fold(0, |sum, size| sum.saturating_add(*size));
    let fits = if sizes.contains(&-1) { sum <= last } else { sum == last };
    if fits { Ok(()) } else { Err(OpError::input(1, format!("is {sizes:?}, which do not make up {last}"))) }
}

/// TensorFlow takes a size that is not known as it reads a file for -1 where it checks the diagonals of a matrix.
fn diagonals_of_open_size(inputs: &[&Fact]) -> Result<(), OpError> {
    let values = |input: usize| inputs.get(input).and_then(|fact| fact.ints());
    let (Some(dims), Some(k)) = (inputs.first().and_then(|fact| fact.dims.get()), values(1)) else {
        return Ok(());
    };
    let ([lower, ..], [.., upper]) = (&k[..], &k[..]) else { return Ok(()) };
    let [rows, columns] = [2, 3].map(|i| values(i).and_then(|n| n.first().copied()).unwrap_or(-1));
    let size =
        |from_last: usize| dims.len().checked_sub(from_last).and_then(|at| dims[at].known()).unwrap_or(-1);
    let last = || dims.iter().rev().take(2);
    // What data says is open there too, but of how many axes it is not.
    if last().all(|dim| dim.known().is_some()) || dims.contains(&Dim::Unknown) {
        return Ok(());
    }
    let counted = lower == upper || size(2) == upper - lower + 1;
    let least = [size(1) - upper.min(&0), size(1) + lower.max(&0)];
    let given = match (rows, columns) {
        (-1, -1) => [least[0].max(least[1]); 2],
        (-1, columns) => [least[0], columns],
        (rows, -1) => [rows, least[1]],
        both => [both.0, both.1],
    };
    let is_enough =
        given[0] >= least[0] && given[1] >= least[1] && (given[0] == least[0] || given[1] == least[1]);
    if counted && is_enough {
        return Ok(());
    }
    Err(OpError::input(0, format!("is of shape {:?}, which the diagonals {k:?} are not of", inputs[0].dims)))
}

/// Checks that a shape is one that was declared, -1 where that is open.
fn fits(input: usize, fact: &Fact, declared: &[i64]) -> Result<(), OpError> {
    let Some(dims) = fact.dims.get() else { return Ok(()) };
    let is_same = |(dim, n): (&Dim, &i64)| *n < 0 || dim.known().is_none_or(|dim| dim == *n);
    if dims.len() == declared.len() && dims.iter().zip(declared).all(is_same) {
        return Ok(());
    }
    Err(OpError::input(input, format!("is of shape {}, not of {declared:?}", fact.dims)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_as_it_runs_is_refused_in_a_file() {
        let of = |rank: usize| Fact::new(DType::I32, tightfit_core::Shape::new(&[1; 3][..rank]).unwrap());
        let node = |op: &str| NodeDef { op: op.into(), ..NodeDef::default() };
        assert!(check_in_file(&node("MaxPoolV2"), &[&of(1), &of(2), &of(1)]).is_err());
        assert!(check_in_file(&node("Reshape"), &[&of(1), &of(0)]).is_err());
        assert!(check_in_file(&node("QuantizedMatMul"), &[&of(2), &of(2), &of(0), &of(1)]).is_err());
        assert!(check_in_file(&node("FusedBatchNormV3"), &[&of(3)]).is_err());
    }
}
