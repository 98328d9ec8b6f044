//! Lists that get another length, or are made of rows at places: TensorListResize, TensorListScatter and TensorListScatterV2,
//! TensorListConcatLists.
//!
//! Resize takes a list and its new length (int32): elements past the end go, new ones are not set. Scatter takes rows, their
//! places (int32, no less than 0) and the shape of elements; it makes a list as long as `num_elements` says, which is the last
//! input of its second version, or where that is below 0 one that ends with the last place. ConcatLists takes two lists of one type.
//! Types: any.

use tightfit_core::{DType, Shape};

use super::list_parts::{
    Parts, asked, check_asked, dense_shape, element_bytes_of_output, makes_open, place_of, reshape_list,
    row_of, scalar,
};
use crate::dim::Dim;
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::lists::{Elements, OpenList, is_open};
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "TensorListResize", import: |_| Ok(Box::new(Resize)) },
    Registration {
        name: "TensorListScatter",
        import: |a| Ok(Box::new(Scatter { dtype: a.dtype("element_dtype")?, has_length: false })),
    },
    Registration {
        name: "TensorListScatterV2",
        import: |a| Ok(Box::new(Scatter { dtype: a.dtype("element_dtype")?, has_length: true })),
    },
    Registration {
        name: "TensorListConcatLists",
        import: |a| Ok(Box::new(ConcatLists(a.dtype("element_dtype")?))),
    },
];

/// A length that is given, which is at least 0.
fn length_of(input: usize, length: i64) -> Result<usize, OpError> {
    usize::try_from(length).map_err(|_| OpError::input(input, format!("is {length}, which is no length")))
}

/// Copies as many whole elements as both have, and zeroes the rest.
fn copy_front(from: &[u8], to: &mut [u8]) {
    let both = from.len().min(to.len());
    let (front, rest) = to.split_at_mut(both);
    front.copy_from_slice(&from[..both]);
    rest.fill(0);
}

/// A list of another length.
#[derive(Debug)]
struct Resize;

impl Operator for Resize {
    fn name(&self) -> &'static str {
        "TensorListResize"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let dtype = shared::input(inputs, 0)?.dtype;
        let before = Parts::of(inputs, 0, dtype)?;
        shared::need_type(1, shared::input(inputs, 1)?, &[DType::I32])?;
        let length = scalar(inputs, 1)?;
        if let Dim::Known(n @ ..0) = length {
            length_of(1, n)?;
        }
        Ok(vec![Parts { length, ..before }.fact(dtype)?])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let length = usize::try_from(reshape::int(run, 1)?).ok()?;
        reshape_list(run, 0, length, &[], 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        length_of(1, shared::extent::int_input(run, 1)?)?;
        if makes_open(run) {
            return OpenList::of(run, 0).map(|_| ());
        }
        let before = run.input(0)?;
        if is_open(before.shape()) && !before.bytes().is_empty() {
            return Err(OpError::Internal("an open list is made a dense one"));
        }
        copy_front(before.bytes(), run.out_bytes(0)?);
        Ok(())
    }
}

/// A list of rows at the places that are given.
#[derive(Debug)]
struct Scatter {
    dtype: DType,
    /// An input says how long the list is.
    has_length: bool,
}

const PLACES: usize = 1;
const SHAPE: usize = 2;
const LENGTH: usize = 3;

impl Scatter {
    /// The length of a list with elements at these places.
    fn length(&self, given: Option<i64>, places: &[i32]) -> Result<usize, OpError> {
        match given {
            Some(given @ 0..) => length_of(LENGTH, given),
            Some(given) if given < -1 => {
                Err(OpError::input(LENGTH, format!("is {given}; a length or -1 is needed")))
            }
            _ => length_of(PLACES, places.iter().map(|place| i64::from(*place) + 1).max().unwrap_or(0)),
        }
    }

    fn length_in_run(&self, run: &Run<'_>) -> Result<usize, OpError> {
        let given = self.has_length.then(|| shared::extent::int_input(run, LENGTH)).transpose()?;
        self.length(given, run.slice::<i32>(PLACES)?)
    }
}

