"""Random operators of TFLite on integers: each maker gives an operator, its inputs, its output and its attributes."""

import numpy as np

from tfl_model import Tensor

LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
MAKERS = {}


def maker(make):
    MAKERS[make.__name__] = make
    return make


def choice(rng, *values):
    return values[rng.integers(len(values))]


def integers(rng, shape, dtype):
    low, high = LIMITS[dtype]
    return rng.integers(low, high, size=shape, endpoint=True).astype(dtype)


def quantized(rng, shape, dtype, scale=None):
    """A tensor of any scale and zero point; of int16 0 stands at 0."""
    low, high = LIMITS[dtype]
    zero = 0 if dtype == "int16" else int(rng.integers(low, high, endpoint=True))
    scale = np.float32(scale if scale is not None else np.exp(rng.uniform(-5, 0)))
    return Tensor(integers(rng, shape, dtype), scale, zero)


def output(rng, dtype, scale):
    low, high = LIMITS[dtype]
    zero = 0 if dtype == "int16" else int(rng.integers(low, high, endpoint=True))
    return Tensor(np.zeros(1, dtype), np.float32(scale), zero)


def activation(rng):
    return choice(rng, "NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1")


def shape(rng, rank=None, most=6):
    rank = int(rng.integers(0, 5)) if rank is None else rank
    return tuple(int(n) for n in rng.integers(1, most, size=rank, endpoint=True))


def _filter(rng, dims, dtype, axis):
    """A filter: of int8 with a scale for each channel or with one, of uint8 with one and a zero point."""
    if dtype == "uint8":
        return Tensor(integers(rng, dims, "uint8"), np.float32(0.02), int(rng.integers(0, 256)), True, "filter")
    bits = int(choice(rng, 8, 8, 8, 4)) if dtype == "int8" else 8
    low, high = (-7, 7) if bits == 4 else (-127, 127)
    value = rng.integers(low, high, size=dims, endpoint=True).astype(np.int8)
    scales = np.exp(rng.uniform(-5, -2, dims[axis] if rng.random() < 0.8 else 1)).astype(np.float32)
    zeros = [0] * len(scales)
    return Tensor(value, scales, zeros, True, "filter", axis, bits if bits == 4 else 0)


def _bias(rng, channels, x, weights):
    scales = np.float32(x.scale) * np.atleast_1d(np.float32(weights.scale))
    dtype = np.int64 if x.value.dtype == np.int16 else np.int32
    value = rng.integers(-3000, 3000, size=channels).astype(dtype)
    return Tensor(value, scales, [0] * len(scales), True, "bias")


def _sums(x, weights, depth):
    """About how large sums are."""
    spread = {"int8": 75, "uint8": 75, "int16": 19000}[str(x.value.dtype)]
    weight = float(np.max(weights.scale)) * (4 if weights.bits == 4 else 75)
    return float(x.scale) * spread * weight * max(depth, 1) ** 0.5 * 3


def _window(rng):
    return dict(
        stride_h=int(rng.integers(1, 4)), stride_w=int(rng.integers(1, 4)), padding=choice(rng, "SAME", "VALID"),
        fused_activation_function=activation(rng),
    )


def _floats(rng, dims):
    """Floats whose range is another in each row, and of one row nothing but 0."""
    value = rng.normal(rng.normal(0, 1), 1, dims) * np.exp(rng.uniform(-2, 2, (dims[0],) + (1,) * (len(dims) - 1)))
    value[-1] *= rng.random() < 0.8
    return Tensor(value.astype(np.float32))


def _float_product(rng, op, x, weights, channels, attributes):
    bias = Tensor(rng.uniform(-1, 1, channels).astype(np.float32), is_constant=True, role="bias")
    return op, [x, weights, bias], Tensor(np.zeros(1, np.float32)), attributes


@maker
def hybrid_conv_2d(rng):
    groups, depth, channels = int(choice(rng, 1, 1, 2)), int(choice(rng, 1, 3, 17)), int(choice(rng, 2, 8, 34))
    kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    x = _floats(rng, (int(rng.integers(1, 4)), int(rng.integers(4, 9)), int(rng.integers(4, 9)), groups * depth))
    weights = _filter(rng, (channels, *kernel, depth), "int8", 0)
    return _float_product(rng, "tfl.conv_2d", x, weights, channels, _window(rng))


