//! Labels from what a network says of each step: CTCGreedyDecoder and CTCBeamSearchDecoder, and how unlikely they are:
//! CTCLoss.
//!
//! Logits `[steps, batch, classes]` of float32 or float64 and how many steps each sequence has (int32 `[batch]`) become
//! sparse tensors `[batch, longest]` of int64 labels. The greedy one takes the likeliest class of each step but
//! `blank_index` (negative ones count from the end), equal ones one after another once with `merge_repeated`; its second
//! result, `[batch, 1]`, is the negated sum of the largest logits. The beam follows `beam_width` sequences at once, the last
//! class as blank, and gives the `top_paths` likeliest with the logarithms of their probabilities, `[batch, top_paths]`.
//! CTCLoss takes the labels of each sequence as rows of a sparse matrix (indices int64 `[count, 2]`, values int32) before the
//! lengths, and gives the loss of each, `[batch]`, and its gradient by the logits.

use tightfit_core::{DType, Shape};
use tightfit_kernels::{CtcBeam, CtcLogits, CtcLoss, CtcSequence, PathLabels};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::agree;
use crate::ops::sparse::common::{at_most_rows, room, room_bytes};

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "CTCGreedyDecoder",
        import: |a| {
            let (merges, blank) = (a.bool_or("merge_repeated", false)?, a.int_or("blank_index", -1)?);
            Ok(Box::new(Greedy { merges, blank }))
        },
    },
    Registration { name: "CTCBeamSearchDecoder", import: import_beam },
    Registration {
        name: "CTCLoss",
        import: |a| {
            let collapses = a.bool_or("preprocess_collapse_repeated", false)?;
            let merges = a.bool_or("ctc_merge_repeated", true)?;
            let skips_longer = a.bool_or("ignore_longer_outputs_than_inputs", false)?;
            Ok(Box::new(Loss { loss: CtcLoss { collapses, merges, skips_longer } }))
        },
    },
];

fn import_beam(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (width, paths) = (attributes.count("beam_width")?, attributes.outputs("top_paths")?);
    if paths > width {
        let why = format!("is {paths}, more than the {width} sequences of the beam");
        return Err(OpError::attribute("top_paths", why));
    }
    Ok(Box::new(Beam { width, paths, merges: attributes.bool_or("merge_repeated", true)? }))
}

/// Steps, sequences and classes, as far as they are known, and the type; `at` is the number of the input with lengths.
fn infer_inputs(inputs: &[&Fact], at: usize) -> Result<([Dim; 3], DType), OpError> {
    let (logits, lengths) = (shared::input(inputs, 0)?, shared::input(inputs, at)?);
    shared::need_type(0, logits, &[DType::F32, DType::F64])?;
    shared::need_type(at, lengths, &[DType::I32])?;
    let dims = shared::dims_of_rank(0, logits, 3)?.unwrap_or(vec![Dim::Unknown; 3]);
    let count = shared::dims_of_rank(at, lengths, 1)?.map_or(Dim::Unknown, |dims| dims[0]);
    let batch = agree(dims[1], count, logits.is_bound || lengths.is_bound).ok_or_else(|| {
        OpError::input(at, format!("is of shape {} for logits {}", lengths.dims, logits.dims))
    })?;
    Ok(([dims[0], batch, dims[2]], logits.dtype))
}

/// What the sequences of a run are.
#[derive(Clone, Copy)]
struct Sequences<'a> {
    logits: CtcLogits<'a>,
    lengths: &'a [i32],
    steps: usize,
    classes: usize,
}

