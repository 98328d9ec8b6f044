//! From the description to a binary GraphDef, node by node, with tensor values copied from where they lie.

use std::io::{self, Write};

use tightfit_core::{Buffer, DType, MemoryBudget};

use super::tensor::value_field;
use super::{
    ArgDef, AttrValue, FunctionDef, GraphDef, ListValue, NameAttrList, NodeDef, TensorContent, TensorDef,
    TensorShapeDef,
};
use crate::data_type::DataType;
use crate::proto::encode::{Encoder, Sink, bytes, float, int, int_or_nothing, text_or_nothing, varint};
use crate::source::SourceFile;

pub(super) const SCRATCH_BYTES: usize = 64 << 10;

/// Writes a binary GraphDef. Nodes may come from several descriptions, each with its own file of values.
#[derive(Debug)]
pub struct GraphWriter<W> {
    out: W,
    scratch: Buffer,
}

impl GraphDef {
    /// Writes the whole graph.
    ///
    /// # Errors
    /// Those of `out`; a [`crate::FormatError`] inside an [`io::Error`] when the file of the values cannot be read;
    /// values of a type that is only named here ([`TensorContent::Opaque`]).
    pub fn write(&self, out: impl Write, budget: &MemoryBudget) -> io::Result<()> {
        let mut writer = GraphWriter::new(out, budget)?;
        self.nodes.iter().try_for_each(|node| writer.node(node, Some(&self.source)))?;
        self.functions.iter().try_for_each(|function| writer.function(function, Some(&self.source)))?;
        writer.finish(self.producer, self.min_consumer).map(drop)
    }
}

impl<W: Write> GraphWriter<W> {
    /// A writer of a graph without nodes, which takes 64 KiB of `budget`.
    ///
    /// # Errors
    /// The budget's.
    pub fn new(out: W, budget: &MemoryBudget) -> io::Result<Self> {
        let scratch = Buffer::new(budget, "copying tensor values", SCRATCH_BYTES)?;
        Ok(Self { out, scratch })
    }

    /// Appends a node whose values in a file, if it has any, are in `source`.
    ///
    /// # Errors
    /// As of [`GraphDef::write`].
    pub fn node(&mut self, node: &NodeDef, source: Option<&SourceFile>) -> io::Result<()> {
        self.encoder(source).message(1, &|sink| node_fields(sink, node))
    }

    /// Appends a function. Each is a library of its own: a reader joins them.
    ///
    /// # Errors
    /// As of [`GraphDef::write`].
    pub fn function(&mut self, function: &FunctionDef, source: Option<&SourceFile>) -> io::Result<()> {
        self.encoder(source)
            .message(2, &|library| library.message(1, &|sink| function_fields(sink, function)))
    }

    /// Ends the graph with the versions it is for, and flushes.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self, producer: i32, min_consumer: i32) -> io::Result<W> {
        self.encoder(None).message(4, &|sink| {
            int_or_nothing(sink, 1, producer.into())?;
            int_or_nothing(sink, 2, min_consumer.into())
        })?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn encoder<'a>(&'a mut self, source: Option<&'a SourceFile>) -> Encoder<'a, W> {
        Encoder { out: &mut self.out, source, scratch: &mut self.scratch }
    }
}

pub(super) fn node_fields(sink: &mut dyn Sink, node: &NodeDef) -> io::Result<()> {
    text_or_nothing(sink, 1, &node.name)?;
    text_or_nothing(sink, 2, &node.op)?;
    for input in &node.inputs {
        bytes(sink, 3, input.as_bytes())?;
    }
    text_or_nothing(sink, 4, node.device.as_deref().unwrap_or_default())?;
    attrs(sink, 5, &node.attrs)
}

fn attrs(sink: &mut dyn Sink, number: u32, attrs: &[(Box<str>, AttrValue)]) -> io::Result<()> {
    for (key, value) in attrs {
        sink.message(number, &|entry| {
            bytes(entry, 1, key.as_bytes())?;
            entry.message(2, &|sink| attr_fields(sink, value))
        })?;
    }
    Ok(())
}

fn attr_fields(sink: &mut dyn Sink, value: &AttrValue) -> io::Result<()> {
    match value {
        AttrValue::List(list) => sink.message(1, &|sink| list_fields(sink, list)),
        AttrValue::Str(value) => bytes(sink, 2, value),
        AttrValue::Int(value) => int(sink, 3, *value),
        AttrValue::Float(value) => float(sink, 4, *value),
        AttrValue::Bool(value) => int(sink, 5, (*value).into()),
        AttrValue::Type(value) => int(sink, 6, (*value).into()),
        AttrValue::Shape(shape) => sink.message(7, &|sink| shape_fields(sink, shape)),
        AttrValue::Tensor(tensor) => sink.message(8, &|sink| tensor_fields(sink, tensor)),
        AttrValue::Placeholder(name) => bytes(sink, 9, name.as_bytes()),
        AttrValue::Func(func) => sink.message(10, &|sink| func_fields(sink, func)),
        AttrValue::None => Ok(()),
    }
}

