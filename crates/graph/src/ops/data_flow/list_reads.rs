//! What is read of a list of tensors, as [`super::tensor_list`] has it: elements, all of them in one tensor, how many there
//! are and of which shape.

use tightfit_core::DType;

use super::list_parts::{
    Said, asked, both, element_bytes, element_in_run, is_unset, list, list_shape, none_is_set, parts, place,
    place_of, stacked,
};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
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
        let (length, element) = parts(inputs, 0, self.0)?;
        let element = both(&element, &asked(shared::input(inputs, 1)?), 1)?;
        let length = match length {
            Dim::Known(0) => return Err(OpError::input(0, "is an empty list")),
            Dim::Known(n) => Dim::Known(n - 1),
            _ => Dim::Unknown,
        };
        Ok(vec![list(self.0, length, &element), Fact::new(self.0, element)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let before = run.shape(0);
        let element = element_in_run(run, 0, &Said::Input(1))?;
        let length = before.first()?.checked_sub(1)?;
        let rest = if is_unset(&before) { None } else { Some(&element[..]) };
        run.set_output_shape(0, list_shape(length, rest)?).ok()?;
        run.set_output_shape(1, element).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let before = run.input(0)?;
        if before.bytes().is_empty() {
            return [0, 1]
                .into_iter()
                .try_for_each(|output| run.out_bytes(output).map(|bytes| bytes.fill(0)));
        }
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

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        // What is wrong with it is told by the run.
        let element = element_in_run(run, self.list, &self.shape).or_else(|| reshape::shape([0]))?;
        run.set_output_shape(0, element).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (bytes, at) = (element_bytes(run, self.list), place(run, 1, run.shape(self.list)[0])?);
        let list = run.input(self.list)?;
        if is_unset(list.shape()) {
            element_in_run(run, self.list, &self.shape).ok_or_else(|| none_is_set(self.list))?;
            run.out_bytes(0)?.fill(0);
            return Ok(());
        }
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

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let element = element_in_run(run, self.list, &self.shape).or_else(|| reshape::shape([0]))?;
        let count = run.shape(1).elements();
        run.set_output_shape(0, list_shape(count, Some(&element))?).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (bytes, length) = (element_bytes(run, self.list), run.shape(self.list)[0]);
        if is_unset(&run.shape(self.list)) {
            element_in_run(run, self.list, &self.shape).ok_or_else(|| none_is_set(self.list))?;
            run.slice::<i32>(1)?.iter().try_for_each(|index| place_of(*index, length).map(|_| ()))?;
            run.out_bytes(0)?.fill(0);
            return Ok(());
        }
        let (list, indices, out) = (run.input(self.list)?, run.slice::<i32>(1)?, run.out_bytes(0)?);
        for (place, index) in indices.iter().enumerate() {
            let from = place_of(*index, length)?;
            out[place * bytes..][..bytes].copy_from_slice(&list.bytes()[from * bytes..][..bytes]);
        }
        Ok(())
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
        let (length, element) = parts(inputs, 0, self.dtype)?;
        if let (Some(wanted), Some(length)) = (self.length, length.size())
            && wanted != length
        {
            return Err(OpError::input(0, format!("has {length} elements; num_elements says {wanted}")));
        }
        let element = both(&element, &asked(shared::input(inputs, 1)?), 1)?;
        Ok(vec![Fact::new(self.dtype, stacked(length, &element))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        match call.inputs.first().is_some_and(|list| is_unset(&list.shape)) {
            true => Memory::default(),
            false => Memory::alias(0),
        }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let length = *run.shape(0).first()?;
        if self.length.is_some_and(|wanted| wanted != length) {
            return None;
        }
        let element = element_in_run(run, 0, &Said::Input(1)).or_else(|| reshape::shape([0]))?;
        run.set_output_shape(0, list_shape(length, Some(&element))?).ok()
    }

    /// It shares the list's memory, if there is anything in it.
    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        element_in_run(run, 0, &Said::Input(1)).ok_or_else(|| none_is_set(0))?;
        run.out_bytes(0)?.fill(0);
        Ok(())
    }
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

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let list = run.shape(self.list);
        let (length, element) = (*list.first()?, element_in_run(run, self.list, &self.shape)?);
        let (rows, rest) = element.split_first()?;
        let rows = rows.checked_mul(length)?;
        reshape::set(run, 0, [rows].into_iter().chain(rest.iter().copied()))?;
        reshape::set(run, 1, [length])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if is_unset(&run.shape(self.list)) {
            let element =
                element_in_run(run, self.list, &self.shape).ok_or_else(|| none_is_set(self.list))?;
            let rows = element.first().copied().unwrap_or_default();
            run.out_bytes(0)?.fill(0);
            run.out::<i64>(1)?.fill(rows as i64);
            return Ok(());
        }
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
        list.list.ok_or_else(|| OpError::input(0, "is no list of tensors"))?;
        let Some(dims) = list.dims.get() else { return Ok(vec![Fact::new(self.0, Dims::of_rank(1))]) };
        let element = &dims[1..];
        Ok(vec![Fact::of_dims(self.0, Dims::new(vec![Dim::Known(element.len() as i64)]), element)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let rank = run.shape(0).rank().checked_sub(1)?;
        reshape::set(run, 0, [rank])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let shape = run.shape(0);
        if is_unset(&shape) {
            return Err(none_is_set(0));
        }
        let element = &shape[1..];
        if self.0 == DType::I32 {
            run.out::<i32>(0)?.iter_mut().zip(element).for_each(|(out, dim)| *out = *dim as i32);
        } else {
            run.out::<i64>(0)?.iter_mut().zip(element).for_each(|(out, dim)| *out = *dim as i64);
        }
        Ok(())
    }
}