impl<'a> Sequences<'a> {
    /// Of logits, and of lengths that are input `at`.
    fn of(run: &Run<'a>, at: usize) -> Result<Sequences<'a>, OpError> {
        let [steps, batch, classes] = run.shape(0)[..] else {
            return Err(OpError::input(0, "is not of rank 3"));
        };
        let lengths = run.slice::<i32>(at)?;
        if lengths.len() != batch {
            return Err(OpError::input(at, format!("has {} lengths for {batch} sequences", lengths.len())));
        }
        if steps == 0 || batch == 0 || classes == 0 {
            return Err(OpError::input(0, "has no steps, no sequences or no classes"));
        }
        if let Some(long) = lengths.iter().find(|length| i64::from(**length) > steps as i64) {
            return Err(OpError::input(at, format!("has a sequence of {long} steps; there are {steps}")));
        }
        let logits = match run.dtype(0) {
            DType::F64 => CtcLogits::F64(run.slice(0)?),
            _ => CtcLogits::F32(run.slice(0)?),
        };
        Ok(Sequences { logits, lengths, steps, classes })
    }

    fn batch(&self) -> usize {
        self.lengths.len()
    }

    fn get(&self, index: usize) -> CtcSequence<'a> {
        let steps = usize::try_from(self.lengths[index]).unwrap_or(0);
        CtcSequence { logits: self.logits, batch: self.batch(), classes: self.classes, index, steps }
    }
}

/// Writes a sparse tensor of labels, of which `sequence` gives those of each sequence.
fn write_labels<'l>(
    run: &mut Run<'_>,
    [indices, values, shape]: [usize; 3],
    batch: usize,
    sequence: impl Fn(usize) -> &'l [u32],
) -> Result<(), OpError> {
    let count = (0..batch).map(|index| sequence(index).len()).sum();
    let longest = (0..batch).map(|index| sequence(index).len()).max().unwrap_or(0);
    run.set_output_shape(indices, Shape::new(&[count, 2])?)?;
    run.set_output_shape(values, Shape::new(&[count])?)?;
    let mut rows = run.out::<i64>(indices)?.chunks_exact_mut(2).zip(run.out::<i64>(values)?);
    for index in 0..batch {
        for ((place, label), (row, value)) in sequence(index).iter().enumerate().zip(&mut rows) {
            row.copy_from_slice(&[index as i64, place as i64]);
            *value = i64::from(*label);
        }
    }
    run.set_output_shape(shape, Shape::new(&[2])?)?;
    run.out::<i64>(shape)?.copy_from_slice(&[batch as i64, longest as i64]);
    Ok(())
}

/// Writes numbers to an output of float32 or float64.
fn write_numbers(run: &mut Run<'_>, output: usize, numbers: &[f64]) -> Result<(), OpError> {
    match run.output_dtype(output) {
        DType::F64 => run.out::<f64>(output)?.copy_from_slice(numbers),
        _ => run.out::<f32>(output)?.iter_mut().zip(numbers).for_each(|(to, from)| *to = *from as f32),
    }
    Ok(())
}

/// The fact of one sparse tensor of labels.
fn labels_facts(most: Dim) -> [Fact; 3] {
    [
        at_most_rows(DType::I64, most, &[Dim::Known(2)]),
        at_most_rows(DType::I64, most, &[]),
        Fact::new(DType::I64, Dims::new([Dim::Known(2)])),
    ]
}

/// CTCGreedyDecoder.
#[derive(Debug)]
struct Greedy {
    merges: bool,
    blank: i64,
}

impl Operator for Greedy {
    fn name(&self) -> &'static str {
        "CTCGreedyDecoder"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let ([steps, batch, _], dtype) = infer_inputs(inputs, 1)?;
        let sums = Fact::new(dtype, Dims::new([batch, Dim::Known(1)]));
        Ok(labels_facts(steps.times(batch)).into_iter().chain([sums]).collect())
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let Some([steps, batch, _]) = call.inputs.first().map(|info| &info.shape[..]) else {
            return Memory::default();
        };
        Memory::scratch(scratch_bytes(*steps, *batch, 1))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let batch = *run.shape(0).get(1)?;
        reshape::set(run, 3, [batch, 1])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let sequences = Sequences::of(run, 1)?;
        let classes = sequences.classes as i64;
        let blank = if self.blank < 0 { self.blank.saturating_add(classes) } else { self.blank };
        let blank = usize::try_from(blank).ok().filter(|blank| *blank < sequences.classes);
        let blank = blank.ok_or_else(|| {
            OpError::attribute("blank_index", format!("is {}, none of {classes} classes", self.blank))
        })?;
        let (steps, batch) = (sequences.steps, sequences.batch());
        let found = Found::new(run.scratch()?, steps, batch, 1)?;
        for index in 0..batch {
            let mut count = 0;
            let labels = &mut found.labels[index * steps..][..steps];
            let sum = sequences.get(index).greedy(blank, self.merges, &mut |label| {
                if let Some(to) = labels.get_mut(count) {
                    *to = label as u32;
                }
                count += 1;
            })?;
            found.counts[index] = count as u32;
            found.chances[index] = sum;
        }
        run.set_output_shape(3, Shape::new(&[batch, 1])?)?;
        write_numbers(run, 3, found.chances)?;
        write_labels(run, [0, 1, 2], batch, |index| found.path(index, 0))
    }
}

