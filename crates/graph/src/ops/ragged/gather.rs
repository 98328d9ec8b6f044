//! RaggedGather: rows of a ragged tensor that indices name.
//!
//! Inputs: the splits of each of `PARAMS_RAGGED_RANK` levels (int32 or int64), the values, of any type, and indices of any
//! shape; outputs: splits of each level, those of the axes of the indices first, and values. How many there are depends on
//! the data.

use tightfit_core::{DType, MAX_RANK, Shape};
use tightfit_kernels::{RowPartition, Whole, copy_elements};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;
use crate::ops::shared::extent::Indices;
use crate::ops::sparse::common::at_most_rows;

pub(crate) const OPS: &[Registration] = &[Registration { name: "RaggedGather", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (levels, outputs) =
        (attributes.count("PARAMS_RAGGED_RANK")?, attributes.count("OUTPUT_RAGGED_RANK")?);
    if levels == 0 || levels > MAX_RANK {
        return Err(OpError::attribute(
            "PARAMS_RAGGED_RANK",
            format!("is {levels}; 1 to {MAX_RANK} are supported"),
        ));
    }
    if outputs + 1 < levels || outputs > 2 * MAX_RANK {
        return Err(OpError::attribute("OUTPUT_RAGGED_RANK", format!("is {outputs} for {levels} levels")));
    }
    Ok(Box::new(RaggedGather { levels, outputs, splits: attributes.dtype_or("Tsplits", DType::I64)? }))
}

/// The most values or rows for which a bound that is the product of two sizes is planned for. Real rows are far shorter than
/// the whole tensor.
const SMALL: i64 = 1 << 16;

/// The operator.
#[derive(Debug)]
struct RaggedGather {
    levels: usize,
    outputs: usize,
    splits: DType,
}

/// Splits to write, of either type.
enum Splits<'a> {
    I32(&'a mut [i32]),
    I64(&'a mut [i64]),
}

impl Splits<'_> {
    fn set(&mut self, at: usize, value: i64) -> Result<(), OpError> {
        let outside = OpError::Internal("more splits than were counted");
        match self {
            Splits::I32(values) => *values.get_mut(at).ok_or(outside)? = value as i32,
            Splits::I64(values) => *values.get_mut(at).ok_or(outside)? = value,
        }
        Ok(())
    }
}

impl RaggedGather {
    fn values(&self) -> usize {
        self.levels
    }

    fn indices(&self) -> usize {
        self.levels + 1
    }

    /// Levels of the output that the axes of the indices make.
    fn outer(&self) -> usize {
        (self.outputs + 1).saturating_sub(self.levels).saturating_sub(1)
    }

    fn level<'a>(&self, run: &Run<'a>, level: usize) -> Result<Whole<'a>, OpError> {
        Ok(match run.dtype(level) {
            DType::I64 => Whole::I64(run.slice(level)?),
            _ => Whole::I32(run.slice(level)?),
        })
    }

    fn output<'a>(&self, run: &mut Run<'a>, output: usize) -> Result<Splits<'a>, OpError> {
        Ok(match self.splits {
            DType::I64 => Splits::I64(run.out(output)?),
            _ => Splits::I32(run.out(output)?),
        })
    }

    /// The elements of a level, or of the values after the last, that the row `index` has.
    fn range(levels: &[Whole<'_>], index: usize) -> (usize, usize) {
        levels.iter().fold((index, index + 1), |(start, end), level| {
            (level.get(start) as usize, level.get(end) as usize)
        })
    }
}

