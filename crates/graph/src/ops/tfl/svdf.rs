//! tfl.svdf: a layer of filters over the features of a step and over the last steps, in integers.
//!
//! int8 `[batch, inputs]` to `[batch, units]`. Besides the input it takes the weights of features, int8 `[filters, inputs]`, those
//! of time, int16 `[filters, steps]`, the memory, int16 `[batch, filters * steps]`, and, where there is one, a bias of int32 for each
//! unit. `rank` filters belong to a unit. `input_scale` and `input_zero_point` have a number for each input but the bias. Besides the
//! output there is the memory after the step. An activation is in the output's range alone.

use tightfit_core::DType;
use tightfit_kernels::{Affine, AffineSvdf, Multiplier};

use super::affine;
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[Registration { name: "tfl.svdf", import }];

const FEATURE: usize = 1;
const TIME: usize = 2;
const MEMORY: usize = 3;
const BIAS: usize = 4;

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let rank = attributes.int_or("rank", 1)?;
    let rank = usize::try_from(rank).ok().filter(|rank| *rank > 0);
    let [input, feature, time, memory] = [0, FEATURE, TIME, MEMORY].map(|at| affine::input(attributes, at));
    Ok(Box::new(Svdf {
        rank: rank.ok_or(OpError::attribute("rank", "is no positive number"))?,
        input: input?,
        weight_scales: [feature?.scale, time?.scale],
        memory_scale: memory?.scale,
        output: affine::output(attributes)?,
    }))
}

/// The operator.
#[derive(Debug)]
struct Svdf {
    rank: usize,
    input: Affine,
    /// Of features and of time.
    weight_scales: [f32; 2],
    memory_scale: f32,
    output: Affine,
}

impl Operator for Svdf {
    fn name(&self) -> &'static str {
        "tfl.svdf"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let types = [DType::I8, DType::I8, DType::I16, DType::I16, DType::I32];
        for (index, (input, dtype)) in inputs.iter().zip(types).enumerate() {
            shared::need_type(index, input, &[dtype])?;
        }
        let memory = shared::input(inputs, MEMORY)?.dims.clone();
        let rows =
            shared::dims_of_rank(0, shared::input(inputs, 0)?, 2)?.map_or(Dim::Unknown, |dims| dims[0]);
        let features = shared::dims_of_rank(FEATURE, shared::input(inputs, FEATURE)?, 2)?;
        let filters = features.and_then(|dims| dims[0].size());
        if let Some(filters) = filters.filter(|filters| filters % self.rank != 0) {
            let why = format!("is {}, which does not divide {filters} filters", self.rank);
            return Err(OpError::attribute("rank", why));
        }
        let units = filters.map_or(Dim::Unknown, |filters| Dim::Known((filters / self.rank) as i64));
        Ok(vec![Fact::new(DType::I8, Dims::new([rows, units])), Fact::new(DType::I16, memory)])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let inputs = call.inputs[0].shape.last().copied().unwrap_or(0);
        Memory::scratch(AffineSvdf::scratch_bytes(inputs))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let of_rank_2 = |shape: &[usize]| {
            <[usize; 2]>::try_from(shape)
                .map_err(|_| OpError::Internal("an input of an SVDF that is no matrix"))
        };
        let [rows, inputs] = of_rank_2(&run.shape(0))?;
        let [filters, steps] = of_rank_2(&run.shape(TIME))?;
        let [feature, time] = self.weight_scales;
        // Floats are multiplied as TFLite multiplies them.
        let to_memory = Multiplier::of((self.input.scale * feature / self.memory_scale) as f64);
        let to_output = Multiplier::of((self.memory_scale * time / self.output.scale) as f64);
        let bias = if run.inputs() > BIAS { Some(run.slice::<i32>(BIAS)?) } else { None };
        let svdf = AffineSvdf {
            size: [rows, inputs, filters / self.rank, self.rank, steps],
            feature: run.input(FEATURE)?.bytes(),
            time: run.slice::<i16>(TIME)?,
            bias,
            input_zero: self.input.zero,
            to_memory,
            to_output: (to_output, self.output.zero),
        };
        let (input, before) = (run.input(0)?, run.slice::<i16>(MEMORY)?);
        let (output, memory, scratch) = (run.out_bytes(0)?, run.out::<i16>(1)?, run.scratch()?);
        if before.len() != memory.len() {
            return Err(OpError::Internal("the memory of an SVDF is of two sizes"));
        }
        memory.copy_from_slice(before);
        Ok(svdf.run(run.pool, input.bytes(), memory, output, scratch)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{floats, int, refuses, run, tensor};

    #[test]
    fn a_step_is_remembered() {
        let attributes = [
            ("rank", int(2)),
            ("input_scale", floats(&[0.5, 0.5, 0.25, 0.125])),
            ("output_scale", floats(&[0.0625])),
        ];
        let inputs = [
            tensor(&[1, 2], &[3i8, 1]),
            tensor(&[2, 2], &[1i8, 1, 1, -1]),
            tensor(&[2, 2], &[1i16, 2, 0, -1]),
            tensor(&[1, 4], &[5i16, 7, 1, 3]),
            tensor(&[1], &[10i32]),
        ];
        // The memory holds twice the sums: 8 and 4. (10 + 7 + 16 - 4) / 2 = 14.5, rounded up.
        let outputs = run("tfl.svdf", &attributes, &inputs).unwrap();
        assert_eq!(outputs[0].values::<i8>(), [15]);
        assert_eq!(outputs[1].values::<i16>(), [7, 8, 3, 4]);
        let mut odd = attributes.clone();
        odd[0].1 = int(3);
        refuses("tfl.svdf", &odd, &inputs, "does not divide 2 filters");
    }
}
