//! The description of a file of floats while it is changed.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tightfit_core::{Account, MemoryBudget};
use tightfit_format::tflite::{Model as Lite, Place, Signature, SubGraph};
use tightfit_format::{FormatError, Problem, SourceFile};

use super::values::Value;
use crate::convert::freeze::tflite;
use crate::error::Error;

/// A model while it is changed: the description of a file of floats.
pub(crate) struct Draft {
    pub source: Arc<SourceFile>,
    pub graphs: Vec<SubGraph>,
    pub signatures: Vec<Signature>,
    pub values: Vec<Value>,
    pub account: Account,
}

impl Draft {
    /// Of a model whose values are all in its file.
    ///
    /// # Errors
    /// A model whose values are elsewhere, and the memory that does not suffice.
    pub fn new(model: &Lite, budget: &MemoryBudget) -> Result<Draft, Error> {
        let mut account = Account::new(budget, "description of the quantised model");
        account.grow(2 * model.reservation.bytes())?;
        let mut draft = Draft {
            source: model.source.clone(),
            graphs: model.subgraphs.clone(),
            signatures: model.signatures.clone(),
            values: Vec::new(),
            account,
        };
        let invalid = |found: String| {
            let problem = Problem::invalid("a model whose values are all in its file", found);
            FormatError::new(model.source.path(), tightfit_format::Place::Whole, problem)
        };
        let mut numbers = HashMap::new();
        let values = &mut draft.values;
        let mut virtual_place = |place: Place| match place.bytes {
            0 => Place::default(),
            bytes => {
                let next = values.len() as u64;
                let offset = *numbers.entry(place.offset).or_insert(next);
                if offset == next {
                    values.push(Value::File(place));
                }
                Place { offset, bytes }
            }
        };
        for graph in &mut draft.graphs {
            for tensor in &mut graph.tensors {
                if tensor.external.is_some() {
                    return Err(invalid(format!("'{}', which is in another", tensor.name)).into());
                }
                tensor.values = virtual_place(tensor.values);
            }
            for operator in &mut graph.operators {
                operator.custom_options = virtual_place(operator.custom_options);
            }
        }
        Ok(draft)
    }

    /// Adds values, and counts them.
    pub fn add(&mut self, value: Value, bytes: u64) -> Result<Place, Error> {
        self.account.grow(value.held_bytes() + 256)?;
        self.values.push(value);
        Ok(Place { offset: self.values.len() as u64 - 1, bytes })
    }

    /// Leaves out tensors that nothing takes or makes.
    pub fn compact(&mut self) {
        for (index, graph) in self.graphs.iter_mut().enumerate() {
            let operators = graph.operators.iter();
            let used = operators.flat_map(|o| o.inputs.iter().chain(&o.outputs).chain(&o.intermediates));
            let used: HashSet<i32> = used.chain(&graph.inputs).chain(&graph.outputs).copied().collect();
            let scales = graph.tensors.iter().filter_map(|tensor| tensor.blockwise);
            let scales: HashSet<i32> = scales.flat_map(|own| [own.scales, own.zero_points]).collect();
            let mut kept = 0;
            let numbers: Vec<i32> = (0..graph.tensors.len() as i32)
                .map(|id| {
                    let is_kept = used.contains(&id) || scales.contains(&id);
                    kept += i32::from(is_kept);
                    if is_kept { kept - 1 } else { -1 }
                })
                .collect();
            let mut marks = numbers.iter();
            graph.tensors.retain(|_| marks.next().is_some_and(|number| *number >= 0));
            let new = |id: &mut i32| {
                *id = usize::try_from(*id).ok().and_then(|id| numbers.get(id)).copied().unwrap_or(-1);
            };
            for operator in &mut graph.operators {
                let lists = [&mut operator.inputs, &mut operator.outputs, &mut operator.intermediates];
                lists.into_iter().flatten().for_each(new);
            }
            graph.inputs.iter_mut().chain(&mut graph.outputs).for_each(new);
            for blockwise in graph.tensors.iter_mut().filter_map(|tensor| tensor.blockwise.as_mut()) {
                new(&mut blockwise.scales);
                new(&mut blockwise.zero_points);
            }
            for signature in self.signatures.iter_mut().filter(|own| own.subgraph as usize == index) {
                for (_, number) in signature.inputs.iter_mut().chain(&mut signature.outputs) {
                    *number = numbers.get(*number as usize).map_or(*number, |new| (*new).max(0) as u32);
                }
            }
        }
    }

    /// Bytes of all constants.
    pub fn constant_bytes(&self) -> u64 {
        self.graphs.iter().flat_map(|graph| &graph.tensors).map(|tensor| tensor.values.bytes).sum()
    }

    /// Writes the model to `output`, whole or not at all, and returns its bytes.
    ///
    /// # Errors
    /// What reading the values, the output and the memory say.
    pub fn write(&self, output: &Path, stop: &AtomicBool, budget: &MemoryBudget) -> Result<u64, Error> {
        let Draft { source, graphs, signatures, values, account: _account } = self;
        let mut write = |place: Place, out: &mut dyn std::io::Write| {
            let value = usize::try_from(place.offset).ok().and_then(|index| values.get(index));
            let value =
                value.ok_or_else(|| std::io::Error::other(Error::Defect("a tensor has no values")))?;
            value.write(source, out, budget)
        };
        tflite::write((graphs, signatures), &mut write, output, stop, budget)
    }
}
