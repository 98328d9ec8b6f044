//! What gradients need besides functions of two elements: BroadcastGradientArgs, the axes over which the gradients of two
//! broadcast tensors are added up, BiasAddGrad, the sum over all but the channels, and LeakyReluGrad.
//!
//! BroadcastGradientArgs: two shapes, vectors of int32 or int64, become two vectors of axes of their common shape, the
//! the first one first; none where the shapes are the same. BiasAddGrad: `[.., channels]` of any number, or
//! `[batch, channels, ..]` with `data_format` NCHW, becomes `[channels]`.

use half::bf16;
use tightfit_core::{DType, MAX_RANK, Shape};
use tightfit_kernels::{ReduceOp, leaky_relu_gradient, reduce};

use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::{need_index_type, vector_len};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "BroadcastGradientArgs", import: |_| Ok(Box::new(BroadcastGradientArgs)) },
    Registration { name: "BiasAddGrad", import: bias_add_grad },
    Registration {
        name: "LeakyReluGrad",
        import: |a| Ok(Box::new(LeakyReluGrad { alpha: a.float_of_type_or("alpha", 0.2)? })),
    },
];

/// The axes of the result along which each of two tensors is one element wide, from the shapes of both.
#[derive(Debug)]
struct BroadcastGradientArgs;

/// The axes that each of two shapes is broadcast along.
struct Broadcast {
    axes: [[i64; MAX_RANK]; 2],
    counts: [usize; 2],
}

impl Broadcast {
    /// `None` where the shapes do not broadcast.
    fn of(shapes: [&[i64]; 2]) -> Option<Broadcast> {
        let mut found = Broadcast { axes: [[0; MAX_RANK]; 2], counts: [0; 2] };
        if shapes[0] == shapes[1] {
            return Some(found);
        }
        let rank = shapes[0].len().max(shapes[1].len());
        for back in (1..=rank).rev() {
            let dims = shapes.map(|shape| shape.len().checked_sub(back).map_or(1, |axis| shape[axis]));
            if dims[0] != dims[1] && !dims.contains(&1) {
                return None;
            }
            for (side, _) in dims.iter().enumerate().filter(|(_, dim)| **dim == 1) {
                found.axes[side][found.counts[side]] = (rank - back) as i64;
                found.counts[side] += 1;
            }
        }
        Some(found)
    }
}

impl Operator for BroadcastGradientArgs {
    fn name(&self) -> &'static str {
        "BroadcastGradientArgs"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let first = shared::input(inputs, 0)?;
        let mut most = Some(0);
        for at in 0..2 {
            let shape = shared::input(inputs, at)?;
            need_index_type(at, shape)?;
            shared::need_type(at, shape, &[first.dtype])?;
            most = most.zip(vector_len(at, shape)?).map(|(most, len)| len.max(most));
        }
        Ok(vec![Fact::at_most(first.dtype, Shape::new(&[most.unwrap_or(MAX_RANK)])?); 2])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let shapes = [run.ints::<MAX_RANK>(0)?, run.ints::<MAX_RANK>(1)?];
        let found = Broadcast::of([&shapes[0], &shapes[1]]).ok_or_else(|| {
            OpError::Invalid(format!(
                "is given the shapes {:?} and {:?}, which do not broadcast",
                &*shapes[0], &*shapes[1]
            ))
        })?;
        for output in 0..2 {
            let axes = &found.axes[output][..found.counts[output]];
            run.set_output_shape(output, Shape::new(&[axes.len()])?)?;
            match run.output_dtype(output) {
                DType::I32 => {
                    run.out::<i32>(output)?.iter_mut().zip(axes).for_each(|(to, axis)| *to = *axis as i32)
                }
                _ => run.out::<i64>(output)?.copy_from_slice(axes),
            }
        }
        Ok(())
    }
}

fn bias_add_grad(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(BiasAddGrad { is_second: attributes.text_or("data_format", "NHWC")? == "NCHW" }))
}

/// The sum over all but the channels.
#[derive(Debug)]
struct BiasAddGrad {
    /// True where channels are the second axis, and not the last.
    is_second: bool,
}

impl BiasAddGrad {
    /// The axis of the channels in a tensor of `rank`.
    fn channels(&self, rank: usize) -> Result<usize, OpError> {
        match rank {
            0 | 1 => Err(OpError::input(0, format!("has rank {rank}; at least 2 is needed"))),
            _ if self.is_second => Ok(1),
            _ => Ok(rank - 1),
        }
    }
}

impl Operator for BiasAddGrad {
    fn name(&self) -> &'static str {
        "BiasAddGrad"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        if !(input.dtype.is_float() || input.dtype.is_integer() || input.dtype.is_complex()) {
            return Err(OpError::input(0, format!("is of {}, not of numbers", input.dtype)));
        }
        Ok(vec![Fact::new(
            input.dtype,
            match input.dims.get() {
                Some(dims) => Dims::new([dims[self.channels(dims.len())?]]),
                None => Dims::of_rank(1),
            },
        )])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        match shared::input(inputs, 0)?.dims.rank() {
            Some(2) if self.is_second => Err(OpError::input(0, "has rank 2; at least 3 is needed for NCHW")),
            _ => Ok(()),
        }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        let channels = self.channels(shape.rank()).ok()?;
        reshape::set(run, 0, [shape[channels]])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let rank = input.shape().rank();
        let channels = self.channels(rank)?;
        if input.dtype() == DType::BF16 && channels + 1 == rank {
            add_rows(run.slice(0)?, run.out(0)?);
            return Ok(());
        }
        let mut axes = [0; MAX_RANK];
        let others = (0..rank).filter(|axis| *axis != channels);
        axes.iter_mut().zip(others).for_each(|(to, axis)| *to = axis);
        Ok(reduce(run.pool, ReduceOp::Sum, &axes[..rank - 1], input, &mut run.output(0)?)?)
    }
}

