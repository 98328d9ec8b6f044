//! Labels from what a network says of each step (connectionist temporal classification): the likeliest of each step, or a
//! beam of the likeliest sequences.
//!
//! Sources: Graves, Sequence Transduction with Recurrent Neural Networks, algorithm 1; and TensorFlow's
//! core/util/ctc/ctc_beam_search.h, whose sums this follows term by term.

use bytemuck::{Pod, Zeroable};

use crate::base::error::{KernelError, Result, check_at_least, ensure};
use crate::elementwise::float::Float;

/// Logits `[steps, batch, classes]` of float32 or float64.
#[derive(Debug, Clone, Copy)]
pub enum CtcLogits<'a> {
    /// Of float32.
    F32(&'a [f32]),
    /// Of float64.
    F64(&'a [f64]),
}

/// One sequence of a batch of logits.
#[derive(Debug, Clone, Copy)]
pub struct CtcSequence<'a> {
    /// All of them.
    pub logits: CtcLogits<'a>,
    /// Sequences that stand side by side.
    pub batch: usize,
    /// Numbers of each step.
    pub classes: usize,
    /// Which sequence this is.
    pub index: usize,
    /// How many steps it has.
    pub steps: usize,
}

impl CtcSequence<'_> {
    pub(super) fn check(&self, kernel: &'static str) -> Result<()> {
        let given = match self.logits {
            CtcLogits::F32(logits) => logits.len(),
            CtcLogits::F64(logits) => logits.len(),
        };
        ensure(self.classes > 0 && self.index < self.batch, kernel, "there are classes and sequences")?;
        let needed = self.steps.checked_mul(self.batch).and_then(|n| n.checked_mul(self.classes));
        check_at_least("the logits", needed.unwrap_or(usize::MAX), given)
    }

    /// The numbers of each step, in order.
    fn rows<'l, T>(&self, logits: &'l [T]) -> impl Iterator<Item = &'l [T]> + use<'l, T> {
        let (batch, index) = (self.batch, self.index);
        logits.chunks_exact(self.classes).skip(index).step_by(batch).take(self.steps)
    }

    /// Calls `each` with the likeliest class of each step, but `blank`, and where `merges`, but what comes again right
    /// after itself. Returns the negated sum of the largest numbers.
    ///
    /// # Errors
    /// [`KernelError`] when the logits are fewer.
    pub fn greedy(&self, blank: usize, merges: bool, each: &mut dyn FnMut(i64)) -> Result<f64> {
        self.check("CTCGreedyDecoder")?;
        Ok(match self.logits {
            CtcLogits::F32(logits) => self.greedy_of(logits, blank, merges, each).to_f64(),
            CtcLogits::F64(logits) => self.greedy_of(logits, blank, merges, each),
        })
    }

    fn greedy_of<T: Float>(&self, logits: &[T], blank: usize, merges: bool, each: &mut dyn FnMut(i64)) -> T {
        let (mut sum, mut last) = (T::of(0.0), None);
        for row in self.rows(logits) {
            let mut best = 0;
            for (class, value) in row.iter().enumerate() {
                if row[best] < *value {
                    best = class;
                }
            }
            sum = sum + -row[best];
            if best != blank && !(merges && last == Some(best)) {
                each(best as i64);
            }
            last = Some(best);
        }
        sum
    }

    /// Searches for the likeliest sequences of labels, as many as `width` beside each other, with the last class as blank.
    /// Calls `found` with the `paths` best, the best first: which it is, its log probability, and its labels from the last
    /// to the first, none twice after itself where `merges`.
    ///
    /// # Errors
    /// [`KernelError`] when the logits are fewer, the scratch is smaller than [`CtcBeam::scratch_bytes`], or fewer sequences
    /// are possible than `paths`.
    pub fn beam(&self, beam: CtcBeam, scratch: &mut [u8], found: &mut FoundPath<'_>) -> Result<()> {
        self.check("CTCBeamSearchDecoder")?;
        ensure(
            beam.paths <= beam.width,
            "CTCBeamSearchDecoder",
            "no more paths are wanted than are searched",
        )?;
        match self.logits {
            CtcLogits::F32(logits) => self.beam_of(logits, beam, scratch, found),
            CtcLogits::F64(logits) => self.beam_of(logits, beam, scratch, found),
        }
    }

    fn beam_of<T: Float>(
        &self,
        logits: &[T],
        beam: CtcBeam,
        scratch: &mut [u8],
        found: &mut FoundPath<'_>,
    ) -> Result<()> {
        let mut search = Search::<T>::new(scratch, beam.width, self.steps)?;
        for row in self.rows(logits) {
            search.step(row)?;
        }
        let best = search.in_order();
        ensure(
            beam.paths <= best,
            "CTCBeamSearchDecoder",
            "there are as many sequences as paths are wanted",
        )?;
        for path in 0..beam.paths {
            let leaf = search.leaves[path];
            found(path, search.total(leaf).to_f64(), &mut |each| {
                let (mut at, mut last) = (leaf, None);
                while at != ROOT {
                    let node = search.nodes[at as usize];
                    if !(beam.merges && last == Some(node.label)) {
                        each(i64::from(node.label));
                    }
                    last = Some(node.label);
                    at = node.parent;
                }
            });
        }
        Ok(())
    }
}

