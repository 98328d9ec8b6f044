//! How often values occur in the rows of sparse, ragged and dense tensors: SparseBincount, RaggedBincount,
//! DenseCountSparseOutput, SparseCountSparseOutput, RaggedCountSparseOutput.
//!
//! Values of int32 or int64; weights, where they are not empty, are added up in place of 1 each, and with `binary_output`
//! each count is 1. The Bincounts give a dense tensor `[size]` or `[rows, size]` and pass larger values over; the others give
//! a sparse tensor of the values that occur, in order, with as many columns as the largest value needs, between `minlength`
//! and `maxlength`. Rows are the first coordinate of sparse values, what splits say of ragged ones, and the first axis of
//! dense ones. Negative values are refused.

use tightfit_core::{DType, MAX_RANK, Shape};
use tightfit_kernels::{Counted, SparseCounts, add_counts, sparse_counts};

use super::common::{at_most_rows, check_count, give_dims, room, room_bytes};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "SparseBincount", import: |a| bincount(a, Rows::Sparse) },
    Registration { name: "RaggedBincount", import: |a| bincount(a, Rows::Ragged) },
    Registration { name: "DenseCountSparseOutput", import: |a| counts(a, Rows::Dense) },
    Registration { name: "SparseCountSparseOutput", import: |a| counts(a, Rows::Sparse) },
    Registration { name: "RaggedCountSparseOutput", import: |a| counts(a, Rows::Ragged) },
];

/// What says which row a value is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// The first axis: the values are the first input.
    Dense,
    /// Coordinates before the values and a shape after them.
    Sparse,
    /// Splits before the values.
    Ragged,
}

/// Which row each value is of, at run time.
enum RowOf<'a> {
    Columns(usize),
    Coordinates(&'a [i64], usize),
    /// The second says whether they rise.
    Splits(&'a [i64], bool),
    One,
}

impl RowOf<'_> {
    fn of(&self, n: usize) -> usize {
        match self {
            RowOf::Columns(columns) => n / columns,
            RowOf::Coordinates(rows, rank) => rows[n * rank] as usize,
            RowOf::Splits(splits, true) => splits.partition_point(|split| *split <= n as i64).wrapping_sub(1),
            // Of splits that fall TensorFlow takes the first one above the value.
            RowOf::Splits(splits, false) => {
                splits.iter().position(|split| *split > n as i64).unwrap_or(splits.len()).wrapping_sub(1)
            }
            RowOf::One => 0,
        }
    }
}

impl Rows {
    fn values(self) -> usize {
        (self != Rows::Dense) as usize
    }

    fn weights(self) -> usize {
        match self {
            Rows::Dense => 1,
            Rows::Sparse => 3,
            Rows::Ragged => 2,
        }
    }

    /// Checks the inputs: how many values there are, and the rows, `None` where they are no rows.
    fn infer(self, inputs: &[&Fact]) -> Result<(Dim, Option<Dim>), OpError> {
        let values = shared::input(inputs, self.values())?;
        shared::need_type(self.values(), values, &[DType::I32, DType::I64])?;
        if self == Rows::Dense {
            return match values.dims.get() {
                None => Ok((Dim::Unknown, Some(Dim::Unknown))),
                Some([_]) => Ok((values.dims.elements(), None)),
                Some([rows, _]) => Ok((values.dims.elements(), Some(*rows))),
                Some(_) => {
                    Err(OpError::input(0, format!("is of shape {}; rank 1 or 2 is needed", values.dims)))
                }
            };
        }
        let rows = shared::input(inputs, 0)?;
        shared::need_type(0, rows, &[DType::I64])?;
        if self == Rows::Ragged {
            // Of any axes: TensorFlow goes over their elements in order.
            let (splits, count) = (rows.dims.elements(), values.dims.elements());
            if splits == Dim::Known(0) {
                return Err(OpError::input(0, "has no splits"));
            }
            return Ok((count, Some(shared::extent::minus(splits, Dim::Known(1)))));
        }
        let count = shared::dims_of_rank(1, values, 1)?.map_or(Dim::Unknown, |dims| dims[0]);
        shared::dims_of_rank(0, rows, 2)?;
        let shape = shared::input(inputs, 2)?;
        shared::need_type(2, shape, &[DType::I64])?;
        let rank = shared::dims_of_rank(2, shape, 1)?.and_then(|dims| dims[0].size());
        let first = shape.dims_value().and_then(|dims| dims.first().copied()).unwrap_or(Dim::Unknown);
        match rank {
            Some(1) => Ok((count, None)),
            Some(2) => Ok((count, Some(shared::extent::not_negative(2, first)?))),
            Some(rank) => Err(OpError::input(2, format!("is of {rank} axes; 1 or 2 are needed"))),
            None => Ok((count, Some(Dim::Unknown))),
        }
    }

