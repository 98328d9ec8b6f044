//! Pools to a size that is no whole part of the input's: FractionalMaxPool and FractionalAvgPool.
//!
//! `[batch, height, width, channels]` of float32, float64, int32 or int64 becomes `[batch, height / r, width / r, channels]`,
//! rounded down, with the numbers of `pooling_ratio`, at least 1, and 1 for batch and channels. Windows are of two sizes, whose
//! order is drawn: with `pseudo_random` a start alone. The other outputs are where windows begin along both axes (int64),
//! with the end after them; with `overlapping` a window has the first line of the next one too. With `deterministic` the
//! windows are TensorFlow's for the seeds, and the same in each run.

use tightfit_core::{DType, Shape};
use tightfit_kernels::{FractionalPool, Philox, fractional_edges};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "FractionalMaxPool", import: |a| import(a, false) },
    Registration { name: "FractionalAvgPool", import: |a| import(a, true) },
];

fn import(attributes: &Attributes<'_>, is_mean: bool) -> Result<Box<dyn Operator>, OpError> {
    let wrong = |why: String| OpError::attribute("pooling_ratio", why);
    let ratios = attributes.floats("pooling_ratio")?;
    let &[batch, rows, columns, channels] = &ratios[..] else {
        return Err(wrong(format!("has {} numbers; 4 are needed", ratios.len())));
    };
    if batch != 1.0 || channels != 1.0 {
        return Err(wrong(format!("is {ratios:?}; batch and channels are not pooled")));
    }
    if !(rows >= 1.0 && columns >= 1.0) {
        return Err(wrong(format!("is {ratios:?}; numbers of at least 1 are needed")));
    }
    let seeds = [attributes.int_or("seed", 0)?, attributes.int_or("seed2", 0)?];
    let is_fixed = attributes.bool_or("deterministic", false)?;
    let seeds = match (is_fixed, seeds) {
        (true, [0, 0]) => Some([tightfit_format::random(), tightfit_format::random()]),
        (true, seeds) => Some(seeds.map(|seed| seed as u64)),
        (false, [0, 0]) => None,
        (false, _) => return Err(OpError::attribute("seed", "must be 0 where deterministic is false")),
    };
    Ok(Box::new(Pool {
        is_mean,
        ratios: [rows, columns],
        is_pseudo: attributes.bool_or("pseudo_random", false)?,
        overlaps: attributes.bool_or("overlapping", false)?,
        seeds,
    }))
}

/// The operator.
#[derive(Debug)]
struct Pool {
    is_mean: bool,
    /// Down and across.
    ratios: [f32; 2],
    is_pseudo: bool,
    overlaps: bool,
    /// `None` where windows are drawn anew in each run.
    seeds: Option<[u64; 2]>,
}

impl Pool {
    /// How many windows there are along an axis.
    fn count(&self, axis: usize, size: usize) -> usize {
        (size as f32 / self.ratios[axis]).floor() as usize
    }
}

fn less_than_a_window(shape: &dyn std::fmt::Display) -> OpError {
    OpError::input(0, format!("is of shape {shape}, less than a window"))
}

