//! Which of the boxes that overlap are kept: NonMaxSuppression V1 to V5, NonMaxSuppressionWithOverlaps and
//! CombinedNonMaxSuppression.
//!
//! Boxes are `[count, 4]`, two opposite corners (y, x) each in any order, with scores `[count]`; WithOverlaps is given how
//! alike they are, `[count, count]`, instead. The third input is the most boxes that are kept. What follows are thresholds:
//! how alike two boxes may be (0 to 1, V1 has it as an attribute), the least score (V3 on), and the sigma by which scores
//! are lowered instead of boxes dropped (V5). Outputs: the places of the boxes that are kept, int32, the best first, of
//! equal scores the first box; with V4 how many there are, with V5 their scores between the two. `pad_to_max_output_size`
//! fills up to the most with 0. Types: float32 and float16, thresholds (V2 to V4) either.
//!
//! CombinedNonMaxSuppression takes boxes `[batch, count, 1 or classes, 4]` and scores `[batch, count, classes]`, keeps so
//! many of each class and then so many of each image: boxes `[batch, rows, 4]`, scores and classes `[batch, rows]`, and
//! how many rows are boxes `[batch]`. All float32.
//!
//! How many boxes are kept depends on data. Memory is planned for the most, where the third input or the number of boxes
//! says it.

use half::f16;
use tightfit_core::{DType, Shape};
use tightfit_kernels::{
    CombinedOutputs, CombinedSuppression, Similarity, Suppression, combined_suppress,
    combined_suppress_scratch_bytes, suppress, suppress_scratch_bytes,
};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{agree, int_input};

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "NonMaxSuppression",
        import: |a| {
            let overlap = Some(a.float_or("iou_threshold", 0.5)?);
            Ok(Box::new(Suppress { version: Version::V1, overlap, is_padded: false }))
        },
    },
    Registration { name: "NonMaxSuppressionV2", import: |a| import(a, Version::V2) },
    Registration { name: "NonMaxSuppressionV3", import: |a| import(a, Version::V3) },
    Registration { name: "NonMaxSuppressionV4", import: |a| import(a, Version::V4) },
    Registration { name: "NonMaxSuppressionV5", import: |a| import(a, Version::V5) },
    Registration { name: "NonMaxSuppressionWithOverlaps", import: |a| import(a, Version::WithOverlaps) },
    Registration {
        name: "CombinedNonMaxSuppression",
        import: |a| {
            let (pads_per_class, clips) =
                (a.bool_or("pad_per_class", false)?, a.bool_or("clip_boxes", true)?);
            Ok(Box::new(Combined { pads_per_class, clips }))
        },
    },
];

