//! The steps from a model of floats to one of integers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use tightfit_core::{MemoryBudget, StopFlag};
use tightfit_format::SourceFile;
use tightfit_format::tflite::{Model as Lite, SubGraph};

use super::bias::{Means, Taken, means};
use super::calibrate::{Calibration, ranges};
use super::draft::Draft;
use super::full::{self, Made, Wanted};
use super::kinds::{FLOAT, Width};
use super::patches::Window;
use super::rewrite::{Agreement, RewriteOptions, Rewritten, floats};
use super::samples::{Differs, Samples, differences, keep};
use super::scheme::Activations;
use super::temporary::Temporary;
use super::watch::Watch;
use super::weights::{self, product};
use super::{Layer, QuantizeOptions, Quantized};
use crate::error::Error;
use crate::memory::process;

/// A model of floats on its way to one with other weights.
#[derive(Clone, Copy)]
pub(super) struct Maker<'m> {
    /// The file of floats.
    pub path: &'m Path,
    pub model: &'m Lite,
    pub options: &'m RewriteOptions,
    pub output: &'m Path,
    pub stop: &'m StopFlag,
    pub budget: &'m MemoryBudget,
}

/// Reads the model at `path` as one of floats, and makes of it what `make` writes to `output`.
///
/// # Errors
/// As [`crate::freeze::freeze`], and what `make` says.
pub(super) fn rewrite<T>(
    path: &Path,
    options: &RewriteOptions,
    output: &Path,
    stop: &StopFlag,
    budget: &MemoryBudget,
    make: &mut dyn FnMut(&Maker<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let floats = floats(path, options, output, stop, budget)?;
    let path = floats.as_ref().map_or(path, Temporary::path);
    let model = Lite::read(SourceFile::open(path)?, budget)?;
    make(&Maker { path, model: &model, options, output, stop, budget })
}

impl Maker<'_> {
    /// Writes the model of integers.
    pub fn quantize(&self, options: &QuantizeOptions) -> Result<Quantized, Error> {
        let meaning = options.scheme.meaning();
        let before = Draft::new(self.model, self.budget)?.constant_bytes();
        let mut quantized = Quantized::default();
        // The same with ports of floats, which is what data can be fed to.
        let mut measured = None;
        let (draft, made) = match meaning.activations {
            Activations::Integers(width) => {
                let calibration = ranges(&self.floats()?, options.method, width.steps())?;
                quantized.calibration_rows = calibration.rows;
                let full = Full { maker: self, options, width, calibration };
                let chosen = full.best()?;
                if options.has_integer_ports {
                    measured = Some(full.build(&chosen, false)?);
                }
                full.build(&chosen, options.has_integer_ports)?
            }
            _ => {
                let mut draft = Draft::new(self.model, self.budget)?;
                // Of weights that are floats again before they are used; what products round besides is another error.
                let has_data = !self.options.data.sources.is_empty() && self.model.subgraphs.len() == 1;
                let watch = (has_data && meaning.is_weight_only()).then(|| self.floats()).transpose()?;
                let layers = weights::quantize(&mut draft, &meaning, watch.as_ref(), self.budget)?;
                draft.compact();
                (draft, Made { layers, names: HashMap::new() })
            }
        };
        quantized.in_floats = in_floats(&draft);
        quantized.written = self.write(before, &draft, made, measured.as_ref())?;
        Ok(quantized)
    }

    /// Writes a model that was made of one whose constants have `before` bytes, and puts its layers and outputs beside those of
    /// the model of floats where there is data: by another model with ports of floats where that is needed.
    pub fn write(
        &self,
        before: u64,
        draft: &Draft,
        made: Made,
        instead: Option<&(Draft, Made)>,
    ) -> Result<Rewritten, Error> {
        let Made { layers, names } = made;
        let constant_bytes = [before, draft.constant_bytes()];
        let bytes = draft.write(self.output, self.stop.flag(), self.budget)?;
        process::end_phase();
        let mut written = Rewritten { bytes, constant_bytes, layers, outputs: Vec::new() };
        if self.options.data.sources.is_empty() || self.model.subgraphs.len() != 1 {
            return Ok(written);
        }
        let samples = &mut self.kept()?;
        let found = match instead {
            Some(pair) => self.beside(pair, samples)?,
            None => self.compared(self.output, &draft.graphs[0], &names, samples)?,
        };
        for layer in &mut written.layers {
            layer.output_snr_db = found.get(&layer.output).map(|differs| differs.noise.snr_db());
        }
        written.outputs = self.agreements(&found);
        Ok(written)
    }

    /// The model of floats over the data.
    pub fn floats(&self) -> Result<Watch<'_>, Error> {
        match &self.model.subgraphs[..] {
            [graph] => Ok(self.watch(self.path, graph)),
            _ => Err(Error::data(
                self.path,
                "has several graphs, of which activations of integers are not made",
            )),
        }
    }

    fn watch<'w>(&'w self, path: &'w Path, graph: &'w SubGraph) -> Watch<'w> {
        let RewriteOptions { data, batch, threads, .. } = self.options;
        let (stop, budget) = (self.stop, self.budget);
        Watch { path, graph, data, batch: *batch, threads: *threads, stop, budget }
    }

    /// What the model of floats computes: what its products make, and its outputs.
    fn kept(&self) -> Result<Samples, Error> {
        let watch = self.floats()?;
        let products = watch.graph.operators.iter().filter(|operator| product(operator).is_some());
        let ids = products.filter_map(|operator| operator.outputs.first()).chain(&watch.graph.outputs);
        let is_float = |id: &&i32| {
            usize::try_from(**id)
                .ok()
                .and_then(|id| watch.graph.tensors.get(id))
                .is_some_and(|t| t.kind == FLOAT)
        };
        let mut seen = HashSet::new();
        let ids: Vec<i32> = ids.filter(is_float).copied().filter(|id| seen.insert(*id)).collect();
        keep(&watch, &ids)
    }

    /// How what a model of integers computes differs, by the tensors of the model of floats.
    fn compared(
        &self,
        path: &Path,
        graph: &SubGraph,
        names: &HashMap<i32, String>,
        samples: &mut Samples,
    ) -> Result<HashMap<i32, Differs>, Error> {
        let made: HashMap<&str, i32> = made(graph);
        let tensors = &self.model.subgraphs[0].tensors;
        let other = |id: i32| {
            let own = names.get(&id).map(String::as_str).and_then(|name| made.get(name));
            let own = own.or_else(|| made.get(&*tensors[id as usize].name)).copied()?;
            // One of fewer channels has nothing at the same places.
            (graph.tensors[own as usize].shape == tensors[id as usize].shape).then_some(own)
        };
        let pairs = samples.ids().filter_map(|id| Some((other(id)?, id))).collect();
        differences(&self.watch(path, graph), pairs, samples)
    }

    /// The same of a model that has not been written.
    fn beside(
        &self,
        (draft, made): &(Draft, Made),
        samples: &mut Samples,
    ) -> Result<HashMap<i32, Differs>, Error> {
        let mut file = Temporary::beside(self.output);
        draft.write(file.path(), self.stop.flag(), self.budget)?;
        file.hold();
        let found = self.compared(file.path(), &draft.graphs[0], &made.names, samples)?;
        process::end_phase();
        Ok(found)
    }

    fn agreements(&self, found: &HashMap<i32, Differs>) -> Vec<Agreement> {
        let graph = &self.model.subgraphs[0];
        let shown = |id: &i32| {
            let signature = self.model.signatures.iter().find(|signature| signature.subgraph == 0);
            let mut named = signature.into_iter().flat_map(|signature| &signature.outputs);
            let name = named.find(|(_, number)| *number as i32 == *id).map(|(name, _)| name.to_string());
            name.unwrap_or_else(|| graph.tensors[*id as usize].name.to_string())
        };
        let agreement = |id: &i32| {
            let differs = found.get(id)?;
            Some(Agreement {
                name: shown(id),
                snr_db: differs.noise.snr_db(),
                top1_agreement: differs.top1_agreement(),
            })
        };
        graph.outputs.iter().filter_map(agreement).collect()
    }
}

