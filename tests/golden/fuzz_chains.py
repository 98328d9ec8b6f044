"""Chains of layers that the passes rewrite, with the variations that they must not take for the real thing."""

import numpy as np
import tensorflow as tf

from fuzz_graph import Graph, Tensor

raw = tf.raw_ops


class Layers(Graph):
    """A graph that is written with TensorFlow's own functions."""

    def feed(self, value, dtype=None, const=None):
        value = np.asarray(value)
        self.largest = max(self.largest, float(np.abs(value).max(initial=0)))
        if const:
            return tf.constant(value)
        name = self.name("in")
        self.feeds[name] = value
        return tf.compat.v1.placeholder(value.dtype, value.shape, name=name)

    def out(self, tensor, what, looser=1.0):
        self.log.append(what)
        self.fetch(Tensor(tf.identity(tensor, name=self.name("out")).op.name, tensor.dtype.name))


def build(seed):
    """One or two chains of two to six blocks over one to three inputs, with some intermediate values fetched."""
    g = Layers(seed, wild=0.0)
    g.op, g.looser = "chain", 30.0
    with tf.Graph().as_default() as graph:
        for _ in range(g.int(1, 2)):
            chain(g)
        g.graph_def = graph.as_graph_def()
    return g


class Chain:
    """A value on its way, with the ones before it that have its shape."""

    def __init__(self, g, x):
        self.g, self.x, self.log, self.before = g, x, [], []

    def shape(self):
        return [d if d is not None else 2 for d in self.x.shape.as_list()]

    def channels(self):
        return self.shape()[-1]

    def set(self, x, what):
        g = self.g
        self.before.append(self.x)
        self.x = x
        self.log.append(what)
        if g.chance(0.15):
            g.out(x, "->".join(self.log), 30.0)
        if g.chance(0.05):
            self.x = tf.identity(self.x)
        if g.chance(0.04):
            with tf.control_dependencies([self.g.pick(self.before)]):
                self.x = tf.identity(self.x)
        if g.chance(0.03):
            tf.exp(self.x)  # a dead branch

    def vector(self, low=-2, high=2, shapes=True):
        c, rank = self.channels(), self.x.shape.rank
        shape = self.g.pick([[c], [c], [1, c], [1] * (rank - 1) + [c], [], [1]]) if shapes else [c]
        return constant(self.g, shape, low, high)


def constant(g, shape, low=-1, high=1):
    value = g.rng.uniform(low, high, shape).astype("float32")
    if g.chance(0.1):
        value = np.full(shape, g.pick([0.0, 1.0, 2.0, 6.0, 3.0, -1.0]), "float32")
    return g.feed(value, const=g.chance(0.95))


def chain(g):
    rank = g.pick([2, 3, 4, 4, 4])
    shape = [g.int(1, 3)] + [g.int(3, 9) for _ in range(rank - 2)] + [g.pick([1, 2, 3, 4, 8, 16, 17])]
    c = Chain(g, placeholder(g, shape))
    if g.chance(0.2):
        c.set(tf.concat([c.x, placeholder(g, shape)], -1), "concat")
    for _ in range(g.int(2, 7)):
        block = g.pick(BLOCKS)
        try:
            block(g, c)
        except ValueError as error:
            c.log.append(f"[{block.__name__} refused]")
    g.out(c.x, "->".join(c.log), 60.0)


def placeholder(g, shape):
    value = g.rng.normal(size=shape).astype("float32")
    name = g.name("in")
    g.feeds[name] = value
    open_batch = [None] + shape[1:] if g.chance(0.4) else shape
    return tf.compat.v1.placeholder(tf.float32, open_batch, name=name)


