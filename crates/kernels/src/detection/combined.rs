//! Non-maximum suppression for each class of each image, and the best of all classes.

use tightfit_core::Shared;

use super::order;
use super::suppress::overlap_of;
use crate::base::access::values_mut;
use crate::base::error::{KernelError, Result, check_exact};
use crate::base::threads::ThreadPool;

const KERNEL: &str = "CombinedNonMaxSuppression";

/// Sizes and rules of [`combined_suppress`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CombinedSuppression {
    /// Images.
    pub batch: usize,
    /// Boxes of an image.
    pub boxes: usize,
    /// Boxes at each place: 1, or one for each class.
    pub boxes_per_place: usize,
    /// Classes.
    pub classes: usize,
    /// The most boxes that are kept of a class.
    pub max_per_class: usize,
    /// Boxes that an image has in the outputs.
    pub rows: usize,
    /// Boxes more alike than this are not kept both.
    pub similarity: f32,
    /// Boxes whose score is not above this are not kept.
    pub score: f32,
    /// True where corners are brought into 0..1.
    pub clip: bool,
}

impl CombinedSuppression {
    /// The most boxes of a class.
    fn per_class(&self) -> usize {
        self.max_per_class.min(self.boxes)
    }
}

/// A box by its score.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Candidate {
    score: f32,
    index: u32,
}

/// A box that was kept of a class, or the place of none.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Kept {
    score: f32,
    /// -1 for none.
    index: i32,
    class: i32,
}

/// The scratch of [`combined_suppress`] in bytes, for so many threads.
pub fn combined_suppress_scratch_bytes(what: &CombinedSuppression, threads: usize) -> usize {
    let kept = what.classes.saturating_mul(what.per_class()).saturating_mul(size_of::<Kept>());
    threads.saturating_mul(what.boxes).saturating_mul(size_of::<Candidate>()).saturating_add(kept)
}

/// What is written.
#[derive(Debug)]
pub struct CombinedOutputs<'a> {
    /// `[batch, rows, 4]`.
    pub boxes: &'a mut [f32],
    /// `[batch, rows]`.
    pub scores: &'a mut [f32],
    /// `[batch, rows]`.
    pub classes: &'a mut [f32],
    /// How many rows of each image are boxes; the others are 0.
    pub counts: &'a mut [i32],
}

/// The boxes that are kept of `boxes` `[batch, boxes, boxes per place, 4]` with `scores` `[batch, boxes, classes]`, the best
/// of an image first.
///
/// # Errors
/// [`KernelError::Length`] for slices of other sizes, [`KernelError::Scratch`] for too little scratch.
pub fn combined_suppress(
    pool: &ThreadPool,
    what: &CombinedSuppression,
    boxes: &[f32],
    scores: &[f32],
    outputs: CombinedOutputs<'_>,
    scratch: &mut [u8],
) -> Result<()> {
    let per_image = what.boxes * what.boxes_per_place * 4;
    check_exact("boxes", what.batch * per_image, boxes.len())?;
    check_exact("scores", what.batch * what.boxes * what.classes, scores.len())?;
    check_exact("kept boxes", what.batch * what.rows * 4, outputs.boxes.len())?;
    check_exact("kept scores", what.batch * what.rows, outputs.scores.len())?;
    check_exact("kept classes", what.batch * what.rows, outputs.classes.len())?;
    check_exact("counts", what.batch, outputs.counts.len())?;
    let (needed_bytes, given_bytes) = (combined_suppress_scratch_bytes(what, pool.threads()), scratch.len());
    let scratch =
        scratch.get_mut(..needed_bytes).ok_or(KernelError::Scratch { needed_bytes, given_bytes })?;
    let (queues, kept) = scratch.split_at_mut(pool.threads() * what.boxes * size_of::<Candidate>());
    let queues = values_mut::<Candidate>(queues, KERNEL)?;
    let kept = values_mut::<Kept>(kept, KERNEL)?;
    let per_class = what.per_class();
    for image in 0..what.batch {
        let boxes = &boxes[image * per_image..][..per_image];
        let scores = &scores[image * what.boxes * what.classes..][..what.boxes * what.classes];
        let (shared_kept, shared_queues) = (Shared::new(&mut *kept), Shared::new(&mut *queues));
        pool.run(what.classes, &|class, worker| {
            // SAFETY: each class has a part of its own, each worker a queue of its own.
            let (mut kept, mut queue) = unsafe {
                (
                    shared_kept.part(class * per_class, per_class),
                    shared_queues.part(worker * what.boxes, what.boxes),
                )
            };
            of_class(what, class, boxes, scores, &mut queue, &mut kept);
        });
        order::sort(kept, &|a, b| b.score < a.score);
        let count = kept.iter().filter(|kept| kept.index >= 0).count().min(what.rows);
        outputs.counts[image] = count as i32;
        let mut best = kept[..count].iter();
        for row in 0..what.rows {
            let at = image * what.rows + row;
            let corners = &mut outputs.boxes[4 * at..][..4];
            let Some(&Kept { score, index, class }) = best.next() else {
                corners.fill(0.0);
                (outputs.scores[at], outputs.classes[at]) = (0.0, 0.0);
                continue;
            };
            (outputs.scores[at], outputs.classes[at]) = (score, class as f32);
            for (to, from) in corners.iter_mut().zip(corners_of(what, boxes, index as usize, class as usize))
            {
                *to = if what.clip { clip(*from) } else { *from };
            }
        }
    }
    Ok(())
}

