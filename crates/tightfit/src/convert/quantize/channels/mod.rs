//! Pruning of whole channels: those of a product's output, with all that is computed of them alone and all that multiplies them.
//! Shapes are smaller then, and what runs the model has nothing to know of it.

mod choose;
mod cut;
mod flow;
mod sets;

use std::collections::HashMap;

use super::draft::Draft;
use super::full::Made;
use super::maker::Maker;
use super::rewrite::Rewritten;
use super::weights::product;
use crate::error::Error;
use choose::choose;
use cut::cut;
use flow::Flow;

/// A layer that keeps all of its channels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// Its weight.
    pub name: String,
    /// The builtin that takes it.
    pub op: String,
    /// Why.
    pub why: String,
}

/// A model that has been written with fewer channels.
pub(super) struct Thinned {
    pub written: Rewritten,
    /// The share of the weights that is gone.
    pub sparsity: f64,
    /// Layers whose other weights make up for those that are gone.
    pub compensated: usize,
    pub kept: Vec<Kept>,
}

/// Writes the model without a share of the channels of each product that can lose some.
///
/// # Errors
/// As [`super::prune::prune`].
pub(super) fn prune(maker: &Maker<'_>, share: f64) -> Result<Thinned, Error> {
    let Maker { model, budget, .. } = maker;
    if model.subgraphs.len() != 1 {
        return Err(Error::data(maker.path, "has several graphs, of which channels are not taken away"));
    }
    let before = Draft::new(model, budget)?;
    let flow = Flow::of(&before, budget)?;
    let mut chosen = choose(maker, &before, &flow, share)?;
    let compensated = chosen.changed.values().filter(|(_, bias)| bias.is_some()).count();
    let mut draft = Draft::new(model, budget)?;
    let cut = cut(&mut draft, &flow, &mut chosen, budget)?;
    draft.compact();
    let kept = kept(&before, &flow);
    let bytes = before.constant_bytes();
    drop(flow);
    let made = Made { layers: cut.layers, names: HashMap::new() };
    let written = maker.write(bytes, &draft, made, None)?;
    let [all, left] = cut.elements;
    let sparsity = 1.0 - left as f64 / all.max(1) as f64;
    Ok(Thinned { written, sparsity, compensated, kept })
}

/// The products of which no channel can go.
fn kept(draft: &Draft, flow: &Flow<'_>) -> Vec<Kept> {
    let products = draft.graphs[0].operators.iter().filter(|operator| product(operator).is_some());
    let why = |channels: &Vec<u32>| {
        let mut all = channels.iter().map(|own| flow.sets.why(*own));
        let first = all.next()??.to_string();
        all.all(|own| own.is_some()).then_some(first)
    };
    products
        .filter_map(|operator| {
            let why = flow.channels.get(operator.outputs.first()?).and_then(why)?;
            let name = flow.name(*operator.inputs.get(1)?)?.to_string();
            Some(Kept { name, op: operator.name().to_string(), why })
        })
        .collect()
}
