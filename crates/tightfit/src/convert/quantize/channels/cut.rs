//! A graph without the channels that go: shapes, weights, biases and all other constants of a channel each.

use std::collections::HashMap;

use tightfit_core::MemoryBudget;
use tightfit_format::tflite::{Operator, OptionValue};

use super::super::draft::Draft;
use super::super::own_bias::set_bias;
use super::super::values::{Value, read};
use super::super::weights::{Layer, constant, push};
use super::choose::Chosen;
use super::flow::{Flow, Product};
use crate::compare::noise::Noise;
use crate::error::Error;

/// What was done.
#[derive(Default)]
pub(super) struct Cut {
    pub layers: Vec<Layer>,
    /// Elements of weights, before and now.
    pub elements: [u64; 2],
}

/// Takes what was chosen from `draft`, whose tensors have the numbers of those that `flow` is of.
///
/// # Errors
/// What reading the values and the memory say.
pub(super) fn cut(
    draft: &mut Draft,
    flow: &Flow<'_>,
    chosen: &mut Chosen,
    budget: &MemoryBudget,
) -> Result<Cut, Error> {
    let is_kept = |channel: &u32| !chosen.gone.contains(&flow.sets.root(*channel));
    let kept: HashMap<i32, Vec<bool>> =
        flow.channels.iter().map(|(id, own)| (*id, own.iter().map(is_kept).collect())).collect();
    for (id, kept) in kept.iter().filter(|(_, kept)| kept.contains(&false)) {
        let tensor = &mut draft.graphs[0].tensors[*id as usize];
        let count = count(kept) as i32;
        tensor.shape.last_mut().into_iter().chain(tensor.signature.last_mut()).for_each(|dim| *dim = count);
    }
    let mut cutting = Cutting { draft, flow, budget, cut: Cut::default() };
    let mut operators = std::mem::take(&mut cutting.draft.graphs[0].operators);
    let mut packs = Vec::new();
    for (index, operator) in operators.iter_mut().enumerate() {
        let own = operator.outputs.first().and_then(|id| kept.get(id));
        if let Some(product) = flow.products.iter().find(|product| product.operator == index) {
            let columns: Vec<bool> = product.inputs.iter().map(is_kept).collect();
            let rows: Vec<bool> = product.outputs.iter().map(is_kept).collect();
            cutting.product(operator, product, (&rows, &columns), chosen.changed.remove(&index))?;
        } else if let Some(own) = own.filter(|own| own.contains(&false)) {
            match operator.name() {
                "RESHAPE" => packs.extend(cutting.shape(operator, count(own))?),
                "DEPTHWISE_CONV_2D" => cutting.depthwise(operator, own)?,
                _ => cutting.constants(operator, own)?,
            }
        } else if operator.name() == "DEPTHWISE_CONV_2D" {
            cutting.count(operator.inputs[1], 0);
        }
    }
    for (index, shape) in packs {
        let last = operators[index].inputs.last_mut();
        last.into_iter().for_each(|last| *last = shape);
    }
    let Cutting { draft, cut, .. } = cutting;
    draft.graphs[0].operators = operators;
    Ok(cut)
}

fn count(kept: &[bool]) -> usize {
    kept.iter().filter(|is_kept| **is_kept).count()
}

/// The values of rows, and of each row those of columns that repeat, that are kept.
fn of_kept<'v>(values: &'v [f32], rows: &'v [bool], columns: &'v [bool]) -> impl Iterator<Item = f32> + 'v {
    let row = values.len() / rows.len().max(1);
    let rows = values.chunks_exact(row.max(1)).zip(rows).filter(|(_, is_kept)| **is_kept);
    rows.flat_map(|(row, _)| {
        row.iter().zip(columns.iter().cycle()).filter(|(_, own)| **own).map(|(value, _)| *value)
    })
}

struct Cutting<'c> {
    draft: &'c mut Draft,
    flow: &'c Flow<'c>,
    budget: &'c MemoryBudget,
    cut: Cut,
}