@maker
def hybrid_depthwise_conv_2d(rng):
    depth, multiplier = int(choice(rng, 2, 3, 8, 21)), int(choice(rng, 1, 1, 3))
    kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    x = _floats(rng, (int(rng.integers(1, 4)), int(rng.integers(4, 9)), int(rng.integers(4, 9)), depth))
    weights = _filter(rng, (1, *kernel, depth * multiplier), "int8", 3)
    if len(weights.scales()) == 1:
        weights.scale, weights.zero = [weights.scales()[0] * (1 + i) for i in range(depth * multiplier)], [0] * depth * multiplier
    attributes = _window(rng) | dict(depth_multiplier=multiplier)
    return _float_product(rng, "tfl.depthwise_conv_2d", x, weights, depth * multiplier, attributes)


@maker
def hybrid_fully_connected(rng):
    rows, depth, channels = int(choice(rng, 1, 2, 5, 13)), int(choice(rng, 1, 7, 64, 130)), int(choice(rng, 2, 10, 35))
    x, weights = _floats(rng, (rows, depth)), _filter(rng, (channels, depth), "int8", 0)
    attributes = dict(
        fused_activation_function=activation(rng), asymmetric_quantize_inputs=bool(rng.random() < 0.5),
    )
    return _float_product(rng, "tfl.fully_connected", x, weights, channels, attributes)


@maker
def conv_2d(rng, dtype=None):
    dtype = dtype or choice(rng, "int8", "int8", "uint8")
    batch, height, width = int(rng.integers(1, 3)), int(rng.integers(4, 10)), int(rng.integers(4, 10))
    groups = int(choice(rng, 1, 1, 1, 2, 3))
    depth, channels = int(choice(rng, 1, 2, 3, 8, 17, 64)), groups * int(choice(rng, 1, 3, 8, 16, 19, 33))
    kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    x = quantized(rng, (batch, height, width, groups * depth), dtype)
    weights = _filter(rng, (channels, *kernel, depth), dtype, 0)
    y = output(rng, dtype, _sums(x, weights, depth * kernel[0] * kernel[1]) / 100)
    attributes = _window(rng)
    if rng.random() < 0.3:
        attributes.update(dilation_h_factor=2, dilation_w_factor=int(rng.integers(1, 3)))
    return "tfl.conv_2d", [x, weights, _bias(rng, channels, x, weights)], y, attributes


@maker
def depthwise_conv_2d(rng, dtype=None):
    dtype = dtype or choice(rng, "int8", "int8", "uint8")
    height, width = int(rng.integers(4, 10)), int(rng.integers(4, 10))
    depth, multiplier = int(choice(rng, 1, 3, 8, 16, 21, 40)), int(choice(rng, 1, 1, 1, 2, 5))
    kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    x = quantized(rng, (int(rng.integers(1, 3)), height, width, depth), dtype)
    weights = _filter(rng, (1, *kernel, depth * multiplier), dtype, 3)
    y = output(rng, dtype, _sums(x, weights, kernel[0] * kernel[1]) / 100)
    attributes = _window(rng) | dict(depth_multiplier=multiplier)
    bias = _bias(rng, depth * multiplier, x, weights)
    return "tfl.depthwise_conv_2d", [x, weights, bias], y, attributes


@maker
def fully_connected(rng, dtype=None):
    dtype = dtype or choice(rng, "int8", "int8", "uint8")
    rows, depth, channels = int(choice(rng, 1, 2, 5, 13)), int(choice(rng, 1, 7, 64, 130)), int(choice(rng, 1, 10, 35))
    keep = bool(rng.random() < 0.4)
    x = quantized(rng, (2, rows, depth) if keep else (rows, depth), dtype)
    weights = _filter(rng, (channels, depth), dtype, 0)
    y = output(rng, dtype, _sums(x, weights, depth) / 100)
    attributes = dict(keep_num_dims=keep, fused_activation_function=activation(rng))
    inputs = [x, weights] + ([_bias(rng, channels, x, weights)] if rng.random() < 0.8 else [])
    return "tfl.fully_connected", inputs, y, attributes


@maker
def conv_2d_int16(rng):
    return conv_2d(rng, "int16")


@maker
def depthwise_conv_2d_int16(rng):
    return depthwise_conv_2d(rng, "int16")


@maker
def fully_connected_int16(rng):
    return fully_connected(rng, "int16")


