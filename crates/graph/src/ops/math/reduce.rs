//! Reductions over axes: Sum, Mean, Prod, Max, Min, EuclideanNorm, All, Any.
//!
//! Inputs: the tensor, and its axes (int32 or int64, a scalar or a vector, negative ones count from the end; none keeps
//! every element). Shape: the input's without those axes, or with 1 for each with `keep_dims`. Types: every number, of
//! Max and Min but complex ones; All and Any of bools. A reduction to an axis that is not there, or to one twice, is refused.

use tightfit_core::{DType, MAX_RANK};
use tightfit_kernels::{ReduceOp, mean_middle_axis, reduce};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

macro_rules! reductions {
    ($($name:ident),*) => {
        &[$(Registration {
            name: stringify!($name),
            import: |attributes| {
                Ok(Box::new(Reduce { op: ReduceOp::$name, keep_dims: attributes.bool_or("keep_dims", false)? }))
            },
        }),*]
    };
}

pub(crate) const OPS: &[Registration] = reductions!(Sum, Mean, Prod, Max, Min, EuclideanNorm, All, Any);

/// A reduction over the axes that its second input lists.
#[derive(Debug, Clone, Copy)]
pub struct Reduce {
    /// What is made of the elements.
    pub op: ReduceOp,
    /// Reduced axes stay, with size 1.
    pub keep_dims: bool,
}

const AXES: usize = 1;

/// Which axes are reduced.
type IsReduced = [bool; MAX_RANK];

/// The axes that `axes` means in a tensor of `rank`.
///
/// # Errors
/// [`OpError::Input`] for one that is none, or is there twice.
pub fn reduced_axes(axes: &[i64], rank: usize) -> Result<IsReduced, OpError> {
    let mut is_reduced = [false; MAX_RANK];
    for axis in axes {
        let at = shared::axis(*axis, rank).ok_or_else(|| {
            OpError::input(AXES, format!("has the axis {axis} for a tensor of rank {rank}"))
        })?;
        if std::mem::replace(&mut is_reduced[at], true) {
            return Err(OpError::input(AXES, format!("has the axis {axis} twice")));
        }
    }
    Ok(is_reduced)
}

impl Reduce {
    fn supports(&self, dtype: DType) -> bool {
        match self.op {
            ReduceOp::All | ReduceOp::Any => dtype == DType::Bool,
            ReduceOp::Max | ReduceOp::Min => dtype.is_float() || dtype.is_integer(),
            _ => dtype.is_float() || dtype.is_integer() || dtype.is_complex(),
        }
    }

    fn dims(&self, input: &Fact, axes: &Fact) -> Result<Dims, OpError> {
        let Some(dims) = input.dims.get() else { return Ok(Dims::UNKNOWN) };
        if dims.len() > MAX_RANK {
            return Err(OpError::input(
                0,
                format!("is of rank {}; at most {MAX_RANK} are supported", dims.len()),
            ));
        }
        let Some(axes) = axes.ints() else {
            if axes.is_bound {
                // Of fewer axes than there can be the result is larger, and the largest of none; an empty axis becomes
                // one element.
                let least_one =
                    dims.iter().map(|dim| if *dim == Dim::Known(0) { Dim::Known(1) } else { *dim });
                return Ok(Dims::new(least_one.collect::<Vec<_>>()));
            }
            // TensorFlow refuses an axis that is there twice, so their number says the rank.
            let count = axes.dims.elements().size().and_then(|count| dims.len().checked_sub(count));
            let rank = if self.keep_dims { Some(dims.len()) } else { count };
            return Ok(rank.map_or(Dims::UNKNOWN, Dims::of_rank));
        };
        let is_reduced = reduced_axes(&axes, dims.len())?;
        let kept = dims.iter().zip(is_reduced).filter_map(|(dim, reduced)| match (reduced, self.keep_dims) {
            (false, _) => Some(*dim),
            (true, true) => Some(Dim::Known(1)),
            (true, false) => None,
        });
        Ok(Dims::new(kept.collect::<Vec<_>>()))
    }

