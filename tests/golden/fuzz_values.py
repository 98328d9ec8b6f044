"""Nodes that make a tensor of a given value out of others, and nodes that take any tensor: so that each operator of
`fuzz.py` also stands after and before another."""

import numpy as np

from fuzz_graph import NUMPY, is_float, is_int


def derive(g, value, dtype, const):
    """A tensor that is `value`, computed by a node, or None where there is no way."""
    ways = [way for way in WAYS if way is not None]
    for _ in range(4):
        made = g.pick(ways)(g, value, dtype, const)
        if made is not None:
            made.shape = list(value.shape)
            return made
    return None


def identity(g, value, dtype, const):
    return g.call(g.pick(["Identity", "StopGradient", "PreventGradient", "Snapshot"]), g.feed(value, dtype, const))[0]


def reshape(g, value, dtype, const):
    flat = value.reshape(g.pick([[-1], [1, -1], [value.size, 1]]) if value.size else [0])
    shape = list(value.shape)
    if shape and value.size and g.chance(0.5):
        shape[g.int(0, len(shape) - 1)] = -1
    return g.call("Reshape", g.feed(flat, dtype, const), g.ints(shape))[0]


def pack(g, value, dtype, const):
    if not value.ndim or not 1 <= value.shape[0] <= 6:
        return None
    return g.call("Pack", [g.feed(v, dtype, const) for v in value], axis=g.pick([0, -value.ndim]))[0]


def concat(g, value, dtype, const):
    if not value.ndim:
        return None
    axis = g.int(0, value.ndim - 1)
    at = g.int(0, value.shape[axis])
    parts = np.split(value, [at], axis)
    return g.call("ConcatV2", [g.feed(p, dtype, const) for p in parts], g.ints(axis - g.pick([0, value.ndim])))[0]


def slice_(g, value, dtype, const):
    if not value.ndim or dtype == "string":
        return None
    before, behind = [g.int(0, 2) for _ in value.shape], [g.int(0, 2) for _ in value.shape]
    padded = np.pad(value, list(zip(before, behind)), mode="edge" if value.size else "constant")
    if padded.size > 5000:
        return None
    x, kind = g.feed(padded, dtype, const), g.pick(["int32", "int64"])
    if g.chance(0.5):
        return g.call("Slice", x, g.ints(before, kind), g.ints(value.shape, kind))[0]
    end = [b + d for b, d in zip(before, value.shape)]
    ones = [1] * value.ndim
    return g.call("StridedSlice", x, g.ints(before, kind), g.ints(end, kind), g.ints(ones, kind), begin_mask=0,
                  end_mask=0, ellipsis_mask=0, new_axis_mask=0, shrink_axis_mask=0)[0]


def transpose(g, value, dtype, const):
    if value.ndim < 2:
        return None
    perm = [int(p) for p in g.rng.permutation(value.ndim)]
    return g.call("Transpose", g.feed(np.transpose(value, np.argsort(perm)), dtype, const), g.ints(perm))[0]


def cast(g, value, dtype, const):
    wider = {"float32": "float64", "int32": "int64", "float16": "float32", "bfloat16": "float32", "int64": "int32",
             "int8": "int32", "uint8": "int32", "bool": "int32"}.get(dtype)
    if wider is None:
        return None
    wide = value.astype(NUMPY[wider])
    if (wide.astype(NUMPY[dtype]) != value).any() and is_int(dtype):
        return None
    return g.call("Cast", g.feed(wide, wider, const), DstT=dtype, Truncate=False)[0]


def squeeze(g, value, dtype, const):
    axis = g.int(0, value.ndim)
    x = g.feed(np.expand_dims(value, axis), dtype, const)
    return g.call("Squeeze", x, squeeze_dims=[g.pick([axis, axis - value.ndim - 1])])[0]


def expand(g, value, dtype, const):
    ones = [i for i, d in enumerate(value.shape) if d == 1]
    if not ones:
        return None
    axis = g.pick(ones)
    return g.call("ExpandDims", g.feed(np.squeeze(value, axis), dtype, const), g.ints(axis - g.pick([0, value.ndim])))[0]


def neutral(g, value, dtype, const):
    """Arithmetic that changes nothing, or only adds to integers."""
    if dtype in ("bool", "string") or dtype.startswith("complex"):
        return None
    x = g.feed(value, dtype, const)
    one = np.ones(g.pick([[], [1]]) if value.ndim else [], NUMPY[dtype])
    ops = ["Mul", "Div", "RealDiv"] if is_float(dtype) or dtype.startswith("complex") else ["Mul", "AddV2", "Sub"]
    op = g.pick(ops)
    if dtype not in g.allowed(op):
        return None
    y = g.feed(one * (0 if op in ("AddV2", "Sub") else 1), dtype, True)
    return g.call(op, *g.pick([(x, y), (y, x) if op in ("Mul", "AddV2") else (x, y)]))[0]


def shape_of(g, value, dtype, const):
    if dtype not in ("int32", "int64") or value.ndim != 1 or not 0 < value.size < 7:
        return None
    if (value < 0).any() or np.prod(np.maximum(value, 1).astype("float64")) > 3000:
        return None
    x = g.feed(g.value("float32", [int(d) for d in value]), "float32", const)
    return g.call("Shape", x, out_type=dtype)[0]


