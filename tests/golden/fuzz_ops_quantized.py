"""Random nodes on quantised tensors, for `fuzz.py`. They come in and go out as the integers that they are stored as."""

import numpy as np

from fuzz_ops import maker

STORED = {"quint8": "uint8", "qint8": "int8", "quint16": "uint16", "qint16": "int16", "qint32": "int32"}
KINDS = list(STORED)


def quantised(g, kind, shape, low=None, high=None):
    info = np.iinfo(STORED[kind])
    ends = (low if low is not None else info.min, high if high is not None else info.max)
    if kind == "qint32" and g.chance(0.7):
        ends = (-(10**6), 10**6)
    value = g.rng.integers(*ends, [int(d) for d in shape], endpoint=True).astype(STORED[kind])
    return g.call("Bitcast", g.feed(value, STORED[kind]), type=kind)[0]


def out(g, made):
    return [g.call("Bitcast", t, type=STORED[t.dtype])[0] if t.dtype in STORED else t for t in made]


def ends_of(g, shape=()):
    """The least and the greatest of a range: mostly around zero, sometimes on one side of it, empty or the wrong way round."""
    low, high = g.rng.uniform(-6, 0, shape), g.rng.uniform(0.1, 6, shape)
    kind = g.int(0, 19)
    if kind == 0:
        low = high + 1
    elif kind == 1:
        high = low
    elif kind == 2:
        low = np.abs(low)
        high = low + high
    elif kind == 3:
        high = low + 0.05
    elif kind == 4:
        low, high = low * 0, high * 0 + 1e-3
    elif kind == 5 and not g.chance(0.5):
        high = np.full(shape, g.pick([np.nan, np.inf, 1e30]))
    return [g.feed(np.asarray(v, "float32")) for v in (low, high)]


@maker("QuantizeV2")
def quantize(g, name):
    shape, kind = g.shape(0, 4), g.pick(["quint8", "qint8", "quint16", "qint16", "qint32"])
    axis = g.int(0, len(shape) - 1) if shape and g.chance(0.3) else -1
    mode = g.pick(["MIN_COMBINED", "MIN_FIRST", "SCALED"])
    x = g.input("float32", shape, -7, 7, special=0.15)
    more = {"ensure_minimum_range": g.pick([0.01, 0.01, 0.0, 0.5])}
    return out(g, g.call(name, x, *ends_of(g, [shape[axis]] if axis >= 0 else []), T=kind, mode=mode, axis=axis,
                         round_mode=g.pick(["HALF_TO_EVEN", "HALF_AWAY_FROM_ZERO"]) if mode == "SCALED" else "HALF_AWAY_FROM_ZERO",
                         narrow_range=g.chance(0.3), **more))


@maker("Dequantize")
def dequantize(g, name):
    shape, kind = g.shape(0, 4), g.pick(KINDS)
    axis = g.int(0, len(shape) - 1) if shape and g.chance(0.3) else -1
    return g.call(name, quantised(g, kind, shape), *ends_of(g, [shape[axis]] if axis >= 0 else []), axis=axis,
                  mode=g.pick(["MIN_COMBINED", "MIN_FIRST", "SCALED"]), narrow_range=g.chance(0.3),
                  dtype=g.pick(["float32", "float32", "bfloat16"]))


@maker("Requantize", "RequantizationRange", "QuantizeDownAndShrinkRange")
def requantize(g, name):
    sums = [quantised(g, "qint32", g.shape(0, 4)), *ends_of(g)]
    if name == "Requantize":
        return out(g, g.call(name, *sums, *ends_of(g), out_type=g.pick(["quint8", "qint8"])))
    if name == "RequantizationRange":
        return g.call(name, *sums)
    return out(g, g.call(name, *sums, out_type="quint8"))


@maker("QuantizedAdd", "QuantizedMul")
def pair(g, name):
    shape = g.shape(0, 4)
    one, two = shape, g.pick([shape, shape[g.int(0, len(shape)):], [], [1], shape[-1:]])
    if g.chance(0.4):
        one, two = two, one
    a, b = quantised(g, "quint8", one), quantised(g, "quint8", two)
    return out(g, g.call(name, a, b, *ends_of(g), *ends_of(g), Toutput="qint32"))