    /// The number of rows, `None` where there are none, and which row each value is of.
    fn of_run<'a>(self, run: &Run<'a>) -> Result<(Option<usize>, RowOf<'a>), OpError> {
        let shape = run.shape(self.values());
        let count = shape.elements();
        match self {
            Rows::Dense => match shape[..] {
                [_] => Ok((None, RowOf::One)),
                [rows, columns] => Ok((Some(rows), RowOf::Columns(columns.max(1)))),
                _ => Err(OpError::input(0, format!("is of shape {shape}; rank 1 or 2 is needed"))),
            },
            Rows::Sparse => {
                let (dims, indices) = (run.ints::<MAX_RANK>(2)?, run.shape(0));
                if indices.rank() != 2 || indices[0] != count || indices[1] != dims.len() {
                    return Err(OpError::input(0, format!("is of shape {indices} for {count} values")));
                }
                let rows = run.slice::<i64>(0)?;
                let coordinates = tightfit_kernels::Coordinates::new(rows, count, dims.len())?;
                coordinates.check("SparseBincount", &dims)?;
                match dims.len() {
                    1 => Ok((None, RowOf::One)),
                    // How many columns there are matters to the coordinates alone.
                    2 => match usize::try_from(dims[0]) {
                        Ok(count) => Ok((Some(count), RowOf::Coordinates(rows, 2))),
                        Err(_) => Err(OpError::input(2, format!("has {} rows", dims[0]))),
                    },
                    rank => Err(OpError::input(2, format!("is of {rank} axes; 1 or 2 are needed"))),
                }
            }
            Rows::Ragged => {
                let splits = run.slice::<i64>(0)?;
                if splits.first() != Some(&0) || splits.last() != Some(&(count as i64)) {
                    return Err(OpError::input(0, format!("does not go from 0 to {count}")));
                }
                Ok((Some(splits.len() - 1), RowOf::Splits(splits, splits.is_sorted())))
            }
        }
    }

    /// The values and what each counts for. `by_number` lets weights have another shape, as long as there is one for each value.
    fn counted<'a>(
        self,
        run: &Run<'a>,
        weights: usize,
        by_number: bool,
        is_binary: bool,
    ) -> Result<Counted<'a>, OpError> {
        let (values, of) = (run.input(self.values())?, run.input(weights)?);
        let has_weights = of.shape().elements() > 0;
        let fits = match by_number {
            true => of.shape().elements() == values.shape().elements(),
            false => of.shape() == values.shape(),
        };
        if has_weights && !fits {
            return Err(OpError::input(
                weights,
                format!("is of shape {} for values {}", of.shape(), values.shape()),
            ));
        }
        Ok(Counted { values, weights: has_weights.then_some(of), is_binary })
    }
}

/// Checks the type of weights, which is that of the counts.
fn weights_type(inputs: &[&Fact], index: usize) -> Result<DType, OpError> {
    let weights = shared::input(inputs, index)?;
    if weights.dtype.is_float() || weights.dtype.is_integer() {
        return Ok(weights.dtype);
    }
    Err(OpError::input(index, format!("is of type {}, which is not supported", weights.dtype)))
}

fn bincount(attributes: &Attributes<'_>, rows: Rows) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Bincount { rows, is_binary: attributes.bool_or("binary_output", false)? }))
}

/// SparseBincount and RaggedBincount.
#[derive(Debug)]
struct Bincount {
    rows: Rows,
    is_binary: bool,
}

impl Bincount {
    fn size(&self) -> usize {
        self.rows.weights()
    }
}

