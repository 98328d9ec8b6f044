//! Sparse tensors as serialized messages and back: SerializeSparse, SerializeManySparse, DeserializeSparse,
//! DeserializeManySparse.
//!
//! A sparse tensor is three strings, the messages of its coordinates, values and shape, byte for byte TensorFlow's.
//! SerializeSparse makes `[3]` of one, SerializeManySparse `[rows, 3]`, a tensor of one axis less for each row of one
//! whose elements come row by row. The others put together what strings `[.., 3]` hold, the axes of the strings first; each
//! dimension is the largest of any. Only the form in strings is supported, not `variant`.

use tightfit_core::{DType, MAX_RANK, Shape, StringRef, TensorView};
use tightfit_format::DataType;
use tightfit_format::tensor_message::TensorMessage;

use super::common::{Parts, countable_sizes, give_dims, room, room_bytes, sizes};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::parsing::tensor::{data_type, message, serialized, write_elements};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "SerializeSparse", import: |a| import(a, false) },
    Registration { name: "SerializeManySparse", import: |a| import(a, true) },
    Registration { name: "DeserializeSparse", import: |a| import_read(a, false) },
    Registration { name: "DeserializeManySparse", import: |a| import_read(a, true) },
];

fn import(attributes: &Attributes<'_>, is_many: bool) -> Result<Box<dyn Operator>, OpError> {
    need_strings(attributes, "out_type")?;
    Ok(Box::new(Serialize { is_many, says: data_type(attributes, "T") }))
}

fn import_read(attributes: &Attributes<'_>, is_many: bool) -> Result<Box<dyn Operator>, OpError> {
    need_strings(attributes, "Tserialized")?;
    Ok(Box::new(Deserialize {
        is_many,
        dtype: attributes.dtype("dtype")?,
        says: data_type(attributes, "dtype"),
    }))
}

fn need_strings(attributes: &Attributes<'_>, name: &str) -> Result<(), OpError> {
    match attributes.dtype_or(name, DType::String)? {
        DType::String => Ok(()),
        other => Err(OpError::attribute(name, format!("is {other}; only string is supported"))),
    }
}

const INT64: DataType = DataType(9);

/// SerializeSparse and SerializeManySparse.
#[derive(Debug)]
struct Serialize {
    is_many: bool,
    says: Option<DataType>,
}

impl Serialize {
    /// Three strings of a part of the tensor.
    fn write(
        &self,
        run: &Run<'_>,
        [indices, values, shape]: [TensorView<'_>; 3],
        out: &mut [StringRef],
    ) -> Result<(), OpError> {
        let says = self.says.unwrap_or(DataType::from(values.dtype()));
        let parts = [(INT64, indices), (says, values), (INT64, shape)];
        for (to, (says, view)) in out.iter_mut().zip(parts) {
            *to = serialized(run, says, view.shape(), view, true)?;
        }
        Ok(())
    }
}

fn view<'a>(dtype: DType, dims: &[usize], bytes: &'a [u8]) -> Result<TensorView<'a>, OpError> {
    TensorView::new(dtype, Shape::new(dims)?, bytes).ok_or(OpError::Internal("a part has other bytes"))
}

