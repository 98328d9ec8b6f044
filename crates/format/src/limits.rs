//! What a file may at most describe. Real models stay far below; the memory budget usually ends a hostile one first.

/// A limit and what it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// What is counted, as in "5000000 nodes in a graph".
    pub name: &'static str,
    /// The most that is accepted.
    pub max: u64,
}

const fn limit(name: &'static str, max: u64) -> Limit {
    Limit { name, max }
}

/// Messages inside messages; protobuf's own default.
pub const DEPTH: Limit = limit("levels of nested messages", 100);
/// Nodes of a graph and its functions together.
pub const NODES: Limit = limit("nodes in a graph", 1 << 22);
/// Functions of a graph.
pub const FUNCTIONS: Limit = limit("functions in a graph", 1 << 16);
/// Inputs and outputs of a function.
pub const ARGS: Limit = limit("arguments of a function", 1 << 14);
/// Inputs of a node.
pub const INPUTS: Limit = limit("inputs of a node", 1 << 20);
/// Attributes of a node or function.
pub const ATTRS: Limit = limit("attributes of a node", 1 << 12);
/// Elements of an attribute's list.
pub const LIST: Limit = limit("elements of an attribute's list", 1 << 20);
/// Dimensions of a shape; TensorFlow's own limit.
pub const RANK: Limit = limit("dimensions of a shape", 254);
/// Bytes of a name.
pub const NAME_BYTES: Limit = limit("bytes of a name", 1 << 16);
/// Bytes of a string attribute or of one element of a string tensor.
pub const STRING_BYTES: Limit = limit("bytes of a string", 1 << 28);
/// Elements of a string tensor.
pub const STRINGS: Limit = limit("strings of a tensor", 1 << 26);
/// Shards of a checkpoint.
pub const SHARDS: Limit = limit("shards of a checkpoint", 1 << 16);
/// Parts of a partitioned variable.
pub const SLICES: Limit = limit("parts of a variable", 1 << 12);
/// Graphs of a SavedModel.
pub const META_GRAPHS: Limit = limit("graphs of a SavedModel", 1 << 10);
/// Signatures, assets, tags and tensors of a signature.
pub const SIGNATURES: Limit = limit("signatures, tags or assets of a SavedModel", 1 << 14);
