"""Random nodes of element by element operators, reductions and those that choose, for `fuzz.py`."""

import numpy as np

from fuzz_graph import NUMBERS, REAL, is_float, is_int

MAKERS = {}


def maker(*names):
    def register(build):
        for name in names:
            MAKERS[name] = build
        return build

    return register


def broadcast_pair(g, most=5):
    """Two shapes that broadcast."""
    full = g.shape(0, most)
    one = [1 if g.chance(0.25) else d for d in full]
    two = [1 if g.chance(0.25) else d for d in full]
    if g.chance(0.5):
        two = two[g.int(0, len(two)):]
    elif g.chance(0.3):
        one = one[g.int(0, len(one)):]
    return (one, two) if g.chance(0.7) else (two, one)


UNARY = """Abs Neg Sign Square Sqrt Rsqrt Reciprocal Exp Expm1 Log Log1p Sin Cos Tan Asin Acos Atan Sinh Cosh Tanh Asinh
Acosh Atanh Erf Erfc Lgamma Digamma Sigmoid Softplus Softsign Relu Relu6 Elu Selu Floor Ceil Round LogicalNot Invert
Inv Rint LeakyRelu IsNan IsInf IsFinite ZerosLike OnesLike Shape Size Rank Identity Snapshot StopGradient
PreventGradient DeepCopy GuaranteeConst""".split()


@maker(*UNARY)
def unary(g, name):
    dtype = "bool" if name == "LogicalNot" else g.dtype(name)
    low, high = g.pick([(-3, 3), (-1, 1), (0, 5), (-50, 50), (-500, 500)])
    if name in ("Sin", "Cos", "Tan"):
        low, high = g.pick([(-3, 3), (-20, 20)])
    x = g.input(dtype, g.shape(0, 6), low, high, special=0.4, huge=name not in ("Sin", "Cos", "Tan"))
    more = {}
    if name == "LeakyRelu":
        more["alpha"] = float(g.pick([0.2, 0.0, 1.0, 1.5, -0.5, 1e30, float("inf"), float("nan")]))
    if name in ("Shape", "Size"):
        more["out_type"] = g.pick(["int32", "int64"])
    if name == "PreventGradient":
        more["message"] = "m"
    return g.call(name, x, **more)


@maker("L2Loss", "Softmax", "LogSoftmax")
def rows(g, name):
    low, high = g.pick([(-3, 3), (-50, 50), (-1000, 1000)])
    shape = g.shape(0 if g.wild or name == "L2Loss" else 1, 5)
    return g.call(name, g.input(g.dtype(name), shape, low, high, special=0.3, huge=name != "L2Loss"))


BINARY = """Add AddV2 Sub Mul Div RealDiv TruncateDiv FloorDiv DivNoNan MulNoNan Xdivy Xlogy Xlog1py FloorMod Mod
TruncateMod Pow Maximum Minimum SquaredDifference Atan2 LogicalAnd LogicalOr BitwiseAnd BitwiseOr BitwiseXor LeftShift
RightShift Equal NotEqual Less LessEqual Greater GreaterEqual""".split()


@maker(*BINARY)
def binary(g, name):
    dtype = "bool" if name.startswith("Logical") else g.dtype(name)
    one, two = broadcast_pair(g)
    low, high = g.pick([(-3, 3), (-9, 9), (1, 9), (-100, 100)])
    special, a_special = 0.3, 0.3
    if is_int(dtype) and ("Shift" in name or name == "Pow"):
        low, high, special = 0, 7, 0.3 if "Shift" in name else 0.0
    divides = is_int(dtype) and any(t in name for t in ("Div", "Mod"))
    a = g.input(dtype, one, low, high, a_special)
    if divides:
        low, high = g.pick([(1, 9), (-9, -1), (-3, 3) if g.chance(0.2) else (1, 3)]) if not dtype.startswith("u") else (1, 9)
        special = g.pick([0, 0.1])
    b = g.input(dtype, two, low, high, special)
    more = {}
    if name in ("Equal", "NotEqual"):
        more["incompatible_shape_error"] = g.chance(0.8)
        if g.chance(0.03):
            b = g.input(dtype, g.shape(0, 3), low, high)
    return g.call(name, a, a if g.chance(0.05) else b, **more)