def element(g, value, dtype, const):
    """One element of a shape, as models take their sizes apart."""
    if dtype not in ("int32", "int64") or value.ndim or not 0 <= value < 50:
        return None
    dims = [g.int(1, 3), int(value), g.int(1, 3)]
    shape = g.call("Shape", g.feed(g.value("float32", dims), "float32", const), out_type=dtype)[0]
    ones = [g.ints([v], dtype, True) for v in (1, 2, 1)]
    return g.call("StridedSlice", shape, *ones, begin_mask=0, end_mask=0, ellipsis_mask=0, new_axis_mask=0,
                  shrink_axis_mask=1)[0]


def gathered(g, value, dtype, const):
    if not value.ndim or not value.size:
        return None
    order = g.rng.permutation(value.shape[0])
    x = g.feed(value[order], dtype, const)
    return g.call("GatherV2", x, g.ints(np.argsort(order)), g.ints(0), batch_dims=0)[0]


def selected(g, value, dtype, const):
    x, y = g.feed(value, dtype, const), g.feed(value[..., :1] if value.ndim else value, dtype, True)
    return g.call("SelectV2", g.feed(np.array(True)), x, y)[0]


def tiled(g, value, dtype, const):
    return g.call("Tile", g.feed(value, dtype, const), g.ints([1] * value.ndim))[0]


def split(g, value, dtype, const):
    if not value.ndim:
        return None
    x = g.feed(np.concatenate([value, value], 0), dtype, const)
    parts = g.call("Split", g.ints(g.pick([0, -value.ndim]), "int32"), x, num_split=2)
    return g.pick(parts) if parts else None


def twice(g, value, dtype, const):
    """A function and its inverse."""
    if dtype in ("int8", "int16", "int32", "int64", "float32", "float64", "float16", "bfloat16"):
        return g.call("Neg", g.call("Neg", g.feed(value, dtype, const))[0])[0]
    if dtype == "bool":
        return g.call("LogicalNot", g.feed(~value, dtype, const))[0]
    return g.call("ReverseV2", g.feed(value[::-1], dtype, const), g.ints([0]))[0] if value.ndim and dtype in \
        g.allowed("ReverseV2") else None


WAYS = [identity, reshape, pack, concat, slice_, transpose, cast, squeeze, expand, neutral, shape_of, shape_of, element,
        element, gathered, selected, tiled, split, twice]


def follow(g, x):
    """A node after `x`, of whose shape nothing needs to be known."""
    if x.dtype is None or x.dtype not in NUMPY or x.dtype.startswith("complex"):  # which nothing is computed of
        return None
    return g.pick(FOLLOWERS)(g, x)


def unary(g, x):
    ops = ["Abs", "Neg", "Sign", "Square", "Sqrt", "Rsqrt", "Reciprocal", "Exp", "Log", "Sin", "Tanh", "Sigmoid", "Relu",
           "Relu6", "Elu", "Floor", "Round", "IsNan", "IsFinite", "Identity", "ZerosLike", "OnesLike", "LogicalNot",
           "Invert", "Softplus", "Shape", "Size", "Rank", "Erf", "Inv"]
    ops = [op for op in ops if x.dtype in ((["bool"]) if op == "LogicalNot" else g.allowed(op))]
    op = g.pick(ops)
    more = {"out_type": g.pick(["int32", "int64"])} if op in ("Shape", "Size") else {}
    return g.call(op, x, **more)


def binary(g, x):
    ops = ["AddV2", "Sub", "Mul", "RealDiv", "Maximum", "Minimum", "Equal", "Less", "SquaredDifference", "NotEqual",
           "BitwiseAnd", "Add", "GreaterEqual", "DivNoNan"]
    ops = [op for op in ops if x.dtype in g.allowed(op)]
    if not ops:
        return None
    op = g.pick(ops)
    if g.chance(0.3):
        return g.call(op, x, x)
    other = g.feed(g.value(x.dtype, g.pick([[], [], [1]]), *g.pick([(1, 1), (0, 0), (-3, 3), (1, 6)]), special=0.1), x.dtype)
    return g.call(op, *g.pick([(x, other), (other, x)]))


def shaped(g, x):
    kind = g.int(0, 8)
    if kind == 0:
        return g.call("Reshape", x, g.ints([-1]))
    if kind == 1:
        return g.call("ExpandDims", x, g.ints(g.pick([0, -1])))
    if kind == 2:
        return g.call("Pack", [x] * g.int(1, 3), axis=g.pick([0, -1]))
    if kind == 3:
        return g.call("ConcatV2", [x, x], g.ints(g.pick([0, -1])))
    if kind == 4 and x.dtype not in ("bool", "string"):
        return g.call("Sum", x, g.ints(g.pick([[-1], [0], []])), keep_dims=g.chance(0.5))
    if kind == 5 and x.dtype not in ("string", "complex64", "complex128"):
        return g.call("Cast", x, DstT="float32" if not is_float(x.dtype) else "float64", Truncate=False)
    if kind == 6:
        one = lambda v: g.ints([v], "int32", True)
        return g.call("StridedSlice", x, one(0), one(g.int(-1, 3)), one(g.pick([1, 2])), begin_mask=g.int(0, 1), end_mask=g.int(0, 1),
                      ellipsis_mask=0, new_axis_mask=g.pick([0, 0, 1]), shrink_axis_mask=0)
    if kind == 7:
        return g.call("Squeeze", x, squeeze_dims=[])
    return g.call("IdentityN", [x, x])


def softmaxed(g, x):
    if x.dtype in FLOAT_SET:
        return g.call(g.pick(["Softmax", "LogSoftmax", "L2Loss"]), x)
    return shaped(g, x)


FLOAT_SET = {"float32", "float64", "float16", "bfloat16"}
FOLLOWERS = [unary, unary, binary, binary, binary, shaped, shaped, softmaxed]