/// Adds up rows one after the other in bfloat16, as TensorFlow does with these on one thread.
fn add_rows(rows: &[bf16], sums: &mut [bf16]) {
    sums.fill(bf16::ZERO);
    for row in rows.chunks_exact(sums.len().max(1)) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum = bf16::from_f32(sum.to_f32() + x.to_f32());
        }
    }
}

/// The gradient where its input is above 0, and a part of it elsewhere: two inputs of one shape, of any numbers.
#[derive(Debug)]
struct LeakyReluGrad {
    alpha: f32,
}

impl Operator for LeakyReluGrad {
    fn name(&self) -> &'static str {
        "LeakyReluGrad"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (gradient, input) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        if !gradient.dtype.is_float() && !gradient.dtype.is_integer() {
            return Err(OpError::input(0, format!("is of {}, not of numbers", gradient.dtype)));
        }
        shared::need_type(1, input, &[gradient.dtype])?;
        let dims = shared::extent::same_dims([(0, gradient), (1, input)].into_iter())?;
        Ok(vec![Fact::new(gradient.dtype, dims)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        (run.shape(0) == run.shape(1)).then_some(())?;
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let inputs = [run.input(0)?, run.input(1)?];
        if inputs[0].shape() != inputs[1].shape() {
            let why = format!("is of shape {}; the gradient is of {}", inputs[1].shape(), inputs[0].shape());
            return Err(OpError::input(1, why));
        }
        Ok(leaky_relu_gradient(run.pool, self.alpha, inputs, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use crate::testing::{check, float, refuses, refuses_as_it_runs, tensor, text};

    #[test]
    fn axes_that_a_gradient_is_added_up_over() {
        let check = |a: &[i32], b: &[i32], first: &[i32], second: &[i32]| {
            let of = |values: &[i32]| tensor(&[values.len()], values);
            check("BroadcastGradientArgs", &[], &[of(a), of(b)], &[of(first), of(second)]);
        };
        check(&[2, 3, 5], &[1], &[], &[0, 1, 2]);
        check(&[2, 1, 5], &[3, 1], &[1], &[0, 2]);
        check(&[1, 4], &[1, 4], &[], &[]);
        check(&[1, 2], &[1, 1], &[0], &[0, 1]);
        check(&[0], &[1], &[], &[0]);
        check(&[], &[7], &[0], &[]);
        let bad = [tensor(&[2], &[2i64, 3]), tensor(&[1], &[2i64])];
        refuses_as_it_runs("BroadcastGradientArgs", &[], &bad, "[2, 3] and [2]");
    }

    #[test]
    fn gradients_leak_below_zero() {
        let inputs = [tensor(&[3], &[4.0f32, 4.0, 4.0]), tensor(&[3], &[2.0f32, 0.0, f32::NAN])];
        check("LeakyReluGrad", &[("alpha", float(0.25))], &inputs, &[tensor(&[3], &[4.0f32, 1.0, 1.0])]);
        let whole = [tensor(&[2], &[4i32, 4]), tensor(&[2], &[1i32, -1])];
        check("LeakyReluGrad", &[("alpha", float(1.5))], &whole, &[tensor(&[2], &[4i32, 4])]);
        // A denormal is 0, in halves too.
        let halves = [[-1.5f32, -1.5], [1.5, 1e-40]].map(|of| tensor(&[2], &of.map(bf16::from_f32)));
        let result = tensor(&[2], &[-1.5f32, 0.375].map(bf16::from_f32));
        check("LeakyReluGrad", &[("alpha", float(-0.25))], &halves, &[result]);
        refuses("LeakyReluGrad", &[], &[whole[0].clone(), tensor(&[3], &[1i32; 3])], "shape");
    }

    #[test]
    fn sums_over_all_but_the_channels() {
        let values: Vec<f32> = (0..12).map(|x| x as f32).collect();
        check("BiasAddGrad", &[], &[tensor(&[2, 2, 3], &values)], &[tensor(&[3], &[18.0f32, 22.0, 26.0])]);
        let second = [("data_format", text("NCHW"))];
        check("BiasAddGrad", &second, &[tensor(&[2, 2, 3], &values)], &[tensor(&[2], &[24.0f32, 42.0])]);
        check("BiasAddGrad", &[], &[tensor(&[0, 2], &[0i32; 0])], &[tensor(&[2], &[0i32, 0])]);
        refuses("BiasAddGrad", &[], &[tensor(&[3], &[1.0f32; 3])], "rank 1");
        // TensorFlow's sums of 300 bfloat16, which past 256 take in no 1 more.
        let ones: Vec<bf16> = [1.0, 0.01171875].map(bf16::from_f32).repeat(300);
        let sums = [256.0, 4.0].map(bf16::from_f32);
        check("BiasAddGrad", &[], &[tensor(&[300, 2], &ones)], &[tensor(&[2], &sums)]);
    }
}