impl Operator for Pool {
    fn name(&self) -> &'static str {
        if self.is_mean { "FractionalAvgPool" } else { "FractionalMaxPool" }
    }

    fn is_pure(&self) -> bool {
        self.seeds.is_some()
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::F32, DType::F64, DType::I32, DType::I64])?;
        let dims = shared::dims_of_rank(0, input, 4)?.unwrap_or(vec![Dim::Unknown; 4]);
        let mut counts = [Dim::Unknown; 2];
        for (axis, count) in counts.iter_mut().enumerate() {
            if let Some(size) = dims[axis + 1].size() {
                let windows = self.count(axis, size);
                if windows == 0 && !input.is_bound {
                    return Err(less_than_a_window(&input.dims));
                }
                *count = Dim::Known(windows as i64);
            }
        }
        let edges = |count: Dim| Fact::new(DType::I64, Dims::new([count.plus(Dim::Known(1))]));
        Ok(vec![
            Fact::new(input.dtype, Dims::new([dims[0], counts[0], counts[1], dims[3]])),
            edges(counts[0]),
            edges(counts[1]),
        ])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let &[batch, rows, columns, channels] = &run.shape(0)[..] else { return None };
        let counts = [self.count(0, rows), self.count(1, columns)];
        (!counts.contains(&0)).then_some(())?;
        reshape::set(run, 0, [batch, counts[0], counts[1], channels])?;
        reshape::set(run, 1, [counts[0] + 1])?;
        reshape::set(run, 2, [counts[1] + 1])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let &[batch, rows, columns, channels] = &input.shape()[..] else {
            return Err(OpError::input(0, format!("is of shape {}; rank 4 is needed", input.shape())));
        };
        if input.shape().elements() == 0 {
            return Err(less_than_a_window(input.shape()));
        }
        let counts = [self.count(0, rows), self.count(1, columns)];
        run.set_output_shape(0, Shape::new(&[batch, counts[0], counts[1], channels])?)?;
        run.set_output_shape(1, Shape::new(&[counts[0] + 1])?)?;
        run.set_output_shape(2, Shape::new(&[counts[1] + 1])?)?;
        let [seed, seed2] =
            self.seeds.unwrap_or_else(|| [tightfit_format::random(), tightfit_format::random()]);
        let mut draws = Philox::of_seeds(seed, seed2);
        let (row_edges, column_edges) = (run.out::<i64>(1)?, run.out::<i64>(2)?);
        fractional_edges(rows, self.is_pseudo, &mut draws, row_edges)?;
        fractional_edges(columns, self.is_pseudo, &mut draws, column_edges)?;
        let pool = FractionalPool {
            shape: [batch, rows, columns, channels],
            rows: row_edges,
            columns: column_edges,
            overlaps: self.overlaps,
            is_mean: self.is_mean,
        };
        match input.dtype() {
            DType::F64 => pool.run(run.slice::<f64>(0)?, run.out(0)?)?,
            DType::I32 => pool.run(run.slice::<i32>(0)?, run.out(0)?)?,
            DType::I64 => pool.run(run.slice::<i64>(0)?, run.out(0)?)?,
            _ => pool.run(run.slice::<f32>(0)?, run.out(0)?)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, flag, int, refuses, tensor};
    use tightfit_format::{AttrValue, ListValue};

    #[test]
    fn whole_ratios_have_windows_of_one_size() {
        let ratio = |n: f32| ("pooling_ratio", AttrValue::List(ListValue::Floats(vec![1.0, n, n, 1.0])));
        let input = [tensor(&[1, 2, 4, 1], &[1i32, 2, 3, 4, 5, 6, 7, 8])];
        let edges = [tensor(&[2], &[0i64, 2]), tensor(&[3], &[0i64, 2, 4])];
        let largest = [&[tensor(&[1, 1, 2, 1], &[6i32, 8])], &edges[..]].concat();
        check("FractionalMaxPool", &[ratio(2.0)], &input, &largest);
        let means = [&[tensor(&[1, 1, 2, 1], &[3i32, 5])], &edges[..]].concat();
        check("FractionalAvgPool", &[ratio(2.0), ("deterministic", flag(true))], &input, &means);
        refuses("FractionalMaxPool", &[ratio(0.5)], &input, "at least 1");
        refuses("FractionalMaxPool", &[ratio(3.0)], &input, "less than a window");
        refuses("FractionalMaxPool", &[ratio(2.0), ("seed", int(1))], &input, "deterministic is false");
    }

    #[test]
    fn a_batch_of_none_is_less_than_a_window() {
        let ratios = AttrValue::List(ListValue::Floats(vec![1.0, 2.0, 2.0, 1.0]));
        let none = tensor::<f32>(&[0, 4, 4, 1], &[]);
        refuses(
            "FractionalMaxPool",
            &[("pooling_ratio", ratios), ("deterministic", flag(true)), ("seed", int(1))],
            &[none],
            "less than a window",
        );
    }
}
