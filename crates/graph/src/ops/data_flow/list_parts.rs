//! What operators on lists of tensors share: a list's parts, as they are known before a run and as they are in one.

use std::sync::Arc;

use tightfit_core::{DType, MAX_RANK, Shape};

use crate::dim::{Dim, Dims};
use crate::fact::{Fact, List};
use crate::operator::attributes::Attributes;
use crate::operator::lists::{self, Elements};
use crate::operator::reshape;
use crate::operator::{OpError, Run};
use crate::ops::shared;

/// What is known of a list.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub length: Dim,
    /// What elements have in common, or where none is set yet what is known of them.
    pub element: Dims,
    pub is_set: bool,
    /// The shape that they must have.
    pub said: Dims,
    /// The most of them that pushing makes, where that is known to be bounded.
    pub most: Option<i64>,
}

impl Parts {
    /// A list of which no element is set, of elements that must have this shape.
    pub fn unset(length: Dim, said: &Dims) -> Parts {
        Parts { length, element: said.clone(), is_set: false, said: said.clone(), most: None }
    }

    /// Those of the list that is this input.
    pub fn of(inputs: &[&Fact], list: usize, dtype: DType) -> Result<Parts, OpError> {
        let fact = shared::input(inputs, list)?;
        let List { length, is_set, said, most } =
            fact.list.as_deref().cloned().ok_or_else(|| OpError::input(list, "is no list of tensors"))?;
        if fact.dtype != dtype {
            return Err(OpError::input(list, format!("is a list of {}, not of {dtype}", fact.dtype)));
        }
        let element = fact.dims.get().map_or(Dims::UNKNOWN, |dims| Dims::new(dims[1..].to_vec()));
        Ok(Parts { length, element, is_set, said, most })
    }

    /// The same list with an element of this shape, which is an input's, put there.
    pub fn put(&self, item: &Dims, input: usize) -> Result<Parts, OpError> {
        let item = both(item, &self.said, input)?;
        let element = match (self.is_set, self.element.get(), item.get()) {
            (false, ..) => item,
            (true, Some(own), Some(other)) if own.len() == other.len() => {
                let common = own.iter().zip(other).map(|(a, b)| if a == b { *a } else { Dim::Unknown });
                both(&Dims::new(common.collect::<Vec<_>>()), &self.said, input)?
            }
            _ => self.said.clone(),
        };
        Ok(Parts { element, is_set: true, ..self.clone() })
    }

    /// The list as a fact.
    ///
    /// # Errors
    /// [`OpError::Unsupported`] for elements of too many dimensions.
    pub fn fact(self, dtype: DType) -> Result<Fact, OpError> {
        lists::check_rank(self.element.rank().unwrap_or(0))?;
        let Parts { length, element, is_set, said, most } = self;
        let list = Some(Arc::new(List { length, is_set, said, most }));
        Ok(Fact { list, ..Fact::new(dtype, stacked(length, &element)) })
    }
}

/// The shape that an attribute says.
pub(super) fn shape_of_attribute(attributes: &Attributes<'_>, name: &str) -> Result<Dims, OpError> {
    let dim = |dim: i64| if dim < 0 { Dim::Unknown } else { Dim::Known(dim) };
    let dims = attributes.shape_or_unknown(name)?;
    Ok(dims.map_or(Dims::UNKNOWN, |dims| Dims::new(dims.into_iter().map(dim).collect::<Vec<_>>())))
}

/// Where the shape of elements is said besides the list itself.
#[derive(Debug)]
pub(crate) enum Said {
    /// By an input.
    Input(usize),
    /// By an attribute.
    Attribute(Dims),
}

impl Said {
    /// The shape that it says after the first dimension, where that is whole.
    pub fn rest_in_run(&self, run: &Run<'_>) -> Option<Shape> {
        match self {
            Said::Input(input) if run.shape(*input).rank() == 0 => None,
            Said::Input(input) => {
                let dims = run.ints::<MAX_RANK>(*input).ok()?;
                let rest = dims.get(1..)?;
                rest.iter().all(|dim| usize::try_from(*dim).is_ok()).then_some(())?;
                reshape::shape(rest.iter().map(|dim| *dim as usize))
            }
            Said::Attribute(dims) => Dims::new(dims.get()?.get(1..)?.to_vec()).concrete(),
        }
    }

    /// The shape that it says, where that is whole.
    pub fn in_run(&self, run: &Run<'_>) -> Option<Shape> {
        match self {
            Said::Input(input) => asked_in_run(run, *input),
            Said::Attribute(dims) => dims.concrete(),
        }
    }

