//! Protobuf messages as a stream of fields. The two encodings, binary and text, are read through one [`Input`], so
//! what a graph means is decoded in one place.

pub(crate) mod encode;
pub(crate) mod text;
pub(crate) mod wire;

use crate::error::{FormatError, Problem};

/// The encoding of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// int32, int64, uint32 and uint64: the value's low 64 bits, sign extended.
    Int,
    /// 0 or 1.
    Bool,
    /// The bits of an f32.
    Float,
    /// The bits of an f64.
    Double,
    /// A number of TensorFlow's `DataType`.
    DataType,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Scalar(Scalar),
    /// Scalars that may be packed into one run.
    Repeated(Scalar),
    /// A string or bytes.
    Bytes,
    Message,
}

/// A field that a decoder knows; all others are skipped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub name: &'static str,
    pub number: u32,
    pub kind: Kind,
}

/// A place in the file where values stand as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub offset: u64,
    pub bytes: u64,
}

type Result<T> = std::result::Result<T, FormatError>;

/// A message being read, field by field. After [`Input::next`] has named a field, exactly one of the methods that
/// take its value is called.
pub(crate) trait Input {
    /// The enclosing message while a nested one is read.
    type Scope;
    /// A position that can be returned to within the same message.
    type Mark: Copy;

    /// The number of the next field that is one of `fields`, or `None` at the message's end.
    fn next(&mut self, fields: &'static [Field]) -> Result<Option<u32>>;

    /// Goes into the message that is the field's value.
    fn enter(&mut self) -> Result<Self::Scope>;
    /// Comes back out; only after [`Input::next`] has returned `None`.
    fn leave(&mut self, scope: Self::Scope);

    /// The value of a scalar field, in the bits that [`Scalar`] says.
    fn scalar(&mut self) -> Result<u64>;
    /// Each value of a repeated scalar field.
    fn scalars(&mut self, visit: &mut dyn FnMut(u64) -> Result<()>) -> Result<()>;
    /// Where the values of a repeated field of fixed width stand in the file, if they stand there as they are;
    /// otherwise the value is still to be taken.
    fn run(&mut self) -> Result<Option<Run>>;

    /// Where each value of a repeated scalar field stands in the file: its offset and its bytes. False where they stand
    /// there as text; then the value is still to be taken.
    fn places(&mut self, visit: &mut dyn FnMut(u64, u64)) -> Result<bool>;

    /// How many bytes a bytes field has, known to be in the file. One of the next two takes them.
    fn bytes_len(&mut self) -> Result<u64>;
    /// The bytes themselves; `out` has the length that [`Input::bytes_len`] gave.
    fn bytes_into(&mut self, out: &mut [u8]) -> Result<()>;
    /// Passes over the bytes and says where they stand in the file, if they stand there as they are.
    fn bytes_skip(&mut self, bytes: u64) -> Result<Option<u64>>;

    /// Passes over the field's value.
    fn skip(&mut self) -> Result<()>;

    fn mark(&self) -> Self::Mark;
    fn rewind(&mut self, mark: Self::Mark);

    /// The byte offset of what comes next.
    fn offset(&self) -> u64;
    /// An error at what comes next.
    fn error(&self, problem: Problem) -> FormatError;
}
