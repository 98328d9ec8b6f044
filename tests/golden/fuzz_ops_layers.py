"""Random nodes of products, windows, normalisations and image sizes, for `fuzz.py`."""

import numpy as np

from fuzz_ops import broadcast_pair, maker


@maker("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def matmul(g, name):
    m, k, n = g.dim(), g.dim(), g.dim()
    if g.chance(0.1):
        m, k, n = g.int(1, 40), g.int(1, 200), g.int(1, 40)
    ta, tb = g.chance(0.4), g.chance(0.4)
    one, two = broadcast_pair(g, 3) if name not in ("MatMul", "BatchMatMul") else ([], [])
    if name == "BatchMatMul":
        one = two = g.shape(0, 3)
    a, b = one + ([k, m] if ta else [m, k]), two + ([n, k] if tb else [k, n])
    if name == "BatchMatMulV3":
        kinds = g.pick([("float32",) * 3, ("int32",) * 3, ("int8", "int8", "int32"), ("uint8", "int8", "int32"), ("bfloat16",) * 3,
                        ("float16",) * 3, ("float64",) * 3, ("int64",) * 3, ("bfloat16", "bfloat16", "float32"), ("int16",) * 3,
                        ("uint8", "bfloat16", "bfloat16"), ("bfloat16", "int8", "bfloat16"), ("uint8", "uint8", "int32")])
        return g.call(name, g.input(kinds[0], a, huge=False), g.input(kinds[1], b, huge=False), Tout=kinds[2], adj_x=ta, adj_y=tb)
    dtype = g.dtype(name)
    x, y = g.input(dtype, a, special=0.05, huge=False), g.input(dtype, b, special=0.05, huge=False)
    if name == "MatMul":
        return g.call(name, x, y, transpose_a=ta, transpose_b=tb)
    return g.call(name, x, y, adj_x=ta, adj_y=tb)


@maker("Einsum")
def einsum(g, name):
    dtype = g.pick(["float32", "float32", "float64", "float16", "bfloat16", "int32", "int64"])
    sizes = {label: g.dim(g.pick([0, 1])) for label in "abcdefgh"}
    labels = [str(c) for c in g.rng.permutation(list("abcdefgh"))]
    many = g.pick([1, 2, 2, 2])
    terms = []
    for _ in range(many):
        count = g.int(0, 4)
        term = [g.pick(labels[:5]) for _ in range(count)]
        if not g.chance(0.15):
            term = list(dict.fromkeys(term))
        terms.append(term)
    used = list(dict.fromkeys(c for term in terms for c in term))
    out = [c for c in used if g.chance(0.6)]
    g.rng.shuffle(out)
    dots = g.chance(0.3)
    ellipses = [g.shape(0, 2) for _ in terms]
    if dots and many == 2:
        ellipses = list(broadcast_pair(g, 2))
    texts, shapes = [], []
    for term, ellipsis in zip(terms, ellipses):
        at = g.int(0, len(term)) if dots else 0
        texts.append("".join(term[:at]) + ("..." if dots else "") + "".join(term[at:]))
        shapes.append([sizes[c] for c in term[:at]] + (list(ellipsis) if dots else []) + [sizes[c] for c in term[at:]])
    at = g.int(0, len(out))
    result = "".join(out[:at]) + ("..." if dots else "") + "".join(out[at:])
    if max(np.prod(s, dtype="float64") for s in shapes) > 4000:
        return None
    return g.call(name, [g.input(dtype, s, special=0.03, huge=False) for s in shapes], equation=f"{','.join(texts)}->{result}")


@maker("BiasAdd", "BiasAddV1")
def bias_add(g, name):
    dtype, shape = g.dtype(name), g.shape(2, 5)
    layout = "NCHW" if name == "BiasAdd" and g.chance(0.3) else "NHWC"
    channels = shape[1] if layout == "NCHW" else shape[-1]
    more = {"data_format": layout} if name == "BiasAdd" else {}
    return g.call(name, g.input(dtype, shape), g.input(dtype, [channels]), **more)


def image(g, least=1):
    return [g.pick([0, 1, 1, 2, 3]) if g.chance(0.2) else g.int(1, 2), g.int(least, 9), g.int(least, 9), g.pick([1, 1, 2, 3, 4, 8, 17])]


def laid_out(values, layout):
    """A list for `[batch, height, width, channels]` in the order of a layout."""
    return [values[0], values[3], values[1], values[2]] if layout == "NCHW" else list(values)


def window_attributes(g, layout="NHWC", explicit=True):
    padding = g.pick(["SAME", "VALID", "EXPLICIT"] if explicit else ["SAME", "VALID"])
    more = dict(padding=padding, strides=laid_out([1, g.int(1, 3), g.int(1, 3), 1], layout))
    if padding == "EXPLICIT":
        pads = laid_out([[0, 0], [g.int(0, 3), g.int(0, 3)], [g.int(0, 3), g.int(0, 3)], [0, 0]], layout)
        more["explicit_paddings"] = [p for pair in pads for p in pair]
    elif explicit and g.chance(0.5):
        more["explicit_paddings"] = []
    return more


@maker("Conv2D", "DepthwiseConv2dNative")
def conv(g, name):
    shape, dtype = image(g), g.dtype(name)
    layout = "NCHW" if g.chance(0.08) else "NHWC"
    more = window_attributes(g, layout)
    more["data_format"] = layout
    more["dilations"] = laid_out([1, g.pick([1, 1, 2, 3]), g.pick([1, 1, 2]), 1], layout)
    kernel = [g.int(1, 4), g.int(1, 4)]
    if name == "Conv2D":
        groups = g.int(2, 3) if g.chance(0.2) else 1
        filter_ = kernel + [shape[3], groups * g.pick([1, 2, 4, 5, 8, 17])]
        shape[3] *= groups
    else:
        filter_ = kernel + [shape[3], g.int(1, 3)]
        if g.chance(0.9):
            more["strides"] = laid_out([1, more["strides"][2], more["strides"][2], 1], layout)
    if g.chance(0.3):
        shape[1] = shape[2] = g.int(4, 12)
    if name == "Conv2D" and g.chance(0.5):
        more["use_cudnn_on_gpu"] = g.chance(0.5)
    x = g.input(dtype, laid_out(shape, layout), special=0.05, huge=False)
    return g.call(name, x, g.input(dtype, filter_, special=0.02, const=g.chance(0.7), huge=False), **more)


@maker("Conv2DBackpropInput", "DepthwiseConv2dNativeBackpropInput")
def conv_transpose(g, name):
    dtype = g.dtype(name)
    n, h, w, c = image(g)
    of_each = g.pick([1, 1, 2, 3])
    out, kernel = g.pick([1, 2, 3, 5]), [g.int(1, 4), g.int(1, 4)]
    more = window_attributes(g)
    dilations = [1, g.pick([1, 1, 1, 2]), g.pick([1, 1, 1, 2]), 1]
    pads = more.get("explicit_paddings") or [0] * 8
    sizes = []
    for axis, d in ((1, h), (2, w)):
        span, stride = (kernel[axis - 1] - 1) * dilations[axis] + 1, more["strides"][axis]
        if more["padding"] == "SAME":
            sizes.append(-(-d // stride))
        else:
            total = pads[2 * axis] + pads[2 * axis + 1] if more["padding"] == "EXPLICIT" else 0
            sizes.append((d + total - span) // stride + 1)
    if min(sizes) < 1:
        return None
    if name.startswith("Depthwise"):
        out, last = c * of_each, of_each
    else:
        last = out
    x = g.input(dtype, [n, *sizes, out], special=0.03, huge=False)
    f = g.input(dtype, kernel + [c, last], special=0.0, const=g.chance(0.7), huge=False)
    size = [n, h, w, c] if g.chance(0.9) else [h, w]
    return g.call(name, g.ints(size, "int32"), f, x, dilations=dilations, **more)


@maker("MaxPool", "AvgPool", "MaxPoolV2", "MaxPoolWithArgmax", "ExtractImagePatches")
def pool(g, name):
    shape = image(g)
    layout = "NCHW" if name in ("MaxPool", "AvgPool", "MaxPoolV2") and g.chance(0.06) else "NHWC"
    more = window_attributes(g, layout, name == "MaxPool")
    ksize = laid_out([1, g.int(1, 4), g.int(1, 4), 1], layout)
    x = g.input(g.dtype(name), laid_out(shape, layout), special=0.15, huge=name != "AvgPool")
    if name == "ExtractImagePatches":
        return g.call(name, x, ksizes=ksize, rates=[1, g.int(1, 3), g.int(1, 3), 1], **more)
    if name == "MaxPoolWithArgmax":
        return g.call(name, x, ksize=ksize, Targmax=g.pick(["int32", "int64"]), include_batch_in_index=g.chance(0.5), **more)
    if g.chance(0.08):
        k = g.int(1, 4)
        ksize = laid_out([1, 1, 1, k], layout)
        more = dict(strides=laid_out([1, 1, 1, k if g.chance(0.8) else 1], layout), padding=g.pick(["VALID", "SAME"]))
    if name == "MaxPoolV2":
        return g.call(name, x, g.ints(ksize, "int32", True), g.ints(more["strides"], "int32", True), padding=more["padding"],
                      data_format=layout)
    return g.call(name, x, ksize=ksize, data_format=layout, **more)


@maker("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def batch_norm(g, name):
    dtype = g.dtype(name, among=["float32", "float32", "float16", "bfloat16"])
    layout = g.pick(["NHWC"] * 8 + ["NCHW"] + (["NDHWC", "NCDHW"] if name.endswith("V3") else []))
    n, h, w, c = image(g)
    middle = [h, w, g.int(1, 3)] if len(layout) == 5 else [h, w]
    shape = [n, c, *middle] if layout[1] == "C" else [n, *middle, c]
    kind = "bfloat16" if name.endswith("V3") and dtype == "bfloat16" and g.chance(0.2) else "float32"
    vector = lambda low, high: g.input(kind, [c], low, high, special=0, const=g.chance(0.6))
    training = g.chance(0.3)
    means = [[0], [0]] if training and g.chance(0.4) else [[c], [c]]
    mean = g.input(kind, means[0], -1, 1, 0)
    variance = g.input(kind, means[1], *g.pick([(0.1, 2), (0, 0), (1e-8, 1e-6)]), 0)
    out = g.call(name, g.input(dtype, shape, special=0), vector(-2, 2), vector(-1, 1), mean, variance,
                 epsilon=g.pick([1e-3, 1e-5, 0.1, 0.0 if g.wild else 1.0]), is_training=training, data_format=layout,
                 exponential_avg_factor=g.pick([1.0, 1.0, 0.3]))
    return out[: 3 if training else 1]


@maker("BatchNormWithGlobalNormalization")
def global_norm(g, name):
    shape, dtype = image(g), g.dtype(name, among=["float32", "float32", "float64", "float16", "bfloat16"])
    vector = lambda low, high: g.input(dtype, shape[3:], low, high, special=0)
    return g.call(name, g.input(dtype, shape), vector(-1, 1), vector(0.1, 2), vector(-1, 1), vector(-2, 2),
                  variance_epsilon=g.pick([0.01, 0.0, 1.0]), scale_after_normalization=g.chance(0.5))


@maker("LRN")
def lrn(g, name):
    shape = image(g)
    return g.call(name, g.input(g.dtype(name), shape, special=0.02, huge=False), depth_radius=g.pick([0, 1, 2, 5, 6, 30]),
                  bias=g.pick([1.0, 2.0, 0.5]), alpha=g.pick([1.0, 0.1, 1e-4, 0.0]), beta=g.pick([0.5, 0.75, 1.0, 0.3, 0.0, 2.0]))


@maker("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea")
def resize(g, name):
    shape, size = image(g), [g.int(1, 13), g.int(1, 13)]
    x = g.input(g.dtype(name), shape, 0, 100, special=0.0)
    corners = g.chance(0.3)
    more = {} if name == "ResizeArea" else {"half_pixel_centers": g.chance(0.5) and not corners}
    return g.call(name, x, g.ints(size, "int32"), align_corners=corners, **more)


@maker("CropAndResize")
def crop(g, name):
    shape, size = image(g), [g.int(1, 9), g.int(1, 9)]
    boxes = g.int(0, 4) if shape[0] else 0
    corners = g.rng.uniform(-0.5, 1.5, (boxes, 4)).astype("float32")
    index = g.rng.integers(0, max(shape[0], 1), boxes).astype("int32")
    return g.call(name, g.input(g.dtype(name), shape, 0, 100, special=0), g.feed(corners), g.feed(index), g.ints(size, "int32"),
                  method=g.pick(["bilinear", "nearest"]), extrapolation_value=g.pick([0.0, -7.0, float("nan")]))

