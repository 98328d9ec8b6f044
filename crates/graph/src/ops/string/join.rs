//! Strings put together: StringJoin, ReduceJoin, UnsortedSegmentJoin.
//!
//! Join: strings of one shape, or scalars, one after the other with `separator` between them. ReduceJoin: along the axes of its
//! second input, in their order. UnsortedSegmentJoin: rows of the input in the order in which they come, for each segment.

use tightfit_core::{DType, MAX_RANK, Shape, StringRef};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::{OpError, Operator, Run, axis, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::Indices;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "StringJoin",
        import: |a| Ok(Box::new(Join { separator: a.bytes_or("separator", b"")?.into() })),
    },
    Registration {
        name: "ReduceJoin",
        import: |a| {
            let keeps_dims = a.bool_or("keep_dims", false)?;
            Ok(Box::new(ReduceJoin { separator: a.bytes_or("separator", b"")?.into(), keeps_dims }))
        },
    },
    Registration {
        name: "UnsortedSegmentJoin",
        import: |a| Ok(Box::new(SegmentJoin { separator: a.bytes_or("separator", b"")?.into() })),
    },
];

/// StringJoin.
#[derive(Debug)]
struct Join {
    separator: Box<[u8]>,
}

impl Operator for Join {
    fn name(&self) -> &'static str {
        "StringJoin"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let mut dims = Dims::scalar();
        let mut is_open = false;
        for (index, input) in inputs.iter().enumerate() {
            shared::need_type(index, input, &[DType::String])?;
            match input.dims.rank() {
                None => is_open = true,
                Some(0) => {}
                Some(_) if dims.rank() == Some(0) => dims = input.dims.clone(),
                Some(_) => {
                    let other = Fact::new(DType::String, dims.clone());
                    let pair = [(0, &other), (index, *input)];
                    dims = shared::extent::same_dims(pair.into_iter())?;
                }
            }
        }
        // One of open rank may be a scalar or not.
        let dims = if is_open && dims.rank() == Some(0) { Dims::UNKNOWN } else { dims };
        Ok(vec![Fact::new(DType::String, dims)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shaped = (0..run.inputs()).map(|input| run.shape(input)).find(|shape| shape.rank() > 0);
        run.set_output_shape(0, shaped.unwrap_or(Shape::SCALAR)).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let shape = run.output_shape(0);
        if let Some(input) = (0..run.inputs()).find(|i| run.shape(*i).rank() > 0 && run.shape(*i) != shape) {
            let why = format!("is of shape {}, and others of {shape}", run.shape(input));
            return Err(OpError::input(input, why));
        }
        for (i, to) in run.out::<StringRef>(0)?.iter_mut().enumerate() {
            let mut new = run.new_string(&[])?;
            for input in 0..run.inputs() {
                if input > 0 {
                    new = run.extended_string(new, &self.separator)?;
                }
                let texts = run.slice::<StringRef>(input)?;
                let text = if run.shape(input).rank() == 0 { texts.first() } else { texts.get(i) };
                let text = text.ok_or(OpError::Internal("an input has its elements"))?;
                new = run.extended_string(new, run.string(*text))?;
            }
            *to = new;
        }
        Ok(())
    }
}

/// ReduceJoin.
#[derive(Debug)]
struct ReduceJoin {
    separator: Box<[u8]>,
    keeps_dims: bool,
}

impl ReduceJoin {
    /// The axes as they are, each once.
    fn axes(indices: &[i64], rank: usize) -> Result<[bool; MAX_RANK], OpError> {
        let mut is_reduced = [false; MAX_RANK];
        for index in indices {
            let axis = axis(*index, rank).ok_or_else(|| {
                OpError::input(1, format!("has axis {index}, which a tensor of rank {rank} has not"))
            })?;
            if std::mem::replace(&mut is_reduced[axis], true) {
                return Err(OpError::input(1, format!("has axis {axis} twice")));
            }
        }
        Ok(is_reduced)
    }
}

impl Operator for ReduceJoin {
    fn name(&self) -> &'static str {
        "ReduceJoin"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, axes) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, input, &[DType::String])?;
        shared::need_type(1, axes, &[DType::I32])?;
        let (Some(dims), Some(axes)) = (input.dims.get(), axes.ints()) else {
            let keeps = self.keeps_dims.then(|| input.dims.rank()).flatten();
            return Ok(vec![Fact::new(DType::String, keeps.map_or(Dims::UNKNOWN, Dims::of_rank))]);
        };
        let is_reduced = ReduceJoin::axes(&axes, dims.len())?;
        let dims = dims.iter().enumerate().filter_map(|(axis, dim)| match is_reduced[axis] {
            false => Some(*dim),
            true => self.keeps_dims.then_some(Dim::Known(1)),
        });
        Ok(vec![Fact::new(DType::String, Dims::new(dims.collect::<Vec<_>>()))])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        match shared::input(inputs, 1)?.dims.rank() {
            Some(rank @ 2..) => {
                Err(OpError::input(1, format!("is of rank {rank}; axes are a scalar or a vector")))
            }
            _ => Ok(()),
        }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let axes = run.ints::<MAX_RANK>(1).ok()?;
        let shape = run.shape(0);
        let is_reduced = ReduceJoin::axes(&axes, shape.rank()).ok()?;
        let dims = shape.iter().enumerate().filter_map(|(axis, dim)| match is_reduced[axis] {
            false => Some(*dim),
            true => self.keeps_dims.then_some(1),
        });
        reshape::set(run, 0, dims)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let axes = run.ints::<MAX_RANK>(1)?;
        let shape = run.shape(0);
        let is_reduced = ReduceJoin::axes(&axes, shape.rank())?;
        let texts = run.slice::<StringRef>(0)?;
        let mut steps = [1; MAX_RANK];
        for axis in (1..shape.rank()).rev() {
            steps[axis - 1] = steps[axis] * shape[axis];
        }
        let joined: usize =
            (0..shape.rank()).filter(|axis| is_reduced[*axis]).map(|axis| shape[axis]).product();
        let out = run.out::<StringRef>(0)?;
        if axes.is_empty() {
            out.copy_from_slice(texts);
            return Ok(());
        }
        for (i, to) in out.iter_mut().enumerate() {
            // The place of the first one.
            let (mut rest, mut first) = (i, 0);
            for axis in (0..shape.rank()).rev().filter(|axis| !is_reduced[*axis]) {
                first += rest % shape[axis] * steps[axis];
                rest /= shape[axis];
            }
            let mut new = run.new_string(&[])?;
            for number in 0..joined {
                // The first axis of the list changes fastest.
                let (mut rest, mut at) = (number, first);
                for index in axes.iter() {
                    let axis = axis(*index, shape.rank()).unwrap_or(0);
                    at += rest % shape[axis] * steps[axis];
                    rest /= shape[axis];
                }
                if number > 0 {
                    new = run.extended_string(new, &self.separator)?;
                }
                let text = texts.get(at).ok_or(OpError::Internal("an input has its elements"))?;
                new = run.extended_string(new, run.string(*text))?;
            }
            *to = new;
        }
        Ok(())
    }
}

