//! What a product's output loses when weights change: the mean of the products of its patches' elements, and with it how the other
//! weights of a row make up for one that is changed (optimal brain surgeon, in the order of the columns), and what they are best
//! once it is known which there are. What is lost of the mean a bias makes up for: where there is one, the elements are taken less
//! their means.

use tightfit_core::{Account, MemoryBudget};

use super::patches::Window;
use super::watch::{Look, Watch};
use crate::error::Error;

/// Patches of a batch that are looked at, at most.
const MOST_PATCHES: usize = 256;

/// The share of the mean of the diagonal that is added to it.
const DAMPING: f64 = 0.01;

/// Steps at most towards the best weights of a row; each is closer.
const MOST_STEPS: usize = 50;

/// Weights are the best where what is left of the gradient is this small a part of what it was, squared.
const LEAST_REST: f64 = 1e-12;

/// A symmetric matrix of 64-bit floats.
pub(super) struct Square {
    size: usize,
    values: Vec<f64>,
    account: Account,
}

impl Square {
    fn new(size: usize, budget: &MemoryBudget) -> Result<Square, Error> {
        let mut account = Account::new(budget, "what weights have to do with each other");
        account.grow(8 * (size as u64).saturating_mul(size as u64))?;
        Ok(Square { size, values: vec![0.0; size * size], account })
    }

    fn row(&self, index: usize) -> &[f64] {
        &self.values[index * self.size..][..self.size]
    }

    /// The matrix, made definite, with the upper triangle `U` of which `UᵀU` is the inverse; `None` for a matrix that has none.
    ///
    /// The matrix is `RRᵀ` with `R` an upper triangle, and `U` the inverse of `R`. Below the diagonal the matrix stays.
    ///
    /// # Errors
    /// A budget without room for the diagonal.
    pub fn factored(mut self) -> Result<Option<Factored>, Error> {
        let size = self.size;
        self.account.grow(8 * size as u64)?;
        let mean = (0..size).map(|i| self.values[i * size + i]).sum::<f64>() / size.max(1) as f64;
        for i in 0..size {
            let own = &mut self.values[i * size + i];
            *own += (DAMPING * mean).max(f64::MIN_POSITIVE);
        }
        let diagonal = (0..size).map(|i| self.values[i * size + i]).collect();
        // R, from the last column on: what is left of a column is found from the columns behind it.
        for j in (0..size).rev() {
            for i in (0..=j).rev() {
                let (a, b) = (&self.row(i)[j + 1..], &self.row(j)[j + 1..]);
                let rest = self.values[i * size + j] - a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let value = if i == j { rest.sqrt() } else { rest / self.values[j * size + j] };
                if !value.is_finite() || (i == j && value <= 0.0) {
                    return Ok(None);
                }
                self.values[i * size + j] = value;
            }
        }
        // Its inverse, row by row from the last: row i is (e_i - what R has behind the diagonal times the rows below) / R_ii.
        for i in (0..size).rev() {
            let (above, below) = self.values.split_at_mut((i + 1) * size);
            let row = &mut above[i * size + i..];
            let diagonal = row[0];
            let factors: Vec<f64> = row[1..].to_vec();
            row.fill(0.0);
            row[0] = 1.0 / diagonal;
            for (k, factor) in factors.into_iter().enumerate().filter(|(_, factor)| *factor != 0.0) {
                let scaled = factor / diagonal;
                let from = &below[k * size + i + 1 + k..][..size - (i + 1 + k)];
                for (own, other) in row[1 + k..].iter_mut().zip(from) {
                    *own -= scaled * other;
                }
            }
        }
        Ok(Some(Factored { square: self, diagonal }))
    }
}

/// A matrix and the upper triangle `U` of which `UᵀU` is its inverse.
pub(super) struct Factored {
    /// `U`, and below its diagonal the matrix.
    square: Square,
    /// The matrix's.
    diagonal: Vec<f64>,
}

impl Factored {
    /// Its rows, and columns.
    pub fn size(&self) -> usize {
        self.square.size
    }

    /// A row of `U`, 0 before `index` whatever the slice has there.
    pub fn row(&self, index: usize) -> &[f64] {
        self.square.row(index)
    }

    /// What a row's product has of power: the row times the matrix times the row.
    pub fn power(&self, row: &[f32]) -> f64 {
        let all: Vec<usize> = (0..row.len()).collect();
        let row: Vec<f64> = row.iter().map(|weight| f64::from(*weight)).collect();
        let mut product = vec![0.0; row.len()];
        self.add_product(&all, &row, &mut product);
        row.iter().zip(product).map(|(weight, product)| weight * product).sum()
    }