def _pair(rng, op, fused=True):
    dtype = choice(rng, "int8", "uint8", "int16") if op != "tfl.squared_difference" else "int8"
    dims = shape(rng)
    other = tuple(choice(rng, n, 1) for n in dims)[int(rng.integers(0, len(dims) + 1)):]
    a, b = quantized(rng, dims, dtype), quantized(rng, other, dtype)
    if rng.random() < 0.5:
        a, b = b, a
    spread = 100 if dtype != "int16" else 20000
    scale = max(a.scale, b.scale) * choice(rng, 0.7, 1.5, 2.5)
    if op in ("tfl.mul", "tfl.squared_difference"):
        scale = (a.scale * b.scale if op == "tfl.mul" else scale * scale) * spread * choice(rng, 0.5, 1.0)
    attributes = dict(fused_activation_function=activation(rng)) if fused else {}
    return op, [a, b], output(rng, dtype, scale), attributes


@maker
def add(rng):
    return _pair(rng, "tfl.add")


@maker
def sub(rng):
    return _pair(rng, "tfl.sub")


@maker
def mul(rng):
    return _pair(rng, "tfl.mul")


@maker
def squared_difference(rng):
    return _pair(rng, "tfl.squared_difference", fused=False)


def _pool(rng, op):
    dtype = choice(rng, "int8", "uint8", "int16")
    x = quantized(rng, (int(rng.integers(1, 3)), *shape(rng, 2, 7), int(choice(rng, 1, 5, 32, 45))), dtype)
    size = [int(rng.integers(1, n + 1)) for n in x.value.shape[1:3]]
    attributes = _window(rng) | dict(filter_height=size[0], filter_width=size[1])
    return op, [x], Tensor(np.zeros(1, dtype), x.scale, x.zero), attributes


@maker
def average_pool_2d(rng):
    return _pool(rng, "tfl.average_pool_2d")


@maker
def max_pool_2d(rng):
    return _pool(rng, "tfl.max_pool_2d")


@maker
def softmax(rng):
    dtype = choice(rng, "int8", "uint8", "int16")
    scale = np.exp(rng.uniform(-4, 0)) / (200 if dtype == "int16" else 1)
    x = quantized(rng, shape(rng, int(rng.integers(1, 4)), 20), dtype, scale)
    y = {"int8": (1 / 256, -128), "uint8": (1 / 256, 0), "int16": (1 / 32768, 0)}[dtype]
    return "tfl.softmax", [x], Tensor(np.zeros(1, dtype), np.float32(y[0]), y[1]), dict(beta=float(choice(rng, 1.0, 0.5)))


def _sigmoid(rng, op):
    dtype = choice(rng, "int8", "uint8", "int16")
    scale = np.exp(rng.uniform(-4, -1)) / (300 if dtype == "int16" else 1)
    x = quantized(rng, shape(rng), dtype, choice(rng, scale, scale, 2.0**-12, 2.0**-11))
    if dtype == "int16":
        y = (1 / 32768, 0)
    elif op == "tfl.logistic":
        y = (1 / 256, -128 if dtype == "int8" else 0)
    else:
        y = (1 / 128, 0 if dtype == "int8" else 128)
    return op, [x], Tensor(np.zeros(1, dtype), np.float32(y[0]), y[1]), {}


@maker
def logistic(rng):
    return _sigmoid(rng, "tfl.logistic")


@maker
def tanh(rng):
    return _sigmoid(rng, "tfl.tanh")


@maker
def quantize(rng):
    dtype = choice(rng, "int8", "uint8", "int16")
    x = Tensor(rng.uniform(-3, 3, shape(rng)).astype(np.float32))
    return "tfl.quantize", [x], output(rng, dtype, np.exp(rng.uniform(-5, -2))), {}


@maker
def requantize(rng):
    origin, dtype = choice(rng, "int8", "uint8", "int16"), choice(rng, "int8", "uint8", "int16")
    dtype = dtype if (origin, dtype) != ("int16", "uint8") else "int8"
    x = quantized(rng, shape(rng), origin)
    y = output(rng, dtype, x.scale * np.exp(rng.uniform(-1.5, 1.5)))
    return "tfl.quantize", [x], y, {}


@maker
def dequantize(rng):
    x = quantized(rng, shape(rng), choice(rng, "int8", "uint8", "int16"))
    return "tfl.dequantize", [x], Tensor(np.zeros(1, np.float32)), {}


