"""Single operators of TFLite: the same one as a .tflite model, which LiteRT's reference kernels answer, and as a node of a
GraphDef, as `crates/graph/src/ops/tfl` takes it.

Needs the packages ai-edge-litert and flatbuffers beside TensorFlow."""

import dataclasses

import flatbuffers
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

TYPES = {"float32": 0, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9, "int4": 17}
PADDINGS = {"SAME": 0, "VALID": 1}
ACTIVATIONS = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3, "TANH": 4}
WINDOW = {
    "stride_h": "strideH", "stride_w": "strideW", "padding": "padding",
    "dilation_h_factor": "dilationHFactor", "dilation_w_factor": "dilationWFactor",
    "fused_activation_function": "fusedActivationFunction",
}
POOL = {name: field for name, field in WINDOW.items() if "dilation" not in name} | {
    "filter_height": "filterHeight", "filter_width": "filterWidth",
}
FUSED = {"fused_activation_function": "fusedActivationFunction"}
# Builtin, options, and which attribute is which field.
OPERATORS = {
    "tfl.abs": ("ABS", "AbsOptions", {}),
    "tfl.elu": ("ELU", None, {}),
    "tfl.exp": ("EXP", "ExpOptions", {}),
    "tfl.gelu": ("GELU", "GeluOptions", {"approximate": "approximate"}),
    "tfl.hard_swish": ("HARD_SWISH", "HardSwishOptions", {}),
    "tfl.l2_normalization": ("L2_NORMALIZATION", "L2NormOptions", {}),
    "tfl.leaky_relu": ("LEAKY_RELU", "LeakyReluOptions", {"alpha": "alpha"}),
    "tfl.log": ("LOG", None, {}),
    "tfl.log_softmax": ("LOG_SOFTMAX", "LogSoftmaxOptions", {}),
    "tfl.padv2": ("PADV2", "PadV2Options", {}),
    "tfl.relu": ("RELU", None, {}),
    "tfl.relu6": ("RELU6", None, {}),
    "tfl.relu_0_to_1": ("RELU_0_TO_1", None, {}),
    "tfl.relu_n1_to_1": ("RELU_N1_TO_1", None, {}),
    "tfl.rsqrt": ("RSQRT", None, {}),
    "tfl.add": ("ADD", "AddOptions", FUSED | {"pot_scale_int16": "potScaleInt16"}),
    "tfl.average_pool_2d": ("AVERAGE_POOL_2D", "Pool2DOptions", POOL),
    "tfl.batch_matmul": (
        "BATCH_MATMUL", "BatchMatMulOptions",
        {"adj_x": "adjX", "adj_y": "adjY", "asymmetric_quantize_inputs": "asymmetricQuantizeInputs"},
    ),
    "tfl.concatenation": ("CONCATENATION", "ConcatenationOptions", FUSED | {"axis": "axis"}),
    "tfl.conv_2d": ("CONV_2D", "Conv2DOptions", WINDOW),
    "tfl.depthwise_conv_2d": (
        "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", WINDOW | {"depth_multiplier": "depthMultiplier"},
    ),
    "tfl.dequantize": ("DEQUANTIZE", "DequantizeOptions", {}),
    "tfl.fully_connected": (
        "FULLY_CONNECTED", "FullyConnectedOptions",
        FUSED | {"keep_num_dims": "keepNumDims", "asymmetric_quantize_inputs": "asymmetricQuantizeInputs"},
    ),
    "tfl.logistic": ("LOGISTIC", None, {}),
    "tfl.max_pool_2d": ("MAX_POOL_2D", "Pool2DOptions", POOL),
    "tfl.mean": ("MEAN", "ReducerOptions", {"keep_dims": "keepDims"}),
    "tfl.mul": ("MUL", "MulOptions", FUSED),
    "tfl.pad": ("PAD", "PadOptions", {}),
    "tfl.quantize": ("QUANTIZE", "QuantizeOptions", {}),
    "tfl.softmax": ("SOFTMAX", "SoftmaxOptions", {"beta": "beta"}),
    "tfl.squared_difference": ("SQUARED_DIFFERENCE", "SquaredDifferenceOptions", {}),
    "tfl.sub": ("SUB", "SubOptions", FUSED | {"pot_scale_int16": "potScaleInt16"}),
    "tfl.sum": ("SUM", "ReducerOptions", {"keep_dims": "keepDims"}),
    "tfl.svdf": ("SVDF", "SVDFOptions", FUSED | {"rank": "rank"}),
    "tfl.tanh": ("TANH", None, {}),
    "tfl.unidirectional_sequence_lstm": (
        "UNIDIRECTIONAL_SEQUENCE_LSTM", "UnidirectionalSequenceLSTMOptions",
        FUSED | {"cell_clip": "cellClip", "time_major": "timeMajor"},
    ),
}


