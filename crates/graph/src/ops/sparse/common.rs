//! What operators on sparse tensors share: the three tensors that one is made of, and room to put them in order.

use tightfit_core::{DType, MAX_RANK, Shape};
use tightfit_kernels::Coordinates;

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::{Ints, OpError, Run};
use crate::ops::shared;
use crate::ops::shared::extent::agree;

/// Where the coordinates, the values and the shape of a sparse tensor are among the inputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    pub indices: usize,
    pub values: usize,
    pub shape: usize,
}

impl Parts {
    /// Three inputs one after another.
    pub(crate) const fn from(first: usize) -> Parts {
        Parts { indices: first, values: first + 1, shape: first + 2 }
    }

    /// How many elements there are, and how many axes.
    ///
    /// # Errors
    /// [`OpError::Input`] for inputs that are of other types or shapes, or do not go together.
    pub(crate) fn infer(self, inputs: &[&Fact]) -> Result<(Dim, Dim), OpError> {
        let (indices, values) = (shared::input(inputs, self.indices)?, shared::input(inputs, self.values)?);
        let shape = shared::input(inputs, self.shape)?;
        shared::need_type(self.indices, indices, &[DType::I64, DType::I32])?;
        shared::need_type(self.shape, shape, &[DType::I64, DType::I32])?;
        let rows = shared::dims_of_rank(self.indices, indices, 2)?.unwrap_or(vec![Dim::Unknown; 2]);
        let count = shared::dims_of_rank(self.values, values, 1)?.map_or(Dim::Unknown, |dims| dims[0]);
        let rank = shared::dims_of_rank(self.shape, shape, 1)?.map_or(Dim::Unknown, |dims| dims[0]);
        let is_bound = indices.is_bound || values.is_bound || shape.is_bound;
        let count = agree(rows[0], count, is_bound).ok_or_else(|| {
            OpError::input(
                self.values,
                format!("is of shape {} for coordinates {}", values.dims, indices.dims),
            )
        })?;
        let rank = agree(rows[1], rank, is_bound).ok_or_else(|| {
            OpError::input(self.shape, format!("is of shape {} for coordinates {}", shape.dims, indices.dims))
        })?;
        Ok((count, rank))
    }

    /// The coordinates.
    ///
    /// # Errors
    /// [`OpError::Input`] where the inputs do not go together.
    pub(crate) fn coordinates<'a>(self, run: &Run<'a>) -> Result<Coordinates<'a>, OpError> {
        let shape = run.shape(self.indices);
        let [count, rank] = shape[..] else {
            return Err(OpError::input(self.indices, format!("is of shape {shape}; rank 2 is needed")));
        };
        if run.shape(self.values).elements() != count {
            let why = format!("is of shape {} for {count} coordinates", run.shape(self.values));
            return Err(OpError::input(self.values, why));
        }
        if run.shape(self.shape).elements() != rank {
            let why = format!("is of shape {} for {rank} coordinates", run.shape(self.shape));
            return Err(OpError::input(self.shape, why));
        }
        Ok(Coordinates::new(run.slice(self.indices)?, count, rank)?)
    }

    /// The dimensions.
    ///
    /// # Errors
    /// [`OpError::Input`] for more than there can be, or negative ones.
    pub(crate) fn dims(self, run: &Run<'_>) -> Result<Ints<MAX_RANK>, OpError> {
        sizes(run, self.shape)
    }
}

/// Dimensions that an input holds.
///
/// # Errors
/// As [`Parts::dims`].
pub(crate) fn sizes(run: &Run<'_>, input: usize) -> Result<Ints<MAX_RANK>, OpError> {
    let dims = run.ints::<MAX_RANK>(input)?;
    match dims.iter().find(|dim| **dim < 0) {
        Some(dim) => Err(OpError::input(input, format!("has a dimension of {dim}"))),
        None => Ok(dims),
    }
}

/// [`sizes`] of a tensor whose elements can be counted, as most operators of TensorFlow ask.
///
/// # Errors
/// As there, and for more elements than an int64 holds.
pub(crate) fn countable_sizes(run: &Run<'_>, input: usize) -> Result<Ints<MAX_RANK>, OpError> {
    let dims = sizes(run, input)?;
    match dims.iter().try_fold(1i64, |count, dim| count.checked_mul(*dim)) {
        Some(_) => Ok(dims),
        None => {
            Err(OpError::input(input, format!("is {:?}, of more elements than can be counted", &dims[..])))
        }
    }
}