impl Cutting<'_> {
    fn read(&self, id: i32) -> Result<Vec<f32>, Error> {
        let tensor = &self.draft.graphs[0].tensors[id as usize];
        let place = constant(self.draft, tensor).ok_or(Error::Defect("what is cut is a constant"))?;
        read(&self.draft.source, place, self.budget)
    }

    /// Counts a weight, and how many of its elements go.
    fn count(&mut self, weight: i32, gone: u64) {
        let elements = self.draft.graphs[0].tensors[weight as usize].elements().unwrap_or(0);
        self.cut.elements[0] += elements;
        self.cut.elements[1] += elements - gone.min(elements);
    }

    /// Gives a tensor other values, and another first or last dimension.
    fn set(
        &mut self,
        id: i32,
        values: impl Iterator<Item = f32>,
        dims: &[(usize, usize)],
    ) -> Result<u64, Error> {
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        let count = bytes.len() as u64;
        let place = self.draft.add(Value::Bytes(bytes), count)?;
        let tensor = &mut self.draft.graphs[0].tensors[id as usize];
        tensor.values = place;
        tensor.signature.clear();
        dims.iter().for_each(|(axis, dim)| tensor.shape[*axis] = *dim as i32);
        Ok(count)
    }

    fn product(
        &mut self,
        operator: &mut Operator,
        product: &Product,
        (rows, columns): (&[bool], &[bool]),
        changed: Option<(Vec<f32>, Option<Vec<f32>>)>,
    ) -> Result<(), Error> {
        let weight = operator.inputs[1];
        if changed.is_none() && !rows.contains(&false) {
            self.count(weight, 0);
            return Ok(());
        }
        let _weights = self.budget.try_reserve("a weight of fewer channels", 3 * product.place.bytes)?;
        let before = self.read(weight)?;
        let (mut now, bias) = changed.unwrap_or_else(|| (before.clone(), None));
        let row = product.window.len();
        now.chunks_exact_mut(row)
            .zip(rows)
            .filter(|(_, is_kept)| !**is_kept)
            .for_each(|(row, _)| row.fill(0.0));
        let bias = match bias {
            None if operator.inputs.get(2).is_some_and(|id| *id >= 0) => Some(self.read(operator.inputs[2])?),
            bias => bias,
        };
        let last = self.draft.graphs[0].tensors[weight as usize].shape.len() - 1;
        let dims = [(0, count(rows)), (last, count(columns))];
        let gone = before.len() - of_kept(&now, rows, columns).count();
        self.count(weight, gone as u64);
        let bytes = self.set(weight, of_kept(&now, rows, columns), &dims)?;
        if let Some(bias) = bias {
            let name = operator.inputs.get(2).and_then(|id| self.flow.name(*id)).map(Box::from);
            let bias: Vec<f32> = of_kept(&bias, rows, &[true]).collect();
            set_bias(self.draft, operator, &bias)?;
            if let Some(name) = name {
                self.draft.graphs[0].tensors[operator.inputs[2] as usize].name = name;
            }
        }
        self.tell(operator, [product.place.bytes, bytes], Noise::between(&before, &now).snr_db());
        Ok(())
    }

    fn tell(&mut self, operator: &Operator, bytes: [u64; 2], snr_db: f64) {
        let name = self.flow.name(operator.inputs[1]).unwrap_or_default().to_string();
        let output = operator.outputs.first().copied().unwrap_or(-1);
        let op = operator.name().to_string();
        self.cut.layers.push(Layer { name, op, dtype: "float32", bytes, snr_db, output, ..Layer::default() });
    }

    fn depthwise(&mut self, operator: &mut Operator, kept: &[bool]) -> Result<(), Error> {
        let weight = operator.inputs[1];
        let before = self.read(weight)?;
        let gone = before.len() / kept.len() * (kept.len() - count(kept));
        self.count(weight, gone as u64);
        let now: Vec<f32> = before
            .iter()
            .zip(kept.iter().cycle())
            .map(|(value, is_kept)| if *is_kept { *value } else { 0.0 })
            .collect();
        self.constants(operator, kept)?;
        let bytes = [before.len() as u64 * 4, (before.len() - gone) as u64 * 4];
        self.tell(operator, bytes, Noise::between(&before, &now).snr_db());
        Ok(())
    }

    /// Cuts all constants that have an element for each channel.
    fn constants(&mut self, operator: &mut Operator, kept: &[bool]) -> Result<(), Error> {
        for input in &mut operator.inputs {
            let tensor = usize::try_from(*input).ok().and_then(|id| self.draft.graphs[0].tensors.get(id));
            let Some(tensor) = tensor.filter(|tensor| tensor.shape.last() == Some(&(kept.len() as i32)))
            else {
                continue;
            };
            if constant(self.draft, tensor).is_none() {
                continue;
            }
            let (last, own) = (tensor.shape.len() - 1, tensor.clone());
            let values = self.read(*input)?;
            // Others may take it as it is.
            *input = push(self.draft, 0, own)?;
            self.set(*input, of_kept(&values, &[true], kept), &[(last, count(kept))])?;
        }
        Ok(())
    }

    /// Makes the last number of a shape another. Returns the operator that packs it, and what it takes in place of that.
    fn shape(&mut self, operator: &mut Operator, last: usize) -> Result<Option<(usize, i32)>, Error> {
        let options = operator.options.fields.iter_mut().find(|(name, _)| *name == "new_shape");
        if let Some((_, OptionValue::Ints(shape))) = options {
            shape.last_mut().into_iter().filter(|dim| **dim >= 0).for_each(|dim| *dim = last as i64);
        }
        let Some(shape) = operator.inputs.get(1).copied() else { return Ok(None) };
        if let Some(mut dims) = self.flow.ints(shape)? {
            if let Some(dim) = dims.last_mut().filter(|dim| **dim >= 0) {
                *dim = last as i64;
                operator.inputs[1] = self.ints(shape, &dims)?;
            }
            return Ok(None);
        }
        match self.flow.packed(shape)? {
            Some((index, dim)) if dim >= 0 => {
                let own = self.flow.last_input(index);
                Ok(Some((index, self.ints(own, &[last as i64])?)))
            }
            _ => Ok(None),
        }
    }

    /// Adds a constant of integers like another.
    fn ints(&mut self, like: i32, values: &[i64]) -> Result<i32, Error> {
        let mut own = self.draft.graphs[0].tensors[like as usize].clone();
        let width = (own.kind.bits().unwrap_or(32) / 8) as usize;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()[..width].to_vec()).collect();
        let count = bytes.len() as u64;
        own.values = self.draft.add(Value::Bytes(bytes), count)?;
        push(self.draft, 0, own)
    }
}
