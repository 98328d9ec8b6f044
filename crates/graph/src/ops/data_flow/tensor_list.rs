//! Lists of tensors: TensorListReserve and its kin, which loops of TensorFlow 2 read and write.
//!
//! A list is held as one dense tensor of shape `[length, ..element]`, so that its memory is planned as that of any other:
//! [`Fact::list`] marks it, and is its length. Stack and FromTensor cost nothing, and SetItem writes one element where the list
//! has no other reader. An element that was never set is zero, as TensorFlow reads it. Types: any. Refused: elements of
//! different shapes in one list, and lists whose length changes from turn to turn of a loop.

use tightfit_core::DType;

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "EmptyTensorList", import: |a| reserve(a, true) },
    Registration { name: "TensorListReserve", import: |a| reserve(a, false) },
    Registration { name: "TensorListFromTensor", import: |a| Ok(Box::new(FromTensor(dtype(a)?))) },
    Registration {
        name: "TensorListSetItem",
        import: |a| Ok(Box::new(SetItem { dtype: dtype(a)?, list: 0 })),
    },
    Registration {
        name: "TensorListScatterIntoExistingList",
        import: |a| Ok(Box::new(Scatter { dtype: dtype(a)?, list: 0 })),
    },
    Registration { name: "TensorListPushBack", import: |a| Ok(Box::new(PushBack(dtype(a)?))) },
    Registration { name: "TensorListPopBack", import: |a| Ok(Box::new(PopBack(dtype(a)?))) },
    Registration {
        name: "TensorListGetItem",
        import: |a| Ok(Box::new(GetItem { dtype: dtype(a)?, list: 0, shape: Said::Input(2) })),
    },
    Registration {
        name: "TensorListGather",
        import: |a| Ok(Box::new(Gather { dtype: dtype(a)?, list: 0, shape: Said::Input(2) })),
    },
    Registration { name: "TensorListStack", import: stack },
    Registration {
        name: "TensorListConcatV2",
        import: |a| Ok(Box::new(Concat { dtype: dtype(a)?, list: 0, shape: Said::Input(1) })),
    },
    Registration { name: "TensorListLength", import: |_| Ok(Box::new(Length { list: 0 })) },
    Registration { name: "TensorListElementShape", import: element_shape },
];

fn dtype(attributes: &Attributes<'_>) -> Result<DType, OpError> {
    attributes.dtype("element_dtype")
}

fn reserve(attributes: &Attributes<'_>, is_empty: bool) -> Result<Box<dyn Operator>, OpError> {
    let kind = if is_empty { Kind::Empty } else { Kind::List };
    Ok(Box::new(Reserve { dtype: dtype(attributes)?, kind, element: Dims::UNKNOWN }))
}

fn stack(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let length = attributes.int_or("num_elements", -1)?;
    Ok(Box::new(Stack { dtype: dtype(attributes)?, length: usize::try_from(length).ok() }))
}

fn element_shape(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    match attributes.dtype_or("shape_type", DType::I32)? {
        dtype @ (DType::I32 | DType::I64) => Ok(Box::new(ElementShape(dtype))),
        other => {
            Err(OpError::attribute("shape_type", format!("is {other}; int32 and int64 are what there is")))
        }
    }
}

/// What is known of a list.
pub(super) fn list(dtype: DType, length: Dim, element: &Dims) -> Fact {
    Fact { list: Some(length), ..Fact::new(dtype, stacked(length, element)) }
}

/// The length of the list that is this input, and the shape of its elements.
fn parts(inputs: &[&Fact], list: usize, dtype: DType) -> Result<(Dim, Dims), OpError> {
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
    fn with(&self, element: &Dims, inputs: &[&Fact]) -> Result<Dims, OpError> {
        match self {
            Said::Input(input) => both(element, &asked(shared::input(inputs, *input)?), *input),
            Said::Attribute(dims) => both(element, dims, 0),
        }
    }
}