impl Operator for RaggedGather {
    fn name(&self) -> &'static str {
        "RaggedGather"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        for level in 0..self.levels {
            let splits = shared::input(inputs, level)?;
            shared::need_type(level, splits, &[self.splits])?;
            shared::dims_of_rank(level, splits, 1)?;
        }
        let (values, indices) =
            (shared::input(inputs, self.values())?, shared::input(inputs, self.indices())?);
        shared::need_type(self.indices(), indices, &[DType::I32, DType::I64])?;
        if let Some(rank) = indices.dims.rank()
            && self.outputs + 1 != rank + self.levels
        {
            let why = format!("is {} for indices {} of {} levels", self.outputs, indices.dims, self.levels);
            return Err(OpError::attribute("OUTPUT_RAGGED_RANK", why));
        }
        if values.dims.rank() == Some(0) {
            return Err(OpError::input(self.values(), "is a scalar"));
        }
        let mut facts = Vec::with_capacity(self.outputs + 1);
        let mut rows = Dim::Known(1);
        for axis in 0..=self.outer() {
            rows = indices
                .dims
                .get()
                .and_then(|dims| dims.get(axis))
                .map_or(Dim::Unknown, |dim| rows.times(*dim));
            // The splits of the innermost axis of the indices are those of the first level.
            if facts.len() < self.outputs {
                facts.push(Fact::new(self.splits, Dims::new([rows.plus(Dim::Known(1))])));
            }
        }
        let most = |of: Dim| match rows.times(of) {
            Dim::Known(n) if n <= SMALL => Dim::Known(n),
            _ => Dim::Unknown,
        };
        for level in facts.len()..self.outputs {
            let of = inputs[level - self.outer()].dims.get().map_or(Dim::Unknown, |dims| dims[0]);
            facts.push(at_most_rows(self.splits, most(of).plus(Dim::Known(1)), &[]));
        }
        facts.push(match values.dims.get() {
            Some([first, rest @ ..]) => at_most_rows(values.dtype, most(*first), rest),
            _ => Fact::new(values.dtype, Dims::UNKNOWN),
        });
        Ok(facts)
    }

    fn reshape(&self, _: &mut Run<'_>) -> Option<()> {
        // The run itself finds how many rows and values there are.
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (values, indices) = (run.input(self.values())?, Indices::new(run, self.indices())?);
        let index_shape = run.shape(self.indices());
        let mut levels = [Whole::I64(&[]); MAX_RANK];
        for (level, to) in levels[..self.levels].iter_mut().enumerate() {
            *to = self.level(run, level)?;
        }
        let levels = &levels[..self.levels];
        for (level, splits) in levels.iter().enumerate() {
            let inner = levels.get(level + 1).map_or(values.shape()[0], |next| next.len().saturating_sub(1));
            RowPartition::Splits(*splits).check_within(inner)?;
        }
        let count = levels[0].len() - 1;
        let row = |n: usize| indices.index(self.indices(), n, count);
        // The axes of the indices, each of rows of one length.
        let mut outer_rows = 1;
        for axis in 0..index_shape.rank().saturating_sub(1) {
            outer_rows *= index_shape[axis];
            run.set_output_shape(axis, Shape::new(&[outer_rows + 1])?)?;
            let mut to = self.output(run, axis)?;
            for n in 0..=outer_rows {
                to.set(n, (n * index_shape[axis + 1]) as i64)?;
            }
        }
        let outer = index_shape.rank().saturating_sub(1);
        for level in 0..levels.len() {
            let output = outer + level;
            let mut total = 0usize;
            for n in 0..indices.len() {
                let (start, end) = RaggedGather::range(&levels[..level], row(n)?);
                total += end - start;
            }
            // A scalar names one row, whose splits are those of the next level.
            if index_shape.rank() == 0 && level == 0 {
                continue;
            }
            let output = if index_shape.rank() == 0 { output - 1 } else { output };
            run.set_output_shape(output, Shape::new(&[total + 1])?)?;
            let mut to = self.output(run, output)?;
            to.set(0, 0)?;
            let (mut at, mut sum) = (1, 0);
            for n in 0..indices.len() {
                let (start, end) = RaggedGather::range(&levels[..level], row(n)?);
                for element in start..end {
                    sum += levels[level].get(element + 1) - levels[level].get(element);
                    to.set(at, sum)?;
                    at += 1;
                }
            }
        }
        let mut dims = [0; MAX_RANK];
        dims[..values.shape().rank()].copy_from_slice(values.shape());
        dims[0] = 0;
        for n in 0..indices.len() {
            let (start, end) = RaggedGather::range(levels, row(n)?);
            dims[0] += end - start;
        }
        run.set_output_shape(self.outputs, Shape::new(&dims[..values.shape().rank()])?)?;
        let bytes = values.shape()[1..].iter().product::<usize>() * values.dtype().bytes();
        let mut rest = run.out_bytes(self.outputs)?;
        for n in 0..indices.len() {
            let (start, end) = RaggedGather::range(levels, row(n)?);
            let (to, behind) = rest.split_at_mut((end - start) * bytes);
            if bytes > 0 {
                copy_elements(values.bytes(), bytes, start..end, to)?;
            }
            rest = behind;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, int, refuses, tensor};

    #[test]
    fn rows_are_taken_whole() {
        let attributes = [("PARAMS_RAGGED_RANK", int(1)), ("OUTPUT_RAGGED_RANK", int(1))];
        let inputs = [
            tensor(&[4], &[0i64, 2, 2, 5]),
            tensor(&[5], &[1f32, 2.0, 3.0, 4.0, 5.0]),
            tensor(&[3], &[2i32, 1, 0]),
        ];
        let rows = [tensor(&[4], &[0i64, 3, 3, 5]), tensor(&[5], &[3f32, 4.0, 5.0, 1.0, 2.0])];
        check("RaggedGather", &attributes, &inputs, &rows);
        let mut outside = inputs.to_vec();
        outside[2] = tensor(&[1], &[3i32]);
        refuses("RaggedGather", &attributes, &outside, "not in [0, 3)");
        let square = [attributes[0].clone(), ("OUTPUT_RAGGED_RANK", int(2))];
        let mut inputs = inputs.to_vec();
        inputs[2] = tensor(&[2, 1], &[1i32, 0]);
        let rows = [tensor(&[3], &[0i64, 1, 2]), tensor(&[3], &[0i64, 0, 2]), tensor(&[2], &[1f32, 2.0])];
        check("RaggedGather", &square, &inputs, &rows);
    }

    #[test]
    fn not_every_value_is_in_a_row() {
        let attributes = [("PARAMS_RAGGED_RANK", int(1)), ("OUTPUT_RAGGED_RANK", int(1))];
        let with = |splits: &[i64]| {
            [tensor(&[splits.len()], splits), tensor(&[4], &[0f32, 1.0, 2.0, 3.0]), tensor(&[1], &[0i32])]
        };
        let rows = [tensor(&[2], &[0i64, 2]), tensor(&[2], &[1f32, 2.0])];
        check("RaggedGather", &attributes, &with(&[1, 3]), &rows);
        let damaged: [(&[i64], &str); 4] = [
            (&[0, 9], "do not point past the values"),
            (&[2, 1], "never fall"),
            (&[-1, 2], "never fall"),
            (&[], "there are splits"),
        ];
        for (splits, why) in damaged {
            refuses("RaggedGather", &attributes, &with(splits), why);
        }
    }
}
