//! CTCGreedyDecoder: the labels that the likeliest class of each step stands for.
//!
//! Inputs: scores `[steps, sequences, classes]` of float32 or float64, and the steps of each sequence, int32. A class that
//! follows itself is one label with `merge_repeated`; `blank_index`, counted from the end where it is negative, is none.
//! Outputs: a sparse tensor of the labels, as indices `[labels, 2]`, values and shape, all int64, and the negated sum of
//! the scores that were taken, `[sequences, 1]`. There are at most as many labels as steps.

use tightfit_core::{DType, Shape};
use tightfit_kernels::{Decoded, GreedyDecoder};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[Registration { name: "CTCGreedyDecoder", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let merges = attributes.bool_or("merge_repeated", false)?;
    Ok(Box::new(Decode { merges, blank: attributes.int_or("blank_index", -1)? }))
}

/// The operator.
#[derive(Debug)]
struct Decode {
    merges: bool,
    blank: i64,
}

impl Operator for Decode {
    fn name(&self) -> &'static str {
        "CTCGreedyDecoder"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (scores, lengths) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, scores, &[DType::F32, DType::F64])?;
        shared::need_type(1, lengths, &[DType::I32])?;
        let dims = shared::dims_of_rank(0, scores, 3)?.unwrap_or(vec![Dim::Unknown; 3]);
        let count = shared::dims_of_rank(1, lengths, 1)?.map_or(Dim::Unknown, |dims| dims[0]);
        let is_bound = scores.is_bound || lengths.is_bound;
        let sequences = match (dims[1].known(), count.known()) {
            (Some(a), Some(b)) if a != b && !is_bound => {
                return Err(OpError::input(1, format!("has {b} lengths for {a} sequences")));
            }
            (None, Some(_)) => count,
            _ => dims[1],
        };
        let most = dims[0].times(sequences);
        Ok(vec![
            Fact::at_most_along(DType::I64, Dims::new([most, Dim::Known(2)]), 0),
            Fact::at_most(DType::I64, Dims::new([most])),
            Fact::new(DType::I64, Dims::new([Dim::Known(2)])),
            Fact::new(scores.dtype, Dims::new([sequences, Dim::Known(1)])),
        ])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        // Room for as many labels as there can be: how many there are says what the outputs' shapes are.
        let most = call.inputs.first().map_or(0, |scores| scores.shape.iter().take(2).product::<usize>());
        Memory::scratch(most.saturating_mul(3 * size_of::<i64>()))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let scores = run.shape(0);
        let [steps, sequences, classes] = scores[..] else {
            return Err(OpError::input(0, format!("is of shape {scores}, not [steps, sequences, classes]")));
        };
        let lengths = run.slice::<i32>(1)?;
        if lengths.len() != sequences {
            return Err(OpError::input(
                1,
                format!("has {} lengths for {sequences} sequences", lengths.len()),
            ));
        }
        if let Some(length) = lengths.iter().find(|length| **length > 0 && **length as usize > steps) {
            return Err(OpError::input(1, format!("has the length {length} where there are {steps} steps")));
        }
        let blank = if self.blank < 0 { self.blank + classes as i64 } else { self.blank };
        let blank = usize::try_from(blank).ok().filter(|blank| *blank < classes).ok_or_else(|| {
            OpError::attribute("blank_index", format!("is {}, where there are {classes} classes", self.blank))
        })?;
        let decoder = GreedyDecoder { blank, merges: self.merges };
        let (indices, labels) = run.scratch_of::<i64>()?.split_at_mut(2 * steps * sequences);
        let to = Decoded { indices: &mut *indices, labels: &mut *labels };
        run.set_output_shape(2, Shape::new(&[2])?)?;
        run.set_output_shape(3, Shape::new(&[sequences, 1])?)?;
        let (found, longest) = decoder.decode(run.input(0)?, lengths, to, &mut run.output(3)?)?;
        run.set_output_shape(0, Shape::new(&[found, 2])?)?;
        run.set_output_shape(1, Shape::new(&[found])?)?;
        run.out::<i64>(0)?.copy_from_slice(&indices[..2 * found]);
        run.out::<i64>(1)?.copy_from_slice(&labels[..found]);
        run.out::<i64>(2)?.copy_from_slice(&[sequences as i64, longest as i64]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tensor, check, flag, int, refuses, refuses_as_it_runs, tensor};

    /// Two sequences whose steps are surely of these classes.
    fn scores(classes: [[usize; 4]; 2]) -> Tensor {
        let sure =
            |step: usize, sequence: usize, class: usize| (classes[sequence][step] == class) as u8 as f32;
        let values: Vec<f32> = (0..24).map(|at| sure(at / 6, at / 3 % 2, at % 3)).collect();
        tensor(&[4, 2, 3], &values)
    }

    #[test]
    fn blanks_are_dropped_and_repetitions_where_asked() {
        let inputs = [scores([[0, 0, 2, 0], [1, 2, 2, 2]]), tensor(&[2], &[4i32, 2])];
        let all = [
            tensor(&[4, 2], &[0i64, 0, 0, 1, 0, 2, 1, 0]),
            tensor(&[4], &[0i64, 0, 0, 1]),
            tensor(&[2], &[2i64, 3]),
            tensor(&[2, 1], &[-4.0f32, -2.0]),
        ];
        check("CTCGreedyDecoder", &[], &inputs, &all);
        let merged = [
            tensor(&[3, 2], &[0i64, 0, 0, 1, 1, 0]),
            tensor(&[3], &[0i64, 0, 1]),
            tensor(&[2], &[2i64, 2]),
            all[3].clone(),
        ];
        check("CTCGreedyDecoder", &[("merge_repeated", flag(true))], &inputs, &merged);
        let blank = [("blank_index", int(0)), ("merge_repeated", flag(true))];
        let others = [
            tensor(&[3, 2], &[0i64, 0, 1, 0, 1, 1]),
            tensor(&[3], &[2i64, 1, 2]),
            tensor(&[2], &[2i64, 2]),
            all[3].clone(),
        ];
        check("CTCGreedyDecoder", &blank, &inputs, &others);
        let long = [inputs[0].clone(), tensor(&[2], &[4i32, 5])];
        refuses_as_it_runs("CTCGreedyDecoder", &[], &long, "the length 5");
        refuses("CTCGreedyDecoder", &[("blank_index", int(3))], &inputs, "3 classes");
    }
}