/// What a search for sequences is asked for.
#[derive(Debug, Clone, Copy)]
pub struct CtcBeam {
    /// Sequences that are followed at once.
    pub width: usize,
    /// Sequences that are wanted.
    pub paths: usize,
    /// Whether of equal labels one after another one is left.
    pub merges: bool,
}

/// Goes over the labels of a path, the last one first, with what is called for each.
pub type PathLabels<'a> = dyn Fn(&mut dyn FnMut(i64)) + 'a;

/// Called with each path: its number, its log probability, and what calls something with each label, the last first.
pub type FoundPath<'a> = dyn FnMut(usize, f64, &PathLabels<'_>) + 'a;

impl CtcBeam {
    /// Bytes of scratch for a sequence of so many steps, of any type.
    pub fn scratch_bytes(&self, steps: usize) -> usize {
        let nodes = node_count(self.width, steps).saturating_mul(size_of::<Node<f64>>());
        nodes.saturating_add(self.width.saturating_mul(8)).saturating_add(2 * 64)
    }
}

/// A step leaves at most as many new nodes as the beam is wide, and tries one more.
fn node_count(width: usize, steps: usize) -> usize {
    width.saturating_mul(steps).saturating_add(2)
}

/// The logarithms of probabilities that a sequence ends here.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, packed)]
struct Chance<T> {
    total: T,
    blank: T,
    label: T,
}

/// A label after those of its parent.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, packed)]
struct Node<T> {
    /// As of this step.
    now: Chance<T>,
    /// As of the step before.
    before: Chance<T>,
    parent: u32,
    /// The child that was made last, and the one that was made before this one.
    child: u32,
    next: u32,
    label: u32,
}

const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

/// A search at some step.
struct Search<'s, T> {
    nodes: &'s mut [Node<T>],
    /// How many nodes there are.
    count: usize,
    /// How many there were before this step.
    first_new: usize,
    /// The sequences that are followed, the likeliest first.
    leaves: &'s mut [u32],
    followed: usize,
    /// Those that were followed in the step before.
    branches: &'s mut [u32],
    /// The place of the least likely leaf, once it has been looked for.
    bottom: Option<usize>,
}

impl<T: Float> Chance<T> {
    fn none() -> Chance<T> {
        let none = T::of(f64::NEG_INFINITY);
        Chance { total: none, blank: none, label: none }
    }
}

fn log_sum<T: Float>(a: T, b: T) -> T {
    let none = T::of(f64::NEG_INFINITY);
    if a == none {
        return b;
    }
    if b == none {
        return a;
    }
    let (larger, smaller) = if a > b { (a, b) } else { (b, a) };
    // In single precision whatever the type is, as in TensorFlow.
    let share = ((smaller - larger).to_f64() as f32).exp().ln_1p();
    larger + T::of(f64::from(share))
}