@dataclasses.dataclass
class Tensor:
    """Integers with a scale and what stands for 0, or floats; a constant where it is a weight."""

    value: np.ndarray
    scale: object = None
    zero: object = 0
    is_constant: bool = False
    # The name its scale goes by among a node's attributes.
    role: str = "input"
    axis: int = 0
    bits: int = 0

    def scales(self):
        return [] if self.scale is None else np.atleast_1d(np.float32(self.scale)).tolist()

    def zeros(self):
        return np.atleast_1d(self.zero).astype(int).tolist()


def packed(values):
    """Integers of four bits, two to a byte."""
    nibbles = (np.asarray(values).ravel() & 15).astype(np.uint8)
    nibbles = np.append(nibbles, np.zeros(nibbles.size % 2, np.uint8))
    return nibbles[::2] | (nibbles[1::2] << 4)


def _quantization(tensor):
    if tensor.scale is None:
        return None
    quantization = schema.QuantizationParametersT()
    quantization.scale = tensor.scales()
    zeros = tensor.zeros()
    quantization.zeroPoint = zeros if len(zeros) == len(quantization.scale) else zeros * len(quantization.scale)
    quantization.quantizedDimension = tensor.axis
    return quantization


def _tensor(model, subgraph, name, tensor, is_output=False):
    made = schema.TensorT()
    made.name, made.shape = name.encode(), list(tensor.value.shape)
    made.type = TYPES["int4" if tensor.bits == 4 else str(tensor.value.dtype)]
    made.quantization = _quantization(tensor)
    buffer = schema.BufferT()
    made.isVariable = tensor.role == "state"
    if tensor.is_constant and tensor.role != "state":
        data = packed(tensor.value) if tensor.bits == 4 else np.ascontiguousarray(tensor.value)
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)
    model.buffers.append(buffer)
    made.buffer = len(model.buffers) - 1
    subgraph.tensors.append(made)
    return len(subgraph.tensors) - 1


