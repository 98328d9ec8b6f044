//! What operators on lists of tensors share: a list's parts, as they are known before a run and as they are in one.

use tightfit_core::{DType, MAX_RANK, Shape};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::reshape;
use crate::operator::{OpError, Run};
use crate::ops::shared;

/// What is known of a list.
pub(super) fn list(dtype: DType, length: Dim, element: &Dims) -> Fact {
    Fact { list: Some(length), ..Fact::new(dtype, stacked(length, element)) }
}

/// The length of the list that is this input, and the shape of its elements.
pub(super) fn parts(inputs: &[&Fact], list: usize, dtype: DType) -> Result<(Dim, Dims), OpError> {
    let fact = shared::input(inputs, list)?;
    let length = fact.list.ok_or_else(|| OpError::input(list, "is no list of tensors"))?;
    if fact.dtype != dtype {
        return Err(OpError::input(list, format!("is a list of {}, not of {dtype}", fact.dtype)));
    }
    let element = fact.dims.get().map_or(Dims::UNKNOWN, |dims| Dims::new(dims[1..].to_vec()));
    Ok((length, element))
}

/// Where the shape of elements is said besides the list itself.
#[derive(Debug)]
pub(super) enum Said {
    /// By an input.
    Input(usize),
    /// By an attribute.
    Attribute(Dims),
}

impl Said {
    /// What is known of the elements of a list, that included.
    pub fn with(&self, element: &Dims, inputs: &[&Fact]) -> Result<Dims, OpError> {
        match self {
            Said::Input(input) => both(element, &asked(shared::input(inputs, *input)?), *input),
            Said::Attribute(dims) => both(element, dims, 0),
        }
    }
}

/// The shape that an input names, -1 in it for a dimension of any size; a scalar -1 is a shape of any rank.
pub(super) fn asked(fact: &Fact) -> Dims {
    if fact.dims.rank() == Some(0) {
        return Dims::UNKNOWN;
    }
    match (fact.dims_value(), fact.dims.elements().known()) {
        (Some(dims), _) => {
            let dim = |dim: &Dim| if matches!(dim, Dim::Known(..0)) { Dim::Unknown } else { *dim };
            Dims::new(dims.iter().map(dim).collect::<Vec<_>>())
        }
        (None, Some(rank)) => usize::try_from(rank).map_or(Dims::UNKNOWN, Dims::of_rank),
        (None, None) => Dims::UNKNOWN,
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

/// The rank of a list's memory while nothing is known of its elements, which is that of no tensor that TensorFlow computes
/// with. All its dimensions but the length are 0.
const UNSET: usize = MAX_RANK;

/// True for a list none of whose elements has a shape yet.
pub(super) fn is_unset(list: &Shape) -> bool {
    list.rank() == UNSET && list[1..].iter().all(|dim| *dim == 0)
}

/// The shape of a list of so many elements; `None` for the element of a list of which nothing is known.
pub(super) fn list_shape(length: usize, element: Option<&[usize]>) -> Option<Shape> {
    match element {
        Some(element) => reshape::shape([length].into_iter().chain(element.iter().copied())),
        None => reshape::shape([length].into_iter().chain([0; UNSET - 1])),
    }
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

/// The shape of the elements of the list that is this input, or what `said` says where none is set.
pub(super) fn element_in_run(run: &Run<'_>, list: usize, said: &Said) -> Option<Shape> {
    let list = run.shape(list);
    match is_unset(&list) {
        false => reshape::shape(list[1..].iter().copied()),
        true => match said {
            Said::Input(input) => asked_in_run(run, *input),
            Said::Attribute(dims) => dims.concrete(),
        },
    }
}

/// Gives the first output the shape of the list that is this input, of at least so many elements, each of this shape where
/// none was set before.
pub(super) fn reshape_list(run: &mut Run<'_>, list: usize, length: usize, item: &[usize]) -> Option<()> {
    let before = run.shape(list);
    let length = length.max(*before.first()?);
    let element = if is_unset(&before) { item } else { &before[1..] };
    run.set_output_shape(0, list_shape(length, Some(element))?).ok()
}

/// What is said of an element that cannot be read.
pub(super) fn none_is_set(list: usize) -> OpError {
    OpError::input(list, "is a list of which no element is set, and nothing says what shape they have")
}

/// Bytes of one element of the first output, which is a list.
pub(super) fn element_bytes_of_output(run: &Run<'_>) -> usize {
    run.output_shape(0)[1..].iter().product::<usize>() * run.output_dtype(0).bytes()
}

/// Bytes of one element of the list that is this input.
pub(super) fn element_bytes(run: &Run<'_>, list: usize) -> usize {
    run.shape(list)[1..].iter().product::<usize>() * run.dtype(list).bytes()
}

/// The first output, which is as long as the list that is this input and begins as what that is.
pub(super) fn list_to_change<'r>(run: &mut Run<'r>, list: usize) -> Result<&'r mut [u8], OpError> {
    let before = if run.is_in_place(list) { None } else { Some(run.input(list)?) };
    let out = run.out_bytes(0)?;
    if let Some(before) = before {
        let (front, new) = out
            .split_at_mut_checked(before.bytes().len())
            .ok_or(OpError::Internal("a list is longer than what is made of it"))?;
        front.copy_from_slice(before.bytes());
        new.fill(0);
    }
    Ok(out)
}

/// Elements one behind the other along a new first axis of this size.
pub(super) fn stacked(count: Dim, element: &Dims) -> Dims {
    element.get().map_or(Dims::UNKNOWN, |element| Dims::new([&[count], element].concat()))
}

/// The place in a list of so many that an element of input 1 names.
pub(super) fn place_of(index: i32, length: usize) -> Result<usize, OpError> {
    usize::try_from(index)
        .ok()
        .filter(|place| *place < length)
        .ok_or_else(|| OpError::input(1, format!("has {index}, and the list has {length} elements")))
}