/// UnsortedSegmentJoin.
#[derive(Debug)]
struct SegmentJoin {
    separator: Box<[u8]>,
}

impl Operator for SegmentJoin {
    fn name(&self) -> &'static str {
        "UnsortedSegmentJoin"
    }

    fn can_outgrow(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, ids) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        let count = shared::input(inputs, 2)?;
        shared::need_type(0, input, &[DType::String])?;
        shared::extent::need_index_type(1, ids)?;
        shared::extent::need_index_type(2, count)?;
        shared::dims_of_rank(2, count, 0)?;
        let (Some(dims), Some(rank)) = (input.dims.get(), ids.dims.rank()) else {
            return Ok(vec![Fact::new(DType::String, Dims::UNKNOWN)]);
        };
        let Some(inner) = dims.get(rank..) else {
            return Err(OpError::input(1, format!("of shape {} is no start of {}", ids.dims, input.dims)));
        };
        let count = match count.dims_value().as_deref() {
            Some([count]) => shared::extent::not_negative(2, *count)?,
            _ => Dim::Unknown,
        };
        let dims: Vec<Dim> = std::iter::once(count).chain(inner.iter().copied()).collect();
        Ok(vec![Fact::new(DType::String, Dims::new(dims))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let count = usize::try_from(reshape::int(run, 2)?).ok()?;
        let (input, rank) = (run.shape(0), run.shape(1).rank());
        reshape::set(run, 0, std::iter::once(count).chain(input.iter().skip(rank).copied()))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (texts, ids) = (run.slice::<StringRef>(0)?, Indices::new(run, 1)?);
        if run.shape(0).iter().zip(run.shape(1).iter()).any(|(a, b)| a != b) {
            return Err(OpError::input(
                1,
                format!("of shape {} is no start of {}", run.shape(1), run.shape(0)),
            ));
        }
        let count = run.output_shape(0).first().copied().unwrap_or(0);
        let out = run.out::<StringRef>(0)?;
        let row = out.len().checked_div(count).unwrap_or(0);
        out.fill(StringRef::default());
        // Segment by segment, so that each text is made longer where it is.
        for i in 0..ids.len() {
            ids.index(1, i, count)?;
        }
        for (segment, row_out) in out.chunks_exact_mut(row.max(1)).enumerate() {
            for (column, to) in row_out.iter_mut().enumerate() {
                let mut new = run.new_string(&[])?;
                for i in (0..ids.len()).filter(|i| ids.get(*i) == segment as i64) {
                    // As TensorFlow does: empty texts in front leave no separator.
                    if new.bytes > 0 {
                        new = run.extended_string(new, &self.separator)?;
                    }
                    let text =
                        texts.get(i * row + column).ok_or(OpError::Internal("a row has its elements"))?;
                    new = run.extended_string(new, run.string(*text))?;
                }
                *to = new;
            }
        }
        Ok(())
    }
}
