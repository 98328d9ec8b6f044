//! A graph as a file describes it: nodes, functions and where tensor values lie. Independent of the encoding, and
//! nothing in it has been interpreted: inputs are strings as written, types are TensorFlow's numbers.

mod decode;
pub(crate) mod mapped_package;
mod meta_graph;
mod schema;
mod segments;
mod tensor;
mod write;
mod write_saved_model;

use std::sync::Arc;

use tightfit_core::{Account, MemoryBudget, Reservation};

use crate::error::{FormatError, Problem};
use crate::proto::text::TextReader;
use crate::proto::wire::WireReader;
use crate::source::{Cursor, SourceFile};
pub use meta_graph::{MetaGraphDef, MetaInfo, SignatureDef, TensorInfo, saved_model_file, saved_model_tags};
pub use segments::Segments;
pub use tensor::{InlineBytes, TensorContent, TensorDef};
pub use tensor::{Narrow, Rounding, Scaled};
pub use write::GraphWriter;
pub use write_saved_model::{SavedModelDef, SaverDef, VariableDef};

use decode::{Decoder, GraphParts};

/// What the memory of a decoded graph is reserved for.
const PURPOSE: &str = "description of the model's graph";

/// A graph (graph.proto's `GraphDef`).
#[derive(Debug)]
pub struct GraphDef {
    /// The nodes, in the file's order.
    pub nodes: Vec<NodeDef>,
    /// The functions of its library, in the file's order.
    pub functions: Vec<FunctionDef>,
    /// The version of TensorFlow's graphs it was written in (`versions.producer`), 0 when not given.
    pub producer: i32,
    /// The oldest version that may read it (`versions.min_consumer`).
    pub min_consumer: i32,
    /// The file that [`TensorContent::File`] offsets are in.
    pub source: Arc<SourceFile>,
    /// The memory of this description.
    pub reservation: Reservation,
}

/// A node (node_def.proto).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeDef {
    /// Its name, unique in its graph.
    pub name: Box<str>,
    /// Its operator, as in `Conv2D`, or the name of a function.
    pub op: Box<str>,
    /// `name`, `name:1`, in functions `name:out:0`, and after those control inputs `^name`; as written.
    pub inputs: Vec<Box<str>>,
    /// Where it was meant to run, if that was said.
    pub device: Option<Box<str>>,
    /// Attributes by name; no name twice.
    pub attrs: Vec<(Box<str>, AttrValue)>,
    /// The byte offset after its tag or field name, for messages.
    pub offset: u64,
}

/// The value of an attribute (attr_value.proto).
#[derive(Debug, Clone, PartialEq)]
pub enum AttrValue {
    /// Bytes, mostly text.
    Str(Box<[u8]>),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f32),
    /// A bool.
    Bool(bool),
    /// A number of [`crate::data_type::DataType`].
    Type(i32),
    /// A shape, maybe unknown in part.
    Shape(TensorShapeDef),
    /// A tensor.
    Tensor(Box<TensorDef>),
    /// A function and the attributes it is called with.
    Func(Box<NameAttrList>),
    /// The name of the attribute of the enclosing function to take the value of.
    Placeholder(Box<str>),
    /// A list.
    List(ListValue),
    /// Nothing was written: an empty message.
    None,
}

/// The elements of a list attribute. An empty list is [`ListValue::Empty`], whatever it would be a list of.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum ListValue {
    Empty,
    Strs(Vec<Box<[u8]>>),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Bools(Vec<bool>),
    Types(Vec<i32>),
    Shapes(Vec<TensorShapeDef>),
    Tensors(Vec<TensorDef>),
    Funcs(Vec<NameAttrList>),
}

/// A shape that may be unknown in part (tensor_shape.proto).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TensorShapeDef {
    /// The dimensions, -1 where unknown; `None` when even their number is.
    pub dims: Option<Vec<i64>>,
}

/// A function's name and attributes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NameAttrList {
    /// The function.
    pub name: Box<str>,
    /// Attributes by name; no name twice.
    pub attrs: Vec<(Box<str>, AttrValue)>,
}

/// A function (function.proto).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FunctionDef {
    /// Its name, which nodes use as their op or in a `Func` attribute.
    pub name: Box<str>,
    /// What it takes; its nodes name these as inputs.
    pub input_args: Vec<ArgDef>,
    /// What it returns.
    pub output_args: Vec<ArgDef>,
    /// Its nodes.
    pub nodes: Vec<NodeDef>,
    /// For each output its name and the value in the body, as in `("y", "add:z:0")`.
    pub ret: Vec<(Box<str>, Box<str>)>,
    /// Nodes that must run although no output needs them: name and node.
    pub control_ret: Vec<(Box<str>, Box<str>)>,
    /// True when calls with the same inputs may not be merged or dropped.
    pub is_stateful: bool,
    /// Attributes of the function itself.
    pub attrs: Vec<(Box<str>, AttrValue)>,
}