@maker("QuantizedBiasAdd")
def bias(g, name):
    shape, kind = g.shape(1, 4), g.pick(["quint8", "qint8"])
    return out(g, g.call(name, quantised(g, kind, shape), quantised(g, kind if g.chance(0.9) else "qint8", shape[-1:]), *ends_of(g),
                         *ends_of(g), out_type="qint32"))


@maker("QuantizedConv2D")
def convolution(g, name):
    shape = [g.int(0 if g.chance(0.1) else 1, 2), g.int(1, 7), g.int(1, 7), g.pick([1, 2, 3, 8])]
    stride, kernel = g.int(1, 3), [g.int(1, 3), g.int(1, 3), shape[3], g.pick([1, 2, 5, 17])]
    x, f = quantised(g, "quint8", shape), quantised(g, g.pick(["quint8", "quint8", "qint8"]), kernel)
    return out(g, g.call(name, x, f, *ends_of(g), *ends_of(g), strides=[1, stride, stride, 1], padding=g.pick(["SAME", "VALID"]),
                         out_type="qint32", dilations=[1, 1, 1, 1]))


@maker("QuantizedMatMul")
def product(g, name):
    m, k, n = (g.dim() for _ in range(3))
    ta, tb = g.chance(0.4), g.chance(0.4)
    a, b = quantised(g, "quint8", [k, m] if ta else [m, k]), quantised(g, "quint8", [n, k] if tb else [k, n])
    return out(g, g.call(name, a, b, *ends_of(g), *ends_of(g), Toutput="qint32", transpose_a=ta, transpose_b=tb))


@maker("QuantizedMaxPool", "QuantizedAvgPool")
def pool(g, name):
    shape = [g.int(0 if g.chance(0.1) else 1, 2), g.int(1, 7), g.int(1, 7), g.pick([1, 2, 3, 8])]
    two = lambda: [1, g.int(1, 3), g.int(1, 3), 1]
    stride = g.int(1, 3)
    return out(g, g.call(name, quantised(g, "quint8", shape), *ends_of(g), ksize=two(),
                         strides=[1, stride, stride, 1] if g.chance(0.8) else two(), padding=g.pick(["SAME", "VALID"])))


@maker("QuantizedRelu", "QuantizedRelu6")
def clamp(g, name):
    return out(g, g.call(name, quantised(g, "quint8", g.shape(0, 4)), *ends_of(g), out_type="quint8"))


@maker("QuantizedReshape")
def reshape(g, name):
    shape = g.shape(0, 4)
    size = int(np.prod(shape))
    to = g.pick([[-1], [size], [1, size], list(shape[::-1]), [-1, 1]])
    return out(g, g.call(name, quantised(g, g.pick(["quint8", "qint32"]), shape), g.ints(to), *ends_of(g)))


@maker("UniformDequantize")
def uniform_dequantize(g, name):
    shape = g.shape(0, 4)
    axis = g.int(-1, len(shape)) if g.chance(0.9) else -2
    by = [int(shape[axis])] if 0 <= axis < len(shape) else []
    if g.chance(0.05):
        by = by + [1] if g.chance(0.5) else [2]
    scales = g.rng.uniform(0.01, 2, by).astype(np.float32)
    if g.chance(0.1) and scales.size:
        scales.flat[0] = g.pick([0, -1, np.nan, np.inf])
    kind = g.pick(["qint8", "quint8", "qint32"])
    return g.call(name, quantised(g, kind, shape), g.feed(scales, "float32"), g.feed(g.rng.integers(-200, 200, by), "int32"),
                  Tout="float32", quantization_axis=axis, quantization_min_val=g.pick([-128, 0]), quantization_max_val=127)


@maker("QuantizeAndDequantize")
def simulate(g, name):
    low = float(g.rng.uniform(-4, 1))
    return g.call(name, g.input(g.pick(["float32", "float64"]), g.shape(0, 4), special=0.1, huge=False), signed_input=g.chance(0.6), num_bits=g.int(2, 12),
                  range_given=g.chance(0.6), input_min=low, input_max=low + float(g.rng.uniform(0, 5)))
