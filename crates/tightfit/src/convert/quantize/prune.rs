//! Pruning: a model as a TensorFlow Lite model with fewer weights, which are stored without the zeros.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use tightfit_core::{MemoryBudget, StopFlag};
use tightfit_format::tflite::{Operator, Options, Place, SparseDim, Sparsity, Tensor};

use super::channels::{self, Kept, Thinned};
use super::draft::Draft;
use super::full::Made;
use super::hessian::Moments;
use super::maker::{Maker, rewrite};
use super::own_bias::{bias_of, made_up_for, set_bias};
use super::patches::Window;
use super::rewrite::{RewriteOptions, Rewritten};
use super::thin::{Pattern, thin};
use super::values::{Value, read};
use super::weights::{Layer, code, constant, push};
use crate::compare::noise::Noise;
use crate::error::Error;

/// Weights of fewer elements are left as they are.
const LEAST_ELEMENTS: u64 = 1024;

/// The share of the weights that become zero where none is said.
const USUAL_SPARSITY: f64 = 0.7;

/// The share of the channels that are taken away where none is said.
const USUAL_CHANNELS: f64 = 0.3;

/// What is wanted of a pruned model.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// The model, and the data with which other weights make up for those that become zero; without any the smallest do.
    pub rewrite: RewriteOptions,
    /// The share of the weights that become zero; left out 0.7. Of [`Pattern::TwoOfFour`] it is one half, and of
    /// [`Pattern::Channels`] that of the channels, left out 0.3.
    pub sparsity: Option<f64>,
    /// Which become zero together.
    pub pattern: Pattern,
}

/// A model that has been pruned.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Pruned {
    /// The file, and the weights that were pruned.
    pub written: Rewritten,
    /// The share of their elements that is zero, or no longer there.
    pub sparsity: f64,
    /// Layers whose other weights make up for those that are zero.
    pub compensated: usize,
    /// Layers that keep all of their channels, of [`Pattern::Channels`].
    pub kept: Vec<Kept>,
}

/// Writes the model at `path`, pruned, to `output`, whole or not at all.
///
/// # Errors
/// As [`super::quantize`].
pub fn prune(
    path: &Path,
    options: &PruneOptions,
    output: &Path,
    stop: impl Into<StopFlag>,
    budget: &MemoryBudget,
) -> Result<Pruned, Error> {
    let sparsity = match options.pattern {
        Pattern::TwoOfFour => 0.5,
        Pattern::Channels => options.sparsity.unwrap_or(USUAL_CHANNELS),
        Pattern::Unstructured | Pattern::Blocks => options.sparsity.unwrap_or(USUAL_SPARSITY),
    };
    let pattern = options.pattern;
    rewrite(path, &options.rewrite, output, &stop.into(), budget, &mut |maker| {
        if pattern == Pattern::Channels {
            let Thinned { written, sparsity, compensated, kept } = channels::prune(maker, sparsity)?;
            return Ok(Pruned { written, sparsity, compensated, kept });
        }
        Pruning { maker, pattern, sparsity, zeros: 0, elements: 0, compensated: 0 }.prune()
    })
}

struct Pruning<'p> {
    maker: &'p Maker<'p>,
    pattern: Pattern,
    sparsity: f64,
    zeros: u64,
    elements: u64,
    compensated: usize,
}

