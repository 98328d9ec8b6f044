//! How unlikely labels are by what a network says of each step, and how that changes with the logits.
//!
//! Source: Graves, Supervised Sequence Labelling with Recurrent Neural Networks, section 7.3, whose equations are named below.

use super::ctc::{CtcLogits, CtcSequence};
use crate::base::error::{KernelError, Result, ensure};
use crate::reduction::log_add;

const KERNEL: &str = "CTCLoss";

/// How labels are read.
#[derive(Debug, Clone, Copy)]
pub struct CtcLoss {
    /// A label that comes right after itself counts once.
    pub collapses: bool,
    /// Equal classes of steps one after another are one label.
    pub merges: bool,
    /// A sequence of more labels than steps has no loss; otherwise it is refused.
    pub skips_longer: bool,
}

impl CtcLoss {
    /// Bytes of scratch for a sequence of at most so many labels, steps and classes.
    pub fn scratch_bytes(labels: usize, steps: usize, classes: usize) -> usize {
        let states = labels.saturating_mul(2).saturating_add(1);
        let numbers =
            states.saturating_mul(steps.saturating_add(3)).saturating_add(classes.saturating_mul(2));
        numbers.saturating_mul(size_of::<f64>()).saturating_add(size_of::<f64>())
    }

    /// The loss of a sequence with these `labels`. `gradient` is given step, class and the loss's change with the logit. The
    /// last class is the blank, which stands between labels; labels that are no class before it are left out at the end.
    ///
    /// # Errors
    /// [`KernelError`] for labels that are none, or that there is no time for, and too little scratch.
    pub fn of(
        &self,
        sequence: CtcSequence<'_>,
        labels: &[i32],
        scratch: &mut [u8],
        gradient: &mut dyn FnMut(usize, usize, f64),
    ) -> Result<f64> {
        let (steps, classes) = (sequence.steps, sequence.classes);
        sequence.check(KERNEL)?;
        ensure(!labels.is_empty(), KERNEL, "each sequence has labels")?;
        let (needed_bytes, given_bytes) =
            (CtcLoss::scratch_bytes(labels.len(), steps, classes), scratch.len());
        let skip = scratch.as_ptr().align_offset(size_of::<f64>());
        let room = scratch.get_mut(skip..).and_then(|room| {
            let len = room.len() / size_of::<f64>() * size_of::<f64>();
            bytemuck::try_cast_slice_mut::<_, f64>(&mut room[..len]).ok()
        });
        let room = room.ok_or(KernelError::Scratch { needed_bytes, given_bytes })?;
        let most = labels.len() * 2 + 1;
        let needed = most * (steps + 3) + classes * 2;
        let room = room.get_mut(..needed).ok_or(KernelError::Scratch { needed_bytes, given_bytes })?;
        let (states, room) = room.split_at_mut(most);
        let (later, room) = room.split_at_mut(most);
        let (now, room) = room.split_at_mut(most);
        let (row, room) = room.split_at_mut(classes);
        let (sums, before) = room.split_at_mut(classes);
        let count = self.states(labels, classes, states)?;
        ensure(self.skips_longer || labels.len() <= steps, KERNEL, "there are as many steps as labels")?;
        if steps == 0 || labels.len() > steps {
            return Ok(0.0);
        }
        let paths = Paths { states: &states[..count], blank: (classes - 1) as f64, merges: self.merges };
        // Equations 7.5 to 7.9: the states before each step, its own class among them.
        for step in 0..steps {
            likelihoods(sequence, step, row);
            let (done, to) = before[..(step + 1) * count].split_at_mut(step * count);
            let last = done.len().checked_sub(count).map(|at| &done[at..]);
            for (state, to) in to.iter_mut().enumerate() {
                let come = match last {
                    None if state < 2 => 0.0,
                    None => f64::NEG_INFINITY,
                    Some(last) => paths.from(state).map(|from| last[from]).fold(f64::NEG_INFINITY, log_add),
                };
                *to = come + row[paths.states[state] as usize].ln();
            }
        }
        let ends = &before[steps * count - count..][..count];
        let total = ends[count.saturating_sub(2)..].iter().copied().fold(f64::NEG_INFINITY, log_add);
        // Equations 7.13 to 7.15, and 7.34 as each step is passed.
        let (mut later, mut now) = (&mut later[..count], &mut now[..count]);
        for step in (0..steps).rev() {
            if step + 1 == steps {
                now.fill(f64::NEG_INFINITY);
                now[count.saturating_sub(2)..].fill(0.0);
            } else {
                // Of the step after this one, whose classes stand in `row`.
                for (state, to) in now.iter_mut().enumerate() {
                    let next =
                        paths.to(state).map(|next| later[next] + row[paths.states[next] as usize].ln());
                    *to = next.fold(f64::NEG_INFINITY, log_add);
                }
            }
            likelihoods(sequence, step, row);
            sums.fill(f64::NEG_INFINITY);
            let before = &before[step * count..][..count];
            for ((class, before), after) in paths.states.iter().zip(before).zip(&*now) {
                let sum = &mut sums[*class as usize];
                *sum = log_add(*sum, before + after);
            }
            for (class, (likelihood, sum)) in row.iter().zip(&*sums).enumerate() {
                let path = if total == f64::NEG_INFINITY { 0.0 } else { (sum - total).exp() };
                gradient(step, class, likelihood - path);
            }
            std::mem::swap(&mut later, &mut now);
        }
        Ok(-total)
    }

