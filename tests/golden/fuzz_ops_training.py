"""Random nodes that change variables, for `fuzz.py`: scatters, counters, steps of optimizers."""

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from fuzz_graph import attr, attr_type
from fuzz_ops import maker
from fuzz_ops_control import node

SCATTERS = ["Update", "Add", "Sub", "Mul", "Div", "Min", "Max"]
ND_SCATTERS = ["Update", "Add", "Sub", "Min", "Max"]


def variable(g, is_resource, value):
    """A variable that is assigned a tensor: its node, and what waits for that."""
    dtype, shape = value.dtype, value.shape
    held = {"dtype": attr_type(dtype), "shape": attr(shape=tf.TensorShape(shape).as_proto()), "shared_name": attr(s=g.name("v").encode())}
    if is_resource:
        made = node(g, "VarHandleOp", [], ["resource"], **held)[0]
        node(g, "AssignVariableOp", [made.name, value.name], [], dtype=attr_type(dtype))
    else:
        made = node(g, "VariableV2", [], [dtype], **held)[0]
        node(g, "Assign", [made.name, value.name], [dtype], T=attr_type(dtype))
    return made, "^" + g.graph_def.node[-1].name


def read(g, is_resource, held, dtype, last):
    if is_resource:
        return node(g, "ReadVariableOp", [held.name, *last], [dtype], dtype=attr_type(dtype))
    return node(g, "Identity", [held.name, *last], [dtype], T=attr_type(dtype))


def changed(g, name, held, inputs, last, dtypes=(), **attributes):
    """A node that changes variables; a reference is handed on as its output."""
    made = node(g, name, [*[h.name for h in held], *[t.name for t in inputs], *last], list(dtypes), **attributes)
    return made, ["^" + g.graph_def.node[-1].name]


def of_rows(g, name):
    is_resource = name.startswith("Resource")
    kind = "dtype" if is_resource else "T"
    allowed = [d for d in g.allowed(name, kind) if d != "string"]
    dtype = g.pick([d for d in ["float32", "float64", "int32", "int64", "float16", "bfloat16", "uint8", "int8", "complex64", "bool"] if d in allowed])
    order = name.endswith(("Min", "Max"))
    if order and dtype.startswith("complex"):
        dtype = "float32"
    low = 1 if name.endswith("Div") else -3
    return is_resource, kind, dtype, (lambda shape: g.input(dtype, shape, low, 9, special=0))


@maker(*[prefix + "Scatter" + how for prefix in ("", "Resource") for how in SCATTERS])
def scatter(g, name):
    is_resource, kind, dtype, value = of_rows(g, name)
    if dtype == "bool" and not name.endswith("Update"):
        dtype = "float32"
        value = lambda shape: g.input(dtype, shape, 1, 9, special=0)
    g.wild = 0 if name.endswith("Div") and "int" in dtype else g.wild
    shape = g.shape(1, 4, 1)
    wild, g.wild = g.wild, 0
    held, last = variable(g, is_resource, value(shape))
    g.wild = wild
    made, last = [], [last]
    for _ in range(g.int(1, 2)):
        of = g.shape(0, 2)
        at = g.rng.integers(0, shape[0], size=of)
        index = g.pick(["int32", "int64"])
        updates = value([] if g.chance(0.2) else [*of, *shape[1:]])
        _, last = changed(g, name, [held], [g.ints(at, index), updates], last, [] if is_resource else [dtype],
                          Tindices=attr_type(index), **{kind: attr_type(dtype)})
    return read(g, is_resource, held, dtype, last)


