//! A tensor repeated: Tile, BroadcastTo, and BroadcastArgs, the shape that two shapes broadcast to.
//!
//! Types: any, strings included. Tile takes how often to repeat along each axis, BroadcastTo the shape to repeat to by
//! numpy's rules, as int32 or int64 vectors.

use tightfit_core::{DType, MAX_RANK};
use tightfit_kernels::{broadcast_to, tile};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{need_index_type, not_negative, vector_len};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Tile", import: |_| Ok(Box::new(Tile)) },
    Registration { name: "BroadcastTo", import: |_| Ok(Box::new(BroadcastTo)) },
    Registration { name: "BroadcastArgs", import: |_| Ok(Box::new(BroadcastArgs)) },
];

/// Repeats whole tensors side by side.
#[derive(Debug)]
struct Tile;

impl Operator for Tile {
    fn name(&self) -> &'static str {
        "Tile"
    }

    fn grows_with(&self, _: usize) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, multiples) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        need_index_type(1, multiples)?;
        let len = vector_len(1, multiples)?;
        if let (Some(len), Some(rank)) = (len, input.dims.rank())
            && len != rank
        {
            return Err(OpError::input(1, format!("has {len} elements for a tensor of {rank} dimensions")));
        }
        let Some(dims) = input.dims.get() else {
            return Ok(vec![Fact::new(input.dtype, len.map_or(Dims::UNKNOWN, Dims::of_rank))]);
        };
        let multiples = multiples.dims_value().unwrap_or(vec![Dim::Unknown; dims.len()]);
        // Of nothing too: where it is open how often it is repeated, that is looked at as the node runs.
        let tiled = dims.iter().zip(multiples).map(|(dim, times)| match not_negative(1, times)? {
            Dim::Unknown => Ok(Dim::Unknown),
            times => Ok(dim.times(times)),
        });
        Ok(vec![Fact::new(input.dtype, Dims::new(tiled.collect::<Result<Vec<_>, OpError>>()?))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (shape, multiples) = (run.shape(0), run.ints::<MAX_RANK>(1).ok()?);
        (multiples.len() == shape.rank()).then_some(())?;
        let mut dims = [0; MAX_RANK];
        for ((to, dim), times) in dims.iter_mut().zip(shape.iter()).zip(multiples.iter()) {
            *to = dim.checked_mul(usize::try_from(*times).ok()?)?;
        }
        reshape::set(run, 0, dims[..shape.rank()].iter().copied())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let target = run.output_shape(0);
        if input.dtype() == DType::U16 && target != *input.shape() && target.elements() > 0 {
            return Err(OpError::input(0, "is of type uint16, which TensorFlow has no Tile for"));
        }
        Ok(tile(run.pool, input, &mut run.output(0)?)?)
    }
}

/// Repeats elements along axes of size 1.
#[derive(Debug)]
struct BroadcastTo;

impl Operator for BroadcastTo {
    fn name(&self) -> &'static str {
        "BroadcastTo"
    }

    fn grows_with(&self, _: usize) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, shape) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        need_index_type(1, shape)?;
        let rank = vector_len(1, shape)?;
        let Some(target) = shape.dims_value() else {
            return Ok(vec![Fact::new(input.dtype, rank.map_or(Dims::UNKNOWN, Dims::of_rank))]);
        };
        let target = target.into_iter().map(|dim| not_negative(1, dim)).collect::<Result<Vec<_>, _>>()?;
        let target = Dims::new(target);
        if let (Some(from), Some(to)) = (input.dims.get(), target.get()) {
            let tail = to.len().checked_sub(from.len()).map(|missing| &to[missing..]);
            let fits = |(from, to): (&Dim, &Dim)| match (from, to) {
                (Dim::Known(m), Dim::Known(n)) => *m == 1 || m == n || input.is_bound,
                _ => true,
            };
            if !tail.is_some_and(|tail| from.iter().zip(tail).all(fits)) {
                return Err(OpError::input(
                    0,
                    format!("of shape {} does not broadcast to {target}", input.dims),
                ));
            }
        }
        Ok(vec![Fact::new(input.dtype, target)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::set_asked(run, 0, 1)?;
        let target = run.output_shape(0);
        (reshape::broadcast(run.shape(0), target)? == target).then_some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        shared::check_broadcast(&run.output_shape(0), input.shape())?;
        Ok(broadcast_to(run.pool, input, &mut run.output(0)?)?)
    }
}