def product(g, c):
    """A convolution, depthwise convolution or matrix product, perhaps of weights that another has too."""
    rank, n = c.x.shape.rank, c.channels()
    if n > 64:
        return
    out = g.pick([n, n, 1, 5, 16, 24])
    if rank == 4 and g.chance(0.85):
        h, w = min(3, c.shape()[1]), min(3, c.shape()[2])
        k = [g.int(1, h), g.int(1, w)]
        padding = g.pick(["SAME", "SAME", "VALID"])
        s = g.pick([1, 1, 2])
        if g.chance(0.4):
            m = g.pick([1, 1, 2])
            f = constant(g, k + [n, m])
            return c.set(raw.DepthwiseConv2dNative(input=c.x, filter=f, strides=[1, s, s, 1], padding=padding),
                         f"depthwise{k}{s}{padding}")
        f = constant(g, k + [n, out])
        if g.chance(0.1):
            f = f * constant(g, g.pick([[out], [], [n, 1]]))
        made = raw.Conv2D(input=c.x, filter=f, strides=[1, s, s, 1], padding=padding)
        if g.chance(0.1):
            other = raw.Conv2D(input=c.x * 0.5, filter=f, strides=[1, s, s, 1], padding=padding)
            made = g.pick([made + other, other + made, made * other, made - other])
        return c.set(made, f"conv{k}{out}{s}{padding}")
    w = constant(g, [n, out])
    if rank == 2:
        if g.chance(0.3):
            return c.set(raw.MatMul(a=c.x, b=constant(g, [out, n]), transpose_b=True), "matmul^T")
        return c.set(raw.MatMul(a=c.x, b=w), f"matmul{out}")
    kind = g.int(0, 3)
    if kind == 0:
        return c.set(tf.tensordot(c.x, w, 1), "tensordot")
    if kind == 1:
        return c.set(raw.BatchMatMulV2(x=c.x, y=w), "batchmatmul")
    if kind == 2 and rank == 3:
        return c.set(raw.Einsum(inputs=[c.x, w], equation="abc,cd->abd"), "einsum")
    flat = tf.reshape(c.x, [-1, n])
    made = raw.MatMul(a=flat, b=w)
    if g.chance(0.5):
        made = raw.BiasAdd(value=made, bias=constant(g, [out]))
    c.set(tf.reshape(made, tf.concat([tf.shape(c.x)[:-1], [out]], 0)), "reshape-matmul-reshape")


def scalar_step(g, c):
    """A constant added, subtracted, multiplied or divided from either side."""
    v = c.vector(*g.pick([(-2, 2), (0.5, 2)]))
    op = g.pick([raw.AddV2, raw.Sub, raw.Mul, raw.RealDiv, raw.Mul, raw.AddV2, raw.Add, raw.Div, raw.Maximum, raw.Minimum])
    left = g.chance(0.4)
    if op in (raw.RealDiv, raw.Div):
        if left:
            made = op(x=v, y=tf.abs(c.x) + 1.5)
        else:
            made = op(x=c.x, y=constant(g, v.shape.as_list(), 0.5, 2))
    else:
        made = op(x=v, y=c.x) if left else op(x=c.x, y=v)
    c.set(made, f"{op.__name__}{'L' if left else 'R'}{v.shape}")


def bias(g, c):
    if c.x.shape.rank >= 2:
        if g.chance(0.1) and c.x.shape.rank >= 3:
            c.set(raw.BiasAdd(value=c.x, bias=constant(g, [c.shape()[1]]), data_format="NCHW"), "bias NCHW")
        else:
            c.set(raw.BiasAdd(value=c.x, bias=constant(g, [c.channels()])), "bias")


