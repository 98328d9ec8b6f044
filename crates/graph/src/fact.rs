//! What is known of a tensor before the model runs.

use std::fmt;
use std::sync::Arc;

use tightfit_core::{DType, Quantization, Shape, TensorView};

use crate::dim::{Dim, Dims};

/// The largest tensor, in bytes, whose value is followed through shape inference. Shapes, axes and paddings are far
/// smaller; weights are far larger.
pub const KNOWN_VALUE_MAX_BYTES: usize = 16 << 10;

/// Type, shape and, where it is small and known, value of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// The element type.
    pub dtype: DType,
    /// The shape. In a bound graph every dimension is a number, but those that depend on data, which stay unknown.
    pub dims: Dims,
    /// The value, where it is known.
    pub value: Option<Known>,
    /// The most it can be, where shape or value depend on data: what memory is planned for, and never a size.
    pub largest: Option<Arc<Largest>>,
    /// What is known besides where the tensor is a list of tensors: its first dimension counts them, and the others are an
    /// element's as far as all elements have the same.
    pub list: Option<Arc<List>>,
    /// What the numbers stand for, where they are quantised.
    pub quantization: Option<Arc<Quantization>>,
    /// True where an operator is asked for the most that its outputs can be: `dims` and `value` are then this input's
    /// most.
    pub is_bound: bool,
}

/// What is known of a list of tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// How many there are.
    pub length: Dim,
    /// True where one may have been put there: what is known of the elements is then what all that were have in common.
    pub is_set: bool,
    /// The shape that elements must have, as it was said when the list was made.
    pub said: Dims,
    /// The most elements that pushing makes it have, where that is known to be bounded.
    pub most: Option<i64>,
}

/// The most that a tensor can be.
#[derive(Debug, Clone, PartialEq)]
pub struct Largest {
    /// Its shape.
    pub dims: Dims,
    /// The elements of an integer tensor that is computed from sizes.
    pub value: Option<Known>,
}

/// The value of a small tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Known {
    /// Dense elements as they lie in memory.
    Bytes(Arc<[u8]>),
    /// An int32 or int64 tensor some of whose elements are dimensions of inputs.
    Dims(Arc<[Dim]>),
}

impl Fact {
    /// A tensor of which type and shape are known.
    pub fn new(dtype: DType, dims: impl Into<Dims>) -> Fact {
        let dims = dims.into();
        Fact { dtype, dims, value: None, largest: None, list: None, quantization: None, is_bound: false }
    }

    /// A tensor whose shape at run time is at most `dims`, depending on data.
    pub fn at_most(dtype: DType, dims: impl Into<Dims>) -> Fact {
        Fact::at_most_where(dtype, dims, |_| true)
    }

    /// A tensor whose shape at run time is `dims`, or less along `axis`, depending on data.
    pub fn at_most_along(dtype: DType, dims: impl Into<Dims>, axis: usize) -> Fact {
        Fact::at_most_where(dtype, dims, |a| a == axis)
    }

    /// A tensor whose shape at run time is `dims`, or less along some axes, depending on data.
    pub fn at_most_where(dtype: DType, dims: impl Into<Dims>, is_bound: impl Fn(usize) -> bool) -> Fact {
        let dims = dims.into();
        let sure = dims.get().map(|dims| {
            let sure =
                dims.iter().enumerate().map(|(axis, dim)| if is_bound(axis) { Dim::Unknown } else { *dim });
            Dims::new(sure.collect::<Vec<_>>())
        });
        let largest = Some(Arc::new(Largest { dims, value: None }));
        Fact { largest, ..Fact::new(dtype, sure.unwrap_or(Dims::UNKNOWN)) }
    }

    /// The shape that memory is planned for: the largest there can be.
    pub fn planned_dims(&self) -> &Dims {
        self.largest.as_ref().map_or(&self.dims, |largest| &largest.dims)
    }

    /// How many tensors there are, where it is a list of tensors.
    pub fn list_length(&self) -> Option<Dim> {
        self.list.as_ref().map(|list| list.length)
    }

    /// True when shape or value depend on data.
    pub fn depends_on_data(&self) -> bool {
        self.largest.is_some()
    }

    /// True in a bound graph when not even the most that it can be is known: its memory is reserved in each run.
    pub fn grows(&self) -> bool {
        self.planned_dims().concrete().is_none()
    }

