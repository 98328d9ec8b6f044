"""Writes every_kind.pb and every_kind.pbtxt: one graph with every kind of attribute, element type and function part,
in both of protobuf's encodings as TensorFlow's own protos and printer write them."""

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import graph_pb2, tensor_pb2, types_pb2

graph = graph_pb2.GraphDef()
graph.versions.producer = 1882
graph.versions.min_consumer = 12


def const(name, tensor):
    node = graph.node.add(name=name, op="Const")
    node.attr["dtype"].type = tensor.dtype
    node.attr["value"].tensor.CopyFrom(tensor)


VALUES = [3, 0, 1, 2, 7, 100]
for dtype in [
    tf.float32, tf.float64, tf.int32, tf.uint8, tf.int16, tf.int8, tf.complex64, tf.int64, tf.bool, tf.bfloat16,
    tf.uint16, tf.complex128, tf.half, tf.uint32, tf.uint64, tf.qint8, tf.quint8, tf.qint32, tf.qint16, tf.quint16,
]:
    if dtype.is_quantized:
        packed = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, int_val=VALUES)
        packed.tensor_shape.CopyFrom(tf.TensorShape([2, 3]).as_proto())
        const(f"values/{dtype.name}", packed)
        continue
    array = np.array(VALUES).reshape(2, 3)
    const(f"content/{dtype.name}", tf.make_tensor_proto(array.astype(dtype.as_numpy_dtype), dtype))
    # A list goes into the type's own field; the last value repeats.
    few = tf.make_tensor_proto(array[0, :1].astype(dtype.as_numpy_dtype), dtype, shape=[1])
    few.tensor_shape.dim[0].size = 4
    const(f"repeated/{dtype.name}", few)
    zeros = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    zeros.tensor_shape.dim.add(size=3)
    const(f"zeros/{dtype.name}", zeros)
const("negative/int32", tensor_pb2.TensorProto(dtype=types_pb2.DT_INT32, int_val=[-5]))
const("negative/int8", tensor_pb2.TensorProto(dtype=types_pb2.DT_INT8, int_val=[-5]))
const("negative/int64", tensor_pb2.TensorProto(dtype=types_pb2.DT_INT64, int64_val=[-(2**63)]))
const("large/uint64", tensor_pb2.TensorProto(dtype=types_pb2.DT_UINT64, uint64_val=[2**64 - 1]))
const("odd/float", tf.make_tensor_proto(np.array([np.inf, -np.inf, np.nan, 1e-45, -0.0], np.float32)))
odd = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[np.inf, -np.inf, 1e-45, -0.0, 0.1])
odd.tensor_shape.dim.add(size=5)
const("odd/float_val", odd)
const("strings", tf.make_tensor_proto([b"", "Zürich \u2713 \U0001f600".encode(), b"\x00\xff\"'\\\n\t"], tf.string))
const("handle", tensor_pb2.TensorProto(dtype=types_pb2.DT_VARIANT))

node = graph.node.add(name="attrs", op="Everything", input=["strings", "odd/float:1", "^handle"], device="/cpu:0")
node.attr["s"].s = b"text\x00\x80"
node.attr["i"].i = -(2**63)
node.attr["zero"].i = 0
node.attr["f"].f = -1.5e-30
node.attr["b"].b = True
node.attr["no"].b = False
node.attr["type"].type = types_pb2.DT_FLOAT_REF
node.attr["shape"].shape.CopyFrom(tf.TensorShape([None, 224, 0]).as_proto())
node.attr["scalar"].shape.SetInParent()
node.attr["any"].shape.unknown_rank = True
node.attr["placeholder"].placeholder = "T"
node.attr["empty"].SetInParent()
node.attr["empty_list"].list.SetInParent()
node.attr["func"].func.name = "Twice"
node.attr["func"].func.attr["T"].type = types_pb2.DT_HALF
lists = {name: node.attr["list_" + name].list for name in "s i f b type shape tensor func".split()}
lists["s"].s.extend([b"a", b""])
lists["i"].i.extend([1, -1, 2**40])
lists["f"].f.extend([0.5, np.inf])
lists["b"].b.extend([True, False, True])
lists["type"].type.extend([types_pb2.DT_INT32, types_pb2.DT_RESOURCE])
lists["shape"].shape.extend([tf.TensorShape([1, None]).as_proto(), tf.TensorShape(None).as_proto()])
lists["tensor"].tensor.extend([tf.make_tensor_proto(3.0), tf.make_tensor_proto([1, 2])])
lists["func"].func.add(name="Twice")

function = graph.library.function.add()
signature = function.signature
signature.name = "Twice"
signature.is_stateful = True
signature.input_arg.add(name="x", type_attr="T")
signature.input_arg.add(name="many", number_attr="N", type=types_pb2.DT_INT64)
signature.output_arg.add(name="y", type_attr="T")
signature.output_arg.add(name="all", type_list_attr="Ts")
signature.control_output.append("printed")
function.ret["y"] = "add:z:0"
function.ret["all"] = "id:output:0"
function.control_ret["printed"] = "print"
function.attr["_noinline"].b = True
for name, op, inputs in [("add", "AddV2", ["x", "x"]), ("id", "IdentityN", ["many"]), ("print", "NoOp", ["^add"])]:
    body = function.node_def.add(name=name, op=op, input=inputs)
    body.attr["T"].placeholder = "T"
graph.library.function.add().signature.name = "Empty"

open("every_kind.pb", "wb").write(graph.SerializeToString(deterministic=True))
open("every_kind.pbtxt", "w").write(text_format.MessageToString(graph))
other = graph_pb2.GraphDef.FromString(open("distributed_inference.pb", "rb").read())
open("distributed_inference.pbtxt", "w").write(text_format.MessageToString(other))