/// What was found, in scratch: labels, how many there are of each path, and a number for each.
struct Found<'s> {
    labels: &'s mut [u32],
    counts: &'s mut [u32],
    chances: &'s mut [f64],
    rest: &'s mut [u8],
    steps: usize,
    paths: usize,
}

fn scratch_bytes(steps: usize, batch: usize, paths: usize) -> usize {
    let all = batch.saturating_mul(paths);
    room_bytes::<u32>(all.saturating_mul(steps))
        .saturating_add(room_bytes::<u32>(all))
        .saturating_add(room_bytes::<f64>(all))
}

impl<'s> Found<'s> {
    fn new(scratch: &'s mut [u8], steps: usize, batch: usize, paths: usize) -> Result<Found<'s>, OpError> {
        let (chances, rest) = room(scratch, batch * paths)?;
        let (labels, rest) = room(rest, batch * paths * steps)?;
        let (counts, rest) = room(rest, batch * paths)?;
        Ok(Found { labels, counts, chances, rest, steps, paths })
    }

    fn path(&self, index: usize, path: usize) -> &[u32] {
        let at = index * self.paths + path;
        let own = self.labels.get(at * self.steps..(at + 1) * self.steps).unwrap_or_default();
        own.get(..self.counts[at] as usize).unwrap_or_default()
    }
}

/// CTCBeamSearchDecoder.
#[derive(Debug)]
struct Beam {
    width: usize,
    paths: usize,
    merges: bool,
}

impl Beam {
    fn beam(&self) -> CtcBeam {
        CtcBeam { width: self.width, paths: self.paths, merges: self.merges }
    }
}

impl Operator for Beam {
    fn name(&self) -> &'static str {
        "CTCBeamSearchDecoder"
    }

    fn max_outputs(&self, _: usize) -> usize {
        self.paths.saturating_mul(3).saturating_add(1)
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let ([steps, batch, _], dtype) = infer_inputs(inputs, 1)?;
        let facts = labels_facts(steps.times(batch));
        let mut all = Vec::with_capacity(self.max_outputs(0));
        for fact in facts {
            all.extend(std::iter::repeat_n(fact, self.paths));
        }
        all.push(Fact::new(dtype, Dims::new([batch, Dim::Known(self.paths as i64)])));
        Ok(all)
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let Some([steps, batch, _]) = call.inputs.first().map(|info| &info.shape[..]) else {
            return Memory::default();
        };
        let found = scratch_bytes(*steps, *batch, self.paths);
        Memory::scratch(found.saturating_add(self.beam().scratch_bytes(*steps)))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let batch = *run.shape(0).get(1)?;
        reshape::set(run, 3 * self.paths, [batch, self.paths])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let sequences = Sequences::of(run, 1)?;
        let (steps, batch, paths) = (sequences.steps, sequences.batch(), self.paths);
        let Found { labels, counts, chances, rest, .. } = Found::new(run.scratch()?, steps, batch, paths)?;
        for index in 0..batch {
            let mut keep = |path: usize, chance: f64, each: &PathLabels<'_>| {
                let at = index * paths + path;
                let (own, mut count) = (&mut labels[at * steps..][..steps], 0);
                each(&mut |label| {
                    if let Some(to) = own.get_mut(count) {
                        *to = label as u32;
                    }
                    count += 1;
                });
                own[..count.min(steps)].reverse();
                counts[at] = count as u32;
                chances[at] = chance;
            };
            sequences.get(index).beam(self.beam(), rest, &mut keep)?;
        }
        let found = Found { labels, counts, chances, rest, steps, paths };
        run.set_output_shape(3 * paths, Shape::new(&[batch, paths])?)?;
        write_numbers(run, 3 * paths, found.chances)?;
        for path in 0..paths {
            let outputs = [path, paths + path, 2 * paths + path];
            write_labels(run, outputs, batch, |index| found.path(index, path))?;
        }
        Ok(())
    }
}

