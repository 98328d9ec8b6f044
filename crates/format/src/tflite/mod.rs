//! TensorFlow Lite models: a flatbuffer (schema.fbs, version 3) of subgraphs, their tensors and operators, and buffers with
//! the values of constant tensors, which stay in the file.
//!
//! Tensors are known by their numbers in their subgraph; a buffer stands in the flatbuffer, or after it in a file of more
//! than 2 GiB.

mod builder;
mod flatbuffer;
mod flexbuffer;
mod options;
mod read;
mod schema;
mod write;

use std::sync::Arc;

use tightfit_core::{MemoryBudget, Quantization, Reservation};

use crate::data_type::DataType;
use crate::error::FormatError;
use crate::source::SourceFile;

pub use flexbuffer::{FlexValue, flex_map};
pub use options::{OptionValue, Options};
pub use schema::OPERATORS;
pub use write::{Draft, Values};

/// The number of the operator that is none of TensorFlow Lite's own.
pub const CUSTOM: i32 = 32;

/// A model.
#[derive(Debug)]
pub struct Model {
    /// The file that places are in.
    pub source: Arc<SourceFile>,
    /// What it says of itself.
    pub description: Box<str>,
    /// The graphs; the first is what is run where no signature is named.
    pub subgraphs: Vec<SubGraph>,
    /// The signatures.
    pub signatures: Vec<Signature>,
    /// Metadata by name.
    pub metadata: Vec<(Box<str>, Place)>,
    /// The memory of this description.
    pub reservation: Reservation,
}

/// Bytes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// From the file's start.
    pub offset: u64,
    /// How many; 0 for a buffer without values.
    pub bytes: u64,
}

/// A graph: tensors, and the operators that compute them, in an order in which they can run.
#[derive(Debug, Clone, PartialEq)]
pub struct SubGraph {
    /// Its name.
    pub name: Box<str>,
    /// The tensors.
    pub tensors: Vec<Tensor>,
    /// Numbers of the tensors that it is given.
    pub inputs: Vec<i32>,
    /// Numbers of the tensors that it returns.
    pub outputs: Vec<i32>,
    /// The operators.
    pub operators: Vec<Operator>,
}

/// A tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its name, which others may have as well.
    pub name: Box<str>,
    /// Its type, by its number in schema.fbs.
    pub kind: TensorKind,
    /// The dimensions that it has where nobody resizes an input.
    pub shape: Vec<i32>,
    /// The dimensions with -1 where they are open; empty where that is [`Tensor::shape`].
    pub signature: Vec<i32>,
    /// Its values; no bytes for one that is computed.
    pub values: Place,
    /// The name of the group of files beside this one that its values are in.
    pub external: Option<Box<str>>,
    /// How its integers stand for numbers.
    pub quantization: Option<Quantization>,
    /// The same where a scale is for some neighbours along an axis.
    pub blockwise: Option<Blockwise>,
    /// True for a state that operators change, which the next run finds.
    pub is_variable: bool,
    /// How the values of a sparse tensor stand in its buffer.
    pub sparsity: Option<Sparsity>,
}

/// A scale for every `size` neighbours of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blockwise {
    /// The tensor of scales.
    pub scales: i32,
    /// The tensor of zero points.
    pub zero_points: i32,
    /// How many elements share a scale.
    pub size: i32,
}

/// How the elements of a sparse tensor are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sparsity {
    /// The order of the dimensions, those of the tensor and after them those of a block.
    pub traversal_order: Vec<i32>,
    /// Which dimension each of a block's is a part of.
    pub block_map: Vec<i32>,
    /// What is known of each dimension, in the order of traversal.
    pub dims: Vec<SparseDim>,
}

/// A dimension of a sparse tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SparseDim {
    /// All of its indices are there.
    Dense {
        /// How many.
        size: i32,
    },
    /// Some are.
    Sparse {
        /// Where the indices of each place of the dimensions before begin, and where the last end.
        segments: Vec<i32>,
        /// The indices.
        indices: Vec<i32>,
    },
}

/// An operator in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Operator {
    /// What it does, by its number in [`OPERATORS`].
    pub code: i32,
    /// The name of one that is none of those.
    pub custom: Option<Box<str>>,
    /// The version of its kernel.
    pub version: i32,
    /// Numbers of the tensors that it takes, -1 for one that is left out.
    pub inputs: Vec<i32>,
    /// Numbers of the tensors that it makes.
    pub outputs: Vec<i32>,
    /// Numbers of tensors that say the ranges of what it computes on its way.
    pub intermediates: Vec<i32>,
    /// Its options.
    pub options: Options,
    /// The options of a custom operator.
    pub custom_options: Place,
}

impl Operator {
    /// The name of what it does.
    pub fn name(&self) -> &str {
        match &self.custom {
            Some(custom) => custom,
            None => usize::try_from(self.code).ok().and_then(|code| OPERATORS.get(code)).unwrap_or(&"?"),
        }
    }
}

/// What a caller feeds and fetches.
#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    /// Its key.
    pub key: Box<str>,
    /// The number of the graph that it runs.
    pub subgraph: u32,
    /// Tensors of that graph by the names that callers use.
    pub inputs: Vec<(Box<str>, u32)>,
    /// The same for what it returns.
    pub outputs: Vec<(Box<str>, u32)>,
}

/// A number of schema.fbs's `TensorType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorKind(pub i8);

/// The numbers of [`DataType`] in the order of `TensorType`.
const TYPES: [i32; 21] = [1, 19, 3, 4, 9, 7, 10, 5, 8, 6, 2, 18, 23, 20, 21, 22, 17, 29, 14, 31, 30];

impl TensorKind {
    /// The type of that number of TensorFlow's; `None` for one that schema.fbs does not have.
    pub fn of(data_type: DataType) -> Option<TensorKind> {
        TYPES.iter().position(|number| *number == data_type.0).map(|number| TensorKind(number as i8))
    }

    /// The type in TensorFlow's numbers; `None` for a number that schema.fbs does not have.
    pub fn data_type(self) -> Option<DataType> {
        usize::try_from(self.0).ok().and_then(|number| TYPES.get(number)).map(|number| DataType(*number))
    }

    /// Bits of an element in a buffer; `None` for a type without plain elements.
    pub fn bits(self) -> Option<u64> {
        Some(match self.data_type()? {
            DataType(31) => 2,
            DataType(29 | 30) => 4,
            DataType(7) => return None,
            other => 8 * other.dtype()?.bytes() as u64,
        })
    }
}

impl Tensor {
    /// How many elements its shape has.
    pub fn elements(&self) -> Option<u64> {
        self.shape.iter().try_fold(1u64, |n, d| n.checked_mul(u64::try_from(*d).ok()?))
    }

    /// The dimensions, -1 for an open one.
    pub fn open_shape(&self) -> Vec<i64> {
        let dims = if self.signature.len() == self.shape.len() { &self.signature } else { &self.shape };
        dims.iter().map(|dim| i64::from(*dim)).collect()
    }

    /// True where integers stand for other numbers.
    pub fn is_quantized(&self) -> bool {
        self.quantization.is_some()
    }
}

impl Model {
    /// Reads the structure of a model. Values of tensors stay in the file.
    ///
    /// # Errors
    /// [`FormatError`] for a file that cannot be read, is no such model, passes a limit of [`crate::limits`], or whose
    /// description does not fit the budget.
    pub fn read(source: Arc<SourceFile>, budget: &MemoryBudget) -> Result<Model, FormatError> {
        read::model(source, budget)
    }
}

#[cfg(test)]
mod tests;
