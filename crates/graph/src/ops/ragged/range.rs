//! RaggedRange: rows of numbers from a start to a limit, in steps.
//!
//! Inputs starts, limits and deltas, scalars or vectors `[rows]` of int32, int64, float32 or float64; outputs where each row
//! begins, `[rows + 1]`, and all their numbers. How many there are depends on the values.

use tightfit_core::{DType, Element, Shape};
use tightfit_kernels::RangeNumber;

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::agree;

pub(crate) const OPS: &[Registration] = &[Registration { name: "RaggedRange", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(RaggedRange { splits: attributes.dtype_or("Tsplits", DType::I64)? }))
}

/// The operator.
#[derive(Debug)]
struct RaggedRange {
    /// int32 or int64.
    splits: DType,
}

/// The rows of three inputs, each one element for all or one for each.
struct Rows<'a, T> {
    inputs: [&'a [T]; 3],
    rows: usize,
}

impl<T: RangeNumber> Rows<'_, T> {
    /// Start, step and count of a row.
    fn row(&self, row: usize) -> Result<(T, T, u64), OpError> {
        let [start, limit, delta] = self.inputs.map(|values| values[if values.len() == 1 { 0 } else { row }]);
        if delta == T::ZERO {
            return Err(OpError::input(2, format!("is 0 for row {row}")));
        }
        let count = T::steps(start, limit, delta)
            .ok_or_else(|| OpError::input(1, format!("makes row {row} without an end")))?;
        Ok((start, delta, count))
    }

    /// How many numbers there are.
    fn total(&self) -> Result<usize, OpError> {
        let add = |sum: usize, row: usize| {
            let total = usize::try_from(self.row(row)?.2).ok().and_then(|n| sum.checked_add(n));
            total
                .filter(|n| *n < usize::MAX / 16)
                .ok_or_else(|| OpError::input(1, "asks for too many numbers"))
        };
        (0..self.rows).try_fold(0usize, add)
    }
}

/// How many rows three inputs make.
fn rows(shapes: [Shape; 3]) -> Result<usize, OpError> {
    let mut rows = 1;
    for (index, shape) in shapes.iter().enumerate().filter(|(_, shape)| shape.rank() == 1) {
        if rows != 1 && shape[0] != rows && shapes[..index].iter().any(|s| s.rank() == 1) {
            return Err(OpError::input(index, format!("is of shape {shape} for {rows} rows")));
        }
        rows = shape[0];
    }
    Ok(rows)
}

impl RaggedRange {
    fn typed<T: RangeNumber + Element>(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let shapes = [run.shape(0), run.shape(1), run.shape(2)];
        if let Some(index) = shapes.iter().position(|shape| shape.rank() > 1) {
            return Err(OpError::input(index, format!("is of shape {}", shapes[index])));
        }
        let rows = Rows { inputs: [run.slice::<T>(0)?, run.slice(1)?, run.slice(2)?], rows: rows(shapes)? };
        let total = rows.total()?;
        if self.splits == DType::I32 && i32::try_from(total).is_err() {
            return Err(OpError::input(1, format!("asks for {total} numbers, more than int32 splits count")));
        }
        run.set_output_shape(0, Shape::new(&[rows.rows + 1])?)?;
        run.set_output_shape(1, Shape::new(&[total])?)?;
        let values = run.out::<T>(1)?;
        let mut at = 0usize;
        let split = |at: usize, row: usize| at + rows.row(row).map_or(0, |(_, _, count)| count as usize);
        match self.splits {
            DType::I32 => {
                let mut end = 0;
                for (row, to) in run.out::<i32>(0)?.iter_mut().enumerate() {
                    end = if row == 0 { 0 } else { split(end, row - 1) };
                    *to = end as i32;
                }
            }
            _ => {
                let mut end = 0;
                for (row, to) in run.out::<i64>(0)?.iter_mut().enumerate() {
                    end = if row == 0 { 0 } else { split(end, row - 1) };
                    *to = end as i64;
                }
            }
        }
        for row in 0..rows.rows {
            let (mut value, delta, count) = rows.row(row)?;
            for to in &mut values[at..at + count as usize] {
                *to = value;
                value = value.next(delta);
            }
            at += count as usize;
        }
        Ok(())
    }

    /// How many numbers there are, where the inputs are known.
    fn known<T: RangeNumber + Element>(&self, inputs: &[&Fact]) -> Option<Result<usize, OpError>> {
        let mut values: [Vec<T>; 3] = Default::default();
        let mut shapes = [Shape::SCALAR; 3];
        for (index, values) in values.iter_mut().enumerate() {
            let view = inputs.get(index)?.view()?;
            shapes[index] = *view.shape();
            *values = view.bytes().chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect();
        }
        let inputs = [&values[0][..], &values[1], &values[2]];
        Some(rows(shapes).and_then(|rows| Rows { inputs, rows }.total()))
    }
}

impl Operator for RaggedRange {
    fn name(&self) -> &'static str {
        "RaggedRange"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let dtype = shared::input(inputs, 0)?.dtype;
        shared::need_type(0, inputs[0], &[DType::I32, DType::I64, DType::F32, DType::F64])?;
        let mut rows = Some(Dim::Known(1));
        let mut has_vector = false;
        for index in 0..3 {
            let input = shared::input(inputs, index)?;
            shared::need_type(index, input, &[dtype])?;
            match input.dims.get() {
                None => rows = None,
                Some([]) => {}
                Some([n]) => {
                    let so_far = rows.filter(|_| has_vector).unwrap_or(*n);
                    has_vector = true;
                    let both = agree(so_far, *n, input.is_bound).ok_or_else(|| {
                        OpError::input(index, format!("is of shape {} for {so_far} rows", input.dims))
                    })?;
                    rows = rows.map(|_| both);
                }
                Some(_) => return Err(OpError::input(index, format!("is of shape {}", input.dims))),
            }
        }
        let is_bound = inputs.iter().any(|input| input.is_bound);
        let known = match dtype {
            _ if is_bound => None,
            DType::I32 => self.known::<i32>(inputs),
            DType::I64 => self.known::<i64>(inputs),
            DType::F32 => self.known::<f32>(inputs),
            _ => self.known::<f64>(inputs),
        };
        let total = known.transpose()?.map_or(Dim::Unknown, |total| Dim::Known(total as i64));
        let splits = rows.map_or(Dim::Unknown, |rows| rows.plus(Dim::Known(1)));
        Ok(vec![Fact::new(self.splits, Dims::new([splits])), Fact::new(dtype, Dims::new([total]))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        // How many numbers there are the run finds.
        let rows = rows([run.shape(0), run.shape(1), run.shape(2)]).ok()?;
        reshape::set(run, 0, [rows + 1])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        match run.dtype(0) {
            DType::I32 => self.typed::<i32>(run),
            DType::I64 => self.typed::<i64>(run),
            DType::F32 => self.typed::<f32>(run),
            _ => self.typed::<f64>(run),
        }
    }
}