/// The shape that an input holds, as far as it is known.
///
/// # Errors
/// [`OpError::Input`] for one that is none.
pub(crate) fn dims_in(inputs: &[&Fact], index: usize) -> Result<Dims, OpError> {
    let fact = shared::input(inputs, index)?;
    let rank = shared::dims_of_rank(index, fact, 1)?.and_then(|dims| dims[0].size());
    let Some(dims) = fact.dims_value() else { return Ok(rank.map_or(Dims::UNKNOWN, Dims::of_rank)) };
    if dims.len() > MAX_RANK {
        return Err(OpError::input(
            index,
            format!("asks for {} dimensions; {MAX_RANK} are supported", dims.len()),
        ));
    }
    for dim in &dims {
        shared::extent::not_negative(index, *dim)?;
    }
    Ok(Dims::new(dims))
}

/// A tensor that has at most so many rows, of these further dimensions; any number where that is not known.
pub(crate) fn at_most_rows(dtype: DType, rows: Dim, rest: &[Dim]) -> Fact {
    let dims = Dims::new([&[rows], rest].concat());
    match rows {
        Dim::Unknown => Fact::new(dtype, dims),
        _ => Fact::at_most_along(dtype, dims, 0),
    }
}

/// Room in scratch for `count` numbers of elements, and what is left.
///
/// # Errors
/// [`OpError::Internal`] where there is less.
pub(crate) fn room<T: bytemuck::Pod>(
    scratch: &mut [u8],
    count: usize,
) -> Result<(&mut [T], &mut [u8]), OpError> {
    let bytes = (count * size_of::<T>()).next_multiple_of(8);
    let (room, rest) = scratch
        .split_at_mut_checked(bytes)
        .ok_or(OpError::Internal("scratch is smaller than was planned"))?;
    let room = bytemuck::try_cast_slice_mut(&mut room[..count * size_of::<T>()])
        .map_err(|_| OpError::Internal("scratch is not aligned"))?;
    Ok((room, rest))
}

/// The bytes that [`room`] takes.
pub(crate) fn room_bytes<T>(count: usize) -> usize {
    count.saturating_mul(size_of::<T>()).saturating_add(7)
}

/// Checks that there are not more elements than numbers of 32 bits count.
///
/// # Errors
/// [`OpError::Input`] where there are.
pub(crate) fn check_count(index: usize, count: Dim) -> Result<(), OpError> {
    match count.size() {
        Some(n) if u32::try_from(n).is_err() => Err(OpError::input(index, "has more than 2^32 elements")),
        _ => Ok(()),
    }
}

/// Gives an output `rows` rows of `columns`, and another as many elements.
///
/// # Errors
/// [`OpError::Internal`] where there is no room for them.
pub(crate) fn set_rows(run: &mut Run<'_>, first: usize, rows: usize, columns: usize) -> Result<(), OpError> {
    run.set_output_shape(first, Shape::new(&[rows, columns])?)?;
    run.set_output_shape(first + 1, Shape::new(&[rows])?)
}

/// Writes `count` dimensions to an output.
///
/// # Errors
/// [`OpError::Internal`] where there is no room for them.
pub(crate) fn give_dims(
    run: &mut Run<'_>,
    output: usize,
    count: usize,
    dims: impl Iterator<Item = i64>,
) -> Result<(), OpError> {
    run.set_output_shape(output, Shape::new(&[count])?)?;
    run.out::<i64>(output)?.iter_mut().zip(dims).for_each(|(to, dim)| *to = dim);
    Ok(())
}

/// The fact of an int64 vector of dimensions.
pub(crate) fn shape_fact(dims: &Dims) -> Fact {
    match dims.get() {
        Some(dims) => Fact::of_dims(DType::I64, Dims::new([Dim::Known(dims.len() as i64)]), dims),
        None => Fact::new(DType::I64, Dims::of_rank(1)),
    }
}
