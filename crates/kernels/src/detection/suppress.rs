//! Non-maximum suppression: of boxes that overlap, the one with the best score is kept.

use half::f16;

use crate::base::access::values_mut;
use crate::base::error::{KernelError, Result, check_exact, ensure};

const KERNEL: &str = "NonMaxSuppression";

/// How alike two boxes are.
#[derive(Debug, Clone, Copy)]
pub enum Similarity<'a> {
    /// Their intersection over their union: boxes `[count, 4]`, two opposite corners (y, x) each.
    Boxes(&'a [f32]),
    /// The same of boxes of float16; what is computed of them is float32.
    HalfBoxes(&'a [f16]),
    /// Given: `[count, count]`.
    Given(&'a [f32]),
}

impl Similarity<'_> {
    fn elements(&self) -> (usize, usize) {
        match self {
            Similarity::Boxes(boxes) => (boxes.len(), 4),
            Similarity::HalfBoxes(boxes) => (boxes.len(), 4),
            Similarity::Given(all) => (all.len(), 0),
        }
    }

    fn of(&self, count: usize, a: usize, b: usize) -> f32 {
        match self {
            Similarity::Boxes(boxes) => {
                overlap(corners(&boxes[4 * a..][..4], |x| x), corners(&boxes[4 * b..][..4], |x| x))
            }
            Similarity::HalfBoxes(boxes) => overlap(
                corners(&boxes[4 * a..][..4], f16::to_f32),
                corners(&boxes[4 * b..][..4], f16::to_f32),
            ),
            Similarity::Given(all) => all[a * count + b],
        }
    }
}

/// `[y, x]` of the two corners of a box, the lower ones first.
type Corners = [[f32; 2]; 2];

/// The smaller number as C++ has it: the first one where they do not compare.
fn least(a: f32, b: f32) -> f32 {
    if b < a { b } else { a }
}

fn most(a: f32, b: f32) -> f32 {
    if a < b { b } else { a }
}

fn corners<T: Copy>(corners: &[T], widen: impl Fn(T) -> f32) -> Corners {
    let [y0, x0, y1, x1] = [0, 1, 2, 3].map(|i| widen(corners[i]));
    [[least(y0, y1), least(x0, x1)], [most(y0, y1), most(x0, x1)]]
}

/// Intersection over union.
fn overlap([low_a, high_a]: Corners, [low_b, high_b]: Corners) -> f32 {
    let area = |low: [f32; 2], high: [f32; 2]| (high[0] - low[0]) * (high[1] - low[1]);
    let (area_a, area_b) = (area(low_a, high_a), area(low_b, high_b));
    if area_a <= 0.0 || area_b <= 0.0 {
        return 0.0;
    }
    let side = |axis: usize| most(least(high_a[axis], high_b[axis]) - most(low_a[axis], low_b[axis]), 0.0);
    let both = side(0) * side(1);
    both / (area_a + area_b - both)
}

/// Intersection over union of two boxes of four numbers.
pub(super) fn overlap_of(a: &[f32], b: &[f32]) -> f32 {
    overlap(corners(a, |x| x), corners(b, |x| x))
}

/// What is kept. Numbers are of the scores' type: float32, or float32 that hold numbers of float16.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suppression {
    /// The most boxes that are kept.
    pub max_output: usize,
    /// Boxes more alike than this are not kept both.
    pub similarity: f32,
    /// Boxes whose score is not above this are not kept.
    pub score: f32,
    /// Above 0, scores are lowered by how alike a box is to better ones, instead of dropping it.
    pub sigma: f32,
    /// True where scores are float16, and so is everything that is computed of them.
    pub is_half: bool,
}

impl Suppression {
    fn round(&self, x: f32) -> f32 {
        if self.is_half { f16::from_f32(x).to_f32() } else { x }
    }

    /// The factor of the score of a box that is so similar to one that is kept.
    fn weight(&self, scale: f32, similarity: f32) -> f32 {
        if self.sigma > 0.0 || similarity <= self.similarity {
            self.round(self.round(self.round(scale * similarity) * similarity).exp())
        } else {
            0.0
        }
    }
}

/// A box that may be kept.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Candidate {
    score: f32,
    index: u32,
    /// How many of the boxes that are kept it was held against.
    seen: u32,
}

impl Candidate {
    /// True where it comes before `other`: the better score, of equal ones the first box.
    fn is_before(&self, other: &Candidate) -> bool {
        self.score > other.score || (self.score == other.score && self.index < other.index)
    }
}

/// The boxes that are kept, the best first.
#[derive(Debug)]
pub struct Selected<'a> {
    /// Their indices.
    pub indices: &'a [i32],
    /// Their scores.
    pub scores: &'a [f32],
}

/// The scratch of [`suppress`] in bytes for `count` boxes of which at most `max_output` are kept.
pub fn suppress_scratch_bytes(count: usize, max_output: usize) -> usize {
    let kept = count.min(max_output);
    count.saturating_mul(size_of::<Candidate>()).saturating_add(kept.saturating_mul(8))
}

