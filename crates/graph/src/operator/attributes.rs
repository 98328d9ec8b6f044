//! A node's attributes, read by name with their type checked.

use tightfit_core::DType;
use tightfit_format::{AttrValue, DataType, ListValue, NodeDef};

use crate::operator::OpError;

/// The attributes of one node of a file.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    node: &'a NodeDef,
}

impl<'a> Attributes<'a> {
    /// The attributes of `node`.
    pub fn new(node: &'a NodeDef) -> Attributes<'a> {
        Attributes { node }
    }

    /// The node.
    pub fn node(&self) -> &'a NodeDef {
        self.node
    }

    fn get(&self, name: &str) -> Result<&'a AttrValue, OpError> {
        self.node.attr(name).ok_or_else(|| OpError::attribute(name, "is missing"))
    }

    /// `read(value)` of an attribute, or `default` when the node does not have it.
    fn read<T>(
        &self,
        name: &str,
        kind: &str,
        default: Option<T>,
        read: impl Fn(&'a AttrValue) -> Option<T>,
    ) -> Result<T, OpError> {
        match (self.node.attr(name), default) {
            (None, Some(default)) => Ok(default),
            _ => read(self.get(name)?).ok_or_else(|| OpError::attribute(name, format!("is not {kind}"))),
        }
    }

    /// An element type.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is missing, no type, or a type that is not supported.
    pub fn dtype(&self, name: &str) -> Result<DType, OpError> {
        let number = self.read(name, "a type", None, |v| match v {
            AttrValue::Type(number) => Some(*number),
            _ => None,
        })?;
        to_dtype(name, number)
    }

    /// An element type, or `default` when it is left out.
    ///
    /// # Errors
    /// As [`Attributes::dtype`].
    pub fn dtype_or(&self, name: &str, default: DType) -> Result<DType, OpError> {
        if self.node.attr(name).is_none() { Ok(default) } else { self.dtype(name) }
    }

    /// A list of element types.
    ///
    /// # Errors
    /// As [`Attributes::dtype`].
    pub fn dtypes(&self, name: &str) -> Result<Vec<DType>, OpError> {
        let numbers = self.read(name, "a list of types", None, |v| match v {
            AttrValue::List(ListValue::Types(list)) => Some(list.clone()),
            AttrValue::List(list) if list.is_empty() => Some(Vec::new()),
            _ => None,
        })?;
        numbers.into_iter().map(|n| to_dtype(name, n)).collect()
    }

    /// An integer.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is missing or no integer.
    pub fn int(&self, name: &str) -> Result<i64, OpError> {
        self.read(name, "an integer", None, as_int)
    }

    /// An integer, or `default` when it is left out.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is no integer.
    pub fn int_or(&self, name: &str, default: i64) -> Result<i64, OpError> {
        self.read(name, "an integer", Some(default), as_int)
    }

    /// An integer of at least 0 that counts something, `N` for one.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is missing, no integer or negative.
    pub fn count(&self, name: &str) -> Result<usize, OpError> {
        let n = self.int(name)?;
        usize::try_from(n).map_err(|_| OpError::attribute(name, format!("is {n}; it must not be negative")))
    }

    /// How many outputs a node has: as [`Attributes::count`], and like TensorFlow no more than 31 bits count.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is missing, no integer, negative or more.
    pub fn outputs(&self, name: &str) -> Result<usize, OpError> {
        match self.count(name)? {
            n if n > i32::MAX as usize => {
                Err(OpError::attribute(name, format!("is {n}; a node has at most {} outputs", i32::MAX)))
            }
            n => Ok(n),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is not a number.
    pub fn float_or(&self, name: &str, default: f32) -> Result<f32, OpError> {
        self.read(name, "a number", Some(default), |v| match v {
            AttrValue::Float(x) => Some(*x),
            AttrValue::Int(n) => Some(*n as f32),
            _ => None,
        })
    }

    /// A number as the type of the node, `T`, has it: TensorFlow computes with it in that type.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is not a number, or `T` is no type.
    pub fn float_of_type_or(&self, name: &str, default: f32) -> Result<f32, OpError> {
        let number = self.float_or(name, default)?;
        Ok(match self.dtype_or("T", DType::F32)? {
            DType::F16 => half::f16::from_f32(number).to_f32(),
            DType::BF16 => half::bf16::from_f32(number).to_f32(),
            _ => number,
        })
    }

    /// A bool, or `default` when it is left out.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is no bool.
    pub fn bool_or(&self, name: &str, default: bool) -> Result<bool, OpError> {
        self.read(name, "a bool", Some(default), |v| match v {
            AttrValue::Bool(b) => Some(*b),
            _ => None,
        })
    }

    /// A text, or `default` when it is left out.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is no text in UTF-8.
    pub fn text_or(&self, name: &str, default: &'a str) -> Result<&'a str, OpError> {
        self.read(name, "a text", Some(default), |v| match v {
            AttrValue::Str(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        })
    }

    /// A string of any bytes, or `default` when it is left out.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is no string.
    pub fn bytes_or(&self, name: &str, default: &'a [u8]) -> Result<&'a [u8], OpError> {
        self.read(name, "a string", Some(default), |v| match v {
            AttrValue::Str(bytes) => Some(&**bytes),
            _ => None,
        })
    }

    /// A list of strings of any bytes, empty when it is left out.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is no such list.
    pub fn strings(&self, name: &str) -> Result<Vec<Box<[u8]>>, OpError> {
        self.read(name, "a list of strings", Some(Vec::new()), |v| match v {
            AttrValue::List(ListValue::Strs(list)) => Some(list.clone()),
            AttrValue::List(list) if list.is_empty() => Some(Vec::new()),
            _ => None,
        })
    }

    /// A list of shapes, -1 where a dimension is open, `None` where the rank is.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is no such list.
    pub fn shapes(&self, name: &str) -> Result<Vec<Option<Vec<i64>>>, OpError> {
        self.read(name, "a list of shapes", Some(Vec::new()), |v| match v {
            AttrValue::List(ListValue::Shapes(list)) => Some(list.iter().map(|s| s.dims.clone()).collect()),
            AttrValue::List(list) if list.is_empty() => Some(Vec::new()),
            _ => None,
        })
    }

    /// A list of element types, empty when it is left out.
    ///
    /// # Errors
    /// As [`Attributes::dtypes`].
    pub fn dtypes_or_empty(&self, name: &str) -> Result<Vec<DType>, OpError> {
        if self.node.attr(name).is_none() { Ok(Vec::new()) } else { self.dtypes(name) }
    }

    /// A text.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is missing or no text in UTF-8.
    pub fn text(&self, name: &str) -> Result<&'a str, OpError> {
        self.get(name)?;
        self.text_or(name, "")
    }

    /// A list of integers.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is missing or no such list.
    pub fn ints(&self, name: &str) -> Result<Vec<i64>, OpError> {
        self.read(name, "a list of integers", None, as_ints)
    }

    /// A list of integers, empty when it is left out.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is no such list.
    pub fn ints_or_empty(&self, name: &str) -> Result<Vec<i64>, OpError> {
        self.read(name, "a list of integers", Some(Vec::new()), as_ints)
    }

    /// A list of numbers.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is missing or no such list.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>, OpError> {
        self.read(name, "a list of numbers", None, |v| match v {
            AttrValue::List(ListValue::Floats(list)) => Some(list.clone()),
            AttrValue::List(list) if list.is_empty() => Some(Vec::new()),
            _ => None,
        })
    }

    /// The dimensions of a shape, -1 where one is open, or `None` when the rank is.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is no shape.
    pub fn shape_or_unknown(&self, name: &str) -> Result<Option<Vec<i64>>, OpError> {
        self.read(name, "a shape", Some(None), |v| match v {
            AttrValue::Shape(shape) => Some(shape.dims.clone()),
            _ => None,
        })
    }

    /// Checks a text attribute against the only value that is supported.
    ///
    /// # Errors
    /// [`OpError::Attribute`] that names both.
    pub fn only(&self, name: &str, supported: &'a str) -> Result<(), OpError> {
        let value = self.text_or(name, supported)?;
        if value == supported {
            return Ok(());
        }
        Err(OpError::attribute(name, format!("is {value}; only {supported} is supported")))
    }
}

fn as_int(value: &AttrValue) -> Option<i64> {
    match value {
        AttrValue::Int(n) => Some(*n),
        _ => None,
    }
}

fn as_ints(value: &AttrValue) -> Option<Vec<i64>> {
    match value {
        AttrValue::List(ListValue::Ints(list)) => Some(list.clone()),
        AttrValue::List(list) if list.is_empty() => Some(Vec::new()),
        _ => None,
    }
}

fn to_dtype(attribute: &str, number: i32) -> Result<DType, OpError> {
    let data_type = DataType(number);
    data_type
        .storage()
        .ok_or_else(|| OpError::attribute(attribute, format!("is {data_type}, a type that is not supported")))
}