    /// The inverse of the matrix, `UᵀU`.
    pub fn inverse(self) -> Inverse {
        let Factored { square: Square { size, mut values, account }, .. } = self;
        // Row i of it takes the rows of U up to i: from the last on, each has its place where that of U was.
        for i in (0..size).rev() {
            let (above, row) = values.split_at_mut(i * size);
            let row = &mut row[i..size];
            let own = row[0];
            row.iter_mut().for_each(|value| *value *= own);
            for k in 0..i {
                let from = &above[k * size + i..(k + 1) * size];
                let factor = from[0];
                row.iter_mut().zip(from).for_each(|(value, from)| *value += factor * from);
            }
        }
        for i in 0..size {
            for j in i + 1..size {
                values[j * size + i] = values[i * size + j];
            }
        }
        Inverse { size, values, _account: account }
    }

    /// Changes the elements of a row after `at` so that they make up for what the one there loses.
    pub fn make_up(&self, at: usize, lost: f64, row: &mut [f32]) {
        let own = &self.row(at)[at..];
        let error = lost / own[0];
        for (weight, factor) in row[at + 1..].iter_mut().zip(&own[1..]) {
            *weight -= (error * factor) as f32;
        }
    }

    /// Adds the matrix times `vector` to `sums`, both of the rows `kept` alone.
    fn add_product(&self, kept: &[usize], vector: &[f64], sums: &mut [f64]) {
        for (n, row) in kept.iter().enumerate() {
            let values = self.square.row(*row);
            let mut own = self.diagonal[*row] * vector[n];
            for (m, column) in kept[..n].iter().enumerate() {
                own += values[*column] * vector[m];
                sums[m] += values[*column] * vector[n];
            }
            sums[n] += own;
        }
    }

    /// Makes the weights of a row that are not 0 those with which the product comes closest to that with `before`, by conjugate
    /// gradients.
    pub fn refit(&self, before: &[f32], weights: &mut [f32]) {
        let all: Vec<usize> = (0..weights.len()).collect();
        let lost: Vec<f64> =
            before.iter().zip(&*weights).map(|(b, w)| f64::from(*b) - f64::from(*w)).collect();
        let mut gradient = vec![0.0; all.len()];
        self.add_product(&all, &lost, &mut gradient);
        let kept: Vec<usize> = all.into_iter().filter(|at| weights[*at] != 0.0).collect();
        let mut rest: Vec<f64> = kept.iter().map(|at| gradient[*at]).collect();
        let scaled = |rest: &[f64]| -> Vec<f64> {
            rest.iter().zip(&kept).map(|(rest, at)| rest / self.diagonal[*at]).collect()
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut best: Vec<f64> = kept.iter().map(|at| f64::from(weights[*at])).collect();
        let mut direction = scaled(&rest);
        let mut size = dot(&rest, &direction);
        let enough = LEAST_REST * size;
        for _ in 0..MOST_STEPS.min(kept.len()) {
            if size <= enough {
                break;
            }
            let mut product = vec![0.0; kept.len()];
            self.add_product(&kept, &direction, &mut product);
            let step = size / dot(&direction, &product);
            if !step.is_finite() {
                break;
            }
            for n in 0..kept.len() {
                best[n] += step * direction[n];
                rest[n] -= step * product[n];
            }
            let next = scaled(&rest);
            let turn = dot(&rest, &next) / size;
            size *= turn;
            direction.iter_mut().zip(next).for_each(|(own, next)| *own = next + turn * *own);
        }
        kept.iter().zip(best).for_each(|(at, best)| weights[*at] = best as f32);
    }
}

/// The inverse of the matrix, of the elements that are left of it.
pub(super) struct Inverse {
    size: usize,
    values: Vec<f64>,
    _account: Account,
}

impl Inverse {
    /// The inverse of the part of some elements.
    fn part(&self, block: &[usize]) -> Vec<f64> {
        let count = block.len();
        let at = |i: usize, j: usize| self.values[block[i] * self.size + block[j]];
        let mut part: Vec<f64> = (0..count * count).map(|n| at(n / count, n % count)).collect();
        // Gauss and Jordan in place; the matrix is definite, so that no pivot has to be looked for.
        for p in 0..count {
            let pivot = 1.0 / part[p * count + p];
            part[p * count + p] = 1.0;
            part[p * count..(p + 1) * count].iter_mut().for_each(|value| *value *= pivot);
            let row = part[p * count..(p + 1) * count].to_vec();
            for i in (0..count).filter(|i| *i != p) {
                let factor = std::mem::take(&mut part[i * count + p]);
                part[i * count..(i + 1) * count]
                    .iter_mut()
                    .zip(&row)
                    .for_each(|(own, row)| *own -= factor * row);
            }
        }
        part
    }

