//! Elements in another order along axes: Reverse, ReverseV2, ReverseSequence, Roll.
//!
//! Shape: the input's. Types: any, strings included. Reverse takes a bool for each axis, ReverseV2 the axes to turn
//! around. ReverseSequence turns around only the first `seq_lengths[i]` elements along `seq_dim` of each slice `i`
//! along `batch_dim`. Roll shifts along axes, what falls off one end coming in at the other; an axis may come twice.

use tightfit_core::{DType, MAX_RANK};
use tightfit_kernels::{reverse, reverse_sequence, roll};

use crate::dim::Dim;
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::need_index_type;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Reverse", import: |_| Ok(Box::new(Reverse { by_bools: true })) },
    Registration { name: "ReverseV2", import: |_| Ok(Box::new(Reverse { by_bools: false })) },
    Registration { name: "ReverseSequence", import: import_sequence },
    Registration { name: "Roll", import: |_| Ok(Box::new(Roll)) },
];

fn import_sequence(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (sequence, batch) = (attributes.count("seq_dim")?, attributes.int_or("batch_dim", 0)?);
    let batch = usize::try_from(batch).map_err(|_| OpError::attribute("batch_dim", format!("is {batch}")))?;
    Ok(Box::new(ReverseSequence { sequence, batch }))
}

/// Turns around whole axes.
#[derive(Debug)]
struct Reverse {
    /// True when the second input has a bool for each axis, false when it names them.
    by_bools: bool,
}

/// The axes to turn around.
#[derive(Default)]
struct Axes {
    axes: [usize; MAX_RANK],
    count: usize,
}

impl Axes {
    fn push(&mut self, axis: usize) -> Result<(), OpError> {
        if self.axes[..self.count].contains(&axis) || self.count == MAX_RANK {
            return Err(OpError::input(1, format!("names axis {axis} twice")));
        }
        self.axes[self.count] = axis;
        self.count += 1;
        Ok(())
    }

    /// As an input names them, for a tensor of `rank`.
    fn named(values: &[i64], rank: usize) -> Result<Axes, OpError> {
        let mut axes = Axes::default();
        for value in values {
            let why = || OpError::input(1, format!("has {value}, no axis of a tensor of {rank} dimensions"));
            axes.push(shared::axis(*value, rank).ok_or_else(why)?)?;
        }
        Ok(axes)
    }
}

impl Operator for Reverse {
    fn name(&self) -> &'static str {
        if self.by_bools { "Reverse" } else { "ReverseV2" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, axes) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        let rank = input.dims.rank();
        if self.by_bools {
            shared::need_type(1, axes, &[DType::Bool])?;
            if input.dims.get().is_some_and(|dims| dims.first() == Some(&Dim::Known(0))) && !input.is_bound {
                return Err(OpError::input(0, format!("is of shape {}, which has no rows", input.dims)));
            }
            let len = axes.dims.elements().size();
            if let (Some(rank), Some(len)) = (rank, len)
                && rank != len
            {
                return Err(OpError::input(
                    1,
                    format!("has {len} elements for a tensor of {rank} dimensions"),
                ));
            }
        } else {
            need_index_type(1, axes)?;
            // Of nothing the axes are any, but in a file.
            if input.dims.elements() != Dim::Known(0) {
                self.check(inputs)?;
            }
        }
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        let (input, axes) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        match (input.dims.rank(), axes.ints()) {
            (Some(rank), Some(values)) if !self.by_bools => Axes::named(&values, rank).map(drop),
            _ => Ok(()),
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let rank = input.shape().rank();
        if input.bytes().is_empty() {
            // Of nothing TensorFlow does not look at the axes.
            return Ok(());
        }
        let axes = if self.by_bools {
            let mut axes = Axes::default();
            let bools = run.input(1)?.bytes().iter().take(rank).enumerate();
            bools.filter(|(_, is_reversed)| **is_reversed != 0).try_for_each(|(axis, _)| axes.push(axis))?;
            axes
        } else {
            Axes::named(&run.ints::<MAX_RANK>(1)?, rank)?
        };
        Ok(reverse(run.pool, &axes.axes[..axes.count], input, &mut run.output(0)?)?)
    }
}

/// Turns around the start of each sequence.
#[derive(Debug)]
struct ReverseSequence {
    sequence: usize,
    batch: usize,
}

impl Operator for ReverseSequence {
    fn name(&self) -> &'static str {
        "ReverseSequence"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, lengths) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        need_index_type(1, lengths)?;
        let len = shared::dims_of_rank(1, lengths, 1)?;
        if let Some(dims) = input.dims.get() {
            if self.sequence >= dims.len() || self.batch >= dims.len() || self.sequence == self.batch {
                let why = format!("and batch_dim {} are not two axes of {}", self.batch, input.dims);
                return Err(OpError::attribute("seq_dim", format!("{} {why}", self.sequence)));
            }
            let known = (dims[self.batch].known(), len.and_then(|len| len[0].known()));
            if let (Some(batch), Some(len)) = known
                && batch != len
                && !input.is_bound
                && !lengths.is_bound
            {
                return Err(OpError::input(1, format!("has {len} lengths for {batch} sequences")));
            }
        }
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, lengths) = (run.input(0)?, run.input(1)?);
        Ok(reverse_sequence((self.sequence, self.batch), lengths, input, &mut run.output(0)?)?)
    }
}