@maker(*[prefix + "ScatterNd" + how for prefix in ("", "Resource") for how in ND_SCATTERS])
def nd_scatter(g, name):
    is_resource, _, dtype, _ = of_rows(g, name.replace("Nd", "") if name.endswith("Update") else name)
    if dtype not in g.allowed(name) or (dtype == "bool" and name.endswith(("Min", "Max"))):
        dtype = "float32"
    shape = g.shape(1, 4, 1)
    wild, g.wild = g.wild, 0
    held, last = variable(g, is_resource, g.input(dtype, shape, special=0))
    g.wild = wild
    depth, of, index = g.int(1, len(shape)), g.shape(1, 2), g.pick(["int32", "int64"])
    at = np.stack([g.rng.integers(0, n, size=of) for n in shape[:depth]], axis=-1)
    inputs = [g.ints(at, index), g.input(dtype, [*of, *shape[depth:]], special=0)]
    more = {"bad_indices_policy": attr(s=g.pick([b"", b"ERROR", b"IGNORE"]))} if g.chance(0.3) else {}
    _, last = changed(g, name, [held], inputs, [last], [] if is_resource else [dtype], T=attr_type(dtype),
                      Tindices=attr_type(index), **more)
    return read(g, is_resource, held, dtype, last)


@maker("ScatterNdNonAliasingAdd")
def plain_scatter(g, name):
    dtype, shape = g.dtype(name), g.shape(1, 4, 1)
    depth, of = g.int(1, len(shape)), g.shape(1, 2)
    at = np.stack([g.rng.integers(0, n, size=of) for n in shape[:depth]], axis=-1)
    return g.call(name, g.input(dtype, shape, special=0), g.ints(at), g.input(dtype, [*of, *shape[depth:]], special=0))


@maker("CountUpTo", "ResourceCountUpTo")
def counter(g, name):
    is_resource, dtype = name.startswith("Resource"), g.pick(["int32", "int64"])
    wild, g.wild = g.wild, 0
    held, last = variable(g, is_resource, g.ints(g.int(-3, 5), dtype))
    g.wild = wild
    made, last = [], [last]
    for _ in range(g.int(1, 3)):
        found, last = changed(g, name, [held], [], last, [dtype], limit=attr(i=g.int(3, 9)), T=attr_type(dtype))
        made += found
    return made + read(g, is_resource, held, dtype, last)


def optimizers():
    from tensorflow.python.framework import kernels

    names = {kernel.op for kernel in kernels.get_all_registered_kernels().kernel}
    heads = ("Apply", "SparseApply", "ResourceApply", "ResourceSparseApply")
    return sorted(name for name in names if name.startswith(heads) and op_def_registry.get(name))


@maker(*optimizers())
def step(g, name):
    """One or two steps of an optimizer, each with a gradient of its own; the variables after them."""
    definition = op_def_registry.get(name)
    is_resource, is_sparse = name.startswith("Resource"), "SparseApply" in name
    among = ["float32", "float64", "float16", "bfloat16", "complex64", "complex128"]
    dtype = g.dtype(name, among=among)
    shape = g.shape(1 if is_sparse else 0, 3, 1 if is_sparse else 0)
    inputs = list(definition.input_arg)
    states = [arg for arg in inputs if arg.is_ref or arg.type == tf.resource.as_datatype_enum]
    wild, g.wild = g.wild, 0
    held, last = [], []
    for number, _ in enumerate(states):
        # What is kept beside a variable are sums of squares, among others.
        one, assigned = variable(g, is_resource, g.input(dtype, shape, 0.5 if number else -3, 3, special=0))
        held.append(one)
        last.append(assigned)
    g.wild = wild
    flags = {a.name: attr(b=g.chance(0.5)) for a in definition.attr if a.type == "bool" and g.chance(0.5)}
    rows = [g.int(0, 4)] if is_sparse else []
    for _ in range(g.int(1, 2)):
        index = g.pick(["int32", "int64"])
        more = {"T": attr_type(dtype)} | ({"Tindices": attr_type(index)} if is_sparse else {})
        given = []
        for arg in inputs[len(states):]:
            if arg.name in ("grad", "delta"):
                given.append(g.input(dtype, [*rows, *shape[1:]] if is_sparse else shape, special=0))
            elif arg.name == "indices":
                given.append(g.ints(g.rng.integers(0, shape[0], size=rows), index))
            elif arg.name == "global_step":
                given.append(g.ints(g.int(1, 5), "int64"))
            elif arg.name == "lr_power":
                given.append(g.feed(np.array(g.pick([-0.5, -0.5, -0.25, 0.0 if g.wild else -1.0])), dtype))
            else:
                low = -0.3 if g.wild else 0.0
                given.append(g.feed(np.array(g.pick([low, 0.05, 0.5, 0.9]) if arg.name in ("l1", "l2") else g.rng.uniform(0.05, 0.9)), dtype))
        _, last = changed(g, name, held, given, last, [] if is_resource else [dtype], **more, **flags)
    made = []
    for one in held:
        made += read(g, is_resource, one, dtype, last)
    return made


