//! `(x - mean) / std`, by the last dimension: what pictures and features are brought to before a model sees them.

use std::sync::Arc;

use half::{bf16, f16};
use tightfit_core::{DType, MemoryBudget};

use super::cast::cast_as;
use super::{MapOp, MapWorker, Verdict, copy_fields};
use crate::error::{DataError, Needed, RowFault};
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::growing::Growing;
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::spec::StageSpec;
use crate::flow::stages::map::read_each;

/// `(x - mean) / std` of a field of numbers. Integers become float32, floats keep their type; float16 and bfloat16 are
/// computed in float32 and rounded once.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Normalise {
    /// The field.
    pub field: String,
    /// The mean of all, or one for each number along the last dimension.
    pub mean: Vec<f64>,
    /// The standard deviation, likewise.
    pub std: Vec<f64>,
}

impl Normalise {
    fn check(&self, input: &Schema) -> Result<(usize, DType), String> {
        let index = input.index(&self.field)?;
        let Some(field) = input.fields().get(index) else { return Ok((index, DType::F32)) };
        if !(field.dtype.is_float() || field.dtype.is_integer() || field.dtype == DType::Bool) {
            return Err(format!("{field} holds no numbers that could be normalised"));
        }
        let last = field.dims.last().copied().unwrap_or(Some(1));
        let fits =
            |list: &[f64]| list.len() == 1 || last.is_none_or(|last| last == list.len()) && !list.is_empty();
        if !fits(&self.mean) || !fits(&self.std) {
            let (mean, std) = (self.mean.len(), self.std.len());
            return Err(format!(
                "mean and std are to be one number, or one for each of the last dimension of {field}, not {mean} and {std}"
            ));
        }
        if self.std.contains(&0.0) {
            return Err("std is 0".to_string());
        }
        Ok((index, if field.dtype.is_float() { field.dtype } else { DType::F32 }))
    }
}

impl MapOp for Normalise {
    fn identity(&self) -> serde_json::Value {
        identity::of("normalise", self)
    }

    fn name(&self) -> String {
        format!("normalise {:?} {:?} {:?}", self.field, self.mean, self.std)
    }

    fn schema(&self, input: &Schema) -> Result<Schema, String> {
        let (index, dtype) = self.check(input)?;
        Ok(input.with(index, |field| field.dtype = dtype))
    }

    fn worker(&self, input: &Schema, budget: &MemoryBudget) -> Result<Box<dyn MapWorker>, DataError> {
        let (index, dtype) = self.check(input).map_err(DataError::Spec)?;
        let scratch = Growing::new("normalise", budget);
        let scale = Scale { mean: self.mean.clone(), std: self.std.clone() };
        Ok(Box::new(Worker { index, dtype, scale, scratch }))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let field = args.text()?.to_string();
    let mean = args.floats_option("mean")?.unwrap_or_else(|| vec![0.0]);
    let std = args.floats_option("std")?.unwrap_or_else(|| vec![1.0]);
    read_each(Normalise { field, mean, std }, args)
}

struct Worker {
    index: usize,
    dtype: DType,
    scale: Scale,
    /// Of 16-bit floats, the values as float32.
    scratch: Growing,
}

/// What is subtracted, and what is divided by.
struct Scale {
    mean: Vec<f64>,
    std: Vec<f64>,
}

impl Scale {
    /// Normalises `values`, whose last dimension is `last`.
    fn apply<T: Copy>(&self, values: &mut [T], last: usize, change: impl Fn(&mut T, f64, f64)) {
        if let ([mean], [std]) = (self.mean.as_slice(), self.std.as_slice()) {
            return values.iter_mut().for_each(|value| change(value, *mean, *std));
        }
        for row in values.chunks_exact_mut(last.max(1)) {
            let pairs = self.mean.iter().cycle().zip(self.std.iter().cycle());
            row.iter_mut().zip(pairs).for_each(|(value, (mean, std))| change(value, *mean, *std));
        }
    }
}

fn in_f32(value: &mut f32, mean: f64, std: f64) {
    *value = (*value - mean as f32) / std as f32;
}

/// Numbers that do not lie as they have to.
const MISPLACED: &str = "numbers do not lie where they can be worked on";

impl MapWorker for Worker {
    fn run(&mut self, input: &ElementView<'_>, out: &mut Element) -> Result<Verdict, RowFault> {
        copy_fields(input, 0..self.index, out)?;
        let Some(tensor) = input.tensor(self.index) else { return Ok(Verdict::Keep) };
        let shape = *tensor.shape();
        let last = shape.last().copied().unwrap_or(1);
        for list in [&self.scale.mean, &self.scale.std] {
            if list.len() != 1 && list.len() != last {
                let count = list.len();
                return Err(RowFault::Map(format!(
                    "it is {shape} and is to be normalised by {count} numbers"
                )));
            }
        }
        let made = out.add(shape)?;
        match self.dtype {
            DType::F64 => {
                made.copy_from_slice(tensor.bytes());
                let values: &mut [f64] = bytemuck::try_cast_slice_mut(made).needed(MISPLACED)?;
                self.scale.apply(values, last, |value, mean, std| *value = (*value - mean) / std);
            }
            DType::F16 | DType::BF16 => {
                self.scratch.set_used(0);
                let wide = self.scratch.grow_to(4 * shape.elements())?;
                cast_as(tensor.dtype(), tensor.bytes(), DType::F32, wide)?;
                let values: &mut [f32] = bytemuck::try_cast_slice_mut(wide).needed(MISPLACED)?;
                self.scale.apply(values, last, in_f32);
                for (to, value) in made.as_chunks_mut().0.iter_mut().zip(values) {
                    *to = match self.dtype {
                        DType::F16 => f16::from_f32(*value).to_le_bytes(),
                        _ => bf16::from_f32(*value).to_le_bytes(),
                    };
                }
            }
            _ => {
                cast_as(tensor.dtype(), tensor.bytes(), DType::F32, made)?;
                let values = bytemuck::try_cast_slice_mut(made).needed(MISPLACED)?;
                self.scale.apply(values, last, in_f32);
            }
        }
        copy_fields(input, self.index + 1..input.places().len(), out)?;
        Ok(Verdict::Keep)
    }
}