def batch_norm(g, c):
    n, eps = c.channels(), g.pick([1e-3, 1e-5, 0.01])
    gamma, beta, mean = (constant(g, [n], -2, 2) for _ in range(3))
    variance = constant(g, [n], 0.2, 2)
    kind = g.int(0, 3)
    if kind == 0 and c.x.shape.rank == 4:
        training = g.chance(0.1)
        op = g.pick([raw.FusedBatchNorm, raw.FusedBatchNormV2, raw.FusedBatchNormV3])
        if training and g.chance(0.5):
            eps = 0.1
        made = op(x=c.x, scale=gamma, offset=beta, mean=mean, variance=tf.abs(variance), epsilon=eps, is_training=training)
        return c.set(made[0], f"fusedbn {training}")
    variance = tf.abs(variance)
    if kind == 1:
        return c.set(tf.nn.batch_normalization(c.x, mean, variance, g.pick([beta, None]), g.pick([gamma, None]), eps), "bn")
    inv = tf.math.rsqrt(variance + eps) * gamma
    if kind == 2:
        return c.set((c.x - mean) * inv + beta, "bn sub mul add")
    c.set(g.pick([lambda: (beta - mean * inv) + c.x * inv, lambda: inv * c.x - (mean * inv - beta),
                  lambda: (mean - c.x) * inv + beta])(), "bn odd")


def activation(g, c):
    x = c.x
    kinds = {
        "relu": tf.nn.relu, "relu6": tf.nn.relu6, "sigmoid": tf.nn.sigmoid, "tanh": tf.tanh, "elu": tf.nn.elu,
        "swish": lambda x: x * tf.nn.sigmoid(x), "swish'": lambda x: tf.nn.sigmoid(x) * x,
        "not swish": lambda x: x * tf.nn.sigmoid(x * 1.5), "sigmoid of other": lambda x: tf.nn.sigmoid(tf.nn.relu(x)) * x,
        "hard": lambda x: x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0), "hard/": lambda x: x * (tf.nn.relu6(3.0 + x) / 6.0),
        "hard sigmoid": lambda x: tf.nn.relu6(x + 3.0) / 6.0, "hard wrong": lambda x: x * tf.nn.relu6(x + 2.0) / 6.0,
        "hard wrong 5": lambda x: x * tf.nn.relu6(x + 3.0) / 5.0, "hard other": lambda x: tf.nn.relu(x) * tf.nn.relu6(x + 3.0) / 6.0,
        "leaky": lambda x: tf.nn.leaky_relu(x, 0.1), "leaky max": lambda x: tf.maximum(x, 0.1 * x),
        "min(max)": lambda x: tf.minimum(tf.maximum(x, 0.0), g.pick([6.0, 5.0, 1.0])),
        "clip": lambda x: tf.clip_by_value(x, g.pick([0.0, -1.0]), 6.0), "max0": lambda x: tf.maximum(0.0, x),
        "softplus": tf.nn.softplus, "mish": lambda x: x * tf.tanh(tf.nn.softplus(x)), "square": lambda x: x * x,
        "softmax": tf.nn.softmax, "relu relu6": lambda x: tf.nn.relu6(tf.nn.relu(x)), "relu6 relu": lambda x: tf.nn.relu(tf.nn.relu6(x)),
    }
    name = g.pick(sorted(kinds))
    c.set(kinds[name](x), name)


def gelu(g, c):
    """Gelu in its writings, some a little wrong."""
    x = c.x
    half = g.pick([0.5, 0.5, 0.5, 0.4])
    root = g.pick([np.sqrt(0.5), np.sqrt(0.5), 0.7])
    cube = g.pick([0.044715, 0.044715, 0.05])
    scale = g.pick([np.sqrt(2 / np.pi), np.sqrt(2 / np.pi), 0.8])
    other = tf.nn.relu(x) if g.chance(0.1) else x
    one = g.pick([1.0, 1.0, 1.0, 1.1])
    power = lambda: tf.pow(x, g.pick([3.0, 3.0, 2.0])) if g.chance(0.7) else x * x * x
    t = lambda: tf.tanh(scale * (x + cube * power()))
    made = g.pick([
        lambda: half * other * (one + tf.math.erf(x * root)),
        lambda: other * half * (tf.math.erf(x / np.float32(1 / root)) + one),
        lambda: other * (half * (one + tf.math.erf(x / np.float32(1 / root)))),
        lambda: half * x * tf.math.erfc(-x * root),
        lambda: half * other * (one + t()),
        lambda: other * (half * (one + t())),
        lambda: tf.nn.gelu(x, approximate=g.chance(0.5)),
    ])()
    if g.chance(0.1):
        g.out(tf.math.erf(x * root), "erf of gelu", 30.0)
    c.set(made, f"gelu {half} {root:.2} {cube} {scale:.2} {one}")