impl Pruning<'_> {
    fn prune(mut self) -> Result<Pruned, Error> {
        let Maker { model, budget, .. } = self.maker;
        let [graph] = &model.subgraphs[..] else {
            return Err(Error::data(self.maker.path, "has several graphs, of which weights are not pruned"));
        };
        let mut draft = Draft::new(model, budget)?;
        let before = draft.constant_bytes();
        let mut layers = Vec::new();
        let mut done = HashSet::new();
        let mut operators = Vec::with_capacity(graph.operators.len());
        for mut operator in std::mem::take(&mut draft.graphs[0].operators) {
            if let Some((weight, place, window)) = self.taken(&draft, &operator)
                && done.insert(weight)
                && let Some((layer, sparse)) =
                    self.layer(&mut draft, &mut operator, weight, place, &window)?
            {
                layers.push(layer);
                operators.push(densify(sparse, weight));
            }
            operators.push(operator);
        }
        draft.graphs[0].operators = operators;
        draft.compact();
        let made = Made { layers, names: HashMap::new() };
        let written = self.maker.write(before, &draft, made, None)?;
        let sparsity = self.zeros as f64 / self.elements.max(1) as f64;
        Ok(Pruned { written, sparsity, compensated: self.compensated, kept: Vec::new() })
    }

    /// The weight of a product that is pruned: its number, its place, and how it goes over what.
    fn taken(&self, draft: &Draft, operator: &Operator) -> Option<(i32, Place, Window)> {
        let [value, weight, ..] = operator.inputs[..] else { return None };
        let tensor = |id: i32| draft.graphs[0].tensors.get(usize::try_from(id).ok()?);
        let own = tensor(weight).filter(|own| own.elements().is_some_and(|n| n >= LEAST_ELEMENTS))?;
        let window = Window::of(operator, tensor(value)?, own).filter(|window| !window.is_depthwise)?;
        let fits = window.channels.is_multiple_of(self.pattern.group());
        Some((weight, constant(draft, own)?, window)).filter(|_| fits)
    }

    /// Prunes a weight; `None` where no element became zero.
    fn layer(
        &mut self,
        draft: &mut Draft,
        operator: &mut Operator,
        weight: i32,
        place: Place,
        window: &Window,
    ) -> Result<Option<(Layer, i32)>, Error> {
        let Maker { budget, model, .. } = self.maker;
        let _weights = budget.try_reserve("a weight that is pruned", 3 * place.bytes)?;
        let mut weights = read(&draft.source, place, budget)?;
        let before = weights.clone();
        if self.maker.options.data.sources.is_empty() {
            thin(&mut weights, window.len(), self.pattern, self.sparsity, None);
        } else {
            let moments = Moments::of(&self.maker.floats()?, operator.inputs[0], window)?;
            let takers =
                model.subgraphs[0].operators.iter().filter(|own| own.inputs.contains(&weight)).count();
            let bias = if takers == 1 { bias_of(draft, operator, window, budget)? } else { None };
            let (judge, means) = moments.judge(bias.is_some());
            let root = judge.factored()?;
            self.compensated += usize::from(root.is_some());
            thin(&mut weights, window.len(), self.pattern, self.sparsity, root.as_ref());
            if let Some(root) = root {
                let rows = before.chunks_exact(window.len()).zip(weights.chunks_exact_mut(window.len()));
                rows.for_each(|(before, weights)| root.refit(before, weights));
            }
            if let (Some(bias), Some(means)) = (bias, means) {
                let bias = made_up_for(&bias, (&before, &weights), &means);
                set_bias(draft, operator, &bias)?;
            }
        }
        let zeros = weights.iter().filter(|weight| **weight == 0.0).count() as u64;
        self.zeros += zeros;
        self.elements += weights.len() as u64;
        if zeros == 0 {
            return Ok(None);
        }
        let tensor = draft.graphs[0].tensors[weight as usize].clone();
        let mut sparse = tensor.clone();
        sparse.name = format!("{}/sparse", tensor.name).into();
        let rows = tensor.shape.last().and_then(|dim| usize::try_from(*dim).ok()).unwrap_or(1);
        sparse.sparsity = Some(sparsity(&tensor, &weights, rows));
        let kept: Vec<u8> =
            weights.iter().filter(|weight| **weight != 0.0).flat_map(|w| w.to_le_bytes()).collect();
        let bytes = kept.len() as u64;
        // The indices beside the values.
        draft.account.grow(bytes + 4 * (weights.len() / rows.max(1)) as u64)?;
        sparse.values = draft.add(Value::Bytes(kept), bytes)?;
        draft.graphs[0].tensors[weight as usize].values = Place::default();
        let number = push(draft, 0, sparse)?;
        let layer = Layer {
            name: tensor.name.to_string(),
            op: operator.name().to_string(),
            dtype: "float32",
            bytes: [place.bytes, bytes + (weights.len() as u64).div_ceil(8)],
            snr_db: Noise::between(&before, &weights).snr_db(),
            output_snr_db: None,
            output: operator.outputs.first().copied().unwrap_or(-1),
        };
        Ok(Some((layer, number)))
    }
}

/// Where the elements that are not zero stand: of each row the places along the last dimension.
fn sparsity(tensor: &Tensor, weights: &[f32], row: usize) -> Sparsity {
    let (mut segments, mut indices) = (vec![0], Vec::new());
    for row in weights.chunks_exact(row.max(1)) {
        indices.extend((0..).zip(row).filter(|(_, weight)| **weight != 0.0).map(|(at, _)| at));
        segments.push(indices.len() as i32);
    }
    let rank = tensor.shape.len();
    let mut dims: Vec<SparseDim> = tensor
        .shape
        .iter()
        .take(rank.saturating_sub(1))
        .map(|size| SparseDim::Dense { size: *size })
        .collect();
    dims.push(SparseDim::Sparse { segments, indices });
    Sparsity { traversal_order: (0..rank as i32).collect(), block_map: Vec::new(), dims }
}

/// The operator that makes a dense weight of a sparse one.
fn densify(sparse: i32, weight: i32) -> Operator {
    Operator {
        code: code("DENSIFY"),
        custom: None,
        version: 1,
        inputs: vec![sparse],
        outputs: vec![weight],
        intermediates: Vec::new(),
        options: Options { table: "DensifyOptions", fields: Vec::new() },
        custom_options: Place::default(),
    }
}