    /// Writes the labels with a blank before each and after the last; how many there are.
    fn states(&self, labels: &[i32], classes: usize, states: &mut [f64]) -> Result<usize> {
        let blank = classes - 1;
        let mut count = 0;
        let mut is_over = false;
        for (n, label) in labels.iter().enumerate() {
            if self.collapses && n > 0 && labels[n - 1] == *label {
                continue;
            }
            if i64::from(*label) >= blank as i64 {
                is_over = true;
                continue;
            }
            ensure(!is_over, KERNEL, "no label follows one that is no class")?;
            ensure(*label >= 0, KERNEL, "labels are not negative")?;
            states[count] = blank as f64;
            states[count + 1] = f64::from(*label);
            count += 2;
        }
        states[count] = blank as f64;
        Ok(count + 1)
    }
}

/// The states that paths go through, each by its class.
struct Paths<'a> {
    states: &'a [f64],
    blank: f64,
    merges: bool,
}

impl Paths<'_> {
    /// A label may stay, and the one after the next follow, unless that would be another label or the same one.
    fn stays(&self, state: usize) -> bool {
        self.merges || self.states[state] == self.blank
    }

    fn skips(&self, from: usize, to: usize) -> bool {
        self.states[from] != self.blank && !(self.merges && self.states[from] == self.states[to])
    }

    fn from(&self, state: usize) -> impl Iterator<Item = usize> {
        let stays = self.stays(state).then_some(state);
        let skips = state.checked_sub(2).filter(|from| self.skips(*from, state));
        [stays, state.checked_sub(1), skips].into_iter().flatten()
    }

    fn to(&self, state: usize) -> impl Iterator<Item = usize> {
        let stays = self.stays(state).then_some(state);
        let next = Some(state + 1).filter(|next| *next < self.states.len());
        let skips = Some(state + 2).filter(|next| *next < self.states.len() && self.skips(state, *next));
        [stays, next, skips].into_iter().flatten()
    }
}

/// The softmax of a step's logits, rounded to their type.
fn likelihoods(sequence: CtcSequence<'_>, step: usize, row: &mut [f64]) {
    let at = (step * sequence.batch + sequence.index) * sequence.classes;
    match sequence.logits {
        CtcLogits::F32(logits) => {
            let logits = &logits[at..][..sequence.classes];
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = logits.iter().map(|x| (x - largest).exp()).sum();
            row.iter_mut().zip(logits).for_each(|(to, x)| *to = f64::from((x - largest).exp() / sum));
        }
        CtcLogits::F64(logits) => {
            let logits = &logits[at..][..sequence.classes];
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|x| (x - largest).exp()).sum();
            row.iter_mut().zip(logits).for_each(|(to, x)| *to = (x - largest).exp() / sum);
        }
    }
}