/// Shifts around.
#[derive(Debug)]
struct Roll;

/// The most shifts of one Roll.
const MAX_SHIFTS: usize = 32;

/// By how much each axis of `shape` is shifted in all.
fn shifts(shape: &[usize], by: &[i64], axes: &[i64]) -> Result<[i64; MAX_RANK], OpError> {
    if by.len() != axes.len() {
        return Err(OpError::input(2, format!("names {} axes for {} shifts", axes.len(), by.len())));
    }
    let mut sums = [0i64; MAX_RANK];
    // TensorFlow looks at the lower 32 bits of both.
    for (by, value) in by.iter().map(|by| *by as i32 as i64).zip(axes.iter().map(|axis| *axis as i32 as i64))
    {
        let why =
            || OpError::input(2, format!("has {value}, no axis of a tensor of {} dimensions", shape.len()));
        let axis = shared::axis(value, shape.len()).ok_or_else(why)?;
        let size = shape[axis].max(1) as i64;
        sums[axis] = (sums[axis] + by.rem_euclid(size)).rem_euclid(size);
    }
    Ok(sums)
}

impl Operator for Roll {
    fn name(&self) -> &'static str {
        "Roll"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, by, axes) =
            (shared::input(inputs, 0)?, shared::input(inputs, 1)?, shared::input(inputs, 2)?);
        need_index_type(1, by)?;
        need_index_type(2, axes)?;
        if let (Some(a), Some(b)) = (by.dims.rank(), axes.dims.rank())
            && a != b
        {
            return Err(OpError::input(2, format!("is of shape {} for shifts of {}", axes.dims, by.dims)));
        }
        if let (Some(shape), Some(by), Some(axes)) = (input.dims.concrete(), by.ints(), axes.ints()) {
            shifts(&shape, &by, &axes)?;
        }
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let (by, axes) = (run.ints::<MAX_SHIFTS>(1)?, run.ints::<MAX_SHIFTS>(2)?);
        let shifts = shifts(input.shape(), &by, &axes)?;
        Ok(roll(run.pool, &shifts[..input.shape().rank()], input, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use tightfit_core::{DType, Shape};

    use crate::fact::Fact;
    use crate::testing::*;

    #[test]
    fn reverses() {
        let x = tensor(&[2, 3], &[0i32, 1, 2, 3, 4, 5]);
        let rows = tensor(&[2, 3], &[3i32, 4, 5, 0, 1, 2]);
        let both = tensor(&[2, 3], &[5i32, 4, 3, 2, 1, 0]);
        check("Reverse", &[], &[x.clone(), bools(&[2], &[true, false])], &[rows.clone()]);
        check("ReverseV2", &[], &[x.clone(), tensor(&[1], &[-2i32])], &[rows]);
        check("ReverseV2", &[], &[x.clone(), tensor(&[2], &[0i64, 1])], &[both]);
        check("ReverseV2", &[], &[x.clone(), tensor::<i32>(&[0], &[])], &[x.clone()]);
        refuses("ReverseV2", &[], &[x.clone(), tensor(&[2], &[0i32, -2])], "twice");
        refuses("ReverseV2", &[], &[x, tensor(&[1], &[2i32])], "no axis");
        // Of nothing the axes are any, but in a file.
        let (nothing, axes) = (Shape::new(&[0, 2]).unwrap(), bytemuck::cast_slice(&[0i32, 7]));
        let facts =
            [Fact::new(DType::I32, nothing), Fact::known(DType::I32, Shape::new(&[2]).unwrap(), axes)];
        let reverse = operator("ReverseV2", &[]).unwrap();
        assert!(reverse.infer(&facts.each_ref()).is_ok() && reverse.check(&facts.each_ref()).is_err());
    }

    #[test]
    fn reverses_sequences() {
        let x = tensor(&[2, 3], &[0i32, 1, 2, 3, 4, 5]);
        let attributes = [("seq_dim", int(1)), ("batch_dim", int(0))];
        let expected = tensor(&[2, 3], &[1i32, 0, 2, 5, 4, 3]);
        check("ReverseSequence", &attributes, &[x.clone(), tensor(&[2], &[2i64, 3])], &[expected]);
        refuses("ReverseSequence", &attributes, &[x.clone(), tensor(&[1], &[2i64])], "lengths");
        refuses("ReverseSequence", &[("seq_dim", int(0))], &[x, tensor(&[2], &[1i64, 1])], "two axes");
    }

    #[test]
    fn rolls() {
        let x = tensor(&[2, 3], &[0i32, 1, 2, 3, 4, 5]);
        check(
            "Roll",
            &[],
            &[x.clone(), scalar(1i32), scalar(1i32)],
            &[tensor(&[2, 3], &[2i32, 0, 1, 5, 3, 4])],
        );
        let twice = [x.clone(), tensor(&[3], &[-1i64, 3, -1]), tensor(&[3], &[1i32, 0, 1])];
        check("Roll", &[], &twice, &[tensor(&[2, 3], &[5i32, 3, 4, 2, 0, 1])]);
        refuses("Roll", &[], &[x.clone(), tensor(&[2], &[1i32, 1]), scalar(0i32)], "shifts");
        refuses("Roll", &[], &[x, tensor(&[1], &[1i32]), scalar(0i32)], "shifts");
    }
}