def layer_norm(g, c):
    """Layer norm in its writings, some a little wrong."""
    x, n, rank = c.x, c.channels(), c.x.shape.rank
    axis = g.pick([-1, -1, -1, rank - 1, 0 if rank > 2 else -1])
    keep = True
    mean = tf.reduce_mean(x, axis, keepdims=keep)
    eps = g.pick([1e-3, 1e-5, 1e-4, 0.5])
    centred = g.pick([x - mean, x - mean, x - mean, mean - x])
    d2 = g.pick([lambda: tf.math.squared_difference(x, tf.stop_gradient(mean)), lambda: tf.square(centred),
                 lambda: centred * centred, lambda: tf.square(x)])()
    variance = tf.reduce_mean(d2, g.pick([axis, axis, axis, -1]), keepdims=keep)
    if g.chance(0.1):
        variance = tf.maximum(tf.reduce_mean(tf.square(x), axis, keepdims=True) - tf.square(mean), 0.0)
    inv = tf.math.rsqrt(variance + eps) if g.chance(0.8) else 1.0 / tf.sqrt(variance + eps)
    gamma, beta = constant(g, [n], -2, 2), constant(g, [n], -2, 2)
    if g.chance(0.2):
        gamma = constant(g, g.pick([[], [1] * (rank - 1) + [n], [1]]), -2, 2)
    made = g.pick([
        lambda: centred * inv * gamma + beta,
        lambda: x * (inv * gamma) + (beta - mean * (inv * gamma)),
        lambda: beta + gamma * (centred * inv),
        lambda: gamma * centred / tf.sqrt(variance + eps) + beta,
        lambda: centred * inv,
        lambda: centred * inv * gamma - beta,
        lambda: x * (inv * gamma) + (beta + mean * (inv * gamma)),
        lambda: tf.nn.batch_normalization(x, mean, variance, beta, gamma, eps),
    ])()
    if g.chance(0.15):
        g.out(g.pick([mean, variance, inv, centred]), "part of layer norm", 30.0)
    c.set(made, f"layer norm axis {axis} eps {eps}")


def residual(g, c):
    """Something from before added, perhaps broadcast, perhaps the value itself."""
    same = [b for b in c.before if b.shape.rank == c.x.shape.rank and b.shape[1:] == c.x.shape[1:]]
    op = g.pick([raw.AddV2, raw.AddV2, raw.Add, raw.Sub, raw.Mul])
    kind = g.int(0, 5)
    if kind == 0:
        other = c.x
    elif kind == 1:
        other = tf.reduce_mean(c.x, list(range(1, c.x.shape.rank - 1)) or [0], keepdims=True)
    elif kind == 2:
        other = placeholder(g, [c.x.shape.as_list()[0] or next(iter(g.feeds.values())).shape[0]] + c.shape()[1:])
    elif kind == 3 and same:
        other = tf.nn.relu(g.pick(same))
    elif same:
        other = g.pick(same)
    else:
        return
    a, b = (c.x, other) if g.chance(0.5) else (other, c.x)
    c.set(raw.AddN(inputs=[a, b]) if g.chance(0.15) and kind != 1 else op(x=a, y=b), f"residual{kind} {op.__name__}")


def twins(g, c):
    """Two equal producers added."""
    n = c.channels()
    w = g.rng.normal(size=[n, n]).astype("float32")
    if c.x.shape.rank == 2:
        both = [raw.MatMul(a=c.x, b=tf.constant(w)) for _ in range(2)]
    elif c.x.shape.rank == 4:
        both = [raw.Conv2D(input=c.x, filter=tf.constant(w[None, None]), strides=[1, 1, 1, 1], padding="SAME") for _ in range(2)]
    else:
        return
    if g.chance(0.5):
        both[1] = tf.nn.relu(both[1])
    c.set(raw.AddV2(x=both[0], y=both[1]), "twins")


