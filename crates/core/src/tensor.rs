//! Views of tensors that live in somebody's buffer.

use crate::{DType, Element, Shape};

/// A dense, row-major tensor to read.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    dtype: DType,
    shape: Shape,
    bytes: &'a [u8],
}

/// A dense, row-major tensor to write.
#[derive(Debug)]
pub struct TensorViewMut<'a> {
    dtype: DType,
    shape: Shape,
    bytes: &'a mut [u8],
}

impl<'a> TensorView<'a> {
    /// A view of `bytes`, or `None` when they are not as many as `shape` and `dtype` need.
    #[inline]
    pub fn new(dtype: DType, shape: Shape, bytes: &'a [u8]) -> Option<Self> {
        (bytes.len() == shape.elements() * dtype.bytes()).then_some(Self { dtype, shape, bytes })
    }

    /// A view of typed values, or `None` when they are not as many as `shape` has elements.
    pub fn from_slice<T: Element>(shape: Shape, values: &'a [T]) -> Option<Self> {
        Self::new(T::DTYPE, shape, bytemuck::cast_slice(values))
    }

    /// The element type.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The shape.
    #[inline]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The memory.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The elements, or `None` when they are of another type or not aligned for it.
    pub fn as_slice<T: Element>(&self) -> Option<&'a [T]> {
        if self.dtype != T::DTYPE {
            return None;
        }
        bytemuck::try_cast_slice(self.bytes).ok()
    }

    /// The elements of a bool tensor, each 0 or 1.
    pub fn as_bytes_of_bool(&self) -> Option<&'a [u8]> {
        (self.dtype == DType::Bool).then_some(self.bytes)
    }
}

impl<'a> TensorViewMut<'a> {
    /// A view of `bytes`, or `None` when they are not as many as `shape` and `dtype` need.
    #[inline]
    pub fn new(dtype: DType, shape: Shape, bytes: &'a mut [u8]) -> Option<Self> {
        (bytes.len() == shape.elements() * dtype.bytes()).then_some(Self { dtype, shape, bytes })
    }

    /// The element type.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The shape.
    #[inline]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The memory.
    #[inline]
    pub fn bytes(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// The elements, or `None` when they are of another type or not aligned for it.
    pub fn as_slice<T: Element>(&mut self) -> Option<&mut [T]> {
        if self.dtype != T::DTYPE {
            return None;
        }
        bytemuck::try_cast_slice_mut(self.bytes).ok()
    }

    /// The memory, for as long as the view could have lived.
    #[inline]
    pub fn into_bytes(self) -> &'a mut [u8] {
        self.bytes
    }
}
