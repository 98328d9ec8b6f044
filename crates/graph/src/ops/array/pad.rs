//! A tensor with something around it: Pad (zeros), PadV2 (a given value), MirrorPad (its mirror image).
//!
//! Types: any, strings included. The second input, int32 or int64 of shape `[rank, 2]`, says how many elements come
//! before and after along each axis. MirrorPad's attribute `mode` is REFLECT (without the edge) or SYMMETRIC (with it).

use tightfit_core::MAX_RANK;
use tightfit_kernels::{Mirror, mirror_pad, pad};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{Ints, OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{need_index_type, not_negative};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Pad", import: |_| Ok(Box::new(Pad { fill: Around::Zero })) },
    Registration { name: "PadV2", import: |_| Ok(Box::new(Pad { fill: Around::Value })) },
    Registration { name: "MirrorPad", import: import_mirror },
];

fn import_mirror(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let mirror = match attributes.text("mode")? {
        "REFLECT" => Mirror::Reflect,
        "SYMMETRIC" => Mirror::Symmetric,
        other => {
            return Err(OpError::attribute("mode", format!("is {other}; REFLECT or SYMMETRIC is needed")));
        }
    };
    Ok(Box::new(Pad { fill: Around::Mirror(mirror) }))
}

/// What comes around a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Around {
    /// Zeros, false or empty strings.
    Zero,
    /// The third input.
    Value,
    /// The tensor's mirror image.
    Mirror(Mirror),
}

/// The operator.
#[derive(Debug)]
pub struct Pad {
    /// What comes around the tensor.
    pub fill: Around,
}

const MAX_PADDINGS: usize = 2 * MAX_RANK;

/// The most axes of TensorFlow's kernels, of which neighbours without padding are one.
const MAX_APART: usize = 6;

/// How many axes there are where neighbours without padding are one.
fn apart(paddings: &[i64]) -> usize {
    let is_padded = |pair: &[i64]| pair.iter().any(|n| *n != 0);
    let mut pairs = paddings.chunks_exact(2);
    let first = pairs.next().map(is_padded);
    let joined = |(count, was_padded): (usize, bool), pair: &[i64]| {
        let is_padded = is_padded(pair);
        (count + (is_padded || was_padded) as usize, is_padded)
    };
    first.map_or(0, |first| pairs.fold((1, first), joined).0)
}

impl Operator for Pad {
    fn name(&self) -> &'static str {
        match self.fill {
            Around::Zero => "Pad",
            Around::Value => "PadV2",
            Around::Mirror(_) => "MirrorPad",
        }
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, paddings) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        need_index_type(1, paddings)?;
        if self.fill == Around::Value {
            let value = shared::input(inputs, 2)?;
            if value.dtype != input.dtype || value.dims.elements().known().is_some_and(|n| n != 1) {
                return Err(OpError::input(
                    2,
                    format!("is {value}; one element of {} is needed", input.dtype),
                ));
            }
        }
        let table = shared::dims_of_rank(1, paddings, 2)?;
        let rank = input.dims.rank().or_else(|| table.as_ref().and_then(|t| t[0].size()));
        let Some(rank) = rank else { return Ok(vec![Fact::new(input.dtype, Dims::UNKNOWN)]) };
        let is = |dim: Dim, n: usize| dim.known().is_none_or(|d| d == n as i64);
        if table.is_some_and(|t| !is(t[0], rank) || !is(t[1], 2)) || rank > MAX_RANK {
            return Err(OpError::input(1, format!("is of shape {}; [{rank}, 2] is needed", paddings.dims)));
        }
        let (Some(dims), Some(paddings)) = (input.dims.get(), paddings.dims_value()) else {
            return Ok(vec![Fact::new(input.dtype, Dims::of_rank(rank))]);
        };
        let mut padded = Vec::with_capacity(rank);
        for (dim, around) in dims.iter().zip(paddings.chunks_exact(2)) {
            let (before, after) = (not_negative(1, around[0])?, not_negative(1, around[1])?);
            self.check_mirror(*dim, before, after, input.is_bound)?;
            padded.push(dim.plus(before).plus(after));
        }
        Ok(vec![Fact::new(input.dtype, Dims::new(padded))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (shape, paddings) = (run.shape(0), run.ints::<MAX_PADDINGS>(1).ok()?);
        (paddings.len() == 2 * shape.rank()).then_some(())?;
        let mut dims = [0; MAX_RANK];
        for ((to, dim), around) in dims.iter_mut().zip(shape.iter()).zip(paddings.chunks_exact(2)) {
            let [before, after] = [usize::try_from(around[0]).ok()?, usize::try_from(around[1]).ok()?];
            *to = dim.checked_add(before)?.checked_add(after)?;
        }
        reshape::set(run, 0, dims[..shape.rank()].iter().copied())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let shape = *input.shape();
        let paddings: Ints<MAX_PADDINGS> = run.ints(1)?;
        if run.shape(1).get(1) != Some(&2) {
            return Err(OpError::input(1, format!("is of shape {}; two columns are needed", run.shape(1))));
        }
        let mut before = [0; MAX_RANK];
        for (axis, (before, around)) in before.iter_mut().zip(paddings.chunks_exact(2)).enumerate() {
            *before = usize::try_from(around[0]).map_err(|_| OpError::input(1, "has a negative number"))?;
            let size =
                *shape.get(axis).ok_or_else(|| OpError::input(1, "has more rows than there are axes"))?;
            let dim = Dim::Known(size as i64);
            self.check_mirror(dim, Dim::Known(around[0]), Dim::Known(around[1]), false)?;
        }
        let most = if matches!(self.fill, Around::Mirror(_)) { 5 } else { 8 };
        if shape.rank() > most || (run.output_shape(0) != shape && apart(&paddings) > MAX_APART) {
            return Err(OpError::input(
                0,
                format!("is of shape {shape}, which has too many axes to be padded"),
            ));
        }
        let before = &before[..shape.rank()];
        let mut output = run.output(0)?;
        match self.fill {
            Around::Zero => {
                let zeros = [0; 16];
                pad(run.pool, before, &zeros[..input.dtype().bytes()], input, &mut output)?;
            }
            Around::Value => pad(run.pool, before, run.input(2)?.bytes(), input, &mut output)?,
            Around::Mirror(mirror) => mirror_pad(run.pool, mirror, before, input, &mut output)?,
        }
        Ok(())
    }
}

