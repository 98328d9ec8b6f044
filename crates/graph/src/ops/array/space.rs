//! Exchange of space with batch or depth: SpaceToBatch, SpaceToBatchND, BatchToSpace, BatchToSpaceND, SpaceToDepth,
//! DepthToSpace.
//!
//! Types: any. The first four move blocks of the axes after the first into the batch (after padding with zeros) or
//! back (before cropping): the ND forms take the block's shape and an int32 or int64 `[axes, 2]` of paddings or crops,
//! the others have the attribute `block_size` for height and width. The last two move blocks of `[block_size,
//! block_size]` pixels into the channels or back, as `data_format` NHWC or NCHW; NCHW_VECT_C is refused.

use tightfit_core::{MAX_RANK, Shape, TensorViewMut};
use tightfit_kernels::{batch_to_space_nd, depth_to_space, space_to_batch_nd, space_to_depth, transpose};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{minus, need_index_type, not_negative, reshaped, vector_len};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "SpaceToBatch", import: |a| batch(a, Way::Apart, true) },
    Registration { name: "SpaceToBatchND", import: |a| batch(a, Way::Apart, false) },
    Registration { name: "BatchToSpace", import: |a| batch(a, Way::Together, true) },
    Registration { name: "BatchToSpaceND", import: |a| batch(a, Way::Together, false) },
    Registration { name: "SpaceToDepth", import: |a| depth(a, Way::Apart) },
    Registration { name: "DepthToSpace", import: |a| depth(a, Way::Together) },
];

/// Whether blocks of space are taken apart or put together.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Apart,
    Together,
}

fn block_size(attributes: &Attributes<'_>) -> Result<usize, OpError> {
    match attributes.count("block_size")? {
        size @ 0..2 => Err(OpError::attribute("block_size", format!("is {size}; at least 2 is needed"))),
        size => Ok(size),
    }
}

fn batch(attributes: &Attributes<'_>, way: Way, is_square: bool) -> Result<Box<dyn Operator>, OpError> {
    let block = if is_square { Some(block_size(attributes)? as i64) } else { None };
    Ok(Box::new(Batch { way, block }))
}

fn depth(attributes: &Attributes<'_>, way: Way) -> Result<Box<dyn Operator>, OpError> {
    let has_channels_last = match attributes.text_or("data_format", "NHWC")? {
        "NHWC" => true,
        "NCHW" => false,
        other => {
            return Err(OpError::attribute(
                "data_format",
                format!("is {other}; NHWC and NCHW are supported"),
            ));
        }
    };
    Ok(Box::new(Depth { way, block: block_size(attributes)?, has_channels_last }))
}

/// `a / b`, rounded up for a bound; `None` when it is not exact.
fn quotient(a: Dim, b: Dim, is_bound: bool) -> Option<Dim> {
    match (a, b) {
        (Dim::Known(_), Dim::Known(..1)) => None,
        (Dim::Known(a), Dim::Known(b)) if a % b == 0 || is_bound => {
            Some(Dim::Known((a + b - 1).div_euclid(b)))
        }
        (Dim::Known(_), Dim::Known(_)) => None,
        (a, b) => Some(a.divided_by(b)),
    }
}

/// The most axes of TensorFlow's kernels, of those that are left alone only what lies between others.
const MAX_MOVED: usize = 4;

/// Exchange with the batch.
#[derive(Debug)]
struct Batch {
    way: Way,
    /// The block's height and width, where they are no input.
    block: Option<i64>,
}

impl Batch {
    /// The number of the input with paddings or crops.
    fn pads_input(&self) -> usize {
        if self.block.is_some() { 1 } else { 2 }
    }

    fn dims(&self, input: &Fact, block: &[Dim], pads: &[Dim]) -> Result<Vec<Dim>, OpError> {
        let Some(dims) = input.dims.get() else { return Ok(vec![]) };
        if dims.len() <= block.len() || pads.len() != 2 * block.len() {
            let why = format!("of shape {} has no batch and {} axes for the blocks", input.dims, block.len());
            return Err(OpError::input(0, why));
        }
        let mut out = dims.to_vec();
        for (i, (block, pads)) in block.iter().zip(pads.chunks_exact(2)).enumerate() {
            if matches!(block, Dim::Known(..1)) {
                return Err(OpError::input(1, format!("is a block of {block}; at least 1 is needed")));
            }
            let pads =
                not_negative(self.pads_input(), pads[0])?.plus(not_negative(self.pads_input(), pads[1])?);
            let no_fit =
                || OpError::input(0, format!("of shape {} does not divide into the blocks", input.dims));
            match self.way {
                Way::Apart => {
                    out[i + 1] =
                        quotient(dims[i + 1].plus(pads), *block, input.is_bound).ok_or_else(no_fit)?;
                    out[0] = out[0].times(*block);
                }
                Way::Together => {
                    out[i + 1] = not_negative(self.pads_input(), minus(dims[i + 1].times(*block), pads))?;
                    out[0] = quotient(out[0], *block, input.is_bound).ok_or_else(no_fit)?;
                }
            }
        }
        Ok(out)
    }
}