impl Operator for Bincount {
    fn name(&self) -> &'static str {
        if self.rows == Rows::Sparse { "SparseBincount" } else { "RaggedBincount" }
    }

    fn grows_with(&self, input: usize) -> bool {
        input == self.size() || (self.rows == Rows::Sparse && input == 2)
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (_, rows) = self.rows.infer(inputs)?;
        let size = shared::input(inputs, self.size())?;
        shared::need_type(self.size(), size, &[shared::input(inputs, 1)?.dtype])?;
        shared::dims_of_rank(self.size(), size, 0)?;
        let bins = match size.dims_value().as_deref() {
            Some([bins]) => shared::extent::not_negative(self.size(), *bins)?,
            Some(_) => return Err(OpError::input(self.size(), format!("is of shape {}", size.dims))),
            None => Dim::Unknown,
        };
        let dtype = weights_type(inputs, self.size() + 1)?;
        let is_open = self.rows == Rows::Sparse
            && shared::input(inputs, 2)?.dims.get().is_none_or(|dims| dims[0].size().is_none());
        Ok(vec![match rows {
            _ if is_open => Fact::new(dtype, Dims::UNKNOWN),
            Some(rows) => Fact::new(dtype, Dims::new([rows, bins])),
            None => Fact::new(dtype, Dims::new([bins])),
        }])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let bins = usize::try_from(reshape::int(run, self.size())?).ok()?;
        match self.rows.of_run(run).ok()?.0 {
            Some(rows) => reshape::set(run, 0, [rows, bins]),
            None => reshape::set(run, 0, [bins]),
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (_, rows) = self.rows.of_run(run)?;
        let counted =
            self.rows.counted(run, self.size() + 1, matches!(self.rows, Rows::Ragged), self.is_binary)?;
        let bins = run.output_shape(0).last().copied().unwrap_or(0);
        Ok(add_counts(counted, &|n| rows.of(n), bins, &mut run.output(0)?)?)
    }
}

fn counts(attributes: &Attributes<'_>, rows: Rows) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Counts {
        rows,
        how: SparseCounts {
            min: attributes.int_or("minlength", -1)?,
            max: attributes.int_or("maxlength", -1)?,
        },
        is_binary: attributes.bool_or("binary_output", false)?,
    }))
}

/// DenseCountSparseOutput and its like.
#[derive(Debug)]
struct Counts {
    rows: Rows,
    how: SparseCounts,
    is_binary: bool,
}

impl Operator for Counts {
    fn name(&self) -> &'static str {
        match self.rows {
            Rows::Dense => "DenseCountSparseOutput",
            Rows::Sparse => "SparseCountSparseOutput",
            Rows::Ragged => "RaggedCountSparseOutput",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (count, rows) = self.rows.infer(inputs)?;
        check_count(self.rows.values(), count)?;
        let dtype = weights_type(inputs, self.rows.weights())?;
        let is_open = match self.rows {
            Rows::Dense => shared::input(inputs, 0)?.dims.get().is_none(),
            Rows::Sparse => shared::input(inputs, 2)?.dims.get().is_none_or(|dims| dims[0].size().is_none()),
            Rows::Ragged => false,
        };
        let rank = if is_open { Dim::Unknown } else { Dim::Known(1 + rows.is_some() as i64) };
        Ok(vec![
            at_most_rows(DType::I64, count, &[rank]),
            at_most_rows(dtype, count, &[]),
            Fact::new(DType::I64, Dims::new([rank])),
        ])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let values = call.inputs.get(self.rows.values()).map_or(0, |values| values.shape.elements());
        Memory::scratch(room_bytes::<u32>(values))
    }

