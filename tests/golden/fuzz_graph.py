"""Random shapes, values and graphs for `fuzz.py`."""

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

tf1 = tf.compat.v1
DTYPES = ["float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
          "uint64", "bool", "string"]
USUAL = ["float32", "float32", "float32", "float64", "float16", "bfloat16", "int8", "int32", "int64", "uint8"]


class Graph:
    """Collects placeholders with their values and the outputs with what made them."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.feeds = {}
        self.outputs = {}

    # Choices.
    def chance(self, p):
        return self.rng.random() < p

    def pick(self, values):
        return values[int(self.rng.integers(len(values)))]

    def int(self, low, high):
        """A whole number from low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def dim(self, least=0):
        return max(least, self.pick([0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7]) if self.chance(0.5) else self.int(1, 5))

    def shape(self, low=0, high=5, least=0):
        rank = self.int(low, high)
        shape = [self.dim(least) for _ in range(rank)]
        while np.prod(shape, dtype=np.int64) > 5000:
            shape[int(np.argmax(shape))] = 2
        return shape

    def dtype(self, op, attribute="T", among=None):
        """A type that the operator's definition allows."""
        allowed = None
        for attr in op_def_registry.get(op).attr:
            if attr.name == attribute and attr.HasField("allowed_values"):
                allowed = {tf.as_dtype(t).name for t in attr.allowed_values.list.type}
        names = [d for d in (among or (USUAL if self.chance(0.6) else DTYPES)) if not allowed or d in allowed]
        return self.pick(names or [d for d in DTYPES if not allowed or d in allowed])

    # Values.
    def value(self, dtype, shape, low=-3, high=3, special=0.1):
        rng, shape = self.rng, tuple(shape)
        if dtype == "string":
            flat = [self.pick([b"", b"a", b"bc", b"\xff\x00x", b"abcdefghijklmnop"]) for _ in range(int(np.prod(shape)))]
            out = np.empty(len(flat), dtype=object)
            out[:] = flat
            return out.reshape(shape)
        if dtype == "bool":
            return rng.random(shape) < 0.5
        if "int" in dtype:
            info = np.iinfo(dtype)
            if self.chance(special):
                return rng.integers(info.min, info.max, size=shape, dtype=dtype, endpoint=True)
            return rng.integers(max(int(low), info.min), int(high), size=shape, endpoint=True).astype(dtype)
        value = rng.uniform(low, high, shape)
        if self.chance(0.3):
            value = np.round(value)
        if self.chance(special):
            odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 88.8, -104.0, 0.5, 1.5, 2.5, -2.5])
            with np.errstate(all="ignore"):
                mask = rng.random(shape) < 0.4
                value = np.where(mask, rng.choice(odd, shape), value)
        with np.errstate(all="ignore"):
            return value.astype("float32" if dtype == "bfloat16" else dtype)

    def feed(self, value, dtype=None, const=None):
        """A tensor with this value: a constant or a placeholder, which may leave dimensions open."""
        value = np.asarray(value)
        dtype = dtype or ("string" if value.dtype == object else value.dtype.name)
        if self.chance(0.25) if const is None else const:
            return tf1.constant(value, tf.as_dtype(dtype), value.shape)
        if dtype == "string" and value.size == 0:  # nested lists lose what is behind a 0
            return tf1.constant(value, tf.string, value.shape)
        if dtype == "bfloat16":
            return tf.cast(self.feed(value.astype("float32"), "float32", False), tf.bfloat16)
        shape, kind = list(value.shape), self.rng.random()
        if kind < 0.15:
            shape[:1] = [None] * len(shape[:1])
        elif kind < 0.25:
            shape = [None] * len(shape)
        name = f"in{len(self.feeds)}"
        self.feeds[name] = value
        return tf1.placeholder(tf.as_dtype(dtype), None if kind > 0.97 else shape, name=name)

    def input(self, dtype, shape, low=-3, high=3, special=0.1, const=None):
        return self.feed(self.value(dtype, shape, low, high, special), dtype, const)

    def ints(self, values, dtype=None, const=None):
        """Whole numbers that say what is to be done: mostly a constant."""
        return self.feed(np.array(values, dtype or self.pick(["int32", "int64"])), const=const if const is not None
                         else self.chance(0.8))

    def out(self, tensor, what, looser=1.0):
        kind = tensor.dtype.base_dtype.name
        if kind == "bfloat16":
            tensor = tf.cast(tensor, tf.float32)
        name = f"out{len(self.outputs)}"
        tf.identity(tensor, name=name)
        self.outputs[name] = (what, kind, looser)