impl Pad {
    /// A mirror image is no larger than what it shows.
    fn check_mirror(&self, dim: Dim, before: Dim, after: Dim, is_bound: bool) -> Result<(), OpError> {
        let Around::Mirror(mirror) = self.fill else { return Ok(()) };
        let edge = if mirror == Mirror::Reflect { 1 } else { 0 };
        match (dim, before, after) {
            (Dim::Known(n), Dim::Known(before), Dim::Known(after))
                if !is_bound && before.max(after) > n - edge =>
            {
                Err(OpError::input(1, format!("asks for [{before}, {after}] around an axis of {n} elements")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn pads() {
        let x = tensor(&[1, 2], &[1f32, 2.0]);
        let by = tensor(&[2, 2], &[1i32, 0, 0, 1]);
        let zeros = tensor(&[2, 3], &[0f32, 0.0, 0.0, 1.0, 2.0, 0.0]);
        check("Pad", &[], &[x.clone(), by.clone()], &[zeros]);
        let nines = tensor(&[2, 3], &[9f32, 9.0, 9.0, 1.0, 2.0, 9.0]);
        check("PadV2", &[], &[x.clone(), by, scalar(9f32)], &[nines]);
        check("Pad", &[], &[scalar(3i8), tensor::<i64>(&[0, 2], &[])], &[scalar(3i8)]);
        refuses("Pad", &[], &[x.clone(), tensor(&[2, 2], &[0i32, -1, 0, 0])], "-1");
        refuses("Pad", &[], &[x, tensor(&[1, 2], &[0i32, 1])], "[2, 2]");
    }

    #[test]
    fn mirrors() {
        let x = tensor(&[3], &[1i32, 2, 3]);
        let by = tensor(&[1, 2], &[2i32, 1]);
        let mode = |m| [("mode", text(m))];
        check(
            "MirrorPad",
            &mode("REFLECT"),
            &[x.clone(), by.clone()],
            &[tensor(&[6], &[3i32, 2, 1, 2, 3, 2])],
        );
        check("MirrorPad", &mode("SYMMETRIC"), &[x.clone(), by], &[tensor(&[6], &[2i32, 1, 1, 2, 3, 3])]);
        refuses("MirrorPad", &mode("REFLECT"), &[x.clone(), tensor(&[1, 2], &[3i32, 0])], "around");
        refuses("MirrorPad", &mode("WRAP"), &[x, tensor(&[1, 2], &[0i32, 0])], "mode");
    }

    #[test]
    fn paddings_have_two_columns_though_there_is_no_axis() {
        let none = [scalar(1f32), tensor::<i32>(&[0, 0], &[])];
        refuses("Pad", &[], &none, "[0, 2] is needed");
        refuses_shapes_as_it_runs("Pad", &[], &none, "two columns are needed");
    }
}