impl Operator for Batch {
    fn name(&self) -> &'static str {
        match (self.way, self.block) {
            (Way::Apart, Some(_)) => "SpaceToBatch",
            (Way::Apart, None) => "SpaceToBatchND",
            (Way::Together, Some(_)) => "BatchToSpace",
            (Way::Together, None) => "BatchToSpaceND",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, pads) = (shared::input(inputs, 0)?, shared::input(inputs, self.pads_input())?);
        need_index_type(self.pads_input(), pads)?;
        let block = match self.block {
            Some(size) => Some(vec![Dim::Known(size); 2]),
            None => {
                need_index_type(1, shared::input(inputs, 1)?)?;
                vector_len(1, inputs[1])?;
                inputs[1].dims_value()
            }
        };
        let axes = match self.block {
            Some(_) => Some(2),
            None => vector_len(1, inputs[1])?,
        };
        if let Some(table) = shared::dims_of_rank(self.pads_input(), pads, 2)?
            && !table
                .iter()
                .zip([axes, Some(2)])
                .all(|(dim, size)| dim.size().zip(size).is_none_or(|(a, b)| a == b))
        {
            let axes = axes.map_or("axes".into(), |n| n.to_string());
            let why = format!("is of shape {}; [{axes}, 2] is needed", pads.dims);
            return Err(OpError::input(self.pads_input(), why));
        }
        let (Some(block), Some(pads), Some(_)) = (block, pads.dims_value(), input.dims.rank()) else {
            return Ok(vec![Fact::new(input.dtype, input.dims.rank().map_or(Dims::UNKNOWN, Dims::of_rank))]);
        };
        Ok(vec![Fact::new(input.dtype, Dims::new(self.dims(input, &block, &pads)?))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let (mut block, mut pads) = ([0; MAX_RANK], [[0; 2]; MAX_RANK]);
        let size = |index: usize, n: i64| {
            usize::try_from(n)
                .map_err(|_| OpError::input(index, format!("has {n}, which must not be negative")))
        };
        let axes = match self.block {
            Some(side) => {
                block[..2].fill(side as usize);
                2
            }
            None => {
                let sides = run.ints::<MAX_RANK>(1)?;
                for (to, side) in block.iter_mut().zip(sides.iter()) {
                    *to = size(1, *side)?;
                }
                sides.len()
            }
        };
        let values = run.ints::<{ 2 * MAX_RANK }>(self.pads_input())?;
        for (to, pair) in pads.iter_mut().zip(values.chunks_exact(2)) {
            *to = [size(self.pads_input(), pair[0])?, size(self.pads_input(), pair[1])?];
        }
        let (block, pads) = (&block[..axes], &pads[..axes]);
        let is_moved = |axis: &usize| block[*axis] != 1 || pads[*axis] != [0, 0];
        let moved = (0..axes).find(is_moved).zip((0..axes).rfind(is_moved)).map_or(0, |(a, b)| b - a + 1);
        if moved > MAX_MOVED {
            let why = format!("moves {moved} axes; at most {MAX_MOVED} are supported");
            return Err(OpError::input(self.pads_input(), why));
        }
        let mut output = run.output(0)?;
        match self.way {
            Way::Apart => space_to_batch_nd(run.pool, block, pads, input, &mut output)?,
            Way::Together => batch_to_space_nd(run.pool, block, pads, input, &mut output)?,
        }
        Ok(())
    }
}

/// Exchange with the channels.
#[derive(Debug)]
struct Depth {
    way: Way,
    block: usize,
    has_channels_last: bool,
}

impl Operator for Depth {
    fn name(&self) -> &'static str {
        if self.way == Way::Apart { "SpaceToDepth" } else { "DepthToSpace" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        let Some(mut dims) = shared::dims_of_rank(0, input, 4)? else {
            return Ok(vec![Fact::new(input.dtype, Dims::of_rank(4))]);
        };
        let (channels, height, width) = if self.has_channels_last { (3, 1, 2) } else { (1, 2, 3) };
        let block = Dim::Known(self.block as i64);
        let no_fit =
            || OpError::input(0, format!("of shape {} does not divide into blocks of {block}", input.dims));
        let divide = |dim, by| quotient(dim, by, input.is_bound).ok_or_else(no_fit);
        match self.way {
            Way::Apart => {
                dims[height] = divide(dims[height], block)?;
                dims[width] = divide(dims[width], block)?;
                dims[channels] = dims[channels].times(block.times(block));
            }
            Way::Together => {
                dims[height] = dims[height].times(block);
                dims[width] = dims[width].times(block);
                dims[channels] = divide(dims[channels], block.times(block))?;
            }
        }
        Ok(vec![Fact::new(input.dtype, Dims::new(dims))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let mut output = run.output(0)?;
        if self.has_channels_last {
            match self.way {
                Way::Apart => space_to_depth(run.pool, self.block, input, &mut output)?,
                Way::Together => depth_to_space(run.pool, self.block, input, &mut output)?,
            }
            return Ok(());
        }
        // With channels first, both are a transposition of the same elements under six axes.
        let (large, small) = match self.way {
            Way::Apart => (*input.shape(), *output.shape()),
            Way::Together => (*output.shape(), *input.shape()),
        };
        let (&[n, channels, ..], &[_, _, height, width]) = (&*large, &*small) else {
            return Err(OpError::Internal("a tensor of other than 4 dimensions was run"));
        };
        let b = self.block;
        let (large, small) = ([n, channels, height, b, width, b], [n, b, b, channels, height, width]);
        let (from, to, order) = match self.way {
            Way::Apart => (large, small, [0, 3, 5, 1, 2, 4]),
            Way::Together => (small, large, [0, 3, 4, 1, 5, 2]),
        };
        let mut output = TensorViewMut::new(input.dtype(), Shape::new(&to)?, output.into_bytes())
            .ok_or(OpError::Internal("a tensor was looked at under a shape of another size"))?;
        Ok(transpose(run.pool, &order, reshaped(input, &from)?, &mut output)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn batch_and_back() {
        let x = tensor(&[1, 2, 2, 1], &[1f32, 2.0, 3.0, 4.0]);
        let apart = tensor(&[4, 1, 1, 1], &[1f32, 2.0, 3.0, 4.0]);
        let none = tensor(&[2, 2], &[0i32; 4]);
        let block = tensor(&[2], &[2i32, 2]);
        check("SpaceToBatchND", &[], &[x.clone(), block.clone(), none.clone()], &[apart.clone()]);
        check("SpaceToBatch", &[("block_size", int(2))], &[x.clone(), none.clone()], &[apart.clone()]);
        check("BatchToSpaceND", &[], &[apart.clone(), block.clone(), none.clone()], &[x.clone()]);
        check("BatchToSpace", &[("block_size", int(2))], &[apart, none], &[x]);
        let rows = tensor(&[1, 3], &[1i32, 2, 3]);
        let (block, pads) = (tensor(&[1], &[2i64]), tensor(&[1, 2], &[1i32, 0]));
        let apart = tensor(&[2, 2], &[0i32, 2, 1, 3]);
        check("SpaceToBatchND", &[], &[rows.clone(), block.clone(), pads.clone()], &[apart.clone()]);
        check("BatchToSpaceND", &[], &[apart, block.clone(), pads], &[rows.clone()]);
        refuses("SpaceToBatchND", &[], &[rows, block, tensor(&[1, 2], &[0i32, 0])], "divide");
        refuses("SpaceToBatch", &[("block_size", int(1))], &[], "block_size");
        let image = tensor(&[1, 2, 2, 1], &[0i32, 1, 2, 3]);
        for dims in [&[4][..], &[1, 4], &[2, 2, 1]] {
            let pads = tensor(dims, &[0i32; 4]);
            refuses("SpaceToBatch", &[("block_size", int(2))], &[image.clone(), pads], "needed");
        }
    }

    #[test]
    fn depth_and_back() {
        let block = ("block_size", int(2));
        let x = tensor(&[1, 2, 2, 1], &[1i8, 2, 3, 4]);
        let deep = tensor(&[1, 1, 1, 4], &[1i8, 2, 3, 4]);
        check("SpaceToDepth", &[block.clone()], &[x.clone()], &[deep.clone()]);
        check("DepthToSpace", &[block.clone()], &[deep], &[x.clone()]);
        refuses("DepthToSpace", &[block.clone()], &[x], "divide");
        // Two channels first; each output channel takes every second input channel.
        let first = [block.clone(), ("data_format", text("NCHW"))];
        let image = tensor(&[1, 2, 2, 2], &[0i32, 1, 2, 3, 4, 5, 6, 7]);
        let deep = tensor(&[1, 8, 1, 1], &[0i32, 4, 1, 5, 2, 6, 3, 7]);
        check("SpaceToDepth", &first, &[image.clone()], &[deep.clone()]);
        check("DepthToSpace", &first, &[deep], &[image]);
        refuses("DepthToSpace", &[block, ("data_format", text("NCHW_VECT_C"))], &[], "data_format");
    }
}
