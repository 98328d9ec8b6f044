"""The registry of golden operator cases, and the graph that a case is built in."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "bench"))

import oracle  # noqa: F401  before TensorFlow: it sets the environment
import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1
CASES = {}
INTEGERS = ("int8", "uint8", "int32", "int64")
FLOATS = ("float16", "bfloat16", "float32", "float64")
# One unit in the last place of the narrow types; float32 sums may run in another order.
TOLERANCES = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 1e-5, "float64": 1e-12}


def case(name=None, rtol=1e-5, atol=1e-6):
    """Registers `build(g)`; `g` is the `Graph` it adds to."""

    def register(build):
        CASES[name or build.__name__] = (build, rtol, atol)
        return build

    return register


def case_per(dtypes, looser=1.0):
    """Registers `build(g, dtype)` once per dtype, with that dtype's tolerance."""

    def register(build):
        for dtype in dtypes:
            rtol = TOLERANCES.get(dtype, 0.0) * looser
            CASES[f"{build.__name__}_{dtype}"] = (lambda g, d=dtype: build(g, d), rtol, rtol)
        return build

    return register


class Graph:
    """Collects a case's placeholders with their values, and its outputs."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.feeds = {}
        self.outputs = []

    def feed(self, name, value, dtype=None, open_dims=()):
        """A placeholder for `value`, with the dimensions in `open_dims` left unknown."""
        value = np.asarray(value)
        if dtype == "bfloat16":
            return tf.cast(self.feed(name, value.astype(np.float32), "float32", open_dims), tf.bfloat16)
        value = value.astype(dtype) if dtype else value
        shape = [None if i in open_dims else d for i, d in enumerate(value.shape)]
        self.feeds[name] = value
        return tf1.placeholder(tf.string if value.dtype.kind in "OS" else value.dtype, shape, name=name)

    def input(self, name, shape, dtype="float32", low=-2.0, high=2.0, **options):
        """Random values in `low..high`; integers get whole ones."""
        if dtype in INTEGERS:
            value = self.rng.integers(int(low), int(high), size=shape, endpoint=True)
        elif dtype == "bool":
            value = self.rng.random(shape) < 0.5
        else:
            value = self.rng.uniform(low, high, shape)
        return self.feed(name, value, dtype, **options)

    def out(self, **tensors):
        for name, tensor in tensors.items():
            tensor = tf.cast(tensor, tf.float32) if tensor.dtype == tf.bfloat16 else tensor
            self.outputs.append(tf.identity(tensor, name=name).op.name)


def bounds(dtype):
    """A range of whole numbers that the integer type holds."""
    return (0, 12) if dtype == "uint8" else (-9, 9)