/// The shape that an input names, -1 in it for a dimension of any size; a scalar -1 is a shape of any rank.
fn asked(fact: &Fact) -> Dims {
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
fn both(a: &Dims, b: &Dims, input: usize) -> Result<Dims, OpError> {
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
fn place(run: &Run<'_>, input: usize, length: usize) -> Result<usize, OpError> {
    let index = match run.ints::<1>(input)?[..] {
        [index] => index,
        _ => return Err(OpError::input(input, "is no index")),
    };
    usize::try_from(index)
        .ok()
        .filter(|place| *place < length)
        .ok_or_else(|| OpError::input(input, format!("is {index}, and the list has {length} elements")))
}

/// Bytes of one element of the list that is this input.
fn element_bytes(run: &Run<'_>, list: usize) -> usize {
    run.shape(list)[1..].iter().product::<usize>() * run.dtype(list).bytes()
}

/// The first output, which begins as what the list that is this input is; what it is longer by is zero.
fn list_to_change<'r>(run: &mut Run<'r>, list: usize) -> Result<&'r mut [u8], OpError> {
    let before = if run.is_in_place(list) { None } else { Some(run.input(list)?) };
    let out = run.out_bytes(0)?;
    if let Some(before) = before {
        let (old, new) = out
            .split_at_mut_checked(before.bytes().len())
            .ok_or(OpError::Internal("a list is shorter behind a write"))?;
        old.copy_from_slice(before.bytes());
        new.fill(0);
    }
    Ok(out)
}

/// Elements one behind the other along a new first axis of this size.
fn stacked(count: Dim, element: &Dims) -> Dims {
    element.get().map_or(Dims::UNKNOWN, |element| Dims::new([&[count], element].concat()))
}

/// The handle of an array: a tensor without elements, whose rank says whether the array grows.
fn handle(grows: bool) -> Fact {
    Fact::new(DType::U8, Dims::new(vec![Dim::Known(0); 1 + usize::from(grows)]))
}

/// The length of a list behind a write to so many elements: an array that grows is as long as it must be.
pub(super) fn length_behind(inputs: &[&Fact], list: usize, before: Dim, least: Option<i64>) -> Dim {
    // Of a list the first input is that itself.
    let grows = list > 0 && inputs.first().is_some_and(|handle| handle.dims.rank() == Some(2));
    match (before.known(), least) {
        (Some(length), Some(least)) if grows => Dim::Known(length.max(least)),
        _ => before,
    }
}

/// A list of elements that are not set yet.
#[derive(Debug)]
pub(crate) struct Reserve {
    dtype: DType,
    kind: Kind,
    /// What is known of elements besides what inputs say.
    element: Dims,
}

/// What a list is made by.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// EmptyTensorList, of a shape and the most elements.
    Empty,
    /// TensorListReserve, of a shape and how many elements.
    List,
    /// TensorArrayV3, of how many elements: the first output is its handle.
    Array {
        /// True where a write past the end makes it longer.
        grows: bool,
    },
}

impl Reserve {
    /// An array of elements of which this much is known.
    pub(super) fn array(dtype: DType, element: Dims, grows: bool) -> Reserve {
        Reserve { dtype, kind: Kind::Array { grows }, element }
    }

    /// The same for elements of which more is known: what is set later says it.
    pub(crate) fn of_elements(&self, element: Dims) -> Reserve {
        Reserve { element, ..*self }
    }
}

impl Operator for Reserve {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Empty => "EmptyTensorList",
            Kind::List => "TensorListReserve",
            Kind::Array { .. } => "TensorArrayV3",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (element, length) = match self.kind {
            Kind::Array { .. } => (self.element.clone(), scalar(inputs, 0)?),
            Kind::List => (both(&self.element, &asked(shared::input(inputs, 0)?), 0)?, scalar(inputs, 1)?),
            Kind::Empty => (both(&self.element, &asked(shared::input(inputs, 0)?), 0)?, Dim::Known(0)),
        };
        if let Dim::Known(n @ ..0) = length {
            return Err(OpError::Invalid(format!("makes a list of {n} elements")));
        }
        let list = list(self.dtype, length, &element);
        Ok(match self.kind {
            Kind::Array { grows } => vec![handle(grows), list],
            Kind::Empty | Kind::List => vec![list],
        })
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        (0..run.outputs()).try_for_each(|output| run.out_bytes(output).map(|bytes| bytes.fill(0)))?;
        Ok(())
    }
}