impl Operator for Scatter {
    fn name(&self) -> &'static str {
        if self.has_length { "TensorListScatterV2" } else { "TensorListScatter" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (rows, places) = (shared::input(inputs, 0)?, shared::input(inputs, PLACES)?);
        shared::need_type(0, rows, &[self.dtype])?;
        shared::need_type(PLACES, places, &[DType::I32])?;
        let given = match self.has_length {
            true => scalar(inputs, LENGTH)?,
            false => Dim::Known(-1),
        };
        let length = match (given, places.ints()) {
            (Dim::Known(given @ 0..), _) => Dim::Known(given),
            (Dim::Known(_), Some(places)) => {
                Dim::Known(places.iter().map(|place| place.saturating_add(1)).max().unwrap_or(0).max(0))
            }
            _ => Dim::Unknown,
        };
        let row = row_of(rows, 0)?;
        Ok(vec![Parts::unset(length, &asked(inputs, SHAPE)?).put(&row, 0)?.fact(self.dtype)?])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (length, rows) = (self.length_in_run(run).ok()?, run.shape(0));
        let (count, row) = (*rows.first()?, rows.get(1..)?);
        let shape = match makes_open(run) {
            true => {
                let bytes = row.iter().product::<usize>().checked_mul(self.dtype.bytes())?;
                let unset = Elements::unset(self.dtype, length);
                unset.shape_with(length, count, bytes.checked_mul(count)?, bytes).ok()?
            }
            false => dense_shape(length, row)?,
        };
        run.set_output_shape(0, shape).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        check_asked(run, SHAPE)?;
        let (rows, places) = (run.input(0)?, run.slice::<i32>(PLACES)?);
        let length = self.length_in_run(run)?;
        let row = Shape::new(rows.shape().get(1..).unwrap_or_default())?;
        if rows.shape().first() != Some(&places.len()) {
            return Err(OpError::input(0, "has not one row for each place"));
        }
        let bytes = row.elements() * self.dtype.bytes();
        let from = |number: usize| &rows.bytes()[number * bytes..][..bytes];
        if makes_open(run) {
            let mut list = OpenList::empty(run)?;
            return (places.iter().enumerate())
                .try_for_each(|(number, place)| list.set(place_of(*place, length)?, &row, from(number)));
        }
        if element_bytes_of_output(run) != bytes {
            return Err(OpError::Internal("rows are of another shape than was planned"));
        }
        let out = run.out_bytes(0)?;
        out.fill(0);
        for (number, place) in places.iter().enumerate() {
            out[place_of(*place, length)? * bytes..][..bytes].copy_from_slice(from(number));
        }
        Ok(())
    }
}

/// The elements of two lists, one after the other.
#[derive(Debug)]
struct ConcatLists(DType);

impl Operator for ConcatLists {
    fn name(&self) -> &'static str {
        "TensorListConcatLists"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (first, second) = (Parts::of(inputs, 0, self.0)?, Parts::of(inputs, 1, self.0)?);
        let length = first.length.plus(second.length);
        let both = if second.is_set { first.put(&second.element, 1)? } else { first };
        Ok(vec![Parts { length, most: None, ..both }.fact(self.0)?])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (first, second) = (run.shape(0), run.shape(1));
        let length = first.first()?.checked_add(*second.first()?)?;
        if !makes_open(run) {
            return run.set_output_shape(0, dense_shape(length, second.get(1..)?)?).ok();
        }
        let (mut count, mut bytes) = (0, 0usize);
        for element in Elements::of(run, 1).ok()?.iter() {
            if let Some((_, own)) = element.ok()? {
                count += 1;
                bytes = bytes.checked_add(own.len())?;
            }
        }
        let shape = Elements::of(run, 0).ok()?.shape_with(length, count, bytes, 0).ok()?;
        run.set_output_shape(0, shape).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (first, second) = (Elements::of(run, 0)?, Elements::of(run, 1)?);
        if makes_open(run) {
            let mut list = OpenList::of(run, 0)?;
            for (place, element) in second.iter().enumerate() {
                if let Some((shape, bytes)) = element? {
                    list.set(first.length + place, &shape, bytes)?;
                }
            }
            return Ok(());
        }
        let (first, second) = (run.input(0)?, run.input(1)?);
        let out = run.out_bytes(0)?;
        if first.bytes().len() + second.bytes().len() != out.len() {
            return Err(OpError::input(1, "has elements of another shape than the first list"));
        }
        let (front, back) = out.split_at_mut(first.bytes().len());
        front.copy_from_slice(first.bytes());
        back.copy_from_slice(second.bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tightfit_core::DType;

    use crate::testing::{dtype, refuses_as_it_runs, scalar, tensor};

    #[test]
    fn a_length_is_a_number_or_that_of_the_last_place() {
        let rows = tensor(&[2, 1], &[1f32, 2.0]);
        let inputs =
            |length: i32| [rows.clone(), tensor(&[2], &[1i32, 0]), tensor(&[1], &[1i32]), scalar(length)];
        let of_floats = [("element_dtype", dtype(DType::F32))];
        refuses_as_it_runs("TensorListScatterV2", &of_floats, &inputs(-2), "is -2; a length or -1 is needed");
        refuses_as_it_runs("TensorListScatterV2", &of_floats, &inputs(i32::MIN), "is -2147483648");
    }
}
