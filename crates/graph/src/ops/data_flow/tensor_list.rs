//! Lists of tensors: TensorListReserve and its kin, which loops of TensorFlow 2 read and write.
//!
//! A list whose elements have one shape is held as one dense tensor `[length, ..element]`, so that its memory is planned as
//! that of any other: [`Fact::list`] marks it. Stack and FromTensor cost nothing, and SetItem writes one element where the
//! list has no other reader. An element that was never set is zero, as TensorFlow reads it. A list whose length depends on
//! data grows as any other value. Where elements have different shapes, or none that is known before the model runs, the
//! list grows too, and knows of each element what it is (`operator::lists`): SetItem writes in its place while there is
//! room for the element, and Stack copies. Types: any. Refused: elements of more than 8 dimensions.

use tightfit_core::{DType, Shape, TensorView};

use super::list_parts::{
    Parts, Resizes, Said, asked, asked_in_run, both, check_asked, dense_shape, element_bytes_of_output,
    list_to_change, makes_open, place, place_of, reshape_list, row_of, scalar, shape_of_attribute,
};
use super::list_reads::{Concat, ElementShape, Gather, GetItem, Length, PopBack, Stack};
use super::list_split::{Pieces, Split};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::lists::{OpenList, is_open, open_shape};
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "EmptyTensorList", import: |a| reserve(a, true) },
    Registration { name: "TensorListReserve", import: |a| reserve(a, false) },
    Registration { name: "TensorListFromTensor", import: |a| Ok(Box::new(FromTensor(dtype(a)?))) },
    Registration {
        name: "TensorListSetItem",
        import: |a| {
            let resizes = match a.bool_or("resize_if_index_out_of_bounds", false)? {
                true => Resizes::Always,
                false => Resizes::Never,
            };
            Ok(Box::new(SetItem { dtype: dtype(a)?, list: 0, resizes }))
        },
    },
    Registration {
        name: "TensorListScatterIntoExistingList",
        import: |a| Ok(Box::new(Scatter { dtype: dtype(a)?, list: 0, rows: 1, resizes: Resizes::Always })),
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
    Registration {
        name: "TensorListConcat",
        import: |a| {
            let shape = Said::Attribute(shape_of_attribute(a, "element_shape")?);
            Ok(Box::new(Concat { dtype: dtype(a)?, list: 0, shape }))
        },
    },
    Registration {
        name: "TensorListSplit",
        import: |a| Ok(Box::new(Split { dtype: dtype(a)?, of: Pieces::List })),
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

/// A list of elements that are not set yet.
#[derive(Debug)]
pub(crate) struct Reserve {
    dtype: DType,
    kind: Kind,
    /// What is known of elements besides what inputs say.
    element: Dims,
}

/// What a list is made by.
#[derive(Debug, Clone)]
enum Kind {
    /// EmptyTensorList, of a shape and the most elements.
    Empty,
    /// TensorListReserve, of a shape and how many elements.
    List,
    /// TensorArrayV3, of how many elements: the first output is its handle. That has one element where the array has
    /// `dynamic_size`, and else none. Its elements must have the shape that is `said`.
    Array { is_dynamic: bool, said: Dims },
}

impl Reserve {
    /// An array of elements that must have this shape.
    pub(super) fn array(dtype: DType, said: Dims, is_dynamic: bool) -> Reserve {
        Reserve { dtype, kind: Kind::Array { is_dynamic, said }, element: Dims::UNKNOWN }
    }

    /// The shape that elements must have, if it is whole: of a list this input says it.
    fn said_in_run(&self, run: &Run<'_>, input: Option<usize>) -> Option<Shape> {
        match (&self.kind, input) {
            (Kind::Array { said, .. }, _) => said.concrete(),
            (_, Some(input)) => asked_in_run(run, input),
            (_, None) => None,
        }
    }

    /// The same for elements of which more is known: what is set later says it.
    pub(crate) fn of_elements(&self, element: Dims) -> Reserve {
        Reserve { dtype: self.dtype, kind: self.kind.clone(), element }
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
        let (said, length) = match &self.kind {
            Kind::Array { said, .. } => (said.clone(), scalar(inputs, 0)?),
            Kind::List => (asked(inputs, 0)?, scalar(inputs, 1)?),
            Kind::Empty => (asked(inputs, 0)?, Dim::Known(0)),
        };
        if let Dim::Known(n @ ..0) = length {
            return Err(OpError::Invalid(format!("makes a list of {n} elements")));
        }
        // Below 0 there is no bound.
        let most = match self.kind {
            Kind::Empty => scalar(inputs, 1)?.known().filter(|most| *most >= 0),
            Kind::List | Kind::Array { .. } => None,
        };
        let unset = Parts::unset(length, &said);
        let list = Parts { element: both(&self.element, &said, 0)?, most, ..unset }.fact(self.dtype)?;
        Ok(match self.kind {
            Kind::Array { is_dynamic, .. } => {
                vec![Fact::new(DType::U8, Dims::new(vec![Dim::Known(is_dynamic.into())])), list]
            }
            Kind::Empty | Kind::List => vec![list],
        })
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (output, length, said) = match self.kind {
            Kind::Empty => (0, 0, Some(0)),
            Kind::List => (0, reshape::int(run, 1)?, Some(0)),
            Kind::Array { .. } => (1, reshape::int(run, 0)?, None),
        };
        let length = usize::try_from(length).ok()?;
        let shape = match is_open(&run.output_shape(output)) {
            true => open_shape(length),
            false => {
                let known = self.element.concrete();
                dense_shape(length, &known.or_else(|| self.said_in_run(run, said))?)?
            }
        };
        run.set_output_shape(output, shape).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if !matches!(self.kind, Kind::Array { .. }) {
            check_asked(run, 0)?;
        }
        (0..run.outputs()).try_for_each(|output| run.out_bytes(output).map(|bytes| bytes.fill(0)))?;
        Ok(())
    }
}

/// The rows of a tensor as a list.
#[derive(Debug)]
pub(crate) struct FromTensor(pub DType);

impl Operator for FromTensor {
    fn name(&self) -> &'static str {
        "TensorListFromTensor"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (tensor, shape) = (shared::input(inputs, 0)?, asked(inputs, 1)?);
        let Some(dims) = tensor.dims.get() else {
            return Ok(vec![Parts::unset(Dim::Unknown, &shape).put(&Dims::UNKNOWN, 0)?.fact(self.0)?]);
        };
        let (length, element) = dims.split_first().ok_or_else(|| OpError::input(0, "is a scalar"))?;
        Ok(vec![Parts::unset(*length, &shape).put(&Dims::new(element.to_vec()), 0)?.fact(self.0)?])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        check_asked(run, 1).ok()?;
        reshape::same(run, 0)
    }

    shares_memory!();
}

/// A list with another element at a place. Its inputs besides the list: the place and the element.
#[derive(Debug)]
pub(super) struct SetItem {
    pub dtype: DType,
    /// Which input is the list.
    pub list: usize,
    /// Whether a place past the last element makes the list longer.
    pub resizes: Resizes,
}

impl Operator for SetItem {
    fn name(&self) -> &'static str {
        "TensorListSetItem"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let before = Parts::of(inputs, self.list, self.dtype)?;
        let item = shared::input(inputs, 2)?;
        if item.dtype != self.dtype {
            return Err(OpError::input(2, format!("is {}, and the list is of {}", item.dtype, self.dtype)));
        }
        shared::need_type(1, shared::input(inputs, 1)?, &[DType::I32])?;
        let length = match (self.resizes.is_known(inputs)?, before.length, scalar(inputs, 1)?) {
            (false, length, _) => length,
            (true, Dim::Known(length), Dim::Known(index)) => Dim::Known(length.max(index.saturating_add(1))),
            (true, ..) => Dim::Unknown,
        };
        Ok(vec![Parts { length, ..before.put(&item.dims, 2)? }.fact(self.dtype)?])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::overwrites(&[self.list])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let behind = usize::try_from(reshape::int(run, 1)?).ok().and_then(|index| index.checked_add(1));
        let length = behind.filter(|_| self.resizes.in_run(run)).unwrap_or(0);
        let (item, before) = (run.shape(2), *run.shape(self.list).first()?);
        reshape_list(run, self.list, length.max(before), &item, 1)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (bytes, at) = (element_bytes_of_output(run), place(run, 1, run.output_dim(0, 0).unwrap_or(0))?);
        let item = run.bytes(2)?;
        if makes_open(run) {
            return OpenList::of(run, self.list)?.set(at, &run.shape(2), item);
        }
        let rank = run.rank(2);
        let is_same = |axis: usize| run.dim(2, axis) == run.output_dim(0, axis + 1);
        if run.output_rank(0) != rank + 1 || !(0..rank).all(is_same) {
            return Err(OpError::input(2, "is of another shape than the elements of the list"));
        }
        let out = list_to_change(run, self.list)?;
        out[at * bytes..][..bytes].copy_from_slice(item);
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
        let before = Parts::of(inputs, 0, self.0)?;
        if let (Some(most), Some(length)) = (before.most, before.length.known())
            && length >= most
        {
            let why = format!("is a full list: it has {length} elements, and max_num_elements is {most}");
            return Err(OpError::input(0, why));
        }
        let length = before.length.known().map_or(Dim::Unknown, |n| Dim::Known(n.saturating_add(1)));
        Ok(vec![Parts { length, ..before.put(&shared::input(inputs, 1)?.dims, 1)? }.fact(self.0)?])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (before, item) = (run.shape(0), run.shape(1));
        match before.first()?.checked_add(1)? {
            // What an empty list said of its elements is in what was inferred.
            1 if !makes_open(run) => run.set_output_shape(0, dense_shape(1, &item)?).ok(),
            length => reshape_list(run, 0, length, &item, 1),
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (before, item) = (run.input(0)?, run.input(1)?);
        if makes_open(run) {
            let back = before.shape()[0];
            return OpenList::of(run, 0)?.set(back, item.shape(), item.bytes());
        }
        let shape = run.output_shape(0);
        let back_bytes = element_bytes_of_output(run);
        let (front, back) = {
            let out = run.out_bytes(0)?;
            out.split_at_mut(out.len().saturating_sub(back_bytes))
        };
        match before.bytes().is_empty() {
            true => front.fill(0),
            false => front.copy_from_slice(before.bytes()),
        }
        if shape[1..] != item.shape()[..] {
            return Err(OpError::input(1, "is of another shape than the elements of the list"));
        }
        back.copy_from_slice(item.bytes());
        Ok(())
    }
}

/// A list with rows at the places that another input names.
#[derive(Debug)]
pub(super) struct Scatter {
    pub dtype: DType,
    /// Which input is the list.
    pub list: usize,
    /// Which input are the rows, 1 or 2; the other one are the places.
    pub rows: usize,
    /// Whether a place past the last element makes the list longer.
    pub resizes: Resizes,
}

impl Scatter {
    fn places(&self) -> usize {
        3 - self.rows
    }

    /// Puts rows into an open list.
    fn put_rows(&self, run: &mut Run<'_>, indices: &[i32], rows: TensorView<'_>) -> Result<(), OpError> {
        let row = Shape::new(rows.shape().get(1..).unwrap_or_default())?;
        if rows.shape().first() != Some(&indices.len()) {
            return Err(OpError::input(self.rows, "has not one row for each index"));
        }
        let (bytes, length) = (row.elements() * rows.dtype().bytes(), run.output_shape(0)[0]);
        let mut list = OpenList::of(run, self.list)?;
        for (number, index) in indices.iter().enumerate() {
            list.set(place_of(*index, length)?, &row, &rows.bytes()[number * bytes..][..bytes])?;
        }
        Ok(())
    }
}

impl Operator for Scatter {
    fn name(&self) -> &'static str {
        "TensorListScatterIntoExistingList"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let before = Parts::of(inputs, self.list, self.dtype)?;
        let rows = shared::input(inputs, self.rows)?;
        if rows.dtype != self.dtype {
            return Err(OpError::input(
                self.rows,
                format!("is {}, and the list is of {}", rows.dtype, self.dtype),
            ));
        }
        let places = shared::input(inputs, self.places())?;
        shared::need_type(self.places(), places, &[DType::I32])?;
        shared::dims_of_rank(self.places(), places, 1)?;
        // What is as long as was said stays so where places are not known: one past the end is an error then.
        let length = match (self.resizes.is_known(inputs)?, before.length, places.ints()) {
            (true, Dim::Known(length), Some(places)) => {
                Dim::Known(places.iter().fold(length, |length, place| length.max(place.saturating_add(1))))
            }
            (_, length, _) => length,
        };
        let row = row_of(rows, self.rows)?;
        Ok(vec![Parts { length, ..before.put(&row, self.rows)? }.fact(self.dtype)?])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::overwrites(&[self.list])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let most = run.slice::<i32>(self.places()).ok()?.iter().copied().max().unwrap_or(-1);
        let behind = usize::try_from(i64::from(most) + 1).ok();
        let length = behind.filter(|_| self.resizes.in_run(run)).unwrap_or(0);
        let (rows, before) = (run.shape(self.rows), *run.shape(self.list).first()?);
        reshape_list(run, self.list, length.max(before), rows.get(1..)?, *rows.first()?)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (bytes, length) = (element_bytes_of_output(run), run.output_shape(0)[0]);
        let (indices, rows) = (run.slice::<i32>(self.places())?, run.input(self.rows)?);
        if makes_open(run) {
            return self.put_rows(run, indices, rows);
        }
        if rows.bytes().len() != indices.len() * bytes {
            return Err(OpError::input(self.rows, "has not one row of the list's shape for each index"));
        }
        let out = list_to_change(run, self.list)?;
        for (row, index) in indices.iter().enumerate() {
            let to = place_of(*index, length)?;
            out[to * bytes..][..bytes].copy_from_slice(&rows.bytes()[row * bytes..][..bytes]);
        }
        Ok(())
    }
}