/// Which boxes are kept. They are found in `scratch`, which is aligned for its numbers.
///
/// # Errors
/// [`KernelError::Scratch`] for too little scratch, [`KernelError::Length`] for boxes that do not go with the scores.
pub fn suppress<'s>(
    what: &Suppression,
    similarity: Similarity<'_>,
    score: impl Fn(usize) -> f32,
    count: usize,
    scratch: &'s mut [u8],
) -> Result<Selected<'s>> {
    let (elements, each) = similarity.elements();
    let needed = count.checked_mul(if each == 0 { count } else { each });
    check_exact("boxes", needed.unwrap_or(usize::MAX), elements)?;
    ensure(i32::try_from(count).is_ok(), KERNEL, "there are fewer than 2^31 boxes")?;
    let kept = count.min(what.max_output);
    let (needed_bytes, given_bytes) = (suppress_scratch_bytes(count, what.max_output), scratch.len());
    let scratch =
        scratch.get_mut(..needed_bytes).ok_or(KernelError::Scratch { needed_bytes, given_bytes })?;
    let (candidates, lists) = scratch.split_at_mut(count * size_of::<Candidate>());
    let (indices, scores) = lists.split_at_mut(kept * 4);
    let heap = values_mut::<Candidate>(candidates, KERNEL)?;
    let (indices, scores) = (values_mut::<i32>(indices, KERNEL)?, values_mut::<f32>(scores, KERNEL)?);

    let mut waiting = 0;
    for index in 0..count {
        let score = score(index);
        if score > what.score {
            heap[waiting] = Candidate { score, index: index as u32, seen: 0 };
            waiting += 1;
        }
    }
    let mut heap = &mut heap[..waiting];
    (0..heap.len() / 2).rev().for_each(|at| sink(heap, at));

    let scale = if what.sigma > 0.0 { what.round(-0.5 / what.sigma) } else { 0.0 };
    let mut found = 0;
    while found < kept && !heap.is_empty() {
        let mut next = heap[0];
        let before = next.score;
        let is_dropped = !lower(what, scale, &mut next, &indices[..found], |a, b| similarity.of(count, a, b));
        next.seen = found as u32;
        if !is_dropped && next.score == before {
            indices[found] = next.index as i32;
            scores[found] = next.score;
            found += 1;
        } else if !is_dropped && next.score > what.score {
            heap[0] = next;
            sink(heap, 0);
            continue;
        }
        let last = heap.len() - 1;
        heap[0] = heap[last];
        heap = &mut heap[..last];
        sink(heap, 0);
    }
    Ok(Selected { indices: &indices[..found], scores: &scores[..found] })
}

/// Lowers the score of a box by those that are kept and that it has not been held against; false where one of them drops
/// it.
fn lower(
    what: &Suppression,
    scale: f32,
    next: &mut Candidate,
    kept: &[i32],
    similarity: impl Fn(usize, usize) -> f32,
) -> bool {
    for other in kept[next.seen as usize..].iter().rev() {
        let similarity = what.round(similarity(next.index as usize, *other as usize));
        next.score = what.round(next.score * what.weight(scale, similarity));
        if what.sigma <= 0.0 && similarity > what.similarity {
            return false;
        }
        if next.score <= what.score {
            break;
        }
    }
    true
}

/// Lets a candidate sink below all that come before it.
fn sink(heap: &mut [Candidate], mut at: usize) {
    loop {
        let (left, right) = (2 * at + 1, 2 * at + 2);
        let mut first = at;
        for child in [left, right] {
            if child < heap.len() && heap[child].is_before(&heap[first]) {
                first = child;
            }
        }
        if first == at {
            return;
        }
        heap.swap(at, first);
        at = first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOXES: [f32; 24] = [
        0.0, 0.0, 1.0, 1.0, 0.0, 0.1, 1.0, 1.1, 0.0, -0.1, 1.0, 0.9, 0.0, 10.0, 1.0, 11.0, 1.0, 11.1, 0.0,
        10.1, 0.0, 100.0, 1.0, 101.0,
    ];

    fn kept(what: Suppression, scores: &[f32]) -> (Vec<i32>, Vec<f32>) {
        let mut scratch = vec![0u64; suppress_scratch_bytes(6, what.max_output).div_ceil(8)];
        let scratch = bytemuck::cast_slice_mut(&mut scratch);
        let selected = suppress(&what, Similarity::Boxes(&BOXES), |i| scores[i], 6, scratch).unwrap();
        (selected.indices.to_vec(), selected.scores.to_vec())
    }

    #[test]
    fn keeps_the_best_of_each_cluster() {
        let scores = [0.9, 0.75, 0.6, 0.95, 0.5, 0.3];
        let what =
            Suppression { max_output: 3, similarity: 0.5, score: f32::MIN, sigma: 0.0, is_half: false };
        assert_eq!(kept(what, &scores).0, [3, 0, 5]);
        assert_eq!(kept(Suppression { max_output: 30, ..what }, &scores).0, [3, 0, 5]);
        assert_eq!(kept(Suppression { score: 0.4, ..what }, &scores).0, [3, 0]);
        assert_eq!(kept(Suppression { max_output: 0, ..what }, &scores).0, [0; 0]);
        // Of equal scores the first box.
        assert_eq!(kept(what, &[0.5; 6]).0, [0, 3, 5]);
        assert_eq!(kept(what, &[0.5, f32::NAN, f32::NEG_INFINITY, 0.5, 0.5, 0.5]).0, [0, 3, 5]);
    }

    #[test]
    fn lowers_scores_by_similarity() {
        let scores = [0.9, 0.75, 0.6, 0.95, 0.5, 0.3];
        let what = Suppression { max_output: 6, similarity: 0.5, score: 0.0, sigma: 0.5, is_half: false };
        let (indices, scores) = kept(what, &scores);
        assert_eq!(indices, [3, 0, 1, 5, 4, 2]);
        let expected = [0.95, 0.9, 0.384, 0.3, 0.256, 0.197];
        assert!(scores.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-2), "{scores:?}");
    }
}