    /// A tensor of known value.
    pub fn known(dtype: DType, shape: Shape, bytes: impl Into<Arc<[u8]>>) -> Fact {
        Fact { value: Some(Known::Bytes(bytes.into())), ..Fact::new(dtype, shape) }
    }

    /// An integer tensor with these elements; they become plain bytes when all are numbers. The value is left out
    /// when one of them cannot be expressed, or there are too many.
    pub fn of_dims(dtype: DType, shape: impl Into<Dims>, values: &[Dim]) -> Fact {
        let mut fact = Fact::new(dtype, shape);
        // Operands that were broadcast have fewer elements than what is made of them.
        if fact.dims.elements().known().is_some_and(|n| n != values.len() as i64) {
            return fact;
        }
        if values.len() * 8 > KNOWN_VALUE_MAX_BYTES || values.contains(&Dim::Unknown) {
            return fact;
        }
        let numbers: Option<Vec<i64>> = values.iter().map(|d| d.known()).collect();
        fact.value = Some(match (numbers, dtype) {
            (Some(n), DType::I32) => {
                Known::Bytes(n.iter().flat_map(|v| (*v as i32).to_le_bytes()).collect::<Vec<_>>().into())
            }
            (Some(n), DType::I64) => {
                Known::Bytes(n.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>().into())
            }
            _ => Known::Dims(values.into()),
        });
        fact
    }

    /// The value as a view, when it is fully known.
    pub fn view(&self) -> Option<TensorView<'_>> {
        match &self.value {
            Some(Known::Bytes(bytes)) => TensorView::new(self.dtype, self.dims.concrete()?, bytes),
            _ => None,
        }
    }

    /// The elements of an integer tensor, where they are known, symbols included.
    pub fn dims_value(&self) -> Option<Vec<Dim>> {
        if let Some(Known::Dims(dims)) = &self.value {
            return Some(dims.to_vec());
        }
        Some(self.ints()?.into_iter().map(Dim::Known).collect())
    }

    /// The elements of an integer tensor, when all are known numbers. Those of a tensor without elements are.
    pub fn ints(&self) -> Option<Vec<i64>> {
        match self.view() {
            None if self.dims.elements() == Dim::Known(0) => read_ints(self.dtype, &[]),
            view => read_ints(self.dtype, view?.bytes()),
        }
    }

    /// The elements of a float32 tensor, when known.
    pub fn floats(&self) -> Option<Vec<f32>> {
        let view = self.view()?;
        (self.dtype == DType::F32).then(|| {
            view.bytes().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        })
    }

    /// The one integer of a known scalar or one-element tensor.
    pub fn int(&self) -> Option<i64> {
        match self.ints()?[..] {
            [one] => Some(one),
            _ => None,
        }
    }
}

/// Integers of any width, widened; `None` for other types.
pub fn read_ints(dtype: DType, bytes: &[u8]) -> Option<Vec<i64>> {
    Some(match dtype {
        DType::I32 => {
            bytes.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as i64).collect()
        }
        DType::I64 => bytes
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
            .collect(),
        DType::I16 => bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]]) as i64).collect(),
        DType::U8 | DType::Bool => bytes.iter().map(|b| *b as i64).collect(),
        DType::I8 => bytes.iter().map(|b| *b as i8 as i64).collect(),
        _ => return None,
    })
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = if self.largest.is_some() || self.is_bound { "<=" } else { "" };
        write!(f, "{}{bound}{}", self.dtype, self.planned_dims())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_which_there_are_none_are_known() {
        let none = Fact::new(DType::I32, Shape::new(&[0]).unwrap());
        assert_eq!(none.ints(), Some(vec![]));
        assert_eq!(Fact::new(DType::I32, Shape::new(&[1]).unwrap()).ints(), None);
        assert_eq!(Fact::new(DType::F32, Shape::new(&[0]).unwrap()).ints(), None);
        // A scalar is what they ask for, known before they are fed.
        let two = Fact::new(DType::F32, Shape::new(&[2]).unwrap());
        let reshape = crate::testing::operator("Reshape", &[]).unwrap();
        assert!(reshape.infer(&[&two, &none]).unwrap_err().to_string().contains("asks for the shape []"));
    }
}