    /// What is known of the elements of a list, that included.
    pub fn with(&self, element: &Dims, inputs: &[&Fact]) -> Result<Dims, OpError> {
        match self {
            Said::Input(input) => both(element, &asked(inputs, *input)?, *input),
            Said::Attribute(dims) => both(element, dims, 0),
        }
    }
}

/// The shape that an input names, -1 in it for a dimension of any size; a scalar -1 is a shape of any rank.
///
/// # Errors
/// [`OpError::Input`] for another scalar, and for a dimension below -1.
pub(super) fn asked(inputs: &[&Fact], input: usize) -> Result<Dims, OpError> {
    let fact = shared::input(inputs, input)?;
    if fact.dims.rank() == Some(0) {
        return match fact.int() {
            Some(other) if other != -1 => {
                Err(OpError::input(input, format!("is the scalar {other}; a vector or -1 is needed")))
            }
            _ => Ok(Dims::UNKNOWN),
        };
    }
    Ok(match (fact.dims_value(), fact.dims.elements().known()) {
        (Some(dims), _) => {
            if let Some(Dim::Known(n)) = dims.iter().find(|dim| matches!(dim, Dim::Known(..-1))) {
                return Err(OpError::input(input, format!("has {n}, which is no dimension")));
            }
            let dim = |dim: &Dim| if matches!(dim, Dim::Known(..0)) { Dim::Unknown } else { *dim };
            Dims::new(dims.iter().map(dim).collect::<Vec<_>>())
        }
        (None, Some(rank)) => usize::try_from(rank).map_or(Dims::UNKNOWN, Dims::of_rank),
        (None, None) => Dims::UNKNOWN,
    })
}

/// Checks the same of the shape that an input has in a run.
///
/// # Errors
/// As [`asked`].
pub(super) fn check_asked(run: &Run<'_>, input: usize) -> Result<(), OpError> {
    let dims = run.ints::<MAX_RANK>(input)?;
    match dims.iter().find(|dim| **dim < -1 || (run.shape(input).rank() == 0 && **dim != -1)) {
        None => Ok(()),
        Some(dim) => Err(OpError::input(input, format!("has {dim}, which is no dimension"))),
    }
}

/// What two shapes of the same elements say together.
pub(super) fn both(a: &Dims, b: &Dims, input: usize) -> Result<Dims, OpError> {
    let (Some(one), Some(other)) = (a.get(), b.get()) else {
        return Ok(if a.get().is_some() { a.clone() } else { b.clone() });
    };
    let why = || OpError::input(input, format!("says {b} of elements of shape {a}"));
    if one.len() != other.len() {
        return Err(why());
    }
    let dims = one.iter().zip(other).map(|(a, b)| match (a, b) {
        (Dim::Unknown, dim) | (dim, Dim::Unknown) => Ok(*dim),
        (Dim::Known(m), Dim::Known(n)) if m != n => Err(why()),
        (Dim::Known(_), _) => Ok(*a),
        _ => Ok(*b),
    });
    Ok(Dims::new(dims.collect::<Result<Vec<_>, _>>()?))
}

pub(super) fn scalar(inputs: &[&Fact], input: usize) -> Result<Dim, OpError> {
    let fact = shared::input(inputs, input)?;
    Ok(match fact.dims_value().as_deref() {
        Some([one]) => *one,
        _ => Dim::Unknown,
    })
}

/// The place of the element that an input names, in a list of so many.
pub(super) fn place(run: &Run<'_>, input: usize, length: usize) -> Result<usize, OpError> {
    let index = match run.ints::<1>(input)?[..] {
        [index] => index,
        _ => return Err(OpError::input(input, "is no index")),
    };
    usize::try_from(index)
        .ok()
        .filter(|place| *place < length)
        .ok_or_else(|| OpError::input(input, format!("is {index}, and the list has {length} elements")))
}

/// The shape of a dense list of so many elements.
pub(super) fn dense_shape(length: usize, element: &[usize]) -> Option<Shape> {
    reshape::shape([length].into_iter().chain(element.iter().copied()))
}

/// True where the first output was planned as an open list.
pub(super) fn makes_open(run: &Run<'_>) -> bool {
    lists::is_open_rank(run.output_rank(0))
}

/// The shape that an input asks for, if it is whole.
pub(super) fn asked_in_run(run: &Run<'_>, input: usize) -> Option<Shape> {
    if run.shape(input).rank() == 0 {
        return None;
    }
    let dims = run.ints::<MAX_RANK>(input).ok()?;
    dims.iter().all(|dim| usize::try_from(*dim).is_ok()).then_some(())?;
    reshape::shape(dims.iter().map(|dim| *dim as usize))
}