/// The rows of a tensor as a list.
#[derive(Debug)]
struct FromTensor(DType);

impl Operator for FromTensor {
    fn name(&self) -> &'static str {
        "TensorListFromTensor"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (tensor, shape) = (shared::input(inputs, 0)?, asked(shared::input(inputs, 1)?));
        let Some(dims) = tensor.dims.get() else { return Ok(vec![list(self.0, Dim::Unknown, &shape)]) };
        let (length, element) = dims.split_first().ok_or_else(|| OpError::input(0, "is a scalar"))?;
        Ok(vec![list(self.0, *length, &both(&Dims::new(element.to_vec()), &shape, 1)?)])
    }

    shares_memory!();
}

/// A list with another element at a place. Its inputs besides the list: the place and the element.
#[derive(Debug)]
pub(super) struct SetItem {
    pub dtype: DType,
    /// Which input is the list.
    pub list: usize,
}

impl Operator for SetItem {
    fn name(&self) -> &'static str {
        "TensorListSetItem"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (length, element) = parts(inputs, self.list, self.dtype)?;
        let item = shared::input(inputs, 2)?;
        if item.dtype != self.dtype {
            return Err(OpError::input(2, format!("is {}, and the list is of {}", item.dtype, self.dtype)));
        }
        let least = shared::input(inputs, 1)?.int().and_then(|index| index.checked_add(1));
        let length = length_behind(inputs, self.list, length, least);
        Ok(vec![list(self.dtype, length, &both(&element, &item.dims, 2)?)])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::overwrites(&[self.list])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (bytes, at) = (element_bytes(run, self.list), place(run, 1, run.output_shape(0)[0])?);
        let item = run.input(2)?;
        if item.shape()[..] != run.shape(self.list)[1..] {
            return Err(OpError::input(2, "is of another shape than the elements of the list"));
        }
        let out = list_to_change(run, self.list)?;
        out[at * bytes..][..bytes].copy_from_slice(item.bytes());
        Ok(())
    }
}

/// A list and one more element.
#[derive(Debug)]
struct PushBack(DType);

impl Operator for PushBack {
    fn name(&self) -> &'static str {
        "TensorListPushBack"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (length, element) = parts(inputs, 0, self.0)?;
        let length = length.known().map_or(Dim::Unknown, |n| Dim::Known(n + 1));
        Ok(vec![list(self.0, length, &both(&element, &shared::input(inputs, 1)?.dims, 1)?)])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (before, item) = (run.input(0)?, run.input(1)?);
        let (front, back) = run.out_bytes(0)?.split_at_mut(before.bytes().len());
        front.copy_from_slice(before.bytes());
        if back.len() != item.bytes().len() {
            return Err(OpError::input(1, "is of another shape than the elements of the list"));
        }
        back.copy_from_slice(item.bytes());
        Ok(())
    }
}

/// A list without its last element, and that.
#[derive(Debug)]
struct PopBack(DType);

impl Operator for PopBack {
    fn name(&self) -> &'static str {
        "TensorListPopBack"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (length, element) = parts(inputs, 0, self.0)?;
        let element = both(&element, &asked(shared::input(inputs, 1)?), 1)?;
        let length = match length {
            Dim::Known(0) => return Err(OpError::input(0, "is an empty list")),
            Dim::Known(n) => Dim::Known(n - 1),
            _ => Dim::Unknown,
        };
        Ok(vec![list(self.0, length, &element), Fact::new(self.0, element)])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let before = run.input(0)?;
        let (out, item) = (run.out_bytes(0)?, run.out_bytes(1)?);
        let (front, back) = before.bytes().split_at(out.len());
        out.copy_from_slice(front);
        item.copy_from_slice(back);
        Ok(())
    }
}

