//! Class numbers as vectors: `tf.one_hot` along a new last dimension.

use std::sync::Arc;

use tightfit_core::{DType, MAX_RANK, MemoryBudget, Shape};

use super::{MapOp, MapWorker, Verdict, copy_fields};
use crate::convert::to_whole;
use crate::error::{DataError, RowFault};
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::scalar::Scalar;
use crate::flow::spec::StageSpec;
use crate::flow::stages::map::read_each;

/// A field of class numbers `[...]` as `[..., depth]`, with `on` where the class is and `off` elsewhere; for a number
/// that is no class, `off` everywhere.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct OneHot {
    /// The field, of integers.
    pub field: String,
    /// How many classes there are.
    pub depth: usize,
    /// The type of the result.
    #[serde(serialize_with = "identity::dtype")]
    pub dtype: DType,
    /// What stands for the class.
    pub on: Scalar,
    /// What stands for the others.
    pub off: Scalar,
}

impl OneHot {
    /// Float32, 1 for the class and 0 for the others.
    pub fn new(field: impl Into<String>, depth: usize) -> OneHot {
        OneHot { field: field.into(), depth, dtype: DType::F32, on: Scalar::Int(1), off: Scalar::Int(0) }
    }
}

impl MapOp for OneHot {
    fn identity(&self) -> serde_json::Value {
        identity::of("one_hot", self)
    }

    fn name(&self) -> String {
        let OneHot { field, depth, dtype, on, off } = self;
        format!("one_hot {field:?} {depth} {dtype} {on:?} {off:?}")
    }

    fn schema(&self, input: &Schema) -> Result<Schema, String> {
        let index = input.index(&self.field)?;
        if let Some(field) = input.fields().get(index).filter(|field| !field.dtype.is_integer()) {
            return Err(format!("{field} holds no class numbers"));
        }
        if self.dtype == DType::String {
            return Err("one_hot makes numbers".to_string());
        }
        self.on.bytes(self.dtype)?;
        self.off.bytes(self.dtype)?;
        Ok(input.with(index, |field| {
            field.dtype = self.dtype;
            field.dims.push(Some(self.depth));
        }))
    }

    fn worker(&self, input: &Schema, _budget: &MemoryBudget) -> Result<Box<dyn MapWorker>, DataError> {
        let worker = || {
            let index = input.index(&self.field)?;
            let (on, off) = (self.on.bytes(self.dtype)?, self.off.bytes(self.dtype)?);
            Ok(Worker { index, depth: self.depth, on, off })
        };
        Ok(Box::new(worker().map_err(DataError::Spec)?))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let depth = args.number_option("depth")?.ok_or("one_hot: how many classes? Give its depth")?;
    let mut op = OneHot::new(args.text()?, depth as usize);
    op.dtype = args.dtype_option("dtype")?.unwrap_or(op.dtype);
    for (key, to) in [("on_value", &mut op.on), ("off_value", &mut op.off)] {
        if let Some(value) = args.option(key) {
            *to = Scalar::from_json(value).ok_or_else(|| args.wrong(key, "a number"))?;
        }
    }
    read_each(op, args)
}

struct Worker {
    index: usize,
    depth: usize,
    on: Vec<u8>,
    off: Vec<u8>,
}

impl MapWorker for Worker {
    fn run(&mut self, input: &ElementView<'_>, out: &mut Element) -> Result<Verdict, RowFault> {
        copy_fields(input, 0..self.index, out)?;
        let wrong = || RowFault::Map("it has no class numbers, or too many dimensions".to_string());
        let classes = input.tensor(self.index).ok_or_else(wrong)?;
        let mut dims = [0; MAX_RANK];
        let rank = classes.shape().rank();
        let dims = dims.get_mut(..=rank).ok_or_else(wrong)?;
        for (to, from) in dims.iter_mut().zip(classes.shape().iter().chain([&self.depth])) {
            *to = *from;
        }
        let made = out.add(Shape::new(dims).map_err(|_| wrong())?)?;
        made.chunks_exact_mut(self.off.len()).for_each(|to| to.copy_from_slice(&self.off));
        let dtype = classes.dtype();
        for (row, class) in classes.bytes().chunks_exact(dtype.bytes()).enumerate() {
            let class = to_whole(dtype, class).and_then(|class| usize::try_from(class).ok());
            if let Some(class) = class.filter(|class| *class < self.depth) {
                let at = (row * self.depth + class) * self.on.len();
                if let Some(to) = made.get_mut(at..at + self.on.len()) {
                    to.copy_from_slice(&self.on);
                }
            }
        }
        copy_fields(input, self.index + 1..input.places().len(), out)?;
        Ok(Verdict::Keep)
    }
}