    fn reshape(&self, _: &mut Run<'_>) -> Option<()> {
        // The run itself finds how many values occur.
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if self.rows == Rows::Ragged && run.shape(0).elements() < 2 {
            return Err(OpError::input(0, "has fewer than two splits"));
        }
        if self.rows == Rows::Dense && run.rank(0) == 2 && run.dim(0, 0) == Some(0) {
            return Err(OpError::input(0, "has no rows"));
        }
        let (rows, row) = self.rows.of_run(run)?;
        let row = &|n: usize| row.of(n);
        let counted = self.rows.counted(run, self.rows.weights(), false, self.is_binary)?;
        let (order, _) = room::<u32>(run.scratch()?, counted.values.shape().elements())?;
        let order = self.how.sort(counted, row, order)?;
        let (count, largest) = sparse_counts(counted, row, order, rows.is_some(), None)?;
        run.set_output_shape(0, Shape::new(&[count, 1 + rows.is_some() as usize])?)?;
        run.set_output_shape(1, Shape::new(&[count])?)?;
        let (coordinates, mut output) = (run.out(0)?, run.output(1)?);
        sparse_counts(counted, row, order, rows.is_some(), Some((coordinates, &mut output)))?;
        let columns = if self.how.max >= 0 { self.how.max } else { self.how.min.max(largest.max(0) + 1) };
        let dims = [rows.unwrap_or(0) as i64, columns];
        give_dims(run, 2, 1 + rows.is_some() as usize, dims.into_iter().skip(rows.is_none() as usize))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, flag, refuses, refuses_as_it_runs, scalar, tensor};

    #[test]
    fn counts_by_row() {
        let splits = tensor(&[3], &[0i64, 3, 4]);
        let values = tensor(&[4], &[1i32, 1, 7, 0]);
        let inputs = [splits.clone(), values.clone(), scalar(3i32), tensor::<f32>(&[0], &[])];
        check("RaggedBincount", &[], &inputs, &[tensor(&[2, 3], &[0f32, 2.0, 0.0, 1.0, 0.0, 0.0])]);
        let square = [
            tensor(&[1, 3], &[0i64, 3, 4]),
            tensor(&[2, 2], &[1i32, 1, 7, 0]),
            scalar(3i32),
            tensor(&[4], &[2f32, 3.0, 4.0, 5.0]),
        ];
        check("RaggedBincount", &[], &square, &[tensor(&[2, 3], &[0f32, 5.0, 0.0, 5.0, 0.0, 0.0])]);
        let sparse = [
            tensor(&[4, 2], &[0i64, 0, 0, 1, 0, 2, 1, 0]),
            values.clone(),
            tensor(&[2], &[2i64, 3]),
            scalar(3i32),
            tensor(&[4], &[2i64, 3, 4, 5]),
        ];
        check("SparseBincount", &[], &sparse, &[tensor(&[2, 3], &[0i64, 5, 0, 5, 0, 0])]);
        let counted =
            [tensor(&[3, 2], &[0i64, 1, 0, 7, 1, 0]), tensor(&[3], &[2i32, 1, 1]), tensor(&[2], &[2i64, 8])];
        let inputs = [splits.clone(), values, tensor::<i32>(&[0], &[])];
        check("RaggedCountSparseOutput", &[("binary_output", flag(false))], &inputs, &counted);
        let [_, _, none] = inputs;
        // Of splits that fall a value is in the row before the first split above it, and sizes of no values are any.
        let falls = [tensor(&[4], &[0i64, 2, 1, 3]), tensor(&[3], &[1i32, 6, 3]), none.clone()];
        let counted =
            [tensor(&[3, 2], &[0i64, 1, 0, 6, 2, 3]), tensor(&[3], &[1i32; 3]), tensor(&[2], &[3i64, 7])];
        check("RaggedCountSparseOutput", &[("binary_output", flag(false))], &falls, &counted);
        let nothing = [tensor(&[0, 1], &[0i64; 0]), none.clone(), tensor(&[1], &[-5i64]), none.clone()];
        let counted = [tensor(&[0, 1], &[0i64; 0]), none.clone(), tensor(&[1], &[1i64])];
        check("SparseCountSparseOutput", &[("binary_output", flag(false))], &nothing, &counted);
        let row = tensor(&[1, 4], &[1f32; 4]);
        refuses("RaggedCountSparseOutput", &[], &[splits.clone(), tensor(&[4], &[0i32; 4]), row], "shape");
        let one = [tensor(&[1], &[0i64]), none.clone(), none.clone()];
        refuses_as_it_runs("RaggedCountSparseOutput", &[], &one, "fewer than two splits");
        let no_rows = [tensor(&[0, 3], &[0i32; 0]), tensor::<i32>(&[0], &[])];
        refuses_as_it_runs("DenseCountSparseOutput", &[], &no_rows, "has no rows");
        refuses("RaggedCountSparseOutput", &[], &[splits, tensor(&[4], &[0i32, -1, 0, 0]), none], "-1");
    }
}