/// One element of a list, whose place is input 1.
#[derive(Debug)]
pub(super) struct GetItem {
    pub dtype: DType,
    /// Which input is the list.
    pub list: usize,
    pub shape: Said,
}

impl Operator for GetItem {
    fn name(&self) -> &'static str {
        "TensorListGetItem"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (_, element) = parts(inputs, self.list, self.dtype)?;
        Ok(vec![Fact::new(self.dtype, self.shape.with(&element, inputs)?)])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (bytes, at) = (element_bytes(run, self.list), place(run, 1, run.shape(self.list)[0])?);
        let list = run.input(self.list)?;
        run.out_bytes(0)?.copy_from_slice(&list.bytes()[at * bytes..][..bytes]);
        Ok(())
    }
}

/// The elements at the places that input 1 names as a tensor.
#[derive(Debug)]
pub(super) struct Gather {
    pub dtype: DType,
    /// Which input is the list.
    pub list: usize,
    pub shape: Said,
}

impl Operator for Gather {
    fn name(&self) -> &'static str {
        "TensorListGather"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (_, element) = parts(inputs, self.list, self.dtype)?;
        let element = self.shape.with(&element, inputs)?;
        let count = shared::input(inputs, 1)?.dims.elements();
        Ok(vec![Fact::new(self.dtype, stacked(count, &element))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (bytes, length) = (element_bytes(run, self.list), run.shape(self.list)[0]);
        let (list, indices, out) = (run.input(self.list)?, run.slice::<i32>(1)?, run.out_bytes(0)?);
        for (place, index) in indices.iter().enumerate() {
            let from = place_of(*index, length)?;
            out[place * bytes..][..bytes].copy_from_slice(&list.bytes()[from * bytes..][..bytes]);
        }
        Ok(())
    }
}

/// The place in a list of so many that an element of input 1 names.
fn place_of(index: i32, length: usize) -> Result<usize, OpError> {
    usize::try_from(index)
        .ok()
        .filter(|place| *place < length)
        .ok_or_else(|| OpError::input(1, format!("has {index}, and the list has {length} elements")))
}

/// A list with the rows of input 2 at the places that input 1 names.
#[derive(Debug)]
pub(super) struct Scatter {
    pub dtype: DType,
    /// Which input is the list.
    pub list: usize,
}

impl Operator for Scatter {
    fn name(&self) -> &'static str {
        "TensorListScatterIntoExistingList"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (length, element) = parts(inputs, self.list, self.dtype)?;
        let rows = shared::input(inputs, 2)?;
        if rows.dtype != self.dtype {
            return Err(OpError::input(2, format!("is {}, and the list is of {}", rows.dtype, self.dtype)));
        }
        let last = shared::input(inputs, 1)?.ints().and_then(|indices| indices.into_iter().max());
        let length = length_behind(inputs, self.list, length, last.and_then(|last| last.checked_add(1)));
        let Some(dims) = rows.dims.get() else { return Ok(vec![list(self.dtype, length, &element)]) };
        let (_, row) = dims.split_first().ok_or_else(|| OpError::input(2, "is a scalar"))?;
        Ok(vec![list(self.dtype, length, &both(&element, &Dims::new(row.to_vec()), 2)?)])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::overwrites(&[self.list])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (bytes, length) = (element_bytes(run, self.list), run.output_shape(0)[0]);
        let (indices, rows) = (run.slice::<i32>(1)?, run.input(2)?);
        if rows.bytes().len() != indices.len() * bytes {
            return Err(OpError::input(2, "has not one row of the list's shape for each index"));
        }
        let out = list_to_change(run, self.list)?;
        for (row, index) in indices.iter().enumerate() {
            let to = place_of(*index, length)?;
            out[to * bytes..][..bytes].copy_from_slice(&rows.bytes()[row * bytes..][..bytes]);
        }
        Ok(())
    }
}

