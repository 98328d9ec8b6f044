//! Tensors as serialized messages (tensorflow.TensorProto) and back: SerializeTensor and ParseTensor.
//!
//! SerializeTensor makes a scalar string of a tensor of any type, byte for byte TensorFlow's. ParseTensor makes a tensor of
//! one, of the type `out_type`, which must be that of the message; its shape is what the message says.

use tightfit_core::{DType, Shape, StringRef, TensorView};
use tightfit_format::example::varint_bytes;
use tightfit_format::tensor_message::{TensorHead, TensorMessage};
use tightfit_format::{AttrValue, DataType};

use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "ParseTensor",
        import: |a| Ok(Box::new(ParseTensor { dtype: a.dtype("out_type")?, says: data_type(a, "out_type") })),
    },
    Registration {
        name: "SerializeTensor",
        import: |a| Ok(Box::new(SerializeTensor { says: data_type(a, "T") })),
    },
];

/// The type that an attribute says, as a message says it: of quantised integers their own. `None` where it is left out.
pub(crate) fn data_type(attributes: &Attributes<'_>, name: &str) -> Option<DataType> {
    match attributes.node().attr(name) {
        Some(AttrValue::Type(number)) => Some(DataType(*number).base()),
        _ => None,
    }
}

/// A tensor as a message. Strings come as a list, or as content where `as_content`.
///
/// # Errors
/// [`OpError::Budget`] when there is no memory for it.
pub(crate) fn serialized(
    run: &Run<'_>,
    says: DataType,
    shape: &Shape,
    view: TensorView<'_>,
    as_content: bool,
) -> Result<StringRef, OpError> {
    if view.dtype() != DType::String {
        let text = run.new_string(TensorHead::new(says, shape, view.bytes().len()).bytes())?;
        return run.extended_string(text, view.bytes());
    }
    let strings = || view.bytes().chunks_exact(size_of::<StringRef>());
    let texts = || strings().map(|bytes| run.string(bytemuck::pod_read_unaligned::<StringRef>(bytes)));
    let content = match as_content {
        true => texts().map(|text| varint_bytes(text.len() as u64) + text.len()).sum(),
        false => 0,
    };
    let mut message = run.new_string(TensorHead::new(says, shape, content).bytes())?;
    if as_content {
        for text in texts() {
            message = run.extended_string(message, TensorHead::of_length(text.len()).bytes())?;
        }
    }
    for text in texts() {
        if !as_content {
            message = run.extended_string(message, TensorHead::of_string(text.len()).bytes())?;
        }
        message = run.extended_string(message, text)?;
    }
    Ok(message)
}

/// The message of a string, of a tensor of this type.
///
/// # Errors
/// [`OpError::Input`] for one that is none, or is of another type.
pub(crate) fn message<'a>(
    run: &Run<'a>,
    input: usize,
    text: StringRef,
    says: DataType,
) -> Result<TensorMessage<'a>, OpError> {
    let message = TensorMessage::read(run.string(text)).map_err(|e| OpError::input(input, e.to_string()))?;
    if message.data_type != says {
        let why = format!("is a serialized tensor of type {}, not of {says}", message.data_type);
        return Err(OpError::input(input, why));
    }
    Ok(message)
}

/// Writes the elements of a message, which is the text of `text`, to `out`.
///
/// # Errors
/// [`OpError::Input`] for other elements than its shape says.
pub(crate) fn write_elements(
    run: &Run<'_>,
    input: usize,
    (text, message): (StringRef, &TensorMessage<'_>),
    dtype: DType,
    out: &mut [u8],
) -> Result<(), OpError> {
    let broken =
        |e: tightfit_format::tensor_message::TensorMessageError| OpError::input(input, e.to_string());
    if dtype != DType::String {
        return message.numbers(dtype, out).map_err(broken);
    }
    let mut to = out.chunks_exact_mut(size_of::<StringRef>());
    let mut written = Ok(());
    message
        .strings(|part| match (run.part_of_string(text, part), to.next()) {
            (Ok(part), Some(to)) => to.copy_from_slice(bytemuck::bytes_of(&part)),
            (Err(error), _) => written = Err(error),
            _ => written = Err(OpError::Internal("a message has more strings than its shape says")),
        })
        .map_err(broken)?;
    written
}

/// ParseTensor.
#[derive(Debug)]
struct ParseTensor {
    dtype: DType,
    says: Option<DataType>,
}

impl Operator for ParseTensor {
    fn name(&self) -> &'static str {
        "ParseTensor"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::String])?;
        shared::dims_of_rank(0, input, 0)?;
        Ok(vec![Fact::new(self.dtype, Dims::UNKNOWN)])
    }

    fn reshape(&self, _: &mut Run<'_>) -> Option<()> {
        // The run reads it in the message.
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let &[text] = run.slice::<StringRef>(0)? else { return Err(OpError::input(0, "is no scalar")) };
        let message = message(run, 0, text, self.says.unwrap_or(DataType::from(self.dtype)))?;
        run.set_output_shape(0, message.shape)?;
        let out = run.out_bytes(0)?;
        write_elements(run, 0, (text, &message), self.dtype, out)
    }
}

/// SerializeTensor.
#[derive(Debug)]
struct SerializeTensor {
    says: Option<DataType>,
}

impl Operator for SerializeTensor {
    fn name(&self) -> &'static str {
        "SerializeTensor"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        shared::input(inputs, 0)?;
        Ok(vec![Fact::new(DType::String, Dims::scalar())])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        run.set_output_shape(0, Shape::SCALAR).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let view = run.input(0)?;
        let says = self.says.unwrap_or(DataType::from(view.dtype()));
        let text = serialized(run, says, view.shape(), view, false)?;
        run.out::<StringRef>(0)?.fill(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{dtype, refuses_as_it_runs, scalar};
    use tightfit_core::{DType, StringRef};

    #[test]
    fn no_message_is_an_error() {
        // An empty text is a message without a type.
        let empty = [scalar(StringRef::default())];
        refuses_as_it_runs("ParseTensor", &[("out_type", dtype(DType::F32))], &empty, "not of DT_FLOAT");
    }
}
