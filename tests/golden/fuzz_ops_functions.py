"""Random functions of matrices, generators that are variables, parts of images, and quantised channels, for `fuzz.py`."""

import numpy as np
import tensorflow as tf

from fuzz_graph import attr, attr_type
from fuzz_ops import maker
from fuzz_ops_control import node
from fuzz_ops_linalg import seeds
from fuzz_ops_quantized import ends_of, out, quantised


@maker("MatrixExponential", "MatrixLogarithm", "MatrixSquareRoot")
def of_matrix(g, name):
    """Well away from eigenvalues at and below 0, where the last two jump."""
    if name == "MatrixExponential":
        g.graph_def.versions.producer = 26
    dtype = g.dtype(name, "T", ["float32", "float64", "complex64", "complex128"] if name != "MatrixLogarithm" else ["complex64", "complex128"])
    n, batch = g.int(0 if name == "MatrixExponential" else 1, 5), g.shape(0, 2)
    value = g.rng.uniform(-1, 1, [*batch, n, n])
    if "complex" in dtype:
        value = value + 1j * g.rng.uniform(-1, 1, value.shape)
    if name == "MatrixExponential":
        value = value * g.pick([0.1, 1, 3])
    else:
        value = value + np.eye(n) * (n + 1)
    return g.call(name, g.feed(value, dtype))


def generator(g):
    """A variable with a state, assigned: its handle, and what waits for that."""
    shape = [3]
    held = {"dtype": attr_type("int64"), "shape": attr(shape=tf.TensorShape(shape).as_proto())}
    handle = node(g, "VarHandleOp", [], ["resource"], shared_name=attr(s=g.name("v").encode()), **held)[0]
    state = g.feed(np.array([g.pick([0, 5, 2**63 - 300, -1]), g.pick([0, -1, 77]), g.int(-9, 2**40)], "int64"))
    node(g, "AssignVariableOp", [handle.name, state.name], [], dtype=attr_type("int64"))
    return handle, ["^" + g.graph_def.node[-1].name]


def state_behind(g, handle, last):
    return node(g, "ReadVariableOp", [handle.name, *last], ["int64"], dtype=attr_type("int64"))


def changed(g, name, handle, last, inputs, dtypes, **attributes):
    made = node(g, name, [handle.name, *[t.name for t in inputs], *last], dtypes, **attributes)
    return made, ["^" + g.graph_def.node[-1].name]


@maker("RngReadAndSkip", "RngSkip")
def skips(g, name):
    handle, last = generator(g)
    made = []
    for _ in range(g.int(1, 2)):
        by = g.pick([0, 1, 7, 2**40, 2**62])
        if name == "RngSkip":
            inputs = [g.feed(np.int64(g.pick([1, 1, 3]))), g.feed(np.int64(by))]
            _, last = changed(g, name, handle, last, inputs, [])
        else:
            inputs = [g.feed(np.int32(g.pick([1, 1, 3]))), g.feed(np.uint64(by))]
            value, last = changed(g, name, handle, last, inputs, ["int64"])
            made += value
    return made + state_behind(g, handle, last)


@maker("StatefulUniform", "StatefulStandardNormalV2", "StatefulTruncatedNormal", "StatefulUniformInt", "StatefulUniformFullInt")
def stateful(g, name):
    handle, last = generator(g)
    made = []
    for _ in range(g.int(1, 2)):
        shape = g.ints(g.shape(0, 3))
        whole = "Int" in name
        dtype = g.pick((["int32", "int64"] + ["uint32", "uint64"] * ("Full" in name)) if whole else ["float32", "float64", "float16", "bfloat16"])
        inputs = [g.feed(np.int64(1)), shape]
        if name == "StatefulUniformInt":
            low = g.int(-1000, 1000)
            inputs += [g.ints(low, dtype), g.ints(low + g.int(1, 2**20), dtype)]
        found, last = changed(g, name, handle, last, inputs, [dtype], dtype=attr_type(dtype), shape_dtype=attr_type(shape.dtype))
        made += [g.call("Bitcast", t, type=t.dtype[1:])[0] if t.dtype.startswith("u") else t for t in found]
    return made + state_behind(g, handle, last)


@maker("RandomCrop")
def part(g, name):
    g.graph_def.versions.producer = 7
    height, width = g.dim(1), g.dim(1)
    image = g.input(g.dtype(name), [height, width, g.dim()])
    return g.call(name, image, g.ints([g.int(0, height), g.int(0, width)], "int64"), **seeds(g))


@maker("SampleDistortedBoundingBox", "SampleDistortedBoundingBoxV2", "StatelessSampleDistortedBoundingBox")
def box(g, name):
    boxes = np.sort(g.rng.uniform(0, 1, [1, g.int(0, 3), 2, 2]), axis=2).reshape([1, -1, 4])
    size = g.feed(np.array([g.int(1, 120), g.int(1, 120), 3], g.pick(["int32", "int64", "int16", "uint8"])))
    covered = g.rng.uniform(0, 1)
    inputs, more = [size, g.feed(boxes.astype("float32"))], {}
    if name == "SampleDistortedBoundingBox":
        more["min_object_covered"] = covered
    else:
        inputs.append(g.feed(np.float32(covered)))
    if name.startswith("Stateless"):
        inputs.append(g.ints([g.int(-5, 99), g.int(-5, 99)]))
    else:
        more |= seeds(g)
    if g.chance(0.5):
        more["aspect_ratio_range"] = sorted(g.rng.uniform(0.2, 4, 2))
    if g.chance(0.5):
        more["area_range"] = sorted(g.rng.uniform(0.01, 1, 2))
    return g.call(name, *inputs, max_attempts=g.pick([1, 5, 100]), use_image_if_no_bounding_boxes=g.chance(0.7), **more)


def channels(g):
    shape = [g.dim(1) for _ in range(4)]
    low, high = g.rng.uniform(-6, 0, shape[3:]), g.rng.uniform(0.1, 6, shape[3:])
    sums = quantised(g, "qint32", shape, -(2**31), 2**31 - 1) if g.chance(0.5) else quantised(g, "qint32", shape)
    return [sums] + [g.feed(end.astype("float32")) for end in (low, high)]


@maker("RequantizePerChannel")
def requantize(g, name):
    ends = [g.feed(np.float32(g.rng.uniform(-4, 0))), g.feed(np.float32(g.rng.uniform(0.1, 4)))]
    return out(g, g.call(name, *channels(g), *ends, out_type=g.pick(["qint8", "quint8"])))


@maker("RequantizationRangePerChannel")
def used(g, name):
    return g.call(name, *channels(g), clip_value_max=g.pick([6.0, 1.0, 1e30]))


@maker("QuantizedInstanceNorm")
def norm(g, name):
    more = {"output_range_given": True, "given_y_min": -3.0, "given_y_max": 2.0} if g.chance(0.4) else {}
    x = quantised(g, "quint8", [g.dim(1) for _ in range(4)])
    return out(g, g.call(name, x, *ends_of(g), variance_epsilon=g.pick([1e-5, 0.1]), min_separation=g.pick([1e-3, 4.0]), **more))


@maker("QuantizedResizeBilinear")
def resize(g, name):
    kind, shape = g.pick(["quint8", "quint8", "float32"]), [g.dim(1) for _ in range(4)]
    x = g.input("float32", shape, special=0) if kind == "float32" else quantised(g, kind, shape)
    how = g.pick([{}, {"align_corners": True}, {"half_pixel_centers": True}])
    return out(g, g.call(name, x, g.ints([g.dim(1), g.dim(1)], "int32"), *ends_of(g), **how))