/// An input or output of a function (op_def.proto's `ArgDef`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ArgDef {
    /// Its name.
    pub name: Box<str>,
    /// A number of [`crate::data_type::DataType`]; 0 when `type_attr` says it.
    pub dtype: i32,
    /// The attribute that holds the type, or empty.
    pub type_attr: Box<str>,
    /// The attribute that holds how many tensors of one type these are, or empty.
    pub number_attr: Box<str>,
    /// The attribute that holds the types of several tensors, or empty.
    pub type_list_attr: Box<str>,
}

impl GraphDef {
    /// Reads a binary GraphDef. Tensor values stay in the file; everything else is held in memory out of `budget`.
    ///
    /// # Errors
    /// [`FormatError`] for a file that cannot be read, is no GraphDef, passes a limit of [`crate::limits`] or
    /// whose description does not fit the budget.
    pub fn read(source: Arc<SourceFile>, budget: &MemoryBudget) -> Result<GraphDef, FormatError> {
        let ledger = Account::new(budget, PURPOSE);
        let reader = WireReader::new(Cursor::new(source.clone(), budget)?);
        let mut decoder = Decoder::new(reader, ledger);
        let parts = decoder.graph()?;
        GraphDef::from_parts(source, parts, decoder.into_ledger())
    }

    /// Reads a GraphDef in protobuf's text encoding. Tensor values are decoded, as none stands in the file as it is.
    ///
    /// # Errors
    /// [`FormatError`] as for [`GraphDef::read`], with line and column.
    pub fn read_text(source: Arc<SourceFile>, budget: &MemoryBudget) -> Result<GraphDef, FormatError> {
        let ledger = Account::new(budget, PURPOSE);
        let reader = TextReader::new(Cursor::new(source.clone(), budget)?);
        let mut decoder = Decoder::new(reader, ledger);
        let parts = decoder.graph()?;
        GraphDef::from_parts(source, parts, decoder.into_ledger())
    }

    fn from_parts(
        source: Arc<SourceFile>,
        parts: GraphParts,
        ledger: Account,
    ) -> Result<GraphDef, FormatError> {
        let GraphParts { nodes, functions, producer, min_consumer } = parts;
        let reservation = ledger.finish().map_err(|e| source.error_at(0, Problem::Budget(e)))?;
        Ok(GraphDef { nodes, functions, producer, min_consumer, source, reservation })
    }

    /// The node called `name`. Looks at one after the other.
    pub fn node(&self, name: &str) -> Option<&NodeDef> {
        self.nodes.iter().find(|n| &*n.name == name)
    }

    /// The function called `name`. Looks at one after the other.
    pub fn function(&self, name: &str) -> Option<&FunctionDef> {
        self.functions.iter().find(|f| &*f.name == name)
    }
}

fn find<'a>(attrs: &'a [(Box<str>, AttrValue)], name: &str) -> Option<&'a AttrValue> {
    attrs.iter().find(|(key, _)| &**key == name).map(|(_, value)| value)
}

impl NodeDef {
    /// The attribute called `name`.
    pub fn attr(&self, name: &str) -> Option<&AttrValue> {
        find(&self.attrs, name)
    }
}

impl NameAttrList {
    /// The attribute called `name`.
    pub fn attr(&self, name: &str) -> Option<&AttrValue> {
        find(&self.attrs, name)
    }
}

impl FunctionDef {
    /// The attribute called `name`.
    pub fn attr(&self, name: &str) -> Option<&AttrValue> {
        find(&self.attrs, name)
    }
}

impl ListValue {
    /// How many elements.
    pub fn len(&self) -> usize {
        match self {
            ListValue::Empty => 0,
            ListValue::Strs(v) => v.len(),
            ListValue::Ints(v) => v.len(),
            ListValue::Floats(v) => v.len(),
            ListValue::Bools(v) => v.len(),
            ListValue::Types(v) => v.len(),
            ListValue::Shapes(v) => v.len(),
            ListValue::Tensors(v) => v.len(),
            ListValue::Funcs(v) => v.len(),
        }
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl AttrValue {
    /// The kind in the words of attr_value.proto, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            AttrValue::Str(_) => "string",
            AttrValue::Int(_) => "int",
            AttrValue::Float(_) => "float",
            AttrValue::Bool(_) => "bool",
            AttrValue::Type(_) => "type",
            AttrValue::Shape(_) => "shape",
            AttrValue::Tensor(_) => "tensor",
            AttrValue::Func(_) => "func",
            AttrValue::Placeholder(_) => "placeholder",
            AttrValue::List(list) => match list {
                ListValue::Empty => "list",
                ListValue::Strs(_) => "list(string)",
                ListValue::Ints(_) => "list(int)",
                ListValue::Floats(_) => "list(float)",
                ListValue::Bools(_) => "list(bool)",
                ListValue::Types(_) => "list(type)",
                ListValue::Shapes(_) => "list(shape)",
                ListValue::Tensors(_) => "list(tensor)",
                ListValue::Funcs(_) => "list(func)",
            },
            AttrValue::None => "nothing",
        }
    }
}
