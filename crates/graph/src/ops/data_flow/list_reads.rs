//! What is read of a list of tensors, as [`super::tensor_list`] has it: elements, all of them in one tensor, how many there
//! are and of which shape.

use tightfit_core::{DType, Shape};

use super::list_parts::{
    Parts, Said, asked, both, check_asked, common_shape, dense_shape, makes_open, none_is_said, place,
    place_of, stacked, unset_shape,
};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::lists::{Elements, OpenList, is_open, is_open_rank, open_shape};
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;

/// A list without its last element, and that.
#[derive(Debug)]
pub(super) struct PopBack(pub DType);

impl Operator for PopBack {
    fn name(&self) -> &'static str {
        "TensorListPopBack"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let before = Parts::of(inputs, 0, self.0)?;
        // What is asked for says something of an element that is not set alone.
        let asked = asked(inputs, 1).and_then(|asked| both(&before.element, &asked, 1));
        let element = asked.unwrap_or_else(|_| before.element.clone());
        let length = match before.length {
            Dim::Known(0) => return Err(OpError::input(0, "is an empty list")),
            Dim::Known(n) => Dim::Known(n - 1),
            _ => Dim::Unknown,
        };
        Ok(vec![Parts { length, ..before }.fact(self.0)?, Fact::new(self.0, element)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let elements = Elements::of(run, 0).ok()?;
        let length = elements.length.checked_sub(1)?;
        let element = match elements.get(length).ok()? {
            Some((shape, _)) => shape,
            None => unset_shape(run, 0, &Said::Input(1)).ok()?,
        };
        let rest = match (makes_open(run), is_open(&run.shape(0))) {
            (false, _) => dense_shape(length, &element)?,
            (true, true) if run.shape(0).elements() == 0 => open_shape(length),
            (true, _) => elements.shape_with(length, 0, 0, 0).ok()?,
        };
        run.set_output_shape(0, rest).ok()?;
        run.set_output_shape(1, element).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let before = Elements::of(run, 0)?;
        let back = before.length.checked_sub(1).ok_or_else(|| OpError::input(0, "is an empty list"))?;
        let item = run.out_bytes(1)?;
        match before.get(back)? {
            Some((_, bytes)) => item.copy_from_slice(bytes),
            None => item.fill(0),
        }
        if makes_open(run) {
            return OpenList::of(run, 0).map(|_| ());
        }
        if is_open(&run.shape(0)) {
            run.out_bytes(0)?.fill(0);
            return Ok(());
        }
        let (list, out) = (run.input(0)?, run.out_bytes(0)?);
        let front =
            list.bytes().get(..out.len()).ok_or(OpError::Internal("a list is shorter than its front"))?;
        out.copy_from_slice(front);
        Ok(())
    }
}

/// One element of a list, whose place is input 1.
#[derive(Debug)]
pub(crate) struct GetItem {
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
        let Parts { element, .. } = Parts::of(inputs, self.list, self.dtype)?;
        let index = shared::input(inputs, 1)?;
        shared::need_type(1, index, &[DType::I32])?;
        match self.shape {
            // Of a list the index may have axes, as long as it is one.
            Said::Input(_) if index.dims.elements().known().is_some_and(|count| count != 1) => {
                return Err(OpError::input(1, format!("is of shape {}, which is no index", index.dims)));
            }
            Said::Input(_) => {}
            Said::Attribute(_) => shared::dims_of_rank(1, index, 0).map(|_| ())?,
        }
        Ok(vec![Fact::new(self.dtype, self.shape.with(&element, inputs)?)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        // What is wrong with it is told by the run.
        match self.element(run) {
            Ok((shape, _)) => run.set_output_shape(0, shape).ok(),
            Err(_) => Some(()),
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if !is_open_rank(run.rank(self.list)) {
            let (list, length) = (run.bytes(self.list)?, run.dim(self.list, 0).unwrap_or(0));
            let at = place(run, 1, length)?;
            let out = run.out_bytes(0)?;
            if list.len() != out.len().saturating_mul(length) {
                return Err(OpError::Internal("an element is not as large as what it is read into"));
            }
            out.copy_from_slice(&list[at * out.len()..][..out.len()]);
            return Ok(());
        }
        match self.element(run)?.1 {
            Some(bytes) => run.out_bytes(0)?.copy_from_slice(bytes),
            None => run.out_bytes(0)?.fill(0),
        }
        Ok(())
    }
}

impl GetItem {
    /// Its shape, and its bytes where it is set.
    fn element<'r>(&self, run: &Run<'r>) -> Result<(Shape, Option<&'r [u8]>), OpError> {
        let elements = Elements::of(run, self.list)?;
        match elements.get(place(run, 1, elements.length)?)? {
            Some((shape, bytes)) => Ok((shape, Some(bytes))),
            None => Ok((unset_shape(run, self.list, &self.shape)?, None)),
        }
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
        let Parts { element, .. } = Parts::of(inputs, self.list, self.dtype)?;
        let element = self.shape.with(&element, inputs)?;
        let places = shared::input(inputs, 1)?;
        shared::need_type(1, places, &[DType::I32])?;
        if matches!(self.shape, Said::Attribute(_)) {
            shared::dims_of_rank(1, places, 1)?;
        }
        let count = places.dims.elements();
        Ok(vec![Fact::new(self.dtype, stacked(count, &element))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let count = run.shape(1).elements();
        match self.element(run) {
            Ok(element) => run.set_output_shape(0, dense_shape(count, &element)?).ok(),
            Err(_) => Some(()),
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let bytes = self.element(run)?.elements() * self.dtype.bytes();
        let (elements, indices) = (Elements::of(run, self.list)?, run.slice::<i32>(1)?);
        let out = run.out_bytes(0)?;
        if bytes == 0 {
            return Ok(());
        }
        for (number, index) in indices.iter().enumerate() {
            let to = &mut out[number * bytes..][..bytes];
            match elements.get(place_of(*index, elements.length)?)? {
                Some((_, from)) => to.copy_from_slice(from),
                None => to.fill(0),
            }
        }
        Ok(())
    }
}

impl Gather {
    /// The shape of each. TensorFlow's arrays do not look at the others where the first has no elements.
    fn element(&self, run: &Run<'_>) -> Result<Shape, OpError> {
        let length = run.shape(self.list).first().copied().unwrap_or(0);
        if let Said::Attribute(said) = &self.shape
            && run.shape(1).elements() == 0
            && said.concrete().is_none()
        {
            return Err(OpError::input(1, "names no element, and nothing says what shape one would have"));
        }
        // Elements of one known shape that hold nothing TensorFlow takes from any place of a list.
        if let (Said::Input(asked), Some((_, row))) = (&self.shape, run.shape(self.list).split_first())
            && !is_open_rank(run.rank(self.list))
            && row.contains(&0)
        {
            check_asked(run, *asked)?;
            return reshape::shape(row.iter().copied()).ok_or(OpError::Internal("a row has a shape"));
        }
        let mut places = run.slice::<i32>(1)?.iter().map(|index| place_of(*index, length));
        if let (Said::Attribute(_), Some(first)) = (&self.shape, places.clone().next())
            && let Some((shape, _)) = Elements::of(run, self.list)?.get(first?)?
            && shape.elements() == 0
        {
            places.try_for_each(|place| place.map(|_| ()))?;
            return Ok(shape);
        }
        common_shape(run, self.list, &self.shape, places)
    }
}

/// The elements of a list as the rows of a tensor.
#[derive(Debug)]
pub(super) struct Stack {
    pub dtype: DType,
    /// How many there must be, where that is said.
    pub length: Option<usize>,
}

impl Operator for Stack {
    fn name(&self) -> &'static str {
        "TensorListStack"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let Parts { length, element, said, .. } = Parts::of(inputs, 0, self.dtype)?;
        let asked = asked(inputs, 1)?;
        if length == Dim::Known(0)
            && inputs[1].value.is_some()
            && both(&said, &asked, 1)?.concrete().is_none()
        {
            let why = "is an empty list, and nothing says what shape its elements would have";
            return Err(OpError::input(0, why));
        }
        if let (Some(wanted), Some(length)) = (self.length, length.size())
            && wanted != length
        {
            return Err(OpError::input(0, format!("has {length} elements; num_elements says {wanted}")));
        }
        let element = both(&element, &asked, 1)?;
        Ok(vec![Fact::new(self.dtype, stacked(length, &element))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        match call.inputs.first().is_some_and(|list| is_open(&list.shape)) {
            true => Memory::default(),
            false => Memory::alias(0),
        }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let length = *run.shape(0).first()?;
        match self.element(run) {
            Ok(element) => run.set_output_shape(0, dense_shape(length, &element)?).ok(),
            Err(_) => Some(()),
        }
    }

    /// It shares the memory of a dense list.
    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let bytes = self.element(run)?.elements() * self.dtype.bytes();
        let (elements, out) = (Elements::of(run, 0)?, run.out_bytes(0)?);
        for place in 0..elements.length {
            let to = &mut out[place * bytes..][..bytes];
            match elements.get(place)? {
                Some((_, from)) => to.copy_from_slice(from),
                None => to.fill(0),
            }
        }
        Ok(())
    }
}

impl Stack {
    /// The shape of each.
    fn element(&self, run: &Run<'_>) -> Result<Shape, OpError> {
        let length = run.shape(0).first().copied().unwrap_or(0);
        if let Some(wanted) = self.length.filter(|wanted| *wanted != length) {
            return Err(OpError::input(0, format!("has {length} elements; num_elements says {wanted}")));
        }
        common_shape(run, 0, &Said::Input(1), (0..length).map(Ok))
    }
}

/// The elements of a list one after the other along their first axis, and how long each is.
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
        let Parts { length, element, .. } = Parts::of(inputs, self.list, self.dtype)?;
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

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let length = *run.shape(self.list).first()?;
        if let Ok(shape) = self.joined(run) {
            run.set_output_shape(0, shape).ok()?;
        }
        reshape::set(run, 1, [length])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if let Said::Input(input) = self.shape {
            check_asked(run, input)?;
        }
        self.joined(run)?;
        let elements = Elements::of(run, self.list)?;
        let (mut out, lengths) = (run.out_bytes(0)?, run.out::<i64>(1)?);
        for (place, length) in lengths.iter_mut().enumerate() {
            let (shape, bytes) = match elements.get(place)? {
                Some((shape, bytes)) => (shape, Some(bytes)),
                None => (self.unset(run)?, None),
            };
            let (to, rest) = out.split_at_mut(shape.elements() * self.dtype.bytes());
            match bytes {
                Some(bytes) => to.copy_from_slice(bytes),
                None => to.fill(0),
            }
            *length = shape.first().copied().unwrap_or_default() as i64;
            out = rest;
        }
        Ok(())
    }
}

impl Concat {
    /// The shape of an element that is not set: others may be of another length.
    fn unset(&self, run: &Run<'_>) -> Result<Shape, OpError> {
        self.shape.in_run(run).ok_or_else(|| none_is_said(self.list))
    }

    /// The shape of all in one.
    fn joined(&self, run: &Run<'_>) -> Result<Shape, OpError> {
        let elements = Elements::of(run, self.list)?;
        let mut joined: Option<Shape> = None;
        for element in elements.iter() {
            let shape = match element? {
                Some((shape, _)) => shape,
                None => self.unset(run)?,
            };
            let (first, rest) =
                shape.split_first().ok_or_else(|| OpError::input(self.list, "is a list of scalars"))?;
            let rows = match joined {
                None => Some(*first),
                Some(before) if before[1..] == *rest => before[0].checked_add(*first),
                Some(before) => {
                    let why = format!(
                        "has elements of shapes {before} and {shape}, which differ after the first axis"
                    );
                    return Err(OpError::input(self.list, why));
                }
            };
            let shape = rows.and_then(|rows| dense_shape(rows, rest));
            joined =
                Some(shape.ok_or_else(|| OpError::input(self.list, "is larger than the address space"))?);
        }
        let Some(shape) = joined else {
            // Of no element at all.
            let empty = self.shape.rest_in_run(run).and_then(|rest| dense_shape(0, &rest));
            return empty.ok_or_else(|| none_is_said(self.list));
        };
        Ok(shape)
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
        let length = list.list_length().ok_or_else(|| OpError::input(self.list, "is no list of tensors"))?;
        Ok(vec![Fact::of_dims(DType::I32, Dims::new(vec![]), &[length])])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::set(run, 0, [])
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
pub(super) struct ElementShape(pub DType);

impl Operator for ElementShape {
    fn name(&self) -> &'static str {
        "TensorListElementShape"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let list = shared::input(inputs, 0)?;
        let said = list.list.as_deref().map(|list| &list.said);
        let said = said.ok_or_else(|| OpError::input(0, "is no list of tensors"))?;
        // -1 is a dimension of any size, and alone a shape of any rank.
        let any = |dim: &Dim| if *dim == Dim::Unknown { Dim::Known(-1) } else { *dim };
        Ok(vec![match said.get() {
            None => Fact::of_dims(self.0, Dims::scalar(), &[Dim::Known(-1)]),
            Some(dims) => {
                let values: Vec<Dim> = dims.iter().map(any).collect();
                Fact::of_dims(self.0, Dims::new(vec![Dim::Known(values.len() as i64)]), &values)
            }
        }])
    }

    /// What a list says of its elements is known once shapes are.
    fn run(&self, _: &mut Run<'_>) -> Result<(), OpError> {
        Err(OpError::Unsupported("asks what is said of a list's elements, which depends on data".into()))
    }
}

#[cfg(test)]
mod tests {
    use tightfit_core::Shape;

    use crate::import::text_graph::{context, graph, ints};

    /// Two elements of a list of `length` whose elements are said to be of shape `[7, columns]`.
    fn gathered(length: i32, columns: i32) -> Result<Shape, String> {
        let of = r#"attr { key: "element_dtype" value { type: DT_INT32 } }"#;
        let text = [
            ints("shape", &[7, columns]),
            ints("places", &[2, 5]),
            format!(
                r#"node {{ name: "length" op: "Const" attr {{ key: "dtype" value {{ type: DT_INT32 }} }}
                   attr {{ key: "value" value {{ tensor {{ dtype: DT_INT32 int_val: {length} }} }} }} }}
                   node {{ name: "list" op: "TensorListReserve" input: "shape" input: "length" {of} }}
                   node {{ name: "y" op: "TensorListGather" input: "list" input: "places" input: "shape" {of} }}"#
            ),
        ];
        let mut context = context(graph(&text.concat(), &["y"]).map_err(|error| error.to_string())?, 1);
        context.run(&[]).map_err(|error| error.to_string())?;
        Ok(*context.output(0).ok_or("no output")?.shape())
    }

    #[test]
    fn elements_that_hold_nothing_are_gathered_from_any_place() {
        assert_eq!(gathered(6, 3), Ok(Shape::new(&[2, 7, 3]).unwrap()));
        assert_eq!(gathered(0, 0), Ok(Shape::new(&[2, 7, 0]).unwrap()));
        assert!(gathered(0, 3).unwrap_err().contains("has 2, and the list has 0 elements"));
    }
}