def tflite(op, inputs, output, attributes):
    """The bytes of a model of one operator. `output` is a tensor whose value only says the type."""
    builtin, options, fields = OPERATORS[op]
    model = schema.ModelT()
    model.version, model.description = 3, b""
    model.buffers = [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, builtin)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
    model.operatorCodes = [code]
    subgraph = schema.SubGraphT()
    subgraph.tensors, subgraph.name = [], b"main"
    indices = [_tensor(model, subgraph, f"in{i}", tensor) for i, tensor in enumerate(inputs)]
    result = _tensor(model, subgraph, "out", output)
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = indices, [result]
    if "slots" in attributes:
        operator.inputs = [-1] * (5 if op == "tfl.svdf" else 24)
        for slot, index in zip(attributes["slots"], indices):
            operator.inputs[slot] = index
    operator.intermediates = [
        _tensor(model, subgraph, f"between{i}", Tensor(np.zeros(0, np.int8 if i == 4 else np.int16), *affine))
        for i, affine in enumerate(zip(*(attributes.get(f"intermediate_{a}", []) for a in ("scale", "zero_point"))))
    ]
    if options:
        own = getattr(schema, options + "T")()
        for name, field in fields.items():
            if name in attributes:
                value = attributes[name]
                value = PADDINGS[value] if name == "padding" else value
                value = ACTIVATIONS[value] if name == "fused_activation_function" else value
                setattr(own, field, value)
        for name in ("dilationHFactor", "dilationWFactor", "strideH", "strideW"):
            if hasattr(own, name) and getattr(own, name) == 0:
                setattr(own, name, 1)
        operator.builtinOptions, operator.builtinOptionsType = own, getattr(schema.BuiltinOptions, options)
    subgraph.operators = [operator]
    subgraph.inputs = [i for i, tensor in zip(indices, inputs) if not tensor.is_constant]
    subgraph.outputs = [result]
    model.subgraphs = [subgraph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def answer(op, inputs, output, attributes, resolver=OpResolverType.BUILTIN_REF):
    """What LiteRT's reference kernels make of it. Sums of int8 and int16 these take for uint8, and of tfl.elu there is none: the
    others are asked."""
    if op == "tfl.elu" or op == "tfl.sum" and inputs[0].value.dtype != np.uint8:
        resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    content = tflite(op, inputs, output, attributes)
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    fed = [tensor for tensor in inputs if not tensor.is_constant]
    for detail, tensor in zip(interpreter.get_input_details(), fed):
        interpreter.set_tensor(detail["index"], tensor.value)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).copy()


class Graph:
    """Nodes of one GraphDef, each with LiteRT's answer."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.graph_def = tf.compat.v1.GraphDef()
        self.graph_def.versions.producer = 1087
        self.feeds, self.outputs = {}, {}

    def _constant(self, name, value):
        node = self.graph_def.node.add(op="Const", name=name)
        node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))

    def _input(self, name, tensor):
        value = packed(tensor.value) if tensor.bits == 4 else tensor.value
        if tensor.is_constant:
            self._constant(name, value)
            return
        node = self.graph_def.node.add(op="Placeholder", name=name)
        node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
        node.attr["shape"].shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
        self.feeds[name] = value

    def node(self, name, op, inputs, output, **attributes):
        """Adds a node with its inputs, and LiteRT's answer to it."""
        self.outputs[name] = answer(op, inputs, output, attributes)
        for i, tensor in enumerate(inputs):
            self._input(f"{name}_in{i}", tensor)
        node = self.graph_def.node.add(op=op, name=name)
        node.input.extend(f"{name}_in{i}" for i in range(len(inputs)))
        for key, value in attributes.items():
            if isinstance(value, bool):
                node.attr[key].b = value
            elif isinstance(value, str):
                node.attr[key].s = value.encode()
            elif isinstance(value, float):
                node.attr[key].f = value
            elif isinstance(value, list):
                kind = node.attr[key].list
                (kind.f if isinstance(value[0], float) else kind.i).extend(value)
            else:
                node.attr[key].i = value
        is_input = lambda t: t.role == "input" or "slots" in attributes
        self._scales(node, "input", [t for t in inputs if is_input(t) and t.scale is not None])
        self._scales(node, "output", [output] if output.scale is not None else [])
        for tensor in inputs:
            if tensor.role == "filter":
                self._scales(node, "filter", [tensor])
                node.attr["filter_quantized_dimension"].i = tensor.axis
                if tensor.bits == 4:
                    node.attr["filter_bits"].i = 4
                    node.attr["filter_shape"].list.i.extend(tensor.value.shape)
        node.attr["output_type"].type = tf.as_dtype(output.value.dtype).as_datatype_enum

    @staticmethod
    def _scales(node, role, tensors):
        if not tensors:
            return
        node.attr[f"{role}_scale"].list.f.extend(s for t in tensors for s in t.scales())
        node.attr[f"{role}_zero_point"].list.i.extend(z for t in tensors for z in t.zeros())
        if any(len(t.scales()) > 1 for t in tensors) and role != "filter":
            node.attr["quantized_dimension"].i = tensors[0].axis