/// CTCLoss.
#[derive(Debug)]
struct Loss {
    loss: CtcLoss,
}

const LENGTHS: usize = 3;

impl Operator for Loss {
    fn name(&self) -> &'static str {
        "CTCLoss"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let ([steps, batch, classes], dtype) = infer_inputs(inputs, LENGTHS)?;
        let (indices, values) = (shared::input(inputs, 1)?, shared::input(inputs, 2)?);
        shared::need_type(1, indices, &[DType::I64])?;
        shared::need_type(2, values, &[DType::I32])?;
        let rows = shared::dims_of_rank(1, indices, 2)?.unwrap_or(vec![Dim::Unknown; 2]);
        let count = shared::dims_of_rank(2, values, 1)?.map_or(Dim::Unknown, |dims| dims[0]);
        if agree(rows[0], count, indices.is_bound || values.is_bound).is_none() {
            let why = format!("is of shape {} for indices {}", values.dims, indices.dims);
            return Err(OpError::input(2, why));
        }
        Ok(vec![Fact::new(dtype, Dims::new([batch])), Fact::new(dtype, Dims::new([steps, batch, classes]))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let shape = |input: usize| call.inputs.get(input).map(|info| &info.shape[..]);
        match (shape(0), shape(2)) {
            (Some(&[steps, batch, classes]), Some(&[labels])) => {
                let of_one = CtcLoss::scratch_bytes(labels, steps, classes);
                Memory::scratch(of_one.saturating_add(room_bytes::<f64>(batch)))
            }
            _ => Memory::default(),
        }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::set(run, 0, [*run.shape(0).get(1)?])?;
        run.set_output_shape(1, run.shape(0)).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let sequences = Sequences::of(run, LENGTHS)?;
        let (batch, classes) = (sequences.batch(), sequences.classes);
        if let Some(length) = sequences.lengths.iter().find(|length| **length < 0) {
            return Err(OpError::input(LENGTHS, format!("has a sequence of {length} steps")));
        }
        let (rows, labels) = (run.slice::<i64>(1)?, run.slice::<i32>(2)?);
        let (places, _) = rows.as_chunks::<2>();
        if places.len() != labels.len() || rows.len() % 2 != 0 {
            let why = format!("is of shape {} for {} labels", run.shape(1), labels.len());
            return Err(OpError::input(1, why));
        }
        let is_inside = |[row, at]: &[i64; 2]| (0..batch as i64).contains(row) && *at >= 0;
        if !places.iter().all(is_inside) || !places.is_sorted_by(|a, b| a < b) {
            return Err(OpError::input(1, "names places outside of the batch, or out of order, or twice"));
        }
        let (losses, scratch) = room::<f64>(run.scratch()?, batch)?;
        let is_double = run.output_dtype(1) == DType::F64;
        let gradient = run.out_bytes(1)?;
        gradient.fill(0);
        for index in 0..batch {
            let at = |row: usize| places.partition_point(|place| place[0] < row as i64);
            let own = &labels[at(index)..at(index + 1)];
            let mut give = |step: usize, class: usize, value: f64| {
                let place = (step * batch + index) * classes + class;
                match is_double {
                    true => gradient[place * 8..][..8].copy_from_slice(&value.to_le_bytes()),
                    false => gradient[place * 4..][..4].copy_from_slice(&(value as f32).to_le_bytes()),
                }
            };
            losses[index] = self.loss.of(sequences.get(index), own, scratch, &mut give)?;
        }
        write_numbers(run, 0, losses)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tensor, check, flag, int, refuses, refuses_as_it_runs, run, tensor};

    #[test]
    fn labels_come_of_the_steps_that_a_sequence_has() {
        let logits = [0f32, 5., 1., 9., 0., 0., 4., 0., 1., 0., 7., 1.];
        let inputs = [tensor(&[2, 2, 3], &logits), tensor(&[2], &[1i32, 2])];
        let expected = [
            tensor(&[3, 2], &[0i64, 0, 1, 0, 1, 1]),
            tensor(&[3], &[1i64, 0, 1]),
            tensor(&[2], &[2i64, 2]),
            tensor(&[2, 1], &[-5f32, -16.0]),
        ];
        check("CTCGreedyDecoder", &[("merge_repeated", flag(true))], &inputs, &expected);
        let long = [inputs[0].clone(), tensor(&[2], &[3i32, 0])];
        refuses_as_it_runs("CTCGreedyDecoder", &[], &long, "3 steps");
        refuses("CTCGreedyDecoder", &[("blank_index", int(3))], &inputs, "none of 3");
        let beam = [("beam_width", int(4)), ("top_paths", int(1))];
        let found = run("CTCBeamSearchDecoder", &beam, &inputs).unwrap();
        assert_eq!(found[1].values::<i64>(), [1, 0, 1]);
        // What is dropped as others come is not grown in that step, however likely it was: "0" after "1" is not found.
        let steps = [0.0f64, 0.25, 2.5, 3.125, -2.625, -1.375];
        let narrow = [tensor(&[2, 1, 3], &steps), tensor(&[1], &[2i32])];
        let two = [("beam_width", int(2)), ("top_paths", int(2)), ("merge_repeated", flag(false))];
        let found = run("CTCBeamSearchDecoder", &two, &narrow).unwrap();
        assert_eq!((found[2].values::<i64>(), found[3].values::<i64>()), (vec![0], vec![]));
        let chances = found[6].values::<f64>();
        assert!(
            (chances[0] + 0.186_028).abs() < 1e-5 && (chances[1] + 4.686_028).abs() < 1e-5,
            "{chances:?}"
        );
        let wrong = [("beam_width", int(1)), ("top_paths", int(2))];
        refuses("CTCBeamSearchDecoder", &wrong, &inputs, "more than the 1");
    }

    /// Two sequences whose steps are surely of these classes.
    fn scores(classes: [[usize; 4]; 2]) -> Tensor {
        let sure =
            |step: usize, sequence: usize, class: usize| (classes[sequence][step] == class) as u8 as f32;
        let values: Vec<f32> = (0..24).map(|at| sure(at / 6, at / 3 % 2, at % 3)).collect();
        tensor(&[4, 2, 3], &values)
    }

    #[test]
    fn a_loss_is_of_all_paths_that_say_the_labels() {
        // Of one step and three classes that are as likely, a third; of two steps of "0" five paths less those that say more.
        let logits = tensor(&[2, 1, 3], &[0f64; 6]);
        let of = |labels: &[i32], steps: i32| {
            let rows: Vec<i64> = (0..labels.len() as i64).flat_map(|at| [0, at]).collect();
            let count = labels.len();
            let labels = tensor(&[count], labels);
            [logits.clone(), tensor(&[count, 2], &rows), labels, tensor(&[1], &[steps])]
        };
        let loss = |labels: &[i32], steps| run("CTCLoss", &[], &of(labels, steps)).unwrap();
        assert!((loss(&[0], 1)[0].values::<f64>()[0] - 3f64.ln()).abs() < 1e-12);
        let two = loss(&[0], 2);
        assert!((two[0].values::<f64>()[0] - 3f64.ln()).abs() < 1e-12);
        // Of the three paths "0 0", "0 -" and "- 0" two say the label in each step.
        let gradient = two[1].values::<f64>();
        assert!((gradient[0] + 1.0 / 3.0).abs() < 1e-12 && gradient[2].abs() < 1e-12, "{gradient:?}");
        refuses("CTCLoss", &[], &of(&[0, 1], 1), "as many steps");
        let skips = [("ignore_longer_outputs_than_inputs", flag(true))];
        let skipped = run("CTCLoss", &skips, &of(&[0, 1], 1)).unwrap();
        assert_eq!(skipped[0].values::<f64>(), [0.0]);
        refuses("CTCLoss", &[], &of(&[2, 1], 2), "follows");
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
        refuses_as_it_runs("CTCGreedyDecoder", &[], &long, "5 steps");
        refuses("CTCGreedyDecoder", &[("blank_index", int(3))], &inputs, "3 classes");
    }
}