    /// What products lose, squared, when the elements of a block are taken from these rows and the others make up for them.
    pub fn loss<'r>(&self, block: &[usize], rows: impl Iterator<Item = &'r [f32]>) -> f64 {
        let (part, count) = (self.part(block), block.len());
        let of = |row: &[f32]| {
            let mut sum = 0.0;
            for (i, at) in block.iter().enumerate() {
                let own = part[i * count..].iter().zip(block).map(|(part, at)| part * f64::from(row[*at]));
                sum += f64::from(row[*at]) * own.sum::<f64>();
            }
            sum
        };
        rows.map(of).sum()
    }

    /// Takes the elements of a block from these rows, which the others make up for, and from the matrix.
    pub fn take<'r>(&mut self, block: &[usize], rows: impl Iterator<Item = &'r mut [f32]>) {
        let (size, count, part) = (self.size, block.len(), self.part(block));
        // The rows of the block, times the inverse of its part.
        let mut factors = vec![0.0; count * size];
        for (i, factors) in factors.chunks_exact_mut(size.max(1)).enumerate() {
            for (j, at) in block.iter().enumerate() {
                let (factor, from) = (part[i * count + j], &self.values[at * size..(at + 1) * size]);
                factors.iter_mut().zip(from).for_each(|(own, from)| *own += factor * from);
            }
        }
        for row in rows {
            let lost: Vec<f64> = block.iter().map(|at| f64::from(row[*at])).collect();
            for (lost, factors) in
                lost.into_iter().zip(factors.chunks_exact(size)).filter(|(lost, _)| *lost != 0.0)
            {
                row.iter_mut().zip(factors).for_each(|(own, factor)| *own -= (lost * factor) as f32);
            }
            block.iter().for_each(|at| row[*at] = 0.0);
        }
        for i in (0..size).filter(|i| !block.contains(i)) {
            let own: Vec<f64> = block.iter().map(|at| self.values[i * size + at]).collect();
            let row = &mut self.values[i * size..(i + 1) * size];
            for (own, factors) in
                own.into_iter().zip(factors.chunks_exact(size)).filter(|(own, _)| *own != 0.0)
            {
                row.iter_mut().zip(factors).for_each(|(value, factor)| *value -= own * factor);
            }
            block.iter().for_each(|at| row[*at] = 0.0);
        }
        block.iter().for_each(|at| self.values[at * size..(at + 1) * size].fill(0.0));
    }
}

/// What a product takes.
pub(super) struct Moments {
    /// The mean of each element of a patch.
    pub means: Vec<f64>,
    /// The means of the products of two of them.
    products: Square,
}

impl Moments {
    /// Those of what a product takes, over the data.
    ///
    /// # Errors
    /// As [`Watch::each`], and the memory of the matrix.
    pub fn of(watch: &Watch<'_>, value: i32, window: &Window) -> Result<Moments, Error> {
        let means = vec![0.0; window.len()];
        let products = Square::new(window.len(), watch.budget)?;
        let sums = Sums { window: window.clone(), moments: Moments { means, products }, count: 0 };
        let (Sums { mut moments, count, .. }, _) = watch.each(&[value], sums)?;
        let (count, size) = (count.max(1) as f64, window.len());
        moments.means.iter_mut().for_each(|own| *own /= count);
        let values = &mut moments.products.values;
        for i in 0..size {
            for j in i..size {
                let mean = values[i * size + j] / count;
                values[i * size + j] = mean;
                values[j * size + i] = mean;
            }
        }
        Ok(moments)
    }

    /// The matrix that weights are judged by, and the means that a bias makes up for: none without one.
    pub fn judge(self, has_bias: bool) -> (Square, Option<Vec<f64>>) {
        let Moments { means, mut products } = self;
        if !has_bias {
            return (products, None);
        }
        for (row, own) in products.values.chunks_exact_mut(means.len().max(1)).zip(&means) {
            row.iter_mut().zip(&means).for_each(|(value, mean)| *value -= own * mean);
        }
        (products, Some(means))
    }
}

struct Sums {
    window: Window,
    moments: Moments,
    count: u64,
}

impl Look for Sums {
    fn look(&mut self, _tensor: i32, dims: &[usize], values: &[f32]) -> Result<(), Error> {
        let Sums { window, moments: Moments { means, products }, count } = self;
        let size = products.size;
        window.each(dims, values, MOST_PATCHES, &mut |patch| {
            *count += 1;
            for (i, left) in patch.iter().enumerate().filter(|(_, left)| **left != 0.0) {
                let left = f64::from(*left);
                means[i] += left;
                for (own, right) in products.values[i * size + i..(i + 1) * size].iter_mut().zip(&patch[i..])
                {
                    *own += left * f64::from(*right);
                }
            }
        });
        Ok(())
    }
}