fn import(attributes: &Attributes<'_>, version: Version) -> Result<Box<dyn Operator>, OpError> {
    let is_padded = match version {
        Version::V4 | Version::V5 => attributes.bool_or("pad_to_max_output_size", false)?,
        _ => false,
    };
    Ok(Box::new(Suppress { version, overlap: None, is_padded }))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Version {
    V1,
    V2,
    V3,
    V4,
    V5,
    WithOverlaps,
}

/// The boxes of one image.
#[derive(Debug)]
struct Suppress {
    version: Version,
    /// How alike boxes may be, where no input says it.
    overlap: Option<f32>,
    is_padded: bool,
}

/// How many something counts, where it is known.
fn count(index: usize, fact: &Fact, least: i64) -> Result<Option<i64>, OpError> {
    shared::need_type(index, fact, &[DType::I32])?;
    shared::dims_of_rank(index, fact, 0)?;
    match fact.int() {
        Some(n) if n < least => Err(OpError::input(index, format!("is {n}; at least {least} is needed"))),
        n => Ok(n),
    }
}

impl Suppress {
    /// The dimension that counts boxes, as boxes (or overlaps) and scores have it.
    fn boxes(&self, inputs: &[&Fact]) -> Result<Dim, OpError> {
        let (boxes, scores) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        let is_bound = boxes.is_bound || scores.is_bound;
        let count = shared::dims_of_rank(1, scores, 1)?.map_or(Dim::Unknown, |dims| dims[0]);
        let Some(dims) = shared::dims_of_rank(0, boxes, 2)? else { return Ok(count) };
        let columns = if self.version == Version::WithOverlaps { count } else { Dim::Known(4) };
        agree(dims[1], columns, is_bound).and_then(|_| agree(dims[0], count, is_bound)).ok_or_else(|| {
            OpError::input(0, format!("is of shape {} for scores {}", boxes.dims, scores.dims))
        })
    }

    fn check_types(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        let types: &[DType] = match self.version {
            Version::V1 | Version::WithOverlaps => &[DType::F32],
            _ => &[DType::F32, DType::F16],
        };
        shared::need_type(0, shared::input(inputs, 0)?, types)?;
        shared::need_type(1, shared::input(inputs, 1)?, &[inputs[0].dtype])?;
        for index in 3..inputs.len() {
            let own = [inputs[0].dtype];
            let types = if self.version == Version::V5 { &own[..] } else { types };
            shared::need_type(index, inputs[index], types)?;
            shared::dims_of_rank(index, inputs[index], 0)?;
        }
        Ok(())
    }

    /// A threshold, as a number of the scores' type.
    fn threshold(&self, run: &Run<'_>, input: usize, is_half: bool) -> Result<f32, OpError> {
        let value = match run.dtype(input) {
            DType::F16 => run.slice::<f16>(input)?.first().map(|x| x.to_f32()),
            _ => run.slice::<f32>(input)?.first().copied(),
        };
        let value = value.ok_or_else(|| OpError::input(input, "has no element"))?;
        Ok(if is_half { f16::from_f32(value).to_f32() } else { value })
    }

    /// What the inputs ask for.
    fn asked(&self, run: &Run<'_>) -> Result<Suppression, OpError> {
        let is_half = run.dtype(1) == DType::F16;
        let max_output = int_input(run, 2)?;
        let max_output = usize::try_from(max_output)
            .map_err(|_| OpError::input(2, format!("is {max_output}; it must not be negative")))?;
        let similarity = match self.overlap {
            Some(overlap) => overlap,
            None => self.threshold(run, 3, is_half)?,
        };
        if self.version != Version::WithOverlaps && !(0.0..=1.0).contains(&similarity) {
            let why = format!("is {similarity}; between 0 and 1 is needed");
            return Err(match self.overlap {
                Some(_) => OpError::attribute("iou_threshold", why),
                None => OpError::input(3, why),
            });
        }
        let least = if is_half { f16::MIN.to_f32() } else { f32::MIN };
        let score = if run.inputs() > 4 { self.threshold(run, 4, is_half)? } else { least };
        let sigma = if run.inputs() > 5 { self.threshold(run, 5, is_half)? } else { 0.0 };
        if sigma.is_nan() || sigma < 0.0 {
            return Err(OpError::input(5, format!("is {sigma}; it must not be negative")));
        }
        Ok(Suppression { max_output, similarity, score, sigma, is_half })
    }
}

impl Operator for Suppress {
    fn name(&self) -> &'static str {
        match self.version {
            Version::V1 => "NonMaxSuppression",
            Version::V2 => "NonMaxSuppressionV2",
            Version::V3 => "NonMaxSuppressionV3",
            Version::V4 => "NonMaxSuppressionV4",
            Version::V5 => "NonMaxSuppressionV5",
            Version::WithOverlaps => "NonMaxSuppressionWithOverlaps",
        }
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 2
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        self.check_types(inputs)?;
        let boxes = self.boxes(inputs)?;
        let max = count(2, shared::input(inputs, 2)?, 0)?;
        let list = |dtype: DType| {
            if self.is_padded {
                return Fact::new(dtype, Dims::new([max.map_or(Dim::Unknown, Dim::Known)]));
            }
            let most = match (boxes, max) {
                (Dim::Known(n), Some(max)) => Dim::Known(n.min(max)),
                (_, Some(max)) => Dim::Known(max),
                (boxes, None) => boxes,
            };
            Fact::at_most(dtype, Dims::new([most]))
        };
        let mut facts = vec![list(DType::I32)];
        if self.version == Version::V5 {
            facts.push(list(inputs[0].dtype));
        }
        if matches!(self.version, Version::V4 | Version::V5) {
            facts.push(Fact::new(DType::I32, Dims::scalar()));
        }
        Ok(facts)
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let count = call.inputs.get(1).map_or(0, |scores| scores.shape.elements());
        Memory::scratch(suppress_scratch_bytes(count, count))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        // The run finds how many there are.
        for output in 1..run.outputs() {
            if self.version == Version::V4 || output == 2 {
                run.set_output_shape(output, Shape::SCALAR).ok()?;
            }
        }
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let asked = self.asked(run)?;
        let count = run.shape(1).elements();
        let similarity = match (self.version, asked.is_half) {
            (Version::WithOverlaps, _) => Similarity::Given(run.slice(0)?),
            (_, true) => Similarity::HalfBoxes(run.slice(0)?),
            (_, false) => Similarity::Boxes(run.slice(0)?),
        };
        let scratch = run.scratch()?;
        let selected = if asked.is_half {
            let scores = run.slice::<f16>(1)?;
            suppress(&asked, similarity, |i| scores[i].to_f32(), count, scratch)?
        } else {
            let scores = run.slice::<f32>(1)?;
            suppress(&asked, similarity, |i| scores[i], count, scratch)?
        };
        let found = selected.indices.len();
        let rows = if self.is_padded { asked.max_output } else { found };
        let shape = Shape::new(&[rows])?;
        run.set_output_shape(0, shape)?;
        let indices = run.out::<i32>(0)?;
        indices[..found].copy_from_slice(selected.indices);
        indices[found..].fill(0);
        if self.version == Version::V5 {
            run.set_output_shape(1, shape)?;
            if asked.is_half {
                let scores = run.out::<f16>(1)?;
                scores.iter_mut().zip(selected.scores).for_each(|(to, from)| *to = f16::from_f32(*from));
                scores[found..].fill(f16::ZERO);
            } else {
                let scores = run.out::<f32>(1)?;
                scores[..found].copy_from_slice(selected.scores);
                scores[found..].fill(0.0);
            }
        }
        let last = run.outputs() - 1;
        if last > 0 {
            run.out::<i32>(last)?.fill(found as i32);
        }
        Ok(())
    }
}

