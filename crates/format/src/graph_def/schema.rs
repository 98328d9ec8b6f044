//! The fields of TensorFlow's messages that are read, with their public numbers.

use crate::proto::{Field, Kind, Scalar};

const fn bytes(name: &'static str, number: u32) -> Field {
    Field { name, number, kind: Kind::Bytes }
}

const fn message(name: &'static str, number: u32) -> Field {
    Field { name, number, kind: Kind::Message }
}

const fn scalar(name: &'static str, number: u32, scalar: Scalar) -> Field {
    Field { name, number, kind: Kind::Scalar(scalar) }
}

const fn repeated(name: &'static str, number: u32, scalar: Scalar) -> Field {
    Field { name, number, kind: Kind::Repeated(scalar) }
}

use Scalar::{Bool, DataType, Double, Float, Int};

/// graph.proto
pub(crate) const GRAPH_DEF: &[Field] =
    &[message("node", 1), message("library", 2), scalar("version", 3, Int), message("versions", 4)];

/// versions.proto
pub(crate) const VERSION_DEF: &[Field] = &[scalar("producer", 1, Int), scalar("min_consumer", 2, Int)];

/// node_def.proto
pub(crate) const NODE_DEF: &[Field] =
    &[bytes("name", 1), bytes("op", 2), bytes("input", 3), bytes("device", 4), message("attr", 5)];

/// An entry of a `map<string, Message>`, as protobuf encodes maps.
pub(crate) const MAP_TO_MESSAGE: &[Field] = &[bytes("key", 1), message("value", 2)];

/// An entry of a `map<string, string>`.
pub(crate) const MAP_TO_STRING: &[Field] = &[bytes("key", 1), bytes("value", 2)];

/// attr_value.proto
pub(crate) const ATTR_VALUE: &[Field] = &[
    message("list", 1),
    bytes("s", 2),
    scalar("i", 3, Int),
    scalar("f", 4, Float),
    scalar("b", 5, Bool),
    scalar("type", 6, DataType),
    message("shape", 7),
    message("tensor", 8),
    bytes("placeholder", 9),
    message("func", 10),
];

/// attr_value.proto's `ListValue`
pub(crate) const LIST_VALUE: &[Field] = &[
    bytes("s", 2),
    repeated("i", 3, Int),
    repeated("f", 4, Float),
    repeated("b", 5, Bool),
    repeated("type", 6, DataType),
    message("shape", 7),
    message("tensor", 8),
    message("func", 9),
];

/// attr_value.proto's `NameAttrList`
pub(crate) const NAME_ATTR_LIST: &[Field] = &[bytes("name", 1), message("attr", 2)];

/// tensor_shape.proto
pub(crate) const TENSOR_SHAPE: &[Field] = &[message("dim", 2), scalar("unknown_rank", 3, Bool)];

/// tensor_shape.proto's `Dim`
pub(crate) const DIM: &[Field] = &[scalar("size", 1, Int)];

/// tensor.proto
pub(crate) const TENSOR: &[Field] = &[
    scalar("dtype", 1, DataType),
    message("tensor_shape", 2),
    bytes("tensor_content", 4),
    repeated("float_val", 5, Float),
    repeated("double_val", 6, Double),
    repeated("int_val", 7, Int),
    bytes("string_val", 8),
    repeated("scomplex_val", 9, Float),
    repeated("int64_val", 10, Int),
    repeated("bool_val", 11, Bool),
    repeated("dcomplex_val", 12, Double),
    repeated("half_val", 13, Int),
    repeated("uint32_val", 16, Int),
    repeated("uint64_val", 17, Int),
    bytes("float8_val", 18),
];

/// function.proto's `FunctionDefLibrary`
pub(crate) const LIBRARY: &[Field] = &[message("function", 1)];

/// function.proto
pub(crate) const FUNCTION_DEF: &[Field] = &[
    message("signature", 1),
    message("node_def", 3),
    message("ret", 4),
    message("attr", 5),
    message("control_ret", 6),
];

/// op_def.proto, as far as a function's signature goes
pub(crate) const OP_DEF: &[Field] =
    &[bytes("name", 1), message("input_arg", 2), message("output_arg", 3), scalar("is_stateful", 17, Bool)];

/// op_def.proto's `ArgDef`
pub(crate) const ARG_DEF: &[Field] = &[
    bytes("name", 1),
    scalar("type", 3, DataType),
    bytes("type_attr", 4),
    bytes("number_attr", 5),
    bytes("type_list_attr", 6),
];

/// saved_model.proto
pub(crate) const SAVED_MODEL: &[Field] =
    &[scalar("saved_model_schema_version", 1, Int), message("meta_graphs", 2)];

/// meta_graph.proto's `MetaGraphDef`
pub(crate) const META_GRAPH: &[Field] = &[
    message("meta_info_def", 1),
    message("graph_def", 2),
    message("saver_def", 3),
    message("collection_def", 4),
    message("signature_def", 5),
    message("asset_file_def", 6),
];

/// The same where only the tags are looked for.
pub(crate) const META_INFO_ONLY: &[Field] = &[message("meta_info_def", 1)];

/// meta_graph.proto's `MetaInfoDef`
pub(crate) const META_INFO: &[Field] = &[bytes("tags", 4), bytes("tensorflow_version", 5)];

/// saver.proto
pub(crate) const SAVER: &[Field] = &[bytes("filename_tensor_name", 1), bytes("restore_op_name", 3)];

/// meta_graph.proto's `CollectionDef`
pub(crate) const COLLECTION: &[Field] = &[message("node_list", 1), message("any_list", 5)];

/// meta_graph.proto's `AnyList`
pub(crate) const COLLECTION_ANYS: &[Field] = &[message("value", 1)];

/// any.proto
pub(crate) const ANY: &[Field] = &[bytes("value", 2)];

/// meta_graph.proto's `NodeList`
pub(crate) const COLLECTION_NODES: &[Field] = &[bytes("value", 1)];

/// meta_graph.proto's `SignatureDef`
pub(crate) const SIGNATURE: &[Field] =
    &[message("inputs", 1), message("outputs", 2), bytes("method_name", 3)];

/// meta_graph.proto's `TensorInfo`
pub(crate) const TENSOR_INFO: &[Field] = &[
    bytes("name", 1),
    scalar("dtype", 2, DataType),
    message("tensor_shape", 3),
    message("coo_sparse", 4),
    message("composite_tensor", 5),
];

/// meta_graph.proto's `CooSparse`
pub(crate) const COO_SPARSE: &[Field] =
    &[bytes("values_tensor_name", 1), bytes("indices_tensor_name", 2), bytes("dense_shape_tensor_name", 3)];

/// meta_graph.proto's `CompositeTensor`
pub(crate) const COMPOSITE: &[Field] = &[message("components", 2)];

/// The same where only the name is looked for.
pub(crate) const TENSOR_NAME: &[Field] = &[bytes("name", 1)];

/// meta_graph.proto's `AssetFileDef`
pub(crate) const ASSET_FILE: &[Field] = &[message("tensor_info", 1), bytes("filename", 2)];

/// memmapped_file_system.proto's `MemmappedFileSystemDirectory`
pub(crate) const PACKAGE: &[Field] = &[message("element", 1)];

/// memmapped_file_system.proto's `MemmappedFileSystemDirectoryElement`
pub(crate) const PACKAGE_ELEMENT: &[Field] =
    &[scalar("offset", 1, Int), bytes("name", 2), scalar("length", 3, Int)];