/// That of a matrix.
#[cfg(test)]
pub(super) fn factored(values: &[f64], size: usize) -> Factored {
    let mut square = Square::new(size, &MemoryBudget::new(1 << 20)).unwrap();
    square.values.copy_from_slice(values);
    square.factored().unwrap().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_the_best_there_is() {
        // Damped by 0.03 the matrix is [[4.03, 1, 0.5], [1, 3.03, 0.2], [0.5, 0.2, 2.03]]. Without the second of (1, 2, 3) the
        // others solve [[4.03, 0.5], [0.5, 2.03]] w = [7.53, 6.99].
        let factored = factored(&[4.0, 1.0, 0.5, 1.0, 3.0, 0.2, 0.5, 0.2, 2.0], 3);
        let mut weights = [0.25f32, 0.0, -1.0];
        factored.refit(&[1.0, 2.0, 3.0], &mut weights);
        let det = 4.03 * 2.03 - 0.25;
        let best = [(7.53 * 2.03 - 0.5 * 6.99) / det, 0.0, (4.03 * 6.99 - 0.5 * 7.53) / det];
        let differ = weights.iter().zip(best).map(|(w, best)| (f64::from(*w) - best).abs());
        assert!(differ.fold(0.0, f64::max) < 1e-6, "{weights:?} {best:?}");
        let mut none = [0.0f32; 3];
        factored.refit(&[1.0, 2.0, 3.0], &mut none);
        assert_eq!(none, [0.0; 3]);
    }

    #[test]
    fn what_is_taken_in_blocks_the_others_make_up_for_as_well_as_they_can() {
        // Damped by 0.03; without the second and the third the first is (H w)_1 / H_11.
        let h = [4.0, 1.0, 0.5, 1.0, 3.0, 0.2, 0.5, 0.2, 2.0];
        let root = factored(&h, 3);
        let before = [1.0f32, 2.0, 3.0];
        let best = 7.53 / 4.03;
        let power = 7.53 + 2.0 * (1.0 + 6.06 + 0.6) + 3.0 * (0.5 + 0.4 + 6.09);
        assert!((root.power(&before) - power).abs() < 1e-9, "{}", root.power(&before));
        let left = power - best * 7.53;
        let mut inverse = root.inverse();
        let loss = inverse.loss(&[1, 2], [&before[..]].into_iter());
        assert!((loss - left).abs() < 1e-9, "{loss} {left}");
        let mut both = before;
        inverse.take(&[1, 2], [&mut both[..]].into_iter());
        assert!((f64::from(both[0]) - best).abs() < 1e-6 && both[1..] == [0.0; 2], "{both:?}");
        // One after the other they are the same.
        let (mut inverse, mut single) = (factored(&h, 3).inverse(), before);
        inverse.take(&[2], [&mut single[..]].into_iter());
        inverse.take(&[1], [&mut single[..]].into_iter());
        assert!((single[0] - both[0]).abs() < 1e-6 && single[1..] == [0.0; 2], "{single:?}");
    }

    #[test]
    fn a_bias_takes_the_means_away() {
        let budget = MemoryBudget::new(1 << 20);
        let moments = || {
            let mut products = Square::new(2, &budget).unwrap();
            products.values.copy_from_slice(&[5.0, 3.0, 3.0, 4.0]);
            Moments { means: vec![2.0, 1.0], products }
        };
        let (raw, means) = moments().judge(false);
        assert_eq!((raw.values, means), (vec![5.0, 3.0, 3.0, 4.0], None));
        let (centred, means) = moments().judge(true);
        assert_eq!((centred.values, means), (vec![1.0, 1.0, 1.0, 3.0], Some(vec![2.0, 1.0])));
    }

    #[test]
    fn the_root_of_the_inverse_is_an_upper_triangle() {
        let h = [4.0, 1.0, 0.5, 1.0, 3.0, 0.2, 0.5, 0.2, 2.0];
        let factored = factored(&h, 3);
        let u = |row: usize, column: usize| if column < row { 0.0 } else { factored.row(row)[column] };
        // U times the (damped) matrix times Uᵀ is 1.
        for i in 0..3 {
            for j in 0..3 {
                let mut sum = 0.0;
                for a in 0..3 {
                    for b in 0..3 {
                        let damped = h[a * 3 + b] + if a == b { 0.03 } else { 0.0 };
                        sum += u(i, a) * damped * u(j, b);
                    }
                }
                assert!((sum - f64::from(i == j)).abs() < 1e-9, "{i} {j}: {sum}");
            }
        }
    }
}
