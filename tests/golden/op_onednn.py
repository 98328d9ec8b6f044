"""Golden cases of operators that TensorFlow computes with oneDNN alone: quantised layers with what follows them. They are written
where the environment says TF_ENABLE_ONEDNN_OPTS=1."""

import os

from op_cases import case
import numpy as np
import tensorflow as tf

raw = tf.raw_ops


def fed(g, name, shape, kind, low, high):
    stored = {"quint8": "uint8", "qint8": "int8", "qint32": "int32"}[kind]
    return tf.bitcast(g.feed(name, g.rng.integers(low, high, shape, endpoint=True), stored), getattr(tf, kind))


def shown(g, name, made):
    made = [made] if isinstance(made, tf.Tensor) else list(made)
    stored = {tf.qint32: tf.int32, tf.quint8: tf.uint8, tf.qint8: tf.int8}
    made[0] = tf.bitcast(made[0], stored[made[0].dtype]) if made[0].dtype in stored else made[0]
    g.out(**{f"{name}_{i}": tensor for i, tensor in enumerate(made)})


def quantized_fused(g):
    """Bytes exactly as TensorFlow rounds them."""
    x, signed = fed(g, "x", (2, 5, 6, 3), "quint8", 0, 255), fed(g, "signed", (2, 5, 6, 3), "qint8", -128, 127)
    filters = lambda *shape: tf.constant(g.rng.integers(-128, 127, shape, "int8", endpoint=True).view(tf.qint8.as_numpy_dtype))
    vector = lambda low, high, count: tf.constant(g.rng.uniform(low, high, count), tf.float32)
    bias, steps = vector(-3, 3, 4), fed(g, "steps", (4,), "qint32", -(10**5), 10**5)
    image = {"min_input": -1.5, "max_input": 4.0}
    one, each = {"min_filter": -0.5, "max_filter": 0.75}, {"min_filter": vector(-2, 0, 4), "max_filter": vector(0.1, 2, 4)}
    to = {"min_freezed_output": -3.0, "max_freezed_output": 40.0}
    same = {"strides": [1, 1, 1, 1], "padding": "SAME"}
    two = {"strides": [1, 2, 2, 1], "padding": "VALID", "padding_list": [0, 0, 1, 0, 0, 2, 0, 0]}
    wide = {"strides": [1, 1, 1, 1], "padding": "SAME", "dilations": [1, 2, 2, 1]}
    w = filters(3, 2, 3, 4)
    conv = {"input": x, "filter": w, **image}
    shown(g, "bias", raw.QuantizedConv2DWithBias(bias=bias, **conv, **one, **same, out_type=tf.qint32))
    shown(g, "bias_relu", raw.QuantizedConv2DWithBiasAndRelu(bias=bias, **{**conv, "input": signed}, **each, **two, out_type=tf.qint32))
    shown(g, "channels", raw.QuantizedConv2DPerChannel(**conv, **each, **wide, out_type=tf.qint32))
    shown(g, "signed", raw.QuantizedConv2DWithBiasAndRequantize(bias=steps, **{**conv, "input": signed}, **each, **to, **two, out_type=tf.qint8))
    shown(g, "unsigned", raw.QuantizedConv2DWithBiasAndReluAndRequantize(bias=bias, **conv, **one, **to, **wide, out_type=tf.quint8))
    # What is added must be another node's: TensorFlow writes over it.
    summand = tf.bitcast(tf.bitwise.invert(g.feed("summand", g.rng.integers(0, 255, (2, 5, 6, 4)), "uint8")), tf.quint8)
    shown(g, "sum", raw.QuantizedConv2DWithBiasSumAndReluAndRequantize(
        bias=bias, **conv, **each, **to, summand=summand, min_summand=-1.0, max_summand=20.0, **same, out_type=tf.quint8))
    depth = {"input": x, "filter": filters(3, 3, 3, 2), **image, "min_filter": -0.5, "max_filter": 0.75}
    shown(g, "depthwise", raw.QuantizedDepthwiseConv2DWithBiasAndReluAndRequantize(bias=vector(-3, 3, 6), **depth, **to, **same, out_type=tf.quint8))
    a, b = fed(g, "a", (3, 7), "quint8", 0, 255), filters(7, 4)
    matrices = {"a": a, "b": b, "min_a": -1.0, "max_a": 3.0, "min_b": -0.5, "max_b": 0.75}
    shown(g, "matmul", raw.QuantizedMatMulWithBias(bias=steps, **matrices, Toutput=tf.qint32))
    shown(g, "matmul_bytes", raw.QuantizedMatMulWithBiasAndReluAndRequantize(
        bias=bias, **{**matrices, "min_a": 0.0}, **to, Toutput=tf.quint8))
    shown(g, "matmul_numbers", raw.QuantizedMatMulWithBiasAndDequantize(
        bias=bias, **matrices, **to, input_quant_mode="SCALED", Toutput=tf.float32))


if os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1":
    case(rtol=0.0, atol=0.0)(quantized_fused)
