//! Reductions of rows by the segment each belongs to: SegmentSum, Mean, Max, Min and Prod of sorted segments,
//! UnsortedSegmentSum, Max, Min and Prod, and SparseSegmentSum, Mean and SqrtN.
//!
//! Inputs: data of numbers, and segment ids (int32 or int64): of sorted ones one for each row, which never fall; of
//! unsorted ones of the first dimensions of the data, a negative one dropping its row, and as a third input the number
//! of segments. The sparse ones take sorted ids of the rows that an input before them names, and WithNumSegments the number
//! of segments after them; of a table that is not held in memory they read the rows that are named. How many sorted segments there are depends on the ids; more than there are rows are refused where the
//! ids are not known beforehand.

use tightfit_core::{DType, MAX_RANK, Shape, TensorView};
use tightfit_kernels::{SegmentOp, segment_reduce};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::reshape;
use crate::operator::{
    Call, Held, Memory, OpError, Operator, Run, Weight, WeightLayout, WeightStream, WeightUse,
};
use crate::ops::shared;
use crate::ops::shared::extent::Indices;

macro_rules! segments {
    ($($name:literal => $op:ident, $is_sorted:literal $(, rows $has_count:literal)?;)*) => {
        &[$(Registration {
            name: $name,
            import: |_| Ok(Box::new(Segments {
                name: $name,
                op: SegmentOp::$op,
                is_sorted: $is_sorted,
                has_rows: !<[bool]>::is_empty(&[$($has_count,)?]),
                has_count: !$is_sorted $(|| $has_count)?,
            })),
        }),*]
    };
}

pub(crate) const OPS: &[Registration] = segments! {
    "SegmentSum" => Sum, true;
    "SegmentMean" => Mean, true;
    "SegmentMax" => Max, true;
    "SegmentMin" => Min, true;
    "SegmentProd" => Prod, true;
    "UnsortedSegmentSum" => Sum, false;
    "UnsortedSegmentMax" => Max, false;
    "UnsortedSegmentMin" => Min, false;
    "UnsortedSegmentProd" => Prod, false;
    "SparseSegmentSum" => Sum, true, rows false;
    "SparseSegmentMean" => Mean, true, rows false;
    "SparseSegmentSqrtN" => SqrtN, true, rows false;
    "SparseSegmentSumWithNumSegments" => Sum, true, rows true;
    "SparseSegmentMeanWithNumSegments" => Mean, true, rows true;
    "SparseSegmentSqrtNWithNumSegments" => SqrtN, true, rows true;
};

/// The operator.
#[derive(Debug)]
struct Segments {
    name: &'static str,
    op: SegmentOp,
    is_sorted: bool,
    /// An input says which rows the ids are of.
    has_rows: bool,
    /// An input says how many segments there are.
    has_count: bool,
}

const ROWS: usize = 1;

impl Segments {
    fn ids(&self) -> usize {
        1 + self.has_rows as usize
    }

    fn count(&self) -> usize {
        2 + self.has_rows as usize
    }

    /// How many segments sorted ids make that are all there is to know it from.
    fn is_counted(&self) -> bool {
        self.is_sorted && !self.has_count
    }
}

/// How many segments sorted ids make: one more than the last. Of rows that are named TensorFlow counts in 32 bits.
fn sorted_count(ids: usize, last: Option<i64>, has_rows: bool) -> Result<usize, OpError> {
    let most = if has_rows { i64::from(i32::MAX) - 1 } else { i64::MAX - 1 };
    match last {
        None => Ok(0),
        Some(last) => usize::try_from(last)
            .ok()
            .filter(|_| last <= most)
            .and_then(|last| last.checked_add(1))
            .ok_or_else(|| OpError::input(ids, format!("ends with {last}, no segment"))),
    }
}

/// Reads the rows that an input names from the file, each as often as it is named, into the scratch.
fn read_rows<'a>(run: &mut Run<'a>, stream: &dyn WeightStream) -> Result<&'a [u8], OpError> {
    let (table, indices) = (run.shape(0), Indices::new(run, ROWS)?);
    let bytes = table[1..].iter().product::<usize>() * run.dtype(0).bytes();
    let scratch = run.scratch()?;
    let rows = scratch
        .get_mut(..indices.len() * bytes)
        .ok_or(OpError::Internal("scratch is smaller than was planned"))?;
    for (i, row) in rows.chunks_exact_mut(bytes.max(1)).enumerate() {
        stream.read((indices.index(ROWS, i, table[0])? * bytes) as u64, row)?;
    }
    Ok(rows)
}

