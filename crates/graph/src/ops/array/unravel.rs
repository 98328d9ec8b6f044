//! UnravelIndex: the place on each axis of a tensor for places in the list of its elements.
//!
//! Inputs: places, a scalar or a vector, and the tensor's dimensions, a vector; both int32 or int64. Output: `[axes]` or
//! `[axes, places]`. No places, one beyond the tensor, and more places than their type counts are refused as the model runs; a
//! negative one is divided by the dimensions as others are, towards 0, as in TensorFlow.

use tightfit_core::{DType, MAX_RANK};
use tightfit_kernels::unravel_index;

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::{OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::{need_index_type, vector_len};

pub(crate) const OPS: &[Registration] =
    &[Registration { name: "UnravelIndex", import: |_| Ok(Box::new(UnravelIndex)) }];

/// The operator.
#[derive(Debug)]
struct UnravelIndex;

impl Operator for UnravelIndex {
    fn name(&self) -> &'static str {
        "UnravelIndex"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (places, dims) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        need_index_type(0, places)?;
        shared::need_type(1, dims, &[places.dtype])?;
        let axes = match vector_len(1, dims)? {
            Some(axes) => Dim::Known(axes as i64),
            None => Dim::Unknown,
        };
        let dims = match places.dims.get() {
            None => Dims::UNKNOWN,
            Some([]) => Dims::new([axes]),
            Some([count]) => Dims::new([axes, *count]),
            Some(_) => {
                return Err(OpError::input(
                    0,
                    format!("is of shape {}; a scalar or a vector is needed", places.dims),
                ));
            }
        };
        Ok(vec![Fact::new(places.dtype, dims)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (places, dims) = (run.shape(0), run.shape(1));
        reshape::set(run, 0, dims.iter().chain(places.iter()).copied())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if run.shape(0).elements() == 0 {
            return Err(OpError::input(0, "has no elements"));
        }
        let asked = run.ints::<MAX_RANK>(1)?;
        let mut dims = [0; MAX_RANK];
        for (to, dim) in dims.iter_mut().zip(asked.iter()) {
            *to = usize::try_from(*dim).ok().filter(|dim| *dim > 0).ok_or_else(|| {
                OpError::input(1, format!("is {:?}; dimensions of at least 1 are needed", &*asked))
            })?;
        }
        let dims = &dims[..asked.len()];
        let most = if run.dtype(0) == DType::I32 { i32::MAX as i64 } else { i64::MAX };
        let elements = asked.iter().try_fold(1i64, |product, dim| product.checked_mul(*dim));
        if elements.is_none_or(|elements| elements > most) {
            return Err(OpError::input(
                1,
                format!("is {:?}: {} cannot count that many places", &*asked, run.dtype(0)),
            ));
        }
        let outside = match run.dtype(0) {
            DType::I32 => unravel_index(dims, run.slice::<i32>(0)?, run.out(0)?)?,
            _ => unravel_index(dims, run.slice::<i64>(0)?, run.out(0)?)?,
        };
        match outside {
            None => Ok(()),
            Some(at) => Err(OpError::input(0, format!("names a place outside of {dims:?} at {at}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refuses, refuses_as_it_runs, scalar, tensor};

    #[test]
    fn places_on_each_axis() {
        let dims = tensor(&[3], &[2i32, 3, 4]);
        let places = tensor(&[2], &[23i32, 5]);
        check("UnravelIndex", &[], &[places, dims.clone()], &[tensor(&[3, 2], &[1i32, 0, 2, 1, 3, 1])]);
        check("UnravelIndex", &[], &[scalar(13i32), dims.clone()], &[tensor(&[3], &[1i32, 0, 1])]);
        let none = [tensor(&[0], &[0i32; 0]), dims.clone()];
        refuses_as_it_runs("UnravelIndex", &[], &none, "no elements");
        let beyond = [scalar(24i32), dims.clone()];
        refuses_as_it_runs("UnravelIndex", &[], &beyond, "outside of [2, 3, 4] at 0");
        let wide = [scalar(1i32), tensor(&[2], &[i32::MAX, 3])];
        refuses_as_it_runs("UnravelIndex", &[], &wide, "int32 cannot count");
        let none = [scalar(1i32), tensor(&[3], &[i32::MAX, 3, 0])];
        refuses_as_it_runs("UnravelIndex", &[], &none, "at least 1");
        let wide = tensor(&[2], &[i32::MAX as i64, 3]);
        check("UnravelIndex", &[], &[scalar(4i64), wide], &[tensor(&[2], &[1i64, 1])]);
        check("UnravelIndex", &[], &[scalar(-1i32), dims.clone()], &[tensor(&[3], &[0i32, 0, -1])]);
        let square = tensor(&[2], &[7i32, 7]);
        check("UnravelIndex", &[], &[scalar(i32::MIN), square], &[tensor(&[2], &[-6i32, -2])]);
        refuses("UnravelIndex", &[], &[tensor(&[1, 1], &[1i32]), dims], "a scalar or a vector");
    }
}