/// The tensors that operators make, by name.
fn made(graph: &SubGraph) -> HashMap<&str, i32> {
    let ids = graph.operators.iter().flat_map(|operator| &operator.outputs).chain(&graph.inputs);
    ids.map(|id| (&*graph.tensors[*id as usize].name, *id)).collect()
}

/// What products make that no product follows.
fn last(graph: &SubGraph) -> HashSet<i32> {
    let mut wanted: HashSet<i32> = graph.outputs.iter().copied().collect();
    let mut found = HashSet::new();
    for operator in graph.operators.iter().rev() {
        let made: Vec<i32> = operator.outputs.iter().copied().filter(|id| wanted.contains(id)).collect();
        match product(operator) {
            Some(_) => found.extend(made),
            None if !made.is_empty() => wanted.extend(&operator.inputs),
            None => {}
        }
    }
    found
}

/// A model whose activations become integers, once their ranges are known.
struct Full<'f> {
    maker: &'f Maker<'f>,
    options: &'f QuantizeOptions,
    width: &'static Width,
    calibration: Calibration,
}

/// Which products compute in floats, and the means that biases follow from.
struct Chosen {
    in_floats: HashSet<i32>,
    /// Of patches in the model of floats, and in that of integers.
    means: Option<[Means; 2]>,
}