impl Operator for Segments {
    fn name(&self) -> &'static str {
        self.name
    }

    fn can_outgrow(&self) -> bool {
        self.is_counted()
    }

    fn grows_with(&self, input: usize) -> bool {
        self.has_count && input == self.count()
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (data, ids) = (shared::input(inputs, 0)?, shared::input(inputs, self.ids())?);
        let is_most = matches!(self.op, SegmentOp::Max | SegmentOp::Min);
        let is_complex = data.dtype.is_complex() && !is_most;
        if !(data.dtype.is_float() || data.dtype.is_integer() || is_complex) {
            return Err(OpError::input(0, format!("is of type {}; numbers are needed", data.dtype)));
        }
        shared::need_type(self.ids(), ids, &[DType::I32, DType::I64])?;
        if self.is_sorted {
            shared::dims_of_rank(self.ids(), ids, 1)?;
        }
        if self.has_rows {
            let rows = shared::input(inputs, ROWS)?;
            shared::need_type(ROWS, rows, &[DType::I32, DType::I64])?;
            let len = shared::dims_of_rank(ROWS, rows, 1)?.and_then(|dims| dims[0].size());
            let wanted = ids.dims.get().and_then(|dims| dims[0].size());
            if len.zip(wanted).is_some_and(|(a, b)| a != b) && !rows.is_bound && !ids.is_bound {
                return Err(OpError::input(ROWS, format!("is of shape {} for {} ids", rows.dims, ids.dims)));
            }
        }
        let (Some(dims), Some(id_dims)) = (data.dims.get(), ids.dims.get()) else {
            return Ok(vec![Fact::new(data.dtype, Dims::UNKNOWN)]);
        };
        let fits = dims.len() >= id_dims.len()
            && (self.has_rows
                || dims
                    .iter()
                    .zip(id_dims)
                    .all(|(d, i)| d.known().zip(i.known()).is_none_or(|(d, i)| d == i)));
        if !fits {
            return Err(OpError::input(
                self.ids(),
                format!("is of shape {} for data of shape {}", ids.dims, data.dims),
            ));
        }
        let mut is_bound = false;
        let count = if self.is_counted() {
            match ids.ints() {
                Some(ids) => Dim::Known(sorted_count(self.ids(), ids.last().copied(), self.has_rows)? as i64),
                None => {
                    is_bound = true;
                    id_dims[0]
                }
            }
        } else {
            let count = shared::input(inputs, self.count())?;
            shared::need_type(self.count(), count, &[DType::I32, DType::I64])?;
            match count.dims_value().as_deref() {
                Some([Dim::Known(n)]) if *n < 0 => {
                    return Err(OpError::input(self.count(), format!("is {n}")));
                }
                Some([count]) => *count,
                _ => Dim::Unknown,
            }
        };
        let mut output = vec![count];
        output.extend(&dims[id_dims.len()..]);
        let output = Dims::new(output);
        Ok(vec![match is_bound {
            true => Fact::at_most_along(data.dtype, output, 0),
            false => Fact::new(data.dtype, output),
        }])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let [data, rows, ..] = call.inputs else { return Memory::default() };
        if data.held != Held::Streamed {
            return Memory::default();
        }
        let row = data.shape.iter().skip(1).fold(data.dtype.bytes(), |bytes, dim| bytes.saturating_mul(*dim));
        Memory::scratch(rows.shape.elements().saturating_mul(row))
    }

    fn weight(&self, call: &Call<'_>) -> Option<WeightUse> {
        // Of a table the rows are read that are named.
        let is_table = self.has_rows && call.inputs.first()?.shape.rank() > 0;
        is_table.then_some(WeightUse { input: 0, layout: WeightLayout::Dense, block_bytes: 0 })
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (data, ids) = (run.shape(0), run.shape(self.ids()));
        let is_of = self.has_rows || data.rank() >= ids.rank() && data[..ids.rank()] == ids[..];
        (data.rank() >= ids.rank() && is_of).then_some(())?;
        let count = if self.is_counted() {
            let view = run.input(self.ids()).ok()?;
            let last = match view.dtype() {
                DType::I32 => view.as_slice::<i32>()?.last().map(|id| *id as i64),
                _ => view.as_slice::<i64>()?.last().copied(),
            };
            sorted_count(self.ids(), last, self.has_rows).ok()?
        } else {
            usize::try_from(reshape::int(run, self.count())?).ok()?
        };
        reshape::set(run, 0, std::iter::once(count).chain(data[ids.rank()..].iter().copied()))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let ids = run.input(self.ids())?;
        if self.is_counted() {
            let last = match ids.as_slice::<i32>() {
                Some(ids) => ids.last().map(|id| *id as i64),
                None => ids.as_slice::<i64>().and_then(|ids| ids.last().copied()),
            };
            let planned = run.output_shape(0);
            let count = sorted_count(self.ids(), last, self.has_rows)?;
            // Rows without elements need no room.
            if count > planned[0] && planned[1..].iter().all(|size| *size > 0) {
                let why = format!(
                    "asks for {count} segments of {} rows; at most one for each is supported",
                    planned[0]
                );
                return Err(OpError::input(self.ids(), why));
            }
            let mut dims = [0; MAX_RANK];
            dims[..planned.rank()].copy_from_slice(&planned);
            dims[0] = count;
            run.set_output_shape(0, Shape::new(&dims[..planned.rank()])?)?;
        }
        let rows = if self.has_rows { Some(run.input(ROWS)?) } else { None };
        match run.weight(0)? {
            Weight::Dense(data) => {
                Ok(segment_reduce(self.op, self.is_sorted, data, rows, ids, &mut run.output(0)?)?)
            }
            Weight::Streamed(stream) => {
                let (dtype, table) = (run.dtype(0), run.shape(0));
                let named = read_rows(run, stream)?;
                let mut dims = [0; MAX_RANK];
                dims[..table.rank()].copy_from_slice(&table);
                dims[0] = ids.shape().elements();
                let data = TensorView::new(dtype, Shape::new(&dims[..table.rank()])?, named)
                    .ok_or(OpError::Internal("rows were read of other bytes than they are"))?;
                Ok(segment_reduce(self.op, self.is_sorted, data, None, ids, &mut run.output(0)?)?)
            }
            Weight::Packed(_) => Err(OpError::Internal("a table was packed unasked")),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refuses, run, scalar, tensor};

    /// A NaN is followed by what comes after it, as in TensorFlow.
    #[test]
    fn the_last_nan_of_a_segment_stays() {
        let nan = f32::NAN;
        let x = tensor(&[7], &[1.0, nan, 2.0, nan, nan, nan, 3.0]);
        let ids = tensor(&[7], &[0i32, 0, 0, 1, 2, 2, 2]);
        for op in ["SegmentMax", "SegmentMin", "UnsortedSegmentMax", "UnsortedSegmentMin"] {
            let mut inputs = vec![x.clone(), ids.clone()];
            inputs.extend(op.starts_with('U').then(|| scalar(3i32)));
            let values = run(op, &[], &inputs).unwrap()[0].values::<f32>();
            assert!(values[0] == 2.0 && values[1].is_nan() && values[2] == 3.0, "{op}: {values:?}");
        }
    }

    #[test]
    fn rows_of_a_segment_become_one() {
        let x = tensor(&[4, 2], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let ids = tensor(&[4], &[0i32, 0, 2, 2]);
        let sums = [tensor(&[3, 2], &[4.0f32, 6.0, 0.0, 0.0, 12.0, 14.0])];
        check("SegmentSum", &[], &[x.clone(), ids.clone()], &sums);
        let means = [tensor(&[3, 2], &[2.0f32, 3.0, 0.0, 0.0, 6.0, 7.0])];
        check("SegmentMean", &[], &[x.clone(), ids.clone()], &means);
        let products = [tensor(&[3, 2], &[3.0f32, 8.0, 1.0, 1.0, 35.0, 48.0])];
        check("SegmentProd", &[], &[x.clone(), ids], &products);
        let ids = tensor(&[4], &[1i64, 0, -1, 1]);
        let products = [tensor(&[3, 2], &[3.0f32, 4.0, 7.0, 16.0, 1.0, 1.0])];
        check("UnsortedSegmentProd", &[], &[x.clone(), ids, scalar(3i32)], &products);
        refuses("SegmentSum", &[], &[x.clone(), tensor(&[4], &[0i32, 2, 1, 2])], "never fall");
        let nothing = [tensor::<f32>(&[2, 0], &[]), tensor(&[2], &[3i32, 0]), scalar(0i32)];
        check("UnsortedSegmentSum", &[], &nothing, &[tensor::<f32>(&[0, 0], &[])]);
        refuses("SegmentSum", &[], &[x.clone(), tensor(&[3], &[0i32, 1, 2])], "shape");
        refuses("UnsortedSegmentSum", &[], &[x, tensor(&[4], &[0i32, 3, 0, 0]), scalar(3i32)], "3");
    }

    #[test]
    fn rows_are_named() {
        let x = tensor(&[3, 1], &[1.0f32, 2.0, 4.0]);
        let (rows, ids) = (tensor(&[4], &[2i32, 0, 2, 1]), tensor(&[4], &[0i64, 0, 2, 2]));
        let inputs = [x, rows, ids];
        check("SparseSegmentSum", &[], &inputs, &[tensor(&[3, 1], &[5.0f32, 0.0, 6.0])]);
        check("SparseSegmentMean", &[], &inputs, &[tensor(&[3, 1], &[2.5f32, 0.0, 3.0])]);
        let counted = |count: i32| [inputs.to_vec(), vec![scalar(count)]].concat();
        let sums = [tensor(&[4, 1], &[5.0f32, 0.0, 6.0, 0.0])];
        check("SparseSegmentSumWithNumSegments", &[], &counted(4), &sums);
        refuses("SparseSegmentSumWithNumSegments", &[], &counted(2), "not in [0, 2)");
        let mut outside = inputs.to_vec();
        outside[1] = tensor(&[4], &[2i32, 3, 2, 1]);
        refuses("SparseSegmentSqrtN", &[], &outside, "not in [0, 3)");
        let none = [tensor(&[1, 0], &[0f32; 0]), tensor(&[1], &[0i32]), tensor(&[1], &[i32::MAX])];
        crate::testing::refuses("SparseSegmentSum", &[], &none, "no segment");
    }
}