impl Operator for Serialize {
    fn name(&self) -> &'static str {
        if self.is_many { "SerializeManySparse" } else { "SerializeSparse" }
    }

    fn grows_with(&self, input: usize) -> bool {
        self.is_many && input == 2
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        for (index, rank) in [(0, 2), (1, 1), (2, 1)] {
            shared::dims_of_rank(index, shared::input(inputs, index)?, rank)?;
        }
        // One tensor is written as it is, whether its parts go together or not.
        let rank = if self.is_many { Parts::from(0).infer(inputs)?.1 } else { Dim::Unknown };
        let rows = match (self.is_many, rank.size(), shared::input(inputs, 2)?.dims_value()) {
            (false, ..) => None,
            (true, Some(rank), _) if rank < 2 => {
                return Err(OpError::input(2, format!("is of {rank} dimensions; at least 2 are needed")));
            }
            (true, _, Some(dims)) => dims.first().copied(),
            (true, _, None) => Some(Dim::Unknown),
        };
        let rows = rows.map(|rows| shared::extent::not_negative(2, rows)).transpose()?;
        let dims = rows.into_iter().chain([Dim::Known(3)]).collect::<Vec<_>>();
        Ok(vec![Fact::new(DType::String, Dims::new(dims))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        // The coordinates of one row, without the row.
        let bytes = call.inputs.first().map_or(0, |indices| room_bytes::<i64>(indices.shape.elements()));
        Memory::scratch(if self.is_many { bytes } else { 0 })
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        if !self.is_many {
            return run.set_output_shape(0, Shape::new(&[3]).ok()?).ok();
        }
        let rows = usize::try_from(*sizes(run, 2).ok()?.first()?).ok()?;
        run.set_output_shape(0, Shape::new(&[rows, 3]).ok()?).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (values, shape) = (run.input(1)?, run.input(2)?);
        if !self.is_many {
            let parts = [run.input(0)?, values, shape];
            let out = run.out::<StringRef>(0)?;
            return self.write(run, parts, out);
        }
        let coordinates = Parts::from(0).coordinates(run)?;
        let (dims, rank) = (countable_sizes(run, 2)?, coordinates.rank());
        coordinates.check(self.name(), &dims)?;
        if rank < 2 {
            return Err(OpError::input(2, "is of fewer than 2 dimensions"));
        }
        let rows = run.output_shape(0)[0];
        if dims[0] != rows as i64 {
            return Err(OpError::Internal("a sparse tensor has other rows than were inferred"));
        }
        let (own, _) = room::<i64>(run.scratch()?, run.shape(0).elements())?;
        let out = run.out::<StringRef>(0)?;
        let (size, mut at) = (values.dtype().bytes(), 0);
        for (row, strings) in out.chunks_exact_mut(3).enumerate() {
            let first = at;
            while at < coordinates.len() && coordinates.row(at)[0] == row as i64 {
                let to = &mut own[(at - first) * (rank - 1)..][..rank - 1];
                to.copy_from_slice(&coordinates.row(at)[1..]);
                at += 1;
            }
            let count = at - first;
            let parts = [
                view(DType::I64, &[count, rank - 1], bytemuck::cast_slice(&own[..count * (rank - 1)]))?,
                view(values.dtype(), &[count], &values.bytes()[first * size..at * size])?,
                view(DType::I64, &[rank - 1], bytemuck::cast_slice(&dims[1..]))?,
            ];
            self.write(run, parts, strings)?;
        }
        if at < coordinates.len() {
            let why = format!("has row {} where rows are to come in order", coordinates.row(at)[0]);
            return Err(OpError::input(0, why));
        }
        Ok(())
    }
}

/// DeserializeSparse and DeserializeManySparse.
#[derive(Debug)]
struct Deserialize {
    /// One axis before that of the strings.
    is_many: bool,
    dtype: DType,
    says: Option<DataType>,
}

/// One of the tensors that are put together.
struct Part<'a> {
    strings: [StringRef; 3],
    messages: [TensorMessage<'a>; 3],
}

impl Part<'_> {
    fn count(&self) -> usize {
        self.messages[0].shape[0]
    }
}

impl Deserialize {
    fn part<'a>(&self, run: &Run<'a>, strings: &[StringRef]) -> Result<Part<'a>, OpError> {
        let &[indices, values, shape] = strings else {
            return Err(OpError::Internal("a sparse tensor is not three strings"));
        };
        let says = self.says.unwrap_or(DataType::from(self.dtype));
        let messages = [
            message(run, 0, indices, INT64)?,
            message(run, 0, values, says)?,
            message(run, 0, shape, INT64)?,
        ];
        let shapes = [0, 1, 2].map(|i| messages[i].shape);
        match (&shapes[0][..], &shapes[1][..], &shapes[2][..]) {
            ([count, rank], [elements], [sizes]) if count == elements && rank == sizes => {
                Ok(Part { strings: [indices, values, shape], messages })
            }
            _ => {
                let [a, b, c] = shapes;
                Err(OpError::input(0, format!("holds coordinates {a}, values {b} and a shape {c}")))
            }
        }
    }

    /// The dimensions of a part, one after another in `to`; how many there are.
    fn part_dims(&self, part: &Part<'_>, to: &mut [i64; MAX_RANK]) -> Result<usize, OpError> {
        let rank = part.messages[2].shape[0];
        let own = to.get_mut(..rank).ok_or_else(|| {
            OpError::input(0, format!("holds a tensor of {rank} dimensions; {MAX_RANK} are supported"))
        })?;
        part.messages[2]
            .numbers(DType::I64, bytemuck::cast_slice_mut(own))
            .map_err(|error| OpError::input(0, error.to_string()))?;
        Ok(rank)
    }
}