def axes_of(g, rank, most=None):
    """Some axes, each once, from either end."""
    chosen = g.rng.permutation(rank)[: g.int(0, rank if most is None else min(most, rank))]
    return [int(a) - (rank if g.chance(0.4) else 0) for a in chosen]


@maker("Sum", "Mean", "Prod", "Max", "Min", "EuclideanNorm", "All", "Any")
def reduce(g, name):
    shape = g.shape(0, 6)
    axes = axes_of(g, len(shape))
    if len(axes) == 1 and g.chance(0.5):
        axes = axes[0]
    dtype = "bool" if name in ("All", "Any") else g.dtype(name)
    low, high = (0.5, 1.6) if name == "Prod" and is_float(dtype) else g.pick([(-3, 3), (-100, 100)])
    x = g.input(dtype, shape, low, high, special=0.3, huge=name in ("Max", "Min") or is_int(dtype))
    return g.call(name, x, g.ints(np.array(axes, "int64")), keep_dims=g.chance(0.5))


@maker("ArgMax", "ArgMin")
def arg(g, name):
    shape = g.shape(1, 5)
    axis = g.int(-len(shape), len(shape) - 1)
    x = g.input(g.dtype(name), shape, special=0.3)
    kind = g.pick(g.allowed(name, "Tidx"))
    return g.call(name, x, g.ints(axis, kind), output_type=g.pick(g.allowed(name, "output_type")))


@maker("Cumsum", "Cumprod")
def scan(g, name):
    shape = g.shape(1 if not g.wild else 0, 5)
    axis = g.int(-len(shape), len(shape) - 1)
    low, high = (0.5, 1.6) if name == "Cumprod" else (-3, 3)
    x = g.input(g.dtype(name), shape, low, high, special=0.2, huge=False)
    return g.call(name, x, g.ints(axis), exclusive=g.chance(0.5), reverse=g.chance(0.5))


@maker("Cast")
def cast(g, name):
    source, to = g.pick(REAL[:-1] if g.chance(0.95) else REAL), g.pick(REAL[:-1])
    if g.chance(0.15):
        source, to = g.pick([(source, "complex64"), ("complex128", to), ("complex64", "complex128"), ("complex64", "float16")])
    is_cut = (is_float(source) or source.startswith("complex")) and is_int(to)
    low, high = g.pick([(0, 100), (-100, 100), (-1e4, 1e4), (-1e9, 1e9)])
    if is_cut and source.startswith("complex"):
        x = g.feed(np.trunc(g.value(source, g.shape(0, 5), *((0, 100) if to.startswith("u") else (-100, 100)), special=0).real), source)
    elif is_cut:
        # What lies outside of the target's range is undefined in C++, and differs by the loop that is compiled.
        info = np.iinfo(to)
        low, high = max(low, info.min, -60000), min(high, info.max, 60000)
        x = g.feed(np.trunc(g.value(source, g.shape(0, 5), low, high, special=0).astype("float64") * 4) / 4, source)
    else:
        x = g.input(source, g.shape(0, 5), low, high, special=0.4)
    return g.call("Cast", x, DstT=to, Truncate=g.chance(0.2))


