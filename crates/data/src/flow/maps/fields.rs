//! Which fields an element has, and what they are called.

use std::sync::Arc;

use tightfit_core::MemoryBudget;

use super::{MapOp, MapWorker, Verdict};
use crate::error::{DataError, RowFault};
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::spec::StageSpec;
use crate::flow::stages::map::read_each;

/// What is done to the list of fields.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub enum Fields {
    /// These, in this order, and no others.
    Select(Vec<String>),
    /// All but these.
    Drop(Vec<String>),
    /// Other names: what each is called, and what it will be called.
    Rename(Vec<(String, String)>),
}

impl Fields {
    /// The number in `input` of each field that there will be.
    fn chosen(&self, input: &Schema) -> Result<Vec<usize>, String> {
        match self {
            Fields::Select(names) => names.iter().map(|name| input.index(name)).collect(),
            Fields::Drop(names) => {
                let dropped = names.iter().map(|name| input.index(name)).collect::<Result<Vec<_>, _>>()?;
                Ok((0..input.fields().len()).filter(|index| !dropped.contains(index)).collect())
            }
            Fields::Rename(_) => Ok((0..input.fields().len()).collect()),
        }
    }
}

impl MapOp for Fields {
    fn identity(&self) -> serde_json::Value {
        identity::of("fields", self)
    }

    fn name(&self) -> String {
        let quoted =
            |names: &[String]| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        match self {
            Fields::Select(names) => format!("select {}", quoted(names)),
            Fields::Drop(names) => format!("drop {}", quoted(names)),
            Fields::Rename(names) => {
                let pairs: Vec<_> = names.iter().map(|(from, to)| format!("{from:?} to {to:?}")).collect();
                format!("rename {}", pairs.join(", "))
            }
        }
    }

    fn schema(&self, input: &Schema) -> Result<Schema, String> {
        let mut fields: Vec<_> =
            self.chosen(input)?.into_iter().filter_map(|index| input.fields().get(index).cloned()).collect();
        if let Fields::Rename(names) = self {
            for (from, to) in names {
                let index = input.index(from)?;
                if let Some(field) = fields.get_mut(index) {
                    field.name.clone_from(to);
                }
            }
        }
        Schema::new(fields)
    }

    fn worker(&self, input: &Schema, _budget: &MemoryBudget) -> Result<Box<dyn MapWorker>, DataError> {
        Ok(Box::new(Worker { chosen: self.chosen(input).map_err(DataError::Spec)? }))
    }
}

pub(crate) fn read_select(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    read_each(Fields::Select(args.texts()?), args)
}

pub(crate) fn read_drop(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    read_each(Fields::Drop(args.texts()?), args)
}

pub(crate) fn read_rename(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    read_each(Fields::Rename(args.text_pairs()?), args)
}

struct Worker {
    chosen: Vec<usize>,
}

impl MapWorker for Worker {
    fn run(&mut self, input: &ElementView<'_>, out: &mut Element) -> Result<Verdict, RowFault> {
        for tensor in self.chosen.iter().filter_map(|index| input.tensor(*index)) {
            out.add_copy(tensor, input.text())?;
        }
        Ok(Verdict::Keep)
    }
}