fn list_fields(sink: &mut dyn Sink, list: &ListValue) -> io::Result<()> {
    fn packed<T>(
        sink: &mut dyn Sink,
        number: u32,
        list: &[T],
        item: impl Fn(&mut dyn Sink, &T) -> io::Result<()>,
    ) -> io::Result<()> {
        sink.message(number, &|sink| list.iter().try_for_each(|value| item(sink, value)))
    }
    match list {
        ListValue::Empty => Ok(()),
        ListValue::Strs(list) => list.iter().try_for_each(|value| bytes(sink, 2, value)),
        ListValue::Ints(list) => packed(sink, 3, list, |sink, value| varint(sink, *value as u64)),
        ListValue::Floats(list) => packed(sink, 4, list, |sink, value| sink.raw(&value.to_le_bytes())),
        ListValue::Bools(list) => packed(sink, 5, list, |sink, value| varint(sink, (*value).into())),
        ListValue::Types(list) => packed(sink, 6, list, |sink, value| varint(sink, i64::from(*value) as u64)),
        ListValue::Shapes(list) => {
            list.iter().try_for_each(|shape| sink.message(7, &|sink| shape_fields(sink, shape)))
        }
        ListValue::Tensors(list) => {
            list.iter().try_for_each(|tensor| sink.message(8, &|sink| tensor_fields(sink, tensor)))
        }
        ListValue::Funcs(list) => {
            list.iter().try_for_each(|func| sink.message(9, &|sink| func_fields(sink, func)))
        }
    }
}

fn func_fields(sink: &mut dyn Sink, func: &NameAttrList) -> io::Result<()> {
    text_or_nothing(sink, 1, &func.name)?;
    attrs(sink, 2, &func.attrs)
}

pub(super) fn shape_fields(sink: &mut dyn Sink, shape: &TensorShapeDef) -> io::Result<()> {
    match &shape.dims {
        Some(dims) => dim_fields(sink, dims),
        None => int(sink, 3, 1),
    }
}

fn dim_fields(sink: &mut dyn Sink, dims: &[i64]) -> io::Result<()> {
    dims.iter().try_for_each(|dim| sink.message(2, &|sink| int_or_nothing(sink, 1, *dim)))
}

fn tensor_fields(sink: &mut dyn Sink, tensor: &TensorDef) -> io::Result<()> {
    int_or_nothing(sink, 1, tensor.dtype.into())?;
    sink.message(2, &|sink| dim_fields(sink, &tensor.shape))?;
    let present_bytes = match &tensor.content {
        TensorContent::Strings(strings) => {
            return strings.iter().try_for_each(|string| bytes(sink, 8, string));
        }
        TensorContent::Opaque => {
            let why = format!("tensor values of {} cannot be written", DataType(tensor.dtype));
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        _ => tensor.present_bytes(),
    };
    let raw = |sink: &mut dyn Sink| match &tensor.content {
        TensorContent::Inline(bytes) => sink.raw(bytes),
        _ => sink.file(present_bytes, &|source, at, out| tensor.read_at(source, at, out)),
    };
    // `tensor_content` must be complete; fewer values stand in the type's own field, none in no field.
    match (DataType(tensor.dtype).storage(), present_bytes) {
        (_, 0) => Ok(()),
        (_, present_bytes) if Some(present_bytes) == tensor.bytes() => sink.message(4, &raw),
        (Some(dtype @ (DType::F32 | DType::F64 | DType::C64 | DType::C128)), _) => {
            sink.message(value_field(dtype).0, &raw)
        }
        (Some(dtype), _) => sink.message(value_field(dtype).0, &|sink| match &tensor.content {
            TensorContent::Inline(bytes) => {
                bytes.chunks_exact(dtype.bytes()).try_for_each(|e| varint(sink, extended(dtype, e)))
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "integers in a file must be complete")),
        }),
        (None, _) => Err(io::Error::new(io::ErrorKind::InvalidInput, "values of no type")),
    }
}

/// A little-endian integer of at most 8 bytes in the 64 bits that protobuf writes.
fn extended(dtype: DType, element: &[u8]) -> u64 {
    let mut bits = [0; 8];
    bits[..element.len()].copy_from_slice(element);
    let unused_bits = 64 - 8 * element.len() as u32;
    let bits = u64::from_le_bytes(bits);
    if dtype.is_signed_integer() { ((bits << unused_bits) as i64 >> unused_bits) as u64 } else { bits }
}

pub(super) fn function_fields(sink: &mut dyn Sink, function: &FunctionDef) -> io::Result<()> {
    sink.message(1, &|signature| {
        text_or_nothing(signature, 1, &function.name)?;
        for (number, args) in [(2, &function.input_args), (3, &function.output_args)] {
            args.iter().try_for_each(|arg| signature.message(number, &|sink| arg_fields(sink, arg)))?;
        }
        int_or_nothing(signature, 17, function.is_stateful.into())?;
        function.control_ret.iter().try_for_each(|(name, _)| bytes(signature, 20, name.as_bytes()))
    })?;
    for node in &function.nodes {
        sink.message(3, &|sink| node_fields(sink, node))?;
    }
    for (number, entries) in [(4, &function.ret), (6, &function.control_ret)] {
        for (key, value) in entries {
            sink.message(number, &|sink| {
                bytes(sink, 1, key.as_bytes())?;
                bytes(sink, 2, value.as_bytes())
            })?;
        }
    }
    attrs(sink, 5, &function.attrs)
}

fn arg_fields(sink: &mut dyn Sink, arg: &ArgDef) -> io::Result<()> {
    text_or_nothing(sink, 1, &arg.name)?;
    int_or_nothing(sink, 3, arg.dtype.into())?;
    text_or_nothing(sink, 4, &arg.type_attr)?;
    text_or_nothing(sink, 5, &arg.number_attr)?;
    text_or_nothing(sink, 6, &arg.type_list_attr)
}
