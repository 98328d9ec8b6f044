//! A list of pieces of a tensor along its first axis: TensorListSplit and TensorArraySplitV3. Pieces may be of different
//! lengths. Types: any.

use tightfit_core::{DType, Shape};

use super::list_parts::{Parts, Resizes, asked, dense_shape, makes_open};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::lists::{Elements, OpenList, check_rank};
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

/// What the pieces are put into.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pieces {
    /// A new list. The inputs are the tensor, the shape that elements must have, and the lengths.
    List,
    /// An array. The inputs are its handle, the tensor, the lengths and the flow.
    Array,
}

/// The list.
#[derive(Debug)]
pub(super) struct Split {
    pub dtype: DType,
    pub of: Pieces,
}

impl Split {
    fn value(&self) -> usize {
        match self.of {
            Pieces::List => 0,
            Pieces::Array => 1,
        }
    }
}

/// Which input the lengths are.
const LENGTHS: usize = 2;

impl Operator for Split {
    fn name(&self) -> &'static str {
        match self.of {
            Pieces::List => "TensorListSplit",
            Pieces::Array => "TensorArraySplitV3",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (value, lengths) = (shared::input(inputs, self.value())?, shared::input(inputs, LENGTHS)?);
        let count = lengths.dims.elements();
        let before = match self.of {
            Pieces::List => Parts::unset(count, &asked(inputs, 1)?),
            Pieces::Array => {
                let array = Parts::of(inputs, 3, self.dtype)?;
                // An array that may get longer is as long as there are pieces.
                let grows = Resizes::WithHandle(0).is_known(inputs)? || array.length == Dim::Unknown;
                Parts { length: if grows { count } else { array.length }, ..array }
            }
        };
        let piece = match lengths.ints().as_deref() {
            Some([first, rest @ ..]) if rest.iter().all(|other| other == first) => Dim::Known(*first),
            _ => Dim::Unknown,
        };
        let element = match value.dims.get().map(<[Dim]>::split_first) {
            None => Dims::UNKNOWN,
            Some(Some((_, rest))) => Dims::new([&[piece], rest].concat()),
            Some(None) => return Err(OpError::input(self.value(), "is a scalar")),
        };
        Ok(vec![before.put(&element, self.value())?.fact(self.dtype)?])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (value, lengths) = (run.shape(self.value()), run.slice::<i64>(LENGTHS).ok()?);
        let piece = lengths.first().map_or(Some(0), |length| usize::try_from(*length).ok())?;
        let shape = if makes_open(run) {
            let bytes = value.elements().checked_mul(self.dtype.bytes())?;
            Elements::unset(self.dtype, lengths.len())
                .shape_with(lengths.len(), lengths.len(), bytes, 0)
                .ok()?
        } else {
            dense_shape(lengths.len(), &dense_shape(piece, value.get(1..)?)?)?
        };
        run.set_output_shape(0, shape).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (value, lengths) = (run.input(self.value())?, run.slice::<i64>(LENGTHS)?);
        let rest = value.shape().get(1..).ok_or_else(|| OpError::input(self.value(), "is a scalar"))?;
        check_rank(value.shape().rank())?;
        let sizes = || lengths.iter().map(|length| usize::try_from(*length).ok());
        let rows = sizes().try_fold(0usize, |all, length| all.checked_add(length?));
        if rows != value.shape().first().copied() {
            return Err(OpError::input(LENGTHS, "asks for more or fewer rows than there are"));
        }
        if !makes_open(run) {
            let out = run.out_bytes(0)?;
            if value.bytes().len() != out.len() {
                return Err(OpError::input(LENGTHS, "asks for another number of pieces than the array has"));
            }
            out.copy_from_slice(value.bytes());
            return Ok(());
        }
        if lengths.len() != run.output_shape(0)[0] {
            return Err(OpError::input(LENGTHS, "asks for another number of pieces than the array has"));
        }
        let mut list = OpenList::empty(run)?;
        let mut bytes = value.bytes();
        for (place, size) in sizes().enumerate() {
            let size = size.unwrap_or_default();
            let shape: Shape = dense_shape(size, rest).ok_or(OpError::Internal("a piece has no shape"))?;
            let (piece, behind) = bytes.split_at(shape.elements() * self.dtype.bytes());
            list.set(place, &shape, piece)?;
            bytes = behind;
        }
        Ok(())
    }
}