impl Operator for Deserialize {
    fn name(&self) -> &'static str {
        if self.is_many { "DeserializeManySparse" } else { "DeserializeSparse" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::String])?;
        if self.is_many {
            shared::dims_of_rank(0, input, 2)?;
        }
        if let Some(dims) = input.dims.get()
            && dims.last().is_none_or(|last| last.known().is_some_and(|last| last != 3))
        {
            return Err(OpError::input(0, format!("is of shape {}; the last axis must be 3", input.dims)));
        }
        Ok(vec![
            Fact::new(DType::I64, Dims::of_rank(2)),
            Fact::new(self.dtype, Dims::of_rank(1)),
            Fact::new(DType::I64, Dims::of_rank(1)),
        ])
    }

    fn reshape(&self, _: &mut Run<'_>) -> Option<()> {
        // The run reads how much there is.
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (shape, strings) = (run.shape(0), run.slice::<StringRef>(0)?);
        let Some((3, before)) = shape.split_last().map(|(last, before)| (*last, before)) else {
            return Err(OpError::input(0, format!("is of shape {shape}; the last axis must be 3")));
        };
        if strings.is_empty() {
            return Err(OpError::input(0, "holds no tensor"));
        }
        let (mut dims, mut rank, mut count) = ([0; MAX_RANK], None, 0usize);
        for strings in strings.chunks_exact(3) {
            let part = self.part(run, strings)?;
            let mut own = [0; MAX_RANK];
            let axes = self.part_dims(&part, &mut own)?;
            if rank.is_some_and(|rank| rank != axes) {
                return Err(OpError::input(0, "holds tensors of different numbers of dimensions"));
            }
            rank = Some(axes);
            dims.iter_mut().zip(own).for_each(|(most, own)| *most = own.max(*most));
            count += part.count();
        }
        let rank = rank.unwrap_or(0);
        let all = before.len() + rank;
        run.set_output_shape(0, Shape::new(&[count, all])?)?;
        run.set_output_shape(1, Shape::new(&[count])?)?;
        let (indices, values) = (run.out::<i64>(0)?, run.out_bytes(1)?);
        let (size, mut at) = (self.dtype.bytes(), 0);
        for (number, strings) in strings.chunks_exact(3).enumerate() {
            let part = self.part(run, strings)?;
            let end = at + part.count();
            let rows = indices.get_mut(at * all..end * all).ok_or(OpError::Internal("too few rows"))?;
            let own = values.get_mut(at * size..end * size).ok_or(OpError::Internal("too few values"))?;
            write_elements(run, 0, (part.strings[1], &part.messages[1]), self.dtype, own)?;
            // The coordinates come close together, and are spread from the last on.
            let close = bytemuck::cast_slice_mut(&mut rows[..part.count() * rank]);
            write_elements(run, 0, (part.strings[0], &part.messages[0]), DType::I64, close)?;
            for row in (0..part.count()).rev() {
                rows.copy_within(row * rank..(row + 1) * rank, row * all + before.len());
                let mut rest = number;
                for (to, dim) in rows[row * all..][..before.len()].iter_mut().zip(before).rev() {
                    *to = (rest % dim) as i64;
                    rest /= dim;
                }
            }
            at = end;
        }
        let outer = before.iter().map(|dim| *dim as i64);
        give_dims(run, 2, all, outer.chain(dims.into_iter().take(rank)))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{dtype, refuses, refuses_as_it_runs, tensor};
    use tightfit_core::{DType, StringRef};

    #[test]
    fn what_is_no_sparse_tensor_is_refused() {
        let none = [tensor(&[3], &[StringRef::default(); 3])];
        refuses_as_it_runs("DeserializeSparse", &[("dtype", dtype(DType::F32))], &none, "not of DT_INT64");
        let two = [tensor(&[2], &[StringRef::default(); 2])];
        refuses("DeserializeSparse", &[("dtype", dtype(DType::F32))], &two, "must be 3");
        let inputs =
            [tensor(&[2, 2], &[1i64, 0, 0, 1]), tensor(&[2], &[1f32, 2.0]), tensor(&[2], &[2i64, 3])];
        refuses("SerializeManySparse", &[("T", dtype(DType::F32))], &inputs, "in order");
    }
}
