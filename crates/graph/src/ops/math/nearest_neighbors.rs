//! NearestNeighbors: of several centres the nearest to each of several points, as models of k-means ask.
//!
//! Points `[count, numbers]` and centres `[centres, numbers]` of float32, and how many to find (int64); their places (int64) and
//! the squares of their distances, `[count, as many or all]`, the nearest first.

use tightfit_core::{DType, Shape};
use tightfit_kernels::nearest_neighbors;

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::shared;
use crate::ops::shared::extent::agree;
use crate::ops::sparse::common::{room, room_bytes};

pub(crate) const OPS: &[Registration] =
    &[Registration { name: "NearestNeighbors", import: |_| Ok(Box::new(NearestNeighbors)) }];

/// The operator.
#[derive(Debug)]
struct NearestNeighbors;

impl Operator for NearestNeighbors {
    fn name(&self) -> &'static str {
        "NearestNeighbors"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (points, centers, k) =
            (shared::input(inputs, 0)?, shared::input(inputs, 1)?, shared::input(inputs, 2)?);
        shared::need_type(0, points, &[DType::F32])?;
        shared::need_type(1, centers, &[DType::F32])?;
        shared::need_type(2, k, &[DType::I64])?;
        shared::dims_of_rank(2, k, 0)?;
        let of_points = shared::dims_of_rank(0, points, 2)?.unwrap_or(vec![Dim::Unknown; 2]);
        let of_centers = shared::dims_of_rank(1, centers, 2)?.unwrap_or(vec![Dim::Unknown; 2]);
        if agree(of_points[1], of_centers[1], points.is_bound || centers.is_bound).is_none() {
            return Err(OpError::input(
                1,
                format!("is of shape {} for points {}", centers.dims, points.dims),
            ));
        }
        let count = of_points[0];
        let made = |found: Dim| {
            vec![
                Fact::new(DType::I64, Dims::new([count, found])),
                Fact::new(DType::F32, Dims::new([count, found])),
            ]
        };
        match (k.int(), of_centers[0]) {
            (Some(k @ ..0), _) => Err(OpError::input(2, format!("is {k}; it must not be negative"))),
            (Some(k), Dim::Known(most)) if !centers.is_bound => Ok(made(Dim::Known(k.min(most)))),
            (_, most) => {
                let dims = Dims::new([count, most]);
                Ok(vec![
                    Fact::at_most_along(DType::I64, dims.clone(), 1),
                    Fact::at_most_along(DType::F32, dims, 1),
                ])
            }
        }
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let centers = call.inputs.get(1).and_then(|centers| centers.shape.first()).copied();
        Memory::scratch(room_bytes::<f32>(centers.unwrap_or(0)))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let k = usize::try_from(reshape::int(run, 2)?).ok()?;
        let found = [*run.shape(0).first()?, k.min(*run.shape(1).first()?)];
        (0..2).try_for_each(|output| reshape::set(run, output, found))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (&[count, len], &[many, _]) = (&run.shape(0)[..], &run.shape(1)[..]) else {
            return Err(OpError::Internal("points and centres of other than two dimensions"));
        };
        if count == 0 {
            return Err(OpError::input(0, "has no points"));
        }
        let k = run.ints::<1>(2)?.first().copied().unwrap_or(0);
        let k = usize::try_from(k)
            .map_err(|_| OpError::input(2, format!("is {k}; it must not be negative")))?
            .min(many);
        for output in 0..2 {
            run.set_output_shape(output, Shape::new(&[count, k])?)?;
        }
        let (halves, _) = room::<f32>(run.scratch()?, many)?;
        let given = (run.slice::<f32>(0)?, run.slice::<f32>(1)?, len);
        let (places, distances) = (run.out::<i64>(0)?, run.out::<f32>(1)?);
        Ok(nearest_neighbors(run.pool, given, halves, (places, distances), [count, k])?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refuses, scalar, tensor};

    #[test]
    fn the_nearest_first() {
        let points = tensor(&[2, 2], &[0f32, 0.0, 3.0, 4.0]);
        let centers = tensor(&[3, 2], &[3f32, 4.0, 1.0, 0.0, -1.0, 0.0]);
        let with = |k: i64| [points.clone(), centers.clone(), scalar(k)];
        let found = [tensor(&[2, 2], &[1i64, 2, 0, 1]), tensor(&[2, 2], &[1f32, 1.0, 0.0, 20.0])];
        check("NearestNeighbors", &[], &with(2), &found);
        let all =
            [tensor(&[2, 3], &[1i64, 2, 0, 0, 1, 2]), tensor(&[2, 3], &[1f32, 1.0, 25.0, 0.0, 20.0, 32.0])];
        check("NearestNeighbors", &[], &with(9), &all);
        refuses("NearestNeighbors", &[], &with(-1), "negative");
        let none = [tensor(&[0, 2], &[0f32; 0]), centers, scalar(1i64)];
        refuses("NearestNeighbors", &[], &none, "no points");
    }
}