impl Full<'_> {
    /// All that can be in integers, or as much as the error that is allowed leaves.
    fn best(&self) -> Result<Chosen, Error> {
        let all = self.choose(HashSet::new())?;
        let Some(max_error) = self.options.max_error else { return Ok(all) };
        let mut samples = self.maker.kept()?;
        if self.error(&all, &mut samples)? <= max_error {
            return Ok(all);
        }
        let hurting = self.hurting(&all)?;
        let mut first = |count: usize| {
            let chosen = self.choose(hurting[..count].iter().copied().collect())?;
            let is_kept = self.error(&chosen, &mut samples)? <= max_error;
            Ok::<_, Error>(is_kept.then_some(chosen))
        };
        let refused =
            || Error::option("max_error", max_error.to_string(), "it is larger with all products in floats");
        let mut best = first(hurting.len())?.ok_or_else(refused)?;
        // The fewest that keep it.
        let (mut few, mut many) = (0, hurting.len());
        while many - few > 1 {
            let count = few.midpoint(many);
            match first(count)? {
                Some(chosen) => (best, many) = (chosen, count),
                None => few = count,
            }
        }
        Ok(best)
    }

    /// The largest error of an output.
    fn error(&self, chosen: &Chosen, samples: &mut Samples) -> Result<f64, Error> {
        let found = self.maker.beside(&self.build(chosen, false)?, samples)?;
        let outputs = &self.maker.model.subgraphs[0].outputs;
        Ok(outputs
            .iter()
            .filter_map(|id| found.get(id))
            .map(|differs| differs.noise.relative())
            .fold(0.0, f64::max))
    }

    /// The outputs of products, those first whose own rounding adds most: of the weight, and of the value that it takes.
    fn hurting(&self, all: &Chosen) -> Result<Vec<i32>, Error> {
        let (_, made) = self.build(all, false)?;
        let graph = &self.maker.model.subgraphs[0];
        let value = |output: i32| {
            let operator = graph.operators.iter().find(|operator| operator.outputs.contains(&output))?;
            operator.inputs.first().copied()
        };
        let rounding = |id: i32| {
            let (scale, _) = self.width.params(*self.calibration.ranges.get(&id)?);
            let power = *self.calibration.powers.get(&id)?;
            Some(f64::from(scale) * f64::from(scale) / 12.0 / power.max(f64::MIN_POSITIVE))
        };
        let noise = |layer: &Layer| {
            let both = [value(layer.output), Some(layer.output)];
            let values: f64 = both.into_iter().flatten().filter_map(rounding).sum();
            values + 10f64.powf(-layer.snr_db / 10.0)
        };
        let mut layers: Vec<(f64, i32)> =
            made.layers.iter().map(|layer| (noise(layer), layer.output)).collect();
        layers.sort_by(|a, b| b.0.total_cmp(&a.0));
        Ok(layers.into_iter().map(|(_, output)| output).collect())
    }

    /// The means that biases follow from, with these products in floats.
    fn choose(&self, in_floats: HashSet<i32>) -> Result<Chosen, Error> {
        let mut chosen = Chosen { in_floats, means: None };
        if !self.options.corrects_biases {
            return Ok(chosen);
        }
        let floats = means(&self.maker.floats()?, self.taken())?;
        // What a product takes has the mean that it has among floats, once those before it are right: all are right at once by
        // what the rounding of their own weights adds. What else there is shows behind the last, which nothing follows.
        chosen.means = Some([floats.clone(), floats.clone()]);
        let (draft, made) = self.build(&chosen, false)?;
        let mut file = Temporary::beside(self.maker.output);
        draft.write(file.path(), self.maker.stop.flag(), self.maker.budget)?;
        file.hold();
        process::end_phase();
        let graph = &draft.graphs[0];
        let numbers = self::made(graph);
        let last = last(&self.maker.model.subgraphs[0]);
        let taken = self.taken().into_iter().filter_map(|(value, output, window)| {
            let number = *numbers.get(made.names.get(&value)?.as_str())?;
            last.contains(&output).then_some((number, output, window))
        });
        let integers = means(&self.maker.watch(file.path(), graph), taken.collect())?;
        chosen.means = Some([floats, integers]);
        Ok(chosen)
    }

    /// The model.
    fn build(&self, chosen: &Chosen, has_integer_ports: bool) -> Result<(Draft, Made), Error> {
        let Maker { model, budget, .. } = self.maker;
        let mut draft = Draft::new(model, budget)?;
        let wanted = Wanted {
            calibration: &self.calibration,
            width: self.width,
            has_integer_ports,
            means: chosen.means.as_ref().map(|[floats, integers]| [floats, integers]),
            in_floats: &chosen.in_floats,
        };
        let made = full::quantize(&mut draft, &wanted, budget)?;
        draft.compact();
        Ok((draft, made))
    }

    /// The products of the model of floats.
    fn taken(&self) -> Vec<Taken> {
        let graph = &self.maker.model.subgraphs[0];
        let tensor = |id: i32| graph.tensors.get(usize::try_from(id).ok()?);
        let taken = graph.operators.iter().filter_map(|operator| {
            let ([value, weight, ..], Some(output)) = (&operator.inputs[..], operator.outputs.first()) else {
                return None;
            };
            let taken = tensor(*value).filter(|tensor| tensor.kind == FLOAT)?;
            Some((*value, *output, Window::of(operator, taken, tensor(*weight)?)?))
        });
        taken.collect()
    }
}

/// The operators that compute in floats.
fn in_floats(draft: &Draft) -> Vec<(String, usize)> {
    let mut counts = BTreeMap::new();
    for graph in &draft.graphs {
        for operator in &graph.operators {
            let output =
                operator.outputs.first().and_then(|id| graph.tensors.get(usize::try_from(*id).ok()?));
            let is_float = output.is_some_and(|tensor| tensor.kind == FLOAT);
            if is_float && operator.name() != "DEQUANTIZE" {
                *counts.entry(operator.name().to_string()).or_insert(0) += 1;
            }
        }
    }
    counts.into_iter().collect()
}