    /// The number of elements, or a sum of sizes, as models compute them from shapes with open dimensions.
    fn of_dims(&self, input: &Fact, axes: &Fact, dims: &Dims) -> Option<Fact> {
        let (start, merge): (_, fn(Dim, Dim) -> Dim) = match self.op {
            ReduceOp::Prod => (1, Dim::times),
            ReduceOp::Sum => (0, Dim::plus),
            _ => return None,
        };
        let is_whole = input.dims.rank() == Some(1) && axes.ints()?.len() == 1;
        if !is_whole || !matches!(input.dtype, DType::I32 | DType::I64) {
            return None;
        }
        let value = input.dims_value()?.into_iter().fold(Dim::Known(start), merge);
        Some(Fact::of_dims(input.dtype, dims.clone(), &[value]))
    }
}

impl Operator for Reduce {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 0 && matches!(self.op, ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min)
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, axes) = (shared::input(inputs, 0)?, shared::input(inputs, AXES)?);
        if !self.supports(input.dtype) {
            return Err(OpError::input(
                0,
                format!("is of type {}, which {} is not for", input.dtype, self.name()),
            ));
        }
        shared::need_type(AXES, axes, &[DType::I32, DType::I64])?;
        let dims = self.dims(input, axes)?;
        Ok(vec![self.of_dims(input, axes, &dims).unwrap_or_else(|| Fact::new(input.dtype, dims))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        let is_reduced = reduced_axes(&run.ints::<MAX_RANK>(AXES).ok()?, shape.rank()).ok()?;
        let kept =
            shape.iter().zip(is_reduced).filter_map(|(dim, reduced)| match (reduced, self.keep_dims) {
                (false, _) => Some(*dim),
                (true, true) => Some(1),
                (true, false) => None,
            });
        reshape::set(run, 0, kept)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let shape = *input.shape();
        let is_reduced = reduced_axes(&run.ints::<MAX_RANK>(AXES)?, shape.rank())?;
        let mut axes = [0; MAX_RANK];
        let mut count = 0;
        for axis in (0..shape.rank()).filter(|axis| is_reduced[*axis]) {
            axes[count] = axis;
            count += 1;
        }
        let axes = &axes[..count];
        if self.op == ReduceOp::Mean
            && input.dtype() == DType::F32
            && let Some(dims) = middle_axis(&shape, axes)
        {
            let values = run.slice::<f32>(0)?;
            return Ok(mean_middle_axis(run.pool.isa(), run.pool, dims, values, run.out(0)?)?);
        }
        Ok(reduce(run.pool, self.op, axes, input, &mut run.output(0)?)?)
    }
}

/// Elements up to which a mean is added up in float32.
const FLOAT_MEAN_ELEMENTS: usize = 4096;

