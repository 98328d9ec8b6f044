//! Which channels go: those that products lose least without, when the weights of the others make up for them.
//!
//! Kurtic, Frantar, Alistarh: ZipLM, inference-aware structured pruning of language models, 2023. One channel goes after the other,
//! and what it takes with it is known of what is left then. Without data those go whose weights are the smallest.

use std::collections::{BTreeMap, HashMap, HashSet};

use tightfit_core::{Account, Reservation};

use super::super::draft::Draft;
use super::super::hessian::{Inverse, Moments};
use super::super::maker::Maker;
use super::super::own_bias::{bias_of, made_up_for};
use super::super::values::read;
use super::flow::{Flow, Product};
use super::sets::Sets;
use crate::error::Error;

/// What goes, and what changes for it.
pub(super) struct Chosen {
    /// The first of each set of channels that goes.
    pub gone: HashSet<u32>,
    /// The weights of products, and with data their biases, by the operator; input channels that go are 0.
    pub changed: HashMap<usize, (Vec<f32>, Option<Vec<f32>>)>,
    account: Account,
}

/// Chooses a share of the channels.
///
/// # Errors
/// As [`Moments::of`], and what reading the weights says.
pub(super) fn choose(maker: &Maker<'_>, draft: &Draft, flow: &Flow<'_>, share: f64) -> Result<Chosen, Error> {
    let account = Account::new(maker.budget, "weights of fewer channels");
    let mut chosen = Chosen { gone: HashSet::new(), changed: HashMap::new(), account };
    // Those that go from the end on: what is gone of a product's output is not to be made up for.
    for roots in peers(flow).into_iter().rev() {
        let count = (roots.len() as f64 * share).round() as usize;
        let is_taken = |product: &&Product| {
            product.inputs.iter().any(|own| roots.binary_search(&flow.sets.root(*own)).is_ok())
        };
        if count == 0 {
            continue;
        }
        let takers = flow.products.iter().filter(is_taken);
        let takers =
            takers.map(|own| Taker::of(maker, draft, flow, own, &chosen)).collect::<Result<Vec<_>, _>>()?;
        let makers = sizes(maker, draft, flow, &roots)?;
        Choice { maker, takers, makers }.take(roots, count, &mut chosen)?;
    }
    Ok(chosen)
}

/// The channels that can go, those together of which products have a share, in the order of the products.
fn peers(flow: &Flow<'_>) -> Vec<Vec<u32>> {
    let mut peers = Sets::default();
    let all =
        flow.products.iter().flat_map(|product| &product.outputs).max().map_or(0, |last| *last as usize + 1);
    peers.fresh(all);
    for product in &flow.products {
        let roots: Vec<u32> = product.outputs.iter().map(|own| flow.sets.root(*own)).collect();
        peers.join(&roots[1..], &roots);
    }
    let mut found: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    let mut places = HashMap::new();
    for product in &flow.products {
        let first = peers.root(flow.sets.root(product.outputs[0]));
        let place = *places.entry(first).or_insert(product.operator);
        let own = found.entry(place).or_default();
        own.extend(
            product
                .outputs
                .iter()
                .filter(|own| flow.sets.why(**own).is_none())
                .map(|own| flow.sets.root(*own)),
        );
    }
    for own in found.values_mut() {
        own.sort_unstable();
        own.dedup();
    }
    found.into_values().collect()
}

/// A product that makes channels: which it still has, and, without data, how large each one's weights are.
struct Made {
    left: HashSet<u32>,
    sizes: HashMap<u32, f64>,
}

fn sizes(maker: &Maker<'_>, draft: &Draft, flow: &Flow<'_>, roots: &[u32]) -> Result<Vec<Made>, Error> {
    let mut found = Vec::new();
    for product in &flow.products {
        let own: Vec<u32> = product.outputs.iter().map(|own| flow.sets.root(*own)).collect();
        if !own.iter().any(|root| roots.binary_search(root).is_ok()) {
            continue;
        }
        let mut sizes = HashMap::new();
        if maker.options.data.sources.is_empty() {
            let _weights =
                maker.budget.try_reserve("a weight that channels are chosen by", product.place.bytes)?;
            let weights = read(&draft.source, product.place, maker.budget)?;
            let all = squares(&weights).max(f64::MIN_POSITIVE);
            for (root, row) in own.iter().zip(weights.chunks_exact(product.window.len())) {
                *sizes.entry(*root).or_default() += squares(row) / all;
            }
        }
        found.push(Made { left: own.into_iter().collect(), sizes });
    }
    Ok(found)
}

fn squares(weights: &[f32]) -> f64 {
    weights.iter().map(|weight| f64::from(*weight) * f64::from(*weight)).sum()
}

/// A product that multiplies channels.
struct Taker {
    operator: usize,
    before: Vec<f32>,
    weights: Vec<f32>,
    columns: usize,
    /// False for rows whose channel is gone.
    is_left: Vec<bool>,
    /// The elements of a row that each channel is multiplied by.
    blocks: HashMap<u32, Vec<usize>>,
    /// What losses are a share of.
    power: f64,
    /// With data.
    inverse: Option<Inverse>,
    bias: Option<(Vec<f32>, Vec<f64>)>,
    _memory: Reservation,
}

