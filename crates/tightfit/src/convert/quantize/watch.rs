//! Looking at what a model computes: it runs over data, and tensors are shown as floats, whatever they are stored as. Tensors
//! are looked at in groups that fit the memory; each group is a pass over the data.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use tightfit_core::{Account, DType, MemoryBudget, Quantization, StopFlag, TensorView};
use tightfit_format::tflite::SubGraph;

use crate::error::Error;
use crate::job::{BatchSize, DataOptions, Job, JobOptions};
use crate::memory::process;
use crate::model::{Model, OpenOptions};
use crate::sink::{OutputRows, Sink, SinkNeed};

/// What is shown tensors.
pub(crate) trait Look: 'static {
    /// Takes what a batch gives for a tensor: its dimensions, and its elements.
    ///
    /// # Errors
    /// The memory that does not suffice.
    fn look(&mut self, tensor: i32, dims: &[usize], values: &[f32]) -> Result<(), Error>;
}

/// A model of one graph, and the data that it runs over.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'w> {
    pub path: &'w Path,
    pub graph: &'w SubGraph,
    pub data: &'w DataOptions,
    /// Rows that are computed at once.
    pub batch: usize,
    pub threads: usize,
    pub stop: &'w StopFlag,
    pub budget: &'w MemoryBudget,
}

impl Watch<'_> {
    /// Shows these tensors, and returns how many rows there were.
    ///
    /// # Errors
    /// As [`Job::run`]; [`Error::Data`] for tensors that share names.
    pub fn each<L: Look>(&self, ids: &[i32], looker: L) -> Result<(L, u64), Error> {
        let tensor = |id: &i32| usize::try_from(*id).ok().and_then(|id| self.graph.tensors.get(id));
        let mut names = HashSet::new();
        for name in ids.iter().filter_map(tensor).map(|tensor| &*tensor.name) {
            if name.is_empty() || !names.insert(name) {
                let why = format!("has several tensors named '{name}': what they hold is kept by name");
                return Err(Error::data(self.path, why));
            }
        }
        let elements = |id: &i32| tensor(id).and_then(|tensor| tensor.elements()).unwrap_or(0);
        let bytes = |id: &i32| 4 * (self.batch.max(1) as u64).saturating_mul(elements(id));
        // What is looked at is kept to the end of a run: a part of the memory, the rest is the model's.
        let most_bytes = self.budget.free_bytes() / 3;
        let mut groups: Vec<Vec<(String, Seen)>> = vec![Vec::new()];
        let mut used = 0;
        for id in ids {
            if used + bytes(id) > most_bytes && used > 0 {
                groups.push(Vec::new());
                used = 0;
            }
            used += bytes(id);
            let Some(tensor) = tensor(id) else { continue };
            let seen = Seen { id: *id, stands_for: tensor.quantization.clone() };
            groups
                .last_mut()
                .into_iter()
                .for_each(|group| group.push((tensor.name.to_string(), seen.clone())));
        }
        let looker = Rc::new(RefCell::new(looker));
        let mut rows = 0;
        for group in groups.into_iter().filter(|group| !group.is_empty()) {
            rows = self.pass(group, &looker)?;
            process::end_phase();
        }
        let looker = Rc::into_inner(looker).ok_or(Error::Defect("a pass over the data is still going on"))?;
        Ok((looker.into_inner(), rows))
    }

    /// A pass over the data for some tensors.
    fn pass<L: Look>(&self, group: Vec<(String, Seen)>, looker: &Rc<RefCell<L>>) -> Result<u64, Error> {
        let fetches = group.iter().map(|(name, _)| name.clone()).collect();
        let model = Model::open(self.path, &OpenOptions { fetches, ..OpenOptions::default() }, self.budget)?;
        let job = JobOptions {
            data: self.data.clone(),
            fixed: Vec::new(),
            batch: BatchSize::Fixed(self.batch.max(1)),
            threads: self.threads,
            memory_bytes: self.budget.limit_bytes(),
            sink: SinkNeed::default(),
            shapes: HashMap::new(),
        };
        let job = Job::new(&model, job, self.budget)?;
        let rows = Rc::new(RefCell::new(0));
        let sink = Shown {
            tensors: group.into_iter().collect(),
            looker: looker.clone(),
            rows: rows.clone(),
            floats: Vec::new(),
            account: Account::new(self.budget, "a tensor that is looked at"),
        };
        job.run(Box::new(sink), &mut |_| {}, self.stop.clone())?;
        let rows = *rows.borrow();
        Ok(rows)
    }
}

/// A tensor that is looked at.
#[derive(Clone)]
struct Seen {
    id: i32,
    /// What its integers stand for.
    stands_for: Option<Quantization>,
}

/// Shows what a batch gives.
struct Shown<L> {
    tensors: HashMap<String, Seen>,
    looker: Rc<RefCell<L>>,
    rows: Rc<RefCell<u64>>,
    floats: Vec<f32>,
    account: Account,
}

impl<L: Look> Sink for Shown<L> {
    fn write(&mut self, rows: &OutputRows<'_>) -> Result<(), Error> {
        if rows.rows == 0 {
            return Ok(());
        }
        for index in 0..rows.outputs.len() {
            let seen = rows.outputs.name(index).and_then(|name| self.tensors.get(name));
            let (Some(seen), Some(view)) = (seen, rows.outputs.tensor(index)) else { continue };
            let elements = view.shape().elements();
            self.account.set(4 * elements.max(self.floats.capacity()) as u64)?;
            self.floats.clear();
            self.floats.reserve_exact(elements);
            if !append(&mut self.floats, &view, seen.stands_for.as_ref()) {
                continue;
            }
            let dims: Vec<usize> = view.shape().to_vec();
            self.looker.borrow_mut().look(seen.id, &dims, &self.floats)?;
        }
        *self.rows.borrow_mut() += rows.rows as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}

/// Adds the numbers that elements are; false for a type that is not looked at.
fn append(floats: &mut Vec<f32>, view: &TensorView<'_>, stands_for: Option<&Quantization>) -> bool {
    let one = stands_for.and_then(|own| Some((*own.scales.first()?, *own.zero_points.first()?)));
    let (scale, zero) = one.unwrap_or((1.0, 0));
    let number = |integer: i64| (integer - zero) as f32 * scale;
    let bytes = view.bytes();
    match view.dtype() {
        DType::F32 => floats.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
        DType::I8 => floats.extend(bytes.iter().map(|byte| number(i64::from(*byte as i8)))),
        DType::I16 => floats.extend(
            bytes.as_chunks::<2>().0.iter().map(|bytes| number(i64::from(i16::from_le_bytes(*bytes)))),
        ),
        _ => return false,
    }
    true
}