@maker("Bitcast")
def bitcast(g, name):
    size = lambda d: np.dtype(np.uint16).itemsize if d == "bfloat16" else np.dtype(d).itemsize
    source, to = g.pick(NUMBERS), g.pick(NUMBERS)
    a, b = size(source), size(to)
    shape = g.shape(0, 4) + ([b // a] if b > a else [])
    # Signalling NaN change on their way through numpy.
    special = 0.2 if not is_float(source) and not is_float(to) else 0.0
    return g.call("Bitcast", g.input(source, shape, special=special), type=to)


@maker("Select", "SelectV2")
def select(g, name):
    dtype = g.dtype(name)
    if name == "SelectV2":
        one, two = broadcast_pair(g)
        three = [1 if g.chance(0.4) else d for d in np.broadcast_shapes(one, two)]
        if g.chance(0.3):
            three = three[g.int(0, len(three)):]
        return g.call(name, g.input("bool", three), g.input(dtype, one), g.input(dtype, two))
    shape = g.shape(0, 5)
    condition = g.pick([shape, [], shape[:1]])
    return g.call(name, g.input("bool", condition), g.input(dtype, shape), g.input(dtype, shape))


@maker("ClipByValue")
def clip(g, name):
    dtype, shape = g.dtype(name), g.shape(0, 5)
    low, high = g.pick([[], [], shape]), g.pick([[], [], shape])
    return g.call(name, g.input(dtype, shape, special=0.3), g.input(dtype, low, -2, 1, 0.2), g.input(dtype, high, -1, 2, 0.2))


@maker("AddN", "AccumulateNV2")
def summed(g, name):
    dtype, shape = g.dtype(name), g.shape(0, 5)
    values = [g.input(dtype, shape, huge=False) for _ in range(g.pick([1, 2, 3, 4, 9, 12]))]
    if g.chance(0.2):
        values[-1] = values[0]
    if name == "AddN":
        return g.call(name, values)
    return g.call(name, values, shape=g.pick([shape, None, [None] * len(shape)]))


@maker("CheckNumerics", "CheckNumericsV2")
def check_numerics(g, name):
    return g.call(name, g.input(g.dtype(name), g.shape(0, 5), special=0.15), message="m")


@maker("Assert", "NoOp")
def assertion(g, name):
    """Nodes without outputs, as something to run first."""
    if name == "Assert":
        data = [g.input(g.pick(REAL), g.shape(0, 2)) for _ in range(g.int(1, 3))]
        g.call(name, g.feed(np.array(g.chance(0.8))), data, summarize=g.pick([3, 0, -1]))
    else:
        g.call(name)
    first = g.graph_def.node[-1].name
    out = g.call("Identity", g.input(g.pick(REAL), g.shape(0, 4)))
    g.graph_def.node[-1].input.append("^" + first)
    return out


@maker("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")
def fake_quant(g, name):
    shape = g.shape(1, 4)
    x = g.input("float32", shape, -8, 8, special=0.2)
    more = dict(num_bits=g.int(2, 16), narrow_range=g.chance(0.5))
    low, high = g.rng.uniform(-6, 0.5), g.rng.uniform(0.6, 6)
    if g.chance(0.2):
        low, high = g.pick([(0.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (1.0, 2.0), (-2.0, -1.0)])
    if name == "FakeQuantWithMinMaxArgs":
        return g.call(name, x, min=low, max=high, **more)
    if name == "FakeQuantWithMinMaxVars":
        return g.call(name, x, g.feed(np.float32(low)), g.feed(np.float32(high)), **more)
    return g.call(name, x, g.input("float32", shape[-1:], -6, 0.2, 0), g.input("float32", shape[-1:], 0.3, 6, 0), **more)


@maker("TopK", "TopKV2", "NthElement")
def top_k(g, name):
    shape = g.shape(1, 4)
    k = g.int(0, shape[-1])
    dtype = g.dtype(name)
    value = g.value(dtype, shape, special=0.2)
    if is_float(dtype) and g.chance(0.9):  # TensorFlow leaves open where NaN comes
        value = np.where(np.isnan(value.astype("float64")), np.ones([], value.dtype), value)
    x = g.feed(value, dtype)
    if name == "NthElement":
        return g.call(name, x, g.ints(min(k, max(shape[-1] - 1, 0)), "int32"), reverse=g.chance(0.5))
    if name == "TopK":
        return g.call(name, x, k=k, sorted=True)
    return g.call(name, x, g.ints(k, g.pick(g.allowed(name, "Tk"))), sorted=True, index_type=g.pick(g.allowed(name, "index_type")))


@maker("InTopK", "InTopKV2")
def in_top_k(g, name):
    shape = [g.dim(), g.dim(1)]
    kind = g.pick(["int32", "int64"])
    targets = g.rng.integers(-1, shape[1] + 1, shape[0]).astype(kind)
    x, k = g.input("float32", shape, special=0.3), g.int(0, shape[1] + 1)
    if name == "InTopK":
        return g.call(name, x, g.feed(targets), k=k)
    return g.call(name, x, g.feed(targets), g.ints(k, kind))


@maker("SoftmaxCrossEntropyWithLogits", "SparseSoftmaxCrossEntropyWithLogits")
def cross_entropy(g, name):
    rows_, classes = g.dim(), g.dim(1)
    dtype = g.dtype(name)
    features = g.input(dtype, [rows_, classes], special=0.1, huge=False)
    if name.startswith("Sparse"):
        return g.call(name, features, g.feed(g.rng.integers(0, classes, rows_).astype(g.pick(["int32", "int64"]))))
    shape = [rows_ if g.chance(0.7) else 1, classes if g.chance(0.7) else 1]
    return g.call(name, features, g.input(dtype, shape, 0, 1, special=0))


@maker("Bincount", "DenseBincount", "HistogramFixedWidth")
def bincount(g, name):
    dtype, size = g.pick(["int32", "int64", "float32", "float64"]), g.int(0, 7)
    if name == "Bincount":
        shape = g.shape(0, 3)
        return g.call(name, g.input("int32", shape, 0, 8, 0), g.ints(size, "int32"),
                      g.input(dtype, g.pick([shape, [0]]), special=0))
    if name == "DenseBincount":
        kind, shape = g.pick(["int32", "int64"]), g.shape(1, 2)
        return g.call(name, g.input(kind, shape, 0, 8, 0), g.ints(size, kind), g.input(dtype, g.pick([shape, [0]]), special=0),
                      binary_output=g.chance(0.4))
    low = g.int(-3, 0)
    x = g.input(dtype, g.shape(0, 3), special=0.1)
    return g.call(name, x, g.feed(np.array([low, low + g.int(1, 5)]), dtype), g.ints(size + 1, "int32"),
                  dtype=g.pick(["int32", "int64"]))


@maker("Where", "Unique", "UniqueWithCounts", "ListDiff")
def distinct(g, name):
    dtype = g.dtype(name)
    if name == "Where":
        return g.call(name, g.input(dtype, g.shape(0, 5), special=0.2))
    x, kind = g.input(dtype, g.shape(1, 1), special=0.2), g.pick(["int32", "int64"])
    if name == "ListDiff":
        return g.call(name, x, g.input(dtype, g.shape(1, 1), special=0.1), out_idx=kind)
    return g.call(name, x, out_idx=kind)


@maker("SegmentSum", "SegmentMean", "SegmentMax", "SegmentMin", "SegmentProd", "UnsortedSegmentSum",
       "UnsortedSegmentMax", "UnsortedSegmentMin", "UnsortedSegmentProd")
def segment(g, name):
    dtype, shape, kind = g.dtype(name), g.shape(1, 4), g.pick(g.allowed(name, "Tindices"))
    data = g.input(dtype, shape, special=0.1, huge="Max" in name or "Min" in name)
    if name.startswith("Unsorted"):
        count = g.int(0, 6)
        ids = g.rng.integers(-1, max(count, 1), shape[: g.int(1, len(shape))]).astype(kind)
        return g.call(name, data, g.feed(ids), g.ints(count))
    ids = np.sort(g.rng.integers(0, max(shape[0], 1) + g.pick([0, 0, 3]), shape[0])).astype(kind)
    return g.call(name, data, g.feed(ids))