impl Taker {
    fn of(
        maker: &Maker<'_>,
        draft: &Draft,
        flow: &Flow<'_>,
        product: &Product,
        chosen: &Chosen,
    ) -> Result<Taker, Error> {
        let Product { operator, place, window, inputs, outputs } = product;
        let memory = maker.budget.try_reserve("a weight of fewer channels", 3 * place.bytes)?;
        let before = read(&draft.source, *place, maker.budget)?;
        let columns = window.len();
        let mut blocks: HashMap<u32, Vec<usize>> = HashMap::new();
        for at in 0..columns {
            blocks.entry(flow.sets.root(inputs[at % inputs.len()])).or_default().push(at);
        }
        let mut taker = Taker {
            operator: *operator,
            weights: chosen
                .changed
                .get(operator)
                .map_or_else(|| before.clone(), |(weights, _)| weights.clone()),
            is_left: outputs.iter().map(|own| !chosen.gone.contains(&flow.sets.root(*own))).collect(),
            columns,
            blocks,
            power: squares(&before),
            inverse: None,
            bias: None,
            before,
            _memory: memory,
        };
        if maker.options.data.sources.is_empty() {
            return Ok(taker);
        }
        let own = &draft.graphs[0].operators[*operator];
        let moments = Moments::of(&maker.floats()?, own.inputs[0], window)?;
        let bias = bias_of(draft, own, window, maker.budget)?;
        let (judge, means) = moments.judge(bias.is_some());
        taker.bias = bias.zip(means);
        if let Some(root) = judge.factored()? {
            let rows =
                taker.before.chunks_exact(columns).zip(&taker.is_left).filter(|(_, is_left)| **is_left);
            taker.power = rows.map(|(row, _)| root.power(row)).sum();
            let mut inverse = root.inverse();
            let gone = taker.blocks.iter().filter(|(root, _)| chosen.gone.contains(root));
            gone.for_each(|(_, block)| inverse.take(block, std::iter::empty()));
            taker.inverse = Some(inverse);
        }
        Ok(taker)
    }

    /// The share of the power that is lost without a channel.
    fn loss(&self, root: u32) -> f64 {
        let Some(block) = self.blocks.get(&root) else { return 0.0 };
        let rows = self.weights.chunks_exact(self.columns).zip(&self.is_left);
        let mut rows = rows.filter(|(_, is_left)| **is_left).map(|(row, _)| row);
        let lost = match &self.inverse {
            Some(inverse) => inverse.loss(block, rows),
            None => rows.by_ref().flat_map(|row| block.iter().map(|at| f64::from(row[*at]).powi(2))).sum(),
        };
        lost / self.power.max(f64::MIN_POSITIVE)
    }

    fn take(&mut self, root: u32) {
        let Some(block) = self.blocks.get(&root) else { return };
        let rows = self.weights.chunks_exact_mut(self.columns);
        match &mut self.inverse {
            Some(inverse) => inverse.take(block, rows),
            None => rows.for_each(|row| block.iter().for_each(|at| row[*at] = 0.0)),
        }
    }
}

/// A choice among channels of which the same share goes.
struct Choice<'c> {
    maker: &'c Maker<'c>,
    takers: Vec<Taker>,
    makers: Vec<Made>,
}

impl Choice<'_> {
    /// What is lost without each of these channels.
    fn losses(&self, roots: &[u32]) -> Vec<f64> {
        let loss = |root: &u32| {
            let taken: f64 = self.takers.iter().map(|taker| taker.loss(*root)).sum();
            taken + self.makers.iter().filter_map(|own| own.sizes.get(root)).sum::<f64>()
        };
        roots.iter().map(loss).collect()
    }

    /// Takes so many of the channels, as long as each product keeps one.
    fn take(mut self, mut roots: Vec<u32>, count: usize, chosen: &mut Chosen) -> Result<(), Error> {
        let mut losses = self.losses(&roots);
        for n in 0..count {
            if self.maker.stop.is_set() {
                return Err(Error::Interrupted);
            }
            // Where none make up for others, losses stay what they are.
            if n > 0 && self.takers.iter().any(|taker| taker.inverse.is_some()) {
                losses = self.losses(&roots);
            }
            let is_last =
                |root: &u32| self.makers.iter().any(|own| own.left.len() == 1 && own.left.contains(root));
            let can_go = (0..roots.len()).filter(|index| !is_last(&roots[*index]));
            let Some(index) = can_go.min_by(|a, b| losses[*a].total_cmp(&losses[*b])) else { break };
            let root = roots.remove(index);
            losses.remove(index);
            self.takers.iter_mut().for_each(|taker| taker.take(root));
            self.makers.iter_mut().for_each(|own| {
                own.left.remove(&root);
            });
            chosen.gone.insert(root);
        }
        for taker in self.takers {
            let bias =
                taker.bias.map(|(bias, means)| made_up_for(&bias, (&taker.before, &taker.weights), &means));
            if !chosen.changed.contains_key(&taker.operator) {
                chosen.account.grow(4 * taker.weights.len() as u64)?;
            }
            chosen.changed.insert(taker.operator, (taker.weights, bias));
        }
        Ok(())
    }
}
