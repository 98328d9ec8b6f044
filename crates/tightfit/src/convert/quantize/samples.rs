//! Elements of what a model computes, kept to compare those of another model with.

use std::collections::HashMap;

use tightfit_core::Account;

use super::watch::{Look, Watch};
use crate::compare::noise::Noise;
use crate::error::Error;

/// Elements of a batch's tensor that are kept, in equal distances; all where there are no more.
const MOST_OF_BATCH: usize = 4096;

/// Elements of a tensor that are kept of all batches.
const MOST: usize = 1 << 16;

/// What a model has computed.
#[derive(Debug, Default)]
pub(super) struct Samples {
    tensors: HashMap<i32, Kept>,
}

impl Samples {
    /// The tensors.
    pub fn ids(&self) -> impl Iterator<Item = i32> + '_ {
        self.tensors.keys().copied()
    }
}

#[derive(Debug, Default)]
struct Kept {
    elements: Vec<f32>,
    /// The largest element of each row.
    tops: Vec<u32>,
}

/// How a tensor of two models differs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Differs {
    /// Of what the first computes, and of the difference.
    pub noise: Noise,
    rows: u64,
    equal_tops: u64,
}

impl Differs {
    /// The share of rows with the same largest element, in percent.
    pub fn top1_agreement(&self) -> Option<f64> {
        (self.rows > 0).then(|| 100.0 * self.equal_tops as f64 / self.rows as f64)
    }
}

/// The elements that are kept of a batch.
fn sampled(values: &[f32]) -> impl Iterator<Item = f32> + '_ {
    values.iter().copied().step_by(values.len().div_ceil(MOST_OF_BATCH).max(1))
}

/// The largest element of each row of a batch, where rows have several.
fn tops<'v>(dims: &[usize], values: &'v [f32]) -> impl Iterator<Item = u32> + 'v {
    let row = match dims {
        [rows, ..] if dims.len() > 1 && *rows > 0 => values.len() / rows,
        _ => 0,
    };
    let rows = if row > 1 { values } else { &[] };
    rows.chunks_exact(row.max(1)).map(|row| {
        (0..row.len()).fold(0, |best, index| if row[index] > row[best] { index } else { best }) as u32
    })
}

/// Keeps what a model computes.
///
/// # Errors
/// As [`Watch::each`].
pub(super) fn keep(watch: &Watch<'_>, ids: &[i32]) -> Result<Samples, Error> {
    let account = Account::new(watch.budget, "what a model computes, to compare with");
    Ok(watch.each(ids, Keeping { samples: Samples::default(), account })?.0.samples)
}

struct Keeping {
    samples: Samples,
    account: Account,
}

impl Look for Keeping {
    fn look(&mut self, tensor: i32, dims: &[usize], values: &[f32]) -> Result<(), Error> {
        let own = self.samples.tensors.entry(tensor).or_default();
        let before = own.elements.len() + own.tops.len();
        let room = MOST - own.elements.len();
        own.elements.extend(sampled(values).take(room));
        own.tops.extend(tops(dims, values));
        self.account.grow(4 * (own.elements.len() + own.tops.len() - before) as u64)?;
        Ok(())
    }
}

/// Compares what another model computes: `pairs` are its tensors and those of the first.
///
/// # Errors
/// As [`Watch::each`].
pub(super) fn differences(
    watch: &Watch<'_>,
    pairs: HashMap<i32, i32>,
    samples: &mut Samples,
) -> Result<HashMap<i32, Differs>, Error> {
    let mut ids: Vec<i32> = pairs.keys().copied().collect();
    ids.sort_unstable();
    let looker = Comparing { samples: std::mem::take(samples), pairs, found: HashMap::new() };
    let (looker, _) = watch.each(&ids, looker)?;
    *samples = looker.samples;
    Ok(looker.found.into_iter().map(|(id, (differs, _))| (id, differs)).collect())
}

struct Comparing {
    samples: Samples,
    pairs: HashMap<i32, i32>,
    /// What differs, and how many elements have been compared.
    found: HashMap<i32, (Differs, usize)>,
}

impl Look for Comparing {
    fn look(&mut self, tensor: i32, dims: &[usize], values: &[f32]) -> Result<(), Error> {
        let Some(first) = self.pairs.get(&tensor) else { return Ok(()) };
        let Some(kept) = self.samples.tensors.get(first) else { return Ok(()) };
        let (differs, at) = self.found.entry(*first).or_default();
        for (a, b) in kept.elements[(*at).min(kept.elements.len())..].iter().zip(sampled(values)) {
            differs.noise.add(f64::from(*a), f64::from(b));
            *at += 1;
        }
        for top in tops(dims, values) {
            let own = kept.tops.get(differs.rows as usize);
            differs.equal_tops += u64::from(own == Some(&top));
            differs.rows += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_a_largest_element() {
        let tops = |dims: &[usize], values: &[f32]| tops(dims, values).collect::<Vec<_>>();
        assert_eq!(tops(&[2, 3], &[1., 3., 2., 5., 0., 1.]), [1, 0]);
        assert_eq!(tops(&[3, 1], &[1., 3., 2.]), Vec::<u32>::new());
        assert_eq!(tops(&[3], &[1., 3., 2.]), Vec::<u32>::new());
    }

    #[test]
    fn differences_are_of_the_elements_that_were_kept() {
        let mut samples = Samples::default();
        samples.tensors.insert(7, Kept { elements: vec![3.0, 4.0], tops: vec![1] });
        let mut looker = Comparing { samples, pairs: HashMap::from([(2, 7)]), found: HashMap::new() };
        looker.look(2, &[1, 2], &[3.0, 4.5]).unwrap();
        let (differs, _) = looker.found[&7];
        assert_eq!(differs.noise.relative(), 0.1);
        assert_eq!(differs.noise.snr_db(), 20.0);
        assert_eq!(differs.top1_agreement(), Some(100.0));
    }
}