impl<'s, T: Float> Search<'s, T> {
    fn new(scratch: &'s mut [u8], width: usize, steps: usize) -> Result<Search<'s, T>> {
        let (given_bytes, nodes) = (scratch.len(), node_count(width, steps));
        let too_small = |needed_bytes| KernelError::Scratch { needed_bytes, given_bytes };
        let node_bytes = nodes.saturating_mul(size_of::<Node<T>>());
        let needed = node_bytes.saturating_add(width.saturating_mul(8)).saturating_add(64);
        let skip = scratch.as_ptr().align_offset(8).min(8);
        let rest = scratch.get_mut(skip..).ok_or(too_small(needed))?;
        let (own, rest) = rest.split_at_mut_checked(node_bytes).ok_or(too_small(needed))?;
        let (leaves, rest) = rest.split_at_mut_checked(width * 4).ok_or(too_small(needed))?;
        let branches = rest.get_mut(..width * 4).ok_or(too_small(needed))?;
        let aligned = |_| KernelError::Misaligned { kernel: "CTCBeamSearchDecoder" };
        let search = Search {
            nodes: bytemuck::try_cast_slice_mut(own).map_err(aligned)?,
            count: 1,
            first_new: 1,
            leaves: bytemuck::try_cast_slice_mut(leaves).map_err(aligned)?,
            followed: 1,
            branches: bytemuck::try_cast_slice_mut(branches).map_err(aligned)?,
            bottom: None,
        };
        // Before any step nothing is certain, and comes of a blank.
        let certain = Chance { total: T::of(0.0), blank: T::of(0.0), label: T::of(f64::NEG_INFINITY) };
        search.nodes[0] =
            Node { now: certain, before: certain, parent: NONE, child: NONE, next: NONE, label: NONE };
        if let Some(first) = search.leaves.first_mut() {
            *first = ROOT;
        }
        Ok(search)
    }

    /// The logarithm of a node's probability as of this step.
    fn total(&self, node: u32) -> T {
        self.nodes[node as usize].now.total
    }

    fn is_followed(&self, node: u32) -> bool {
        self.total(node) != T::of(f64::NEG_INFINITY)
    }

    /// Puts the leaves in order, the likeliest first; how many there are.
    fn in_order(&mut self) -> usize {
        let nodes = &*self.nodes;
        let total = |leaf: &u32| nodes[*leaf as usize].now.total;
        self.leaves[..self.followed].sort_unstable_by(|a, b| {
            total(b).partial_cmp(&total(a)).unwrap_or(std::cmp::Ordering::Equal).then(a.cmp(b))
        });
        self.followed
    }

    /// The place of the least likely leaf.
    fn bottom(&mut self) -> usize {
        let total = |at: usize| self.total(self.leaves[at]);
        let find =
            || (1..self.followed).fold(0, |least, at| if total(at) < total(least) { at } else { least });
        let bottom = self.bottom.unwrap_or_else(find);
        self.bottom = Some(bottom);
        bottom
    }

    /// True where a sequence of this probability is worth following.
    fn is_candidate(&mut self, total: T) -> bool {
        if self.followed < self.leaves.len() {
            return total > T::of(f64::NEG_INFINITY);
        }
        let bottom = self.leaves[self.bottom()];
        total > T::of(f64::NEG_INFINITY) && total > self.total(bottom)
    }

    fn step(&mut self, row: &[T]) -> Result<()> {
        let blank = row.len() - 1;
        let mut most = row[0];
        for value in row {
            if most < *value {
                most = *value;
            }
        }
        let sum = row.iter().fold(T::of(0.0), |sum, value| sum + (*value - most).exp());
        let norm = most + sum.log();
        self.first_new = self.count;
        let branches = self.in_order();
        self.branches[..branches].copy_from_slice(&self.leaves[..branches]);
        for at in 0..branches {
            let node = &mut self.nodes[self.branches[at] as usize];
            node.before = node.now;
        }
        for at in 0..branches {
            let number = self.branches[at] as usize;
            let mut node = self.nodes[number];
            if node.parent != NONE {
                if self.is_followed(node.parent) {
                    let parent = &self.nodes[node.parent as usize];
                    let is_same = node.label == parent.label;
                    let previous = if is_same { parent.before.blank } else { parent.before.total };
                    node.now.label = log_sum(node.now.label, previous);
                }
                node.now.label = node.now.label + (row[node.label as usize] - norm);
            }
            node.now.blank = node.before.total + (row[blank] - norm);
            node.now.total = log_sum(node.now.blank, node.now.label);
            self.nodes[number] = node;
        }
        self.bottom = None;
        for at in 0..branches {
            let branch = self.branches[at];
            if !self.is_candidate(self.nodes[branch as usize].before.total) {
                continue;
            }
            for (label, value) in row[..blank].iter().enumerate() {
                self.try_label(branch, label as u32, *value - norm)?;
            }
        }
        Ok(())
    }

    /// Follows the sequence with `label` after those of `branch`, where it is likely enough.
    fn try_label(&mut self, branch: u32, label: u32, value: T) -> Result<()> {
        let parent = self.nodes[branch as usize];
        let previous = if label == parent.label { parent.before.blank } else { parent.before.total };
        let total = value + previous;
        let mut child = parent.child;
        while child != NONE && self.nodes[child as usize].label != label {
            child = self.nodes[child as usize].next;
        }
        if child != NONE && self.is_followed(child) {
            return Ok(());
        }
        if !self.is_candidate(total) {
            // One that was dropped in this step is not grown either, although it was likely before the step.
            if let Some(child) = self.nodes.get_mut(child as usize) {
                (child.now, child.before) = (Chance::none(), Chance::none());
            }
            return Ok(());
        }
        if child == NONE {
            child = self.count as u32;
            let none = Chance::none();
            let node =
                Node { now: none, before: none, parent: branch, child: NONE, next: parent.child, label };
            *self.nodes.get_mut(self.count).ok_or(KernelError::Attribute("a beam has too many nodes"))? =
                node;
            self.count += 1;
            self.nodes[branch as usize].child = child;
        }
        let blank = T::of(f64::NEG_INFINITY);
        self.nodes[child as usize].now = Chance { total, blank, label: total };
        if self.followed < self.leaves.len() {
            self.leaves[self.followed] = child;
            self.followed += 1;
            self.bottom = None;
            return Ok(());
        }
        let bottom = self.bottom();
        let dropped = std::mem::replace(&mut self.leaves[bottom], child);
        self.bottom = None;
        self.nodes[dropped as usize].now = Chance::none();
        self.forget(dropped);
        Ok(())
    }

    /// Gives back the place of a node that was made in this step, which is a child's that nothing follows: the one
    /// that was made last takes it.
    fn forget(&mut self, dropped: u32) {
        let is_old = (dropped as usize) < self.first_new;
        if is_old || self.nodes[dropped as usize].child != NONE {
            return;
        }
        self.unlink(dropped);
        self.count -= 1;
        let last = self.count as u32;
        if last == dropped {
            return;
        }
        let moved = self.nodes[last as usize];
        self.nodes[dropped as usize] = moved;
        self.relink(moved.parent, last, dropped);
        let mut child = moved.child;
        while child != NONE {
            self.nodes[child as usize].parent = dropped;
            child = self.nodes[child as usize].next;
        }
        // Branches are older than both.
        self.leaves.iter_mut().filter(|node| **node == last).for_each(|node| *node = dropped);
    }

    fn unlink(&mut self, node: u32) {
        let Node { parent, next, .. } = self.nodes[node as usize];
        self.relink(parent, node, next);
    }

    /// Makes what leads to `node` among the children of `parent` lead to `to`.
    fn relink(&mut self, parent: u32, node: u32, to: u32) {
        if self.nodes[parent as usize].child == node {
            self.nodes[parent as usize].child = to;
            return;
        }
        let mut at = self.nodes[parent as usize].child;
        while at != NONE {
            let next = self.nodes[at as usize].next;
            if next == node {
                self.nodes[at as usize].next = to;
                return;
            }
            at = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(logits: &[f32], classes: usize) -> CtcSequence<'_> {
        let steps = logits.len() / classes;
        CtcSequence { logits: CtcLogits::F32(logits), batch: 1, classes, index: 0, steps }
    }

    #[test]
    fn the_likeliest_labels_are_merged_and_blanks_left_out() {
        let logits = [0., 2., 1., 0., 3., 1., 0., 0., 1., 5., 0., 1., 1., 0., 0.];
        let labels = |blank, merges| {
            let mut found = Vec::new();
            let sum = sequence(&logits, 3).greedy(blank, merges, &mut |label| found.push(label)).unwrap();
            assert_eq!(sum, -12.0);
            found
        };
        assert_eq!(labels(2, true), [1, 0]);
        assert_eq!(labels(2, false), [1, 1, 0, 0]);
        assert_eq!(labels(0, true), [1, 2]);
        assert!(sequence(&logits, 3).greedy(0, true, &mut |_| ()).is_ok());
        assert!(CtcSequence { steps: 6, ..sequence(&logits, 3) }.greedy(0, true, &mut |_| ()).is_err());
    }

    /// The probabilities of all sequences of labels, by going through every way to come to them.
    fn every_sequence(logits: &[f32], classes: usize) -> Vec<(f64, Vec<i64>)> {
        let rows: Vec<Vec<f64>> = logits
            .chunks(classes)
            .map(|row| {
                let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
                row.iter().map(|x| f64::from(*x).exp() / sum).collect()
            })
            .collect();
        let mut all: Vec<(f64, Vec<i64>)> = Vec::new();
        for way in 0..classes.pow(rows.len() as u32) {
            let (mut rest, mut chance, mut labels, mut last) = (way, 1.0, Vec::new(), classes - 1);
            for row in &rows {
                let class = rest % classes;
                rest /= classes;
                chance *= row[class];
                if class != classes - 1 && class != last {
                    labels.push(class as i64);
                }
                last = class;
            }
            match all.iter_mut().find(|(_, own)| *own == labels) {
                Some((sum, _)) => *sum += chance,
                None => all.push((chance, labels)),
            }
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        all
    }

    #[test]
    fn a_wide_beam_finds_what_going_through_all_finds() {
        let logits: Vec<f32> = (0..20).map(|i| ((i * 37 % 19) as f32 - 9.0) / 5.0).collect();
        let expected = every_sequence(&logits, 4);
        let beam = CtcBeam { width: 200, paths: 3, merges: false };
        let mut scratch = vec![0; beam.scratch_bytes(5)];
        let mut found = Vec::new();
        let sequence = sequence(&logits, 4);
        sequence
            .beam(beam, &mut scratch, &mut |_, chance, each| {
                let mut labels = Vec::new();
                each(&mut |label| labels.insert(0, label));
                found.push((chance.exp(), labels));
            })
            .unwrap();
        for ((chance, labels), (own, other)) in found.iter().zip(&expected) {
            assert!((chance - own).abs() < 1e-6 && labels == other, "{found:?} {expected:?}");
        }
        // A narrow beam drops nodes again and again, and stays inside of its scratch.
        let narrow = CtcBeam { width: 2, paths: 2, merges: true };
        assert!(sequence.beam(narrow, &mut scratch[..narrow.scratch_bytes(5)], &mut |_, _, _| ()).is_ok());
        let many = CtcBeam { width: 2, paths: 3, merges: true };
        assert!(sequence.beam(many, &mut scratch, &mut |_, _, _| ()).is_err());
    }
}
