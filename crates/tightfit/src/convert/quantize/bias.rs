//! What rounding adds to the mean of each output channel, which a bias takes away again.
//!
//! The mean of what a product makes is the product of the mean of what it takes: so it is enough to know the means of patches,
//! in the model of floats and in that of integers.

use std::collections::HashMap;

use super::patches::Window;
use super::watch::{Look, Watch};
use crate::error::Error;

/// Patches of a tensor in a batch that a mean is taken over, at most.
const MOST_PATCHES: usize = 4096;

/// Means of patches, by the output of the product.
pub(super) type Means = HashMap<i32, Vec<f64>>;

/// A product whose patches are looked at: the tensor that it takes, its output in the model of floats, and how it goes over it.
pub(super) type Taken = (i32, i32, Window);

/// The means of the patches of products.
///
/// # Errors
/// As [`Watch::each`].
pub(super) fn means(watch: &Watch<'_>, taken: Vec<Taken>) -> Result<Means, Error> {
    let elements: u64 = taken.iter().map(|(.., window)| window.len() as u64).sum();
    let _sums = watch.budget.try_reserve("means of what products take", 8 * elements)?;
    let mut ids: Vec<i32> = taken.iter().map(|(id, ..)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    let (sums, _) = watch.each(&ids, Sums { taken, sums: HashMap::new() })?;
    let mean = |(sum, count): (Vec<f64>, u64)| sum.into_iter().map(|own| own / count.max(1) as f64).collect();
    Ok(sums.sums.into_iter().map(|(output, sum)| (output, mean(sum))).collect())
}

struct Sums {
    taken: Vec<Taken>,
    sums: HashMap<i32, (Vec<f64>, u64)>,
}

impl Look for Sums {
    fn look(&mut self, tensor: i32, dims: &[usize], values: &[f32]) -> Result<(), Error> {
        for (_, output, window) in self.taken.iter().filter(|(id, ..)| *id == tensor) {
            let (sum, count) = self.sums.entry(*output).or_insert_with(|| (vec![0.0; window.len()], 0));
            window.each(dims, values, MOST_PATCHES, &mut |patch| {
                *count += 1;
                for (own, value) in sum.iter_mut().zip(patch) {
                    *own += f64::from(*value);
                }
            });
        }
        Ok(())
    }
}