def window(g, size, most=4):
    """Window, steps and padding over axes of these sizes."""
    return [g.int(1, min(most, n)) for n in size], [g.int(1, 3) for _ in size], g.pick(["SAME", "VALID"])


def moved(size, kernel, strides, padding, dilations=None):
    """How many outputs there are along each axis."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations or [1] * len(size))]
    if padding == "SAME":
        return [-(-n // s) for n, s in zip(size, strides)]
    return [max(0, (n - r) // s + 1) for n, r, s in zip(size, reach, strides)]


@maker("MaxPoolGrad", "MaxPoolGradV2", "MaxPool3DGrad", "AvgPoolGrad", "AvgPool3DGrad", "MaxPoolGradWithArgmax")
def pool_gradient(g, name):
    axes = 3 if "3D" in name else 2
    dtype = g.dtype(name, among=["float32", "float64", "bfloat16", "float16", "int32", "uint8"])
    if "3D" in name:
        dtype = g.pick(["float32", "float32", "bfloat16"])
    size = [g.int(1, 6) for _ in range(axes)]
    kernel, strides, padding = window(g, size)
    batch, channels = g.int(1, 3), g.int(1, 4)
    made = moved(size, kernel, strides, padding)
    gradient = g.input(dtype, [batch, *made, channels], special=0)
    more = {"ksize": [1, *kernel, 1], "strides": [1, *strides, 1], "padding": padding}
    if name.startswith("AvgPool"):
        return g.call(name, g.ints([batch, *size, channels], "int32"), gradient, **more)
    # Few values, so that several are the largest.
    image = g.feed(g.rng.integers(0, g.pick([3, 9, 100]), size=[batch, *size, channels]), dtype)
    if name == "MaxPoolGradWithArgmax":
        of_batch = g.chance(0.5)
        most = int(np.prod(size)) * channels * (batch if of_batch else 1)
        places = g.ints(g.rng.integers(0, most, size=[batch, *made, channels]), "int64")
        return g.call(name, image, gradient, places, include_batch_in_index=of_batch, Targmax="int64", **more)
    pool = "MaxPool3D" if axes == 3 else "MaxPool"
    wild, g.wild = g.wild, 0
    output = g.call(pool, image, **more)[0]
    g.wild = wild
    if name == "MaxPoolGradV2":
        return g.call(name, image, output, gradient, g.ints(more["ksize"], "int32"), g.ints(more["strides"], "int32"), padding=padding)
    return g.call(name, image, output, gradient, **more)


@maker("Conv2DBackpropFilter", "DepthwiseConv2dNativeBackpropFilter", "Conv3DBackpropFilter", "Conv3DBackpropFilterV2")
def filter_gradient(g, name):
    axes = 3 if "3D" in name else 2
    dtype = g.pick(["float32", "float32", "float64", "float16", "bfloat16"])
    if name == "Conv3DBackpropFilter":
        dtype = g.pick(["float32", "float64", "float16"])
        g.graph_def.versions.producer = 9
    size = [g.int(1, 7) for _ in range(axes)]
    kernel, strides, padding = window(g, size)
    strides = [strides[0]] * axes if "Depthwise" in name else strides
    batch, channels, out = g.int(1, 3), g.int(1, 5), g.int(1, 5)
    made = moved(size, kernel, strides, padding)
    depth = channels * out if "Depthwise" in name else out
    sizes = [*kernel, channels, out]
    image = g.input(dtype, [batch, *size, channels], special=0, huge=False)
    gradient = g.input(dtype, [batch, *made, depth], special=0, huge=False)
    second = g.input(dtype, sizes, special=0) if name == "Conv3DBackpropFilter" else g.ints(sizes, "int32")
    return g.call(name, image, second, gradient, strides=[1, *strides, 1], padding=padding)


def sliced(g, shape):
    """Random masks and vectors for a tensor of this shape, and the shape of the slice."""
    masks = {name: g.int(0, 7) if g.chance(0.3) else 0 for name in ("begin_mask", "end_mask", "new_axis_mask", "shrink_axis_mask")}
    masks["ellipsis_mask"] = g.pick([0, 0, 0, 1, 2])
    entries = g.int(1, len(shape) + g.int(0, 1))
    named = sum(1 for i in range(entries) if not (masks["ellipsis_mask"] >> i & 1 or masks["new_axis_mask"] >> i & 1))
    if named > len(shape):
        return None
    begin = [g.int(-4, 4) for _ in range(entries)]
    end = [g.int(-5, 6) for _ in range(entries)]
    strides = [g.pick([1, 1, 1, 2, -1, -2]) for _ in range(entries)]
    for i in range(entries):
        if masks["shrink_axis_mask"] >> i & 1:
            strides[i] = 1
    try:
        taken = tf.strided_slice(tf.zeros(shape), begin, end, strides, **masks)
    except Exception:
        return None
    return masks, [begin, end, strides], list(taken.shape)


@maker("StridedSliceGrad", "TensorStridedSliceUpdate", "StridedSliceAssign", "ResourceStridedSliceAssign")
def slice_update(g, name):
    dtype, shape = g.pick(["float32", "float64", "int32", "int8", "bool", "complex64", "float16"]), g.shape(1, 4, 1)
    found = next(filter(None, (sliced(g, shape) for _ in range(20))), None)
    if not found:
        return None
    masks, vectors, of = found
    index = g.pick(["int32", "int64"])
    if name != "StridedSliceGrad" and g.chance(0.3):
        of = [1 if g.chance(0.5) else n for n in of][g.int(0, len(of)):]
    written = g.input(dtype, of, special=0)
    vectors = [g.ints(vector, index) for vector in vectors]
    if name == "StridedSliceGrad":
        return g.call(name, g.ints(shape, index), *vectors, written, **masks)
    if name == "TensorStridedSliceUpdate":
        return g.call(name, g.input(dtype, shape, special=0), *vectors, written, **masks)
    is_resource = name.startswith("Resource")
    wild, g.wild = g.wild, 0
    held, last = variable(g, is_resource, g.input(dtype, shape, special=0))
    g.wild = wild
    more = {key: attr(i=value) for key, value in masks.items()}
    _, last = changed(g, name, [held], [*vectors, written], [last], [] if is_resource else [dtype], T=attr_type(dtype),
                      Index=attr_type(index), **more)
    return read(g, is_resource, held, dtype, last)


@maker("FusedBatchNormGrad", "FusedBatchNormGradV2", "FusedBatchNormGradV3")
def batch_norm_gradient(g, name):
    layout = g.pick(["NHWC", "NHWC", "NCHW"] + ["NDHWC", "NCDHW"] * name.endswith("V3"))
    dtype = "float32" if name == "FusedBatchNormGrad" else g.pick(["float32", "float32", "float16", "bfloat16"])
    shape = [g.dim(1) for _ in layout]
    channels = shape[layout.index("C")]
    vectors = [g.input("float32", [channels], low, 3, special=0) for low in (-2, -1, 0.1)]
    vectors += [g.input("float32", [g.pick([0, channels])])] * name.endswith("V3")
    inputs = [g.input(dtype, shape, special=0, huge=False) for _ in range(2)]
    # The two last outputs are of no elements.
    return g.call(name, *inputs, *vectors, data_format=layout, is_training=g.chance(0.5) or layout[1] == "C", epsilon=g.pick([1e-3, 1e-4, 0.1]))[:3]


@maker("ResourceGather", "ResourceGatherNd", "VariableShape")
def parts(g, name):
    """What is read of a variable that changes."""
    dtype, shape = g.pick(["float32", "float64", "int32", "float16"]), g.shape(1, 4, 1)
    wild, g.wild = g.wild, 0
    held, last = variable(g, True, g.input(dtype, shape, special=0))
    g.wild = wild
    node(g, "AssignAddVariableOp", [held.name, g.input(dtype, shape, special=0).name, last], [], dtype=attr_type(dtype))
    last = "^" + g.graph_def.node[-1].name
    if name == "VariableShape":
        made = node(g, name, [held.name, last], [kind := g.pick(["int32", "int64"])], out_type=attr_type(kind))
        return made + read(g, True, held, dtype, [last])
    index = g.pick(["int32", "int64"])
    of = g.shape(0, 2) if name == "ResourceGather" else g.shape(1, 2)
    if name == "ResourceGather":
        at = g.rng.integers(0, shape[0], size=of)
    else:
        depth = g.int(1, len(shape))
        at = np.stack([g.rng.integers(0, n, size=of) for n in shape[:depth]], axis=-1)
    return node(g, name, [held.name, g.ints(at, index).name, last], [dtype], dtype=attr_type(dtype), Tindices=attr_type(index))


@maker("ResizeBilinearGrad", "ResizeBicubicGrad", "ResizeNearestNeighborGrad")
def resize_gradient(g, name):
    batch, channels = g.int(1, 2), g.int(1, 3)
    image, made = ([batch, g.int(1, 6), g.int(1, 6), channels] for _ in range(2))
    more = g.pick([{}, {"align_corners": True}, {"half_pixel_centers": True}])
    if name == "ResizeNearestNeighborGrad":
        dtype = g.pick(["float32", "float64", "float16", "int32", "uint8"])
        return g.call(name, g.input(dtype, made, special=0, huge=False), g.ints(image[1:3], "int32"), **more)
    dtype = g.pick(["float32", "float64"] if name == "ResizeBicubicGrad" else ["float32", "float64", "float16", "bfloat16"])
    return g.call(name, g.input("float32", made, special=0, huge=False), g.input(dtype, image, special=0), **more)


@maker("IgammaGradA", "RandomGammaGrad")
def gamma_slope(g, name):
    dtype, shape = g.pick(["float32", "float64"]), g.shape(0, 3)
    high = g.pick([1, 5, 40])
    return g.call(name, g.input(dtype, shape, 0.05, high, special=0), g.input(dtype, shape, 0.05, high, special=0))


@maker("LeakyReluGrad")
def leaky_gradient(g, name):
    dtype, shape = g.dtype(name), g.shape(0, 4)
    return g.call(name, g.input(dtype, shape), g.input(dtype, shape), alpha=g.pick([0.2, 0.0, 0.5, 1.5, -0.25]))


@maker("SparseSegmentSumGrad", "SparseSegmentMeanGrad", "SparseSegmentSqrtNGrad")
def segment_gradient(g, name):
    dtype, shape = g.pick(["float32", "float32", "float64"]), g.shape(1, 3, 1)
    rows, entries = g.int(1, 5), g.int(1, 6)  # without entries TensorFlow leaves its memory as it is
    # Every segment has an entry, as the reduction made them.
    segments = np.sort(g.rng.integers(0, shape[0], size=entries))
    at = g.ints(g.rng.integers(0, rows, size=entries))
    return g.call(name, g.input(dtype, shape, special=0, huge=False), at, g.ints(segments), g.ints(rows, "int32"))


@maker("InplaceUpdate", "InplaceAdd", "InplaceSub")
def inplace(g, name):
    dtype, shape = g.pick(["float32", "float64", "int32", "int64"]), g.shape(1, 3, 1)
    entries = g.int(1, 4)
    # Rows that are named twice are changed in any order.
    rows = g.rng.permutation(shape[0])[:entries] if name == "InplaceUpdate" else g.rng.integers(-2, shape[0] + 2, size=entries)
    updates = g.input(dtype, [len(rows), *shape[1:]], special=0)
    # TensorFlow would write over what is fed.
    return g.call(name, g.call("Neg", g.input(dtype, shape, special=0))[0], g.ints(rows, "int32"), updates)