/// The one shape that elements of a list have in a run, those of them that are not set included: they have that of the
/// others, or what `said` says.
///
/// # Errors
/// [`OpError::Input`] where they differ, and where nothing says it.
pub(super) fn common_shape(
    run: &Run<'_>,
    list: usize,
    said: &Said,
    places: impl Iterator<Item = Result<usize, OpError>>,
) -> Result<Shape, OpError> {
    if let Said::Input(input) = said {
        check_asked(run, *input)?;
    }
    let elements = Elements::of(run, list)?;
    let (mut common, mut is_unset) = (None, false);
    for place in places {
        let Some((shape, _)) = elements.get(place?)? else {
            is_unset = true;
            continue;
        };
        let differs =
            |other: &Shape| OpError::input(list, format!("has elements of shapes {other} and {shape}"));
        match common {
            Some(other) if other != shape => return Err(differs(&other)),
            _ => common = Some(shape),
        }
    }
    let Some(shape) = common else { return unset_shape(run, list, said) };
    match is_unset.then(|| said.in_run(run)).flatten() {
        Some(other) if other != shape => {
            Err(OpError::input(list, format!("has elements of shapes {other} and {shape}")))
        }
        _ => Ok(shape),
    }
}

/// The shape in which an element is read that is not set: what is said of it, or the one of all that are set.
pub(super) fn unset_shape(run: &Run<'_>, list: usize, said: &Said) -> Result<Shape, OpError> {
    if let Some(shape) = said.in_run(run) {
        return Ok(shape);
    }
    let mut common = None;
    for element in Elements::of(run, list)?.iter() {
        match (element?, common) {
            (Some((shape, _)), Some(other)) if shape != other => return Err(none_is_said(list)),
            (Some((shape, _)), _) => common = Some(shape),
            (None, _) => {}
        }
    }
    common.ok_or_else(|| none_is_said(list))
}

/// Gives the first output the shape of the list that is this input with `count` elements of one shape put there, of `length`
/// elements then.
pub(super) fn reshape_list(
    run: &mut Run<'_>,
    list: usize,
    length: usize,
    item: &[usize],
    count: usize,
) -> Option<()> {
    let before = run.shape(list);
    let shape = if makes_open(run) {
        let bytes = item.iter().product::<usize>().checked_mul(run.dtype(list).bytes())?;
        let elements = Elements::of(run, list).ok()?;
        elements.shape_with(length, count, bytes.checked_mul(count)?, bytes).ok()?
    } else {
        // Of a list of which none is set yet its own shape says nothing.
        let element = if lists::is_open(&before) { item } else { before.get(1..)? };
        dense_shape(length, element)?
    };
    run.set_output_shape(0, shape).ok()
}

/// What is said of an element that cannot be read.
pub(super) fn none_is_said(list: usize) -> OpError {
    OpError::input(list, "has an element that is not set, and nothing says what shape it has")
}

/// Bytes of one element of the first output, which is a list.
pub(super) fn element_bytes_of_output(run: &Run<'_>) -> usize {
    let dims = (1..run.output_rank(0)).filter_map(|axis| run.output_dim(0, axis));
    dims.product::<usize>() * run.output_dtype(0).bytes()
}

/// The first output, which is as long as the list that is this input and begins as what that is.
pub(super) fn list_to_change<'r>(run: &mut Run<'r>, list: usize) -> Result<&'r mut [u8], OpError> {
    let before = if run.is_in_place(list) { None } else { Some(run.input(list)?) };
    let out = run.out_bytes(0)?;
    if let Some(before) = before {
        if lists::is_open(before.shape()) && !before.bytes().is_empty() {
            return Err(OpError::Internal("an open list is made a dense one"));
        }
        let (front, new) = out
            .split_at_mut_checked(before.bytes().len())
            .ok_or(OpError::Internal("a list is longer than what is made of it"))?;
        front.copy_from_slice(before.bytes());
        new.fill(0);
    }
    Ok(out)
}

/// Elements one after the other along a new first axis of this size.
pub(super) fn stacked(count: Dim, element: &Dims) -> Dims {
    element.get().map_or(Dims::UNKNOWN, |element| Dims::new([&[count], element].concat()))
}

/// What is known of a row of a tensor that is this input.
///
/// # Errors
/// [`OpError::Input`] for a scalar.
pub(super) fn row_of(rows: &Fact, input: usize) -> Result<Dims, OpError> {
    match rows.dims.get().map(<[Dim]>::split_first) {
        None => Ok(Dims::UNKNOWN),
        Some(Some((_, row))) => Ok(Dims::new(row.to_vec())),
        Some(None) => Err(OpError::input(input, "is a scalar")),
    }
}

