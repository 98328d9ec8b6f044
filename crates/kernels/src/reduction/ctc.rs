//! The likeliest labels of a sequence whose steps each say how likely each class is.

use tightfit_core::{TensorView, TensorViewMut};

use crate::base::access::{for_dtype, values, values_mut};
use crate::base::error::{KernelError, Result, ensure};
use crate::elementwise::float::Float;

const KERNEL: &str = "CTCGreedyDecoder";

/// What a sequence of classes stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GreedyDecoder {
    /// The class that stands for no label.
    pub blank: usize,
    /// A class that follows itself is one label.
    pub merges: bool,
}

/// Where the labels that were found go: rows of `[sequence, place]`, and the labels.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// `[labels, 2]`.
    pub indices: &'a mut [i64],
    /// `[labels]`.
    pub labels: &'a mut [i64],
}

impl GreedyDecoder {
    /// Takes the likeliest class of each step of each sequence, of scores `[steps, sequences, classes]` of float32 or float64,
    /// drops blanks and, where it does, repetitions. `lengths` are the steps of each sequence, at most as many as there are.
    /// `scores` gets the negated sum of the scores of the classes taken. Returns the number of labels, and that of the
    /// longest sequence.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] for sizes that do not go together, [`KernelError::DType`] for other types.
    pub fn decode(
        &self,
        inputs: TensorView<'_>,
        lengths: &[i32],
        to: Decoded<'_>,
        scores: &mut TensorViewMut<'_>,
    ) -> Result<(usize, usize)> {
        let [steps, sequences, classes] = inputs.shape()[..] else {
            return Err(KernelError::Invalid {
                kernel: KERNEL,
                rule: "scores are of steps, sequences and classes",
            });
        };
        let fits = lengths.len() == sequences
            && scores.shape().elements() == sequences
            && scores.dtype() == inputs.dtype()
            && to.labels.len() >= steps * sequences
            && to.indices.len() >= 2 * steps * sequences
            && lengths.iter().all(|length| *length <= 0 || *length as usize <= steps);
        ensure(fits && classes > 0, KERNEL, "there is a score for each class at each step of each sequence")?;
        for_dtype!(inputs.dtype(), KERNEL, [F32, F64], T => {
            let inputs = values::<T>(inputs.bytes(), KERNEL)?;
            let scores = values_mut::<T>(scores.bytes(), KERNEL)?;
            let at = |step: usize, sequence: usize| &inputs[(step * sequences + sequence) * classes..][..classes];
            Ok(self.find(at, lengths, to, scores))
        })
    }

    fn find<'i, F: Float>(
        &self,
        at: impl Fn(usize, usize) -> &'i [F],
        lengths: &[i32],
        to: Decoded<'_>,
        scores: &mut [F],
    ) -> (usize, usize) {
        let (mut found, mut longest) = (0, 0);
        for (sequence, (length, score)) in lengths.iter().zip(scores).enumerate() {
            *score = F::of(0.0);
            let (mut place, mut last) = (0, None);
            for step in 0..usize::try_from(*length).unwrap_or(0) {
                let own = at(step, sequence);
                let best =
                    (1..own.len()).fold(0, |best, class| if own[class] > own[best] { class } else { best });
                *score = *score - own[best];
                if best != self.blank && !(self.merges && last == Some(best)) {
                    to.labels[found] = best as i64;
                    to.indices[2 * found..][..2].copy_from_slice(&[sequence as i64, place]);
                    (found, place) = (found + 1, place + 1);
                }
                last = Some(best);
            }
            longest = longest.max(place as usize);
        }
        (found, longest)
    }
}