/// The boxes of several classes and images.
#[derive(Debug)]
struct Combined {
    pads_per_class: bool,
    clips: bool,
}

impl Combined {
    /// Rows of an image in the outputs.
    fn rows(&self, per_class: i64, total: i64, classes: i64) -> i64 {
        if !self.pads_per_class {
            return total;
        }
        total.min(per_class.saturating_mul(classes).min(i32::MAX as i64))
    }

    /// Batch and classes.
    fn sizes(inputs: &[&Fact]) -> Result<[Dim; 2], OpError> {
        let (boxes, scores) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        let is_bound = boxes.is_bound || scores.is_bound;
        let of_boxes = shared::dims_of_rank(0, boxes, 4)?.unwrap_or(vec![Dim::Unknown; 4]);
        let of_scores = shared::dims_of_rank(1, scores, 3)?.unwrap_or(vec![Dim::Unknown; 3]);
        let why = || OpError::input(0, format!("is of shape {} for scores {}", boxes.dims, scores.dims));
        agree(of_boxes[3], Dim::Known(4), false).ok_or_else(why)?;
        agree(of_boxes[1], of_scores[1], is_bound).ok_or_else(why)?;
        if of_boxes[2] != Dim::Known(1) {
            agree(of_boxes[2], of_scores[2], is_bound).ok_or_else(why)?;
        }
        Ok([agree(of_boxes[0], of_scores[0], is_bound).ok_or_else(why)?, of_scores[2]])
    }