/// The place in a list of so many that an element of input 1 names.
pub(super) fn place_of(index: i32, length: usize) -> Result<usize, OpError> {
    usize::try_from(index)
        .ok()
        .filter(|place| *place < length)
        .ok_or_else(|| OpError::input(1, format!("has {index}, and the list has {length} elements")))
}

/// Whether a list gets longer where a place past its last element is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Resizes {
    Never,
    Always,
    /// Where the handle of its array, which is this input, has an element: see [`Reserve`].
    WithHandle(usize),
}

impl Resizes {
    /// What is known of it.
    pub(super) fn is_known(self, inputs: &[&Fact]) -> Result<bool, OpError> {
        match self {
            Resizes::Never => Ok(false),
            Resizes::Always => Ok(true),
            Resizes::WithHandle(input) => Ok(shared::input(inputs, input)?.dims.elements() == Dim::Known(1)),
        }
    }

    pub(super) fn in_run(self, run: &Run<'_>) -> bool {
        match self {
            Resizes::Never => false,
            Resizes::Always => true,
            Resizes::WithHandle(input) => run.shape(input).elements() == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{dtype, operator};

    fn infer(op: &str, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        operator(op, &[("element_dtype", dtype(DType::F32))])?.infer(inputs)
    }

    fn int32(values: &[i32], dims: &[usize]) -> Fact {
        Fact::known(DType::I32, Shape::new(dims).unwrap(), bytemuck::cast_slice(values))
    }

    fn floats(dims: &[usize]) -> Fact {
        Fact::new(DType::F32, Shape::new(dims).unwrap())
    }

    fn why(result: Result<Vec<Fact>, OpError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_full_list_takes_no_more() {
        let pushed = |most: i32, count: usize| {
            let list = infer("EmptyTensorList", &[&int32(&[2], &[1]), &int32(&[most], &[])])?.remove(0);
            (0..count)
                .try_fold(list, |list, _| Ok(infer("TensorListPushBack", &[&list, &floats(&[2])])?.remove(0)))
        };
        // Below 0 there is no bound.
        for (most, count) in [(-1, 3), (-2, 1), (1, 1), (2, 2)] {
            let list: Fact =
                pushed(most, count).unwrap_or_else(|error: OpError| panic!("{most} {count}: {error}"));
            assert_eq!(list.list_length(), Some(Dim::Known(count as i64)));
        }
        for (most, count) in [(0, 1), (1, 2)] {
            assert!(pushed(most, count).unwrap_err().to_string().contains("full list"), "{most} {count}");
        }
    }

    #[test]
    fn places_and_shapes_are_what_tensorflow_takes() {
        let tensor = floats(&[3, 2]);
        let from = |shape: &Fact| infer("TensorListFromTensor", &[&tensor, shape]);
        let list = from(&int32(&[2], &[1])).unwrap().remove(0);
        assert!(why(from(&int32(&[-2], &[1]))).contains("-2, which is no dimension"));
        let row = int32(&[2], &[1]);
        // One element wherever it stands is an index to be read, and a scalar one to be set.
        for (index, is_read, is_set) in [
            (int32(&[0], &[]), true, true),
            (int32(&[0], &[1]), true, false),
            (int32(&[0, 1], &[2]), false, false),
        ] {
            assert_eq!(infer("TensorListGetItem", &[&list, &index, &row]).is_ok(), is_read, "{index:?}");
            let set = crate::operator::ranks::check("TensorListSetItem", &[&list, &index, &floats(&[2])]);
            assert_eq!(set.is_ok(), is_set, "{index:?}");
        }
        let scatter =
            |places: &Fact| infer("TensorListScatterIntoExistingList", &[&list, &floats(&[1, 2]), places]);
        assert!(scatter(&int32(&[0], &[1])).is_ok());
        assert!(why(scatter(&int32(&[0], &[]))).contains("rank 1"));
        let long = Fact::known(DType::I64, Shape::SCALAR, bytemuck::cast_slice(&[0i64]));
        assert!(why(infer("TensorListGetItem", &[&list, &long, &row])).contains("int64"));
        // The last element is what it is, whatever shape is asked for.
        let popped = infer("TensorListPopBack", &[&list, &int32(&[2, -2], &[2])]).unwrap();
        assert_eq!(popped[1].dims, floats(&[2]).dims);
    }
}
