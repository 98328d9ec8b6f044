//! Which weights of a matrix become zero, and what the others are then.

use super::hessian::Factored;

/// Which weights become zero together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pattern {
    /// Each by itself.
    #[default]
    Unstructured,
    /// Four neighbours of a row, those of input channels.
    Blocks,
    /// Two of every four neighbours of a row.
    TwoOfFour,
    /// Whole output channels, with all that multiplies them.
    Channels,
}

impl Pattern {
    /// All with their names.
    pub const ALL: [(&'static str, Pattern); 4] = [
        ("unstructured", Pattern::Unstructured),
        ("1x4", Pattern::Blocks),
        ("2:4", Pattern::TwoOfFour),
        ("channels", Pattern::Channels),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Pattern::ALL.iter().find(|(_, own)| *own == self).map_or("", |(name, _)| name)
    }

    /// What becomes of a weight that goes.
    pub fn leaves(self) -> &'static str {
        if self == Pattern::Channels { "left out" } else { "zero" }
    }

    /// Neighbours that are looked at together.
    pub(super) fn group(self) -> usize {
        match self {
            Pattern::Unstructured | Pattern::Channels => 1,
            Pattern::Blocks | Pattern::TwoOfFour => 4,
        }
    }
}

/// Columns whose zeros are chosen at once: those before them have been made up for by then.
const COLUMNS: usize = 64;

/// Makes zero a share of the weights of a matrix, rows of `columns`, which the others make up for where `root` says how.
pub(super) fn thin(
    weights: &mut [f32],
    columns: usize,
    pattern: Pattern,
    sparsity: f64,
    root: Option<&Factored>,
) {
    let width = if root.is_some() { COLUMNS } else { columns };
    for first in (0..columns).step_by(width) {
        let last = (first + width).min(columns);
        let loss = |row: &[f32], at: usize| {
            let weight = f64::from(row[at]) / root.map_or(1.0, |root| root.row(at)[at]);
            weight * weight
        };
        let zeros = chosen(weights, columns, (first, last), pattern, sparsity, &loss);
        for (row, zeros) in weights.chunks_exact_mut(columns).zip(zeros.chunks_exact(last - first)) {
            for (at, _) in (first..last).zip(zeros).filter(|(_, is_zero)| **is_zero) {
                if let Some(root) = root {
                    root.make_up(at, f64::from(row[at]), row);
                }
                row[at] = 0.0;
            }
            // What was made up for does not bring back what is zero.
            for (at, _) in (first..last).zip(zeros).filter(|(_, is_zero)| **is_zero) {
                row[at] = 0.0;
            }
        }
    }
}

/// Which weights of some columns become zero: those whose loss is least.
fn chosen(
    weights: &[f32],
    columns: usize,
    (first, last): (usize, usize),
    pattern: Pattern,
    sparsity: f64,
    loss: &dyn Fn(&[f32], usize) -> f64,
) -> Vec<bool> {
    let (width, group) = (last - first, pattern.group());
    let rows = weights.len() / columns.max(1);
    let mut zeros = vec![false; rows * width];
    let mut losses: Vec<(f64, usize)> = Vec::new();
    for (row, own) in weights.chunks_exact(columns).enumerate() {
        for at in (first..last).step_by(group) {
            let members = at..(at + group).min(last);
            let place = row * width + at - first;
            if pattern == Pattern::TwoOfFour {
                let mut four: Vec<(f64, usize)> = members.map(|at| (loss(own, at), at)).collect();
                four.sort_by(|a, b| a.0.total_cmp(&b.0));
                four.iter().take(2).for_each(|(_, at)| zeros[row * width + at - first] = true);
            } else {
                losses.push((members.map(|at| loss(own, at)).sum(), place));
            }
        }
    }
    let count = (losses.len() as f64 * sparsity).round() as usize;
    if count > 0 && count <= losses.len() {
        losses.select_nth_unstable_by(count - 1, |a, b| a.0.total_cmp(&b.0));
        for (_, place) in &losses[..count] {
            let end = (place + group).min(place - place % width + width);
            zeros[*place..end].fill(true);
        }
    }
    zeros
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_become_zero_by_the_pattern() {
        let weights = [1.0f32, -5.0, 0.5, 2.0, 3.0, 0.1, -0.2, 4.0];
        let thinned = |pattern, sparsity| {
            let mut own = weights;
            thin(&mut own, 8, pattern, sparsity, None);
            own
        };
        assert_eq!(thinned(Pattern::Unstructured, 0.5), [0.0, -5.0, 0.0, 2.0, 3.0, 0.0, 0.0, 4.0]);
        assert_eq!(thinned(Pattern::TwoOfFour, 0.5), [0.0, -5.0, 0.0, 2.0, 3.0, 0.0, 0.0, 4.0]);
        assert_eq!(thinned(Pattern::Blocks, 0.5), [1.0, -5.0, 0.5, 2.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(thinned(Pattern::Unstructured, 0.0), weights);
    }
}