    /// What the inputs of a run ask for, where thresholds do not matter.
    fn planned(
        &self,
        boxes: &Shape,
        scores: &Shape,
        max_per_class: usize,
        rows: usize,
    ) -> CombinedSuppression {
        CombinedSuppression {
            batch: boxes[0],
            boxes: boxes[1],
            boxes_per_place: boxes[2],
            classes: scores[2],
            max_per_class,
            rows,
            similarity: 0.0,
            score: 0.0,
            clip: self.clips,
        }
    }
}

impl Operator for Combined {
    fn name(&self) -> &'static str {
        "CombinedNonMaxSuppression"
    }

    fn grows_with(&self, input: usize) -> bool {
        matches!(input, 2 | 3)
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        for index in [0, 1, 4, 5] {
            shared::need_type(index, shared::input(inputs, index)?, &[DType::F32])?;
        }
        let [batch, classes] = Combined::sizes(inputs)?;
        let per_class = count(2, shared::input(inputs, 2)?, 1)?;
        let total = count(3, shared::input(inputs, 3)?, 1)?;
        for index in [4, 5] {
            shared::dims_of_rank(index, inputs[index], 0)?;
        }
        let rows = match (per_class, total, classes) {
            (_, Some(total), _) if !self.pads_per_class => Dim::Known(total),
            (Some(per_class), Some(total), Dim::Known(classes)) => {
                Dim::Known(self.rows(per_class, total, classes))
            }
            _ => Dim::Unknown,
        };
        let row = Dims::new([batch, rows]);
        Ok(vec![
            Fact::new(DType::F32, Dims::new([batch, rows, Dim::Known(4)])),
            Fact::new(DType::F32, row.clone()),
            Fact::new(DType::F32, row),
            Fact::new(DType::I32, Dims::new([batch])),
        ])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let [boxes, scores, ..] = call.inputs else { return Memory::default() };
        let most = self.planned(&boxes.shape, &scores.shape, usize::MAX, 0);
        Memory::scratch(combined_suppress_scratch_bytes(&most, call.threads))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let [per_class, total] = [int_input(run, 2)?, int_input(run, 3)?];
        for (input, n) in [(2, per_class), (3, total)] {
            if n < 1 {
                return Err(OpError::input(input, format!("is {n}; at least 1 is needed")));
            }
        }
        let threshold = |input: usize| -> Result<f32, OpError> {
            run.slice::<f32>(input)?.first().copied().ok_or_else(|| OpError::input(input, "has no element"))
        };
        let (similarity, score) = (threshold(4)?, threshold(5)?);
        if !(0.0..=1.0).contains(&similarity) {
            return Err(OpError::input(4, format!("is {similarity}; between 0 and 1 is needed")));
        }
        let (boxes, scores) = (run.shape(0), run.shape(1));
        if per_class.min(boxes[1] as i64).saturating_mul(scores[2] as i64) > i32::MAX as i64 {
            return Err(OpError::input(2, format!("is {per_class}, too many for {} classes", scores[2])));
        }
        let rows = self.rows(per_class, total, scores[2] as i64) as usize;
        let planned = self.planned(&boxes, &scores, per_class as usize, rows);
        let what = CombinedSuppression { similarity, score, ..planned };
        let batch = what.batch;
        for (output, dims) in
            [&[batch, rows, 4][..], &[batch, rows], &[batch, rows], &[batch]].iter().enumerate()
        {
            run.set_output_shape(output, Shape::new(dims)?)?;
        }
        let scratch = run.scratch()?;
        let outputs = CombinedOutputs {
            boxes: run.out(0)?,
            scores: run.out(1)?,
            classes: run.out(2)?,
            counts: run.out(3)?,
        };
        Ok(combined_suppress(run.pool, &what, run.slice(0)?, run.slice(1)?, outputs, scratch)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use half::f16;

    const BOXES: [f32; 16] = [0.0, 0.0, 1.0, 1.0, 0.1, 0.0, 1.1, 1.0, 3.0, 3.0, 2.0, 2.0, 0.0, 0.9, 1.0, 1.9];

    #[test]
    fn every_version() {
        let (boxes, scores) = (tensor(&[4, 4], &BOXES), tensor(&[4], &[0.5f32, 0.9, 0.4, 0.5]));
        let kept = |places: &[i32]| tensor(&[places.len()], places);
        let inputs = [boxes.clone(), scores.clone(), scalar(3i32)];
        check("NonMaxSuppression", &[], &inputs, &[kept(&[1, 3, 2])]);
        check("NonMaxSuppression", &[("iou_threshold", float(0.95))], &inputs, &[kept(&[1, 0, 3])]);
        refuses("NonMaxSuppression", &[("iou_threshold", float(1.5))], &inputs, "between 0 and 1");
        let inputs = [&inputs[..], &[scalar(0.5f32)]].concat();
        check("NonMaxSuppressionV2", &[], &inputs, &[kept(&[1, 3, 2])]);
        let inputs = [&inputs[..], &[scalar(0.45f32)]].concat();
        check("NonMaxSuppressionV3", &[], &inputs, &[kept(&[1, 3])]);
        let padded = [("pad_to_max_output_size", flag(true))];
        check("NonMaxSuppressionV4", &[], &inputs, &[kept(&[1, 3]), scalar(2i32)]);
        check("NonMaxSuppressionV4", &padded, &inputs, &[kept(&[1, 3, 0]), scalar(2i32)]);
        let soft = [&inputs[..], &[scalar(0f32)]].concat();
        let best = tensor(&[3], &[0.9f32, 0.5, 0.0]);
        check("NonMaxSuppressionV5", &padded, &soft, &[kept(&[1, 3, 0]), best, scalar(2i32)]);
        let halves: Vec<f16> = BOXES.iter().map(|x| f16::from_f32(*x)).collect();
        let half_scores: Vec<f16> = [0.5, 0.9, 0.4, 0.5].map(f16::from_f32).to_vec();
        let half = [tensor(&[4, 4], &halves), tensor(&[4], &half_scores), scalar(9i32), scalar(0.5f32)];
        check("NonMaxSuppressionV2", &[], &half, &[kept(&[1, 3, 2])]);
        refuses("NonMaxSuppressionV2", &[], &[boxes, scores, scalar(-1i32), scalar(0.5f32)], "at least 0");
    }

    #[test]
    fn given_overlaps() {
        let overlaps = tensor(&[2, 2], &[1.0f32, 0.3, 0.3, 1.0]);
        let scores = tensor(&[2], &[0.1f32, 0.2]);
        let inputs =
            |overlap: f32| [overlaps.clone(), scores.clone(), scalar(5i32), scalar(overlap), scalar(0f32)];
        check("NonMaxSuppressionWithOverlaps", &[], &inputs(0.2), &[tensor(&[1], &[1i32])]);
        check("NonMaxSuppressionWithOverlaps", &[], &inputs(0.5), &[tensor(&[2], &[1i32, 0])]);
        let uneven = [overlaps, tensor(&[1], &[0.1f32]), scalar(5i32), scalar(0.2f32), scalar(0f32)];
        refuses("NonMaxSuppressionWithOverlaps", &[], &uneven, "for scores");
    }

    #[test]
    fn all_classes_of_an_image() {
        let scores = [0.9f32, 0.3, 0.8, 0.4, 0.2, 0.05, 0.0, 0.7];
        let inputs = [
            tensor(&[1, 4, 1, 4], &BOXES),
            tensor(&[1, 4, 2], &scores),
            scalar(2i32),
            scalar(3i32),
            scalar(0.5f32),
            scalar(0.1f32),
        ];
        let boxes = [[0.0f32, 0.0, 1.0, 1.0], [0.0, 0.9, 1.0, 1.0], [0.1, 0.0, 1.0, 1.0]];
        let outputs = [
            tensor(&[1, 3, 4], boxes.as_flattened()),
            tensor(&[1, 3], &[0.9f32, 0.7, 0.4]),
            tensor(&[1, 3], &[0.0f32, 1.0, 1.0]),
            tensor(&[1], &[3i32]),
        ];
        check("CombinedNonMaxSuppression", &[], &inputs, &outputs);
        let mut none = inputs;
        none[3] = scalar(0i32);
        refuses("CombinedNonMaxSuppression", &[], &none, "at least 1");
    }
}
