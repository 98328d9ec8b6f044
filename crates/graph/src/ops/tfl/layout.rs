//! Quantised tensors joined and padded: tfl.concatenation, tfl.pad, tfl.padv2.
//!
//! tfl.concatenation joins int8, uint8 or int16 along the attribute `axis`; inputs of another scale than the output's are brought to
//! it. tfl.pad puts the integer that stands for 0 around a tensor, as many as its second input says, `[rank, 2]`; tfl.padv2 puts its third
//! input, an integer.

use tightfit_core::{DType, MAX_RANK};
use tightfit_kernels::{Affine, copy_into, pad, rescale_slices};

use super::affine;
use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run, axis, reshape};
use crate::ops::array::concat::joined;
use crate::ops::array::pad::{Around, Pad};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "tfl.concatenation", import: import_concatenation },
    Registration {
        name: "tfl.pad",
        import: |a| Ok(Box::new(Padding { output: affine::output(a)?, has_value: false })),
    },
    Registration {
        name: "tfl.padv2",
        import: |a| Ok(Box::new(Padding { output: affine::output(a)?, has_value: true })),
    },
];

fn import_concatenation(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (scales, zeros) = affine::scales(attributes, "input")?;
    Ok(Box::new(Concatenation {
        axis: attributes.int("axis")?,
        scales,
        zeros,
        output: affine::output(attributes)?,
    }))
}

/// tfl.concatenation.
#[derive(Debug)]
struct Concatenation {
    axis: i64,
    scales: Box<[f32]>,
    zeros: Box<[i32]>,
    output: Affine,
}

impl Concatenation {
    fn input(&self, index: usize) -> Option<Affine> {
        let zero = if self.zeros.len() == 1 { self.zeros.first() } else { self.zeros.get(index) };
        let scale = if self.scales.len() == 1 { self.scales.first() } else { self.scales.get(index) };
        Some(Affine { scale: *scale?, zero: *zero? })
    }
}

impl Operator for Concatenation {
    fn name(&self) -> &'static str {
        "tfl.concatenation"
    }

    fn grows_with(&self, _: usize) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let first = shared::input(inputs, 0)?;
        shared::need_type(0, first, &[DType::I8, DType::U8, DType::I16])?;
        for (index, input) in inputs.iter().enumerate() {
            shared::need_type(index, input, &[first.dtype])?;
        }
        if self.scales.len() != 1 && self.scales.len() != inputs.len() {
            let why = format!("has {} numbers for {} inputs", self.scales.len(), inputs.len());
            return Err(OpError::attribute("input_scale", why));
        }
        let Some(rank) = inputs.iter().find_map(|input| input.dims.rank()) else {
            return Ok(vec![Fact::new(first.dtype, Dims::UNKNOWN)]);
        };
        let Some(axis) = axis(self.axis, rank) else {
            return Err(OpError::attribute("axis", format!("is {} for tensors of rank {rank}", self.axis)));
        };
        Ok(vec![Fact::new(first.dtype, Dims::new(joined(0, inputs, rank, axis)?))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let first = run.shape(0);
        let axis = axis(self.axis, first.rank())?;
        let mut sum = 0usize;
        for input in 0..run.inputs() {
            let shape = run.shape(input);
            let is_like = |i: usize| i == axis || shape[i] == first[i];
            (shape.rank() == first.rank() && (0..first.rank()).all(is_like)).then_some(())?;
            sum = sum.checked_add(*shape.get(axis)?)?;
        }
        reshape::set(run, 0, first.iter().enumerate().map(|(i, dim)| if i == axis { sum } else { *dim }))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let pool = run.pool;
        let mut output = run.output(0)?;
        let rank = output.shape().rank();
        let axis = axis(self.axis, rank).ok_or(OpError::Internal("an axis that is not there"))?;
        let mut begin = [0; MAX_RANK];
        for index in 0..run.inputs() {
            let part = run.input(index)?;
            let size = *part.shape().get(axis).ok_or(OpError::Internal("a part has no such axis"))?;
            copy_into(pool, part, &begin[..rank], &mut output)?;
            let own = self.input(index).ok_or(OpError::Internal("an input has no scale"))?;
            if own != self.output {
                rescale_slices(axis, begin[axis]..begin[axis] + size, (own, self.output), &mut output)?;
            }
            begin[axis] += size;
        }
        Ok(())
    }
}

/// tfl.pad and tfl.padv2.
#[derive(Debug)]
struct Padding {
    output: Affine,
    /// The third input is what comes around.
    has_value: bool,
}

impl Padding {
    /// The same of plain numbers.
    fn plain(&self) -> Pad {
        Pad { fill: if self.has_value { Around::Value } else { Around::Zero } }
    }
}

impl Operator for Padding {
    fn name(&self) -> &'static str {
        if self.has_value { "tfl.padv2" } else { "tfl.pad" }
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        shared::need_type(0, shared::input(inputs, 0)?, &[DType::I8, DType::U8, DType::I16])?;
        self.plain().infer(inputs)
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        self.plain().reshape(run)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if self.has_value {
            return self.plain().run(run);
        }
        let input = run.input(0)?;
        let paddings = run.ints::<{ 2 * MAX_RANK }>(1)?;
        let mut before = [0; MAX_RANK];
        for (before, around) in before.iter_mut().zip(paddings.chunks_exact(2)) {
            *before = usize::try_from(around[0]).map_err(|_| OpError::input(1, "has a negative number"))?;
        }
        let before = before.get(..input.shape().rank()).unwrap_or_default();
        let zero = self.output.zero.to_le_bytes();
        Ok(pad(run.pool, before, &zero[..input.dtype().bytes()], input, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, floats, int, ints, refuses, tensor};

    #[test]
    fn parts_are_brought_to_one_scale() {
        let attributes = [
            ("input_scale", floats(&[0.5, 0.25])),
            ("input_zero_point", ints(&[0, 10])),
            ("output_scale", floats(&[0.5])),
            ("output_zero_point", ints(&[0])),
            ("axis", int(-1)),
        ];
        let inputs = [tensor(&[2, 1], &[7u8, 8]), tensor(&[2, 2], &[10u8, 12, 0, 255])];
        let expected = tensor(&[2, 3], &[7u8, 0, 1, 8, 0, 123]);
        check("tfl.concatenation", &attributes, &inputs, &[expected]);
        let mut wrong = attributes;
        wrong[4].1 = int(2);
        refuses("tfl.concatenation", &wrong, &inputs, "axis");
    }

    #[test]
    fn what_stands_for_zero_is_around() {
        let attributes = [("output_scale", floats(&[0.5])), ("output_zero_point", ints(&[-3]))];
        let inputs = [tensor(&[1, 2], &[1i8, 2]), tensor(&[2, 2], &[1i32, 0, 0, 1])];
        check("tfl.pad", &attributes, &inputs, &[tensor(&[2, 3], &[-3i8, -3, -3, 1, 2, -3])]);
        let with = [inputs.as_slice(), &[tensor(&[], &[7i8])]].concat();
        check("tfl.padv2", &attributes, &with, &[tensor(&[2, 3], &[7i8, 7, 7, 1, 2, 7])]);
    }
}