/// The shape of an elementwise result.
#[derive(Debug)]
struct BroadcastArgs;

impl Operator for BroadcastArgs {
    fn name(&self) -> &'static str {
        "BroadcastArgs"
    }

    fn grows_with(&self, _: usize) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (a, b) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        need_index_type(0, a)?;
        shared::need_type(1, b, &[a.dtype])?;
        let ranks = [vector_len(0, a)?, vector_len(1, b)?];
        let dims = match ranks {
            [Some(a), Some(b)] if a.max(b) <= MAX_RANK => Dims::new([Dim::Known(a.max(b) as i64)]),
            [Some(_), Some(_)] => return Err(OpError::input(0, "is a shape of too many dimensions")),
            _ => Dims::of_rank(1),
        };
        let (Some(from), Some(to)) = (a.dims_value(), b.dims_value()) else {
            return Ok(vec![Fact::new(a.dtype, dims)]);
        };
        let (from, to) = (Dims::new(from), Dims::new(to));
        let shape = from
            .broadcast(&to)
            .ok_or_else(|| OpError::input(1, format!("{to} does not broadcast with {from}")))?;
        Ok(vec![match shape.get() {
            Some(values) => Fact::of_dims(a.dtype, dims, values),
            None => Fact::new(a.dtype, dims),
        }])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let len = run.shape(0).elements().max(run.shape(1).elements());
        reshape::set(run, 0, [len])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (a, b) = (run.ints::<MAX_RANK>(0)?, run.ints::<MAX_RANK>(1)?);
        let rank = a.len().max(b.len());
        let mut shape = [1i64; MAX_RANK];
        for (axis, dim) in shape[..rank].iter_mut().enumerate() {
            let at = |v: &[i64]| (axis + v.len()).checked_sub(rank).map_or(1, |i| v[i]);
            *dim = match (at(&a), at(&b)) {
                (1, n) | (n, 1) => n,
                (m, n) if m == n => m,
                (m, n) => return Err(OpError::input(1, format!("has {n} where input 0 has {m}"))),
            };
        }
        match run.output_dtype(0) {
            DType::I64 => run.out::<i64>(0)?.copy_from_slice(&shape[..rank]),
            _ => run.out::<i32>(0)?.iter_mut().zip(shape).for_each(|(to, from)| *to = from as i32),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use tightfit_core::StringRef;

    #[test]
    fn repeats() {
        let x = tensor(&[1, 2], &[1i32, 2]);
        let v = |a: i32, b: i32| tensor(&[2], &[a, b]);
        check("Tile", &[], &[x.clone(), v(2, 2)], &[tensor(&[2, 4], &[1i32, 2, 1, 2, 1, 2, 1, 2])]);
        check("Tile", &[], &[x.clone(), v(0, 1)], &[tensor::<i32>(&[0, 2], &[])]);
        let text = StringRef { offset: 1, bytes: 2 };
        check("Tile", &[], &[tensor(&[1], &[text]), tensor(&[1], &[2i64])], &[tensor(&[2], &[text, text])]);
        refuses("Tile", &[], &[x.clone(), v(-1, 1)], "-1");
        refuses_as_it_runs("Tile", &[], &[tensor::<f64>(&[0], &[]), tensor(&[1], &[-2i64])], "-2");
        check("BroadcastTo", &[], &[x.clone(), v(2, 2)], &[tensor(&[2, 2], &[1i32, 2, 1, 2])]);
        check("BroadcastTo", &[], &[scalar(7u8), tensor(&[2], &[1i64, 2])], &[tensor(&[1, 2], &[7u8, 7])]);
        refuses("BroadcastTo", &[], &[x, v(2, 3)], "does not broadcast");
    }

    #[test]
    fn shapes_broadcast() {
        let (a, b) = (tensor(&[3], &[2i32, 1, 5]), tensor(&[2], &[4i32, 1]));
        check("BroadcastArgs", &[], &[a.clone(), b], &[tensor(&[3], &[2i32, 4, 5])]);
        refuses("BroadcastArgs", &[], &[a, tensor(&[1], &[4i32])], "broadcast");
    }
}