def _reduce(rng, op):
    x = quantized(rng, shape(rng, int(rng.integers(1, 5))), choice(rng, "int8", "uint8", "int16"))
    rank = x.value.ndim
    axes = rng.permutation(rank)[: rng.integers(1, rank + 1)] - choice(rng, 0, rank)
    axes = Tensor(axes.astype(np.int32), is_constant=True, role="axes")
    scale = x.scale * (1 if op == "tfl.mean" else 8) * np.exp(rng.uniform(-1, 1))
    return op, [x, axes], output(rng, str(x.value.dtype), scale), dict(keep_dims=bool(rng.random() < 0.5))


@maker
def mean(rng):
    return _reduce(rng, "tfl.mean")


@maker
def reduced_sum(rng):
    return _reduce(rng, "tfl.sum")


@maker
def concatenation(rng):
    """Only of uint8 LiteRT brings parts to another scale."""
    dtype = choice(rng, "int8", "uint8", "uint8", "int16")
    dims = shape(rng, int(rng.integers(1, 5)))
    axis = int(rng.integers(len(dims)))
    parts = []
    for _ in range(int(rng.integers(1, 5))):
        own = tuple(int(rng.integers(1, 5)) if i == axis else n for i, n in enumerate(dims))
        parts.append(quantized(rng, own, dtype))
    y = output(rng, dtype, np.exp(rng.uniform(-3, 0)))
    if dtype != "uint8":
        for part in parts:
            part.scale, part.zero = y.scale, y.zero
    return "tfl.concatenation", parts, y, dict(axis=axis - int(choice(rng, 0, len(dims))))


@maker
def pad(rng):
    x = quantized(rng, shape(rng, int(rng.integers(1, 5))), choice(rng, "int8", "uint8", "int16"))
    around = Tensor(rng.integers(0, 3, (x.value.ndim, 2)).astype(np.int32), is_constant=True, role="paddings")
    return "tfl.pad", [x, around], Tensor(np.zeros(1, x.value.dtype), x.scale, x.zero), {}


@maker
def padv2(rng):
    op, (x, around), y, attributes = pad(rng)
    value = Tensor(np.array(integers(rng, (), str(x.value.dtype))), x.scale, x.zero, True)
    return "tfl.padv2", [x, around, value], y, attributes


def _unary(rng, op, dtypes, low=None):
    dtype = choice(rng, *dtypes)
    x = quantized(rng, shape(rng), dtype)
    if dtype == "int16":
        x.scale = np.float32(x.scale / 100)
    if low is not None:
        # Only numbers above 0.
        x.zero = LIMITS[dtype][0] if dtype != "int16" else 0
        x.value = np.maximum(x.value, x.zero + 1).astype(dtype)
    return op, x, dtype


def _lines(rng, op, dtypes=("int8", "uint8", "int16"), **attributes):
    op, x, dtype = _unary(rng, op, dtypes)
    return op, [x], output(rng, dtype, x.scale * np.exp(rng.uniform(-1, 1))), attributes


@maker
def relu(rng):
    return _lines(rng, choice(rng, "tfl.relu", "tfl.relu6", "tfl.relu_n1_to_1", "tfl.relu_0_to_1"))


@maker
def leaky_relu(rng):
    return _lines(rng, "tfl.leaky_relu", alpha=float(choice(rng, 0.1, 0.25, 1.5)))


@maker
def absolute(rng):
    return _lines(rng, "tfl.abs", ("int8", "int16"))


@maker
def hard_swish(rng):
    x = quantized(rng, shape(rng), choice(rng, "int8", "uint8"), np.exp(rng.uniform(-4, -2)))
    return "tfl.hard_swish", [x], output(rng, str(x.value.dtype), x.scale * np.exp(rng.uniform(-0.3, 1))), {}


@maker
def elu(rng):
    return _lines(rng, "tfl.elu", ("int8",))


@maker
def gelu(rng):
    return _lines(rng, "tfl.gelu", ("int8", "uint8"), approximate=bool(rng.random() < 0.5))


@maker
def exp(rng):
    op, x, dtype = _unary(rng, "tfl.exp", ("int8", "int16"))
    x.scale = np.float32(x.scale / 10)
    return op, [x], output(rng, dtype, 0.05 if dtype == "int8" else 0.0005), {}


@maker
def log(rng):
    op, x, dtype = _unary(rng, "tfl.log", ("int8", "int16"), low=1)
    return op, [x], output(rng, dtype, 0.04 if dtype == "int8" else 0.0004), {}