/// Brought into 0..1; NaN stays NaN.
fn clip(x: f32) -> f32 {
    x.clamp(0.0, 1.0)
}

/// The corners of a box of a class.
fn corners_of<'a>(what: &CombinedSuppression, boxes: &'a [f32], index: usize, class: usize) -> &'a [f32] {
    let place = if what.boxes_per_place > 1 { class } else { 0 };
    &boxes[(index * what.boxes_per_place + place) * 4..][..4]
}

/// Finds the boxes of one class of an image.
fn of_class(
    what: &CombinedSuppression,
    class: usize,
    boxes: &[f32],
    scores: &[f32],
    queue: &mut [Candidate],
    kept: &mut [Kept],
) {
    let is_below = |a: &Candidate, b: &Candidate| a.score < b.score;
    let mut waiting = 0;
    for index in 0..what.boxes {
        let score = scores[index * what.classes + class];
        if score > what.score {
            queue[waiting] = Candidate { score, index: index as u32 };
            waiting += 1;
            order::push(&mut queue[..waiting], &is_below);
        }
    }
    let mut found = 0;
    while found < kept.len() && waiting > 0 {
        let Candidate { score, index } = queue[0];
        order::pop(&mut queue[..waiting], &is_below);
        waiting -= 1;
        let own = corners_of(what, boxes, index as usize, class);
        let is_like = |other: &Kept| {
            overlap_of(own, corners_of(what, boxes, other.index as usize, class)) > what.similarity
        };
        if !kept[..found].iter().rev().any(is_like) {
            kept[found] = Kept { score, index: index as i32, class: class as i32 };
            found += 1;
        }
    }
    kept[found..].fill(Kept { score: f32::NEG_INFINITY, index: -1, class: -1 });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_all_classes() {
        let what = CombinedSuppression {
            batch: 1,
            boxes: 3,
            boxes_per_place: 1,
            classes: 2,
            max_per_class: 2,
            rows: 5,
            similarity: 0.5,
            score: 0.1,
            clip: true,
        };
        let boxes = [0.0f32, 0.0, 1.0, 1.5, 0.0, 0.0, 1.0, 1.4, 2.0, 2.0, 3.0, 3.0];
        let scores = [0.9f32, 0.3, 0.8, 0.4, 0.2, 0.05];
        let (mut out, mut found, mut classes, mut counts) = ([9.0; 20], [9.0; 5], [9.0; 5], [9; 1]);
        for threads in [1, 3] {
            let pool = ThreadPool::new(threads).unwrap();
            let mut scratch = vec![0u64; combined_suppress_scratch_bytes(&what, threads).div_ceil(8)];
            let outputs = CombinedOutputs {
                boxes: &mut out,
                scores: &mut found,
                classes: &mut classes,
                counts: &mut counts,
            };
            let scratch = bytemuck::cast_slice_mut(&mut scratch);
            combined_suppress(&pool, &what, &boxes, &scores, outputs, scratch).unwrap();
            assert_eq!((counts, found, classes), ([3], [0.9, 0.4, 0.2, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]));
            assert_eq!(out[..12], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
            assert_eq!(out[12..], [0.0; 8]);
        }
    }
}