/// The shape as `[outer, reduced, channels]` when neighbouring axes before the last are reduced, as in global pooling.
fn middle_axis(shape: &[usize], axes: &[usize]) -> Option<[usize; 3]> {
    let (first, last) = (*axes.first()?, *axes.last()?);
    let is_middle = last - first + 1 == axes.len() && last + 1 < shape.len();
    let product = |dims: &[usize]| dims.iter().product::<usize>();
    let dims = [product(&shape[..first]), product(&shape[first..=last]), product(&shape[last + 1..])];
    (is_middle && (1..=FLOAT_MEAN_ELEMENTS).contains(&dims[1]) && dims[2] >= 8).then_some(dims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Symbol;
    use crate::testing::{bools, check, check_close, flag, operator, refuses, scalar, tensor};

    #[test]
    fn fewer_axes_than_there_can_be_leave_more() {
        let sum = operator("Sum", &[]).unwrap();
        let x = Fact::new(DType::F32, Dims::new([Dim::Known(2), Dim::Known(3)]));
        let axes = Fact { is_bound: true, ..Fact::new(DType::I32, Dims::new([Dim::Known(2)])) };
        assert_eq!(sum.infer(&[&x, &axes]).unwrap()[0].dims, x.dims);
    }

    /// An empty axis that is summed away leaves one element.
    #[test]
    fn an_axis_that_is_not_known_yet_may_be_an_empty_one() {
        let bound = |dims: &[i64], dtype| {
            let dims = Dims::new(dims.iter().map(|n| Dim::Known(*n)).collect::<Vec<_>>());
            Fact { is_bound: true, ..Fact::new(dtype, dims) }
        };
        let sum = operator("Sum", &[("keep_dims", flag(true))]).unwrap();
        let facts = sum.infer(&[&bound(&[5, 0], DType::F32), &bound(&[1], DType::I32)]).unwrap();
        assert_eq!(facts[0].dims, Dims::new([5, 1].map(Dim::Known)));
    }

    #[test]
    fn sums_over_any_axes() {
        let x = tensor(&[2, 3, 2], &(1..=12).map(|v| v as f32).collect::<Vec<_>>());
        check("Sum", &[], &[x.clone(), tensor(&[2], &[0i32, -1])], &[tensor(&[3], &[18.0f32, 26.0, 34.0])]);
        check(
            "Sum",
            &[("keep_dims", flag(true))],
            &[x.clone(), scalar(1i64)],
            &[tensor(&[2, 1, 2], &[9.0f32, 12.0, 27.0, 30.0])],
        );
        check("Max", &[], &[x.clone(), tensor::<i32>(&[0], &[])], std::slice::from_ref(&x));
        check("Mean", &[], &[x, tensor(&[3], &[0i32, 1, 2])], &[scalar(6.5f32)]);
        check("Prod", &[], &[tensor(&[0, 2], &[0i32; 0]), scalar(0i32)], &[tensor(&[2], &[1i32, 1])]);
        check(
            "All",
            &[],
            &[bools(&[2, 2], &[true, true, false, true]), scalar(1i32)],
            &[bools(&[2], &[true, false])],
        );
        check("EuclideanNorm", &[], &[tensor(&[2], &[3.0f64, 4.0]), scalar(0i32)], &[scalar(5.0f64)]);
    }

    #[test]
    fn a_global_mean_is_that_of_each_channel() {
        let values: Vec<f32> = (0..2 * 6 * 20).map(|i| (i * 7 % 23) as f32).collect();
        let mean = |i: usize, c: usize| (0..6).map(|p| values[(i * 6 + p) * 20 + c]).sum::<f32>() / 6.0;
        let expected: Vec<f32> = (0..40).map(|i| mean(i / 20, i % 20)).collect();
        let inputs = [tensor(&[2, 3, 2, 20], &values), tensor(&[2], &[1i32, 2])];
        check_close("Mean", &[], &inputs, &tensor(&[2, 20], &expected), 1e-6);
    }

    #[test]
    fn counts_the_elements_of_open_shapes() {
        let batch = Dim::of(Symbol::BATCH);
        let shape = Fact::of_dims(DType::I32, Dims::new([Dim::Known(2)]), &[batch, Dim::Known(7)]);
        let axes = Fact::of_dims(DType::I32, Dims::new([Dim::Known(1)]), &[Dim::Known(0)]);
        let facts = operator("Prod", &[]).unwrap().infer(&[&shape, &axes]).unwrap();
        assert_eq!(facts[0].dims_value().unwrap(), [batch.times(Dim::Known(7))]);
    }

    #[test]
    fn refuses_what_is_no_axis() {
        let x = tensor(&[2], &[1.0f32, 2.0]);
        refuses("Sum", &[], &[x.clone(), scalar(1i32)], "axis 1");
        refuses("Sum", &[], &[x.clone(), tensor(&[2], &[0i32, -1])], "twice");
        refuses("Sum", &[], &[bools(&[1], &[true]), scalar(0i32)], "bool");
        refuses("All", &[], &[x, scalar(0i32)], "float32");
    }
}