@maker
def rsqrt(rng):
    op, x, dtype = _unary(rng, "tfl.rsqrt", ("int8", "int16"), low=1)
    return op, [x], output(rng, dtype, 0.05 if dtype == "int8" else 0.0005), {}


@maker
def log_softmax(rng):
    x = quantized(rng, shape(rng, int(rng.integers(1, 4)), 20), choice(rng, "int8", "uint8"))
    zero = 127 if x.value.dtype == np.int8 else 255
    return "tfl.log_softmax", [x], Tensor(np.zeros(1, x.value.dtype), np.float32(1 / 16), zero), {}


@maker
def l2_normalization(rng):
    x = quantized(rng, shape(rng, int(rng.integers(1, 4)), 20), choice(rng, "int8", "uint8"))
    zero = 0 if x.value.dtype == np.int8 else 128
    return "tfl.l2_normalization", [x], Tensor(np.zeros(1, x.value.dtype), np.float32(1 / 128), zero), {}


@maker
def unidirectional_sequence_lstm(rng):
    batch, steps, inputs, units = (int(n) for n in rng.integers(1, 7, 4))
    is_time_major = bool(rng.random() < 0.5)
    has_input_gate = rng.random() < 0.7
    x = quantized(rng, (steps, batch, inputs) if is_time_major else (batch, steps, inputs), "int8", 0.02)
    slots, tensors = [0], [x]
    state_scale, state_zero = np.float32(1 / 128), int(rng.integers(-20, 20))
    for first, depth in ((1, inputs), (5, units)):
        for gate in range(0 if has_input_gate else 1, 4):
            weights = rng.integers(-127, 127, (units, depth), endpoint=True).astype(np.int8)
            slots.append(first + gate)
            tensors.append(Tensor(weights, np.float32(np.exp(rng.uniform(-6, -4))), 0, True, "weights"))
    for gate in range(0 if has_input_gate else 1, 4):
        slots.append(12 + gate)
        scale = np.float32(x.scale * tensors[slots.index(1 + gate)].scale)
        tensors.append(Tensor(rng.integers(-2000, 2000, units).astype(np.int32), scale, 0, True, "bias"))
    slots += [18, 19]
    state = np.full((batch, units), state_zero, np.int8)
    tensors.append(Tensor(state, state_scale, state_zero, True, "state"))
    tensors.append(Tensor(np.zeros((batch, units), np.int16), np.float32(2.0 ** -11), 0, True, "state"))
    attributes = dict(
        slots=slots, intermediate_scale=[0.001, 0.001, 0.001, 0.001, float(state_scale)],
        intermediate_zero_point=[0, 0, 0, 0, state_zero],
        time_major=is_time_major, cell_clip=float(choice(rng, 0.0, 0.0, 2.0)), fused_activation_function="TANH",
    )
    y = Tensor(np.zeros(1, np.int8), state_scale, state_zero)
    return "tfl.unidirectional_sequence_lstm", tensors, y, attributes


@maker
def svdf(rng):
    rows, inputs, units, rank, steps = (int(n) for n in rng.integers(1, 6, 5))
    x = quantized(rng, (rows, inputs), "int8", 0.05)
    filters = units * rank

    def weight(dtype, limit, *dims):
        value = rng.integers(-limit, limit, dims, endpoint=True).astype(dtype)
        return Tensor(value, np.float32(np.exp(rng.uniform(-6, -4))), 0, True, "input")

    memory_scale = np.float32(np.exp(rng.uniform(-8, -6)))
    tensors = [x, weight(np.int8, 127, filters, inputs), weight(np.int16, 3000, filters, steps)]
    tensors.append(Tensor(np.zeros((rows, filters * steps), np.int16), memory_scale, 0, True, "state"))
    slots = [0, 1, 2, 4]
    if rng.random() < 0.7:
        scale = np.float32(memory_scale * tensors[2].scale)
        tensors.append(Tensor(rng.integers(-9000, 9000, units).astype(np.int32), scale, 0, True, "bias"))
        slots.append(3)
    y = Tensor(np.zeros(1, np.int8), np.float32(np.exp(rng.uniform(-6, -3))), int(rng.integers(-128, 100)))
    return "tfl.svdf", tensors, y, dict(slots=slots, rank=rank, fused_activation_function="RELU")