def pad(g, c):
    rank = c.x.shape.rank
    pads = [[0, 0]] + [[g.int(0, 2), g.int(0, 2)] if g.chance(0.8) else [0, 0] for _ in range(rank - 2)]
    pads += [[g.int(0, 1), g.int(0, 1)] if g.chance(0.15) else [0, 0]]
    if g.chance(0.08):
        pads[0] = [0, 1]
    value = g.pick([None, 0.0, 1.5])
    if g.chance(0.1):
        c.set(raw.MirrorPad(input=c.x, paddings=tf.constant(pads), mode="SYMMETRIC"), f"mirror {pads}")
    elif value is None:
        c.set(raw.Pad(input=c.x, paddings=tf.constant(pads)), f"pad {pads}")
    else:
        c.set(raw.PadV2(input=c.x, paddings=tf.constant(pads), constant_values=value), f"pad {pads} {value}")
    if g.chance(0.6):
        product(g, c)


def pool(g, c):
    if c.x.shape.rank == 4 and min(c.shape()[1:3]) >= 2:
        op = g.pick([tf.nn.max_pool2d, tf.nn.avg_pool2d])
        c.set(op(c.x, 2, g.int(1, 2), g.pick(["SAME", "VALID"])), op.__name__)


def reshape(g, c):
    shape = c.shape()
    kind = g.int(0, 4)
    if kind == 0 and c.x.shape.rank == 4:
        c.set(tf.reshape(c.x, [-1, shape[1] * shape[2], shape[3]]), "reshape3")
    elif kind == 1:
        c.set(tf.expand_dims(tf.squeeze(tf.expand_dims(c.x, 1), [1]), 0)[0], "expand squeeze slice")
    elif kind == 2 and c.x.shape.rank == 3:
        c.set(tf.transpose(tf.transpose(c.x, [0, 2, 1]), [0, 2, 1]), "transpose twice")
    elif kind == 3 and c.x.shape.rank == 4:
        c.set(tf.reduce_mean(c.x, [1, 2]), "global average")
    elif c.x.shape.rank > 2:
        c.set(tf.reshape(c.x, [-1, int(np.prod(shape[1:]))]), "flatten")


def split(g, c):
    if c.channels() % 2 == 0:
        a, b = tf.split(c.x, 2, -1)
        c.set(g.pick([lambda: a * tf.nn.sigmoid(b), lambda: tf.concat([b, a], -1), lambda: a + b,
                      lambda: tf.concat([tf.nn.relu(a), b], -1)])(), "split")


def attention(g, c):
    if c.x.shape.rank != 3 or c.channels() > 32:
        return
    n = c.channels()
    q, k, v = (tf.tensordot(c.x, constant(g, [n, 8]), 1) + constant(g, [8]) for _ in range(3))
    heads = g.int(0, 1)
    if heads:
        t = c.shape()[1]
        q, k, v = (tf.transpose(tf.reshape(z, [-1, t, 2, 4]), [0, 2, 1, 3]) for z in (q, k, v))
        y = tf.matmul(tf.nn.softmax(tf.matmul(q, k, transpose_b=True) * 0.5), v)
        y = tf.reshape(tf.transpose(y, [0, 2, 1, 3]), [-1, t, 8])
    else:
        y = tf.einsum("bqk,bkd->bqd", tf.nn.softmax(tf.einsum("bqd,bkd->bqk", q, k) / 3.0), v)
    c.set(tf.tensordot(y, constant(g, [8, n]), 1), f"attention{heads}")


BLOCKS = [product, product, product, product, scalar_step, scalar_step, scalar_step, bias, bias, batch_norm, batch_norm,
          activation, activation, activation, gelu, layer_norm, residual, residual, residual, twins, pad, pad, pool,
          reshape, split, attention]
