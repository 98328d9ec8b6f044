//! What a product's output loses when weights change: the mean of the products of its patches' elements, and with it how the other
//! weights of a row make up for one that is changed (optimal brain surgeon, in the order of the columns).

use tightfit_core::{Account, MemoryBudget};

use super::patches::Window;
use super::watch::{Look, Watch};
use crate::error::Error;

/// Patches of a batch that are looked at, at most.
const MOST_PATCHES: usize = 256;

/// The share of the mean of the diagonal that is added to it.
const DAMPING: f64 = 0.01;

/// A square matrix of 64-bit floats.
pub(super) struct Square {
    pub size: usize,
    pub values: Vec<f64>,
    _account: Account,
}

impl Square {
    fn new(size: usize, budget: &MemoryBudget) -> Result<Square, Error> {
        let mut account = Account::new(budget, "what weights have to do with each other");
        account.grow(8 * (size as u64).saturating_mul(size as u64))?;
        Ok(Square { size, values: vec![0.0; size * size], _account: account })
    }

    pub fn row(&self, index: usize) -> &[f64] {
        &self.values[index * self.size..][..self.size]
    }

    /// The upper triangle `U` with `UᵀU` the inverse; `None` for a matrix that has none.
    ///
    /// The matrix is `RRᵀ` with `R` an upper triangle, and `U` the inverse of `R`.
    pub fn inverse_root(mut self) -> Option<Square> {
        let size = self.size;
        let mean = (0..size).map(|i| self.values[i * size + i]).sum::<f64>() / size.max(1) as f64;
        for i in 0..size {
            let own = &mut self.values[i * size + i];
            *own += (DAMPING * mean).max(f64::MIN_POSITIVE);
        }
        // R, from the last column on: what is left of a column is found from the columns behind it.
        for j in (0..size).rev() {
            for i in (0..=j).rev() {
                let (a, b) = (&self.row(i)[j + 1..], &self.row(j)[j + 1..]);
                let rest = self.values[i * size + j] - a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let value = if i == j { rest.sqrt() } else { rest / self.values[j * size + j] };
                if !value.is_finite() || (i == j && value <= 0.0) {
                    return None;
                }
                self.values[i * size + j] = value;
            }
        }
        // Its inverse, row by row from the last: row i is (e_i - what R has behind the diagonal times the rows below) / R_ii.
        for i in (0..size).rev() {
            let (above, below) = self.values.split_at_mut((i + 1) * size);
            let row = &mut above[i * size..];
            let diagonal = row[i];
            let factors: Vec<f64> = row[i + 1..].to_vec();
            row.fill(0.0);
            row[i] = 1.0 / diagonal;
            for (k, factor) in factors.into_iter().enumerate().filter(|(_, factor)| *factor != 0.0) {
                let scaled = factor / diagonal;
                let from = &below[k * size + i + 1 + k..][..size - (i + 1 + k)];
                for (own, other) in row[i + 1 + k..].iter_mut().zip(from) {
                    *own -= scaled * other;
                }
            }
        }
        Some(self)
    }
}

/// The means of the products of what a product takes, two elements of a patch at a time.
///
/// # Errors
/// As [`Watch::each`], and the memory of the matrix.
pub(super) fn hessian(watch: &Watch<'_>, value: i32, window: &Window) -> Result<Square, Error> {
    let sums = Square::new(window.len(), watch.budget)?;
    let (looker, _) = watch.each(&[value], Sums { window: window.clone(), sums, count: 0 })?;
    let Sums { mut sums, count, .. } = looker;
    let size = sums.size;
    for i in 0..size {
        for j in i..size {
            let mean = sums.values[i * size + j] / count.max(1) as f64;
            sums.values[i * size + j] = mean;
            sums.values[j * size + i] = mean;
        }
    }
    Ok(sums)
}

struct Sums {
    window: Window,
    sums: Square,
    count: u64,
}

impl Look for Sums {
    fn look(&mut self, _tensor: i32, dims: &[usize], values: &[f32]) -> Result<(), Error> {
        let Sums { window, sums, count } = self;
        let size = sums.size;
        window.each(dims, values, MOST_PATCHES, &mut |patch| {
            *count += 1;
            for (i, left) in patch.iter().enumerate().filter(|(_, left)| **left != 0.0) {
                let left = f64::from(*left);
                for (own, right) in sums.values[i * size + i..(i + 1) * size].iter_mut().zip(&patch[i..]) {
                    *own += left * f64::from(*right);
                }
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_the_inverse_is_an_upper_triangle() {
        let budget = MemoryBudget::new(1 << 20);
        let mut square = Square::new(3, &budget).unwrap();
        let h = [4.0, 1.0, 0.5, 1.0, 3.0, 0.2, 0.5, 0.2, 2.0];
        square.values.copy_from_slice(&h);
        let u = square.inverse_root().unwrap();
        assert_eq!([u.values[3], u.values[6], u.values[7]], [0.0; 3]);
        // U times the (damped) matrix times Uᵀ is 1.
        for i in 0..3 {
            for j in 0..3 {
                let mut sum = 0.0;
                for a in 0..3 {
                    for b in 0..3 {
                        let damped = h[a * 3 + b] + if a == b { 0.03 } else { 0.0 };
                        sum += u.values[i * 3 + a] * damped * u.values[j * 3 + b];
                    }
                }
                assert!((sum - f64::from(i == j)).abs() < 1e-9, "{i} {j}: {sum}");
            }
        }
    }
}