/// The elements of a list as the rows of a tensor.
#[derive(Debug)]
struct Stack {
    dtype: DType,
    /// How many there must be, where that is said.
    length: Option<usize>,
}

impl Operator for Stack {
    fn name(&self) -> &'static str {
        "TensorListStack"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (length, element) = parts(inputs, 0, self.dtype)?;
        if let (Some(wanted), Some(length)) = (self.length, length.size())
            && wanted != length
        {
            return Err(OpError::input(0, format!("has {length} elements; num_elements says {wanted}")));
        }
        let element = both(&element, &asked(shared::input(inputs, 1)?), 1)?;
        Ok(vec![Fact::new(self.dtype, stacked(length, &element))])
    }

    shares_memory!();
}

/// The elements of a list one behind the other along their first axis, and how long each is.
#[derive(Debug)]
pub(super) struct Concat {
    pub dtype: DType,
    /// Which input is the list.
    pub list: usize,
    pub shape: Said,
}

impl Operator for Concat {
    fn name(&self) -> &'static str {
        "TensorListConcatV2"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (length, element) = parts(inputs, self.list, self.dtype)?;
        let element = self.shape.with(&element, inputs)?;
        let lengths = Fact::new(DType::I64, Dims::new(vec![length]));
        let Some(dims) = element.get() else {
            return Ok(vec![Fact::new(self.dtype, Dims::UNKNOWN), lengths]);
        };
        let (rows, rest) =
            dims.split_first().ok_or_else(|| OpError::input(self.list, "is a list of scalars"))?;
        let rows = match (length.known(), rows.known()) {
            (Some(length), Some(rows)) => length.checked_mul(rows).map_or(Dim::Unknown, Dim::Known),
            _ => Dim::Unknown,
        };
        Ok(vec![Fact::new(self.dtype, Dims::new([&[rows], rest].concat())), lengths])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (list, rows) = (run.input(self.list)?, run.shape(self.list).get(1).copied());
        run.out_bytes(0)?.copy_from_slice(list.bytes());
        run.out::<i64>(1)?.fill(rows.unwrap_or_default() as i64);
        Ok(())
    }
}

/// How many elements a list has.
#[derive(Debug)]
pub(super) struct Length {
    /// Which input is the list.
    pub list: usize,
}

impl Operator for Length {
    fn name(&self) -> &'static str {
        "TensorListLength"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let list = shared::input(inputs, self.list)?;
        let length = list.list.ok_or_else(|| OpError::input(self.list, "is no list of tensors"))?;
        Ok(vec![Fact::of_dims(DType::I32, Dims::new(vec![]), &[length])])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let length = run.shape(self.list).first().copied().and_then(|n| i32::try_from(n).ok());
        let length =
            length.ok_or_else(|| OpError::input(self.list, "has more elements than int32 counts"))?;
        run.out::<i32>(0)?.fill(length);
        Ok(())
    }
}

/// The shape of a list's elements.
#[derive(Debug)]
struct ElementShape(DType);

impl Operator for ElementShape {
    fn name(&self) -> &'static str {
        "TensorListElementShape"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let list = shared::input(inputs, 0)?;
        list.list.ok_or_else(|| OpError::input(0, "is no list of tensors"))?;
        let Some(dims) = list.dims.get() else { return Ok(vec![Fact::new(self.0, Dims::of_rank(1))]) };
        let element = &dims[1..];
        Ok(vec![Fact::of_dims(self.0, Dims::new(vec![Dim::Known(element.len() as i64)]), element)])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let shape = run.shape(0);
        let element = &shape[1..];
        if self.0 == DType::I32 {
            run.out::<i32>(0)?.iter_mut().zip(element).for_each(|(out, dim)| *out = *dim as i32);
        } else {
            run.out::<i64>(0)?.iter_mut().zip(element).for_each(|(out, dim)| *out = *dim as i64);
        }
        Ok(())
    }
}
