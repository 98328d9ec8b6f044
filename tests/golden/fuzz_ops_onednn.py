"""Random nodes of operators that TensorFlow computes with oneDNN alone, for `fuzz.py`: quantised layers with what follows them.
They are made where the environment says TF_ENABLE_ONEDNN_OPTS=1, which every other operator is compared without."""

import os

import numpy as np
import tensorflow as tf

from fuzz_graph import attr
from fuzz_ops import maker
from fuzz_ops_quantized import out, quantised

CONVOLUTIONS = [f"QuantizedConv2D{rest}" for rest in [
    "PerChannel", "AndRelu", "AndRequantize", "AndReluAndRequantize", "WithBias", "WithBiasAndRelu", "WithBiasAndRequantize",
    "WithBiasAndReluAndRequantize", "WithBiasSumAndRelu", "WithBiasSumAndReluAndRequantize",
    "WithBiasSignedSumAndReluAndRequantize"]]
DEPTHWISE = [f"QuantizedDepthwiseConv2D{rest}" for rest in
             ["", "WithBias", "WithBiasAndRelu", "WithBiasAndReluAndRequantize"]]
PRODUCTS = [f"QuantizedMatMulWithBias{rest}" for rest in
            ["", "AndRelu", "AndRequantize", "AndReluAndRequantize", "AndDequantize"]]


def fed(g, value):
    """Not a node of others, which TensorFlow would have in another layout."""
    return g.feed(value, derive=False)


def ends(g, shape=(), const=False):
    low, high = g.rng.uniform(-6, 0, shape), g.rng.uniform(0.1, 6, shape)
    if g.chance(0.3):
        low = low * 0
    return [g.feed(np.asarray(v, "float32"), const=const or None, derive=False) for v in (low, high)]


def weights(g, shape):
    """A constant: TensorFlow asks for one."""
    value = g.rng.integers(-128, 127, shape, "int8", endpoint=True)
    tensor = tf.make_tensor_proto(value.view(tf.qint8.as_numpy_dtype))
    return g.source("Const", "c", "qint8", shape, value=attr(tensor=tensor))


def bias_of(g, count, may_be_int):
    if may_be_int and g.chance(0.4):
        return quantised(g, "qint32", [count], -(10**5), 10**5)
    return fed(g, g.rng.uniform(-3, 3, [count]).astype("float32"))


def convolution(g, name):
    g.wild = 0
    stride, rate = g.int(1, 3), 1
    if g.chance(0.2):
        stride, rate = 1, 2
    size = [g.int(1, 3), g.int(1, 3)]
    height, width = ((k - 1) * rate + g.int(1, 7) for k in size)
    batch, channels = g.int(1, 2), g.pick([1, 2, 3, 8, 16, 17])
    is_depthwise = "Depthwise" in name
    columns = g.int(1, 3) if is_depthwise else g.pick([1, 2, 5, 16, 33])
    count = channels * columns if is_depthwise else columns
    is_requantized, has_bias = "Requantize" in name, "WithBias" in name
    may_be_signed = name in CONVOLUTIONS[4:8]
    x = quantised(g, "qint8" if may_be_signed and g.chance(0.3) else "quint8", [batch, height, width, channels])
    padding, more = g.pick(["SAME", "VALID"]), {}
    around = [0] * 4
    if g.chance(0.3) and "Depthwise" not in name and not name.endswith("PerChannel"):
        around = [g.int(0, k * rate - 1) for k in size for _ in range(2)]
        more["padding_list"] = [0, 0, *around, 0, 0]
        padding = "VALID"
    per_channel = name != "QuantizedConv2DAndRequantize" and g.chance(0.4)
    inputs = [x, weights(g, [*size, channels, columns])]
    if has_bias:
        inputs.append(bias_of(g, count, is_requantized))
    inputs += [*ends(g), *ends(g, [count] if per_channel else [], const=True)]
    if is_requantized:
        inputs += ends(g)
    if "Sum" in name:
        reach = [(k - 1) * rate + 1 for k in size]
        room = [height + around[0] + around[1], width + around[2] + around[3]]
        pixels = [-(-room[i] // stride) if padding == "SAME" else (room[i] - reach[i]) // stride + 1 for i in range(2)]
        shape = [batch, *pixels, count]
        # TensorFlow writes over it, so it must be another node's.
        if is_requantized:
            kind = "int8" if "Signed" in name else "uint8"
            value = g.rng.integers(*((-128, 127) if kind == "int8" else (0, 255)), shape, endpoint=True).astype(kind)
            summand = g.call("Bitcast", g.call("Invert", fed(g, value))[0], type=f"q{kind}")[0]
            inputs += [summand, *ends(g)]
        else:
            inputs.append(g.call("Neg", fed(g, g.rng.uniform(-50, 50, shape).astype("float32")))[0])
        more.update({"Tsummand": inputs[9].dtype} if is_requantized else {})
    to = "qint32" if not is_requantized else "quint8" if "Relu" in name else "qint8"
    return out(g, g.call(name, *inputs, strides=[1, stride, stride, 1], dilations=[1, rate, rate, 1], padding=padding,
                         out_type=to, **more))


def product(g, name):
    g.wild = 0
    m, k, n = g.int(0 if g.chance(0.1) else 1, 5), g.int(1, 40), g.pick([1, 2, 3, 5, 16, 33])
    inputs = [quantised(g, "quint8", [m, k]), weights(g, [k, n]), bias_of(g, n, not name.endswith("BiasAndRelu")), *ends(g), *ends(g)]
    if "quantize" in name.lower()[9:]:
        inputs += ends(g)
    to = "float32" if "Dequantize" in name else "quint8" if "Requantize" in name else "qint32"
    return out(g, g.call(name, *inputs, Toutput=to, input_quant_mode=g.pick(["MIN_FIRST", "SCALED"])))


if os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1":
    maker(*CONVOLUTIONS, *DEPTHWISE)(convolution)
    maker(*PRODUCTS)(product)
